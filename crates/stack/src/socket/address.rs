//! Addresses between a socket's family and the stack's.
//!
//! The stack keeps IPv4 addresses as IPv4, also for an `Inet6` socket, whose program sees them v4-mapped (RFC 4291
//! §2.5.5.2). `V6(::)` as a local address means "any, of both families" unless the socket is V6ONLY.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Domain;
use crate::net::Net;
use crate::{Error, Result};

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
        IpAddr::V6(Ipv6Addr::UNSPECIFIED | Ipv6Addr::LOCALHOST) => Ok(address),
        IpAddr::V6(_) => Err(Error::AddressNotAvailable),
    }
}

/// Where a connect or send call leads. The unspecified address is the host itself, as on Linux. IPv6 destinations are
/// ENETUNREACH.
pub(crate) fn to_destination(domain: Domain, v6_only: bool, address: SocketAddr) -> Result<SocketAddr> {
    let mut address = unmap(domain, address)?;
    match address.ip() {
        IpAddr::V6(_) => return Err(Error::NetworkUnreachable),
        IpAddr::V4(_) if domain == Domain::Inet6 && v6_only => return Err(Error::NetworkUnreachable),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V4(_) => {}
    }
    Ok(address)
}

/// An address as the program sees it.
pub(crate) fn present(domain: Domain, address: SocketAddr) -> SocketAddr {
    match (domain, address.ip()) {
        (Domain::Inet6, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        (Domain::Inet, IpAddr::V6(_)) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()),
        _ => address,
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
