/* SPDX-License-Identifier: Apache-2.0 */
/* Which disk an installation goes to, on a machine made of files. */
#include "agent/install_disk.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/num.h"
#include "efivars/efivar.h"
#include "partition/layout.h"
#include "tests/unit/disk_world.h"

#define DISK_SIZE (2 * GIB)

static struct disk_world w;

/* A machine with a medium and two disks; which of them is the medium is told by the tests. */
static int set_up(void **state)
{
        (void)state;
        world_make(&w);
        world_disk(&w, "pci0/usb1/host0", "sda", "8:0", 2 * DISK_SIZE);
        world_attribute(&w, "sda", "device/model", "Stick");
        world_disk(&w, "pci0/nvme/nvme0", "nvme0n1", "259:0", DISK_SIZE);
        world_attribute(&w, "nvme0n1", "device/model", "Fast");
        world_attribute(&w, "nvme0n1", "device/serial", "S\x1b[1m");
        world_attribute(&w, "nvme0n1", "wwid", "eui.0025");
        world_link(&w, "../../nvme0n1", "dev/disk/by-id/nvme-Fast_S");
        world_disk(&w, "pci0/virtio1", "vda", "252:0", 4 * MIB);
        world_disk(&w, "virtual", "loop0", "7:0", 90 * DISK_SIZE);
        world_disk(&w, "pci0/nvme/nvme0", "nvme0c0n1", "0:0", 90 * DISK_SIZE);
        world_attribute(&w, "nvme0c0n1", "hidden", "1");
        world_disk(&w, "virtual", "zd0", "230:0", 90 * DISK_SIZE);
        world_disk(&w, "virtual/nvme-subsystem/nvme-subsys1", "nvme1n1", "259:1", 5 * MIB);
        world_disk(&w, "virtual", "dm-0", "253:0", 90 * DISK_SIZE);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        world_end(&w);
        return 0;
}

static int fits(const struct disk *d, void *data, struct error *e)
{
        const uint64_t *least = data;
        char a[32];

        return d->size >= *least ? 0
                                 : error_set(e, ERROR_SPACE, ENOSPC, "disk: %s is too small",
                                             format_size(d->size, a, sizeof(a)));
}

static int find(const char *spec, struct disk **ret, struct install_choice *c, struct error *e)
{
        uint64_t least = GIB;

        error_clear(e);
        return install_disk_find(&w.env, spec, fits, &least, ret, c, e);
}

/* Gives a disk a partition table, and returns the UUID of its ESP. */
static void write_table(const char *name, char uuid[LAYOUT_UUID_SIZE])
{
        const struct layout_wishes sizes = {.esp_size = 512 * MIB};
        struct error e = ERROR_INIT;
        struct disk d = {.fd = -EBADF, .sector_size = 512, .size = DISK_SIZE};
        struct layout *l = malloc(sizeof(*l));
        char path[PATH_MAX];

        assert_non_null(l);
        (void)snprintf(path, sizeof(path), "%s/%s", w.dev, name);
        d.path = path;
        d.fd = open(path, O_RDWR | O_CLOEXEC);
        assert_true(d.fd >= 0);
        assert_int_equal(ftruncate(d.fd, (off_t)DISK_SIZE), 0);
        assert_int_equal(layout_plan(DISK_SIZE, 512, &sizes, l, &e), 0);
        if (layout_write(&d, l, &e) < 0)
                fail_msg("%s", e.text);
        (void)snprintf(uuid, LAYOUT_UUID_SIZE, "%s", l->partitions[0].uuid);
        free(l);
        assert_int_equal(close(d.fd), 0);
}

static void start_from(const char *uuid)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        assert_int_equal(utf8_to_utf16(uuid, &wide), 0);
        assert_int_equal(efivar_write(&w.env, "LoaderDevicePartUUID", EFIVAR_GUID_LOADER,
                                      EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, wide.data, wide.len),
                         0);
}

static void the_medium_the_loader_names_is_never_chosen(void **state)
{
        _cleanup_(install_choice_done) struct install_choice c = {.link = NULL};
        char stick[LAYOUT_UUID_SIZE], disk[LAYOUT_UUID_SIZE];
        struct error e = ERROR_INIT;
        struct disk *d = NULL;

        (void)state;
        write_table("sda", stick);
        write_table("nvme0n1", disk);
        /* The twin: when another disk is the medium, this one is the largest. */
        start_from(disk);
        assert_int_equal(find("auto", &d, &c, &e), 0);
        assert_string_equal(d->name, "sda");
        disk_free(d);
        install_choice_done(&c);
        start_from(stick);
        assert_int_equal(find("auto", &d, &c, &e), 0);
        assert_string_equal(d->name, "nvme0n1");
        assert_string_equal(c.why, "the only disk that fits the rule (auto)");
        assert_non_null(strstr(c.link, "disk/by-id/nvme-Fast_S"));
        disk_free(d);
        assert_int_equal(find("bus=usb", &d, &c, &e), -ENODEV);
        assert_non_null(strstr(e.text, "usb: this session was started from it"));
        assert_non_null(strstr(e.text, "virtio: disk: 4 MiB is too small"));
        assert_null(strstr(e.text, "loop0"));
        assert_null(strstr(e.text, "dm-0"));
        assert_null(strstr(e.text, "zd0"));
        assert_non_null(strstr(e.text, "nvme1n1"));
        assert_null(strstr(e.text, "nvme0c0n1"));
}

/* What somebody is shown: all disks, and what is against some of them. */
static void every_disk_is_offered_or_objected_to(void **state)
{
        _cleanup_(install_offers_done) struct install_offers offers = {.n = 0};
        char stick[LAYOUT_UUID_SIZE];
        struct error e = ERROR_INIT;
        uint64_t least = GIB;

        (void)state;
        write_table("sda", stick);
        start_from(stick);
        world_attribute(&w, "vda", "ro", "1");
        assert_int_equal(install_disk_offer(&w.env, fits, &least, false, &offers, &e), 0);
        for (size_t i = 0; i < offers.n; i++) {
                const char *name = offers.item[i].disk->name, *why = offers.item[i].objection;

                assert_null(strstr(name, "loop"));
                if (strcmp(name, "sda") == 0)
                        assert_non_null(strstr(why, "this session was started from it"));
                else if (strcmp(name, "nvme0n1") == 0)
                        assert_string_equal(why, "");
                else if (strcmp(name, "vda") == 0)
                        assert_non_null(strstr(why, "too small"));
        }
        install_offers_done(&offers);
        least = 0;
        world_partition(&w, "nvme0n1", "nvme0n1p1", "259:5");
        world_mounts(&w, "30 1 259:5 / /mnt rw - ext4 /dev/nvme0n1p1 rw\n");
        assert_int_equal(install_disk_offer(&w.env, fits, &least, false, &offers, &e), 0);
        for (size_t i = 0; i < offers.n; i++) {
                const char *name = offers.item[i].disk->name, *why = offers.item[i].objection;

                if (strcmp(name, "nvme0n1") == 0)
                        assert_non_null(strstr(why, "in use: "));
                else if (strcmp(name, "vda") == 0)
                        assert_string_equal(why, "read-only");
        }
        install_offers_done(&offers);
        assert_int_equal(install_disk_offer(&w.env, fits, &least, true, &offers, &e), 0);
        for (size_t i = 0; i < offers.n; i++) {
                if (strcmp(offers.item[i].disk->name, "nvme0n1") == 0)
                        assert_string_equal(offers.item[i].objection, "");
        }
}

static void the_disk_of_a_mounted_system_is_never_chosen(void **state)
{
        _cleanup_(install_choice_done) struct install_choice c = {.link = NULL};
        struct error e = ERROR_INIT;
        struct disk *d = NULL;

        (void)state;
        world_partition(&w, "sda", "sda1", "8:1");
        world_mounts(&w, "30 1 8:1 / /run/initramfs/live ro - vfat /dev/sda1 ro\n");
        assert_int_equal(find("auto", &d, &c, &e), 0);
        assert_string_equal(d->name, "nvme0n1");
        disk_free(d);
        assert_int_equal(find("model=Stick", &d, &c, &e), -ENODEV);
        assert_non_null(strstr(e.text, "the running system stands on it: sda1 is mounted on "
                                       "/run/initramfs/live (vfat)"));
}

/* A rule does not go around a disk in use: that is for a person to decide. */
static void a_disk_in_use_is_chosen_and_then_refused(void **state)
{
        _cleanup_(install_choice_done) struct install_choice c = {.link = NULL};
        struct error e = ERROR_INIT;
        struct disk *d = NULL;

        (void)state;
        world_partition(&w, "sda", "sda1", "8:1");
        world_mounts(&w, "30 1 8:1 / /mnt ro - vfat /dev/sda1 ro\n");
        assert_int_equal(find("auto", &d, &c, &e), 0);
        assert_string_equal(d->name, "sda");
        d->fd = 0; /* as if taken: a file cannot be */
        assert_int_equal(install_disk_take(d, false, &c, &e), -EBUSY);
        assert_non_null(strstr(e.text, "sda1 is mounted on /mnt (vfat)"));
        disk_use_done(&c.uses);
        assert_int_equal(install_disk_take(d, true, &c, &e), 0);
        assert_int_equal(c.uses.n, 1);
        d->fd = -EBADF;
        disk_free(d);
}

static void holders_that_stay_are_refused_before_anything_is_released(void **state)
{
        _cleanup_(install_choice_done) struct install_choice c = {.link = NULL};
        struct error e = ERROR_INIT;
        struct disk *d = NULL;

        (void)state;
        world_device(&w, "virtual", "bcache0", "251:0");
        world_holder(&w, "sda", "bcache0");
        assert_int_equal(find("auto", &d, &c, &e), 0);
        d->fd = 0;
        assert_int_equal(install_disk_take(d, true, &c, &e), -EBUSY);
        assert_non_null(strstr(e.text, "sda is held by bcache0: this program cannot"));
        d->fd = -EBADF;
        disk_free(d);
}

static void names_that_are_no_disks(void **state)
{
        struct install_choice c;
        struct error e = ERROR_INIT;
        struct disk *d = NULL;
        char path[128];

        (void)state;
        (void)snprintf(path, sizeof(path), "%s/nothing", w.dev);
        assert_int_equal(find(path, &d, &c, &e), -ENODEV);
        assert_int_equal(e.class, ERROR_USAGE);
        (void)snprintf(path, sizeof(path), "%s/vda", w.dev);
        assert_int_equal(find(path, &d, &c, &e), -ENOTBLK);
        assert_int_equal(find("vda", &d, &c, &e), -EINVAL);
        assert_non_null(strstr(e.text, "\"vda\": no such term"));
        assert_null(d);
}

static void the_plan_tells_what_it_is(void **state)
{
        _cleanup_(install_choice_done) struct install_choice c = {.link = NULL};
        _cleanup_json_ struct json_object *o = NULL, *uses = NULL;
        struct error e = ERROR_INIT;
        struct disk *d = NULL;
        const char *text;
        char *shown = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&shown, &n);
        bool flag = true;

        (void)state;
        assert_non_null(out);
        world_attribute(&w, "nvme0n1", "queue/logical_block_size", "4096");
        assert_int_equal(find("serial=S*,bus=nvme", &d, &c, &e), 0);
        o = install_disk_json(d, &c);
        uses = install_disk_uses_json(&c);
        assert_non_null(o);
        assert_int_equal(json_object_array_length(uses), 0);
        assert_int_equal(json_get_str(o, "path", &text), 0);
        assert_int_equal(json_get_str(o, "stable_path", &text), 0);
        assert_non_null(strstr(text, "nvme-Fast_S"));
        assert_int_equal(json_get_str(o, "bus", &text), 0);
        assert_string_equal(text, "nvme");
        assert_int_equal(json_get_str(o, "wwn", &text), 0);
        assert_string_equal(text, "eui.0025");
        assert_int_equal(json_get_str(o, "chosen", &text), 0);
        assert_string_equal(text, "the only disk that fits the rule (serial=S*,bus=nvme)");
        assert_int_equal(json_get_bool(o, "removable", &flag), 0);
        assert_false(flag);
        install_disk_describe(d, &c, out);
        assert_int_equal(fclose(out), 0);
        assert_non_null(strstr(shown, "nvme0n1 Fast S?[1m, 2 GiB\n"));
        assert_non_null(strstr(shown, "nvme, sectors of 4096 bytes, not rotational, wwn eui.0025"));
        assert_null(strstr(shown, "REMOVABLE"));
        free(shown);
        disk_free(d);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_medium_the_loader_names_is_never_chosen, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(every_disk_is_offered_or_objected_to, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(the_disk_of_a_mounted_system_is_never_chosen,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_disk_in_use_is_chosen_and_then_refused, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(
                        holders_that_stay_are_refused_before_anything_is_released, set_up,
                        tear_down),
                cmocka_unit_test_setup_teardown(names_that_are_no_disks, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_plan_tells_what_it_is, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
