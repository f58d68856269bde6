//! Timers of a host: a hierarchical wheel.
//!
//! # Theory of operation
//!
//! Eight wheels of 64 slots; a slot of the first holds the timers of one tick (2^20 ns, about a millisecond), a slot of
//! the next those of 64 ticks, and so on. A timer is filed by the highest base-64 digit in which its tick differs from
//! the current one, so the earliest timers are always in the first occupied slot of the first occupied wheel. When time
//! reaches a slot of a higher wheel its timers are filed again, further down; each is moved at most seven times.
//!
//! Filing and removing are O(1) (slots are doubly linked lists through a slab). Most timers of a transport are pushed
//! back again and again and never run: [`Timers::arm`] with a later time only notes it, and so does [`Timers::disarm`];
//! the timer is filed anew when its old time comes. The price is a wake-up that finds nothing due.
//!
//! A timer never runs before its time. [`Timers::next_at`] is never later than the time of a timer (but for one tick with
//! more than 64 timers in it, where it may be a sixteenth of a tick late), and after [`Timers::pop`] returned `None` it
//! lies in the future.

use wireway_packet::Instant;

/// What a timer is for: `Host::poll` dispatches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKey {
    /// A TCP socket: goes to `Tcp::on_timer`.
    Tcp { index: u32, generation: u32 },
    /// A neighbour's state.
    Neighbour { index: u32, generation: u32 },
    /// An interface address that is being probed, announced or defended (RFC 5227).
    AddressClaim { interface: u16 },
    /// A datagram that waits for its fragments.
    Reassembly { index: u32, generation: u32 },
    /// What an interface of IPv6 does by itself: soliciting routers, and lifetimes of what they said.
    Autoconf { interface: u16 },
    /// A learnt path MTU that expires.
    PathMtu { index: u32, generation: u32 },
    /// What is to be told of a group.
    Group { index: u32, generation: u32 },
    /// The answer to a query for all groups of a family.
    Querier { interface: u16, v6: bool },
}

/// The handle of a timer, kept by its owner. A fresh one is not armed.
#[derive(Debug)]
pub(crate) struct Timer {
    index: u32,
    generation: u32,
}

impl Default for Timer {
    fn default() -> Self {
        Timer { index: NIL, generation: 0 }
    }
}

const NIL: u32 = u32::MAX;
const TICK_BITS: u32 = 20;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for any 64-bit time.
const LEVELS: usize = 8;
/// A slot with more timers than this is not searched for its earliest one; see `Timers::earliest`.
const SEARCH: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: TimerKey,
    /// When it is to run; `FAR_FUTURE` if it was disarmed.
    at: Instant,
    /// The time it is filed under: never later than `at`.
    filed: Instant,
    next: u32,
    previous: u32,
    generation: u32,
    /// Which slot's list it is in: level * 64 + slot, or [`FREE`].
    place: u16,
}

const FREE: u16 = u16::MAX;

/// The timers of a host.
#[derive(Debug)]
pub(crate) struct Timers {
    entries: Vec<Entry>,
    free: u32,
    heads: [u32; LEVELS * SLOTS],
    occupied: [u64; LEVELS],
    /// The tick up to which slots have been emptied.
    current: u64,
    next: Instant,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            entries: Vec::new(),
            free: NIL,
            heads: [NIL; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            current: 0,
            next: Instant::FAR_FUTURE,
        }
    }
}

impl Timers {
    /// Makes `timer` run at `at`, whether it was armed or not. `key` counts when it was not.
    pub fn arm(&mut self, timer: &mut Timer, at: Instant, key: TimerKey) {
        if let Some(entry) = self.entry_mut(timer) {
            entry.at = at;
            if at >= entry.filed {
                return;
            }
            self.unlink(timer.index);
            self.link(timer.index, at);
            return;
        }
        let fresh = Entry { key, at, filed: at, next: NIL, previous: NIL, generation: 0, place: FREE };
        let index = self.free;
        match self.entries.get_mut(index as usize) {
            Some(entry) => {
                self.free = entry.next;
                *entry = Entry { generation: entry.generation, ..fresh };
                *timer = Timer { index, generation: entry.generation };
            }
            None => {
                *timer = Timer { index: self.entries.len() as u32, generation: 0 };
                self.entries.push(fresh);
            }
        }
        self.link(timer.index, at);
    }

    /// Keeps `timer` from running, at next to no cost; to be armed again soon. It costs memory until its old time.
    pub fn disarm(&mut self, timer: &mut Timer) {
        if let Some(entry) = self.entry_mut(timer) {
            entry.at = Instant::FAR_FUTURE;
        }
    }

    /// Keeps `timer` from running and frees it: for an owner that goes away.
    pub fn cancel(&mut self, timer: &mut Timer) {
        if let Some(filed) = self.entry_mut(timer).map(|entry| entry.filed) {
            self.unlink(timer.index);
            self.release(timer.index);
            if filed <= self.next {
                self.next = self.earliest(Instant::from_nanos(self.current << TICK_BITS));
            }
        }
        *timer = Timer::default();
    }

    /// Timers that are armed.
    pub fn armed(&self) -> usize {
        self.entries.iter().filter(|e| e.place != FREE && e.at != Instant::FAR_FUTURE).count()
    }

    /// When [`pop`](Self::pop) is to be called next.
    pub fn next_at(&self) -> Option<Instant> {
        (self.next != Instant::FAR_FUTURE).then_some(self.next)
    }

    /// Whether [`pop`](Self::pop) is to be called now.
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Takes a timer whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<TimerKey> {
        if now < self.next {
            return None;
        }
        let now_tick = now.as_nanos() >> TICK_BITS;
        while let Some((level, slot)) = self.first() {
            let shift = SLOT_BITS * level as u32;
            let start = (self.current >> shift >> SLOT_BITS << SLOT_BITS | slot as u64) << shift;
            if start > now_tick {
                break;
            }
            if level == 0 {
                self.current = self.current.max(start);
                if let Some(key) = self.pop_slot(slot, now) {
                    return Some(key);
                }
                if start == now_tick {
                    break;
                }
            } else {
                self.current = start;
                let mut index = core::mem::replace(&mut self.heads[level * SLOTS + slot], NIL);
                self.occupied[level] &= !(1 << slot);
                while let Some(&entry) = self.entries.get(index as usize) {
                    self.refile(index, entry.at);
                    index = entry.next;
                }
            }
        }
        self.current = self.current.max(now_tick);
        self.next = self.earliest(now);
        None
    }

    /// Takes a due timer of a slot of the first wheel, filing those that were pushed back.
    fn pop_slot(&mut self, slot: usize, now: Instant) -> Option<TimerKey> {
        let mut index = self.heads[slot];
        while let Some(&entry) = self.entries.get(index as usize) {
            if entry.filed <= now {
                self.unlink(index);
                if entry.at <= now {
                    self.release(index);
                    return Some(entry.key);
                }
                self.refile(index, entry.at);
            }
            index = entry.next;
        }
        None
    }

    /// Files an entry that is in no list, or frees it if it was disarmed.
    fn refile(&mut self, index: u32, at: Instant) {
        if at == Instant::FAR_FUTURE {
            self.release(index);
        } else {
            self.link(index, at);
        }
    }

    /// The earliest time that anything is filed under, or an earlier one. Later than `now` if nothing due is left.
    fn earliest(&self, now: Instant) -> Instant {
        let Some((level, slot)) = self.first() else { return Instant::FAR_FUTURE };
        let mut least = Instant::FAR_FUTURE;
        let mut index = self.heads[level * SLOTS + slot];
        for _ in 0..SEARCH {
            let Some(entry) = self.entries.get(index as usize) else { return least };
            least = least.min(entry.filed);
            index = entry.next;
        }
        // A crowded slot: look again at its start, or if that has come, in a sixteenth of a tick.
        let shift = SLOT_BITS * level as u32;
        let start = (self.current >> shift >> SLOT_BITS << SLOT_BITS | slot as u64) << shift << TICK_BITS;
        let soon = Instant::from_nanos(now.as_nanos() + (1 << (TICK_BITS - 4)));
        Instant::from_nanos(start).max(soon)
    }

    /// The first occupied slot of the first occupied wheel.
    fn first(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    fn entry_mut(&mut self, timer: &Timer) -> Option<&mut Entry> {
        self.entries.get_mut(timer.index as usize).filter(|e| e.generation == timer.generation && e.place != FREE)
    }

    fn link(&mut self, index: u32, filed: Instant) {
        let tick = (filed.as_nanos() >> TICK_BITS).max(self.current);
        let differs = 63 - ((tick ^ self.current) | 1).leading_zeros();
        let level = (differs / SLOT_BITS) as usize;
        let slot = (tick >> (SLOT_BITS * level as u32)) as usize & (SLOTS - 1);
        let place = level * SLOTS + slot;
        let next = core::mem::replace(&mut self.heads[place], index);
        self.occupied[level] |= 1 << slot;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = index;
        }
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.filed = filed;
            entry.next = next;
            entry.previous = NIL;
            entry.place = place as u16;
        }
        self.next = self.next.min(filed);
    }

    fn unlink(&mut self, index: u32) {
        let Some(&Entry { next, previous, place, .. }) = self.entries.get(index as usize) else { return };
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        match self.entries.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => {
                let place = usize::from(place);
                self.heads[place] = next;
                if next == NIL {
                    self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
                }
            }
        }
    }

    fn release(&mut self, index: u32) {
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.generation = entry.generation.wrapping_add(1);
            entry.place = FREE;
            entry.next = self.free;
            self.free = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::rng::Rng;

    fn key(index: u32) -> TimerKey {
        TimerKey::Tcp { index, generation: 0 }
    }

    fn index(key: TimerKey) -> usize {
        match key {
            TimerKey::Tcp { index, .. } => index as usize,
            other => panic!("{other:?}"),
        }
    }

    fn armed_at(timers: &mut Timers, timer: &Timer) -> Option<Instant> {
        timers.entry_mut(timer).map(|entry| entry.at).filter(|&at| at != Instant::FAR_FUTURE)
    }

    /// Arms, re-arms, disarms and cancels at random, beside a list that is searched, and jumps from one time to the next.
    #[test]
    fn agrees_with_a_list() {
        for seed in 0..20 {
            let mut rng = Rng::new([seed; 32]);
            let mut timers = Timers::default();
            let mut handles: Vec<Timer> = (0..50).map(|_| Timer::default()).collect();
            let mut model: Vec<Option<Instant>> = vec![None; handles.len()];
            let mut now = Instant::from_millis(u64::from(rng.next_u32()));
            for _ in 0..5_000 {
                let i = rng.below(handles.len() as u32) as usize;
                match rng.below(8) {
                    0 => {
                        timers.disarm(&mut handles[i]);
                        model[i] = None;
                    }
                    1 => {
                        timers.cancel(&mut handles[i]);
                        model[i] = None;
                    }
                    2..6 => {
                        // From a few nanoseconds to hours; some in the past.
                        let ahead = u64::from(rng.next_u32()) << 12 >> rng.below(44);
                        let at = Instant::from_nanos(now.as_nanos() + ahead - u64::from(rng.below(9)));
                        timers.arm(&mut handles[i], at, key(i as u32));
                        model[i] = Some(at);
                    }
                    _ => {
                        let step = Duration::from_nanos(u64::from(rng.next_u32()) >> rng.below(32));
                        now = match timers.next_at() {
                            Some(at) if rng.below(2) == 0 => now.max(at),
                            _ => now + step,
                        };
                        while let Some(key) = timers.pop(now) {
                            let due = model[index(key)].take();
                            assert!(due.is_some_and(|at| at <= now), "{due:?} at {now:?}");
                        }
                        assert!(model.iter().flatten().all(|&at| at > now), "late at {now:?}");
                        assert!(timers.next_at().is_none_or(|at| at > now));
                    }
                }
                let earliest = model.iter().flatten().min();
                assert!(earliest.is_none_or(|&at| timers.next_at().is_some_and(|next| next <= at)));
                assert_eq!(armed_at(&mut timers, &handles[i]), model[i]);
            }
        }
    }

    #[test]
    fn next_at_is_exact_for_timers_that_stay() {
        let mut timers = Timers::default();
        let mut handles: [Timer; 3] = Default::default();
        let times = [7_200_000, 3, 250].map(Instant::from_millis);
        for (i, at) in times.into_iter().enumerate() {
            timers.arm(&mut handles[i], at, key(i as u32));
        }
        for expected in [1, 2, 0] {
            let mut at = timers.next_at().expect("one is armed");
            // On the way down the wheels there may be wake-ups with nothing due, but few.
            for _ in 0..LEVELS {
                if let Some(key) = timers.pop(at) {
                    assert_eq!((index(key), at), (expected, times[expected]));
                    break;
                }
                at = timers.next_at().expect("one is armed");
            }
            assert_eq!(timers.pop(at), None);
        }
        assert_eq!(timers.next_at(), None);
    }

    #[test]
    fn a_crowded_tick_is_late_by_little() {
        let mut timers = Timers::default();
        let mut handles: Vec<Timer> = (0..1000).map(|_| Timer::default()).collect();
        for (i, handle) in handles.iter_mut().enumerate() {
            timers.arm(handle, Instant::from_nanos(5_000_000 + i as u64 * 500), key(i as u32));
        }
        let mut left = handles.len();
        while let Some(now) = timers.next_at() {
            while let Some(key) = timers.pop(now) {
                let late = now.as_nanos() - (5_000_000 + index(key) as u64 * 500);
                assert!(late <= 1 << (TICK_BITS - 4), "{late} ns late");
                left -= 1;
            }
        }
        assert_eq!(left, 0);
    }

    #[test]
    fn entries_are_used_again() {
        let mut timers = Timers::default();
        let mut timer = Timer::default();
        for i in 0..100 {
            timers.arm(&mut timer, Instant::from_millis(i), key(1));
            assert_eq!(timers.pop(Instant::from_millis(i)), Some(key(1)));
        }
        assert_eq!(timers.entries.len(), 1);
    }
}
