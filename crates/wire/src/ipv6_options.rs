//! The options of IPv6's hop-by-hop and destination headers (RFC 8200 §4.2), with router alert (RFC 2711).

use crate::{Malformed, Protocol};

/// The most options that one header may have, padding not counted (RFC 8504 §5.3 lets a host set limits; Linux's too).
pub const MAX_OPTIONS: usize = 8;

/// The most bytes of padding in a row: there is never a reason for more (RFC 8504 §5.3).
const MAX_PADDING: usize = 7;

/// What to do with a packet that has an option one does not know: the type's two high bits (RFC 8200 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownOption {
    /// Go on as if the option were not there.
    Skip,
    /// Drop the packet.
    Drop,
    /// Drop the packet and send a parameter problem, code 2, that points at the option.
    Report,
    /// The same, unless the packet was sent to a group.
    ReportUnlessMulticast,
}

/// One option, its length already checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Option<'a> {
    /// The option's type: action, whether it may change on the way, and number.
    pub kind: u8,
    /// Where the type stands, from the IPv6 header's first byte.
    pub offset: usize,
    /// What follows type and length.
    pub data: &'a [u8],
}

impl Ipv6Option<'_> {
    /// One byte of padding. The iterator never returns it.
    pub const PAD1: u8 = 0;
    /// Two or more bytes of padding. The iterator never returns it.
    pub const PADN: u8 = 1;
    /// Router alert (RFC 2711).
    pub const ROUTER_ALERT: u8 = 5;
    /// The length of a jumbogram (RFC 2675). No link of ours carries any: it is treated as unknown.
    pub const JUMBO: u8 = 0xc2;

    /// What to do with the packet if one does not know the option.
    pub const fn if_unknown(&self) -> UnknownOption {
        match self.kind >> 6 {
            0 => UnknownOption::Skip,
            1 => UnknownOption::Drop,
            2 => UnknownOption::Report,
            _ => UnknownOption::ReportUnlessMulticast,
        }
    }

    /// The value of a router alert: 0 for MLD (RFC 2711 §2.1).
    pub const fn router_alert(&self) -> Option<u16> {
        match *self.data {
            [a, b] if self.kind == Self::ROUTER_ALERT => Some(u16::from_be_bytes([a, b])),
            _ => None,
        }
    }
}

/// The options of a header, one by one, without the padding. After an error it returns nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6OptionIter<'a> {
    rest: &'a [u8],
    offset: usize,
    count: usize,
}

impl<'a> Ipv6OptionIter<'a> {
    /// The options in `options`, what follows the header's first two bytes; `offset` is where they start, from the IPv6
    /// header's first byte.
    #[inline]
    pub const fn new(options: &'a [u8], offset: usize) -> Self {
        Self { rest: options, offset, count: 0 }
    }

    fn read(&mut self) -> Result<Option<Ipv6Option<'a>>, Malformed> {
        let mut padding = 0;
        loop {
            let &[kind, ref rest @ ..] = self.rest else {
                return Ok(None);
            };
            let (data, after) = match rest {
                _ if kind == Ipv6Option::PAD1 => (&[][..], rest),
                &[len, ref rest @ ..] => rest.split_at_checked(usize::from(len)).ok_or(Malformed::BadOption)?,
                [] => return Err(Malformed::BadOption),
            };
            let offset = self.offset;
            let len = self.rest.len() - after.len();
            self.rest = after;
            self.offset += len;
            if kind != Ipv6Option::PAD1 && kind != Ipv6Option::PADN {
                self.count += 1;
                let room = self.count <= MAX_OPTIONS;
                return if room { Ok(Some(Ipv6Option { kind, offset, data })) } else { Err(Malformed::TooManyOptions) };
            }
            padding += len;
            // RFC 4942 §2.1.9.5: padding must not be a hidden channel.
            if padding > MAX_PADDING || data.iter().any(|&byte| byte != 0) {
                return Err(Malformed::BadOption);
            }
        }
    }
}

impl<'a> Iterator for Ipv6OptionIter<'a> {
    type Item = Result<Ipv6Option<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        read.transpose()
    }
}

/// The length of [`router_alert`]'s header in bytes.
pub const ROUTER_ALERT_LEN: usize = 8;

/// A hop-by-hop header with a router alert of `value`, before a `next_header`: MLD's messages have it, with 0 (RFC 2711 §2.1,
/// 9777 §5).
pub const fn router_alert(next_header: Protocol, value: u16) -> [u8; ROUTER_ALERT_LEN] {
    let [a, b] = value.to_be_bytes();
    [next_header.0, 0, Ipv6Option::ROUTER_ALERT, 2, a, b, Ipv6Option::PADN, 0]
}
