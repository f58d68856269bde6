//! A client's host and a server's on one cable, in virtual time.

#![allow(dead_code)]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};
use wireway_dhcp::{Client, ClientConfig, ClientEvent, Lease, Server, ServerConfig};
use wireway_lab::{CableId, HostId, Network};
use wireway_link::LinkConfig;
use wireway_packet::Instant;
use wireway_stack::{
    Cidr, Domain, Error, Host, InterfaceConfig, InterfaceId, Kind, ReceiveFlags, Settings, SocketId, SocketOption,
};
use wireway_wire::MacAddr;

pub const ETH0: InterfaceId = InterfaceId(1);
pub const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 9);
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub const HOUR: Duration = Duration::from_secs(3600);

/// What answers on the server's host.
pub enum Answering {
    Nobody,
    Server(Box<Server>),
    /// The test, by hand.
    Script(SocketId),
}

pub struct Rig {
    pub net: Network,
    pub client_host: HostId,
    pub server_host: HostId,
    pub cable: CableId,
    pub client: Client,
    pub answering: Answering,
    /// What the client sent, with the time and the IP destination.
    pub sent: Rc<RefCell<Vec<(Instant, Ipv4Addr, Message)>>>,
    pub events: Vec<ClientEvent>,
}

pub fn server_config() -> ServerConfig {
    ServerConfig {
        server: SERVER,
        addresses: vec![FIRST, SECOND],
        prefix_len: 24,
        routers: vec![SERVER],
        dns: vec![DNS],
        mtu: 1400,
        lease: HOUR,
    }
}

/// The DHCP message of a frame and its IP destination, if a client sent it to a server.
pub fn dhcp(frame: &[u8]) -> Option<(Ipv4Addr, Message)> {
    let ip = frame.get(14..)?;
    let to: [u8; 4] = ip.get(16..20)?.try_into().ok()?;
    if frame.get(12..14)? != [8, 0] || ip.get(9)? != &17 || ip.get(20..24)? != [0, 68, 0, 67] {
        return None;
    }
    Some((to.into(), Message::from_bytes(ip.get(28..)?).expect("a sound message")))
}

impl Rig {
    /// With a server of the default configuration.
    pub fn new() -> Rig {
        let mut rig = Rig::silent();
        rig.serve(server_config());
        rig
    }

    /// With nobody who answers.
    pub fn silent() -> Rig {
        Rig::over(LinkConfig::default(), 1)
    }

    pub fn over(link: LinkConfig, seed: u8) -> Rig {
        let mut net = Network::new(seed.into());
        let now = net.now();
        let mut host = Host::new(Settings::default(), [seed; 32]);
        host.add_interface(now, InterfaceConfig::ethernet("eth0", CLIENT_MAC, 1500)).unwrap();
        let client = Client::new(&mut host, now, ETH0, ClientConfig::default(), [seed; 32]).unwrap();
        let client_host = net.add_host(host);
        let mut host = Host::new(Settings::default(), [seed + 1; 32]);
        let addresses = [SERVER, OTHER_SERVER].map(|ip| Cidr { address: ip.into(), prefix_len: 24 });
        let config = InterfaceConfig::ethernet("eth0", SERVER_MAC, 1500);
        host.add_interface(now, InterfaceConfig { addresses: addresses.into(), ..config }).unwrap();
        let server_host = net.add_host(host);
        let cable = net.connect((client_host, ETH0), (server_host, ETH0), link.clone(), link);
        let sent = Rc::new(RefCell::new(Vec::new()));
        let seen = sent.clone();
        net.observe(Box::new(move |now, _, from, frame| {
            if let (0, Some((to, message))) = (from, dhcp(&frame.to_vec())) {
                seen.borrow_mut().push((now, to, message));
            }
        }));
        Rig { net, client_host, server_host, cable, client, answering: Answering::Nobody, sent, events: Vec::new() }
    }

    pub fn host(&mut self) -> &mut Host {
        self.net.host(self.client_host)
    }

    /// Lets a server answer, in the place of what did so far.
    pub fn serve(&mut self, config: ServerConfig) {
        self.silence();
        let now = self.net.now();
        let server = Server::new(self.net.host(self.server_host), now, ETH0, config).unwrap();
        self.answering = Answering::Server(Box::new(server));
    }

    /// Lets the test answer.
    pub fn script(&mut self) {
        self.silence();
        let now = self.net.now();
        let host = self.net.host(self.server_host);
        let socket = host.socket(Domain::Inet, Kind::Datagram).unwrap();
        host.set_option(now, socket, SocketOption::Broadcast(true)).unwrap();
        host.set_option(now, socket, SocketOption::BindToDevice(Some(ETH0))).unwrap();
        host.bind(socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 67))).unwrap();
        self.answering = Answering::Script(socket);
    }

    /// Ends what answers.
    pub fn silence(&mut self) {
        let now = self.net.now();
        let socket = match std::mem::replace(&mut self.answering, Answering::Nobody) {
            Answering::Nobody => return,
            Answering::Server(server) => server.socket(),
            Answering::Script(socket) => socket,
        };
        self.net.host(self.server_host).close(now, socket).unwrap();
    }

    fn poll(&mut self) {
        loop {
            self.net.settle();
            let now = self.net.now();
            self.client.poll(now, self.net.host(self.client_host));
            if let Answering::Server(server) = &mut self.answering {
                server.poll(now, self.net.host(self.server_host));
            }
            self.events.extend(std::iter::from_fn(|| self.client.next_event()));
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if !due(self.net.next_at()) && !due(self.client.poll_at()) {
                self.net.settle();
                if !due(self.net.next_at()) {
                    return;
                }
            }
        }
    }

    /// Steps until `done` says so, for at most `limit`. Whether it did.
    pub fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Rig) -> bool) -> bool {
        let end = self.net.now() + limit;
        loop {
            self.poll();
            if done(self) {
                return true;
            }
            if self.net.now() >= end {
                return false;
            }
            self.net.step(self.client.poll_at().unwrap_or(end).min(end));
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        assert!(!self.until(time, |_| false));
    }

    /// Runs until the client has an address.
    pub fn bind(&mut self) -> Lease {
        assert!(self.until(Duration::from_secs(600), |rig| rig.client.lease().is_some()), "no lease");
        self.client.lease().unwrap().clone()
    }

    /// The addresses of the client's interface.
    pub fn addresses(&mut self) -> Vec<IpAddr> {
        self.host().interface(ETH0).unwrap().addresses.iter().map(|cidr| cidr.address).collect()
    }

    /// Where the default route leads.
    pub fn router(&mut self) -> Option<IpAddr> {
        self.host().routes().iter().find(|r| r.destination.prefix_len == 0).and_then(|r| r.gateway)
    }

    /// What the client sent of this kind.
    pub fn sent(&self, kind: MessageType) -> Vec<(Instant, Ipv4Addr, Message)> {
        self.sent.borrow().iter().filter(|(_, _, m)| m.opts().has_msg_type(kind)).cloned().collect()
    }

    /// The next message that the scripted server gets within ten minutes.
    pub fn next_request(&mut self) -> Message {
        let mut got = None;
        self.until(Duration::from_secs(600), |rig| {
            let Answering::Script(socket) = rig.answering else { panic!("no script") };
            let mut buffer = [0; 1500];
            match rig.net.host(rig.server_host).recv_from(socket, &mut buffer, ReceiveFlags::default()) {
                Ok(info) => got = Some(Message::from_bytes(&buffer[..info.len]).unwrap()),
                Err(Error::WouldBlock) => {}
                Err(error) => panic!("{error:?}"),
            }
            got.is_some()
        });
        got.expect("a message of the client's")
    }

    /// The next message of this kind.
    pub fn next_of(&mut self, kind: MessageType) -> Message {
        loop {
            let message = self.next_request();
            if message.opts().has_msg_type(kind) {
                return message;
            }
        }
    }

    /// The scripted server answers.
    pub fn reply(&mut self, message: &Message) {
        self.reply_bytes(&message.to_vec().unwrap());
    }

    pub fn reply_bytes(&mut self, bytes: &[u8]) {
        let Answering::Script(socket) = self.answering else { panic!("no script") };
        let now = self.net.now();
        let host = self.net.host(self.server_host);
        let to = SocketAddr::from((Ipv4Addr::BROADCAST, 68));
        host.send_to(now, socket, bytes, Some(to), None).unwrap();
        self.poll();
    }
}

/// An answer to a message, with a lease of an hour on 10.0.2.0/24.
pub fn answer(to: &Message, kind: MessageType, yiaddr: Ipv4Addr, server: Ipv4Addr) -> Message {
    let mut message = Message::new_with_id(to.xid(), [0; 4].into(), yiaddr, [0; 4].into(), [0; 4].into(), to.chaddr());
    message.set_opcode(Opcode::BootReply);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    if kind != MessageType::Nak {
        options.insert(DhcpOption::AddressLeaseTime(3600));
        options.insert(DhcpOption::SubnetMask([255, 255, 255, 0].into()));
        options.insert(DhcpOption::Router(vec![server]));
    }
    message
}

/// The server that a message names.
pub fn named(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
        _ => None,
    }
}

/// The address that a message asks for.
pub fn requested(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}
