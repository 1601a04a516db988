/* SPDX-License-Identifier: Apache-2.0 */
/* Releasing a disk for real, as far as loop devices go: a file system on one, an image in it on
 * another. Needs root and loop devices; skipped where there are none. */
#include "partition/disk_release.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sys/mount.h>

#include "base/limits.h"
#include "base/spawn.h"
#include "partition/mount.h"
#include "tests/unit/scratch.h"

struct fixture {
        struct scratch s;
        char lower[64], upper[64]; /* mount points */
        char disk[64], loop[64];   /* nodes */
        struct env env;
        struct disk *d;
};

static void run(const char *const argv[])
{
        struct error e = ERROR_INIT;

        if (spawn_check(argv, 30, &e) < 0)
                fail_msg("%s", e.text);
}

/* false: this machine has no loop devices for us. */
static bool attach(struct fixture *f, const char *name, uint64_t size, char node[64])
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_CHILD_OUTPUT);
        struct spawn_result result;
        struct error e = ERROR_INIT;
        char path[128];
        int fd = openat(f->s.fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(close(fd), 0);
        (void)snprintf(path, sizeof(path), "%s/%s", f->s.path, name);
        if (spawn_run((const char *const[]){"losetup", "-f", "--show", path, NULL}, 30, &out,
                      &result, &e) < 0 ||
            result.status != 0)
                return false;
        (void)snprintf(node, 64, "%.*s", (int)strcspn(buf_str(&out), "\n"), buf_str(&out));
        run((const char *const[]){"mke2fs", "-q", "-F", "-t", "ext4", node, NULL});
        return true;
}

static int set_up(void **state)
{
        struct fixture *f = malloc(sizeof(*f));
        struct error e = ERROR_INIT;
        bool private;

        assert_non_null(f);
        *f = (struct fixture){.env = ENV_INIT};
        *state = f;
        /* Before the folder is opened, or it shows no mounts. */
        private = mount_private(&e) == 0;
        scratch_make(&f->s);
        (void)snprintf(f->lower, sizeof(f->lower), "%.40s/lower", f->s.path);
        (void)snprintf(f->upper, sizeof(f->upper), "%.40s/upper", f->s.path);
        if (!private || !attach(f, "disk", 64 * MIB, f->disk))
                return 0;
        if (mount_fs(f->disk, f->lower, "ext4", 0, NULL, &e) < 0 ||
            !attach(f, "lower/image", 16 * MIB, f->loop) ||
            mount_fs(f->loop, f->upper, "ext4", 0, NULL, &e) < 0 ||
            disk_open(&f->env, f->disk, &f->d, &e) < 0)
                fail_msg("%s", e.text);
        return 0;
}

static void detach(char node[64])
{
        if (*node)
                run((const char *const[]){"losetup", "-d", node, NULL});
        node[0] = '\0';
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        disk_free(f->d);
        (void)umount2(f->upper, UMOUNT_NOFOLLOW); /* a test that passed has done all this */
        detach(f->loop);
        (void)umount2(f->lower, UMOUNT_NOFOLLOW);
        detach(f->disk);
        scratch_clean(&f->s);
        free(f);
        return 0;
}

static void what_has_open_files_stays_and_the_rest_goes_afterwards(void **state)
{
        struct fixture *f = *state;
        _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
        struct error e = ERROR_INIT;
        int held;

        if (!f->d)
                skip();
        assert_int_equal(disk_take(f->d, &e), 0);
        assert_int_equal(disk_use_read(f->d, &uses, &e), 0);
        assert_int_equal(uses.n, 3);
        assert_int_equal(disk_lock(f->d, &e), -EBUSY);
        held = file_open_dir(AT_FDCWD, f->upper);
        assert_true(held >= 0);
        assert_int_equal(disk_release(f->d, NULL, &e), -EBUSY);
        assert_null(strstr(e.text, "  released: "));
        assert_non_null(strstr(e.text, "unmounting"));
        assert_int_equal(close(held), 0);
        error_clear(&e);
        if (disk_release(f->d, NULL, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(disk_lock(f->d, &e), 0);
        f->loop[0] = '\0';
}

/* A mount of another name space is seen by nothing but the kernel's refusal. */
static void what_cannot_be_seen_is_in_use_all_the_same(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int held = -EBADF;
        struct error e = ERROR_INIT;

        if (!f->d)
                skip();
        /* A claim of another program. */
        assert_int_equal(mount_unmount(f->upper, &e), 0);
        detach(f->loop);
        assert_int_equal(mount_unmount(f->lower, &e), 0);
        held = open(f->disk, O_RDONLY | O_EXCL | O_CLOEXEC);
        assert_true(held >= 0);
        assert_int_equal(disk_lock(f->d, &e), -EBUSY);
        assert_non_null(strstr(e.text, "cannot be seen from here"));
        assert_int_equal(disk_release(f->d, NULL, &e), -EBUSY);
        close_p(&held);
        assert_int_equal(disk_lock(f->d, &e), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(
                        what_has_open_files_stays_and_the_rest_goes_afterwards, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_cannot_be_seen_is_in_use_all_the_same, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
