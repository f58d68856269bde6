//! The seam for congestion control: what an algorithm is told, and what it decides.
//!
//! The algorithm owns the congestion window and the slow-start threshold. When a segment is lost is decided elsewhere
//! (`recovery.rs`), and what may be sent (`output.rs`) only reads the window.

use core::time::Duration;

use wireway_packet::Instant;

/// What an acknowledgement of new data tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckSample {
    /// Bytes newly acknowledged.
    pub acked: u32,
    /// The most bytes in flight during the last window.
    pub used: u32,
    pub mss: u32,
}

/// An algorithm of congestion control. All windows are bytes.
pub(crate) trait CongestionControl {
    /// The congestion window.
    fn window(&self) -> u32;
    /// The slow-start threshold; `u32::MAX` while none was found.
    fn threshold(&self) -> u32;
    /// New data was acknowledged, outside of recovery.
    fn on_ack(&mut self, ack: &AckSample);
    /// A loss was found by duplicate acknowledgements: recovery begins with `flight` bytes outstanding.
    fn on_loss(&mut self, now: Instant, flight: u32, mss: u32);
    /// Recovery ended: all that was outstanding at its start is acknowledged.
    fn on_recovered(&mut self, now: Instant, flight: u32, mss: u32);
    /// The retransmission timer expired. `first` is false for further expiries of the same segment.
    fn on_timeout(&mut self, now: Instant, flight: u32, mss: u32, first: bool);
    /// Nothing was sent for `idle`, which is longer than a retransmission time-out.
    fn on_idle(&mut self, idle: Duration, rto: Duration, mss: u32);
    /// The segment size became smaller (path-MTU discovery, RFC 9293 §3.7.4).
    fn on_mss(&mut self, old: u32, new: u32);
}

/// The initial window in segments (RFC 6928).
pub(crate) const INITIAL_SEGMENTS: u32 = 10;
