//! IPv4 in (RFC 791, RFC 1122 §3.2.1). Out: `output.rs`.

use core::net::Ipv4Addr;

use wireway_packet::{Instant, Packet};
use wireway_wire::zerocopy::{IntoBytes, transmute};
use wireway_wire::{Ipv4Fields, Ipv4Header, Ipv4Option, Ipv4View, Malformed, Sum};

use super::accepted::Accepted;
use super::ethernet::LinkDestination;
use super::reassembly::Piece;
use super::{Complaint, Inbound, IpHeader, Net};
use crate::InterfaceId;
use crate::counters::{Counter, DropReason};
use crate::interface::Medium;

impl Net {
    /// Takes in an IPv4 packet that begins `skip` bytes into `packet`; what a transport is to receive comes back, or a fragment of it.
    #[inline(always)]
    pub fn receive_ipv4(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        link: LinkDestination,
        skip: usize,
        mut packet: Packet,
    ) -> Option<Inbound> {
        self.counters.count(Counter::IpInReceives);
        self.counters[Counter::IpExtInOctets] += (packet.len() - skip) as u64;
        let (header, options) = match check_header(&mut packet, skip) {
            Ok(checked) => checked,
            Err(reason) => {
                self.counters.count(match reason {
                    DropReason::PacketTooSmall => Counter::IpExtInTruncatedPkts,
                    _ => Counter::IpInHdrErrors,
                });
                self.drop_packet(reason, packet);
                return None;
            }
        };
        if packet.len() > skip + header.total_len() {
            // A short Ethernet frame is padded.
            packet.truncate(skip + header.total_len());
        }
        let local = match self.classify(interface, link, &header) {
            Ok(local) => local,
            Err(reason) => {
                if reason == DropReason::IpInAddressErrors {
                    self.counters.count(Counter::IpInAddrErrors);
                }
                self.drop_packet(reason, packet);
                return None;
            }
        };
        if let Some(options) = options.as_deref()
            && let Err(fault) = check_options(options)
        {
            packet.trim_front(skip);
            return self.refuse_options(now, interface, header, link, packet, fault);
        }
        self.counters.count(match header.ecn() {
            0 => Counter::IpExtInNoEctPkts,
            1 => Counter::IpExtInEct1Pkts,
            2 => Counter::IpExtInEct0Pkts,
            _ => Counter::IpExtInCePkts,
        });
        packet.trim_front(skip + header.header_len());
        let ip_broadcast = !local && self.is_broadcast(header.dst().into());
        if ip_broadcast {
            let multicast = header.dst().is_multicast();
            self.counters.count(if multicast { Counter::IpExtInMcastPkts } else { Counter::IpExtInBcastPkts });
        }
        if !header.is_fragment() {
            self.counters.count(Counter::IpInDelivers);
        }
        Some(Inbound {
            interface,
            protocol: header.protocol().0,
            ttl: header.ttl(),
            tos: header.tos(),
            broadcast: ip_broadcast || link == LinkDestination::Group,
            local: local || ip_broadcast,
            packet,
            header: IpHeader::V4(header),
            options,
        })
    }

    /// Takes in a fragment that [`receive_ipv4`](Self::receive_ipv4) gave; the whole datagram comes back once all are there.
    pub fn reassemble_ipv4(&mut self, now: Instant, fragment: Inbound) -> Option<Inbound> {
        let IpHeader::V4(header) = fragment.header else { return None };
        let piece = Piece {
            ident: header.ident().into(),
            offset: header.fragment_offset(),
            more: header.more_fragments(),
            header_len: header.header_len(),
        };
        let mut whole = self.reassemble(now, piece, fragment)?;
        let IpHeader::V4(first) = whole.header else { return None };
        let fields = Ipv4Fields {
            tos: whole.tos,
            payload_len: whole.packet.len() as u16,
            more_fragments: false,
            fragment_offset: 0,
            ..first.fields()
        };
        whole.header = IpHeader::V4(Ipv4Header::new(&fields, whole.options.as_deref().unwrap_or_default()));
        self.counters.count(Counter::IpInDelivers);
        Some(whole)
    }

    /// Whether the packet is for one of the host's own addresses; false if for a group or (`any_destination`) for another host
    /// that this one stands in for. Otherwise, and for addresses that may not be on the wire, why it is dropped.
    ///
    /// The answer for a pair of addresses is kept in a small cache, unless it is a group's.
    fn classify(
        &mut self,
        interface: InterfaceId,
        link: LinkDestination,
        header: &Ipv4Header,
    ) -> Result<bool, DropReason> {
        let (source, destination) = (header.src(), header.dst());
        let generation = self.destinations.generation;
        let slot = slot(source, destination);
        let key = Accepted { source, destination, interface, generation, local: false };
        if let Some(local) = self.accepted_v4.get(slot, &key) {
            return Ok(local);
        }
        let local = self.classify_anew(interface, link, source, destination)?;
        if !destination.is_multicast() {
            self.accepted_v4.set(slot, Accepted { local, ..key });
        }
        Ok(local)
    }

    fn classify_anew(
        &self,
        interface: InterfaceId,
        link: LinkDestination,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<bool, DropReason> {
        let at = self.interfaces.get(usize::from(interface.0)).ok_or(DropReason::DevReady)?;
        if at.medium == Medium::Loopback || link == LinkDestination::Looped {
            return self.classify_own(interface, destination.into());
        }
        // RFC 1122 §3.2.1.3: (a) to (g), where each may stand.
        // From none come what a host without an address says to all, and a switch's queries (RFC 4541 §2.1.1).
        let from_none = source.is_unspecified() && (destination.is_broadcast() || destination.is_multicast());
        if source.octets()[0] == 0 && !from_none {
            return Err(DropReason::IpInvalidSource);
        }
        if source.is_loopback() || destination.is_loopback() {
            return Err(DropReason::IpLocalNet);
        }
        if self.is_broadcast(source.into()) {
            return Err(DropReason::IpInvalidSource);
        }
        if destination.octets()[0] == 0 {
            return Err(DropReason::IpInvalidDestination);
        }
        if self.is_local(source.into()) {
            return Err(DropReason::IpLocalSource);
        }
        if self.is_local(destination.into()) {
            return Ok(true);
        }
        if destination.is_multicast() {
            let joined = self.listens_to(interface, destination.into());
            return if joined { Ok(false) } else { Err(DropReason::IpMulticast) };
        }
        if self.is_broadcast(destination.into()) || at.any_destination {
            return Ok(false);
        }
        // Not forwarded (RFC 1122 §3.3.4: a host is no router).
        Err(DropReason::IpInAddressErrors)
    }

    /// Drops a packet with options that are not taken: malformed ones with an ICMP parameter problem (RFC 1122 §3.2.2.5).
    fn refuse_options(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        header: Ipv4Header,
        link: LinkDestination,
        packet: Packet,
        fault: OptionFault,
    ) -> Option<Inbound> {
        self.counters.count(Counter::IpInHdrErrors);
        match fault {
            OptionFault::SourceRoute => self.drop_packet(DropReason::IpSourceRoute, packet),
            OptionFault::Malformed(pointer) => {
                self.counters.drop(DropReason::IpHeader);
                let group = link == LinkDestination::Group || self.is_broadcast(header.dst().into());
                if !group && header.fragment_offset() == 0 {
                    let complaint = Complaint::Parameter { code: 0, pointer: pointer.into() };
                    self.complain(now, interface, packet, complaint);
                }
            }
        }
        None
    }
}

fn slot(source: Ipv4Addr, destination: Ipv4Addr) -> u32 {
    source.to_bits() ^ destination.to_bits().rotate_left(7)
}

/// A header's options, if it has some.
type Options = Option<Box<[u8]>>;

/// Checks the header as RFC 1122 §3.2.1 asks, and makes it and the options lie in the packet's head.
#[inline]
fn check_header(packet: &mut Packet, skip: usize) -> Result<(Ipv4Header, Options), DropReason> {
    let len = packet.len() - skip;
    let head = packet.pullup(skip + Ipv4Header::LEN).and_then(|head| head.last_chunk::<{ Ipv4Header::LEN }>());
    let header: Ipv4Header = transmute!(*head.ok_or(DropReason::IpHeader)?);
    if !header.is_plain() {
        return check_header_with_options(packet, skip, len);
    }
    if !Sum::of(header.as_bytes()).is_valid() {
        return Err(DropReason::IpChecksum);
    }
    if header.total_len() > len {
        return Err(DropReason::PacketTooSmall);
    }
    if header.total_len() < Ipv4Header::LEN {
        return Err(DropReason::IpHeader);
    }
    Ok((header, None))
}

/// As [`check_header`], for any header that there may be.
#[cold]
fn check_header_with_options(
    packet: &mut Packet,
    skip: usize,
    len: usize,
) -> Result<(Ipv4Header, Options), DropReason> {
    let head = packet.head();
    let header_len = usize::from(head.get(skip).copied().unwrap_or(0) & 0x0f) * 4;
    let head = &*packet.pullup(skip + header_len.max(Ipv4Header::LEN)).ok_or(DropReason::IpHeader)?;
    let head = head.get(skip..).unwrap_or_default();
    let view = Ipv4View::parse_quoted(head).map_err(|_: Malformed| DropReason::IpHeader)?;
    view.verify_checksum().map_err(|_| DropReason::IpChecksum)?;
    let total_len = view.header.total_len();
    if total_len > len {
        return Err(DropReason::PacketTooSmall);
    }
    if total_len < header_len {
        return Err(DropReason::IpHeader);
    }
    let options = (!view.options.is_empty()).then(|| Box::from(view.options));
    Ok((*view.header, options))
}

/// What is wrong with a packet's options.
enum OptionFault {
    /// Source routes are not taken (Linux's accept_source_route is off).
    SourceRoute,
    /// The byte of the packet that is wrong.
    Malformed(u8),
}

/// Looks at options as Linux does: their shape, and that no source route is among them. All others are tolerated.
fn check_options(options: &[u8]) -> Result<(), OptionFault> {
    let mut at = Ipv4Header::LEN;
    for option in wireway_wire::Ipv4OptionIter::new(options) {
        let malformed = |byte: usize| Err(OptionFault::Malformed((at + byte) as u8));
        let Ok(option) = option else { return malformed(0) };
        let len = option.data.len() + 2;
        // Where a pointer points, counted from the option's first byte; it must leave room for an entry.
        let pointer = option.data.first().map(|&pointer| usize::from(pointer));
        let misplaced = |first: usize| pointer.is_some_and(|p| p < first || p <= len && p + 3 > len);
        match option.kind {
            Ipv4Option::LOOSE_SOURCE_ROUTE | Ipv4Option::STRICT_SOURCE_ROUTE => return Err(OptionFault::SourceRoute),
            Ipv4Option::RECORD_ROUTE if len < 3 => return malformed(1),
            Ipv4Option::TIMESTAMP if len < 4 => return malformed(1),
            Ipv4Option::RECORD_ROUTE if misplaced(4) => return malformed(2),
            Ipv4Option::TIMESTAMP if misplaced(5) => return malformed(2),
            _ => {}
        }
        at += if option.kind == Ipv4Option::NOP { 1 } else { len };
    }
    Ok(())
}
