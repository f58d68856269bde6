//! Attacks on TCP, each with a bound on what it may cost: floods of SYNs and acknowledgements, blind resets, SYNs and data (RFC
//! 5961), connections that hoard memory or never end.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use wireway_lab::forge::{Forge, Station};
use wireway_packet::Packet;
use wireway_stack::{Counter, DropReason as R, Settings, Shutdown};
use wireway_wire::{SeqNumber, TcpFlags};

use common::stream::Stream;
use common::*;

/// Segments that pretend to come from the victim's peer.
const SPOOF: Forge = Forge { from: Station { mac: ATTACKER.mac, ip: PEER.ip }, to: VICTIM };

fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10], &value.to_be_bytes()[..], &echo.to_be_bytes()].concat()
}

fn counter(world: &mut World, counter: Counter) -> u64 {
    world.net.host(world.victim).counters()[counter]
}

/// A SYN from anywhere.
fn syn(rng: &mut ChaCha8Rng) -> Packet {
    let source = (11u32 << 24 | rng.next_u32() >> 8).into();
    let mut fields = segment((rng.next_u32() as u16 | 1, PORT), TcpFlags::SYN);
    fields.seq = SeqNumber(rng.next_u32());
    Packet::copy_from(&FORGE.pretending(source).tcp(&fields, &[2, 4, 5, 0xb4, 4, 2, 1, 1], &[]))
}

#[test]
fn a_flood_of_syns_is_answered_with_cookies() {
    let mut world = World::new();
    let mut rng = random(1);
    for i in 0..50_000 {
        assert_eq!(world.inject([syn(&mut rng)]), []);
        if i % 20 == 0 {
            world.tick();
            let usage = world.net.host(world.victim).usage();
            assert!(usage.tcp_half_open <= BACKLOG as usize, "{usage:?}");
            assert!(usage.timers <= BACKLOG as usize + 20, "{usage:?}");
        }
    }
    assert!(counter(&mut world, Counter::TcpExtSyncookiesSent) > 40_000);
    // While the queue is full, someone who answers gets through.
    assert_eq!(world.net.host(world.victim).usage().tcp_half_open, BACKLOG as usize);
    world.serves_new_connections();
    assert!(counter(&mut world, Counter::TcpExtSyncookiesRecv) > 0);
    world.finish(&[]);
}

#[test]
fn without_cookies_a_flood_of_syns_is_dropped() {
    let mut world = World::with(Settings { tcp_syncookies: false, ..Settings::default() });
    let mut rng = random(2);
    let mut refused = 0;
    for i in 0..20_000 {
        match world.inject([syn(&mut rng)])[..] {
            [] => {}
            [R::TcpSynQueueFull] => refused += 1,
            ref other => panic!("{other:?}"),
        }
        if i % 20 == 0 {
            world.tick();
            assert!(world.net.host(world.victim).usage().tcp_half_open <= BACKLOG as usize);
        }
    }
    assert!(refused > 15_000);
    world.finish(&[]);
}

/// Acknowledgements that guess a cookie.
#[test]
fn guessed_cookies() {
    let mut world = World::new();
    let mut rng = random(3);
    for _ in 0..BACKLOG + 10 {
        world.inject([syn(&mut rng)]);
    }
    for i in 0..50_000u32 {
        let mut fields = segment((rng.next_u32() as u16 | 1, PORT), TcpFlags::ACK);
        (fields.seq, fields.ack) = (SeqNumber(rng.next_u32()), SeqNumber(rng.next_u32()));
        let source = (12u32 << 24 | i).into();
        world.inject_dropped("a guess", FORGE.pretending(source).tcp(&fields, &[], &[1; 10]), R::NoSocket);
        if i % 20 == 0 {
            world.tick();
        }
    }
    assert!(counter(&mut world, Counter::TcpExtSyncookiesFailed) > 40_000);
    assert_eq!(counter(&mut world, Counter::TcpExtSyncookiesRecv), 0);
    world.finish(&[]);
}

/// RFC 5961 §3: who knows the ports sweeps the sequence space with resets, several to a window. None is exact.
#[test]
fn blind_resets() {
    let mut world = World::new();
    let challenges = counter(&mut world, Counter::TcpExtTcpChallengeAck);
    let start = world.net.now();
    for i in 0..130_000u32 {
        let live = world.live();
        let mut fields = segment((live.port, PORT), TcpFlags::RST);
        // Steps of half the smallest window, never on the mark.
        fields.seq = SeqNumber(i.wrapping_mul(32_771));
        if fields.seq.distance_from(live.victim_acked) < 100_000 && fields.seq == live.victim_acked {
            continue;
        }
        let dropped = world.inject([Packet::copy_from(&SPOOF.tcp(&fields, &[], &[]))]);
        assert!(matches!(dropped[..], [R::TcpInvalidSequence | R::TcpOldSequence]), "{dropped:?}");
        if i % 20 == 0 {
            world.tick();
        }
    }
    let seconds = world.net.now().since(start).as_secs() + 1;
    let challenges = counter(&mut world, Counter::TcpExtTcpChallengeAck) - challenges;
    // One connection is challenged at most twice a second.
    assert!(challenges >= 1 && challenges <= 2 * seconds + 1, "{challenges} challenges in {seconds} s");
    world.finish(&[]);
}

/// RFC 5961 §4: a SYN never resets a connection, wherever it lies.
#[test]
fn blind_syns() {
    let mut world = World::new();
    for i in 0..65_000u32 {
        let live = world.live();
        for flags in [TcpFlags::SYN, TcpFlags::SYN | TcpFlags::ACK] {
            let mut fields = segment((live.port, PORT), flags);
            fields.seq = SeqNumber(i.wrapping_mul(65_537));
            fields.ack = live.victim_next;
            let options = timestamps(live.peer_timestamp, live.victim_timestamp);
            let dropped = world.inject([Packet::copy_from(&SPOOF.tcp(&fields, &options, &[]))]);
            let reasons = [R::TcpInvalidSequence, R::TcpOldSequence, R::TcpInvalidSyn];
            assert!(dropped.len() == 1 && reasons.contains(&dropped[0]), "{dropped:?}");
        }
        if i % 20 == 0 {
            world.tick();
        }
    }
    world.finish(&[]);
}

/// RFC 5961 §5: data in the window with a guessed acknowledgement. Half of the guesses are "old" by RFC 9293; none is taken. The
/// connection has no timestamps to help.
#[test]
fn blind_data() {
    let mut world = World::with(Settings { tcp_timestamps: false, ..Settings::default() });
    let mut rng = random(4);
    for i in 0..65_000u32 {
        let live = world.live();
        let mut fields = segment((live.port, PORT), TcpFlags::ACK | TcpFlags::PSH);
        // The right place: the worst that a guess can do.
        fields.seq = live.victim_acked + rng.next_u32() % 20_000;
        // Anywhere but where it may be.
        fields.ack = live.victim_next + (1 << 27) + rng.next_u32() % (u32::MAX - (1 << 28));
        let dropped = world.inject([Packet::copy_from(&SPOOF.tcp(&fields, &[], &[0xbd; 200]))]);
        assert_eq!(dropped, [R::TcpInvalidAckSequence]);
        if i % 20 == 0 {
            world.tick();
        }
    }
    world.finish(&[]);
}

/// With timestamps a guess must be right there too (RFC 7323 §5).
#[test]
fn blind_data_against_timestamps() {
    let mut world = World::new();
    let mut rng = random(5);
    let mut reasons = std::collections::BTreeMap::new();
    for i in 0..65_000u32 {
        let live = world.live();
        let mut fields = segment((live.port, PORT), TcpFlags::ACK | TcpFlags::PSH);
        (fields.seq, fields.ack) = (SeqNumber(rng.next_u32()), SeqNumber(rng.next_u32()));
        let options = timestamps(rng.next_u32(), rng.next_u32());
        let dropped = world.inject([Packet::copy_from(&SPOOF.tcp(&fields, &options, &[0xbd; 200]))]);
        assert_eq!(dropped.len(), 1, "{dropped:?}");
        *reasons.entry(dropped[0].name()).or_insert(0) += 1;
        if i % 20 == 0 {
            world.tick();
        }
    }
    assert!(reasons["TCP_RFC7323_PAWS"] > 30_000, "{reasons:?}");
    world.finish(&[]);
}

/// An attacker with a connection of its own.
struct Own {
    port: u16,
    /// Its next sequence number, and the victim's.
    seq: SeqNumber,
    ack: SeqNumber,
}

impl Own {
    /// Opens one: the attacker sees what the victim answers.
    fn open(world: &mut World, port: u16) -> Own {
        let mut fields = segment((port, PORT), TcpFlags::SYN);
        fields.seq = SeqNumber(1000);
        world.inject([Packet::copy_from(&FORGE.tcp(&fields, &[2, 4, 5, 0xb4, 4, 2, 1, 1], &[]))]);
        world.ticks(20);
        let iss = world.iss_to_attacker(port);
        let own = Own { port, seq: SeqNumber(1001), ack: iss + 1 };
        own.send(world, TcpFlags::ACK, 0, 65_535, &[]);
        own
    }

    fn send(&self, world: &mut World, flags: TcpFlags, ahead: u32, window: u16, data: &[u8]) -> Vec<R> {
        let mut fields = segment((self.port, PORT), flags);
        (fields.seq, fields.ack, fields.window) = (self.seq + ahead, self.ack, window);
        world.inject([Packet::copy_from(&FORGE.tcp(&fields, &[], data))])
    }

    fn accept(world: &mut World) -> Stream {
        let now = world.net.now();
        let (id, from) = world.net.host(world.victim).accept(now, world.listener).unwrap();
        assert_eq!(from.ip(), address(ATTACKER));
        Stream::new(world.victim, id)
    }
}

/// One byte in every other place, to the window's end: a piece of a byte may not hold a kilobyte for long.
#[test]
fn crumbs_out_of_order() {
    let mut world = World::new();
    let own = Own::open(&mut world, 5000);
    let mut stream = Own::accept(&mut world);
    let before = common::heap::in_use();
    for i in 0..30_000u32 {
        let dropped = own.send(&mut world, TcpFlags::ACK, 1 + 2 * i, 65_535, &[7]);
        assert!(dropped.len() <= 1, "{dropped:?}");
        if i % 64 == 0 {
            world.tick();
        }
    }
    let grown = common::heap::in_use() - before;
    assert!(grown < 8 << 20, "{grown} bytes for 30,000 crumbs");
    stream.abort(&mut world.net);
    world.ticks(100);
    world.finish(&[]);
}

/// A connection that asks for data and never opens its window, many times over: bounded by what the program sends.
#[test]
fn connections_that_take_nothing() {
    let mut world = World::new();
    let mut streams = Vec::new();
    let before = common::heap::in_use();
    for port in 5000..5100u16 {
        let own = Own::open(&mut world, port);
        own.send(&mut world, TcpFlags::ACK, 0, 0, &[]);
        let mut stream = Own::accept(&mut world);
        stream.pump(&mut world.net);
        streams.push((own, stream));
    }
    let grown = common::heap::in_use() - before;
    assert!(grown < 100 * (64 << 10), "{grown} bytes for 100 connections");
    for (_, stream) in &mut streams {
        stream.abort(&mut world.net);
    }
    world.ticks(100);
    world.finish(&[]);
}

/// Connections whose peer vanishes after our FIN do not stay (Linux's tcp_fin_timeout, and the retransmission limit).
#[test]
fn orphans() {
    let mut world = World::new();
    for port in 5000..5200u16 {
        let own = Own::open(&mut world, port);
        let mut stream = Own::accept(&mut world);
        stream.close(&mut world.net);
        world.ticks(20);
        if port % 2 == 0 {
            // It acknowledges the FIN, but never sends its own.
            Own { ack: own.ack + 1, ..own }.send(&mut world, TcpFlags::ACK, 0, 1000, &[]);
        }
    }
    assert!(world.net.host(world.victim).usage().tcp_sockets >= 200);
    // `finish` lets 700 s pass, and the last retransmission of the FIN is later than that.
    world.stop_talking();
    world.net.run_for(Duration::from_secs(1500));
    world.finish(&[]);
}

/// More connections than may be in TIME-WAIT: those beyond end without.
#[test]
fn time_wait_is_bounded() {
    let mut world = World::with(Settings { tcp_max_tw_buckets: 10, ..Settings::default() });
    for _ in 0..40 {
        let mut theirs =
            Stream::connect(&mut world.net, world.peer, SocketAddr::new(address(VICTIM), PORT)).with_limit(0);
        let mut ours = Stream::accept(&mut world.net, world.victim, world.listener).with_limit(0);
        let now = world.net.now();
        world.net.host(world.victim).shutdown(now, ours.id, Shutdown::Write).unwrap();
        for _ in 0..5000 {
            world.tick();
            theirs.pump(&mut world.net);
            ours.pump(&mut world.net);
            if theirs.is_done() && ours.is_done() {
                break;
            }
        }
        ours.close(&mut world.net);
        theirs.close(&mut world.net);
        assert!(world.net.host(world.victim).usage().tcp_time_wait <= 10);
    }
    assert!(counter(&mut world, Counter::TcpExtTcpTimeWaitOverflow) > 10);
    world.ticks(3000);
    world.forgive(&[R::NoSocket]);
    world.finish(&[]);
}
