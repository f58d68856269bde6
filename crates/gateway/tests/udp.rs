//! UDP and ICMP through the gateway.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use common::{PATIENCE, Rig, pattern, through_gateway};
use wireway_gateway::{GatewayConfig, Subnet, Transport};
use wireway_stack::{Error, SocketOption};

fn server() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    socket.set_read_timeout(Some(PATIENCE)).expect("sets a time-out");
    socket
}

#[test]
fn datagrams_come_back_as_they_went() {
    let rig = Rig::new();
    let server = server();
    let address = through_gateway(server.local_addr().expect("has an address"));
    let client = rig.datagram(0);
    for length in [0, 1, 1_472, 1_473, 9_000, 65_507] {
        let sent = pattern(length, length as u32);
        assert_eq!(client.send_to(&sent, address), Ok(length));
        let mut buffer = vec![0; 1 << 16];
        let (n, peer) = server.recv_from(&mut buffer).expect("receives");
        assert!(buffer[..n] == sent, "{length} bytes out");
        server.send_to(&buffer[..n], peer).expect("sends");
        let (received, info) = client.recv_from().expect("receives");
        assert_eq!(info.source, address);
        assert!(received == sent, "{length} bytes in");
    }
    let remains = rig.stop();
    assert_eq!((remains.count("udp_datagrams_out"), remains.count("udp_datagrams_in")), (6, 6));
    assert_eq!(remains.held.flows, 1);
}

#[test]
fn each_pair_of_addresses_is_its_own() {
    let rig = Rig::new();
    let servers = [server(), server()];
    let clients = [rig.datagram(0), rig.datagram(0)];
    let mut peers = Vec::new();
    for server in &servers {
        let address = through_gateway(server.local_addr().expect("has an address"));
        for (i, client) in clients.iter().enumerate() {
            client.send_to(&[i as u8], address).expect("sends");
            let mut byte = [0];
            let (_, peer) = server.recv_from(&mut byte).expect("receives");
            assert_eq!(byte, [i as u8]);
            server.send_to(&[10 + i as u8], peer).expect("sends");
            let (answer, info) = client.recv_from().expect("receives");
            assert_eq!((answer, info.source), (vec![10 + i as u8], address));
            peers.push((server.local_addr().expect("has an address"), peer));
        }
    }
    peers.sort();
    peers.dedup();
    assert_eq!(peers.len(), 4);
    assert_eq!(rig.stop().held.flows, 4);
}

#[test]
fn a_closed_port_is_told() {
    let rig = Rig::new();
    let closed = server();
    let address = through_gateway(closed.local_addr().expect("has an address"));
    drop(closed);
    let client = rig.datagram(0);
    client.connect(address);
    client.send_to(b"anybody?", address).expect("sends");
    assert_eq!(client.recv_from().map(|_| ()), Err(Error::ConnectionRefused));
    assert_eq!(rig.stop().count("udp_refused"), 1);
}

/// As TCP: a server of the machine may listen on one of its loopback addresses alone.
#[test]
fn the_gateways_address_leads_to_either_loopback_address() {
    let Ok(server) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
        println!("SKIPPED: the machine has no IPv6");
        return;
    };
    server.set_read_timeout(Some(PATIENCE)).expect("sets a time-out");
    let rig = Rig::new();
    let address = through_gateway(server.local_addr().expect("has an address"));
    let client = rig.datagram(0);
    for sent in [b"first", b"other"] {
        client.send_to(sent, address).expect("sends");
        let mut buffer = [0; 16];
        let (n, peer) = server.recv_from(&mut buffer).expect("receives");
        assert_eq!(&buffer[..n], sent);
        server.send_to(sent, peer).expect("sends");
        let (answer, info) = client.recv_from().expect("receives");
        assert_eq!((&answer[..], info.source), (&sent[..], address));
    }
    let remains = rig.stop();
    assert_eq!((remains.count("udp_refused"), remains.held.flows), (0, 1));
}

/// The gateway is a hop as any other.
#[test]
fn what_has_no_hops_left_ends_at_the_gateway() {
    let rig = Rig::new();
    let client = rig.datagram(0);
    let far = SocketAddr::from(([192, 0, 2, 1], 33434));
    let server = server();
    let near = through_gateway(server.local_addr().expect("has an address"));
    client.set(SocketOption::ReceiveErrors(true));
    client.set(SocketOption::Ttl(Some(1)));
    client.send_to(b"probe", far).expect("sends");
    let error = client.recv_error();
    assert_eq!((error.error, error.kind, error.code), (Error::HostUnreachable, 11, 0));
    assert_eq!((error.offender, error.destination), (Some(IpAddr::from([10, 0, 2, 2])), far));
    // But it is there itself.
    client.send_to(b"probe", near).expect("sends");
    assert_eq!(server.recv(&mut [0; 8]).expect("receives"), 5);
    let ping = rig.ping();
    ping.set(SocketOption::ReceiveErrors(true));
    ping.set(SocketOption::Ttl(Some(1)));
    ping.send_to(&echo_request(3, b""), far).expect("sends");
    let error = ping.recv_error();
    assert_eq!(
        (error.kind, error.offender, error.payload.get(6..8)),
        (11, Some([10, 0, 2, 2].into()), Some(&[0, 3][..]))
    );
    assert_eq!(rig.stop().held.flows, 1);
}

#[test]
fn neighbours_that_are_not_there_and_broadcast_make_no_flow() {
    let rig = Rig::new();
    let client = rig.datagram(0);
    client.send_to(b"all", "10.0.2.255:9".parse().expect("address")).expect("sends");
    client.send_to(b"you", "10.0.2.77:9".parse().expect("address")).expect("sends");
    // As on Linux, an unreachable host is no error of a UDP socket. A closed port is; so what came before it was seen.
    let closed = "10.0.2.3:9".parse().expect("address");
    client.connect(closed);
    client.send_to(b"dns", closed).expect("sends");
    assert_eq!(client.recv_from().map(|_| ()), Err(Error::ConnectionRefused));
    let remains = rig.stop();
    assert_eq!((remains.count("udp_broadcast"), remains.count("udp_refused"), remains.held.flows), (1, 2, 0));
}

#[test]
fn a_published_port_serves_several_clients() {
    let publish = vec!["127.0.0.1:0:5300/udp".parse().expect("publish")];
    let rig = Rig::with(GatewayConfig { publish, ..GatewayConfig::default() });
    let program = rig.datagram(5_300);
    let published = rig.published[0];
    assert_eq!(published.transport, Transport::Udp);
    assert_ne!(published.listen.port(), 0);
    let clients = [server(), server()];
    for (i, client) in clients.iter().enumerate() {
        client.send_to(&[i as u8], published.listen).expect("sends");
        let (data, info) = program.recv_from().expect("receives");
        let local = client.local_addr().expect("has an address");
        assert_eq!((data, info.source), (vec![i as u8], through_gateway(local)));
        program.send_to(&[20 + i as u8], info.source).expect("sends");
        let mut byte = [0];
        let (_, from) = client.recv_from(&mut byte).expect("receives");
        assert_eq!((byte, from), ([20 + i as u8], published.listen));
    }
}

/// What comes over IPv6 reaches a program that listens on IPv4 alone, but for the first datagram.
#[test]
fn a_published_port_reaches_a_program_of_the_other_family() {
    let publish = vec!["[::1]:0:5301/udp".parse().expect("publish")];
    let subnets = vec![Subnet::V4, Subnet::V6];
    let rig = Rig::with(GatewayConfig { publish, subnets, ..GatewayConfig::default() });
    let program = rig.datagram(5_301);
    let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("binds");
    client.set_read_timeout(Some(Duration::from_millis(100))).expect("time-out");
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (data, info) = program.recv_from().expect("receives");
            assert_eq!((data, info.source.ip()), (b"ask".to_vec(), IpAddr::from([10, 0, 2, 2])));
            program.send_to(b"answer", info.source).expect("sends");
        });
        (0..200).any(|_| {
            client.send_to(b"ask", rig.published[0].listen).expect("sends");
            let mut room = [0; 10];
            client
                .recv_from(&mut room)
                .is_ok_and(|(n, from)| (&room[..n], from) == (b"answer", rig.published[0].listen))
        })
    });
    assert!(answered);
}

fn echo_request(sequence: u16, data: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    [&[8, 0, 0, 0, 0, 0, high, low], data].concat()
}

#[test]
fn the_gateway_answers_echo_itself() {
    let rig = Rig::new();
    let ping = rig.ping();
    ping.send_to(&echo_request(7, b"hello"), SocketAddr::from(([10, 0, 2, 2], 0))).expect("sends");
    let (reply, info) = ping.recv_from().expect("receives");
    assert_eq!((reply[0], &reply[6..]), (0, &[&[0, 7], &b"hello"[..]].concat()[..]));
    assert_eq!(info.source.ip(), Ipv4Addr::new(10, 0, 2, 2));
    let remains = rig.stop();
    assert_eq!((remains.count("icmp_echo_out"), remains.count("icmp_prohibited")), (0, 0));
}

/// The machine's own address on a network is the only one beyond loopback that surely answers.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    }
}

#[test]
fn echo_to_others_goes_through_or_is_refused() {
    let Some(address) = own_address() else {
        println!("SKIPPED: the machine has no address beyond loopback");
        return;
    };
    let rig = Rig::new();
    let ping = rig.ping();
    let peer = SocketAddr::from((address, 0));
    ping.connect(peer);
    for sequence in 1..=3 {
        ping.send_to(&echo_request(sequence, &pattern(3_000, 5)), peer).expect("sends");
        match ping.recv_from() {
            Ok((reply, info)) => {
                assert_eq!(info.source.ip(), address);
                assert_eq!((reply[0], &reply[6..8]), (0, &sequence.to_be_bytes()[..]));
                assert!(reply[8..] == pattern(3_000, 5));
            }
            Err(Error::HostUnreachable) => {
                println!("SKIPPED: the machine allows neither ping nor raw sockets");
                assert_eq!(rig.stop().count("icmp_prohibited"), 1);
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let remains = rig.stop();
    assert_eq!((remains.count("icmp_echo_out"), remains.count("icmp_echo_in")), (3, 3));
    assert_eq!(remains.held.echoes, 1);
}
