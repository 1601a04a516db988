/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/esp_step.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "upgrade/esp_map.h"
#include "upgrade/esp_path.h"

int esp_step(const struct esp *esp, const char *what, const char *path)
{
        return esp->step ? esp->step(esp->step_arg, what, path) : 0;
}

int esp_step_sync(const struct esp *esp, const char *what, const char *path, int fd)
{
        int r = esp_step(esp, what, path);

        return r < 0 ? r : file_sync(fd);
}

int esp_step_sync_existing(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_close_ int dir = -EBADF, fd = -EBADF;
        const char *name;
        int r;

        dir = esp_path_parent(esp->root, path, &name);
        fd = esp_path_open(esp->root, path, O_RDONLY);
        r = dir < 0 ? dir : fd < 0 ? fd : esp_step_sync(esp, "sync", path, fd);
        if (r == 0)
                r = esp_step_sync(esp, "sync-dir", path, dir);
        return r < 0 ? error_errno(e, -r, "%s: sync", path) : 0;
}

int esp_step_unlink(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_close_ int dir = -EBADF;
        const char *name;
        int r;

        dir = esp_path_parent(esp->root, path, &name);
        r = dir < 0 ? dir : esp_step(esp, "unlink", path);
        if (r >= 0)
                r = unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
        if (r == 0)
                r = esp_step_sync(esp, "sync-dir", path, dir);
        return r < 0 && r != -ENOENT ? error_errno(e, -r, "%s: delete", path) : 0;
}

int esp_step_check_shared(const struct esp *esp, const char *path, struct error *e)
{
        char other[PATH_MAX];
        int r = esp_map_shared(esp->root, path, esp->clusters, other);

        if (r < 0) {
                r = error_errno(e, -r, "%s: look up its clusters", path);
                if (r == -EPERM)
                        error_advise(e, "run with the capability CAP_SYS_RAWIO");
        } else if (r > 0) {
                r = error_set(e, ERROR_IO, EUCLEAN, "%s shares clusters with %s", path, other);
                error_advise(e,
                             "\"fsck.vfat -r\" on the unmounted boot partition asks which of the "
                             "two to cut: the one that no boot entry names");
        }
        return r;
}

bool esp_step_is_entry(const char *path)
{
        size_t n = strlen(ESP_ENTRY_DIR "/");

        return strncasecmp(path, ESP_ENTRY_DIR "/", n) == 0;
}

bool esp_step_same(const struct buf *b, const void *data, size_t n)
{
        return b->len == n && (n == 0 || memcmp(b->data, data, n) == 0);
}

int esp_step_write_small(const struct esp *esp, const char *path, const void *data, size_t n,
                         struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = NULL;
        int r;

        r = esp_writer_begin(esp, path, n, &w, e);
        if (r == 0)
                r = esp_writer_write(w, data, n, e);
        return r < 0 ? r : esp_writer_finish(w, NULL, NULL, NULL, e);
}
