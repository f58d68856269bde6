//! Name look-ups through the gateway, to a DNS server of the tests' own: in a machine whose resolv.conf names it.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::common::content::Content;
use crate::common::dns::{ANSWER, DnsServer, large_text};
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Machine, Scene, Setting, build, finish, skip_without_root, wait_until};

const NONE: [&str; 0] = [];

in_every_setting! {
    as_every_user: [
        dig_asks_the_gateway,
        dig_asks_the_resolver_that_the_machine_names,
        another_resolver_that_the_machine_names_later_is_asked,
        large_answers_come_over_tcp,
        the_c_library_looks_up_both_ways,
        curl_fetches_by_name,
        go_fetches_by_name,
        a_name_that_does_not_exist_is_said_so,
        a_server_that_is_silent_is_given_up,
    ],
    as_one_user: []
}

/// A machine whose resolver is a server of ours, at an address of its loopback.
struct Resolved {
    server: DnsServer,
    machine: Machine,
    scene: Scene,
}

impl Resolved {
    fn new(setting: Setting, resolver: Ipv4Addr) -> Option<Resolved> {
        if skip_without_root("dns") {
            return None;
        }
        let scene = Scene::new(setting);
        let machine = Machine::new(&scene);
        scene.write("resolv.conf", format!("nameserver {resolver}\noptions timeout:20 attempts:1\n"));
        scene.write("nsswitch.conf", "hosts: files dns\n");
        machine
            .script(&scene, "for f in resolv nsswitch; do mount --bind $f.conf \"$(realpath -m /etc/$f.conf)\"; done");
        let gateway = scene.family.gateway();
        let server = machine.within(move || DnsServer::bind((IpAddr::from(resolver), 53).into(), gateway));
        Some(Resolved { server, machine, scene })
    }

    /// `wireway run -- PROGRAM` there.
    fn run(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.scene.run_in(&self.machine, &NONE, program)
    }

    fn http(&self) -> HttpServer {
        let loopback = self.scene.family.loopback();
        let listener = self.machine.within(move || std::net::TcpListener::bind((loopback, 0)).expect("listen"));
        HttpServer::start_on(listener, None)
    }
}

fn dig_asks_the_gateway(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::LOCALHOST) else { return };
    let answer = finish(resolved.run("dig").args(["+short", "@10.0.2.3", "answer.test"])).text();
    assert_eq!(answer, ANSWER.to_string());
    let name = finish(resolved.run("dig").args(["+short", "@10.0.2.3", "-x", &ANSWER.to_string()])).text();
    assert_eq!(name, "answer.test.");
    assert_eq!(resolved.server.queries(), 2);
}

fn dig_asks_the_resolver_that_the_machine_names(setting: Setting) {
    for resolver in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 53)] {
        let Some(resolved) = Resolved::new(setting, resolver) else { return };
        let answer = finish(resolved.run("dig").args(["answer.test"])).text();
        assert!(answer.contains(&format!("\tA\t{ANSWER}\n")), "{answer}");
        assert!(answer.contains(&format!("SERVER: {resolver}#53")), "{answer}");
    }
}

/// The machine moves to another network while a program runs.
fn another_resolver_that_the_machine_names_later_is_asked(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::LOCALHOST) else { return };
    let gateway = resolved.scene.family.gateway();
    let later = Ipv4Addr::new(127, 0, 0, 99);
    let server = resolved.machine.within(move || DnsServer::bind((IpAddr::from(later), 53).into(), gateway));
    // By the gateway's address for DNS, and by the one that the file names.
    for server_asked in ["@10.0.2.3", ""] {
        let (before, asked) = (resolved.server.queries(), server.queries());
        resolved.scene.write("resolv.conf", "nameserver 127.0.0.1\n");
        let script =
            format!("until [ -e stop ]; do dig {server_asked} +short +tries=1 +time=1 answer.test >>out; done");
        let mut digs = Running::start(resolved.run("sh").args(["-c", &script]));
        wait_until("the first server is asked", || resolved.server.queries() > before);
        assert_eq!(server.queries(), asked);
        resolved.scene.write("resolv.conf", format!("nameserver {later}\n"));
        wait_until("the second server is asked", || server.queries() > asked);
        resolved.scene.write("stop", "");
        digs.wait().ok();
        std::fs::remove_file(resolved.scene.path("stop")).expect("remove");
    }
    let answers = std::fs::read_to_string(resolved.scene.path("out")).expect("answers");
    assert!(answers.lines().any(|line| line == ANSWER.to_string()), "{answers}");
}

fn large_answers_come_over_tcp(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::new(127, 0, 0, 53)) else { return };
    let expected: Vec<String> = (0..20).map(|n| format!("\"{}\"", large_text(n))).collect();
    for how in ["+notcp", "+tcp"] {
        let text = finish(resolved.run("dig").args([how, "+short", "large.test", "TXT"])).text();
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(';')).collect();
        lines.sort_unstable();
        assert_eq!(lines, expected, "{how}");
    }
}

fn the_c_library_looks_up_both_ways(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::new(127, 0, 0, 53)) else { return };
    let program = "
import socket
print(socket.gethostbyname('answer.test'))
print(sorted({a[4][0] for a in socket.getaddrinfo('answer.test', 80, type=socket.SOCK_STREAM)}))
print(len({a[4][0] for a in socket.getaddrinfo('many.test', 80, type=socket.SOCK_STREAM)}))
print(socket.gethostbyaddr('192.0.2.3')[0])
print(socket.getnameinfo(('192.0.2.3', 80), socket.NI_NUMERICSERV))
print(socket.gethostbyname('localhost'))
";
    let text = finish(resolved.run("python3").args(["-c", program])).text();
    let expected = "192.0.2.3\n['192.0.2.3']\n40\nanswer.test\n('answer.test', '80')\n127.0.0.1";
    assert_eq!(text, expected);
    let text = finish(resolved.run("getent").args(["ahostsv4", "answer.test"])).text();
    assert!(text.starts_with("192.0.2.3 "), "{text}");
}

fn curl_fetches_by_name(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::LOCALHOST) else { return };
    let http = resolved.http();
    let url = format!("http://machine.test:{}/data/100000/1", http.port);
    let body = finish(resolved.run("curl").args(["-sS", &url])).ok();
    assert!(body == Content::bytes(100_000, 1), "the bytes differ");
    assert!(resolved.server.queries() > 0);
}

fn go_fetches_by_name(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::new(127, 0, 0, 53)) else { return };
    let http = resolved.http();
    let program = build::go(&resolved.scene);
    let url = format!("http://machine.test:{}/data/100000/2", http.port);
    let body = finish(resolved.run(program).args(["get", &url])).ok();
    assert!(body == Content::bytes(100_000, 2), "the bytes differ");
}

fn a_name_that_does_not_exist_is_said_so(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::LOCALHOST) else { return };
    let outcome = finish(resolved.run("curl").args(["-sS", "http://nowhere.test/"]));
    assert_eq!(outcome.code(), 6, "{outcome}");
    assert!(outcome.stderr.contains("Could not resolve host: nowhere.test"), "{outcome}");
    assert_eq!(finish(resolved.run("getent").args(["hosts", "nowhere.test"])).code(), 2);
    let status = finish(resolved.run("dig").arg("nowhere.test")).text();
    assert!(status.contains("status: NXDOMAIN"), "{status}");
}

fn a_server_that_is_silent_is_given_up(setting: Setting) {
    let Some(resolved) = Resolved::new(setting, Ipv4Addr::LOCALHOST) else { return };
    let outcome = finish(resolved.run("dig").args(["+time=1", "+tries=2", "silent.test"]));
    assert_eq!(outcome.code(), 9, "{outcome}");
    assert!(resolved.server.queries() >= 2, "the questions were not passed on");
}
