//! Large transfers over the gateway: a GiB in each direction, and a hundred at once.

use std::time::Duration;

use crate::common::content::{Content, sha256_file};
use crate::common::http::HttpServer;
use crate::common::process::finish_within;
use crate::common::{Scene, Setting};

const NONE: [&str; 0] = [];
const GIB: u64 = 1 << 30;
const LONG: Duration = Duration::from_secs(240);

in_every_setting! {
    as_every_user: [],
    as_one_user: [
        curl_fetches_a_gib,
        wget_fetches_a_gib,
        curl_uploads_a_gib,
        a_hundred_fetched_at_once,
        ten_thousand_fetched_in_a_row,
    ]
}

fn curl_fetches_a_gib(setting: Setting) {
    fetches_a_gib(setting, "curl", &["-sS", "-o", "out"]);
}

fn wget_fetches_a_gib(setting: Setting) {
    fetches_a_gib(setting, "wget", &["-q", "-O", "out"]);
}

fn fetches_a_gib(setting: Setting, program: &str, arguments: &[&str]) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.url(http.port, &format!("/data/{GIB}/1"));
    finish_within(LONG, scene.run(&NONE, program).args(arguments).arg(url)).ok();
    assert_eq!(sha256_file(&scene.path("out")), Content::sha256(GIB, 1));
}

fn curl_uploads_a_gib(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let path = scene.path("file");
    let mut file = std::fs::File::create(&path).expect("create");
    std::io::copy(&mut Content::new(GIB, 2), &mut file).expect("write");
    let url = scene.family.url(http.port, "/upload");
    let reply = finish_within(LONG, scene.run(&NONE, "curl").args(["-sS", "-T"]).arg(path).arg(url)).text();
    assert_eq!(reply, format!("{GIB} {}", Content::sha256(GIB, 2)));
}

fn a_hundred_fetched_at_once(setting: Setting) {
    const SIZE: u64 = 10 << 20;
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.url(http.port, &format!("/data/{SIZE}/[1-100]"));
    let mut curl = scene.run(&NONE, "curl");
    curl.args([
        "-sS",
        "--no-progress-meter",
        "--parallel",
        "--parallel-immediate",
        "--parallel-max",
        "100",
        "-o",
        "out-#1",
        &url,
    ]);
    finish_within(LONG, &mut curl).ok();
    for n in 1..=100 {
        let got = sha256_file(&scene.path(&format!("out-{n}")));
        assert_eq!(got, Content::sha256(SIZE, n), "file {n}");
    }
}

/// Short connections one after the other, each closed: neither ports, descriptors nor memory run out.
fn ten_thousand_fetched_in_a_row(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
import os, socket, sys
request = b'GET /data/100/1 HTTP/1.0\\r\\n\\r\\n'
bodies = set()
for n in range(10000):
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
        s.sendall(request)
        reply = b''
        while part := s.recv(4096):
            reply += part
    bodies.add(reply.partition(b'\\r\\n\\r\\n')[2])
print(len(os.listdir('/proc/self/fd')), [body.hex() for body in bodies])
";
    let mut python = scene.run(&NONE, "python3");
    python.args(["-c", program, &scene.family.gateway().to_string(), &http.port.to_string()]);
    let text = finish_within(LONG, &mut python).text();
    let body: String = Content::bytes(100, 1).iter().map(|byte| format!("{byte:02x}")).collect();
    let (descriptors, bodies) = text.split_once(' ').expect("two words");
    assert_eq!(bodies, format!("['{body}']"));
    assert!(descriptors.parse::<u32>().expect("a number") < 10, "{descriptors} descriptors");
}
