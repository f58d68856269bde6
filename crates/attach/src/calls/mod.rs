//! The notified calls, one file for each family of calls.
//!
//! A handler answers at once, lets the kernel go on, or parks the call. It keeps nothing between tries but what is in [`Call`], so a parked
//! call is simply made again. What concerns none of our sockets goes on in the kernel.

mod accept;
mod connect;
mod ioctl;
mod ioctl_change;
mod message;
mod multicast;
mod name;
mod options;
mod receive;
mod shutdown;
mod socket;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_packet::Instant;

use crate::notify::Notification;
use crate::process::{Memory, is_foreign_socket, socket_inode};
use crate::socket::{Key, Socket};
use crate::sys;
use crate::world::{Awaited, World};

/// A call under way.
pub(crate) struct Call {
    pub notification: Notification,
    /// When it ends without success, by SO_RCVTIMEO or SO_SNDTIMEO.
    pub deadline: Option<Instant>,
    /// What it has done so far: bytes or messages.
    pub progress: usize,
    /// The connection attempt that it has begun.
    pub attempt: Option<connect::Attempt>,
}

impl Call {
    pub(crate) fn new(notification: Notification) -> Call {
        Call { notification, deadline: None, progress: 0, attempt: None }
    }

    pub(crate) fn thread(&self) -> u32 {
        self.notification.thread
    }

    fn memory(&self) -> Memory {
        Memory::of(self.notification.thread)
    }

    fn argument(&self, index: usize) -> u64 {
        self.notification.arguments.get(index).copied().unwrap_or(0)
    }

    fn int(&self, index: usize) -> i32 {
        self.argument(index) as u32 as i32
    }
}

/// What becomes of a call.
pub(crate) enum Outcome {
    /// The answer.
    Done(Result<i64, Errno>),
    /// The kernel carries it out.
    GoOn,
    /// It was answered already, or nobody waits any more.
    Answered,
    /// It waits for this socket, at most this long.
    Park(Awaited, Option<Duration>),
}

/// Carries a call out as far as it goes.
pub(crate) fn dispatch(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    match call.notification.number {
        libc::SYS_socket => socket::socket(w, cx, call),
        libc::SYS_connect => connect::connect(w, cx, call),
        libc::SYS_bind => name::bind(w, cx, call),
        libc::SYS_listen => accept::listen(w, cx, call),
        libc::SYS_accept => accept::accept(w, cx, call, 0),
        libc::SYS_accept4 => accept::accept(w, cx, call, call.int(3)),
        libc::SYS_shutdown => shutdown::shutdown(w, cx, call),
        libc::SYS_getsockname => name::local(w, cx, call),
        libc::SYS_getpeername => name::peer(w, cx, call),
        libc::SYS_getsockopt => options::get(w, cx, call),
        libc::SYS_setsockopt => options::set(w, cx, call),
        libc::SYS_sendto => message::sendto(w, cx, call),
        libc::SYS_sendmsg => message::sendmsg(w, cx, call),
        libc::SYS_sendmmsg => message::sendmmsg(w, cx, call),
        libc::SYS_recvfrom => receive::recvfrom(w, cx, call),
        libc::SYS_recvmsg => receive::recvmsg(w, cx, call),
        libc::SYS_recvmmsg => receive::recvmmsg(w, cx, call),
        libc::SYS_ioctl => ioctl::ioctl(w, cx, call),
        _ => Ok(Outcome::GoOn),
    }
}

/// What the first argument of a call is.
pub(super) enum Target {
    /// A socket of the host's, and a duplicate of the program's end of it.
    Ours(Key, OwnedFd),
    /// Something of the kernel's that reaches no network.
    Local,
}

/// Finds the socket a call is made on. EPERM for a network socket of the kernel's that got in from outside.
pub(super) fn target(w: &mut World, call: &Call) -> Result<Target, Errno> {
    let holder = (call.thread(), call.int(0));
    let end = match w.processes.descriptor(holder.0, holder.1) {
        Ok(end) => end,
        // Not to be looked into (it changed its user, say): only its local sockets work.
        Err(Errno::PERM | Errno::ACCESS) => return Ok(Target::Local),
        Err(e) => return Err(e),
    };
    let Some(inode) = socket_inode(end.as_fd()) else { return Ok(Target::Local) };
    match w.sockets.with_inode(inode) {
        Some(key) => {
            if let Some(socket) = w.sockets.get(key) {
                socket.holder = holder;
            }
            Ok(Target::Ours(key, end))
        }
        None if is_foreign_socket(end.as_fd()) => Err(Errno::PERM),
        None => Ok(Target::Local),
    }
}

pub(super) fn socket_at(w: &mut World, key: Key) -> Result<&mut Socket, Errno> {
    w.sockets.get(key).ok_or(Errno::BADF)
}

/// Parks a call on a socket, for as long as this option of the program's end says: SO_RCVTIMEO or SO_SNDTIMEO.
pub(super) fn park(w: &mut World, key: Key, theirs: &OwnedFd, name: i32) -> Result<Outcome, Errno> {
    let limit = if socket_at(w, key)?.timed { timeout(theirs, name) } else { None };
    Ok(Outcome::Park(Awaited::Socket(key), limit))
}

/// SO_RCVTIMEO or SO_SNDTIMEO of the program's end; `None` is for ever.
pub(super) fn timeout(theirs: &OwnedFd, name: i32) -> Option<Duration> {
    let mut raw = [0u8; 16];
    if sys::get_option(theirs, libc::SOL_SOCKET, name, &mut raw) != Ok(16) {
        return None;
    }
    let (seconds, micros) = raw.split_at(8);
    let word = |b: &[u8]| b.try_into().map(u64::from_ne_bytes).unwrap_or(0);
    let limit = Duration::from_secs(word(seconds)) + Duration::from_micros(word(micros));
    (!limit.is_zero()).then_some(limit)
}
