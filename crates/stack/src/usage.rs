//! What a host holds at the moment: what Linux tells in /proc/net/sockstat, and what an attack would like to make grow.

use crate::Host;

/// Numbers of what a host holds. Each is bounded by a setting, or by what the host's own program opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// TCP sockets of the program, connections that wait to be accepted, and connections that outlive their socket.
    pub tcp_sockets: usize,
    /// Half-open connections of listeners (see `tcp_max_syn_backlog`).
    pub tcp_half_open: usize,
    /// Connections in TIME-WAIT (see `tcp_max_tw_buckets`).
    pub tcp_time_wait: usize,
    /// Entries in the table of flows: connections of all three sorts.
    pub tcp_flows: usize,
    /// UDP sockets.
    pub udp_sockets: usize,
    /// Raw and ping sockets.
    pub raw_sockets: usize,
    /// Datagrams of which fragments are missing.
    pub fragment_datagrams: usize,
    /// Bytes that their fragments hold (see `ipfrag_high_thresh`).
    pub fragment_memory: usize,
    /// Neighbours (see `neigh_gc_thresh3`).
    pub neighbours: usize,
    /// Packets that wait for a neighbour's answer (see `neigh_unres_qlen`).
    pub neighbour_packets: usize,
    /// Path MTUs learnt.
    pub path_mtus: usize,
    /// Groups that are listened to, or of which it is still to be told that they are left.
    pub groups: usize,
    /// Timers that will run.
    pub timers: usize,
}

impl Host {
    /// What the host holds now. Counting takes time in proportion.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        self.net.tell_usage(&mut usage);
        self.tcp.tell_usage(&mut usage);
        usage.udp_sockets = self.udp.len();
        usage.raw_sockets = self.raw.len();
        usage
    }
}
