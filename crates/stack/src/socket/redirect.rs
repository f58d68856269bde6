//! Servers that answer under an address that leads elsewhere: a name server of the machine, such as 127.0.0.53, that the program's
//! configuration names and that its host cannot reach by that address.
//!
//! A call that names such an address is carried out with the other one; what comes back is shown under the address that was
//! asked, because resolvers throw away answers from strangers. A loopback address is the host's own again while one of its sockets
//! has the port.

use core::net::SocketAddr;

use super::{SocketFamily, SocketId};
use crate::Host;
use crate::rng::{Map, Rng};

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
        if self.asked.is_empty() || !self.rules.iter().any(|(_, to)| *to == canonical(peer)) {
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

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Host {
    /// From now on the first address of each rule is answered by the second, for TCP and UDP, unless it is a loopback address and a socket
    /// of this host has its port. Programs see the first only. Rules that were given before end.
    pub fn redirect(&mut self, rules: impl IntoIterator<Item = (SocketAddr, SocketAddr)>) {
        self.redirects.rules = rules.into_iter().map(|(asked, to)| (canonical(asked), canonical(to))).collect();
    }

    /// Where a call of this socket that names `peer` leads.
    pub(super) fn redirected(&mut self, id: SocketId, peer: SocketAddr) -> SocketAddr {
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
