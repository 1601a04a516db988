/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/limits.h"
#include "image/say.h"
#include "image/xattr.h"

struct tree {
        int root;    /* directory; -EBADF: there is none */
        int content; /* in its stead: all files in one */
        int init_error;
        mode_t init_mode;
        struct tree_entry *entries;
        size_t n;
        size_t allocated;
};

static int open_beneath(int dirfd, const char *path, int flags)
{
        struct open_how how = {
                .flags = (unsigned)(flags | O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY),
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
        };
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

        return fd < 0 ? -errno : (int)fd;
}

static int failed(struct error *e, int code, const char *path)
{
        return error_errno(e, code, "cannot read %s in the root directory", path);
}

/* NULL with the error filled in when there is no room. */
static struct tree_entry *new_entry(struct tree *t, struct error *e)
{
        if (t->n == LIMIT_TREE_ENTRIES) {
                (void)error_set(e, ERROR_CONFIG, E2BIG, "more than %u files in the root directory",
                                LIMIT_TREE_ENTRIES);
                return NULL;
        }
        if (t->n == t->allocated) {
                size_t more = t->allocated > 0 ? 2 * t->allocated : 1024;
                struct tree_entry *p = reallocarray(t->entries, more, sizeof(*p));

                if (!p) {
                        (void)error_oom(e);
                        return NULL;
                }
                t->entries = p;
                t->allocated = more;
        }
        t->entries[t->n] = (struct tree_entry){0};
        return &t->entries[t->n++];
}

static int read_link(int dirfd, const char *name, const char *path, char **ret, struct error *e)
{
        char target[PATH_MAX];
        ssize_t n = readlinkat(dirfd, name, target, sizeof(target));

        if (n < 0)
                return failed(e, errno, path);
        if (n == 0 || (size_t)n == sizeof(target))
                return failed(e, ENAMETOOLONG, path);
        *ret = strndup(target, (size_t)n);
        return *ret ? 0 : error_oom(e);
}

static void fill(struct tree_entry *entry, const struct statx *stx)
{
        entry->mode = stx->stx_mode;
        entry->uid = stx->stx_uid;
        entry->gid = stx->stx_gid;
        entry->device_major = stx->stx_rdev_major;
        entry->device_minor = stx->stx_rdev_minor;
        entry->size = S_ISREG(stx->stx_mode) ? stx->stx_size : 0;
        entry->mtime = stx->stx_mtime.tv_sec > 0 ? (uint64_t)stx->stx_mtime.tv_sec : 0;
        entry->dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
        entry->ino = stx->stx_ino;
}

/* Records one name. Takes path over. *ret_enter tells whether to walk into it. */
static int add(struct tree *t, int dirfd, const char *name, char *path, bool *ret_enter,
               struct error *e)
{
        _cleanup_free_ char *owned = path;
        struct tree_entry *entry;
        struct statx stx;
        bool mounted;

        *ret_enter = false;
        if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH,
                  STATX_BASIC_STATS, &stx) < 0)
                return failed(e, errno, path);
        mounted = (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 && strcmp(path, ".") != 0;
        if (mounted && !S_ISDIR(stx.stx_mode))
                return error_set(e, ERROR_CONFIG, EXDEV, "another file is mounted on %s", path);
        if (S_ISSOCK(stx.stx_mode)) {
                say_warning("socket %s is left out", path);
                return 0;
        }
        if (S_ISREG(stx.stx_mode) && stx.stx_size > LIMIT_CPIO_FILE)
                return error_set(e, ERROR_CONFIG, EFBIG, "%s is 4 GiB or larger", path);
        if (mounted)
                say_warning("%s is a mount point: taken as an empty directory", path);
        entry = new_entry(t, e);
        if (!entry)
                return -ENOMEM;
        entry->path = TAKE_PTR(owned);
        fill(entry, &stx);
        if (S_ISLNK(stx.stx_mode))
                return read_link(dirfd, name, entry->path, &entry->link, e);
        *ret_enter = S_ISDIR(stx.stx_mode) && !mounted;
        return 0;
}

static void closedir_p(DIR **dir)
{
        if (*dir)
                (void)closedir(*dir);
        *dir = NULL;
}

static char *join(const char *parent, const char *name)
{
        char *path = NULL;

        if (strcmp(parent, ".") == 0)
                return strdup(name);
        return asprintf(&path, "%s/%s", parent, name) < 0 ? NULL : path;
}

static int walk(struct tree *t, int fd, const char *path, unsigned depth, struct error *e);

static int visit(struct tree *t, int dirfd, const char *parent, const char *name, unsigned depth,
                 struct error *e)
{
        _cleanup_free_ char *path = join(parent, name), *copy = NULL;
        bool enter;
        int r, fd;

        copy = path ? strdup(path) : NULL;
        if (!copy)
                return error_oom(e);
        r = add(t, dirfd, name, TAKE_PTR(copy), &enter, e);
        if (r < 0 || !enter)
                return r;
        if (depth == LIMIT_TREE_DEPTH)
                return error_set(e, ERROR_CONFIG, ELOOP, "%s is nested too deeply", path);
        fd = open_beneath(dirfd, name, O_DIRECTORY);
        if (fd < 0)
                return failed(e, -fd, path);
        return walk(t, fd, path, depth + 1, e);
}

/* Lists a directory; takes fd over. */
static int walk(struct tree *t, int fd, const char *path, unsigned depth, struct error *e)
{
        _cleanup_(closedir_p) DIR *dir = fdopendir(fd);

        if (!dir) {
                (void)close(fd); /* only read from */
                return error_oom(e);
        }
        for (;;) {
                const struct dirent *d;
                int r;

                errno = 0;
                d = readdir(dir);
                if (!d)
                        return errno != 0 ? failed(e, errno, path) : 0;
                if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
                        continue;
                r = visit(t, dirfd(dir), path, d->d_name, depth, e);
                if (r < 0)
                        return r;
        }
}

static int compare_path(const void *a, const void *b)
{
        const struct tree_entry *x = a, *y = b;

        /* "." is smaller than every name but those that begin with "!" to "-". */
        if (strcmp(x->path, ".") == 0 || strcmp(y->path, ".") == 0)
                return (strcmp(y->path, ".") == 0) - (strcmp(x->path, ".") == 0);
        return strcmp(x->path, y->path);
}

static int compare_identity(const void *a, const void *b)
{
        const struct tree_entry *x = *(struct tree_entry *const *)a;
        const struct tree_entry *y = *(struct tree_entry *const *)b;

        if (x->dev != y->dev)
                return x->dev < y->dev ? -1 : 1;
        if (x->ino != y->ino)
                return x->ino < y->ino ? -1 : 1;
        return (x > y) - (x < y); /* position in the sorted table */
}

static bool same_file(const struct tree_entry *a, const struct tree_entry *b)
{
        return a->dev == b->dev && a->ino == b->ino && !S_ISDIR(a->mode);
}

/* Finds hard links and numbers the files in order of their first name. */
static int number(struct tree *t, struct error *e)
{
        _cleanup_free_ struct tree_entry **by_identity = calloc(t->n, sizeof(*by_identity));
        uint64_t next = 1;

        if (!by_identity)
                return error_oom(e);
        for (size_t i = 0; i < t->n; i++)
                by_identity[i] = &t->entries[i];
        qsort(by_identity, t->n, sizeof(*by_identity), compare_identity);
        for (size_t i = 0, end; i < t->n; i = end) {
                for (end = i + 1; end < t->n && same_file(by_identity[i], by_identity[end]);)
                        end++;
                for (size_t k = i; k < end; k++) {
                        by_identity[k]->links = (uint32_t)(end - i);
                        by_identity[k]->last_link = k + 1 == end;
                        /* For now, where the first name stands. */
                        by_identity[k]->number = (uint64_t)(by_identity[i] - t->entries);
                }
        }
        for (size_t i = 0; i < t->n; i++) {
                struct tree_entry *entry = &t->entries[i];

                entry->number = entry->number == i ? next++ : t->entries[entry->number].number;
        }
        return 0;
}

int tree_scan(const char *root, struct tree **ret, struct error *e)
{
        _cleanup_(tree_free_p) struct tree *t = calloc(1, sizeof(*t));
        char *path;
        bool enter;
        int r, fd;

        if (!t)
                return error_oom(e);
        t->content = -EBADF;
        t->root = file_open_dir(AT_FDCWD, root);
        if (t->root < 0)
                return error_set(e, ERROR_CONFIG, -t->root, "cannot open root directory %s: %s",
                                 root, strerrordesc_np(-t->root));
        path = strdup(".");
        if (!path)
                return error_oom(e);
        r = add(t, t->root, "", path, &enter, e);
        if (r < 0)
                return r;
        fd = fcntl(t->root, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return failed(e, errno, root);
        r = walk(t, fd, ".", 0, e);
        if (r < 0)
                return r;
        qsort(t->entries, t->n, sizeof(*t->entries), compare_path);
        r = number(t, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

int tree_from_entries(struct tree_entry *entries, size_t n, int content, int init_error,
                      mode_t init_mode, struct tree **ret, struct error *e)
{
        _cleanup_(tree_free_p) struct tree *t = calloc(1, sizeof(*t));
        int r;

        if (!t) {
                tree_free_entries(entries, n);
                close_p(&content);
                return error_oom(e);
        }
        *t = (struct tree){.root = -EBADF,
                           .content = content,
                           .init_error = init_error,
                           .init_mode = init_mode,
                           .entries = entries,
                           .n = n};
        qsort(t->entries, t->n, sizeof(*t->entries), compare_path);
        r = number(t, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

void tree_free_entries(struct tree_entry *entries, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                free(entries[i].path);
                free(entries[i].link);
                free(entries[i].xattrs);
        }
        free(entries);
}

void tree_free(struct tree *t)
{
        if (!t)
                return;
        tree_free_entries(t->entries, t->n);
        close_p(&t->root);
        close_p(&t->content);
        free(t);
}

const struct tree_entry *tree_at(const struct tree *t, size_t i)
{
        return i < t->n ? &t->entries[i] : NULL;
}

int tree_open(const struct tree *t, const struct tree_entry *entry, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (t->root < 0) {
                fd = fcntl(t->content, F_DUPFD_CLOEXEC, 0);
                return fd < 0 ? failed(e, errno, entry->path) : TAKE_FD(fd);
        }
        fd = open_beneath(t->root, entry->path, 0);
        if (fd < 0)
                return failed(e, -fd, entry->path);
        if (fstat(fd, &st) < 0)
                return failed(e, errno, entry->path);
        if (!S_ISREG(st.st_mode) || st.st_ino != entry->ino || (uint64_t)st.st_size != entry->size)
                return error_set(e, ERROR_BUSY, ESTALE, "%s changed while it was read",
                                 entry->path);
        return TAKE_FD(fd);
}

const struct tree_entry *tree_find(const struct tree *t, const char *path)
{
        const struct tree_entry wanted = {.path = (char *)(uintptr_t)path}; /* only read */

        return bsearch(&wanted, t->entries, t->n, sizeof(*t->entries), compare_path);
}

int tree_xattrs(const struct tree *t, const struct tree_entry *entry, struct buf *out,
                struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (t->root < 0) {
                r = buf_add(out, entry->xattrs, entry->xattrs_len);
        } else if (S_ISREG(entry->mode) || S_ISDIR(entry->mode)) {
                fd = S_ISREG(entry->mode) ? tree_open(t, entry, e)
                                          : open_beneath(t->root, entry->path, O_DIRECTORY);
                if (fd < 0)
                        return S_ISREG(entry->mode) ? fd : failed(e, -fd, entry->path);
                r = xattr_read(fd, out);
        } else {
                r = 0;
        }
        return r < 0 ? failed(e, -r, entry->path) : 0;
}

ssize_t tree_read(const struct tree_entry *entry, int fd, uint64_t at, void *buf, size_t n,
                  struct error *e)
{
        uint64_t left = entry->size - at;
        ssize_t got = file_pread(fd, buf, left < n ? (size_t)left : n, entry->offset + at);

        if (got < 0)
                return error_errno(e, (int)-got, "cannot read %s", entry->path);
        if (got == 0)
                return error_set(e, ERROR_BUSY, ESTALE, "%s shrank while it was read", entry->path);
        return got;
}

int tree_copy(const struct tree *t, const struct tree_entry *entry, int to, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        _cleanup_close_ int fd = tree_open(t, entry, e);

        if (fd < 0)
                return fd;
        if (!chunk)
                return error_oom(e);
        for (uint64_t done = 0; done < entry->size;) {
                ssize_t n = tree_read(entry, fd, done, chunk, FILE_CHUNK, e);
                int r;

                if (n < 0)
                        return (int)n;
                r = file_write(to, chunk, (size_t)n);
                if (r < 0)
                        return error_errno(e, -r, "cannot keep %s", entry->path);
                done += (uint64_t)n;
        }
        return 0;
}

static int no_init(struct error *e, int code, const char *why)
{
        int r = error_set(e, ERROR_CONFIG, code, "the root directory has no usable /init: %s", why);

        error_advise(e, "the kernel starts /init of the image: put an executable there, or a link "
                        "to one");
        return r;
}

static int check_init_mode(mode_t mode, struct error *e)
{
        if (!S_ISREG(mode))
                return no_init(e, EINVAL, "it is no regular file");
        if ((mode & 0111) == 0)
                return no_init(e, EACCES, "it is not executable");
        return 0;
}

int tree_check_init(const struct tree *t, struct error *e)
{
        struct open_how how = {
                .flags = O_PATH | O_CLOEXEC,
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (t->root < 0 && t->init_error > 0)
                return no_init(e, t->init_error, strerrordesc_np(t->init_error));
        if (t->root < 0)
                return check_init_mode(t->init_mode, e);
        fd = (int)syscall(SYS_openat2, t->root, "/init", &how, sizeof(how));
        if (fd < 0)
                return no_init(e, errno, strerrordesc_np(errno));
        if (fstat(fd, &st) < 0)
                return failed(e, errno, "init");
        return check_init_mode(st.st_mode, e);
}
