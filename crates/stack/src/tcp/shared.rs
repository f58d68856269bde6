//! What every part of TCP is handed: the network below, the time, and what connections share.

use wireway_packet::Instant;
use wireway_wire::Protocol;

use super::challenge::ChallengeLimit;
use super::connection::Connection;
use super::flow::Flow;
use super::isn::Secrets;
use crate::event::Dirty;
use crate::net::{IpMeta, Net};
use crate::socket::port::Binding;
use crate::{Domain, Error, InterfaceId, MtuDiscover, SocketId, SocketOptions};

/// What connections share.
pub(crate) struct Shared {
    pub secrets: Secrets,
    pub challenge: ChallengeLimit,
    /// Sockets that left themselves a note for the next flush, by index.
    pub work: Vec<u32>,
    /// Room of connections that ended, to be used again; they hold nothing any more.
    #[allow(clippy::vec_box)]
    pub spare: Vec<Box<Connection>>,
    /// Connections that wait for a decision (`State::Held`), accepted or not.
    pub held: u32,
    /// Connections that nobody holds.
    pub orphans: u32,
}

/// The surroundings of one operation.
pub(crate) struct Cx<'a> {
    pub net: &'a mut Net,
    pub now: Instant,
    pub shared: &'a mut Shared,
}

/// How the segments of a flow are sent, by `interface` alone if it is given.
#[inline]
pub(crate) fn meta(flow: &Flow, options: &SocketOptions, interface: Option<InterfaceId>, net: &mut Net) -> IpMeta {
    let (source, destination, protocol) = (flow.local.address, flow.remote.address, Protocol::TCP.0);
    let v6 = destination.is_ipv6();
    let ttl = options.hops(v6).unwrap_or_else(|| net.default_hops(destination, interface));
    IpMeta {
        tos: options.class(v6),
        flow_label: net.flow_label(source, destination, protocol, (flow.local.port, flow.remote.port)),
        dont_fragment: options.mtu_discover != MtuDiscover::Dont,
        ignore_path_mtu: options.mtu_discover == MtuDiscover::Probe,
        interface,
        foreign: options.transparent,
        ..IpMeta::new(source, destination, protocol, ttl)
    }
}

/// What every TCP socket has, whatever its state.
#[derive(Debug)]
pub(crate) struct Common {
    pub id: SocketId,
    pub domain: Domain,
    pub options: SocketOptions,
    /// The pending error (SO_ERROR).
    pub error: Option<Error>,
    pub dirty: Dirty,
    /// SO_RCVBUF and SO_SNDBUF were set: the buffers do not grow by themselves.
    pub receive_buffer_locked: bool,
    pub send_buffer_locked: bool,
}

/// A local port that a socket holds, as it was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub port: u16,
    pub binding: Binding,
}
