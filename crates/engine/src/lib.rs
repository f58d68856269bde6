//! Runs hosts in real time: one thread, run to completion, asleep when idle.
