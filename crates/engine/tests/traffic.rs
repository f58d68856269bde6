//! Hosts that talk: over cards in memory, a link with delay, shared memory between engines, and a TAP.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use wireway_engine::{Context, Engine, Interest, NodeId, Service};
use wireway_link::LinkConfig;
use wireway_nic::{Impaired, MemoryConfig, Nic, ShmConfig, ShmNic, TapConfig, TapNic, pair};
use wireway_packet::{Instant, Packet};
use wireway_stack::{
    Cidr, Domain, Event, Host, InterfaceConfig, InterfaceId, Kind, Medium, ReceiveFlags, Settings, SocketId,
};
use wireway_wire::MacAddr;

const PORT: u16 = 7;

/// Answers every datagram, or sends one and another after each answer until `left` is 0, and then stops the engine.
#[derive(Default)]
struct Echo {
    socket: Option<SocketId>,
    ask: Option<SocketAddr>,
    left: u32,
    failures: Rc<RefCell<Vec<String>>>,
}

impl Echo {
    fn asking(address: Ipv4Addr, times: u32) -> Box<Echo> {
        Box::new(Echo { ask: Some((address, PORT).into()), left: times, ..Echo::default() })
    }
}

impl Service for Echo {
    fn ready(&mut self, _: &mut Context<'_>, _: u64, _: Interest) {}

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        let mut buffer = [0; 2000];
        while let Ok(info) = cx.host.recv_from(event.socket, &mut buffer, ReceiveFlags::default()) {
            let data = &buffer[..info.len];
            if self.ask.is_none() {
                cx.host.send_to(cx.now, event.socket, data, Some(info.source), None).unwrap();
                continue;
            }
            assert_eq!(data, self.left.to_be_bytes());
            self.left -= 1;
            if self.left == 0 {
                return cx.stop(0);
            }
            cx.host.send_to(cx.now, event.socket, &self.left.to_be_bytes(), self.ask, None).unwrap();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        let socket = cx.host.socket(Domain::Inet, Kind::Datagram).unwrap();
        let port = if self.ask.is_some() { 0 } else { PORT };
        cx.host.bind(socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        if self.ask.is_some() {
            cx.host.send_to(cx.now, socket, &self.left.to_be_bytes(), self.ask, None).unwrap();
        }
        self.socket = Some(socket);
    }

    fn poll_at(&self) -> Option<Instant> {
        None
    }

    fn nic_failed(&mut self, cx: &mut Context<'_>, _: InterfaceId, reason: &str) {
        self.failures.borrow_mut().push(reason.to_owned());
        cx.stop(4);
    }
}

/// Adds a host with one card and one address.
fn add(engine: &mut Engine, nic: impl Nic + 'static, address: [u8; 4], service: Box<dyn Service>) -> NodeId {
    let mut host = Host::new(Settings::default(), [address[3]; 32]);
    let config = InterfaceConfig {
        name: "eth0".into(),
        medium: Medium::Ethernet(nic.mac()),
        mtu: nic.mtu(),
        addresses: vec![Cidr { address: IpAddr::from(address), prefix_len: 24 }],
        features: nic.features(),
        queue_limit: 1000,
        any_destination: false,
        probe: false,
        autoconf: false,
    };
    let interface = host.add_interface(engine.now(), config).unwrap();
    let node = engine.add_node(host, service);
    engine.add_nic(node, interface, Box::new(nic)).unwrap();
    node
}

#[test]
fn two_hosts_in_one_engine_talk_without_system_calls() {
    let mut engine = Engine::new().unwrap();
    let (a, b) = pair(MemoryConfig::default());
    add(&mut engine, a, [192, 0, 2, 1], Echo::asking([192, 0, 2, 2].into(), 10_000));
    add(&mut engine, b, [192, 0, 2, 2], Box::<Echo>::default());
    assert_eq!(engine.run().unwrap(), 0);
    let statistics = engine.statistics();
    assert!(statistics.transmitted >= 20_000 && statistics.received == statistics.transmitted, "{statistics:?}");
    // Each turn goes on while there is something to do, up to its budget.
    assert!(statistics.turns < 2_000, "{statistics:?}");
}

/// Twenty round trips over a link with delay; `first`: the node with the impaired card is visited first.
fn round_trips_with_delay(first: bool) {
    let mut engine = Engine::new().unwrap();
    let (a, b) = pair(MemoryConfig::default());
    let delay = Duration::from_micros(1500);
    let a = Impaired::new(a, [(); 2].map(|()| LinkConfig { delay, ..LinkConfig::default() }), 1);
    let asking = Echo::asking([192, 0, 2, 2].into(), 20);
    if first {
        add(&mut engine, a, [192, 0, 2, 1], asking);
        add(&mut engine, b, [192, 0, 2, 2], Box::<Echo>::default());
    } else {
        add(&mut engine, b, [192, 0, 2, 2], Box::<Echo>::default());
        add(&mut engine, a, [192, 0, 2, 1], asking);
    }
    let start = engine.now();
    assert_eq!(engine.run().unwrap(), 0);
    // Twenty round trips, and one for ARP.
    assert!(engine.now() - start >= 2 * 21 * delay);
    // No timer had to help: each frame was taken in when it came out of the link.
    assert_eq!(engine.statistics().received, engine.statistics().transmitted);
    assert!(engine.statistics().turns < 120, "{:?}", engine.statistics());
}

#[test]
fn a_link_with_delay_is_slept_through() {
    round_trips_with_delay(true);
    round_trips_with_delay(false);
}

#[test]
fn two_engines_talk_over_shared_memory_and_sleep_when_they_do_not() {
    let name = format!("test-{}-engines", std::process::id());
    let open = |name: &str| ShmNic::open(ShmConfig { name: name.into(), mac: None, mtu: 1500 }).unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let server = std::thread::spawn({
        let name = name.clone();
        move || {
            let mut engine = Engine::new().unwrap();
            add(&mut engine, open(&name), [192, 0, 2, 2], Box::<Echo>::default());
            ready.send(()).unwrap();
            let deadline = engine.now() + Duration::from_secs(2);
            assert_eq!(engine.run_until(deadline).unwrap(), None);
            engine.statistics()
        }
    });
    is_ready.recv().unwrap();
    let mut engine = Engine::new().unwrap();
    let nic = open(&name);
    add(&mut engine, nic, [192, 0, 2, 1], Echo::asking([192, 0, 2, 2].into(), 1000));
    assert_eq!(engine.run().unwrap(), 0);
    let busy = engine.statistics().turns;
    // Nothing more to say: both sleep, though the cable is plugged in.
    let deadline = engine.now() + Duration::from_millis(300);
    assert_eq!(engine.run_until(deadline).unwrap(), None);
    assert!(engine.statistics().turns - busy < 20, "{:?}", engine.statistics());
    drop(engine);
    let server = server.join().unwrap();
    assert!(server.received >= 1000 && server.turns < 5000, "{server:?}");
}

#[test]
fn the_kernel_reaches_a_host_by_a_tap_and_its_end_is_told() {
    let name = format!("ww{}e", std::process::id());
    let net = [198, 19, (std::process::id() % 250) as u8];
    let config = TapConfig {
        name: name.clone(),
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        mtu: 1500,
        host_address: Some(Cidr { address: IpAddr::from([net[0], net[1], net[2], 1]), prefix_len: 24 }),
    };
    let tap = match TapNic::open(config) {
        Ok(tap) => tap,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let mut engine = Engine::new().unwrap();
    let echo = Box::<Echo>::default();
    let failures = echo.failures.clone();
    add(&mut engine, tap, [net[0], net[1], net[2], 2], echo);
    let kernel = std::thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::new(net[0], net[1], net[2], 1), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect((Ipv4Addr::new(net[0], net[1], net[2], 2), PORT)).unwrap();
        for i in 0..200u32 {
            let mut answer = [0; 8];
            socket.send(&i.to_be_bytes()).unwrap();
            let n = socket.recv(&mut answer).unwrap();
            assert_eq!(answer[..n], i.to_be_bytes());
        }
        // The interface goes while the engine sleeps.
        std::process::Command::new("ip").args(["link", "delete", &name]).status().is_ok_and(|s| s.success())
    });
    let deadline = engine.now() + Duration::from_secs(10);
    let status = engine.run_until(deadline).unwrap();
    if !kernel.join().unwrap() {
        return eprintln!("skipped: no ip(8)");
    }
    assert_eq!(status, Some(4));
    assert_eq!(failures.borrow().len(), 1);
    assert!(failures.borrow()[0].contains("was deleted"));
    assert!(engine.statistics().received >= 200);
}

/// A card that takes a frame only once its descriptor, the writing end of a pipe, has room.
struct Narrow {
    pipe: std::io::PipeWriter,
    taken: Rc<RefCell<Vec<Packet>>>,
}

impl Nic for Narrow {
    fn mac(&self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, 3])
    }

    fn mtu(&self) -> u16 {
        1500
    }

    fn transmit(&mut self, _: Instant, frame: Packet) -> Result<(), Packet> {
        match rustix::io::write(&self.pipe, &[0; 4096]) {
            Ok(_) => {
                self.taken.borrow_mut().push(frame);
                Ok(())
            }
            Err(_) => Err(frame),
        }
    }

    fn receive(&mut self, _: Instant) -> Option<Packet> {
        None
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(std::os::fd::AsFd::as_fd(&self.pipe))
    }
}

#[test]
fn what_a_full_card_gives_back_is_kept_until_there_is_room() {
    let (reader, writer) = std::io::pipe().unwrap();
    for fd in [std::os::fd::AsFd::as_fd(&reader), std::os::fd::AsFd::as_fd(&writer)] {
        rustix::io::ioctl_fionbio(fd, true).unwrap();
    }
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let taken = Rc::new(RefCell::new(Vec::new()));
    let mut engine = Engine::new().unwrap();
    let nic = Narrow { pipe: writer, taken: taken.clone() };
    let node = add(&mut engine, nic, [192, 0, 2, 1], Box::<Echo>::default());
    let run = |engine: &mut Engine| {
        let deadline = engine.now() + Duration::from_millis(30);
        engine.run_until(deadline).unwrap();
    };
    run(&mut engine);
    // Broadcasts need no neighbour: one goes, one is kept by the engine, the others wait in the host's queue.
    let before = taken.borrow().len();
    engine.with(node, |echo: &mut Echo, cx| {
        let socket = echo.socket.unwrap();
        cx.host.set_option(cx.now, socket, wireway_stack::SocketOption::Broadcast(true)).unwrap();
        for i in 0..3u8 {
            let to = SocketAddr::from(([192, 0, 2, 255], 9));
            cx.host.send_to(cx.now, socket, &[i], Some(to), None).unwrap();
        }
    });
    run(&mut engine);
    assert_eq!(taken.borrow().len(), 1.max(before));
    let turns = engine.statistics().turns;
    run(&mut engine);
    assert!(engine.statistics().turns - turns < 10, "waiting for room must not spin");
    while taken.borrow().len() < before + 3 {
        let n = rustix::io::read(&reader, &mut [0; 8192]).expect("the card is waiting for room");
        assert!(n > 0);
        run(&mut engine);
    }
    let taken = taken.borrow();
    let sent: Vec<u8> = taken[before..].iter().map(|frame| frame.to_vec()[42]).collect();
    assert_eq!(sent, [0, 1, 2], "in order, none lost");
}
