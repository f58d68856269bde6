//! Pairs of addresses that packets were accepted with lately: a small direct-mapped cache a family, made void by a new generation of routes. A
//! collision costs a look-up, no more.

use crate::InterfaceId;

/// A pair of addresses that was accepted on an interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted<A> {
    pub source: A,
    pub destination: A,
    pub interface: InterfaceId,
    pub generation: u32,
    pub local: bool,
}

pub(super) struct AcceptedCache<A>([Option<Accepted<A>>; 64]);

impl<A: Copy + Eq> AcceptedCache<A> {
    pub fn new() -> AcceptedCache<A> {
        AcceptedCache([None; 64])
    }

    fn index(mixed: u32) -> usize {
        (mixed.wrapping_mul(0x9e37_79b9) >> 26) as usize
    }

    /// Whether the destination is local, if `key`, with `local` false, is known.
    #[inline]
    pub fn get(&self, mixed: u32, key: &Accepted<A>) -> Option<bool> {
        let slot = &self.0[Self::index(mixed)];
        slot.filter(|known| Accepted { local: false, ..*known } == *key).map(|known| known.local)
    }

    pub fn set(&mut self, mixed: u32, accepted: Accepted<A>) {
        self.0[Self::index(mixed)] = Some(accepted);
    }
}
