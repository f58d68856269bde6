//! Routers: what they advertise about a link, for as long as they say (RFC 4861 §6.3), and better first hops (§8.3).
//!
//! Each thing learnt is a route in the table like any other, with a metric behind those that the owner set: default routers by their
//! preference (RFC 4191 §3), prefixes on the link, routes (RFC 4191 §2.3) and redirected destinations. A router that does not answer is put behind the others
//! (§6.3.6); of several such the one that was tried last comes last, so that each is tried in turn. All lists are bounded, each kind by itself: what came
//! latest and is of no use yet makes room for what comes now. So neither does a flood drive out what is in use, nor is the list closed to whoever comes after.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use wireway_packet::Instant;
use wireway_wire::ndp_options::FOREVER;
use wireway_wire::{NdpOption, NdpOptions, Redirect, RouterAdvertisementFields, RouterPreference};

use super::ipv6::MIN_MTU;
use super::{Net, RouteEntry, RouteProtocol};
use crate::InterfaceId;
use crate::interface::Cidr;
use crate::timer::{Timer, TimerKey};

/// Default routers learnt on one interface, at most; and prefixes, and other routes.
const ROUTERS: usize = 16;
const PREFIXES: usize = 32;
const ROUTES: usize = 16;
/// Redirected destinations, at most: the oldest make room.
const REDIRECTS: usize = 64;
/// Name servers, at most (RFC 8106 §5.3.1 asks for three at least).
const NAME_SERVERS: usize = 8;
/// How long a redirect holds if nothing else ends it.
const REDIRECT_TIME: Duration = Duration::from_secs(600);
/// Behind those of the owner, which have 0 by default, and as Linux's.
const PREFIX_METRIC: u32 = 256;
const ROUTER_METRIC: u32 = 1024;
/// What a router that does not answer has in addition.
const UNREACHABLE: u32 = 16;

// RFC 4861 §10, RFC 7559 §2.
const SOLICITATION_DELAY: Duration = Duration::from_secs(1);
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// A route that was learnt.
#[derive(Debug)]
struct Learnt {
    entry: RouteEntry,
    until: Instant,
    redirect: bool,
}

/// What sort of route was learnt; each has its bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Router,
    Prefix,
    Route,
    Redirect,
}

impl Kind {
    fn limit(self) -> usize {
        match self {
            Kind::Router => ROUTERS,
            Kind::Prefix => PREFIXES,
            Kind::Route => ROUTES,
            Kind::Redirect => REDIRECTS,
        }
    }
}

impl Learnt {
    fn kind(&self) -> Kind {
        match self.entry.gateway {
            _ if self.redirect => Kind::Redirect,
            None => Kind::Prefix,
            Some(_) if self.entry.destination.prefix_len == 0 => Kind::Router,
            Some(_) => Kind::Route,
        }
    }

    /// Its router did not answer.
    fn is_unreachable(&self) -> bool {
        self.entry.metric >= ROUTER_METRIC + UNREACHABLE
    }
}

/// What the routers of an interface's link say.
#[derive(Debug, Default)]
pub(crate) struct Routers {
    pub hop_limit: Option<u8>,
    pub reachable_time: Option<Duration>,
    pub retrans_time: Option<Duration>,
    pub mtu: Option<u16>,
    /// What the latest advertisement said of it: other things than addresses are to be had by DHCPv6.
    pub other_config: bool,
    routes: Vec<Learnt>,
    name_servers: Vec<(Ipv6Addr, Instant)>,
    /// The next router solicitation, and the time to the one after.
    solicit_at: Option<Instant>,
    interval: Duration,
    timer: Timer,
}

impl Routers {
    fn next_at(&self) -> Option<Instant> {
        let routes = self.routes.iter().map(|learnt| learnt.until);
        let servers = self.name_servers.iter().map(|&(_, until)| until);
        let ends = routes.chain(servers).filter(|&at| at != Instant::FAR_FUTURE).min();
        [ends, self.solicit_at].into_iter().flatten().min()
    }
}

/// When a lifetime of so many seconds ends.
pub(super) fn end_of(now: Instant, seconds: u32) -> Instant {
    if seconds == FOREVER { Instant::FAR_FUTURE } else { now + Duration::from_secs(seconds.into()) }
}

fn metric_of(preference: RouterPreference) -> u32 {
    ROUTER_METRIC
        + match preference {
            RouterPreference::High => 0,
            RouterPreference::Medium => 1,
            RouterPreference::Low => 2,
        }
}

const LEAST_REACHABLE_TIME: Duration = Duration::from_millis(100);
const MOST_REACHABLE_TIME: Duration = Duration::from_secs(3600);
const LEAST_RETRANS_TIME: Duration = Duration::from_millis(10);

/// Whether a router may say where a prefix lies: not of groups, of the link alone, nor of what is on no wire.
fn is_of_hosts(prefix: Ipv6Addr) -> bool {
    let nowhere = prefix.is_loopback() || prefix.to_ipv4_mapped().is_some();
    !prefix.is_multicast() && !prefix.is_unicast_link_local() && !nowhere
}

impl Net {
    fn routers(&mut self, interface: InterfaceId) -> Option<&mut Routers> {
        self.interfaces.get_mut(usize::from(interface.0)).map(|at| &mut at.routers)
    }

    /// Starts to look for routers, if the interface configures itself (RFC 4861 §6.3.7).
    pub(super) fn solicit_routers(&mut self, now: Instant, interface: InterfaceId) {
        if !self.interface(interface).is_some_and(|at| at.autoconf) {
            return;
        }
        let delay = SOLICITATION_DELAY * self.rng.below(1024) / 1024;
        let Some(routers) = self.routers(interface) else { return };
        routers.solicit_at = Some(now + delay);
        routers.interval = SOLICITATION_INTERVAL;
        self.arm_autoconf(interface);
    }

    /// Forgets what the routers of a link said.
    pub(super) fn forget_routers(&mut self, interface: InterfaceId) {
        self.forget_routes(interface, |_| true);
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        self.timers.cancel(&mut at.routers.timer);
        at.routers = Routers::default();
    }

    pub(super) fn arm_autoconf(&mut self, interface: InterfaceId) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        match [at.routers.next_at(), at.slaac.next_at(), at.given.next_at()].into_iter().flatten().min() {
            Some(next) => self.timers.arm(&mut at.routers.timer, next, TimerKey::Autoconf { interface: interface.0 }),
            None => self.timers.disarm(&mut at.routers.timer),
        }
    }

    /// Asks for routers if it is time, and ends what is over.
    pub(super) fn on_autoconf_timer(&mut self, now: Instant, interface: InterfaceId) {
        let Some(routers) = self.routers(interface) else { return };
        routers.name_servers.retain(|&(_, until)| until > now);
        let solicit = routers.solicit_at.is_some_and(|at| at <= now);
        if solicit {
            // RFC 7559 §2: less and less often, for as long as no router answers.
            routers.solicit_at = Some(now + routers.interval);
            routers.interval = (routers.interval * 2).min(LONGEST_INTERVAL);
        }
        self.forget_routes(interface, |learnt| learnt.until <= now);
        if solicit {
            self.send_router_solicitation(now, interface);
        }
        self.expire_addresses(now, interface);
        self.expire_given(now, interface);
        self.arm_autoconf(interface);
    }

    /// Removes learnt routes.
    fn forget_routes(&mut self, interface: InterfaceId, over: impl Fn(&Learnt) -> bool) {
        let Some(routers) = self.routers(interface) else { return };
        let removed: Vec<Learnt> = routers.routes.extract_if(.., |learnt| over(learnt)).collect();
        for learnt in &removed {
            self.routes.remove(learnt.entry.destination, |old| *old == learnt.entry);
        }
        if !removed.is_empty() {
            self.destinations.clear();
        }
    }

    /// Learns a route, or what is new of it; one that is over is forgotten.
    fn learn_route(&mut self, now: Instant, entry: RouteEntry, until: Instant, redirect: bool) {
        let interface = entry.interface;
        let learnt = Learnt { entry, until, redirect };
        let kind = learnt.kind();
        let same = |old: &Learnt| {
            (old.entry.destination, old.entry.gateway, old.redirect) == (entry.destination, entry.gateway, redirect)
        };
        let Some(routers) = self.routers(interface) else { return };
        let full = routers.routes.iter().filter(|old| old.kind() == kind).count() >= kind.limit();
        if let Some(known) = routers.routes.iter_mut().find(|old| same(old)) {
            if until > now && !known.is_unreachable() && known.entry.metric == entry.metric {
                known.until = until;
                return;
            }
            self.forget_routes(interface, same);
        } else if until > now && full && !self.make_room(interface, kind) {
            return;
        }
        if until <= now {
            return;
        }
        self.routes.add(entry);
        self.destinations.clear();
        if let Some(routers) = self.routers(interface) {
            routers.routes.push(learnt);
        }
    }

    /// Forgets a route for another of its kind: the oldest redirect, or of the others the latest that is of no use; whether there was one.
    fn make_room(&mut self, interface: InterfaceId, kind: Kind) -> bool {
        let Some(at) = self.interface(interface) else { return false };
        let useless = |learnt: &Learnt| match learnt.entry.gateway {
            Some(router) => learnt.is_unreachable() || !self.neighbours.is_in_use(interface, router),
            None => !at.addresses.iter().any(|own| learnt.entry.destination.contains(own.address)),
        };
        let mut all = at.routers.routes.iter().filter(|learnt| learnt.kind() == kind);
        let victim = if kind == Kind::Redirect { all.next() } else { all.rfind(|learnt| useless(learnt)) };
        let Some(victim) = victim.map(|learnt| (learnt.entry, learnt.redirect)) else { return false };
        self.forget_routes(interface, |learnt| (learnt.entry, learnt.redirect) == victim);
        true
    }

    /// A router advertisement (RFC 4861 §6.3.4). False if it is not for us.
    pub(super) fn router_advertised(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        router: Ipv6Addr,
        fields: &RouterAdvertisementFields,
        options: NdpOptions<'_>,
    ) -> bool {
        // What a program of this host advertises does not make the host its own router (Linux's accept_ra_from_local).
        if self.is_local_at(router.into(), Some(interface)) {
            return false;
        }
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return false };
        if !at.autoconf || at.mtu < MIN_MTU.into() {
            return false;
        }
        let link_mtu = at.mtu;
        let routers = &mut at.routers;
        // Zero says nothing.
        let millis = |n: u32| (n > 0).then(|| Duration::from_millis(n.into()));
        routers.other_config = fields.other_config;
        routers.hop_limit = Some(fields.hop_limit).filter(|&n| n > 0).or(routers.hop_limit);
        // Within bounds: RFC 4861 §6.2.1 has the upper one, Linux the lower ones.
        let reachable = millis(fields.reachable_time).map(|time| time.clamp(LEAST_REACHABLE_TIME, MOST_REACHABLE_TIME));
        routers.reachable_time = reachable.or(routers.reachable_time);
        let retransmit = millis(fields.retransmit_time).map(|time| time.max(LEAST_RETRANS_TIME));
        routers.retrans_time = retransmit.or(routers.retrans_time);
        if fields.lifetime > 0 {
            routers.solicit_at = None;
        }
        if let Some(mac) = options.source_link_layer().filter(|mac| mac.is_unicast()) {
            self.learn_neighbour(now, interface, router.into(), mac, false, true);
        }
        self.neighbour_is_router(interface, router.into());
        let by_router = |destination, metric| RouteEntry {
            gateway: Some(router.into()),
            metric,
            protocol: RouteProtocol::RA,
            ..RouteEntry::new(destination, interface)
        };
        let everywhere = Cidr { address: Ipv6Addr::UNSPECIFIED.into(), prefix_len: 0 };
        let metric = metric_of(fields.preference);
        self.learn_route(now, by_router(everywhere, metric), end_of(now, fields.lifetime.into()), false);
        for option in options {
            match option {
                NdpOption::Prefix(prefix) => {
                    let network = Cidr { address: prefix.prefix().into(), prefix_len: prefix.prefix_len() };
                    if prefix.on_link() && prefix.prefix_len() > 0 && is_of_hosts(prefix.prefix()) {
                        let (metric, protocol) = (PREFIX_METRIC, RouteProtocol::KERNEL);
                        let entry = RouteEntry { metric, protocol, ..RouteEntry::new(network, interface) };
                        self.learn_route(now, entry, end_of(now, prefix.valid()), false);
                    }
                    if prefix.autonomous() {
                        self.prefix_for_addresses(now, interface, prefix);
                    }
                }
                // RFC 4191 §2.3; that of all destinations replaces what the header says.
                NdpOption::Route(route) if is_of_hosts(route.prefix) => {
                    let network = Cidr { address: route.prefix.into(), prefix_len: route.prefix_len };
                    let entry = by_router(network, metric_of(route.preference));
                    self.learn_route(now, entry, end_of(now, route.lifetime), false);
                }
                NdpOption::Mtu(mtu) => {
                    let mtu = u16::try_from(mtu).ok().filter(|&mtu| mtu >= MIN_MTU && u32::from(mtu) <= link_mtu);
                    if let (Some(mtu), Some(routers)) = (mtu, self.routers(interface))
                        && routers.mtu.replace(mtu) != Some(mtu)
                    {
                        self.destinations.clear();
                    }
                }
                NdpOption::DnsServers(servers) => {
                    let until = end_of(now, servers.lifetime);
                    let Some(routers) = self.routers(interface) else { continue };
                    for server in servers.servers() {
                        let full = routers.name_servers.len() >= NAME_SERVERS;
                        match routers.name_servers.iter_mut().find(|(old, _)| *old == server) {
                            Some((_, old)) => *old = until,
                            None if full => {}
                            None => routers.name_servers.push((server, until)),
                        }
                    }
                    // RFC 8106 §5.1: a lifetime of 0 ends them.
                    routers.name_servers.retain(|&(_, until)| until > now);
                }
                _ => {}
            }
        }
        self.arm_autoconf(interface);
        true
    }

    /// A redirect (RFC 4861 §8.3): believed if it comes from the present first hop.
    pub(super) fn redirected(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        router: Ipv6Addr,
        redirect: &Redirect,
        mac: Option<wireway_wire::MacAddr>,
    ) -> bool {
        let (target, destination) = (redirect.target(), redirect.destination());
        if !self.settings.ipv6_accept_redirects || !self.is_first_hop(interface, router.into(), destination.into()) {
            return false;
        }
        if let Some(mac) = mac.filter(|mac| mac.is_unicast()) {
            self.learn_neighbour(now, interface, target.into(), mac, false, true);
        }
        if target != destination {
            self.neighbour_is_router(interface, target.into());
        }
        self.learn_redirect(now, interface, target.into(), destination.into());
        true
    }

    /// IPv4's redirect: believed if it comes from the present first hop and names another on the link (RFC 1122 §3.2.2.2). Those for networks are taken as for
    /// hosts.
    pub(super) fn redirected_v4(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        router: IpAddr,
        target: Ipv4Addr,
        destination: IpAddr,
    ) -> bool {
        let target = IpAddr::V4(target);
        let connected = self.interface(interface).is_some_and(|at| at.addresses.iter().any(|own| own.contains(target)));
        let fits = connected && !self.is_local(target) && !self.is_broadcast(target) && target != router;
        let believed = self.settings.ip_accept_redirects && fits && self.is_first_hop(interface, router, destination);
        if believed {
            self.learn_redirect(now, interface, target, destination);
        }
        believed
    }

    fn is_first_hop(&mut self, interface: InterfaceId, router: IpAddr, destination: IpAddr) -> bool {
        let first_hop = self.destination(destination, None).map(|d| (d.route.interface, d.next_hop));
        first_hop == Ok((interface, router))
    }

    fn learn_redirect(&mut self, now: Instant, interface: InterfaceId, target: IpAddr, destination: IpAddr) {
        let network = Cidr { address: destination, prefix_len: if destination.is_ipv4() { 32 } else { 128 } };
        // An earlier word about this destination no longer holds.
        self.forget_routes(interface, |learnt| learnt.redirect && learnt.entry.destination == network);
        let gateway = (target != destination).then_some(target);
        let (metric, protocol) = (PREFIX_METRIC, RouteProtocol::REDIRECT);
        let entry = RouteEntry { gateway, metric, protocol, ..RouteEntry::new(network, interface) };
        self.learn_route(now, entry, now + REDIRECT_TIME, true);
        self.arm_autoconf(interface);
    }

    /// A neighbour answers, or does not: routes by it are put where they belong (RFC 4861 §6.3.6), and redirects to one that does not are forgotten
    /// (§7.3.3).
    pub(super) fn router_reachability(&mut self, interface: InterfaceId, neighbour: IpAddr, reachable: bool) {
        let Some(routers) = self.routers(interface) else { return };
        let by = |learnt: &Learnt| {
            let hop = learnt.entry.gateway.unwrap_or(learnt.entry.destination.address);
            hop == neighbour && (learnt.entry.gateway.is_some() || learnt.redirect)
        };
        if !routers.routes.iter().any(by) {
            return;
        }
        if !reachable {
            self.forget_routes(interface, |learnt| learnt.redirect && by(learnt));
        }
        let Net { interfaces, routes, destinations, .. } = self;
        let Some(at) = interfaces.get_mut(usize::from(interface.0)) else { return };
        for learnt in at.routers.routes.iter_mut().filter(|learnt| by(learnt) && !learnt.redirect) {
            let behind = learnt.is_unreachable();
            if behind || !reachable {
                routes.remove(learnt.entry.destination, |old| *old == learnt.entry);
                learnt.entry.metric = match (behind, reachable) {
                    (true, true) => learnt.entry.metric - UNREACHABLE,
                    (false, false) => learnt.entry.metric + UNREACHABLE,
                    _ => learnt.entry.metric,
                };
                routes.add(learnt.entry);
                destinations.clear();
            }
        }
    }

    /// A neighbour that was a router says that it is none (RFC 4861 §7.2.5).
    pub(super) fn forget_router(&mut self, _now: Instant, interface: InterfaceId, router: IpAddr) {
        self.forget_routes(interface, |learnt| learnt.entry.gateway == Some(router));
        self.arm_autoconf(interface);
    }

    /// Name servers that routers advertised, of each interface (RFC 8106).
    pub fn name_servers(&self) -> Vec<(InterfaceId, Ipv6Addr)> {
        self.interfaces
            .iter()
            .flat_map(|at| at.routers.name_servers.iter().map(|&(server, _)| (at.id, server)))
            .collect()
    }
}
