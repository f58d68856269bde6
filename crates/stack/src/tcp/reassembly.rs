//! Segments that arrived ahead of a hole, and the SACK blocks that tell the peer of them (RFC 2018, RFC 2883).
//!
//! Positions are 64-bit offsets in the stream, so nothing wraps. Pieces never overlap: of bytes that come twice, the first to
//! come stay (so nobody rewrites what was acknowledged selectively). Inserting and removing costs O(log n). Memory is bounded by
//! its true size; beyond it the pieces furthest ahead are dropped again, which RFC 2018 §8 allows.

use std::collections::BTreeMap;
use std::ops::Range;

use wireway_packet::{Packet, Slice};

/// SACK blocks remembered: as many as a header has room for.
const BLOCKS: usize = 4;

#[derive(Default)]
pub(crate) struct Reassembly {
    pieces: BTreeMap<u64, Packet>,
    true_size: usize,
    /// The stream's end, if a FIN was received ahead of a hole.
    fin: Option<u64>,
    /// What was received ahead, the most recent first.
    recent: [Range<u64>; BLOCKS],
}

impl Reassembly {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.fin.is_none()
    }

    /// Takes in the bytes from position `start`. Returns a range that was a duplicate, if any (for RFC 2883).
    pub fn insert(&mut self, start: u64, mut packet: Packet, limit: usize) -> Option<Range<u64>> {
        let whole = start..start + packet.len() as u64;
        let mut start = start;
        let end = whole.end;
        let mut duplicate: Option<Range<u64>> = None;
        if let Some((&at, before)) = self.pieces.range(..=start).next_back() {
            let covered = at + before.len() as u64;
            if covered >= end {
                self.touch(whole.clone());
                return Some(whole);
            }
            if covered > start {
                duplicate = Some(start..covered);
                packet.trim_front((covered - start) as usize);
                start = covered;
            }
        }
        // Fill the gaps before the pieces that lie within.
        while let Some((&at, after)) = self.pieces.range(start..end).next() {
            let covered = at + after.len() as u64;
            match &mut duplicate {
                Some(known) if known.end == at => known.end = covered.min(end),
                Some(_) => {}
                None => duplicate = Some(at..covered.min(end)),
            }
            let rest = packet.split((at - start) as usize);
            self.put(start, core::mem::replace(&mut packet, rest));
            packet.trim_front((covered - at) as usize);
            start = covered;
            if covered >= end {
                break;
            }
        }
        self.put(start, packet);
        self.touch(whole);
        while self.true_size > limit {
            let Some(last) = self.pieces.last_key_value().map(|(&at, _)| at) else { break };
            self.remove(last);
            self.forget_from(last);
        }
        duplicate
    }

    fn put(&mut self, start: u64, mut packet: Packet) {
        if packet.is_empty() {
            return;
        }
        if packet.true_size() > 4 * packet.len() + 1024 {
            packet = compact(&packet);
        }
        self.true_size += packet.true_size();
        self.pieces.insert(start, packet);
    }

    /// The first bytes of `range`, without a gap between them, that are here.
    pub fn overlap(&self, range: Range<u64>) -> Option<Range<u64>> {
        let mut found: Option<Range<u64>> = None;
        for (&at, piece) in self.pieces.range(..range.end) {
            let end = (at + piece.len() as u64).min(range.end);
            match &mut found {
                None => found = Some(at.max(range.start)..end),
                Some(known) if known.end == at => known.end = end,
                Some(_) => break,
            }
        }
        found.filter(|known| !known.is_empty())
    }

    /// The stream ends at `position`, which its FIN takes up in blocks.
    pub fn set_fin(&mut self, position: u64) {
        self.fin = Some(position);
        self.touch(position..position + 1);
    }

    /// Takes the bytes at `position`, if they are there, without those before it.
    pub fn take(&mut self, position: u64) -> Option<Packet> {
        loop {
            let (&at, packet) = self.pieces.first_key_value()?;
            if at > position {
                return None;
            }
            let past = (position - at) as usize;
            let keep = past < packet.len();
            let mut packet = self.remove(at)?;
            self.forget_block(at);
            if keep {
                packet.trim_front(past);
                return Some(packet);
            }
        }
    }

    /// Whether the stream ends at `position`.
    pub fn is_fin(&self, position: u64) -> bool {
        self.fin == Some(position)
    }

    fn remove(&mut self, at: u64) -> Option<Packet> {
        let packet = self.pieces.remove(&at)?;
        self.true_size -= packet.true_size();
        Some(packet)
    }

    /// Puts `range`, grown by the remembered blocks that it meets, first (RFC 2018 §4).
    fn touch(&mut self, range: Range<u64>) {
        let mut grown = range;
        let mut kept: [Range<u64>; BLOCKS] = Default::default();
        let mut n = 1;
        for block in &self.recent {
            if block.is_empty() {
                continue;
            }
            if block.start <= grown.end && grown.start <= block.end {
                grown = grown.start.min(block.start)..grown.end.max(block.end);
            } else if n < BLOCKS {
                kept[n] = block.clone();
                n += 1;
            }
        }
        kept[0] = grown;
        self.recent = kept;
    }

    /// Bytes from `position` on were dropped again.
    fn forget_from(&mut self, position: u64) {
        for block in &mut self.recent {
            block.end = block.end.min(position);
        }
    }

    /// What holds the bytes at `position` is about to be delivered: its place is for blocks beyond (RFC 2018 §4).
    fn forget_block(&mut self, position: u64) {
        for block in self.recent.iter_mut().filter(|block| block.contains(&position)) {
            *block = 0..0;
        }
    }

    /// The blocks to report, the most recent first, of those beyond `position`.
    pub fn blocks(&self, position: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        self.recent.iter().filter(move |b| b.start > position && !b.is_empty()).cloned()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        if !self.is_empty() {
            *self = Reassembly::default();
        }
    }
}

/// A copy of `packet` that holds no more memory than it needs.
fn compact(packet: &Packet) -> Packet {
    let mut copy = Packet::new();
    for part in packet.parts() {
        if copy.chain().is_empty() && part.len() <= wireway_packet::INLINE - copy.len().min(wireway_packet::INLINE) {
            copy.append(part);
        } else {
            copy.append_slice(Slice::copy_from(part));
        }
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(range: Range<u64>) -> Packet {
        Packet::copy_from(&range.map(|i| i as u8).collect::<Vec<u8>>())
    }

    fn drain(reassembly: &mut Reassembly, from: u64) -> u64 {
        let mut at = from;
        while let Some(packet) = reassembly.take(at) {
            assert_eq!(packet.to_vec(), bytes(at..at + packet.len() as u64).to_vec());
            at += packet.len() as u64;
        }
        at
    }

    #[test]
    fn any_order_and_overlap() {
        // Every permutation of overlapping pieces gives the same bytes.
        let pieces = [10..400, 5..20, 390..700, 650..660, 0..8, 300..450, 699..900];
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        for round in 0..500usize {
            let (a, b) = (round % pieces.len(), (round / pieces.len()) % pieces.len());
            order.swap(a, b);
            let mut reassembly = Reassembly::default();
            for &i in &order {
                reassembly.insert(pieces[i].start, bytes(pieces[i].clone()), 1 << 20);
            }
            assert_eq!(drain(&mut reassembly, 0), 900);
            assert_eq!(reassembly.true_size, 0);
        }
    }

    #[test]
    fn the_most_recent_block_is_first() {
        let mut reassembly = Reassembly::default();
        for range in [100..200, 300..400, 500..600] {
            reassembly.insert(range.start, bytes(range), 1 << 20);
        }
        let blocks: Vec<_> = reassembly.blocks(0).collect();
        assert_eq!(blocks, [500..600, 300..400, 100..200]);
        reassembly.insert(200, bytes(200..300), 1 << 20);
        let blocks: Vec<_> = reassembly.blocks(0).collect();
        assert_eq!(blocks, [100..400, 500..600]);
        assert_eq!(reassembly.insert(150, bytes(150..250), 1 << 20), Some(150..250));
    }

    #[test]
    fn memory_is_bounded() {
        let mut reassembly = Reassembly::default();
        for i in 0..10_000u64 {
            reassembly.insert(2 * i + 1, bytes(0..1), 100_000);
            assert!(reassembly.true_size <= 100_000);
        }
        assert!(reassembly.blocks(0).all(|b| b.end <= 2000));
    }
}
