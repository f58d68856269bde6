//! A ring of frames in shared memory, with one producer and one consumer that do not trust each other.
//!
//! The ring is [`DATA`] bytes of records: a header of 16 bytes (length and offload state) and the frame, padded to 16. `tail` counts the
//! bytes ever written and `head` those ever read; each side writes only its own counter, keeps it in its own memory too, and checks what it reads of
//! the other's. A record is copied once and then checked, so that the peer cannot change what was checked.
//!
//! Either side sleeps only after saying so: the consumer when the ring is empty, the producer when it is full. It sets
//! its flag, then looks again; the other side moves its counter, then looks at the flag (with a full fence between
//! in both, so that one of them sees the other). So while both are busy no bell is rung.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use wireway_packet::{CLASSES, Checksum, INLINE, Packet, SegmentKind, Segmentation, Writer};

use super::memory::Memory;

/// Bytes of records in a ring.
const DATA: usize = 1 << 20;
/// Bytes of a ring's counters and flags, each in a cache line (and its neighbour) of its own.
const CONTROL: usize = 512;
const TAIL: usize = 0;
const HEAD: usize = 128;
const CONSUMER_SLEEPS: usize = 256;
const PRODUCER_SLEEPS: usize = 384;

/// Bytes of memory for two rings.
pub const MEMORY: usize = 2 * (CONTROL + DATA);

const HEADER: usize = 16;
/// Bytes of the longest frame or super-segment.
pub const FRAME_MAX: usize = CLASSES[CLASSES.len() - 1];
/// The consumer looks whether the producer sleeps once in this many bytes.
const LOOK: u64 = DATA as u64 / 4;

/// The peer broke the rules of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Where ring `index` (0 or 1) keeps its counters.
fn control(index: usize) -> usize {
    index * CONTROL
}

/// Where it keeps its records.
fn data(index: usize) -> usize {
    2 * CONTROL + index * DATA
}

/// Bytes of a record for a frame of `len` bytes.
fn record(len: usize) -> u64 {
    (HEADER + len).next_multiple_of(HEADER) as u64
}

/// The side that puts frames in.
pub struct Producer {
    memory: Arc<Memory>,
    control: usize,
    data: usize,
    tail: u64,
    head_seen: u64,
    /// Frames were put in since the consumer was last looked at.
    news: bool,
}

impl Producer {
    /// Of ring `index` in fresh memory.
    pub fn new(memory: Arc<Memory>, index: usize) -> Producer {
        Producer { memory, control: control(index), data: data(index), tail: 0, head_seen: 0, news: false }
    }

    /// Puts a frame of at most [`FRAME_MAX`] bytes in. False if there is no room: then the consumer will ring when there is.
    pub fn push(&mut self, frame: &Packet) -> Result<bool, Broken> {
        let need = record(frame.len());
        if need > self.room()? && !self.wait_for_room(need)? {
            return Ok(false);
        }
        self.write(self.tail, &encode(frame));
        let mut at = self.tail + HEADER as u64;
        for part in frame.parts() {
            self.write(at, part);
            at += part.len() as u64;
        }
        self.tail += need;
        self.memory.counter(self.control + TAIL).store(self.tail, Ordering::Release);
        self.news = true;
        Ok(true)
    }

    /// Whether the consumer sleeps and is to be woken for what was put in; once for each sleep.
    pub fn consumer_sleeps(&mut self) -> bool {
        if !std::mem::take(&mut self.news) {
            return false;
        }
        fence(Ordering::SeqCst);
        let flag = self.memory.flag(self.control + CONSUMER_SLEEPS);
        flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::Relaxed) != 0
    }

    /// Free bytes, as last seen; looks again only where that would not do for a large frame.
    fn room(&mut self) -> Result<u64, Broken> {
        let seen = DATA as u64 - (self.tail - self.head_seen);
        if seen >= record(FRAME_MAX) {
            return Ok(seen);
        }
        let head = self.memory.counter(self.control + HEAD).load(Ordering::Acquire);
        // It only grows, and not beyond what was written.
        if head < self.head_seen || head > self.tail {
            return Err(Broken);
        }
        self.head_seen = head;
        Ok(DATA as u64 - (self.tail - head))
    }

    fn wait_for_room(&mut self, need: u64) -> Result<bool, Broken> {
        let flag = self.control + PRODUCER_SLEEPS;
        self.memory.flag(flag).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let enough = self.room()? >= need;
        if enough {
            self.memory.flag(flag).store(0, Ordering::Relaxed);
        }
        Ok(enough)
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let start = at as usize % DATA;
        let (first, rest) = bytes.split_at(bytes.len().min(DATA - start));
        self.memory.write(self.data + start, first);
        self.memory.write(self.data, rest);
    }
}

/// The side that takes frames out.
pub struct Consumer {
    memory: Arc<Memory>,
    control: usize,
    data: usize,
    head: u64,
    tail_seen: u64,
    looked: u64,
}

impl Consumer {
    /// Of ring `index` in fresh memory.
    pub fn new(memory: Arc<Memory>, index: usize) -> Consumer {
        Consumer { memory, control: control(index), data: data(index), head: 0, tail_seen: 0, looked: 0 }
    }

    /// Takes the next frame out.
    pub fn pop(&mut self) -> Result<Option<Packet>, Broken> {
        let available = self.available()?;
        if available == 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.read(self.head, &mut header);
        let len = length(&header);
        let record = record(len.min(FRAME_MAX));
        if len > FRAME_MAX || record > available {
            return Err(Broken);
        }
        let mut frame = Packet::new();
        let at = self.head + HEADER as u64;
        if len <= INLINE {
            let mut bytes = [0; INLINE];
            self.read(at, &mut bytes[..len]);
            frame.append(&bytes[..len]);
        } else {
            let mut block = Writer::with_capacity(len);
            self.read(at, &mut block.spare_mut()[..len]);
            frame.append_slice(block.commit(len));
        }
        decode(&header, &mut frame).ok_or(Broken)?;
        self.head += record;
        self.memory.counter(self.control + HEAD).store(self.head, Ordering::Release);
        Ok(Some(frame))
    }

    /// Whether the producer sleeps and is to be woken because there is room again; once for each sleep. Cheap enough for every
    /// frame; where the ring is empty it always looks.
    pub fn producer_sleeps(&mut self) -> bool {
        if self.head - self.looked < LOOK && self.head != self.tail_seen {
            return false;
        }
        self.looked = self.head;
        fence(Ordering::SeqCst);
        let flag = self.memory.flag(self.control + PRODUCER_SLEEPS);
        flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::Relaxed) != 0
    }

    /// Says that the consumer is going to sleep, until the producer rings. False if there is a frame after all.
    pub fn sleep(&mut self) -> Result<bool, Broken> {
        let flag = self.control + CONSUMER_SLEEPS;
        self.memory.flag(flag).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = self.is_empty()?;
        if !empty {
            self.memory.flag(flag).store(0, Ordering::Relaxed);
        }
        Ok(empty)
    }

    /// Whether there is no frame.
    pub fn is_empty(&mut self) -> Result<bool, Broken> {
        Ok(self.available()? == 0)
    }

    /// Bytes of whole records that can be read.
    fn available(&mut self) -> Result<u64, Broken> {
        if self.head == self.tail_seen {
            let tail = self.memory.counter(self.control + TAIL).load(Ordering::Acquire);
            if tail < self.head || tail - self.head > DATA as u64 || !tail.is_multiple_of(HEADER as u64) {
                return Err(Broken);
            }
            self.tail_seen = tail;
        }
        Ok(self.tail_seen - self.head)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) {
        let start = at as usize % DATA;
        let (first, rest) = bytes.split_at_mut(bytes.len().min(DATA - start));
        self.memory.read(self.data + start, first);
        self.memory.read(self.data, rest);
    }
}

const CHECKSUM_COMPLETE: u8 = 0;
const CHECKSUM_VERIFIED: u8 = 1;
const CHECKSUM_PARTIAL: u8 = 2;
const WHOLE: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 2;

/// A record's header: length u32; checksum state, kind of super-segment u8; start, offset, size, header length u16; 2 bytes of nothing.
fn encode(frame: &Packet) -> [u8; HEADER] {
    let (checksum, start, offset) = match frame.offload().checksum {
        Checksum::Complete => (CHECKSUM_COMPLETE, 0, 0),
        Checksum::Verified => (CHECKSUM_VERIFIED, 0, 0),
        Checksum::Partial { start, offset } => (CHECKSUM_PARTIAL, start, offset),
    };
    let (kind, size, header_len) = match frame.offload().segmentation {
        None => (WHOLE, 0, 0),
        Some(Segmentation { kind: SegmentKind::Tcp4, size, header_len }) => (TCP4, size, header_len),
        Some(Segmentation { kind: SegmentKind::Tcp6, size, header_len }) => (TCP6, size, header_len),
    };
    let [l0, l1, l2, l3] = (frame.len() as u32).to_ne_bytes();
    let [[a, b], [c, d], [e, f], [g, h]] = [start, offset, size, header_len].map(u16::to_ne_bytes);
    [l0, l1, l2, l3, checksum, kind, a, b, c, d, e, f, g, h, 0, 0]
}

fn length(header: &[u8; HEADER]) -> usize {
    let [a, b, c, d, ..] = *header;
    u32::from_ne_bytes([a, b, c, d]) as usize
}

/// Takes the offload state over into `frame`; `None` if it does not fit it.
fn decode(header: &[u8; HEADER], frame: &mut Packet) -> Option<()> {
    let [_, _, _, _, checksum, kind, a, b, c, d, e, f, g, h, _, _] = *header;
    let [start, offset, size, header_len] = [[a, b], [c, d], [e, f], [g, h]].map(u16::from_ne_bytes);
    let len = frame.len();
    frame.offload_mut().checksum = match checksum {
        CHECKSUM_COMPLETE => Checksum::Complete,
        CHECKSUM_VERIFIED => Checksum::Verified,
        CHECKSUM_PARTIAL if usize::from(start) + usize::from(offset) + 2 <= len => Checksum::Partial { start, offset },
        _ => return None,
    };
    let kind = match kind {
        WHOLE => return Some(()),
        TCP4 => SegmentKind::Tcp4,
        TCP6 => SegmentKind::Tcp6,
        _ => return None,
    };
    if size == 0 || usize::from(header_len) >= len {
        return None;
    }
    frame.offload_mut().segmentation = Some(Segmentation { kind, size, header_len });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (Producer, Consumer, Arc<Memory>) {
        let memory = Arc::new(Memory::create(MEMORY).unwrap().0);
        (Producer::new(memory.clone(), 1), Consumer::new(memory.clone(), 1), memory)
    }

    #[test]
    fn frames_of_all_lengths_come_out_as_they_went_in() {
        let (mut producer, mut consumer, _) = ring();
        // Many times round the ring, so that records lie across its end in every way.
        for round in 0..3000usize {
            let len = [60, 111, 112, 113, 1514, 9000, 65_549, FRAME_MAX][round % 8] - round % 3;
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 + round) as u8).collect();
            let mut frame = Packet::copy_from(&bytes);
            if len > 5000 {
                frame.offload_mut().checksum = Checksum::Partial { start: 34, offset: 16 };
                frame.offload_mut().segmentation =
                    Some(Segmentation { kind: SegmentKind::Tcp4, size: 1448, header_len: 66 });
            }
            assert_eq!(producer.push(&frame), Ok(true));
            let out = consumer.pop().unwrap().unwrap();
            assert!(out.to_vec() == bytes && out.offload() == frame.offload());
            assert!(consumer.pop().unwrap().is_none());
        }
    }

    #[test]
    fn bells_are_rung_for_sleepers_only() {
        let (mut producer, mut consumer, _) = ring();
        let frame = Packet::copy_from(&[7; 60_000]);
        assert!(producer.push(&frame).unwrap() && !producer.consumer_sleeps());
        assert!(!consumer.sleep().unwrap(), "there is a frame");
        assert!(consumer.pop().unwrap().is_some() && !consumer.producer_sleeps());
        assert!(consumer.sleep().unwrap());
        assert!(producer.push(&frame).unwrap() && producer.consumer_sleeps() && !producer.consumer_sleeps());

        while producer.push(&frame).unwrap() {}
        let mut rung = 0;
        while consumer.pop().unwrap().is_some() {
            rung += usize::from(consumer.producer_sleeps());
        }
        assert_eq!(rung, 1);
        assert!(producer.push(&frame).unwrap());
    }

    #[test]
    fn a_producer_that_lies_is_found_out() {
        let lie = |change: fn(&Memory, u64)| {
            let (mut producer, mut consumer, memory) = ring();
            producer.push(&Packet::copy_from(&[1; 100])).unwrap();
            change(&memory, producer.tail);
            assert!((0..100).any(|_| consumer.pop().is_err()), "the lie was believed");
        };
        lie(|memory, _| memory.counter(control(1) + TAIL).store(u64::MAX - 15, Ordering::Relaxed));
        lie(|memory, tail| memory.counter(control(1) + TAIL).store(tail + 1, Ordering::Relaxed));
        lie(|memory, tail| memory.counter(control(1) + TAIL).store(tail + DATA as u64, Ordering::Relaxed));
        lie(|memory, _| memory.write(data(1), &u32::MAX.to_ne_bytes()));
        lie(|memory, _| memory.write(data(1), &113u32.to_ne_bytes()));
        lie(|memory, _| memory.write(data(1) + 4, &[9]));
        lie(|memory, _| memory.write(data(1) + 4, &[CHECKSUM_PARTIAL, 0, 99, 0]));
        lie(|memory, _| memory.write(data(1) + 5, &[TCP4]));
    }

    #[test]
    fn a_consumer_that_lies_is_found_out() {
        for head in [1 << 40, u64::MAX, 16] {
            let (mut producer, mut consumer, memory) = ring();
            let frame = Packet::copy_from(&[7; 60_000]);
            while producer.push(&frame).unwrap() {}
            for _ in 0..3 {
                consumer.pop().unwrap();
            }
            while producer.push(&frame).unwrap() {}
            memory.counter(control(1) + HEAD).store(head, Ordering::Relaxed);
            assert_eq!(producer.push(&frame), Err(Broken));
        }
    }

    #[test]
    fn garbage_in_all_of_the_memory_does_no_harm() {
        let mut random = 7u64;
        for _ in 0..200 {
            let (mut producer, mut consumer, memory) = ring();
            for at in (0..4096).step_by(8) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                memory.write(data(1) + at, &(random >> 40).to_ne_bytes());
            }
            memory.counter(control(1) + TAIL).store((random >> 44) & !15, Ordering::Relaxed);
            while let Ok(Some(frame)) = consumer.pop() {
                assert!(frame.len() <= FRAME_MAX);
            }
            let _ = producer.push(&Packet::copy_from(&[0; 60]));
        }
    }
}
