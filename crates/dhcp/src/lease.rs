//! What a server leases, and putting it on a host's interface.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use wireway_packet::Instant;
use wireway_stack::{Cidr, Host, InterfaceId, RouteEntry, RouteProtocol};

use crate::message::Message;
use crate::options::{FOREVER, is_host};

/// An address for a time, and what to know of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address, with its network.
    pub address: Cidr,
    /// Who leases it: the server identifier.
    pub server: Ipv4Addr,
    /// Routers for everything else, the best first.
    pub routers: Vec<Ipv4Addr>,
    /// Networks and their routers (none: on the link). If there are some, `routers` does not count (RFC 3442).
    pub routes: Vec<(Cidr, Option<Ipv4Addr>)>,
    /// Name servers, the best first.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of the network.
    pub domain: Option<String>,
    /// Bytes of the largest packet.
    pub mtu: Option<u16>,
    /// How long it is leased; `None` for ever.
    pub duration: Option<Duration>,
    /// When to ask for more time (T1), and when to ask any server (T2), after it was asked for.
    pub renewal: Duration,
    /// See `renewal`.
    pub rebinding: Duration,
}

impl Lease {
    /// What an offer or an acknowledgement says. Nothing if it lacks what it must have (RFC 2131 §4.3.1, table 3), or the address cannot be
    /// a host's.
    pub(crate) fn read(message: &Message) -> Option<Lease> {
        let options = &message.options;
        let prefix_len = options.prefix_len().unwrap_or_else(|| class(message.yiaddr));
        let address = Cidr { address: message.yiaddr.into(), prefix_len };
        let is_network = prefix_len < 31 && address.network() == address.address;
        if !is_host(message.yiaddr) || is_network || address.broadcast() == Some(message.yiaddr) {
            return None;
        }
        let seconds = options.lease_time().filter(|&seconds| seconds > 0)?;
        let duration = (seconds != FOREVER).then(|| Duration::from_secs(seconds.into()));
        let whole = Duration::from_secs(seconds.into());
        // §4.4.5: 0.5 and 0.875 of the lease, unless the server says otherwise and that makes sense.
        let usual = (whole / 2, whole / 8 * 7);
        let said = (options.renewal().unwrap_or(usual.0), options.rebinding().unwrap_or(usual.1));
        let (renewal, rebinding) = if said.0 <= said.1 && said.1 <= whole { said } else { usual };
        Some(Lease {
            address,
            server: options.server()?,
            routers: options.routers(),
            routes: options.routes(),
            dns: options.dns(),
            domain: options.domain(),
            mtu: options.mtu(),
            duration,
            renewal,
            rebinding,
        })
    }

    /// The address alone.
    pub fn ip(&self) -> Ipv4Addr {
        match self.address.address {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// The router of the default route, if there is one.
    pub fn router(&self) -> Option<Ipv4Addr> {
        if self.routes.is_empty() {
            return self.routers.first().copied();
        }
        self.routes.iter().find(|(to, _)| to.prefix_len == 0).and_then(|&(_, by)| by)
    }

    /// Whether another lease would configure the host in the same way.
    pub(crate) fn configures_like(&self, other: &Lease) -> bool {
        let untimed = |lease: &Lease| Lease {
            duration: None,
            renewal: Duration::ZERO,
            rebinding: Duration::ZERO,
            server: Ipv4Addr::UNSPECIFIED,
            ..lease.clone()
        };
        untimed(self) == untimed(other)
    }

    fn entries(&self, interface: InterfaceId) -> Vec<RouteEntry> {
        let everything = Cidr { address: Ipv4Addr::UNSPECIFIED.into(), prefix_len: 0 };
        let default = self.routers.first().map(|&router| (everything, Some(router)));
        let routes = if self.routes.is_empty() { default.as_slice() } else { &self.routes };
        let source = Some(self.address.address);
        let entry = |&(destination, gateway): &(Cidr, Option<Ipv4Addr>)| RouteEntry {
            gateway: gateway.map(IpAddr::V4),
            source,
            protocol: RouteProtocol::DHCP,
            ..RouteEntry::new(destination, interface)
        };
        routes.iter().map(entry).collect()
    }

    /// Sets the routes and the MTU of a host whose interface has the address; the MTU only ever below `largest`.
    pub(crate) fn configure(&self, now: Instant, host: &mut Host, interface: InterfaceId, largest: u16) {
        for entry in self.entries(interface) {
            // One that is there already is as good.
            let _ = host.add_route(entry);
        }
        // RFC 8200 §5: where there is IPv6, no link carries less than 1,280.
        let has_v6 = host.addresses(interface).iter().any(|at| at.cidr.address.is_ipv6());
        let mtu = self.mtu.unwrap_or(largest).max(if has_v6 { 1280 } else { 0 });
        // Neither below what the stack takes, nor without an interface.
        let _ = host.set_mtu(now, interface, mtu.min(largest).into());
    }

    /// Configures a host by `new` where this one did: what both say stays as it is.
    pub(crate) fn replace(&self, now: Instant, host: &mut Host, interface: InterfaceId, largest: u16, new: &Lease) {
        for entry in self.entries(interface) {
            let _ = host.remove_route(&entry);
        }
        if self.address != new.address {
            let _ = host.remove_address(interface, self.address);
            // With another prefix, but known to be ours: not probed again.
            let _ = host.add_address(now, interface, new.address, false);
        }
        new.configure(now, host, interface, largest);
    }

    /// Takes the address and all that came with it from the host.
    pub(crate) fn remove(&self, now: Instant, host: &mut Host, interface: InterfaceId, largest: u16) {
        for entry in self.entries(interface) {
            let _ = host.remove_route(&entry);
        }
        let _ = host.set_mtu(now, interface, largest.into());
        // It may have been given up before.
        let _ = host.remove_address(interface, self.address);
    }
}

/// The prefix of an address without a mask (RFC 950, RFC 791 §3.2): classes A, B, C.
fn class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, MessageType};
    use wireway_wire::MacAddr;

    use super::*;
    use crate::message::Header;

    fn lease(address: [u8; 4], options: &[DhcpOption]) -> Option<Lease> {
        let header = Header {
            is_request: false,
            xid: 1,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: address.into(),
            mac: MacAddr::ZERO,
        };
        let server = DhcpOption::ServerIdentifier([10, 0, 0, 1].into());
        let options = [server].into_iter().chain(options.iter().cloned());
        Lease::read(&Message::parse(&header.write(MessageType::Ack, options)?)?)
    }

    #[test]
    fn times() {
        let times = |options: &[DhcpOption]| {
            let lease = lease([10, 0, 0, 9], options)?;
            Some((lease.duration.map(|d| d.as_secs()), lease.renewal.as_secs(), lease.rebinding.as_secs()))
        };
        use DhcpOption::{AddressLeaseTime as Whole, Rebinding as T2, Renewal as T1};
        assert_eq!(times(&[Whole(80)]), Some((Some(80), 40, 70)));
        assert_eq!(times(&[Whole(80), T1(10), T2(20)]), Some((Some(80), 10, 20)));
        assert_eq!(times(&[Whole(80), T1(30), T2(20)]), Some((Some(80), 40, 70)), "T1 after T2");
        assert_eq!(times(&[Whole(80), T2(81)]), Some((Some(80), 40, 70)), "T2 after the end");
        assert_eq!(times(&[Whole(FOREVER)]).map(|t| t.0), Some(None));
        assert_eq!(times(&[Whole(0)]), None);
        assert_eq!(times(&[]), None, "a lease without a time");
    }

    #[test]
    fn addresses_that_can_be_a_hosts() {
        let mask = |bits: u32| DhcpOption::SubnetMask(Ipv4Addr::from_bits(bits));
        let time = DhcpOption::AddressLeaseTime(80);
        let prefix = |address, options: &[DhcpOption]| Some(lease(address, options)?.address.prefix_len);
        assert_eq!(prefix([10, 0, 0, 9], &[time.clone(), mask(!255)]), Some(24));
        assert_eq!(prefix([10, 0, 0, 9], std::slice::from_ref(&time)), Some(8), "class A");
        assert_eq!(prefix([10, 0, 0, 9], &[time.clone(), mask(u32::MAX)]), Some(32));
        for bad in [[0, 0, 0, 0], [10, 0, 0, 0], [10, 0, 0, 255], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert_eq!(prefix(bad, &[time.clone(), mask(!255)]), None, "{bad:?}");
        }
    }
}
