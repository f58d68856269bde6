//! Writing TCP headers in front of packets.

use core::net::IpAddr;

use wireway_packet::software::TCP_CHECKSUM_OFFSET;
use wireway_packet::{Checksum, Packet};
use wireway_wire::tcp_options::{TIMESTAMPS_LEN, emit_timestamps};
use wireway_wire::zerocopy::{FromBytes, IntoBytes};
use wireway_wire::{Protocol, SackBlocks, SeqNumber, Sum, TcpFields, TcpFlags, TcpHeader, TcpOptions};

use super::flow::{Flow, mapped};

/// What goes into a header.
pub(crate) struct Header<'a> {
    pub flow: &'a Flow,
    pub seq: SeqNumber,
    pub ack: SeqNumber,
    pub flags: TcpFlags,
    pub window: u16,
    pub timestamps: Option<(u32, u32)>,
    pub sack: Option<SackBlocks>,
}

/// The sum of a flow's pseudo header (RFC 9293 §3.1) without the length.
pub(crate) fn pseudo(flow: &Flow) -> Sum {
    match (&flow.local.address, &flow.remote.address) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => Sum::pseudo_v4(*local, *remote, Protocol::TCP, 0),
        (IpAddr::V6(local), IpAddr::V6(remote)) => Sum::pseudo_v6(*local, *remote, Protocol::TCP, 0),
        (local, remote) => Sum::pseudo_v6(mapped(local), mapped(remote), Protocol::TCP, 0),
    }
}

/// Puts `header` in front of `packet`; the checksum is left to whoever transmits it, with `pseudo`, the sum of the pseudo header
/// without the length, as its start. Returns the header's length.
#[inline(always)]
pub(crate) fn write_header(packet: &mut Packet, header: &Header<'_>, pseudo: Sum) -> usize {
    let Some(sack_blocks) = header.sack else {
        return match header.timestamps {
            Some((value, echo)) => {
                let bytes = prepend(packet, header, pseudo, TIMESTAMPS_LEN);
                if let Some((_, options)) = bytes.split_last_chunk_mut::<TIMESTAMPS_LEN>() {
                    emit_timestamps(options, value, echo);
                }
                TcpHeader::LEN + TIMESTAMPS_LEN
            }
            None => {
                prepend(packet, header, pseudo, 0);
                TcpHeader::LEN
            }
        };
    };
    let options = TcpOptions { timestamps: header.timestamps, sack_blocks, ..TcpOptions::default() };
    write_header_with(packet, header, &options, pseudo)
}

/// As [`write_header`], with any options.
#[inline(never)]
pub(crate) fn write_header_with(packet: &mut Packet, header: &Header<'_>, options: &TcpOptions, pseudo: Sum) -> usize {
    let len = options.len();
    let bytes = prepend(packet, header, pseudo, len);
    if let Some(place) = bytes.get_mut(TcpHeader::LEN..) {
        options.emit(place);
    }
    TcpHeader::LEN + len
}

#[inline(always)]
fn prepend<'p>(packet: &'p mut Packet, header: &Header<'_>, pseudo: Sum, options_len: usize) -> &'p mut [u8] {
    let len = TcpHeader::LEN + options_len;
    let total = packet.len() + len;
    let fields = TcpFields {
        src_port: header.flow.local.port,
        dst_port: header.flow.remote.port,
        seq: header.seq,
        ack: if header.flags.contains(TcpFlags::ACK) { header.ack } else { SeqNumber(0) },
        flags: header.flags,
        window: header.window,
        urgent: 0,
    };
    let mut sum = pseudo;
    sum.add_u16(total as u16);
    let checksum = Checksum::Partial { start: 0, offset: TCP_CHECKSUM_OFFSET };
    let bytes = packet.prepend_with(len, checksum);
    if let Ok((fixed, _)) = TcpHeader::mut_from_prefix(bytes) {
        *fixed = TcpHeader::new(&fields, options_len);
        fixed.checksum.set(sum.fold());
    }
    bytes
}

/// The first bytes of a SYN that was received, as an ICMP error quotes it.
pub(crate) fn quoted_syn(flow: &Flow, irs: SeqNumber) -> Packet {
    let fields = TcpFields {
        src_port: flow.remote.port,
        dst_port: flow.local.port,
        seq: irs,
        ack: SeqNumber(0),
        flags: TcpFlags::SYN,
        window: 0,
        urgent: 0,
    };
    Packet::copy_from(TcpHeader::new(&fields, 0).as_bytes())
}
