//! What a host tells its owner about sockets: readiness, as poll(2) names it.

use std::collections::VecDeque;

use crate::SocketId;

bitflags::bitflags! {
    /// Readiness of a socket, with the meaning (and the values) of poll(2) on Linux.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Ready: u16 {
        /// Something can be read, or accepted; also at end of stream and on an error.
        const IN = 0x001;
        /// Urgent data.
        const PRI = 0x002;
        /// Something can be written; also on an error.
        const OUT = 0x004;
        /// An error is pending (SO_ERROR).
        const ERR = 0x008;
        /// Both directions are closed.
        const HUP = 0x010;
        /// The peer sent FIN, or the socket was shut down for reading.
        const RDHUP = 0x2000;
    }
}

/// The readiness of `socket` may have changed; what it is now stands in `ready`. Changes of one socket between two calls of
/// [`Host::next_event`](crate::Host::next_event) are reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The socket.
    pub socket: SocketId,
    /// Its readiness now.
    pub ready: Ready,
}

/// Kept in each socket: whether it stands in the host's list of sockets to report.
#[derive(Debug, Default)]
pub(crate) struct Dirty(bool);

impl Dirty {
    /// The socket was taken from the list.
    pub fn clear(&mut self) {
        self.0 = false;
    }
}

/// The sockets to report, each once, in the order in which they changed.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<SocketId>,
}

impl Events {
    /// The readiness of `socket` may have changed. `dirty` is the socket's own.
    pub fn mark(&mut self, socket: SocketId, dirty: &mut Dirty) {
        if !dirty.0 {
            dirty.0 = true;
            self.queue.push_back(socket);
        }
    }

    /// Whether there is nothing to report.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next socket to report. It may have been closed since; else its `Dirty` is to be cleared.
    pub fn pop(&mut self) -> Option<SocketId> {
        self.queue.pop_front()
    }
}
