/* The course's server: accepts, receives the pattern, checks it, sends the same bytes back and
 * waits for the client to close. */
#include "course.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Even a wrong buffer goes back as it came: the client then sees the same mismatch. */
static int serve(int fd, unsigned char *buffer, size_t size)
{
	if (receive_all(fd, buffer, size) < 0)
		return -1;
	int result = pattern_check("server", buffer, size);
	if (send_all(fd, buffer, size) < 0 || receive_end(fd) < 0)
		return -1;
	return result;
}

static int listener(const struct addrinfo *address)
{
	int one = 1;
	int fd = socket(address->ai_family, SOCK_STREAM, 0);

	if (fd < 0) {
		perror("socket");
		return -1;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
		perror("setsockopt");
	else if (bind(fd, address->ai_addr, address->ai_addrlen) < 0)
		perror("bind");
	else if (listen(fd, 16) < 0)
		perror("listen");
	else
		return fd;
	close(fd);
	return -1;
}

int main(int argc, char **argv)
{
	struct options options = read_options(argc, argv, "0.0.0.0", 1);
	unsigned char *buffer = malloc(options.size + 1);
	int failed = 0;

	if (!buffer) {
		perror("malloc");
		return 1;
	}
	int listening = listener(options.address);
	if (listening < 0)
		return 1;
	printf("server: listening on port %s\n", options.port);
	fflush(stdout);
	for (unsigned long round = 1; options.count == 0 || round <= options.count; round++) {
		int fd = accept(listening, NULL, NULL);
		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED) {
				round--;
				continue;
			}
			perror("accept");
			return 1;
		}
		memset(buffer, 0, options.size);
		if (serve(fd, buffer, options.size) < 0) {
			fprintf(stderr, "server: round %lu failed\n", round);
			failed = 1;
		} else {
			printf("server: round %lu: %zu bytes received, equal and sent back\n", round,
			       options.size);
			fflush(stdout);
		}
		if (close(fd) < 0) {
			perror("close");
			failed = 1;
		}
	}
	close(listening);
	free(buffer);
	freeaddrinfo(options.address);
	return failed;
}
