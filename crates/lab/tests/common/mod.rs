//! A victim in the middle of a conversation, and a third station on its link.
//!
//! The victim (10.0.0.2) and its peer (10.0.0.1) exchange TCP streams both ways and UDP datagrams, some in fragments, for as long as the
//! test lasts; every byte is checked by its position. The attacker (10.0.0.66) puts frames on the victim's interface. Every
//! frame that either host transmits is checked, too.
#![allow(dead_code)]

pub mod heap;
pub mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use wireway_lab::check::check_frame;
use wireway_lab::forge::{Forge, Station};
use wireway_lab::{HostId, Network};
use wireway_link::LinkConfig;
use wireway_packet::{Instant, Packet};
use wireway_stack::{
    Cidr, Domain, DropReason, Host, InterfaceConfig, InterfaceId, Kind, ReceiveFlags, RouteEntry, Settings, SocketId,
    Usage,
};
use wireway_wire::{EthernetHeader, Ipv4View, MacAddr, Protocol, SeqNumber, TcpFields, TcpFlags, TcpOptions, TcpView};

use stream::Stream;

pub const PEER: Station = Station { mac: MacAddr([2, 0, 0, 0, 0, 1]), ip: Ipv4Addr::new(10, 0, 0, 1) };
pub const VICTIM: Station = Station { mac: MacAddr([2, 0, 0, 0, 0, 2]), ip: Ipv4Addr::new(10, 0, 0, 2) };
pub const ATTACKER: Station = Station { mac: MacAddr([2, 0, 0, 0, 0, 0x66]), ip: Ipv4Addr::new(10, 0, 0, 66) };
/// The victim's TCP listener and UDP echo.
pub const PORT: u16 = 80;
pub const ECHO: u16 = 7;
/// Connections that the victim's listener lets wait.
pub const BACKLOG: u32 = 256;
pub const MTU: u16 = 1500;

/// Frames from the attacker to the victim.
pub const FORGE: Forge = Forge { from: ATTACKER, to: VICTIM };

/// Drops by reason.
pub type Drops = [u64; DropReason::ALL.len()];

/// What an eavesdropper on the link knows of the conversation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// The peer's port.
    pub port: u16,
    /// The victim's next sequence number.
    pub victim_next: SeqNumber,
    /// What the victim acknowledged.
    pub victim_acked: SeqNumber,
    /// The window it offers, not scaled.
    pub victim_window: u16,
    /// The latest timestamp of each.
    pub victim_timestamp: u32,
    pub peer_timestamp: u32,
}

pub struct World {
    pub net: Network,
    pub victim: HostId,
    pub peer: HostId,
    pub listener: SocketId,
    echo: SocketId,
    asker: SocketId,
    pub ours: Stream,
    pub theirs: Stream,
    live: Rc<RefCell<Live>>,
    /// The latest segment that the victim sent to each end.
    answers: Rc<RefCell<HashMap<(Ipv4Addr, u16), TcpFields>>>,
    /// The next datagram's number, when the last was sent, and how many answers were right.
    asked: u32,
    asked_at: Instant,
    quiet: bool,
    pub answered: u32,
    /// Drops that injected frames did not cause.
    background: Drops,
    seen: Drops,
    usage: Usage,
}

pub fn address(station: Station) -> IpAddr {
    station.ip.into()
}

pub fn host(station: Station, mtu: u16, settings: Settings) -> (Host, InterfaceId) {
    let mut host = Host::new(settings, [station.mac.0[5]; 32]);
    let mut config = InterfaceConfig::ethernet("eth0", station.mac, mtu);
    config.addresses.push(Cidr { address: address(station), prefix_len: 24 });
    let interface = host.add_interface(Instant::ZERO, config).unwrap();
    (host, interface)
}

impl World {
    pub fn new() -> World {
        World::with(Settings::default())
    }

    /// `settings` are the victim's.
    pub fn with(settings: Settings) -> World {
        let mut net = Network::new(1);
        let (mut victim, at) = host(VICTIM, MTU, settings);
        // So that what the victim answers to the attacker is no business of the neighbour cache, and has a way to any address.
        victim.set_neighbour(Instant::ZERO, at, address(ATTACKER), Some(ATTACKER.mac)).unwrap();
        let default = Cidr { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix_len: 0 };
        let gateway = Some(address(ATTACKER));
        victim.add_route(RouteEntry { gateway, ..RouteEntry::new(default, at) }).unwrap();
        let (peer, peer_at) = host(PEER, MTU, Settings::default());
        let (victim, peer) = (net.add_host(victim), net.add_host(peer));
        let link = LinkConfig { rate: Some(100_000_000), delay: Duration::from_micros(500), ..LinkConfig::default() };
        net.connect((victim, at), (peer, peer_at), link.clone(), link);
        let live = Rc::new(RefCell::new(Live::default()));
        let notes = live.clone();
        let answers = Rc::new(RefCell::new(HashMap::new()));
        let sent = answers.clone();
        net.observe(Box::new(move |_, _, from, frame| {
            if let Err(what) = check_frame(frame, MTU.into()) {
                panic!("{} sent {what}", if from == 0 { "the victim" } else { "the peer" });
            }
            let bytes = frame.to_vec();
            let Some((ip, fields)) = tcp_fields(&bytes) else { return };
            if from == 0 {
                sent.borrow_mut().insert((ip, fields.dst_port), fields);
            }
            if ip == ATTACKER.ip {
                return;
            }
            notes.borrow_mut().note(from == 0, &bytes, &fields);
        }));

        let host = net.host(victim);
        let listener = host.socket(Domain::Inet, Kind::Stream).unwrap();
        host.bind(listener, SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))).unwrap();
        host.listen(listener, BACKLOG).unwrap();
        let echo = host.socket(Domain::Inet, Kind::Datagram).unwrap();
        host.bind(echo, SocketAddr::from((Ipv4Addr::UNSPECIFIED, ECHO))).unwrap();
        let usage = host.usage();
        let now = net.now();
        let host = net.host(peer);
        let asker = host.socket(Domain::Inet, Kind::Datagram).unwrap();
        host.connect(now, asker, SocketAddr::new(address(VICTIM), ECHO)).unwrap();

        let theirs = Stream::connect(&mut net, peer, SocketAddr::new(address(VICTIM), PORT));
        let ours = Stream::accept(&mut net, victim, listener);
        let mut world = World {
            net,
            victim,
            peer,
            listener,
            echo,
            asker,
            ours,
            theirs,
            live,
            answers,
            asked: 0,
            asked_at: Instant::ZERO,
            quiet: false,
            answered: 0,
            background: [0; DropReason::ALL.len()],
            seen: [0; DropReason::ALL.len()],
            usage,
        };
        // Out of slow start, and every path warm.
        for _ in 0..20_000 {
            world.tick();
            if world.ours.received > 100_000 && world.theirs.received > 100_000 && world.answered > 4 {
                break;
            }
        }
        assert!(world.answered > 4, "{:?} {:?} {}", world.ours, world.theirs, world.answered);
        assert_eq!(world.net.host(victim).counters().dropped(), 0, "nothing is dropped without an attack");
        world
    }

    /// Lets the conversation go on a little.
    pub fn tick(&mut self) {
        self.ours.pump(&mut self.net);
        self.theirs.pump(&mut self.net);
        self.converse();
        while self.net.host(self.victim).next_event().is_some() {}
        while self.net.host(self.peer).next_event().is_some() {}
        self.net.run_for(Duration::from_micros(100));
    }

    pub fn ticks(&mut self, n: usize) {
        for _ in 0..n {
            self.tick();
        }
    }

    /// One datagram at a time goes to the victim's echo and comes back; every fourth in fragments.
    fn converse(&mut self) {
        let now = self.net.now();
        let mut buffer = [0; 4096];
        let victim = self.net.host(self.victim);
        while let Ok(info) = victim.recv_from(self.echo, &mut buffer, ReceiveFlags::default()) {
            let data = &buffer[..info.len.min(buffer.len())];
            if info.source.ip() == address(PEER) {
                victim.send_to(now, self.echo, data, Some(info.source), None).unwrap();
            }
        }
        let peer = self.net.host(self.peer);
        while let Ok(n) = peer.recv(now, self.asker, &mut buffer, ReceiveFlags::default()) {
            let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
            assert_eq!(buffer[..n], datagram(number), "datagram {number}");
            self.answered += u32::from(number == self.answered);
        }
        if self.quiet {
            return;
        }
        // Once more if it was lost.
        if self.answered == self.asked || now.since(self.asked_at) > Duration::from_millis(300) {
            peer.send(now, self.asker, &datagram(self.answered), Default::default()).unwrap();
            self.asked = self.answered + 1;
            self.asked_at = now;
        }
    }

    /// What an eavesdropper knows.
    pub fn live(&self) -> Live {
        *self.live.borrow()
    }

    /// The latest acknowledgement number that the victim sent to its peer's port.
    pub fn last_ack_to(&self, port: u16) -> SeqNumber {
        self.answers.borrow()[&(PEER.ip, port)].ack
    }

    /// The sequence number of the latest segment that the victim sent to a port of the attacker.
    pub fn iss_to_attacker(&self, port: u16) -> SeqNumber {
        self.answers.borrow()[&(ATTACKER.ip, port)].seq
    }

    /// Asks no more datagrams.
    pub fn stop_talking(&mut self) {
        self.quiet = true;
    }

    /// Pauses the conversation until all is said, and lets time go by; then it goes on.
    pub fn pause(&mut self, time: Duration, meanwhile: impl FnOnce(&mut World)) {
        (self.quiet, self.ours.paused, self.theirs.paused) = (true, true, true);
        for _ in 0..100_000 {
            self.tick();
            if (self.ours.sent, self.theirs.sent) == (self.theirs.received, self.ours.received) {
                break;
            }
        }
        self.net.run_for(time);
        meanwhile(self);
        (self.quiet, self.ours.paused, self.theirs.paused) = (false, false, false);
    }

    pub fn drops(&mut self) -> Drops {
        let counters = self.net.host(self.victim).counters();
        core::array::from_fn(|i| counters[DropReason::ALL[i]])
    }

    /// Puts frames on the victim's interface. Returns what was dropped at once.
    pub fn inject(&mut self, frames: impl IntoIterator<Item = Packet>) -> Vec<DropReason> {
        let mut dropped = Vec::new();
        for frame in frames {
            let before = self.drops();
            for (i, (now, seen)) in before.iter().zip(self.seen).enumerate() {
                self.background[i] += now - seen;
            }
            self.net.inject((self.victim, InterfaceId(1)), frame);
            self.seen = self.drops();
            for (i, reason) in DropReason::ALL.iter().enumerate() {
                dropped.extend((before[i]..self.seen[i]).map(|_| *reason));
            }
        }
        dropped
    }

    /// Runs a case: its frames, with the conversation going on between them, are to be dropped for its reasons.
    pub fn attack(&mut self, case: Case) {
        let mut dropped = Vec::new();
        for frame in case.frames {
            dropped.extend(self.inject([frame]));
            self.tick();
        }
        let sort = |reasons: &[DropReason]| {
            let mut names: Vec<_> = reasons.iter().map(|r| r.name()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(sort(&dropped), sort(&case.expect), "{}", case.name);
    }

    /// Puts a frame on the victim's interface, which is to be dropped for this reason, without letting time go by.
    pub fn inject_dropped(&mut self, name: impl std::fmt::Display, frame: Vec<u8>, reason: DropReason) {
        assert_eq!(self.inject([Packet::copy_from(&frame)]), [reason], "{name}");
    }

    /// Forgets the drops for these reasons that injected frames did not cause at once.
    pub fn forgive(&mut self, reasons: &[DropReason]) {
        self.inject([]);
        self.seen = self.drops();
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            if reasons.contains(reason) {
                self.background[i] = 0;
            }
        }
    }

    /// Ends the conversation: all that was sent has arrived; then everything times out, and nothing is left. `later` are the
    /// reasons of drops that injected frames cause in time, each with its number.
    pub fn finish(mut self, later: &[(DropReason, u64)]) {
        self.inject([]);
        let before = self.drops();
        let done = self.converse_to_the_end();
        assert!(done, "ours {:?}, theirs {:?}", self.ours, self.theirs);
        self.net.run_for(Duration::from_secs(700));
        let after = self.drops();
        for (i, &reason) in DropReason::ALL.iter().enumerate() {
            let expected: u64 = later.iter().filter(|(r, _)| *r == reason).map(|(_, n)| n).sum();
            let background = self.background[i] + before[i] - self.seen[i];
            let in_time = after[i] - before[i] + background;
            // What the peer sent twice: a full queue, or an answer to a forged segment, made it.
            if !matches!(reason, DropReason::TcpOldData | DropReason::TcpOldSequence | DropReason::TcpTimeWait) {
                assert_eq!(in_time, expected, "{}", reason.name());
            }
        }
        assert_eq!(self.net.host(self.victim).usage(), self.usage, "something is left");
        assert_eq!(self.net.host(self.victim).poll_at(), None, "something is still to be done");
    }

    fn converse_to_the_end(&mut self) -> bool {
        let (ours, theirs) = (self.ours.received, self.theirs.received);
        self.ours.stop();
        self.theirs.stop();
        for _ in 0..100_000 {
            self.tick();
            if self.ours.is_done() && self.theirs.is_done() {
                self.ours.compare(&self.theirs);
                assert!(self.ours.received >= ours && self.theirs.received >= theirs);
                self.ours.close(&mut self.net);
                self.theirs.close(&mut self.net);
                return true;
            }
        }
        false
    }

    /// Whether a stranger can still open a connection to the victim.
    pub fn serves_new_connections(&mut self) {
        let mut stream = Stream::connect(&mut self.net, self.peer, SocketAddr::new(address(VICTIM), PORT));
        let host = self.victim;
        let listener = self.listener;
        let mut other = None;
        for _ in 0..100_000 {
            self.tick();
            let now = self.net.now();
            while let Ok((id, from)) = self.net.host(host).accept(now, listener) {
                if from.ip() == address(PEER) {
                    other = Some(Stream::new(host, id));
                } else {
                    self.net.host(host).abort(now, id).unwrap();
                }
            }
            stream.pump(&mut self.net);
            if let Some(other) = &mut other {
                other.pump(&mut self.net);
                if stream.received > 10_000 && other.received > 10_000 {
                    break;
                }
            }
        }
        let Some(mut other) = other else { panic!("nobody gets through: {stream:?}") };
        assert!(stream.received > 10_000 && other.received > 10_000, "{stream:?} {other:?}");
        stream.abort(&mut self.net);
        self.ticks(100);
        other.abort(&mut self.net);
        self.ticks(3000);
        // What was still under way.
        self.forgive(&[DropReason::NoSocket]);
    }
}

impl Live {
    fn note(&mut self, by_victim: bool, frame: &[u8], fields: &TcpFields) {
        let Ok((_, payload)) = Ipv4View::parse(&frame[EthernetHeader::LEN..]) else { return };
        let Ok((tcp, data)) = TcpView::parse(payload) else { return };
        let timestamp = TcpOptions::parse(tcp.options).ok().and_then(|o| o.timestamps).map(|t| t.0);
        if self.port == 0 {
            self.port = if by_victim { fields.dst_port } else { fields.src_port };
        }
        let (local, remote) = if by_victim { (PORT, self.port) } else { (self.port, PORT) };
        if (fields.src_port, fields.dst_port) != (local, remote) {
            return;
        }
        if by_victim {
            let end = fields.seq + data.len() as u32;
            self.victim_next = if end.gt(self.victim_next) || self.victim_next.0 == 0 { end } else { self.victim_next };
            self.victim_acked = fields.ack;
            self.victim_window = fields.window;
            self.victim_timestamp = timestamp.unwrap_or(self.victim_timestamp);
        } else {
            self.peer_timestamp = timestamp.unwrap_or(self.peer_timestamp);
        }
    }
}

/// The TCP header's values, and who is at the other end from the victim: its peer or the attacker.
fn tcp_fields(frame: &[u8]) -> Option<(Ipv4Addr, TcpFields)> {
    let (_, packet) = EthernetHeader::parse(frame).ok()?;
    let (ip, payload) = Ipv4View::parse(packet).ok()?;
    let other = if ip.header.src() == VICTIM.ip { ip.header.dst() } else { ip.header.src() };
    if ip.header.protocol() != Protocol::TCP || ip.header.is_fragment() || ![PEER.ip, ATTACKER.ip].contains(&other) {
        return None;
    }
    Some((other, TcpView::parse(payload).ok()?.0.header.fields()))
}

/// A segment's header: sequence and acknowledgement numbers 0, window 1,000.
pub fn segment(ports: (u16, u16), flags: TcpFlags) -> TcpFields {
    let (src_port, dst_port) = ports;
    TcpFields { src_port, dst_port, seq: SeqNumber(0), ack: SeqNumber(0), flags, window: 1000, urgent: 0 }
}

/// The `n`th datagram of the conversation.
fn datagram(n: u32) -> Vec<u8> {
    let len = if n % 4 == 3 { 3200 } else { 40 };
    let data = (0..len).map(|i| stream::byte(u64::from(n) * 7919 + i));
    n.to_be_bytes().into_iter().chain(data).collect()
}

/// Frames, and why each is dropped.
pub struct Case {
    pub name: String,
    pub frames: Vec<Packet>,
    /// One reason for each packet that is dropped at once.
    pub expect: Vec<DropReason>,
}

impl Case {
    /// One frame that is dropped.
    pub fn drop(name: impl Into<String>, frame: Vec<u8>, reason: DropReason) -> Case {
        Case::new(name, [frame], &[reason])
    }

    /// One frame that is taken.
    pub fn accept(name: impl Into<String>, frame: Vec<u8>) -> Case {
        Case::new(name, [frame], &[])
    }

    pub fn new(name: impl Into<String>, frames: impl IntoIterator<Item = Vec<u8>>, expect: &[DropReason]) -> Case {
        let frames = frames.into_iter().map(|frame| Packet::copy_from(&frame)).collect();
        Case { name: name.into(), frames, expect: expect.to_vec() }
    }
}
