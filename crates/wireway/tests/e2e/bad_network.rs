//! Links that are as bad as the command line, a schedule or `wireway link` says.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::content::Content;
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Scene, Setting, finish};

in_every_setting! {
    as_every_user: [
        a_link_is_changed_while_it_is_used,
    ],
    as_one_user: [
        each_way_takes_its_time,
        what_is_lost_doubled_overtaken_and_corrupted_arrives_all_the_same,
        an_outage_of_the_schedule_is_survived,
        a_rate_holds_a_transfer_up,
        a_schedule_that_makes_no_sense_is_refused,
    ]
}

/// The shortest round trip of `ping`, in milliseconds.
fn shortest(output: &str) -> f64 {
    let times = output.lines().find_map(|line| line.strip_prefix("rtt ")?.split(" = ").nth(1)).expect(output);
    times.split('/').next().and_then(|least| least.parse().ok()).expect(output)
}

fn ping(scene: &Scene, options: &[&str]) -> String {
    finish(scene.run(options, "ping").args(["-c", "3", "-i", "0.2", &scene.family.gateway().to_string()])).text()
}

fn each_way_takes_its_time(setting: Setting) {
    let scene = Scene::new(setting);
    let both = shortest(&ping(&scene, &["--delay", "30ms"]));
    assert!(both >= 60.0, "{both} ms");
    let one = shortest(&ping(&scene, &["--down-delay", "40ms"]));
    assert!(one >= 40.0, "{one} ms");
}

fn what_is_lost_doubled_overtaken_and_corrupted_arrives_all_the_same(setting: Setting) {
    const SIZE: u64 = 400_000;
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let url = scene.family.url(http.port, &format!("/data/{SIZE}/1"));
    let options = [
        "--loss",
        "gilbert:1%,30%",
        "--duplicate",
        "2%",
        "--reorder",
        "3%,2ms",
        "--up-corrupt",
        "1%",
        "--down-corrupt",
        "1%",
        "--seed",
        "7",
    ];
    let outcome = finish(scene.run(&options, "curl").args(["-sS", &url]));
    assert!(outcome.ok() == Content::bytes(SIZE, 1), "the bytes differ");
}

fn an_outage_of_the_schedule_is_survived(setting: Setting) {
    let scene = Scene::new(setting);
    scene.write("schedule", "# nothing passes at first\n0s for 1s outage\n");
    let http = HttpServer::start(scene.family.loopback());
    let begin = Instant::now();
    let url = scene.family.url(http.port, "/data/1000/1");
    let outcome = finish(scene.run(&["--schedule", "schedule"], "curl").args(["-sS", &url]));
    assert!(outcome.ok() == Content::bytes(1000, 1));
    assert!(begin.elapsed() >= Duration::from_secs(1), "it passed in {:?}", begin.elapsed());
}

fn a_rate_holds_a_transfer_up(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let begin = Instant::now();
    let url = scene.family.url(http.port, "/data/500000/1");
    let outcome = finish(scene.run(&["--down-rate", "8mbit"], "curl").args(["-sS", &url]));
    assert!(outcome.ok() == Content::bytes(500_000, 1));
    assert!(begin.elapsed() >= Duration::from_millis(500), "it passed in {:?}", begin.elapsed());
}

fn a_link_is_changed_while_it_is_used(setting: Setting) {
    let scene = Scene::new(setting);
    let script = format!("read line; ping -c 1 {}; read line", scene.family.gateway());
    let mut running =
        Running::start_with(scene.run(&["--down-delay", "10ms"], "sh").args(["-c", &script]), Stdio::piped());
    let mut input = running.take_stdin();
    let mut pid = String::new();
    crate::common::wait_until("the run answers", || {
        let answers =
            |pid: &u32| finish(&mut scene.wireway_link(&["show", "--pid", &pid.to_string()])).status.success();
        pid = scene.processes_of_the_command().iter().find(|pid| answers(pid)).map(u32::to_string).unwrap_or_default();
        !pid.is_empty()
    });
    let shown = finish(&mut scene.wireway_link(&["show", "--pid", &pid])).text();
    assert!(shown.contains("eth0 up    perfect") && shown.contains("eth0 down  delay 10ms"), "{shown}");
    finish(&mut scene.wireway_link(&["set", "--pid", &pid, "eth0", "up", "delay=50ms"])).ok();
    input.write_all(b"\n").expect("the program reads");
    running.wait_for_text("rtt ");
    assert!(shortest(&String::from_utf8_lossy(&running.stdout())) >= 60.0);
    let refused = finish(&mut scene.wireway_link(&["set", "--pid", &pid, "eth9", "loss=1%"]));
    assert_eq!(refused.code(), 125);
    assert!(refused.stderr.contains("eth9: no such interface; there is eth0"), "{}", refused.stderr);
    let json = finish(&mut scene.wireway_link(&["show", "--json", "--pid", &pid])).text();
    assert!(json.contains("\"delay\": 50000"), "{json}");
    input.write_all(b"\n").expect("the program reads");
    running.wait().ok();
}

fn a_schedule_that_makes_no_sense_is_refused(setting: Setting) {
    let scene = Scene::new(setting);
    scene.write("schedule", "1s outage\n2s sideways loss=1%\n");
    let outcome = finish(&mut scene.run(&["--schedule", "schedule"], "true"));
    assert_eq!(outcome.code(), 125);
    assert!(outcome.stderr.contains("schedule: line 2: sideways: give SETTING=VALUE"), "{}", outcome.stderr);
    let outcome = finish(&mut scene.run(&["--loss", "1"], "true"));
    assert!(outcome.stderr.contains("in per cent"), "{}", outcome.stderr);
}
