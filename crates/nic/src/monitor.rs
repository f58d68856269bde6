//! Any card with somebody watching its frames, at the point where they are on the wire.
//!
//! What the watcher sees is what a tap on the cable would show: frames of at most an MTU, with their checksums. Where the card
//! takes super-segments or partial checksums, they are cut and completed for the watcher, and passed on whole.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use wireway_packet::software::{Segmenter, complete_checksum};
use wireway_packet::{Instant, Packet};
use wireway_stack::Features;
use wireway_wire::MacAddr;

use crate::{Nic, Statistics};

/// Which way a frame went, seen from the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the cable to the host.
    Received,
    /// From the host to the cable.
    Transmitted,
}

/// Who watches cards. One may watch several.
pub trait Monitor {
    /// A card named `name` will be watched: returns the number by which its frames are told.
    fn attach(&mut self, name: &str, mac: MacAddr) -> usize;

    /// Whether frames are still wanted.
    fn is_active(&self) -> bool {
        true
    }

    /// A frame, from its Ethernet header on, that passed the card `card`.
    fn frame(&mut self, now: Instant, card: usize, direction: Direction, frame: &[u8]);

    /// Called when [`poll_at`](Self::poll_at) has come.
    fn poll(&mut self, now: Instant) {
        let _ = now;
    }

    /// When the monitor has something to do by itself.
    fn poll_at(&self) -> Option<Instant> {
        None
    }
}

/// A card that is watched.
pub struct Monitored<N> {
    nic: N,
    monitor: Rc<RefCell<dyn Monitor>>,
    card: usize,
    bytes: Vec<u8>,
}

impl<N: Nic> Monitored<N> {
    /// Has `monitor` see what passes `nic`, under the name `name`.
    pub fn new(nic: N, name: &str, monitor: Rc<RefCell<dyn Monitor>>) -> Monitored<N> {
        let card = monitor.borrow_mut().attach(name, nic.mac());
        Monitored { nic, monitor, card, bytes: Vec::new() }
    }

    fn show(&mut self, now: Instant, direction: Direction, packet: Packet) {
        let mut monitor = self.monitor.borrow_mut();
        for mut frame in Segmenter::new(packet) {
            complete_checksum(&mut frame);
            self.bytes.clear();
            frame.parts().for_each(|part| self.bytes.extend_from_slice(part));
            monitor.frame(now, self.card, direction, &self.bytes);
        }
    }
}

impl<N: Nic> Nic for Monitored<N> {
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
        if !self.monitor.borrow().is_active() {
            return self.nic.transmit(now, frame);
        }
        // A frame that is given back has not been on the wire, and comes again.
        let copy = frame.clone();
        self.nic.transmit(now, frame)?;
        self.show(now, Direction::Transmitted, copy);
        Ok(())
    }

    fn receive(&mut self, now: Instant) -> Option<Packet> {
        let due = self.monitor.borrow().poll_at().is_some_and(|at| at <= now);
        if due {
            self.monitor.borrow_mut().poll(now);
        }
        let frame = self.nic.receive(now)?;
        if self.monitor.borrow().is_active() {
            self.show(now, Direction::Received, frame.clone());
        }
        Some(frame)
    }

    fn flush(&mut self, now: Instant) {
        self.nic.flush(now);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.nic.fd()
    }

    fn poll_at(&self) -> Option<Instant> {
        self.nic.poll_at().into_iter().chain(self.monitor.borrow().poll_at()).min()
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
