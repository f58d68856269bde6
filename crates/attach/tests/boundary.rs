//! Ways round the host that come from outside.

mod common;

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use common::{Directory, one, run};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

#[test]
fn a_network_socket_of_the_kernels_is_not_received() {
    let directory = Directory::new("rights");
    let path = directory.file("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let sender = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for fd in [foreign.as_fd(), file.as_fd()] {
            let fds = [fd];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            rustix::net::sendmsg(&stream, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        }
        stream
    });
    let script = format!(
        "import socket, select, time\n\
         s = socket.socket(socket.AF_UNIX); s.connect('{}')\n\
         time.sleep(0.2); select.select([s], [], [])\n\
         data, fds, flags, _ = socket.recv_fds(s, 1, 4); assert (data, fds) == (b'x', []) and flags & socket.MSG_CTRUNC, (data, fds, flags)\n\
         data, fds, flags, _ = socket.recv_fds(s, 1, 4); assert data == b'x' and len(fds) == 1 and not flags & socket.MSG_CTRUNC\n",
        path.display()
    );
    assert_eq!(run(&["python3", "-c", &script]).status, 0);
    drop(sender.join().unwrap());
}

#[test]
fn an_inherited_network_socket_is_withheld() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = std::os::unix::net::UnixStream::pair().unwrap();
    let script = "import os, stat\n\
        sockets = [f for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f) and stat.S_ISSOCK(os.stat('/proc/self/fd/' + f).st_mode) and int(f) > 2]\n\
        raise SystemExit(len(sockets))";
    let inherit = |fd: &dyn AsFd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
    {
        let _one = one();
        inherit(&foreign);
        inherit(&local.0);
        let number = std::os::fd::AsRawFd::as_raw_fd(&foreign);
        let found = wireway_attach::inherited::withhold_sockets();
        assert!(found.iter().any(|i| i.descriptor == number && i.withheld), "{found:?}");
    }
    // Only the AF_UNIX one is left.
    assert_eq!(run(&["python3", "-c", script]).status, 1);
}

#[test]
fn name_services_of_the_machine_are_not_there() {
    let script = "import socket, errno\n\
        for path in ('/run/nscd/socket', '/run/systemd/resolve/io.systemd.Resolve', '/run/avahi-daemon/socket'):\n    \
            s = socket.socket(socket.AF_UNIX)\n    \
            assert s.connect_ex(path) == errno.ENOENT\n";
    assert_eq!(run(&["python3", "-c", script]).status, 0);
}
