/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left of a disk's past: made by the tools where they are at hand, else the bytes that the
 * tools of others look for. Judged by wipefs, which lists every signature there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/spawn.h"
#include "partition/disk.h"
#include "partition/luks.h"
#include "partition/mkfs.h"
#include "tests/unit/scratch.h"

#define SIZE (64 * MIB)

static struct scratch dir;
static char path[96];
static struct error e;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        (void)snprintf(path, sizeof(path), "%s/disk", dir.path);
        scratch_put_text(&dir, "disk", "");
        assert_int_equal(truncate(path, (off_t)SIZE), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void put(uint64_t at, const void *data, size_t n)
{
        int fd = openat(dir.fd, "disk", O_WRONLY | O_CLOEXEC);

        assert_int_equal(file_pwrite(fd, data, n, at), 0);
        assert_int_equal(close(fd), 0);
}

/* The types that wipefs finds, one a line. */
static void expect_found(const char *type, bool there)
{
        const char *const argv[] = {"wipefs", "--no-act", "--noheadings", "--output", "TYPE",
                                    path,     NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_CHILD_OUTPUT);
        struct spawn_result result;

        assert_int_equal(spawn_run(argv, 20, &out, &result, &e), 0);
        assert_int_equal(result.status, 0);
        if ((type ? strstr(buf_str(&out), type) != NULL : out.len > 0) != there)
                fail_msg("%s, among: %s", type ?: "anything", buf_str(&out));
}

static void expect_wiped(const char *type)
{
        expect_found(type, true);
        if (disk_wipe_signatures(path, &e) < 0)
                fail_msg("%s", e.text);
        expect_found(NULL, false);
}

/* A physical volume: the label is in one of the first sectors. */
static void put_lvm(void)
{
        uint8_t label[512] = "LABELONE\1";

        memcpy(label + 20, "\x20\0\0\0LVM2 001", 12);
        put(512, label, sizeof(label));
}

/* A member of a pool: rings of uberblocks in four labels, two at each end. */
static void put_zfs(void)
{
        static const uint64_t labels[] = {0, 256 * KIB, SIZE - 512 * KIB, SIZE - 256 * KIB};
        static const uint8_t uberblock[40] = "\x0c\xb1\xba\0\0\0\0\0\x88\x13";

        for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
                for (uint64_t k = 0; k < 8; k++)
                        put(labels[i] + 128 * KIB + k * KIB, uberblock, sizeof(uberblock));
        }
}

/* A member of an array, with metadata 0.90: in the last 64 KiB. */
static void put_md(void)
{
        uint8_t superblock[4096] = "\xfc\x4e\x2b\xa9\0\0\0\0\x5a";

        put(SIZE - 64 * KIB, superblock, sizeof(superblock));
}

static void put_btrfs(void)
{
        put(64 * KIB + 64, "_BHRfS_M", 8);
}

static void lvm(void **state)
{
        (void)state;
        put_lvm();
        expect_wiped("LVM2_member");
}

static void zfs(void **state)
{
        (void)state;
        put_zfs();
        expect_wiped("zfs_member");
}

static void array_at_the_end(void **state)
{
        (void)state;
        put_md();
        expect_wiped("linux_raid_member");
}

/* Both headers: the second is there to survive the first. */
static void luks(void **state)
{
        const struct luks_format_options options = {.label = "old", .sector_size = 512};
        struct luks *l;

        (void)state;
        assert_int_equal(luks_format(path, &options, &l, &e), 0);
        luks_free(l);
        expect_wiped("crypto_LUKS");
        assert_int_equal(luks_open(path, &l, &e), -EMEDIUMTYPE);
}

static void table_and_its_copy(void **state)
{
        const char *const table[] = {"sh", "-c", "printf 'label: gpt\\nsize=1M\\n' | sfdisk -q $0",
                                     path, NULL};

        (void)state;
        assert_int_equal(spawn_check(table, 20, &e), 0);
        expect_wiped("gpt");
}

/* The head was overwritten by hand: the kernel and firmware still find the copy. */
static void copy_of_a_table_alone(void **state)
{
        static const uint8_t zeros[34 * 512];
        const char *const table[] = {"sh", "-c", "printf 'label: gpt\\nsize=1M\\n' | sfdisk -q $0",
                                     path, NULL};

        (void)state;
        assert_int_equal(spawn_check(table, 20, &e), 0);
        put(0, zeros, sizeof(zeros));
        expect_wiped("gpt");
}

/* One over the other, as a long life leaves them. */
static void all_of_them(void **state)
{
        (void)state;
        assert_int_equal(mkfs_ext4(path, "old", &e), 0);
        put_lvm();
        put_zfs();
        put_md();
        put_btrfs();
        expect_found("ext4", true);
        expect_found("zfs_member", true);
        expect_found("linux_raid_member", true);
        expect_wiped("LVM2_member");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(lvm),
                TEST(zfs),
                TEST(array_at_the_end),
                TEST(luks),
                TEST(table_and_its_copy),
                TEST(copy_of_a_table_alone),
                TEST(all_of_them),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
