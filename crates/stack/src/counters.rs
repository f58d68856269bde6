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
        UnhandledProtocol = "UNHANDLED_PROTO",
        ArpMalformed = "ARP_MALFORMED",
        ArpNotForUs = "ARP_NOT_FOR_US",
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
        InvalidProtocol = "INVALID_PROTO",
        UdpChecksum = "UDP_CSUM",
        UdpMalformed = "UDP_MALFORMED",
        NoSocket = "NO_SOCKET",
        SocketReceiveBuffer = "SOCKET_RCVBUFF",
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
