//! Instruction counts of the stack's hot paths, for both families, compared with the table that is kept.
//!
//! Times differ from machine to machine and from minute to minute; the instructions of a run in virtual time hardly do. Valgrind counts
//! those of two runs of `stacks` that differ only in the amount of work, and the difference is what one operation costs: set-up,
//! loading and printing cancel out. What still moves the counts is another compiler, or another C library's `memcpy`.

use std::io;
use std::path::PathBuf;
use std::process::Command;

/// Of which a count may be more than the table says.
const TOLERANCE: f64 = 0.03;

/// What the `instructions` command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// The table of counts.
    #[arg(long, default_value = "crates/bench/instructions.tsv")]
    table: PathBuf,
    /// Write the table anew instead of comparing with it.
    #[arg(long)]
    update: bool,
}

/// Something that is counted.
struct Case {
    /// As the table has it.
    name: &'static str,
    /// What `stacks` calls it.
    only: &'static str,
    /// The two amounts of work (bytes, or operations; both multiples of what `stacks` does at once).
    work: [u64; 2],
    /// Work a unit of the table.
    unit: u64,
}

const CASES: [Case; 3] = [
    Case { name: "frame of bulk data", only: "bulk, 64", work: [4 << 20, 24 << 20], unit: 1448 },
    Case { name: "one-byte round trip", only: "one-byte", work: [1 << 10, 9 << 10], unit: 1 },
    Case { name: "connect, exchange, close", only: "connect-", work: [256, 2304], unit: 1 },
];

/// The stacks that are counted, by their names in `stacks`, which say the family.
const STACKS: [(&str, &str); 2] = [("IPv4", "wireway, timestamps"), ("IPv6", "wireway, IPv6")];

fn total(case: &Case, stack: &str, work: u64) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["stacks", "--rounds", "1", "--buffers", "65536", "--only", case.only, "--stack", stack])
        .args(["--work", &work.to_string()])
        .output()
        .map_err(|e| io::Error::other(format!("valgrind, which counts, does not run: {e}")))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.ok_or_else(|| io::Error::other(format!("valgrind gave no count:\n{log}")))
}

/// Counts, and compares or writes the table. An error if a count has risen by more than 3 %.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let compiler =
        Command::new("rustc").arg("--version").output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let compiler = compiler.unwrap_or_else(|_| "an unknown compiler".into());
    let known = if arguments.update { Table::default() } else { Table::read(&arguments.table)? };
    let mut lines = vec![format!("# instructions, counted with {compiler}")];
    let mut risen = Vec::new();
    for case in &CASES {
        for (family, stack) in STACKS {
            let [less, more] = case.work;
            let difference = total(case, stack, more)?.saturating_sub(total(case, stack, less)?);
            let count = difference * case.unit / (more - less);
            let line = format!("{}\t{family}\t{count}", case.name);
            match known.count(case.name, family) {
                Some(before) => {
                    let change = count as f64 / before as f64 - 1.0;
                    println!("{:26} {family}  {count:7}  {:+.1} %", case.name, change * 100.0);
                    if change > TOLERANCE {
                        risen.push(format!("{} over {family}: {before} -> {count}", case.name));
                    }
                }
                None if arguments.update => println!("{:26} {family}  {count:7}", case.name),
                None => risen.push(format!("{} over {family} is not in the table: {count}", case.name)),
            }
            lines.push(line);
        }
    }
    if arguments.update {
        return std::fs::write(&arguments.table, lines.join("\n") + "\n");
    }
    if risen.is_empty() {
        return Ok(());
    }
    let other = if known.compiler == lines[0] {
        String::new()
    } else {
        format!(" (the table: {}; now: {compiler})", known.compiler)
    };
    Err(io::Error::other(format!(
        "more instructions than the table says, by over 3 %{other}:\n  {}\nIf that is meant, `scripts/instructions --update` writes the table anew.",
        risen.join("\n  ")
    )))
}

/// What was counted before.
#[derive(Default)]
struct Table {
    compiler: String,
    counts: Vec<(String, String, u64)>,
}

impl Table {
    fn read(path: &PathBuf) -> io::Result<Table> {
        let text = std::fs::read_to_string(path).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))?;
        let compiler = text.lines().next().unwrap_or_default().to_owned();
        let count = |line: &str| {
            let mut fields = line.split('\t');
            Some((fields.next()?.to_owned(), fields.next()?.to_owned(), fields.next()?.parse().ok()?))
        };
        Ok(Table { compiler, counts: text.lines().filter(|line| !line.starts_with('#')).filter_map(count).collect() })
    }

    fn count(&self, name: &str, family: &str) -> Option<u64> {
        self.counts.iter().find(|(n, f, _)| n == name && f == family).map(|(_, _, count)| *count)
    }
}
