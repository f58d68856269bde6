//! A host's randomness: one stream of ChaCha from the seed the host was made with.

use foldhash::fast::FixedState;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A hash table whose hash is seeded by the host, so that nobody outside can make flows collide on purpose.
pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// Random numbers, and the secrets made of them.
#[derive(Clone, Debug)]
pub(crate) struct Rng(ChaCha8Rng);

impl Rng {
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng(ChaCha8Rng::from_seed(seed))
    }

    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `n - 1`; 0 if `n` is 0. The bias is at most `n / 2^32`.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// A nonce of neighbour discovery (RFC 3971 §5.3.2).
    pub fn nonce(&mut self) -> [u8; 6] {
        let mut nonce = [0; 6];
        self.0.fill_bytes(&mut nonce);
        nonce
    }

    /// The key of a keyed hash (SipHash's).
    pub fn key(&mut self) -> [u8; 16] {
        let mut key = [0; 16];
        self.0.fill_bytes(&mut key);
        key
    }

    /// The state of a hash with a seed of its own.
    pub fn hash_state(&mut self) -> FixedState {
        FixedState::with_seed(self.next_u64())
    }

    /// An empty table with a seed of its own.
    pub fn map<K, V>(&mut self) -> Map<K, V> {
        Map::with_hasher(self.hash_state())
    }
}
