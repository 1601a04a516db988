/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/termination.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static char path[96];

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        (void)snprintf(path, sizeof(path), "%s/termination-log", dir.path);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void last_word_replaces_what_was_there(void **state)
{
        (void)state;
        scratch_put_text(&dir, "termination-log", "something longer than what follows");
        termination_tell(path, "no space");
        scratch_expect(&dir, "termination-log", "no space\n", 9);
}

static void file_is_never_made(void **state)
{
        (void)state;
        termination_tell(path, "no space");
        assert_false(file_exists(dir.fd, "termination-log"));
}

static void long_words_are_cut(void **state)
{
        _cleanup_(buf_done) struct buf said = BUF_INIT(1 << 16);
        char text[6000];

        (void)state;
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        scratch_put_text(&dir, "termination-log", "");
        termination_tell(path, text);
        assert_int_equal(file_read(dir.fd, "termination-log", &said), 0);
        assert_int_equal(said.len, 4096);
}

/* What is no file of a container is left alone, and nothing waits for it. */
static void other_things_are_left_alone(void **state)
{
        (void)state;
        assert_int_equal(mkfifo(path, 0600), 0);
        termination_tell(path, "no space");
        assert_int_equal(unlink(path), 0);
        scratch_put_text(&dir, "target", "precious");
        assert_int_equal(symlinkat("target", dir.fd, "termination-log"), 0);
        termination_tell(path, "no space");
        scratch_expect(&dir, "target", "precious", 8);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(last_word_replaces_what_was_there, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(file_is_never_made, set_up, tear_down),
                cmocka_unit_test_setup_teardown(long_words_are_cut, set_up, tear_down),
                cmocka_unit_test_setup_teardown(other_things_are_left_alone, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
