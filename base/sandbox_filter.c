/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sandbox_child.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Allowed whatever the arguments. */
static const int plain[] = {
        /* descriptors it already has */
        SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
        SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fstat),
        SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
        SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
        SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
        /* its memory */
        SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(futex),
        /* time, chance, itself */
        SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
        SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(restart_syscall),
        SCMP_SYS(sched_yield), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(gettid),
        SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
        SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack), SCMP_SYS(rt_sigreturn), SCMP_SYS(exit),
        SCMP_SYS(exit_group)};

/*
 * What libraries ask for in passing and can do without: configuration files, terminals, the number
 * of processors, a socket to learn whether IPv6 works, channels to wake themselves up (libcurl),
 * memory that stays out of swap (our own secrets; the limit for it is zero anyway). Killing the
 * child for that would make harmless data look like an attack.
 */
static const int declined[] = {
        SCMP_SYS(open),      SCMP_SYS(openat),     SCMP_SYS(access),
        SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(stat),
        SCMP_SYS(lstat),     SCMP_SYS(newfstatat), SCMP_SYS(statx),
        SCMP_SYS(readlink),  SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
        SCMP_SYS(socket),    SCMP_SYS(socketpair), SCMP_SYS(ioctl),
        SCMP_SYS(uname),     SCMP_SYS(sysinfo),    SCMP_SYS(sched_getaffinity),
        SCMP_SYS(getrlimit), SCMP_SYS(prlimit64),  SCMP_SYS(rt_sigaction),
        SCMP_SYS(eventfd2),  SCMP_SYS(pipe2),      SCMP_SYS(mlock)};

/* Options of a connected socket that cannot change who is talked to. */
static const struct {
        int level, name;
} socket_options[] = {
        {SOL_SOCKET, SO_KEEPALIVE}, {SOL_SOCKET, SO_RCVBUF},     {SOL_SOCKET, SO_SNDBUF},
        {IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_TCP, TCP_KEEPIDLE}, {IPPROTO_TCP, TCP_KEEPINTVL},
        {IPPROTO_TCP, TCP_KEEPCNT},
};

/*
 * Never done, and answered with what a connection in progress gives. libcurl 7.88 calls connect()
 * even for a socket that it was told is connected, and waits until it can be written to: which is
 * at once.
 */
static int pretend_to_connect(scmp_filter_ctx f)
{
        return seccomp_rule_add(f, SCMP_ACT_ERRNO(EINPROGRESS), SCMP_SYS(connect), 0);
}

static struct scmp_arg_cmp equal(unsigned arg, int value)
{
        return (struct scmp_arg_cmp){.arg = arg, .op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)value};
}

static struct scmp_arg_cmp masked(unsigned arg, scmp_datum_t mask, scmp_datum_t value)
{
        return (struct scmp_arg_cmp){
                .arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

static int allow_plain(scmp_filter_ctx f)
{
        for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
                int r = seccomp_rule_add(f, SCMP_ACT_ALLOW, plain[i], 0);

                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ARRAY_SIZE(declined); i++) {
                int r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), declined[i], 0);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* Private anonymous memory only, never executable: neither fresh nor by a change of protection. */
static int allow_memory(scmp_filter_ctx f)
{
        int r;

        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, masked(2, PROT_EXEC, 0),
                             masked(3, MAP_TYPE | MAP_ANONYMOUS, MAP_PRIVATE | MAP_ANONYMOUS));
        if (r < 0)
                return r;
        return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, masked(2, PROT_EXEC, 0));
}

/*
 * Sending without an address. MSG_FASTOPEN would connect. The address inside a struct msghdr cannot
 * be seen from here, but sockets of the kinds that may be handed over ignore or refuse it.
 */
static int allow_sending(scmp_filter_ctx f)
{
        int r;

        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 2, masked(3, MSG_FASTOPEN, 0),
                             equal(4, 0));
        if (r < 0)
                return r;
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), 1, masked(2, MSG_FASTOPEN, 0));
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(socket_options); i++)
                r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
                                     equal(1, socket_options[i].level),
                                     equal(2, socket_options[i].name));
        return r;
}

static int allow_few(scmp_filter_ctx f)
{
        static const int commands[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD};
        pid_t self = getpid();
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(commands); i++)
                r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, equal(1, commands[i]));
        if (r < 0)
                return r;
        /* abort() sends a signal to itself. */
        return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, equal(0, self));
}

static int build(scmp_filter_ctx f)
{
        int r;

        /* Other ABIs of the same processor (32 bit, x32) end like any other forbidden call. */
        r = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r < 0)
                return r;
        r = seccomp_attr_set(f, SCMP_FLTATR_CTL_LOG, 1);
        if (r < 0)
                return r;
        r = allow_plain(f);
        if (r < 0)
                return r;
        r = pretend_to_connect(f);
        if (r < 0)
                return r;
        r = allow_memory(f);
        if (r < 0)
                return r;
        r = allow_sending(f);
        if (r < 0)
                return r;
        return allow_few(f);
}

int sandbox_filter_load(void)
{
        scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r;

        if (!f)
                return -ENOMEM;
        r = build(f);
        if (r >= 0)
                r = seccomp_load(f);
        seccomp_release(f);
        return r < 0 ? r : 0;
}
