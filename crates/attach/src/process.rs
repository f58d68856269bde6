//! Looking into the program: its descriptors and its memory.
//!
//! A descriptor number means nothing for long (another thread may close or replace it, a fork shares its description), so a socket is
//! known by its *inode*: every notified call takes a duplicate of the descriptor, asks for its inode, and closes the duplicate again.
//! While the duplicate is open the program's own close cannot be seen, so none is kept beyond a call.
//!
//! Memory is copied by process_vm_readv and process_vm_writev. An address that the program may not read is EFAULT, as in the kernel.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::PidfdGetfdFlags;

use crate::sys;

/// Handles of threads that are kept open, at most: one per thread that called lately.
const CACHED: usize = 256;

struct Handle {
    pidfd: OwnedFd,
    /// The process that `pidfd` stands for, where the kernel has no handles of threads.
    group: Option<u32>,
}

/// Handles of the threads that made calls.
#[derive(Default)]
pub struct Processes {
    handles: HashMap<u32, Handle>,
    /// Whether the kernel was found to have no handles of threads (before Linux 6.9).
    processes_only: bool,
}

impl Processes {
    /// A duplicate of descriptor `number` of `thread`. EBADF when it has none, EPERM when it may not be looked into.
    pub fn descriptor(&mut self, thread: u32, number: i32) -> Result<OwnedFd, Errno> {
        if number < 0 {
            return Err(Errno::BADF);
        }
        if let Some(handle) = self.handles.get(&thread) {
            let current = handle.group.is_none_or(|group| sys::is_thread_of(group, thread));
            if current {
                match rustix::process::pidfd_getfd(&handle.pidfd, number, PidfdGetfdFlags::empty()) {
                    // The thread has ended, and another has its number.
                    Err(Errno::SRCH) => {}
                    other => return other,
                }
            }
            self.handles.remove(&thread);
        }
        let handle = self.open(thread)?;
        let result = rustix::process::pidfd_getfd(&handle.pidfd, number, PidfdGetfdFlags::empty());
        if self.handles.len() >= CACHED {
            self.handles.clear();
        }
        self.handles.insert(thread, handle);
        result
    }

    fn open(&mut self, thread: u32) -> Result<Handle, Errno> {
        if !self.processes_only {
            match sys::open_pidfd(thread, libc::PIDFD_THREAD) {
                Ok(pidfd) => return Ok(Handle { pidfd, group: None }),
                Err(Errno::INVAL) => self.processes_only = true,
                Err(e) => return Err(e),
            }
        }
        let group = group_of(thread)?;
        Ok(Handle { pidfd: sys::open_pidfd(group, 0)?, group: Some(group) })
    }
}

/// The process that a thread belongs to.
fn group_of(thread: u32) -> Result<u32, Errno> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).map_err(|_| Errno::SRCH)?;
    let line = status.lines().find_map(|l| l.strip_prefix("Tgid:")).ok_or(Errno::SRCH)?;
    line.trim().parse().map_err(|_| Errno::SRCH)
}

/// The inode of a socket, by which it is known whoever holds it; `None` for anything that is not a socket.
pub fn socket_inode(fd: BorrowedFd<'_>) -> Option<u64> {
    let stat = rustix::fs::fstat(fd).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Socket).then_some(stat.st_ino)
}

/// The address family of a socket; `None` for anything else.
fn family(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut domain = [0u8; 4];
    // ENOTSOCK for anything else.
    let got = sys::get_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, &mut domain);
    (got == Ok(4)).then(|| i32::from_ne_bytes(domain))
}

/// Whether `fd` is a socket of the kernel's that reaches a network.
pub fn is_foreign_socket(fd: BorrowedFd<'_>) -> bool {
    family(fd).is_some_and(|family| ![libc::AF_UNIX, libc::AF_ALG, libc::AF_NETLINK].contains(&family))
}

/// Whether `fd` is an AF_UNIX socket.
pub fn is_local_socket(fd: BorrowedFd<'_>) -> bool {
    family(fd) == Some(libc::AF_UNIX)
}

/// Whether the file description is non-blocking.
pub fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK))
}

/// The memory of the process that a thread belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    thread: u32,
}

impl Memory {
    /// The memory that `thread` sees.
    pub fn of(thread: u32) -> Memory {
        Memory { thread }
    }

    /// Fills `into` from `address`, or EFAULT; EPERM when the process may not be looked into.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        if into.is_empty() {
            return Ok(());
        }
        match sys::read_memory(self.thread, address, into)? {
            n if n == into.len() => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }

    /// Stores `from` at `address`, or EFAULT; EPERM when the process may not be looked into.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), Errno> {
        if from.is_empty() {
            return Ok(());
        }
        match sys::write_memory(self.thread, address, from)? {
            n if n == from.len() => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }

    /// A fixed number of bytes.
    pub fn read_array<const N: usize>(&self, address: u64) -> Result<[u8; N], Errno> {
        let mut value = [0; N];
        self.read(address, &mut value)?;
        Ok(value)
    }

    /// An `int` or `socklen_t`.
    pub fn read_u32(&self, address: u64) -> Result<u32, Errno> {
        Ok(u32::from_ne_bytes(self.read_array(address)?))
    }

    /// Stores an `int` or `socklen_t`.
    pub fn write_u32(&self, address: u64, value: u32) -> Result<(), Errno> {
        self.write(address, &value.to_ne_bytes())
    }
}

/// The user a thread runs as; root, if it is not to be looked into.
pub fn user(thread: u32) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{thread}")).map_or(0, |about| about.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_addresses_are_efault() {
        let memory = Memory::of(std::process::id());
        let value = 0x1234_5678u32;
        assert_eq!(memory.read_u32(&raw const value as u64), Ok(value));
        for address in [0u64, 1, 0xffff_8000_0000_0000, u64::MAX - 2] {
            assert_eq!(memory.read_u32(address), Err(Errno::FAULT), "{address:#x}");
            assert_eq!(memory.write_u32(address, 1), Err(Errno::FAULT), "{address:#x}");
        }
    }

    #[test]
    fn a_thread_is_found_by_its_own_number_and_by_its_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            let _ = wait.recv();
        });
        let tid = receive.recv().unwrap();
        assert_eq!(group_of(tid), Ok(std::process::id()));
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        for processes_only in [false, true] {
            let mut processes = Processes { processes_only, ..Processes::default() };
            for _ in 0..2 {
                let copy = processes.descriptor(tid, number).unwrap();
                let (a, b) = (rustix::fs::fstat(&copy).unwrap(), rustix::fs::fstat(&file).unwrap());
                assert_eq!((a.st_dev, a.st_ino), (b.st_dev, b.st_ino));
            }
            assert_eq!(processes.descriptor(tid, 1 << 20).unwrap_err(), Errno::BADF);
        }
        drop(done);
        thread.join().unwrap();
    }

    #[test]
    fn only_network_sockets_are_foreign() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(is_foreign_socket(udp.as_fd()));
        assert!(!is_foreign_socket(unix.as_fd()));
        assert!(!is_foreign_socket(file.as_fd()));
        assert_ne!(socket_inode(unix.as_fd()), socket_inode(_other.as_fd()));
        assert_eq!(socket_inode(file.as_fd()), None);
    }
}
