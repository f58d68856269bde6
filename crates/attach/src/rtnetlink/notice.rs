//! What programs that joined a group are told: that a link, an address or a route has come, changed or gone.
//!
//! Things change for many reasons (requests, leases, routers, probes), so nobody tells of each: what there is now is compared with what there
//! was when it was looked at last, whenever the host's revision says that something changed. Nobody listens most of the time, and then
//! nothing is kept. Of neighbours nothing is told (RTNLGRP_NEIGH): they change with every other packet.

use std::collections::HashMap;

use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use wireway_packet::Instant;
use wireway_stack::Host;

use super::{address, link, reply, route};

// linux/rtnetlink.h, as bits of `nl_groups`.
const LINK: u32 = 1;
const IPV4_ADDRESS: u32 = 0x10;
const IPV4_ROUTE: u32 = 0x40;
const IPV6_ADDRESS: u32 = 0x100;
const IPV6_ROUTE: u32 = 0x400;

/// A change, as the group it is told to and the datagram that tells it.
pub type Notice = (u32, Vec<u8>);

/// What the listeners know.
pub struct Watch {
    revision: u32,
    known: HashMap<Vec<u8>, (Vec<u8>, Message)>,
}

impl Watch {
    /// As things are.
    pub fn new(host: &Host, now: Instant) -> Watch {
        Watch { revision: host.revision(), known: look(host, now) }
    }

    /// What has changed since it was looked at last: what went before what came.
    pub fn changes(&mut self, host: &Host, now: Instant) -> Vec<Notice> {
        if self.revision == host.revision() {
            return Vec::new();
        }
        self.revision = host.revision();
        let mut before = std::mem::replace(&mut self.known, look(host, now));
        let mut came: Vec<Notice> = Vec::new();
        for (name, (form, message)) in &self.known {
            if before.remove(name).is_none_or(|(old, _)| old != *form) {
                came.push(notice(message.clone()));
            }
        }
        let gone = before.into_values().map(|(_, message)| notice(gone(message)));
        gone.chain(came).collect()
    }
}

/// Everything that is told of, by what names it: how it looks, without what changes by the second, and the message.
fn look(host: &Host, now: Instant) -> HashMap<Vec<u8>, (Vec<u8>, Message)> {
    let all = link::all(host).into_iter().chain(address::all(host, now, 0)).chain(route::all(host, 0));
    all.map(|message| {
        let form = lasting(message.clone());
        let name = match &message {
            Message::NewLink(link) => link.header.index.to_ne_bytes().to_vec(),
            Message::NewAddress(address) => {
                let mut name = address.clone();
                name.attributes.retain(|attribute| matches!(attribute, AddressAttribute::Address(_)));
                name.header.flags = Default::default();
                bytes(Message::NewAddress(name))
            }
            _ => bytes(message.clone()),
        };
        (name, (bytes(form), message))
    })
    .collect()
}

fn lasting(mut message: Message) -> Message {
    match &mut message {
        Message::NewLink(link) => link.attributes.retain(|a| !matches!(a, LinkAttribute::Stats64(_))),
        Message::NewAddress(address) => address.attributes.retain(|a| !matches!(a, AddressAttribute::CacheInfo(_))),
        _ => {}
    }
    message
}

fn bytes(message: Message) -> Vec<u8> {
    reply::single(message, 0, 0, 0)
}

fn gone(message: Message) -> Message {
    match message {
        Message::NewLink(link) => Message::DelLink(link),
        Message::NewAddress(address) => Message::DelAddress(address),
        Message::NewRoute(route) => Message::DelRoute(route),
        other => other,
    }
}

fn notice(message: Message) -> Notice {
    let group = match &message {
        Message::NewAddress(a) | Message::DelAddress(a) if a.header.family == AddressFamily::Inet => IPV4_ADDRESS,
        Message::NewAddress(_) | Message::DelAddress(_) => IPV6_ADDRESS,
        Message::NewRoute(r) | Message::DelRoute(r) if r.header.address_family == AddressFamily::Inet => IPV4_ROUTE,
        Message::NewRoute(_) | Message::DelRoute(_) => IPV6_ROUTE,
        _ => LINK,
    };
    (group, bytes(message))
}
