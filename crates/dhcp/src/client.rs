//! The client (RFC 2131 §4.4): gets an address for an interface, keeps it while a server lets it, and gives it up when it must.
//!
//! # Theory of operation
//!
//! The states are those of figure 5, with one more between REQUESTING and BOUND: an address that was acknowledged is probed (RFC 5227)
//! before it is used, and declined if another host has it. INIT-REBOOT is not there: nothing is remembered from one run to the next.
//!
//! Until there is an address all is broadcast, and answers are asked for by broadcast, as the stack takes no unicast packet before. Messages
//! count only with this interface's hardware address and the number of the transaction that is under way.

mod wait;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, OptionCode};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wireway_packet::Instant;
use wireway_stack::{Domain, Error, Host, InterfaceId, Kind, Medium, ReceiveFlags, Result, SocketId, SocketOption};
use wireway_wire::MacAddr;

use crate::exchange::{Exchange, back_off};
use crate::lease::Lease;
use crate::message::{CLIENT_PORT, Header, Message, MessageType, SERVER_PORT};

const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;
/// The hardware type of Ethernet (RFC 1700, "Number Hardware Type").
const HARDWARE_ETHERNET: u8 = 1;
/// Events that are kept.
const EVENTS: usize = 16;
/// Messages that one poll takes.
const BATCH: usize = 32;
/// How often a REQUEST is sent before the client begins anew (§3.1.5).
const REQUESTS: u32 = 4;
/// The pause after a conflict (§3.1.5).
const DECLINE_WAIT: Duration = Duration::from_secs(10);
/// How often to look whether an address that is probed is in use by now.
const PROBE_LOOK: Duration = Duration::from_millis(20);
/// How long a released address stays, for the message to leave under it.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Probe an address before it is used (RFC 5227 §2.1, RFC 2131 §4.4.1), for as long as the host's `address_probe_time` says.
    pub probe: bool,
}

impl Default for ClientConfig {
    /// Probing.
    fn default() -> Self {
        ClientConfig { probe: true }
    }
}

/// What became of the interface's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The address is in use, with routes and MTU as the lease says; or a renewal changed something of them.
    Bound(Lease),
    /// Another host has this address: it was declined, and another is asked for in ten seconds.
    Conflict(Ipv4Addr),
    /// A server refused the address, and maybe said why. If it was in use it is no more. Another is asked for.
    Refused(Ipv4Addr, Option<String>),
    /// Nobody renewed the lease: the address is no longer in use. Another is asked for.
    Expired(Ipv4Addr),
}

/// A lease with the moments that follow from when it was asked for.
#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    /// T1, T2 and the end; far in the future if it lasts for ever.
    renew: Instant,
    rebind: Instant,
    expires: Instant,
}

impl Held {
    /// §4.4.1: the time of a lease counts from when it was asked for.
    fn new(lease: Lease, asked: Instant) -> Held {
        let at = |time| if lease.duration.is_some() { asked + time } else { Instant::FAR_FUTURE };
        let expires = lease.duration.map_or(Instant::FAR_FUTURE, |duration| asked + duration);
        Held { renew: at(lease.renewal), rebind: at(lease.rebinding), expires, lease }
    }
}

#[derive(Debug)]
enum State {
    /// Begins at this time.
    Init(Instant),
    Selecting(Exchange),
    Requesting(Exchange, Lease),
    /// Looks at this time whether the address is in use.
    Probing(Instant),
    Bound,
    Renewing(Exchange),
    Rebinding(Exchange),
    /// The address goes at this time.
    Released(Instant),
    Stopped,
}

/// A client of one interface.
#[derive(Debug)]
pub struct Client {
    interface: InterfaceId,
    mac: MacAddr,
    /// The interface's MTU without a lease.
    largest: u16,
    socket: SocketId,
    config: ClientConfig,
    rng: ChaCha8Rng,
    state: State,
    /// When the search for an address began, and what the message said of that which is answered (§3.1.3).
    began: Instant,
    secs: u16,
    /// Refusals in a row, so that a server that refuses all is not asked without a pause.
    refusals: u32,
    /// The lease in use, or being probed.
    held: Option<Held>,
    events: VecDeque<ClientEvent>,
    buffer: Vec<u8>,
}

impl Client {
    /// A client for an Ethernet interface of `host`, which begins at its first [`poll`](Self::poll). Its randomness comes from `seed`.
    /// EINVAL on another medium, ENODEV, EADDRINUSE if something has port 68 of the interface.
    pub fn new(
        host: &mut Host,
        now: Instant,
        interface: InterfaceId,
        config: ClientConfig,
        seed: [u8; 32],
    ) -> Result<Client> {
        let info = host.interface(interface).ok_or(Error::NoDevice)?;
        let Medium::Ethernet(mac) = info.medium else { return Err(Error::InvalidArgument) };
        let largest = u16::try_from(info.mtu).unwrap_or(u16::MAX);
        let socket = host.socket(Domain::Inet, Kind::Datagram)?;
        host.set_option(now, socket, SocketOption::BindToDevice(Some(interface)))?;
        host.set_option(now, socket, SocketOption::Broadcast(true))?;
        host.bind(socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)))?;
        Ok(Client {
            interface,
            mac,
            largest,
            socket,
            config,
            rng: ChaCha8Rng::from_seed(seed),
            state: State::Init(now),
            began: now,
            secs: 0,
            refusals: 0,
            held: None,
            events: VecDeque::new(),
            buffer: vec![0; usize::from(largest)],
        })
    }

    /// The socket whose events call for a [`poll`](Self::poll).
    pub fn socket(&self) -> SocketId {
        self.socket
    }

    /// The lease whose address is in use.
    pub fn lease(&self) -> Option<&Lease> {
        let in_use = matches!(self.state, State::Bound | State::Renewing(_) | State::Rebinding(_));
        self.held.as_ref().filter(|_| in_use).map(|held| &held.lease)
    }

    /// What happened, oldest first.
    pub fn next_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Gives the address back (§4.4.6) and asks for no other. It stays for a second, until the message has left.
    pub fn release(&mut self, now: Instant, host: &mut Host) {
        if let Some(lease) = self.lease().cloned() {
            let exchange = Exchange::new(now, &mut self.rng);
            let server = DhcpOption::ServerIdentifier(lease.server);
            self.send(now, host, &exchange, MessageType::Release, lease.ip(), lease.server, [server]);
            self.state = State::Released(now + RELEASE_WAIT);
        } else {
            self.drop_lease(now, host);
            self.state = State::Stopped;
        }
    }

    /// Takes what came in and does what is due.
    pub fn poll(&mut self, now: Instant, host: &mut Host) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BATCH {
            match host.recv_from(self.socket, &mut buffer, ReceiveFlags::default()) {
                Ok(info) => {
                    let bytes = buffer.get(..info.len).unwrap_or(&buffer);
                    if let Some(message) = Message::parse(bytes).filter(|m| !m.is_request && m.mac == self.mac) {
                        self.receive(now, host, &message);
                    }
                }
                Err(Error::WouldBlock) => break,
                // An ICMP error about what was sent: the timer will see to it.
                Err(_) => {}
            }
        }
        self.buffer = buffer;
        // A client that was not asked for long may go from BOUND through all states to the next DISCOVER.
        for _ in 0..8 {
            if self.poll_at().is_none_or(|at| at > now) {
                break;
            }
            self.act(now, host);
        }
    }

    fn receive(&mut self, now: Instant, host: &mut Host, message: &Message) {
        match &self.state {
            State::Selecting(exchange) if message.xid == exchange.xid && message.kind == MessageType::Offer => {
                // The first that can be used is as good as any (§4.4.1).
                if let Some(offer) = Lease::read(message) {
                    let exchange = Exchange { tries: 0, sent: now, next: now, ..*exchange };
                    self.state = State::Requesting(exchange, offer);
                }
            }
            State::Requesting(exchange, offer)
                if message.xid == exchange.xid && message.options.server() == Some(offer.server) =>
            {
                let (sent, address) = (exchange.sent, offer.ip());
                match message.kind {
                    MessageType::Ack if message.yiaddr == address => self.accept(now, host, message, sent),
                    MessageType::Nak => self.refused(now, host, address, message),
                    _ => {}
                }
            }
            State::Renewing(exchange) | State::Rebinding(exchange) if message.xid == exchange.xid => {
                let sent = exchange.sent;
                let Some(address) = self.held.as_ref().map(|held| held.lease.ip()) else { return };
                match message.kind {
                    MessageType::Ack if message.yiaddr == address => self.renew(now, host, message, sent),
                    MessageType::Nak => self.refused(now, host, address, message),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// An address was acknowledged: to be probed, or used at once.
    fn accept(&mut self, now: Instant, host: &mut Host, message: &Message, sent: Instant) {
        let Some(lease) = Lease::read(message) else { return };
        if host.add_address(now, self.interface, lease.address, self.config.probe).is_err() {
            return;
        }
        self.held = Some(Held::new(lease, sent));
        self.state = State::Probing(now);
    }

    /// A lease that is in use got more time, and may say other things about the network.
    fn renew(&mut self, now: Instant, host: &mut Host, message: &Message, sent: Instant) {
        let (Some(lease), Some(old)) = (Lease::read(message), self.held.as_ref()) else { return };
        if !old.lease.configures_like(&lease) {
            old.lease.replace(now, host, self.interface, self.largest, &lease);
            self.tell(ClientEvent::Bound(lease.clone()));
        }
        self.held = Some(Held::new(lease, sent));
        self.state = State::Bound;
    }

    /// §3.2 (4), §4.4.5: the address must not be used. The first time another is asked for at once.
    fn refused(&mut self, now: Instant, host: &mut Host, address: Ipv4Addr, message: &Message) {
        self.drop_lease(now, host);
        self.tell(ClientEvent::Refused(address, message.options.reason()));
        let wait = if self.refusals == 0 { Duration::ZERO } else { back_off(self.refusals - 1, &mut self.rng) };
        self.refusals = self.refusals.saturating_add(1);
        self.state = State::Init(now + wait);
    }

    /// What nobody asks for is not kept for ever.
    fn tell(&mut self, event: ClientEvent) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn drop_lease(&mut self, now: Instant, host: &mut Host) {
        if let Some(held) = self.held.take() {
            held.lease.remove(now, host, self.interface, self.largest);
        }
    }
}
