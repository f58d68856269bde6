//! VLANs: who gets what with which tag, and transfers over them with super-segments.

mod tcp_common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tcp_common::*;
use wireway_lab::{CableId, Network};
use wireway_link::LinkConfig;
use wireway_packet::software::{Segmenter, to_wire};
use wireway_packet::{Instant, Packet};
use wireway_stack::{
    Cidr, Counter, DropReason, Error, Features, Host, InterfaceConfig, InterfaceId, InterfaceStatistics, Settings, Vlan,
};
use wireway_wire::{EtherType, EthernetHeader, Ipv4View, Ipv6Header, MacAddr, VlanProtocol, VlanTag};

const ETH0: InterfaceId = InterfaceId(1);
const Q: VlanProtocol = VlanProtocol::Customer;
const AD: VlanProtocol = VlanProtocol::Service;

/// Adds VLANs, each within the one before, the last one with [`address`]`(last)`. Its interface.
fn add_vlans(host: &mut Host, last: u8, vlans: &[(VlanProtocol, u16)]) -> InterfaceId {
    let mut parent = ETH0;
    let mut name = String::from("eth0");
    for &(protocol, id) in vlans {
        name = format!("{name}.{id}");
        parent = host.add_vlan(Instant::ZERO, &name, Vlan { parent, protocol, id }).unwrap();
        host.set_up(Instant::ZERO, parent, true).unwrap();
    }
    let cidr = Cidr { address: address(last), prefix_len: prefix_len() };
    host.add_address(Instant::ZERO, parent, cidr, false).unwrap();
    parent
}

fn plain_host(last: u8, features: Features) -> Host {
    let mut host = Host::new(Settings { ipv6_dad_transmits: 0, ..Settings::default() }, [last; 32]);
    let config =
        InterfaceConfig { features, ..InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, last]), 1500) };
    assert_eq!(host.add_interface(Instant::ZERO, config).unwrap(), ETH0);
    host
}

/// Every frame of the cable, as on the wire.
type Seen = Rc<RefCell<Vec<Vec<u8>>>>;

/// Two hosts whose addresses are in VLANs of one cable.
fn two(a: &[(VlanProtocol, u16)], b: &[(VlanProtocol, u16)], features: Features) -> (Two, InterfaceId, Seen) {
    let mut net = Network::new(1);
    let mut hosts = [plain_host(1, features), plain_host(2, features)];
    let interface = add_vlans(&mut hosts[0], 1, a);
    add_vlans(&mut hosts[1], 2, b);
    for host in hosts {
        net.add_host(host);
    }
    let cable = net.connect((A, ETH0), (B, ETH0), LinkConfig::default(), LinkConfig::default());
    let seen = Seen::default();
    let frames = seen.clone();
    net.observe(Box::new(move |_, _: CableId, _, frame: &Packet| {
        frames.borrow_mut().extend(Segmenter::new(frame.clone()).map(to_wire));
    }));
    (Two { net, cable }, interface, seen)
}

const CARD: Features = Features { tx_checksum: true, tcp_segmentation: true };

/// The tags of a frame, and the packet in it, whose checksums are right.
fn dissect(frame: &[u8]) -> (Vec<(VlanProtocol, u16)>, Vec<u8>) {
    let (header, mut rest) = EthernetHeader::parse(frame).unwrap();
    let mut ethertype = header.ethertype();
    let mut tags = Vec::new();
    while let Some(protocol) = VlanProtocol::from_ethertype(ethertype) {
        let (tag, behind) = VlanTag::parse(rest).unwrap();
        tags.push((protocol, tag.id()));
        (ethertype, rest) = (tag.ethertype(), behind);
    }
    let pseudo_and_payload = match ethertype {
        EtherType::IPV4 => {
            let (view, payload) = Ipv4View::parse(rest).unwrap();
            view.verify_checksum().unwrap();
            (view.header.protocol().0 == 6).then(|| (view.header.pseudo(payload.len() as u32), payload))
        }
        EtherType::IPV6 => {
            let (header, payload) = Ipv6Header::parse(rest).unwrap();
            let pseudo = |p: &[u8]| header.pseudo(header.next_header, p.len() as u32);
            (header.next_header.0 == 6).then(|| (pseudo(payload), payload))
        }
        _ => None,
    };
    if let Some((mut sum, payload)) = pseudo_and_payload {
        sum.add_bytes(payload);
        assert!(sum.is_valid(), "a wrong checksum");
    }
    (tags, rest.to_vec())
}

fn over_vlans(vlans: &[(VlanProtocol, u16)], features: Features) {
    let (mut two, interface, seen) = two(vlans, vlans, features);
    let pair = two.pair();
    let (there, back) = (pattern(1, 300_000), pattern(2, 200_000));
    transfer(&mut two, pair, there, back, Duration::from_secs(60));
    let expected: Vec<(VlanProtocol, u16)> = vlans.to_vec();
    let mut longest = 0;
    for frame in seen.borrow().iter() {
        let (tags, packet) = dissect(frame);
        assert_eq!(tags, expected, "{frame:02x?}");
        longest = longest.max(packet.len());
    }
    // As long as without tags, which come in addition.
    assert_eq!(longest, 1500);
    let host = two.net.host(A);
    let of = |id| -> InterfaceStatistics { host.interface(id).unwrap().statistics };
    let (child, parent) = (of(interface), of(ETH0));
    assert_eq!((child.tx_dropped, child.rx_dropped, parent.rx_dropped), (0, 0, 0));
    assert_eq!(child.rx_packets, parent.rx_packets);
    let tags = 4 * vlans.len() as u64;
    assert_eq!(child.rx_bytes + tags * child.rx_packets, parent.rx_bytes);
    if features == Features::default() {
        assert_eq!(child.tx_packets, parent.tx_packets);
        assert_eq!(child.tx_bytes + tags * child.tx_packets, parent.tx_bytes);
    }
}

both_families! {
    fn a_vlan_carries_a_transfer() {
        over_vlans(&[(Q, 5)], Features::default());
    }

    fn super_segments_are_cut_right_below_a_tag() {
        over_vlans(&[(Q, 5)], CARD);
    }

    fn a_vlan_within_a_vlan() {
        over_vlans(&[(AD, 100), (Q, 5)], Features::default());
    }

    fn super_segments_within_two_vlans() {
        over_vlans(&[(AD, 100), (Q, 4094)], CARD);
    }

    fn another_vlan_is_another_link() {
        for other in [&[(Q, 6)][..], &[(AD, 5)], &[]] {
            let (mut two, _, _) = two(&[(Q, 5)], other, Features::default());
            two.listen(B, PORT);
            let id = two.connect(A);
            two.run(Duration::from_secs(10));
            assert_eq!(two.net.host(A).take_error(id), Some(Error::HostUnreachable), "{other:?}");
            let b = two.net.host(B);
            assert_eq!(b.counters()[Counter::TcpInSegs], 0);
            let unknown = b.counters()[DropReason::VlanUnknown];
            assert!(unknown > 0, "{other:?}");
            assert_eq!(b.interface(ETH0).unwrap().statistics.rx_dropped, unknown);
        }
    }
}

/// A host with a VLAN beside its untagged network: fd00::/64 or 10.0.0.0/24 in the VLAN, 10.0.7.1/24 untagged.
mod one_host {
    use std::net::Ipv4Addr;

    use wireway_packet::Slice;
    use wireway_stack::{Error, InterfaceId, Medium, RouteEntry};
    use wireway_wire::zerocopy::IntoBytes;
    use wireway_wire::{ArpOperation, ArpPacket};

    use super::*;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const NOW: Instant = Instant::from_millis(1_000);

    fn host() -> (Host, InterfaceId) {
        let mut host = plain_host(1, Features::default());
        let untagged = Cidr { address: Ipv4Addr::new(10, 0, 7, 1).into(), prefix_len: 24 };
        host.add_address(NOW, ETH0, untagged, false).unwrap();
        let vlan = add_vlans(&mut host, 1, &[(Q, 5)]);
        sent(&mut host);
        (host, vlan)
    }

    fn sent(host: &mut Host) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| host.transmit(NOW, ETH0)).map(|frame| frame.to_vec()).collect()
    }

    /// A frame that asks for `target`, behind these tags, each with a priority.
    fn ask(dst: MacAddr, tags: &[(VlanProtocol, u16)], target: Ipv4Addr) -> Packet {
        let asker = Ipv4Addr::from_bits(target.to_bits() + 8);
        let arp = ArpPacket::request(PEER, asker, target);
        let mut frame = [dst.0, PEER.0].concat();
        for (protocol, id) in tags {
            frame.extend_from_slice(&protocol.ethertype().0.to_be_bytes());
            frame.extend_from_slice(&(id | 0x6000).to_be_bytes());
        }
        frame.extend_from_slice(&EtherType::ARP.0.to_be_bytes());
        frame.extend_from_slice(arp.as_bytes());
        frame.resize(frame.len().max(60), 0);
        Packet::from_slice(Slice::copy_from(&frame))
    }

    /// The tags and the sender of the only answer.
    fn answer(host: &mut Host) -> Option<(Vec<(VlanProtocol, u16)>, Ipv4Addr)> {
        let frames = sent(host);
        assert!(frames.len() <= 1);
        let (tags, packet) = dissect(frames.first()?);
        let arp = ArpPacket::parse(&packet).unwrap();
        assert_eq!(arp.operation(), ArpOperation::REPLY);
        Some((tags, arp.sender_ip()))
    }

    #[test]
    fn a_priority_tag_says_nothing_of_a_vlan() {
        let (mut host, _) = host();
        let (untagged, tagged) = (Ipv4Addr::new(10, 0, 7, 1), Ipv4Addr::new(10, 0, 0, 1));
        host.receive(NOW, ETH0, ask(MacAddr::BROADCAST, &[(Q, 0)], untagged));
        assert_eq!(answer(&mut host), Some((vec![], untagged)));
        host.receive(NOW, ETH0, ask(OWN, &[(AD, 0), (Q, 0)], untagged));
        assert_eq!(answer(&mut host), Some((vec![], untagged)));
        host.receive(NOW, ETH0, ask(MacAddr::BROADCAST, &[(Q, 5)], tagged));
        assert_eq!(answer(&mut host), Some((vec![(Q, 5)], tagged)));
        host.receive(NOW, ETH0, ask(MacAddr::BROADCAST, &[(AD, 0), (Q, 5)], tagged));
        assert_eq!(answer(&mut host), Some((vec![(Q, 5)], tagged)));
        assert_eq!(host.interface(ETH0).unwrap().statistics.rx_packets, 4, "each is counted once");
        // Each network has its own neighbours.
        host.receive(NOW, ETH0, ask(OWN, &[(Q, 6)], tagged));
        host.receive(NOW, ETH0, ask(OWN, &[(AD, 5)], tagged));
        assert_eq!(answer(&mut host), None);
        assert_eq!(host.counters()[DropReason::VlanUnknown], 2);
    }

    #[test]
    fn a_vlan_may_have_a_mac_address_of_its_own() {
        let (mut host, vlan) = host();
        let (other, target) = (MacAddr([2, 0, 0, 0, 0, 7]), Ipv4Addr::new(10, 0, 0, 1));
        host.set_mac(vlan, other).unwrap();
        assert_eq!(host.set_mac(vlan, MacAddr::BROADCAST), Err(Error::AddressNotAvailable));
        host.receive(NOW, ETH0, ask(other, &[(Q, 5)], target));
        assert_eq!(answer(&mut host), Some((vec![(Q, 5)], target)));
        host.receive(NOW, ETH0, ask(OWN, &[(Q, 5)], target));
        host.receive(NOW, ETH0, ask(other, &[], target));
        host.receive(NOW, ETH0, ask(other, &[(Q, 0)], target));
        assert_eq!((answer(&mut host), host.counters()[DropReason::OtherHost]), (None, 3));
        // The parent's new one is no longer the VLAN's too.
        host.set_mac(ETH0, MacAddr([2, 0, 0, 0, 0, 8])).unwrap();
        assert_eq!(host.interface(vlan).unwrap().medium, Medium::Ethernet(other));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (mut host, vlan) = host();
        let mut add = |name: &str, parent, protocol, id| host.add_vlan(NOW, name, Vlan { parent, protocol, id });
        assert_eq!(add("x", ETH0, Q, 0), Err(Error::OutOfRange));
        assert_eq!(add("x", ETH0, Q, 4095), Err(Error::OutOfRange));
        assert_eq!(add("x", ETH0, Q, 5), Err(Error::Exists));
        assert_eq!(add("eth0", ETH0, Q, 6), Err(Error::Exists));
        assert_eq!(add("x", InterfaceId(77), Q, 6), Err(Error::NoDevice));
        assert_eq!(add("x", InterfaceId::LOOPBACK, Q, 6), Err(Error::NotSupported));
        let mut parent = vlan;
        let nested = (0..20).take_while(|n| match add(&format!("n{n}"), parent, Q, 9) {
            Ok(id) => {
                parent = id;
                true
            }
            Err(error) => {
                assert_eq!(error, Error::InvalidArgument);
                false
            }
        });
        assert_eq!(nested.count(), 7, "eight within each other");
        assert_eq!(host.remove_interface(NOW, ETH0), Err(Error::NotSupported));
        assert_eq!(host.set_mtu(NOW, vlan, 1501), Err(Error::OutOfRange));
        assert_eq!(host.set_queue_limit(vlan, 10), Err(Error::NotSupported));
    }

    #[test]
    fn what_is_removed_takes_all_with_it() {
        let (mut host, vlan) = host();
        let inner = host.add_vlan(NOW, "inner", Vlan { parent: vlan, protocol: Q, id: 6 }).unwrap();
        host.set_up(NOW, inner, true).unwrap();
        host.add_address(NOW, inner, Cidr { address: Ipv4Addr::new(10, 9, 0, 1).into(), prefix_len: 16 }, false)
            .unwrap();
        let by = |host: &Host, at| host.routes().iter().filter(|route: &&RouteEntry| route.interface == at).count();
        assert_eq!((by(&host, vlan), by(&host, inner)), (1, 1));
        let (usage, interfaces) = (host.usage(), host.interfaces().count());
        host.remove_interface(NOW, vlan).unwrap();
        assert_eq!(host.interfaces().count(), interfaces - 2);
        assert!(host.interface(vlan).is_none() && host.interface(inner).is_none());
        assert_eq!((by(&host, vlan), by(&host, inner)), (0, 0));
        assert!(host.groups().iter().all(|info| info.interface != vlan && info.interface != inner));
        assert!(host.usage().timers <= usage.timers);
        let target = Ipv4Addr::new(10, 0, 0, 1);
        host.receive(NOW, ETH0, ask(OWN, &[(Q, 5)], target));
        assert_eq!((answer(&mut host), host.counters()[DropReason::VlanUnknown]), (None, 1));
        host.receive(NOW, ETH0, ask(OWN, &[], target));
        assert_eq!(answer(&mut host), None, "its address is no longer the host's");
        for result in [host.set_up(NOW, vlan, true), host.remove_interface(NOW, vlan), host.set_mtu(NOW, vlan, 1400)] {
            assert_eq!(result, Err(Error::NoDevice));
        }
        // The same once more is another.
        let again = add_vlans(&mut host, 1, &[(Q, 5)]);
        assert!(again > inner);
        host.receive(NOW, ETH0, ask(OWN, &[(Q, 5)], target));
        assert_eq!(answer(&mut host), Some((vec![(Q, 5)], target)));
    }
}
