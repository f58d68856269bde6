//! TCP (RFC 9293).
//!
//! # Where to look
//!
//! | what | file |
//! | --- | --- |
//! | tables, dispatch of segments, timers and events | `mod.rs`, `demux.rs`, `flow.rs`, `arena.rs` |
//! | a connection as a value | `connection.rs`, `state.rs`, `shared.rs` |
//! | opening: actively; listeners, half-open connections, cookies | `open.rs`; `listen.rs`, `request.rs`, `syn_cookie.rs` |
//! | received segments, their acknowledgements, RFC 5961 | `input.rs`, `ack.rs`, `challenge.rs` |
//! | sending | `output.rs`, `header.rs` |
//! | loss, congestion, round-trip times | `recovery.rs`, `congestion.rs`, `newreno.rs`, `rto.rs` |
//! | buffers and the receive window | `send_buffer.rs`, `receive_buffer.rs`, `small.rs`, `reassembly.rs`, `window.rs` |
//! | deadlines, keepalive, the end | `timers.rs`, `keepalive.rs`, `time_wait.rs` |
//! | ICMP errors and the path's MTU | `path_mtu.rs` |
//! | secrets: sequence numbers, timestamps | `isn.rs` |
//! | socket calls | `calls.rs`, `stream.rs`, `options.rs`, `info.rs` |
//!
//! A segment finds its connection by one look into a hash table; nothing here walks over all connections, but for a change of an MTU.

use wireway_packet::{Instant, Packet};

use crate::SocketId;
use crate::event::Ready;
use crate::net::{Inbound, Net};
use crate::socket::port::{Ports, Rules};
use crate::timer::{Timer, TimerKey};
use crate::{Counter, DropReason, Usage};

mod ack;
mod arena;
mod calls;
mod challenge;
mod congestion;
mod connection;
mod demux;
mod flow;
mod header;
mod info;
mod input;
mod isn;
mod keepalive;
mod listen;
mod newreno;
mod open;
mod options;
mod output;
mod path_mtu;
mod reassembly;
mod receive_buffer;
mod recovery;
mod request;
mod rto;
mod send_buffer;
mod shared;
mod small;
mod state;
mod stream;
mod syn_cookie;
mod time_wait;
mod timers;
mod window;

use arena::Arena;
use connection::{Connection, Owner};
use flow::{Flow, FlowTarget, Flows};
use input::{Segment, Verdict};
use listen::{Listener, Listeners};
use request::Request;
use shared::{Claim, Common, Cx, Shared};
use state::State;
use syn_cookie::SynCookies;
use time_wait::{TimeWait, TimeWaits};

/// In a timer's key: the index is a half-open connection's.
const REQUEST: u32 = 1 << 31;
/// Ended connections whose room is kept, so that short connections do without the allocator.
const SPARE: usize = 64;
/// In a timer's key: the timer of TIME-WAIT.
const TIME_WAIT_KEY: u32 = u32::MAX;

/// A socket that neither listens nor ever connected.
struct Idle {
    common: Common,
    claim: Option<Claim>,
    /// Bound to any address and any port (a transparent socket).
    any_port: bool,
}

/// A socket, by what it does.
enum Socket {
    /// A place that is about to be filled.
    Reserved,
    Idle(Box<Idle>),
    Listener(Box<Listener>),
    Connection(Box<Connection>),
}

impl Socket {
    fn common(&self) -> Option<&Common> {
        match self {
            Socket::Reserved => None,
            Socket::Idle(idle) => Some(&idle.common),
            Socket::Listener(listener) => Some(&listener.common),
            Socket::Connection(connection) => (connection.owner == Owner::Program).then_some(&connection.common),
        }
    }

    fn common_mut(&mut self) -> Option<&mut Common> {
        match self {
            Socket::Reserved => None,
            Socket::Idle(idle) => Some(&mut idle.common),
            Socket::Listener(listener) => Some(&mut listener.common),
            Socket::Connection(connection) => (connection.owner == Owner::Program).then_some(&mut connection.common),
        }
    }
}

/// TCP of a host.
pub(crate) struct Tcp {
    sockets: Arena<Socket>,
    flows: Flows,
    listeners: Listeners,
    requests: Arena<Request>,
    time_waits: TimeWaits,
    time_wait_timer: Timer,
    ports: Ports,
    cookies: SynCookies,
    shared: Shared,
}

impl Tcp {
    /// Whether a listener is at this address.
    pub fn has_port(&self, address: core::net::SocketAddr) -> bool {
        self.ports.serves(address)
    }

    pub fn new(net: &mut Net) -> Tcp {
        let rng = &mut net.rng;
        Tcp {
            sockets: Arena::new(),
            flows: Flows::new(rng),
            listeners: Listeners::new(rng),
            requests: Arena::new(),
            time_waits: TimeWaits::new(),
            time_wait_timer: Timer::default(),
            ports: Ports::new(Rules::Tcp, rng),
            cookies: SynCookies::new(rng.key()),
            shared: Shared {
                secrets: isn::Secrets::new(|| rng.next_u64()),
                challenge: Default::default(),
                work: Vec::new(),
                spare: Vec::new(),
                held: 0,
                orphans: 0,
            },
        }
    }

    /// Takes in a packet whose payload is a TCP segment.
    #[inline(always)]
    pub fn receive(&mut self, net: &mut Net, now: Instant, inbound: &mut Inbound) {
        net.counters.count(Counter::TcpInSegs);
        let mut options = None;
        let verdict = match demux::parse(inbound, &mut options) {
            Ok(segment) => match segment.target(inbound, &self.flows) {
                Some(FlowTarget::Connection(index)) => {
                    self.connection_arrives(net, now, index, &segment, &mut inbound.packet)
                }
                target => self.dispatch(net, now, target, &segment, inbound),
            },
            Err(reason) => {
                net.counters.count(Counter::TcpInErrs);
                if reason == DropReason::TcpChecksum {
                    net.counters.count(Counter::TcpInCsumErrors);
                }
                Err(reason)
            }
        };
        if let Err(reason) = verdict {
            net.counters.drop(reason);
        }
    }

    fn connection_arrives(
        &mut self,
        net: &mut Net,
        now: Instant,
        index: u32,
        segment: &Segment,
        packet: &mut Packet,
    ) -> Verdict {
        let Tcp { sockets, shared, .. } = self;
        let Some(Socket::Connection(connection)) = sockets.get_mut(index) else { return Err(DropReason::NoSocket) };
        let verdict = connection.segment_arrives(segment, packet, &mut Cx { net, now, shared });
        if connection.is_over() {
            self.settle(net, now, index);
        }
        verdict
    }

    /// Sends what received segments gave cause to. The host calls it once after a batch.
    #[inline]
    pub fn flush(&mut self, net: &mut Net, now: Instant) {
        if self.has_work() {
            self.do_work(net, now);
        }
    }

    fn do_work(&mut self, net: &mut Net, now: Instant) {
        // What a flush notes is for the next time.
        let noted = self.shared.work.len();
        for at in 0..noted {
            let Some(&index) = self.shared.work.get(at) else { break };
            self.with_connection(net, now, index, |connection, cx| connection.flush(cx));
            self.settle(net, now, index);
        }
        self.shared.work.drain(..noted);
    }

    /// Whether [`flush`](Self::flush) has something to do.
    pub fn has_work(&self) -> bool {
        !self.shared.work.is_empty()
    }

    pub fn on_timer(&mut self, net: &mut Net, now: Instant, index: u32, generation: u32) {
        if index == TIME_WAIT_KEY {
            self.expire_time_waits(net, now);
        } else if index & REQUEST != 0 {
            self.on_request_timer(net, now, index & !REQUEST, generation);
        } else if self.sockets.get_exact(index, generation).is_some() {
            self.with_connection(net, now, index, |connection, cx| connection.on_timer(cx));
            self.settle(net, now, index);
        }
    }

    /// The readiness of a socket that stood in the list of sockets to report, or `None` if it is gone.
    pub fn take_event(&mut self, id: SocketId) -> Option<Ready> {
        let socket = self.sockets.get_exact_mut(id.index, id.generation)?;
        match socket {
            // Also of one that was given back to its listener: it will be told of anew.
            Socket::Connection(connection) => connection.common.dirty.clear(),
            _ => socket.common_mut()?.dirty.clear(),
        }
        socket.common()?;
        Some(socket.ready())
    }

    /// Tells what TCP holds.
    pub fn tell_usage(&self, usage: &mut Usage) {
        usage.tcp_sockets = self.sockets.len();
        usage.tcp_half_open = self.requests.len();
        usage.tcp_time_wait = self.time_waits.entries.len();
        usage.tcp_flows = self.flows.len();
    }

    /// Runs `act` on a connection.
    fn with_connection<R>(
        &mut self,
        net: &mut Net,
        now: Instant,
        index: u32,
        act: impl FnOnce(&mut Connection, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let Tcp { sockets, shared, .. } = self;
        let Some(Socket::Connection(connection)) = sockets.get_mut(index) else { return None };
        Some(act(connection, &mut Cx { net, now, shared }))
    }

    /// Brings the tables up to date with a connection that may have ended.
    #[inline]
    fn settle(&mut self, net: &mut Net, now: Instant, index: u32) {
        if let Some(Socket::Connection(connection)) = self.sockets.get(index)
            && connection.is_over()
        {
            self.bury(net, now, index);
        }
    }

    #[inline(never)]
    fn bury(&mut self, net: &mut Net, now: Instant, index: u32) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(index) else { return };
        match connection.state {
            State::TimeWait => {
                let flow = connection.flow;
                let target = if self.time_waits.entries.len() < net.settings.tcp_max_tw_buckets {
                    let entry = TimeWait::new(connection, now);
                    Some(self.time_waits.insert(entry))
                } else {
                    net.counters.count(Counter::TcpExtTcpTimeWaitOverflow);
                    None
                };
                let Tcp { sockets, shared, .. } = self;
                if let Some(Socket::Connection(connection)) = sockets.get_mut(index) {
                    connection.end(None, &mut Cx { net, now, shared });
                }
                self.flows.remove(&flow, FlowTarget::Connection(index));
                if let Some(target) = target {
                    self.flows.insert(flow, FlowTarget::TimeWait(target));
                    self.arm_time_wait(net);
                }
                self.retire(net, index);
            }
            State::Closed => {
                let flow = connection.flow;
                self.flows.remove(&flow, FlowTarget::Connection(index));
                self.retire(net, index);
            }
            _ => {}
        }
    }

    /// A connection is in CLOSED and out of the table of flows: its socket goes with it if nobody holds it.
    fn retire(&mut self, net: &mut Net, index: u32) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(index) else { return };
        net.timers.cancel(&mut connection.timer);
        connection.armed = Instant::FAR_FUTURE;
        connection.quote = None;
        let keeps_port = connection.owner == Owner::Program && connection.port_locked;
        let claim = if keeps_port { None } else { connection.claim.take() };
        if connection.owner == Owner::Nobody {
            self.shared.orphans -= 1;
            if let Some(Socket::Connection(mut connection)) = self.sockets.remove(index)
                && self.shared.spare.len() < SPARE
            {
                connection.clear();
                self.shared.spare.push(connection);
            }
        }
        self.release_claim(claim);
    }

    fn release_claim(&mut self, claim: Option<Claim>) {
        if let Some(Claim { port, binding }) = claim {
            self.ports.release(port, &binding);
        }
    }

    fn arm_time_wait(&mut self, net: &mut Net) {
        if let Some(at) = self.time_waits.next_at() {
            let key = TimerKey::Tcp { index: TIME_WAIT_KEY, generation: 0 };
            net.timers.arm(&mut self.time_wait_timer, at, key);
        }
    }

    fn expire_time_waits(&mut self, net: &mut Net, now: Instant) {
        while let Some((index, entry)) = self.time_waits.expire(now) {
            self.flows.remove(&entry.flow, FlowTarget::TimeWait(index));
            self.release_claim(entry.claim);
        }
        self.arm_time_wait(net);
    }

    /// Ends a TIME-WAIT before its time.
    fn drop_time_wait(&mut self, index: u32) {
        if let Some(entry) = self.time_waits.entries.remove(index) {
            self.flows.remove(&entry.flow, FlowTarget::TimeWait(index));
            self.release_claim(entry.claim);
        }
    }

    /// Whether `flow` can be opened: nothing has it, or only what a new connection may replace.
    fn is_free(&self, flow: &Flow, now: Instant) -> bool {
        match self.flows.get(flow) {
            None => true,
            Some(FlowTarget::TimeWait(index)) => {
                self.time_waits.entries.get(index).is_none_or(|entry| entry.may_reuse(now))
            }
            Some(_) => false,
        }
    }
}
