//! What only IPv6 has, against the kernel: duplicate address detection, unreachable neighbours, redirects.

use std::io::Write;
use std::process::Stdio;

use crate::common::process::Running;
use crate::common::{Machine, Scene, Setting, finish, skip_without_root, wait_until};
use crate::course::{MAC, idle, kernels, machine_with_tap, options, ours};

in_every_setting!(
    v6,
    v6_ordinary_user,
    crate::common::Family::V6,
    [a_duplicate_on_the_link_is_refused],
    [
        a_duplicate_of_the_kernels_is_refused,
        the_kernel_finds_that_its_address_is_ours,
        a_neighbour_with_another_hardware_address_is_found_again,
        a_redirect_is_followed,
    ]
);

fn a_duplicate_of_the_kernels_is_refused(setting: Setting) {
    if skip_without_root("a duplicate address") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    machine.script(&scene, "ip addr add fd00::4/64 dev tap0 nodad");
    let mut run = scene.run_in(&machine, &options(setting.family), "echo");
    refused(run.arg("started"), "the TAP interface tap0");
}

fn refused(run: &mut std::process::Command, network: &str) {
    let outcome = finish(run);
    assert_eq!((outcome.code(), outcome.text_of_stdout().as_str()), (125, ""), "{outcome}");
    let told = format!("wireway: --address fd00::4: another host on {network} has it");
    assert!(outcome.stderr.contains(&told), "{outcome}");
}

/// Of two on one link that want the same address, the first has it.
fn a_duplicate_on_the_link_is_refused(setting: Setting) {
    let scene = Scene::new(setting);
    let link = scene.unique("twice");
    let options = ["--net", &format!("link={link}"), "--address", "fd00::4/64"];
    let mut first = Running::start(scene.run(&options, "sh").args(["-c", "echo ready; exec sleep infinity"]));
    first.wait_for_text("ready");
    refused(scene.run(&options, "echo").arg("started"), &format!("the link {link}"));
}

fn the_kernel_finds_that_its_address_is_ours(setting: Setting) {
    if skip_without_root("a duplicate of ours") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let _idle = idle(&scene, &machine);
    machine.script(&scene, "ip addr add fd00::4/64 dev tap0");
    wait_until("the kernel's address is a duplicate", || {
        let addresses = machine.script(&scene, "ip -6 addr show dev tap0");
        addresses.lines().any(|line| line.contains("fd00::4/64") && line.contains("dadfailed"))
    });
}

/// A router advertisement (RFC 4861 §4.2) of no router, by which neighbours are reachable for a second.
const ADVERTISE: &str = "
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.sendto(struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 0, 1000, 200), ('ff02::1', 0, 0, socket.if_nametoindex('tap0')))
";

/// Asks ten times a second, once it was told to begin, and counts the answers.
const ASK: &str = "
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7007))
s.settimeout(0.1)
sys.stdin.readline()
answers = 0
while True:
    s.send(b'question')
    try:
        s.recv(100)
        answers += 1
        print('answers:', answers, flush=True)
        s.recv(100)
    except TimeoutError:
        pass
";

const ANSWER: &str = "
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7007))
print('ready', flush=True)
while True:
    data, peer = s.recvfrom(100)
    s.sendto(data, peer)
";

/// The kernel changes its hardware address and tells nobody: unreachability detection has to find out (RFC 4861 §7.3).
fn a_neighbour_with_another_hardware_address_is_found_again(setting: Setting) {
    if skip_without_root("neighbour unreachability detection") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let mut answer = scene.command_in(&machine, "python3");
    let mut answer = Running::start(answer.args(["-c", ANSWER, kernels(setting.family)]));
    answer.wait_for_text("ready");
    let mut ask = scene.run_in(&machine, &options(setting.family), "sh");
    ask.args(["-c", "echo started; exec python3 -c \"$0\" $1", ASK, kernels(setting.family)]);
    let mut ask = Running::start_with(&mut ask, Stdio::piped());
    ask.wait_for_text("started");
    wait_until("the kernel has a link-local address", || {
        let addresses = machine.script(&scene, "ip -6 addr show dev tap0 scope link");
        addresses.contains("fe80::") && !addresses.contains("tentative")
    });
    finish(scene.command_in(&machine, "python3").args(["-c", ADVERTISE])).ok();
    ask.take_stdin().write_all(b"begin\n").expect("write");
    ask.wait_for_text("answers: 10\n");
    // The kernel need not ask for ours, by which we would learn its new one.
    let change = format!(
        "ip link set tap0 address 02:00:00:00:00:77
         ip neigh replace {} lladdr {MAC} dev tap0 nud permanent",
        ours(setting.family)
    );
    machine.script(&scene, &change);
    let answers = String::from_utf8_lossy(&ask.stdout()).lines().count();
    ask.wait_for_text(&format!("answers: {}\n", answers + 20));
}

/// The router knows a better first hop on the same link, and says so once (RFC 4861 §8).
fn a_redirect_is_followed(setting: Setting) {
    if skip_without_root("a redirect") {
        return;
    }
    let scene = Scene::new(setting);
    let (router, better) = (Machine::new(&scene), Machine::new(&scene));
    better.script(&scene, "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
    let script = format!(
        "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
         echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
         ip tuntap add dev tap0 mode tap
         ip link add bridge0 address 02:00:00:00:00:05 type bridge
         ip link add port0 type veth peer name eth0 address 02:00:00:00:00:06 netns {}
         for port in tap0 port0; do ip link set $port master bridge0; ip link set $port up; done
         ip addr add fd00::5/64 dev bridge0 nodad && ip addr add fe80::5/64 dev bridge0 nodad && ip link set bridge0 up
         ip -6 route add fd03::/64 via fe80::6 dev bridge0",
        better.pid()
    );
    router.script(&scene, &script);
    better.script(
        &scene,
        "ip addr add fd00::6/64 dev eth0 nodad && ip addr add fe80::6/64 dev eth0 nodad && ip link set eth0 up
         ip addr add fd03::1/128 dev lo",
    );
    let capture = scene.path("redirect.pcapng");
    let more = ["--gateway", "fe80::5", "--capture", capture.to_str().expect("UTF-8")].map(str::to_owned);
    let options = [options(setting.family), more.to_vec()].concat();
    let mut ping = scene.run_in(&router, &options, "ping");
    let text = finish(ping.args(["-n", "-c", "4", "-i", "0.3", "-W", "5", "fd03::1"])).text();
    assert!(text.contains("4 packets transmitted, 4 received"), "{text}");
    let show =
        |filter: &str| finish(scene.command("tcpdump").args(["-n", "-e", "-r"]).arg(&capture).arg(filter)).text();
    let requests = show("icmp6 and ip6[40] == 128 and dst fd03::1");
    let hops: Vec<bool> = requests.lines().map(|line| line.contains(" > 02:00:00:00:00:06,")).collect();
    assert!(hops.first() == Some(&false) && hops.last() == Some(&true), "{requests}");
    assert_eq!(show("icmp6 and ip6[40] == 137").lines().count(), 1, "one redirect is enough");
}
