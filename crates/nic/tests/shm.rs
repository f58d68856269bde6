//! Both ends of a link in shared memory: in threads, and in another process.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wireway_nic::{End, Nic, ShmConfig, ShmNic};
use wireway_packet::{Checksum, Instant, Packet, SegmentKind, Segmentation};
use wireway_wire::MacAddr;

const NOW: Instant = Instant::ZERO;
const CHILD: &str = "WIREWAY_TEST_SHM_CHILD";

fn name(test: &str) -> String {
    format!("test-{}-{test}", std::process::id())
}

fn open(name: &str) -> std::io::Result<ShmNic> {
    ShmNic::open(ShmConfig { name: name.into(), mac: None, mtu: 1500 })
}

/// Opens both ends; the first answers the second as its engine would.
fn both(name: &str) -> (ShmNic, ShmNic) {
    let mut a = open(name).unwrap();
    let b = join(name, &mut a);
    (a, b)
}

/// Opens another end in a thread while `listener` is run.
fn join(name: &str, listener: &mut ShmNic) -> ShmNic {
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = sender.send(open(name));
        });
        loop {
            listener.receive(NOW);
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(end) => return end.unwrap(),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
}

fn wait(nic: &ShmNic, millis: i64) -> bool {
    let fd = nic.fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 })).unwrap() > 0
}

/// The next frame, within some seconds, asleep until it comes.
fn receive(nic: &mut ShmNic) -> Packet {
    let deadline = Clock::now() + Duration::from_secs(10);
    while Clock::now() < deadline {
        if let Some(frame) = nic.receive(NOW) {
            return frame;
        }
        wait(nic, 10_000);
    }
    panic!("nothing came");
}

fn until(nic: &mut ShmNic, mut condition: impl FnMut(&ShmNic) -> bool) {
    let deadline = Clock::now() + Duration::from_secs(10);
    let mut now = NOW;
    while !condition(nic) {
        assert!(Clock::now() < deadline, "it did not come to that");
        wait(nic, 10);
        now += Duration::from_millis(50);
        nic.receive(now);
    }
}

fn send(nic: &mut ShmNic, frame: Packet) {
    assert!(nic.transmit(NOW, frame).is_ok());
    nic.flush(NOW);
}

#[test]
fn two_ends_exchange_frames_and_a_third_is_refused() {
    let name = name("two");
    let (mut a, mut b) = both(&name);
    assert_eq!((a.end(), b.end()), (End::A, End::B));
    assert_ne!(a.mac(), b.mac());
    assert!(a.carrier() && b.carrier());

    let mut whole = Packet::copy_from(&[3; 54 + 20_000]);
    whole.offload_mut().checksum = Checksum::Partial { start: 34, offset: 16 };
    whole.offload_mut().segmentation = Some(Segmentation { kind: SegmentKind::Tcp4, size: 1460, header_len: 54 });
    send(&mut a, whole.clone());
    let received = receive(&mut b);
    assert!(received.to_vec() == whole.to_vec() && received.offload() == whole.offload());
    send(&mut b, Packet::copy_from(&[4; 60]));
    assert_eq!(receive(&mut a).to_vec(), [4; 60]);

    let third = thread::scope(|scope| {
        let third = scope.spawn(|| open(&name));
        while !third.is_finished() {
            a.receive(NOW);
        }
        third.join().unwrap()
    });
    let error = third.err().unwrap();
    assert_eq!(error.to_string(), format!("the link {name}: it has two ends already"));
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    send(&mut a, Packet::copy_from(&[5; 60]));
    assert_eq!(receive(&mut b).to_vec(), [5; 60]);
}

#[test]
fn an_idle_end_sleeps_and_a_busy_one_is_not_rung() {
    let (mut a, mut b) = both(&name("idle"));
    while b.receive(NOW).is_some() {}
    assert!(!wait(&b, 50), "nothing happened, so nothing may be reported");
    send(&mut a, Packet::copy_from(&[1; 60]));
    assert!(wait(&b, 5000));
    receive(&mut b);
    assert!(b.receive(NOW).is_none());
    assert!(!wait(&b, 50), "the bell must be quiet again");
}

#[test]
fn a_full_ring_gives_frames_back_and_rings_when_there_is_room() {
    let (mut a, mut b) = both(&name("full"));
    while a.receive(NOW).is_some() {}
    let mut sent = 0;
    let kept = loop {
        match a.transmit(NOW, Packet::copy_from(&[7; 1500])) {
            Ok(()) => sent += 1,
            Err(frame) => break frame,
        }
    };
    assert!(sent > 100 && !wait(&a, 20));
    for _ in 0..sent {
        receive(&mut b);
    }
    assert!(wait(&a, 5000), "the sender sleeps until it is rung");
    // If the bell is heard while the card looks for frames, it says so by its time.
    assert!(a.poll_at().is_none() && a.receive(NOW).is_none());
    assert_eq!(a.poll_at(), Some(Instant::ZERO));
    send(&mut a, kept);
    assert_eq!(a.poll_at(), None);
    assert_eq!(receive(&mut b).len(), 1500);
}

#[test]
fn the_last_words_of_an_end_that_goes_are_heard_and_another_may_come() {
    let name = name("again");
    let (mut a, mut b) = both(&name);
    send(&mut b, Packet::copy_from(&[8; 60]));
    drop(b);
    assert_eq!(receive(&mut a).to_vec(), [8; 60]);
    until(&mut a, |a| !a.carrier());
    send(&mut a, Packet::copy_from(&[9; 60]));
    assert_eq!(a.statistics().tx_dropped, 1);

    let mut b = join(&name, &mut a);
    assert_eq!(b.end(), End::B);
    // The listener goes: who is left listens, and the next to come takes its place.
    drop(a);
    until(&mut b, |b| !b.carrier());
    let mut a = join(&name, &mut b);
    assert_eq!((a.end(), b.end()), (End::A, End::B));
    send(&mut a, Packet::copy_from(&[1; 60]));
    assert_eq!(receive(&mut b).to_vec(), [1; 60]);
    drop((a, b));
    assert_eq!(open(&name).unwrap().end(), End::A, "nothing is left behind");
}

#[test]
fn names_and_lengths_are_checked() {
    assert_eq!(open("").err().unwrap().kind(), ErrorKind::InvalidInput);
    assert_eq!(open(&"x".repeat(65)).err().unwrap().kind(), ErrorKind::InvalidInput);
    let (mut a, _b) = both(&name("long"));
    send(&mut a, Packet::copy_from(&[0; 1600]));
    send(&mut a, Packet::copy_from(&[0; 66_545]));
    assert_eq!(a.statistics().tx_dropped, 2);
    let own = ShmNic::open(ShmConfig { name: name("mac"), mac: Some(MacAddr([2; 6])), mtu: 1500 }).unwrap();
    assert_eq!(own.mac(), MacAddr([2; 6]));
}

#[test]
fn many_frames_pass_between_two_processes_and_a_killed_one_is_noticed() {
    let name = name("process");
    let mut a = open(&name).unwrap();
    // This test again, as the other end (`the_other_process` below).
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(CHILD, &name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until(&mut a, ShmNic::carrier);
    // Sequence numbers echoed, hundreds in flight, of every length.
    let (mut sent, mut seen) = (0u32, 0u32);
    let mut kept = None;
    while seen < 20_000 {
        while sent < 20_000 && sent - seen < 700 {
            let frame = kept.take().unwrap_or_else(|| {
                let mut bytes = vec![sent as u8; 60 + (sent as usize * 37) % 1400];
                bytes[..4].copy_from_slice(&sent.to_be_bytes());
                Packet::copy_from(&bytes)
            });
            if let Err(frame) = a.transmit(NOW, frame) {
                kept = Some(frame);
                break;
            }
            sent += 1;
        }
        a.flush(NOW);
        while let Some(frame) = a.receive(NOW) {
            let bytes = frame.to_vec();
            assert_eq!(bytes.len(), 60 + (seen as usize * 37) % 1400);
            assert_eq!((&bytes[..4], bytes[59]), (&seen.to_be_bytes()[..], seen as u8));
            seen += 1;
        }
        if seen < sent {
            assert!(wait(&a, 5000), "{sent} sent, {seen} back");
        }
    }
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    while !line.contains("end B") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    until(&mut a, |a| !a.carrier());
    assert_eq!(a.failure(), None);
}

/// The other end of the test above: echoes what comes, until it is killed.
#[test]
fn the_other_process() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let mut b = open(&name).unwrap();
    println!("end {}", b.end());
    let mut echo = None;
    while b.carrier() {
        while let Some(frame) = echo.take().or_else(|| b.receive(NOW)) {
            if let Err(frame) = b.transmit(NOW, frame) {
                echo = Some(frame);
                break;
            }
        }
        b.flush(NOW);
        wait(&b, 1000);
        if echo.is_none() {
            echo = b.receive(NOW);
        }
    }
}
