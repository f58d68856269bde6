//! Ethernet II in and out (RFC 894).

use wireway_packet::{Instant, Packet};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{EtherType, EthernetHeader, Ipv4Header, MacAddr};

use super::Net;
use crate::counters::DropReason;
use crate::{Error, InterfaceId, Result};

/// Whom a frame was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkDestination {
    Host,
    /// Broadcast or multicast.
    Group,
    /// It never was on the link: the host's own packet to a group, as the interface that it left by hears it (RFC 1112 §6.1).
    Looped,
    /// It never was on the link: the host's own packet to its link-local address on this interface, over `lo` (RFC 4007 §6).
    Own(InterfaceId),
}

impl Net {
    /// Takes a frame in; one that carries IP comes back, with its header, whom it was for, and which IP it is; and so does one of a VLAN
    /// (`vlan.rs`).
    #[inline]
    pub fn receive_frame(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        mut frame: Packet,
    ) -> Option<(LinkDestination, EtherType, Packet)> {
        let at = self.interfaces.get_mut(usize::from(interface.0))?;
        at.statistics.rx_packets += 1;
        at.statistics.rx_bytes += frame.len() as u64;
        let Some(mac) = at.station else {
            at.statistics.rx_dropped += 1;
            self.drop_packet(DropReason::DevReady, frame);
            return None;
        };
        // The IP header will be wanted too: one copy.
        let want = frame.len().min(EthernetHeader::LEN + Ipv4Header::LEN);
        let head = frame.pullup(want).map(|head| &*head).unwrap_or_default();
        let Ok((header, _)) = EthernetHeader::parse(head) else {
            self.drop_packet(DropReason::HeaderTruncated, frame);
            return None;
        };
        let (destination, ethertype) = (header.dst, header.ethertype());
        let link = if destination == mac {
            LinkDestination::Host
        } else if destination.is_multicast() {
            at.statistics.multicast += 1;
            LinkDestination::Group
        } else {
            // A VLAN's interface may have a MAC address of its own.
            return self.receive_tagged(now, interface, None, frame);
        };
        match ethertype {
            EtherType::IPV4 | EtherType::IPV6 => return Some((link, ethertype, frame)),
            EtherType::ARP => {
                frame.trim_front(EthernetHeader::LEN);
                self.receive_arp(now, interface, frame);
            }
            _ => return self.receive_tagged(now, interface, Some(link), frame),
        }
        None
    }

    /// Puts a frame into an interface's queue. ENOBUFS if it is full: the frame is dropped, and counted.
    pub(super) fn transmit_frame(
        &mut self,
        interface: InterfaceId,
        destination: MacAddr,
        ethertype: EtherType,
        mut packet: Packet,
    ) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        let own = at.station.ok_or(Error::NetworkDown)?;
        let header = EthernetHeader::new(destination, own, ethertype);
        packet.prepend(EthernetHeader::LEN).copy_from_slice(header.as_bytes());
        at.enqueue(packet).or_else(|frame| self.not_queued(interface, frame))
    }

    /// Puts an IP packet into an interface's queue, framed for `mac`.
    pub(super) fn transmit_ip(&mut self, interface: InterfaceId, mac: MacAddr, v6: bool, packet: Packet) -> Result<()> {
        let ethertype = if v6 { EtherType::IPV6 } else { EtherType::IPV4 };
        self.transmit_frame(interface, mac, ethertype, packet)
    }
}
