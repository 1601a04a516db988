/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "agent/data.h"

static void add(struct node *n, const char *name, const char *type)
{
        struct layout_partition *p = &n->layout.partitions[n->layout.n++];

        p->number = (unsigned)n->layout.n;
        (void)snprintf(p->name, sizeof(p->name), "%s", name);
        (void)snprintf(p->type, sizeof(p->type), "%s", type);
}

/* Somebody may have put partitions on the disk: their names become those of mappings. */
static void lists_ours_and_the_users(void **state)
{
        static const struct {
                const char *name, *label;
        } want[] = {{"oem", LAYOUT_OEM_LABEL},
                    {"persistent", LAYOUT_PERSISTENT_LABEL},
                    {"data", NULL},
                    {"more", NULL}};
        struct node *n = calloc(1, sizeof(*n));
        struct data_list list;

        (void)state;
        assert_non_null(n);
        add(n, "efi", LAYOUT_TYPE_ESP);
        add(n, "oem", LAYOUT_TYPE_LINUX);
        add(n, "data", LAYOUT_TYPE_LINUX);
        add(n, "more", "0fc63daf-8483-4772-8e79-3d69d8477de4");
        add(n, "twin", LAYOUT_TYPE_LINUX);
        add(n, "twin", LAYOUT_TYPE_LINUX);
        add(n, "../oem", LAYOUT_TYPE_LINUX);
        add(n, "OEM", LAYOUT_TYPE_LINUX);
        add(n, "control", LAYOUT_TYPE_LINUX);
        add(n, "", LAYOUT_TYPE_LINUX);
        add(n, "swap", "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F");
        add(n, "persistent", LAYOUT_TYPE_LINUX);
        n->oem = &n->layout.partitions[1];
        n->persistent = &n->layout.partitions[11];
        data_list(n, &list);
        assert_int_equal(list.n, ARRAY_SIZE(want));
        for (size_t i = 0; i < list.n; i++) {
                assert_string_equal(list.item[i].partition->name, want[i].name);
                assert_string_equal(list.item[i].mapping, want[i].name);
                if (want[i].label)
                        assert_string_equal(list.item[i].label, want[i].label);
                else
                        assert_null(list.item[i].label);
        }
        n->oem = NULL;
        data_list(n, &list);
        assert_int_equal(list.n, ARRAY_SIZE(want) - 1);
        assert_string_equal(list.item[0].mapping, "persistent");
        free(n);
}

static void a_disk_full_of_partitions_is_bounded(void **state)
{
        struct node *n = calloc(1, sizeof(*n));
        struct data_list list;
        char name[16];

        (void)state;
        assert_non_null(n);
        for (unsigned i = 0; i < LIMIT_PARTITIONS; i++) {
                (void)snprintf(name, sizeof(name), "p%u", i);
                add(n, name, LAYOUT_TYPE_LINUX);
        }
        data_list(n, &list);
        assert_int_equal(list.n, LIMIT_EXTRA_PARTITIONS + 2);
        free(n);
}

static void persistent_is_not_mounted_in_recovery(void **state)
{
        const struct env env = ENV_INIT;
        const struct data_volume oem = {.mapping = DATA_DM_OEM}, other = {.mapping = "data"},
                                 persistent = {.mapping = DATA_DM_PERSISTENT};

        (void)state;
        assert_string_equal(data_mount_point(&env, &oem, true), "/oem");
        assert_string_equal(data_mount_point(&env, &oem, false), "/oem");
        assert_string_equal(data_mount_point(&env, &persistent, false), "/usr/local");
        assert_null(data_mount_point(&env, &persistent, true));
        assert_null(data_mount_point(&env, &other, false));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lists_ours_and_the_users),
                cmocka_unit_test(a_disk_full_of_partitions_is_bounded),
                cmocka_unit_test(persistent_is_not_mounted_in_recovery),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
