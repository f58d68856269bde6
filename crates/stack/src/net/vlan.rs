//! VLANs: interfaces whose frames share another interface's cable, told apart by a tag (IEEE 802.1Q, 802.1ad).
//!
//! # Theory of operation
//!
//! A VLAN's interface is like any other but for its queue, which takes nothing: what it is to transmit comes back from
//! [`Interface::enqueue`](crate::interface::Interface::enqueue), gets its tag and goes into the queue of the parent, which may be a VLAN's in turn. So a
//! packet of no VLAN pays nothing for this. The tag travels beside the frame ([`PendingTag`]) and is put in when the frame leaves, after a super-segment
//! was cut; of two tags the inner one is put in at once.
//!
//! A frame that comes with a tag is handed, without it, to the VLAN's interface, as if that had received it. A tag with the number 0 says a priority
//! and no VLAN: the frame is the parent's own.

use wireway_packet::software::{insert_tag, remove_tag, segment_count};
use wireway_packet::{Instant, Packet, PendingTag};
use wireway_wire::{EtherType, EthernetHeader, VlanTag};

use super::Net;
use super::ethernet::LinkDestination;
use crate::counters::DropReason;
use crate::{Error, InterfaceId, Result};

/// The bits of a tag's control field that are the VLAN's number.
const ID: u16 = 0x0fff;
/// Priority tags that are taken off one frame. One means something; a sender that wants to keep us busy has more.
const PRIORITY_TAGS: usize = 4;

impl Net {
    /// What an interface's queue did not take: a VLAN's is its parent's to transmit; else the queue is full, and it is dropped. ENOBUFS.
    #[cold]
    pub(super) fn not_queued(&mut self, interface: InterfaceId, mut frame: Packet) -> Result<()> {
        let at = self.interfaces.get_mut(usize::from(interface.0)).ok_or(Error::NoDevice)?;
        let Some(vlan) = at.vlan else {
            at.statistics.tx_dropped += 1;
            self.drop_packet(DropReason::QueueFull, frame);
            return Err(Error::NoBuffers);
        };
        let (packets, bytes) = size_on_wire(&frame);
        insert_tag(&mut frame);
        frame.offload_mut().tag = Some(PendingTag { protocol: vlan.protocol, control: vlan.id });
        let parent = self.interfaces.get_mut(usize::from(vlan.parent.0)).ok_or(Error::NoDevice)?;
        let result = parent.enqueue(frame).or_else(|frame| self.not_queued(vlan.parent, frame));
        if let Some(at) = self.interfaces.get_mut(usize::from(interface.0)) {
            match result {
                Ok(()) => {
                    at.statistics.tx_packets += packets;
                    at.statistics.tx_bytes += bytes;
                }
                Err(_) => at.statistics.tx_dropped += 1,
            }
        }
        result
    }

    /// Looks at a frame that is not plainly IP or ARP, or (`link` is none) that is for another station than the interface's. What is of a VLAN comes
    /// back with its tag first; what had a priority tag only, without it.
    #[cold]
    pub(super) fn receive_tagged(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        link: Option<LinkDestination>,
        mut frame: Packet,
    ) -> Option<(LinkDestination, EtherType, Packet)> {
        let mut ethertype = ethertype(&frame);
        for _ in 0..PRIORITY_TAGS {
            if !ethertype.is_vlan() || id(&frame) != Some(0) {
                break;
            }
            remove_tag(&mut frame)?;
            ethertype = self::ethertype(&frame);
        }
        let reason = match (link, ethertype) {
            (_, tag) if tag.is_vlan() => match self.vlan_of(interface, &frame) {
                Some(_) => return Some((link.unwrap_or(LinkDestination::Host), ethertype, frame)),
                None => DropReason::VlanUnknown,
            },
            (None, _) => DropReason::OtherHost,
            (Some(link), EtherType::IPV4 | EtherType::IPV6) => return Some((link, ethertype, frame)),
            (Some(_), EtherType::ARP) => {
                frame.trim_front(EthernetHeader::LEN);
                self.receive_arp(now, interface, frame);
                return None;
            }
            _ => DropReason::UnhandledProtocol,
        };
        if let Some(at) = self.interfaces.get_mut(usize::from(interface.0))
            && reason != DropReason::OtherHost
        {
            at.statistics.rx_dropped += 1;
        }
        self.drop_packet(reason, frame);
        None
    }

    /// Takes the tag off a frame, and says whose it is.
    pub fn untag(&mut self, parent: InterfaceId, mut frame: Packet) -> Option<(InterfaceId, Packet)> {
        let interface = self.vlan_of(parent, &frame)?;
        remove_tag(&mut frame)?;
        Some((interface, frame))
    }

    /// The VLAN's interface that a tagged frame is for.
    fn vlan_of(&self, parent: InterfaceId, frame: &Packet) -> Option<InterfaceId> {
        let protocol = wireway_wire::VlanProtocol::from_ethertype(ethertype(frame))?;
        let vlan = crate::Vlan { parent, protocol, id: id(frame)? };
        self.vlans.get(&vlan).copied()
    }
}

/// What a frame carries. That of one without a whole header is nothing's.
fn ethertype(frame: &Packet) -> EtherType {
    let mut bytes = [0; EthernetHeader::LEN];
    frame.copy_to(0, &mut bytes);
    EthernetHeader::parse(&bytes).map_or(EtherType(0), |(header, _)| header.ethertype())
}

/// The number in a frame's outermost tag.
fn id(frame: &Packet) -> Option<u16> {
    let mut bytes = [0; VlanTag::LEN];
    let whole = frame.copy_to(EthernetHeader::LEN, &mut bytes) == VlanTag::LEN;
    VlanTag::parse(&bytes).ok().filter(|_| whole).map(|(tag, _)| tag.control() & ID)
}

/// The frames that a packet will be, and their bytes.
fn size_on_wire(packet: &Packet) -> (u64, u64) {
    let frames = segment_count(packet) as u64;
    let headers = packet.offload().segmentation.map_or(0, |s| u64::from(s.header_len));
    (frames, packet.len() as u64 + (frames - 1) * headers)
}
