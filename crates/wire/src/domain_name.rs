//! Domain names as options carry them: labels, uncompressed (RFC 1035 §3.1, RFC 8106 §5.2).

use core::fmt;

/// The most bytes of a name without its final zero (RFC 1035 §2.3.4).
const MAX_LEN: usize = 254;
/// The most bytes of a label.
const MAX_LABEL_LEN: usize = 63;

/// A name of one or more labels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DomainName<'a> {
    /// The labels, each after its length; without the final zero.
    labels: &'a [u8],
}

impl<'a> DomainName<'a> {
    /// Splits a name, and the zero that ends it, from the start of `bytes`.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut end = 0;
        loop {
            match usize::from(*bytes.get(end)?) {
                0 => break,
                len if len > MAX_LABEL_LEN => return None,
                len => end += 1 + len,
            }
            if end > MAX_LEN {
                return None;
            }
        }
        Some((Self { labels: bytes.get(..end)? }, bytes.get(end + 1..)?))
    }

    /// The labels one by one, which may hold any bytes: a dot or a control character too.
    pub fn labels(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.labels;
        core::iter::from_fn(move || {
            let (&len, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(len.into())?;
            rest = after;
            Some(label)
        })
    }
}

impl fmt::Display for DomainName<'_> {
    /// The name without a final dot. What is no letter, digit, hyphen or underscore is escaped as in a zone file (RFC 1035 §5.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, label) in self.labels().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one after the other, up to the padding of zeros.
#[derive(Clone, Debug)]
pub struct DomainNameIter<'a> {
    rest: &'a [u8],
}

impl<'a> DomainNameIter<'a> {
    /// The names in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether the iterator, having returned the last name, met nothing but padding.
    pub fn is_whole(&self) -> bool {
        self.rest.iter().all(|&byte| byte == 0)
    }
}

impl<'a> Iterator for DomainNameIter<'a> {
    type Item = DomainName<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = DomainName::split(self.rest).filter(|(name, _)| !name.labels.is_empty())?;
        self.rest = rest;
        Some(name)
    }
}
