/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "base/limits.h"

/* PATH and LC_ALL, what the caller adds, and the end. */
struct child_env {
        const char *item[2 + SPAWN_ENVIRONMENT_MAX + 1];
};

static int make_env(const struct spawn_how *how, struct child_env *ret)
{
        unsigned n = 0;

        ret->item[n++] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        ret->item[n++] = "LC_ALL=C";
        for (unsigned i = 0; how->environment && how->environment[i]; i++) {
                if (i == SPAWN_ENVIRONMENT_MAX)
                        return -E2BIG;
                ret->item[n++] = how->environment[i];
        }
        ret->item[n] = NULL;
        return 0;
}

/* Runs in the child: nothing here may allocate or return. */
static _Noreturn void exec_child(const char *const argv[], const char *const *env,
                                 const struct spawn_how *how, int out)
{
        static const int defaults[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGCHLD};
        sigset_t none;
        const char *root = how->root;
        int in;

        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
                (void)signal(defaults[i], SIG_DFL);
        (void)setpgid(0, 0);
        /* A formatter that outlived a killed installation would keep the disk busy for the next
         * one. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        in = how->input ? *how->input : open("/dev/null", O_RDWR | O_CLOEXEC);
        if (in < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
            dup2(out, STDERR_FILENO) < 0)
                _exit(127);
        if (syscall(SYS_close_range, 3, ~0U, 0) < 0)
                _exit(127);
        if (root && (chroot(root) < 0 || chdir("/") < 0))
                _exit(126);
        environ = (char **)(uintptr_t)env; /* never written through: POSIX predates const */
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(errno == ENOENT ? 127 : 126);
}

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Keeps what fits; a child that talks too much is drained, not blocked. */
static int drain(int fd, struct buf *output)
{
        uint8_t chunk[4096];
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 1 : -errno;
        if (n == 0)
                return 0;
        if (output) {
                size_t room = output->max - output->len;

                if (buf_add(output, chunk, (size_t)n < room ? (size_t)n : room) < 0)
                        return 1; /* out of memory: the output is an extra, the run goes on */
        }
        return 1;
}

/* Reads until the child closed its output or the time is over. Returns 0, or -ETIMEDOUT. */
static int collect(int fd, struct buf *output, int64_t deadline)
{
        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                int64_t left = deadline - now_ms();
                int r;

                if (left <= 0)
                        return -ETIMEDOUT;
                r = poll(&p, 1, (int)left);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r > 0) {
                        r = drain(fd, output);
                        if (r <= 0)
                                return r;
                }
        }
}

/* Waits for the child through a pidfd, so that the time limit also holds for one that closed its
 * output and hangs. */
static int reap(pid_t pid, int64_t deadline, int collected, struct spawn_result *ret)
{
        _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        int status;

        if (collected == 0 && pidfd >= 0) {
                struct pollfd p = {.fd = pidfd, .events = POLLIN};
                int r;

                do {
                        int64_t left = deadline - now_ms();

                        r = poll(&p, 1, left > 0 ? (int)left : 0);
                } while (r < 0 && errno == EINTR);
                if (r == 0)
                        collected = -ETIMEDOUT;
        }
        if (collected < 0) {
                ret->timed_out = collected == -ETIMEDOUT;
                (void)kill(-pid, SIGKILL); /* the group; */
                (void)kill(
                        pid,
                        SIGKILL); /* and the child itself, should it not have reached setpgid yet */
        }
        while (waitpid(pid, &status, 0) < 0) {
                if (errno != EINTR)
                        return -errno;
        }
        ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        return 0;
}

int spawn_run_how(const char *const argv[], const struct spawn_how *how, struct buf *output,
                  struct spawn_result *ret, struct error *e)
{
        _cleanup_close_ int out_read = -EBADF, out_write = -EBADF;
        struct spawn_result result = {.status = -1};
        int64_t deadline = now_ms() + (int64_t)how->timeout_seconds * 1000;
        struct child_env env;
        int fds[2], r;
        pid_t pid;

        r = make_env(how, &env);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "%s: environment", argv[0]);
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(e, errno, "%s: pipe", argv[0]);
        out_read = fds[0];
        out_write = fds[1];
        pid = fork();
        if (pid < 0)
                return error_errno(e, errno, "%s: fork", argv[0]);
        if (pid == 0)
                exec_child(argv, env.item, how, out_write);
        (void)setpgid(pid, pid); /* also done in the child: whoever comes first */
        close_p(&out_write);

        r = reap(pid, deadline, collect(out_read, output, deadline), &result);
        if (r < 0)
                return error_errno(e, -r, "%s: wait", argv[0]);
        *ret = result;
        return 0;
}

static const char *last_line(struct buf *b)
{
        char *p;

        while (b->len > 0 && b->data[b->len - 1] == '\n')
                b->data[--b->len] = '\0';
        if (b->len == 0)
                return "";
        p = strrchr((char *)b->data, '\n');
        return p ? p + 1 : (char *)b->data;
}

int spawn_run(const char *const argv[], unsigned timeout_seconds, struct buf *output,
              struct spawn_result *ret, struct error *e)
{
        const struct spawn_how how = {.timeout_seconds = timeout_seconds};

        return spawn_run_how(argv, &how, output, ret, e);
}

int spawn_check_how(const char *const argv[], const struct spawn_how *how, struct error *e)
{
        _cleanup_(buf_done) struct buf output = BUF_INIT(LIMIT_CHILD_OUTPUT);
        struct spawn_result result;
        int r;

        r = spawn_run_how(argv, how, &output, &result, e);
        if (r < 0)
                return r;
        if (result.status == 0)
                return 0;
        if (result.timed_out)
                return error_set(e, ERROR_IO, ETIMEDOUT, "%s did not end within %u seconds",
                                 argv[0], how->timeout_seconds);
        if (result.status == 127)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "%s: program not found", argv[0]);
        return error_set(e, ERROR_IO, EIO, "%s failed (%s %d): %s", argv[0],
                         result.signal ? "signal" : "status",
                         result.signal ? result.signal : result.status, last_line(&output));
}

int spawn_check(const char *const argv[], unsigned timeout_seconds, struct error *e)
{
        const struct spawn_how how = {.timeout_seconds = timeout_seconds};

        return spawn_check_how(argv, &how, e);
}
