//! Socket options and their defaults, typed; values as Linux's setsockopt gives them a meaning.

use core::net::Ipv4Addr;
use core::time::Duration;

use super::Domain;
use super::multicast::Membership;
use crate::InterfaceId;

/// One option to set on a socket. What a socket's kind does not know is `ENOPROTOOPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// SO_REUSEADDR
    ReuseAddress(bool),
    /// SO_REUSEPORT
    ReusePort(bool),
    /// SO_KEEPALIVE
    KeepAlive(bool),
    /// SO_BROADCAST
    Broadcast(bool),
    /// SO_LINGER; `Some(ZERO)` makes close a reset.
    Linger(Option<Duration>),
    /// SO_RCVBUF in bytes, as the program gave it (Linux doubles it; so does the stack, and clamps it). Turns growth off.
    ReceiveBuffer(usize),
    /// SO_SNDBUF in bytes, likewise.
    SendBuffer(usize),
    /// SO_RCVLOWAT in bytes.
    ReceiveLowWater(usize),
    /// SO_BINDTODEVICE
    BindToDevice(Option<InterfaceId>),
    /// SO_MARK, SO_PRIORITY: recorded.
    Priority(u32),
    /// IP_TTL, for IPv4 destinations; `None` is the host's default.
    Ttl(Option<u8>),
    /// IPV6_UNICAST_HOPS, for IPv6 destinations; `None` is the host's default.
    HopLimit(Option<u8>),
    /// IP_TOS, for IPv4 destinations.
    Tos(u8),
    /// IPV6_TCLASS, for IPv6 destinations.
    TrafficClass(u8),
    /// IP_MTU_DISCOVER: true sets DF always (IP_PMTUDISC_DO), false never (DONT).
    MtuDiscover(MtuDiscover),
    /// IPV6_V6ONLY
    V6Only(bool),
    /// IP_TRANSPARENT, as the gateway uses it: bind and send from any address, receive for any address and port.
    Transparent(bool),
    /// IP_RECVERR on datagram kinds: every ICMP error about what the socket sent over IPv4 becomes its pending error, soft ones and those of a
    /// socket that is not connected too, and stands in the queue that [`Host::recv_error`](crate::Host::recv_error) reads.
    ReceiveErrors(bool),
    /// IPV6_RECVERR: the same for what was sent over IPv6.
    ReceiveErrorsV6(bool),
    /// IPV6_DONTFRAG (RFC 3542 §11.2): what is too long for the path over IPv6 is EMSGSIZE instead of sent in fragments.
    DontFragment(bool),
    /// IP_HDRINCL, on raw IPv4 sockets: what is sent begins with its IP header.
    HeaderIncluded(bool),
    /// IPV6_CHECKSUM, on raw IPv6 sockets (RFC 3542 §3.1): where in the payload a checksum stands, at an even place; it is computed on sending and looked
    /// at on receiving. Not for ICMPv6, which always has its own.
    ChecksumAt(Option<u16>),
    /// ICMP_FILTER and ICMP6_FILTER (RFC 3542 §3.2), on raw ICMP sockets: a bit a type, the first type's the lowest of the first word; messages of
    /// types whose bit is set are not received. ICMP's types beyond 31 have none.
    IcmpFilter([u32; 8]),
    /// UDPLITE_SEND_CSCOV, in bytes with the 8 of the header; 0 is all of a datagram (RFC 3828 §3.1).
    SendCoverage(u16),
    /// UDPLITE_RECV_CSCOV: datagrams whose checksum covers less, and not all of them, are dropped.
    ReceiveCoverage(u16),
    /// IP_MULTICAST_IF, IPV6_MULTICAST_IF: by which interface to send to groups of a family. EADDRNOTAVAIL (IPv4), ENODEV (IPv6), EINVAL if
    /// the socket is bound to another.
    MulticastInterface(Domain, Option<InterfaceId>),
    /// IP_MULTICAST_IF, where it names an address: the source of what a socket sends to groups that is bound to none.
    MulticastSource(Option<Ipv4Addr>),
    /// IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS; with 0 it does not leave the host.
    MulticastHops(Domain, u8),
    /// IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP
    MulticastLoop(Domain, bool),
    /// IP_MULTICAST_ALL, IPV6_MULTICAST_ALL
    MulticastAll(Domain, bool),
    /// IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP, MCAST_JOIN_GROUP; with a source IP_ADD_SOURCE_MEMBERSHIP, MCAST_JOIN_SOURCE_GROUP. EINVAL if
    /// it is no group, or its filter is of the other mode; ENODEV; EADDRINUSE or, of a source, EADDRNOTAVAIL if it is there already; ENOBUFS.
    JoinGroup(Membership),
    /// IP_DROP_MEMBERSHIP and the others. EADDRNOTAVAIL if it was not joined; ENODEV; of a source also EINVAL.
    LeaveGroup(Membership),
    /// IP_BLOCK_SOURCE, MCAST_BLOCK_SOURCE: no longer receive of a source. EINVAL, ENODEV, EADDRNOTAVAIL, ENOBUFS.
    BlockSource(Membership),
    /// IP_UNBLOCK_SOURCE, MCAST_UNBLOCK_SOURCE
    UnblockSource(Membership),
    /// TCP: a new connection waits for [`Host::admit`](crate::Host::admit) or [`Host::refuse`](crate::Host::refuse) before the SYN is answered.
    HoldIncoming(bool),
    /// TCP_NODELAY
    NoDelay(bool),
    /// TCP_CORK
    Cork(bool),
    /// TCP_QUICKACK
    QuickAck(bool),
    /// TCP_KEEPIDLE
    KeepIdle(Duration),
    /// TCP_KEEPINTVL
    KeepInterval(Duration),
    /// TCP_KEEPCNT
    KeepCount(u8),
    /// TCP_USER_TIMEOUT; zero is the default behaviour (RFC 5482).
    UserTimeout(Duration),
    /// TCP_MAXSEG
    MaxSegment(u16),
    /// TCP_SYNCNT
    SynCount(u8),
    /// TCP_LINGER2: how long an orphan stays in FIN-WAIT-2.
    Linger2(Option<Duration>),
    /// TCP_DEFER_ACCEPT in seconds: 0 is off.
    DeferAccept(u32),
    /// TCP_WINDOW_CLAMP in bytes.
    WindowClamp(u32),
}

/// IP_MTU_DISCOVER (path-MTU discovery, RFC 1191).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MtuDiscover {
    /// IP_PMTUDISC_DONT: never set DF.
    Dont,
    /// IP_PMTUDISC_WANT: set DF; fragment locally what is larger than the path's MTU (Linux's default).
    #[default]
    Want,
    /// IP_PMTUDISC_DO: set DF; refuse larger datagrams with EMSGSIZE.
    Do,
    /// IP_PMTUDISC_PROBE: set DF; ignore the path's MTU.
    Probe,
}

/// All options of a socket, as they stand. TCP's are at their defaults on other kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SocketOptions {
    pub reuse_address: bool,
    pub reuse_port: bool,
    pub keep_alive: bool,
    pub broadcast: bool,
    pub linger: Option<Duration>,
    /// As SO_RCVBUF reads (doubled).
    pub receive_buffer: usize,
    /// As SO_SNDBUF reads (doubled).
    pub send_buffer: usize,
    pub receive_low_water: usize,
    pub bind_to_device: Option<InterfaceId>,
    pub priority: u32,
    pub ttl: Option<u8>,
    pub hop_limit: Option<u8>,
    pub tos: u8,
    pub traffic_class: u8,
    pub mtu_discover: MtuDiscover,
    pub v6_only: bool,
    pub transparent: bool,
    pub receive_errors: bool,
    pub receive_errors_v6: bool,
    pub dont_fragment: bool,
    pub hold_incoming: bool,
    pub no_delay: bool,
    pub cork: bool,
    pub quick_ack: bool,
    pub keep_idle: Duration,
    pub keep_interval: Duration,
    pub keep_count: u8,
    pub user_timeout: Duration,
    /// As the program set it; 0 if it did not.
    pub max_segment: u16,
    pub syn_count: u8,
    pub linger2: Option<Duration>,
    pub defer_accept: u32,
    pub window_clamp: u32,
}

/// The options that raw sockets have beside, as they stand; see [`SocketOption`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RawOptions {
    pub header_included: bool,
    pub checksum_at: Option<u16>,
    pub icmp_filter: [u32; 8],
}

impl SocketOptions {
    /// The hop count that packets to a destination of this family start with, if the program chose one.
    pub(crate) fn hops(&self, v6: bool) -> Option<u8> {
        if v6 { self.hop_limit } else { self.ttl }
    }

    /// Whether errors about what was sent over this family stand in the socket's queue.
    pub(crate) fn receives_errors(&self, v6: bool) -> bool {
        if v6 { self.receive_errors_v6 } else { self.receive_errors }
    }

    /// The type of service, or traffic class, of packets to a destination of this family.
    pub(crate) fn class(&self, v6: bool) -> u8 {
        if v6 { self.traffic_class } else { self.tos }
    }
}

/// What TCP_INFO tells (Linux's `struct tcp_info`), in this stack's types. Durations are exact, not jiffies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TcpInfo {
    /// Linux's state number: 1 ESTABLISHED … 11 CLOSING.
    pub state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    pub timestamps: bool,
    pub sack: bool,
    pub window_scaling: bool,
    pub send_window_scale: u8,
    pub receive_window_scale: u8,
    pub rto: Duration,
    pub ack_timeout: Duration,
    pub send_mss: u32,
    pub receive_mss: u32,
    /// Segments in flight.
    pub unacked: u32,
    pub retransmitted: u32,
    pub last_data_sent: Duration,
    pub last_data_received: Duration,
    pub last_ack_received: Duration,
    pub path_mtu: u32,
    pub rtt: Duration,
    pub rtt_variance: Duration,
    pub min_rtt: Duration,
    /// In segments.
    pub slow_start_threshold: u32,
    /// In segments.
    pub congestion_window: u32,
    pub advertised_mss: u32,
    pub receive_space: u32,
    pub total_retransmissions: u32,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub bytes_retransmitted: u64,
    pub segments_out: u32,
    pub segments_in: u32,
    pub data_segments_out: u32,
    pub data_segments_in: u32,
    pub not_sent_bytes: u32,
    /// The peer's window, scaled.
    pub send_window: u32,
    pub receive_window: u32,
}

/// The options of a new datagram socket.
pub(crate) fn datagram_defaults(settings: &crate::Settings) -> SocketOptions {
    SocketOptions {
        reuse_address: false,
        reuse_port: false,
        keep_alive: false,
        broadcast: false,
        linger: None,
        receive_buffer: settings.rmem_default,
        send_buffer: settings.wmem_default,
        receive_low_water: 1,
        bind_to_device: None,
        priority: 0,
        ttl: None,
        hop_limit: None,
        tos: 0,
        traffic_class: 0,
        mtu_discover: MtuDiscover::default(),
        v6_only: false,
        transparent: false,
        receive_errors: false,
        receive_errors_v6: false,
        dont_fragment: false,
        hold_incoming: false,
        no_delay: false,
        cork: false,
        quick_ack: true,
        keep_idle: Duration::from_secs(7200),
        keep_interval: Duration::from_secs(75),
        keep_count: 9,
        user_timeout: Duration::ZERO,
        max_segment: 0,
        syn_count: 6,
        linger2: Some(Duration::from_secs(60)),
        defer_accept: 0,
        window_clamp: 0,
    }
}
