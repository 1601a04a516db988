/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/disk_content.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/spawn.h"
#include "tests/unit/scratch.h"

static void make_file(const struct scratch *s, char path[128])
{
        int fd;

        (void)snprintf(path, 128, "%s/disk", s->path);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)(16 * MIB)), 0);
        assert_int_equal(close(fd), 0);
}

static void run(const char *const argv[])
{
        struct error e = ERROR_INIT;

        if (spawn_check(argv, 30, &e) < 0)
                fail_msg("%s", e.text);
}

static void test_content_is_named(void **state)
{
        struct disk_content c;
        struct scratch s;
        char path[128];

        (void)state;
        scratch_make(&s);
        make_file(&s, path);
        assert_int_equal(disk_content_read(path, &c, NULL), 0);
        assert_string_equal(c.type, "");
        assert_string_equal(c.table, "");
        run((const char *const[]){"/sbin/mke2fs", "-q", "-F", "-L", "mydata", path, NULL});
        assert_int_equal(disk_content_read(path, &c, NULL), 0);
        assert_string_equal(c.type, "ext2");
        assert_string_equal(c.label, "mydata");
        make_file(&s, path);
        run((const char *const[]){"/bin/sh", "-c", "echo 'label: gpt' | /sbin/sfdisk -q \"$0\"",
                                  path, NULL});
        assert_int_equal(disk_content_read(path, &c, NULL), 0);
        assert_string_equal(c.type, "");
        assert_string_equal(c.table, "gpt");
        scratch_clean(&s);
}

static void test_unreadable_is_an_error(void **state)
{
        struct error e = ERROR_INIT;
        struct disk_content c;

        (void)state;
        assert_int_equal(disk_content_read("/nonexistent/disk", &c, &e), -ENOENT);
        assert_non_null(strstr(e.text, "/nonexistent/disk"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_content_is_named),
                cmocka_unit_test(test_unreadable_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
