/* SPDX-License-Identifier: Apache-2.0 */
/* What a cut leaves on a FAT32 file system, made by hand in a file, is seen and named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "partition/fat.h"
#include "partition/fat_check.h"
#include "partition/fat_geometry.h"
#include "partition/mkfs.h"
#include "scratch.h"

#define START (1 * MIB)
#define SIZE (300 * MIB)
/* The files, of three clusters each, lie behind one another in the order in which they came. */
#define CLUSTERS 3u

struct world {
        struct scratch scratch;
        char path[128];
        int fd;
        struct fat_geometry g;
        uint32_t first; /* cluster of the first file */
};

static void put_file(struct fat *fat, const char *path, size_t n)
{
        _cleanup_free_ uint8_t *data = calloc(1, n);
        struct error e = ERROR_INIT;

        assert_non_null(data);
        assert_int_equal(fat_add_file(fat, path, data, n, &e), 0);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        _cleanup_(fat_free_p) struct fat *fat = NULL;
        uint8_t boot[FAT_BOOT_SIZE];
        struct error e = ERROR_INIT;

        assert_non_null(w);
        scratch_make(&w->scratch);
        (void)snprintf(w->path, sizeof(w->path), "%s/disk.img", w->scratch.path);
        w->fd = open(w->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(w->fd >= 0);
        assert_int_equal(ftruncate(w->fd, START + SIZE), 0);
        assert_int_equal(mkfs_vfat_at(w->path, START, SIZE, 512, "COS_GRUB", &e), 0);
        assert_int_equal(file_pread(w->fd, boot, sizeof(boot), START), sizeof(boot));
        assert_int_equal(fat_geometry_parse(boot, SIZE, &w->g), 0);
        assert_int_equal(fat_open(w->fd, START, SIZE, &fat, &e), 0);
        /* They get the first clusters behind the root folder, the folder its own at the end. */
        assert_int_equal(fat_make_dir(fat, "EFI/kairos", &e), 0);
        put_file(fat, "EFI/kairos/usi-00000001.efi", CLUSTERS * w->g.cluster);
        put_file(fat, "EFI/kairos/usi-00000002.efi", CLUSTERS * w->g.cluster);
        assert_int_equal(fat_finish(fat, &e), 0);
        w->first = FAT_CLUSTER_FIRST + 1;
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        (void)close(w->fd);
        scratch_clean(&w->scratch);
        free(w);
        return 0;
}

/* Sets what stands behind a cluster, in both tables. */
static void set_next(struct world *w, uint32_t cluster, uint32_t next)
{
        uint8_t p[4];

        put_le32(p, next);
        for (unsigned i = 0; i < w->g.fats; i++)
                assert_int_equal(file_pwrite(w->fd, p, 4, START + w->g.fat_at[i] + 4 * cluster), 0);
}

static struct fat_check look(struct world *w)
{
        struct error e = ERROR_INIT;
        struct fat_check c;

        if (fat_check(w->fd, START, SIZE, &c, &e) < 0)
                fail_msg("%s", e.text);
        return c;
}

static void test_healthy(void **state)
{
        struct world *w = *state;
        struct fat_check c = look(w);

        assert_false(c.dirty || c.backup_differs);
        assert_int_equal(c.table_differs + c.lost + c.crossed + c.broken, 0);
        assert_int_equal(c.cluster, w->g.cluster);
        assert_true(c.clusters > 60000);
        /* Root, two folders, two files. */
        assert_int_equal(c.clusters - c.free, 3 + 2 * CLUSTERS);
}

static void test_cross_link(void **state)
{
        struct world *w = *state;
        struct fat_check c;

        /* The last cluster of the first file is the last one of the second. */
        set_next(w, w->first + 1, w->first + 2 * CLUSTERS - 1);
        c = look(w);
        assert_int_equal(c.crossed, 1);
        assert_string_equal(c.one, "/EFI/kairos/usi-00000001.efi");
        assert_string_equal(c.other, "/EFI/kairos/usi-00000002.efi");
        assert_int_equal(c.lost, 1);
        assert_int_equal(c.broken, 0);
}

struct pairs {
        unsigned n;
        uint64_t last;
        char text[4][2 * FAT_CHECK_NAME];
};

static void take_pair(void *arg, const struct fat_check_name *one,
                      const struct fat_check_name *other)
{
        struct pairs *p = arg;

        assert_true(p->n < ARRAY_SIZE(p->text));
        p->last = other->at;
        (void)snprintf(p->text[p->n++], sizeof(p->text[0]), "%s %s", one->path, other->path);
}

/* All pairs are told, each as a pair and not cluster by cluster; folders too. */
static void test_pairs(void **state)
{
        struct world *w = *state;
        struct error e = ERROR_INIT;
        struct pairs pairs = {.n = 0};
        struct fat_check c;

        set_next(w, FAT_CLUSTER_FIRST, w->first);
        set_next(w, w->first + CLUSTERS, w->first + 1);
        if (fat_check_pairs(w->fd, START, SIZE, take_pair, &pairs, &c, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(pairs.n, 2);
        assert_string_equal(pairs.text[0], " /EFI/kairos/usi-00000001.efi");
        assert_string_equal(pairs.text[1], " /EFI/kairos/usi-00000002.efi");
        assert_int_equal(c.crossed, CLUSTERS + 2);
        /* Without its name, the second file shares nothing; what was its own alone is lost. */
        if (fat_check_drop(w->fd, START, pairs.last, &e) < 0)
                fail_msg("%s", e.text);
        c = look(w);
        assert_int_equal(c.crossed, CLUSTERS);
        assert_int_equal(c.lost, CLUSTERS);
}

static void test_lost_clusters(void **state)
{
        struct world *w = *state;
        struct fat_check c;

        set_next(w, w->first + 1000, w->first + 1001);
        set_next(w, w->first + 1001, 0x0fffffff);
        c = look(w);
        assert_int_equal(c.lost, 2);
        assert_int_equal(c.crossed + c.broken, 0);
}

static void test_chain_that_ends_early(void **state)
{
        struct world *w = *state;
        struct fat_check c;

        set_next(w, w->first, 0x0fffffff);
        c = look(w);
        assert_int_equal(c.broken, 1);
        assert_string_equal(c.broken_file, "/EFI/kairos/usi-00000001.efi");
        assert_int_equal(c.lost, CLUSTERS - 1);
        /* Into what is free; and a ring. */
        set_next(w, w->first, w->first + 5000);
        c = look(w);
        assert_int_equal(c.broken, 1);
        set_next(w, w->first, w->first + 1);
        set_next(w, w->first + CLUSTERS - 1, w->first);
        c = look(w);
        assert_int_equal(c.broken, 1);
        assert_int_equal(c.lost + c.crossed, 0);
}

static void test_copies_and_mark(void **state)
{
        struct world *w = *state;
        const uint8_t one = 1;
        struct fat_check c;

        assert_int_equal(file_pwrite(w->fd, &one, 1, START + 65), 0);
        c = look(w);
        assert_true(c.dirty);
        assert_false(c.backup_differs);
        assert_int_equal(file_pwrite(w->fd, &one, 1, START + w->g.backup_at + 20), 0);
        assert_int_equal(file_pwrite(w->fd, &one, 1, START + w->g.fat_at[1] + 4096), 0);
        c = look(w);
        assert_true(c.backup_differs);
        assert_int_equal(c.table_differs, 1);
}

static void test_no_file_system(void **state)
{
        struct world *w = *state;
        uint8_t zeros[FAT_BOOT_SIZE] = {0};
        struct error e = ERROR_INIT;
        struct fat_check c;

        assert_int_equal(fat_check(w->fd, START, SIZE / 2, &c, &e), -EMEDIUMTYPE);
        assert_int_equal(file_pwrite(w->fd, zeros, sizeof(zeros), START), 0);
        assert_int_equal(fat_check(w->fd, START, SIZE, &c, &e), -EMEDIUMTYPE);
        assert_int_equal(e.class, ERROR_IO);
        assert_true(fat_check(w->fd, START + SIZE, SIZE, &c, &e) < 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_healthy),
                TEST(test_cross_link),
                TEST(test_pairs),
                TEST(test_lost_clusters),
                TEST(test_chain_that_ends_early),
                TEST(test_copies_and_mark),
                TEST(test_no_file_system),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
