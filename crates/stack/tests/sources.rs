//! A host with several interfaces: by which one a packet leaves, and from which address (RFC 6724 §5, RFC 1122 §3.3.4.3).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use wireway_packet::Instant;
use wireway_stack::{
    Cidr, Domain, Error, Host, InterfaceConfig, InterfaceId, Kind, RouteEntry, Settings, SocketOption, Vlan,
};
use wireway_wire::{MacAddr, VlanProtocol};

const NOW: Instant = Instant::from_millis(1_000);
const ETH0: InterfaceId = InterfaceId(1);
const ETH1: InterfaceId = InterfaceId(2);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    let (address, len) = text.split_once('/').unwrap();
    Cidr { address: ip(address), prefix_len: len.parse().unwrap() }
}

/// `eth0` and `eth1` with these addresses.
fn host(of_eth0: &[&str], of_eth1: &[&str]) -> Host {
    let mut host = Host::new(Settings { ipv6_dad_transmits: 0, ..Settings::default() }, [1; 32]);
    for (number, addresses) in [(0, of_eth0), (1, of_eth1)] {
        let mac = MacAddr([2, 0, 0, 0, 0, number]);
        let addresses = addresses.iter().map(|text| cidr(text)).collect();
        let config = InterfaceConfig { addresses, ..InterfaceConfig::ethernet(&format!("eth{number}"), mac, 1500) };
        host.add_interface(NOW, config).unwrap();
    }
    host
}

fn by(network: &str, gateway: Option<&str>, interface: InterfaceId, metric: u32) -> RouteEntry {
    RouteEntry { gateway: gateway.map(ip), metric, ..RouteEntry::new(cidr(network), interface) }
}

/// The address from which the host would send to another, as a connected socket tells.
fn source(host: &mut Host, to: &str) -> Result<String, Error> {
    let to = SocketAddr::new(ip(to), 9);
    let id = host.socket(if to.is_ipv4() { Domain::Inet } else { Domain::Inet6 }, Kind::Datagram)?;
    let connected = host.connect(NOW, id, to);
    let name = host.local_addr(id).map(|name| name.ip().to_string());
    host.close(NOW, id)?;
    connected.and(name)
}

#[track_caller]
fn assert_sources(host: &mut Host, expected: &[(&str, &str)]) {
    for &(to, from) in expected {
        assert_eq!(source(host, to).as_deref(), Ok(from), "to {to}");
    }
}

#[test]
fn the_interface_and_the_prefix_choose_the_source() {
    let mut host = host(&["10.0.0.1/16", "fd00::1/32"], &["10.0.1.1/24", "fd00:0:1::1/64"]);
    host.add_route(by("0.0.0.0/0", Some("10.0.1.2"), ETH1, 0)).unwrap();
    host.add_route(by("::/0", Some("fd00:0:1::2"), ETH1, 0)).unwrap();
    assert_sources(
        &mut host,
        &[
            ("10.0.0.9", "10.0.0.1"),
            ("10.0.1.9", "10.0.1.1"),
            ("192.0.2.1", "10.0.1.1"),
            ("fd00:0:2::9", "fd00::1"),
            ("fd00:0:1::9", "fd00:0:1::1"),
            ("2001:db8::1", "fd00:0:1::1"),
        ],
    );
    // A smaller metric, and a route that says from where.
    let better = RouteEntry { source: Some(ip("10.0.1.1")), ..by("0.0.0.0/0", Some("10.0.0.2"), ETH0, 0) };
    host.remove_route(&by("0.0.0.0/0", Some("10.0.1.2"), ETH1, 0)).unwrap();
    host.add_route(by("0.0.0.0/0", Some("10.0.1.2"), ETH1, 5)).unwrap();
    host.add_route(better).unwrap();
    host.add_route(RouteEntry { source: Some(ip("fd00::1")), ..by("2001:db8::/32", Some("fd00:0:1::2"), ETH1, 0) })
        .unwrap();
    assert_sources(&mut host, &[("192.0.2.1", "10.0.1.1"), ("2001:db8::1", "fd00::1"), ("2001:db9::1", "fd00:0:1::1")]);
    // What is left when one goes down.
    host.set_up(NOW, ETH1, false).unwrap();
    assert_sources(&mut host, &[("10.0.1.9", "10.0.0.1"), ("fd00:0:1::9", "fd00::1")]);
    assert_eq!(source(&mut host, "2001:db8::1"), Err(Error::NetworkUnreachable));
}

#[test]
fn an_interface_without_an_address_borrows_one() {
    let mut host = host(&["10.0.0.1/24", "fd00::1/64"], &[]);
    host.add_link_local(NOW, ETH1).unwrap();
    host.add_route(by("10.9.0.0/16", None, ETH1, 0)).unwrap();
    host.add_route(by("fd09::/64", None, ETH1, 0)).unwrap();
    // IPv6's link-local one does not reach so far.
    assert_sources(&mut host, &[("10.9.0.9", "10.0.0.1"), ("fd09::9", "fd00::1")]);
    // But not to say that it has none (RFC 2131 §4.1).
    let id = host.socket(Domain::Inet, Kind::Datagram).unwrap();
    host.set_option(NOW, id, SocketOption::Broadcast(true)).unwrap();
    host.set_option(NOW, id, SocketOption::BindToDevice(Some(ETH1))).unwrap();
    host.send_to(NOW, id, b"x", Some(SocketAddr::from((Ipv4Addr::BROADCAST, 67))), None).unwrap();
    let frames = std::iter::from_fn(|| host.transmit(NOW, ETH1)).map(|frame| frame.to_vec());
    let packet = frames.into_iter().find(|frame| frame[12..14] == [8, 0] && frame[23] == 17).expect("a datagram");
    assert_eq!(packet[26..34], [0, 0, 0, 0, 255, 255, 255, 255]);
}

#[test]
fn a_vlan_has_sources_of_its_own() {
    let mut host = host(&["10.0.0.1/16", "fd00::1/32"], &[]);
    let five = host.add_vlan(NOW, "eth0.5", Vlan { parent: ETH0, protocol: VlanProtocol::Customer, id: 5 }).unwrap();
    host.set_up(NOW, five, true).unwrap();
    for address in ["10.0.5.1/24", "fd00:0:5::1/64"] {
        host.add_address(NOW, five, cidr(address), false).unwrap();
    }
    host.poll(NOW + Duration::from_secs(1));
    assert_sources(
        &mut host,
        &[
            ("10.0.5.9", "10.0.5.1"),
            ("10.0.6.9", "10.0.0.1"),
            ("fd00:0:5::9", "fd00:0:5::1"),
            ("fd00:0:6::9", "fd00::1"),
        ],
    );
}
