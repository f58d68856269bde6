//! Programs are started, watched and ended: against real processes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use wireway_attach::launch::{Command, Ending, LaunchError, Progress, Running, launch};
use wireway_attach::notify::{Listener, Notification};
use wireway_attach::process::{Memory, Processes, socket_inode};
use wireway_attach::signals::Signals;

/// One program at a time: ending one ends whatever this process's children have become, and so would end another test's program.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn one() -> std::sync::MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

fn start(arguments: &[&str]) -> Result<Running, LaunchError> {
    let signals = Signals::take().unwrap();
    launch(&Command { arguments: arguments.iter().map(OsString::from).collect(), ..Command::default() }, &signals)
}

fn shell(script: &str) -> Running {
    start(&["/bin/sh", "-c", script]).unwrap()
}

/// Serves calls by `answer` until the program ends.
fn serve(running: &mut Running, mut answer: impl FnMut(Notification)) -> Ending {
    let listener = Listener::new(running.take_listener().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < deadline, "the program did not end");
        let reports = running.reports().try_clone_to_owned().unwrap();
        let mut fds =
            [PollFd::new(&reports, PollFlags::IN), PollFd::from_borrowed_fd(listener.descriptor(), PollFlags::IN)];
        let second = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut fds, Some(&second)).unwrap();
        if fds[1].revents().contains(PollFlags::IN)
            && let Some(notification) = listener.next()
        {
            answer(notification);
        }
        while let Some(progress) = running.progress() {
            if let Progress::Ended(ending) = progress {
                return ending;
            }
        }
    }
}

/// The call was interrupted if this cannot be delivered.
fn go_on(notification: Notification) {
    let _ = notification.go_on();
}

fn run(script: &str) -> Ending {
    let mut running = shell(script);
    serve(&mut running, go_on)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("wireway-attach-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Compiles a C program.
    fn compile(&self, name: &str, source: &str) -> String {
        let (c, out) = (self.file(&format!("{name}.c")), self.file(name));
        std::fs::write(&c, source).unwrap();
        let status =
            std::process::Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&out).arg(&c).status().unwrap();
        assert!(status.success());
        out.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn exit_status_is_the_programs_own() {
    let _one = one();
    assert_eq!(run("exit 0").status(), 0);
    assert_eq!(run("exit 42"), Ending::Exited(42));
    assert_eq!(run("kill -TERM $$"), Ending::Killed(libc::SIGTERM));
    assert_eq!(run("kill -KILL $$").status(), 137);
    // In a process group of its own.
    assert_eq!(run("exec setsid -w sh -c 'exit 7'"), Ending::Exited(7));
    assert_eq!(run("exec timeout 10 sh -c 'exit 8'"), Ending::Exited(8));
}

#[test]
fn not_found_and_not_executable_are_told_apart() {
    let _one = one();
    let directory = Directory::new("exec");
    let file = directory.file("plain");
    std::fs::write(&file, "no format").unwrap();
    let plain = file.to_str().unwrap();
    assert_eq!(start(&["/does/not/exist"]).err().unwrap().status(), 127);
    assert_eq!(start(&["no-such-program-in-the-path"]).err().unwrap().status(), 127);
    assert_eq!(start(&[""]).err().unwrap().status(), 127);
    assert_eq!(start(&[plain]).err().unwrap().status(), 126);
    assert_eq!(start(&["/"]).err().unwrap().status(), 126);
    assert_eq!(start(&[]).err().unwrap().status(), 125);
    // A directory on the way is none that was found, as in a shell.
    let path = directory.0.parent().unwrap().as_os_str().to_owned();
    let name = directory.0.file_name().unwrap().to_owned();
    let on_the_way = |name: OsString| {
        let environment = vec![("PATH".into(), path.clone())];
        let signals = Signals::take().unwrap();
        launch(&Command { arguments: vec![name], environment, ..Command::default() }, &signals).err().unwrap()
    };
    assert_eq!(on_the_way(name.clone()).status(), 127);

    // A script without a first line is the shell's, as with execvp.
    std::fs::write(&file, "exit $#").unwrap();
    let mut mode = std::fs::metadata(&file).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&file, mode).unwrap();
    let mut running = start(&[plain, "a", "b"]).unwrap();
    assert_eq!(serve(&mut running, go_on), Ending::Exited(2));
    std::fs::write(&file, "#!/does/not/exist\n").unwrap();
    let error = start(&[plain]).err().unwrap();
    assert_eq!(error.status(), 127);
    assert!(error.to_string().contains("interpreter"), "{error}");
}

#[test]
fn the_program_keeps_signals_limits_and_descriptors_as_they_were() {
    let _one = one();
    let directory = Directory::new("keeps");
    let out = directory.file("out");
    // Nothing blocked, nothing ignored but what this process was started with (SIGPIPE is Rust's own doing), and no descriptor but the standard three and the one `ls` itself opens.
    let script = format!(
        "grep -E 'SigBlk|SigIgn' /proc/self/status > {0}; ls /proc/self/fd >> {0}; ulimit -Sn >> {0}",
        out.display()
    );
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let inherited: Vec<String> = {
        let status = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
        String::from_utf8(status.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    assert_eq!(run(&script), Ending::Exited(0));
    let text = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "SigBlk:\t0000000000000000");
    let ours = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = ours.lines().find_map(|l| l.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & !(1 << (libc::SIGPIPE - 1));
    assert_eq!(lines[1], format!("SigIgn:\t{ignored:016x}"));
    assert_eq!(lines[2..lines.len() - 1].to_vec(), inherited);
    // Either no limit was raised before by another test, or it is what this process has.
    assert_eq!(*lines.last().unwrap(), limit.unwrap().to_string());
}

#[test]
fn a_trapped_call_is_answered_and_its_memory_read() {
    let _one = one();
    let directory = Directory::new("trapped");
    let program = directory.compile(
        "name",
        r#"
        #include <sys/socket.h>
        #include <netinet/in.h>
        #include <errno.h>
        #include <stdio.h>
        #include <string.h>
        int main(void) {
            struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7)};
            socklen_t l = sizeof a;
            int s = socket(AF_INET, SOCK_STREAM, 0);
            if (s < 0) return 1;
            if (bind(s, (void *)&a, l) != -1 || errno != EADDRINUSE) return 2;
            if (getsockname(s, (void *)&a, &l) != 0 || ntohs(a.sin_port) != 4321) return 3;
            if (getsockname(-1, (void *)&a, &l) != -1 || errno != EBADF) return 4;
            return 0;
        }"#,
    );
    let mut running = start(&[&program]).unwrap();
    let mut processes = Processes::default();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let inode = socket_inode(std::os::fd::AsFd::as_fd(&theirs));
    let ending = serve(&mut running, |mut n| {
        let memory = Memory::of(n.thread);
        match n.number {
            libc::SYS_socket => {
                n.answer_descriptor(std::os::fd::AsFd::as_fd(&theirs), true).unwrap();
            }
            libc::SYS_bind => {
                let raw = wireway_attach::sockaddr::read(memory, n.arguments[1], n.arguments[2]).unwrap();
                let address = wireway_attach::sockaddr::parse_inet(&raw).unwrap();
                assert_eq!(address.to_string(), "0.0.0.0:7");
                n.fail(rustix::io::Errno::ADDRINUSE).unwrap();
            }
            libc::SYS_getsockname => match processes.descriptor(n.thread, n.int(0)) {
                Ok(fd) => {
                    assert_eq!(socket_inode(std::os::fd::AsFd::as_fd(&fd)), inode);
                    let raw = wireway_attach::sockaddr::emit_inet("1.2.3.4:4321".parse().unwrap());
                    wireway_attach::sockaddr::store(memory, &raw, n.arguments[1], n.arguments[2]).unwrap();
                    n.answer(0).unwrap();
                }
                Err(e) => n.fail(e).unwrap(),
            },
            _ => n.go_on().unwrap(),
        }
    });
    drop(ours);
    assert_eq!(ending, Ending::Exited(0));
}

#[test]
fn an_unanswered_notification_is_enosys() {
    let _one = one();
    let mut running =
        start(&["python3", "-c", "import socket\ntry: socket.socket()\nexcept OSError as e: exit(e.errno)"]).unwrap();
    let mut dropped = 0;
    let ending = serve(&mut running, |n| {
        dropped += 1;
        drop(n);
    });
    assert_eq!(ending, Ending::Exited(libc::ENOSYS as u8));
    assert!(dropped >= 1);
}

#[test]
fn unix_sockets_and_refused_families_work_as_before() {
    let _one = one();
    let script = r#"
import socket, errno, ctypes, os
a, b = socket.socketpair(); a.sendall(b'x'); assert b.recv(1) == b'x'
s = socket.socket(socket.AF_UNIX); s.bind('\0wireway-test-%d' % os.getpid()); s.listen()
c = socket.socket(socket.AF_UNIX); c.connect(s.getsockname()); d, _ = s.accept()
c.sendmsg([b'y'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, (0).to_bytes(4, 'little'))]); assert d.recvmsg(1, 64)[0] == b'y'
for family in (40, 44, 31, 43):
    try: socket.socket(family, socket.SOCK_STREAM); raise SystemExit(1)
    except OSError as e: assert e.errno == errno.EAFNOSUPPORT, e
libc = ctypes.CDLL(None, use_errno=True)
for number, expected in ((425, errno.ENOSYS), (426, errno.ENOSYS), (427, errno.ENOSYS), (438, errno.EPERM), (0x40000000 + 41, errno.ENOSYS)):
    assert libc.syscall(number, 0, 0, 0) == -1 and ctypes.get_errno() == expected, number
assert libc.prctl(4, 0, 0, 0, 0) == 0 and libc.prctl(3, 0, 0, 0, 0) == 1
"#;
    let mut running = start(&["python3", "-c", script]).unwrap();
    assert_eq!(serve(&mut running, go_on), Ending::Exited(0));
}

#[test]
fn the_filter_holds_in_32_bit_code() {
    let _one = one();
    let directory = Directory::new("i386");
    // int 0x80 from a 64-bit program makes i386 calls: socketcall (102), socket (359), connect (362), and getpid (20), which works.
    let program = directory.compile(
        "int80",
        r#"
        static long call(long n, long a, long b, long c) {
            long r;
            __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
            return r;
        }
        int main(void) {
            if (call(20, 0, 0, 0) <= 0) return 77;
            if (call(102, 1, 0, 0) != -38) return 1;
            if (call(359, 2, 1, 0) != -38) return 2;
            if (call(362, 2, 1, 0) != -38) return 3;
            if (call(425, 2, 1, 0) != -38) return 4;
            return 0;
        }"#,
    );
    let mut running = start(&[&program]).unwrap();
    let ending = serve(&mut running, go_on);
    // 77 or a signal: this kernel runs no 32-bit code, so there is no way round.
    assert!(
        ending == Ending::Exited(0) || ending == Ending::Exited(77) || ending == Ending::Killed(libc::SIGSEGV),
        "{ending:?}"
    );
}

#[test]
fn daemons_end_with_the_program_that_was_run() {
    let _one = one();
    let directory = Directory::new("daemon");
    let file = directory.file("pid");
    // Forked twice, in a session of its own: nobody's child but the guardian's.
    let mut running = shell(&format!(
        "(setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600' &) ; exit 3",
        file.display()
    ));
    assert_eq!(serve(&mut running, go_on), Ending::Exited(3));
    wait_until("the daemon starts", || file.exists());
    let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(lives(pid));
    let guardian = running.guardian();
    running.end();
    assert!(!lives(pid));
    assert!(!lives(guardian));
}

#[test]
fn a_killed_guardian_ends_the_tree() {
    let _one = one();
    let directory = Directory::new("guardian");
    let file = directory.file("pid");
    let mut running = shell(&format!(
        "(setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600' &) ; exec sleep 600",
        file.display()
    ));
    wait_until("the daemon starts", || file.exists());
    let daemon: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let program = running.pid();
    assert!(lives(daemon) && lives(program));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(running.guardian() as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert_eq!(serve(&mut running, go_on), Ending::GuardianLost);
    assert!(!lives(daemon));
    assert!(!lives(program));
}

/// Run by the next test in a process of its own: an engine that is killed.
#[test]
#[ignore = "the child side of a_killed_engine_ends_the_tree"]
fn engine_to_be_killed() {
    let Some(file) = std::env::var_os("WIREWAY_TEST_FILE") else {
        return;
    };
    let file = PathBuf::from(file);
    let running = shell(&format!(
        "(setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600' &) ; exec sleep 600",
        file.display()
    ));
    wait_until("the daemon starts", || file.exists());
    std::fs::write(file.with_extension("all.new"), format!("{} {}", running.pid(), running.guardian())).unwrap();
    std::fs::rename(file.with_extension("all.new"), file.with_extension("all")).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_engine_ends_the_tree() {
    let _one = one();
    let directory = Directory::new("engine");
    let file = directory.file("pid");
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine_to_be_killed", "--ignored", "--nocapture"])
        .env("WIREWAY_TEST_FILE", &file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let all = file.with_extension("all");
    wait_until("the engine starts its program", || all.exists());
    let mut pids: Vec<u32> =
        std::fs::read_to_string(&all).unwrap().split_whitespace().map(|p| p.parse().unwrap()).collect();
    pids.push(std::fs::read_to_string(&file).unwrap().trim().parse().unwrap());
    assert!(pids.iter().all(|p| lives(*p)));
    engine.kill().unwrap();
    engine.wait().unwrap();
    wait_until("the guardian ends the tree", || !pids.iter().any(|p| lives(*p)));
}

#[test]
fn an_isolated_program_sees_no_interface() {
    let _one = one();
    let signals = Signals::take().unwrap();
    let directory = Directory::new("isolate");
    let out = directory.file("out");
    let script = format!("grep -c : /proc/net/dev > {}", out.display());
    let arguments = ["/bin/sh", "-c", &script].iter().map(OsString::from).collect();
    let mut running = match launch(&Command { arguments, isolate: true, ..Command::default() }, &signals) {
        Ok(running) => running,
        // Some systems forbid it to everyone.
        Err(LaunchError::NoIsolation(_)) => return,
        Err(e) => panic!("{e}"),
    };
    assert_eq!(serve(&mut running, go_on), Ending::Exited(0));
    let interfaces: u32 = std::fs::read_to_string(&out).unwrap().trim().parse().unwrap();
    assert!(interfaces <= 1, "{interfaces}");
}
