//! Socket calls on the stream of a connection: send, receive, readiness, errors.

use std::io::IoSlice;

use wireway_packet::Instant;

use super::connection::{Connection, Owner};
use super::listen::Listener;
use super::shared::{Cx, Shared};
use super::state::State;
use super::{Socket, Tcp};
use crate::net::Net;
use crate::{Error, Ready, ReceiveFlags, Result, SendFlags, SocketId};

impl Tcp {
    pub fn send(&mut self, net: &mut Net, now: Instant, id: SocketId, data: &[u8], flags: SendFlags) -> Result<usize> {
        let mut rest = data;
        self.send_with(net, now, id, data.len(), flags, &mut |piece| {
            let n = piece.len().min(rest.len());
            let (now, later) = rest.split_at(n);
            piece[..n].copy_from_slice(now);
            rest = later;
            n
        })
    }

    pub fn send_with(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        want: usize,
        flags: SendFlags,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Result<usize> {
        let Tcp { sockets, shared, .. } = self;
        let connection = match sockets.get_exact_mut(id.index, id.generation) {
            Some(Socket::Connection(connection)) if connection.owner == Owner::Program => connection,
            Some(Socket::Idle(idle)) => return Err(idle.common.error.take().unwrap_or(Error::BrokenPipe)),
            Some(Socket::Listener(_)) => return Err(Error::BrokenPipe),
            _ => return Err(Error::BadDescriptor),
        };
        connection.may_send()?;
        let space = connection.send_space().min(want);
        if space == 0 && want > 0 {
            return Err(Error::WouldBlock);
        }
        let added = connection.send.fill(space, fill);
        connection.more = flags.more;
        connection.output(&mut Cx { net, now, shared });
        Ok(added)
    }

    pub fn send_space(&self, id: SocketId) -> usize {
        match self.connection_ref(id) {
            Some(c) if !c.fin_queued && c.state.is_synchronized() => c.send_space(),
            _ => 0,
        }
    }

    pub fn recv(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        buffer: &mut [u8],
        flags: ReceiveFlags,
    ) -> Result<usize> {
        let (connection, shared) = self.reader(id)?;
        if connection.receive.len() == 0 {
            return connection.nothing_to_read(buffer.is_empty());
        }
        let n = connection.receive.read(buffer, flags.peek);
        if !flags.peek {
            connection.after_read(n, &mut Cx { net, now, shared });
        }
        Ok(n)
    }

    pub fn recv_with(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        max: usize,
        take: &mut dyn FnMut(&[IoSlice<'_>]) -> usize,
    ) -> Result<usize> {
        let (connection, shared) = self.reader(id)?;
        if connection.receive.len() == 0 {
            return connection.nothing_to_read(max == 0);
        }
        let n = connection.receive.read_with(max, take);
        connection.after_read(n, &mut Cx { net, now, shared });
        Ok(n)
    }

    /// The connection to read from, with what its operations need.
    fn reader(&mut self, id: SocketId) -> Result<(&mut Connection, &mut Shared)> {
        match self.sockets.get_exact_mut(id.index, id.generation) {
            Some(Socket::Connection(connection)) if connection.owner == Owner::Program => {
                Ok((connection, &mut self.shared))
            }
            Some(Socket::Idle(_) | Socket::Listener(_)) => Err(Error::NotConnected),
            _ => Err(Error::BadDescriptor),
        }
    }

    pub fn recv_available(&self, id: SocketId) -> usize {
        self.connection_ref(id).map_or(0, |connection| connection.receive.len())
    }

    pub fn send_outstanding(&self, id: SocketId) -> usize {
        self.connection_ref(id)
            .map_or(0, |c| c.send.len() + usize::from(c.fin_queued && !c.fin_acked && c.state != State::Closed))
    }

    pub fn is_drained(&self, id: SocketId) -> bool {
        // Also of a connection that its socket has left: it is the one that has to be waited for.
        match self.sockets.get_exact(id.index, id.generation) {
            Some(Socket::Connection(c)) => c.state == State::Closed || !c.owes(),
            _ => true,
        }
    }

    pub fn ready(&self, id: SocketId) -> Ready {
        self.socket_ref(id).map_or(Ready::empty(), Socket::ready)
    }

    pub fn take_error(&mut self, id: SocketId) -> Option<Error> {
        match self.socket_mut(id).ok()? {
            Socket::Connection(connection) => connection.common.error.take().or(connection.soft_error.take()),
            socket => socket.common_mut()?.error.take(),
        }
    }
}

impl Socket {
    /// Readiness as poll(2) tells it.
    pub(super) fn ready(&self) -> Ready {
        match self {
            Socket::Idle(idle) => {
                let error = if idle.common.error.is_some() { Ready::ERR } else { Ready::empty() };
                Ready::OUT | Ready::HUP | error
            }
            Socket::Listener(listener) => listener.ready(),
            Socket::Connection(connection) => connection.ready(),
            Socket::Reserved => Ready::empty(),
        }
    }
}

impl Listener {
    fn ready(&self) -> Ready {
        if self.queue.is_empty() { Ready::empty() } else { Ready::IN }
    }
}

impl Connection {
    /// Whether bytes may be put into the send buffer.
    fn may_send(&mut self) -> Result<()> {
        if let Some(error) = self.common.error.take() {
            return Err(error);
        }
        if self.fin_queued || self.state == State::Closed {
            return Err(Error::BrokenPipe);
        }
        if !self.state.is_synchronized() {
            return Err(Error::WouldBlock);
        }
        Ok(())
    }

    /// What a read of an empty buffer tells.
    fn nothing_to_read(&mut self, wants_nothing: bool) -> Result<usize> {
        if self.fin_received {
            return Ok(0);
        }
        if let Some(error) = self.common.error.take() {
            return Err(error);
        }
        if self.read_shut || self.state == State::Closed || wants_nothing {
            return Ok(0);
        }
        Err(Error::WouldBlock)
    }

    /// Readiness as Linux's tcp_poll tells it.
    fn ready(&self) -> Ready {
        let closed = matches!(self.state, State::Closed | State::TimeWait);
        let read_shut = self.read_shut || self.fin_received || closed;
        let write_shut = self.fin_queued || closed;
        let mut ready = Ready::empty();
        if read_shut && write_shut {
            ready |= Ready::HUP;
        }
        if read_shut {
            ready |= Ready::IN | Ready::RDHUP;
        }
        if self.state.is_synchronized() || closed {
            let len = self.receive.len();
            // A window that is used up would let no more come (Linux's tcp_epollin_ready).
            let full = len > 0 && self.receive_window() <= self.ack.peer_segment;
            if len >= self.common.options.receive_low_water.max(1) || full {
                ready |= Ready::IN;
            }
            if write_shut || self.is_writable() {
                ready |= Ready::OUT;
            }
        }
        if self.common.error.is_some() {
            ready |= Ready::ERR;
        }
        ready
    }
}
