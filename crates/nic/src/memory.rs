//! Two cards in one thread, joined by a ring for each direction.

use std::cell::RefCell;
use std::rc::Rc;

use wireway_packet::{Instant, Packet, PacketQueue};
use wireway_stack::Features;
use wireway_wire::MacAddr;

use crate::{Nic, Statistics, fits};

/// How to make a [`pair`] of cards.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// The cards' hardware addresses.
    pub macs: [MacAddr; 2],
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Frames (or super-segments) that each direction holds.
    pub ring: usize,
    /// What may be left undone in a frame, to be carried as it is to the other end.
    pub features: Features,
}

impl Default for MemoryConfig {
    /// MTU 1,500, super-segments and partial checksums carried whole.
    fn default() -> Self {
        MemoryConfig {
            macs: [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])],
            mtu: 1500,
            ring: 512,
            features: Features { tx_checksum: true, tcp_segmentation: true },
        }
    }
}

/// One end of a cable within a thread.
pub struct MemoryNic {
    mac: MacAddr,
    mtu: u16,
    features: Features,
    incoming: Rc<RefCell<PacketQueue>>,
    outgoing: Rc<RefCell<PacketQueue>>,
    statistics: Statistics,
}

/// Two cards joined by a cable: what one transmits, the other receives. Put one behind [`Impaired`](crate::Impaired) for a cable
/// that is less than perfect.
pub fn pair(config: MemoryConfig) -> (MemoryNic, MemoryNic) {
    let MemoryConfig { macs: [mac_a, mac_b], mtu, ring, features } = config;
    let [there, back] = [(), ()].map(|()| Rc::new(RefCell::new(PacketQueue::new(ring.max(1)))));
    let nic = |mac, incoming, outgoing| MemoryNic {
        mac,
        mtu,
        features,
        incoming,
        outgoing,
        statistics: Statistics::default(),
    };
    (nic(mac_a, back.clone(), there.clone()), nic(mac_b, there, back))
}

impl Nic for MemoryNic {
    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn features(&self) -> Features {
        self.features
    }

    fn transmit(&mut self, _: Instant, frame: Packet) -> Result<(), Packet> {
        if !self.carrier() || !fits(&frame, self.mtu) {
            self.statistics.tx_dropped += 1;
            return Ok(());
        }
        let mut ring = self.outgoing.borrow_mut();
        if ring.len() < ring.limit() {
            self.statistics.transmitted(&frame);
        }
        ring.enqueue(frame)
    }

    fn receive(&mut self, _: Instant) -> Option<Packet> {
        let frame = self.incoming.borrow_mut().dequeue()?;
        self.statistics.received(&frame);
        Some(frame)
    }

    fn carrier(&self) -> bool {
        // The other end holds the other reference.
        Rc::strong_count(&self.outgoing) > 1
    }

    fn statistics(&self) -> Statistics {
        self.statistics
    }
}

#[cfg(test)]
mod tests {
    use wireway_packet::{SegmentKind, Segmentation};

    use super::*;

    const NOW: Instant = Instant::ZERO;

    #[test]
    fn what_one_transmits_the_other_receives_until_the_ring_is_full() {
        let (mut a, mut b) = pair(MemoryConfig { ring: 2, ..MemoryConfig::default() });
        assert!(a.transmit(NOW, Packet::copy_from(&[1; 60])).is_ok());
        assert!(a.transmit(NOW, Packet::copy_from(&[2; 60])).is_ok());
        let refused = a.transmit(NOW, Packet::copy_from(&[3; 60])).unwrap_err();
        assert_eq!(b.receive(NOW).unwrap().to_vec(), [1; 60]);
        assert!(a.transmit(NOW, refused).is_ok());
        assert_eq!(b.receive(NOW).unwrap().to_vec(), [2; 60]);
        assert_eq!(b.receive(NOW).unwrap().to_vec(), [3; 60]);
        assert!(b.receive(NOW).is_none() && a.receive(NOW).is_none());
        assert_eq!((a.statistics().tx_frames, b.statistics().rx_bytes), (3, 180));
    }

    #[test]
    fn long_frames_and_frames_without_a_peer_are_dropped_and_counted() {
        let (mut a, mut b) = pair(MemoryConfig::default());
        a.transmit(NOW, Packet::copy_from(&[0; 1519])).unwrap();
        assert!(b.receive(NOW).is_none());
        drop(b);
        assert!(!a.carrier());
        a.transmit(NOW, Packet::copy_from(&[0; 60])).unwrap();
        assert_eq!(a.statistics().tx_dropped, 2);
    }

    #[test]
    fn a_super_segment_is_carried_whole_and_counted_as_its_frames() {
        let (mut a, mut b) = pair(MemoryConfig::default());
        let mut packet = Packet::copy_from(&[0; 54 + 3000]);
        packet.offload_mut().segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size: 1446, header_len: 54 });
        a.transmit(NOW, packet).unwrap();
        assert_eq!(b.receive(NOW).unwrap().len(), 3054);
        assert_eq!((b.statistics().rx_frames, b.statistics().rx_bytes), (3, 3000 + 3 * 54));
    }
}
