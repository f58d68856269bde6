//! One line of text for each frame, in the manner of tcpdump.
//!
//! ```text
//! 0.000241 eth0 Out IP 10.0.2.15.40000 > 10.0.2.2.80: Flags [S], seq 12345, win 64240, options [mss 1460], length 0
//! ```
//!
//! Times are seconds since the start. Sequence numbers count from the connection's first if its SYN was seen.

mod ipv6;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use wireway_packet::Instant;
use wireway_wire::icmpv4::{Icmpv4Type, unreachable};
use wireway_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Icmpv4Header, Ipv4View, MacAddr, Malformed, Protocol,
    SeqNumber, TcpFlags, TcpOption, TcpView, UdpHeader, VlanTag,
};

use crate::{Direction, Monitor};

/// Connections whose first sequence numbers are remembered.
const CONNECTIONS: usize = 4096;

/// Prints what passes the cards that it watches.
pub struct Trace<W> {
    out: W,
    /// The reader is there.
    open: bool,
    names: Vec<String>,
    line: String,
    first: FirstNumbers,
}

impl<W: Write> Trace<W> {
    /// Prints to `out`, a line at a time.
    pub fn new(out: W) -> Trace<W> {
        Trace { out, open: true, names: Vec::new(), line: String::new(), first: FirstNumbers::default() }
    }
}

impl<W: Write> Monitor for Trace<W> {
    fn attach(&mut self, name: &str, _: MacAddr) -> usize {
        self.names.push(name.to_owned());
        self.names.len() - 1
    }

    fn is_active(&self) -> bool {
        self.open
    }

    fn frame(&mut self, now: Instant, card: usize, direction: Direction, frame: &[u8]) {
        let name = self.names.get(card).map_or("?", String::as_str);
        let way = match direction {
            Direction::Received => "In ",
            Direction::Transmitted => "Out",
        };
        let micros = now.as_micros();
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{}.{:06} {name} {way} ", micros / 1_000_000, micros % 1_000_000);
        if let Err(Stop::Malformed(why)) = ethernet(&mut self.line, &mut self.first, frame) {
            let _ = write!(self.line, "[{why}] length {}", frame.len());
        }
        self.line.push('\n');
        self.open = self.out.write_all(self.line.as_bytes()).is_ok();
    }
}

/// The first sequence number of each direction of each connection.
#[derive(Default)]
struct FirstNumbers(HashMap<(SocketAddr, SocketAddr), SeqNumber>);

impl FirstNumbers {
    fn learn(&mut self, from: SocketAddr, to: SocketAddr, seq: SeqNumber) {
        if self.0.len() >= CONNECTIONS {
            self.0.clear();
        }
        self.0.insert((from, to), seq);
    }

    /// `seq`, counted from the first where that is known.
    fn relative(&self, from: SocketAddr, to: SocketAddr, seq: SeqNumber) -> u32 {
        self.0.get(&(from, to)).map_or(seq.0, |first| seq.distance_from(*first))
    }
}

enum Stop {
    Malformed(Malformed),
    Fmt,
}

impl From<Malformed> for Stop {
    fn from(why: Malformed) -> Stop {
        Stop::Malformed(why)
    }
}

impl From<fmt::Error> for Stop {
    fn from(_: fmt::Error) -> Stop {
        Stop::Fmt
    }
}

fn ethernet(line: &mut String, first: &mut FirstNumbers, frame: &[u8]) -> Result<(), Stop> {
    let (header, mut payload) = EthernetHeader::parse(frame)?;
    let mut ethertype = header.ethertype();
    while ethertype.is_vlan() {
        let (tag, rest) = VlanTag::parse(payload)?;
        let provider = if ethertype == EtherType::SERVICE_VLAN { "802.1ad " } else { "" };
        write!(line, "{provider}vlan {} ", tag.id())?;
        if tag.priority() > 0 {
            write!(line, "p {} ", tag.priority())?;
        }
        (ethertype, payload) = (tag.ethertype(), rest);
    }
    match ethertype {
        EtherType::ARP => arp(line, payload),
        EtherType::IPV4 => ipv4(line, first, payload),
        EtherType::IPV6 => ipv6::ipv6(line, first, payload),
        other => Ok(write!(line, "{} > {}, {other}, length {}", header.src, header.dst, payload.len())?),
    }
}

fn arp(line: &mut String, payload: &[u8]) -> Result<(), Stop> {
    let arp = ArpPacket::parse(payload)?;
    match arp.operation() {
        ArpOperation::REQUEST if arp.is_probe() => write!(line, "ARP, Probe {}", arp.target_ip())?,
        ArpOperation::REQUEST if arp.sender_ip() == arp.target_ip() => {
            write!(line, "ARP, Announcement {}", arp.target_ip())?;
        }
        ArpOperation::REQUEST => write!(line, "ARP, Request who-has {} tell {}", arp.target_ip(), arp.sender_ip())?,
        ArpOperation::REPLY => write!(line, "ARP, Reply {} is-at {}", arp.sender_ip(), arp.sender_mac())?,
        ArpOperation(other) => write!(line, "ARP, operation {other}")?,
    }
    Ok(write!(line, ", length {}", payload.len())?)
}

fn ipv4(line: &mut String, first: &mut FirstNumbers, packet: &[u8]) -> Result<(), Stop> {
    let (view, payload) = Ipv4View::parse(packet)?;
    let header = view.header;
    line.push_str("IP ");
    if header.fragment_offset() > 0 {
        write!(line, "{} > {}: {}", header.src(), header.dst(), header.protocol())?;
    } else if header.is_fragment() && header.protocol() != Protocol::TCP {
        // The payload's own length speaks of the whole datagram.
        write!(line, "{} > {}: {}", header.src(), header.dst(), header.protocol())?;
    } else {
        return transport(line, first, header.protocol(), (header.src().into(), header.dst().into()), payload);
    }
    let more = if header.more_fragments() { "+" } else { "" };
    let (id, at) = (header.ident(), header.fragment_offset());
    Ok(write!(line, ", fragment {id}:{}@{at}{more}, length {}", payload.len(), payload.len())?)
}

fn transport(
    line: &mut String,
    first: &mut FirstNumbers,
    protocol: Protocol,
    (src, dst): (IpAddr, IpAddr),
    payload: &[u8],
) -> Result<(), Stop> {
    match protocol {
        Protocol::TCP => tcp(line, first, (src, dst), payload),
        Protocol::UDP => {
            let (header, data) = UdpHeader::parse(payload)?;
            let (from, to) = (header.src_port, header.dst_port);
            Ok(write!(line, "{src}.{from} > {dst}.{to}: UDP, length {}", data.len())?)
        }
        Protocol::ICMP => {
            write!(line, "{src} > {dst}: ICMP ")?;
            icmp(line, payload)
        }
        other => Ok(write!(line, "{src} > {dst}: {other}, length {}", payload.len())?),
    }
}

fn tcp(line: &mut String, first: &mut FirstNumbers, (src, dst): (IpAddr, IpAddr), segment: &[u8]) -> Result<(), Stop> {
    let (view, data) = TcpView::parse(segment)?;
    let header = view.header;
    let from = SocketAddr::new(src, header.src_port.get());
    let to = SocketAddr::new(dst, header.dst_port.get());
    let flags = header.flags();
    write!(line, "{src}.{} > {dst}.{}: Flags [{flags}]", from.port(), to.port())?;
    if flags.contains(TcpFlags::SYN) {
        first.learn(from, to, header.seq());
        write!(line, ", seq {}", header.seq().0)?;
    } else {
        let seq = first.relative(from, to, header.seq());
        if !data.is_empty() {
            write!(line, ", seq {seq}:{}", seq.wrapping_add(data.len() as u32))?;
        } else if flags.intersects(TcpFlags::FIN | TcpFlags::RST) {
            write!(line, ", seq {seq}")?;
        }
    }
    if flags.contains(TcpFlags::ACK) {
        write!(line, ", ack {}", first.relative(to, from, header.ack()))?;
    }
    write!(line, ", win {}", header.window)?;
    if flags.contains(TcpFlags::URG) {
        write!(line, ", urg {}", header.urgent)?;
    }
    let mut separator = ", options [";
    for option in view.option_iter() {
        line.push_str(separator);
        separator = ",";
        match option? {
            TcpOption::MaximumSegmentSize(size) => write!(line, "mss {size}")?,
            TcpOption::WindowScale(shift) => write!(line, "wscale {shift}")?,
            TcpOption::SackPermitted => line.push_str("sackOK"),
            TcpOption::Timestamps(value, echo) => write!(line, "TS val {value} ecr {echo}")?,
            TcpOption::Sack(blocks) => {
                write!(line, "sack {}", blocks.len())?;
                for &(left, right) in blocks.iter() {
                    let [left, right] = [left, right].map(|edge| first.relative(to, from, edge));
                    write!(line, " {{{left}:{right}}}")?;
                }
            }
            TcpOption::Other { kind, data } => write!(line, "unknown-{kind} length {}", data.len() + 2)?,
        }
    }
    if separator == "," {
        line.push(']');
    }
    Ok(write!(line, ", length {}", data.len())?)
}

fn icmp(line: &mut String, message: &[u8]) -> Result<(), Stop> {
    let (header, rest) = Icmpv4Header::parse(message)?;
    let quoted = header.quoted(rest).ok().map(|quoted| quoted.ip.header.dst());
    match header.kind {
        Icmpv4Type::ECHO_REQUEST => write!(line, "echo request, id {}, seq {}", header.ident(), header.sequence())?,
        Icmpv4Type::ECHO_REPLY => write!(line, "echo reply, id {}, seq {}", header.ident(), header.sequence())?,
        Icmpv4Type::DESTINATION_UNREACHABLE => {
            line.push_str(match header.code {
                unreachable::NETWORK => "net unreachable",
                unreachable::HOST => "host unreachable",
                unreachable::PROTOCOL => "protocol unreachable",
                unreachable::PORT => "port unreachable",
                unreachable::FRAGMENTATION_NEEDED => "fragmentation needed",
                unreachable::COMMUNICATION_PROHIBITED => "prohibited",
                _ => "destination unreachable",
            });
            if let Some(dst) = quoted {
                write!(line, ", for {dst}")?;
            }
            if header.code == unreachable::FRAGMENTATION_NEEDED {
                write!(line, ", mtu {}", header.mtu())?;
            }
        }
        Icmpv4Type::TIME_EXCEEDED => line.push_str("time exceeded"),
        Icmpv4Type::REDIRECT => write!(line, "redirect to {}", header.gateway())?,
        Icmpv4Type::PARAMETER_PROBLEM => write!(line, "parameter problem at byte {}", header.pointer())?,
        Icmpv4Type(other) => write!(line, "type {other}, code {}", header.code)?,
    }
    Ok(write!(line, ", length {}", message.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed of frames, each given as its Ethernet type and payload in hexadecimal.
    fn lines(frames: &[(&str, &str)]) -> String {
        let mut trace = Trace::new(Vec::new());
        let card = trace.attach("eth0", MacAddr([2; 6]));
        for (ethertype, payload) in frames {
            let frame = bytes(&format!("020000000002 020000000001 {ethertype} {payload}"));
            trace.frame(Instant::from_micros(1_000_042), card, Direction::Transmitted, &frame);
        }
        String::from_utf8(trace.out).unwrap().replace("1.000042 eth0 Out ", "")
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn a_connection_is_shown_with_numbers_from_its_first() {
        let syn = "4500003c 00004000 40060000 0a00020f 0a000202 9c40 0050 000003e8 00000000 a002faf0 0000 0000
                   020405b4 0402 080a0000000500000000 01 030307";
        let syn_ack = "4500002c 00004000 40060000 0a000202 0a00020f 0050 9c40 fffffff0 000003e9 6012faf0 0000 0000
                   020405b4";
        let data = "4500002d 00004000 40060000 0a00020f 0a000202 9c40 0050 000003e9 fffffff1 5018faf0 0000 0000
                   6869736a6b";
        let sack = "45000034 00004000 40060000 0a000202 0a00020f 0050 9c40 fffffff1 000003e9 8010faf0 0000 0000
                   0101 050a 000003ea 000003ec";
        let expected = "\
            IP 10.0.2.15.40000 > 10.0.2.2.80: Flags [S], seq 1000, win 64240, \
            options [mss 1460,sackOK,TS val 5 ecr 0,wscale 7], length 0\n\
            IP 10.0.2.2.80 > 10.0.2.15.40000: Flags [S.], seq 4294967280, ack 1, win 64240, options [mss 1460], length 0\n\
            IP 10.0.2.15.40000 > 10.0.2.2.80: Flags [P.], seq 1:6, ack 1, win 64240, length 5\n\
            IP 10.0.2.2.80 > 10.0.2.15.40000: Flags [.], ack 1, win 64240, options [sack 1 {2:4}], length 0\n";
        assert_eq!(lines(&[("0800", syn), ("0800", syn_ack), ("0800", data), ("0800", sack)]), expected);
    }

    #[test]
    fn other_protocols_have_their_lines() {
        let arp = "0001 0800 06 04 0001 020000000001 0a00020f 000000000000 0a000202";
        let arp_reply = "0001 0800 06 04 0002 020000000001 0a00020f 020000000002 0a000202";
        let udp = "4500001e 00000000 40110000 0a00020f 0a000203 1388 0035 000a 0000 0102";
        let ping = "4500001c 00000000 40010000 0a00020f 0a000202 0800 0000 0007 0001";
        let unreachable = "45000038 00000000 40010000 0a000202 0a00020f 0303 0000 00000000
                           4500001e 00000000 40110000 0a00020f 0a000203 1388 0035 000a 0000";
        let fragment = "4500001c 00072001 40110000 0a00020f 0a000203 0102030405060708";
        let expected = "\
            ARP, Request who-has 10.0.2.2 tell 10.0.2.15, length 28\n\
            ARP, Reply 10.0.2.15 is-at 02:00:00:00:00:01, length 28\n\
            IP 10.0.2.15.5000 > 10.0.2.3.53: UDP, length 2\n\
            IP 10.0.2.15 > 10.0.2.2: ICMP echo request, id 7, seq 1, length 8\n\
            IP 10.0.2.2 > 10.0.2.15: ICMP port unreachable, for 10.0.2.3, length 36\n\
            IP 10.0.2.15 > 10.0.2.3: udp, fragment 7:8@8+, length 8\n";
        let frames = [
            ("0806", arp),
            ("0806", arp_reply),
            ("0800", udp),
            ("0800", ping),
            ("0800", unreachable),
            ("0800", fragment),
        ];
        assert_eq!(lines(&frames), expected);
    }

    #[test]
    fn ipv6_is_shown_by_the_names_of_its_messages() {
        let (ours, gateway) = ("fd000010000000020000000000000015", "fd000010000000020000000000000002");
        let packet = |next: &str, to: &str, payload: &str| {
            let length = payload.chars().filter(char::is_ascii_hexdigit).count() / 2;
            format!("60000000 {length:04x} {next} ff {ours} {to} {payload}")
        };
        let group = "ff0200000000000000000001ff000002";
        let frames = [
            packet("3a", group, &format!("8700 0000 00000000 {gateway} 0101 020000000001")),
            packet("3a", gateway, &format!("8800 0000 60000000 {ours} 0201 020000000001")),
            packet("3a", gateway, "8000 0000 0007 0001"),
            packet(
                "00",
                "ff020000000000000000000000000016",
                &format!("3a00 05020000 0100 8f00 0000 00000001 04000000 {group}"),
            ),
            packet("2c", gateway, "1100 0009 00000007 0102030405060708"),
            packet("11", gateway, "1388 0035 000a 0000 0102"),
        ];
        let frames: Vec<(&str, &str)> = frames.iter().map(|frame| ("86dd", frame.as_str())).collect();
        let expected = "\
            IP6 fd00:10:0:2::15 > ff02::1:ff00:2: ICMP6 neighbor solicitation, who has fd00:10:0:2::2, length 32\n\
            IP6 fd00:10:0:2::15 > fd00:10:0:2::2: ICMP6 neighbor advertisement, fd00:10:0:2::15 is here, length 32\n\
            IP6 fd00:10:0:2::15 > fd00:10:0:2::2: ICMP6 echo request, id 7, seq 1, length 8\n\
            IP6 fd00:10:0:2::15 > ff02::16: ICMP6 multicast listener report ff02::1:ff00:2, length 28\n\
            IP6 fd00:10:0:2::15 > fd00:10:0:2::2: udp, fragment 7:8@8+, length 8\n\
            IP6 fd00:10:0:2::15.5000 > fd00:10:0:2::2.53: UDP, length 2\n";
        assert_eq!(lines(&frames), expected);
    }

    #[test]
    fn tags_come_first() {
        let ping = "4500001c 00000000 40010000 0a00020f 0a000202 0800 0000 0007 0001";
        let frames = [("8100", format!("0005 0800 {ping}")), ("88a8", format!("0064 8100 6fff 0800 {ping}"))];
        let frames: Vec<(&str, &str)> = frames.iter().map(|(ethertype, rest)| (*ethertype, rest.as_str())).collect();
        let expected = "\
            vlan 5 IP 10.0.2.15 > 10.0.2.2: ICMP echo request, id 7, seq 1, length 8\n\
            802.1ad vlan 100 vlan 4095 p 3 IP 10.0.2.15 > 10.0.2.2: ICMP echo request, id 7, seq 1, length 8\n";
        assert_eq!(lines(&frames), expected);
    }

    #[test]
    fn any_bytes_make_one_line() {
        let mut random = 1u64;
        for len in 0..400 {
            let mut frame: Vec<u8> = std::iter::repeat_with(|| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 56) as u8
            })
            .take(len)
            .collect();
            if let Some(start) = frame.get_mut(12..15) {
                start.copy_from_slice(&[8, [0, 6][len % 2], 0x45]);
            }
            if let Some(protocol) = frame.get_mut(23) {
                *protocol = [1, 6, 17][len % 3];
            }
            let mut trace = Trace::new(Vec::new());
            trace.frame(Instant::ZERO, 0, Direction::Received, &frame);
            assert_eq!(trace.out.iter().filter(|&&b| b == b'\n').count(), 1);
        }
    }
}
