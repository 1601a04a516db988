/* SPDX-License-Identifier: Apache-2.0 */
/* What is read about disks from a sysfs made of files. */
#include "partition/sysblock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "partition/disk.h"
#include "tests/unit/disk_world.h"

static struct disk_world w;

static int set_up(void **state)
{
        (void)state;
        world_make(&w);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        world_end(&w);
        return 0;
}

static void bus_is_the_innermost_that_counts(void **state)
{
        static const struct {
                const char *place, *name;
                enum sysblock_bus bus;
        } table[] = {
                {"pci0000:00/0000:00:04.0/virtio1", "vda", SYSBLOCK_BUS_VIRTIO},
                {"pci0000:00/0000:00:05.0/virtio2/host0/target0:0:0/0:0:0:0", "sda",
                 SYSBLOCK_BUS_SCSI},
                {"pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0", "sdb",
                 SYSBLOCK_BUS_SATA},
                {"pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:0", "sdc",
                 SYSBLOCK_BUS_USB},
                {"pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0", "nvme0n1", SYSBLOCK_BUS_NVME},
                {"virtual/nvme-subsystem/nvme-subsys1", "nvme1n1", SYSBLOCK_BUS_NVME},
                {"platform/sdhci.0/mmc_host/mmc0/mmc0:0001", "mmcblk0", SYSBLOCK_BUS_MMC},
                {"platform/hostile/usb/virtio/satan", "xvda", SYSBLOCK_BUS_OTHER},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                world_device(&w, table[i].place, table[i].name, "1:1");
                if (sysblock_bus(&w.env, table[i].name) != table[i].bus)
                        fail_msg("%s: %s", table[i].place,
                                 sysblock_bus_name(sysblock_bus(&w.env, table[i].name)));
        }
        assert_int_equal(sysblock_bus(&w.env, "nothing"), SYSBLOCK_BUS_OTHER);
}

/* An attribute that is there and cannot be read, as SCSI has it: the memory of a process cannot be
 * read at its beginning. */
static void name_that_a_disk_cannot_tell(void **state)
{
        struct error e = ERROR_INIT;
        struct disk *d = NULL;

        (void)state;
        world_disk(&w, "pci0000:00/usb2/2-1/host2/target2:0:0/2:0:0:0", "sdz", "8:80", 1 * GIB);
        world_attribute(&w, "sdz", "device/vendor", "x");
        world_link(&w, "/proc/self/mem", "sys/class/block/sdz/device/wwid");
        if (disk_open_name(&w.env, "sdz", &d, &e) < 0)
                fail_msg("%s", e.text);
        assert_string_equal(d->wwn, "");
        disk_free(d);
}

static void identity_of_a_disk(void **state)
{
        struct error e = ERROR_INIT;
        struct disk *d = NULL;

        (void)state;
        world_disk(&w, "pci0/ata1/host1/target/1:0:0:0", "sda", "8:0", 4 * GIB);
        world_attribute(&w, "sda", "device/model", "SLOW DISK       ");
        world_attribute(&w, "sda", "device/wwid", "naa.5000c500a1b2c3d4");
        world_attribute(&w, "sda", "queue/rotational", "1");
        world_attribute(&w, "sda", "removable", "1");
        world_put(&w, "sys/class/block/sda/device/vpd_pg80", "ignored");
        scratch_put(&w.s, "sys/class/block/sda/device/vpd_pg80", "\0\x80\0\x08  WD-\x01q rest", 16);
        if (disk_open_name(&w.env, "sda", &d, &e) < 0)
                fail_msg("%s", e.text);
        assert_string_equal(d->model, "SLOW DISK");
        assert_string_equal(d->serial, "WD-?q");
        assert_string_equal(d->wwn, "naa.5000c500a1b2c3d4");
        assert_int_equal(d->bus, SYSBLOCK_BUS_SATA);
        assert_int_equal(d->size, 4 * GIB);
        assert_true(d->rotational && d->removable && !d->read_only);
        disk_free(d);
}

/* Lengths that lie, and pages that are too short, give what is there. */
static void serial_of_a_broken_page(void **state)
{
        static const struct {
                const char *page;
                size_t n;
                const char *serial;
        } table[] = {
                {"\0\x80\xff\xff"
                 "ABC",
                 7, "ABC"},
                {"\0\x80\0\2ABC", 7, "AB"},
                {"\0\x80\0\0", 4, ""},
                {"\0\x80", 2, ""},
                {"", 0, ""},
        };

        (void)state;
        world_disk(&w, "host0", "sda", "8:0", GIB);
        world_put(&w, "sys/class/block/sda/device/vpd_pg80", "");
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_free_ char *serial = NULL;

                scratch_put(&w.s, "sys/class/block/sda/device/vpd_pg80", table[i].page, table[i].n);
                assert_int_equal(sysblock_serial(&w.env, "sda", &serial), 0);
                assert_string_equal(serial, table[i].serial);
        }
}

static void serial_where_the_driver_tells_it(void **state)
{
        _cleanup_free_ char *a = NULL, *b = NULL, *model = NULL, *none = NULL;

        (void)state;
        world_disk(&w, "virtio1", "vda", "252:0", GIB);
        world_attribute(&w, "vda", "serial", "first");
        world_attribute(&w, "vda", "device/serial", "second");
        world_attribute(&w, "vda", "device/name", "not a model");
        world_disk(&w, "mmc_host/mmc0/mmc0:1", "mmcblk0", "179:0", GIB);
        world_attribute(&w, "mmcblk0", "device/serial", "0x1234");
        world_attribute(&w, "mmcblk0", "device/name", "CARD");
        assert_int_equal(sysblock_serial(&w.env, "vda", &a), 0);
        assert_string_equal(a, "first");
        assert_int_equal(sysblock_model(&w.env, "vda", &none), 0);
        assert_string_equal(none, "");
        assert_int_equal(sysblock_serial(&w.env, "mmcblk0", &b), 0);
        assert_string_equal(b, "0x1234");
        assert_int_equal(sysblock_model(&w.env, "mmcblk0", &model), 0);
        assert_string_equal(model, "CARD");
}

static void the_link_people_can_read_is_taken(void **state)
{
        _cleanup_free_ char *link = NULL, *number = NULL, *none = NULL;
        char expected[128];

        (void)state;
        world_link(&w, "../../sda", "dev/disk/by-id/wwn-0x5000");
        world_link(&w, "../../sda", "dev/disk/by-id/scsi-35000");
        world_link(&w, "../../sda", "dev/disk/by-id/ata-SLOW_1");
        world_link(&w, "../../sdab", "dev/disk/by-id/ata-AAAA_2");
        world_link(&w, "../../sda1", "dev/disk/by-id/ata-SLOW_1-part1");
        world_link(&w, "../../sdc", "dev/disk/by-id/wwn-0x6000");
        assert_int_equal(sysblock_link(&w.env, "disk/by-id", "sda", &link), 0);
        (void)snprintf(expected, sizeof(expected), "%s/disk/by-id/ata-SLOW_1", w.dev);
        assert_string_equal(link, expected);
        assert_int_equal(sysblock_link(&w.env, "disk/by-id", "sdc", &number), 0);
        assert_non_null(strstr(number, "wwn-0x6000"));
        assert_int_equal(sysblock_link(&w.env, "disk/by-id", "sdb", &none), 0);
        assert_string_equal(none, "");
        free(none);
        assert_int_equal(sysblock_link(&w.env, "md", "md127", &none), 0);
        assert_string_equal(none, "");
}

static void folders_are_listed_in_order(void **state)
{
        _cleanup_(sysblock_names_done) struct sysblock_names list = {.n = 0}, none = {.n = 0};

        (void)state;
        world_disk(&w, "virtio1", "vda", "252:0", GIB);
        world_partition(&w, "vda", "vda10", "252:10");
        world_partition(&w, "vda", "vda2", "252:2");
        assert_int_equal(sysblock_partitions(&w.env, "vda", &list), 0);
        assert_int_equal(list.n, 2);
        assert_string_equal(list.name[0], "vda2");
        assert_string_equal(list.name[1], "vda10");
        assert_int_equal(sysblock_list(&w.env, "vda", "holders", &none), 0);
        assert_int_equal(none.n, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(bus_is_the_innermost_that_counts, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(identity_of_a_disk, set_up, tear_down),
                cmocka_unit_test_setup_teardown(name_that_a_disk_cannot_tell, set_up, tear_down),
                cmocka_unit_test_setup_teardown(serial_of_a_broken_page, set_up, tear_down),
                cmocka_unit_test_setup_teardown(serial_where_the_driver_tells_it, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(the_link_people_can_read_is_taken, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(folders_are_listed_in_order, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
