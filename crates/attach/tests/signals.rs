//! Calls that signals interrupt: nothing is lost, and EINTR and SA_RESTART are as on Linux.
//!
//! But for one thing, which a supervisor can neither see nor help: when a signal wakes the caller at the moment in which the answer is
//! given, the kernel takes the answer and forgets it (seccomp_do_user_notification). So a few datagrams in thousands of interruptions may
//! be lost, and a few non-blocking connects be answered when they are done. A descriptor (accept) is handed over in one step and never lost.

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
    for (int i = ROUNDS; i < ROUNDS + 5; i++) sendto(d, &i, sizeof i, 0, (void *)&datagram_at, sizeof datagram_at);
    return unused;
}
int main(int argc, char **argv) {
    (void)argv;
    int restart = argc > 1, interrupted = 0, expected = 0, lost = 0;
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
        if (expected >= ROUNDS) continue;
        while ((r = recvfrom(d, &got, sizeof got, 0, (void *)&from, (n = sizeof from, &n))) < 0 && errno == EINTR) interrupted++;
        if (r != sizeof got || got < expected) { fprintf(stderr, "datagram %d: %zd %d\n", expected, r, got); return 6; }
        lost += got - expected;
        expected = got + 1;
    }
    pthread_join(t, 0);
    if (lost > 3) { fprintf(stderr, "%d datagrams lost\n", lost); return 9; }
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

/// A timer interrupts non-blocking connects every half millisecond: SA_RESTART must not show that they were made twice.
const CONNECTS: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
static volatile int ticks;
static void tick(int s) { (void)s; ticks++; }
int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int l = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(l, (void *)&at, n) || listen(l, 5) || getsockname(l, (void *)&at, &n)) return 1;
    struct sigaction a = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &a, 0);
    struct itimerval often = {{0, 500}, {0, 500}};
    setitimer(ITIMER_REAL, &often, 0);
    int late = 0;
    for (int i = 0; i < 1500; i++) {
        int error = -1, s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(s, (void *)&at, sizeof at) == 0) late++;
        else if (errno != EINPROGRESS) { perror("connect"); return 2; }
        struct pollfd p = {s, POLLOUT, 0};
        while (poll(&p, 1, 10000) < 0) if (errno != EINTR) return 3;
        n = sizeof error;
        if (p.revents != POLLOUT || getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &n) || error) return 4;
        close(accept(l, 0, 0));
        close(s);
    }
    if (late > 5) { fprintf(stderr, "%d connects answered late\n", late); return 6; }
    return ticks < 50 ? 5 : 0;
}
"#;

#[test]
fn restarted_connects_are_in_progress() {
    let directory = Directory::new("connects");
    let program = directory.compile("connects", CONNECTS);
    assert_eq!(run(&["timeout", "60", &program]).status, 0);
}

/// A timer interrupts a receiver of descriptors on an AF_UNIX socket every half millisecond.
const DESCRIPTORS: &str = r#"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
enum { ROUNDS = 300 };
static volatile int ticks;
static void tick(int s) { (void)s; ticks++; }
union room { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; };
static struct msghdr message(struct iovec *vector, union room *room) {
    struct msghdr m = {.msg_iov = vector, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof *room};
    return m;
}
int main(int argc, char **argv) {
    (void)argv;
    int restart = argc > 1, interrupted = 0, pair[2], i, fd, status;
    union room room;
    struct iovec vector = {&i, sizeof i};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 1;
    pid_t child = fork();
    if (!child) {
        for (i = 0; i < ROUNDS; i++) {
            struct msghdr m = message(&vector, &room);
            int pipes[2];
            usleep(1400);
            if (pipe(pipes)) _exit(20);
            room.header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
            memcpy(CMSG_DATA(&room.header), &pipes[1], sizeof fd);
            if (sendmsg(pair[1], &m, 0) != sizeof i) _exit(21);
            close(pipes[1]);
            int got;
            if (read(pipes[0], &got, sizeof got) != sizeof got || got != i) _exit(22);
            close(pipes[0]);
        }
        _exit(0);
    }
    struct sigaction a = {.sa_handler = tick, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGALRM, &a, 0);
    struct itimerval often = {{0, 500}, {0, 500}};
    setitimer(ITIMER_REAL, &often, 0);
    for (int n = 0; n < ROUNDS; n++) {
        struct msghdr m = message(&vector, &room);
        ssize_t r;
        while ((r = recvmsg(pair[0], &m, 0)) < 0 && errno == EINTR) { interrupted++; m = message(&vector, &room); }
        if (r != sizeof i || i != n || m.msg_controllen < CMSG_LEN(sizeof fd)) { fprintf(stderr, "%d: %zd %d\n", n, r, i); return 2; }
        memcpy(&fd, CMSG_DATA(&room.header), sizeof fd);
        if (write(fd, &i, sizeof i) != sizeof i || close(fd)) return 3;
    }
    while (waitpid(child, &status, 0) < 0) if (errno != EINTR) return 4;
    if (status) return 5;
    if (ticks < 50) return 6;
    if (restart ? interrupted != 0 : interrupted == 0) { fprintf(stderr, "%d interrupted\n", interrupted); return 7; }
    return 0;
}
"#;

#[test]
fn interrupted_receivers_of_descriptors_lose_none() {
    let directory = Directory::new("descriptors");
    let program = directory.compile("receiver", DESCRIPTORS);
    assert_eq!(run(&["timeout", "60", &program]).status, 0);
    assert_eq!(run(&["timeout", "60", &program, "restart"]).status, 0);
}
