//! An error that poll shows on the program's end of an AF_UNIX DGRAM pair: POLLERR without a hang-up, as on a UDP socket.
//!
//! When one end of a pair is disconnected with unread datagrams in its queue, the kernel throws these away and sets ECONNRESET on the
//! other end (unix_dgram_disconnected): poll, select and epoll show it, a blocked call returns with it, and the next call on that end, or
//! SO_ERROR, takes it away. So the engine's end is emptied, is sent one byte by itself, and is disconnected and connected again, by the
//! names that the kernel chose for both ends. The number of the error is always that one; notified calls tell the true one.
//!
//! For a moment the engine's end has no peer, and any process of the machine that knows its name may send to it: what does not come from
//! the program's end is thrown away ([`Alarm::is_from_program`]). The program's end always has its peer, and hears nobody else.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrAny, SocketAddrUnix};

use crate::sys;

/// Shows errors on the program's end of a pair.
pub(crate) struct Alarm {
    program: SocketAddrUnix,
    engine: Option<SocketAddrUnix>,
    /// An error is to be shown once the program's datagrams have been taken out of the engine's end.
    pub due: bool,
    /// One is shown, for all that is known: a native call takes it away.
    rung: bool,
}

impl Alarm {
    /// Names the program's end.
    pub(crate) fn new(theirs: BorrowedFd<'_>) -> Result<Alarm, Errno> {
        Ok(Alarm { program: name(theirs)?, engine: None, due: false, rung: false })
    }

    /// Shows an error. What the engine's end has not read is lost.
    pub(crate) fn ring(&mut self, ours: BorrowedFd<'_>) -> Result<(), Errno> {
        self.due = false;
        let engine = match &self.engine {
            Some(engine) => engine,
            None => self.engine.insert(name(ours)?),
        };
        rustix::net::connect_unspec(ours)?;
        // EAGAIN: a datagram is there already.
        let _ = rustix::net::sendto(ours, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL, engine);
        rustix::net::connect(ours, &self.program)?;
        rustix::net::connect_unspec(ours)?;
        rustix::net::connect(ours, &self.program)?;
        self.rung = true;
        Ok(())
    }

    /// Takes away what is shown. True: there was nothing any more, because a native call has told it.
    pub(crate) fn silence(&mut self, theirs: BorrowedFd<'_>) -> bool {
        self.due = false;
        std::mem::take(&mut self.rung) && sys::pending_error(theirs) == 0
    }

    /// Whether a datagram that the engine's end received was sent by the program's.
    pub(crate) fn is_from_program(&self, sender: Option<SocketAddrAny>) -> bool {
        sender.and_then(|name| SocketAddrUnix::try_from(name).ok()).is_some_and(|name| name == self.program)
    }
}

/// Has the kernel name a socket.
fn name(socket: BorrowedFd<'_>) -> Result<SocketAddrUnix, Errno> {
    rustix::net::bind(socket, &SocketAddrUnix::new_unnamed())?;
    SocketAddrUnix::try_from(rustix::net::getsockname(socket)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, epoll, poll};
    use rustix::net::{RecvFlags, SocketType, recv, send};

    use super::*;
    use crate::socket::Pair;

    const NOW: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };

    fn pair() -> (Pair, Alarm) {
        let pair = Pair::new(SocketType::DGRAM, false).unwrap();
        let alarm = Alarm::new(pair.theirs.as_fd()).unwrap();
        (pair, alarm)
    }

    fn polled(pair: &Pair) -> PollFlags {
        let mut set = [PollFd::new(&pair.theirs, PollFlags::IN | PollFlags::PRI | PollFlags::RDHUP)];
        poll(&mut set, Some(&NOW)).unwrap();
        set[0].revents()
    }

    #[test]
    fn an_error_is_shown_until_it_is_told() {
        let (pair, mut alarm) = pair();
        assert_eq!(polled(&pair), PollFlags::empty());
        for _ in 0..3 {
            alarm.ring(pair.ours.as_fd()).unwrap();
            assert_eq!(polled(&pair), PollFlags::ERR);
        }
        assert!(!alarm.silence(pair.theirs.as_fd()));
        assert_eq!(polled(&pair), PollFlags::empty());
        assert!(!alarm.silence(pair.theirs.as_fd()), "nothing was shown");

        alarm.ring(pair.ours.as_fd()).unwrap();
        assert_eq!(recv(&pair.theirs, &mut [0u8; 8], RecvFlags::DONTWAIT), Err(Errno::CONNRESET));
        assert_eq!(polled(&pair), PollFlags::empty());
        assert!(alarm.silence(pair.theirs.as_fd()), "a native call has told it");
    }

    #[test]
    fn datagrams_go_both_ways_as_before() {
        let (pair, mut alarm) = pair();
        let mut buffer = [0u8; 8];
        for _ in 0..2 {
            send(&pair.ours, b"kept", SendFlags::DONTWAIT).unwrap();
            alarm.ring(pair.ours.as_fd()).unwrap();
            assert_eq!(polled(&pair), PollFlags::ERR | PollFlags::IN);
            alarm.silence(pair.theirs.as_fd());
            assert_eq!(recv(&pair.theirs, &mut buffer, RecvFlags::DONTWAIT).unwrap().0, 4);
            assert_eq!(recv(&pair.ours, &mut buffer, RecvFlags::DONTWAIT), Err(Errno::AGAIN), "our own byte is gone");
            send(&pair.theirs, b"sent", SendFlags::DONTWAIT).unwrap();
            assert_eq!(recv(&pair.ours, &mut buffer, RecvFlags::DONTWAIT).unwrap().0, 4);
        }
    }

    #[test]
    fn each_error_is_an_edge() {
        let (pair, mut alarm) = pair();
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, &pair.theirs, epoll::EventData::new_u64(1), flags).unwrap();
        let edges = || {
            let mut events = Vec::with_capacity(4);
            epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&NOW)).unwrap();
            events.iter().map(|e| e.flags).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(edges(), []);
            alarm.ring(pair.ours.as_fd()).unwrap();
            assert_eq!(edges(), [epoll::EventFlags::ERR]);
        }
    }

    #[test]
    fn it_wakes_who_waits() {
        let (pair, mut alarm) = pair();
        let theirs = pair.theirs.try_clone().unwrap();
        let reader = std::thread::spawn(move || recv(&theirs, &mut [0u8; 8], RecvFlags::empty()).map(|_| ()));
        std::thread::sleep(Duration::from_millis(20));
        alarm.ring(pair.ours.as_fd()).unwrap();
        assert_eq!(reader.join().unwrap(), Err(Errno::CONNRESET));
    }

    #[test]
    fn nobody_else_is_heard() {
        let (pair, mut alarm) = pair();
        alarm.ring(pair.ours.as_fd()).unwrap();
        alarm.silence(pair.theirs.as_fd());
        let (stranger, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        name(stranger.as_fd()).unwrap();
        let engine = alarm.engine.clone().unwrap();
        for end in [&alarm.program, &engine] {
            assert_eq!(rustix::net::sendto(&stranger, b"x", SendFlags::DONTWAIT, end), Err(Errno::PERM));
        }
        // In the moment without a peer.
        rustix::net::connect_unspec(&pair.ours).unwrap();
        let sender = |from: BorrowedFd<'_>| {
            let _ = rustix::net::sendto(from, b"x", SendFlags::DONTWAIT, &engine).unwrap();
            rustix::net::recvfrom(&pair.ours, &mut [0u8; 8], RecvFlags::DONTWAIT).unwrap().2
        };
        rustix::net::connect_unspec(&stranger).unwrap();
        assert!(!alarm.is_from_program(sender(stranger.as_fd())));
        send(&pair.theirs, b"x", SendFlags::DONTWAIT).unwrap();
        let (_, _, from) = rustix::net::recvfrom(&pair.ours, &mut [0u8; 8], RecvFlags::DONTWAIT).unwrap();
        assert!(alarm.is_from_program(from));
    }
}
