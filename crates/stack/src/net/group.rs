//! Groups: who listens to which group on which interface, and to which sources (RFC 1112, RFC 9776 §3, RFC 9777 §4).
//!
//! # Theory of operation
//!
//! A listener is a socket that joined a group on an interface, or the host itself (for the group of all hosts, and for those by which its
//! IPv6 addresses are asked for). Each has a [`Filter`] of sources. An interface hears what any of them wants: if one excludes, all but what
//! every excluder excludes and nobody includes; else what somebody includes (RFC 9776 §3.2). That is kept as counts a source, so that a
//! listener's change costs in proportion to the filters, not to the number of listeners.
//!
//! What an interface hears, the routers of its link are told (`membership.rs`; as messages: `igmp.rs`, `mld.rs`). A group that nobody listens to
//! any more stays here until that was told often enough.

use core::net::IpAddr;
use std::collections::BTreeMap;

use slab::Slab;
use wireway_packet::Instant;
use wireway_wire::igmp;
use wireway_wire::ipv6::{ALL_NODES, multicast_scope};

use super::Net;
use super::membership::Telling;
use super::querier::Querier;
use crate::counters::DropReason;
use crate::{InterfaceId, Usage};

/// Whether a list of sources is of those that are wanted, or of those that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// MCAST_INCLUDE: these alone.
    Include,
    /// MCAST_EXCLUDE: all but these.
    Exclude,
}

/// From whom a listener wants packets to a group (RFC 9776 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub mode: FilterMode,
    pub sources: Vec<IpAddr>,
}

impl Filter {
    /// From anybody.
    pub const ANY: Filter = Filter { mode: FilterMode::Exclude, sources: Vec::new() };

    /// From nobody.
    pub const NOTHING: Filter = Filter { mode: FilterMode::Include, sources: Vec::new() };

    pub fn passes(&self, source: IpAddr) -> bool {
        self.sources.contains(&source) == (self.mode == FilterMode::Include)
    }

    /// From nobody: as if there were no listener.
    pub fn is_nothing(&self) -> bool {
        self.mode == FilterMode::Include && self.sources.is_empty()
    }
}

/// A group on an interface.
#[derive(Debug)]
pub(super) struct Listening {
    pub interface: InterfaceId,
    pub group: IpAddr,
    pub generation: u32,
    /// Listeners that exclude.
    excluders: u32,
    /// By address.
    sources: Vec<Wish>,
    /// What of it the routers are still to be told.
    pub telling: Telling,
}

/// How many listeners have a source in their list.
#[derive(Clone, Copy, Debug)]
struct Wish {
    source: IpAddr,
    includers: u32,
    excluders: u32,
}

impl Listening {
    /// What the interface hears (RFC 9776 §3.2), with the sources in order.
    pub fn heard(&self) -> Filter {
        let excludes = self.excluders > 0;
        let listed = self.sources.iter().filter(|wish| match excludes {
            true => wish.excluders == self.excluders && wish.includers == 0,
            false => wish.includers > 0,
        });
        let mode = if excludes { FilterMode::Exclude } else { FilterMode::Include };
        Filter { mode, sources: listed.map(|wish| wish.source).collect() }
    }

    /// Whether anything is heard.
    pub fn is_heard(&self) -> bool {
        self.excluders > 0 || self.sources.iter().any(|wish| wish.includers > 0)
    }

    pub fn hears(&self, source: IpAddr) -> bool {
        match self.sources.binary_search_by_key(&source, |wish| wish.source).ok().and_then(|at| self.sources.get(at)) {
            Some(wish) => wish.includers > 0 || wish.excluders < self.excluders,
            None => self.excluders > 0,
        }
    }

    /// Whether routers are told of it. RFC 9776 §5, RFC 9777 §6: all but the group of all hosts; of IPv6, also not what does not leave
    /// the host. What is on `lo` nobody else could tell.
    pub fn is_told(&self) -> bool {
        let told = match self.group {
            IpAddr::V4(group) => group != igmp::ALL_HOSTS,
            IpAddr::V6(group) => group != ALL_NODES && multicast_scope(group).is_some_and(|scope| scope > 1),
        };
        told && self.interface != InterfaceId::LOOPBACK
    }

    fn add(&mut self, filter: &Filter) {
        self.excluders += u32::from(filter.mode == FilterMode::Exclude);
        for &source in &filter.sources {
            let at = self.sources.binary_search_by_key(&source, |wish| wish.source).unwrap_or_else(|at| {
                self.sources.insert(at, Wish { source, includers: 0, excluders: 0 });
                at
            });
            if let Some(wish) = self.sources.get_mut(at) {
                *wish.count(filter.mode) += 1;
            }
        }
    }

    fn remove(&mut self, filter: &Filter) {
        self.excluders = self.excluders.saturating_sub(u32::from(filter.mode == FilterMode::Exclude));
        for &source in &filter.sources {
            let Ok(at) = self.sources.binary_search_by_key(&source, |wish| wish.source) else { continue };
            let Some(wish) = self.sources.get_mut(at) else { continue };
            let count = wish.count(filter.mode);
            *count = count.saturating_sub(1);
            if wish.includers == 0 && wish.excluders == 0 {
                self.sources.remove(at);
            }
        }
    }
}

impl Wish {
    fn count(&mut self, mode: FilterMode) -> &mut u32 {
        match mode {
            FilterMode::Include => &mut self.includers,
            FilterMode::Exclude => &mut self.excluders,
        }
    }
}

/// The groups of a host.
#[derive(Default)]
pub(crate) struct Groups {
    list: Slab<Listening>,
    by_group: BTreeMap<(InterfaceId, IpAddr), usize>,
    /// What is known of the routers of each link; `true` stands for IPv6.
    pub(super) queriers: BTreeMap<(InterfaceId, bool), Querier>,
    next_generation: u32,
}

impl Groups {
    pub(super) fn find(&self, interface: InterfaceId, group: IpAddr) -> Option<usize> {
        self.by_group.get(&(interface, group)).copied()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Listening> {
        self.list.get_mut(index)
    }

    /// Those of an interface and a family.
    pub(super) fn of(&self, interface: InterfaceId, v6: bool) -> impl Iterator<Item = (usize, &Listening)> {
        self.list.iter().filter(move |(_, at)| at.interface == interface && at.group.is_ipv6() == v6)
    }

    /// Those of an interface.
    pub(super) fn all_of(&self, interface: InterfaceId) -> Vec<usize> {
        self.list.iter().filter(|(_, at)| at.interface == interface).map(|(index, _)| index).collect()
    }

    /// How many there are, with those that are left but not yet told.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    fn find_or_add(&mut self, interface: InterfaceId, group: IpAddr) -> usize {
        *self.by_group.entry((interface, group)).or_insert_with(|| {
            self.next_generation = self.next_generation.wrapping_add(1);
            let generation = self.next_generation;
            let (sources, telling) = (Vec::new(), Telling::default());
            self.list.insert(Listening { interface, group, generation, excluders: 0, sources, telling })
        })
    }
}

/// A group that an interface listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The interface.
    pub interface: InterfaceId,
    /// The group.
    pub group: IpAddr,
    /// What the sources are.
    pub mode: FilterMode,
    /// What all listeners of the interface come to together (RFC 9776 §3.2).
    pub sources: Vec<IpAddr>,
}

impl Net {
    /// The host itself listens to a group, from anybody, as often as this is called (and not [`leave`](Self::leave)).
    pub fn join(&mut self, now: Instant, interface: InterfaceId, group: IpAddr) {
        self.change_filter(now, interface, group, None, Some(&Filter::ANY));
    }

    /// Takes one [`join`](Self::join) back.
    pub fn leave(&mut self, now: Instant, interface: InterfaceId, group: IpAddr) {
        self.change_filter(now, interface, group, Some(&Filter::ANY), None);
    }

    /// Joins the groups that every host is in (RFC 1112 §4, RFC 4291 §2.8).
    pub(super) fn join_all_hosts(&mut self, now: Instant, interface: InterfaceId) {
        self.join(now, interface, igmp::ALL_HOSTS.into());
        self.join(now, interface, ALL_NODES.into());
    }

    /// Leaves them: the interface is removed.
    pub(super) fn leave_all_hosts(&mut self, now: Instant, interface: InterfaceId) {
        self.leave(now, interface, igmp::ALL_HOSTS.into());
        self.leave(now, interface, ALL_NODES.into());
    }

    /// A listener comes (no `old` filter), goes (no `new` one), or wants something else.
    pub fn change_filter(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        group: IpAddr,
        old: Option<&Filter>,
        new: Option<&Filter>,
    ) {
        let index = self.groups.find_or_add(interface, group);
        let Some(listening) = self.groups.get_mut(index) else { return };
        let before = listening.heard();
        if let Some(new) = new {
            listening.add(new);
        }
        if let Some(old) = old {
            listening.remove(old);
        }
        let after = listening.heard();
        if before != after {
            self.tell_of_change(now, index, &before, &after);
        }
        self.forget_if_done(index);
    }

    /// Forgets a group that nobody listens to, once all was told.
    pub(super) fn forget_if_done(&mut self, index: usize) {
        let done = |at: &mut Listening| !at.is_heard() && at.telling.is_done();
        if self.groups.get_mut(index).is_some_and(done) {
            let mut gone = self.groups.list.remove(index);
            gone.telling.stop(&mut self.timers);
            self.groups.by_group.remove(&(gone.interface, gone.group));
        }
    }

    /// Whether an interface listens to a group, to some source.
    pub fn listens_to(&self, interface: InterfaceId, group: IpAddr) -> bool {
        let found = self.groups.find(interface, group).and_then(|index| self.groups.list.get(index));
        found.is_some_and(Listening::is_heard)
    }

    /// Whether an interface listens to a group's packets from `source`. From none they are heard on the link alone (as on Linux).
    pub fn hears(&self, interface: InterfaceId, group: IpAddr, source: IpAddr) -> bool {
        let found = self.groups.find(interface, group).and_then(|index| self.groups.list.get(index));
        found.is_some_and(|at| if source.is_unspecified() { is_of_link(group) } else { at.hears(source) })
    }

    /// Whether what the host sent itself is for one of its own addresses; false for the copies of its broadcasts and of what went to groups that
    /// it listens to.
    pub(super) fn classify_own(&self, interface: InterfaceId, destination: IpAddr) -> Result<bool, DropReason> {
        if destination.is_multicast() && !self.listens_to(interface, destination) {
            return Err(DropReason::IpMulticast);
        }
        Ok(self.is_local(destination))
    }

    /// The groups that are listened to, by interface and address.
    pub fn group_list(&self) -> Vec<GroupInfo> {
        let heard = self.groups.list.iter().filter(|(_, at)| at.is_heard());
        let mut list: Vec<GroupInfo> = heard
            .map(|(_, at)| {
                let Filter { mode, sources } = at.heard();
                GroupInfo { interface: at.interface, group: at.group, mode, sources }
            })
            .collect();
        list.sort_by_key(|info| (info.interface, info.group));
        list
    }

    /// Tells how many groups are kept.
    pub(super) fn tell_group_usage(&self, usage: &mut Usage) {
        usage.groups = self.groups.len();
    }
}

/// Whether a group is one that no router passes on: 224.0.0.0/24 (RFC 5771 §4), ff02::/16 and below.
fn is_of_link(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => matches!(group.octets(), [224, 0, 0, _]),
        IpAddr::V6(group) => multicast_scope(group).is_some_and(|scope| scope <= 2),
    }
}
