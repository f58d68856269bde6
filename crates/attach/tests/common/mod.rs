//! Runs a program on a host that has only `lo`.

#![allow(dead_code)] // Each test program uses its own part.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use wireway_attach::Attach;
use wireway_attach::launch::{Command, launch};
use wireway_attach::signals::Signals;
use wireway_engine::Engine;
use wireway_stack::{Host, Settings};

/// One program at a time: ending one ends whatever this process's children have become, and so would end another test's program.
static ONE: Mutex<()> = Mutex::new(());

pub fn one() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// What became of a program.
pub struct Outcome {
    pub status: i32,
    /// Sockets that were left when it had ended.
    pub left: usize,
}

/// Runs a program to its end.
pub fn run(arguments: &[&str]) -> Outcome {
    let _one = one();
    let signals = Signals::take().unwrap();
    let arguments = arguments.iter().map(OsString::from).collect();
    let running = launch(&Command { arguments, ..Command::default() }, &signals).unwrap();
    let mut engine = Engine::new().unwrap();
    let host = Host::new(Settings::default(), [7; 32]);
    let attach = Attach::new(running, signals).unwrap();
    let node = engine.add_node(host, Box::new(attach));
    let status = engine.run().unwrap();
    let left = engine.service::<Attach>(node).unwrap().sockets();
    Outcome { status, left }
}

/// Runs a Python script, which fails by an exception.
#[track_caller]
pub fn python(script: &str) {
    let prelude = "import socket, os, sys, select, errno, threading, time, struct, signal\n\
        from socket import *\n\
        def listener(backlog=16, family=AF_INET, **kw):\n    \
            s = socket(family, SOCK_STREAM); s.bind(('127.0.0.1' if family == AF_INET else '::', 0)); s.listen(backlog); return s\n\
        def pair():\n    \
            l = listener(); c = socket(AF_INET, SOCK_STREAM); c.connect(l.getsockname()); s, _ = l.accept(); l.close(); return c, s\n\
        def fails(e, f, *a):\n    \
            try: f(*a)\n    \
            except OSError as x: assert x.errno == e, (errno.errorcode.get(x.errno), errno.errorcode[e])\n    \
            else: raise AssertionError('no error, not ' + errno.errorcode[e])\n\
        def polled(s, events=0xffff, wait=0):\n    \
            p = select.poll(); p.register(s, events & (1|2|4|0x2000)); r = p.poll(wait); return r[0][1] if r else 0\n\
        def until(f, what='condition'):\n    \
            end = time.monotonic() + 10\n    \
            while not f():\n        \
                assert time.monotonic() < end, what\n        \
                time.sleep(0.001)\n\
        IN, PRI, OUT, ERR, HUP, RDHUP = 1, 2, 4, 8, 16, 0x2000\n";
    let outcome =
        run(&["timeout", "-s", "ABRT", "30", "python3", "-X", "faulthandler", "-c", &format!("{prelude}{script}")]);
    assert_eq!(outcome.status, 0, "the script failed");
    assert_eq!(outcome.left, 0, "sockets were left behind");
}

/// A directory of a test's own.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("wireway-attach-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Compiles a C program.
    pub fn compile(&self, name: &str, source: &str) -> String {
        let (c, out) = (self.file(&format!("{name}.c")), self.file(name));
        std::fs::write(&c, source).unwrap();
        let _one = one();
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
