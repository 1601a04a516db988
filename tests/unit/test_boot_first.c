/* SPDX-License-Identifier: Apache-2.0 */
/* What a mark on a disk does not start. What it starts is in vm-tests/test_golden.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/boot.h"
#include "base/digest.h"
#include "partition/blank.h"
#include "tests/unit/disk_world.h"

#define SIZE (24 * MIB)

struct world {
        struct disk_world disks;
        char run[80];
        struct node *node;
        struct boot boot;
        struct error e;
};

static void add_partition(struct world *w, unsigned number, const char *name)
{
        struct layout *l = &w->node->layout;
        struct layout_partition *p = &l->partitions[l->n++];
        char device[16], path[32], dev[16];

        (void)snprintf(device, sizeof(device), "vda%u", number);
        (void)snprintf(dev, sizeof(dev), "252:%u", number);
        (void)snprintf(path, sizeof(path), "dev/vda%u", number);
        world_partition(&w->disks, "vda", device, dev);
        world_attribute(&w->disks, device, "start", "2048");
        world_attribute(&w->disks, device, "size", "49152");
        world_put(&w->disks, path, "");
        p->number = number;
        p->size = SIZE;
        (void)snprintf(p->name, sizeof(p->name), "%s", name);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        world_make(&w->disks);
        world_disk(&w->disks, "pci0/virtio1", "vda", "252:0", GIB);
        (void)snprintf(w->run, sizeof(w->run), "%s/run", w->disks.s.path);
        w->disks.env.run = w->run;
        w->disks.env.tcti = "device:/nonexistent";
        w->node = calloc(1, sizeof(*w->node));
        assert_non_null(w->node);
        assert_int_equal(disk_open_name(&w->disks.env, "vda", &w->node->disk, &w->e), 0);
        add_partition(w, 1, "efi");
        add_partition(w, 2, "oem");
        add_partition(w, 3, "persistent");
        w->node->oem = &w->node->layout.partitions[1];
        w->node->persistent = &w->node->layout.partitions[2];
        w->boot = (struct boot){
                .env = &w->disks.env, .node = w->node, .entry = {.role = ENTRY_ROLE_ACTIVE}};
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        node_free(w->node);
        world_end(&w->disks);
        free(w);
        return 0;
}

static void fill(struct world *w, const char *device, const char *name)
{
        _cleanup_close_ int fd = openat(w->disks.s.fd, device, O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
        if (name)
                assert_int_equal(blank_write(fd, 0, name, &(struct blank){0}, "config", 6, &w->e),
                                 0);
}

static void digests(struct world *w, uint8_t ret[2 * SHA256_SIZE])
{
        static const char *const names[] = {"dev/vda2", "dev/vda3"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_close_ int fd = openat(w->disks.s.fd, names[i], O_RDONLY | O_CLOEXEC);

                assert_int_equal(digest_fd(fd, ret + i * SHA256_SIZE, NULL), 0);
        }
}

/* Both steps, in the order of a boot; nothing may be written. */
static int try(struct world *w)
{
        uint8_t before[2 * SHA256_SIZE], after[2 * SHA256_SIZE];
        int r;

        digests(w, before);
        r = boot_first_begin(&w->boot, &w->e);
        if (r == 0)
                r = boot_first_finish(&w->boot, &w->e);
        digests(w, after);
        assert_memory_equal(before, after, sizeof(before));
        assert_false(w->boot.first);
        return r;
}

static void disk_without_marks(void **state)
{
        struct world *w = *state;

        fill(w, "dev/vda2", NULL);
        fill(w, "dev/vda3", NULL);
        assert_int_equal(try(w), 0);
}

static void recovery_makes_nothing(void **state)
{
        struct world *w = *state;

        fill(w, "dev/vda2", "oem");
        fill(w, "dev/vda3", "persistent");
        w->boot.entry.role = ENTRY_ROLE_RECOVERY;
        assert_int_equal(try(w), 0);
}

static void configuration_never_meets_other_data(void **state)
{
        struct world *w = *state;

        fill(w, "dev/vda2", "oem");
        fill(w, "dev/vda3", NULL);
        assert_int_equal(try(w), -EEXIST);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(w->e.text, "\"persistent\" is not blank"));
}

static void disk_with_more_partitions_is_no_image(void **state)
{
        struct world *w = *state;

        fill(w, "dev/vda2", "oem");
        fill(w, "dev/vda3", "persistent");
        add_partition(w, 4, "data");
        assert_int_equal(try(w), -EEXIST);
        assert_non_null(strstr(w->e.text, "other partitions"));
}

/* No UEFI, no Secure Boot, no TPM: what an installation refuses, a mark does not start. */
static void machine_that_cannot_be_a_node(void **state)
{
        struct world *w = *state;

        fill(w, "dev/vda2", "oem");
        fill(w, "dev/vda3", "persistent");
        assert_true(try(w) < 0);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
}

static void marks_that_changed_places(void **state)
{
        struct world *w = *state;

        fill(w, "dev/vda2", "persistent");
        fill(w, "dev/vda3", "oem");
        assert_int_equal(try(w), -EBADMSG);
}

/* Only the volume "oem" can say that a first boot was cut, and there is none. */
static void cut_that_nobody_vouches_for(void **state)
{
        struct world *w = *state;

        fill(w, "dev/vda2", NULL);
        fill(w, "dev/vda3", "persistent");
        assert_true(try(w) < 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(disk_without_marks),
                CASE(recovery_makes_nothing),
                CASE(configuration_never_meets_other_data),
                CASE(disk_with_more_partitions_is_no_image),
                CASE(machine_that_cannot_be_a_node),
                CASE(marks_that_changed_places),
                CASE(cut_that_nobody_vouches_for),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
