//! Socket calls give what they give on Linux: one program makes them all, over the kernel's stack and over ours, and tells the same.

use crate::common::{Scene, Setting, build, finish};

in_every_setting! {
    as_every_user: [calls_give_what_they_give_on_linux, multicast_calls_give_what_they_give_on_linux],
    as_one_user: []
}

fn calls_give_what_they_give_on_linux(setting: Setting) {
    same_as_linux(setting, "calls", 240);
}

fn multicast_calls_give_what_they_give_on_linux(setting: Setting) {
    same_as_linux(setting, "multicast", 290);
}

/// Runs a program that tells `least` lines or more.
fn same_as_linux(setting: Setting, program: &str, least: usize) {
    let scene = Scene::new(setting);
    let program = build::c(&scene, program);
    let linux = finish(&mut scene.command(&program)).text();
    let ours = finish(&mut scene.run::<&str>(&[], &program)).text();
    assert!(linux.lines().count() > least, "the program ended early: {linux}");
    for (number, (linux, ours)) in linux.lines().zip(ours.lines()).enumerate() {
        assert_eq!(ours, linux, "line {number}");
    }
    assert_eq!(ours.lines().count(), linux.lines().count());
}
