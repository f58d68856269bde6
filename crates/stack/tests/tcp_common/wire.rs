//! One host against hand-made segments: the test is the peer.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use wireway_packet::Instant;
use wireway_packet::Packet;
use wireway_stack::{Host, InterfaceId, Settings};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    EtherType, EthernetHeader, Ipv4Fields, Ipv4Header, Ipv4View, MacAddr, Protocol, SeqNumber, Sum, TcpFields,
    TcpFlags, TcpHeader, TcpOptions, TcpView,
};

/// A segment on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Seg {
    pub sport: u16,
    pub dport: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: TcpFlags,
    pub window: u16,
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

impl Seg {
    pub fn options(&self) -> TcpOptions {
        TcpOptions::parse(&self.options).unwrap()
    }
}

/// The host under test is 10.0.0.1, the peer 10.0.0.2.
pub struct Bench {
    pub host: Host,
    pub interface: InterfaceId,
    pub now: Instant,
    pub seen: VecDeque<Seg>,
}

const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

impl Bench {
    pub fn new(settings: Settings) -> Bench {
        let (mut host, interface) = super::host(1, 0, settings, 1500);
        let now = Instant::from_millis(1_000);
        host.set_neighbour(now, interface, super::address(2), Some(PEER_MAC)).unwrap();
        Bench { host, interface, now, seen: VecDeque::new() }
    }

    /// Polls the host and collects what it sends.
    pub fn settle(&mut self) {
        loop {
            while self.host.poll_at().is_some_and(|at| at <= self.now) {
                self.host.poll(self.now);
            }
            let Some(frame) = self.host.transmit(self.now, self.interface) else { break };
            let bytes = frame.to_vec();
            let (ethernet, rest) = EthernetHeader::parse(&bytes).unwrap();
            if ethernet.ethertype() != EtherType::IPV4 {
                continue;
            }
            let (ip, payload) = Ipv4View::parse(rest).unwrap();
            if ip.header.protocol() != Protocol::TCP {
                continue;
            }
            assert!(Sum::of(payload).fold() != 0);
            let mut sum = ip.header.pseudo(payload.len() as u32);
            sum.add_bytes(payload);
            assert!(sum.is_valid(), "bad checksum");
            let (tcp, data) = TcpView::parse(payload).unwrap();
            let fields = tcp.header.fields();
            self.seen.push_back(Seg {
                sport: fields.src_port,
                dport: fields.dst_port,
                seq: fields.seq.0,
                ack: fields.ack.0,
                flags: fields.flags,
                window: fields.window,
                options: tcp.options.to_vec(),
                data: data.to_vec(),
            });
        }
    }

    /// The next segment that the host sent. Panics if there is none.
    pub fn expect(&mut self) -> Seg {
        self.settle();
        self.seen.pop_front().expect("the host sent nothing")
    }

    /// The host has sent nothing more.
    pub fn expect_nothing(&mut self) {
        self.settle();
        assert!(self.seen.is_empty(), "sent {:?}", self.seen);
    }

    /// Lets time pass, stopping at each of the host's timers.
    pub fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            match self.host.poll_at() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// Waits until the host sends, for at most `limit`; returns the segment and how long it took.
    pub fn wait(&mut self, limit: Duration) -> Option<(Seg, Duration)> {
        let start = self.now;
        let end = start + limit;
        loop {
            self.settle();
            if let Some(seg) = self.seen.pop_front() {
                return Some((seg, self.now - start));
            }
            match self.host.poll_at() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => return None,
            }
        }
    }

    /// Hands the host a segment of the peer's.
    pub fn inject(&mut self, seg: &Seg) {
        self.inject_from(super::address(2), seg);
    }

    pub fn inject_from(&mut self, source: IpAddr, seg: &Seg) {
        let (IpAddr::V4(source), destination) = (source, Ipv4Addr::new(10, 0, 0, 1)) else { panic!() };
        let fields = TcpFields {
            src_port: seg.sport,
            dst_port: seg.dport,
            seq: SeqNumber(seg.seq),
            ack: SeqNumber(seg.ack),
            flags: seg.flags,
            window: seg.window,
            urgent: 0,
        };
        let mut tcp = TcpHeader::new(&fields, seg.options.len()).as_bytes().to_vec();
        tcp.extend_from_slice(&seg.options);
        tcp.extend_from_slice(&seg.data);
        let mut sum = Sum::pseudo_v4(source, destination, Protocol::TCP, tcp.len() as u32);
        sum.add_bytes(&tcp);
        let checksum = sum.finish();
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        self.inject_ip(source, Protocol::TCP, &tcp);
    }

    pub fn inject_ip(&mut self, source: Ipv4Addr, protocol: Protocol, payload: &[u8]) {
        let ip = Ipv4Header::new(
            &Ipv4Fields {
                tos: 0,
                payload_len: payload.len() as u16,
                ident: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                ttl: 64,
                protocol,
                src: source,
                dst: Ipv4Addr::new(10, 0, 0, 1),
            },
            &[],
        );
        let mut frame = Vec::new();
        frame.extend_from_slice(EthernetHeader::new(HOST_MAC, PEER_MAC, EtherType::IPV4).as_bytes());
        frame.extend_from_slice(ip.as_bytes());
        frame.extend_from_slice(payload);
        self.host.receive(self.now, self.interface, Packet::copy_from(&frame));
    }
}

/// A peer of a connection, that knows the sequence numbers.
#[derive(Clone, Debug)]
pub struct Peer {
    pub sport: u16,
    pub dport: u16,
    /// The peer's next.
    pub seq: u32,
    /// What the peer expects next.
    pub ack: u32,
    pub window: u16,
    pub timestamps: Option<(u32, u32)>,
}

impl Peer {
    /// A segment of the peer's with its current numbers.
    pub fn seg(&self, flags: TcpFlags, data: &[u8]) -> Seg {
        let mut options = vec![0; 40];
        let n = TcpOptions { timestamps: self.timestamps, ..TcpOptions::default() }.emit(&mut options);
        options.truncate(n);
        Seg {
            sport: self.sport,
            dport: self.dport,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: self.window,
            options,
            data: data.to_vec(),
        }
    }

    pub fn ack(&self) -> Seg {
        self.seg(TcpFlags::ACK, &[])
    }
}

/// The bytes of options.
pub fn options(options: &TcpOptions) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    let n = options.emit(&mut bytes);
    bytes.truncate(n);
    bytes
}
