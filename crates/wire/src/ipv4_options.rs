//! IPv4's options (RFC 791 §3.1): their shape only.

use crate::Malformed;

/// One option, its length already checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// The option's type: copied flag, class and number.
    pub kind: u8,
    /// What follows type and length; empty for a no-operation.
    pub data: &'a [u8],
}

impl Ipv4Option<'_> {
    /// The end of the options. The iterator never returns it.
    pub const END: u8 = 0;
    /// No operation: one byte of padding.
    pub const NOP: u8 = 1;
    /// Record route.
    pub const RECORD_ROUTE: u8 = 7;
    /// Internet timestamp.
    pub const TIMESTAMP: u8 = 68;
    /// Loose source and record route.
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source and record route.
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;

    /// Whether every fragment carries the option, not only the first.
    pub const fn is_copied(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// A router alert, as IGMP's messages have it (RFC 2113 §2.1, 9776 §4).
pub const ROUTER_ALERT: [u8; 4] = [Ipv4Option::ROUTER_ALERT, 4, 0, 0];

/// The options of a header, one by one. After an error it returns nothing more.
#[derive(Clone, Debug)]
pub struct Ipv4OptionIter<'a> {
    rest: &'a [u8],
}

impl<'a> Ipv4OptionIter<'a> {
    /// The options in `options`, the bytes between the fixed header and the payload.
    #[inline]
    pub const fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for Ipv4OptionIter<'a> {
    type Item = Result<Ipv4Option<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = core::mem::take(&mut self.rest);
        match *bytes {
            [] | [Ipv4Option::END, ..] => None,
            [Ipv4Option::NOP, ref rest @ ..] => {
                self.rest = rest;
                let kind = Ipv4Option::NOP;
                Some(Ok(Ipv4Option { kind, data: &[] }))
            }
            [kind, len, ..] => {
                let Some(data) = bytes.get(2..usize::from(len)) else {
                    return Some(Err(Malformed::BadOption));
                };
                self.rest = &bytes[usize::from(len)..];
                Some(Ok(Ipv4Option { kind, data }))
            }
            [_] => Some(Err(Malformed::BadOption)),
        }
    }
}
