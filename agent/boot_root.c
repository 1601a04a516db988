/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot_root.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/file.h"
#include "partition/mount.h"

bool boot_root_is_ours(const struct env *env)
{
        _cleanup_free_ char *self = NULL;
        const char *stage = getenv(BOOT_ROOT_VARIABLE);
        struct statfs root;

        if (asprintf(&self, "%s/self", env->proc) < 0) {
                self = NULL;
                return false;
        }
        if (statfs("/", &root) < 0 || file_exists(AT_FDCWD, self))
                return false;
        if (root.f_type == OVERLAYFS_SUPER_MAGIC)
                return stage && strcmp(stage, "overlay") == 0;
        return root.f_type == RAMFS_MAGIC || root.f_type == TMPFS_MAGIC;
}

int boot_root_enter(struct error *e)
{
        /* Any empty directory of the image serves as the place to hang the bind mount for a moment.
         */
        int r = mount_bind("/", "/run", e);

        if (r < 0)
                return r;
        if (chdir("/run") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
            chdir("/") < 0)
                return error_errno(e, errno, "entering the root");
        return 0;
}

int boot_root_mount_kernel(const struct env *env, struct error *e)
{
        const struct {
                const char *type, *target, *data;
                unsigned long flags;
                bool needed;
        } mounts[] = {
                {"proc", env->proc, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
                {"sysfs", env->sysfs, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
                {"devtmpfs", env->dev, "mode=0755", MS_NOSUID, true},
                {"tmpfs", env->run, "mode=0755,size=20%", MS_NOSUID | MS_NODEV, true},
                {"securityfs", "/sys/kernel/security", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC,
                 false},
        };

        for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
                struct error error = ERROR_INIT;
                int r = mount_fs(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags,
                                 mounts[i].data, &error);

                if (r < 0 && mounts[i].needed) {
                        *e = error;
                        return r;
                }
        }
        return 0;
}

int boot_root_read_only(struct error *e)
{
        int r = mount_set_flags("/", MS_RDONLY, e);

        if (r < 0)
                return r;
        /*
         * The mount is closed; now the file system behind it, which the hidden first root mount
         * still shows. Busy means that something has a file open for writing there, which nothing
         * of this stage does.
         */
        if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
                return error_errno(e, errno, "making the root file system read-only");
        return 0;
}
