/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile function in a sandbox. Each attack is first made in an ordinary child, where it must
 * succeed (the control: the attack is a real one), then in the sandbox, where it must be refused or
 * deadly as the table says. Then the same in the weakest sandbox there is, inside a container.
 *
 * Builds with AddressSanitizer have no memory limit; the attack on it is left out there.
 */
#include "base/sandbox.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/sandbox_child.h"
#include "tests/integration/container.h"
#include "tests/unit/scratch.h"

/* What an attack returns. */
#define REFUSED 0
#define BREACH 1
#define NOT_HERE 2 /* this kernel knows nothing of the kind, in or out of a sandbox */

static const struct env env = ENV_INIT;
static struct {
        struct scratch dir;
        char file[PATH_MAX];   /* readable by everybody */
        char victim[PATH_MAX]; /* may be deleted by everybody */
        int listener, datagrams, unix_listener;
        struct sockaddr_in address;      /* of both, on loopback */
        struct sockaddr_un unix_address; /* abstract, so it needs no file system */
        pid_t parent;
        int word; /* in the memory of the parent */
        int read_only, writable;
        int pipe[2];
} host;

/* Descriptors that an attack gets. */
enum {
        FD_FILE,
        FD_PIPE,
        FD_MAX,
};

static int breach_if(bool through)
{
        return through ? BREACH : REFUSED;
}

/* --- attacks ----------------------------------------------------------------------------------*/

static int attack_open(const int *fds)
{
        (void)fds;
        return breach_if(syscall(SYS_openat, AT_FDCWD, host.file, O_RDONLY) >= 0);
}

static int attack_openat2(const int *fds)
{
        struct open_how how = {.flags = O_RDONLY};

        (void)fds;
        return breach_if(syscall(SYS_openat2, AT_FDCWD, host.file, &how, sizeof(how)) >= 0);
}

static int attack_open_root(const int *fds)
{
        (void)fds;
        return breach_if(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) >= 0);
}

static int attack_create(const int *fds)
{
        char path[PATH_MAX];

        (void)fds;
        (void)snprintf(path, sizeof(path), "%s/made", host.dir.path);
        return breach_if(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0);
}

static int attack_stat(const int *fds)
{
        struct stat st;

        (void)fds;
        return breach_if(stat(host.file, &st) == 0 ||
                         fstatat(AT_FDCWD, host.file, &st, AT_EMPTY_PATH) == 0);
}

static int attack_statx(const int *fds)
{
        struct statx st;

        (void)fds;
        return breach_if(statx(AT_FDCWD, host.file, 0, STATX_ALL, &st) == 0);
}

static int attack_unlink(const int *fds)
{
        (void)fds;
        return breach_if(unlink(host.victim) == 0);
}

static int attack_proc(const int *fds)
{
        (void)fds;
        return breach_if(open("/proc/self/maps", O_RDONLY | O_CLOEXEC) >= 0);
}

static int attack_name_to_handle(const int *fds)
{
        union {
                struct file_handle handle;
                char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
        } h = {.handle.handle_bytes = MAX_HANDLE_SZ};
        int mount_id;

        (void)fds;
        return breach_if(name_to_handle_at(AT_FDCWD, host.file, &h.handle, &mount_id, 0) == 0);
}

static int attack_tcp(const int *fds)
{
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)fds;
        return breach_if(s >= 0 && connect(s, (const struct sockaddr *)&host.address,
                                           sizeof(host.address)) == 0);
}

static int attack_fast_open(const int *fds)
{
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)fds;
        return breach_if(s >= 0 &&
                         sendto(s, "x", 1, MSG_FASTOPEN, (const struct sockaddr *)&host.address,
                                sizeof(host.address)) == 1);
}

static int attack_udp(const int *fds)
{
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        (void)fds;
        return breach_if(s >= 0 && sendto(s, "x", 1, 0, (const struct sockaddr *)&host.address,
                                          sizeof(host.address)) == 1);
}

static int attack_unix(const int *fds)
{
        int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)fds;
        return breach_if(s >= 0 && connect(s, (const struct sockaddr *)&host.unix_address,
                                           sizeof(host.unix_address)) == 0);
}

static int attack_netlink(const int *fds)
{
        (void)fds;
        return breach_if(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0);
}

static int attack_vsock(const int *fds)
{
        int s = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)fds;
        if (s < 0 && errno == EAFNOSUPPORT)
                return NOT_HERE;
        return breach_if(s >= 0);
}

static int attack_exec(const int *fds)
{
        static const char *const argv[] = {"/bin/sh", "-c", "exit 1", NULL}; /* 1 = BREACH */

        (void)fds;
        execv(argv[0], (char *const *)(uintptr_t)argv);
        return REFUSED;
}

static int attack_execveat(const int *fds)
{
        const char *const argv[] = {"/bin/sh", "-c", "exit 1", NULL};

        (void)fds;
        (void)execveat(AT_FDCWD, argv[0], (char *const *)(uintptr_t)argv, environ, 0);
        return REFUSED;
}

static int attack_fork(const int *fds)
{
        pid_t pid = fork();

        (void)fds;
        if (pid == 0)
                _exit(0);
        return breach_if(pid > 0);
}

static int attack_clone3(const int *fds)
{
        struct {
                uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
        } args = {.exit_signal = SIGCHLD};
        long pid = syscall(SYS_clone3, &args, sizeof(args));

        (void)fds;
        if (pid == 0)
                _exit(0);
        return breach_if(pid > 0);
}

static int attack_namespace(const int *fds)
{
        (void)fds;
        return breach_if(unshare(CLONE_NEWUSER) == 0);
}

static int attack_ptrace(const int *fds)
{
        (void)fds;
        return breach_if(ptrace(PTRACE_SEIZE, host.parent, NULL, NULL) == 0);
}

static int attack_memory_of_parent(const int *fds)
{
        int copy = 0;
        struct iovec to = {.iov_base = &copy, .iov_len = sizeof(copy)};
        struct iovec from = {.iov_base = &host.word, .iov_len = sizeof(host.word)};

        (void)fds;
        return breach_if(process_vm_readv(host.parent, &to, 1, &from, 1, 0) == sizeof(copy));
}

static int attack_kill(const int *fds)
{
        (void)fds;
        return breach_if(kill(host.parent, 0) == 0);
}

static int attack_tgkill(const int *fds)
{
        (void)fds;
        return breach_if(syscall(SYS_tgkill, host.parent, host.parent, 0) == 0);
}

static int attack_pidfd(const int *fds)
{
        (void)fds;
        return breach_if(syscall(SYS_pidfd_open, host.parent, 0) >= 0);
}

static int attack_mount(const int *fds)
{
        (void)fds;
        /* In a namespace of its own, so that the control leaves nothing behind. */
        return breach_if(unshare(CLONE_NEWNS) == 0 &&
                         mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                         mount("none", host.dir.path, "tmpfs", 0, NULL) == 0);
}

static int attack_ioctl(const int *fds)
{
        int n;

        return breach_if(ioctl(fds[FD_PIPE], FIONREAD, &n) == 0);
}

static int attack_terminal(const int *fds)
{
        /* The kernel refuses this on a pipe; what counts is whether it was asked at all. */
        return breach_if(ioctl(fds[FD_PIPE], TIOCSTI, "x") < 0 && errno == ENOTTY);
}

static int attack_executable_memory(const int *fds)
{
        (void)fds;
        return breach_if(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                              0) != MAP_FAILED);
}

static int attack_make_executable(const int *fds)
{
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        (void)fds;
        return breach_if(p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0);
}

static int attack_shared_memory(const int *fds)
{
        return breach_if(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[FD_FILE], 0) != MAP_FAILED);
}

static int attack_memfd(const int *fds)
{
        (void)fds;
        return breach_if(memfd_create("x", MFD_CLOEXEC) >= 0);
}

static int attack_duplicate(const int *fds)
{
        return breach_if(fcntl(fds[FD_PIPE], F_DUPFD_CLOEXEC, 0) >= 0);
}

static int attack_epoll(const int *fds)
{
        (void)fds;
        return breach_if(epoll_create1(EPOLL_CLOEXEC) >= 0);
}

static int attack_root_user(const int *fds)
{
        (void)fds;
        return breach_if(setuid(0) == 0);
}

static int attack_bpf(const int *fds)
{
        (void)fds;
        return breach_if(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno != ENOSYS);
}

static int attack_io_uring(const int *fds)
{
        char params[120] = "";
        long fd = syscall(SYS_io_uring_setup, 1, params);

        (void)fds;
        if (fd < 0 && (errno == ENOSYS || errno == EPERM))
                return NOT_HERE;
        return breach_if(fd >= 0);
}

static int attack_key(const int *fds)
{
        long id = syscall(SYS_add_key, "user", "x", "x", 1, -1 /* of the thread */);

        (void)fds;
        if (id < 0 && errno == ENOSYS)
                return NOT_HERE;
        return breach_if(id >= 0);
}

/* x32, a second table of system call numbers, which a filter could overlook. */
static int attack_other_abi(const int *fds)
{
        long r = -1;

        (void)fds;
#if defined(__x86_64__)
        r = syscall(0x40000000 + SYS_getpid);
        if (r < 0 && errno != ENOSYS)
                return REFUSED;
#endif
        return r < 0 ? NOT_HERE : BREACH;
}

static int attack_environment(const int *fds)
{
        (void)fds;
        return breach_if(getenv("TB_TEST_SECRET") != NULL);
}

static int attack_memory_limit(const int *fds)
{
        (void)fds;
        if (SANDBOX_SANITIZED)
                return NOT_HERE;
        return breach_if(mmap(NULL, 2 * LIMIT_SANDBOX_MEMORY, PROT_READ,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
}

/* The control has the same file open for writing. */
static int attack_write_file(const int *fds)
{
        (void)fcntl(fds[FD_FILE], F_SETFL, O_RDWR);
        return breach_if(write(fds[FD_FILE], "x", 1) == 1);
}

static int attack_cpu(const int *fds)
{
        struct timespec t;

        (void)fds;
        do {
                (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        } while (t.tv_sec < 4); /* of one: the limit is counted in ticks, this exactly */
        return BREACH;
}

static int attack_dumpable(const int *fds)
{
        (void)fds;
        return breach_if(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
}

static const struct attack {
        const char *name;
        int (*run)(const int *fds);
        int expected; /* of sandbox_wait(): 0 = refused, negative = deadly */
} attacks[] = {
        {"open", attack_open, 0},
        {"openat2", attack_openat2, -EPERM},
        {"open_root", attack_open_root, 0},
        {"create", attack_create, 0},
        {"stat", attack_stat, 0},
        {"statx", attack_statx, 0},
        {"unlink", attack_unlink, -EPERM},
        {"proc", attack_proc, 0},
        {"name_to_handle", attack_name_to_handle, -EPERM},
        {"tcp", attack_tcp, 0},
        {"fast_open", attack_fast_open, 0},
        {"udp", attack_udp, 0},
        {"unix", attack_unix, 0},
        {"netlink", attack_netlink, 0},
        {"vsock", attack_vsock, 0},
        {"exec", attack_exec, -EPERM},
        {"execveat", attack_execveat, -EPERM},
        {"fork", attack_fork, -EPERM},
        {"clone3", attack_clone3, -EPERM},
        {"namespace", attack_namespace, -EPERM},
        {"ptrace", attack_ptrace, -EPERM},
        {"memory_of_parent", attack_memory_of_parent, -EPERM},
        {"kill", attack_kill, -EPERM},
        {"tgkill", attack_tgkill, -EPERM},
        {"pidfd", attack_pidfd, -EPERM},
        {"mount", attack_mount, -EPERM},
        {"ioctl", attack_ioctl, 0},
        {"terminal", attack_terminal, 0},
        {"executable_memory", attack_executable_memory, -EPERM},
        {"make_executable", attack_make_executable, -EPERM},
        {"shared_memory", attack_shared_memory, -EPERM},
        {"memfd", attack_memfd, -EPERM},
        {"duplicate", attack_duplicate, -EPERM},
        {"epoll", attack_epoll, 0},
        {"root_user", attack_root_user, -EPERM},
        {"bpf", attack_bpf, -EPERM},
        {"io_uring", attack_io_uring, -EPERM},
        {"key", attack_key, -EPERM},
        {"other_abi", attack_other_abi, -EPERM},
        {"environment", attack_environment, 0},
        {"write_file", attack_write_file, 0},
        {"memory_limit", attack_memory_limit, 0},
        {"cpu", attack_cpu, -ETIME},
        {"dumpable", attack_dumpable, -EPERM},
};

/* --- the two places ---------------------------------------------------------------------------*/

static int run_attack(void *ctx, const int *fds)
{
        const struct attack *a = ctx;

        return a->run(fds);
}

/* In a child as fork() makes it, with the file open for writing. Returns what the attack says. */
static int in_the_open(const struct attack *a)
{
        const int fds[FD_MAX] = {host.writable, host.pipe[0]};
        int status = -1;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                (void)signal(SIGSEGV, SIG_DFL); /* the test framework would go on in the child */
                _exit(a->run(fds));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Prints what is wrong and returns 1, or returns 0. */
static int in_the_sandbox(const struct attack *a, unsigned may_miss)
{
        const int fds[FD_MAX] = {host.read_only, host.pipe[0]};
        const struct sandbox_options o = {.env = &env,
                                          .name = a->name,
                                          .may_miss = may_miss,
                                          .fds = fds,
                                          .n_fds = FD_MAX,
                                          .cpu_seconds = 1};
        _cleanup_(sandbox_free_p) struct sandbox *s = NULL;
        struct error e = ERROR_INIT;
        int status = REFUSED, r;

        r = sandbox_spawn(&o, run_attack, (void *)(uintptr_t)a, &s, &e);
        if (r >= 0)
                r = sandbox_wait(s, 20000, &status, &e);
        else if (r == a->expected)
                r = -ENOTRECOVERABLE; /* no attack was made */
        if (r == a->expected && status == REFUSED)
                return 0;
        print_message("%s: %d, status %d: %s\n", a->name, r, status, e.text);
        return 1;
}

static void test_controls(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
                int r = in_the_open(&attacks[i]);

                if (r == NOT_HERE)
                        print_message("%s: not in this kernel\n", attacks[i].name);
                else if (r != BREACH)
                        fail_msg("%s does not even work outside: %d", attacks[i].name, r);
        }
        /* The connections of the controls did arrive. */
        for (int i = 0; i < 2; i++) {
                _cleanup_close_ int s = accept4(host.listener, NULL, NULL, SOCK_CLOEXEC);

                assert_true(s >= 0);
        }
}

static int all_attacks(unsigned may_miss)
{
        int wrong = 0;

        for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
                if (attacks[i].run == attack_memory_limit && SANDBOX_SANITIZED)
                        continue;
                wrong += in_the_sandbox(&attacks[i], may_miss);
        }
        return wrong;
}

/* Nothing of all that was heard outside. */
static void assert_silence(void)
{
        struct pollfd p[] = {{.fd = host.listener, .events = POLLIN},
                             {.fd = host.unix_listener, .events = POLLIN},
                             {.fd = host.datagrams, .events = POLLIN}};

        assert_int_equal(poll(p, ARRAY_SIZE(p), 0), 0);
        assert_true(file_exists(AT_FDCWD, host.victim));
}

static void drain(void)
{
        char byte;

        while (recv(host.datagrams, &byte, 1, MSG_DONTWAIT) > 0) {
        }
        for (;;) {
                _cleanup_close_ int s = accept4(host.unix_listener, NULL, NULL, SOCK_CLOEXEC);

                if (s < 0)
                        break;
        }
}

static void make_victim(void)
{
        assert_int_equal(file_write_volatile(AT_FDCWD, host.victim, "x", 1, 0666), 0);
}

static void test_full(void **state)
{
        (void)state;
        drain();
        make_victim();
        assert_int_equal(all_attacks(0), 0);
        assert_silence();
}

/* What remains inside a container: filter, limits and another user. */
static void test_container(void **state)
{
        int status = -1;
        pid_t pid;

        (void)state;
        drain();
        make_victim();
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                host.parent = getpid();
                _exit(container_enter() < 0 ? 255 : all_attacks(SANDBOX_MISSING_IN_CONTAINER));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_silence();
}

/* --- the host ---------------------------------------------------------------------------------*/

static int listen_on(int domain, int type, void *address, socklen_t n)
{
        int s = socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_true(s >= 0);
        assert_int_equal(bind(s, address, n), 0);
        if (type == SOCK_STREAM)
                assert_int_equal(listen(s, 64), 0);
        return s;
}

static int set_up(void **state)
{
        socklen_t n = sizeof(host.address);

        (void)state;
        host.parent = getpid();
        host.address.sin_family = AF_INET;
        host.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        host.listener = listen_on(AF_INET, SOCK_STREAM, &host.address, sizeof(host.address));
        assert_int_equal(getsockname(host.listener, (struct sockaddr *)&host.address, &n), 0);
        host.datagrams = listen_on(AF_INET, SOCK_DGRAM, &host.address, sizeof(host.address));
        host.unix_address.sun_family = AF_UNIX;
        (void)snprintf(host.unix_address.sun_path + 1, sizeof(host.unix_address.sun_path) - 1,
                       "tb-test-sandbox-%d", (int)host.parent);
        host.unix_listener =
                listen_on(AF_UNIX, SOCK_STREAM, &host.unix_address, sizeof(host.unix_address));

        scratch_make(&host.dir);
        assert_int_equal(chmod(host.dir.path, 0777), 0);
        (void)snprintf(host.file, sizeof(host.file), "%s/file", host.dir.path);
        (void)snprintf(host.victim, sizeof(host.victim), "%s/victim", host.dir.path);
        assert_int_equal(file_write_volatile(AT_FDCWD, host.file, "data", 4, 0644), 0);
        make_victim();
        host.read_only = open(host.file, O_RDONLY | O_CLOEXEC);
        host.writable = open(host.file, O_RDWR | O_CLOEXEC);
        assert_true(host.read_only >= 0 && host.writable >= 0);
        assert_int_equal(pipe2(host.pipe, O_CLOEXEC), 0);
        assert_int_equal(setenv("TB_TEST_SECRET", "environment", 1), 0);
        return 0;
}

static int tear_down(void **state)
{
        int *const fds[] = {&host.listener, &host.datagrams, &host.unix_listener, &host.read_only,
                            &host.writable, &host.pipe[0],   &host.pipe[1]};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                close_p(fds[i]);
        scratch_clean(&host.dir);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_controls),
                cmocka_unit_test(test_full),
                cmocka_unit_test(test_container),
        };

        if (geteuid() != 0) {
                (void)puts("1..0 # SKIP only root can build the full sandbox");
                return 0;
        }
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
