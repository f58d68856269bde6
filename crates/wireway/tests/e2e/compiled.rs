//! Programs that no preload library can reach: statically linked C, and Go.

use crate::common::content::{Content, sha256};
use crate::common::http::HttpServer;
use crate::common::process::Running;
use crate::common::{Scene, Setting, build, finish, free_port, wait_listening, wait_until};

const NONE: [&str; 0] = [];

in_every_setting! {
    as_every_user: [
        a_static_c_client,
        a_static_c_server,
        a_go_client,
        a_go_server,
    ],
    as_one_user: []
}

fn a_static_c_client(setting: Setting) {
    let scene = Scene::new(setting);
    let (client, server) = build::course(&scene, true);
    let port = free_port();
    let common = ["-p", &port.to_string(), "-n", "300000", "-c", "20"];
    let mut server = Running::start(scene.command(server).args(common));
    wait_listening(port);
    let address = scene.family.gateway().to_string();
    let out = finish(scene.run(&NONE, client).args(common).args(["-a", &address])).text();
    assert_eq!(out.lines().last(), Some("client: round 20: 300000 bytes sent, received and equal"));
    server.wait().ok();
}

fn a_static_c_server(setting: Setting) {
    let scene = Scene::new(setting);
    let (client, server) = build::course(&scene, true);
    let port = free_port().to_string();
    let publish = format!("{}:{port}:43211", scene.family.loopback());
    let mut server = scene.run(&["--publish", &publish], server);
    let mut server = Running::start(server.args(["-n", "300000", "-c", "20"]));
    server.wait_for_text("listening");
    finish(scene.command(client).args(["-p", &port, "-n", "300000", "-c", "20"])).ok();
    server.wait().ok();
}

fn a_go_client(setting: Setting) {
    let scene = Scene::new(setting);
    let http = HttpServer::start(scene.family.loopback());
    let program = build::go(&scene);
    let urls = (0..30).map(|n| scene.family.url(http.port, &format!("/data/{}/{n}", n * 20_000)));
    let body = finish(scene.run(&NONE, program).arg("get").args(urls)).ok();
    let expected: Vec<u8> = (0..30).flat_map(|n| Content::bytes(n * 20_000, n)).collect();
    assert_eq!(sha256(&body[..]), sha256(&expected[..]));
}

fn a_go_server(setting: Setting) {
    let scene = Scene::new(setting);
    let program = build::go(&scene);
    let port = free_port();
    let mut server = scene.run(&["--publish", &format!("{port}:8080")], program);
    let _server = Running::start(server.args(["serve", ":8080"]));
    let url = scene.family.local_url(port, "/some/path");
    let fetch = || finish(scene.command("curl").args(["-sS", &url]));
    wait_until("the Go server answers", || fetch().status.success());
    let body = Content::bytes(1_500_000, 7);
    let file = scene.write("body", &body);
    let echoed = finish(scene.command("curl").args(["-sS", "-T"]).arg(file).arg(&url)).ok();
    assert!(echoed == [&b"PUT /some/path 1500000\n"[..], &body].concat(), "the bytes differ");
}
