//! ARP (RFC 826): answering, learning, asking. Claims of addresses (RFC 5227) are in `claim.rs`.

use core::net::{IpAddr, Ipv4Addr};

use wireway_packet::{Instant, Packet};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{ArpOperation, ArpPacket, EtherType, MacAddr};

use super::Net;
use crate::InterfaceId;
use crate::counters::{Counter, DropReason};

impl Net {
    /// Takes in an ARP packet (RFC 826, "Packet Reception").
    pub(super) fn receive_arp(&mut self, now: Instant, interface: InterfaceId, mut packet: Packet) {
        let head = packet.pullup(ArpPacket::LEN).map(|head| &*head);
        let Some(arp) = head.and_then(|head| ArpPacket::parse(head).ok().copied()) else {
            return self.drop_packet(DropReason::ArpMalformed, packet);
        };
        let Some(at) = self.interfaces.get(usize::from(interface.0)) else { return };
        let Some(own_mac) = at.mac() else { return };
        let any_destination = at.any_destination;
        let (sender_mac, sender, target) = (arp.sender_mac(), arp.sender_ip(), arp.target_ip());
        let request = match arp.operation() {
            ArpOperation::REQUEST => true,
            ArpOperation::REPLY => false,
            _ => return self.drop_packet(DropReason::ArpMalformed, packet),
        };
        self.counters.count(if request { Counter::ArpInRequests } else { Counter::ArpInReplies });
        let sane = sender_mac.is_unicast()
            && !sender.is_loopback()
            && !self.is_broadcast(sender.into())
            && !target.is_loopback()
            && !target.is_multicast();
        if !sane {
            return self.drop_packet(DropReason::ArpMalformed, packet);
        }
        if sender_mac == own_mac {
            // Our own, come back over a loop.
            return self.drop_packet(DropReason::ArpNotForUs, packet);
        }
        self.check_claims(now, interface, &arp);
        let own = self.has_address(target);
        if arp.is_probe() {
            // RFC 5227 §2.1.1: someone wants to know whether the address is free. Never to be answered for others.
            if own {
                self.send_arp_reply(interface, own_mac, &arp);
            } else {
                self.drop_packet(DropReason::ArpNotForUs, packet);
            }
            return;
        }
        if sender.is_unspecified() || self.is_local(sender.into()) {
            // A conflict, which check_claims dealt with: nothing to learn.
            return self.drop_packet(DropReason::ArpNotForUs, packet);
        }
        // RFC 826: what is known is brought up to date; what is not is learnt only if the packet is for us.
        let announcement = sender == target;
        let proxied = any_destination && !announcement && !target.is_unspecified() && target != sender;
        let for_us = own || (proxied && request);
        self.learn_neighbour(now, interface, sender.into(), sender_mac, !request && own, for_us && request);
        match (request, for_us) {
            (true, true) => self.send_arp_reply(interface, own_mac, &arp),
            (false, true) => {}
            _ if announcement => {}
            _ => self.drop_packet(DropReason::ArpNotForUs, packet),
        }
    }

    /// Whether an address, not of 127/8, is configured on an interface.
    fn has_address(&self, address: Ipv4Addr) -> bool {
        !address.is_loopback() && self.is_local(address.into())
    }

    fn send_arp_reply(&mut self, interface: InterfaceId, mac: MacAddr, request: &ArpPacket) {
        self.counters.count(Counter::ArpOutReplies);
        self.send_arp(interface, request.sender_mac(), &request.reply(mac));
    }

    /// Asks for `target`: its holder, if `mac` is thought to be it, else everyone.
    pub(super) fn send_arp_request(&mut self, interface: InterfaceId, target: Ipv4Addr, mac: Option<MacAddr>) {
        let Some(at) = self.interfaces.get(usize::from(interface.0)) else { return };
        let Some(own_mac) = at.mac() else { return };
        // Without an address this asks as a probe does, and still gets an answer.
        let source = match at.source_for(target.into()) {
            Some(IpAddr::V4(source)) => source,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        self.counters.count(Counter::ArpOutRequests);
        let request = ArpPacket::request(own_mac, source, target);
        self.send_arp(interface, mac.unwrap_or(MacAddr::BROADCAST), &request);
    }

    pub(super) fn send_arp(&mut self, interface: InterfaceId, destination: MacAddr, arp: &ArpPacket) {
        let packet = Packet::copy_from(arp.as_bytes());
        // A full queue counts its own drops; ARP asks again.
        let _ = self.transmit_frame(interface, destination, EtherType::ARP, packet);
    }
}
