//! DHCP's messages (RFC 2131 §2): what is read of them, and the writing.
//!
//! The formats are dhcproto's. Of what comes in only the view over bytes is used: its owned messages refuse a whole message for one
//! option that nobody asked for, and trust a length of the hardware address that does not fit.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Flags, HType, Opcode, borrowed};
use dhcproto::{Decodable, Encodable};
use wireway_wire::MacAddr;

pub use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};

use crate::options::Options;

/// BOOTP's messages are at least so long, and some relays insist on it (RFC 1542 §2.1).
const SHORTEST: usize = 300;
/// Where the options begin, after the magic number (RFC 2131 §3).
const HEADER: usize = 240;

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// DHCP message type (RFC 2132 §9.6).
    pub kind: MessageType,
    /// From a client, not from a server.
    pub is_request: bool,
    /// The transaction.
    pub xid: u32,
    /// The client asks for answers by broadcast (RFC 2131 §2, figure 2).
    pub broadcast: bool,
    /// The client's hardware address.
    pub mac: MacAddr,
    /// The address that the client has.
    pub ciaddr: Ipv4Addr,
    /// The address that it is given.
    pub yiaddr: Ipv4Addr,
    /// The relay that the message came by.
    pub giaddr: Ipv4Addr,
    pub options: Options,
}

impl Message {
    /// Reads a message; nothing if it is none of DHCP's, or not about Ethernet.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let view = borrowed::Message::new(bytes).ok()?;
        let is_request = match view.opcode() {
            Opcode::BootRequest => true,
            Opcode::BootReply => false,
            Opcode::Unknown(_) => return None,
        };
        if view.htype() != HType::Eth || view.hlen() != 6 {
            return None;
        }
        let mac = MacAddr(*view.chaddr().first_chunk()?);
        let options = Options::read(bytes.get(..HEADER)?, view.opts());
        Some(Message {
            kind: options.kind()?,
            is_request,
            xid: view.xid(),
            broadcast: view.flags().broadcast(),
            mac,
            ciaddr: view.ciaddr(),
            yiaddr: view.yiaddr(),
            giaddr: view.giaddr(),
            options,
        })
    }
}

/// The header of a message to be sent; see [`Message`].
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub is_request: bool,
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    pub broadcast: bool,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub mac: MacAddr,
}

impl Header {
    /// The message with these options, as bytes. Nothing if an option does not fit in a message.
    pub fn write(&self, kind: MessageType, options: impl IntoIterator<Item = DhcpOption>) -> Option<Vec<u8>> {
        // The library's constructors draw a transaction number from the system; an empty message that is read does not.
        let mut empty = [0; HEADER];
        empty[HEADER - dhcproto::v4::MAGIC.len()..].copy_from_slice(&dhcproto::v4::MAGIC);
        let mut message = dhcproto::v4::Message::from_bytes(&empty).ok()?;
        let flags = Flags::default();
        message
            .set_opcode(if self.is_request { Opcode::BootRequest } else { Opcode::BootReply })
            .set_htype(HType::Eth)
            .set_xid(self.xid)
            .set_secs(self.secs)
            .set_flags(if self.broadcast { flags.set_broadcast() } else { flags })
            .set_ciaddr(self.ciaddr)
            .set_yiaddr(self.yiaddr)
            .set_chaddr(&self.mac.0);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        for option in options {
            message.opts_mut().insert(option);
        }
        let mut bytes = message.to_vec().ok()?;
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            is_request: true,
            xid: 0x0102_0304,
            secs: 7,
            broadcast: true,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let requested = Ipv4Addr::new(10, 0, 2, 15);
        let bytes = header().write(MessageType::Discover, [DhcpOption::RequestedIpAddress(requested)]).unwrap();
        assert_eq!(bytes.len(), SHORTEST);
        assert_eq!(bytes[..4], [1, 1, 6, 0], "op, htype, hlen, hops");
        assert_eq!(bytes[8..12], [0, 7, 0x80, 0], "secs, flags");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.xid, message.is_request), (MessageType::Discover, 0x0102_0304, true));
        assert_eq!(message.mac, header().mac);
        assert_eq!(message.options.requested(), Some(requested));
    }

    #[test]
    fn what_is_no_message_is_none() {
        let good = header().write(MessageType::Discover, []).unwrap();
        assert!(Message::parse(&good).is_some());
        for (at, value, what) in [
            (0, 3, "op"),
            (1, 6, "hardware"),
            (2, 255, "a long hardware address"),
            (236, 0, "magic number"),
            (240, 0, "no type"),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Message::parse(&bad), None, "{what}");
        }
        for len in 0..HEADER + 3 {
            assert_eq!(Message::parse(&good[..len]), None, "{len} bytes");
        }
    }
}
