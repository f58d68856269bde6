//! Receive calls that wait on the program's own AF_UNIX sockets.
//!
//! A message on such a socket may carry a network socket of the kernel's, a way round the host, so recvmsg(2) with room for control
//! messages must not wait in the kernel, where nobody looks at what comes: it waits here until there is something to look at.
//!
//! Like [`crate::alive`] this uses that a descriptor in an epoll set is no reference to it: the duplicate is closed at once, and the
//! program's own close takes the entry out. An entry is known by its file *and* its number, so every duplicate is given the same number,
//! the *slot*, and each socket has one entry however often it is waited for. An entry tells once, and is armed again by the next wait.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{DupFlags, Errno};

/// Sockets told of in one call.
const BATCH: usize = 64;
/// Waiting calls, above which those are looked for whose thread is gone.
const CROWD: usize = 64;

/// The sockets that calls wait for, by inode.
pub(crate) struct Local {
    set: OwnedFd,
    slot: OwnedFd,
    waiting: HashMap<u64, Vec<u32>>,
    count: usize,
    crowd: usize,
}

impl Local {
    pub(crate) fn new() -> Result<Local, Errno> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let slot = rustix::io::fcntl_dupfd_cloexec(&set, 0)?;
        Ok(Local { set, slot, waiting: HashMap::new(), count: 0, crowd: CROWD })
    }

    /// Readable when [`Local::ready`] has something.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    /// Asks to be told once when `end` can be received from. The caller closes its duplicate.
    pub(crate) fn watch(&mut self, end: impl AsFd, inode: u64) -> Result<(), Errno> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT;
        rustix::io::dup3(end, &mut self.slot, DupFlags::CLOEXEC)?;
        let result = match epoll::add(&self.set, &self.slot, EventData::new_u64(inode), flags) {
            Err(Errno::EXIST) => epoll::modify(&self.set, &self.slot, EventData::new_u64(inode), flags),
            other => other,
        };
        rustix::io::dup3(&self.set, &mut self.slot, DupFlags::CLOEXEC)?;
        result
    }

    /// The inodes of sockets that can be received from.
    pub(crate) fn ready(&self) -> Vec<u64> {
        let mut buffer = [MaybeUninit::uninit(); BATCH];
        let no_wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.set, &mut buffer, Some(&no_wait)) {
            Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// `thread` waits for this socket.
    pub(crate) fn park(&mut self, inode: u64, thread: u32) {
        self.waiting.entry(inode).or_default().push(thread);
        self.count += 1;
    }

    /// It no longer does.
    pub(crate) fn unpark(&mut self, inode: u64, thread: u32) {
        let Some(threads) = self.waiting.get_mut(&inode) else { return };
        threads.retain(|t| *t != thread);
        if threads.is_empty() {
            self.waiting.remove(&inode);
        }
        self.count = self.count.saturating_sub(1);
    }

    /// The threads that wait for this socket.
    pub(crate) fn threads(&self, inode: u64) -> Vec<u32> {
        self.waiting.get(&inode).cloned().unwrap_or_default()
    }

    /// All threads that wait, if they have become so many that some may be gone: a thread that is killed says nothing.
    pub(crate) fn crowd(&mut self) -> Vec<u32> {
        if self.count < self.crowd {
            return Vec::new();
        }
        self.crowd = CROWD.max(2 * self.count);
        self.waiting.values().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_tells_once_and_is_not_kept_open() {
        let mut local = Local::new().unwrap();
        let (a, mut b) = UnixStream::pair().unwrap();
        for _ in 0..2 {
            let duplicate = a.try_clone().unwrap();
            local.watch(&duplicate, 7).unwrap();
        }
        assert_eq!(local.ready(), []);
        b.write_all(b"x").unwrap();
        assert_eq!(local.ready(), [7]);
        assert_eq!(local.ready(), []);
        local.watch(&a, 7).unwrap();
        assert_eq!(local.ready(), [7]);
        drop(a);
        // What a had not read.
        assert!(b.read(&mut [0]).is_err());
        assert_eq!(b.read(&mut [0]).unwrap(), 0);
        assert_eq!(local.ready(), []);
    }

    #[test]
    fn the_end_of_a_connection_tells() {
        let mut local = Local::new().unwrap();
        let (a, b) = UnixStream::pair().unwrap();
        local.watch(&a, 9).unwrap();
        drop(b);
        assert_eq!(local.ready(), [9]);
    }

    #[test]
    fn a_crowd_is_looked_through_now_and_then() {
        let mut local = Local::new().unwrap();
        for thread in 0..CROWD as u32 {
            assert!(local.crowd().is_empty());
            local.park(u64::from(thread % 3), thread);
        }
        assert_eq!(local.crowd().len(), CROWD);
        assert!(local.crowd().is_empty());
        for thread in 0..CROWD as u32 {
            assert!(local.threads(u64::from(thread % 3)).contains(&thread));
            local.unpark(u64::from(thread % 3), thread);
        }
        assert!(local.waiting.is_empty() && local.count == 0);
    }
}
