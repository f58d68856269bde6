//! UDP.
/// UDP of a host.
pub(crate) struct Udp {}
