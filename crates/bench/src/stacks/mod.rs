//! Stack to stack: two hosts of one kind in one thread, joined by an in-memory Ethernet link.
//!
//! Theory of operation. The loops in [`loops`] are written once against the trait [`Host`] and
//! run by every stack. Time is virtual: the loops pass it in, a fixed step for every turn, so that a
//! run costs the same instructions every time and can be put under callgrind. Time spent waiting is
//! not free: when neither host has anything to do before a timer, the clock jumps to that timer and
//! the jump is added to the time measured, as if the thread had slept. Only the time that a closed
//! connection stays in TIME-WAIT is skipped uncounted, since nobody waits for it; both stacks still go
//! through the state and its expiry.
//!
//! The work itself is measured on the thread's own CPU clock, which equals the wall clock on an idle
//! machine and is not disturbed by what else the machine does.

mod loops;
pub mod memory;
mod smoltcp;
mod wireway;

use crate::report::{self, Figure, Series};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What the `stacks` command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every stack once, in alternation.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds, roughly, for one measurement of one stack.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Bytes in each socket buffer of the bulk measurement.
    #[arg(long, value_delimiter = ',', default_values_t = [64 << 10, 256 << 10, 1 << 20])]
    buffers: Vec<usize>,
    /// Frames the link holds in each direction.
    #[arg(long, default_value_t = 256)]
    depth: usize,
    /// Only measurements whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only stacks whose name contains this.
    #[arg(long, default_value = "")]
    stack: String,
    /// A fixed amount of work for one measurement (bytes, round trips or connections) in place of
    /// `--seconds`: for callgrind.
    #[arg(long)]
    work: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How the two hosts and the link are set up.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Bytes in each send and each receive buffer.
    pub buffer: usize,
    /// Frames the link holds in each direction.
    pub depth: usize,
    /// RFC 7323 timestamps.
    pub timestamps: bool,
    /// IPv6 instead of IPv4.
    pub v6: bool,
}

/// The address of the host with this number.
fn address(v6: bool, number: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, number).into()
    }
}

/// The prefix length of the hosts' network.
fn prefix_len(v6: bool) -> u8 {
    if v6 { 64 } else { 24 }
}

/// One stack's host at one end of the link. Times are virtual, since the start of the run.
pub trait Host {
    /// A connection.
    type Connection: Copy;

    /// Takes in what the link brought.
    fn input(&mut self, now: Duration);
    /// Runs the timers that are due and puts on the link what there is to transmit.
    fn output(&mut self, now: Duration);
    /// When `output` must next be called if no frame comes.
    fn poll_at(&mut self, now: Duration) -> Option<Duration>;
    /// Accepts connections on `port`.
    fn listen(&mut self, port: u16);
    /// Begins a connection to `port` of the other host.
    fn connect(&mut self, now: Duration, port: u16) -> Self::Connection;
    /// The next established connection that a peer opened.
    fn accept(&mut self) -> Option<Self::Connection>;
    /// Whether the three-way handshake is over.
    fn established(&mut self, connection: Self::Connection) -> bool;
    /// Copies bytes into the send buffer; how many.
    fn send(&mut self, connection: Self::Connection, bytes: &[u8]) -> usize;
    /// Copies bytes out of the receive buffer.
    fn receive(&mut self, connection: Self::Connection, into: &mut [u8]) -> Received;
    /// The program is done with the connection: no more bytes will be sent or read.
    fn close(&mut self, now: Duration, connection: Self::Connection);
    /// Whether the closed connection, TIME-WAIT included, is gone and its resources are free again.
    fn gone(&mut self, connection: Self::Connection) -> bool;
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// This many bytes; zero if there are none yet.
    Bytes(usize),
    /// The peer has closed its side and everything before that has been read.
    End,
}

/// Two hosts of one stack and the link between them.
pub trait Pair: Sized {
    /// One of the two.
    type Host: Host;
    /// How long the stack keeps a connection in TIME-WAIT.
    const TIME_WAIT: Duration;

    /// The two hosts, with addresses, not yet connected.
    fn new(settings: Settings) -> Self;
    /// The host that connects.
    fn client(&mut self) -> &mut Self::Host;
    /// The host that listens.
    fn server(&mut self) -> &mut Self::Host;
    /// Moves what each host has transmitted to the other; how many frames.
    fn carry(&mut self) -> usize;
}

/// A stack with its options, as a row of the table.
struct Contender {
    name: &'static str,
    run: fn(Measurement, &Settings, loops::Amount) -> io::Result<f64>,
    timestamps: bool,
    v6: bool,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measurement {
    Bulk,
    RoundTrips,
    Connections,
}

fn measure<P: Pair>(what: Measurement, settings: &Settings, amount: loops::Amount) -> io::Result<f64> {
    match what {
        Measurement::Bulk => loops::bulk::<P>(settings, amount),
        Measurement::RoundTrips => loops::round_trips::<P>(settings, amount),
        Measurement::Connections => loops::connections::<P>(settings, amount),
    }
}

/// The first is the one that the others are compared with: smoltcp as it is by default, and fastest.
const CONTENDERS: &[Contender] = &[
    Contender { name: "smoltcp", run: measure::<smoltcp::Two>, timestamps: false, v6: false },
    Contender { name: "smoltcp, timestamps", run: measure::<smoltcp::Two>, timestamps: true, v6: false },
    Contender { name: "wireway, timestamps", run: measure::<wireway::Two>, timestamps: true, v6: false },
    Contender { name: "wireway, IPv6", run: measure::<wireway::Two>, timestamps: true, v6: true },
];

/// Runs the benchmark and prints it.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let mut lines: Vec<(String, Measurement, usize, &'static str)> = Vec::new();
    for &buffer in &arguments.buffers {
        let name = format!("bulk, {} KiB buffers", buffer >> 10);
        lines.push((name, Measurement::Bulk, buffer, "bytes/s"));
    }
    let small = 64 << 10;
    lines.push(("one-byte round trips".into(), Measurement::RoundTrips, small, "/s"));
    lines.push(("connect-exchange-close".into(), Measurement::Connections, small, "/s"));

    let mut figures = Vec::new();
    for (name, what, buffer, unit) in lines {
        if !name.contains(&arguments.only) {
            continue;
        }
        let mut series: Vec<Series> = Vec::new();
        let contenders = || CONTENDERS.iter().filter(|contender| contender.name.contains(&arguments.stack));
        for contender in contenders() {
            series.push(Series::new(contender.name));
        }
        for _ in 0..arguments.rounds {
            for (contender, series) in contenders().zip(&mut series) {
                let Contender { timestamps, v6, .. } = *contender;
                let settings = Settings { buffer, depth: arguments.depth, timestamps, v6 };
                let amount = match arguments.work {
                    Some(work) => loops::Amount::Work(work),
                    None => loops::Amount::Time(Duration::from_secs_f64(arguments.seconds)),
                };
                series.push((contender.run)(what, &settings, amount)?);
            }
        }
        let figure = Figure::new(name, unit, series);
        if !arguments.json {
            report::table(&figure)?;
        }
        figures.push(figure);
    }
    if arguments.json {
        report::json(&figures)?;
    }
    Ok(())
}
