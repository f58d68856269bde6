//! Messages that nobody should send: whatever comes, nothing panics, and what the client believes can be an address.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::*;
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use proptest::collection::vec;
use proptest::prelude::*;
use wireway_stack::{Domain, Kind, SocketOption};

/// What is done to a sound message.
#[derive(Clone, Debug)]
enum Lie {
    /// A byte anywhere.
    Change(usize, u8),
    Cut(usize),
    /// Bytes in the place of the options.
    Options(Vec<u8>),
    /// An option with these contents.
    Option(u8, Vec<u8>),
    Append(Vec<u8>),
}

fn lie() -> impl Strategy<Value = Lie> {
    let codes = prop::sample::select(vec![1_u8, 3, 6, 15, 26, 51, 52, 53, 54, 56, 58, 59, 61, 80, 81, 82, 121, 151]);
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Lie::Change(at.index(300), byte)),
        (0..320_usize).prop_map(Lie::Cut),
        vec(any::<u8>(), 0..400).prop_map(Lie::Options),
        (codes, vec(any::<u8>(), 0..40)).prop_map(|(code, bytes)| Lie::Option(code, bytes)),
        vec(any::<u8>(), 0..40).prop_map(Lie::Append),
    ]
}

fn tell(mut bytes: Vec<u8>, lies: &[Lie]) -> Vec<u8> {
    for lie in lies {
        match lie {
            Lie::Change(at, byte) => {
                if let Some(place) = bytes.get_mut(*at) {
                    *place = *byte;
                }
            }
            Lie::Cut(len) => bytes.truncate(*len),
            Lie::Options(options) => {
                bytes.truncate(240);
                bytes.extend_from_slice(options);
            }
            Lie::Option(code, data) => {
                // Before the end mark of a sound message.
                let end = bytes.iter().rposition(|&b| b == 255).unwrap_or(bytes.len());
                bytes.splice(end..end, [&[*code, data.len() as u8], &data[..]].concat());
            }
            Lie::Append(more) => bytes.extend_from_slice(more),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// A server that lies at every turn.
    #[test]
    fn a_client_among_liars(turns in vec((0..4_u8, any::<bool>(), vec(lie(), 0..3)), 1..12), wait in 0..5000_u64) {
        let mut rig = Rig::silent();
        rig.script();
        let mut last = rig.next_request();
        for (kind, heard, lies) in turns {
            if heard {
                // What it asks next, if it asks at all; it may be content.
                let Answering::Script(socket) = rig.answering else { unreachable!() };
                let mut buffer = [0; 1500];
                rig.run_for(Duration::from_secs(wait));
                while let Ok(info) = rig.net.host(rig.server_host).recv_from(socket, &mut buffer, Default::default()) {
                    last = dhcproto::Decodable::from_bytes(&buffer[..info.len]).expect("the client's are sound");
                }
            }
            let kind = [MessageType::Offer, MessageType::Ack, MessageType::Nak, MessageType::ForceRenew][usize::from(kind)];
            let mut message = answer(&last, kind, FIRST, SERVER);
            message.opts_mut().insert(DhcpOption::DomainName("example".into()));
            rig.reply_bytes(&tell(message.to_vec().unwrap(), &lies));
            rig.run_for(Duration::from_secs(8));
            if let Some(lease) = rig.client.lease().cloned() {
                prop_assert!(rig.addresses() == [IpAddr::from(lease.ip())]);
                prop_assert!(!lease.ip().is_unspecified() && !lease.ip().is_multicast() && !lease.ip().is_loopback());
                prop_assert!(lease.renewal <= lease.rebinding);
            }
            prop_assert!(rig.host().interface(ETH0).unwrap().mtu >= 68);
        }
        // With an honest server all is well again: when the lies have expired, or the lease was a long one.
        rig.serve(server_config());
        prop_assert!(rig.until(Duration::from_secs(u32::MAX.into()), |rig| rig.client.lease().is_some()));
    }

    #[test]
    fn a_server_among_liars(turns in vec((0..6_u8, vec(lie(), 0..3)), 1..20)) {
        let mut rig = Rig::new();
        let lease = rig.bind();
        let now = rig.net.now();
        let discover = rig.sent(MessageType::Discover).pop().unwrap().2;
        let host = rig.net.host(rig.client_host);
        let socket = host.socket(Domain::Inet, Kind::Datagram).unwrap();
        host.set_option(now, socket, SocketOption::Broadcast(true)).unwrap();
        for (n, (kind, lies)) in turns.iter().enumerate() {
            let kinds = [
                MessageType::Discover, MessageType::Request, MessageType::Decline, MessageType::Release, MessageType::Inform,
                MessageType::LeaseQuery,
            ];
            let mut message = discover.clone();
            message.set_chaddr(&[2, 0, 0, 0, 7, n as u8]);
            message.opts_mut().insert(DhcpOption::MessageType(kinds[usize::from(*kind)]));
            message.opts_mut().remove(OptionCode::ClientIdentifier);
            let bytes = tell(message.to_vec().unwrap(), lies);
            let now = rig.net.now();
            let to = SocketAddr::from((Ipv4Addr::BROADCAST, 67));
            rig.host().send_to(now, socket, &bytes, Some(to), None).unwrap();
            rig.run_for(Duration::from_secs(1));
        }
        let Answering::Server(server) = &rig.answering else { unreachable!() };
        prop_assert!(server.leases(rig.net.now()).count() <= 2);
        // Nobody took the honest client's.
        prop_assert!(server.leases(rig.net.now()).any(|held| held == (lease.ip(), CLIENT_MAC)));
    }
}
