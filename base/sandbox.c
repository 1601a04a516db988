/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/sandbox_child.h"

/* Users of children: a range that no distribution, container manager or directory service hands out
 * (systemd's table "Users, Groups, UIDs and GIDs"), and one for each process there can be. */
#define FIRST_ID 1900000000u
#define NOBODY 65534u

struct sandbox {
        char name[32];
        pid_t pid; /* -1 once reaped */
        int pidfd;
        unsigned layers;
        unsigned cpu_seconds;
        bool killed; /* by the time limit */
        int status;  /* of wait4(), once reaped */
        uint64_t cpu_us;
};

static const struct {
        unsigned layer;
        const char *name;
        uint64_t flag; /* of clone, for namespaces */
} layer_table[] = {
        {SANDBOX_USER_NAMESPACE, "user-namespace", CLONE_NEWUSER},
        {SANDBOX_MOUNT_NAMESPACE, "mount-namespace", CLONE_NEWNS},
        {SANDBOX_NETWORK_NAMESPACE, "network-namespace", CLONE_NEWNET},
        {SANDBOX_IPC_NAMESPACE, "ipc-namespace", CLONE_NEWIPC},
        {SANDBOX_PID_NAMESPACE, "pid-namespace", CLONE_NEWPID},
        {SANDBOX_UTS_NAMESPACE, "uts-namespace", CLONE_NEWUTS},
        {SANDBOX_ROOT, "empty-root", 0},
        {SANDBOX_IDS, "own-user", 0},
        {SANDBOX_BOUNDING, "empty-bounding-set", 0},
        {SANDBOX_MEMORY, "memory-limit", 0},
        {SANDBOX_CAPABILITIES, "no-capabilities", 0},
        {SANDBOX_NO_NEW_PRIVILEGES, "no-new-privileges", 0},
        {SANDBOX_NOT_DUMPABLE, "not-dumpable", 0},
        {SANDBOX_PARENT_DEATH, "dies-with-parent", 0},
        {SANDBOX_DESCRIPTORS, "only-given-descriptors", 0},
        {SANDBOX_LIMITS, "resource-limits", 0},
        {SANDBOX_SECCOMP, "system-call-filter", 0},
};

const char *sandbox_layer_name(unsigned layer)
{
        for (size_t i = 0; i < ARRAY_SIZE(layer_table); i++) {
                if (layer_table[i].layer == layer)
                        return layer_table[i].name;
        }
        return NULL;
}

int sandbox_describe(unsigned layers, struct buf *out)
{
        const char *blank = "";

        for (size_t i = 0; i < ARRAY_SIZE(layer_table); i++) {
                int r;

                if (!(layers & layer_table[i].layer))
                        continue;
                r = buf_printf(out, "%s%s", blank, layer_table[i].name);
                if (r < 0)
                        return r;
                blank = " ";
        }
        return 0;
}

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits until the descriptor is readable or hung up. -ETIMEDOUT. */
static int wait_readable(int fd, int64_t deadline)
{
        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                int64_t left = deadline - now_ms();
                int r = poll(&p, 1, left > INT32_MAX ? INT32_MAX : left > 0 ? (int)left : 0);

                if (r > 0)
                        return 0;
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r == 0 && left <= INT32_MAX)
                        return -ETIMEDOUT;
        }
}

/* Connected stream and seqpacket sockets ignore or refuse addresses in sendmsg(), all others do
 * not.
 */
static bool socket_allowed(int fd)
{
        struct sockaddr_storage peer;
        socklen_t n = sizeof(peer), type_size = sizeof(int);
        int type;

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) < 0)
                return false;
        return (type == SOCK_STREAM || type == SOCK_SEQPACKET) &&
               getpeername(fd, (struct sockaddr *)&peer, &n) == 0;
}

static bool fd_allowed(int fd)
{
        struct stat st;
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || (flags & O_PATH) || fstat(fd, &st) < 0)
                return false;
        return S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode) ||
               (S_ISSOCK(st.st_mode) && socket_allowed(fd));
}

static int check_options(const struct sandbox_options *o, struct error *e)
{
        if (o->n_fds > LIMIT_SANDBOX_FDS || o->n_received > LIMIT_SANDBOX_RECEIVED_FDS)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: too many descriptors", o->name);
        if (o->may_miss & SANDBOX_LEAST)
                return error_set(e, ERROR_INTERNAL, EINVAL,
                                 "%s: a layer that can always be had may not be missing", o->name);
        for (size_t i = 0; i < o->n_fds; i++) {
                if (!fd_allowed(o->fds[i]))
                        return error_set(e, ERROR_INTERNAL, EINVAL,
                                         "%s: descriptor %zu is of a kind that leads out of a "
                                         "sandbox",
                                         o->name, i);
        }
        return 0;
}

static int write_proc(const struct env *env, pid_t pid, const char *file, const char *text)
{
        char path[256];
        int n = snprintf(path, sizeof(path), "%s/%d/%s", env->proc, (int)pid, file);

        if (n < 0 || (size_t)n >= sizeof(path))
                return -ENAMETOOLONG;
        return file_write_volatile(AT_FDCWD, path, text, strlen(text), 0);
}

static int map_id(const struct env *env, pid_t pid, const char *file, uint32_t id)
{
        char text[64];

        (void)snprintf(text, sizeof(text), "%u %u 1\n", id, id);
        return write_proc(env, pid, file, text);
}

/*
 * Gives the child's user namespace its only user and group: one of its own, "nobody" where the
 * kernel does not know so many users (a container), or the one the parent is, when it has no
 * privilege. *ret_id is 0 in the last case.
 */
static int map_ids(const struct env *env, pid_t pid, uint32_t *ret_id)
{
        const uint32_t wanted[] = {FIRST_ID + (uint32_t)pid, NOBODY};
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
                if (map_id(env, pid, "gid_map", wanted[i]) < 0)
                        continue;
                *ret_id = wanted[i];
                return map_id(env, pid, "uid_map", wanted[i]);
        }
        /* Without privilege the kernel wants setgroups() to be given up first. */
        r = write_proc(env, pid, "setgroups", "deny");
        if (r >= 0)
                r = map_id(env, pid, "gid_map", getegid());
        if (r >= 0)
                r = map_id(env, pid, "uid_map", geteuid());
        if (r >= 0)
                *ret_id = 0;
        return r;
}

static void reap(struct sandbox *s)
{
        struct rusage usage = {.ru_maxrss = 0};

        if (s->pid < 0)
                return;
        while (wait4(s->pid, &s->status, 0, &usage) < 0 && errno == EINTR) {
        }
        s->cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                    (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
        s->pid = -1;
        close_p(&s->pidfd);
}

void sandbox_kill(struct sandbox *s)
{
        if (s->pid > 0)
                (void)kill(s->pid, SIGKILL); /* not reaped yet: the number is still its own */
}

void sandbox_free(struct sandbox *s)
{
        if (!s)
                return;
        sandbox_kill(s);
        reap(s);
        free(s);
}

/* fork() with fresh namespaces. The child sees 0, as with fork(). */
static int clone_child(unsigned namespaces, int *ret_pidfd)
{
        uint64_t flags = CLONE_PIDFD | SIGCHLD;
        int pidfd = -EBADF;
        long pid;

        for (size_t i = 0; i < ARRAY_SIZE(layer_table); i++) {
                if (namespaces & layer_table[i].layer)
                        flags |= layer_table[i].flag;
        }
        pid = syscall(SYS_clone, flags, NULL, &pidfd, NULL, NULL);
        if (pid < 0)
                return -errno;
        if (pid > 0)
                *ret_pidfd = pidfd;
        return (int)pid;
}

struct channel {
        int go_read, go_write, report_read, report_write, null;
};

static void channel_done(struct channel *c)
{
        close_p(&c->go_read);
        close_p(&c->go_write);
        close_p(&c->report_read);
        close_p(&c->report_write);
        close_p(&c->null);
}

static int channel_open(const struct env *env, struct channel *c)
{
        char path[256];
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        c->go_read = fds[0];
        c->go_write = fds[1];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        c->report_read = fds[0];
        c->report_write = fds[1];
        (void)snprintf(path, sizeof(path), "%s/null", env->dev);
        c->null = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        return c->null < 0 ? -errno : 0;
}

/* Tells the child who it is and takes its report. -ECHILD when it ended without one. */
static int converse(struct sandbox *s, const struct env *env, unsigned namespaces,
                    struct channel *c, struct sandbox_report *ret)
{
        struct sandbox_go go = {.id = FIRST_ID + (uint32_t)s->pid};
        int r;

        if (namespaces & SANDBOX_USER_NAMESPACE) {
                r = map_ids(env, s->pid, &go.id);
                if (r < 0)
                        return r;
        }
        /* The reading end is still open here: a child that died is no SIGPIPE for the parent. */
        r = file_write(c->go_write, &go, sizeof(go));
        if (r < 0)
                return r;
        close_p(&c->report_write);
        r = wait_readable(c->report_read, now_ms() + LIMIT_SANDBOX_START_SECONDS * 1000);
        if (r < 0)
                return r;
        if (read(c->report_read, ret, sizeof(*ret)) != sizeof(*ret))
                return -ECHILD;
        return wait_readable(c->report_read, now_ms() + LIMIT_SANDBOX_START_SECONDS * 1000);
}

static int set_up_failed(const struct sandbox_options *o, unsigned layer, int code, struct error *e)
{
        const char *name = sandbox_layer_name(layer);

        error_set(e, ERROR_PRECONDITION, code, "%s: cannot be isolated: %s: %s", o->name,
                  name ? name : "start", strerror(code));
        error_advise(e, "run the agent on the host itself, or as root in a container that may make "
                        "namespaces (CAP_SYS_ADMIN)");
        return -code;
}

/* One try with these namespaces. */
static int attempt(const struct sandbox_options *o, sandbox_main run, void *ctx,
                   unsigned namespaces, struct sandbox *s, struct error *e)
{
        _cleanup_(channel_done) struct channel c = {-EBADF, -EBADF, -EBADF, -EBADF, -EBADF};
        struct sandbox_child child = {.options = o, .run = run, .ctx = ctx};
        struct sandbox_report report = {.missing = 0};
        int r;

        child.namespaces = namespaces;
        child.required = SANDBOX_POSSIBLE & ~o->may_miss;
        r = channel_open(o->env, &c);
        if (r < 0)
                return error_errno(e, -r, "%s: preparing the sandbox", o->name);
        child.go = c.go_read;
        child.report = c.report_write;
        child.null = c.null;
        r = clone_child(namespaces, &s->pidfd);
        if (r < 0)
                return set_up_failed(o, namespaces & SANDBOX_USER_NAMESPACE, -r, e);
        if (r == 0) {
                close_p(&c.go_write); /* or the death of the parent would go unnoticed */
                close_p(&c.report_read);
                sandbox_child(&child);
        }
        s->pid = r;
        r = converse(s, o->env, namespaces, &c, &report);
        if (r < 0)
                return set_up_failed(o, namespaces & SANDBOX_USER_NAMESPACE, -r, e);
        if (child.required & ~report.layers)
                return set_up_failed(o, report.missing, report.code, e);
        s->layers = report.layers;
        return 0;
}

/*
 * All namespaces, then all but the user namespace (some systems forbid these, even for root), then
 * none (a container). Which of them are enough is the caller's to say.
 */
static int try_all(const struct sandbox_options *o, sandbox_main run, void *ctx, struct sandbox *s,
                   struct error *e)
{
        static const unsigned tries[] = {SANDBOX_NAMESPACES,
                                         SANDBOX_NAMESPACES & ~(unsigned)SANDBOX_USER_NAMESPACE, 0};
        int r = -EINVAL;

        for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
                struct error later = ERROR_INIT;

                if (i > 0 && (SANDBOX_NAMESPACES & ~tries[i] & ~o->may_miss))
                        break;
                r = attempt(o, run, ctx, tries[i], s, &later);
                if (r >= 0)
                        return r;
                if (e)
                        *e = later;
                sandbox_kill(s);
                reap(s);
        }
        return r;
}

int sandbox_spawn(const struct sandbox_options *options, sandbox_main run, void *ctx,
                  struct sandbox **ret, struct error *e)
{
        _cleanup_(sandbox_free_p) struct sandbox *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return error_oom(e);
        s->pid = -1;
        s->pidfd = -EBADF;
        s->cpu_seconds = options->cpu_seconds ? options->cpu_seconds : LIMIT_SANDBOX_CPU_SECONDS;
        (void)snprintf(s->name, sizeof(s->name), "%s", options->name);
        r = check_options(options, e);
        if (r < 0)
                return r;
        r = try_all(options, run, ctx, s, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

unsigned sandbox_layers(const struct sandbox *s)
{
        return s->layers;
}

int sandbox_pidfd(const struct sandbox *s)
{
        return s->pidfd >= 0 ? s->pidfd : -1;
}

pid_t sandbox_pid(const struct sandbox *s)
{
        return s->pid;
}

static int explain_signal(const struct sandbox *s, struct error *e)
{
        int signal = WTERMSIG(s->status);

        if (signal == SIGSYS)
                return error_set(e, ERROR_REFUSED, EPERM,
                                 "%s: stopped at a forbidden system call: what it read may be an "
                                 "attack",
                                 s->name);
        if (s->killed)
                return error_set(e, ERROR_SOURCE, ETIMEDOUT, "%s: took too long", s->name);
        /* The kernel counts in ticks for the limit and exactly for the sum: on a busy machine the
         * sum may be far from the limit, so it decides only where the signal does not. */
        if (signal == SIGXCPU ||
            (signal == SIGKILL && s->cpu_us >= (uint64_t)s->cpu_seconds * 900000))
                return error_set(e, ERROR_REFUSED, ETIME,
                                 "%s: used up its %u seconds of processor time", s->name,
                                 s->cpu_seconds);
        if (signal == SIGKILL)
                return error_set(e, ERROR_INTERRUPTED, EINTR, "%s: killed", s->name);
        return error_set(e, ERROR_REFUSED, EFAULT, "%s: crashed (signal %d)", s->name, signal);
}

int sandbox_wait(struct sandbox *s, unsigned timeout_ms, int *ret_status, struct error *e)
{
        if (s->pid > 0) {
                int r = wait_readable(s->pidfd, now_ms() + timeout_ms);

                if (r < 0) {
                        s->killed = true;
                        sandbox_kill(s);
                }
                reap(s);
        }
        if (!WIFEXITED(s->status))
                return explain_signal(s, e);
        *ret_status = WEXITSTATUS(s->status);
        return 0;
}

int sandbox_send_fd(int control, int fd)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } rights = {.space = {0}};
        char byte = 0;
        struct iovec data = {.iov_base = &byte, .iov_len = 1};
        struct msghdr m = {.msg_iov = &data,
                           .msg_iovlen = 1,
                           .msg_control = &rights,
                           .msg_controllen = sizeof(rights.space)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        ssize_t n;

        if (!socket_allowed(fd))
                return -EINVAL;
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
        do {
                n = sendmsg(control, &m, MSG_NOSIGNAL);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

int sandbox_receive_fd(int control)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } rights = {.space = {0}};
        char byte;
        struct iovec data = {.iov_base = &byte, .iov_len = 1};
        struct msghdr m = {.msg_iov = &data,
                           .msg_iovlen = 1,
                           .msg_control = &rights,
                           .msg_controllen = sizeof(rights.space)};
        struct cmsghdr *c;
        ssize_t n;
        int fd;

        do {
                n = recvmsg(control, &m, MSG_CMSG_CLOEXEC);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (n == 0)
                return -EPIPE;
        c = CMSG_FIRSTHDR(&m);
        if ((m.msg_flags & MSG_CTRUNC) || !c || c->cmsg_level != SOL_SOCKET ||
            c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
                return -EBADMSG;
        memcpy(&fd, CMSG_DATA(c), sizeof(int));
        return fd;
}
