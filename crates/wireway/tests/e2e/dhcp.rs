//! `--address dhcp` against dnsmasq, and against the gateway's own server: RFC 2131 from lease to expiry.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::common::content::Content;
use crate::common::http::HttpServer;
use crate::common::process::{Running, finish_within};
use crate::common::{Machine, Scene, Setting, finish, skip_without_root, wait_until};
use crate::course::machine_with_tap;

in_every_setting!(
    v4,
    v4_ordinary_user,
    crate::common::Family::V4,
    [the_gateway_leases_the_usual_address, nobody_answers,],
    [
        a_lease_configures_everything,
        a_router_that_is_elsewhere_is_warned_of,
        a_lease_is_renewed_and_given_back,
        a_server_with_another_range_gives_another_address,
        an_address_that_is_in_use_is_declined,
        without_a_server_the_address_is_given_up
    ]
);

const KERNELS: &str = "10.0.0.5";
const OPTIONS: [&str; 4] = ["--net", "tap=tap0", "--address", "dhcp"];
const TOLD: &str = "wireway: address 10.0.0.50/24, router 10.0.0.5, DNS 10.0.0.5; leased for 120 s by 10.0.0.5\n";

/// dnsmasq on the kernel's side of the TAP interface, with this range and T1 and T2 in seconds (a lease is two minutes at least).
fn dnsmasq(scene: &Scene, machine: &Machine, range: &str, t1: u32, t2: u32, more: &[&str]) -> Running {
    let mut command = scene.command_in(machine, "dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]);
    command.args(["--interface=tap0", "--except-interface=lo", "--bind-interfaces", "--pid-file="]);
    command.args(["--log-dhcp", "--log-facility=-", "--no-ping", "--dhcp-authoritative", "--dhcp-sequential-ip"]);
    command.arg(format!("--dhcp-leasefile={}", scene.path(&format!("leases-{range}")).display()));
    command.arg(format!("--dhcp-range={range},255.255.255.0,120"));
    command.args([format!("--dhcp-option=58,{t1}"), format!("--dhcp-option=59,{t2}")]);
    let mut running = Running::start(command.args(more));
    running.wait_for_text("sockets bound exclusively to interface tap0");
    running
}

/// How often dnsmasq has said this.
fn said(dnsmasq: &Running, what: &str) -> usize {
    dnsmasq.stderr().matches(what).count()
}

fn end(mut dnsmasq: Running) {
    dnsmasq.signal(Signal::TERM);
    dnsmasq.wait();
}

fn a_lease_configures_everything(setting: Setting) {
    if skip_without_root("a DHCP lease") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let more = ["--dhcp-option=26,1400", "--address=/answer.test/10.0.0.5"];
    let server = dnsmasq(&scene, &machine, "10.0.0.50,10.0.0.60", 60, 105, &more);
    let http = HttpServer::start_on(machine.within(|| TcpListener::bind((KERNELS, 0)).expect("listen")), None);
    // By name: whatever server the machine's resolv.conf names, the one of the lease answers.
    let url = format!("http://answer.test:{}/data/200000/5", http.port);
    let mut curl = scene.run_in(&machine, &OPTIONS, "curl");
    let outcome = finish(curl.args(["-sS", "--max-time", "30", &url]));
    assert_eq!(outcome.stderr, TOLD);
    assert!(outcome.ok() == Content::bytes(200_000, 5), "what was fetched");
    wait_until("the address is given back", || said(&server, "DHCPRELEASE(tap0) 10.0.0.50") == 1);

    let mut shell = scene.run_in(&machine, &OPTIONS, "sh");
    let shown = finish(shell.args(["-c", "ip addr show eth0; ip route"])).text();
    for part in ["mtu 1400", "inet 10.0.0.50/24", "default via 10.0.0.5 dev eth0", "10.0.0.0/24 dev eth0"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    end(server);
}

fn a_router_that_is_elsewhere_is_warned_of(setting: Setting) {
    if skip_without_root("a DHCP router") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let server = dnsmasq(&scene, &machine, "10.0.0.50,10.0.0.60", 60, 105, &["--dhcp-option=3,192.0.2.1"]);
    let outcome = finish(scene.run_in(&machine, &OPTIONS, "ip").args(["route"]));
    let warning =
        "wireway: warning: the router 192.0.2.1 is not on the network of 10.0.0.50/24: there is no route beyond it\n";
    assert!(outcome.stderr.ends_with(warning), "{}", outcome.stderr);
    end(server);
}

fn a_lease_is_renewed_and_given_back(setting: Setting) {
    if skip_without_root("DHCP renewals") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let server = dnsmasq(&scene, &machine, "10.0.0.50,10.0.0.60", 1, 3, &[]);
    let mut idle = Running::start(scene.run_in(&machine, &OPTIONS, "sleep").arg("infinity"));
    idle.wait_for_text("wireway: address");
    let before = said(&server, "DHCPACK");
    wait_until("three renewals", || said(&server, "DHCPACK(tap0) 10.0.0.50") >= before + 3);
    assert_eq!(said(&server, "DHCPDISCOVER"), 1, "{}", server.stderr());
    let mut ping = scene.command_in(&machine, "ping");
    finish(ping.args(["-n", "-c", "1", "-W", "20", "10.0.0.50"])).ok();
    idle.signal(Signal::TERM);
    let outcome = idle.wait();
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (128 + 15, TOLD), "nothing is told of renewals");
    wait_until("the address is given back", || said(&server, "DHCPRELEASE(tap0) 10.0.0.50") == 1);
    end(server);
}

fn a_server_with_another_range_gives_another_address(setting: Setting) {
    if skip_without_root("a DHCP refusal") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let server = dnsmasq(&scene, &machine, "10.0.0.50,10.0.0.60", 8, 16, &[]);
    let mut idle = Running::start(scene.run_in(&machine, &OPTIONS, "sleep").arg("infinity"));
    idle.wait_for_text("wireway: address 10.0.0.50/24");
    end(server);
    let server = dnsmasq(&scene, &machine, "10.0.0.70,10.0.0.80", 60, 105, &[]);
    idle.wait_for_text("wireway: the DHCP server refuses 10.0.0.50");
    idle.wait_for_text("wireway: address 10.0.0.70/24");
    let mut ping = scene.command_in(&machine, "ping");
    finish(ping.args(["-n", "-c", "1", "-W", "20", "10.0.0.70"])).ok();
    let mut ping = scene.command_in(&machine, "ping");
    assert_eq!(finish(ping.args(["-n", "-c", "1", "-W", "1", "10.0.0.50"])).code(), 1, "the old address is gone");
    drop(idle);
    end(server);
}

fn an_address_that_is_in_use_is_declined(setting: Setting) {
    if skip_without_root("a DHCP conflict") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    // The kernel answers ARP for all its addresses by every interface.
    machine.script(&scene, "ip addr add 10.0.0.50/32 dev lo");
    let server = dnsmasq(&scene, &machine, "10.0.0.50,10.0.0.60", 60, 105, &[]);
    let mut show = scene.run_in(&machine, &OPTIONS, "ip");
    let outcome = finish(show.args(["addr", "show", "eth0"]));
    assert!(outcome.stderr.contains("wireway: 10.0.0.50 is another host's"), "{outcome}");
    assert_eq!(said(&server, "DHCPDECLINE(tap0) 10.0.0.50"), 1, "{}", server.stderr());
    assert!(outcome.text().contains("inet 10.0.0.51/24"));
    end(server);
}

/// With T1 at 1 and T2 at 3 seconds; the lease lasts two minutes.
fn without_a_server_the_address_is_given_up(setting: Setting) {
    if skip_without_root("a DHCP expiry") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let server = dnsmasq(&scene, &machine, "10.0.0.50,10.0.0.60", 2, 4, &[]);
    let capture = scene.path("expiry.pcapng");
    let options = [&OPTIONS[..], &["--capture", capture.to_str().expect("UTF-8")]].concat();
    let mut waiting = scene.run_in(&machine, &options, "sh");
    let script = "while ip addr show eth0 | grep -q 'inet 10'; do sleep 0.2; done; ip route; echo gone";
    let mut waiting = Running::start(waiting.args(["-c", script]));
    waiting.wait_for_text("wireway: address 10.0.0.50/24");
    end(server);
    let outcome = waiting.wait_within(std::time::Duration::from_secs(200));
    let expiry = "wireway: nobody has renewed the lease of 10.0.0.50: it is no longer ours, and another is asked for\n";
    assert_eq!(outcome.stderr, [TOLD, expiry].concat());
    assert_eq!(outcome.text(), "gone", "neither address nor route");

    let mut tcpdump = scene.command("tcpdump");
    let shown = finish(tcpdump.args(["-n", "-tt", "-r"]).arg(&capture).arg("udp src port 68")).text();
    let sent: Vec<(f64, &str)> = shown.lines().filter_map(|line| line.split_once(" IP ")).map(at).collect();
    let is = |who: &'static str| move |(_, what): &&(f64, &str)| what.starts_with(who);
    let renewing = sent.iter().rfind(is("10.0.0.50.68 > 10.0.0.5.67")).expect("renews by unicast");
    let rebinding = sent.iter().find(is("10.0.0.50.68 > 255.255.255.255.67")).expect("rebinds by broadcast");
    let anew = sent.iter().rfind(is("0.0.0.0.68 > 255.255.255.255.67")).expect("looks for another");
    assert!(renewing.0 < rebinding.0 && rebinding.0 < anew.0, "{shown}");
    assert!(anew.0 - renewing.0 > 100.0, "not before the lease ends: {shown}");
}

fn at<'a>((time, what): (&str, &'a str)) -> (f64, &'a str) {
    (time.parse().expect("seconds"), what)
}

fn the_gateway_leases_the_usual_address(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let mut curl = scene.run(&["--address", "dhcp"], "curl");
    let outcome = finish(curl.args(["-sS", &scene.family.url(http.port, "/data/100000/3")]));
    let told = "wireway: address 10.0.2.15/24, router 10.0.2.2, DNS 10.0.2.3; leased for 86400 s by 10.0.2.2\n";
    assert_eq!(outcome.stderr, told);
    assert!(outcome.ok() == Content::bytes(100_000, 3), "what was fetched");
}

fn nobody_answers(setting: Setting) {
    let scene = Scene::new(setting);
    let link = scene.unique("dhcp");
    let mut command = scene.run(&["--net", &format!("link={link}"), "--address", "dhcp"], "true");
    let outcome = finish_within(std::time::Duration::from_secs(40), &mut command);
    assert_eq!(outcome.code(), 125, "{outcome}");
    let reason = format!("wireway: no address by DHCP: no server on the link {link} has answered");
    assert!(outcome.stderr.starts_with(&reason) && outcome.stderr.contains("--address 10.0.0.4/24"), "{outcome}");
}
