/* SPDX-License-Identifier: Apache-2.0 */
/* The table libfdisk writes, read back by us and by sfdisk, on 512 and 4096 byte sectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/spawn.h"
#include "tests/integration/disk_file.h"

static void written_table_is_read_back(void **state)
{
        struct disk_file *f = *state;
        struct layout back;

        disk_file_write(f);
        assert_int_equal(layout_read(&f->disk, &back, &f->e), 0);
        assert_int_equal(back.n, 3);
        for (size_t i = 0; i < 3; i++) {
                assert_string_equal(back.partitions[i].name, f->plan.partitions[i].name);
                assert_string_equal(back.partitions[i].type, f->plan.partitions[i].type);
                assert_string_equal(back.partitions[i].uuid, f->plan.partitions[i].uuid);
                assert_int_equal(back.partitions[i].start, f->plan.partitions[i].start);
                assert_int_equal(back.partitions[i].size, f->plan.partitions[i].size);
        }
}

static void sfdisk_agrees(void **state)
{
        struct disk_file *f = *state;
        const char *const verify[] = {"sfdisk", "--verify", f->path, NULL};
        const char *const dump[] = {"sfdisk", "--json", f->path, NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_CHILD_OUTPUT);
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *table, *list, *last;
        struct spawn_result result;
        struct error e = ERROR_INIT;
        const char *name;
        uint64_t start;

        disk_file_write(f);
        if (spawn_check(verify, 10, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(spawn_run(dump, 10, &out, &result, &e), 0);
        assert_int_equal(json_read_text(out.data, out.len, out.len, "sfdisk", &root, &e), 0);
        assert_int_equal(json_get_obj(root, "partitiontable", &table), 0);
        assert_int_equal(json_get_array(table, "partitions", &list), 0);
        assert_int_equal(json_object_array_length(list), 3);
        last = json_object_array_get_idx(list, 2);
        assert_int_equal(json_get_str(last, "name", &name), 0);
        assert_string_equal(name, "persistent");
        assert_int_equal(json_get_u64(last, "start", &start), 0);
        assert_int_equal(start * 512, f->plan.partitions[2].start);
}

/* Such a table makes libfdisk take gigabytes: it is refused before libfdisk sees it. */
static void table_of_absurd_size_is_refused(void **state)
{
        struct disk_file *f = *state;
        static const uint8_t many[] = {0, 0, 0, 1};
        struct error e = ERROR_INIT;
        struct layout back;
        uint8_t one = 'X';

        disk_file_write(f);
        assert_int_equal(file_pwrite(f->disk.fd, many, 4, 512 + 80), 0);
        assert_int_equal(layout_read(&f->disk, &back, &e), -EBADMSG);
        /* The same in the backup, behind a damaged primary. */
        assert_int_equal(file_pwrite(f->disk.fd, &one, 1, 512), 0);
        assert_int_equal(file_pwrite(f->disk.fd, many, 4, DISK_FILE_SIZE - DISK_FILE_SECTOR + 80),
                         0);
        assert_int_equal(layout_read(&f->disk, &back, &e), -EBADMSG);
}

static void no_table_is_an_answer(void **state)
{
        struct disk_file *f = *state;
        struct error e = ERROR_INIT;
        struct layout back;

        assert_int_equal(layout_read(&f->disk, &back, &e), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(written_table_is_read_back, disk_file_make,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(sfdisk_agrees, disk_file_make, disk_file_end),
                cmocka_unit_test_setup_teardown(table_of_absurd_size_is_refused, disk_file_make,
                                                disk_file_end),
                cmocka_unit_test_setup_teardown(no_table_is_an_answer, disk_file_make,
                                                disk_file_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
