//! TCP.
/// TCP of a host.
pub(crate) struct Tcp {}
