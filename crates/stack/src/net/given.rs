//! Addresses that were given otherwise than for ever and for everything: for how long, and without what (Linux's `valid_lft`, `preferred_lft`,
//! `nodad`, `noprefixroute`).

use core::net::IpAddr;

use wireway_packet::Instant;

use super::Net;
use crate::interface::{AddressOptions, Cidr};
use crate::{Error, InterfaceId, Result};

#[derive(Debug)]
struct Entry {
    cidr: Cidr,
    options: AddressOptions,
    deprecated: bool,
}

/// What was said about an interface's addresses, where anything was.
#[derive(Debug, Default)]
pub(crate) struct Given {
    entries: Vec<Entry>,
}

impl Given {
    pub fn options(&self, cidr: Cidr) -> AddressOptions {
        self.entries.iter().find(|entry| entry.cidr == cidr).map(|entry| entry.options).unwrap_or_default()
    }

    pub fn has_no_route(&self, cidr: Cidr) -> bool {
        self.options(cidr).no_route
    }

    pub fn is_deprecated(&self, address: IpAddr) -> bool {
        self.entries.iter().any(|entry| entry.cidr.address == address && entry.deprecated)
    }

    /// When something ends next.
    pub fn next_at(&self) -> Option<Instant> {
        let ends = self.entries.iter().filter_map(|entry| {
            let (preferred, valid) = entry.options.lifetimes?;
            Some(if entry.deprecated { valid } else { preferred.min(valid) })
        });
        ends.filter(|&at| at != Instant::FAR_FUTURE).min()
    }
}

impl Net {
    /// Notes how an address is given.
    pub(super) fn give(&mut self, now: Instant, interface: InterfaceId, cidr: Cidr, options: AddressOptions) {
        self.forget_given(interface, cidr);
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        if options != AddressOptions::default() {
            let deprecated = options.lifetimes.is_some_and(|(preferred, _)| preferred <= now);
            at.given.entries.push(Entry { cidr, options, deprecated });
        }
        self.arm_autoconf(interface);
    }

    pub(super) fn forget_given(&mut self, interface: InterfaceId, cidr: Cidr) {
        if let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) {
            at.given.entries.retain(|entry| entry.cidr != cidr);
        }
    }

    /// Gives an address other lifetimes.
    pub fn set_lifetimes(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        cidr: Cidr,
        lifetimes: Option<(Instant, Instant)>,
    ) -> Result<()> {
        let at = self.interface(interface).ok_or(Error::NoDevice)?;
        if !at.address_list().iter().any(|known| known.cidr == cidr) {
            return Err(Error::AddressNotAvailable);
        }
        let options = AddressOptions { lifetimes, ..at.given.options(cidr) };
        self.give(now, interface, cidr, options);
        self.destinations.clear();
        Ok(())
    }

    /// Ends what is over.
    pub(super) fn expire_given(&mut self, now: Instant, interface: InterfaceId) {
        let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) else { return };
        let mut over = Vec::new();
        let mut changed = false;
        for entry in &mut at.given.entries {
            let Some((preferred, valid)) = entry.options.lifetimes else { continue };
            changed |= !entry.deprecated && preferred <= now;
            entry.deprecated |= preferred <= now;
            if valid <= now {
                over.push(entry.cidr);
            }
        }
        if changed {
            self.destinations.clear();
        }
        for cidr in over {
            let _ = self.disclaim(interface, cidr);
        }
    }
}
