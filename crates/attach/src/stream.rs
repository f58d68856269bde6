//! TCP connections on AF_UNIX STREAM pairs: the pump between the engine's end of a pair and the host's socket.
//!
//! The program reads and writes its end natively; the engine moves bytes *up* (from the pair into the host's send buffer) and *down*
//! (from the host's receive buffer into the pair), each with one copy, until one side can take or give no more. What the pair cannot say
//! by itself:
//!
//! * *connecting*: the program's send side is prefilled ([`crate::prefill`]) until the connection stands, unless it stands by the end
//!   of the round in which it was begun;
//! * *shutdown for writing*: the call is notified; the engine puts one more byte, the *sentinel*, behind the program's data and shuts
//!   the program's end down. Everything before the sentinel goes up, then FIN is sent; the sentinel itself is never read;
//! * *reset*: an AF_UNIX end that is closed with something unread resets the other. With the sentinel queued, closing is enough;
//!   otherwise the engine writes a byte into the program's end first. What was received before is pushed down before that;
//! * *close*: end of file without a sentinel is the last close. Behind a sentinel it is a hang-up, unless the engine has shown the
//!   peer's FIN, when both directions look alike: then [`crate::alive`] tells.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use wireway_engine::{Context, Interest};
use wireway_stack::{Ready, SocketId};

use crate::prefill::Prefill;
use crate::socket::{Body, Key, Socket, errno};
use crate::sys;

/// Bytes moved each way before others have their turn.
const TURN: usize = 1 << 20;

/// How far a TCP socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No connection was asked for.
    Fresh,
    /// SYN sent.
    Connecting,
    /// There is, or was, a connection.
    Open,
    /// The connection failed and the program was shown it; the engine's end is closed.
    Broken,
}

/// The state of a pump.
pub(crate) struct Stream {
    pub phase: Phase,
    /// A non-blocking connect began the connection and has no answer yet: it was interrupted, if it is made again.
    pub unanswered: bool,
    /// Bytes at the head of the engine's queue that are not the program's.
    pub prefilled: usize,
    /// Whether our end may have something to read: since an edge, until a read finds less than it has room for.
    readable: bool,
    /// The program has shut down or closed its end: behind a short read is the end.
    ended: bool,
    /// Whether our end may take something.
    writable: bool,
    /// The sentinel is in the engine's queue.
    pub write_shut: bool,
    /// All bytes before the sentinel went up, and the host has been told.
    fin_sent: bool,
    /// The program shut down its reading.
    pub read_shut: bool,
    /// The peer's FIN was shown.
    end_shown: bool,
    /// The connection is broken; what was received goes down first.
    breaking: bool,
    /// The kernel has the reset for the program's next read to tell, or for SO_ERROR, whichever comes first.
    pub reset_shown: bool,
    /// The program has closed its end behind a sentinel; what it wrote goes up first. True in it: with something unread.
    gone: Option<bool>,
    /// Our end is watched for being writable.
    watched: bool,
}

impl Stream {
    pub(crate) fn new(phase: Phase) -> Stream {
        Stream {
            phase,
            unanswered: false,
            prefilled: 0,
            readable: false,
            ended: false,
            writable: true,
            write_shut: false,
            fin_sent: false,
            read_shut: false,
            end_shown: false,
            breaking: false,
            reset_shown: false,
            gone: None,
            watched: false,
        }
    }

    /// Whether the program has written something before there was a connection.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    /// The program has closed its end, whatever it looked like.
    pub(crate) fn is_gone(&mut self, unread: bool) {
        self.gone = Some(unread);
    }
}

/// What is to be done with a socket after its pump ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Lives,
    /// It has more to move than one turn allows.
    Again,
    /// The program closed it; with a reset if something was unread.
    Closed { reset: bool },
    /// The program's end is to be shown an error.
    Break,
    /// Whether the program closed it has to be looked up.
    AskAlive,
}

/// Runs the pump. `hung_up`: our end reported a hang-up since the last time.
pub(crate) fn pump(socket: &mut Socket, cx: &mut Context<'_>, key: Key, hung_up: bool) -> Verdict {
    let (Some(id), Body::Stream(stream), Some(ours)) = (socket.id, &mut socket.body, &socket.ours) else {
        return Verdict::Lives;
    };
    let ours = ours.as_fd();
    let ready = cx.host.ready(id);
    if stream.phase == Phase::Connecting {
        if ready.contains(Ready::ERR) && socket.waiting.is_empty() {
            socket.error = cx.host.take_error(id).map(errno).or(socket.error);
            return Verdict::Break;
        }
        if ready.contains(Ready::OUT) && !ready.contains(Ready::ERR) {
            stream.phase = Phase::Open;
            stream.prefilled = Prefill::drain(ours, stream.prefilled);
        }
    }
    if stream.phase != Phase::Open {
        return if hung_up { Verdict::Closed { reset: false } } else { Verdict::Lives };
    }
    if ready.contains(Ready::ERR) {
        if let Some(error) = cx.host.take_error(id) {
            socket.error = Some(errno(error));
        }
        stream.breaking = true;
    }
    let down = push_down(stream, cx, id, ours, &mut socket.error);
    if stream.breaking && down == Moved::Nothing {
        return Verdict::Break;
    }
    let up = match push_up(stream, cx, id, ours, &mut socket.error) {
        Up::Moved(moved) => moved,
        Up::Closed { reset } => return Verdict::Closed { reset },
    };
    let mut verdict = if down == Moved::More || up == Moved::More { Verdict::Again } else { Verdict::Lives };
    if hung_up && stream.write_shut && stream.gone.is_none() {
        if stream.end_shown || stream.read_shut {
            verdict = Verdict::AskAlive;
        } else {
            stream.gone = Some(sys::pending_error(ours) != 0);
        }
    }
    if let Some(reset) = stream.gone
        && stream.fin_sent
    {
        return Verdict::Closed { reset };
    }
    let watch = !stream.writable || (stream.watched && down != Moved::Nothing);
    if watch != stream.watched {
        stream.watched = watch;
        socket.watch_writable(cx, key, watch);
    }
    verdict
}

/// Our end may be read, or written, again.
pub(crate) fn edges(socket: &mut Socket, seen: Interest) {
    if let Body::Stream(stream) = &mut socket.body {
        let ended = seen.intersects(Interest::RDHUP | Interest::HUP | Interest::ERR);
        stream.ended |= ended;
        stream.readable |= ended || seen.contains(Interest::IN);
        stream.writable |= seen.contains(Interest::OUT);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    /// Nothing is left to move.
    Nothing,
    /// The other side takes no more for now.
    Waits,
    /// The turn ended first.
    More,
}

fn push_down(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    id: SocketId,
    ours: BorrowedFd<'_>,
    error: &mut Option<Errno>,
) -> Moved {
    let mut moved = 0;
    if stream.end_shown && !stream.breaking {
        return Moved::Nothing;
    }
    while stream.writable {
        if moved >= TURN {
            return Moved::More;
        }
        let mut offered = false;
        let (writable, discards) = (&mut stream.writable, stream.read_shut);
        let result = cx.host.recv_with(cx.now, id, TURN - moved, &mut |slices| {
            let length = slices.iter().map(|s| s.len()).sum();
            offered = length > 0;
            if !offered || discards {
                return length;
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(ours, slices, &mut Default::default(), flags) {
                Ok(n) => {
                    *writable = n == length;
                    n
                }
                // EPIPE: the program has closed its end. What it did not read makes that a reset, so it stays where it is.
                Err(_) => {
                    *writable = false;
                    0
                }
            }
        });
        match result {
            Ok(0) if !offered => {
                // A reader must not see the end where an error is about to be shown.
                if !stream.end_shown && !stream.breaking {
                    stream.end_shown = true;
                    let _ = rustix::net::shutdown(ours, rustix::net::Shutdown::Write);
                }
                return Moved::Nothing;
            }
            Ok(n) => moved += n,
            Err(wireway_stack::Error::WouldBlock) => return Moved::Nothing,
            Err(wireway_stack::Error::NotConnected) => return Moved::Nothing,
            Err(e) => {
                error.get_or_insert(errno(e));
                stream.breaking = true;
                return Moved::Nothing;
            }
        }
    }
    if cx.host.recv_available(id) == 0 && stream.breaking { Moved::Nothing } else { Moved::Waits }
}

enum Up {
    Moved(Moved),
    Closed { reset: bool },
}

fn push_up(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    id: SocketId,
    ours: BorrowedFd<'_>,
    error: &mut Option<Errno>,
) -> Up {
    let mut moved = 0;
    while stream.readable && !stream.fin_sent {
        if moved >= TURN {
            return Up::Moved(Moved::More);
        }
        let mut limit = TURN - moved;
        if stream.write_shut {
            // The last byte is the sentinel.
            let queued = sys::ioctl_int(ours, libc::FIONREAD).unwrap_or(1).max(1) as usize - 1;
            limit = limit.min(queued);
            if queued == 0 {
                stream.fin_sent = true;
                let _ = cx.host.shutdown(cx.now, id, wireway_stack::Shutdown::Write);
                break;
            }
        }
        let space = cx.host.send_space(id);
        if space == 0 {
            if stream.breaking || cx.host.ready(id).contains(Ready::HUP) {
                // Nothing can be sent any more; whether the program has closed its end must still be noticed.
                match discard(ours, limit) {
                    Discarded::Some => continue,
                    Discarded::None => break,
                    Discarded::End { reset } => return Up::Closed { reset },
                }
            }
            return Up::Moved(Moved::Waits);
        }
        let mut end = None;
        let (readable, ended) = (&mut stream.readable, stream.ended);
        let result =
            cx.host.send_with(cx.now, id, limit.min(space), Default::default(), &mut |piece| match recv(ours, piece) {
                Ok(0) if !piece.is_empty() => {
                    end = Some(false);
                    0
                }
                Ok(n) => {
                    *readable = n == piece.len() || ended;
                    n
                }
                Err(Errno::CONNRESET) => {
                    end = Some(true);
                    0
                }
                Err(_) => {
                    *readable = false;
                    0
                }
            });
        if let Some(reset) = end {
            return Up::Closed { reset };
        }
        match result {
            Ok(n) => moved += n,
            Err(wireway_stack::Error::WouldBlock | wireway_stack::Error::BrokenPipe) => break,
            Err(e) => {
                error.get_or_insert(errno(e));
                stream.breaking = true;
                break;
            }
        }
    }
    Up::Moved(Moved::Nothing)
}

/// Reads without waiting.
fn recv(ours: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize, Errno> {
    rustix::net::recv(ours, into, RecvFlags::DONTWAIT).map(|(n, _)| n)
}

enum Discarded {
    Some,
    None,
    End { reset: bool },
}

fn discard(ours: BorrowedFd<'_>, limit: usize) -> Discarded {
    let mut scrap = [0u8; 16_384];
    let room = limit.min(scrap.len());
    match recv(ours, &mut scrap[..room]) {
        Ok(0) => Discarded::End { reset: false },
        Ok(_) => Discarded::Some,
        Err(Errno::CONNRESET) => Discarded::End { reset: true },
        Err(_) => Discarded::None,
    }
}

/// Shows the program an error: ECONNRESET from its next read, after what it has not read yet; IN, OUT, ERR and HUP from poll.
/// `theirs` is the program's end, if it could be found; without it the program sees the end of the stream instead.
pub(crate) fn break_off(socket: &mut Socket, cx: &mut Context<'_>, theirs: Option<BorrowedFd<'_>>) {
    if let Body::Stream(stream) = &mut socket.body {
        stream.phase = Phase::Broken;
        stream.breaking = false;
        stream.write_shut = false;
    }
    let Some(ours) = socket.ours.take() else { return };
    let unread = sys::ioctl_int(&ours, libc::FIONREAD);
    let sent = || {
        theirs.is_some_and(|theirs| rustix::net::send(theirs, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok())
    };
    let shown = unread.is_ok_and(|n| n > 0) || sent();
    if let Body::Stream(stream) = &mut socket.body {
        stream.reset_shown = shown;
    }
    cx.forget(ours.as_fd());
}
