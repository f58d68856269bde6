//! ioctl(2) on sockets: byte counts, and the interfaces of the host (netdevice(7)).

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_stack::Host;

use super::{Call, Outcome, Target, ioctl_change, socket_at, target};
use crate::links::{self, broadcast, mask};
use crate::process::socket_inode;
use crate::socket::Body;
use crate::world::World;
use crate::{datagram, sys};

/// `struct ifreq`: a name and 24 bytes of anything.
const IFREQ: usize = 40;
const NAME: usize = 16;

// linux/sockios.h
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const FIOGETOWN: u32 = 0x8903;
const SIOCGPGRP: u32 = 0x8904;
const SIOCATMARK: u32 = 0x8905;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCETHTOOL: u32 = 0x8946;
/// The first and last request about interfaces: the host's, whatever kind of socket asks.
const INTERFACES: std::ops::RangeInclusive<u32> = 0x890b..=0x89df;

pub(super) fn ioctl(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let request = call.argument(1) as u32;
    match target(w, call)? {
        Target::Ours(key, theirs) => {
            let value = match request {
                FIOSETOWN | SIOCSPGRP | FIOGETOWN | SIOCGPGRP => return Ok(Outcome::GoOn),
                r if r == libc::FIONREAD as u32 => {
                    let socket = socket_at(w, key)?;
                    match &socket.body {
                        Body::Listener(_) => return Err(Errno::INVAL),
                        Body::Stream(_) => {
                            let in_pair = sys::ioctl_int(&theirs, libc::FIONREAD).unwrap_or(0) as usize;
                            in_pair + socket.id.map_or(0, |id| cx.host.recv_available(id))
                        }
                        _ => datagram::next_length(socket, cx, theirs.as_fd()),
                    }
                }
                r if r == libc::TIOCOUTQ as u32 => {
                    let socket = socket_at(w, key)?;
                    let Some(id) = socket.id else { return Err(Errno::OPNOTSUPP) };
                    let in_pair = match (&socket.body, &socket.ours) {
                        (Body::Stream(s), Some(ours)) => {
                            let queued = sys::ioctl_int(ours, libc::FIONREAD).unwrap_or(0) as usize;
                            queued.saturating_sub(s.prefilled + s.write_shut as usize)
                        }
                        (Body::Listener(_), _) => return Err(Errno::INVAL),
                        _ => 0,
                    };
                    in_pair + cx.host.send_outstanding(id)
                }
                SIOCATMARK => 0,
                r if INTERFACES.contains(&r) => {
                    let family = socket_at(w, key)?.family;
                    return interface(cx, call, r, family);
                }
                _ => return Err(Errno::NOTTY),
            };
            call.memory().write_u32(call.argument(2), value.min(i32::MAX as usize) as u32)?;
            Ok(Outcome::Done(Ok(0)))
        }
        // Any socket may be used to ask about interfaces, and some programs use AF_UNIX ones.
        Target::Local if INTERFACES.contains(&request) && is_socket(w, call) => {
            interface(cx, call, request, libc::AF_INET)
        }
        Target::Local => Ok(Outcome::GoOn),
    }
}

fn is_socket(w: &mut World, call: &Call) -> bool {
    w.processes.descriptor(call.thread(), call.int(0)).is_ok_and(|end| socket_inode(end.as_fd()).is_some())
}

fn interface(cx: &mut Context<'_>, call: &Call, request: u32, family: i32) -> Result<Outcome, Errno> {
    let (memory, at) = (call.memory(), call.argument(2));
    if ioctl_change::is_one(request) {
        ioctl_change::change(cx, memory, at, request, family)?;
        return Ok(Outcome::Done(Ok(0)));
    }
    let host = &*cx.host;
    if request == SIOCGIFCONF {
        configuration(host, call)?;
        return Ok(Outcome::Done(Ok(0)));
    }
    let asked: [u8; IFREQ] = memory.read_array(at)?;
    let (name, rest) = asked.split_at(NAME);
    if request == SIOCGIFNAME {
        let index = rest.first_chunk::<4>().map_or(0, |b| u32::from_ne_bytes(*b));
        let link = links::with_index(host, index).ok_or(Errno::NODEV)?;
        memory.write(at, &padded_name(link.name))?;
        return Ok(Outcome::Done(Ok(0)));
    }
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    let link = links::named(host, name).ok_or(Errno::NODEV)?;
    let address = |pick: &dyn Fn(Ipv4Addr, u8) -> Ipv4Addr| {
        let (address, prefix) = links::v4(&link).ok_or(Errno::ADDRNOTAVAIL)?;
        Ok::<_, Errno>(inet(pick(address, prefix)).to_vec())
    };
    let int = |value: u32| Ok(value.to_ne_bytes().to_vec());
    let answer = match request {
        SIOCGIFFLAGS => Ok((links::flags(&link) as u16).to_ne_bytes().to_vec()),
        SIOCGIFADDR | SIOCGIFDSTADDR => address(&|a, _| a),
        SIOCGIFNETMASK => address(&|_, p| mask(p)),
        SIOCGIFBRDADDR if links::is_loopback(&link) => Ok(inet(Ipv4Addr::UNSPECIFIED).to_vec()),
        SIOCGIFBRDADDR => address(&broadcast),
        SIOCGIFMETRIC => int(0),
        SIOCGIFMTU => int(link.mtu),
        SIOCGIFINDEX => int(links::index(link.id)),
        SIOCGIFTXQLEN => int(links::queue(&link)),
        SIOCGIFHWADDR => {
            let kind = if links::is_loopback(&link) { libc::ARPHRD_LOOPBACK } else { libc::ARPHRD_ETHER };
            Ok([&kind.to_ne_bytes()[..], &links::mac(&link), &[0; 8]].concat())
        }
        SIOCETHTOOL => Err(Errno::OPNOTSUPP),
        _ => Err(Errno::NOTTY),
    }?;
    memory.write(at.wrapping_add(NAME as u64), &answer)?;
    Ok(Outcome::Done(Ok(0)))
}

/// SIOCGIFCONF: a length and a pointer; every interface with an IPv4 address.
fn configuration(host: &Host, call: &Call) -> Result<(), Errno> {
    let (memory, at) = (call.memory(), call.argument(2));
    let raw: [u8; 16] = memory.read_array(at)?;
    let word = |at: usize| raw.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let (room, buffer) = ((word(0) as u32 as i32).max(0) as usize, word(8));
    let all: Vec<u8> = host
        .interfaces()
        .filter_map(|link| Some((link.name, links::v4(&link)?.0)))
        .flat_map(|(name, address)| [&padded_name(name)[..], &inet(address), &[0; 8]].concat())
        .collect();
    let length = if buffer == 0 { all.len() } else { all.len().min(room / IFREQ * IFREQ) };
    if buffer != 0 {
        memory.write(buffer, all.get(..length).unwrap_or_default())?;
    }
    memory.write_u32(at, length as u32)
}

fn padded_name(name: &str) -> [u8; NAME] {
    let mut padded = [0; NAME];
    padded.iter_mut().zip(name.bytes().take(NAME - 1)).for_each(|(to, from)| *to = from);
    padded
}

fn inet(address: Ipv4Addr) -> [u8; 16] {
    let mut raw = [0; 16];
    raw[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    raw[4..8].copy_from_slice(&address.octets());
    raw
}
