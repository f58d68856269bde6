//! A program's host and a gateway on one engine in a thread of its own, driven by blocking calls from the test's thread.

#![allow(dead_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use wireway_engine::{Context, Engine, Interest, NodeId, Service};
use wireway_gateway::{Gateway, GatewayConfig, Held, Publish, Relays};
use wireway_nic::{MemoryConfig, pair};
use wireway_packet::Instant;
use wireway_stack::{
    Cidr, DatagramInfo, Domain, Error, Event, Features, Host, InterfaceConfig, Kind, ReceiveFlags, RouteEntry,
    SendFlags, Settings, Shutdown, SocketError, SocketId, SocketOption,
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Tried at once, and again after every event, until it says that it is done.
type Attempt = Box<dyn FnMut(&mut Context<'_>) -> bool + Send>;

struct Driver {
    wake: Arc<OwnedFd>,
    incoming: Receiver<Attempt>,
    waiting: Vec<Attempt>,
}

impl Driver {
    fn attempt_all(&mut self, cx: &mut Context<'_>) {
        self.waiting.retain_mut(|attempt| !attempt(cx));
    }
}

impl Service for Driver {
    fn ready(&mut self, cx: &mut Context<'_>, _: u64, _: Interest) {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        self.waiting.extend(self.incoming.try_iter());
        self.attempt_all(cx);
    }

    fn event(&mut self, cx: &mut Context<'_>, _: Event) {
        self.attempt_all(cx);
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        cx.register(self.wake.as_fd(), 0, Interest::IN).expect("watches the eventfd");
    }

    fn poll_at(&self) -> Option<Instant> {
        None
    }
}

/// What was left when the engine stopped.
pub struct Remains {
    pub held: Held,
    /// Connections that still had something to pass on.
    pub sending: usize,
    pub counters: Vec<(&'static str, u64)>,
}

impl Remains {
    pub fn count(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }
}

struct Shared {
    attempts: Sender<Attempt>,
    wake: Arc<OwnedFd>,
}

/// The program's side.
pub struct Rig {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Remains>>,
    /// Where the published ports listen.
    pub published: Vec<Publish>,
}

/// `autoconf`: of IPv6 it knows nothing but what routers tell.
fn host_with_interface(now: Instant, config: &GatewayConfig, features: Features, autoconf: bool) -> Host {
    let mut host = Host::new(Settings { ipv6_dad_transmits: 0, ..Settings::default() }, [7; 32]);
    let subnets = || config.subnets.iter().filter(|subnet| subnet.gateway.is_ipv4() || !autoconf);
    let interface = InterfaceConfig {
        addresses: subnets().map(|s| s.program).collect(),
        features,
        autoconf,
        ..InterfaceConfig::ethernet("eth0", MemoryConfig::default().macs[0], config.mtu)
    };
    let interface = host.add_interface(now, interface).expect("adds eth0");
    for subnet in subnets() {
        let address = match subnet.gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let destination = Cidr { address, prefix_len: 0 };
        let gateway = Some(subnet.gateway);
        host.add_route(RouteEntry { gateway, ..RouteEntry::new(destination, interface) })
            .expect("adds the default route");
    }
    host
}

impl Rig {
    /// With the default network and super-segments on the cable.
    pub fn new() -> Rig {
        Rig::with(GatewayConfig::default())
    }

    pub fn with(config: GatewayConfig) -> Rig {
        Rig::build(config, false)
    }

    /// With a program's host that configures IPv6 by itself.
    pub fn with_autoconf(config: GatewayConfig) -> Rig {
        Rig::build(config, true)
    }

    fn build(mut config: GatewayConfig, autoconf: bool) -> Rig {
        let cable = MemoryConfig { mtu: config.mtu, ..MemoryConfig::default() };
        config.features = cable.features;
        config.mac = cable.macs[1];
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd"));
        let (attempts, incoming) = channel();
        let (tell, told) = channel();
        let driver_wake = wake.clone();
        let thread = std::thread::spawn(move || {
            let mut engine = Engine::new().expect("engine");
            let now = engine.now();
            let host = host_with_interface(now, &config, cable.features, autoconf);
            let interface = wireway_stack::InterfaceId(1);
            let driver = Driver { wake: driver_wake, incoming, waiting: Vec::new() };
            let program = engine.add_node(host, Box::new(driver));
            let gateway = Gateway::new(now, &config).expect("gateway");
            tell.send(gateway.published.clone()).expect("the test waits");
            let (counters, sending) = (gateway.counters.clone(), gateway.sending.clone());
            let far = engine.add_node(gateway.host, Box::new(gateway.service));
            let (here, there) = pair(cable);
            engine.add_nic(program, interface, Box::new(here)).expect("nic");
            engine.add_nic(far, gateway.interface, Box::new(there)).expect("nic");
            engine.run().expect("runs");
            let relays: &Relays = engine.service(NodeId(1)).expect("the gateway's service");
            Remains { held: relays.held(), sending: sending.get(), counters: counters.all() }
        });
        let published = told.recv_timeout(PATIENCE).expect("the gateway starts");
        Rig { shared: Arc::new(Shared { attempts, wake }), thread: Some(thread), published }
    }

    /// Calls `attempt` on the engine's thread until it gives something, and returns that.
    pub fn until<R: Send + 'static>(&self, attempt: impl FnMut(&mut Context<'_>) -> Option<R> + Send + 'static) -> R {
        self.shared.until(attempt)
    }

    pub fn connect(&self, peer: SocketAddr) -> Result<Stream, Error> {
        let socket = self.until(move |cx| {
            let domain = if peer.is_ipv4() { Domain::Inet } else { Domain::Inet6 };
            let socket = cx.host.socket(domain, Kind::Stream).expect("socket");
            assert_eq!(cx.host.connect(cx.now, socket, peer), Err(Error::InProgress));
            Some(socket)
        });
        self.until(move |cx| match cx.host.connect(cx.now, socket, peer) {
            Err(Error::AlreadyInProgress | Error::InProgress) => None,
            other => Some(other),
        })?;
        Ok(Stream { shared: self.shared.clone(), socket })
    }

    pub fn listen(&self, port: u16) -> Listener {
        let socket = self.until(move |cx| {
            let socket = cx.host.socket(Domain::Inet, Kind::Stream).expect("socket");
            cx.host.bind(socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).expect("bind");
            cx.host.listen(socket, 4_096).expect("listen");
            Some(socket)
        });
        Listener { shared: self.shared.clone(), socket }
    }

    pub fn datagram(&self, port: u16) -> Datagrams {
        let socket = self.until(move |cx| {
            let socket = cx.host.socket(Domain::Inet, Kind::Datagram).expect("socket");
            cx.host.bind(socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).expect("bind");
            cx.host.set_option(cx.now, socket, SocketOption::Broadcast(true)).expect("may broadcast");
            Some(socket)
        });
        Datagrams { shared: self.shared.clone(), socket }
    }

    pub fn ping(&self) -> Datagrams {
        let socket = self.until(move |cx| Some(cx.host.socket(Domain::Inet, Kind::Ping).expect("socket")));
        Datagrams { shared: self.shared.clone(), socket }
    }

    /// Stops the engine.
    pub fn stop(mut self) -> Remains {
        self.shared.send(Box::new(|cx| {
            cx.stop(0);
            true
        }));
        self.thread.take().expect("not stopped before").join().expect("the engine did not panic")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.send(Box::new(|cx| {
                cx.stop(0);
                true
            }));
            if !std::thread::panicking() {
                thread.join().expect("the engine did not panic");
            }
        }
    }
}

impl Shared {
    fn send(&self, attempt: Attempt) {
        if self.attempts.send(attempt).is_ok() {
            rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()).expect("wakes");
        }
    }

    fn until<R: Send + 'static>(&self, mut attempt: impl FnMut(&mut Context<'_>) -> Option<R> + Send + 'static) -> R {
        let (tell, told) = channel();
        self.send(Box::new(move |cx| match attempt(cx) {
            None => false,
            Some(result) => {
                let _ = tell.send(result);
                true
            }
        }));
        told.recv_timeout(PATIENCE).expect("it happens in time")
    }
}

fn unless_blocked<R>(result: Result<R, Error>) -> Option<Result<R, Error>> {
    if matches!(result, Err(Error::WouldBlock)) { None } else { Some(result) }
}

/// A TCP socket of the program's host.
pub struct Stream {
    shared: Arc<Shared>,
    pub socket: SocketId,
}

impl Stream {
    pub fn write_all(&self, data: &[u8]) -> Result<(), Error> {
        let (socket, data, mut sent) = (self.socket, data.to_vec(), 0);
        self.shared.until(move |cx| {
            while sent < data.len() {
                match cx.host.send(cx.now, socket, &data[sent..], SendFlags::default()) {
                    Ok(n) => sent += n,
                    Err(Error::WouldBlock) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
            Some(Ok(()))
        })
    }

    /// At most `max` bytes; none at the end of the stream.
    pub fn read(&self, max: usize) -> Result<Vec<u8>, Error> {
        let (socket, mut buffer) = (self.socket, vec![0; max]);
        self.shared.until(move |cx| {
            let result = unless_blocked(cx.host.recv(cx.now, socket, &mut buffer, ReceiveFlags::default()))?;
            Some(result.map(|n| buffer[..n].to_vec()))
        })
    }

    pub fn read_to_end(&self) -> Result<Vec<u8>, Error> {
        let (socket, mut all, mut buffer) = (self.socket, Vec::new(), vec![0; 1 << 16]);
        self.shared.until(move |cx| {
            loop {
                match cx.host.recv(cx.now, socket, &mut buffer, ReceiveFlags::default()) {
                    Ok(0) => return Some(Ok(std::mem::take(&mut all))),
                    Ok(n) => all.extend_from_slice(&buffer[..n]),
                    Err(Error::WouldBlock) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }

    pub fn shutdown_write(&self) {
        let socket = self.socket;
        self.shared.until(move |cx| Some(cx.host.shutdown(cx.now, socket, Shutdown::Write))).expect("shuts down");
    }

    pub fn abort(self) {
        let socket = self.socket;
        self.shared.until(move |cx| Some(cx.host.abort(cx.now, socket))).expect("aborts");
    }

    pub fn close(self) {
        let socket = self.socket;
        self.shared.until(move |cx| Some(cx.host.close(cx.now, socket))).expect("closes");
    }

    /// The error that the socket comes to.
    pub fn wait_error(&self) -> Error {
        let socket = self.socket;
        self.shared.until(move |cx| cx.host.take_error(socket))
    }
}

/// A listener of the program's host.
pub struct Listener {
    shared: Arc<Shared>,
    socket: SocketId,
}

impl Listener {
    pub fn accept(&self) -> (Stream, SocketAddr) {
        let socket = self.socket;
        let (socket, peer) =
            self.shared.until(move |cx| unless_blocked(cx.host.accept(cx.now, socket))).expect("accepts");
        (Stream { shared: self.shared.clone(), socket }, peer)
    }
}

/// A UDP or ping socket of the program's host.
pub struct Datagrams {
    shared: Arc<Shared>,
    socket: SocketId,
}

impl Datagrams {
    pub fn connect(&self, peer: SocketAddr) {
        let socket = self.socket;
        self.shared.until(move |cx| Some(cx.host.connect(cx.now, socket, peer))).expect("connects");
    }

    pub fn send_to(&self, data: &[u8], peer: SocketAddr) -> Result<usize, Error> {
        let (socket, data) = (self.socket, data.to_vec());
        self.shared.until(move |cx| unless_blocked(cx.host.send_to(cx.now, socket, &data, Some(peer), None)))
    }

    pub fn set(&self, option: SocketOption) {
        let socket = self.socket;
        self.shared.until(move |cx| Some(cx.host.set_option(cx.now, socket, option))).expect("sets the option");
    }

    pub fn recv_error(&self) -> SocketError {
        let socket = self.socket;
        self.shared.until(move |cx| cx.host.recv_error(socket).ok())
    }

    pub fn recv_from(&self) -> Result<(Vec<u8>, DatagramInfo), Error> {
        let (socket, mut buffer) = (self.socket, vec![0; 1 << 16]);
        self.shared.until(move |cx| {
            let result = unless_blocked(cx.host.recv_from(socket, &mut buffer, ReceiveFlags::default()))?;
            Some(result.map(|info| (buffer[..info.len].to_vec(), info)))
        })
    }
}

/// The address under which the program reaches a server on the machine's loopback address.
pub fn through_gateway(server: SocketAddr) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 2, 2), server.port()))
}

/// Bytes that no shift or swap leaves alike.
pub fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
