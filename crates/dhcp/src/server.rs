//! A server of a few leases (RFC 2131 §4.3), for a network whose hosts are known in number: what a gateway gives its program.
//!
//! It owns its network: what asks for an address that is not its to give is refused. Relays are not served.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, OptionCode};
use wireway_packet::Instant;
use wireway_stack::{Domain, Error, Host, InterfaceId, Kind, ReceiveFlags, Result, SocketId, SocketOption};
use wireway_wire::MacAddr;

use crate::message::{CLIENT_PORT, Header, Message, MessageType, SERVER_PORT};

/// Messages that one poll answers.
const BATCH: usize = 32;
/// The longest message that is read.
const BUFFER: usize = 1_500;
/// How long an offered address is kept for its client.
const OFFER: Duration = Duration::from_secs(60);
/// How long an address is not given out that a client found in use.
const DECLINED: Duration = Duration::from_secs(600);

/// What a server leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The server's own address on the network.
    pub server: Ipv4Addr,
    /// The addresses to lease.
    pub addresses: Vec<Ipv4Addr>,
    /// The length of the network's prefix.
    pub prefix_len: u8,
    /// The routers of the network.
    pub routers: Vec<Ipv4Addr>,
    /// The name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Bytes of the largest packet.
    pub mtu: u16,
    /// How long a lease lasts: whole seconds count.
    pub lease: Duration,
}

/// Whose an address is, until when.
#[derive(Clone, Copy, Debug)]
struct Binding {
    address: Ipv4Addr,
    /// Nobody's, if a client found the address in use.
    client: Option<MacAddr>,
    until: Instant,
}

/// A server on one interface.
#[derive(Debug)]
pub struct Server {
    socket: SocketId,
    config: ServerConfig,
    /// At most one an address.
    bindings: Vec<Binding>,
    buffer: Vec<u8>,
}

/// What is to be done with a request.
enum Answer {
    Give(MessageType, Ipv4Addr),
    /// The parameters alone.
    Inform,
    Refuse,
    Silence,
}

impl Server {
    /// A server on port 67 of an interface. ENODEV, EADDRINUSE.
    pub fn new(host: &mut Host, now: Instant, interface: InterfaceId, config: ServerConfig) -> Result<Server> {
        let socket = host.socket(Domain::Inet, Kind::Datagram)?;
        host.set_option(now, socket, SocketOption::BindToDevice(Some(interface)))?;
        host.set_option(now, socket, SocketOption::Broadcast(true))?;
        host.bind(socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER_PORT)))?;
        Ok(Server { socket, config, bindings: Vec::new(), buffer: vec![0; BUFFER] })
    }

    /// The socket whose events call for a [`poll`](Self::poll).
    pub fn socket(&self) -> SocketId {
        self.socket
    }

    /// The addresses that are leased, each with its client.
    pub fn leases(&self, now: Instant) -> impl Iterator<Item = (Ipv4Addr, MacAddr)> + '_ {
        self.bindings.iter().filter(move |b| b.until > now).filter_map(|b| Some((b.address, b.client?)))
    }

    /// Answers what came in. True if there may be more.
    pub fn poll(&mut self, now: Instant, host: &mut Host) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut more = true;
        for _ in 0..BATCH {
            match host.recv_from(self.socket, &mut buffer, ReceiveFlags::default()) {
                Ok(info) => {
                    let bytes = buffer.get(..info.len).unwrap_or(&buffer);
                    if let Some((reply, to)) = self.answer(now, bytes) {
                        let source = SocketAddr::from((self.config.server, SERVER_PORT));
                        // One that cannot be sent is as one that is lost: the client asks again.
                        let _ = host.send_to(now, self.socket, &reply, Some(to), Some(source));
                    }
                }
                Err(Error::WouldBlock) => {
                    more = false;
                    break;
                }
                Err(_) => {}
            }
        }
        self.buffer = buffer;
        more
    }

    fn answer(&mut self, now: Instant, bytes: &[u8]) -> Option<(Vec<u8>, SocketAddr)> {
        let message = Message::parse(bytes)?;
        if !message.is_request || !message.giaddr.is_unspecified() {
            return None;
        }
        let answer = match message.kind {
            MessageType::Discover => self.discover(now, &message),
            MessageType::Request => self.request(now, &message),
            MessageType::Decline => self.decline(now, &message),
            MessageType::Release => self.release(&message),
            MessageType::Inform => Answer::Inform,
            _ => Answer::Silence,
        };
        self.reply(&message, answer)
    }

    /// §4.3.1: the client's address, the one that it asks for, or any that is free.
    fn discover(&mut self, now: Instant, message: &Message) -> Answer {
        let own = self.binding(now, message.mac).map(|b| b.address);
        let wanted = message.options.requested().filter(|&address| self.is_free(now, address));
        let any = || self.config.addresses.iter().copied().find(|&address| self.is_free(now, address));
        let Some(address) = own.or(wanted).or_else(any) else { return Answer::Silence };
        if own.is_none() {
            self.bind(address, Some(message.mac), now + OFFER);
        }
        Answer::Give(MessageType::Offer, address)
    }

    /// §4.3.2
    fn request(&mut self, now: Instant, message: &Message) -> Answer {
        let options = &message.options;
        let own = self.binding(now, message.mac).map(|b| b.address);
        if let Some(server) = options.server()
            && server != self.config.server
        {
            // SELECTING another: what was offered is free again.
            self.bindings.retain(|b| b.client != Some(message.mac));
            return Answer::Silence;
        }
        // SELECTING and INIT-REBOOT say it as an option, RENEWING and REBINDING in the header.
        let wanted = if message.ciaddr.is_unspecified() { options.requested() } else { Some(message.ciaddr) };
        match wanted {
            None => Answer::Silence,
            Some(wanted) if own == Some(wanted) || (own.is_none() && self.is_free(now, wanted)) => {
                self.bind(wanted, Some(message.mac), now + self.config.lease);
                Answer::Give(MessageType::Ack, wanted)
            }
            Some(_) => Answer::Refuse,
        }
    }

    /// §4.3.3
    fn decline(&mut self, now: Instant, message: &Message) -> Answer {
        let own = self.binding(now, message.mac).map(|b| b.address);
        if let Some(address) = own.filter(|&own| message.options.requested() == Some(own)) {
            self.bind(address, None, now + DECLINED);
        }
        Answer::Silence
    }

    /// §4.3.4
    fn release(&mut self, message: &Message) -> Answer {
        self.bindings.retain(|b| b.client != Some(message.mac) || b.address != message.ciaddr);
        Answer::Silence
    }

    /// §4.1 (where to), §4.3.1 and table 3 (what).
    fn reply(&self, message: &Message, answer: Answer) -> Option<(Vec<u8>, SocketAddr)> {
        let config = &self.config;
        let (kind, yiaddr) = match answer {
            Answer::Give(kind, address) => (kind, address),
            Answer::Inform => (MessageType::Ack, Ipv4Addr::UNSPECIFIED),
            Answer::Refuse => (MessageType::Nak, Ipv4Addr::UNSPECIFIED),
            Answer::Silence => return None,
        };
        let mut options = vec![DhcpOption::ServerIdentifier(config.server)];
        // RFC 6842
        options.extend(
            message.options.bytes(OptionCode::ClientIdentifier).map(|id| DhcpOption::ClientIdentifier(id.into())),
        );
        if kind == MessageType::Nak {
            options.push(DhcpOption::Message("this address is not yours".into()));
        } else {
            let mask = u32::MAX.checked_shl(32 - u32::from(config.prefix_len.min(32))).unwrap_or(0);
            options.extend([
                DhcpOption::SubnetMask(Ipv4Addr::from_bits(mask)),
                DhcpOption::Router(config.routers.clone()),
                DhcpOption::DomainNameServer(config.dns.clone()),
                DhcpOption::InterfaceMtu(config.mtu),
            ]);
        }
        if matches!(answer, Answer::Give(..)) {
            // §4.4.5: T1 and T2 as every client would choose them.
            let seconds = u32::try_from(config.lease.as_secs()).unwrap_or(u32::MAX);
            options.push(DhcpOption::AddressLeaseTime(seconds));
            options.push(DhcpOption::Renewal(seconds / 2));
            options.push(DhcpOption::Rebinding(seconds / 8 * 7));
        }
        let header = Header {
            is_request: false,
            xid: message.xid,
            secs: 0,
            broadcast: message.broadcast,
            ciaddr: if kind == MessageType::Ack { message.ciaddr } else { Ipv4Addr::UNSPECIFIED },
            yiaddr,
            mac: message.mac,
        };
        // A client without an address is not asked by ARP; and a refusal always goes to all.
        let unicast = kind != MessageType::Nak && !message.ciaddr.is_unspecified();
        let to = if unicast { message.ciaddr } else { Ipv4Addr::BROADCAST };
        Some((header.write(kind, options)?, SocketAddr::from((to, CLIENT_PORT))))
    }

    /// What a client has, or was offered.
    fn binding(&self, now: Instant, client: MacAddr) -> Option<&Binding> {
        self.bindings.iter().find(|b| b.client == Some(client) && b.until > now)
    }

    fn is_free(&self, now: Instant, address: Ipv4Addr) -> bool {
        self.config.addresses.contains(&address) && !self.bindings.iter().any(|b| b.address == address && b.until > now)
    }

    fn bind(&mut self, address: Ipv4Addr, client: Option<MacAddr>, until: Instant) {
        self.bindings.retain(|b| b.address != address && (client.is_none() || b.client != client));
        self.bindings.push(Binding { address, client, until });
    }
}
