//! smoltcp 0.14 at its best: no congestion control, large windows, sockets used again rather than
//! made anew, and frames built in place in rings that are swapped, never copied or allocated.

use super::{Host, Pair, Received, Settings};
use smoltcp::iface::PollIngressSingleResult;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address};
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Bytes of a frame at an MTU of 1,500.
const FRAME: usize = 1514;

/// The virtual clock, in milliseconds, for the timestamp option: smoltcp asks a plain function.
static CLOCK: AtomicU32 = AtomicU32::new(0);

fn timestamp() -> u32 {
    CLOCK.load(Ordering::Relaxed)
}

/// Frames in order, in memory that is used again.
struct Ring {
    slots: Vec<(usize, [u8; FRAME])>,
    taken: usize,
    filled: usize,
}

impl Ring {
    fn new(depth: usize) -> Self {
        Ring { slots: vec![(0, [0; FRAME]); depth], taken: 0, filled: 0 }
    }
}

/// One end of the link.
struct Nic {
    receive: Ring,
    transmit: Ring,
}

struct Arrived<'a>(&'a [u8]);
struct Free<'a>(&'a mut Ring);

impl phy::RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, process: F) -> R {
        process(self.0)
    }
}

impl phy::TxToken for Free<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let slot = &mut self.0.slots[self.0.filled];
        self.0.filled += 1;
        slot.0 = length;
        fill(&mut slot.1[..length])
    }
}

impl phy::Device for Nic {
    type RxToken<'a> = Arrived<'a>;
    type TxToken<'a> = Free<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Free<'_>)> {
        let ring = &mut self.receive;
        if ring.taken == ring.filled || self.transmit.filled == self.transmit.slots.len() {
            return None;
        }
        let (length, bytes) = &ring.slots[ring.taken];
        ring.taken += 1;
        Some((Arrived(&bytes[..*length]), Free(&mut self.transmit)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Free<'_>> {
        (self.transmit.filled < self.transmit.slots.len()).then_some(Free(&mut self.transmit))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// One smoltcp interface with its sockets.
pub struct Smoltcp {
    interface: Interface,
    nic: Nic,
    sockets: SocketSet<'static>,
    settings: Settings,
    peer: Ipv4Address,
    /// Closed sockets, to be used again.
    spare: Vec<SocketHandle>,
    /// The one in LISTEN, and its port.
    listener: Option<(SocketHandle, u16)>,
    next_port: u16,
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(now.as_micros() as i64)
}

impl Smoltcp {
    fn new(settings: Settings, own: u8, peer: u8) -> Self {
        let mut nic = Nic { receive: Ring::new(settings.depth), transmit: Ring::new(settings.depth) };
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 0, own]).into());
        config.random_seed = own.into();
        let mut interface = Interface::new(config, &mut nic, Instant::ZERO);
        let address = IpCidr::new(Ipv4Address::new(10, 0, 0, own).into(), 24);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(address);
        });
        Smoltcp {
            interface,
            nic,
            sockets: SocketSet::new(Vec::new()),
            settings,
            peer: Ipv4Address::new(10, 0, 0, peer),
            spare: Vec::new(),
            listener: None,
            next_port: 49152,
        }
    }

    /// A closed socket.
    fn socket(&mut self) -> SocketHandle {
        if let Some(handle) = self.spare.pop() {
            return handle;
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; self.settings.buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        if self.settings.timestamps {
            socket.set_tsval_generator(Some(timestamp));
        }
        self.sockets.add(socket)
    }

    fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

impl Host for Smoltcp {
    type Connection = SocketHandle;

    fn input(&mut self, now: Duration) {
        CLOCK.store(now.as_millis() as u32, Ordering::Relaxed);
        let now = instant(now);
        while self.interface.poll_ingress_single(now, &mut self.nic, &mut self.sockets) != PollIngressSingleResult::None
        {
        }
    }

    fn output(&mut self, now: Duration) {
        CLOCK.store(now.as_millis() as u32, Ordering::Relaxed);
        let now = instant(now);
        self.interface.poll_maintenance(now);
        while self.interface.poll_egress(now, &mut self.nic, &mut self.sockets) != PollResult::None {}
    }

    fn poll_at(&mut self, now: Duration) -> Option<Duration> {
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        Some(Duration::from_micros(at.total_micros().max(0) as u64))
    }

    fn listen(&mut self, port: u16) {
        let handle = self.socket();
        if self.tcp(handle).listen(port).is_ok() {
            self.listener = Some((handle, port));
        }
    }

    fn connect(&mut self, _: Duration, port: u16) -> SocketHandle {
        let handle = self.socket();
        let local = self.next_port;
        self.next_port = if local == u16::MAX { 49152 } else { local + 1 };
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        let remote = (self.peer, port);
        // It fails only for a socket that is open or an address of zero, neither of which this is.
        let _ = socket.connect(self.interface.context(), remote, local);
        handle
    }

    fn accept(&mut self) -> Option<SocketHandle> {
        let (handle, port) = self.listener?;
        if !matches!(self.tcp(handle).state(), State::Established | State::CloseWait) {
            return None;
        }
        self.listen(port);
        Some(handle)
    }

    fn established(&mut self, handle: SocketHandle) -> bool {
        self.tcp(handle).state() == State::Established
    }

    fn send(&mut self, handle: SocketHandle, bytes: &[u8]) -> usize {
        self.tcp(handle).send_slice(bytes).unwrap_or(0)
    }

    fn receive(&mut self, handle: SocketHandle, into: &mut [u8]) -> Received {
        match self.tcp(handle).recv_slice(into) {
            Ok(count) => Received::Bytes(count),
            Err(_) => Received::End,
        }
    }

    fn close(&mut self, _: Duration, handle: SocketHandle) {
        self.tcp(handle).close();
    }

    fn gone(&mut self, handle: SocketHandle) -> bool {
        let gone = self.tcp(handle).state() == State::Closed;
        if gone {
            self.spare.push(handle);
        }
        gone
    }
}

/// Two smoltcp interfaces.
pub struct Two {
    client: Smoltcp,
    server: Smoltcp,
}

/// Hands what `from` has transmitted to `to`, and gets the empty frames in return.
fn carry(from: &mut Nic, to: &mut Nic) -> usize {
    if to.receive.taken < to.receive.filled {
        return 0;
    }
    mem::swap(&mut from.transmit, &mut to.receive);
    (from.transmit.taken, from.transmit.filled) = (0, 0);
    to.receive.filled
}

impl Pair for Two {
    type Host = Smoltcp;
    const TIME_WAIT: Duration = Duration::from_secs(10);

    fn new(settings: Settings) -> Self {
        Two { client: Smoltcp::new(settings, 1, 2), server: Smoltcp::new(settings, 2, 1) }
    }

    fn client(&mut self) -> &mut Smoltcp {
        &mut self.client
    }

    fn server(&mut self) -> &mut Smoltcp {
        &mut self.server
    }

    fn carry(&mut self) -> usize {
        carry(&mut self.client.nic, &mut self.server.nic) + carry(&mut self.server.nic, &mut self.client.nic)
    }
}
