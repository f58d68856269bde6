//! Where name look-ups go: programs ask the servers that the machine's resolv.conf(5) names, and others answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use wireway::gateway::ResolvConf;
use wireway::packet::Instant;
use wireway::stack::{Host, InterfaceId};

/// RFC 1035 §4.2
pub const PORT: u16 = 53;

/// How name look-ups reach a resolver.
pub struct Resolver {
    /// The machine's list of name servers, and those that it names now.
    resolv_conf: ResolvConf,
    asked: Vec<SocketAddr>,
    /// Who answers: the gateway's, or what `--dns` says. If nobody, those that follow.
    said: Vec<SocketAddr>,
    /// Of DHCP leases, each with its interface.
    leased: Vec<(InterfaceId, SocketAddr)>,
    /// What routers advertise (RFC 8106).
    advertised: Vec<SocketAddr>,
    /// What DHCPv6 says.
    informed: Vec<(InterfaceId, SocketAddr)>,
}

impl Resolver {
    /// With these servers, or those that the network will name.
    pub fn new(said: Vec<IpAddr>) -> Resolver {
        let (resolv_conf, asked) = ResolvConf::read(Path::new("/etc/resolv.conf"));
        let said = said.into_iter().map(|server| SocketAddr::new(server, PORT)).collect();
        Resolver { resolv_conf, asked, said, leased: Vec::new(), advertised: Vec::new(), informed: Vec::new() }
    }

    /// Questions for the machine's name servers go to those that answer here.
    pub fn redirect(&self, host: &mut Host) {
        let [leased, informed] = [&self.leased, &self.informed].map(|list| list.iter().map(|(_, server)| server));
        let named = leased.chain(&self.advertised).chain(informed);
        let servers: Vec<SocketAddr> = if self.said.is_empty() { named.copied().collect() } else { self.said.clone() };
        host.redirect(pair(&self.asked, &servers));
    }

    /// A name is about to be looked up: follows the machine's list, and the routers.
    pub fn follow(&mut self, host: &mut Host, now: Instant) {
        if let Some(asked) = self.resolv_conf.changed(now) {
            self.asked = asked;
            self.redirect(host);
        }
        self.look(host);
    }

    /// A lease names these servers.
    pub fn lease(&mut self, host: &mut Host, interface: InterfaceId, servers: &[Ipv4Addr]) {
        self.leased.retain(|&(of, _)| of != interface);
        self.leased.extend(servers.iter().map(|&server| (interface, SocketAddr::from((server, PORT)))));
        self.redirect(host);
    }

    /// DHCPv6 names these servers.
    pub fn inform(&mut self, host: &mut Host, interface: InterfaceId, servers: &[Ipv6Addr]) {
        let servers: Vec<_> = servers.iter().map(|&server| (interface, on(interface, server))).collect();
        if !self.informed.iter().filter(|&&(of, _)| of == interface).eq(&servers) {
            self.informed.retain(|&(of, _)| of != interface);
            self.informed.extend(servers);
            self.redirect(host);
        }
    }

    /// The IPv6 servers that the network names now.
    pub fn look(&mut self, host: &mut Host) -> Vec<IpAddr> {
        let servers = host.name_servers().into_iter().map(|(interface, server)| on(interface, server)).collect();
        if self.advertised != servers {
            self.advertised = servers;
            self.redirect(host);
        }
        self.advertised.iter().chain(self.informed.iter().map(|(_, server)| server)).map(SocketAddr::ip).collect()
    }
}

/// Who answers for whom: the first for the first and so on, of one family where there is one, and from the beginning again when there are fewer. So
/// a program that tries one after the other does so here too.
fn pair(asked: &[SocketAddr], servers: &[SocketAddr]) -> Vec<(SocketAddr, SocketAddr)> {
    let instead = |(nth, asked): (usize, &SocketAddr)| {
        let of_family = servers.iter().copied().filter(|server| server.is_ipv4() == asked.is_ipv4());
        let mut choice: Vec<SocketAddr> = of_family.collect();
        if choice.is_empty() {
            choice = servers.to_vec();
        }
        choice.get(nth % choice.len().max(1)).map(|&server| (*asked, server))
    };
    asked.iter().enumerate().filter_map(instead).collect()
}

/// A server on an interface's link, or beyond.
fn on(interface: InterfaceId, server: Ipv6Addr) -> SocketAddr {
    // A scope id is Linux's number of the interface (RFC 4007 §11).
    let scope = if server.is_unicast_link_local() { u32::from(interface.0) + 1 } else { 0 };
    SocketAddrV6::new(server, PORT, 0, scope).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_is_asked_has_one_that_answers() {
        let pairs = |asked: &[&str], servers: &[&str]| {
            let parse =
                |all: &[&str]| all.iter().map(|a| SocketAddr::new(a.parse().unwrap(), PORT)).collect::<Vec<_>>();
            let pairs = pair(&parse(asked), &parse(servers));
            pairs.iter().map(|(_, server)| server.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(pairs(&["127.0.0.53"], &["10.0.2.3", "fd00::3"]), ["10.0.2.3"]);
        assert_eq!(pairs(&["127.0.0.53", "::1"], &["10.0.2.3", "fd00::3"]), ["10.0.2.3", "fd00::3"]);
        assert_eq!(
            pairs(&["192.0.2.1", "192.0.2.2", "192.0.2.3"], &["10.0.0.5", "10.0.0.6"]),
            ["10.0.0.5", "10.0.0.6", "10.0.0.5"]
        );
        assert_eq!(pairs(&["192.0.2.1", "192.0.2.2"], &["fd00::5", "fd00::6"]), ["fd00::5", "fd00::6"]);
        assert!(pairs(&["192.0.2.1"], &[]).is_empty());
    }
}
