//! Link-local addresses: the same two on two links are two flows (RFC 4007 §6), and what is said of one is not about the other.

mod tcp_common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use tcp_common::*;
use wireway_lab::{HostId, Network};
use wireway_link::LinkConfig;
use wireway_packet::Instant;
use wireway_stack::{
    Cidr, Domain, Error, Host, InterfaceConfig, InterfaceId, Kind, ReceiveFlags, SendFlags, Settings, SocketId,
    SocketOption,
};
use wireway_wire::MacAddr;

const SECOND: Duration = Duration::from_secs(1);

fn link_local(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

fn scoped(last: u16, port: u16, interface: InterfaceId) -> SocketAddr {
    SocketAddrV6::new(link_local(last), port, 0, u32::from(interface.0) + 1).into()
}

/// A has fe80::1 and B fe80::2 on both of the cables between them.
fn two_links() -> (Network, [InterfaceId; 2]) {
    let mut net = Network::new(1);
    let mut hosts = [1u8, 2].map(|last| {
        let mut host = Host::new(Settings { ipv6_dad_transmits: 0, ..Settings::default() }, [last; 32]);
        let interfaces = [0u8, 1].map(|link| {
            let mac = MacAddr([2, 0, 0, 0, link, last]);
            let mut config = InterfaceConfig::ethernet(&format!("eth{link}"), mac, 1500);
            config.addresses.push(Cidr { address: link_local(last.into()).into(), prefix_len: 64 });
            host.add_interface(Instant::ZERO, config).unwrap()
        });
        (Some(host), interfaces)
    });
    let interfaces = hosts[0].1;
    let ids = [0, 1].map(|n| net.add_host(hosts[n].0.take().unwrap()));
    for link in 0..2 {
        let ends = [0, 1].map(|n: usize| (ids[n], hosts[n].1[link]));
        net.connect(ends[0], ends[1], LinkConfig::default(), LinkConfig::default());
    }
    (net, interfaces)
}

fn socket(net: &mut Network, at: HostId, port: u16, device: Option<InterfaceId>) -> SocketId {
    let now = net.now();
    let host = net.host(at);
    let id = host.socket(Domain::Inet6, Kind::Stream).unwrap();
    host.set_option(now, id, SocketOption::BindToDevice(device)).unwrap();
    host.bind(id, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).unwrap();
    id
}

#[test]
fn the_same_addresses_and_ports_on_two_links_are_two_connections() {
    let (mut net, links) = two_links();
    let listener = socket(&mut net, B, PORT, None);
    net.host(B).listen(listener, 16).unwrap();
    let ours = links.map(|link| socket(&mut net, A, 5000, Some(link)));
    for (id, link) in ours.into_iter().zip(links) {
        let now = net.now();
        assert_eq!(net.host(A).connect(now, id, scoped(2, PORT, link)), Err(Error::InProgress));
    }
    net.run_for(SECOND);
    let now = net.now();
    for (id, link) in ours.into_iter().zip(links) {
        net.host(A).send(now, id, &[link.0 as u8; 100], SendFlags::default()).unwrap();
    }
    net.run_for(SECOND);
    let now = net.now();
    for _ in 0..2 {
        let (id, peer) = net.host(B).accept(now, listener).unwrap();
        let SocketAddr::V6(v6) = peer else { panic!("{peer}") };
        assert_eq!((v6.ip(), v6.port()), (&link_local(1), 5000));
        let mut buffer = [0; 200];
        assert_eq!(net.host(B).recv(now, id, &mut buffer, ReceiveFlags::default()), Ok(100));
        assert_eq!(buffer[..100], [(v6.scope_id() - 1) as u8; 100], "each by its link");
    }
    // A third with the same four and the same link is refused, as ever.
    let other = net.host(A).socket(Domain::Inet6, Kind::Stream).unwrap();
    let reuse = SocketOption::ReuseAddress(true);
    for id in [other, ours[0]] {
        net.host(A).set_option(now, id, reuse).unwrap();
    }
    net.host(A).set_option(now, other, SocketOption::BindToDevice(Some(links[0]))).unwrap();
    let bound = net.host(A).bind(other, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 5000));
    let connected = net.host(A).connect(now, other, scoped(2, PORT, links[0]));
    assert!(bound.is_err() || connected == Err(Error::AddressNotAvailable), "{bound:?} {connected:?}");
}

#[test]
fn a_neighbour_that_does_not_answer_is_told_to_the_connection_of_its_link() {
    let (mut net, links) = two_links();
    let ours = links.map(|link| socket(&mut net, A, 5000, Some(link)));
    let now = net.now();
    // fe80::2 is there on both links, but its port only refuses on the first; fe80::9 is nobody.
    assert_eq!(net.host(A).connect(now, ours[1], scoped(9, PORT, links[1])), Err(Error::InProgress));
    assert_eq!(net.host(A).connect(now, ours[0], scoped(2, PORT, links[0])), Err(Error::InProgress));
    net.run_for(Duration::from_secs(5));
    let now = net.now();
    assert_eq!(net.host(A).connect(now, ours[1], scoped(9, PORT, links[1])), Err(Error::HostUnreachable));
    assert_eq!(net.host(A).connect(now, ours[0], scoped(2, PORT, links[0])), Err(Error::ConnectionRefused));
}

#[test]
fn a_host_reaches_its_own_link_local_address() {
    let (mut net, links) = two_links();
    let listener = socket(&mut net, A, PORT, None);
    net.host(A).listen(listener, 16).unwrap();
    let client = net.host(A).socket(Domain::Inet6, Kind::Stream).unwrap();
    let now = net.now();
    assert_eq!(net.host(A).connect(now, client, scoped(1, PORT, links[1])), Err(Error::InProgress));
    net.run_for(SECOND);
    let now = net.now();
    let (_, peer) = net.host(A).accept(now, listener).unwrap();
    assert_eq!(peer.ip(), IpAddr::V6(link_local(1)));
    assert_eq!(net.host(A).connect(now, client, scoped(1, PORT, links[1])), Ok(()));
}
