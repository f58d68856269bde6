//! The hosts' sockets, and calls on them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use wireway_stack::{
    Domain, Error, Kind, MtuDiscover, ReceiveFlags, Refusal, SendFlags, Shutdown, SocketId, SocketOption, Unreachable,
};

use crate::input::Input;
use crate::world::{STATIONS, World};

/// Where both hosts listen, and where their UDP sockets are.
pub const PORT: u16 = 80;
pub const ECHO: u16 = 7;
/// Sockets of one host, at most.
const SOCKETS: usize = 12;

/// A TCP socket, and how far its streams are.
#[derive(Debug)]
struct Stream {
    id: SocketId,
    sent: u64,
    received: u64,
    listens: bool,
    failed: bool,
    /// The other end, if the connection was made before the program began.
    original: bool,
}

/// A host's sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    streams: Vec<Stream>,
    others: Vec<SocketId>,
    listen_only: Vec<SocketId>,
    listeners: usize,
}

impl Sockets {
    /// Listeners that there ever were: their half-open connections may outlive them.
    pub fn opened_listeners(&self) -> usize {
        self.listeners
    }

    fn add(&mut self, id: SocketId) {
        let fresh = Stream { id, sent: 0, received: 0, listens: false, failed: false, original: false };
        self.streams.push(fresh);
    }
}

/// What every stream carries from a position on: `len` bytes, at most 64 KiB. It comes again after a prime number of bytes, so
/// that no segment's size is a multiple.
fn content(position: u64, len: usize) -> &'static [u8] {
    const PERIOD: usize = 4093;
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let period: Vec<u8> = (0..PERIOD as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        period.iter().copied().cycle().take(PERIOD + (64 << 10)).collect()
    });
    let at = (position % PERIOD as u64) as usize;
    &BYTES[at..at + len]
}

impl World {
    /// Sockets of every kind on both hosts, and an established connection from the first to the second.
    pub fn open(&mut self) {
        for side in 0..2 {
            let host = &mut self.hosts[side];
            let listener = host.socket(Domain::Inet6, Kind::Stream).unwrap();
            host.bind(listener, SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), PORT)).unwrap();
            host.listen(listener, 4).unwrap();
            self.sockets[side].add(listener);
            self.sockets[side].streams[0].listens = true;
            self.sockets[side].listeners = 1;
            let udp = host.socket(Domain::Inet, Kind::Datagram).unwrap();
            host.bind(udp, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ECHO)).unwrap();
            let ping = host.socket(Domain::Inet, Kind::Ping).unwrap();
            let raw = host.socket(Domain::Inet, Kind::Raw(99)).unwrap();
            self.sockets[side].others = vec![udp, ping, raw];
        }
        let id = self.hosts[0].socket(Domain::Inet, Kind::Stream).unwrap();
        let peer = SocketAddr::new(STATIONS[1].ip.into(), PORT);
        assert_eq!(self.hosts[0].connect(self.now, id, peer), Err(Error::InProgress));
        self.sockets[0].add(id);
        self.settle();
        let listener = self.sockets[1].streams[0].id;
        let (other, _) = self.hosts[1].accept(self.now, listener).expect("no connection");
        self.sockets[1].add(other);
        for side in 0..2 {
            self.sockets[side].streams[1].original = true;
        }
    }

    /// Sends or receives on a TCP socket.
    pub fn transfer(&mut self, side: usize, input: &mut Input<'_>) {
        let which = input.byte();
        let amount = usize::from(input.byte());
        let at = usize::from(which & 0x0f) % self.sockets[side].streams.len().max(1);
        let at = if which & 0x20 == 0 { 1.min(self.sockets[side].streams.len().saturating_sub(1)) } else { at };
        if which & 0x80 == 0 {
            let more = which & 0x10 != 0;
            self.send(side, at, if which & 0x40 == 0 { amount } else { amount * 100 }, SendFlags { more });
        } else {
            self.receive(side, at, if which & 0x40 == 0 { amount } else { usize::MAX });
        }
    }

    fn send(&mut self, side: usize, at: usize, want: usize, flags: SendFlags) {
        let Some(stream) = self.sockets[side].streams.get_mut(at) else { return };
        let mut position = stream.sent;
        let result = self.hosts[side].send_with(self.now, stream.id, want, flags, &mut |space| {
            let n = space.len().min(64 << 10);
            space[..n].copy_from_slice(content(position, n));
            position += n as u64;
            n
        });
        match result {
            Ok(n) => {
                assert!(n <= want);
                stream.sent += n as u64;
            }
            Err(Error::WouldBlock) => {}
            Err(_) => stream.failed = true,
        }
    }

    fn receive(&mut self, side: usize, at: usize, max: usize) {
        let tainted = self.tainted;
        let Some(stream) = self.sockets[side].streams.get_mut(at) else { return };
        let mut position = stream.received;
        let available = self.hosts[side].recv_available(stream.id);
        let result = self.hosts[side].recv_with(self.now, stream.id, max, &mut |parts| {
            let mut n = 0;
            for part in parts {
                for part in part.chunks(64 << 10) {
                    assert!(tainted || part == content(position, part.len()), "behind byte {position} of a stream");
                    position += part.len() as u64;
                    n += part.len();
                }
            }
            n
        });
        match result {
            Ok(n) => {
                assert!(n <= max && n <= available, "{n} of {available}");
                stream.received += n as u64;
            }
            Err(Error::WouldBlock) => assert_eq!(available, 0),
            Err(_) => stream.failed = true,
        }
    }

    /// Whether the original connection delivered all that was sent, or cannot.
    pub fn is_through(&mut self) -> bool {
        for side in 0..2 {
            self.receive(side, 1, usize::MAX);
        }
        let [a, b] = [0, 1].map(|side| self.sockets[side].streams.get(1).filter(|s| s.original && !s.failed));
        match (a, b) {
            (Some(a), Some(b)) => {
                let ready = [self.hosts[0].ready(a.id), self.hosts[1].ready(b.id)];
                let over = ready
                    .iter()
                    .any(|r| r.contains(wireway_stack::Ready::HUP) || r.contains(wireway_stack::Ready::ERR));
                over || (a.sent, b.sent) == (b.received, a.received)
            }
            _ => true,
        }
    }

    /// Some other socket call.
    pub fn call(&mut self, side: usize, input: &mut Input<'_>) {
        let now = self.now;
        let what = input.byte();
        let which = input.byte();
        let host = &mut self.hosts[side];
        let sockets = &mut self.sockets[side];
        let at = usize::from(which) % sockets.streams.len().max(1);
        let stream = sockets.streams.get(at).map(|s| s.id);
        let other = sockets.others.get(usize::from(which) % sockets.others.len().max(1)).copied();
        let peer_port = input.choose(&[PORT, PORT, ECHO, 9, 0]);
        let addresses: [IpAddr; 6] = [
            STATIONS[1 - side].ip.into(),
            STATIONS[1 - side].ip.into(),
            STATIONS[side].ip.into(),
            Ipv4Addr::LOCALHOST.into(),
            Ipv4Addr::BROADCAST.into(),
            Ipv4Addr::new(10, 0, 0, which).into(),
        ];
        let peer = SocketAddr::new(addresses[usize::from(what >> 5) % addresses.len()], peer_port);
        match what & 0x1f {
            0 | 1 => {
                if let Some(listener) = stream
                    && let Ok((id, _)) = host.accept(now, listener)
                {
                    sockets.add(id);
                }
            }
            2 | 3 => {
                if sockets.streams.len() < SOCKETS {
                    let id = host.socket(Domain::Inet, Kind::Stream).unwrap();
                    sockets.add(id);
                    let _ = host.connect(now, id, peer);
                }
            }
            4 => {
                if let Some(id) = stream {
                    let how = input.choose(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]);
                    let _ = host.shutdown(now, id, how);
                    if how != Shutdown::Write {
                        // What comes after is lost.
                        sockets.streams[at].failed = true;
                    }
                    sockets.streams[at].listens &= how == Shutdown::Write;
                }
            }
            5 | 6 => {
                if let Some(id) = stream {
                    let result = if what & 1 == 0 { host.close(now, id) } else { host.abort(now, id) };
                    assert_eq!(result, Ok(()));
                    sockets.streams.remove(at);
                    // What was the other end's is no longer to be expected.
                    for s in self.sockets.iter_mut().flat_map(|s| &mut s.streams) {
                        s.failed |= s.original;
                    }
                }
            }
            7 => {
                if let Some(id) = stream {
                    let _ = host.disconnect(now, id);
                    sockets.streams[at].failed = true;
                    sockets.streams[at].listens = false;
                    let _ = host.connect(now, id, peer);
                    self.tainted = true;
                }
            }
            8 => {
                if let Some(id) = stream
                    && host.listen(id, u32::from(which)).is_ok()
                    && !sockets.streams[at].listens
                {
                    sockets.streams[at].listens = true;
                    sockets.listeners += 1;
                }
            }
            9 => {
                if let Some(id) = stream {
                    host.take_error(id);
                    host.send_space(id);
                    host.send_outstanding(id);
                    host.is_drained(id);
                    let _ = host.tcp_info(now, id);
                    let _ = (host.local_addr(id), host.peer_addr(id), host.options(id), host.ready(id));
                }
            }
            10..=15 => {
                let option = option(input);
                if let Some(id) = if what & 0x20 == 0 { stream } else { other } {
                    // A held connection waits for the program; that is not a stream that stands still.
                    self.tainted |= matches!(option, SocketOption::HoldIncoming(_) | SocketOption::UserTimeout(_));
                    let _ = host.set_option(now, id, option);
                }
            }
            16 => {
                if let Some(id) = stream {
                    let _ = host.admit(now, id);
                }
            }
            17 => {
                if let Some(id) = stream {
                    let how = input.choose(&[Refusal::Reset, Refusal::Unreachable(Unreachable::Host), Refusal::Ignore]);
                    if host.refuse(now, id, how).is_ok() {
                        sockets.streams.remove(at);
                    }
                }
            }
            18..=21 => {
                if let Some(id) = other.filter(|id| !sockets.listen_only.contains(id)) {
                    let mut data = vec![0x44; usize::from(input.byte()) * 40];
                    if let Some(first) = data.first_mut() {
                        // A ping socket sends echo requests.
                        *first = 8;
                        data[1] = 0;
                    }
                    let _ = host.send_to(now, id, &data, Some(peer), None);
                }
            }
            22 | 23 => {
                if let Some(id) = other {
                    let mut buffer = [0; 2048];
                    let peek = which & 0x80 != 0;
                    let _ = host.recv_from(id, &mut buffer, ReceiveFlags { peek });
                }
            }
            24 => {
                if let Some(id) = other {
                    let _ = if which & 0x40 == 0 { host.connect(now, id, peer) } else { host.disconnect(now, id) };
                }
            }
            25 => {
                if let Some(id) = other {
                    let how = input.choose(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]);
                    let _ = host.shutdown(now, id, how);
                }
            }
            26 => {
                if sockets.others.len() < SOCKETS {
                    let kind = input.choose(&[
                        Kind::Datagram,
                        Kind::LiteDatagram,
                        Kind::Ping,
                        Kind::Raw(1),
                        Kind::Raw(6),
                        Kind::Raw(17),
                    ]);
                    let id = host.socket(Domain::Inet, kind).unwrap();
                    if matches!(kind, Kind::Raw(_)) {
                        // What a program sends by these need not be sound.
                        sockets.listen_only.push(id);
                    }
                    let _ = host.bind(id, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), input.word()));
                    sockets.others.push(id);
                }
            }
            27 => {
                if let Some(id) = other {
                    sockets.others.retain(|&o| o != id);
                    assert_eq!(host.close(now, id), Ok(()));
                    // Closed is closed.
                    assert_eq!(host.close(now, id), Err(Error::BadDescriptor));
                }
            }
            28 => {
                if sockets.streams.len() < SOCKETS {
                    let id = host.socket(Domain::Inet, Kind::Stream).unwrap();
                    let _ = host.bind(id, SocketAddr::new(STATIONS[side].ip.into(), input.word()));
                    sockets.add(id);
                }
            }
            29 => {
                if let Some(id) = stream
                    && let Ok((child, _)) = host.accept(now, id)
                {
                    assert_eq!(host.unaccept(id, child), Ok(()));
                }
            }
            _ => {
                // To itself, by `lo`.
                if sockets.streams.len() < SOCKETS {
                    let id = host.socket(Domain::Inet, Kind::Stream).unwrap();
                    sockets.add(id);
                    let _ = host.connect(now, id, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
                }
            }
        }
    }

    pub fn close_all(&mut self) {
        for side in 0..2 {
            let host = &mut self.hosts[side];
            let sockets = std::mem::take(&mut self.sockets[side]);
            for id in sockets.streams.iter().map(|s| s.id).chain(sockets.others) {
                assert_eq!(host.close(self.now, id), Ok(()));
                assert_eq!(host.close(self.now, id), Err(Error::BadDescriptor));
            }
        }
    }
}

fn option(input: &mut Input<'_>) -> SocketOption {
    let which = input.byte();
    let value = input.byte();
    let on = value & 1 != 0;
    let size = usize::from(value) << (value & 15);
    let time = Duration::from_millis(u64::from(value) << (value & 15));
    match which % 22 {
        0 => SocketOption::ReuseAddress(on),
        1 => SocketOption::ReusePort(on),
        2 => SocketOption::KeepAlive(on),
        3 => SocketOption::Linger(on.then_some(time)),
        4 => SocketOption::ReceiveBuffer(size),
        5 => SocketOption::SendBuffer(size),
        6 => SocketOption::ReceiveLowWater(size),
        7 => SocketOption::Ttl(on.then_some(value)),
        8 => SocketOption::Tos(value),
        9 => SocketOption::MtuDiscover(input.choose(&[
            MtuDiscover::Dont,
            MtuDiscover::Want,
            MtuDiscover::Do,
            MtuDiscover::Probe,
        ])),
        10 => SocketOption::HoldIncoming(on),
        11 => SocketOption::NoDelay(on),
        12 => SocketOption::Cork(on),
        13 => SocketOption::QuickAck(on),
        14 => SocketOption::KeepIdle(time),
        15 => SocketOption::KeepInterval(time),
        16 => SocketOption::KeepCount(value),
        17 => SocketOption::UserTimeout(time),
        18 => SocketOption::MaxSegment(size as u16),
        19 => SocketOption::Linger2(on.then_some(time)),
        20 => SocketOption::DeferAccept(u32::from(value)),
        _ => SocketOption::WindowClamp(size as u32),
    }
}
