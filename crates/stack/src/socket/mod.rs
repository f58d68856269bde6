//! Sockets as the program's side sees them: identity, kinds, flags, addresses, and the calls (`calls.rs`).

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use wireway_wire::{icmpv4, icmpv6};

pub(crate) mod address;
mod calls;
pub(crate) mod datagram;
pub(crate) mod multicast;
pub mod options;
pub(crate) mod port;
pub(crate) mod redirect;

pub use multicast::{Membership, MulticastOptions};
pub use options::{RawOptions, SocketOption, SocketOptions, TcpInfo};

/// The address family of a socket. An `Inet6` socket carries IPv4 through v4-mapped addresses unless it is V6ONLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// AF_INET
    Inet,
    /// AF_INET6
    Inet6,
}

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// TCP (SOCK_STREAM)
    Stream,
    /// UDP (SOCK_DGRAM)
    Datagram,
    /// UDP-Lite (SOCK_DGRAM, IPPROTO_UDPLITE; RFC 3828)
    LiteDatagram,
    /// ICMP echo by datagrams (SOCK_DGRAM, IPPROTO_ICMP): the identifier is the local port.
    Ping,
    /// Whole transport payloads of one IP protocol (SOCK_RAW). Receives a copy of what the host receives for that
    /// protocol; on an interface with [`any_destination`](crate::InterfaceConfig::any_destination) also what is for others.
    Raw(u8),
}

/// A socket of a host. Never reused for another socket while the host lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub(crate) family: SocketFamily,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Which table of the host a socket lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SocketFamily {
    Tcp,
    Udp,
    Raw,
}

/// Which direction [`Host::shutdown`](crate::Host::shutdown) closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// SHUT_RD
    Read,
    /// SHUT_WR
    Write,
    /// SHUT_RDWR
    Both,
}

/// Flags of a send call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendFlags {
    /// MSG_MORE: more will follow, do not send a partial segment yet.
    pub more: bool,
}

/// Flags of a receive call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveFlags {
    /// MSG_PEEK: leave the data in place.
    pub peek: bool,
}

/// What came with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramInfo {
    /// Bytes in the datagram; more than were copied if the buffer was too small.
    pub len: usize,
    /// Sender (port 0 for raw, the identifier for ping sockets).
    pub source: SocketAddr,
    /// The address and port it was sent to.
    pub destination: SocketAddr,
    /// The interface it came in by.
    pub interface: crate::InterfaceId,
    /// IP time to live or hop limit.
    pub ttl: u8,
    /// IP type of service or traffic class.
    pub tos: u8,
}

/// An ICMP error about a datagram that a socket sent, or EMSGSIZE for one that it could not send (Linux's `struct sock_extended_err`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketError {
    /// What it means.
    pub error: crate::Error,
    /// The ICMP message's type and code; 0 of an error of the host's own.
    pub kind: u8,
    /// See `kind`.
    pub code: u8,
    /// The path's MTU in bytes, of "fragmentation needed" and EMSGSIZE; else 0.
    pub info: u32,
    /// Who sent the error (SO_EE_OFFENDER); nobody sent one of the host's own (SO_EE_ORIGIN_LOCAL).
    pub offender: Option<core::net::IpAddr>,
    /// With which hop count the ICMP message came (IP_RECVTTL); of one of the host's own 255.
    pub ttl: u8,
    /// By which interface it came in, or the datagram would have gone.
    pub interface: crate::InterfaceId,
    /// Where the datagram was sent to (port 0 for raw sockets, the identifier for ping sockets).
    pub destination: SocketAddr,
    /// What was quoted of its payload. Of a ping socket this begins with the ICMP header, as what was sent did.
    pub payload: Vec<u8>,
}

/// How [`Host::refuse`](crate::Host::refuse) answers a held connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RST: nobody listens there.
    Reset,
    /// ICMP destination unreachable.
    Unreachable(Unreachable),
    /// Silence: the peer will time out.
    Ignore,
}

/// Why a destination is not reached, for an ICMP error of either family (RFC 1812 §5.2.7.1, RFC 4443 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route to the network: code 0 of both.
    Network,
    /// The host does not answer: code 1 of ICMP, 3 of ICMPv6.
    Host,
    /// The host has no such protocol: code 2 of ICMP; of ICMPv6 there is none, and it is "address unreachable", 3.
    Protocol,
    /// Nobody listens on the port: code 3 of ICMP, 4 of ICMPv6.
    Port,
    /// Forbidden by an administrator: code 13 of ICMP, 1 of ICMPv6.
    Prohibited,
}

/// An ICMP error of another host that is passed on ([`Host::relay_error`](crate::Host::relay_error)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedError {
    /// The type: of ICMP (RFC 792) about IPv4, else of ICMPv6 (RFC 4443 §2.1).
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// Whose error it is; else it comes from the interface's own address.
    pub from: Option<IpAddr>,
}

impl Unreachable {
    /// The code of ICMP (RFC 792, RFC 1812 §5.2.7.1).
    pub(crate) fn code_v4(self) -> u8 {
        match self {
            Unreachable::Network => icmpv4::unreachable::NETWORK,
            Unreachable::Host => icmpv4::unreachable::HOST,
            Unreachable::Protocol => icmpv4::unreachable::PROTOCOL,
            Unreachable::Port => icmpv4::unreachable::PORT,
            Unreachable::Prohibited => icmpv4::unreachable::COMMUNICATION_PROHIBITED,
        }
    }

    /// The code of ICMPv6 (RFC 4443 §3.1).
    pub(crate) fn code_v6(self) -> u8 {
        match self {
            Unreachable::Network => icmpv6::unreachable::NO_ROUTE,
            Unreachable::Host | Unreachable::Protocol => icmpv6::unreachable::ADDRESS,
            Unreachable::Port => icmpv6::unreachable::PORT,
            Unreachable::Prohibited => icmpv6::unreachable::PROHIBITED,
        }
    }
}

/// SO_LINGER
pub type Linger = Option<Duration>;
