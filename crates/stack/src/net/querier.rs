//! Queries of a link's routers: what is known of these, and when which answer is due (RFC 9776 §5.2 and §7.2, RFC 9777 §6.2 and §8.2). The
//! answers: `membership.rs`.

use core::net::IpAddr;
use core::time::Duration;

use wireway_packet::Instant;
use wireway_wire::{GroupAddress, GroupQuery, QueryVersion, Sources};

use super::Net;
use super::membership::{ROBUSTNESS, UNSOLICITED, state_of};
use crate::InterfaceId;
use crate::timer::{Timer, TimerKey};

/// RFC 9776 §8.2.
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// Answers are spread over this time at least, and are as far apart, whatever the query says: a bound for floods.
const LEAST_SPREAD: Duration = Duration::from_millis(100);
/// Sources that queries asked for and that are kept until the answer. If it is more, all are told.
const MAX_ASKED: usize = 64;

/// What is known of a link's routers.
#[derive(Debug)]
pub(super) struct Querier {
    /// Until when queriers of older versions are taken to be about (RFC 9776 §7.2.1).
    v1_until: Instant,
    v2_until: Instant,
    pub robustness: u8,
    interval: Duration,
    answer_at: Option<Instant>,
    answered_at: Option<Instant>,
    timer: Timer,
    /// When an older version's general query was last looked at.
    looked_at: Option<Instant>,
}

impl Default for Querier {
    fn default() -> Self {
        Querier {
            v1_until: Instant::ZERO,
            v2_until: Instant::ZERO,
            robustness: ROBUSTNESS,
            interval: QUERY_INTERVAL,
            answer_at: None,
            answered_at: None,
            timer: Timer::default(),
            looked_at: None,
        }
    }
}

impl Querier {
    /// What to speak.
    fn version(&self, now: Instant) -> QueryVersion {
        match now {
            now if now < self.v1_until => QueryVersion::V1,
            now if now < self.v2_until => QueryVersion::V2,
            _ => QueryVersion::V3,
        }
    }

    /// RFC 9776 §4.1.6, §4.1.7, §7.2.1 and §8.12: what a query tells of the querier.
    fn heard<A>(&mut self, now: Instant, query: &GroupQuery<A>) {
        let present = self.interval * self.robustness.into() + Duration::from_millis(query.max_response.into());
        match query.version {
            QueryVersion::V1 => self.v1_until = now + present,
            QueryVersion::V2 => self.v2_until = now + present,
            QueryVersion::V3 => {
                self.robustness = if query.robustness == 0 { ROBUSTNESS } else { query.robustness };
                self.interval = match query.interval {
                    0 => QUERY_INTERVAL,
                    seconds => Duration::from_secs(seconds.into()),
                };
            }
        }
    }
}

impl Net {
    /// Takes in a router's query (RFC 9776 §5.2, RFC 9777 §6.2).
    pub(super) fn receive_query<A: GroupAddress>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        query: &GroupQuery<A>,
        sources: &Sources<'_, A>,
    ) {
        let group: IpAddr = query.group.into();
        let v6 = group.is_ipv6();
        let querier = self.groups.queriers.entry((interface, v6)).or_default();
        let before = querier.version(now);
        querier.heard(now, query);
        let version = querier.version(now);
        if version != before {
            // RFC 9776 §7.2.1: what was to be said in the other version is not.
            self.forget_pending(interface, v6);
        }
        let spread = Duration::from_millis(query.max_response.into()).max(LEAST_SPREAD);
        match (version, group.is_unspecified()) {
            (QueryVersion::V3, true) => self.answer_for_all(now, interface, v6, spread),
            (QueryVersion::V3, false) => self.answer_for(now, interface, group, spread, sources),
            (_, true) => self.answer_old_for_all(now, interface, v6, spread),
            (_, false) => {
                if let Some(index) = self.groups.find(interface, group) {
                    self.answer_old_for(now, index, spread);
                }
            }
        }
    }

    /// What was told of IPv6's groups from no address is told again, now that there is a link-local one (RFC 3590 §4).
    pub(super) fn tell_groups_again(&mut self, now: Instant, interface: InterfaceId) {
        self.groups.queriers.entry((interface, true)).or_default();
        match self.version_of(now, interface, true) {
            QueryVersion::V3 => self.answer_for_all(now, interface, true, UNSOLICITED),
            _ => self.answer_old_for_all(now, interface, true, UNSOLICITED),
        }
    }

    /// A random time.
    pub(super) fn within(&mut self, spread: Duration) -> Duration {
        Duration::from_nanos(((spread.as_nanos() * u128::from(self.rng.next_u32())) >> 32) as u64)
    }

    fn answer_for_all(&mut self, now: Instant, interface: InterfaceId, v6: bool, spread: Duration) {
        let at = now + self.within(spread);
        let Some(querier) = self.groups.queriers.get_mut(&(interface, v6)) else { return };
        let at = not_soon_after(querier.answered_at, at);
        // RFC 9776 §5.2, rules 1 and 2.
        if querier.answer_at.is_none_or(|pending| at < pending) {
            querier.answer_at = Some(at);
            self.timers.arm(&mut querier.timer, at, TimerKey::Querier { interface: interface.0, v6 });
        }
    }

    fn answer_for<A: GroupAddress>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        group: IpAddr,
        spread: Duration,
        sources: &Sources<'_, A>,
    ) {
        let at = now + self.within(spread);
        let general = self.groups.queriers.get(&(interface, group.is_ipv6())).and_then(|querier| querier.answer_at);
        let Some(index) = self.groups.find(interface, group) else { return };
        let Some(listening) = self.groups.get_mut(index) else { return };
        // RFC 9776 §5.2, rule 1.
        if general.is_some_and(|pending| pending <= at) || !listening.is_told() || !listening.is_heard() {
            return;
        }
        let telling = &mut listening.telling;
        // Rules 3 to 5: what is asked for adds up, and is told at the earlier time.
        let all = telling.answer_at.is_some() && telling.asked.is_empty() || sources.is_empty();
        if all {
            telling.asked.clear();
        } else {
            for source in sources.iter().map(Into::into) {
                if !telling.asked.contains(&source) {
                    telling.asked.push(source);
                }
                if telling.asked.len() > MAX_ASKED {
                    telling.asked.clear();
                    break;
                }
            }
        }
        let at = not_soon_after(telling.answered_at, at);
        telling.answer_at = Some(telling.answer_at.map_or(at, |pending| pending.min(at)));
        self.arm_telling(index);
    }

    fn answer_old_for_all(&mut self, now: Instant, interface: InterfaceId, v6: bool, spread: Duration) {
        let Some(querier) = self.groups.queriers.get_mut(&(interface, v6)) else { return };
        if querier.looked_at.is_some_and(|at| now < at + LEAST_SPREAD) {
            return;
        }
        querier.looked_at = Some(now);
        let all: Vec<usize> = self.groups.of(interface, v6).map(|(index, _)| index).collect();
        for index in all {
            self.answer_old_for(now, index, spread);
        }
    }

    /// RFC 2236 §3: a pending answer is only brought forward.
    fn answer_old_for(&mut self, now: Instant, index: usize, spread: Duration) {
        let at = now + self.within(spread);
        let Some(listening) = self.groups.get_mut(index) else { return };
        if !listening.is_told() || !listening.is_heard() {
            return;
        }
        let telling = &mut listening.telling;
        if telling.answer_at.is_none_or(|pending| pending > now + spread) {
            telling.answer_at = Some(not_soon_after(telling.answered_at, at));
            self.arm_telling(index);
        }
    }

    /// Another host told of a group, in an older version: then this one need not (RFC 2236 §3, RFC 2710 §4). A host that speaks version 3
    /// tells all the same.
    pub(super) fn receive_old_report(&mut self, now: Instant, interface: InterfaceId, group: IpAddr) {
        let version = self.version_of(now, interface, group.is_ipv6());
        let Some(index) = self.groups.find(interface, group) else { return };
        let Some(listening) = self.groups.get_mut(index) else { return };
        let telling = &mut listening.telling;
        if version != QueryVersion::V3 && telling.answer_at.is_some() {
            telling.answer_at = None;
            telling.reporter = false;
            self.arm_telling(index);
        }
    }

    /// What to speak on an interface.
    pub(super) fn version_of(&self, now: Instant, interface: InterfaceId, v6: bool) -> QueryVersion {
        self.groups.queriers.get(&(interface, v6)).map_or(QueryVersion::V3, |querier| querier.version(now))
    }

    pub(super) fn forget_pending(&mut self, interface: InterfaceId, v6: bool) {
        if let Some(querier) = self.groups.queriers.get_mut(&(interface, v6)) {
            querier.answer_at = None;
            self.timers.disarm(&mut querier.timer);
        }
        let all: Vec<usize> = self.groups.of(interface, v6).map(|(index, _)| index).collect();
        for index in all {
            if let Some(listening) = self.groups.get_mut(index) {
                listening.telling.clear(&mut self.timers);
            }
            self.forget_if_done(index);
        }
    }

    /// Answers a general query.
    pub(super) fn on_querier_timer(&mut self, now: Instant, interface: InterfaceId, v6: bool) {
        let Some(querier) = self.groups.queriers.get_mut(&(interface, v6)) else { return };
        match querier.answer_at {
            Some(at) if at <= now => (querier.answer_at, querier.answered_at) = (None, Some(now)),
            _ => return,
        }
        let told = self.groups.of(interface, v6).filter(|(_, at)| at.is_told() && at.is_heard());
        let records = told.map(|(_, at)| state_of(at.group, at.heard())).collect();
        self.send_report(interface, v6, records);
    }
}

/// `at`, but some time after the last answer.
fn not_soon_after(last: Option<Instant>, at: Instant) -> Instant {
    last.map_or(at, |last| at.max(last + LEAST_SPREAD))
}
