/* SPDX-License-Identifier: Apache-2.0 */
/* Which disks "install --no-format" takes, and what it says of the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "agent/install_keep.h"
#include "tests/unit/scratch.h"

#define ESP LAYOUT_TYPE_ESP
#define LINUX LAYOUT_TYPE_LINUX
#define MOST 6u

struct table {
        size_t n;
        struct {
                const char *name, *type;
                uint64_t size;
        } part[MOST];
};

static int check(const struct table *t, const struct layout_wishes *wishes, uint64_t image,
                 struct error *e)
{
        struct layout *l = calloc(1, sizeof(*l));
        int r;

        assert_non_null(l);
        for (l->n = 0; l->n < t->n; l->n++) {
                struct layout_partition *p = &l->partitions[l->n];

                p->number = (unsigned)l->n + 1;
                (void)snprintf(p->name, sizeof(p->name), "%s", t->part[l->n].name);
                (void)snprintf(p->type, sizeof(p->type), "%s", t->part[l->n].type);
                p->size = t->part[l->n].size;
        }
        r = install_keep_check_layout(l, wishes, image, e);
        free(l);
        return r;
}

static void prepared_disk_is_taken(void **state)
{
        const struct table t = {5,
                                {{"efi", ESP, GIB},
                                 {"windows", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", GIB},
                                 {"oem", "0fc63daf-8483-4772-8e79-3d69d8477de4", 64 * MIB},
                                 {"persistent", LINUX, GIB},
                                 {"data", LINUX, 100 * MIB}}};
        struct layout_wishes wishes = {.oem_size = 64 * MIB, .extras.n = 1};
        struct error e = ERROR_INIT;

        (void)state;
        (void)snprintf(wishes.extras.item[0].name, EXTRA_NAME_MAX, "data");
        wishes.extras.item[0].size = 100 * MIB;
        assert_int_equal(check(&t, &wishes, 100 * MIB, &e), 0);
        assert_int_equal(e.class, ERROR_NONE);
}

/* All of it in one answer, so that the disk is prepared once more and not five times. */
static void everything_that_is_missing_is_named(void **state)
{
        const struct table t = {4,
                                {{"efi", LINUX, GIB},
                                 {"oem", LINUX, 63 * MIB},
                                 {"data", LINUX, GIB},
                                 {"data", LINUX, GIB}}};
        struct layout_wishes wishes = {.extras.n = 1};
        struct error e = ERROR_INIT;

        (void)state;
        (void)snprintf(wishes.extras.item[0].name, EXTRA_NAME_MAX, "data");
        assert_int_equal(check(&t, &wishes, 100 * MIB, &e), -EINVAL);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_string_equal(e.text, "the disk is not prepared for a node:"
                                    "\n  \"efi\" is not of the type " ESP
                                    "\n  \"oem\" has 63 MiB and needs 64 MiB"
                                    "\n  \"persistent\" is missing"
                                    "\n  \"data\" is the name of several");
}

static void images_must_fit(void **state)
{
        const struct table t = {
                3, {{"efi", ESP, 300 * MIB}, {"oem", LINUX, GIB}, {"persistent", LINUX, GIB}}};
        struct layout_wishes none = {.esp_size = 0}, more = {.esp_size = 400 * MIB};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(check(&t, &none, 50 * MIB, &e), 0);
        assert_int_equal(check(&t, &none, 200 * MIB, &e), -EINVAL);
        assert_non_null(strstr(e.text, "\"efi\" is too small: "));
        assert_int_equal(check(&t, &none, 0, &e), 0);
        assert_int_equal(check(&t, &more, 50 * MIB, &e), -EINVAL);
        assert_non_null(strstr(e.text, "\"efi\" has 300 MiB and needs 400 MiB"));
}

static void esp_of_a_node_is_made_anew(void **state)
{
        static const char *const files[] = {"EFI/BOOT/BOOTX64.EFI",
                                            "efi/systemd/systemd-bootx64.efi",
                                            "EFI/kairos/usi-00000001.efi",
                                            "EFI/systemd/TBAGENT0.TMP",
                                            "loader/loader.conf",
                                            "loader/entries.srel",
                                            "loader/entries/active+2-1.conf",
                                            "loader/keys/auto/PK.auth"};
        struct error e = ERROR_INIT;
        struct scratch dir;

        (void)state;
        scratch_make(&dir);
        assert_int_equal(install_keep_check_esp(dir.fd, &e), 0); /* an empty one */
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                char folder[64];

                (void)snprintf(folder, sizeof(folder), "%.*s",
                               (int)(strrchr(files[i], '/') - files[i]), files[i]);
                assert_int_equal(file_make_dirs(dir.fd, folder, 0755), 0);
                scratch_put_text(&dir, files[i], "x");
        }
        assert_int_equal(install_keep_check_esp(dir.fd, &e), 0);
        scratch_clean(&dir);
}

static void what_is_foreign_on_an_esp_is_not_lost(void **state)
{
        static const struct {
                const char *folder, *name;
        } cases[] = {
                {"EFI/Microsoft", "EFI/Microsoft"},
                {"EFI/BOOT/grub", "EFI/BOOT/grub"},
                {"vmlinuz", "vmlinuz"},
                {"loader/addons", "loader/addons"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                struct scratch dir;

                scratch_make(&dir);
                assert_int_equal(file_make_dirs(dir.fd, "EFI/BOOT", 0755), 0);
                assert_int_equal(file_make_dirs(dir.fd, cases[i].folder, 0755), 0);
                assert_int_equal(install_keep_check_esp(dir.fd, &e), -EEXIST);
                assert_int_equal(e.class, ERROR_PRECONDITION);
                assert_string_equal(strrchr(e.text, ' ') + 1, cases[i].name);
                scratch_clean(&dir);
        }
}

/* What the plan keeps, and whether that may be. */
static void new_oem_is_refused_beside_data_that_is_kept(void **state)
{
        static const struct {
                bool oem, data, scratch, persistent;
                int r;
        } cases[] = {
                {false, false, false, false, 0},      {true, true, true, true, 0},
                {true, false, false, false, 0},       {false, false, true, false, 0},
                {false, false, false, true, -EEXIST}, {false, true, false, false, -EEXIST},
        };
        static const char *const names[] = {"efi", "oem", "data", "scratch", "persistent"};
        struct install_plan *p = calloc(1, sizeof(*p));

        (void)state;
        assert_non_null(p);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                (void)snprintf(p->layout.partitions[p->layout.n++].name,
                               sizeof(p->layout.partitions[0].name), "%s", names[i]);
        assert_int_equal(extra_parse("data:64M:ext4:DATA", &p->extras, NULL), 0);
        assert_int_equal(extra_parse("scratch:32M:SCRATCH:plain", &p->extras, NULL), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;

                p->kept[1] = cases[i].oem;
                p->kept[2] = cases[i].data;
                p->kept[3] = cases[i].scratch;
                p->kept[4] = cases[i].persistent;
                assert_int_equal(install_keep_check_together(p, &e), cases[i].r);
                if (cases[i].r < 0) {
                        assert_int_equal(e.class, ERROR_PRECONDITION);
                        assert_non_null(
                                strstr(e.text, cases[i].data ? "\"data\"" : "\"persistent\""));
                }
        }
        free(p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(prepared_disk_is_taken),
                cmocka_unit_test(everything_that_is_missing_is_named),
                cmocka_unit_test(images_must_fit),
                cmocka_unit_test(esp_of_a_node_is_made_anew),
                cmocka_unit_test(what_is_foreign_on_an_esp_is_not_lost),
                cmocka_unit_test(new_oem_is_refused_beside_data_that_is_kept),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
