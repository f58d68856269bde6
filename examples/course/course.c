#include "course.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_PORT "43211"

enum { DEFAULT_SIZE = 4096 };

static void usage(const char *program)
{
	fprintf(stderr,
	        "usage: %s [-a ADDRESS] [-p PORT] [-n BYTES] [-c COUNT] [-w SECONDS]\n"
	        "  -a ADDRESS  the server's IPv4 or IPv6 address\n"
	        "  -p PORT     the server's port (" DEFAULT_PORT ")\n"
	        "  -n BYTES    length of the buffer sent each way; the same on both sides (%d)\n"
	        "  -c COUNT    rounds, each a connection of its own; the server takes 0 as for ever\n"
	        "  -w SECONDS  the client's wait between two rounds (0)\n",
	        program, DEFAULT_SIZE);
	exit(2);
}

/* A decimal number of at most `most`. */
static unsigned long number(const char *program, char option, const char *text, unsigned long most)
{
	char *end;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > most) {
		fprintf(stderr, "%s: -%c: '%s' is not a number up to %lu\n", program, option, text, most);
		usage(program);
	}
	return value;
}

struct options read_options(int argc, char **argv, const char *address, unsigned long count)
{
	struct options options = { .port = DEFAULT_PORT, .size = DEFAULT_SIZE, .count = count };
	int option;

	while ((option = getopt(argc, argv, "a:p:n:c:w:")) != -1) {
		switch (option) {
		case 'a': address = optarg; break;
		case 'p': number(argv[0], 'p', options.port = optarg, 65535); break;
		case 'n': options.size = number(argv[0], 'n', optarg, 1UL << 30); break;
		case 'c': options.count = number(argv[0], 'c', optarg, 1000000000UL); break;
		case 'w': options.wait = number(argv[0], 'w', optarg, 86400); break;
		default: usage(argv[0]);
		}
	}
	if (optind != argc)
		usage(argv[0]);
	const struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	int error = getaddrinfo(address, options.port, &hints, &options.address);
	if (error) {
		fprintf(stderr, "%s: %s, port %s: %s\n", argv[0], address, options.port, gai_strerror(error));
		usage(argv[0]);
	}
	return options;
}

/* Neighbouring bytes, blocks of 256 and blocks of 65,536 all differ, so a byte out of place is seen. */
static unsigned char pattern(size_t offset)
{
	return (unsigned char)(offset * 31 + (offset >> 8) * 7 + (offset >> 16) * 13 + 'A');
}

void pattern_fill(unsigned char *buffer, size_t size)
{
	for (size_t i = 0; i < size; i++)
		buffer[i] = pattern(i);
}

int pattern_check(const char *who, const unsigned char *buffer, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (buffer[i] != pattern(i)) {
			fprintf(stderr, "%s: mismatch at offset %zu of %zu: got 0x%02x, expected 0x%02x\n",
			        who, i, size, buffer[i], pattern(i));
			return -1;
		}
	}
	return 0;
}

int send_all(int fd, const unsigned char *buffer, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t sent = send(fd, buffer + done, size - done, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			fprintf(stderr, "send: %s, after %zu of %zu bytes\n", strerror(errno), done, size);
			return -1;
		}
		done += (size_t)sent;
	}
	return 0;
}

int receive_all(int fd, unsigned char *buffer, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t received = recv(fd, buffer + done, size - done, 0);
		if (received < 0 && errno == EINTR)
			continue;
		if (received <= 0) {
			fprintf(stderr, "recv: %s, after %zu of %zu bytes\n",
			        received < 0 ? strerror(errno) : "the peer closed", done, size);
			return -1;
		}
		done += (size_t)received;
	}
	return 0;
}

int receive_end(int fd)
{
	unsigned char byte;
	ssize_t received;

	while ((received = recv(fd, &byte, 1, 0)) < 0 && errno == EINTR)
		;
	if (received == 0)
		return 0;
	fprintf(stderr, "recv: %s, where the peer's close was due\n",
	        received < 0 ? strerror(errno) : "more data");
	return -1;
}
