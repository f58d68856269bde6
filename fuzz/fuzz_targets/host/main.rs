//! Two whole hosts with live sockets, driven by the fuzzer: it loses, repeats, reorders and changes the frames between them, forges
//! others, makes socket calls and lets time go by.
//!
//! # Theory of operation
//!
//! The input is a program: a byte of settings, then operations, each a byte with its operands behind it (`world.rs`). Before it runs, a
//! connection between the hosts is established, so that the fuzzer starts where the interesting states are; what it forges is
//! made of the numbers last seen on the wire (`forged.rs`), so that it need not guess them.
//!
//! What must hold, whatever the program: nothing panics; every frame that a host transmits is sound; after a poll nothing is due any
//! more; what a host holds stays within its settings; streams are not falsified where no frame was; when the network is good again they go
//! on; and when all sockets are closed and time has gone by, nothing is left.

#![no_main]

mod calls;
mod forged;
mod input;
mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| world::run(bytes));
