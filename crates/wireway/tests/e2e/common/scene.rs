//! The scene of one test: who runs what, where, over which network.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::machine::Machine;
use super::process::{marked, wait_until};

const WIREWAY: &str = env!("CARGO_BIN_EXE_wireway");

/// The ordinary user that root becomes: nobody.
const ORDINARY: u32 = 65534;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The machine's loopback address.
    pub fn loopback(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The address under which a program on the gateway network reaches the machine's loopback.
    pub fn gateway(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::new(10, 0, 2, 2).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0, 2, 0, 0, 0, 2).into(),
        }
    }

    /// Every local address, for a server to listen on.
    pub fn any(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// How Python calls it.
    pub fn python(self) -> &'static str {
        match self {
            Family::V4 => "socket.AF_INET",
            Family::V6 => "socket.AF_INET6",
        }
    }

    /// A URL to a port of the machine's loopback, as a program on the gateway network writes it.
    pub fn url(self, port: u16, path: &str) -> String {
        format!("http://{}{path}", SocketAddr::new(self.gateway(), port))
    }

    /// A URL to a port of the machine's loopback, from the machine itself.
    pub fn local_url(self, port: u16, path: &str) -> String {
        format!("http://{}{path}", SocketAddr::new(self.loopback(), port))
    }
}

/// An address as it is written before a port.
pub fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// What a test is instantiated for.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub family: Family,
    ordinary_user: bool,
}

impl Setting {
    /// As the user that runs the tests.
    pub fn new(family: Family) -> Setting {
        Setting { family, ordinary_user: false }
    }

    /// As an ordinary user where root runs the tests; else [`Setting::new`] is that already.
    pub fn ordinary_user(family: Family) -> Option<Setting> {
        is_root().then_some(Setting { family, ordinary_user: true })
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// True, and says so past the test harness's capture, where a test that needs root cannot run. A failure
/// where every test has to run (`WIREWAY_TESTS=all`).
pub fn skip_without_root(test: &str) -> bool {
    if is_root() {
        return false;
    }
    let message = format!("SKIPPED {test}: needs root (network namespaces, TAP)");
    assert!(std::env::var_os("WIREWAY_TESTS").is_none_or(|v| v != "all"), "{message}");
    let _ = writeln!(std::io::stderr(), "{message}");
    true
}

/// One test's scratch directory, environment and network. Dropping it checks that none of its processes is left, or ends
/// those that are when the test has failed.
pub struct Scene {
    pub family: Family,
    setting: Setting,
    directory: TempDir,
    wireway: PathBuf,
    mark: String,
}

impl Scene {
    pub fn new(setting: Setting) -> Scene {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new().prefix("wireway-test-").tempdir().expect("temporary directory");
        let mut wireway = PathBuf::from(WIREWAY);
        if setting.ordinary_user {
            // The build directory may be in a home that others cannot enter.
            wireway = directory.path().join("wireway");
            copy(Path::new(WIREWAY), &wireway);
        }
        let scene = Scene {
            family: setting.family,
            setting,
            wireway,
            mark: format!("WIREWAY_TEST={}-{number}", std::process::id()),
            directory,
        };
        scene.give(scene.directory.path());
        scene
    }

    pub fn is_ordinary_user(&self) -> bool {
        self.setting.ordinary_user
    }

    /// A name that no other test uses at the same time.
    pub fn unique(&self, prefix: &str) -> String {
        let mark = self.mark.rsplit('=').next().unwrap_or_default();
        format!("{prefix}{mark}")
    }

    /// The scratch directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file into the scratch directory, owned by the scene's user.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).expect("write a file");
        self.give(&path);
        path
    }

    /// Makes a directory in the scratch directory, owned by the scene's user.
    pub fn make_directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).expect("make a directory");
        self.give(&path);
        path
    }

    /// Gives a file to the scene's user.
    pub fn give(&self, path: &Path) {
        if self.setting.ordinary_user {
            std::os::unix::fs::chown(path, Some(ORDINARY), Some(ORDINARY)).expect("chown");
        }
    }

    /// `PROGRAM`, on the machine itself and as the user that runs the tests.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.build(vec![program.as_ref().into()])
    }

    /// `PROGRAM`, on the machine itself and as an ordinary user even when the scene's user is root.
    pub fn command_as_ordinary_user(&self, program: impl AsRef<OsStr>) -> Command {
        let mut words = if is_root() { become_ordinary() } else { Vec::new() };
        words.push(program.as_ref().into());
        self.build(words)
    }

    /// `PROGRAM` in a machine of the test's own.
    pub fn command_in(&self, machine: &Machine, program: impl AsRef<OsStr>) -> Command {
        let mut words = machine.enter();
        words.push(program.as_ref().into());
        self.build(words)
    }

    /// `wireway run OPTIONS -- PROGRAM`.
    pub fn run<O: AsRef<OsStr>>(&self, options: &[O], program: impl AsRef<OsStr>) -> Command {
        self.wireway(Vec::new(), options, program.as_ref())
    }

    /// `wireway run OPTIONS -- PROGRAM` in a machine of the test's own.
    pub fn run_in<O: AsRef<OsStr>>(&self, machine: &Machine, options: &[O], program: impl AsRef<OsStr>) -> Command {
        self.wireway(machine.enter(), options, program.as_ref())
    }

    /// `wireway link ARGUMENTS`, as the scene's user.
    pub fn wireway_link(&self, arguments: &[&str]) -> Command {
        let mut words = if self.setting.ordinary_user { become_ordinary() } else { Vec::new() };
        words.push(self.wireway.clone().into());
        words.push("link".into());
        words.extend(arguments.iter().map(Into::into));
        self.build(words)
    }

    fn wireway<O: AsRef<OsStr>>(&self, mut words: Vec<OsString>, options: &[O], program: &OsStr) -> Command {
        if self.setting.ordinary_user {
            words.extend(become_ordinary());
        }
        words.push(self.wireway.clone().into());
        words.push("run".into());
        words.extend(options.iter().map(|option| option.as_ref().into()));
        words.push("--".into());
        words.push(program.into());
        self.build(words)
    }

    fn build(&self, words: Vec<OsString>) -> Command {
        let mut command = Command::new(&words[0]);
        let (name, value) = self.mark.split_once('=').expect("name=value");
        command
            .args(&words[1..])
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.directory.path())
            .env("LC_ALL", "C.UTF-8")
            .env(name, value);
        command
    }

    /// Waits until none of the scene's processes is alive.
    pub fn wait_until_nothing_is_left(&self) {
        let mut left = Vec::new();
        wait_until(&format!("no process of {} is left", self.mark), || {
            left = marked(&self.mark);
            left.is_empty()
        });
    }

    /// The ids of this scene's processes that run the command itself.
    pub fn processes_of_the_command(&self) -> Vec<u32> {
        let is_ours = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.wireway);
        marked(&self.mark).into_iter().map(|(pid, _)| pid).filter(is_ours).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.wait_until_nothing_is_left();
            return;
        }
        for (pid, line) in marked(&self.mark) {
            eprintln!("left behind: {pid} {line}");
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Copies a program. By a process of its own: while this one has a file open for writing, so may have a child that
/// another thread is starting, and then the file cannot be executed.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args([from, to]).status().expect("cp");
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

fn become_ordinary() -> Vec<OsString> {
    let reuid = format!("--reuid={ORDINARY}");
    let regid = format!("--regid={ORDINARY}");
    ["setpriv", &reuid, &regid, "--clear-groups", "--"].map(OsString::from).to_vec()
}
