//! Addresses of IPv6: `--address slaac` against dnsmasq's router advertisements (RFC 4862), with name servers by RFC 8106 and by stateless
//! DHCPv6 (RFC 8415 §18.2.6); and duplicates of given ones.

use std::net::{Ipv6Addr, TcpListener};

use crate::common::content::Content;
use crate::common::http::HttpServer;
use crate::common::process::{Running, finish_within};
use crate::common::{Machine, Scene, Setting, finish, skip_without_root};

in_every_setting!(
    v6,
    v6_ordinary_user,
    crate::common::Family::V4,
    [no_router_is_told],
    [
        routers_configure_everything,
        a_temporary_address_is_preferred,
        dhcpv6_names_the_servers,
        dhcpv6_is_asked_when_routers_say_so_later,
        a_given_address_is_probed,
        both_families_at_once
    ]
);

const KERNELS: Ipv6Addr = Ipv6Addr::new(0xfd12, 3, 0, 0, 0, 0, 0, 5);
const OPTIONS: [&str; 4] = ["--net", "tap=tap0", "--address", "slaac"];

/// A machine whose side of the TAP interface has an address of IPv6, and is done with duplicate address detection.
fn machine(scene: &Scene) -> Machine {
    let machine = Machine::new(scene);
    machine.script(
        scene,
        "ip tuntap add dev tap0 mode tap
         echo 0 > /proc/sys/net/ipv6/conf/tap0/accept_dad
         ip addr add fd12:3::5/64 dev tap0 nodad && ip addr add 10.0.0.5/24 dev tap0 && ip link set tap0 up",
    );
    machine
}

fn dnsmasq(scene: &Scene, machine: &Machine, options: &[&str]) -> Running {
    let mut command = scene.command_in(machine, "dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]);
    command.args(["--interface=tap0", "--except-interface=lo", "--bind-dynamic", "--pid-file=", "--no-ping"]);
    command.args(["--log-dhcp", "--log-facility=-", "--enable-ra", "--address=/answer.test/fd12:3::5"]);
    command.arg(format!("--dhcp-leasefile={}", scene.path("leases").display()));
    let mut running = Running::start(command.args(options));
    running.wait_for_text("IPv6 router advertisement enabled");
    running
}

/// A server of content by IPv6, and the shell command that fetches 200,000 bytes of it by name and then says what the interface is like.
fn serve(machine: &Machine) -> (HttpServer, String) {
    let http = HttpServer::start_on(machine.within(|| TcpListener::bind((KERNELS, 0)).expect("listen")), None);
    let script = format!(
        "curl -sS --max-time 30 http://answer.test:{}/data/200000/5 > fetched && ip addr show eth0 && ip -6 route",
        http.port
    );
    (http, script)
}

/// What is told, and what the program has seen; what it fetched is right.
fn run(scene: &Scene, machine: &Machine, options: &[&str], script: &str) -> (String, String) {
    let outcome = finish(scene.run_in(machine, options, "sh").args(["-c", script]));
    let told = outcome.stderr.clone();
    let seen = outcome.text();
    assert!(std::fs::read(scene.path("fetched")).expect("what was fetched") == Content::bytes(200_000, 5));
    (told, seen)
}

fn routers_configure_everything(setting: Setting) {
    if skip_without_root("SLAAC") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let options = ["--dhcp-range=fd12:3::,ra-only,64,3600", "--ra-param=tap0,mtu:1400,0,1800"];
    let server = dnsmasq(&scene, &machine, &options);
    let (_http, script) = serve(&machine);
    let (told, seen) = run(&scene, &machine, &OPTIONS, &script);
    // One line: the address, the router and the name server, which is dnsmasq by its link-local address (RFC 8106).
    let words: Vec<&str> = told.trim_end().split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let ["wireway:", "address", address, "router", router, "DNS", resolver, ..] = words[..] else { panic!("{told}") };
    assert!(address.starts_with("fd12:3::") && address.ends_with("/64"), "{told}");
    assert!(router.starts_with("fe80::") && resolver == router && told.lines().count() == 1, "{told}");
    for part in [format!("inet6 {address}"), format!("default via {router} dev eth0"), "fd12:3::/64 dev eth0".into()] {
        assert!(seen.contains(&part), "{part}: {seen}");
    }
    drop(server);
}

/// The name server is not in the advertisement: it says that DHCPv6 has more to tell.
fn a_temporary_address_is_preferred(setting: Setting) {
    if skip_without_root("SLAAC") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let server = dnsmasq(&scene, &machine, &["--dhcp-range=fd12:3::,ra-only,64,3600"]);
    let (_http, script) = serve(&machine);
    // Both are made of one advertisement; whichever is probed first is told.
    let until = "until ip addr show eth0 | grep 'temporary dynamic' | grep -vq tentative; do sleep 0.1; done; ";
    let script = format!("{until}{script} && ip route get fd12:3::5");
    let (_, seen) = run(&scene, &machine, &["--net", "tap=tap0", "--address", "temporary"], &script);
    let temporary = seen.lines().find(|line| line.contains("temporary")).expect(&seen);
    let temporary = temporary.trim().trim_start_matches("inet6 ").split('/').next().expect("an address");
    assert!(seen.contains(&format!("src {temporary} ")), "{seen}");
    drop(server);
}

fn dhcpv6_names_the_servers(setting: Setting) {
    if skip_without_root("stateless DHCPv6") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let servers = ["--dhcp-option=option6:dns-server", "--dhcp-option=tag:dhcpv6,option6:dns-server,[fd12:3::5]"];
    let server = dnsmasq(&scene, &machine, &[&["--dhcp-range=fd12:3::,ra-stateless,64,3600"], &servers[..]].concat());
    let (_http, script) = serve(&machine);
    let (told, _) = run(&scene, &machine, &OPTIONS, &script);
    assert!(told.contains(", DNS fd12:3::5;"), "{told}");
    assert!(server.stderr().contains("DHCPINFORMATION-REQUEST(tap0)"), "{}", server.stderr());
    drop(server);
}

/// The link's router learns of DHCPv6 while the program runs.
fn dhcpv6_is_asked_when_routers_say_so_later(setting: Setting) {
    if skip_without_root("stateless DHCPv6") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let silent = "--dhcp-option=option6:dns-server";
    let first = dnsmasq(&scene, &machine, &["--dhcp-range=fd12:3::,ra-only,64,3600", silent]);
    let (_http, script) = serve(&machine);
    let mut program = scene.run_in(&machine, &OPTIONS, "sh");
    let script = format!("until {script}; do sleep 0.2; done");
    let mut running = Running::start(program.args(["-c", &script]));
    running.wait_for_text("no DNS; made of what routers advertise");
    drop(first);
    let servers = "--dhcp-option=tag:dhcpv6,option6:dns-server,[fd12:3::5]";
    let second = dnsmasq(&scene, &machine, &["--dhcp-range=fd12:3::,ra-stateless,64,3600", silent, servers]);
    let outcome = running.wait_within(std::time::Duration::from_secs(60));
    assert_eq!(outcome.code(), 0, "{outcome}");
    assert!(std::fs::read(scene.path("fetched")).expect("what was fetched") == Content::bytes(200_000, 5));
    assert!(second.stderr().contains("DHCPINFORMATION-REQUEST(tap0)"), "{}", second.stderr());
}

fn both_families_at_once(setting: Setting) {
    if skip_without_root("DHCP and SLAAC") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let ranges = ["--dhcp-range=fd12:3::,ra-only,64,3600", "--dhcp-range=10.0.0.50,10.0.0.60,255.255.255.0,3600"];
    let server = dnsmasq(&scene, &machine, &ranges);
    let (_http, script) = serve(&machine);
    let (told, seen) = run(&scene, &machine, &[&OPTIONS[..], &["--address", "dhcp"]].concat(), &script);
    assert_eq!(told.lines().filter(|line| line.starts_with("wireway: address ")).count(), 2, "{told}");
    assert!(seen.contains("inet 10.0.0.") && seen.contains("inet6 fd12:3::"), "{seen}");
    drop(server);
}

fn a_given_address_is_probed(setting: Setting) {
    if skip_without_root("duplicate address detection") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let options = |address| ["--net", "tap=tap0", "--address", address];
    // In use from the program's start on.
    let mut ping = scene.run_in(&machine, &options("fd12:3::4/64"), "ping");
    finish(ping.args(["-6", "-n", "-c", "1", "-W", "20", "fd12:3::5"])).ok();
    let outcome = finish(&mut scene.run_in(&machine, &options("fd12:3::5/64"), "true"));
    let told = "wireway: --address fd12:3::5: another host on the TAP interface tap0 has it\n";
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (125, told));
}

fn no_router_is_told(setting: Setting) {
    let scene = Scene::new(setting);
    let link = scene.unique("slaac");
    let mut command = scene.run(&["--net", &format!("link={link}"), "--address", "slaac"], "true");
    let outcome = finish_within(std::time::Duration::from_secs(40), &mut command);
    assert_eq!(outcome.code(), 125, "{outcome}");
    let reason = format!("wireway: no address by SLAAC: no router on the link {link} has advertised a prefix");
    assert!(outcome.stderr.starts_with(&reason) && outcome.stderr.contains("--address fd00::4/64"), "{outcome}");
}
