//! UDP's sockets by hash, and which of them a datagram is for.
//!
//! Connected sockets are found by all four addresses and ports. Others stand under their address and port; a datagram looks under its
//! destination and under "any" of both families, and Linux's score picks the best: an IPv4 socket before an IPv6 one, and
//! four points each for a bound address and a bound device. Of equals the latest bound gets it, or one of a SO_REUSEPORT group by the
//! hash of the flow. Last come transparent sockets without a port, which take what no other does.

use core::hash::{BuildHasher, Hash};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use foldhash::fast::FixedState;
use slab::Slab;
use smallvec::SmallVec;

use crate::InterfaceId;
use crate::rng::{Map, Rng};
use crate::socket::Domain;
use crate::socket::address::{covers, unspecified};
use crate::socket::datagram::DatagramSocket;

type Indices = SmallVec<[u32; 2]>;

/// Where a socket stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// An address as a number: IPv4 as v4-mapped, so that the two "any" differ.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => 0xffff_0000_0000 | u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Both addresses, and both ports in one.
fn both(local: SocketAddr, peer: SocketAddr) -> (u128, u128, u32) {
    (bits(local.ip()), bits(peer.ip()), u32::from(local.port()) << 16 | u32::from(peer.port()))
}

pub(super) struct Table {
    connected: Map<(u128, u128, u32), Indices>,
    /// Bound to an address, to any IPv4 one, to any of both families. What is empty costs nothing to look in.
    exact: Map<(u128, u16), Indices>,
    any4: Map<u16, Indices>,
    any6: Map<u16, Indices>,
    any_port: Indices,
    hash: FixedState,
}

impl Table {
    pub fn new(rng: &mut Rng) -> Table {
        Table {
            connected: rng.map(),
            exact: rng.map(),
            any4: rng.map(),
            any6: rng.map(),
            any_port: Indices::new(),
            hash: rng.hash_state(),
        }
    }

    pub fn insert(&mut self, place: Place, index: u32) {
        match place {
            Place::Connected { local, peer } => self.connected.entry(both(local, peer)).or_default(),
            Place::Bound(local) => match local.ip() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => self.any4.entry(local.port()).or_default(),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => self.any6.entry(local.port()).or_default(),
                ip => self.exact.entry((bits(ip), local.port())).or_default(),
            },
            Place::AnyPort => &mut self.any_port,
        }
        .push(index);
    }

    pub fn remove(&mut self, place: Place, index: u32) {
        match place {
            Place::Connected { local, peer } => remove(&mut self.connected, both(local, peer), index),
            Place::Bound(local) => match local.ip() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => remove(&mut self.any4, local.port(), index),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => remove(&mut self.any6, local.port(), index),
                ip => remove(&mut self.exact, (bits(ip), local.port()), index),
            },
            Place::AnyPort => self.any_port.retain(|&mut i| i != index),
        }
    }

    /// The sockets connected so.
    fn connected(&self, key: &Key) -> &[u32] {
        self.connected.get(&both(key.local, key.peer)).map(|indices| &indices[..]).unwrap_or_default()
    }

    /// The sockets bound so, in three lists.
    fn bound(&self, key: &Key) -> [&[u32]; 3] {
        let port = key.local.port();
        // "Any IPv4 address" is none of IPv6's.
        let any4 = if key.local.is_ipv4() { self.any4.get(&port) } else { None };
        let lists = [self.exact.get(&(bits(key.local.ip()), port)), any4, self.any6.get(&port)];
        lists.map(|list| list.map(|indices| &indices[..]).unwrap_or_default())
    }

    /// The socket that a datagram is for.
    pub fn find(&self, sockets: &Slab<DatagramSocket>, key: &Key) -> Option<u32> {
        // One bound to the device before one that is not; the latest of equals.
        let connected = fitting(self.connected(key), sockets, key);
        if let Some((index, _)) = connected.max_by_key(|(_, s)| s.options.bind_to_device.is_some()) {
            return Some(index);
        }
        let mut best: Option<(u32, u32)> = None;
        let mut group = Indices::new();
        for list in self.bound(key) {
            for (index, socket) in fitting(list, sockets, key) {
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
            return group.get(self.hash.hash_one(both(key.local, key.peer)) as usize % group.len()).copied();
        }
        let bound = best.map(|(index, _)| index);
        bound.or_else(|| self.of_any_port(sockets, key).next_back().map(|(index, _)| index))
    }

    /// Sockets for any port, of the datagram's family or of both.
    fn of_any_port<'a>(
        &'a self,
        sockets: &'a Slab<DatagramSocket>,
        key: &'a Key,
    ) -> impl DoubleEndedIterator<Item = (u32, &'a DatagramSocket)> {
        let covered =
            |socket: &DatagramSocket| covers(unspecified(socket.domain), socket.options.v6_only, key.local.ip());
        fitting(&self.any_port, sockets, key).filter(move |(_, socket)| covered(socket))
    }

    /// All sockets that a broadcast or multicast datagram is for.
    pub fn find_all(&self, sockets: &Slab<DatagramSocket>, key: &Key) -> Indices {
        let [exact, any4, any6] = self.bound(key);
        let lists = [self.connected(key), exact, any4, any6];
        let (group, source) = (key.local.ip(), key.peer.ip());
        let wanted =
            |socket: &DatagramSocket| !group.is_multicast() || socket.multicast.takes(key.interface, group, source);
        let all = lists.into_iter().flat_map(|list| fitting(list, sockets, key)).filter(|(_, socket)| wanted(socket));
        let mut all: Indices = all.map(|(index, _)| index).collect();
        if all.is_empty() {
            all.extend(self.of_any_port(sockets, key).map(|(index, _)| index));
        }
        all
    }
}

/// Those of a list that may have what `key` stands for.
fn fitting<'a>(
    list: &'a [u32],
    sockets: &'a Slab<DatagramSocket>,
    key: &'a Key,
) -> impl DoubleEndedIterator<Item = (u32, &'a DatagramSocket)> + 'a {
    list.iter().filter_map(move |&index| {
        let socket = sockets.get(index as usize)?;
        let v6_only = socket.options.v6_only && key.local.is_ipv4();
        let fits = socket.takes_from(key.interface) && !v6_only && (key.own || socket.options.transparent);
        fits.then_some((index, socket))
    })
}

fn remove<K: Hash + Eq>(lists: &mut Map<K, Indices>, key: K, index: u32) {
    if let Some(indices) = lists.get_mut(&key) {
        indices.retain(|&mut i| i != index);
        if indices.is_empty() {
            lists.remove(&key);
        }
    }
}

/// Linux's compute_score, without what all candidates have in common.
fn score(socket: &DatagramSocket) -> u32 {
    let family = u32::from(socket.domain == Domain::Inet);
    let address = 4 * u32::from(!socket.local.ip().is_unspecified());
    family + address + 4 * u32::from(socket.options.bind_to_device.is_some())
}
