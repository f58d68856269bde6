//! Cutting a datagram that is too long for the path into fragments (RFC 791 §3.2), without copying payload.

use wireway_packet::{Instant, Packet};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{Ipv4Fields, Ipv4Header};

use super::Net;
use super::ipv4::Output;
use crate::Result;
use crate::counters::Counter;

impl Net {
    /// Sends `packet`, which begins behind the IP header and has a complete checksum, in fragments of at most `mtu` bytes. A fragment
    /// that a queue refuses makes the others useless: they are not sent.
    pub(super) fn fragment(
        &mut self,
        now: Instant,
        out: &mut Output,
        fields: &Ipv4Fields,
        mtu: usize,
        packet: Packet,
    ) -> Result<()> {
        // All but the last carry a multiple of eight bytes. No MTU is below 68.
        let size = (mtu.saturating_sub(Ipv4Header::LEN) / 8 * 8).max(8);
        let mut rest = packet;
        let mut offset = 0;
        loop {
            let more = rest.len() > size;
            let tail = if more { Some(rest.split(size)) } else { None };
            let fields = Ipv4Fields {
                payload_len: rest.len() as u16,
                more_fragments: more,
                fragment_offset: offset as u16,
                ..*fields
            };
            offset += rest.len();
            let header = Ipv4Header::new(&fields, &[]);
            rest.prepend(Ipv4Header::LEN).copy_from_slice(header.as_bytes());
            self.counters.count(Counter::IpFragCreates);
            if let Err(error) = self.output(now, out, rest) {
                self.counters.count(Counter::IpFragFails);
                return Err(error);
            }
            match tail {
                Some(tail) => rest = tail,
                None => break,
            }
        }
        self.counters.count(Counter::IpFragOks);
        Ok(())
    }
}
