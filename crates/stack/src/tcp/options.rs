//! Socket options of TCP.

use core::time::Duration;

use wireway_packet::Instant;

use super::connection::Connection;
use super::shared::{Claim, Cx};
use super::{Socket, Tcp};
use crate::net::Net;
use crate::socket::port::Binding;
use crate::{Domain, Error, MtuDiscover, Result, Settings, SocketId, SocketOption, SocketOptions};

/// The least that SO_RCVBUF and SO_SNDBUF set, as read back (Linux's SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF).
const MIN_RECEIVE_BUFFER: usize = 2304;
const MIN_SEND_BUFFER: usize = 4608;
/// The longest keepalive times, in seconds (Linux's MAX_TCP_KEEPIDLE).
const MAX_KEEP: u64 = 32_767;

/// A new socket's options.
pub(super) fn defaults(settings: &Settings) -> SocketOptions {
    SocketOptions {
        reuse_address: false,
        reuse_port: false,
        keep_alive: false,
        broadcast: false,
        linger: None,
        receive_buffer: settings.tcp_rmem.1,
        send_buffer: settings.tcp_wmem.1,
        receive_low_water: 1,
        bind_to_device: None,
        priority: 0,
        ttl: None,
        hop_limit: None,
        tos: 0,
        traffic_class: 0,
        mtu_discover: MtuDiscover::Want,
        v6_only: false,
        transparent: false,
        receive_errors: false,
        receive_errors_v6: false,
        dont_fragment: false,
        hold_incoming: false,
        no_delay: false,
        cork: false,
        quick_ack: true,
        keep_idle: settings.tcp_keepalive_time,
        keep_interval: settings.tcp_keepalive_intvl,
        keep_count: settings.tcp_keepalive_probes,
        user_timeout: Duration::ZERO,
        max_segment: 0,
        syn_count: settings.tcp_syn_retries,
        linger2: None,
        defer_accept: 0,
        window_clamp: 0,
    }
}

impl Tcp {
    pub fn options(&self, id: SocketId) -> Result<SocketOptions> {
        let socket = self.socket_ref(id)?;
        let mut options = socket.common().ok_or(Error::BadDescriptor)?.options;
        if let Socket::Connection(connection) = socket {
            options.receive_buffer = connection.tuning.buffer;
            options.quick_ack = connection.ack.is_quick();
        }
        Ok(options)
    }

    pub fn set_option(&mut self, net: &mut Net, now: Instant, id: SocketId, option: SocketOption) -> Result<()> {
        let (rmem_max, wmem_max) = (net.settings.rmem_max, net.settings.wmem_max);
        let Tcp { sockets, ports, shared, .. } = self;
        let socket = sockets.get_exact_mut(id.index, id.generation).ok_or(Error::BadDescriptor)?;
        let domain = socket.common().ok_or(Error::BadDescriptor)?.domain;
        let bound = match socket {
            Socket::Idle(idle) => idle.claim.is_some() || idle.any_port,
            _ => true,
        };
        let closed = matches!(socket, Socket::Idle(_));
        let common = socket.common_mut().ok_or(Error::BadDescriptor)?;
        let options = &mut common.options;
        let keep = |time: Duration| match time.as_secs() {
            1..=MAX_KEEP => Ok(time),
            _ => Err(Error::InvalidArgument),
        };
        let count = |n: u8| if (1..=127).contains(&n) { Ok(n) } else { Err(Error::InvalidArgument) };
        match option {
            SocketOption::ReuseAddress(on) => options.reuse_address = on,
            SocketOption::ReusePort(on) => options.reuse_port = on,
            SocketOption::KeepAlive(on) => options.keep_alive = on,
            SocketOption::Broadcast(on) => options.broadcast = on,
            SocketOption::Linger(linger) => options.linger = linger,
            SocketOption::ReceiveBuffer(n) => {
                options.receive_buffer = (n.min(rmem_max) * 2).max(MIN_RECEIVE_BUFFER);
                common.receive_buffer_locked = true;
            }
            SocketOption::SendBuffer(n) => {
                options.send_buffer = (n.min(wmem_max) * 2).max(MIN_SEND_BUFFER);
                common.send_buffer_locked = true;
            }
            SocketOption::ReceiveLowWater(n) => options.receive_low_water = n.max(1),
            SocketOption::BindToDevice(device) => {
                if device.is_some_and(|device| net.interface(device).is_none()) {
                    return Err(Error::NoDevice);
                }
                options.bind_to_device = device;
            }
            SocketOption::Priority(n) => options.priority = n,
            SocketOption::Ttl(Some(0)) => return Err(Error::InvalidArgument),
            SocketOption::Ttl(ttl) => options.ttl = ttl,
            SocketOption::HopLimit(hops) => options.hop_limit = hops,
            // The ECN bits are TCP's own.
            SocketOption::Tos(tos) => options.tos = tos & !3,
            SocketOption::TrafficClass(class) => options.traffic_class = class & !3,
            SocketOption::MtuDiscover(mode) => options.mtu_discover = mode,
            SocketOption::ReceiveErrors(_)
            | SocketOption::ReceiveErrorsV6(_)
            | SocketOption::DontFragment(_)
            | SocketOption::HeaderIncluded(_)
            | SocketOption::ChecksumAt(_)
            | SocketOption::SendCoverage(_)
            | SocketOption::ReceiveCoverage(_)
            | SocketOption::IcmpFilter(_)
            | SocketOption::MulticastInterface(..)
            | SocketOption::MulticastSource(_)
            | SocketOption::MulticastHops(..)
            | SocketOption::MulticastLoop(..)
            | SocketOption::MulticastAll(..)
            | SocketOption::JoinGroup(_)
            | SocketOption::LeaveGroup(_)
            | SocketOption::BlockSource(_)
            | SocketOption::UnblockSource(_) => return Err(Error::NoProtocolOption),
            SocketOption::V6Only(on) => {
                if domain != Domain::Inet6 {
                    return Err(Error::NoProtocolOption);
                }
                if bound {
                    return Err(Error::InvalidArgument);
                }
                options.v6_only = on;
            }
            SocketOption::Transparent(on) => options.transparent = on,
            SocketOption::HoldIncoming(on) => options.hold_incoming = on,
            SocketOption::NoDelay(on) => options.no_delay = on,
            SocketOption::Cork(on) => options.cork = on,
            SocketOption::QuickAck(on) => options.quick_ack = on,
            SocketOption::KeepIdle(time) => options.keep_idle = keep(time)?,
            SocketOption::KeepInterval(time) => options.keep_interval = keep(time)?,
            SocketOption::KeepCount(n) => options.keep_count = count(n)?,
            SocketOption::UserTimeout(time) => options.user_timeout = time,
            SocketOption::MaxSegment(mss) => match mss {
                0 | 88..=32_767 => options.max_segment = mss,
                _ => return Err(Error::InvalidArgument),
            },
            SocketOption::SynCount(n) => options.syn_count = count(n)?,
            SocketOption::Linger2(time) => options.linger2 = time,
            SocketOption::DeferAccept(seconds) => options.defer_accept = seconds,
            SocketOption::WindowClamp(n) => match n {
                0 if !closed => return Err(Error::InvalidArgument),
                0 => options.window_clamp = 0,
                n => options.window_clamp = n.max(MIN_RECEIVE_BUFFER as u32 / 2),
            },
        }
        if matches!(option, SocketOption::ReuseAddress(_) | SocketOption::ReusePort(_)) {
            let (address, port) = (common.options.reuse_address, common.options.reuse_port);
            let claim = match socket {
                Socket::Idle(idle) => idle.claim.as_mut(),
                Socket::Listener(listener) => listener.claim.as_mut(),
                Socket::Connection(connection) => connection.claim.as_mut(),
                Socket::Reserved => None,
            };
            if let Some(Claim { port: number, binding }) = claim {
                ports.release(*number, binding);
                *binding = Binding { reuse_address: address, reuse_port: port, ..*binding };
                ports.acquire(*number, *binding);
            }
        }
        if let Socket::Connection(connection) = socket {
            connection.apply_option(option, &mut Cx { net, now, shared });
            self.settle(net, now, id.index);
        }
        Ok(())
    }
}

impl Connection {
    /// What an option changes at once on a connection.
    fn apply_option(&mut self, option: SocketOption, cx: &mut Cx<'_>) {
        let options = &self.common.options;
        match option {
            SocketOption::KeepAlive(_) | SocketOption::KeepIdle(_) => self.update_keepalive(cx),
            SocketOption::NoDelay(true) | SocketOption::Cork(false) => {
                self.more = false;
                self.deadlines.retransmit = match self.snd_max == self.snd_una && self.snd_wnd > 0 {
                    // A cork's time is over.
                    true => Instant::FAR_FUTURE,
                    false => self.deadlines.retransmit,
                };
                self.output(cx);
            }
            SocketOption::QuickAck(on) => {
                self.ack.set_quick(on);
                if on && self.deadlines.delayed_ack != Instant::FAR_FUTURE {
                    self.send_ack(cx);
                }
            }
            SocketOption::ReceiveBuffer(_) => self.tuning.buffer = options.receive_buffer,
            SocketOption::Ttl(_) | SocketOption::HopLimit(_) | SocketOption::Tos(_) | SocketOption::TrafficClass(_) => {
                let v6 = self.flow.remote.address.is_ipv6();
                let default = cx.net.default_hops(self.flow.remote.address, self.meta.interface);
                self.meta.ttl = options.hops(v6).unwrap_or(default);
                self.meta.tos = options.class(v6);
            }
            SocketOption::MtuDiscover(mode) => {
                self.meta.dont_fragment = mode != MtuDiscover::Dont;
                self.meta.ignore_path_mtu = mode == MtuDiscover::Probe;
            }
            SocketOption::BindToDevice(device) => self.meta.interface = device,
            SocketOption::MaxSegment(_) => self.update_mss(),
            _ => {}
        }
        self.path = crate::net::Path::default();
    }
}
