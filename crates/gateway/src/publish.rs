//! Published ports: sockets of the machine whose connections and datagrams go to the program.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketType;
use wireway_engine::{Context, Interest};
use wireway_packet::Instant;

use crate::address::{Map, canonical};
use crate::config::{Publish, Transport};
use crate::counters::{Counters, count};
use crate::outer;
use crate::table::{Part, Table};
use crate::tcp::Tcp;
use crate::udp::Udp;

/// Connections accepted in one call, so that others take turns.
const BATCH: usize = 64;
/// When to try again after descriptors ran out.
const RETRY: Duration = Duration::from_millis(100);

struct Port {
    fd: Rc<OwnedFd>,
    port: u16,
    transport: Transport,
}

/// The machine's listening sockets.
pub(crate) struct Ports {
    ports: Table<Port>,
    /// Ports with more to take.
    busy: Vec<u64>,
    /// Ports to look at again at this time: descriptors ran out.
    retry_at: Option<Instant>,
}

impl Ports {
    /// Listens on the ports to publish. Also tells what each became, as a port may be the machine's to choose.
    pub fn listen(publish: &[Publish]) -> Result<(Ports, Vec<Publish>), (Publish, Errno)> {
        let mut ports = Table::new(Part::Publish);
        let mut bound = Vec::new();
        for &wanted in publish {
            let kind = match wanted.transport {
                Transport::Tcp => SocketType::STREAM,
                Transport::Udp => SocketType::DGRAM,
            };
            let (fd, listen) = outer::listen(wanted.listen, kind).map_err(|error| (wanted, error))?;
            ports.insert(Port { fd: Rc::new(fd), port: wanted.port, transport: wanted.transport });
            bound.push(Publish { listen, ..wanted });
        }
        Ok((Ports { ports, busy: Vec::new(), retry_at: None }, bound))
    }

    /// Starts to watch the sockets.
    pub fn start(&mut self, cx: &mut Context<'_>) {
        for (token, port) in self.ports.iter() {
            // Fails only for want of memory; then the port stays silent.
            let _ = cx.register(port.fd.as_fd(), token, Interest::IN | Interest::ET);
        }
    }

    /// A published port has something.
    pub fn ready(
        &mut self,
        cx: &mut Context<'_>,
        token: u64,
        tcp: &mut Tcp,
        udp: &mut Udp,
        map: &Map,
        counters: &Counters,
    ) {
        let Some(port) = self.ports.get(token) else { return };
        let more = match port.transport {
            Transport::Udp => udp.receive_published(cx, &port.fd, port.port, map, counters),
            Transport::Tcp => match accept_batch(cx, port, tcp, map, counters) {
                Ok(more) => more,
                Err(_) => {
                    count(&counters.tcp_exhausted);
                    self.retry_at = Some(cx.now + RETRY);
                    false
                }
            },
        };
        if more && !self.busy.contains(&token) {
            self.busy.push(token);
        }
    }

    /// Goes on with ports that had more.
    pub fn poll(&mut self, cx: &mut Context<'_>, tcp: &mut Tcp, udp: &mut Udp, map: &Map, counters: &Counters) {
        let mut tokens = std::mem::take(&mut self.busy);
        if self.retry_at.is_some_and(|at| at <= cx.now) {
            self.retry_at = None;
            tokens = self.ports.iter().map(|(token, _)| token).collect();
        }
        for token in tokens {
            self.ready(cx, token, tcp, udp, map, counters);
        }
    }

    pub fn poll_at(&self) -> Option<Instant> {
        if self.busy.is_empty() { self.retry_at } else { Some(Instant::ZERO) }
    }
}

/// Accepts some connections. True if there may be more; an error if descriptors ran out.
fn accept_batch(
    cx: &mut Context<'_>,
    port: &Port,
    tcp: &mut Tcp,
    map: &Map,
    counters: &Counters,
) -> Result<bool, Errno> {
    for _ in 0..BATCH {
        if tcp.is_full() {
            return Err(Errno::MFILE);
        }
        match outer::accept(&port.fd) {
            Ok((fd, peer)) => tcp.connect_in(cx, fd, canonical(peer), port.port, map, counters),
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) if outer::is_exhausted(error) => return Err(error),
            // This one ended before it was taken (accept(2) passes its errors on).
            Err(_) => {}
        }
    }
    Ok(true)
}
