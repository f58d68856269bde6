//! Whether a frame that a host transmits is one that any other would take: the other half of hostile tests.

use wireway_packet::Packet;
use wireway_packet::software::{Segmenter, to_wire};
use wireway_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Icmpv4Header, Ipv4View, Protocol, TcpFlags, TcpOptions,
    TcpView, UdpHeader,
};

/// Checks a frame as it would be on the wire, after the offloads that are still to be done: every header whole and true, every
/// checksum right, no IP packet longer than `mtu` bytes, nothing behind the packet. The error says what is wrong.
pub fn check_frame(frame: &Packet, mtu: usize) -> Result<(), String> {
    for frame in Segmenter::new(frame.clone()) {
        let bytes = to_wire(frame);
        check_bytes(&bytes, mtu).map_err(|what| format!("{what}: {bytes:02x?}"))?;
    }
    Ok(())
}

fn check_bytes(frame: &[u8], mtu: usize) -> Result<(), String> {
    let (header, payload) = EthernetHeader::parse(frame).map_err(|e| format!("Ethernet: {e}"))?;
    if !header.src.is_unicast() {
        return Err("a source that is no station".into());
    }
    match header.ethertype() {
        EtherType::ARP => check_arp(header, payload),
        EtherType::IPV4 => check_ipv4(payload, mtu),
        other => Err(format!("{other}")),
    }
}

fn check_arp(header: &EthernetHeader, payload: &[u8]) -> Result<(), String> {
    let arp = ArpPacket::parse(payload).map_err(|e| format!("ARP: {e}"))?;
    let known = matches!(arp.operation(), ArpOperation::REQUEST | ArpOperation::REPLY);
    let sane = known && payload.len() == ArpPacket::LEN && arp.sender_mac() == header.src;
    if sane { Ok(()) } else { Err("ARP: no sane packet".into()) }
}

fn check_ipv4(packet: &[u8], mtu: usize) -> Result<(), String> {
    let (ip, payload) = Ipv4View::parse(packet).map_err(|e| format!("IPv4: {e}"))?;
    ip.verify_checksum().map_err(|e| format!("IPv4: {e}"))?;
    let header = ip.header;
    if header.total_len() != packet.len() || packet.len() > mtu {
        return Err(format!("IPv4: {} bytes, of {} in the frame, MTU {mtu}", header.total_len(), packet.len()));
    }
    if header.ttl() == 0 || header.src().is_loopback() || header.dst().is_loopback() || header.src().is_multicast() {
        return Err(format!("IPv4: from {} to {}, TTL {}", header.src(), header.dst(), header.ttl()));
    }
    if header.is_fragment() {
        let sane = !payload.is_empty() && (!header.more_fragments() || payload.len() % 8 == 0);
        return if sane { Ok(()) } else { Err("IPv4: no sane fragment".into()) };
    }
    let mut sum = header.pseudo(payload.len() as u32);
    sum.add_bytes(payload);
    match header.protocol() {
        Protocol::TCP => check_tcp(payload, sum.is_valid()),
        Protocol::UDP => check_udp(payload, sum.is_valid()),
        Protocol::ICMP => {
            Icmpv4Header::parse(payload).map_err(|e| format!("ICMP: {e}"))?;
            wireway_wire::icmpv4::verify_checksum(payload).map_err(|e| format!("ICMP: {e}"))
        }
        _ => Ok(()),
    }
}

fn check_udp(datagram: &[u8], valid: bool) -> Result<(), String> {
    let (header, _) = UdpHeader::parse(datagram).map_err(|e| format!("UDP: {e}"))?;
    if usize::from(header.length.get()) != datagram.len() {
        return Err(format!("UDP: {} bytes, of {} there", header.length.get(), datagram.len()));
    }
    if header.has_checksum() && !valid { Err("UDP: bad checksum".into()) } else { Ok(()) }
}

fn check_tcp(segment: &[u8], valid: bool) -> Result<(), String> {
    let (tcp, payload) = TcpView::parse(segment).map_err(|e| format!("TCP: {e}"))?;
    TcpOptions::parse(tcp.options).map_err(|e| format!("TCP: {e}"))?;
    let flags = tcp.header.flags();
    let (syn, fin, rst) = (flags.contains(TcpFlags::SYN), flags.contains(TcpFlags::FIN), flags.contains(TcpFlags::RST));
    let ack = flags.contains(TcpFlags::ACK);
    if (syn && (fin || rst)) || (fin && rst) || !(ack || syn || rst) {
        return Err(format!("TCP: flags {flags:?}"));
    }
    if (syn || rst) && !payload.is_empty() {
        return Err(format!("TCP: {} bytes on {flags:?}", payload.len()));
    }
    if valid { Ok(()) } else { Err("TCP: bad checksum".into()) }
}
