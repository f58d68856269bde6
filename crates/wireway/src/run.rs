//! `wireway run`: a program, its host, its network, in one engine.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use wireway::attach::launch::{Command, LaunchError, launch};
use wireway::attach::{Attach, inherited, signals::Signals};
use wireway::engine::{Engine, NodeId};
use wireway::nic::{Capture, Monitor, Nic, Trace};
use wireway::packet::Instant;
use wireway::stack::{Cidr, Error, Host, InterfaceConfig, InterfaceId, RouteEntry, Settings, Vlan};
use wireway::wire::VlanProtocol;

use crate::FAILED;
use crate::autoconf::Autoconf;
use crate::cables::Cables;
use crate::cli::{Net, RunArgs};
use crate::impair::Impairments;
use crate::interface::Behind;
use crate::lease::Dhcp;
use crate::net::{self, Cabling, Plan};
use crate::node::Node;

/// A program that is about to start does not wait the seven seconds of RFC 5227 §2.1.1 for an address, but as long as systemd-networkd does.
const PROBE_TIME: Duration = Duration::from_millis(200);
/// How long the message may take that gives an address back, and how often it is looked whether it has left.
const RELEASE_WAIT: Duration = Duration::from_millis(500);
const RELEASE_STEP: Duration = Duration::from_millis(2);

/// Why the program was not run, and the exit status that says so.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    what: String,
}

impl Failure {
    /// A failure of Wireway's own.
    pub fn own(what: impl fmt::Display) -> Failure {
        Failure { status: FAILED, what: what.to_string() }
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Failure {
        Failure { status: error.status(), what: error.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Runs the program to its end; its exit status.
pub fn run(args: &RunArgs) -> Result<u8, Failure> {
    let mut engine = Engine::new().map_err(Failure::own)?;
    let capture = capture(&engine, args)?;
    let mut monitors: Vec<Rc<RefCell<dyn Monitor>>> = capture.iter().map(|c| c.clone() as _).collect();
    if args.trace {
        monitors.push(Rc::new(RefCell::new(Trace::new(std::io::stderr()))));
    }
    let mut cabling = Cabling {
        monitors: &monitors,
        asked: &impairments(args)?,
        seed: match args.seed {
            Some(seed) => seed,
            None => made_up_seed()?,
        },
        cables: Cables::default(),
    };
    let plans = net::plan(&mut engine, args, &mut cabling)?;

    let mut seed = [0; 32];
    random(&mut seed)?;
    let now = engine.now();
    let mut settings = Settings { address_probe_time: PROBE_TIME, ..Settings::default() };
    let alone = args.net == Net::Gateway && plans.interfaces.len() == 1;
    if alone {
        // On the gateway's link nobody else is who could have our addresses: they need no probing.
        settings.ipv6_dad_transmits = 0;
    }
    if plans.interfaces.iter().any(|plan| plan.asked.temporary()) {
        settings.ipv6_use_tempaddr = 2;
    }
    let mut host = Host::new(settings, seed);
    let dns = plans.dns.map(|dns| Rc::new(RefCell::new(dns)));
    if let Some(dns) = &dns {
        dns.borrow().redirect(&mut host);
    }
    // Who else would say it.
    let asks = dns.as_ref().filter(|_| args.net != Net::Gateway && args.dns.is_none());
    let mut service = Node::default();
    service.cables = cabling.cables;
    let mut nics = Vec::new();
    for (position, mut plan) in (0..).zip(plans.interfaces) {
        let interface = add_interface(&mut host, now, &plan)?;
        for &gateway in &plan.gateways {
            host.add_route(default_route(interface, gateway, position))
                .map_err(|e| Failure::own(format!("{}--gateway {gateway}: {e}", plan.asked.option())))?;
        }
        nics.extend(plan.nic.take().map(|nic| (interface, nic)));
        service.dhcp.extend(Dhcp::new(&plan.asked, &mut host, now, interface, asks)?);
        let given = if alone { Vec::new() } else { plan.addresses };
        service.autoconf.extend(Autoconf::new(&plan.asked, &given, now, interface, asks)?);
    }
    let node = engine.add_node(host, Box::new(service));
    for (interface, nic) in nics {
        engine.add_nic(node, interface, nic).map_err(Failure::own)?;
    }
    wait_for_address(&mut engine, node)?;

    let mut service = match start(args) {
        Ok(service) => service,
        Err(failure) => {
            release_address(&mut engine, node)?;
            return Err(failure);
        }
    };
    if let Some(dns) = dns {
        service.before_lookup(move |host, now| dns.borrow_mut().follow(host, now));
    }
    if let Some(sending) = plans.sending {
        service.wait_until(move || sending.get() == 0);
    }
    engine.with(node, |node: &mut Node, cx| node.start(cx, service));
    let status = engine.run().map_err(Failure::own)?;
    if let Some(reason) = engine.service::<Node>(node).and_then(Node::failure) {
        eprintln!("wireway: {reason}: the program was ended");
    }
    release_address(&mut engine, node)?;

    if let Some(capture) = capture {
        let counters = capture.borrow_mut().finish();
        if counters.lost > 0 {
            eprintln!("wireway: {} frames are missing at the end of the capture", counters.lost);
        }
    }
    if args.stats
        && let Some(host) = engine.host(node)
    {
        let counters = host.counters();
        for (name, count) in counters.iter().filter(|&(_, count)| count > 0) {
            eprintln!("wireway: {name} {count}");
        }
        for (name, count) in counters.drops().filter(|&(_, count)| count > 0) {
            eprintln!("wireway: dropped {name} {count}");
        }
    }
    Ok(u8::try_from(status).unwrap_or(FAILED))
}

/// What the options and the schedule ask of the links.
fn impairments(args: &RunArgs) -> Result<Impairments, Failure> {
    let schedule = args.schedule.as_ref().map(|path| {
        let said = |e| Failure::own(format!("--schedule {}: {e}", path.display()));
        std::fs::read_to_string(path).map_err(said)
    });
    let steps = args.impair.steps.clone();
    let path = args.schedule.as_deref().unwrap_or(Path::new("")).display();
    Impairments::new(steps, schedule.transpose()?.as_deref())
        .map_err(|e| Failure::own(format!("--schedule {path}: {e}")))
}

fn made_up_seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Runs the engine until the interface has its addresses, if it has to wait for some.
fn wait_for_address(engine: &mut Engine, node: NodeId) -> Result<(), Failure> {
    let is_waiting = |engine: &Engine| engine.service::<Node>(node).is_some_and(Node::is_waiting);
    if is_waiting(engine) {
        engine.run().map_err(Failure::own)?;
        if let Some(reason) = engine.service::<Node>(node).and_then(Node::failure) {
            return Err(Failure::own(reason));
        }
    }
    Ok(())
}

/// Starts the program, whose sockets will be of our making.
fn start(args: &RunArgs) -> Result<Attach, Failure> {
    withhold_sockets()?;
    let signals = Signals::take().map_err(Failure::own)?;
    let command = Command { arguments: args.program.clone(), isolate: args.isolate, ..Command::default() };
    let running = launch(&command, &signals)?;
    Attach::new(running, signals).map_err(Failure::own)
}

/// Gives a leased address back: for as long as the message waits for the server's hardware address, but not for long.
fn release_address(engine: &mut Engine, node: NodeId) -> Result<(), Failure> {
    let mut waits = engine.with(node, |node: &mut Node, cx| node.release(cx)).unwrap_or(false);
    let end = engine.now() + RELEASE_WAIT;
    while waits && engine.now() < end {
        let next = engine.now() + RELEASE_STEP;
        engine.run_until(next).map_err(Failure::own)?;
        waits = engine.host(node).is_some_and(|host| host.usage().neighbour_packets > 0);
    }
    Ok(())
}

fn capture(engine: &Engine, args: &RunArgs) -> Result<Option<Rc<RefCell<Capture>>>, Failure> {
    let Some(path) = &args.capture else { return Ok(None) };
    let report = |what: &str| eprintln!("wireway: {what}");
    let capture = Capture::create(path, engine.epoch(), report)
        .map_err(|e| Failure::own(format!("--capture {}: {e}", path.display())))?;
    Ok(Some(Rc::new(RefCell::new(capture))))
}

/// Makes an interface of the host as it was planned.
fn add_interface(host: &mut Host, now: Instant, plan: &Plan) -> Result<InterfaceId, Failure> {
    let asked = &plan.asked;
    let added = match (&asked.behind, &plan.nic) {
        (Behind::Vlan { parent, protocol, id }, _) => add_vlan(host, now, plan, parent, (*protocol, *id)),
        (Behind::Net(_), Some(nic)) => {
            let config = InterfaceConfig {
                addresses: plan.addresses.clone(),
                features: nic.features(),
                autoconf: asked.slaac(),
                ..InterfaceConfig::ethernet(&asked.name, nic.mac(), nic.mtu())
            };
            host.add_interface(now, config)
        }
        (Behind::Net(_), None) => Err(Error::NoDevice),
    };
    let interface = added.map_err(|e| Failure::own(format!("{}the interface: {e}", asked.option())))?;
    if asked.link_local() {
        host.add_link_local(now, interface)
            .map_err(|e| Failure::own(format!("{}--address link-local: {e}", asked.option())))?;
    }
    Ok(interface)
}

fn add_vlan(
    host: &mut Host,
    now: Instant,
    plan: &Plan,
    parent: &str,
    (protocol, id): (VlanProtocol, u16),
) -> wireway::stack::Result<InterfaceId> {
    let parent = host.interfaces().find(|other| other.name == parent).ok_or(Error::NoDevice)?.id;
    let interface = host.add_vlan(now, &plan.asked.name, Vlan { parent, protocol, id })?;
    if let Some(mac) = plan.asked.mac {
        host.set_mac(interface, mac)?;
    }
    if let Some(mtu) = plan.asked.mtu {
        host.set_mtu(now, interface, mtu.into())?;
    }
    host.set_autoconf(now, interface, plan.asked.slaac())?;
    host.set_up(now, interface, true)?;
    for &address in &plan.addresses {
        host.add_address(now, interface, address, false)?;
    }
    Ok(interface)
}

/// By a router of the interface at this position: of several, the first one's is taken.
fn default_route(interface: InterfaceId, gateway: IpAddr, position: u32) -> RouteEntry {
    let address = match gateway {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let destination = Cidr { address, prefix_len: 0 };
    RouteEntry { gateway: Some(gateway), metric: position, ..RouteEntry::new(destination, interface) }
}

/// A network socket of the kernel's that the program would inherit is a way past the stack.
fn withhold_sockets() -> Result<(), Failure> {
    for socket in inherited::withhold_sockets() {
        let number = socket.descriptor;
        if !socket.withheld {
            return Err(Failure::own(format!(
                "descriptor {number} is a network socket of the kernel's, which would lead past the stack: redirect it, or put cat(1) between"
            )));
        }
        eprintln!("wireway: descriptor {number} is a network socket of the kernel's: the program does not get it");
    }
    Ok(())
}

/// Fills `bytes` from the system's random numbers.
pub fn random(bytes: &mut [u8]) -> Result<(), Failure> {
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(bytes))
        .map_err(|e| Failure::own(format!("/dev/urandom: {e}")))
}
