/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cut leaves on an ESP is repaired by the real fsck.vfat without the loss of anything that
 * the node needs, whichever of two files it would cut. The file system is one in a file; mounting
 * it is left out, and a folder that says the same stands in for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

#include "agent/node.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/fat.h"
#include "partition/fat_check.h"
#include "partition/fat_geometry.h"
#include "partition/mkfs.h"
#include "tests/unit/scratch.h"

#define SIZE (300 * MIB)
#define STATE 65u
#define CLUSTERS 4u

/* In the order in which fsck.vfat meets them; each of CLUSTERS clusters, behind one another. */
enum file { REST_BEFORE, ACTIVE, PASSIVE, REST, OTHER_REST, ENTRY, N_FILES };
static const char *const names[N_FILES] = {
        "EFI/kairos/usi-00000003.efi", "EFI/kairos/usi-00000001.efi", "EFI/kairos/usi-00000002.efi",
        "EFI/kairos/usi-00000004.efi", "EFI/kairos/usi-00000005.efi", "loader/entries/active.conf"};

static struct scratch scratch;
static char path[128], target[128];
static struct fat_geometry g;
static int fd = -1;

int __wrap_mount_fs(const char *source, const char *where, const char *type, unsigned long flags,
                    const char *data, struct error *e);
int __wrap_mount_unmount(const char *where, struct error *e);

int __wrap_mount_fs(const char *source, const char *where, const char *type, unsigned long flags,
                    const char *data, struct error *e)
{
        (void)source;
        (void)where;
        (void)type;
        (void)flags;
        (void)data;
        (void)e;
        return 0;
}

int __wrap_mount_unmount(const char *where, struct error *e)
{
        (void)where;
        (void)e;
        return 0;
}

static uint32_t cluster_of(enum file file, unsigned n)
{
        return FAT_CLUSTER_FIRST + 1 + (uint32_t)file * CLUSTERS + n;
}

static void link_to(uint32_t cluster, uint32_t next)
{
        uint8_t p[4];

        put_le32(p, next);
        for (unsigned i = 0; i < g.fats; i++)
                assert_int_equal(file_pwrite(fd, p, sizeof(p), g.fat_at[i] + 4 * cluster), 0);
}

/* From its middle on, one file leads into the other. */
static void cross(enum file one, enum file other)
{
        link_to(cluster_of(one, 1), cluster_of(other, 2));
}

static void cut(void)
{
        const uint8_t dirty = 1;

        assert_int_equal(file_pwrite(fd, &dirty, 1, STATE), 0);
}

static int setup(void **state)
{
        _cleanup_(fat_free_p) struct fat *fat = NULL;
        uint8_t boot[FAT_BOOT_SIZE];
        struct error e = ERROR_INIT;

        (void)state;
        scratch_make(&scratch);
        (void)snprintf(path, sizeof(path), "%s/esp.img", scratch.path);
        (void)snprintf(target, sizeof(target), "%s/mounted", scratch.path);
        assert_int_equal(file_make_dirs(scratch.fd, "mounted/loader/entries", 0755), 0);
        scratch_put_text(&scratch, "mounted/loader/entries/active.conf",
                         "title x\nefi /EFI/kairos/usi-00000001.efi\n");
        scratch_put_text(&scratch, "mounted/loader/entries/passive.conf",
                         "title x\nefi /EFI/kairos/usi-00000002.efi\n");
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, SIZE), 0);
        assert_int_equal(mkfs_vfat(path, "COS_GRUB", &e), 0);
        assert_int_equal(file_pread(fd, boot, sizeof(boot), 0), sizeof(boot));
        assert_int_equal(fat_geometry_parse(boot, SIZE, &g), 0);
        assert_int_equal(fat_open(fd, 0, SIZE, &fat, &e), 0);
        assert_int_equal(fat_make_dir(fat, "EFI/kairos", &e), 0);
        assert_int_equal(fat_make_dir(fat, "loader/entries", &e), 0);
        for (unsigned i = 0; i < N_FILES; i++) {
                _cleanup_free_ char *data = malloc(CLUSTERS * g.cluster);

                assert_non_null(data);
                memset(data, 'a' + (int)i, CLUSTERS * g.cluster);
                assert_int_equal(fat_add_file(fat, names[i], data, CLUSTERS * g.cluster, &e), 0);
        }
        assert_int_equal(fat_finish(fat, &e), 0);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        (void)close(fd);
        scratch_clean(&scratch);
        return 0;
}

static struct fat_check look(void)
{
        struct error e = ERROR_INIT;
        struct fat_check c;

        if (fat_check(fd, 0, SIZE, &c, &e) < 0)
                fail_msg("%s", e.text);
        return c;
}

static void check(void)
{
        struct error e = ERROR_INIT;

        cut();
        if (node_check_esp(path, target, &e) < 0)
                fail_msg("%s", e.text);
}

/* Its clusters, all of them, lead to its end, with what was in them. */
static void expect_whole(enum file file)
{
        for (unsigned i = 0; i < CLUSTERS; i++) {
                uint8_t next[4], byte;
                uint64_t at = g.data_at + (cluster_of(file, i) - FAT_CLUSTER_FIRST) * g.cluster;
                uint32_t value;

                assert_int_equal(file_pread(fd, next, 4, g.fat_at[0] + 4 * cluster_of(file, i)), 4);
                assert_int_equal(file_pread(fd, &byte, 1, at), 1);
                assert_int_equal(byte, 'a' + file);
                value = le32_at(next) & 0x0fffffff;
                if (i + 1 < CLUSTERS)
                        assert_int_equal(value, cluster_of(file, i + 1));
                else
                        assert_true(value >= 0x0ffffff8);
        }
}

static void expect_repaired(void)
{
        struct fat_check c = look();

        assert_int_equal(c.crossed + c.broken + c.lost, 0);
        assert_false(c.dirty);
        expect_whole(ACTIVE);
        expect_whole(PASSIVE);
        expect_whole(ENTRY);
}

static void test_rest_is_met_first(void **state)
{
        (void)state;
        cross(REST_BEFORE, ACTIVE);
        check();
        expect_repaired();
}

static void test_rest_is_met_second(void **state)
{
        (void)state;
        cross(REST, ACTIVE);
        check();
        expect_repaired();
}

static void test_rest_leads_into_an_entry(void **state)
{
        (void)state;
        cross(REST, ENTRY);
        check();
        expect_repaired();
}

/* The entry's own link is the damaged one: nothing can make it whole, and nothing else is lost. */
static void test_entry_leads_into_a_rest(void **state)
{
        (void)state;
        cross(ENTRY, REST);
        check();
        expect_whole(ACTIVE);
        expect_whole(PASSIVE);
        assert_int_equal(look().crossed, 0);
}

static void test_three_that_share(void **state)
{
        (void)state;
        cross(REST_BEFORE, ENTRY);
        cross(OTHER_REST, ENTRY);
        check();
        expect_repaired();
}

static void test_two_rests(void **state)
{
        (void)state;
        cross(REST, OTHER_REST);
        check();
        expect_repaired();
}

/* Whichever were cut, it would be a loss. */
static void test_needed_ones_stay_as_they_are(void **state)
{
        struct fat_check c;

        (void)state;
        cross(PASSIVE, ACTIVE);
        check();
        expect_whole(ACTIVE);
        c = look();
        assert_true(c.dirty);
        assert_int_equal(c.crossed, 2);
        assert_int_equal(c.lost, 2);
}

static void test_unmounted_one_is_left_alone(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        cross(REST, ACTIVE);
        assert_int_equal(node_check_esp(path, target, &e), 0);
        assert_int_equal(look().crossed, 2);
}

static void test_what_cannot_be_read(void **state)
{
        struct error e = ERROR_INIT;
        const uint8_t none = 0;

        (void)state;
        cut();
        assert_int_equal(file_pwrite(fd, &none, 1, 510), 0);
        assert_int_equal(node_check_esp(path, target, &e), -EMEDIUMTYPE);
        assert_int_equal(node_check_esp("/nonexistent", target, &e), -ENOENT);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_rest_is_met_first),
                CASE(test_rest_is_met_second),
                CASE(test_rest_leads_into_an_entry),
                CASE(test_entry_leads_into_a_rest),
                CASE(test_three_that_share),
                CASE(test_two_rests),
                CASE(test_needed_ones_stay_as_they_are),
                CASE(test_unmounted_one_is_left_alone),
                CASE(test_what_cannot_be_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
