/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a disk, found in a sysfs and procfs made of files; and mountinfo. */
#include "partition/disk_use.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "partition/mountinfo.h"
#include "tests/unit/disk_world.h"

static struct disk_world w;
static struct disk *disk;

/* A disk vda with vda1 to vda3, and one beside it that must never matter. */
static int set_up(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        world_make(&w);
        world_disk(&w, "pci0/virtio1", "vda", "252:0", 20 * GIB);
        world_partition(&w, "vda", "vda1", "252:1");
        world_partition(&w, "vda", "vda2", "252:2");
        world_partition(&w, "vda", "vda3", "252:3");
        world_disk(&w, "pci0/virtio2", "vdb", "252:16", 20 * GIB);
        world_partition(&w, "vdb", "vdb1", "252:17");
        if (disk_open_name(&w.env, "vda", &disk, &e) < 0)
                fail_msg("%s", e.text);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        disk_free(disk);
        world_end(&w);
        return 0;
}

/* The uses one a line: the text, "!" when it is kept, "*" when it is vital. */
static void expect(const char *expected)
{
        _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
        _cleanup_(buf_done) struct buf b = BUF_INIT(8192);
        struct error e = ERROR_INIT;

        if (disk_use_scan(disk, &uses, &e) < 0)
                fail_msg("%s", e.text);
        for (size_t i = 0; i < uses.n; i++)
                assert_int_equal(buf_printf(&b, "%s%s%s\n", uses.use[i].text,
                                            uses.use[i].keep ? "!" : "",
                                            uses.use[i].vital ? "*" : ""),
                                 0);
        assert_string_equal(buf_str(&b), expected);
}

static void a_free_disk_has_no_uses(void **state)
{
        (void)state;
        world_mounts(&w, "30 1 252:17 / /mnt rw shared:2 - ext4 /dev/vdb1 rw\n");
        world_swaps(&w, "/dev/vdb partition 1 0 -2\n");
        world_mapping(&w, "dm-0", "253:0", "other", "LVM-x");
        world_holder(&w, "vdb1", "dm-0");
        expect("");
}

static void mounts_and_swap(void **state)
{
        (void)state;
        world_mounts(&w, "30 1 252:1 / /mnt/a\\040b rw,noatime shared:2 master:3 - ext4 /dev/x rw\n"
                         "31 1 252:0 /sub /media/whole rw - xfs /dev/vda rw\n"
                         "32 1 0:44 / /mnt/many rw - btrfs /dev/vda2 rw,subvolid=5\n"
                         "33 1 0:45 / /mnt/no rw - btrfs /dev/vda22 rw,subvolid=5\n");
        world_swaps(&w, "/dev/vda3                               partition\t1\t0\t-2\n"
                        "/dev/vda33 partition 1 0 -2\n");
        expect("vda1 is mounted on /mnt/a b (ext4)\n"
               "vda2 is mounted on /mnt/many (btrfs)\n"
               "vda3 is swap in use\n"
               "vda is mounted on /media/whole (xfs)\n");
}

static void kernels_without_swap_have_no_list(void **state)
{
        (void)state;
        assert_int_equal(unlinkat(w.s.fd, "proc/swaps", 0), 0);
        expect("");
}

/* LUKS on a partition, LVM in it, a mount and a swap in that: the topmost comes first. */
static void stacks_are_followed_upwards(void **state)
{
        (void)state;
        world_mapping(&w, "dm-0", "253:0", "cryptlvm", "CRYPT-LUKS2-0123-cryptlvm");
        world_mapping(&w, "dm-1", "253:1", "vg-root", "LVM-abc");
        world_mapping(&w, "dm-2", "253:2", "vg-swap", "LVM-def");
        world_holder(&w, "vda2", "dm-0");
        world_holder(&w, "dm-0", "dm-1");
        world_holder(&w, "dm-0", "dm-2");
        world_mounts(&w, "30 1 253:1 / /mnt/root rw - ext4 /dev/mapper/vg-root rw\n"
                         "31 1 0:50 / /mnt/sub rw - btrfs /dev/mapper/vg-root rw\n");
        world_swaps(&w, "/dev/dm-2 partition 1 0 -2\n");
        expect("dm-1 is mounted on /mnt/root (ext4)\n"
               "dm-1 is mounted on /mnt/sub (btrfs)\n"
               "dm-0 is held by the LVM mapping vg-root\n"
               "dm-2 is swap in use\n"
               "dm-0 is held by the LVM mapping vg-swap\n"
               "vda2 is held by the LUKS mapping cryptlvm\n");
}

/* An array of two partitions of the same disk, itself partitioned. */
static void arrays(void **state)
{
        (void)state;
        world_device(&w, "virtual", "md127", "9:127");
        world_attribute(&w, "md127", "md/level", "raid1");
        world_partition(&w, "md127", "md127p1", "259:0");
        world_link(&w, "../md127", "dev/md/data");
        world_holder(&w, "vda1", "md127");
        world_holder(&w, "vda2", "md127");
        world_mounts(&w, "30 1 259:0 / /srv/data rw - ext4 /dev/md127p1 rw\n");
        {
                char expected[256];

                (void)snprintf(expected, sizeof(expected),
                               "md127p1 is mounted on /srv/data (ext4)\n"
                               "vda1 is a member of the array md127 (raid1, %s/md/data)\n",
                               w.dev);
                expect(expected);
        }
}

static void kinds_of_holders(void **state)
{
        (void)state;
        world_mapping(&w, "dm-0", "253:0", "plain", "CRYPT-PLAIN-plain");
        world_mapping(&w, "dm-1", "253:1", "bare", "");
        world_mapping(&w, "dm-2", "253:2", "mpatha", "mpath-3600");
        world_device(&w, "virtual", "bcache0", "251:0");
        world_holder(&w, "vda1", "dm-0");
        world_holder(&w, "vda2", "dm-1");
        world_holder(&w, "vda3", "bcache0");
        world_holder(&w, "vda", "dm-2");
        expect("vda1 is held by the dm-crypt mapping plain\n"
               "vda2 is held by the device-mapper mapping bare\n"
               "vda3 is held by bcache0!\n"
               "vda is held by the multipath mapping mpatha!\n");
}

/* What lies as a file on a mount, and what is mounted below it, goes before the mount. */
static void what_stands_on_a_mount(void **state)
{
        (void)state;
        world_device(&w, "virtual", "loop0", "7:0");
        world_attribute(&w, "loop0", "loop/backing_file", "/mnt/images/root.img");
        world_device(&w, "virtual", "loop1", "7:1");
        world_attribute(&w, "loop1", "loop/backing_file", "/mnt2/x");
        world_device(&w, "virtual", "loop2", "7:2");
        world_attribute(&w, "loop2", "loop/backing_file", "/dev/vda3");
        world_device(&w, "virtual", "loop3", "7:3"); /* free */
        world_mounts(&w, "30 1 252:1 / /mnt rw - ext4 /dev/vda1 rw\n"
                         "31 30 252:16 / /mnt/other rw - ext4 /dev/vdb rw\n"
                         "32 31 0:60 / /mnt/other/tmp rw - tmpfs tmpfs rw\n"
                         "33 1 7:0 / /media/img rw - squashfs /dev/loop0 rw\n");
        world_swaps(&w, "/mnt/swap\\040file file 1 0 -3\n/mnt2/swap file 1 0 -3\n");
        expect("tmpfs is mounted on /mnt/other/tmp (tmpfs)!\n"
               "/dev/vdb is mounted on /mnt/other (ext4)\n"
               "loop0 is mounted on /media/img (squashfs)\n"
               "loop0 shows /mnt/images/root.img\n"
               "/mnt/swap file is a swap file in use\n"
               "vda1 is mounted on /mnt (ext4)\n"
               "loop2 shows /dev/vda3\n");
}

static void the_running_system_is_vital(void **state)
{
        static const char *const places[] = {"/",          "/usr",
                                             "/usr/local", "/oem",
                                             "/boot/efi",  "/run/initramfs/live",
                                             "/cdrom",     "/var/lib/kubelet"};
        static const char *const others[] = {"/mnt",  "/media/x", "/srv",
                                             "/usrx", "/oem2",    "/run/x"};
        char line[128], expected[128];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                (void)snprintf(line, sizeof(line), "30 1 252:1 / %s rw - vfat x rw\n", places[i]);
                (void)snprintf(expected, sizeof(expected), "vda1 is mounted on %s (vfat)!*\n",
                               places[i]);
                world_mounts(&w, line);
                expect(expected);
        }
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
                (void)snprintf(line, sizeof(line), "30 1 252:1 / %s rw - vfat x rw\n", others[i]);
                (void)snprintf(expected, sizeof(expected), "vda1 is mounted on %s (vfat)\n",
                               others[i]);
                world_mounts(&w, line);
                expect(expected);
        }
}

/* The disk of an ordinary system: what is mounted below its root says nothing more. */
static void below_the_root_nothing_is_listed(void **state)
{
        (void)state;
        world_mounts(&w,
                     "30 1 252:1 / / rw - ext4 /dev/vda1 rw\n31 30 0:5 / /proc rw - proc proc rw\n"
                     "32 30 252:16 / /mnt rw - ext4 /dev/vdb rw\n");
        expect("vda1 is mounted on / (ext4)!*\n");
}

/* The root on a loop device on a medium: everything down to the disk is vital. */
static void what_is_below_the_system_is_vital_too(void **state)
{
        (void)state;
        world_device(&w, "virtual", "loop0", "7:0");
        world_attribute(&w, "loop0", "loop/backing_file", "/media/stick/os.squashfs");
        world_mapping(&w, "dm-0", "253:0", "luks", "CRYPT-LUKS1-x");
        world_holder(&w, "vda2", "dm-0");
        world_mounts(&w, "30 1 253:0 / /media/stick ro - ext4 /dev/mapper/luks ro\n"
                         "31 1 7:0 / /usr ro - squashfs /dev/loop0 ro\n");
        expect("loop0 is mounted on /usr (squashfs)!*\n"
               "loop0 shows /media/stick/os.squashfs!*\n"
               "dm-0 is mounted on /media/stick (ext4)!*\n"
               "vda2 is held by the LUKS mapping luks!*\n");
}

static void where_this_program_came_from_is_vital(void **state)
{
        (void)state;
        assert_int_equal(unlinkat(w.s.fd, "proc/self/exe", 0), 0);
        world_link(&w, "/mnt/tools/tb-agent", "proc/self/exe");
        world_mounts(&w, "30 1 252:1 / /mnt rw - ext4 /dev/vda1 rw\n"
                         "31 1 252:2 / /mnt/t rw - ext4 /dev/vda2 rw\n");
        expect("vda1 is mounted on /mnt (ext4)!*\n"
               "vda2 is mounted on /mnt/t (ext4)\n");
}

static void circles_end(void **state)
{
        (void)state;
        world_device(&w, "virtual", "loop0", "7:0");
        world_attribute(&w, "loop0", "loop/backing_file", "/mnt/a/file");
        world_mapping(&w, "dm-0", "253:0", "a", "");
        world_mapping(&w, "dm-1", "253:1", "b", "");
        world_holder(&w, "vda1", "dm-0");
        world_holder(&w, "dm-0", "dm-1");
        world_holder(&w, "dm-1", "dm-0");
        world_mounts(&w, "30 31 252:1 / /mnt/a rw - ext4 x rw\n31 30 7:0 / /mnt rw - ext4 y rw\n");
        {
                _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
                struct error e = ERROR_INIT;

                assert_int_equal(disk_use_scan(disk, &uses, &e), 0);
                assert_int_equal(uses.n, 5);
        }
}

static void unreadable_is_not_free(void **state)
{
        struct disk_uses uses;
        struct error e = ERROR_INIT;

        (void)state;
        world_put(&w, "proc/self/mountinfo", "30 1 252:1 / /mnt rw\n");
        assert_int_equal(disk_use_scan(disk, &uses, &e), -EBADMSG);
        assert_int_equal(unlinkat(w.s.fd, "proc/self/mountinfo", 0), 0);
        assert_int_equal(disk_use_scan(disk, &uses, &e), -ENOENT);
        assert_non_null(strstr(e.text, "mountinfo"));
}

static void a_refusal_lists_and_advises(void **state)
{
        _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
        struct error e = ERROR_INIT;

        (void)state;
        world_mounts(&w, "30 1 252:1 / /mnt rw - ext4 x rw\n");
        world_swaps(&w, "/dev/vda3 partition 1 0 -2\n");
        assert_int_equal(disk_use_read(disk, &uses, &e), 0);
        assert_int_equal(uses.n, 2);
        assert_null(disk_use_vital(&uses));
        assert_int_equal(disk_use_refuse(disk, &uses, &e), -EBUSY);
        assert_int_equal(e.class, ERROR_BUSY);
        assert_non_null(strstr(e.text, "/dev/vda is in use:\n  vda1 is mounted on /mnt (ext4)\n"
                                       "  vda3 is swap in use"));
        assert_non_null(strstr(e.advice, "--force-release"));
        disk_use_done(&uses);
        world_mounts(&w, "30 1 252:1 / /usr rw - ext4 x rw\n");
        assert_int_equal(disk_use_read(disk, &uses, &e), 0);
        assert_non_null(disk_use_vital(&uses));
        assert_int_equal(disk_use_refuse(disk, &uses, &e), -EBUSY);
        assert_non_null(strstr(e.text, "(ext4): the running system stands on it"));
        assert_null(strstr(e.advice, "--force-release"));
}

static void mountinfo_is_read_or_refused(void **state)
{
        static const char *const wrong[] = {
                "x",
                "1 2 3:4 / / rw\n",
                "1 2 3:4 / / rw - ext4\n",
                "1 2 3:4 / / rw shared:1 ext4 /dev/x rw\n",
                "1 2 34 / / rw - ext4 /dev/x rw\n",
                "a 2 3:4 / / rw - ext4 /dev/x rw\n",
                "1 2 3:99999999999 / / rw - ext4 /dev/x rw\n",
        };
        char good[] = "1 0 3:4 / / rw - ext4 /dev/a rw\n\n"
                      "2 1 0:5 /x\\134 /mnt\\011\\9 rw a:1 b:2 - nfs host:/x rw,y=1";
        struct error e = ERROR_INIT;
        struct mountinfo m;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                char text[128];

                (void)snprintf(text, sizeof(text), "%s", wrong[i]);
                if (mountinfo_parse(text, &m, &e) != -EBADMSG)
                        fail_msg("\"%s\" was accepted", wrong[i]);
        }
        assert_int_equal(mountinfo_parse(good, &m, &e), 0);
        assert_int_equal(m.n, 2);
        assert_int_equal(m.mount[0].major, 3);
        assert_int_equal(m.mount[1].parent, 1);
        assert_string_equal(m.mount[1].target, "/mnt\t\\9");
        assert_string_equal(m.mount[1].type, "nfs");
        assert_string_equal(m.mount[1].source, "host:/x");
        assert_ptr_equal(mountinfo_find(&m, "/mnt\t\\9/x"), &m.mount[1]);
        assert_ptr_equal(mountinfo_find(&m, "/mnt\t\\99"), &m.mount[0]);
        mountinfo_done(&m);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_free_disk_has_no_uses, set_up, tear_down),
                cmocka_unit_test_setup_teardown(mounts_and_swap, set_up, tear_down),
                cmocka_unit_test_setup_teardown(kernels_without_swap_have_no_list, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(stacks_are_followed_upwards, set_up, tear_down),
                cmocka_unit_test_setup_teardown(arrays, set_up, tear_down),
                cmocka_unit_test_setup_teardown(kinds_of_holders, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_stands_on_a_mount, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_running_system_is_vital, set_up, tear_down),
                cmocka_unit_test_setup_teardown(below_the_root_nothing_is_listed, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(what_is_below_the_system_is_vital_too, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(where_this_program_came_from_is_vital, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(circles_end, set_up, tear_down),
                cmocka_unit_test_setup_teardown(unreadable_is_not_free, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_refusal_lists_and_advises, set_up, tear_down),
                cmocka_unit_test(mountinfo_is_read_or_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
