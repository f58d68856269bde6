//! The boundary: a program's sockets are on our stack, whichever way it makes them; what is local stays as it was.

use std::io::Read;
use std::net::TcpListener;
use std::process::Command;

use crate::common::content::Content;
use crate::common::http::HttpServer;
use crate::common::process::{Outcome, Running};
use crate::common::{Scene, Setting, build, finish, wait_until};

const NONE: [&str; 0] = [];

in_every_setting! {
    as_every_user: [
        the_loopback_inside_is_another,
        the_addresses_are_the_stacks,
        ipv6_sockets_carry_both_families,
        local_sockets_work_as_before,
        a_descriptor_travels_between_processes,
        other_abis_and_io_uring_are_refused,
        an_inherited_socket_is_no_way_round,
        an_inherited_connection_carries_nothing,
        a_connection_for_standard_input_is_refused,
        other_families_are_refused,
        isolated_programs_have_no_other_network,
        an_idle_program_uses_no_processor_time,
    ],
    as_one_user: []
}

fn python(scene: &Scene, options: &[&str], program: &str, arguments: &[&str]) -> String {
    finish(scene.run(options, "python3").args(["-c", program]).args(arguments)).text()
}

fn the_loopback_inside_is_another(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.local_url(http.port, "/data/1/1");
    finish(scene.command("curl").args(["-sSf", "-o", "/dev/null", &url])).ok();
    assert_eq!(finish(scene.run(&NONE, "curl").args(["-sS", &url])).code(), 7);
    let program = "
import socket, threading
listener = socket.create_server(('127.0.0.1', 0))
port = listener.getsockname()[1]
def serve():
    s, peer = listener.accept()
    assert peer[0] == '127.0.0.1'
    while data := s.recv(65536):
        s.sendall(data)
    s.close()
threading.Thread(target=serve).start()
s = socket.create_connection(('localhost', port))
peer = s.getpeername()
sent = bytes(range(256)) * 8000
threading.Thread(target=lambda: (s.sendall(sent), s.shutdown(socket.SHUT_WR))).start()
received = b''
while data := s.recv(65536):
    received += data
print(received == sent, peer == ('127.0.0.1', port))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(('127.0.0.1', 0))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
v.sendto(bytes(30000), u.getsockname())
data, peer = u.recvfrom(65536)
print(len(data), peer[0])
";
    assert_eq!(python(&scene, &[], program, &[]), "True True\n30000 127.0.0.1");
}

fn the_addresses_are_the_stacks(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print(s.getsockname()[0], s.getpeername() == (sys.argv[1], int(sys.argv[2])))
print(socket.if_nameindex()[0][1])
";
    let (gateway, port) = (scene.family.gateway().to_string(), http.port.to_string());
    let text = python(&scene, &[], program, &[&gateway, &port]);
    assert_eq!(text, "10.0.2.15 True\nlo");
}

fn ipv6_sockets_carry_both_families(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
import errno, socket, sys
s = socket.socket(socket.AF_INET6)
s.connect(('::ffff:' + sys.argv[1], int(sys.argv[2])))
s.sendall(b'GET /data/5/1 HTTP/1.0\\r\\n\\r\\n')
reply = b''
while part := s.recv(4096):
    reply += part
print(reply.startswith(b'HTTP/1.'), s.getpeername()[0], s.getsockname()[0])
# A host that is not there, and one of a family that V6ONLY excludes.
for only, address in (0, 'fd00:10:0:2::77'), (1, '::ffff:10.0.2.2'):
    try:
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        s.connect((address, 80))
        print('connected')
    except OSError as error:
        print(errno.errorcode[error.errno])
listener = socket.create_server(('::', 0), family=socket.AF_INET6, dualstack_ipv6=True)
for address in '127.0.0.1', '::1':
    c = socket.create_connection((address, listener.getsockname()[1]))
    print(listener.accept()[1][0])
";
    let (gateway, port) = (scene.family.gateway().to_string(), http.port.to_string());
    let text = python(&scene, &[], program, &[&gateway, &port]);
    let expected = "True ::ffff:10.0.2.2 ::ffff:10.0.2.15\nEHOSTUNREACH\nENETUNREACH\n::ffff:127.0.0.1\n::1";
    assert_eq!(text, expected);
}

/// Paths and abstract names reach the machine's processes.
fn local_sockets_work_as_before(setting: Setting) {
    let scene = Scene::new(setting);
    let abstract_name = scene.unique("wireway-test-");
    let serve = "
import os, socket, sys
listeners = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for listener, name in zip(listeners, ['socket', '\\0' + sys.argv[1]]):
    listener.bind(name)
    listener.listen()
os.chmod('socket', 0o777)
print('ready', flush=True)
for listener in listeners:
    s, _ = listener.accept()
    s.sendall(s.recv(100)[::-1])
    s.close()
";
    let mut server = scene.command("python3");
    let mut server = Running::start(server.args(["-c", serve, &abstract_name]));
    server.wait_for_text("ready");
    let program = "
import socket, sys
for name in 'socket', '\\0' + sys.argv[1]:
    s = socket.socket(socket.AF_UNIX)
    s.connect(name)
    s.sendall(b'hello')
    print(s.recv(100).decode())
";
    assert_eq!(python(&scene, &[], program, &[&abstract_name]), "olleh\nolleh");
    server.wait().ok();
}

fn a_descriptor_travels_between_processes(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = "
import os, socket, sys
ours, theirs = socket.socketpair()
if os.fork() == 0:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    s.sendall(b'GET /data/70000/1 ')
    socket.send_fds(theirs, [b'x'], [s.fileno()])
    os._exit(0)
_, descriptors, _, _ = socket.recv_fds(ours, 10, 1)
os.wait()
s = socket.socket(fileno=os.dup(descriptors[0]))
os.close(descriptors[0])
s.sendall(b'HTTP/1.0\\r\\n\\r\\n')
os.dup2(s.fileno(), 9, inheritable=True)
s.close()
os.execvp('sh', ['sh', '-c', 'cat <&9'])
";
    let (gateway, port) = (scene.family.gateway().to_string(), http.port.to_string());
    let mut command = scene.run(&NONE, "python3");
    let reply = finish(command.args(["-c", program, &gateway, &port])).ok();
    let head = reply.windows(4).position(|w| w == b"\r\n\r\n").expect("the end of the headers");
    assert!(reply[head + 4..] == Content::bytes(70_000, 1), "the bytes differ");
}

/// Every system call that could make or reach a network socket by another number. On the machine itself some succeed.
fn other_abis_and_io_uring_are_refused(setting: Setting) {
    let scene = Scene::new(setting);
    let program = build::c(&scene, "ways_round");
    let outside = finish(&mut scene.command(&program)).text();
    let inside = finish(&mut scene.run(&NONE, &program)).text();
    let mut lines = inside.lines().zip(outside.lines());
    // A kernel without the i386 ABI has none inside either.
    let (i386, i386_outside) = lines.next().expect("a line");
    assert_eq!(i386, i386_outside);
    for (line, outside) in lines {
        let (call, answer) = line.split_once(": ").expect("a call and its answer");
        match call {
            "pidfd_getfd" => assert_eq!(answer, "EPERM"),
            call if call.starts_with("i386") && i386.ends_with("absent") => assert_eq!(line, outside),
            _ => assert_eq!(answer, "ENOSYS", "{call}"),
        }
    }
    assert_eq!(inside.lines().count(), 13, "{inside}");
    assert!(outside.contains("pidfd_getfd: done"), "the program tries nothing: {outside}");
}

/// Closed, or no network socket any more: it reaches nobody through the kernel.
fn an_inherited_socket_is_no_way_round(setting: Setting) {
    let scene = Scene::new(setting);
    let listener = TcpListener::bind((scene.family.loopback(), 0)).expect("listen");
    let port = listener.local_addr().expect("address").port().to_string();
    let launch = "
import os, socket, sys
s = socket.socket()
os.dup2(s.fileno(), 9, inheritable=True)
os.execvp(sys.argv[1], sys.argv[1:])
";
    let inside = "
import socket, sys
try:
    s = socket.socket(fileno=9)
    s.connect(('127.0.0.1', int(sys.argv[1])))
    print('connected')
except OSError as error:
    print('refused')
";
    let run = scene.run(&NONE, "python3");
    let words: Vec<_> = std::iter::once(run.get_program()).chain(run.get_args()).collect();
    let mut python: Command = scene.command("python3");
    python.args(["-c", launch]).args(words).args(["-c", inside, &port]);
    let outcome = finish(&mut python);
    listener.set_nonblocking(true).expect("non-blocking");
    assert!(listener.accept().is_err(), "the inherited socket reached the machine");
    assert!(outcome.code() == 125 || outcome.text_of_stdout() == "refused", "{outcome}");
}

/// Connects to `listener` and starts `command` with the connection as descriptor `number`.
fn with_connection(scene: &Scene, listener: &TcpListener, number: u32, command: &Command) -> Outcome {
    let launch = "
import os, socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
os.dup2(s.fileno(), int(sys.argv[2]), inheritable=True)
os.execvp(sys.argv[3], sys.argv[3:])
";
    let port = listener.local_addr().expect("address").port();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut python = scene.command("python3");
    finish(python.args(["-c", launch, &port.to_string(), &number.to_string()]).args(words))
}

/// The bytes that came over the one connection that was made.
fn carried(listener: &TcpListener) -> Vec<u8> {
    let mut received = Vec::new();
    listener.accept().expect("accept").0.read_to_end(&mut received).expect("the end");
    received
}

fn an_inherited_connection_carries_nothing(setting: Setting) {
    let scene = Scene::new(setting);
    let program = build::c(&scene, "ways_round");
    let listener = TcpListener::bind((scene.family.loopback(), 0)).expect("listen");
    let mut inside = scene.run(&NONE, &program);
    let text = with_connection(&scene, &listener, 9, inside.args(["descriptor", "9"])).text();
    assert_eq!(text, "write: EBADF\nwritev: EBADF\nsendto: EBADF\nsendmsg: EBADF\ndup: EBADF");
    assert_eq!(carried(&listener), b"");
    let mut outside = scene.command(&program);
    with_connection(&scene, &listener, 9, outside.args(["descriptor", "9"])).ok();
    assert_eq!(carried(&listener), b"xxxx");
}

fn a_connection_for_standard_input_is_refused(setting: Setting) {
    let scene = Scene::new(setting);
    let program = build::c(&scene, "ways_round");
    let listener = TcpListener::bind((scene.family.loopback(), 0)).expect("listen");
    let mut inside = scene.run(&NONE, program);
    let outcome = with_connection(&scene, &listener, 0, inside.args(["descriptor", "0"]));
    assert_eq!(outcome.code(), 125, "{outcome}");
    assert!(outcome.stderr.contains("descriptor 0"), "{outcome}");
    assert_eq!(carried(&listener), b"");
}

fn other_families_are_refused(setting: Setting) {
    let scene = Scene::new(setting);
    let program = "
import errno, socket
for family, kind in (40, socket.SOCK_STREAM), (44, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW):
    try:
        socket.socket(family, kind)
        print(family, 'made')
    except OSError as error:
        print(family, errno.errorcode[error.errno])
";
    let text = python(&scene, &[], program, &[]);
    for (line, family) in text.lines().zip([40, 44, 17]) {
        assert!(line.starts_with(&format!("{family} E")), "{text}");
    }
    assert_eq!(text.lines().count(), 3, "{text}");
}

fn isolated_programs_have_no_other_network(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.url(http.port, "/data/100000/1");
    let body = finish(scene.run(&["--isolate"], "curl").args(["-sS", &url])).ok();
    assert!(body == Content::bytes(100_000, 1), "the bytes differ");
    let interfaces = "ls /proc/self/net/dev_snmp6 | tr '\\n' ' '; tail -n +3 /proc/self/net/dev | wc -l";
    let text = finish(scene.run(&["--isolate"], "sh").args(["-c", interfaces])).text();
    assert!(text == "lo 1" || text == "1", "{text}");
}

fn an_idle_program_uses_no_processor_time(setting: Setting) {
    let scene = Scene::new(setting);
    let mut idle = scene.run(&NONE, "python3");
    let program = "
import socket
listener = socket.create_server(('', 7000))
print('ready', flush=True)
listener.accept()
";
    let mut idle = Running::start(idle.args(["-c", program]));
    idle.wait_for_text("ready");
    // Time in units of 10 ms of all our processes, before and after a while without an event.
    let ticks = || -> u64 {
        let one = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // After the name in brackets: state, eleven others, then the user's and the system's time.
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            fields.skip(11).take(2).flat_map(str::parse::<u64>).sum::<u64>()
        };
        scene.processes_of_the_command().iter().map(one).sum()
    };
    let mut before = ticks();
    wait_until("a second passes without a tick", || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let now = ticks();
        let quiet = now == before;
        before = now;
        quiet
    });
}
