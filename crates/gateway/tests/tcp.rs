//! TCP through the gateway to servers on the machine's loopback address: bytes, ends, resets, refusals.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use common::{PATIENCE, Rig, pattern, through_gateway};
use rustix::net::sockopt::set_socket_linger;
use wireway_stack::Error;

/// A server for one connection.
fn serve<R: Send + 'static>(handle: impl FnOnce(TcpStream) -> R + Send + 'static) -> (SocketAddr, JoinHandle<R>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("has an address");
    let thread = spawn(move || {
        let (stream, _) = listener.accept().expect("accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("sets a time-out");
        handle(stream)
    });
    (through_gateway(address), thread)
}

fn echo(mut stream: TcpStream) -> u64 {
    let mut output = stream.try_clone().expect("clones");
    let bytes = std::io::copy(&mut stream, &mut output).expect("echoes");
    output.shutdown(Shutdown::Write).expect("shuts down");
    bytes
}

#[test]
fn bytes_come_back_as_they_went() {
    let rig = Rig::new();
    for length in [1, 1_460, 100_000, 3_000_000] {
        let (address, server) = serve(echo);
        let stream = rig.connect(address).expect("connects");
        let sent = pattern(length, length as u32);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                stream.write_all(&sent).expect("sends");
                stream.shutdown_write();
            });
            assert!(stream.read_to_end().expect("receives") == sent, "{length} bytes");
        });
        assert_eq!(server.join().expect("server"), length as u64);
        stream.close();
    }
    let remains = rig.stop();
    assert_eq!(remains.held.connections, 0);
    assert_eq!((remains.count("tcp_relayed"), remains.count("tcp_reset")), (4, 0));
    assert_eq!(remains.count("tcp_bytes_out"), remains.count("tcp_bytes_in"));
}

#[test]
fn the_server_may_end_first() {
    let rig = Rig::new();
    let (address, server) = serve(|mut stream| {
        stream.write_all(b"bye").expect("sends");
        stream.shutdown(Shutdown::Write).expect("shuts down");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("receives");
        rest
    });
    let stream = rig.connect(address).expect("connects");
    assert_eq!(stream.read_to_end().expect("receives"), b"bye");
    stream.write_all(b"after the end").expect("the other direction is open");
    stream.shutdown_write();
    assert_eq!(server.join().expect("server"), b"after the end");
}

#[test]
fn the_program_may_end_first() {
    let rig = Rig::new();
    let (address, server) = serve(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("receives");
        stream.write_all(b"after the end").expect("the other direction is open");
        all
    });
    let stream = rig.connect(address).expect("connects");
    stream.write_all(b"bye").expect("sends");
    stream.shutdown_write();
    assert_eq!(stream.read_to_end().expect("receives"), b"after the end");
    assert_eq!(server.join().expect("server"), b"bye");
}

#[test]
fn a_reset_by_the_server_arrives_after_what_it_sent() {
    let rig = Rig::new();
    let (address, server) = serve(|mut stream| {
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).expect("receives");
        stream.write_all(&pattern(50_000, 3)).expect("sends");
        set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).expect("lingers");
    });
    let stream = rig.connect(address).expect("connects");
    stream.write_all(b"hello").expect("sends");
    server.join().expect("server");
    let mut received = Vec::new();
    let end = loop {
        match stream.read(4_096) {
            Ok(bytes) if bytes.is_empty() => break None,
            Ok(bytes) => received.extend(bytes),
            Err(error) => break Some(error),
        }
    };
    assert_eq!(end, Some(Error::ConnectionReset));
    assert!(received == pattern(50_000, 3), "{} bytes", received.len());
    assert_eq!(rig.stop().count("tcp_reset"), 1);
}

#[test]
fn a_reset_after_the_servers_end_arrives_too() {
    let rig = Rig::new();
    let (address, server) = serve(|mut stream| {
        stream.shutdown(Shutdown::Write).expect("shuts down");
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).expect("receives");
        set_socket_linger(stream.as_fd(), Some(Duration::ZERO)).expect("lingers");
    });
    let stream = rig.connect(address).expect("connects");
    assert_eq!(stream.read_to_end().expect("receives"), b"");
    stream.write_all(b"hello").expect("sends");
    server.join().expect("server");
    // As on Linux: the server's end had been seen.
    assert_eq!(stream.wait_error(), Error::BrokenPipe);
}

#[test]
fn a_reset_by_the_program_arrives() {
    let rig = Rig::new();
    let (address, server) = serve(|mut stream| {
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).expect("receives");
        stream.read(&mut hello)
    });
    let stream = rig.connect(address).expect("connects");
    stream.write_all(b"hello").expect("sends");
    // What was sent is there before the reset overtakes it.
    let socket = stream.socket;
    rig.until(move |cx| (cx.host.send_outstanding(socket) == 0).then_some(()));
    stream.abort();
    let end = server.join().expect("server");
    assert_eq!(end.expect_err("is reset").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_program_that_left_resets_the_server() {
    let rig = Rig::new();
    let (address, server) = serve(|mut stream| {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("the program's end"), 0);
        loop {
            if let Err(error) = stream.write_all(&[0; 1_000]) {
                return error.kind();
            }
        }
    });
    rig.connect(address).expect("connects").close();
    let kind = server.join().expect("server");
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
}

#[test]
fn refused_and_unreachable_are_told_apart() {
    let rig = Rig::new();
    // Bound and not listening: nobody else can take the port meanwhile.
    let closed =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).expect("socket");
    rustix::net::bind(&closed, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
    let address = rustix::net::getsockname(&closed).expect("has a name").try_into().expect("IPv4");
    let refused = rig.connect(through_gateway(address)).map(|_| ());
    assert_eq!(refused, Err(Error::ConnectionRefused));
    let neighbour = rig.connect("10.0.2.77:80".parse().expect("address")).map(|_| ());
    assert_eq!(neighbour, Err(Error::HostUnreachable));
    let nowhere = rig.connect("240.0.0.1:80".parse().expect("address")).map(|_| ());
    assert_eq!(nowhere, Err(Error::NetworkUnreachable));
    let resolver = rig.connect("10.0.2.3:80".parse().expect("address")).map(|_| ());
    assert_eq!(resolver, Err(Error::ConnectionRefused));
    let remains = rig.stop();
    assert_eq!((remains.count("tcp_refused"), remains.count("tcp_unreachable")), (2, 2));
    assert_eq!(remains.held.connections, 0);
}

#[test]
fn a_server_on_the_other_loopback_address_is_found() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        println!("SKIPPED: the machine has no IPv6");
        return;
    };
    let address = through_gateway(listener.local_addr().expect("has an address"));
    let rig = Rig::new();
    let stream = rig.connect(address).expect("connects");
    let (mut server, _) = listener.accept().expect("accepts");
    server.write_all(b"six").expect("sends");
    drop(server);
    assert_eq!(stream.read_to_end().expect("receives"), b"six");
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    let rig = Rig::new();
    let (address, server) = serve(|mut stream| {
        let mut sent = 0_usize;
        stream.set_nonblocking(true).expect("sets");
        let data = pattern(1 << 16, 9);
        // Until nothing more goes, for a while: every buffer on the way is full.
        let mut stuck = 0;
        while stuck < 50 {
            match stream.write(&data[sent % data.len()..]) {
                Ok(n) => {
                    sent += n;
                    stuck = 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    stuck += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
        }
        sent
    });
    let stream = rig.connect(address).expect("connects");
    let sent = server.join().expect("server");
    assert!(sent < 64 << 20, "{sent} bytes are on their way");
    let received = stream.read_to_end().expect("receives");
    assert_eq!(received.len(), sent);
    let data = pattern(1 << 16, 9);
    assert!(received.chunks(data.len()).all(|chunk| chunk == &data[..chunk.len()]));
}

#[test]
fn two_hundred_at_once() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = through_gateway(listener.local_addr().expect("has an address"));
    let server = spawn(move || {
        let threads: Vec<_> =
            (0..200).map(|_| listener.accept().expect("accepts").0).map(|s| spawn(|| echo(s))).collect();
        threads.into_iter().map(|thread| thread.join().expect("echoes")).sum::<u64>()
    });
    let rig = Rig::new();
    let streams: Vec<_> = (0..200).map(|_| rig.connect(address).expect("connects")).collect();
    for (i, stream) in streams.iter().enumerate() {
        stream.write_all(&pattern(5_000 + i, i as u32)).expect("sends");
        stream.shutdown_write();
    }
    for (i, stream) in streams.iter().enumerate() {
        assert!(stream.read_to_end().expect("receives") == pattern(5_000 + i, i as u32), "connection {i}");
    }
    assert_eq!(server.join().expect("server"), (0..200).map(|i| 5_000 + i).sum::<u64>());
    let remains = rig.stop();
    assert_eq!((remains.count("tcp_relayed"), remains.held.connections, remains.sending), (200, 0, 0));
}

#[test]
fn connections_one_after_another_leave_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = through_gateway(listener.local_addr().expect("has an address"));
    let server = spawn(move || {
        for _ in 0..2_000 {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut request = [0; 16];
            stream.read_exact(&mut request).expect("receives");
            stream.write_all(&request).expect("sends");
        }
    });
    let rig = Rig::new();
    let before = descriptors();
    for i in 0..2_000_u32 {
        let stream = rig.connect(address).expect("connects");
        let request = pattern(16, i);
        stream.write_all(&request).expect("sends");
        assert_eq!(stream.read_to_end().expect("receives"), request);
        stream.close();
    }
    server.join().expect("server");
    // Other tests of this process open and close some at the same time.
    let after = descriptors();
    assert!(after < before + 1_000, "{before} descriptors became {after}");
    assert_eq!(rig.stop().held.connections, 0);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("lists").count()
}
