//! A capture onto a full disk. Alone in its process, because what stands for the disk is the process's file size limit.

use std::cell::RefCell;
use std::rc::Rc;

use pcap_file::pcapng::{Block, PcapNgReader};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wireway_nic::{Capture, CaptureCounters, Direction, Monitor};
use wireway_packet::Instant;
use wireway_wire::MacAddr;

#[test]
fn a_full_disk_ends_the_capture_at_a_whole_block() {
    // SAFETY: ignoring a signal touches nothing of ours; a write beyond the limit is then EFBIG.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let old = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(300_000), ..old }).unwrap();

    let path = std::env::temp_dir().join(format!("wireway-{}-full.pcapng", std::process::id()));
    let errors = Rc::new(RefCell::new(0));
    let report = errors.clone();
    let mut capture = Capture::create(&path, 0, move |_| *report.borrow_mut() += 1).unwrap();
    let card = capture.attach("eth0", MacAddr([2; 6]));
    for _ in 0..1000 {
        capture.frame(Instant::ZERO, card, Direction::Transmitted, &[7; 1000]);
    }
    let counters = capture.finish();
    assert_eq!(*errors.borrow(), 1);
    assert!(counters.written > 200 && counters.lost > 500, "{counters:?}");
    assert_eq!(counters.written + counters.lost, 1000);

    let mut reader = PcapNgReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let mut frames = 0;
    while let Some(block) = reader.next_block() {
        frames += u64::from(matches!(block.unwrap(), Block::EnhancedPacket(_)));
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(counters, CaptureCounters { written: frames, ..counters });
}
