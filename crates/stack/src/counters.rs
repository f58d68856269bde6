//! What a host counts: every drop once, under one name.

/// Counters of a host.
#[derive(Clone, Debug, Default)]
pub struct Counters {}
