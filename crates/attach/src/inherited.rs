//! Descriptors that a program would inherit from whoever started the engine.
//!
//! A socket of the kernel's that is already open is a way past the stack that no filter sees: reading and writing are not notified.
//! Such sockets are looked for before the program starts. Files, pipes, terminals and AF_UNIX sockets are passed on.

use std::os::fd::{BorrowedFd, RawFd};

use crate::process::is_foreign_socket;
use crate::sys;

/// A network socket of the kernel's among the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Its number.
    pub descriptor: RawFd,
    /// Whether it was kept from the program. Standard input, output and error are not: that is for the caller to refuse.
    pub withheld: bool,
}

/// Finds kernel network sockets among this process's descriptors that a program would inherit. Those above 2 are closed on exec from
/// now on; 0 to 2 are reported only.
pub fn withhold_sockets() -> Vec<Inherited> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return found;
    };
    let numbers: Vec<RawFd> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    for descriptor in numbers {
        let foreign = sys::with_descriptor(descriptor, |fd: BorrowedFd<'_>| {
            let inherited = !rustix::io::fcntl_getfd(fd)?.contains(rustix::io::FdFlags::CLOEXEC);
            if !inherited || !is_foreign_socket(fd) {
                return Ok(None);
            }
            let withheld = descriptor > 2;
            if withheld {
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
            }
            Ok::<_, rustix::io::Errno>(Some(Inherited { descriptor, withheld }))
        });
        if let Ok(Some(inherited)) = foreign {
            found.push(inherited);
        }
    }
    found.sort_by_key(|i| i.descriptor);
    found
}
