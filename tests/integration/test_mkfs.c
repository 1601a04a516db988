/* SPDX-License-Identifier: Apache-2.0 */
/* File systems in plain files, by the real tools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/spawn.h"
#include "partition/mkfs.h"

static char path[64];

static int set_up(void **state)
{
        int fd;

        (void)state;
        (void)snprintf(path, sizeof(path), "/tmp/tb-mkfs-XXXXXX");
        fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)(300 * MIB)), 0);
        assert_int_equal(close(fd), 0);
        log_set_level(LOG_LEVEL_ERROR);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        return unlink(path);
}

static void change_byte(uint64_t offset, uint8_t set)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t b;

        assert_true(fd >= 0);
        assert_int_equal(file_pread(fd, &b, 1, offset), 1);
        b |= set;
        assert_int_equal(file_pwrite(fd, &b, 1, offset), 0);
        assert_int_equal(close(fd), 0);
}

static uint8_t byte_at(uint64_t offset)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint8_t b = 0;

        assert_true(fd >= 0);
        assert_int_equal(file_pread(fd, &b, 1, offset), 1);
        assert_int_equal(close(fd), 0);
        return b;
}

static void vfat_is_fat32_with_its_label(void **state)
{
        const char *const argv[] = {"fsck.vfat", "-n", path, NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_CHILD_OUTPUT);
        const char *const label[] = {"blkid", "-p", "-o", "export", path, NULL};
        struct spawn_result result;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(mkfs_vfat(path, "COS_GRUB", &e), 0);
        assert_int_equal(spawn_check(argv, 20, &e), 0);
        assert_int_equal(spawn_run(label, 20, &out, &result, &e), 0);
        assert_non_null(strstr(buf_str(&out), "LABEL=COS_GRUB\n"));
        assert_non_null(strstr(buf_str(&out), "VERSION=FAT32\n"));
}

static void vfat_that_was_cut_is_repaired(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(mkfs_vfat(path, "COS_GRUB", &e), 0);
        assert_int_equal(mkfs_check_vfat(path, &e), 0);
        change_byte(65, 1);
        assert_int_equal(mkfs_check_vfat(path, &e), 0);
        assert_int_equal(byte_at(65) & 1, 0);
}

static void ext4_is_checked_and_repaired(void **state)
{
        const char *const errors[] = {"debugfs", "-w", "-R", "set_super_value state 2", path, NULL};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(mkfs_ext4(path, "COS_OEM", &e), 0);
        assert_int_equal(mkfs_check_ext4(path, "COS_OEM", &e), 0);
        assert_int_equal(spawn_check(errors, 20, &e), 0);
        assert_int_equal(byte_at(1024 + 0x3a) & 2, 2); /* s_state: errors detected */
        assert_int_equal(mkfs_check_ext4(path, "COS_OEM", &e), 0);
        assert_int_equal(byte_at(1024 + 0x3a) & 2, 0);
}

/* What each of these says makes e2fsck run, which writes something then. */
static void only_a_clean_ext4_is_not_looked_at(void **state)
{
        static const char *const reasons[] = {"state 0",        "state 3",

                                              "last_orphan 12", "checkinterval 1",
                                              "mnt_count 40",   "feature_incompat 0x2c6"};
        struct error e = ERROR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(reasons) + 1; i++) {
                char words[64];
                const char *const reason[] = {"debugfs", "-w", "-R", words, path, NULL};
                const char *const most[] = {
                        "debugfs", "-w", "-R", "set_super_value max_mnt_count 30", path, NULL};
                const char *const due[] = {"debugfs", "-w", "-R", "set_super_value lastcheck 1",
                                           path,      NULL};
                const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
                struct stat st;
                bool looked;

                assert_int_equal(mkfs_ext4(path, "COS_OEM", &e), 0);
                assert_int_equal(spawn_check(most, 20, &e), 0);
                assert_int_equal(spawn_check(due, 20, &e), 0);
                (void)snprintf(words, sizeof(words), "set_super_value %s",
                               i < ARRAY_SIZE(reasons) ? reasons[i] : "mnt_count 3");
                assert_int_equal(spawn_check(reason, 20, &e), 0);
                assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
                assert_true(mkfs_check_ext4(path, "COS_OEM", &e) <= 0);
                assert_int_equal(stat(path, &st), 0);
                looked = st.st_mtim.tv_sec != 1;
                if (looked != (i < ARRAY_SIZE(reasons)))
                        fail_msg("%s: %s", words, looked ? "looked at" : "not looked at");
        }
}

static void ext4_of_another_label_is_another_one(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(mkfs_ext4(path, "COS_PERSISTENT", &e), 0);
        assert_int_equal(mkfs_check_ext4(path, "COS_PERSISTENT", &e), 0);
        assert_int_equal(mkfs_check_ext4(path, "COS_OEM", &e), -EMEDIUMTYPE);
        assert_int_equal(mkfs_check_ext4(path, "COS_PERSISTEN", &e), -EMEDIUMTYPE);
}

static void what_is_no_file_system_needs_a_person(void **state)
{
        /* The root directory becomes a regular file: nothing that is repaired without asking. */
        const char *const wrecked[] = {"debugfs", "-w", "-R", "set_inode_field <2> mode 0100644",
                                       path,      NULL};
        /* A clean file system is not looked at. */
        const char *const suspect[] = {"debugfs", "-w", "-R", "set_super_value state 2",
                                       path,      NULL};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(mkfs_check_ext4(path, "COS_OEM", &e), -EMEDIUMTYPE);
        assert_int_equal(mkfs_ext4(path, "COS_OEM", &e), 0);
        assert_int_equal(spawn_check(wrecked, 20, &e), 0);
        assert_int_equal(spawn_check(suspect, 20, &e), 0);
        assert_int_equal(mkfs_check_ext4(path, "COS_OEM", &e), -EUCLEAN);
        assert_true(*e.advice);
        assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(truncate(path, (off_t)(300 * MIB)), 0);
        change_byte(65, 1);
        assert_int_equal(mkfs_check_vfat(path, &e), -EUCLEAN);
        assert_int_equal(mkfs_check_vfat("/nonexistent", &e), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(vfat_is_fat32_with_its_label, set_up, tear_down),
                cmocka_unit_test_setup_teardown(vfat_that_was_cut_is_repaired, set_up, tear_down),
                cmocka_unit_test_setup_teardown(ext4_is_checked_and_repaired, set_up, tear_down),
                cmocka_unit_test_setup_teardown(only_a_clean_ext4_is_not_looked_at, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(ext4_of_another_label_is_another_one, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(what_is_no_file_system_needs_a_person, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
