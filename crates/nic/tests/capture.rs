//! Captures, read back by a library and by tcpdump where there is one.

use std::cell::RefCell;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use wireway_nic::{Capture, CaptureCounters, MemoryConfig, Monitor, Monitored, Nic, pair};
use wireway_packet::{Checksum, Instant, Packet, SegmentKind, Segmentation, Slice};
use wireway_wire::ipv4::Ipv4Fields;
use wireway_wire::tcp::TcpFields;
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{EtherType, EthernetHeader, Ipv4Header, MacAddr, Protocol, SeqNumber, TcpFlags, TcpHeader};

const EPOCH: u64 = 1_700_000_000_123_456_789;

/// A path of our own, removed with the value.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Path {
        Path(std::env::temp_dir().join(format!("wireway-{}-{name}.pcapng", std::process::id())))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A TCP super-segment of `len` bytes of payload, its checksum left to the card.
fn super_segment(len: usize) -> Packet {
    let (src, dst) = ([10, 0, 2, 15].into(), [10, 0, 2, 2].into());
    let fields = TcpFields {
        src_port: 40000,
        dst_port: 80,
        seq: SeqNumber(1000),
        ack: SeqNumber(2000),
        flags: TcpFlags::ACK | TcpFlags::PSH,
        window: 500,
        urgent: 0,
    };
    let ip = Ipv4Header::new(
        &Ipv4Fields {
            tos: 0,
            payload_len: 20 + len as u16,
            ident: 7,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: Protocol::TCP,
            src,
            dst,
        },
        &[],
    );
    let mut tcp = TcpHeader::new(&fields, 0);
    tcp.checksum.set(ip.pseudo(20 + len as u32).fold());
    let mut packet = Packet::from_slice(Slice::copy_from(&vec![0x5a; len]));
    packet.prepend(20).copy_from_slice(tcp.as_bytes());
    packet.prepend(20).copy_from_slice(ip.as_bytes());
    let ethernet = EthernetHeader::new(MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([2, 0, 0, 0, 0, 1]), EtherType::IPV4);
    packet.prepend(14).copy_from_slice(ethernet.as_bytes());
    packet.offload_mut().checksum = Checksum::Partial { start: 34, offset: 16 };
    packet.offload_mut().segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size: 1460, header_len: 54 });
    packet
}

#[test]
fn a_capture_shows_the_frames_of_the_wire() {
    let path = Path::new("wire");
    let capture = Rc::new(RefCell::new(Capture::create(&path.0, EPOCH, |error| panic!("{error}")).unwrap()));
    let (a, mut b) = pair(MemoryConfig { ring: 2, ..MemoryConfig::default() });
    let mut a = Monitored::new(a, "eth0", capture.clone());
    let now = Instant::from_nanos(1_000_000_011);
    a.transmit(now, super_segment(3000)).unwrap();
    b.transmit(now, super_segment(10)).unwrap();
    let received = a.receive(now + Duration::from_nanos(5)).unwrap();
    assert!(matches!(received.offload().checksum, Checksum::Partial { .. }), "the card's packets stay as they are");
    assert_eq!(b.receive(now).unwrap().len(), 3054);

    // What the card gives back was not on the wire.
    for _ in 0..2 {
        a.transmit(now, Packet::copy_from(&[0; 60])).unwrap();
    }
    assert!(a.transmit(now, Packet::copy_from(&[0; 60])).is_err());

    // Nothing is written yet; a tenth of a second later it is.
    let file_len = || std::fs::metadata(&path.0).unwrap().len();
    let before = file_len();
    let due = a.poll_at().unwrap();
    assert_eq!(due, now + Duration::from_millis(100));
    assert!(a.receive(due).is_none());
    assert!(file_len() > before + 3000 + 3 * 54);
    assert_eq!(a.poll_at(), None);
    assert_eq!(capture.borrow_mut().finish(), CaptureCounters { written: 6, lost: 0 });

    let mut reader = PcapNgReader::new(File::open(&path.0).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            assert_eq!(packet.original_len as usize, packet.data.len());
            frames.push((
                packet.interface_id,
                packet.timestamp,
                packet.options[0].clone().into_owned(),
                packet.data.to_vec(),
            ));
        }
    }
    let interfaces = reader.interfaces();
    assert_eq!(interfaces.len(), 1);
    assert!(interfaces[0].options.contains(&InterfaceDescriptionOption::IfName("eth0".into())));
    let lengths: Vec<usize> = frames.iter().map(|frame| frame.3.len()).collect();
    assert_eq!(lengths, [1514, 1514, 54 + 80, 64, 60, 60]);
    assert_eq!(frames[0].1, Duration::from_nanos(EPOCH + 1_000_000_011));
    assert_eq!(frames[3].1, Duration::from_nanos(EPOCH + 1_000_000_016));
    assert_eq!(frames[0].2, EnhancedPacketOption::Flags(2));
    assert_eq!(frames[3].2, EnhancedPacketOption::Flags(1));
    for (_, _, _, bytes) in &frames[..4] {
        let (ip, segment) = wireway_wire::Ipv4View::parse(&bytes[14..]).unwrap();
        ip.verify_checksum().unwrap();
        let mut sum = ip.header.pseudo(segment.len() as u32);
        sum.add_bytes(segment);
        assert!(sum.is_valid());
    }

    let mut tcpdump = std::process::Command::new("tcpdump");
    tcpdump.args(["-nn", "-tt", "-v", "--nano", "-r"]).arg(&path.0).args(["tcp", "and", "src", "port", "40000"]);
    let Ok(output) = tcpdump.output() else {
        eprintln!("skipped: no tcpdump");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1700000001.123456800 IP"), "{text}");
    assert!(text.contains("(correct)") && !text.contains("incorrect"), "{text}");
    assert_eq!(text.matches("Flags [P.]").count(), 2, "{text}");
}

#[test]
fn a_reader_that_goes_away_ends_the_capture_only() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)));
    let errors = Rc::new(RefCell::new(Vec::new()));
    let report = errors.clone();
    let mut capture = Capture::create(&path, EPOCH, move |error| report.borrow_mut().push(error.to_owned())).unwrap();
    let card = capture.attach("eth0", MacAddr([2; 6]));
    let frame = |capture: &mut Capture| {
        capture.frame(Instant::ZERO, card, wireway_nic::Direction::Received, &[0; 100]);
    };
    frame(&mut capture);
    drop((reader, writer));
    capture.poll(Instant::from_millis(100));
    frame(&mut capture);
    assert_eq!(capture.finish(), CaptureCounters { written: 0, lost: 2 });
    drop(capture);
    let errors = errors.borrow();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("ends here") && errors[0].contains("Broken pipe"), "{}", errors[0]);
}

#[test]
fn a_file_that_cannot_be_made_is_an_error() {
    let nowhere = Capture::create(std::path::Path::new("/nonexistent/x.pcapng"), 0, |_| ());
    assert_eq!(nowhere.err().unwrap().kind(), std::io::ErrorKind::NotFound);
    let full = Capture::create(std::path::Path::new("/dev/full"), 0, |_| ());
    assert_eq!(full.err().unwrap().kind(), std::io::ErrorKind::StorageFull);
}
