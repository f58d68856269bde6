//! Many short HTTP connections in a row: what the network's processes hold at the start and at the end.

use super::peer::{Group, Peer, Server, Settings};
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

/// What the `leak` command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// Connections.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// The `wireway` command.
    #[arg(long, default_value_os_t = super::beside("wireway"))]
    wireway: PathBuf,
}

/// What a tree of processes holds.
#[derive(Clone, Copy, Default, Debug)]
struct Held {
    processes: usize,
    descriptors: usize,
    /// Bytes of resident memory, shared pages counted for each process.
    resident: u64,
}

/// Descriptors and bytes by which the end may exceed the first tenth: buffers and tables that were not
/// yet at their full size.
const DESCRIPTORS: usize = 16;
const BYTES: u64 = 16 << 20;

/// Runs the connections, prints what is held after each tenth, and fails on growth.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let server = Server::own()?;
    let to = format!("{}:{}", Peer::Wireway.address(), server.port);
    let mut program = vec![std::env::current_exe()?.into_os_string()];
    let count = arguments.count.to_string();
    program.extend(["load", "http", "--to", &to, "--count", &count].map(OsString::from));
    let settings = Settings { mtu: 1500, wireway: arguments.wireway.clone() };
    let mut command = Peer::Wireway.command(&settings, "1500", &program, server.port);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut group = Group::start(&mut command)?;
    let root = group.0.id();
    let mut held = Vec::new();
    if let Some(output) = group.0.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            if !line.ends_with("connections") {
                println!("{line}");
                continue;
            }
            let now = tree(root);
            println!(
                "{line}: {} processes, {} descriptors, {} KiB resident",
                now.processes,
                now.descriptors,
                now.resident >> 10
            );
            held.push(now);
        }
    }
    let status = group.0.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("leak: {status}")));
    }
    let (Some(first), Some(last)) = (held.first(), held.last()) else {
        return Err(io::Error::other("leak: nothing was counted"));
    };
    if last.descriptors > first.descriptors + DESCRIPTORS || last.resident > first.resident + BYTES {
        return Err(io::Error::other("leak: more is held at the end"));
    }
    Ok(())
}

/// What a process and its descendants hold. Processes that end meanwhile are left out.
fn tree(root: u32) -> Held {
    let mut held = Held::default();
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else {
            continue;
        };
        held.processes += 1;
        held.descriptors += descriptors.count();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        held.resident += kilobytes.and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) << 10;
        let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
    }
    held
}
