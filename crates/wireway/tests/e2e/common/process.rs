//! Processes: started with their output kept, waited for with a limit, ended with the test.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// How long anything may take that is not a large transfer; far more than it needs on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, or panics with `what` after [`LIMIT`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process started by a test. Dropping it kills its process group.
pub struct Running {
    child: Child,
    pidfd: OwnedFd,
    what: String,
    stdout: File,
    stderr: File,
    status: Option<ExitStatus>,
}

/// How a process ended and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    pub what: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Running {
    /// Starts a process with nothing to read on its standard input.
    pub fn start(command: &mut Command) -> Running {
        Self::start_with(command, Stdio::null())
    }

    /// Starts a process that finds `input` on its standard input.
    pub fn start_with_input(command: &mut Command, input: &[u8]) -> Running {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(input).expect("write the input");
        file.rewind().expect("rewind the input");
        Self::start_with(command, file.into())
    }

    /// Starts a process with the given standard input.
    pub fn start_with(command: &mut Command, stdin: Stdio) -> Running {
        let stdout = tempfile::tempfile().expect("temporary file");
        let stderr = tempfile::tempfile().expect("temporary file");
        let what = format!("{command:?}");
        let child = command
            .stdin(stdin)
            .stdout(stdout.try_clone().expect("duplicate"))
            .stderr(stderr.try_clone().expect("duplicate"))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("pidfd_open");
        Running { child, pidfd, what, stdout, stderr, status: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input, where it was started with one.
    pub fn take_stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("a standard input that is piped")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("kill");
    }

    /// What it has written to its standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        contents(&self.stdout)
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&contents(&self.stderr)).into_owned()
    }

    /// Waits until `text` stands in its output; panics when it ends before.
    pub fn wait_for_text(&mut self, text: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            let ended = self.wait_status(Duration::ZERO).is_some();
            let output = String::from_utf8_lossy(&self.stdout()).into_owned() + &self.stderr();
            if output.contains(text) {
                return;
            }
            assert!(!ended, "{} ended before it said {text:?}: {output}", self.what);
            assert!(Instant::now() < end, "{} has not said {text:?}: {output}", self.what);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_status(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            let limit = Timespec::try_from(limit).expect("a sensible limit");
            let mut events = [PollFd::new(&self.pidfd, PollFlags::IN)];
            loop {
                match poll(&mut events, Some(&limit)) {
                    Ok(0) => return None,
                    Ok(_) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => panic!("poll: {error}"),
                }
            }
            self.status = Some(self.child.wait().expect("wait"));
        }
        self.status
    }

    /// Waits for its end within [`LIMIT`].
    pub fn wait(&mut self) -> Outcome {
        self.wait_within(LIMIT)
    }

    /// Waits for its end; panics with its output when that takes longer than `limit`.
    pub fn wait_within(&mut self, limit: Duration) -> Outcome {
        let status = self.wait_status(limit);
        let (stdout, stderr) = (self.stdout(), self.stderr());
        let what = self.what.clone();
        match status {
            Some(status) => Outcome { what, status, stdout, stderr },
            None => panic!(
                "{what} has not ended after {limit:?}\nstdout: {}\nstderr: {stderr}",
                String::from_utf8_lossy(&stdout)
            ),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        if self.status.is_none() {
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}\n  stderr: {}", self.what, self.stderr());
        }
    }
}

impl Outcome {
    /// Its standard output; panics unless it ended with 0.
    pub fn ok(self) -> Vec<u8> {
        assert!(self.status.success(), "{self}");
        self.stdout
    }

    /// Its standard output as text, without white space at the end; panics unless it ended with 0.
    pub fn text(self) -> String {
        assert!(self.status.success(), "{self}");
        self.text_of_stdout()
    }

    /// Its standard output as text, without white space at the end, however it ended.
    pub fn text_of_stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// The exit status, a signal as the shell reports it.
    pub fn code(&self) -> i32 {
        self.status.code().or(self.status.signal().map(|n| 128 + n)).expect("a status")
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let stdout: String = stdout.chars().take(4000).collect();
        write!(f, "{}: {}\nstdout: {stdout}\nstderr: {}", self.what, self.status, self.stderr)
    }
}

/// Runs a process to its end, within [`LIMIT`].
pub fn finish(command: &mut Command) -> Outcome {
    finish_within(LIMIT, command)
}

/// Runs a process to its end, within `limit`.
pub fn finish_within(limit: Duration, command: &mut Command) -> Outcome {
    Running::start(command).wait_within(limit)
}

/// The processes that carry `mark` in their environment and are alive: id and command line.
pub fn marked(mark: &str) -> Vec<(u32, String)> {
    let is_marked = |environment: &[u8]| environment.split(|&b| b == 0).any(|e| e == mark.as_bytes());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        if pid != std::process::id() && is_marked(&environment) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

fn contents(file: &File) -> Vec<u8> {
    let length = file.metadata().map_or(0, |m| m.len());
    let mut bytes = vec![0; usize::try_from(length).expect("an output that fits")];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) => panic!("read the output: {error}"),
        }
    }
    bytes.truncate(read);
    bytes
}
