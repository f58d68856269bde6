//! Listeners: finding the one for a SYN, the bounded queue of half-open connections, and the accept queue.
//!
//! # Theory of operation
//!
//! A SYN for a listener becomes a [`Request`](super::request::Request), a compact entry that stands in the table of flows and repeats
//! its SYN-ACK by a timer. The acknowledgement makes a connection of it, which waits in the accept queue. Both queues are bounded
//! by the backlog. When the first is full, SYNs are answered with cookies (`syn_cookie.rs`) and nothing is kept. When the second is
//! full, SYNs and the last acknowledgements of handshakes are dropped, as on Linux (tcp_abort_on_overflow = 0): the peer repeats them.
//!
//! A listener that holds connections (`SocketOption::HoldIncoming`) gets one for each SYN at once, in a state of its own, without
//! answering: `admit` or `refuse` decide. They are bounded too, and stay so when they are accepted: a program can take connections faster
//! than it decides.

use core::net::IpAddr;
use std::collections::VecDeque;

use smallvec::SmallVec;
use wireway_packet::Instant;

use super::arena::Arena;
use super::flow::Flow;
use super::isn::Secrets;
use super::shared::{Claim, Common};
use super::{Socket, Tcp};
use crate::net::{Inbound, Net};
use crate::rng::{Map, Rng};
use crate::socket::address::{covers, unspecified};
use crate::{InterfaceId, SocketId};

/// A listening socket.
pub(crate) struct Listener {
    pub common: Common,
    pub backlog: u32,
    pub claim: Option<Claim>,
    /// Connections to be accepted, by socket index.
    pub queue: VecDeque<SocketId>,
    /// Half-open connections.
    pub requests: u32,
    /// When a cookie was last sent.
    pub last_cookie: Option<Instant>,
}

impl Listener {
    /// Linux's sk_acceptq_is_full: a backlog of n lets n + 1 wait.
    pub fn is_full(&self) -> bool {
        self.queue.len() > self.backlog as usize
    }

    pub fn has_too_many_requests(&self, limit: u32) -> bool {
        self.requests >= self.backlog.max(1).min(limit.max(1))
    }

    /// How well the listener fits a destination: `None` if not at all. More specific is better.
    fn score(&self, destination: IpAddr, interface: InterfaceId, local: bool) -> Option<u32> {
        let options = &self.common.options;
        if !local && !options.transparent {
            return None;
        }
        if options.bind_to_device.is_some_and(|device| device != interface) {
            return None;
        }
        let device = 2 * u32::from(options.bind_to_device.is_some());
        match &self.claim {
            Some(claim) => covers(claim.binding.address, options.v6_only, destination)
                .then_some(1 + device + u32::from(!claim.binding.address.is_unspecified()) * 4),
            None => covers(unspecified(self.common.domain), options.v6_only, destination).then_some(device),
        }
    }
}

/// All listeners of a host, by port.
pub(crate) struct Listeners {
    by_port: Map<u16, SmallVec<[u32; 1]>>,
    /// Transparent ones for any port.
    any_port: Vec<u32>,
}

impl Listeners {
    pub fn new(rng: &mut Rng) -> Listeners {
        Listeners { by_port: rng.map(), any_port: Vec::new() }
    }

    pub fn insert(&mut self, port: Option<u16>, index: u32) {
        match port {
            Some(port) => self.by_port.entry(port).or_default().push(index),
            None => self.any_port.push(index),
        }
    }

    pub fn remove(&mut self, port: Option<u16>, index: u32) {
        let Some(port) = port else { return self.any_port.retain(|&i| i != index) };
        if let Some(list) = self.by_port.get_mut(&port) {
            list.retain(|i| *i != index);
            if list.is_empty() {
                self.by_port.remove(&port);
            }
        }
    }

    /// The listener for a flow's first segment. Of several that fit equally well (SO_REUSEPORT) the flow's hash chooses.
    pub fn find(
        &self,
        sockets: &Arena<Socket>,
        secrets: &Secrets,
        flow: &Flow,
        interface: InterfaceId,
        local: bool,
    ) -> Option<u32> {
        let exact = self.by_port.get(&flow.local.port).map(|list| list.as_slice()).unwrap_or_default();
        let score = |index: u32| match sockets.get(index) {
            Some(Socket::Listener(listener)) => listener.score(flow.local.address, interface, local),
            _ => None,
        };
        if let &[only] = exact
            && score(only).is_some()
        {
            return Some(only);
        }
        [exact, &self.any_port].into_iter().find_map(|list| {
            let best = list.iter().filter_map(|&index| score(index)).max()?;
            let fitting = || list.iter().copied().filter(|&index| score(index) == Some(best));
            let count = fitting().count();
            let choice = if count > 1 { secrets.listener_choice(flow) as usize % count } else { 0 };
            fitting().nth(choice)
        })
    }
}

impl Tcp {
    pub(super) fn listener_exact(&mut self, id: SocketId) -> Option<&mut Listener> {
        match self.sockets.get_exact_mut(id.index, id.generation) {
            Some(Socket::Listener(listener)) => Some(listener),
            _ => None,
        }
    }

    /// The listener that a received segment of no known flow is for.
    pub(super) fn find_listener(&self, flow: &Flow, inbound: &Inbound) -> Option<u32> {
        self.listeners.find(&self.sockets, &self.shared.secrets, flow, inbound.interface, inbound.local)
    }

    /// Puts a connection into its listener's accept queue and tells.
    pub(super) fn enqueue(&mut self, net: &mut Net, listener: SocketId, connection: SocketId) {
        if let Some(listener) = self.listener_exact(listener) {
            listener.queue.push_back(connection);
            net.events.mark(listener.common.id, &mut listener.common.dirty);
        }
    }
}
