//! The interfaces of the program's host, as the command line asks for them: `eth0` by options of its own, others by `--interface`.

use std::net::IpAddr;
use std::str::FromStr;

use wireway::stack::Cidr;
use wireway::wire::{MacAddr, VlanProtocol};

use crate::address::Address;
use crate::cli::{Net, parse_gateway, parse_mac};

/// The interface that `--net` and the options beside it are about.
pub const FIRST: &str = "eth0";
/// The longest name of an interface (Linux's IFNAMSIZ, without the zero).
const NAME_MAX: usize = 15;
/// The MTUs that there are.
pub const MTUS: std::ops::RangeInclusive<u16> = 68..=65521;

/// What is behind an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A card at a network.
    Net(Net),
    /// Another interface of the host, which carries its frames with a tag.
    Vlan {
        /// The name of that interface.
        parent: String,
        protocol: VlanProtocol,
        id: u16,
    },
}

/// An interface that is asked for.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub behind: Behind,
    pub address: Vec<Address>,
    pub gateway: Vec<IpAddr>,
    /// That of a VLAN is its parent's if nothing is said.
    pub mtu: Option<u16>,
    pub mac: Option<MacAddr>,
}

impl Interface {
    /// The addresses that were given.
    pub fn addresses(&self) -> impl Iterator<Item = Cidr> {
        self.address.iter().filter_map(|address| match address {
            Address::Static(cidr) => Some(*cidr),
            Address::Dhcp | Address::Slaac | Address::Temporary | Address::LinkLocal => None,
        })
    }

    /// Whether a DHCP server is to be asked.
    pub fn dhcp(&self) -> bool {
        self.address.contains(&Address::Dhcp)
    }

    /// Whether an address is to be made of what routers advertise.
    pub fn slaac(&self) -> bool {
        self.address.contains(&Address::Slaac) || self.temporary()
    }

    /// Whether temporary addresses are to be made too.
    pub fn temporary(&self) -> bool {
        self.address.contains(&Address::Temporary)
    }

    /// Whether a link-local address of IPv6 is asked for.
    pub fn link_local(&self) -> bool {
        self.address.contains(&Address::LinkLocal)
    }

    /// Whether it is to have IPv6.
    pub fn has_v6(&self) -> bool {
        let given = || self.addresses().map(|cidr| cidr.address).chain(self.gateway.iter().copied());
        self.slaac() || self.link_local() || given().any(|address| address.is_ipv6())
    }

    /// What it is attached to, in words.
    pub fn network(&self) -> String {
        match &self.behind {
            Behind::Net(net) => net.to_string(),
            Behind::Vlan { parent, id, .. } => format!("VLAN {id} on {parent}"),
        }
    }

    /// What the command line calls it, for messages about it.
    pub fn option(&self) -> String {
        if self.name == FIRST { String::new() } else { format!("--interface {}: ", self.name) }
    }
}

/// The value of `--interface`: the name may still be wanting.
#[derive(Clone, Debug)]
pub struct More {
    name: Option<String>,
    interface: Interface,
}

impl FromStr for More {
    type Err = String;

    fn from_str(text: &str) -> Result<More, String> {
        let mut more = More {
            name: None,
            interface: Interface {
                name: String::new(),
                behind: Behind::Net(Net::Gateway),
                address: Vec::new(),
                gateway: Vec::new(),
                mtu: None,
                mac: None,
            },
        };
        let (mut net, mut id, mut parent, mut protocol) = (None, None, None, None);
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not KEY=VALUE"))?;
            let twice = || format!("{key} is given twice");
            let say = |error: &dyn std::fmt::Display| format!("{key}={value}: {error}");
            match key {
                "tap" | "link" => once(&mut net, part.parse::<Net>().map_err(|e| say(&e))?).ok_or_else(twice)?,
                "vlan" => once(&mut id, vlan_id(value).ok_or_else(|| say(&"give a number from 1 to 4094"))?)
                    .ok_or_else(twice)?,
                "parent" => once(&mut parent, value.to_owned()).ok_or_else(twice)?,
                "protocol" => {
                    let wanted: VlanProtocol = value.parse().map_err(|e| say(&e))?;
                    once(&mut protocol, wanted).ok_or_else(twice)?;
                }
                "name" => once(&mut more.name, name(value).map_err(|e| say(&e))?).ok_or_else(twice)?,
                "address" => more.interface.address.push(value.parse().map_err(|e| say(&e))?),
                "gateway" => more.interface.gateway.push(parse_gateway(value).map_err(|e| say(&e))?),
                "mtu" => {
                    let mtu = value.parse().ok().filter(|mtu| MTUS.contains(mtu));
                    let range = format!("give a number from {} to {}", MTUS.start(), MTUS.end());
                    once(&mut more.interface.mtu, mtu.ok_or_else(|| say(&range))?).ok_or_else(twice)?;
                }
                "mac" => once(&mut more.interface.mac, parse_mac(value).map_err(|e| say(&e))?).ok_or_else(twice)?,
                _ => return Err(format!("there is no {key}: {KEYS}")),
            }
        }
        more.interface.behind = match (net, id) {
            (Some(_), Some(_)) => return Err("a VLAN has no network but its parent's: give parent=NAME".into()),
            (Some(_), None) if parent.is_some() || protocol.is_some() => {
                return Err("parent and protocol are a VLAN's: give vlan=ID".into());
            }
            (Some(net), None) => Behind::Net(net),
            (None, Some(id)) => Behind::Vlan {
                parent: parent.unwrap_or_else(|| FIRST.into()),
                protocol: protocol.unwrap_or_default(),
                id,
            },
            (None, None) => return Err("give tap=NAME, link=NAME or vlan=ID".into()),
        };
        Ok(more)
    }
}

const KEYS: &str = "there are tap, link, vlan, parent, protocol, name, address, gateway, mtu, mac";

/// Sets what was not set before.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn vlan_id(text: &str) -> Option<u16> {
    text.parse().ok().filter(|id| (1..=4094).contains(id))
}

/// The names that Linux takes (its dev_valid_name).
fn name(text: &str) -> Result<String, String> {
    let bad = |b: u8| b.is_ascii_whitespace() || matches!(b, b'/' | b':');
    if text.is_empty() || text.len() > NAME_MAX || matches!(text, "." | "..") || text.bytes().any(bad) {
        return Err(format!("give a name of 1 to {NAME_MAX} bytes, without spaces, / and :"));
    }
    Ok(text.into())
}

/// Puts `first` and those that `--interface` asks for in order, each with its name. The reason if they do not go together.
pub fn all(first: Interface, more: &[More]) -> Result<Vec<Interface>, String> {
    let mut all = vec![first];
    for More { name: given, interface } in more {
        let mut next = interface.clone();
        next.name = match (given, &next.behind) {
            (Some(name), _) => name.clone(),
            (None, Behind::Vlan { parent, id, .. }) => {
                let usual = format!("{parent}.{id}");
                name(&usual).map_err(|_| format!("{usual} is no name: give name=NAME"))?
            }
            (None, Behind::Net(_)) => (1..).map(|n| format!("eth{n}")).find(|n| is_free(&all, n)).unwrap_or_default(),
        };
        if !is_free(&all, &next.name) {
            return Err(format!("there is {} already: give another name=NAME", next.name));
        }
        let refuse = |what: &str| Err(format!("{}: {what}", next.name));
        for other in &all {
            if other.behind == next.behind {
                return refuse(&format!("{} is {} already", other.network(), other.name));
            }
            let mut own = next.addresses();
            if let Some(same) = own.find(|own| other.addresses().any(|cidr| cidr.address == own.address)) {
                return refuse(&format!("{} has the address {} already", other.name, same.address));
            }
        }
        if let Behind::Vlan { parent, .. } = &next.behind {
            let Some(parent) = all.iter().find(|other| other.name == *parent) else {
                return refuse(&format!("there is no {parent} before it"));
            };
            let largest = parent.mtu.unwrap_or(u16::MAX);
            if next.mtu.is_some_and(|mtu| mtu > largest) {
                return refuse(&format!("its MTU is at most its parent's, {largest}"));
            }
            next.mtu = next.mtu.or(parent.mtu);
        }
        if next.address.is_empty() && next.mtu.is_none_or(|mtu| mtu >= crate::net::LEAST_MTU_V6) {
            next.address.push(Address::LinkLocal);
        }
        all.push(next);
    }
    Ok(all)
}

fn is_free(all: &[Interface], name: &str) -> bool {
    name != "lo" && all.iter().all(|other| other.name != name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Interface {
        Interface {
            name: FIRST.into(),
            behind: Behind::Net(Net::Tap("tap0".into())),
            address: vec!["10.0.0.4/24".parse().unwrap()],
            gateway: Vec::new(),
            mtu: Some(1500),
            mac: None,
        }
    }

    fn ask(more: &[&str]) -> Result<Vec<Interface>, String> {
        let more: Result<Vec<More>, String> = more.iter().map(|text| text.parse()).collect();
        all(first(), &more?)
    }

    #[test]
    fn names_parents_and_mtus_follow_from_what_is_said() {
        let all = ask(&[
            "tap=tap1,address=10.1.0.4/24,address=fd01::4/64,gateway=10.1.0.5,mtu=1400,mac=02:00:00:00:00:07",
            "vlan=5,address=10.5.0.4/24",
            "vlan=100,protocol=802.1ad,parent=eth1",
            "vlan=7,parent=eth1.100,mtu=1300,name=inner,address=slaac",
            "link=cable,name=cable",
        ])
        .unwrap();
        let names: Vec<&str> = all.iter().map(|interface| &*interface.name).collect();
        assert_eq!(names, ["eth0", "eth1", "eth0.5", "eth1.100", "inner", "cable"]);
        let mtus: Vec<Option<u16>> = all.iter().map(|interface| interface.mtu).collect();
        assert_eq!(mtus, [Some(1500), Some(1400), Some(1500), Some(1400), Some(1300), None]);
        let service = Behind::Vlan { parent: "eth1".into(), protocol: VlanProtocol::Service, id: 100 };
        assert_eq!(all[3].behind, service);
        assert_eq!((all[3].link_local(), all[2].link_local()), (true, false), "without an address a link-local one");
        assert_eq!(all[1].addresses().count(), 2);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (bad, why) in [
            (&["tap0"][..], "not KEY=VALUE"),
            (&["address=10.1.0.4/24"], "give tap=NAME, link=NAME or vlan=ID"),
            (&["tap="], "tap="),
            (&["vlan=0"], "from 1 to 4094"),
            (&["vlan=4095"], "from 1 to 4094"),
            (&["vlan=5,parent=eth7"], "no eth7 before it"),
            (&["vlan=5,tap=tap1"], "its parent's"),
            (&["tap=tap1,parent=eth0"], "a VLAN's"),
            (&["vlan=5,protocol=802.1x"], "802.1Q or 802.1ad"),
            (&["vlan=5", "vlan=5,name=other"], "VLAN 5 on eth0 is eth0.5 already"),
            (&["vlan=5", "vlan=6,name=eth0.5"], "there is eth0.5 already"),
            (&["tap=tap1,name=lo"], "there is lo already"),
            (&["tap=tap1,name=a/b"], "1 to 15 bytes"),
            (&["tap=tap0"], "the TAP interface tap0 is eth0 already"),
            (&["tap=tap1,address=10.0.0.4/16"], "eth0 has the address 10.0.0.4 already"),
            (&["tap=tap1,mtu=67"], "from 68 to 65521"),
            (&["tap=tap1,mtu=1400,mtu=1300"], "mtu is given twice"),
            (&["vlan=5,mtu=1501"], "at most its parent's, 1500"),
            (&["tap=tap1,speed=10"], "there is no speed"),
            (&["tap=tap1,address=10.0.0.4"], "prefix length"),
        ] {
            let error = ask(bad).expect_err(bad[0]);
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }
}
