//! TCP: the program's connections to anywhere, and those that came in by a published port.
//!
//! A connection of the program is held at its SYN while the machine connects to the destination, so that the answer is the
//! true one: established, reset, unreachable or nothing. A connection to a published port is accepted by the kernel
//! already; while the host connects to the program its bytes wait in the kernel, and a refusal becomes a reset.
//! Once both sides stand, `relay.rs` moves the bytes.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use wireway_engine::{Context, Interest};
use wireway_packet::Instant;
use wireway_stack::{Domain, Error, Event, Host, Kind, Ready, Refusal, SocketId, SocketOption, Unreachable};

use crate::address::{Far, Map, canonical};
use crate::counters::{Counters, count};
use crate::outer::{self, Connecting};
use crate::relay::{Pumped, Relay};
use crate::table::{Part, Table};

/// Connections that may wait to be taken from the listener.
const BACKLOG: u32 = 4_096;
/// How often it is looked whether a reset can be passed on.
const RESET_CHECK: Duration = Duration::from_millis(5);

#[derive(Clone, Copy)]
enum State {
    /// The program's SYN is held; the machine's socket connects to this address.
    Outward(SocketAddr),
    /// The machine accepted; the host connects to the program. If it refuses, this is another way to it: from the gateway's address
    /// to the program's in the other family.
    Inward(Option<(IpAddr, SocketAddr)>),
    /// Both stand.
    Open,
}

struct Connection {
    state: State,
    relay: Relay,
    /// It is in the queue of those to be pumped again.
    queued: bool,
    /// It is in the list of those whose reset waits.
    resetting: bool,
}

/// The TCP relay.
pub(crate) struct Tcp {
    listener: SocketId,
    connections: Table<Connection>,
    /// Connections at a time: the descriptors are for the program's sockets too.
    limit: usize,
    by_inner: HashMap<SocketId, u64>,
    /// Established connections whose program may still send, or has sent what the machine has not taken yet.
    sending: Rc<Cell<usize>>,
    busy: VecDeque<u64>,
    /// Connections whose reset waits, and when to look again.
    resetting: Vec<u64>,
    check_at: Option<Instant>,
}

/// What is to become of a connection that the program asks for, when it is not the relay's.
pub(crate) enum Taken {
    /// A connection to the DNS forwarder, admitted.
    Dns(SocketId),
    /// The relay's.
    Relayed,
}

impl Tcp {
    /// Listens for every destination.
    pub fn new(host: &mut Host, now: Instant, sending: Rc<Cell<usize>>) -> wireway_stack::Result<Tcp> {
        let listener = host.socket(Domain::Inet6, Kind::Stream)?;
        host.set_option(now, listener, SocketOption::Transparent(true))?;
        host.set_option(now, listener, SocketOption::HoldIncoming(true))?;
        host.set_option(now, listener, SocketOption::NoDelay(true))?;
        host.bind(listener, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?;
        host.listen(listener, BACKLOG)?;
        Ok(Tcp {
            listener,
            connections: Table::new(Part::Tcp),
            limit: usize::MAX,
            by_inner: HashMap::new(),
            sending,
            busy: VecDeque::new(),
            resetting: Vec::new(),
            check_at: None,
        })
    }

    pub fn listener(&self) -> SocketId {
        self.listener
    }

    /// Connections there are now, in any state.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Bounds the connections there may be.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether there are as many connections as there may be.
    pub fn is_full(&self) -> bool {
        self.connections.len() >= self.limit
    }

    /// Takes the next connection that the program asks for; `None` if there is none.
    pub fn take(&mut self, cx: &mut Context<'_>, map: &Map, counters: &Counters) -> Option<Taken> {
        let (inner, _) = cx.host.accept(cx.now, self.listener).ok()?;
        let Ok(destination) = cx.host.local_addr(inner) else { return Some(Taken::Relayed) };
        match map.far(canonical(destination)) {
            Far::Resolver => {
                if cx.host.admit(cx.now, inner).is_ok() {
                    return Some(Taken::Dns(inner));
                }
            }
            Far::Machine(_) if self.is_full() => exhausted(cx, inner, counters),
            Far::Machine(peer) => self.connect_out(cx, inner, peer, counters),
            Far::Closed => refuse(cx, inner, Refusal::Reset, counters),
            Far::Unreachable(why) => refuse(cx, inner, Refusal::Unreachable(why), counters),
            Far::Many => refuse(cx, inner, Refusal::Unreachable(Unreachable::Network), counters),
        }
        Some(Taken::Relayed)
    }

    fn connect_out(&mut self, cx: &mut Context<'_>, inner: SocketId, peer: SocketAddr, counters: &Counters) {
        match outer::connect_stream(peer) {
            Ok(Connecting::Done(outer)) => self.connected(cx, inner, outer, peer, counters),
            Ok(Connecting::Pending(outer)) => {
                if self.insert(cx, State::Outward(peer), Relay::new(outer, inner)).is_none() {
                    exhausted(cx, inner, counters);
                }
            }
            Err(error) => self.connect_failed(cx, inner, peer, error, counters),
        }
    }

    fn connected(
        &mut self,
        cx: &mut Context<'_>,
        inner: SocketId,
        outer: OwnedFd,
        peer: SocketAddr,
        counters: &Counters,
    ) {
        match self.insert(cx, State::Outward(peer), Relay::new(outer, inner)) {
            Some(token) => self.admit(cx, token, counters),
            None => exhausted(cx, inner, counters),
        }
    }

    fn connect_failed(
        &mut self,
        cx: &mut Context<'_>,
        inner: SocketId,
        peer: SocketAddr,
        error: Errno,
        counters: &Counters,
    ) {
        // Nobody is at this loopback address, or the machine does not have it.
        let absent = [Errno::CONNREFUSED, Errno::ADDRNOTAVAIL, Errno::NETUNREACH, Errno::AFNOSUPPORT];
        if absent.contains(&error)
            && let Some(other) = outer::other_loopback(peer)
            && let Ok(Connecting::Done(outer)) = outer::connect_stream(other)
        {
            return self.connected(cx, inner, outer, other, counters);
        }
        match error {
            Errno::CONNREFUSED | Errno::CONNRESET => refuse(cx, inner, Refusal::Reset, counters),
            error if outer::is_exhausted(error) => exhausted(cx, inner, counters),
            error => {
                let refusal = outer::unreachable(error).map_or(Refusal::Ignore, Refusal::Unreachable);
                refuse(cx, inner, refusal, counters);
            }
        }
    }

    /// Both sides of a held connection stand.
    fn admit(&mut self, cx: &mut Context<'_>, token: u64, counters: &Counters) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if cx.host.admit(cx.now, connection.relay.inner()).is_err() {
            return self.give_up(cx, token);
        }
        count(&counters.tcp_relayed);
        connection.state = State::Open;
        self.sending.update(|n| n + 1);
        self.pump(cx, token, Ready::empty(), counters);
    }

    /// Connects a connection that the machine accepted for a published port to the program's `port`.
    pub fn connect_in(
        &mut self,
        cx: &mut Context<'_>,
        outer: OwnedFd,
        peer: SocketAddr,
        port: u16,
        map: &Map,
        counters: &Counters,
    ) {
        outer::prepare_stream(&outer, peer);
        let source = map.near(peer.ip());
        let target = SocketAddr::new(map.program(source), port);
        // The peer's own port, unless a connection of that name is still remembered.
        let inner = [peer.port(), 0].into_iter().find_map(|port| start(cx, SocketAddr::new(source, port), target).ok());
        let Some(inner) = inner else {
            count(&counters.tcp_exhausted);
            return outer::reset(outer);
        };
        let other = map.other_family(source).map(|(gateway, program)| (gateway, SocketAddr::new(program, port)));
        if self.insert(cx, State::Inward(other), Relay::new(outer, inner)).is_none() {
            count(&counters.tcp_exhausted);
            let _ = cx.host.abort(cx.now, inner);
        }
    }

    /// A machine's socket is ready.
    pub fn ready(&mut self, cx: &mut Context<'_>, token: u64, seen: Interest, counters: &Counters) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        connection.relay.note(seen);
        match connection.state {
            State::Open => self.pump(cx, token, Ready::empty(), counters),
            State::Outward(peer) if seen.intersects(Interest::OUT | Interest::ERR | Interest::HUP) => {
                let Some(error) = outer::take_error(connection.relay.outer()) else {
                    return self.admit(cx, token, counters);
                };
                if let Some(relay) = self.forget(token) {
                    self.connect_failed(cx, relay.inner(), peer, error, counters);
                }
            }
            // What the peer does meanwhile is looked at when the program has answered.
            State::Outward(_) | State::Inward(_) => {}
        }
    }

    /// A socket of the host may be ready. False if it is not of the relay.
    pub fn event(&mut self, cx: &mut Context<'_>, event: Event, counters: &Counters) -> bool {
        let Some(&token) = self.by_inner.get(&event.socket) else { return false };
        let Some(connection) = self.connections.get(token) else { return false };
        match connection.state {
            State::Open => self.pump(cx, token, event.ready, counters),
            State::Outward(_) if event.ready.intersects(Ready::ERR | Ready::HUP) => self.give_up(cx, token),
            State::Inward(other) if event.ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP) => {
                self.program_answered(cx, token, event.ready, other, counters);
            }
            State::Outward(_) | State::Inward(_) => {}
        }
        true
    }

    /// The program no longer wants the connection that it asked for.
    fn give_up(&mut self, cx: &mut Context<'_>, token: u64) {
        if let Some(relay) = self.forget(token) {
            relay.reset(cx.now, cx.host);
        }
    }

    fn program_answered(
        &mut self,
        cx: &mut Context<'_>,
        token: u64,
        ready: Ready,
        other: Option<(IpAddr, SocketAddr)>,
        counters: &Counters,
    ) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if ready.intersects(Ready::ERR | Ready::HUP) {
            let error = cx.host.take_error(connection.relay.inner());
            if error == Some(Error::ConnectionRefused)
                && let Some((gateway, target)) = other
                && let Ok(inner) = start(cx, SocketAddr::new(gateway, 0), target)
            {
                connection.state = State::Inward(None);
                let refused = connection.relay.replace_inner(inner);
                self.by_inner.remove(&refused);
                self.by_inner.insert(inner, token);
                let _ = cx.host.close(cx.now, refused);
                return;
            }
            count(if error == Some(Error::ConnectionRefused) {
                &counters.tcp_refused
            } else {
                &counters.tcp_unreachable
            });
            return self.give_up(cx, token);
        }
        count(&counters.tcp_published);
        connection.state = State::Open;
        self.sending.update(|n| n + 1);
        self.pump(cx, token, ready, counters);
    }

    fn pump(&mut self, cx: &mut Context<'_>, token: u64, ready: Ready, counters: &Counters) {
        let Some(Connection { relay, queued, resetting, .. }) = self.connections.get_mut(token) else { return };
        let was_sending = relay.is_sending();
        let mut pumped = relay.pump(cx.now, cx.host, counters);
        if was_sending && !relay.is_sending() {
            self.sending.update(|n| n.saturating_sub(1));
        }
        if ready.contains(Ready::ERR) && matches!(pumped, Pumped::Idle | Pumped::Busy) && relay.inner_is_reset(cx.host)
        {
            pumped = Pumped::InnerReset;
        }
        match pumped {
            Pumped::Idle => {}
            Pumped::Busy => {
                if !mem::replace(queued, true) {
                    self.busy.push_back(token);
                }
            }
            Pumped::Resetting if !relay.reset_is_due(cx.now, cx.host) => {
                if !mem::replace(resetting, true) {
                    self.resetting.push(token);
                }
                self.check_at = Some(cx.now + RESET_CHECK);
            }
            Pumped::Ended => {
                if let Some(relay) = self.forget(token) {
                    relay.close(cx.now, cx.host);
                }
            }
            Pumped::InnerReset | Pumped::Resetting => {
                count(&counters.tcp_reset);
                self.give_up(cx, token);
            }
        }
    }

    /// Goes on with what had more to move than its share, and with resets that wait.
    pub fn poll(&mut self, cx: &mut Context<'_>, counters: &Counters) {
        for _ in 0..self.busy.len() {
            let Some(token) = self.busy.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(token) {
                connection.queued = false;
                self.pump(cx, token, Ready::empty(), counters);
            }
        }
        if self.check_at.is_some_and(|at| at <= cx.now) {
            self.check_at = None;
            for token in mem::take(&mut self.resetting) {
                if let Some(connection) = self.connections.get_mut(token) {
                    connection.resetting = false;
                }
                self.pump(cx, token, Ready::empty(), counters);
            }
        }
    }

    pub fn poll_at(&self) -> Option<Instant> {
        if self.busy.is_empty() { self.check_at } else { Some(Instant::ZERO) }
    }

    /// Adds a connection and watches its outer socket; `None` if the machine cannot, and then the outer socket is reset.
    fn insert(&mut self, cx: &mut Context<'_>, state: State, relay: Relay) -> Option<u64> {
        let inner = relay.inner();
        let token = self.connections.insert(Connection { state, relay, queued: false, resetting: false });
        let outer = self.connections.get(token)?.relay.outer().as_fd();
        if cx.register(outer, token, outer::edges()).is_err() {
            self.connections.remove(token)?.relay.reset_outer();
            return None;
        }
        self.by_inner.insert(inner, token);
        Some(token)
    }

    /// Removes a connection. Its descriptor is closed with the relay, which ends the watch: nobody has a duplicate of it.
    fn forget(&mut self, token: u64) -> Option<Relay> {
        let Connection { state, relay, .. } = self.connections.remove(token)?;
        if matches!(state, State::Open) && relay.is_sending() {
            self.sending.update(|n| n.saturating_sub(1));
        }
        self.by_inner.remove(&relay.inner());
        Some(relay)
    }
}

/// Starts a connection from `source` to the program.
fn start(cx: &mut Context<'_>, source: SocketAddr, target: SocketAddr) -> wireway_stack::Result<SocketId> {
    let domain = if target.is_ipv4() { Domain::Inet } else { Domain::Inet6 };
    let inner = cx.host.socket(domain, Kind::Stream)?;
    let mut connect = || {
        cx.host.set_option(cx.now, inner, SocketOption::Transparent(true))?;
        cx.host.set_option(cx.now, inner, SocketOption::ReuseAddress(true))?;
        cx.host.set_option(cx.now, inner, SocketOption::NoDelay(true))?;
        cx.host.bind(inner, source)?;
        cx.host.connect(cx.now, inner, target)
    };
    match connect() {
        Ok(()) | Err(Error::InProgress) => Ok(inner),
        Err(error) => {
            let _ = cx.host.close(cx.now, inner);
            Err(error)
        }
    }
}

fn refuse(cx: &mut Context<'_>, inner: SocketId, refusal: Refusal, counters: &Counters) {
    count(match refusal {
        Refusal::Reset => &counters.tcp_refused,
        Refusal::Unreachable(_) => &counters.tcp_unreachable,
        Refusal::Ignore => &counters.tcp_timed_out,
    });
    // It may be gone already.
    let _ = cx.host.refuse(cx.now, inner, refusal);
}

/// Drops the program's SYN: when it comes again there may be descriptors.
fn exhausted(cx: &mut Context<'_>, inner: SocketId, counters: &Counters) {
    count(&counters.tcp_exhausted);
    let _ = cx.host.refuse(cx.now, inner, Refusal::Ignore);
}
