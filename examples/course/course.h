/* What the course's client and server share: the pattern, whole-buffer I/O and the command line. */
#ifndef COURSE_H
#define COURSE_H

#include <netdb.h>
#include <stddef.h>

/* The command line, the same for both programs. */
struct options {
	struct addrinfo *address; /* -a ADDRESS and -p PORT, of either family */
	const char *port;
	size_t size;              /* -n BYTES: the length of the buffer that travels each way */
	unsigned long count;      /* -c COUNT: how many rounds, each a connection of its own */
	unsigned long wait;       /* -w SECONDS: the client's pause between two rounds */
};

/* Reads the command line; prints the usage and exits with 2 when it is wrong. */
struct options read_options(int argc, char **argv, const char *address, unsigned long count);

/* Fills `size` bytes with the pattern. */
void pattern_fill(unsigned char *buffer, size_t size);

/* Returns 0 when `buffer` holds the pattern; else says on stderr, in the name of `who`, at which offset
 * it first differs, and returns -1. */
int pattern_check(const char *who, const unsigned char *buffer, size_t size);

/* Sends all of `buffer`; returns 0, or -1 after saying why on stderr. */
int send_all(int fd, const unsigned char *buffer, size_t size);

/* Receives exactly `size` bytes; returns 0, or -1 after saying why on stderr. */
int receive_all(int fd, unsigned char *buffer, size_t size);

/* Waits for the peer to close; returns 0 when it did and sent nothing more, else -1 after saying so. */
int receive_end(int fd);

#endif
