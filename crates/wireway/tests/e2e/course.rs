//! The course's milestones: the kernel on one side of a TAP interface, a program on our stack on the other; and the
//! course's client and server in every combination.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::common::process::Running;
use crate::common::{Machine, Scene, Setting, build, finish, skip_without_root, wait_until};

in_every_setting! {
    as_every_user: [
        a_tap_of_the_users_own,
        both_on_ours_over_a_link,
        a_link_without_addresses,
    ],
    as_one_user: [
        arping_gets_our_address,
        ping_gets_replies,
        the_kernel_answers_our_ping,
        handshake_with_a_kernel_server,
        our_client_and_a_kernel_server,
        a_kernel_client_and_our_server,
        a_tap_is_made_and_goes_again,
    ]
}

const OURS: &str = "10.0.0.4";
const KERNELS: &str = "10.0.0.5";
const MAC: &str = "02:00:00:00:00:04";
const SIZES: [&str; 3] = ["4096", "131072", "1048576"];
const OPTIONS: [&str; 6] = ["--net", "tap=tap0", "--address", "10.0.0.4/24", "--mac", MAC];

/// A machine with the kernel's side of the TAP interface.
pub fn machine_with_tap(scene: &Scene) -> Machine {
    let machine = Machine::new(scene);
    machine.script(scene, "ip tuntap add dev tap0 mode tap && ip addr add 10.0.0.5/24 dev tap0 && ip link set tap0 up");
    machine
}

/// `sleep` on our stack, attached to the TAP interface.
fn idle(scene: &Scene, machine: &Machine) -> Running {
    let idle = Running::start(scene.run_in(machine, &OPTIONS, "sleep").arg("infinity"));
    wait_until_attached(scene, machine);
    idle
}

pub fn wait_until_attached(scene: &Scene, machine: &Machine) {
    wait_until("the TAP interface has a carrier", || {
        let mut link = scene.command_in(machine, "ip");
        let shown = finish(link.args(["link", "show", "tap0"]));
        String::from_utf8_lossy(&shown.stdout).contains("LOWER_UP")
    });
}

fn arping_gets_our_address(setting: Setting) {
    if skip_without_root("arping") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let _idle = idle(&scene, &machine);
    let mut arping = scene.command_in(&machine, "arping");
    let text = finish(arping.args(["-c", "3", "-w", "20", "-I", "tap0", OURS])).text();
    assert!(text.contains("Received 3 response(s)"), "{text}");
    assert_eq!(text.matches(&format!("[{}]", MAC.to_uppercase())).count(), 3, "{text}");
    // Duplicate address detection (RFC 5227): the address is taken.
    let mut probe = scene.command_in(&machine, "arping");
    let outcome = finish(probe.args(["-D", "-c", "1", "-w", "20", "-I", "tap0", OURS]));
    assert_eq!(outcome.code(), 1, "{outcome}");
}

fn ping_gets_replies(setting: Setting) {
    if skip_without_root("ping") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let _idle = idle(&scene, &machine);
    for size in ["0", "1", "56", "1472", "1473", "4000", "65507"] {
        let ping = scene.command_in(&machine, "ping");
        ping_three(ping, size, OURS);
    }
}

fn the_kernel_answers_our_ping(setting: Setting) {
    if skip_without_root("our ping") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    for size in ["0", "56", "1472", "4000"] {
        let ping = scene.run_in(&machine, &OPTIONS, "ping");
        ping_three(ping, size, KERNELS);
    }
}

/// The payload is a pattern, which ping compares.
fn ping_three(mut ping: Command, size: &str, address: &str) {
    ping.args(["-n", "-c", "3", "-i", "0.2", "-W", "5", "-p", "a5c31e", "-s", size, address]);
    let text = finish(&mut ping).text();
    assert!(text.contains("3 packets transmitted, 3 received, 0% packet loss"), "{text}");
    assert!(!text.contains("wrong data"), "{text}");
}

fn handshake_with_a_kernel_server(setting: Setting) {
    if skip_without_root("handshake") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let listener = machine.within(|| TcpListener::bind((KERNELS, 43211)).expect("listen"));
    let capture = scene.path("handshake.pcapng");
    let options = [&OPTIONS[..], &["--capture", capture.to_str().expect("UTF-8")]].concat();
    finish(scene.run_in(&machine, &options, "nc").args(["-z", KERNELS, "43211"])).ok();
    let (_, from) = listener.accept().expect("accept");
    assert_eq!(from.ip().to_string(), OURS);

    let mut tcpdump = scene.command("tcpdump");
    let shown = finish(tcpdump.args(["-n", "-t", "-r"]).arg(&capture).arg("tcp")).text();
    let (us, kernel) = (format!("IP {OURS}.{}", from.port()), format!("IP {KERNELS}.43211"));
    let lines: Vec<&str> = shown.lines().collect();
    // Our SYN carries the options of Linux's, in its order.
    assert!(lines[0].starts_with(&us) && lines[0].contains("Flags [S],"), "{shown}");
    assert!(lines[0].contains("options [mss 1460,sackOK,TS val ") && lines[0].contains(",wscale "), "{shown}");
    assert!(lines[1].starts_with(&kernel) && lines[1].contains("Flags [S.],"), "{shown}");
    assert!(lines[2].starts_with(&us) && lines[2].contains("Flags [.], ack 1,"), "{shown}");
}

fn our_client_and_a_kernel_server(setting: Setting) {
    if skip_without_root("our client and a kernel server") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let (client, server) = build::course(&scene, false);
    for size in SIZES {
        let mut server = Running::start(scene.command_in(&machine, &server).args(["-n", size, "-c", "3"]));
        server.wait_for_text("listening");
        let client = scene.run_in(&machine, &OPTIONS, &client);
        three_rounds(client, KERNELS, size);
        server.wait().ok();
    }
}

fn a_kernel_client_and_our_server(setting: Setting) {
    if skip_without_root("a kernel client and our server") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let (client, server) = build::course(&scene, false);
    for size in SIZES {
        let mut server = scene.run_in(&machine, &OPTIONS, &server);
        let mut server = Running::start(server.args(["-a", OURS, "-n", size, "-c", "3"]));
        server.wait_for_text("listening");
        let client = scene.command_in(&machine, &client);
        three_rounds(client, OURS, size);
        server.wait().ok();
    }
}

fn three_rounds(mut client: Command, address: &str, size: &str) {
    let text = finish(client.args(["-a", address, "-n", size, "-c", "3"])).text();
    assert_eq!(text.matches(&format!("{size} bytes sent, received and equal")).count(), 3, "{text}");
}

fn a_tap_is_made_and_goes_again(setting: Setting) {
    if skip_without_root("a TAP is made") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = Machine::new(&scene);
    let mut idle = Running::start(scene.run_in(&machine, &OPTIONS, "sleep").arg("infinity"));
    let exists = || {
        let mut show = scene.command_in(&machine, "ip");
        finish(show.args(["link", "show", "tap0"])).status.success()
    };
    wait_until("the TAP interface is there", exists);
    wait_until_attached(&scene, &machine);
    // The kernel's side has got the address beside ours.
    ping_three(scene.command_in(&machine, "ping"), "56", OURS);
    idle.signal(rustix::process::Signal::TERM);
    assert_eq!(idle.wait().code(), 128 + 15);
    wait_until("the TAP interface is gone", || !exists());
}

/// An interface that is the user's, and /dev/net/tun open to all, as it is on most machines.
fn a_tap_of_the_users_own(setting: Setting) {
    if skip_without_root("a TAP of the user's own") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = Machine::new(&scene);
    machine.script(
        &scene,
        "mknod tun c 10 200 && chmod 666 tun && mount --bind tun /dev/net/tun
         ip tuntap add dev tap0 mode tap user 65534
         ip addr add 10.0.0.5/24 dev tap0 && ip link set tap0 up",
    );
    let (client, server) = build::course(&scene, false);
    let mut server = Running::start(scene.command_in(&machine, &server).args(["-n", "131072", "-c", "3"]));
    server.wait_for_text("listening");
    three_rounds(scene.run_in(&machine, &OPTIONS, &client), KERNELS, "131072");
    server.wait().ok();
}

fn both_on_ours_over_a_link(setting: Setting) {
    let scene = Scene::new(setting);
    let (client, server) = build::course(&scene, false);
    let link = format!("link={}", scene.unique("course"));
    let end = |address: &str, program: &Path| scene.run(&["--net", &link, "--address", address], program);
    for size in SIZES {
        let mut server = end("10.0.0.4/24", &server);
        let mut server = Running::start(server.args(["-a", OURS, "-n", size, "-c", "3"]));
        server.wait_for_text("listening");
        three_rounds(end("10.0.0.5/24", &client), OURS, size);
        server.wait().ok();
    }
}

/// The first end is .1, the second .2.
fn a_link_without_addresses(setting: Setting) {
    let scene = Scene::new(setting);
    let (client, server) = build::course(&scene, false);
    let link = format!("link={}", scene.unique("course"));
    let mut server = Running::start(scene.run(&["--net", &link], &server).args(["-n", "1048576", "-c", "3"]));
    server.wait_for_text("listening");
    three_rounds(scene.run(&["--net", &link], &client), "10.0.3.1", "1048576");
    server.wait().ok();
}
