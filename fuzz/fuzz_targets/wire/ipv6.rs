//! IPv6: the chain of headers, ICMPv6, neighbour discovery, and the groups of both families.

use std::net::{Ipv4Addr, Ipv6Addr};

use wireway_wire::ipv6_ext::{MAX_CHAIN_LEN, MAX_HEADERS};
use wireway_wire::ipv6_options::MAX_OPTIONS;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    ExtensionIter, ExtensionKind, FragmentHeader, GroupAddress, GroupReport, Icmpv6Header, IgmpHeader, IgmpQuery,
    IgmpReport, IgmpReportWriter, Ipv6Chain, Ipv6Header, Ipv6OptionIter, MldQuery, MldReport, MldReportWriter,
    MldV1Message, NdpOption, NdpOptions, NdpWriter, NeighbourAdvertisement, NeighbourSolicitation, Protocol,
    QueryVersion, Redirect, ReportWriter, RouterAdvertisement, RouterSolicitation, Sum, icmpv6, igmp, ipv6,
};

/// Each parser on the bytes themselves.
pub fn all(bytes: &[u8]) {
    packet(bytes);
    if let Some((&first, rest)) = bytes.split_first() {
        chain(Protocol(first), rest);
    }
    options(bytes, 0);
    ndp_options(bytes);
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    for (src, dst) in [(link_local, ipv6::ALL_NODES), (Ipv6Addr::UNSPECIFIED, ipv6::solicited_node(link_local))] {
        icmp(src, dst, bytes);
    }
    igmp(bytes);
}

/// A whole packet. What its chain of headers ends at comes back.
pub fn packet(bytes: &[u8]) -> Option<(Protocol, &[u8])> {
    let (header, payload) = Ipv6Header::parse(bytes).ok()?;
    assert_eq!(payload.len(), header.payload_len());
    assert_eq!(Ipv6Header::new(&header.fields()), *header);
    let chain = chain(header.next_header, payload)?;
    assert_eq!(bytes[chain.pointer], chain.protocol.0);
    if !chain.has_transport() {
        return None;
    }
    let transport = &bytes[chain.offset()..Ipv6Header::LEN + payload.len()];
    if chain.protocol == Protocol::ICMPV6 {
        icmp(header.src(), header.dst(), transport);
    }
    Some((chain.protocol, transport))
}

fn chain(first: Protocol, bytes: &[u8]) -> Option<Ipv6Chain> {
    let mut headers = ExtensionIter::new(first, bytes);
    let (mut len, mut count, mut failed) = (0, 0, false);
    for header in headers.by_ref() {
        let Ok(header) = header else {
            failed = true;
            continue;
        };
        assert!(!failed);
        assert_eq!(header.offset, Ipv6Header::LEN + len);
        assert_eq!(header.next_header.0, bytes[len]);
        let whole = &bytes[len..len + header.len];
        match header.kind {
            ExtensionKind::HopByHop(_) | ExtensionKind::Destination(_) => options(&whole[2..], header.offset + 2),
            ExtensionKind::Routing(routing) => assert_eq!(routing.as_bytes(), &whole[..4]),
            ExtensionKind::Fragment(fragment) => {
                let (next, offset, more) = (fragment.next_header, fragment.offset(), fragment.more_fragments());
                let made = FragmentHeader::new(next, offset, more, fragment.ident());
                assert_eq!((made.offset(), made.more_fragments(), made.ident()), (offset, more, fragment.ident()));
            }
            ExtensionKind::Authentication => assert_eq!(whole.len() % 8, 0),
        }
        len += header.len;
        count += 1;
    }
    assert!(len <= MAX_CHAIN_LEN && count <= MAX_HEADERS);
    let chain = Ipv6Chain::parse(first, bytes);
    assert_eq!(chain.is_err(), failed);
    chain.ok().inspect(|chain| assert_eq!((*chain, chain.len), (headers.so_far(), len)))
}

fn options(bytes: &[u8], offset: usize) {
    let mut options = Ipv6OptionIter::new(bytes, offset);
    let mut count = 0;
    for option in options.by_ref().map_while(Result::ok) {
        assert_eq!(option.kind, bytes[option.offset - offset]);
        assert!(option.offset - offset + 2 + option.data.len() <= bytes.len());
        count += 1;
    }
    assert!(count <= MAX_OPTIONS);
    assert!(options.next().is_none());
}

fn icmp(src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8]) {
    let Ok((header, payload)) = Icmpv6Header::parse(bytes) else {
        return;
    };
    let mut made = Icmpv6Header::new(header.kind, header.code, header.rest);
    made.fill_checksum(Sum::pseudo_v6(src, dst, Protocol::ICMPV6, bytes.len() as u32), Sum::of(payload));
    assert_eq!(icmpv6::verify_checksum(src, dst, &[made.as_bytes(), payload].concat()), Ok(()));
    if let Ok(quoted) = header.quoted(payload) {
        assert!(Ipv6Header::LEN + quoted.payload.len() <= payload.len());
        if let Ok((chain, transport)) = quoted.transport() {
            assert_eq!(chain.len + transport.len(), quoted.payload.len());
        }
    }
    ndp(src, dst, bytes);
    mld(src, dst, bytes);
}

fn ndp(src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8]) {
    if let Ok((solicitation, options)) = NeighbourSolicitation::parse(src, dst, bytes) {
        assert!(!solicitation.target().is_multicast());
        assert!(!src.is_unspecified() || options.source_link_layer().is_none());
    }
    if let Ok((advertisement, _)) = NeighbourAdvertisement::parse(dst, bytes) {
        let made = NeighbourAdvertisement::new(advertisement.flags(), advertisement.target());
        assert_eq!((made.flags(), made.target()), (advertisement.flags(), advertisement.target()));
    }
    if let Ok((_, options)) = RouterSolicitation::parse(src, bytes) {
        assert!(!src.is_unspecified() || options.source_link_layer().is_none());
    }
    if let Ok((advertisement, options)) = RouterAdvertisement::parse(src, bytes) {
        let fields = advertisement.fields();
        assert_eq!(RouterAdvertisement::new(&fields).fields(), fields);
        rewrite(src, dst, &RouterAdvertisement::new(&fields), options);
    }
    if let Ok((redirect, _)) = Redirect::parse(src, bytes) {
        assert!(!redirect.destination().is_multicast());
    }
}

/// What a router advertisement says, written and read again.
fn rewrite(src: Ipv6Addr, dst: Ipv6Addr, advertisement: &RouterAdvertisement, options: NdpOptions) {
    let mut out = vec![0; 70_000];
    let known = |option: &NdpOption| !matches!(option, NdpOption::Other { .. } | NdpOption::SearchList(_));
    let mut writer = NdpWriter::new(&mut out, advertisement);
    for option in options {
        writer = match option {
            NdpOption::SourceLinkLayer(mac) => writer.source_link_layer(mac),
            NdpOption::TargetLinkLayer(mac) => writer.target_link_layer(mac),
            NdpOption::Prefix(prefix) => writer.prefix(prefix),
            NdpOption::RedirectedHeader(packet) => writer.redirected_header(packet),
            NdpOption::Mtu(mtu) => writer.mtu(mtu),
            NdpOption::Route(route) => writer.route(&route),
            NdpOption::DnsServers(dns) => writer.dns_servers(dns.lifetime, &dns.servers().collect::<Vec<_>>()),
            NdpOption::Nonce(nonce) if nonce.len() == 6 => writer.nonce(nonce.try_into().unwrap()),
            NdpOption::Nonce(_) => return,
            NdpOption::SearchList(_) | NdpOption::Other { .. } => writer,
        };
    }
    let len = writer.finish(src, dst).unwrap();
    assert_eq!(icmpv6::verify_checksum(src, dst, &out[..len]), Ok(()));
    let (_, again) = RouterAdvertisement::parse(src, &out[..len]).unwrap();
    assert!(again.iter().eq(options.iter().filter(known)));
}

fn ndp_options(bytes: &[u8]) {
    let Ok(options) = NdpOptions::parse(bytes) else {
        return;
    };
    assert!(options.iter().count() <= bytes.len() / 8);
    for option in options {
        match option {
            NdpOption::Prefix(prefix) => assert!(prefix.prefix_len() <= 128),
            NdpOption::Route(route) => assert!(route.prefix_len <= 128),
            NdpOption::DnsServers(dns) => assert!(dns.servers().len() > 0),
            NdpOption::SearchList(search) => {
                let text: String = search.names().map(|name| format!("{name} ")).collect();
                assert!(!text.is_empty() && text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
            }
            _ => {}
        }
    }
}

fn mld(src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8]) {
    let mut out = vec![0; bytes.len()];
    if let Ok((query, sources)) = MldQuery::parse(bytes) {
        let sources: Vec<_> = sources.iter().collect();
        let len = query.emit(&mut out, &sources, src, dst).unwrap();
        assert_eq!(icmpv6::verify_checksum(src, dst, &out[..len]), Ok(()));
        let (again, same) = MldQuery::parse(&out[..len]).unwrap();
        assert_eq!((again, same.iter().collect()), (query, sources));
    }
    if let Ok(report) = MldReport::parse(bytes) {
        let mut writer = MldReportWriter::new(&mut out);
        records(report, &mut writer);
        let len = writer.finish(src, dst).unwrap();
        assert!(MldReport::parse(&out[..len]).unwrap().records().eq(report.records()));
    }
    if let Ok(message) = MldV1Message::parse(bytes) {
        assert!(message.group().is_multicast());
    }
}

pub fn igmp(bytes: &[u8]) {
    let mut out = vec![0; bytes.len()];
    if let Ok((query, sources)) = IgmpQuery::parse(bytes) {
        let sources: Vec<Ipv4Addr> = sources.iter().collect();
        let len = query.emit(&mut out, &sources).unwrap();
        assert_eq!(igmp::verify_checksum(&out[..len]), Ok(()));
        let (again, same) = IgmpQuery::parse(&out[..len]).unwrap();
        assert_eq!((again, same.iter().collect()), (query, sources));
        assert!(query.version < QueryVersion::V3 || len >= 12);
    }
    if let Ok(report) = IgmpReport::parse(bytes) {
        let mut writer = IgmpReportWriter::new(&mut out);
        records(report, &mut writer);
        let len = writer.finish().unwrap();
        assert!(IgmpReport::parse(&out[..len]).unwrap().records().eq(report.records()));
    }
    if let Ok((header, _)) = IgmpHeader::parse(bytes) {
        let made = IgmpHeader::new(header.kind, header.group());
        assert_eq!(igmp::verify_checksum(made.as_bytes()), Ok(()));
    }
}

/// Writes the records of a report again. There is room: auxiliary data are left out.
fn records<A: GroupAddress>(report: GroupReport<A>, writer: &mut ReportWriter<A>) {
    for record in report.records() {
        assert!(writer.record(record.kind, record.group, &record.sources.iter().collect::<Vec<_>>()));
    }
}
