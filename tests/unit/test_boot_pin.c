/* SPDX-License-Identifier: Apache-2.0 */
/* The PIN at the start of a node, on a pseudo terminal that stands in for the console. */
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

#include "agent/boot.h"
#include "base/limits.h"
#include "base/log.h"
#include "tests/unit/scratch.h"

#define QUESTION "not shown): "

struct world {
        struct scratch dir;
        struct env env;
        struct boot boot;
        int person;
        int line; /* stays open: a terminal that nobody has open ends for the person */
        struct error e;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        char name[64], link[96];

        assert_non_null(w);
        *state = w;
        log_set_level(LOG_LEVEL_ERROR);
        scratch_make(&w->dir);
        w->env = (struct env)ENV_INIT;
        w->env.proc = w->env.dev = w->dir.path;
        w->boot = (struct boot){.env = &w->env, .entry.role = ENTRY_ROLE_ACTIVE};
        w->person = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(w->person >= 0);
        assert_int_equal(grantpt(w->person) | unlockpt(w->person), 0);
        assert_int_equal(ptsname_r(w->person, name, sizeof(name)), 0);
        w->line = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(w->line >= 0);
        (void)snprintf(link, sizeof(link), "%s/ttyT0", w->dir.path);
        assert_int_equal(symlink(name, link), 0);
        scratch_put_text(&w->dir, "consoles", "ttyT0                -W- (EC p a)    4:64\n");
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        secret_free(w->boot.pin.text);
        close_p(&w->line);
        close_p(&w->person);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

/* Answers the question with this, and checks that nothing of it is shown. */
static int ask(struct world *w, const char *wrong, const char *answer)
{
        pid_t pid = fork();
        int r, status;

        assert_true(pid >= 0);
        if (pid == 0) {
                char seen[2048] = "";
                size_t n = 0;

                while (!strstr(seen, QUESTION)) {
                        ssize_t got = read(w->person, seen + n, sizeof(seen) - 1 - n);

                        if (got <= 0)
                                _exit(1);
                        n += (size_t)got;
                        seen[n] = '\0';
                }
                if (file_write(w->person, answer, strlen(answer)) < 0)
                        _exit(1);
                _exit(wrong && !strstr(seen, wrong) ? 2 : 0);
        }
        r = boot_pin_ask(&w->boot, wrong, &w->e);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        return r;
}

static void tries_of_a_boot_are_few(void **state)
{
        struct world *w = *state;

        assert_int_equal(ask(w, NULL, "\r\r1234\r"), 0); /* an empty line is none */
        assert_int_equal(w->boot.pin.text->len, 4);
        assert_memory_equal(w->boot.pin.text->data, "1234", 4);
        for (unsigned i = 1; i < LIMIT_PIN_TRIES; i++)
                assert_int_equal(ask(w, "this is not the PIN", "12345\r"), 0);
        assert_false(w->boot.pin.given_up);
        assert_int_equal(boot_pin_ask(&w->boot, "this is not the PIN", &w->e), -EILSEQ);
        assert_true(w->boot.pin.given_up);
        assert_null(w->boot.pin.text);
        /* The other partitions do not ask again. */
        assert_int_equal(boot_pin_ask(&w->boot, NULL, &w->e), -ENOANO);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
}

static void recovery_goes_on_without(void **state)
{
        struct world *w = *state;

        w->boot.entry.role = ENTRY_ROLE_RECOVERY;
        assert_int_equal(ask(w, NULL, "\r"), -ENOANO);
        assert_true(w->boot.pin.given_up);
}

static void no_console_is_no_fault_of_the_image(void **state)
{
        struct world *w = *state;

        scratch_put_text(&w->dir, "consoles", "netcon0              -W- (E     )\n");
        assert_int_equal(boot_pin_ask(&w->boot, NULL, &w->e), -ENXIO);
        assert_true(w->boot.pin.given_up);
}

static void what_comes_later_is_the_images_fault(void **state)
{
        struct world *w = *state;

        scratch_put_text(&w->dir, "consoles", "netcon0              -W- (E     )\n");
        assert_int_equal(boot_pin_ask(&w->boot, NULL, &w->e), -ENXIO);
        /* The ESP cannot be had here: the try stays noted as returned. */
        w->boot.pin.try_returned = true;
        boot_pin_forget(&w->boot);
        assert_false(w->boot.pin.given_up);
        assert_true(w->boot.pin.try_returned);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(tries_of_a_boot_are_few),
                CASE(recovery_goes_on_without),
                CASE(no_console_is_no_fault_of_the_image),
                CASE(what_comes_later_is_the_images_fault),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
