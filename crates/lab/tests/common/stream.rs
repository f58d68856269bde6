//! One end of a TCP connection that sends a known stream of bytes and checks the one it receives.

use std::net::SocketAddr;
use std::time::Duration;

use wireway_lab::{HostId, Network};
use wireway_stack::{Domain, Error, Kind, Ready, SendFlags, Shutdown, SocketId};

/// The byte at a position of every stream.
pub fn byte(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

#[derive(Debug)]
pub struct Stream {
    pub host: HostId,
    pub id: SocketId,
    /// Bytes handed to the stack, and to stop at.
    pub sent: u64,
    limit: u64,
    pub received: u64,
    /// The peer's stream ended.
    ended: bool,
    stopped: bool,
    /// Nothing is sent for the time being.
    pub paused: bool,
    pub error: Option<Error>,
}

impl Stream {
    pub fn new(host: HostId, id: SocketId) -> Stream {
        Stream {
            host,
            id,
            sent: 0,
            limit: u64::MAX,
            received: 0,
            ended: false,
            stopped: false,
            paused: false,
            error: None,
        }
    }

    /// Begins a connection.
    pub fn connect(net: &mut Network, host: HostId, peer: SocketAddr) -> Stream {
        let now = net.now();
        let id = net.host(host).socket(Domain::Inet, Kind::Stream).unwrap();
        assert_eq!(net.host(host).connect(now, id, peer), Err(Error::InProgress));
        Stream::new(host, id)
    }

    /// Waits for a connection.
    pub fn accept(net: &mut Network, host: HostId, listener: SocketId) -> Stream {
        let mut id = None;
        net.run_until(Duration::from_secs(100), |net| {
            let now = net.now();
            id = net.host(host).accept(now, listener).ok();
            id.is_some()
        });
        Stream::new(host, id.expect("no connection").0)
    }

    /// Sends no more than `limit` bytes in all.
    pub fn with_limit(mut self, limit: u64) -> Stream {
        self.limit = limit;
        self
    }

    /// Reads what is there, sends what fits; ends the stream after the last byte.
    pub fn pump(&mut self, net: &mut Network) {
        let now = net.now();
        let host = net.host(self.host);
        if self.error.is_some() {
            return;
        }
        let received = &mut self.received;
        loop {
            let mut position = *received;
            let result = host.recv_with(now, self.id, usize::MAX, &mut |parts| {
                let mut n = 0;
                for part in parts {
                    for &got in part.iter() {
                        assert_eq!(got, byte(position), "at byte {position} of the stream");
                        position += 1;
                    }
                    n += part.len();
                }
                n
            });
            match result {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => *received += n as u64,
                Err(Error::WouldBlock) => break,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
        while self.sent < self.limit && !self.paused {
            let (limit, position) = (self.limit, self.sent);
            let want = usize::try_from(limit - position).unwrap_or(usize::MAX).min(1 << 20);
            let mut at = position;
            let result = host.send_with(now, self.id, want, SendFlags::default(), &mut |space| {
                for place in space.iter_mut() {
                    *place = byte(at);
                    at += 1;
                }
                space.len()
            });
            match result {
                Ok(n) => self.sent += n as u64,
                Err(Error::WouldBlock) => break,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
        // Before it is established, a connection would be given up.
        let established = host.ready(self.id).contains(Ready::OUT) || self.sent > 0;
        if self.sent == self.limit && !self.stopped && established {
            match host.shutdown(now, self.id, Shutdown::Write) {
                Ok(()) => self.stopped = true,
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Sends no more than was sent.
    pub fn stop(&mut self) {
        self.limit = self.sent;
    }

    /// All was sent, and the peer's stream has ended.
    pub fn is_done(&self) -> bool {
        self.stopped && self.ended
    }

    /// This end and the other agree on what was sent.
    pub fn compare(&self, other: &Stream) {
        assert_eq!((self.received, other.received), (other.sent, self.sent));
        assert_eq!((self.error, other.error), (None, None));
    }

    pub fn close(&mut self, net: &mut Network) {
        let now = net.now();
        net.host(self.host).close(now, self.id).unwrap();
    }

    pub fn abort(&mut self, net: &mut Network) {
        let now = net.now();
        net.host(self.host).abort(now, self.id).unwrap();
    }
}
