//! Which program ends of DGRAM pairs were closed for the last time: the other end of such a pair is not told.
//!
//! The kernel tells inotify of the last close of an open file, sockets included, and a watch keeps nothing open. It is told before the
//! program's `close` returns, so before anything that the program does next.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::time::Timespec;

use crate::socket::Pair;

/// Watches at a time. Each leaves two events at most, and so the kernel's queue (16,384 events, unless somebody made it longer) cannot
/// overflow.
const MOST: usize = 8000;

/// Watches program ends.
pub(crate) struct Closes {
    inotify: OwnedFd,
    /// By watch.
    inodes: HashMap<i32, u64>,
}

impl Closes {
    /// Fails also where the kernel does not tell.
    pub(crate) fn new() -> Result<Closes, Errno> {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let mut closes = Closes { inotify, inodes: HashMap::new() };
        let trial = Pair::new(SocketType::DGRAM, false)?;
        closes.watch(trial.theirs.as_fd(), trial.inode)?;
        drop(trial.theirs);
        // A child of another thread's that is about to exec has a copy for a moment.
        let mut told = [PollFd::new(&closes.inotify, PollFlags::IN)];
        poll(&mut told, Some(&Timespec { tv_sec: 0, tv_nsec: 200_000_000 }))?;
        if closes.seen() == [trial.inode] { Ok(closes) } else { Err(Errno::NOTSUP) }
    }

    /// Readable when something was closed.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches a socket that `end` is a duplicate of.
    pub(crate) fn watch(&mut self, end: BorrowedFd<'_>, inode: u64) -> Result<(), Errno> {
        if self.inodes.len() >= MOST {
            return Err(Errno::NOSPC);
        }
        let path = format!("/proc/self/fd/{}", end.as_raw_fd());
        let events =
            inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::CLOSE_NOWRITE | inotify::WatchFlags::ONESHOT;
        let watch = inotify::add_watch(&self.inotify, path, events)?;
        self.inodes.insert(watch, inode);
        Ok(())
    }

    /// The inodes of those that were closed since.
    pub(crate) fn seen(&mut self) -> Vec<u64> {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut room);
        let mut closed = Vec::new();
        while let Ok(event) = reader.next() {
            // The watch goes with its first event; that it has gone is another.
            closed.extend(self.inodes.remove(&event.wd()));
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen until `count` are: a child that another test is starting has copies of all descriptors for a moment.
    fn seen(closes: &mut Closes, count: usize) -> Vec<u64> {
        let start = std::time::Instant::now();
        let mut all = closes.seen();
        while all.len() < count {
            assert!(start.elapsed().as_secs() < 10, "{all:?}");
            std::thread::yield_now();
            all.extend(closes.seen());
        }
        all
    }

    #[test]
    fn the_last_close_is_seen() {
        let mut closes = Closes::new().unwrap();
        let pair = Pair::new(SocketType::DGRAM, false).unwrap();
        let copy = pair.theirs.try_clone().unwrap();
        closes.watch(pair.theirs.as_fd(), pair.inode).unwrap();
        drop(pair.theirs);
        assert_eq!(closes.seen(), []);
        drop(copy);
        assert_eq!(seen(&mut closes, 1), [pair.inode]);
        assert!(closes.inodes.is_empty());
    }

    #[test]
    fn many_are_told_apart() {
        let mut closes = Closes::new().unwrap();
        let pairs: Vec<Pair> = (0..300).map(|_| Pair::new(SocketType::DGRAM, false).unwrap()).collect();
        pairs.iter().for_each(|pair| closes.watch(pair.theirs.as_fd(), pair.inode).unwrap());
        let (dropped, kept): (Vec<_>, Vec<_>) = pairs.into_iter().enumerate().partition(|(n, _)| n % 3 == 0);
        let mut expected: Vec<u64> = dropped.iter().map(|(_, pair)| pair.inode).collect();
        expected.sort();
        drop(dropped);
        let mut found = seen(&mut closes, expected.len());
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(closes.inodes.len(), kept.len());
    }
}
