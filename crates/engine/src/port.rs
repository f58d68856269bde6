//! A nic behind an interface, and the one frame it gave back.

use std::os::fd::BorrowedFd;

use rustix::event::epoll::EventFlags;
use wireway_nic::Nic;
use wireway_packet::{Instant, Packet};
use wireway_stack::{Host, InterfaceId};

use crate::reactor::Reactor;

/// Frames a nic may receive, and transmit, in one round.
const BATCH: usize = 64;

pub(crate) struct Port {
    pub interface: InterfaceId,
    nic: Box<dyn Nic>,
    /// What the nic gave back: while it is here, the host's queue fills.
    kept: Option<Packet>,
    /// The nic has a descriptor, and was read empty since that was last reported.
    drained: bool,
    /// The nic has a descriptor, and gave a frame back since that was last reported.
    blocked: bool,
    /// The descriptor is watched for EPOLLOUT too.
    watched_for_room: bool,
    failed: bool,
}

impl Port {
    pub fn new(interface: InterfaceId, nic: Box<dyn Nic>) -> Port {
        Port { interface, nic, kept: None, drained: false, blocked: false, watched_for_room: false, failed: false }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.nic.fd()
    }

    pub fn nic(&self) -> &dyn Nic {
        &*self.nic
    }

    /// The descriptor is ready, or the nic's time has come.
    pub fn wake(&mut self) {
        self.drained = false;
        self.blocked = false;
    }

    /// Has the descriptor watched for room to transmit exactly while the nic is full.
    pub fn watch(&mut self, reactor: &mut Reactor) {
        if self.blocked == self.watched_for_room || self.failed {
            return;
        }
        if let Some(fd) = self.nic.fd() {
            let room = if self.blocked { EventFlags::OUT } else { EventFlags::empty() };
            // It is watched, so this cannot fail but for memory: then the next round tries again.
            if reactor.update(fd, EventFlags::IN | room).is_ok() {
                self.watched_for_room = self.blocked;
            }
        }
    }

    /// Whether a frame that the nic gave back may be tried again.
    pub fn has_frame(&self) -> bool {
        self.kept.is_some() && !self.blocked
    }

    pub fn poll_at(&self) -> Option<Instant> {
        if self.failed { None } else { self.nic.poll_at() }
    }

    /// Hands a batch of received frames to the host. Returns how many.
    pub fn receive(&mut self, now: Instant, host: &mut Host) -> usize {
        if self.drained || self.failed {
            return 0;
        }
        for count in 0..BATCH {
            let Some(frame) = self.nic.receive(now) else {
                self.drained = self.nic.fd().is_some();
                return count;
            };
            host.receive(now, self.interface, frame);
        }
        BATCH
    }

    /// Transmits a batch of the host's frames. Returns how many the nic took.
    pub fn transmit(&mut self, now: Instant, host: &mut Host) -> usize {
        if self.blocked || self.failed {
            return 0;
        }
        let mut count = 0;
        while count < BATCH {
            let Some(frame) = self.kept.take().or_else(|| host.transmit(now, self.interface)) else { break };
            if let Err(frame) = self.nic.transmit(now, frame) {
                self.kept = Some(frame);
                self.blocked = self.nic.fd().is_some();
                break;
            }
            count += 1;
        }
        if count > 0 {
            self.nic.flush(now);
        }
        count
    }

    /// Why the nic no longer works, the first time it says so.
    pub fn newly_failed(&mut self, reactor: &mut Reactor) -> Option<String> {
        if self.failed {
            return None;
        }
        let reason = self.nic.failure()?;
        self.failed = true;
        self.kept = None;
        if let Some(fd) = self.nic.fd() {
            reactor.deregister(fd);
        }
        Some(reason)
    }
}
