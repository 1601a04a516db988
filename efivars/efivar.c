/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/efivar.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

#define ATTRIBUTES_SIZE 4u
#define GUID_TEXT_SIZE 36u

static int file_name(const char *name, const char *guid, char ret[NAME_MAX + 1])
{
        size_t n = strlen(name);

        if (n == 0 || strchr(name, '/') || strchr(guid, '/') || strlen(guid) != GUID_TEXT_SIZE)
                return -EINVAL;
        if (n + 1 + GUID_TEXT_SIZE > NAME_MAX)
                return -ENAMETOOLONG;
        (void)snprintf(ret, NAME_MAX + 1, "%s-%s", name, guid);
        return 0;
}

/* The folder and the name of the file in it. */
static int locate(const struct env *env, const char *name, const char *guid, int *ret_dir,
                  char ret_file[NAME_MAX + 1])
{
        int r = file_name(name, guid, ret_file);

        if (r < 0)
                return r;
        r = file_open_dir(AT_FDCWD, env->efivarfs);
        if (r < 0)
                return r;
        *ret_dir = r;
        return 0;
}

static int read_raw(int dir, const char *file, struct buf *raw)
{
        int r = file_read(dir, file, raw);

        if (r < 0)
                return r;
        if (raw->len == 0)
                return -ENOENT; /* created but not committed */
        return raw->len < ATTRIBUTES_SIZE ? -EBADMSG : 0;
}

int efivar_read(const struct env *env, const char *name, const char *guid, struct buf *out,
                uint32_t *ret_attributes)
{
        _cleanup_(buf_done) struct buf raw = BUF_INIT(ATTRIBUTES_SIZE + LIMIT_EFI_VARIABLE);
        _cleanup_close_ int dir = -EBADF;
        char file[NAME_MAX + 1];
        int r;

        r = locate(env, name, guid, &dir, file);
        if (r < 0)
                return r;
        r = read_raw(dir, file, &raw);
        if (r < 0)
                return r;
        r = buf_add(out, raw.data + ATTRIBUTES_SIZE, raw.len - ATTRIBUTES_SIZE);
        if (r < 0)
                return r;
        if (ret_attributes)
                *ret_attributes = le32_at(raw.data);
        return 0;
}

/* Makes the file writable. *ret_flags gets what restore_flags() needs, 0 when nothing was changed.
 */
static int lift_immutable(int dir, const char *file, int *ret_flags)
{
        _cleanup_close_ int fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
        int flags = 0, without;

        *ret_flags = 0;
        if (fd < 0)
                return -errno;
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) {
                /* A stand-in folder on a file system without such flags. */
                return errno == ENOTTY || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
        }
        if (!(flags & FS_IMMUTABLE_FL))
                return 0;
        without = flags & ~FS_IMMUTABLE_FL;
        if (ioctl(fd, FS_IOC_SETFLAGS, &without) < 0)
                return -errno;
        *ret_flags = flags;
        return 0;
}

/* The protection is a courtesy against "rm -r": failing to put it back must not fail the write. */
static void restore_flags(int dir, const char *file, int flags)
{
        _cleanup_close_ int fd = -EBADF;

        if (flags == 0)
                return;
        fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
        if (fd >= 0)
                (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static bool on_efivarfs(int fd)
{
        struct statfs s;

        return fstatfs(fd, &s) == 0 && s.f_type == EFIVARFS_MAGIC;
}

/* One write() is one SetVariable(). */
static int write_raw(int dir, const char *file, const struct buf *raw)
{
        _cleanup_close_ int fd =
                openat(dir, file, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
        ssize_t n;

        if (fd < 0)
                return -errno;
        /* In efivarfs a write replaces the whole value (and O_TRUNC would be an extra operation on
         * the variable); an ordinary file keeps its tail. */
        if (!on_efivarfs(fd) && ftruncate(fd, 0) < 0)
                return -errno;
        do {
                n = write(fd, raw->data, raw->len);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t)n == raw->len ? 0 : -EIO;
}

int efivar_write(const struct env *env, const char *name, const char *guid, uint32_t attributes,
                 const void *data, size_t n)
{
        _cleanup_(buf_done) struct buf now = BUF_INIT(ATTRIBUTES_SIZE + LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf raw = BUF_INIT(ATTRIBUTES_SIZE + LIMIT_EFI_VARIABLE);
        _cleanup_close_ int dir = -EBADF;
        uint8_t head[ATTRIBUTES_SIZE];
        char file[NAME_MAX + 1];
        int flags = 0, existed, r;

        if (n == 0)
                return -EINVAL; /* for firmware an empty value means deletion */
        r = locate(env, name, guid, &dir, file);
        if (r < 0)
                return r;
        put_le32(head, attributes);
        r = buf_add(&raw, head, sizeof(head));
        if (r == 0)
                r = buf_add(&raw, data, n);
        if (r < 0)
                return r;

        existed = read_raw(dir, file, &now);
        if (existed == 0 && now.len == raw.len && memcmp(now.data, raw.data, raw.len) == 0)
                return 0;
        r = lift_immutable(dir, file, &flags);
        if (r < 0 && r != -ENOENT)
                return r;
        r = write_raw(dir, file, &raw);
        if (r < 0 && existed == -ENOENT)
                (void)unlinkat(dir, file, 0); /* the empty file of a variable firmware refused */
        else
                restore_flags(dir, file, flags);
        return r;
}

int efivar_delete(const struct env *env, const char *name, const char *guid)
{
        _cleanup_close_ int dir = -EBADF;
        char file[NAME_MAX + 1];
        int flags, r;

        r = locate(env, name, guid, &dir, file);
        if (r < 0)
                return r;
        r = lift_immutable(dir, file, &flags);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        if (unlinkat(dir, file, 0) < 0) {
                r = -errno;
                restore_flags(dir, file, flags);
                return r == -ENOENT ? 0 : r;
        }
        return 0;
}
