//! NETLINK_ROUTE: what programs ask of interfaces, addresses and routes (RFC 3549, rtnetlink(7)).
//!
//! Requests to change anything are refused: a host's interfaces are made on the command line.

mod answers;

use std::collections::VecDeque;
use std::os::fd::AsFd;

use netlink_packet_core::{NLM_F_MULTIPART, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::io::Errno;
use wireway_engine::Context;
use wireway_stack::{Host, InterfaceInfo};

use crate::datagram::{self, Inbox, Letter, Received};
use crate::socket::{Body, Key, Socket};
use crate::{links, sockaddr};

/// A dump is cut into datagrams of about this size, as the kernel's are.
const DATAGRAM: usize = 3_500;
/// Answers that wait for the program, at most.
const ANSWERS: usize = 4_096;

const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFLA_IFNAME: u16 = 3;
const IFLA_ALT_IFNAME: u16 = 53;

/// A netlink socket.
pub(crate) struct Netlink {
    port: u32,
    groups: u32,
    pub inbox: Inbox,
    pub answers: VecDeque<Letter>,
}

impl Netlink {
    /// `port` is the number the kernel would give it.
    pub(crate) fn new(port: u32) -> Netlink {
        Netlink { port, groups: 0, inbox: Inbox::default(), answers: VecDeque::new() }
    }

    /// bind(2): a port of 0 leaves the choice.
    pub(crate) fn bind(&mut self, raw: &[u8]) -> Result<(), Errno> {
        let word =
            |at: usize| raw.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes).ok_or(Errno::INVAL);
        if sockaddr::family(raw) != Some(libc::AF_NETLINK) {
            return Err(Errno::INVAL);
        }
        let (port, groups) = (word(4)?, word(8)?);
        if port != 0 {
            self.port = port;
        }
        // Nothing ever changes here, so whoever listens hears nothing.
        self.groups = groups;
        Ok(())
    }

    /// The raw address of the socket.
    pub(crate) fn name(&self) -> Vec<u8> {
        sockaddr::emit_netlink(self.port, self.groups)
    }

    /// setsockopt(2): options that ask for more detail than there is change nothing; others are unknown.
    pub(crate) fn set_option(&mut self, name: i32, _value: i32) -> Result<(), Errno> {
        const HARMLESS: [i32; 4] = [
            libc::NETLINK_ADD_MEMBERSHIP,
            libc::NETLINK_DROP_MEMBERSHIP,
            libc::NETLINK_EXT_ACK,
            libc::NETLINK_GET_STRICT_CHK,
        ];
        if HARMLESS.contains(&name) { Ok(()) } else { Err(Errno::NOPROTOOPT) }
    }

    /// Answers the requests in a datagram.
    pub(crate) fn ask(&mut self, mut requests: &[u8], host: &Host) {
        while let Some(request) = Request::read(requests) {
            self.answer(&request, host);
            requests = requests.get(request.length.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn answer(&mut self, request: &Request<'_>, host: &Host) {
        let dump = request.flags & NLM_F_DUMP == NLM_F_DUMP;
        let found = match request.kind {
            libc::RTM_GETLINK if dump => Ok(host.interfaces().map(|link| answers::link(&link)).collect()),
            libc::RTM_GETLINK => one_link(request, host).map(|link| vec![answers::link(&link)]),
            libc::RTM_GETADDR if dump => Ok(answers::addresses(host, request.family)),
            libc::RTM_GETROUTE if dump => Ok(answers::routes(host, request.family)),
            libc::RTM_GETNEIGH if dump => Ok(answers::neighbours(host, request.family)),
            libc::RTM_GETRULE if dump => Ok(Vec::new()),
            // Requests come in fours: new, delete, get, set.
            kind if kind % 4 != 2 => Err(Errno::PERM),
            _ => Err(Errno::OPNOTSUPP),
        };
        match found {
            Ok(messages) => {
                self.send(request, messages, dump);
                if !dump && request.flags & NLM_F_ACK != 0 {
                    self.error(request, 0);
                }
            }
            Err(error) => self.error(request, -error.raw_os_error()),
        }
    }

    fn send(&mut self, request: &Request<'_>, messages: Vec<RouteNetlinkMessage>, dump: bool) {
        let mut data = Vec::new();
        for message in messages {
            let mut header = NetlinkHeader::default();
            header.flags = if dump { NLM_F_MULTIPART } else { 0 };
            header.sequence_number = request.sequence;
            header.port_number = self.port;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
            message.finalize();
            let at = data.len();
            if at > 0 && at + message.buffer_len() > DATAGRAM {
                self.push(std::mem::take(&mut data));
            }
            let at = data.len();
            data.resize(at + message.buffer_len(), 0);
            if let Some(room) = data.get_mut(at..) {
                message.serialize(room);
            }
        }
        if !data.is_empty() {
            self.push(data);
        }
        if dump {
            self.push(self.plain(request, NLMSG_DONE, NLM_F_MULTIPART, &0i32.to_ne_bytes()));
        }
    }

    fn error(&mut self, request: &Request<'_>, error: i32) {
        let body = [&error.to_ne_bytes()[..], request.header].concat();
        let data = self.plain(request, NLMSG_ERROR, 0, &body);
        self.push(data);
    }

    fn plain(&self, request: &Request<'_>, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut data = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        data.extend_from_slice(&kind.to_ne_bytes());
        data.extend_from_slice(&flags.to_ne_bytes());
        data.extend_from_slice(&request.sequence.to_ne_bytes());
        data.extend_from_slice(&self.port.to_ne_bytes());
        data.extend_from_slice(body);
        data
    }

    fn push(&mut self, data: Vec<u8>) {
        if self.answers.len() < ANSWERS {
            self.answers.push_back(Letter { data, name: sockaddr::emit_netlink(0, 0), control: Vec::new() });
        }
    }
}

/// Moves what can be moved both ways. True: the program has closed its end.
pub(crate) fn pump(socket: &mut Socket, cx: &mut Context<'_>, key: Key) -> bool {
    let mut buffer = vec![0u8; 32_768];
    let closed = loop {
        let Some(ours) = &socket.ours else { return false };
        match datagram::receive(ours.as_fd(), &mut buffer) {
            Received::Datagram(n) => {
                if let Body::Netlink(netlink) = &mut socket.body {
                    netlink.ask(buffer.get(..n).unwrap_or_default(), cx.host);
                }
            }
            Received::Nothing => break false,
            Received::End => break true,
        }
    };
    if !closed {
        datagram::deliver(socket, cx, key);
    }
    closed
}

/// A request: the header, and of the body what is looked at.
struct Request<'a> {
    header: &'a [u8],
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(raw: &'a [u8]) -> Option<Request<'a>> {
        let header: &[u8; 16] = raw.first_chunk()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = raw.get(16..length)?;
        Some(Request {
            header,
            length,
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            family: body.first().copied().unwrap_or(0),
            body,
        })
    }

    /// The attributes behind the link header.
    fn name(&self) -> Option<&'a [u8]> {
        let mut rest = self.body.get(16..)?;
        while let Some(&[a, b, c, d]) = rest.first_chunk::<4>() {
            let (length, kind) = (u16::from_ne_bytes([a, b]) as usize, u16::from_ne_bytes([c, d]));
            let value = rest.get(4..length)?;
            if kind == IFLA_IFNAME || kind == IFLA_ALT_IFNAME {
                return value.split(|b| *b == 0).next();
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
        None
    }
}

fn one_link<'a>(request: &Request<'_>, host: &'a Host) -> Result<InterfaceInfo<'a>, Errno> {
    let index = request.body.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let found = if index != 0 {
        links::with_index(host, index)
    } else {
        links::named(host, request.name().unwrap_or_default())
    };
    found.ok_or(Errno::NODEV)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use netlink_packet_route::address::AddressAttribute;
    use wireway_stack::Settings;

    use super::*;

    fn host() -> Host {
        Host::new(Settings::default(), [1; 32])
    }

    fn ask(kind: u16, flags: u16, body: &[u8]) -> Vec<Vec<u8>> {
        let mut netlink = Netlink::new(77);
        let mut request = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&flags.to_ne_bytes());
        request.extend_from_slice(&5u32.to_ne_bytes());
        request.extend_from_slice(&0u32.to_ne_bytes());
        request.extend_from_slice(body);
        netlink.ask(&request, &host());
        netlink.answers.into_iter().map(|l| l.data).collect()
    }

    #[test]
    fn addresses_are_dumped_and_the_dump_ends() {
        let answers = ask(libc::RTM_GETADDR, 0x301, &[libc::AF_INET as u8, 0, 0, 0]);
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
        assert_eq!(u16::from_ne_bytes([answers[1][4], answers[1][5]]), NLMSG_DONE);
    }

    #[test]
    fn changes_are_refused_and_unknown_links_are_not_found() {
        let error = |answers: Vec<Vec<u8>>| i32::from_ne_bytes(answers[0][16..20].try_into().unwrap());
        assert_eq!(error(ask(libc::RTM_NEWADDR, 5, &[0; 8])), -libc::EPERM);
        assert_eq!(error(ask(libc::RTM_DELROUTE, 5, &[0; 12])), -libc::EPERM);
        let mut body = [0u8; 16];
        body[4] = 9;
        assert_eq!(error(ask(libc::RTM_GETLINK, 1, &body)), -libc::ENODEV);
    }

    #[test]
    fn hostile_requests_end_quietly() {
        let mut netlink = Netlink::new(1);
        for length in [0u32, 15, 17, u32::MAX] {
            let mut raw = vec![0u8; 16];
            raw[..4].copy_from_slice(&length.to_ne_bytes());
            netlink.ask(&raw, &host());
        }
        assert!(netlink.answers.is_empty());
    }
}
