//! The sockets of a program: the engine's end of each pair, the host's socket behind it, and how one is found from the other.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use slab::Slab;
use wireway_engine::{Context, Interest};
use wireway_stack::{Domain, SocketId};

use crate::datagram::{Datagrams, Wanted};
use crate::listener::Tokens;
use crate::netlink::Netlink;
use crate::process::socket_inode;
use crate::stream::Stream;

/// Where a socket is in the table.
pub(crate) type Key = usize;

/// epoll tokens below this are not sockets.
pub(crate) const FIRST_TOKEN: u64 = 16;

/// What a socket carries, and what the pair is used for.
pub(crate) enum Body {
    /// A TCP socket that may have a connection.
    Stream(Stream),
    /// A TCP socket that listens.
    Listener(Tokens),
    /// UDP, ping and raw sockets.
    Datagrams(Datagrams),
    /// NETLINK_ROUTE.
    Netlink(Netlink),
}

/// A socket of the program.
pub(crate) struct Socket {
    /// The host's socket; none for netlink.
    pub id: Option<SocketId>,
    /// AF_INET, AF_INET6 or AF_NETLINK (SO_DOMAIN).
    pub family: i32,
    /// SOCK_STREAM, SOCK_DGRAM or SOCK_RAW (SO_TYPE).
    pub kind: i32,
    /// SO_PROTOCOL.
    pub protocol: i32,
    /// The engine's end of the pair. None once it had to be closed to show an error.
    pub ours: Option<OwnedFd>,
    /// The inode of the program's end.
    pub inode: u64,
    /// Thread and descriptor number of the last call on it: where the program's end was seen last.
    pub holder: (u32, i32),
    /// The error that SO_ERROR is to tell, beside the host's own.
    pub error: Option<Errno>,
    /// SO_RCVTIMEO or SO_SNDTIMEO was set.
    pub timed: bool,
    /// Its close is found by [`crate::alive`].
    pub watched: bool,
    /// Threads whose calls on this socket wait, first come first.
    pub waiting: VecDeque<u32>,
    /// What its program is to be told of datagrams.
    pub wanted: Wanted,
    pub body: Body,
}

impl Socket {
    pub(crate) fn is_v6(&self) -> bool {
        self.family == libc::AF_INET6
    }

    /// Readable and hang-up edges always; writable ones when something waits for them, or each read of the program would wake the engine.
    pub(crate) fn watch_writable(&self, cx: &mut Context<'_>, key: Key, yes: bool) {
        let Some(ours) = &self.ours else { return };
        let _ = cx.modify(ours.as_fd(), FIRST_TOKEN + key as u64, interest(yes));
    }
}

fn interest(writable: bool) -> Interest {
    let base = Interest::IN | Interest::RDHUP | Interest::ET;
    if writable { base | Interest::OUT } else { base }
}

/// The engine's end, and the program's, of a new pair.
pub(crate) struct Pair {
    pub ours: OwnedFd,
    pub theirs: OwnedFd,
    pub inode: u64,
}

impl Pair {
    /// A pair of the given type; the program's end is non-blocking if asked for. Ours is not: every call on it says itself that it is not
    /// to wait.
    pub(crate) fn new(kind: SocketType, nonblocking: bool) -> Result<Pair, Errno> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        if nonblocking {
            rustix::io::ioctl_fionbio(&theirs, true)?;
        }
        let inode = socket_inode(theirs.as_fd()).ok_or(Errno::NOTSOCK)?;
        Ok(Pair { ours, theirs, inode })
    }
}

/// All sockets of a program.
#[derive(Default)]
pub(crate) struct Sockets {
    slab: Slab<Socket>,
    by_inode: HashMap<u64, Key>,
    by_id: HashMap<SocketId, Key>,
}

impl Sockets {
    pub(crate) fn insert(&mut self, cx: &mut Context<'_>, socket: Socket) -> Result<Key, Errno> {
        let entry = self.slab.vacant_entry();
        let key = entry.key();
        if let Some(ours) = &socket.ours {
            cx.register(ours.as_fd(), FIRST_TOKEN + key as u64, interest(false))
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::NOMEM))?;
        }
        self.by_inode.insert(socket.inode, key);
        if let Some(id) = socket.id {
            self.by_id.insert(id, key);
        }
        entry.insert(socket);
        Ok(key)
    }

    /// Takes a socket out, without closing the host's.
    pub(crate) fn remove(&mut self, cx: &mut Context<'_>, key: Key) -> Option<Socket> {
        let socket = self.slab.try_remove(key)?;
        if self.by_inode.get(&socket.inode) == Some(&key) {
            self.by_inode.remove(&socket.inode);
        }
        if let Some(id) = socket.id {
            self.by_id.remove(&id);
        }
        if let Some(ours) = &socket.ours {
            cx.forget(ours.as_fd());
        }
        Some(socket)
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Socket> {
        self.slab.get_mut(key)
    }

    pub(crate) fn with_inode(&self, inode: u64) -> Option<Key> {
        self.by_inode.get(&inode).copied()
    }

    pub(crate) fn with_id(&self, id: SocketId) -> Option<Key> {
        self.by_id.get(&id).copied()
    }

    /// Gives a socket a new pair (a connect after one that failed).
    pub(crate) fn replace_pair(&mut self, cx: &mut Context<'_>, key: Key, pair: Pair) -> Result<OwnedFd, Errno> {
        let Some(socket) = self.slab.get_mut(key) else { return Err(Errno::BADF) };
        if let Some(old) = socket.ours.take() {
            cx.forget(old.as_fd());
        }
        cx.register(pair.ours.as_fd(), FIRST_TOKEN + key as u64, interest(false))
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::NOMEM))?;
        self.by_inode.remove(&socket.inode);
        self.by_inode.insert(pair.inode, key);
        socket.inode = pair.inode;
        socket.watched = false;
        socket.ours = Some(pair.ours);
        Ok(pair.theirs)
    }

    /// Sockets that tell of changes.
    pub(crate) fn netlink(&mut self) -> impl Iterator<Item = (Key, &mut Netlink)> {
        self.slab.iter_mut().filter_map(|(key, socket)| match &mut socket.body {
            Body::Netlink(netlink) => Some((key, netlink)),
            _ => None,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Sockets whose close is found by [`crate::alive`].
    pub(crate) fn watched(&self) -> Vec<(Key, u64)> {
        self.slab.iter().filter(|(_, s)| s.watched).map(|(key, s)| (key, s.inode)).collect()
    }
}

/// The host's name for an address family.
pub(crate) fn domain(family: i32) -> Domain {
    if family == libc::AF_INET6 { Domain::Inet6 } else { Domain::Inet }
}

/// The stack's errors are errno values under other names.
pub(crate) fn errno(error: wireway_stack::Error) -> Errno {
    Errno::from_raw_os_error(error.errno())
}
