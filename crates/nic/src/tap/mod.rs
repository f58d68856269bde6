//! A Linux TAP: the kernel is at the other end of the cable.
//!
//! Each read and write of `/dev/net/tun` is one frame behind a virtio-net header (`vnet.rs`), so super-segments and partial
//! checksums pass in both directions, and 64 KiB cost one system call. A read scatters into two blocks: a small one that
//! holds an ordinary frame, and one of 64 KiB that only super-segments reach. So a frame pins about as much memory as it has
//! bytes, and nothing is copied but the shortest frames and the rest of medium ones.
//!
//! The ioctls are our own (`ioctl.rs`): the libraries for TUN/TAP either hide the virtio-net header or cut and merge
//! super-segments themselves, by copying.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use wireway_packet::software::Segmenter;
use wireway_packet::{CLASSES, Checksum, INLINE, Instant, Packet, Writer};
use wireway_stack::{Cidr, Features};
use wireway_wire::MacAddr;

use crate::{Nic, Statistics, fits};

mod ioctl;
mod vnet;

/// Parts of a frame that one write may gather (the kernel's UIO_MAXIOV is 1,024).
const PARTS_MAX: usize = 256;
/// Broken frames that one call skips.
const SKIP_MAX: usize = 64;
/// Bytes beyond the small block that are worth a block of their own size rather than a large one.
const COPY_MAX: usize = CLASSES[2];

/// How to open a TAP.
#[derive(Clone, Debug)]
pub struct TapConfig {
    /// The interface's name in the kernel, 1 to 15 bytes.
    pub name: String,
    /// The hardware address of our end (the kernel gives its own another).
    pub mac: MacAddr,
    /// Bytes of the largest IP packet, for both ends.
    pub mtu: u16,
    /// The address of the kernel's end, given to it if the TAP was not there before.
    pub host_address: Option<Cidr>,
}

/// A card whose cable ends in the kernel.
pub struct TapNic {
    tun: File,
    name: String,
    mac: MacAddr,
    mtu: u16,
    created: bool,
    small: Writer,
    large: Writer,
    failure: Option<String>,
    statistics: Statistics,
}

impl TapNic {
    /// Opens the TAP `config.name`, or makes it if it is not there: then it is gone again when the card is dropped. Sets its
    /// MTU and brings it up. The error says what is wrong and what to do about it.
    pub fn open(config: TapConfig) -> io::Result<TapNic> {
        let name = &*config.name;
        check_name(name)?;
        let fail = |error: io::Error, what: String| io::Error::new(error.kind(), format!("{what}: {error}"));
        let tun = File::options().read(true).write(true).open("/dev/net/tun").map_err(cannot_open)?;
        rustix::fs::fcntl_setfl(&tun, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK)?;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("[::1]:0"))?;
        let socket = socket.as_fd();
        let created = !ioctl::exists(socket, name)?;
        ioctl::attach(tun.as_fd(), name).map_err(|error| cannot_attach(error, name, created))?;
        ioctl::enable_offloads(tun.as_fd()).map_err(|e| fail(e, format!("no offloads on the TAP {name}")))?;
        let mtu = ioctl::mtu(socket, name)?;
        if mtu != i32::from(config.mtu) {
            ioctl::set_mtu(socket, name, config.mtu).map_err(|error| {
                fail(error, format!("the TAP {name} has MTU {mtu} and cannot be given {}", config.mtu))
            })?;
        }
        match config.host_address {
            Some(Cidr { address, prefix_len }) if created => {
                match address {
                    IpAddr::V4(v4) => ioctl::set_address(socket, name, v4, prefix_len),
                    IpAddr::V6(v6) => ioctl::add_address_v6(socket, name, v6, prefix_len),
                }
                .map_err(|e| fail(e, format!("cannot give {address}/{prefix_len} to the TAP {name}")))?;
            }
            _ => {}
        }
        if !ioctl::is_up(socket, name)? {
            let hint = format!("the TAP {name} is down and we may not bring it up (try: ip link set {name} up)");
            ioctl::bring_up(socket, name).map_err(|error| fail(error, hint))?;
        }
        // Without it the first answers of the kernel may be lost, and with them a second.
        let _ = ioctl::settle_carrier(socket, name);
        Ok(TapNic {
            tun,
            name: config.name,
            mac: config.mac,
            mtu: config.mtu,
            created,
            small: small(),
            large: large(),
            failure: None,
            statistics: Statistics::default(),
        })
    }

    /// Whether the TAP was made by [`open`](Self::open), rather than found.
    pub fn created(&self) -> bool {
        self.created
    }

    /// Reads one frame with its header. EAGAIN if there is none.
    fn read(&mut self) -> Result<Option<Packet>, Errno> {
        let mut header = [0; vnet::LEN];
        let small_len = self.small.spare();
        let n = rustix::io::readv(
            &self.tun,
            &mut [
                IoSliceMut::new(&mut header),
                IoSliceMut::new(self.small.spare_mut()),
                IoSliceMut::new(self.large.spare_mut()),
            ],
        )?;
        let Some(len) = n.checked_sub(vnet::LEN) else { return Ok(None) };
        let mut frame = Packet::new();
        if len <= INLINE {
            frame.append(&self.small.spare_mut()[..len]);
        } else {
            frame.append_slice(self.small.commit(len));
            self.small = small();
            let rest = len.saturating_sub(small_len);
            if rest > COPY_MAX {
                frame.append_slice(self.large.commit(rest));
                self.large = large();
            } else if rest > 0 {
                frame.append(&self.large.spare_mut()[..rest]);
            }
        }
        Ok(vnet::read(header, &mut frame).then_some(frame))
    }

    /// Writes one frame. False if the kernel cannot take it now.
    fn write(&mut self, frame: &Packet) -> bool {
        let header = vnet::write(frame);
        let joined: Vec<u8>;
        let mut parts: smallvec::SmallVec<[IoSlice<'_>; 8]> = smallvec::smallvec![IoSlice::new(&header)];
        if frame.chain().len() < PARTS_MAX {
            parts.extend(frame.parts().map(IoSlice::new));
        } else {
            joined = frame.to_vec();
            parts.push(IoSlice::new(&joined));
        }
        match rustix::io::retry_on_intr(|| rustix::io::writev(&self.tun, &parts)) {
            Ok(_) => self.statistics.transmitted(frame),
            Err(Errno::AGAIN) => return false,
            Err(error) => {
                // EIO: the interface is down, perhaps not for ever.
                self.statistics.tx_dropped += 1;
                self.check(error);
            }
        }
        true
    }

    fn check(&mut self, error: Errno) {
        if error == Errno::BADFD {
            self.failure = Some(format!("the TAP {} was deleted", self.name));
        }
    }
}

fn small() -> Writer {
    Writer::with_capacity(CLASSES[1])
}

fn large() -> Writer {
    Writer::with_capacity(CLASSES[CLASSES.len() - 1])
}

/// The names that the kernel takes (its dev_valid_name), without patterns such as `tap%d`.
fn check_name(name: &str) -> io::Result<()> {
    let problem = if name.is_empty() || matches!(name, "." | "..") {
        "is no name for an interface"
    } else if name.len() > ioctl::NAME_MAX {
        "is longer than the 15 bytes of an interface's name"
    } else if name.bytes().any(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b':' | b'%' | 0)) {
        "has a character that an interface's name cannot have"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("\"{name}\" {problem}")))
}

fn cannot_open(error: io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission for /dev/net/tun",
        io::ErrorKind::NotFound => "no /dev/net/tun: the kernel has no TUN/TAP here (try: modprobe tun)",
        _ => "cannot open /dev/net/tun",
    };
    io::Error::new(error.kind(), format!("{why}: {error}"))
}

fn cannot_attach(error: io::Error, name: &str, created: bool) -> io::Error {
    let why = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BUSY) => format!("the TAP {name} is in use by another program"),
        Some(Errno::PERM) if created => format!(
            "there is no TAP {name} and we may not make it (have root do: ip tuntap add dev {name} mode tap user $USER; \
             ip link set {name} up)"
        ),
        Some(Errno::PERM) => format!("the TAP {name} belongs to another user"),
        Some(Errno::INVAL) if !created => format!("the interface {name} is no TAP, or one with several queues"),
        _ => format!("cannot attach to the TAP {name}"),
    };
    io::Error::new(error.kind(), format!("{why}: {error}"))
}

impl Nic for TapNic {
    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn features(&self) -> Features {
        Features { tx_checksum: true, tcp_segmentation: true }
    }

    fn transmit(&mut self, _: Instant, frame: Packet) -> Result<(), Packet> {
        if !fits(&frame, self.mtu) {
            self.statistics.tx_dropped += 1;
            return Ok(());
        }
        let offload = frame.offload();
        // The kernel cuts only what also lacks its checksum.
        if offload.segmentation.is_some() && !matches!(offload.checksum, Checksum::Partial { .. }) {
            for frame in Segmenter::new(frame) {
                if !self.write(&frame) {
                    self.statistics.tx_dropped += 1;
                }
            }
            return Ok(());
        }
        if self.write(&frame) { Ok(()) } else { Err(frame) }
    }

    fn receive(&mut self, _: Instant) -> Option<Packet> {
        for _ in 0..SKIP_MAX {
            match self.read() {
                Ok(Some(frame)) => {
                    self.statistics.received(&frame);
                    return Some(frame);
                }
                Ok(None) => self.statistics.rx_dropped += 1,
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.check(error);
                    return None;
                }
            }
        }
        None
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.tun.as_fd())
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn statistics(&self) -> Statistics {
        self.statistics
    }
}
