//! UDP and ICMP sockets over a host that has only `lo`.

mod common;
use common::python;

#[test]
fn datagrams_keep_their_bounds_and_their_senders() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0))
b = socket(AF_INET, SOCK_DGRAM); b.bind(('127.0.0.1', 0))
c = socket(AF_INET, SOCK_DGRAM)
for i in range(20):
    b.sendto(b'b%d' % i, a.getsockname()); c.sendto(b'c%d' % i, a.getsockname())
for i in range(20):
    assert a.recvfrom(100) == (b'b%d' % i, b.getsockname())
    data, sender = a.recvfrom(100); assert data == b'c%d' % i and sender[1] == c.getsockname()[1]
# Empty, largest, too long, cut.
b.sendto(b'', a.getsockname()); assert a.recvfrom(10) == (b'', b.getsockname())
big = os.urandom(65507); b.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20)
b.sendto(big, a.getsockname()); assert a.recv(70000) == big
fails(errno.EMSGSIZE, b.sendto, big + b'x', a.getsockname())
b.sendto(b'123456', a.getsockname()); data, _, flags, sender = a.recvmsg(3)
assert data == b'123' and flags & MSG_TRUNC and sender == b.getsockname()
b.sendto(b'123456', a.getsockname()); assert a.recv_into(bytearray(2), 2, MSG_TRUNC) == 6
b.sendto(b'peeked', a.getsockname()); assert a.recvfrom(10, MSG_PEEK)[0] == b'peeked' == a.recvfrom(10)[0]
fails(errno.EAGAIN, a.recvfrom, 1, MSG_DONTWAIT)
fails(errno.EDESTADDRREQ, c.sendmsg, [b'x'])
fails(errno.EOPNOTSUPP, a.listen)
"#,
    );
}

#[test]
fn native_and_notified_calls_mix() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0))
b = socket(AF_INET, SOCK_DGRAM); b.connect(a.getsockname())
assert b.getpeername() == a.getsockname()
for i in range(30): os.write(b.fileno(), b'%d' % i)
for i in range(30):
    if i % 3 == 0: assert os.read(a.fileno(), 10) == b'%d' % i
    elif i % 3 == 1: assert a.recvfrom(10) == (b'%d' % i, b.getsockname())
    else:
        data, _, _, sender = a.recvmsg(10); assert (data, sender) == (b'%d' % i, b.getsockname())
a.connect(b.getsockname())
for i in range(30): a.send(b'%d' % i)
for i in range(30):
    got = b.recvfrom(10) if i % 2 else (b.recv(10), a.getsockname())
    assert got == (b'%d' % i, a.getsockname()), (i, got)
# Only the peer is heard.
c = socket(AF_INET, SOCK_DGRAM); c.sendto(b'stranger', a.getsockname()); b.send(b'peer'); assert a.recv(10) == b'peer'
b.close(); a.close(); c.close()
"#,
    );
}

#[test]
fn readiness_of_datagram_sockets() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0)); b = socket(AF_INET, SOCK_DGRAM); b.connect(a.getsockname())
assert polled(a) == OUT
e = select.epoll(); e.register(a, select.EPOLLIN | select.EPOLLET)
b.send(b'1'); assert e.poll(5); assert e.poll(0) == []
b.send(b'2'); b.send(b'3')
assert [a.recvfrom(10)[0] for _ in range(3)] == [b'1', b'2', b'3']
until(lambda: polled(a) == OUT)
b.send(b'4'); assert a.recv(1) == b'4'; until(lambda: polled(a) == OUT)
a.settimeout(0.05)
try: a.recvfrom(1); raise SystemExit(1)
except TimeoutError: pass
a.settimeout(None); a.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('qq', 0, 50000)); fails(errno.EAGAIN, a.recvfrom, 1)
import fcntl, termios
def count(s): return struct.unpack('i', fcntl.ioctl(s, termios.FIONREAD, b'\0' * 4))[0]
assert count(a) == 0; b.send(b'12345'); b.send(b'123'); until(lambda: count(a) == 5); a.recv(10); until(lambda: count(a) == 3)
"#,
    );
}

#[test]
fn a_refused_datagram_is_told() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0)); address = a.getsockname(); a.close()
b = socket(AF_INET, SOCK_DGRAM); b.connect(address)
b.send(b'x'); until(lambda: polled(b, IN) == ERR)
fails(errno.ECONNREFUSED, b.recvfrom, 10)
fails(errno.EAGAIN, b.recvfrom, 10, MSG_DONTWAIT)
assert polled(b) == OUT
b.send(b'x'); until(lambda: polled(b, IN) == ERR)
assert b.getsockopt(SOL_SOCKET, SO_ERROR) == errno.ECONNREFUSED and b.getsockopt(SOL_SOCKET, SO_ERROR) == 0
assert polled(b) == OUT
# Told once, also by a native call, whose number is another.
b.send(b'x'); until(lambda: polled(b, IN) == ERR)
fails(errno.ECONNRESET, b.recv, 10)
assert polled(b) == OUT and b.getsockopt(SOL_SOCKET, SO_ERROR) == 0
b.send(b'x'); until(lambda: polled(b, IN) == ERR)
fails(errno.ECONNREFUSED, b.sendto, b'x', address)
assert polled(b) == OUT
"#,
    );
}

/// By each way to wait, before and after the error has come.
#[test]
fn errors_wake_who_waits() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0)); nobody = a.getsockname(); a.close()
def by_poll(s):
    p = select.poll(); p.register(s, IN); return p.poll(10000) == [(s.fileno(), ERR)]
def by_select(s):
    # Both of these show an error too (select(2)), and datagrams can always be sent.
    return select.select([s], [], [s], 10) == ([s], [], [])
def by_epoll(edge):
    e = select.epoll(); sockets = []
    def wait(s):
        if s not in sockets: e.register(s, select.EPOLLIN | edge); sockets.append(s)
        return e.poll(10) == [(s.fileno(), ERR)] and (not edge or e.poll(0) == [])
    return wait
def told(s): return s.recvmsg(100, 512, 0x2000)[0]
for recverr in 0, 1:
    for wait in by_poll, by_select, by_epoll(0), by_epoll(select.EPOLLET):
        b = socket(AF_INET, SOCK_DGRAM); b.setsockopt(IPPROTO_IP, 11, recverr); b.connect(nobody)
        for round in range(3):
            # First, waits for what comes later.
            seen = []; t = threading.Thread(target=lambda: seen.append(wait(b))); t.start()
            time.sleep(0.02 * (round != 1)); b.send(b'%d' % round); t.join(); assert seen == [True], (recverr, round)
            if recverr: assert told(b) == b'%d' % round
            else: assert b.getsockopt(SOL_SOCKET, SO_ERROR) == errno.ECONNREFUSED
            assert polled(b) == OUT
        b.close()
# A blocked call.
b = socket(AF_INET, SOCK_DGRAM); b.connect(nobody)
for call in b.recvfrom, b.recv:
    seen = []
    def receive():
        try: call(10)
        except OSError as e: seen.append(e.errno)
    t = threading.Thread(target=receive); t.start(); time.sleep(0.05); b.send(b'x'); t.join()
    assert seen == [errno.ECONNREFUSED if call == b.recvfrom else errno.ECONNRESET], seen
"#,
    );
}

/// Each in the queue shows until it is read; what the program sends and receives meanwhile is not touched by it.
#[test]
fn errors_are_shown_while_there_are_any() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0)); here = a.getsockname()
n = socket(AF_INET, SOCK_DGRAM); n.bind(('127.0.0.1', 0)); nobody = n.getsockname(); n.close()
b = socket(AF_INET, SOCK_DGRAM); b.bind(('127.0.0.1', 0)); b.setsockopt(IPPROTO_IP, 11, 1)
def send(data, to):
    # The pending error of an earlier one is told first, as on Linux.
    while True:
        try: return b.sendto(data, to)
        except ConnectionRefusedError: pass
for i in range(3): send(b'lost %d' % i, nobody); send(b'%d' % i, here)
assert [a.recv(10) for i in range(3)] == [b'0', b'1', b'2']
a.sendto(b'back', b.getsockname()); until(lambda: polled(b, IN) & IN)
got = []
while True:
    try: got.append(b.recvmsg(100, 512, 0x2000)[0])
    except BlockingIOError: break
    assert polled(b) == IN | OUT | (ERR if len(got) < 3 else 0), (got, polled(b))
assert got == [b'lost 0', b'lost 1', b'lost 2'] and polled(b) == IN | OUT
assert b.recv(10) == b'back' and b.getsockopt(SOL_SOCKET, SO_ERROR) == 0
"#,
    );
}

/// The pair does not tell of it.
#[test]
fn a_datagram_socket_is_closed_with_its_last_descriptor() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0)); here = a.getsockname()
def bound():
    s = socket(AF_INET, SOCK_DGRAM)
    try: s.bind(here); return False
    except OSError as e: assert e.errno == errno.EADDRINUSE; return True
    finally: s.close()
copy = a.dup(); child = os.fork()
if child == 0:
    a.close(); copy.close(); os._exit(0)
os.waitpid(child, 0)
assert bound(); a.close(); assert bound(); copy.close(); assert not bound()
for how in SHUT_RD, SHUT_WR, SHUT_RDWR:
    a = socket(AF_INET, SOCK_DGRAM); a.bind(here); a.connect(here); a.shutdown(how)
    assert polled(a) & (RDHUP | HUP) == {SHUT_RD: RDHUP, SHUT_WR: 0, SHUT_RDWR: RDHUP | HUP}[how]
    if how != SHUT_WR: assert a.recv(1) == b''
    if how != SHUT_RD: signal.signal(signal.SIGPIPE, signal.SIG_IGN); fails(errno.EPIPE, a.send, b'x')
    assert bound(); a.close(); assert not bound()
# Written just before.
c = socket(AF_INET, SOCK_DGRAM); c.bind(here)
for i in range(400):
    a = socket(AF_INET, SOCK_DGRAM); a.connect(here); a.send(b'%d' % i); a.close()
assert [c.recv(10) for i in range(100)] == [b'%d' % i for i in range(100)]
"#,
    );
}

#[test]
fn a_native_send_that_cannot_be_is_told_afterwards() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM)
assert a.send(b'x') == 1; until(lambda: polled(a, IN) == ERR)
fails(errno.EDESTADDRREQ, a.recvfrom, 10)
assert polled(a, IN) == 0
os.write(a.fileno(), b'x'); until(lambda: polled(a, IN) == ERR)
assert a.getsockopt(SOL_SOCKET, SO_ERROR) == errno.EDESTADDRREQ and a.getsockopt(SOL_SOCKET, SO_ERROR) == 0
# Nor can `send` of what is too long.
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0))
b = socket(AF_INET, SOCK_DGRAM); b.connect(a.getsockname()); assert b.send(b'x' * 65508) == 65508
until(lambda: polled(b, IN) == ERR); assert b.getsockopt(SOL_SOCKET, SO_ERROR) == errno.EMSGSIZE
assert b.send(b'y') == 1 and a.recv(70000) == b'y' and b.getsockopt(SOL_SOCKET, SO_ERROR) == 0
b = socket(AF_INET, SOCK_DGRAM); b.bind(('127.0.0.1', 0))
a.connect(b.getsockname()); a.send(b'now'); assert b.recv(10) == b'now'
"#,
    );
}

#[test]
fn ip_options_may_be_asked_for() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0))
for option in 6, 7:
    assert a.getsockopt(IPPROTO_IP, option) == 0
    a.setsockopt(IPPROTO_IP, option, 1); assert a.getsockopt(IPPROTO_IP, option) == 1
a.sendto(b'x', a.getsockname()); assert a.recvmsg(10, 100)[:3] == (b'x', [], 0)
"#,
    );
}

/// Run-times set them on every socket.
#[test]
fn multicast_has_options_and_no_way_out_of_a_host_without_links() {
    python(
        r#"
for family, level, hops, loop, every in (AF_INET, IPPROTO_IP, 33, 34, 49), (AF_INET6, IPPROTO_IPV6, 18, 19, 29):
    a = socket(family, SOCK_DGRAM)
    for option, value in (hops, 7), (loop, 0), (every, 0):
        assert a.getsockopt(level, option) == 1
        a.setsockopt(level, option, value); assert a.getsockopt(level, option) == value
    fails(errno.EINVAL, a.setsockopt, level, hops, 256)
a = socket(AF_INET, SOCK_DGRAM)
fails(errno.ENODEV, a.setsockopt, IPPROTO_IP, IP_ADD_MEMBERSHIP, inet_aton('224.0.0.251') + bytes(4))
fails(errno.ENETUNREACH, a.sendto, b'x', ('224.0.0.251', 5353))
"#,
    );
}

#[test]
fn errors_are_queued_with_what_they_are_about() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0)); address = a.getsockname(); a.close()
b = socket(AF_INET, SOCK_DGRAM)
b.setsockopt(IPPROTO_IP, 11, 1); assert b.getsockopt(IPPROTO_IP, 11) == 1
fails(errno.EAGAIN, b.recvmsg, 10, 512, 0x2000)
b.sendto(b'quoted', address)
def told():
    global got
    try: got = b.recvmsg(100, 512, 0x2000); return True
    except BlockingIOError: return False
until(told)
data, control, flags, name = got
assert data == b'quoted' and name == address and flags & 0x2000
(level, kind, raw), = control; assert (level, kind) == (IPPROTO_IP, 11)
assert struct.unpack('IBBB', raw[:7]) == (errno.ECONNREFUSED, 2, 3, 3) and inet_ntoa(raw[20:24]) == '127.0.0.1'
fails(errno.EAGAIN, b.recvfrom, 1, MSG_DONTWAIT)
"#,
    );
}

#[test]
fn many_messages_and_what_goes_with_them() {
    python(
        r#"
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 0)); b = socket(AF_INET, SOCK_DGRAM); b.bind(('127.0.0.1', 0))
a.setsockopt(IPPROTO_IP, IP_PKTINFO if 'IP_PKTINFO' in dir() else 8, 1); a.setsockopt(IPPROTO_IP, IP_RECVTTL if 'IP_RECVTTL' in dir() else 12, 1); a.setsockopt(IPPROTO_IP, IP_RECVTOS, 1)
a.setsockopt(SOL_SOCKET, 29, 1)
b.setsockopt(IPPROTO_IP, IP_TTL, 42)
b.sendmsg([b'ab', b'cd'], [(IPPROTO_IP, IP_TOS, struct.pack('i', 8))], 0, a.getsockname())
data, control, flags, sender = a.recvmsg(10, 512)
assert data == b'abcd' and sender == b.getsockname()
got = {(l, t): d for l, t, d in control}
assert struct.unpack('i', got[(IPPROTO_IP, 2)])[0] == 42 and got[(IPPROTO_IP, 1)] == b'\x08'
index, _, to = struct.unpack('i4s4s', got[(IPPROTO_IP, 8)]); assert index == 1 and inet_ntoa(to) == '127.0.0.1'
assert abs(struct.unpack('qq', got[(SOL_SOCKET, 29)])[0] - time.time()) < 5
fails(errno.ENOPROTOOPT, a.setsockopt, IPPROTO_UDP if 'IPPROTO_UDP' in dir() else 17, 104, 1)
"#,
    );
}

#[test]
fn echo_requests_by_ping_and_raw_sockets() {
    python(
        r#"
def checksum(b):
    s = sum(struct.unpack('!%dH' % (len(b) // 2), b)); s = (s >> 16) + (s & 0xffff); return ~(s + (s >> 16)) & 0xffff
p = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)
p.sendto(struct.pack('!BBHHH', 8, 0, 0, 0, 7) + b'payload!', ('127.0.0.1', 0))
data, sender = p.recvfrom(100)
assert data[0] == 0 and data[6:] == b'\0\x07payload!' and sender[0] == '127.0.0.1', data
r = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)
echo = struct.pack('!BBHHH', 8, 0, 0, 77, 1) + b'raw data'
echo = echo[:2] + struct.pack('!H', checksum(echo)) + echo[4:]
r.sendto(echo, ('127.0.0.1', 0))
while True:
    data, sender = r.recvfrom(200)
    assert data[0] == 0x45 and data[9] == 1
    if data[20] == 0: break
assert data[24:] == struct.pack('!HH', 77, 1) + b'raw data'
"#,
    );
}
