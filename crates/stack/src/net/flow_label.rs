//! Flow labels of IPv6 (RFC 6437 §3): a keyed hash of the flow, so that routers can spread flows over paths and nobody can guess them.

use core::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::Net;
use crate::rng::Rng;

/// The secret of a host's flow labels.
pub(super) struct FlowLabels(SipHasher13);

impl FlowLabels {
    pub fn new(rng: &mut Rng) -> FlowLabels {
        FlowLabels(SipHasher13::new_with_key(&rng.key()))
    }
}

impl Net {
    /// The label of what is sent from `source` to `destination` by these ports; 0 for IPv4, which has none.
    pub fn flow_label(&self, source: IpAddr, destination: IpAddr, protocol: u8, ports: (u16, u16)) -> u32 {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) else { return 0 };
        let mut bytes = [0; 37];
        let mut at = 0;
        for part in
            [&source.octets()[..], &destination.octets(), &ports.0.to_be_bytes(), &ports.1.to_be_bytes(), &[protocol]]
        {
            if let Some(place) = bytes.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len();
        }
        // 0 would mean that there is none.
        ((self.flow_labels.0.hash(&bytes) & 0x000f_ffff) as u32).max(1)
    }
}
