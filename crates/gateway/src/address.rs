//! Where an address of the program's network leads on the machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wireway_wire::icmpv4::unreachable;

use crate::GatewayConfig;

/// The port of DNS (RFC 1035 §4.2).
pub(crate) const DNS_PORT: u16 = 53;

/// Where a destination leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// To this address, over the machine's sockets.
    Machine(SocketAddr),
    /// To the gateway's DNS forwarder.
    Resolver,
    /// To an address of the gateway on which nothing answers.
    Closed,
    /// Nowhere: ICMP destination unreachable with this code.
    Unreachable(u8),
    /// To many at once, which is not relayed.
    Many,
}

/// The mapping between both sides.
pub(crate) struct Map {
    network: u32,
    mask: u32,
    pub gateway: Ipv4Addr,
    pub program: Ipv4Addr,
    dns: Ipv4Addr,
    /// The machine's own name servers: DNS to them is the gateway's to answer.
    resolvers: Vec<IpAddr>,
}

impl Map {
    pub fn new(config: &GatewayConfig, resolvers: Vec<IpAddr>) -> Map {
        let mask = u32::MAX.checked_shl(32 - u32::from(config.prefix_len.min(32))).unwrap_or(0);
        Map {
            network: config.network.to_bits() & mask,
            mask,
            gateway: config.gateway,
            program: config.program,
            dns: config.dns,
            resolvers,
        }
    }

    /// The machine has other name servers now.
    pub fn set_resolvers(&mut self, resolvers: Vec<IpAddr>) {
        self.resolvers = resolvers;
    }

    /// Where a packet for `destination` leads. The port matters for DNS only.
    pub fn far(&self, destination: SocketAddr) -> Far {
        let IpAddr::V4(address) = destination.ip() else { return Far::Unreachable(unreachable::NETWORK) };
        let port = destination.port();
        if port == DNS_PORT && (address == self.dns || self.resolvers.contains(&destination.ip())) {
            return Far::Resolver;
        }
        if address == self.gateway {
            return Far::Machine(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        if address == self.dns {
            return Far::Closed;
        }
        if address.is_broadcast() || address.is_multicast() || address.to_bits() == self.network | !self.mask {
            return Far::Many;
        }
        if self.is_inside(address) {
            return Far::Unreachable(unreachable::HOST);
        }
        if address.is_loopback() || address.octets()[0] == 0 || address.octets()[0] >= 240 {
            return Far::Unreachable(unreachable::NETWORK);
        }
        Far::Machine(destination)
    }

    /// The address under which the program sees a peer of a published port: the true one if it can answer it, else the gateway's.
    pub fn near(&self, peer: IpAddr) -> Ipv4Addr {
        match peer.to_canonical() {
            IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_unspecified() && !self.is_inside(v4) => v4,
            _ => self.gateway,
        }
    }

    fn is_inside(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Map {
        let resolvers = vec![IpAddr::from([192, 0, 2, 53]), IpAddr::from([127, 0, 0, 53])];
        Map::new(&GatewayConfig::default(), resolvers)
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
            ("10.0.2.77:80", Far::Unreachable(1)),
            ("10.0.2.0:80", Far::Unreachable(1)),
            ("127.0.0.1:80", Far::Unreachable(0)),
            ("0.0.0.0:80", Far::Unreachable(0)),
            ("240.0.0.1:80", Far::Unreachable(0)),
            ("10.0.2.255:80", Far::Many),
            ("255.255.255.255:80", Far::Many),
            ("224.0.0.251:5353", Far::Many),
            ("[2001:db8::1]:80", Far::Unreachable(0)),
        ];
        for (destination, far) in cases {
            assert_eq!(map().far(destination.parse().expect("test address")), far, "{destination}");
        }
    }

    #[test]
    fn peers_of_published_ports() {
        let cases = [
            ("192.0.2.9", [192, 0, 2, 9]),
            ("::ffff:192.0.2.9", [192, 0, 2, 9]),
            ("127.0.0.1", [10, 0, 2, 2]),
            ("::1", [10, 0, 2, 2]),
            ("2001:db8::1", [10, 0, 2, 2]),
            ("10.0.2.15", [10, 0, 2, 2]),
        ];
        for (peer, near) in cases {
            assert_eq!(map().near(peer.parse().expect("test address")), Ipv4Addr::from(near), "{peer}");
        }
    }
}
