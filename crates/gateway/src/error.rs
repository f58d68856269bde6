//! Why there is no gateway.

use std::fmt;

use rustix::io::Errno;

use crate::config::Publish;

/// Why a gateway could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayError {
    /// An address is not of the network, two are the same, or the prefix is out of range.
    Addresses,
    /// A port could not be published: the system's errno.
    Publish(Publish, i32),
    /// The system gave no random bytes: its errno.
    Entropy(i32),
    /// The host refused the interface (an MTU out of range), or a socket.
    Host(wireway_stack::Error),
}

impl From<wireway_stack::Error> for GatewayError {
    fn from(error: wireway_stack::Error) -> Self {
        GatewayError::Host(error)
    }
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayError::Addresses => {
                f.write_str("the program, the gateway and DNS need different addresses of one network, with a prefix of at most 30 bits (IPv6: 126)")
            }
            GatewayError::Publish(publish, errno) => {
                let errno = Errno::from_raw_os_error(*errno);
                write!(f, "cannot publish {publish}: ")?;
                match errno {
                    Errno::ADDRINUSE => f.write_str("the machine's port is in use"),
                    Errno::ACCESS | Errno::PERM => write!(
                        f,
                        "no permission for the machine's port (an ordinary user may take those from {} on)",
                        first_unprivileged_port()
                    ),
                    Errno::ADDRNOTAVAIL => f.write_str("the machine has no such address"),
                    other => write!(f, "{other}"),
                }
            }
            GatewayError::Entropy(errno) => {
                write!(f, "the system gives no random bytes: {}", Errno::from_raw_os_error(*errno))
            }
            GatewayError::Host(error) => write!(f, "the gateway's host: {error}"),
        }
    }
}

impl std::error::Error for GatewayError {}

/// net.ipv4.ip_unprivileged_port_start
fn first_unprivileged_port() -> u16 {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    setting.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1_024)
}
