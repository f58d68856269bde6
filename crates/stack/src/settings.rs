//! Every tunable of a host, one typed field each, named as Linux's sysctl.

use core::time::Duration;

/// The tunables of a host with their defaults, which are Linux's where Linux has them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// net.ipv4.ip_default_ttl
    pub ip_default_ttl: u8,
    /// net.ipv6.conf.all.hop_limit
    pub ipv6_hop_limit: u8,
    /// net.ipv6.conf.all.dad_transmits: probes for an IPv6 address before it is used (RFC 4862 §5.4), a second apart; 0 for a link where nobody else can have
    /// it.
    pub ipv6_dad_transmits: u8,
    /// net.ipv6.conf.all.stable_secret: what stable interface identifiers are made with (RFC 7217); none: of the host's seed.
    pub ipv6_stable_secret: Option<[u8; 16]>,
    /// net.ipv6.conf.all.use_tempaddr: 0 none, 1 make temporary addresses (RFC 8981), 2 prefer them.
    pub ipv6_use_tempaddr: u8,
    /// net.ipv6.conf.all.temp_prefered_lft: how long a temporary address is preferred.
    pub ipv6_temp_preferred_lifetime: Duration,
    /// net.ipv6.conf.all.temp_valid_lft: how long it is valid.
    pub ipv6_temp_valid_lifetime: Duration,
    /// net.ipv4.conf.all.accept_redirects (RFC 1122 §3.2.2.2)
    pub ip_accept_redirects: bool,
    /// net.ipv6.conf.all.accept_redirects (RFC 4861 §8)
    pub ipv6_accept_redirects: bool,
    /// net.ipv4.ip_local_port_range: ports that are picked for sockets that asked for none, ends included.
    pub ip_local_port_range: (u16, u16),
    /// net.ipv4.ip_nonlocal_bind: bind to addresses that no interface has.
    pub ip_nonlocal_bind: bool,
    /// net.ipv4.ipfrag_high_thresh: bytes that fragments waiting for others may hold.
    pub ipfrag_high_thresh: usize,
    /// net.ipv4.ipfrag_time: how long fragments wait for the others.
    pub ipfrag_time: Duration,
    /// net.ipv6.ip6frag_time: the same of IPv6 (RFC 8200 §4.5); [`ipfrag_high_thresh`](Self::ipfrag_high_thresh) is for both.
    pub ip6frag_time: Duration,
    /// net.ipv4.route.min_pmtu: the least path MTU that is believed, in bytes.
    pub ip_rt_min_pmtu: u16,
    /// net.ipv4.route.mtu_expires: how long a learnt path MTU is used.
    pub ip_rt_mtu_expires: Duration,
    /// net.ipv4.icmp_echo_ignore_all
    pub icmp_echo_ignore_all: bool,
    /// net.ipv4.icmp_echo_ignore_broadcasts
    pub icmp_echo_ignore_broadcasts: bool,
    /// net.ipv6.icmp.echo_ignore_all
    pub icmpv6_echo_ignore_all: bool,
    /// net.ipv6.icmp.echo_ignore_multicast
    pub icmpv6_echo_ignore_multicast: bool,
    /// net.ipv4.icmp_ratelimit, for ICMPv6 too: the least time between two ICMP messages to one destination; zero turns the limit off.
    pub icmp_ratelimit: Duration,
    /// net.ipv4.icmp_ratemask: the ICMP types that are limited, as bits.
    pub icmp_ratemask: u32,
    /// net.ipv6.icmp.ratemask: the ICMPv6 errors that are limited, as bits.
    pub icmpv6_ratemask: u128,
    /// net.ipv4.icmp_msgs_per_sec: ICMP messages a second to all destinations.
    pub icmp_msgs_per_sec: u32,
    /// net.ipv4.icmp_msgs_burst
    pub icmp_msgs_burst: u32,
    /// net.ipv4.igmp_max_memberships: groups of IPv4 that a socket may join.
    pub igmp_max_memberships: usize,
    /// net.ipv4.igmp_max_msf: sources in a socket's filter of a group.
    pub igmp_max_msf: usize,
    /// net.ipv6.mld_max_msf: the same of IPv6.
    pub mld_max_msf: usize,
    /// net.ipv4.neigh.default.base_reachable_time: how long a confirmed neighbour is believed reachable, on average.
    pub neigh_base_reachable_time: Duration,
    /// net.ipv4.neigh.default.delay_first_probe_time
    pub neigh_delay_first_probe_time: Duration,
    /// net.ipv4.neigh.default.retrans_time: time between two solicitations.
    pub neigh_retrans_time: Duration,
    /// net.ipv4.neigh.default.mcast_solicit: broadcast solicitations before a neighbour is given up.
    pub neigh_mcast_solicit: u8,
    /// net.ipv4.neigh.default.ucast_solicit: unicast ones, to check a known neighbour.
    pub neigh_ucast_solicit: u8,
    /// net.ipv4.neigh.default.gc_stale_time: how long an unused neighbour is kept.
    pub neigh_gc_stale_time: Duration,
    /// net.ipv4.neigh.default.locktime: how long an answer stands against another one.
    pub neigh_locktime: Duration,
    /// net.ipv4.neigh.default.unres_qlen: packets that wait for one neighbour.
    pub neigh_unres_qlen: usize,
    /// net.ipv4.neigh.default.gc_thresh3: neighbours at most.
    pub neigh_gc_thresh3: usize,
    /// How long an address is probed at most before it is used. RFC 5227 §2.1.1 asks for seven seconds; the times between its probes keep
    /// their proportions (no sysctl: a DHCP client's business on Linux, where systemd-networkd takes 200 ms).
    pub address_probe_time: Duration,
    /// net.ipv4.conf.all.arp_notify: announce addresses when an interface comes up, even without probing.
    pub arp_notify: bool,
    /// net.core.netdev_max_backlog: packets that wait on `lo`.
    pub netdev_max_backlog: usize,
    /// net.core.netdev_budget: packets of `lo` that one poll handles.
    pub netdev_budget: usize,
    /// net.core.somaxconn: connections that wait to be accepted, at most.
    pub somaxconn: u32,
    /// net.ipv4.tcp_rmem: the receive buffer at least, at first and at most, in bytes as SO_RCVBUF reads; half is window.
    pub tcp_rmem: (usize, usize, usize),
    /// net.ipv4.tcp_wmem: the send buffer likewise.
    pub tcp_wmem: (usize, usize, usize),
    /// net.ipv4.tcp_timestamps
    pub tcp_timestamps: bool,
    /// net.ipv4.tcp_sack
    pub tcp_sack: bool,
    /// net.ipv4.tcp_window_scaling
    pub tcp_window_scaling: bool,
    /// net.ipv4.tcp_syn_retries
    pub tcp_syn_retries: u8,
    /// net.ipv4.tcp_synack_retries
    pub tcp_synack_retries: u8,
    /// net.ipv4.tcp_retries2: how long a connection lives without an answer, as a number of doublings of 200 ms.
    pub tcp_retries2: u8,
    /// net.ipv4.tcp_syncookies: answer SYNs with cookies when a listener's queue is full.
    pub tcp_syncookies: bool,
    /// net.ipv4.tcp_max_syn_backlog: half-open connections of one listener, at most; and held ones of the host, accepted or not.
    pub tcp_max_syn_backlog: u32,
    /// net.ipv4.tcp_fin_timeout: how long a closed socket waits for its peer's FIN.
    pub tcp_fin_timeout: Duration,
    /// net.ipv4.tcp_keepalive_time
    pub tcp_keepalive_time: Duration,
    /// net.ipv4.tcp_keepalive_intvl
    pub tcp_keepalive_intvl: Duration,
    /// net.ipv4.tcp_keepalive_probes
    pub tcp_keepalive_probes: u8,
    /// net.ipv4.tcp_max_tw_buckets: connections in TIME-WAIT, at most.
    pub tcp_max_tw_buckets: usize,
    /// net.ipv4.tcp_max_orphans: connections that were closed but have still to send or to hear something, at most; one more is
    /// reset. (Linux's default goes by the memory; this is that of a machine with 8 GiB.)
    pub tcp_max_orphans: u32,
    /// net.ipv4.tcp_challenge_ack_limit: challenge acknowledgements (RFC 5961) a second, of the whole host.
    pub tcp_challenge_ack_limit: u32,
    /// net.core.rmem_default, in bytes as getsockopt(SO_RCVBUF) reads.
    pub rmem_default: usize,
    /// net.core.rmem_max: the most that setsockopt(SO_RCVBUF) takes, before doubling.
    pub rmem_max: usize,
    /// net.core.wmem_default
    pub wmem_default: usize,
    /// net.core.wmem_max
    pub wmem_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ip_default_ttl: 64,
            ipv6_hop_limit: 64,
            ipv6_dad_transmits: 1,
            ipv6_stable_secret: None,
            ipv6_use_tempaddr: 0,
            ipv6_temp_preferred_lifetime: Duration::from_secs(86_400),
            ipv6_temp_valid_lifetime: Duration::from_secs(2 * 86_400),
            ip_accept_redirects: true,
            ipv6_accept_redirects: true,
            ip_local_port_range: (32_768, 60_999),
            ip_nonlocal_bind: false,
            ipfrag_high_thresh: 4 << 20,
            ipfrag_time: Duration::from_secs(30),
            ip6frag_time: Duration::from_secs(60),
            ip_rt_min_pmtu: 552,
            ip_rt_mtu_expires: Duration::from_secs(600),
            icmp_echo_ignore_all: false,
            icmp_echo_ignore_broadcasts: true,
            icmpv6_echo_ignore_all: false,
            icmpv6_echo_ignore_multicast: false,
            icmp_ratelimit: Duration::from_secs(1),
            icmp_ratemask: 6168,
            // All but "packet too big".
            icmpv6_ratemask: !(1 << 2),
            icmp_msgs_per_sec: 1000,
            icmp_msgs_burst: 50,
            igmp_max_memberships: 20,
            igmp_max_msf: 10,
            mld_max_msf: 64,
            neigh_base_reachable_time: Duration::from_secs(30),
            neigh_delay_first_probe_time: Duration::from_secs(5),
            neigh_retrans_time: Duration::from_secs(1),
            neigh_mcast_solicit: 3,
            neigh_ucast_solicit: 3,
            neigh_gc_stale_time: Duration::from_secs(60),
            neigh_locktime: Duration::from_secs(1),
            neigh_unres_qlen: 101,
            neigh_gc_thresh3: 1024,
            address_probe_time: Duration::from_secs(7),
            arp_notify: false,
            netdev_max_backlog: 1000,
            netdev_budget: 300,
            somaxconn: 4096,
            tcp_rmem: (4096, 131_072, 6_291_456),
            tcp_wmem: (4096, 16_384, 4_194_304),
            tcp_timestamps: true,
            tcp_sack: true,
            tcp_window_scaling: true,
            tcp_syn_retries: 6,
            tcp_synack_retries: 5,
            tcp_retries2: 15,
            tcp_syncookies: true,
            tcp_max_syn_backlog: 1024,
            tcp_fin_timeout: Duration::from_secs(60),
            tcp_keepalive_time: Duration::from_secs(7200),
            tcp_keepalive_intvl: Duration::from_secs(75),
            tcp_keepalive_probes: 9,
            tcp_max_tw_buckets: 131_072,
            tcp_max_orphans: 32_768,
            tcp_challenge_ack_limit: 1000,
            rmem_default: 212_992,
            rmem_max: 212_992,
            wmem_default: 212_992,
            wmem_max: 212_992,
        }
    }
}
