//! A flow: the two ends of a connection, by which received segments find it.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

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

impl Hash for Flow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.local.address, self.remote.address) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
            }
            (local, remote) => {
                state.write_u128(bits(local));
                state.write_u128(bits(remote));
            }
        }
        state.write_u32(u32::from(self.local.port) << 16 | u32::from(self.remote.port));
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Flow {
    /// The flow's bytes, for keyed hashes: the same for both families' notation of one address.
    pub fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..16].copy_from_slice(&bits(self.local.address).to_be_bytes());
        bytes[16..32].copy_from_slice(&bits(self.remote.address).to_be_bytes());
        bytes[32..34].copy_from_slice(&self.local.port.to_be_bytes());
        bytes[34..].copy_from_slice(&self.remote.port.to_be_bytes());
        bytes
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
    map: HashMap<Flow, FlowTarget, FixedState>,
}

impl Flows {
    pub fn new(seed: FixedState) -> Flows {
        Flows { map: HashMap::with_hasher(seed) }
    }

    pub fn get(&self, flow: &Flow) -> Option<FlowTarget> {
        self.map.get(flow).copied()
    }

    pub fn insert(&mut self, flow: Flow, target: FlowTarget) {
        self.map.insert(flow, target);
    }

    /// Removes the flow if it leads to `target`.
    pub fn remove(&mut self, flow: &Flow, target: FlowTarget) {
        if self.map.get(flow) == Some(&target) {
            self.map.remove(flow);
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }
}
