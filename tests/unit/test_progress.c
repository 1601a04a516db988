/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/progress.h"
#include "base/json.h"
#include "base/limits.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static uint64_t clock_ms;

static uint64_t tell_time(void *arg)
{
        return *(uint64_t *)arg;
}

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        clock_ms = 1000000;
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static int open_output(const char *name)
{
        int fd = openat(dir.fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        return fd;
}

static void output(const char *name, struct buf *out)
{
        assert_int_equal(file_read(dir.fd, name, out), 0);
}

static unsigned count(const char *text, char c)
{
        unsigned n = 0;

        for (; *text; text++)
                n += *text == c;
        return n;
}

/* 100 MiB at 10 MiB/s, told a hundred times a second. */
static void run(struct progress *p)
{
        const uint64_t step = 100 * MIB / 1000;

        progress_phase(p, "prepare", 0);
        progress_phase(p, "download", 100 * MIB);
        for (uint64_t i = 1; i <= 1000; i++) {
                clock_ms += 10;
                progress_update(p, i == 1000 ? 100 * MIB : i * step, i > 500 ? 2 : 0);
        }
}

static void json_lines_are_few_and_complete(void **state)
{
        _cleanup_close_ int fd = open_output("json");
        const struct progress_options options = {
                .text_fd = -EBADF, .json_fd = fd, .now_ms = tell_time, .now_arg = &clock_ms};
        struct progress *p = progress_new(&options);
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 20);
        uint64_t n = 0, last = 0;
        char *line;

        (void)state;
        run(p);
        progress_free(p);
        output("json", &text);
        line = (char *)text.data;
        for (char *end; (end = strchr(line, '\n')); line = end + 1, n++) {
                _cleanup_json_ struct json_object *o = NULL;
                uint64_t done, rate, total, retries, schema;
                const char *phase;

                assert_int_equal(json_read_text(line, (size_t)(end - line), 4096, "line", &o, NULL),
                                 0);
                assert_int_equal(json_get_u64(o, "schema", &schema), 0);
                assert_int_equal(json_get_str(o, "phase", &phase), 0);
                assert_int_equal(json_get_u64(o, "done", &done), 0);
                if (strcmp(phase, "prepare") == 0) {
                        assert_int_equal(json_get_u64(o, "total", &total), -EBADMSG);
                        continue;
                }
                assert_int_equal(json_get_u64(o, "total", &total), 0);
                assert_int_equal(total, 100 * MIB);
                assert_true(done >= last);
                last = done;
                assert_int_equal(json_get_u64(o, "rate", &rate), 0);
                if (done > 20 * MIB)
                        assert_true(rate > 9 * MIB && rate < 11 * MIB);
                assert_int_equal(json_get_u64(o, "retries", &retries), 0);
                assert_int_equal(retries, done > 51 * MIB ? 2 : retries);
        }
        assert_int_equal(last, 100 * MIB);
        assert_true(n >= 15 && n <= 25);
}

static void add_line(const char *line, void *arg)
{
        assert_int_equal(buf_add_str(arg, line), 0);
}

static void lines_are_rare(void **state)
{
        _cleanup_close_ int fd = open_output("text");
        _cleanup_(buf_done) struct buf lines = BUF_INIT(1 << 20);
        const struct progress_options options = {.text_fd = fd,
                                                 .json_fd = -EBADF,
                                                 .line = add_line,
                                                 .line_arg = &lines,
                                                 .now_ms = tell_time,
                                                 .now_arg = &clock_ms};
        struct progress *p = progress_new(&options);
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 20);

        (void)state;
        run(p);
        progress_free(p);
        output("text", &text);
        assert_in_range(count(buf_str(&text), '\n'), 3, 5);
        assert_string_equal(buf_str(&lines), buf_str(&text));
        assert_null(strchr(buf_str(&text), '\x1b'));
        assert_null(strchr(buf_str(&text), '\r'));
        assert_non_null(strstr(buf_str(&text), "prepare\n"));
        assert_non_null(strstr(buf_str(&text), "download: 100 MiB of 100 MiB, "));
        assert_non_null(strstr(buf_str(&text), " MiB/s, 2 retries\n"));
}

static void terminal_gets_a_bar(void **state)
{
        _cleanup_close_ int fd = open_output("text");
        const struct progress_options options = {.text_fd = fd,
                                                 .terminal = true,
                                                 .json_fd = -EBADF,
                                                 .now_ms = tell_time,
                                                 .now_arg = &clock_ms};
        struct progress *p = progress_new(&options);
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 20);

        (void)state;
        run(p);
        progress_free(p);
        output("text", &text);
        assert_in_range(count(buf_str(&text), '\r'), 20, 60);
        assert_non_null(strstr(buf_str(&text), "[############            ]"));
        assert_non_null(strstr(buf_str(&text), " left"));
        assert_int_equal(buf_str(&text)[text.len - 1], '\n');
}

/* A phase that continues an earlier run starts high: that is no speed. */
static void resumed_bytes_are_no_speed(void **state)
{
        _cleanup_close_ int fd = open_output("json");
        const struct progress_options options = {
                .text_fd = -EBADF, .json_fd = fd, .now_ms = tell_time, .now_arg = &clock_ms};
        struct progress *p = progress_new(&options);
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 20);

        (void)state;
        progress_phase(p, "download", 100 * MIB);
        clock_ms += 1000;
        progress_update(p, 90 * MIB, 0);
        clock_ms += 1000;
        progress_update(p, 91 * MIB, 0);
        progress_free(p);
        output("json", &text);
        assert_non_null(strstr(buf_str(&text), "\"rate\":1048576"));
        assert_null(strstr(buf_str(&text), "\"rate\":9"));
}

/* A reader that went away is no reason to fail. */
static void closed_output_is_given_up(void **state)
{
        _cleanup_close_ int fd = openat(dir.fd, "ro", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
        const struct progress_options options = {
                .text_fd = fd, .json_fd = fd, .now_ms = tell_time, .now_arg = &clock_ms};
        struct progress *p = progress_new(&options);

        (void)state;
        run(p);
        progress_free(p);
        progress_phase(NULL, "none", 0);
        progress_update(NULL, 1, 0);
        progress_free(NULL);
}

/* Somebody opened a pipe and reads nothing: the run goes on, and can be stopped. */
static void reader_that_does_not_read(void **state)
{
        struct progress_options o = {.text_fd = -EBADF, .now_ms = tell_time, .now_arg = &clock_ms};
        struct progress *p;
        int fds[2];

        (void)state;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        o.json_fd = fds[1];
        p = progress_new(&o);
        assert_non_null(p);
        (void)alarm(60);
        for (unsigned i = 0; i < 50; i++)
                run(p);
        (void)alarm(0);
        progress_free(p);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(json_lines_are_few_and_complete, set_up, tear_down),
                cmocka_unit_test_setup_teardown(lines_are_rare, set_up, tear_down),
                cmocka_unit_test_setup_teardown(terminal_gets_a_bar, set_up, tear_down),
                cmocka_unit_test_setup_teardown(resumed_bytes_are_no_speed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(closed_output_is_given_up, set_up, tear_down),
                cmocka_unit_test_setup_teardown(reader_that_does_not_read, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
