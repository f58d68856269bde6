//! What attacks cost in memory: while they last no more than the settings say, and after them nothing.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use wireway_packet::{Packet, Slice};
use wireway_stack::Settings;
use wireway_wire::{ArpOperation, Icmpv4Header, Icmpv4Type, Ipv4Fields, Protocol, SeqNumber, TcpFlags};

use common::*;

/// The bytes that the heap may vary by between two times at rest: tables that have grown since.
const SLACK: isize = 64 << 10;

/// A little of everything that makes a host remember something.
fn everything(world: &mut World, round: u32) {
    for i in 0..3000u32 {
        let source = Ipv4Addr::from_bits(11 << 24 | round << 16 | i);
        let elsewhere = FORGE.pretending(source);
        let on_link = FORGE.pretending(Ipv4Addr::new(10, 0, 0, 70 + (i % 100) as u8));
        let mut syn = segment((i as u16 | 1, PORT), TcpFlags::SYN);
        syn.seq = SeqNumber(i);
        let fields = Ipv4Fields {
            ident: i as u16,
            more_fragments: true,
            fragment_offset: 8,
            ..elsewhere.fields(Protocol::UDP, 1000)
        };
        let echo = Icmpv4Header::echo(Icmpv4Type::ECHO_REQUEST, 1, i as u16);
        let mut arp = elsewhere;
        arp.from.mac.0[3..].copy_from_slice(&i.to_be_bytes()[1..]);
        let frames = [
            elsewhere.tcp(&syn, &[], &[]),
            elsewhere.ipv4_with(&fields, &[], &[1; 1000]),
            on_link.udp((5000, 9), &[2; 900]),
            on_link.icmp(echo, &[3; 900]),
            on_link.tcp(&segment((5000, 9), TcpFlags::ACK), &[], &[4; 900]),
            FORGE.udp((5000, ECHO), &[5; 900]),
            arp.arp(ArpOperation::REQUEST),
        ];
        world.inject(frames.iter().map(|frame| Packet::copy_from(frame)));
        if i % 30 == 0 {
            world.tick();
        }
    }
}

#[test]
fn nothing_stays() {
    let settings = Settings { ipfrag_high_thresh: 1 << 20, neigh_gc_thresh3: 256, ..Settings::default() };
    let mut world = World::with(settings);
    let mut rest = Vec::new();
    for round in 0..5 {
        everything(&mut world, round);
        // What the queues of the interface and of `lo`, sockets, neighbours, fragments and half-open connections may hold.
        assert!(heap::in_use() < 64 << 20, "{} bytes in use", heap::in_use());
        world.pause(Duration::from_secs(700), |world| {
            let usage = world.net.host(world.victim).usage();
            assert_eq!((usage.tcp_half_open, usage.fragment_memory, usage.neighbour_packets), (0, 0, 0));
            rest.push(heap::in_use());
        });
        world.ticks(100);
    }
    // The first rounds fill tables and free lists.
    assert!(rest[4] <= rest[2] + SLACK && rest[3] <= rest[2] + SLACK, "bytes at rest: {rest:?}");
    let stops = wireway_stack::DropReason::ALL;
    world.forgive(stops);
    world.finish(&[]);
}

/// A thread's free lists end with it.
#[test]
fn threads_leave_nothing() {
    let work = || {
        let packets: Vec<_> = (0..1000).map(|_| Packet::from_slice(Slice::copy_from(&[7; 9000]))).collect();
        drop(packets);
    };
    std::thread::spawn(work).join().unwrap();
    let before = heap::in_use_by_all();
    for _ in 0..20 {
        std::thread::spawn(work).join().unwrap();
    }
    // The other test runs beside this one.
    let grown = heap::in_use_by_all() - before;
    assert!(grown < 80 << 20, "{grown} bytes stay of 20 threads of 9 MB each");
}
