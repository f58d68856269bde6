//! shutdown(2)

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown as End};
use wireway_engine::Context;
use wireway_stack::Shutdown;

use super::{Call, Outcome, Target, socket_at, target};
use crate::socket::{Body, Key, errno};
use crate::stream::Phase;
use crate::world::{Awaited, World};

pub(super) fn shutdown(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let how = match call.int(1) {
        libc::SHUT_RD => Shutdown::Read,
        libc::SHUT_WR => Shutdown::Write,
        libc::SHUT_RDWR => Shutdown::Both,
        _ => return Err(Errno::INVAL),
    };
    let socket = socket_at(w, key)?;
    let id = socket.id.ok_or(Errno::OPNOTSUPP)?;
    match &mut socket.body {
        Body::Stream(stream) if stream.phase == Phase::Open => {
            if how != Shutdown::Read && !queue_sentinel(w, cx, key, &theirs)? {
                return Ok(Outcome::Park(Awaited::Socket(key), None));
            }
            if how != Shutdown::Write {
                shut_reading(w, cx, key)?;
            }
            w.run_soon(key);
            Ok(Outcome::Done(Ok(0)))
        }
        Body::Stream(_) => Err(Errno::NOTCONN),
        Body::Listener(_) => {
            let result = cx.host.shutdown(cx.now, id, how).map_err(errno);
            w.retry_soon(key);
            Ok(Outcome::Done(result.map(|()| 0)))
        }
        Body::Datagrams(d) => {
            let result = cx.host.shutdown(cx.now, id, how).map_err(errno);
            let tells = d.alarm.is_some();
            if how != Shutdown::Read && !d.write_shut {
                crate::datagram::send_native(socket, cx);
                if let Body::Datagrams(d) = &mut socket.body {
                    d.write_shut = true;
                }
                rustix::net::shutdown(&theirs, End::Write)?;
                if !tells {
                    w.watch_close(cx, key, &theirs);
                }
            }
            if how != Shutdown::Write {
                // The ends of a DGRAM pair are shut by themselves.
                match &socket_at(w, key)?.ours {
                    Some(ours) if !tells => rustix::net::shutdown(ours, End::Write)?,
                    _ => rustix::net::shutdown(&theirs, End::Read)?,
                }
            }
            w.retry_soon(key);
            Ok(Outcome::Done(result.map(|()| 0)))
        }
        Body::Netlink(_) => Err(Errno::OPNOTSUPP),
    }
}

/// Ends the program's sending behind everything it has written. False: the pair is full, try again.
fn queue_sentinel(w: &mut World, cx: &mut Context<'_>, key: Key, theirs: &OwnedFd) -> Result<bool, Errno> {
    let Body::Stream(stream) = &mut socket_at(w, key)?.body else { return Err(Errno::NOTCONN) };
    if stream.write_shut {
        return Ok(true);
    }
    match rustix::net::send(theirs, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(_) => {}
        Err(Errno::AGAIN) => return Ok(false),
        Err(_) => return Err(Errno::NOTCONN),
    }
    stream.write_shut = true;
    rustix::net::shutdown(theirs, End::Write)?;
    // When the peer's FIN comes too, a close can only be found this way.
    w.watch_close(cx, key, theirs);
    Ok(true)
}

/// The program reads nothing any more; what still comes is discarded.
fn shut_reading(w: &mut World, cx: &mut Context<'_>, key: Key) -> Result<(), Errno> {
    let socket = socket_at(w, key)?;
    if let Some(id) = socket.id {
        let _ = cx.host.shutdown(cx.now, id, Shutdown::Read);
    }
    if let (Body::Stream(stream), Some(ours)) = (&mut socket.body, &socket.ours) {
        stream.read_shut = true;
        rustix::net::shutdown(ours, End::Write)?;
    }
    Ok(())
}
