//! ssh and scp over the gateway to an sshd of the test's own.

use std::process::Command;

use crate::common::content::{Content, sha256_file};
use crate::common::process::Running;
use crate::common::{Scene, Setting, bracketed, finish, free_port, skip_without_root, wait_listening};

const NONE: [&str; 0] = [];

in_both_families! {
    as_every_user: [
        ssh_runs_a_command_and_scp_copies,
    ],
    as_one_user: []
}

/// Root's sshd, since it is for root to log somebody in; its files and its /run are its own.
fn ssh_runs_a_command_and_scp_copies(setting: Setting) {
    if skip_without_root("ssh_runs_a_command_and_scp_copies") {
        return;
    }
    let scene = Scene::new(setting);
    let port = free_port();
    for key in ["host-key", "user-key"] {
        let mut keygen = scene.command("ssh-keygen");
        finish(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", key])).ok();
    }
    scene.give(&scene.path("user-key"));
    let directory = scene.directory().display().to_string();
    scene.write(
        "sshd_config",
        format!(
            "Port {port}\nListenAddress {}\nHostKey {directory}/host-key\nPidFile none\n\
             AuthorizedKeysFile {directory}/user-key.pub\nPermitRootLogin prohibit-password\nStrictModes no\n\
             PasswordAuthentication no\nUsePAM no\nSubsystem sftp internal-sftp\n",
            scene.family.loopback()
        ),
    );
    scene.write(
        "ssh_config",
        format!(
            "Host *\nIdentityFile {directory}/user-key\nUserKnownHostsFile {directory}/known\n\
             StrictHostKeyChecking accept-new\nIdentitiesOnly yes\nUser root\nPort {port}\nBatchMode yes\n"
        ),
    );
    // sshd wants /run/sshd, which only the service makes: give it a /run of its own.
    let start = "mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f sshd_config";
    let mut sshd = scene.command("unshare");
    let mut sshd = Running::start(sshd.args(["--mount", "--propagation", "private", "sh", "-c", start]));
    sshd.wait_for_text("Server listening");
    wait_listening(port);

    let address = scene.family.gateway().to_string();
    let ssh = |program: &str| -> Command {
        let mut command = scene.run(&NONE, program);
        command.args(["-F", "ssh_config"]);
        command
    };
    let out = finish(ssh("ssh").args([&address, "echo $SSH_CONNECTION | wc -w; seq 100000 | sha256sum; exit 3"]));
    assert_eq!(out.code(), 3, "{out}");
    let expected = finish(scene.command("sh").args(["-c", "seq 100000 | sha256sum"])).text();
    assert_eq!(String::from_utf8_lossy(&out.stdout), format!("4\n{expected}\n"));

    let input = Content::bytes(5_000_000, 1);
    let mut cat = ssh("ssh");
    let back = Running::start_with_input(cat.args([&address, "cat"]), &input).wait().ok();
    assert!(back == input, "the bytes differ: {} of {}", back.len(), input.len());

    scene.write("here", Content::bytes(20_000_000, 8));
    let there = format!("{}:{directory}/there", bracketed(scene.family.gateway()));
    finish(ssh("scp").args(["-q", "here", &there])).ok();
    finish(ssh("scp").args(["-q", &there, "back"])).ok();
    let hash = Content::sha256(20_000_000, 8);
    assert_eq!(sha256_file(&scene.path("there")), hash);
    assert_eq!(sha256_file(&scene.path("back")), hash);
}
