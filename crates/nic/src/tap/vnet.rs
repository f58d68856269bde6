//! The virtio-net header in front of each frame (virtio 1.2 §5.1.6, the legacy layout of 10 bytes): a packet's
//! [`Offload`](wireway_packet::Offload) on the wire between the kernel and us.

use wireway_packet::{Checksum, Packet, SegmentKind, Segmentation};
use wireway_wire::{EtherType, EthernetHeader, Ipv4View, Protocol, TcpView, VlanTag};

/// The header's length in bytes.
pub const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// The header for a frame; all zero for one that needs nothing. Integers are in the machine's byte order.
pub fn write(frame: &Packet) -> [u8; LEN] {
    let offload = frame.offload();
    let (flags, start, offset) = match offload.checksum {
        Checksum::Partial { start, offset } => (NEEDS_CSUM, start, offset),
        Checksum::Verified => (DATA_VALID, 0, 0),
        Checksum::Complete => (0, 0, 0),
    };
    let (gso, header_len, size) = match offload.segmentation {
        Some(Segmentation { kind: SegmentKind::Tcp4, size, header_len }) => (GSO_TCPV4, header_len, size),
        Some(Segmentation { kind: SegmentKind::Tcp6, size, header_len }) => (GSO_TCPV6, header_len, size),
        None => (GSO_NONE, 0, 0),
    };
    let [[h0, h1], [s0, s1], [c0, c1], [o0, o1]] = [header_len, size, start, offset].map(u16::to_ne_bytes);
    [flags, gso, h0, h1, s0, s1, c0, c1, o0, o1]
}

/// Takes over into `frame` what its header says. False if they do not fit each other.
pub fn read(header: [u8; LEN], frame: &mut Packet) -> bool {
    let [flags, gso, _, _, s0, s1, c0, c1, o0, o1] = header;
    let [size, start, offset] = [[s0, s1], [c0, c1], [o0, o1]].map(u16::from_ne_bytes);
    if flags & NEEDS_CSUM != 0 {
        if usize::from(start) + usize::from(offset) + 2 > frame.len() {
            return false;
        }
        frame.offload_mut().checksum = Checksum::Partial { start, offset };
    } else if flags & DATA_VALID != 0 {
        frame.offload_mut().checksum = Checksum::Verified;
    }
    match gso & !GSO_ECN {
        GSO_NONE => true,
        GSO_TCPV4 => {
            // The header's length field is a hint only: the kernel writes how much lies in its first buffer.
            let Some(header_len) = tcp4_header_len(frame) else { return false };
            if size == 0 {
                return false;
            }
            if frame.len() > header_len + usize::from(size) {
                let header_len = header_len as u16;
                frame.offload_mut().segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size, header_len });
            }
            true
        }
        // Nothing else was offered to the kernel.
        _ => false,
    }
}

/// Bytes of Ethernet, VLAN, IPv4 and TCP headers.
fn tcp4_header_len(frame: &Packet) -> Option<usize> {
    let mut bytes = [0; EthernetHeader::LEN + 2 * VlanTag::LEN + 60 + 60];
    let n = frame.copy_to(0, &mut bytes);
    let bytes = bytes.get(..n)?;
    let (ethernet, mut rest) = EthernetHeader::parse(bytes).ok()?;
    let mut ethertype = ethernet.ethertype();
    while ethertype.is_vlan() {
        let (tag, behind) = VlanTag::parse(rest).ok()?;
        (ethertype, rest) = (tag.ethertype(), behind);
    }
    if ethertype != EtherType::IPV4 {
        return None;
    }
    let ip = Ipv4View::parse_quoted(rest).ok()?.header;
    let transport = rest.get(ip.header_len()..)?;
    let tcp = (ip.protocol() == Protocol::TCP).then_some(TcpView::parse_head(transport).ok()?)?;
    Some(n - transport.len() + tcp.header.header_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_frame(payload: usize) -> Packet {
        let mut bytes = vec![0; 14 + 20 + 32 + payload];
        bytes[12] = 0x08;
        bytes[14] = 0x45;
        bytes[23] = 6;
        bytes[14 + 20 + 12] = 8 << 4;
        Packet::copy_from(&bytes)
    }

    #[test]
    fn a_super_segment_survives_the_header_both_ways() {
        let mut frame = tcp_frame(5000);
        frame.offload_mut().checksum = Checksum::Partial { start: 34, offset: 16 };
        frame.offload_mut().segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size: 1448, header_len: 66 });
        let header = write(&frame);
        let mut back = tcp_frame(5000);
        assert!(read(header, &mut back));
        assert_eq!(back.offload(), frame.offload());
    }

    #[test]
    fn headers_begin_behind_tags() {
        let mut header = write(&tcp_frame(0));
        (header[0], header[1]) = (NEEDS_CSUM, GSO_TCPV4);
        [header[4], header[5]] = 1448u16.to_ne_bytes();
        [header[6], header[7]] = 42u16.to_ne_bytes();
        [header[8], header[9]] = 16u16.to_ne_bytes();
        let plain = tcp_frame(3000).to_vec();
        let tagged = [&plain[..12], &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 5], &plain[12..]].concat();
        let mut frame = Packet::copy_from(&tagged);
        assert!(read(header, &mut frame));
        let expected = Segmentation { kind: SegmentKind::Tcp4, size: 1448, header_len: 74 };
        assert_eq!(frame.offload().segmentation, Some(expected));
        assert_eq!(write(&frame)[6..10], header[6..10]);
    }

    #[test]
    fn the_kernels_header_length_is_not_believed() {
        let mut header = write(&tcp_frame(0));
        header[0] = NEEDS_CSUM;
        header[1] = GSO_TCPV4;
        [header[2], header[3]] = 9999u16.to_ne_bytes();
        [header[4], header[5]] = 1448u16.to_ne_bytes();
        [header[6], header[7]] = 34u16.to_ne_bytes();
        [header[8], header[9]] = 16u16.to_ne_bytes();
        let mut frame = tcp_frame(3000);
        assert!(read(header, &mut frame));
        let expected = Segmentation { kind: SegmentKind::Tcp4, size: 1448, header_len: 66 };
        assert_eq!(frame.offload().segmentation, Some(expected));
        // What fits one segment is no super-segment.
        let mut frame = tcp_frame(1448);
        assert!(read(header, &mut frame));
        assert_eq!(frame.offload().segmentation, None);
    }

    #[test]
    fn headers_that_do_not_fit_their_frame_are_refused() {
        let bad = |change: fn(&mut [u8; LEN])| {
            let mut header = [0; LEN];
            change(&mut header);
            !read(header, &mut tcp_frame(3000))
        };
        assert!(bad(|h| (h[0], h[7]) = (NEEDS_CSUM, 0xff)));
        assert!(bad(|h| h[1] = GSO_TCPV4));
        assert!(bad(|h| h[1] = 3));
        let mut header = [0; LEN];
        (header[1], header[4]) = (GSO_TCPV4, 100);
        assert!(!read(header, &mut Packet::copy_from(&[0; 60])));
        assert!(!read(header, &mut Packet::new()));
    }
}
