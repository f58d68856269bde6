//! The far end of the default network: relays a host's traffic through the machine's own sockets.
