//! Filling the program's send side, so that a socket that cannot send yet does not look as if it could.
//!
//! On a non-blocking socket the bytes come from a shared file in memory by `sendfile`, which queues references to its pages: no copy, and
//! next to no memory. How many bytes fill a pair is measured once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

use crate::process::is_nonblocking;

/// More than the largest default send buffer.
const FILE: u64 = 8 << 20;

/// The filling.
pub(crate) struct Prefill {
    file: OwnedFd,
    enough: usize,
}

impl Prefill {
    pub(crate) fn new() -> Result<Prefill, Errno> {
        let file = rustix::fs::memfd_create(c"wireway-prefill", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, FILE)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (_ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let mut prefill = Prefill { file, enough: FILE as usize };
        prefill.enough = prefill.fill(theirs.as_fd())?;
        Ok(prefill)
    }

    /// Fills the send side of `theirs`, whose queue is empty; returns how many bytes the other end has to read away.
    pub(crate) fn fill(&self, theirs: BorrowedFd<'_>) -> Result<usize, Errno> {
        if is_nonblocking(theirs) {
            let mut at = 0;
            return rustix::fs::sendfile(theirs, &self.file, Some(&mut at), self.enough);
        }
        // sendfile would block if the program wrote at this very moment; send can be told not to.
        let piece = [0u8; 32_768];
        let mut filled = 0;
        loop {
            match rustix::net::send(theirs, &piece, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => filled += n,
                Err(Errno::AGAIN) => return Ok(filled),
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads away what filled `ours`, or as much as is there; returns how many bytes are left to read.
    pub(crate) fn drain(ours: BorrowedFd<'_>, mut left: usize) -> usize {
        if left == 0 {
            return 0;
        }
        let mut scrap = [0u8; 65_536];
        while left > 0 {
            let room = left.min(scrap.len());
            match rustix::net::recv(ours, &mut scrap[..room], RecvFlags::DONTWAIT) {
                Ok((n, _)) if n > 0 => left -= n,
                _ => break,
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn writable(fd: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(fd, PollFlags::OUT)];
        poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn a_filled_pair_is_not_writable_until_it_is_drained() {
        let prefill = Prefill::new().unwrap();
        for flags in [SocketFlags::CLOEXEC, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK] {
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            assert!(writable(&theirs));
            let n = prefill.fill(theirs.as_fd()).unwrap();
            assert!(!writable(&theirs));
            assert_eq!(rustix::net::send(&theirs, b"x", SendFlags::DONTWAIT), Err(Errno::AGAIN));
            assert_eq!(Prefill::drain(ours.as_fd(), n), 0);
            assert!(writable(&theirs));
        }
    }
}
