//! Large transfers over the gateway: a GiB in each direction, and a hundred at once.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::common::content::{Content, sha256_file};
use crate::common::http::HttpServer;
use crate::common::process::{Running, finish_within, wait_until};
use crate::common::{Scene, Setting};

const NONE: [&str; 0] = [];
const GIB: u64 = 1 << 30;
const LONG: Duration = Duration::from_secs(240);

in_both_families! {
    as_every_user: [],
    as_one_user: [
        curl_fetches_a_gib,
        wget_fetches_a_gib,
        curl_uploads_a_gib,
        a_hundred_fetched_at_once,
        a_hundred_uploaded_at_once,
        ten_thousand_fetched_in_a_row,
        what_was_sent_before_the_end_arrives,
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

const TEN_MIB: u64 = 10 << 20;
/// Each connection is closed after its answer: tiny_http can queue a connection behind another that is only kept alive.
const A_HUNDRED_AT_ONCE: [&str; 8] = [
    "-sS",
    "--no-progress-meter",
    "--parallel",
    "--parallel-immediate",
    "--parallel-max",
    "100",
    "-H",
    "Connection: close",
];

fn a_hundred_fetched_at_once(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.url(http.port, &format!("/data/{TEN_MIB}/[1-100]"));
    let mut curl = scene.run(&NONE, "curl");
    finish_within(LONG, curl.args(A_HUNDRED_AT_ONCE).args(["-o", "out-#1", &url])).ok();
    for n in 1..=100 {
        let got = sha256_file(&scene.path(&format!("out-{n}")));
        assert_eq!(got, Content::sha256(TEN_MIB, n), "file {n}");
    }
}

/// The server answers each with the length and the hash of what came.
fn a_hundred_uploaded_at_once(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    for n in 1..=100 {
        let mut file = std::fs::File::create(scene.path(&format!("file-{n}"))).expect("create");
        std::io::copy(&mut Content::new(TEN_MIB, n), &mut file).expect("write");
    }
    let mut curl = scene.run(&NONE, "curl");
    curl.args(A_HUNDRED_AT_ONCE);
    for n in 1..=100 {
        let url = scene.family.url(http.port, &format!("/upload/{n}"));
        curl.args(["-T", &format!("file-{n}"), "-o", &format!("reply-{n}"), &url]);
    }
    finish_within(LONG, &mut curl).ok();
    for n in 1..=100 {
        let reply = std::fs::read_to_string(scene.path(&format!("reply-{n}"))).expect("a reply");
        assert_eq!(reply.trim(), format!("{TEN_MIB} {}", Content::sha256(TEN_MIB, n)), "file {n}");
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

/// A program ends while its peer takes nothing yet, and all buffers on the way are full.
fn what_was_sent_before_the_end_arrives(setting: Setting) {
    let scene = Scene::new(setting);
    let listener = TcpListener::bind((scene.family.loopback(), 0)).expect("bind");
    let port = listener.local_addr().expect("an address").port();
    let program = "
import os, select, socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.setblocking(False)
sent = 0
while select.select([], [s], [], 0.5)[1]:
    try:
        sent += s.send(bytes(65536))
    except BlockingIOError:
        pass
print(os.getpid(), sent, flush=True)
";
    let mut python = scene.run(&NONE, "python3");
    python.args(["-c", program, &scene.family.gateway().to_string(), &port.to_string()]);
    let mut python = Running::start(&mut python);
    let (mut stream, _) = listener.accept().expect("accept");
    python.wait_for_text("\n");
    let text = String::from_utf8(python.stdout()).expect("text");
    let (pid, sent) = text.trim().split_once(' ').expect("two numbers");
    wait_until("the program ends", || !Path::new(&format!("/proc/{pid}")).exists());
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("an orderly end");
    assert_eq!(received.len().to_string(), sent);
    python.wait().ok();
}
