//! The corpus of IPv6: headers, chains of extension headers, fragments, ICMPv6 and neighbour discovery that lie; and floods of what does not.

use super::{Random, checksum, frame, sum, tcp, udp};

const OURS: [u8; 16] = unique_local(4);
const KERNELS: [u8; 16] = unique_local(5);
const ROUTER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ICMP: u8 = 58;
const NOTHING: u8 = 59;
const DESTINATION: u8 = 60;

/// fd00::n
const fn unique_local(n: u8) -> [u8; 16] {
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
}

struct Ip {
    source: [u8; 16],
    destination: [u8; 16],
    hops: u8,
}

/// Extension headers: what each is called, and its bytes after the first.
type Chain<'a> = &'a [(u8, Vec<u8>)];

impl Ip {
    const PLAIN: Ip = Ip { source: KERNELS, destination: OURS, hops: 64 };
    /// As neighbour discovery has it.
    const NEIGHBOUR: Ip = Ip { source: KERNELS, destination: OURS, hops: 255 };

    fn packet(&self, chain: Chain<'_>, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let names: Vec<u8> = chain.iter().map(|header| header.0).chain([protocol]).collect();
        let mut after = Vec::new();
        for ((_, rest), next) in chain.iter().zip(&names[1..]) {
            after.push(*next);
            after.extend(rest);
        }
        after.extend(payload);
        let length = u16::try_from(after.len()).unwrap_or(u16::MAX).to_be_bytes();
        let head = [0x60, 0, 0, 0, length[0], length[1], names[0], self.hops];
        [&head[..], &self.source, &self.destination, &after].concat()
    }

    fn frame(&self, chain: Chain<'_>, protocol: u8, payload: &[u8]) -> Vec<u8> {
        frame(0x86dd, &self.packet(chain, protocol, payload))
    }

    /// The payload with its checksum, at `at`, right.
    fn sealed(&self, protocol: u8, payload: &[u8], at: usize) -> Vec<u8> {
        let mut payload = payload.to_vec();
        payload[at..at + 2].fill(0);
        let length = u32::try_from(payload.len()).expect("fits");
        let pseudo = sum(&[self.source, self.destination].concat()) + u32::from(protocol) + length;
        let check = checksum(pseudo + sum(&payload));
        payload[at..at + 2].copy_from_slice(&check);
        payload
    }

    fn checked(&self, chain: Chain<'_>, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let at = match protocol {
            TCP => 16,
            UDP => 6,
            _ => 2,
        };
        self.frame(chain, protocol, &self.sealed(protocol, payload, at))
    }

    fn icmp(&self, payload: &[u8]) -> Vec<u8> {
        self.checked(&[], ICMP, payload)
    }
}

/// An extension header of `8 + 8 * more` bytes, filled by one PadN option.
fn padded(more: u8) -> Vec<u8> {
    let mut rest = vec![more, 1, 4 + more * 8];
    rest.resize(7 + usize::from(more) * 8, 0);
    rest
}

pub fn lies(random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = headers(random);
    frames.extend(chains(random));
    frames.extend(segments());
    frames.extend(icmp());
    frames.extend(discovery());
    frames
}

fn headers(random: &mut Random) -> Vec<Vec<u8>> {
    let plain = Ip::PLAIN;
    let mut frames = Vec::new();
    let datagram = udp([1, 2], 8 + 30, &random.bytes(30));
    frames.push(plain.checked(&[], UDP, &datagram));
    // A checksum of zero (RFC 8200 §8.1).
    frames.push(plain.frame(&[], UDP, &datagram));
    for length in [0, 7, 8, 37, 39, 65535] {
        frames.push(plain.checked(&[], UDP, &udp([1, 2], length, &[7; 30])));
    }
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 5];
    let mut loopback = [0; 16];
    loopback[15] = 1;
    for source in [[0; 16], loopback, ALL_NODES, OURS, mapped, ROUTER] {
        let ip = Ip { source, ..plain };
        frames.push(ip.checked(&[], UDP, &datagram));
        frames.push(ip.checked(&[], TCP, &tcp([7000, 7000], 2, &[], &[])));
        frames.push(ip.icmp(&[128, 0, 0, 0, 1, 1, 1, 1, 9, 9]));
    }
    let mut group = ALL_NODES;
    group[1] = 0x0f;
    for destination in [[0; 16], loopback, ALL_NODES, group, unique_local(1), ROUTER, mapped] {
        let ip = Ip { destination, ..plain };
        frames.push(ip.checked(&[], UDP, &datagram));
        frames.push(ip.checked(&[], TCP, &tcp([9, 7000], 2, &[], &[])));
        frames.push(ip.icmp(&[128, 0, 0, 0, 1, 1, 1, 1, 9, 9]));
    }
    for (at, value) in [(0, 0x40), (0, 0x70), (0, 0), (4, 0xff), (5, 0), (5, 7), (5, 39), (6, 255), (7, 0)] {
        let mut packet = plain.packet(&[], UDP, &plain.sealed(UDP, &datagram, 6));
        packet[at] = value;
        frames.push(frame(0x86dd, &packet));
    }
    frames
}

fn chains(random: &mut Random) -> Vec<Vec<u8>> {
    let plain = Ip::PLAIN;
    let echo = [128, 0, 0, 0, 1, 1, 1, 1, 9, 9];
    let mut frames = Vec::new();
    let mut add = |chain: Chain<'_>| {
        frames.push(plain.checked(chain, ICMP, &echo));
        frames.push(plain.checked(chain, TCP, &tcp([8000, 7000], 16, &[], b"payload")));
        frames.push(plain.frame(chain, NOTHING, &[]));
    };
    for count in [1, 2, 5, 20, 100, 170] {
        add(&vec![(DESTINATION, padded(0)); count]);
        add(&vec![(HOP_BY_HOP, padded(0)); count]);
        add(&vec![(ROUTING, vec![0, 3, 0, 0, 0, 0, 0]); count]);
        add(&vec![(FRAGMENT, vec![0, 0, 0, 0, 0, 0, 7]); count]);
    }
    add(&[(DESTINATION, padded(0)), (HOP_BY_HOP, padded(0))]);
    // Routing headers of every age, with segments left (RFC 5095).
    for (kind, left) in [(0, 0), (0, 1), (0, 255), (2, 1), (3, 1), (4, 9), (200, 0), (200, 1)] {
        let rest = [&[2, kind, left, 0, 0, 0, 0][..], &unique_local(9)].concat();
        add(&[(ROUTING, rest)]);
    }
    // Options that nobody knows, with each of the four things to do, and such whose length lies.
    for option in [[0x3e, 4], [0x7e, 4], [0xbe, 4], [0xfe, 4], [1, 5], [1, 255], [0xc2, 4], [5, 2], [0x1e, 3]] {
        for kind in [HOP_BY_HOP, DESTINATION] {
            add(&[(kind, vec![0, option[0], option[1], 0, 0, 0, 0])]);
        }
    }
    // Headers that are longer than the packet.
    for kind in [HOP_BY_HOP, ROUTING, DESTINATION] {
        for more in [1, 20, 255] {
            add(&[(kind, vec![more, 1, 4, 0, 0, 0, 0])]);
        }
    }
    // Protocols without anybody, and ESP and AH.
    for protocol in [50, 51, 59, 135, 139, 140, 253, 254, 255, 4, 41, 2, 1] {
        frames.push(plain.frame(&[], protocol, &random.bytes(50)));
    }
    frames
}

fn segments() -> Vec<Vec<u8>> {
    let plain = Ip::PLAIN;
    let mut frames = Vec::new();
    for flags in 0..=63 {
        for port in [7000, 1] {
            frames.push(plain.checked(&[], TCP, &tcp([8000, port], flags, &[], b"payload")));
        }
    }
    for offset in 0..16 {
        let mut segment = tcp([1234, 7000], 2, &[1, 1, 1, 1], b"payload");
        segment[12] = offset << 4;
        frames.push(plain.checked(&[], TCP, &segment));
    }
    frames
}

/// Errors of every type about packets that never were, about the transfer among them (RFC 5927).
fn icmp() -> Vec<Vec<u8>> {
    let ours = Ip { source: OURS, destination: KERNELS, hops: 64 };
    let segment = tcp([7000, 8000], 16, &[], &[]);
    let quotations = [
        ours.packet(&[], TCP, &segment),
        ours.packet(&[(DESTINATION, padded(0))], TCP, &segment),
        ours.packet(&[(FRAGMENT, vec![0, 0, 1, 0, 0, 0, 7])], TCP, &segment),
        ours.packet(&vec![(DESTINATION, padded(0)); 30], TCP, &segment),
        ours.packet(&[], ICMP, &[1, 0, 0, 0, 0, 0, 0, 0]),
        vec![0x60; 39],
        Vec::new(),
    ];
    let mut frames = Vec::new();
    for quoted in &quotations {
        for kind in 0..=4 {
            for (code, word) in [(0, 0), (1, 68), (4, 1279), (6, 1280), (255, u32::MAX)] {
                let head = [&[kind, code, 0, 0][..], &u32::to_be_bytes(word)].concat();
                frames.push(Ip::PLAIN.icmp(&[&head[..], quoted].concat()));
                frames.push(Ip { source: ROUTER, ..Ip::PLAIN }.icmp(&[&head[..], quoted].concat()));
            }
        }
    }
    for kind in (5..=255).step_by(10) {
        frames.push(Ip::PLAIN.icmp(&[kind, 0, 0, 0, 0, 0, 0, 0]));
    }
    frames
}

/// Neighbour discovery and MLD as they must not be.
fn discovery() -> Vec<Vec<u8>> {
    let stranger = unique_local(77);
    let target =
        |kind: u8, target: [u8; 16], options: &[u8]| [&[kind, 0, 0, 0, 0x60, 0, 0, 0][..], &target, options].concat();
    let link_layer = [1, 1, 2, 0, 0, 0, 0, 88];
    let mut messages = Vec::new();
    let bad_options: [&[u8]; 6] =
        [&[], &[1, 0, 2, 0, 0, 0, 0, 88], &[1, 2, 2, 0, 0, 0, 0, 88], &[1, 255], &[2], &[1, 1, 3, 0, 0, 0, 0, 88]];
    for kind in [135, 136] {
        for options in bad_options {
            messages.push(target(kind, stranger, options));
            messages.push(target(kind, OURS, options));
        }
        messages.push(target(kind, ALL_NODES, &link_layer));
        messages.push(target(kind, [0; 16], &link_layer));
    }
    let redirect = |to: [u8; 16]| [&[137, 0, 0, 0, 0, 0, 0, 0][..], &ROUTER, &to, &[2, 1, 2, 0, 0, 0, 0, 88]].concat();
    messages.push(redirect(KERNELS));
    messages.push(redirect(stranger));
    for prefix_len in [0, 64, 129, 255] {
        let prefix =
            [&[3, 4, prefix_len, 0xc0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0][..], &stranger].concat();
        messages.push([&[134, 0, 0, 0, 1, 0xc0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0][..], &prefix].concat());
    }
    for mtu in [0, 68, 1279, u32::MAX] {
        let option = [&[5, 1, 0, 0][..], &mtu.to_be_bytes()].concat();
        messages.push([&[134, 0, 0, 0, 1, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0][..], &option].concat());
    }
    for kind in [130, 131, 132, 143] {
        messages.push([&[kind, 0, 0, 0, 0, 0, 255, 255][..], &[255; 20]].concat());
    }
    let mut frames = Vec::new();
    for message in &messages {
        // From beyond the link, from nobody, from a neighbour, from a router.
        frames.push(Ip { source: stranger, ..Ip::PLAIN }.icmp(message));
        for source in [[0; 16], stranger, ROUTER] {
            for destination in [OURS, ALL_NODES] {
                frames.push(Ip { source, destination, ..Ip::NEIGHBOUR }.icmp(message));
            }
        }
    }
    frames
}

/// Overlapping, contradicting, tiny, endless and oversized fragments (RFC 5722, RFC 6946, RFC 7112).
pub fn fragments(random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for identification in 0..40 {
        // Offset in units of eight bytes, and whether more follow.
        let header = |offset: u16, more: bool| {
            let field = (offset << 3 | u16::from(more)).to_be_bytes();
            vec![(FRAGMENT, vec![0, field[0], field[1], 0, 0, 0, identification])]
        };
        let mut add = |offset, more, payload: &[u8]| frames.push(Ip::PLAIN.frame(&header(offset, more), ICMP, payload));
        for _ in 0..12 {
            let (offset, length) = (random.below(32), 8 * random.below(20));
            let more = random.below(4) > 0;
            add(u16::try_from(offset).expect("small"), more, &random.bytes(length));
        }
        add(0, true, &random.bytes(13));
        add(0, true, &random.bytes(8));
        add(0, false, &random.bytes(8));
        add(0x1fff, false, &random.bytes(1400));
        add(0x1fff, true, &random.bytes(8));
        add(1, true, &[]);
    }
    frames
}

/// What is well-formed, but too much: neighbours that ask, that are to be answered, and routers.
pub fn floods(random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..2000 {
        let mut source = unique_local(0);
        source[8..].copy_from_slice(&random.bytes(8));
        let neighbour = Ip { source, ..Ip::NEIGHBOUR };
        let link_layer = [&[1, 1, 2][..], &random.bytes(5)].concat();
        frames.push(neighbour.icmp(&[&[135, 0, 0, 0, 0, 0, 0, 0][..], &OURS, &link_layer].concat()));
        source[8..].copy_from_slice(&random.bytes(8));
        frames.push(Ip { source, ..Ip::PLAIN }.icmp(&[128, 0, 0, 0, 1, 1, 1, 1, 9, 9]));
        let mut router = ROUTER;
        router[8..].copy_from_slice(&random.bytes(8));
        let prefix =
            [&[3, 4, 64, 0xc0, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 0, 0, 0xfd][..], &random.bytes(7), &[0; 8]];
        let advertisement = [&[134, 0, 0, 0, 1, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0][..], &prefix.concat()].concat();
        frames.push(Ip { source: router, destination: ALL_NODES, hops: 255 }.icmp(&advertisement));
    }
    frames
}
