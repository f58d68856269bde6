//! One conversation with a host: frames made by hand, and a transcript of what the host answers that reads the same wherever the answer
//! is the same. Sequence numbers are counted from both ends' first, timestamps of the host's are not shown.

use std::fmt::Write;
use std::time::Duration;

use wireway_lab::forge::{Forge, IP, Station};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Icmpv4Header, Icmpv4Type, Ipv4View, MacAddr, Protocol,
    SeqNumber, TcpFields, TcpFlags, TcpView, UdpHeader,
};

use crate::side::{HOST, Outcome, PEER, PEER_MAC, Side, Sock};

/// The peer's first sequence number; and the host's, as long as it has not said it.
const IRS: u32 = 1_000_000;
const ISS: u32 = 5_000_000;
/// Who asks for the host's address behind every frame: when it has answered, it has answered the frame.
const FENCE: Station = Station { mac: MacAddr([2, 0, 0, 0, 0, 0xfa]), ip: std::net::Ipv4Addr::new(10, 0, 0, 250) };
/// The longest that an answer may take that is to come at once.
const AT_ONCE: Duration = Duration::from_secs(5);

pub struct Talk<'a> {
    pub side: &'a mut dyn Side,
    pub forge: Forge,
    /// The peer's port and the host's.
    pub ports: (u16, u16),
    iss: Option<u32>,
    /// Where the line about the last segment with data begins, and the number after that data.
    last: Option<(usize, SeqNumber)>,
    /// IP packets put on the wire.
    sent: Vec<Vec<u8>>,
    pub log: String,
}

impl<'a> Talk<'a> {
    /// Introduces the peer to the host. `number` makes the ports.
    pub fn new(side: &'a mut dyn Side, number: u16) -> Talk<'a> {
        let nobody = Station { mac: MacAddr::BROADCAST, ip: HOST };
        let forge = Forge::new(Station { mac: PEER_MAC, ip: PEER }, nobody);
        let ports = (20_000 + number, 1_000 + number);
        let mut talk = Talk { side, forge, ports, iss: None, last: None, sent: Vec::new(), log: String::new() };
        talk.side.inject(&forge.arp(ArpOperation::REQUEST));
        loop {
            let frame = talk.side.next(AT_ONCE).expect("an answer to ARP");
            let (header, payload) = EthernetHeader::parse(&frame).expect("a frame");
            if ArpPacket::parse(payload).is_ok_and(|arp| arp.operation() == ArpOperation::REPLY) {
                talk.forge.to.mac = header.src;
                return talk;
            }
        }
    }

    /// Forgets the host's first sequence number: another connection follows.
    pub fn forget(&mut self) {
        self.iss = None;
    }

    /// Puts a frame on the wire and notes the answers.
    pub fn frame(&mut self, what: &str, frame: &[u8]) {
        writeln!(self.log, "> {what}").expect("a string");
        self.sent.push(frame[IP..].to_vec());
        self.side.inject(frame);
        self.last = None;
        self.answers();
    }

    /// Notes what the host has sent up to now.
    pub fn answers(&mut self) {
        let fence = Forge::new(FENCE, Station { mac: MacAddr::BROADCAST, ip: HOST });
        self.side.inject(&fence.arp(ArpOperation::REQUEST));
        loop {
            let frame = self.side.next(AT_ONCE).expect("an answer to the fence");
            if EthernetHeader::parse(&frame).is_ok_and(|(header, _)| header.dst == FENCE.mac) {
                return;
            }
            self.note(&frame);
        }
    }

    /// Waits for something that a timer sends.
    pub fn wait(&mut self, limit: Duration) {
        writeln!(self.log, "(time goes by)").expect("a string");
        while let Some(frame) = self.side.next(limit) {
            if self.note(&frame) {
                return;
            }
        }
    }

    /// Notes what a socket call gave, and what it made the host send.
    pub fn did(&mut self, what: &str, outcome: Outcome) {
        match outcome {
            Ok(n) => writeln!(self.log, "{what}: {n}"),
            Err(errno) => writeln!(self.log, "{what}: errno {errno}"),
        }
        .expect("a string");
        self.answers();
    }

    /// True if it is worth noting: requests for the peer's hardware address are answered by the way.
    fn note(&mut self, frame: &[u8]) -> bool {
        let (ethernet, payload) = EthernetHeader::parse(frame).expect("an Ethernet frame");
        match ethernet.ethertype() {
            EtherType::ARP => {
                let arp = ArpPacket::parse(payload).expect("an ARP packet");
                if arp.operation() == ArpOperation::REQUEST {
                    if arp.target_ip() == PEER {
                        self.side.inject(&self.forge.arp(ArpOperation::REPLY));
                    }
                    return false;
                }
                let to = if ethernet.dst == arp.target_mac() { "" } else { " in a frame for another" };
                writeln!(self.log, "< arp reply to {} {}{to}", arp.target_ip(), arp.target_mac())
            }
            EtherType::IPV4 => {
                let (_, segment) = Ipv4View::parse(payload).expect("an IPv4 packet");
                if payload[9] == Protocol::TCP.0 && segment[..2] != self.ports.1.to_be_bytes() {
                    // A timer of an earlier conversation.
                    return false;
                }
                let line = self.ip(payload);
                writeln!(self.log, "< {line}")
            }
            other => writeln!(self.log, "< {other}"),
        }
        .expect("a string");
        true
    }

    fn ip(&mut self, packet: &[u8]) -> String {
        let (view, payload) = Ipv4View::parse(packet).expect("an IPv4 packet");
        view.verify_checksum().expect("a good IP checksum");
        let ip = view.header.fields();
        let what = match ip.protocol {
            Protocol::TCP => {
                let mut sum = view.header.pseudo(payload.len() as u32);
                sum.add_bytes(payload);
                assert!(sum.is_valid(), "a good TCP checksum");
                self.tcp(payload)
            }
            Protocol::ICMP => self.icmp(payload),
            Protocol::UDP => {
                let (udp, data) = UdpHeader::parse(payload).expect("a datagram");
                format!("udp checksum {} len {}", if udp.has_checksum() { "yes" } else { "no" }, data.len())
            }
            other => format!("{other}"),
        };
        // The identification of what has DF means nothing (RFC 6864 §4.1).
        let fragment = match (ip.dont_fragment, ip.ident) {
            (true, _) => "DF",
            (false, 0) => "id 0",
            (false, _) => "id",
        };
        let options =
            if view.options.is_empty() { String::new() } else { format!(" options {:x?}", &view.options[..3]) };
        let ends = match (ip.src, ip.dst) == (HOST, self.forge.from.ip) {
            true => String::new(),
            false => format!(" {} > {}", ip.src, ip.dst),
        };
        format!("{what}; ip{ends} tos {:#x} ttl {} {fragment} len {}{options}", ip.tos, ip.ttl, packet.len())
    }

    fn tcp(&mut self, segment: &[u8]) -> String {
        let (view, data) = TcpView::parse(segment).expect("a segment");
        let tcp = view.header.fields();
        if tcp.flags.contains(TcpFlags::SYN) {
            self.iss = Some(tcp.seq.0);
        }
        // PSH in a full segment, or in one that another follows upon, may come of how a super-segment was cut.
        if let Some((at, _)) = self.last.take().filter(|&(_, end)| end == tcp.seq) {
            let line = self.log[at..].replacen("tcp P.", "tcp .", 1);
            self.log.replace_range(at.., &line);
        }
        self.last = Some((self.log.len(), tcp.seq + data.len() as u32)).filter(|_| !data.is_empty());
        let pushed = if data.len() == 1460 { tcp.flags - TcpFlags::PSH } else { tcp.flags };
        let mut text = format!("tcp {pushed}");
        if (tcp.dst_port, tcp.src_port) != self.ports {
            write!(text, " {} -> {}", tcp.src_port, tcp.dst_port).expect("a string");
        }
        let relative = |number: u32, first: u32| match number {
            0 => "0!".to_string(),
            _ => (number.wrapping_sub(first) as i32).to_string(),
        };
        write!(text, " seq {}", relative(tcp.seq.0, self.iss.unwrap_or(ISS))).expect("a string");
        if tcp.flags.contains(TcpFlags::ACK) || tcp.ack.0 != 0 {
            write!(text, " ack {}", relative(tcp.ack.0, IRS)).expect("a string");
        }
        // Offers grow differently; what must be the same is the first, and whether there is one.
        if tcp.flags.contains(TcpFlags::SYN) {
            write!(text, " win {}", tcp.window).expect("a string");
        } else if !tcp.flags.contains(TcpFlags::RST) && tcp.window == 0 {
            text.push_str(" win closed");
        }
        if tcp.urgent != 0 {
            write!(text, " urg {}", tcp.urgent).expect("a string");
        }
        if !view.options.is_empty() {
            write!(text, " <{}>", options(view.options)).expect("a string");
        }
        if !data.is_empty() {
            write!(text, " len {}", data.len()).expect("a string");
        }
        text
    }

    fn icmp(&self, message: &[u8]) -> String {
        wireway_wire::icmpv4::verify_checksum(message).expect("a good ICMP checksum");
        let (header, data) = Icmpv4Header::parse(message).expect("an ICMP message");
        let mut text = format!("icmp {}/{} {:?}", header.kind.0, header.code, header.rest);
        if header.kind == Icmpv4Type::ECHO_REPLY {
            let same = self.sent.iter().any(|packet| packet.ends_with(data));
            write!(text, " data {} {}", data.len(), if same { "as sent" } else { "changed" }).expect("a string");
        } else {
            let same = self.sent.iter().any(|packet| packet.starts_with(data));
            write!(text, " quotes {} {}", data.len(), if same { "as sent" } else { "changed" }).expect("a string");
        }
        text
    }

    /// A segment of the peer's, its numbers counted from both ends' first.
    pub fn tcp_frame(&self, flags: TcpFlags, seq: i32, ack: i32, options: &[u8], data: &[u8]) -> Vec<u8> {
        let fields = TcpFields {
            src_port: self.ports.0,
            dst_port: self.ports.1,
            seq: SeqNumber(IRS.wrapping_add_signed(seq)),
            ack: SeqNumber(match flags.contains(TcpFlags::ACK) {
                true => self.iss.unwrap_or(ISS).wrapping_add_signed(ack),
                false => 0,
            }),
            flags,
            window: 60_000,
            urgent: 0,
        };
        self.forge.tcp(&fields, options, data)
    }

    /// Sends such a segment.
    pub fn seg(&mut self, flags: TcpFlags, seq: i32, ack: i32, data: &[u8]) {
        self.seg_with(flags, seq, ack, &[], data);
    }

    pub fn seg_with(&mut self, flags: TcpFlags, seq: i32, ack: i32, options: &[u8], data: &[u8]) {
        let frame = self.tcp_frame(flags, seq, ack, options, data);
        self.frame(&format!("tcp {flags} seq {seq} ack {ack} len {}", data.len()), &frame);
    }

    /// A listener at the host's port.
    pub fn listen(&mut self) -> Sock {
        let sock = self.side.bind(true, self.ports.1);
        self.side.listen(sock);
        sock
    }

    /// A connection that the peer opened, with these options in its SYN; if they have timestamps, its own is 1.
    pub fn accept(&mut self, options: &[u8]) -> Sock {
        let listener = self.listen();
        self.seg_with(TcpFlags::SYN, 0, 0, options, &[]);
        self.seg(TcpFlags::ACK, 1, 1, &[]);
        let sock = self.side.accept(listener).expect("a connection");
        self.side.close(listener);
        sock
    }

    /// An ICMP message of the peer's.
    pub fn icmp_frame(&self, kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
        self.forge.icmp(Icmpv4Header::new(Icmpv4Type(kind), code, rest), data)
    }

    /// An ARP packet of any content, by broadcast or to the host.
    pub fn arp_frame(&self, broadcast: bool, arp: &ArpPacket) -> Vec<u8> {
        let to = if broadcast { MacAddr::BROADCAST } else { self.forge.to.mac };
        let mut frame = EthernetHeader::new(to, self.forge.from.mac, EtherType::ARP).as_bytes().to_vec();
        frame.extend_from_slice(arp.as_bytes());
        frame
    }
}

/// TCP options as tcpdump prints them, in their order.
fn options(mut bytes: &[u8]) -> String {
    let mut all = Vec::new();
    while let [kind, rest @ ..] = bytes {
        let len = if *kind < 2 { 1 } else { usize::from(rest[0]) };
        let number = |range: std::ops::Range<usize>| bytes[range].iter().fold(0u32, |n, &b| n << 8 | u32::from(b));
        all.push(match kind {
            0 => "eol".to_string(),
            1 => "nop".to_string(),
            2 => format!("mss {}", number(2..4)),
            3 => format!("wscale {}", bytes[2]),
            4 => "sackOK".to_string(),
            5 => {
                let edge = |at: usize| number(at..at + 4).wrapping_sub(IRS) as i32;
                let blocks: Vec<_> = (2..len).step_by(8).map(|at| format!("{}:{}", edge(at), edge(at + 4))).collect();
                format!("sack {}", blocks.join(" "))
            }
            8 => format!("TS ecr {}", number(6..10)),
            _ => format!("option {kind}"),
        });
        bytes = &bytes[len..];
    }
    all.join(",")
}
