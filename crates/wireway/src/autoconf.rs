//! Addresses of IPv6: waits until those that were given are known to be nobody else's (RFC 4862 §5.4), and with `--address slaac` for one made
//! from what routers advertise; tells of that, and asks DHCPv6 for name servers where they say so. The stack does the rest, while the
//! program runs too.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use wireway::dhcp::Information;
use wireway::packet::Instant;
use wireway::stack::{AddressInfo, AddressState, Cidr, Host, InterfaceId, SocketId};

use crate::interface::Interface;
use crate::lease::described;
use crate::resolver::Resolver;
use crate::run::{Failure, random};

/// How long no router may advertise a prefix before the program is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long DHCPv6 may take to name a server: two questions, after which the program does without.
const DNS_PATIENCE: Duration = Duration::from_secs(3);
/// How often to look what the stack has got.
const LOOK: Duration = Duration::from_millis(20);
/// And then how often, whether routers say by now that DHCPv6 knows more.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What waits for an address, and then for news of DHCPv6.
pub struct Autoconf {
    interface: InterfaceId,
    /// The addresses that were given.
    given: Vec<IpAddr>,
    slaac: bool,
    /// A link-local address is waited for.
    link_local: bool,
    information: Option<Information>,
    seed: [u8; 32],
    /// Whose answers go to programs that look names up, if the routers are to say.
    dns: Option<Rc<RefCell<Resolver>>>,
    /// An address is waited for, until then.
    give_up_at: Option<Instant>,
    /// Since when there is one.
    address_at: Option<Instant>,
    look_at: Instant,
    network: String,
    option: String,
}

impl Autoconf {
    /// For an interface that has to wait for `given` addresses, or is to make some. `dns` is told of servers.
    pub fn new(
        asked: &Interface,
        given: &[Cidr],
        now: Instant,
        interface: InterfaceId,
        dns: Option<&Rc<RefCell<Resolver>>>,
    ) -> Result<Option<Autoconf>, Failure> {
        let given: Vec<IpAddr> = given.iter().map(|cidr| cidr.address).filter(IpAddr::is_ipv6).collect();
        if !asked.slaac() && !asked.link_local() && given.is_empty() {
            return Ok(None);
        }
        let mut seed = [0; 32];
        random(&mut seed)?;
        Ok(Some(Autoconf {
            interface,
            given,
            slaac: asked.slaac(),
            link_local: asked.link_local(),
            information: None,
            seed,
            dns: dns.cloned(),
            give_up_at: Some(now + PATIENCE),
            address_at: None,
            look_at: now,
            network: asked.network(),
            option: asked.option(),
        }))
    }

    /// Whether a socket is ours.
    pub fn has(&self, socket: SocketId) -> bool {
        self.information.as_ref().is_some_and(|information| information.socket() == socket)
    }

    /// Whether there was no address yet.
    pub fn is_waiting(&self) -> bool {
        self.give_up_at.is_some()
    }

    /// Whether to ask DHCPv6 as soon as a router says that there is something to ask for.
    fn is_curious(&self) -> bool {
        self.slaac && self.dns.is_some() && self.information.is_none()
    }

    pub fn poll_at(&self) -> Option<Instant> {
        let look = (self.is_waiting() || self.is_curious()).then_some(self.look_at);
        look.into_iter().chain(self.information.as_ref().and_then(Information::poll_at)).min()
    }

    /// Goes on. The reason if the wait was in vain.
    pub fn poll(&mut self, now: Instant, host: &mut Host) -> Result<(), String> {
        if let Some(information) = &mut self.information {
            information.poll(now, host);
            if let Some(dns) = &self.dns {
                dns.borrow_mut().inform(host, self.interface, information.dns());
            }
        }
        let Some(give_up_at) = self.give_up_at else {
            self.look_at = now + LOOK_AGAIN;
            self.ask_if_told(now, host);
            return Ok(());
        };
        self.look_at = now + LOOK;
        let all = host.addresses(self.interface);
        for given in &self.given {
            match all.iter().find(|info| info.cidr.address == *given) {
                None => {
                    return Err(format!("{}--address {given}: another host on {} has it", self.option, self.network));
                }
                Some(info) if info.state == AddressState::Tentative => return Ok(()),
                Some(_) => {}
            }
        }
        let usable = |info: &AddressInfo| info.state == AddressState::Preferred && is_link_local(info.cidr.address);
        if self.link_local && !all.iter().any(usable) {
            let others = "other hosts have each address that was tried";
            return if now < give_up_at {
                Ok(())
            } else {
                Err(format!("{}--address link-local: {others}", self.option))
            };
        }
        if !self.slaac {
            self.give_up_at = None;
            return Ok(());
        }
        let Some(address) = address(host, self.interface) else {
            return if now < give_up_at { Ok(()) } else { Err(self.in_vain()) };
        };
        let since = *self.address_at.get_or_insert(now);
        self.ask_if_told(now, host);
        let servers = self.dns.as_ref().map(|dns| dns.borrow_mut().look(host)).unwrap_or_default();
        if !servers.is_empty() || self.information.is_none() || now >= since + DNS_PATIENCE {
            self.give_up_at = None;
            eprintln!("wireway: {}{}", self.option, describe(host, self.interface, address, &servers));
        }
        Ok(())
    }

    /// Asks DHCPv6, if a router said by now that it has more to tell (RFC 4861 §4.2, the O flag).
    fn ask_if_told(&mut self, now: Instant, host: &mut Host) {
        if self.is_curious() && host.other_configuration(self.interface) {
            // Without it there is as much as without an answer.
            self.information = Information::new(host, now, self.interface, self.seed).ok();
        }
    }

    fn in_vain(&self) -> String {
        format!(
            "{}no address by SLAAC: no router on {} has advertised a prefix; start one there (such as dnsmasq --enable-ra), or say the address: --address fd00::4/64",
            self.option, self.network
        )
    }
}

/// An address beyond the link that was made from a prefix and may be used.
fn address(host: &Host, interface: InterfaceId) -> Option<Cidr> {
    let all = host.addresses(interface).into_iter();
    let made = all.filter(|info| info.state == AddressState::Preferred && info.lifetimes.is_some());
    made.map(|info| info.cidr).find(|cidr| cidr.address.is_ipv6() && !is_link_local(cidr.address))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn describe(host: &Host, interface: InterfaceId, address: Cidr, servers: &[IpAddr]) -> String {
    let routes = host.routes();
    let is_default = |route: &&wireway::stack::RouteEntry| {
        let everything = Cidr { address: Ipv6Addr::UNSPECIFIED.into(), prefix_len: 0 };
        route.interface == interface && route.destination == everything
    };
    let router = routes.iter().find(is_default).and_then(|route| route.gateway);
    format!("{}; made of what routers advertise", described(address, router, servers))
}
