//! The far end of the default network: relays a host's traffic through the machine's own sockets.
//!
//! # Theory of operation
//!
//! A [`Gateway`] is a second host whose one Ethernet interface takes packets for any destination, and the [`Service`] that
//! uses its sockets. What the program sends to an address of the world comes out of a socket here, complete with TCP's
//! state and UDP's boundaries, and goes on through an ordinary socket of the machine: so no privilege is needed, and the
//! machine's routes and firewall apply. Outcomes are passed on as they are: a connection is answered only when the machine's own was.
//!
//! The gateway's address leads to the machine's loopback address, and the DNS address to the machine's resolvers. DHCP is served to a
//! program's host that wants to be told its address.
//! Published ports lead the other way.
//!
//! Everything is driven by edges: of the machine's descriptors, and of the host's sockets. A call moves a bounded amount; what is
//! left is done when [`Service::poll_at`] says "now", after the others had their turn.
//!
//! Where to look:
//! - what leads where: `address.rs`
//! - TCP: connections `tcp.rs`, their bytes `relay.rs`; UDP: `udp.rs`; ICMP echo: `icmp.rs`; DNS: `dns/`
//! - published ports: `publish.rs`; DHCP and router advertisements: `dhcp.rs`, `router.rs`
//! - the machine's sockets: `outer.rs`; what ICMP said of what they sent: `errqueue.rs`

mod address;
mod config;
mod counters;
mod dhcp;
mod dns;
mod entropy;
mod error;
mod errqueue;
mod icmp;
mod outer;
mod publish;
mod relay;
mod router;
mod table;
mod tcp;
mod udp;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use wireway_dhcp::Server;
use wireway_engine::{Context, Interest, Service};
use wireway_packet::Instant;
use wireway_stack::{Cidr, Event, Host, InterfaceConfig, InterfaceId, Medium, Settings};

pub use config::{GatewayConfig, Publish, Subnet, Transport};
pub use counters::Counters;
pub use dns::resolv_conf::ResolvConf;
pub use error::GatewayError;

use address::Map;
use dns::Dns;
use icmp::Icmp;
use publish::Ports;
use router::Router;
use tcp::{Taken, Tcp};
use udp::Udp;

/// Packets that wait for the nic.
const QUEUE_LIMIT: usize = 1_000;
/// Connections taken from the listener in one call.
const BATCH: usize = 64;

/// A gateway, ready to be a node of an engine: its `interface` needs a nic whose other end is the program's.
pub struct Gateway {
    /// The gateway's host.
    pub host: Host,
    /// What relays.
    pub service: Relays,
    /// The host's interface.
    pub interface: InterfaceId,
    /// What is counted.
    pub counters: Rc<Counters>,
    /// Connections whose program may still send, or has sent what the machine's sockets have not taken yet. When the program's
    /// sockets are all closed, this becomes zero as soon as everything that it sent is on its way.
    pub sending: Rc<Cell<usize>>,
    /// The published ports as they are: with the port that the machine chose, if it was asked to.
    pub published: Vec<Publish>,
}

impl Gateway {
    /// Makes a gateway, and opens the machine's ports that it is to publish.
    pub fn new(now: Instant, config: &GatewayConfig) -> Result<Gateway, GatewayError> {
        check(config)?;
        let (resolv_conf, machine) = ResolvConf::read(&config.resolv_conf);
        let resolvers: Vec<IpAddr> = machine.iter().map(SocketAddr::ip).collect();
        let servers = if config.resolvers.is_empty() { machine } else { config.resolvers.clone() };
        let system = |errno: rustix::io::Errno| GatewayError::Entropy(errno.raw_os_error());
        // The program is the only neighbour, and each error answers one of its own packets.
        let settings = Settings { icmp_ratemask: 0, icmpv6_ratemask: 0, ipv6_dad_transmits: 0, ..Settings::default() };
        let mut host = Host::new(settings, entropy::bytes().map_err(system)?);
        let addresses = config.subnets.iter().flat_map(|subnet| {
            let prefix_len = subnet.program.prefix_len;
            [subnet.gateway, subnet.dns].map(|address| Cidr { address, prefix_len })
        });
        let interface = host.add_interface(
            now,
            InterfaceConfig {
                name: "gw0".into(),
                medium: Medium::Ethernet(config.mac),
                mtu: config.mtu,
                addresses: addresses.collect(),
                features: config.features,
                queue_limit: QUEUE_LIMIT,
                any_destination: true,
                probe: false,
                autoconf: false,
            },
        )?;
        let publish_error =
            |(publish, errno): (Publish, rustix::io::Errno)| GatewayError::Publish(publish, errno.raw_os_error());
        let (ports, published) = Ports::listen(&config.publish).map_err(publish_error)?;
        let counters = Rc::new(Counters::default());
        let sending = Rc::new(Cell::new(0));
        let udp = Udp::new(&mut host, now)?;
        let service = Relays {
            tcp: Tcp::new(&mut host, now, sending.clone())?,
            icmp: Icmp::new(&mut host, now, u16::from_ne_bytes(entropy::bytes().map_err(system)?))?,
            dns: Dns::new(servers, udp.socket()),
            dhcp: dhcp::server(&mut host, now, interface, config)?,
            router: Router::new(&mut host, now, interface, config)?,
            udp,
            ports,
            map: Map::new(config, resolvers),
            resolv_conf,
            follow_servers: config.resolvers.is_empty(),
            counters: counters.clone(),
            started: false,
            more_connections: false,
            more_dhcp: false,
        };
        Ok(Gateway { host, service, interface, counters, sending, published })
    }
}

fn check(config: &GatewayConfig) -> Result<(), GatewayError> {
    let of_family = |v6| config.subnets.iter().filter(move |s| s.program.address.is_ipv6() == v6).count();
    let one_each = of_family(false) <= 1 && of_family(true) <= 1 && !config.subnets.is_empty();
    if one_each && config.subnets.iter().all(Subnet::is_valid) { Ok(()) } else { Err(GatewayError::Addresses) }
}

/// The gateway's service: see the crate's head.
pub struct Relays {
    tcp: Tcp,
    udp: Udp,
    icmp: Icmp,
    dns: Dns,
    dhcp: Option<Server>,
    router: Option<Router>,
    ports: Ports,
    map: Map,
    resolv_conf: ResolvConf,
    /// DNS goes to the servers that the file names.
    follow_servers: bool,
    counters: Rc<Counters>,
    started: bool,
    /// The listener has more connections than one call takes.
    more_connections: bool,
    /// The DHCP server has more messages than one call takes.
    more_dhcp: bool,
}

/// What a gateway holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// TCP connections, in any state.
    pub connections: usize,
    /// UDP flows.
    pub flows: usize,
    /// ICMP echo flows.
    pub echoes: usize,
    /// DNS queries and connections.
    pub lookups: usize,
}

impl Relays {
    /// What is held now.
    pub fn held(&self) -> Held {
        Held { connections: self.tcp.len(), flows: self.udp.len(), echoes: self.icmp.len(), lookups: self.dns.len() }
    }

    /// Follows the machine's list of name servers. What comes now may be for one of them.
    fn follow_resolvers(&mut self, now: Instant) {
        let Some(servers) = self.resolv_conf.changed(now) else { return };
        self.map.set_resolvers(servers.iter().map(SocketAddr::ip).collect());
        if self.follow_servers {
            self.dns.set_servers(servers);
        }
    }

    fn take_connections(&mut self, cx: &mut Context<'_>) {
        self.follow_resolvers(cx.now);
        self.more_connections = true;
        for _ in 0..BATCH {
            match self.tcp.take(cx, &self.map, &self.counters) {
                Some(Taken::Relayed) => {}
                Some(Taken::Dns(socket)) => self.dns.connection(cx, socket, &self.counters),
                None => {
                    self.more_connections = false;
                    return;
                }
            }
        }
    }

    fn answer_dhcp(&mut self, cx: &mut Context<'_>) {
        self.more_dhcp = self.dhcp.as_mut().is_some_and(|dhcp| dhcp.poll(cx.now, cx.host));
    }

    fn take_datagrams(&mut self, cx: &mut Context<'_>) {
        self.follow_resolvers(cx.now);
        let Relays { udp, dns, map, counters, .. } = self;
        udp.event(cx, map, counters, &mut |cx, info, data| dns.datagram(cx, info, data, counters));
    }
}

impl Service for Relays {
    fn ready(&mut self, cx: &mut Context<'_>, token: u64, ready: Interest) {
        match table::Part::of(token) {
            Some(table::Part::Tcp) => self.tcp.ready(cx, token, ready, &self.counters),
            Some(table::Part::Udp) => self.udp.ready(cx, token, ready, &self.counters),
            Some(table::Part::Icmp) => self.icmp.ready(cx, token, ready, &self.counters),
            Some(table::Part::Dns) => self.dns.ready(cx, token, &self.counters),
            Some(table::Part::Publish) => {
                self.ports.ready(cx, token, &mut self.tcp, &mut self.udp, &self.map, &self.counters);
            }
            None => {}
        }
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        if event.socket == self.tcp.listener() {
            self.take_connections(cx);
        } else if event.socket == self.udp.socket() {
            self.take_datagrams(cx);
        } else if self.dhcp.as_ref().is_some_and(|dhcp| dhcp.socket() == event.socket) {
            self.answer_dhcp(cx);
        } else if let Some(router) = self.router.as_mut().filter(|router| router.socket() == event.socket) {
            router.event(cx);
        } else if self.icmp.has(event.socket) {
            self.icmp.event(cx, event.socket, &self.map, &self.counters);
        } else if !self.tcp.event(cx, event, &self.counters) {
            self.dns.event(cx, event, &self.counters);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if !std::mem::replace(&mut self.started, true) {
            self.ports.start(cx);
            let descriptors = outer::descriptor_limit();
            self.tcp.set_limit(descriptors / 2);
            self.udp.set_limit(descriptors / 8);
        }
        if self.more_connections {
            self.take_connections(cx);
        }
        if self.more_dhcp {
            self.answer_dhcp(cx);
        }
        if let Some(router) = &mut self.router {
            router.poll(cx);
        }
        self.tcp.poll(cx, &self.counters);
        if self.udp.poll(cx, &self.counters) {
            self.take_datagrams(cx);
        }
        for socket in self.icmp.poll(cx.now) {
            self.icmp.event(cx, socket, &self.map, &self.counters);
        }
        self.dns.poll(cx, &self.counters);
        self.ports.poll(cx, &mut self.tcp, &mut self.udp, &self.map, &self.counters);
    }

    fn poll_at(&self) -> Option<Instant> {
        if self.more_connections || self.more_dhcp {
            return Some(Instant::ZERO);
        }
        let router = self.router.as_ref().map(Router::poll_at);
        let parts = [
            self.tcp.poll_at(),
            self.udp.poll_at(),
            self.icmp.poll_at(),
            self.dns.poll_at(),
            self.ports.poll_at(),
            router,
        ];
        parts.into_iter().flatten().min()
    }
}
