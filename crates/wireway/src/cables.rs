//! The cables of a running program: what is asked of them over time, and who asks (`wireway link`).
//!
//! A run listens on a datagram socket whose abstract name holds the process number, so nothing is left behind in the file
//! system. A request is a line of words, the answer a line of JSON. Only the run's own user and root are heard.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix,
    SocketFlags, SocketType, bind, recvmsg, sendto, socket_with, sockopt,
};
use serde::{Deserialize, Serialize};
use wireway::link::Link;
use wireway::nic::Cable;
use wireway::packet::Instant;

use crate::impair::{Impairments, Step, way};

/// Bytes of a request or an answer.
pub const LONGEST: usize = 64 << 10;

/// Requests of one turn.
const TURN: usize = 16;

/// The name of a run's socket.
pub fn address(process: u32) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(format!("{NAME}{process}").as_bytes())?)
}

/// What the names of all runs begin with.
pub const NAME: &str = "wireway/run/";

/// A cable with what is asked of it.
struct Held {
    name: String,
    cable: Cable,
    asked: Impairments,
    mtu: u16,
}

/// All cables of a run.
#[derive(Default)]
pub struct Cables {
    held: Vec<Held>,
    socket: Option<OwnedFd>,
    /// When the program started: where schedules count from.
    start: Option<Instant>,
    /// When the next cable changes.
    next: Option<Instant>,
}

/// A run as it answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// The cables, first the way up, then the way down.
    pub links: Vec<Ways>,
}

/// Both directions of a cable.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ways {
    /// The interface it is plugged into.
    pub name: String,
    /// From the program.
    pub up: Direction,
    /// To the program.
    pub down: Direction,
}

/// One direction: how it is, and what it counted. Times in microseconds.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Direction {
    pub delay: u64,
    pub jitter: u64,
    pub rate: Option<u64>,
    pub queue: usize,
    pub loss: f64,
    pub bursts: Option<[f64; 3]>,
    pub reorder: f64,
    pub reorder_by: u64,
    pub duplicate: f64,
    pub corrupt: f64,
    pub sent: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    pub lost: u64,
    pub queue_full: u64,
    pub reordered: u64,
    pub duplicated: u64,
    pub corrupted: u64,
}

impl Direction {
    fn of(link: &Link) -> Direction {
        let (config, counters) = (link.config(), link.counters());
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Direction {
            delay: micros(config.delay),
            jitter: micros(config.jitter),
            rate: config.rate,
            queue: config.queue,
            loss: config.loss,
            bursts: config.bursts.map(|bursts| [bursts.begin, bursts.end, bursts.loss]),
            reorder: config.reorder,
            reorder_by: micros(config.reorder_by),
            duplicate: config.duplicate,
            corrupt: config.corrupt,
            sent: counters.sent,
            delivered: counters.delivered,
            delivered_bytes: counters.delivered_bytes,
            lost: counters.lost,
            queue_full: counters.queue_full,
            reordered: counters.reordered,
            duplicated: counters.duplicated,
            corrupted: counters.corrupted,
        }
    }
}

impl Cables {
    /// One more cable, of the interface `name` whose card carries `mtu` bytes.
    pub fn add(&mut self, name: &str, cable: Cable, asked: Impairments, mtu: u16) {
        self.held.push(Held { name: name.into(), cable, asked, mtu });
    }

    /// The program starts: schedules count from here, and requests are heard. The descriptor is to be watched; without one (another run has
    /// the name) there is no `wireway link`.
    pub fn start(&mut self, now: Instant) -> Option<BorrowedFd<'_>> {
        self.start = Some(now);
        self.change(now);
        self.socket = listen(address(std::process::id()).ok()?).ok();
        self.socket.as_ref().map(AsFd::as_fd)
    }

    fn time(&self, now: Instant) -> Duration {
        self.start.map_or(Duration::ZERO, |start| now.since(start))
    }

    /// Makes the cables what they are to be now, if something changes.
    pub fn poll(&mut self, now: Instant) {
        if self.next.is_some_and(|next| next <= now) {
            self.change(now);
        }
    }

    fn change(&mut self, now: Instant) {
        let at = self.time(now);
        for held in &self.held {
            let configs = held.asked.at(at, held.mtu);
            for (link, config) in held.cable.borrow_mut().iter_mut().zip(configs) {
                if *link.config() != config {
                    link.set_config(now, config);
                }
            }
        }
        let next = self.held.iter().filter_map(|held| held.asked.next_change(at)).min();
        self.next = self.start.zip(next).map(|(start, time)| start + time);
    }

    /// When the next cable changes.
    pub fn poll_at(&self) -> Option<Instant> {
        self.next
    }

    /// Answers what was asked; what is more than a turn may take is still there in the next one.
    pub fn ready(&mut self, now: Instant) {
        for _ in 0..TURN {
            let Some(socket) = &self.socket else { return };
            let mut request = vec![0; LONGEST];
            let Ok((len, asker)) = receive(socket.as_fd(), &mut request) else { return };
            request.truncate(len);
            let answer = match asker {
                Some(_) => self.answer(now, &String::from_utf8_lossy(&request)),
                None => continue,
            };
            let json = serde_json::to_vec(&answer).unwrap_or_default();
            if let (Some(asker), Some(socket)) = (asker, &self.socket) {
                // Who does not wait for the answer gets none.
                let _ = sendto(socket, &json, SendFlags::DONTWAIT, &asker);
            }
        }
    }

    fn answer(&mut self, now: Instant, request: &str) -> Answer {
        let error = self.carry_out(now, request).err();
        self.change(now);
        let links = self.held.iter().map(|held| {
            let [up, down] = &*held.cable.borrow();
            Ways { name: held.name.clone(), up: Direction::of(up), down: Direction::of(down) }
        });
        Answer { error, links: links.collect() }
    }

    /// `show`, or `set INTERFACE [up|down] SETTING=VALUE…`.
    fn carry_out(&mut self, now: Instant, request: &str) -> Result<(), String> {
        let mut words = request.split_whitespace().peekable();
        match words.next() {
            Some("show") => Ok(()),
            Some("set") => {
                let name = words.next().unwrap_or_default();
                let at = self.time(now);
                let names: Vec<&str> = self.held.iter().map(|held| held.name.as_str()).collect();
                let unknown = format!("{name}: no such interface; there is {}", names.join(", "));
                let held = self.held.iter_mut().find(|held| held.name == name).ok_or(unknown)?;
                let way = way(&mut words);
                held.asked.push(at, Step::parse(way, words)?);
                Ok(())
            }
            _ => Err("ask for show or set".into()),
        }
    }
}

fn listen(name: SocketAddrUnix) -> io::Result<OwnedFd> {
    let socket = datagram_socket()?;
    sockopt::set_socket_passcred(&socket, true)?;
    bind(&socket, &name)?;
    Ok(socket)
}

/// A socket for requests or answers.
pub fn datagram_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?)
}

/// A request and, if it comes from somebody who may ask and has a name, who asks.
fn receive(socket: BorrowedFd<'_>, request: &mut [u8]) -> io::Result<(usize, Option<SocketAddrUnix>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [io::IoSliceMut::new(request)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let allowed = control.drain().any(|message| {
        let RecvAncillaryMessage::ScmCredentials(asker) = message else { return false };
        asker.uid.is_root() || asker.uid == rustix::process::getuid()
    });
    let asker = message.address.and_then(|address: SocketAddrAny| SocketAddrUnix::try_from(address).ok());
    Ok((message.bytes, asker.filter(|_| allowed)))
}
