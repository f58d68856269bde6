//! rtnetlink(7): what a program asks of the host's links, addresses, routes and neighbours, and what it changes of them (RFC 3549).
//!
//! The host is the program's own, as its network namespace would be, and whoever runs in it may change it, as root of that namespace would. A datagram of
//! requests goes in, datagrams of answers come out, and nothing is kept in between. What the host has not (other tables, other kinds of links …) is
//! refused with the kernel's errno where the kernel could refuse it too, else with EOPNOTSUPP and a text.
//!
//! `request.rs` reads, `reply.rs` writes, and each kind of object has a file with what is told of it and what may be changed.

mod address;
mod link;
pub(crate) mod link_change;
mod lookup;
mod message;
mod neighbour;
mod notice;
mod reply;
mod request;
mod route;

use std::net::IpAddr;

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use wireway_packet::Instant;
use wireway_stack::Host;

pub(crate) use message::Message;
pub use notice::Watch;
use request::Request;

/// The least number of a message that is not netlink's own.
const NLMSG_MIN_TYPE: u16 = 16;
const RTM_BASE: u16 = libc::RTM_NEWLINK;

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// Its netlink port.
    pub port: u32,
    /// Its user, of whom routes tell (RTA_UID).
    pub user: u32,
    /// It wants texts with errors (NETLINK_EXT_ACK).
    pub extended: bool,
    /// It wants its requests not quoted in errors (NETLINK_CAP_ACK).
    pub cap_ack: bool,
}

/// An error as an answer: its number, and what `ip` shows of it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub errno: Errno,
    text: Option<&'static str>,
}

impl Refusal {
    fn new(errno: Errno, text: &'static str) -> Refusal {
        Refusal { errno, text: Some(text) }
    }

    /// For what Linux can and this host cannot.
    fn unsupported(text: &'static str) -> Refusal {
        Refusal::new(Errno::OPNOTSUPP, text)
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal { errno, text: None }
    }
}

impl From<wireway_stack::Error> for Refusal {
    fn from(error: wireway_stack::Error) -> Refusal {
        Refusal::from(Errno::from_raw_os_error(error.errno()))
    }
}

/// Carries out the requests of a datagram and returns the datagrams that answer them. What does not even look like a message ends it silently, as in the
/// kernel.
pub fn answer(host: &mut Host, now: Instant, caller: Caller, datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut rest = datagram;
    while let Some((request, after)) = Request::read(rest) {
        rest = after;
        let concerns_us = request.has(libc::NLM_F_REQUEST) && request.kind >= NLMSG_MIN_TYPE;
        let dump = concerns_us && request.has(libc::NLM_F_DUMP) && is_get(request.kind);
        let result = match concerns_us {
            true if dump => {
                self::dump(host, now, &request).map(|all| answers.extend(reply::dump(&request, caller, all)))
            }
            true => carry_out(host, now, caller, &request).map(|told| {
                answers.extend(told.map(|message| reply::single(message, 0, request.sequence, caller.port)));
            }),
            false => Ok(()),
        };
        if result.is_err() || (request.has(libc::NLM_F_ACK) && !dump) {
            answers.push(reply::acknowledge(&request, caller, result));
        }
    }
    answers
}

/// Carries out a request of our own.
pub(crate) fn change(host: &mut Host, now: Instant, message: &Message) -> Result<(), Errno> {
    let Message { kind, flags, ref body } = *message;
    let request = Request { raw: &[], kind, flags, sequence: 0, body };
    carry_out(host, now, Caller::default(), &request).map(drop).map_err(|refusal| refusal.errno)
}

/// Requests come in fours: new, delete, get, set.
fn is_get(kind: u16) -> bool {
    kind.wrapping_sub(RTM_BASE) % 4 == 2
}

fn dump(host: &mut Host, now: Instant, request: &Request<'_>) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
    Ok(match request.kind {
        libc::RTM_GETLINK => link::all(host),
        libc::RTM_GETADDR => address::all(host, now, request.family()),
        libc::RTM_GETROUTE => route::all(host, request.family()),
        libc::RTM_GETNEIGH => neighbour::all(host, request.family()),
        libc::RTM_GETRULE => Vec::new(),
        _ => return Err(Errno::OPNOTSUPP.into()),
    })
}

/// A request about one thing: what is told of it, if it was a question.
fn carry_out(
    host: &mut Host,
    now: Instant,
    caller: Caller,
    request: &Request<'_>,
) -> Result<Option<RouteNetlinkMessage>, Refusal> {
    match request.kind {
        libc::RTM_NEWLINK | libc::RTM_SETLINK => link_change::set(host, now, request)?,
        libc::RTM_DELLINK => link_change::delete(host, now, request)?,
        libc::RTM_GETLINK => return link::one(host, request).map(Some),
        libc::RTM_NEWADDR => address::add(host, now, request)?,
        libc::RTM_DELADDR => address::delete(host, now, request)?,
        libc::RTM_NEWROUTE => route::add(host, now, request)?,
        libc::RTM_DELROUTE => route::delete(host, now, request)?,
        libc::RTM_GETROUTE => return lookup::one(host, caller, request).map(Some),
        libc::RTM_NEWNEIGH => neighbour::add(host, now, request)?,
        libc::RTM_DELNEIGH => neighbour::delete(host, now, request)?,
        libc::RTM_GETNEIGH => return neighbour::one(host, request).map(Some),
        _ => return Err(Errno::OPNOTSUPP.into()),
    }
    Ok(None)
}

/// Whether a message about `address` is wanted by a dump for `family` (0: all).
fn is_of(family: u8, address: IpAddr) -> bool {
    family == libc::AF_UNSPEC as u8 || i32::from(family) == self::family(address)
}

fn family(address: IpAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn address_family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
