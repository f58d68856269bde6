//! UDP-Lite (RFC 3828) over `lo`, for both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wireway_packet::{Instant, Packet};
use wireway_stack::{
    Cidr, Domain, DropReason, Error, Host, InterfaceConfig, InterfaceId, Kind, ReceiveFlags, Settings, SocketId,
    SocketOption,
};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{EtherType, EthernetHeader, Ipv4Fields, Ipv4Header, MacAddr, Protocol, Sum, UdpHeader};

struct Bench {
    host: Host,
    sender: SocketId,
    receiver: SocketId,
    to: SocketAddr,
}

impl Bench {
    fn new(address: IpAddr) -> Bench {
        let mut host = Host::new(Settings::default(), [6; 32]);
        let domain = if address.is_ipv4() { Domain::Inet } else { Domain::Inet6 };
        let [sender, receiver] = [0; 2].map(|_| host.socket(domain, Kind::LiteDatagram).unwrap());
        let to = SocketAddr::new(address, 9000);
        host.bind(receiver, to).unwrap();
        Bench { host, sender, receiver, to }
    }

    fn set(&mut self, id: SocketId, option: SocketOption) {
        self.host.set_option(Instant::ZERO, id, option).unwrap();
    }

    fn send(&mut self, data: &[u8]) {
        self.host.send_to(Instant::ZERO, self.sender, data, Some(self.to), None).unwrap();
        self.settle();
    }

    fn settle(&mut self) {
        while self.host.poll_at() == Some(Instant::ZERO) {
            self.host.poll(Instant::ZERO);
        }
    }

    fn receive(&mut self) -> wireway_stack::Result<Vec<u8>> {
        let mut buffer = [0; 2048];
        let info = self.host.recv_from(self.receiver, &mut buffer, ReceiveFlags::default())?;
        Ok(buffer[..info.len].to_vec())
    }
}

#[test]
fn datagrams_with_any_coverage_arrive() {
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let mut bench = Bench::new(address);
        assert_eq!(bench.host.coverage(bench.sender), Ok((None, None)));
        for coverage in [None, Some(0), Some(8), Some(13), Some(5000)] {
            if let Some(bytes) = coverage {
                bench.set(bench.sender, SocketOption::SendCoverage(bytes));
            }
            bench.send(b"hello");
            assert_eq!(bench.receive().unwrap(), b"hello", "{coverage:?}");
        }
        // Ports are UDP-Lite's own.
        let domain = if address.is_ipv4() { Domain::Inet } else { Domain::Inet6 };
        let udp = bench.host.socket(domain, Kind::Datagram).unwrap();
        bench.host.bind(udp, bench.to).unwrap();
        assert_eq!(bench.host.coverage(udp), Err(Error::NoProtocolOption));
        bench.host.close(Instant::ZERO, bench.receiver).unwrap();
        bench.receiver = udp;
        bench.send(b"to nobody");
        assert_eq!(bench.receive(), Err(Error::WouldBlock));
        let refused = bench.host.take_error(bench.sender);
        assert_eq!(refused, None, "not connected, and so not told");
    }
}

#[test]
fn a_receiver_may_want_a_least_coverage() {
    let mut bench = Bench::new(Ipv4Addr::LOCALHOST.into());
    bench.set(bench.receiver, SocketOption::ReceiveCoverage(12));
    for (covered, arrives) in [(8, false), (11, false), (12, true), (0, true)] {
        bench.set(bench.sender, SocketOption::SendCoverage(covered));
        bench.send(b"hello world");
        assert_eq!(bench.receive().is_ok(), arrives, "{covered}");
    }
    bench.set(bench.receiver, SocketOption::ReceiveCoverage(0));
    bench.set(bench.sender, SocketOption::SendCoverage(12));
    bench.send(b"hello world");
    assert_eq!(bench.receive(), Err(Error::WouldBlock), "0 wants everything covered");
    assert_eq!(bench.host.counters()[DropReason::UdpChecksum], 3);
}

/// A datagram as it may come from the wire.
fn frame(length: u16, damage: Option<usize>, checksum: bool) -> Packet {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1));
    let mut datagram = UdpHeader::new(5, 9000, length).as_bytes().to_vec();
    datagram.extend_from_slice(b"hello world");
    let covered = if length == 0 { datagram.len() } else { usize::from(length).min(datagram.len()) };
    let mut sum = Sum::pseudo_v4(src, dst, Protocol::UDP_LITE, datagram.len() as u32);
    sum.add_bytes(&datagram[..covered]);
    if checksum {
        datagram[6..8].copy_from_slice(&sum.finish_udp().to_be_bytes());
    }
    if let Some(at) = damage {
        datagram[at] ^= 1;
    }
    let fields = Ipv4Fields {
        tos: 0,
        payload_len: datagram.len() as u16,
        ident: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: Protocol::UDP_LITE,
        src,
        dst,
    };
    let mut bytes = EthernetHeader::new(OURS, PEERS, EtherType::IPV4).as_bytes().to_vec();
    bytes.extend_from_slice(Ipv4Header::new(&fields, &[]).as_bytes());
    bytes.extend_from_slice(&datagram);
    Packet::copy_from(&bytes)
}

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEERS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

#[test]
fn damage_behind_the_coverage_does_no_harm() {
    let mut bench = Bench::new(Ipv4Addr::LOCALHOST.into());
    let mut config = InterfaceConfig::ethernet("eth0", OURS, 1500);
    config.addresses.push(Cidr { address: Ipv4Addr::new(10, 0, 0, 1).into(), prefix_len: 24 });
    let eth0: InterfaceId = bench.host.add_interface(Instant::ZERO, config).unwrap();
    bench.receiver = bench.host.socket(Domain::Inet, Kind::LiteDatagram).unwrap();
    bench.host.bind(bench.receiver, (Ipv4Addr::new(10, 0, 0, 1), 9000).into()).unwrap();
    let cases = [
        ((8, None, true), Some(&b"hello world"[..])),
        ((8, Some(18), true), Some(b"hello worle")),
        ((19, Some(18), true), None),
        ((0, Some(18), true), None),
        ((8, Some(1), true), None),
        // RFC 3828 §3.1: neither less than the header nor more than there is; and there is always a checksum.
        ((7, None, true), None),
        ((20, None, true), None),
        ((8, None, false), None),
    ];
    for ((length, damage, checksum), expected) in cases {
        bench.host.receive(Instant::ZERO, eth0, frame(length, damage, checksum));
        assert_eq!(bench.receive().ok().as_deref(), expected, "{length} {damage:?} {checksum}");
    }
}
