/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>

#include "agent/moment.h"
#include "agent/stop.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"

/* The record is always this long, padded with blanks: one write replaces what was there. */
#define RECORD_SIZE 512u

static int64_t monotonic_seconds(void)
{
        struct timespec t = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec;
}

/* Who has it, for the message of another run. The lock does not depend on it: failing is harmless.
 */
static void write_record(const struct env *env, int fd, const char *operation)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        char record[RECORD_SIZE], boot_id[MOMENT_BOOT_ID_SIZE];
        const char *text;
        size_t n;

        moment_boot_id(env, boot_id);
        if (json_add_u64(o, "pid", (uint64_t)getpid()) < 0 ||
            json_add_str(o, "boot_id", boot_id) < 0 ||
            json_add_str(o, "operation", operation) < 0 ||
            json_add_u64(o, "since", moment_now()) < 0)
                return;
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        n = text ? strlen(text) : RECORD_SIZE;
        if (n >= RECORD_SIZE)
                return;
        memset(record, ' ', sizeof(record));
        memcpy(record, text, n);
        record[RECORD_SIZE - 1] = '\n';
        if (file_pwrite(fd, record, sizeof(record), 0) < 0)
                log_debug("the lock says nobody's name");
}

static int busy(int fd, struct error *e)
{
        _cleanup_json_ struct json_object *o = NULL;
        uint64_t pid, since, now = moment_now();
        char record[RECORD_SIZE];
        const char *operation;
        ssize_t n = file_pread(fd, record, sizeof(record), 0);

        if (n > 0 && json_read_text(record, (size_t)n, sizeof(record), "lock", &o, NULL) == 0 &&
            json_get_u64(o, "pid", &pid) == 0 && json_get_u64(o, "since", &since) == 0 &&
            json_get_str(o, "operation", &operation) == 0)
                error_set(e, ERROR_BUSY, EBUSY,
                          "another tb-agent is changing this node: %.64s, process %" PRIu64
                          ", for %" PRIu64 " seconds",
                          operation, pid, now > since ? now - since : 0);
        else
                error_set(e, ERROR_BUSY, EBUSY, "another tb-agent is changing this node");
        error_advise(e, "wait for it to end, or let this run wait with --wait SECONDS");
        return -EBUSY;
}

static void wake_up(int number)
{
        (void)number; /* only there to end flock() with EINTR */
}

/* A clock signal every second while a lock is waited for; back to what was before at the end. */
struct ticks {
        struct sigaction old_action;
};

static int start_ticks(struct ticks *t, struct error *e)
{
        const struct itimerval every = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};
        const struct sigaction action = {.sa_handler = wake_up};

        if (sigaction(SIGALRM, &action, &t->old_action) < 0 ||
            setitimer(ITIMER_REAL, &every, NULL) < 0)
                return error_errno(e, errno, "timer");
        return 0;
}

static void stop_ticks(struct ticks *t)
{
        const struct itimerval never = {.it_value = {.tv_sec = 0}};

        (void)setitimer(ITIMER_REAL, &never, NULL);
        (void)sigaction(SIGALRM, &t->old_action, NULL);
}

static int wait_for_lock(int fd, uint64_t seconds, struct error *e)
{
        int64_t deadline = monotonic_seconds() + (int64_t)seconds;
        struct ticks ticks;
        int r = start_ticks(&ticks, e);

        while (r == 0 && flock(fd, LOCK_EX) < 0) {
                if (errno != EINTR)
                        r = error_errno(e, errno, "waiting for the lock");
                else if (monotonic_seconds() >= deadline)
                        r = busy(fd, e);
                else
                        r = stop_check(e);
        }
        stop_ticks(&ticks);
        return r;
}

static int take(int fd, const char *path, uint64_t wait_seconds, struct error *e)
{
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        if (errno != EWOULDBLOCK)
                return error_errno(e, errno, "%s", path);
        return wait_seconds > 0 ? wait_for_lock(fd, wait_seconds, e) : busy(fd, e);
}

/* Opens a file of run/tb-agent to be locked. *ret_path, to be freed, is for messages. */
static int open_lock(const struct env *env, const char *name, char **ret_path, struct error *e)
{
        _cleanup_free_ char *dir = NULL;
        int r, fd;

        if (asprintf(&dir, "%s/tb-agent", env->run) < 0) {
                dir = NULL;
                return error_oom(e);
        }
        if (asprintf(ret_path, "%s/%s", dir, name) < 0) {
                *ret_path = NULL;
                return error_oom(e);
        }
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r < 0)
                return error_errno(e, -r, "%s", dir);
        fd = open(*ret_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        return fd < 0 ? error_errno(e, errno, "%s", *ret_path) : fd;
}

int lock_take(const struct env *env, const char *operation, uint64_t wait_seconds, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = open_lock(env, "lock", &path, e);
        int r;

        if (fd < 0)
                return fd;
        r = take(fd, path, wait_seconds, e);
        if (r < 0)
                return r;
        write_record(env, fd, operation);
        return TAKE_FD(fd);
}

int lock_turn(const struct env *env, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = open_lock(env, "esp.lock", &path, e);
        int r;

        if (fd < 0)
                return fd;
        while (flock(fd, LOCK_EX) < 0) {
                if (errno != EINTR)
                        return error_errno(e, errno, "%s", path);
                r = stop_check(e);
                if (r < 0)
                        return r;
        }
        return TAKE_FD(fd);
}

/*
 * The kernel's list is asked, because taking the lock to see whether it is free would make another
 * agent fail that tries at this moment.
 */
bool lock_is_held(const struct env *env)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_free_ char *locks = NULL, *path = NULL;
        char inode[64];
        struct stat st;

        if (asprintf(&locks, "%s/locks", env->proc) < 0) {
                locks = NULL;
                return false;
        }
        if (asprintf(&path, "%s/tb-agent/lock", env->run) < 0) {
                path = NULL;
                return false;
        }
        if (stat(path, &st) < 0 || file_read(AT_FDCWD, locks, &list) < 0)
                return false;
        /* "1: FLOCK  ADVISORY  WRITE 1234 00:19:567 0 EOF" */
        (void)snprintf(inode, sizeof(inode), " %02x:%02x:%ju 0 EOF", major(st.st_dev),
                       minor(st.st_dev), (uintmax_t)st.st_ino);
        return strstr(buf_str(&list), inode) != NULL;
}
