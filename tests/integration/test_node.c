/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of a node, found by a real table in a file, with the kernel's view of it beside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/node.h"
#include "efivars/efivar.h"
#include "efivars/loader.h"
#include "tests/integration/disk_file.h"
#include "tests/unit/disk_world.h"

struct world {
        struct disk_world w;
        struct disk_file *file;
        struct error e;
};

/* Partition i of the plan, as the kernel knows it. */
static void show(struct world *w, size_t i, uint64_t longer)
{
        const struct layout_partition *p = &w->file->plan.partitions[i];
        char name[16], number[16], text[32];

        (void)snprintf(name, sizeof(name), "vda%u", p->number);
        (void)snprintf(number, sizeof(number), "252:%u", p->number);
        world_partition(&w->w, "vda", name, number);
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(p->start / 512));
        world_attribute(&w->w, name, "start", text);
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(p->size / 512 + longer));
        world_attribute(&w->w, name, "size", text);
}

/* The default partitions and one of the user's between them. */
static int set_up(void **state)
{
        static const struct layout_wishes wishes = {
                .esp_size = 512 * MIB,
                .extras = {.n = 1, .item = {{.name = "data", .label = "data", .size = 64 * MIB}}}};
        struct world *w = calloc(1, sizeof(*w));
        uint8_t value[2 * LOADER_UUID_SIZE] = {0};
        void *file;

        assert_non_null(w);
        world_make(&w->w);
        world_disk(&w->w, "pci0/virtio1", "vda", "252:0", DISK_FILE_SIZE);
        assert_int_equal(disk_file_make(&file), 0);
        w->file = file;
        assert_int_equal(
                layout_plan(DISK_FILE_SIZE, DISK_FILE_SECTOR, &wishes, &w->file->plan, &w->e), 0);
        disk_file_write(w->file);
        assert_int_equal(unlinkat(w->w.s.fd, "dev/vda", 0), 0);
        world_link(&w->w, w->file->path, "dev/vda");
        for (size_t i = 0; i < strlen(w->file->plan.partitions[0].uuid); i++)
                value[2 * i] = (uint8_t)w->file->plan.partitions[0].uuid[i];
        assert_int_equal(efivar_write(&w->w.env, "LoaderDevicePartUUID", EFIVAR_GUID_LOADER,
                                      EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, value, sizeof(value)),
                         0);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;
        void *file = w->file;

        assert_int_equal(disk_file_end(&file), 0);
        world_end(&w->w);
        free(w);
        return 0;
}

/* While booting, and in the system that was booted. */
static void expect_found(struct world *w, int booting, int later)
{
        struct node *node = NULL;
        int r = node_find(&w->w.env, w->file->plan.partitions[0].uuid, &node, &w->e);

        if (r != booting)
                fail_msg("booting: %d, %s", r, w->e.text);
        node_free(node);
        node = NULL;
        r = node_find_booted(&w->w.env, &node, &w->e);
        if (r != later)
                fail_msg("later: %d, %s", r, w->e.text);
        if (r == 0)
                assert_string_equal(node->persistent->name, LAYOUT_PERSISTENT_NAME);
        node_free(node);
}

static void all_of_it_is_there(void **state)
{
        struct world *w = *state;

        for (size_t i = 0; i < w->file->plan.n; i++)
                show(w, i, 0);
        expect_found(w, 0, 0);
}

/* The boot waits for it; later it may have been withheld. */
static void partition_of_the_user_is_missing(void **state)
{
        struct world *w = *state;

        for (size_t i = 0; i < w->file->plan.n; i++) {
                if (strcmp(w->file->plan.partitions[i].name, "data") != 0)
                        show(w, i, 0);
        }
        expect_found(w, -ENODEV, 0);
}

static void one_of_ours_is_missing(void **state)
{
        struct world *w = *state;

        for (size_t i = 0; i + 1 < w->file->plan.n; i++)
                show(w, i, 0);
        expect_found(w, -ENODEV, -ENODEV);
}

static void kernel_has_another_table(void **state)
{
        struct world *w = *state;

        for (size_t i = 0; i < w->file->plan.n; i++)
                show(w, i, i == 2 ? 1 : 0);
        expect_found(w, -ESTALE, -ESTALE);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(all_of_it_is_there),
                TEST(partition_of_the_user_is_missing),
                TEST(one_of_ours_is_missing),
                TEST(kernel_has_another_table),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
