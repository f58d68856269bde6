//! A sans-IO TCP/IP stack: a host is a plain value driven by packets, time and socket calls.
//!
//! Nothing here reads a clock, draws entropy, opens a file or takes a lock. A [`Host`] is driven by
//! [`receive`](Host::receive), [`transmit`](Host::transmit), [`poll`](Host::poll), [`poll_at`](Host::poll_at) and the
//! socket calls; what happened to sockets comes out of [`next_event`](Host::next_event).
//!
//! Where to look:
//! - the whole: `host.rs`; tunables, named as Linux's sysctls: `settings.rs`; drops and counters: `counters.rs`, what is held: `usage.rs`; timers:
//!   `timer.rs`; readiness: `event.rs`
//! - layers 2 and 3: `net.rs` and the files it names
//! - transports: `tcp/`, `udp.rs`, `raw.rs`
//! - socket calls: `socket/`

mod counters;
mod error;
mod event;
mod host;
mod interface;
mod net;
mod raw;
mod rng;
mod settings;
mod socket;
mod tcp;
mod timer;
mod udp;
mod usage;

pub use counters::{Counter, Counters, DropReason};
pub use error::{Error, Result};
pub use event::{Event, Ready};
pub use host::Host;
pub use interface::{
    AddressInfo, AddressOptions, AddressState, Cidr, Features, InterfaceConfig, InterfaceId, InterfaceInfo,
    InterfaceStatistics, Medium, Vlan,
};
pub use net::{
    FilterMode, GroupInfo, NeighbourInfo, NeighbourState, RouteEntry, RouteKind, RouteProtocol, RouteTowards,
};
pub use settings::Settings;
pub use socket::options::MtuDiscover;
pub use socket::{
    DatagramInfo, Domain, Kind, Linger, Membership, MulticastOptions, RawOptions, ReceiveFlags, Refusal, RelayedError,
    SendFlags, Shutdown, SocketError, SocketId, SocketOption, SocketOptions, TcpInfo, Unreachable,
};
pub use usage::Usage;
