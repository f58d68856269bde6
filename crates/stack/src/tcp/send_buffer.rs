//! The send buffer: bytes that the peer has not acknowledged, as a queue of shared slices.
//!
//! The program's bytes are copied once, behind what is there, into the block of the buffer's [`Writer`]; segments then share them
//! (`fill_packet`), first or repeated, without another copy. Acknowledged bytes are cut off at the front; a block is freed when the
//! last segment that shares it is gone. An empty buffer holds at most one block of the smallest class.

use std::collections::VecDeque;

use wireway_packet::{CLASSES, Packet, Slice, Writer};

use super::small::Small;

/// Room for entries that an empty queue may keep.
const KEEP_ENTRIES: usize = 8;

#[derive(Default)]
pub(crate) struct SendBuffer {
    /// The first bytes, where few were written into an empty buffer.
    small: Small,
    queue: VecDeque<Slice>,
    len: usize,
    writer: Option<Writer>,
    /// A slice of the queue and the offset of its first byte: where the last `fill_packet` ended, the next will likely begin.
    cursor: (usize, usize),
}

impl SendBuffer {
    /// Bytes in the buffer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Offers up to `want` bytes of space piece by piece to `fill`, which returns how many bytes it wrote to the front of a
    /// piece; a piece that is not filled to its end is the last. Returns the bytes added.
    pub fn fill(&mut self, want: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        if self.queue.is_empty()
            && want > 0
            && let Some(piece) = self.small.spare_mut(want)
        {
            let n = fill(piece).min(want);
            self.small.commit(n);
            self.len += n;
            return n;
        }
        self.fill_blocks(want, fill)
    }

    fn fill_blocks(&mut self, want: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let mut added = 0;
        while added < want {
            let writer = match &mut self.writer {
                Some(writer) if writer.spare() > 0 => writer,
                _ => {
                    // Small writes begin with small blocks; the more is queued, the larger the next block.
                    let capacity = (want - added).max(self.len);
                    self.writer.insert(Writer::with_capacity(capacity))
                }
            };
            let room = writer.spare().min(want - added);
            let Some(piece) = writer.spare_mut().get_mut(..room) else { break };
            let n = fill(piece).min(room);
            if n > 0 {
                let slice = writer.commit(n);
                self.push(slice);
                added += n;
            }
            if n < room {
                break;
            }
        }
        added
    }

    fn push(&mut self, slice: Slice) {
        self.len += slice.len();
        match self.queue.back_mut() {
            Some(last) => {
                if let Err(slice) = last.join(slice) {
                    self.queue.push_back(slice);
                }
            }
            None => self.queue.push_back(slice),
        }
    }

    /// Removes `n` acknowledged bytes from the front.
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        let left = n - self.small.consume(n);
        if left > 0 {
            self.advance_blocks(left);
        }
    }

    fn advance_blocks(&mut self, n: usize) {
        let mut left = n;
        let mut popped = 0;
        while let Some(front) = self.queue.front_mut() {
            if left < front.len() {
                front.trim_front(left);
                break;
            }
            left -= front.len();
            popped += 1;
            if let Some(slice) = self.queue.pop_front()
                && let Some(writer) = &mut self.writer
            {
                writer.take_back(slice);
            }
        }
        let (index, at) = self.cursor;
        self.cursor = if index < popped { (0, 0) } else { (index - popped, at.saturating_sub(n)) };
        if self.len == 0 {
            self.release();
        }
    }

    /// The buffer is empty: starts its block again, or lets a large one go.
    fn release(&mut self) {
        self.cursor = (0, 0);
        if self.queue.capacity() > KEEP_ENTRIES {
            self.queue = VecDeque::new();
        }
        if self.writer.as_mut().is_some_and(|w| w.capacity() > CLASSES[0] || !w.rewind()) {
            self.writer = None;
        }
    }

    /// Appends the `len` bytes from offset `at` to `packet`: shared, or copied where they fit its head.
    pub fn fill_packet(&mut self, packet: &mut Packet, at: usize, len: usize, inline: bool) {
        let small = self.small.as_slice();
        let Some(rest) = (at + len).checked_sub(small.len()).filter(|&rest| rest > 0) else {
            return packet.append(small.get(at..at + len).unwrap_or_default());
        };
        packet.append(small.get(at..).unwrap_or_default());
        let at = at.saturating_sub(small.len());
        self.fill_packet_from_blocks(packet, at, rest.min(len), inline);
    }

    fn fill_packet_from_blocks(&mut self, packet: &mut Packet, at: usize, len: usize, inline: bool) {
        let (mut index, mut start) = if self.cursor.1 <= at { self.cursor } else { (0, 0) };
        let mut left = len;
        let mut skip = at;
        while let Some(slice) = self.queue.get(index) {
            if skip >= start + slice.len() {
                start += slice.len();
                index += 1;
                continue;
            }
            let from = skip - start;
            let n = left.min(slice.len() - from);
            if inline {
                packet.append(slice.get(from..from + n).unwrap_or_default());
            } else {
                packet.append_slice(slice.slice(from..from + n));
            }
            left -= n;
            skip += n;
            if left == 0 {
                break;
            }
        }
        self.cursor = (index, start);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        if self.len > 0 || self.writer.is_some() {
            *self = SendBuffer::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(buffer: &mut SendBuffer, data: &[u8]) {
        let mut rest = data;
        let n = buffer.fill(data.len(), &mut |piece| {
            let n = piece.len().min(rest.len());
            piece[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            n
        });
        assert_eq!(n, data.len());
    }

    fn read(buffer: &mut SendBuffer, at: usize, len: usize) -> Vec<u8> {
        let mut packet = Packet::new();
        buffer.fill_packet(&mut packet, at, len, len < 50);
        packet.to_vec()
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = SendBuffer::default();
        let data: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let mut written = 0;
        for size in [1, 7, 100, 3000, 70_000, 140_000].into_iter().cycle() {
            let size = size.min(data.len() - written);
            write(&mut buffer, &data[written..written + size]);
            written += size;
            if written == data.len() {
                break;
            }
        }
        let mut gone = 0;
        for (at, len) in [(0, 1), (5, 40), (1000, 1448), (68_000, 64_000), (0, 1448), (200_000, 64_000)] {
            assert_eq!(read(&mut buffer, at, len), &data[gone + at..gone + at + len]);
        }
        for step in [1, 1448, 90_000, 64_000, 100] {
            buffer.advance(step);
            gone += step;
            assert_eq!(buffer.len(), data.len() - gone);
            assert_eq!(read(&mut buffer, 0, 1448), &data[gone..gone + 1448]);
            assert_eq!(read(&mut buffer, 9000, 40), &data[gone + 9000..gone + 9040]);
        }
        buffer.advance(buffer.len());
        assert_eq!(buffer.len(), 0);
        assert!(buffer.writer.is_none() && buffer.queue.is_empty());
    }

    #[test]
    fn few_bytes_need_no_block() {
        let mut buffer = SendBuffer::default();
        for _ in 0..1000 {
            write(&mut buffer, b"question");
            write(&mut buffer, b"?");
            assert!(buffer.queue.is_empty() && buffer.writer.is_none());
            assert_eq!(read(&mut buffer, 1, 8), b"uestion?");
            buffer.advance(9);
        }
        // What follows goes behind them.
        write(&mut buffer, b"few");
        write(&mut buffer, &[7; 1000]);
        write(&mut buffer, b"more");
        assert_eq!(read(&mut buffer, 2, 3), [b'w', 7, 7]);
        buffer.advance(2);
        assert_eq!(read(&mut buffer, 0, 1005), [&b"w"[..], &[7; 1000], b"more"].concat());
        buffer.advance(1003);
        assert_eq!(read(&mut buffer, 0, 2), b"re");
    }
}
