//! Two hosts on one cable in virtual time, for the tests of TCP.
//!
//! The family of a test's addresses is a property of its thread ([`family`]): [`both_families`] makes of a function a test for each.
#![allow(dead_code, unused_macros, unused_imports)]

pub mod wire;

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use wireway_lab::{CableId, HostId, Network};
use wireway_link::LinkConfig;
use wireway_packet::Instant;
use wireway_stack::{
    Cidr, Domain, Error, Host, InterfaceConfig, InterfaceId, Kind, Ready, ReceiveFlags, Result, SendFlags, Settings,
    SocketId, SocketOption, TcpInfo,
};
use wireway_wire::MacAddr;

pub const A: HostId = HostId(0);
pub const B: HostId = HostId(1);
pub const PORT: u16 = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

thread_local! {
    static FAMILY: Cell<Family> = const { Cell::new(Family::V4) };
}

/// What this test's addresses are.
pub fn family() -> Family {
    FAMILY.get()
}

/// Runs a test with addresses of a family.
pub fn with_family(family: Family, test: impl FnOnce()) {
    FAMILY.set(family);
    test();
}

/// Makes of each function two tests, `ipv4` and `ipv6`, in a module of its name.
macro_rules! both_families {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$meta])*
            fn run() $body

            #[test]
            fn ipv4() {
                with_family(Family::V4, run);
            }

            #[test]
            fn ipv6() {
                with_family(Family::V6, run);
            }
        }
    )*};
}
pub(crate) use both_families;

/// 10.0.0.`last` or fd00::`last`.
pub fn address(last: u8) -> IpAddr {
    match family() {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into())),
    }
}

/// The length of the prefix of [`address`].
pub fn prefix_len() -> u8 {
    if family() == Family::V4 { 24 } else { 64 }
}

pub fn unspecified() -> IpAddr {
    if family() == Family::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

pub fn domain() -> Domain {
    if family() == Family::V4 { Domain::Inet } else { Domain::Inet6 }
}

/// Bytes of the IP header.
pub fn ip_len() -> usize {
    if family() == Family::V4 { 20 } else { 40 }
}

/// The segment size of a bench's interface: its MTU is so much larger as the headers are.
pub const MSS: u16 = 1460;

/// The segment size of a path that carries packets of `mtu` bytes.
pub fn mss_of(mtu: usize) -> usize {
    mtu - ip_len() - 20
}

/// A host at [`address`]`(last)`, whose seed is its number and `seed`.
pub fn host(last: u8, seed: u8, settings: Settings, mtu: u16) -> (Host, InterfaceId) {
    let mut bytes = [last; 32];
    bytes[0] = seed;
    // Nobody else is there, and the test is not to wait.
    let mut host = Host::new(Settings { ipv6_dad_transmits: 0, ..settings }, bytes);
    let mut config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, last]), mtu);
    config.addresses.push(Cidr { address: address(last), prefix_len: prefix_len() });
    let interface = host.add_interface(Instant::ZERO, config).unwrap();
    (host, interface)
}

/// A (the first address) and B (the second).
pub struct Two {
    pub net: Network,
    pub cable: CableId,
}

impl Two {
    pub fn new(link: LinkConfig) -> Two {
        Two::with(0, link.clone(), link, Settings::default(), Settings::default())
    }

    pub fn with(seed: u64, there: LinkConfig, back: LinkConfig, a: Settings, b: Settings) -> Two {
        let mut net = Network::new(seed);
        let (host_a, ia) = host(1, seed as u8, a, there.mtu);
        let (host_b, ib) = host(2, seed as u8, b, back.mtu);
        let (a, b) = (net.add_host(host_a), net.add_host(host_b));
        let cable = net.connect((a, ia), (b, ib), there, back);
        Two { net, cable }
    }

    pub fn now(&self) -> Instant {
        self.net.now()
    }

    pub fn run(&mut self, time: Duration) {
        self.net.run_for(time);
    }

    pub fn socket(&mut self, at: HostId) -> SocketId {
        self.net.host(at).socket(domain(), Kind::Stream).unwrap()
    }

    pub fn set(&mut self, at: HostId, id: SocketId, option: SocketOption) {
        let now = self.now();
        self.net.host(at).set_option(now, id, option).unwrap();
    }

    pub fn listen(&mut self, at: HostId, port: u16) -> SocketId {
        let id = self.socket(at);
        self.listen_on(at, id, port);
        id
    }

    pub fn listen_on(&mut self, at: HostId, id: SocketId, port: u16) {
        self.net.host(at).bind(id, SocketAddr::new(unspecified(), port)).unwrap();
        self.net.host(at).listen(id, 16).unwrap();
    }

    /// Begins a connection to port [`PORT`] of the other host.
    pub fn connect(&mut self, at: HostId) -> SocketId {
        let id = self.socket(at);
        self.connect_on(at, id, PORT);
        id
    }

    pub fn connect_on(&mut self, at: HostId, id: SocketId, port: u16) {
        let now = self.now();
        let peer = if at == A { address(2) } else { address(1) };
        assert_eq!(self.net.host(at).connect(now, id, SocketAddr::new(peer, port)), Err(Error::InProgress));
    }

    /// A connection from A to B: the sockets of A and of B.
    pub fn pair(&mut self) -> (SocketId, SocketId) {
        let listener = self.listen(B, PORT);
        let a = self.connect(A);
        self.pair_of(listener, a)
    }

    pub fn pair_of(&mut self, listener: SocketId, a: SocketId) -> (SocketId, SocketId) {
        let mut b = None;
        let done = self.net.run_until(Duration::from_secs(200), |net| {
            let now = net.now();
            b = b.or(net.host(B).accept(now, listener).ok());
            b.is_some() && net.host(A).ready(a).contains(Ready::OUT)
        });
        assert!(done, "no connection");
        (a, b.unwrap().0)
    }

    pub fn send(&mut self, at: HostId, id: SocketId, data: &[u8]) -> Result<usize> {
        let now = self.now();
        self.net.host(at).send(now, id, data, SendFlags::default())
    }

    /// Reads everything that is there.
    pub fn read(&mut self, at: HostId, id: SocketId) -> Vec<u8> {
        let now = self.now();
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n) = self.net.host(at).recv(now, id, &mut buffer, ReceiveFlags::default()) {
            if n == 0 {
                break;
            }
            all.extend_from_slice(&buffer[..n]);
        }
        all
    }

    pub fn recv(&mut self, at: HostId, id: SocketId) -> Result<usize> {
        let now = self.now();
        self.net.host(at).recv(now, id, &mut [0; 65536], ReceiveFlags::default())
    }

    pub fn close(&mut self, at: HostId, id: SocketId) {
        let now = self.now();
        self.net.host(at).close(now, id).unwrap();
    }

    pub fn ready(&mut self, at: HostId, id: SocketId) -> Ready {
        self.net.host(at).ready(id)
    }

    pub fn info(&mut self, at: HostId, id: SocketId) -> TcpInfo {
        let now = self.now();
        self.net.host(at).tcp_info(now, id).unwrap()
    }

    pub fn state(&mut self, at: HostId, id: SocketId) -> u8 {
        self.info(at, id).state
    }
}

/// Bytes that tell their position.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// One direction of a transfer: what is left to send, and what came.
pub struct Stream {
    pub from: (HostId, SocketId),
    pub to: (HostId, SocketId),
    pub data: Vec<u8>,
    pub sent: usize,
    pub received: Vec<u8>,
    pub closed: bool,
    pub ended: bool,
}

impl Stream {
    pub fn new(from: (HostId, SocketId), to: (HostId, SocketId), data: Vec<u8>) -> Stream {
        Stream { from, to, data, sent: 0, received: Vec::new(), closed: false, ended: false }
    }

    /// Sends and receives what is possible now. True when all came and the end was seen.
    pub fn step(&mut self, net: &mut Network) -> bool {
        let now = net.now();
        while self.sent < self.data.len() {
            match net.host(self.from.0).send(now, self.from.1, &self.data[self.sent..], SendFlags::default()) {
                Ok(n) => self.sent += n,
                Err(Error::WouldBlock) => break,
                Err(error) => panic!("send: {error}"),
            }
        }
        if self.sent == self.data.len() && !self.closed {
            net.host(self.from.0).shutdown(now, self.from.1, wireway_stack::Shutdown::Write).unwrap();
            self.closed = true;
        }
        let mut buffer = [0; 16_384];
        while !self.ended {
            match net.host(self.to.0).recv(now, self.to.1, &mut buffer, ReceiveFlags::default()) {
                Ok(0) => self.ended = true,
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                Err(Error::WouldBlock) => break,
                Err(error) => panic!("recv: {error}"),
            }
        }
        self.ended
    }
}

/// Transfers `data` both ways at once and checks it. Returns how long it took.
pub fn transfer(
    two: &mut Two,
    (a, b): (SocketId, SocketId),
    there: Vec<u8>,
    back: Vec<u8>,
    limit: Duration,
) -> Duration {
    let start = two.now();
    let mut streams = [Stream::new((A, a), (B, b), there), Stream::new((B, b), (A, a), back)];
    let done = two.net.run_until(limit, |net| {
        let [first, second] = &mut streams;
        first.step(net) & second.step(net)
    });
    for stream in &streams {
        assert!(stream.received == stream.data[..stream.received.len().min(stream.data.len())], "the bytes differ");
    }
    assert!(
        done,
        "stuck: {} of {}, {} of {} bytes after {limit:?}",
        streams[0].received.len(),
        streams[0].data.len(),
        streams[1].received.len(),
        streams[1].data.len()
    );
    two.now() - start
}
