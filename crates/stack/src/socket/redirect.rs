//! Servers that answer under an address that leads elsewhere: a name server of the machine, such as 127.0.0.53, that the program's
//! configuration names and that its host cannot reach by that address.
//!
//! A call that names such an address is carried out with the other one; what comes back is shown under the address that was
//! asked, because resolvers throw away answers from strangers. A loopback address is the host's own again while one of its sockets
//! has the port. The server may be of the other family; a datagram socket of IPv4 has to be connected to it then, as those of most
//! resolvers are.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV6};

use super::address::is_nameable;
use super::{Domain, SocketFamily, SocketId};
use crate::rng::{Map, Rng};
use crate::{Host, Result};

pub(crate) struct Redirects {
    rules: Vec<(SocketAddr, SocketAddr)>,
    /// What the program last asked by a socket, as it wrote it.
    asked: Map<SocketId, SocketAddr>,
}

impl Redirects {
    pub fn new(rng: &mut Rng) -> Redirects {
        Redirects { rules: Vec::new(), asked: rng.map() }
    }

    /// The address to show for `peer` on this socket.
    pub fn shown(&self, id: SocketId, peer: SocketAddr) -> SocketAddr {
        // A socket of IPv4 that was led to a server of IPv6 cannot say its address.
        let unsayable =
            |to: &SocketAddr| to.is_ipv6() && to.port() == peer.port() && peer.ip() == Ipv4Addr::UNSPECIFIED;
        if self.asked.is_empty() || !self.rules.iter().any(|(_, to)| *to == canonical(peer) || unsayable(to)) {
            return peer;
        }
        self.asked.get(&id).copied().unwrap_or(peer)
    }

    pub fn forget(&mut self, id: SocketId) {
        if !self.asked.is_empty() {
            self.asked.remove(&id);
        }
    }
}

/// Without v4-mapping. A link-local address keeps its scope.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into()
        }
        other => SocketAddr::new(other.ip().to_canonical(), other.port()),
    }
}

impl Host {
    /// From now on the first address of each rule is answered by the second, for TCP and UDP, unless it is a loopback address and a socket
    /// of this host has its port. Programs see the first only. Rules that were given before end.
    pub fn redirect(&mut self, rules: impl IntoIterator<Item = (SocketAddr, SocketAddr)>) {
        self.redirects.rules = rules.into_iter().map(|(asked, to)| (canonical(asked), canonical(to))).collect();
    }

    /// Where a call of this socket that names `peer` leads. EAFNOSUPPORT if it cannot name it.
    pub(super) fn led(&mut self, id: SocketId, peer: SocketAddr) -> Result<SocketAddr> {
        if peer.is_ipv6() {
            // What a socket shows of its address tells its family.
            let domain = if self.local_addr(id)?.is_ipv4() { Domain::Inet } else { Domain::Inet6 };
            is_nameable(domain, peer)?;
        }
        Ok(self.redirected(id, peer))
    }

    fn redirected(&mut self, id: SocketId, peer: SocketAddr) -> SocketAddr {
        let wanted = canonical(peer);
        let Some((_, to)) = self.redirects.rules.iter().find(|(asked, _)| *asked == wanted).copied() else {
            return peer;
        };
        let own = match id.family {
            SocketFamily::Tcp => self.tcp.has_port(wanted),
            SocketFamily::Udp => self.udp.has_port(wanted),
            SocketFamily::Raw => return peer,
        };
        if own && wanted.ip().is_loopback() {
            return peer;
        }
        self.redirects.asked.insert(id, peer);
        to
    }
}
