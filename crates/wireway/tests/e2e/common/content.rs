//! Content without end that is never the same twice, made from a seed and compared by SHA-256.

use std::io::Read;

use sha2::{Digest, Sha256};

/// `size` pseudorandom bytes; equal seeds give equal bytes.
pub struct Content {
    left: u64,
    state: u64,
    block: Box<[u8; Content::BLOCK]>,
    at: usize,
}

impl Content {
    const BLOCK: usize = 32 * 1024;

    pub fn new(size: u64, seed: u64) -> Content {
        Content { left: size, state: seed << 40, block: Box::new([0; Self::BLOCK]), at: Self::BLOCK }
    }

    /// All of it.
    pub fn bytes(size: u64, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Content::new(size, seed).read_to_end(&mut bytes).expect("content");
        bytes
    }

    /// Its SHA-256.
    pub fn sha256(size: u64, seed: u64) -> String {
        sha256(Content::new(size, seed))
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == Self::BLOCK {
            for word in self.block.chunks_exact_mut(8) {
                // SplitMix64: a counter through a mixer.
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = self.state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
            }
            self.at = 0;
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = buffer.len().min(Self::BLOCK - self.at).min(left);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        self.left -= count as u64;
        Ok(count)
    }
}

/// The SHA-256 of all that `reader` has, in hexadecimal.
pub fn sha256(mut reader: impl Read) -> String {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer).expect("read") {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file.
pub fn sha256_file(path: &std::path::Path) -> String {
    sha256(std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
