/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>

#include "base/limits.h"
#include "tests/unit/scratch.h"

#define SIZE UINT64_C(100000)

static struct scratch dir;
static struct oci_digest one, two;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        assert_int_equal(oci_digest_of("1", 1, &one), 0);
        assert_int_equal(oci_digest_of("2", 1, &two), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static struct spool *open_spool(const struct oci_digest *d, uint64_t size)
{
        struct error e = ERROR_INIT;
        struct spool *s = NULL;

        if (spool_open(dir.fd, d, size, &s, &e) != 0)
                fail_msg("%s", e.text);
        return s;
}

/* Leaves a spool behind that has these bytes. */
static void leave(const struct oci_digest *d, const char *text)
{
        struct spool *s = open_spool(d, SIZE);

        assert_int_equal(spool_add(s, text, strlen(text), NULL), 0);
        spool_free(s);
}

static void expect_have(const struct oci_digest *d, uint64_t size, const char *text)
{
        struct spool *s = open_spool(d, size);
        char got[64];

        assert_int_equal(spool_have(s), strlen(text));
        assert_int_equal(spool_read(s, 0, got, sizeof(got), NULL), strlen(text));
        assert_memory_equal(got, text, strlen(text));
        spool_free(s);
}

static void test_continue(void **state)
{
        struct spool *s;
        char got[64];

        (void)state;
        leave(&one, "abc");
        expect_have(&one, SIZE, "abc");
        leave(&one, "def");
        expect_have(&one, SIZE, "abcdef");
        s = open_spool(&one, SIZE);
        assert_int_equal(spool_read(s, 4, got, 1, NULL), 1);
        assert_int_equal(got[0], 'e');
        assert_int_equal(spool_read(s, 4, got, sizeof(got), NULL), 2);
        assert_int_equal(spool_read(s, 6, got, sizeof(got), NULL), 0);
        assert_int_equal(spool_read(s, UINT64_MAX, got, sizeof(got), NULL), 0);
        spool_free(s);
        assert_int_equal(spool_drop(dir.fd, NULL), 0);
        assert_false(file_exists(dir.fd, "transfer.blob"));
        assert_false(file_exists(dir.fd, "transfer.json"));
        assert_int_equal(spool_drop(dir.fd, NULL), 0);
        expect_have(&one, SIZE, "");
}

static void test_of_another(void **state)
{
        (void)state;
        leave(&one, "abc");
        expect_have(&two, SIZE, "");
        expect_have(&one, SIZE, "");
        leave(&one, "abc");
        expect_have(&one, SIZE - 1, "");
}

static void test_damaged_label(void **state)
{
        static const char *const labels[] = {
                "", "{", "[]", "{}", "{\"schema\":1}", "{\"schema\":2,\"digest\":\"x\",\"size\":1}",
        };
        char text[512];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
                leave(&one, "abc");
                scratch_put_text(&dir, "transfer.json", labels[i]);
                expect_have(&one, SIZE, "");
        }
        /* Another schema may mean anything. */
        for (unsigned schema = 1; schema <= 2; schema++) {
                assert_int_equal(spool_drop(dir.fd, NULL), 0);
                leave(&one, "abc");
                (void)snprintf(text, sizeof(text), "{\"schema\":%u,\"digest\":\"%s\",\"size\":%u}",
                               schema, one.text, (unsigned)SIZE);
                scratch_put_text(&dir, "transfer.json", text);
                expect_have(&one, SIZE, schema == 1 ? "abc" : "");
        }
        leave(&one, "abc");
        assert_int_equal(unlinkat(dir.fd, "transfer.json", 0), 0);
        expect_have(&one, SIZE, "");
        leave(&one, "abc");
        assert_int_equal(unlinkat(dir.fd, "transfer.blob", 0), 0);
        expect_have(&one, SIZE, "");
}

/* All of the blob is fine, more is not a begin of it. */
static void test_too_much(void **state)
{
        char path[128];
        struct spool *s;

        (void)state;
        leave(&one, "abc");
        (void)snprintf(path, sizeof(path), "%s/transfer.blob", dir.path);
        assert_int_equal(truncate(path, SIZE), 0);
        s = open_spool(&one, SIZE);
        assert_int_equal(spool_have(s), SIZE);
        assert_int_equal(spool_add(s, "x", 1, NULL), -EFBIG);
        assert_int_equal(spool_add(s, "", 0, NULL), 0);
        spool_free(s);
        assert_int_equal(truncate(path, SIZE + 1), 0);
        expect_have(&one, SIZE, "");
}

/* Names in the folder that are something else are replaced, and never followed. */
static void test_links(void **state)
{
        (void)state;
        scratch_put_text(&dir, "victim", "precious");
        assert_int_equal(symlinkat("victim", dir.fd, "transfer.blob"), 0);
        leave(&one, "abc");
        scratch_expect(&dir, "victim", "precious", 8);
        expect_have(&one, SIZE, "abc");
        assert_int_equal(unlinkat(dir.fd, "transfer.blob", 0), 0);
        assert_int_equal(symlinkat("victim", dir.fd, "transfer.blob"), 0);
        expect_have(&one, SIZE, "");
        /* a second name of the file is in other hands */
        leave(&one, "abc");
        assert_int_equal(linkat(dir.fd, "transfer.blob", dir.fd, "second", 0), 0);
        expect_have(&one, SIZE, "");
        scratch_expect(&dir, "second", "abc", 3);
        assert_int_equal(unlinkat(dir.fd, "transfer.json", 0), 0);
        assert_int_equal(mkfifoat(dir.fd, "transfer.json", 0600), 0);
        expect_have(&one, SIZE, "");
        scratch_expect(&dir, "victim", "precious", 8);
}

/* A file system of its own, where that may be had; it goes with this process. */
static bool mount_small(void)
{
        if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return false;
        return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("small", dir.path, "tmpfs", 0, "size=80m") == 0;
}

/* The rest of the blob and a reserve have to fit. */
static void test_no_room(void **state)
{
        const uint64_t fits = 16 * MIB - 64 * KIB;
        struct error e = ERROR_INIT;
        struct spool *s = NULL;

        (void)state;
        assert_int_equal(spool_open(dir.fd, &two, LIMIT_OCI_BLOB + 1, &s, &e), -EINVAL);
        assert_int_equal(spool_open(-EBADF, &two, SIZE, &s, &e), -EBADF);
        if (!mount_small()) {
                print_message("no mounts allowed: the room for a spool is not tested\n");
                return;
        }
        close_p(&dir.fd);
        dir.fd = file_open_dir(AT_FDCWD, dir.path);
        s = open_spool(&one, fits);
        assert_int_equal(spool_add(s, "abc", 3, NULL), 0);
        spool_free(s);
        expect_have(&one, fits, "abc");
        assert_int_equal(spool_open(dir.fd, &two, 16 * MIB + 1, &s, &e), -ENOSPC);
        assert_int_equal(e.class, ERROR_SPACE);
        /* what cannot be continued takes no room either */
        assert_false(file_exists(dir.fd, "transfer.blob"));
        assert_false(file_exists(dir.fd, "transfer.json"));
        close_p(&dir.fd);
        assert_int_equal(umount2(dir.path, MNT_DETACH), 0);
        dir.fd = file_open_dir(AT_FDCWD, dir.path);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_continue, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_of_another, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_damaged_label, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_too_much, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_links, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_room, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
