//! Malformed packets against a host that is carrying a transfer: put on the wire of a TAP interface by a packet socket on
//! the kernel's side, from a corpus made here.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::common::content::{Content, sha256_file};
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Family, Machine, Scene, Setting, bracketed, finish, skip_without_root, wait_until};
use crate::course::{kernels, machine_with_tap, options, ours, wait_until_attached};

mod corpus6;

in_both_families! {
    as_every_user: [],
    as_one_user: [
        a_transfer_survives_a_malformed_corpus,
        a_server_survives_a_malformed_corpus,
    ]
}

const OURS: [u8; 4] = [10, 0, 0, 4];
const KERNELS: [u8; 4] = [10, 0, 0, 5];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 4];
/// What the attacks may cost the host beside what it needs: packets that wait, neighbours, routes.
const MEMORY: u64 = 64 << 20;

/// Reads frames, each after its length in two bytes, and puts them on the wire.
const INJECT: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('tap0', 0))
frames = sys.stdin.buffer
count = 0
while head := frames.read(2):
    try:
        s.send(frames.read(int.from_bytes(head, 'big')))
        count += 1
    except OSError:
        pass
print(count)
";

fn a_transfer_survives_a_malformed_corpus(setting: Setting) {
    if skip_without_root("a transfer survives a malformed corpus") {
        return;
    }
    const SIZE: u64 = 300 << 20;
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    let listener = machine.within(|| TcpListener::bind((kernels(setting.family), 8000)).expect("listen"));
    let http = HttpServer::start_on(listener, None);
    let url = format!("http://{}:{}/data/{SIZE}/1", url_host(kernels(setting.family)), http.port);
    let options = [options(setting.family), vec!["--stats".to_owned()]].concat();
    let mut curl = scene.run_in(&machine, &options, "curl");
    // Slow enough for the whole corpus to come while it runs, and with the ports that the corpus has.
    let mut curl = Running::start(curl.args(["-sS", "--local-port", "7000", "--limit-rate", "40M", "-o", "out", &url]));
    let out = scene.path("out");
    wait_until("the transfer runs", || std::fs::metadata(&out).is_ok_and(|m| m.len() > 1_000_000));
    let before = memory(&scene);
    let is_running = || std::fs::metadata(&out).expect("the file").len() < SIZE;
    for seed in 0..5 {
        inject(&scene, &machine, &corpus(seed, setting.family));
        assert!(seed > 0 || is_running(), "the transfer was over before the corpus");
        if !is_running() {
            break;
        }
        let after = memory(&scene);
        assert!(after < before + MEMORY, "memory has grown from {before} to {after} bytes");
    }
    let outcome = curl.wait();
    let drops: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("dropped")).collect();
    let total: u64 = drops.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert!(drops.len() >= 8 && total > 10_000, "drops are counted by name: {drops:?}");
    outcome.ok();
    assert_eq!(sha256_file(&out), Content::sha256(SIZE, 1));
}

fn a_server_survives_a_malformed_corpus(setting: Setting) {
    if skip_without_root("a server survives a malformed corpus") {
        return;
    }
    let scene = Scene::new(setting);
    let machine = machine_with_tap(&scene);
    scene.write("file", Content::bytes(3_000_000, 2));
    let ours = ours(setting.family);
    let mut server = scene.run_in(&machine, &options(setting.family), "python3");
    let _server = Running::start(server.args(["-u", "-m", "http.server", "-b", ours, "7000"]));
    wait_until_attached(&scene, &machine);
    let fetch = || {
        let mut curl = scene.command_in(&machine, "curl");
        let url = format!("http://{}:7000/file", url_host(ours));
        finish(curl.args(["-sSf", "-o", "out", &url])).status.success()
    };
    wait_until("the server answers", fetch);
    for seed in 5..10 {
        inject(&scene, &machine, &corpus(seed, setting.family));
        assert!(fetch(), "no answer after the corpus of seed {seed}");
        assert_eq!(sha256_file(&scene.path("out")), Content::sha256(3_000_000, 2));
    }
    // IPv6 has no checksum of its own, so each fragment of the corpus may wait for others: for a minute there is no memory for more.
    let size = if setting.family == Family::V4 { "4000" } else { "1000" };
    let mut ping: Command = scene.command_in(&machine, "ping");
    finish(ping.args(["-n", "-c", "1", "-W", "5", "-s", size, ours])).ok();
}

/// An address as a URL has it.
fn url_host(address: &str) -> String {
    bracketed(address.parse().expect("an address"))
}

/// Bytes that the processes of the command have used at most.
fn memory(scene: &Scene) -> u64 {
    let peak = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB").to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    };
    scene.processes_of_the_command().into_iter().map(peak).max().unwrap_or_default()
}

fn inject(scene: &Scene, machine: &Machine, frames: &[Vec<u8>]) {
    let mut python = scene.command_in(machine, "python3");
    let mut injector = Running::start_with(python.args(["-c", INJECT]), Stdio::piped());
    let mut stdin = injector.take_stdin();
    for frame in frames {
        let length = u16::try_from(frame.len()).expect("a frame").to_be_bytes();
        stdin.write_all(&[&length[..], frame].concat()).expect("write a frame");
    }
    drop(stdin);
    let sent: usize = injector.wait().text().parse().expect("a number");
    assert!(sent * 10 >= frames.len() * 9, "only {sent} of {} frames went out", frames.len());
}

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("fits")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

/// The Internet checksum (RFC 1071).
fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}

fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&OUR_MAC[..], &[2, 0, 0, 0, 0, 99], &kind.to_be_bytes(), payload].concat()
}

struct Ip<'a> {
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    identification: u16,
    /// Flags and offset in units of eight bytes, as on the wire.
    fragment: u16,
    options: &'a [u8],
}

impl Ip<'_> {
    const PLAIN: Ip<'static> =
        Ip { protocol: 17, source: KERNELS, destination: OURS, identification: 7, fragment: 0, options: &[] };

    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let total = u16::try_from(header + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        let (id, fragment) = (self.identification.to_be_bytes(), self.fragment.to_be_bytes());
        let version = 0x40 | u8::try_from(header / 4).expect("a header");
        let mut ip =
            vec![version, 0, total[0], total[1], id[0], id[1], fragment[0], fragment[1], 64, self.protocol, 0, 0];
        ip.extend([self.source, self.destination].concat());
        ip.extend(self.options);
        let check = checksum(sum(&ip));
        ip[10..12].copy_from_slice(&check);
        ip.extend(payload);
        ip
    }

    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        frame(0x0800, &self.packet(payload))
    }

    /// A frame whose transport checksum, at `at` of the payload, is right.
    fn checked(&self, payload: &[u8], at: usize) -> Vec<u8> {
        let mut payload = payload.to_vec();
        payload[at..at + 2].fill(0);
        let pseudo = [&self.source[..], &self.destination].concat();
        let length = u32::try_from(payload.len()).expect("fits");
        let pseudo = if self.protocol == 1 { 0 } else { sum(&pseudo) + u32::from(self.protocol) + length };
        let check = checksum(pseudo + sum(&payload));
        payload[at..at + 2].copy_from_slice(&check);
        self.frame(&payload)
    }
}

fn tcp(ports: [u16; 2], flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let offset = u8::try_from((20 + options.len()) / 4).expect("a header") << 4;
    let mut tcp = ports.map(u16::to_be_bytes).concat();
    tcp.extend([1, 2, 3, 4, 5, 6, 7, 8, offset, flags, 255, 255, 0, 0, 0, 0]);
    tcp.extend(options);
    tcp.extend(payload);
    tcp
}

fn udp(ports: [u16; 2], length: usize, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).expect("fits").to_be_bytes();
    [&ports.map(u16::to_be_bytes).concat()[..], &length, &[0, 0], payload].concat()
}

/// Some ten thousand frames: well-formed ones, cut at every length, with every field lying, and noise.
fn corpus(seed: u64, family: Family) -> Vec<Vec<u8>> {
    let mut random = Random(seed + 1);
    let mut frames = Vec::new();
    let mut whole = match family {
        Family::V4 => lies(&mut random),
        Family::V6 => corpus6::lies(&mut random),
    };
    match family {
        Family::V4 => whole.extend(fragments(&mut random)),
        Family::V6 => {
            whole.extend(corpus6::fragments(&mut random));
            frames.extend(corpus6::floods(&mut random));
        }
    }
    for frame in &whole {
        for length in 14..frame.len().min(100) {
            frames.push(frame[..length].to_vec());
        }
        for _ in 0..60 {
            let mut wrong = frame.clone();
            for _ in 0..=random.below(3) {
                let at = 12 + random.below(wrong.len().min(90) - 12);
                wrong[at] = random.next().to_le_bytes()[0];
            }
            frames.push(wrong);
        }
    }
    frames.extend(whole);
    for kind in [0x0800, 0x0806, 0x86dd, 0x8100, 0x0005, 0xffff] {
        for _ in 0..100 {
            let length = random.below(1500);
            let noise = random.bytes(length);
            frames.push(frame(kind, &noise));
        }
    }
    // A claim to the kernel's own address is true ARP, and would be believed: not malformed.
    frames.retain(|frame| frame.get(12..14).is_none_or(|kind| kind != [8, 6]) || !contains(frame, &KERNELS));
    // From Fisher and Yates: one kind does not follow the other.
    for at in (1..frames.len()).rev() {
        frames.swap(at, random.below(at + 1));
    }
    frames
}

fn contains(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}

fn lies(random: &mut Random) -> Vec<Vec<u8>> {
    let plain = Ip::PLAIN;
    let mut frames = Vec::new();
    let stranger = [10, 0, 0, 77];
    frames.push(frame(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9][..], &stranger, &[0; 6], &OURS].concat()));
    frames.push(frame(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 2, 1, 0, 0, 0, 0, 9][..], &stranger, &OUR_MAC, &OURS].concat()));
    frames
        .push(frame(0x0806, &[&[0, 1, 8, 0, 255, 4, 0, 1, 2, 0, 0, 0, 0, 9][..], &stranger, &[0; 6], &OURS].concat()));
    frames.push(frame(0x0806, &[&[0, 1, 8, 0, 6, 0, 0, 9, 2, 0, 0, 0, 0, 9][..], &stranger, &[0; 6], &OURS].concat()));
    let datagram = udp([1, 2], 8 + 30, &random.bytes(30));
    frames.push(plain.checked(&datagram, 6));
    for length in [0, 7, 8, 37, 39, 65535] {
        frames.push(plain.checked(&udp([1, 2], length, &[7; 30]), 6));
    }
    for source in [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1], OURS, [10, 0, 0, 255]] {
        frames.push(Ip { source, ..plain }.checked(&datagram, 6));
        frames.push(Ip { source, protocol: 6, ..plain }.checked(&tcp([7000, 7000], 2, &[], &[]), 16));
        frames.push(Ip { source, protocol: 1, ..plain }.checked(&[8, 0, 0, 0, 1, 1, 1, 1, 9, 9], 2));
    }
    for destination in [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1], [10, 0, 0, 255], [10, 0, 0, 1]] {
        frames.push(Ip { destination, ..plain }.checked(&datagram, 6));
        frames.push(Ip { destination, protocol: 6, ..plain }.checked(&tcp([9, 7000], 2, &[], &[]), 16));
    }
    let bad_ip_options: [&[u8]; 7] = [
        &[7, 0, 0, 0],
        &[7, 1, 0, 0],
        &[7, 200, 4, 0],
        &[131, 7, 4, 10, 0, 0, 5, 0],
        &[137, 3, 0, 0],
        &[68, 4, 1, 0],
        &[1, 1, 1, 7],
    ];
    for options in bad_ip_options {
        frames.push(Ip { options, ..plain }.checked(&datagram, 6));
    }
    let bad_tcp_options: [&[u8]; 9] = [
        &[2, 0, 0, 0],
        &[2, 1, 0, 0],
        &[2, 4, 0, 0],
        &[2, 200, 5, 180],
        &[3, 3, 255, 0],
        &[8, 10, 0, 0],
        &[5, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        &[5, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[4, 255, 1, 3],
    ];
    let t = Ip { protocol: 6, ..plain };
    for flags in 0..=63 {
        for port in [7000, 1] {
            frames.push(t.checked(&tcp([8000, port], flags, &[], b"payload"), 16));
        }
    }
    for options in bad_tcp_options {
        frames.push(t.checked(&tcp([1234, 7000], 2, options, &[]), 16));
        frames.push(t.checked(&tcp([8000, 7000], 16, options, b"payload"), 16));
    }
    for offset in 0..16 {
        let mut segment = tcp([1234, 7000], 2, &[1, 1, 1, 1], b"payload");
        segment[12] = offset << 4;
        frames.push(t.checked(&segment, 16));
    }
    // ICMP: errors about packets that never were, of every type, and echoes.
    let quoted =
        Ip { source: OURS, destination: KERNELS, protocol: 6, ..plain }.packet(&tcp([7000, 8000], 16, &[], &[]));
    let icmp = Ip { protocol: 1, ..plain };
    for kind in 0..=20 {
        for code in [0, 3, 4, 13, 255] {
            frames.push(icmp.checked(&[&[kind, code, 0, 0, 0, 0, 0, 68][..], &quoted].concat(), 2));
        }
    }
    for (at, value) in [(0, 0x55), (0, 0x41), (0, 0x4f), (2, 0xff), (2, 0), (3, 3), (8, 0), (9, 255), (10, 9)] {
        let mut packet = plain.packet(&datagram);
        packet[at] = value;
        let check = checksum(sum(&packet[..10]) + sum(&packet[12..20]));
        if at != 10 {
            packet[10..12].copy_from_slice(&check);
        }
        frames.push(frame(0x0800, &packet));
    }
    frames
}

/// Overlapping, contradicting, endless and oversized fragments.
fn fragments(random: &mut Random) -> Vec<Vec<u8>> {
    const MORE: u16 = 0x2000;
    let mut frames = Vec::new();
    for identification in 1000..1040 {
        let ip = |fragment| Ip { identification, fragment, protocol: 1, ..Ip::PLAIN };
        for _ in 0..12 {
            let (offset, length) = (random.next() & 0x1f, 8 * random.below(20));
            let more = if random.below(4) == 0 { 0 } else { MORE };
            let payload = random.bytes(length);
            frames.push(ip(u16::try_from(offset).expect("small") | more).frame(&payload));
        }
        frames.push(ip(MORE).frame(&random.bytes(13)));
        frames.push(ip(0x1fff).frame(&random.bytes(1400)));
        frames.push(ip(0x1fff | MORE).frame(&random.bytes(8)));
        frames.push(ip(MORE | 1).frame(&[]));
    }
    frames
}
