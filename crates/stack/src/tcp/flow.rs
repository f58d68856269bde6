//! A flow: the two ends of a connection, by which received segments find it.

use core::fmt;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hashbrown::hash_map::Entry;
use siphasher::sip::SipHasher24;

use crate::InterfaceId;
use crate::rng::{Map, Rng};

/// One end of a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

impl Endpoint {
    pub fn new(address: IpAddr, port: u16) -> Endpoint {
        Endpoint { address, port }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(end: Endpoint) -> SocketAddr {
        SocketAddr::new(end.address, end.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SocketAddr::from(*self))
    }
}

/// Local and remote end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flow {
    pub local: Endpoint,
    pub remote: Endpoint,
    /// The link that a link-local address is one of (RFC 4007 §6); else, and for what stays in the host, `lo`.
    pub link: InterfaceId,
}

/// A flow as integers, for the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlowKey {
    V4(KeyV4),
    V6(KeyV6),
}

/// Both addresses, the local one above, and both ports likewise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct KeyV4 {
    addresses: u64,
    ports: u32,
}

/// Addresses as they lie in memory: what they are as numbers does not matter here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct KeyV6 {
    local: u128,
    remote: u128,
    /// The link above them.
    ports: u64,
}

impl KeyV4 {
    #[inline]
    pub fn new(local: Ipv4Addr, remote: Ipv4Addr, ports: (u16, u16)) -> KeyV4 {
        let addresses = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
        KeyV4 { addresses, ports: u32::from(ports.0) << 16 | u32::from(ports.1) }
    }
}

impl KeyV6 {
    #[inline]
    pub fn new(local: Ipv6Addr, remote: Ipv6Addr, ports: (u16, u16), link: InterfaceId) -> KeyV6 {
        let ports = u64::from(link.0) << 32 | u64::from(ports.0) << 16 | u64::from(ports.1);
        let word = |address: Ipv6Addr| u128::from_le_bytes(address.octets());
        KeyV6 { local: word(local), remote: word(remote), ports }
    }
}

/// The link of a flow that comes and goes by `interface`.
#[inline]
pub(super) fn link_of(local: Ipv6Addr, remote: Ipv6Addr, interface: InterfaceId) -> InterfaceId {
    let scoped = remote.is_unicast_link_local() || local.is_unicast_link_local();
    if scoped { interface } else { InterfaceId::LOOPBACK }
}

impl From<&Flow> for FlowKey {
    #[inline(always)]
    fn from(flow: &Flow) -> FlowKey {
        let ports = (flow.local.port, flow.remote.port);
        match (&flow.local.address, &flow.remote.address) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => FlowKey::V4(KeyV4::new(*local, *remote, ports)),
            (IpAddr::V6(local), IpAddr::V6(remote)) => FlowKey::V6(KeyV6::new(*local, *remote, ports, flow.link)),
            (local, remote) => FlowKey::V6(KeyV6::new(mapped(local), mapped(remote), ports, flow.link)),
        }
    }
}

/// The address as IPv6 writes it.
#[cold]
pub(super) fn mapped(address: &IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => *v6,
    }
}

impl Flow {
    /// That between two ends which comes and goes by `interface`.
    pub fn new(local: Endpoint, remote: Endpoint, interface: InterfaceId) -> Flow {
        let link = match (local.address, remote.address) {
            (IpAddr::V6(local), IpAddr::V6(remote)) => link_of(local, remote, interface),
            _ => InterfaceId::LOOPBACK,
        };
        Flow { local, remote, link }
    }

    /// The flow under a secret, for what must not be guessed.
    pub fn keyed_hash(&self, secret: &SipHasher24) -> u64 {
        match FlowKey::from(self) {
            FlowKey::V4(key) => {
                let mut bytes = [0; 12];
                bytes[..8].copy_from_slice(&key.addresses.to_le_bytes());
                bytes[8..].copy_from_slice(&key.ports.to_le_bytes());
                secret.hash(&bytes)
            }
            FlowKey::V6(key) => {
                // Link and ports are 48 bits together: with a byte less than 40, SipHash has a round less.
                let mut bytes = [0; 39];
                bytes[..16].copy_from_slice(&key.local.to_le_bytes());
                bytes[16..32].copy_from_slice(&key.remote.to_le_bytes());
                bytes[32..].copy_from_slice(&key.ports.to_le_bytes()[..7]);
                secret.hash(&bytes)
            }
        }
    }
}

/// What a flow leads to: the index in one of TCP's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlowTarget {
    /// A connection's socket.
    Connection(u32),
    /// A half-open connection of a listener.
    Request(u32),
    /// What is left of a closed connection.
    TimeWait(u32),
}

/// All flows of a host, hashed under secret seeds.
pub(crate) struct Flows {
    v4: Map<KeyV4, FlowTarget>,
    v6: Map<KeyV6, FlowTarget>,
}

impl Flows {
    pub fn new(rng: &mut Rng) -> Flows {
        Flows { v4: rng.map(), v6: rng.map() }
    }

    /// What an IPv4 flow leads to.
    #[inline(always)]
    pub fn find_v4(&self, key: &KeyV4) -> Option<FlowTarget> {
        self.v4.get(key).copied()
    }

    /// What an IPv6 flow leads to. Not inlined, so that IPv4's way is as short as it can be.
    #[inline(never)]
    pub fn find_v6(&self, key: &KeyV6) -> Option<FlowTarget> {
        self.v6.get(key).copied()
    }

    pub fn get(&self, flow: &Flow) -> Option<FlowTarget> {
        match flow.into() {
            FlowKey::V4(key) => self.v4.get(&key).copied(),
            FlowKey::V6(key) => self.find_v6(&key),
        }
    }

    pub fn insert(&mut self, flow: Flow, target: FlowTarget) {
        match FlowKey::from(&flow) {
            FlowKey::V4(key) => self.v4.insert(key, target),
            FlowKey::V6(key) => self.v6.insert(key, target),
        };
    }

    /// Removes the flow if it leads to `target`.
    pub fn remove(&mut self, flow: &Flow, target: FlowTarget) {
        match flow.into() {
            FlowKey::V4(key) => remove(&mut self.v4, key, target),
            FlowKey::V6(key) => remove(&mut self.v6, key, target),
        }
    }

    /// Flows in the tables.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

fn remove<K: Eq + Hash>(map: &mut Map<K, FlowTarget>, key: K, target: FlowTarget) {
    if let Entry::Occupied(entry) = map.entry(key)
        && *entry.get() == target
    {
        entry.remove();
    }
}
