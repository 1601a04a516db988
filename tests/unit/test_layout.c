/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/limits.h"
#include "partition/layout.h"

static const struct layout_wishes wishes = {.esp_size = 1 * GIB};

static void esp_has_room_for_four_images(void **state)
{
        static const struct {
                uint64_t image, wanted;
                int r;
                uint64_t at_least;
        } cases[] = {
                {50 * MIB, 0, 0, 4 * GIB},
                {2 * GIB, 0, 0, 8 * GIB},
                {LIMIT_IMAGE_SIZE, 0, 0, 16 * GIB - 4},
                {50 * MIB, 512 * MIB, 0, 512 * MIB},
                {200 * MIB, 512 * MIB, -ENOSPC, 0},
                {1 * MIB, 100 * MIB, -ENOSPC, 0}, /* FAT32 on 4 KiB sectors */
                {UINT64_MAX, 0, -EOVERFLOW, 0},
                {50 * MIB, UINT64_MAX, -EOVERFLOW, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                uint64_t size = 0;

                assert_int_equal(layout_esp_size(cases[i].image, cases[i].wanted, &size, &e),
                                 cases[i].r);
                if (cases[i].r == 0) {
                        assert_true(size >= cases[i].at_least);
                        assert_int_equal(size % LAYOUT_ALIGN, 0);
                }
        }
}

static void plan_fills_the_disk(void **state)
{
        static const struct {
                uint64_t disk, sector;
        } cases[] = {{8 * GIB, 512},
                     {8 * GIB + 512, 512},
                     {8 * GIB - 4096, 4096},
                     {100 * GIB + 7 * 512, 512}};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                struct layout l;
                uint64_t end;

                assert_int_equal(layout_plan(cases[i].disk, cases[i].sector, &wishes, &l, &e), 0);
                assert_int_equal(l.n, 3);
                for (size_t k = 0; k < l.n; k++) {
                        assert_int_equal(l.partitions[k].start % LAYOUT_ALIGN, 0);
                        assert_int_equal(l.partitions[k].number, k + 1);
                        if (k > 0)
                                assert_int_equal(l.partitions[k].start,
                                                 l.partitions[k - 1].start +
                                                         l.partitions[k - 1].size);
                }
                end = l.partitions[2].start + l.partitions[2].size;
                /* The backup table needs 33 sectors of 512 bytes, or 5 of 4096. */
                assert_true(end + 128 * 128 + cases[i].sector <= cases[i].disk);
                assert_true(end + LAYOUT_ALIGN + 128 * 128 + cases[i].sector > cases[i].disk);
        }
}

static void every_partition_has_its_own_uuid(void **state)
{
        struct error e = ERROR_INIT;
        struct layout a, b;

        (void)state;
        assert_int_equal(layout_plan(8 * GIB, 512, &wishes, &a, &e), 0);
        assert_int_equal(layout_plan(8 * GIB, 512, &wishes, &b, &e), 0);
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(strlen(a.partitions[i].uuid), 36);
                assert_string_not_equal(a.partitions[i].uuid, b.partitions[i].uuid);
                assert_string_not_equal(a.partitions[i].uuid, a.partitions[(i + 1) % 3].uuid);
        }
}

static void small_disks_are_refused_with_the_size_needed(void **state)
{
        const struct layout_wishes absurd = {.esp_size = UINT64_MAX - 10};
        struct error e = ERROR_INIT;
        struct layout l;

        (void)state;
        assert_int_equal(layout_plan(1 * GIB, 512, &wishes, &l, &e), -ENOSPC);
        assert_int_equal(e.class, ERROR_SPACE);
        assert_non_null(strstr(e.text, "1.2 GiB"));
        assert_int_equal(layout_plan(0, 512, &wishes, &l, &e), -ENOSPC);
        assert_int_equal(layout_plan(UINT64_MAX, 512, &absurd, &l, &e), -EOVERFLOW);
}

static void find_wants_exactly_one(void **state)
{
        const struct layout_partition *p = NULL;
        struct error e = ERROR_INIT;
        struct layout l;

        (void)state;
        assert_int_equal(layout_plan(8 * GIB, 512, &wishes, &l, &e), 0);
        assert_int_equal(layout_find(&l, "oem", &p), 0);
        assert_int_equal(p->number, 2);
        assert_int_equal(layout_find(&l, "Oem", &p), -ENOENT);
        memcpy(l.partitions[2].name, "oem", 4);
        assert_int_equal(layout_find(&l, "oem", &p), -ENOTUNIQ);
}

static void sizes_and_extra_partitions(void **state)
{
        static const char *const names[] = {"efi", "oem", "data", "scratch", "persistent"};
        static const uint64_t sizes[] = {1 * GIB, 256 * MIB, 1 * GIB, 33 * MIB, 2 * GIB};
        struct layout_wishes w = {
                .esp_size = 1 * GIB, .oem_size = 256 * MIB, .persistent_size = 2 * GIB};
        uint64_t at = LAYOUT_ALIGN;
        struct error e = ERROR_INIT;
        struct layout l;

        (void)state;
        assert_int_equal(extra_parse("data:1G", &w.extras, &e), 0);
        assert_int_equal(extra_parse("scratch:33792001", &w.extras, &e), 0); /* rounded up */
        assert_int_equal(layout_plan(8 * GIB, 512, &w, &l, &e), 0);
        assert_int_equal(l.n, 5);
        for (size_t i = 0; i < l.n; i++) {
                assert_string_equal(l.partitions[i].name, names[i]);
                assert_int_equal(l.partitions[i].number, i + 1);
                assert_int_equal(l.partitions[i].start, at);
                assert_int_equal(l.partitions[i].size, sizes[i]);
                at += sizes[i];
        }
        /* One byte less than what they need, and what they need. */
        assert_int_equal(layout_plan(at + 128 * 128 + 512 - 1, 512, &w, &l, &e), -ENOSPC);
        assert_int_equal(layout_plan(at + 128 * 128 + 512, 512, &w, &l, &e), 0);
        w.persistent_size = 0;
        assert_int_equal(layout_plan(8 * GIB, 512, &w, &l, &e), 0);
        assert_true(l.partitions[4].size > 5 * GIB);
        w.oem_size = LAYOUT_OEM_MIN - 1;
        assert_int_equal(layout_plan(8 * GIB, 512, &w, &l, &e), -ENOSPC);
        w.oem_size = UINT64_MAX;
        assert_int_equal(layout_plan(8 * GIB, 512, &w, &l, &e), -EOVERFLOW);
        w.oem_size = 0;
        w.persistent_size = LAYOUT_PERSISTENT_MIN - 1;
        assert_int_equal(layout_plan(8 * GIB, 512, &w, &l, &e), -ENOSPC);
        w.persistent_size = UINT64_MAX;
        assert_int_equal(layout_plan(8 * GIB, 512, &w, &l, &e), -EOVERFLOW);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(esp_has_room_for_four_images),
                cmocka_unit_test(plan_fills_the_disk),
                cmocka_unit_test(every_partition_has_its_own_uuid),
                cmocka_unit_test(small_disks_are_refused_with_the_size_needed),
                cmocka_unit_test(find_wants_exactly_one),
                cmocka_unit_test(sizes_and_extra_partitions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
