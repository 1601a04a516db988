/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that became larger: the table follows, whatever moment the power is cut in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <libfdisk/libfdisk.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/spawn.h"
#include "partition/grow.h"
#include "tests/integration/disk_file.h"

#define OLD_SIZE DISK_FILE_SIZE
#define NEW_SIZE (3 * GIB)
#define SECTOR DISK_FILE_SECTOR
/* Header and 128 entries of 128 bytes. */
#define TABLE_SIZE ((1 + 32) * SECTOR)

static int set_up(void **state)
{
        int r = disk_file_make(state);

        disk_file_write(*state);
        return r;
}

static void enlarge(struct disk_file *f, uint64_t size)
{
        assert_int_equal(ftruncate(f->disk.fd, (off_t)size), 0);
        f->disk.size = size;
}

static int plan(struct disk_file *f, struct grow *g)
{
        int r = grow_plan(&f->disk, LAYOUT_PERSISTENT_NAME, g, &f->e);

        if (r < 0)
                fail_msg("%s", f->e.text);
        return r;
}

static void grow(struct disk_file *f)
{
        struct grow g;

        assert_int_equal(plan(f, &g), 1);
        if (grow_apply(&f->disk, &g, &f->e) < 0)
                fail_msg("%s", f->e.text);
}

/* Everything is as planned at first, but for the size of the last partition. */
static void expect_layout(struct disk_file *f, uint64_t last_size)
{
        struct layout back;

        assert_int_equal(layout_read(&f->disk, &back, &f->e), 0);
        assert_int_equal(back.n, 3);
        for (size_t i = 0; i < 3; i++) {
                const struct layout_partition *a = &f->plan.partitions[i], *b = &back.partitions[i];

                assert_string_equal(b->name, a->name);
                assert_string_equal(b->uuid, a->uuid);
                assert_string_equal(b->type, a->type);
                assert_int_equal(b->start, a->start);
                assert_int_equal(b->size, i == 2 ? last_size : a->size);
        }
}

/* The size that a new installation on such a disk would give it. */
static uint64_t planned_size(uint64_t disk)
{
        struct error e = ERROR_INIT;
        struct layout l;

        assert_int_equal(layout_plan(disk, SECTOR, &disk_file_wishes, &l, &e), 0);
        return l.partitions[2].size;
}

static void sfdisk_is_content(struct disk_file *f)
{
        const char *const argv[] = {"sfdisk", "--verify", f->path, NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_CHILD_OUTPUT);
        struct spawn_result result;

        if (spawn_run(argv, 10, &out, &result, &f->e) < 0)
                fail_msg("%s", f->e.text);
        if (result.status != 0 || !strstr(buf_str(&out), "No errors detected"))
                fail_msg("sfdisk: %s", buf_str(&out));
}

static uint8_t *read_range(struct disk_file *f, uint64_t at, size_t n)
{
        uint8_t *p = malloc(n);

        assert_non_null(p);
        assert_int_equal(file_pread(f->disk.fd, p, n, at), n);
        return p;
}

static void add_partition(struct fdisk_context *c, const char *name, uint64_t start, uint64_t size)
{
        struct fdisk_partition *p = fdisk_new_partition();
        const uint64_t sector = fdisk_get_sector_size(c);

        assert_non_null(p);
        assert_int_equal(fdisk_partition_set_start(p, start / sector), 0);
        assert_int_equal(fdisk_partition_set_size(p, size / sector), 0);
        assert_int_equal(fdisk_partition_set_name(p, name), 0);
        (void)fdisk_partition_partno_follow_default(p, 1);
        assert_int_equal(fdisk_add_partition(c, p, NULL), 0);
        fdisk_unref_partition(p);
}

static void partition_grows_to_where_an_installation_would_end_it(void **state)
{
        static const uint64_t sizes[] = {OLD_SIZE + 5 * MIB + SECTOR, NEW_SIZE,
                                         UINT64_C(3) * 1024 * GIB};
        struct disk_file *f = *state;

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                enlarge(f, sizes[i]);
                grow(f);
                expect_layout(f, planned_size(sizes[i]));
                sfdisk_is_content(f);
        }
}

/* A disk image on a larger disk: names of its own, but for the ESP's, and a table to its end. */
static void copy_of_an_image_gets_its_own_names(void **state)
{
        static const char *const names[] = {LAYOUT_OEM_NAME, LAYOUT_PERSISTENT_NAME};
        struct disk_file *f = *state;
        uint8_t *before = read_range(f, SECTOR, SECTOR), *after;
        struct layout back;

        enlarge(f, NEW_SIZE);
        if (grow_renew(&f->disk, names, 2, &f->e) < 0)
                fail_msg("%s", f->e.text);
        sfdisk_is_content(f);
        assert_int_equal(layout_read(&f->disk, &back, &f->e), 0);
        assert_int_equal(back.n, 3);
        for (size_t i = 0; i < 3; i++) {
                const struct layout_partition *a = &f->plan.partitions[i], *b = &back.partitions[i];

                assert_string_equal(b->name, a->name);
                assert_string_equal(b->type, a->type);
                assert_int_equal(b->start, a->start);
                assert_int_equal(b->size, a->size);
                assert_int_equal(strcmp(b->uuid, a->uuid) == 0, i == 0);
                assert_int_equal(b->uuid[14], '4'); /* version */
                assert_non_null(strchr("89ab", b->uuid[19]));
        }
        assert_string_not_equal(back.partitions[1].uuid, back.partitions[2].uuid);
        after = read_range(f, SECTOR, SECTOR);
        assert_memory_not_equal(before + 56, after + 56, 16);
        free(before);
        free(after);
}

static void renewing_wants_the_table_of_an_image(void **state)
{
        static const char *const names[] = {LAYOUT_OEM_NAME, "missing"};
        struct disk_file *f = *state;

        assert_int_equal(grow_renew(&f->disk, names, 2, &f->e), -ENOENT);
        assert_int_equal(f->e.class, ERROR_PRECONDITION);
        expect_layout(f, f->plan.partitions[2].size);
        enlarge(f, OLD_SIZE - 64 * MIB);
        assert_int_equal(grow_renew(&f->disk, names, 1, &f->e), -ENOENT);
}

static void growing_again_does_nothing(void **state)
{
        struct disk_file *f = *state;
        struct grow g;

        enlarge(f, NEW_SIZE);
        grow(f);
        assert_int_equal(plan(f, &g), 0);
}

/* An ordinary boot: nothing to be done, and nothing written. */
static void table_at_the_end_of_the_disk_stays(void **state)
{
        struct disk_file *f = *state;
        struct grow g;

        assert_int_equal(plan(f, &g), 0);
}

static void little_more_disk_is_not_worth_a_write(void **state)
{
        struct disk_file *f = *state;
        struct grow g;

        enlarge(f, OLD_SIZE + 8 * SECTOR);
        assert_int_equal(plan(f, &g), 0);
        enlarge(f, OLD_SIZE + LAYOUT_ALIGN);
        grow(f);
        expect_layout(f, planned_size(OLD_SIZE + LAYOUT_ALIGN));
}

/* The table ends with the disk, but keeps partitions away from its end: somebody's wish. */
static void room_that_the_table_reserves_is_kept(void **state)
{
        static const uint8_t nothing[2 * TABLE_SIZE];
        struct disk_file *f = *state;
        struct fdisk_context *c = fdisk_new_context();
        struct fdisk_script *script = fdisk_new_script(c);
        struct grow g;

        assert_non_null(c);
        assert_non_null(script);
        assert_int_equal(file_pwrite(f->disk.fd, nothing, sizeof(nothing), 0), 0);
        assert_int_equal(fdisk_assign_device(c, f->path, 0), 0);
        assert_int_equal(fdisk_script_set_header(script, "label", "gpt"), 0);
        assert_int_equal(fdisk_script_set_header(script, "last-lba", "2097300"), 0); /* 1 GiB */
        assert_int_equal(fdisk_apply_script_headers(c, script), 0);
        add_partition(c, LAYOUT_PERSISTENT_NAME, LAYOUT_ALIGN, GIB - LAYOUT_ALIGN);
        assert_int_equal(fdisk_write_disklabel(c), 0);
        (void)fdisk_deassign_device(c, 0);
        assert_int_equal(fdisk_set_script(c, NULL), 0); /* they hold each other */
        fdisk_unref_script(script);
        fdisk_unref_context(c);
        assert_int_equal(plan(f, &g), 0);
        /* The twin: the same table on a disk that became larger. */
        enlarge(f, NEW_SIZE);
        grow(f);
}

static void smaller_disk_is_left_alone(void **state)
{
        struct disk_file *f = *state;
        struct grow g;

        enlarge(f, OLD_SIZE - 64 * MIB);
        assert_int_equal(plan(f, &g), 0);
}

static void rewrite(struct disk_file *f)
{
        if (layout_write(&f->disk, &f->plan, &f->e) < 0)
                fail_msg("%s", f->e.text);
        enlarge(f, NEW_SIZE);
}

static void room_that_was_left_on_purpose_is_kept(void **state)
{
        struct disk_file *f = *state;
        struct grow g;

        f->plan.partitions[2].size -= LAYOUT_ALIGN;
        rewrite(f);
        assert_int_equal(plan(f, &g), 0);
}

static void only_the_last_partition_grows(void **state)
{
        struct disk_file *f = *state;
        struct layout_partition *last = &f->plan.partitions[2], *more = &f->plan.partitions[3];
        struct grow g;

        *more = *last;
        more->number = 4;
        (void)snprintf(more->name, sizeof(more->name), "more");
        more->uuid[0] = more->uuid[0] == '1' ? '2' : '1';
        more->start += 256 * MIB;
        more->size -= 256 * MIB;
        last->size = 256 * MIB;
        f->plan.n = 4;
        rewrite(f);
        assert_int_equal(plan(f, &g), 0);
}

static void twins_are_left_alone(void **state)
{
        struct disk_file *f = *state;
        struct grow g;

        (void)snprintf(f->plan.partitions[1].name, sizeof(f->plan.partitions[1].name), "%s",
                       LAYOUT_PERSISTENT_NAME);
        rewrite(f);
        assert_int_equal(plan(f, &g), 0);
}

static void damaged_table_is_left_alone(void **state)
{
        static const uint64_t places[] = {
                SECTOR + 16,      /* checksum of the header */
                SECTOR + 40,      /* first usable sector */
                2 * SECTOR + 128, /* an entry */
        };
        struct disk_file *f = *state;
        struct grow g;

        enlarge(f, NEW_SIZE);
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                uint8_t byte, other;

                assert_int_equal(file_pread(f->disk.fd, &byte, 1, places[i]), 1);
                other = byte ^ 1;
                assert_int_equal(file_pwrite(f->disk.fd, &other, 1, places[i]), 0);
                assert_int_equal(plan(f, &g), 0);
                assert_int_equal(file_pwrite(f->disk.fd, &byte, 1, places[i]), 0);
        }
        assert_int_equal(plan(f, &g), 1);
}

static void table_that_changed_since_the_plan_is_not_written(void **state)
{
        struct disk_file *f = *state;
        struct grow g;

        enlarge(f, NEW_SIZE);
        assert_int_equal(plan(f, &g), 1);
        g.start += LAYOUT_ALIGN;
        assert_int_equal(grow_apply(&f->disk, &g, &f->e), -ESTALE);
        expect_layout(f, f->plan.partitions[2].size);
}

static void protective_mbr_follows(void **state)
{
        struct disk_file *f = *state;
        uint8_t size[4];

        enlarge(f, NEW_SIZE);
        grow(f);
        assert_int_equal(file_pread(f->disk.fd, size, 4, 446 + 12), 4);
        assert_int_equal((uint64_t)size[0] | (uint64_t)size[1] << 8 | (uint64_t)size[2] << 16 |
                                 (uint64_t)size[3] << 24,
                         NEW_SIZE / SECTOR - 1);
}

/*
 * The states that a cut can leave, by the order of the writes: backup not or partly there, backup
 * there, primary torn. In each of them there is a table, and the next run finishes.
 */
static void every_cut_leaves_a_table(void **state)
{
        struct disk_file *f = *state;
        const uint64_t old = f->plan.partitions[2].size, end = NEW_SIZE - TABLE_SIZE;
        _cleanup_free_ uint8_t *before = NULL, *after = NULL, *backup = NULL, *zeros = NULL;

        before = read_range(f, 0, SECTOR + TABLE_SIZE);
        zeros = calloc(1, TABLE_SIZE);
        enlarge(f, NEW_SIZE);
        grow(f);
        after = read_range(f, 0, SECTOR + TABLE_SIZE);
        backup = read_range(f, end, TABLE_SIZE);

        /* Half of the backup, then all of it: the old table counts. */
        for (size_t n = SECTOR; n <= TABLE_SIZE; n += TABLE_SIZE - SECTOR) {
                assert_int_equal(file_pwrite(f->disk.fd, before, SECTOR + TABLE_SIZE, 0), 0);
                assert_int_equal(file_pwrite(f->disk.fd, zeros, TABLE_SIZE, end), 0);
                assert_int_equal(file_pwrite(f->disk.fd, backup, n, end), 0);
                expect_layout(f, old);
                grow(f);
                expect_layout(f, planned_size(NEW_SIZE));
        }
        /* Only the header, or only the entries of the new primary: the new backup counts. */
        for (int half = 0; half < 2; half++) {
                assert_int_equal(file_pwrite(f->disk.fd, before, SECTOR + TABLE_SIZE, 0), 0);
                assert_int_equal(file_pwrite(f->disk.fd,
                                             half == 0 ? after + SECTOR : after + 2 * SECTOR,
                                             half == 0 ? SECTOR : TABLE_SIZE - SECTOR,
                                             half == 0 ? SECTOR : 2 * SECTOR),
                                 0);
                expect_layout(f, planned_size(NEW_SIZE));
        }
        /* Everything but the protective MBR. */
        assert_int_equal(file_pwrite(f->disk.fd, before, SECTOR, 0), 0);
        assert_int_equal(file_pwrite(f->disk.fd, after + SECTOR, TABLE_SIZE, SECTOR), 0);
        expect_layout(f, planned_size(NEW_SIZE));
}

/* The second copy is a whole table of its own. */
static void backup_alone_is_enough(void **state)
{
        static const uint8_t nothing[TABLE_SIZE];
        struct disk_file *f = *state;

        enlarge(f, NEW_SIZE);
        grow(f);
        assert_int_equal(file_pwrite(f->disk.fd, nothing, sizeof(nothing), SECTOR), 0);
        expect_layout(f, planned_size(NEW_SIZE));
}

/* libfdisk over a file takes 512 byte sectors unless it is told otherwise. */
static struct fdisk_context *open_4k(struct disk_file *f)
{
        struct fdisk_context *c = fdisk_new_context();

        assert_non_null(c);
        assert_int_equal(fdisk_save_user_sector_size(c, 4096, 4096), 0);
        assert_int_equal(fdisk_assign_device(c, f->path, 0), 0);
        assert_int_equal(fdisk_get_sector_size(c), 4096);
        return c;
}

static void sectors_of_4096_bytes(void **state)
{
        static const uint8_t nothing[4096];
        const uint64_t end = OLD_SIZE - LAYOUT_ALIGN, new_end = NEW_SIZE - LAYOUT_ALIGN;
        struct disk_file *f = *state;
        struct fdisk_partition *p = NULL;
        struct fdisk_context *c;

        assert_int_equal(file_pwrite(f->disk.fd, nothing, sizeof(nothing), 0), 0);
        f->disk.sector_size = 4096;
        c = open_4k(f);
        assert_int_equal(fdisk_create_disklabel(c, "gpt"), 0);
        add_partition(c, "efi", LAYOUT_ALIGN, 512 * MIB);
        add_partition(c, LAYOUT_PERSISTENT_NAME, 600 * MIB, end - 600 * MIB);
        assert_int_equal(fdisk_write_disklabel(c), 0);
        (void)fdisk_deassign_device(c, 0);
        fdisk_unref_context(c);

        enlarge(f, NEW_SIZE);
        grow(f);
        /* The second copy as well: the first is read from it when it is damaged. */
        for (int damaged = 0; damaged < 2; damaged++) {
                if (damaged)
                        assert_int_equal(file_pwrite(f->disk.fd, nothing, 512, 4096), 0);
                c = open_4k(f);
                assert_true(fdisk_is_labeltype(c, FDISK_DISKLABEL_GPT));
                assert_int_equal(fdisk_get_partition(c, 1, &p), 0);
                assert_int_equal(fdisk_partition_get_start(p), 600 * MIB / 4096);
                assert_int_equal(fdisk_partition_get_size(p), (new_end - 600 * MIB) / 4096);
                fdisk_unref_partition(p);
                p = NULL;
                if (!damaged)
                        assert_int_equal(fdisk_verify_disklabel(c), 0);
                (void)fdisk_deassign_device(c, 1);
                fdisk_unref_context(c);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(
                        partition_grows_to_where_an_installation_would_end_it, set_up,
                        disk_file_end),
                cmocka_unit_test_setup_teardown(copy_of_an_image_gets_its_own_names, set_up,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(renewing_wants_the_table_of_an_image, set_up,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(growing_again_does_nothing, set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(table_at_the_end_of_the_disk_stays, set_up,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(little_more_disk_is_not_worth_a_write, set_up,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(room_that_the_table_reserves_is_kept, set_up,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(smaller_disk_is_left_alone, set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(room_that_was_left_on_purpose_is_kept, set_up,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(only_the_last_partition_grows, set_up,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(twins_are_left_alone, set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(damaged_table_is_left_alone, set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(table_that_changed_since_the_plan_is_not_written,
                                                set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(protective_mbr_follows, set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(every_cut_leaves_a_table, set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(backup_alone_is_enough, set_up, disk_file_end),
                cmocka_unit_test_setup_teardown(sectors_of_4096_bytes, set_up, disk_file_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
