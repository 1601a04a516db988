/* SPDX-License-Identifier: Apache-2.0 */
/* Asking for a key on pseudo terminals that stand in for the consoles of a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

#include "agent/console.h"
#include "base/limits.h"
#include "partition/recovery_key.h"
#include "tests/unit/scratch.h"

#define TERMINALS 2

struct world {
        struct scratch dir;
        struct env env;
        int person[TERMINALS]; /* the other ends */
        struct secret *key;
        struct error e;
        unsigned attempts;
};

static void make_terminal(struct world *w, unsigned i)
{
        char name[64], link[96];

        w->person[i] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(w->person[i] >= 0);
        assert_int_equal(grantpt(w->person[i]) | unlockpt(w->person[i]), 0);
        assert_int_equal(ptsname_r(w->person[i], name, sizeof(name)), 0);
        (void)snprintf(link, sizeof(link), "%s/ttyT%u", w->dir.path, i);
        assert_int_equal(symlink(name, link), 0);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        *state = w;
        scratch_make(&w->dir);
        w->env = (struct env)ENV_INIT;
        w->env.proc = w->env.dev = w->dir.path;
        for (unsigned i = 0; i < TERMINALS; i++)
                make_terminal(w, i);
        /* Some that do not open, one that is no terminal. */
        scratch_put_text(&w->dir, "plain", "");
        scratch_put_text(&w->dir, "consoles",
                         "ttyT0                -W- (EC p a)    4:64\n"
                         "netcon0              -W- (E     )\n"
                         "plain                -W- (E     )\n"
                         "ttyT1                -WU (E     )    4:1\n");
        w->key = recovery_key_new();
        assert_non_null(w->key);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        for (unsigned i = 0; i < TERMINALS; i++)
                close_p(&w->person[i]);
        secret_free(w->key);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

static void type(struct world *w, unsigned terminal, const char *text)
{
        assert_int_equal(file_write(w->person[terminal], text, strlen(text)), 0);
}

/* All that the person sees within a moment without news. */
static void see(struct world *w, unsigned terminal, char *text, size_t size)
{
        struct pollfd polled = {.fd = w->person[terminal], .events = POLLIN};
        size_t n = 0;

        while (n + 1 < size && poll(&polled, 1, 100) > 0) {
                ssize_t got = read(w->person[terminal], text + n, size - 1 - n);

                if (got <= 0)
                        break;
                n += (size_t)got;
        }
        text[n] = '\0';
}

static void lines_come_from_any_console(void **state)
{
        struct world *w = *state;
        _cleanup_(console_close_p) struct console *c = NULL;

        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        for (unsigned i = 0; i < TERMINALS; i++) {
                _cleanup_(secret_free_p) struct secret *line = NULL;

                type(w, i, "one\x7f\x7f\x7ftwo words\r");
                assert_int_equal(console_read(c, 5, &line), 0);
                assert_int_equal(line->len, 9);
                assert_memory_equal(line->data, "two words", 9);
        }
}

/* A person who answers as soon as something else happened. */
struct watch {
        struct world *w;
        int pipe[2];
        unsigned count;
};

static void answer(void *ctx)
{
        struct watch *watch = ctx;
        char byte;

        assert_int_equal(read(watch->pipe[0], &byte, 1), 1);
        if (++watch->count == 2)
                type(watch->w, 0, "now\n");
        else
                assert_int_equal(write(watch->pipe[1], "y", 1), 1);
}

static void other_events_are_noticed_meanwhile(void **state)
{
        struct world *w = *state;
        struct watch watch = {.w = w};
        _cleanup_(console_close_p) struct console *c = NULL;
        _cleanup_(secret_free_p) struct secret *line = NULL;

        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        assert_int_equal(pipe2(watch.pipe, O_CLOEXEC), 0);
        console_watch(c, watch.pipe[0], answer, &watch);
        assert_int_equal(write(watch.pipe[1], "x", 1), 1);
        assert_int_equal(console_read(c, 0, &line), 0);
        assert_int_equal(watch.count, 2);
        assert_int_equal(line->len, 3);
        assert_int_equal(close(watch.pipe[0]) | close(watch.pipe[1]), 0);
}

static void nothing_is_echoed_and_settings_come_back(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *line = NULL;
        struct console *c = NULL;
        struct termios before, after;
        char text[256];

        assert_int_equal(tcgetattr(w->person[0], &before), 0);
        assert_true(before.c_lflag & ECHO);
        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        type(w, 0, "secret\r");
        assert_int_equal(console_read(c, 5, &line), 0);
        type(w, 0, "half of a sec");
        console_close(c);
        see(w, 0, text, sizeof(text));
        assert_null(strstr(text, "sec"));
        assert_int_equal(tcgetattr(w->person[0], &after), 0);
        assert_int_equal(after.c_lflag, before.c_lflag);
        assert_int_equal(after.c_iflag, before.c_iflag);
}

static void time_runs_out(void **state)
{
        struct world *w = *state;
        _cleanup_(console_close_p) struct console *c = NULL;
        struct secret *line = NULL;

        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        type(w, 0, "no end of line");
        assert_int_equal(console_read(c, 1, &line), -ETIMEDOUT);
        assert_null(line);
}

static void long_lines_are_cut(void **state)
{
        struct world *w = *state;
        _cleanup_(console_close_p) struct console *c = NULL;
        _cleanup_(secret_free_p) struct secret *line = NULL, *next = NULL;
        char text[LIMIT_RECOVERY_INPUT * 2];

        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        memset(text, 'c', sizeof(text));
        memcpy(text + sizeof(text) - 2, "\r", 2);
        type(w, 0, text);
        assert_int_equal(console_read(c, 5, &line), 0);
        assert_int_equal(line->len, LIMIT_RECOVERY_INPUT);
        type(w, 0, "d\r");
        assert_int_equal(console_read(c, 5, &next), 0);
        assert_int_equal(next->len, 1);
}

static void hung_up_consoles_are_left_out(void **state)
{
        struct world *w = *state;
        _cleanup_(console_close_p) struct console *c = NULL;
        _cleanup_(secret_free_p) struct secret *line = NULL;

        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        close_p(&w->person[0]);
        type(w, 1, "still here\r");
        assert_int_equal(console_read(c, 5, &line), 0);
        assert_int_equal(line->len, 10);
        secret_free(line);
        line = NULL;
        close_p(&w->person[1]);
        assert_int_equal(console_read(c, 5, &line), -EPIPE);
}

static void no_console_is_an_answer(void **state)
{
        struct world *w = *state;
        struct console *c = NULL;

        scratch_put_text(&w->dir, "consoles", "netcon0 -W-\n./ttyT0 -W-\n");
        assert_int_equal(console_open_all(&w->env, &c, &w->e), -ENXIO);
        assert_int_equal(console_open_terminal(&w->env, &c, &w->e), -ENOTTY);
        assert_null(c);
}

/* Consoles of a machine ignore what would end a program. */
static void person_may_give_up_at_a_terminal(void **state)
{
        static const char *const words[] = {"\x04", "\x03", "half\x03"};
        struct world *w = *state;
        char console[96], terminal[96];

        (void)snprintf(console, sizeof(console), "%s/ttyT0", w->dir.path);
        (void)snprintf(terminal, sizeof(terminal), "%s/tty", w->dir.path);
        assert_int_equal(symlink(console, terminal), 0);
        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                _cleanup_(console_close_p) struct console *c = NULL, *all = NULL;
                _cleanup_(secret_free_p) struct secret *line = NULL, *other = NULL;

                assert_int_equal(console_open_terminal(&w->env, &c, &w->e), 0);
                type(w, 0, words[i]);
                assert_int_equal(console_read(c, 5, &line), -ECANCELED);
                console_close(c);
                c = NULL;
                assert_int_equal(console_open_all(&w->env, &all, &w->e), 0);
                type(w, 0, words[i]);
                type(w, 1, "x\r");
                assert_int_equal(console_read(all, 5, &other), 0);
                assert_int_equal(other->len, 1);
        }
}

/* console_attempt_fn */
static int compare(void *ctx, const struct secret *key, struct error *e)
{
        struct world *w = ctx;

        w->attempts++;
        if (key->len == w->key->len && secret_equal(key->data, w->key->data, key->len))
                return 0;
        return error_set(e, ERROR_PRECONDITION, EACCES, "another key");
}

static void asks_until_the_key_is_right(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *other = recovery_key_new();
        _cleanup_(console_close_p) struct console *c = NULL;
        char line[128], text[1024];

        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        type(w, 0, "nonsense\r");
        (void)snprintf(line, sizeof(line), "%.*s\r", (int)other->len, (const char *)other->data);
        type(w, 0, line);
        (void)snprintf(line, sizeof(line), "%.*s\r", (int)w->key->len, (const char *)w->key->data);
        type(w, 0, line);
        assert_int_equal(console_ask_key(c, "Key: ", 5, compare, w, &w->e), 0);
        assert_int_equal(w->attempts, 2);
        see(w, 1, text, sizeof(text));
        assert_non_null(strstr(text, "this is not a recovery key"));
        assert_non_null(strstr(text, "another key"));
}

static void gives_up(void **state)
{
        struct world *w = *state;
        _cleanup_(console_close_p) struct console *c = NULL;

        assert_int_equal(console_open_all(&w->env, &c, &w->e), 0);
        for (unsigned i = 0; i < LIMIT_RECOVERY_TRIES + 1; i++)
                type(w, 1, "nonsense\r");
        assert_int_equal(console_ask_key(c, "Key: ", 5, compare, w, &w->e), -EINVAL);
        assert_int_equal(w->attempts, 0);
        /* One line is left; then nobody answers. */
        assert_int_equal(console_ask_key(c, "Key: ", 1, compare, w, &w->e), -ETIMEDOUT);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void read_person(struct world *w, unsigned terminal, const char *said)
{
        struct pollfd p = {.fd = w->person[terminal], .events = POLLIN};
        char text[256];
        ssize_t n;

        assert_int_equal(poll(&p, 1, 5000), 1);
        n = read(w->person[terminal], text, sizeof(text) - 1);
        assert_true(n >= 0);
        text[n] = '\0';
        assert_string_equal(text, said);
}

static void all_consoles_are_told(void **state)
{
        struct world *w = *state;

        console_tell(&w->env, "one\n");
        for (unsigned i = 0; i < TERMINALS; i++)
                read_person(w, i, "one\r\n");
        /* What is no terminal gets nothing. */
        scratch_expect(&w->dir, "plain", "", 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(lines_come_from_any_console),
                TEST(other_events_are_noticed_meanwhile),
                TEST(nothing_is_echoed_and_settings_come_back),
                TEST(time_runs_out),
                TEST(long_lines_are_cut),
                TEST(hung_up_consoles_are_left_out),
                TEST(no_console_is_an_answer),
                TEST(person_may_give_up_at_a_terminal),
                TEST(asks_until_the_key_is_right),
                TEST(gives_up),
                TEST(all_consoles_are_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
