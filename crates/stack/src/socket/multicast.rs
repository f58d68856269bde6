//! Multicast of datagram sockets: the groups that one joined, from whom it wants their packets, and how it sends to groups (RFC 1112 §6,
//! RFC 3493 §5.2, RFC 3678). Which error is which goes by Linux's igmp.c and mcast.c.

use core::net::{IpAddr, Ipv4Addr};

use wireway_packet::Instant;

use super::{Domain, SocketOption};
use crate::net::Net;
use crate::net::group::{Filter, FilterMode};
use crate::{Error, InterfaceId, Result, Settings};

/// Groups of IPv6 that a socket may join (on Linux they are bounded by the memory of a socket's options).
const MAX_V6_MEMBERSHIPS: usize = 2048;

/// A group to join or to leave, as a socket option names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: IpAddr,
    /// On which interface; if `None`, on that by which packets to the group would leave.
    pub interface: Option<InterfaceId>,
    /// For packets of this source alone (RFC 3678 §4.1.2), or for those of all others.
    pub source: Option<IpAddr>,
}

/// How a socket deals with groups of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulticastOptions {
    /// IP_MULTICAST_IF, IPV6_MULTICAST_IF: by which interface to send.
    pub interface: Option<InterfaceId>,
    /// IP_MULTICAST_IF: from which address, if the socket is bound to none.
    pub source: Option<Ipv4Addr>,
    /// IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS
    pub hops: u8,
    /// IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP: the host's own listeners get what is sent, too.
    pub loops: bool,
    /// IP_MULTICAST_ALL, IPV6_MULTICAST_ALL: receive what comes for groups that others on this host joined.
    pub all: bool,
}

impl Default for MulticastOptions {
    /// As Linux has it; RFC 1112 §6.1 and RFC 3493 §5.2.
    fn default() -> MulticastOptions {
        MulticastOptions { interface: None, source: None, hops: 1, loops: true, all: true }
    }
}

/// A group that the socket joined.
struct Joined {
    group: IpAddr,
    interface: InterfaceId,
    filter: Filter,
    /// The program named sources: from then on only more of the same mode may follow.
    listed: bool,
}

/// The groups of a socket.
#[derive(Default)]
pub(crate) struct Multicast {
    v4: MulticastOptions,
    v6: MulticastOptions,
    joined: Vec<Joined>,
}

/// The interface that a call means. ENODEV.
fn interface_of(net: &Net, group: IpAddr, named: Option<InterfaceId>) -> Result<InterfaceId> {
    let found = match named {
        Some(id) => net.interface(id).map(|at| at.id),
        None => net.interface_towards(group),
    };
    found.ok_or(Error::NoDevice)
}

fn max_sources(settings: &Settings, group: IpAddr) -> usize {
    if group.is_ipv6() { settings.mld_max_msf } else { settings.igmp_max_msf }
}

impl Multicast {
    pub fn options(&self, v6: bool) -> &MulticastOptions {
        if v6 { &self.v6 } else { &self.v4 }
    }

    fn options_mut(&mut self, domain: Domain) -> &mut MulticastOptions {
        if domain == Domain::Inet6 { &mut self.v6 } else { &mut self.v4 }
    }

    /// Whether the socket wants what `source` sent to a group and came in by `interface`.
    pub fn takes(&self, interface: InterfaceId, group: IpAddr, source: IpAddr) -> bool {
        match self.position(group, Some(interface)).and_then(|at| self.joined.get(at)) {
            Some(joined) => joined.filter.passes(source),
            None => self.options(group.is_ipv6()).all,
        }
    }

    /// Where in the list a group is, on any interface if none is named.
    fn position(&self, group: IpAddr, interface: Option<InterfaceId>) -> Option<usize> {
        self.joined.iter().position(|at| at.group == group && interface.is_none_or(|named| named == at.interface))
    }

    /// Sets an option of multicast; `device` is the one that the socket is bound to.
    pub fn set(
        &mut self,
        net: &mut Net,
        now: Instant,
        device: Option<InterfaceId>,
        option: SocketOption,
    ) -> Result<()> {
        match option {
            SocketOption::MulticastInterface(domain, interface) => {
                let none = if domain == Domain::Inet { Error::AddressNotAvailable } else { Error::NoDevice };
                if let Some(id) = interface {
                    net.interface(id).ok_or(none)?;
                    if device.is_some_and(|device| device != id) {
                        return Err(Error::InvalidArgument);
                    }
                }
                let options = self.options_mut(domain);
                (options.interface, options.source) = (interface, None);
            }
            SocketOption::MulticastSource(source) => self.v4.source = source,
            SocketOption::MulticastHops(domain, hops) => self.options_mut(domain).hops = hops,
            SocketOption::MulticastLoop(domain, on) => self.options_mut(domain).loops = on,
            SocketOption::MulticastAll(domain, on) => self.options_mut(domain).all = on,
            SocketOption::JoinGroup(wanted) => return self.join(net, now, wanted),
            SocketOption::LeaveGroup(left) => return self.leave(net, now, left),
            SocketOption::BlockSource(source) => return self.change(net, now, source, FilterMode::Exclude, true),
            SocketOption::UnblockSource(source) => return self.change(net, now, source, FilterMode::Exclude, false),
            _ => return Err(Error::NoProtocolOption),
        }
        Ok(())
    }

    fn join(&mut self, net: &mut Net, now: Instant, wanted: Membership) -> Result<()> {
        let Membership { group, interface, source } = wanted;
        if !group.is_multicast() || source.is_some_and(|source| source.is_ipv4() != group.is_ipv4()) {
            return Err(Error::InvalidArgument);
        }
        let anywhere = group.is_ipv6() && interface.is_none() && self.position(group, None).is_some();
        if anywhere && source.is_none() {
            return Err(Error::AddressInUse);
        }
        let id = if anywhere { None } else { Some(interface_of(net, group, interface)?) };
        if self.position(group, id).is_some() {
            return match source {
                None => Err(Error::AddressInUse),
                Some(_) => self.change(net, now, wanted, FilterMode::Include, true),
            };
        }
        let Some(interface) = id else { return Err(Error::NoDevice) };
        let same_family = self.joined.iter().filter(|at| at.group.is_ipv4() == group.is_ipv4()).count();
        let most = if group.is_ipv4() { net.settings.igmp_max_memberships } else { MAX_V6_MEMBERSHIPS };
        if same_family >= most {
            return Err(Error::NoBuffers);
        }
        let filter = match source {
            None => Filter::ANY,
            Some(source) => Filter { mode: FilterMode::Include, sources: vec![source] },
        };
        net.change_filter(now, interface, group, None, Some(&filter));
        self.joined.push(Joined { group, interface, filter, listed: source.is_some() });
        Ok(())
    }

    fn leave(&mut self, net: &mut Net, now: Instant, left: Membership) -> Result<()> {
        if left.source.is_some() {
            return self.change(net, now, left, FilterMode::Include, false);
        }
        if left.group.is_ipv6() && !left.group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        let interface = match left.interface {
            None if left.group.is_ipv4() => Some(interface_of(net, left.group, None)?),
            named => named,
        };
        let at = self.position(left.group, interface).ok_or(Error::AddressNotAvailable)?;
        let gone = self.joined.remove(at);
        net.change_filter(now, gone.interface, gone.group, Some(&gone.filter), None);
        Ok(())
    }

    /// Adds a source to a filter of this mode, or takes it out (RFC 3678 §4.1).
    fn change(&mut self, net: &mut Net, now: Instant, wanted: Membership, mode: FilterMode, add: bool) -> Result<()> {
        let Membership { group, interface, source } = wanted;
        let Some(source) = source.filter(|_| group.is_multicast()) else { return Err(Error::InvalidArgument) };
        let id = interface_of(net, group, interface)?;
        let id = if group.is_ipv6() { interface } else { Some(id) };
        let at = self.position(group, id).ok_or(Error::InvalidArgument)?;
        let joined = self.joined.get_mut(at).ok_or(Error::InvalidArgument)?;
        if joined.filter.mode != mode && joined.listed {
            return Err(Error::InvalidArgument);
        }
        // Before any source was named, the mode follows what is asked for, even if that then fails.
        let mut filter = match joined.filter.mode == mode {
            true => joined.filter.clone(),
            false => Filter { mode, sources: Vec::new() },
        };
        let place = filter.sources.iter().position(|&listed| listed == source);
        let result = match (add, place) {
            (true, _) if filter.sources.len() >= max_sources(&net.settings, group) => Err(Error::NoBuffers),
            (true, None) => {
                filter.sources.push(source);
                joined.listed = true;
                Ok(())
            }
            (true, Some(_)) | (false, None) => Err(Error::AddressNotAvailable),
            (false, Some(place)) => {
                filter.sources.remove(place);
                if filter.is_nothing() {
                    let (group, interface) = (joined.group, Some(joined.interface));
                    return self.leave(net, now, Membership { group, interface, source: None });
                }
                Ok(())
            }
        };
        joined.replace(net, now, filter);
        result
    }

    /// Sets a group's filter as a whole (RFC 3678 §4.2). To include nobody is to leave.
    pub fn set_filter(
        &mut self,
        net: &mut Net,
        now: Instant,
        group: IpAddr,
        interface: Option<InterfaceId>,
        filter: Filter,
    ) -> Result<()> {
        let alien = filter.sources.iter().any(|source| source.is_ipv4() != group.is_ipv4());
        if !group.is_multicast() || alien {
            return Err(Error::InvalidArgument);
        }
        if filter.sources.len() > max_sources(&net.settings, group) {
            return Err(Error::NoBuffers);
        }
        let id = interface_of(net, group, interface)?;
        if filter.is_nothing() {
            return self.leave(net, now, Membership { group, interface, source: None });
        }
        let id = Some(id).filter(|_| group.is_ipv4() || interface.is_some()).ok_or(Error::InvalidArgument)?;
        let at = self.position(group, Some(id)).ok_or(Error::InvalidArgument)?;
        let joined = self.joined.get_mut(at).ok_or(Error::InvalidArgument)?;
        joined.listed = !filter.sources.is_empty();
        joined.replace(net, now, filter);
        Ok(())
    }

    /// A group's filter. EADDRNOTAVAIL if it was not joined.
    pub fn filter(&self, net: &Net, group: IpAddr, interface: Option<InterfaceId>) -> Result<Filter> {
        if !group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        let id = interface_of(net, group, interface)?;
        let at = self.position(group, Some(id)).and_then(|at| self.joined.get(at));
        at.map(|joined| joined.filter.clone()).ok_or(Error::AddressNotAvailable)
    }

    /// Leaves all groups.
    pub fn leave_all(&mut self, net: &mut Net, now: Instant) {
        for gone in self.joined.drain(..) {
            net.change_filter(now, gone.interface, gone.group, Some(&gone.filter), None);
        }
    }
}

impl Joined {
    fn replace(&mut self, net: &mut Net, now: Instant, filter: Filter) {
        let old = core::mem::replace(&mut self.filter, filter);
        net.change_filter(now, self.interface, self.group, Some(&old), Some(&self.filter));
    }
}
