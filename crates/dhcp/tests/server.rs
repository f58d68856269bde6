//! The server, asked by hand: RFC 2131 §4.3.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::*;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Encodable};
use wireway_dhcp::{Server, ServerConfig};
use wireway_lab::{HostId, Network};
use wireway_link::LinkConfig;
use wireway_stack::{Cidr, Domain, Error, Host, InterfaceConfig, Kind, ReceiveFlags, Settings, SocketId, SocketOption};

const NEVER: [u8; 4] = [0; 4];

/// A server, and a host whose messages are made by hand.
struct Bench {
    net: Network,
    here: HostId,
    there: HostId,
    socket: SocketId,
    server: Server,
}

impl Bench {
    fn new() -> Bench {
        let mut net = Network::new(1);
        let now = net.now();
        let host = |address: Option<Ipv4Addr>, mac, seed| {
            let mut host = Host::new(Settings::default(), [seed; 32]);
            let addresses = address.map(|ip| Cidr { address: ip.into(), prefix_len: 24 }).into_iter().collect();
            let config = InterfaceConfig { addresses, ..InterfaceConfig::ethernet("eth0", mac, 1500) };
            host.add_interface(now, config).unwrap();
            host
        };
        let mut client = host(None, CLIENT_MAC, 1);
        let socket = client.socket(Domain::Inet, Kind::Datagram).unwrap();
        client.set_option(now, socket, SocketOption::Broadcast(true)).unwrap();
        client.set_option(now, socket, SocketOption::BindToDevice(Some(ETH0))).unwrap();
        client.bind(socket, SocketAddr::from((NEVER, 68))).unwrap();
        let mut serving = host(Some(SERVER), SERVER_MAC, 2);
        let config = ServerConfig { addresses: vec![FIRST, SECOND], ..server_config() };
        let server = Server::new(&mut serving, now, ETH0, config).unwrap();
        let (here, there) = (net.add_host(client), net.add_host(serving));
        net.connect((here, ETH0), (there, ETH0), LinkConfig::default(), LinkConfig::default());
        Bench { net, here, there, socket, server }
    }

    /// What the server says to a message.
    fn ask(&mut self, message: &Message) -> Option<Message> {
        let now = self.net.now();
        let to = SocketAddr::from((Ipv4Addr::BROADCAST, 67));
        let bytes = message.to_vec().unwrap();
        self.net.host(self.here).send_to(now, self.socket, &bytes, Some(to), None).unwrap();
        self.net.settle();
        assert!(!self.server.poll(now, self.net.host(self.there)));
        self.net.settle();
        let mut buffer = [0; 1500];
        match self.net.host(self.here).recv_from(self.socket, &mut buffer, ReceiveFlags::default()) {
            Ok(info) => Some(Message::from_bytes(&buffer[..info.len]).unwrap()),
            Err(Error::WouldBlock) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn leases(&self) -> Vec<Ipv4Addr> {
        self.server.leases(self.net.now()).map(|(address, _)| address).collect()
    }
}

/// A message of the client with this last byte in its hardware address.
fn from(client: u8, kind: MessageType, options: &[DhcpOption]) -> Message {
    let mut message = Message::new(NEVER.into(), NEVER.into(), NEVER.into(), NEVER.into(), &[2, 0, 0, 0, 1, client]);
    message.set_flags(Flags::default().set_broadcast());
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

fn wants(address: Ipv4Addr) -> DhcpOption {
    DhcpOption::RequestedIpAddress(address)
}

fn selects(address: Ipv4Addr) -> [DhcpOption; 2] {
    [wants(address), DhcpOption::ServerIdentifier(SERVER)]
}

fn kind_of(message: &Option<Message>) -> Option<MessageType> {
    message.as_ref().and_then(|m| m.opts().msg_type())
}

fn given(message: &Option<Message>) -> Option<Ipv4Addr> {
    message.as_ref().map(Message::yiaddr)
}

#[test]
fn each_client_gets_an_address_of_its_own_as_long_as_there_are_some() {
    let mut bench = Bench::new();
    let identifier = DhcpOption::ClientIdentifier(vec![1, 2, 3]);
    let discover = from(1, MessageType::Discover, std::slice::from_ref(&identifier));
    let offer = bench.ask(&discover);
    assert_eq!((kind_of(&offer), given(&offer)), (Some(MessageType::Offer), Some(FIRST)));
    let offer = offer.unwrap();
    assert_eq!((offer.xid(), offer.chaddr(), offer.flags().broadcast()), (discover.xid(), discover.chaddr(), true));
    assert_eq!(offer.opts().get(OptionCode::ClientIdentifier), Some(&identifier), "RFC 6842");
    for (code, option) in [
        (OptionCode::ServerIdentifier, DhcpOption::ServerIdentifier(SERVER)),
        (OptionCode::SubnetMask, DhcpOption::SubnetMask([255, 255, 255, 0].into())),
        (OptionCode::Router, DhcpOption::Router(vec![SERVER])),
        (OptionCode::DomainNameServer, DhcpOption::DomainNameServer(vec![DNS])),
        (OptionCode::InterfaceMtu, DhcpOption::InterfaceMtu(1400)),
        (OptionCode::AddressLeaseTime, DhcpOption::AddressLeaseTime(3600)),
        (OptionCode::Renewal, DhcpOption::Renewal(1800)),
        (OptionCode::Rebinding, DhcpOption::Rebinding(3150)),
    ] {
        assert_eq!(offer.opts().get(code), Some(&option));
    }
    // The second asks for what the first was offered.
    let offer = bench.ask(&from(2, MessageType::Discover, &[wants(FIRST)]));
    assert_eq!(given(&offer), Some(SECOND));
    assert_eq!(kind_of(&bench.ask(&from(3, MessageType::Discover, &[]))), None, "no more");
    for (client, address) in [(1, FIRST), (2, SECOND)] {
        let ack = bench.ask(&from(client, MessageType::Request, &selects(address)));
        assert_eq!((kind_of(&ack), given(&ack)), (Some(MessageType::Ack), Some(address)));
    }
    assert_eq!(bench.leases(), [FIRST, SECOND]);
    // Who comes again gets the same.
    assert_eq!(given(&bench.ask(&from(2, MessageType::Discover, &[]))), Some(SECOND));
    // A lease ends.
    bench.net.run_for(HOUR + Duration::from_secs(1));
    assert_eq!(given(&bench.ask(&from(3, MessageType::Discover, &[wants(SECOND)]))), Some(SECOND));
}

#[test]
fn what_is_not_the_clients_is_refused() {
    let mut bench = Bench::new();
    assert_eq!(given(&bench.ask(&from(1, MessageType::Discover, &[]))), Some(FIRST));
    let elsewhere = Ipv4Addr::new(192, 168, 1, 7);
    for wanted in [SECOND, elsewhere, SERVER] {
        let nak = bench.ask(&from(1, MessageType::Request, &selects(wanted)));
        assert_eq!((kind_of(&nak), given(&nak)), (Some(MessageType::Nak), Some(NEVER.into())), "{wanted}");
        assert_eq!(nak.unwrap().opts().get(OptionCode::AddressLeaseTime), None, "table 3");
    }
    // INIT-REBOOT with an address of another network, and REBINDING with one.
    assert_eq!(kind_of(&bench.ask(&from(2, MessageType::Request, &[wants(elsewhere)]))), Some(MessageType::Nak));
    let mut rebinding = from(2, MessageType::Request, &[]);
    rebinding.set_ciaddr(elsewhere);
    assert_eq!(kind_of(&bench.ask(&rebinding)), Some(MessageType::Nak));
    // Another's.
    assert_eq!(kind_of(&bench.ask(&from(2, MessageType::Request, &selects(FIRST)))), Some(MessageType::Nak));
}

#[test]
fn what_is_given_back_declined_or_not_chosen() {
    let mut bench = Bench::new();
    bench.ask(&from(1, MessageType::Discover, &[]));
    // The client chose another server: the offer is free again.
    let other = [wants(FIRST), DhcpOption::ServerIdentifier(OTHER_SERVER)];
    assert_eq!(kind_of(&bench.ask(&from(1, MessageType::Request, &other))), None);
    assert!(bench.leases().is_empty());
    // Released, by who has it alone.
    bench.ask(&from(1, MessageType::Request, &selects(FIRST)));
    for (client, left) in [(2, 1), (1, 0)] {
        let mut release = from(client, MessageType::Release, &[]);
        release.set_ciaddr(FIRST);
        assert_eq!(kind_of(&bench.ask(&release)), None);
        assert_eq!(bench.leases().len(), left);
    }
    // Declined: it is given to nobody for a time.
    bench.ask(&from(1, MessageType::Request, &selects(FIRST)));
    bench.ask(&from(2, MessageType::Decline, &[wants(FIRST)]));
    assert_eq!(bench.leases(), [FIRST], "not the other's to decline");
    bench.ask(&from(1, MessageType::Decline, &[wants(FIRST)]));
    assert_eq!(given(&bench.ask(&from(1, MessageType::Discover, &[wants(FIRST)]))), Some(SECOND));
    assert_eq!(given(&bench.ask(&from(2, MessageType::Discover, &[]))), None);
    bench.net.run_for(Duration::from_secs(601));
    assert_eq!(given(&bench.ask(&from(2, MessageType::Discover, &[]))), Some(FIRST));
}

#[test]
fn parameters_alone() {
    let mut bench = Bench::new();
    let now = bench.net.now();
    let cidr = Cidr { address: Ipv4Addr::new(10, 0, 2, 77).into(), prefix_len: 24 };
    bench.net.host(bench.here).add_address(now, ETH0, cidr, false).unwrap();
    let mut inform = from(1, MessageType::Inform, &[]);
    inform.set_ciaddr(Ipv4Addr::new(10, 0, 2, 77));
    let ack = bench.ask(&inform);
    assert_eq!((kind_of(&ack), given(&ack)), (Some(MessageType::Ack), Some(NEVER.into())));
    let options = ack.unwrap().opts().clone();
    assert!(
        options.contains(OptionCode::DomainNameServer) && !options.contains(OptionCode::AddressLeaseTime),
        "§4.3.5"
    );
    assert!(bench.leases().is_empty());
}

#[test]
fn what_is_for_others_is_not_answered() {
    let mut bench = Bench::new();
    let mut relayed = from(1, MessageType::Discover, &[]);
    relayed.set_giaddr(Ipv4Addr::new(10, 9, 9, 9));
    let mut reply = from(1, MessageType::Discover, &[]);
    reply.set_opcode(dhcproto::v4::Opcode::BootReply);
    for message in [relayed, reply, from(1, MessageType::Offer, &[]), from(1, MessageType::Request, &[])] {
        assert_eq!(kind_of(&bench.ask(&message)), None);
    }
}
