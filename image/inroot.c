/* SPDX-License-Identifier: Apache-2.0 */
#include "image/inroot.h"

#include <fnmatch.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"

/* The first regular file that fits, and whether there is another one. */
static const struct tree_entry *find(const struct tree *t, const char *pattern,
                                     const struct tree_entry **ret_other)
{
        const struct tree_entry *entry, *first = NULL;

        for (size_t i = 0; (entry = tree_at(t, i)); i++) {
                if (!S_ISREG(entry->mode) || fnmatch(pattern, entry->path, FNM_PATHNAME) != 0)
                        continue;
                if (first) {
                        *ret_other = entry;
                        return first;
                }
                first = entry;
        }
        return first;
}

int inroot_kernel(const struct tree *t, int *ret_fd, const char **ret_path, struct error *e)
{
        static const char *const patterns[] = {"usr/lib/modules/*/vmlinuz", "boot/vmlinuz-*",
                                               "boot/vmlinuz"};
        const struct tree_entry *entry = NULL, *other = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(patterns) && !entry; i++)
                entry = find(t, patterns[i], &other);
        if (!entry)
                r = error_set(e, ERROR_CONFIG, ENOENT, "there is no kernel in the root");
        else if (other)
                r = error_set(e, ERROR_CONFIG, ENOTUNIQ,
                              "there are several kernels in the root: %s, %s", entry->path,
                              other->path);
        else
                r = 0;
        if (r < 0) {
                error_advise(e, "name a kernel by --kernel");
                return r;
        }
        fd = memfd_create("kernel", MFD_CLOEXEC);
        if (fd < 0)
                return error_errno(e, errno, "no memory for the kernel");
        r = tree_copy(t, entry, fd, e);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(fd);
        *ret_path = entry->path;
        return 0;
}

const char *inroot_kernel_release(const char *path, size_t *ret_n)
{
        static const char modules[] = "usr/lib/modules/", boot[] = "boot/vmlinuz-";
        const char *begin = NULL;

        if (strncmp(path, modules, strlen(modules)) == 0)
                begin = path + strlen(modules);
        else if (strncmp(path, boot, strlen(boot)) == 0)
                begin = path + strlen(boot);
        *ret_n = begin ? strcspn(begin, "/") : 0;
        return begin;
}

int inroot_os_release(const struct tree *t, struct buf *out, const char **ret_path, struct error *e)
{
        static const char *const places[] = {"usr/lib/os-release", "etc/os-release"};
        const struct tree_entry *entry = NULL, *other = NULL;
        _cleanup_close_ int fd = -EBADF;
        uint8_t *room;
        ssize_t n;
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(places) && !entry; i++)
                entry = find(t, places[i], &other);
        if (!entry) {
                r = error_set(e, ERROR_CONFIG, ENOENT, "there is no os-release in the root");
                error_advise(e, "name one by --os-release");
                return r;
        }
        if (entry->size > out->max)
                return error_set(e, ERROR_CONFIG, E2BIG, "%s is too large", entry->path);
        fd = tree_open(t, entry, e);
        if (fd < 0)
                return fd;
        r = buf_reserve(out, (size_t)entry->size, &room);
        if (r < 0)
                return error_oom(e);
        n = file_pread(fd, room, (size_t)entry->size, entry->offset);
        if (n < 0)
                return error_errno(e, (int)-n, "cannot read %s", entry->path);
        buf_commit(out, (size_t)n);
        *ret_path = entry->path;
        return 0;
}
