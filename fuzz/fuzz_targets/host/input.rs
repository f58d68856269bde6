//! The fuzzer's bytes, taken from the front. What is not there reads as zero.

pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number of which small ones and those near the ends of 32 bits are likely: a step of a few bits, shifted.
    pub fn delta(&mut self) -> u32 {
        let [how, value] = [self.byte(), self.byte()];
        let size = u32::from(value) << (how & 31);
        if how & 0x80 != 0 { size.wrapping_neg() } else { size }
    }

    /// One of a few.
    pub fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }
}
