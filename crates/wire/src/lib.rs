//! Typed views over the bytes of every header Wireway speaks, and the Internet checksum.
//!
//! This crate knows formats and nothing else: it never allocates, does no I/O and has no policy.
//! Headers are `#[repr(C)]` structs that the [`zerocopy`] crate lets us read and write in place in
//! a packet's bytes. Bytes are checked once, at the edge, by a `parse` function; what it returns
//! can be read without further checks. No input, however hostile, makes anything here panic.
//!
//! Two parse functions recur. `parse` takes a whole packet in one slice and returns the header and
//! the payload. `parse_head` takes only the bytes that hold the headers, and where the format
//! carries a length, how long the whole packet is: for packets whose payload is scattered.
//!
//! | file | format | documents |
//! | --- | --- | --- |
//! | `checksum.rs`, `checksum/x86.rs` | the Internet checksum | RFC 1071, 1624; pseudo headers of RFC 768, 9293, 8200 |
//! | `ethernet.rs` | Ethernet II, MAC addresses | RFC 894, 1112 §6.4, 2464 §4 and §7 |
//! | `vlan.rs` | VLAN tags | IEEE 802.1Q, 802.1ad |
//! | `arp.rs` | ARP for IPv4 on Ethernet | RFC 826, 5227 |
//! | `protocol.rs` | the protocol numbers of IP | IANA's registry (RFC 5237) |
//! | `ipv4.rs`, `ipv4_options.rs` | IPv4 | RFC 791, 2474, 3168 |
//! | `ipv6.rs` | IPv6's fixed header, addresses with a meaning | RFC 8200 §3, 4291 |
//! | `ipv6_ext.rs`, `ipv6_options.rs` | IPv6's extension headers and their options | RFC 8200 §4, 2711, 4302, 5095, 6946 |
//! | `icmpv4.rs` | ICMP | RFC 792, 1122, 1191, 1812, 4884 |
//! | `icmpv6.rs` | ICMPv6 | RFC 4443, 4884, 7112, 8883 |
//! | `ndp.rs`, `ndp_options.rs` | neighbour discovery and its options | RFC 4861, 3971 §5.3.2, 4191, 7527, 8106 |
//! | `igmp.rs`, `mld.rs`, `membership.rs` | IGMP, MLD, and what they share | RFC 1112, 2236, 9776; RFC 2710, 9777 |
//! | `domain_name.rs` | domain names in options | RFC 1035 §3.1 |
//! | `udp.rs` | UDP and UDP-Lite | RFC 768, 3828 |
//! | `tcp.rs`, `seq.rs` | TCP's header and sequence numbers | RFC 9293, 3168, 9768 |
//! | `tcp_options.rs` | TCP's options | RFC 9293 §3.1 and 3.2, 7323, 2018 |
//! | `error.rs` | why bytes were not accepted | |

#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arp;
pub mod checksum;
pub mod domain_name;
pub mod error;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod igmp;
pub mod ipv4;
pub mod ipv4_options;
pub mod ipv6;
pub mod ipv6_ext;
pub mod ipv6_options;
pub mod membership;
pub mod mld;
pub mod ndp;
pub mod ndp_options;
pub mod protocol;
pub mod seq;
pub mod tcp;
pub mod tcp_options;
pub mod udp;
pub mod vlan;

pub use arp::{ArpOperation, ArpPacket};
pub use checksum::Sum;
pub use domain_name::{DomainName, DomainNameIter};
pub use error::Malformed;
pub use ethernet::{EtherType, EthernetHeader, MacAddr};
pub use icmpv4::{Icmpv4Header, Icmpv4Type, Quoted};
pub use icmpv6::{Icmpv6Header, Icmpv6Type, QuotedV6};
pub use igmp::{IgmpHeader, IgmpQuery, IgmpReport, IgmpReportWriter, IgmpType};
pub use ipv4::{Ipv4Fields, Ipv4Header, Ipv4View};
pub use ipv4_options::{Ipv4Option, Ipv4OptionIter};
pub use ipv6::{Ipv6Fields, Ipv6Header};
pub use ipv6_ext::{Extension, ExtensionIter, ExtensionKind, FragmentHeader, Ipv6Chain, RoutingHeader};
pub use ipv6_options::{Ipv6Option, Ipv6OptionIter, UnknownOption};
pub use membership::{
    GroupAddress, GroupQuery, GroupRecord, GroupReport, QueryVersion, RecordKind, ReportWriter, Sources,
};
pub use mld::{MldQuery, MldReport, MldReportWriter, MldV1Message};
pub use ndp::{
    AdvertisementFlags, NeighbourAdvertisement, NeighbourSolicitation, Redirect, RouterAdvertisement,
    RouterAdvertisementFields, RouterPreference, RouterSolicitation,
};
pub use ndp_options::{
    DnsServers, NdpOption, NdpOptionIter, NdpOptions, NdpWriter, PrefixInformation, RouteInformation, SearchList,
};
pub use protocol::Protocol;
pub use seq::SeqNumber;
pub use tcp::{TcpFields, TcpFlags, TcpHeader, TcpView};
pub use tcp_options::{SackBlocks, TcpOption, TcpOptionIter, TcpOptions};
pub use udp::UdpHeader;
pub use vlan::{VlanProtocol, VlanTag};
pub use zerocopy;
