/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/mount.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/file.h"

bool mount_takes_no_writes(const char *device)
{
        _cleanup_close_ int fd = open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        int read_only = 0;

        return fd >= 0 && ioctl(fd, BLKROGET, &read_only) == 0 && read_only;
}

int mount_fs(const char *source, const char *target, const char *type, unsigned long flags,
             const char *data, struct error *e)
{
        int r = file_make_dirs(AT_FDCWD, target, 0755);

        if (r < 0)
                return error_errno(e, -r, "%s", target);
        if (mount(source, target, type, flags, data) < 0) {
                r = errno;
                /* All that mount(2) says of it is EACCES. */
                if (r == EACCES && !(flags & MS_RDONLY) && mount_takes_no_writes(source))
                        return error_set(e, ERROR_IO, EROFS, "mounting %s on %s: it is read-only",
                                         source, target);
                return error_errno(e, r, "mounting %s on %s", source, target);
        }
        return 0;
}

int mount_bind(const char *source, const char *target, struct error *e)
{
        if (mount(source, target, NULL, MS_BIND, NULL) < 0)
                return error_errno(e, errno, "binding %s to %s", source, target);
        return 0;
}

int mount_set_flags(const char *target, unsigned long flags, struct error *e)
{
        if (mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | flags, NULL) < 0)
                return error_errno(e, errno, "remounting %s", target);
        return 0;
}

/* "/var/lib" -> "var-lib" */
static char *flat_name(const char *path)
{
        char *name = strdup(path + strspn(path, "/"));

        for (char *p = name; p && *p; p++) {
                if (*p == '/')
                        *p = '-';
        }
        return name;
}

int mount_overlay(const char *target, const char *upper_root, unsigned long flags, struct error *e)
{
        _cleanup_free_ char *name = flat_name(target), *upper = NULL, *work = NULL, *data = NULL;
        struct stat st;
        int r;

        if (!name || asprintf(&upper, "%s/%s/upper", upper_root, name) < 0 ||
            asprintf(&work, "%s/%s/work", upper_root, name) < 0 ||
            asprintf(&data, "lowerdir=%s,upperdir=%s,workdir=%s", target, upper, work) < 0)
                return error_oom(e);
        if (stat(target, &st) < 0)
                return error_errno(e, errno, "%s", target);
        r = file_make_dirs(AT_FDCWD, upper, 0755);
        if (r == 0)
                r = file_make_dirs(AT_FDCWD, work, 0755);
        /* The mounted root directory shows the mode and owner of the upper one. */
        if (r == 0 &&
            (chmod(upper, st.st_mode & 07777) < 0 || chown(upper, st.st_uid, st.st_gid) < 0))
                r = -errno;
        if (r < 0)
                return error_errno(e, -r, "%s", upper);
        return mount_fs("overlay", target, "overlay", flags, data, e);
}

int mount_look(const char *device, const char *type, struct error *e)
{
        _cleanup_close_ int fs = fsopen(type, FSOPEN_CLOEXEC);
        int fd;

        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return error_errno(e, errno, "looking into %s", device);
        fd = fsmount(fs, FSMOUNT_CLOEXEC,
                     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        return fd < 0 ? error_errno(e, errno, "looking into %s", device) : fd;
}

int mount_unmount(const char *target, struct error *e)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, target);

        if (fd < 0)
                return error_errno(e, -fd, "%s", target);
        if (syncfs(fd) < 0)
                return error_errno(e, errno, "%s: sync", target);
        close_p(&fd);
        if (umount2(target, UMOUNT_NOFOLLOW) < 0)
                return error_errno(e, errno, "unmounting %s", target);
        return 0;
}

int mount_data_for(const char *device, const char *target, bool writable,
                   int (*work)(void *arg, int dirfd, struct error *e), void *arg, struct error *e)
{
        unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (writable ? 0 : MS_RDONLY);
        _cleanup_close_ int fd = -EBADF;
        int unmounted, r = mount_fs(device, target, "ext4", flags, NULL, e);

        if (r < 0)
                return r;
        fd = file_open_dir(AT_FDCWD, target);
        r = fd < 0 ? error_errno(e, -fd, "%s", target) : work(arg, fd, e);
        close_p(&fd);
        unmounted = mount_unmount(target, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}

int mount_private(struct error *e)
{
        if (unshare(CLONE_NEWNS) < 0)
                return error_errno(e, errno, "mount name space");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return error_errno(e, errno, "making mounts private");
        return 0;
}

int mount_name_space(struct error *e)
{
        int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

        return fd < 0 ? error_errno(e, errno, "mount name space") : fd;
}

int mount_return(int name_space, struct error *e)
{
        _cleanup_close_ int here = file_open_dir(AT_FDCWD, ".");

        if (setns(name_space, CLONE_NEWNS) < 0)
                return error_errno(e, errno, "going back to the mount name space");
        if (here >= 0 && fchdir(here) < 0)
                return error_errno(e, errno, "going back to the working directory");
        return 0;
}
