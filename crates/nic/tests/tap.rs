//! The TAP card with a real kernel at the other end. Needs root, or CAP_NET_ADMIN; says so where it skips.
//!
//! Names are unique to the process; interfaces vanish with the descriptors. 198.18.0.0/15 is for such tests (RFC 2544).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wireway_nic::{Nic, TapConfig, TapNic};
use wireway_packet::software::{Segmenter, to_wire};
use wireway_packet::{Checksum, Instant, Packet, SegmentKind, Segmentation};
use wireway_stack::Cidr;
use wireway_wire::MacAddr;

const NOW: Instant = Instant::ZERO;
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// A TAP of our own, with the kernel at 198.18.x.1/24 and us at .2; `None` where that is not permitted.
fn tap() -> Option<(TapNic, String, [u8; 3])> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ww{}t{count}", std::process::id());
    let net = [198, 18, ((std::process::id() + 8 * count) % 250) as u8];
    let config = TapConfig {
        name: name.clone(),
        mac: MacAddr(OUR_MAC),
        mtu: 1500,
        host_address: Some(Cidr { address: [net[0], net[1], net[2], 1].into(), prefix_len: 24 }),
    };
    match TapNic::open(config) {
        Ok(tap) => Some((tap, name, net)),
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The next frame that `wanted` accepts, within two seconds.
fn receive(tap: &mut TapNic, mut wanted: impl FnMut(&[u8]) -> bool) -> Packet {
    for _ in 0..200 {
        while let Some(frame) = tap.receive(NOW) {
            if wanted(&frame.to_vec()) {
                return frame;
            }
        }
        wait(tap, 10);
    }
    panic!("nothing came");
}

fn wait(tap: &TapNic, millis: i64) -> PollFlags {
    let fd = tap.fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 })).unwrap();
    fds[0].revents()
}

/// Answers the kernel's ARP request for `net`.2.
fn answer_arp(tap: &mut TapNic, net: [u8; 3]) {
    let ours = [net[0], net[1], net[2], 2];
    let request = receive(tap, |f| f.len() >= 42 && f[12..14] == [8, 6] && f[38..42] == ours).to_vec();
    let mut reply = [0; 42];
    reply[..6].copy_from_slice(&request[6..12]);
    reply[6..12].copy_from_slice(&OUR_MAC);
    reply[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    reply[22..28].copy_from_slice(&OUR_MAC);
    reply[28..32].copy_from_slice(&ours);
    reply[32..42].copy_from_slice(&request[22..32]);
    assert!(tap.transmit(NOW, Packet::copy_from(&reply)).is_ok());
}

#[test]
fn frames_pass_both_ways() {
    let Some((mut tap, name, net)) = tap() else { return };
    assert!(tap.created());
    let kernel = UdpSocket::bind((Ipv4Addr::new(net[0], net[1], net[2], 1), 0)).unwrap();
    kernel.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = kernel.local_addr().unwrap().port();
    kernel.send_to(&[0xab; 1400], (Ipv4Addr::new(net[0], net[1], net[2], 2), 9)).unwrap();
    answer_arp(&mut tap, net);
    let frame = receive(&mut tap, |f| f.len() == 14 + 28 + 1400 && f[23] == 17);
    // The kernel leaves the checksum to us.
    assert!(matches!(frame.offload().checksum, Checksum::Partial { start: 34, offset: 6 }), "{frame:?}");
    assert!(frame.true_size() < 3 * 1442, "{}", frame.true_size());

    // The same datagram back: the kernel completes the checksum that we leave to it.
    let mut bytes = frame.to_vec();
    let (to, from) = (bytes[6..12].to_vec(), bytes[..6].to_vec());
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&from);
    bytes[26..30].copy_from_slice(&[net[0], net[1], net[2], 2]);
    bytes[30..34].copy_from_slice(&[net[0], net[1], net[2], 1]);
    bytes[34..36].copy_from_slice(&9u16.to_be_bytes());
    bytes[36..38].copy_from_slice(&port.to_be_bytes());
    let mut back = Packet::copy_from(&bytes);
    *back.offload_mut() = *frame.offload();
    assert!(tap.transmit(NOW, back).is_ok());
    let mut got = [0; 2000];
    let (n, from) = kernel.recv_from(&mut got).unwrap();
    assert_eq!((n, from.port(), got[0], got[1399]), (1400, 9, 0xab, 0xab));
    assert_eq!(tap.statistics().tx_dropped, 0);

    drop(tap);
    let gone = std::path::Path::new("/sys/class/net").join(name);
    assert!(!gone.exists(), "the TAP must go when its maker goes");
}

#[test]
fn super_segments_pass_both_ways() {
    let Some((mut tap, _, net)) = tap() else { return };
    let (kernel_ip, our_ip) = ([net[0], net[1], net[2], 1], [net[0], net[1], net[2], 2]);
    let listener = TcpListener::bind((Ipv4Addr::from(kernel_ip), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();

    // A TCP of a few lines: window scale 7, MSS 1460.
    let kernel_mac = kernel_mac_of(&mut tap, net);
    let segment = |flags: u8, seq: u32, ack: u32, options: &[u8], data: &[u8]| {
        let header = 20 + options.len();
        let mut f = Vec::new();
        f.extend(kernel_mac);
        f.extend(OUR_MAC);
        f.extend([8, 0, 0x45, 0]);
        f.extend(((20 + header + data.len()) as u16).to_be_bytes());
        f.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        f.extend(our_ip);
        f.extend(kernel_ip);
        let sum = wireway_wire::checksum::checksum(&f[14..34]);
        f[24..26].copy_from_slice(&sum.to_be_bytes());
        f.extend(4000u16.to_be_bytes());
        f.extend(port.to_be_bytes());
        f.extend(seq.to_be_bytes());
        f.extend(ack.to_be_bytes());
        f.extend([(header as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        f.extend(options);
        f.extend(data);
        let pseudo = wireway_wire::Sum::pseudo_v4(
            our_ip.into(),
            kernel_ip.into(),
            wireway_wire::Protocol::TCP,
            (header + data.len()) as u32,
        );
        f[50..52].copy_from_slice(&pseudo.fold().to_be_bytes());
        let mut frame = Packet::copy_from(&f);
        frame.offload_mut().checksum = Checksum::Partial { start: 34, offset: 16 };
        if data.len() > 1460 {
            frame.offload_mut().segmentation =
                Some(Segmentation { kind: SegmentKind::Tcp4, size: 1460, header_len: 54 });
        }
        frame
    };
    let be = |f: &[u8], at: usize| u32::from_be_bytes(f[at..at + 4].try_into().unwrap());
    tap.transmit(NOW, segment(2, 99, 0, &[2, 4, 5, 180, 3, 3, 7, 1], &[])).unwrap();
    let syn_ack = receive(&mut tap, |f| f[23] == 6 && f[47] == 0x12).to_vec();
    let (mut seq, mut ack) = (100, be(&syn_ack, 38) + 1);
    tap.transmit(NOW, segment(0x10, seq, ack, &[], &[])).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();

    let data: Vec<u8> = (0..40_000u32).map(|i| (i * 7 % 251) as u8).collect();
    tap.transmit(NOW, segment(0x18, seq, ack, &[], &data)).unwrap();
    seq += data.len() as u32;
    let mut got = vec![0; data.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == data);
    assert_eq!(tap.statistics().tx_dropped, 0);
    assert_eq!(tap.statistics().tx_frames, 3 + 28, "ARP, SYN, ACK; 28 frames stand in the super-segment");

    let writer = std::thread::spawn({
        let data = data.clone();
        move || stream.write_all(&data).map(|()| stream)
    });
    let (mut got, mut longest) = (Vec::<u8>::new(), 0);
    while got.len() < data.len() {
        let frame = receive(&mut tap, |f| f[23] == 6 && f.len() > 54 && be(f, 38) == ack);
        longest = longest.max(frame.len());
        for mut piece in Segmenter::new(frame) {
            assert!(piece.len() <= 1514);
            let bytes = piece.pullup(54).unwrap()[14..].to_vec();
            assert_eq!(bytes.len(), 40);
            let bytes = to_wire(piece);
            assert!(checksums_are_right(&bytes));
            got.extend(&bytes[54..]);
            ack = be(&bytes, 38) + (bytes.len() - 54) as u32;
        }
        tap.transmit(NOW, segment(0x10, seq, ack, &[], &[])).unwrap();
    }
    assert!(got == data);
    assert!(longest > 1514, "the kernel's segments came cut: {longest}");
    drop(writer.join().unwrap().unwrap());
    // The kernel must not be left retrying its FIN on an interface that goes.
    tap.transmit(NOW, segment(0x14, seq, ack, &[], &[])).unwrap();
}

fn checksums_are_right(frame: &[u8]) -> bool {
    use wireway_wire::{Ipv4View, Sum};
    let (ip, segment) = Ipv4View::parse(&frame[14..]).unwrap();
    let mut sum: Sum = ip.header.pseudo(segment.len() as u32);
    sum.add_bytes(segment);
    ip.verify_checksum().is_ok() && sum.is_valid()
}

/// The kernel's address of the TAP, learnt by asking for it; and the kernel learns ours.
fn kernel_mac_of(tap: &mut TapNic, net: [u8; 3]) -> [u8; 6] {
    let mut request = vec![0xff; 6];
    request.extend(OUR_MAC);
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(OUR_MAC);
    request.extend([net[0], net[1], net[2], 2, 0, 0, 0, 0, 0, 0, net[0], net[1], net[2], 1]);
    tap.transmit(NOW, Packet::copy_from(&request)).unwrap();
    let reply = receive(tap, |f| f[12..14] == [8, 6] && f[21] == 2).to_vec();
    reply[6..12].try_into().unwrap()
}

#[test]
fn a_deleted_tap_is_a_failure() {
    let Some((mut tap, name, _)) = tap() else { return };
    assert_eq!(tap.failure(), None);
    let status = std::process::Command::new("ip").args(["link", "delete", &name]).status();
    if status.is_err() {
        eprintln!("skipped: no ip(8)");
        return;
    }
    assert!(wait(&tap, 2000).contains(PollFlags::ERR));
    assert!(tap.receive(NOW).is_none());
    assert_eq!(tap.failure(), Some(format!("the TAP {name} was deleted")));
}

#[test]
fn errors_say_what_is_wrong() {
    let config = |name: &str| TapConfig { name: name.into(), mac: MacAddr(OUR_MAC), mtu: 1500, host_address: None };
    let error = |name: &str| TapNic::open(config(name)).err().unwrap().to_string();
    assert!(error("sixteen-bytes-xx").contains("longer than the 15 bytes"));
    assert!(error("a/b").contains("character"));
    assert!(error("tap%d").contains("character"));
    assert!(error("").contains("no name"));
    let Some((tap, name, _)) = tap() else { return };
    assert!(error(&name).contains("in use by another program"), "{}", error(&name));
    assert!(error("lo").contains("no TAP"), "{}", error("lo"));
    assert!(tap.fd().unwrap().as_fd().try_clone_to_owned().is_ok());
}

/// The kernel acts upon a carrier only when its work queue comes to it, and drops what it is to transmit until then: so its answer to our first
/// frame would be lost now and then. Others that make and remove interfaces at the same time hold the lock that the work queue needs.
#[test]
fn the_answer_to_the_first_frame_is_not_lost() {
    let Some((first, name, net)) = tap() else { return };
    drop(first);
    let script = |script: &str| {
        let done = Command::new("sh").args(["-e", "-c", script]).output().unwrap();
        assert!(done.status.success(), "{script}: {done:?}");
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for other in 0..2 {
            let (name, over) = (format!("{name}o{other}"), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let config = TapConfig { name: name.clone(), mac: MacAddr(OUR_MAC), mtu: 1400, host_address: None };
                    // Its own name may be busy still, just after it was removed.
                    drop(TapNic::open(config));
                }
            });
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..60 {
                let (kernel, ours) = ([net[0], net[1], net[2], 1], [net[0], net[1], net[2], 2]);
                let address = Ipv4Addr::from(kernel);
                script(&format!(
                    "ip tuntap add dev {name} mode tap; ip addr add {address}/24 dev {name}; ip link set {name} up"
                ));
                let config = TapConfig { name: name.clone(), mac: MacAddr(OUR_MAC), mtu: 1500, host_address: None };
                let mut tap = TapNic::open(config).unwrap();
                let mut question = [0xff; 42];
                question[6..12].copy_from_slice(&OUR_MAC);
                question[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
                question[22..28].copy_from_slice(&OUR_MAC);
                question[28..32].copy_from_slice(&ours);
                question[38..42].copy_from_slice(&kernel);
                assert!(tap.transmit(NOW, Packet::copy_from(&question)).is_ok());
                receive(&mut tap, |f| f.len() >= 42 && f[12..14] == [8, 6] && f[28..32] == kernel);
                drop(tap);
                script(&format!("ip link del {name}"));
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            let _ = Command::new("ip").args(["link", "del", &name]).output();
            resume_unwind(panic);
        }
    });
}
