//! Ways round the host that come from outside.

mod common;

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use common::{Directory, one, python, run};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Sends `bytes` with these descriptors.
fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
}

/// Waits until the program says that it is about to receive, and then is in recvmsg(2), where it waits.
fn until_it_waits(stream: &mut UnixStream) {
    let mut raw = [0; 4];
    stream.read_exact(&mut raw).unwrap();
    let path = format!("/proc/{}/syscall", u32::from_ne_bytes(raw));
    let waits = || std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with("47 "));
    for _ in 0..5_000 {
        if waits() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("it does not come to wait");
}

/// What came before it counts, and each way of asking for it.
#[test]
fn a_network_socket_of_the_kernels_is_not_received() {
    let directory = Directory::new("rights");
    let path = directory.file("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        // Found there, waited for, behind other bytes, beside another descriptor.
        send(&stream, b"x", &[foreign.as_fd()]);
        send(&stream, b"x", &[file.as_fd()]);
        until_it_waits(&mut stream);
        send(&stream, b"x", &[foreign.as_fd()]);
        until_it_waits(&mut stream);
        send(&stream, b"x", &[file.as_fd()]);
        send(&stream, b"ab", &[]);
        send(&stream, b"c", &[foreign.as_fd()]);
        send(&stream, b"d", &[file.as_fd(), foreign.as_fd()]);
        send(&stream, b"e", &[]);
        stream
    });
    let script = format!(
        "import os, socket, select, struct\n\
         s = socket.socket(socket.AF_UNIX); s.connect('{}')\n\
         def wait(): s.sendall(struct.pack('=I', os.getpid()))\n\
         def take(bytes, count, cut, room=100, how=0):\n    \
             data, control, flags, _ = s.recvmsg(room, socket.CMSG_LEN(16), how)\n    \
             fds = [fd for _, _, data in control for fd in struct.unpack('=%di' % (len(data) // 4), data)]\n    \
             assert (data, len(fds), bool(flags & socket.MSG_CTRUNC)) == (bytes, count, cut), (data, fds, flags)\n    \
             [os.close(fd) for fd in fds]\n\
         select.select([s], [], [])\n\
         take(b'x', 0, True, how=socket.MSG_PEEK)\n\
         take(b'x', 0, True)\n\
         take(b'x', 1, False)\n\
         wait(); take(b'x', 0, True)\n\
         wait(); take(b'x', 1, False)\n\
         while len(s.recv(4, socket.MSG_PEEK)) < 3: pass\n\
         take(b'abc', 0, True)\n\
         take(b'd', 0, True)\n\
         take(b'e', 0, False)\n",
        path.display()
    );
    assert_eq!(run(&["python3", "-c", &script]).status, 0);
    drop(sender.join().unwrap());
}

/// Time-outs, non-blocking calls, the end, and a program that is killed: as when the kernel waits.
#[test]
fn waiting_on_a_local_socket_is_as_before() {
    python(
        r#"
a, b = socketpair()
a.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('ll', 0, 50000))
began = time.monotonic()
fails(errno.EAGAIN, a.recvmsg, 10, 100)
assert time.monotonic() - began > 0.04
a.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('ll', 0, 0))
fails(errno.EAGAIN, a.recvmsg, 10, 100, MSG_DONTWAIT)
a.setblocking(False); fails(errno.EAGAIN, a.recvmsg, 10, 100); a.setblocking(True)
def later(f, *x):
    pid = os.getpid()
    def run():
        until(lambda: open(f'/proc/self/task/{pid}/syscall').read().startswith('47 '))
        f(*x)
    t = threading.Thread(target=run); t.start(); return t
t = later(b.send, b'hello'); assert a.recvmsg(10, 100)[0] == b'hello'; t.join()
# Twice on one socket, and one that waits for each of many.
t = later(b.send, b'again'); assert a.recvmsg(10, 100)[0] == b'again'; t.join()
pairs = [socketpair(AF_UNIX, kind) for kind in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET)]
for c, d in pairs:
    t = later(d.send, b'x'); assert c.recvmsg(10, 100)[0] == b'x'; t.join()
got = []
threads = [threading.Thread(target=lambda c=c: got.append(c.recvmsg(10, 100)[0])) for c, d in pairs]
[t.start() for t in threads]; [d.send(b'y') for c, d in pairs]; [t.join() for t in threads]
assert got == [b'y'] * 3, got
t = later(a.shutdown, SHUT_RD); assert a.recvmsg(10, 100)[0] == b''; t.join()
c, d = pairs[0]
t = later(d.close); assert c.recvmsg(10, 100)[0] == b''; t.join()
# Descriptors and credentials are the kernel's own.
a, b = socketpair()
a.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
t = later(lambda: send_fds(b, [b'f'], [0])); data, control, flags, _ = a.recvmsg(10, 200); t.join()
kinds = {(level, kind): data for level, kind, data in control}
assert struct.unpack('iii', kinds[SOL_SOCKET, SCM_CREDENTIALS])[0] == os.getpid() and len(kinds[SOL_SOCKET, SCM_RIGHTS]) == 4
# Killed while it waits: its end is closed.
a, b = socketpair()
pid = os.fork()
if pid == 0:
    b.close(); a.recvmsg(10, 100); os._exit(1)
a.close()
until(lambda: open(f'/proc/{pid}/syscall').read().startswith('47 '))
os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
assert b.recv(1) == b''
"#,
    );
}

/// Many messages at once cannot all be looked at: not supported with room for control messages, native without.
#[test]
fn many_local_messages_at_once_carry_no_descriptors() {
    let directory = Directory::new("many");
    let program = directory.compile(
        "many",
        r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    int pair[2];
    char bytes[2][8], room[2][64];
    struct iovec vectors[2] = {{bytes[0], 8}, {bytes[1], 8}};
    struct mmsghdr m[2] = {{{0, 0, &vectors[0], 1, 0, 0, 0}, 0}, {{0, 0, &vectors[1], 1, 0, 0, 0}, 0}};
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) return 1;
    write(pair[0], "one", 3); write(pair[0], "three", 5);
    m[1].msg_hdr.msg_control = room[1]; m[1].msg_hdr.msg_controllen = sizeof room[1];
    if (recvmmsg(pair[1], m, 2, 0, 0) != -1 || errno != EOPNOTSUPP) return 2;
    m[1].msg_hdr.msg_control = 0; m[1].msg_hdr.msg_controllen = 0;
    if (recvmmsg(pair[1], m, 2, 0, 0) != 2 || m[0].msg_len != 3 || m[1].msg_len != 5) return 3;
    return 0;
}
"#,
    );
    assert_eq!(run(&[&program]).status, 0);
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
