//! Flow labels of IPv6 (RFC 6437 §3): a fast keyed hash of the flow, so that routers can spread flows over paths. It is no cryptographic one: a label is
//! not easily guessed, but is no secret.

use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv6Addr};

use foldhash::fast::FixedState;

use super::Net;
use crate::rng::Rng;

/// The secret of a host's flow labels.
pub(super) struct FlowLabels(FixedState);

impl FlowLabels {
    pub fn new(rng: &mut Rng) -> FlowLabels {
        FlowLabels(rng.hash_state())
    }
}

impl Net {
    /// The label of what is sent from `source` to `destination` by these ports; 0 for IPv4, which has none.
    #[inline]
    pub fn flow_label(&self, source: IpAddr, destination: IpAddr, protocol: u8, ports: (u16, u16)) -> u32 {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) else { return 0 };
        let word = |address: Ipv6Addr| u128::from_le_bytes(address.octets());
        let rest = u128::from(protocol) << 32 | u128::from(ports.0) << 16 | u128::from(ports.1);
        let hash = self.flow_labels.0.hash_one((word(source), word(destination), rest));
        // 0 would mean that there is none.
        ((hash >> 44) as u32).max(1)
    }
}
