//! Calls that signals interrupt: nothing is lost, and EINTR and SA_RESTART are as on Linux.

mod common;
use common::{Directory, python, run};

/// A client thread makes connections and sends datagrams while a timer interrupts the server's blocking calls every half millisecond.
const SERVER: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
enum { ROUNDS = 200 };
static struct sockaddr_in stream_at, datagram_at;
static volatile int ticks;
static void tick(int s) { (void)s; ticks++; }
static void *client(void *unused) {
    sigset_t all; sigfillset(&all); pthread_sigmask(SIG_BLOCK, &all, 0);
    int d = socket(AF_INET, SOCK_DGRAM, 0);
    for (int i = 0; i < ROUNDS; i++) {
        usleep(700);
        int s = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(s, (void *)&stream_at, sizeof stream_at)) { perror("connect"); _exit(20); }
        if (write(s, &i, sizeof i) != sizeof i) _exit(21);
        close(s);
        usleep(700);
        if (sendto(d, &i, sizeof i, 0, (void *)&datagram_at, sizeof datagram_at) != sizeof i) _exit(22);
    }
    return unused;
}
int main(int argc, char **argv) {
    (void)argv;
    int restart = argc > 1, interrupted = 0;
    int l = socket(AF_INET, SOCK_STREAM, 0), d = socket(AF_INET, SOCK_DGRAM, 0);
    stream_at.sin_family = datagram_at.sin_family = AF_INET;
    stream_at.sin_addr.s_addr = datagram_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t n = sizeof stream_at;
    if (bind(l, (void *)&stream_at, n) || listen(l, 5) || getsockname(l, (void *)&stream_at, &n)) return 1;
    if (bind(d, (void *)&datagram_at, n) || getsockname(d, (void *)&datagram_at, &n)) return 2;
    pthread_t t;
    if (pthread_create(&t, 0, client, 0)) return 3;
    struct sigaction a = {.sa_handler = tick, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGALRM, &a, 0);
    struct itimerval often = {{0, 500}, {0, 500}};
    setitimer(ITIMER_REAL, &often, 0);
    for (int i = 0; i < ROUNDS; i++) {
        int s, got = -1;
        struct sockaddr_in from;
        while ((s = accept(l, (void *)&from, (n = sizeof from, &n))) < 0 && errno == EINTR) interrupted++;
        if (s < 0) { perror("accept"); return 4; }
        ssize_t r;
        while ((r = recv(s, &got, sizeof got, MSG_WAITALL)) < 0 && errno == EINTR) interrupted++;
        if (r != sizeof got || got != i) { fprintf(stderr, "%d: %zd %d\n", i, r, got); return 5; }
        close(s);
        while ((r = recvfrom(d, &got, sizeof got, 0, (void *)&from, (n = sizeof from, &n))) < 0 && errno == EINTR) interrupted++;
        if (r != sizeof got || got != i) { fprintf(stderr, "datagram %d: %zd %d\n", i, r, got); return 6; }
    }
    pthread_join(t, 0);
    if (ticks < 50) return 7;
    if (restart ? interrupted != 0 : interrupted == 0) { fprintf(stderr, "%d interrupted\n", interrupted); return 8; }
    return 0;
}
"#;

#[test]
fn interrupted_calls_lose_nothing() {
    let directory = Directory::new("interrupted");
    let program = directory.compile("server", SERVER);
    assert_eq!(run(&["timeout", "60", &program]).status, 0);
}

#[test]
fn restarted_calls_lose_nothing_and_are_not_seen() {
    let directory = Directory::new("restarted");
    let program = directory.compile("server", SERVER);
    assert_eq!(run(&["timeout", "60", &program, "restart"]).status, 0);
}

#[test]
fn an_interrupted_connect_goes_on() {
    python(
        r#"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
l = listener(0); held = []
while True:
    n = socket(AF_INET, SOCK_STREAM); n.setblocking(False)
    fails(errno.EINPROGRESS, n.connect, l.getsockname()); held.append(n)
    if not polled(n, OUT, 50): break
c = socket(AF_INET, SOCK_STREAM)
signal.signal(signal.SIGALRM, lambda *a: None); signal.setitimer(signal.ITIMER_REAL, 0.05)
raw = struct.pack('=H', AF_INET) + struct.pack('!H4s8x', l.getsockname()[1], inet_aton('127.0.0.1'))
assert libc.connect(c.fileno(), raw, 16) == -1 and ctypes.get_errno() == errno.EINTR, ctypes.get_errno()
assert polled(c, OUT) == 0
while l.accept()[1] != c.getsockname(): pass
until(lambda: polled(c, OUT) == OUT)
assert c.getsockopt(SOL_SOCKET, SO_ERROR) == 0 and c.getpeername() == l.getsockname()
"#,
    );
}
