//! TCP_INFO.

use core::time::Duration;

use wireway_packet::Instant;

use super::connection::Connection;
use super::{Socket, Tcp};
use crate::{Result, SocketId, TcpInfo};

/// Linux's number of LISTEN and CLOSE.
const LISTEN: u8 = 10;
const CLOSE: u8 = 7;

impl Tcp {
    pub fn info(&self, now: Instant, id: SocketId) -> Result<TcpInfo> {
        Ok(match self.socket_ref(id)? {
            Socket::Connection(connection) => connection.info(now),
            Socket::Listener(listener) => TcpInfo {
                state: LISTEN,
                // As Linux: the length of the accept queue, and its limit.
                unacked: listener.queue.len() as u32,
                not_sent_bytes: 0,
                ..TcpInfo::default()
            },
            _ => TcpInfo { state: CLOSE, ..TcpInfo::default() },
        })
    }
}

impl Connection {
    fn info(&self, now: Instant) -> TcpInfo {
        let mss = self.send_mss();
        let (window, threshold) = self.congestion_in_segments();
        TcpInfo {
            state: self.state.number(),
            retransmits: self.retries,
            probes: self.probes.max(self.keepalive.probes),
            backoff: self.rtt.backoff,
            timestamps: self.timestamps,
            sack: self.sack,
            window_scaling: self.window_scaling,
            send_window_scale: self.snd_shift,
            receive_window_scale: self.rcv_shift,
            rto: self.rtt.timeout(),
            ack_timeout: super::ack::DELAY,
            send_mss: mss,
            receive_mss: self.ack.peer_segment,
            unacked: self.snd_max.distance_from(self.snd_una).div_ceil(mss),
            retransmitted: self.snd_max.distance_from(self.snd_nxt).div_ceil(mss),
            last_data_sent: now.since(self.last_sent),
            last_data_received: now.since(self.last_received),
            last_ack_received: now.since(self.last_ack_received),
            path_mtu: u32::from(self.path_mtu),
            rtt: self.rtt.smoothed().unwrap_or(Duration::ZERO),
            rtt_variance: self.rtt.variance(),
            min_rtt: self.rtt.min(),
            slow_start_threshold: threshold,
            congestion_window: window,
            advertised_mss: u32::from(self.advertised_mss),
            receive_space: self.receive_capacity(),
            total_retransmissions: self.stats.retransmissions,
            bytes_acked: self.stats.bytes_acked,
            bytes_received: self.stats.bytes_received,
            bytes_sent: self.stats.bytes_sent,
            bytes_retransmitted: self.stats.bytes_retransmitted,
            segments_out: self.stats.segments_out,
            segments_in: self.stats.segments_in,
            data_segments_out: self.stats.data_segments_out,
            data_segments_in: self.stats.data_segments_in,
            not_sent_bytes: self.unsent(),
            send_window: self.snd_wnd,
            receive_window: self.receive_window(),
        }
    }
}
