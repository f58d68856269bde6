//! The socket calls of a host. None blocks: what would block is `EAGAIN`, and an [`Event`](crate::Event) tells when to call again.

use core::net::{IpAddr, SocketAddr};
use std::io::IoSlice;

use wireway_packet::Instant;
use wireway_wire::Protocol;

use super::*;
use crate::net::Complaint;
use crate::net::group::{Filter, FilterMode};
use crate::socket::multicast::Multicast;
use crate::{Error, Host, InterfaceId, Ready, Result};

impl Host {
    /// Makes a socket. EPROTONOSUPPORT of a raw IPv6 socket that would bring its own headers (IPPROTO_RAW).
    pub fn socket(&mut self, domain: Domain, kind: Kind) -> Result<SocketId> {
        match kind {
            Kind::Raw(protocol) if Protocol(protocol) == Protocol::RAW && domain == Domain::Inet6 => {
                Err(Error::ProtocolNotSupported)
            }
            Kind::Stream => self.tcp.socket(&mut self.net, domain),
            Kind::Datagram => self.udp.socket(&mut self.net, domain, false),
            Kind::LiteDatagram => self.udp.socket(&mut self.net, domain, true),
            Kind::Ping | Kind::Raw(_) => self.raw.socket(&mut self.net, domain, kind),
        }
    }

    /// Binds to a local address; port 0 picks one (RFC 6056). EADDRINUSE, EADDRNOTAVAIL, EINVAL (bound already), EAFNOSUPPORT.
    pub fn bind(&mut self, id: SocketId, address: SocketAddr) -> Result<()> {
        match id.family {
            SocketFamily::Tcp => self.tcp.bind(&mut self.net, id, address),
            SocketFamily::Udp => self.udp.bind(&mut self.net, id, address),
            SocketFamily::Raw => self.raw.bind(&mut self.net, id, address),
        }
    }

    /// Makes a TCP socket a listener, or changes a listener's backlog. A socket that is not bound gets a port.
    pub fn listen(&mut self, id: SocketId, backlog: u32) -> Result<()> {
        match id.family {
            SocketFamily::Tcp => self.tcp.listen(&mut self.net, id, backlog),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// Connects. TCP: EINPROGRESS, then an event with OUT or ERR; called again EALREADY, or once the first outcome:
    /// Ok (the first call after success), EISCONN. Datagram kinds: sets the peer at once.
    pub fn connect(&mut self, now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        let peer = self.led(id, peer)?;
        match id.family {
            SocketFamily::Tcp => self.tcp.connect(&mut self.net, now, id, peer),
            SocketFamily::Udp => self.udp.connect(&mut self.net, now, id, peer),
            SocketFamily::Raw => self.raw.connect(&mut self.net, now, id, peer),
        }
    }

    /// Datagram kinds: forgets the peer (connect with AF_UNSPEC). TCP: resets the connection, back to closed.
    pub fn disconnect(&mut self, now: Instant, id: SocketId) -> Result<()> {
        match id.family {
            SocketFamily::Tcp => self.tcp.disconnect(&mut self.net, now, id),
            SocketFamily::Udp => self.udp.disconnect(&mut self.net, now, id),
            SocketFamily::Raw => self.raw.disconnect(&mut self.net, now, id),
        }
    }

    /// Takes the next connection of a listener, with its peer. EAGAIN if there is none.
    pub fn accept(&mut self, now: Instant, id: SocketId) -> Result<(SocketId, SocketAddr)> {
        match id.family {
            SocketFamily::Tcp => self.tcp.accept(&mut self.net, now, id),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// Gives a connection taken by [`accept`](Self::accept) back to its listener, to be the next again (an accept call that was interrupted).
    pub fn unaccept(&mut self, listener: SocketId, connection: SocketId) -> Result<()> {
        match listener.family {
            SocketFamily::Tcp => self.tcp.unaccept(&mut self.net, listener, connection),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// Answers the SYN of a held connection (see [`SocketOption::HoldIncoming`]); it becomes an ordinary one.
    pub fn admit(&mut self, now: Instant, id: SocketId) -> Result<()> {
        match id.family {
            SocketFamily::Tcp => self.tcp.admit(&mut self.net, now, id),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// Refuses a held connection and closes its socket.
    pub fn refuse(&mut self, now: Instant, id: SocketId, refusal: Refusal) -> Result<()> {
        match id.family {
            SocketFamily::Tcp => self.tcp.refuse(&mut self.net, now, id, refusal),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// TCP: copies as much of `data` into the send buffer as fits and sends what may be sent. EAGAIN if nothing fits, EPIPE
    /// after shutdown, the pending error once. Connected datagram kinds: sends one datagram.
    pub fn send(&mut self, now: Instant, id: SocketId, data: &[u8], flags: SendFlags) -> Result<usize> {
        match id.family {
            SocketFamily::Tcp => self.tcp.send(&mut self.net, now, id, data, flags),
            SocketFamily::Udp | SocketFamily::Raw => self.send_datagram(now, id, data, None, None),
        }
    }

    fn send_datagram(
        &mut self,
        now: Instant,
        id: SocketId,
        data: &[u8],
        peer: Option<SocketAddr>,
        source: Option<SocketAddr>,
    ) -> Result<usize> {
        let udp = id.family == SocketFamily::Udp;
        let sent = match udp {
            true => self.udp.send_to(&mut self.net, now, id, data, peer, source),
            false => self.raw.send_to(&mut self.net, now, id, data, peer, source),
        };
        if sent == Err(Error::MessageTooLong) {
            let socket = if udp { self.udp.datagram(id) } else { self.raw.datagram(id) };
            socket?.note_too_long(&mut self.net, peer);
        }
        sent
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
        match id.family {
            SocketFamily::Tcp => self.tcp.send_with(&mut self.net, now, id, want, flags, fill),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// Free bytes in a TCP socket's send buffer; 0 where nothing can be sent.
    pub fn send_space(&self, id: SocketId) -> usize {
        match id.family {
            SocketFamily::Tcp => self.tcp.send_space(id),
            SocketFamily::Udp | SocketFamily::Raw => 0,
        }
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
        let peer = peer.map(|peer| self.led(id, peer)).transpose()?;
        match id.family {
            // On a connected stream the address is ignored, as Linux does (EISCONN is what POSIX allows too).
            SocketFamily::Tcp => self.tcp.send(&mut self.net, now, id, data, SendFlags::default()),
            SocketFamily::Udp | SocketFamily::Raw => self.send_datagram(now, id, data, peer, source),
        }
    }

    /// Answers a datagram that a transparent datagram or raw socket took with ICMP destination unreachable
    /// (RFC 792, RFC 1812 §5.2.7.1, RFC 4443 §3.1): from the address it was sent to for protocol and port, else from the interface's own, as
    /// the host there or a router before it would. `head` is what to quote of the transport payload of a raw socket (8
    /// bytes); on UDP sockets it is ignored, and a UDP header is made from the addresses and length. Rate-limited like the
    /// host's own errors. EOPNOTSUPP on other kinds.
    pub fn send_unreachable(
        &mut self,
        now: Instant,
        id: SocketId,
        datagram: &DatagramInfo,
        head: &[u8],
        why: Unreachable,
    ) -> Result<()> {
        self.complain_about(now, id, datagram, head, Complaint::Unreachable(why))
    }

    /// As [`send_unreachable`](Self::send_unreachable), with an error that another host sent.
    pub fn relay_error(
        &mut self,
        now: Instant,
        id: SocketId,
        datagram: &DatagramInfo,
        head: &[u8],
        error: RelayedError,
    ) -> Result<()> {
        self.complain_about(now, id, datagram, head, Complaint::Relayed(error))
    }

    fn complain_about(
        &mut self,
        now: Instant,
        id: SocketId,
        datagram: &DatagramInfo,
        head: &[u8],
        complaint: Complaint,
    ) -> Result<()> {
        match id.family {
            SocketFamily::Udp => self.udp.complain(&mut self.net, now, id, datagram, complaint),
            SocketFamily::Raw => self.raw.complain(&mut self.net, now, id, datagram, head, complaint),
            SocketFamily::Tcp => Err(Error::NotSupported),
        }
    }

    /// TCP: copies received bytes into `buffer`. 0 at the end of the stream, EAGAIN if there are none yet, the pending error once.
    pub fn recv(&mut self, now: Instant, id: SocketId, buffer: &mut [u8], flags: ReceiveFlags) -> Result<usize> {
        match id.family {
            SocketFamily::Tcp => self.tcp.recv(&mut self.net, now, id, buffer, flags),
            SocketFamily::Udp | SocketFamily::Raw => {
                let info = self.recv_from(id, buffer, flags)?;
                Ok(info.len.min(buffer.len()))
            }
        }
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
        match id.family {
            SocketFamily::Tcp => self.tcp.recv_with(&mut self.net, now, id, max, take),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// Received bytes of a TCP socket that can be read now, or the size of the next datagram (FIONREAD).
    pub fn recv_available(&self, id: SocketId) -> usize {
        match id.family {
            SocketFamily::Tcp => self.tcp.recv_available(id),
            SocketFamily::Udp => self.udp.recv_available(id),
            SocketFamily::Raw => self.raw.recv_available(id),
        }
    }

    /// Sent bytes that the peer has not acknowledged (SIOCOUTQ).
    pub fn send_outstanding(&self, id: SocketId) -> usize {
        match id.family {
            SocketFamily::Tcp => self.tcp.send_outstanding(id),
            SocketFamily::Udp | SocketFamily::Raw => 0,
        }
    }

    /// Takes the next datagram; what does not fit `buffer` is lost, and its full length is told.
    pub fn recv_from(&mut self, id: SocketId, buffer: &mut [u8], flags: ReceiveFlags) -> Result<DatagramInfo> {
        let mut info = match id.family {
            SocketFamily::Tcp => Err(Error::NotSupported),
            SocketFamily::Udp => self.udp.recv_from(&mut self.net, id, buffer, flags),
            SocketFamily::Raw => self.raw.recv_from(&mut self.net, id, buffer, flags),
        }?;
        info.source = self.redirects.shown(id, info.source);
        Ok(info)
    }

    /// Takes the oldest error of a datagram socket's error queue (MSG_ERRQUEUE; see [`SocketOption::ReceiveErrors`]). EAGAIN if there is
    /// none, EOPNOTSUPP on TCP.
    pub fn recv_error(&mut self, id: SocketId) -> Result<SocketError> {
        match id.family {
            SocketFamily::Tcp => Err(Error::NotSupported),
            SocketFamily::Udp => self.udp.datagram(id)?.recv_error(),
            SocketFamily::Raw => self.raw.datagram(id)?.recv_error(),
        }
    }

    /// Closes one or both directions.
    pub fn shutdown(&mut self, now: Instant, id: SocketId, how: Shutdown) -> Result<()> {
        match id.family {
            SocketFamily::Tcp => self.tcp.shutdown(&mut self.net, now, id, how),
            SocketFamily::Udp => self.udp.shutdown(&mut self.net, now, id, how),
            SocketFamily::Raw => self.raw.shutdown(&mut self.net, now, id, how),
        }
    }

    /// Closes the socket: the id is no longer valid. TCP goes on in the background until its state machine ends (RFC 9293
    /// §3.6), or is reset if unread data was left or SO_LINGER is zero (RFC 2525 §2.17).
    pub fn close(&mut self, now: Instant, id: SocketId) -> Result<()> {
        self.redirects.forget(id);
        match id.family {
            SocketFamily::Tcp => self.tcp.close(&mut self.net, now, id),
            SocketFamily::Udp => self.udp.close(&mut self.net, now, id),
            SocketFamily::Raw => self.raw.close(&mut self.net, now, id),
        }
    }

    /// Closes a TCP socket with RST.
    pub fn abort(&mut self, now: Instant, id: SocketId) -> Result<()> {
        self.redirects.forget(id);
        match id.family {
            SocketFamily::Tcp => self.tcp.abort(&mut self.net, now, id),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NotSupported),
        }
    }

    /// A TCP socket closed all the way: its peer has acknowledged everything (what SO_LINGER waits for).
    pub fn is_drained(&self, id: SocketId) -> bool {
        match id.family {
            SocketFamily::Tcp => self.tcp.is_drained(id),
            SocketFamily::Udp | SocketFamily::Raw => true,
        }
    }

    /// The readiness of a socket now.
    pub fn ready(&self, id: SocketId) -> Ready {
        match id.family {
            SocketFamily::Tcp => self.tcp.ready(id),
            SocketFamily::Udp => self.udp.ready(id),
            SocketFamily::Raw => self.raw.ready(id),
        }
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&mut self, id: SocketId) -> Option<Error> {
        match id.family {
            SocketFamily::Tcp => self.tcp.take_error(id),
            SocketFamily::Udp => self.udp.take_error(id),
            SocketFamily::Raw => self.raw.take_error(id),
        }
    }

    /// The local address (getsockname). Unspecified if not bound. In the socket's domain: v4-mapped on AF_INET6.
    pub fn local_addr(&self, id: SocketId) -> Result<SocketAddr> {
        match id.family {
            SocketFamily::Tcp => self.tcp.local_addr(id),
            SocketFamily::Udp => self.udp.local_addr(id),
            SocketFamily::Raw => self.raw.local_addr(id),
        }
    }

    /// The peer (getpeername), or ENOTCONN.
    pub fn peer_addr(&self, id: SocketId) -> Result<SocketAddr> {
        let peer = match id.family {
            SocketFamily::Tcp => self.tcp.peer_addr(id),
            SocketFamily::Udp => self.udp.peer_addr(id),
            SocketFamily::Raw => self.raw.peer_addr(id),
        }?;
        Ok(self.redirects.shown(id, peer))
    }

    /// Sets an option. ENOPROTOOPT if the socket's kind has none such, EINVAL for a value out of range.
    pub fn set_option(&mut self, now: Instant, id: SocketId, option: SocketOption) -> Result<()> {
        match id.family {
            SocketFamily::Tcp => self.tcp.set_option(&mut self.net, now, id, option),
            SocketFamily::Udp => self.udp.set_option(&mut self.net, now, id, option),
            SocketFamily::Raw => self.raw.set_option(&mut self.net, now, id, option),
        }
    }

    /// All options of a socket.
    pub fn options(&self, id: SocketId) -> Result<SocketOptions> {
        match id.family {
            SocketFamily::Tcp => self.tcp.options(id),
            SocketFamily::Udp => self.udp.options(id),
            SocketFamily::Raw => self.raw.options(id),
        }
    }

    /// The options that a raw socket has beside. ENOPROTOOPT on other kinds.
    pub fn raw_options(&self, id: SocketId) -> Result<RawOptions> {
        match id.family {
            SocketFamily::Raw => self.raw.raw_options(id),
            SocketFamily::Tcp | SocketFamily::Udp => Err(Error::NoProtocolOption),
        }
    }

    /// The coverage that a UDP-Lite socket sends with, and the least that it wants of what it receives, as far as it set them: both
    /// as [`SocketOption`] has them. ENOPROTOOPT on other kinds.
    pub fn coverage(&self, id: SocketId) -> Result<(Option<u16>, Option<u16>)> {
        let coverage = if id.family == SocketFamily::Udp { self.udp.coverage(id) } else { None };
        coverage.map(|coverage| (coverage.send, coverage.receive)).ok_or(Error::NoProtocolOption)
    }

    /// How a datagram socket deals with groups of a family. ENOPROTOOPT on other kinds.
    pub fn multicast(&self, id: SocketId, family: Domain) -> Result<MulticastOptions> {
        Ok(*self.multicast_of(id)?.options(family == Domain::Inet6))
    }

    fn multicast_of(&self, id: SocketId) -> Result<&Multicast> {
        match id.family {
            SocketFamily::Tcp => Err(Error::NoProtocolOption),
            SocketFamily::Udp => self.udp.multicast(id),
            SocketFamily::Raw => self.raw.multicast(id),
        }
    }

    /// Sets from whom a datagram socket wants what is sent to a group that it joined (RFC 3678 §5.2.1, §4.2). To include nobody is to leave.
    /// EINVAL if it was not joined, or is no group; ENODEV; ENOBUFS with too many sources.
    pub fn set_source_filter(
        &mut self,
        now: Instant,
        id: SocketId,
        group: IpAddr,
        interface: Option<InterfaceId>,
        mode: FilterMode,
        sources: &[IpAddr],
    ) -> Result<()> {
        let multicast = match id.family {
            SocketFamily::Tcp => return Err(Error::NoProtocolOption),
            SocketFamily::Udp => self.udp.multicast_mut(id)?,
            SocketFamily::Raw => self.raw.multicast_mut(id)?,
        };
        multicast.set_filter(&mut self.net, now, group, interface, Filter { mode, sources: sources.into() })
    }

    /// From whom a datagram socket wants what is sent to a group. EADDRNOTAVAIL if it did not join it; EINVAL, ENODEV.
    pub fn source_filter(
        &self,
        id: SocketId,
        group: IpAddr,
        interface: Option<InterfaceId>,
    ) -> Result<(FilterMode, Vec<IpAddr>)> {
        let multicast = match id.family {
            SocketFamily::Tcp => return Err(Error::NoProtocolOption),
            SocketFamily::Udp => self.udp.multicast(id)?,
            SocketFamily::Raw => self.raw.multicast(id)?,
        };
        let filter = multicast.filter(&self.net, group, interface)?;
        Ok((filter.mode, filter.sources))
    }

    /// TCP_INFO. ENOPROTOOPT on other kinds.
    pub fn tcp_info(&self, now: Instant, id: SocketId) -> Result<TcpInfo> {
        match id.family {
            SocketFamily::Tcp => self.tcp.info(now, id),
            SocketFamily::Udp | SocketFamily::Raw => Err(Error::NoProtocolOption),
        }
    }

    /// Bytes of the largest packet that fits the path to a connected socket's peer (IP_MTU). ENOTCONN without a peer.
    pub fn path_mtu(&mut self, now: Instant, id: SocketId) -> Result<u16> {
        let peer = self.peer_addr(id)?;
        let socket = match id.family {
            SocketFamily::Tcp => return Ok(u16::try_from(self.tcp_info(now, id)?.path_mtu).unwrap_or(u16::MAX)),
            SocketFamily::Udp => self.udp.datagram(id)?,
            SocketFamily::Raw => self.raw.datagram(id)?,
        };
        socket.route_to(&mut self.net, peer).map(|(_, route)| route.mtu)
    }

    /// Whether the socket is a listener (SO_ACCEPTCONN).
    pub fn is_listening(&self, id: SocketId) -> bool {
        match id.family {
            SocketFamily::Tcp => self.tcp.is_listening(id),
            SocketFamily::Udp | SocketFamily::Raw => false,
        }
    }
}
