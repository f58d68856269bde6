//! What all datagram sockets (UDP, ping, raw) have in common: addresses, options, the receive queue, the pending error.

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

use wireway_packet::{Instant, Packet, Writer};

use super::address::{present, scope, to_destination, unspecified};
use super::multicast::Multicast;
use super::options::datagram_defaults;
use super::{DatagramInfo, Domain, ReceiveFlags, Shutdown, SocketError, SocketId, SocketOption, SocketOptions};
use crate::counters::DropReason;
use crate::event::{Dirty, Ready};
use crate::net::{IcmpError, IcmpErrorKind, Inbound, IpMeta, Net, Route, RouteKind};
use crate::{Error, InterfaceId, MtuDiscover, Result, Settings};

/// SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF of Linux.
pub(crate) const MIN_RECEIVE_BUFFER: usize = 2304;
pub(crate) const MIN_SEND_BUFFER: usize = 4608;

/// Errors that wait for the program.
const ERRORS: usize = 64;

/// A datagram that waits for the program.
struct Queued {
    /// The payload.
    packet: Packet,
    /// Addresses as the stack keeps them.
    info: DatagramInfo,
    /// What it was charged to the receive buffer.
    charge: usize,
}

/// The common part of a datagram socket.
pub(crate) struct DatagramSocket {
    pub id: SocketId,
    pub domain: Domain,
    pub options: SocketOptions,
    /// As the stack keeps it. The port is 0 where the socket has none.
    pub local: SocketAddr,
    pub peer: Option<SocketAddr>,
    pub multicast: Multicast,
    error: Option<Error>,
    errors: VecDeque<SocketError>,
    dirty: Dirty,
    queue: VecDeque<Queued>,
    memory: usize,
    shut_read: bool,
    shut_write: bool,
}

impl DatagramSocket {
    pub fn new(id: SocketId, domain: Domain, settings: &Settings) -> DatagramSocket {
        DatagramSocket {
            id,
            domain,
            options: datagram_defaults(settings),
            local: SocketAddr::new(unspecified(domain), 0),
            peer: None,
            multicast: Multicast::default(),
            error: None,
            errors: VecDeque::new(),
            dirty: Dirty::default(),
            queue: VecDeque::new(),
            memory: 0,
            shut_read: false,
            shut_write: false,
        }
    }

    /// Whether the socket is bound to the device, or to none.
    pub fn takes_from(&self, interface: crate::InterfaceId) -> bool {
        self.options.bind_to_device.is_none_or(|device| device == interface)
    }

    /// By which interface to send to `peer`: the one that the address, the socket's device, or for groups the program chose. A link-local address that says
    /// nothing of its link is left to the routes, as on Linux.
    pub fn device_to(&self, net: &Net, peer: &SocketAddr) -> Result<Option<InterfaceId>> {
        let device = match peer {
            SocketAddr::V6(v6) if v6.scope_id() == 0 => self.options.bind_to_device,
            _ => scope(net, peer, self.options.bind_to_device)?,
        };
        let chosen = peer.ip().is_multicast().then(|| self.multicast.options(peer.is_ipv6()).interface);
        Ok(device.or(chosen.flatten()))
    }

    /// The hop count of what is sent to `peer`.
    pub fn hops_to(&self, net: &mut Net, peer: IpAddr, device: Option<InterfaceId>) -> u8 {
        match self.options.hops(peer.is_ipv6()) {
            _ if peer.is_multicast() => self.multicast.options(peer.is_ipv6()).hops,
            Some(hops) => hops,
            None => net.default_hops(peer, device),
        }
    }

    /// The source of what is sent by `route`: `local`, if that is an address that can be one.
    pub fn source_by(&self, net: &Net, route: &Route, local: IpAddr) -> IpAddr {
        if !local.is_unspecified() && !net.is_broadcast(local) {
            return local;
        }
        let chosen = self.multicast.options(false).source.filter(|_| route.kind == RouteKind::Multicast);
        chosen.filter(|_| route.source.is_ipv4()).map_or(route.source, IpAddr::V4)
    }

    /// Sends a packet by `route`; to a group as the socket's options say.
    pub fn send(&self, net: &mut Net, now: Instant, route: &Route, meta: &IpMeta, packet: Packet) -> Result<()> {
        match route.kind {
            RouteKind::Multicast => {
                // As on Linux, the socket's own family says whether it is looped back.
                let loops = self.multicast.options(self.domain == Domain::Inet6).loops;
                net.send_to_group(now, meta, loops, packet)
            }
            _ => net.send_ip(now, meta, packet),
        }
    }

    /// Puts a datagram (its payload in `inbound.packet`) into the receive buffer. If that is full, the newest is dropped: false.
    pub fn enqueue(&mut self, net: &mut Net, inbound: Inbound, source_port: u16, destination_port: u16) -> bool {
        if self.memory > self.options.receive_buffer || self.shut_read {
            net.drop_packet(DropReason::SocketReceiveBuffer, inbound.packet);
            return false;
        }
        let len = inbound.packet.len();
        let packet = compact(inbound.packet);
        // About what Linux charges; the memory that is really kept alive is at most twice this (see `compact`).
        let charge = packet.true_size().min(2 * len + 1024);
        let info = DatagramInfo {
            len,
            source: SocketAddr::new(inbound.header.source(), source_port),
            destination: SocketAddr::new(inbound.header.destination(), destination_port),
            interface: inbound.interface,
            ttl: inbound.ttl,
            tos: inbound.tos,
        };
        self.memory += charge;
        self.queue.push_back(Queued { packet, info, charge });
        net.events.mark(self.id, &mut self.dirty);
        true
    }

    /// An ICMP error about a datagram to `destination`, of whose payload `payload` was quoted. As on Linux it is told if it is a hard one
    /// and the socket connected, or (IP_RECVERR) in any case.
    pub fn receive_error(
        &mut self,
        net: &mut Net,
        now: Instant,
        error: &IcmpError<'_>,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        let mut fatal = error.fatal;
        let mut info = 0;
        if let IcmpErrorKind::TooBig(mtu) = error.kind {
            net.learn_path_mtu(now, error.destination, mtu);
            fatal = self.options.mtu_discover != MtuDiscover::Dont;
            info = mtu.into();
            if !fatal {
                return;
            }
        }
        if self.options.receives_errors(error.source.is_ipv6()) {
            self.queue_error(SocketError {
                error: error.error,
                kind: error.icmp.0,
                code: error.icmp.1,
                info,
                offender: Some(error.from),
                ttl: error.ttl,
                interface: error.interface,
                destination,
                payload: payload.into(),
            });
        } else if !fatal || self.peer.is_none() {
            return;
        }
        self.error = Some(error.error);
        net.events.mark(self.id, &mut self.dirty);
    }

    /// Where a datagram to an address of the program's would go, as the stack keeps it, and how.
    pub fn route_to(&self, net: &mut Net, peer: SocketAddr) -> Result<(SocketAddr, Route)> {
        let destination = to_destination(self.domain, self.options.v6_only, peer)?;
        let device = self.device_to(net, &destination)?;
        Ok((destination, net.route(destination.ip(), device)?))
    }

    /// A datagram to `peer`, or where the socket is connected to, was refused with EMSGSIZE: with IP_RECVERR the error queue tells the MTU that it
    /// exceeds.
    pub fn note_too_long(&mut self, net: &mut Net, peer: Option<SocketAddr>) {
        let Some(peer) = peer.or(self.peer) else { return };
        let Ok((destination, route)) = self.route_to(net, peer) else { return };
        if !self.options.receives_errors(destination.is_ipv6()) {
            return;
        }
        let probe = self.options.mtu_discover == MtuDiscover::Probe;
        let mtu = if probe { route.interface_mtu } else { route.mtu };
        self.queue_error(SocketError {
            error: Error::MessageTooLong,
            kind: 0,
            code: 0,
            info: mtu.into(),
            offender: None,
            ttl: u8::MAX,
            interface: route.interface,
            destination,
            payload: Vec::new(),
        });
    }

    /// What does not fit is known by the pending error at least, or by what the call returned.
    fn queue_error(&mut self, mut error: SocketError) {
        if self.errors.len() < ERRORS {
            let device = self.options.bind_to_device.or(Some(error.interface));
            error.destination = present(self.domain, error.destination, device);
            self.errors.push_back(error);
        }
    }

    /// Takes the oldest error of the queue. As on Linux the next one of ICMP is the pending error then.
    pub fn recv_error(&mut self) -> Result<SocketError> {
        let error = self.errors.pop_front().ok_or(Error::WouldBlock)?;
        let next = self.errors.front().filter(|next| next.offender.is_some()).map(|next| next.error);
        if next.is_some() || error.offender.is_some() {
            self.error = next;
        }
        Ok(error)
    }

    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    pub fn take_event(&mut self) -> Ready {
        self.dirty.clear();
        self.ready()
    }

    /// As Linux's datagram_poll.
    pub fn ready(&self) -> Ready {
        let mut ready = Ready::OUT;
        ready.set(Ready::IN, !self.queue.is_empty() || self.shut_read);
        ready.set(Ready::RDHUP, self.shut_read);
        ready.set(Ready::HUP, self.shut_read && self.shut_write);
        ready.set(Ready::ERR, self.error.is_some() || !self.errors.is_empty());
        ready
    }

    pub fn recv_available(&self) -> usize {
        self.queue.front().map_or(0, |queued| queued.info.len)
    }

    pub fn recv_from(&mut self, buffer: &mut [u8], flags: ReceiveFlags) -> Result<DatagramInfo> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let Some(queued) = self.queue.front() else {
            if !self.shut_read {
                return Err(Error::WouldBlock);
            }
            let nobody = SocketAddr::new(unspecified(self.domain), 0);
            let interface = crate::InterfaceId(0);
            return Ok(DatagramInfo { len: 0, source: nobody, destination: nobody, interface, ttl: 0, tos: 0 });
        };
        queued.packet.copy_to(0, buffer);
        let mut info = queued.info;
        info.source = present(self.domain, info.source, Some(info.interface));
        info.destination = present(self.domain, info.destination, Some(info.interface));
        if !flags.peek
            && let Some(queued) = self.queue.pop_front()
        {
            self.memory -= queued.charge;
        }
        Ok(info)
    }

    /// What must be so before anything is sent: the pending error once, EPIPE after shutdown.
    pub fn check_send(&mut self) -> Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.check_open_for_sending(),
        }
    }

    /// EPIPE after shutdown.
    pub fn check_open_for_sending(&self) -> Result<()> {
        if self.shut_write { Err(Error::BrokenPipe) } else { Ok(()) }
    }

    /// ENOTCONN if the socket is not connected, but as on Linux the shutdown counts all the same.
    pub fn shutdown(&mut self, net: &mut Net, how: Shutdown) -> Result<()> {
        self.shut_read |= how != Shutdown::Write;
        self.shut_write |= how != Shutdown::Read;
        net.events.mark(self.id, &mut self.dirty);
        self.peer.map(|_| ()).ok_or(Error::NotConnected)
    }

    pub fn local_addr(&self) -> SocketAddr {
        present(self.domain, self.local, self.options.bind_to_device)
    }

    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.peer.map(|peer| present(self.domain, peer, self.options.bind_to_device)).ok_or(Error::NotConnected)
    }

    /// Whether to set DF on a packet of `len` bytes with its IP header, going by `route`; EMSGSIZE where the program asked to be told.
    pub fn dont_fragment(&self, route: &Route, len: usize) -> Result<bool> {
        let (path, interface) = (len <= usize::from(route.mtu), len <= usize::from(route.interface_mtu));
        if self.options.dont_fragment && route.source.is_ipv6() && !path {
            return Err(Error::MessageTooLong);
        }
        match self.options.mtu_discover {
            MtuDiscover::Dont => Ok(false),
            MtuDiscover::Want => Ok(path),
            MtuDiscover::Do if path => Ok(true),
            MtuDiscover::Probe if interface => Ok(true),
            MtuDiscover::Do | MtuDiscover::Probe => Err(Error::MessageTooLong),
        }
    }

    /// Sets an option that all datagram kinds know.
    pub fn set_option(&mut self, net: &mut Net, now: Instant, option: SocketOption) -> Result<()> {
        let options = &mut self.options;
        match option {
            SocketOption::ReuseAddress(on) => options.reuse_address = on,
            SocketOption::ReusePort(on) => options.reuse_port = on,
            SocketOption::KeepAlive(on) => options.keep_alive = on,
            SocketOption::Broadcast(on) => options.broadcast = on,
            SocketOption::Linger(time) => options.linger = time,
            SocketOption::ReceiveBuffer(bytes) => {
                options.receive_buffer = doubled(bytes, net.settings.rmem_max, MIN_RECEIVE_BUFFER);
            }
            SocketOption::SendBuffer(bytes) => {
                options.send_buffer = doubled(bytes, net.settings.wmem_max, MIN_SEND_BUFFER);
            }
            SocketOption::ReceiveLowWater(bytes) => options.receive_low_water = bytes.max(1),
            SocketOption::BindToDevice(device) => {
                if device.is_some_and(|device| net.interface(device).is_none()) {
                    return Err(Error::NoDevice);
                }
                options.bind_to_device = device;
            }
            SocketOption::Priority(priority) => options.priority = priority,
            SocketOption::Ttl(Some(0)) => return Err(Error::InvalidArgument),
            SocketOption::Ttl(ttl) => options.ttl = ttl,
            SocketOption::HopLimit(hops) => options.hop_limit = hops,
            SocketOption::Tos(tos) => options.tos = tos,
            SocketOption::TrafficClass(class) => options.traffic_class = class,
            SocketOption::MtuDiscover(mode) => options.mtu_discover = mode,
            SocketOption::V6Only(_) if self.domain == Domain::Inet => return Err(Error::NoProtocolOption),
            SocketOption::V6Only(_) if self.local.port() != 0 => return Err(Error::InvalidArgument),
            SocketOption::V6Only(on) => options.v6_only = on,
            SocketOption::Transparent(on) => options.transparent = on,
            SocketOption::DontFragment(on) => options.dont_fragment = on,
            SocketOption::ReceiveErrorsV6(on) => {
                options.receive_errors_v6 = on;
                self.errors.clear();
            }
            SocketOption::ReceiveErrors(on) => {
                options.receive_errors = on;
                self.errors.clear();
            }
            other => {
                let device = options.bind_to_device;
                return self.multicast.set(net, now, device, other);
            }
        }
        Ok(())
    }

    /// Leaves all groups, and drops what the program did not read.
    pub fn close(&mut self, net: &mut Net, now: Instant) {
        self.multicast.leave_all(net, now);
        self.queue.clear();
        self.memory = 0;
    }
}

/// A buffer size as the program gave it, clamped and doubled as Linux does.
pub(crate) fn doubled(bytes: usize, most: usize, least: usize) -> usize {
    bytes.min(most).saturating_mul(2).max(least)
}

/// A packet that keeps much more memory alive than it has bytes is copied: what comes back keeps at most `4 * len + 2048` bytes,
/// or one block of the size class that fits.
fn compact(packet: Packet) -> Packet {
    let len = packet.len();
    if packet.true_size() <= 4 * len + 2048 {
        return packet;
    }
    if len <= wireway_packet::INLINE {
        let mut copy = Packet::new();
        packet.parts().for_each(|part| copy.append(part));
        return copy;
    }
    let mut writer = Writer::with_capacity(len);
    let copied = packet.copy_to(0, writer.spare_mut());
    Packet::from_slice(writer.commit(copied))
}
