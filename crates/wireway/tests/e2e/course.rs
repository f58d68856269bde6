//! The course's milestones: the kernel on one side of a TAP interface, a program on our stack on the other; and the
//! course's client and server in every combination.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::common::process::Running;
use crate::common::{Family, Machine, Scene, Setting, build, finish, skip_without_root, wait_until};

in_both_families! {
    as_every_user: [
        a_tap_of_the_users_own,
        both_on_ours_over_a_link,
    ],
    as_one_user: [
        ping_gets_replies,
        the_kernel_answers_our_ping,
        handshake_with_a_kernel_server,
        our_client_and_a_kernel_server,
        a_kernel_client_and_our_server,
        a_tap_is_made_and_goes_again,
    ]
}

in_every_setting!(
    v4_alone,
    v4_alone_ordinary_user,
    crate::common::Family::V4,
    [a_link_without_addresses],
    [arping_gets_our_address],
);

pub const MAC: &str = "02:00:00:00:00:04";
const SIZES: [&str; 3] = ["4096", "131072", "1048576"];

/// The program's address on the TAP interface or the link.
pub fn ours(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.0.0.4",
        Family::V6 => "fd00::4",
    }
}

/// The address at the other end.
pub fn kernels(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.0.0.5",
        Family::V6 => "fd00::5",
    }
}

/// An address of either, with its prefix length.
pub fn on_the_link(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 64 } else { 24 })
}

/// How the program gets onto the TAP interface.
pub fn options(family: Family) -> Vec<String> {
    ["--net", "tap=tap0", "--address", &on_the_link(ours(family)), "--mac", MAC].map(str::to_owned).to_vec()
}

/// The kernel's addresses on the TAP interface, which nobody else has: it need not ask.
const KERNELS_SIDE: &str =
    "ip addr add 10.0.0.5/24 dev tap0 && ip addr add fd00::5/64 dev tap0 nodad && ip link set tap0 up";

/// A machine with the kernel's side of the TAP interface.
pub fn machine_with_tap(scene: &Scene) -> Machine {
    let machine = Machine::new(scene);
    machine.script(scene, &format!("ip tuntap add dev tap0 mode tap && {KERNELS_SIDE}"));
    machine
}

/// A program on our stack that does nothing, attached to the TAP interface with its address in use.
pub fn idle(scene: &Scene, machine: &Machine) -> Running {
    let mut idle = scene.run_in(machine, &options(scene.family), "sh");
    let mut idle = Running::start(idle.args(["-c", "echo ready; exec sleep infinity"]));
    idle.wait_for_text("ready");
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
    let text = finish(arping.args(["-c", "3", "-w", "20", "-I", "tap0", ours(setting.family)])).text();
    assert!(text.contains("Received 3 response(s)"), "{text}");
    assert_eq!(text.matches(&format!("[{}]", MAC.to_uppercase())).count(), 3, "{text}");
    // Duplicate address detection (RFC 5227): the address is taken.
    let mut probe = scene.command_in(&machine, "arping");
    let outcome = finish(probe.args(["-D", "-c", "1", "-w", "20", "-I", "tap0", ours(setting.family)]));
    assert_eq!(outcome.code(), 1, "{outcome}");
}

fn ping_gets_replies(setting: Setting) {
    if skip_without_root("ping") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let _idle = idle(&scene, &machine);
    for size in ping_sizes(setting.family) {
        ping_three(scene.command_in(&machine, "ping"), &size, ours(setting.family));
    }
}

fn the_kernel_answers_our_ping(setting: Setting) {
    if skip_without_root("our ping") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    for size in ping_sizes(setting.family) {
        let ping = scene.run_in(&machine, &options(setting.family), "ping");
        ping_three(ping, &size, kernels(setting.family));
    }
}

/// The smallest, those around one packet, and the largest there is.
fn ping_sizes(family: Family) -> [String; 7] {
    let (one_packet, largest) = match family {
        Family::V4 => (1472, 65_507),
        Family::V6 => (1452, 65_527),
    };
    [0, 1, 56, one_packet, one_packet + 1, 4000, largest].map(|size| size.to_string())
}

/// The payload is a pattern, which ping compares.
pub fn ping_three(mut ping: Command, size: &str, address: &str) {
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
    let listener = machine.within(|| TcpListener::bind((kernels(setting.family), 43211)).expect("listen"));
    let capture = scene.path("handshake.pcapng");
    let mut options = options(setting.family);
    options.extend(["--capture".to_owned(), capture.display().to_string()]);
    let (ours, kernels) = (ours(setting.family), kernels(setting.family));
    finish(scene.run_in(&machine, &options, "nc").args(["-z", kernels, "43211"])).ok();
    let (_, from) = listener.accept().expect("accept");
    assert_eq!(from.ip().to_string(), ours);

    let mut tcpdump = scene.command("tcpdump");
    let shown = finish(tcpdump.args(["-n", "-t", "-r"]).arg(&capture).arg("tcp")).text();
    let (ip, mss) = match setting.family {
        Family::V4 => ("IP", 1460),
        Family::V6 => ("IP6", 1440),
    };
    let (us, kernel) = (format!("{ip} {ours}.{}", from.port()), format!("{ip} {kernels}.43211"));
    let lines: Vec<&str> = shown.lines().collect();
    // Our SYN carries the options of Linux's, in its order.
    assert!(lines[0].starts_with(&us) && lines[0].contains("Flags [S],"), "{shown}");
    assert!(
        lines[0].contains(&format!("options [mss {mss},sackOK,TS val ")) && lines[0].contains(",wscale "),
        "{shown}"
    );
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
    let kernels = kernels(setting.family);
    for size in SIZES {
        let mut server = scene.command_in(&machine, &server);
        let mut server = Running::start(server.args(["-a", kernels, "-n", size, "-c", "3"]));
        server.wait_for_text("listening");
        let client = scene.run_in(&machine, &options(setting.family), &client);
        three_rounds(client, kernels, size);
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
    let ours = ours(setting.family);
    for size in SIZES {
        let mut server = scene.run_in(&machine, &options(setting.family), &server);
        let mut server = Running::start(server.args(["-a", ours, "-n", size, "-c", "3"]));
        server.wait_for_text("listening");
        let client = scene.command_in(&machine, &client);
        three_rounds(client, ours, size);
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
    let mut idle = scene.run_in(&machine, &options(setting.family), "sleep");
    let mut idle = Running::start(idle.arg("infinity"));
    let exists = || {
        let mut show = scene.command_in(&machine, "ip");
        finish(show.args(["link", "show", "tap0"])).status.success()
    };
    wait_until("the TAP interface is there", exists);
    wait_until_attached(&scene, &machine);
    // The kernel's side has got the address beside ours, and uses it once it knows that nobody else has it.
    wait_until("the kernel's address is there", || {
        let addresses = machine.script(&scene, "ip addr show tap0");
        let mut lines = addresses.lines();
        lines.any(|line| line.contains(kernels(setting.family)) && !line.contains("tentative"))
    });
    ping_three(scene.command_in(&machine, "ping"), "56", ours(setting.family));
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
    let device = "mknod tun c 10 200 && chmod 666 tun && mount --bind tun /dev/net/tun
        ip tuntap add dev tap0 mode tap user 65534";
    machine.script(&scene, &format!("{device}\n{KERNELS_SIDE}"));
    let (client, server) = build::course(&scene, false);
    let kernels = kernels(setting.family);
    let mut server = scene.command_in(&machine, &server);
    let mut server = Running::start(server.args(["-a", kernels, "-n", "131072", "-c", "3"]));
    server.wait_for_text("listening");
    three_rounds(scene.run_in(&machine, &options(setting.family), &client), kernels, "131072");
    server.wait().ok();
}

fn both_on_ours_over_a_link(setting: Setting) {
    let scene = Scene::new(setting);
    let (client, server) = build::course(&scene, false);
    let link = format!("link={}", scene.unique("course"));
    let end = |address: &str, program: &Path| scene.run(&["--net", &link, "--address", &on_the_link(address)], program);
    let (first, second) = (ours(setting.family), kernels(setting.family));
    for size in SIZES {
        let mut server = Running::start(end(first, &server).args(["-a", first, "-n", size, "-c", "3"]));
        server.wait_for_text("listening");
        three_rounds(end(second, &client), first, size);
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
