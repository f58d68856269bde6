//! Multicast, seen on the kernel: a TAP interface in a Linux bridge that snoops on IGMP and MLD and asks who is in which group. A program on our
//! stack joins: the bridge's table shows it, and what the kernel sends to the group arrives. And the other way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::common::process::Running;
use crate::common::{Machine, Scene, Setting, finish, skip_without_root, wait_until};

in_every_setting! {
    as_every_user: [],
    as_one_user: [
        the_bridge_sees_a_join_and_a_leave_of_ipv4,
        the_bridge_sees_a_join_and_a_leave_of_ipv6,
        only_the_source_that_was_asked_for_is_heard_on_ipv4,
        only_the_source_that_was_asked_for_is_heard_on_ipv6,
        a_membership_outlives_queries,
        the_kernel_hears_what_we_send,
    ]
}

const OPTIONS: [&str; 8] =
    ["--net", "tap=tap0", "--address", "10.0.0.4/24", "--address", "fd00:7::4/64", "--mac", "02:00:00:00:00:04"];

/// Its times are in hundredths of a second: it asks often, and believes a leave soon.
const BRIDGE: &str = "
    ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_igmp_version 3 mcast_mld_version 2 \
        mcast_query_interval 200 mcast_startup_query_interval 100 mcast_query_response_interval 100 \
        mcast_membership_interval 600 mcast_last_member_interval 20
    ip tuntap add dev tap0 mode tap
    echo 1 > /proc/sys/net/ipv6/conf/tap0/disable_ipv6
    ip link set tap0 master br0
    ip addr add 10.0.0.5/24 dev br0
    ip addr add 10.0.0.6/24 dev br0
    ip addr add fd00:7::5/64 dev br0 nodad
    ip addr add fd00:7::6/64 dev br0 nodad
    ip link set br0 up
    ip link set tap0 up
    ip route add 224.0.0.0/4 dev br0
";

/// Joins a group, of a source if one is given, by the options of RFC 3678; tells what comes, until it is told to leave.
const LISTENER: &str = r#"
import signal, socket, struct, sys
group, source, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
v6 = ":" in group
def address(text):
    if v6:
        return struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, text), 0)
    return struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_pton(socket.AF_INET, text))
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", port))
level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
index = [index for index, name in socket.if_nameindex() if name != "lo"][0]
wanted = struct.pack("=II", index, 0) + address(group)
if source == "any":
    s.setsockopt(level, 42, wanted)
else:
    s.setsockopt(level, 46, wanted + address(source))
print("joined", flush=True)
while True:
    data, peer = s.recvfrom(2048)
    print(data.decode(), "from", peer[0], flush=True)
    if data == b"leave":
        break
s.setsockopt(level, 45, wanted)
print("left", flush=True)
signal.pause()
"#;

/// Sends a short and a long datagram. The addresses of an interface that just came up are not usable at once (RFC 4862 §5.4).
const SENDER: &str = r#"
import errno, socket, sys, time
group, port = sys.argv[1], int(sys.argv[2])
v6 = ":" in group
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
if v6:
    index = [index for index, name in socket.if_nameindex() if name != "lo"][0]
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 3)
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.4"))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 3)
while True:
    try:
        s.bind((sys.argv[3], 0))
        break
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        time.sleep(0.05)
s.sendto(b"small", (group, port))
s.sendto(b"l" * 4000, (group, port))
"#;

const PORT: u16 = 5007;

/// One family's part in a test.
struct Side {
    group: &'static str,
    /// Two addresses of the kernel's.
    sources: [&'static str; 2],
}

const V4: Side = Side { group: "232.1.2.3", sources: ["10.0.0.5", "10.0.0.6"] };
const V6: Side = Side { group: "ff35::8000:1", sources: ["fd00:7::5", "fd00:7::6"] };

impl Side {
    fn group(&self) -> IpAddr {
        self.group.parse().expect("an address")
    }
}

fn machine(scene: &Scene) -> Machine {
    let machine = Machine::new(scene);
    machine.script(scene, BRIDGE);
    machine
}

fn listen(scene: &Scene, machine: &Machine, side: &Side, source: &str) -> Running {
    let program = scene.write("listen.py", LISTENER);
    let mut command: Command = scene.run_in(machine, &OPTIONS, "python3");
    let mut listener = Running::start(command.arg(program).args([side.group, source, &PORT.to_string()]));
    listener.wait_for_text("joined");
    listener
}

/// The lines of the bridge's table that tell of the group on our port.
fn table(scene: &Scene, machine: &Machine, side: &Side) -> Vec<String> {
    let mut show = scene.command_in(machine, "bridge");
    let text = finish(show.args(["-d", "mdb", "show"])).text();
    let of_ours = |line: &&str| line.contains("port tap0") && line.contains(&format!("grp {} ", side.group));
    text.lines().filter(of_ours).map(String::from).collect()
}

fn is_listed(scene: &Scene, machine: &Machine, side: &Side) -> bool {
    !table(scene, machine, side).is_empty()
}

/// The kernel sends to the group, from one of its addresses.
fn send(machine: &Machine, side: &Side, source: &str, data: &str) {
    let from: IpAddr = source.parse().expect("an address");
    machine.within(|| {
        let socket = UdpSocket::bind((from, 0)).expect("bind");
        socket.send_to(data.as_bytes(), (side.group(), PORT)).expect("send");
    });
}

fn end(mut listener: Running) {
    listener.signal(rustix::process::Signal::TERM);
    listener.wait();
}

fn join_and_leave(setting: Setting, side: &Side) {
    if skip_without_root("multicast") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let mut listener = listen(&scene, &machine, side, "any");
    wait_until("the bridge has seen the join", || is_listed(&scene, &machine, side));
    let told = table(&scene, &machine, side);
    assert!(told.iter().any(|line| line.contains("filter_mode exclude")), "{told:?}");
    for (number, source) in side.sources.into_iter().enumerate() {
        send(&machine, side, source, &format!("hello {number}"));
        listener.wait_for_text(&format!("hello {number} from {source}"));
    }
    send(&machine, side, side.sources[0], "leave");
    listener.wait_for_text("left");
    wait_until("the bridge has seen the leave", || !is_listed(&scene, &machine, side));
    end(listener);
}

fn the_bridge_sees_a_join_and_a_leave_of_ipv4(setting: Setting) {
    join_and_leave(setting, &V4);
}

fn the_bridge_sees_a_join_and_a_leave_of_ipv6(setting: Setting) {
    join_and_leave(setting, &V6);
}

fn one_source(setting: Setting, side: &Side) {
    if skip_without_root("source-specific multicast") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let [wanted, other] = side.sources;
    let mut listener = listen(&scene, &machine, side, wanted);
    wait_until("the bridge has seen the join", || is_listed(&scene, &machine, side));
    let told = table(&scene, &machine, side);
    assert!(told.iter().any(|line| line.contains(&format!("src {wanted} "))), "{told:?}");
    send(&machine, side, other, "not for you");
    send(&machine, side, wanted, "for you");
    listener.wait_for_text(&format!("for you from {wanted}"));
    // What a bridge that does not look lets through, the host does not take.
    machine.script(&scene, "ip link set br0 type bridge mcast_snooping 0");
    send(&machine, side, other, "not for you");
    send(&machine, side, wanted, "leave");
    listener.wait_for_text("left");
    let text = String::from_utf8_lossy(&listener.stdout()).into_owned();
    assert!(!text.contains("not for you"), "{text}");
    end(listener);
}

fn only_the_source_that_was_asked_for_is_heard_on_ipv4(setting: Setting) {
    one_source(setting, &V4);
}

fn only_the_source_that_was_asked_for_is_heard_on_ipv6(setting: Setting) {
    one_source(setting, &V6);
}

/// The bridge forgets who does not answer within six seconds.
fn a_membership_outlives_queries(setting: Setting) {
    if skip_without_root("queries") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let v4 = listen(&scene, &machine, &V4, "any");
    wait_until("the bridge has seen the join", || is_listed(&scene, &machine, &V4));
    std::thread::sleep(Duration::from_secs(9));
    assert!(is_listed(&scene, &machine, &V4));
    end(v4);
    // Nobody answers any more.
    wait_until("the bridge has forgotten it", || !is_listed(&scene, &machine, &V4));
    let v6 = listen(&scene, &machine, &V6, "any");
    wait_until("the bridge has seen the join", || is_listed(&scene, &machine, &V6));
    std::thread::sleep(Duration::from_secs(9));
    assert!(is_listed(&scene, &machine, &V6));
    end(v6);
}

fn the_kernel_hears_what_we_send(setting: Setting) {
    if skip_without_root("sending to a group") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine(&scene);
    let program = scene.write("send.py", SENDER);
    for (group, ours) in [("239.5.6.7", "10.0.0.4"), ("ff05::5:7", "fd00:7::4")] {
        let group: IpAddr = group.parse().expect("an address");
        let receiver = machine.within(|| {
            let any: IpAddr = if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let receiver = UdpSocket::bind((any, 0)).expect("bind");
            match group {
                IpAddr::V4(group) => receiver.join_multicast_v4(&group, &Ipv4Addr::new(10, 0, 0, 5)).expect("join"),
                IpAddr::V6(group) => receiver.join_multicast_v6(&group, index_of_the_bridge()).expect("join"),
            }
            receiver.set_read_timeout(Some(Duration::from_secs(30))).expect("time-out");
            receiver
        });
        let port = receiver.local_addr().expect("address").port();
        let mut sender = scene.run_in(&machine, &OPTIONS, "python3");
        finish(sender.arg(&program).args([&group.to_string(), &port.to_string(), ours])).ok();
        let mut buffer = [0; 5000];
        for expected in [&b"small"[..], &[b'l'; 4000]] {
            let (n, from): (usize, SocketAddr) = receiver.recv_from(&mut buffer).expect("receive");
            assert_eq!((&buffer[..n], from.ip().to_string()), (expected, ours.to_string()));
        }
    }
}

fn index_of_the_bridge() -> u32 {
    // The machine's /sys is another's, but this socket is in its network.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    rustix::net::netdevice::name_to_index(socket.expect("socket"), "br0").expect("br0")
}
