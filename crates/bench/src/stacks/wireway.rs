//! Wireway's stack: two hosts whose nics do nothing for them, so that every frame is at most an MTU and
//! every checksum is computed and verified in software.

use super::{Host, Pair, Received, Settings, address, prefix_len};
use std::collections::VecDeque;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use wireway_packet::{Instant, Packet};
use wireway_stack::{
    Cidr, Domain, Error, InterfaceConfig, InterfaceId, Kind, Ready, ReceiveFlags, SendFlags, SocketId, SocketOption,
};
use wireway_wire::MacAddr;

/// One host with its end of the link.
pub struct Wireway {
    host: wireway_stack::Host,
    interface: InterfaceId,
    arrived: VecDeque<Packet>,
    leaving: VecDeque<Packet>,
    settings: Settings,
    peer: IpAddr,
    listener: Option<SocketId>,
    now: Instant,
}

fn instant(now: Duration) -> Instant {
    Instant::ZERO + now
}

impl Wireway {
    fn new(settings: Settings, own: u8, peer: u8) -> Self {
        let tunables = wireway_stack::Settings {
            rmem_max: settings.buffer,
            wmem_max: settings.buffer,
            // The minute of TIME-WAIT that is skipped after each connection must not make the neighbour stale.
            neigh_base_reachable_time: Duration::from_secs(1 << 32),
            ipv6_dad_transmits: 0,
            ..Default::default()
        };
        let mut host = wireway_stack::Host::new(tunables, [own; 32]);
        let mac = MacAddr([2, 0, 0, 0, 0, own]);
        let mut config = InterfaceConfig::ethernet("eth0", mac, 1500);
        config.addresses.push(Cidr { address: address(settings.v6, own), prefix_len: prefix_len(settings.v6) });
        let interface = host.add_interface(Instant::ZERO, config).expect("the interface's configuration is valid");
        Wireway {
            host,
            interface,
            arrived: VecDeque::with_capacity(settings.depth),
            leaving: VecDeque::with_capacity(settings.depth),
            settings,
            peer: address(settings.v6, peer),
            listener: None,
            now: Instant::ZERO,
        }
    }

    fn socket(&mut self) -> SocketId {
        let domain = if self.settings.v6 { Domain::Inet6 } else { Domain::Inet };
        let id = self.host.socket(domain, Kind::Stream).expect("a socket");
        for option in [
            SocketOption::ReceiveBuffer(self.settings.buffer),
            SocketOption::SendBuffer(self.settings.buffer),
            SocketOption::NoDelay(true),
        ] {
            self.host.set_option(self.now, id, option).expect("a TCP socket has this option");
        }
        id
    }
}

impl Host for Wireway {
    type Connection = SocketId;

    fn input(&mut self, now: Duration) {
        self.now = instant(now);
        while let Some(packet) = self.arrived.pop_front() {
            self.host.receive(self.now, self.interface, packet);
        }
        while self.host.next_event().is_some() {}
    }

    fn output(&mut self, now: Duration) {
        self.now = instant(now);
        self.host.poll(self.now);
        while self.leaving.len() < self.settings.depth
            && let Some(packet) = self.host.transmit(self.now, self.interface)
        {
            self.leaving.push_back(packet);
        }
    }

    fn poll_at(&mut self, _: Duration) -> Option<Duration> {
        Some(self.host.poll_at()?.since(Instant::ZERO))
    }

    fn listen(&mut self, port: u16) {
        let id = self.socket();
        let any: IpAddr = if self.settings.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        self.host.bind(id, SocketAddr::new(any, port)).expect("the port is free");
        self.host.listen(id, 128).expect("a bound socket listens");
        self.listener = Some(id);
    }

    fn connect(&mut self, now: Duration, port: u16) -> SocketId {
        self.now = instant(now);
        let id = self.socket();
        // It is under way: the outcome shows as readiness.
        let _ = self.host.connect(self.now, id, SocketAddr::new(self.peer, port));
        id
    }

    fn accept(&mut self) -> Option<SocketId> {
        let (id, _) = self.host.accept(self.now, self.listener?).ok()?;
        let nodelay = SocketOption::NoDelay(true);
        self.host.set_option(self.now, id, nodelay).ok()?;
        Some(id)
    }

    fn established(&mut self, id: SocketId) -> bool {
        let ready = self.host.ready(id);
        ready.contains(Ready::OUT) && !ready.contains(Ready::ERR)
    }

    fn send(&mut self, id: SocketId, bytes: &[u8]) -> usize {
        let sent = self.host.send(self.now, id, bytes, SendFlags::default());
        sent.unwrap_or(0)
    }

    fn receive(&mut self, id: SocketId, into: &mut [u8]) -> Received {
        let flags = ReceiveFlags::default();
        match self.host.recv(self.now, id, into, flags) {
            Ok(count @ 1..) => Received::Bytes(count),
            Err(Error::WouldBlock) => Received::Bytes(0),
            Ok(0) | Err(_) => Received::End,
        }
    }

    fn close(&mut self, now: Duration, id: SocketId) {
        self.now = instant(now);
        // An error would mean that it is closed already.
        let _ = self.host.close(self.now, id);
    }

    fn gone(&mut self, id: SocketId) -> bool {
        self.host.is_drained(id)
    }
}

/// Two hosts.
pub struct Two {
    client: Wireway,
    server: Wireway,
}

fn carry(from: &mut Wireway, to: &mut Wireway) -> usize {
    if to.arrived.is_empty() {
        mem::swap(&mut from.leaving, &mut to.arrived);
    }
    to.arrived.len()
}

impl Pair for Two {
    type Host = Wireway;
    const TIME_WAIT: Duration = Duration::from_secs(60);

    fn new(settings: Settings) -> Self {
        Two { client: Wireway::new(settings, 1, 2), server: Wireway::new(settings, 2, 1) }
    }

    fn client(&mut self) -> &mut Wireway {
        &mut self.client
    }

    fn server(&mut self) -> &mut Wireway {
        &mut self.server
    }

    fn carry(&mut self) -> usize {
        carry(&mut self.client, &mut self.server) + carry(&mut self.server, &mut self.client)
    }
}
