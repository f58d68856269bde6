//! Socket addresses as programs lay them out in memory.
//!
//! Formats: ip(7), ipv6(7), netlink(7), packet(7). Lengths are checked as Linux checks them: too short is EINVAL, a family that is not
//! the socket's is EAFNOSUPPORT (bind, connect) and is for the caller to judge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::io::Errno;

use crate::process::Memory;

/// The kernel's `struct sockaddr_storage`: no address is longer.
pub const LONGEST: usize = 128;

const V4_LENGTH: usize = 16;
const V6_LENGTH: usize = 28;
/// Up to Linux 2.4's sockaddr_in6, without the scope: still accepted.
const V6_SHORTEST: usize = 24;

/// The raw bytes of an address argument: EINVAL when the length is not possible, EFAULT when the memory is not.
pub fn read(memory: Memory, address: u64, length: u64) -> Result<Vec<u8>, Errno> {
    let length = length as u32 as usize;
    if length > LONGEST {
        return Err(Errno::INVAL);
    }
    let mut raw = vec![0; length];
    memory.read(address, &mut raw)?;
    Ok(raw)
}

/// The family of a raw address, or `None` when it is too short to have one.
pub fn family(raw: &[u8]) -> Option<i32> {
    raw.first_chunk::<2>().map(|b| u16::from_ne_bytes(*b) as i32)
}

/// Reads `sockaddr_in` or `sockaddr_in6`.
pub fn parse_inet(raw: &[u8]) -> Result<SocketAddr, Errno> {
    let port = || match raw.get(2..4) {
        Some(b) => Ok(u16::from_be_bytes([b[0], b[1]])),
        None => Err(Errno::INVAL),
    };
    match family(raw).ok_or(Errno::INVAL)? {
        libc::AF_INET => {
            let Some(b) = raw.get(4..8).filter(|_| raw.len() >= V4_LENGTH) else {
                return Err(Errno::INVAL);
            };
            Ok(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(b[0], b[1], b[2], b[3]), port()?)))
        }
        libc::AF_INET6 => {
            let Some(b) = raw.get(8..24).filter(|_| raw.len() >= V6_SHORTEST) else {
                return Err(Errno::INVAL);
            };
            let mut octets = [0; 16];
            octets.copy_from_slice(b);
            let word = |at: usize| raw.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            Ok(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), port()?, u32::from_be(word(4)), word(24))))
        }
        _ => Err(Errno::AFNOSUPPORT),
    }
}

/// Lays out `sockaddr_in` or `sockaddr_in6`.
pub fn emit_inet(address: SocketAddr) -> Vec<u8> {
    match address {
        SocketAddr::V4(v4) => {
            let mut raw = vec![0; V4_LENGTH];
            raw[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            raw[2..4].copy_from_slice(&v4.port().to_be_bytes());
            raw[4..8].copy_from_slice(&v4.ip().octets());
            raw
        }
        SocketAddr::V6(v6) => {
            let mut raw = vec![0; V6_LENGTH];
            raw[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            raw[2..4].copy_from_slice(&v6.port().to_be_bytes());
            raw[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            raw[8..24].copy_from_slice(&v6.ip().octets());
            raw[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            raw
        }
    }
}

/// Lays out `sockaddr_nl`.
pub fn emit_netlink(port: u32, groups: u32) -> Vec<u8> {
    let mut raw = vec![0; 12];
    raw[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
    raw[4..8].copy_from_slice(&port.to_ne_bytes());
    raw[8..12].copy_from_slice(&groups.to_ne_bytes());
    raw
}

/// The path of a `sockaddr_un`: `None` when it is abstract or unnamed.
pub fn unix_path(raw: &[u8]) -> Option<&[u8]> {
    if family(raw) != Some(libc::AF_UNIX) {
        return None;
    }
    let path = raw.get(2..)?;
    let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
    let path = path.get(..end)?;
    (!path.is_empty()).then_some(path)
}

/// Stores an address the way getsockname and recvfrom do: cut to the room there is, with the true length in `*length`.
/// A null `address` stores nothing. EINVAL for a negative length.
pub fn store(memory: Memory, raw: &[u8], address: u64, length: u64) -> Result<(), Errno> {
    if address == 0 {
        return Ok(());
    }
    let room = memory.read_u32(length)? as i32;
    let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
    memory.write(address, raw.get(..room.min(raw.len())).unwrap_or_default())?;
    memory.write_u32(length, raw.len() as u32)
}

/// An address as a socket of `v6` family shows it: IPv4 is mapped (RFC 4291 §2.5.5.2).
pub fn shown(address: SocketAddr, v6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) if v6 => {
            // The unspecified address of a dual-stack socket is `::`, not `::ffff:0.0.0.0`.
            let ip = if v4.is_unspecified() { Ipv6Addr::UNSPECIFIED } else { v4.to_ipv6_mapped() };
            SocketAddr::new(IpAddr::V6(ip), address.port())
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inet_addresses_round_trip() {
        for text in ["10.0.2.15:80", "[2001:db8::1]:443", "0.0.0.0:0", "[::ffff:10.0.0.1]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse_inet(&emit_inet(address)), Ok(address));
        }
    }

    #[test]
    fn short_or_foreign_addresses_are_errors() {
        let v4 = emit_inet("1.2.3.4:5".parse().unwrap());
        let v6 = emit_inet("[::1]:5".parse().unwrap());
        for cut in 0..v4.len() {
            assert_eq!(parse_inet(&v4[..cut]), Err(Errno::INVAL));
        }
        for cut in 0..24 {
            assert_eq!(parse_inet(&v6[..cut]), Err(Errno::INVAL));
        }
        assert!(parse_inet(&v6[..24]).is_ok());
        assert_eq!(parse_inet(&[1, 0, b'/', b'x']), Err(Errno::AFNOSUPPORT));
    }

    #[test]
    fn results_are_cut_to_the_room_and_tell_their_true_length() {
        let memory = Memory::of(std::process::id());
        let raw = emit_inet("1.2.3.4:5".parse().unwrap());
        let mut room = [0xffu8; 16];
        let mut length = 4u32;
        let (at, at_length) = (room.as_mut_ptr() as u64, &raw mut length as u64);
        store(memory, &raw, at, at_length).unwrap();
        assert_eq!((std::hint::black_box(&room)[4], std::hint::black_box(length)), (0xff, 16));
        assert_eq!(&std::hint::black_box(&room)[..4], &raw[..4]);
        length = -1i32 as u32;
        std::hint::black_box(&length);
        assert_eq!(store(memory, &raw, at, at_length), Err(Errno::INVAL));
        assert_eq!(store(memory, &raw, at, 8), Err(Errno::FAULT));
        assert_eq!(store(memory, &raw, 0, 8), Ok(()));
    }

    #[test]
    fn unix_paths_are_told_from_abstract_names() {
        assert_eq!(unix_path(b"\x01\x00/run/nscd/socket\0\0"), Some(&b"/run/nscd/socket"[..]));
        assert_eq!(unix_path(b"\x01\x00\0abstract"), None);
        assert_eq!(unix_path(b"\x01\x00"), None);
        assert_eq!(unix_path(b"\x02\x00/x"), None);
    }

    #[test]
    fn ipv4_is_mapped_for_a_v6_socket() {
        let v4: SocketAddr = "10.0.2.15:80".parse().unwrap();
        assert_eq!(shown(v4, true).to_string(), "[::ffff:10.0.2.15]:80");
        assert_eq!(shown("0.0.0.0:7".parse().unwrap(), true).to_string(), "[::]:7");
        assert_eq!(shown(v4, false), v4);
    }
}
