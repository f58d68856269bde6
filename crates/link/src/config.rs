//! How a link treats frames.

use std::time::Duration;

/// How one direction of a link treats frames. The default is a perfect cable of MTU 1,500.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Bits per second, counting the framing of Ethernet (see [`FRAMING`](crate::FRAMING)); `None` is no limit.
    pub rate: Option<u64>,
    /// The time every frame takes, after it has left the transmitter.
    pub delay: Duration,
    /// A further delay between zero and this, evenly distributed, drawn for each frame. It does not change the order.
    pub jitter: Duration,
    /// Frames that can wait for the transmitter when there is a rate; the newest is dropped when they are more.
    pub queue: usize,
    /// The probability that a frame is lost, 0 to 1.
    pub loss: f64,
    /// Losses that come in bursts, besides.
    pub bursts: Option<Bursts>,
    /// The probability that a frame is held back by [`reorder_by`](Self::reorder_by), so that later ones overtake it.
    pub reorder: f64,
    /// How long a reordered frame is held back.
    pub reorder_by: Duration,
    /// The probability that a frame arrives twice.
    pub duplicate: f64,
    /// The probability that one bit of a frame is flipped.
    pub corrupt: f64,
    /// Bytes of the largest IP packet; longer frames are dropped. A VLAN tag may come on top of it.
    pub mtu: u16,
}

/// The model of Gilbert and Elliott: a link is in a good or in a bad state, and before each frame may go over to the other. In the good one
/// frames are lost as [`LinkConfig::loss`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// The probability to go over to the bad state, a frame.
    pub begin: f64,
    /// The probability to go back to the good one, a frame: a burst is `1 / end` frames long on average.
    pub end: f64,
    /// The probability that a frame is lost in the bad state.
    pub loss: f64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            rate: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            queue: 1000,
            loss: 0.0,
            bursts: None,
            reorder: 0.0,
            reorder_by: Duration::from_millis(1),
            duplicate: 0.0,
            corrupt: 0.0,
            mtu: 1500,
        }
    }
}

impl LinkConfig {
    /// Whether a super-segment fares the same whole as cut: no rate, and nothing that draws lots for each frame.
    pub(crate) fn carries_whole(&self) -> bool {
        self.rate.is_none()
            && self.jitter.is_zero()
            && self.loss <= 0.0
            && self.bursts.is_none()
            && self.reorder <= 0.0
            && self.duplicate <= 0.0
            && self.corrupt <= 0.0
    }

    /// Checks that probabilities lie between 0 and 1, the MTU is at least 68 (RFC 791) and the rate is not 0. The error says what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let bursts = self.bursts.map_or([0.0; 3], |bursts| [bursts.begin, bursts.end, bursts.loss]);
        let single = [self.loss, self.reorder, self.duplicate, self.corrupt];
        let names = ["loss", "reorder", "duplicate", "corrupt", "bursts.begin", "bursts.end", "bursts.loss"];
        for (name, p) in names.into_iter().zip(single.into_iter().chain(bursts)) {
            if !(0.0..=1.0).contains(&p) {
                return Err(format!("{name} is {p}: give a probability between 0 and 1"));
            }
        }
        if self.mtu < 68 {
            return Err(format!("the MTU is {}: IPv4 needs at least 68 bytes", self.mtu));
        }
        if self.rate == Some(0) {
            return Err("the rate is 0 bits per second: nothing would ever arrive".into());
        }
        Ok(())
    }
}
