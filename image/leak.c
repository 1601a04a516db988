/* SPDX-License-Identifier: Apache-2.0 */
#include "image/leak.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "image/keyfile.h"

#define PIECE 4096u

static void closedir_p(DIR **dir)
{
        if (*dir)
                (void)closedir(*dir);
        *dir = NULL;
}

static int found(struct error *e, const char *keys, const char *name, const char *path)
{
        (void)error_set(e, ERROR_CONFIG, EPERM, "the root directory holds %s %s%s%s as %s",
                        *name ? "the private key" : "the key directory", keys, *name ? "/" : "",
                        name, path);
        error_advise(e, "keep the keys elsewhere: everybody who has an image can read what is in "
                        "its root");
        return -EPERM;
}

static bool is_private(const char *name)
{
        size_t n = strlen(name);

        return (n > 4 && strcmp(name + n - 4, ".key") == 0) ||
               strcmp(name, KEYFILE_POLICY_PRIVATE) == 0 ||
               strcmp(name, KEYFILE_LATER_PRIVATE) == 0;
}

/* 1, 0, or a negative errno. The buffers hold key material for a moment. */
static int same_content(int a, int b, uint64_t b_offset, uint64_t size)
{
        uint8_t x[PIECE], y[PIECE];
        int r = 1;

        for (uint64_t at = 0; r > 0 && at < size; at += PIECE) {
                size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
                ssize_t n = file_pread(a, x, want, at), m = file_pread(b, y, want, b_offset + at);

                if (n < 0 || m < 0)
                        r = (int)(n < 0 ? n : m);
                else
                        r = n == m && memcmp(x, y, (size_t)n) == 0;
        }
        explicit_bzero(x, sizeof(x));
        explicit_bzero(y, sizeof(y));
        return r;
}

/* Whether an entry of the tree is this key or a copy of it: 1, 0 or a negative errno. A key that
 * cannot be read (negative descriptor) has no copies made by who builds here. */
static int is_key(const struct tree *t, const struct tree_entry *entry, int key,
                  const struct stat *st, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!S_ISREG(entry->mode) || entry->size != (uint64_t)st->st_size || st->st_size == 0)
                return 0;
        if (entry->dev == st->st_dev && entry->ino == st->st_ino)
                return 1;
        if (key < 0)
                return 0;
        fd = tree_open(t, entry, e);
        if (fd < 0)
                return fd;
        r = same_content(key, fd, entry->offset, entry->size);
        return r < 0 ? error_errno(e, -r, "cannot read %s", entry->path) : r;
}

static int check_key(const struct tree *t, const char *keys, int dir, const char *name,
                     struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        const struct tree_entry *entry;
        struct stat st;

        if (fstatat(dir, name, &st, 0) < 0 || !S_ISREG(st.st_mode))
                return 0; /* a dangling link, a device: nothing that an image could hold */
        fd = file_open_regular(dir, name);
        for (size_t i = 0; (entry = tree_at(t, i)); i++) {
                int r = is_key(t, entry, fd, &st, e);

                if (r != 0)
                        return r < 0 ? r : found(e, keys, name, entry->path);
        }
        return 0;
}

static int check_directory(const struct tree *t, const char *keys, int dir, struct error *e)
{
        const struct tree_entry *entry;
        struct stat st;

        if (fstat(dir, &st) < 0)
                return error_errno(e, errno, "cannot read %s", keys);
        for (size_t i = 0; (entry = tree_at(t, i)); i++)
                if (S_ISDIR(entry->mode) && entry->dev == st.st_dev && entry->ino == st.st_ino)
                        return found(e, keys, "", entry->path);
        return 0;
}

int leak_check(const struct tree *t, const char *keys, struct error *e)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, keys);
        _cleanup_(closedir_p) DIR *dir = NULL;
        const struct dirent *d;
        int r;

        if (fd < 0)
                return error_set(e, ERROR_CONFIG, -fd, "cannot read %s: %s", keys,
                                 file_strerror(fd));
        r = check_directory(t, keys, fd, e);
        if (r < 0)
                return r;
        dir = fdopendir(fd);
        if (!dir)
                return error_oom(e);
        (void)TAKE_FD(fd);
        for (;;) {
                errno = 0;
                d = readdir(dir);
                if (!d)
                        return errno != 0 ? error_errno(e, errno, "cannot read %s", keys) : 0;
                r = is_private(d->d_name) ? check_key(t, keys, dirfd(dir), d->d_name, e) : 0;
                if (r < 0)
                        return r;
        }
}
