//! Router advertisements on the gateway's network (RFC 4861 §6.2): that it is the router, the prefix, the MTU, and where DNS is answered (RFC 8106).
//!
//! They are sent three times at the start, then now and then to all, and to each who asks at once: there is no second router that would answer at the
//! same time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use wireway_engine::Context;
use wireway_packet::Instant;
use wireway_stack::{Domain, Host, InterfaceId, Kind, Membership, ReceiveFlags, SocketId, SocketOption};
use wireway_wire::ipv6::{ALL_NODES, ALL_ROUTERS};
use wireway_wire::{
    Icmpv6Type, MacAddr, NdpWriter, PrefixInformation, Protocol, RouterAdvertisement, RouterAdvertisementFields,
    RouterPreference, RouterSolicitation,
};

use crate::{GatewayConfig, Subnet, entropy};

// RFC 4861 §6.2.1 and §10.
const MAX_INTERVAL: Duration = Duration::from_secs(600);
const MIN_INTERVAL: Duration = Duration::from_secs(200);
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
const INITIAL_ADVERTISEMENTS: u8 = 3;
const MIN_DELAY: Duration = Duration::from_secs(3);
const LIFETIME: u16 = 1_800;
const PREFIX_VALID: u32 = 86_400;
const PREFIX_PREFERRED: u32 = 14_400;
/// Solicitations looked at in one call.
const BATCH: usize = 16;
/// Longer than any solicitation that is answered, and than the advertisement.
const ROOM: usize = 512;

/// What advertises.
pub(crate) struct Router {
    socket: SocketId,
    interface: InterfaceId,
    mac: MacAddr,
    mtu: u16,
    prefix: PrefixInformation,
    dns: Ipv6Addr,
    /// Advertisements to all that were sent, up to the number of initial ones.
    sent: u8,
    last: Option<Instant>,
    next: Instant,
}

impl Router {
    /// The router of the IPv6 subnet, if there is one.
    pub fn new(
        host: &mut Host,
        now: Instant,
        interface: InterfaceId,
        config: &GatewayConfig,
    ) -> wireway_stack::Result<Option<Router>> {
        let subnet = config.subnets.iter().find_map(|Subnet { program, dns, .. }| match (program.network(), dns) {
            (IpAddr::V6(prefix), &IpAddr::V6(dns)) => Some((prefix, program.prefix_len, dns)),
            _ => None,
        });
        let Some((prefix, prefix_len, dns)) = subnet else { return Ok(None) };
        let socket = host.socket(Domain::Inet6, Kind::Raw(Protocol::ICMPV6.0))?;
        let mut filter = [u32::MAX; 8];
        let kind = Icmpv6Type::ROUTER_SOLICITATION.0;
        filter[usize::from(kind >> 5)] &= !(1 << (kind & 31));
        let group = Membership { group: ALL_ROUTERS.into(), interface: Some(interface), source: None };
        for option in [
            SocketOption::IcmpFilter(filter),
            SocketOption::BindToDevice(Some(interface)),
            SocketOption::JoinGroup(group),
            // RFC 4861 §4.2: what came over a router would have less.
            SocketOption::HopLimit(Some(255)),
            SocketOption::MulticastHops(Domain::Inet6, 255),
            SocketOption::MulticastLoop(Domain::Inet6, false),
        ] {
            host.set_option(now, socket, option)?;
        }
        // Addresses are made of prefixes of 64 bits alone (RFC 4862 §5.5.3 (d)).
        let autonomous = prefix_len == 64;
        let prefix = PrefixInformation::new(prefix, prefix_len, true, autonomous, PREFIX_VALID, PREFIX_PREFERRED);
        let (mac, mtu) = (config.mac, config.mtu);
        Ok(Some(Router { socket, interface, mac, mtu, prefix, dns, sent: 0, last: None, next: now }))
    }

    pub fn socket(&self) -> SocketId {
        self.socket
    }

    /// Somebody may have asked.
    pub fn event(&mut self, cx: &mut Context<'_>) {
        let mut buffer = [0; ROOM];
        for _ in 0..BATCH {
            let Ok(info) = cx.host.recv_from(self.socket, &mut buffer, ReceiveFlags::default()) else { return };
            let (message, IpAddr::V6(from)) = (buffer.get(..info.len).unwrap_or_default(), info.source.ip()) else {
                continue;
            };
            if info.ttl != 255 || RouterSolicitation::parse(from, message).is_err() {
                continue;
            }
            // RFC 4861 §6.2.6: to the one who asked, or if it has no address yet to all, but not too often.
            if !from.is_unspecified() {
                self.advertise(cx, from);
            } else if self.last.is_none_or(|last| cx.now >= last + MIN_DELAY) {
                self.advertise_to_all(cx);
            }
        }
        // The rest when the next one asks: whoever is not answered asks again.
    }

    /// Advertises when it is time.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        if self.next > cx.now {
            return;
        }
        self.advertise_to_all(cx);
        self.sent = self.sent.saturating_add(1);
        let spread = u64::from(u16::from_ne_bytes(entropy::bytes().unwrap_or_default()));
        let wait = MIN_INTERVAL + (MAX_INTERVAL - MIN_INTERVAL) * (spread as u32) / 65_536;
        self.next = cx.now + if self.sent < INITIAL_ADVERTISEMENTS { wait.min(INITIAL_INTERVAL) } else { wait };
    }

    pub fn poll_at(&self) -> Instant {
        self.next
    }

    fn advertise_to_all(&mut self, cx: &mut Context<'_>) {
        self.last = Some(cx.now);
        self.advertise(cx, ALL_NODES);
    }

    fn advertise(&self, cx: &mut Context<'_>, to: Ipv6Addr) {
        let own = cx.host.interface(self.interface).and_then(|at| {
            let mut own = at.addresses.iter().map(|cidr| cidr.address);
            own.find_map(|address| match address {
                IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
                _ => None,
            })
        });
        // RFC 4861 §4.2: always from a link-local address.
        let Some(from) = own else { return };
        let message = RouterAdvertisement::new(&RouterAdvertisementFields {
            hop_limit: 64,
            managed: false,
            other_config: false,
            preference: RouterPreference::Medium,
            lifetime: LIFETIME,
            reachable_time: 0,
            retransmit_time: 0,
        });
        let mut room = [0; ROOM];
        let length = NdpWriter::new(&mut room, &message)
            .source_link_layer(self.mac)
            .mtu(self.mtu.into())
            .prefix(&self.prefix)
            .dns_servers(LIFETIME.into(), &[self.dns])
            .finish(from, to);
        let Some(message) = length.and_then(|length| room.get(..length)) else { return };
        let scope = u32::from(self.interface.0) + 1;
        let to = SocketAddr::V6(SocketAddrV6::new(to, 0, 0, scope));
        let from = SocketAddr::V6(SocketAddrV6::new(from, 0, 0, scope));
        // What is lost is asked for again.
        let _ = cx.host.send_to(cx.now, self.socket, message, Some(to), Some(from));
    }
}
