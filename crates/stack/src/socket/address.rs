//! Addresses between a socket's family and the stack's.
//!
//! The stack keeps IPv4 addresses as IPv4, also for an `Inet6` socket, whose program sees them v4-mapped (RFC 4291
//! §2.5.5.2). `V6(::)` as a local address means "any, of both families" unless the socket is V6ONLY.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use wireway_wire::ipv6::multicast_scope;

use super::Domain;
use crate::net::Net;
use crate::{Error, InterfaceId, Result};

/// An address as the stack keeps it: without v4-mapping. EAFNOSUPPORT if the socket's family has no such addresses.
fn unmap(domain: Domain, address: SocketAddr) -> Result<SocketAddr> {
    match (domain, address.ip()) {
        (Domain::Inet, IpAddr::V6(_)) => Err(Error::FamilyNotSupported),
        (Domain::Inet, IpAddr::V4(_)) | (Domain::Inet6, IpAddr::V4(_)) => Ok(address),
        (Domain::Inet6, IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => Ok(SocketAddr::new(IpAddr::V4(ip), address.port())),
            None => Ok(address),
        },
    }
}

/// What a bind call asks for. `foreign` lets addresses pass that no interface has (IP_TRANSPARENT).
pub(crate) fn to_bind(
    net: &Net,
    domain: Domain,
    v6_only: bool,
    foreign: bool,
    address: SocketAddr,
) -> Result<SocketAddr> {
    let address = unmap(domain, address)?;
    match address.ip() {
        IpAddr::V4(_) if domain == Domain::Inet6 && v6_only => Err(Error::InvalidArgument),
        IpAddr::V4(ip) => {
            let foreign = foreign || net.settings.ip_nonlocal_bind;
            let fits = ip.is_unspecified() || foreign || net.is_local(ip.into()) || net.is_broadcast(ip.into());
            if fits { Ok(address) } else { Err(Error::AddressNotAvailable) }
        }
        IpAddr::V6(ip) => {
            let foreign = foreign || net.settings.ip_nonlocal_bind;
            let local = || scope(net, &address, None).is_ok_and(|device| net.is_local_at(ip.into(), device));
            let fits = ip.is_unspecified() || ip.is_multicast() || foreign || local();
            if fits { Ok(address) } else { Err(Error::AddressNotAvailable) }
        }
    }
}

/// Where a connect or send call leads. The unspecified address is the host itself, as on Linux. Whether the socket's program may name such
/// an address was asked before ([`is_nameable`]): a redirect may lead from one family to the other.
pub(crate) fn to_destination(domain: Domain, v6_only: bool, address: SocketAddr) -> Result<SocketAddr> {
    let mut address = unmap(Domain::Inet6, address)?;
    match address.ip() {
        IpAddr::V4(_) if domain == Domain::Inet6 && v6_only => return Err(Error::NetworkUnreachable),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(address)
}

/// Whether the program of a socket can name such an address: on an IPv4 socket no IPv6 one, whatever is in it. EAFNOSUPPORT.
pub(crate) fn is_nameable(domain: Domain, address: SocketAddr) -> Result<()> {
    unmap(domain, address).map(drop)
}

/// A socket that is bound to it is V6ONLY from then on, as on Linux (__inet6_bind).
pub(crate) fn is_one_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if !ip.is_unspecified())
}

/// Whether an address means something else on each link (RFC 4007 §4): link-local ones, and groups of the link.
fn is_of_link(ip: Ipv6Addr) -> bool {
    ip.is_unicast_link_local() || multicast_scope(ip) == Some(2)
}

/// The interface that a call is about which names `address`: that of its scope id (RFC 4007 §11; Linux's interface index, one more than ours), if
/// the address needs one, or the socket's device. EINVAL if the two contradict each other, or a link-local destination has neither;
/// ENODEV if there is no such interface.
pub(crate) fn scope(net: &Net, address: &SocketAddr, device: Option<InterfaceId>) -> Result<Option<InterfaceId>> {
    let SocketAddr::V6(v6) = address else { return Ok(device) };
    if !is_of_link(*v6.ip()) {
        return Ok(device);
    }
    let Some(number) = v6.scope_id().checked_sub(1) else {
        return if device.is_some() || v6.ip().is_multicast() { Ok(device) } else { Err(Error::InvalidArgument) };
    };
    let named = u16::try_from(number).map(InterfaceId).map_err(|_| Error::NoDevice)?;
    net.interface(named).ok_or(Error::NoDevice)?;
    if device.is_none_or(|device| device == named) { Ok(Some(named)) } else { Err(Error::InvalidArgument) }
}

/// An address as the program sees it: with its scope id where it needs one, of `interface`.
pub(crate) fn present(domain: Domain, address: SocketAddr, interface: Option<InterfaceId>) -> SocketAddr {
    let port = address.port();
    match (domain, address.ip()) {
        (Domain::Inet6, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), port),
        (Domain::Inet, IpAddr::V6(_)) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
        (Domain::Inet6, IpAddr::V6(ip)) if is_of_link(ip) => {
            let scope_id = interface.map_or(0, |interface| u32::from(interface.0) + 1);
            SocketAddrV6::new(ip, port, 0, scope_id).into()
        }
        _ => SocketAddr::new(address.ip(), port),
    }
}

/// The address of a socket that is not bound.
pub(crate) fn unspecified(domain: Domain) -> IpAddr {
    match domain {
        Domain::Inet => Ipv4Addr::UNSPECIFIED.into(),
        Domain::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Whether a socket bound to `bound` takes what comes for `destination`.
pub(crate) fn covers(bound: IpAddr, v6_only: bool, destination: IpAddr) -> bool {
    match (bound, destination) {
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(_)) => !v6_only,
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(_)) => true,
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(_)) => true,
        _ => bound == destination,
    }
}
