//! UDP's sockets by hash, and which of them a datagram is for.
//!
//! Connected sockets are found by all four addresses and ports. Others stand under their address and port; a datagram looks under its
//! destination and under "any" of both families, and Linux's score picks the best: an IPv4 socket before an IPv6 one, and
//! four points each for a bound address and a bound device. Of equals the latest bound gets it, or one of a SO_REUSEPORT group by the
//! hash of the flow. Last come transparent sockets without a port, which take what no other does.

use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use foldhash::fast::FixedState;
use slab::Slab;
use smallvec::SmallVec;

use crate::InterfaceId;
use crate::rng::{Map, Rng};
use crate::socket::Domain;
use crate::socket::datagram::DatagramSocket;

type Indices = SmallVec<[u32; 2]>;

/// Where a socket stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Connected { local: SocketAddr, peer: SocketAddr },
    Bound(SocketAddr),
    AnyPort,
}

/// What a datagram is looked up by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub interface: InterfaceId,
    /// The destination is the host's own; else only transparent sockets may have it.
    pub own: bool,
}

pub(super) struct Table {
    places: Map<Place, Indices>,
    hash: FixedState,
}

impl Table {
    pub fn new(rng: &mut Rng) -> Table {
        Table { places: rng.map(), hash: rng.hash_state() }
    }

    pub fn insert(&mut self, place: Place, index: u32) {
        self.places.entry(place).or_default().push(index);
    }

    pub fn remove(&mut self, place: Place, index: u32) {
        let Some(indices) = self.places.get_mut(&place) else { return };
        indices.retain(|&mut i| i != index);
        if indices.is_empty() {
            self.places.remove(&place);
        }
    }

    /// The sockets at a place that may have what `key` stands for.
    fn at<'a>(
        &'a self,
        place: Place,
        sockets: &'a Slab<DatagramSocket>,
        key: &'a Key,
    ) -> impl DoubleEndedIterator<Item = (u32, &'a DatagramSocket)> + 'a {
        let indices = self.places.get(&place).map(|indices| &indices[..]).unwrap_or_default();
        indices.iter().filter_map(move |&index| {
            let socket = sockets.get(index as usize)?;
            let v6_only = socket.options.v6_only && key.local.is_ipv4();
            let fits = socket.takes_from(key.interface) && !v6_only && (key.own || socket.options.transparent);
            fits.then_some((index, socket))
        })
    }

    fn bound_places(key: &Key) -> [Place; 3] {
        let port = key.local.port();
        let any = |ip: IpAddr| Place::Bound(SocketAddr::new(ip, port));
        [Place::Bound(key.local), any(Ipv4Addr::UNSPECIFIED.into()), any(Ipv6Addr::UNSPECIFIED.into())]
    }

    /// The socket that a datagram is for.
    pub fn find(&self, sockets: &Slab<DatagramSocket>, key: &Key) -> Option<u32> {
        let connected = self.at(Place::Connected { local: key.local, peer: key.peer }, sockets, key);
        // One bound to the device before one that is not; the latest of equals.
        if let Some((index, _)) = connected.max_by_key(|(_, s)| s.options.bind_to_device.is_some()) {
            return Some(index);
        }
        let mut best: Option<(u32, u32)> = None;
        let mut group = Indices::new();
        for place in Self::bound_places(key) {
            for (index, socket) in self.at(place, sockets, key) {
                let points = score(socket);
                if best.is_some_and(|(_, top)| points < top) {
                    continue;
                }
                if best.is_none_or(|(_, top)| points > top) {
                    group.clear();
                }
                best = Some((index, points));
                if socket.options.reuse_port {
                    group.push(index);
                }
            }
        }
        if group.len() > 1 && best.is_some_and(|(index, _)| group.contains(&index)) {
            return group.get(self.hash.hash_one((key.local, key.peer)) as usize % group.len()).copied();
        }
        let bound = best.map(|(index, _)| index);
        bound.or_else(|| self.at(Place::AnyPort, sockets, key).next_back().map(|(index, _)| index))
    }

    /// All sockets that a broadcast or multicast datagram is for.
    pub fn find_all(&self, sockets: &Slab<DatagramSocket>, key: &Key) -> Indices {
        let connected = self.at(Place::Connected { local: key.local, peer: key.peer }, sockets, key);
        let bound = Self::bound_places(key).into_iter().flat_map(|place| self.at(place, sockets, key));
        let mut all: Indices = connected.chain(bound).map(|(index, _)| index).collect();
        if all.is_empty() {
            all.extend(self.at(Place::AnyPort, sockets, key).map(|(index, _)| index));
        }
        all
    }
}

/// Linux's compute_score, without what all candidates have in common.
fn score(socket: &DatagramSocket) -> u32 {
    let family = u32::from(socket.domain == Domain::Inet);
    let address = 4 * u32::from(!socket.local.ip().is_unspecified());
    family + address + 4 * u32::from(socket.options.bind_to_device.is_some())
}
