//! A host: its interfaces, routes, neighbours and sockets, as one value.
//!
//! `Host` ties [`Net`] (layers 2 and 3, and what every protocol needs: settings, counters, randomness, timers, events)
//! to the transports. A transport's functions take `&mut Net` and the time; `Net` never calls a transport: what it
//! received for one, it hands back to `Host::receive`, which dispatches on the protocol.

use wireway_packet::{Instant, Packet};

use crate::net::Net;
use crate::raw::Raw;
use crate::tcp::Tcp;
use crate::udp::Udp;
use crate::{Counters, Event, InterfaceConfig, InterfaceId, Settings};

/// One network stack. See the crate's head.
pub struct Host {
    pub(crate) net: Net,
    pub(crate) tcp: Tcp,
    pub(crate) udp: Udp,
    pub(crate) raw: Raw,
}

impl Host {
    /// A host with only `lo` (127.0.0.1/8, MTU 65,536). All its randomness comes from `seed`.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Host {
        let _ = (settings, seed);
        todo!()
    }

    /// Adds an interface and brings it up. Fails with EINVAL on an MTU or prefix out of range.
    pub fn add_interface(&mut self, now: Instant, config: InterfaceConfig) -> crate::Result<InterfaceId> {
        let _ = (now, config);
        todo!()
    }

    /// Takes in one frame that `interface` received.
    pub fn receive(&mut self, now: Instant, interface: InterfaceId, packet: Packet) {
        let _ = (now, interface, packet);
        todo!()
    }

    /// The next frame to transmit by `interface`, if there is one.
    pub fn transmit(&mut self, now: Instant, interface: InterfaceId) -> Option<Packet> {
        let _ = (now, interface);
        todo!()
    }

    /// Runs what is due: timers, and packets on `lo`. Call it when [`poll_at`](Self::poll_at) says so, and after a batch of
    /// receptions or socket calls.
    pub fn poll(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// When [`poll`](Self::poll) has something to do next; `None` if nothing is pending. A time in the past means now.
    pub fn poll_at(&self) -> Option<Instant> {
        todo!()
    }

    /// The next socket whose readiness may have changed.
    pub fn next_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        todo!()
    }
}
