//! One relayed connection: the machine's socket on one side, the gateway host's on the other.
//!
//! # Theory of operation
//!
//! Bytes are copied once each way: the outer socket is read straight into blocks of the inner socket's send buffer, and
//! received bytes are written to the outer socket from where they lie. Nothing is kept in between, so a side that does not
//! take more leaves the other's window to close: that is the back-pressure.
//!
//! The outer socket is watched by edges. `readable` and `writable` remember an edge until a call says "would block",
//! or moves less than it could have; the inner side is simply asked again.
//!
//! Each direction ends by itself: an end of stream is passed on as one (FIN becomes shutdown, and the reverse), and when both
//! have ended, both sockets are closed. A reset of one side resets the other, after what came before it has been handed
//! over.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags as OuterFlags, sendmsg};
use wireway_engine::Interest;
use wireway_packet::Instant;
use wireway_stack::{Error, Host, SendFlags, Shutdown, SocketId};

use crate::counters::{Counters, add};
use crate::outer;

/// Bytes that one call of [`Relay::pump`] moves each way, so that connections take turns.
const BUDGET: usize = 256 << 10;
/// Slices that one writev(2) takes (UIO_MAXIOV).
const SLICES: usize = 1_024;
/// How long what came before a reset may take to reach the program.
const RESET_PATIENCE: Duration = Duration::from_secs(10);

/// What a call of [`Relay::pump`] leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing can move until something becomes ready.
    Idle,
    /// The budget is spent: more can move.
    Busy,
    /// The outer side was reset; what it had sent is still on its way to the program. [`Relay::reset_is_due`] tells when to
    /// pass the reset on.
    Resetting,
    /// Both directions have ended.
    Ended,
    /// The inner side was reset.
    InnerReset,
}

/// How a direction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Open,
    /// The end of the stream was passed on.
    Ended,
    /// The receiver takes no more; the sender will be reset when the other direction has ended.
    Broken,
}

/// An established connection on both sides.
pub(crate) struct Relay {
    outer: OwnedFd,
    inner: SocketId,
    readable: bool,
    writable: bool,
    /// The outer peer has sent FIN: behind a short read is the end.
    finished: bool,
    /// There may be an error: a short read is not the end of what can be read.
    hang_up: bool,
    inward: Direction,
    outward: Direction,
    /// The outer side was reset: when to pass it on at the latest.
    reset_at: Option<Instant>,
}

impl Relay {
    /// A relay of a connection that is established, or about to be, on both sides. What can be read will be noted: watching
    /// a descriptor reports what it is ready for already.
    pub fn new(outer: OwnedFd, inner: SocketId) -> Relay {
        Relay {
            outer,
            inner,
            readable: false,
            writable: true,
            finished: false,
            hang_up: false,
            inward: Direction::Open,
            outward: Direction::Open,
            reset_at: None,
        }
    }

    pub fn inner(&self) -> SocketId {
        self.inner
    }

    /// Puts another socket of the host in the place of the one there was, which comes back.
    pub fn replace_inner(&mut self, inner: SocketId) -> SocketId {
        std::mem::replace(&mut self.inner, inner)
    }

    pub fn outer(&self) -> &OwnedFd {
        &self.outer
    }

    /// Whether the program may still send, or has sent what the machine has not taken yet.
    pub fn is_sending(&self) -> bool {
        self.outward == Direction::Open
    }

    /// Notes what was seen of the outer socket.
    pub fn note(&mut self, seen: Interest) {
        self.readable |= seen.intersects(Interest::IN | Interest::RDHUP | Interest::HUP | Interest::ERR);
        self.writable |= seen.intersects(Interest::OUT | Interest::HUP | Interest::ERR);
        self.finished |= seen.contains(Interest::RDHUP);
        self.hang_up |= seen.intersects(Interest::HUP | Interest::ERR);
    }

    /// Moves what can be moved.
    pub fn pump(&mut self, now: Instant, host: &mut Host, counters: &Counters) -> Pumped {
        if self.reset_at.is_some() {
            return Pumped::Resetting;
        }
        let outward = self.pump_outward(now, host, counters);
        if outward == Pumped::InnerReset {
            return outward;
        }
        let inward = self.pump_inward(now, host, counters);
        if inward == Pumped::InnerReset {
            return inward;
        }
        if self.reset_at.is_some() {
            return Pumped::Resetting;
        }
        match (self.inward, self.outward) {
            (Direction::Ended, Direction::Ended) => Pumped::Ended,
            _ if inward == Pumped::Busy || outward == Pumped::Busy => Pumped::Busy,
            _ => Pumped::Idle,
        }
    }

    /// From the program to the machine.
    fn pump_outward(&mut self, now: Instant, host: &mut Host, counters: &Counters) -> Pumped {
        let mut budget = BUDGET;
        while self.outward == Direction::Open && self.writable && budget > 0 {
            let (outer, writable) = (&self.outer, &mut self.writable);
            let mut asked = false;
            let mut failure = None;
            let outcome = host.recv_with(now, self.inner, budget, &mut |slices| {
                asked = true;
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                match write(outer, slices) {
                    Ok(n) => {
                        *writable = n == offered || slices.len() > SLICES;
                        n
                    }
                    Err(Errno::AGAIN) => {
                        *writable = false;
                        0
                    }
                    Err(error) => {
                        failure = Some(error);
                        0
                    }
                }
            });
            if failure.is_some() {
                // What it sent before it broke the connection can still be read.
                self.outward = Direction::Broken;
                self.readable = true;
                self.hang_up = true;
                return Pumped::Idle;
            }
            match outcome {
                Ok(0) if asked => return Pumped::Idle,
                Ok(0) => {
                    self.outward = Direction::Ended;
                    // The last direction to end needs no shutdown: the socket is closed. ENOTCONN: it was reset, which
                    // reading will tell.
                    if self.inward == Direction::Open {
                        let _ = rustix::net::shutdown(&self.outer, rustix::net::Shutdown::Write);
                    }
                }
                Ok(n) => {
                    add(&counters.tcp_bytes_out, n as u64);
                    budget = budget.saturating_sub(n);
                }
                Err(Error::WouldBlock) => return Pumped::Idle,
                Err(_) => return Pumped::InnerReset,
            }
        }
        if budget == 0 { Pumped::Busy } else { Pumped::Idle }
    }

    /// From the machine to the program.
    fn pump_inward(&mut self, now: Instant, host: &mut Host, counters: &Counters) -> Pumped {
        if self.inward != Direction::Open && self.hang_up {
            // An error after the end of the stream: a reset, if it is one.
            self.hang_up = false;
            if outer::take_error(&self.outer).is_some() || self.outward == Direction::Broken {
                self.outer_reset(now);
            }
            return Pumped::Idle;
        }
        let mut budget = BUDGET;
        while self.inward == Direction::Open && self.readable && budget > 0 {
            let (outer, finished, hang_up, readable) = (&self.outer, self.finished, self.hang_up, &mut self.readable);
            let mut end = None;
            let outcome =
                host.send_with(now, self.inner, budget, SendFlags::default(), &mut |piece| match outer::recv(
                    outer, piece,
                ) {
                    Ok(0) if piece.is_empty() => 0,
                    Ok(0) => {
                        end = Some(Ok(()));
                        0
                    }
                    Ok(n) => {
                        *readable = n == piece.len() || hang_up;
                        if !*readable && finished {
                            end = Some(Ok(()));
                        }
                        n
                    }
                    Err(Errno::AGAIN) => {
                        *readable = false;
                        0
                    }
                    Err(error) => {
                        end = Some(Err(error));
                        0
                    }
                });
            match outcome {
                Ok(n) => {
                    add(&counters.tcp_bytes_in, n as u64);
                    budget = budget.saturating_sub(n);
                }
                Err(Error::WouldBlock) if end.is_none() => return Pumped::Idle,
                Err(Error::WouldBlock) => {}
                Err(_) => return Pumped::InnerReset,
            }
            match end {
                None => {}
                Some(Ok(())) if self.outward == Direction::Broken => self.outer_reset(now),
                Some(Ok(())) => {
                    self.inward = Direction::Ended;
                    self.hang_up = false;
                    if host.shutdown(now, self.inner, Shutdown::Write).is_err() {
                        return Pumped::InnerReset;
                    }
                }
                Some(Err(_)) => self.outer_reset(now),
            }
        }
        if budget == 0 { Pumped::Busy } else { Pumped::Idle }
    }

    fn outer_reset(&mut self, now: Instant) {
        self.readable = false;
        self.writable = false;
        self.inward = Direction::Broken;
        self.reset_at = Some(now + RESET_PATIENCE);
    }

    /// The inner side shows an error: whether it was reset while nothing is left to read, where no call would tell.
    pub fn inner_is_reset(&self, host: &mut Host) -> bool {
        self.outward != Direction::Open && self.reset_at.is_none() && host.take_error(self.inner).is_some()
    }

    /// Whether the reset of the outer side is to be passed on now: what it sent before is acknowledged, or time is up.
    pub fn reset_is_due(&self, now: Instant, host: &Host) -> bool {
        self.reset_at.is_some_and(|at| at <= now) || host.send_outstanding(self.inner) == 0
    }

    /// Ends both sides in order.
    pub fn close(self, now: Instant, host: &mut Host) {
        // It was open until now: there is nothing to fail.
        let _ = host.close(now, self.inner);
    }

    /// Resets both sides.
    pub fn reset(self, now: Instant, host: &mut Host) {
        let _ = host.abort(now, self.inner);
        self.reset_outer();
    }

    /// Resets the outer side.
    pub fn reset_outer(self) {
        outer::reset(self.outer);
    }
}

fn write(outer: &OwnedFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let slices = slices.get(..SLICES).unwrap_or(slices);
    loop {
        match sendmsg(outer, slices, &mut SendAncillaryBuffer::default(), OuterFlags::NOSIGNAL | OuterFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
