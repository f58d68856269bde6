//! The same frames, made by hand, once to Linux and once to our host: the answers are compared field by field.
//!
//! Linux is the kernel that runs the test, in a network namespace of its own behind a TAP; ours is a host in virtual time. `cases.rs` is the
//! table of conversations. Where an answer differs the case says how and why, as COMPLIANCE.md does, and fails when that is no longer so.
//! `cargo test -p wireway-lab --test linux -- --nocapture` shows the transcripts. Needs root.

mod cases;
mod side;
mod talk;

use std::io::Write;
use std::process::Command;

use side::{Linux, Ours, Side};
use talk::Talk;

/// A conversation.
struct Case {
    name: &'static str,
    talk: fn(&mut Talk<'_>),
    differs: &'static [Difference],
}

/// A part of a transcript that differs: what Linux's has there, what ours has, and why.
struct Difference(&'static str, &'static str, &'static str);

/// A conversation in which nothing differs.
const fn case(name: &'static str, talk: fn(&mut Talk<'_>)) -> Case {
    Case { name, talk, differs: &[] }
}

/// A conversation in which something does.
const fn differs(name: &'static str, differs: &'static [Difference], talk: fn(&mut Talk<'_>)) -> Case {
    Case { name, talk, differs }
}

const NAMESPACE: &str = "WIREWAY_TEST_NAMESPACE";

#[test]
fn answers_are_linux_s() {
    if std::env::var_os(NAMESPACE).is_some() {
        return compare();
    }
    if !rustix::process::geteuid().is_root() {
        let message = "SKIPPED answers_are_linux_s: needs root (network namespace, TAP)";
        assert!(std::env::var_os("WIREWAY_TESTS").is_none_or(|v| v != "all"), "{message}");
        let _ = writeln!(std::io::stderr(), "{message}");
        return;
    }
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(this).args(["--exact", "answers_are_linux_s", "--nocapture"]);
    let output = command.env(NAMESPACE, "new").output().expect("unshare");
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "see above");
}

/// Runs every case on both sides.
fn compare() {
    let (mut linux, mut ours) = (Linux::new(), Ours::new());
    let mut failed = Vec::new();
    for (number, case) in cases::CASES.into_iter().flatten().enumerate() {
        let run = |side: &mut dyn Side| {
            let mut talk = Talk::new(side, number as u16);
            (case.talk)(&mut talk);
            talk.log
        };
        let (theirs, ours) = (run(&mut linux), run(&mut ours));
        let mut expected = theirs.clone();
        println!("=== {}", case.name);
        let mut holds = true;
        for Difference(linux, ours, why) in case.differs {
            println!("but {why}");
            holds &= expected.contains(linux);
            expected = expected.replace(linux, ours);
        }
        show(&expected, &ours);
        if expected != ours || !holds {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} differ from Linux: {failed:#?}", failed.len());
}

/// Prints two transcripts as one: by steps, with `-` before what only Linux does and `+` before what only we do.
fn show(linux: &str, ours: &str) {
    let steps = |text: &str| -> Vec<Vec<String>> {
        let mut steps: Vec<Vec<String>> = Vec::new();
        for line in text.lines() {
            match steps.last_mut() {
                Some(step) if line.starts_with('<') => step.push(line.into()),
                _ => steps.push(vec![line.into()]),
            }
        }
        steps
    };
    let (linux, ours) = (steps(linux), steps(ours));
    for i in 0..linux.len().max(ours.len()) {
        let (linux, ours) = (linux.get(i).cloned().unwrap_or_default(), ours.get(i).cloned().unwrap_or_default());
        let only_linux = linux.iter().filter(|line| !ours.contains(line)).map(|line| ('-', line));
        let rest = ours.iter().map(|line| (if linux.contains(line) { ' ' } else { '+' }, line));
        let (steps, mut answers): (Vec<_>, Vec<_>) = rest.chain(only_linux).partition(|(_, l)| !l.starts_with('<'));
        answers.sort_by_key(|&(mark, _)| mark != '-');
        for (mark, line) in steps.into_iter().chain(answers) {
            println!("{mark} {line}");
        }
    }
}
