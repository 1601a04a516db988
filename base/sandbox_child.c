/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sandbox_child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/limits.h"

/* Numbers of the descriptors that the function gets begin behind standard error. */
#define FIRST_FD 3

/* Everything that is known while the child isolates itself. */
struct state {
        struct sandbox_report report;
        int go, report_fd;
        int fds[LIMIT_SANDBOX_FDS];
};

/* Straight to the kernel: the _exit() of a sanitizer looks for leaks first, with system calls that
 * are forbidden here. */
static _Noreturn void leave(int status)
{
        for (;;)
                (void)syscall(SYS_exit_group, status);
}

/* Notes how a layer went. */
static void note(struct state *s, unsigned layers, int r)
{
        if (r >= 0) {
                s->report.layers |= layers;
        } else if (s->report.missing == 0) {
                s->report.missing = layers;
                s->report.code = -r;
        }
}

static int set_capabilities(bool keep)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

        if (keep) {
                if (syscall(SYS_capget, &header, data) < 0)
                        return -errno;
                for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
                        data[i].effective = data[i].permitted;
                        data[i].inheritable = 0;
                }
        }
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/*
 * Becomes a user nobody else is. Capabilities survive the change, because the mounts below need
 * them. In a container that maps few users the number wanted may not exist; "nobody" always does.
 */
static int change_ids(uint32_t id)
{
        static const uint32_t nobody = 65534;

        if (id == 0)
                return -EPERM;
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0)
                return -errno;
        if (setresgid(id, id, id) < 0) {
                id = nobody;
                if (setresgid(id, id, id) < 0)
                        return -errno;
        }
        if (setresuid(id, id, id) < 0)
                return -errno;
        return set_capabilities(true);
}

/* A file system of our own that is empty and cannot be written to, not mounted anywhere yet. */
static int make_root(void)
{
        _cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        int fd;

        if (fs < 0)
                return -errno;
        if (fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        fd = fsmount(fs, FSMOUNT_CLOEXEC,
                     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        return fd < 0 ? -errno : fd;
}

/*
 * Exchanges the root and takes the old one away. Where that is impossible (the root of an initramfs
 * or of a chroot) the new one is only entered: without a descriptor and without capabilities there
 * is no way back. Copies of mounts that remain follow the parent's unmounts, so that they hold no
 * device busy.
 */
static int change_root(void)
{
        _cleanup_close_ int root = make_root();
        bool attached;

        if (root < 0)
                return root;
        /* EINVAL: "/" is no mount point. Nothing may be mounted on it then, because that would show
         * in the parent's namespace too. */
        attached = mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0;
        if (!attached && errno != EINVAL)
                return -errno;
        if (attached && move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return -errno;
        if (fchdir(root) < 0)
                return -errno;
        if (attached && syscall(SYS_pivot_root, ".", ".") == 0)
                return umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ? -errno : 0;
        if ((attached && errno != EINVAL) || chroot(".") < 0)
                return -errno;
        return chdir("/") < 0 ? -errno : 0;
}

/*
 * Descriptors handed over become FIRST_FD and following, then the two of the start protocol;
 * nothing else stays open. Copies far above come first, so that no target is overwritten while it
 * is still a source.
 */
static int arrange_descriptors(const struct sandbox_child *c, struct state *s)
{
        int n = (int)c->options->n_fds, high[LIMIT_SANDBOX_FDS + 2], above = FIRST_FD + n + 2;

        for (int i = 0; i < n + 2; i++) {
                int from = i < n ? c->options->fds[i] : i == n ? c->report : c->go;

                high[i] = fcntl(from, F_DUPFD_CLOEXEC, above);
                if (high[i] < 0)
                        return -errno;
        }
        for (int i = 0; i < FIRST_FD; i++) {
                if (dup2(c->null, i) < 0)
                        return -errno;
        }
        for (int i = 0; i < n + 2; i++) {
                if (dup2(high[i], FIRST_FD + i) < 0)
                        return -errno;
                if (i < n)
                        s->fds[i] = FIRST_FD + i;
        }
        s->report_fd = FIRST_FD + n;
        s->go = FIRST_FD + n + 1;
        return syscall(SYS_close_range, above, ~0U, 0) < 0 ? -errno : 0;
}

static int limit(__rlimit_resource_t resource, uint64_t value)
{
        const struct rlimit l = {.rlim_cur = value, .rlim_max = value};

        return setrlimit(resource, &l) < 0 ? -errno : 0;
}

/* The end by SIGXCPU says why it came, SIGKILL does not: that one is for a child that lives on. */
static int limit_cpu(const struct sandbox_options *o)
{
        unsigned seconds = o->cpu_seconds ? o->cpu_seconds : LIMIT_SANDBOX_CPU_SECONDS;
        const struct rlimit l = {.rlim_cur = seconds, .rlim_max = (rlim_t)seconds + 1};

        return setrlimit(RLIMIT_CPU, &l) < 0 ? -errno : 0;
}

static int set_limits(const struct sandbox_child *c)
{
        const struct sandbox_options *o = c->options;
        const struct {
                __rlimit_resource_t resource;
                uint64_t value;
        } table[] = {
                {RLIMIT_NOFILE, FIRST_FD + o->n_fds + o->n_received},
                {RLIMIT_NPROC, 0},
                {RLIMIT_FSIZE, 0},
                {RLIMIT_CORE, 0},
                {RLIMIT_MEMLOCK, 0},
                {RLIMIT_MSGQUEUE, 0},
                {RLIMIT_NICE, 0},
                {RLIMIT_RTPRIO, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                int r = limit(table[i].resource, table[i].value);

                if (r < 0)
                        return r;
        }
        return limit_cpu(o);
}

static int limit_memory(const struct sandbox_child *c)
{
        if (SANDBOX_SANITIZED)
                return -EOPNOTSUPP;
        return limit(RLIMIT_AS, c->options->memory ? c->options->memory : LIMIT_SANDBOX_MEMORY);
}

static int empty_bounding_set(void)
{
        for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return -errno;
        }
        return 0;
}

static int drop_capabilities(void)
{
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return -errno;
        return set_capabilities(false);
}

/* The parent holds its end of the start protocol open until it has the report, so a hang-up now
 * means that it died before the signal was asked for. */
static int die_with_parent(const struct state *s)
{
        struct pollfd p = {.fd = s->go, .events = POLLIN};

        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return -errno;
        if (poll(&p, 1, 0) != 0)
                leave(EXIT_FAILURE);
        return 0;
}

static void wipe_environment(void)
{
        for (char **p = environ; p && *p; p++)
                explicit_bzero(*p, strlen(*p));
        environ = NULL;
}

/* What tells a whole group to end is the parent's to hear: it ends the child when it is ready. */
static bool is_for_parent(int number)
{
        return number == SIGHUP || number == SIGINT || number == SIGQUIT || number == SIGTERM;
}

static void reset_signals(void)
{
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void)signal(i, i == SIGPIPE || is_for_parent(i)
                                        ? SIG_IGN
                                        : SIG_DFL); /* SIGKILL and SIGSTOP stay as they are */
        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int result(int r)
{
        return r < 0 ? -errno : 0;
}

/* From the outside in: what needs privileges first, then the privileges, last the system calls. */
static void isolate(const struct sandbox_child *c, struct state *s, uint32_t id)
{
        note(s, c->namespaces, 0);
        note(s, SANDBOX_IDS, change_ids(id));
        note(s, SANDBOX_ROOT,
             c->namespaces & SANDBOX_MOUNT_NAMESPACE ? change_root() : -EOPNOTSUPP);
        note(s, SANDBOX_DESCRIPTORS, arrange_descriptors(c, s));
        if (!(s->report.layers & SANDBOX_DESCRIPTORS))
                leave(EXIT_FAILURE); /* nowhere to report to */
        note(s, SANDBOX_BOUNDING, empty_bounding_set());
        note(s, SANDBOX_CAPABILITIES, drop_capabilities());
        note(s, SANDBOX_NO_NEW_PRIVILEGES, result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
        note(s, SANDBOX_NOT_DUMPABLE, result(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)));
        note(s, SANDBOX_PARENT_DEATH, die_with_parent(s));
        note(s, SANDBOX_LIMITS, set_limits(c));
        note(s, SANDBOX_MEMORY, limit_memory(c));
        note(s, SANDBOX_SECCOMP, sandbox_filter_load());
}

void sandbox_child(const struct sandbox_child *c)
{
        struct state s = {.report.missing = 0};
        struct sandbox_go go;
        int status = EXIT_FAILURE;

        reset_signals();
        wipe_environment();
        (void)prctl(PR_SET_NAME, c->options->name, 0, 0, 0);
        if (read(c->go, &go, sizeof(go)) != sizeof(go))
                leave(EXIT_FAILURE);
        isolate(c, &s, go.id);
        if (write(s.report_fd, &s.report, sizeof(s.report)) != sizeof(s.report))
                leave(EXIT_FAILURE);
        /* In this order: at the end of the report the parent knows that both are gone. */
        (void)close(s.go);
        (void)close(s.report_fd);
        if ((c->required & ~s.report.layers) == 0)
                status = c->run(c->ctx, s.fds) & 0xff;
        leave(status);
}
