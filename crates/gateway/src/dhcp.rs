//! What the gateway's DHCP server leases: the program's address, with the gateway as its router.

use std::net::IpAddr;
use std::time::Duration;

use wireway_dhcp::{Server, ServerConfig};
use wireway_packet::Instant;
use wireway_stack::{Host, InterfaceId};

use crate::GatewayConfig;

/// Nobody else wants the address.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// The server of the IPv4 subnet, if there is one.
pub(crate) fn server(
    host: &mut Host,
    now: Instant,
    interface: InterfaceId,
    config: &GatewayConfig,
) -> wireway_stack::Result<Option<Server>> {
    let subnets = config.subnets.iter().map(|s| (s.gateway, s.program.address, s.dns, s.program.prefix_len));
    let leases = subnets.filter_map(|addresses| match addresses {
        (IpAddr::V4(server), IpAddr::V4(program), IpAddr::V4(dns), prefix_len) => Some(ServerConfig {
            server,
            addresses: vec![program],
            prefix_len,
            routers: vec![server],
            dns: vec![dns],
            mtu: config.mtu,
            lease: LEASE,
        }),
        _ => None,
    });
    leases.take(1).map(|config| Server::new(host, now, interface, config)).next().transpose()
}
