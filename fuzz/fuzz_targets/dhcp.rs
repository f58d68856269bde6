//! A DHCP client and a server, between which the fuzzer stands: it answers the client in the server's name, and asks the server in
//! clients' names.
//!
//! The input is a program of operations, each a byte with its operands behind it:
//! - 0: time goes by, as many seconds as the next byte squared
//! - 1: a reply to what the client last sent: its last byte of `yiaddr`, then options
//! - 2: a request to the server: the last byte of its hardware address, the last byte of `ciaddr`, then options
//! - 3 and 4: like 1 and 2, with bytes changed anywhere (their number, then for each its place and value) before the options
//!
//! Options are a length and so many bytes as they stand.
//!
//! What must hold: nothing panics; after a poll nothing is due; an address that the client says it has is on its interface, and can be
//! a host's; the server leases no more than it has.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wireway_dhcp::{Client, ClientConfig, Server, ServerConfig};
use wireway_lab::{HostId, Network};
use wireway_link::LinkConfig;
use wireway_stack::{
    Cidr, Domain, Host, InterfaceConfig, InterfaceId, Kind, ReceiveFlags, Settings, SocketId, SocketOption,
};
use wireway_wire::MacAddr;

const ETH0: InterfaceId = InterfaceId(1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HEADER: usize = 240;

fuzz_target!(|bytes: &[u8]| run(bytes));

struct World {
    net: Network,
    client: Client,
    server: Server,
    /// The client's host and the server's, each on a cable with a host of the fuzzer's.
    hosts: [HostId; 2],
    liars: [(HostId, SocketId); 2],
    xid: [u8; 4],
}

fn host(net: &Network, mac: u8, address: Option<u8>) -> Host {
    let mut host = Host::new(Settings::default(), [mac; 32]);
    let addresses = address.map(|last| Cidr { address: [10, 0, 2, last].into(), prefix_len: 24 });
    let config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, mac]), 1500);
    let config = InterfaceConfig { addresses: addresses.into_iter().collect(), ..config };
    host.add_interface(net.now(), config).expect("an interface");
    host
}

/// A host with a socket on this port that may say anything to all.
fn liar(net: &mut Network, mac: u8, port: u16) -> (HostId, SocketId) {
    let (mut host, now) = (host(net, mac, Some(100 + mac)), net.now());
    let socket = host.socket(Domain::Inet, Kind::Datagram).expect("a socket");
    host.set_option(now, socket, SocketOption::Broadcast(true)).expect("an option");
    host.set_option(now, socket, SocketOption::BindToDevice(Some(ETH0))).expect("an option");
    host.bind(socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).expect("a port");
    (net.add_host(host), socket)
}

impl World {
    fn new() -> World {
        let mut net = Network::new(1);
        let now = net.now();
        let mut asking = host(&net, 1, None);
        let client = Client::new(&mut asking, now, ETH0, ClientConfig::default(), [1; 32]).expect("a client");
        let mut serving = host(&net, 2, Some(2));
        let config = ServerConfig {
            server: [10, 0, 2, 2].into(),
            addresses: (15..20).map(|last| [10, 0, 2, last].into()).collect(),
            prefix_len: 24,
            routers: vec![[10, 0, 2, 2].into()],
            dns: vec![[10, 0, 2, 3].into()],
            mtu: 1400,
            lease: Duration::from_secs(3600),
        };
        let server = Server::new(&mut serving, now, ETH0, config).expect("a server");
        let hosts = [net.add_host(asking), net.add_host(serving)];
        let liars = [liar(&mut net, 3, 67), liar(&mut net, 4, 68)];
        for (host, (liar, _)) in hosts.into_iter().zip(liars) {
            net.connect((host, ETH0), (liar, ETH0), LinkConfig::default(), LinkConfig::default());
        }
        World { net, client, server, hosts, liars, xid: [0; 4] }
    }

    fn poll(&mut self) {
        for _ in 0..4 {
            self.net.settle();
            let now = self.net.now();
            self.client.poll(now, self.net.host(self.hosts[0]));
            while self.server.poll(now, self.net.host(self.hosts[1])) {}
            self.net.settle();
        }
        let now = self.net.now();
        assert!(self.client.poll_at().is_none_or(|at| at > now), "nothing is due after a poll");
        let mut buffer = [0; 1500];
        let (liar, socket) = self.liars[0];
        while let Ok(info) = self.net.host(liar).recv_from(socket, &mut buffer, ReceiveFlags::default()) {
            assert!(info.len >= 300, "the client's messages are whole");
            self.xid.copy_from_slice(&buffer[4..8]);
        }
        let at = self.net.host(self.hosts[0]).interface(ETH0).expect("an interface");
        assert!(at.mtu >= 68);
        if let Some(lease) = self.client.lease() {
            let address = lease.ip();
            assert!(!address.is_unspecified() && !address.is_loopback() && !address.is_multicast());
            assert!(lease.renewal <= lease.rebinding);
            assert!(at.addresses.iter().any(|cidr| cidr.address == IpAddr::V4(address)), "what is leased is in use");
        }
        assert!(self.server.leases(now).count() <= 5);
    }

    /// Lets time go by, unless too much happens in it.
    fn run_for(&mut self, seconds: u64) {
        let end = self.net.now() + Duration::from_secs(seconds);
        for _ in 0..100 {
            if self.net.now() >= end {
                return;
            }
            self.net.step(self.client.poll_at().unwrap_or(end).min(end));
            self.poll();
        }
    }

    fn tell(&mut self, liar: usize, message: &[u8]) {
        let (now, (host, socket)) = (self.net.now(), self.liars[liar]);
        let to = SocketAddr::from((Ipv4Addr::BROADCAST, [68, 67][liar]));
        self.net.host(host).send_to(now, socket, message, Some(to), None).expect("a datagram");
        self.poll();
    }
}

fn run(bytes: &[u8]) {
    let mut world = World::new();
    world.poll();
    let mut input = bytes.iter().copied();
    while let Some(operation) = input.next() {
        if operation % 5 == 0 {
            let root = u64::from(input.next().unwrap_or(0));
            world.run_for(root * root);
            continue;
        }
        let liar = usize::from(operation % 5 % 2 == 0);
        let mut next = || input.next().unwrap_or(0);
        let mut message = vec![0; HEADER];
        message[..3].copy_from_slice(&[2 - liar as u8, 1, 6]);
        message[4..8].copy_from_slice(&world.xid);
        message[28..34].copy_from_slice(&MAC);
        message[236..].copy_from_slice(&[99, 130, 83, 99]);
        if liar == 0 {
            message[16..20].copy_from_slice(&[10, 0, 2, next()]);
        } else {
            message[33] = next();
            let last = next();
            if last != 0 {
                message[12..16].copy_from_slice(&[10, 0, 2, last]);
            }
        }
        if operation % 5 > 2 {
            for _ in 0..next() % 16 {
                let place = usize::from(next());
                if let Some(byte) = message.get_mut(place) {
                    *byte = next();
                }
            }
        }
        let len = next();
        message.extend((0..len).map(|_| next()));
        world.tell(liar, &message);
    }
}
