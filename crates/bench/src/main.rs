//! Benchmarks: Wireway beside its peers, in one run, with medians and ratios.
//!
//! * `stacks` measures stack to stack inside one process and one thread, over an in-memory Ethernet
//!   link, beside smoltcp.
//! * `programs` runs one unmodified load program over the kernel's loopback, `wireway run`, pasta and
//!   slirp4netns.
//! * `memory` counts the heap bytes an idle TCP connection costs.
//! * `instructions` counts the instructions of the hot paths under valgrind, and compares them with a table.
//! * `leak` makes thousands of short HTTP connections and watches what Wireway's processes hold.
//! * `serve` and `load` are the two ends of that load program, usable by themselves.
//!
//! `docs/benchmarks.md` says how to run them and what was measured.

mod heap;
mod instructions;
mod programs;
mod report;
mod stacks;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[global_allocator]
static HEAP: heap::CountingAllocator = heap::CountingAllocator;

/// What the command line says.
#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Stack to stack in memory: bulk, round trips and connections a second, beside smoltcp.
    Stacks(stacks::Arguments),
    /// Heap bytes that an idle TCP connection costs in each stack.
    Memory(stacks::memory::Arguments),
    /// Instructions of the hot paths, compared with the table that is kept.
    Instructions(instructions::Arguments),
    /// The same load program over the kernel's loopback, Wireway, pasta and slirp4netns.
    Programs(programs::Arguments),
    /// Short HTTP connections in a row over Wireway: what its processes hold, from first to last.
    Leak(programs::leak::Arguments),
    /// The server of the load program.
    Serve(programs::serve::Arguments),
    /// The client of the load program: one load against one server.
    Load(programs::load::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().benchmark {
        Benchmark::Stacks(arguments) => stacks::run(&arguments),
        Benchmark::Memory(arguments) => stacks::memory::run(&arguments),
        Benchmark::Instructions(arguments) => instructions::run(&arguments),
        Benchmark::Programs(arguments) => programs::run(&arguments),
        Benchmark::Leak(arguments) => programs::leak::run(&arguments),
        Benchmark::Serve(arguments) => programs::serve::run(&arguments),
        Benchmark::Load(arguments) => programs::load::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wireway-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
