//! Stateless DHCPv6 (RFC 8415 §18.2.6): asks what else there is to know on a link whose routers give addresses, here the name servers.
//!
//! A message is four bytes and options (§8); dhcproto names them and reads their fields. Its owned messages are not used: they trust
//! lengths that the sender chose.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use dhcproto::v6::{MessageType, OptionCode};
use dhcproto::{Decoder, Encoder};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use wireway_packet::Instant;
use wireway_stack::{Domain, Error, Host, InterfaceId, Kind, Medium, ReceiveFlags, Result, SocketId, SocketOption};

/// §7.2
const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// §7.1: All_DHCP_Relay_Agents_and_Servers.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

// §7.6
const INF_MAX_DELAY: Duration = Duration::from_secs(1);
const INF_TIMEOUT: Duration = Duration::from_secs(1);
const INF_MAX_RT: Duration = Duration::from_secs(3600);
const IRT_DEFAULT: Duration = Duration::from_secs(86_400);
const IRT_MINIMUM: Duration = Duration::from_secs(600);
/// §7.7
const FOREVER: u32 = u32::MAX;

/// Name servers that are kept.
const KEPT: usize = 8;
/// Messages that one poll takes.
const BATCH: usize = 32;

/// A client that asks for information alone.
#[derive(Debug)]
pub struct Information {
    interface: InterfaceId,
    socket: SocketId,
    /// Who we are (§11.4): the hardware address.
    duid: Vec<u8>,
    rng: ChaCha8Rng,
    /// The transaction that is under way (§8); none while nothing is asked.
    xid: Option<[u8; 3]>,
    /// When the first message of the exchange was sent, and the pause before the next.
    began: Option<Instant>,
    pause: Duration,
    next: Instant,
    dns: Vec<Ipv6Addr>,
    buffer: Vec<u8>,
}

impl Information {
    /// A client for an Ethernet interface of `host` that has a link-local address. EINVAL on another medium, ENODEV, EADDRINUSE if
    /// something has port 546 of the interface.
    pub fn new(host: &mut Host, now: Instant, interface: InterfaceId, seed: [u8; 32]) -> Result<Information> {
        let info = host.interface(interface).ok_or(Error::NoDevice)?;
        let Medium::Ethernet(mac) = info.medium else { return Err(Error::InvalidArgument) };
        let longest = info.mtu as usize;
        let socket = host.socket(Domain::Inet6, Kind::Datagram)?;
        host.set_option(now, socket, SocketOption::V6Only(true))?;
        host.set_option(now, socket, SocketOption::BindToDevice(Some(interface)))?;
        host.bind(socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, CLIENT_PORT)))?;
        let mut rng = ChaCha8Rng::from_seed(seed);
        // §18.2.6: the first message is delayed by up to a second.
        let delay = INF_MAX_DELAY * (rng.next_u32() >> 16) / (1 << 16);
        // DUID-LL (3), hardware type Ethernet (1).
        let duid = [&[0, 3, 0, 1], &mac.0[..]].concat();
        let buffer = vec![0; longest];
        let next = now + delay;
        let (xid, began, pause, dns) = (None, None, INF_TIMEOUT, Vec::new());
        Ok(Information { interface, socket, duid, rng, xid, began, pause, next, dns, buffer })
    }

    /// The socket whose events call for a [`poll`](Self::poll).
    pub fn socket(&self) -> SocketId {
        self.socket
    }

    /// The name servers (RFC 3646), the best first; nothing before there was an answer.
    pub fn dns(&self) -> &[Ipv6Addr] {
        &self.dns
    }

    /// When [`poll`](Self::poll) has something to do.
    pub fn poll_at(&self) -> Option<Instant> {
        (self.next < Instant::FAR_FUTURE).then_some(self.next)
    }

    /// Takes what came in and asks if it is time.
    pub fn poll(&mut self, now: Instant, host: &mut Host) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BATCH {
            match host.recv_from(self.socket, &mut buffer, ReceiveFlags::default()) {
                Ok(info) => self.receive(now, buffer.get(..info.len).unwrap_or(&buffer)),
                Err(Error::WouldBlock) => break,
                Err(_) => {}
            }
        }
        self.buffer = buffer;
        if self.next <= now {
            self.ask(now, host);
        }
    }

    /// Asks, and will again (§15): after a second, and then twice as long each time, a tenth more or less.
    fn ask(&mut self, now: Instant, host: &mut Host) {
        let fresh = self.xid.is_none();
        let xid = *self.xid.get_or_insert_with(|| {
            let [a, b, c, _] = self.rng.next_u32().to_be_bytes();
            [a, b, c]
        });
        self.pause = if fresh { INF_TIMEOUT } else { (self.pause * 2).min(INF_MAX_RT) };
        let began = *self.began.get_or_insert(now);
        let jitter = self.pause / 5 * (self.rng.next_u32() >> 16) / (1 << 16);
        self.next = now + (self.pause - self.pause / 10 + jitter);
        let to = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, u32::from(self.interface.0) + 1);
        if let Some(message) = self.message(xid, now.since(began)) {
            // One that cannot be sent is as one that is lost.
            let _ = host.send_to(now, self.socket, &message, Some(to.into()), None);
        }
    }

    /// The client identifier, the time since the first message in hundredths (§21.9), and what is to be known: name servers, when to ask
    /// again, and (as §18.2.6 demands) how seldom to ask at most.
    fn message(&self, xid: [u8; 3], elapsed: Duration) -> Option<Vec<u8>> {
        let wanted = [OptionCode::DomainNameServers, OptionCode::InformationRefreshTime, OptionCode::InfMaxRt];
        let wanted: Vec<u8> = wanted.into_iter().flat_map(|code| u16::from(code).to_be_bytes()).collect();
        let hundredths = u16::try_from(elapsed.as_millis() / 10).unwrap_or(u16::MAX);
        let options: [(OptionCode, &[u8]); 3] = [
            (OptionCode::ClientId, &self.duid),
            (OptionCode::ElapsedTime, &hundredths.to_be_bytes()),
            (OptionCode::ORO, &wanted),
        ];
        let mut bytes = Vec::new();
        let mut to = Encoder::new(&mut bytes);
        to.write_u8(MessageType::InformationRequest.into()).ok()?;
        to.write_slice(&xid).ok()?;
        for (code, data) in options {
            to.write_u16(code.into()).ok()?;
            to.write_u16(u16::try_from(data.len()).ok()?).ok()?;
            to.write_slice(data).ok()?;
        }
        Some(bytes)
    }

    /// §16.10: an answer of a server, to our question.
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let Some(reply) = Reply::read(bytes) else { return };
        let for_us = reply.client.is_some_and(|client| client == self.duid);
        if self.xid != Some(reply.xid) || !for_us {
            return;
        }
        self.dns = reply.dns;
        self.xid = None;
        self.began = None;
        // §21.23
        self.next = match reply.refresh {
            None => now + IRT_DEFAULT,
            Some(FOREVER) => Instant::FAR_FUTURE,
            Some(seconds) => now + Duration::from_secs(seconds.into()).max(IRT_MINIMUM),
        };
    }
}

/// What counts of a Reply.
struct Reply<'a> {
    xid: [u8; 3],
    client: Option<&'a [u8]>,
    dns: Vec<Ipv6Addr>,
    refresh: Option<u32>,
}

impl Reply<'_> {
    fn read(bytes: &[u8]) -> Option<Reply<'_>> {
        let mut rest = Decoder::new(bytes);
        if rest.read_u8().ok()? != u8::from(MessageType::Reply) {
            return None;
        }
        let mut reply = Reply { xid: rest.read().ok()?, client: None, dns: Vec::new(), refresh: None };
        let mut server = false;
        while let Ok(code) = rest.read_u16() {
            let len = rest.read_u16().ok()?;
            let data = rest.read_slice(len.into()).ok()?;
            match OptionCode::from(code) {
                OptionCode::ServerId => server = true,
                OptionCode::ClientId => reply.client = Some(data),
                OptionCode::InformationRefreshTime => reply.refresh = Decoder::new(data).read_u32().ok(),
                OptionCode::DomainNameServers => {
                    let servers = Decoder::new(data).read_ipv6s(data.len()).unwrap_or_default();
                    let hosts =
                        servers.into_iter().filter(|a| !a.is_unspecified() && !a.is_multicast() && !a.is_loopback());
                    reply.dns.extend(hosts.take(KEPT - reply.dns.len().min(KEPT)));
                }
                _ => {}
            }
        }
        server.then_some(reply)
    }
}
