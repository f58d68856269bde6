//! ARP for IPv4 on Ethernet (RFC 826), with the probe and the announcement of RFC 5227.

use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{EtherType, MacAddr, Malformed};

const HARDWARE_ETHERNET: u16 = 1;

/// What an ARP packet asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArpOperation(pub u16);

impl ArpOperation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has the sender's address.
    pub const REPLY: Self = Self(2);
}

/// The 28 bytes of an ARP packet. Whoever holds one from [`ArpPacket::parse`] knows that it is about IPv4
/// on Ethernet; its operation may be any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ArpPacket {
    hardware_type: U16,
    protocol_type: U16,
    hardware_len: u8,
    protocol_len: u8,
    operation: U16,
    sender_mac: MacAddr,
    sender_ip: [u8; 4],
    target_mac: MacAddr,
    target_ip: [u8; 4],
}

impl ArpPacket {
    /// The packet's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A packet with these fields.
    pub fn new(operation: ArpOperation, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Self {
        Self {
            hardware_type: U16::new(HARDWARE_ETHERNET),
            protocol_type: U16::new(EtherType::IPV4.0),
            hardware_len: 6,
            protocol_len: 4,
            operation: U16::new(operation.0),
            sender_mac: sender.0,
            sender_ip: sender.1.octets(),
            target_mac: target.0,
            target_ip: target.1.octets(),
        }
    }

    /// "Who has `target`? Tell `sender`."
    pub fn request(mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self::new(ArpOperation::REQUEST, (mac, sender), (MacAddr::ZERO, target))
    }

    /// The answer of the station `mac`, which has the target address of this request.
    pub fn reply(&self, mac: MacAddr) -> Self {
        Self::new(ArpOperation::REPLY, (mac, self.target_ip()), (self.sender_mac, self.sender_ip()))
    }

    /// A probe whether anyone has `address`, from a station that does not use it yet (RFC 5227 §2.1.1).
    pub fn probe(mac: MacAddr, address: Ipv4Addr) -> Self {
        Self::request(mac, Ipv4Addr::UNSPECIFIED, address)
    }

    /// An announcement that `mac` uses `address` now (RFC 5227 §2.3).
    pub fn announcement(mac: MacAddr, address: Ipv4Addr) -> Self {
        Self::request(mac, address, address)
    }

    /// The packet at the start of a frame's payload; what follows is padding.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadHardwareType`] or [`Malformed::BadProtocolType`].
    pub fn parse(payload: &[u8]) -> Result<&Self, Malformed> {
        let (packet, _) = Self::ref_from_prefix(payload).map_err(|_| Malformed::Truncated)?;
        if packet.hardware_type.get() != HARDWARE_ETHERNET || packet.hardware_len != 6 {
            return Err(Malformed::BadHardwareType);
        }
        if packet.protocol_type.get() != EtherType::IPV4.0 || packet.protocol_len != 4 {
            return Err(Malformed::BadProtocolType);
        }
        Ok(packet)
    }

    /// What the packet asks or says.
    pub fn operation(&self) -> ArpOperation {
        ArpOperation(self.operation.get())
    }

    /// The sender's MAC address.
    pub fn sender_mac(&self) -> MacAddr {
        self.sender_mac
    }

    /// The sender's IPv4 address; unspecified in a probe.
    pub fn sender_ip(&self) -> Ipv4Addr {
        self.sender_ip.into()
    }

    /// The target's MAC address; of no meaning in a request.
    pub fn target_mac(&self) -> MacAddr {
        self.target_mac
    }

    /// The target's IPv4 address.
    pub fn target_ip(&self) -> Ipv4Addr {
        self.target_ip.into()
    }

    /// Whether this is a probe: a request from no address (RFC 5227 §1.1).
    pub fn is_probe(&self) -> bool {
        self.operation() == ArpOperation::REQUEST && self.sender_ip().is_unspecified()
    }
}
