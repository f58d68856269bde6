//! Frames made by hand: right by default, wrong where a test wants them so.
//!
//! A [`Forge`] knows two stations and makes frames from the one to the other, whole and with good checksums. A test changes bytes of what
//! it gets; [`repair`] then puts the checksums right again, so that the lie arrives at the layer it is meant for.

use core::net::Ipv4Addr;
use core::ops::Range;

use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Icmpv4Header, Ipv4Fields, Ipv4Header, MacAddr, Protocol, Sum,
    TcpFields, TcpHeader, UdpHeader,
};

/// Where the IP header begins in a frame.
pub const IP: usize = EthernetHeader::LEN;

/// An interface as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IP address.
    pub ip: Ipv4Addr,
}

/// Makes frames from one station to another.
#[derive(Clone, Copy, Debug)]
pub struct Forge {
    /// Who seems to send.
    pub from: Station,
    /// Who is to receive.
    pub to: Station,
}

impl Forge {
    /// A forge for frames that pretend to come `from` one station, for another.
    pub fn new(from: Station, to: Station) -> Forge {
        Forge { from, to }
    }

    /// The same with another IP address as its source.
    pub fn pretending(&self, source: Ipv4Addr) -> Forge {
        Forge { from: Station { ip: source, ..self.from }, to: self.to }
    }

    /// The same with another IP address as its destination.
    pub fn towards(&self, destination: Ipv4Addr) -> Forge {
        Forge { to: Station { ip: destination, ..self.to }, from: self.from }
    }

    /// A frame with this payload.
    pub fn ethernet(&self, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
        let mut frame = EthernetHeader::new(self.to.mac, self.from.mac, ethertype).as_bytes().to_vec();
        frame.extend_from_slice(payload);
        frame
    }

    /// An ARP packet about these two stations.
    pub fn arp(&self, operation: ArpOperation) -> Vec<u8> {
        let (from, to) = ((self.from.mac, self.from.ip), (self.to.mac, self.to.ip));
        self.ethernet(EtherType::ARP, ArpPacket::new(operation, from, to).as_bytes())
    }

    /// The IP header's values for a payload: a whole datagram with time to live 64.
    pub fn fields(&self, protocol: Protocol, payload_len: usize) -> Ipv4Fields {
        Ipv4Fields {
            tos: 0,
            payload_len: payload_len as u16,
            ident: 0x1234,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            src: self.from.ip,
            dst: self.to.ip,
        }
    }

    /// An IPv4 packet.
    pub fn ipv4(&self, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
        self.ipv4_with(&self.fields(protocol, payload.len()), &[], payload)
    }

    /// An IPv4 packet with these values and options (a multiple of 4 bytes, at most 40).
    pub fn ipv4_with(&self, fields: &Ipv4Fields, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut packet = Ipv4Header::new(fields, options).as_bytes().to_vec();
        packet.extend_from_slice(options);
        packet.extend_from_slice(payload);
        self.ethernet(EtherType::IPV4, &packet)
    }

    /// A fragment: bytes `range` of an IP payload.
    pub fn fragment(&self, protocol: Protocol, ident: u16, payload: &[u8], range: Range<usize>, more: bool) -> Vec<u8> {
        let part = payload.get(range.clone()).unwrap_or_default();
        let fields = Ipv4Fields {
            ident,
            more_fragments: more,
            fragment_offset: range.start as u16,
            ..self.fields(protocol, part.len())
        };
        self.ipv4_with(&fields, &[], part)
    }

    /// A UDP datagram from its header on, for [`fragment`](Self::fragment).
    pub fn udp_payload(&self, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        let len = UdpHeader::LEN + data.len();
        let mut datagram = UdpHeader::new(ports.0, ports.1, len as u16).as_bytes().to_vec();
        datagram.extend_from_slice(data);
        let mut sum = Sum::pseudo_v4(self.from.ip, self.to.ip, Protocol::UDP, len as u32);
        sum.add_bytes(&datagram);
        datagram[6..8].copy_from_slice(&sum.finish_udp().to_be_bytes());
        datagram
    }

    /// A UDP datagram between these ports.
    pub fn udp(&self, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        self.ipv4(Protocol::UDP, &self.udp_payload(ports, data))
    }

    /// A TCP segment; the options' length is a multiple of 4 and at most 40.
    pub fn tcp(&self, fields: &TcpFields, options: &[u8], data: &[u8]) -> Vec<u8> {
        let mut segment = TcpHeader::new(fields, options.len()).as_bytes().to_vec();
        segment.extend_from_slice(options);
        segment.extend_from_slice(data);
        let mut sum = Sum::pseudo_v4(self.from.ip, self.to.ip, Protocol::TCP, segment.len() as u32);
        sum.add_bytes(&segment);
        segment[16..18].copy_from_slice(&sum.finish().to_be_bytes());
        self.ipv4(Protocol::TCP, &segment)
    }

    /// An ICMP message.
    pub fn icmp(&self, mut header: Icmpv4Header, data: &[u8]) -> Vec<u8> {
        header.fill_checksum(Sum::of(data));
        let mut message = header.as_bytes().to_vec();
        message.extend_from_slice(data);
        self.ipv4(Protocol::ICMP, &message)
    }
}

/// Where the IP header of a frame ends, if there is a whole one.
fn ip_header_end(frame: &[u8]) -> Option<usize> {
    if frame.get(12..14)? != EtherType::IPV4.0.to_be_bytes() {
        return None;
    }
    let end = IP + usize::from(frame.get(IP)? & 0x0f) * 4;
    (end >= IP + Ipv4Header::LEN && end <= frame.len()).then_some(end)
}

/// Puts the IP header's checksum right, whatever else the header says. Does nothing where there is no whole header.
pub fn repair_ip(frame: &mut [u8]) {
    let Some(end) = ip_header_end(frame) else { return };
    frame[IP + 10..IP + 12].fill(0);
    let sum = Sum::of(&frame[IP..end]).finish();
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
}

/// Puts the checksum of a frame's TCP, UDP or ICMP right, over the bytes that the IP header says there are, as far as they are
/// there. Does nothing to other protocols and to fragments.
pub fn repair_transport(frame: &mut [u8]) {
    let Some(start) = ip_header_end(frame) else { return };
    let total = usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
    let end = (IP + total).min(frame.len());
    let fragment = u16::from_be_bytes([frame[IP + 6], frame[IP + 7]]) & 0x3fff != 0;
    let protocol = Protocol(frame[IP + 9]);
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let (source, destination) = (address(IP + 12), address(IP + 16));
    let Some(payload) = frame.get_mut(start..end).filter(|_| !fragment) else { return };
    let (at, sum) = match protocol {
        Protocol::TCP => (16, Sum::pseudo_v4(source, destination, protocol, payload.len() as u32)),
        Protocol::UDP => {
            // UDP's own length counts, where it is not beyond IP's.
            let [_, _, _, _, a, b, ..] = *payload else { return };
            let len = usize::from(u16::from_be_bytes([a, b])).min(payload.len());
            let Some(payload) = payload.get_mut(..len).filter(|_| len >= UdpHeader::LEN) else { return };
            payload[6..8].fill(0);
            let mut sum = Sum::pseudo_v4(source, destination, protocol, len as u32);
            sum.add_bytes(payload);
            return payload[6..8].copy_from_slice(&sum.finish_udp().to_be_bytes());
        }
        Protocol::ICMP => (2, Sum::new()),
        _ => return,
    };
    let Some(field) = payload.get_mut(at..at + 2) else { return };
    field.fill(0);
    let mut sum = sum;
    sum.add_bytes(payload);
    payload[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Puts all checksums of a frame right.
pub fn repair(frame: &mut [u8]) {
    repair_ip(frame);
    repair_transport(frame);
}
