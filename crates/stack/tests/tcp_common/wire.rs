//! One host against hand-made segments: the test is the peer.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wireway_packet::Instant;
use wireway_packet::Packet;
use wireway_stack::{
    Error, Host, InterfaceId, Kind, Ready, ReceiveFlags, Result, SendFlags, Settings, Shutdown, SocketId, SocketOption,
};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    EtherType, EthernetHeader, Ipv4Fields, Ipv4Header, Ipv4View, Ipv6Fields, Ipv6Header, MacAddr, Protocol, SeqNumber,
    Sum, TcpFields, TcpFlags, TcpHeader, TcpOptions, TcpView,
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

/// The host under test has the first address, the peer the second.
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
        let (mut host, interface) = super::host(1, 0, settings, super::MSS + 20 + super::ip_len() as u16);
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
            let (pseudo, payload) = match ethernet.ethertype() {
                EtherType::IPV4 => {
                    let (ip, payload) = Ipv4View::parse(rest).unwrap();
                    if ip.header.protocol() != Protocol::TCP {
                        continue;
                    }
                    (ip.header.pseudo(payload.len() as u32), payload)
                }
                EtherType::IPV6 => {
                    let (ip, payload) = Ipv6Header::parse(rest).unwrap();
                    if ip.next_header != Protocol::TCP {
                        continue;
                    }
                    (ip.pseudo(Protocol::TCP, payload.len() as u32), payload)
                }
                _ => continue,
            };
            assert!(Sum::of(payload).fold() != 0);
            let mut sum = pseudo;
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
        self.inject_segment(HOST_MAC, source, super::address(1), seg);
    }

    /// Hands the host a segment of the peer's to these addresses.
    pub fn inject_to(&mut self, mac: MacAddr, destination: IpAddr, seg: &Seg) {
        self.inject_segment(mac, super::address(2), destination, seg);
    }

    fn inject_segment(&mut self, mac: MacAddr, source: IpAddr, destination: IpAddr, seg: &Seg) {
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
        let len = tcp.len() as u32;
        let mut sum = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Sum::pseudo_v4(source, destination, Protocol::TCP, len),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Sum::pseudo_v6(source, destination, Protocol::TCP, len),
            _ => panic!("addresses of two families"),
        };
        sum.add_bytes(&tcp);
        let checksum = sum.finish();
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        self.inject_packet(mac, source, destination, Protocol::TCP, &tcp);
    }

    /// Hands the host a packet from `source` with this payload, whose checksum is right.
    pub fn inject_ip(&mut self, source: IpAddr, protocol: Protocol, payload: &[u8]) {
        self.inject_packet(HOST_MAC, source, super::address(1), protocol, payload);
    }

    fn inject_packet(&mut self, mac: MacAddr, source: IpAddr, destination: IpAddr, protocol: Protocol, payload: &[u8]) {
        let (ethertype, ip) = match (source, destination) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let fields = Ipv4Fields {
                    tos: 0,
                    payload_len: payload.len() as u16,
                    ident: 0,
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    ttl: 64,
                    protocol,
                    src,
                    dst,
                };
                (EtherType::IPV4, Ipv4Header::new(&fields, &[]).as_bytes().to_vec())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let fields = Ipv6Fields {
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: payload.len() as u16,
                    next_header: protocol,
                    hop_limit: 64,
                    src,
                    dst,
                };
                (EtherType::IPV6, Ipv6Header::new(&fields).as_bytes().to_vec())
            }
            _ => panic!("addresses of two families"),
        };
        let frame = [EthernetHeader::new(mac, PEER_MAC, ethertype).as_bytes(), &ip, payload].concat();
        self.host.receive(self.now, self.interface, Packet::copy_from(&frame));
    }

    /// Hands the host an ICMP error about `seg`, which the host sent: of `v4`'s or `v6`'s type and code. `mtu` is what it tells of the path.
    pub fn inject_icmp(&mut self, v4: (u8, u8), v6: (u8, u8), mtu: u16, seg: &Seg) {
        let mut quoted = match (super::address(1), super::address(2)) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = [&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0][..], &src.octets(), &dst.octets()];
                header.concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                [&[0x60, 0, 0, 0, 0, 20, 6, 64][..], &src.octets(), &dst.octets()].concat()
            }
            _ => panic!("addresses of two families"),
        };
        quoted.extend_from_slice(&seg.sport.to_be_bytes());
        quoted.extend_from_slice(&seg.dport.to_be_bytes());
        quoted.extend_from_slice(&seg.seq.to_be_bytes());
        let [a, b] = mtu.to_be_bytes();
        let ((kind, code), protocol) = match super::family() {
            super::Family::V4 => (v4, Protocol::ICMP),
            super::Family::V6 => (v6, Protocol::ICMPV6),
        };
        let mut message = vec![kind, code, 0, 0, 0, 0, a, b];
        message.extend_from_slice(&quoted);
        let mut sum = match (super::address(2), super::address(1)) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => Sum::pseudo_v6(src, dst, protocol, message.len() as u32),
            _ => Sum::new(),
        };
        sum.add_bytes(&message);
        message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
        self.inject_ip(super::address(2), protocol, &message);
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

/// The peer's SYN options in the tests: as Linux's.
pub fn syn_options(timestamp: u32) -> TcpOptions {
    TcpOptions {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((timestamp, 0)),
        ..TcpOptions::default()
    }
}

impl Bench {
    /// A connection that the peer opened to a listener of the host on port 80: its listener, its socket and the peer.
    pub fn accept(&mut self, with: &TcpOptions) -> (SocketId, SocketId, Peer) {
        let listener = self.listen(80);
        let (id, peer) = self.accept_on(listener, 5000, with);
        (listener, id, peer)
    }

    pub fn listen(&mut self, port: u16) -> SocketId {
        let listener = self.host.socket(super::domain(), Kind::Stream).unwrap();
        self.host.bind(listener, SocketAddr::new(super::unspecified(), port)).unwrap();
        self.host.listen(listener, 4).unwrap();
        listener
    }

    pub fn accept_on(&mut self, listener: SocketId, sport: u16, with: &TcpOptions) -> (SocketId, Peer) {
        let mut peer = Peer { sport, dport: 80, seq: 1000, ack: 0, window: 65_000, timestamps: None };
        let mut syn = peer.seg(TcpFlags::SYN, &[]);
        syn.options = options(with);
        self.inject(&syn);
        let answer = self.expect();
        assert_eq!(answer.flags, TcpFlags::SYN | TcpFlags::ACK);
        peer.seq += 1;
        peer.ack = answer.seq + 1;
        peer.timestamps = with.timestamps.map(|(value, _)| (value, answer.options().timestamps.unwrap().0));
        self.inject(&peer.ack());
        self.expect_nothing();
        let (id, _) = self.host.accept(self.now, listener).unwrap();
        (id, peer)
    }

    /// A connection that the host opened to port 80 of the peer.
    pub fn connect(&mut self, with: &TcpOptions) -> (SocketId, Peer) {
        let id = self.host.socket(super::domain(), Kind::Stream).unwrap();
        let to = SocketAddr::new(super::address(2), 80);
        assert_eq!(self.host.connect(self.now, id, to), Err(Error::InProgress));
        let syn = self.expect();
        assert_eq!(syn.flags, TcpFlags::SYN);
        let mut peer =
            Peer { sport: 80, dport: syn.sport, seq: 1000, ack: syn.seq + 1, window: 65_000, timestamps: None };
        let mut answer = peer.seg(TcpFlags::SYN | TcpFlags::ACK, &[]);
        let echo = syn.options().timestamps.map_or(0, |t| t.0);
        answer.options = options(&TcpOptions { timestamps: with.timestamps.map(|t| (t.0, echo)), ..*with });
        self.inject(&answer);
        peer.seq += 1;
        peer.timestamps = with.timestamps.map(|(value, _)| (value, echo));
        let ack = self.expect();
        assert_eq!((ack.flags, ack.seq, ack.ack), (TcpFlags::ACK, peer.ack, peer.seq));
        (id, peer)
    }

    pub fn send(&mut self, id: SocketId, data: &[u8]) {
        assert_eq!(self.host.send(self.now, id, data, SendFlags::default()), Ok(data.len()));
    }

    pub fn recv(&mut self, id: SocketId) -> Result<Vec<u8>> {
        let mut buffer = vec![0; 70_000];
        let n = self.host.recv(self.now, id, &mut buffer, ReceiveFlags::default())?;
        buffer.truncate(n);
        Ok(buffer)
    }

    pub fn set(&mut self, id: SocketId, option: SocketOption) {
        self.host.set_option(self.now, id, option).unwrap();
    }

    pub fn state(&self, id: SocketId) -> u8 {
        self.host.tcp_info(self.now, id).unwrap().state
    }

    pub fn ready(&self, id: SocketId) -> Ready {
        self.host.ready(id)
    }

    pub fn shutdown(&mut self, id: SocketId) {
        self.host.shutdown(self.now, id, Shutdown::Write).unwrap();
    }

    pub fn close(&mut self, id: SocketId) {
        self.host.close(self.now, id).unwrap();
    }
}
