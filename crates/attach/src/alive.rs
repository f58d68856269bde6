//! Which program ends are still open, without keeping them open.
//!
//! A duplicate of the program's end would hide its close, and some states cannot be told from a close by looking at the engine's end:
//! after both directions were shut down, and when the engine had to close its own end to show an error. A descriptor in an epoll set is
//! not a reference to it: when the program closes its last copy, the kernel takes it out of the set. `/proc/self/fdinfo` lists a set.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;

/// A set of program ends.
pub(crate) struct Alive {
    set: OwnedFd,
    watched: usize,
}

impl Alive {
    pub(crate) fn new() -> Result<Alive, Errno> {
        Ok(Alive { set: epoll::create(epoll::CreateFlags::CLOEXEC)?, watched: 0 })
    }

    /// Watches `end` from now on, under `inode`. The caller closes its duplicate.
    pub(crate) fn watch(&mut self, end: impl AsFd, inode: u64) -> Result<(), Errno> {
        match epoll::add(&self.set, end, epoll::EventData::new_u64(inode), epoll::EventFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => {
                self.watched += 1;
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// How many were watched since the last [`Alive::open`].
    pub(crate) fn watched(&self) -> usize {
        self.watched
    }

    /// The inodes of those that are still open. An error leaves the question open.
    pub(crate) fn open(&mut self) -> Result<HashSet<u64>, Errno> {
        let path = format!("/proc/self/fdinfo/{}", self.set.as_raw_fd());
        let text = std::fs::read_to_string(path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        self.watched = 0;
        Ok(text.lines().filter_map(inode_of).collect())
    }
}

/// The `data` of a line `tfd: 5 events: 0 data: 1f pos:0 ino:… sdev:…`.
fn inode_of(line: &str) -> Option<u64> {
    let mut words = line.strip_prefix("tfd:")?.split_whitespace().skip_while(|w| *w != "data:");
    words.next()?;
    u64::from_str_radix(words.next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// Waits until this is what is open: a child that another test is starting has copies of all descriptors for a moment.
    fn comes_to(alive: &mut Alive, expected: HashSet<u64>) {
        let start = std::time::Instant::now();
        while alive.open().unwrap() != expected {
            assert!(start.elapsed().as_secs() < 10, "{:?} is open", alive.open());
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_last_close_is_seen_and_watching_keeps_nothing_open() {
        let mut alive = Alive::new().unwrap();
        let (a, b) = UnixStream::pair().unwrap();
        let copy = a.try_clone().unwrap();
        alive.watch(&a, 7).unwrap();
        let duplicate = b.try_clone().unwrap();
        alive.watch(&duplicate, 9).unwrap();
        drop(duplicate);
        assert_eq!(alive.open().unwrap(), HashSet::from([7, 9]));
        drop(a);
        assert_eq!(alive.open().unwrap(), HashSet::from([7, 9]));
        drop(copy);
        comes_to(&mut alive, HashSet::from([9]));
        drop(b);
        comes_to(&mut alive, HashSet::new());
    }
}
