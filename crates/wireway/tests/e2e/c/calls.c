// Makes the calls that network programs make, over 127.0.0.1, and tells what each gave: the same program is run over the kernel's
// stack and over Wireway, and must tell the same. Nothing that is told depends on time or on a port's number. What is known to
// differ (COMPLIANCE.md, "Sockets of attached programs") is left out.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/errqueue.h>
#include <linux/sockios.h>

#define TELL(what, call) (errno = 0, tell(what, (long)(call)))

static long tell(const char *what, long result) {
    if (result < 0)
        printf("%s: %s\n", what, strerrorname_np(errno));
    else
        printf("%s: %ld\n", what, result);
    fflush(stdout);
    return result;
}

static struct sockaddr_in at(unsigned port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return a;
}

static unsigned port_of(int s) {
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    return getsockname(s, (void *)&a, &n) ? 0 : ntohs(a.sin_port);
}

static int bound(int type) {
    struct sockaddr_in a = at(0);
    int s = socket(AF_INET, type, 0);
    if (s < 0 || bind(s, (void *)&a, sizeof a))
        abort();
    return s;
}

static int listening(int backlog) {
    int s = bound(SOCK_STREAM);
    if (listen(s, backlog))
        abort();
    return s;
}

static int connect_to(int s, unsigned port) {
    struct sockaddr_in a = at(port);
    return connect(s, (void *)&a, sizeof a);
}

// Two connected ends.
static void ends(int *a, int *b) {
    int l = listening(1);
    *a = socket(AF_INET, SOCK_STREAM, 0);
    if (connect_to(*a, port_of(l)) || (*b = accept(l, 0, 0)) < 0)
        abort();
    close(l);
}

// Waits for some of `events`, and tells all that poll(2) tells.
static void ready(const char *what, int s, short events) {
    struct pollfd p = {s, events, 0};
    int n = poll(&p, 1, 5000);
    printf("%s: poll %d %#x\n", what, n, p.revents);
    fflush(stdout);
}

static long elapsed(struct timespec since) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since.tv_sec) * 1000 + (now.tv_nsec - since.tv_nsec) / 1000000;
}

static struct timespec now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t;
}

static void time_outs(void) {
    int a, b;
    char buffer[65536] = {0};
    ends(&a, &b);
    struct timeval t = {0, 60000};
    TELL("SO_RCVTIMEO", setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
    struct timespec start = now();
    TELL("recv times out", recv(a, buffer, 1, 0));
    printf("not early: %d\n", elapsed(start) >= 55);
    TELL("SO_SNDTIMEO", setsockopt(a, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
    long n;
    errno = 0;
    while ((n = send(a, buffer, sizeof buffer, 0)) > 0) {}
    printf("send times out: %s\n", strerrorname_np(errno));
    int l = listening(1);
    setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    TELL("accept times out", accept(l, 0, 0));
    socklen_t len = sizeof t;
    t.tv_usec = 0;
    getsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &t, &len);
    printf("SO_RCVTIMEO reads %ld.%06ld\n", (long)t.tv_sec, (long)t.tv_usec);
    close(l), close(a), close(b);
}

static void *slowly(void *arg) {
    usleep(50000);
    if (send(*(int *)arg, "world", 5, 0) != 5)
        abort();
    return 0;
}

static void flags(void) {
    int a, b, n = 0;
    char buffer[64] = {0};
    pthread_t thread;
    ends(&a, &b);
    TELL("MSG_DONTWAIT", recv(a, buffer, 1, MSG_DONTWAIT));
    TELL("MSG_MORE", send(b, "he", 2, MSG_MORE));
    TELL("after it", send(b, "llo", 3, 0));
    pthread_create(&thread, 0, slowly, &b);
    TELL("MSG_WAITALL", recv(a, buffer, 10, MSG_WAITALL));
    printf("%.10s\n", buffer);
    pthread_join(thread, 0);
    send(b, "peek", 4, 0);
    ready("to peek", a, POLLIN);
    TELL("MSG_PEEK", recv(a, buffer, 2, MSG_PEEK));
    TELL("FIONREAD", (ioctl(a, FIONREAD, &n), n));
    TELL("MSG_PEEK|MSG_DONTWAIT", recv(a, buffer, 64, MSG_PEEK | MSG_DONTWAIT));
    TELL("MSG_TRUNC throws away", recv(a, 0, 3, MSG_TRUNC));
    TELL("the rest", recv(a, buffer, 64, 0));
    printf("%c\n", buffer[0]);
    do
        TELL("SIOCOUTQ", ioctl(b, SIOCOUTQ, &n));
    while (0);
    TELL("MSG_ZEROCOPY without SO_ZEROCOPY", send(b, "z", 1, MSG_ZEROCOPY));
    TELL("it", recv(a, buffer, 1, 0));
    TELL("shutdown", shutdown(b, SHUT_WR));
    TELL("MSG_NOSIGNAL", send(b, "x", 1, MSG_NOSIGNAL));
    pid_t child = fork();
    if (child == 0) {
        send(b, "x", 1, 0);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    TELL("SIGPIPE", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    TELL("end of stream", recv(a, buffer, 1, 0));
    TELL("it stays", recv(a, buffer, 1, MSG_DONTWAIT));
    TELL("the other way", send(a, "still", 5, 0));
    TELL("the other way", recv(b, buffer, 64, 0));
    close(a), close(b);
}

static void number(const char *what, int s, int level, int name) {
    int value = -1;
    socklen_t n = sizeof value;
    errno = 0;
    int result = getsockopt(s, level, name, &value, &n);
    if (result)
        tell(what, result);
    else
        printf("%s: reads %d, %u bytes\n", what, value, n);
}

static void set(const char *what, int s, int level, int name, int value) {
    char line[64];
    snprintf(line, sizeof line, "%s = %d", what, value);
    TELL(line, setsockopt(s, level, name, &value, sizeof value));
    number(what, s, level, name);
}

#define NUMBER(s, level, name) number(#name, s, level, name)
#define SET(s, level, name, value) set(#name, s, level, name, value)

static void options(void) {
    int s = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
    NUMBER(s, SOL_SOCKET, SO_TYPE);
    NUMBER(u, SOL_SOCKET, SO_TYPE);
    NUMBER(s, SOL_SOCKET, SO_DOMAIN);
    NUMBER(s, SOL_SOCKET, SO_PROTOCOL);
    NUMBER(u, SOL_SOCKET, SO_PROTOCOL);
    NUMBER(s, SOL_SOCKET, SO_ACCEPTCONN);
    NUMBER(s, SOL_SOCKET, SO_ERROR);
    SET(s, SOL_SOCKET, SO_REUSEADDR, 1);
    SET(s, SOL_SOCKET, SO_REUSEADDR, 7);
    SET(s, SOL_SOCKET, SO_REUSEPORT, 1);
    SET(s, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(s, SOL_SOCKET, SO_RCVBUF, 10000);
    SET(s, SOL_SOCKET, SO_SNDBUF, 10000);
    SET(s, SOL_SOCKET, SO_RCVBUF, 1);
    SET(s, SOL_SOCKET, SO_SNDBUF, 1);
    SET(s, SOL_SOCKET, SO_RCVLOWAT, 10);
    SET(s, SOL_SOCKET, SO_PRIORITY, 3);
    SET(u, SOL_SOCKET, SO_BROADCAST, 1);
    SET(s, IPPROTO_TCP, TCP_NODELAY, 1);
    SET(s, IPPROTO_TCP, TCP_CORK, 1);
    SET(s, IPPROTO_TCP, TCP_CORK, 0);
    NUMBER(s, IPPROTO_TCP, TCP_MAXSEG);
    SET(s, IPPROTO_TCP, TCP_MAXSEG, 1000);
    SET(s, IPPROTO_TCP, TCP_MAXSEG, 20);
    NUMBER(s, IPPROTO_TCP, TCP_KEEPIDLE);
    NUMBER(s, IPPROTO_TCP, TCP_KEEPINTVL);
    NUMBER(s, IPPROTO_TCP, TCP_KEEPCNT);
    SET(s, IPPROTO_TCP, TCP_KEEPIDLE, 30);
    SET(s, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    SET(s, IPPROTO_TCP, TCP_KEEPCNT, 3);
    SET(s, IPPROTO_TCP, TCP_KEEPCNT, 0);
    SET(s, IPPROTO_TCP, TCP_KEEPIDLE, 0);
    SET(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
    SET(s, IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
    SET(s, IPPROTO_TCP, TCP_SYNCNT, 4);
    SET(s, IPPROTO_TCP, TCP_SYNCNT, 0);
    SET(s, IPPROTO_TCP, TCP_LINGER2, 10);
    SET(s, IPPROTO_TCP, TCP_QUICKACK, 1);
    SET(s, IPPROTO_IP, IP_TTL, 33);
    SET(s, IPPROTO_IP, IP_TTL, 256);
    SET(s, IPPROTO_IP, IP_TOS, 0x10);
    NUMBER(s, IPPROTO_IP, IP_MTU_DISCOVER);
    SET(s, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    SET(u, IPPROTO_IP, IP_RECVERR, 1);
    SET(u, IPPROTO_IP, IP_PKTINFO, 1);
    NUMBER(s, IPPROTO_IP, IP_MTU);
    NUMBER(s, SOL_SOCKET, 9999);
    NUMBER(s, 9999, 1);
    NUMBER(u, IPPROTO_TCP, TCP_NODELAY);
    struct linger linger = {1, 7};
    TELL("SO_LINGER", setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    linger.l_onoff = linger.l_linger = 0;
    socklen_t n = sizeof linger;
    TELL("SO_LINGER", getsockopt(s, SOL_SOCKET, SO_LINGER, &linger, &n));
    printf("%d %d %u\n", linger.l_onoff, linger.l_linger, n);
    char byte = 1;
    TELL("too short", setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &byte, 1));
    n = 1;
    TELL("one byte", getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &byte, &n));
    TELL("no address", setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, 0, 4));
    close(s), close(u);
}

static void errors(void) {
    struct sockaddr_in a = at(0);
    socklen_t n = sizeof a;

    TELL("socket of no protocol", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    TELL("socket of no type", socket(AF_INET, 77, 0));
    TELL("socket with odd flags", socket(AF_INET, SOCK_STREAM | 0x40000, 0));
    int s = socket(AF_INET, SOCK_STREAM, 0), l = listening(1);
    unsigned port = port_of(l);
    TELL("getpeername", getpeername(s, (void *)&a, &n));
    TELL("shutdown", shutdown(s, SHUT_RD));
    TELL("shutdown how", shutdown(s, 9));
    TELL("accept", accept(s, 0, 0));
    a = at(port);
    TELL("bind to one in use", bind(s, (void *)&a, sizeof a));
    TELL("bind too short", bind(s, (void *)&a, 7));
    a.sin_family = AF_INET6;
    TELL("bind of another family", bind(s, (void *)&a, sizeof a));
    a = at(0);
    a.sin_addr.s_addr = htonl(0x01020304);
    TELL("bind to an address of others", bind(s, (void *)&a, sizeof a));
    TELL("connect too short", connect(s, (void *)&a, 3));
    TELL("connect", connect_to(s, port));
    TELL("connect again", connect_to(s, port));
    a = at(0);
    TELL("bind when connected", bind(s, (void *)&a, sizeof a));
    TELL("listen when connected", listen(s, 1));
    TELL("connect a listener", connect_to(l, port));
    int peer = accept4(l, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
    TELL("accept4's flags", fcntl(peer, F_GETFL) & O_NONBLOCK ? 1 : 0);
    TELL("accept4's flags", fcntl(peer, F_GETFD));
    TELL("accept4 with odd flags", accept4(l, 0, 0, 0x40000));
    close(peer), close(s);
    s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    TELL("accept of none", (fcntl(l, F_SETFL, O_NONBLOCK), accept(l, 0, 0)));
    close(l);
    int result = TELL("refused", connect_to(s, port) < 0 && errno == EINPROGRESS ? 0 : (errno == ECONNREFUSED ? 0 : -1));
    (void)result;
    ready("refused", s, POLLOUT);
    NUMBER(s, SOL_SOCKET, SO_ERROR);
    NUMBER(s, SOL_SOCKET, SO_ERROR);
    TELL("on a closed one", (close(s), send(s, "", 1, 0)));
    TELL("on a file", (s = open("/dev/null", O_RDWR), send(s, "", 1, 0)));
    close(s);
    s = socket(AF_INET, SOCK_STREAM, 0);
    TELL("refused, waiting", connect_to(s, port));
    TELL("a name's length of none", getsockname(s, (void *)&a, 0));
    close(s);
}

static void ends_of_connections(void) {
    int a, b;
    char byte;
    struct linger at_once = {1, 0};
    ends(&a, &b);
    ready("open", a, POLLIN | POLLOUT | POLLRDHUP);
    shutdown(b, SHUT_WR);
    ready("half closed by the peer", a, POLLIN | POLLRDHUP);
    ready("half closed", b, POLLOUT);
    shutdown(a, SHUT_WR);
    ready("both", a, POLLIN | POLLHUP);
    close(a), close(b);
    ends(&a, &b);
    setsockopt(b, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(b);
    ready("reset", a, POLLIN | POLLRDHUP);
    TELL("recv of a reset one", recv(a, &byte, 1, 0));
    TELL("then", recv(a, &byte, 1, 0));
    TELL("send to it", send(a, &byte, 1, MSG_NOSIGNAL));
    close(a);
    ends(&a, &b);
    send(a, "unread", 6, 0);
    ready("unread", b, POLLIN);
    close(b);
    ready("closed with unread data", a, POLLIN | POLLRDHUP);
    TELL("it is a reset", recv(a, &byte, 1, 0));
    close(a);
    ends(&a, &b);
    shutdown(a, SHUT_RD);
    TELL("recv after SHUT_RD", recv(a, &byte, 1, 0));
    TELL("the peer may send", send(b, "x", 1, MSG_NOSIGNAL));
    close(a), close(b);
}

static void readiness(void) {
    int a, b, e = epoll_create1(0);
    char buffer[8];
    ends(&a, &b);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = a}, got;
    epoll_ctl(e, EPOLL_CTL_ADD, a, &event);
    TELL("epoll: nothing", epoll_wait(e, &got, 1, 30));
    send(b, "ab", 2, 0);
    TELL("epoll: an edge", epoll_wait(e, &got, 1, 5000));
    TELL("epoll: no edge", epoll_wait(e, &got, 1, 30));
    send(b, "c", 1, 0);
    TELL("epoll: another edge", epoll_wait(e, &got, 1, 5000));
    event.events = EPOLLIN;
    epoll_ctl(e, EPOLL_CTL_MOD, a, &event);
    TELL("epoll: level", epoll_wait(e, &got, 1, 5000));
    TELL("epoll: level", epoll_wait(e, &got, 1, 5000));
    TELL("recv", recv(a, buffer, 8, 0));
    TELL("epoll: level", epoll_wait(e, &got, 1, 30));
    event.events = EPOLLOUT | EPOLLONESHOT;
    epoll_ctl(e, EPOLL_CTL_MOD, a, &event);
    TELL("epoll: one shot", epoll_wait(e, &got, 1, 5000));
    TELL("epoll: one shot", epoll_wait(e, &got, 1, 30));
    fd_set read_set, write_set;
    FD_ZERO(&read_set);
    FD_ZERO(&write_set);
    FD_SET(a, &read_set), FD_SET(b, &write_set);
    struct timespec t = {5, 0};
    TELL("pselect", pselect((a > b ? a : b) + 1, &read_set, &write_set, 0, &t, 0));
    printf("%d %d\n", !!FD_ISSET(a, &read_set), !!FD_ISSET(b, &write_set));
    struct pollfd p = {a, POLLIN, 0};
    t = (struct timespec){0, 20000000};
    TELL("ppoll", ppoll(&p, 1, &t, 0));
    close(a), close(b), close(e);
}

static void vectors(void) {
    int a, b;
    char x[4] = {0}, y[16] = {0};
    ends(&a, &b);
    struct iovec out[2] = {{"vec", 3}, {"tors", 4}}, in[2] = {{x, 3}, {y, 15}};
    TELL("writev", writev(a, out, 2));
    ready("writev", b, POLLIN);
    TELL("readv", readv(b, in, 2));
    printf("%s %s\n", x, y);
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
    TELL("sendmsg", sendmsg(a, &message, 0));
    ready("sendmsg", b, POLLIN);
    message.msg_iov = in;
    TELL("recvmsg", recvmsg(b, &message, 0));
    printf("flags %#x name %u control %zu\n", message.msg_flags, message.msg_namelen, message.msg_controllen);
    FILE *file = tmpfile();
    fputs("from a file", file), fflush(file);
    off_t offset = 5;
    TELL("sendfile", sendfile(a, fileno(file), &offset, 6));
    ready("sendfile", b, POLLIN);
    TELL("read", read(b, y, 15));
    printf("%.6s, offset %ld\n", y, (long)offset);
    int pipes[2];
    if (pipe(pipes))
        abort();
    write(a, "spliced", 7);
    ready("spliced", b, POLLIN);
    TELL("splice in", splice(b, 0, pipes[1], 0, 7, 0));
    TELL("splice out", splice(pipes[0], 0, b, 0, 7, 0));
    ready("spliced back", a, POLLIN);
    TELL("read", read(a, y, 15));
    printf("%.7s\n", y);
    TELL("bad address", send(a, (void *)8, 4, 0));
    close(a), close(b), close(pipes[0]), close(pipes[1]);
}

static void datagrams(void) {
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), n = 0;
    struct sockaddr_in to = at(port_of(b)), from;
    socklen_t len = sizeof from;
    char buffer[16] = {0};
    static char large[70000];
    TELL("sendto port 0", (to.sin_port = 0, sendto(a, "x", 1, 0, (void *)&to, sizeof to)));
    to = at(port_of(b));
    TELL("sendto", sendto(a, "datagram", 8, 0, (void *)&to, sizeof to));
    TELL("FIONREAD", (ready("datagram", b, POLLIN), ioctl(b, FIONREAD, &n), n));
    TELL("MSG_PEEK|MSG_TRUNC", recv(b, buffer, 3, MSG_PEEK | MSG_TRUNC));
    TELL("recvfrom", recvfrom(b, buffer, 3, 0, (void *)&from, &len));
    printf("%.3s from the sender: %d, %u\n", buffer, ntohs(from.sin_port) == port_of(a), len);
    TELL("an empty one", sendto(a, "", 0, 0, (void *)&to, sizeof to));
    TELL("an empty one", recv(b, buffer, 16, 0));
    TELL("the longest", sendto(a, large, 65507, 0, (void *)&to, sizeof to));
    TELL("the longest", recv(b, large, sizeof large, 0));
    TELL("longer", sendto(a, large, 65508, 0, (void *)&to, sizeof to));
    TELL("connect", connect(a, (void *)&to, sizeof to));
    struct iovec parts[3] = {{"one", 3}, {"three", 5}, {"seven..", 7}};
    struct mmsghdr many[3];
    memset(many, 0, sizeof many);
    for (int i = 0; i < 3; i++)
        many[i].msg_hdr.msg_iov = &parts[i], many[i].msg_hdr.msg_iovlen = 1;
    TELL("sendmmsg", sendmmsg(a, many, 3, 0));
    char places[3][8];
    for (int i = 0; i < 3; i++)
        parts[i] = (struct iovec){places[i], 6}, many[i].msg_len = 0;
    TELL("recvmmsg", recvmmsg(b, many, 3, 0, 0));
    for (int i = 0; i < 3; i++)
        printf("%u %.3s %#x\n", many[i].msg_len, places[i], many[i].msg_hdr.msg_flags);
    TELL("not from a stranger", (sendto(b, "y", 1, 0, (void *)&to, sizeof to), recv(a, buffer, 1, MSG_DONTWAIT)));
    recv(b, buffer, 1, 0);
    close(b);
    TELL("to nobody", send(a, "x", 1, 0));
    // The kernel says POLLERR, Wireway POLLIN: it wakes by an empty datagram, and the next call that it sees tells the error.
    TELL("an error", poll(&(struct pollfd){a, POLLIN, 0}, 1, 5000));
    NUMBER(a, SOL_SOCKET, SO_ERROR);
    TELL("to nobody", send(a, "x", 1, 0));
    TELL("an error again", poll(&(struct pollfd){a, POLLIN, 0}, 1, 5000));
    NUMBER(a, SOL_SOCKET, SO_ERROR);
    TELL("nothing more", recv(a, buffer, 1, MSG_DONTWAIT));
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    TELL("disconnect", connect(a, &nobody, sizeof nobody));
    TELL("peer", getpeername(a, (void *)&from, &len));
    close(a);
}

static void nothing(int signal) { (void)signal; }

static void *interrupt(void *thread) {
    for (int i = 0; i < 3; i++)
        usleep(40000), pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return 0;
}

// Interrupts what `call` does; with SA_RESTART it goes on until its own time-out.
#define INTERRUPTED(what, restart, call)                                                                                          \
    do {                                                                                                                           \
        struct sigaction action = {.sa_handler = nothing, .sa_flags = restart ? SA_RESTART : 0};                                  \
        sigaction(SIGUSR1, &action, 0);                                                                                           \
        pthread_t self = pthread_self(), other;                                                                                   \
        pthread_create(&other, 0, interrupt, &self);                                                                              \
        TELL(what, call);                                                                                                         \
        pthread_join(other, 0);                                                                                                    \
    } while (0)

static void *sends_late(void *s) {
    usleep(250000);
    if (send(*(int *)s, "late", 4, 0) != 4)
        abort();
    return 0;
}

static void *connects_late(void *port) {
    usleep(250000);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    connect_to(s, *(unsigned *)port);
    return 0;
}

static void signals(void) {
    int a, b, l = listening(4);
    unsigned port = port_of(l);
    char buffer[8];
    pthread_t thread;
    ends(&a, &b);
    INTERRUPTED("recv", 0, recv(a, buffer, 8, 0));
    INTERRUPTED("read", 0, read(a, buffer, 8));
    INTERRUPTED("accept", 0, accept(l, 0, 0));
    struct pollfd p = {a, POLLIN, 0};
    INTERRUPTED("poll", 0, poll(&p, 1, 2000));
    INTERRUPTED("poll is never restarted", 1, poll(&p, 1, 2000));
    pthread_create(&thread, 0, sends_late, &b);
    INTERRUPTED("recv, restarted", 1, recv(a, buffer, 8, 0));
    pthread_join(thread, 0);
    pthread_create(&thread, 0, connects_late, &port);
    INTERRUPTED("accept, restarted", 1, accept(l, 0, 0) > 0);
    pthread_join(thread, 0);
    close(a), close(b), close(l);
}

static void processes(char *self) {
    int a, b, status;
    char buffer[16] = {0}, number[16];
    ends(&a, &b);
    pid_t child = fork();
    if (child == 0) {
        close(a);
        send(b, "child", 5, 0);
        _exit(0);
    }
    TELL("from the child", recv(a, buffer, 16, MSG_WAITALL & 0));
    waitpid(child, &status, 0);
    snprintf(number, sizeof number, "%d", b);
    child = vfork();
    if (child == 0) {
        execl(self, self, number, (char *)0);
        _exit(127);
    }
    waitpid(child, &status, 0);
    TELL("vfork and exec", status);
    TELL("from what was executed", recv(a, buffer, 16, 0));
    printf("%.4s\n", buffer);
    int c = dup(b), d = fcntl(b, F_DUPFD_CLOEXEC, 100);
    TELL("F_DUPFD_CLOEXEC", fcntl(d, F_GETFD));
    close(b);
    TELL("by a duplicate", send(c, "dup", 3, 0));
    TELL("by a duplicate", recv(a, buffer, 16, 0));
    dup2(c, 150), close(c), close(d);
    int on = 1;
    TELL("FIONBIO", ioctl(150, FIONBIO, &on));
    TELL("it is the description's", recv(150, buffer, 1, 0));
    close(150);
    TELL("the last was closed", recv(a, buffer, 16, 0));
    close(a);
}

static void interfaces(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq r = {0};
    strcpy(r.ifr_name, "lo");
    TELL("SIOCGIFADDR", ioctl(s, SIOCGIFADDR, &r));
    printf("%s\n", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
    TELL("SIOCGIFNETMASK", ioctl(s, SIOCGIFNETMASK, &r));
    printf("%s\n", inet_ntoa(((struct sockaddr_in *)&r.ifr_netmask)->sin_addr));
    TELL("SIOCGIFMTU", ioctl(s, SIOCGIFMTU, &r) ? -1 : r.ifr_mtu);
    TELL("SIOCGIFFLAGS", ioctl(s, SIOCGIFFLAGS, &r) ? -1 : r.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING));
    TELL("SIOCGIFINDEX", ioctl(s, SIOCGIFINDEX, &r) ? -1 : r.ifr_ifindex);
    strcpy(r.ifr_name, "none");
    TELL("of no interface", ioctl(s, SIOCGIFADDR, &r));
    TELL("if_nametoindex", if_nametoindex("lo"));
    close(s);
}

static void mapped(void) {
    int l = listening(1), s = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port_of(l))};
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &a.sin6_addr);
    TELL("connect, v4-mapped", connect(s, (void *)&a, sizeof a));
    socklen_t n = sizeof a;
    char text[64];
    TELL("peer", getpeername(s, (void *)&a, &n));
    printf("%s, %u\n", inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof text), n);
    TELL("own", getsockname(s, (void *)&a, &n));
    printf("%s\n", inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof text));
    NUMBER(s, IPPROTO_IPV6, IPV6_V6ONLY);
    SET(s, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    close(s), close(l);
    s = socket(AF_INET6, SOCK_STREAM, 0);
    SET(s, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    TELL("connect, v6 only", connect(s, (void *)&a, sizeof a));
    close(s);
    s = socket(AF_INET6, SOCK_STREAM, 0);
    a.sin6_addr = in6addr_any, a.sin6_port = 0;
    TELL("bind to any", bind(s, (void *)&a, sizeof a));
    TELL("listen", listen(s, 1));
    getsockname(s, (void *)&a, &n);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    TELL("connect by IPv4", connect_to(c, ntohs(a.sin6_port)));
    int d = accept(s, (void *)&a, &n);
    printf("from %s\n", inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof text));
    close(d), close(c), close(s);
}

static void ipv6(void) {
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    socklen_t n = sizeof a;
    char text[64];
    int s = socket(AF_INET, SOCK_STREAM, 0);
    NUMBER(s, IPPROTO_IPV6, IPV6_V6ONLY);
    SET(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9);
    SET(s, IPPROTO_TCP, TCP_LINGER2, 0);
    NUMBER(s, IPPROTO_TCP, TCP_LINGER2);
    TELL("congestion control", setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    TELL("none of this name", setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6));
    close(s);
    int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        s = socket(AF_INET6, types[i], 0);
        NUMBER(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS);
        SET(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7);
        SET(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256);
        NUMBER(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS);
        NUMBER(s, IPPROTO_IP, IP_TTL);
        SET(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1);
        NUMBER(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS);
        SET(s, IPPROTO_IPV6, IPV6_TCLASS, 0x20);
        SET(s, IPPROTO_IPV6, IPV6_TCLASS, 256);
        NUMBER(s, IPPROTO_IPV6, IPV6_TCLASS);
        NUMBER(s, IPPROTO_IP, IP_TOS);
        SET(s, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
        NUMBER(s, IPPROTO_IPV6, IPV6_MTU_DISCOVER);
        NUMBER(s, IPPROTO_IPV6, IPV6_MTU);
        TELL("bind to ::1", bind(s, (void *)&a, sizeof a));
        SET(s, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        struct sockaddr_in6 other = a;
        inet_pton(AF_INET6, "2001:db8::1", &other.sin6_addr);
        int t = socket(AF_INET6, types[i], 0);
        TELL("bind to another's", bind(t, (void *)&other, sizeof other));
        TELL("bind to a short address", bind(t, (void *)&a, 20));
        inet_pton(AF_INET6, "fe80::1", &other.sin6_addr);
        TELL("bind without a scope", bind(t, (void *)&other, sizeof other));
        TELL("connect without a scope", connect(t, (void *)&other, sizeof other));
        close(t);
        if (types[i] == SOCK_STREAM) {
            struct sockaddr_in6 at;
            n = sizeof at;
            TELL("listen", listen(s, 3));
            TELL("own", getsockname(s, (void *)&at, &n));
            t = socket(AF_INET6, SOCK_STREAM, 0);
            TELL("connect", connect(t, (void *)&at, sizeof at));
            int c = accept(s, (void *)&at, &n);
            printf("from %s, %u\n", inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof text), n);
            TELL("send", send(t, "hello", 5, 0));
            char room[8];
            TELL("receive", recv(c, room, 5, MSG_WAITALL));
            close(c), close(t);
        }
        close(s);
    }
    // An IPv4 and an IPv6 socket on one port: by V6ONLY alone.
    for (int only = 0; only < 2; only++) {
        s = socket(AF_INET6, SOCK_DGRAM, 0);
        SET(s, IPPROTO_IPV6, IPV6_V6ONLY, only);
        struct sockaddr_in6 any = {.sin6_family = AF_INET6};
        bind(s, (void *)&any, sizeof any);
        n = sizeof any;
        getsockname(s, (void *)&any, &n);
        int t = socket(AF_INET, SOCK_DGRAM, 0);
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = any.sin6_port};
        TELL("bind the other family", bind(t, (void *)&four, sizeof four));
        close(t), close(s);
    }
    s = socket(AF_INET6, SOCK_DGRAM, 0);
    SET(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    SET(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
    SET(s, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    SET(s, IPPROTO_IPV6, IPV6_RECVERR, 1);
    NUMBER(s, IPPROTO_IPV6, IPV6_RECVERR);
    NUMBER(s, IPPROTO_IP, IP_RECVERR);
    SET(s, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
    NUMBER(s, IPPROTO_IPV6, IPV6_DONTFRAG);
    bind(s, (void *)&a, sizeof a);
    struct sockaddr_in6 at;
    n = sizeof at;
    getsockname(s, (void *)&at, &n);
    SET(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 3);
    TELL("to itself", sendto(s, "x", 1, 0, (void *)&at, sizeof at));
    char data[8], control[256];
    struct iovec v = {data, sizeof data};
    struct msghdr m = {&at, sizeof at, &v, 1, control, sizeof control, 0};
    TELL("recvmsg", recvmsg(s, &m, 0));
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        printf("control %d %d, %zu:", c->cmsg_level, c->cmsg_type, c->cmsg_len);
        for (unsigned i = 0; i < c->cmsg_len - CMSG_LEN(0); i++)
            printf(" %02x", CMSG_DATA(c)[i]);
        printf("\n");
    }
    // Nobody is there: ICMPv6 says so, and the error queue has it.
    int gone = socket(AF_INET6, SOCK_DGRAM, 0);
    bind(gone, (void *)&a, sizeof a);
    n = sizeof at;
    getsockname(gone, (void *)&at, &n);
    close(gone);
    TELL("to nobody", sendto(s, "gone", 4, 0, (void *)&at, sizeof at));
    struct pollfd p = {s, POLLIN, 0};
    TELL("poll", poll(&p, 1, 5000));
    m.msg_controllen = sizeof control;
    TELL("the error", recvmsg(s, &m, MSG_ERRQUEUE));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    while (c && c->cmsg_type != IPV6_RECVERR)
        c = CMSG_NXTHDR(&m, c);
    struct sock_extended_err *e = (void *)CMSG_DATA(c);
    struct sockaddr_in6 *offender = (void *)(e + 1);
    printf("%d %d: errno %u origin %u type %u code %u from %s\n", c->cmsg_level, c->cmsg_type, e->ee_errno, e->ee_origin,
           e->ee_type, e->ee_code, inet_ntop(AF_INET6, &offender->sin6_addr, text, sizeof text));
    close(s);
    s = socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE);
    SET(s, IPPROTO_UDPLITE, 10, 5);
    NUMBER(s, IPPROTO_UDPLITE, 10);
    close(s);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return write(atoi(argv[1]), "exec", 4) != 4;
    alarm(60);
    time_outs();
    flags();
    options();
    errors();
    ends_of_connections();
    readiness();
    vectors();
    datagrams();
    signals();
    processes(argv[0]);
    interfaces();
    mapped();
    ipv6();
}
