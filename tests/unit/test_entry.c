/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/version.h"

static void test_name_parse(void **state)
{
        static const struct {
                const char *file;
                int result;
                enum entry_role role;
                const char *base;
                bool counted;
                uint32_t left, done;
        } table[] = {
                {"active.conf", 0, ENTRY_ROLE_ACTIVE, "active", false, 0, 0},
                {"active+3-0.conf", 0, ENTRY_ROLE_ACTIVE, "active", true, 3, 0},
                {"active+3.conf", 0, ENTRY_ROLE_ACTIVE, "active", true, 3, 0},
                {"passive+0-3.conf", 0, ENTRY_ROLE_PASSIVE, "passive", true, 0, 3},
                {"recovery+10-12.conf", 0, ENTRY_ROLE_RECOVERY, "recovery", true, 10, 12},
                {"ACTIVE+2-1.CONF", 0, ENTRY_ROLE_ACTIVE, "ACTIVE", true, 2, 1},
                {"norole.conf", 0, ENTRY_ROLE_NONE, "norole", false, 0, 0},
                {"active2.conf", 0, ENTRY_ROLE_NONE, "active2", false, 0, 0},
                {"activex+1-0.conf", 0, ENTRY_ROLE_NONE, "activex", true, 1, 0},
                {"none.conf", 0, ENTRY_ROLE_NONE, "none", false, 0, 0},
                /* The last plus sign counts. */
                {"a+1-1+2-2.conf", 0, ENTRY_ROLE_NONE, "a+1-1", true, 2, 2},
                {"active+3-0+.conf", 0, ENTRY_ROLE_NONE, "active+3-0+", false, 0, 0},
                /* Malformed counters belong to the name. */
                {"active+.conf", 0, ENTRY_ROLE_NONE, "active+", false, 0, 0},
                {"active+-1.conf", 0, ENTRY_ROLE_NONE, "active+-1", false, 0, 0},
                {"active+3-.conf", 0, ENTRY_ROLE_NONE, "active+3-", false, 0, 0},
                {"active+3-0-1.conf", 0, ENTRY_ROLE_NONE, "active+3-0-1", false, 0, 0},
                {"active+3-0x.conf", 0, ENTRY_ROLE_NONE, "active+3-0x", false, 0, 0},
                {"active+x.conf", 0, ENTRY_ROLE_NONE, "active+x", false, 0, 0},
                {"active+ 3.conf", 0, ENTRY_ROLE_NONE, "active+ 3", false, 0, 0},
                {"active+2147483647.conf", 0, ENTRY_ROLE_ACTIVE, "active", true, 2147483647, 0},
                {"active+2147483648.conf", 0, ENTRY_ROLE_NONE, "active+2147483648", false, 0, 0},
                {"active+99999999999999999999.conf", 0, ENTRY_ROLE_NONE,
                 "active+99999999999999999999", false, 0, 0},
                {"+3-0.conf", 0, ENTRY_ROLE_NONE, "+3-0", false, 0, 0},
                /* Not listed by the boot loader. */
                {".conf", -EINVAL, 0, NULL, false, 0, 0},
                {"", -EINVAL, 0, NULL, false, 0, 0},
                {"active", -EINVAL, 0, NULL, false, 0, 0},
                {"active.conf.old", -EINVAL, 0, NULL, false, 0, 0},
                {"active.efi", -EINVAL, 0, NULL, false, 0, 0},
                {".active.conf", -EINVAL, 0, NULL, false, 0, 0},
                {"auto-windows.conf", -EINVAL, 0, NULL, false, 0, 0},
                {"../active.conf", -EINVAL, 0, NULL, false, 0, 0},
                {"a\\b.conf", -EINVAL, 0, NULL, false, 0, 0},
                {"a\nb.conf", -EINVAL, 0, NULL, false, 0, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct entry_name n;

                assert_int_equal(entry_name_parse(table[i].file, &n), table[i].result);
                if (table[i].result < 0)
                        continue;
                assert_int_equal(n.role, table[i].role);
                assert_string_equal(n.base, table[i].base);
                assert_int_equal(n.counted, table[i].counted);
                assert_int_equal(n.tries_left, table[i].left);
                assert_int_equal(n.tries_done, table[i].done);
        }
}

static void test_name_format(void **state)
{
        static const char *const same[] = {"active.conf", "active+3-0.conf", "passive+0-9.conf",
                                           "a+1-1+2-2.conf"};
        struct entry_name n = {.base = "active", .counted = true, .tries_left = 10};
        char out[NAME_MAX + 1], longest[NAME_MAX + 2];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
                assert_int_equal(entry_name_parse(same[i], &n), 0);
                assert_int_equal(entry_name_format(&n, out), 0);
                assert_string_equal(out, same[i]);
        }
        n = (struct entry_name){.base = "active", .counted = true, .tries_left = 10};
        assert_int_equal(entry_name_format(&n, out), -EINVAL);
        n.tries_left = 0;
        n.tries_done = 10;
        assert_int_equal(entry_name_format(&n, out), -EINVAL);
        n = (struct entry_name){.base = ""};
        assert_int_equal(entry_name_format(&n, out), -EINVAL);
        n = (struct entry_name){.base = "../x"};
        assert_int_equal(entry_name_format(&n, out), -EINVAL);
        memset(n.base, 'x', NAME_MAX);
        n.base[NAME_MAX] = '\0';
        assert_int_equal(entry_name_format(&n, out), -ENAMETOOLONG);
        memset(longest, 'x', sizeof(longest));
        memcpy(longest + NAME_MAX - 4, ".conf", 6);
        assert_int_equal(entry_name_parse(longest, &n), -EINVAL);
        assert_int_equal(entry_name_parse(longest + 1, &n), 0);
}

static void test_roles(void **state)
{
        (void)state;
        for (enum entry_role r = ENTRY_ROLE_NONE; r < ENTRY_ROLE_MAX; r++)
                assert_int_equal(entry_role_parse(entry_role_name(r)), r);
        assert_int_equal(entry_role_parse("act"), ENTRY_ROLE_NONE);
        assert_string_equal(entry_role_name(ENTRY_ROLE_MAX), "none");
}

static const struct entry sample = {
        .title = "Kairos active",
        .sort_key = "0001",
        .version = "v3.4.2",
        .image = "/EFI/kairos/usi-00000007.efi",
        .key = ENTRY_KEY_EFI,
        .has_sha256 = true,
        .sha256 = {0xab, 1, 2, 3},
};

static void assert_same(const struct entry *a, const struct entry *b)
{
        assert_string_equal(a->title, b->title);
        assert_string_equal(a->sort_key, b->sort_key);
        assert_string_equal(a->version, b->version);
        assert_string_equal(a->image, b->image);
        assert_int_equal(a->key, b->key);
        assert_int_equal(a->has_sha256, b->has_sha256);
        assert_memory_equal(a->sha256, b->sha256, SHA256_SIZE);
}

static void test_format(void **state)
{
        static const char head[] =
                "title Kairos active\nsort-key 0001\nversion v3.4.2\n"
                "efi /EFI/kairos/usi-00000007.efi\n"
                "# sha256 ab01020300000000000000000000000000000000000000000000000000000000\n#";
        struct entry e = sample, back;
        char out[ENTRY_SIZE];

        (void)state;
        assert_int_equal(entry_format(&e, out), 0);
        assert_memory_equal(out, head, sizeof(head) - 1);
        for (size_t i = sizeof(head) - 1; i < ENTRY_SIZE - 1; i++)
                assert_int_equal(out[i], ' ');
        assert_int_equal(out[ENTRY_SIZE - 1], '\n');
        assert_int_equal(entry_parse(out, sizeof(out), &back), 0);
        assert_same(&back, &e);

        e.key = ENTRY_KEY_UKI;
        e.has_sha256 = false;
        memset(e.sha256, 0, sizeof(e.sha256));
        e.sort_key[0] = e.version[0] = '\0';
        assert_int_equal(entry_format(&e, out), 0);
        assert_int_equal(strncmp(out, "title Kairos active\nuki /EFI", 28), 0);
        assert_int_equal(entry_parse(out, sizeof(out), &back), 0);
        assert_same(&back, &e);
}

static void test_format_refuses(void **state)
{
        static const char *const titles[] = {"", " a", "a ", "a\nefi /x", "a\tb", "\xff", "a\x7f"};
        static const char *const images[] = {"", "x", "/", "/a/../b", "EFI/kairos/x"};
        char out[ENTRY_SIZE];
        struct entry e;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(titles); i++) {
                e = sample;
                memcpy(e.title, titles[i], strlen(titles[i]) + 1);
                assert_int_equal(entry_format(&e, out), -EINVAL);
        }
        for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
                e = sample;
                memcpy(e.image, images[i], strlen(images[i]) + 1);
                assert_int_equal(entry_format(&e, out), -EINVAL);
        }
        e = sample;
        e.key = ENTRY_KEY_LINUX;
        assert_int_equal(entry_format(&e, out), -EINVAL);
}

/* Every length up to the last byte: always 512 bytes, always the same values back. */
static void test_format_sizes(void **state)
{
        struct entry e = sample, back;
        bool full = false;

        (void)state;
        memset(e.title, 't', sizeof(e.title) - 1);
        memset(e.version, 'v', sizeof(e.version) - 1);
        for (size_t n = 20; n < sizeof(e.image) - 1; n++) {
                char out[ENTRY_SIZE];
                int r;

                memset(e.image, 'i', n);
                e.image[0] = '/';
                e.image[n] = '\0';
                r = entry_format(&e, out);
                if (r < 0) {
                        assert_int_equal(r, -E2BIG);
                        full = true;
                        continue;
                }
                assert_false(full);
                assert_int_equal(out[ENTRY_SIZE - 1], '\n');
                assert_int_equal(entry_parse(out, sizeof(out), &back), 0);
                assert_string_equal(back.image, e.image);
        }
        assert_true(full);
}

static void test_parse(void **state)
{
        static const struct {
                const char *text;
                int result;
                const char *title, *sort_key, *image;
                enum entry_key key;
                bool digest;
        } table[] = {
                {"title\tA  b \r\n\r\nefi   /x.efi  \nfoo bar\n", 0, "A  b", "", "/x.efi",
                 ENTRY_KEY_EFI, false},
                {"uki /x", 0, "", "", "/x", ENTRY_KEY_UKI, false},
                {"efi /a\nefi /b\nsort-key 1\nsort-key 2\n", 0, "", "2", "/b", ENTRY_KEY_EFI,
                 false},
                {"linux /vmlinuz\ninitrd /i\noptions a b\n", 0, "", "", "/vmlinuz", ENTRY_KEY_LINUX,
                 false},
                {"  # efi /no\n#efi /no\nefi /yes\n", 0, "", "", "/yes", ENTRY_KEY_EFI, false},
                {"efi /x\n# sha256 zz\n", 0, "", "", "/x", ENTRY_KEY_EFI, false},
                {"efi /x\n# sha256 "
                 "0000000000000000000000000000000000000000000000000000000000000000\n",
                 0, "", "", "/x", ENTRY_KEY_EFI, true},
                {"title no image\n", -EBADMSG, NULL, NULL, NULL, 0, false},
                {"efi\n", -EBADMSG, NULL, NULL, NULL, 0, false},
                {"", -EBADMSG, NULL, NULL, NULL, 0, false},
                {"EFI /x\n", -EBADMSG, NULL, NULL, NULL, 0, false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct entry e;

                assert_int_equal(entry_parse(table[i].text, strlen(table[i].text), &e),
                                 table[i].result);
                if (table[i].result < 0)
                        continue;
                assert_string_equal(e.title, table[i].title);
                assert_string_equal(e.sort_key, table[i].sort_key);
                assert_string_equal(e.image, table[i].image);
                assert_int_equal(e.key, table[i].key);
                assert_int_equal(e.has_sha256, table[i].digest);
        }
}

static void test_parse_bounds(void **state)
{
        static char big[LIMIT_LOADER_ENTRY + 1];
        struct entry e;
        int n;

        (void)state;
        assert_int_equal(entry_parse("efi /x\n\0", 8, &e), -EBADMSG);
        n = snprintf(big, sizeof(big), "efi /x\ntitle ");
        memset(big + n, 't', sizeof(big) - (size_t)n);
        assert_int_equal(entry_parse(big, sizeof(big), &e), -E2BIG);
        assert_int_equal(entry_parse(NULL, 0, &e), -EBADMSG); /* an empty file */
        assert_int_equal(entry_parse(big, sizeof(big) - 1, &e), 0);
        assert_int_equal(strlen(e.title), sizeof(e.title) - 1);
        memcpy(big + n - 6, "versio", 6); /* a value that cannot be cut without changing order */
        memcpy(big + n, "n ", 2);
        assert_int_equal(entry_parse(big, 4096, &e), -EBADMSG);
}

static void test_image_path(void **state)
{
        static const struct {
                const char *image, *path;
        } table[] = {
                {"/EFI/kairos/usi-00000007.efi", "EFI/kairos/usi-00000007.efi"},
                {"\\EFI\\kairos\\x.efi", "EFI/kairos/x.efi"},
                {"//EFI/./kairos//x.efi", "EFI/kairos/x.efi"},
                {"x.efi", "x.efi"},
                {"/a..b/..c", "a..b/..c"},
                {"/a/../b", NULL},
                {"..", NULL},
                {"/", NULL},
                {"", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct entry e = {.key = ENTRY_KEY_EFI};
                char out[PATH_MAX];

                memcpy(e.image, table[i].image, strlen(table[i].image) + 1);
                if (!table[i].path) {
                        assert_int_equal(entry_image_path(&e, out), -EINVAL);
                        continue;
                }
                assert_int_equal(entry_image_path(&e, out), 0);
                assert_string_equal(out, table[i].path);
        }
}

static void test_image_name(void **state)
{
        static const char *const bad[] = {"",
                                          "usi-7.efi",
                                          "usi-0000007.efi",
                                          "usi-000000007.efi",
                                          "USI-00000007.efi",
                                          "usi-00000007.EFI",
                                          "usi-0000000x.efi",
                                          "usi-+0000007.efi",
                                          "usx-00000007.efi",
                                          "usi-00000007.efi.old"};
        char out[ENTRY_IMAGE_NAME_SIZE];
        uint32_t v = 1;

        (void)state;
        assert_int_equal(entry_image_name_format(7, out), 0);
        assert_string_equal(out, "usi-00000007.efi");
        assert_int_equal(entry_image_name_format(ENTRY_IMAGE_NUMBER_MAX, out), 0);
        assert_int_equal(entry_image_name_parse(out, &v), 0);
        assert_int_equal(v, ENTRY_IMAGE_NUMBER_MAX);
        assert_int_equal(entry_image_name_format(ENTRY_IMAGE_NUMBER_MAX + 1, out), -ERANGE);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(entry_image_name_parse(bad[i], &v), -EINVAL);
        assert_int_equal(v, ENTRY_IMAGE_NUMBER_MAX);
}

/* Examples of UAPI.10, and the places where systemd-boot goes its own way. */
static void test_version(void **state)
{
        static const struct {
                const char *a;
                int order;
                const char *b;
        } table[] = {
                {"11", 0, "11"},
                {"systemd-123", 0, "systemd-123"},
                {"bar-123", -1, "foo-123"},
                {"123a", 1, "123"},
                {"123.a", 1, "123"},
                {"123.a", -1, "123.b"},
                {"123a", 1, "123.a"},
                {"11\xce\xb1", 0, "11\xce\xb2"},
                {"A", -1, "a"},
                {"", -1, "0"},
                {"0.", 1, "0"},
                {"0.0", 1, "0"},
                {"1_", 0, "1"},
                {"_1", 0, "1"},
                {"1_", -1, "1.2"},
                {"1_2_3", 1, "1.3.3"},
                {"1+", 0, "1"},
                {"v3.4.2", -1, "v3.10.0"},
                {"v3.4.2-rc1", 1, "v3.4.2"}, /* hence rc versions are written with a tilde */
                {"v3.4.2~rc1", -1, "v3.4.2"},
                {"1.0~rc2", 1, "1.0~rc1"},
                {"001", 0, "1"},
                {"123456789012345678901234567890", 1, "99999999999999999999999999999"},
                {"abc", -1, "abcd"},
                {"1-2", -1, "1.2"},
                {"1^2", -1, "1.2"},
                {"1-2", -1, "1^2"},
                {"a", -1, "0a"},
                {"~", -1, ""},
                {"active", -1, "active.conf"},
                {"active.conf", -1, "active+3-0.conf"},
                {NULL, 0, ""},
                {NULL, -1, "1"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(version_compare(table[i].a, table[i].b), table[i].order);
                assert_int_equal(version_compare(table[i].b, table[i].a), -table[i].order);
        }
}

struct candidate {
        const char *file, *sort_key, *version;
        enum entry_key key;
        bool hidden;
};

static void expect_choice(const struct candidate *c, size_t n, unsigned major, const char *file)
{
        struct entry_file list[8];
        const struct entry_file *best;

        assert_true(n <= ARRAY_SIZE(list));
        memset(list, 0, sizeof(list));
        /* In both directions: the order of the directory must not matter. */
        for (int backwards = 0; backwards < 2; backwards++) {
                for (size_t i = 0; i < n; i++) {
                        struct entry_file *f = &list[backwards ? n - 1 - i : i];

                        memset(f, 0, sizeof(*f));
                        (void)snprintf(f->file, sizeof(f->file), "%s", c[i].file);
                        (void)snprintf(f->entry.sort_key, sizeof(f->entry.sort_key), "%s",
                                       c[i].sort_key ?: "");
                        (void)snprintf(f->entry.version, sizeof(f->entry.version), "%s",
                                       c[i].version ?: "");
                        f->entry.key = c[i].key ?: ENTRY_KEY_EFI;
                        f->valid = true;
                        f->image_present = !c[i].hidden;
                        assert_int_equal(entry_name_parse(f->file, &f->name), 0);
                }
                best = entry_select(list, n, major);
                if (file)
                        assert_string_equal(best ? best->file : "(none)", file);
                else
                        assert_null(best);
        }
}

static void test_select(void **state)
{
        static const struct candidate fresh[] = {
                {"recovery.conf", "0003", "1", 0, false},
                {"active.conf", "0001", "1", 0, false},
                {"passive.conf", "0002", "1", 0, false},
        };
        static const struct candidate trial[] = {
                {"active+3-0.conf", "0001", "2", 0, false},
                {"passive.conf", "0002", "1", 0, false},
        };
        static const struct candidate failed[] = {
                {"active+0-3.conf", "0001", "2", 0, false},
                {"passive.conf", "0002", "1", 0, false},
                {"recovery.conf", "0003", "1", 0, false},
        };
        static const struct candidate all_bad[] = {
                {"passive+0-1.conf", "0002", "9", 0, false},
                {"active+0-3.conf", "0001", "2", 0, false},
        };
        static const struct candidate versions[] = {
                {"a.conf", "k", "3.4.9", 0, false},
                {"b.conf", "k", "3.4.10", 0, false},
                {"zzz.conf", NULL, "99", 0, false}, /* no sort key: after those with one */
        };
        static const struct candidate names[] = {
                {"linux-5.conf", NULL, NULL, 0, false},
                {"linux-10.conf", NULL, NULL, 0, false},
        };
        static const struct candidate missing[] = {
                {"active.conf", "0001", "2", 0, true},
                {"passive.conf", "0002", "1", 0, false},
        };
        static const struct candidate uki[] = {
                {"active.conf", "0001", "2", ENTRY_KEY_UKI, false},
                {"passive.conf", "0002", "1", 0, false},
        };
        static const struct candidate counters[] = {
                {"active+1-2.conf", "0001", "2", 0, false},
                {"active+2-1.conf", "0001", "2", 0, false},
                {"active+2-0.conf", "0001", "2", 0, false},
        };

        (void)state;
        expect_choice(fresh, ARRAY_SIZE(fresh), 252, "active.conf");
        expect_choice(trial, ARRAY_SIZE(trial), 252, "active+3-0.conf");
        expect_choice(trial, ARRAY_SIZE(trial), 257, "active+3-0.conf");
        expect_choice(failed, ARRAY_SIZE(failed), 257, "passive.conf");
        expect_choice(all_bad, ARRAY_SIZE(all_bad), 257, "active+0-3.conf");
        expect_choice(versions, ARRAY_SIZE(versions), 257, "b.conf");
        expect_choice(names, ARRAY_SIZE(names), 257, "linux-10.conf");
        expect_choice(missing, ARRAY_SIZE(missing), 257, "passive.conf");
        expect_choice(uki, ARRAY_SIZE(uki), 257, "passive.conf");
        expect_choice(uki, ARRAY_SIZE(uki), 258, "active.conf");
        /* 254 and later compare ids without counter, then the counters themselves. */
        expect_choice(counters, ARRAY_SIZE(counters), 257, "active+2-0.conf");
        expect_choice(counters, ARRAY_SIZE(counters), 252, "active+2-1.conf");
        expect_choice(fresh, 0, 257, NULL);
}

static void test_set_role(void **state)
{
        static const struct {
                const char *title;
                enum entry_role role;
                const char *result;
        } table[] = {
                {"System 1", ENTRY_ROLE_ACTIVE, "System 1 (active)"},
                {"System 1 (active)", ENTRY_ROLE_PASSIVE, "System 1 (passive)"},
                {"System 1 (passive)", ENTRY_ROLE_PASSIVE, "System 1 (passive)"},
                {"System (recovery) ", ENTRY_ROLE_RECOVERY, "System (recovery) (recovery)"},
                {"(active)", ENTRY_ROLE_ACTIVE, "(active) (active)"},
                {"", ENTRY_ROLE_ACTIVE, "(active)"},
        };
        struct entry e = {.title = "x"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                (void)snprintf(e.title, sizeof(e.title), "%s", table[i].title);
                assert_int_equal(entry_set_role(&e, table[i].role), 0);
                assert_string_equal(e.title, table[i].result);
        }
        assert_string_equal(e.sort_key, "0001");
        assert_int_equal(entry_set_role(&e, ENTRY_ROLE_NONE), -EINVAL);
        assert_int_equal(entry_set_role(&e, ENTRY_ROLE_MAX), -EINVAL);
        /* Cut between characters, not in one. */
        memset(e.title, 'x', sizeof(e.title) - 1);
        memcpy(e.title + 99, "\xc3\xa4", 2);
        assert_int_equal(entry_set_role(&e, ENTRY_ROLE_RECOVERY), 0);
        assert_int_equal(strlen(e.title), 99 + strlen(" (recovery)"));
        assert_string_equal(e.title + 99, " (recovery)");
}

/* The entry that asks for a reset is nobody's, but for the boot that it starts. */
static void test_reset(void **state)
{
        struct entry e = {.title = "System (recovery)"};
        struct entry_name name;

        (void)state;
        entry_set_reset(&e);
        assert_string_equal(e.title, "System (statereset)");
        assert_true(strcmp(e.sort_key, "0003") > 0);
        assert_int_equal(entry_name_parse("StateReset+1-2.conf", &name), 0);
        assert_true(entry_is_reset(&name));
        assert_int_equal(name.role, ENTRY_ROLE_NONE);
        assert_int_equal(entry_role_started(&name), ENTRY_ROLE_RECOVERY);
        assert_int_equal(entry_name_parse("statereset2.conf", &name), 0);
        assert_false(entry_is_reset(&name));
        assert_int_equal(entry_role_started(&name), ENTRY_ROLE_NONE);
        assert_int_equal(entry_name_parse("passive+1-2.conf", &name), 0);
        assert_false(entry_is_reset(&name));
        assert_int_equal(entry_role_started(&name), ENTRY_ROLE_PASSIVE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_set_role),     cmocka_unit_test(test_name_parse),
                cmocka_unit_test(test_name_format),  cmocka_unit_test(test_roles),
                cmocka_unit_test(test_format),       cmocka_unit_test(test_format_refuses),
                cmocka_unit_test(test_format_sizes), cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_bounds), cmocka_unit_test(test_image_path),
                cmocka_unit_test(test_image_name),   cmocka_unit_test(test_version),
                cmocka_unit_test(test_select),       cmocka_unit_test(test_reset),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
