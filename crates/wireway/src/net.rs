//! The networks a program can be attached to: makes the program's interface, and what stands at the other end.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use wireway::engine::Engine;
use wireway::gateway::{Gateway, GatewayConfig, ResolvConf};
use wireway::nic::{End, MemoryConfig, Monitor, Monitored, Nic, ShmConfig, ShmNic, TapConfig, TapNic, pair};
use wireway::stack::{Cidr, Features, InterfaceConfig};
use wireway::wire::MacAddr;

use crate::cli::{Net, RunArgs};
use crate::run::Failure;

/// Where programs on a TAP are when nothing else was asked for, and where the kernel's end is then.
const TAP_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
/// The two ends of a link that were given no addresses.
const LINK_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 3, 1), Ipv4Addr::new(10, 0, 3, 2)];
const PREFIX_LEN: u8 = 24;

/// A network, ready for the program's host.
pub struct Plan {
    /// The program's interface.
    pub interface: InterfaceConfig,
    /// The card behind it.
    pub nic: Box<dyn Nic>,
    /// The router for everything else.
    pub gateway: Option<IpAddr>,
    /// Name servers that programs ask, and where their questions are to go.
    pub dns: Option<Dns>,
    /// The gateway's connections that have something of the program's to pass on.
    pub sending: Option<Rc<Cell<usize>>>,
}

/// How name look-ups reach a resolver.
pub struct Dns {
    /// The machine's list of name servers, and those that it names now.
    pub resolv_conf: ResolvConf,
    pub asked: Vec<SocketAddr>,
    /// Who answers instead.
    pub answered_by: IpAddr,
}

/// Makes what `args` ask for; the far end, if it is ours, becomes a node of `engine`.
pub fn plan(engine: &mut Engine, args: &RunArgs, monitors: &[Rc<RefCell<dyn Monitor>>]) -> Result<Plan, Failure> {
    if !args.publish.is_empty() && args.net != Net::Gateway {
        return Err(Failure::own("--publish needs the gateway: on a TAP or a link the program is reached directly"));
    }
    let mac = match args.mac {
        Some(mac) => mac,
        None => made_up_mac()?,
    };
    match &args.net {
        Net::Gateway => gateway(engine, args, mac, monitors),
        Net::Tap(name) => tap(args, mac, name, monitors),
        Net::Link(name) => link(args, mac, name, monitors),
    }
}

fn gateway(
    engine: &mut Engine,
    args: &RunArgs,
    mac: MacAddr,
    monitors: &[Rc<RefCell<dyn Monitor>>],
) -> Result<Plan, Failure> {
    let mut config = GatewayConfig { mtu: args.mtu, features: MemoryConfig::default().features, ..Default::default() };
    if let Some(Cidr { address: IpAddr::V4(program), prefix_len }) = args.address {
        if prefix_len > 29 {
            let what = "--address: the gateway's network needs room for three: give a prefix length of at most 29";
            return Err(Failure::own(what));
        }
        config = GatewayConfig { network: program, prefix_len, program, ..config };
    }
    // .2 and .3, or what is free beside the program.
    let network = config.network.to_bits() & mask(config.prefix_len);
    let free = |wanted: [u32; 3], taken: Ipv4Addr| {
        let mut all = wanted.into_iter().map(|n| Ipv4Addr::from_bits(network + n));
        all.find(|&a| a != config.program && a != taken).unwrap_or(taken)
    };
    config.gateway = match args.gateway {
        Some(gateway) => gateway,
        None => free([2, 1, 4], config.program),
    };
    if args.gateway.is_some() && !is_host_beside(config.gateway, config.program, config.prefix_len) {
        let network = Ipv4Addr::from_bits(network);
        let what = format!("--gateway {}: not a free address of {network}/{}", config.gateway, config.prefix_len);
        return Err(Failure::own(what));
    }
    if mac == config.mac {
        config.mac.0[5] ^= 1;
    }
    config.dns = free([3, 1, 4], config.gateway);
    config.resolvers = args.dns.iter().map(|&address| SocketAddr::new(address, 53)).collect();
    for publish in &args.publish {
        config.publish.push(publish.parse().map_err(|e| Failure::own(format!("--publish: {e}")))?);
    }
    if args.gateway.is_none() && config.gateway.to_bits() != network + 2 {
        eprintln!("wireway: the gateway is {}, as the program has its usual address", config.gateway);
    }
    let gateway = Gateway::new(engine.now(), &config).map_err(Failure::own)?;
    for published in &gateway.published {
        eprintln!("wireway: published {published}");
    }
    let memory = MemoryConfig { macs: [mac, config.mac], mtu: args.mtu, ..MemoryConfig::default() };
    let (near, far) = pair(memory);
    let node = engine.add_node(gateway.host, Box::new(gateway.service));
    engine.add_nic(node, gateway.interface, Box::new(far)).map_err(Failure::own)?;
    Ok(Plan {
        interface: interface(
            args,
            mac,
            Cidr { address: config.program.into(), prefix_len: config.prefix_len },
            near.features(),
        ),
        nic: watched(near, monitors),
        gateway: Some(config.gateway.into()),
        dns: Some(dns(config.dns.into())),
        sending: Some(gateway.sending),
    })
}

fn tap(args: &RunArgs, mac: MacAddr, name: &str, monitors: &[Rc<RefCell<dyn Monitor>>]) -> Result<Plan, Failure> {
    let address = args.address.unwrap_or(Cidr { address: TAP_ADDRESS.into(), prefix_len: PREFIX_LEN });
    let nic = TapNic::open(TapConfig {
        name: name.into(),
        mac,
        mtu: args.mtu,
        host_address: kernel_address(address, args.gateway),
    })
    .map_err(Failure::own)?;
    Ok(Plan {
        interface: interface(args, mac, address, nic.features()),
        nic: watched(nic, monitors),
        gateway: args.gateway.map(IpAddr::V4),
        dns: args.dns.map(dns),
        sending: None,
    })
}

fn link(args: &RunArgs, mac: MacAddr, name: &str, monitors: &[Rc<RefCell<dyn Monitor>>]) -> Result<Plan, Failure> {
    let nic = ShmNic::open(ShmConfig { name: name.into(), mac: Some(mac), mtu: args.mtu }).map_err(Failure::own)?;
    let own = match nic.end() {
        End::A => LINK_ADDRESSES[0],
        End::B => LINK_ADDRESSES[1],
    };
    let address = args.address.unwrap_or(Cidr { address: own.into(), prefix_len: PREFIX_LEN });
    Ok(Plan {
        interface: interface(args, mac, address, nic.features()),
        nic: watched(nic, monitors),
        gateway: args.gateway.map(IpAddr::V4),
        dns: args.dns.map(dns),
        sending: None,
    })
}

fn interface(args: &RunArgs, mac: MacAddr, address: Cidr, features: Features) -> InterfaceConfig {
    InterfaceConfig { addresses: vec![address], features, ..InterfaceConfig::ethernet("eth0", mac, args.mtu) }
}

fn watched<N: Nic + 'static>(nic: N, monitors: &[Rc<RefCell<dyn Monitor>>]) -> Box<dyn Nic> {
    let mut nic: Box<dyn Nic> = Box::new(nic);
    for monitor in monitors {
        nic = Box::new(Monitored::new(nic, "eth0", monitor.clone()));
    }
    nic
}

/// Questions for the machine's name servers go to this address instead: the gateway's, or what `--dns` says.
fn dns(answered_by: IpAddr) -> Dns {
    let (resolv_conf, asked) = ResolvConf::read(Path::new("/etc/resolv.conf"));
    Dns { resolv_conf, asked, answered_by }
}

/// The kernel's address on a TAP that we make: the router if there is one in the program's network, else the address beside the program's.
fn kernel_address(program: Cidr, gateway: Option<Ipv4Addr>) -> Option<Cidr> {
    let IpAddr::V4(own) = program.address else { return None };
    let beside = [own.to_bits().wrapping_add(1), own.to_bits().wrapping_sub(1)].map(Ipv4Addr::from_bits);
    let address = gateway.into_iter().chain(beside).find(|&a| is_host_beside(a, own, program.prefix_len))?;
    Some(Cidr { address: address.into(), prefix_len: program.prefix_len })
}

/// Whether another host than `own` can have this address in the network that `own` is in.
fn is_host_beside(address: Ipv4Addr, own: Ipv4Addr, prefix_len: u8) -> bool {
    let (bits, mask) = (address.to_bits(), mask(prefix_len));
    bits & mask == own.to_bits() & mask
        && (prefix_len > 30 || (bits & !mask != 0 && bits | mask != u32::MAX))
        && address != own
}

fn mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0)
}

/// A locally administered unicast address.
fn made_up_mac() -> Result<MacAddr, Failure> {
    let mut bytes = [0; 6];
    crate::run::random(&mut bytes)?;
    bytes[0] = bytes[0] & 0xfc | 0x02;
    Ok(MacAddr(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(program: &str, prefix_len: u8, gateway: Option<&str>) -> Option<String> {
        let program = Cidr { address: program.parse().unwrap(), prefix_len };
        kernel_address(program, gateway.map(|g| g.parse().unwrap())).map(|c| c.address.to_string())
    }

    #[test]
    fn the_kernels_end_of_a_tap_gets_an_address_beside_ours() {
        assert_eq!(kernel("10.0.0.4", 24, None).as_deref(), Some("10.0.0.5"), "the course's set-up");
        assert_eq!(kernel("10.0.0.254", 24, None).as_deref(), Some("10.0.0.253"));
        assert_eq!(kernel("10.0.0.4", 24, Some("10.0.0.1")).as_deref(), Some("10.0.0.1"));
        assert_eq!(kernel("10.0.0.4", 24, Some("10.9.0.1")).as_deref(), Some("10.0.0.5"));
        assert_eq!(kernel("10.0.0.4", 31, None).as_deref(), Some("10.0.0.5"));
        assert_eq!(kernel("10.0.0.4", 32, None), None);
    }
}
