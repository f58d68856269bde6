//! Raw and ping sockets.
/// Raw and ping sockets of a host.
pub(crate) struct Raw {}
