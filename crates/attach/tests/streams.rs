//! TCP between two sockets of one program, over a host that has only `lo`.

mod common;
use common::python;

#[test]
fn a_client_and_a_server_exchange_bytes() {
    python(
        r#"
l = listener()
c = socket(AF_INET, SOCK_STREAM)
c.connect(l.getsockname())
s, peer = l.accept()
assert peer == c.getsockname() and s.getpeername() == c.getsockname() and c.getpeername() == l.getsockname()
c.sendall(b'hello'); assert s.recv(10) == b'hello'
os.write(s.fileno(), b'world'); assert os.read(c.fileno(), 10) == b'world'
assert c.getsockopt(SOL_SOCKET, SO_ERROR) == 0
assert (c.getsockopt(SOL_SOCKET, SO_DOMAIN), c.getsockopt(SOL_SOCKET, SO_TYPE), c.getsockopt(SOL_SOCKET, SO_PROTOCOL)) == (AF_INET, SOCK_STREAM, 6)
assert l.getsockopt(SOL_SOCKET, SO_ACCEPTCONN) == 1 and c.getsockopt(SOL_SOCKET, SO_ACCEPTCONN) == 0
c.close(); assert s.recv(1) == b''
"#,
    );
}

#[test]
fn a_large_transfer_arrives_whole_in_both_directions() {
    python(
        r#"
import hashlib
c, s = pair()
data = os.urandom(1 << 20) * 24
def send(a):
    a.sendall(data); a.shutdown(SHUT_WR)
def receive(a, out):
    h = hashlib.sha256(); n = 0
    while b := a.recv(1 << 16): h.update(b); n += len(b)
    out.append((n, h.hexdigest()))
got = []
threads = [threading.Thread(target=send, args=(x,)) for x in (c, s)] + [threading.Thread(target=receive, args=(x, got)) for x in (c, s)]
[t.start() for t in threads]; [t.join() for t in threads]
assert got == [(len(data), hashlib.sha256(data).hexdigest())] * 2, got
"#,
    );
}

#[test]
fn refused_connections_blocking_and_not() {
    python(
        r#"
l = listener(); address = l.getsockname(); l.close()
c = socket(AF_INET, SOCK_STREAM)
fails(errno.ECONNREFUSED, c.connect, address)
fails(errno.ECONNREFUSED, c.connect, address)
fails(errno.ENOTCONN, c.getpeername)
n = socket(AF_INET, SOCK_STREAM); n.setblocking(False)
fails(errno.EINPROGRESS, n.connect, address)
until(lambda: polled(n))
assert polled(n) == IN | OUT | ERR | HUP | RDHUP, hex(polled(n))
assert n.getsockopt(SOL_SOCKET, SO_ERROR) == errno.ECONNREFUSED
assert n.getsockopt(SOL_SOCKET, SO_ERROR) == 0
# The same descriptor may try again, after one more error as on Linux.
l = listener()
fails(errno.ECONNABORTED, n.connect, l.getsockname())
fails(errno.EINPROGRESS, n.connect, l.getsockname())
until(lambda: polled(n, OUT) == OUT)
assert n.getsockopt(SOL_SOCKET, SO_ERROR) == 0
s, _ = l.accept(); n.send(b'x'); assert s.recv(1) == b'x'
# The error may come from connect itself.
n = socket(AF_INET, SOCK_STREAM); n.setblocking(False)
fails(errno.EINPROGRESS, n.connect, address)
until(lambda: polled(n) & ERR)
fails(errno.ECONNREFUSED, n.connect, address)
fails(errno.EINPROGRESS, n.connect, l.getsockname())
until(lambda: polled(n, OUT) == OUT)
"#,
    );
}

#[test]
fn a_connecting_socket_is_not_writable() {
    python(
        r#"
l = listener(0)
# Fill the backlog, so that a connection stays without an answer.
held = []
n = socket(AF_INET, SOCK_STREAM); n.setblocking(False)
for i in range(64):
    n = socket(AF_INET, SOCK_STREAM); n.setblocking(False)
    fails(errno.EINPROGRESS, n.connect, l.getsockname())
    held.append(n); time.sleep(0.002)
    if not polled(n, OUT, 20): break
else: raise AssertionError('the backlog has no end')
assert polled(n) == 0
fails(errno.EALREADY, n.connect, l.getsockname())
fails(errno.EAGAIN, n.send, b'x')
e = select.epoll(); e.register(n, select.EPOLLOUT | select.EPOLLET)
assert e.poll(0.05) == []
# Accepting makes room; the SYN is sent again.
accepted = [l.accept() for _ in held[:-1]]
assert e.poll(10) == [(n.fileno(), select.EPOLLOUT)]
n.send(b'late')
while True:
    s, a = l.accept()
    if a == n.getsockname(): break
assert s.recv(4) == b'late'
"#,
    );
}

#[test]
fn half_close_both_ways() {
    python(
        r#"
c, s = pair()
c.sendall(b'request'); c.shutdown(SHUT_WR)
fails(errno.EPIPE, c.send, b'x')
assert s.recv(100, MSG_WAITALL) == b'request'
until(lambda: polled(s, IN | RDHUP) == IN | RDHUP)
s.sendall(b'reply' * 100000); s.shutdown(SHUT_WR)
got = b''
while b := c.recv(65536): got += b
assert got == b'reply' * 100000
until(lambda: polled(c) & HUP)
c, s = pair()
c.shutdown(SHUT_RDWR); assert c.recv(1) == b'' and s.recv(1) == b''
fails(errno.ENOTCONN, socket(AF_INET, SOCK_STREAM).shutdown, SHUT_WR)
fails(errno.EINVAL, c.shutdown, 7)
"#,
    );
}

#[test]
fn resets_reach_reader_writer_and_poll() {
    python(
        r#"
def reset(s):
    s.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack('ii', 1, 0)); s.close()
c, s = pair()
s.sendall(b'before'); until(lambda: polled(c, IN)); reset(s)
until(lambda: polled(c) & ERR)
assert polled(c) == IN | OUT | ERR | HUP | RDHUP, hex(polled(c))
assert c.recv(100) == b'before'
fails(errno.ECONNRESET, c.recv, 1)
assert c.recv(1) == b''
assert c.getsockopt(SOL_SOCKET, SO_ERROR) == 0, 'told by the read'
# A blocked read.
c, s = pair()
seen = []
def read():
    try: seen.append(c.recv(1))
    except OSError as e: seen.append(e.errno)
t = threading.Thread(target=read); t.start(); time.sleep(0.05); reset(s); t.join()
assert seen == [errno.ECONNRESET], seen
# After shutdown for writing.
c, s = pair()
c.shutdown(SHUT_WR); assert s.recv(1) == b''; reset(s)
until(lambda: polled(c) & ERR)
assert c.getsockopt(SOL_SOCKET, SO_ERROR) == errno.ECONNRESET
# Unread data at close is a reset too (RFC 2525).
c, s = pair()
c.sendall(b'never read'); until(lambda: polled(s, IN)); s.close()
until(lambda: polled(c) & ERR)
fails(errno.ECONNRESET, c.recv, 1)
"#,
    );
}

#[test]
fn options_are_told_truly_and_the_unknown_is_an_error() {
    python(
        r#"
c, s = pair()
def both(level, name, value, seen=None):
    c.setsockopt(level, name, value); got = c.getsockopt(level, name); assert got == (value if seen is None else seen), (level, name, got)
both(IPPROTO_TCP, TCP_NODELAY, 1); both(IPPROTO_TCP, TCP_CORK, 1); both(IPPROTO_TCP, TCP_CORK, 0)
both(IPPROTO_TCP, TCP_KEEPIDLE, 77); both(IPPROTO_TCP, TCP_KEEPINTVL, 7); both(IPPROTO_TCP, TCP_KEEPCNT, 3)
both(IPPROTO_TCP, TCP_USER_TIMEOUT, 12345); both(SOL_SOCKET, SO_KEEPALIVE, 1); both(SOL_SOCKET, SO_REUSEADDR, 1)
both(SOL_SOCKET, SO_REUSEPORT, 1); both(SOL_SOCKET, SO_RCVBUF, 65536, 131072); both(SOL_SOCKET, SO_SNDBUF, 65536, 131072)
both(IPPROTO_IP, IP_TOS, 0x10); both(IPPROTO_IP, IP_TTL, 33)
assert c.getsockopt(IPPROTO_TCP, TCP_MAXSEG) > 500
info = c.getsockopt(IPPROTO_TCP, TCP_INFO, 256); assert info[0] == 1 and len(info) == 232
linger = struct.pack('ii', 1, 5); c.setsockopt(SOL_SOCKET, SO_LINGER, linger); assert c.getsockopt(SOL_SOCKET, SO_LINGER, 8) == linger
c.settimeout(None); c.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('qq', 0, 50000))
t = time.monotonic(); fails(errno.EAGAIN, c.recv, 1); assert 0.04 < time.monotonic() - t < 5
for level, name in ((SOL_SOCKET, SO_PEERCRED), (SOL_SOCKET, SO_PASSCRED), (SOL_SOCKET, 60), (IPPROTO_TCP, 31), (IPPROTO_TCP, 23), (99, 1)):
    fails(errno.ENOPROTOOPT, c.setsockopt, level, name, 1)
fails(errno.EPROTO, c.setsockopt, IPPROTO_IP, 35, 1)
fails(errno.ENOPROTOOPT, c.getsockopt, SOL_SOCKET, SO_PEERCRED)
fails(errno.EINVAL, c.setsockopt, IPPROTO_TCP, TCP_NODELAY, b'')
fails(errno.EINVAL, c.setsockopt, IPPROTO_IP, IP_TTL, 256)
"#,
    );
}

#[test]
fn flags_that_af_unix_reads_otherwise_mean_what_tcp_means() {
    python(
        r#"
c, s = pair()
c.sendall(b'abcdef'); until(lambda: polled(s, IN))
assert s.recv(3, MSG_PEEK) == b'abc'
assert s.recv(3, MSG_TRUNC) != None and s.recv(3) == b'def'
fails(errno.EINVAL, s.recv, 1, MSG_OOB); fails(errno.EOPNOTSUPP, c.send, b'x', MSG_OOB)
fails(errno.EAGAIN, s.recv, 1, MSG_DONTWAIT); fails(errno.EAGAIN, s.recv, 1, 0x2000)
assert c.send(b'more', MSG_MORE) == 4 and c.send(b'end') == 3
assert s.recv(7, MSG_WAITALL) == b'moreend'
assert c.sendto(b'addressed', s.getsockname()) == 9 and s.recv(9, MSG_WAITALL) == b'addressed'
assert c.sendmsg([b'a', b'bc'], [], 0) == 3
data, control, flags, address = s.recvmsg(10); assert data == b'abc' and control == []
fails(errno.EINVAL, c.sendmsg, [b'x'], [(SOL_SOCKET, SCM_RIGHTS, struct.pack('i', 0))])
u = socket(AF_INET, SOCK_STREAM)
fails(errno.ENOTCONN, u.recvfrom, 1); fails(errno.EPIPE, u.sendmsg, [b'x'])
fails(errno.EOPNOTSUPP, u.sendto, b'x', 0x20000000, ('127.0.0.1', 1))
"#,
    );
}

#[test]
fn waiting_bytes_are_counted() {
    python(
        r#"
import fcntl, termios
def count(s, request): return struct.unpack('i', fcntl.ioctl(s, request, b'\0' * 4))[0]
c, s = pair()
assert count(s, termios.FIONREAD) == 0
c.sendall(b'x' * 1000); until(lambda: count(s, termios.FIONREAD) == 1000)
until(lambda: count(c, termios.TIOCOUTQ) == 0)
c.setblocking(False)
while polled(c, OUT, 100):
    try: c.send(b'y' * 65536)
    except BlockingIOError: pass
assert count(c, termios.TIOCOUTQ) > 0
fcntl.ioctl(s, 0x5421, struct.pack('i', 1)); s.recv(1000); 
"#,
    );
}

#[test]
fn descriptors_are_shared_passed_and_survive_exec() {
    python(
        r#"
c, s = pair()
d = os.dup(c.fileno()); c.close(); os.write(d, b'dup'); assert s.recv(3) == b'dup'
# A child holds it too: no end of file until both are closed.
pid = os.fork()
if pid == 0:
    os.set_inheritable(d, True)
    os.execvp('sh', ['sh', '-c', f'sleep 0.1; echo from exec >&{d}'])
os.close(d); os.waitpid(pid, 0)
assert s.recv(100) == b'from exec\n' and s.recv(1) == b''
# Over an AF_UNIX socket.
c, s = pair()
a, b = socketpair(); send_fds(a, [b'x'], [c.fileno()]); c.close()
_, (fd,), _, _ = recv_fds(b, 1, 4)
c = socket(fileno=fd); assert c.family == AF_INET and c.getpeername() == s.getsockname()
c.sendall(b'passed'); assert s.recv(6) == b'passed'
"#,
    );
}

#[test]
fn sendfile_and_splice() {
    python(
        r#"
import tempfile
c, s = pair()
with tempfile.TemporaryFile() as f:
    f.write(b'0123456789' * 10000); f.flush()
    got = bytearray()
    def read():
        while b := s.recv(65536): got.extend(b)
    t = threading.Thread(target=read); t.start()
    at = 0
    while at < 100000: at += os.sendfile(c.fileno(), f.fileno(), at, 100000 - at)
    c.close(); t.join()
assert got == b'0123456789' * 10000
c, s = pair()
r, w = os.pipe(); os.write(w, b'spliced'); assert os.splice(r, c.fileno(), 7) == 7
assert os.splice(s.fileno(), w, 7) == 7 and os.read(r, 7) == b'spliced'
"#,
    );
}

#[test]
fn listeners_with_many_workers_lose_nothing() {
    python(
        r#"
l = listener(128); address = l.getsockname()
workers = []
for i in range(4):
    pid = os.fork()
    if pid == 0:
        l.setblocking(False)
        e = select.epoll(); e.register(l, select.EPOLLIN | (select.EPOLLET if i % 2 else 0x10000000))
        while True:
            e.poll()
            while True:
                try: s, _ = l.accept()
                except BlockingIOError: break
                s.setblocking(True); s.sendall(b'%d' % os.getpid()); s.close()
    workers.append(pid)
l.close()
for i in range(200):
    c = create_connection(address); assert int(c.recv(20)) in workers; c.close()
for pid in workers: os.kill(pid, 9); os.waitpid(pid, 0)
fails(errno.ECONNREFUSED, socket(AF_INET, SOCK_STREAM).connect, address)
"#,
    );
}

#[test]
fn a_listener_is_readable_only_while_connections_wait() {
    python(
        r#"
l = listener(); l.setblocking(False)
assert polled(l) == 0
fails(errno.EAGAIN, l.accept)
a = create_connection(l.getsockname()); b = create_connection(l.getsockname())
until(lambda: polled(l) == IN); time.sleep(0.01)
l.accept(); assert polled(l) == IN; l.accept(); assert polled(l) == 0
l.setblocking(True); l.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('qq', 0, 50000))
fails(errno.EAGAIN, l.accept)
c = socket(AF_INET, SOCK_STREAM); fails(errno.EINVAL, c.accept)
fails(errno.ENOTCONN, l.recvfrom, 1)
"#,
    );
}

#[test]
fn ipv4_through_af_inet6() {
    python(
        r#"
l = listener(family=AF_INET6)
port = l.getsockname()[1]; assert l.getsockname()[0] == '::'
c = socket(AF_INET6, SOCK_STREAM); c.connect(('::ffff:127.0.0.1', port))
s, peer = l.accept(); assert peer[0] == '::ffff:127.0.0.1' and s.family == AF_INET6
v4 = create_connection(('127.0.0.1', port)); t, peer = l.accept(); assert peer[0] == '::ffff:127.0.0.1'
v4.sendall(b'x'); assert t.recv(1) == b'x'
fails(errno.ENETUNREACH, socket(AF_INET6, SOCK_STREAM).connect, ('2001:db8::1', 1))
"#,
    );
}
