//! Layers 2 and 3 of a host, and what every protocol needs: settings, counters, randomness, timers, events.
//!
//! A transport sends by [`Net::send_ip`] and asks [`Net::route`] where a packet would go; what it is to receive comes
//! back from `Net::receive` as an [`Inbound`].

use core::net::IpAddr;

use wireway_packet::{Checksum, Instant, Packet};
use wireway_wire::{Icmpv4Type, Ipv4Header, Sum};

use crate::counters::{Counters, DropReason};
use crate::event::Events;
use crate::rng::Rng;
use crate::timer::Timers;
use crate::{Error, InterfaceId, Result, Settings};

/// Layers 2 and 3.
pub(crate) struct Net {
    pub settings: Settings,
    pub counters: Counters,
    pub rng: Rng,
    pub timers: Timers,
    pub events: Events,
}

/// How a transport wants its packet sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpMeta {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    /// Set DF (IPv4). It is left out where the path's MTU is below the least believed one.
    pub dont_fragment: bool,
    /// Let the interface's MTU be the limit, not what ICMP told of the path (IP_PMTUDISC_PROBE).
    pub ignore_path_mtu: bool,
    /// The destination answered since the last packet (an acknowledgement came): its neighbour need not be probed.
    pub confirm: bool,
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
    /// It was sent to a broadcast or multicast address, of the link or of IP: TCP drops it, and no error is sent.
    pub broadcast: bool,
    /// The destination is one of the host's own addresses. If not, it came by an `any_destination` interface and only
    /// transparent sockets may take it.
    pub local: bool,
    pub packet: Packet,
    /// The IP header as it came, for quotation.
    pub header: Ipv4Header,
    /// Its options.
    pub options: Option<Box<[u8]>>,
}

impl Inbound {
    /// The sum of the transport's pseudo header.
    pub fn pseudo(&self) -> Sum {
        self.header.pseudo(self.packet.len() as u32)
    }

    /// Whether the transport's checksum over the whole packet is right. Does not look where a device did, or where the
    /// packet never left the machine.
    pub fn checksum_is_valid(&self) -> bool {
        match self.packet.offload().checksum {
            Checksum::Complete => self.packet.sum(0, self.pseudo()).is_valid(),
            Checksum::Verified | Checksum::Partial { .. } => true,
        }
    }

    /// The packet as an ICMP error about it quotes it, for [`Net::send_icmp_error`]; `None` if no error may be sent about
    /// it (RFC 1122 §3.2.2).
    pub fn into_quote(self) -> Option<Packet> {
        todo!()
    }
}

/// Where a packet would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub interface: InterfaceId,
    /// The source address to use if the socket has none.
    pub source: IpAddr,
    /// The path's MTU: the interface's, or a smaller one learnt from ICMP. At most 65,535.
    pub mtu: u16,
    /// The interface's MTU, at most 65,535.
    pub interface_mtu: u16,
    pub kind: RouteKind,
}

/// What sort of destination a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    /// The host itself, by `lo`.
    Local,
    Unicast,
    Broadcast,
    Multicast,
}

/// An ICMP error about a packet that a transport sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IcmpError<'a> {
    pub kind: IcmpErrorKind,
    /// The error for the socket.
    pub error: Error,
    /// Whether the error ends a connected datagram socket's call (Linux's icmp_err_convert); else only a socket that asked is told.
    pub fatal: bool,
    /// Who sent it, and how it came in.
    pub from: IpAddr,
    pub interface: InterfaceId,
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

    /// Where a packet to `destination` would go. ENETUNREACH if nowhere.
    pub fn route(&mut self, destination: IpAddr, interface: Option<InterfaceId>) -> Result<Route> {
        todo!()
    }

    /// Changes whenever an earlier answer of [`route`](Self::route) may have: a transport may keep a route until then.
    pub fn route_generation(&self) -> u32 {
        todo!()
    }

    /// Notes that the path to `destination` carries packets of at most `mtu` bytes (RFC 1191), as an ICMP error said whose
    /// quotation the transport found to be its own. Forgotten after `ip_rt_mtu_expires`.
    pub fn learn_path_mtu(&mut self, now: Instant, destination: IpAddr, mtu: u16) {
        todo!()
    }

    /// Whether `address` is one of the host's own (any of 127/8 too).
    pub fn is_local(&self, address: IpAddr) -> bool {
        todo!()
    }

    /// Whether `address` is a limited, directed or multicast address.
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        todo!()
    }

    /// Sends an ICMP error about the packet in `quote` (see [`Inbound::into_quote`]), if the rate limits allow.
    pub fn send_icmp_error(&mut self, now: Instant, quote: Packet, kind: Icmpv4Type, code: u8) {
        todo!()
    }

    /// Counts a packet that is dropped.
    #[inline]
    pub fn drop_packet(&mut self, reason: DropReason, packet: Packet) {
        self.counters.drop(reason);
        drop(packet);
    }

    pub fn new(settings: Settings, seed: [u8; 32]) -> Net {
        Net {
            settings,
            counters: Counters::default(),
            rng: Rng::new(seed),
            timers: Timers::default(),
            events: Events::default(),
        }
    }

    /// Takes a frame in; what a transport is to receive comes back.
    pub fn receive(&mut self, now: Instant, interface: InterfaceId, frame: Packet) -> Option<Inbound> {
        todo!()
    }
}
