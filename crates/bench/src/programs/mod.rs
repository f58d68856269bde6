//! The same unmodified programs over the kernel's loopback, Wireway, pasta and slirp4netns.
//!
//! Theory of operation. A server runs on the machine's loopback; for every round, the client is
//! started once over each peer, in alternation, so that what disturbs the machine disturbs all. The
//! benchmark binds itself to the processors of the pinning asked for, and everything it starts inherits
//! that: server, network and program on one core together, or free on two.

pub mod leak;
pub mod load;
mod peer;
mod protocol;
pub mod serve;

use crate::report::{self, Figure, Series};
use load::{Outcome, PERCENTILES, SIZES};
use peer::{Peer, Server, Settings};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the `programs` command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every network once, in alternation.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Networks, several with commas; ratios are to the first.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Peer::Kernel, Peer::Wireway, Peer::Pasta, Peer::Slirp4netns])]
    peers: Vec<Peer>,
    /// The MTU of all networks; several with commas. The kernel's loopback keeps its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1500, 65520])]
    mtu: Vec<u16>,
    /// Processors that everything shares: 1 or 2; several with commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    cores: Vec<usize>,
    /// Only measurements whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The `wireway` command.
    #[arg(long, default_value_os_t = beside("wireway"))]
    wireway: PathBuf,
    /// Also run iperf3 and redis-benchmark, where they are installed.
    #[arg(long)]
    real: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A command in the directory of this one.
fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}

/// A load, by our own program or another's.
#[derive(Clone, Copy)]
enum Job {
    /// Arguments of `load`.
    Own(&'static [&'static str]),
    /// Arguments of `load`, of which the round-trip times are of interest.
    Latency,
    /// iperf3 with these further arguments.
    Iperf3(&'static [&'static str]),
    /// redis-benchmark with this command.
    Redis(&'static str),
}

const LOADS: &[(&str, &str, Job)] = &[
    ("bulk, program to machine", "bytes/s", Job::Own(&["up"])),
    ("bulk, machine to program", "bytes/s", Job::Own(&["down"])),
    ("one-byte round trips", "/s", Job::Own(&["ping-pong"])),
    ("requests, 50 connections", "/s", Job::Own(&["requests"])),
    ("short HTTP connections", "/s", Job::Own(&["http"])),
    ("latency", "us", Job::Latency),
];

const REAL: &[(&str, &str, Job)] = &[
    ("iperf3, program to machine", "bytes/s", Job::Iperf3(&[])),
    ("iperf3, machine to program", "bytes/s", Job::Iperf3(&["-R"])),
    ("redis-benchmark SET", "/s", Job::Redis("set")),
    ("redis-benchmark GET", "/s", Job::Redis("get")),
];

impl Job {
    fn server(self) -> io::Result<Server> {
        match self {
            Job::Own(_) | Job::Latency => Server::own(),
            Job::Iperf3(_) => Server::other("iperf3", &["-s", "-B", "127.0.0.1", "-p", "PORT"]),
            Job::Redis(_) => Server::other("redis-server", &["--port", "PORT", "--bind", "127.0.0.1", "--save", ""]),
        }
    }

    /// The client's command line.
    fn client(self, to: SocketAddr, seconds: f64) -> io::Result<Vec<OsString>> {
        let (address, port) = (to.ip().to_string(), to.port().to_string());
        let seconds = seconds.to_string();
        let own = std::env::current_exe()?;
        let own = |arguments: &[&str]| {
            let mut line = vec![own.clone().into_os_string(), "load".into()];
            line.extend(arguments.iter().map(OsString::from));
            line.extend(["--json", "--to", &to.to_string()].map(OsString::from));
            line.extend(["--seconds", &seconds].map(OsString::from));
            line
        };
        Ok(match self {
            Job::Own(arguments) => own(arguments),
            Job::Latency => own(&["latency"]),
            Job::Iperf3(more) => {
                let mut line =
                    ["iperf3", "-J", "-c", &address, "-p", &port, "-t", &seconds].map(OsString::from).to_vec();
                line.extend(more.iter().map(OsString::from));
                line
            }
            Job::Redis(command) => {
                ["redis-benchmark", "-h", &address, "-p", &port, "-t", command, "-n", "100000", "--csv"]
                    .map(OsString::from)
                    .to_vec()
            }
        })
    }

    /// The figures in what the client wrote.
    fn outcome(self, text: &str) -> io::Result<Outcome> {
        let rate = |rate: Option<f64>| {
            let rate = rate.ok_or_else(|| io::Error::other("no figure in the output"))?;
            Ok(Outcome { rate, latency: Vec::new() })
        };
        match self {
            Job::Own(_) | Job::Latency => {
                let line = text.lines().last().unwrap_or_default();
                Ok(serde_json::from_str(line)?)
            }
            Job::Iperf3(_) => {
                let report: serde_json::Value = serde_json::from_str(text)?;
                let bits = report.pointer("/end/sum_received/bits_per_second");
                rate(bits.and_then(serde_json::Value::as_f64).map(|bits| bits / 8.0))
            }
            Job::Redis(_) => {
                let line = text.lines().last().unwrap_or_default();
                let second = line.split(',').nth(1).unwrap_or_default();
                rate(second.trim_matches('"').parse().ok())
            }
        }
    }
}

fn available(command: &str) -> bool {
    let mut command = Command::new(command);
    command.arg("--version");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.stdin(Stdio::null()).status().is_ok()
}

/// Binds this process, and what it starts, to the first so many processors it may use.
fn pin(all: &CpuSet, cores: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    let first = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu));
    first.take(cores).for_each(|cpu| set.set(cpu));
    Ok(sched_setaffinity(None, &set)?)
}

/// Runs the benchmark and prints it.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let all = sched_getaffinity(None)?;
    let mut loads = LOADS.to_vec();
    if arguments.real {
        for &load in REAL {
            let command = match load.2 {
                Job::Redis(_) => "redis-benchmark",
                _ => "iperf3",
            };
            if available(command) {
                loads.push(load);
            } else {
                eprintln!("{}: {command} is not installed", load.0);
            }
        }
    }
    loads.retain(|load| load.0.contains(&arguments.only));
    let mut figures = Vec::new();
    for &cores in &arguments.cores {
        pin(&all, cores)?;
        for &mtu in &arguments.mtu {
            let settings = Settings { mtu, wireway: arguments.wireway.clone() };
            for &(name, unit, job) in &loads {
                let plural = if cores == 1 { "core" } else { "cores" };
                let name = format!("{name}, MTU {mtu}, {cores} {plural}");
                let measured = measure(arguments, &settings, &name, unit, job)?;
                match (&*measured, arguments.json) {
                    (_, true) => {}
                    ([figure], false) => report::table(figure)?,
                    (figures, false) => report::grid(&name, figures)?,
                }
                figures.extend(measured);
            }
        }
    }
    if arguments.json {
        report::json(&figures)?;
    }
    Ok(())
}

/// One load in all rounds over all networks: a figure, or for latency one for each message size and
/// percentile.
fn measure(
    arguments: &Arguments,
    settings: &Settings,
    name: &str,
    unit: &'static str,
    job: Job,
) -> io::Result<Vec<Figure>> {
    let server = job.server()?;
    let limit = Duration::from_secs_f64(arguments.seconds * 4.0 + 30.0);
    let mut results: Vec<Vec<Result<Outcome, String>>> = vec![Vec::new(); arguments.peers.len()];
    for _ in 0..arguments.rounds {
        for (peer, results) in arguments.peers.iter().zip(&mut results) {
            let to = SocketAddr::from((peer.address(), server.port));
            let client = job.client(to, arguments.seconds)?;
            let outcome = peer.run(settings, &client, server.port, limit).and_then(|text| job.outcome(&text));
            results.push(outcome.map_err(|error| error.to_string()));
        }
    }
    let figure = |name: String, value: &dyn Fn(&Outcome) -> Option<f64>| {
        let series = arguments.peers.iter().zip(&results).map(|(peer, results)| {
            let mut series = Series::new(peer.name());
            for result in results {
                match result {
                    Ok(outcome) => value(outcome).into_iter().for_each(|v| series.push(v)),
                    Err(why) => series.fail(why),
                }
            }
            series
        });
        Figure::new(name, unit, series.collect())
    };
    if !matches!(job, Job::Latency) {
        return Ok(vec![figure(name.into(), &|outcome| Some(outcome.rate))]);
    }
    let mut figures = Vec::new();
    for (line, size) in SIZES.iter().enumerate() {
        for (column, percent) in PERCENTILES.iter().enumerate() {
            let name = format!("{name}, {size} bytes, p{percent}");
            figures.push(figure(name, &|outcome| outcome.latency.get(line)?.percentiles.get(column).copied()));
        }
    }
    Ok(figures)
}
