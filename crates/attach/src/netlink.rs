//! NETLINK_ROUTE sockets: the questions and changes of [`crate::rtnetlink`] over a pair, and what members of groups are told.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use rustix::io::Errno;
use wireway_engine::Context;

use crate::datagram::{self, Inbox, Letter, Moved, Received};
use crate::rtnetlink::{self, Caller};
use crate::sockaddr;
use crate::socket::{Body, Key, Socket};

/// Bytes of answers that wait for the program, at most: a dump of full tables fits.
const ANSWERS: usize = 4 << 20;

/// A netlink socket.
pub(crate) struct Netlink {
    caller: Caller,
    /// As bits; those beyond 32 tell of what this host has not.
    pub groups: u32,
    pub inbox: Inbox,
    answers: VecDeque<Letter>,
    waiting: usize,
}

impl Netlink {
    /// `port` is the number the kernel would give it.
    pub(crate) fn new(port: u32, user: u32) -> Netlink {
        let caller = Caller { port, user, ..Caller::default() };
        Netlink { caller, groups: 0, inbox: Inbox::default(), answers: VecDeque::new(), waiting: 0 }
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
            self.caller.port = port;
        }
        self.groups = groups;
        Ok(())
    }

    /// The raw address of the socket.
    pub(crate) fn name(&self) -> Vec<u8> {
        sockaddr::emit_netlink(self.caller.port, self.groups)
    }

    /// setsockopt(2). Stricter checking changes nothing: requests are read strictly.
    pub(crate) fn set_option(&mut self, name: i32, value: i32) -> Result<(), Errno> {
        let group = || match u32::try_from(value) {
            Ok(0) | Err(_) => Err(Errno::INVAL),
            Ok(number) => Ok(1u32.checked_shl(number - 1).unwrap_or(0)),
        };
        match name {
            libc::NETLINK_ADD_MEMBERSHIP => self.groups |= group()?,
            libc::NETLINK_DROP_MEMBERSHIP => self.groups &= !group()?,
            libc::NETLINK_EXT_ACK => self.caller.extended = value != 0,
            libc::NETLINK_CAP_ACK => self.caller.cap_ack = value != 0,
            libc::NETLINK_GET_STRICT_CHK => {}
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(())
    }

    /// Carries out the requests of a datagram.
    pub(crate) fn ask(&mut self, cx: &mut Context<'_>, requests: &[u8]) {
        for answer in rtnetlink::answer(cx.host, cx.now, self.caller, requests) {
            self.push(answer, 0);
        }
    }

    /// Tells of a change, if the socket is in the group; whether it is.
    pub(crate) fn tell(&mut self, group: u32, notice: &[u8]) -> bool {
        let member = self.groups & group != 0;
        if member {
            self.push(notice.to_vec(), group);
        }
        member
    }

    fn push(&mut self, data: Vec<u8>, group: u32) {
        if self.waiting + data.len() <= ANSWERS {
            self.waiting += data.len();
            self.answers.push_back(Letter { data, name: sockaddr::emit_netlink(0, group), control: Vec::new() });
        }
    }

    /// The next datagram for the program.
    pub(crate) fn next(&mut self) -> Option<Letter> {
        let letter = self.answers.pop_front()?;
        self.waiting -= letter.data.len();
        Some(letter)
    }
}

/// Moves what can be moved both ways.
pub(crate) fn pump(socket: &mut Socket, cx: &mut Context<'_>, key: Key) -> Moved {
    let mut buffer = vec![0u8; 32_768];
    loop {
        let Some(ours) = &socket.ours else { return Moved::All };
        match datagram::receive(ours.as_fd(), &mut buffer, None) {
            Received::Datagram(n) => {
                if let Body::Netlink(netlink) = &mut socket.body {
                    netlink.ask(cx, buffer.get(..n).unwrap_or_default());
                }
            }
            Received::Stray => {}
            Received::Nothing => break,
            Received::End => return Moved::End,
        }
    }
    datagram::deliver(socket, cx, key);
    Moved::All
}
