//! Every parser of the wire crate on any bytes: as a whole frame, layer by layer, and each parser on the
//! bytes themselves. Nothing may panic, and what was accepted must hold what its type promises.

#![no_main]

mod ipv6;

use libfuzzer_sys::fuzz_target;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    ArpPacket, EtherType, EthernetHeader, Icmpv4Header, Ipv4Header, Ipv4OptionIter, Ipv4View, MacAddr, Protocol, Sum,
    TcpHeader, TcpOptionIter, TcpOptions, TcpView, UdpHeader, VlanTag,
};

fuzz_target!(|bytes: &[u8]| {
    frame(bytes);
    arp(bytes);
    ipv4(bytes);
    ipv6::all(bytes);
    icmpv4(bytes);
    udp(bytes);
    tcp(bytes);
    tcp_options(bytes);
    ipv4_options(bytes);
    checksum(bytes);
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(mac) = text.parse::<MacAddr>()
    {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
});

fn frame(bytes: &[u8]) {
    let Ok((header, mut payload)) = EthernetHeader::parse(bytes) else {
        return assert!(bytes.len() < EthernetHeader::LEN);
    };
    let mut ethertype = header.ethertype();
    assert_eq!(*header, EthernetHeader::new(header.dst, header.src, ethertype));
    while ethertype.is_vlan() {
        let Ok((tag, rest)) = VlanTag::parse(payload) else {
            return;
        };
        assert_eq!(*tag, VlanTag::new(tag.priority(), tag.drop_eligible(), tag.id(), tag.ethertype()));
        (ethertype, payload) = (tag.ethertype(), rest);
    }
    match ethertype {
        EtherType::ARP => arp(payload),
        EtherType::IPV4 => ipv4(payload),
        EtherType::IPV6 => {
            if let Some((protocol, payload)) = ipv6::packet(payload) {
                transport(protocol, payload);
            }
        }
        _ => {}
    }
}

fn arp(bytes: &[u8]) {
    let Ok(packet) = ArpPacket::parse(bytes) else {
        return;
    };
    let sender = (packet.sender_mac(), packet.sender_ip());
    let target = (packet.target_mac(), packet.target_ip());
    assert_eq!(*packet, ArpPacket::new(packet.operation(), sender, target));
    let reply = packet.reply(MacAddr::BROADCAST);
    assert_eq!(reply.target_ip(), packet.sender_ip());
}

fn ipv4(bytes: &[u8]) {
    let Ok((ip, payload)) = Ipv4View::parse(bytes) else {
        return;
    };
    let header = ip.header;
    assert_eq!(Ipv4Header::LEN + ip.options.len(), header.header_len());
    assert_eq!(header.header_len() + payload.len(), header.total_len());
    // What we make of its values differs in the reserved flag and the checksum at most.
    let made = Ipv4Header::new(&header.fields(), ip.options);
    assert_eq!(made.fields(), header.fields());
    assert_eq!(Ipv4View { header: &made, options: ip.options }.verify_checksum(), Ok(()));
    let reserved = header.as_bytes()[6] & 0x80 != 0;
    assert!(reserved || ip.verify_checksum().is_err() || made.as_bytes()[..10] == header.as_bytes()[..10]);
    ipv4_options(ip.options);
    transport(header.protocol(), payload);
}

fn transport(protocol: Protocol, payload: &[u8]) {
    match protocol {
        Protocol::ICMP => icmpv4(payload),
        Protocol::IGMP => ipv6::igmp(payload),
        Protocol::TCP => tcp(payload),
        Protocol::UDP => udp(payload),
        _ => {}
    }
}

fn icmpv4(bytes: &[u8]) {
    let Ok((header, payload)) = Icmpv4Header::parse(bytes) else {
        return;
    };
    let mut made = Icmpv4Header::new(header.kind, header.code, header.rest);
    made.fill_checksum(Sum::of(payload));
    let mut sum = Sum::of(made.as_bytes());
    sum.add_bytes(payload);
    assert!(sum.is_valid());
    if let Ok(quoted) = header.quoted(payload) {
        assert!(quoted.ip.header.header_len() + quoted.payload.len() <= payload.len());
        match quoted.ip.header.protocol() {
            Protocol::UDP => udp(quoted.payload),
            Protocol::TCP => tcp(quoted.payload),
            _ => {}
        }
    }
}

fn udp(bytes: &[u8]) {
    if let Ok((header, payload)) = UdpHeader::parse(bytes) {
        assert_eq!(payload.len(), header.payload_len());
    }
    if let Ok((_, covered)) = UdpHeader::parse_lite(bytes, bytes.len()) {
        assert!(covered >= UdpHeader::LEN && covered <= bytes.len());
    }
}

fn tcp(bytes: &[u8]) {
    let Ok((tcp, payload)) = TcpView::parse(bytes) else {
        return;
    };
    assert_eq!(tcp.header.header_len() + payload.len(), bytes.len());
    let made = TcpHeader::new(&tcp.header.fields(), tcp.options.len());
    assert_eq!(made.fields(), tcp.header.fields());
    assert_eq!(made.header_len(), tcp.header.header_len());
    tcp_options(tcp.options);
}

fn tcp_options(bytes: &[u8]) {
    let all_good = TcpOptionIter::new(bytes).all(|option| option.is_ok());
    let Ok(mut options) = TcpOptions::parse(bytes) else {
        return assert!(!all_good);
    };
    assert!(all_good);
    let mut out = [0; 40];
    let len = options.emit(&mut out);
    assert!(len == options.len() && len % 4 == 0);
    let again = TcpOptions::parse(&out[..len]).unwrap();
    options.sack_blocks.truncate(again.sack_blocks.len());
    assert_eq!(again, options);
}

fn ipv4_options(bytes: &[u8]) {
    let mut options = Ipv4OptionIter::new(bytes);
    let len: usize = options.by_ref().flatten().map(|option| option.data.len() + 1).sum();
    assert!(len <= bytes.len());
    assert!(options.next().is_none());
}

fn checksum(bytes: &[u8]) {
    let mut plain = 0u32;
    for pair in bytes.chunks(2) {
        plain += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        plain = (plain & 0xffff) + (plain >> 16);
    }
    assert_eq!(u32::from(Sum::of(bytes).fold()), plain);
    let cut = usize::from(bytes.first().copied().unwrap_or(0)).min(bytes.len());
    let (a, b) = bytes.split_at(cut);
    let mut parts = Sum::of(a);
    parts.add_bytes(b);
    assert_eq!(u32::from(parts.fold()), plain);
}
