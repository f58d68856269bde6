/* The course's client: connects, sends the pattern, receives it back, checks it and closes. */
#include "course.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int round_trip(const struct options *options, const unsigned char *pattern, unsigned char *back)
{
	int result = -1;
	int fd = socket(options->address->ai_family, SOCK_STREAM, 0);

	if (fd < 0) {
		perror("socket");
		return -1;
	}
	memset(back, 0, options->size);
	if (connect(fd, options->address->ai_addr, options->address->ai_addrlen) < 0)
		perror("connect");
	else if (send_all(fd, pattern, options->size) == 0 && receive_all(fd, back, options->size) == 0)
		result = pattern_check("client", back, options->size);
	if (close(fd) < 0) {
		perror("close");
		result = -1;
	}
	return result;
}

int main(int argc, char **argv)
{
	struct options options = read_options(argc, argv, "127.0.0.1", 1);
	unsigned char *pattern = malloc(options.size + 1);
	unsigned char *back = malloc(options.size + 1);

	if (!pattern || !back) {
		perror("malloc");
		return 1;
	}
	pattern_fill(pattern, options.size);
	for (unsigned long round = 1; round <= options.count; round++) {
		if (round_trip(&options, pattern, back) < 0) {
			fprintf(stderr, "client: round %lu of %lu failed\n", round, options.count);
			return 1;
		}
		printf("client: round %lu: %zu bytes sent, received and equal\n", round, options.size);
		fflush(stdout);
		if (options.wait && round < options.count)
			sleep((unsigned)options.wait);
	}
	free(pattern);
	free(back);
	freeaddrinfo(options.address);
	return 0;
}
