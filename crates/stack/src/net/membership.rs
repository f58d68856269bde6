//! What routers are told of the groups an interface listens to: the host's part of IGMP (RFC 9776 §5, RFC 2236) and of MLD (RFC 9777 §6, RFC
//! 2710), which are one protocol. In IGMP's numbers of versions: MLDv1 is IGMPv2, MLDv2 is IGMPv3.
//!
//! # Theory of operation
//!
//! A change is told at once and, since that may be lost, again after random times (RFC 9776 §5.1): a change of mode with the whole list of
//! sources, a change of sources by those that came or went; what changed in between is told with the next repetition. A query is answered
//! after a random time within the limit it sets (§5.2): a general one for all groups in one go, by a timer of the link; one for a group, or for
//! sources of it, by a timer of the group. A query that comes while an answer is due only brings that forward, so that a flood of them makes
//! at most an answer a tenth of a second.
//!
//! While a querier of an older version is about, its version is spoken (§7.2): whole groups alone, each by a message that other hosts
//! hear, so that one of them is enough.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;

use wireway_packet::Instant;
use wireway_wire::{GroupAddress, QueryVersion, RecordKind, ReportWriter};

use super::Net;
use super::group::{Filter, FilterMode};
use crate::InterfaceId;
use crate::timer::{Timer, TimerKey, Timers};

/// RFC 9776 §8.1: how often a change is told, until a querier says.
pub(super) const ROBUSTNESS: u8 = 2;
/// The longest time between two tellings of a change: RFC 9776 §8.11, RFC 9777 §9.11.
pub(super) const UNSOLICITED: Duration = Duration::from_secs(1);
/// The same of older versions: RFC 2236 §8.10, RFC 2710 §7.10.
const UNSOLICITED_OLD: Duration = Duration::from_secs(10);
/// With more groups than these, leaving one is told once only.
const MANY: usize = 4096;

/// What is to be told of a group.
#[derive(Debug, Default)]
pub(super) struct Telling {
    timer: Timer,
    /// How often a change of mode is still to be told; of older versions, that the group was joined.
    mode_left: u8,
    /// The same of sources that came or went.
    changed: Vec<(IpAddr, u8)>,
    change_at: Option<Instant>,
    pub answer_at: Option<Instant>,
    pub answered_at: Option<Instant>,
    /// The sources that were asked for; if none, all are told.
    pub asked: Vec<IpAddr>,
    /// Older versions: it was this host that last told of the group (RFC 2236 §3).
    pub reporter: bool,
}

impl Telling {
    /// Whether nothing is left to tell of changes.
    pub fn is_done(&self) -> bool {
        self.mode_left == 0 && self.changed.is_empty()
    }

    pub fn stop(&mut self, timers: &mut Timers) {
        timers.cancel(&mut self.timer);
    }

    /// Drops what is pending, but remembers who reported.
    pub fn clear(&mut self, timers: &mut Timers) {
        timers.cancel(&mut self.timer);
        *self = Telling { reporter: self.reporter, answered_at: self.answered_at, ..Telling::default() };
    }

    /// A change was told: counts down, and says whether it is to be told again.
    fn told(&mut self) -> bool {
        self.mode_left = self.mode_left.saturating_sub(1);
        self.changed.retain_mut(|(_, left)| {
            *left -= 1;
            *left > 0
        });
        !self.is_done()
    }
}

/// What a report says of a group.
pub(super) struct Record {
    kind: RecordKind,
    group: IpAddr,
    sources: Vec<IpAddr>,
}

/// Puts of `records` into a report what has room; the rest stays.
pub(super) fn fill<A: GroupAddress>(
    writer: &mut ReportWriter<'_, A>,
    records: &mut VecDeque<Record>,
    of_family: fn(IpAddr) -> Option<A>,
) {
    let mut first = true;
    while let Some(record) = records.front_mut() {
        let room = writer.room();
        let sources: Vec<A> = record.sources.iter().filter_map(|&source| of_family(source)).collect();
        let part = sources.get(..room.unwrap_or(0).min(sources.len())).unwrap_or_default();
        let whole = room.is_some() && part.len() == sources.len();
        if !whole && !first {
            return;
        }
        let written = of_family(record.group).is_some_and(|group| writer.record(record.kind, group, part));
        // RFC 9776 §4.2.16: what has too many sources for a packet goes on in the next, or if it excludes, is cut.
        let cut = matches!(record.kind, RecordKind::MODE_IS_EXCLUDE | RecordKind::CHANGE_TO_EXCLUDE);
        if whole || cut || !written || part.is_empty() {
            records.pop_front();
        } else {
            let told = part.len();
            record.sources.drain(..told);
            return;
        }
        first = false;
    }
}

impl Net {
    /// What an interface hears of a group changed (RFC 9776 §5.1).
    pub(super) fn tell_of_change(&mut self, now: Instant, index: usize, before: &Filter, after: &Filter) {
        let many = self.groups.len() > MANY;
        let Some(listening) = self.groups.get_mut(index).filter(|listening| listening.is_told()) else { return };
        let (interface, group) = (listening.interface, listening.group);
        if !self.interface(interface).is_some_and(|at| at.up) {
            return;
        }
        let querier = self.groups.queriers.get(&(interface, group.is_ipv6()));
        let robustness = querier.map_or(ROBUSTNESS, |querier| querier.robustness);
        let times = if many && after.is_nothing() { 1 } else { robustness };
        let version = self.version_of(now, interface, group.is_ipv6());
        let Some(listening) = self.groups.get_mut(index) else { return };
        let telling = &mut listening.telling;
        if version != QueryVersion::V3 {
            match (before.is_nothing(), after.is_nothing()) {
                (true, false) => telling.mode_left = ROBUSTNESS,
                (false, true) => {
                    // RFC 2236 §3: who last told of the group tells that it is left, which version 1 does not know.
                    let leave = telling.reporter && version == QueryVersion::V2;
                    telling.clear(&mut self.timers);
                    telling.reporter = false;
                    if leave {
                        self.send_leave(interface, group);
                    }
                    return;
                }
                _ => return,
            }
        } else if before.mode != after.mode {
            telling.mode_left = times;
            telling.changed.clear();
        } else {
            let came = after.sources.iter().filter(|source| before.sources.binary_search(source).is_err());
            let went = before.sources.iter().filter(|source| after.sources.binary_search(source).is_err());
            for &source in came.chain(went) {
                telling.changed.retain(|&(changed, _)| changed != source);
                telling.changed.push((source, times));
            }
        }
        self.tell_change(now, index);
        self.arm_telling(index);
    }

    /// The interface is up: what it listens to is told as if it had begun to now.
    pub(super) fn start_groups(&mut self, now: Instant, interface: InterfaceId) {
        for index in self.groups.all_of(interface) {
            if let Some(heard) = self.groups.get_mut(index).map(|listening| listening.heard()) {
                self.tell_of_change(now, index, &Filter::NOTHING, &heard);
            }
        }
    }

    /// The interface is down: nothing is told any more, and what routers said no longer counts.
    pub(super) fn stop_groups(&mut self, interface: InterfaceId) {
        for v6 in [false, true] {
            self.forget_pending(interface, v6);
            self.groups.queriers.remove(&(interface, v6));
        }
    }

    /// Tells what changed, and when to tell it again.
    fn tell_change(&mut self, now: Instant, index: usize) {
        let Some(listening) = self.groups.get_mut(index) else { return };
        let (interface, group) = (listening.interface, listening.group);
        let version = self.version_of(now, interface, group.is_ipv6());
        let longest = if version == QueryVersion::V3 { UNSOLICITED } else { UNSOLICITED_OLD };
        let next = now + self.within(longest);
        let Some(listening) = self.groups.get_mut(index) else { return };
        let heard = listening.heard();
        let telling = &mut listening.telling;
        let mode_changed = telling.mode_left > 0;
        // RFC 9776 §5.1: sources that are heard now are allowed, others blocked.
        let (allow, block): (Vec<IpAddr>, Vec<IpAddr>) =
            telling.changed.iter().map(|&(source, _)| source).partition(|&source| heard.passes(source));
        telling.change_at = telling.told().then_some(next);
        if version != QueryVersion::V3 {
            telling.reporter = true;
            return self.send_old_report(interface, group, version);
        }
        let mut records = VecDeque::new();
        if mode_changed {
            let kind = match heard.mode {
                FilterMode::Include => RecordKind::CHANGE_TO_INCLUDE,
                FilterMode::Exclude => RecordKind::CHANGE_TO_EXCLUDE,
            };
            records.push_back(Record { kind, group, sources: heard.sources });
        } else {
            let lists = [(RecordKind::ALLOW_NEW_SOURCES, allow), (RecordKind::BLOCK_OLD_SOURCES, block)];
            let some = lists.into_iter().filter(|(_, sources)| !sources.is_empty());
            records.extend(some.map(|(kind, sources)| Record { kind, group, sources }));
        }
        self.send_report(interface, group.is_ipv6(), records);
    }

    /// Runs a group's timer.
    pub(super) fn on_group_timer(&mut self, now: Instant, index: u32, generation: u32) {
        let index = index as usize;
        let Some(listening) = self.groups.get_mut(index).filter(|at| at.generation == generation) else { return };
        let telling = &mut listening.telling;
        let change = telling.change_at.take_if(|at| *at <= now).is_some();
        let answer = telling.answer_at.take_if(|at| *at <= now).is_some();
        if change {
            self.tell_change(now, index);
        }
        if answer {
            self.tell_state(now, index);
        }
        self.arm_telling(index);
        self.forget_if_done(index);
    }

    pub(super) fn arm_telling(&mut self, index: usize) {
        let Some(listening) = self.groups.get_mut(index) else { return };
        let key = TimerKey::Group { index: index as u32, generation: listening.generation };
        let telling = &mut listening.telling;
        match [telling.change_at, telling.answer_at].into_iter().flatten().min() {
            Some(at) => self.timers.arm(&mut telling.timer, at, key),
            None => self.timers.disarm(&mut telling.timer),
        }
    }

    /// Answers a query for a group.
    fn tell_state(&mut self, now: Instant, index: usize) {
        let Some(listening) = self.groups.get_mut(index) else { return };
        let (interface, group) = (listening.interface, listening.group);
        let asked = core::mem::take(&mut listening.telling.asked);
        listening.telling.answered_at = Some(now);
        let heard = listening.heard();
        let version = self.version_of(now, interface, group.is_ipv6());
        if heard.is_nothing() {
            return;
        }
        if version != QueryVersion::V3 {
            if let Some(listening) = self.groups.get_mut(index) {
                listening.telling.reporter = true;
            }
            return self.send_old_report(interface, group, version);
        }
        let record = if asked.is_empty() {
            state_of(group, heard)
        } else {
            // RFC 9776 §5.2: of the sources asked for, those that are heard.
            let sources: Vec<IpAddr> = asked.into_iter().filter(|&source| heard.passes(source)).collect();
            if sources.is_empty() {
                return;
            }
            Record { kind: RecordKind::MODE_IS_INCLUDE, group, sources }
        };
        self.send_report(interface, group.is_ipv6(), [record].into());
    }

    pub(super) fn send_report(&mut self, interface: InterfaceId, v6: bool, records: VecDeque<Record>) {
        if v6 {
            self.send_mld_report(interface, records);
        } else {
            self.send_igmp_report(interface, records);
        }
    }

    fn send_old_report(&mut self, interface: InterfaceId, group: IpAddr, version: QueryVersion) {
        match group {
            IpAddr::V4(group) => self.send_igmp_old_report(interface, group, version),
            IpAddr::V6(group) => self.send_mld_v1_report(interface, group),
        }
    }

    fn send_leave(&mut self, interface: InterfaceId, group: IpAddr) {
        match group {
            IpAddr::V4(group) => self.send_igmp_leave(interface, group),
            IpAddr::V6(group) => self.send_mld_done(interface, group),
        }
    }
}

pub(super) fn state_of(group: IpAddr, heard: Filter) -> Record {
    let kind = match heard.mode {
        FilterMode::Include => RecordKind::MODE_IS_INCLUDE,
        FilterMode::Exclude => RecordKind::MODE_IS_EXCLUDE,
    };
    Record { kind, group, sources: heard.sources }
}
