//! What a gateway is told: its network, its resolvers and the ports it publishes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use wireway_stack::{Cidr, Features};
use wireway_wire::MacAddr;

/// The addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The program's address, where published ports lead, with the length of the network's prefix (at most 30 or 126 bits).
    pub program: Cidr,
    /// The gateway's address; connections to it reach the machine's own loopback address.
    pub gateway: IpAddr,
    /// The address at which the gateway answers DNS.
    pub dns: IpAddr,
}

impl Subnet {
    /// 10.0.2.0/24: the program at .15, the gateway at .2 and DNS at .3.
    pub const V4: Subnet = Subnet {
        program: Cidr { address: IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), prefix_len: 24 },
        gateway: IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)),
        dns: IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3)),
    };

    /// fd00:10:0:2::/64 (RFC 4193): the program at ::15, the gateway at ::2 and DNS at ::3.
    pub const V6: Subnet =
        Subnet { program: Cidr { address: local_v6(0x15), prefix_len: 64 }, gateway: local_v6(2), dns: local_v6(3) };

    /// Whether the three addresses can be those of three hosts of one network.
    pub(crate) fn is_valid(&self) -> bool {
        let Cidr { address, prefix_len } = self.program;
        let all = [address, self.gateway, self.dns];
        let inside = all.iter().all(|&a| self.program.contains(a) && a != self.program.network());
        let broadcast = self.program.broadcast().map(IpAddr::V4);
        let distinct = address != self.gateway && address != self.dns && self.gateway != self.dns;
        let longest = if address.is_ipv4() { 30 } else { 126 };
        inside && distinct && !all.iter().any(|&a| Some(a) == broadcast) && (1..=longest).contains(&prefix_len)
    }
}

const fn local_v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0, 2, 0, 0, 0, last))
}

/// How to make a gateway. [`Default`] is the IPv4 half of the network of the command line's default.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The network between program and gateway: one subnet a family, at least one.
    pub subnets: Vec<Subnet>,
    /// The hardware address of the gateway's interface.
    pub mac: MacAddr,
    /// Bytes of the largest IP packet on the network.
    pub mtu: u16,
    /// What the nic does that the gateway's host will be given.
    pub features: Features,
    /// Where DNS queries are forwarded. Empty: to the name servers of `resolv_conf`.
    pub resolvers: Vec<SocketAddr>,
    /// The machine's list of name servers (resolv.conf(5)).
    pub resolv_conf: PathBuf,
    /// Ports of the machine that lead to ports of the program.
    pub publish: Vec<Publish>,
}

impl Default for GatewayConfig {
    /// [`Subnet::V4`]; MTU 1,500; the machine's resolvers.
    fn default() -> Self {
        GatewayConfig {
            subnets: vec![Subnet::V4],
            mac: MacAddr([0x52, 0x54, 0, 0, 2, 2]),
            mtu: 1_500,
            features: Features::default(),
            resolvers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            publish: Vec::new(),
        }
    }
}

/// The transport of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}

/// A port of the machine that leads to a port of the program: `[ADDR:]HOSTPORT:PORT[/tcp|/udp]`.
///
/// Without ADDR it is every address of the machine, of both families, and so it is with `[::]`; HOSTPORT 0 lets the machine
/// choose. An IPv6 ADDR stands in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to listen on the machine.
    pub listen: SocketAddr,
    /// The program's port.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}/{}", self.listen, self.port, self.transport)
    }
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not [ADDR:]HOSTPORT:PORT[/tcp|/udp]");
        let (ports, transport) = match text.rsplit_once('/') {
            None => (text, Transport::Tcp),
            Some((ports, "tcp")) => (ports, Transport::Tcp),
            Some((ports, "udp")) => (ports, Transport::Udp),
            Some(_) => return Err(wrong()),
        };
        let (listen, port) = ports.rsplit_once(':').ok_or_else(wrong)?;
        let port = number(port).filter(|&port| port != 0).ok_or_else(wrong)?;
        let (address, listen_port) = match listen.rsplit_once(':') {
            None => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), listen),
            Some((address, listen_port)) => {
                let v6 = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                let address = match v6 {
                    Some(v6) => IpAddr::V6(v6.parse().map_err(|_| wrong())?),
                    None => IpAddr::V4(address.parse().map_err(|_| wrong())?),
                };
                (address, listen_port)
            }
        };
        let listen_port = number(listen_port).ok_or_else(wrong)?;
        Ok(Publish { listen: SocketAddr::new(address, listen_port), port, transport })
    }
}

/// A port number: digits only (`u16::from_str` would take a plus sign).
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_is_read() {
        let cases = [
            ("8080:80", "[::]:8080", 80, Transport::Tcp),
            ("0:80/tcp", "[::]:0", 80, Transport::Tcp),
            ("127.0.0.1:5353:53/udp", "127.0.0.1:5353", 53, Transport::Udp),
            ("[::1]:1:65535", "[::1]:1", 65_535, Transport::Tcp),
        ];
        for (text, listen, port, transport) in cases {
            let wanted = Publish { listen: listen.parse().expect("test address"), port, transport };
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_publish_is_refused() {
        for text in [
            "",
            "80",
            ":80",
            "80:",
            "80:0",
            "a:80",
            "+1:80",
            "65536:80",
            "80:80/sctp",
            "::1:80:80",
            "localhost:1:2",
            "1.2.3:1:2",
        ] {
            let outcome: Result<Publish, String> = text.parse();
            assert!(outcome.is_err(), "{text}: {outcome:?}");
        }
    }
}
