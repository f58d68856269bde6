//! The socket calls of a host. None blocks: what would block is `EAGAIN`, and an [`Event`](crate::Event) tells when to call again.

use core::net::SocketAddr;
use std::io::IoSlice;

use wireway_packet::Instant;

use super::*;
use crate::{Error, Host, Ready, Result};

#[allow(unused_variables)]
impl Host {
    /// Makes a socket.
    pub fn socket(&mut self, domain: Domain, kind: Kind) -> Result<SocketId> {
        todo!()
    }

    /// Binds to a local address; port 0 picks one (RFC 6056). EADDRINUSE, EADDRNOTAVAIL, EINVAL (bound already), EAFNOSUPPORT.
    pub fn bind(&mut self, id: SocketId, address: SocketAddr) -> Result<()> {
        todo!()
    }

    /// Makes a TCP socket a listener, or changes a listener's backlog. A socket that is not bound gets a port.
    pub fn listen(&mut self, id: SocketId, backlog: u32) -> Result<()> {
        todo!()
    }

    /// Connects. TCP: EINPROGRESS, then an event with OUT or ERR; called again EALREADY, or once the first outcome:
    /// Ok (the first call after success), EISCONN. Datagram kinds: sets the peer at once.
    pub fn connect(&mut self, now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        todo!()
    }

    /// Datagram kinds: forgets the peer (connect with AF_UNSPEC). TCP: resets the connection, back to closed.
    pub fn disconnect(&mut self, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    /// Takes the next connection of a listener, with its peer. EAGAIN if there is none.
    pub fn accept(&mut self, now: Instant, id: SocketId) -> Result<(SocketId, SocketAddr)> {
        todo!()
    }

    /// Gives a connection taken by [`accept`](Self::accept) back to its listener, to be the next again (an accept call that was interrupted).
    pub fn unaccept(&mut self, listener: SocketId, connection: SocketId) -> Result<()> {
        todo!()
    }

    /// Answers the SYN of a held connection (see [`SocketOption::HoldIncoming`]); it becomes an ordinary one.
    pub fn admit(&mut self, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    /// Refuses a held connection and closes its socket.
    pub fn refuse(&mut self, now: Instant, id: SocketId, refusal: Refusal) -> Result<()> {
        todo!()
    }

    /// TCP: copies as much of `data` into the send buffer as fits and sends what may be sent. EAGAIN if nothing fits, EPIPE
    /// after shutdown, the pending error once. Connected datagram kinds: sends one datagram.
    pub fn send(&mut self, now: Instant, id: SocketId, data: &[u8], flags: SendFlags) -> Result<usize> {
        todo!()
    }

    /// TCP: offers free send buffer space, at most `want` bytes in all, piece by piece to `fill`, which writes to the front
    /// of a piece and returns how much; a piece not filled to its end ends the call. So the bytes are copied once.
    pub fn send_with(
        &mut self,
        now: Instant,
        id: SocketId,
        want: usize,
        flags: SendFlags,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Result<usize> {
        todo!()
    }

    /// Free bytes in a TCP socket's send buffer; 0 where nothing can be sent.
    pub fn send_space(&self, id: SocketId) -> usize {
        todo!()
    }

    /// Sends one datagram to `peer`, from `source` if given (needs [`SocketOption::Transparent`] for a foreign one). A ping
    /// socket's data is an ICMP echo message, a raw socket's the transport payload.
    pub fn send_to(
        &mut self,
        now: Instant,
        id: SocketId,
        data: &[u8],
        peer: Option<SocketAddr>,
        source: Option<SocketAddr>,
    ) -> Result<usize> {
        todo!()
    }

    /// Answers a datagram that a transparent datagram or raw socket took with ICMP destination unreachable of this code
    /// (RFC 792, RFC 1812 §5.2.7.1): from the address it was sent to for codes 2 and 3, else from the interface's own, as
    /// the host there or a router before it would. `head` is what to quote of the transport payload of a raw socket (8
    /// bytes); on UDP sockets it is ignored, and a UDP header is made from the addresses and length. Rate-limited like the
    /// host's own errors. EOPNOTSUPP on other kinds.
    pub fn send_unreachable(
        &mut self,
        now: Instant,
        id: SocketId,
        datagram: &DatagramInfo,
        head: &[u8],
        code: u8,
    ) -> Result<()> {
        todo!()
    }

    /// TCP: copies received bytes into `buffer`. 0 at the end of the stream, EAGAIN if there are none yet, the pending error once.
    pub fn recv(&mut self, now: Instant, id: SocketId, buffer: &mut [u8], flags: ReceiveFlags) -> Result<usize> {
        todo!()
    }

    /// TCP: shows received bytes in place, at most `max`, to `take`, which returns how many of them it consumed. Returns that;
    /// 0 at the end of the stream.
    pub fn recv_with(
        &mut self,
        now: Instant,
        id: SocketId,
        max: usize,
        take: &mut dyn FnMut(&[IoSlice<'_>]) -> usize,
    ) -> Result<usize> {
        todo!()
    }

    /// Received bytes of a TCP socket that can be read now, or the size of the next datagram (FIONREAD).
    pub fn recv_available(&self, id: SocketId) -> usize {
        todo!()
    }

    /// Sent bytes that the peer has not acknowledged (SIOCOUTQ).
    pub fn send_outstanding(&self, id: SocketId) -> usize {
        todo!()
    }

    /// Takes the next datagram; what does not fit `buffer` is lost, and its full length is told.
    pub fn recv_from(&mut self, id: SocketId, buffer: &mut [u8], flags: ReceiveFlags) -> Result<DatagramInfo> {
        todo!()
    }

    /// Closes one or both directions.
    pub fn shutdown(&mut self, now: Instant, id: SocketId, how: Shutdown) -> Result<()> {
        todo!()
    }

    /// Closes the socket: the id is no longer valid. TCP goes on in the background until its state machine ends (RFC 9293
    /// §3.6), or is reset if unread data was left or SO_LINGER is zero (RFC 2525 §2.17).
    pub fn close(&mut self, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    /// Closes a TCP socket with RST.
    pub fn abort(&mut self, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    /// A TCP socket closed all the way: its peer has acknowledged everything (what SO_LINGER waits for).
    pub fn is_drained(&self, id: SocketId) -> bool {
        todo!()
    }

    /// The readiness of a socket now.
    pub fn ready(&self, id: SocketId) -> Ready {
        todo!()
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&mut self, id: SocketId) -> Option<Error> {
        todo!()
    }

    /// The local address (getsockname). Unspecified if not bound. In the socket's domain: v4-mapped on AF_INET6.
    pub fn local_addr(&self, id: SocketId) -> Result<SocketAddr> {
        todo!()
    }

    /// The peer (getpeername), or ENOTCONN.
    pub fn peer_addr(&self, id: SocketId) -> Result<SocketAddr> {
        todo!()
    }

    /// Sets an option. ENOPROTOOPT if the socket's kind has none such, EINVAL for a value out of range.
    pub fn set_option(&mut self, now: Instant, id: SocketId, option: SocketOption) -> Result<()> {
        todo!()
    }

    /// All options of a socket.
    pub fn options(&self, id: SocketId) -> Result<SocketOptions> {
        todo!()
    }

    /// TCP_INFO. ENOPROTOOPT on other kinds.
    pub fn tcp_info(&self, now: Instant, id: SocketId) -> Result<TcpInfo> {
        todo!()
    }

    /// Whether the socket is a listener (SO_ACCEPTCONN).
    pub fn is_listening(&self, id: SocketId) -> bool {
        todo!()
    }
}
