//! Any card behind a cable that is less than perfect: each direction passes a [`Link`].

use std::os::fd::BorrowedFd;

use wireway_link::{Link, LinkConfig};
use wireway_packet::{Instant, Packet};
use wireway_stack::Features;
use wireway_wire::MacAddr;

use crate::{Nic, Statistics};

/// A card whose cable has the rate, delay, loss … of a [`LinkConfig`] in both directions.
pub struct Impaired<N> {
    nic: N,
    outgoing: Link,
    incoming: Link,
    /// What the card gave back after it had come over the link.
    kept: Option<Packet>,
    /// The card may have received more than was taken in at once.
    more: bool,
}

/// Frames taken in from the card at once.
const BATCH: usize = 64;

impl<N: Nic> Impaired<N> {
    /// Puts a cable that behaves as `config` says in front of `nic`; all chance comes from `seed`.
    pub fn new(nic: N, config: LinkConfig, seed: u64) -> Impaired<N> {
        let incoming = Link::new(config.clone(), seed ^ 0x9e37_79b9_7f4a_7c15);
        Impaired { nic, outgoing: Link::new(config, seed), incoming, kept: None, more: false }
    }

    /// The cable: what this card transmits passes the first, what it receives the second.
    pub fn links(&self) -> (&Link, &Link) {
        (&self.outgoing, &self.incoming)
    }

    /// Changes both directions of the cable from now on.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.outgoing.set_config(config.clone());
        self.incoming.set_config(config);
    }

    /// Hands to the card what has come over the link.
    fn push(&mut self, now: Instant) {
        while let Some(frame) = self.kept.take().or_else(|| self.outgoing.receive(now)) {
            if let Err(frame) = self.nic.transmit(now, frame) {
                self.kept = Some(frame);
                return;
            }
        }
    }
}

impl<N: Nic> Nic for Impaired<N> {
    fn mac(&self) -> MacAddr {
        self.nic.mac()
    }

    fn mtu(&self) -> u16 {
        self.nic.mtu()
    }

    fn features(&self) -> Features {
        self.nic.features()
    }

    fn transmit(&mut self, now: Instant, frame: Packet) -> Result<(), Packet> {
        if self.kept.is_some() {
            self.push(now);
            if self.kept.is_some() {
                return Err(frame);
            }
        }
        self.outgoing.send(now, frame);
        Ok(())
    }

    fn receive(&mut self, now: Instant) -> Option<Packet> {
        if let Some(frame) = self.incoming.receive(now) {
            return Some(frame);
        }
        self.more = true;
        for _ in 0..BATCH {
            let Some(frame) = self.nic.receive(now) else {
                self.more = false;
                break;
            };
            self.incoming.send(now, frame);
        }
        self.push(now);
        self.nic.flush(now);
        self.incoming.receive(now)
    }

    fn flush(&mut self, now: Instant) {
        self.push(now);
        self.nic.flush(now);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.nic.fd()
    }

    fn poll_at(&self) -> Option<Instant> {
        if self.more {
            return Some(Instant::ZERO);
        }
        // While the card is full its own signal is waited for, not the link's time.
        let outgoing = if self.kept.is_none() { self.outgoing.poll_at() } else { None };
        outgoing.into_iter().chain(self.incoming.poll_at()).chain(self.nic.poll_at()).min()
    }

    fn failure(&self) -> Option<String> {
        self.nic.failure()
    }

    fn carrier(&self) -> bool {
        self.nic.carrier()
    }

    fn statistics(&self) -> Statistics {
        self.nic.statistics()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{MemoryConfig, pair};

    #[test]
    fn frames_take_their_time_in_both_directions() {
        let (a, mut b) = pair(MemoryConfig::default());
        let delay = Duration::from_millis(20);
        let mut a = Impaired::new(a, LinkConfig { delay, ..LinkConfig::default() }, 1);
        let start = Instant::from_millis(5);
        a.transmit(start, Packet::copy_from(&[1; 60])).unwrap();
        a.flush(start);
        assert_eq!(a.poll_at(), Some(start + delay));
        assert!(b.receive(start).is_none());
        assert!(a.receive(start + delay).is_none());
        assert!(b.receive(start + delay).is_some());

        b.transmit(start, Packet::copy_from(&[2; 60])).unwrap();
        assert!(a.receive(start).is_none());
        assert_eq!(a.poll_at(), Some(start + delay));
        assert!(a.receive(start + delay).is_some());
        assert_eq!(a.poll_at(), None);
    }

    #[test]
    fn a_full_card_holds_the_link_up_and_loses_nothing() {
        let (a, mut b) = pair(MemoryConfig { ring: 1, ..MemoryConfig::default() });
        let mut a = Impaired::new(a, LinkConfig::default(), 1);
        let now = Instant::ZERO;
        for i in 0..3 {
            a.transmit(now, Packet::copy_from(&[i; 60])).unwrap();
        }
        a.flush(now);
        assert!(a.transmit(now, Packet::copy_from(&[9; 60])).is_err());
        for i in 0..3 {
            assert_eq!(b.receive(now).unwrap().to_vec(), [i; 60]);
            a.flush(now);
        }
        assert!(a.transmit(now, Packet::copy_from(&[9; 60])).is_ok());
    }
}
