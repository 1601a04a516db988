/* SPDX-License-Identifier: Apache-2.0 */
/* The PIN of an installation: from a file, or typed twice on a pseudo terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/install_pin.h"
#include "tests/unit/scratch.h"

struct world {
        struct scratch dir;
        char path[96];
        struct env env;
        int person;
        struct error e;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        char name[64], link[96];

        assert_non_null(w);
        *state = w;
        scratch_make(&w->dir);
        (void)snprintf(w->path, sizeof(w->path), "%s/pin", w->dir.path);
        w->env = (struct env)ENV_INIT;
        w->env.dev = w->dir.path;
        w->person = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(w->person >= 0);
        assert_int_equal(grantpt(w->person) | unlockpt(w->person), 0);
        assert_int_equal(ptsname_r(w->person, name, sizeof(name)), 0);
        (void)snprintf(link, sizeof(link), "%s/tty", w->dir.path);
        assert_int_equal(symlink(name, link), 0);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        close_p(&w->person);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

static int from_file(struct world *w, const char *text, struct secret **ret)
{
        const struct install_pin_wishes wishes = {.file = w->path};

        scratch_put_text(&w->dir, "pin", text);
        return install_pin_read(&w->env, &wishes, ret, &w->e);
}

static void first_line_of_a_file(void **state)
{
        static const char *const texts[] = {"12 34", "12 34\n", "12 34\r\n"};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                _cleanup_(secret_free_p) struct secret *pin = NULL;

                assert_int_equal(from_file(w, texts[i], &pin), 0);
                assert_int_equal(pin->len, 5);
                assert_memory_equal(pin->data, "12 34", 5);
        }
}

static void files_that_hold_no_pin(void **state)
{
        struct world *w = *state;
        struct secret *pin = NULL;
        char longer[200];

        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        assert_int_equal(from_file(w, "", &pin), -EINVAL);
        assert_int_equal(from_file(w, "123\n", &pin), -EINVAL);
        assert_int_equal(from_file(w, "1234\n5678\n", &pin), -EINVAL);
        assert_int_equal(from_file(w, longer, &pin), -EINVAL);
        assert_int_equal(w->e.class, ERROR_USAGE);
        assert_int_equal(unlink(w->path), 0);
        assert_int_equal(install_pin_read(&w->env, &(struct install_pin_wishes){.file = w->path},
                                          &pin, &w->e),
                         -ENOENT);
        assert_int_equal(install_pin_read(&w->env,
                                          &(struct install_pin_wishes){.ask = true, .file = "x"},
                                          &pin, &w->e),
                         -EINVAL);
        assert_null(pin);
        assert_int_equal(
                install_pin_read(&w->env, &(struct install_pin_wishes){.ask = false}, &pin, &w->e),
                0);
        assert_null(pin);
}

static void standard_input(void **state)
{
        struct world *w = *state;
        const struct install_pin_wishes wishes = {.file = "-"};
        _cleanup_(secret_free_p) struct secret *pin = NULL;
        int before = dup(STDIN_FILENO), ends[2];

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(file_write(ends[1], "open ", 5), 0);
        assert_int_equal(file_write(ends[1], "sesame\n", 7), 0);
        assert_int_equal(close(ends[1]), 0);
        assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
        assert_int_equal(install_pin_read(&w->env, &wishes, &pin, &w->e), 0);
        assert_int_equal(dup2(before, STDIN_FILENO), STDIN_FILENO);
        assert_int_equal(close(before) | close(ends[0]), 0);
        assert_int_equal(pin->len, 11);
        assert_memory_equal(pin->data, "open sesame", 11);
}

/* One that is there already may be of another program's kind. */
static void known_one(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *pin = NULL;

        scratch_put_text(&w->dir, "pin", "1\n");
        assert_int_equal(install_pin_known(&w->env, w->path, &pin, &w->e), 0);
        assert_int_equal(pin->len, 1);
}

/* What is typed before the question is thrown away: so each line waits for its own. */
static int typed(struct world *w, const char *first, const char *second, struct secret **ret)
{
        const struct install_pin_wishes wishes = {.ask = true};
        pid_t pid = fork();
        int r;

        assert_true(pid >= 0);
        if (pid == 0) {
                const char *const lines[] = {first, second};
                char seen[1024];
                size_t n = 0;

                for (unsigned i = 0; i < 2; i++) {
                        const char *question = i == 0 ? "not shown): " : "same again: ";

                        for (;;) {
                                ssize_t got = read(w->person, seen + n, sizeof(seen) - 1 - n);

                                if (got <= 0)
                                        _exit(1);
                                n += (size_t)got;
                                seen[n] = '\0';
                                if (strstr(seen, question))
                                        break;
                        }
                        if (file_write(w->person, lines[i], strlen(lines[i])) < 0 ||
                            file_write(w->person, "\r", 1) < 0)
                                _exit(1);
                }
                _exit(0);
        }
        r = install_pin_read(&w->env, &wishes, ret, &w->e);
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        return r;
}

static void typed_twice(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *pin = NULL, *none = NULL;

        assert_int_equal(typed(w, "open sesame", "open sesame", &pin), 0);
        assert_int_equal(pin->len, 11);
        assert_memory_equal(pin->data, "open sesame", 11);
        assert_int_equal(typed(w, "open sesame", "open sesamf", &none), -EINVAL);
        assert_int_equal(typed(w, "abc", "abc", &none), -EINVAL);
        assert_int_equal(w->e.class, ERROR_USAGE);
        assert_null(none);
}

static void without_a_terminal(void **state)
{
        struct world *w = *state;
        char link[96];
        struct secret *pin = NULL;

        (void)snprintf(link, sizeof(link), "%s/tty", w->dir.path);
        assert_int_equal(unlink(link), 0);
        assert_int_equal(
                install_pin_read(&w->env, &(struct install_pin_wishes){.ask = true}, &pin, &w->e),
                -ENOTTY);
        assert_non_null(strstr(w->e.advice, "--pin-file"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(first_line_of_a_file), CASE(files_that_hold_no_pin),
                CASE(standard_input),       CASE(known_one),
                CASE(typed_twice),          CASE(without_a_terminal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
