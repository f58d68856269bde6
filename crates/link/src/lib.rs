//! The cable between two nics as a sans-IO value: rate, delay, queue and impairments from a seed.
//!
//! A [`Link`] carries frames one way. [`send`](Link::send) puts a frame in at one end, [`receive`](Link::receive) takes out at the other
//! what has arrived by a given time, and [`poll_at`](Link::poll_at) tells when the next one will. It runs in virtual and in real time alike.
//!
//! A frame passes, in this order: MTU check, loss, queue (drop-tail), serialisation at the rate, corruption, delay and
//! jitter, duplication, reordering. Frames keep their order whatever the jitter; only [`LinkConfig::reorder`] changes it.
//! A super-segment is carried whole where that makes no difference, else as the frames that it stands for.

mod config;

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::mem;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use wireway_packet::software::{Segmenter, complete_checksum, tags_len};
use wireway_packet::{Checksum, Instant, Packet};
use wireway_wire::EthernetHeader;

pub use config::{Bursts, LinkConfig};

/// What Ethernet adds to a frame on the wire: preamble and start delimiter (8 bytes), check sequence (4), gap (12).
pub const FRAMING: usize = 24;
/// The shortest frame without its check sequence; shorter ones are padded on the wire (IEEE 802.3).
pub const MIN_FRAME: usize = 60;

/// Frames that a link has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames put in.
    pub sent: u64,
    /// Frames taken out.
    pub delivered: u64,
    /// Bytes of frames taken out.
    pub delivered_bytes: u64,
    /// Dropped: longer than the MTU allows.
    pub too_long: u64,
    /// Dropped at random.
    pub lost: u64,
    /// Dropped: the queue was full.
    pub queue_full: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delivered with one bit changed.
    pub corrupted: u64,
    /// Held back so that later frames overtook them.
    pub reordered: u64,
}

/// One direction of a cable.
pub struct Link {
    config: LinkConfig,
    rng: ChaCha8Rng,
    /// When the transmitter has finished what it was given.
    free_at: Instant,
    /// When each frame that may still wait for the transmitter begins to be serialised.
    waiting: VecDeque<Instant>,
    /// The latest arrival of a frame that kept its order.
    latest: Instant,
    flying: BinaryHeap<Flying>,
    /// Frames in the order of their arrival while nothing can overtake: spares the heap.
    in_order: VecDeque<InOrder>,
    next_number: u64,
    /// A burst of losses is on (see [`Bursts`]).
    burst: bool,
    counters: LinkCounters,
}

/// A frame that keeps its order.
struct InOrder {
    /// When it has left the transmitter.
    departure: Instant,
    arrival: Instant,
    frame: Packet,
}

/// A frame on its way that may arrive out of order.
struct Flying {
    arrival: Instant,
    number: u64,
    frame: Packet,
}

impl Link {
    /// A link that behaves as `config` says; its randomness comes from `seed`.
    pub fn new(config: LinkConfig, seed: u64) -> Link {
        Link {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            free_at: Instant::ZERO,
            waiting: VecDeque::new(),
            latest: Instant::ZERO,
            flying: BinaryHeap::new(),
            in_order: VecDeque::new(),
            next_number: 0,
            burst: false,
            counters: LinkCounters::default(),
        }
    }

    /// How the link behaves.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Changes how the link treats frames from now on. Those that still wait for the transmitter fare as the new configuration says; those that have
    /// left it arrive as planned, and where the delay has become shorter, later ones overtake them.
    pub fn set_config(&mut self, now: Instant, config: LinkConfig) {
        self.config = config;
        self.free_at = now;
        self.waiting.clear();
        self.latest = now;
        for InOrder { departure, arrival, frame } in mem::take(&mut self.in_order) {
            if departure <= now {
                let number = self.number();
                self.flying.push(Flying { arrival, number, frame });
            } else if let Some(departure) = self.serialise(now, frame.len()) {
                self.fly(departure, frame);
            } else {
                self.counters.queue_full += 1;
            }
        }
    }

    /// Whether a frame that is put in now would come out at once and as it is, so that it may [pass](Self::pass).
    #[inline]
    pub fn is_idle_and_perfect(&self) -> bool {
        self.in_order.is_empty() && self.flying.is_empty() && self.config.carries_whole() && self.config.delay.is_zero()
    }

    /// Counts a frame of `len` bytes that was carried past an idle and perfect link.
    #[inline]
    pub fn pass(&mut self, len: usize) {
        self.counters.sent += 1;
        self.counters.delivered += 1;
        self.counters.delivered_bytes += len as u64;
    }

    /// What was counted so far.
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Puts a frame in.
    pub fn send(&mut self, now: Instant, frame: Packet) {
        let Some(segmentation) = frame.offload().segmentation else { return self.send_one(now, frame) };
        // Carried whole, its frames must at least be ones that the link takes.
        let longest = usize::from(segmentation.header_len) + usize::from(segmentation.size);
        if self.config.carries_whole() && self.fits(longest, &frame) {
            self.counters.sent += 1;
            return self.fly(now, frame);
        }
        for frame in Segmenter::new(frame) {
            self.send_one(now, frame);
        }
    }

    /// Whether the link carries a frame so long. VLAN tags do not count.
    fn fits(&self, len: usize, frame: &Packet) -> bool {
        let most = usize::from(self.config.mtu) + EthernetHeader::LEN;
        len <= most || len <= most + tags_len(frame)
    }

    /// Draws whether the next frame is lost.
    fn loses(&mut self) -> bool {
        let Some(bursts) = self.config.bursts else { return self.chance(self.config.loss) };
        if self.chance(if self.burst { bursts.end } else { bursts.begin }) {
            self.burst = !self.burst;
        }
        self.chance(if self.burst { bursts.loss } else { self.config.loss })
    }

    fn send_one(&mut self, now: Instant, mut frame: Packet) {
        self.counters.sent += 1;
        if !self.fits(frame.len(), &frame) {
            self.counters.too_long += 1;
            return;
        }
        if self.config.carries_whole() {
            return self.fly(now, frame);
        }
        if self.loses() {
            self.counters.lost += 1;
            return;
        }
        let Some(departure) = self.serialise(now, frame.len()) else {
            self.counters.queue_full += 1;
            return;
        };
        if self.chance(self.config.corrupt) {
            self.counters.corrupted += 1;
            frame = self.corrupt(frame);
        }
        if self.chance(self.config.duplicate) {
            self.counters.duplicated += 1;
            self.fly(departure, frame.clone());
        }
        self.fly(departure, frame);
    }

    /// When a frame of `len` bytes put in now will have left the transmitter; `None` if the queue has no room.
    fn serialise(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.config.rate else { return Some(now) };
        while self.waiting.front().is_some_and(|&begin| begin <= now) {
            self.waiting.pop_front();
        }
        if self.waiting.len() >= self.config.queue {
            return None;
        }
        let begin = self.free_at.max(now);
        let bits = (len.max(MIN_FRAME) + FRAMING) as u128 * 8;
        let nanos = bits * 1_000_000_000 / u128::from(rate.max(1));
        self.free_at = begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        if begin > now {
            self.waiting.push_back(begin);
        }
        Some(self.free_at)
    }

    fn fly(&mut self, departure: Instant, frame: Packet) {
        let mut arrival = departure + self.config.delay;
        if !self.config.jitter.is_zero() {
            arrival += self.config.jitter.mul_f64(self.fraction());
        }
        if self.chance(self.config.reorder) {
            self.counters.reordered += 1;
            let number = self.number();
            self.flying.push(Flying { arrival: arrival + self.config.reorder_by, number, frame });
            return;
        }
        arrival = arrival.max(self.latest);
        self.latest = arrival;
        self.in_order.push_back(InOrder { departure, arrival, frame });
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The next frame that has arrived by `now`.
    pub fn receive(&mut self, now: Instant) -> Option<Packet> {
        let in_order = self.in_order.front().map(|next| next.arrival);
        let flying = self.flying.peek().map(|f| f.arrival);
        let from_order = match (in_order, flying) {
            (Some(a), Some(b)) => a < b,
            (a, _) => a.is_some(),
        };
        if in_order.into_iter().chain(flying).min()? > now {
            return None;
        }
        let frame = if from_order { self.in_order.pop_front()?.frame } else { self.flying.pop()?.frame };
        self.counters.delivered += 1;
        self.counters.delivered_bytes += frame.len() as u64;
        Some(frame)
    }

    /// When the next frame will have arrived; `None` if none is on its way.
    pub fn poll_at(&self) -> Option<Instant> {
        let in_order = self.in_order.front().map(|next| next.arrival);
        in_order.into_iter().chain(self.flying.peek().map(|f| f.arrival)).min()
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.fraction() < probability
    }

    /// Uniform in [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One bit of the frame as it would be on the wire, flipped; the receiver has to look at the checksum.
    fn corrupt(&mut self, mut frame: Packet) -> Packet {
        complete_checksum(&mut frame);
        let mut bytes = frame.to_vec();
        let bit = self.rng.next_u64() as usize % (bytes.len() * 8).max(1);
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        let mut corrupted = Packet::copy_from(&bytes);
        corrupted.offload_mut().checksum = Checksum::Complete;
        corrupted
    }
}

impl PartialEq for Flying {
    fn eq(&self, other: &Flying) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Flying) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Flying) -> Ordering {
        (other.arrival, other.number).cmp(&(self.arrival, self.number))
    }
}
