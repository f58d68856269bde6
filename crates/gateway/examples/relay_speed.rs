//! How fast the gateway relays, without a program attached: a service on the program's host sends (`out`) or receives (`in`)
//! over one connection, or makes short ones (`crr`), against a thread on the machine's loopback address.
//!
//!     cargo run --release --example relay_speed -- out|in|crr [MTU [SECONDS]]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use wireway_engine::{Context, Engine, Interest, Service};
use wireway_gateway::{Gateway, GatewayConfig, Subnet};
use wireway_nic::{MemoryConfig, pair};
use wireway_packet::Instant;
use wireway_stack::{Domain, Error, Event, Host, InterfaceConfig, Kind, ReceiveFlags, SendFlags, Settings, SocketId};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Out,
    In,
    Short,
}

struct Program {
    mode: Mode,
    server: SocketAddr,
    socket: Option<SocketId>,
    buffer: Vec<u8>,
    bytes: u64,
    connections: u64,
    start: Instant,
    time: Duration,
}

impl Program {
    fn connect(&mut self, cx: &mut Context<'_>) {
        let socket = cx.host.socket(Domain::Inet, Kind::Stream).expect("socket");
        assert_eq!(cx.host.connect(cx.now, socket, self.server), Err(Error::InProgress));
        self.socket = Some(socket);
    }

    fn step(&mut self, cx: &mut Context<'_>, socket: SocketId) -> Result<(), Error> {
        for _ in 0..4 {
            let n = match self.mode {
                Mode::Out => cx.host.send(cx.now, socket, &self.buffer, SendFlags::default())?,
                _ => cx.host.recv(cx.now, socket, &mut self.buffer, ReceiveFlags::default())?,
            };
            self.bytes += n as u64;
            if n == 0 {
                cx.host.close(cx.now, socket)?;
                self.connections += 1;
                self.connect(cx);
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Service for Program {
    fn ready(&mut self, _: &mut Context<'_>, _: u64, _: Interest) {}

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        let Some(socket) = self.socket.filter(|&socket| socket == event.socket) else { return };
        match self.step(cx, socket) {
            Ok(()) | Err(Error::WouldBlock | Error::NotConnected) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        let Some(socket) = self.socket else {
            self.start = cx.now;
            return self.connect(cx);
        };
        if cx.now.since(self.start) >= self.time {
            let seconds = cx.now.since(self.start).as_secs_f64();
            println!(
                "{:.2} GB/s, {:.0} connections/s",
                self.bytes as f64 / seconds / 1e9,
                self.connections as f64 / seconds
            );
            return cx.stop(0);
        }
        match self.step(cx, socket) {
            Ok(()) | Err(Error::WouldBlock | Error::NotConnected) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn poll_at(&self) -> Option<Instant> {
        Some(if self.mode == Mode::Short { self.start + self.time } else { Instant::ZERO })
    }
}

fn serve(listener: TcpListener, mode: Mode) {
    let mut buffer = vec![0; 1 << 18];
    while let Ok((mut stream, _)) = listener.accept() {
        match mode {
            Mode::Out => while stream.read(&mut buffer).is_ok_and(|n| n > 0) {},
            Mode::In => while stream.write_all(&buffer).is_ok() {},
            Mode::Short => stream.write_all(b"hello").unwrap_or(()),
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = match arguments.next().as_deref() {
        Some("in") => Mode::In,
        Some("crr") => Mode::Short,
        _ => Mode::Out,
    };
    let mtu = arguments.next().and_then(|mtu| mtu.parse().ok()).unwrap_or(1_500);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(3);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let port = listener.local_addr().expect("has an address").port();
    std::thread::spawn(move || serve(listener, mode));

    let cable = MemoryConfig { mtu, ..MemoryConfig::default() };
    let config = GatewayConfig { mtu, features: cable.features, mac: cable.macs[1], ..GatewayConfig::default() };
    let mut engine = Engine::new().expect("engine");
    let now = engine.now();
    let mut host = Host::new(Settings::default(), [1; 32]);
    let interface = InterfaceConfig {
        addresses: vec![Subnet::V4.program],
        features: cable.features,
        ..InterfaceConfig::ethernet("eth0", cable.macs[0], mtu)
    };
    let interface = host.add_interface(now, interface).expect("adds eth0");
    // The gateway's address is on the link: no route is needed.
    let program = Program {
        mode,
        server: SocketAddr::new(Subnet::V4.gateway, port),
        socket: None,
        buffer: vec![1; 1 << 16],
        bytes: 0,
        connections: 0,
        start: now,
        time: Duration::from_secs(seconds),
    };
    let program = engine.add_node(host, Box::new(program));
    let gateway = Gateway::new(now, &config).expect("gateway");
    let far = engine.add_node(gateway.host, Box::new(gateway.service));
    let (here, there) = pair(cable);
    engine.add_nic(program, interface, Box::new(here)).expect("nic");
    engine.add_nic(far, gateway.interface, Box::new(there)).expect("nic");
    engine.run().expect("runs");
}
