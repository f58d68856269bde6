//! The gateway's DHCP server: a host that knows nothing is told all.

mod common;

use std::net::{Ipv4Addr, SocketAddr};

use common::Rig;
use wireway_dhcp::{Client, ClientConfig, ClientEvent};
use wireway_gateway::{GatewayConfig, Subnet};
use wireway_stack::{Error, InterfaceId};

const ETH0: InterfaceId = InterfaceId(1);

#[test]
fn a_host_without_an_address_gets_the_programs() {
    let rig = Rig::with(GatewayConfig { mtu: 1400, ..GatewayConfig::default() });
    let mut client = None;
    let lease = rig.until(move |cx| {
        let now = cx.now;
        let client = client.get_or_insert_with(|| {
            for route in cx.host.routes() {
                let _ = cx.host.remove_route(&route);
            }
            let _ = cx.host.remove_address(ETH0, Subnet::V4.program);
            Client::new(cx.host, now, ETH0, ClientConfig { probe: false }, [3; 32]).expect("client")
        });
        client.poll(now, cx.host);
        match client.next_event()? {
            ClientEvent::Bound(lease) => Some(lease),
            other => panic!("{other:?}"),
        }
    });
    let (gateway, dns) = (Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3));
    assert_eq!((lease.address, lease.server, lease.mtu), (Subnet::V4.program, gateway, Some(1400)));
    assert_eq!((lease.routers, lease.dns), (vec![gateway], vec![dns]));
    // The route leads to the world.
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listens");
    let port = listener.local_addr().expect("has an address").port();
    rig.connect(SocketAddr::from((gateway, port))).expect("connects");
    assert_eq!(rig.connect(SocketAddr::from((Ipv4Addr::new(240, 0, 0, 1), 1))).err(), Some(Error::NetworkUnreachable));
    let remains = rig.stop();
    assert_eq!(remains.held.flows, 0, "DHCP is not relayed");
}
