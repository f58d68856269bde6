//! What goes wrong ends with a clear message, the right status and nothing left behind.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::build;
use crate::common::content::{Content, sha256_file};
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Machine, Scene, Setting, finish, free_port, skip_without_root, wait_until};
use crate::course::{machine_with_tap, wait_until_attached};

const NONE: [&str; 0] = [];

in_every_setting! {
    as_every_user: [
        the_exit_status_is_the_programs,
        a_program_that_is_not_there_is_127,
        a_program_that_cannot_be_executed_is_126,
        wireways_own_failures_are_125,
        standard_input_passes_through,
        signals_pass_through,
        the_terminal_passes_through,
        a_killed_program_ends_the_run,
        any_of_our_processes_killed_ends_the_tree,
        a_run_within_a_run_is_refused,
        a_container_that_forbids_a_call_is_told_which,
        a_published_port_that_is_taken_is_said_so,
        a_full_disk_under_the_capture,
        a_link_leaves_no_file,
    ],
    as_one_user: [
        a_tap_that_disappears,
        no_permission_for_the_tun_device,
    ]
}

fn the_exit_status_is_the_programs(setting: Setting) {
    let scene = Scene::new(setting);
    for (script, code) in [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("exit 255", 255)] {
        assert_eq!(finish(scene.run(&NONE, "sh").args(["-c", script])).code(), code, "{script}");
    }
    for (signal, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("PIPE", 13)] {
        let outcome = finish(scene.run(&NONE, "sh").args(["-c", &format!("kill -{signal} $$")]));
        assert_eq!(outcome.code(), 128 + number, "{signal}");
    }
}

fn a_program_that_is_not_there_is_127(setting: Setting) {
    let scene = Scene::new(setting);
    for program in ["no-such-program", "./no-such-file", "/no/such/directory/program"] {
        let outcome = finish(&mut scene.run(&NONE, program));
        assert_eq!(outcome.code(), 127, "{outcome}");
        assert!(outcome.stderr.contains(program), "{outcome}");
    }
}

fn a_program_that_cannot_be_executed_is_126(setting: Setting) {
    let scene = Scene::new(setting);
    scene.write("plain-file", "no program\n");
    scene.make_directory("directory");
    for program in ["./plain-file", "./directory"] {
        let outcome = finish(&mut scene.run(&NONE, program));
        assert_eq!(outcome.code(), 126, "{outcome}");
        assert!(outcome.stderr.contains(program), "{outcome}");
    }
}

fn wireways_own_failures_are_125(setting: Setting) {
    let scene = Scene::new(setting);
    let wrong: [&[&str]; 12] = [
        &["--no-such-option"],
        &["--net", "nonsense"],
        &["--address", "10.0.0.1/33"],
        &["--address", "hello"],
        &["--address", "10.0.0.0/24"],
        &["--gateway", "10.9.9.9"],
        &["--gateway", "::1"],
        &["--mtu", "0"],
        &["--mac", "02:00"],
        &["--publish", "99999:1"],
        &["--publish", "x"],
        &["--capture", "/no/such/directory/file.pcapng"],
    ];
    for options in wrong {
        let outcome = finish(&mut scene.run(options, "true"));
        assert_eq!(outcome.code(), 125, "{outcome}");
        assert!(!outcome.stderr.trim().is_empty() && !outcome.stderr.contains("panicked"), "{outcome}");
    }
}

fn standard_input_passes_through(setting: Setting) {
    let scene = Scene::new(setting);
    let input = Content::bytes(1_000_000, 1);
    let output = Running::start_with_input(&mut scene.run(&NONE, "cat"), &input).wait().ok();
    assert!(output == input, "the bytes differ");
}

fn signals_pass_through(setting: Setting) {
    let scene = Scene::new(setting);
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
        let script = format!("trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done");
        let mut program = Running::start(scene.run(&NONE, "sh").args(["-c", &script]));
        program.wait_for_text("ready");
        program.signal(signal);
        let outcome = program.wait();
        assert_eq!(outcome.code(), 5, "{outcome}");
        assert_eq!(outcome.text_of_stdout(), format!("ready\ngot {name}"));
    }
}

/// Under script(1), which gives it a terminal: it is one to the program, and its interrupt key interrupts.
fn the_terminal_passes_through(setting: Setting) {
    let scene = Scene::new(setting);
    let program = "
trap 'echo interrupted; exit 3' INT
test -t 0 && test -t 1 && echo terminal
read line
echo got $line
while :; do sleep 0.05; done
";
    let inside = scene.run(&NONE, "sh");
    let words = std::iter::once(inside.get_program()).chain(inside.get_args());
    let line: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let line = format!("exec {} -c \"$PROGRAM\"", line.join(" "));
    let mut script = scene.command("script");
    script
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("PROGRAM", program)
        .env("SHELL", "/bin/sh");
    let mut script = Running::start_with(&mut script, Stdio::piped());
    let mut keys = script.take_stdin();
    script.wait_for_text("terminal");
    keys.write_all(b"hello\n").expect("type");
    script.wait_for_text("got hello");
    keys.write_all(b"\x03").expect("type");
    let outcome = script.wait();
    assert_eq!(outcome.code(), 3, "{outcome}");
    assert!(outcome.text_of_stdout().ends_with("interrupted"), "{outcome}");
}

/// A program in the middle of a transfer that never ends, with a child and a daemon; and where it listens.
fn busy(scene: &Scene, http: &HttpServer) -> Running {
    let script = "
python3 -c 'import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
time.sleep(1000)'
curl -sS --limit-rate 1M -o out \"$1\" &
echo $$ > pid; echo ready; wait
";
    let url = scene.family.url(http.port, &format!("/data/{}/1", 1_u64 << 40));
    let mut program = Running::start(scene.run(&NONE, "sh").args(["-c", script, "busy", &url]));
    program.wait_for_text("ready");
    let out = scene.path("out");
    wait_until("the transfer runs", || std::fs::metadata(&out).is_ok_and(|m| m.len() > 100_000));
    program
}

fn a_killed_program_ends_the_run(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let mut program = busy(&scene, &http);
    let pid = std::fs::read_to_string(scene.path("pid")).expect("the program's id");
    finish(scene.command("sh").args(["-c", &format!("kill -KILL {pid}")])).ok();
    // At once: its children's connections are not waited for.
    assert_eq!(program.wait_within(Duration::from_secs(20)).code(), 128 + 9);
    scene.wait_until_nothing_is_left();
}

/// Each process that runs the command itself in turn: the engine, and the guardian.
fn any_of_our_processes_killed_ends_the_tree(setting: Setting) {
    let mut victim = 0;
    loop {
        let scene = Scene::new(setting);
        let http = HttpServer::start(scene.family.loopback());
        let mut program = busy(&scene, &http);
        let ours = scene.processes_of_the_command();
        assert!(ours.len() >= 2, "an engine and a guardian: {ours:?}");
        finish(scene.command("sh").args(["-c", &format!("kill -KILL {}", ours[victim])])).ok();
        let outcome = program.wait();
        assert_ne!(outcome.code(), 0);
        scene.wait_until_nothing_is_left();
        let (told, other) = match outcome.code() {
            125 => ("the guardian was killed", "the engine was killed"),
            _ => ("the engine was killed", "the guardian was killed"),
        };
        let stderr = program.stderr();
        assert!(stderr.contains(told) && !stderr.contains(other), "{outcome}\n{stderr}");
        victim += 1;
        if victim == ours.len() {
            break;
        }
    }
}

/// A system that forbids seccomp notification looks the same: there can be one listener.
fn a_run_within_a_run_is_refused(setting: Setting) {
    let scene = Scene::new(setting);
    let inner = scene.run(&NONE, "true");
    let words: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
    let outer_program = words.iter().position(|word| *word == "run").expect("run") - 1;
    let mut outer = scene.run(&NONE, words[outer_program]);
    let outcome = finish(outer.args(&words[outer_program + 1..]));
    assert_eq!(outcome.code(), 125, "{outcome}");
    assert!(outcome.stderr.contains("seccomp"), "{outcome}");
}

fn a_container_that_forbids_a_call_is_told_which(setting: Setting) {
    let scene = Scene::new(setting);
    let forbid = build::c(&scene, "forbid");
    for (call, named) in [
        ("seccomp", "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
        ("pidfd_open", "pidfd_open"),
        ("pidfd_getfd", "pidfd_getfd"),
        ("process_vm_readv", "process_vm_readv"),
        ("process_vm_writev", "process_vm_writev"),
    ] {
        let run = scene.run(&NONE, "true");
        let mut command = scene.command(&forbid);
        let outcome = finish(command.arg(call).arg(run.get_program()).args(run.get_args()));
        assert_eq!(outcome.code(), 125, "{call}: {outcome}");
        assert!(outcome.stderr.contains(named) && outcome.stderr.contains("container"), "{call}: {outcome}");
    }
}

fn a_published_port_that_is_taken_is_said_so(setting: Setting) {
    let scene = Scene::new(setting);
    let taken = TcpListener::bind((scene.family.loopback(), free_port())).expect("listen");
    let address: SocketAddr = taken.local_addr().expect("address");
    let outcome = finish(&mut scene.run(&["--publish", &format!("{address}:80")], "true"));
    assert_eq!(outcome.code(), 125, "{outcome}");
    assert!(outcome.stderr.contains(&address.port().to_string()), "{outcome}");
    assert!(outcome.stderr.to_lowercase().contains("in use"), "{outcome}");
}

/// Full from the start, nothing is run; full later, the program's bytes are right all the same.
fn a_full_disk_under_the_capture(setting: Setting) {
    let scene = Scene::new(setting);
    let outcome = finish(&mut scene.run(&["--capture", "/dev/full"], "true"));
    assert_eq!(outcome.code(), 125, "{outcome}");
    assert!(outcome.stderr.contains("No space left on device"), "{outcome}");
    if skip_without_root("a full disk under the capture") {
        return;
    }
    let machine = Machine::new(&scene);
    let small = scene.make_directory("small");
    machine.script(&scene, "mount -t tmpfs -o size=256k,mode=777 tmpfs small");
    let loopback = scene.family.loopback();
    let listener = machine.within(move || TcpListener::bind((loopback, 0)).expect("listen"));
    let http = HttpServer::start_on(listener, None);
    let url = scene.family.url(http.port, "/data/3000000/1");
    let capture = small.join("file.pcapng").display().to_string();
    let mut curl = scene.run_in(&machine, &["--capture", &capture], "curl");
    let outcome = finish(curl.args(["-sS", "-o", "out", &url]));
    assert!(outcome.stderr.contains("No space left on device"), "{outcome}");
    assert_eq!(outcome.code(), 0, "{outcome}");
    assert_eq!(sha256_file(&scene.path("out")), Content::sha256(3_000_000, 1));
}

fn a_link_leaves_no_file(setting: Setting) {
    let scene = Scene::new(setting);
    let name = scene.unique("gone");
    let link = format!("link={name}");
    let mut idle = Running::start(scene.run(&["--net", &link], "sh").args(["-c", "echo ready; sleep 1000"]));
    idle.wait_for_text("ready");
    idle.signal(Signal::KILL);
    idle.wait();
    scene.wait_until_nothing_is_left();
    finish(scene.run(&["--net", &link], "true").arg("after a killed one")).ok();
    for directory in ["/dev/shm", "/run", "/tmp"] {
        for entry in std::fs::read_dir(directory).expect("directory").flatten() {
            assert!(!entry.file_name().to_string_lossy().contains(&name), "{:?} is left", entry.path());
        }
    }
}

fn a_tap_that_disappears(setting: Setting) {
    if skip_without_root("a TAP that disappears") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let listener = machine.within(|| TcpListener::bind(("10.0.0.5", 7000)).expect("listen"));
    let options = ["--net", "tap=tap0", "--address", "10.0.0.4/24"];
    let mut program = Running::start(scene.run_in(&machine, &options, "nc").args(["10.0.0.5", "7000"]));
    wait_until_attached(&scene, &machine);
    let _connection = listener.accept().expect("accept");
    machine.script(&scene, "ip link delete tap0");
    let outcome = program.wait();
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert!(outcome.stderr.contains("tap0"), "{outcome}");
}

fn no_permission_for_the_tun_device(setting: Setting) {
    let Some(setting) = Setting::ordinary_user(setting.family) else {
        skip_without_root("no permission for the tun device");
        return;
    };
    let scene = Scene::new(setting);
    let machine = Machine::new(&scene);
    machine.script(&scene, "mknod tun c 10 200 && chmod 600 tun && mount --bind tun /dev/net/tun");
    let outcome = finish(&mut scene.run_in(&machine, &["--net", "tap=tap0"], "true"));
    assert_eq!(outcome.code(), 125, "{outcome}");
    assert!(outcome.stderr.contains("/dev/net/tun"), "{outcome}");
    assert!(outcome.stderr.contains("ermission denied"), "{outcome}");
    // With the device open to all, what is not allowed is to make the interface.
    machine.script(&scene, "chmod 666 tun");
    let outcome = finish(&mut scene.run_in(&machine, &["--net", "tap=tap0"], "true"));
    assert_eq!(outcome.code(), 125, "{outcome}");
    assert!(outcome.stderr.contains("tap0"), "{outcome}");
}
