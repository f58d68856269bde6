//! The loops that every stack runs: bulk, one-byte round trips, connect-exchange-close.

use super::{Host, Pair, Received, Settings};
use std::io;
use std::time::Duration;

/// Virtual time that one turn takes.
const TURN: Duration = Duration::from_micros(1);
/// Bytes of one write and of one read.
const BLOCK: usize = 64 << 10;
/// Turns in a row without a frame, a byte or a timer after which a run is given up.
const PATIENCE: u32 = 1000;
const PORT: u16 = 5001;

/// How much one measurement does.
#[derive(Clone, Copy)]
pub enum Amount {
    /// About this much time, after a tenth of it to warm up.
    Time(Duration),
    /// Exactly this many operations (or bytes), for instruction counts.
    Work(u64),
}

/// The time this thread has computed.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn stalled(what: &str) -> io::Error {
    io::Error::other(format!("{what}: the connection stands still"))
}

/// A pair under way: its clock, and the time spent waiting for timers.
pub struct Drive<P> {
    pub pair: P,
    pub now: Duration,
    waited: Duration,
    idle: u32,
}

impl<P: Pair> Drive<P> {
    pub fn new(settings: &Settings) -> Self {
        Drive { pair: P::new(*settings), now: Duration::from_secs(1), waited: Duration::ZERO, idle: 0 }
    }

    /// The client transmits and the server takes it in; how many frames.
    fn forth(&mut self) -> usize {
        self.pair.client().output(self.now);
        let frames = self.pair.carry();
        self.pair.server().input(self.now);
        frames
    }

    /// The server transmits and the client takes it in; how many frames.
    fn back(&mut self) -> usize {
        self.pair.server().output(self.now);
        let frames = self.pair.carry();
        self.pair.client().input(self.now);
        frames
    }

    /// Ends a turn. After one in which nothing moved, waits for the next timer.
    fn end_turn(&mut self, moved: bool, what: &str) -> io::Result<()> {
        self.now += TURN;
        if moved {
            self.idle = 0;
            return Ok(());
        }
        self.idle += 1;
        let (now, client) = (self.now, self.pair.client().poll_at(self.now));
        let server = self.pair.server().poll_at(now);
        match [client, server].into_iter().flatten().min() {
            Some(at) if self.idle < PATIENCE => {
                let wait = at.saturating_sub(self.now);
                self.waited += wait;
                self.now += wait;
                Ok(())
            }
            _ => Err(stalled(what)),
        }
    }

    /// One established connection, seen from both ends.
    #[allow(clippy::type_complexity)]
    pub fn connection(&mut self) -> io::Result<(<P::Host as Host>::Connection, <P::Host as Host>::Connection)> {
        let now = self.now;
        let client = self.pair.client().connect(now, PORT);
        loop {
            let frames = self.forth() + self.back();
            if self.pair.client().established(client)
                && let Some(server) = self.pair.server().accept()
            {
                return Ok((client, server));
            }
            self.end_turn(frames > 0, "connect")?;
        }
    }

    /// One turn; whether a frame moved.
    pub fn exchange(&mut self) -> bool {
        self.now += TURN;
        self.forth() + self.back() > 0
    }

    /// Lets a second pass, so that delayed acknowledgements are sent.
    pub fn settle(&mut self) {
        self.now += Duration::from_secs(1);
        while self.exchange() {}
    }

    /// The server accepts connections.
    pub fn listen(&mut self) {
        self.pair.server().listen(PORT);
    }

    /// Repeats `step`, which says how many operations it did, and returns operations per second.
    fn rate(
        &mut self,
        amount: Amount,
        batch: u32,
        mut step: impl FnMut(&mut Self) -> io::Result<u64>,
    ) -> io::Result<f64> {
        if let Amount::Time(time) = amount {
            let start = cpu_time();
            while cpu_time() - start < time / 10 {
                for _ in 0..batch {
                    step(self)?;
                }
            }
        }
        self.waited = Duration::ZERO;
        let start = cpu_time();
        let mut done = 0;
        loop {
            for _ in 0..batch {
                done += step(self)?;
            }
            let spent = cpu_time() - start + self.waited;
            let enough = match amount {
                Amount::Time(time) => spent >= time,
                Amount::Work(work) => done >= work,
            };
            if enough {
                return Ok(done as f64 / spent.as_secs_f64());
            }
        }
    }
}

/// Two copies of one block, so that a write may begin anywhere in it.
fn pattern() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block: Vec<u8> = Vec::with_capacity(2 * BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block.extend_from_within(..);
    block
}

/// Bytes a second in one direction over one connection; the first and the last eight bytes of every
/// read are compared with what was written there.
pub fn bulk<P: Pair>(settings: &Settings, amount: Amount) -> io::Result<f64> {
    let mut drive = Drive::<P>::new(settings);
    drive.listen();
    let (client, server) = drive.connection()?;
    let source = pattern();
    let mut sink = vec![0; BLOCK];
    let (mut sent, mut received) = (0, 0);
    drive.rate(amount, 16, |drive| {
        loop {
            let from = sent % BLOCK;
            let bytes = source.get(from..from + BLOCK).unwrap_or_default();
            let count = drive.pair.client().send(client, bytes);
            sent += count;
            if count < BLOCK {
                break;
            }
        }
        let frames = drive.forth();
        let before = received;
        loop {
            let count = match drive.pair.server().receive(server, &mut sink) {
                Received::Bytes(count) => count,
                Received::End => return Err(stalled("bulk")),
            };
            if count == 0 {
                break;
            }
            let from = received % BLOCK;
            let sample = count.min(8);
            let same = |at: usize| sink.get(at..at + sample) == source.get(from + at..from + at + sample);
            if !same(0) || !same(count - sample) {
                return Err(io::Error::other("bulk: the bytes differ"));
            }
            received += count;
            if count < BLOCK {
                break;
            }
        }
        let frames = frames + drive.back();
        drive.end_turn(frames > 0 || received > before, "bulk")?;
        Ok((received - before) as u64)
    })
}

/// One-byte requests and one-byte answers a second over one connection.
pub fn round_trips<P: Pair>(settings: &Settings, amount: Amount) -> io::Result<f64> {
    let mut drive = Drive::<P>::new(settings);
    drive.listen();
    let (client, server) = drive.connection()?;
    let mut value = 0_u8;
    drive.rate(amount, 256, |drive| {
        value = value.wrapping_add(1);
        let mut byte = [0];
        if drive.pair.client().send(client, &[value]) != 1 {
            return Err(stalled("round trips"));
        }
        let mut answered = false;
        loop {
            let frames = drive.forth();
            if drive.pair.server().receive(server, &mut byte) == Received::Bytes(1)
                && drive.pair.server().send(server, &byte) == 1
            {
                answered = true;
            }
            let frames = frames + drive.back();
            byte = [0];
            if answered && drive.pair.client().receive(client, &mut byte) == Received::Bytes(1) {
                if byte != [value] {
                    return Err(io::Error::other("round trips: the bytes differ"));
                }
                drive.end_turn(true, "round trips")?;
                return Ok(1);
            }
            drive.end_turn(frames > 0, "round trips")?;
        }
    })
}

/// Connections a second: connect, one byte each way, the client closes, then the server, and
/// TIME-WAIT runs out at the client before the next one.
pub fn connections<P: Pair>(settings: &Settings, amount: Amount) -> io::Result<f64> {
    let mut drive = Drive::<P>::new(settings);
    drive.listen();
    drive.rate(amount, 64, |drive| {
        let now = drive.now;
        let client = drive.pair.client().connect(now, PORT);
        let (mut asked, mut closed) = (false, false);
        let mut server = None;
        let mut byte = [0];
        loop {
            let mut moved = drive.forth();
            if server.is_none() {
                server = drive.pair.server().accept();
            }
            if let Some(server) = server
                && !closed
            {
                match drive.pair.server().receive(server, &mut byte) {
                    Received::Bytes(0) => {}
                    Received::Bytes(_) => moved += drive.pair.server().send(server, &byte),
                    Received::End => {
                        let now = drive.now;
                        drive.pair.server().close(now, server);
                        closed = true;
                    }
                }
            }
            moved += drive.back();
            let host = drive.pair.client();
            if !asked {
                if host.established(client) {
                    asked = host.send(client, b"?") == 1;
                    moved += 1;
                }
            } else if !closed && host.receive(client, &mut byte) == Received::Bytes(1) {
                host.close(drive.now, client);
                moved += 1;
            }
            drive.end_turn(moved > 0, "connections")?;
            if let Some(server) = server
                && closed
                && drive.pair.server().gone(server)
            {
                break;
            }
        }
        drive.now += P::TIME_WAIT;
        let now = drive.now;
        drive.pair.client().output(now);
        if !drive.pair.client().gone(client) {
            return Err(io::Error::other("connections: TIME-WAIT did not end"));
        }
        Ok(1)
    })
}
