//! Requests that this side makes itself, for programs that ask in an older form (`calls/ioctl_change.rs`).

use std::net::IpAddr;

use super::{family, reply};

/// A request: its type, flags (NLM_F_*) and body.
pub(crate) struct Message {
    pub kind: u16,
    pub flags: u16,
    pub body: Vec<u8>,
}

impl Message {
    /// About a link: the flags (IFF_*) that it is to have, and which of them are meant.
    pub(crate) fn link(kind: u16, index: u32, flags: u32, change: u32) -> Message {
        let words = [0, index, flags, change];
        Message { kind, flags: 0, body: words.into_iter().flat_map(u32::to_ne_bytes).collect() }
    }

    /// About an address of a link, to be added or removed.
    pub(crate) fn address(kind: u16, index: u32, address: IpAddr, prefix_len: u8) -> Message {
        let mut body = vec![family(address) as u8, prefix_len, 0, 0];
        body.extend_from_slice(&index.to_ne_bytes());
        let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
        Message { kind, flags, body }.attribute(libc::IFA_LOCAL, &octets(address))
    }

    /// About a route of the main table, to be added or removed.
    pub(crate) fn route(add: bool, destination: IpAddr, prefix_len: u8) -> Message {
        const RT_TABLE_MAIN: u8 = 254;
        const RTPROT_BOOT: u8 = 3;
        const RTN_UNICAST: u8 = 1;
        let protocol = if add { RTPROT_BOOT } else { 0 };
        let body = [family(destination) as u8, prefix_len, 0, 0, RT_TABLE_MAIN, protocol, 0, RTN_UNICAST, 0, 0, 0, 0];
        let kind = if add { libc::RTM_NEWROUTE } else { libc::RTM_DELROUTE };
        let message = Message { kind, flags: libc::NLM_F_CREATE as u16, body: body.to_vec() };
        message.attribute(libc::RTA_DST, &octets(destination))
    }

    /// About a neighbour for good.
    pub(crate) fn neighbour(kind: u16, index: u32, address: IpAddr) -> Message {
        const NUD_PERMANENT: u16 = 0x80;
        let mut body = vec![family(address) as u8, 0, 0, 0];
        body.extend_from_slice(&index.to_ne_bytes());
        body.extend_from_slice(&NUD_PERMANENT.to_ne_bytes());
        body.extend_from_slice(&[0, 0]);
        let flags = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        Message { kind, flags, body }.attribute(libc::NDA_DST, &octets(address))
    }

    /// With an attribute more.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Message {
        reply::append_attribute(&mut self.body, kind, value);
        self
    }

    /// With a route's MTU.
    pub(crate) fn mtu(self, mtu: u32) -> Message {
        const RTAX_MTU: u16 = 2;
        let mut metrics = Vec::new();
        reply::append_attribute(&mut metrics, RTAX_MTU, &mtu.to_ne_bytes());
        self.attribute(libc::RTA_METRICS, &metrics)
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
