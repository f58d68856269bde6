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

/// Bytes of answers to one datagram after which no more dumps are begun: small as a request for one is, a datagram has room for thousands.
const DUMPS: usize = 1 << 20;

/// Carries out the requests of a datagram and returns the datagrams that answer them. What does not even look like a message ends it silently, as in the
/// kernel.
pub fn answer(host: &mut Host, now: Instant, caller: Caller, datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut rest = datagram;
    while let Some((request, after)) = Request::read(rest) {
        rest = after;
        let concerns_us = request.has(libc::NLM_F_REQUEST) && request.kind >= NLMSG_MIN_TYPE;
        // As in the kernel, either of its two bits will do.
        let dump = concerns_us && i32::from(request.flags) & libc::NLM_F_DUMP != 0 && is_get(request.kind);
        let result = match concerns_us {
            true if dump && answers.iter().map(Vec::len).sum::<usize>() > DUMPS => Err(Errno::BUSY.into()),
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::address::AddressAttribute;
    use wireway_stack::{Cidr, InterfaceConfig, Settings};
    use wireway_wire::MacAddr;

    use super::*;

    const CALLER: Caller = Caller { port: 77, user: 0, extended: true, cap_ack: false };
    const ACK: u16 = libc::NLM_F_ACK as u16;

    fn host() -> Host {
        let mut host = Host::new(Settings::default(), [1; 32]);
        let mut config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, 1]), 1500);
        config.addresses.push(Cidr { address: Ipv4Addr::new(10, 0, 0, 1).into(), prefix_len: 24 });
        host.add_interface(Instant::ZERO, config).unwrap();
        host
    }

    fn datagram(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut request = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend_from_slice(&5u32.to_ne_bytes());
        request.extend_from_slice(&0u32.to_ne_bytes());
        request.extend_from_slice(body);
        request
    }

    fn ask(host: &mut Host, kind: u16, flags: u16, body: &[u8]) -> Vec<Vec<u8>> {
        answer(host, Instant::ZERO, CALLER, &datagram(kind, flags, body))
    }

    fn error(answers: &[Vec<u8>]) -> i32 {
        assert_eq!((answers.len(), answers[0][4]), (1, 2), "one acknowledgement");
        i32::from_ne_bytes(answers[0][16..20].try_into().unwrap())
    }

    #[test]
    fn addresses_are_dumped_and_the_dump_ends() {
        let answers = ask(&mut host(), libc::RTM_GETADDR, 0x300, &[libc::AF_INET as u8, 0, 0, 0]);
        assert_eq!(answers.len(), 2);
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answers[0]).unwrap();
        assert_eq!((message.header.sequence_number, message.header.port_number), (5, 77));
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(a)) => {
                assert!(a.attributes.contains(&AddressAttribute::Local(IpAddr::V4(Ipv4Addr::LOCALHOST))));
                assert_eq!((a.header.prefix_len, a.header.index), (8, 1));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(u16::from_ne_bytes([answers[1][4], answers[1][5]]), 3, "NLMSG_DONE");
    }

    #[test]
    fn either_bit_asks_for_a_dump() {
        for flags in [libc::NLM_F_ROOT, libc::NLM_F_MATCH] {
            assert_eq!(ask(&mut host(), libc::RTM_GETLINK, flags as u16, &[0]).len(), 2);
        }
    }

    #[test]
    fn a_datagram_full_of_dumps_is_not_answered_without_bounds() {
        let mut host = host();
        for n in 0..1000 {
            let address = IpAddr::V4(Ipv4Addr::from_bits((11 << 24) + n));
            change(&mut host, Instant::ZERO, &Message::address(libc::RTM_NEWADDR, 2, address, 32)).unwrap();
        }
        let many = datagram(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16, &[]).repeat(500);
        let answers = answer(&mut host, Instant::ZERO, CALLER, &many);
        assert!(answers.iter().map(Vec::len).sum::<usize>() < 2 * DUMPS);
        assert_eq!(error(&answers[answers.len() - 1..]), -libc::EBUSY);
    }

    #[test]
    fn errors_quote_the_request_and_say_why() {
        let mut host = host();
        let message = Message::address(libc::RTM_NEWADDR, 2, Ipv4Addr::new(10, 0, 0, 1).into(), 24);
        let answers = ask(&mut host, message.kind, message.flags, &message.body);
        assert_eq!(error(&answers), -libc::EEXIST);
        let text = b"ipv4: Address already assigned\0";
        assert!(answers[0].windows(text.len()).any(|part| part == text));
        assert_eq!(answers[0][20..36], datagram(message.kind, message.flags, &message.body)[..16]);
        let unknown = Message::link(libc::RTM_SETLINK, 9, 0, 0);
        assert_eq!(error(&ask(&mut host, unknown.kind, ACK, &unknown.body)), -libc::ENODEV);
        assert_eq!(error(&ask(&mut host, libc::RTM_GETNEIGHTBL, 0x300, &[0; 4])), -libc::EOPNOTSUPP);
    }

    #[test]
    fn what_is_added_is_there_until_it_is_removed() {
        let mut host = host();
        let address = |kind| Message::address(kind, 2, Ipv4Addr::new(10, 1, 0, 1).into(), 16);
        for (kind, count) in [(libc::RTM_NEWADDR, 2), (libc::RTM_DELADDR, 1)] {
            let message = address(kind);
            assert_eq!(error(&ask(&mut host, kind, message.flags | ACK, &message.body)), 0);
            assert_eq!(host.routes().len(), count, "with its network");
        }
        let again = address(libc::RTM_DELADDR);
        assert_eq!(change(&mut host, Instant::ZERO, &again), Err(Errno::ADDRNOTAVAIL));
    }

    #[test]
    fn listeners_are_told_what_went_and_what_came() {
        let mut host = host();
        let mut watch = Watch::new(&host, Instant::ZERO);
        let address = |kind| Message::address(kind, 2, Ipv4Addr::new(10, 1, 0, 1).into(), 16);
        change(&mut host, Instant::ZERO, &address(libc::RTM_NEWADDR)).unwrap();
        let kinds = |watch: &mut Watch, host: &Host| {
            let mut all: Vec<_> = watch.changes(host, Instant::ZERO).iter().map(|(g, n)| (*g, n[4])).collect();
            all.sort();
            all
        };
        assert_eq!(kinds(&mut watch, &host), [(0x10, 20), (0x40, 24)], "RTM_NEWADDR and RTM_NEWROUTE");
        assert_eq!(kinds(&mut watch, &host), []);
        change(&mut host, Instant::ZERO, &address(libc::RTM_DELADDR)).unwrap();
        assert_eq!(kinds(&mut watch, &host), [(0x10, 21), (0x40, 25)], "RTM_DELADDR and RTM_DELROUTE");
    }

    /// Every request of this file cut at every length, with every byte another, and with lengths that lie: an answer or none, but no panic.
    #[test]
    fn hostile_requests_are_answered_or_ignored() {
        let v6 = "fd00::9".parse::<std::net::Ipv6Addr>().unwrap().into();
        let v4 = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
        let vlan = [&[16, 0, 18, 0, 8, 0, 1, 0][..], b"vlan", &[4, 0, 2, 0]].concat();
        let mut link = Message::link(libc::RTM_NEWLINK, 0, 0, 0).attribute(5, &2u32.to_ne_bytes());
        link.body.extend_from_slice(&vlan);
        let requests = [
            link,
            Message::link(libc::RTM_SETLINK, 2, 1, 1).attribute(4, &1400u32.to_ne_bytes()),
            Message::link(libc::RTM_GETLINK, 2, 0, 0),
            Message::address(libc::RTM_NEWADDR, 2, v6, 64).attribute(6, &[0; 16]),
            Message::address(libc::RTM_DELADDR, 2, v4, 24),
            Message::route(true, v6, 64).attribute(libc::RTA_OIF, &2u32.to_ne_bytes()).mtu(1300),
            Message::route(false, v4, 24),
            Message { kind: libc::RTM_GETROUTE, ..Message::route(true, v4, 32) },
            Message::neighbour(libc::RTM_NEWNEIGH, 2, v4).attribute(2, &[2, 0, 0, 0, 0, 9]),
        ];
        let mut host = host();
        for message in requests {
            let whole = datagram(message.kind, message.flags, &message.body);
            for cut in 0..whole.len() {
                let mut cut_off = whole[..cut].to_vec();
                answer(&mut host, Instant::ZERO, CALLER, &cut_off);
                if let Some(length) = cut_off.get_mut(..4) {
                    length.copy_from_slice(&(cut as u32).to_ne_bytes());
                }
                answer(&mut host, Instant::ZERO, CALLER, &cut_off);
                for value in [0u8, 1, 0x7f, 0x80, 0xff] {
                    let mut other = whole.clone();
                    other[cut] = value;
                    answer(&mut host, Instant::ZERO, CALLER, &other);
                }
            }
        }
        assert!(answer(&mut host, Instant::ZERO, CALLER, &[0; 4096]).is_empty(), "a length of 0 is no message");
    }

    #[test]
    fn tables_are_bounded() {
        let mut host = host();
        let fill = |host: &mut Host, make: &dyn Fn(u32) -> Message| {
            (0..20_000).find_map(|n| change(host, Instant::ZERO, &make(n)).err().map(|error| (n, error)))
        };
        let ip = |first: u32, n: u32| IpAddr::V4(Ipv4Addr::from_bits((first << 24) + n));
        let (count, error) = fill(&mut host, &|n| Message::address(libc::RTM_NEWADDR, 2, ip(11, n), 32)).unwrap();
        assert_eq!((count, error), (1023, Errno::NOBUFS));
        let route = |n| Message::route(true, ip(12, n), 32).attribute(libc::RTA_OIF, &2u32.to_ne_bytes());
        let (count, error) = fill(&mut host, &route).unwrap();
        assert!(count > 16_000 && error == Errno::NOBUFS, "{count} {error}");
    }
}
