//! The two hosts, the wire between them, and what the operations do.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use wireway_lab::check::check_frame;
use wireway_lab::forge::Station;
use wireway_packet::{Instant, Packet};
use wireway_stack::{Cidr, Features, Host, InterfaceConfig, InterfaceId, RouteEntry, Settings};
use wireway_wire::MacAddr;

use crate::calls::Sockets;
use crate::forged::Seen;
use crate::input::Input;

pub const ETH: InterfaceId = InterfaceId(1);
pub const STATIONS: [Station; 2] = [
    Station { mac: MacAddr([2, 0, 0, 0, 0, 1]), ip: Ipv4Addr::new(10, 0, 0, 1) },
    Station { mac: MacAddr([2, 0, 0, 0, 0, 2]), ip: Ipv4Addr::new(10, 0, 0, 2) },
];
const TIMES: [Duration; 12] = [
    Duration::from_nanos(1),
    Duration::from_micros(10),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(41),
    Duration::from_millis(201),
    Duration::from_millis(1001),
    Duration::from_secs(7),
    Duration::from_secs(61),
    Duration::from_secs(121),
    Duration::from_secs(700),
];
/// Operations of one input: enough for any state, few enough to be quick.
const STEPS: usize = 400;
/// Frames that wait on the wire each way.
const WIRE: usize = 128;

pub struct World {
    pub now: Instant,
    pub hosts: [Host; 2],
    pub sockets: [Sockets; 2],
    mtus: [u16; 2],
    /// Groups that each host's interfaces are in for themselves.
    groups: [usize; 2],
    /// Frames from each host.
    wire: [VecDeque<Packet>; 2],
    pub seen: Seen,
    /// A frame was changed or forged that streams may not survive.
    pub tainted: bool,
    limits: Settings,
}

fn settings(how: u8) -> Settings {
    let mut settings = Settings {
        ipfrag_high_thresh: 64 << 10,
        neigh_gc_thresh3: 16,
        neigh_unres_qlen: 8,
        netdev_max_backlog: 64,
        tcp_max_syn_backlog: 8,
        tcp_max_tw_buckets: 8,
        tcp_retries2: 5,
        tcp_syn_retries: 3,
        tcp_synack_retries: 2,
        ..Settings::default()
    };
    settings.tcp_timestamps = how & 1 == 0;
    settings.tcp_window_scaling = how & 2 == 0;
    settings.tcp_syncookies = how & 4 == 0;
    settings.tcp_sack = how & 8 == 0;
    if how & 16 != 0 {
        settings.tcp_rmem = (4096, 4096, 8192);
        settings.tcp_wmem = (4096, 4096, 8192);
    }
    settings
}

impl World {
    fn new(how: u8) -> World {
        let settings = settings(how);
        let mtus = [if how & 32 == 0 { 1500 } else { 576 }, if how & 64 == 0 { 1500 } else { 296 }];
        let whole = how & 128 != 0;
        let hosts = [0, 1].map(|i| {
            let mut host = Host::new(settings.clone(), [i as u8 + 1; 32]);
            let mut config = InterfaceConfig::ethernet("eth0", STATIONS[i].mac, mtus[i]);
            config.addresses.push(Cidr { address: STATIONS[i].ip.into(), prefix_len: 24 });
            config.features = Features { tx_checksum: whole, tcp_segmentation: whole };
            config.queue_limit = 64;
            host.add_interface(Instant::ZERO, config).unwrap();
            let gateway = Some(IpAddr::V4(STATIONS[1 - i].ip));
            let destination = Cidr { address: Ipv4Addr::UNSPECIFIED.into(), prefix_len: 0 };
            host.add_route(RouteEntry { gateway, ..RouteEntry::new(destination, ETH) }).unwrap();
            host
        });
        let mut world = World {
            now: Instant::from_millis(5000),
            groups: [0, 1].map(|i| hosts[i].usage().groups),
            hosts,
            sockets: [Sockets::default(), Sockets::default()],
            mtus,
            wire: Default::default(),
            seen: Seen::default(),
            tainted: false,
            limits: settings,
        };
        world.open();
        world
    }

    /// Lets both hosts do what is due, and puts what they transmit on the wire.
    pub fn pump(&mut self) {
        for i in 0..2 {
            let host = &mut self.hosts[i];
            for round in 0.. {
                if host.poll_at().is_none_or(|at| at > self.now) {
                    break;
                }
                assert!(round < 1000, "there is always something due");
                host.poll(self.now);
            }
            for round in 0.. {
                let Some(frame) = host.transmit(self.now, ETH) else { break };
                assert!(round < 10_000, "it never stops to transmit");
                if let Err(what) = check_frame(&frame, self.mtus[i].into()) {
                    panic!("host {i} transmits {what}");
                }
                self.seen.note(i, &frame);
                if self.wire[i].len() < WIRE {
                    self.wire[i].push_back(frame);
                }
            }
            assert!(host.poll_at().is_none_or(|at| at > self.now), "transmitting made work");
            for round in 0.. {
                if host.next_event().is_none() {
                    break;
                }
                assert!(round < 1000, "events without end");
            }
        }
    }

    /// Lets the host that is not `from` receive a frame.
    pub fn deliver(&mut self, from: usize, frame: Packet) {
        self.hosts[1 - from].receive(self.now, ETH, frame);
    }

    /// Delivers what is on the wire, and what comes of it.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            self.pump();
            let mut idle = true;
            for from in 0..2 {
                while let Some(frame) = self.wire[from].pop_front() {
                    self.deliver(from, frame);
                    idle = false;
                }
            }
            if idle {
                return;
            }
        }
        panic!("the hosts never come to rest");
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..2000 {
            let next = self.hosts.iter().filter_map(Host::poll_at).min().filter(|&at| at < end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            self.pump();
        }
        self.now = end;
        self.pump();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        let side = usize::from(op >> 7);
        match op & 0x1f {
            0..=3 => {
                for _ in 0..=op & 3 {
                    let Some(frame) = self.wire[side].pop_front() else { break };
                    self.deliver(side, frame);
                }
            }
            4 => drop(self.wire[side].pop_front()),
            5 => {
                if let Some(frame) = self.wire[side].front().cloned() {
                    self.wire[side].push_back(frame);
                }
            }
            6 => {
                let n = self.wire[side].len().min(usize::from(input.byte()));
                self.wire[side].rotate_left(n);
            }
            7 => self.wire[side].clear(),
            8 => self.settle(),
            9 | 10 => self.advance(input.choose(&TIMES)),
            11 | 12 => {
                self.tainted = true;
                if let Some(frame) = self.wire[side].pop_front() {
                    let frame = self.seen.mutate(&frame.to_vec(), input);
                    self.deliver(side, frame);
                }
            }
            13 | 14 => {
                self.tainted = true;
                if let Some(frame) = self.seen.earlier(side, input) {
                    let frame = self.seen.mutate(&frame, input);
                    self.deliver(side, frame);
                }
            }
            15 | 16 => {
                self.tainted = true;
                let frame = self.seen.segment(side, input);
                self.deliver(side, frame);
            }
            17 => {
                let frame = self.seen.icmp_error(side, input);
                self.deliver(side, frame);
            }
            18 => {
                self.tainted = true;
                let frame = self.seen.fragment(side, input);
                self.deliver(side, frame);
            }
            19 => {
                // It may turn a stream away, though not falsify it.
                self.tainted = true;
                let frame = self.seen.arp(side, input);
                self.deliver(side, frame);
            }
            20 => {
                self.tainted = true;
                let frame = self.seen.anything(side, input);
                self.deliver(side, frame);
            }
            21 => {
                let frame = self.seen.datagram(side, input);
                self.deliver(side, frame);
            }
            22..=24 => self.transfer(side, input),
            25..=29 => self.call(side, input),
            _ => self.administrate(side, input),
        }
    }

    /// Addresses come and go.
    fn administrate(&mut self, side: usize, input: &mut Input<'_>) {
        self.tainted = true;
        let host = &mut self.hosts[side];
        let own = Cidr { address: STATIONS[side].ip.into(), prefix_len: 24 };
        let other = Cidr { address: Ipv4Addr::new(10, 0, 0, 3 + side as u8).into(), prefix_len: 24 };
        let _ = match input.byte() % 6 {
            0 => host.remove_address(ETH, own),
            1 => host.add_address(self.now, ETH, own, false),
            2 => host.add_address(self.now, ETH, other, true),
            3 => host.remove_address(ETH, other),
            4 => host.set_neighbour(self.now, ETH, STATIONS[1 - side].ip.into(), None),
            _ => host.set_neighbour(self.now, ETH, STATIONS[1 - side].ip.into(), Some(STATIONS[1 - side].mac)),
        };
    }

    /// What a host holds is within its settings.
    fn check_usage(&self) {
        for (host, sockets) in self.hosts.iter().zip(&self.sockets) {
            let usage = host.usage();
            let limits = &self.limits;
            assert!(usage.fragment_memory <= limits.ipfrag_high_thresh, "{usage:?}");
            assert!(usage.neighbours <= limits.neigh_gc_thresh3, "{usage:?}");
            assert!(usage.neighbour_packets <= usage.neighbours * limits.neigh_unres_qlen, "{usage:?}");
            assert!(usage.tcp_time_wait <= limits.tcp_max_tw_buckets, "{usage:?}");
            assert!(
                usage.tcp_half_open <= sockets.opened_listeners() * limits.tcp_max_syn_backlog as usize,
                "{usage:?}"
            );
            assert!(usage.tcp_flows <= usage.tcp_sockets + usage.tcp_half_open + usage.tcp_time_wait, "{usage:?}");
            let owners =
                usage.tcp_sockets + usage.tcp_half_open + usage.fragment_datagrams + usage.neighbours + usage.path_mtus;
            // One for TIME-WAIT, one for the claims of the interface.
            assert!(usage.timers <= owners + 2, "{usage:?}");
        }
    }

    /// The network is good again: streams that nobody falsified go on to their end.
    fn recover(&mut self) {
        for _ in 0..3000 {
            self.settle();
            if self.is_through() {
                return;
            }
            let next = self.hosts.iter().filter_map(Host::poll_at).min();
            let Some(at) = next.filter(|&at| at < self.now + Duration::from_secs(1000)) else { break };
            self.now = self.now.max(at);
        }
        panic!("a stream stands still: {:?} {:?}", self.sockets[0], self.sockets[1]);
    }

    /// Everything is closed, and the cable cut: in time nothing is left.
    fn end(&mut self) {
        self.close_all();
        for i in 0..2 {
            let host = &mut self.hosts[i];
            for round in 0.. {
                while host.transmit(self.now, ETH).is_some() {}
                while host.next_event().is_some() {}
                let Some(at) = host.poll_at() else { break };
                assert!(round < 3000, "there is always something to do: {:?}", host.usage());
                self.now = self.now.max(at);
                host.poll(self.now);
                assert!(host.poll_at().is_none_or(|at| at == Instant::ZERO || at > self.now));
            }
            let mut usage = host.usage();
            let permanent = host.neighbours().len();
            assert!(permanent <= 1);
            usage.neighbours = 0;
            assert_eq!(usage.groups, self.groups[i], "groups");
            usage.groups = 0;
            assert_eq!(usage, Default::default(), "something is left");
        }
    }
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(input.byte());
    for step in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.pump();
        if step % 16 == 0 {
            world.check_usage();
        }
    }
    world.check_usage();
    if !world.tainted {
        world.recover();
    }
    world.end();
}
