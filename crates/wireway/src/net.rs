//! The networks a program can be attached to: makes the cards of the program's interfaces, and what stands at the other end.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use wireway::engine::Engine;
use wireway::gateway::{Gateway, GatewayConfig, Subnet};
use wireway::nic::{End, Impaired, MemoryConfig, Monitor, Monitored, Nic, ShmConfig, ShmNic, TapConfig, TapNic, pair};
use wireway::stack::Cidr;
use wireway::wire::MacAddr;

use crate::cables::Cables;
use crate::cli::{Net, RunArgs};
use crate::impair::Impairments;
use crate::interface::{Behind, Interface};
use crate::resolver::{self, Resolver};
use crate::run::Failure;

/// Where programs on a TAP are when nothing else was asked for, and where the kernel's end is then.
const TAP_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
/// The two ends of a link that were given no addresses.
const LINK_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 3, 1), Ipv4Addr::new(10, 0, 3, 2)];
const PREFIX_LEN: u8 = 24;
/// The gateway's network when nothing else was asked for.
const SUBNETS: [Subnet; 2] = [Subnet::V4, Subnet::V6];
/// No link of IPv6 carries less (RFC 8200 §5).
pub const LEAST_MTU_V6: u16 = 1280;
/// Unless something else is said.
const MTU: u16 = 1500;

/// An interface, ready for the program's host.
pub struct Plan {
    /// What was asked for.
    pub asked: Interface,
    /// Its addresses, and the routers for everything else, one a family.
    pub addresses: Vec<Cidr>,
    pub gateways: Vec<IpAddr>,
    /// The card behind it; a VLAN has none.
    pub nic: Option<Box<dyn Nic>>,
}

/// The networks of the program's host.
pub struct Plans {
    /// In the order in which they are asked for.
    pub interfaces: Vec<Plan>,
    /// Name servers that programs ask, and where their questions are to go.
    pub dns: Option<Resolver>,
    /// The gateway's connections that have something of the program's to pass on.
    pub sending: Option<Rc<Cell<usize>>>,
}

/// What stands between a card and its host.
pub struct Cabling<'a> {
    /// Who watches the frames.
    pub monitors: &'a [Rc<RefCell<dyn Monitor>>],
    /// What is asked of each cable.
    pub asked: &'a Impairments,
    /// Where the cables' chance comes from.
    pub seed: u64,
    /// The cables, by the names of their interfaces.
    pub cables: Cables,
}

/// Makes what `args` ask for; the far end, if it is ours, becomes a node of `engine`.
pub fn plan(engine: &mut Engine, args: &RunArgs, cabling: &mut Cabling<'_>) -> Result<Plans, Failure> {
    if !args.publish.is_empty() && args.net != Net::Gateway {
        return Err(Failure::own("--publish needs the gateway: on a TAP or a link the program is reached directly"));
    }
    let all = args.interfaces().map_err(Failure::own)?;
    for asked in &all {
        check(asked)?;
    }
    // Name look-ups on networks that are not ours: answered by whom `--dns` says, or by whom the network will name.
    let told = args.dns.is_some() || all.iter().any(|asked| asked.dhcp() || asked.slaac());
    let dns = told.then(|| Resolver::new(args.dns.into_iter().collect()));
    let mut plans = Plans { interfaces: Vec::new(), dns, sending: None };
    for asked in all {
        let plan = match &asked.behind {
            Behind::Net(Net::Gateway) => gateway(engine, args, asked, cabling, &mut plans)?,
            Behind::Net(Net::Tap(name)) => {
                let name = name.clone();
                tap(asked, &name, cabling)?
            }
            Behind::Net(Net::Link(name)) => {
                let name = name.clone();
                link(asked, &name, cabling)?
            }
            Behind::Vlan { .. } => {
                let addresses = addresses(&asked, None)?;
                Plan { addresses, gateways: asked.gateway.clone(), nic: None, asked }
            }
        };
        plans.interfaces.push(plan);
    }
    Ok(plans)
}

/// What no interface can have.
fn check(asked: &Interface) -> Result<(), Failure> {
    let fail = |what: String| Err(Failure::own(format!("{}{what}", asked.option())));
    if asked.mtu.is_some_and(|mtu| mtu < LEAST_MTU_V6) && asked.has_v6() {
        let given = asked.addresses().map(|cidr| cidr.address).chain(asked.gateway.iter().copied());
        let what = match given.into_iter().find(IpAddr::is_ipv6) {
            Some(v6) => v6.to_string(),
            None if asked.slaac() => "--address slaac".into(),
            None => "--address link-local".into(),
        };
        return fail(format!("{what}: IPv6 needs an --mtu of at least {LEAST_MTU_V6} (RFC 8200 §5)"));
    }
    if asked.dhcp() && asked.addresses().any(|cidr| cidr.address.is_ipv4()) {
        return fail("--address: dhcp or an IPv4 address, not both".into());
    }
    let of_one = |v6| asked.gateway.iter().filter(|gateway| gateway.is_ipv6() == v6).count() > 1;
    if of_one(false) || of_one(true) {
        return fail("--gateway: give one a family".into());
    }
    Ok(())
}

fn gateway(
    engine: &mut Engine,
    args: &RunArgs,
    asked: Interface,
    cabling: &mut Cabling<'_>,
    plans: &mut Plans,
) -> Result<Plan, Failure> {
    if asked.slaac() || asked.link_local() {
        let what = if asked.slaac() { "slaac" } else { "link-local" };
        return Err(Failure::own(format!(
            "--address {what}: the gateway's network has its addresses; leave it out, or give one"
        )));
    }
    let subnets = SUBNETS.iter().filter(|usual| usual.gateway.is_ipv4() || args.mtu >= LEAST_MTU_V6);
    let subnets: Result<Vec<Subnet>, Failure> = subnets.map(|usual| subnet(&asked, usual)).collect();
    let mut config = GatewayConfig {
        subnets: subnets?,
        mtu: args.mtu,
        features: MemoryConfig::default().features,
        ..Default::default()
    };
    let mac = mac(&asked)?;
    if mac == config.mac {
        config.mac.0[5] ^= 1;
    }
    config.resolvers = args.dns.iter().map(|&address| SocketAddr::new(address, resolver::PORT)).collect();
    for publish in &args.publish {
        config.publish.push(publish.parse().map_err(|e| Failure::own(format!("--publish: {e}")))?);
    }
    let families: Vec<bool> = config.subnets.iter().map(|subnet| subnet.gateway.is_ipv6()).collect();
    if let Some(other) = asked.gateway.iter().find(|gateway| !families.contains(&gateway.is_ipv6())) {
        return Err(Failure::own(format!("--gateway {other}: the gateway's network has no address of this family")));
    }
    let of_one = |v6| asked.addresses().filter(|cidr| cidr.address.is_ipv6() == v6).count() > 1;
    if of_one(false) || of_one(true) {
        return Err(Failure::own("--address: the gateway's network has one address a family for the program"));
    }
    for subnet in &config.subnets {
        let usual = nth(subnet.program, 2);
        if subnet.gateway != usual && subnet.program.address == usual && !asked.gateway.contains(&subnet.gateway) {
            eprintln!("wireway: the gateway is {}, as the program has its usual address", subnet.gateway);
        }
    }
    let gateway = Gateway::new(engine.now(), &config).map_err(Failure::own)?;
    for published in &gateway.published {
        eprintln!("wireway: published {published}");
    }
    let memory = MemoryConfig { macs: [mac, config.mac], mtu: args.mtu, ..MemoryConfig::default() };
    let (near, far) = pair(memory);
    let node = engine.add_node(gateway.host, Box::new(gateway.service));
    engine.add_nic(node, gateway.interface, Box::new(far)).map_err(Failure::own)?;
    // Of IPv4 the gateway's own DHCP server may tell.
    let told = config.subnets.iter().filter(|s| s.gateway.is_ipv6() || !asked.dhcp());
    let (addresses, gateways) = told.map(|s| (s.program, s.gateway)).unzip();
    plans.dns = Some(Resolver::new(config.subnets.iter().map(|s| s.dns).collect()));
    plans.sending = Some(gateway.sending);
    Ok(Plan { nic: Some(plugged(near, &asked.name, cabling)), addresses, gateways, asked })
}

/// The addresses of a family on the gateway's network: the usual ones, or around what was asked for.
fn subnet(asked: &Interface, usual: &Subnet) -> Result<Subnet, Failure> {
    let v6 = usual.gateway.is_ipv6();
    let of_family = |address: &IpAddr| address.is_ipv6() == v6;
    let program = asked.addresses().find(|cidr| of_family(&cidr.address)).unwrap_or(usual.program);
    if matches!(program.address, IpAddr::V6(address) if address.is_unicast_link_local()) {
        let what =
            "--address: a link-local address does not lead beyond the gateway: give another, such as fd00::15/64";
        return Err(Failure::own(what));
    }
    let longest = if v6 { 125 } else { 29 };
    if program.prefix_len > longest {
        return Err(Failure::own(format!(
            "--address: the gateway's network needs room for three: give a prefix length of at most {longest}"
        )));
    }
    // .2 and .3, or what is free beside the program.
    let free = |wanted: [u8; 3], taken: IpAddr| {
        let mut all = wanted.into_iter().map(|n| nth(program, n));
        all.find(|&a| a != program.address && a != taken).unwrap_or(taken)
    };
    let gateway = match asked.gateway.iter().copied().find(of_family) {
        Some(gateway) if is_host_beside(gateway, program) => gateway,
        Some(gateway) => {
            let (network, len) = (program.network(), program.prefix_len);
            return Err(Failure::own(format!("--gateway {gateway}: not a free address of {network}/{len}")));
        }
        None => free([2, 1, 4], program.address),
    };
    Ok(Subnet { program, gateway, dns: free([3, 1, 4], gateway) })
}

/// The `n`th address of the network that `cidr` is in.
fn nth(cidr: Cidr, n: u8) -> IpAddr {
    match cidr.network() {
        IpAddr::V4(network) => Ipv4Addr::from_bits(network.to_bits() | u32::from(n)).into(),
        IpAddr::V6(network) => Ipv6Addr::from_bits(network.to_bits() | u128::from(n)).into(),
    }
}

fn tap(asked: Interface, name: &str, cabling: &mut Cabling<'_>) -> Result<Plan, Failure> {
    let addresses = addresses(&asked, Some(Cidr { address: TAP_ADDRESS.into(), prefix_len: PREFIX_LEN }))?;
    let nic = TapNic::open(TapConfig {
        name: name.into(),
        mac: mac(&asked)?,
        mtu: asked.mtu.unwrap_or(MTU),
        host_address: addresses.iter().find_map(|&address| kernel_address(address, &asked.gateway)),
    })
    .map_err(|e| Failure::own(format!("{}{e}", asked.option())))?;
    let nic = Some(plugged(nic, &asked.name, cabling));
    Ok(Plan { addresses, gateways: asked.gateway.clone(), nic, asked })
}

fn link(asked: Interface, name: &str, cabling: &mut Cabling<'_>) -> Result<Plan, Failure> {
    let config = ShmConfig { name: name.into(), mac: Some(mac(&asked)?), mtu: asked.mtu.unwrap_or(MTU) };
    let nic = ShmNic::open(config).map_err(|e| Failure::own(format!("{}{e}", asked.option())))?;
    let own = match nic.end() {
        End::A => LINK_ADDRESSES[0],
        End::B => LINK_ADDRESSES[1],
    };
    let addresses = addresses(&asked, Some(Cidr { address: own.into(), prefix_len: PREFIX_LEN }))?;
    let nic = Some(plugged(nic, &asked.name, cabling));
    Ok(Plan { addresses, gateways: asked.gateway.clone(), nic, asked })
}

/// What was asked for, or the usual one. The routers have to be their neighbours.
fn addresses(asked: &Interface, usual: Option<Cidr>) -> Result<Vec<Cidr>, Failure> {
    let addresses = if asked.address.is_empty() { usual.into_iter().collect() } else { asked.addresses().collect() };
    let addresses: Vec<Cidr> = addresses;
    let link_local = |address| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let reached = |gateway| addresses.iter().any(|&own| is_host_beside(gateway, own)) || link_local(gateway);
    let option = asked.option();
    match asked.gateway.iter().find(|&&gateway| !reached(gateway)) {
        Some(far) if far.is_ipv4() && asked.dhcp() => {
            Err(Failure::own(format!("{option}--gateway {far}: with --address dhcp the server names the router")))
        }
        Some(far) => Err(Failure::own(format!("{option}--gateway {far}: not an address of the program's network"))),
        None => Ok(addresses),
    }
}

/// Puts a cable in front of a card, and in front of that whoever watches.
fn plugged<N: Nic + 'static>(nic: N, name: &str, cabling: &mut Cabling<'_>) -> Box<dyn Nic> {
    let mtu = nic.mtu();
    let nic = Impaired::new(nic, cabling.asked.at(Duration::ZERO, mtu), cabling.seed);
    // Each cable has a chance of its own.
    cabling.seed = cabling.seed.wrapping_add(1);
    cabling.cables.add(name, nic.cable(), cabling.asked.clone(), mtu);
    let mut nic: Box<dyn Nic> = Box::new(nic);
    for monitor in cabling.monitors {
        nic = Box::new(Monitored::new(nic, name, monitor.clone()));
    }
    nic
}

/// The kernel's address on a TAP that we make: the router if there is one in the program's network, else the address beside the program's.
fn kernel_address(program: Cidr, gateways: &[IpAddr]) -> Option<Cidr> {
    let beside = |step: fn(u128) -> u128| match program.address {
        IpAddr::V4(own) => Ipv4Addr::from_bits(step(own.to_bits().into()) as u32).into(),
        IpAddr::V6(own) => Ipv6Addr::from_bits(step(own.to_bits())).into(),
    };
    let besides: [IpAddr; 2] = [beside(|own| own.wrapping_add(1)), beside(|own| own.wrapping_sub(1))];
    let address = gateways.iter().copied().chain(besides).find(|&a| is_host_beside(a, program))?;
    Some(Cidr { address, prefix_len: program.prefix_len })
}

/// Whether another host than `own` can have this address in the network that `own` is in.
fn is_host_beside(address: IpAddr, own: Cidr) -> bool {
    let is_network = address == own.network() && own.prefix_len <= if address.is_ipv4() { 30 } else { 126 };
    let is_broadcast = own.broadcast().is_some_and(|broadcast| address == IpAddr::V4(broadcast));
    own.contains(address) && address != own.address && !is_network && !is_broadcast
}

/// The hardware address that was asked for, or a locally administered one.
fn mac(asked: &Interface) -> Result<MacAddr, Failure> {
    if let Some(mac) = asked.mac {
        return Ok(mac);
    }
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
        let gateways: Vec<IpAddr> = gateway.iter().map(|g| g.parse().unwrap()).collect();
        kernel_address(program, &gateways).map(|c| c.address.to_string())
    }

    #[test]
    fn the_kernels_end_of_a_tap_gets_an_address_beside_ours() {
        assert_eq!(kernel("10.0.0.4", 24, None).as_deref(), Some("10.0.0.5"), "the course's set-up");
        assert_eq!(kernel("10.0.0.254", 24, None).as_deref(), Some("10.0.0.253"));
        assert_eq!(kernel("10.0.0.4", 24, Some("10.0.0.1")).as_deref(), Some("10.0.0.1"));
        assert_eq!(kernel("10.0.0.4", 24, Some("10.9.0.1")).as_deref(), Some("10.0.0.5"));
        assert_eq!(kernel("10.0.0.4", 31, None).as_deref(), Some("10.0.0.5"));
        assert_eq!(kernel("10.0.0.4", 32, None), None);
        assert_eq!(kernel("fd00::4", 64, None).as_deref(), Some("fd00::5"));
        assert_eq!(kernel("fd00::1", 127, None).as_deref(), Some("fd00::"), "RFC 6164");
        assert_eq!(kernel("fd00::4", 64, Some("10.0.0.1")).as_deref(), Some("fd00::5"));
    }
}
