//! What is on the wire, as `--capture`, `--trace` and `--stats` show it, read by tcpdump.

use crate::common::content::Content;
use crate::common::http::HttpServer;
use crate::common::{Scene, Setting, finish};

in_every_setting! {
    as_every_user: [
        a_capture_has_every_packet,
        packets_keep_to_the_mtu,
        a_trace_shows_each_packet,
        statistics_are_printed_at_the_end,
    ],
    as_one_user: []
}

const SIZE: u64 = 3_000_000;

/// Fetches [`SIZE`] bytes by curl with these options; gives curl's standard error.
fn fetch(scene: &Scene, options: &[&str]) -> String {
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.url(http.port, &format!("/data/{SIZE}/1"));
    let outcome = finish(scene.run(options, "curl").args(["-sS", &url]));
    let stderr = outcome.stderr.clone();
    assert!(outcome.ok() == Content::bytes(SIZE, 1), "the bytes differ");
    stderr
}

/// What tcpdump says of the file, a line a packet.
fn tcpdump(scene: &Scene, options: &[&str]) -> String {
    finish(scene.command("tcpdump").args(["-n", "-r", "file.pcapng"]).args(options)).text()
}

/// The sum of "length N" over the lines that have `part`.
fn bytes(lines: &str, part: &str) -> u64 {
    let of = |line: &str| line.rsplit("length ").next().and_then(|n| n.split([':', ' ']).next()?.parse::<u64>().ok());
    lines.lines().filter(|line| line.contains(part)).filter_map(of).sum()
}

fn a_capture_has_every_packet(setting: Setting) {
    let scene = Scene::new(setting);
    fetch(&scene, &["--capture", "file.pcapng"]);
    let lines = tcpdump(&scene, &["tcp"]);
    let delivered = bytes(&lines, " > 10.0.2.15.");
    assert!(delivered > SIZE && delivered < SIZE + SIZE / 10, "{delivered} bytes of {SIZE}");
    let verbose = tcpdump(&scene, &["-vv"]);
    assert!(verbose.contains("(correct)"), "no checksum is shown");
    for wrong in ["incorrect", "bad cksum", "[|"] {
        assert!(!verbose.contains(wrong), "{wrong}: {}", verbose.chars().take(2000).collect::<String>());
    }
    for flags in ["Flags [S],", "Flags [S.],", "Flags [F.]"] {
        assert!(verbose.contains(flags), "no {flags}");
    }
    let file = std::fs::read(scene.path("file.pcapng")).expect("the file");
    assert_eq!(interface_options(&file), (Some("eth0".to_owned()), Some(9)), "name, and nanoseconds");
}

/// The name and the resolution of time (a power of ten) that the first interface description of a pcapng file gives.
fn interface_options(file: &[u8]) -> (Option<String>, Option<u8>) {
    const INTERFACE_DESCRIPTION: u32 = 1;
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let (mut name, mut resolution) = (None, None);
    let mut block = 0;
    while number(block) != INTERFACE_DESCRIPTION {
        block += usize::try_from(number(block + 4)).expect("a length");
    }
    let mut option = block + 16;
    loop {
        let (code, length) = (number(option) & 0xffff, usize::try_from(number(option) >> 16).expect("a length"));
        let value = &file[option + 4..option + 4 + length];
        match code {
            0 => return (name, resolution),
            2 => name = Some(String::from_utf8_lossy(value).into_owned()),
            9 => resolution = Some(value[0]),
            _ => {}
        }
        option += 4 + length.next_multiple_of(4);
    }
}

fn packets_keep_to_the_mtu(setting: Setting) {
    for mtu in [576, 1500, 9000, 65521] {
        let scene = Scene::new(setting);
        fetch(&scene, &["--capture", "file.pcapng", "--mtu", &mtu.to_string()]);
        let lines = tcpdump(&scene, &["-v"]);
        let total = |line: &str| line.rsplit("length ").next().and_then(|n| n.trim_end_matches(')').parse().ok());
        let lengths = lines.lines().filter(|line| line.contains("proto TCP")).filter_map(total);
        let longest: u64 = lengths.max().expect("packets");
        assert!(longest <= mtu, "{longest} bytes with an MTU of {mtu}");
        assert!(longest > mtu / 2, "{longest} bytes with an MTU of {mtu}");
    }
}

fn a_trace_shows_each_packet(setting: Setting) {
    let scene = Scene::new(setting);
    let trace = fetch(&scene, &["--trace", "--capture", "file.pcapng"]);
    let captured = tcpdump(&scene, &["-q"]).lines().count();
    let traced = trace.lines().filter(|line| line.contains("10.0.2.15")).count();
    assert!(traced >= captured * 9 / 10 && traced > 100, "{traced} lines of {captured} packets");
}

fn statistics_are_printed_at_the_end(setting: Setting) {
    let scene = Scene::new(setting);
    let stats = fetch(&scene, &["--stats"]);
    let counted = |line: &str| line.starts_with("wireway: ") && line.ends_with(|c: char| c.is_ascii_digit());
    assert!(stats.lines().filter(|line| counted(line)).count() > 5, "{stats}");
}
