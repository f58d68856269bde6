//! DHCP's options (RFC 2132), as far as anything here asks for them: read one by one, so that one that is wrong spoils no other.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::Decoder;
use dhcproto::v4::borrowed::DhcpOptionIterator;
use dhcproto::v4::{MessageType, OptionCode};
use wireway_stack::Cidr;

/// The fields of the header that options may overflow into (RFC 2131 §2).
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// A lease for ever (RFC 2131 §3.3).
pub(crate) const FOREVER: u32 = u32::MAX;

/// The options of a message by their codes, pieces of one put together (RFC 3396 §7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Collects what stands in the options, and in the header's fields if the option "overload" says so (RFC 2132 §9.3).
    pub fn read(header: &[u8], options: DhcpOptionIterator<'_>) -> Options {
        let mut read = Options::default();
        read.collect(options);
        let overload = read.byte(OptionCode::OptionOverload).unwrap_or(0);
        // RFC 3396 §5: `file` comes before `sname`.
        for (bit, field) in [(1, FILE), (2, SNAME)] {
            if overload & bit != 0
                && let Some(field) = header.get(field)
            {
                read.collect(DhcpOptionIterator::new(field));
            }
        }
        read
    }

    fn collect(&mut self, options: DhcpOptionIterator<'_>) {
        for option in options {
            self.0.entry(option.code().into()).or_default().extend_from_slice(option.data());
        }
    }

    /// An option's bytes.
    pub fn bytes(&self, code: OptionCode) -> Option<&[u8]> {
        self.0.get(&code.into()).map(Vec::as_slice)
    }

    fn byte(&self, code: OptionCode) -> Option<u8> {
        match self.bytes(code) {
            Some(&[byte]) => Some(byte),
            _ => None,
        }
    }

    /// What kind of message it is (§9.6).
    pub fn kind(&self) -> Option<MessageType> {
        self.byte(OptionCode::MessageType).map(MessageType::from)
    }

    fn address(&self, code: OptionCode) -> Option<Ipv4Addr> {
        let bytes = self.bytes(code)?;
        Decoder::new(bytes).read_ipv4(bytes.len()).ok()
    }

    /// The addresses of an option that are those of hosts.
    fn hosts(&self, code: OptionCode) -> Vec<Ipv4Addr> {
        let bytes = self.bytes(code).unwrap_or_default();
        let all = Decoder::new(bytes).read_ipv4s(bytes.len()).unwrap_or_default();
        all.into_iter().filter(|&address| is_host(address)).collect()
    }

    fn seconds(&self, code: OptionCode) -> Option<u32> {
        Decoder::new(self.bytes(code)?).read_u32().ok()
    }

    /// The address that a client asks for (§9.1).
    pub fn requested(&self) -> Option<Ipv4Addr> {
        self.address(OptionCode::RequestedIpAddress)
    }

    /// Which server is meant, or speaks (§9.7).
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.address(OptionCode::ServerIdentifier)
    }

    /// The length of the network's prefix (§3.3). None if the mask has holes.
    pub fn prefix_len(&self) -> Option<u8> {
        let mask = self.address(OptionCode::SubnetMask)?.to_bits();
        let prefix_len = mask.leading_ones();
        (prefix_len > 0 && mask.count_ones() == prefix_len).then_some(prefix_len as u8)
    }

    /// The routers, the best first (§3.5).
    pub fn routers(&self) -> Vec<Ipv4Addr> {
        self.hosts(OptionCode::Router)
    }

    /// The name servers, the best first (§3.8).
    pub fn dns(&self) -> Vec<Ipv4Addr> {
        self.hosts(OptionCode::DomainNameServer)
    }

    /// The domain to look names up in (§3.17).
    pub fn domain(&self) -> Option<String> {
        self.text(OptionCode::DomainName)
    }

    /// Why a server refuses (§9.9).
    pub fn reason(&self) -> Option<String> {
        self.text(OptionCode::Message)
    }

    /// Text as it may be printed: of a stranger's bytes only those that are visible.
    fn text(&self, code: OptionCode) -> Option<String> {
        let bytes = self.bytes(code)?;
        let text: String = bytes.iter().map(|&b| char::from(b)).filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        (!text.is_empty()).then_some(text)
    }

    /// The MTU, in bytes; at least 68 (§5.1).
    pub fn mtu(&self) -> Option<u16> {
        Decoder::new(self.bytes(OptionCode::InterfaceMtu)?).read_u16().ok().filter(|&mtu| mtu >= 68)
    }

    /// Seconds of the lease (§9.2).
    pub fn lease_time(&self) -> Option<u32> {
        self.seconds(OptionCode::AddressLeaseTime)
    }

    /// T1 (§9.11).
    pub fn renewal(&self) -> Option<Duration> {
        self.seconds(OptionCode::Renewal).map(|s| Duration::from_secs(s.into()))
    }

    /// T2 (§9.12).
    pub fn rebinding(&self) -> Option<Duration> {
        self.seconds(OptionCode::Rebinding).map(|s| Duration::from_secs(s.into()))
    }

    /// Classless static routes (RFC 3442): networks and their routers, none where the network is on the link. Nothing if they are malformed.
    pub fn routes(&self) -> Vec<(Cidr, Option<Ipv4Addr>)> {
        self.bytes(OptionCode::ClasslessStaticRoute).and_then(read_routes).unwrap_or_default()
    }
}

fn read_routes(bytes: &[u8]) -> Option<Vec<(Cidr, Option<Ipv4Addr>)>> {
    let mut routes = Vec::new();
    let mut rest = Decoder::new(bytes);
    while let Ok(prefix_len) = rest.read_u8() {
        // As many bytes of the network as count.
        let significant = rest.read_slice(usize::from(prefix_len.div_ceil(8))).ok()?;
        let mut network = [0; 4];
        network.get_mut(..significant.len())?.copy_from_slice(significant);
        let router = rest.read_ipv4(4).ok()?;
        if prefix_len > 32 || !(router.is_unspecified() || is_host(router)) {
            return None;
        }
        let network = Cidr { address: network.into(), prefix_len }.network();
        routes.push((Cidr { address: network, prefix_len }, (!router.is_unspecified()).then_some(router)));
    }
    Some(routes)
}

/// Whether this can be the address of a host on some network.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[u8]) -> Options {
        Options::read(&[0; 240], DhcpOptionIterator::new(options))
    }

    #[test]
    fn one_bad_option_spoils_no_other() {
        let options = read(&[3, 5, 10, 0, 0, 1, 9, 1, 4, 255, 255, 0, 255, 26, 1, 9, 6, 8, 10, 0, 0, 3, 224, 0, 0, 1]);
        assert!(options.routers().is_empty(), "five bytes");
        assert_eq!(options.prefix_len(), None, "a mask with holes");
        assert_eq!(options.mtu(), None);
        assert_eq!(options.dns(), [Ipv4Addr::new(10, 0, 0, 3)], "a group is no server");
    }

    #[test]
    fn options_in_pieces_and_in_the_header() {
        let mut header = [0; 240];
        header[SNAME][..6].copy_from_slice(&[15, 2, b'e', b'x', 255, 9]);
        header[FILE][..8].copy_from_slice(&[6, 4, 10, 0, 0, 3, 255, 0]);
        let text = [52, 1, 3, 15, 1, b'.', 56, 1, b'n', 12, 1, 0, 56, 2, 27, b'o'];
        let options = Options::read(&header, DhcpOptionIterator::new(&text));
        assert_eq!(options.dns(), [Ipv4Addr::new(10, 0, 0, 3)]);
        assert_eq!(options.domain().as_deref(), Some(".ex"), "RFC 3396: in order");
        assert_eq!(options.reason().as_deref(), Some("no"), "without what a terminal would obey");
    }

    /// The table of RFC 3442's "Classless Route Option Format", and beyond it.
    #[test]
    fn classless_routes() {
        let routes = |bytes: &[u8]| {
            let option = [&[121, bytes.len() as u8], bytes].concat();
            read(&option)
                .routes()
                .iter()
                .map(|(to, by)| format!("{}/{} {by:?}", to.address, to.prefix_len))
                .collect::<Vec<_>>()
        };
        let router = [10, 0, 0, 1];
        let with = |destination: &[u8]| [destination, &router].concat();
        for (destination, read) in [
            (&[0][..], "0.0.0.0/0"),
            (&[8, 10], "10.0.0.0/8"),
            (&[24, 10, 0, 0], "10.0.0.0/24"),
            (&[16, 10, 17], "10.17.0.0/16"),
            (&[25, 10, 229, 0, 128], "10.229.0.128/25"),
            (&[32, 10, 198, 122, 47], "10.198.122.47/32"),
            (&[12, 10, 255], "10.240.0.0/12"),
        ] {
            assert_eq!(routes(&with(destination)), [format!("{read} Some(10.0.0.1)")]);
        }
        assert_eq!(routes(&[24, 10, 0, 0, 0, 0, 0, 0]), ["10.0.0.0/24 None"], "on the link");
        for bad in [&with(&[33, 1, 2, 3, 4, 5])[..], &[24, 10, 0], &[0, 10, 0, 0], &[0, 224, 0, 0, 1], &[255]] {
            assert_eq!(routes(bad), [""; 0], "{bad:?}");
        }
    }
}
