//! Signals that reach the engine while a program runs.
//!
//! The program is in the engine's process group, so what the terminal sends (`^C`, `^\`, `^Z`, hang-up) reaches both: the engine takes
//! no notice, or the program would get it twice. What another process sends to the engine (`kill`, `timeout`, a service manager) reached
//! only the engine, and is passed on. The kernel says which is which. When the program was stopped from the terminal, the engine stops
//! too, so that the shell sees its job stopped; the shell's SIGCONT then wakes both.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Signal;

use crate::launch::Running;
use crate::sys::{self, SignalSet};

const HANDLED: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTSTP,
    libc::SIGWINCH,
];

/// The signals of this process, blocked and read from a descriptor instead.
pub struct Signals {
    descriptor: OwnedFd,
    original: SignalSet,
}

impl Signals {
    /// Takes over the signals of the calling thread, which has them back when this is dropped. Do it before other threads are made: they inherit the mask.
    pub fn take() -> Result<Signals, Errno> {
        let set = SignalSet::of(&HANDLED);
        let descriptor = set.descriptor()?;
        Ok(Signals { descriptor, original: set.block() })
    }

    /// Readable when a signal has arrived.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(crate) fn original_mask(&self) -> SignalSet {
        self.original
    }

    /// Passes on what has arrived.
    pub fn pass_on(&self, program: &Running) {
        while let Some(received) = sys::read_signal(self.descriptor.as_fd()) {
            if !received.from_kernel {
                program.signal(received.signal);
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.original.install();
    }
}

/// Follows a program that was stopped by `signal`: stops this process as well if the terminal did it, and returns when it goes on.
pub fn follow_stop(program: &Running, signal: i32) {
    if [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        // The shell continues the whole group; a program in a group of its own has to be told.
        program.signal(libc::SIGCONT);
    }
}
