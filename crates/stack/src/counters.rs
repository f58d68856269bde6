//! What a host counts: events by the names of Linux's SNMP, IpExt and TcpExt counters (as `nstat` prints them), and every
//! dropped packet once, under one reason of one enum (Linux's `SKB_DROP_REASON_…`, where there is one).

use core::ops::{Index, IndexMut};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $text] $variant,)* }

        impl $name {
            /// All, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name as Linux prints it.
            pub const fn name(self) -> &'static str { match self { $($name::$variant => $text,)* } }
        }
    };
}

names! {
    /// What is counted besides drops. Some of these count a drop too, as Linux's do: the sum of drops is that of
    /// [`DropReason`] alone.
    Counter {
        IpInReceives = "IpInReceives",
        IpInHdrErrors = "IpInHdrErrors",
        IpInAddrErrors = "IpInAddrErrors",
        IpInUnknownProtos = "IpInUnknownProtos",
        IpInDiscards = "IpInDiscards",
        IpInDelivers = "IpInDelivers",
        IpOutRequests = "IpOutRequests",
        IpOutDiscards = "IpOutDiscards",
        IpOutNoRoutes = "IpOutNoRoutes",
        IpReasmTimeout = "IpReasmTimeout",
        IpReasmReqds = "IpReasmReqds",
        IpReasmOks = "IpReasmOKs",
        IpReasmFails = "IpReasmFails",
        IpFragOks = "IpFragOKs",
        IpFragFails = "IpFragFails",
        IpFragCreates = "IpFragCreates",
        IpExtInTruncatedPkts = "IpExtInTruncatedPkts",
        IpExtInMcastPkts = "IpExtInMcastPkts",
        IpExtOutMcastPkts = "IpExtOutMcastPkts",
        IpExtInBcastPkts = "IpExtInBcastPkts",
        IpExtOutBcastPkts = "IpExtOutBcastPkts",
        IpExtInOctets = "IpExtInOctets",
        IpExtOutOctets = "IpExtOutOctets",
        IpExtInCsumErrors = "IpExtInCsumErrors",
        IpExtInNoEctPkts = "IpExtInNoECTPkts",
        IpExtInEct1Pkts = "IpExtInECT1Pkts",
        IpExtInEct0Pkts = "IpExtInECT0Pkts",
        IpExtInCePkts = "IpExtInCEPkts",
        IpExtReasmOverlaps = "IpExtReasmOverlaps",
        IcmpInMsgs = "IcmpInMsgs",
        IcmpInErrors = "IcmpInErrors",
        IcmpInCsumErrors = "IcmpInCsumErrors",
        IcmpInDestUnreachs = "IcmpInDestUnreachs",
        IcmpInTimeExcds = "IcmpInTimeExcds",
        IcmpInParmProbs = "IcmpInParmProbs",
        IcmpInSrcQuenchs = "IcmpInSrcQuenchs",
        IcmpInRedirects = "IcmpInRedirects",
        IcmpInEchos = "IcmpInEchos",
        IcmpInEchoReps = "IcmpInEchoReps",
        IcmpOutMsgs = "IcmpOutMsgs",
        IcmpOutErrors = "IcmpOutErrors",
        IcmpOutRateLimitGlobal = "IcmpOutRateLimitGlobal",
        IcmpOutRateLimitHost = "IcmpOutRateLimitHost",
        IcmpOutDestUnreachs = "IcmpOutDestUnreachs",
        IcmpOutTimeExcds = "IcmpOutTimeExcds",
        IcmpOutParmProbs = "IcmpOutParmProbs",
        IcmpOutEchos = "IcmpOutEchos",
        IcmpOutEchoReps = "IcmpOutEchoReps",
        IgmpInQueries = "IgmpInQueries",
        IgmpInReports = "IgmpInReports",
        IgmpInErrors = "IgmpInErrors",
        IgmpOutReports = "IgmpOutReports",
        UdpInDatagrams = "UdpInDatagrams",
        UdpNoPorts = "UdpNoPorts",
        UdpInErrors = "UdpInErrors",
        UdpOutDatagrams = "UdpOutDatagrams",
        UdpRcvbufErrors = "UdpRcvbufErrors",
        UdpSndbufErrors = "UdpSndbufErrors",
        UdpInCsumErrors = "UdpInCsumErrors",
        UdpIgnoredMulti = "UdpIgnoredMulti",
        ArpInRequests = "ArpInRequests",
        ArpInReplies = "ArpInReplies",
        ArpOutRequests = "ArpOutRequests",
        ArpOutReplies = "ArpOutReplies",
        ArpConflicts = "ArpConflicts",
        NdConflicts = "NdConflicts",
        TcpActiveOpens = "TcpActiveOpens",
        TcpPassiveOpens = "TcpPassiveOpens",
        TcpAttemptFails = "TcpAttemptFails",
        TcpEstabResets = "TcpEstabResets",
        TcpInSegs = "TcpInSegs",
        TcpOutSegs = "TcpOutSegs",
        TcpRetransSegs = "TcpRetransSegs",
        TcpInErrs = "TcpInErrs",
        TcpOutRsts = "TcpOutRsts",
        TcpInCsumErrors = "TcpInCsumErrors",
        TcpExtDelayedAcks = "TcpExtDelayedACKs",
        TcpExtEmbryonicRsts = "TcpExtEmbryonicRsts",
        TcpExtListenOverflows = "TcpExtListenOverflows",
        TcpExtListenDrops = "TcpExtListenDrops",
        TcpExtTcpReqQFullDrop = "TcpExtTCPReqQFullDrop",
        TcpExtTcpReqQFullDoCookies = "TcpExtTCPReqQFullDoCookies",
        TcpExtSyncookiesSent = "TcpExtSyncookiesSent",
        TcpExtSyncookiesRecv = "TcpExtSyncookiesRecv",
        TcpExtSyncookiesFailed = "TcpExtSyncookiesFailed",
        TcpExtTcpDeferAcceptDrop = "TcpExtTCPDeferAcceptDrop",
        TcpExtTcpSynRetrans = "TcpExtTCPSynRetrans",
        TcpExtTcpTimeouts = "TcpExtTCPTimeouts",
        TcpExtTcpRenoRecovery = "TcpExtTCPRenoRecovery",
        TcpExtTcpFastRetrans = "TcpExtTCPFastRetrans",
        TcpExtTcpPartialAck = "TcpExtTCPPartialAck",
        TcpExtTcpDupAcks = "TcpExtTCPDupAcks",
        TcpExtTcpOfoQueue = "TcpExtTCPOFOQueue",
        TcpExtTcpZeroWindowDrop = "TcpExtTCPZeroWindowDrop",
        TcpExtTcpAbortOnData = "TcpExtTCPAbortOnData",
        TcpExtTcpAbortOnMemory = "TcpExtTCPAbortOnMemory",
        TcpExtTcpAbortOnTimeout = "TcpExtTCPAbortOnTimeout",
        TcpExtTcpChallengeAck = "TcpExtTCPChallengeACK",
        TcpExtTcpSynChallenge = "TcpExtTCPSYNChallenge",
        TcpExtTcpAckSkipped = "TcpExtTCPACKSkipped",
        TcpExtTcpKeepAlive = "TcpExtTCPKeepAlive",
        TcpExtTcpWinProbe = "TcpExtTCPWinProbe",
        TcpExtTcpTimeWaitOverflow = "TcpExtTCPTimeWaitOverflow",
        TcpExtPawsEstab = "TcpExtPAWSEstab",
        TcpExtOutOfWindowIcmps = "TcpExtOutOfWindowIcmps",
        Ip6InReceives = "Ip6InReceives",
        Ip6InHdrErrors = "Ip6InHdrErrors",
        Ip6InAddrErrors = "Ip6InAddrErrors",
        Ip6InUnknownProtos = "Ip6InUnknownProtos",
        Ip6InTruncatedPkts = "Ip6InTruncatedPkts",
        Ip6InDelivers = "Ip6InDelivers",
        Ip6OutRequests = "Ip6OutRequests",
        Ip6OutNoRoutes = "Ip6OutNoRoutes",
        Ip6ReasmTimeout = "Ip6ReasmTimeout",
        Ip6ReasmReqds = "Ip6ReasmReqds",
        Ip6ReasmOks = "Ip6ReasmOKs",
        Ip6ReasmFails = "Ip6ReasmFails",
        Ip6FragOks = "Ip6FragOKs",
        Ip6FragFails = "Ip6FragFails",
        Ip6FragCreates = "Ip6FragCreates",
        Ip6InMcastPkts = "Ip6InMcastPkts",
        Ip6OutMcastPkts = "Ip6OutMcastPkts",
        Ip6InOctets = "Ip6InOctets",
        Ip6OutOctets = "Ip6OutOctets",
        Ip6InNoEctPkts = "Ip6InNoECTPkts",
        Ip6InEct1Pkts = "Ip6InECT1Pkts",
        Ip6InEct0Pkts = "Ip6InECT0Pkts",
        Ip6InCePkts = "Ip6InCEPkts",
        Icmp6InMsgs = "Icmp6InMsgs",
        Icmp6InErrors = "Icmp6InErrors",
        Icmp6InCsumErrors = "Icmp6InCsumErrors",
        Icmp6InDestUnreachs = "Icmp6InDestUnreachs",
        Icmp6InPktTooBigs = "Icmp6InPktTooBigs",
        Icmp6InTimeExcds = "Icmp6InTimeExcds",
        Icmp6InParmProblems = "Icmp6InParmProblems",
        Icmp6InEchos = "Icmp6InEchos",
        Icmp6InEchoReplies = "Icmp6InEchoReplies",
        Icmp6InGroupMembQueries = "Icmp6InGroupMembQueries",
        Icmp6InGroupMembResponses = "Icmp6InGroupMembResponses",
        Icmp6InGroupMembReductions = "Icmp6InGroupMembReductions",
        Icmp6InMldv2Reports = "Icmp6InMLDv2Reports",
        Icmp6InRouterSolicits = "Icmp6InRouterSolicits",
        Icmp6InRouterAdvertisements = "Icmp6InRouterAdvertisements",
        Icmp6InNeighborSolicits = "Icmp6InNeighborSolicits",
        Icmp6InNeighborAdvertisements = "Icmp6InNeighborAdvertisements",
        Icmp6InRedirects = "Icmp6InRedirects",
        Icmp6OutMsgs = "Icmp6OutMsgs",
        Icmp6OutErrors = "Icmp6OutErrors",
        Icmp6OutRateLimitHost = "Icmp6OutRateLimitHost",
        Icmp6OutDestUnreachs = "Icmp6OutDestUnreachs",
        Icmp6OutPktTooBigs = "Icmp6OutPktTooBigs",
        Icmp6OutTimeExcds = "Icmp6OutTimeExcds",
        Icmp6OutParmProblems = "Icmp6OutParmProblems",
        Icmp6OutEchos = "Icmp6OutEchos",
        Icmp6OutEchoReplies = "Icmp6OutEchoReplies",
        Icmp6OutGroupMembResponses = "Icmp6OutGroupMembResponses",
        Icmp6OutGroupMembReductions = "Icmp6OutGroupMembReductions",
        Icmp6OutMldv2Reports = "Icmp6OutMLDv2Reports",
        Icmp6OutRouterSolicits = "Icmp6OutRouterSolicits",
        Icmp6OutNeighborSolicits = "Icmp6OutNeighborSolicits",
        Icmp6OutNeighborAdvertisements = "Icmp6OutNeighborAdvertisements",
        Udp6InDatagrams = "Udp6InDatagrams",
        Udp6NoPorts = "Udp6NoPorts",
        Udp6InErrors = "Udp6InErrors",
        Udp6OutDatagrams = "Udp6OutDatagrams",
        Udp6RcvbufErrors = "Udp6RcvbufErrors",
        Udp6SndbufErrors = "Udp6SndbufErrors",
        Udp6InCsumErrors = "Udp6InCsumErrors",
        Udp6IgnoredMulti = "Udp6IgnoredMulti",
    }
}

impl Counter {
    /// What counts the same event of IPv6, of a counter that Linux has for each family; `v6` says which it is to be.
    #[inline]
    pub(crate) const fn of_family(self, v6: bool) -> Counter {
        if v6 { self.of_v6() } else { self }
    }

    const fn of_v6(self) -> Counter {
        match self {
            Counter::IpInReceives => Counter::Ip6InReceives,
            Counter::IpInHdrErrors => Counter::Ip6InHdrErrors,
            Counter::IpInAddrErrors => Counter::Ip6InAddrErrors,
            Counter::IpInUnknownProtos => Counter::Ip6InUnknownProtos,
            Counter::IpExtInTruncatedPkts => Counter::Ip6InTruncatedPkts,
            Counter::IpInDelivers => Counter::Ip6InDelivers,
            Counter::IpOutRequests => Counter::Ip6OutRequests,
            Counter::IpOutNoRoutes => Counter::Ip6OutNoRoutes,
            Counter::IpReasmTimeout => Counter::Ip6ReasmTimeout,
            Counter::IpReasmReqds => Counter::Ip6ReasmReqds,
            Counter::IpReasmOks => Counter::Ip6ReasmOks,
            Counter::IpReasmFails => Counter::Ip6ReasmFails,
            Counter::IpFragOks => Counter::Ip6FragOks,
            Counter::IpFragFails => Counter::Ip6FragFails,
            Counter::IpFragCreates => Counter::Ip6FragCreates,
            Counter::IpExtInMcastPkts => Counter::Ip6InMcastPkts,
            Counter::IpExtOutMcastPkts => Counter::Ip6OutMcastPkts,
            Counter::IpExtInOctets => Counter::Ip6InOctets,
            Counter::IpExtOutOctets => Counter::Ip6OutOctets,
            Counter::IpExtInNoEctPkts => Counter::Ip6InNoEctPkts,
            Counter::IpExtInEct1Pkts => Counter::Ip6InEct1Pkts,
            Counter::IpExtInEct0Pkts => Counter::Ip6InEct0Pkts,
            Counter::IpExtInCePkts => Counter::Ip6InCePkts,
            Counter::IcmpInMsgs => Counter::Icmp6InMsgs,
            Counter::IcmpInErrors => Counter::Icmp6InErrors,
            Counter::IcmpInCsumErrors => Counter::Icmp6InCsumErrors,
            Counter::IcmpInDestUnreachs => Counter::Icmp6InDestUnreachs,
            Counter::IcmpInTimeExcds => Counter::Icmp6InTimeExcds,
            Counter::IcmpInParmProbs => Counter::Icmp6InParmProblems,
            Counter::IcmpInEchos => Counter::Icmp6InEchos,
            Counter::IcmpInEchoReps => Counter::Icmp6InEchoReplies,
            Counter::IcmpOutMsgs => Counter::Icmp6OutMsgs,
            Counter::IcmpOutErrors => Counter::Icmp6OutErrors,
            Counter::IcmpOutRateLimitHost => Counter::Icmp6OutRateLimitHost,
            Counter::IcmpOutDestUnreachs => Counter::Icmp6OutDestUnreachs,
            Counter::IcmpOutTimeExcds => Counter::Icmp6OutTimeExcds,
            Counter::IcmpOutParmProbs => Counter::Icmp6OutParmProblems,
            Counter::IcmpOutEchos => Counter::Icmp6OutEchos,
            Counter::IcmpOutEchoReps => Counter::Icmp6OutEchoReplies,
            Counter::UdpInDatagrams => Counter::Udp6InDatagrams,
            Counter::UdpNoPorts => Counter::Udp6NoPorts,
            Counter::UdpInErrors => Counter::Udp6InErrors,
            Counter::UdpOutDatagrams => Counter::Udp6OutDatagrams,
            Counter::UdpRcvbufErrors => Counter::Udp6RcvbufErrors,
            Counter::UdpSndbufErrors => Counter::Udp6SndbufErrors,
            Counter::UdpInCsumErrors => Counter::Udp6InCsumErrors,
            Counter::UdpIgnoredMulti => Counter::Udp6IgnoredMulti,
            other => other,
        }
    }
}

names! {
    /// Why a packet was dropped.
    DropReason {
        DevReady = "DEV_READY",
        HeaderTruncated = "HDR_TRUNC",
        PacketTooSmall = "PKT_TOO_SMALL",
        PacketTooBig = "PKT_TOO_BIG",
        OtherHost = "OTHERHOST",
        VlanUnknown = "VLAN_UNKNOWN",
        UnhandledProtocol = "UNHANDLED_PROTO",
        ArpMalformed = "ARP_MALFORMED",
        ArpNotForUs = "ARP_NOT_FOR_US",
        NdMalformed = "IPV6_NDISC_BAD_OPTIONS",
        NdHopLimit = "IPV6_NDISC_HOP_LIMIT",
        NdNotForUs = "IPV6_NDISC_NOT_FOR_US",
        IpHeader = "IP_INHDR",
        IpChecksum = "IP_CSUM",
        IpSourceRoute = "IP_SOURCE_ROUTE",
        IpNoProtocol = "IP_NOPROTO",
        IpInAddressErrors = "IP_INADDRERRORS",
        IpOutNoRoutes = "IP_OUTNOROUTES",
        IpInvalidSource = "IP_INVALID_SOURCE",
        IpLocalSource = "IP_LOCAL_SOURCE",
        IpLocalNet = "IP_LOCALNET",
        IpInvalidDestination = "IP_INVALID_DEST",
        IpMulticast = "IP_MULTICAST_NOT_JOINED",
        IpFragmentationNeeded = "IP_FRAG_NEEDED",
        DuplicateFragment = "DUP_FRAG",
        FragmentOverlap = "FRAG_OVERLAP",
        FragmentMalformed = "FRAG_MALFORMED",
        FragmentMemory = "FRAG_MEMORY",
        FragmentTimeout = "FRAG_REASM_TIMEOUT",
        NeighbourFailed = "NEIGH_FAILED",
        NeighbourQueueFull = "NEIGH_QUEUEFULL",
        NeighbourTableFull = "NEIGH_CREATEFAIL",
        QueueFull = "QDISC_DROP",
        LoopbackQueueFull = "CPU_BACKLOG",
        IcmpChecksum = "ICMP_CSUM",
        IcmpMalformed = "ICMP_MALFORMED",
        IcmpUnhandled = "ICMP_UNHANDLED",
        IcmpIgnored = "ICMP_IGNORED",
        IcmpRateLimited = "ICMP_RATE_LIMITED",
        IgmpChecksum = "IGMP_CSUM",
        IgmpMalformed = "IGMP_MALFORMED",
        IgmpIgnored = "IGMP_IGNORED",
        InvalidProtocol = "INVALID_PROTO",
        UdpChecksum = "UDP_CSUM",
        UdpMalformed = "UDP_MALFORMED",
        NoSocket = "NO_SOCKET",
        SocketReceiveBuffer = "SOCKET_RCVBUFF",
        SocketChecksum = "SKB_CSUM",
        TcpChecksum = "TCP_CSUM",
        TcpMalformed = "TCP_MALFORMED",
        TcpFlags = "TCP_FLAGS",
        TcpZeroWindow = "TCP_ZEROWINDOW",
        TcpOldData = "TCP_OLD_DATA",
        TcpOldSequence = "TCP_OLD_SEQUENCE",
        TcpInvalidSequence = "TCP_INVALID_SEQUENCE",
        TcpInvalidAckSequence = "TCP_INVALID_ACK_SEQUENCE",
        TcpInvalidSyn = "TCP_INVALID_SYN",
        TcpReset = "TCP_RESET",
        TcpRfc7323Paws = "TCP_RFC7323_PAWS",
        TcpNoTimestamp = "TCP_NO_TIMESTAMP",
        TcpAbortOnData = "TCP_ABORT_ON_DATA",
        TcpListenOverflow = "TCP_LISTEN_OVERFLOW",
        TcpSynQueueFull = "TCP_SYN_QUEUE_FULL",
        TcpDeferAccept = "TCP_DEFER_ACCEPT",
        TcpHeld = "TCP_HELD",
        TcpTimeWait = "TCP_TIMEWAIT",
    }
}

/// Counters of a host.
#[derive(Clone, Debug)]
pub struct Counters {
    counts: [u64; Counter::ALL.len()],
    drops: [u64; DropReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Counters { counts: [0; Counter::ALL.len()], drops: [0; DropReason::ALL.len()] }
    }
}

impl Index<Counter> for Counters {
    type Output = u64;

    fn index(&self, counter: Counter) -> &u64 {
        &self.counts[counter as usize]
    }
}

impl IndexMut<Counter> for Counters {
    fn index_mut(&mut self, counter: Counter) -> &mut u64 {
        &mut self.counts[counter as usize]
    }
}

impl Index<DropReason> for Counters {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.drops[reason as usize]
    }
}

impl Counters {
    /// Counts one.
    #[inline]
    pub(crate) fn count(&mut self, counter: Counter) {
        self.counts[counter as usize] += 1;
    }

    /// Counts a packet that is dropped. Each is counted here once.
    #[inline]
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// All counters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::ALL.iter().map(|&counter| (counter.name(), self[counter]))
    }

    /// All reasons for drops by name, with the number of packets.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason.name(), self[reason]))
    }

    /// Packets dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
}
