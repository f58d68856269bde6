//! The offloads in software: completing a checksum, cutting a super-segment, putting in a VLAN tag and taking it out.
//!
//! Whoever stands last before a device that cannot do these calls them: the stack at transmit, the nic, the capture.
//! Frames are Ethernet II with IPv4 or IPv6. Payload is never copied: segments share the super-segment's slices.

use core::mem::offset_of;

use wireway_wire::ipv4::Ipv4Header;
use wireway_wire::ipv6::Ipv6Header;
use wireway_wire::tcp::{TcpFlags, TcpHeader};
use wireway_wire::zerocopy::FromBytes;
use wireway_wire::{EtherType, EthernetHeader, MacAddr, Protocol, Sum, VlanProtocol, VlanTag};

use crate::{Checksum, Offload, Packet, PendingTag, SegmentKind, Segmentation};

/// Where TCP's checksum field lies in its header.
pub const TCP_CHECKSUM_OFFSET: u16 = offset_of!(TcpHeader, checksum) as u16;
/// Where UDP's checksum field lies in its header.
pub const UDP_CHECKSUM_OFFSET: u16 = 6;

/// Computes and stores a checksum that was left to the card; the packet's state becomes [`Checksum::Complete`]. A field
/// that lies outside the packet's headers is left alone.
pub fn complete_checksum(packet: &mut Packet) {
    let Checksum::Partial { start, offset } = packet.offload().checksum else { return };
    packet.offload_mut().checksum = Checksum::Complete;
    let sum = packet.sum(start.into(), Sum::new());
    // UDP's 0 would mean "none" (RFC 768); for the others 0xffff stands for the same sum as 0.
    let value = if offset == UDP_CHECKSUM_OFFSET { sum.finish_udp() } else { sum.finish() };
    let at = usize::from(start) + usize::from(offset);
    if let Some(field) = packet.pullup(at + 2).and_then(|head| head.last_chunk_mut()) {
        *field = value.to_be_bytes();
    }
}

/// Bytes of the two MAC addresses, behind which a tag stands.
const ADDRESSES: usize = offset_of!(EthernetHeader, src) + size_of::<MacAddr>();

/// Puts a tag that was left to the card into the frame, as the outermost. What is no frame stays as it is.
pub fn insert_tag(frame: &mut Packet) {
    let Some(PendingTag { protocol, control }) = frame.offload_mut().tag.take() else { return };
    let mut addresses = [0; ADDRESSES];
    if frame.copy_to(0, &mut addresses) < ADDRESSES {
        return;
    }
    frame.prepend(VlanTag::LEN);
    if let Some(head) = frame.pullup(ADDRESSES + VlanTag::LEN) {
        let [t0, t1] = protocol.ethertype().0.to_be_bytes();
        let [c0, c1] = control.to_be_bytes();
        let (front, tag) = head.split_at_mut(ADDRESSES);
        front.copy_from_slice(&addresses);
        tag.copy_from_slice(&[t0, t1, c0, c1]);
    }
}

/// Takes the outermost tag out of a frame, if it has one.
pub fn remove_tag(frame: &mut Packet) -> Option<PendingTag> {
    let head = frame.pullup(EthernetHeader::LEN + VlanTag::LEN)?;
    let (header, rest) = EthernetHeader::parse(head).ok()?;
    let protocol = VlanProtocol::from_ethertype(header.ethertype())?;
    let control = VlanTag::parse(rest).ok()?.0.control();
    head.copy_within(..ADDRESSES, VlanTag::LEN);
    frame.trim_front(VlanTag::LEN);
    Some(PendingTag { protocol, control })
}

/// Tags that are looked for in a frame.
const TAGS: usize = 8;

/// Bytes of the tags that stand in a frame: it may be so much longer than one without.
pub fn tags_len(frame: &Packet) -> usize {
    let tag_at = |at: usize| {
        let mut bytes = [0; 2];
        frame.copy_to(at, &mut bytes) == bytes.len() && EtherType(u16::from_be_bytes(bytes)).is_vlan()
    };
    (0..TAGS).take_while(|&n| tag_at(ADDRESSES + n * VlanTag::LEN)).count() * VlanTag::LEN
}

/// Cuts a super-segment into the frames that it stands for, in order, as TCP segmentation offload does: identification
/// counted up, sequence number moved on, FIN and PSH on the last only, CWR on the first only (RFC 3168 §6.1.2). Each frame's
/// checksum is left [`Checksum::Partial`], and the super-segment may have been so or complete. A packet that is no (sane) super-segment
/// comes out as it is.
pub struct Segmenter {
    packet: Packet,
    cut: Option<Cut>,
}

/// A cut under way.
struct Cut {
    size: usize,
    header_len: usize,
    ip: usize,
    tcp: usize,
    kind: SegmentKind,
    /// Payload bytes done.
    done: usize,
    /// Payload bytes in all.
    total: usize,
    /// The slice that the next byte is in, and where in it.
    slice: usize,
    at: usize,
}

impl Segmenter {
    /// Prepares to cut `packet`.
    pub fn new(mut packet: Packet) -> Segmenter {
        let cut = packet.offload().segmentation.and_then(|s| Cut::new(&mut packet, s));
        Segmenter { packet, cut }
    }
}

impl Iterator for Segmenter {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        match &mut self.cut {
            Some(cut) => cut.next(&self.packet),
            None if self.packet.is_empty() => None,
            None => {
                self.packet.offload_mut().segmentation = None;
                Some(core::mem::take(&mut self.packet))
            }
        }
    }
}

/// How many frames [`Segmenter`] will make of a packet.
pub fn segment_count(packet: &Packet) -> usize {
    match packet.offload().segmentation {
        Some(s) if s.size > 0 => packet.len().saturating_sub(s.header_len.into()).div_ceil(s.size.into()).max(1),
        _ => 1,
    }
}

impl Cut {
    fn new(packet: &mut Packet, segmentation: Segmentation) -> Option<Cut> {
        let header_len = usize::from(segmentation.header_len);
        let size = usize::from(segmentation.size);
        let total = packet.len().checked_sub(header_len)?;
        if size == 0 || total <= size {
            return None;
        }
        // Exactly the headers in the head, so that the payload is the chain.
        let head_len = packet.head().len();
        if head_len > header_len {
            let rest = packet.split(header_len);
            packet.chain_packet_behind(rest);
        }
        let head = packet.pullup(header_len)?;
        let ip = network_offset(head)?;
        let (tcp, protocol) = match segmentation.kind {
            SegmentKind::Tcp4 => {
                let header = Ipv4Header::ref_from_prefix(head.get(ip..)?).ok()?.0;
                (ip + header.header_len(), header.protocol())
            }
            SegmentKind::Tcp6 => {
                let header = Ipv6Header::ref_from_prefix(head.get(ip..)?).ok()?.0;
                (ip + Ipv6Header::LEN, header.next_header)
            }
        };
        let header = TcpHeader::ref_from_prefix(head.get(tcp..)?).ok()?.0;
        if protocol != Protocol::TCP || header.header_len() < TcpHeader::LEN || tcp + header.header_len() != header_len
        {
            return None;
        }
        Some(Cut { size, header_len, ip, tcp, kind: segmentation.kind, done: 0, total, slice: 0, at: 0 })
    }

    fn next(&mut self, packet: &Packet) -> Option<Packet> {
        if self.done >= self.total {
            return None;
        }
        let len = self.size.min(self.total - self.done);
        let (first, last) = (self.done == 0, self.done + len == self.total);
        let mut frame = Packet::new();
        frame.append(packet.head());
        if let Some(at) = packet.timestamp() {
            frame.set_timestamp(at);
        }
        self.write_headers(frame.head_mut(), len, first, last)?;
        self.done += len;
        let mut need = len;
        while need > 0 {
            let slice = packet.chain().get(self.slice)?;
            let take = need.min(slice.len() - self.at);
            frame.append_slice(slice.slice(self.at..self.at + take));
            self.at += take;
            need -= take;
            if self.at == slice.len() {
                self.slice += 1;
                self.at = 0;
            }
        }
        let checksum = Checksum::Partial { start: self.tcp as u16, offset: TCP_CHECKSUM_OFFSET };
        *frame.offload_mut() = Offload { checksum, segmentation: None, tag: packet.offload().tag };
        Some(frame)
    }

    /// Makes the super-segment's headers those of the segment of `len` bytes at `self.done`.
    fn write_headers(&self, head: &mut [u8], len: usize, first: bool, last: bool) -> Option<()> {
        let (network, transport) = head.split_at_mut_checked(self.tcp)?;
        let segment_len = self.header_len - self.tcp + len;
        let pseudo = match self.kind {
            SegmentKind::Tcp4 => {
                let (header, options) = Ipv4Header::mut_from_prefix(network.get_mut(self.ip..)?).ok()?;
                header.set_total_len(u16::try_from(self.tcp - self.ip + segment_len).ok()?);
                header.set_ident(header.ident().wrapping_add((self.done / self.size) as u16));
                header.fill_checksum(options);
                header.pseudo(segment_len as u32)
            }
            SegmentKind::Tcp6 => {
                let (header, _) = Ipv6Header::mut_from_prefix(network.get_mut(self.ip..)?).ok()?;
                header.set_payload_len(u16::try_from(segment_len).ok()?);
                header.pseudo(Protocol::TCP, segment_len as u32)
            }
        };
        let (header, _) = TcpHeader::mut_from_prefix(transport).ok()?;
        header.set_seq(header.seq() + self.done as u32);
        let mut flags = header.flags();
        flags.set(TcpFlags::CWR, flags.contains(TcpFlags::CWR) && first);
        if !last {
            flags.remove(TcpFlags::FIN | TcpFlags::PSH);
        }
        header.set_flags(flags);
        header.checksum.set(pseudo.fold());
        Some(())
    }
}

/// Where the network header begins in an Ethernet frame, behind any VLAN tags.
fn network_offset(head: &[u8]) -> Option<usize> {
    let mut ethertype = EthernetHeader::parse(head).ok()?.0.ethertype();
    let mut at = EthernetHeader::LEN;
    while ethertype.is_vlan() {
        ethertype = VlanTag::parse(head.get(at..)?).ok()?.0.ethertype();
        at += VlanTag::LEN;
    }
    Some(at)
}

/// A frame's bytes as one vector, with its checksum completed: for tests and captures.
pub fn to_wire(mut packet: Packet) -> Vec<u8> {
    complete_checksum(&mut packet);
    packet.to_vec()
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use wireway_wire::ipv4::Ipv4Fields;
    use wireway_wire::tcp::TcpFields;
    use wireway_wire::zerocopy::IntoBytes;
    use wireway_wire::{SeqNumber, TcpView};

    use super::*;
    use crate::Slice;

    fn super_segment(payload: &[u8], size: u16, flags: TcpFlags) -> Packet {
        let mut packet = Packet::new();
        let (a, b) = payload.split_at(payload.len() / 3);
        packet.append_slice(Slice::copy_from(a));
        packet.append_slice(Slice::copy_from(b));
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let fields = TcpFields {
            src_port: 1,
            dst_port: 2,
            seq: SeqNumber(u32::MAX - 1000),
            ack: SeqNumber(7),
            flags,
            window: 100,
            urgent: 0,
        };
        let mut tcp = TcpHeader::new(&fields, 0);
        tcp.checksum.set(Sum::pseudo_v4(src, dst, Protocol::TCP, 20 + payload.len() as u32).fold());
        packet.prepend(20).copy_from_slice(tcp.as_bytes());
        packet.offload_mut().checksum = Checksum::Partial { start: 0, offset: TCP_CHECKSUM_OFFSET };
        packet.offload_mut().segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size, header_len: 20 });
        let ip = Ipv4Header::new(
            &Ipv4Fields {
                tos: 0,
                payload_len: 20 + payload.len() as u16,
                ident: 0xffff,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                ttl: 64,
                protocol: Protocol::TCP,
                src,
                dst,
            },
            &[],
        );
        packet.prepend(20).copy_from_slice(ip.as_bytes());
        let eth = EthernetHeader::new(MacAddr([2; 6]), MacAddr([4; 6]), EtherType::IPV4);
        packet.prepend(14).copy_from_slice(eth.as_bytes());
        packet
    }

    #[test]
    fn a_super_segment_is_cut_as_a_card_would() {
        let payload: Vec<u8> = (0..5000u32).map(|i| (i * 7) as u8).collect();
        let flags = TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN | TcpFlags::CWR;
        let packet = super_segment(&payload, 1460, flags);
        assert_eq!(segment_count(&packet), 4);
        let frames: Vec<Vec<u8>> = Segmenter::new(packet).map(to_wire).collect();
        assert_eq!(frames.iter().map(|f| f.len() - 54).collect::<Vec<_>>(), [1460, 1460, 1460, 620]);
        let mut back = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            let (ip, rest) = wireway_wire::Ipv4View::parse(&frame[14..]).unwrap();
            ip.verify_checksum().unwrap();
            assert_eq!(ip.header.ident(), 0xffffu16.wrapping_add(i as u16));
            let mut sum = ip.header.pseudo(rest.len() as u32);
            sum.add_bytes(rest);
            assert!(sum.is_valid());
            let (tcp, data) = TcpView::parse(rest).unwrap();
            assert_eq!(tcp.header.seq(), SeqNumber(u32::MAX - 1000) + 1460 * i as u32);
            let f = tcp.header.flags();
            assert_eq!(f.contains(TcpFlags::FIN | TcpFlags::PSH), i == 3);
            assert_eq!(f.contains(TcpFlags::CWR), i == 0);
            back.extend_from_slice(data);
        }
        assert_eq!(back, payload);
    }

    #[test]
    fn a_tag_goes_in_and_comes_out() {
        let tag = |protocol, control| Some(PendingTag { protocol, control });
        let mut frame = super_segment(&[7; 3000], 1000, TcpFlags::ACK);
        let (before, offload) = (frame.to_vec(), *frame.offload());
        for outer in [tag(VlanProtocol::Customer, 0x6005), tag(VlanProtocol::Service, 100)] {
            frame.offload_mut().tag = outer;
            insert_tag(&mut frame);
        }
        assert_eq!(frame.offload().checksum, Checksum::Partial { start: 42, offset: TCP_CHECKSUM_OFFSET });
        let tagged = [&before[..12], &[0x88, 0xa8, 0, 100, 0x81, 0, 0x60, 5], &before[12..]].concat();
        assert_eq!((frame.to_vec(), tags_len(&frame)), (tagged, 8));
        // Cut below the tags, and below one that is still to be put in.
        frame.offload_mut().tag = tag(VlanProtocol::Customer, 9);
        let segments: Vec<Packet> = Segmenter::new(frame.clone()).collect();
        assert_eq!(segments.iter().map(Packet::len).collect::<Vec<_>>(), [1062; 3]);
        for mut segment in segments {
            assert_eq!(segment.offload().tag, tag(VlanProtocol::Customer, 9));
            insert_tag(&mut segment);
            let wire = to_wire(segment);
            let (ip, rest) = wireway_wire::Ipv4View::parse(&wire[26..]).unwrap();
            ip.verify_checksum().unwrap();
            let mut sum = ip.header.pseudo(rest.len() as u32);
            sum.add_bytes(rest);
            assert!(sum.is_valid());
        }
        frame.offload_mut().tag = None;
        assert_eq!(remove_tag(&mut frame), tag(VlanProtocol::Service, 100));
        assert_eq!(remove_tag(&mut frame), tag(VlanProtocol::Customer, 0x6005));
        assert_eq!((remove_tag(&mut frame), frame.to_vec(), *frame.offload()), (None, before, offload));
        // Not in what is no frame.
        for len in 0..18 {
            let mut short = Packet::copy_from(&[0x81; 18][..len]);
            assert_eq!((remove_tag(&mut short), tags_len(&short), short.len()), (None, 0, len));
        }
    }

    #[test]
    fn lying_metadata_lets_the_packet_through_whole() {
        for (kind, size, header_len) in [
            (SegmentKind::Tcp4, 0, 54),
            (SegmentKind::Tcp4, 100, 0),
            (SegmentKind::Tcp4, 100, 60_000),
            (SegmentKind::Tcp4, 100, 53),
            (SegmentKind::Tcp6, 100, 54),
        ] {
            let mut packet = super_segment(&[5; 3000], 1000, TcpFlags::ACK);
            let before = packet.to_vec();
            packet.offload_mut().segmentation = Some(Segmentation { kind, size, header_len });
            let frames: Vec<Packet> = Segmenter::new(packet).collect();
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].to_vec(), before);
        }
    }

    #[test]
    fn payload_in_the_head_is_cut_too() {
        let mut packet = super_segment(&[], 10, TcpFlags::ACK);
        packet.append(&[1; 35]);
        let frames: Vec<Packet> = Segmenter::new(packet).collect();
        assert_eq!(frames.iter().map(|f| f.len() - 54).collect::<Vec<_>>(), [10, 10, 10, 5]);
    }
}
