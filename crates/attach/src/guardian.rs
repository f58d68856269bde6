//! The guardian: the parent of a program's process tree, and its end.
//!
//! Three processes take part. The *engine* answers the program's calls. The *guardian* is its child and does nothing but wait. The
//! *program* is the guardian's child. A program whose engine is gone would live on with ENOSYS for every socket call, and its daemons,
//! which have cut themselves loose from their parents, would be nobody's. The guardian is a sub-reaper, so whoever is orphaned below it
//! becomes its child, however often they forked; and it holds the reading end of a pipe. When that pipe ends, the engine has gone, for
//! whatever reason, and the guardian kills its children until it has none. An engine that ends in order writes a byte first; where none
//! came it was killed and could not say so, and the guardian does, on the standard error that it has kept.
//!
//! The engine learns of the program over a second pipe, in [`Report`]s. When that pipe ends without an exit status, it is the guardian
//! that has died; its orphans have become the engine's (a sub-reaper too), which then ends them in the same way ([`end_children`]).
//!
//! All of this runs between fork and exec of a process that may have had threads: nothing here allocates, locks or panics.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::sys::{self, SignalSet};

/// What the guardian tells the engine: eight bytes, a kind and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The program has this process id.
    Started(i32),
    /// The program was stopped by this signal.
    Stopped(i32),
    /// The program ended with this wait status.
    Ended(i32),
    /// The program could not be forked.
    NotStarted(i32),
}

impl Report {
    /// Length on the pipe, in bytes.
    pub const LENGTH: usize = 8;

    fn bytes(self) -> [u8; Report::LENGTH] {
        let (kind, value) = match self {
            Report::Started(v) => (1u32, v),
            Report::Stopped(v) => (2, v),
            Report::Ended(v) => (3, v),
            Report::NotStarted(v) => (4, v),
        };
        let (k, v) = (kind.to_ne_bytes(), value.to_ne_bytes());
        [k[0], k[1], k[2], k[3], v[0], v[1], v[2], v[3]]
    }

    /// Reads a report back, or `None` when the bytes are not one.
    pub fn parse(b: [u8; Report::LENGTH]) -> Option<Report> {
        let value = i32::from_ne_bytes([b[4], b[5], b[6], b[7]]);
        match u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) {
            1 => Some(Report::Started(value)),
            2 => Some(Report::Stopped(value)),
            3 => Some(Report::Ended(value)),
            4 => Some(Report::NotStarted(value)),
            _ => None,
        }
    }
}

// Where the guardian keeps its descriptors; everything above is closed.
const LIFE: i32 = 0;
const REPORTS: i32 = 1;
const CHILDREN: i32 = 2;
const ERRORS: i32 = 3;

const ENGINE_KILLED: &[u8] = b"wireway: the engine was killed: the program was ended\n";

/// Runs the guardian in a process that was just forked, with every signal blocked. `program` runs in the guardian's child.
/// `life` is the pipe that ends with the engine: no writing end of it may be left open here.
pub fn run(life: OwnedFd, reports: OwnedFd, program: impl FnOnce()) -> ! {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let _ = rustix::thread::set_name(c"wireway-guard");
    let Ok(children) = SignalSet::of(&[libc::SIGCHLD]).descriptor() else { sys::exit_now(125) };
    // SAFETY: this process has one thread, and its child only runs `program`, which keeps the rule of this module.
    match unsafe { sys::fork() } {
        Ok(sys::Fork::Child) => {
            program();
            sys::exit_now(125)
        }
        Ok(sys::Fork::Parent(pid)) => {
            if keep_only(life.as_fd(), reports.as_fd(), children.as_fd()).is_err() {
                sys::exit_now(125)
            }
            report(Report::Started(pid));
            // They are reached by their fixed numbers from here on.
            std::mem::forget((life, reports, children));
            watch(pid)
        }
        Err(error) => {
            let _ = rustix::io::write(&reports, &Report::NotStarted(error.raw_os_error()).bytes());
            sys::exit_now(125)
        }
    }
}

/// Moves the three descriptors and standard error to their places and closes all others.
fn keep_only(life: BorrowedFd<'_>, reports: BorrowedFd<'_>, children: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // Above the places first, so that none is overwritten before it has been moved.
    let life = rustix::io::fcntl_dupfd_cloexec(life, 4)?;
    let reports = rustix::io::fcntl_dupfd_cloexec(reports, 4)?;
    let children = rustix::io::fcntl_dupfd_cloexec(children, 4)?;
    let errors = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 4);
    rustix::stdio::dup2_stdin(&life)?;
    rustix::stdio::dup2_stdout(&reports)?;
    rustix::stdio::dup2_stderr(&children)?;
    // Without a standard error there is nobody to tell.
    let kept = errors.as_ref().is_ok_and(|errors| sys::duplicate_to(errors.as_fd(), ERRORS).is_ok());
    sys::close_from(if kept { 4 } else { 3 });
    std::mem::forget((life, reports, children, errors));
    Ok(())
}

fn report(report: Report) {
    let _ = rustix::io::write(sys::standard(REPORTS), &report.bytes());
}

/// Waits for the end of the engine, telling it what becomes of `program` meanwhile.
fn watch(program: i32) -> ! {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(sys::standard(LIFE), PollFlags::IN),
            PollFd::from_borrowed_fd(sys::standard(CHILDREN), PollFlags::IN),
        ];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        if !fds[0].revents().is_empty() {
            if let Ok(0) = rustix::io::read(sys::standard(LIFE), &mut [0]) {
                let _ = rustix::io::write(sys::standard(ERRORS), ENGINE_KILLED);
            }
            end_children(&[]);
            sys::exit_now(0)
        }
        if !fds[1].revents().is_empty() {
            while sys::read_signal(sys::standard(CHILDREN)).is_some() {}
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                if pid.as_raw_pid() == program {
                    report(meaning(status));
                }
            }
        }
    }
}

fn meaning(status: WaitStatus) -> Report {
    match status.stopping_signal() {
        Some(signal) => Report::Stopped(signal),
        None => Report::Ended(status.as_raw()),
    }
}

/// Kills the children of this process and whoever becomes its child by that, until there are none; `spared` are left alone.
/// The caller must be a sub-reaper.
pub fn end_children(spared: &[i32]) {
    loop {
        let mut found = false;
        each_child(&mut |pid| {
            if !spared.contains(&pid)
                && let Some(pid) = Pid::from_raw(pid)
            {
                found = true;
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                // One that is already dead is collected here, one that is just dying in a later round.
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
            }
        });
        if !found {
            return;
        }
        let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let _ = poll(&mut [], Some(&pause));
    }
}

/// Calls `each` with every process whose parent is this one, dead ones that were not waited for included.
pub fn each_child(each: &mut dyn FnMut(i32)) {
    let me = rustix::process::getpid().as_raw_pid();
    let Ok(proc) = rustix::fs::open(c"/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    else {
        return;
    };
    let mut room = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
    let mut names = RawDir::new(&proc, &mut room);
    while let Some(Ok(entry)) = names.next() {
        let name = entry.file_name().to_bytes();
        if let Some(pid) = number(name)
            && parent_of(proc.as_fd(), name) == Some(me)
        {
            each(pid);
        }
    }
}

fn number(digits: &[u8]) -> Option<i32> {
    let mut value: i32 = 0;
    if digits.is_empty() {
        return None;
    }
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add((digit - b'0') as i32)?;
    }
    Some(value)
}

/// The fourth field of `/proc/PID/stat`; the second, the name, is in brackets and may hold anything.
fn parent_of(proc: BorrowedFd<'_>, pid: &[u8]) -> Option<i32> {
    let mut path = [0u8; 32];
    path.get_mut(..pid.len())?.copy_from_slice(pid);
    path.get_mut(pid.len()..pid.len() + 6)?.copy_from_slice(b"/stat\0");
    let path = std::ffi::CStr::from_bytes_until_nul(&path).ok()?;
    let file = rustix::fs::openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0u8; 512];
    let n = rustix::io::read(&file, &mut text).ok()?;
    let text = text.get(..n)?;
    let after_name = text.iter().rposition(|b| *b == b')')? + 1;
    let mut fields = text.get(after_name..)?.split(|b| *b == b' ').filter(|f| !f.is_empty());
    let _state = fields.next()?;
    number(fields.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_pipe() {
        for report in [Report::Started(7), Report::Stopped(20), Report::Ended(-1), Report::NotStarted(11)] {
            assert_eq!(Report::parse(report.bytes()), Some(report));
        }
        assert_eq!(Report::parse([0; 8]), None);
    }

    #[test]
    fn numbers_are_whole_and_bounded() {
        assert_eq!(number(b"4194304"), Some(4_194_304));
        assert_eq!(number(b"99999999999"), None);
        assert_eq!(number(b"12a"), None);
        assert_eq!(number(b""), None);
    }

    #[test]
    fn a_child_is_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut seen = Vec::new();
        each_child(&mut |pid| seen.push(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen.contains(&(child.id() as i32)));
    }
}
