//! `wireway link`: looks at the cables of a running `wireway run` and changes them.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix, bind, recv, sendto};

use crate::cables::{self, Answer, Direction, LONGEST};
use crate::cli::{LinkArgs, LinkCommand};
use crate::impair::{Step, way};
use crate::run::Failure;

/// How long a run may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries out the command and prints what came of it.
pub fn link(args: &LinkArgs) -> Result<(), Failure> {
    let (pid, json, request) = match &args.command {
        LinkCommand::Show { pid, json } => (*pid, *json, "show".to_owned()),
        LinkCommand::Set { pid, interface, settings } => {
            // Said here, where the command line is, and not by the run.
            let mut words = settings.iter().map(String::as_str).peekable();
            let way = way(&mut words);
            Step::parse(way, words).map_err(Failure::own)?;
            (*pid, false, format!("set {interface} {}", settings.join(" ")))
        }
    };
    let runs = match pid {
        Some(pid) => vec![pid],
        None => runs()?,
    };
    let one = match (&args.command, &runs[..]) {
        (_, []) => return Err(Failure::own("nothing runs: start a program with wireway run")),
        (LinkCommand::Set { .. }, [_, _, ..]) => {
            let list: Vec<String> = runs.iter().map(u32::to_string).collect();
            return Err(Failure::own(format!("several run: say which with --pid (one of {})", list.join(", "))));
        }
        _ => &runs,
    };
    let mut all = Vec::new();
    for &pid in one {
        match ask(pid, &request) {
            Ok(Answer { error: Some(error), .. }) => return Err(Failure::own(error)),
            Ok(answer) => all.push((pid, answer)),
            Err(error) if runs.len() == 1 => return Err(error),
            // It ended just now.
            Err(_) => {}
        }
    }
    if json {
        let runs: Vec<_> =
            all.iter().map(|(pid, answer)| serde_json::json!({"pid": pid, "links": answer.links})).collect();
        println!("{}", serde_json::to_string_pretty(&runs).map_err(Failure::own)?);
    } else {
        for (pid, answer) in &all {
            print!("{}", shown(*pid, answer));
        }
    }
    Ok(())
}

/// The runs of this machine that can be asked, by the names of their sockets.
fn runs() -> Result<Vec<u32>, Failure> {
    let list = fs::read_to_string("/proc/net/unix").map_err(|e| Failure::own(format!("/proc/net/unix: {e}")))?;
    let name = |line: &str| line.split_once('@')?.1.strip_prefix(cables::NAME)?.parse().ok();
    let mut runs: Vec<u32> = list.lines().filter_map(name).collect();
    runs.retain(|pid| fs::metadata(format!("/proc/{pid}")).is_ok_and(|run| is_ours(&run)));
    runs.sort_unstable();
    Ok(runs)
}

fn is_ours(run: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::getuid();
    own.is_root() || run.uid() == own.as_raw()
}

fn ask(pid: u32, request: &str) -> Result<Answer, Failure> {
    let nobody = |e: Errno| match e {
        Errno::CONNREFUSED => Failure::own(format!("{pid} is no wireway run, or has ended")),
        e => Failure::own(format!("asking {pid}: {e}")),
    };
    let socket = cables::datagram_socket().map_err(Failure::own)?;
    let own = format!("wireway/ask/{}", std::process::id());
    let own = SocketAddrUnix::new_abstract_name(own.as_bytes()).map_err(Failure::own)?;
    bind(&socket, &own).map_err(nobody)?;
    sendto(&socket, request.as_bytes(), SendFlags::empty(), &cables::address(pid).map_err(Failure::own)?)
        .map_err(nobody)?;
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&patience)).map_err(nobody)? == 0 {
        return Err(Failure::own(format!("{pid} does not answer (only its own user and root may ask)")));
    }
    let mut answer = vec![0; LONGEST];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty()).map_err(nobody)?;
    serde_json::from_slice(&answer[..len]).map_err(|e| Failure::own(format!("the answer of {pid}: {e}")))
}

/// A run's cables, as a person reads them.
fn shown(pid: u32, answer: &Answer) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let mut text = format!("{pid}  {}\n", command.trim_end());
    for link in &answer.links {
        for (way, direction) in [("up", &link.up), ("down", &link.down)] {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {} {way:4}  {}", link.name, described(direction));
            let _ = writeln!(text, "             {}", counted(direction));
        }
    }
    text
}

fn described(direction: &Direction) -> String {
    let time = |micros| humantime::format_duration(Duration::from_micros(micros)).to_string();
    let share = |share: f64| format!("{}%", (share * 1e6).round() / 1e4);
    let mut parts = Vec::new();
    if direction.delay > 0 {
        parts.push(format!("delay {}", time(direction.delay)));
    }
    if direction.jitter > 0 {
        parts.push(format!("jitter {}", time(direction.jitter)));
    }
    if let Some(rate) = direction.rate {
        parts.push(format!("rate {} kbit/s, queue {} frames", rate as f64 / 1e3, direction.queue));
    }
    match direction.bursts {
        Some([begin, end, bad]) => {
            let parts_of = [begin, end, bad, direction.loss].map(share);
            parts.push(format!("loss gilbert:{}", parts_of.join(",")));
        }
        None if direction.loss > 0.0 => parts.push(format!("loss {}", share(direction.loss))),
        None => {}
    }
    if direction.reorder > 0.0 {
        parts.push(format!("reorder {} by {}", share(direction.reorder), time(direction.reorder_by)));
    }
    for (name, value) in [("duplicate", direction.duplicate), ("corrupt", direction.corrupt)] {
        if value > 0.0 {
            parts.push(format!("{name} {}", share(value)));
        }
    }
    if parts.is_empty() { "perfect".into() } else { parts.join(", ") }
}

fn counted(direction: &Direction) -> String {
    let mut text =
        format!("{} frames in, {} out ({} bytes)", direction.sent, direction.delivered, direction.delivered_bytes);
    let counts = [
        ("lost", direction.lost),
        ("dropped by the queue", direction.queue_full),
        ("overtaken", direction.reordered),
        ("doubled", direction.duplicated),
        ("corrupted", direction.corrupted),
    ];
    for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
        let _ = write!(text, ", {count} {name}");
    }
    text
}
