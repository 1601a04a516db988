/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new content for a small file by RENAME_EXCHANGE. On vfat the two directory records swap what
 * they lead to and nothing else changes; a power cut between the two leaves both names on the same
 * clusters, old or new, which is why a name like that is never deleted blindly.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "upgrade/esp_map.h"
#include "upgrade/esp_path.h"
#include "upgrade/esp_step.h"

/* Names of ESP_TEMPORARY that are tried: one is enough unless cuts left cross-links. */
#define TEMPORARY_MAX 10u

/* In the folder of path; a path that ends in a slash is a folder. */
static int temporary_path(const char *path, unsigned i, char ret[PATH_MAX])
{
        const char *slash = strrchr(path, '/');
        int dir = slash ? (int)(slash - path) + 1 : 0, n;

        n = snprintf(ret, PATH_MAX, "%.*s" ESP_TEMPORARY, dir, path, i);
        return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* 1 when there is nothing under the name any more; 0 when what is there cannot be deleted safely:
 * it is nobody's content any more, and fsck.vfat finds it. */
static int drop_temporary(const struct esp *esp, const char *path, struct error *e)
{
        struct error error = ERROR_INIT;
        const char *name;
        uint64_t size;
        int r = esp_path_find(esp->root, path, &name, &size);

        if (r == -ENOENT)
                return 1;
        if (r < 0)
                return error_errno(e, -r, "%s", path);
        r = esp_remove(esp, path, &error);
        if (r == -EUCLEAN) {
                log_warning("%s stays: %s", path, error.text);
                return 0;
        }
        if (r < 0 && e)
                *e = error;
        return r < 0 ? r : 1;
}

/* Deletes what earlier runs left; ret gets the first name that is free. */
static int find_temporary(const struct esp *esp, const char *path, char ret[PATH_MAX],
                          struct error *e)
{
        bool found = false;

        for (unsigned i = 0; i < TEMPORARY_MAX; i++) {
                char candidate[PATH_MAX];
                int r = temporary_path(path, i, candidate);

                if (r < 0)
                        return error_errno(e, -r, "%s", path);
                r = drop_temporary(esp, candidate, e);
                if (r < 0)
                        return r;
                if (r > 0 && !found) {
                        memcpy(ret, candidate, sizeof(candidate));
                        found = true;
                }
        }
        return found ? 0 : error_set(e, ERROR_IO, EUCLEAN, "%s: no temporary name is free", path);
}

int esp_drop_temporary(const struct esp *esp, const char *folder, struct error *e)
{
        char path[PATH_MAX], unused[PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s/", folder);

        if (n < 0 || (size_t)n >= sizeof(path))
                return error_set(e, ERROR_INTERNAL, ENAMETOOLONG, "%s", folder);
        return find_temporary(esp, path, unused, e);
}

/* 1 when the path has this content already, on clusters of its own. */
static int is_settled(const struct esp *esp, const char *path, const void *data, size_t n,
                      struct error *e)
{
        _cleanup_(buf_done) struct buf old = BUF_INIT(LIMIT_BOOT_LOADER);
        char other[PATH_MAX];
        int r = esp_path_read(esp->root, path, &old);

        if (r < 0 && r != -E2BIG)
                return error_errno(e, -r, "%s: read", path);
        if (r < 0 || !esp_step_same(&old, data, n))
                return 0;
        r = esp_map_shared(esp->root, path, esp->clusters, other);
        if (r < 0)
                return error_errno(e, -r, "%s: look up its clusters", path);
        if (r > 0)
                log_warning("%s shares clusters with %s and gets its own", path, other);
        return r == 0;
}

static int exchange(const struct esp *esp, const char *path, const char *temporary, struct error *e)
{
        _cleanup_close_ int dir = -EBADF, a = -EBADF, b = -EBADF;
        const char *name, *other = strrchr(temporary, '/');
        int r;

        dir = esp_path_parent(esp->root, path, &name);
        a = esp_path_open(esp->root, path, O_RDONLY);
        b = esp_path_open(esp->root, temporary, O_RDONLY);
        r = dir < 0 ? dir : a < 0 ? a : b < 0 ? b : esp_step(esp, "exchange", path);
        if (r == 0 && renameat2(dir, other ? other + 1 : temporary, dir, name, RENAME_EXCHANGE) < 0)
                r = errno == EINVAL ? -EOPNOTSUPP : -errno;
        /* Each record is written with its file: both, then the folder. */
        if (r == 0)
                r = esp_step_sync(esp, "sync", path, b);
        if (r == 0)
                r = esp_step_sync(esp, "sync", temporary, a);
        if (r == 0)
                r = esp_step_sync(esp, "sync-dir", path, dir);
        return r < 0 ? error_errno(e, -r, "%s: exchange", path) : 0;
}

int esp_step_exchange(const struct esp *esp, const char *path, const void *data, size_t n,
                      struct error *e)
{
        char temporary[PATH_MAX];
        int settled, r;

        r = find_temporary(esp, path, temporary, e);
        if (r < 0)
                return r;
        settled = is_settled(esp, path, data, n, e);
        if (settled != 0)
                return settled < 0 ? settled : esp_step_sync_existing(esp, path, e);
        r = esp_step_write_small(esp, temporary, data, n, e);
        if (r == 0)
                r = exchange(esp, path, temporary, e);
        if (r < 0)
                return r;
        r = drop_temporary(esp, temporary, e);
        return r < 0 ? r : 0;
}

int esp_exchange_file(const struct esp *esp, const char *path, const void *data, size_t n,
                      struct error *e)
{
        const char *name;
        uint64_t size;
        int r;

        if (n > LIMIT_BOOT_LOADER || esp_step_is_entry(path))
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not a small file", path);
        r = esp_path_find(esp->root, path, &name, &size);
        if (r == -ENOENT)
                return esp_add_file(esp, path, data, n, e);
        return r < 0 ? error_errno(e, -r, "%s", path) : esp_step_exchange(esp, path, data, n, e);
}
