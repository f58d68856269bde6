//! Names with addresses of both families of which one leads nowhere: programs that try both (RFC 8305) go by the other, in time.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::common::content::Content;
use crate::common::http::HttpServer;
use crate::common::{Family, Machine, Scene, Setting, finish, skip_without_root};
use crate::course::{kernels, machine_with_tap, options};

in_both_families! {
    as_every_user: [],
    as_one_user: [
        curl_goes_by_the_other_family,
        python_goes_by_the_other_family,
        node_goes_by_the_other_family,
    ]
}

/// How an address can lead nowhere.
const BROKEN: [&str; 3] = ["unrouted", "refused", "silent"];
const SIZE: u64 = 20_000;
/// What a program that waits for the broken family to give up needs at least: as long as SYNs are sent again, two minutes.
const IN_TIME: Duration = Duration::from_secs(30);

/// A machine whose server answers on `works` only, at one port; the names of [`BROKEN`] have its address and one of the other family.
fn machine(scene: &Scene, works: Family) -> (Machine, HttpServer) {
    let machine = machine_with_tap(scene);
    // The router has routes into nothing, and we have none to the rest.
    machine.script(
        scene,
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
         ip route add blackhole 10.66.0.0/16; ip -6 route add blackhole fd66::/64",
    );
    let (other, [unrouted, silent]) = match works {
        Family::V4 => (Family::V6, ["fd99::1", "fd66::1"]),
        Family::V6 => (Family::V4, ["10.99.0.1", "10.66.0.1"]),
    };
    let hosts = format!("{unrouted} unrouted\n{} refused\n{silent} silent\n", kernels(other));
    let right: String = BROKEN.iter().map(|name| format!("{} {name}\n", kernels(works))).collect();
    scene.write("hosts", hosts + &right);
    scene.write("nsswitch.conf", "hosts: files\n");
    machine.script(scene, "mount --bind hosts /etc/hosts; mount --bind nsswitch.conf /etc/nsswitch.conf");
    let listener = machine.within(|| TcpListener::bind((kernels(works), 8000)).expect("listen"));
    (machine, HttpServer::start_on(listener, None))
}

/// Runs the shell script once with `HOST` and `URL` of each name: in a host with addresses of both families.
fn each_is_fetched(setting: Setting, script: &str) {
    if skip_without_root("happy eyeballs") {
        return;
    }
    let scene = Scene::new(setting);
    let works = setting.family;
    let (machine, _http) = machine(&scene, works);
    for name in BROKEN {
        let mut both = options(Family::V4);
        both.extend(["--address".to_owned(), "fd00::4/64".to_owned()]);
        if name != "unrouted" {
            both.extend(["--gateway", "10.0.0.5", "--gateway", "fd00::5"].map(str::to_owned));
        }
        let mut run = scene.run_in(&machine, &both, "sh");
        run.env("HOST", name).env("URL", format!("http://{name}:8000/data/{SIZE}/3"));
        let start = Instant::now();
        let body = finish(run.args(["-c", script])).ok();
        assert!(body == Content::bytes(SIZE, 3), "{name}: {} bytes", body.len());
        assert!(start.elapsed() < IN_TIME, "{name}: {:?}", start.elapsed());
    }
}

fn curl_goes_by_the_other_family(setting: Setting) {
    each_is_fetched(setting, "exec curl -sS --max-time 20 $URL");
}

fn python_goes_by_the_other_family(setting: Setting) {
    each_is_fetched(
        setting,
        "exec python3 -c '
import asyncio, os, sys
async def main():
    host = os.environ[\"HOST\"]
    reader, writer = await asyncio.open_connection(host, 8000, happy_eyeballs_delay=0.25)
    writer.write(f\"GET /data/20000/3 HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n\".encode())
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    sys.stdout.buffer.write(reply.partition(b\"\\r\\n\\r\\n\")[2])
asyncio.run(main())
'",
    );
}

fn node_goes_by_the_other_family(setting: Setting) {
    each_is_fetched(
        setting,
        "exec node -e '
require(\"http\").get(process.env.URL, { autoSelectFamily: true }, reply => reply.pipe(process.stdout));
'",
    );
}
