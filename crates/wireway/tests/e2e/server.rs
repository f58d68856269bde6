//! Server programs, reached from the machine through `--publish`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::content::{Content, sha256_file};
use crate::common::process::{LIMIT, Running};
use crate::common::{Scene, Setting, bracketed, finish, free_port, wait_until};

in_both_families! {
    as_every_user: [
        python_http_server,
        nginx_with_several_workers,
        redis_under_redis_benchmark,
        a_prefork_server,
        a_threaded_server,
        a_datagram_server,
        a_published_port_without_a_server_is_closed,
        a_full_backlog_resets_nobody,
    ],
    as_one_user: [
        a_thousand_connections_held,
    ]
}

/// `wireway run --publish ADDRESS:PORT:INSIDE -- PROGRAM` and the port on the machine.
fn published(scene: &Scene, inside: &str, program: &str) -> (Command, u16) {
    let port = free_port();
    let host = SocketAddr::new(scene.family.loopback(), port);
    (scene.run(&["--publish", &format!("{host}:{inside}")], program), port)
}

fn wait_until_it_answers(scene: &Scene, url: &str) {
    wait_until(&format!("{url} is answered"), || {
        finish(scene.command("curl").args(["-sSf", "-o", "/dev/null", url])).status.success()
    });
}

/// Fetches `url` with `[1-100]` in it, so many connections at once, into `out-1` to `out-100`.
fn fetch_a_hundred(scene: &Scene, at_once: &str, url: &str) {
    let mut curl = scene.command("curl");
    curl.args(["-sSf", "--no-progress-meter", "--parallel", "--parallel-immediate", "--parallel-max", at_once]);
    finish(curl.args(["-o", "out-#1", url])).ok();
}

fn python_http_server(setting: Setting) {
    let scene = Scene::new(setting);
    let root = scene.make_directory("root");
    for n in 1..=100 {
        std::fs::write(root.join(n.to_string()), Content::bytes(n * 10_000, n)).expect("write");
    }
    let any = scene.family.any().to_string();
    let (mut server, port) = published(&scene, "8000", "python3");
    let _server = Running::start(server.args(["-m", "http.server", "--bind", &any, "--directory", "root", "8000"]));
    wait_until_it_answers(&scene, &scene.family.local_url(port, "/1"));
    // Its backlog is five: more at once would wait for retransmissions of their SYN, on any stack.
    fetch_a_hundred(&scene, "5", &scene.family.local_url(port, "/[1-100]"));
    for n in 1..=100 {
        let got = sha256_file(&scene.path(&format!("out-{n}")));
        assert_eq!(got, Content::sha256(n * 10_000, n), "file {n}");
    }
}

/// One listening socket that four workers share, and one for each worker (SO_REUSEPORT).
fn nginx_with_several_workers(setting: Setting) {
    let scene = Scene::new(setting);
    let root = scene.make_directory("root");
    std::fs::write(root.join("file"), Content::bytes(1_000_000, 1)).expect("write");
    let any = bracketed(scene.family.any());
    scene.write(
        "nginx.conf",
        "worker_processes 4; daemon off; pid nginx.pid; error_log stderr;
         events { worker_connections 512; }
         http {
             access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
             uwsgi_temp_path t4; scgi_temp_path t5;
             server { listen ANY:8080; listen ANY:8081 reuseport; root root; add_header X-Worker $pid; }
         }"
        .replace("ANY", &any),
    );
    let ports = [free_port(), free_port()];
    let host = |i: usize| SocketAddr::new(scene.family.loopback(), ports[i]);
    let publish = [0, 1].map(|i| format!("{}:{}", host(i), 8080 + i));
    let mut server = scene.run(&["--publish", &publish[0], "--publish", &publish[1]], "nginx");
    let directory = scene.directory().display().to_string();
    server.args(["-p", &directory, "-c", "nginx.conf", "-e", "stderr"]);
    if rustix::process::geteuid().is_root() && !scene.is_ordinary_user() {
        server.args(["-g", "user root;"]);
    }
    let _server = Running::start(&mut server);
    let hash = Content::sha256(1_000_000, 1);
    for port in ports {
        wait_until_it_answers(&scene, &scene.family.local_url(port, "/file"));
        fetch_a_hundred(&scene, "100", &scene.family.local_url(port, "/file?[1-100]"));
        for n in 1..=100 {
            assert_eq!(sha256_file(&scene.path(&format!("out-{n}"))), hash, "file {n}");
        }
    }
    let mut workers = BTreeSet::new();
    wait_until("each of the four workers has answered", || {
        let url = scene.family.local_url(ports[1], "/file");
        let headers = finish(scene.command("curl").args(["-sSfI", &url])).text();
        let worker = headers.lines().find_map(|line| line.strip_prefix("X-Worker: "));
        workers.insert(worker.expect("the worker's header").to_owned());
        workers.len() == 4
    });
}

fn redis_under_redis_benchmark(setting: Setting) {
    let scene = Scene::new(setting);
    let (mut server, port) = published(&scene, "6379", "redis-server");
    server.args(["--bind", &scene.family.any().to_string(), "--protected-mode", "no", "--save", ""]);
    let mut server = Running::start(&mut server);
    server.wait_for_text("Ready to accept connections");
    let address = scene.family.loopback().to_string();
    let program = |name: &str| {
        let mut command = scene.command(name);
        command.args(["-h", &address, "-p", &port.to_string()]);
        command
    };
    let mut benchmark = program("redis-benchmark");
    let out = finish(benchmark.args(["-q", "-n", "10000", "-c", "50", "-t", "ping,set,get,lpush"])).text();
    assert_eq!(out.matches("requests per second").count(), 5, "{out}");
    let mut benchmark = program("redis-benchmark");
    let out = finish(benchmark.args(["-q", "-n", "50000", "-c", "20", "-P", "16", "-t", "set,get"])).text();
    assert_eq!(out.matches("requests per second").count(), 2, "{out}");
    let value: String = Content::bytes(500_000, 2).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut set = program("redis-cli");
    let set = Running::start_with_input(set.args(["-x", "SET", "key"]), value.as_bytes()).wait().text();
    assert_eq!(set, "OK");
    assert_eq!(finish(program("redis-cli").args(["GET", "key"])).text(), value);
}

/// What the Python servers do with a connection: read to its end, then send all of it back.
const ECHO: &str = "
import os, socket, socketserver, sys
def echo(connection):
    with connection:
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        connection.sendall(b''.join(parts))
";

fn a_prefork_server(setting: Setting) {
    let workers = "
listener = socket.create_server(('', 7000), family=FAMILY, backlog=64)
for _ in range(4):
    if os.fork() == 0:
        while True:
            echo(listener.accept()[0])
print('ready', flush=True)
for _ in range(4):
    os.wait()
";
    echo_server(setting, workers);
}

fn a_threaded_server(setting: Setting) {
    let threads = "
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        echo(self.request)
class Server(socketserver.ThreadingTCPServer):
    address_family = FAMILY
    allow_reuse_address = True
    request_queue_size = 64
server = Server(('', 7000), Handler)
print('ready', flush=True)
server.serve_forever()
";
    echo_server(setting, threads);
}

/// Forty connections at once, each half-closed after what it sends.
fn echo_server(setting: Setting, serve: &str) {
    let scene = Scene::new(setting);
    let (mut server, port) = published(&scene, "7000", "python3");
    let mut server = Running::start(server.args(["-c", &format!("{ECHO}FAMILY = {}\n{serve}", scene.family.python())]));
    server.wait_for_text("ready");
    let address = SocketAddr::new(scene.family.loopback(), port);
    std::thread::scope(|scope| {
        for n in 0..40 {
            scope.spawn(move || {
                let sent = Content::bytes(n * 25_000, n);
                let mut stream = TcpStream::connect(address).expect("connect");
                stream.set_read_timeout(Some(LIMIT)).expect("time-out");
                stream.write_all(&sent).expect("send");
                stream.shutdown(Shutdown::Write).expect("half-close");
                let mut received = Vec::new();
                stream.read_to_end(&mut received).expect("receive");
                assert!(received == sent, "connection {n}: {} of {} bytes", received.len(), sent.len());
            });
        }
    });
}

fn a_datagram_server(setting: Setting) {
    let scene = Scene::new(setting);
    let (mut server, port) = published(&scene, "7000/udp", "python3");
    let program = "
import socket, sys
s = socket.socket(eval(sys.argv[1]), socket.SOCK_DGRAM)
s.bind(('', 7000))
print('ready', flush=True)
while True:
    data, address = s.recvfrom(65536)
    s.sendto(data[::-1], address)
";
    let mut server = Running::start(server.args(["-c", program, scene.family.python()]));
    server.wait_for_text("ready");
    let address = SocketAddr::new(scene.family.loopback(), port);
    let clients = [0, 1].map(|_| UdpSocket::bind((scene.family.loopback(), 0)).expect("bind"));
    let mut buffer = vec![0; 65536];
    for (n, size) in [1, 100, 1472, 1473, 9000, 60_000, 0, 65_507].into_iter().enumerate() {
        for client in &clients {
            client.set_read_timeout(Some(LIMIT)).expect("time-out");
            let mut sent = Content::bytes(size, n as u64);
            client.send_to(&sent, address).expect("send");
            let (length, from) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!(from, address);
            sent.reverse();
            assert!(buffer[..length] == sent, "{size} bytes differ");
        }
    }
}

/// Refused or reset, as soon as it is known; never accepted and left.
fn a_published_port_without_a_server_is_closed(setting: Setting) {
    let scene = Scene::new(setting);
    let (mut program, port) = published(&scene, "7000", "sh");
    let mut program = Running::start(program.args(["-c", "echo ready; exec sleep infinity"]));
    program.wait_for_text("ready");
    let address = SocketAddr::new(scene.family.loopback(), port);
    let mut received = Vec::new();
    let result = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.read_to_end(&mut received)
    });
    let error = result.expect_err("an error").kind();
    let closed = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::ConnectionRefused];
    assert!(closed.contains(&error), "{error}");
}

/// More connections than wait to be accepted: the others' SYNs are dropped and come again; none is reset, and no byte lost.
fn a_full_backlog_resets_nobody(setting: Setting) {
    const COUNT: usize = 40;
    let scene = Scene::new(setting);
    let port = free_port();
    let publish = format!("{}:7000", SocketAddr::new(scene.family.loopback(), port));
    let mut server = scene.run(&["--stats", "--publish", &publish], "python3");
    let program = "
import socket, sys
listener = socket.create_server(('', 7000), family=eval(sys.argv[2]), backlog=8)
print('ready', flush=True)
sys.stdin.readline()
streams = [listener.accept()[0] for _ in range(int(sys.argv[1]))]
for s in streams:
    s.sendall(s.recv(100)[::-1])
";
    let mut server =
        Running::start_with(server.args(["-c", program, &COUNT.to_string(), scene.family.python()]), Stdio::piped());
    let mut stdin = server.take_stdin();
    server.wait_for_text("ready");
    let address = SocketAddr::new(scene.family.loopback(), port);
    let connect = |n: usize| {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("time-out");
        stream.write_all(format!("connection {n}").as_bytes()).expect("send");
        stream
    };
    let streams: Vec<TcpStream> = (0..COUNT).map(connect).collect();
    stdin.write_all(b"go\n").expect("go");
    for (n, mut stream) in streams.into_iter().enumerate() {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap_or_else(|error| panic!("connection {n}: {error}"));
        received.reverse();
        assert_eq!(String::from_utf8_lossy(&received), format!("connection {n}"));
    }
    let outcome = server.wait();
    assert!(outcome.stderr.contains("TcpExtListenOverflows"), "the backlog was never full: {outcome}");
    outcome.ok();
}

fn a_thousand_connections_held(setting: Setting) {
    const COUNT: usize = 1000;
    let scene = Scene::new(setting);
    let limit = getrlimit(Resource::Nofile);
    let enough = Rlimit { current: limit.maximum.or(Some(8192)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, enough).expect("more descriptors");
    let (mut server, port) = published(&scene, "7000", "python3");
    let program = "
import asyncio, sys
async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(b'answer to ' + line)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, sys.argv[1], 7000, backlog=1024)
    print('ready', flush=True)
    await server.serve_forever()
asyncio.run(main())
";
    let mut server = Running::start(server.args(["-c", program, &scene.family.any().to_string()]));
    server.wait_for_text("ready");
    let address = SocketAddr::new(scene.family.loopback(), port);
    let connect = |_| {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("time-out");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..COUNT).map(connect).collect();
    for round in 0..3 {
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.write_all(format!("round {round} connection {n}\n").as_bytes()).expect("send");
        }
        for (n, stream) in streams.iter_mut().enumerate() {
            let expected = format!("answer to round {round} connection {n}\n");
            let mut received = vec![0; expected.len()];
            stream.read_exact(&mut received).unwrap_or_else(|error| panic!("connection {n}: {error}"));
            assert_eq!(String::from_utf8_lossy(&received), expected);
        }
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        stream.shutdown(Shutdown::Write).expect("half-close");
        assert_eq!(stream.read(&mut [0; 64]).expect("the end"), 0, "connection {n}");
    }
}
