//! ICMP: answers, errors and their limits. RFC 792, 1122 §3.2.2, 1812 §4.3.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use wireway_stack::{Counter, DropReason, Ready, Settings, SocketOption};
use wireway_stack::{Domain, Error, Kind, MtuDiscover, SocketId, Unreachable};
use wireway_wire::icmpv4::{time_exceeded, unreachable};
use wireway_wire::{EtherType, Icmpv4Header, Icmpv4Type, Ipv4Fields, Ipv4View, MacAddr, Protocol, Sum};

#[test]
fn echo_requests_of_any_length_are_answered_with_their_data() {
    for len in [0, 1, 56, 1472] {
        let mut bench = Bench::resolved();
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        bench.receive(&from_peer(&ping(77, 3, &data)));
        let (from, header, echoed) = bench.sent_icmp().unwrap();
        assert_eq!((from, header.kind, header.ident(), header.sequence()), (OURS, Icmpv4Type::ECHO_REPLY, 77, 3));
        assert_eq!(echoed, data);
    }
}

#[test]
fn a_long_echo_request_comes_and_goes_in_fragments() {
    for len in [4000, 65_507] {
        let mut bench = Bench::resolved();
        let data: Vec<u8> = (0..len).map(|i| (i / 3) as u8).collect();
        for piece in fragments(&ping(1, 1, &data), 1480) {
            bench.receive(&from_peer(&piece));
        }
        // The peer puts the answer together.
        let mut message = Vec::new();
        for packet in bench.sent_ip() {
            let (view, payload) = Ipv4View::parse(&packet).unwrap();
            assert_eq!(usize::from(view.header.fragment_offset()), message.len());
            message.extend_from_slice(payload);
        }
        assert!(Sum::of(&message).is_valid());
        let (header, echoed) = Icmpv4Header::parse(&message).unwrap();
        assert_eq!(header.kind, Icmpv4Type::ECHO_REPLY);
        assert!(echoed == data);
    }
}

#[test]
fn broadcast_echo_requests_are_not_answered() {
    let mut bench = Bench::resolved();
    let message = icmp(Icmpv4Type::ECHO_REQUEST, 0, [0; 4], b"smurf");
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        bench.receive(&frame(MacAddr::BROADCAST, PEER_MAC, EtherType::IPV4, &ip(PEER, to, Protocol::ICMP, &message)));
    }
    assert!(bench.sent().is_empty());
    bench.assert_dropped(DropReason::IcmpIgnored, 2);
}

#[test]
fn bad_and_unknown_messages_are_dropped() {
    let cases: [(&[u8], DropReason); 6] = [
        (&[8, 0, 0xf7, 0xff], DropReason::IcmpMalformed),
        (&[8, 0, 0xf7, 0xfe, 0, 0, 0, 0], DropReason::IcmpChecksum),
        (&[42, 0, 0xd5, 0xff, 0, 0, 0, 0], DropReason::IcmpUnhandled),
        (&[13, 0, 0xf2, 0xff, 0, 0, 0, 0], DropReason::IcmpUnhandled),
        // Errors that quote nothing, and one with a code there is not.
        (&[3, 3, 0xfc, 0xfc, 0, 0, 0, 0], DropReason::IcmpMalformed),
        (&[4, 0, 0xfb, 0xff, 0, 0, 0, 0], DropReason::IcmpIgnored),
    ];
    for (message, reason) in cases {
        let mut bench = Bench::resolved();
        bench.receive(&from_peer(&ip(PEER, OURS, Protocol::ICMP, message)));
        bench.assert_dropped(reason, 1);
        assert_eq!(bench.host.counters().dropped(), 1);
        assert!(bench.sent().is_empty());
    }
}

#[test]
fn a_closed_port_is_refused_with_a_quotation() {
    let mut bench = Bench::resolved();
    let packet = udp(at(PEER, 1), at(OURS, 2), &[7; 1000]);
    bench.receive(&from_peer(&packet));
    let (from, header, quoted) = bench.sent_icmp().unwrap();
    assert_eq!((from, header.kind, header.code), (OURS, Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    // RFC 1812 §4.3.2.3: as much as fits 576 bytes.
    assert_eq!(quoted, packet[..548]);
    bench.assert_counted(Counter::UdpNoPorts, 1);
    bench.assert_dropped(DropReason::NoSocket, 1);
}

#[test]
fn no_error_is_sent_about_broadcasts_errors_and_later_fragments() {
    let mut bench = Bench::resolved();
    let broadcast = Ipv4Addr::new(10, 0, 0, 255);
    // UDP to nobody: by IP broadcast, and by a broadcast frame.
    bench.receive(&from_peer(&udp(at(PEER, 1), at(broadcast, 2), b"x")));
    bench.receive(&frame(MacAddr::BROADCAST, PEER_MAC, EtherType::IPV4, &udp(at(PEER, 1), at(OURS, 2), b"x")));
    // An unknown protocol within an ICMP error's quotation is no reason either: the error itself is malformed here.
    let error = icmp(Icmpv4Type::DESTINATION_UNREACHABLE, 99, [0; 4], &udp(at(OURS, 1), at(PEER, 2), b"x"));
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::ICMP, &error)));
    // Options that are wrong in a later fragment.
    let later = Ipv4Fields { fragment_offset: 800, ..fields(PEER, OURS, Protocol::UDP) };
    bench.receive(&from_peer(&ip_with(later, &[7, 99, 0, 0], b"x")));
    // And about an ICMP error with bad options.
    let error = icmp(Icmpv4Type::TIME_EXCEEDED, 0, [0; 4], &udp(at(OURS, 1), at(PEER, 2), b"x"));
    bench.receive(&from_peer(&ip_with(fields(PEER, OURS, Protocol::ICMP), &[7, 99, 0, 0], &error)));
    assert!(bench.sent().is_empty());
}

#[test]
fn errors_are_limited_for_each_destination_and_for_all() {
    let mut bench = Bench::resolved();
    let provoke = |bench: &mut Bench| {
        bench.receive(&from_peer(&udp(at(PEER, 1), at(OURS, 2), b"x")));
        bench.sent_ip().len()
    };
    // Linux: six in a burst to one destination, then one a second.
    let first: usize = (0..20).map(|_| provoke(&mut bench)).sum();
    assert_eq!(first, 6);
    bench.assert_counted(Counter::IcmpOutRateLimitHost, 14);
    bench.run_for(Duration::from_secs(1));
    let second: usize = (0..20).map(|_| provoke(&mut bench)).sum();
    assert_eq!(second, 1);
    // Echo replies are not limited.
    let echoes: usize = (0..100)
        .map(|i| {
            bench.receive(&from_peer(&ping(1, i, b"")));
            bench.sent_ip().len()
        })
        .sum();
    assert_eq!(echoes, 100);

    let mut bench = Bench::with(Settings::default(), |config| config.addresses[0].prefix_len = 8);
    let mut sent = 0;
    for i in 0..1000u32 {
        let source = Ipv4Addr::from_bits(OURS.to_bits() + 1000 + i);
        bench.host.set_neighbour(bench.now, bench.eth0, source.into(), Some(PEER_MAC)).unwrap();
        bench.receive(&from_peer(&udp(at(source, 1), at(OURS, 2), b"x")));
        sent += bench.sent_ip().len();
    }
    assert_eq!(sent, 50);
    bench.assert_counted(Counter::IcmpOutRateLimitGlobal, 950);
}

/// A UDP socket connected to the peer's port 9, from our port 5.
fn connected(bench: &mut Bench) -> SocketId {
    let socket = bench.udp(5);
    bench.host.connect(bench.now, socket, at(PEER, 9)).unwrap();
    socket
}

fn error_about_ours(kind: Icmpv4Type, code: u8) -> Vec<u8> {
    let quote = udp(at(OURS, 5), at(PEER, 9), b"data");
    let message = icmp(kind, code, [0; 4], &quote);
    // From a router on the way.
    from_peer(&ip(Ipv4Addr::new(10, 0, 0, 3), OURS, Protocol::ICMP, &message))
}

#[test]
fn hard_errors_reach_a_connected_socket() {
    let unreach = Icmpv4Type::DESTINATION_UNREACHABLE;
    for (kind, code, error) in [
        (unreach, unreachable::PORT, Some(Error::ConnectionRefused)),
        (unreach, unreachable::PROTOCOL, Some(Error::NoProtocolOption)),
        (unreach, unreachable::HOST_PROHIBITED, Some(Error::HostUnreachable)),
        (unreach, unreachable::NETWORK_UNKNOWN, Some(Error::NetworkUnreachable)),
        (unreach, unreachable::HOST_UNKNOWN, Some(Error::HostDown)),
        (Icmpv4Type::PARAMETER_PROBLEM, 0, Some(Error::Proto)),
        // Soft ones do not, as on Linux.
        (unreach, unreachable::HOST, None),
        (unreach, unreachable::NETWORK, None),
        (Icmpv4Type::TIME_EXCEEDED, time_exceeded::TTL, None),
    ] {
        let mut bench = Bench::resolved();
        let socket = connected(&mut bench);
        bench.receive(&error_about_ours(kind, code));
        let ready = bench.host.next_event().map(|event| (event.socket, event.ready.contains(Ready::ERR)));
        assert_eq!(ready, error.map(|_| (socket, true)));
        let got = bench.recv(socket).unwrap_err();
        assert_eq!(got, error.unwrap_or(Error::WouldBlock), "{kind:?} {code}");
        // Once.
        assert_eq!(bench.recv(socket).unwrap_err(), Error::WouldBlock);
    }
}

#[test]
fn errors_do_not_reach_sockets_they_are_not_about() {
    let mut bench = Bench::resolved();
    let socket = bench.udp(5);
    bench.receive(&error_about_ours(Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    assert_eq!(bench.host.take_error(socket), None, "not connected");
    bench.host.connect(bench.now, socket, at(PEER, 10)).unwrap();
    bench.receive(&error_about_ours(Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    assert_eq!(bench.host.take_error(socket), None, "connected elsewhere");
    // About a packet that another host sent.
    let quote = udp(at(PEER, 5), at(OURS, 9), b"data");
    let message = icmp(Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT, [0; 4], &quote);
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::ICMP, &message)));
    bench.assert_dropped(DropReason::IcmpIgnored, 1);
}

#[test]
fn a_send_also_takes_the_pending_error() {
    let mut bench = Bench::resolved();
    let socket = connected(&mut bench);
    bench.receive(&error_about_ours(Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    assert_eq!(bench.host.send_to(bench.now, socket, b"x", None, None), Err(Error::ConnectionRefused));
    assert_eq!(bench.host.send_to(bench.now, socket, b"x", None, None), Ok(1));
    bench.receive(&error_about_ours(Icmpv4Type::DESTINATION_UNREACHABLE, unreachable::PORT));
    assert_eq!(bench.host.take_error(socket), Some(Error::ConnectionRefused));
}

#[test]
fn ping_sockets_send_requests_and_get_their_replies() {
    let mut bench = Bench::resolved();
    let (one, two) =
        (bench.host.socket(Domain::Inet, Kind::Ping).unwrap(), bench.host.socket(Domain::Inet, Kind::Ping).unwrap());
    // Identifier and checksum are the socket's business.
    let request = [8, 0, 0, 0, 0xde, 0xad, 0, 5, b'h', b'i'];
    bench.host.send_to(bench.now, one, &request, Some(at(PEER, 0)), None).unwrap();
    bench.host.send_to(bench.now, two, &request, Some(at(PEER, 0)), None).unwrap();
    let ident = bench.host.local_addr(one).unwrap().port();
    let packets = bench.sent_ip();
    let (_, message) = Ipv4View::parse(&packets[0]).unwrap();
    assert!(Sum::of(message).is_valid());
    let (header, data) = Icmpv4Header::parse(message).unwrap();
    assert_eq!(
        (header.kind, header.ident(), header.sequence(), data),
        (Icmpv4Type::ECHO_REQUEST, ident, 5, &b"hi"[..])
    );
    let [a, b] = ident.to_be_bytes();
    let reply = icmp(Icmpv4Type::ECHO_REPLY, 0, [a, b, 0, 5], b"hi");
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::ICMP, &reply)));
    let (info, got) = bench.recv(one).unwrap();
    assert_eq!((info.source, info.ttl, got), (at(PEER, ident), 64, reply));
    assert_eq!(bench.recv(two), Err(Error::WouldBlock));
    // Over lo we answer ourselves.
    bench.host.send_to(bench.now, two, &request, Some(at(Ipv4Addr::LOCALHOST, 0)), None).unwrap();
    bench.settle();
    assert_eq!(bench.recv(two).unwrap().1[8..], *b"hi");
    // Only echo requests may be sent.
    for bad in [&[0, 0, 0, 0, 0, 0, 0, 0][..], &[8, 1, 0, 0, 0, 0, 0, 0], &[8, 0, 0]] {
        assert_eq!(bench.host.send_to(bench.now, one, bad, Some(at(PEER, 0)), None), Err(Error::InvalidArgument));
    }
    // A reply that nobody waits for.
    bench.host.close(bench.now, one).unwrap();
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::ICMP, &icmp(Icmpv4Type::ECHO_REPLY, 0, [a, b, 0, 5], b"hi"))));
    bench.assert_dropped(DropReason::NoSocket, 1);
}

#[test]
fn ping_identifiers_belong_to_one_socket() {
    let mut bench = Bench::resolved();
    let (one, two) =
        (bench.host.socket(Domain::Inet, Kind::Ping).unwrap(), bench.host.socket(Domain::Inet, Kind::Ping).unwrap());
    bench.host.bind(one, at(OURS, 1234)).unwrap();
    assert_eq!(bench.host.bind(two, at(Ipv4Addr::UNSPECIFIED, 1234)), Err(Error::AddressInUse));
    bench.host.bind(two, at(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    assert_ne!(bench.host.local_addr(two).unwrap().port(), 0);
    bench.host.close(bench.now, one).unwrap();
    let three = bench.host.socket(Domain::Inet, Kind::Ping).unwrap();
    bench.host.bind(three, at(OURS, 1234)).unwrap();
    // An error about its request reaches it once connected.
    bench.host.connect(bench.now, three, at(PEER, 0)).unwrap();
    let request = ip(OURS, PEER, Protocol::ICMP, &icmp(Icmpv4Type::ECHO_REQUEST, 0, [4, 210, 0, 1], b"hello"));
    let code = unreachable::COMMUNICATION_PROHIBITED;
    let message = icmp(Icmpv4Type::DESTINATION_UNREACHABLE, code, [0; 4], &request);
    bench.receive(&from_peer(&ip(PEER, OURS, Protocol::ICMP, &message)));
    assert_eq!(bench.host.take_error(three), Some(Error::HostUnreachable));
}

#[test]
fn a_raw_socket_of_a_gateway_sees_messages_for_others_and_answers_in_their_name() {
    let far = Ipv4Addr::new(93, 184, 216, 34);
    let mut bench = Bench::with(Settings::default(), |config| config.any_destination = true);
    bench.introduce();
    let request = ip(PEER, far, Protocol::ICMP, &icmp(Icmpv4Type::ECHO_REQUEST, 0, [1, 2, 3, 4], b"data"));
    bench.receive(&from_peer(&request));
    assert!(bench.sent().is_empty(), "not ours to answer");
    bench.assert_dropped(DropReason::IcmpUnhandled, 1);

    let raw = bench.host.socket(Domain::Inet, Kind::Raw(1)).unwrap();
    bench.host.set_option(bench.now, raw, SocketOption::Transparent(true)).unwrap();
    bench.receive(&from_peer(&request));
    let (info, message) = bench.recv(raw).unwrap();
    assert_eq!((info.source, info.destination), (at(PEER, 0), at(far, 0)));
    assert_eq!(message, request[20..]);
    bench.assert_dropped(DropReason::IcmpUnhandled, 1);
    let reply = icmp(Icmpv4Type::ECHO_REPLY, 0, [1, 2, 3, 4], b"data");
    bench.host.send_to(bench.now, raw, &reply, Some(at(PEER, 0)), Some(at(far, 0))).unwrap();
    let (from, header, data) = bench.sent_icmp().unwrap();
    assert_eq!((from, header.kind, &data[..]), (far, Icmpv4Type::ECHO_REPLY, &b"data"[..]));

    // As a router (host unreachable) and as the host there (port unreachable).
    for (why, code, source) in
        [(Unreachable::Host, unreachable::HOST, OURS), (Unreachable::Port, unreachable::PORT, far)]
    {
        bench.host.send_unreachable(bench.now, raw, &info, &message[..8], why).unwrap();
        let (from, header, quoted) = bench.sent_icmp().unwrap();
        assert_eq!((from, header.code), (source, code));
        let quoted_ip = Ipv4View::parse_quoted(&quoted).unwrap();
        assert_eq!((quoted_ip.header.src(), quoted_ip.header.dst()), (PEER, far));
        assert_eq!(quoted[20..], message[..8]);
    }
    // The gateway's own address answers by itself, and the raw socket sees that too.
    bench.receive(&from_peer(&ping(1, 1, b"")));
    assert_eq!(bench.sent_icmp().unwrap().0, OURS);
    assert!(bench.recv(raw).is_ok());
}

#[test]
fn what_is_too_long_for_the_path_stands_in_the_error_queue() {
    for mode in [MtuDiscover::Probe, MtuDiscover::Do] {
        let mut bench = Bench::resolved();
        let id = bench.udp(5);
        bench.host.set_option(bench.now, id, SocketOption::MtuDiscover(mode)).unwrap();
        let send = |bench: &mut Bench, len| bench.host.send_to(bench.now, id, &vec![0; len], Some(at(PEER, 9)), None);
        assert_eq!(send(&mut bench, 1473), Err(Error::MessageTooLong));
        assert_eq!(bench.host.recv_error(id), Err(Error::WouldBlock), "nobody asked");
        bench.host.set_option(bench.now, id, SocketOption::ReceiveErrors(true)).unwrap();
        assert_eq!(send(&mut bench, 1472), Ok(1472));
        assert_eq!(send(&mut bench, 1473), Err(Error::MessageTooLong));
        let told = bench.host.recv_error(id).unwrap();
        assert_eq!((told.error, told.kind, told.info, told.offender), (Error::MessageTooLong, 0, 1500, None));
        assert_eq!(told.destination, at(PEER, 9));
    }
}

#[test]
fn a_socket_that_wants_errors_gets_soft_ones_too_with_their_quotation() {
    let mut bench = Bench::resolved();
    let id = bench.udp(5);
    bench.host.set_option(bench.now, id, SocketOption::ReceiveErrors(true)).unwrap();
    bench.receive(&error_about_ours(Icmpv4Type::TIME_EXCEEDED, time_exceeded::TTL));
    assert!(bench.host.ready(id).contains(Ready::ERR));
    assert_eq!(bench.recv(id), Err(Error::HostUnreachable));
    let told = bench.host.recv_error(id).unwrap();
    assert_eq!((told.error, told.kind, told.code, told.info), (Error::HostUnreachable, 11, 0, 0));
    assert_eq!((told.offender, told.destination), (Some(Ipv4Addr::new(10, 0, 0, 3).into()), at(PEER, 9)));
    assert_eq!(told.payload, b"data");
    assert_eq!(bench.host.recv_error(id), Err(Error::WouldBlock));
    assert!(!bench.host.ready(id).contains(Ready::ERR));
    // It is bounded.
    for _ in 0..1000 {
        bench.receive(&error_about_ours(Icmpv4Type::TIME_EXCEEDED, time_exceeded::TTL));
    }
    let count = std::iter::from_fn(|| bench.host.recv_error(id).ok()).count();
    assert_eq!(count, 64);

    // A neighbour that does not answer is such an error, from ourselves.
    let mut bench = Bench::new();
    let ping = bench.host.socket(Domain::Inet, Kind::Ping).unwrap();
    bench.host.set_option(bench.now, ping, SocketOption::ReceiveErrors(true)).unwrap();
    let request = [8, 0, 0, 0, 0, 0, 0, 7, b'h', b'i'];
    bench.host.send_to(bench.now, ping, &request, Some(at(PEER, 0)), None).unwrap();
    bench.run_for(Duration::from_secs(4));
    let told = bench.host.recv_error(ping).unwrap();
    let code = unreachable::HOST;
    assert_eq!((told.error, told.kind, told.code, told.offender), (Error::HostUnreachable, 3, code, Some(OURS.into())));
    let (header, data) = Icmpv4Header::parse(&told.payload).unwrap();
    assert_eq!((header.sequence(), data), (7, &b"hi"[..]));
}

#[test]
fn a_closed_port_of_our_own_is_refused_over_lo() {
    let mut bench = Bench::new();
    let id = bench.host.socket(Domain::Inet, Kind::Datagram).unwrap();
    for to in [Ipv4Addr::LOCALHOST, OURS] {
        bench.host.connect(bench.now, id, at(to, 9)).unwrap();
        bench.host.send_to(bench.now, id, b"anyone?", None, None).unwrap();
        bench.settle();
        assert_eq!(bench.host.take_error(id), Some(Error::ConnectionRefused), "{to}");
    }
    // Nothing limits them.
    for _ in 0..200 {
        bench.host.send_to(bench.now, id, b"anyone?", None, None).unwrap();
        bench.settle();
        assert_eq!(bench.host.take_error(id), Some(Error::ConnectionRefused));
    }
    assert!(bench.sent().is_empty());
}
