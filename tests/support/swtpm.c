/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/swtpm.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define START_TRIES 100
/*
 * Below the ports that the kernel gives to clients: a test that opens its TPM some thousand times
 * leaves as many of those behind, closed and not free for a minute.
 */
#define PORT_MIN 10000u
#define PORT_COUNT 20000u

/* Whether one could listen on this loopback port. */
static bool probe_port(unsigned port)
{
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static _Noreturn void run_swtpm(const struct swtpm *s, const char *ready, pid_t parent)
{
        char server[64], ctrl[64], state[96], pid[128];
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        /* The parent may be gone already when the wish arrives. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(1);
        (void)snprintf(server, sizeof(server), "type=tcp,port=%u", s->port);
        (void)snprintf(ctrl, sizeof(ctrl), "type=tcp,port=%u", s->port + 1);
        (void)snprintf(state, sizeof(state), "dir=%s", s->dir);
        (void)snprintf(pid, sizeof(pid), "file=%s", ready);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server,
                     "--ctrl", ctrl, "--flags", "startup-clear", "--pid", pid, (char *)NULL);
        _exit(127);
}

static void end_process(struct swtpm *s)
{
        if (s->pid > 0) {
                (void)kill(s->pid, SIGTERM);
                (void)waitpid(s->pid, NULL, 0);
        }
        s->pid = 0;
}

/* Ready when something arrives in the pipe, failed when the process ends first. */
static bool wait_ready(int pipe_fd, pid_t pid)
{
        _cleanup_close_ int process = pidfd_open(pid, 0);
        struct pollfd fds[] = {{.fd = pipe_fd, .events = POLLIN},
                               {.fd = process, .events = POLLIN}};
        char c;

        if (process < 0 || poll(fds, ARRAY_SIZE(fds), -1) < 1)
                return false;
        return (fds[0].revents & POLLIN) && read(pipe_fd, &c, 1) == 1;
}

/* swtpm writes its pid file after both sockets listen; the file is a named pipe of ours. */
static int start_once(struct swtpm *s)
{
        _cleanup_close_ int ready = -EBADF;
        pid_t parent = getpid();
        char path[96];

        if (getrandom(&s->port, sizeof(s->port), 0) != sizeof(s->port))
                return -EIO;
        s->port = PORT_MIN + s->port % PORT_COUNT;
        if (!probe_port(s->port) || !probe_port(s->port + 1))
                return -EADDRINUSE;
        (void)snprintf(path, sizeof(path), "%s/ready", s->dir);
        (void)unlink(path);
        if (mkfifo(path, 0600) < 0)
                return -errno;
        ready = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (ready < 0)
                return -errno;
        s->pid = fork();
        if (s->pid < 0)
                return -errno;
        if (s->pid == 0)
                run_swtpm(s, path, parent);
        if (!wait_ready(ready, s->pid)) {
                end_process(s);
                return -EADDRINUSE;
        }
        (void)snprintf(s->tcti, sizeof(s->tcti), "swtpm:host=127.0.0.1,port=%u", s->port);
        return 0;
}

static int start(struct swtpm *s)
{
        int r = -EADDRINUSE;

        for (int i = 0; r < 0 && i < START_TRIES; i++)
                r = start_once(s);
        return r;
}

struct swtpm *swtpm_start(void)
{
        struct swtpm *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        (void)snprintf(s->dir, sizeof(s->dir), "/tmp/tb-swtpm-XXXXXX");
        if (!mkdtemp(s->dir)) {
                free(s);
                return NULL;
        }
        if (start(s) < 0) {
                swtpm_stop(s);
                return NULL;
        }
        return s;
}

int swtpm_reboot(struct swtpm *s)
{
        end_process(s);
        return start(s);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)st;
        (void)type;
        (void)at;
        return remove(path);
}

void swtpm_stop(struct swtpm *s)
{
        if (!s)
                return;
        end_process(s);
        (void)nftw(s->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(s);
}
