//! A pcapng file of what is on the wire, for Wireshark, tcpdump and the like.
//!
//! Frames are gathered in memory and written when they have become many or a tenth of a second old, so a capture costs a
//! copy for each frame and few system calls. A write that fails (the disk is full) ends the capture, not the program: the file
//! is cut back to its last whole block, the error is told once, and what comes after is counted.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::Endianness;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use wireway_packet::Instant;
use wireway_wire::MacAddr;

use crate::{Direction, Monitor};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;
/// How long they are gathered.
const HOLD: Duration = Duration::from_millis(100);
/// Timestamps count 10^-9 seconds (if_tsresol).
const NANOSECONDS: u8 = 9;
/// The low bits of epb_flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// What a capture came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounters {
    /// Frames written to the file.
    pub written: u64,
    /// Frames that are not in the file because writing failed.
    pub lost: u64,
}

/// A capture under way.
pub struct Capture {
    path: PathBuf,
    /// `None` after a failure.
    file: Option<File>,
    writer: PcapNgWriter<Vec<u8>>,
    /// Bytes of whole blocks in the file.
    whole: u64,
    /// Frames that wait to be written.
    pending: u64,
    /// When they are to be written.
    due: Option<Instant>,
    /// CLOCK_REALTIME at the zero of `now`, in nanoseconds.
    epoch: u64,
    cards: usize,
    counters: CaptureCounters,
    report: Box<dyn FnMut(&str)>,
}

impl Capture {
    /// Makes the file. `epoch` is the wall-clock time of [`Instant::ZERO`], in nanoseconds since 1970. `report` is told once if writing fails
    /// later. Errors are those of open(2) and write(2).
    pub fn create(path: &Path, epoch: u64, report: impl FnMut(&str) + 'static) -> io::Result<Capture> {
        let file = File::create(path)?;
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(concat!(
                "Wireway ",
                env!("CARGO_PKG_VERSION")
            )))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(Vec::new(), section).map_err(io::Error::other)?;
        let mut capture = Capture {
            path: path.to_owned(),
            file: Some(file),
            writer,
            whole: 0,
            pending: 0,
            due: None,
            epoch,
            cards: 0,
            counters: CaptureCounters::default(),
            report: Box::new(report),
        };
        capture.write_out()?;
        Ok(capture)
    }

    /// Writes what is left, and tells what the capture came to.
    pub fn finish(&mut self) -> CaptureCounters {
        self.flush();
        self.counters
    }

    fn write_out(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let buffer = self.writer.get_mut();
        let result = file.write_all(buffer);
        if result.is_ok() {
            self.whole += buffer.len() as u64;
        }
        buffer.clear();
        result
    }

    fn flush(&mut self) {
        self.due = None;
        let pending = std::mem::take(&mut self.pending);
        match self.write_out() {
            Ok(()) => self.counters.written += pending,
            Err(error) => {
                self.counters.lost += pending;
                self.fail(&error);
            }
        }
    }

    fn fail(&mut self, error: &dyn std::fmt::Display) {
        let Some(file) = self.file.take() else { return };
        // A pipe cannot be cut back.
        let _ = file.set_len(self.whole);
        let path = self.path.display();
        (self.report)(&format!("the capture into {path} ends here: {error}"));
    }
}

impl Monitor for Capture {
    fn attach(&mut self, name: &str, mac: MacAddr) -> usize {
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfMacAddr(Cow::Owned(mac.0.to_vec())),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        if let Err(error) = self.writer.write_pcapng_block(block) {
            self.fail(&error);
        }
        self.cards += 1;
        self.cards - 1
    }

    fn frame(&mut self, now: Instant, card: usize, direction: Direction, frame: &[u8]) {
        if self.file.is_none() {
            self.counters.lost += 1;
            return;
        }
        let flags = match direction {
            Direction::Received => INBOUND,
            Direction::Transmitted => OUTBOUND,
        };
        let block = EnhancedPacketBlock {
            interface_id: card as u32,
            timestamp: Duration::from_nanos(self.epoch.saturating_add(now.as_nanos())),
            original_len: frame.len() as u32,
            data: Cow::Borrowed(frame),
            options: vec![EnhancedPacketOption::Flags(flags)],
        };
        if let Err(error) = self.writer.write_pcapng_block(block) {
            self.counters.lost += 1;
            return self.fail(&error);
        }
        self.pending += 1;
        if self.writer.get_ref().len() >= BUFFER {
            self.flush();
        } else if self.due.is_none() {
            self.due = Some(now + HOLD);
        }
    }

    fn poll(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    fn poll_at(&self) -> Option<Instant> {
        self.due
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.flush();
    }
}
