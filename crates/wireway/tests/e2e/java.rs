//! Java, whose sockets are all of AF_INET6 and carry IPv4 through v4-mapped addresses.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;

use crate::common::content::{Content, sha256};
use crate::common::http::HttpServer;
use crate::common::process::{LIMIT, Running};
use crate::common::{Scene, Setting, build, finish, free_port};

const NONE: [&str; 0] = [];

in_every_setting! {
    as_every_user: [
        java_clients_fetch,
        java_sends_datagrams_and_sees_the_hosts_interfaces,
        a_java_server_with_threads,
        a_java_server_with_a_selector,
        the_jdks_http_server,
    ],
    as_one_user: []
}

fn java(scene: &Scene, options: &[&str], arguments: &[&str]) -> Command {
    let [java, words @ ..] = build::java(scene);
    let mut command = scene.run(options, java);
    command.args(words).args(arguments);
    command
}

/// java.net.http over non-blocking channels, four at once; HttpURLConnection over blocking sockets, one after the other.
fn java_clients_fetch(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let urls: Vec<String> =
        (0..30).map(|n| scene.family.url(http.port, &format!("/data/{}/{n}", n * 20_000))).collect();
    let expected: Vec<u8> = (0..30).flat_map(|n| Content::bytes(n * 20_000, n)).collect();
    for how in ["get", "old-get"] {
        let body = finish(java(&scene, &NONE, &[how]).args(&urls)).ok();
        assert_eq!(sha256(&body[..]), sha256(&expected[..]), "{how}");
    }
}

fn java_sends_datagrams_and_sees_the_hosts_interfaces(setting: Setting) {
    let scene = Scene::new(setting);
    let text = finish(&mut java(&scene, &NONE, &["datagrams"])).text();
    assert_eq!(text, "30000 127.0.0.1 true\ntimed out");
    let text = finish(&mut java(&scene, &NONE, &["interfaces"])).text();
    // IPv6 addresses are those that /proc/net/if_inet6 has for interfaces of the same name.
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.contains(':')).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["eth0 1500 true 10.0.2.15", "lo 65536 true 127.0.0.1"]);
}

fn a_java_server_with_threads(setting: Setting) {
    echoes(setting, "threads");
}

fn a_java_server_with_a_selector(setting: Setting) {
    echoes(setting, "selector");
}

/// Twenty connections at once, each half-closed after what it sends.
fn echoes(setting: Setting, server: &str) {
    let scene = Scene::new(setting);
    let address = SocketAddr::new(scene.family.loopback(), free_port());
    let publish = format!("{address}:7000");
    let mut server = Running::start(&mut java(&scene, &["--publish", &publish], &[server, "7000"]));
    server.wait_for_text("ready");
    std::thread::scope(|scope| {
        for n in 0..20 {
            scope.spawn(move || {
                let sent = Content::bytes(n * 25_000, n);
                let mut stream = TcpStream::connect(address).expect("connect");
                stream.set_read_timeout(Some(LIMIT)).expect("time-out");
                let mut sender = stream.try_clone().expect("duplicate");
                let to_send = sent.clone();
                let sending = std::thread::spawn(move || {
                    sender.write_all(&to_send).expect("send");
                    sender.shutdown(Shutdown::Write).expect("half-close");
                });
                let mut received = Vec::new();
                stream.read_to_end(&mut received).expect("receive");
                sending.join().expect("sent");
                assert!(received == sent, "connection {n}: {} of {} bytes", received.len(), sent.len());
            });
        }
    });
}

fn the_jdks_http_server(setting: Setting) {
    let scene = Scene::new(setting);
    let port = free_port();
    let publish = format!("{}:7000", SocketAddr::new(scene.family.loopback(), port));
    let mut server = Running::start(&mut java(&scene, &["--publish", &publish], &["http", "7000"]));
    server.wait_for_text("ready");
    let body = Content::bytes(1_500_000, 7);
    let file = scene.write("body", &body);
    let url = scene.family.local_url(port, "/some/path");
    let echoed = finish(scene.command("curl").args(["-sS", "-T"]).arg(file).arg(&url)).ok();
    assert!(echoed == [&b"PUT /some/path 1500000\n"[..], &body].concat(), "the bytes differ");
}
