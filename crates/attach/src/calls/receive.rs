//! recvfrom(2), recvmsg(2), recvmmsg(2)
//!
//! On a connection these go on in the kernel unless a flag means another thing there. A datagram is copied to the program, taken away, and
//! put back if the program no longer waits for the answer: a call that a signal interrupts loses nothing. (Taken away before the answer:
//! the program's next call may read the pair at once.)

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use wireway_engine::Context;

use super::{Call, Outcome, Target, park, socket_at, target, timeout};
use crate::datagram::{self, Letter};
use crate::msghdr::{self, Header, Vector};
use crate::process::{is_foreign_socket, is_local_socket, is_nonblocking, socket_inode};
use crate::socket::{Body, Key};
use crate::stream::Phase;
use crate::world::{Awaited, World};
use crate::{sockaddr, sys};

pub(super) fn recvfrom(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let flags = call.int(3);
    let vectors = [Vector { address: call.argument(1), length: call.argument(2) }];
    if let Some(outcome) = on_stream(w, cx, call, key, &theirs, &vectors, flags)? {
        return Ok(outcome);
    }
    let Some(letter) = next(w, cx, key, &theirs, flags)? else { return blocked(w, key, &theirs) };
    let copied = msghdr::scatter(call.memory(), &vectors, &letter.data)?;
    sockaddr::store(call.memory(), &letter.name, call.argument(4), call.argument(5))?;
    let length = if flags & libc::MSG_TRUNC != 0 { letter.data.len() } else { copied };
    finish(w, cx, call, key, &theirs, flags, vec![letter], length)
}

pub(super) fn recvmsg(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let (key, theirs) = match target(w, call)? {
        Target::Ours(key, theirs) => (key, theirs),
        Target::Local => return local(w, call),
    };
    let header = Header::read(call.memory(), call.argument(1))?;
    let flags = call.int(2);
    if let Some(outcome) = on_stream(w, cx, call, key, &theirs, &header.vectors, flags)? {
        return Ok(outcome);
    }
    let Some(letter) = next(w, cx, key, &theirs, flags)? else { return blocked(w, key, &theirs) };
    let length = store(call, &header, &letter, flags)?;
    finish(w, cx, call, key, &theirs, flags, vec![letter], length)
}

pub(super) fn recvmmsg(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let (key, theirs) = match target(w, call)? {
        Target::Ours(key, theirs) => (key, theirs),
        Target::Local => return many_local(w, call),
    };
    let (count, flags) = ((call.argument(2) as u32).min(msghdr::MANY_MOST) as usize, call.int(3));
    if matches!(socket_at(w, key)?.body, Body::Stream(_)) {
        return Ok(Outcome::GoOn);
    }
    let mut letters = Vec::new();
    while letters.len() < count {
        let done = letters.len();
        // A short count is a right answer; waiting for more with some taken would lose them to a signal.
        let letter = match next(w, cx, key, &theirs, flags) {
            Ok(Some(letter)) => letter,
            Ok(None) if done > 0 => break,
            Ok(None) => return blocked(w, key, &theirs),
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let at = call.argument(1).wrapping_add(done as u64 * msghdr::MANY_STRIDE);
        let stored = Header::read(call.memory(), at).and_then(|header| store(call, &header, &letter, flags));
        match stored {
            Ok(length) => call.memory().write_u32(at.wrapping_add(56), length as u32)?,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        letters.push(letter);
        if stays(flags) {
            break;
        }
        datagram::consume(socket_at(w, key)?, theirs.as_fd());
    }
    let done = letters.len();
    let answered = call.notification.try_finish(Ok(done as i64));
    settle(w, cx, key, flags, letters, answered.is_ok())
}

/// The next datagram, or `None` if there is none yet.
fn next(w: &mut World, cx: &mut Context<'_>, key: Key, theirs: &OwnedFd, flags: i32) -> Result<Option<Letter>, Errno> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    if flags & libc::MSG_ERRQUEUE != 0 {
        let letter = datagram::take_error(socket_at(w, key)?, cx, theirs.as_fd())?;
        w.run_soon(key);
        return Ok(Some(letter));
    }
    match datagram::peek(socket_at(w, key)?, cx, theirs.as_fd()) {
        Ok(letter) => Ok(Some(letter)),
        Err(Errno::AGAIN) if flags & libc::MSG_DONTWAIT != 0 || is_nonblocking(theirs) => Err(Errno::AGAIN),
        Err(Errno::AGAIN) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a call leaves the received datagrams as they are.
fn stays(flags: i32) -> bool {
    flags & (libc::MSG_PEEK | libc::MSG_ERRQUEUE) != 0
}

/// Takes the datagram away and answers.
#[allow(clippy::too_many_arguments)]
fn finish(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &mut Call,
    key: Key,
    theirs: &OwnedFd,
    flags: i32,
    letters: Vec<Letter>,
    length: usize,
) -> Result<Outcome, Errno> {
    if !stays(flags) {
        datagram::consume(socket_at(w, key)?, theirs.as_fd());
    }
    let answered = call.notification.try_finish(Ok(length as i64));
    settle(w, cx, key, flags, letters, answered.is_ok())
}

/// After the answer: the next datagram comes forward, or these come back.
fn settle(
    w: &mut World,
    cx: &mut Context<'_>,
    key: Key,
    flags: i32,
    letters: Vec<Letter>,
    answered: bool,
) -> Result<Outcome, Errno> {
    let socket = socket_at(w, key)?;
    if !answered && !stays(flags) {
        datagram::put_back(socket, letters);
    }
    // Only if nobody else waits: they come before the pair.
    if socket.waiting.is_empty() {
        datagram::deliver(socket, cx, key);
    }
    Ok(Outcome::Answered)
}

fn blocked(w: &mut World, key: Key, theirs: &OwnedFd) -> Result<Outcome, Errno> {
    park(w, key, theirs, libc::SO_RCVTIMEO)
}

/// Stores a datagram and what goes with it; returns the answer of the call.
fn store(call: &Call, header: &Header, letter: &Letter, flags: i32) -> Result<usize, Errno> {
    let copied = msghdr::scatter(call.memory(), &header.vectors, &letter.data)?;
    let cut = if copied < letter.data.len() { libc::MSG_TRUNC } else { 0 };
    header.store_result(
        call.memory(),
        &letter.name,
        &letter.control,
        cut | (flags & (libc::MSG_CMSG_CLOEXEC | libc::MSG_ERRQUEUE)),
    )?;
    Ok(if flags & libc::MSG_TRUNC != 0 { letter.data.len() } else { copied })
}

/// What a receive call does on a TCP socket; `None` if it is no TCP socket.
fn on_stream(
    w: &mut World,
    cx: &mut Context<'_>,
    call: &mut Call,
    key: Key,
    theirs: &OwnedFd,
    vectors: &[Vector],
    flags: i32,
) -> Result<Option<Outcome>, Errno> {
    let phase = match &socket_at(w, key)?.body {
        Body::Stream(stream) => stream.phase,
        Body::Listener(_) => return Err(Errno::NOTCONN),
        _ => return Ok(None),
    };
    if phase == Phase::Fresh {
        return Err(Errno::NOTCONN);
    }
    if flags & libc::MSG_ERRQUEUE != 0 {
        return Err(Errno::AGAIN);
    }
    // There is no urgent data.
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::INVAL);
    }
    if flags & libc::MSG_TRUNC == 0 {
        return Ok(Some(Outcome::GoOn));
    }
    if !call.notification.is_waiting() {
        return Ok(Some(Outcome::Answered));
    }
    // tcp(7): the bytes are thrown away, not stored; with MSG_PEEK they are only counted.
    let mut scrap = vec![0u8; msghdr::total(vectors)];
    let mut how = RecvFlags::DONTWAIT;
    if flags & libc::MSG_PEEK != 0 {
        how |= RecvFlags::PEEK;
    }
    match rustix::net::recv(theirs, &mut scrap[..], how) {
        Ok((n, _)) => {
            w.touched(cx, key, false);
            Ok(Some(Outcome::Done(Ok(n as i64))))
        }
        Err(Errno::AGAIN) if flags & libc::MSG_DONTWAIT != 0 || is_nonblocking(theirs) => Err(Errno::AGAIN),
        Err(Errno::AGAIN) => blocked(w, key, theirs).map(Some),
        Err(e) => Err(e),
    }
}

/// recvmsg on a local socket: the kernel's, unless the message at hand carries a network socket of the kernel's, which would be a way round
/// the host. Then the message arrives without its descriptors and with MSG_CTRUNC, as where a security module forbids them. With room
/// for control messages it does not wait in the kernel, where nobody looks at what comes ([`crate::local`]).
fn local(w: &mut World, call: &mut Call) -> Result<Outcome, Errno> {
    let Ok(header) = Header::read(call.memory(), call.argument(1)) else { return Ok(Outcome::GoOn) };
    let flags = call.int(2);
    if !header.has_control() || flags & (libc::MSG_OOB | libc::MSG_ERRQUEUE) != 0 {
        return Ok(Outcome::GoOn);
    }
    let Ok(end) = w.processes.descriptor(call.thread(), call.int(0)) else { return Ok(Outcome::GoOn) };
    let Some(inode) = socket_inode(end.as_fd()).filter(|_| is_local_socket(end.as_fd())) else {
        return Ok(Outcome::GoOn);
    };
    match look(end.as_fd(), header.length()) {
        Found::Nothing if flags & libc::MSG_DONTWAIT != 0 || is_nonblocking(&end) => Err(Errno::AGAIN),
        Found::Nothing => {
            w.local.watch(&end, inode)?;
            Ok(Outcome::Park(Awaited::Local(inode), timeout(&end, libc::SO_RCVTIMEO)))
        }
        Found::Harmless => Ok(Outcome::GoOn),
        Found::ForeignSocket if !call.notification.is_waiting() => Ok(Outcome::Answered),
        Found::ForeignSocket => {
            let mut data = vec![0u8; header.length()];
            let peek = if flags & libc::MSG_PEEK != 0 { RecvFlags::PEEK } else { RecvFlags::empty() };
            let (n, _) = rustix::net::recv(&end, &mut data[..], RecvFlags::DONTWAIT | peek)?;
            data.truncate(n);
            let stored = msghdr::scatter(call.memory(), &header.vectors, &data)?;
            header.store_result(call.memory(), &[], &[], libc::MSG_CTRUNC)?;
            Ok(Outcome::Done(Ok(stored as i64)))
        }
    }
}

/// recvmmsg on a local socket: with room for control messages each message would have to be looked at; that is not supported.
fn many_local(w: &mut World, call: &Call) -> Result<Outcome, Errno> {
    let count = u64::from((call.argument(2) as u32).min(msghdr::MANY_MOST));
    let header = |n| Header::read(call.memory(), call.argument(1).wrapping_add(n * msghdr::MANY_STRIDE));
    let controlled = (0..count).map_while(|n| header(n).ok()).any(|header| header.has_control());
    let end = w.processes.descriptor(call.thread(), call.int(0));
    if controlled && end.is_ok_and(|end| is_local_socket(end.as_fd())) {
        return Err(Errno::OPNOTSUPP);
    }
    Ok(Outcome::GoOn)
}

/// What can be received from a local socket.
enum Found {
    Nothing,
    /// The kernel may go on: messages, the end, an error.
    Harmless,
    ForeignSocket,
}

/// Looks, without taking anything, at what a call that receives `length` bytes from a local socket would find. From a stream it may take
/// several messages, up to the first that carries descriptors. (More than the bound is in no queue of an unprivileged sender's.)
fn look(end: BorrowedFd<'_>, length: usize) -> Found {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags};
    // Room for a security label beside.
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253), ScmCredentials(1)) + 512];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let queued = sys::ioctl_int(end, libc::FIONREAD).unwrap_or(0).max(1) as usize;
    let mut bytes = vec![0u8; length.min(queued)];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let returned = match rustix::net::recvmsg(end, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, flags) {
        Ok(message) => message.flags,
        Err(Errno::AGAIN) => return Found::Nothing,
        Err(_) => return Found::Harmless,
    };
    let foreign = control.drain().any(|message| match message {
        // All of them, so that all are closed.
        RecvAncillaryMessage::ScmRights(fds) => fds.filter(|fd| is_foreign_socket(fd.as_fd())).count() > 0,
        _ => false,
    });
    // What could not be looked at is not let through.
    if foreign || returned.contains(ReturnFlags::CTRUNC) { Found::ForeignSocket } else { Found::Harmless }
}
