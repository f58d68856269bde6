//! The loop seen from a service: who is called when, and how often when there is nothing to do.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::{read, write};
use rustix::pipe::pipe;
use wireway_engine::{Context, Engine, Interest, NodeId, Service};
use wireway_nic::Nic;
use wireway_packet::{Instant, Packet};
use wireway_stack::{Cidr, Event, Features, Host, InterfaceConfig, InterfaceId, Medium, Settings};
use wireway_wire::MacAddr;

/// A service made of closures.
#[derive(Default)]
struct Script {
    ready: Option<Box<Ready>>,
    poll: Option<Box<Poll>>,
    poll_at: Rc<Cell<Option<Instant>>>,
    failures: Rc<RefCell<Vec<String>>>,
}

type Ready = dyn FnMut(&mut Context<'_>, u64, Interest);
type Poll = dyn FnMut(&mut Context<'_>);

impl Service for Script {
    fn ready(&mut self, cx: &mut Context<'_>, token: u64, ready: Interest) {
        if let Some(f) = &mut self.ready {
            f(cx, token, ready);
        }
    }

    fn event(&mut self, _: &mut Context<'_>, _: Event) {}

    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(f) = &mut self.poll {
            f(cx);
        }
    }

    fn poll_at(&self) -> Option<Instant> {
        self.poll_at.get()
    }

    fn nic_failed(&mut self, cx: &mut Context<'_>, _: InterfaceId, reason: &str) {
        self.failures.borrow_mut().push(reason.to_owned());
        cx.stop(3);
    }
}

fn host() -> Host {
    Host::new(Settings::default(), [7; 32])
}

fn engine(script: Script) -> (Engine, NodeId) {
    let mut engine = Engine::new().unwrap();
    let node = engine.add_node(host(), Box::new(script));
    (engine, node)
}

fn soon(engine: &Engine, millis: u64) -> Instant {
    engine.now() + Duration::from_millis(millis)
}

#[test]
fn a_descriptor_wakes_its_service_and_the_first_stop_wins() {
    let (reader, writer) = pipe().unwrap();
    let seen = Rc::new(Cell::new(None));
    let script = Script {
        ready: Some(Box::new({
            let seen = seen.clone();
            move |cx, token, ready| {
                seen.set(Some((token, ready)));
                cx.stop(7);
                cx.stop(8);
            }
        })),
        ..Script::default()
    };
    let (mut engine, node) = engine(script);
    engine.with(node, |_: &mut Script, cx| cx.register(reader.as_fd(), 99, Interest::IN)).unwrap().unwrap();
    write(&writer, b"x").unwrap();
    assert_eq!(engine.run().unwrap(), 7);
    assert_eq!(seen.get(), Some((99, Interest::IN)));
}

#[test]
fn a_descriptor_cannot_be_watched_twice_and_a_file_not_at_all() {
    let (reader, _writer) = pipe().unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let (mut engine, node) = engine(Script::default());
    engine.with(node, |_: &mut Script, cx| {
        cx.register(reader.as_fd(), 1, Interest::IN).unwrap();
        let again = cx.register(reader.as_fd(), 2, Interest::IN).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(
            cx.register(file.as_fd(), 3, Interest::IN).unwrap_err().kind(),
            std::io::ErrorKind::PermissionDenied
        );
        cx.deregister(reader.as_fd());
        assert_eq!(cx.modify(reader.as_fd(), 1, Interest::IN).unwrap_err().kind(), std::io::ErrorKind::NotFound);
        cx.register(reader.as_fd(), 2, Interest::IN).unwrap();
    });
}

#[test]
fn what_was_deregistered_in_the_same_batch_is_not_reported() {
    let pipes = [pipe().unwrap(), pipe().unwrap()];
    let calls = Rc::new(RefCell::new(Vec::new()));
    let [(first, first_writer), (second, second_writer)] = pipes;
    let both = Rc::new(RefCell::new(Some([first, second])));
    let fresh = Rc::new(RefCell::new(Vec::new()));
    let script = Script {
        ready: Some(Box::new({
            let (calls, both, fresh) = (calls.clone(), both.clone(), fresh.clone());
            move |cx, token, _| {
                calls.borrow_mut().push(token);
                let Some(old) = both.borrow_mut().take() else { return };
                old.iter().for_each(|fd| cx.deregister(fd.as_fd()));
                drop(old);
                // New descriptors take the closed numbers over: the other event of this batch is not for them.
                for token in [12, 13] {
                    let (reader, writer) = pipe().unwrap();
                    cx.register(reader.as_fd(), token, Interest::IN).unwrap();
                    fresh.borrow_mut().push((reader, writer));
                }
            }
        })),
        ..Script::default()
    };
    let (mut engine, node) = engine(script);
    engine.with(node, |_: &mut Script, cx| {
        for (token, fd) in both.borrow().iter().flatten().enumerate() {
            cx.register(fd.as_fd(), token as u64, Interest::IN).unwrap();
        }
    });
    write(&first_writer, b"x").unwrap();
    write(&second_writer, b"x").unwrap();
    let deadline = soon(&engine, 30);
    assert_eq!(engine.run_until(deadline).unwrap(), None);
    assert_eq!(calls.borrow().len(), 1, "{:?}", calls.borrow());
}

#[test]
fn timers_come_at_their_time_and_not_before() {
    let poll_at = Rc::new(Cell::new(None));
    let times = Rc::new(RefCell::new(Vec::new()));
    let script = Script {
        poll: Some(Box::new({
            let (poll_at, times) = (poll_at.clone(), times.clone());
            move |cx| {
                times.borrow_mut().push(cx.now);
                if times.borrow().len() > 20 {
                    cx.stop(0);
                }
                poll_at.set(Some(cx.now + Duration::from_micros(700)));
            }
        })),
        poll_at,
        ..Script::default()
    };
    let (mut engine, _) = engine(script);
    engine.run().unwrap();
    for pair in times.borrow().windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_micros(700), "{pair:?}");
    }
    // Nanosecond sleeps: one turn for each, where milliseconds rounded down would spin (and rounded up oversleep).
    assert!(engine.statistics().turns <= 25, "{:?}", engine.statistics());
}

#[test]
fn an_idle_engine_takes_no_turns() {
    let (mut engine, first) = engine(Script::default());
    let second = engine.add_node(host(), Box::new(Script::default()));
    let (reader, writer) = pipe().unwrap();
    let (idle, _idle_writer) = pipe().unwrap();
    for (node, name) in [(first, "a"), (second, "b")] {
        let eth0 = Source::add(&mut engine, node, name, idle.as_fd().try_clone_to_owned().unwrap());
        assert!(engine.nic(node, eth0).is_some());
    }
    engine.with(first, |_: &mut Script, cx| cx.register(reader.as_fd(), 1, Interest::IN)).unwrap().unwrap();
    let deadline = soon(&engine, 300);
    assert_eq!(engine.run_until(deadline).unwrap(), None);
    assert!(engine.now() >= deadline);
    // Start-up work, ARP announcements perhaps; but nothing like a loop.
    assert!(engine.statistics().turns < 30, "{:?}", engine.statistics());
    drop(writer);
}

#[test]
fn a_busy_nic_starves_neither_descriptors_nor_timers() {
    let (reader, writer) = pipe().unwrap();
    let polls = Rc::new(Cell::new(0u32));
    let poll_at = Rc::new(Cell::new(Some(Instant::ZERO)));
    let script = Script {
        ready: Some(Box::new({
            let mut count = 0;
            let polls = polls.clone();
            move |cx, _, _| {
                count += 1;
                if count > 5 && polls.get() > 5 {
                    cx.stop(0);
                }
            }
        })),
        poll: Some(Box::new({
            let polls = polls.clone();
            move |_| polls.set(polls.get() + 1)
        })),
        poll_at,
        ..Script::default()
    };
    let (mut engine, node) = engine(script);
    let (always, always_writer) = pipe().unwrap();
    write(&always_writer, b"x").unwrap();
    Source::add_endless(&mut engine, node, always);
    engine.with(node, |_: &mut Script, cx| cx.register(reader.as_fd(), 1, Interest::IN)).unwrap().unwrap();
    write(&writer, b"x").unwrap();
    assert_eq!(engine.run().unwrap(), 0);
    assert!(engine.statistics().over_budget > 0, "{:?}", engine.statistics());
    assert!(engine.statistics().received > 1000, "{:?}", engine.statistics());
}

#[test]
fn a_failed_nic_is_reported_once() {
    let failures = Rc::new(RefCell::new(Vec::new()));
    let (mut engine, node) = engine(Script { failures: failures.clone(), ..Script::default() });
    let (reader, writer) = pipe().unwrap();
    Source::add(&mut engine, node, "eth0", reader);
    // The end of the pipe's other side is what a deleted device looks like.
    drop(writer);
    assert_eq!(engine.run().unwrap(), 3);
    let deadline = soon(&engine, 20);
    let turns = engine.statistics().turns;
    assert_eq!(engine.run_until(deadline).unwrap(), None);
    assert_eq!(*failures.borrow(), ["the pipe was closed"]);
    // The descriptor hangs up for ever: it must not keep the engine awake.
    assert!(engine.statistics().turns - turns < 20);
}

/// A nic that receives an unusable frame for each byte of a pipe; endless ones as long as there is one.
struct Source {
    pipe: OwnedFd,
    endless: bool,
    closed: bool,
}

impl Source {
    fn add(engine: &mut Engine, node: NodeId, name: &str, pipe: OwnedFd) -> InterfaceId {
        Self::put(engine, node, name, Source { pipe, endless: false, closed: false })
    }

    fn add_endless(engine: &mut Engine, node: NodeId, pipe: OwnedFd) -> InterfaceId {
        Self::put(engine, node, "eth0", Source { pipe, endless: true, closed: false })
    }

    fn put(engine: &mut Engine, node: NodeId, name: &str, nic: Source) -> InterfaceId {
        let config = InterfaceConfig {
            name: name.into(),
            medium: Medium::Ethernet(nic.mac()),
            mtu: nic.mtu(),
            addresses: vec![Cidr { address: "192.0.2.1".parse().unwrap(), prefix_len: 24 }],
            features: Features::default(),
            queue_limit: 100,
            any_destination: false,
            probe: false,
            autoconf: false,
        };
        let added = engine.with(node, |_: &mut Script, cx| cx.host.add_interface(cx.now, config));
        let interface = added.unwrap().unwrap();
        engine.add_nic(node, interface, Box::new(nic)).unwrap();
        interface
    }
}

impl Nic for Source {
    fn mac(&self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, 1])
    }

    fn mtu(&self) -> u16 {
        1500
    }

    fn transmit(&mut self, _: Instant, _: Packet) -> Result<(), Packet> {
        Ok(())
    }

    fn receive(&mut self, _: Instant) -> Option<Packet> {
        if self.endless {
            return Some(Packet::copy_from(&[0; 60]));
        }
        if rustix::io::ioctl_fionread(&self.pipe).ok()? == 0 {
            let mut hup = [rustix::event::PollFd::new(&self.pipe, rustix::event::PollFlags::IN)];
            let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            rustix::event::poll(&mut hup, Some(&none)).ok()?;
            self.closed = hup[0].revents().contains(rustix::event::PollFlags::HUP);
            return None;
        }
        read(&self.pipe, &mut [0; 1]).ok()?;
        Some(Packet::copy_from(&[0; 60]))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.pipe.as_fd())
    }

    fn failure(&self) -> Option<String> {
        self.closed.then(|| "the pipe was closed".into())
    }
}
