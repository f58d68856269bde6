//! A connection: RFC 9293's transmission control block (§3.3.1) as a plain value.
//!
//! # Theory of operation
//!
//! A connection is driven by three things: received segments (`input.rs`, `ack.rs`), socket calls (`calls.rs`) and its deadlines
//! (`timers.rs`). Each changes the fields below and, in the end, sends: `output.rs` decides what may go and builds segments.
//! A received segment does not send at once, except where each must be answered by itself (out of order, challenges): it
//! leaves a note in `pending`, and the host's next poll sends for a whole batch of segments together.
//!
//! A connection has one timer in the host's wheel. Deadlines are fields; the wheel is told only when the earliest
//! deadline moves before the time it already knows, so that data transfer hardly ever touches it.

use wireway_packet::Instant;
use wireway_wire::{SeqNumber, Sum};

use super::ack::AckSchedule;
use super::flow::Flow;
use super::isn::Numbers;
use super::keepalive::Keepalive;
use super::newreno::NewReno;
use super::reassembly::Reassembly;
use super::receive_buffer::ReceiveBuffer;
use super::recovery::Recovery;
use super::rto::{RttEstimator, Timing};
use super::send_buffer::SendBuffer;
use super::shared::{Claim, Common, Cx, meta};
use super::state::State;
use super::timers::Deadlines;
use super::window::ReceiveTuning;
use crate::net::{IpMeta, Path};
use crate::timer::Timer;
use crate::{Error, SocketId};

/// Who refers to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The program, by its socket.
    Program,
    /// This listener's accept queue.
    Listener(SocketId),
    /// Nobody: it was closed and goes on alone (Linux's orphan).
    Nobody,
}

bitflags::bitflags! {
    /// What the next flush is to do for a connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(crate) struct Pending: u8 {
        /// It stands in the list of connections to flush.
        const LISTED = 1;
        /// Try to send data.
        const OUTPUT = 2;
        /// Send an acknowledgement, if no data did.
        const ACK = 4;
    }
}

/// See the module's head.
pub(crate) struct Connection {
    pub common: Common,
    pub flow: Flow,
    pub state: State,
    pub owner: Owner,
    pub pending: Pending,

    // The send sequence space (RFC 9293 §3.3.1).
    pub iss: SeqNumber,
    pub snd_una: SeqNumber,
    /// The next to send; after a time-out it goes back to `snd_una`.
    pub snd_nxt: SeqNumber,
    /// The first never sent.
    pub snd_max: SeqNumber,
    pub snd_wnd: u32,
    pub snd_wl1: SeqNumber,
    pub snd_wl2: SeqNumber,
    /// The largest window the peer ever offered.
    pub max_snd_wnd: u32,
    /// The end of the last segment sent that was not full (Nagle, as Minshall has it).
    pub snd_small: SeqNumber,
    /// Shift counts; 0 without window scaling.
    pub snd_shift: u8,
    pub rcv_shift: u8,
    pub window_scaling: bool,
    pub sack: bool,
    pub timestamps: bool,
    /// MSG_MORE was given with the last bytes.
    pub more: bool,
    /// The next output may send a partial segment whatever Nagle, cork and window say (the override time-out).
    pub push: bool,
    /// The stream ends behind the send buffer.
    pub fin_queued: bool,
    pub fin_acked: bool,
    /// The peer's FIN was received.
    pub fin_received: bool,
    /// shutdown(SHUT_RD), or closed.
    pub read_shut: bool,
    /// connect() has not yet told its success.
    pub connect_unreported: bool,
    /// The last TCP_SYN* or data segment's payload limit, header options not counted.
    pub mss: u32,
    /// What the peer's SYN asked for, and what the path allows: `mss` is the least.
    pub peer_mss: u32,

    // The receive sequence space.
    pub irs: SeqNumber,
    pub rcv_nxt: SeqNumber,
    /// The right edge of the advertised window.
    pub rcv_adv: SeqNumber,
    pub last_ack_sent: SeqNumber,
    pub ts_recent: u32,
    pub ts_recent_at: Instant,
    pub ts_offset: u32,
    pub ack: AckSchedule,

    pub send: SendBuffer,
    pub receive: ReceiveBuffer,
    pub reassembly: Reassembly,
    pub tuning: ReceiveTuning,

    pub congestion: NewReno,
    pub recovery: Recovery,
    pub rtt: RttEstimator,
    pub timing: Option<Timing>,

    pub timer: Timer,
    pub armed: Instant,
    pub deadlines: Deadlines,
    pub keepalive: Keepalive,
    /// Unanswered retransmissions of one segment, and unanswered window probes.
    pub retries: u8,
    pub probes: u8,
    /// Since when the peer has not made progress; meaningful while `retries` or `probes` is not 0.
    pub stalled_since: Instant,
    /// Last challenge or duplicate acknowledgement for an unacceptable segment (rate limit).
    pub last_reject_ack: Instant,
    /// An ICMP error that does not end the connection by itself (RFC 1122 §4.2.3.9).
    pub soft_error: Option<Error>,
    pub claim: Option<Claim>,
    /// The program chose the local port: it is kept until the socket is closed.
    pub port_locked: bool,
    /// A held connection's SYN, to be quoted if it is refused by ICMP.
    pub quote: Option<Box<crate::net::Inbound>>,

    pub meta: IpMeta,
    /// The headers below ours; forgotten when `meta` changes.
    pub path: Path,
    pub pseudo: Sum,
    pub path_mtu: u16,
    pub advertised_mss: u16,
    pub last_sent: Instant,
    pub last_received: Instant,
    pub last_ack_received: Instant,
    pub stats: Stats,
}

/// Totals, for TCP_INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub segments_in: u32,
    pub segments_out: u32,
    pub data_segments_in: u32,
    pub data_segments_out: u32,
    pub retransmissions: u32,
    pub bytes_acked: u64,
    /// In-order bytes received: also the position of `rcv_nxt` in the stream.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub bytes_retransmitted: u64,
}

impl Connection {
    /// A connection in CLOSED, with all of the parts that do not depend on how it opens.
    pub fn new(
        common: Common,
        flow: Flow,
        owner: Owner,
        Numbers { iss, ts_offset }: Numbers,
        cx: &mut Cx<'_>,
    ) -> Box<Connection> {
        let meta = meta(&flow, &common.options, common.options.bind_to_device, cx.net);
        let pseudo = super::header::pseudo(&flow);
        let zero = SeqNumber(0);
        let fresh = Connection {
            flow,
            state: State::Closed,
            owner,
            pending: Pending::empty(),
            iss,
            snd_una: iss,
            snd_nxt: iss,
            snd_max: iss,
            snd_wnd: 0,
            snd_wl1: zero,
            snd_wl2: zero,
            max_snd_wnd: 0,
            snd_small: iss,
            snd_shift: 0,
            rcv_shift: 0,
            window_scaling: false,
            sack: false,
            timestamps: false,
            more: false,
            push: false,
            fin_queued: false,
            fin_acked: false,
            fin_received: false,
            read_shut: false,
            connect_unreported: false,
            mss: 536,
            peer_mss: 536,
            irs: zero,
            rcv_nxt: zero,
            rcv_adv: zero,
            last_ack_sent: zero,
            ts_recent: 0,
            ts_recent_at: cx.now,
            ts_offset,
            ack: AckSchedule::new(),
            send: SendBuffer::default(),
            receive: ReceiveBuffer::default(),
            reassembly: Reassembly::default(),
            tuning: ReceiveTuning::new(common.options.receive_buffer),
            congestion: NewReno::new(536, false),
            recovery: Recovery::new(iss),
            rtt: RttEstimator::new(),
            timing: None,
            timer: Timer::default(),
            armed: Instant::FAR_FUTURE,
            deadlines: Deadlines::default(),
            keepalive: Keepalive::default(),
            retries: 0,
            probes: 0,
            stalled_since: cx.now,
            last_reject_ack: Instant::ZERO,
            soft_error: None,
            claim: None,
            port_locked: false,
            quote: None,
            meta,
            path: Path::default(),
            pseudo,
            path_mtu: 576,
            advertised_mss: 536,
            last_sent: cx.now,
            last_received: cx.now,
            last_ack_received: cx.now,
            stats: Stats::default(),
            common,
        };
        match cx.shared.spare.pop() {
            Some(mut place) => {
                *place = fresh;
                place
            }
            None => Box::new(fresh),
        }
    }

    /// Lets go of what the connection holds besides its own room.
    pub fn clear(&mut self) {
        self.send.clear();
        self.receive.clear();
        self.reassembly.clear();
        self.quote = None;
    }

    /// The sequence number of the send buffer's first byte: `snd_una`, but for a SYN that is not acknowledged.
    pub fn data_start(&self) -> SeqNumber {
        match self.state {
            State::Held | State::SynSent | State::SynReceived => self.snd_una + 1,
            _ => self.snd_una,
        }
    }

    /// The sequence number behind the send buffer's last byte: our FIN's.
    pub fn data_end(&self) -> SeqNumber {
        if self.fin_acked { self.snd_una - 1 } else { self.data_start() + self.send.len() as u32 }
    }

    /// Bytes (and SYN and FIN) sent and not acknowledged.
    pub fn flight(&self) -> u32 {
        self.snd_nxt.distance_from(self.snd_una)
    }

    /// Bytes in the send buffer that were never sent.
    pub fn unsent(&self) -> u32 {
        (self.data_end() - self.snd_max).max(0) as u32
    }

    /// What is still owed to the peer: data or a FIN that is not acknowledged.
    pub fn owes(&self) -> bool {
        self.send.len() > 0 || (self.fin_queued && !self.fin_acked)
    }

    /// The right edge of the receive window counts from `rcv_nxt`.
    pub fn receive_window(&self) -> u32 {
        (self.rcv_adv - self.rcv_nxt).max(0) as u32
    }

    /// The timestamp clock: milliseconds, with this peer's offset (RFC 7323 §4.1, §5.4).
    pub fn timestamp(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    /// Where in the stream `seq` lies, for the reassembly queue; `seq` is not before `rcv_nxt`.
    pub fn position(&self, seq: SeqNumber) -> u64 {
        self.stats.bytes_received + u64::from(seq.distance_from(self.rcv_nxt))
    }

    /// Nothing more will happen on the wire: the tables are to be brought up to date.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::TimeWait | State::Closed)
    }

    pub fn is_orphan(&self) -> bool {
        self.owner == Owner::Nobody
    }

    /// Before the state changes: it may be one that is bounded in number.
    pub fn leave_held(&mut self, cx: &mut Cx<'_>) {
        if self.state == State::Held {
            cx.shared.held -= 1;
        }
    }

    /// Tells the program that the socket's readiness may have changed.
    pub fn notify(&mut self, cx: &mut Cx<'_>) {
        if self.owner == Owner::Program {
            cx.net.events.mark(self.common.id, &mut self.common.dirty);
        }
    }

    /// Leaves a note for the next flush.
    pub fn request(&mut self, what: Pending, cx: &mut Cx<'_>) {
        if !self.pending.contains(Pending::LISTED) {
            cx.shared.work.push(self.common.id.index);
        }
        self.pending |= what | Pending::LISTED;
    }

    /// Ends the connection: nothing more is sent, unread bytes stay readable. `error` is what the program is told.
    pub fn end(&mut self, error: Option<Error>, cx: &mut Cx<'_>) {
        self.leave_held(cx);
        self.state = State::Closed;
        if error.is_some() {
            self.common.error = error;
        }
        self.send.clear();
        self.reassembly.clear();
        self.deadlines = Deadlines::default();
        self.timing = None;
        self.fin_queued = true;
        self.pending.remove(Pending::OUTPUT | Pending::ACK);
        self.notify(cx);
    }
}
