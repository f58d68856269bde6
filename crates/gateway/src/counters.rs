//! What a gateway counts.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a gateway, shared with whoever shows them. Each is a number of occurrences since the start, bytes where
        /// its name says so.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Cell<u64>,)* }

        impl Counters {
            /// Every counter with its name, in order.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Connections of the program that reached their destination.
    tcp_relayed,
    /// Connections from the machine to published ports that reached the program.
    tcp_published,
    /// Connections that the destination refused by reset.
    tcp_refused,
    /// Connections whose destination cannot be reached.
    tcp_unreachable,
    /// Connections that nobody answered.
    tcp_timed_out,
    /// Connections dropped for want of descriptors or memory; the program tries again.
    tcp_exhausted,
    /// Established connections that ended by reset, whichever side it came from.
    tcp_reset,
    /// Bytes from the program.
    tcp_bytes_out,
    /// Bytes to the program.
    tcp_bytes_in,
    /// Datagrams from the program.
    udp_datagrams_out,
    /// Datagrams to the program.
    udp_datagrams_in,
    /// Datagrams answered with an ICMP error.
    udp_refused,
    /// Datagrams dropped: the machine's or the host's queue was full.
    udp_dropped,
    /// Datagrams dropped: broadcast and multicast are not relayed.
    udp_broadcast,
    /// Flows that ended early so that new ones could be.
    udp_flows_evicted,
    /// Echo requests from the program.
    icmp_echo_out,
    /// Echo replies to the program.
    icmp_echo_in,
    /// Echo requests refused: the machine allows neither a ping nor a raw socket.
    icmp_prohibited,
    /// Echo requests that could not be sent.
    icmp_unreachable,
    /// ICMP messages other than echo requests: not relayed.
    icmp_ignored,
    /// DNS queries of the program.
    dns_queries,
    /// DNS answers to the program.
    dns_answers,
    /// DNS queries that no resolver answered.
    dns_failed,
    /// DNS messages that are none, or answers that match no query.
    dns_malformed,
    /// DNS queries dropped: too many were outstanding.
    dns_dropped,
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get().wrapping_add(n));
}

/// Adds one to a counter.
pub(crate) fn count(counter: &Cell<u64>) {
    add(counter, 1);
}
