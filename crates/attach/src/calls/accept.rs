//! listen(2), accept(2), accept4(2)

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::SocketType;
use wireway_engine::Context;
use wireway_stack::{Error, Ready};

use super::{Call, Outcome, Target, park, socket_at, target};
use crate::listener::Tokens;
use crate::notify::NotHanded;
use crate::process::is_nonblocking;
use crate::sockaddr;
use crate::socket::{Body, Pair, Socket, errno};
use crate::stream::{Phase, Stream};
use crate::world::World;

pub(super) fn listen(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let socket = socket_at(w, key)?;
    let id = socket.id.ok_or(Errno::OPNOTSUPP)?;
    match &socket.body {
        Body::Stream(s) if s.phase == Phase::Fresh => {}
        Body::Stream(_) => return Err(Errno::INVAL),
        Body::Listener(_) => {}
        _ => return Err(Errno::OPNOTSUPP),
    }
    cx.host.listen(id, call.int(1) as u32).map_err(errno)?;
    if matches!(socket.body, Body::Stream(_)) {
        socket.body = Body::Listener(Tokens::default());
        // A listener is never writable.
        let _ = w.prefill.fill(theirs.as_fd());
    }
    Ok(Outcome::Done(Ok(0)))
}

pub(super) fn accept(w: &mut World, cx: &mut Context<'_>, call: &mut Call, flags: i32) -> Result<Outcome, Errno> {
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(Errno::INVAL);
    }
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let socket = socket_at(w, key)?;
    let (family, protocol) = (socket.family, socket.protocol);
    let listener = socket.id.ok_or(Errno::OPNOTSUPP)?;
    match &socket.body {
        Body::Listener(_) => {}
        Body::Stream(_) => return Err(Errno::INVAL),
        _ => return Err(Errno::OPNOTSUPP),
    }
    let accepted = cx.host.accept(cx.now, listener);
    let (id, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(Error::WouldBlock) => {
            settle(w, cx, key, &theirs)?;
            if is_nonblocking(&theirs) {
                return Err(Errno::AGAIN);
            }
            return park(w, key, &theirs, libc::SO_RCVTIMEO);
        }
        Err(e) => return Err(errno(e)),
    };
    let pair = match Pair::new(SocketType::STREAM, flags & libc::SOCK_NONBLOCK != 0) {
        Ok(pair) => pair,
        Err(e) => {
            let _ = cx.host.unaccept(listener, id);
            return Err(e);
        }
    };
    let raw = sockaddr::emit_inet(sockaddr::shown(peer, family == libc::AF_INET6));
    if let Err(e) = sockaddr::store(call.memory(), &raw, call.argument(1), call.argument(2)) {
        // As on Linux, the connection is lost.
        let _ = cx.host.close(cx.now, id);
        return Err(e);
    }
    // Before the answer: the program's next call may be poll.
    settle(w, cx, key, &theirs)?;
    let handed = call.notification.answer_descriptor(pair.theirs.as_fd(), flags & libc::SOCK_CLOEXEC != 0);
    let number = match handed {
        Ok(number) => number,
        Err(refusal) => {
            // The next call finds it again.
            let _ = cx.host.unaccept(listener, id);
            return match refusal {
                NotHanded::Gone => Ok(Outcome::Answered),
                NotHanded::Error(e) => Err(e),
            };
        }
    };
    let socket = Socket {
        id: Some(id),
        family,
        kind: libc::SOCK_STREAM,
        protocol,
        ours: Some(pair.ours),
        inode: pair.inode,
        holder: (call.thread(), number),
        error: None,
        timed: false,
        watched: false,
        waiting: Default::default(),
        wanted: Default::default(),
        body: Body::Stream(Stream::new(Phase::Open)),
    };
    match w.sockets.insert(cx, socket) {
        Ok(accepted) => w.run_soon(accepted),
        Err(_) => {
            let _ = cx.host.abort(cx.now, id);
        }
    }
    Ok(Outcome::Answered)
}

/// Makes the listener as readable as the host's queue is.
fn settle(
    w: &mut World,
    cx: &mut Context<'_>,
    key: crate::socket::Key,
    theirs: &std::os::fd::OwnedFd,
) -> Result<(), Errno> {
    let socket = socket_at(w, key)?;
    let id = socket.id.ok_or(Errno::OPNOTSUPP)?;
    let more = cx.host.ready(id).contains(Ready::IN);
    let ours = socket.ours.take();
    if let Body::Listener(tokens) = &mut socket.body {
        tokens.settle(ours.as_ref().map(|o| o.as_fd()), theirs.as_fd(), more);
    }
    socket.ours = ours;
    Ok(())
}
