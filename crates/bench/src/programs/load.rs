//! The client of the load program: plain blocking sockets and epoll, as any program has them.

use super::protocol::{BLOCK, Job, pattern};
use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What the `load` command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to do.
    #[arg(value_enum)]
    load: Load,
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// How long, about.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Bytes of a message; for `latency` several, with commas.
    #[arg(long, value_delimiter = ',')]
    size: Vec<u64>,
    /// Connections at a time, for `requests`.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// This many connections in place of `--seconds`, for `http`; a line is printed after each tenth.
    #[arg(long)]
    count: Option<u64>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// A kind of load.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// Bulk, from here to the server.
    Up,
    /// Bulk, from the server to here.
    Down,
    /// One message to and fro on one connection.
    PingPong,
    /// Messages to and fro on many connections at once, as redis-benchmark does.
    Requests,
    /// A connection, an HTTP request and its answer, over and over.
    Http,
    /// Round-trip times by message size.
    Latency,
}

/// What was measured.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub struct Outcome {
    /// Bytes (`up`, `down`) or operations a second.
    pub rate: f64,
    /// Round-trip times, where they were recorded.
    #[serde(default)]
    pub latency: Vec<Latency>,
}

/// Round-trip times of one message size, in microseconds.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Latency {
    /// Bytes of a message.
    pub size: u64,
    /// Messages.
    pub count: u64,
    /// Percentiles, in the order of [`PERCENTILES`].
    pub percentiles: Vec<f64>,
}

/// The percentiles of [`Latency`].
pub const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 100.0];
/// The message sizes of `latency` unless told otherwise.
pub const SIZES: [u64; 7] = [1, 64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Runs the load and prints what was measured.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let time = Duration::from_secs_f64(arguments.seconds);
    let to = arguments.to;
    let outcome = match arguments.load {
        Load::Up => up(to, time)?,
        Load::Down => down(to, time)?,
        Load::PingPong => {
            let size = arguments.size.first().copied().unwrap_or(1);
            let times = round_trips(to, size, time)?;
            let rate = times.rate;
            Outcome { rate, latency: vec![times.latency] }
        }
        Load::Requests => {
            let size = arguments.size.first().copied().unwrap_or(64);
            requests(to, size, arguments.connections, time)?
        }
        Load::Http => http(to, time, arguments.count)?,
        Load::Latency => {
            let sizes: &[u64] = if arguments.size.is_empty() { &SIZES } else { &arguments.size };
            let each = time / sizes.len().max(1) as u32;
            let mut outcome = Outcome::default();
            for &size in sizes {
                outcome.latency.push(round_trips(to, size, each)?.latency);
            }
            outcome
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        if outcome.rate > 0.0 {
            println!("{}/s", crate::report::human(outcome.rate));
        }
        for line in &outcome.latency {
            println!("{:>8} bytes: {:.1?} us", line.size, line.percentiles);
        }
    }
    Ok(())
}

fn connect(to: SocketAddr, job: Job) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    socket.write_all(&job.request())?;
    Ok(socket)
}

/// Writes for a time, ends the stream, and waits for the server to tell how much arrived.
fn up(to: SocketAddr, time: Duration) -> io::Result<Outcome> {
    let source = pattern();
    let mut socket = connect(to, Job::Sink)?;
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < time {
        let from = (sent % BLOCK as u64) as usize;
        sent += socket.write(source.get(from..from + BLOCK).unwrap_or_default())? as u64;
    }
    socket.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    socket.read_exact(&mut total)?;
    let elapsed = start.elapsed();
    if u64::from_le_bytes(total) != sent {
        return Err(io::Error::other("up: not all bytes arrived"));
    }
    Ok(Outcome { rate: sent as f64 / elapsed.as_secs_f64(), latency: Vec::new() })
}

/// Reads for a time; the first and the last eight bytes of every read are compared with the pattern.
fn down(to: SocketAddr, time: Duration) -> io::Result<Outcome> {
    let source = pattern();
    let mut sink = vec![0; BLOCK];
    let mut socket = connect(to, Job::Source(u64::MAX))?;
    let start = Instant::now();
    let mut received = 0_u64;
    while start.elapsed() < time {
        let count = socket.read(&mut sink)?;
        if count == 0 {
            return Err(io::Error::other("down: the stream ended"));
        }
        let from = (received % BLOCK as u64) as usize;
        let sample = count.min(8);
        let same = |at: usize| sink.get(at..at + sample) == source.get(from + at..from + at + sample);
        if !same(0) || !same(count - sample) {
            return Err(io::Error::other("down: the bytes differ"));
        }
        received += count as u64;
    }
    Ok(Outcome { rate: received as f64 / start.elapsed().as_secs_f64(), latency: Vec::new() })
}

struct RoundTrips {
    rate: f64,
    latency: Latency,
}

/// One message at a time, after a tenth of the time to warm up.
fn round_trips(to: SocketAddr, size: u64, time: Duration) -> io::Result<RoundTrips> {
    let mut socket = connect(to, Job::Echo(size))?;
    let mut message: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let mut answer = message.clone();
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)?;
    let begin = Instant::now();
    let mut start = begin;
    let mut warm = false;
    loop {
        let sent = Instant::now();
        if !warm && sent - begin >= time / 10 {
            warm = true;
            start = sent;
        }
        if sent - begin >= time && !times.is_empty() {
            break;
        }
        if let Some(first) = message.first_mut() {
            *first = first.wrapping_add(1);
        }
        socket.write_all(&message)?;
        socket.read_exact(&mut answer)?;
        if warm {
            times.saturating_record(sent.elapsed().as_nanos() as u64);
        }
        if message != answer {
            return Err(io::Error::other("the answer differs from the message"));
        }
    }
    let elapsed = start.elapsed();
    Ok(RoundTrips {
        rate: times.len() as f64 / elapsed.as_secs_f64(),
        latency: Latency {
            size,
            count: times.len(),
            percentiles: PERCENTILES
                .iter()
                .map(|&percent| times.value_at_percentile(percent) as f64 / 1000.0)
                .collect(),
        },
    })
}

/// A message under way on each of many connections, from one thread.
fn requests(to: SocketAddr, size: u64, connections: usize, time: Duration) -> io::Result<Outcome> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let message: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let mut clients = Vec::new();
    for key in 0..connections {
        let mut socket = connect(to, Job::Echo(size))?;
        socket.write_all(&message)?;
        epoll::add(&poll, &socket, EventData::new_u64(key as u64), EventFlags::IN)?;
        clients.push((socket, 0));
    }
    let mut answer = vec![0; message.len()];
    let mut events = Vec::with_capacity(64);
    let (mut done, start) = (0_u64, Instant::now());
    while start.elapsed() < time {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        for event in &events {
            let Some((socket, read)) = clients.get_mut(event.data.u64() as usize) else {
                continue;
            };
            let count = socket.read(&mut answer)?;
            if count == 0 {
                return Err(io::Error::other("requests: the stream ended"));
            }
            if answer.get(..count) != message.get(*read..*read + count) {
                return Err(io::Error::other("requests: the answer differs"));
            }
            *read += count;
            if *read == message.len() {
                *read = 0;
                done += 1;
                socket.write_all(&message)?;
            }
        }
    }
    Ok(Outcome { rate: done as f64 / start.elapsed().as_secs_f64(), latency: Vec::new() })
}

/// One connection after the other, each an HTTP request read to its end.
fn http(to: SocketAddr, time: Duration, count: Option<u64>) -> io::Result<Outcome> {
    let mut answer = Vec::new();
    let start = Instant::now();
    let mut done = 0_u64;
    while count.map_or_else(|| start.elapsed() < time, |count| done < count) {
        let mut socket = TcpStream::connect(to)?;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        answer.clear();
        socket.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 200 ") || answer.len() < 1024 {
            return Err(io::Error::other("http: not the answer expected"));
        }
        done += 1;
        if let Some(count) = count
            && (done * 10).is_multiple_of(count)
        {
            println!("{done} connections");
            io::stdout().flush()?;
        }
    }
    Ok(Outcome { rate: done as f64 / start.elapsed().as_secs_f64(), latency: Vec::new() })
}
