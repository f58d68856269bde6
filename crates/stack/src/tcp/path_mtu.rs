//! The segment size that the path carries (RFC 1191, RFC 6691), and what ICMP says about connections (RFC 1122 §4.2.3.9, RFC 5927).

use wireway_packet::Instant;
use wireway_wire::SeqNumber;

use super::Tcp;
use super::congestion::CongestionControl;
use super::connection::Connection;
use super::flow::{Endpoint, Flow, FlowTarget};
use super::shared::Cx;
use super::state::State;
use crate::net::{IcmpError, IcmpErrorKind, Net};
use crate::{Counter, InterfaceId, MtuDiscover};

/// The bytes of an IP header without options.
pub(super) fn ip_header_len(flow: &Flow) -> u16 {
    if flow.local.address.is_ipv4() { 20 } else { 40 }
}

/// The MSS option that we send: what our interface takes without options (RFC 6691 §2), or less if the program wants.
pub(super) fn advertised_mss(flow: &Flow, interface_mtu: u16, max_segment: u16) -> u16 {
    let mss = interface_mtu.saturating_sub(ip_header_len(flow) + 20).max(super::open::MIN_MSS);
    if max_segment > 0 { mss.min(max_segment) } else { mss }
}

impl Connection {
    /// Asks the route for the path's MTU. True if the segment size became smaller.
    pub fn refresh_path_mtu(&mut self, cx: &mut Cx<'_>) -> bool {
        let Ok(route) = cx.net.route(self.flow.remote.address, self.meta.interface) else { return false };
        self.path_mtu = if self.meta.ignore_path_mtu { route.interface_mtu } else { route.mtu };
        let old = self.mss;
        self.update_mss();
        self.mss < old
    }

    /// The least of what the peer takes, what the path carries and what the program wants (RFC 9293 §3.7.1).
    pub fn update_mss(&mut self) {
        let path = self.path_mtu.saturating_sub(ip_header_len(&self.flow) + 20).max(super::open::MIN_MSS);
        let wanted = match self.common.options.max_segment {
            0 => u16::MAX,
            mss => mss,
        };
        let old = self.send_mss();
        self.mss = self.peer_mss.min(u32::from(path.min(wanted)));
        if self.state.is_synchronized() && self.send_mss() < old {
            self.congestion.on_mss(old, self.send_mss());
        }
    }

    /// An ICMP error about a segment of ours with sequence number `seq`.
    fn icmp_arrives(&mut self, error: &IcmpError<'_>, seq: SeqNumber, cx: &mut Cx<'_>) {
        // RFC 5927 §4.1: only about data in flight.
        if self.state == State::Held || !(self.snd_una.leq(seq) && seq.leq(self.snd_max)) {
            cx.net.counters.count(Counter::TcpExtOutOfWindowIcmps);
            return;
        }
        if let IcmpErrorKind::TooBig(mtu) = error.kind {
            if self.common.options.mtu_discover == MtuDiscover::Dont || self.state == State::Closed {
                return;
            }
            cx.net.learn_path_mtu(cx.now, self.flow.remote.address, mtu);
            if self.refresh_path_mtu(cx) && self.state.is_synchronized() {
                // What was too big is lost, and not by congestion: again at once (RFC 1191 §6.5).
                self.timing = None;
                self.snd_nxt = self.snd_una;
                self.output(cx);
            }
            return;
        }
        match self.state {
            // As on Linux, soft errors too end an attempt (RFC 5461 §4.1); no error ends an established connection
            // (RFC 5927 §5.2).
            State::SynSent | State::SynReceived => {
                cx.net.counters.count(Counter::TcpAttemptFails);
                self.end(Some(error.error), cx);
            }
            _ => self.soft_error = Some(error.error),
        }
    }
}

impl Tcp {
    /// An interface has another MTU: segments are as long as that allows from now on, be it longer or shorter.
    pub fn refresh_path_mtus(&mut self, net: &mut Net, now: Instant) {
        for index in self.sockets.indices() {
            self.with_connection(net, now, index, |connection, cx| connection.refresh_path_mtu(cx));
        }
    }

    /// An ICMP error about a segment that we sent.
    pub fn icmp_error(&mut self, net: &mut Net, now: Instant, error: &IcmpError<'_>) {
        let &[a, b, c, d, e, f, g, h, ..] = error.quoted else { return };
        let local = Endpoint::new(error.source, u16::from_be_bytes([a, b]));
        let remote = Endpoint::new(error.destination, u16::from_be_bytes([c, d]));
        let flow = |interface| Flow::new(local, remote, interface);
        let mut target = self.flows.get(&flow(error.interface));
        if target.is_none() && error.interface == InterfaceId::LOOPBACK {
            // What the host tells itself of a link: that a neighbour does not answer.
            target = net.interfaces.iter().find_map(|at| self.flows.get(&flow(at.id)));
        }
        let seq = SeqNumber(u32::from_be_bytes([e, f, g, h]));
        // Half-open connections and TIME-WAIT have nothing to learn: their timers decide.
        if let Some(FlowTarget::Connection(index)) = target {
            self.with_connection(net, now, index, |connection, cx| {
                connection.icmp_arrives(error, seq, cx);
                connection.arm(cx);
            });
            self.settle(net, now, index);
        }
    }
}
