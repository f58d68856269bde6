//! The value of `--address`: an address, or where to get one.

use std::net::IpAddr;
use std::str::FromStr;

use wireway::stack::Cidr;

/// How the program's interface gets an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// It is this one.
    Static(Cidr),
    /// A DHCP server leases one (IPv4).
    Dhcp,
    /// It is made from what routers advertise (IPv6).
    Slaac,
    /// As slaac, with temporary addresses besides, which are preferred (RFC 8981).
    Temporary,
    /// It is made by the host alone, and leads to neighbours only (IPv6).
    LinkLocal,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text {
            "dhcp" => Ok(Address::Dhcp),
            "slaac" => Ok(Address::Slaac),
            "temporary" => Ok(Address::Temporary),
            "link-local" => Ok(Address::LinkLocal),
            _ => parse_cidr(text).map(Address::Static),
        }
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let usage = "give an address and a prefix length, such as 10.0.0.4/24 or fd00::4/64, or dhcp, slaac, temporary or link-local";
    let (address, len) = text.split_once('/').ok_or(usage)?;
    let address: IpAddr = address.parse().map_err(|_| usage)?;
    let prefix_len: u8 = len.parse().map_err(|_| usage)?;
    let (family, longest) = if address.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
    if !(1..=longest).contains(&prefix_len) {
        return Err(format!("the prefix length of an {family} address is 1 to {longest}"));
    }
    let of_all = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
    };
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || of_all {
        return Err(format!("{address} cannot be the address of an interface"));
    }
    let cidr = Cidr { address, prefix_len };
    // On the shortest networks every address is a host's (RFC 3021, RFC 6164).
    if prefix_len <= longest - 2 && address == cidr.network() {
        return Err(format!("{address} is the network itself: give an address in it"));
    }
    if cidr.broadcast().map(IpAddr::V4) == Some(address) {
        return Err(format!("{address} is the network's broadcast address"));
    }
    Ok(cidr)
}
