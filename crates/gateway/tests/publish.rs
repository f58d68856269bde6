//! Published TCP ports: connections of the machine that reach the program.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use common::{PATIENCE, Rig, pattern, through_gateway};
use wireway_gateway::{Gateway, GatewayConfig, GatewayError, Publish};
use wireway_packet::Instant;

fn publishing(port: u16) -> Rig {
    let publish = vec![format!("127.0.0.1:0:{port}").parse().expect("publish")];
    Rig::with(GatewayConfig { publish, ..GatewayConfig::default() })
}

fn client(rig: &Rig) -> TcpStream {
    let stream = TcpStream::connect(rig.published[0].listen).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("sets a time-out");
    stream
}

#[test]
fn bytes_reach_the_program_and_come_back() {
    let rig = publishing(8_080);
    let listener = rig.listen(8_080);
    for length in [1, 70_000, 2_000_000] {
        let mut client = client(&rig);
        let (stream, peer) = listener.accept();
        assert_eq!(peer, through_gateway(client.local_addr().expect("has an address")));
        let sent = pattern(length, 77);
        let mut received = Vec::new();
        std::thread::scope(|scope| {
            let mut sender = client.try_clone().expect("clones");
            let sent = &sent;
            scope.spawn(move || {
                sender.write_all(sent).expect("sends");
                sender.shutdown(Shutdown::Write).expect("shuts down");
            });
            let all = stream.read_to_end().expect("receives");
            assert!(all == *sent, "{length} bytes in");
            scope.spawn(|| client.read_to_end(&mut received).expect("receives"));
            stream.write_all(&all).expect("sends");
            stream.shutdown_write();
        });
        assert!(received == sent, "{length} bytes back");
        stream.close();
    }
    let remains = rig.stop();
    assert_eq!((remains.count("tcp_published"), remains.held.connections, remains.sending), (3, 0, 0));
}

#[test]
fn a_program_that_does_not_listen_is_a_reset() {
    let rig = publishing(8_081);
    let mut client = client(&rig);
    let end = client.read(&mut [0]).expect_err("is reset");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert_eq!(rig.stop().count("tcp_refused"), 1);
}

#[test]
fn what_is_sent_before_the_program_accepts_is_kept() {
    let rig = publishing(8_082);
    let listener = rig.listen(8_082);
    let mut client = client(&rig);
    client.write_all(b"early").expect("sends");
    client.shutdown(Shutdown::Write).expect("shuts down");
    let (stream, _) = listener.accept();
    assert_eq!(stream.read_to_end().expect("receives"), b"early");
    stream.write_all(b"late").expect("sends");
    stream.close();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("receives");
    assert_eq!(rest, b"late");
}

#[test]
fn a_reset_by_the_program_reaches_the_client() {
    let rig = publishing(8_083);
    let listener = rig.listen(8_083);
    let mut client = client(&rig);
    let (stream, _) = listener.accept();
    stream.abort();
    let end = client.read(&mut [0]).expect_err("is reset");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn many_clients_at_once() {
    let rig = publishing(8_084);
    let listener = rig.listen(8_084);
    let clients: Vec<_> = (0..200).map(|_| client(&rig)).collect();
    let accepted: Vec<_> = (0..200).map(|_| listener.accept()).collect();
    for (stream, peer) in &accepted {
        stream.write_all(&peer.port().to_be_bytes()).expect("sends");
    }
    for mut client in clients {
        let mut port = [0; 2];
        client.read_exact(&mut port).expect("receives");
        assert_eq!(u16::from_be_bytes(port), client.local_addr().expect("has an address").port());
    }
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let listen: SocketAddr = taken.local_addr().expect("has an address");
    let publish: Publish = format!("{listen}:80").parse().expect("publish");
    let config = GatewayConfig { publish: vec![publish], ..GatewayConfig::default() };
    let Err(error) = Gateway::new(Instant::ZERO, &config) else { panic!("the port is taken") };
    assert!(matches!(error, GatewayError::Publish(..)));
    assert_eq!(error.to_string(), format!("cannot publish {listen} -> 80/tcp: the machine's port is in use"));
}
