//! Serves TCP from Wireway's stack over a device of our own: each UDP datagram carries one Ethernet frame, as QEMU's
//! `-netdev dgram` and many tunnels have it. `serve_tcp LOCAL PEER` echoes on 10.9.0.1 port 7.

use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant as Clock};

use wireway::packet::{Instant, Packet};
use wireway::stack::*;
use wireway::wire::MacAddr;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(local), Some(peer)) = (args.next(), args.next()) else {
        return Err("usage: serve_tcp LOCAL PEER".into());
    };
    let device = UdpSocket::bind(&local)?;
    device.connect(&peer)?;
    let clock = Clock::now();
    let now = || Instant::from_nanos(clock.elapsed().as_nanos() as u64);
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let mut host = Host::new(Settings::default(), seed);
    let mut config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 9, 0, 1]), 1400);
    config.addresses.push(Cidr { address: "10.9.0.1".parse()?, prefix_len: 24 });
    let eth0 = host.add_interface(now(), config)?;
    let listener = host.socket(Domain::Inet, Kind::Stream)?;
    host.bind(listener, SocketAddr::from(([10, 9, 0, 1], 7)))?;
    host.listen(listener, 128)?;

    let mut buffer = [0; 2048];
    loop {
        let wait = host.poll_at().map_or(Duration::from_secs(1), |at| at - now());
        device.set_read_timeout(Some(wait.max(Duration::from_micros(1))))?;
        if let Ok(len) = device.recv(&mut buffer) {
            host.receive(now(), eth0, Packet::copy_from(&buffer[..len]));
        }
        host.poll(now());
        while let Some(event) = host.next_event() {
            if event.socket == listener {
                while let Ok((_, from)) = host.accept(now(), listener) {
                    println!("connection from {from}");
                }
                continue;
            }
            // Echo as much as can be sent; end the connection when the peer has.
            let room = host.send_space(event.socket).min(buffer.len());
            match host.recv(now(), event.socket, &mut buffer[..room], ReceiveFlags::default()) {
                Ok(0) if room == 0 => {}
                Ok(len @ 1..) => drop(host.send(now(), event.socket, &buffer[..len], SendFlags::default())),
                Err(Error::WouldBlock) => {}
                Ok(0) | Err(_) => drop(host.close(now(), event.socket)),
            }
        }
        while let Some(frame) = host.transmit(now(), eth0) {
            let _ = device.send(&frame.to_vec()); // A cable may lose frames, if nobody is at its other end.
        }
    }
}
