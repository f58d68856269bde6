// forbid CALL PROGRAM [ARGUMENT...]: runs a program that may not make one system call, as in a container that forbids it.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct { const char *name; unsigned number; } calls[] = {
    { "seccomp", SYS_seccomp },
    { "pidfd_open", SYS_pidfd_open },
    { "pidfd_getfd", SYS_pidfd_getfd },
    { "process_vm_readv", SYS_process_vm_readv },
    { "process_vm_writev", SYS_process_vm_writev },
};

int main(int count, char **words)
{
    size_t at = 0, known = sizeof calls / sizeof *calls;
    while (count >= 3 && at < known && strcmp(calls[at].name, words[1]))
        at++;
    if (count < 3 || at == known)
        return 2;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[at].number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("forbid");
        return 2;
    }
    execvp(words[2], words + 2);
    perror(words[2]);
    return 2;
}
