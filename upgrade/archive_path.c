/* SPDX-License-Identifier: Apache-2.0 */
/* Files below a folder: the half of upgrade/archive_source.h that opens paths. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/limits.h"
#include "upgrade/archive_source.h"

bool layout_name_valid(const char *name)
{
        static const char prefix[] = "blobs/";
        char text[OCI_DIGEST_TEXT_SIZE];
        struct oci_digest d;
        const char *slash;

        if (strcmp(name, "oci-layout") == 0 || strcmp(name, "index.json") == 0)
                return true;
        if (strncmp(name, prefix, strlen(prefix)) != 0)
                return false;
        name += strlen(prefix);
        slash = strchr(name, '/');
        if (!slash || strlen(name) >= sizeof(text))
                return false;
        memcpy(text, name, strlen(name) + 1);
        text[slash - name] = ':';
        return oci_digest_parse(text, &d) == 0;
}

/* Beneath the folder, through no link whatever. */
static int open_beneath(int dirfd, const char *name, uint64_t flags)
{
        const struct open_how how = {
                /* Not to wait for the other end of a pipe. */
                .flags = flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        long fd = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));

        return fd < 0 ? -errno : (int)fd;
}

static int open_failed(int r, const char *name, struct error *e)
{
        if (r == -ENOENT)
                return error_set(e, ERROR_REFUSED, ENOENT, "source: there is no %s in it", name);
        if (r == -ELOOP || r == -EXDEV)
                return error_set(e, ERROR_REFUSED, ELOOP, "source: %s is or leads through a link",
                                 name);
        return error_errno(e, -r, "source: %s", name);
}

static int check_regular(int fd, const char *name, struct error *e)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return open_failed(-errno, name, e);
        if (!S_ISREG(st.st_mode))
                return error_set(e, ERROR_REFUSED, EINVAL, "source: %s is no file", name);
        return 0;
}

int layout_open(int dirfd, const char *name, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!layout_name_valid(name))
                return error_set(e, ERROR_REFUSED, EINVAL,
                                 "source: a name that no OCI layout has was asked for");
        fd = open_beneath(dirfd, name, 0);
        if (fd < 0)
                return open_failed(fd, name, e);
        r = check_regular(fd, name, e);
        return r < 0 ? r : TAKE_FD(fd);
}

int layout_is(int dirfd, struct error *e)
{
        struct error error = ERROR_INIT;
        _cleanup_close_ int fd = layout_open(dirfd, "oci-layout", &error);

        if (fd >= 0)
                return 1;
        /* There is none, or what has its name is no file. */
        if (error.class == ERROR_REFUSED)
                return 0;
        if (e)
                *e = error;
        return fd;
}

/* The name in this folder that equals word but for case. */
static int find_name(int dirfd, const char *word, char ret[NAME_MAX + 1])
{
        int fd = file_open_dir(dirfd, ".");
        unsigned found = 0, seen = 0;
        struct dirent *d;
        DIR *dir;

        if (fd < 0)
                return fd;
        dir = fdopendir(fd);
        if (!dir) {
                close_p(&fd);
                return -ENOMEM;
        }
        while (seen++ < LIMIT_ESP_FILES && (d = readdir(dir))) {
                if (strcasecmp(d->d_name, word) != 0)
                        continue;
                memcpy(ret, d->d_name, strlen(d->d_name) + 1);
                found++;
        }
        (void)closedir(dir); /* only read from */
        return found == 0 ? -ENOENT : found == 1 ? 0 : -ENOTUNIQ;
}

/* One component: as it is written, else with other case. */
static int open_component(int dirfd, const char *word, uint64_t flags)
{
        char name[NAME_MAX + 1];
        int fd = open_beneath(dirfd, word, flags), r;

        if (fd != -ENOENT)
                return fd;
        r = find_name(dirfd, word, name);
        return r < 0 ? r : open_beneath(dirfd, name, flags);
}

int archive_tree_open(int dirfd, const char *path, struct error *e)
{
        _cleanup_close_ int dir = file_open_dir(dirfd, ".");
        const char *p = path;
        int fd = dir, r;

        while (fd >= 0) {
                size_t n = strcspn(p, "/");
                char word[NAME_MAX + 1];

                if (n == 0 || n > NAME_MAX || strspn(p, ".") == n)
                        return error_set(e, ERROR_INTERNAL, EINVAL, "source: path %s", path);
                memcpy(word, p, n);
                word[n] = '\0';
                fd = open_component(dir, word, p[n] ? O_DIRECTORY : 0);
                close_p(&dir);
                if (fd < 0 || p[n] == '\0')
                        break;
                dir = fd;
                p += n + 1;
        }
        if (fd == -ENOTUNIQ)
                return error_set(e, ERROR_REFUSED, ENOTUNIQ,
                                 "source: two names differ from %s in case only", path);
        if (fd == -ENOTDIR)
                fd = -ENOENT;
        if (fd < 0)
                return open_failed(fd, path, e);
        dir = fd; /* closed when it is no file */
        r = check_regular(fd, path, e);
        return r < 0 ? r : TAKE_FD(dir);
}
