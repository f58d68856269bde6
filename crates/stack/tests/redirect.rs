//! Servers that answer under an address that leads elsewhere: to the other family too.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wireway_packet::Instant;
use wireway_stack::{Domain, Error, Host, Kind, ReceiveFlags, SendFlags, Settings, SocketId};

const NOW: Instant = Instant::from_millis(1_000);
const ASKED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), 53);
const ANSWERING: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 53);

fn host() -> Host {
    let mut host = Host::new(Settings::default(), [1; 32]);
    host.redirect([(ASKED, ANSWERING)]);
    host
}

fn recv(host: &mut Host, id: SocketId) -> wireway_stack::Result<(SocketAddr, Vec<u8>)> {
    while host.poll_at().is_some_and(|at| at <= NOW) {
        host.poll(NOW);
    }
    let mut buffer = [0; 100];
    let info = host.recv_from(id, &mut buffer, ReceiveFlags::default())?;
    Ok((info.source, buffer[..info.len].to_vec()))
}

#[test]
fn a_socket_of_ipv4_is_led_to_a_server_of_ipv6() {
    let mut host = host();
    let server = host.socket(Domain::Inet6, Kind::Datagram).unwrap();
    host.bind(server, ANSWERING).unwrap();
    let asking = host.socket(Domain::Inet, Kind::Datagram).unwrap();
    host.connect(NOW, asking, ASKED).unwrap();
    assert_eq!(host.peer_addr(asking), Ok(ASKED));
    host.send(NOW, asking, b"who?", SendFlags::default()).unwrap();
    let (from, question) = recv(&mut host, server).unwrap();
    assert_eq!((from.is_ipv6(), question), (true, b"who?".to_vec()));
    host.send_to(NOW, server, b"me", Some(from), None).unwrap();
    assert_eq!(recv(&mut host, asking), Ok((ASKED, b"me".to_vec())));
}

#[test]
fn so_is_a_connection() {
    let mut host = host();
    let server = host.socket(Domain::Inet6, Kind::Stream).unwrap();
    host.bind(server, ANSWERING).unwrap();
    host.listen(server, 1).unwrap();
    let asking = host.socket(Domain::Inet, Kind::Stream).unwrap();
    assert_eq!(host.connect(NOW, asking, ASKED), Err(Error::InProgress));
    while host.poll_at().is_some_and(|at| at <= NOW) {
        host.poll(NOW);
    }
    assert!(host.accept(NOW, server).is_ok());
    assert_eq!(host.connect(NOW, asking, ASKED), Ok(()));
    assert_eq!(host.peer_addr(asking), Ok(ASKED));
}

#[test]
fn a_socket_of_ipv4_names_no_address_of_ipv6() {
    let mut host = host();
    for kind in [Kind::Datagram, Kind::Stream] {
        let id = host.socket(Domain::Inet, kind).unwrap();
        let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 53);
        for peer in [ANSWERING, mapped] {
            assert_eq!(host.connect(NOW, id, peer), Err(Error::FamilyNotSupported), "{kind:?} {peer}");
        }
    }
    let id = host.socket(Domain::Inet, Kind::Datagram).unwrap();
    assert_eq!(host.send_to(NOW, id, b"x", Some(ANSWERING), None), Err(Error::FamilyNotSupported));
}

#[test]
fn any_ipv4_address_is_none_of_ipv6() {
    let mut host = host();
    let bound = host.socket(Domain::Inet, Kind::Datagram).unwrap();
    host.bind(bound, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5000))).unwrap();
    let sending = host.socket(Domain::Inet6, Kind::Datagram).unwrap();
    host.send_to(NOW, sending, b"x", Some(SocketAddr::from((Ipv6Addr::LOCALHOST, 5000))), None).unwrap();
    assert_eq!(recv(&mut host, bound), Err(Error::WouldBlock));
}
