//! TIME-WAIT (RFC 9293 §3.6.1, §3.10.7.4): what is left of a connection for a minute, as a compact entry.
//!
//! All entries wait equally long, so they expire in the order of a queue and one timer serves all. An entry that must wait anew
//! (its peer repeated the FIN) is found too young when its turn comes, and goes to the end. Their number is bounded: beyond it
//! a connection ends without one.
//!
//! A new SYN may take the place of an entry at once if no old segment can be taken for one of the new connection: its
//! timestamp is later than the last, or without timestamps its sequence number is beyond the old ones (RFC 6191, RFC 1122
//! §4.2.2.13).

use core::time::Duration;
use std::collections::VecDeque;

use wireway_packet::Instant;
use wireway_wire::{SeqNumber, TcpFlags};

use super::arena::Arena;
use super::connection::Connection;
use super::flow::Flow;
use super::input::Segment;
use super::shared::Claim;
use crate::net::IpMeta;

/// How long: twice the maximum segment lifetime, as Linux has it (TCP_TIMEWAIT_LEN).
pub(crate) const TIME_WAIT: Duration = Duration::from_secs(60);
/// After this long the peer's timestamp clock may have turned round (RFC 7323 §5.5: 24 days).
pub(crate) const PAWS_IDLE: Duration = Duration::from_secs(24 * 24 * 3600);

/// What is left of a connection.
pub(crate) struct TimeWait {
    pub flow: Flow,
    pub snd_nxt: SeqNumber,
    pub rcv_nxt: SeqNumber,
    /// As it goes on the wire.
    pub window: u16,
    receive_window: u32,
    pub timestamps: bool,
    pub ts_recent: u32,
    ts_recent_at: Instant,
    pub ts_offset: u32,
    expires: Instant,
    last_ack: Instant,
    pub claim: Option<Claim>,
    pub meta: IpMeta,
}

/// What a segment for an entry calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing.
    Nothing,
    /// An acknowledgement of what the entry knows.
    Ack,
    /// It was reset: the entry is to go.
    Remove,
    /// A new connection may take its place; its first sequence number is to be beyond this.
    Replace(SeqNumber),
}

impl TimeWait {
    /// What is to be remembered of a connection.
    pub fn new(connection: &mut Connection, now: Instant) -> TimeWait {
        TimeWait {
            flow: connection.flow,
            snd_nxt: connection.snd_max,
            rcv_nxt: connection.rcv_nxt,
            window: connection.select_window(),
            receive_window: connection.receive_window(),
            timestamps: connection.timestamps,
            ts_recent: connection.ts_recent,
            ts_recent_at: connection.ts_recent_at,
            ts_offset: connection.ts_offset,
            expires: now + TIME_WAIT,
            last_ack: Instant::ZERO,
            claim: connection.claim.take(),
            meta: connection.meta,
        }
    }

    /// Whether a connection that we open may take the entry's place: its peer told timestamps, and a second has passed, so that
    /// ours are later than all before (Linux's tcp_tw_reuse).
    pub fn may_reuse(&self, now: Instant) -> bool {
        self.timestamps && now.since(self.ts_recent_at) > Duration::from_secs(1)
    }

    /// A segment arrived for the entry.
    pub fn segment_arrives(&mut self, segment: &Segment, now: Instant) -> Answer {
        let flags = segment.flags;
        let paws =
            |value: u32| (value.wrapping_sub(self.ts_recent) as i32) < 0 && now.since(self.ts_recent_at) <= PAWS_IDLE;
        let old = self.timestamps && segment.timestamps.is_some_and(|(value, _)| paws(value));
        if flags.contains(TcpFlags::RST) {
            // RFC 1337: a reset must not end TIME-WAIT early, lest old segments live on; only the exact one is believed
            // where timestamps protect the next connection anyway.
            let exact = segment.seq == self.rcv_nxt && !old;
            return if exact && self.timestamps { Answer::Remove } else { Answer::Nothing };
        }
        if flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK) {
            let later =
                self.timestamps && segment.timestamps.is_some_and(|(v, _)| v.wrapping_sub(self.ts_recent) as i32 > 0);
            if !old && (segment.seq.gt(self.rcv_nxt) || later) {
                return Answer::Replace(self.snd_nxt + 65_537);
            }
        }
        let in_window = segment.seq.in_window(self.rcv_nxt, self.receive_window.max(1));
        if !old && segment.is_fin() && segment.end() == self.rcv_nxt {
            // The peer has not seen our last acknowledgement: wait anew.
            self.expires = now + TIME_WAIT;
        }
        if segment.len == 0 && !segment.is_fin() && !flags.contains(TcpFlags::SYN) && in_window && !old {
            return Answer::Nothing;
        }
        if !segment.has_text() {
            if self.last_ack != Instant::ZERO && now.since(self.last_ack) < super::challenge::REJECT_INTERVAL {
                return Answer::Nothing;
            }
            self.last_ack = now.max(Instant::from_nanos(1));
        }
        Answer::Ack
    }
}

/// Turns without an entry that may always wait in the queue.
const SPARE_TURNS: usize = 1024;

/// An entry in the queue: when its turn comes, index and generation.
type Turn = (Instant, u32, u32);

/// All entries of a host.
pub(crate) struct TimeWaits {
    pub entries: Arena<TimeWait>,
    queue: VecDeque<Turn>,
}

impl TimeWaits {
    pub fn new() -> TimeWaits {
        TimeWaits { entries: Arena::new(), queue: VecDeque::new() }
    }

    pub fn insert(&mut self, entry: TimeWait) -> u32 {
        let expires = entry.expires;
        let mut turn = (expires, 0, 0);
        let index = self.entries.insert_with(|index, generation| {
            turn = (expires, index, generation);
            entry
        });
        // Entries that ended early leave their turns behind.
        if self.queue.len() > 2 * self.entries.len() + SPARE_TURNS {
            let entries = &self.entries;
            self.queue.retain(|&(_, index, generation)| entries.get_exact(index, generation).is_some());
        }
        self.queue.push_back(turn);
        index
    }

    /// When the next turn comes.
    pub fn next_at(&self) -> Option<Instant> {
        self.queue.front().map(|turn| turn.0)
    }

    /// Takes an entry whose time has come.
    pub fn expire(&mut self, now: Instant) -> Option<(u32, TimeWait)> {
        while let Some(&(at, index, generation)) = self.queue.front() {
            if at > now {
                return None;
            }
            self.queue.pop_front();
            match self.entries.get_exact(index, generation) {
                Some(entry) if entry.expires > now => {
                    // It waits anew. Turns stay in order, if that makes it wait a little longer.
                    let at = self.queue.back().map_or(entry.expires, |last| last.0.max(entry.expires));
                    self.queue.push_back((at, index, generation));
                }
                Some(_) => return self.entries.remove(index).map(|entry| (index, entry)),
                // It went before its time.
                None => {}
            }
        }
        None
    }
}
