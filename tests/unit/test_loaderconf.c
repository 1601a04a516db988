/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/esp_world.h"

#include "base/limits.h"
#include "upgrade/loaderconf.h"

static void test_merge(void **state)
{
        static const struct {
                const char *text, *merged;
        } table[] = {
                {loaderconf_default, loaderconf_default},
                {loaderconf_enroll, loaderconf_enroll},
                {"", loaderconf_default},
                {"default active.conf\ntimeout 5\neditor yes\nauto-entries no\nconsole-mode max\n",
                 "timeout 5\neditor no\nauto-entries no\nconsole-mode max\n"},
                {"# a comment\r\n\tdefault  x\r\n  editor\tNo\r\ntimeout 0\r\n",
                 "# a comment\r\n  editor\tNo\r\ntimeout 0\r\nauto-entries no\nconsole-mode "
                 "keep\n"},
                {"editor\ndefaults x\npreferred y\nrandom-seed-mode off",
                 "editor\ndefaults x\nrandom-seed-mode off\ntimeout menu-hidden\neditor no\n"
                 "auto-entries no\nconsole-mode keep\n"},
                {"editor 1\neditor off\ntimeout 3\nauto-entries yes\nconsole-mode keep\n",
                 "editor no\neditor off\ntimeout 3\nauto-entries yes\nconsole-mode keep\n"},
                {"default", loaderconf_default},
                {"\n\ntimeout 1\neditor no\nauto-entries no\nconsole-mode 2\n\n",
                 "\n\ntimeout 1\neditor no\nauto-entries no\nconsole-mode 2\n\n"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf once = BUF_INIT(4096), twice = BUF_INIT(4096);

                assert_int_equal(loaderconf_merge(table[i].text, strlen(table[i].text), &once),
                                 strcmp(table[i].text, table[i].merged) != 0);
                assert_string_equal(buf_str(&once), table[i].merged);
                assert_int_equal(loaderconf_merge(once.data, once.len, &twice), 0);
        }
}

static void test_merge_refuses(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(16);

        (void)state;
        assert_int_equal(loaderconf_merge("a\0b", 3, &out), -EBADMSG);
        assert_int_equal(loaderconf_merge("timeout 3\n", 10, &out), -E2BIG);
}

static void expect(const char *text)
{
        scratch_expect(&dir, LOADERCONF_PATH, text, strlen(text));
}

static void test_update(void **state)
{
        static char huge[LIMIT_LOADER_CONF + 2];
        bool changed = false;

        (void)state;
        assert_int_equal(loaderconf_update(&esp, &changed, &error), 0);
        assert_true(changed);
        expect(loaderconf_default);
        assert_int_equal(loaderconf_update(&esp, &changed, &error), 0);
        assert_false(changed);
        scratch_put_text(&dir, LOADERCONF_PATH, "default x\n");
        assert_int_equal(loaderconf_update(&esp, &changed, &error), 0);
        assert_true(changed);
        expect(loaderconf_default);
        memset(huge, '#', sizeof(huge) - 1);
        scratch_put_text(&dir, LOADERCONF_PATH, huge);
        assert_int_equal(loaderconf_update(&esp, &changed, &error), 0);
        expect(loaderconf_default);
        scratch_put(&dir, LOADERCONF_PATH, "a\0b", 3);
        assert_int_equal(loaderconf_update(&esp, NULL, &error), 0);
        expect(loaderconf_default);
        assert_false(there("loader/TBAGENT0.TMP"));
}

/* --- cut ------------------------------------------------------------------------------------- */

static const char before_text[] = "default active.conf\ntimeout 9\n";
static const char after_text[] = "timeout 9\neditor no\nauto-entries no\nconsole-mode keep\n";

/* At every moment the file is whole: one of the two. */
static void check_whole(void)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(4096);

        assert_int_equal(file_read(dir.fd, LOADERCONF_PATH, &text), 0);
        assert_true(strcmp(buf_str(&text), before_text) == 0 ||
                    strcmp(buf_str(&text), after_text) == 0);
}

static void test_cut(void **state)
{
        (void)state;
        for (int cut = 0;; cut++) {
                int r;

                (void)set_up(NULL);
                scratch_put_text(&dir, LOADERCONF_PATH, before_text);
                faults_reset(cut, true);
                r = loaderconf_update(&esp, NULL, &error);
                check_whole();
                if (faults.steps <= cut) {
                        assert_int_equal(r, 0);
                        assert_true(cut > 8);
                        (void)tear_down(NULL);
                        return;
                }
                assert_int_equal(r, -EIO);
                faults_reset(-1, false);
                assert_int_equal(loaderconf_update(&esp, NULL, &error), 0);
                expect(after_text);
                assert_false(there("loader/TBAGENT0.TMP"));
                assert_false(there("loader/TBAGENT1.TMP"));
                (void)tear_down(NULL);
        }
}

/* --- cross-links, as a cut in the middle of the exchange leaves them ---------------------------
 */

/* A stand-in for the allocation table: files that begin with the same byte share a cluster. */
static int first_byte(int fd, uint64_t offset, uint64_t *ret)
{
        uint8_t c = 0;

        (void)offset;
        if (file_pread(fd, &c, 1, 0) < 0)
                return -EIO;
        *ret = c;
        return 0;
}

/* The record of the file was written, that of the temporary name was not: both are the new one. The
 * file gets clusters of its own, the names that share are left for fsck.vfat. */
static void test_cross_link(void **state)
{
        struct stat before, after;

        (void)state;
        scratch_put_text(&dir, LOADERCONF_PATH, after_text);
        scratch_put_text(&dir, "loader/TBAGENT0.TMP", after_text);
        assert_int_equal(fstatat(dir.fd, LOADERCONF_PATH, &before, 0), 0);
        esp.clusters = first_byte;
        assert_int_equal(loaderconf_update(&esp, NULL, &error), 0);
        esp.clusters = NULL;
        assert_int_equal(fstatat(dir.fd, LOADERCONF_PATH, &after, 0), 0);
        assert_true(before.st_ino != after.st_ino);
        expect(after_text);
        assert_true(there("loader/TBAGENT0.TMP"));
        assert_true(there("loader/TBAGENT1.TMP"));
        /* After a repair the leftovers go. */
        assert_int_equal(loaderconf_update(&esp, NULL, &error), 0);
        assert_false(there("loader/TBAGENT0.TMP"));
        assert_false(there("loader/TBAGENT1.TMP"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_merge),           CASE(test_merge_refuses), CASE(test_update),
                cmocka_unit_test(test_cut), CASE(test_cross_link),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
