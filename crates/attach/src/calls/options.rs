//! getsockopt(2), setsockopt(2)
//!
//! One table from (level, name) to the host's typed options. Timeouts of calls are the kernel's own, on the pair. An option that is not in
//! the table is ENOPROTOOPT: what would silently not work is not there.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_stack::{Host, MtuDiscover, RawOptions, SocketId, SocketOption, SocketOptions};

use super::{Call, Outcome, Target, multicast, socket_at, target};
use crate::datagram::Wanted;
use crate::socket::{Body, Key, errno};
use crate::world::World;
use crate::{datagram, links, sys, tcp_info};

/// Longer option values are not read.
const LONGEST: usize = 256;

// linux/socket.h, linux/in.h, linux/in6.h, linux/tcp.h where libc has them not.
const SO_RCVTIMEO_NEW: i32 = 66;
const SO_SNDTIMEO_NEW: i32 = 67;
const IP_RECVOPTS: i32 = 6;
const IP_RETOPTS: i32 = 7;
const IP_MTU: i32 = 14;
const IPV6_MTU: i32 = 24;
/// RFC 2292's IPV6_RECVHOPLIMIT: tracepath asks by it.
const IPV6_2292HOPLIMIT: i32 = 8;
const IPV6_MTU_DISCOVER: i32 = 23;
const ICMP_FILTER: i32 = 1;
const UDPLITE_SEND_CSCOV: i32 = 10;
const UDPLITE_RECV_CSCOV: i32 = 11;
const ICMP6_FILTER: i32 = 1;

pub(super) fn set(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let (level, name) = (call.int(1), call.int(2));
    if multicast::is_one(level, name) {
        return multicast::set(w, cx, call, key, level, name);
    }
    let length = usize::try_from(call.int(4)).map_err(|_| Errno::INVAL)?;
    let mut value = vec![0; length.min(LONGEST)];
    call.memory().read(call.argument(3), &mut value)?;
    if level == libc::SOL_SOCKET && is_native(name) {
        socket_at(w, key)?.timed = true;
        return Ok(Outcome::Done(sys::set_option(&theirs, level, name, &value).map(|()| 0)));
    }
    // As Linux's ip_setsockopt and ip_getsockopt: each its own error.
    if level == libc::IPPROTO_IPV6 && socket_at(w, key)?.family == libc::AF_INET {
        return Err(Errno::NOPROTOOPT);
    }
    if local_option(w, key, level, name, &value)? {
        w.groups_changed(cx);
        return Ok(Outcome::Done(Ok(0)));
    }
    let id = socket_at(w, key)?.id.ok_or(Errno::NOPROTOOPT)?;
    if let Some(option) = parse(cx.host, level, name, &value)? {
        cx.host.set_option(cx.now, id, option).map_err(errno)?;
    }
    w.run_soon(key);
    Ok(Outcome::Done(Ok(0)))
}

/// Options of the calls on the pair, which are the kernel's.
fn is_native(name: i32) -> bool {
    [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW].contains(&name)
}

pub(super) fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b)).ok_or(Errno::INVAL)
}

/// IP options may be given as one byte (ip(7)).
pub(super) fn int_or_byte(value: &[u8]) -> Result<i32, Errno> {
    match value {
        [byte] | [byte, _] | [byte, _, _] => Ok(*byte as i32),
        _ => int(value),
    }
}

/// Options that the engine itself keeps. True: it was one.
fn local_option(w: &mut World, key: Key, level: i32, name: i32, value: &[u8]) -> Result<bool, Errno> {
    let socket = socket_at(w, key)?;
    let is_tcp = matches!(socket.body, Body::Stream(_) | Body::Listener(_));
    match &mut socket.body {
        Body::Netlink(netlink) => match level {
            libc::SOL_SOCKET if [libc::SO_RCVBUF, libc::SO_SNDBUF, libc::SO_RCVBUFFORCE].contains(&name) => Ok(true),
            libc::SOL_NETLINK => netlink.set_option(name, int(value)?).map(|()| true),
            _ => Err(Errno::NOPROTOOPT),
        },
        _ => {
            let Some(flag) = wanted(&mut socket.wanted, level, name, is_tcp) else { return Ok(false) };
            *flag = int_or_byte(value)? != 0;
            Ok(true)
        }
    }
}

/// Where it is kept whether the program asked for a kind of control messages.
fn wanted(wanted: &mut Wanted, level: i32, name: i32, is_tcp: bool) -> Option<&mut bool> {
    Some(match (level, name) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => &mut wanted.v4.packet_info,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => &mut wanted.v6.packet_info,
        (libc::IPPROTO_IP, libc::IP_RECVTTL) => &mut wanted.v4.ttl,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT | IPV6_2292HOPLIMIT) => &mut wanted.v6.ttl,
        (libc::IPPROTO_IP, libc::IP_RECVTOS) => &mut wanted.v4.tos,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS) => &mut wanted.v6.tos,
        (libc::SOL_SOCKET, libc::SO_TIMESTAMP) if !is_tcp => &mut wanted.timestamp,
        (libc::IPPROTO_IP, IP_RECVOPTS) => &mut wanted.options,
        (libc::IPPROTO_IP, IP_RETOPTS) => &mut wanted.options_to_return,
        (libc::IPPROTO_IP, libc::IP_RECVERR) if is_tcp => &mut wanted.errors,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) if is_tcp => &mut wanted.errors_v6,
        _ => return None,
    })
}

fn seconds(value: &[u8], range: std::ops::RangeInclusive<i32>) -> Result<Duration, Errno> {
    let seconds = int(value)?;
    if !range.contains(&seconds) {
        return Err(Errno::INVAL);
    }
    Ok(Duration::from_secs(seconds as u64))
}

/// `None`: it is so already.
fn parse(host: &Host, level: i32, name: i32, value: &[u8]) -> Result<Option<SocketOption>, Errno> {
    use SocketOption::*;
    let flag = || int(value).map(|v| v != 0);
    let ip = || int_or_byte(value);
    Ok(Some(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => ReuseAddress(flag()?),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => ReusePort(flag()?),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => KeepAlive(flag()?),
        (libc::SOL_SOCKET, libc::SO_BROADCAST) => Broadcast(flag()?),
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let on = int(value)? != 0;
            let time = int(value.get(4..).unwrap_or_default())?;
            Linger(on.then(|| Duration::from_secs(time.max(0) as u64)))
        }
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => ReceiveBuffer(int(value)?.max(0) as usize),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => SendBuffer(int(value)?.max(0) as usize),
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => ReceiveLowWater(match int(value)? {
            ..0 => i32::MAX as usize,
            v => v.max(1) as usize,
        }),
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let name = value.split(|b| *b == 0).next().unwrap_or_default();
            let device = match name {
                [] => None,
                name => Some(links::named(host, name).ok_or(Errno::NODEV)?.id),
            };
            BindToDevice(device)
        }
        (libc::SOL_SOCKET, libc::SO_PRIORITY) => Priority(int(value)? as u32),
        (libc::IPPROTO_IP, libc::IP_TTL) => Ttl(match ip()? {
            -1 => None,
            v => Some(u8::try_from(v).ok().filter(|v| *v > 0).ok_or(Errno::INVAL)?),
        }),
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => HopLimit(match int(value)? {
            -1 => None,
            v => Some(u8::try_from(v).map_err(|_| Errno::INVAL)?),
        }),
        (libc::IPPROTO_IP, libc::IP_TOS) => Tos(ip()? as u8),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => TrafficClass(match int(value)? {
            -1 => 0,
            v => u8::try_from(v).map_err(|_| Errno::INVAL)?,
        }),
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) | (libc::IPPROTO_IPV6, IPV6_MTU_DISCOVER) => {
            SocketOption::MtuDiscover(match ip()? {
                libc::IP_PMTUDISC_DONT => self::MtuDiscover::Dont,
                libc::IP_PMTUDISC_WANT => self::MtuDiscover::Want,
                libc::IP_PMTUDISC_DO => self::MtuDiscover::Do,
                libc::IP_PMTUDISC_PROBE => self::MtuDiscover::Probe,
                _ => return Err(Errno::INVAL),
            })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => V6Only(flag()?),
        (libc::IPPROTO_IP, libc::IP_HDRINCL) => HeaderIncluded(ip()? != 0),
        (libc::IPPROTO_IPV6 | libc::IPPROTO_RAW, libc::IPV6_CHECKSUM) => ChecksumAt(match int(value)? {
            ..0 => None,
            at => Some(u16::try_from(at).map_err(|_| Errno::INVAL)?),
        }),
        (libc::IPPROTO_RAW, ICMP_FILTER) => IcmpFilter([int(value)? as u32, 0, 0, 0, 0, 0, 0, 0]),
        (libc::IPPROTO_ICMPV6, ICMP6_FILTER) => {
            let mut words = [0; 8];
            words.iter_mut().zip(value.chunks_exact(4)).for_each(|(word, raw)| *word = int(raw).unwrap_or(0) as u32);
            IcmpFilter(words)
        }
        (libc::IPPROTO_IP, libc::IP_RECVERR) => ReceiveErrors(ip()? != 0),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => ReceiveErrorsV6(flag()?),
        (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG) => DontFragment(flag()?),
        // The only algorithm there is.
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) if value.split(|b| *b == 0).next() == Some(b"reno") => {
            return Ok(None);
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => return Err(Errno::NOENT),
        (libc::IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV) => SendCoverage(coverage(int(value)?)),
        (libc::IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV) => ReceiveCoverage(coverage(int(value)?)),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => NoDelay(flag()?),
        (libc::IPPROTO_TCP, libc::TCP_CORK) => Cork(flag()?),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => QuickAck(flag()?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => KeepIdle(seconds(value, 1..=32767)?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => KeepInterval(seconds(value, 1..=32767)?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => {
            KeepCount(u8::try_from(int(value)?).ok().filter(|v| (1..=127).contains(v)).ok_or(Errno::INVAL)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
            UserTimeout(Duration::from_millis(u64::try_from(int(value)?).map_err(|_| Errno::INVAL)?))
        }
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
            MaxSegment(u16::try_from(int(value)?).ok().filter(|v| *v == 0 || *v >= 88).ok_or(Errno::INVAL)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => {
            SynCount(u8::try_from(int(value)?).ok().filter(|v| (1..=127).contains(v)).ok_or(Errno::INVAL)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_LINGER2) => Linger2(match int(value)? {
            ..0 => Some(Duration::ZERO),
            0 => None,
            v => Some(Duration::from_secs(v as u64)),
        }),
        (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => DeferAccept(int(value)?.max(0) as u32),
        (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) => {
            WindowClamp(u32::try_from(int(value)?).map_err(|_| Errno::INVAL)?)
        }
        _ => return Err(Errno::NOPROTOOPT),
    }))
}

/// As Linux takes it: the header is always covered, and no datagram is longer than its length can say.
fn coverage(bytes: i32) -> u16 {
    if bytes == 0 { 0 } else { bytes.clamp(8, 0xffff) as u16 }
}

pub(super) fn get(w: &mut World, cx: &mut Context<'_>, call: &mut Call) -> Result<Outcome, Errno> {
    let Target::Ours(key, theirs) = target(w, call)? else { return Ok(Outcome::GoOn) };
    let (level, name) = (call.int(1), call.int(2));
    if multicast::is_one(level, name) {
        return multicast::get(w, cx, call, key, level, name);
    }
    let room = call.memory().read_u32(call.argument(4))? as i32;
    let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
    let value = value(w, cx, key, &theirs, level, name)?;
    let value = value.get(..room.min(value.len())).unwrap_or_default();
    call.memory().write(call.argument(3), value)?;
    call.memory().write_u32(call.argument(4), value.len() as u32)?;
    Ok(Outcome::Done(Ok(0)))
}

fn value(
    w: &mut World,
    cx: &mut Context<'_>,
    key: Key,
    theirs: &OwnedFd,
    level: i32,
    name: i32,
) -> Result<Vec<u8>, Errno> {
    if level == libc::SOL_SOCKET && is_native(name) {
        let mut raw = vec![0; 16];
        let n = sys::get_option(theirs, level, name, &mut raw)?;
        raw.truncate(n);
        return Ok(raw);
    }
    let socket = socket_at(w, key)?;
    if level == libc::IPPROTO_IPV6 && socket.family == libc::AF_INET {
        return Err(Errno::OPNOTSUPP);
    }
    let bytes = |v: i32| Ok(v.to_ne_bytes().to_vec());
    if level == libc::SOL_SOCKET {
        match name {
            libc::SO_DOMAIN => return bytes(socket.family),
            libc::SO_TYPE => return bytes(socket.kind),
            libc::SO_PROTOCOL => return bytes(socket.protocol),
            libc::SO_ACCEPTCONN => return bytes(matches!(socket.body, Body::Listener(_)) as i32),
            libc::SO_ERROR => {
                // The kernel's own is the one that was made to show this one.
                datagram::hush(socket, theirs.as_fd());
                let shows = sys::pending_error(theirs) != 0;
                let host = socket.id.and_then(|id| cx.host.take_error(id)).map(errno);
                let error = socket.error.take().or(host);
                let told = !shows && matches!(&socket.body, Body::Stream(stream) if stream.reset_shown);
                // What a read has told is told no more.
                return bytes(error.filter(|e| !(told && *e == Errno::CONNRESET)).map_or(0, |e| e.raw_os_error()));
            }
            _ => {}
        }
    }
    if let (Body::Netlink(_), libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_SNDBUF) = (&socket.body, level, name) {
        return bytes(212_992);
    }
    let is_tcp = matches!(socket.body, Body::Stream(_) | Body::Listener(_));
    if let Some(flag) = wanted(&mut socket.wanted, level, name, is_tcp) {
        return bytes(*flag as i32);
    }
    let id = socket.id.ok_or(Errno::NOPROTOOPT)?;
    if level == libc::IPPROTO_TCP && !is_tcp {
        return Err(Errno::OPNOTSUPP);
    }
    if (level, name) == (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) {
        let device = cx.host.options(id).map_err(errno)?.bind_to_device;
        let link = device.and_then(|device| cx.host.interface(device));
        return Ok(link.map_or(Vec::new(), |link| [link.name.as_bytes(), &[0]].concat()));
    }
    if let (libc::IPPROTO_UDPLITE, Ok((send, receive))) = (level, cx.host.coverage(id)) {
        return match name {
            UDPLITE_SEND_CSCOV => bytes(send.unwrap_or(0).into()),
            UDPLITE_RECV_CSCOV => bytes(receive.unwrap_or(0).into()),
            _ => Err(Errno::NOPROTOOPT),
        };
    }
    if let Ok(raw) = cx.host.raw_options(id)
        && let Some(value) = of_raw(&raw, level, name)
    {
        return Ok(value);
    }
    known(cx, id, level, name)
}

fn of_raw(raw: &RawOptions, level: i32, name: i32) -> Option<Vec<u8>> {
    let int = |value: i32| value.to_ne_bytes().to_vec();
    Some(match (level, name) {
        (libc::IPPROTO_IP, libc::IP_HDRINCL) => int(raw.header_included as i32),
        (libc::IPPROTO_IPV6 | libc::IPPROTO_RAW, libc::IPV6_CHECKSUM) => int(raw.checksum_at.map_or(-1, i32::from)),
        (libc::IPPROTO_RAW, ICMP_FILTER) => int(raw.icmp_filter[0] as i32),
        (libc::IPPROTO_ICMPV6, ICMP6_FILTER) => raw.icmp_filter.iter().flat_map(|word| word.to_ne_bytes()).collect(),
        _ => return None,
    })
}

fn known(cx: &mut Context<'_>, id: SocketId, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    let o: SocketOptions = cx.host.options(id).map_err(errno)?;
    let secs = |d: Duration| d.as_secs() as i32;
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => o.reuse_address as i32,
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => o.reuse_port as i32,
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => o.keep_alive as i32,
        (libc::SOL_SOCKET, libc::SO_BROADCAST) => o.broadcast as i32,
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let (on, time) = (o.linger.is_some() as i32, o.linger.map_or(0, secs));
            return Ok([on.to_ne_bytes(), time.to_ne_bytes()].concat());
        }
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => clamp(o.receive_buffer),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => clamp(o.send_buffer),
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => clamp(o.receive_low_water),
        (libc::SOL_SOCKET, libc::SO_SNDLOWAT) => 1,
        (libc::SOL_SOCKET, libc::SO_PRIORITY) => o.priority as i32,
        (libc::SOL_SOCKET, libc::SO_OOBINLINE | libc::SO_DONTROUTE | libc::SO_TIMESTAMP | libc::SO_DEBUG) => 0,
        (libc::IPPROTO_IP, libc::IP_TTL) => o.ttl.map_or(64, i32::from),
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => o.hop_limit.map_or(64, i32::from),
        (libc::IPPROTO_IP, libc::IP_TOS) => o.tos as i32,
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => o.traffic_class as i32,
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) | (libc::IPPROTO_IPV6, IPV6_MTU_DISCOVER) => match o.mtu_discover {
            MtuDiscover::Dont => libc::IP_PMTUDISC_DONT,
            MtuDiscover::Want => libc::IP_PMTUDISC_WANT,
            MtuDiscover::Do => libc::IP_PMTUDISC_DO,
            MtuDiscover::Probe => libc::IP_PMTUDISC_PROBE,
        },
        (libc::IPPROTO_IP, IP_MTU) | (libc::IPPROTO_IPV6, IPV6_MTU) => {
            i32::from(cx.host.path_mtu(cx.now, id).map_err(errno)?)
        }
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => o.v6_only as i32,
        (libc::IPPROTO_IP, libc::IP_RECVERR) => o.receive_errors as i32,
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => o.receive_errors_v6 as i32,
        (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG) => o.dont_fragment as i32,
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => o.no_delay as i32,
        (libc::IPPROTO_TCP, libc::TCP_CORK) => o.cork as i32,
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => o.quick_ack as i32,
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => secs(o.keep_idle),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => secs(o.keep_interval),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => o.keep_count as i32,
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => o.user_timeout.as_millis().min(i32::MAX as u128) as i32,
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
            let info = cx.host.tcp_info(cx.now, id).map_err(errno)?;
            match (info.send_mss, o.max_segment) {
                // Not connected: what is wanted, or what RFC 9293 §3.7.1 assumes.
                (0, 0) => 536,
                (0, wanted) => wanted.into(),
                (mss, _) => mss as i32,
            }
        }
        (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => o.syn_count as i32,
        (libc::IPPROTO_TCP, libc::TCP_LINGER2) => match o.linger2 {
            Some(Duration::ZERO) => -1,
            Some(time) => secs(time),
            None => secs(cx.host.settings().tcp_fin_timeout),
        },
        (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => o.defer_accept as i32,
        (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) => o.window_clamp as i32,
        (libc::IPPROTO_TCP, libc::TCP_INFO) => {
            return Ok(tcp_info::emit(&cx.host.tcp_info(cx.now, id).map_err(errno)?));
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => return Ok(b"reno\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        (libc::SOL_SOCKET | libc::IPPROTO_IP | libc::IPPROTO_IPV6 | libc::IPPROTO_TCP | libc::IPPROTO_UDP, _) => {
            return Err(Errno::NOPROTOOPT);
        }
        // As Linux's do_ip_getsockopt.
        _ => return Err(Errno::OPNOTSUPP),
    };
    Ok(value.to_ne_bytes().to_vec())
}

fn clamp(value: usize) -> i32 {
    value.min(i32::MAX as usize) as i32
}
