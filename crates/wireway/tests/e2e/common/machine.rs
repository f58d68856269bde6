//! A machine of the test's own: a network namespace and a mount namespace, which end with it. Needs root.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{Running, finish};
use super::scene::Scene;

/// The namespaces, held by a process that sleeps.
pub struct Machine {
    holder: Running,
}

impl Machine {
    /// A machine with nothing but its loopback interface.
    pub fn new(scene: &Scene) -> Machine {
        let mut command = scene.command("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "--"]);
        command.args(["sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"]);
        let mut holder = Running::start(&mut command);
        holder.wait_for_text("ready");
        Machine { holder }
    }

    /// A process in it.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// The words that run the command that follows them in this machine.
    pub fn enter(&self) -> Vec<OsString> {
        // The holder's working directory is the scene's, seen from inside.
        let pid = self.holder.pid().to_string();
        ["nsenter", "--target", &pid, "--net", "--mount", "--wd", "--"].map(OsString::from).to_vec()
    }

    /// Runs a shell script in this machine; panics when it fails.
    pub fn script(&self, scene: &Scene, script: &str) -> String {
        let mut command: Command = scene.command_in(self, "sh");
        finish(command.args(["-e", "-c", script])).text()
    }

    /// Calls `f` on a thread whose network is this machine's; sockets made there stay there.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.pid())).expect("network namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
                f()
            });
            thread.join().expect("a thread that does not panic")
        })
    }
}
