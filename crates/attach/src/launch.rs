//! Starting a program under the filter, and what is known of it afterwards.
//!
//! The engine forks the guardian ([`crate::guardian`]), the guardian forks the program. The program installs the filter and so holds the
//! listener; it cannot send it, because `sendmsg` is one of the calls that the filter already stops, so it writes the descriptor's
//! *number* on a pipe and waits while the engine takes a copy by `pidfd_getfd`. Then it execs, which closes the pipe: nothing on the
//! pipe by then means that the program runs. Everything that needs memory is made before the first fork.
//!
//! The program keeps the engine's process group, terminal, files, environment and limits; signals: [`crate::signals`].

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::guardian::{self, Report};
use crate::process::Memory;
use crate::sys::{self, Instruction, SignalSet, StringArray};
use crate::{filter, signals::Signals};

/// What to start, and how.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The program and its arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to this process's environment, replacing those of the same name.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether the program gets an empty network namespace of its own as well (and, for an ordinary user, a user namespace).
    pub isolate: bool,
}

/// Why a program was not started.
#[derive(Debug)]
pub enum LaunchError {
    /// No file of that name (exit status 127).
    NotFound(OsString),
    /// The file is there, but not the interpreter that it names (exit status 127, as a shell's).
    NoInterpreter(OsString),
    /// The file is there but cannot be executed (exit status 126).
    CannotExecute(OsString, Errno),
    /// The system forbids the filter or its listener.
    NoFilter(Errno),
    /// The system forbids the engine to look at its own descendants.
    NoAccess(Errno),
    /// The empty network namespace was refused.
    NoIsolation(Errno),
    /// A file of this name cannot exist: it contains a zero byte, or there is no argument at all.
    BadName,
    /// Anything else the system refused, and while doing what.
    System(&'static str, Errno),
}

impl LaunchError {
    /// The exit status that says this: 127 not found, 126 cannot execute, 125 anything else.
    pub fn status(&self) -> u8 {
        match self {
            LaunchError::NotFound(_) | LaunchError::NoInterpreter(_) => 127,
            LaunchError::CannotExecute(..) => 126,
            _ => 125,
        }
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaunchError::NotFound(name) if name.is_empty() => f.write_str("an empty program name: not found"),
            LaunchError::NotFound(name) => write!(f, "{}: not found", name.display()),
            LaunchError::NoInterpreter(name) => {
                write!(f, "{}: the interpreter or loader that it names was not found", name.display())
            }
            LaunchError::CannotExecute(name, e) => {
                write!(f, "{}: cannot execute: {e}", name.display())
            }
            LaunchError::NoFilter(Errno::BUSY) => {
                write!(
                    f,
                    "this process is already under a seccomp listener, and the kernel allows one: attached programs cannot attach others"
                )
            }
            LaunchError::NoFilter(e) => write!(
                f,
                "the system does not allow seccomp user notification ({e}); it needs Linux 5.9 or newer, and a container must allow \
                 the system call seccomp with SECCOMP_FILTER_FLAG_NEW_LISTENER (Docker: --security-opt seccomp=unconfined)"
            ),
            LaunchError::NoAccess(e) => write!(
                f,
                "the system does not allow reading the program's memory and descriptors ({e}); it needs kernel.yama.ptrace_scope 0 or 1, \
                 and a container must allow pidfd_open, pidfd_getfd, process_vm_readv and process_vm_writev"
            ),
            LaunchError::NoIsolation(e) => write!(
                f,
                "an empty network namespace was refused ({e}); an ordinary user needs unprivileged user namespaces for it"
            ),
            LaunchError::BadName => write!(f, "no such program name is possible"),
            LaunchError::System(what, e) => write!(f, "{what}: {e}"),
        }
    }
}

impl std::error::Error for LaunchError {}

/// What became of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Exited(u8),
    /// This signal ended it.
    Killed(i32),
    /// The guardian was killed, and the program's tree with it.
    GuardianLost,
}

impl Ending {
    /// The exit status as a shell reports it: 128 and the number for a signal; 125 when the guardian was lost.
    pub fn status(self) -> u8 {
        match self {
            Ending::Exited(status) => status,
            Ending::Killed(signal) => 128u8.saturating_add(signal as u8),
            Ending::GuardianLost => 125,
        }
    }
}

/// News of a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It was stopped by this signal (a terminal key, as a rule).
    Stopped(i32),
    /// It ended. Its descendants may still run; [`Running::end`] ends them.
    Ended(Ending),
}

/// A program that was started. Dropping it ends the program's whole tree.
pub struct Running {
    listener: Option<OwnedFd>,
    /// Closing it ends the tree.
    life: Option<Life>,
    reports: OwnedFd,
    program: OwnedFd,
    pid: u32,
    guardian: Pid,
    /// Children of this process that are none of ours.
    spared: Vec<i32>,
    ending: Option<Ending>,
}

impl Running {
    /// The seccomp listener, once.
    pub fn take_listener(&mut self) -> Option<OwnedFd> {
        self.listener.take()
    }

    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Process id of the guardian.
    pub fn guardian(&self) -> u32 {
        self.guardian.as_raw_pid() as u32
    }

    /// Readable when [`Running::progress`] has news.
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }

    /// How the program ended, if it has.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The next news; `None` when there is none yet. Call it until then.
    pub fn progress(&mut self) -> Option<Progress> {
        if self.ending == Some(Ending::GuardianLost) {
            return None;
        }
        let mut raw = [0u8; Report::LENGTH];
        match rustix::io::read(&self.reports, &mut raw) {
            Ok(Report::LENGTH) => match Report::parse(raw)? {
                Report::Stopped(signal) => Some(Progress::Stopped(signal)),
                Report::Ended(status) => {
                    let ending = if libc::WIFSIGNALED(status) {
                        Ending::Killed(libc::WTERMSIG(status))
                    } else {
                        Ending::Exited(libc::WEXITSTATUS(status) as u8)
                    };
                    self.ending = Some(ending);
                    Some(Progress::Ended(ending))
                }
                Report::Started(_) | Report::NotStarted(_) => None,
            },
            Ok(_) => {
                let known = self.ending;
                self.ending = Some(known.unwrap_or(Ending::GuardianLost));
                if known.is_some() {
                    return None;
                }
                guardian::end_children(&self.spared);
                Some(Progress::Ended(Ending::GuardianLost))
            }
            Err(_) => None,
        }
    }

    /// Sends the program a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = rustix::process::pidfd_send_signal(&self.program, signal);
        }
    }

    /// Ends the program's whole tree, daemons included, and waits for that.
    pub fn end(mut self) {
        self.end_tree();
    }

    /// Ends what is left of the program's tree, and waits for that.
    pub(crate) fn end_tree(&mut self) {
        if self.life.take().is_some() {
            while matches!(rustix::process::waitpid(Some(self.guardian), WaitOptions::empty()), Err(Errno::INTR)) {}
            guardian::end_children(&self.spared);
        }
    }
}

/// The engine's end of the pipe by which the guardian knows that there is an engine: it says that this end is meant.
struct Life(OwnedFd);

impl Drop for Life {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.0, b"e");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_tree();
    }
}

/// Everything the program's side needs, made before the fork.
struct Plan {
    filter: Vec<Instruction>,
    /// Paths to try in turn.
    candidates: Vec<CString>,
    /// The candidates are of the path, rather than the one file that was named.
    searched: bool,
    arguments: StringArray,
    /// For files without a known format: `/bin/sh FILE ARGUMENTS`, one for each candidate.
    scripts: Vec<StringArray>,
    environment: StringArray,
    isolate: bool,
    user_map: String,
    group_map: String,
    descriptors: Rlimit,
    mask: SignalSet,
}

struct ChildEnds {
    life: OwnedFd,
    reports: OwnedFd,
    start: OwnedFd,
    go: OwnedFd,
}

struct EngineEnds {
    life: OwnedFd,
    reports: OwnedFd,
    start: OwnedFd,
    go: OwnedFd,
}

/// What the program says before it execs: eight bytes, a kind and a value.
const SAYS_LISTENER: u32 = 1;
const SAYS_NO_FILTER: u32 = 2;
const SAYS_NO_ISOLATION: u32 = 3;
const SAYS_NO_EXEC: u32 = 4;

/// Starts a program and returns when it has been exec'ed. Also makes this process a sub-reaper and raises its limit of descriptors.
pub fn launch(command: &Command, signals: &Signals) -> Result<Running, LaunchError> {
    let descriptors = raise_descriptors();
    let plan = prepare(command, signals, descriptors)?;
    let name = command.arguments.first().cloned().unwrap_or_default();
    if plan.candidates.is_empty() {
        return Err(LaunchError::NotFound(name));
    }
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let mut spared = Vec::new();
    guardian::each_child(&mut |pid| spared.push(pid));

    let (child, engine) = pipes().map_err(|e| LaunchError::System("pipe", e))?;
    let mask = SignalSet::all().block();
    // SAFETY: the child side only calls `guardian::run` and `become_program`, which allocate nothing and take no lock.
    let forked = unsafe { sys::fork() };
    if forked == Ok(sys::Fork::Child) {
        drop(engine);
        let ChildEnds { life, reports, start, go } = child;
        guardian::run(life, reports, move || become_program(&plan, start, go));
    }
    mask.install();
    drop(child);
    let guardian = match forked {
        Ok(sys::Fork::Parent(pid)) => Pid::from_raw(pid).ok_or(LaunchError::System("fork", Errno::AGAIN))?,
        Ok(sys::Fork::Child) => return Err(LaunchError::System("fork", Errno::AGAIN)),
        Err(e) => return Err(LaunchError::System("fork", e)),
    };
    meet(engine, guardian, spared, name)
}

/// The engine's half of the start.
fn meet(engine: EngineEnds, guardian: Pid, spared: Vec<i32>, name: OsString) -> Result<Running, LaunchError> {
    let EngineEnds { life, reports, start, go } = engine;
    let life = Life(life);
    let pid = match read_eight(&reports).and_then(Report::parse) {
        Some(Report::Started(pid)) => pid as u32,
        Some(Report::NotStarted(e)) => {
            return Err(LaunchError::System("fork", Errno::from_raw_os_error(e)));
        }
        _ => return Err(LaunchError::System("the guardian ended", Errno::CHILD)),
    };
    // A program that was refused something says so and ends, perhaps before this.
    let program = sys::open_pidfd(pid, 0).map_err(|e| match read_eight(&start).map(words) {
        None | Some((SAYS_LISTENER, _)) => LaunchError::NoAccess(e),
        Some((kind, value)) => refusal(kind, value, &name),
    })?;
    let mut running =
        Running { listener: None, life: Some(life), reports, program, pid, guardian, spared, ending: None };
    loop {
        match read_eight(&start).map(words) {
            Some((SAYS_LISTENER, number)) => {
                let listener =
                    rustix::process::pidfd_getfd(&running.program, number, rustix::process::PidfdGetfdFlags::empty())
                        .map_err(LaunchError::NoAccess)?;
                running.listener = Some(listener);
                probe_memory(pid).map_err(LaunchError::NoAccess)?;
                rustix::io::write(&go, b"g").map_err(|e| LaunchError::System("pipe", e))?;
            }
            Some((kind, value)) => return Err(refusal(kind, value, &name)),
            None => break,
        }
    }
    if running.listener.is_none() {
        // It was killed before it came to exec; the guardian will say by what.
        return Err(LaunchError::System("the program was ended before it began", Errno::CHILD));
    }
    let _ = rustix::io::ioctl_fionbio(&running.reports, true);
    Ok(running)
}

/// Whether the program's memory can be read and written, as every call will need. Before exec it is laid out as ours is.
fn probe_memory(pid: u32) -> Result<(), Errno> {
    static PROBED: AtomicU32 = AtomicU32::new(0);
    let (memory, address) = (Memory::of(pid), PROBED.as_ptr() as u64);
    let value = memory.read_u32(address)?;
    memory.write_u32(address, value)
}

/// Why the program says it did not start.
fn refusal(kind: u32, value: i32, name: &OsStr) -> LaunchError {
    let e = Errno::from_raw_os_error(value);
    match (kind, e) {
        (SAYS_NO_FILTER, e) => LaunchError::NoFilter(e),
        (SAYS_NO_ISOLATION, e) => LaunchError::NoIsolation(e),
        (SAYS_NO_EXEC, Errno::NOENT) if name.as_bytes().contains(&b'/') && Path::new(name).exists() => {
            LaunchError::NoInterpreter(name.into())
        }
        (SAYS_NO_EXEC, Errno::NOENT | Errno::NOTDIR) => LaunchError::NotFound(name.into()),
        (SAYS_NO_EXEC, e) => LaunchError::CannotExecute(name.into(), e),
        _ => LaunchError::System("start", Errno::PROTO),
    }
}

fn pipes() -> Result<(ChildEnds, EngineEnds), Errno> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let (life, reports, start, go) = (pipe()?, pipe()?, pipe()?, pipe()?);
    Ok((
        ChildEnds { life: life.0, reports: reports.1, start: start.1, go: go.0 },
        EngineEnds { life: life.1, reports: reports.0, start: start.0, go: go.1 },
    ))
}

fn read_eight(fd: &OwnedFd) -> Option<[u8; 8]> {
    let mut raw = [0u8; 8];
    loop {
        match rustix::io::read(fd, &mut raw) {
            Ok(8) => return Some(raw),
            Err(Errno::INTR) => continue,
            _ => return None,
        }
    }
}

fn words(b: [u8; 8]) -> (u32, i32) {
    (u32::from_ne_bytes([b[0], b[1], b[2], b[3]]), i32::from_ne_bytes([b[4], b[5], b[6], b[7]]))
}

/// Raises the soft limit of descriptors to the hard one; returns what it was.
fn raise_descriptors() -> Rlimit {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    before
}

fn prepare(command: &Command, signals: &Signals, descriptors: Rlimit) -> Result<Plan, LaunchError> {
    let name = command.arguments.first().ok_or(LaunchError::BadName)?;
    if name.is_empty() {
        return Err(LaunchError::NotFound(name.clone()));
    }
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for (key, value) in &command.environment {
        environment.retain(|(k, _)| k != key);
        environment.push((key.clone(), value.clone()));
    }
    let path = environment.iter().find(|(k, _)| k == "PATH").map(|(_, v)| v.clone());
    let candidates = candidates(name, path.as_deref())?;
    let arguments = command.arguments.iter().map(|a| c_string(a.clone())).collect::<Result<Vec<_>, _>>()?;
    let scripts = candidates
        .iter()
        .map(|file| {
            let tail = arguments.iter().skip(1).cloned();
            StringArray::new([c"sh".to_owned(), file.clone()].into_iter().chain(tail).collect())
        })
        .collect();
    let environment = environment
        .into_iter()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            c_string(key)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Ok(Plan {
        filter: filter::program(),
        candidates,
        searched: !name.as_bytes().contains(&b'/'),
        arguments: StringArray::new(arguments),
        scripts,
        environment: StringArray::new(environment),
        isolate: command.isolate,
        user_map: format!("{user} {user} 1"),
        group_map: format!("{group} {group} 1"),
        descriptors,
        mask: signals.original_mask(),
    })
}

/// The paths a shell would try for `name`, in its order.
fn candidates(name: &OsStr, path: Option<&OsStr>) -> Result<Vec<CString>, LaunchError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(name.to_owned())?]);
    }
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    path.as_bytes()
        .split(|b| *b == b':')
        .map(|directory| {
            let mut file = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
            file.push(b'/');
            file.extend_from_slice(name.as_bytes());
            c_string(OsString::from_vec(file))
        })
        .collect()
}

fn c_string(s: OsString) -> Result<CString, LaunchError> {
    CString::new(s.into_vec()).map_err(|_| LaunchError::BadName)
}

fn say(start: &OwnedFd, kind: u32, value: i32) {
    let (k, v) = (kind.to_ne_bytes(), value.to_ne_bytes());
    let _ = rustix::io::write(start, &[k[0], k[1], k[2], k[3], v[0], v[1], v[2], v[3]]);
}

/// The program's own side, up to exec. Returns only when that failed, having said so. Allocates nothing.
fn become_program(plan: &Plan, start: OwnedFd, go: OwnedFd) {
    if plan.isolate
        && let Err(e) = isolate(plan)
    {
        return say(&start, SAYS_NO_ISOLATION, e.raw_os_error());
    }
    let _ = rustix::process::setrlimit(Resource::Nofile, plan.descriptors);
    // The Rust run-time ignores SIGPIPE, which a program would inherit.
    sys::default_disposition(libc::SIGPIPE);
    match install(&plan.filter) {
        Ok(number) => say(&start, SAYS_LISTENER, number),
        Err(e) => return say(&start, SAYS_NO_FILTER, e.raw_os_error()),
    }
    let mut byte = [0u8];
    if rustix::io::read(&go, &mut byte) != Ok(1) {
        return;
    }
    plan.mask.install();
    say(&start, SAYS_NO_EXEC, try_all(plan).raw_os_error());
}

/// Root keeps its power to gain privileges by exec where the kernel lets it; everyone else gives it up.
fn install(filter: &[Instruction]) -> Result<i32, Errno> {
    match sys::install_filter(filter) {
        Err(Errno::ACCESS) => {
            rustix::thread::set_no_new_privs(true)?;
            sys::install_filter(filter)
        }
        other => other,
    }
}

/// exec, as the shell does it: a file that may not be executed is passed over, and is the error if no other is found. What is no file, or
/// in a directory of the path that we may not look into (root's, after `su`), was not found.
fn try_all(plan: &Plan) -> Errno {
    let mut error = Errno::NOENT;
    for (path, script) in plan.candidates.iter().zip(&plan.scripts) {
        match sys::exec(path, &plan.arguments, &plan.environment) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS if plan.searched && !is_file(path) => {}
            Errno::ACCESS => error = Errno::ACCESS,
            Errno::NOEXEC => return sys::exec(c"/bin/sh", script, &plan.environment),
            other => return other,
        }
    }
    error
}

fn is_file(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_file())
}

fn isolate(plan: &Plan) -> Result<(), Errno> {
    // SAFETY: this process has one thread, and no descriptor of it changes owner.
    let unshare = |flags| unsafe { rustix::thread::unshare_unsafe(flags) };
    match unshare(UnshareFlags::NEWNET) {
        Err(Errno::PERM) => {
            unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", plan.user_map.as_bytes())?;
            write_file(c"/proc/self/gid_map", plan.group_map.as_bytes())
        }
        other => other,
    }
}

fn write_file(path: &std::ffi::CStr, content: &[u8]) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags};
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content)?;
    Ok(())
}
