//! The gateway's router advertisements: a host that knows nothing of IPv6 is told all (RFC 4861 §6.2, RFC 4862, RFC 8106).

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use common::Rig;
use wireway_gateway::{GatewayConfig, Subnet};
use wireway_stack::InterfaceId;

const ETH0: InterfaceId = InterfaceId(1);

fn both() -> GatewayConfig {
    GatewayConfig { subnets: vec![Subnet::V4, Subnet::V6], mtu: 1400, ..GatewayConfig::default() }
}

#[test]
fn a_host_makes_itself_an_address_and_reaches_the_machine() {
    let rig = Rig::with_autoconf(both());
    let (address, servers) = rig.until(|cx| {
        let made = cx.host.addresses(ETH0).into_iter().find(|made| Subnet::V6.program.contains(made.cidr.address))?;
        let servers: Vec<IpAddr> = cx.host.name_servers().into_iter().map(|(_, server)| server.into()).collect();
        (!servers.is_empty()).then_some((made, servers))
    });
    assert_eq!(address.cidr.prefix_len, 64);
    assert!(address.lifetimes.is_some(), "it is of an advertised prefix");
    assert_eq!(servers, [Subnet::V6.dns]);
    let router = rig.until(|cx| {
        cx.host.routes().into_iter().find(|r| r.destination.prefix_len == 0 && r.destination.address.is_ipv6())
    });
    assert!(matches!(router.gateway, Some(IpAddr::V6(v6)) if v6.is_unicast_link_local()), "{router:?}");

    let listener = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("listens");
    let port = listener.local_addr().expect("has an address").port();
    rig.connect(SocketAddr::new(Subnet::V6.gateway, port)).expect("connects");
    rig.stop();
}
