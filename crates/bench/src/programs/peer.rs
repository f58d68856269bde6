//! How the load program is started over each network, and where it finds the machine's loopback.
//!
//! Every peer reaches the server the same way: the server listens on the machine's 127.0.0.1, and the
//! program connects to the address that the network maps there. Nothing leaves the machine.

use rustix::process::{Pid, Signal, getuid, kill_process_group};
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A network between the program and the machine.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// The kernel's loopback interface (its MTU is 65,536 whatever is asked).
    Kernel,
    /// `wireway run`, through the gateway.
    Wireway,
    /// pasta through its TAP interface.
    Pasta,
    /// pasta's short cut: loopback to loopback, spliced by the kernel, without TAP or TCP of its own.
    PastaSplice,
    /// slirp4netns.
    Slirp4netns,
}

impl Peer {
    /// As the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Kernel => "kernel loopback",
            Peer::Wireway => "wireway",
            Peer::Pasta => "pasta",
            Peer::PastaSplice => "pasta, spliced",
            Peer::Slirp4netns => "slirp4netns",
        }
    }

    /// The address under which the program finds the machine's loopback.
    pub fn address(self) -> Ipv4Addr {
        match self {
            Peer::Kernel | Peer::PastaSplice => Ipv4Addr::LOCALHOST,
            _ => Ipv4Addr::new(10, 0, 2, 2),
        }
    }

    /// Starts `program` over this network and returns what it wrote to its standard output. Its standard
    /// input is empty. Both it and the network are ended after `limit`.
    pub fn run(self, settings: &Settings, program: &[OsString], port: u16, limit: Duration) -> io::Result<String> {
        let mtu = settings.mtu.to_string();
        match self {
            Peer::Slirp4netns => slirp4netns(&mtu, program, limit),
            _ => finish(self.command(settings, &mtu, program, port), limit),
        }
    }

    /// The command line; for slirp4netns, which has none, see [`slirp4netns`].
    pub fn command(self, settings: &Settings, mtu: &str, program: &[OsString], port: u16) -> Command {
        let mut command = match self {
            Peer::Kernel | Peer::Slirp4netns => Command::new("env"),
            Peer::Wireway => {
                let mut command = Command::new(&settings.wireway);
                command.args(["run", "--mtu", mtu, "--"]);
                command
            }
            Peer::Pasta | Peer::PastaSplice => {
                let forward = match self {
                    Peer::PastaSplice => port.to_string(),
                    _ => "none".into(),
                };
                let mut command = Command::new("pasta");
                command.args(["--config-net", "-4", "-f", "-q", "-m", mtu]);
                command.args(["-a", "10.0.2.15", "-n", "24", "-g", "10.0.2.2"]);
                command.args(["-t", "none", "-u", "none", "-U", "none", "-T", &forward]);
                if getuid().is_root() {
                    // Having given up root for nobody, it cannot enter the namespace it made.
                    command.args(["--runas", "0"]);
                }
                command.arg("--");
                command
            }
        };
        command.args(program);
        command
    }
}

/// What peers are told.
pub struct Settings {
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// The `wireway` command.
    pub wireway: PathBuf,
}

/// A process group that ends with this value.
pub struct Group(pub Child);

impl Group {
    /// Starts a command as the leader of its own process group.
    pub fn start(command: &mut Command) -> io::Result<Group> {
        let name = command.get_program().to_owned();
        command.process_group(0);
        let child =
            command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name.display())))?;
        Ok(Group(child))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait()
            && let Some(id) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(id, Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// Runs a command to its end or for `limit`, and returns its standard output.
fn finish(mut command: Command, limit: Duration) -> io::Result<String> {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    collect(Group::start(&mut command)?, limit)
}

/// What the group's leader writes until it ends.
fn collect(mut group: Group, limit: Duration) -> io::Result<String> {
    let (send, receive) = mpsc::channel();
    let errors = group.0.stderr.take();
    if let Some(mut output) = group.0.stdout.take() {
        thread::spawn(move || {
            let mut text = String::new();
            let result = output.read_to_string(&mut text).map(|_| text);
            let _ = send.send(result);
        });
    }
    let complaint = thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut errors) = errors {
            let _ = errors.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let Ok(text) = receive.recv_timeout(limit) else {
        return Err(io::Error::other("took too long"));
    };
    let text = text?;
    let status = group.0.wait()?;
    drop(group);
    if status.success() {
        return Ok(text);
    }
    let complaint = complaint.join().unwrap_or_default();
    let last = complaint.lines().last().unwrap_or("no message");
    Err(io::Error::other(format!("{status}: {last}")))
}

/// slirp4netns serves a namespace that exists: a shell in a new one waits until the network is up, and
/// then becomes the program.
fn slirp4netns(mtu: &str, program: &[OsString], limit: Duration) -> io::Result<String> {
    let mut command = Command::new("unshare");
    if !getuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "sh", "-c", "echo; read _; exec \"$@\"", "sh"]);
    command.args(program);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut inside = Group::start(&mut command)?;
    let (Some(mut go), Some(mut output)) = (inside.0.stdin.take(), inside.0.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // One byte at a time: what follows the line belongs to the program.
    output.read_exact(&mut [0])?;

    let mut command = Command::new("sh");
    command.args(["-c", "exec slirp4netns -c -m \"$1\" -r 3 \"$2\" tap0 3>&1 >/dev/null"]);
    command.args(["sh", mtu, &inside.0.id().to_string()]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(Stdio::piped());
    let mut network = Group::start(&mut command)?;
    let Some(mut ready) = network.0.stdout.take() else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    ready.read_exact(&mut [0]).map_err(|_| io::Error::other("slirp4netns did not start"))?;
    go.write_all(b"\n")?;
    drop(go);
    inside.0.stdout = Some(output);
    collect(inside, limit)
}

/// A server of the machine: a process that ends with this value, and its port.
pub struct Server {
    _group: Group,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Our own server, which prints its address.
    pub fn own() -> io::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--with-parent"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut group = Group::start(&mut command)?;
        let mut line = String::new();
        if let Some(output) = group.0.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        match port {
            Some(port) => Ok(Server { _group: group, port }),
            None => Err(io::Error::other("the server did not start")),
        }
    }

    /// Another's server, started with `arguments` in which `PORT` stands for a free port.
    pub fn other(name: &str, arguments: &[&str]) -> io::Result<Server> {
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(name);
        for argument in arguments {
            command.arg(argument.replace("PORT", &port.to_string()));
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let group = Group::start(&mut command)?;
        let listens = format!("0100007F:{port:04X}");
        for _ in 0..500 {
            if fs::read_to_string("/proc/net/tcp")?.contains(&listens) {
                return Ok(Server { _group: group, port });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other(format!("{name} does not listen")))
    }
}
