//! Linux's `struct tcp_info` (linux/tcp.h), up to `tcpi_snd_wnd`.

use std::time::Duration;

use wireway_stack::TcpInfo;

/// TCPI_OPT_TIMESTAMPS, _SACK, _WSCALE
const OPTIONS: [u8; 3] = [1, 2, 4];

/// Lays the structure out.
pub(crate) fn emit(info: &TcpInfo) -> Vec<u8> {
    let mut raw = Vec::with_capacity(232);
    let flags = [info.timestamps, info.sack, info.window_scaling];
    let options = flags.iter().zip(OPTIONS).map(|(on, bit)| if *on { bit } else { 0 }).sum();
    let scales = (info.send_window_scale & 0xf) | (info.receive_window_scale << 4);
    raw.extend_from_slice(&[info.state, 0, info.retransmits, info.probes, info.backoff, options, scales, 0]);
    let micros = |d: Duration| d.as_micros().min(u32::MAX as u128) as u32;
    let millis = |d: Duration| d.as_millis().min(u32::MAX as u128) as u32;
    let words = [
        micros(info.rto),
        micros(info.ack_timeout),
        info.send_mss,
        info.receive_mss,
        info.unacked,
        0, // sacked
        0, // lost
        info.retransmitted,
        0, // fackets
        millis(info.last_data_sent),
        0, // last_ack_sent is not remembered
        millis(info.last_data_received),
        millis(info.last_ack_received),
        info.path_mtu,
        0, // rcv_ssthresh
        micros(info.rtt),
        micros(info.rtt_variance),
        info.slow_start_threshold,
        info.congestion_window,
        info.advertised_mss,
        0, // reordering
        0, // rcv_rtt
        info.receive_space,
        info.total_retransmissions,
    ];
    words.iter().for_each(|w| raw.extend_from_slice(&w.to_ne_bytes()));
    // pacing_rate, max_pacing_rate: no limit.
    for long in [u64::MAX, u64::MAX, info.bytes_acked, info.bytes_received] {
        raw.extend_from_slice(&long.to_ne_bytes());
    }
    let words = [
        info.segments_out,
        info.segments_in,
        info.not_sent_bytes,
        micros(info.min_rtt),
        info.data_segments_in,
        info.data_segments_out,
    ];
    words.iter().for_each(|w| raw.extend_from_slice(&w.to_ne_bytes()));
    // delivery_rate, busy_time, rwnd_limited, sndbuf_limited; delivered, delivered_ce
    raw.extend_from_slice(&[0; 4 * 8 + 2 * 4]);
    for long in [info.bytes_sent, info.bytes_retransmitted] {
        raw.extend_from_slice(&long.to_ne_bytes());
    }
    // dsack_dups, reord_seen, rcv_ooopack
    raw.extend_from_slice(&[0; 3 * 4]);
    raw.extend_from_slice(&info.send_window.to_ne_bytes());
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_linux_has_them() {
        let info = TcpInfo {
            state: 1,
            timestamps: true,
            window_scaling: true,
            send_window_scale: 7,
            receive_window_scale: 9,
            rtt: Duration::from_micros(1234),
            bytes_acked: 1 << 40,
            bytes_sent: 77,
            send_window: 65_000,
            ..TcpInfo::default()
        };
        let raw = emit(&info);
        let word = |at: usize| u32::from_ne_bytes(raw[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(raw[at..at + 8].try_into().unwrap());
        // Offsets as a C compiler gives them for linux/tcp.h.
        assert_eq!((raw[0], raw[5], raw[6]), (1, 5, 0x97));
        assert_eq!(word(68), 1234);
        assert_eq!(long(120), 1 << 40);
        assert_eq!(long(200), 77);
        assert_eq!(word(228), 65_000);
        assert_eq!(raw.len(), 232);
    }
}
