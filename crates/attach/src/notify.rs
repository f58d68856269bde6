//! The listener: notifications in, answers out.
//!
//! A notified call blocks until it is answered, so every path through the engine must answer, failures too: [`Notification`] answers
//! ENOSYS when it is dropped unanswered. A call may also stop waiting at any time, because of a signal; then its id is void and whatever
//! is sent to it says so ([`Gone`]). A handler that returns with SA_RESTART makes the same call anew under another id.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;

use crate::sys::{self, Target};

/// The caller no longer waits: it was interrupted or killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why a descriptor could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHanded {
    /// The caller no longer waits.
    Gone,
    /// The caller's table is full (EMFILE), the system's is (ENFILE), or the number is not possible (EBADF).
    Error(Errno),
}

/// The engine's end of a filter.
pub struct Listener {
    descriptor: Rc<OwnedFd>,
}

impl Listener {
    /// Takes the listener of a program.
    pub fn new(descriptor: OwnedFd) -> Listener {
        sys::wake_synchronously(descriptor.as_fd());
        Listener { descriptor: Rc::new(descriptor) }
    }

    /// Readable when a call waits; hung up when no process is left under the filter.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The next call that waits. To be called once each time that the descriptor was seen readable, and never else: it would block. (The
    /// kernel counts calls, and not those that stopped waiting: where there is one to be seen, the count is at least one.) `None` if the
    /// call was interrupted meanwhile.
    pub fn next(&self) -> Option<Notification> {
        let raw = sys::receive_notification(self.descriptor.as_fd()).ok()?;
        Some(Notification {
            listener: Rc::clone(&self.descriptor),
            id: raw.id,
            thread: raw.pid,
            number: raw.number as i64,
            arguments: raw.arguments,
            answered: false,
        })
    }
}

/// A system call that waits for its answer.
pub struct Notification {
    listener: Rc<OwnedFd>,
    id: u64,
    /// Thread id of the caller.
    pub thread: u32,
    /// Number of the system call.
    pub number: i64,
    /// Its arguments, as registers.
    pub arguments: [u64; 6],
    answered: bool,
}

impl Notification {
    /// An argument that is an `int` (a descriptor, flags).
    pub fn int(&self, index: usize) -> i32 {
        self.arguments[index] as u32 as i32
    }

    /// Whether the caller still waits. What was read from it before is only to be trusted after asking this.
    pub fn is_waiting(&self) -> bool {
        sys::is_waiting(self.listener.as_fd(), self.id)
    }

    /// Answers with a value.
    pub fn answer(mut self, value: i64) -> Result<(), Gone> {
        self.send(value, 0, false)
    }

    /// Answers with an error.
    pub fn fail(mut self, error: Errno) -> Result<(), Gone> {
        self.send(0, -error.raw_os_error(), false)
    }

    /// Answers with a value or an error.
    pub fn finish(self, result: Result<i64, Errno>) -> Result<(), Gone> {
        match result {
            Ok(value) => self.answer(value),
            Err(error) => self.fail(error),
        }
    }

    /// Answers while keeping the notification, to see whether the caller was still there.
    pub fn try_finish(&mut self, result: Result<i64, Errno>) -> Result<(), Gone> {
        match result {
            Ok(value) => self.send(value, 0, false),
            Err(error) => self.send(0, -error.raw_os_error(), false),
        }
    }

    /// Lets the kernel carry the call out, with whatever its arguments point to by then.
    pub fn go_on(mut self) -> Result<(), Gone> {
        self.send(0, 0, true)
    }

    fn send(&mut self, value: i64, error: i32, go_on: bool) -> Result<(), Gone> {
        self.answered = true;
        sys::send_answer(self.listener.as_fd(), self.id, value, error, go_on).map_err(|_| Gone)
    }

    /// Puts a duplicate of `fd` among the caller's descriptors and answers with its number, in one step.
    pub fn answer_descriptor(&mut self, fd: BorrowedFd<'_>, close_on_exec: bool) -> Result<i32, NotHanded> {
        let number = self.hand_over(fd, Target::Answer, close_on_exec)?;
        self.answered = true;
        Ok(number)
    }

    /// Puts a duplicate of `fd` among the caller's descriptors; the call still waits for its answer.
    pub fn hand_over(&self, fd: BorrowedFd<'_>, target: Target, close_on_exec: bool) -> Result<i32, NotHanded> {
        sys::add_descriptor(self.listener.as_fd(), self.id, fd, target, close_on_exec).map_err(|e| match e {
            Errno::NOENT | Errno::SRCH => NotHanded::Gone,
            e => NotHanded::Error(e),
        })
    }
}

impl Drop for Notification {
    fn drop(&mut self) {
        if !self.answered {
            let _ = self.send(0, -libc::ENOSYS, false);
        }
    }
}
