//! Paths through the kernel's routers: the TAP interface, a router, a link that is narrower than those at both ends, another router, a server.

use std::net::TcpListener;

use crate::common::content::{Content, sha256_file};
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Family, Machine, Scene, Setting, bracketed, finish, skip_without_root};
use crate::course::{idle, kernels, machine_with_tap, options, ours, ping_three, wait_until_attached};

in_both_families! {
    as_every_user: [],
    as_one_user: [
        tcp_fits_a_narrower_path,
        datagrams_fit_a_narrower_path,
        datagrams_are_fragmented_at_every_mtu,
        tracepath_finds_the_way_and_its_mtu,
        traceroute_shows_every_hop,
        the_gateway_is_one_hop_of_the_way,
        the_kernel_traces_the_way_to_us,
        nmap_finds_the_open_ports,
    ]
}

/// The server's address.
fn far(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.2.0.3",
        Family::V6 => "fd02::3",
    }
}

/// The routers and the server, with their ends held.
struct Path {
    router: Machine,
    second: Machine,
    server: Machine,
}

impl Path {
    /// With a link between the routers that carries `narrow` bytes; the others carry 1,500.
    fn new(scene: &Scene, narrow: u16) -> Path {
        let router = machine_with_tap(scene);
        let (second, server) = (Machine::new(scene), Machine::new(scene));
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
            echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad\n";
        let up = |interface: &str, v4: &str, v6: &str| {
            format!(
                "ip addr add {v4}/24 dev {interface}; ip addr add {v6}/64 dev {interface} nodad; ip link set {interface} up\n"
            )
        };
        // Else it is chance whether the last of many probes is answered.
        let answers = "echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit\n";
        let routes = |v4: &str, v6: &str| format!("ip route add default via {v4}; ip -6 route add default via {v6}\n");
        server.script(scene, &[answers, "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"].concat());
        second.script(
            scene,
            &[forward, answers, &format!("ip link add right type veth peer name left netns {}", server.pid())].concat(),
        );
        router.script(
            scene,
            &[
                forward,
                answers,
                &format!(
                    "ip link add right mtu {narrow} type veth peer name left mtu {narrow} netns {}\n",
                    second.pid()
                ),
                &up("right", "10.1.0.1", "fd01::1"),
                &routes("10.1.0.2", "fd01::2"),
            ]
            .concat(),
        );
        second.script(
            scene,
            &[
                &up("left", "10.1.0.2", "fd01::2")[..],
                &up("right", "10.2.0.2", "fd02::2"),
                "ip route add 10.0.0.0/24 via 10.1.0.1; ip -6 route add fd00::/64 via fd01::1",
            ]
            .concat(),
        );
        server.script(scene, &[up("left", "10.2.0.3", "fd02::3"), routes("10.2.0.2", "fd02::2")].concat());
        Path { router, second, server }
    }
}

fn options_with_router(family: Family) -> Vec<String> {
    [options(family), vec!["--gateway".to_owned(), kernels(family).to_owned()]].concat()
}

/// The MTU that the kernel knows of a path.
fn kernel_mtu(scene: &Scene, machine: &Machine, to: &str) -> String {
    let route = machine.script(scene, &format!("ip route get {to}"));
    let mut words = route.split_whitespace().skip_while(|&word| word != "mtu").skip(1);
    words.next().unwrap_or_default().to_owned()
}

/// Both ends think that segments of a 1,500-byte packet fit, both are told that they do not, and then both know.
fn tcp_fits_a_narrower_path(setting: Setting) {
    if skip_without_root("TCP over a narrower path") {
        return;
    }
    const SIZE: u64 = 1_000_000;
    for narrow in [1280, 1400] {
        let scene = Scene::new(setting);
        let path = Path::new(&scene, narrow);
        let far = far(setting.family);
        let http = HttpServer::start_on(path.server.within(|| TcpListener::bind((far, 0)).expect("listen")), None);
        let url = format!("http://{}:{}/data/{SIZE}/1", bracketed(far.parse().expect("an address")), http.port);
        let (level, option) = match setting.family {
            Family::V4 => ("IPPROTO_IP", 14),
            Family::V6 => ("IPPROTO_IPV6", 24),
        };
        scene.write("in", Content::bytes(SIZE, 1));
        // What we send comes first: the kernel offers a smaller MSS where it knows of a narrow path. The cache of the host that curl ran on is
        // asked by a socket of the same host.
        let script = format!(
            "curl -sS --max-time 30 -T in {url} && curl -sS --max-time 30 -o out {url} &&
             python3 -c 'import socket; s = socket.socket({}, socket.SOCK_DGRAM); s.connect((\"{far}\", 9)); print(s.getsockopt(socket.{level}, {option}))'",
            setting.family.python()
        );
        let run = finish(scene.run_in(&path.router, &options_with_router(setting.family), "sh").args(["-c", &script]));
        let text = run.text();
        assert_eq!(sha256_file(&scene.path("out")), Content::sha256(SIZE, 1));
        assert_eq!(text, format!("{SIZE} {}\n{narrow}", Content::sha256(SIZE, 1)));
        assert_eq!(kernel_mtu(&scene, &path.server, ours(setting.family)), narrow.to_string());
    }
}

/// Says what it gets back for datagrams of these lengths, and after how many it got an answer: what is too long for the path is lost, but
/// told.
const ASK: &str = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
for length in map(int, sys.argv[3:]):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(0.5)
    s.connect((sys.argv[1], int(sys.argv[2])))
    data = bytes(n * 7 % 251 for n in range(length))
    for sent in range(1, 11):
        try:
            s.send(data)
            answer = s.recv(65536)
            # What woke us up may be the error.
            if not answer:
                continue
            assert answer == data, 'other data'
            break
        except OSError as error:
            print(error, file=sys.stderr)
    else:
        sys.exit(f'{length}: no answer')
    print(length, sent)
";

const ANSWER: &str = "
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7007))
print('ready', flush=True)
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data, peer)
";

fn datagrams_fit_a_narrower_path(setting: Setting) {
    if skip_without_root("datagrams over a narrower path") {
        return;
    }
    let scene = Scene::new(setting);
    let path = Path::new(&scene, 1280);
    let (ours, far) = (ours(setting.family), far(setting.family));
    let lengths = ["1", "1232", "1252", "1300", "1452", "3000", "20000", "60000"];
    // Once we ask and once the kernel.
    let mut answer = scene.command_in(&path.server, "python3");
    let mut answer = Running::start(answer.args(["-c", ANSWER, far]));
    answer.wait_for_text("ready");
    let mut ask = scene.run_in(&path.router, &options_with_router(setting.family), "python3");
    let text = finish(ask.args(["-c", ASK, far, "7007"]).args(lengths)).text();
    assert_eq!(text.lines().count(), lengths.len(), "{text}");
    assert_eq!(text.lines().last(), Some("60000 1"), "once the path is known nothing is lost");

    let mut answer = scene.run_in(&path.router, &options_with_router(setting.family), "python3");
    let mut answer = Running::start(answer.args(["-c", ANSWER, ours]));
    answer.wait_for_text("ready");
    wait_until_attached(&scene, &path.router);
    let mut ask = scene.command_in(&path.server, "python3");
    let text = finish(ask.args(["-c", ASK, ours, "7007"]).args(lengths)).text();
    assert_eq!(text.lines().count(), lengths.len(), "{text}");
}

/// One packet, two, and many, both ways.
fn datagrams_are_fragmented_at_every_mtu(setting: Setting) {
    if skip_without_root("fragments") {
        return;
    }
    let headers = match setting.family {
        Family::V4 => 28,
        Family::V6 => 48,
    };
    for mtu in [1280, 1281, 1400, 1500, 9000] {
        let scene = Scene::new(setting);
        let machine = machine_with_tap(&scene);
        machine.script(&scene, &format!("ip link set tap0 mtu {mtu}"));
        let options = [options(setting.family), vec!["--mtu".to_owned(), mtu.to_string()]].concat();
        let sizes = [mtu - headers, mtu - headers + 1, 2 * mtu, 2 * mtu + 1, 60_000].map(|size| size.to_string());
        let script = "for size; do ping -n -q -c 2 -i 0.2 -W 5 -p a5c31e -s $size $TO || exit 1; done; echo done; exec sleep infinity";
        let mut pings = scene.run_in(&machine, &options, "sh");
        let mut pings =
            Running::start(pings.env("TO", kernels(setting.family)).args(["-c", script, "sh"]).args(&sizes));
        pings.wait_for_text("done");
        let text = String::from_utf8_lossy(&pings.stdout()).into_owned();
        assert_eq!(text.matches("2 packets transmitted, 2 received, 0% packet loss").count(), sizes.len(), "{text}");
        for size in &sizes {
            ping_three(scene.command_in(&machine, "ping"), size, ours(setting.family));
        }
    }
}

/// By the error queue: time exceeded of each router, "too big" and EMSGSIZE.
fn tracepath_finds_the_way_and_its_mtu(setting: Setting) {
    if skip_without_root("tracepath") {
        return;
    }
    let scene = Scene::new(setting);
    let path = Path::new(&scene, 1400);
    let mut tracepath = scene.run_in(&path.router, &options_with_router(setting.family), "tracepath");
    let text = finish(tracepath.args(["-n", far(setting.family)])).text();
    let second = if setting.family == Family::V4 { "10.1.0.2" } else { "fd01::2" };
    for (hop, address) in [(1, kernels(setting.family)), (2, second), (3, far(setting.family))] {
        let found = text.lines().any(|line| line.starts_with(&format!(" {hop}:  {address} ")));
        assert!(found, "hop {hop}: {text}");
    }
    assert!(text.contains("[LOCALHOST]") && text.contains("pmtu 1500"), "our own interface: {text}");
    assert!(text.contains("Resume: pmtu 1400 hops 3 back 3"), "{text}");
}

/// The second column of what traceroute prints: who answered at each hop.
fn hops(text: &str) -> Vec<&str> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect()
}

/// As the kernel's from the first router, and that router before. It waits for POLLERR alone before it reads the error queue.
fn traceroute_shows_every_hop(setting: Setting) {
    if skip_without_root("traceroute") {
        return;
    }
    let scene = Scene::new(setting);
    let path = Path::new(&scene, 1400);
    let far = far(setting.family);
    for method in [&["-U"][..], &["-I"], &["-T"], &["-U", "-q", "3", "-N", "1"], &["--mtu"]] {
        let arguments = [&["-n", "-q", "1"], method, &[far]].concat();
        let kernel = finish(scene.command_in(&path.router, "traceroute").args(&arguments)).text();
        let mut traceroute = scene.run_in(&path.router, &options_with_router(setting.family), "traceroute");
        let text = finish(traceroute.args(&arguments)).text();
        assert_eq!(
            hops(&text),
            [&[kernels(setting.family)], &hops(&kernel)[..]].concat(),
            "{method:?}: {text}{kernel}"
        );
        if method == ["--mtu"] {
            assert!(text.contains("F=1500") && text.contains("F=1400"), "{text}");
        }
    }
}

/// The machine's routers say through the gateway what they say to the machine, soft errors as well.
fn the_gateway_is_one_hop_of_the_way(setting: Setting) {
    if skip_without_root("traceroute through the gateway") {
        return;
    }
    let scene = Scene::new(setting);
    let path = Path::new(&scene, 1400);
    let (far, gateway, second, nowhere) = match setting.family {
        Family::V4 => (far(Family::V4), "10.0.2.2", "10.1.0.2", "10.9.0.1"),
        Family::V6 => (far(Family::V6), "fd00:10:0:2::2", "fd01::2", "fd09::1"),
    };
    path.second.script(&scene, &format!("ip route add unreachable {nowhere}"));
    // First: the kernel says this once a second, counted from whatever else it says.
    let mut ping = scene.run_in(&path.router, &[""; 0], "ping");
    let outcome = Running::start(ping.args(["-n", "-c", "1", "-W", "5", nowhere])).wait();
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(text.to_lowercase().contains(&format!("from {second} icmp_seq=1 destination")), "{text}{}", outcome.stderr);
    for method in ["-U", "-I"] {
        let mut traceroute = scene.run_in(&path.router, &[""; 0], "traceroute");
        let text = finish(traceroute.args(["-n", "-q", "1", method, far])).text();
        assert_eq!(hops(&text), [gateway, second, far], "{method}: {text}");
    }
}

/// By datagrams to ports where nobody listens, by echo requests and by SYNs.
fn the_kernel_traces_the_way_to_us(setting: Setting) {
    if skip_without_root("traceroute") {
        return;
    }
    let scene = Scene::new(setting);
    let path = Path::new(&scene, 1400);
    let mut idle = scene.run_in(&path.router, &options_with_router(setting.family), "sh");
    let mut idle = Running::start(idle.args(["-c", "echo ready; exec sleep infinity"]));
    idle.wait_for_text("ready");
    wait_until_attached(&scene, &path.router);
    let ours = ours(setting.family);
    for method in ["-U", "-I", "-T"] {
        let mut traceroute = scene.command_in(&path.server, "traceroute");
        let text = finish(traceroute.args(["-n", "-q", "1", method, ours])).text();
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with(&format!(" 3  {ours} ")), "{method}: {text}");
    }
    let mut tracepath = scene.command_in(&path.server, "tracepath");
    let text = finish(tracepath.args(["-n", ours])).text();
    assert!(text.contains("Resume: pmtu 1400 hops 3 back 3"), "{text}");
}

/// A connect scan, both ways.
fn nmap_finds_the_open_ports(setting: Setting) {
    if skip_without_root("nmap") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let (ours, kernels) = (ours(setting.family), kernels(setting.family));
    let scan = |mut nmap: std::process::Command, address: &str| {
        if setting.family == Family::V6 {
            nmap.arg("-6");
        }
        finish(nmap.args(["-sT", "-Pn", "-n", "-p", "7000-7999", address])).text()
    };
    let _listeners = [7000, 7777].map(|port| machine.within(|| TcpListener::bind((kernels, port)).expect("listen")));
    let text = scan(scene.run_in(&machine, &options(setting.family), "nmap"), kernels);
    let open = |text: &str| text.lines().filter(|line| line.contains("open")).count();
    assert!(text.contains("7000/tcp open") && text.contains("7777/tcp open") && open(&text) == 2, "{text}");
    assert!(text.contains("998 closed"), "{text}");

    let mut server = scene.run_in(&machine, &options(setting.family), "python3");
    let mut server = Running::start(server.args(["-u", "-m", "http.server", "-b", ours, "7005"]));
    server.wait_for_text("Serving");
    let text = scan(scene.command_in(&machine, "nmap"), ours);
    assert!(text.contains("7005/tcp open") && open(&text) == 1 && text.contains("999 closed"), "{text}");
    // And a host where nobody listens.
    drop(server);
    let _idle = idle(&scene, &machine);
    let text = scan(scene.command_in(&machine, "nmap"), ours);
    assert!(open(&text) == 0 && text.contains("1000 closed"), "{text}");
}
