//! The loop: turns, rounds, budgets and sleep.
//!
//! # Theory of operation
//!
//! One **turn** is: wait for descriptors, read the clock, tell the services (and the nics) whose descriptors are ready,
//! then run **rounds** until one finds nothing to do. A round visits every node that was touched or is due, and gives each kind of work its
//! share: a batch of received frames, timers that are due, a batch of socket events, a batch of frames to transmit. In-memory
//! nics hand a frame from one node to another within a round, so a request can cross two hosts, reach the world and come
//! back in one turn, with one system call for the sleep.
//!
//! A turn ends when it is quiet or when its budget (frames and events, or time) is spent. In the first case the next
//! wait sleeps until the earliest deadline of any host, service or nic, or for ever; in the second it only collects
//! what is ready. So under load the engine polls, when idle it costs nothing, and neither packets, descriptors nor timers can
//! keep the others waiting for longer than a turn.
//!
//! The clock is read once a turn, again between the rounds of a long one, and before a sleep that is to be short.
//! Everything that happens in between happens at the same `now`.

use std::any::Any;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use wireway_nic::Nic;
use wireway_packet::Instant;
use wireway_stack::{Host, InterfaceId};

use crate::clock::Clock;
use crate::port::Port;
use crate::reactor::{Reactor, Target};
use crate::{Context, NodeId, Service};

/// Descriptors that one wait collects.
const DESCRIPTORS: usize = 128;
/// Socket events that a node handles in one round.
const EVENTS: usize = 64;
/// Frames and events of one turn, and its time, after which descriptors are looked at again.
const BUDGET: usize = 1024;
const BUDGET_TIME: Duration = Duration::from_micros(500);
/// Frames and events after which the clock is read again.
const CLOCK_WORK: usize = 64;
/// Before a sleep shorter than this the clock is read again, so that it does not last longer by what the turn took.
const SHORT_SLEEP: Duration = Duration::from_millis(5);

/// What an engine counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Turns: waits for descriptors.
    pub turns: u64,
    /// Waits that could sleep.
    pub sleeps: u64,
    /// Turns that ended because their budget was spent.
    pub over_budget: u64,
    /// Descriptors reported ready, stale ones included.
    pub descriptors: u64,
    /// Frames received by hosts.
    pub received: u64,
    /// Frames transmitted by hosts.
    pub transmitted: u64,
    /// Socket events handed to services.
    pub events: u64,
}

struct Node {
    host: Host,
    service: Box<dyn Service>,
    ports: Vec<Port>,
    /// Something was done with it since it was last visited, or may have been.
    touched: bool,
    /// When its host or its service is due, as they said when it was last visited. Only a visit changes that.
    due: Instant,
}

/// The loop. Not `Send`: everything of it runs on one thread.
pub struct Engine {
    reactor: Reactor,
    nodes: Vec<Node>,
    clock: Clock,
    now: Instant,
    /// Nodes before this one were polled for the first time.
    started: usize,
    /// The last turn left work undone.
    unfinished: bool,
    statistics: Statistics,
}

impl Engine {
    /// An engine without nodes. Fails if the system gives no epoll descriptor.
    pub fn new() -> io::Result<Engine> {
        Ok(Engine {
            reactor: Reactor::new()?,
            nodes: Vec::new(),
            clock: Clock::new(),
            now: Instant::ZERO,
            started: 0,
            unfinished: true,
            statistics: Statistics::default(),
        })
    }

    /// Adds a host with its service.
    pub fn add_node(&mut self, host: Host, service: Box<dyn Service>) -> NodeId {
        self.nodes.push(Node { host, service, ports: Vec::new(), touched: true, due: Instant::ZERO });
        self.unfinished = true;
        NodeId(self.nodes.len() - 1)
    }

    /// Puts a nic behind an interface of a node's host. Fails with NotFound if there is no such node, AlreadyExists if the interface
    /// has a nic, or as epoll_ctl(2) does.
    pub fn add_nic(&mut self, node: NodeId, interface: InterfaceId, nic: Box<dyn Nic>) -> io::Result<()> {
        let ports = &mut self.nodes.get_mut(node.0).ok_or(io::ErrorKind::NotFound)?.ports;
        if ports.iter().any(|port| port.interface == interface) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let port = Port::new(interface, nic);
        if let Some(fd) = port.fd() {
            self.reactor.register(fd, Target::Nic { node, port: ports.len() }, EventFlags::IN)?;
        }
        ports.push(port);
        self.unfinished = true;
        Ok(())
    }

    /// Now, on the engine's clock (CLOCK_MONOTONIC since the engine was made).
    pub fn now(&self) -> Instant {
        self.clock.read()
    }

    /// CLOCK_REALTIME at the zero of the engine's clock, in nanoseconds since 1970: what to add for wall-clock time.
    pub fn epoch(&self) -> u64 {
        self.clock.epoch()
    }

    /// What was counted so far.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// A node's host.
    pub fn host(&self, node: NodeId) -> Option<&Host> {
        self.nodes.get(node.0).map(|node| &node.host)
    }

    /// A node's service, if it is an `S`.
    pub fn service<S: Service>(&self, node: NodeId) -> Option<&S> {
        let service: &dyn Any = &*self.nodes.get(node.0)?.service;
        service.downcast_ref()
    }

    /// The nic behind an interface of a node's host.
    pub fn nic(&self, node: NodeId, interface: InterfaceId) -> Option<&dyn Nic> {
        self.nodes.get(node.0)?.ports.iter().find(|port| port.interface == interface).map(Port::nic)
    }

    /// Calls `f` with a node's service, if it is an `S`, as the loop would call it: to set up what the run is to use, or to end it.
    pub fn with<S: Service, R>(&mut self, node: NodeId, f: impl FnOnce(&mut S, &mut Context<'_>) -> R) -> Option<R> {
        let now = self.clock.read();
        let Node { host, service, touched, .. } = self.nodes.get_mut(node.0)?;
        let service: &mut dyn Any = &mut **service;
        let service = service.downcast_mut()?;
        *touched = true;
        self.unfinished = true;
        Some(f(service, &mut Context { now, host, node, reactor: &mut self.reactor }))
    }

    /// Runs until a service calls [`Context::stop`]; returns its status. Errors are those of epoll_wait(2).
    pub fn run(&mut self) -> io::Result<i32> {
        loop {
            if let Some(status) = self.run_until(Instant::FAR_FUTURE)? {
                return Ok(status);
            }
        }
    }

    /// Runs until a service calls [`Context::stop`], and returns its status, or until `deadline`.
    pub fn run_until(&mut self, deadline: Instant) -> io::Result<Option<i32>> {
        loop {
            if let Some(status) = self.reactor.take_status() {
                return Ok(Some(status));
            }
            self.turn(deadline)?;
            if self.now >= deadline {
                return Ok(self.reactor.take_status());
            }
        }
    }

    fn turn(&mut self, deadline: Instant) -> io::Result<()> {
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); DESCRIPTORS];
        let timeout = self.sleep_time(deadline);
        self.statistics.turns += 1;
        self.statistics.sleeps += u64::from(timeout != Some(Duration::ZERO));
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: time.subsec_nanos().into(),
        });
        let events = match epoll::wait(self.reactor.epoll(), &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => &mut [],
            Err(error) => return Err(error.into()),
        };
        self.now = self.clock.read();
        self.start_nodes();
        self.statistics.descriptors += events.len() as u64;
        for event in events {
            self.dispatch(*event);
        }
        self.run_rounds();
        self.report_failures();
        Ok(())
    }

    /// How long the coming wait may sleep; `None` for ever.
    fn sleep_time(&self, deadline: Instant) -> Option<Duration> {
        if self.unfinished {
            return Some(Duration::ZERO);
        }
        let mut earliest = deadline;
        for node in &self.nodes {
            earliest = node.ports.iter().filter_map(Port::poll_at).fold(earliest.min(node.due), Instant::min);
        }
        if earliest == Instant::FAR_FUTURE {
            return None;
        }
        let sleep = earliest.since(self.now);
        if sleep.is_zero() || sleep > SHORT_SLEEP {
            return Some(sleep);
        }
        Some(earliest.since(self.clock.read()))
    }

    fn start_nodes(&mut self) {
        while let Some(Node { host, service, .. }) = self.nodes.get_mut(self.started) {
            let node = NodeId(self.started);
            service.poll(&mut Context { now: self.now, host, node, reactor: &mut self.reactor });
            self.started += 1;
        }
    }

    fn dispatch(&mut self, event: epoll::Event) {
        let Some((target, seen)) = self.reactor.resolve(event) else { return };
        match target {
            Target::Service { node, token } => {
                let Some(Node { host, service, touched, .. }) = self.nodes.get_mut(node.0) else { return };
                *touched = true;
                service.ready(&mut Context { now: self.now, host, node, reactor: &mut self.reactor }, token, seen);
            }
            Target::Nic { node, port } => {
                let Some(node) = self.nodes.get_mut(node.0) else { return };
                node.touched = true;
                if let Some(port) = node.ports.get_mut(port) {
                    port.wake();
                }
            }
        }
    }

    /// Rounds until one finds nothing to do or the budget is spent.
    fn run_rounds(&mut self) {
        let start = self.now;
        let mut since_clock = 0;
        let mut work = 0;
        loop {
            let done = self.round();
            if done == 0 {
                self.unfinished = false;
                return;
            }
            work += done;
            since_clock += done;
            if since_clock >= CLOCK_WORK {
                since_clock = 0;
                self.now = self.clock.read();
            }
            if work >= BUDGET || self.now.since(start) >= BUDGET_TIME {
                self.unfinished = true;
                self.statistics.over_budget += 1;
                return;
            }
        }
    }

    /// Gives each node that has something to do its share of each kind of work. Returns how much was done.
    fn round(&mut self) -> usize {
        let now = self.now;
        let mut work = 0;
        for (index, Node { host, service, ports, touched, due }) in self.nodes.iter_mut().enumerate() {
            let node = NodeId(index);
            let mut received = 0;
            // A nic whose time has come may hand frames to another node.
            let mut woken = 0;
            for port in ports.iter_mut() {
                if port.poll_at().is_some_and(|at| at <= now) {
                    port.wake();
                    *touched = true;
                    woken += 1;
                }
                received += port.receive(now, host);
                *touched |= port.has_frame();
            }
            let is_due = *due <= now;
            if received == 0 && !is_due && !*touched {
                continue;
            }
            host.poll(now);
            let mut events = 0;
            while events < EVENTS
                && let Some(event) = host.next_event()
            {
                service.event(&mut Context { now, host, node, reactor: &mut self.reactor }, event);
                events += 1;
            }
            let polls = service.poll_at().is_some_and(|at| at <= now);
            if polls {
                service.poll(&mut Context { now, host, node, reactor: &mut self.reactor });
            }
            if polls || events > 0 {
                // What the service has sent.
                host.poll(now);
            }
            let mut transmitted = 0;
            for port in ports.iter_mut() {
                transmitted += port.transmit(now, host);
                port.watch(&mut self.reactor);
            }
            self.statistics.received += received as u64;
            self.statistics.events += events as u64;
            self.statistics.transmitted += transmitted as u64;
            // What the service did may have made events that nobody has seen yet.
            let done = received + woken + events + transmitted + usize::from(is_due || polls);
            work += done;
            *touched = done > 0;
            *due = host.poll_at().into_iter().chain(service.poll_at()).min().unwrap_or(Instant::FAR_FUTURE);
        }
        work
    }

    fn report_failures(&mut self) {
        for (index, Node { host, service, ports, touched, .. }) in self.nodes.iter_mut().enumerate() {
            for port in ports.iter_mut() {
                let Some(reason) = port.newly_failed(&mut self.reactor) else { continue };
                let mut cx = Context { now: self.now, host, node: NodeId(index), reactor: &mut self.reactor };
                service.nic_failed(&mut cx, port.interface, &reason);
                *touched = true;
                self.unfinished = true;
            }
        }
    }
}
