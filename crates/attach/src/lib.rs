//! Attaches unmodified programs to a host by seccomp notification and socket pairs.
//!
//! A program's rare socket calls are notified to the engine; the descriptors it gets are ends of AF_UNIX pairs whose other ends the engine
//! serves. So `read`, `write`, `poll`, `dup`, `fork`, `exec`, blocking, time-outs and signals are the kernel's own. Where to look:
//!
//! - the boundary: `filter.rs`; starting and ending a program: `launch.rs`, `guardian.rs`, `signals.rs`, `inherited.rs`
//! - notifications and what they point to: `notify.rs`, `process.rs`, `msghdr.rs`, `sockaddr.rs`, `group_values.rs`
//! - the service: `service.rs`, over `world.rs` (sockets, parked calls) and `socket.rs`
//! - a call: `calls/`, one file for each family
//! - a socket's pair: `stream.rs`, `listener.rs`, `datagram.rs`, `netlink.rs` (what it is asked: `rtnetlink/`); tricks they share: `prefill.rs`,
//!   `alive.rs`, `closes.rs`, `alarm.rs`
//! - the program's own AF_UNIX sockets: `local.rs`
//! - all `unsafe`: `sys.rs`

mod alarm;
mod alive;
mod calls;
mod closes;
mod datagram;
pub mod filter;
mod group_values;
pub mod guardian;
pub mod inherited;
pub mod launch;
mod links;
mod listener;
mod local;
pub mod msghdr;
mod netlink;
pub mod notify;
mod prefill;
pub mod process;
pub mod rtnetlink;
mod service;
pub mod signals;
pub mod sockaddr;
mod socket;
mod stream;
mod sys;
mod tcp_info;
mod world;

pub use service::Attach;
