//! IPv6 in (RFC 8200). Out: `output.rs`.
//!
//! # Theory of operation
//!
//! A packet whose transport follows the fixed header at once is taken in without more ado. Any other has its extension headers looked at one by
//! one, in the order they stand in, as far as `wire` walks them (eight headers, 512 bytes): options by what their type asks of those who
//! do not know them, routing headers by what is left of the route, which is ours only if nothing is. A fragment waits
//! for the others (`reassembly.rs`), and the whole is then looked at like a packet that came in one piece. What was walked over is kept for
//! quotation in [`Inbound::options`].

use core::mem::offset_of;
use core::net::Ipv6Addr;

use wireway_packet::{Instant, Packet};
use wireway_wire::icmpv6::parameter_problem;
use wireway_wire::ipv6::multicast_scope;
use wireway_wire::ipv6_ext::MAX_CHAIN_LEN;
use wireway_wire::zerocopy::transmute;
use wireway_wire::{
    ExtensionIter, ExtensionKind, FragmentHeader, Icmpv6Header, Icmpv6Type, Ipv6Chain, Ipv6Fields, Ipv6Header,
    Ipv6Option, Ipv6OptionIter, Malformed, Protocol, RoutingHeader, TcpHeader, UdpHeader, UnknownOption,
};

use super::accepted::Accepted;
use super::ethernet::LinkDestination;
use super::ndp::is_ndp;
use super::reassembly::Piece;
use super::{Inbound, IpHeader, Net};
use crate::InterfaceId;
use crate::counters::{Counter, DropReason};
use crate::interface::Medium;

/// The least MTU of a link that carries IPv6 (RFC 8200 §5).
pub(crate) const MIN_MTU: u16 = 1280;

/// Why a packet's extension headers are not taken.
enum Fault {
    /// Dropped without a word.
    Silent(DropReason),
    /// An ICMPv6 parameter problem: its code and the byte it points at.
    Tell { code: u8, pointer: usize },
    /// The same, even if the packet was sent to a group (RFC 4443 §2.4 (e.3)).
    TellGroup { code: u8, pointer: usize },
}

/// Whether something else than a transport follows.
pub(crate) fn is_special(next_header: Protocol) -> bool {
    matches!(
        next_header,
        Protocol::HOP_BY_HOP
            | Protocol::ROUTING
            | Protocol::FRAGMENT
            | Protocol::AUTHENTICATION
            | Protocol::DESTINATION_OPTIONS
            | Protocol::NO_NEXT_HEADER
    )
}

impl Net {
    /// Takes in an IPv6 packet that begins `skip` bytes into `packet`; what a transport is to receive comes back, or what begins with [extension
    /// headers](is_special).
    #[inline(always)]
    pub fn receive_ipv6(
        &mut self,
        interface: InterfaceId,
        link: LinkDestination,
        skip: usize,
        mut packet: Packet,
    ) -> Option<Inbound> {
        self.counters.count(Counter::Ip6InReceives);
        self.counters[Counter::Ip6InOctets] += (packet.len() - skip) as u64;
        let header = match check_header(&mut packet, skip) {
            Ok(header) => header,
            Err(reason) => {
                self.counters.count(match reason {
                    DropReason::PacketTooSmall => Counter::Ip6InTruncatedPkts,
                    _ => Counter::Ip6InHdrErrors,
                });
                self.drop_packet(reason, packet);
                return None;
            }
        };
        let end = skip + Ipv6Header::LEN + header.payload_len();
        if packet.len() > end {
            // A short Ethernet frame is padded.
            packet.truncate(end);
        }
        let local = match self.classify_v6(interface, link, &header) {
            Ok(local) => local,
            Err(reason) => {
                if reason == DropReason::IpInAddressErrors {
                    self.counters.count(Counter::Ip6InAddrErrors);
                }
                self.drop_packet(reason, packet);
                return None;
            }
        };
        let tos = header.traffic_class();
        self.counters.count(match tos & 3 {
            0 => Counter::Ip6InNoEctPkts,
            1 => Counter::Ip6InEct1Pkts,
            2 => Counter::Ip6InEct0Pkts,
            _ => Counter::Ip6InCePkts,
        });
        packet.trim_front(skip + Ipv6Header::LEN);
        let group = !local && header.dst().is_multicast();
        if group {
            self.counters.count(Counter::Ip6InMcastPkts);
        }
        if !is_special(header.next_header) {
            self.counters.count(Counter::Ip6InDelivers);
        }
        let interface = if let LinkDestination::Own(at) = link { at } else { interface };
        Some(Inbound {
            interface,
            protocol: header.next_header.0,
            ttl: header.hop_limit,
            tos,
            broadcast: group || link == LinkDestination::Group,
            local: local || group,
            packet,
            header: IpHeader::V6(header),
            options: None,
        })
    }

    /// As [`classify`](Self::classify) does for IPv4.
    fn classify_v6(
        &mut self,
        interface: InterfaceId,
        link: LinkDestination,
        header: &Ipv6Header,
    ) -> Result<bool, DropReason> {
        let (source, destination) = (header.src(), header.dst());
        let generation = self.destinations.generation;
        let slot = slot(source, destination);
        let key = Accepted { source, destination, interface, generation, local: false };
        if let Some(local) = self.accepted_v6.get(slot, &key) {
            return Ok(local);
        }
        let local = self.classify_v6_anew(interface, link, source, destination)?;
        if !destination.is_multicast() {
            self.accepted_v6.set(slot, Accepted { local, ..key });
        }
        Ok(local)
    }

    fn classify_v6_anew(
        &self,
        interface: InterfaceId,
        link: LinkDestination,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<bool, DropReason> {
        let at = self.interfaces.get(usize::from(interface.0)).ok_or(DropReason::DevReady)?;
        if at.medium == Medium::Loopback || link == LinkDestination::Looped {
            return self.classify_own(interface, destination.into());
        }
        // RFC 4291 §2.7: no group sends. RFC 4291 §2.5.5.2: v4-mapped addresses are no addresses of the wire.
        if source.is_multicast() || source.to_ipv4_mapped().is_some() {
            return Err(DropReason::IpInvalidSource);
        }
        // RFC 4291 §2.5.2: who has no address yet asks groups, and could not be answered.
        if source.is_unspecified() && !destination.is_multicast() {
            return Err(DropReason::IpInvalidSource);
        }
        // RFC 4291 §2.5.3.
        if source.is_loopback() || destination.is_loopback() {
            return Err(DropReason::IpLocalNet);
        }
        // RFC 4291 §2.5.2, and §2.7: scopes 0 and 1 do not leave a host.
        let scope = multicast_scope(destination);
        if destination.is_unspecified() || destination.to_ipv4_mapped().is_some() || scope.is_some_and(|s| s <= 1) {
            return Err(DropReason::IpInvalidDestination);
        }
        if self.is_local_at(source.into(), Some(interface)) {
            return Err(DropReason::IpLocalSource);
        }
        if scope.is_some() {
            return if self.listens_to(interface, destination.into()) {
                Ok(false)
            } else {
                Err(DropReason::IpMulticast)
            };
        }
        if self.is_local_at(destination.into(), Some(interface)) {
            return Ok(true);
        }
        if at.any_destination && !destination.is_unicast_link_local() {
            return Ok(false);
        }
        // Not forwarded: a host is no router.
        Err(DropReason::IpInAddressErrors)
    }

    /// Takes in what stands between the fixed header and the transport, of a packet that [`receive_ipv6`](Self::receive_ipv6) gave.
    #[cold]
    pub fn receive_extensions(&mut self, now: Instant, inbound: Inbound) -> Option<Inbound> {
        let whole = match self.walk(inbound, false) {
            Walked::Transport(inbound) => return Some(inbound),
            Walked::Fragment(piece, fragment) => match join(self.reassemble(now, piece, *fragment)?) {
                Some(whole) => whole,
                None => {
                    // Headers and payload together are longer than a packet can be.
                    self.counters.drop(DropReason::FragmentMalformed);
                    return None;
                }
            },
            Walked::Fault(fault, inbound) => return self.refuse_extensions(now, fault, *inbound),
        };
        match self.walk(whole, true) {
            Walked::Transport(inbound) => Some(inbound),
            Walked::Fragment(_, inbound) => {
                self.refuse_extensions(now, Fault::Silent(DropReason::FragmentMalformed), *inbound)
            }
            Walked::Fault(fault, inbound) => self.refuse_extensions(now, fault, *inbound),
        }
    }

    /// Walks along the extension headers at the front of `inbound.packet`. `whole`: it was put together of fragments.
    fn walk(&mut self, mut inbound: Inbound, whole: bool) -> Walked {
        let mut bytes = vec![0; inbound.packet.len().min(MAX_CHAIN_LEN)];
        inbound.packet.copy_to(0, &mut bytes);
        let IpHeader::V6(header) = inbound.header else {
            return Walked::Fault(Fault::Silent(DropReason::IpHeader), Box::new(inbound));
        };
        let mut headers = ExtensionIter::new(header.next_header, &bytes);
        loop {
            let before = headers.so_far();
            let extension = match headers.next() {
                None => break,
                Some(Ok(extension)) => extension,
                Some(Err(error)) => return Walked::Fault(chain_fault(error, &before), Box::new(inbound)),
            };
            let fault = match extension.kind {
                ExtensionKind::HopByHop(options) | ExtensionKind::Destination(options) => {
                    check_options(options, extension.offset).err()
                }
                ExtensionKind::Routing(routing) => check_routing(routing, extension.offset).err(),
                // RFC 6946 §4: a fragment that is the whole has nothing to do with others of its identification.
                ExtensionKind::Fragment(fragment) if fragment.is_atomic() => None,
                ExtensionKind::Fragment(_) if whole => Some(Fault::Silent(DropReason::FragmentMalformed)),
                ExtensionKind::Fragment(&fragment) => {
                    let fragment_at = (extension.offset, fragment);
                    return match check_fragment(headers, fragment_at, inbound.packet.len()) {
                        Ok(()) => take_fragment(inbound, &bytes, fragment_at),
                        Err(fault) => Walked::Fault(fault, Box::new(inbound)),
                    };
                }
                // There are no security associations here (RFC 4302 §3.4.2).
                ExtensionKind::Authentication => {
                    Some(Fault::Tell { code: parameter_problem::NEXT_HEADER, pointer: before.pointer })
                }
            };
            if let Some(fault) = fault {
                return Walked::Fault(fault, Box::new(inbound));
            }
        }
        let chain = headers.so_far();
        if chain.protocol == Protocol::NO_NEXT_HEADER {
            return Walked::Fault(Fault::Silent(DropReason::IpNoProtocol), Box::new(inbound));
        }
        if (whole || chain.fragment.is_some()) && chain.protocol == Protocol::ICMPV6 {
            let mut kind = [0];
            inbound.packet.copy_to(chain.len, &mut kind);
            // RFC 6980 §5.
            if is_ndp(Icmpv6Type(kind[0])) {
                return Walked::Fault(Fault::Silent(DropReason::NdMalformed), Box::new(inbound));
            }
        }
        inbound.protocol = chain.protocol.0;
        inbound.packet.trim_front(chain.len);
        bytes.truncate(chain.len);
        inbound.options = (!bytes.is_empty()).then(|| bytes.into());
        self.counters.count(Counter::Ip6InDelivers);
        Walked::Transport(inbound)
    }

    fn refuse_extensions(&mut self, now: Instant, fault: Fault, inbound: Inbound) -> Option<Inbound> {
        let (reason, told) = match fault {
            Fault::Silent(reason) => (reason, None),
            Fault::Tell { code, pointer } => (DropReason::IpHeader, (!inbound.broadcast).then_some((code, pointer))),
            Fault::TellGroup { code, pointer } => (DropReason::IpHeader, Some((code, pointer))),
        };
        if reason != DropReason::IpNoProtocol {
            self.counters.count(Counter::Ip6InHdrErrors);
        }
        self.counters.drop(reason);
        if let Some((code, pointer)) = told {
            self.tell_parameter_problem(now, inbound, code, pointer);
        }
        None
    }
}

/// What a walk along the extension headers led to.
enum Walked {
    Transport(Inbound),
    Fragment(Piece, Box<Inbound>),
    Fault(Fault, Box<Inbound>),
}

/// Checks the fixed header, and makes it lie in the packet's head.
#[inline]
fn check_header(packet: &mut Packet, skip: usize) -> Result<Ipv6Header, DropReason> {
    let len = packet.len() - skip;
    let head = packet.pullup(skip + Ipv6Header::LEN).and_then(|head| head.last_chunk::<{ Ipv6Header::LEN }>());
    let header: Ipv6Header = transmute!(*head.ok_or(DropReason::IpHeader)?);
    if header.version() != 6 {
        return Err(DropReason::IpHeader);
    }
    if Ipv6Header::LEN + header.payload_len() > len {
        return Err(DropReason::PacketTooSmall);
    }
    Ok(header)
}

#[inline]
fn slot(source: Ipv6Addr, destination: Ipv6Addr) -> u32 {
    let word = |address: Ipv6Addr| u128::from_le_bytes(address.octets());
    let (source, destination) = (word(source), word(destination));
    let mixed = (source >> 64) as u64 ^ source as u64 ^ ((destination >> 64) as u64).rotate_left(7);
    mixed as u32 ^ (mixed >> 32) as u32
}

/// What a chain that cannot be walked to its end means.
fn chain_fault(error: Malformed, before: &Ipv6Chain) -> Fault {
    match error {
        Malformed::ChainTooLong => Fault::Tell { code: parameter_problem::CHAIN_TOO_LONG, pointer: before.offset() },
        _ => Fault::Silent(DropReason::IpHeader),
    }
}

/// RFC 8200 §4.2: what to do with options that are not known, which here are all but router alert.
fn check_options(options: Ipv6OptionIter<'_>, header: usize) -> Result<(), Fault> {
    for option in options {
        let option = match option {
            Ok(option) => option,
            Err(Malformed::TooManyOptions) => {
                return Err(Fault::Tell { code: parameter_problem::TOO_MANY_OPTIONS, pointer: header });
            }
            Err(_) => return Err(Fault::Silent(DropReason::IpHeader)),
        };
        if option.kind == Ipv6Option::ROUTER_ALERT {
            continue;
        }
        let (code, pointer) = (parameter_problem::OPTION, option.offset);
        match option.if_unknown() {
            UnknownOption::Skip => {}
            UnknownOption::Drop => return Err(Fault::Silent(DropReason::IpHeader)),
            UnknownOption::Report => return Err(Fault::TellGroup { code, pointer }),
            UnknownOption::ReportUnlessMulticast => return Err(Fault::Tell { code, pointer }),
        }
    }
    Ok(())
}

/// RFC 8200 §4.4: a type that is not known (all; type 0 too, RFC 5095) is skipped if no segments are left.
fn check_routing(routing: &RoutingHeader, header: usize) -> Result<(), Fault> {
    match routing.segments_left {
        0 => Ok(()),
        _ => Err(Fault::Tell { code: parameter_problem::HEADER_FIELD, pointer: header + RoutingHeader::TYPE_OFFSET }),
    }
}

/// Whether a fragment, whose header is at `at`, is fit to be kept. `rest` walks on behind it; `len` is the whole payload's.
fn check_fragment(
    mut rest: ExtensionIter<'_>,
    (at, fragment): (usize, FragmentHeader),
    len: usize,
) -> Result<(), Fault> {
    let before = at - Ipv6Header::LEN;
    let part = len.saturating_sub(before + FragmentHeader::LEN);
    let code = parameter_problem::HEADER_FIELD;
    if fragment.more_fragments() && !part.is_multiple_of(8) {
        // RFC 8200 §4.5: points at the payload length.
        return Err(Fault::Tell { code, pointer: 4 });
    }
    if before + usize::from(fragment.offset()) + part > usize::from(u16::MAX) {
        return Err(Fault::Tell { code, pointer: at + 2 });
    }
    if fragment.offset() != 0 {
        return Ok(());
    }
    // RFC 7112 §5: the first fragment has all headers.
    let incomplete = Fault::Tell { code: parameter_problem::INCOMPLETE_CHAIN, pointer: 0 };
    for header in &mut rest {
        match header {
            Ok(_) => {}
            Err(Malformed::Truncated) => return Err(incomplete),
            Err(error) => return Err(chain_fault(error, &rest.so_far())),
        }
    }
    let chain = rest.so_far();
    let need = match chain.protocol {
        Protocol::TCP => TcpHeader::LEN,
        Protocol::UDP => UdpHeader::LEN,
        Protocol::ICMPV6 => Icmpv6Header::LEN,
        Protocol::NO_NEXT_HEADER => 0,
        _ => 1,
    };
    if chain.len + need > len { Err(incomplete) } else { Ok(()) }
}

/// A fragment as reassembly takes it: the headers up to and with its own are in `options`.
fn take_fragment(mut inbound: Inbound, bytes: &[u8], (at, fragment): (usize, FragmentHeader)) -> Walked {
    let before = at - Ipv6Header::LEN;
    let end = before + FragmentHeader::LEN;
    inbound.protocol = fragment.next_header.0;
    inbound.packet.trim_front(end);
    inbound.options = bytes.get(..end).map(Box::from);
    let piece = Piece {
        ident: fragment.ident(),
        offset: fragment.offset(),
        more: fragment.more_fragments(),
        header_len: before,
    };
    Walked::Fragment(piece, Box::new(inbound))
}

/// Makes of the first fragment's headers and the whole payload the packet that was cut (RFC 8200 §4.5): without the fragment header, which
/// ends `options`.
fn join(mut whole: Inbound) -> Option<Inbound> {
    let IpHeader::V6(header) = whole.header else { return None };
    let mut options = whole.options.take()?.into_vec();
    // Who names the fragment header now names what follows it.
    let mut headers = ExtensionIter::new(header.next_header, &options);
    let pointer = loop {
        let pointer = headers.so_far().pointer;
        if matches!(headers.next()?.ok()?.kind, ExtensionKind::Fragment(header) if !header.is_atomic()) {
            break pointer;
        }
    };
    options.truncate(options.len().checked_sub(FragmentHeader::LEN)?);
    let mut fields = Ipv6Fields { traffic_class: whole.tos, ..header.fields() };
    if pointer == offset_of!(Ipv6Header, next_header) {
        fields.next_header = Protocol(whole.protocol);
    } else if let Some(field) = options.get_mut(pointer.checked_sub(Ipv6Header::LEN)?) {
        *field = whole.protocol;
    }
    fields.payload_len = u16::try_from(options.len() + whole.packet.len()).ok()?;
    if !options.is_empty() {
        // To be walked over again with what follows.
        let payload = core::mem::replace(&mut whole.packet, Packet::copy_from(&options));
        whole.packet.chain_packet(payload);
        whole.protocol = fields.next_header.0;
    }
    whole.header = IpHeader::V6(Ipv6Header::new(&fields));
    Some(whole)
}
