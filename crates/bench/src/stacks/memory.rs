//! Heap bytes that an idle TCP connection costs, by a counting allocator.
//!
//! Both hosts of a pair are in the process, so what all connections hold is divided by twice their
//! number. Each connection has carried one byte each way, and what was read is given back.

use super::loops::Drive;
use super::{Host, Pair, Received, Settings, smoltcp, wireway};
use crate::heap;
use std::io;

/// What the `memory` command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// Connections.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Bytes in each socket buffer: the limit, which a stack need not allocate at once.
    #[arg(long, default_value_t = 64 << 10)]
    buffer: usize,
}

/// Runs the benchmark and prints bytes per connection and end.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    println!("bytes per idle connection, with buffers of up to {} KiB", arguments.buffer >> 10);
    println!("  wireway  {:>8}", idle::<wireway::Two>(arguments)?);
    println!("  smoltcp  {:>8}", idle::<smoltcp::Two>(arguments)?);
    Ok(())
}

/// Heap bytes per connection and end.
fn idle<P: Pair>(arguments: &Arguments) -> io::Result<isize> {
    let mut drive = Drive::<P>::new(&Settings { buffer: arguments.buffer, depth: 64, timestamps: true, v6: false });
    drive.listen();
    let mut open = Vec::with_capacity(arguments.connections);
    let before = heap::in_use();
    for _ in 0..arguments.connections {
        let (client, server) = drive.connection()?;
        let mut byte = [0];
        drive.pair.client().send(client, b"?");
        drive.pair.server().send(server, b"!");
        while drive.exchange() {}
        let asked = drive.pair.server().receive(server, &mut byte);
        let answered = drive.pair.client().receive(client, &mut byte);
        if (asked, answered) != (Received::Bytes(1), Received::Bytes(1)) {
            return Err(io::Error::other("memory: a byte is missing"));
        }
        open.push((client, server));
    }
    drive.settle();
    let held = heap::in_use() - before;
    Ok(held / (2 * arguments.connections.max(1)).cast_signed())
}
