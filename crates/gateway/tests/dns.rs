//! DNS through the gateway to name servers of the test's own.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::thread::{JoinHandle, spawn};

use common::{PATIENCE, Rig};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use wireway_gateway::GatewayConfig;
use wireway_stack::Error;

const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3)), 53);

fn query(id: u16, name: &str) -> Message {
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).expect("name"), RecordType::A));
    message
}

fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().expect("encodes")
}

/// The answer to a query: `count` addresses beginning at 192.0.2.0.
fn answer(query: &[u8], count: u8) -> Message {
    let query = Message::from_vec(query).expect("a query");
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_available = true;
    let question = query.queries[0].clone();
    message.add_query(question.clone());
    for i in 0..count {
        message.add_answer(Record::from_rdata(question.name().clone(), 60, RData::A(A::new(192, 0, 2, i))));
    }
    message
}

fn server_socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    socket.set_read_timeout(Some(PATIENCE)).expect("sets a time-out");
    let address = socket.local_addr().expect("has an address");
    (socket, address)
}

/// Handles `n` queries over UDP.
fn serve(
    socket: UdpSocket,
    n: usize,
    handle: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static,
) -> JoinHandle<()> {
    spawn(move || {
        for _ in 0..n {
            let mut buffer = [0; 4_096];
            let (length, peer) = socket.recv_from(&mut buffer).expect("receives");
            handle(&socket, &buffer[..length], peer);
        }
    })
}

fn rig(resolvers: &[SocketAddr]) -> Rig {
    Rig::with(GatewayConfig { resolvers: resolvers.to_vec(), ..GatewayConfig::default() })
}

#[test]
fn a_query_is_forwarded_and_answered() {
    let (socket, address) = server_socket();
    let server = serve(socket, 2, |socket, query, peer| {
        // An answer with another identifier, and one to another question, come first.
        let mut wrong = answer(query, 1);
        wrong.metadata.id ^= 1;
        socket.send_to(&encode(&wrong), peer).expect("sends");
        let mut wrong = encode(&answer(query, 1));
        wrong[13] ^= 2;
        socket.send_to(&wrong, peer).expect("sends");
        socket.send_to(&encode(&answer(query, 2)), peer).expect("sends");
    });
    let rig = rig(&[address]);
    let client = rig.datagram(0);
    for id in [0x1111, 0x2222] {
        client.send_to(&encode(&query(id, "www.example.test.")), RESOLVER).expect("sends");
        let (data, info) = client.recv_from().expect("receives");
        assert_eq!(info.source, RESOLVER);
        let message = Message::from_vec(&data).expect("parses");
        assert_eq!((message.metadata.id, message.answers.len()), (id, 2));
        assert_eq!(message.queries[0].name().to_string(), "www.example.test.");
    }
    server.join().expect("server");
    let remains = rig.stop();
    assert_eq!((remains.count("dns_queries"), remains.count("dns_answers")), (2, 2));
    assert_eq!((remains.count("dns_malformed"), remains.held.lookups), (4, 0));
}

#[test]
fn a_dead_or_failing_server_is_passed_over() {
    let (dead, dead_address) = server_socket();
    drop(dead);
    let (failing, failing_address) = server_socket();
    let failing = serve(failing, 1, |socket, query, peer| {
        let mut refusal = answer(query, 0);
        refusal.metadata.response_code = ResponseCode::ServFail;
        socket.send_to(&encode(&refusal), peer).expect("sends");
    });
    let (good, good_address) = server_socket();
    let good = serve(good, 2, |socket, query, peer| {
        socket.send_to(&encode(&answer(query, 1)), peer).expect("sends");
    });
    let rig = rig(&[dead_address, failing_address, good_address]);
    let client = rig.datagram(0);
    // The second goes to the good server at once: the failing one would not answer.
    for id in [1, 2] {
        client.send_to(&encode(&query(id, "a.test.")), RESOLVER).expect("sends");
        let message = Message::from_vec(&client.recv_from().expect("receives").0).expect("parses");
        assert_eq!((message.metadata.id, message.answers.len()), (id, 1));
    }
    failing.join().expect("server");
    good.join().expect("server");
}

#[test]
fn nobody_answers_is_a_failure() {
    let (dead, address) = server_socket();
    drop(dead);
    let rig = rig(&[address]);
    let client = rig.datagram(0);
    client.send_to(&encode(&query(9, "a.test.")), RESOLVER).expect("sends");
    let message = Message::from_vec(&client.recv_from().expect("receives").0).expect("parses");
    assert_eq!((message.metadata.id, message.metadata.response_code), (9, ResponseCode::ServFail));
    let remains = rig.stop();
    assert_eq!((remains.count("dns_failed"), remains.held.lookups), (1, 0));
}

#[test]
fn a_silent_server_is_given_up() {
    let (silent, address) = server_socket();
    let rig = rig(&[address]);
    let client = rig.datagram(0);
    client.send_to(&encode(&query(9, "a.test.")), RESOLVER).expect("sends");
    let message = Message::from_vec(&client.recv_from().expect("receives").0).expect("parses");
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
    drop(silent);
}

#[test]
fn what_is_no_query_is_survived() {
    let (_socket, address) = server_socket();
    let rig = rig(&[address]);
    let client = rig.datagram(0);
    for data in [&b""[..], b"x", &[0xff; 12], &[0; 12], &[0xc0; 600]] {
        client.send_to(data, RESOLVER).expect("sends");
    }
    let mut two = query(3, "a.test.");
    two.add_query(two.queries[0].clone());
    client.send_to(&encode(&two), RESOLVER).expect("sends");
    loop {
        let message = Message::from_vec(&client.recv_from().expect("receives").0).expect("parses");
        assert_eq!(message.metadata.response_code, ResponseCode::FormErr);
        if message.metadata.id == 3 {
            break;
        }
    }
}

/// A name server over TCP that answers `n` queries on one connection each.
fn serve_tcp(n: usize, count: u8) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("has an address");
    let thread = spawn(move || {
        for _ in 0..n {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("receives");
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).expect("receives");
            let answer = encode(&answer(&query, count));
            stream.write_all(&(answer.len() as u16).to_be_bytes()).expect("sends");
            // In two parts, as a network may.
            let (front, back) = answer.split_at(answer.len() / 2);
            stream.write_all(front).expect("sends");
            stream.write_all(back).expect("sends");
        }
    });
    (address, thread)
}

#[test]
fn queries_over_tcp_share_a_connection() {
    let (address, server) = serve_tcp(3, 200);
    let rig = rig(&[address]);
    let stream = rig.connect(RESOLVER).expect("connects");
    let mut all = Vec::new();
    for id in 1..=3 {
        let query = encode(&query(id, "big.test."));
        all.extend((query.len() as u16).to_be_bytes());
        all.extend(query);
    }
    stream.write_all(&all).expect("sends");
    stream.shutdown_write();
    let mut received = stream.read_to_end().expect("receives");
    let mut ids = Vec::new();
    while !received.is_empty() {
        let length = usize::from(u16::from_be_bytes([received[0], received[1]]));
        let message = Message::from_vec(&received[2..2 + length]).expect("parses");
        assert_eq!(message.answers.len(), 200);
        ids.push(message.metadata.id);
        received.drain(..2 + length);
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    server.join().expect("server");
    assert_eq!(rig.stop().held.lookups, 0);
}

#[test]
fn the_machines_own_servers_are_answered_for() {
    let (socket, address) = server_socket();
    let server = serve(socket, 1, |socket, query, peer| {
        socket.send_to(&encode(&answer(query, 1)), peer).expect("sends");
    });
    let resolv_conf = std::env::temp_dir().join(format!("wireway-resolv-{}.conf", std::process::id()));
    std::fs::write(&resolv_conf, "nameserver 192.0.2.99\n").expect("writes");
    let rig = Rig::with(GatewayConfig {
        resolvers: vec![address],
        resolv_conf: resolv_conf.clone(),
        ..GatewayConfig::default()
    });
    let client = rig.datagram(0);
    let named = SocketAddr::from(([192, 0, 2, 99], 53));
    client.connect(named);
    client.send_to(&encode(&query(5, "a.test.")), named).expect("sends");
    let received = client.recv_from();
    std::fs::remove_file(&resolv_conf).expect("removes");
    let (data, info) = received.expect("receives");
    assert_eq!(info.source, named);
    assert_eq!(Message::from_vec(&data).expect("parses").metadata.id, 5);
    server.join().expect("server");
}

#[test]
fn other_ports_of_the_resolver_are_closed() {
    let rig = rig(&[]);
    let client = rig.datagram(0);
    let other = SocketAddr::new(RESOLVER.ip(), 54);
    client.connect(other);
    client.send_to(b"x", other).expect("sends");
    assert_eq!(client.recv_from().map(|_| ()), Err(Error::ConnectionRefused));
}
