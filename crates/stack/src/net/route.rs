//! Where packets go: local addresses, the routing table, and a cache of resolved destinations.
//!
//! A destination is looked up in this order: the host's own addresses (by `lo`), broadcast and multicast, and the longest
//! matching prefix with the least metric. The result stands in a small direct-mapped cache by destination, so that a packet of a
//! flow costs one comparison; any change of routes, addresses or path MTUs empties the cache by a new generation.

use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv4Addr};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::neighbour::NeighbourRef;
use super::template::Template;
use super::{Net, Route, RouteKind};
use crate::interface::Cidr;
use crate::rng::{Map, Rng};
use crate::{Error, InterfaceId, Result};

/// A route of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The network it leads to; prefix length 0 is the default route.
    pub destination: Cidr,
    /// The next hop; none if the network is on the link.
    pub gateway: Option<IpAddr>,
    /// By which interface.
    pub interface: InterfaceId,
    /// Of two routes with one prefix the one with the smaller metric is taken.
    pub metric: u32,
    /// The source address to prefer.
    pub source: Option<IpAddr>,
    /// Bytes of the longest packet that goes this way whole, if that is less than the interface's MTU.
    pub mtu: Option<u16>,
    /// Who made it.
    pub protocol: RouteProtocol,
}

impl RouteEntry {
    /// To a network on an interface's link, made by the owner of the host; the rest is for the caller to fill in.
    pub fn new(destination: Cidr, interface: InterfaceId) -> RouteEntry {
        let protocol = RouteProtocol::STATIC;
        RouteEntry { destination, gateway: None, interface, metric: 0, source: None, mtu: None, protocol }
    }
}

/// Who made a route (Linux's rtm_protocol): for people to see, it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// A redirect of ICMP's.
    pub const REDIRECT: RouteProtocol = RouteProtocol(1);
    /// The host, for one of its addresses.
    pub const KERNEL: RouteProtocol = RouteProtocol(2);
    /// A program that says no more.
    pub const BOOT: RouteProtocol = RouteProtocol(3);
    /// The owner.
    pub const STATIC: RouteProtocol = RouteProtocol(4);
    /// A router's advertisement.
    pub const RA: RouteProtocol = RouteProtocol(9);
    /// A lease.
    pub const DHCP: RouteProtocol = RouteProtocol(16);
}

/// Where a packet to a destination would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTowards {
    /// By which interface: `lo` for the host's own addresses.
    pub interface: InterfaceId,
    /// The next hop, if it is not the destination itself.
    pub gateway: Option<IpAddr>,
    /// The source address of a socket that has none.
    pub source: IpAddr,
    /// Bytes of the longest packet, as far as it is known.
    pub mtu: u16,
    /// Whether to the host itself, one other host, or several.
    pub kind: RouteKind,
    /// The route of the table that was taken, if it was one.
    pub entry: Option<RouteEntry>,
}

/// The routing table: a hash table a prefix length.
pub(crate) struct RoutingTable {
    entries: Map<(IpAddr, u8), SmallVec<[RouteEntry; 1]>>,
    /// How many prefixes of each length there are, longest first when searched; one row a family.
    lengths: [[u32; 129]; 2],
    count: usize,
}

impl RoutingTable {
    pub fn new(rng: &mut Rng) -> RoutingTable {
        RoutingTable { entries: rng.map(), lengths: [[0; 129]; 2], count: 0 }
    }

    pub fn add(&mut self, entry: RouteEntry) {
        let prefix_len = entry.destination.prefix_len;
        let entries = self.entries.entry((entry.destination.network(), prefix_len)).or_default();
        if entries.is_empty() {
            self.lengths[usize::from(entry.destination.address.is_ipv6())][usize::from(prefix_len)] += 1;
        }
        self.count += 1;
        let at = entries.partition_point(|old| old.metric <= entry.metric);
        entries.insert(at, entry);
    }

    /// Puts a route in the place of one with the same destination; whether there was one.
    pub fn replace(&mut self, old: &RouteEntry, new: RouteEntry) -> bool {
        let entries = self.entries.get_mut(&(old.destination.network(), old.destination.prefix_len));
        let Some(place) = entries.and_then(|entries| entries.iter_mut().find(|entry| *entry == old)) else {
            return false;
        };
        *place = new;
        true
    }

    /// The routes to exactly this network, in the order in which they are tried.
    pub fn to(&self, destination: Cidr) -> &[RouteEntry] {
        let entries = self.entries.get(&(destination.network(), destination.prefix_len));
        entries.map(|entries| &entries[..]).unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Removes the first route that `matches`; whether there was one.
    pub fn remove(&mut self, destination: Cidr, matches: impl Fn(&RouteEntry) -> bool) -> bool {
        let key = (destination.network(), destination.prefix_len);
        let Some(entries) = self.entries.get_mut(&key) else { return false };
        let Some(at) = entries.iter().position(matches) else { return false };
        entries.remove(at);
        self.count -= 1;
        if entries.is_empty() {
            self.entries.remove(&key);
            self.lengths[usize::from(destination.address.is_ipv6())][usize::from(destination.prefix_len)] -= 1;
        }
        true
    }

    /// Removes all that match.
    pub fn remove_all(&mut self, matches: impl Fn(&RouteEntry) -> bool) {
        for entry in self.list().into_iter().filter(matches) {
            self.remove(entry.destination, |old| *old == entry);
        }
    }

    /// An address is the host's no longer: as on Linux, routes of IPv4 that prefer it as a source go, those of IPv6 prefer none any more.
    pub fn forget_source(&mut self, address: IpAddr) {
        for entry in self.list().into_iter().filter(|entry| entry.source == Some(address)) {
            let _ = match address {
                IpAddr::V4(_) => self.remove(entry.destination, |old| *old == entry),
                IpAddr::V6(_) => self.replace(&entry, RouteEntry { source: None, ..entry }),
            };
        }
    }

    /// Whether the network is known to be on the link of an interface.
    fn has(&self, destination: Cidr, interface: InterfaceId) -> bool {
        self.to(destination).iter().any(|e| e.interface == interface && e.gateway.is_none())
    }

    /// The route to take: of those to the longest prefix the first that is not `dead`, or if all are the first.
    fn lookup(
        &self,
        destination: IpAddr,
        interface: Option<InterfaceId>,
        dead: impl Fn(&RouteEntry) -> bool,
    ) -> Option<&RouteEntry> {
        let lengths = &self.lengths[usize::from(destination.is_ipv6())];
        let used = (0..=128u8).rev().filter(|&len| lengths[usize::from(len)] > 0);
        used.filter_map(|prefix_len| {
            let network = Cidr { address: destination, prefix_len }.network();
            self.entries.get(&(network, prefix_len))
        })
        .find_map(|entries| {
            let mut fit = entries.iter().filter(|e| interface.is_none_or(|i| i == e.interface));
            let first = fit.next()?;
            if !dead(first) { Some(first) } else { fit.find(|e| !dead(e)).or(Some(first)) }
        })
    }

    /// Whether a route leads by this gateway.
    pub fn has_gateway(&self, interface: InterfaceId, gateway: IpAddr) -> bool {
        self.entries.values().flatten().any(|e| (e.interface, e.gateway) == (interface, Some(gateway)))
    }

    /// All routes, the longest prefix first.
    pub fn list(&self) -> Vec<RouteEntry> {
        let mut all: Vec<RouteEntry> = self.entries.values().flatten().copied().collect();
        all.sort_by_key(|e| (core::cmp::Reverse(e.destination.prefix_len), e.destination.network(), e.metric));
        all
    }
}

/// What is known of a destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    address: IpAddr,
    constraint: Option<InterfaceId>,
    generation: u32,
    pub route: Route,
    pub next_hop: IpAddr,
    /// The path's MTU is below the least believed one, or very small: packets are sent without DF.
    pub mtu_locked: bool,
    pub neighbour: NeighbourRef,
    /// The headers of the last packet, if the next may be like it.
    pub template: Option<Template>,
}

const CACHE: usize = 256;

/// The least MTU that carries TCP's smallest segment (48 bytes and 40 of headers) whole. A link may carry less (68 bytes, RFC
/// 791): there it travels in fragments.
const SMALLEST_WHOLE: u16 = 88;

/// The cache of destinations.
pub(super) struct DestinationCache {
    slots: Box<[Option<Destination>]>,
    hash: FixedState,
    pub generation: u32,
}

impl DestinationCache {
    pub fn new(rng: &mut Rng) -> DestinationCache {
        DestinationCache { slots: vec![None; CACHE].into_boxed_slice(), hash: rng.hash_state(), generation: 1 }
    }

    /// Makes everything be looked up anew.
    pub fn clear(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    fn slot(&self, address: IpAddr) -> usize {
        let hash = match address {
            IpAddr::V4(ip) => self.hash.hash_one(ip.to_bits()),
            IpAddr::V6(ip) => self.hash.hash_one(u128::from_le_bytes(ip.octets())),
        };
        hash as usize % CACHE
    }
}

/// What the routes say of a destination.
struct FirstHop {
    interface: InterfaceId,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    mtu: Option<u16>,
}

impl Net {
    /// The destination's entry in the cache, looked up if need be.
    pub(super) fn destination(&mut self, address: IpAddr, interface: Option<InterfaceId>) -> Result<&mut Destination> {
        let slot = self.destinations.slot(address);
        let generation = self.destinations.generation;
        let hit = matches!(&self.destinations.slots[slot],
            Some(d) if d.address == address && d.generation == generation && d.constraint == interface);
        if !hit {
            self.destinations.slots[slot] = Some(self.find_destination(address, interface)?);
        }
        self.destinations.slots[slot].as_mut().ok_or(Error::NetworkUnreachable)
    }

    #[cold]
    fn find_destination(&mut self, address: IpAddr, interface: Option<InterfaceId>) -> Result<Destination> {
        let (route, next_hop) = self.look_up(address, interface)?;
        let mut found = Destination {
            address,
            constraint: interface,
            generation: self.destinations.generation,
            route,
            next_hop,
            mtu_locked: address.is_ipv4() && route.mtu < SMALLEST_WHOLE,
            neighbour: NeighbourRef::default(),
            template: None,
        };
        if let Some(mtu) = self.path_mtus.get(address).filter(|_| route.kind == RouteKind::Unicast) {
            let least = self.least_path_mtu(address);
            found.mtu_locked |= address.is_ipv4() && mtu < least;
            found.route.mtu = route.mtu.min(mtu.max(least));
        }
        Ok(found)
    }

    /// The route to a destination. A gateway that does not answer is left for another (RFC 1122 §3.3.1.5), whatever their metrics.
    fn live_route(&self, destination: IpAddr, constraint: Option<InterfaceId>) -> Option<&RouteEntry> {
        let dead = |entry: &RouteEntry| {
            entry.gateway.is_some_and(|gateway| self.neighbours.has_failed(entry.interface, gateway))
        };
        self.routes.lookup(destination, constraint, dead)
    }

    /// The interface, gateway and source address that the routes give for a destination.
    fn first_hop(&self, destination: IpAddr, constraint: Option<InterfaceId>) -> Result<FirstHop> {
        let found = self.live_route(destination, constraint);
        let by = |entry: &RouteEntry| FirstHop {
            interface: entry.interface,
            gateway: entry.gateway,
            source: entry.source,
            mtu: entry.mtu,
        };
        let on_link = |interface| FirstHop { interface, gateway: None, source: None, mtu: None };
        Ok(match (found, constraint) {
            // Groups of IPv6 are on the first link, unless a route says better than the default one (Linux has a route ff00::/8 for each).
            (found, None) if destination.is_multicast() && destination.is_ipv6() => {
                match found.filter(|entry| entry.destination.prefix_len >= 8) {
                    Some(entry) => by(entry),
                    None => {
                        let first = self.interfaces.iter().find(|at| at.station.is_some());
                        on_link(first.ok_or(Error::NetworkUnreachable)?.id)
                    }
                }
            }
            (Some(entry), _) => by(entry),
            // Bound to a device without a route: the destination is taken to be on its link, as Linux does.
            (None, Some(interface)) if self.interface(interface).is_some_and(|at| at.up) => on_link(interface),
            (None, _) => return Err(Error::NetworkUnreachable),
        })
    }

    /// By which interface packets to a group would leave: where to join it. Needs no address there.
    pub fn interface_towards(&self, group: IpAddr) -> Option<InterfaceId> {
        self.first_hop(group, None).ok().map(|hop| hop.interface)
    }

    fn look_up(&self, destination: IpAddr, constraint: Option<InterfaceId>) -> Result<(Route, IpAddr)> {
        if self.is_local_at(destination, constraint) {
            let source = match destination {
                // All of 127/8 is the host; it calls itself 127.0.0.1.
                IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
                other => other,
            };
            return Ok((self.route_by(InterfaceId::LOOPBACK, source, RouteKind::Local, None)?, destination));
        }
        let kind = match destination {
            ip if ip.is_multicast() => RouteKind::Multicast,
            _ if self.is_broadcast(destination) => RouteKind::Broadcast,
            _ => RouteKind::Unicast,
        };
        let FirstHop { interface, gateway, source: preferred, mtu } = self.first_hop(destination, constraint)?;
        if interface == InterfaceId::LOOPBACK && kind != RouteKind::Multicast {
            return Err(Error::NetworkUnreachable);
        }
        let next_hop = gateway.filter(|_| kind == RouteKind::Unicast).unwrap_or(destination);
        let source = match destination {
            IpAddr::V4(ip) => {
                let own = || self.interfaces.get(usize::from(interface.0))?.source_for(next_hop);
                // An interface without an address borrows one of another; without any, and to everybody on the link (who asks for one: RFC 2131 §4.1), the
                // packet says "this host" (RFC 1122 §3.2.1.3).
                let other = || self.interfaces.iter().skip(1).find_map(|i| i.source_for(destination));
                let other = || if ip.is_broadcast() { None } else { other() };
                preferred.or_else(own).or_else(other).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
            }
            IpAddr::V6(ip) => {
                let selected = || self.select_source(interface, ip).map(IpAddr::V6);
                preferred.or_else(selected).ok_or(Error::AddressNotAvailable)?
            }
        };
        Ok((self.route_by(interface, source, kind, mtu)?, next_hop))
    }

    fn route_by(&self, interface: InterfaceId, source: IpAddr, kind: RouteKind, mtu: Option<u16>) -> Result<Route> {
        let link = self.interfaces.get(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        let interface_mtu = link.ip_mtu(source.is_ipv6());
        Ok(Route { interface, source, mtu: interface_mtu.min(mtu.unwrap_or(u16::MAX)), interface_mtu, kind })
    }

    /// Where a packet would go, for people to see. Errors as [`Net::route`].
    pub fn route_towards(&mut self, destination: IpAddr, interface: Option<InterfaceId>) -> Result<RouteTowards> {
        let found = self.destination(destination, interface)?;
        let (Route { interface: by, source, mtu, kind, .. }, next_hop) = (found.route, found.next_hop);
        let of_table = |entry: &&RouteEntry| kind != RouteKind::Local && entry.interface == by;
        let entry = self.live_route(destination, interface).filter(of_table).copied();
        let gateway = Some(next_hop).filter(|&hop| hop != destination);
        Ok(RouteTowards { interface: by, gateway, source, mtu, kind, entry })
    }

    /// Where a packet to `destination` would go. ENETUNREACH if nowhere, ENODEV if `interface` is none.
    pub fn route(&mut self, destination: IpAddr, interface: Option<InterfaceId>) -> Result<Route> {
        self.destination(destination, interface).map(|d| d.route)
    }

    /// Whether `address` is one of the host's own (any of 127/8 too).
    pub fn is_local(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) if ip.is_loopback() => true,
            _ => self.local_addresses.contains_key(&address),
        }
    }

    /// Whether `address` is one of the host's own as seen on an interface: a link-local address of IPv6 is that of one link (RFC 4007 §6). Without
    /// an interface it is taken to be on any.
    pub fn is_local_at(&self, address: IpAddr, interface: Option<InterfaceId>) -> bool {
        match (address, interface.and_then(|id| self.interface(id))) {
            (IpAddr::V6(ip), Some(at)) if ip.is_unicast_link_local() && at.id != InterfaceId::LOOPBACK => {
                at.addresses.iter().any(|cidr| cidr.address == address)
            }
            _ => self.is_local(address),
        }
    }

    /// The interface that a packet to `address` must leave by because one of this link said the address: a link-local one of IPv6
    /// (RFC 4007 §6) that came in by `interface`.
    pub fn scope_of(&self, address: IpAddr, interface: InterfaceId) -> Option<InterfaceId> {
        matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local() && interface != InterfaceId::LOOPBACK)
            .then_some(interface)
    }

    /// The hops that a packet may go to `destination` if its socket says nothing of them.
    pub fn default_hops(&mut self, destination: IpAddr, interface: Option<InterfaceId>) -> u8 {
        if destination.is_ipv4() {
            return self.settings.ip_default_ttl;
        }
        // What the link's routers say (RFC 4861 §6.3.4), else the setting.
        if self.interfaces.iter().all(|at| at.routers.hop_limit.is_none()) {
            return self.settings.ipv6_hop_limit;
        }
        let said = match self.route(destination, interface) {
            Ok(route) => self.interface(route.interface).and_then(|at| at.routers.hop_limit),
            Err(_) => None,
        };
        said.unwrap_or(self.settings.ipv6_hop_limit)
    }

    /// Whether `address` is the limited broadcast address, a directed one of an interface, or a multicast address.
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => ip.is_broadcast() || ip.is_multicast() || self.broadcasts.contains_key(&ip),
            IpAddr::V6(ip) => ip.is_multicast(),
        }
    }

    /// Starts to use an address on an interface: it is local from now on, and its network on the link.
    pub(super) fn install_address(&mut self, interface: InterfaceId, cidr: Cidr) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        if at.addresses.contains(&cidr) {
            return;
        }
        at.addresses.push(cidr);
        *self.local_addresses.entry(cidr.address).or_insert(0) += 1;
        if at.up {
            self.connect_address(interface, cidr);
        }
        self.destinations.clear();
    }

    /// Takes an address's network to be on the link, now that its interface is up.
    pub(super) fn connect_address(&mut self, interface: InterfaceId, cidr: Cidr) {
        if let Some(broadcast) = cidr.broadcast() {
            *self.broadcasts.entry(broadcast).or_insert(0) += 1;
        }
        let Some(at) = self.interfaces.get(usize::from(interface.0)) else { return };
        // Of addresses made by RFC 4862 the routers say what is on the link (RFC 5942 §4); of static ones their prefix does.
        let connected = interface != InterfaceId::LOOPBACK && !at.slaac.has_global(cidr.address);
        // The first IPv4 address in a network is the source there; of several IPv6 ones the rules choose (`select.rs`).
        if connected && has_network(&cidr) && !at.given.has_no_route(cidr) && !self.routes.has(cidr, interface) {
            self.routes.add(connected_route(cidr, interface));
        }
    }

    /// Takes an address's network to be on the link no longer.
    pub(super) fn disconnect_address(&mut self, interface: InterfaceId, cidr: Cidr) {
        if let Some(broadcast) = cidr.broadcast() {
            release(&mut self.broadcasts, broadcast);
        }
        self.routes.remove(cidr, |e| *e == connected_route(cidr, interface));
    }

    /// An address was removed: the next one in its network takes its place (Linux's promote_secondaries).
    fn promote_address(&mut self, interface: InterfaceId, gone: Cidr) {
        let next = self.interface(interface).and_then(|at| {
            let fits = |next: &&Cidr| {
                is_beside(next, &gone) && !at.slaac.has_global(next.address) && !at.given.has_no_route(**next)
            };
            at.addresses.iter().find(fits).copied()
        });
        let next = next.filter(|next| interface != InterfaceId::LOOPBACK && has_network(next));
        if let Some(next) = next.filter(|&next| !self.routes.has(next, interface)) {
            self.routes.add(connected_route(next, interface));
        }
    }

    /// Stops using an address; whether the interface had it.
    pub(super) fn remove_address(&mut self, interface: InterfaceId, cidr: Cidr) -> bool {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return false };
        let Some(position) = at.addresses.iter().position(|old| *old == cidr) else { return false };
        at.addresses.remove(position);
        let up = at.up;
        release(&mut self.local_addresses, cidr.address);
        if up {
            self.disconnect_address(interface, cidr);
            self.promote_address(interface, cidr);
        }
        if !self.local_addresses.contains_key(&cidr.address) {
            self.routes.forget_source(cidr.address);
        }
        self.destinations.clear();
        true
    }
}

/// Whether two addresses are in one network.
fn is_beside(one: &Cidr, other: &Cidr) -> bool {
    (one.prefix_len, one.network()) == (other.prefix_len, other.network())
}

/// Whether more than itself is on the link because of an address (Linux's fib_add_ifaddr).
fn has_network(cidr: &Cidr) -> bool {
    match cidr.network() {
        IpAddr::V4(network) => cidr.prefix_len < 32 && network.octets()[0] != 0 && !network.is_multicast(),
        IpAddr::V6(_) => true,
    }
}

/// The route to the network of an address.
fn connected_route(cidr: Cidr, interface: InterfaceId) -> RouteEntry {
    let source = cidr.address.is_ipv4().then_some(cidr.address);
    let destination = Cidr { address: cidr.network(), ..cidr };
    RouteEntry { source, protocol: RouteProtocol::KERNEL, ..RouteEntry::new(destination, interface) }
}

fn release<K: core::hash::Hash + Eq>(counts: &mut Map<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
