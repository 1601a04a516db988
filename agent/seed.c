/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/seed.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/file.h"
#include "base/limits.h"

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static void close_dir(DIR **d)
{
        if (*d)
                (void)closedir(*d);
}

/* "home.bind" -> ".home.bind.new" */
static void temporary_name(const char *name, char ret[NAME_MAX + 1])
{
        (void)snprintf(ret, NAME_MAX + 1, ".%s.new", name);
}

/* A stream over the folder with a descriptor of its own. */
static int open_stream(int folder, DIR **ret)
{
        _cleanup_close_ int fd = openat(folder, ".", FOLDER);

        *ret = fd < 0 ? NULL : fdopendir(fd);
        if (!*ret)
                return -errno;
        (void)TAKE_FD(fd);
        return 0;
}

/* Next entry but "." and ".."; NULL at the end, *r < 0 when reading failed. */
static const char *next_name(DIR *d, int *r)
{
        struct dirent *entry;

        do {
                errno = 0;
                entry = readdir(d);
        } while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
        *r = entry ? 0 : -errno;
        return entry ? entry->d_name : NULL;
}

static int remove_tree(int parent, const char *name, unsigned depth)
{
        _cleanup_close_ int fd = openat(parent, name, FOLDER);
        _cleanup_(close_dir) DIR *d = NULL;
        const char *entry;
        int r;

        if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
                return unlinkat(parent, name, 0) < 0 ? -errno : 0;
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        r = depth == LIMIT_TREE_DEPTH ? -ELOOP : open_stream(fd, &d);
        while (r == 0 && (entry = next_name(d, &r)))
                r = remove_tree(fd, entry, depth + 1);
        if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0)
                r = -errno;
        return r;
}

static int copy_xattr(int from, int to, const char *name)
{
        _cleanup_free_ uint8_t *value = malloc(XATTR_SIZE_MAX);
        ssize_t n;

        if (!value)
                return -ENOMEM;
        n = fgetxattr(from, name, value, XATTR_SIZE_MAX);
        if (n < 0)
                return errno == ENODATA ? 0 : -errno;
        return fsetxattr(to, name, value, (size_t)n, 0) < 0 ? -errno : 0;
}

static int copy_xattrs(int from, int to)
{
        _cleanup_free_ char *names = malloc(XATTR_LIST_MAX);
        ssize_t n;
        int r = 0;

        if (!names)
                return -ENOMEM;
        n = flistxattr(from, names, XATTR_LIST_MAX);
        if (n < 0)
                return errno == EOPNOTSUPP ? 0 : -errno;
        for (const char *p = names; p < names + n && r == 0; p += strlen(p) + 1)
                r = copy_xattr(from, to, p);
        return r;
}

/* The owner before the mode: a change of the owner clears bits of it. */
static int copy_attributes(int from, int to, const struct stat *st)
{
        const struct timespec times[2] = {st->st_atim, st->st_mtim};
        int r;

        if (fchown(to, st->st_uid, st->st_gid) < 0)
                return -errno;
        r = copy_xattrs(from, to);
        if (r == 0 && (fchmod(to, st->st_mode & 07777) < 0 || futimens(to, times) < 0))
                r = -errno;
        return r;
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
        _cleanup_close_ int from =
                openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        _cleanup_close_ int to = -EBADF;
        ssize_t n;

        if (from < 0)
                return -errno;
        to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (to < 0)
                return -errno;
        while ((n = sendfile(to, from, NULL, FILE_CHUNK)) != 0) {
                if (n < 0 && errno != EINTR)
                        return -errno;
        }
        return copy_attributes(from, to, st);
}

/* Attributes of a link that nobody can use on an ordinary system are not carried over. */
static int copy_link(int from_dir, int to_dir, const char *name, const struct stat *st)
{
        const struct timespec times[2] = {st->st_atim, st->st_mtim};
        char target[PATH_MAX];
        ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

        if (n < 0)
                return -errno;
        target[n] = '\0';
        if (symlinkat(target, to_dir, name) < 0 ||
            fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
            utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return 0;
}

static int copy_fifo(int to_dir, const char *name, const struct stat *st)
{
        if (mkfifoat(to_dir, name, 0600) < 0 ||
            fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
            fchmodat(to_dir, name, st->st_mode & 07777, 0) < 0)
                return -errno;
        return 0;
}

static int copy_tree(int from, int to, unsigned depth);

static int copy_folder(int from_dir, int to_dir, const char *name, const struct stat *st,
                       unsigned depth)
{
        _cleanup_close_ int from = openat(from_dir, name, FOLDER), to = -EBADF;
        int r;

        if (from < 0)
                return -errno;
        if (mkdirat(to_dir, name, 0700) < 0)
                return -errno;
        to = openat(to_dir, name, FOLDER);
        if (to < 0)
                return -errno;
        r = copy_tree(from, to, depth + 1);
        return r < 0 ? r : copy_attributes(from, to, st);
}

static int copy_entry(int from, int to, const char *name, unsigned depth)
{
        struct stat st;

        if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return copy_folder(from, to, name, &st, depth);
        if (S_ISREG(st.st_mode))
                return copy_file(from, to, name, &st);
        if (S_ISLNK(st.st_mode))
                return copy_link(from, to, name, &st);
        return S_ISFIFO(st.st_mode) ? copy_fifo(to, name, &st) : 0;
}

/* What is in a folder; its own attributes are the caller's. */
static int copy_tree(int from, int to, unsigned depth)
{
        _cleanup_(close_dir) DIR *d = NULL;
        const char *name;
        int r = depth == LIMIT_TREE_DEPTH ? -ELOOP : open_stream(from, &d);

        while (r == 0 && (name = next_name(d, &r)))
                r = copy_entry(from, to, name, depth);
        return r;
}

static int copy_source(int state, const char *temporary, int root, const char *source)
{
        _cleanup_close_ int from = openat(root, source, FOLDER), to = -EBADF;
        struct stat st;
        int r;

        if (from < 0 && errno != ENOENT)
                return -errno;
        if (mkdirat(state, temporary, 0755) < 0)
                return -errno;
        if (from < 0)
                return 0;
        to = openat(state, temporary, FOLDER);
        if (to < 0 || fstat(from, &st) < 0)
                return -errno;
        r = copy_tree(from, to, 0);
        return r < 0 ? r : copy_attributes(from, to, &st);
}

int seed_prepare(int state, const char *name, int root, const char *source, struct error *e)
{
        char temporary[NAME_MAX + 1];
        struct stat st;
        int r;

        if (fstatat(state, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return S_ISDIR(st.st_mode) ? 0 : error_errno(e, ENOTDIR, "%s", name);
        if (errno != ENOENT)
                return error_errno(e, errno, "%s", name);
        temporary_name(name, temporary);
        r = remove_tree(state, temporary, 0);
        if (r == 0)
                r = copy_source(state, temporary, root, source);
        if (r < 0) {
                /* What was copied is of no use; the first failure is the one to report. */
                (void)remove_tree(state, temporary, 0);
                return error_errno(e, r == -ELOOP ? ENOTDIR : -r, "filling %s from %s", name,
                                   source);
        }
        return 1;
}

int seed_finish(int state, const char *const *names, size_t n, struct error *e)
{
        int r;

        if (n == 0)
                return 0;
        if (syncfs(state) < 0)
                return error_errno(e, errno, "sync of new folders");
        for (size_t i = 0; i < n; i++) {
                char temporary[NAME_MAX + 1];

                temporary_name(names[i], temporary);
                if (renameat(state, temporary, state, names[i]) < 0)
                        return error_errno(e, errno, "%s", names[i]);
        }
        r = file_sync(state);
        return r < 0 ? error_errno(e, -r, "sync of new folders") : 0;
}
