//! Neighbour discovery (RFC 4861): the five messages, each with the rules of validity that its bytes and addresses can break.
//!
//! A message begins with ICMPv6's header and ends with options (`ndp_options.rs`). `parse` takes the whole message and the
//! addresses of its packet; what it returns obeys RFC 4861 §6.1, 7.1 and 8.1 but for three rules that are the stack's: the hop
//! limit is 255, the checksum is right, and a redirect comes from the router that is in use. So is RFC 6980's, that none comes in
//! fragments. To send one, make it with `new` and let an [`NdpWriter`](crate::NdpWriter) add options and checksum.

use core::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ipv6::solicited_node;
use crate::{Icmpv6Header, Icmpv6Type, Malformed, NdpOptions};

/// A message of this type: its fixed part, and the options.
fn split<T>(message: &[u8], kind: Icmpv6Type) -> Result<(&T, NdpOptions<'_>), Malformed>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let (header, _) = Icmpv6Header::parse(message)?;
    if header.kind != kind {
        return Err(Malformed::BadType);
    }
    if header.code != 0 {
        return Err(Malformed::BadCode);
    }
    let (fixed, rest) = T::ref_from_prefix(message).map_err(|_| Malformed::Truncated)?;
    Ok((fixed, NdpOptions::parse(rest)?))
}

/// An error unless `good`.
fn addresses(good: bool) -> Result<(), Malformed> {
    if good { Ok(()) } else { Err(Malformed::BadAddress) }
}

/// The 8 bytes of "are there routers?" (RFC 4861 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RouterSolicitation {
    header: Icmpv6Header,
}

impl RouterSolicitation {
    /// A message with checksum 0.
    pub fn new() -> Self {
        Self { header: Icmpv6Header::new(Icmpv6Type::ROUTER_SOLICITATION, 0, [0; 4]) }
    }

    /// The message and its options (RFC 4861 §6.1.1).
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadCode`], [`Malformed::BadOption`], or
    /// [`Malformed::BadAddress`] where none but the unspecified address says to whom a link-layer address belongs.
    pub fn parse(src: Ipv6Addr, message: &[u8]) -> Result<(&Self, NdpOptions<'_>), Malformed> {
        let (solicitation, options) = split::<Self>(message, Icmpv6Type::ROUTER_SOLICITATION)?;
        addresses(!src.is_unspecified() || options.source_link_layer().is_none())?;
        Ok((solicitation, options))
    }
}

impl Default for RouterSolicitation {
    fn default() -> Self {
        Self::new()
    }
}

/// How much a router or a route is to be preferred (RFC 4191 §2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouterPreference {
    /// Only if there is no other.
    Low,
    /// The usual.
    #[default]
    Medium,
    /// Before all others.
    High,
}

impl RouterPreference {
    /// The preference in two bits at 0x18 of `flags`; `None` of the value that is reserved.
    pub(crate) const fn from_flags(flags: u8) -> Option<Self> {
        match flags >> 3 & 3 {
            0 => Some(Self::Medium),
            1 => Some(Self::High),
            3 => Some(Self::Low),
            _ => None,
        }
    }

    /// The bits that [`RouterPreference::from_flags`] reads.
    pub(crate) const fn flags(self) -> u8 {
        match self {
            Self::Medium => 0,
            Self::High => 1 << 3,
            Self::Low => 3 << 3,
        }
    }
}

/// The values of a router advertisement that a router chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterAdvertisementFields {
    /// The hop limit that hosts should send with; 0 if the router does not say.
    pub hop_limit: u8,
    /// Whether addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Whether other things are to be had by DHCPv6.
    pub other_config: bool,
    /// How much this router is to be preferred as a default router (RFC 4191 §2.2).
    pub preference: RouterPreference,
    /// How long it is a default router, in seconds; 0: it is none.
    pub lifetime: u16,
    /// How long a neighbour counts as reachable after it was heard of, in milliseconds; 0 if the router does not say.
    pub reachable_time: u32,
    /// The time between solicitations, in milliseconds; 0 if the router does not say.
    pub retransmit_time: u32,
}

/// The 16 bytes of "I am a router" (RFC 4861 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RouterAdvertisement {
    header: Icmpv6Header,
    reachable_time: U32,
    retransmit_time: U32,
}

impl RouterAdvertisement {
    const MANAGED: u8 = 0x80;
    const OTHER_CONFIG: u8 = 0x40;

    /// A message with checksum 0.
    pub fn new(fields: &RouterAdvertisementFields) -> Self {
        let mut flags = fields.preference.flags();
        if fields.managed {
            flags |= Self::MANAGED;
        }
        if fields.other_config {
            flags |= Self::OTHER_CONFIG;
        }
        let [a, b] = fields.lifetime.to_be_bytes();
        Self {
            header: Icmpv6Header::new(Icmpv6Type::ROUTER_ADVERTISEMENT, 0, [fields.hop_limit, flags, a, b]),
            reachable_time: U32::new(fields.reachable_time),
            retransmit_time: U32::new(fields.retransmit_time),
        }
    }

    /// The message and its options (RFC 4861 §6.1.2).
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadCode`], [`Malformed::BadOption`], or
    /// [`Malformed::BadAddress`] unless it comes from a link-local address.
    pub fn parse(src: Ipv6Addr, message: &[u8]) -> Result<(&Self, NdpOptions<'_>), Malformed> {
        let (advertisement, options) = split::<Self>(message, Icmpv6Type::ROUTER_ADVERTISEMENT)?;
        addresses(src.is_unicast_link_local())?;
        Ok((advertisement, options))
    }

    /// The values of the message. The reserved preference counts as medium (RFC 4191 §2.2).
    pub fn fields(&self) -> RouterAdvertisementFields {
        let [hop_limit, flags, a, b] = self.header.rest;
        RouterAdvertisementFields {
            hop_limit,
            managed: flags & Self::MANAGED != 0,
            other_config: flags & Self::OTHER_CONFIG != 0,
            preference: RouterPreference::from_flags(flags).unwrap_or_default(),
            lifetime: u16::from_be_bytes([a, b]),
            reachable_time: self.reachable_time.get(),
            retransmit_time: self.retransmit_time.get(),
        }
    }
}

/// The 24 bytes of "who has the target?" (RFC 4861 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NeighbourSolicitation {
    header: Icmpv6Header,
    target: [u8; 16],
}

impl NeighbourSolicitation {
    /// A message with checksum 0.
    pub fn new(target: Ipv6Addr) -> Self {
        let header = Icmpv6Header::new(Icmpv6Type::NEIGHBOUR_SOLICITATION, 0, [0; 4]);
        Self { header, target: target.octets() }
    }

    /// The message and its options (RFC 4861 §7.1.1).
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadCode`], [`Malformed::BadOption`], or
    /// [`Malformed::BadAddress`] if the target is a group, or if it comes from the unspecified address and goes elsewhere than to
    /// a solicited-node group or has a link-layer address.
    pub fn parse(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Result<(&Self, NdpOptions<'_>), Malformed> {
        let (solicitation, options) = split::<Self>(message, Icmpv6Type::NEIGHBOUR_SOLICITATION)?;
        let to_group = dst == solicited_node(dst);
        let probe = to_group && options.source_link_layer().is_none();
        addresses(!solicitation.target().is_multicast() && (probe || !src.is_unspecified()))?;
        Ok((solicitation, options))
    }

    /// The address that is asked for.
    pub fn target(&self) -> Ipv6Addr {
        self.target.into()
    }
}

bitflags::bitflags! {
    /// What a neighbour advertisement says beside the address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct AdvertisementFlags: u8 {
        /// The neighbour is a router.
        const ROUTER = 0x80;
        /// It answers a solicitation.
        const SOLICITED = 0x40;
        /// It replaces the link-layer address that the receiver knows.
        const OVERRIDE = 0x20;
    }
}

/// The 24 bytes of "I have the target" (RFC 4861 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NeighbourAdvertisement {
    header: Icmpv6Header,
    target: [u8; 16],
}

impl NeighbourAdvertisement {
    /// A message with checksum 0.
    pub fn new(flags: AdvertisementFlags, target: Ipv6Addr) -> Self {
        let header = Icmpv6Header::new(Icmpv6Type::NEIGHBOUR_ADVERTISEMENT, 0, [flags.bits(), 0, 0, 0]);
        Self { header, target: target.octets() }
    }

    /// The message and its options (RFC 4861 §7.1.2).
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadCode`], [`Malformed::BadOption`], or
    /// [`Malformed::BadAddress`] if the target is a group, or an answer to one went to a group.
    pub fn parse(dst: Ipv6Addr, message: &[u8]) -> Result<(&Self, NdpOptions<'_>), Malformed> {
        let (advertisement, options) = split::<Self>(message, Icmpv6Type::NEIGHBOUR_ADVERTISEMENT)?;
        let answer = advertisement.flags().contains(AdvertisementFlags::SOLICITED);
        addresses(!advertisement.target().is_multicast() && (!answer || !dst.is_multicast()))?;
        Ok((advertisement, options))
    }

    /// What it says beside the address.
    pub fn flags(&self) -> AdvertisementFlags {
        AdvertisementFlags::from_bits_truncate(self.header.rest[0])
    }

    /// The address that the sender has.
    pub fn target(&self) -> Ipv6Addr {
        self.target.into()
    }
}

/// The 40 bytes of "there is a better first hop to the destination" (RFC 4861 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Redirect {
    header: Icmpv6Header,
    target: [u8; 16],
    destination: [u8; 16],
}

impl Redirect {
    /// A message with checksum 0.
    pub fn new(target: Ipv6Addr, destination: Ipv6Addr) -> Self {
        let header = Icmpv6Header::new(Icmpv6Type::REDIRECT, 0, [0; 4]);
        Self { header, target: target.octets(), destination: destination.octets() }
    }

    /// The message and its options (RFC 4861 §8.1).
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadCode`], [`Malformed::BadOption`], or
    /// [`Malformed::BadAddress`] unless it comes from a link-local address, about a destination that is no group, to a
    /// target that is a router's link-local address or the destination itself.
    pub fn parse(src: Ipv6Addr, message: &[u8]) -> Result<(&Self, NdpOptions<'_>), Malformed> {
        let (redirect, options) = split::<Self>(message, Icmpv6Type::REDIRECT)?;
        let (target, destination) = (redirect.target(), redirect.destination());
        let on_link = target == destination;
        let good = !destination.is_multicast() && (on_link || target.is_unicast_link_local());
        addresses(src.is_unicast_link_local() && good)?;
        Ok((redirect, options))
    }

    /// The better first hop; the destination itself, if it is a neighbour.
    pub fn target(&self) -> Ipv6Addr {
        self.target.into()
    }

    /// The destination that is better reached by it.
    pub fn destination(&self) -> Ipv6Addr {
        self.destination.into()
    }
}
