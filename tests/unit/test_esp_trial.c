/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a confirmation back, cut at every step like the confirmation in test_esp.c. */
#include "tests/unit/esp_world.h"

#define ACTIVE "loader/entries/active.conf"
#define TRIAL "loader/entries/active+3-0.conf"

static void before(void)
{
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("active.conf", "0001", 2), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 1), 0);
}

/* The one entry there is: it must stay bootable on its own. */
static void before_alone(void)
{
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("active.conf", "0001", 2), 0);
}

/* What a cut while the counted file was written can leave. */
static void before_empty_twin(void)
{
        before();
        scratch_put_text(&dir, TRIAL, "");
}

static void before_torn_twin(void)
{
        char text[ENTRY_SIZE];

        before();
        entry_text("entry", "0001", 2, text);
        scratch_put(&dir, TRIAL, text, 20);
}

static void before_both(void)
{
        before();
        assert_int_equal(add_entry("active+3-0.conf", "0001", 2), 0);
}

static int put_on_trial(void)
{
        return esp_put_on_trial(&esp, "active.conf", 3, &error);
}

static void on_trial(void)
{
        char text[ENTRY_SIZE], file[NAME_MAX + 1];

        entry_text("entry", "0001", 2, text);
        scratch_expect(&dir, TRIAL, text, sizeof(text));
        assert_false(there(ACTIVE));
        assert_bootable(file);
        assert_string_equal(file, "active+3-0.conf");
}

static void test_cut(void **state)
{
        static void (*const starts[])(void) = {before, before_alone, before_empty_twin,
                                               before_torn_twin, before_both};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
                struct scenario s = {.before = starts[i],
                                     .run = put_on_trial,
                                     .after = on_trial,
                                     .always_bootable = true};

                cut_everywhere(&s, false);
                cut_everywhere(&s, true);
        }
}

/* There and back again. */
static int round_trip(void)
{
        int r = put_on_trial();

        return r == 0 ? esp_bless(&esp, "\\loader\\entries\\active+3-0.conf", &error) : r;
}

static void confirmed(void)
{
        char text[ENTRY_SIZE], file[NAME_MAX + 1];

        entry_text("entry", "0001", 2, text);
        scratch_expect(&dir, ACTIVE, text, sizeof(text));
        assert_false(there(TRIAL));
        assert_bootable(file);
        assert_string_equal(file, "active.conf");
}

static void test_round_trip(void **state)
{
        (void)state;
        before();
        assert_int_equal(round_trip(), 0);
        confirmed();
        assert_int_equal(round_trip(), 0);
        confirmed();
}

/* --- the try of a boot that waits for a person --- */

#define NOW "loader/entries/active+2-1.conf"
#define NOW_PATH "\\loader\\entries\\active+2-1.conf"

static void in_a_boot(void)
{
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("active+2-1.conf", "0001", 2), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 1), 0);
}

static void in_a_boot_alone(void)
{
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("active+2-1.conf", "0001", 2), 0);
}

static void in_a_boot_torn(void)
{
        char text[ENTRY_SIZE];

        in_a_boot();
        entry_text("entry", "0001", 2, text);
        scratch_put(&dir, TRIAL, text, 20);
}

static int return_try(void)
{
        return esp_return_try(&esp, NOW_PATH, &error);
}

static void try_is_back(void)
{
        char text[ENTRY_SIZE], file[NAME_MAX + 1];

        entry_text("entry", "0001", 2, text);
        scratch_expect(&dir, TRIAL, text, sizeof(text));
        assert_false(there(NOW));
        assert_bootable(file);
        assert_string_equal(file, "active+3-0.conf");
}

static void waiting(void)
{
        before_alone();
        assert_int_equal(esp_put_on_trial(&esp, "active.conf", 3, &error), 0);
}

static int take_try(void)
{
        return esp_take_try(&esp, NOW_PATH, &error);
}

static void try_is_taken(void)
{
        char text[ENTRY_SIZE];

        entry_text("entry", "0001", 2, text);
        scratch_expect(&dir, NOW, text, sizeof(text));
        assert_false(there(TRIAL));
}

static void test_try_cut(void **state)
{
        static void (*const starts[])(void) = {in_a_boot, in_a_boot_alone, in_a_boot_torn};
        const struct scenario take = {
                .before = waiting, .run = take_try, .after = try_is_taken, .always_bootable = true};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
                struct scenario back = {.before = starts[i],
                                        .run = return_try,
                                        .after = try_is_back,
                                        .always_bootable = true};
                cut_everywhere(&back, false);
                cut_everywhere(&back, true);
        }
        cut_everywhere(&take, false);
        cut_everywhere(&take, true);
}

/* What confirms the boot later finds the name that the boot loader told. */
static void test_try_taken_and_confirmed(void **state)
{
        (void)state;
        in_a_boot();
        assert_int_equal(return_try(), 0);
        assert_int_equal(take_try(), 0);
        assert_int_equal(esp_bless(&esp, NOW_PATH, &error), 0);
        assert_true(there(ACTIVE));
        assert_false(there(NOW) || there(TRIAL));
}

static void test_try_refuses(void **state)
{
        (void)state;
        in_a_boot();
        assert_int_equal(esp_return_try(&esp, "\\loader\\entries\\active.conf", &error), -EINVAL);
        assert_int_equal(esp_return_try(&esp, "\\loader\\entries\\active+9-1.conf", &error),
                         -EINVAL);
        assert_int_equal(esp_take_try(&esp, "\\loader\\entries\\other+2-1.conf", &error), -ENOENT);
        assert_true(there(NOW));
}

/* A trial that runs already keeps its counter: repeating gives no tries. */
static void check_kept(const char *file, const char *best)
{
        char selected[NAME_MAX + 1];

        before();
        assert_int_equal(add_entry(file, "0001", 2), 0);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(put_on_trial(), 0);
                assert_false(there(ACTIVE));
                assert_false(there(TRIAL));
                assert_bootable(selected);
                assert_string_equal(selected, best);
        }
}

static void test_keeps_counter(void **state)
{
        (void)state;
        check_kept("active+1-2.conf", "active+1-2.conf");
}

static void test_keeps_exhausted(void **state)
{
        (void)state;
        check_kept("active+0-3.conf", "passive.conf");
}

static void test_keeps_counter_of_any_case(void **state)
{
        (void)state;
        check_kept("ACTIVE+2-1.conf", "ACTIVE+2-1.conf");
}

static void test_no_tries(void **state)
{
        char file[NAME_MAX + 1];

        (void)state;
        before();
        assert_int_equal(esp_put_on_trial(&esp, "active.conf", 0, &error), 0);
        assert_true(there("loader/entries/active+0-0.conf"));
        assert_false(there(ACTIVE));
        assert_bootable(file);
        assert_string_equal(file, "passive.conf");
}

/* A newer image on trial is another matter: it keeps its name and its place. */
static void test_newer_on_trial(void **state)
{
        char text[ENTRY_SIZE];

        (void)state;
        before();
        assert_int_equal(add_entry("active+3-0.conf", "0001", 1), 0);
        assert_int_equal(put_on_trial(), -EEXIST);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        assert_true(there(ACTIVE));
        entry_text("entry", "0001", 1, text);
        scratch_expect(&dir, TRIAL, text, sizeof(text));
        assert_int_equal(esp_put_on_trial(&esp, "active.conf", 2, &error), 0);
        assert_true(there("loader/entries/active+2-0.conf"));
        assert_true(there(TRIAL));
        assert_false(there(ACTIVE));
}

static void test_refuses(void **state)
{
        static const struct {
                const char *file;
                unsigned tries;
                int result;
        } table[] = {
                {"", 3, -EINVAL},
                {"active", 3, -EINVAL},
                {".active.conf", 3, -EINVAL},
                {"auto-active.conf", 3, -EINVAL},
                {"../entries/active.conf", 3, -EINVAL},
                {ACTIVE, 3, -EINVAL},
                {"active+3-0.conf", 3, -EINVAL},
                {"active+3.conf", 3, -EINVAL},
                {"active.conf", ENTRY_TRIES_MAX + 1, -EINVAL},
                {"active.conf", UINT_MAX, -EINVAL},
                {"absent.conf", 3, -ENOENT},
                {"garbage.conf", 3, -EINVAL},
                {"nowhere.conf", 3, -EINVAL},
                {"half.conf", 3, -ENOENT}, /* its counted file leads nowhere */
        };

        (void)state;
        before();
        scratch_put_text(&dir, "loader/entries/garbage.conf", "garbage");
        scratch_put_text(&dir, "loader/entries/nowhere.conf", "efi /EFI/nowhere.efi\n");
        scratch_put_text(&dir, "loader/entries/half+3-0.conf", "efi /EFI/nowhere.efi\n");
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                faults_reset(-1, false);
                assert_int_equal(esp_put_on_trial(&esp, table[i].file, table[i].tries, &error),
                                 table[i].result);
                assert_int_equal(error.class, ERROR_PRECONDITION);
                assert_int_equal(faults.changes, 0);
        }
        assert_true(there(ACTIVE));
        assert_false(there(TRIAL));
        assert_int_equal(esp_put_on_trial(&esp, "active.conf", ENTRY_TRIES_MAX, &error), 0);
        assert_true(there("loader/entries/active+9-0.conf"));
}

/* Entries of other installers have any size. */
static void test_foreign(void **state)
{
        static const char text[] = "title x\nefi /EFI/kairos/usi-00000001.efi\n";

        (void)state;
        assert_int_equal(add_image(1), 0);
        scratch_put_text(&dir, ACTIVE, text);
        assert_int_equal(put_on_trial(), 0);
        scratch_expect(&dir, TRIAL, text, sizeof(text) - 1);
        assert_false(there(ACTIVE));
}

/* A file that cannot be deleted safely stays, beside its counted twin. */
static int one_cluster(int fd, uint64_t offset, uint64_t *ret)
{
        (void)fd;
        (void)offset;
        *ret = 7;
        return 0;
}

static void test_cross_link(void **state)
{
        (void)state;
        before();
        esp.clusters = one_cluster;
        assert_int_equal(put_on_trial(), -EUCLEAN);
        assert_true(there(ACTIVE));
        assert_true(there(TRIAL));
        esp.clusters = NULL;
        assert_int_equal(put_on_trial(), 0);
        on_trial();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cut),
                CASE(test_round_trip),
                CASE(test_keeps_counter),
                CASE(test_keeps_exhausted),
                CASE(test_keeps_counter_of_any_case),
                CASE(test_no_tries),
                CASE(test_newer_on_trial),
                cmocka_unit_test(test_try_cut),
                CASE(test_try_taken_and_confirmed),
                CASE(test_try_refuses),
                CASE(test_refuses),
                CASE(test_foreign),
                CASE(test_cross_link),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
