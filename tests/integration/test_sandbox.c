/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox itself: what the kernel says about a child in it, ways to end, and that nothing stays
 * behind. test_sandbox_fds.c is about descriptors, test_sandbox_attacks.c tries to get out.
 */
#include "base/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/sandbox_child.h"
#include "base/secret.h"
#include "tests/integration/container.h"
#include "tests/unit/scratch.h"

static const struct env env = ENV_INIT;
static struct secret *secret;

/* In a process forked by a test, a failed assertion would go on with the remaining tests: it ends
 * the process instead. */
static bool forked;
#define CHECK(x)                                                                                   \
        do {                                                                                       \
                if (!(x)) {                                                                        \
                        (void)fprintf(stderr, "line %d: %s: %s\n", __LINE__, #x, strerror(errno)); \
                        if (forked)                                                                \
                                _exit(1);                                                          \
                        fail();                                                                    \
                }                                                                                  \
        } while (0)

static struct sandbox_options options(const int *fds, size_t n)
{
        return (struct sandbox_options){.env = &env, .name = "test", .fds = fds, .n_fds = n};
}

/* Waits for a byte or the end of the first descriptor, so a child stays as long as the test wants.
 */
static int linger(void *ctx, const int *fds)
{
        char byte;

        (void)ctx;
        return read(fds[0], &byte, 1) < 0;
}

static int succeed(void *ctx, const int *fds)
{
        (void)fds;
        return *(const int *)ctx;
}

static int no_descriptors(void *ctx, const int *fds)
{
        (void)ctx;
        (void)fds;
        return 0;
}

/* --- what the kernel says ---------------------------------------------------------------------*/

static void read_proc(pid_t pid, const char *file, struct buf *out)
{
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        CHECK(file_read(AT_FDCWD, path, out) == 0);
}

static void assert_status(pid_t pid, const char *line)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SYSFS_FILE);

        read_proc(pid, "status", &text);
        CHECK(strstr(buf_str(&text), line));
}

static void assert_namespace(pid_t pid, const char *name, bool fresh)
{
        char path[64];
        struct stat ours, its;

        (void)snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
        CHECK(stat(path, &ours) == 0);
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
        CHECK(stat(path, &its) == 0);
        CHECK((ours.st_ino != its.st_ino) == fresh);
}

static void assert_namespaces(pid_t pid, bool user, bool others)
{
        static const char *const names[] = {"mnt", "net", "ipc", "pid", "uts"};

        assert_namespace(pid, "user", user);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                assert_namespace(pid, names[i], others);
}

static void assert_empty_root(pid_t pid)
{
        _cleanup_(buf_done) struct buf mounts = BUF_INIT(LIMIT_SYSFS_FILE);
        char path[64];
        struct statvfs fs;
        struct dirent *d;
        DIR *dir;

        (void)snprintf(path, sizeof(path), "/proc/%d/root/", (int)pid);
        dir = opendir(path);
        CHECK(dir);
        while ((d = readdir(dir)))
                CHECK(d->d_name[0] == '.' && strchr("./", d->d_name[1] ? d->d_name[1] : '.'));
        (void)closedir(dir);
        CHECK(statvfs(path, &fs) == 0);
        CHECK(fs.f_flag & ST_RDONLY);
        CHECK(fs.f_flag & ST_NOSUID);
        CHECK(fs.f_flag & ST_NODEV);
        CHECK(fs.f_flag & ST_NOEXEC);
        /* Nothing of the host is mounted anywhere: no file system is held busy. */
        read_proc(pid, "mounts", &mounts);
        CHECK(strstr(buf_str(&mounts), "none / tmpfs ro"));
        CHECK(strchr(buf_str(&mounts), '\n') == (char *)mounts.data + mounts.len - 1);
}

/* 0 to 2 are /dev/null, n more follow, that is all. */
static void assert_descriptors(pid_t pid, int n)
{
        char path[64];
        struct stat st;

        for (int i = 0; i < 64; i++) {
                (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, i);
                CHECK((stat(path, &st) == 0) == (i < 3 + n));
                if (i < 3)
                        CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
        }
}

/* The line of a limit: name, soft and hard value. */
static void assert_limits(const char *limits, const char *name, uint64_t soft_limit,
                          uint64_t hard_limit)
{
        const char *line = strstr(limits, name);
        uint64_t soft = 0, hard = 1;

        CHECK(line);
        CHECK(sscanf(line + strlen(name), "%" SCNu64 " %" SCNu64, &soft, &hard) == 2);
        CHECK(soft == soft_limit && hard == hard_limit);
}

static void assert_limit(const char *limits, const char *name, uint64_t value)
{
        assert_limits(limits, name, value, value);
}

static void assert_least(pid_t pid)
{
        static const char *const lines[] = {
                "\nCapInh:\t0000000000000000\n",
                "\nCapPrm:\t0000000000000000\n",
                "\nCapEff:\t0000000000000000\n",
                "\nCapAmb:\t0000000000000000\n",
                "\nNoNewPrivs:\t1\n",
                "\nSeccomp:\t2\n",
                "\nThreads:\t1\n",
                "\nGroups:\t \n",
        };
        _cleanup_(buf_done) struct buf words = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_(buf_done) struct buf limits = BUF_INIT(LIMIT_SYSFS_FILE);
        char path[64];
        struct stat st;

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
                assert_status(pid, lines[i]);
        read_proc(pid, "limits", &limits);
        assert_limits(buf_str(&limits), "Max cpu time", 7, 8);
        assert_limit(buf_str(&limits), "Max processes", 0);
        assert_limit(buf_str(&limits), "Max file size", 0);
        assert_limit(buf_str(&limits), "Max core file size", 0);
        assert_limit(buf_str(&limits), "Max open files", 4);
        if (!SANDBOX_SANITIZED)
                assert_limit(buf_str(&limits), "Max address space", LIMIT_SANDBOX_MEMORY);
        assert_descriptors(pid, 1);
        /* What is not dumpable belongs to root in /proc, whoever it runs as. */
        (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
        CHECK(stat(path, &st) == 0);
        CHECK(st.st_uid == 0);
        read_proc(pid, "environ", &words);
        for (size_t i = 0; i < words.len; i++)
                CHECK(words.data[i] == 0);
}

/* User and group, all four of each: a number of its own. */
static void assert_own_user(pid_t pid)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SYSFS_FILE);
        const char *uid, *gid;
        unsigned u[4], g[4];

        read_proc(pid, "status", &text);
        uid = strstr(buf_str(&text), "\nUid:");
        gid = strstr(buf_str(&text), "\nGid:");
        CHECK(uid && gid);
        CHECK(sscanf(uid, "\nUid:\t%u\t%u\t%u\t%u", &u[0], &u[1], &u[2], &u[3]) == 4);
        CHECK(sscanf(gid, "\nGid:\t%u\t%u\t%u\t%u", &g[0], &g[1], &g[2], &g[3]) == 4);
        for (int i = 0; i < 4; i++) {
                CHECK(u[i] == 1900000000 + (unsigned)pid);
                CHECK(g[i] == 1900000000 + (unsigned)pid);
        }
}

/* A lingering child with these layers allowed to be missing. */
static struct sandbox *start(const struct env *e, unsigned may_miss, int *ret_write_end)
{
        struct sandbox_options o;
        struct sandbox *s = NULL;
        struct error error = ERROR_INIT;
        int pipe_fds[2];

        CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
        o = options(pipe_fds, 1);
        o.env = e;
        o.cpu_seconds = 7;
        o.may_miss = may_miss;
        CHECK(sandbox_spawn(&o, linger, NULL, &s, &error) == 0);
        close_p(&pipe_fds[0]);
        *ret_write_end = pipe_fds[1];
        return s;
}

static void finish(struct sandbox *s, int write_end)
{
        int status = -1;

        close_p(&write_end);
        CHECK(sandbox_wait(s, 20000, &status, NULL) == 0);
        CHECK(status == 0);
        CHECK(sandbox_pid(s) == -1);
        CHECK(sandbox_pidfd(s) == -1);
        CHECK(sandbox_wait(s, 0, &status, NULL) == 0); /* says the same again */
        sandbox_free(s);
}

static void test_layers(void **state)
{
        _cleanup_(buf_done) struct buf words = BUF_INIT(4096);
        struct sandbox *s;
        int end;

        (void)state;
        s = start(&env, 0, &end);
        assert_int_equal(sandbox_layers(s), SANDBOX_POSSIBLE);
        assert_least(sandbox_pid(s));
        assert_namespaces(sandbox_pid(s), true, true);
        assert_empty_root(sandbox_pid(s));
        assert_own_user(sandbox_pid(s));
        assert_status(sandbox_pid(s), "\nCapBnd:\t0000000000000000\n");
        assert_int_equal(sandbox_describe(sandbox_layers(s), &words), 0);
        assert_non_null(strstr(buf_str(&words), "user-namespace mount-namespace "));
        assert_non_null(strstr(buf_str(&words), " system-call-filter"));
        finish(s, end);
}

static void test_names(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 32; i++)
                assert_int_equal(sandbox_layer_name(1u << i) != NULL, (SANDBOX_ALL >> i) & 1);
        assert_null(sandbox_layer_name(0));
        assert_null(sandbox_layer_name(3));
}

/* Runs a test body in a process that may ruin itself. */
static void in_process(void (*body)(void))
{
        int status = -1;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                forked = true;
                body();
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void container_body(void)
{
        struct sandbox_options o = options(NULL, 0);
        struct sandbox *s = NULL;
        struct error e = ERROR_INIT;
        int end;

        CHECK(container_enter() == 0);
        /* Missing isolation is refusal. */
        CHECK(sandbox_spawn(&o, no_descriptors, NULL, &s, &e) == -EPERM && !s);
        CHECK(e.class == ERROR_PRECONDITION);
        CHECK(strstr(e.text, "user-namespace") && e.advice[0]);
        o.may_miss = SANDBOX_MISSING_IN_CONTAINER & ~(unsigned)SANDBOX_NETWORK_NAMESPACE;
        CHECK(sandbox_spawn(&o, no_descriptors, NULL, &s, &e) == -EPERM && !s);
        CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);

        s = start(&env, SANDBOX_MISSING_IN_CONTAINER, &end);
        CHECK(sandbox_layers(s) ==
              (SANDBOX_POSSIBLE & ~(unsigned)(SANDBOX_NAMESPACES | SANDBOX_ROOT)));
        assert_least(sandbox_pid(s));
        assert_namespaces(sandbox_pid(s), false, false);
        assert_own_user(sandbox_pid(s));
        /* A terminal and a container manager tell the whole group. */
        CHECK(kill(sandbox_pid(s), SIGINT) == 0 && kill(sandbox_pid(s), SIGTERM) == 0);
        finish(s, end);
}

static void test_container(void **state)
{
        (void)state;
        in_process(container_body);
}

/* A user without privileges has user namespaces, but only one user. */
static void unprivileged_body(void)
{
        struct sandbox_options o = options(NULL, 0);
        struct sandbox *s = NULL;
        int end;

        CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
        CHECK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0); /* as it is after a login */
        CHECK(sandbox_spawn(&o, no_descriptors, NULL, &s, NULL) < 0 && !s);
        s = start(&env, SANDBOX_IDS, &end);
        CHECK(sandbox_layers(s) == (SANDBOX_POSSIBLE & ~(unsigned)SANDBOX_IDS));
        assert_status(sandbox_pid(s), "\nCapEff:\t0000000000000000\n");
        assert_status(sandbox_pid(s), "\nUid:\t65534\t65534\t65534\t65534\n");
        finish(s, end);
}

static void test_unprivileged(void **state)
{
        (void)state;
        in_process(unprivileged_body);
}

static struct scratch jail;

/* A root that cannot be taken away (as in an initramfs), and neither /proc nor user namespaces. */
static void chroot_body(void)
{
        static const struct env inside = {.proc = "/proc", .dev = "/"};
        struct sandbox *s;
        pid_t pid;
        int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), end;

        CHECK(proc >= 0 && chroot(jail.path) == 0 && chdir("/") == 0);
        s = start(&inside, SANDBOX_USER_NAMESPACE, &end);
        CHECK(sandbox_layers(s) == (SANDBOX_POSSIBLE & ~(unsigned)SANDBOX_USER_NAMESPACE));
        pid = sandbox_pid(s);
        CHECK(fchdir(proc) == 0 && chroot("..") == 0); /* back out, to look at it from there */
        assert_least(pid);
        assert_namespaces(pid, false, true);
        assert_own_user(pid);
        finish(s, end);
}

static void test_chroot(void **state)
{
        char path[PATH_MAX];

        (void)state;
        scratch_make(&jail);
        (void)snprintf(path, sizeof(path), "%s/null", jail.path);
        assert_int_equal(mknod(path, S_IFCHR | 0666, makedev(1, 3)), 0);
        in_process(chroot_body);
        assert_true(file_exists(jail.fd, "null")); /* nothing was mounted over it */
        scratch_clean(&jail);
}

/* --- ends -------------------------------------------------------------------------------------*/

static void test_status(void **state)
{
        static const int codes[] = {0, 1, 77, 255};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
                struct sandbox_options o = options(NULL, 0);
                int code = codes[i], status = -1;
                struct sandbox *s = NULL;

                assert_int_equal(sandbox_spawn(&o, succeed, &code, &s, NULL), 0);
                assert_int_equal(sandbox_wait(s, 20000, &status, NULL), 0);
                assert_int_equal(status, code);
                sandbox_free(s);
        }
}

static int crash(void *ctx, const int *fds)
{
        (void)fds;
        return *(volatile int *)ctx;
}

static int give_up(void *ctx, const int *fds)
{
        (void)ctx;
        (void)fds;
        abort();
}

static int forbidden(void *ctx, const int *fds)
{
        (void)ctx;
        (void)fds;
        return chdir("/");
}

static int sleep_on(void *ctx, const int *fds)
{
        (void)ctx;
        (void)fds;
        return poll(NULL, 0, -1);
}

static void test_ends(void **state)
{
        static const struct {
                sandbox_main run;
                unsigned timeout_ms;
                bool kill;
                int r;
                enum error_class class;
        } table[] = {
                {give_up, 20000, false, -EFAULT, ERROR_REFUSED},
                {crash, 20000, false, -EFAULT, ERROR_REFUSED},
                {forbidden, 20000, false, -EPERM, ERROR_REFUSED},
                {sleep_on, 50, false, -ETIMEDOUT, ERROR_SOURCE},
                {sleep_on, 0, false, -ETIMEDOUT, ERROR_SOURCE},
                {sleep_on, 20000, true, -EINTR, ERROR_INTERRUPTED},
        };
        void *nothing = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        (void)state;
        assert_ptr_not_equal(nothing, MAP_FAILED);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct sandbox_options o = options(NULL, 0);
                struct sandbox *s = NULL;
                struct error e = ERROR_INIT;
                int status = -1, r;

                if (table[i].r == -EFAULT && SANDBOX_SANITIZED)
                        continue; /* the sanitizer turns the signal into an exit */
                assert_int_equal(sandbox_spawn(&o, table[i].run, nothing, &s, NULL), 0);
                if (table[i].kill)
                        sandbox_kill(s);
                r = sandbox_wait(s, table[i].timeout_ms, &status, &e);
                if (r != table[i].r || e.class != table[i].class)
                        fail_msg("%zu: %d %s", i, r, e.text);
                assert_int_equal(status, -1);
                sandbox_free(s);
        }
        assert_int_equal(munmap(nothing, 4096), 0);
}

static size_t count_descriptors(void)
{
        DIR *dir = opendir("/proc/self/fd");
        size_t n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n;
}

/* Whether any process is in the namespace with this inode number. */
static bool namespace_lives(ino_t ino)
{
        DIR *dir = opendir("/proc");
        bool found = false;
        struct dirent *d;

        assert_non_null(dir);
        while ((d = readdir(dir))) {
                char path[PATH_MAX];
                struct stat st;

                (void)snprintf(path, sizeof(path), "/proc/%s/ns/net", d->d_name);
                found = found || (stat(path, &st) == 0 && st.st_ino == ino);
        }
        (void)closedir(dir);
        return found;
}

static void test_nothing_left(void **state)
{
        size_t before = count_descriptors();

        (void)state;
        for (int i = 0; i < 20; i++) {
                struct sandbox *s;
                char path[64];
                struct stat st;
                int end;

                s = start(&env, 0, &end);
                (void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)sandbox_pid(s));
                assert_int_equal(stat(path, &st), 0);
                assert_true(namespace_lives(st.st_ino));
                if (i % 2)
                        finish(s, end); /* its own end */
                else
                        sandbox_free(s); /* ended while it runs */
                if (i % 2 == 0)
                        close_p(&end);
                assert_false(namespace_lives(st.st_ino));
                assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
                assert_int_equal(errno, ECHILD);
        }
        assert_int_equal(count_descriptors(), before);
}

/* The child holds the only writing end of a pipe; when its parent is killed, the pipe hangs up. */
static void test_parent_death(void **state)
{
        struct pollfd p = {.events = POLLIN};
        int fds[2], status = -1;
        char byte;
        pid_t pid;

        (void)state;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                const struct sandbox_options o = options(&fds[1], 1);
                struct sandbox *s = NULL;

                CHECK(sandbox_spawn(&o, sleep_on, NULL, &s, NULL) == 0);
                CHECK(write(fds[1], "x", 1) == 1);
                (void)raise(SIGKILL);
        }
        close_p(&fds[1]);
        p.fd = fds[0];
        assert_int_equal(read(fds[0], &byte, 1), 1); /* it ran */
        assert_int_equal(poll(&p, 1, 20000), 1);
        assert_int_equal(read(fds[0], &byte, 1), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WTERMSIG(status), SIGKILL);
        close_p(&fds[0]);
}

/* Ordinary memory of the parent is there, the content of a struct secret is not. */
static int read_memory(void *ctx, const int *fds)
{
        const int *ordinary = ctx;

        (void)fds;
        if (*ordinary != 4711)
                return 1;
        for (size_t i = 0; i < secret->len; i++) {
                if (secret->data[i] != 0)
                        return 2;
        }
        return 0;
}

static void test_secret(void **state)
{
        const struct sandbox_options o = options(NULL, 0);
        struct sandbox *s = NULL;
        int ordinary = 4711, status = -1;

        (void)state;
        secret = secret_new(32);
        assert_non_null(secret);
        memset(secret->data, 0x5a, secret->len);
        assert_int_equal(sandbox_spawn(&o, read_memory, &ordinary, &s, NULL), 0);
        assert_int_equal(sandbox_wait(s, 20000, &status, NULL), 0);
        assert_int_equal(status, 0);
        assert_int_equal(secret->data[31], 0x5a);
        sandbox_free(s);
        secret_free(secret);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),        cmocka_unit_test(test_layers),
                cmocka_unit_test(test_container),    cmocka_unit_test(test_unprivileged),
                cmocka_unit_test(test_chroot),       cmocka_unit_test(test_status),
                cmocka_unit_test(test_ends),         cmocka_unit_test(test_nothing_left),
                cmocka_unit_test(test_parent_death), cmocka_unit_test(test_secret),
        };

        if (geteuid() != 0) {
                (void)puts("1..0 # SKIP only root can build the full sandbox");
                return 0;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
