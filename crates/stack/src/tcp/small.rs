//! A few bytes kept in a connection itself, in front of a buffer's queue: what request and answer of a talkative protocol need.
//! They spare such a connection the blocks and their counting.

/// Bytes kept.
const SIZE: usize = 110;

/// First in, first out; filled behind, until it is empty and begins at its front again.
#[derive(Clone, Copy)]
pub(crate) struct Small {
    start: u8,
    end: u8,
    bytes: [u8; SIZE],
}

impl Default for Small {
    fn default() -> Self {
        Small { start: 0, end: 0, bytes: [0; SIZE] }
    }
}

impl Small {
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start.into()..self.end.into()).unwrap_or_default()
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// The next `n` bytes to fill, if there is room for so many.
    #[inline]
    pub fn spare_mut(&mut self, n: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(self.end.into()..usize::from(self.end) + n)
    }

    /// Declares `n` bytes of [`spare_mut`](Self::spare_mut) filled.
    #[inline]
    pub fn commit(&mut self, n: usize) {
        self.end = (usize::from(self.end) + n).min(SIZE) as u8;
    }

    /// Removes up to `n` bytes from the front; returns how many.
    #[inline]
    pub fn consume(&mut self, n: usize) -> usize {
        let n = n.min(self.len());
        self.start += n as u8;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        n
    }
}
