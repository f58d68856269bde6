//! `--address dhcp`: waits for a lease, tells of it, lets it configure the interface and the resolver, and renews it while the
//! program runs.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use wireway::dhcp::{Client, ClientConfig, ClientEvent, Lease};
use wireway::packet::Instant;
use wireway::stack::{Cidr, Host, InterfaceId, SocketId};

use crate::interface::Interface;
use crate::resolver::Resolver;
use crate::run::{Failure, random};

/// How long nobody may answer before the program is given up: three questions (RFC 2131 §4.1).
const PATIENCE: Duration = Duration::from_secs(15);

/// A DHCP client, and what it has to tell the rest.
pub struct Dhcp {
    client: Client,
    interface: InterfaceId,
    /// Whose answers go to programs that look names up, if the server is to say.
    dns: Option<Rc<RefCell<Resolver>>>,
    /// The first lease is waited for, until then.
    give_up_at: Option<Instant>,
    network: String,
    option: String,
}

impl Dhcp {
    /// A client of the interface, if it is to ask. `dns` is told of servers.
    pub fn new(
        asked: &Interface,
        host: &mut Host,
        now: Instant,
        interface: InterfaceId,
        dns: Option<&Rc<RefCell<Resolver>>>,
    ) -> Result<Option<Dhcp>, Failure> {
        if !asked.dhcp() {
            return Ok(None);
        }
        let mut seed = [0; 32];
        random(&mut seed)?;
        let client = Client::new(host, now, interface, ClientConfig::default(), seed)
            .map_err(|e| Failure::own(format!("{}--address dhcp: {e}", asked.option())))?;
        let (dns, network, option) = (dns.cloned(), asked.network(), asked.option());
        Ok(Some(Dhcp { client, interface, dns, give_up_at: Some(now + PATIENCE), network, option }))
    }

    /// The socket whose events are the client's.
    pub fn socket(&self) -> SocketId {
        self.client.socket()
    }

    /// Whether there was no lease yet.
    pub fn is_waiting(&self) -> bool {
        self.give_up_at.is_some()
    }

    pub fn poll_at(&self) -> Option<Instant> {
        self.client.poll_at().into_iter().chain(self.give_up_at).min()
    }

    /// Goes on, and tells what happened. The reason if the wait was in vain.
    pub fn poll(&mut self, now: Instant, host: &mut Host) -> Result<(), String> {
        self.client.poll(now, host);
        while let Some(event) = self.client.next_event() {
            match event {
                ClientEvent::Bound(lease) => {
                    self.give_up_at = None;
                    eprintln!("wireway: {}{}", self.option, describe(&lease));
                    let on_link = |router: IpAddr| {
                        let direct = lease.routes.iter().filter(|(_, by)| by.is_none()).map(|(network, _)| network);
                        direct.chain([&lease.address]).any(|network| network.contains(router))
                    };
                    if let Some(router) = lease.router().map(IpAddr::V4)
                        && !on_link(router)
                    {
                        eprintln!(
                            "wireway: {}warning: the router {router} is not on the network of {}/{}: there is no route beyond it",
                            self.option,
                            lease.ip(),
                            lease.address.prefix_len
                        );
                    }
                    if let Some(dns) = &self.dns {
                        dns.borrow_mut().lease(host, self.interface, &lease.dns);
                    }
                }
                ClientEvent::Conflict(address) => {
                    eprintln!("wireway: {address} is another host's: it was declined, and another is asked for");
                    // The client has to wait for ten seconds (RFC 2131 §3.1.5).
                    self.give_up_at = self.give_up_at.map(|_| now + 2 * PATIENCE);
                }
                ClientEvent::Refused(address, reason) => {
                    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                    eprintln!("wireway: the DHCP server refuses {address}{reason}: another address is asked for");
                }
                ClientEvent::Expired(address) => {
                    eprintln!(
                        "wireway: nobody has renewed the lease of {address}: it is no longer ours, and another is asked for"
                    );
                }
            }
        }
        match self.give_up_at {
            Some(at) if at <= now => Err(format!(
                "{}no address by DHCP: no server on {} has answered; start one there (such as dnsmasq), or say the address: --address 10.0.0.4/24",
                self.option, self.network
            )),
            _ => Ok(()),
        }
    }

    /// Gives the address back. Whether there is one.
    pub fn release(mut self, now: Instant, host: &mut Host) -> bool {
        let leased = self.client.lease().is_some();
        self.client.release(now, host);
        leased
    }
}

fn describe(lease: &Lease) -> String {
    let time = lease.duration.map_or("for ever".into(), |time| format!("for {} s", time.as_secs()));
    let what = described(lease.address, lease.router().map(IpAddr::V4), &lease.dns);
    format!("{what}; leased {time} by {}", lease.server)
}

/// An address with what came with it.
pub fn described(address: Cidr, router: Option<IpAddr>, servers: &[impl ToString]) -> String {
    let router = router.map_or("no router".into(), |router| format!("router {router}"));
    let dns = match servers {
        [] => "no DNS".into(),
        servers => format!("DNS {}", servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
    };
    format!("address {}/{}, {router}, {dns}", address.address, address.prefix_len)
}
