/* SPDX-License-Identifier: Apache-2.0 */
/* Files in a file system that nobody mounts, judged by e2fsck and debugfs. */
#include "partition/ext4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/spawn.h"
#include "partition/mkfs.h"

#define SIZE (64 * MIB)
#define BLOCK 4096u

struct world {
        int fd;
        char path[64];
        struct ext4 *ext4;
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        w->fd = memfd_create("test", MFD_CLOEXEC);
        assert_int_equal(ftruncate(w->fd, SIZE), 0);
        (void)snprintf(w->path, sizeof(w->path), "/proc/self/fd/%d", w->fd);
        if (mkfs_ext4_fd(w->fd, "A_LABEL", &w->e) < 0 || ext4_open(w->path, &w->ext4, &w->e) < 0)
                fail_msg("%s", w->e.text);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        ext4_free(w->ext4);
        assert_int_equal(close(w->fd), 0);
        free(w);
        return 0;
}

static void add(struct world *w, const char *name, const void *data, size_t n)
{
        if (ext4_add_file(w->ext4, name, data, n, &w->e) < 0)
                fail_msg("%s", w->e.text);
}

/* A tool on the file of the world, and what it says. */
static void ask(struct world *w, const char *tool, const char *how, const char *request,
                struct buf *said)
{
        const char *const argv[] = {tool, how, request, "/proc/self/fd/0", NULL};
        const struct spawn_how spawn = {.timeout_seconds = 60, .input = &w->fd};
        struct spawn_result result = {.status = -1};

        buf_reset(said);
        assert_int_equal(spawn_run_how(argv, &spawn, said, &result, &w->e), 0);
        if (result.status != 0)
                fail_msg("%s: %s", tool, buf_str(said));
}

static void expect_sound(struct world *w)
{
        _cleanup_(buf_done) struct buf said = BUF_INIT(MIB);

        ask(w, "e2fsck", "-f", "-n", &said);
        if (mkfs_check_ext4(w->path, "A_LABEL", &w->e) < 0)
                fail_msg("%s", w->e.text);
}

static void expect_word(struct world *w, const char *request, const char *word)
{
        _cleanup_(buf_done) struct buf said = BUF_INIT(8 * MIB);

        ask(w, "debugfs", "-R", request, &said);
        if (!strstr(buf_str(&said), word))
                fail_msg("%s: %s", request, buf_str(&said));
}

static void test_files_and_folders(void **state)
{
        struct world *w = *state;
        const size_t large = 3 * MIB + 17;
        _cleanup_free_ char *text = malloc(large + 1);

        memset(text, 'x', large);
        memcpy(text + large - 4, "end\n", 5);
        add(w, "90_custom.yaml", "#cloud-config\n", 14);
        add(w, "empty", NULL, 0);
        add(w, "folder/one", "first", 5);
        add(w, "folder/large", text, large);
        assert_int_equal(ext4_sync(w->ext4, &w->e), 0);
        expect_sound(w);
        expect_word(w, "cat /90_custom.yaml", "#cloud-config\n");
        expect_word(w, "cat /folder/one", "first");
        expect_word(w, "cat /folder/large", "xxxend\n");
        expect_word(w, "stat /folder/large", "Mode:  0600");
        expect_word(w, "stat /folder/large", "User:     0   Group:     0");
        expect_word(w, "stat /folder", "Mode:  0700");
        expect_word(w, "stat /empty", "Size: 0");
        assert_int_equal(ext4_add_file(w->ext4, "folder/one", "", 0, &w->e), -EEXIST);
}

/* More names than a block of a folder holds. */
static void test_many_names(void **state)
{
        struct world *w = *state;
        char name[300];

        for (unsigned i = 0; i < 40; i++) {
                (void)snprintf(name, sizeof(name), "folder/%0200u", i);
                add(w, name, "x", 1);
        }
        assert_int_equal(ext4_sync(w->ext4, &w->e), 0);
        expect_sound(w);
        expect_word(w, "ls /folder", "00000039");
}

static void test_full(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *text = calloc(1, SIZE);

        assert_int_equal(ext4_add_file(w->ext4, "too-large", text, SIZE, &w->e), -ENOSPC);
        assert_int_equal(w->e.class, ERROR_SPACE);
}

static void test_what_is_none(void **state)
{
        struct world *w = *state;
        struct ext4 *x = NULL;

        assert_true(ext4_open("/dev/null", &x, &w->e) < 0);
        assert_true(ext4_open("/no/such/file", &x, &w->e) < 0);
        assert_null(x);
}

/* Nothing that is written lies outside of the ranges, and what lies there means nothing. */
static void test_ranges_hold_everything(void **state)
{
        struct world *w = *state;
        _cleanup_free_ uint8_t *noise = malloc(SIZE);
        uint64_t at = 0, end = 0, last = 0, used = 0;
        int r;

        memset(noise, 0xa5, SIZE);
        add(w, "folder/one", "first", 5);
        assert_int_equal(ext4_sync(w->ext4, &w->e), 0);
        while ((r = ext4_next_used(w->ext4, &at, &end, &w->e)) > 0) {
                assert_true(at >= last && end > at && end <= SIZE);
                assert_true(at % BLOCK == 0 && end % BLOCK == 0);
                if (at > last) {
                        off_t data = lseek(w->fd, (off_t)last, SEEK_DATA);

                        assert_true(data < 0 || (uint64_t)data >= at);
                        assert_int_equal(file_pwrite(w->fd, noise, at - last, last), 0);
                }
                used += end - at;
                last = at = end;
        }
        assert_int_equal(r, 0);
        if (last < SIZE)
                assert_int_equal(file_pwrite(w->fd, noise, SIZE - last, last), 0);
        assert_true(used > MIB && used < SIZE / 2);
        expect_sound(w);
        expect_word(w, "cat /folder/one", "first");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_files_and_folders),
                CASE(test_many_names),
                CASE(test_full),
                CASE(test_what_is_none),
                CASE(test_ranges_hold_everything),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
