//! Layers 2 and 3 of a host, and what every protocol needs: settings, counters, randomness, timers, events.
//!
//! A transport sends by [`Net::send_ip`] and asks [`Net::route`] where a packet would go; what it is to receive is
//! handed to it as an [`Inbound`].
//!
//! | file | what |
//! | --- | --- |
//! | `interfaces.rs` | interfaces: new ones, up and down, MTU and MAC address |
//! | `ethernet.rs`, `vlan.rs` | frames in and out; their tags |
//! | `arp.rs`, `claim.rs` | ARP; probing, announcing and defending own addresses of both families |
//! | `neighbour.rs` | the cache of next hops' MAC addresses, and packets that wait for one |
//! | `ndp.rs` | neighbour discovery: what to answer and what to believe |
//! | `router.rs`, `slaac.rs` | what routers of IPv6 advertise; addresses made from it |
//! | `given.rs` | addresses that were given for a time |
//! | `select.rs` | which source and which destination address to use |
//! | `ipv4.rs`, `ipv6.rs`, `accepted.rs` | IPv4 and IPv6 in; which addresses are taken |
//! | `output.rs`, `header.rs`, `template.rs` | both out, and `lo`; their headers; the short way out |
//! | `fragment.rs`, `reassembly.rs`, `ident.rs`, `flow_label.rs` | fragments, IP identification, flow labels |
//! | `route.rs`, `path_mtu.rs` | local addresses, routes, and what is known of a destination |
//! | `icmp.rs`, `icmpv6.rs` | ICMP in, a file a family |
//! | `group.rs` | groups: who listens to which, and to which sources |
//! | `membership.rs`, `querier.rs` | what routers are told of that, and what they ask |
//! | `igmp.rs`, `mld.rs` | the same as messages, a file a family |
//! | `icmp_out.rs`, `limit.rs` | ICMP out, and its rate limits |

mod accepted;
mod arp;
pub(crate) mod claim;
mod ethernet;
mod flow_label;
mod fragment;
pub(crate) mod given;
pub(crate) mod group;
mod header;
mod icmp;
mod icmp_out;
mod icmpv6;
mod ident;
mod igmp;
mod interfaces;
mod ipv4;
mod ipv6;
mod limit;
mod membership;
mod mld;
mod ndp;
mod neighbour;
mod output;
mod path_mtu;
mod querier;
mod reassembly;
mod route;
pub(crate) mod router;
mod select;
pub(crate) mod slaac;
mod template;
mod vlan;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::VecDeque;

use wireway_packet::{Checksum, Instant, Packet};
use wireway_wire::Sum;

use crate::counters::{Counters, DropReason};
use crate::event::Events;
use crate::interface::{Cidr, Interface, Vlan};
use crate::rng::{Map, Rng};
use crate::timer::{TimerKey, Timers};
use crate::{Error, InterfaceId, Result, Settings, Usage};

pub(crate) use ethernet::LinkDestination;
pub use group::{FilterMode, GroupInfo};
pub(crate) use header::IpHeader;
pub(crate) use icmp_out::{Complaint, IcmpInbound, quote_again};
pub(crate) use ipv6::is_special;
pub use neighbour::{NeighbourInfo, NeighbourState};
pub use route::{RouteEntry, RouteProtocol, RouteTowards};
pub(crate) use template::Path;

use accepted::AcceptedCache;
use flow_label::FlowLabels;
use group::Groups;
use ident::Idents;
use limit::IcmpLimits;
use neighbour::Neighbours;
use path_mtu::PathMtus;
use reassembly::Reassembly;
use route::{DestinationCache, RoutingTable};

/// Routes that a host's owner and programs may make, at most.
const ROUTES: usize = 16_384;

/// Layers 2 and 3.
pub(crate) struct Net {
    pub settings: Settings,
    pub counters: Counters,
    pub rng: Rng,
    pub timers: Timers,
    pub events: Events,
    /// By their ids; the first is `lo`.
    pub interfaces: Vec<Interface>,
    /// The interfaces of VLANs.
    vlans: Map<Vlan, InterfaceId>,
    pub routes: RoutingTable,
    /// Each with the number of interfaces that have it.
    local_addresses: Map<IpAddr, u32>,
    /// Directed broadcast addresses, likewise.
    broadcasts: Map<Ipv4Addr, u32>,
    destinations: DestinationCache,
    accepted_v4: AcceptedCache<Ipv4Addr>,
    accepted_v6: AcceptedCache<Ipv6Addr>,
    path_mtus: PathMtus,
    neighbours: Neighbours,
    reassembly: Reassembly,
    idents: Idents,
    flow_labels: FlowLabels,
    /// Of stable addresses, where the settings have none.
    stable_secret: [u8; 16],
    icmp_limits: IcmpLimits,
    groups: Groups,
    /// What is on `lo`, and copies of what went to groups, by the interface to receive them by: packets from their IP header on.
    backlog: VecDeque<(InterfaceId, LinkDestination, Packet)>,
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
    /// The flow label of IPv6, of [`Net::flow_label`].
    pub flow_label: u32,
    /// Do not fragment; IPv4 sets DF. It is left out where the path's MTU is below the least believed one.
    pub dont_fragment: bool,
    /// Let the interface's MTU be the limit, not what ICMP told of the path (IP_PMTUDISC_PROBE).
    pub ignore_path_mtu: bool,
    /// The destination answered since the last packet (an acknowledgement came): its neighbour need not be probed.
    pub confirm: bool,
    /// Only by this interface (SO_BINDTODEVICE).
    pub interface: Option<InterfaceId>,
    /// The source may be another's (a transparent socket).
    pub foreign: bool,
}

/// A transport's packet as it came in: `packet` begins with the transport header.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub interface: InterfaceId,
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
    pub header: IpHeader,
    /// What stood between it and the transport: IPv4's options, IPv6's extension headers.
    pub options: Option<Box<[u8]>>,
}

impl Inbound {
    /// The packet with all that is known of it; what is left behind is empty.
    pub fn take(&mut self) -> Inbound {
        Inbound { packet: core::mem::take(&mut self.packet), options: self.options.take(), ..*self }
    }

    /// Who sent it.
    #[inline]
    pub fn source(&self) -> IpAddr {
        self.header.source()
    }

    /// To whom.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        self.header.destination()
    }

    /// The sum of the transport's pseudo header.
    pub fn pseudo(&self) -> Sum {
        self.header.pseudo(self.protocol, self.packet.len() as u32)
    }

    /// Whether the transport's checksum over the whole packet is right. Does not look where a device did, or where the
    /// packet never left the machine.
    pub fn checksum_is_valid(&self) -> bool {
        match self.packet.offload().checksum {
            Checksum::Complete => self.packet.sum(0, self.pseudo()).is_valid(),
            Checksum::Verified | Checksum::Partial { .. } => true,
        }
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
pub enum RouteKind {
    /// The host itself, by `lo`.
    Local,
    /// One other host.
    Unicast,
    /// All hosts of a link.
    Broadcast,
    /// A group.
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
    /// The message's type and code.
    pub icmp: (u8, u8),
    /// Who sent it, with which hop count it came, and how it came in.
    pub from: IpAddr,
    pub ttl: u8,
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

impl IpMeta {
    /// With type of service 0 and no wishes.
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8, ttl: u8) -> IpMeta {
        IpMeta {
            source,
            destination,
            protocol,
            ttl,
            tos: 0,
            flow_label: 0,
            dont_fragment: false,
            ignore_path_mtu: false,
            confirm: false,
            interface: None,
            foreign: false,
        }
    }
}

impl Net {
    /// With `lo` alone.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Net {
        let mut rng = Rng::new(seed);
        let mut net = Net {
            settings,
            counters: Counters::default(),
            timers: Timers::default(),
            events: Events::default(),
            interfaces: vec![Interface::loopback()],
            vlans: rng.map(),
            routes: RoutingTable::new(&mut rng),
            local_addresses: rng.map(),
            broadcasts: rng.map(),
            destinations: DestinationCache::new(&mut rng),
            accepted_v4: AcceptedCache::new(),
            accepted_v6: AcceptedCache::new(),
            path_mtus: PathMtus::new(&mut rng),
            neighbours: Neighbours::new(&mut rng),
            reassembly: Reassembly::new(&mut rng),
            idents: Idents::new(&mut rng),
            flow_labels: FlowLabels::new(&mut rng),
            stable_secret: rng.key(),
            icmp_limits: IcmpLimits::new(&mut rng),
            groups: Groups::default(),
            backlog: VecDeque::new(),
            rng,
        };
        net.install_address(InterfaceId::LOOPBACK, Cidr { address: Ipv4Addr::LOCALHOST.into(), prefix_len: 8 });
        net.install_address(InterfaceId::LOOPBACK, Cidr { address: Ipv6Addr::LOCALHOST.into(), prefix_len: 128 });
        net.join_all_hosts(Instant::ZERO, InterfaceId::LOOPBACK);
        net
    }

    /// Another number after every change of interfaces, addresses or routes.
    pub fn revision(&self) -> u32 {
        self.destinations.generation
    }

    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0)).filter(|at| !at.gone)
    }

    #[inline]
    pub fn transmit(&mut self, interface: InterfaceId) -> Option<Packet> {
        self.interfaces.get_mut(usize::from(interface.0))?.transmit()
    }

    /// Whether packets wait on `lo`.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Adds a route (see [`RouteEntry`]). ENODEV, ENETDOWN, EINVAL, EEXIST; ENOBUFS if there are too many.
    pub fn add_route(&mut self, entry: RouteEntry) -> Result<()> {
        self.check_route(&entry)?;
        if self.routes.to(entry.destination).contains(&entry) {
            return Err(Error::Exists);
        }
        if self.routes.len() >= ROUTES {
            return Err(Error::NoBuffers);
        }
        self.routes.add(entry);
        self.destinations.clear();
        Ok(())
    }

    /// Puts a route in the place of another to the same network with the same metric. EINVAL, ENODEV, ENETDOWN.
    pub fn replace_route(&mut self, old: &RouteEntry, new: RouteEntry) -> Result<()> {
        self.check_route(&new)?;
        let same = (old.destination.network(), old.destination.prefix_len, old.metric)
            == (new.destination.network(), new.destination.prefix_len, new.metric);
        self.destinations.clear();
        if same && self.routes.replace(old, new) { Ok(()) } else { Err(Error::InvalidArgument) }
    }

    fn check_route(&self, entry: &RouteEntry) -> Result<()> {
        let up = self.interface(entry.interface).ok_or(Error::NoDevice)?.up;
        let one_family = entry.gateway.is_none_or(|g| g.is_ipv4() == entry.destination.address.is_ipv4());
        if !entry.destination.is_valid() || !one_family || entry.interface == InterfaceId::LOOPBACK {
            return Err(Error::InvalidArgument);
        }
        if !up {
            return Err(Error::NetworkDown);
        }
        Ok(())
    }

    /// Removes the route that is equal to `entry`. EINVAL if there is none.
    pub fn remove_route(&mut self, entry: &RouteEntry) -> Result<()> {
        self.destinations.clear();
        if self.routes.remove(entry.destination, |old| old == entry) { Ok(()) } else { Err(Error::InvalidArgument) }
    }

    /// Tells what layers 2 and 3 hold.
    pub fn tell_usage(&self, usage: &mut Usage) {
        usage.fragment_datagrams = self.reassembly.len();
        usage.fragment_memory = self.reassembly.memory();
        usage.neighbours = self.neighbours.list().len();
        usage.neighbour_packets = self.neighbours.waiting();
        usage.path_mtus = self.path_mtus.len();
        self.tell_group_usage(usage);
        usage.timers = self.timers.armed();
    }

    /// Counts a packet that is dropped.
    #[inline]
    pub fn drop_packet(&mut self, reason: DropReason, packet: Packet) {
        self.counters.drop(reason);
        drop(packet);
    }

    /// Runs a timer of layers 2 and 3.
    pub fn on_timer(&mut self, now: Instant, key: TimerKey) {
        match key {
            TimerKey::Tcp { .. } => {}
            TimerKey::Neighbour { index, generation } => self.on_neighbour_timer(now, index, generation),
            TimerKey::AddressClaim { interface } => self.on_claim_timer(now, InterfaceId(interface)),
            TimerKey::Reassembly { index, generation } => self.on_reassembly_timer(now, index, generation),
            TimerKey::Autoconf { interface } => self.on_autoconf_timer(now, InterfaceId(interface)),
            TimerKey::PathMtu { index, generation } => self.on_path_mtu_timer(index, generation),
            TimerKey::Group { index, generation } => self.on_group_timer(now, index, generation),
            TimerKey::Querier { interface, v6 } => self.on_querier_timer(now, InterfaceId(interface), v6),
        }
    }
}
