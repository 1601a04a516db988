/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "tests/unit/scratch.h"

static struct scratch dir;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void make_dir(const char *path)
{
        assert_int_equal(file_make_dirs(dir.fd, path, 0755), 0);
}

static void expect_paths(const struct tree *t, const char *const paths[])
{
        size_t i;

        for (i = 0; paths[i]; i++) {
                assert_non_null(tree_at(t, i));
                assert_string_equal(tree_at(t, i)->path, paths[i]);
        }
        assert_null(tree_at(t, i));
}

/* Directories before their content, the root before names that sort below ".". */
static void test_order(void **state)
{
        static const char *const paths[] = {".",   "!",     "-",   "a",        "a-b",
                                            "a/b", "a/b/c", "a/c", "\xc3\xa4", NULL};
        _cleanup_(tree_free_p) struct tree *t = NULL;

        (void)state;
        make_dir("a/b");
        for (size_t i = 0; paths[i]; i++)
                if (!file_exists(dir.fd, paths[i]))
                        scratch_put_text(&dir, paths[i], "x");
        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        expect_paths(t, paths);
        for (uint64_t i = 0; paths[i]; i++)
                assert_int_equal(tree_at(t, i)->number, i + 1);
}

static void test_links_are_not_followed(void **state)
{
        static const char *const paths[] = {".", "link", "loop", NULL};
        _cleanup_(tree_free_p) struct tree *t = NULL;

        (void)state;
        assert_int_equal(symlinkat("/etc", dir.fd, "link"), 0);
        assert_int_equal(symlinkat(".", dir.fd, "loop"), 0);
        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        expect_paths(t, paths);
        assert_string_equal(tree_at(t, 1)->link, "/etc");
        assert_true(S_ISLNK(tree_at(t, 1)->mode));
}

/* Names outside of the tree do not count as links, names inside share one number. */
static void test_hard_links(void **state)
{
        _cleanup_(tree_free_p) struct tree *t = NULL;
        const struct tree_entry *a, *c, *d, *z;
        char *root = NULL;

        (void)state;
        make_dir("root");
        scratch_put_text(&dir, "root/a", "shared");
        scratch_put_text(&dir, "outside", "x");
        assert_int_equal(linkat(dir.fd, "root/a", dir.fd, "root/z", 0), 0);
        assert_int_equal(linkat(dir.fd, "root/a", dir.fd, "root/c", 0), 0);
        assert_int_equal(linkat(dir.fd, "outside", dir.fd, "root/d", 0), 0);
        assert_true(asprintf(&root, "%s/root", dir.path) > 0);
        assert_int_equal(tree_scan(root, &t, NULL), 0);
        free(root);
        a = tree_at(t, 1);
        c = tree_at(t, 2);
        d = tree_at(t, 3);
        z = tree_at(t, 4);
        assert_string_equal(z->path, "z");
        assert_int_equal(a->links, 3);
        assert_int_equal(d->links, 1);
        assert_int_equal(a->number, 2);
        assert_int_equal(c->number, 2);
        assert_int_equal(d->number, 3);
        assert_int_equal(z->number, 2);
        assert_false(a->last_link);
        assert_false(c->last_link);
        assert_true(d->last_link);
        assert_true(z->last_link);
}

static void test_facts(void **state)
{
        _cleanup_(tree_free_p) struct tree *t = NULL;
        const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000, .tv_nsec = 9}};
        const struct tree_entry *f;

        (void)state;
        scratch_put_text(&dir, "file", "12345");
        assert_int_equal(fchmodat(dir.fd, "file", 04750, 0), 0);
        assert_int_equal(utimensat(dir.fd, "file", times, 0), 0);
        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        f = tree_at(t, 1);
        assert_int_equal(f->mode, S_IFREG | 04750);
        assert_int_equal(f->size, 5);
        assert_int_equal(f->mtime, 1000);
        assert_int_equal(f->uid, geteuid());
}

static void test_sockets_are_left_out(void **state)
{
        static const char *const paths[] = {".", "pipe", NULL};
        _cleanup_(tree_free_p) struct tree *t = NULL;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)state;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir.path);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(mkfifoat(dir.fd, "pipe", 0600), 0);
        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        expect_paths(t, paths);
}

static void test_open(void **state)
{
        _cleanup_(tree_free_p) struct tree *t = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct error e = ERROR_INIT;

        (void)state;
        make_dir("sub");
        scratch_put_text(&dir, "sub/file", "12345");
        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        fd = tree_open(t, tree_at(t, 2), NULL);
        assert_true(fd >= 0);
        /* The very file, but by way of a link. */
        assert_int_equal(renameat(dir.fd, "sub", dir.fd, "moved"), 0);
        assert_int_equal(symlinkat("moved", dir.fd, "sub"), 0);
        assert_int_equal(tree_open(t, tree_at(t, 2), NULL), -ELOOP);
        assert_int_equal(unlinkat(dir.fd, "sub", 0), 0);
        assert_int_equal(renameat(dir.fd, "moved", dir.fd, "sub"), 0);
        /* Grown, then replaced by a link to somewhere else: not the file that was found. */
        scratch_put_text(&dir, "sub/file", "123456");
        assert_int_equal(tree_open(t, tree_at(t, 2), &e), -ESTALE);
        assert_int_equal(e.class, ERROR_BUSY);
        assert_int_equal(unlinkat(dir.fd, "sub/file", 0), 0);
        assert_int_equal(symlinkat("/etc/passwd", dir.fd, "sub/file"), 0);
        assert_true(tree_open(t, tree_at(t, 2), NULL) < 0);
        assert_int_equal(unlinkat(dir.fd, "sub/file", 0), 0);
        assert_int_equal(unlinkat(dir.fd, "sub", AT_REMOVEDIR), 0);
        assert_int_equal(symlinkat("/etc", dir.fd, "sub"), 0);
        assert_true(tree_open(t, tree_at(t, 2), NULL) < 0);
}

static void test_no_directory(void **state)
{
        struct tree *t = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(tree_scan("/nonexistent", &t, &e), -ENOENT);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_int_equal(tree_scan("/etc/passwd", &t, &e), -ENOTDIR);
        assert_null(t);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_hard_links, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_facts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sockets_are_left_out, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_open, set_up, tear_down),
                cmocka_unit_test(test_no_directory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
