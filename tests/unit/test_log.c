/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static int saved_stderr = -EBADF;

/* From here to caught(), standard error goes to a file. */
static void catch_output(void)
{
        _cleanup_close_ int fd =
                openat(dir.fd, "out", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        (void)fflush(stderr);
        saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
        assert_true(fd >= 0 && saved_stderr >= 0);
        assert_true(dup2(fd, STDERR_FILENO) >= 0);
}

static void caught(struct buf *out)
{
        (void)fflush(stderr);
        assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
        close_p(&saved_stderr);
        buf_reset(out);
        assert_int_equal(file_read(dir.fd, "out", out), 0);
}

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        log_set_level(LOG_LEVEL_INFO);
        log_set_format(LOG_FORMAT_TEXT);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void speak(void)
{
        log_error("e %d", 1);
        log_warning("w %s", "two");
        log_info("i");
        log_debug("d");
}

static void test_levels(void **state)
{
        static const struct {
                enum log_level level;
                const char *text;
        } table[] = {
                {LOG_LEVEL_ERROR, "error: e 1\n"},
                {LOG_LEVEL_WARNING, "error: e 1\nwarning: w two\n"},
                {LOG_LEVEL_INFO, "error: e 1\nwarning: w two\ni\n"},
                {LOG_LEVEL_DEBUG, "error: e 1\nwarning: w two\ni\ndebug: d\n"},
        };
        _cleanup_(buf_done) struct buf out = BUF_INIT(4096);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                log_set_level(table[i].level);
                catch_output();
                speak();
                caught(&out);
                assert_string_equal(buf_str(&out), table[i].text);
        }
}

/* One object per line, whatever the message contains. */
static void test_json(void **state)
{
        static const char nasty[] = "quote \" backslash \\ newline \n tab \t end";
        _cleanup_(buf_done) struct buf out = BUF_INIT(4096);
        _cleanup_json_ struct json_object *o = NULL;
        const char *s = NULL;
        char *line;

        (void)state;
        log_set_format(LOG_FORMAT_JSON);
        catch_output();
        log_warning("%s", nasty);
        log_debug("hidden");
        caught(&out);
        line = strchr(buf_str(&out), '\n');
        assert_non_null(line);
        assert_int_equal(line[1], '\0');
        assert_int_equal(json_read_text(out.data, out.len - 1, 4096, "log", &o, NULL), 0);
        assert_int_equal(json_get_str(o, "level", &s), 0);
        assert_string_equal(s, "warning");
        assert_int_equal(json_get_str(o, "message", &s), 0);
        assert_string_equal(s, nasty);
        assert_true(json_object_object_get_ex(o, "time", NULL));
}

static void test_long_message(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(1 << 16);
        char big[8192];

        (void)state;
        memset(big, 'x', sizeof(big));
        big[sizeof(big) - 1] = '\0';
        catch_output();
        log_info("%s", big);
        caught(&out);
        assert_in_range(out.len, 1000, 4096);
        assert_int_equal(out.data[out.len - 1], '\n');
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_levels, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_json, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_long_message, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
