//! A flow: the two ends of a connection, by which received segments find it.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use siphasher::sip::SipHasher24;

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
}

/// A flow as integers, for the table: IPv4 addresses as their v4-mapped ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlowKey {
    words: [u64; 4],
    ports: u32,
}

impl FlowKey {
    /// The key of an IPv4 flow. Its addresses share one word; no IPv6 address that can be in a flow begins with the other words' zeros.
    #[inline]
    pub fn v4(local: Ipv4Addr, remote: Ipv4Addr, local_port: u16, remote_port: u16) -> FlowKey {
        let addresses = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
        FlowKey { words: [addresses, 0, 0, 0], ports: u32::from(local_port) << 16 | u32::from(remote_port) }
    }
}

impl From<&Flow> for FlowKey {
    fn from(flow: &Flow) -> FlowKey {
        match (flow.local.address, flow.remote.address) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => FlowKey::v4(local, remote, flow.local.port, flow.remote.port),
            (local, remote) => {
                let (local, remote) = (bits(local), bits(remote));
                let words = [local as u64, (local >> 64) as u64, remote as u64, (remote >> 64) as u64];
                FlowKey { words, ports: u32::from(flow.local.port) << 16 | u32::from(flow.remote.port) }
            }
        }
    }
}

impl Hash for FlowKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.words[0]);
        if self.words[2] | self.words[3] != 0 {
            state.write_u64(self.words[1]);
            state.write_u64(self.words[2]);
            state.write_u64(self.words[3]);
        }
        state.write_u32(self.ports);
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Flow {
    /// The flow under a secret, for what must not be guessed.
    pub fn keyed_hash(&self, secret: &SipHasher24) -> u64 {
        let key = FlowKey::from(self);
        let mut bytes = [0; 36];
        let (ports, addresses) = bytes.split_at_mut(4);
        ports.copy_from_slice(&key.ports.to_le_bytes());
        for (place, word) in addresses.chunks_exact_mut(8).zip(key.words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let len = if self.local.address.is_ipv4() { 12 } else { 36 };
        secret.hash(bytes.get(..len).unwrap_or_default())
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

/// All flows of a host, hashed under a secret seed.
pub(crate) struct Flows {
    map: HashMap<FlowKey, FlowTarget, FixedState>,
}

impl Flows {
    pub fn new(seed: FixedState) -> Flows {
        Flows { map: HashMap::with_hasher(seed) }
    }

    #[inline]
    pub fn find(&self, key: &FlowKey) -> Option<FlowTarget> {
        self.map.get(key).copied()
    }

    pub fn get(&self, flow: &Flow) -> Option<FlowTarget> {
        self.find(&flow.into())
    }

    pub fn insert(&mut self, flow: Flow, target: FlowTarget) {
        self.map.insert((&flow).into(), target);
    }

    /// Removes the flow if it leads to `target`.
    pub fn remove(&mut self, flow: &Flow, target: FlowTarget) {
        if let Entry::Occupied(entry) = self.map.entry(flow.into())
            && *entry.get() == target
        {
            entry.remove();
        }
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.map.len()
    }
}
