//! A host: its interfaces, routes, neighbours and sockets, as one value.
//!
//! `Host` ties [`Net`] (layers 2 and 3, and what every protocol needs: settings, counters, randomness, timers, events)
//! to the transports. A transport's functions take `&mut Net` and the time; `Net` never calls a transport: what it
//! received for one, it hands back to `Host::receive`, which dispatches on the protocol.

use core::net::{IpAddr, Ipv6Addr};

use wireway_packet::{Instant, Packet};
use wireway_wire::{EtherType, EthernetHeader, MacAddr, Protocol};

use crate::interface::{AddressInfo, AddressOptions, Cidr, Interface, InterfaceInfo};
use crate::net::{
    GroupInfo, IcmpError, IcmpInbound, Inbound, IpHeader, LinkDestination, NeighbourInfo, Net, RouteEntry,
    RouteTowards, is_special,
};
use crate::raw::Raw;
use crate::socket::SocketFamily;
use crate::socket::redirect::Redirects;
use crate::tcp::Tcp;
use crate::timer::TimerKey;
use crate::udp::Udp;
use crate::{Counters, Event, InterfaceConfig, InterfaceId, Settings, Vlan};

/// One network stack. See the crate's head.
pub struct Host {
    pub(crate) net: Net,
    pub(crate) tcp: Tcp,
    pub(crate) udp: Udp,
    pub(crate) raw: Raw,
    pub(crate) redirects: Redirects,
}

impl Host {
    /// A host with only `lo` (127.0.0.1/8 and ::1, MTU 65,536). All its randomness comes from `seed`.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Host {
        let mut net = Net::new(settings, seed);
        let tcp = Tcp::new(&mut net);
        let udp = Udp::new(&mut net);
        let raw = Raw::new(&mut net);
        let redirects = Redirects::new(&mut net.rng);
        Host { net, tcp, udp, raw, redirects }
    }

    /// Adds an interface and brings it up. Fails with EINVAL on an MTU or prefix out of range, EEXIST on a name that is taken.
    pub fn add_interface(&mut self, now: Instant, config: InterfaceConfig) -> crate::Result<InterfaceId> {
        self.net.add_interface(now, &config)
    }

    /// Adds a VLAN's interface: down, without addresses, with its parent's MAC address, MTU and way to configure IPv6. It has no nic: its frames are its
    /// parent's. ENODEV, EOPNOTSUPP (a parent that is not Ethernet), ERANGE (a number not in 1..=4094), EEXIST (such a VLAN, or the name), EINVAL (too many
    /// within each other).
    pub fn add_vlan(&mut self, now: Instant, name: &str, vlan: Vlan) -> crate::Result<InterfaceId> {
        self.net.add_vlan(now, name, vlan)
    }

    /// Removes a VLAN's interface, with its addresses, routes and the VLANs within it. ENODEV, EOPNOTSUPP for any other interface.
    pub fn remove_interface(&mut self, now: Instant, interface: InterfaceId) -> crate::Result<()> {
        self.net.remove_interface(now, interface)
    }

    /// Takes an interface into use or out of it, as Linux does: down, its routes, neighbours and IPv6 addresses are forgotten, and what waits in its queue
    /// is dropped; up again, the networks of its IPv4 addresses are on the link, and IPv6 and groups start anew. VLANs follow their parent. ENODEV;
    /// ENETDOWN if a VLAN's parent is down.
    pub fn set_up(&mut self, now: Instant, interface: InterfaceId, up: bool) -> crate::Result<()> {
        self.net.set_up(now, interface, up)
    }

    /// Takes in one frame that `interface` received.
    pub fn receive(&mut self, now: Instant, interface: InterfaceId, packet: Packet) {
        match self.net.receive_frame(now, interface, packet) {
            Some((link, EtherType::IPV4, frame)) => {
                self.receive_ipv4(now, interface, link, EthernetHeader::LEN, frame);
            }
            Some((link, EtherType::IPV6, frame)) => {
                self.receive_ipv6(now, interface, link, EthernetHeader::LEN, frame);
            }
            Some((_, _, frame)) => self.receive_tagged(now, interface, frame),
            None => {}
        }
    }

    /// Takes in a frame of a VLAN.
    #[cold]
    fn receive_tagged(&mut self, now: Instant, parent: InterfaceId, frame: Packet) {
        if let Some((interface, frame)) = self.net.untag(parent, frame) {
            self.receive(now, interface, frame);
        }
    }

    /// Takes in an IPv4 packet that begins `skip` bytes into `packet`. What becomes of it is built in one place, not moved about.
    fn receive_ipv4(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        link: LinkDestination,
        skip: usize,
        packet: Packet,
    ) {
        let Some(mut inbound) = self.net.receive_ipv4(now, interface, link, skip, packet) else { return };
        if matches!(inbound.header, IpHeader::V4(header) if header.is_fragment()) {
            match self.net.reassemble_ipv4(now, inbound.take()) {
                Some(whole) => inbound = whole,
                None => return,
            }
        }
        self.dispatch(now, &mut inbound);
    }

    /// The same of IPv6.
    fn receive_ipv6(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        link: LinkDestination,
        skip: usize,
        packet: Packet,
    ) {
        let Some(mut inbound) = self.net.receive_ipv6(interface, link, skip, packet) else { return };
        if is_special(Protocol(inbound.protocol)) {
            match self.net.receive_extensions(now, inbound.take()) {
                Some(transport) => inbound = transport,
                None => return,
            }
        }
        self.dispatch(now, &mut inbound);
    }

    /// Hands a packet to its protocol: TCP takes of it what it wants, others all of it.
    #[inline(always)]
    fn dispatch(&mut self, now: Instant, inbound: &mut Inbound) {
        let copied = self.raw.receive(&mut self.net, inbound);
        match Protocol(inbound.protocol) {
            Protocol::TCP => self.tcp.receive(&mut self.net, now, inbound),
            _ => self.dispatch_datagram(now, inbound.take(), copied),
        }
    }

    fn dispatch_datagram(&mut self, now: Instant, inbound: Inbound, copied: bool) {
        let icmp = match (Protocol(inbound.protocol), &inbound.header) {
            (Protocol::UDP, _) => return self.udp.receive(&mut self.net, now, inbound),
            (Protocol::UDP_LITE, _) => return self.udp.receive_lite(&mut self.net, now, inbound),
            (Protocol::ICMP, IpHeader::V4(_)) => self.net.receive_icmp(now, inbound, copied),
            (Protocol::ICMPV6, IpHeader::V6(_)) => self.net.receive_icmpv6(now, inbound, copied),
            (Protocol::IGMP, IpHeader::V4(_)) => return self.net.receive_igmp(now, inbound, copied),
            _ if copied => return,
            _ => return self.net.refuse_protocol(now, inbound),
        };
        match icmp {
            Some(IcmpInbound::EchoReply(inbound)) => self.raw.receive_echo_reply(&mut self.net, inbound, copied),
            Some(IcmpInbound::Error(error)) => self.dispatch_error(now, &error.get()),
            None => {}
        }
    }

    /// An ICMP error, to the socket whose packet it quotes.
    fn dispatch_error(&mut self, now: Instant, error: &IcmpError<'_>) {
        match Protocol(error.protocol) {
            Protocol::TCP => self.tcp.icmp_error(&mut self.net, now, error),
            Protocol::UDP | Protocol::UDP_LITE => self.udp.icmp_error(&mut self.net, now, error),
            _ => {}
        }
        self.raw.icmp_error(&mut self.net, now, error);
    }

    /// The next frame to transmit by `interface`, if there is one.
    #[inline]
    pub fn transmit(&mut self, now: Instant, interface: InterfaceId) -> Option<Packet> {
        self.tcp.flush(&mut self.net, now);
        self.net.transmit(interface)
    }

    /// Runs what is due: timers, and packets on `lo`. Call it when [`poll_at`](Self::poll_at) says so, and after a batch of
    /// receptions or socket calls.
    pub fn poll(&mut self, now: Instant) {
        if self.net.timers.is_due(now) {
            self.run_timers(now);
        }
        if self.net.has_backlog() {
            self.receive_looped(now);
        }
        self.tcp.flush(&mut self.net, now);
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some(key) = self.net.timers.pop(now) {
            match key {
                TimerKey::Tcp { index, generation } => self.tcp.on_timer(&mut self.net, now, index, generation),
                other => self.net.on_timer(now, other),
            }
        }
    }

    /// Takes in what is on `lo`, or was looped back from another interface, and what that causes, up to a bound.
    fn receive_looped(&mut self, now: Instant) {
        for _ in 0..self.net.settings.netdev_budget.max(1) {
            let Some((interface, link, packet)) = self.net.take_looped() else { break };
            let version = packet.parts().next().and_then(|part| part.first()).map_or(0, |first| first >> 4);
            match version {
                6 => self.receive_ipv6(now, interface, link, 0, packet),
                _ => self.receive_ipv4(now, interface, link, 0, packet),
            }
        }
    }

    /// When [`poll`](Self::poll) has something to do next; `None` if nothing is pending. A time in the past means now.
    pub fn poll_at(&self) -> Option<Instant> {
        if self.net.has_backlog() || self.tcp.has_work() {
            return Some(Instant::ZERO);
        }
        self.net.timers.next_at()
    }

    /// The next socket whose readiness may have changed.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        if self.net.events.is_empty() { None } else { self.take_event() }
    }

    fn take_event(&mut self) -> Option<Event> {
        loop {
            let socket = self.net.events.pop()?;
            let ready = match socket.family {
                SocketFamily::Tcp => self.tcp.take_event(socket),
                SocketFamily::Udp => self.udp.take_event(socket),
                SocketFamily::Raw => self.raw.take_event(socket),
            };
            if let Some(ready) = ready {
                return Some(Event { socket, ready });
            }
        }
    }

    /// An interface.
    pub fn interface(&self, id: InterfaceId) -> Option<InterfaceInfo<'_>> {
        self.net.interface(id).map(Interface::info)
    }

    /// All interfaces, `lo` first.
    pub fn interfaces(&self) -> impl Iterator<Item = InterfaceInfo<'_>> {
        self.net.interfaces.iter().filter(|at| !at.gone).map(Interface::info)
    }

    /// Adds an address to an interface, after probing if `probe` says so (RFC 5227). EINVAL, ENODEV.
    pub fn add_address(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: Cidr,
        probe: bool,
    ) -> crate::Result<()> {
        self.net.claim(now, interface, address, AddressOptions { probe, ..AddressOptions::default() })
    }

    /// Adds an address to an interface as `options` say. EINVAL, ENODEV; ENOBUFS if there are too many.
    pub fn add_address_with(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: Cidr,
        options: AddressOptions,
    ) -> crate::Result<()> {
        self.net.claim(now, interface, address, options)
    }

    /// Gives an address that an interface has other lifetimes: `None` is for ever. EADDRNOTAVAIL, ENODEV.
    pub fn set_lifetimes(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: Cidr,
        lifetimes: Option<(Instant, Instant)>,
    ) -> crate::Result<()> {
        self.net.set_lifetimes(now, interface, address, lifetimes)
    }

    /// Removes an address from an interface. EADDRNOTAVAIL, ENODEV.
    pub fn remove_address(&mut self, interface: InterfaceId, address: Cidr) -> crate::Result<()> {
        self.net.disclaim(interface, address)
    }

    /// All addresses of an interface, those that are still being probed too, with their state and lifetimes. Empty if there is no such interface.
    pub fn addresses(&self, interface: InterfaceId) -> Vec<AddressInfo> {
        self.net.interface(interface).map(Interface::address_list).unwrap_or_default()
    }

    /// Whether a router of the interface's link advertises that DHCPv6 tells more, such as name servers (RFC 4861 §4.2, the O flag).
    pub fn other_configuration(&self, interface: InterfaceId) -> bool {
        self.net.interface(interface).is_some_and(|at| at.routers.other_config)
    }

    /// Name servers that routers advertised (RFC 8106), each with the interface it was advertised on.
    pub fn name_servers(&self) -> Vec<(InterfaceId, Ipv6Addr)> {
        self.net.name_servers()
    }

    /// Puts the addresses of one name in the order in which to try them (RFC 6724 §6).
    pub fn sort_destinations(&mut self, destinations: &mut [IpAddr]) {
        self.net.sort_destinations(destinations);
    }

    /// Whether an address is still being probed: neither in use nor given up.
    pub fn is_probing(&self, interface: InterfaceId, address: Cidr) -> bool {
        self.net.is_probing(interface, address)
    }

    /// Changes the MTU of an interface, in bytes; those of its VLANs are lowered with it. Below 1,280 there is no IPv6 on it (RFC 8200 §5), as on Linux: its
    /// addresses go, and a link-local one comes back with a larger MTU. EINVAL below 68 (RFC 791) and above 65,535 (`lo`: 65,536), ERANGE on a VLAN
    /// above the parent's, ENODEV.
    pub fn set_mtu(&mut self, now: Instant, interface: InterfaceId, mtu: u32) -> crate::Result<()> {
        self.net.set_mtu(now, interface, mtu)?;
        self.tcp.refresh_path_mtus(&mut self.net, now);
        Ok(())
    }

    /// Changes the MAC address of an interface, and of its VLANs that had the same. ENODEV, EOPNOTSUPP (`lo`), EADDRNOTAVAIL (no station's).
    pub fn set_mac(&mut self, interface: InterfaceId, mac: MacAddr) -> crate::Result<()> {
        self.net.set_mac(interface, mac)
    }

    /// Changes how many packets an interface's transmit queue holds (Linux's txqueuelen). ENODEV; EOPNOTSUPP where there is no queue (`lo`, VLANs).
    pub fn set_queue_limit(&mut self, interface: InterfaceId, limit: usize) -> crate::Result<()> {
        self.net.set_queue_limit(interface, limit)
    }

    /// Lets an interface configure IPv6 by itself (see [`InterfaceConfig::autoconf`]), or believe routers no longer. ENODEV, EOPNOTSUPP (`lo`), EINVAL (an MTU
    /// below 1,280).
    pub fn set_autoconf(&mut self, now: Instant, interface: InterfaceId, autoconf: bool) -> crate::Result<()> {
        self.net.set_autoconf(now, interface, autoconf)
    }

    /// Gives an interface a link-local address of IPv6 (RFC 7217), now and whenever it comes up. ENODEV, EOPNOTSUPP (`lo`), EINVAL (an MTU below 1,280).
    pub fn add_link_local(&mut self, now: Instant, interface: InterfaceId) -> crate::Result<()> {
        self.net.add_link_local(now, interface)
    }

    /// Adds a route. ENODEV, ENETDOWN (the interface is down), EINVAL, EEXIST (there is an equal one), ENOBUFS (there are too many).
    pub fn add_route(&mut self, route: RouteEntry) -> crate::Result<()> {
        self.net.add_route(route)
    }

    /// Removes a route. EINVAL if there is none equal to it.
    pub fn remove_route(&mut self, route: &RouteEntry) -> crate::Result<()> {
        self.net.remove_route(route)
    }

    /// Puts a route in the place of another to the same network with the same metric. EINVAL, ENODEV.
    pub fn replace_route(&mut self, old: &RouteEntry, new: RouteEntry) -> crate::Result<()> {
        self.net.replace_route(old, new)
    }

    /// Where a packet to `destination` would go, from a socket that is bound to `interface` if one is given. ENETUNREACH if nowhere,
    /// EADDRNOTAVAIL without a source address, ENODEV.
    pub fn route_towards(
        &mut self,
        destination: IpAddr,
        interface: Option<InterfaceId>,
    ) -> crate::Result<RouteTowards> {
        self.net.route_towards(destination, interface)
    }

    /// The routes to exactly this network, in the order in which they are tried.
    pub fn routes_to(&self, network: Cidr) -> &[RouteEntry] {
        self.net.routes.to(network)
    }

    /// A number that is another one whenever interfaces, addresses or routes have changed.
    pub fn revision(&self) -> u32 {
        self.net.revision()
    }

    /// All routes, the longest prefix first.
    pub fn routes(&self) -> Vec<RouteEntry> {
        self.net.routes.list()
    }

    /// All neighbours.
    pub fn neighbours(&self) -> Vec<NeighbourInfo> {
        self.net.neighbour_list()
    }

    /// The groups that interfaces listen to, by interface and address.
    pub fn groups(&self) -> Vec<GroupInfo> {
        self.net.group_list()
    }

    /// Sets a neighbour's MAC address for good, or forgets it (`None`). EINVAL, ENOBUFS.
    pub fn set_neighbour(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        mac: Option<MacAddr>,
    ) -> crate::Result<()> {
        self.net.set_neighbour(now, interface, address, mac)
    }

    /// The tunables.
    pub fn settings(&self) -> &Settings {
        &self.net.settings
    }

    /// The tunables, to change. What exists keeps what it took from them when it was made.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.net.settings
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.net.counters
    }
}
