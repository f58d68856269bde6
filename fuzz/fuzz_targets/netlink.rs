//! rtnetlink requests of a hostile program on a host with two interfaces: whatever it asks and changes, in any order, while time goes by.
//!
//! The input is a program of datagrams, each behind a byte with its length in words; a length of 0 lets as many seconds go by as the next
//! byte says.
//!
//! What must hold: nothing panics; answers are messages whose lengths are right; interfaces keep their numbers and names; after a poll
//! nothing is due.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wireway_attach::rtnetlink::{Caller, Watch, answer};
use wireway_packet::Instant;
use wireway_stack::{Host, InterfaceConfig, InterfaceId, Settings, Vlan};
use wireway_wire::{MacAddr, VlanProtocol};

fuzz_target!(|bytes: &[u8]| run(bytes));

fn host(now: Instant) -> Host {
    let mut host = Host::new(Settings::default(), [1; 32]);
    let config = InterfaceConfig { autoconf: true, ..InterfaceConfig::ethernet("eth0", MacAddr([2, 0, 0, 0, 0, 1]), 1500) };
    let parent = host.add_interface(now, config).unwrap();
    host.add_vlan(now, "v10", Vlan { parent, protocol: VlanProtocol::Customer, id: 10 }).unwrap();
    host
}

fn run(mut rest: &[u8]) {
    let mut now = Instant::from_millis(1000);
    let mut host = host(now);
    let mut watch = Watch::new(&host, now);
    let caller = Caller { port: 7, user: 1, extended: true, cap_ack: false };
    while let Some((&words, after)) = rest.split_first() {
        rest = after;
        if words == 0 {
            let seconds = rest.first().copied().unwrap_or(1);
            rest = rest.get(1..).unwrap_or_default();
            now += Duration::from_secs(seconds.into());
        } else {
            let length = (usize::from(words) * 4).min(rest.len());
            let (datagram, after) = rest.split_at(length);
            rest = after;
            for answer in answer(&mut host, now, caller, datagram) {
                check(&answer);
            }
        }
        for (_, notice) in watch.changes(&host, now) {
            check(&notice);
        }
        host.poll(now);
        while host.transmit(now, InterfaceId(1)).is_some() {}
        assert!(host.poll_at().is_none_or(|at| at > now));
        assert_eq!(host.interface(InterfaceId(1)).map(|link| link.name), Some("eth0"));
    }
}

/// A datagram of messages, each with its length.
fn check(mut datagram: &[u8]) {
    while !datagram.is_empty() {
        let length = u32::from_ne_bytes(*datagram.first_chunk().unwrap()) as usize;
        assert!(length >= 16 && length <= datagram.len());
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
