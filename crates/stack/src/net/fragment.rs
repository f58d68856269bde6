//! Cutting a datagram that is too long for the path into fragments (RFC 791 §3.2, RFC 8200 §4.5), without copying payload.

use wireway_packet::{Instant, Packet};

use super::Net;
use super::header::IpFields;
use super::output::Output;
use crate::Result;
use crate::counters::Counter;

impl Net {
    /// Sends `packet`, which begins behind the IP header and has a complete checksum, in fragments of at most `mtu` bytes. A fragment
    /// that a queue refuses makes the others useless: they are not sent.
    pub(super) fn fragment(
        &mut self,
        now: Instant,
        out: &mut Output,
        fields: &IpFields,
        mtu: usize,
        packet: Packet,
    ) -> Result<()> {
        // All but the last carry a multiple of eight bytes. No MTU is below 68.
        let size = (mtu.saturating_sub(fields.fragment_len()) / 8 * 8).max(8);
        let v6 = fields.is_v6();
        let mut rest = packet;
        let mut offset = 0;
        loop {
            let more = rest.len() > size;
            let tail = if more { Some(rest.split(size)) } else { None };
            let len = rest.len();
            fields.prepend_to_fragment(&mut rest, offset as u16, more);
            offset += len;
            self.counters.count(Counter::IpFragCreates.of_family(v6));
            if let Err(error) = self.output(now, out, rest) {
                self.counters.count(Counter::IpFragFails.of_family(v6));
                return Err(error);
            }
            match tail {
                Some(tail) => rest = tail,
                None => break,
            }
        }
        self.counters.count(Counter::IpFragOks.of_family(v6));
        Ok(())
    }
}
