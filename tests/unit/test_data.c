/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "agent/data.h"
#include "tests/unit/node_world.h"

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

/* A mapping of the right name that is another volume's, or stands on another disk, is not it. */
static void open_is_what_stands_on_it(void **state)
{
        _cleanup_free_ char *uuid = NULL;
        struct node_world n;
        struct data_list list;
        const struct data_volume *data;
        char dm_uuid[128], *p;

        (void)state;
        node_world_make(&n);
        uuid = node_world_luks(&n, "vda3");
        data_list(&n.node, &list);
        data = data_find(&list, "data");
        assert_non_null(data);
        assert_null(data_find(&list, "other"));
        assert_false(data_is_open(&n.node, data));

        node_world_dm_uuid(uuid, dm_uuid, sizeof(dm_uuid));
        p = dm_uuid + strlen(dm_uuid) - strlen("-data");
        world_mapping(&n.w, "dm-0", "253:0", "data", dm_uuid);
        assert_false(data_is_open(&n.node, data)); /* on no partition of ours */
        world_holder(&n.w, "vda4", "dm-0");
        assert_false(data_is_open(&n.node, data)); /* on another one */
        world_holder(&n.w, "vda3", "dm-0");
        assert_true(data_is_open(&n.node, data));

        world_attribute(&n.w, "dm-0", "dm/name", "data2");
        assert_false(data_is_open(&n.node, data));
        world_attribute(&n.w, "dm-0", "dm/name", "data");
        p[-1] = p[-1] == '0' ? '1' : '0'; /* another volume */
        world_attribute(&n.w, "dm-0", "dm/uuid", dm_uuid);
        assert_false(data_is_open(&n.node, data));
        world_attribute(&n.w, "dm-0", "dm/uuid", "LVM-data");
        assert_false(data_is_open(&n.node, data));
        node_world_end(&n);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lists_ours_and_the_users),
                cmocka_unit_test(a_disk_full_of_partitions_is_bounded),
                cmocka_unit_test(persistent_is_not_mounted_in_recovery),
                cmocka_unit_test(open_is_what_stands_on_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
