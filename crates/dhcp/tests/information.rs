//! Stateless DHCPv6 against a scripted server, in virtual time: RFC 8415 §15, §16.10, §18.2.6, §21.23.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use wireway_dhcp::Information;
use wireway_lab::{HostId, Network};
use wireway_link::LinkConfig;
use wireway_packet::Instant;
use wireway_stack::{
    AddressState, Domain, Error, Host, InterfaceConfig, InterfaceId, Kind, Membership, ReceiveFlags, Settings,
    SocketId, SocketOption,
};
use wireway_wire::MacAddr;

const ETH0: InterfaceId = InterfaceId(1);
const DNS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x53);
const SERVER_ID: [u8; 14] = [0, 2, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 2];

struct Rig {
    net: Network,
    client: Information,
    here: HostId,
    there: HostId,
    socket: SocketId,
}

/// What the server got: when, from where, and the message.
type Request = (Instant, SocketAddr, Vec<u8>);

fn host(net: &Network, mac: u8) -> Host {
    let mut host = Host::new(Settings { ipv6_dad_transmits: 0, ..Settings::default() }, [mac; 32]);
    let config = InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, mac]), 1500);
    host.add_interface(net.now(), InterfaceConfig { autoconf: true, ..config }).unwrap();
    host
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}

fn reply(request: &[u8], options: &[Vec<u8>]) -> Vec<u8> {
    [&[7], &request[1..4], &options.concat()].concat()
}

/// The option of a sound message.
fn find(message: &[u8], code: u16) -> Option<Vec<u8>> {
    let mut rest = &message[4..];
    while let [a, b, c, d, data @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*c, *d]));
        if u16::from_be_bytes([*a, *b]) == code {
            return Some(data[..len].to_vec());
        }
        rest = &data[len..];
    }
    None
}

impl Rig {
    fn new() -> Rig {
        let mut net = Network::new(1);
        let (here, there) = (host(&net, 1), host(&net, 2));
        let (here, there) = (net.add_host(here), net.add_host(there));
        net.connect((here, ETH0), (there, ETH0), LinkConfig::default(), LinkConfig::default());
        // Until both have their link-local addresses.
        net.run_for(Duration::from_secs(5));
        let now = net.now();
        let addresses = net.host(here).addresses(ETH0);
        assert!(addresses.iter().any(|info| info.state == AddressState::Preferred));
        let server = net.host(there);
        let socket = server.socket(Domain::Inet6, Kind::Datagram).unwrap();
        let group = Membership { group: "ff02::1:2".parse().unwrap(), interface: Some(ETH0), source: None };
        server.set_option(now, socket, SocketOption::JoinGroup(group)).unwrap();
        server.bind(socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 547))).unwrap();
        let client = Information::new(net.host(here), now, ETH0, [1; 32]).unwrap();
        Rig { net, client, here, there, socket }
    }

    /// Lets time go by; what the client asked meanwhile.
    fn run_for(&mut self, time: Duration) -> Vec<Request> {
        let end = self.net.now() + time;
        let mut got = Vec::new();
        loop {
            self.net.settle();
            let now = self.net.now();
            self.client.poll(now, self.net.host(self.here));
            self.net.settle();
            let mut buffer = [0; 1500];
            match self.net.host(self.there).recv_from(self.socket, &mut buffer, ReceiveFlags::default()) {
                Ok(info) => got.push((now, info.source, buffer[..info.len].to_vec())),
                Err(Error::WouldBlock) => {}
                Err(error) => panic!("{error:?}"),
            }
            if now >= end {
                return got;
            }
            self.net.step(self.client.poll_at().unwrap_or(end).min(end));
        }
    }

    fn tell(&mut self, request: &Request, message: &[u8]) {
        let now = self.net.now();
        let SocketAddr::V6(to) = request.1 else { panic!("{request:?}") };
        let to = SocketAddrV6::new(*to.ip(), to.port(), 0, 2);
        self.net.host(self.there).send_to(now, self.socket, message, Some(to.into()), None).unwrap();
        self.run_for(Duration::ZERO);
    }
}

#[test]
fn a_server_is_asked_and_asked_again_and_its_answer_taken() {
    let mut rig = Rig::new();
    let begin = rig.net.now();
    let asked = rig.run_for(Duration::from_secs(8000));
    let first = &asked[0];
    assert!(first.0.since(begin) <= Duration::from_secs(1), "§18.2.6: within a second");
    assert_eq!((first.2[0], first.1.port()), (11, 546));
    assert_eq!(find(&first.2, 1).as_deref(), Some(&[0, 3, 0, 1, 2, 0, 0, 0, 0, 1][..]), "client identifier");
    assert_eq!(find(&first.2, 6).as_deref(), Some(&[0, 23, 0, 32, 0, 83][..]), "what is asked for");
    assert_eq!(find(&first.2, 8).as_deref(), Some(&[0, 0][..]), "no time has gone by");
    assert!(find(&asked[2].2, 8).unwrap() > vec![0, 200], "hundredths of a second");
    assert!(asked.iter().all(|request| request.2[1..4] == first.2[1..4]), "one transaction");
    let waits: Vec<f64> = asked.windows(2).map(|w| w[1].0.since(w[0].0).as_secs_f64()).collect();
    for (n, wait) in waits.iter().enumerate() {
        let about = f64::from(1 << n.min(20)).min(3600.0);
        assert!((about * 0.89..=about * 1.11).contains(wait), "{waits:?}");
    }
    assert!(waits.len() > 10);
    // Not answers to this: another transaction, no server identifier, for another client, another kind of message.
    let request = asked.last().unwrap().clone();
    let (server, dns) = (option(2, &SERVER_ID), option(23, &DNS.octets()));
    let good = reply(&request.2, &[server.clone(), dns.clone(), option(1, &find(&request.2, 1).unwrap())]);
    let mut other = good.clone();
    other[3] ^= 1;
    let mut advertise = good.clone();
    advertise[0] = 2;
    let strange = reply(&request.2, &[server.clone(), dns.clone(), option(1, &[0, 3, 0, 1, 9, 9, 9, 9, 9, 9])]);
    for bad in
        [other, advertise, strange, reply(&request.2, std::slice::from_ref(&dns)), good[..good.len() - 1].to_vec()]
    {
        rig.tell(&request, &bad);
        assert!(rig.client.dns().is_empty(), "{bad:?}");
    }
    rig.tell(&request, &good);
    assert_eq!(rig.client.dns(), [DNS]);
    let answered = rig.net.now();
    let again = rig.run_for(Duration::from_secs(86_401));
    assert_eq!(again[0].0, answered + Duration::from_secs(86_400), "a day later");
    assert_ne!(again[0].2[1..4], first.2[1..4]);
    assert_eq!(rig.client.dns(), [DNS], "what is known counts meanwhile");
}

#[test]
fn a_server_says_when_to_ask_again() {
    for (said, seconds) in [(1_u32, Some(600)), (7200, Some(7200)), (u32::MAX, None)] {
        let mut rig = Rig::new();
        let asked = rig.run_for(Duration::from_secs(1));
        let client = option(1, &find(&asked[0].2, 1).unwrap());
        let options = [client, option(2, &SERVER_ID), option(32, &said.to_be_bytes()), option(23, &[0; 15])];
        rig.tell(&asked[0], &reply(&asked[0].2, &options));
        assert!(rig.client.dns().is_empty(), "half an address");
        let expected = seconds.map(|seconds| rig.net.now() + Duration::from_secs(seconds));
        assert_eq!(rig.client.poll_at(), expected, "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_survived(messages in vec((any::<bool>(), vec(any::<u8>(), 0..200)), 1..20)) {
        let mut rig = Rig::new();
        let mut last = rig.run_for(Duration::from_secs(2)).pop().unwrap();
        for (framed, bytes) in messages {
            let code = bytes.first().map_or(0, |b| u16::from(b % 40));
            let client = option(1, &find(&last.2, 1).unwrap());
            let options = [client, option(2, &SERVER_ID), option(code, bytes.get(1..).unwrap_or_default())];
            let message = if framed { reply(&last.2, &options) } else { reply(&last.2, &[bytes]) };
            rig.tell(&last, &message);
            prop_assert!(rig.client.dns().len() <= 8);
            prop_assert!(rig.client.dns().iter().all(|a| !a.is_multicast() && !a.is_unspecified()));
            last = rig.run_for(Duration::from_secs(4000)).pop().unwrap_or(last);
        }
    }
}
