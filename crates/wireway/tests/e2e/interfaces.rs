//! The tools people already have configure the host: `ip`, `ifconfig`, `route` and `arp` say and do what they do in a namespace of the kernel's,
//! for ordinary users too, while programs use the interfaces.

use crate::common::content::Content;
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Machine, Scene, Setting, finish, skip_without_root};

in_every_setting! {
    as_every_user: [
        tools_say_what_they_say_on_linux, scopes_and_families_are_as_on_linux, a_link_goes_down_and_up_under_a_program, another_address_is_used,
        a_smaller_mtu_is_kept_to, routes_lead_where_they_say, members_of_groups_are_told, hosts_talk_in_a_vlan
    ],
    as_one_user: []
}

/// A machine of the kernel's with an eth0 as the host's is by [`OPTIONS`].
fn linux(scene: &Scene) -> Machine {
    let machine = Machine::new(scene);
    machine.script(
        scene,
        "ip link set lo up && ip link add eth0 address 02:00:00:00:00:01 type veth peer name peer0
         ip link set peer0 addrgenmode none && ip link set peer0 up && ip link set eth0 up
         ip addr add 10.0.0.1/24 brd + dev eth0 && ip addr add fd00::1/64 dev eth0
         until [ $(ip -6 -o addr show dev eth0 -tentative | wc -l) = 2 ]; do sleep 0.05; done",
    );
    machine
}

const OPTIONS: [&str; 6] = ["--address", "10.0.0.1/24", "--address", "fd00::1/64", "--mac", "02:00:00:00:00:01"];

/// The same commands in a namespace of the kernel's, as root, and on the host.
fn tools_say_what_they_say_on_linux(setting: Setting) {
    if skip_without_root("a comparison with a namespace") {
        return;
    }
    let scene = Scene::new(setting);
    let script = scene.write("interfaces.sh", include_str!("sh/interfaces.sh"));
    let machine = linux(&scene);
    machine.script(&scene, "ip link set eth0 addrgenmode none && ip -6 addr flush dev eth0 scope link");
    let linux = finish(scene.command_in(&machine, "sh").arg(&script)).text();
    let routes = "ip route del default && ip -6 route del default && exec sh interfaces.sh";
    let ours = finish(scene.run(&OPTIONS, "sh").args(["-c", routes])).text();
    assert!(linux.lines().count() > 300, "the script ended early: {linux}");
    let mut command = "";
    for (linux, ours) in linux.lines().zip(ours.lines()) {
        command = if linux.starts_with(['$', 'a']) { linux } else { command };
        assert_eq!(ours, linux, "{command}");
    }
    assert_eq!(ours.lines().count(), linux.lines().count());
}

fn scopes_and_families_are_as_on_linux(setting: Setting) {
    if skip_without_root("a comparison with a namespace") {
        return;
    }
    let scene = Scene::new(setting);
    let script = scene.write("scopes.py", include_str!("py/scopes.py"));
    let linux = finish(scene.command_in(&linux(&scene), "python3").arg(&script)).text();
    let ours = finish(scene.run(&OPTIONS, "python3").arg(&script)).text();
    assert!(linux.lines().count() > 40, "the script ended early: {linux}");
    for (linux, ours) in linux.lines().zip(ours.lines()) {
        assert_eq!(ours, linux);
    }
    assert_eq!(ours.lines().count(), linux.lines().count());
}

/// A server of content on the machine's loopback, and its URL for 200,000 bytes as the program reaches it.
fn serve(setting: Setting) -> (HttpServer, String) {
    let http = HttpServer::start(setting.family.loopback());
    let url = setting.family.url(http.port, "/data/200000/5");
    (http, url)
}

fn is_fetched(scene: &Scene, name: &str) {
    assert!(std::fs::read(scene.path(name)).expect("what was fetched") == Content::bytes(200_000, 5), "{name}");
}

fn a_link_goes_down_and_up_under_a_program(setting: Setting) {
    let scene = Scene::new(setting);
    let (_http, url) = serve(setting);
    let script = format!(
        "curl -sS {url} -o first
         ip link set eth0 down
         curl -sS --max-time 10 {url} -o none; echo $?
         ping -c 1 -W 1 10.0.2.2; echo $?
         ip link set eth0 up && ip route add default via 10.0.2.2
         curl -sS {url} -o second"
    );
    let outcome = finish(scene.run::<&str>(&[], "sh").args(["-c", &script]));
    assert!(outcome.stderr.contains("Network is unreachable"), "{}", outcome.stderr);
    // curl's CURLE_COULDNT_CONNECT, and ping's "other error".
    assert_eq!(outcome.text(), "7\n2");
    is_fetched(&scene, "first");
    is_fetched(&scene, "second");
}

fn another_address_is_used(setting: Setting) {
    let scene = Scene::new(setting);
    let (_http, url) = serve(setting);
    let script = format!(
        "curl -sS --interface 10.0.2.77 {url} -o none; echo $?
         ip addr add 10.0.2.77/24 dev eth0 && curl -sS --interface 10.0.2.77 -w '%{{local_ip}}\\n' {url} -o fetched
         ip addr del 10.0.2.77/24 dev eth0
         curl -sS --interface 10.0.2.77 {url} -o none; echo $?"
    );
    let outcome = finish(scene.run::<&str>(&[], "sh").args(["-c", &script]));
    // 45 is CURLE_INTERFACE_FAILED.
    assert_eq!(outcome.text(), "45\n10.0.2.77\n45");
    is_fetched(&scene, "fetched");
}

const MTU: &str = "
import socket, sys
s = socket.create_connection(('10.0.2.2', int(sys.argv[1])))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.connect(('10.0.2.2', 9))
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), u.getsockopt(socket.IPPROTO_IP, 14))";

fn a_smaller_mtu_is_kept_to(setting: Setting) {
    let scene = Scene::new(setting);
    let (http, url) = serve(setting);
    let script = format!(
        "ip link set eth0 mtu 1300 && curl -sS {url} -o fetched && python3 -c \"$0\" {port}
         ip route add 10.0.2.2/32 dev eth0 mtu 1100 && python3 -c \"$0\" {port}",
        port = http.port
    );
    let outcome = finish(scene.run::<&str>(&[], "sh").args(["-c", &script, MTU]));
    // Segments have timestamps.
    assert_eq!(outcome.text(), "1248 1300\n1048 1100");
    is_fetched(&scene, "fetched");
}

fn routes_lead_where_they_say(setting: Setting) {
    let scene = Scene::new(setting);
    let script = "ip route del default; ip -6 route del default
         ping -c 1 -W 1 192.0.2.1 2>&1 | tail -1
         ip -6 route get 2001:db8::1 2>&1
         ip route add 192.0.2.0/24 via 10.0.2.2 && ip route get 192.0.2.1 | head -1 | sed 's/ *uid.*//'
         ip -6 route add 2001:db8::/32 via fd00:10:0:2::2 && ip -6 route get 2001:db8::1
         ip route del 192.0.2.0/24 && ip route get 192.0.2.1 2>&1 | tail -1";
    let told = finish(scene.run::<&str>(&[], "sh").args(["-c", script])).text();
    let expected = "ping: connect: Network is unreachable
RTNETLINK answers: Network is unreachable
192.0.2.1 via 10.0.2.2 dev eth0 src 10.0.2.15
2001:db8::1 from :: via fd00:10:0:2::2 dev eth0 src fd00:10:0:2::15 metric 1024 pref medium
RTNETLINK answers: Network is unreachable";
    assert_eq!(told, expected);
}

/// `ip monitor` tells of what another process changes.
fn members_of_groups_are_told(setting: Setting) {
    let scene = Scene::new(setting);
    let script = "ip monitor link address route > told & monitor=$!
         until grep -q 10.9.0.1 told; do
             ip addr add 10.9.0.1/24 dev eth0 && ip addr del 10.9.0.1/24 dev eth0
         done
         ip link set eth0 mtu 1400 && ip route add 192.0.2.0/24 via 10.0.2.2 && ip route del 192.0.2.0/24
         ip addr add fd09::1/64 dev eth0 nodad
         until grep -q 'inet6 fd09::1/64' told; do sleep 0.02; done
         kill $monitor && cat told";
    let told = finish(scene.run::<&str>(&[], "sh").args(["-c", script])).text();
    for part in [
        "Deleted 2: eth0    inet 10.9.0.1/24",
        "10.9.0.0/24 dev eth0 proto kernel scope link src 10.9.0.1",
        "mtu 1400",
        "\n192.0.2.0/24 via 10.0.2.2 dev eth0",
        "Deleted 192.0.2.0/24 via 10.0.2.2 dev eth0",
        "fd09::/64 dev eth0 proto kernel metric 256",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// Two hosts on a link, each with a VLAN made by `ip link add`; what is not of the VLAN does not reach it.
fn hosts_talk_in_a_vlan(setting: Setting) {
    let scene = Scene::new(setting);
    let link = format!("link={}", scene.unique("vlan"));
    let join = |id: u32, protocol: &str, address: &str| {
        format!(
            "ip link add link eth0 name v{id} type vlan id {id} protocol {protocol} && ip link set v{id} up
             ip addr add {address} dev v{id} && ip -d -o link show v{id} | grep -o 'vlan protocol.*<'
             "
        )
    };
    let both = |end: &str| {
        join(10, "802.1Q", &format!("10.10.0.{end}/24")) + &join(20, "802.1ad", &format!("fd20::{end}/64 nodad"))
    };
    let server = both("1") + "echo ready && exec sleep infinity";
    let mut server = Running::start(scene.run(&["--net", &link], "sh").args(["-c", &server]));
    server.wait_for_text("ready");
    let client = both("2")
        + "ping -c 2 -i 0.2 -W 5 10.10.0.1 | grep -o '[0-9]* received'
           ping -c 2 -i 0.2 -W 5 fd20::1 | grep -o '[0-9]* received'
           ip link del v10 && ip addr add 10.10.0.2/24 dev eth0
           ping -c 1 -W 1 10.10.0.1 | grep -o '[0-9]* received'";
    let told = finish(scene.run(&["--net", &link], "sh").args(["-c", &client])).text();
    let expected = "vlan protocol 802.1Q id 10 <\nvlan protocol 802.1ad id 20 <\n2 received\n2 received\n0 received";
    assert_eq!(told, expected);
    drop(server);
}
