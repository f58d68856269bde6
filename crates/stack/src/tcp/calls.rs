//! Socket calls that open and close: socket, bind, listen, connect, accept, shutdown, close, and the names of both ends. Outcomes
//! are those of Linux.

use core::net::SocketAddr;
use core::time::Duration;

use wireway_packet::{Instant, Packet};
use wireway_wire::SeqNumber;

use super::connection::{Connection, Owner, Pending};
use super::flow::{Endpoint, Flow, FlowTarget};
use super::listen::Listener;
use super::shared::{Claim, Common, Cx};
use super::state::State;
use super::{Idle, Socket, Tcp};
use crate::net::{Complaint, Net, RouteKind};
use crate::socket::SocketFamily;
use crate::socket::address::{is_one_v6, present, scope, to_bind, to_destination, unspecified};
use crate::socket::port::Binding;
use crate::{Counter, Domain, Error, InterfaceId, Refusal, Result, Shutdown, SocketId};

impl Tcp {
    pub fn socket(&mut self, net: &mut Net, domain: Domain) -> Result<SocketId> {
        let options = super::options::defaults(&net.settings);
        let mut id = SocketId { family: SocketFamily::Tcp, index: 0, generation: 0 };
        self.sockets.insert_with(|index, generation| {
            id = SocketId { family: SocketFamily::Tcp, index, generation };
            let common = Common {
                id,
                domain,
                options,
                error: None,
                dirty: Default::default(),
                receive_buffer_locked: false,
                send_buffer_locked: false,
            };
            Socket::Idle(Box::new(Idle { common, claim: None, any_port: false }))
        });
        Ok(id)
    }

    /// The socket of a program.
    pub(super) fn socket_ref(&self, id: SocketId) -> Result<&Socket> {
        let socket = self.sockets.get_exact(id.index, id.generation).ok_or(Error::BadDescriptor)?;
        socket.common().map(|_| socket).ok_or(Error::BadDescriptor)
    }

    pub(super) fn socket_mut(&mut self, id: SocketId) -> Result<&mut Socket> {
        let socket = self.sockets.get_exact_mut(id.index, id.generation).ok_or(Error::BadDescriptor)?;
        if socket.common().is_none() {
            return Err(Error::BadDescriptor);
        }
        Ok(socket)
    }

    /// The connection of a program's socket.
    pub(super) fn connection_ref(&self, id: SocketId) -> Option<&Connection> {
        match self.socket_ref(id) {
            Ok(Socket::Connection(connection)) => Some(connection),
            _ => None,
        }
    }

    pub fn bind(&mut self, net: &mut Net, id: SocketId, address: SocketAddr) -> Result<()> {
        let Tcp { sockets, ports, .. } = self;
        let idle = match sockets.get_exact_mut(id.index, id.generation) {
            Some(Socket::Idle(idle)) => idle,
            Some(_) => return Err(Error::InvalidArgument),
            None => return Err(Error::BadDescriptor),
        };
        let options = &mut idle.common.options;
        let device = scope(net, &address, options.bind_to_device)?;
        let address = to_bind(net, idle.common.domain, options.v6_only, options.transparent, address)?;
        // No connection is a group's (Linux's __inet6_bind).
        if idle.claim.is_some() || idle.any_port || (address.is_ipv6() && address.ip().is_multicast()) {
            return Err(Error::InvalidArgument);
        }
        if options.transparent && address.ip().is_unspecified() && address.port() == 0 {
            idle.any_port = true;
            return Ok(());
        }
        options.bind_to_device = device;
        let binding = binding(&idle.common, address);
        let port = match address.port() {
            0 => ports.bind_any(&mut net.rng, net.settings.ip_local_port_range, binding)?,
            port => {
                ports.bind(port, binding)?;
                port
            }
        };
        idle.claim = Some(Claim { port, binding });
        idle.common.options.v6_only |= is_one_v6(address.ip());
        Ok(())
    }

    pub fn listen(&mut self, net: &mut Net, id: SocketId, backlog: u32) -> Result<()> {
        let backlog = backlog.min(net.settings.somaxconn);
        let Tcp { sockets, ports, listeners, .. } = self;
        let socket = sockets.get_exact_mut(id.index, id.generation).ok_or(Error::BadDescriptor)?;
        let idle = match socket {
            Socket::Idle(idle) => idle,
            Socket::Listener(listener) => {
                listener.backlog = backlog;
                return Ok(());
            }
            _ => return Err(Error::InvalidArgument),
        };
        let mut claim = None;
        if !idle.any_port {
            let old = idle.claim;
            let address = SocketAddr::new(unspecified(idle.common.domain), 0);
            let binding = old.map_or(binding(&idle.common, address), |claim| claim.binding);
            let listening = Binding { listening: true, ..binding };
            let port = match old {
                Some(Claim { port, binding }) => {
                    ports.release(port, &binding);
                    if let Err(error) = ports.bind(port, listening) {
                        ports.acquire(port, binding);
                        return Err(error);
                    }
                    port
                }
                None => ports.bind_any(&mut net.rng, net.settings.ip_local_port_range, listening)?,
            };
            claim = Some(Claim { port, binding: listening });
        }
        let Socket::Idle(idle) = core::mem::replace(socket, Socket::Reserved) else {
            return Err(Error::InvalidArgument);
        };
        *socket = Socket::Listener(Box::new(Listener {
            common: idle.common,
            backlog,
            claim,
            queue: Default::default(),
            requests: 0,
            last_cookie: None,
        }));
        listeners.insert(claim.map(|claim| claim.port), id.index);
        Ok(())
    }

    pub fn connect(&mut self, net: &mut Net, now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        match self.socket_mut(id)? {
            Socket::Idle(_) => self.open(net, now, id, peer),
            Socket::Connection(connection) => match connection.state {
                State::Closed if connection.connect_unreported => {
                    // The attempt failed; told once, and the socket can be used again.
                    let error = connection.common.error.take().unwrap_or(Error::ConnectionAborted);
                    self.make_idle(net, id);
                    Err(error)
                }
                State::Held | State::SynSent | State::SynReceived => Err(Error::AlreadyInProgress),
                _ if core::mem::take(&mut connection.connect_unreported) => Ok(()),
                _ => Err(Error::AlreadyConnected),
            },
            _ => Err(Error::AlreadyConnected),
        }
    }

    fn open(&mut self, net: &mut Net, now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        let Ok(Socket::Idle(idle)) = self.socket_ref(id) else { return Err(Error::InvalidArgument) };
        let options = idle.common.options;
        let (domain, old_claim) = (idle.common.domain, idle.claim);
        let peer = to_destination(domain, options.v6_only, peer)?;
        let device = scope(net, &peer, options.bind_to_device)?;
        let route = net.route(peer.ip(), device)?;
        if matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast) {
            return Err(Error::NetworkUnreachable);
        }
        let local = match old_claim {
            Some(claim) if !claim.binding.address.is_unspecified() => claim.binding.address,
            _ => route.source,
        };
        let remote = Endpoint::new(peer.ip(), peer.port());
        // To an address of our own too, a link-local one is that of its link.
        let by = device.unwrap_or(route.interface);
        let flow = |port| Flow::new(Endpoint::new(local, port), remote, by);
        let claim = match old_claim {
            Some(claim) => {
                if !self.is_free(&flow(claim.port), now) {
                    return Err(Error::AddressNotAvailable);
                }
                claim
            }
            None => {
                let binding = Binding { address: local, by_connect: true, ..binding(&idle.common, peer) };
                let range = net.settings.ip_local_port_range;
                // A port is tried against the table of flows.
                let Tcp { ports, flows, time_waits, .. } = self;
                let free = |port| match flows.get(&flow(port)) {
                    None => true,
                    Some(FlowTarget::TimeWait(i)) => time_waits.entries.get(i).is_none_or(|e| e.may_reuse(now)),
                    Some(_) => false,
                };
                let port = ports.connect_any(&mut net.rng, range, local, peer, binding, free)?;
                Claim { port, binding }
            }
        };
        let flow = flow(claim.port);
        let mut floor = None;
        if let Some(FlowTarget::TimeWait(index)) = self.flows.get(&flow) {
            // RFC 6191: the new connection's numbers lie beyond all old ones.
            floor = self.time_waits.entries.get(index).map(|entry| entry.snd_nxt + 65_537);
            self.drop_time_wait(index);
        }
        let Tcp { sockets, shared, flows, .. } = self;
        let socket = sockets.get_mut(id.index).ok_or(Error::BadDescriptor)?;
        let Socket::Idle(mut idle) = core::mem::replace(socket, Socket::Reserved) else {
            return Err(Error::InvalidArgument);
        };
        idle.common.options.bind_to_device = device;
        let mut cx = Cx { net, now, shared };
        let mut numbers = cx.shared.secrets.numbers(&flow, now);
        numbers.iss = floor.unwrap_or(numbers.iss);
        let mut connection = Connection::new(idle.common, flow, Owner::Program, numbers, &mut cx);
        connection.claim = Some(claim);
        connection.port_locked = old_claim.is_some();
        connection.common.error = None;
        connection.advertised_mss = super::path_mtu::advertised_mss(&flow, route.interface_mtu, options.max_segment);
        connection.peer_mss = u32::from(u16::MAX);
        connection.refresh_path_mtu(&mut cx);
        flows.insert(flow, FlowTarget::Connection(id.index));
        connection.connect(&mut cx);
        *socket = Socket::Connection(connection);
        Err(Error::InProgress)
    }

    /// Turns a connection in CLOSED, or one that is to be forgotten, into a fresh socket.
    fn make_idle(&mut self, net: &mut Net, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.index) else { return };
        match core::mem::replace(socket, Socket::Reserved) {
            Socket::Connection(mut connection) => {
                net.timers.cancel(&mut connection.timer);
                let claim = connection.claim.take();
                let kept = claim.filter(|_| connection.port_locked);
                *socket = Socket::Idle(Box::new(Idle { common: connection.common, claim: kept, any_port: false }));
                self.flows.remove(&connection.flow, FlowTarget::Connection(id.index));
                if kept.is_none() {
                    self.release_claim(claim);
                }
            }
            other => *socket = other,
        }
    }

    pub fn disconnect(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        match self.socket_mut(id)? {
            Socket::Connection(_) => {
                self.with_connection(net, now, id.index, |connection, cx| {
                    connection.reset_if_needed(cx);
                    connection.notify(cx);
                });
                self.make_idle(net, id);
            }
            Socket::Listener(_) => self.stop_listening(net, now, id),
            _ => {}
        }
        Ok(())
    }

    pub fn accept(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<(SocketId, SocketAddr)> {
        let _ = now;
        loop {
            let listener = match self.socket_mut(id)? {
                Socket::Listener(listener) => listener,
                _ => return Err(Error::InvalidArgument),
            };
            let child = listener.queue.pop_front().ok_or(Error::WouldBlock)?;
            if let Some(Socket::Connection(connection)) = self.sockets.get_exact_mut(child.index, child.generation) {
                connection.owner = Owner::Program;
                // What came while it waited is to be seen.
                net.events.mark(child, &mut connection.common.dirty);
                let peer = present(connection.common.domain, connection.flow.remote.into(), connection.meta.interface);
                return Ok((child, peer));
            }
        }
    }

    pub fn unaccept(&mut self, net: &mut Net, listener: SocketId, connection: SocketId) -> Result<()> {
        if !matches!(self.socket_ref(listener)?, Socket::Listener(_)) {
            return Err(Error::InvalidArgument);
        }
        match self.socket_mut(connection)? {
            Socket::Connection(connection) => connection.owner = Owner::Listener(listener),
            _ => return Err(Error::InvalidArgument),
        }
        if let Some(parent) = self.listener_exact(listener) {
            parent.queue.push_front(connection);
            net.events.mark(listener, &mut parent.common.dirty);
        }
        Ok(())
    }

    pub fn admit(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        match self.socket_ref(id)? {
            Socket::Connection(connection) if connection.state == State::Held => {}
            _ => return Err(Error::InvalidArgument),
        }
        self.with_connection(net, now, id.index, |connection, cx| connection.admit(cx));
        Ok(())
    }

    pub fn refuse(&mut self, net: &mut Net, now: Instant, id: SocketId, refusal: Refusal) -> Result<()> {
        match self.socket_ref(id)? {
            Socket::Connection(connection) if connection.state == State::Held => {}
            _ => return Err(Error::InvalidArgument),
        }
        self.with_connection(net, now, id.index, |connection, cx| {
            match refusal {
                Refusal::Reset => connection.refuse_syn(cx),
                Refusal::Unreachable(why) => {
                    if let Some((interface, quote)) = connection.held_syn() {
                        cx.net.complain(now, interface, quote, Complaint::Unreachable(why));
                    }
                }
                Refusal::Ignore => {}
            }
            connection.orphan(cx);
            connection.end(None, cx);
        });
        self.settle(net, now, id.index);
        Ok(())
    }

    pub fn shutdown(&mut self, net: &mut Net, now: Instant, id: SocketId, how: Shutdown) -> Result<()> {
        let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
        match self.socket_mut(id)? {
            Socket::Listener(_) => {
                if read {
                    self.stop_listening(net, now, id);
                }
                Ok(())
            }
            Socket::Connection(connection) => match connection.state {
                State::Closed | State::TimeWait => Err(Error::NotConnected),
                State::SynSent | State::Held => {
                    self.disconnect(net, now, id)?;
                    Ok(())
                }
                _ => {
                    self.with_connection(net, now, id.index, |connection, cx| {
                        connection.read_shut |= read;
                        if write {
                            connection.close_sending(cx);
                        }
                        connection.notify(cx);
                    });
                    self.settle(net, now, id.index);
                    Ok(())
                }
            },
            _ => Err(Error::NotConnected),
        }
    }

    pub fn close(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        self.let_go(net, now, id, false)
    }

    pub fn abort(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        self.let_go(net, now, id, true)
    }

    fn let_go(&mut self, net: &mut Net, now: Instant, id: SocketId, abort: bool) -> Result<()> {
        match self.socket_mut(id)? {
            Socket::Reserved => {}
            Socket::Idle(_) => {
                if let Some(Socket::Idle(idle)) = self.sockets.remove(id.index) {
                    self.release_claim(idle.claim);
                }
            }
            Socket::Listener(_) => {
                self.stop_listening(net, now, id);
                return self.let_go(net, now, id, abort);
            }
            Socket::Connection(_) => self.close_connection(net, now, id.index, abort),
        }
        Ok(())
    }

    fn close_connection(&mut self, net: &mut Net, now: Instant, index: u32, abort: bool) {
        self.with_connection(net, now, index, |connection, cx| connection.close(abort, cx));
        self.settle(net, now, index);
    }

    /// A listener becomes a bound socket again; what waits in its queue is reset. Half-open connections find out by themselves.
    fn stop_listening(&mut self, net: &mut Net, now: Instant, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.index) else { return };
        let Socket::Listener(mut listener) = core::mem::replace(socket, Socket::Reserved) else { return };
        let any_port = listener.claim.is_none();
        self.listeners.remove(listener.claim.map(|claim| claim.port), id.index);
        let claim = listener.claim.map(|Claim { port, binding }| {
            let bound = Binding { listening: false, ..binding };
            self.ports.release(port, &binding);
            self.ports.acquire(port, bound);
            Claim { port, binding: bound }
        });
        let queue = core::mem::take(&mut listener.queue);
        net.events.mark(id, &mut listener.common.dirty);
        // The id stays: half-open connections find no listener by it, unless the socket listens again, and then it is theirs too.
        *socket = Socket::Idle(Box::new(Idle { common: listener.common, claim, any_port }));
        for child in queue {
            if self.sockets.get_exact(child.index, child.generation).is_some() {
                self.close_connection(net, now, child.index, true);
            }
        }
    }

    pub fn local_addr(&self, id: SocketId) -> Result<SocketAddr> {
        let of_claim = |common: &Common, claim: &Option<Claim>| match claim {
            Some(claim) => SocketAddr::new(claim.binding.address, claim.port),
            None => SocketAddr::new(unspecified(common.domain), 0),
        };
        let (common, address) = match self.socket_ref(id)? {
            Socket::Reserved => return Err(Error::BadDescriptor),
            Socket::Idle(idle) => (&idle.common, of_claim(&idle.common, &idle.claim)),
            Socket::Listener(listener) => (&listener.common, of_claim(&listener.common, &listener.claim)),
            Socket::Connection(connection) => (&connection.common, connection.flow.local.into()),
        };
        Ok(present(common.domain, address, common.options.bind_to_device))
    }

    pub fn peer_addr(&self, id: SocketId) -> Result<SocketAddr> {
        match self.socket_ref(id)? {
            Socket::Connection(connection) if !matches!(connection.state, State::Closed | State::SynSent) => {
                Ok(present(connection.common.domain, connection.flow.remote.into(), connection.meta.interface))
            }
            _ => Err(Error::NotConnected),
        }
    }

    pub fn is_listening(&self, id: SocketId) -> bool {
        matches!(self.socket_ref(id), Ok(Socket::Listener(_)))
    }
}

/// How a socket would hold a port at `address`.
fn binding(common: &Common, address: SocketAddr) -> Binding {
    Binding {
        address: address.ip(),
        v6_only: common.options.v6_only,
        device: common.options.bind_to_device,
        reuse_address: common.options.reuse_address,
        reuse_port: common.options.reuse_port,
        listening: false,
        by_connect: false,
    }
}

impl Connection {
    /// Nothing more will be sent after what is queued (RFC 9293 §3.10.4).
    pub fn close_sending(&mut self, cx: &mut Cx<'_>) {
        if self.fin_queued {
            return;
        }
        self.fin_queued = true;
        self.more = false;
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            // The FIN follows when the handshake is complete.
            _ => {}
        }
        self.output(cx);
    }

    /// Nobody holds the connection any more.
    fn orphan(&mut self, cx: &mut Cx<'_>) {
        self.owner = Owner::Nobody;
        cx.shared.orphans += 1;
    }

    /// The program lets go of the connection.
    fn close(&mut self, abort: bool, cx: &mut Cx<'_>) {
        let unread = self.receive.len() > 0;
        let linger_zero = self.common.options.linger == Some(Duration::ZERO);
        self.orphan(cx);
        self.read_shut = true;
        self.receive.clear();
        match self.state {
            State::Closed | State::TimeWait => {}
            State::Held => {
                self.refuse_syn(cx);
                self.end(None, cx);
            }
            State::SynSent => self.end(None, cx),
            // RFC 2525 §2.17, RFC 9293 §3.6.1: unread data is lost, and the peer is told so.
            _ if abort || unread || linger_zero => {
                self.send_reset(cx);
                self.end(None, cx);
            }
            _ if cx.shared.orphans > cx.net.settings.tcp_max_orphans => {
                cx.net.counters.count(Counter::TcpExtTcpAbortOnMemory);
                self.send_reset(cx);
                self.end(None, cx);
            }
            _ => {
                self.deadlines.keepalive = Instant::FAR_FUTURE;
                self.close_sending(cx);
                if self.state == State::FinWait2 {
                    self.enter_fin_wait_2(cx);
                }
                self.arm(cx);
            }
        }
    }

    /// Resets the peer if there is one that counts on us.
    fn reset_if_needed(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            State::Held => self.refuse_syn(cx),
            State::SynSent | State::TimeWait | State::Closed => {}
            _ => self.send_reset(cx),
        }
        self.leave_held(cx);
        self.state = State::Closed;
        self.common.error = None;
        self.pending -= Pending::OUTPUT | Pending::ACK;
    }

    /// Answers a held SYN as if nobody listened.
    fn refuse_syn(&mut self, cx: &mut Cx<'_>) {
        super::demux::send_reset(&self.flow, self.meta.interface, SeqNumber(0), Some(self.rcv_nxt), cx);
    }

    /// The held SYN as an ICMP error quotes it.
    fn held_syn(&mut self) -> Option<(InterfaceId, Packet)> {
        let mut inbound = self.quote.take()?;
        inbound.packet = super::header::quoted_syn(&self.flow, self.irs);
        Some((inbound.interface, inbound.into_quote()?))
    }
}
