//! Several hosts and links in virtual time: the driver of tests and simulations.
//!
//! A [`Network`] owns [`Host`]s and the [`Link`]s between them. Time stands still while packets move and socket calls are made, and
//! jumps to the next event when nothing is left to do: a five-minute transfer takes as long as its work takes, and the
//! same seed gives the same run to the byte.
//!
//! Two modules serve tests of a host among hostile ones: [`forge`] makes frames by hand, wrong where a test wants them so, and
//! [`check`] tells whether a frame that a host transmits is one that any other would take.

pub mod check;
pub mod forge;

use std::time::Duration;

use wireway_link::{Link, LinkConfig};
use wireway_packet::{Instant, Packet};
use wireway_stack::{Host, InterfaceId};

/// A host of a network, by the order in which it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostId(pub usize);

/// A cable of a network, by the order in which it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CableId(pub usize);

/// An end of a cable: a host's interface.
pub type End = (HostId, InterfaceId);

/// Sees every frame that a host puts on a cable: when, which cable, from which end (0 or 1), and the frame.
pub type Observer = Box<dyn FnMut(Instant, CableId, usize, &Packet)>;

struct Cable {
    ends: [End; 2],
    /// The direction away from the end of the same index.
    links: [Link; 2],
}

/// Hosts and cables under one virtual clock.
pub struct Network {
    now: Instant,
    seed: u64,
    hosts: Vec<Host>,
    cables: Vec<Cable>,
    observer: Option<Observer>,
}

impl Network {
    /// An empty network. The links' randomness comes from `seed`; each host brings its own.
    pub fn new(seed: u64) -> Network {
        // Not at zero: a stack must not depend on the time it was made at.
        Network { now: Instant::from_millis(1_000), seed, hosts: Vec::new(), cables: Vec::new(), observer: None }
    }

    /// Adds a host.
    pub fn add_host(&mut self, host: Host) -> HostId {
        self.hosts.push(host);
        HostId(self.hosts.len() - 1)
    }

    /// Lays a cable between two interfaces: `there` is how it treats frames from `a` to `b`, `back` the others.
    pub fn connect(&mut self, a: End, b: End, there: LinkConfig, back: LinkConfig) -> CableId {
        let number = self.cables.len() as u64;
        let link = |config, way| {
            Link::new(config, self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(2 * number + way))
        };
        let links = [link(there, 0), link(back, 1)];
        self.cables.push(Cable { ends: [a, b], links });
        CableId(self.cables.len() - 1)
    }

    /// Shows every frame put on a cable to `observer` from now on.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A host.
    ///
    /// # Panics
    /// If the network has no such host.
    pub fn host(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[id.0]
    }

    /// Hands a frame to a host's interface as if a cable had brought it: a third party on the same link.
    ///
    /// # Panics
    /// If the network has no such host.
    pub fn inject(&mut self, to: End, frame: Packet) {
        self.hosts[to.0.0].receive(self.now, to.1, frame);
    }

    /// One direction of a cable: the one away from end `from` (0 or 1).
    ///
    /// # Panics
    /// If the network has no such cable or end.
    pub fn link(&mut self, cable: CableId, from: usize) -> &mut Link {
        &mut self.cables[cable.0].links[from]
    }

    /// Moves packets and runs what is due until nothing is left to do at this time.
    ///
    /// # Panics
    /// If that does not end: two hosts that keep each other busy without time going by are a defect to be found.
    pub fn settle(&mut self) {
        for _ in 0..10_000_000 {
            let mut busy = false;
            for host in &mut self.hosts {
                if host.poll_at().is_some_and(|at| at <= self.now) {
                    host.poll(self.now);
                    busy = true;
                }
            }
            for (number, cable) in self.cables.iter_mut().enumerate() {
                for from in [0, 1] {
                    let (source, destination) = (cable.ends[from], cable.ends[1 - from]);
                    while let Some(frame) = self.hosts[source.0.0].transmit(self.now, source.1) {
                        if let Some(observer) = &mut self.observer {
                            observer(self.now, CableId(number), from, &frame);
                        }
                        cable.links[from].send(self.now, frame);
                        busy = true;
                    }
                    while let Some(frame) = cable.links[from].receive(self.now) {
                        self.hosts[destination.0.0].receive(self.now, destination.1, frame);
                        busy = true;
                    }
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the hosts never come to rest at {:?}", self.now);
    }

    /// When something happens next by itself.
    pub fn next_at(&self) -> Option<Instant> {
        let hosts = self.hosts.iter().filter_map(Host::poll_at);
        let links = self.cables.iter().flat_map(|c| &c.links).filter_map(Link::poll_at);
        hosts.chain(links).min()
    }

    /// Settles, then lets time jump to the next event and settles again, but not past `limit`. False if nothing happened before
    /// `limit`; the time is then `limit`.
    pub fn step(&mut self, limit: Instant) -> bool {
        self.settle();
        match self.next_at() {
            Some(at) if at <= limit => {
                self.now = self.now.max(at);
                self.settle();
                true
            }
            _ => {
                self.now = self.now.max(limit);
                false
            }
        }
    }

    /// Lets `duration` go by.
    pub fn run_for(&mut self, duration: Duration) {
        let limit = self.now + duration;
        while self.step(limit) {}
    }

    /// Steps until `done` says so, for at most `limit`. Whether it did. `done` may make socket calls.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Network) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }
}
