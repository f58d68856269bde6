//! VLAN tags: IEEE 802.1Q, and 802.1ad, by which a provider tags what its customers may have tagged already.

use core::fmt;
use core::str::FromStr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{EtherType, Malformed};

/// Which of the two kinds of tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VlanProtocol {
    /// IEEE 802.1Q: a customer's tag (C-tag), EtherType 0x8100.
    #[default]
    Customer,
    /// IEEE 802.1ad: a provider's tag (S-tag), EtherType 0x88a8.
    Service,
}

impl VlanProtocol {
    /// The EtherType that announces such a tag.
    #[inline]
    pub const fn ethertype(self) -> EtherType {
        match self {
            Self::Customer => EtherType::VLAN,
            Self::Service => EtherType::SERVICE_VLAN,
        }
    }

    /// The kind of tag that an EtherType announces, if it does.
    #[inline]
    pub const fn from_ethertype(ethertype: EtherType) -> Option<Self> {
        match ethertype {
            EtherType::VLAN => Some(Self::Customer),
            EtherType::SERVICE_VLAN => Some(Self::Service),
            _ => None,
        }
    }
}

impl fmt::Display for VlanProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Customer => "802.1Q",
            Self::Service => "802.1ad",
        })
    }
}

/// Text that names no VLAN protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadVlanProtocol;

impl fmt::Display for BadVlanProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a VLAN protocol: want 802.1Q or 802.1ad")
    }
}

impl core::error::Error for BadVlanProtocol {}

impl FromStr for VlanProtocol {
    type Err = BadVlanProtocol;

    fn from_str(text: &str) -> Result<Self, BadVlanProtocol> {
        let all = [Self::Customer, Self::Service];
        let named = |protocol: &Self| match protocol {
            Self::Customer => text.eq_ignore_ascii_case("802.1Q"),
            Self::Service => text.eq_ignore_ascii_case("802.1ad"),
        };
        all.into_iter().find(named).ok_or(BadVlanProtocol)
    }
}

/// The 4 bytes of a tag that follow an EtherType of [`EtherType::VLAN`] or [`EtherType::SERVICE_VLAN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    control: U16,
    ethertype: U16,
}

impl VlanTag {
    /// The tag's length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A tag; `priority` is 0 to 7 and `id` 0 to 4095 (higher bits are dropped).
    #[inline]
    pub fn new(priority: u8, drop_eligible: bool, id: u16, ethertype: EtherType) -> Self {
        let control = u16::from(priority & 7) << 13 | u16::from(drop_eligible) << 12 | (id & 0x0fff);
        Self { control: U16::new(control), ethertype: U16::new(ethertype.0) }
    }

    /// Splits what follows the EtherType of a tag into the tag and the payload.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 4 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        Self::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)
    }

    /// Priority, drop eligibility and number, as they stand in the tag.
    #[inline]
    pub fn control(&self) -> u16 {
        self.control.get()
    }

    /// The priority, 0 to 7.
    #[inline]
    pub fn priority(&self) -> u8 {
        (self.control.get() >> 13) as u8
    }

    /// Whether the frame may be dropped first.
    #[inline]
    pub fn drop_eligible(&self) -> bool {
        self.control.get() & 0x1000 != 0
    }

    /// The VLAN's number, 0 to 4095.
    #[inline]
    pub fn id(&self) -> u16 {
        self.control.get() & 0x0fff
    }

    /// What the frame carries.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(self.ethertype.get())
    }
}
