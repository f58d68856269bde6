//! Runs any program, unmodified, on a TCP/IP stack in user space; and the stack as a library.
//!
//! The command is one user of this library. To embed the stack, start with [`stack::Host`]: a plain value that you drive with
//! frames, time and socket calls. [`lab::Network`] runs several of them in virtual time; [`engine::Engine`] runs them in real
//! time over the [`nic`]s.

pub use wireway_attach as attach;
pub use wireway_dhcp as dhcp;
pub use wireway_engine as engine;
pub use wireway_gateway as gateway;
pub use wireway_lab as lab;
pub use wireway_link as link;
pub use wireway_nic as nic;
pub use wireway_packet as packet;
pub use wireway_stack as stack;
pub use wireway_wire as wire;
