/* SPDX-License-Identifier: Apache-2.0 */
/* The swap file: as mkswap makes it, and made again only when another size is wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <blkid/blkid.h>

#include "partition/swap.h"
#include "tests/unit/scratch.h"

#define NAME ".swap"

struct world {
        struct scratch s;
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->s);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        scratch_clean(&w->s);
        free(w);
        return 0;
}

static int prepare(struct world *w, uint64_t size)
{
        int r = swap_prepare(w->s.fd, NAME, size, &w->e);

        /* Where scratch folders are on a file system that cannot allocate. */
        if (r == -EOPNOTSUPP)
                skip();
        return r;
}

static struct stat look(struct world *w)
{
        struct stat st;

        assert_int_equal(fstatat(w->s.fd, NAME, &st, AT_SYMLINK_NOFOLLOW), 0);
        return st;
}

static void blkid_takes_it_for_swap(void **state)
{
        struct world *w = *state;
        char path[96];
        const char *type;
        blkid_probe probe;

        assert_int_equal(prepare(w, 2 * MIB + 1), 1);
        assert_int_equal(look(w).st_size, 2 * MIB); /* whole pages */
        assert_int_equal(look(w).st_mode, S_IFREG | 0600);
        assert_true((uint64_t)look(w).st_blocks * 512 >= 2 * MIB); /* no holes */
        (void)snprintf(path, sizeof(path), "%s/" NAME, w->s.path);
        probe = blkid_new_probe_from_filename(path);
        assert_non_null(probe);
        assert_int_equal(blkid_do_safeprobe(probe), 0);
        assert_int_equal(blkid_probe_lookup_value(probe, "TYPE", &type, NULL), 0);
        assert_string_equal(type, "swap");
        blkid_free_probe(probe);
}

static void same_size_is_left_alone(void **state)
{
        struct world *w = *state;
        ino_t first;

        assert_int_equal(prepare(w, 2 * MIB), 1);
        first = look(w).st_ino;
        assert_int_equal(prepare(w, 2 * MIB), 0);
        assert_int_equal(look(w).st_ino, first);
}

static void what_does_not_fit_is_made_again(void **state)
{
        struct world *w = *state;

        assert_int_equal(prepare(w, 2 * MIB), 1);
        assert_int_equal(prepare(w, 3 * MIB), 1);
        assert_int_equal(look(w).st_size, 3 * MIB);
        /* No header, a file that others can read, a link. */
        scratch_put_text(&w->s, NAME, "nonsense");
        assert_int_equal(prepare(w, 3 * MIB), 1);
        assert_int_equal(fchmodat(w->s.fd, NAME, 0644, 0), 0);
        assert_int_equal(prepare(w, 3 * MIB), 1);
        assert_int_equal(look(w).st_mode, S_IFREG | 0600);
        assert_int_equal(unlinkat(w->s.fd, NAME, 0), 0);
        assert_int_equal(symlinkat("other", w->s.fd, NAME), 0);
        scratch_put_text(&w->s, "other", "somebody's");
        assert_int_equal(prepare(w, 3 * MIB), 1);
        assert_true(S_ISREG(look(w).st_mode));
        scratch_expect(&w->s, "other", "somebody's", 10);
}

/* A cut while it was being made. */
static void unfinished_file_is_replaced(void **state)
{
        struct world *w = *state;

        scratch_put_text(&w->s, NAME ".new", "torn");
        assert_int_equal(prepare(w, 2 * MIB), 1);
        assert_false(file_exists(w->s.fd, NAME ".new"));
}

static void sizes_that_cannot_be_are_refused(void **state)
{
        struct world *w = *state;

        assert_int_equal(prepare(w, 4096), -EINVAL);
        assert_int_equal(prepare(w, UINT64_C(1) << 62), -EINVAL);
        assert_int_equal(prepare(w, UINT64_C(15) << 40), -ENOSPC);
        assert_int_equal(w->e.class, ERROR_SPACE);
        assert_false(file_exists(w->s.fd, NAME));
}

static void unwanted_file_is_removed(void **state)
{
        struct world *w = *state;

        assert_int_equal(prepare(w, 2 * MIB), 1);
        assert_int_equal(swap_remove(w->s.fd, NAME, &w->e), 0);
        assert_false(file_exists(w->s.fd, NAME));
        assert_int_equal(swap_remove(w->s.fd, NAME, &w->e), 0);
        /* The twin: what somebody else keeps under that name. */
        scratch_put_text(&w->s, NAME, "notes");
        assert_int_equal(swap_remove(w->s.fd, NAME, &w->e), 0);
        assert_true(file_exists(w->s.fd, NAME));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(blkid_takes_it_for_swap, set_up, tear_down),
                cmocka_unit_test_setup_teardown(same_size_is_left_alone, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_does_not_fit_is_made_again, set_up, tear_down),
                cmocka_unit_test_setup_teardown(unfinished_file_is_replaced, set_up, tear_down),
                cmocka_unit_test_setup_teardown(sizes_that_cannot_be_are_refused, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(unwanted_file_is_removed, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
