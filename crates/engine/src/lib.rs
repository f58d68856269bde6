//! Runs hosts in real time: one thread, run to completion, asleep when idle.
//!
//! An [`Engine`] is an epoll loop around nodes. A node is a [`Host`], the nics of its interfaces, and a [`Service`]:
//! what uses the host's sockets (the attach layer for a program, the gateway for the rest of the world). Each turn handles ready
//! descriptors, then moves packets between hosts and nics, runs due timers and hands out socket events until nothing
//! is left to do or the budget is spent, and then sleeps until the earliest deadline.
//!
//! Where to look:
//! - a turn, its budget and its sleep: `engine.rs`
//! - descriptors and stale events: `reactor.rs`
//! - a nic and what it gave back: `port.rs`
//! - the clock: `clock.rs`
//! - what a service sees: this file

use std::any::Any;
use std::io;
use std::os::fd::BorrowedFd;

use wireway_packet::Instant;
use wireway_stack::{Event, Host, InterfaceId};

mod clock;
mod engine;
mod port;
mod reactor;

pub use engine::{Engine, Statistics};

use reactor::{Reactor, Target};

/// What a descriptor is watched for, and what was seen: epoll's EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET bits.
pub type Interest = rustix::event::epoll::EventFlags;

/// What uses a node's host.
///
/// All calls come from the engine's thread and should do a bounded amount of work: what remains is done when the descriptor
/// (level-triggered) is reported again, or at a [`poll_at`](Self::poll_at) that is not in the future.
pub trait Service: Any {
    /// A descriptor registered with `token` is ready.
    fn ready(&mut self, cx: &mut Context<'_>, token: u64, ready: Interest);

    /// A socket of the host may have become ready.
    fn event(&mut self, cx: &mut Context<'_>, event: Event);

    /// Called when [`poll_at`](Self::poll_at) has come, and once at the start.
    fn poll(&mut self, cx: &mut Context<'_>);

    /// When the service wants [`poll`](Self::poll) to be called next.
    fn poll_at(&self) -> Option<Instant>;

    /// A nic of the node no longer works, and why. The interface stays, but nothing moves by it any more.
    fn nic_failed(&mut self, cx: &mut Context<'_>, interface: InterfaceId, reason: &str) {
        let _ = (cx, interface, reason);
    }
}

/// A node of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub usize);

/// What a service may use while it is called.
pub struct Context<'a> {
    /// The time of this turn.
    pub now: Instant,
    /// The node's host. What is sent through it is transmitted after the call.
    pub host: &'a mut Host,
    pub(crate) node: NodeId,
    pub(crate) reactor: &'a mut Reactor,
}

impl Context<'_> {
    /// Watches a descriptor for this node's service; `token` comes back in [`Service::ready`]. Errors are those of
    /// epoll_ctl(2): EEXIST if the descriptor is watched already, EPERM if it cannot be (a plain file).
    pub fn register(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.reactor.register(fd, Target::Service { node: self.node, token }, interest)
    }

    /// Changes what a descriptor is watched for, and its token. ENOENT if it is not watched.
    pub fn modify(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.reactor.modify(fd, Target::Service { node: self.node, token }, interest)
    }

    /// Stops watching a descriptor: nothing more of it is reported, also of what was seen already. Needed before it is
    /// closed.
    pub fn deregister(&mut self, fd: BorrowedFd<'_>) {
        self.reactor.deregister(fd);
    }

    /// Stops watching a descriptor that is about to be closed and has no duplicate, in which case no system call is needed.
    pub fn forget(&mut self, fd: BorrowedFd<'_>) {
        self.reactor.forget(fd);
    }

    /// Ends [`Engine::run`] after this turn, with this result (the first call wins).
    pub fn stop(&mut self, status: i32) {
        self.reactor.stop(status);
    }
}
