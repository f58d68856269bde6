//! Listeners on AF_UNIX STREAM pairs: tokens.
//!
//! A listener is readable while a connection waits. The engine writes a byte, a *token*, into the pair when one arrives; every write wakes
//! one edge-triggered or exclusive watcher, as an arrival does on Linux. Tokens are only readiness: the host's queue is the truth. The
//! tokens are taken away again when accept finds the queue empty.

use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, SendFlags};

/// More tokens than this in a pair tell nobody anything new.
const MOST: usize = 250;

/// The tokens of a listener.
#[derive(Default)]
pub(crate) struct Tokens {
    /// In the pair, unless the program itself read some.
    count: usize,
}

impl Tokens {
    /// A connection arrived.
    pub(crate) fn arrived(&mut self, ours: BorrowedFd<'_>) {
        if self.count < MOST && rustix::net::send(ours, b"t", SendFlags::DONTWAIT | SendFlags::NOSIGNAL) == Ok(1) {
            self.count += 1;
        }
    }

    /// A connection was accepted, or none was found: `more` wait. Leaves one token at least while some wait, and none otherwise.
    pub(crate) fn settle(&mut self, ours: Option<BorrowedFd<'_>>, theirs: BorrowedFd<'_>, more: bool) {
        let keep = if more { self.count.saturating_sub(1).max(1) } else { 0 };
        let mut scrap = [0u8; MOST];
        while self.count > keep {
            let room = (self.count - keep).min(MOST);
            match rustix::net::recv(theirs, &mut scrap[..room], RecvFlags::DONTWAIT) {
                Ok((n, _)) if n > 0 => self.count -= n,
                _ => self.count = 0,
            }
        }
        if let Some(ours) = ours
            && self.count < keep
        {
            self.arrived(ours);
        }
    }
}
