// Makes the calls of multicast, on `lo`, and tells what each gave: the same program is run over the kernel's stack and over Wireway, and
// must tell the same. Nothing that is told depends on time or on a port's number.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif

#define TELL(what, call) (errno = 0, tell(what, (long)(call)))

static long tell(const char *what, long result) {
    if (result < 0)
        printf("%s: %s\n", what, strerrorname_np(errno));
    else
        printf("%s: %ld\n", what, result);
    fflush(stdout);
    return result;
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

#define SET(s, level, name, value) set(#name, s, level, name, value)
#define OPT(s, level, name, value) TELL(#name, setsockopt(s, level, name, &value, sizeof value))

static struct ip_mreqn mreq(const char *group, const char *address, int index) {
    struct ip_mreqn m = {.imr_ifindex = index};
    inet_pton(AF_INET, group, &m.imr_multiaddr);
    inet_pton(AF_INET, address, &m.imr_address);
    return m;
}

static struct ip_mreq_source of_source(const char *group, const char *address, const char *source) {
    struct ip_mreq_source m = {};
    inet_pton(AF_INET, group, &m.imr_multiaddr);
    inet_pton(AF_INET, address, &m.imr_interface);
    inet_pton(AF_INET, source, &m.imr_sourceaddr);
    return m;
}

static void address(struct sockaddr_storage *a, const char *text) {
    memset(a, 0, sizeof *a);
    struct sockaddr_in *v4 = (void *)a;
    struct sockaddr_in6 *v6 = (void *)a;
    if (strchr(text, ':')) {
        v6->sin6_family = AF_INET6;
        inet_pton(AF_INET6, text, &v6->sin6_addr);
    } else {
        v4->sin_family = AF_INET;
        inet_pton(AF_INET, text, &v4->sin_addr);
    }
}

static struct group_req group(const char *text, unsigned index) {
    struct group_req g = {.gr_interface = index};
    address(&g.gr_group, text);
    return g;
}

static struct group_source_req group_source(const char *text, const char *source, unsigned index) {
    struct group_source_req g = {.gsr_interface = index};
    address(&g.gsr_group, text);
    address(&g.gsr_source, source);
    return g;
}

static void memberships(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0), t = socket(AF_INET, SOCK_STREAM, 0);
    struct ip_mreqn m = mreq("239.1.1.1", "127.0.0.1", 0);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    m = mreq("239.1.1.1", "0.0.0.0", 1);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, m);
    TELL("an ip_mreq", setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 7));
    m = mreq("10.1.1.1", "127.0.0.1", 0);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, m);
    m = mreq("239.1.1.1", "192.0.2.77", 0);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, m);
    m = mreq("239.1.1.1", "127.0.0.1", 999);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, m);
    OPT(t, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    OPT(t, IPPROTO_IP, IP_DROP_MEMBERSHIP, m);
    for (int i = 0; i < 21; i++) {
        char text[32];
        snprintf(text, sizeof text, "239.1.2.%d", i);
        m = mreq(text, "127.0.0.1", 0);
        OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    }
    close(s), close(t);
}

static void told_filter(int s, const char *text, unsigned room) {
    struct {
        struct ip_msfilter f;
        struct in_addr more[16];
    } v = {};
    inet_pton(AF_INET, text, &v.f.imsf_multiaddr);
    inet_pton(AF_INET, "127.0.0.1", &v.f.imsf_interface);
    v.f.imsf_numsrc = room;
    socklen_t n = IP_MSFILTER_SIZE(room);
    if (TELL("IP_MSFILTER", getsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, &n)) < 0)
        return;
    printf("mode %u, %u sources, %u bytes:", v.f.imsf_fmode, v.f.imsf_numsrc, n);
    for (unsigned i = 0; i < v.f.imsf_numsrc && i < room; i++) {
        char name[64];
        printf(" %s", inet_ntop(AF_INET, (char *)&v + 16 + 4 * i, name, sizeof name));
    }
    printf("\n");
}

static void sources(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct ip_mreq_source m = of_source("232.1.1.1", "127.0.0.1", "10.0.0.1");
    OPT(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_BLOCK_SOURCE, m);
    OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_BLOCK_SOURCE, m);
    m = of_source("232.1.1.1", "127.0.0.1", "10.0.0.2");
    OPT(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    told_filter(s, "232.1.1.1", 16);
    told_filter(s, "232.1.1.1", 1);
    told_filter(s, "232.1.1.1", 0);
    told_filter(s, "232.1.1.2", 1);
    told_filter(s, "10.1.1.2", 1);
    struct ip_mreqn any = mreq("232.1.1.1", "127.0.0.1", 0);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, any);
    OPT(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, m);
    m = of_source("232.1.1.1", "127.0.0.1", "10.0.0.1");
    OPT(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, m);
    told_filter(s, "232.1.1.1", 1);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, any);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, any);
    OPT(s, IPPROTO_IP, IP_UNBLOCK_SOURCE, m);
    OPT(s, IPPROTO_IP, IP_BLOCK_SOURCE, m);
    OPT(s, IPPROTO_IP, IP_BLOCK_SOURCE, m);
    OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_UNBLOCK_SOURCE, m);
    // The list is empty, but was there.
    OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    told_filter(s, "232.1.1.1", 1);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, any);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, any);
    // A filter without a list changes its mode, even for a call that fails.
    OPT(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, m);
    told_filter(s, "232.1.1.1", 1);
    for (int i = 1; i < 12; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.0.1.%d", i);
        m = of_source("232.1.1.1", "127.0.0.1", text);
        OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    }
    told_filter(s, "232.1.1.1", 16);
    TELL("too long", setsockopt(s, IPPROTO_IP, IP_BLOCK_SOURCE, &m, sizeof m + 1));
    m = of_source("232.1.1.1", "192.0.2.77", "10.0.0.1");
    OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_BLOCK_SOURCE, m);
    m = of_source("10.1.1.1", "192.0.2.77", "10.0.0.1");
    OPT(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, m);
    OPT(s, IPPROTO_IP, IP_BLOCK_SOURCE, m);
    close(s);
}

static void filters(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct {
        struct ip_msfilter f;
        struct in_addr more[16];
    } v = {};
    inet_pton(AF_INET, "239.1.3.1", &v.f.imsf_multiaddr);
    inet_pton(AF_INET, "127.0.0.1", &v.f.imsf_interface);
    for (unsigned i = 0; i < 11; i++)
        ((unsigned *)&v)[4 + i] = htonl(0x0a000000 + i);
    v.f.imsf_numsrc = 2;
    v.f.imsf_fmode = MCAST_INCLUDE;
    TELL("not joined", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(2)));
    struct ip_mreqn any = mreq("239.1.3.1", "127.0.0.1", 0);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, any);
    told_filter(s, "239.1.3.1", 4);
    TELL("two", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(2)));
    told_filter(s, "239.1.3.1", 4);
    v.f.imsf_fmode = MCAST_EXCLUDE;
    TELL("other mode", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(2)));
    told_filter(s, "239.1.3.1", 4);
    TELL("short", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(1)));
    TELL("shorter", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, 15));
    v.f.imsf_fmode = 7;
    TELL("no mode", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(2)));
    v.f.imsf_fmode = MCAST_INCLUDE;
    v.f.imsf_numsrc = 11;
    TELL("eleven", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(11)));
    v.f.imsf_numsrc = 0x40000000;
    TELL("lies", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(2)));
    v.f.imsf_numsrc = 0;
    TELL("nobody", setsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, IP_MSFILTER_SIZE(0)));
    told_filter(s, "239.1.3.1", 4);
    socklen_t n = 15;
    TELL("no room", getsockopt(s, IPPROTO_IP, IP_MSFILTER, &v, &n));
    close(s);
}

static void protocol_independent(int family, const char *g, const char *other, const char *a, const char *b) {
    int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    int s = socket(family, SOCK_DGRAM, 0);
    struct group_req r = group(g, 1);
    OPT(s, level, MCAST_JOIN_GROUP, r);
    OPT(s, level, MCAST_JOIN_GROUP, r);
    TELL("short", setsockopt(s, level, MCAST_JOIN_GROUP, &r, sizeof r - 1));
    OPT(s, level, MCAST_LEAVE_GROUP, r);
    OPT(s, level, MCAST_LEAVE_GROUP, r);
    r = group(g, 999);
    OPT(s, level, MCAST_JOIN_GROUP, r);
    r = group(a, 1);
    OPT(s, level, MCAST_JOIN_GROUP, r);
    OPT(s, level, MCAST_LEAVE_GROUP, r);
    r = group(other, 1);
    OPT(s, level, MCAST_JOIN_GROUP, r);
    struct group_source_req q = group_source(g, a, 1);
    OPT(s, level, MCAST_LEAVE_SOURCE_GROUP, q);
    OPT(s, level, MCAST_BLOCK_SOURCE, q);
    OPT(s, level, MCAST_JOIN_SOURCE_GROUP, q);
    OPT(s, level, MCAST_JOIN_SOURCE_GROUP, q);
    TELL("short", setsockopt(s, level, MCAST_JOIN_SOURCE_GROUP, &q, sizeof q - 1));
    q = group_source(g, b, 1);
    OPT(s, level, MCAST_JOIN_SOURCE_GROUP, q);
    q = group_source(g, other, 1);
    OPT(s, level, MCAST_JOIN_SOURCE_GROUP, q);
    char buffer[GROUP_FILTER_SIZE(66)] = {};
    struct group_filter *f = (void *)buffer;
    for (unsigned room = 0; room < 4; room++) {
        f->gf_interface = 1;
        address(&f->gf_group, g);
        f->gf_numsrc = room;
        socklen_t n = GROUP_FILTER_SIZE(room);
        TELL("MCAST_MSFILTER", getsockopt(s, level, MCAST_MSFILTER, f, &n));
        printf("mode %u, %u sources, %u bytes\n", f->gf_fmode, f->gf_numsrc, n);
    }
    f->gf_interface = 0;
    socklen_t n = sizeof buffer;
    TELL("on no interface", getsockopt(s, level, MCAST_MSFILTER, f, &n));
    f->gf_interface = 1;
    address(&f->gf_group, other);
    TELL("other family", getsockopt(s, level, MCAST_MSFILTER, f, &n));
    address(&f->gf_group, a);
    TELL("no group", getsockopt(s, level, MCAST_MSFILTER, f, &n));
    n = 100;
    TELL("no room", getsockopt(s, level, MCAST_MSFILTER, f, &n));
    f->gf_interface = 1;
    address(&f->gf_group, g);
    f->gf_fmode = MCAST_EXCLUDE;
    f->gf_numsrc = 2;
    address(&f->gf_slist[0], a);
    address(&f->gf_slist[1], b);
    TELL("exclude two", setsockopt(s, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(2)));
    q = group_source(g, b, 1);
    OPT(s, level, MCAST_UNBLOCK_SOURCE, q);
    OPT(s, level, MCAST_UNBLOCK_SOURCE, q);
    OPT(s, level, MCAST_BLOCK_SOURCE, q);
    OPT(s, level, MCAST_LEAVE_SOURCE_GROUP, q);
    TELL("short", setsockopt(s, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(1)));
    TELL("shorter", setsockopt(s, level, MCAST_MSFILTER, f, 100));
    f->gf_numsrc = 65;
    TELL("65", setsockopt(s, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(65)));
    f->gf_numsrc = 11;
    for (unsigned i = 0; i < 11; i++)
        address(&f->gf_slist[i], i ? b : a);
    TELL("eleven", setsockopt(s, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(11)));
    f->gf_numsrc = 0;
    f->gf_fmode = MCAST_INCLUDE;
    TELL("nobody", setsockopt(s, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(0)));
    TELL("nobody", setsockopt(s, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(0)));
    close(s);
}

static void memberships_v6(void) {
    int s = socket(AF_INET6, SOCK_DGRAM, 0), t = socket(AF_INET6, SOCK_STREAM, 0);
    struct ipv6_mreq m = {.ipv6mr_interface = 1};
    inet_pton(AF_INET6, "ff05::1:3", &m.ipv6mr_multiaddr);
    OPT(s, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, m);
    m.ipv6mr_interface = 0;
    OPT(s, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, m);
    OPT(s, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, m);
    TELL("short", setsockopt(s, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &m, sizeof m - 1));
    m.ipv6mr_interface = 999;
    OPT(s, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, m);
    m.ipv6mr_interface = 1;
    inet_pton(AF_INET6, "fd00::1", &m.ipv6mr_multiaddr);
    OPT(s, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, m);
    OPT(s, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, m);
    OPT(t, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, m);
    OPT(t, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, m);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, 999);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, 0);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 5);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 256);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 0);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -1);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -2);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 2);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 1);
    // What an IPv6 socket does with IPv4's groups is apart.
    SET(s, IPPROTO_IP, IP_MULTICAST_TTL, 9);
    SET(s, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    number("IPV6_MULTICAST_HOPS", s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS);
    struct ip_mreqn v4 = mreq("239.1.1.1", "127.0.0.1", 0);
    OPT(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, v4);
    OPT(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, v4);
    close(s), close(t);
}

static void options(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0), t = socket(AF_INET, SOCK_STREAM, 0);
    SET(s, IPPROTO_IP, IP_MULTICAST_TTL, 7);
    SET(s, IPPROTO_IP, IP_MULTICAST_TTL, 0);
    SET(s, IPPROTO_IP, IP_MULTICAST_TTL, 256);
    SET(s, IPPROTO_IP, IP_MULTICAST_TTL, -1);
    SET(s, IPPROTO_IP, IP_MULTICAST_TTL, -2);
    SET(s, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    SET(s, IPPROTO_IP, IP_MULTICAST_LOOP, 5);
    SET(s, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    SET(s, IPPROTO_IP, IP_MULTICAST_ALL, 2);
    SET(s, IPPROTO_IP, IP_MULTICAST_ALL, 1);
    unsigned char byte = 9;
    OPT(s, IPPROTO_IP, IP_MULTICAST_TTL, byte);
    socklen_t n = 1;
    byte = 0;
    TELL("as a byte", getsockopt(s, IPPROTO_IP, IP_MULTICAST_TTL, &byte, &n));
    printf("%d, %u bytes\n", byte, n);
    TELL("nothing", setsockopt(s, IPPROTO_IP, IP_MULTICAST_TTL, &byte, 0));
    struct in_addr a = {htonl(INADDR_LOOPBACK)}, read;
    OPT(s, IPPROTO_IP, IP_MULTICAST_IF, a);
    n = sizeof read;
    TELL("IP_MULTICAST_IF", getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &read, &n));
    printf("%s, %u bytes\n", inet_ntoa(read), n);
    struct ip_mreqn m = mreq("0.0.0.0", "0.0.0.0", 1);
    OPT(s, IPPROTO_IP, IP_MULTICAST_IF, m);
    TELL("IP_MULTICAST_IF", getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &read, &n));
    printf("%s\n", inet_ntoa(read));
    m = mreq("0.0.0.0", "0.0.0.0", 999);
    OPT(s, IPPROTO_IP, IP_MULTICAST_IF, m);
    a.s_addr = htonl(0xc000024d);
    OPT(s, IPPROTO_IP, IP_MULTICAST_IF, a);
    a.s_addr = 0;
    OPT(s, IPPROTO_IP, IP_MULTICAST_IF, a);
    TELL("three bytes", setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &a, 3));
    OPT(t, IPPROTO_IP, IP_MULTICAST_IF, a);
    OPT(t, IPPROTO_IP, IP_MULTICAST_TTL, byte);
    int one = 1;
    TELL("of the other family", setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &one, sizeof one));
    close(s), close(t);
}

static void ready(const char *what, int s) {
    struct pollfd p = {s, POLLIN, 0};
    char buffer[64];
    int n = poll(&p, 1, 300);
    printf("%s: %s\n", what, n && recv(s, buffer, sizeof buffer, 0) > 0 ? "came" : "did not come");
    fflush(stdout);
}

// Datagrams to a group on `lo`: who gets them.
static void delivery(void) {
    int joined = socket(AF_INET, SOCK_DGRAM, 0), bystander = socket(AF_INET, SOCK_DGRAM, 0),
        sender = socket(AF_INET, SOCK_DGRAM, 0), one = 1, zero = 0;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    setsockopt(joined, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(bystander, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(joined, (void *)&a, sizeof a) || getsockname(joined, (void *)&a, &n))
        abort();
    if (bind(bystander, (void *)&a, sizeof a))
        abort();
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = a.sin_port};
    inet_pton(AF_INET, "239.1.4.1", &to.sin_addr);
    struct in_addr lo = {htonl(INADDR_LOOPBACK)};
    setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo);
#define SEND(what) TELL(what, sendto(sender, "x", 1, 0, (void *)&to, sizeof to))
    SEND("nobody joined");
    ready("joined", joined);
    struct ip_mreqn m = mreq("239.1.4.1", "127.0.0.1", 0);
    OPT(joined, IPPROTO_IP, IP_ADD_MEMBERSHIP, m);
    SEND("joined");
    ready("joined", joined);
    ready("bystander", bystander);
    setsockopt(bystander, IPPROTO_IP, IP_MULTICAST_ALL, &zero, sizeof zero);
    SEND("a bystander who wants only its own");
    ready("joined", joined);
    ready("bystander", bystander);
    struct ip_mreq_source source = of_source("239.1.4.1", "127.0.0.1", "127.0.0.1");
    OPT(joined, IPPROTO_IP, IP_BLOCK_SOURCE, source);
    SEND("blocked");
    ready("joined", joined);
    OPT(joined, IPPROTO_IP, IP_UNBLOCK_SOURCE, source);
    SEND("no longer");
    ready("joined", joined);
    OPT(joined, IPPROTO_IP, IP_DROP_MEMBERSHIP, m);
    SEND("left");
    ready("joined", joined);
    source = of_source("239.1.4.1", "127.0.0.1", "10.9.8.7");
    OPT(joined, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, source);
    SEND("another source");
    ready("joined", joined);
    source = of_source("239.1.4.1", "127.0.0.1", "127.0.0.1");
    OPT(joined, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, source);
    SEND("this source");
    ready("joined", joined);
    // A socket bound to the group.
    int bound = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(bound, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    TELL("bind to the group", bind(bound, (void *)&to, sizeof to));
    SEND("to it");
    ready("bound", bound);
    ready("joined", joined);
    close(joined), close(bystander), close(sender), close(bound);
}

int main(void) {
    memberships();
    sources();
    filters();
    protocol_independent(AF_INET, "232.1.5.1", "ff35::1", "10.0.0.1", "10.0.0.2");
    protocol_independent(AF_INET6, "ff35::8000:1", "232.1.5.1", "fd00::1", "fd00::2");
    memberships_v6();
    options();
    delivery();
}
