//! The states of a connection (RFC 9293 §3.3.2). LISTEN is a type of its own ([`Listener`](super::listen::Listener)), a
//! passive SYN-RECEIVED usually a compact [`Request`](super::request::Request), and TIME-WAIT a
//! [`TimeWait`](super::time_wait::TimeWait) entry.

/// A connection's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A SYN came and waits for the owner's decision before it is answered. Not in RFC 9293: on the wire it is a SYN that
    /// was not received yet.
    Held,
    SynSent,
    SynReceived,
    Established,
    CloseWait,
    FinWait1,
    FinWait2,
    Closing,
    LastAck,
    /// About to become a [`TimeWait`](super::time_wait::TimeWait) entry.
    TimeWait,
    Closed,
}

impl State {
    /// Linux's number of the state, as in `struct tcp_info`.
    pub fn number(self) -> u8 {
        match self {
            State::Established => 1,
            State::SynSent => 2,
            State::Held | State::SynReceived => 3,
            State::FinWait1 => 4,
            State::FinWait2 => 5,
            State::TimeWait => 6,
            State::Closed => 7,
            State::CloseWait => 8,
            State::LastAck => 9,
            State::Closing => 11,
        }
    }

    /// The handshake is complete and the connection not yet over.
    pub fn is_synchronized(self) -> bool {
        !matches!(self, State::Held | State::SynSent | State::SynReceived | State::TimeWait | State::Closed)
    }
}
