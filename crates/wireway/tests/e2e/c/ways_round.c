/*
 * Tries the ways past the stack that a system call number or an open descriptor could be, and says what each answers.
 * Statically linked and not position-independent: system calls of the 32-bit ABI need addresses below 4 GiB.
 *
 *     ways_round                 the other ABIs, io_uring, pidfd_getfd
 *     ways_round descriptor N    writing to a descriptor that was open before the program began
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define X32 0x40000000L

static sigjmp_buf no_such_abi;

static void fault(int signal)
{
	(void)signal;
	siglongjmp(no_such_abi, 1);
}

/* A system call of the i386 ABI; a kernel without it answers by SIGSEGV. */
static long i386(long number, long a, long b, long c, long d, long e)
{
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "0"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "r8", "r9", "r10", "r11", "memory", "cc");
	return (int)result;
}

static void say(const char *what, long result)
{
	printf("%s: %s\n", what, result < 0 ? strerrorname_np((int)-result) : "done");
}

static void say_i386(const char *what, long number, long a, long b, long c, long d, long e)
{
	if (sigsetjmp(no_such_abi, 1))
		printf("%s: absent\n", what);
	else
		say(what, i386(number, a, b, c, d, e));
}

/* What syscall(2) answered, as the kernel put it. */
static long raw(long result)
{
	return result < 0 ? -errno : result;
}

static void other_abis(void)
{
	static unsigned int arguments[3] = { AF_INET, SOCK_STREAM, 0 };
	static char room[256];
	struct sigaction action = { .sa_handler = fault };

	sigaction(SIGSEGV, &action, NULL);
	say_i386("i386 getpid", 20, 0, 0, 0, 0, 0);
	say_i386("i386 socketcall", 102, 1, (long)arguments, 0, 0, 0);
	say_i386("i386 socket", 359, AF_INET, SOCK_STREAM, 0, 0, 0);
	say_i386("i386 connect", 362, 0, (long)room, 16, 0, 0);
	say_i386("i386 sendmmsg", 345, 0, (long)room, 1, 0, 0);
	say_i386("i386 recvmmsg", 337, 0, (long)room, 1, 0, 0);
	say_i386("i386 io_uring_setup", 425, 8, (long)room, 0, 0, 0);
	say("x32 socket", raw(syscall(X32 | SYS_socket, AF_INET, SOCK_STREAM, 0)));
	say("x32 connect", raw(syscall(X32 | SYS_connect, 0, room, 16)));
	say("io_uring_setup", raw(syscall(SYS_io_uring_setup, 8, room)));
	say("io_uring_enter", raw(syscall(SYS_io_uring_enter, 0, 0, 0, 0, 0, 0)));
	say("io_uring_register", raw(syscall(SYS_io_uring_register, 0, 0, 0, 0)));
	say("pidfd_getfd", raw(syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getppid(), 0), 0, 0)));
}

static void descriptor(int fd)
{
	struct iovec vector = { "x", 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	say("write", raw(write(fd, "x", 1)));
	say("writev", raw(writev(fd, &vector, 1)));
	say("sendto", raw(sendto(fd, "x", 1, MSG_NOSIGNAL, NULL, 0)));
	say("sendmsg", raw(sendmsg(fd, &message, MSG_NOSIGNAL)));
	say("dup", raw(dup(fd)));
}

int main(int count, char **arguments)
{
	if (count == 3 && !strcmp(arguments[1], "descriptor"))
		descriptor(atoi(arguments[2]));
	else
		other_abis();
	return 0;
}
