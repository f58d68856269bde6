//! Ports that are free, and ports that are served.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::process::wait_until;

/// A port that no socket of the machine uses. It is below the range that the kernel gives to outgoing
/// connections, and each test of this process gets another one.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(u64::from(std::process::id()) * 97 % u64::from(COUNT)).expect("fits");
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step % COUNT) % COUNT;
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        if tcp.is_ok() && udp.is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Waits until a TCP socket of the machine listens on `port`, without connecting to it.
pub fn wait_listening(port: u16) {
    wait_until(&format!("port {port} is listened on"), || {
        ["tcp", "tcp6"].iter().any(|table| {
            let table = std::fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
            table.lines().skip(1).any(|line| is_listening(line, port))
        })
    });
}

/// A line of /proc/net/tcp: "sl local_address:PORT remote_address:PORT STATE …", in hexadecimal; 0A is LISTEN.
fn is_listening(line: &str, port: u16) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let local = words.next().and_then(|local| local.rsplit(':').next());
    let state = words.nth(1);
    local.and_then(|p| u16::from_str_radix(p, 16).ok()) == Some(port) && state == Some("0A")
}
