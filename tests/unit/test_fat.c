/* SPDX-License-Identifier: Apache-2.0 */
/* A FAT32 file system that is filled without being mounted, judged by dosfstools and mtools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/spawn.h"
#include "partition/fat.h"
#include "partition/mkfs.h"
#include "scratch.h"

#define START (1 * MIB)
#define SIZE (300 * MIB)

struct world {
        struct scratch scratch;
        char path[128];
        int fd;
        struct fat *fat;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        struct error e = ERROR_INIT;

        assert_non_null(w);
        scratch_make(&w->scratch);
        (void)snprintf(w->path, sizeof(w->path), "%s/disk.img", w->scratch.path);
        w->fd = open(w->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(w->fd >= 0);
        assert_int_equal(ftruncate(w->fd, START + SIZE), 0);
        assert_int_equal(mkfs_vfat_at(w->path, START, SIZE, 512, "COS_GRUB", &e), 0);
        assert_int_equal(fat_open(w->fd, START, SIZE, &w->fat, &e), 0);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        fat_free(w->fat);
        close_p(&w->fd);
        scratch_clean(&w->scratch);
        free(w);
        return 0;
}

/* Runs a tool on the file system; its output, or a failed test. */
static void tool(const char *const argv[], struct buf *out)
{
        struct spawn_result result;

        buf_reset(out);
        assert_int_equal(spawn_run(argv, 60, out, &result, NULL), 0);
        if (result.status != 0)
                fail_msg("%s: status %d: %s", argv[0], result.status, buf_str(out));
}

/* The file system alone: fsck.fat knows no offset. */
static void extract(const struct world *w, char ret[160])
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(4096);
        char from[160], to[180];

        (void)snprintf(ret, 160, "%s/esp.img", w->scratch.path);
        (void)snprintf(from, sizeof(from), "if=%s", w->path);
        (void)snprintf(to, sizeof(to), "of=%s", ret);
        tool((const char *const[]){"dd", from, to, "bs=1M", "skip=1", "conv=sparse", NULL}, &out);
}

static void test_tree_is_what_others_read(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf out = BUF_INIT(64 * 1024);
        _cleanup_free_ uint8_t *large = malloc(5 * MIB + 17);
        struct error e = ERROR_INIT;
        uint8_t want[SHA256_SIZE], have[SHA256_SIZE];
        char esp[160];

        assert_non_null(large);
        for (size_t i = 0; i < 5 * MIB + 17; i++)
                large[i] = (uint8_t)(i * 7 + i / 4096);
        assert_int_equal(fat_make_dir(w->fat, "EFI/kairos", &e), 0);
        assert_int_equal(fat_make_dir(w->fat, "EFI/systemd", &e), 0);
        assert_int_equal(fat_make_dir(w->fat, "loader/entries", &e), 0);
        assert_int_equal(fat_make_dir(w->fat, "efi/KAIROS", &e), 0);
        assert_int_equal(fat_begin_file(w->fat, "EFI/kairos/usi-00000001.efi", 5 * MIB + 17, &e),
                         0);
        assert_int_equal(fat_write(w->fat, large, MIB, &e), 0);
        assert_int_equal(fat_write(w->fat, large + MIB, 4 * MIB + 17, &e), 0);
        assert_int_equal(fat_add_file(w->fat, "EFI/kairos/usi-00000002.efi", "two", 3, &e), 0);
        assert_int_equal(fat_add_file(w->fat, "loader/entries/active+3-0.conf", "a\n", 2, &e), 0);
        assert_int_equal(fat_add_file(w->fat, "loader/entries/EMPTY", "", 0, &e), 0);
        for (unsigned i = 0; i < 200; i++) {
                char name[64];

                (void)snprintf(name, sizeof(name), "loader/entries/passive-%u.conf", i);
                assert_int_equal(fat_add_file(w->fat, name, name, strlen(name), &e), 0);
        }
        assert_int_equal(fat_finish(w->fat, &e), 0);
        assert_int_equal(sha256(large, 5 * MIB + 17, want), 0);
        assert_int_equal(fat_digest_file(w->fat, "/efi/kairos/USI-00000001.EFI", have, &e), 0);
        assert_memory_equal(want, have, SHA256_SIZE);

        extract(w, esp);
        tool((const char *const[]){"fsck.fat", "-n", esp, NULL}, &out);
        /* 203 files, 5 folders, the root, and the label. */
        assert_non_null(strstr(buf_str(&out), ": 210 files, "));
        tool((const char *const[]){"mdir", "-i", esp, "-/", "-b", "::", NULL}, &out);
        assert_non_null(strstr(buf_str(&out), "::/EFI/kairos/usi-00000001.efi"));
        assert_non_null(strstr(buf_str(&out), "::/loader/entries/active+3-0.conf"));
        assert_non_null(strstr(buf_str(&out), "::/loader/entries/EMPTY"));
        assert_non_null(strstr(buf_str(&out), "::/loader/entries/passive-199.conf"));
        tool((const char *const[]){"mtype", "-i", esp, "::/loader/entries/passive-131.conf", NULL},
             &out);
        assert_string_equal(buf_str(&out), "loader/entries/passive-131.conf");
        tool((const char *const[]){"mlabel", "-i", esp, "-s", "::", NULL}, &out);
        assert_non_null(strstr(buf_str(&out), "COS_GRUB"));
}

static void test_what_is_refused(void **state)
{
        struct world *w = *state;
        static const char *const bad[] = {"", ".", "..", ".hidden", "a:b", "a\\b", "ends.", "\x81"};
        struct fat *other = NULL;
        struct error e = ERROR_INIT;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(fat_add_file(w->fat, bad[i], "x", 1, &e), -EINVAL);
                assert_int_equal(fat_make_dir(w->fat, bad[i], &e), -EINVAL);
        }
        assert_int_equal(fat_add_file(w->fat, "folder/file", "x", 1, &e), -ENOENT);
        assert_int_equal(fat_add_file(w->fat, "file", "x", 1, &e), 0);
        assert_int_equal(fat_add_file(w->fat, "FILE", "y", 1, &e), -EEXIST);
        assert_int_equal(fat_make_dir(w->fat, "file/folder", &e), -ENOTDIR);
        assert_int_equal(fat_begin_file(w->fat, "large", SIZE, &e), -ENOSPC);
        assert_int_equal(e.class, ERROR_SPACE);
        assert_false(fat_has_file(w->fat, "large"));
        assert_int_equal(fat_begin_file(w->fat, "huge", 4 * GIB, &e), -EFBIG);
        /* A file in pieces gets what was announced: no more, no less. */
        assert_int_equal(fat_begin_file(w->fat, "short", 10, &e), 0);
        assert_int_equal(fat_write(w->fat, "0123456789+", 11, &e), -EFBIG);
        assert_int_equal(fat_add_file(w->fat, "next", "x", 1, &e), -EBUSY);
        assert_int_equal(fat_finish(w->fat, &e), -EBUSY);
        assert_int_equal(fat_write(w->fat, "0123456789", 10, &e), 0);
        assert_int_equal(fat_finish(w->fat, &e), 0);
        /* What has files is not taken for empty; neither is anything else. */
        assert_int_equal(fat_open(w->fd, START, SIZE, &other, &e), -EMEDIUMTYPE);
        assert_int_equal(fat_open(w->fd, 0, SIZE, &other, &e), -EMEDIUMTYPE);
        assert_int_equal(fat_open(w->fd, START, SIZE / 2, &other, &e), -EMEDIUMTYPE);
        assert_null(other);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_tree_is_what_others_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_is_refused, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
