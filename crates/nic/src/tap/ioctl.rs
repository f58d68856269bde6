//! The ioctls of TUN/TAP and of network interfaces that a TAP needs: tun(4)'s and netdevice(7)'s.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_short, c_ulong, ifreq};

/// Longest interface name in bytes.
pub const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// An interface's request structure with its name filled in and all else zero.
fn request(name: &str) -> io::Result<ifreq> {
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    if name.len() > NAME_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// One of the requests below, all of which read or write an ifreq.
fn ioctl(fd: BorrowedFd<'_>, code: c_ulong, request: &mut ifreq) -> io::Result<()> {
    // SAFETY: every code used in this file takes a pointer to an ifreq, which lives through the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), code, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches an open `/dev/net/tun` to the TAP `name`, with virtio-net headers.
pub fn attach(tun: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as c_short;
    ioctl(tun, libc::TUNSETIFF as c_ulong, &mut request)
}

/// Lets the kernel leave checksums and the segmentation of TCP over IPv4 to us in what it transmits.
pub fn enable_offloads(tun: BorrowedFd<'_>) -> io::Result<()> {
    let offloads = c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_TSO4);
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD as c_ulong, offloads) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether there is an interface of this name.
pub fn exists(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    match ioctl(socket, libc::SIOCGIFINDEX as c_ulong, &mut request(name)?) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The interface's MTU in bytes.
pub fn mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<i32> {
    let mut request = request(name)?;
    ioctl(socket, libc::SIOCGIFMTU as c_ulong, &mut request)?;
    // SAFETY: SIOCGIFMTU filled this member, and any bytes are an integer.
    Ok(unsafe { request.ifr_ifru.ifru_mtu })
}

/// Sets the interface's MTU in bytes.
pub fn set_mtu(socket: BorrowedFd<'_>, name: &str, mtu: u16) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_mtu = mtu.into();
    ioctl(socket, libc::SIOCSIFMTU as c_ulong, &mut request)
}

/// Whether the interface is up.
pub fn is_up(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    Ok(flags(socket, name)? & libc::IFF_UP as c_short != 0)
}

/// Brings the interface up.
pub fn bring_up(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = flags(socket, name)? | libc::IFF_UP as c_short;
    ioctl(socket, libc::SIOCSIFFLAGS as c_ulong, &mut request)
}

/// Has the kernel act at once upon what it learnt of the carrier, by asking whether there is a link.
///
/// That there is a carrier now, as this end was opened, it notes at once but acts upon later, in its work queue; until then it drops what the
/// interface is to transmit. ETHTOOL_GLINK catches up on it first (the kernel's linkwatch_sync_dev), for anybody who asks.
pub fn settle_carrier(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    /// linux/ethtool.h: struct ethtool_value
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    const ETHTOOL_GLINK: u32 = 0xa;
    let mut value = EthtoolValue { command: ETHTOOL_GLINK, data: 0 };
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut value).cast();
    // SAFETY: SIOCETHTOOL takes a pointer to an ifreq, whose data point to the ethtool_value of the command; both live through the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as c_ulong, std::ptr::from_mut(&mut request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn flags(socket: BorrowedFd<'_>, name: &str) -> io::Result<c_short> {
    let mut request = request(name)?;
    ioctl(socket, libc::SIOCGIFFLAGS as c_ulong, &mut request)?;
    // SAFETY: SIOCGIFFLAGS filled this member, and any bytes are an integer.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

/// Gives the interface an IPv4 address and its network's prefix.
pub fn set_address(socket: BorrowedFd<'_>, name: &str, address: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
    for (code, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::from_bits(mask))] {
        let mut request = request(name)?;
        // The beginning of a sockaddr_in: family (already in `sa_family`), port, address.
        let mut data = [0; 14];
        for (to, from) in data[2..6].iter_mut().zip(value.octets()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_addr = libc::sockaddr { sa_family: libc::AF_INET as u16, sa_data: data };
        ioctl(socket, code as c_ulong, &mut request)?;
    }
    Ok(())
}

/// Gives the interface an IPv6 address in addition, which the kernel probes first when the interface is up.
pub fn add_address_v6(socket: BorrowedFd<'_>, name: &str, address: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
    let mut request = request(name)?;
    ioctl(socket, libc::SIOCGIFINDEX as c_ulong, &mut request)?;
    // SAFETY: SIOCGIFINDEX filled this member, and any bytes are an integer.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    let mut request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr { s6_addr: address.octets() },
        ifr6_prefixlen: prefix_len.into(),
        ifr6_ifindex: index,
    };
    // Only IPv6 sockets take this form of the request.
    let family = rustix::net::AddressFamily::INET6;
    let socket = rustix::net::socket(family, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: on an IPv6 socket SIOCSIFADDR takes a pointer to an in6_ifreq, which lives through the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR as c_ulong, std::ptr::from_mut(&mut request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
