/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are continued, entries that are set whatever is there, and exchanges. */
#include "tests/unit/esp_world.h"

#include "base/limits.h"

#define PATH ESP_IMAGE_DIR "/usi-00000001.efi"

/* --- continued ------------------------------------------------------------------------------- */

static struct esp_writer *resume(uint64_t max_size, uint64_t expected)
{
        struct esp_writer *w = NULL;
        uint64_t size = 99;

        assert_int_equal(esp_writer_resume(&esp, PATH, max_size, &w, &size, &error), 0);
        assert_int_equal(size, expected);
        return w;
}

static void test_resume(void **state)
{
        uint8_t expect[SHA256_SIZE], got[SHA256_SIZE];
        char buffer[16];
        struct esp_writer *w;
        uint64_t size = 0;

        (void)state;
        assert_int_equal(sha256("abcdefgh", 8, expect), 0);
        /* Nothing there: begun. */
        w = resume(8, 0);
        assert_int_equal(esp_writer_replay(w, buffer, sizeof(buffer), &error), 0);
        assert_int_equal(esp_writer_write(w, "abcde", 5, &error), 0);
        assert_int_equal(esp_writer_keep(w, &error), 0);
        scratch_expect(&dir, PATH, "abcde", 5);
        /* Read first, then written. */
        w = resume(8, 5);
        assert_int_equal(esp_writer_write(w, "fgh", 3, &error), -EBUSY);
        assert_int_equal(esp_writer_finish(w, NULL, NULL, NULL, &error), -EBUSY);
        assert_int_equal(esp_writer_replay(w, buffer, 3, &error), 3);
        assert_memory_equal(buffer, "abc", 3);
        assert_int_equal(esp_writer_write(w, "fgh", 3, &error), -EBUSY);
        assert_int_equal(esp_writer_replay(w, buffer, sizeof(buffer), &error), 2);
        assert_memory_equal(buffer, "de", 2);
        assert_int_equal(esp_writer_replay(w, buffer, sizeof(buffer), &error), 0);
        assert_int_equal(esp_writer_write(w, "fghi", 4, &error), -EFBIG);
        assert_int_equal(esp_writer_write(w, "fgh", 3, &error), 0);
        assert_int_equal(esp_writer_finish(w, expect, got, &size, &error), 0);
        assert_memory_equal(got, expect, SHA256_SIZE);
        assert_int_equal(esp_writer_write(w, "", 0, &error), -EBUSY);
        esp_writer_free(w);
        assert_int_equal(size, 8);
        scratch_expect(&dir, PATH, "abcdefgh", 8);
}

static void test_resume_ends(void **state)
{
        char buffer[16];
        struct esp_writer *w;

        (void)state;
        /* Kept before it was read: as it was. */
        scratch_put_text(&dir, PATH, "abcde");
        assert_int_equal(esp_writer_keep(resume(8, 5), &error), 0);
        scratch_expect(&dir, PATH, "abcde", 5);
        /* Too long, or empty: begun anew, and nothing stays of nothing. */
        w = resume(4, 0);
        assert_int_equal(esp_writer_write(w, "xy", 2, &error), 0);
        assert_int_equal(esp_writer_keep(w, &error), 0);
        scratch_expect(&dir, PATH, "xy", 2);
        scratch_put_text(&dir, PATH, "");
        assert_int_equal(esp_writer_keep(resume(4, 0), &error), 0);
        assert_false(there(PATH));
        /* Complete already. */
        scratch_put_text(&dir, PATH, "abcd");
        w = resume(4, 4);
        assert_int_equal(esp_writer_replay(w, buffer, sizeof(buffer), &error), 4);
        assert_int_equal(esp_writer_finish(w, NULL, NULL, NULL, &error), 0);
        esp_writer_free(w);
        /* Given up. */
        esp_writer_free(resume(4, 4));
        assert_false(there(PATH));
}

/* A digest by the caller, whose word is compared with what the medium returns. */
static void test_callers_digest(void **state)
{
        uint8_t expect[SHA256_SIZE], got[SHA256_SIZE];
        struct esp_writer *w = NULL;

        (void)state;
        assert_int_equal(sha256("abc", 3, expect), 0);
        for (int right = 0; right < 2; right++) {
                assert_int_equal(esp_writer_begin(&esp, PATH, 8, &w, &error), 0);
                esp_writer_leave_digest(w);
                assert_int_equal(esp_writer_write(w, right ? "abc" : "abd", 3, &error), 0);
                assert_int_equal(esp_writer_finish(w, NULL, NULL, NULL, &error), -EINVAL);
                assert_int_equal(esp_writer_finish(w, expect, got, NULL, &error), right ? 0 : -EIO);
                esp_writer_free(TAKE_PTR(w));
                assert_int_equal(there(PATH), right);
        }
        assert_memory_equal(got, expect, SHA256_SIZE);
}

/* Longer than what is sent to the device at a time. */
static void test_long(void **state)
{
        static uint8_t chunk[MIB];
        _cleanup_(esp_writer_free_p) struct esp_writer *w = NULL;
        uint8_t got[SHA256_SIZE], found[SHA256_SIZE];
        uint64_t size = 0;

        (void)state;
        assert_int_equal(esp_writer_begin(&esp, PATH, 80 * MIB, &w, &error), 0);
        for (unsigned i = 0; i < 70; i++) {
                memset(chunk, (int)i, sizeof(chunk));
                assert_int_equal(esp_writer_write(w, chunk, sizeof(chunk), &error), 0);
        }
        assert_int_equal(esp_writer_finish(w, NULL, got, &size, &error), 0);
        assert_int_equal(size, 70 * MIB);
        assert_int_equal(esp_digest(&esp, PATH, found, &size, &error), 0);
        assert_memory_equal(found, got, SHA256_SIZE);
        assert_true(faults.steps >= 70 + 2 + 3); /* with a checkpoint */
}

/* --- entries --------------------------------------------------------------------------------- */

static const char odd[] = "title x\nefi /EFI/kairos/usi-00000002.efi\n";

static void before_absent(void)
{
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 1), 0);
}

static void before_ours(void)
{
        before_absent();
        assert_int_equal(add_entry("active.conf", "0001", 2), 0);
}

static void before_odd(void)
{
        before_absent();
        scratch_put_text(&dir, "loader/entries/active.conf", odd);
}

static void before_torn(void)
{
        before_absent();
        scratch_put_text(&dir, "loader/entries/active.conf", "");
}

static void before_nowhere(void)
{
        before_absent();
        scratch_put_text(&dir, "loader/entries/active.conf", "efi /EFI/nowhere.efi\n");
}

static void before_unreadable(void)
{
        static char huge[LIMIT_LOADER_ENTRY + 1];

        before_absent();
        scratch_put(&dir, "loader/entries/active.conf", huge, sizeof(huge));
}

static int set(void)
{
        char text[ENTRY_SIZE];
        int r;

        entry_text("entry", "0001", 1, text);
        r = esp_set_entry(&esp, "active.conf", text, &error);
        return r == 0 ? esp_drop_temporary(&esp, ESP_ENTRY_DIR, &error) : r;
}

static void is_set(void)
{
        char text[ENTRY_SIZE];

        entry_text("entry", "0001", 1, text);
        scratch_expect(&dir, "loader/entries/active.conf", text, sizeof(text));
        assert_false(there("loader/entries/TBAGENT0.TMP"));
}

static void test_set_entry(void **state)
{
        static void (*const starts[])(void) = {before_absent, before_ours,    before_odd,
                                               before_torn,   before_nowhere, before_unreadable};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
                struct scenario s = {.before = starts[i],
                                     .run = set,
                                     .after = is_set,
                                     .always_bootable = starts[i] != before_odd};

                cut_everywhere(&s, false);
                cut_everywhere(&s, true);
        }
}

static void test_set_entry_refuses(void **state)
{
        char text[ENTRY_SIZE], nowhere[ENTRY_SIZE];

        (void)state;
        before_odd();
        entry_text("a", "0001", 9, nowhere);
        entry_text("a", "0001", 1, text);
        assert_int_equal(esp_set_entry(&esp, "active.conf", nowhere, &error), -ENOENT);
        assert_int_equal(esp_set_entry(&esp, "../x.conf", text, &error), -EINVAL);
        assert_int_equal(esp_set_entry(&esp, "active.txt", text, &error), -EINVAL);
        scratch_expect(&dir, "loader/entries/active.conf", odd, strlen(odd));
}

/* A text that is only in a leftover of an exchange holds no image back. */
static void test_temporary_names_nothing(void **state)
{
        (void)state;
        before_absent();
        scratch_put_text(&dir, "loader/entries/TBAGENT3.TMP", odd);
        assert_int_equal(esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000002.efi", &error), 0);
        /* A number has no sign. */
        scratch_put_text(&dir, "loader/entries/TBAGENT-3.TMP",
                         "efi /EFI/kairos/usi-00000001.efi\n");
        assert_int_equal(esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000001.efi", &error), -EBUSY);
        scratch_put_text(&dir, "loader/entries/TBAGENT-3.TMP", "\n");
        scratch_put_text(&dir, "loader/entries/TBAGENT3.TMP.conf",
                         "efi /EFI/kairos/usi-00000001.efi\n");
        assert_int_equal(esp_remove(&esp, ESP_IMAGE_DIR "/usi-00000001.efi", &error), -EBUSY);
        assert_int_equal(esp_drop_temporary(&esp, ESP_ENTRY_DIR, &error), 0);
        assert_false(there("loader/entries/TBAGENT3.TMP"));
        assert_true(there("loader/entries/TBAGENT3.TMP.conf"));
        assert_int_equal(esp_drop_temporary(&esp, "EFI/none", &error), 0);
}

/* --- other small files ----------------------------------------------------------------------- */

static void test_exchange(void **state)
{
        static uint8_t big[LIMIT_BOOT_LOADER + 1];

        (void)state;
        assert_int_equal(esp_exchange_file(&esp, "EFI/x", "one", 3, &error), 0);
        scratch_expect(&dir, "EFI/x", "one", 3);
        faults_reset(-1, false);
        assert_int_equal(esp_exchange_file(&esp, "EFI/x", "one", 3, &error), 0);
        assert_int_equal(faults.changes, 0);
        assert_int_equal(esp_exchange_file(&esp, "EFI/x", "", 0, &error), 0);
        scratch_expect(&dir, "EFI/x", "", 0);
        assert_int_equal(esp_exchange_file(&esp, "EFI/x", big, sizeof(big) - 1, &error), 0);
        assert_int_equal(esp_exchange_file(&esp, "EFI/x", big, sizeof(big), &error), -EINVAL);
        assert_int_equal(esp_exchange_file(&esp, "loader/entries/a.conf", "x", 1, &error), -EINVAL);
        assert_int_equal(esp_exchange_file(&esp, "EFI/kairos", "x", 1, &error), -EINVAL);
        assert_false(there("EFI/TBAGENT0.TMP"));
}

static void test_sync(void **state)
{
        (void)state;
        assert_int_equal(esp_sync(&esp, &error), 0);
        faults.fail_what = "sync";
        assert_int_equal(esp_sync(&esp, &error), -EIO);
        assert_int_equal(error.class, ERROR_IO);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_resume),
                CASE(test_resume_ends),
                CASE(test_callers_digest),
                CASE(test_long),
                cmocka_unit_test(test_set_entry),
                CASE(test_set_entry_refuses),
                CASE(test_temporary_names_nothing),
                CASE(test_exchange),
                CASE(test_sync),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
