//! Frames for a host from someone who listens: made of what was seen on the wire, or of nothing.

use wireway_lab::forge::{Forge, IP, repair, repair_ip, repair_transport};
use wireway_packet::{Checksum, Packet, SegmentKind, Segmentation};
use wireway_wire::{
    ArpOperation, EtherType, EthernetHeader, Icmpv4Header, Icmpv4Type, Ipv4View, MacAddr, Protocol, SeqNumber,
    TcpFields, TcpFlags, TcpOptions, TcpView,
};

use crate::calls::{ECHO, PORT};
use crate::input::Input;
use crate::world::STATIONS;

/// Frames remembered of each host.
const KEEP: usize = 8;

/// What was seen of a host's TCP.
#[derive(Clone, Copy)]
struct Numbers {
    fields: TcpFields,
    len: u32,
    timestamps: Option<(u32, u32)>,
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    frames: [Vec<Vec<u8>>; 2],
    next: [usize; 2],
    numbers: [Option<Numbers>; 2],
}

impl Seen {
    /// A frame that host `from` transmitted.
    pub fn note(&mut self, from: usize, frame: &Packet) {
        let bytes = frame.to_vec();
        if let Some(numbers) = numbers(&bytes) {
            self.numbers[from] = Some(numbers);
        }
        let (frames, next) = (&mut self.frames[from], &mut self.next[from]);
        if frames.len() < KEEP {
            frames.push(bytes);
        } else {
            frames[*next] = bytes;
            *next = (*next + 1) % KEEP;
        }
    }

    pub fn earlier(&self, from: usize, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let n = usize::from(input.byte());
        self.frames[from].get(n % self.frames[from].len().max(1)).cloned()
    }

    /// A frame with a few changes; its checksums are put right, or not.
    pub fn mutate(&self, frame: &[u8], input: &mut Input<'_>) -> Packet {
        let mut frame = frame.to_vec();
        let how = input.byte();
        for _ in 0..how & 7 {
            let at = usize::from(input.byte()) + if how & 0x40 != 0 { 30 } else { 0 };
            let value = input.byte();
            match frame.get_mut(at) {
                Some(byte) if how & 8 != 0 => *byte = byte.wrapping_add(value),
                Some(byte) => *byte = value,
                None => frame.resize(at.min(2000), value),
            }
        }
        if how & 16 != 0 {
            let len = frame.len();
            frame.truncate(usize::from(input.byte()) * len / 200);
        }
        if how & 32 == 0 {
            repair_ip(&mut frame);
            repair_transport(&mut frame);
        }
        let mut packet = Packet::copy_from(&frame);
        if how & 128 != 0 {
            lie(&mut packet, input);
        }
        packet
    }

    /// A TCP segment close to what the host `to` expects.
    pub fn segment(&self, from: usize, input: &mut Input<'_>) -> Packet {
        let forge = forge(from);
        let how = input.byte();
        let peer = self.numbers[1 - from];
        let last = self.numbers[from];
        let (mut ports, mut seq, mut ack) = ((5000, PORT), SeqNumber(0), SeqNumber(0));
        if let Some(peer) = peer.filter(|_| how & 1 == 0) {
            ports = (peer.fields.dst_port, peer.fields.src_port);
            (seq, ack) = (peer.fields.ack, peer.fields.seq + peer.len);
        }
        if how & 2 != 0 {
            seq += input.delta();
        }
        if how & 4 != 0 {
            ack += input.delta();
        }
        if how & 8 != 0 {
            ports.0 = ports.0.wrapping_add(u16::from(input.byte()));
        }
        let flags = TcpFlags::from_bits_truncate(if how & 16 != 0 { input.word() } else { 0x10 });
        let window = if how & 32 != 0 { input.word() } else { 1000 };
        let mut options = Vec::new();
        if how & 64 != 0 {
            let len = usize::from(input.byte() % 11) * 4;
            options.extend_from_slice(input.take(len));
            options.resize(len, 1);
        } else if let Some((value, echo)) = last.and_then(|l| l.timestamps) {
            options.extend_from_slice(&[1, 1, 8, 10]);
            options.extend_from_slice(&value.to_be_bytes());
            options.extend_from_slice(&echo.to_be_bytes());
        }
        let len = if how & 128 != 0 { usize::from(input.byte()) * 6 } else { 0 };
        let (src_port, dst_port) = ports;
        let fields = TcpFields { src_port, dst_port, seq, ack, flags, window, urgent: 0 };
        Packet::copy_from(&forge.tcp(&fields, &options, &vec![0xdd; len]))
    }

    /// An ICMP error about something that the host `to` sent, or something like it.
    pub fn icmp_error(&self, from: usize, input: &mut Input<'_>) -> Packet {
        let kind = input.choose(&[
            Icmpv4Type::DESTINATION_UNREACHABLE,
            Icmpv4Type::TIME_EXCEEDED,
            Icmpv4Type::PARAMETER_PROBLEM,
            Icmpv4Type::REDIRECT,
            Icmpv4Type::SOURCE_QUENCH,
            Icmpv4Type::ECHO_REQUEST,
            Icmpv4Type::ECHO_REPLY,
        ]);
        let code = input.byte();
        let [a, b] = input.word().to_be_bytes();
        let header = Icmpv4Header::new(kind, code % 18, [0, code & 0xc0, a, b]);
        let quoted = self.earlier(1 - from, input).unwrap_or_default();
        let mut quoted = quoted.get(IP..).unwrap_or_default().to_vec();
        quoted.truncate(usize::from(input.byte()) * 2);
        Packet::copy_from(&forge(from).icmp(header, &quoted))
    }

    /// A fragment of a datagram or a segment.
    pub fn fragment(&self, from: usize, input: &mut Input<'_>) -> Packet {
        let forge = forge(from);
        let how = input.byte();
        let payload = forge.udp_payload((5000, ECHO), &[0x11; 1000]);
        let offset = u16::from(input.byte()) * if how & 1 == 0 { 8 } else { 256 };
        let len = usize::from(input.byte()) * 4;
        let fields = wireway_wire::Ipv4Fields {
            ident: u16::from(how >> 4),
            fragment_offset: offset,
            more_fragments: how & 2 == 0,
            tos: how >> 2 & 3,
            ..forge.fields(if how & 8 == 0 { Protocol::UDP } else { Protocol::TCP }, len)
        };
        let mut part = payload.get(usize::from(offset)..).unwrap_or_default().to_vec();
        part.resize(len, 0x22);
        Packet::copy_from(&forge.ipv4_with(&fields, &[], &part))
    }

    pub fn arp(&self, from: usize, input: &mut Input<'_>) -> Packet {
        let how = input.byte();
        let mut forge = forge(from);
        if how & 1 != 0 {
            forge.from.mac = MacAddr([2, 0, 0, 0, 9, input.byte()]);
        }
        if how & 2 != 0 {
            forge.from.ip = [10, 0, 0, input.byte()].into();
        }
        if how & 4 != 0 {
            forge.to.ip = [10, 0, 0, input.byte()].into();
        }
        let operation = if how & 8 == 0 { ArpOperation::REQUEST } else { ArpOperation::REPLY };
        let mut frame = forge.arp(operation);
        frame[..6].copy_from_slice(&STATIONS[1 - from].mac.0);
        if how & 16 != 0 {
            frame[..6].fill(0xff);
        }
        Packet::copy_from(&frame)
    }

    /// Whatever the input says.
    pub fn anything(&self, from: usize, input: &mut Input<'_>) -> Packet {
        let how = input.byte();
        let len = usize::from(input.byte());
        let payload = input.take(len);
        let forge = forge(from);
        let mut frame = match how & 3 {
            0 => forge.ethernet(EtherType::IPV4, payload),
            1 => forge.ipv4(Protocol(input.byte()), payload),
            2 => {
                let options = payload.get(..(payload.len() & !3).min(40)).unwrap_or_default();
                forge.ipv4_with(&forge.fields(Protocol::UDP, 8), options, &[0, 7, 0, 7, 0, 8, 0, 0])
            }
            _ => payload.to_vec(),
        };
        if how & 4 != 0 {
            repair(&mut frame);
        }
        let mut packet = Packet::copy_from(&frame);
        if how & 8 != 0 {
            lie(&mut packet, input);
        }
        packet
    }

    pub fn datagram(&self, from: usize, input: &mut Input<'_>) -> Packet {
        let port = input.choose(&[ECHO, ECHO, 9, 0, 5000]);
        let len = usize::from(input.byte()) * 5;
        let mut forge = forge(from);
        let how = input.byte();
        if how & 1 != 0 {
            forge = forge.pretending([10, 0, how, input.byte()].into());
        }
        if how & 2 != 0 {
            forge = forge.towards(input.choose(&[[255; 4], [10, 0, 0, 255], [224, 0, 0, 1], [127, 0, 0, 1]]).into());
        }
        Packet::copy_from(&forge.udp((u16::from(how), port), &vec![0x33; len]))
    }
}

fn forge(from: usize) -> Forge {
    Forge::new(STATIONS[from], STATIONS[1 - from])
}

/// Metadata that has nothing to do with the packet.
fn lie(packet: &mut Packet, input: &mut Input<'_>) {
    let how = input.byte();
    let offload = packet.offload_mut();
    if how & 1 != 0 {
        offload.checksum = Checksum::Partial { start: input.word(), offset: u16::from(input.byte()) };
    } else if how & 2 != 0 {
        offload.checksum = Checksum::Verified;
    }
    if how & 4 != 0 {
        let kind = if how & 8 == 0 { SegmentKind::Tcp4 } else { SegmentKind::Tcp6 };
        let header_len = if how & 16 == 0 { 54 } else { input.word() };
        offload.segmentation = Some(Segmentation { kind, size: input.word(), header_len });
    }
}

fn numbers(frame: &[u8]) -> Option<Numbers> {
    let (_, packet) = EthernetHeader::parse(frame).ok()?;
    let (ip, payload) = Ipv4View::parse(packet).ok()?;
    if ip.header.protocol() != Protocol::TCP || ip.header.is_fragment() {
        return None;
    }
    let (tcp, data) = TcpView::parse(payload).ok()?;
    let fields = tcp.header.fields();
    let extra = u32::from(fields.flags.contains(TcpFlags::SYN)) + u32::from(fields.flags.contains(TcpFlags::FIN));
    let timestamps = TcpOptions::parse(tcp.options).ok()?.timestamps;
    Some(Numbers { fields, len: data.len() as u32 + extra, timestamps })
}
