/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/archive_source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/scratch.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct scratch dir;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        assert_int_equal(file_make_dirs(dir.fd, "blobs/sha256", 0700), 0);
        assert_int_equal(file_make_dirs(dir.fd, "EFI/kairos", 0700), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void test_names(void **state)
{
        static const char *const good[] = {"oci-layout", "index.json", "blobs/sha256/" HEX,
                                           "blobs/sha512/" HEX HEX};
        static const char *const bad[] = {
                "",
                "manifest.json",
                "./index.json",
                "index.json/",
                "blobs/sha256/",
                "blobs/sha256/" HEX "0",
                "blobs/sha256/" HEX "/x",
                "blobs/sha512/" HEX,
                "blobs/sha256:" HEX,
                "blobs/md5/" HEX,
                "blobs//sha256/" HEX,
                "blobs/../blobs/sha256/" HEX,
                "blobs/sha256/../../../etc/passwd",
                "blobs/sha256/" HEX HEX HEX HEX,
                "/etc/passwd",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                assert_true(layout_name_valid(good[i]));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                struct error e = ERROR_INIT;

                if (layout_name_valid(bad[i]))
                        fail_msg("%s", bad[i]);
                assert_int_equal(layout_open(dir.fd, bad[i], &e), -EINVAL);
                assert_int_equal(e.class, ERROR_REFUSED);
        }
}

static void expect_content(int fd, const char *want)
{
        char text[64];
        ssize_t n;

        assert_true(fd >= 0);
        n = file_pread(fd, text, sizeof(text), 0);
        assert_int_equal(n, strlen(want));
        assert_memory_equal(text, want, strlen(want));
        close_p(&fd);
}

static void test_layout(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_false(layout_is(dir.fd, NULL));
        assert_int_equal(layout_open(dir.fd, "oci-layout", &e), -ENOENT);
        assert_int_equal(e.class, ERROR_REFUSED);
        scratch_put_text(&dir, "oci-layout", "layout");
        assert_true(layout_is(dir.fd, NULL));
        scratch_put_text(&dir, "blobs/sha256/" HEX, "blob");
        expect_content(layout_open(dir.fd, "blobs/sha256/" HEX, &e), "blob");
        /* not files */
        assert_int_equal(mkfifoat(dir.fd, "index.json", 0600), 0);
        assert_int_equal(layout_open(dir.fd, "index.json", &e), -EINVAL);
        assert_int_equal(unlinkat(dir.fd, "index.json", 0), 0);
        assert_int_equal(mkdirat(dir.fd, "index.json", 0700), 0);
        assert_int_equal(layout_open(dir.fd, "index.json", &e), -EINVAL);
        assert_int_equal(unlinkat(dir.fd, "index.json", AT_REMOVEDIR), 0);
        /* links, also to a place inside */
        assert_int_equal(symlinkat("oci-layout", dir.fd, "index.json"), 0);
        assert_int_equal(layout_open(dir.fd, "index.json", &e), -ELOOP);
        assert_int_equal(unlinkat(dir.fd, "blobs/sha256/" HEX, 0), 0);
        assert_int_equal(unlinkat(dir.fd, "blobs/sha256", AT_REMOVEDIR), 0);
        assert_int_equal(symlinkat("/tmp", dir.fd, "blobs/sha256"), 0);
        assert_int_equal(layout_open(dir.fd, "blobs/sha256/" HEX, &e), -ELOOP);
        assert_int_equal(e.class, ERROR_REFUSED);
}

static void test_tree(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(archive_tree_open(dir.fd, "EFI/kairos/norole.efi", &e), -ENOENT);
        assert_int_equal(e.class, ERROR_REFUSED);
        scratch_put_text(&dir, "EFI/kairos/NoRole.EFI", "one");
        expect_content(archive_tree_open(dir.fd, "EFI/kairos/norole.efi", &e), "one");
        expect_content(archive_tree_open(dir.fd, "efi/KAIROS/norole.efi", &e), "one");
        /* the exact one is preferred, among others one must be alone */
        scratch_put_text(&dir, "EFI/kairos/norole.efi", "two");
        expect_content(archive_tree_open(dir.fd, "EFI/kairos/norole.efi", &e), "two");
        assert_int_equal(archive_tree_open(dir.fd, "EFI/kairos/NOROLE.EFI", &e), -ENOTUNIQ);
        assert_int_equal(e.class, ERROR_REFUSED);
        /* not what is wanted */
        assert_int_equal(archive_tree_open(dir.fd, "EFI/kairos", &e), -EINVAL);
        assert_int_equal(archive_tree_open(dir.fd, "EFI/kairos/norole.efi/x", &e), -ENOENT);
        assert_int_equal(symlinkat("norole.efi", dir.fd, "EFI/kairos/link.efi"), 0);
        assert_int_equal(archive_tree_open(dir.fd, "EFI/kairos/link.efi", &e), -ELOOP);
        assert_int_equal(archive_tree_open(dir.fd, "EFI/kairos/LINK.efi", &e), -ELOOP);
        assert_int_equal(symlinkat("EFI", dir.fd, "alias"), 0);
        assert_int_equal(archive_tree_open(dir.fd, "alias/kairos/norole.efi", &e), -ELOOP);
        assert_int_equal(mkfifoat(dir.fd, "pipe", 0600), 0);
        assert_int_equal(archive_tree_open(dir.fd, "pipe", &e), -EINVAL);
}

static void test_tree_paths(void **state)
{
        static const char *const bad[] = {"",       "/",  "/EFI",       "EFI/",
                                          "EFI//x", "..", "EFI/../EFI", "./EFI"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                struct error e = ERROR_INIT;

                assert_int_equal(archive_tree_open(dir.fd, bad[i], &e), -EINVAL);
                assert_int_equal(e.class, ERROR_INTERNAL);
        }
        assert_true(archive_tree_open(-EBADF, "EFI", NULL) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_layout, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_tree, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_tree_paths, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
