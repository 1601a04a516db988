/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent of a fetch against a child that was taken over. The real sandbox runs, with a main()
 * of this file in the place of upgrade/fetch_child.c.
 */
#include "upgrade/fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/limits.h"
#include "base/log.h"
#include "upgrade/fetch_child.h"

/* Longer than anything here takes, and then the test has failed. */
#define PATIENCE 20u

static const struct env env = ENV_INIT;

/* What the child does, decided before it is started. */
static enum {
        SENDS_NOTES,  /* for ever, instead of an answer */
        SENDS_DATA,   /* of an image without an end */
        OFFERS_AGAIN, /* at the begin of every transfer: others can be had */
} habit;

static int send_frame(int pipe, enum wire_type type, const void *data, size_t n)
{
        const struct wire_header h = {.type = type, .length = (uint32_t)n, .spooled = 1};

        return wire_send(pipe, &h, data);
}

static int behave(int pipe, const struct wire_command *command)
{
        struct wire_error w = {.class = ERROR_REFUSED, .code = EBADMSG, .again = 1, .text = "no"};
        static const uint8_t data[LIMIT_FETCH_FRAME];
        struct wire_info info;
        int r = 0;

        memset(&info, 0, sizeof(info));
        if (habit == SENDS_NOTES) {
                while (r == 0)
                        r = send_frame(pipe, WIRE_NOTE, &w, sizeof(w));
        } else if (command->kind == WIRE_RESOLVE) {
                r = send_frame(pipe, WIRE_INFO, &info, sizeof(info));
        } else if (habit == SENDS_DATA) {
                while (r == 0)
                        r = send_frame(pipe, WIRE_DATA, data, sizeof(data));
        } else {
                r = send_frame(pipe, WIRE_ERROR, &w, sizeof(w));
        }
        return r;
}

int fetch_child_main(void *ctx, const int *fds)
{
        struct wire_command command;

        (void)ctx;
        while (wire_receive(fds[FETCH_CHILD_CONTROL], &command, sizeof(command), NULL, 0) > 0) {
                if (behave(fds[FETCH_CHILD_PIPE], &command) < 0)
                        return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

/* --- the parent ------------------------------------------------------------------------------ */

struct world {
        struct source_name name;
        struct fetch *fetch;
        struct error error;
};

static int set_up(void **state)
{
        static struct world w;

        w = (struct world){.fetch = NULL};
        *state = &w;
        log_set_level(LOG_LEVEL_ERROR);
        (void)alarm(PATIENCE);
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        (void)alarm(0);
        fetch_free(w->fetch);
        source_name_done(&w->name);
        return 0;
}

static void start(struct world *w)
{
        const struct fetch_options options = {.env = &env, .spool = -EBADF};

        assert_int_equal(source_name_parse("https://localhost/image.efi", &w->name, &w->error), 0);
        assert_int_equal(fetch_open(&w->name, &options, &w->fetch, &w->error), 0);
}

/* A log is not filled by it. */
static void test_endless_notes(void **state)
{
        struct world *w = *state;
        const struct fetch_info *info;

        habit = SENDS_NOTES;
        start(w);
        assert_int_equal(fetch_resolve(w->fetch, &info, &w->error), -EPROTO);
        assert_int_equal(w->error.class, ERROR_REFUSED);
}

/* The verifier has seen enough, and what is left has no end. */
static void test_endless_data(void **state)
{
        struct world *w = *state;
        const struct fetch_info *info;
        uint8_t byte;

        habit = SENDS_DATA;
        start(w);
        assert_int_equal(fetch_resolve(w->fetch, &info, &w->error), 0);
        assert_int_equal(fetch_begin(w->fetch, 0, &w->error), 0);
        assert_int_equal(fetch_read(w->fetch, &byte, 1, &w->error), 1);
        assert_false(fetch_again(w->fetch));
}

/* There is nobody else to take the bytes from, whatever the child says. */
static void test_offers_end(void **state)
{
        struct world *w = *state;
        const struct fetch_info *info;
        unsigned begun = 0;
        uint8_t byte;

        habit = OFFERS_AGAIN;
        start(w);
        assert_int_equal(fetch_resolve(w->fetch, &info, &w->error), 0);
        do {
                assert_true(begun++ < 10);
                assert_int_equal(fetch_begin(w->fetch, 0, &w->error), 0);
                assert_int_equal(fetch_read(w->fetch, &byte, 1, &w->error), -EBADMSG);
        } while (fetch_again(w->fetch));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {

                CASE(test_endless_notes),
                CASE(test_endless_data),
                CASE(test_offers_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
