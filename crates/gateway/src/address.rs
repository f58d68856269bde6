//! Where an address of the program's network leads on the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wireway_stack::Unreachable;

use crate::{GatewayConfig, Subnet};

/// The port of DNS (RFC 1035 §4.2).
pub(crate) const DNS_PORT: u16 = 53;

/// An IPv4 address as such: sockets of both families show it v4-mapped.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Where a destination leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// To this address, over the machine's sockets.
    Machine(SocketAddr),
    /// To the gateway's DNS forwarder.
    Resolver,
    /// To an address of the gateway on which nothing answers.
    Closed,
    /// Nowhere: ICMP destination unreachable.
    Unreachable(Unreachable),
    /// To many at once, which is not relayed.
    Many,
}

/// The mapping between both sides.
pub(crate) struct Map {
    subnets: Vec<Subnet>,
    /// The machine's own name servers: DNS to them is the gateway's to answer.
    resolvers: Vec<IpAddr>,
}

impl Map {
    pub fn new(config: &GatewayConfig, resolvers: Vec<IpAddr>) -> Map {
        Map { subnets: config.subnets.clone(), resolvers }
    }

    /// The machine has other name servers now.
    pub fn set_resolvers(&mut self, resolvers: Vec<IpAddr>) {
        self.resolvers = resolvers;
    }

    /// Where a packet for `destination` leads. The port matters for DNS only.
    pub fn far(&self, destination: SocketAddr) -> Far {
        let (address, port) = (destination.ip(), destination.port());
        let Some(subnet) = self.subnet(address.is_ipv6()) else { return Far::Unreachable(Unreachable::Network) };
        if port == DNS_PORT && (address == subnet.dns || self.resolvers.contains(&address)) {
            return Far::Resolver;
        }
        if address == subnet.gateway {
            let loopback = match address {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
            };
            return Far::Machine(SocketAddr::new(loopback, port));
        }
        if address == subnet.dns {
            return Far::Closed;
        }
        if address.is_multicast() || is_broadcast(subnet, address) {
            return Far::Many;
        }
        if subnet.program.contains(address) || is_link_local(address) {
            return Far::Unreachable(Unreachable::Host);
        }
        if is_nowhere(address) {
            return Far::Unreachable(Unreachable::Network);
        }
        Far::Machine(destination)
    }

    /// The address under which the program sees a peer of a published port: the true one if it can answer it, else the gateway's.
    pub fn near(&self, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        let Some(subnet) = self.subnet(peer.is_ipv6()).or(self.subnets.first()) else { return peer };
        let answerable = peer.is_ipv6() == subnet.gateway.is_ipv6()
            && !(peer.is_loopback() || peer.is_unspecified() || is_link_local(peer) || subnet.program.contains(peer));
        if answerable { peer } else { subnet.gateway }
    }

    /// The program's address for a peer that it sees as `near`.
    pub fn program(&self, near: IpAddr) -> IpAddr {
        self.subnet(near.is_ipv6()).map_or(near, |subnet| subnet.program.address)
    }

    /// The gateway's and the program's address in the other family than `near`'s.
    pub fn other_family(&self, near: IpAddr) -> Option<(IpAddr, IpAddr)> {
        self.subnet(near.is_ipv4()).map(|subnet| (subnet.gateway, subnet.program.address))
    }

    /// Whether the gateway's host answers for this address itself.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.gateway == address || subnet.dns == address)
    }

    fn subnet(&self, v6: bool) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.gateway.is_ipv6() == v6)
    }
}

fn is_broadcast(subnet: &Subnet, address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast() || subnet.program.broadcast() == Some(v4))
}

/// Addresses of the link alone: fe80::/10 (RFC 4291 §2.5.6). (169.254.0.0/16 the machine may route, as clouds do.)
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// What is never on the wire, or is for no host.
fn is_nowhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.to_ipv4_mapped().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Map {
        let resolvers = vec![IpAddr::from([192, 0, 2, 53]), IpAddr::from([127, 0, 0, 53])];
        let subnets = vec![Subnet::V4, Subnet::V6];
        Map::new(&GatewayConfig { subnets, ..GatewayConfig::default() }, resolvers)
    }

    #[test]
    fn destinations() {
        let cases = [
            ("10.0.2.2:80", Far::Machine(SocketAddr::from(([127, 0, 0, 1], 80)))),
            ("192.0.2.1:80", Far::Machine(SocketAddr::from(([192, 0, 2, 1], 80)))),
            ("10.0.3.1:80", Far::Machine(SocketAddr::from(([10, 0, 3, 1], 80)))),
            ("10.0.2.3:53", Far::Resolver),
            ("192.0.2.53:53", Far::Resolver),
            ("127.0.0.53:53", Far::Resolver),
            ("192.0.2.53:853", Far::Machine(SocketAddr::from(([192, 0, 2, 53], 853)))),
            ("10.0.2.3:80", Far::Closed),
            ("10.0.2.77:80", Far::Unreachable(Unreachable::Host)),
            ("10.0.2.0:80", Far::Unreachable(Unreachable::Host)),
            ("127.0.0.1:80", Far::Unreachable(Unreachable::Network)),
            ("0.0.0.0:80", Far::Unreachable(Unreachable::Network)),
            ("240.0.0.1:80", Far::Unreachable(Unreachable::Network)),
            ("10.0.2.255:80", Far::Many),
            ("255.255.255.255:80", Far::Many),
            ("224.0.0.251:5353", Far::Many),
            ("[2001:db8::1]:80", Far::Machine("[2001:db8::1]:80".parse().expect("test address"))),
            ("[fd00:10:0:2::2]:80", Far::Machine("[::1]:80".parse().expect("test address"))),
            ("[fd00:10:0:2::3]:53", Far::Resolver),
            ("[fd00:10:0:2::3]:80", Far::Closed),
            ("[fd00:10:0:2::77]:80", Far::Unreachable(Unreachable::Host)),
            ("[fe80::1]:80", Far::Unreachable(Unreachable::Host)),
            ("[::1]:80", Far::Unreachable(Unreachable::Network)),
            ("[::]:80", Far::Unreachable(Unreachable::Network)),
            ("[ff02::fb]:5353", Far::Many),
        ];
        for (destination, far) in cases {
            assert_eq!(map().far(destination.parse().expect("test address")), far, "{destination}");
        }
    }

    #[test]
    fn peers_of_published_ports() {
        let cases = [
            ("192.0.2.9", "192.0.2.9"),
            ("::ffff:192.0.2.9", "192.0.2.9"),
            ("127.0.0.1", "10.0.2.2"),
            ("::1", "fd00:10:0:2::2"),
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1", "fd00:10:0:2::2"),
            ("10.0.2.15", "10.0.2.2"),
            ("fd00:10:0:2::15", "fd00:10:0:2::2"),
        ];
        for (peer, near) in cases {
            assert_eq!(map().near(peer.parse().expect("test address")).to_string(), near, "{peer}");
        }
        let v4_alone = Map::new(&GatewayConfig { subnets: vec![Subnet::V4], ..GatewayConfig::default() }, Vec::new());
        assert_eq!(v4_alone.near(Ipv6Addr::LOCALHOST.into()), Subnet::V4.gateway);
    }
}
