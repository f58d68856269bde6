//! DHCP for a host (RFC 2131): a client that configures an interface, and a server of a few leases; and a client of stateless DHCPv6
//! (RFC 8415 §18.2.6).
//!
//! Both are plain values over a host's UDP socket: they never read a clock or draw entropy, and run in virtual time as in real time. After
//! a socket's [`Event`](wireway_stack::Event) that is theirs, and when their `poll_at` has come, call their `poll`.
//!
//! Where to look:
//! - what the client does when: `client.rs`; how long it waits: `exchange.rs`
//! - what a lease says and how it is put on an interface: `lease.rs`
//! - the server: `server.rs`
//! - stateless DHCPv6: `information.rs`
//! - messages and options: `message.rs`, `options.rs`
#![forbid(unsafe_code)]

mod client;
mod exchange;
mod information;
mod lease;
mod message;
mod options;
mod server;

pub use client::{Client, ClientConfig, ClientEvent};
pub use information::Information;
pub use lease::Lease;
pub use server::{Server, ServerConfig};
