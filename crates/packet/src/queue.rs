//! A bounded first-in-first-out queue of packets.

use std::collections::VecDeque;

use crate::Packet;

/// Packets in order, bounded in number; the newest is refused when it is full.
#[derive(Debug)]
pub struct PacketQueue {
    packets: VecDeque<Packet>,
    bytes: usize,
    limit: usize,
}

impl PacketQueue {
    /// An empty queue of at most `limit` packets.
    pub fn new(limit: usize) -> PacketQueue {
        PacketQueue { packets: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds a packet at the end, or gives it back if the queue is full.
    #[inline]
    pub fn enqueue(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.packets.len() >= self.limit {
            return Err(packet);
        }
        self.bytes += packet.len();
        self.packets.push_back(packet);
        Ok(())
    }

    /// Takes the oldest packet.
    #[inline]
    pub fn dequeue(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }

    /// The oldest packet.
    pub fn peek(&self) -> Option<&Packet> {
        self.packets.front()
    }

    /// Packets in the queue.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes of all packets in the queue.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packets the queue can hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Changes how many packets the queue can hold; those already in it stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Drops all packets and returns how many there were.
    pub fn clear(&mut self) -> usize {
        self.bytes = 0;
        let count = self.packets.len();
        self.packets.clear();
        count
    }
}
