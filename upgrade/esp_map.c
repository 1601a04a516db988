/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/esp_map.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/limits.h"
#include "upgrade/esp_path.h"

struct search {
        esp_map_cluster *map;
        uint64_t cluster_size;
        uint64_t *clusters; /* of the file in question, ascending */
        size_t n;
        struct stat self;
        unsigned seen; /* names looked at */
        char *path;    /* PATH_MAX: where the search is */
};

static int kernel_map(int fd, uint64_t offset, uint64_t *ret)
{
        int block_size, block;

        if (ioctl(fd, FIGETBSZ, &block_size) < 0)
                return -errno;
        if (block_size <= 0 || offset / (uint64_t)block_size > INT_MAX)
                return -EFBIG;
        block = (int)(offset / (uint64_t)block_size);
        if (ioctl(fd, FIBMAP, &block) < 0)
                return -errno;
        *ret = (uint64_t)(unsigned)block;
        return 0;
}

static int compare_u64(const void *a, const void *b)
{
        const uint64_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static int load(struct search *s, int fd)
{
        uint64_t size;

        if (fstat(fd, &s->self) < 0)
                return -errno;
        size = (uint64_t)s->self.st_size;
        if (size > LIMIT_IMAGE_SIZE)
                return -EFBIG;
        s->clusters = calloc(size / s->cluster_size + 1, sizeof(*s->clusters));
        if (!s->clusters)
                return -ENOMEM;
        for (uint64_t offset = 0; offset < size; offset += s->cluster_size) {
                uint64_t cluster = 0;
                int r = s->map(fd, offset, &cluster);

                if (r < 0)
                        return r;
                if (cluster != 0)
                        s->clusters[s->n++] = cluster;
        }
        qsort(s->clusters, s->n, sizeof(*s->clusters), compare_u64);
        return 0;
}

/* 1 when the open file has a cluster of the one in question. */
static int shares(struct search *s, int fd, const struct stat *st)
{
        uint64_t size = (uint64_t)st->st_size;

        for (uint64_t offset = 0; offset < size; offset += s->cluster_size) {
                uint64_t cluster = 0;
                int r = s->map(fd, offset, &cluster);

                if (r < 0)
                        return r;
                if (cluster != 0 &&
                    bsearch(&cluster, s->clusters, s->n, sizeof(*s->clusters), compare_u64))
                        return 1;
        }
        return 0;
}

static int search_dir(struct search *s, int fd, size_t path_len, unsigned depth);

static int search_name(struct search *s, int dir, const char *name, size_t path_len, unsigned depth)
{
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int n;

        n = snprintf(s->path + path_len, PATH_MAX - path_len, "%s%s", path_len > 0 ? "/" : "",
                     name);
        if (n < 0 || (size_t)n >= PATH_MAX - path_len)
                return -ENAMETOOLONG;
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
                return 0;
        if (st.st_dev == s->self.st_dev && st.st_ino == s->self.st_ino)
                return 0;
        fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (S_ISREG(st.st_mode))
                return shares(s, fd, &st);
        return search_dir(s, fd, path_len + (size_t)n, depth + 1);
}

static void close_stream(DIR **stream)
{
        if (*stream)
                (void)closedir(*stream); /* only read from */
}

static int search_dir(struct search *s, int fd, size_t path_len, unsigned depth)
{
        _cleanup_(close_stream) DIR *stream = NULL;
        int own;

        if (depth > LIMIT_ESP_DEPTH)
                return -ELOOP;
        own = file_open_dir(fd, ".");
        if (own < 0)
                return own;
        stream = fdopendir(own);
        if (!stream) {
                int r = -errno;

                close_p(&own);
                return r;
        }
        for (;;) {
                struct dirent *entry;
                int r;

                errno = 0;
                entry = readdir(stream);
                if (!entry)
                        return -errno;
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (s->seen++ >= LIMIT_ESP_FILES)
                        return -E2BIG;
                r = search_name(s, own, entry->d_name, path_len, depth);
                if (r != 0)
                        return r;
        }
}

int esp_map_shared(int root, const char *path, esp_map_cluster *map, char ret_other[PATH_MAX])
{
        _cleanup_close_ int fd = esp_path_open(root, path, O_RDONLY);
        struct search s = {.map = map ?: kernel_map, .path = ret_other};
        struct statfs fs;
        int r;

        if (fd < 0)
                return fd;
        if (fstatfs(fd, &fs) < 0)
                return -errno;
        if (!map && fs.f_type != MSDOS_SUPER_MAGIC)
                return 0; /* no cross-links there */
        s.cluster_size = fs.f_bsize > 0 ? (uint64_t)fs.f_bsize : 512;
        r = load(&s, fd);
        if (r == 0 && s.n > 0)
                r = search_dir(&s, root, 0, 0);
        free(s.clusters);
        return r;
}
