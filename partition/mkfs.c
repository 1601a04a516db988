/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/mkfs.h"

#include "base/limits.h"
#include "base/spawn.h"

/* Formatting a large disk under emulation takes a minute; nothing real takes this long. */
#define MKFS_SECONDS 600
/* A full check of a large file system may take long; it only happens after damage. */
#define CHECK_SECONDS 3600

int mkfs_vfat(const char *path, const char *label, struct error *e)
{
        const char *const argv[] = {"mkfs.vfat", "-F", "32", "-n", label, path, NULL};

        return spawn_check(argv, MKFS_SECONDS, e);
}

int mkfs_ext4(const char *path, const char *label, struct error *e)
{
        const char *const argv[] = {"mkfs.ext4", "-q", "-F", "-L", label, "-b",
                                    "4096",      "-m", "0",  path, NULL};

        return spawn_check(argv, MKFS_SECONDS, e);
}

int mkfs_check_ext4(const char *path, struct error *e)
{
        const char *const argv[] = {"e2fsck", "-p", path, NULL};
        struct spawn_result result;
        int r;

        r = spawn_run(argv, CHECK_SECONDS, NULL, &result, e);
        if (r < 0)
                return r;
        /* e2fsck(8): 1 = errors corrected, 2 = corrected and a reboot is asked for when mounted (it
         * is not). */
        if (result.status >= 0 && result.status <= 2)
                return 0;
        error_set(e, ERROR_IO, EUCLEAN, "%s: file system check failed (e2fsck status %d)", path,
                  result.status);
        error_advise(e, "boot the recovery entry and run e2fsck by hand, or reset the node");
        return -EUCLEAN;
}
