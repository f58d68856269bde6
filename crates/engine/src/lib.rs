//! Runs hosts in real time: one thread, run to completion, asleep when idle.
//!
//! An [`Engine`] is an epoll loop around nodes. A node is a [`Host`], the nics of its interfaces, and a [`Service`]:
//! what uses the host's sockets (the attach layer for a program, the gateway for the rest of the world). Each turn handles ready
//! descriptors, then moves packets between hosts and nics, runs due timers and hands out socket events until nothing
//! is left to do or the budget is spent, and then sleeps until the earliest deadline.

use std::os::fd::BorrowedFd;

use wireway_nic::Nic;
use wireway_packet::Instant;
use wireway_stack::{Event, Host, InterfaceId};

/// What a descriptor is watched for, and what was seen: epoll's EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET bits.
pub type Interest = rustix::event::epoll::EventFlags;

/// What uses a node's host.
pub trait Service {
    /// A descriptor registered with `token` is ready.
    fn ready(&mut self, cx: &mut Context<'_>, token: u64, ready: Interest);

    /// A socket of the host may have become ready.
    fn event(&mut self, cx: &mut Context<'_>, event: Event);

    /// Called when [`poll_at`](Self::poll_at) has come, and once at the start.
    fn poll(&mut self, cx: &mut Context<'_>);

    /// When the service wants [`poll`](Self::poll) to be called next.
    fn poll_at(&self) -> Option<Instant>;
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
    pub(crate) _engine: (),
}

#[allow(unused_variables)]
impl Context<'_> {
    /// Watches a descriptor for this node's service. Errors are those of epoll_ctl(2).
    pub fn register(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> std::io::Result<()> {
        todo!()
    }

    /// Changes what a descriptor is watched for.
    pub fn modify(&mut self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> std::io::Result<()> {
        todo!()
    }

    /// Stops watching a descriptor. Needed before it is closed if a duplicate of it lives on.
    pub fn deregister(&mut self, fd: BorrowedFd<'_>) {
        todo!()
    }

    /// Ends [`Engine::run`] after this turn, with this result (the first call wins).
    pub fn stop(&mut self, status: i32) {
        todo!()
    }
}

/// The loop. Not `Send`: everything of it runs on one thread.
pub struct Engine {}

#[allow(unused_variables)]
impl Engine {
    /// An engine without nodes. Fails if the system gives no epoll descriptor.
    pub fn new() -> std::io::Result<Engine> {
        todo!()
    }

    /// Adds a host with its service.
    pub fn add_node(&mut self, host: Host, service: Box<dyn Service>) -> NodeId {
        todo!()
    }

    /// Puts a nic behind an interface of a node's host.
    pub fn add_nic(&mut self, node: NodeId, interface: InterfaceId, nic: Box<dyn Nic>) -> std::io::Result<()> {
        todo!()
    }

    /// Now, on the engine's clock (CLOCK_MONOTONIC since the engine was made).
    pub fn now(&self) -> Instant {
        todo!()
    }

    /// Runs until a service calls [`Context::stop`]; returns its status.
    pub fn run(&mut self) -> std::io::Result<i32> {
        todo!()
    }
}
