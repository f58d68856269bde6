//! Raw and ping sockets of both families, over `lo`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wireway_packet::Instant;
use wireway_stack::{Domain, DropReason, Error, Host, Kind, ReceiveFlags, Settings, SocketId, SocketOption};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{Icmpv6Header, Icmpv6Type, Ipv4Fields, Ipv4Header, Protocol, Sum, UdpHeader, icmpv6};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

struct Bench {
    host: Host,
}

impl Bench {
    fn new() -> Bench {
        Bench { host: Host::new(Settings::default(), [5; 32]) }
    }

    fn socket(&mut self, domain: Domain, kind: Kind) -> SocketId {
        self.host.socket(domain, kind).unwrap()
    }

    fn set(&mut self, id: SocketId, option: SocketOption) -> wireway_stack::Result<()> {
        self.host.set_option(Instant::ZERO, id, option)
    }

    fn send(&mut self, id: SocketId, data: &[u8], to: IpAddr) -> wireway_stack::Result<usize> {
        let sent = self.host.send_to(Instant::ZERO, id, data, Some(SocketAddr::new(to, 0)), None);
        while self.host.poll_at() == Some(Instant::ZERO) {
            self.host.poll(Instant::ZERO);
        }
        sent
    }

    fn receive(&mut self, id: SocketId) -> wireway_stack::Result<(SocketAddr, Vec<u8>)> {
        let mut buffer = [0; 2048];
        let info = self.host.recv_from(id, &mut buffer, ReceiveFlags::default())?;
        Ok((info.source, buffer[..info.len].to_vec()))
    }
}

#[test]
fn a_ping_socket_gets_the_replies_to_its_own_requests() {
    for (domain, address, request, reply) in [(Domain::Inet, V4, 8, 0), (Domain::Inet6, V6, 128, 129)] {
        let mut bench = Bench::new();
        let (ours, other) = (bench.socket(domain, Kind::Ping), bench.socket(domain, Kind::Ping));
        bench.host.bind(other, SocketAddr::new(address, 77)).unwrap();
        // The identifier is the socket's, whatever the program writes; and the checksum.
        assert_eq!(bench.send(ours, &[request, 0, 9, 9, 0, 77, 0, 5, b'x'], address), Ok(9));
        let (from, message) = bench.receive(ours).unwrap();
        let ident = bench.host.local_addr(ours).unwrap().port();
        assert_eq!((from, message[0], &message[6..]), (SocketAddr::new(address, ident), reply, &[0, 5, b'x'][..]));
        assert_eq!(message[4..6], ident.to_be_bytes());
        assert_eq!(bench.receive(other), Err(Error::WouldBlock));
        for bad in [&[reply, 0, 0, 0, 0, 0, 0, 0][..], &[request, 1, 0, 0, 0, 0, 0, 0], &[request, 0, 0, 0]] {
            assert_eq!(bench.send(ours, bad, address), Err(Error::InvalidArgument), "{bad:?}");
        }
    }
}

#[test]
fn one_family_of_ping_and_raw_sockets_is_not_the_others() {
    let mut bench = Bench::new();
    for kind in [Kind::Ping, Kind::Raw(200)] {
        let (v4, v6) = (bench.socket(Domain::Inet, kind), bench.socket(Domain::Inet6, kind));
        assert_eq!(bench.send(v4, &[8, 0, 0, 0, 0, 0, 0, 0], V6), Err(Error::FamilyNotSupported));
        assert_eq!(bench.send(v6, &[128, 0, 0, 0, 0, 0, 0, 0], V4), Err(Error::NetworkUnreachable));
    }
    let (v4, v6) = (bench.socket(Domain::Inet, Kind::Raw(200)), bench.socket(Domain::Inet6, Kind::Raw(200)));
    bench.send(v6, b"six", V6).unwrap();
    bench.send(v4, b"four", V4).unwrap();
    assert_eq!(bench.receive(v6).unwrap(), (SocketAddr::new(V6, 0), b"six".to_vec()));
    assert_eq!(bench.receive(v4).unwrap(), (SocketAddr::new(V4, 0), b"four".to_vec()));
    assert_eq!((bench.receive(v6), bench.receive(v4)), (Err(Error::WouldBlock), Err(Error::WouldBlock)));
}

#[test]
fn icmpv6_of_a_raw_socket_gets_its_checksum_and_is_filtered() {
    let mut bench = Bench::new();
    let raw = bench.socket(Domain::Inet6, Kind::Raw(58));
    // All blocked but echo replies (RFC 3542 §3.2).
    let mut filter = [u32::MAX; 8];
    filter[129 / 32] &= !(1 << (129 % 32));
    bench.set(raw, SocketOption::IcmpFilter(filter)).unwrap();
    assert_eq!(bench.host.raw_options(raw).unwrap().icmp_filter, filter);
    let request = Icmpv6Header::echo(Icmpv6Type::ECHO_REQUEST, 7, 1);
    bench.send(raw, request.as_bytes(), V6).unwrap();
    let (_, message) = bench.receive(raw).unwrap();
    assert_eq!(message[0], 129);
    assert!(icmpv6::verify_checksum(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, &message).is_ok());
    assert_eq!(bench.receive(raw), Err(Error::WouldBlock), "the request too came in");
    assert_eq!(bench.set(raw, SocketOption::ChecksumAt(Some(2))), Err(Error::InvalidArgument));
    assert_eq!(bench.send(raw, &[128, 0], V6), Err(Error::InvalidArgument), "no room for a checksum");
}

#[test]
fn raw_ipv6_with_headers_of_ones_own_is_refused() {
    assert_eq!(Bench::new().host.socket(Domain::Inet6, Kind::Raw(255)), Err(Error::ProtocolNotSupported));
}

#[test]
fn a_raw_socket_may_choose_where_its_checksum_is() {
    let mut bench = Bench::new();
    let (checked, unchecked) =
        (bench.socket(Domain::Inet6, Kind::Raw(200)), bench.socket(Domain::Inet6, Kind::Raw(200)));
    assert_eq!(bench.set(checked, SocketOption::ChecksumAt(Some(3))), Err(Error::InvalidArgument));
    bench.set(checked, SocketOption::ChecksumAt(Some(4))).unwrap();
    bench.send(checked, b"abcd__efg", V6).unwrap();
    let (_, message) = bench.receive(checked).unwrap();
    let mut sum = Sum::pseudo_v6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, Protocol(200), 9);
    sum.add_bytes(&message);
    assert!(sum.is_valid());
    assert_eq!(bench.receive(unchecked).unwrap().1, message);
    // What has no right one is for the other alone.
    bench.send(unchecked, b"abcd__efg", V6).unwrap();
    assert_eq!(bench.receive(checked), Err(Error::WouldBlock));
    assert_eq!(bench.receive(unchecked).unwrap().1, b"abcd__efg");
    assert_eq!(bench.host.counters()[DropReason::SocketChecksum], 1);
}

#[test]
fn a_raw_socket_may_bring_its_own_header() {
    let mut bench = Bench::new();
    let (raw, udp) = (bench.socket(Domain::Inet, Kind::Raw(255)), bench.socket(Domain::Inet, Kind::Datagram));
    assert!(bench.host.raw_options(raw).unwrap().header_included, "raw(7): IPPROTO_RAW");
    bench.host.bind(udp, SocketAddr::new(V4, 9000)).unwrap();
    let fields = Ipv4Fields {
        tos: 0,
        payload_len: 1,
        ident: 0,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 3,
        protocol: Protocol::UDP,
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::LOCALHOST,
    };
    let mut packet = Ipv4Header::new(&fields, &[]).as_bytes().to_vec();
    packet.extend_from_slice(UdpHeader::new(1234, 9000, 13).as_bytes());
    packet.extend_from_slice(b"hello");
    bench.send(raw, &packet, V4).unwrap();
    assert_eq!(bench.receive(udp).unwrap(), (SocketAddr::new(V4, 1234), b"hello".to_vec()));
    assert_eq!(bench.send(raw, &packet[..19], V4), Err(Error::InvalidArgument));
    assert_eq!(bench.send(raw, &[0x44; 40], V4), Err(Error::InvalidArgument), "a header of 16 bytes");
    assert_eq!(bench.send(raw, &[], V4), Err(Error::InvalidArgument));
}
