//! The receive buffer: bytes in order that the program has not read, as a queue of slices.
//!
//! Slices are taken out of received packets without a copy. Small pieces, and those that lie in a packet's head, are copied behind
//! each other instead, so that a byte does not keep a block alive; and when the blocks held cost much more than the bytes in
//! them (`limit`), what is sparse is copied together. An empty buffer holds at most one block of the smallest class.

use std::collections::VecDeque;
use std::io::IoSlice;

use smallvec::SmallVec;
use wireway_packet::{CLASSES, Packet, Slice, Writer};

use super::small::Small;

/// Pieces up to this many bytes are copied rather than shared.
const COPY: usize = 256;
const KEEP_ENTRIES: usize = 8;
/// Slices shown to a reader at a time.
const SHOWN: usize = 16;

#[derive(Default)]
pub(crate) struct ReceiveBuffer {
    /// The first bytes, where few came into an empty buffer.
    small: Small,
    queue: VecDeque<Slice>,
    len: usize,
    /// Bytes of the blocks that the queue's slices keep alive; a block counts for each of its slices.
    true_size: usize,
    writer: Option<Writer>,
    /// Entries at the front that were found dense, or made so.
    dense: usize,
}

impl ReceiveBuffer {
    /// Bytes that can be read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends a packet's bytes, taking its chain; `limit` bounds the memory held.
    pub fn push(&mut self, packet: &mut Packet, limit: usize) {
        let head = packet.head();
        if !head.is_empty() {
            match self.small.spare_mut(head.len()).filter(|_| self.queue.is_empty()) {
                Some(place) => {
                    place.copy_from_slice(head);
                    self.small.commit(head.len());
                    self.len += head.len();
                }
                None => self.copy(head),
            }
        }
        if !packet.chain().is_empty() {
            self.push_chain(packet, limit);
        }
    }

    fn push_chain(&mut self, packet: &mut Packet, limit: usize) {
        for slice in packet.drain_chain() {
            self.push_slice(slice);
        }
        if self.true_size > limit {
            self.collapse();
        }
    }

    fn push_slice(&mut self, slice: Slice) {
        let len = slice.len();
        let slice = match self.queue.back_mut() {
            Some(last) => match last.join(slice) {
                Ok(()) => {
                    self.len += len;
                    return;
                }
                Err(slice) => slice,
            },
            None => slice,
        };
        if len <= COPY {
            return self.copy(&slice);
        }
        self.len += len;
        self.true_size += slice.true_size();
        self.queue.push_back(slice);
    }

    fn copy(&mut self, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            let writer = match &mut self.writer {
                Some(writer) if writer.spare() > 0 => writer,
                _ => self.writer.insert(Writer::with_capacity(rest.len().max(self.len))),
            };
            let slice = writer.write(rest);
            rest = rest.get(slice.len()..).unwrap_or_default();
            self.len += slice.len();
            let slice = match self.queue.back_mut() {
                Some(last) => match last.join(slice) {
                    Ok(()) => continue,
                    Err(slice) => slice,
                },
                None => slice,
            };
            self.true_size += slice.true_size();
            self.queue.push_back(slice);
        }
    }

    /// Copies what is sparse into blocks of its own. What was looked at once is not looked at again, so that the work is linear.
    fn collapse(&mut self) {
        let sparse = self.queue.split_off(self.dense.min(self.queue.len()));
        for slice in sparse {
            self.len -= slice.len();
            self.true_size -= slice.true_size();
            if slice.len() * 2 < slice.true_size() {
                self.copy(&slice);
            } else {
                self.len += slice.len();
                self.true_size += slice.true_size();
                self.queue.push_back(slice);
            }
        }
        self.dense = self.queue.len();
    }

    /// Copies bytes to `buffer`, and removes them unless `peek`; returns how many.
    pub fn read(&mut self, buffer: &mut [u8], peek: bool) -> usize {
        let small = self.small.as_slice();
        let mut done = small.len().min(buffer.len());
        buffer[..done].copy_from_slice(&small[..done]);
        for slice in &self.queue {
            if done == buffer.len() {
                break;
            }
            let n = slice.len().min(buffer.len() - done);
            buffer[done..done + n].copy_from_slice(&slice[..n]);
            done += n;
        }
        if !peek {
            self.consume(done);
        }
        done
    }

    /// Shows up to `max` bytes in place to `take`, and removes as many as it returns.
    pub fn read_with(&mut self, max: usize, take: &mut dyn FnMut(&[IoSlice<'_>]) -> usize) -> usize {
        let mut shown: SmallVec<[IoSlice<'_>; SHOWN]> = SmallVec::new();
        let mut left = max;
        let small = Some(self.small.as_slice()).filter(|small| !small.is_empty());
        for bytes in small.into_iter().chain(self.queue.iter().map(|slice| &**slice)).take(SHOWN) {
            let n = bytes.len().min(left);
            shown.push(IoSlice::new(&bytes[..n]));
            left -= n;
            if left == 0 {
                break;
            }
        }
        let taken = take(&shown).min(max - left);
        drop(shown);
        self.consume(taken);
        taken
    }

    fn consume(&mut self, n: usize) {
        self.len -= n;
        let left = n - self.small.consume(n);
        if left > 0 {
            self.consume_blocks(left);
        }
    }

    fn consume_blocks(&mut self, n: usize) {
        let mut left = n;
        while let Some(front) = self.queue.front_mut() {
            if left < front.len() {
                front.trim_front(left);
                break;
            }
            left -= front.len();
            self.true_size -= front.true_size();
            self.dense = self.dense.saturating_sub(1);
            if let Some(slice) = self.queue.pop_front()
                && let Some(writer) = &mut self.writer
            {
                writer.take_back(slice);
            }
        }
        if self.len == 0 {
            if self.queue.capacity() > KEEP_ENTRIES {
                self.queue = VecDeque::new();
            }
            if self.writer.as_mut().is_some_and(|w| w.capacity() > CLASSES[0] || !w.rewind()) {
                self.writer = None;
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        if self.len > 0 || self.writer.is_some() {
            *self = ReceiveBuffer::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_blocks_are_copied_together() {
        let mut buffer = ReceiveBuffer::default();
        let mut expected = Vec::new();
        for i in 0..400u32 {
            let data = vec![i as u8; 300];
            let mut writer = Writer::with_capacity(66_000);
            buffer.push(&mut Packet::from_slice(writer.write(&data)), 1 << 18);
            expected.extend_from_slice(&data);
            assert!(buffer.true_size <= (1 << 18) + 66_544 * 2);
        }
        let mut all = vec![0; expected.len() + 10];
        assert_eq!(buffer.read(&mut all, true), expected.len());
        assert_eq!(buffer.read(&mut all[..1000], false), 1000);
        assert_eq!(buffer.len(), expected.len() - 1000);
        let mut rest = Vec::new();
        while buffer.len() > 0 {
            buffer.read_with(777, &mut |shown| {
                let n = shown.iter().map(|s| s.len()).sum::<usize>();
                assert!(n <= 777);
                shown.iter().for_each(|s| rest.extend_from_slice(s));
                n
            });
        }
        assert_eq!(rest, &expected[1000..]);
        assert_eq!((buffer.true_size, buffer.queue.len()), (0, 0));
    }

    #[test]
    fn single_bytes_share_blocks() {
        let mut buffer = ReceiveBuffer::default();
        for i in 0..5000u32 {
            buffer.push(&mut Packet::copy_from(&[i as u8]), 1 << 18);
        }
        assert!(buffer.true_size < 30_000, "{}", buffer.true_size);
        let mut all = [0; 6000];
        assert_eq!(buffer.read(&mut all, false), 5000);
        assert!(all[..5000].iter().enumerate().all(|(i, &b)| b == i as u8));
    }
}
