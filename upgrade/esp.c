/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/esp.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "upgrade/esp_list.h"
#include "upgrade/esp_map.h"
#include "upgrade/esp_path.h"
#include "upgrade/esp_step.h"

/* Clusters that are kept back from images: for entries and other files of one cluster, without
 * which an image is of no use, and for directories that have to grow for a new name. */
#define SPARE_CLUSTERS 8u
#define SPARE_DIRECTORY_CLUSTERS 3u

/* --- space and directories ------------------------------------------------------------------- */

/* What is available when so many clusters are kept back. */
static int get_space(const struct esp *esp, unsigned spare, struct esp_space *ret, struct error *e)
{
        struct statvfs v;
        uint64_t free_clusters;

        if (fstatvfs(esp->root, &v) < 0)
                return error_errno(e, errno, "boot partition: statvfs");
        free_clusters = v.f_bavail > spare ? v.f_bavail - spare : 0;
        ret->cluster = v.f_frsize > 0 ? v.f_frsize : 1;
        if (mul_u64(free_clusters, ret->cluster, &ret->available) < 0)
                ret->available = UINT64_MAX;
        return 0;
}

int esp_get_space(const struct esp *esp, struct esp_space *ret, struct error *e)
{
        return get_space(esp, SPARE_CLUSTERS, ret, e);
}

int esp_free_space(const struct esp *esp, uint64_t *ret, struct error *e)
{
        struct esp_space space = {0};
        int r = esp_get_space(esp, &space, e);

        if (r == 0)
                *ret = space.available;
        return r;
}

/*
 * A count, not a reservation: fallocate() on vfat would write the whole file once with zeros, and
 * nobody else writes to the ESP while the agent holds its lock.
 */
int esp_check_space(const struct esp *esp, uint64_t size, struct error *e)
{
        struct esp_space space = {0};
        char need_text[32], free_text[32];
        uint64_t need;
        int r;

        r = get_space(esp, SPARE_CLUSTERS, &space, e);
        if (r == 0 && size <= space.cluster)
                r = get_space(esp, SPARE_DIRECTORY_CLUSTERS, &space, e);
        if (r < 0)
                return r;
        if (size <= LIMIT_IMAGE_SIZE && align_up_u64(size, space.cluster, &need) == 0 &&
            need <= space.available)
                return 0;
        r = error_set(e, ERROR_SPACE, ENOSPC, "boot partition: a file of %s does not fit, %s free",
                      format_size(size, need_text, sizeof(need_text)),
                      format_size(space.available, free_text, sizeof(free_text)));
        error_advise(e, "remove images that no boot entry names, or enlarge the boot partition");
        return r;
}

int esp_make_dir(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return error_oom(e);
        if (esp->fat)
                return fat_make_dir(esp->fat, path, e);
        for (char *p = copy;; p++) {
                _cleanup_close_ int dir = -EBADF;
                const char *name;
                char c;
                int r;

                p += strcspn(p, "/");
                c = *p;
                *p = '\0';
                dir = esp_path_parent(esp->root, copy, &name);
                r = dir < 0 ? dir : esp_step(esp, "mkdir", copy);
                if (r >= 0)
                        r = mkdirat(dir, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
                if (r == 0)
                        r = esp_step_sync(esp, "sync-dir", copy, dir);
                if (r < 0)
                        return error_errno(e, -r, "%s: create directory", copy);
                if (c == '\0')
                        return 0;
                *p = c;
        }
}

int esp_sync(const struct esp *esp, struct error *e)
{
        int r = esp_step(esp, "sync", "/");

        /* syncfs() writes and does not flush the drive's cache on vfat; fsync() does. */
        if (r == 0 && syncfs(esp->root) < 0)
                r = -errno;
        if (r == 0)
                r = file_sync(esp->root);
        return r < 0 ? error_errno(e, -r, "boot partition: sync") : 0;
}

/* --- entries --------------------------------------------------------------------------------- */

static int entry_path(const char *file, char ret[PATH_MAX])
{
        struct entry_name name;
        int n;

        if (entry_name_parse(file, &name) < 0)
                return -EINVAL;
        n = snprintf(ret, PATH_MAX, ESP_ENTRY_DIR "/%s", file);
        return n > 0 && n < PATH_MAX ? 0 : -EINVAL;
}

static int check_text(const struct esp *esp, const char *file, const void *text, size_t n,
                      struct error *e)
{
        struct entry entry;

        if (entry_parse(text, n, &entry) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not the text of a boot entry",
                                 file);
        if (esp->fat ? !fat_has_file(esp->fat, entry.image)
                     : !esp_list_image_present(esp->root, &entry))
                return error_set(e, ERROR_PRECONDITION, ENOENT,
                                 "%s: the boot entry names %s, which does not exist", file,
                                 entry.image);
        return 0;
}

/* Entries of any size: those of other installers are blessed as well. */
static int add_entry(const struct esp *esp, const char *file, const void *text, size_t n,
                     struct error *e)
{
        _cleanup_(buf_done) struct buf old = BUF_INIT(LIMIT_LOADER_ENTRY);
        char path[PATH_MAX];
        int r;

        if (entry_path(file, path) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not the name of a boot entry",
                                 file);
        r = check_text(esp, file, text, n, e);
        if (r < 0)
                return r;
        if (esp->fat)
                return fat_add_file(esp->fat, path, text, n, e);
        r = esp_path_read(esp->root, path, &old);
        if (r == 0 && esp_step_same(&old, text, n))
                return esp_step_sync_existing(esp, path, e);
        if (r == 0 && esp_list_usable(esp->root, old.data, old.len))
                return error_set(e, ERROR_PRECONDITION, EEXIST, "%s exists with another content",
                                 path);
        if (r == 0)
                r = esp_remove(esp, path, e);
        else if (r != -ENOENT)
                return error_errno(e, -r, "%s: read", path);
        else
                r = 0;
        return r < 0 ? r : esp_step_write_small(esp, path, text, n, e);
}

int esp_add_entry(const struct esp *esp, const char *file, const char text[ENTRY_SIZE],
                  struct error *e)
{
        return add_entry(esp, file, text, ENTRY_SIZE, e);
}

static int overwrite(const struct esp *esp, const char *path, const char text[ENTRY_SIZE])
{
        _cleanup_close_ int fd = esp_path_open(esp->root, path, O_RDWR);
        char now[ENTRY_SIZE];
        struct stat st;
        ssize_t n;
        int r;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size != ENTRY_SIZE)
                return -EINVAL;
        n = file_pread(fd, now, sizeof(now), 0);
        if (n == ENTRY_SIZE && memcmp(now, text, sizeof(now)) == 0)
                return esp_step_sync(esp, "sync", path, fd); /* done by an earlier run */
        r = esp_step(esp, "overwrite", path);
        if (r < 0)
                return r;
        /* One call: the sector goes to the device as a whole or not at all. */
        n = pwrite(fd, text, ENTRY_SIZE, 0);
        if (n != ENTRY_SIZE)
                return n < 0 ? -errno : -EIO;
        r = esp_step_sync(esp, "sync", path, fd);
        if (r < 0)
                return r;
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* else the cache is compared */
        n = file_pread(fd, now, sizeof(now), 0);
        if (n < 0)
                return (int)n;
        return n == ENTRY_SIZE && memcmp(now, text, sizeof(now)) == 0 ? 0 : -EIO;
}

int esp_write_entry_in_place(const struct esp *esp, const char *file, const char text[ENTRY_SIZE],
                             struct error *e)
{
        struct error error = ERROR_INIT;
        char path[PATH_MAX];
        int r;

        if (entry_path(file, path) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not the name of a boot entry",
                                 file);
        r = check_text(esp, file, text, ENTRY_SIZE, e);
        if (r == 0)
                r = esp_step_check_shared(esp, path, &error);
        if (r == -EUCLEAN)
                return esp_step_exchange(esp, path, text, ENTRY_SIZE, e);
        if (r < 0) {
                if (error.code != 0 && e)
                        *e = error;
                return r;
        }
        r = overwrite(esp, path, text);
        if (r == -EINVAL)
                return error_set(e, ERROR_PRECONDITION, EINVAL,
                                 "%s is not a boot entry of exactly %u bytes", path, ENTRY_SIZE);
        return r < 0 ? error_errno(e, -r, "%s: write", path) : 0;
}

int esp_set_entry(const struct esp *esp, const char *file, const char text[ENTRY_SIZE],
                  struct error *e)
{
        _cleanup_(buf_done) struct buf old = BUF_INIT(LIMIT_LOADER_ENTRY);
        char path[PATH_MAX];
        int r;

        if (entry_path(file, path) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not the name of a boot entry",
                                 file);
        r = esp_path_read(esp->root, path, &old);
        if (r == 0 && old.len == ENTRY_SIZE)
                return esp_write_entry_in_place(esp, file, text, e);
        if (r < 0 && r != -ENOENT && r != -E2BIG)
                return error_errno(e, -r, "%s: read", path);
        r = check_text(esp, file, text, ENTRY_SIZE, e);
        if (r < 0)
                return r;
        if (esp_list_usable(esp->root, old.data, old.len))
                return esp_step_exchange(esp, path, text, ENTRY_SIZE, e);
        r = esp_remove(esp, path, e); /* a leftover, or absent */
        return r < 0 ? r : esp_step_write_small(esp, path, text, ENTRY_SIZE, e);
}

/* --- confirming a boot ----------------------------------------------------------------------- */

/* Takes the loader's path apart: it has to be a counted entry of the entry directory. */
static int parse_count_path(const char *path, char ret_file[NAME_MAX + 1], struct entry_name *ret)
{
        char copy[PATH_MAX];
        size_t n = strlen(path);

        if (n >= sizeof(copy))
                return -EINVAL;
        memcpy(copy, path, n + 1);
        for (char *p = copy; *p; p++) {
                if (*p == '\\')
                        *p = '/';
        }
        path = copy + strspn(copy, "/");
        if (!esp_step_is_entry(path))
                return -EINVAL;
        path += strlen(ESP_ENTRY_DIR "/");
        if (entry_name_parse(path, ret) < 0 || !ret->counted)
                return -EINVAL;
        memcpy(ret_file, path, strlen(path) + 1);
        return 0;
}

/* The uncounted entry, durable, with the text of the counted one. The counted one is still there:
 * a cut at any point leaves it. */
static int make_twin(const struct esp *esp, const char *twin, const struct buf *text,
                     struct error *e)
{
        _cleanup_(buf_done) struct buf old = BUF_INIT(LIMIT_LOADER_ENTRY);
        char path[PATH_MAX];
        int r;

        if (entry_path(twin, path) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not the name of a boot entry",
                                 twin);
        r = esp_path_read(esp->root, path, &old);
        if (r == 0 && old.len == ENTRY_SIZE && text->len == ENTRY_SIZE)
                return esp_write_entry_in_place(esp, twin, (const char *)text->data, e);
        if (r == 0 && !esp_step_same(&old, text->data, text->len)) {
                r = esp_remove(esp, path, e);
                if (r < 0)
                        return r;
        }
        return add_entry(esp, twin, text->data, text->len, e);
}

/* A counted entry of this base that says the same. */
static bool is_counted_twin(const struct esp *esp, const struct entry_file *file, const char *base,
                            const struct buf *text, char ret_path[PATH_MAX])
{
        _cleanup_(buf_done) struct buf other = BUF_INIT(LIMIT_LOADER_ENTRY);

        return file->name.counted && strcasecmp(file->name.base, base) == 0 &&
               entry_path(file->file, ret_path) == 0 &&
               esp_path_read(esp->root, ret_path, &other) == 0 &&
               esp_step_same(&other, text->data, text->len);
}

/* Unlinks the counted entries of this base that say the same as the twin. */
static int drop_counted(const struct esp *esp, const char *base, const struct buf *text,
                        struct error *e)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;
        int r;

        r = esp_list_entries(esp, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                char path[PATH_MAX];

                if (!is_counted_twin(esp, &list[i], base, text, path))
                        continue;
                r = esp_remove(esp, path, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

/*
 * The text that is to be confirmed, with the uncounted entry that carries it made durable. Without
 * a counted file the uncounted one speaks: an earlier run got that far.
 */
static int settle_twin(const struct esp *esp, const char *file, const char *twin, struct buf *text,
                       struct error *e)
{
        char path[PATH_MAX];
        int r;

        r = entry_path(file, path);
        if (r == 0)
                r = esp_path_read(esp->root, path, text);
        if (r == 0)
                return make_twin(esp, twin, text, e);
        if (r != -ENOENT)
                return error_errno(e, -r, "%s: read", file);
        r = entry_path(twin, path);
        if (r == 0)
                r = esp_path_read(esp->root, path, text);
        if (r == 0 && esp_list_usable(esp->root, text->data, text->len))
                return esp_step_sync_existing(esp, path, e);
        return error_set(e, ERROR_PRECONDITION, ENOENT,
                         "neither it nor %s exists on the boot partition", twin);
}

int esp_bless(const struct esp *esp, const char *boot_count_path, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_ENTRY);
        char file[NAME_MAX + 1], twin[NAME_MAX + 1];
        struct entry_name name;
        int r;

        if (parse_count_path(boot_count_path, file, &name) < 0)
                return error_set(e, ERROR_PRECONDITION, EINVAL,
                                 "%s: not the path of a boot entry on trial", boot_count_path);
        name.counted = false;
        r = entry_name_format(&name, twin);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "%s: bad name", file);
        r = settle_twin(esp, file, twin, &text, e);
        if (r == 0)
                r = drop_counted(esp, name.base, &text, e);
        return r < 0 ? error_wrap(e, r, "confirm %s", file) : 0;
}

/* --- back on trial --------------------------------------------------------------------------- */

/*
 * Makes a counted entry of this base durable: one with this text, or without a text any that names
 * an image. 1 when there is one, 0 when there is none.
 */
static int settle_counted(const struct esp *esp, const char *base, const struct buf *text,
                          struct error *e)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;
        int r;

        r = esp_list_entries(esp, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                const struct entry_file *f = &list[i];
                char path[PATH_MAX];

                if (text ? !is_counted_twin(esp, f, base, text, path)
                         : !f->name.counted || strcasecmp(f->name.base, base) != 0 ||
                                    !f->image_present || entry_path(f->file, path) < 0)
                        continue;
                r = esp_step_sync_existing(esp, path, e);
                return r < 0 ? r : 1;
        }
        return 0;
}

/* Without an uncounted file an earlier run got to the end, or there never was one. */
static int settle_absent(const struct esp *esp, const char *base, struct error *e)
{
        int r = settle_counted(esp, base, NULL, e);

        if (r == 0)
                return error_set(e, ERROR_PRECONDITION, ENOENT,
                                 "neither it nor a counted twin exists on the boot partition");
        return r < 0 ? r : 0;
}

static int move_to_trial(const struct esp *esp, const char *file, const char *base,
                         const char *twin, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_ENTRY);
        char path[PATH_MAX];
        int r;

        r = entry_path(file, path);
        if (r == 0)
                r = esp_path_read(esp->root, path, &text);
        if (r == -ENOENT)
                return settle_absent(esp, base, e);
        if (r < 0)
                return error_errno(e, -r, "%s: read", file);
        if (!esp_list_usable(esp->root, text.data, text.len))
                return error_set(e, ERROR_PRECONDITION, EINVAL, "it names no image that exists");
        r = settle_counted(esp, base, &text, e);
        if (r == 0)
                r = add_entry(esp, twin, text.data, text.len, e);
        return r < 0 ? r : esp_remove(esp, path, e);
}

int esp_put_on_trial(const struct esp *esp, const char *file, unsigned tries_left, struct error *e)
{
        char twin[NAME_MAX + 1];
        struct entry_name name;
        int r;

        if (entry_name_parse(file, &name) < 0 || name.counted)
                return error_set(e, ERROR_PRECONDITION, EINVAL,
                                 "%s: not the name of a confirmed boot entry", file);
        name.counted = true;
        name.tries_left = tries_left;
        r = entry_name_format(&name, twin);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "%s: no name with %u tries", file,
                                 tries_left);
        r = move_to_trial(esp, file, name.base, twin, e);
        return r < 0 ? error_wrap(e, r, "put %s on trial", file) : 0;
}

/* --- the try of a boot ----------------------------------------------------------------------- */

static int rename_counted(const struct esp *esp, const char *from, const char *to, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_ENTRY);
        char path[PATH_MAX];
        int r = entry_path(from, path);

        if (r == 0)
                r = esp_path_read(esp->root, path, &text);
        if (r == 0) {
                r = make_twin(esp, to, &text, e);
                return r < 0 ? r : esp_remove(esp, path, e);
        }
        if (r != -ENOENT)
                return error_errno(e, -r, "%s: read", from);
        r = entry_path(to, path);
        if (r == 0)
                r = esp_path_read(esp->root, path, &text);
        if (r == 0 && esp_list_usable(esp->root, text.data, text.len))
                return esp_step_sync_existing(esp, path, e);
        return error_set(e, ERROR_PRECONDITION, ENOENT,
                         "neither it nor %s exists on the boot partition", to);
}

static int move_try(const struct esp *esp, const char *boot_count_path, bool back, struct error *e)
{
        char file[NAME_MAX + 1], before[NAME_MAX + 1];
        struct entry_name name;
        int r;

        if (parse_count_path(boot_count_path, file, &name) < 0)
                return error_set(e, ERROR_PRECONDITION, EINVAL,
                                 "%s: not the path of a boot entry on trial", boot_count_path);
        name.tries_left++;
        name.tries_done -= name.tries_done > 0;
        r = entry_name_format(&name, before);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "%s: no more tries can be counted",
                                 file);
        r = back ? rename_counted(esp, file, before, e) : rename_counted(esp, before, file, e);
        return r < 0 ? error_wrap(e, r, "try of %s", file) : 0;
}

int esp_return_try(const struct esp *esp, const char *boot_count_path, struct error *e)
{
        return move_try(esp, boot_count_path, true, e);
}

int esp_take_try(const struct esp *esp, const char *boot_count_path, struct error *e)
{
        return move_try(esp, boot_count_path, false, e);
}

/* --- deleting -------------------------------------------------------------------------------- */

/* An entry that is the only one left to boot. */
static int check_not_last(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_free_ struct entry_file *list = NULL;
        const char *file = path + strlen(ESP_ENTRY_DIR "/");
        bool victim = false, other = false;
        size_t n = 0;
        int r;

        r = esp_list_entries(esp, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                bool usable = list[i].valid && list[i].image_present;

                if (strcasecmp(list[i].file, file) == 0)
                        victim = usable;
                else
                        other = other || usable;
        }
        if (victim && !other)
                return error_set(e, ERROR_PRECONDITION, EBUSY,
                                 "%s is the last boot entry that names an image", path);
        return 0;
}

int esp_remove(const struct esp *esp, const char *path, struct error *e)
{
        const char *name;
        uint64_t size;
        int r;

        r = esp_path_find(esp->root, path, &name, &size);
        if (r == -ENOENT)
                return esp_step_unlink(esp, path, e); /* an earlier run may not have synced it */
        if (r < 0)
                return error_errno(e, -r, "%s: delete", path);
        r = esp_step_is_entry(path) ? check_not_last(esp, path, e)
                                    : esp_list_check_unnamed(esp->root, name, e);
        if (r < 0)
                return r;
        r = esp_step_check_shared(esp, path, e);
        if (r < 0)
                return r;
        return esp_step_unlink(esp, path, e);
}
