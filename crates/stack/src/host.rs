//! A host: its interfaces, routes, neighbours and sockets, as one value.
//!
//! `Host` ties [`Net`] (layers 2 and 3, and what every protocol needs: settings, counters, randomness, timers, events)
//! to the transports. A transport's functions take `&mut Net` and the time; `Net` never calls a transport: what it
//! received for one, it hands back to `Host::receive`, which dispatches on the protocol.

use wireway_packet::{Instant, Packet};
use wireway_wire::Protocol;

use crate::net::{Inbound, Net};
use crate::raw::Raw;
use crate::socket::SocketFamily;
use crate::tcp::Tcp;
use crate::timer::TimerKey;
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
        let mut net = Net::new(settings, seed);
        let tcp = Tcp::new(&mut net);
        let udp = Udp::new(&mut net);
        let raw = Raw::new(&mut net);
        Host { net, tcp, udp, raw }
    }

    /// Adds an interface and brings it up. Fails with EINVAL on an MTU or prefix out of range.
    pub fn add_interface(&mut self, now: Instant, config: InterfaceConfig) -> crate::Result<InterfaceId> {
        let _ = (now, config);
        todo!()
    }

    /// Takes in one frame that `interface` received.
    pub fn receive(&mut self, now: Instant, interface: InterfaceId, packet: Packet) {
        if let Some(inbound) = self.net.receive(now, interface, packet) {
            self.dispatch(now, inbound);
        }
    }

    fn dispatch(&mut self, now: Instant, inbound: Inbound) {
        match Protocol(inbound.protocol) {
            Protocol::TCP => self.tcp.receive(&mut self.net, now, inbound),
            _ => todo!(),
        }
    }

    /// The next frame to transmit by `interface`, if there is one.
    pub fn transmit(&mut self, now: Instant, interface: InterfaceId) -> Option<Packet> {
        let _ = (now, interface);
        todo!()
    }

    /// Runs what is due: timers, and packets on `lo`. Call it when [`poll_at`](Self::poll_at) says so, and after a batch of
    /// receptions or socket calls.
    pub fn poll(&mut self, now: Instant) {
        while let Some(key) = self.net.timers.pop(now) {
            match key {
                TimerKey::Tcp { index, generation } => self.tcp.on_timer(&mut self.net, now, index, generation),
                _ => todo!(),
            }
        }
    }

    /// When [`poll`](Self::poll) has something to do next; `None` if nothing is pending. A time in the past means now.
    pub fn poll_at(&self) -> Option<Instant> {
        self.net.timers.next_at()
    }

    /// The next socket whose readiness may have changed.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let socket = self.net.events.pop()?;
            let ready = match socket.family {
                SocketFamily::Tcp => self.tcp.take_event(socket),
                SocketFamily::Udp => self.udp.take_event(socket),
                SocketFamily::Raw => self.raw.take_event(socket),
            };
            if let Some(ready) = ready {
                return Some(Event { socket, ready });
            }
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.net.counters
    }
}
