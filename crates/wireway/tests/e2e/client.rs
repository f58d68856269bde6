//! Client programs over the gateway, to servers on the machine's loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use rustix::process::Signal;

use crate::common::content::{Content, sha256, sha256_file};
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Scene, Setting, finish, free_port, wait_listening};

const NONE: [&str; 0] = [];

in_both_families! {
    as_every_user: [
        curl_fetches_and_uploads,
        curl_to_a_closed_port_is_refused,
        wget_fetches_and_uploads,
        git_clones_and_pushes,
        python_fetches_with_urllib,
        python_keeps_a_connection_alive,
        python_fetches_with_asyncio,
        node_fetches,
        nc_sends_and_half_closes,
        nc_exchanges_datagrams,
        ping_gets_replies_from_the_gateway,
        redis_cli_sets_and_gets,
        psql_queries,
        a_shell_script_pipes_several,
    ],
    as_one_user: []
}

fn curl_fetches_and_uploads(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    for size in [0, 1, 1460, 100_000, 3_000_000] {
        let url = scene.family.url(http.port, &format!("/data/{size}/1"));
        let body = finish(scene.run(&NONE, "curl").args(["-sS", &url])).ok();
        assert!(body == Content::bytes(size, 1), "{size} bytes differ");
        let file = scene.write("upload", &body);
        let reply = finish(scene.run(&NONE, "curl").args(["-sS", "-T"]).arg(file).arg(&url)).text();
        assert_eq!(reply, format!("{size} {}", Content::sha256(size, 1)));
    }
}

fn curl_to_a_closed_port_is_refused(setting: Setting) {
    let scene = Scene::new(setting);
    let outcome = finish(scene.run(&NONE, "curl").args(["-sS", &scene.family.url(free_port(), "/")]));
    assert_eq!(outcome.code(), 7, "{outcome}");
    assert!(outcome.stderr.contains("refused") || outcome.stderr.contains("Couldn't connect"), "{outcome}");
}

fn wget_fetches_and_uploads(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.url(http.port, "/data/5000000/2");
    finish(scene.run(&NONE, "wget").args(["-q", "-O", "out", &url])).ok();
    assert_eq!(sha256_file(&scene.path("out")), Content::sha256(5_000_000, 2));
    let put = ["-q", "-O", "-", "--method=PUT", "--body-file=out", &url];
    let reply = finish(scene.run(&NONE, "wget").args(put)).text();
    assert_eq!(reply, format!("5000000 {}", Content::sha256(5_000_000, 2)));
}

fn git_clones_and_pushes(setting: Setting) {
    let scene = Scene::new(setting);
    let repositories = scene.make_directory("served");
    let git = |arguments: &[&str]| finish(scene.command("git").args(arguments)).text();
    git(&["init", "-q", "--bare", "-b", "main", "served/r.git"]);
    git(&["init", "-q", "-b", "main", "source"]);
    for n in 0..20 {
        let path = scene.path("source").join(format!("file-{n}"));
        std::fs::write(path, Content::bytes(150_000, n)).expect("write");
    }
    git(&["-C", "source", "add", "."]);
    let author = ["-c", "user.name=A", "-c", "user.email=a@localhost"];
    let commit = ["commit", "-q", "-m", "content"];
    git(&[&["-C", "source"], &author[..], &commit[..]].concat());
    git(&["-C", "source", "push", "-q", "../served/r.git", "main"]);

    let http = HttpServer::start_with_git(scene.family.loopback(), &repositories);
    let url = scene.family.url(http.port, "/git/r.git");
    finish(scene.run(&NONE, "git").args(["clone", "-q", &url, "clone"])).ok();
    let in_clone =
        |arguments: &[&str]| finish(scene.run(&NONE, "git").args(["-C", "clone"]).args(author).args(arguments)).text();
    assert_eq!(in_clone(&["rev-parse", "HEAD"]), git(&["-C", "source", "rev-parse", "HEAD"]));
    in_clone(&["fsck", "--full"]);
    for n in 0..20 {
        let clone = sha256_file(&scene.path("clone").join(format!("file-{n}")));
        assert_eq!(clone, Content::sha256(150_000, n), "file-{n}");
    }
    scene.write("clone/more", Content::bytes(2_000_000, 99));
    in_clone(&["add", "more"]);
    in_clone(&commit);
    in_clone(&["push", "-q", "origin", "main"]);
    let pushed = git(&["-c", "safe.directory=*", "-C", "served/r.git", "rev-parse", "main"]);
    assert_eq!(pushed, in_clone(&["rev-parse", "HEAD"]));
}

/// Runs a Python program over Wireway with its arguments; gives its standard output.
fn python(scene: &Scene, program: &str, arguments: &[&str]) -> String {
    finish(scene.run(&NONE, "python3").args(["-c", program]).args(arguments)).text()
}

fn python_fetches_with_urllib(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
import hashlib, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=30) as reply:
    print(hashlib.sha256(reply.read()).hexdigest())
put = urllib.request.Request(sys.argv[1], data=bytes(range(256)) * 4000, method='PUT')
print(urllib.request.urlopen(put, timeout=30).read().decode())
";
    let url = scene.family.url(http.port, "/data/700000/3");
    let sent: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(4000);
    let expected = format!("{}\n1024000 {}", Content::sha256(700_000, 3), sha256(&sent[..]));
    assert_eq!(python(&scene, program, &[&url]), expected);
}

fn python_keeps_a_connection_alive(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
import hashlib, http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=30)
connection.connect()
first = connection.sock.getsockname()
whole = hashlib.sha256()
for n in range(200):
    connection.request('GET', f'/data/{n * 97}/{n}')
    whole.update(connection.getresponse().read())
    assert connection.sock.getsockname() == first, 'another connection'
print(whole.hexdigest())
";
    let address = scene.family.gateway().to_string();
    let all: Vec<u8> = (0..200).flat_map(|n| Content::bytes(n * 97, n)).collect();
    let got = python(&scene, program, &[&address, &http.port.to_string()]);
    assert_eq!(got, sha256(&all[..]));
}

fn python_fetches_with_asyncio(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
import asyncio, hashlib, sys
async def fetch(n):
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    writer.write(f'GET /data/{n * 5000}/{n} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'.encode())
    await writer.drain()
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    return reply.partition(b'\\r\\n\\r\\n')[2]
async def main():
    bodies = await asyncio.gather(*(fetch(n) for n in range(50)))
    print(hashlib.sha256(b''.join(bodies)).hexdigest())
asyncio.run(main())
";
    let address = scene.family.gateway().to_string();
    let all: Vec<u8> = (0..50).flat_map(|n| Content::bytes(n * 5000, n)).collect();
    let got = python(&scene, program, &[&address, &http.port.to_string()]);
    assert_eq!(got, sha256(&all[..]));
}

fn node_fetches(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
const url = process.argv[1];
const hash = data => require('crypto').createHash('sha256').update(data).digest('hex');
(async () => {
  const get = async n => Buffer.from(await (await fetch(url + '/data/300000/' + n)).arrayBuffer());
  const bodies = await Promise.all([...Array(10).keys()].map(get));
  console.log(hash(Buffer.concat(bodies)));
  const put = await fetch(url + '/', { method: 'PUT', body: bodies[0] });
  process.stdout.write(await put.text());
})();
";
    let url = scene.family.url(http.port, "");
    let all: Vec<u8> = (0..10).flat_map(|n| Content::bytes(300_000, n)).collect();
    let expected = format!("{}\n300000 {}", sha256(&all[..]), Content::sha256(300_000, 0));
    let outcome = finish(scene.run(&NONE, "node").args(["-e", program, &url]));
    assert_eq!(outcome.text(), expected);
}

/// The server reads to the end of what nc sends, and only then answers: the half-close passes through both ways.
fn nc_sends_and_half_closes(setting: Setting) {
    let scene = Scene::new(setting);
    let listener = TcpListener::bind((scene.family.loopback(), 0)).expect("listen");
    let port = listener.local_addr().expect("address").port().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("read");
        all.reverse();
        stream.write_all(&all).expect("write");
    });
    let mut sent = Content::bytes(1_000_000, 4);
    let address = scene.family.gateway().to_string();
    let mut nc = scene.run(&NONE, "nc");
    let received = Running::start_with_input(nc.args(["-N", &address, &port]), &sent).wait().ok();
    server.join().expect("the server");
    sent.reverse();
    assert!(received == sent, "the bytes differ: {} of {}", received.len(), sent.len());
}

fn nc_exchanges_datagrams(setting: Setting) {
    let scene = Scene::new(setting);
    let socket = UdpSocket::bind((scene.family.loopback(), 0)).expect("bind");
    let port = socket.local_addr().expect("address").port().to_string();
    socket.set_read_timeout(Some(crate::common::process::LIMIT)).expect("time-out");
    let address = scene.family.gateway().to_string();
    let mut nc = scene.run(&NONE, "nc");
    let input = std::process::Stdio::piped();
    let mut nc = Running::start_with(nc.args(["-u", &address, &port]), input);
    let mut stdin = nc.take_stdin();
    let mut buffer = [0; 2048];
    let mut expected = String::new();
    for n in 0..20 {
        let line = format!("datagram {n}\n");
        stdin.write_all(line.as_bytes()).expect("write");
        let (length, from) = socket.recv_from(&mut buffer).expect("receive");
        assert_eq!(&buffer[..length], line.as_bytes());
        let answer = format!("answer {n}\n");
        socket.send_to(answer.as_bytes(), from).expect("send");
        expected += &answer;
        nc.wait_for_text(&answer);
    }
    assert_eq!(String::from_utf8_lossy(&nc.stdout()), expected);
}

fn ping_gets_replies_from_the_gateway(setting: Setting) {
    let scene = Scene::new(setting);
    let address = scene.family.gateway().to_string();
    for size in ["0", "56", "1472", "4000"] {
        let mut ping = scene.run(&NONE, "ping");
        let outcome = finish(ping.args(["-n", "-c", "3", "-i", "0.2", "-W", "5", "-s", size, &address]));
        assert_eq!(outcome.stderr, "", "a warning");
        let text = outcome.text();
        assert!(text.contains("3 packets transmitted, 3 received, 0% packet loss"), "{text}");
    }
}

fn redis_cli_sets_and_gets(setting: Setting) {
    let scene = Scene::new(setting);
    let port = free_port().to_string();
    let mut server = scene.command("redis-server");
    server.args(["--port", &port, "--bind", &scene.family.loopback().to_string(), "--save", ""]);
    let mut server = Running::start(&mut server);
    server.wait_for_text("Ready to accept connections");
    let address = scene.family.gateway().to_string();
    let cli = || {
        let mut command = scene.run(&NONE, "redis-cli");
        command.args(["-h", &address, "-p", &port]);
        command
    };
    let value: Vec<u8> = Content::bytes(2_000_000, 5);
    let hexadecimal: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut set = cli();
    let set = Running::start_with_input(set.args(["-x", "SET", "key"]), hexadecimal.as_bytes()).wait().text();
    assert_eq!(set, "OK");
    assert_eq!(finish(cli().args(["GET", "key"])).text(), hexadecimal);
    assert_eq!(finish(cli().arg("PING")).text(), "PONG");
}

/// A cluster of its own, in the scene's directory and by an ordinary user (PostgreSQL refuses root).
fn psql_queries(setting: Setting) {
    let scene = Scene::new(setting);
    let port = free_port();
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL")
        .map(|entry| entry.expect("entry").path().join("bin"))
        .collect();
    versions.sort();
    let bin = versions.pop().expect("a version of PostgreSQL");
    // The server's user owns a directory of its own, wherever the scene's belongs.
    let base = tempfile::Builder::new().prefix("wireway-test-").tempdir().expect("directory");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(base.path(), open).expect("chmod");
    let data = base.path().join("data");
    let mut initdb = scene.command_as_ordinary_user(bin.join("initdb"));
    initdb.current_dir(base.path()).arg("-D").arg(&data);
    finish(initdb.args(["-U", "someone", "-A", "trust", "-E", "UTF8", "--no-sync"])).ok();
    let mut server = scene.command_as_ordinary_user(bin.join("postgres"));
    server.current_dir(base.path()).arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "fsync=off"]);
    server.args(["-c", "unix_socket_directories=", "-h", &scene.family.loopback().to_string()]);
    let mut server = Running::start(&mut server);
    server.wait_for_text("ready to accept connections");
    wait_listening(port);

    let address = scene.family.gateway().to_string();
    let query = |sql: &str| {
        let mut psql = scene.run(&NONE, "psql");
        psql.args(["-h", &address, "-p", &port.to_string(), "-U", "someone", "-d", "postgres"]);
        finish(psql.args(["-X", "-A", "-t", "-c", sql])).text()
    };
    query("create table t as select n, md5(n::text) as hash from generate_series(1, 20000) as n");
    let rows = query("select n, hash from t order by n");
    assert_eq!(rows.lines().count(), 20000);
    assert_eq!(rows.lines().nth(41), Some("42|a1d0c6e83f027327d8461063f4ac58a6"));
    assert_eq!(query("select count(distinct hash) from t"), "20000");
    // A server that is killed leaves its shared memory behind.
    server.signal(Signal::INT);
    server.wait().ok();
}

fn a_shell_script_pipes_several(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let echo = TcpListener::bind((scene.family.loopback(), 0)).expect("listen");
    let address: SocketAddr = (scene.family.gateway(), echo.local_addr().expect("address").port()).into();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = echo.accept().expect("accept");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("read");
        stream.write_all(&all).expect("write");
    });
    let script = "
set -e
curl -sS \"$1/data/2000000/6\" | gzip | nc -N $2 $3 | gunzip | tee copy | sha256sum | cut -d' ' -f1
wget -q -O - \"$1/data/2000000/6\" | cmp - copy
for n in 1 2 3; do curl -sS \"$1/data/1000/$n\" & done | wc -c
python3 -c 'import sys; print(len(sys.stdin.buffer.read()))' < copy | curl -sS -T - \"$1/put\"
exit 7
";
    let mut shell = scene.run(&NONE, "sh");
    shell.args(["-c", script, "script", &scene.family.url(http.port, "")]);
    let outcome = finish(shell.args([address.ip().to_string(), address.port().to_string()]));
    echo.join().expect("the echo server");
    assert_eq!(outcome.code(), 7, "{outcome}");
    let hash = Content::sha256(2_000_000, 6);
    let expected = format!("{hash}\n3000\n8 {}\n", sha256(&b"2000000\n"[..]));
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected, "{outcome}");
}
