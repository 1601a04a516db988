/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which a disk is released, what is never touched, and what is said when it half
 * works. The steps themselves are in vm-tests/test_disks.py. */
#include "partition/disk_release.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/disk_world.h"

static struct disk_world w;
static struct disk *disk;
static char log_of_steps[4096];
static const char *stubborn; /* its release fails */
static bool comes_back;      /* nothing is ever gone */

static int set_up(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        world_make(&w);
        log_of_steps[0] = '\0';
        stubborn = NULL;
        comes_back = false;
        world_disk(&w, "pci0/virtio1", "vda", "252:0", 20 * GIB);
        world_partition(&w, "vda", "vda1", "252:1");
        world_partition(&w, "vda", "vda2", "252:2");
        world_mapping(&w, "dm-0", "253:0", "luks", "CRYPT-LUKS2-x");
        world_mapping(&w, "dm-1", "253:1", "vg-data", "LVM-x");
        world_holder(&w, "vda2", "dm-0");
        world_holder(&w, "dm-0", "dm-1");
        world_mounts(&w, "30 1 253:1 / /mnt rw - ext4 x rw\n");
        world_swaps(&w, "/dev/vda1 partition 1 0 -2\n");
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

/* What the kernel would do: the use is gone from the files it was seen in. */
static int pretend(const struct env *env, const struct disk_use *use, struct error *e)
{
        size_t n = strlen(log_of_steps);

        (void)env;
        (void)snprintf(log_of_steps + n, sizeof(log_of_steps) - n, "%s;", use->name);
        if (stubborn && strcmp(use->name, stubborn) == 0)
                return error_set(e, ERROR_BUSY, EBUSY, "%s: a program has files open", use->name);
        if (comes_back)
                return 0;
        if (strcmp(use->name, "luks") == 0 &&
            file_exists(w.s.fd, "sys/class/block/dm-0/holders/dm-1"))
                return error_set(e, ERROR_BUSY, EBUSY, "luks: held");
        if (strcmp(use->name, "/mnt") == 0)
                world_mounts(&w, "");
        else if (strcmp(use->name, "/dev/vda1") == 0)
                world_swaps(&w, "");
        else if (strcmp(use->name, "vg-data") == 0)
                assert_int_equal(
                        unlinkat(w.s.fd, "sys/class/block/dm-0/holders/dm-1", AT_REMOVEDIR), 0);
        else if (strcmp(use->name, "luks") == 0)
                assert_int_equal(
                        unlinkat(w.s.fd, "sys/class/block/vda2/holders/dm-0", AT_REMOVEDIR), 0);
        else
                fail_msg("released: %s", use->text);
        return 0;
}

static void the_topmost_goes_first(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        if (disk_release(disk, pretend, &e) < 0)
                fail_msg("%s", e.text);
        assert_string_equal(log_of_steps, "/dev/vda1;/mnt;vg-data;luks;");
        assert_int_equal(e.code, 0);
        /* Nothing holds it, nothing is done. */
        assert_int_equal(disk_release(disk, pretend, &e), 0);
        assert_string_equal(log_of_steps, "/dev/vda1;/mnt;vg-data;luks;");
}

static void half_a_success_is_told_as_such(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        stubborn = "vg-data";
        assert_int_equal(disk_release(disk, pretend, &e), -EBUSY);
        assert_int_equal(e.class, ERROR_BUSY);
        assert_non_null(strstr(e.text, "/dev/vda is still in use:"));
        assert_non_null(strstr(e.text, "\n  released: vda1 is swap in use"));
        assert_non_null(strstr(e.text, "\n  released: dm-1 is mounted on /mnt (ext4)"));
        assert_non_null(strstr(e.text, "\n  not released: dm-0 is held by the LVM mapping vg-data: "
                                       "vg-data: a program has files open"));
        assert_non_null(strstr(e.text, "\n  not released: vda2 is held by the LUKS mapping luks: "
                                       "luks: held"));
        assert_null(strstr(e.text, "\n  not released: vda1"));
        assert_non_null(strstr(e.advice, "stays so"));
}

static void what_fails_is_told_with_its_reason(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        stubborn = "/dev/vda1";
        assert_int_equal(disk_release(disk, pretend, &e), -EBUSY);
        assert_non_null(strstr(e.text, "\n  not released: vda1 is swap in use: /dev/vda1: a "
                                       "program has files open"));
        assert_non_null(strstr(e.text, "\n  released: vda2 is held by the LUKS mapping luks"));
        /* Tried again after the others were gone, and then given up. */
        assert_string_equal(log_of_steps, "/dev/vda1;/mnt;vg-data;luks;/dev/vda1;");
}

static void nothing_is_touched_when_something_has_to_stay(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        world_mounts(&w, "30 1 253:1 / /mnt rw - ext4 x rw\n31 1 252:1 / /oem rw - ext4 y rw\n");
        assert_int_equal(disk_release(disk, pretend, &e), -EBUSY);
        assert_string_equal(log_of_steps, "");
        assert_non_null(strstr(e.text, "/oem (ext4): the running system stands on it"));
}

static void rounds_end(void **state)
{
        struct error e = ERROR_INIT;
        unsigned steps = 0;

        (void)state;
        comes_back = true;
        assert_int_equal(disk_release(disk, pretend, &e), -EBUSY);
        for (const char *p = log_of_steps; *p; p++)
                steps += *p == ';';
        assert_int_equal(steps, 4 * LIMIT_DISK_ROUNDS);
        assert_non_null(strstr(e.text, "still there: vda1 is swap in use"));
}

static void the_kernel_is_asked_by_name(void **state)
{
        const struct disk_use uses[] = {
                {.kind = DISK_USE_MOUNT, .name = (char[]){"/nonexistent/mount"}},
                {.kind = DISK_USE_SWAP, .name = (char[]){"/nonexistent/swap"}},
                {.kind = DISK_USE_MD, .name = (char[]){"nonexistent"}},
                {.kind = DISK_USE_LOOP, .name = (char[]){"nonexistent"}},
                {.kind = DISK_USE_UNSEEN,
                 .name = (char[]){"nonexistent"},
                 .text = (char[]){"nonexistent is held"}},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(uses); i++) {
                struct error e = ERROR_INIT;

                assert_true(disk_release_use(&w.env, &uses[i], &e) < 0);
                assert_non_null(strstr(e.text, "nonexistent"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_topmost_goes_first, set_up, tear_down),
                cmocka_unit_test_setup_teardown(half_a_success_is_told_as_such, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_fails_is_told_with_its_reason, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(nothing_is_touched_when_something_has_to_stay,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(rounds_end, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_kernel_is_asked_by_name, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
