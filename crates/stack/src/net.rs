//! Layers 2 and 3 of a host, and what every protocol needs: settings, counters, randomness, timers, events.
//!
//! A transport sends by [`Net::send_ip`] and asks [`Net::route`] where a packet would go; what it is to receive comes
//! back from `Net::receive` as an [`Inbound`].

use core::net::IpAddr;

use wireway_packet::{Instant, Packet};

use crate::{InterfaceId, Result};

/// Layers 2 and 3.
pub(crate) struct Net {}

/// How a transport wants its packet sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpMeta {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    /// Set DF (IPv4).
    pub dont_fragment: bool,
    /// Only by this interface (SO_BINDTODEVICE).
    pub interface: Option<InterfaceId>,
}

/// A transport's packet as it came in: `packet` begins with the transport header.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub interface: InterfaceId,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    pub packet: Packet,
}

/// Where a packet would go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub interface: InterfaceId,
    /// The source address to use if the socket has none.
    pub source: IpAddr,
    /// The path's MTU: the interface's, or a smaller one learnt from ICMP.
    pub mtu: u16,
}

/// An ICMP error about a packet that a transport sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IcmpError<'a> {
    pub kind: IcmpErrorKind,
    /// The quoted packet's addresses: its source is ours.
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// What was quoted of the transport header (at least 8 bytes).
    pub quoted: &'a [u8],
}

/// What an ICMP error says, for both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpErrorKind {
    NetUnreachable,
    HostUnreachable,
    ProtocolUnreachable,
    PortUnreachable,
    /// Fragmentation needed: the path's MTU.
    TooBig(u16),
    SourceRouteFailed,
    Prohibited,
    TimeExceeded,
    ParameterProblem,
}

#[allow(unused_variables, dead_code)]
impl Net {
    /// Sends one packet, which begins with its transport header (checksum complete or partial), by the route to its
    /// destination. ENETUNREACH, EMSGSIZE (DF and too large), ENOBUFS (dropped at a full queue).
    pub fn send_ip(&mut self, now: Instant, meta: &IpMeta, packet: Packet) -> Result<()> {
        todo!()
    }

    /// Where a packet from `source` (unspecified: to be chosen) to `destination` would go.
    pub fn route(&self, source: Option<IpAddr>, destination: IpAddr, interface: Option<InterfaceId>) -> Result<Route> {
        todo!()
    }
}
