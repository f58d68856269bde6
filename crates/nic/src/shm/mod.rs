//! A cable in shared memory between two processes of one user on one machine.
//!
//! The first to come listens on the link's name (`rendezvous.rs`) and is end A; the second connects and is end B; a third is
//! refused. Frames pass through two rings in memory that both map (`ring.rs`, `memory.rs`), super-segments and partial checksums whole, and each
//! end sleeps on a bell (an eventfd) that the other rings only if it sleeps. The connection stays open, to
//! notice when the other end goes: then there is no carrier, and whoever is left listens for the next to come, keeping
//! its end's name. A peer that breaks the rules of the ring is treated as one that went.
//!
//! Listener, connection and bell are behind one epoll descriptor, which is what [`Nic::fd`] shows.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use wireway_packet::{Instant, Packet};
use wireway_stack::Features;
use wireway_wire::MacAddr;

use crate::{Nic, Statistics, fits};
use memory::Memory;
use rendezvous::{Answer, Descriptors};
use ring::{Broken, Consumer, Producer};

mod memory;
mod rendezvous;
mod ring;

/// How long [`ShmNic::open`] waits for the other end's answer.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// When an end that could neither listen nor connect tries again.
const RETRY: Duration = Duration::from_millis(100);

const LISTENER: u64 = 0;
const CONNECTION: u64 = 1;
const BELL: u64 = 2;

/// Which end of a link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first to come.
    A = 0,
    /// The second.
    B = 1,
}

impl End {
    /// The other one.
    pub fn other(self) -> End {
        match self {
            End::A => End::B,
            End::B => End::A,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::A => "A",
            End::B => "B",
        })
    }
}

impl TryFrom<u32> for End {
    type Error = ();

    fn try_from(number: u32) -> Result<End, ()> {
        [End::A, End::B].into_iter().find(|&end| end as u32 == number).ok_or(())
    }
}

/// How to open an end of a link.
#[derive(Clone, Debug)]
pub struct ShmConfig {
    /// The link's name, 1 to 64 bytes, among those of this user on this machine (in its network namespace).
    pub name: String,
    /// The hardware address; by default 02:00:00:00:00:0a for end A, 02:00:00:00:00:0b for end B.
    pub mac: Option<MacAddr>,
    /// Bytes of the largest IP packet. Longer ones from the other end are dropped.
    pub mtu: u16,
}

/// One end of a link between two processes.
pub struct ShmNic {
    name: String,
    mac: MacAddr,
    mtu: u16,
    end: End,
    epoll: OwnedFd,
    listener: Option<OwnedFd>,
    state: State,
    /// When to try again to listen or connect.
    retry_at: Option<Instant>,
    /// A frame was given back, and the bell has not been heard since.
    refused: bool,
    /// The bell was heard after a frame was given back: there may be room.
    room: bool,
    failure: Option<String>,
    statistics: Statistics,
}

enum State {
    /// Nobody at the other end.
    Alone,
    /// Connected to a listener that has not answered yet.
    Joining(OwnedFd),
    Joined(Joined),
}

struct Joined {
    /// Closed when the peer goes.
    connection: OwnedFd,
    outgoing: Producer,
    incoming: Consumer,
    bell: OwnedFd,
    peer_bell: OwnedFd,
}

impl ShmNic {
    /// Opens the end of the link that is free, waiting a few seconds for the other end's answer if there is one. The error
    /// says why there is none to be had.
    pub fn open(config: ShmConfig) -> io::Result<ShmNic> {
        let name = config.name;
        if name.is_empty() || name.len() > rendezvous::NAME_MAX || name.contains('\0') {
            let what = format!("\"{name}\" is no name for a link: give 1 to {} bytes", rendezvous::NAME_MAX);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let named = |error: io::Error| io::Error::new(error.kind(), format!("the link {name}: {error}"));
        let mut nic = ShmNic {
            name: name.clone(),
            mac: MacAddr::ZERO,
            mtu: config.mtu,
            end: End::A,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            listener: None,
            state: State::Alone,
            retry_at: None,
            refused: false,
            room: false,
            failure: None,
            statistics: Statistics::default(),
        };
        nic.find_peer().map_err(named)?;
        if let State::Joining(connection) = &nic.state {
            let mut ready = [PollFd::new(connection, PollFlags::IN)];
            if poll(&mut ready, Some(&PATIENCE))? == 0 {
                let what = "its other end does not answer";
                return Err(named(io::Error::new(io::ErrorKind::TimedOut, what)));
            }
            nic.read_answer(true).map_err(named)?;
        }
        let default = [MacAddr([2, 0, 0, 0, 0, 0x0a]), MacAddr([2, 0, 0, 0, 0, 0x0b])][nic.end as usize];
        nic.mac = config.mac.unwrap_or(default);
        Ok(nic)
    }

    /// Which end this is. It stays the same while the card lives.
    pub fn end(&self) -> End {
        self.end
    }

    /// Listens, or connects to the one who does.
    fn find_peer(&mut self) -> io::Result<()> {
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        // Between the two the other may have come or gone.
        for _ in 0..10 {
            result = match rendezvous::listen(&self.name) {
                Ok(listener) => {
                    self.watch(listener.as_fd(), LISTENER, EventFlags::IN)?;
                    self.listener = Some(listener);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => rendezvous::connect(&self.name),
                Err(error) => return Err(error),
            };
            match result {
                Ok(connection) => {
                    self.watch(connection.as_fd(), CONNECTION, EventFlags::IN | EventFlags::RDHUP)?;
                    self.state = State::Joining(connection);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    result = Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        result.map(drop)
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Looks at listener, connection and bell.
    fn look(&mut self, now: Instant) {
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); 4];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut buffer, Some(&none)) else { return };
        for event in events {
            match (event.data.u64(), &mut self.state) {
                (LISTENER, _) => self.accept(),
                (CONNECTION, State::Joining(_)) => {
                    if let Err(error) = self.read_answer(false) {
                        self.lose(now);
                        if error.kind() == io::ErrorKind::AddrInUse {
                            self.failure = Some(format!("the link {}: {error}", self.name));
                        }
                    }
                }
                (CONNECTION, State::Joined(joined)) => {
                    // The peer has nothing to say here: it closed. What it had put into the ring before comes first.
                    let more = joined.incoming.is_empty() == Ok(false);
                    if !more {
                        self.lose(now);
                    }
                }
                // Heard while the ring was looked at for another reason: the engine does not learn of it by the descriptor.
                (BELL, _) => self.room |= std::mem::take(&mut self.refused),
                _ => {}
            }
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.seek(now);
        }
    }

    /// Takes the first connection and refuses all others.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok(Some(connection)) = rendezvous::accept(listener.as_fd()) {
            if !matches!(self.state, State::Alone) {
                let _ = rendezvous::answer(connection.as_fd(), Answer::Full, None);
                continue;
            }
            // Who went away already, or cannot be served, will see the connection closed.
            if let Ok(joined) = self.welcome(connection) {
                self.state = State::Joined(joined);
            }
        }
    }

    /// Makes the rings and hands them to who connected.
    fn welcome(&self, connection: OwnedFd) -> io::Result<Joined> {
        let (memory, file) = Memory::create(ring::MEMORY)?;
        let bell = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let descriptors = Descriptors { memory: file, joiner_bell: bell()?, listener_bell: bell()? };
        rendezvous::answer(connection.as_fd(), Answer::Welcome(self.end.other()), Some(&descriptors))?;
        let Descriptors { joiner_bell, listener_bell, .. } = descriptors;
        self.join(connection, memory, listener_bell, joiner_bell, [0, 1])
    }

    /// Reads the listener's answer. On the first time the end's name is the listener's to give.
    fn read_answer(&mut self, first: bool) -> io::Result<()> {
        let State::Joining(connection) = &self.state else { return Ok(()) };
        let (end, descriptors) = match rendezvous::receive_answer(connection.as_fd()) {
            Ok(Some((Answer::Welcome(end), Some(descriptors)))) => (end, descriptors),
            Ok(None) => return Ok(()),
            Ok(Some(_)) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "it has two ends already")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its other end went away"));
            }
            Err(error) => return Err(error),
        };
        if !first && end != self.end {
            let what = format!("both ends are end {}", self.end);
            return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
        }
        self.end = end;
        let memory = Memory::open(&descriptors.memory, ring::MEMORY)?;
        let State::Joining(connection) = std::mem::replace(&mut self.state, State::Alone) else { return Ok(()) };
        // Watched anew by `join`, with its bell.
        epoll::delete(&self.epoll, &connection)?;
        let joined = self.join(connection, memory, descriptors.joiner_bell, descriptors.listener_bell, [1, 0])?;
        self.state = State::Joined(joined);
        Ok(())
    }

    /// The listener puts frames into ring 0, the joiner into ring 1.
    fn join(
        &self,
        connection: OwnedFd,
        memory: Memory,
        bell: OwnedFd,
        peer_bell: OwnedFd,
        [out, back]: [usize; 2],
    ) -> io::Result<Joined> {
        self.watch(connection.as_fd(), CONNECTION, EventFlags::IN | EventFlags::RDHUP)?;
        // Edge-triggered: the bell's count need never be read back.
        self.watch(bell.as_fd(), BELL, EventFlags::IN | EventFlags::ET)?;
        let memory = Arc::new(memory);
        let outgoing = Producer::new(memory.clone(), out);
        let incoming = Consumer::new(memory, back);
        Ok(Joined { connection, outgoing, incoming, bell, peer_bell })
    }

    /// The peer is gone: its descriptors are closed, and another may come.
    fn lose(&mut self, now: Instant) {
        if let State::Joined(joined) = &self.state {
            // The peer may have duplicates of these, and live on.
            let _ = epoll::delete(&self.epoll, &joined.connection);
            let _ = epoll::delete(&self.epoll, &joined.bell);
        }
        // What was given back is to come again, and to be dropped.
        self.room |= std::mem::take(&mut self.refused);
        self.state = State::Alone;
        if self.listener.is_none() {
            self.seek(now);
        }
    }

    fn seek(&mut self, now: Instant) {
        if self.find_peer().is_err() {
            self.retry_at = Some(now + RETRY);
        }
    }

    /// The next frame of the ring, as far as it may be handed on.
    fn pop(&mut self) -> Result<Option<Packet>, Broken> {
        let State::Joined(joined) = &mut self.state else { return Ok(None) };
        while let Some(frame) = joined.incoming.pop()? {
            if joined.incoming.producer_sleeps() {
                ring_bell(&joined.peer_bell);
            }
            if fits(&frame, self.mtu) {
                self.statistics.received(&frame);
                return Ok(Some(frame));
            }
            self.statistics.rx_dropped += 1;
        }
        Ok(None)
    }

    /// Whether the ring is empty, and the peer will ring when it no longer is.
    fn sleep(&mut self) -> Result<bool, Broken> {
        match &mut self.state {
            State::Joined(joined) => joined.incoming.sleep(),
            _ => Ok(true),
        }
    }
}

fn ring_bell(bell: &OwnedFd) {
    // It can only fail where the count is full, and then the bell has been rung.
    let _ = rustix::io::retry_on_intr(|| rustix::io::write(bell, &1u64.to_ne_bytes()));
}

impl Nic for ShmNic {
    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn features(&self) -> Features {
        Features { tx_checksum: true, tcp_segmentation: true }
    }

    fn transmit(&mut self, now: Instant, frame: Packet) -> Result<(), Packet> {
        (self.refused, self.room) = (false, false);
        let State::Joined(joined) = &mut self.state else {
            self.statistics.tx_dropped += 1;
            return Ok(());
        };
        if !fits(&frame, self.mtu) || frame.len() > ring::FRAME_MAX {
            self.statistics.tx_dropped += 1;
            return Ok(());
        }
        match joined.outgoing.push(&frame) {
            Ok(true) => self.statistics.transmitted(&frame),
            Ok(false) => {
                self.refused = true;
                self.flush(now);
                return Err(frame);
            }
            Err(Broken) => {
                self.statistics.tx_dropped += 1;
                self.lose(now);
            }
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant) -> Option<Packet> {
        match self.pop() {
            Ok(Some(frame)) => return Some(frame),
            Ok(None) => {}
            Err(Broken) => self.lose(now),
        }
        self.look(now);
        match self.sleep() {
            Ok(true) => None,
            Ok(false) => self.pop().unwrap_or_default(),
            Err(Broken) => {
                self.lose(now);
                None
            }
        }
    }

    fn flush(&mut self, _: Instant) {
        if let State::Joined(joined) = &mut self.state
            && joined.outgoing.consumer_sleeps()
        {
            ring_bell(&joined.peer_bell);
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }

    fn poll_at(&self) -> Option<Instant> {
        if self.room { Some(Instant::ZERO) } else { self.retry_at }
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn carrier(&self) -> bool {
        matches!(self.state, State::Joined(_))
    }

    fn statistics(&self) -> Statistics {
        self.statistics
    }
}
