//! What a client does when a time has come: begins, sends again, looks whether a probed address is in use, renews, gives up.

use super::*;

impl Client {
    /// When [`poll`](Self::poll) has something to do.
    pub fn poll_at(&self) -> Option<Instant> {
        let lease = |at: fn(&Held) -> Instant| self.held.as_ref().map_or(Instant::ZERO, at);
        let at = match &self.state {
            State::Init(at) | State::Probing(at) | State::Released(at) => *at,
            State::Selecting(exchange) | State::Requesting(exchange, _) => exchange.next,
            State::Bound => lease(|held| held.renew),
            State::Renewing(exchange) => exchange.next.min(lease(|held| held.rebind)),
            State::Rebinding(exchange) => exchange.next.min(lease(|held| held.expires)),
            State::Stopped => return None,
        };
        (at < Instant::FAR_FUTURE).then_some(at)
    }

    pub(super) fn act(&mut self, now: Instant, host: &mut Host) {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Init(_) => {
                // §4.4.1 would have it wait one to ten seconds first, for the sake of many hosts that start together.
                self.began = now;
                self.state = State::Selecting(Exchange::new(now, &mut self.rng));
            }
            State::Selecting(exchange) => self.discover(now, host, exchange),
            State::Requesting(exchange, offer) => self.request(now, host, exchange, offer),
            State::Probing(_) => self.look(now, host),
            State::Bound => self.state = State::Renewing(Exchange::new(now, &mut self.rng)),
            State::Renewing(exchange) => match self.held.as_ref().map(|held| held.rebind) {
                Some(rebind) if now < rebind => self.ask_for_time(now, host, exchange, rebind),
                _ => self.state = State::Rebinding(Exchange::new(now, &mut self.rng)),
            },
            State::Rebinding(exchange) => match self.held.as_ref().map(|held| held.expires) {
                Some(expires) if now < expires => self.ask_for_time(now, host, exchange, expires),
                _ => self.expire(now, host),
            },
            State::Released(_) => self.drop_lease(now, host),
            State::Stopped => {}
        }
    }

    fn discover(&mut self, now: Instant, host: &mut Host, mut exchange: Exchange) {
        self.secs = u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX);
        self.send(now, host, &exchange, MessageType::Discover, UNSPECIFIED, BROADCAST, self.questions());
        exchange.back_off(now, &mut self.rng);
        self.state = State::Selecting(exchange);
    }

    /// §4.3.2, table 5: in SELECTING the server is named, and the address asked for as an option.
    fn request(&mut self, now: Instant, host: &mut Host, mut exchange: Exchange, offer: Lease) {
        if exchange.tries == REQUESTS {
            self.state = State::Init(now);
            return;
        }
        let named = [DhcpOption::ServerIdentifier(offer.server), DhcpOption::RequestedIpAddress(offer.ip())];
        let options = self.questions().into_iter().chain(named);
        self.send(now, host, &exchange, MessageType::Request, UNSPECIFIED, BROADCAST, options);
        exchange.back_off(now, &mut self.rng);
        self.state = State::Requesting(exchange, offer);
    }

    /// The address is in use by now, is still being probed, or is another host's.
    fn look(&mut self, now: Instant, host: &mut Host) {
        let Some(lease) = self.held.as_ref().map(|held| held.lease.clone()) else { return };
        let in_use = host.interface(self.interface).is_some_and(|at| at.addresses.contains(&lease.address));
        if in_use {
            self.refusals = 0;
            lease.configure(now, host, self.interface, self.largest);
            self.tell(ClientEvent::Bound(lease));
            self.state = State::Bound;
        } else if host.is_probing(self.interface, lease.address) {
            self.state = State::Probing(now + PROBE_LOOK);
        } else {
            self.decline(now, host, &lease);
        }
    }

    /// §3.1.5, §4.4.4
    fn decline(&mut self, now: Instant, host: &mut Host, lease: &Lease) {
        let exchange = Exchange::new(now, &mut self.rng);
        let named = [DhcpOption::ServerIdentifier(lease.server), DhcpOption::RequestedIpAddress(lease.ip())];
        self.send(now, host, &exchange, MessageType::Decline, UNSPECIFIED, BROADCAST, named);
        self.held = None;
        self.tell(ClientEvent::Conflict(lease.ip()));
        self.state = State::Init(now + DECLINE_WAIT);
    }

    /// RENEWING, by unicast to the server, until T2; REBINDING, by broadcast to any, until the end (§4.4.5). Each message is a transaction of its own.
    fn ask_for_time(&mut self, now: Instant, host: &mut Host, exchange: Exchange, until: Instant) {
        let Some(lease) = self.held.as_ref().map(|held| &held.lease) else { return };
        let (own, server) = (lease.ip(), lease.server);
        let rebinding = self.held.as_ref().is_some_and(|held| now >= held.rebind);
        let mut exchange = Exchange { xid: Exchange::new(now, &mut self.rng).xid, ..exchange };
        self.secs = 0;
        let to = if rebinding { BROADCAST } else { server };
        self.send(now, host, &exchange, MessageType::Request, own, to, self.questions());
        exchange.halve(now, until);
        self.state = if rebinding { State::Rebinding(exchange) } else { State::Renewing(exchange) };
    }

    fn expire(&mut self, now: Instant, host: &mut Host) {
        if let Some(address) = self.held.as_ref().map(|held| held.lease.ip()) {
            self.tell(ClientEvent::Expired(address));
        }
        self.drop_lease(now, host);
        self.state = State::Init(now);
    }

    /// What is to be known, and how long the answer may be. RFC 3442: the routes are asked for before the router.
    fn questions(&self) -> Vec<DhcpOption> {
        let wanted = vec![
            OptionCode::SubnetMask,
            OptionCode::ClasslessStaticRoute,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::DomainName,
            OptionCode::InterfaceMtu,
            OptionCode::AddressLeaseTime,
            OptionCode::Renewal,
            OptionCode::Rebinding,
        ];
        // §2: every client takes 576 bytes.
        vec![DhcpOption::ParameterRequestList(wanted), DhcpOption::MaxMessageSize(self.largest.max(576))]
    }

    /// Sends a message. One that cannot be sent is as one that is lost.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn send(
        &self,
        now: Instant,
        host: &mut Host,
        exchange: &Exchange,
        kind: MessageType,
        ciaddr: Ipv4Addr,
        to: Ipv4Addr,
        options: impl IntoIterator<Item = DhcpOption>,
    ) {
        let header = Header {
            is_request: true,
            xid: exchange.xid,
            secs: if matches!(kind, MessageType::Discover | MessageType::Request) { self.secs } else { 0 },
            // Table 5: there is no answer to what gives an address back; and who has one gets it there.
            broadcast: ciaddr.is_unspecified() && kind != MessageType::Decline,
            ciaddr,
            yiaddr: UNSPECIFIED,
            mac: self.mac,
        };
        // RFC 2132 §9.14: the hardware address once more, as most clients have it.
        let identifier = [&[HARDWARE_ETHERNET], &self.mac.0[..]].concat();
        let options = options.into_iter().chain([DhcpOption::ClientIdentifier(identifier)]);
        if let Some(bytes) = header.write(kind, options) {
            let source = (!ciaddr.is_unspecified()).then_some(SocketAddr::from((ciaddr, CLIENT_PORT)));
            let _ = host.send_to(now, self.socket, &bytes, Some(SocketAddr::from((to, SERVER_PORT))), source);
        }
    }
}
