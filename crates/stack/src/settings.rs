//! Every tunable of a host, one typed field each, named as Linux's sysctl.

/// The tunables of a host with their defaults, which are Linux's where Linux has them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// net.ipv4.ip_default_ttl
    pub ip_default_ttl: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { ip_default_ttl: 64 }
    }
}
