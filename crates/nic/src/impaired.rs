//! Any card behind a cable that is less than perfect: each direction passes a [`Link`].

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use wireway_link::{Link, LinkConfig};
use wireway_packet::{Instant, Packet};
use wireway_stack::Features;
use wireway_wire::MacAddr;

use crate::{Nic, Statistics};

/// The two directions of a cable: what a card transmits passes the first, what it receives the second.
pub type Cable = Rc<RefCell<[Link; 2]>>;

/// A card whose cable has the rate, delay, loss … of a [`LinkConfig`] in each direction.
pub struct Impaired<N> {
    nic: N,
    cable: Cable,
    /// What the card gave back after it had come over the link.
    kept: Option<Packet>,
    /// The card may have received more than was taken in at once.
    more: bool,
}

/// Frames taken in from the card at once.
const BATCH: usize = 64;

impl<N: Nic> Impaired<N> {
    /// Puts a cable in front of `nic` that behaves as the configurations say, first what it does to frames that are transmitted; all
    /// chance comes from `seed`.
    pub fn new(nic: N, [outgoing, incoming]: [LinkConfig; 2], seed: u64) -> Impaired<N> {
        let cable = [Link::new(outgoing, seed), Link::new(incoming, seed ^ 0x9e37_79b9_7f4a_7c15)];
        Impaired { nic, cable: Rc::new(RefCell::new(cable)), kept: None, more: false }
    }

    /// The cable, to look at and to change while it is in use.
    pub fn cable(&self) -> Cable {
        self.cable.clone()
    }

    /// Hands to the card what has come over the link.
    fn push(&mut self, now: Instant) {
        loop {
            let next = self.kept.take().or_else(|| self.cable.borrow_mut()[0].receive(now));
            let Some(frame) = next else { return };
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
        let up = &mut self.cable.borrow_mut()[0];
        if up.is_idle_and_perfect() {
            let len = frame.len();
            self.nic.transmit(now, frame)?;
            up.pass(len);
            return Ok(());
        }
        up.send(now, frame);
        Ok(())
    }

    fn receive(&mut self, now: Instant) -> Option<Packet> {
        let perfect = {
            let down = &mut self.cable.borrow_mut()[1];
            let arrived = down.receive(now);
            if arrived.is_some() {
                return arrived;
            }
            down.is_idle_and_perfect()
        };
        if perfect {
            self.more = false;
            self.push(now);
            let frame = self.nic.receive(now)?;
            self.cable.borrow_mut()[1].pass(frame.len());
            return Some(frame);
        }
        self.more = true;
        for _ in 0..BATCH {
            let Some(frame) = self.nic.receive(now) else {
                self.more = false;
                break;
            };
            self.cable.borrow_mut()[1].send(now, frame);
        }
        self.push(now);
        self.nic.flush(now);
        self.cable.borrow_mut()[1].receive(now)
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
        let [outgoing, incoming] = &*self.cable.borrow();
        let outgoing = if self.kept.is_none() { outgoing.poll_at() } else { None };
        [outgoing, incoming.poll_at(), self.nic.poll_at()].into_iter().flatten().min()
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
        let mut a = Impaired::new(a, [(); 2].map(|()| LinkConfig { delay, ..LinkConfig::default() }), 1);
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
    fn what_is_on_its_way_when_a_cable_becomes_perfect_arrives() {
        let (a, mut b) = pair(MemoryConfig::default());
        let delay = Duration::from_millis(20);
        let mut a = Impaired::new(a, [(); 2].map(|()| LinkConfig { delay, ..LinkConfig::default() }), 1);
        let now = Instant::ZERO;
        a.transmit(now, Packet::copy_from(&[1; 60])).unwrap();
        b.transmit(now, Packet::copy_from(&[1; 60])).unwrap();
        assert!(a.receive(now).is_none());
        a.cable().borrow_mut().iter_mut().for_each(|link| link.set_config(now, LinkConfig::default()));
        a.transmit(now, Packet::copy_from(&[2; 60])).unwrap();
        b.transmit(now, Packet::copy_from(&[2; 60])).unwrap();
        a.flush(now);
        for (at, number) in [(now, 2), (now + delay, 1)] {
            assert_eq!(a.receive(at).map(|frame| frame.head()[0]), Some(number));
            a.flush(at);
            assert_eq!(b.receive(at).map(|frame| frame.head()[0]), Some(number));
            assert!(a.receive(at).is_none() && b.receive(at).is_none());
        }
        a.transmit(now + delay, Packet::copy_from(&[3; 60])).unwrap();
        assert!(b.receive(now + delay).is_some(), "nothing is on its way: at once");
        assert_eq!(a.cable().borrow()[0].counters().delivered, 3);
    }

    #[test]
    fn a_full_card_holds_the_link_up_and_loses_nothing() {
        let (a, mut b) = pair(MemoryConfig { ring: 1, ..MemoryConfig::default() });
        let delay = Duration::from_nanos(1);
        let mut a = Impaired::new(a, [(); 2].map(|()| LinkConfig { delay, ..LinkConfig::default() }), 1);
        let now = Instant::ZERO;
        for i in 0..3 {
            a.transmit(now, Packet::copy_from(&[i; 60])).unwrap();
        }
        let now = now + delay;
        a.flush(now);
        assert!(a.transmit(now, Packet::copy_from(&[9; 60])).is_err());
        for i in 0..3 {
            assert_eq!(b.receive(now).unwrap().to_vec(), [i; 60]);
            a.flush(now);
        }
        assert!(a.transmit(now, Packet::copy_from(&[9; 60])).is_ok());
    }
}
