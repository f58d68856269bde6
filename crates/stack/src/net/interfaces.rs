//! Interfaces come and go, are taken into use and out of it, and change: as on Linux, at any time.
//!
//! Down: what waits in the queue is dropped, and routes and neighbours by the interface are forgotten, as are all its IPv6 addresses. IPv4 addresses stay
//! the host's own. Up again, the networks of these are on the link once more, and IPv6 starts anew, from the link-local address on; routes by
//! gateways were somebody's to set, and are to be set again. A VLAN's interface follows its parent both ways. Connections notice nothing but
//! the time: they retransmit.

use core::net::IpAddr;

use wireway_packet::Instant;
use wireway_wire::MacAddr;

use super::Net;
use super::ipv6::MIN_MTU;
use crate::counters::DropReason;
use crate::interface::{AddressOptions, Cidr, Interface, LOOPBACK_MTU, Medium, SMALLEST_MTU, Vlan};
use crate::{Error, InterfaceConfig, InterfaceId, Result};

/// VLANs within each other (Linux's MAX_NEST_DEV).
const MAX_NEST: usize = 8;
/// The numbers of VLANs: 0 and 4095 mean something else (IEEE 802.1Q §9.6).
const VLAN_IDS: core::ops::RangeInclusive<u16> = 1..=4094;

impl Net {
    pub fn add_interface(&mut self, now: Instant, config: &InterfaceConfig) -> Result<InterfaceId> {
        config.check()?;
        let id = self.insert_interface(now, config)?;
        if config.autoconf
            && let Some(at) = self.interfaces.get_mut(usize::from(id.0))
        {
            at.link_local = true;
        }
        self.set_up(now, id, true)?;
        for &cidr in &config.addresses {
            self.claim(now, id, cidr, AddressOptions { probe: config.probe, ..AddressOptions::default() })?;
        }
        Ok(id)
    }

    fn insert_interface(&mut self, now: Instant, config: &InterfaceConfig) -> Result<InterfaceId> {
        if self.interfaces.iter().any(|i| !i.gone && i.name == config.name) {
            return Err(Error::Exists);
        }
        let id = InterfaceId(u16::try_from(self.interfaces.len()).map_err(|_| Error::NoMemory)?);
        self.interfaces.push(Interface::new(id, config));
        self.join_all_hosts(now, id);
        Ok(id)
    }

    /// Adds a VLAN's interface (see [`Host::add_vlan`](crate::Host::add_vlan)).
    pub fn add_vlan(&mut self, now: Instant, name: &str, vlan: Vlan) -> Result<InterfaceId> {
        let parent = self.interface(vlan.parent).ok_or(Error::NoDevice)?;
        let mac = parent.mac().ok_or(Error::NotSupported)?;
        if !VLAN_IDS.contains(&vlan.id) {
            return Err(Error::OutOfRange);
        }
        let above = core::iter::successors(Some(vlan.parent), |&id| Some(self.interface(id)?.vlan?.parent));
        if above.count() > MAX_NEST {
            return Err(Error::InvalidArgument);
        }
        if self.vlans.contains_key(&vlan) {
            return Err(Error::Exists);
        }
        let mut config = InterfaceConfig::ethernet(name, mac, u16::try_from(parent.mtu).unwrap_or(u16::MAX));
        config.queue_limit = 0;
        config.autoconf = parent.autoconf;
        let link_local = parent.link_local;
        let id = self.insert_interface(now, &config)?;
        if let Some(at) = self.interfaces.get_mut(usize::from(id.0)) {
            at.vlan = Some(vlan);
            at.link_local = link_local;
        }
        self.vlans.insert(vlan, id);
        Ok(id)
    }

    /// Removes a VLAN's interface and those within it (see [`Host::remove_interface`](crate::Host::remove_interface)).
    pub fn remove_interface(&mut self, now: Instant, id: InterfaceId) -> Result<()> {
        let vlan = self.interface(id).ok_or(Error::NoDevice)?.vlan.ok_or(Error::NotSupported)?;
        for child in self.vlans_of(id) {
            let _ = self.remove_interface(now, child);
        }
        let _ = self.set_up(now, id, false);
        let addresses = self.interface(id).map(|at| at.addresses.clone()).unwrap_or_default();
        for cidr in addresses {
            let _ = self.disclaim(id, cidr);
        }
        self.leave_all_hosts(now, id);
        self.vlans.remove(&vlan);
        if let Some(at) = self.interfaces.get_mut(usize::from(id.0)) {
            at.gone = true;
            at.vlan = None;
            at.name.clear();
        }
        self.destinations.clear();
        Ok(())
    }

    fn vlans_of(&self, parent: InterfaceId) -> Vec<InterfaceId> {
        self.interfaces.iter().filter(|at| at.vlan.is_some_and(|vlan| vlan.parent == parent)).map(|at| at.id).collect()
    }

    /// Takes an interface into use or out of it (see [`Host::set_up`](crate::Host::set_up)).
    pub fn set_up(&mut self, now: Instant, id: InterfaceId, up: bool) -> Result<()> {
        let at = self.interface(id).ok_or(Error::NoDevice)?;
        if at.up == up {
            return Ok(());
        }
        match (up, at.vlan) {
            (true, Some(vlan)) if !self.interface(vlan.parent).is_some_and(|parent| parent.up) => {
                return Err(Error::NetworkDown);
            }
            (true, _) => self.start(now, id),
            (false, _) => self.stop(id),
        }
        for child in self.vlans_of(id) {
            let _ = self.set_up(now, child, up);
        }
        Ok(())
    }

    fn start(&mut self, now: Instant, id: InterfaceId) {
        let Some(at) = self.interfaces.get_mut(usize::from(id.0)) else { return };
        at.set_up(true);
        let addresses = at.addresses.clone();
        for cidr in addresses {
            self.connect_address(id, cidr);
        }
        self.destinations.clear();
        self.start_groups(now, id);
        self.start_claims(now, id);
        self.start_v6(now, id);
    }

    fn stop(&mut self, id: InterfaceId) {
        self.stop_v6(id);
        self.stop_groups(id);
        let Some(at) = self.interfaces.get_mut(usize::from(id.0)) else { return };
        at.set_up(false);
        let waiting = at.drain();
        at.statistics.tx_dropped += waiting as u64;
        let addresses = at.addresses.clone();
        self.stop_claims(id);
        for _ in 0..waiting {
            self.counters.drop(DropReason::DevReady);
        }
        for cidr in addresses {
            self.disconnect_address(id, cidr);
        }
        self.routes.remove_all(|route| route.interface == id);
        self.forget_neighbours(|interface, _| interface == id);
        self.destinations.clear();
    }

    /// IPv6 begins on an interface that is up and wants it.
    fn start_v6(&mut self, now: Instant, id: InterfaceId) {
        let Some(at) = self.interface(id).filter(|at| at.mtu >= MIN_MTU.into()) else { return };
        match at.medium {
            Medium::Loopback => {
                self.install_address(id, Cidr { address: core::net::Ipv6Addr::LOCALHOST.into(), prefix_len: 128 })
            }
            Medium::Ethernet(_) if at.link_local => self.ensure_link_local(now, id),
            Medium::Ethernet(_) => {}
        }
    }

    /// All that is of IPv6 leaves an interface.
    fn stop_v6(&mut self, id: InterfaceId) {
        self.forget_routers(id);
        let Some(at) = self.interface(id) else { return };
        let v6: Vec<Cidr> =
            at.address_list().iter().map(|known| known.cidr).filter(|cidr| cidr.address.is_ipv6()).collect();
        for cidr in v6 {
            let _ = self.disclaim(id, cidr);
        }
        self.routes.remove_all(|route| route.interface == id && route.destination.address.is_ipv6());
        self.forget_neighbours(|interface, address| interface == id && address.is_ipv6());
        // Addresses of IPv4 end when they would have.
        self.arm_autoconf(id);
        self.destinations.clear();
    }

    /// Changes the MTU of an interface (see [`Host::set_mtu`](crate::Host::set_mtu)).
    pub fn set_mtu(&mut self, now: Instant, id: InterfaceId, mtu: u32) -> Result<()> {
        let at = self.interface(id).ok_or(Error::NoDevice)?;
        let longest = if at.medium == Medium::Loopback { LOOPBACK_MTU } else { u16::MAX.into() };
        if !(u32::from(SMALLEST_MTU)..=longest).contains(&mtu) {
            return Err(Error::InvalidArgument);
        }
        if at.vlan.and_then(|vlan| self.interface(vlan.parent)).is_some_and(|parent| mtu > parent.mtu) {
            return Err(Error::OutOfRange);
        }
        let before = at.mtu;
        if let Some(at) = self.interfaces.get_mut(usize::from(id.0)) {
            at.mtu = mtu;
        }
        self.destinations.clear();
        // RFC 8200 §5: no link of IPv6 carries less.
        let least = u32::from(MIN_MTU);
        if mtu < least && before >= least {
            self.stop_v6(id);
        } else if mtu >= least && before < least && self.interface(id).is_some_and(|at| at.up) {
            self.start_v6(now, id);
        }
        for child in self.vlans_of(id) {
            if self.interface(child).is_some_and(|at| at.mtu > mtu) {
                self.set_mtu(now, child, mtu)?;
            }
        }
        Ok(())
    }

    /// Changes the MAC address of an interface (see [`Host::set_mac`](crate::Host::set_mac)).
    pub fn set_mac(&mut self, id: InterfaceId, mac: MacAddr) -> Result<()> {
        let before = self.interface(id).ok_or(Error::NoDevice)?.mac().ok_or(Error::NotSupported)?;
        if !mac.is_unicast() {
            return Err(Error::AddressNotAvailable);
        }
        if let Some(at) = self.interfaces.get_mut(usize::from(id.0)) {
            at.set_mac(mac);
        }
        self.destinations.clear();
        for child in self.vlans_of(id) {
            if self.interface(child).and_then(Interface::mac) == Some(before) {
                self.set_mac(child, mac)?;
            }
        }
        Ok(())
    }

    /// Changes how many packets an interface's queue holds.
    pub fn set_queue_limit(&mut self, id: InterfaceId, limit: usize) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(id.0)).filter(|at| !at.gone).ok_or(Error::NoDevice)?;
        if at.medium == Medium::Loopback || at.vlan.is_some() {
            return Err(Error::NotSupported);
        }
        at.set_queue_limit(limit);
        Ok(())
    }

    /// Lets an interface configure IPv6 by itself, or no longer.
    pub fn set_autoconf(&mut self, now: Instant, id: InterfaceId, autoconf: bool) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(id.0)).filter(|at| !at.gone).ok_or(Error::NoDevice)?;
        at.mac().ok_or(Error::NotSupported)?;
        at.autoconf = autoconf;
        if !autoconf {
            return Ok(());
        }
        let settled = at.addresses.iter().any(|cidr| is_link_local(cidr.address));
        self.add_link_local(now, id)?;
        if settled {
            self.solicit_routers(now, id);
        }
        Ok(())
    }

    /// Gives an interface a link-local address of IPv6, now and whenever it comes up. EINVAL below IPv6's least MTU.
    pub fn add_link_local(&mut self, now: Instant, id: InterfaceId) -> Result<()> {
        let at = self.interface(id).ok_or(Error::NoDevice)?;
        at.mac().ok_or(Error::NotSupported)?;
        if at.mtu < u32::from(MIN_MTU) {
            return Err(Error::InvalidArgument);
        }
        self.ensure_link_local(now, id);
        Ok(())
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}
