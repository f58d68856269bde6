//! Several interfaces, VLANs and their parents, link-local addresses only, and interfaces that change while they are in use; the kernel is at the other side.

use std::net::TcpListener;

use crate::common::content::{Content, sha256_file};
use crate::common::http::HttpServer;
use crate::common::{Family, Machine, Scene, Setting, bracketed, finish, skip_without_root};

in_both_families! {
    as_every_user: [],
    as_one_user: [
        the_kernel_is_in_a_vlan,
        the_kernel_is_in_a_vlan_within_a_vlan,
        two_taps_and_the_longest_prefix,
        a_transfer_outlives_down_up_and_other_mtus,
    ]
}

in_every_setting!(
    any,
    any_ordinary_user,
    crate::common::Family::V6,
    [what_does_not_go_together_is_refused],
    [link_local_addresses_are_enough, an_interface_is_leased_its_address_beside_another]
);

const SIZE: u64 = 2_000_000;

/// Makes the kernel's side of a TAP interface with these addresses.
fn tap(name: &str, v4: &str, v6: &str) -> String {
    format!(
        "ip tuntap add dev {name} mode tap
         echo 0 > /proc/sys/net/ipv6/conf/{name}/accept_dad
         ip addr add {v4} dev {name} && ip addr add {v6} dev {name} nodad && ip link set {name} up\n"
    )
}

/// Has the kernel put these tags on what leaves by a device, and take as many off what comes in (`push` and `pop`, for tc(8)). Not every kernel has devices for
/// VLANs; this is the same tagging.
const TAGS: &str = r#"
import ctypes, os, struct, sys

MOVE, SET, CALL, EXIT = 0xbf, 0xb7, 0x85, 0x95
PROG_LOAD, OBJ_PIN, SCHED_CLS = 5, 6, 3
VLAN_PUSH, VLAN_POP = 18, 19
libc = ctypes.CDLL(None, use_errno=True)
kept = []

def instruction(code, to=0, source=0, value=0):
    return struct.pack('<BBhi', code, to | source << 4, 0, value)

def program(calls):
    body = instruction(MOVE, 6, 1)
    for function, arguments in calls:
        body += instruction(MOVE, 1, 6)
        for register, value in enumerate(arguments, 2):
            body += instruction(SET, register, value=value)
        body += instruction(CALL, value=function)
    return body + instruction(SET) + instruction(EXIT)

def address(data):
    kept.append(ctypes.create_string_buffer(data))
    return ctypes.addressof(kept[-1])

def bpf(command, attributes):
    result = libc.syscall(321, command, ctypes.create_string_buffer(attributes, 128), 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

# Outermost first, as PROTOCOL:ID in hexadecimal and decimal.
tags = [(int(protocol, 16), int(number)) for protocol, number in (tag.split(':') for tag in sys.argv[2:])]
network_order = lambda n: n >> 8 | (n & 255) << 8
push = [(VLAN_PUSH, (network_order(protocol), number)) for protocol, number in reversed(tags)]
for name, calls in ('push', push), ('pop', [(VLAN_POP, ())] * len(tags)):
    code = program(calls)
    loaded = bpf(PROG_LOAD, struct.pack('<IIQQ', SCHED_CLS, len(code) // 8, address(code), address(b'Dual MIT/GPL')))
    bpf(OBJ_PIN, struct.pack('<QI', address(f'{sys.argv[1]}/{name}'.encode()), loaded))
"#;

fn tagged_tap(scene: &Scene, tags: &str) -> Machine {
    let machine = Machine::new(scene);
    scene.write("tags.py", TAGS);
    scene.make_directory("bpf");
    let script = format!(
        "{}
         mount -t bpf bpf bpf && python3 tags.py bpf {tags}
         tc qdisc add dev tap0 clsact
         tc filter add dev tap0 egress bpf da object-pinned bpf/push
         tc filter add dev tap0 ingress bpf da object-pinned bpf/pop",
        tap("tap0", "10.5.0.5/24", "fd05::5/64")
    );
    machine.script(scene, &script);
    machine
}

fn in_a_vlan(setting: Setting, tags: &str, interfaces: &[&str], shown: &[&str]) {
    if skip_without_root("VLANs") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = tagged_tap(&scene, tags);
    let kernels = match setting.family {
        Family::V4 => "10.5.0.5",
        Family::V6 => "fd05::5",
    };
    let http = HttpServer::start_on(machine.within(|| TcpListener::bind((kernels, 0)).expect("listen")), None);
    let url = format!("http://{}:{}/data/{SIZE}/1", bracketed(kernels.parse().expect("an address")), http.port);
    scene.write("in", Content::bytes(SIZE, 2));
    // Both ways with super-segments, and a datagram in fragments.
    let script = format!(
        "ping -c 1 -W 5 {kernels} > /dev/null && ping -c 1 -W 5 -s 20000 {kernels} > /dev/null &&
         curl -sS --max-time 30 -o out {url} && curl -sS --max-time 30 -T in {url} && echo &&
         ip -br link && ip -s link show eth0"
    );
    let options: Vec<&str> =
        ["--net", "tap=tap0", "--capture", "wire.pcapng"].into_iter().chain(interfaces.iter().copied()).collect();
    let text = finish(scene.run_in(&machine, &options, "sh").args(["-c", &script])).text();
    assert_eq!(sha256_file(&scene.path("out")), Content::sha256(SIZE, 1));
    assert!(text.starts_with(&format!("{SIZE} {}\n", Content::sha256(SIZE, 2))), "{text}");
    for name in shown {
        assert!(text.contains(name), "{name}: {text}");
    }
    // Others read the tags on the wire as we do.
    let mut tcpdump = scene.command("tcpdump");
    let vlans = if tags.contains(' ') { "vlan 100 and vlan 5" } else { "vlan 5" };
    let read = finish(tcpdump.args(["-n", "-e", "-r", "wire.pcapng", vlans])).text();
    assert!(read.lines().count() > 100, "{vlans}: {} lines", read.lines().count());
}

fn the_kernel_is_in_a_vlan(setting: Setting) {
    let options = ["--interface", "vlan=5,address=10.5.0.4/24,address=fd05::4/64"];
    in_a_vlan(setting, "8100:5", &options, &["eth0.5@eth0"]);
}

fn the_kernel_is_in_a_vlan_within_a_vlan(setting: Setting) {
    let options = [
        "--interface",
        "vlan=100,protocol=802.1ad,name=outer",
        "--interface",
        "vlan=5,parent=outer,address=10.5.0.4/24,address=fd05::4/64",
    ];
    in_a_vlan(setting, "88a8:100 8100:5", &options, &["outer@eth0", "outer.5@outer"]);
}

/// The networks of two interfaces, one within the other: each of the kernel's addresses is reached by the longest prefix, from the address that is there.
fn two_taps_and_the_longest_prefix(setting: Setting) {
    if skip_without_root("two TAPs") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = Machine::new(&scene);
    machine.script(
        &scene,
        &[tap("tap0", "10.0.0.5/16", "fd00::5/32"), tap("tap1", "10.0.1.5/24", "fd00:0:1::5/64")].concat(),
    );
    let options = [
        "--net",
        "tap=tap0",
        "--address",
        "10.0.0.4/16",
        "--address",
        "fd00::4/32",
        "--interface",
        "tap=tap1,address=10.0.1.4/24,address=fd00:0:1::4/64",
    ];
    let (near, far, ours) = match setting.family {
        Family::V4 => ("10.0.1.5", "10.0.0.5", ["10.0.1.4", "10.0.0.4"]),
        Family::V6 => ("fd00:0:1::5", "fd00::5", ["fd00:0:1::4", "fd00::4"]),
    };
    let any = if setting.family == Family::V4 { "0.0.0.0" } else { "::" };
    let http = HttpServer::start_on(machine.within(|| TcpListener::bind((any, 0)).expect("listen")), None);
    let fetch = |to: &str, out: &str| {
        let to = bracketed(to.parse().expect("an address"));
        format!("curl -sS --max-time 30 -w '%{{local_ip}}\\n' -o {out} http://{to}:{}/data/{SIZE}/1", http.port)
    };
    // The tenth number is that of the bytes that the kernel transmitted.
    let used = |card: &str| format!("awk '/{card}:/ {{print ($10 > {SIZE})}}' /proc/net/dev");
    let script = format!("{} && {}", fetch(near, "near"), fetch(far, "far"));
    let text = finish(scene.run_in(&machine, &options, "sh").args(["-c", &script])).text();
    assert_eq!(text.lines().collect::<Vec<_>>(), ours);
    for out in ["near", "far"] {
        assert_eq!(sha256_file(&scene.path(out)), Content::sha256(SIZE, 1));
    }
    for card in ["tap0", "tap1"] {
        assert_eq!(machine.script(&scene, &used(card)).trim(), "1", "{card} was used");
    }
}

/// Without any other address neighbours are reached, and nobody else.
fn link_local_addresses_are_enough(setting: Setting) {
    if skip_without_root("link-local addresses") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = Machine::new(&scene);
    machine.script(&scene, &tap("tap0", "10.0.0.5/24", "fe80::5/64"));
    let http = HttpServer::start_on(machine.within(|| TcpListener::bind(("::", 0)).expect("listen")), None);
    let script = format!(
        "ping -c 1 -W 5 fe80::5%eth0 > /dev/null &&
         curl -sS --max-time 30 -o out 'http://[fe80::5%eth0]:{}/data/{SIZE}/1' &&
         ip -br addr show eth0 && ! ping -c 1 -W 5 10.0.0.5 2>&1",
        http.port
    );
    let options = ["--net", "tap=tap0", "--address", "link-local"];
    let text = finish(scene.run_in(&machine, &options, "sh").args(["-c", &script])).text();
    assert_eq!(sha256_file(&scene.path("out")), Content::sha256(SIZE, 1));
    let addresses = text.lines().next().unwrap_or_default();
    assert!(addresses.contains("fe80::") && addresses.split_whitespace().count() == 3, "{text}");
    assert!(text.contains("Network is unreachable"), "{text}");
}

/// The gateway for the world, and a TAP beside it whose server leases an address.
fn an_interface_is_leased_its_address_beside_another(setting: Setting) {
    if skip_without_root("a DHCP lease") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = Machine::new(&scene);
    machine.script(&scene, &tap("tap0", "10.7.0.5/24", "fd07::5/64"));
    let mut command = scene.command_in(&machine, "dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]);
    command.args(["--interface=tap0", "--except-interface=lo", "--bind-interfaces", "--pid-file=", "--no-ping"]);
    command.args(["--log-facility=-", "--dhcp-authoritative", "--dhcp-range=10.7.0.50,10.7.0.50,255.255.255.0,120"]);
    command.arg(format!("--dhcp-leasefile={}", scene.path("leases").display()));
    let mut server = crate::common::process::Running::start(&mut command);
    server.wait_for_text("sockets bound exclusively to interface tap0");
    let options = ["--interface", "tap=tap0,name=lan,address=dhcp,address=fd07::4/64"];
    let script = "ip -br addr; ip route; ping -c 1 -W 5 10.7.0.5 > /dev/null && ping -c 1 -W 5 fd07::5 > /dev/null";
    let outcome = finish(scene.run_in(&machine, &options, "sh").args(["-c", script]));
    assert!(outcome.stderr.contains("--interface lan: address 10.7.0.50/24, router 10.7.0.5"), "{}", outcome.stderr);
    let text = outcome.text();
    for part in ["10.7.0.50/24", "fd07::4/64", "default via 10.0.2.2 dev eth0", "10.7.0.0/24 dev lan"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    drop(server);
}

/// While a program fetches and another sends, the interface is taken down and up, and its MTU changes.
fn a_transfer_outlives_down_up_and_other_mtus(setting: Setting) {
    if skip_without_root("an interface that changes") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = Machine::new(&scene);
    machine.script(&scene, &tap("tap0", "10.0.0.5/24", "fd00::5/64"));
    let kernels = if setting.family == Family::V4 { "10.0.0.5" } else { "fd00::5" };
    let http = HttpServer::start_on(machine.within(|| TcpListener::bind((kernels, 0)).expect("listen")), None);
    let url = format!("http://{}:{}/data/{SIZE}/1", bracketed(kernels.parse().expect("an address")), http.port);
    scene.write("in", Content::bytes(SIZE, 2));
    // Slowly, until all has changed. IPv6's address is somebody's to give again, as on Linux.
    let script = format!(
        "slowly() {{ while [ ! -e changed ]; do head -c 20000; sleep 0.05; done; cat; }}
         curl -sS --max-time 60 {url} | slowly > out & fetching=$!
         slowly < in | curl -sS --max-time 60 -T - {url} & sending=$!
         for mtu in 1300 1400 1280 1500; do
             sleep 0.4
             ip link set eth0 down; ip link set eth0 mtu $mtu
             sleep 0.1
             ip link set eth0 up; ip addr add fd00::4/64 dev eth0
             ip link show eth0 | grep -o 'mtu [0-9]*' >&2
             sleep 0.2
             ip link set eth0 mtu 1350
         done
         touch changed; wait $fetching && wait $sending"
    );
    let options = ["--net", "tap=tap0", "--address", "10.0.0.4/24", "--address", "fd00::4/64"];
    let outcome = finish(scene.run_in(&machine, &options, "sh").args(["-c", &script]));
    assert_eq!(outcome.stderr, "mtu 1300\nmtu 1400\nmtu 1280\nmtu 1500\n");
    assert_eq!(outcome.text(), format!("{SIZE} {}", Content::sha256(SIZE, 2)));
    assert_eq!(sha256_file(&scene.path("out")), Content::sha256(SIZE, 1));
}

fn what_does_not_go_together_is_refused(setting: Setting) {
    let scene = Scene::new(setting);
    for (options, why) in [
        (&["--interface", "vlan=4095"][..], "give a number from 1 to 4094"),
        (&["--interface", "vlan=5,parent=eth1"], "--interface: eth1.5: there is no eth1 before it"),
        (&["--interface", "vlan=5", "--interface", "vlan=5,name=x"], "VLAN 5 on eth0 is eth0.5 already"),
        (&["--interface", "vlan=5,name=eth0"], "there is eth0 already"),
        (
            &["--interface", "vlan=5,address=10.0.2.15/24", "--address", "10.0.2.15/24"],
            "eth0 has the address 10.0.2.15",
        ),
        (&["--interface", "vlan=5,mtu=1501"], "its MTU is at most its parent's, 1500"),
        (&["--interface", "vlan=5,mtu=1000,address=fd05::4/64"], "IPv6 needs"),
        (&["--interface", "wlan=5"], "there is no wlan"),
        (&["--address", "link-local"], "the gateway's network has its addresses"),
    ] {
        let outcome = finish(&mut scene.run(options, "true"));
        assert_eq!(outcome.code(), 125, "{options:?}: {outcome}");
        assert!(outcome.stderr.contains(why), "{options:?}: {}", outcome.stderr);
    }
}
