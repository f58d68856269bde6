//! The two hosts that are compared: Linux behind a TAP, and ours. Both are 10.0.0.1/24 with an MTU of 1,500 and equal settings.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags as LinuxSendFlags, Shutdown as LinuxShutdown, SocketFlags, SocketType, sockopt,
};
use wireway_nic::{Nic, TapConfig, TapNic};
use wireway_packet::software::{Segmenter, to_wire};
use wireway_packet::{Instant, Packet};
use wireway_stack::{
    Cidr, Domain, Error, Host, InterfaceConfig, InterfaceId, Kind, ReceiveFlags, SendFlags, Settings, Shutdown,
    SocketId, SocketOption,
};
use wireway_wire::MacAddr;

pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// A socket of a side, by the order of making.
pub type Sock = usize;

/// What a socket call gave: a number, or an errno.
pub type Outcome = Result<usize, i32>;

/// A host under comparison.
pub trait Side {
    /// Puts a frame on its wire.
    fn inject(&mut self, frame: &[u8]);
    /// The next frame that it sent; waits for one for at most `limit`.
    fn next(&mut self, limit: Duration) -> Option<Vec<u8>>;
    /// A TCP or UDP socket bound to a port.
    fn bind(&mut self, stream: bool, port: u16) -> Sock;
    fn listen(&mut self, sock: Sock);
    fn accept(&mut self, listener: Sock) -> Option<Sock>;
    /// Connects to a port of the peer's.
    fn connect(&mut self, sock: Sock, port: u16) -> Outcome;
    fn send(&mut self, sock: Sock, data: &[u8]) -> Outcome;
    fn recv(&mut self, sock: Sock, most: usize) -> Outcome;
    fn shutdown(&mut self, sock: Sock) -> Outcome;
    fn no_delay(&mut self, sock: Sock);
    fn close(&mut self, sock: Sock);
}

/// The kernel that runs this test, in the process's network namespace.
pub struct Linux {
    tap: TapNic,
    cut: VecDeque<Vec<u8>>,
    sockets: Vec<Option<OwnedFd>>,
}

impl Linux {
    /// Takes the process's namespace over, which is to be new.
    pub fn new() -> Linux {
        let set = |name: &str, value: &str| {
            let path = format!("/proc/sys/net/{name}");
            // What this kernel does not have need not be set.
            if std::fs::exists(&path).unwrap_or(false) {
                std::fs::write(&path, value).unwrap_or_else(|e| panic!("{path}: {e}"));
            }
        };
        for (name, value) in [
            ("ipv6/conf/default/disable_ipv6", "1"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv4/icmp_msgs_per_sec", "10000"),
            ("ipv4/ipfrag_time", "1"),
            ("ipv4/tcp_rmem", "4096 131072 6291456"),
            ("ipv4/tcp_wmem", "4096 16384 4194304"),
            ("ipv4/tcp_no_metrics_save", "1"),
            // Otherwise duplicate acknowledgements may wait for a millisecond.
            ("ipv4/tcp_comp_sack_nr", "0"),
        ] {
            set(name, value);
        }
        let address = Some(Cidr { address: HOST.into(), prefix_len: 24 });
        let config = TapConfig { name: "wwdiff0".into(), mac: PEER_MAC, mtu: 1500, host_address: address };
        let tap = TapNic::open(config).unwrap_or_else(|e| panic!("{e}"));
        Linux { tap, cut: VecDeque::new(), sockets: Vec::new() }
    }

    fn add(&mut self, fd: OwnedFd) -> Sock {
        self.sockets.push(Some(fd));
        self.sockets.len() - 1
    }

    fn fd(&self, sock: Sock) -> &OwnedFd {
        self.sockets[sock].as_ref().expect("an open socket")
    }
}

fn outcome(result: rustix::io::Result<usize>) -> Outcome {
    result.map_err(Errno::raw_os_error)
}

impl Side for Linux {
    fn inject(&mut self, frame: &[u8]) {
        assert!(self.tap.transmit(Instant::ZERO, Packet::copy_from(frame)).is_ok(), "the TAP takes no frame");
        self.tap.flush(Instant::ZERO);
    }

    fn next(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let end = std::time::Instant::now() + limit;
        loop {
            if let Some(frame) = self.cut.pop_front() {
                return Some(frame);
            }
            match self.tap.receive(Instant::ZERO) {
                Some(packet) => self.cut.extend(Segmenter::new(packet).map(to_wire)),
                None => {
                    let left = end.checked_duration_since(std::time::Instant::now())?;
                    let fd = self.tap.fd().expect("a descriptor");
                    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
                    poll(&mut fds, Some(&Timespec::try_from(left).expect("a time"))).expect("poll");
                }
            }
        }
    }

    fn bind(&mut self, stream: bool, port: u16) -> Sock {
        let kind = if stream { SocketType::STREAM } else { SocketType::DGRAM };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::INET, kind, flags, None).expect("socket");
        sockopt::set_socket_reuseaddr(&fd, true).expect("SO_REUSEADDR");
        rustix::net::bind(&fd, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).expect("bind");
        self.add(fd)
    }

    fn listen(&mut self, sock: Sock) {
        rustix::net::listen(self.fd(sock), 16).expect("listen");
    }

    fn accept(&mut self, listener: Sock) -> Option<Sock> {
        let fd = rustix::net::accept_with(self.fd(listener), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).ok()?;
        Some(self.add(fd))
    }

    fn connect(&mut self, sock: Sock, port: u16) -> Outcome {
        outcome(rustix::net::connect(self.fd(sock), &SocketAddrV4::new(PEER, port)).map(|()| 0))
    }

    fn send(&mut self, sock: Sock, data: &[u8]) -> Outcome {
        outcome(rustix::net::send(self.fd(sock), data, LinuxSendFlags::NOSIGNAL))
    }

    fn recv(&mut self, sock: Sock, most: usize) -> Outcome {
        let mut buffer = vec![0; most];
        outcome(rustix::net::recv(self.fd(sock), &mut buffer[..], RecvFlags::empty()).map(|(n, _)| n))
    }

    fn shutdown(&mut self, sock: Sock) -> Outcome {
        outcome(rustix::net::shutdown(self.fd(sock), LinuxShutdown::Write).map(|()| 0))
    }

    fn no_delay(&mut self, sock: Sock) {
        sockopt::set_tcp_nodelay(self.fd(sock), true).expect("TCP_NODELAY");
    }

    fn close(&mut self, sock: Sock) {
        self.sockets[sock] = None;
    }
}

/// Our host, in virtual time.
pub struct Ours {
    host: Host,
    interface: InterfaceId,
    now: Instant,
    sockets: Vec<SocketId>,
}

impl Ours {
    pub fn new() -> Ours {
        let settings =
            Settings { icmp_ratelimit: Duration::ZERO, ipfrag_time: Duration::from_secs(1), ..Settings::default() };
        let mut host = Host::new(settings, [5; 32]);
        let now = Instant::from_millis(1_000);
        let mut config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, 1]), 1500);
        config.addresses.push(Cidr { address: HOST.into(), prefix_len: 24 });
        let interface = host.add_interface(now, config).expect("an interface");
        Ours { host, interface, now, sockets: Vec::new() }
    }

    fn settle(&mut self) {
        while self.host.poll_at().is_some_and(|at| at <= self.now) {
            self.host.poll(self.now);
        }
    }

    fn add(&mut self, id: SocketId) -> Sock {
        self.sockets.push(id);
        self.sockets.len() - 1
    }
}

fn ours<T>(result: Result<T, Error>) -> Result<T, i32> {
    result.map_err(Error::errno)
}

impl Side for Ours {
    fn inject(&mut self, frame: &[u8]) {
        self.host.receive(self.now, self.interface, Packet::copy_from(frame));
        self.settle();
    }

    fn next(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let end = self.now + limit;
        loop {
            self.settle();
            if let Some(frame) = self.host.transmit(self.now, self.interface) {
                return Some(to_wire(frame));
            }
            match self.host.poll_at() {
                Some(at) if at <= end => self.now = at,
                _ => {
                    self.now = end;
                    return None;
                }
            }
        }
    }

    fn bind(&mut self, stream: bool, port: u16) -> Sock {
        let kind = if stream { Kind::Stream } else { Kind::Datagram };
        let id = self.host.socket(Domain::Inet, kind).expect("socket");
        self.host.set_option(self.now, id, SocketOption::ReuseAddress(true)).expect("SO_REUSEADDR");
        self.host.bind(id, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).expect("bind");
        self.add(id)
    }

    fn listen(&mut self, sock: Sock) {
        self.host.listen(self.sockets[sock], 16).expect("listen");
    }

    fn accept(&mut self, listener: Sock) -> Option<Sock> {
        let (id, _) = self.host.accept(self.now, self.sockets[listener]).ok()?;
        Some(self.add(id))
    }

    fn connect(&mut self, sock: Sock, port: u16) -> Outcome {
        ours(self.host.connect(self.now, self.sockets[sock], SocketAddr::new(IpAddr::V4(PEER), port)).map(|()| 0))
    }

    fn send(&mut self, sock: Sock, data: &[u8]) -> Outcome {
        ours(self.host.send(self.now, self.sockets[sock], data, SendFlags::default()))
    }

    fn recv(&mut self, sock: Sock, most: usize) -> Outcome {
        ours(self.host.recv(self.now, self.sockets[sock], &mut vec![0; most], ReceiveFlags::default()))
    }

    fn shutdown(&mut self, sock: Sock) -> Outcome {
        ours(self.host.shutdown(self.now, self.sockets[sock], Shutdown::Write).map(|()| 0))
    }

    fn no_delay(&mut self, sock: Sock) {
        self.host.set_option(self.now, self.sockets[sock], SocketOption::NoDelay(true)).expect("TCP_NODELAY");
    }

    fn close(&mut self, sock: Sock) {
        self.host.close(self.now, self.sockets[sock]).expect("close");
    }
}
