//! The error queue of the machine's UDP and echo sockets (IP_RECVERR, ip(7)): who said that a datagram did not arrive, and why.

use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `ee_origin`: an ICMP or ICMPv6 message (linux/errqueue.h).
const SO_EE_ORIGIN_ICMP: u8 = 2;
const SO_EE_ORIGIN_ICMP6: u8 = 3;
/// A `struct sock_extended_err`; the offender's address follows.
const EXTENDED: usize = 16;

/// An ICMP error about what a socket sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The error that a call would have returned.
    pub error: Errno,
    /// The message's type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Who sent it.
    pub offender: IpAddr,
    /// The first bytes of the datagram that it quoted: for echo, the message's header.
    pub quoted: [u8; 8],
}

/// Has a socket keep its errors; soft ones are told as well then.
pub(crate) fn keep(fd: impl AsFd, v6: bool) -> Result<(), Errno> {
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `on`.
    let result = unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const on).cast(), length) };
    if result < 0 { Err(last_error()) } else { Ok(()) }
}

/// Takes the oldest errors, of which those of ICMP come back; at most this many.
pub(crate) fn take(fd: impl AsFd, most: usize) -> Vec<Told> {
    let mut all = Vec::new();
    for _ in 0..most {
        match next(fd.as_fd()) {
            Ok(told) => all.extend(told),
            Err(_) => break,
        }
    }
    all
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The oldest error; `None` if it is not one of ICMP's. EAGAIN if there is none.
fn next(fd: BorrowedFd<'_>) -> Result<Option<Told>, Errno> {
    let mut quoted = [0u8; 8];
    // As long as two errors of IPv6 with all that goes with them, and aligned as headers are.
    let mut control = [0u64; 32];
    let mut vector = libc::iovec { iov_base: quoted.as_mut_ptr().cast(), iov_len: quoted.len() };
    // SAFETY: zeroes are a valid msghdr: null pointers and no lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: `message` points to a vector of `quoted` and to `control`, with their lengths, and these outlive the call.
    let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if result < 0 {
        return Err(last_error());
    }
    let length = message.msg_controllen.min(size_of_val(&control));
    let raw: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).take(length).collect();
    Ok(parse(&raw, quoted))
}

/// Finds the error among control messages: each a header (length, level, type) and its data, aligned to eight bytes.
fn parse(mut raw: &[u8], quoted: [u8; 8]) -> Option<Told> {
    loop {
        let (header, _) = raw.split_first_chunk::<16>()?;
        let length = usize::try_from(u64::from_ne_bytes(*header.first_chunk()?)).ok()?;
        let int = |at: usize| header.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes);
        if matches!(
            (int(8)?, int(12)?),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        ) {
            return error(raw.get(16..length)?, quoted);
        }
        raw = raw.get(length.max(16).next_multiple_of(8)..)?;
    }
}

fn error(data: &[u8], quoted: [u8; 8]) -> Option<Told> {
    let (extended, offender) = data.split_at_checked(EXTENDED)?;
    let &[a, b, c, d, origin, kind, code, ..] = extended else { return None };
    if ![SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6].contains(&origin) {
        return None;
    }
    let family = i32::from(u16::from_ne_bytes(*offender.first_chunk()?));
    let offender = match family {
        libc::AF_INET => Ipv4Addr::from(*offender.get(4..)?.first_chunk::<4>()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(*offender.get(8..)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    let number = Some(i32::from_ne_bytes([a, b, c, d])).filter(|number| (1..4096).contains(number))?;
    let error = Errno::from_raw_os_error(number);
    Some(Told { error, kind, code, offender, quoted })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_machine_tells_who_refused() {
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        keep(&socket, false).unwrap();
        assert!(take(&socket, 8).is_empty());
        socket.connect(closed).unwrap();
        socket.send(b"anybody there?").unwrap();
        let told = Told {
            error: Errno::CONNREFUSED,
            kind: 3,
            code: 3,
            offender: Ipv4Addr::LOCALHOST.into(),
            quoted: *b"anybody ",
        };
        let mut all = take(&socket, 8);
        let start = std::time::Instant::now();
        while all.is_empty() && start.elapsed().as_secs() < 10 {
            all = take(&socket, 8);
        }
        assert_eq!(all, [told]);
    }

    #[test]
    fn what_is_cut_is_no_error() {
        let mut raw = 48u64.to_ne_bytes().to_vec();
        raw.extend(libc::IPPROTO_IP.to_ne_bytes());
        raw.extend(libc::IP_RECVERR.to_ne_bytes());
        raw.extend([113, 0, 0, 0, 2, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        raw.extend((libc::AF_INET as u16).to_ne_bytes());
        raw.extend([0, 0, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let told = parse(&raw, [0; 8]).unwrap();
        assert_eq!((told.error, told.kind, told.code), (Errno::HOSTUNREACH, 11, 0));
        assert_eq!(told.offender, Ipv4Addr::new(192, 0, 2, 1));
        for length in 0..raw.len() {
            assert_eq!(parse(&raw[..length], [0; 8]), None);
        }
        for at in 0..raw.len() {
            // Whatever the bytes are.
            let mut other = raw.clone();
            other[at] ^= 0xff;
            let _ = parse(&other, [0; 8]);
        }
    }
}
