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

/* Clusters kept back for directories that have to grow for a new name. */
#define SPARE_CLUSTERS 4u

struct esp_writer {
        const struct esp *esp;
        char *path;
        const char *name; /* last component of path */
        int dir;
        int fd;
        uint64_t max_size;
        uint64_t size;
        struct digest *digest;
        bool created;
};

/* --- paths and steps ------------------------------------------------------------------------- */

static int step(const struct esp *esp, const char *what, const char *path)
{
        return esp->step ? esp->step(esp->step_arg, what, path) : 0;
}

static int sync_fd(const struct esp *esp, const char *what, const char *path, int fd)
{
        int r = step(esp, what, path);

        return r < 0 ? r : file_sync(fd);
}

/* A file that an earlier run wrote: what that run may not have got to. */
static int sync_existing(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_close_ int dir = -EBADF, fd = -EBADF;
        const char *name;
        int r;

        dir = esp_path_parent(esp->root, path, &name);
        fd = esp_path_open(esp->root, path, O_RDONLY);
        r = dir < 0 ? dir : fd < 0 ? fd : sync_fd(esp, "sync", path, fd);
        if (r == 0)
                r = sync_fd(esp, "sync-dir", path, dir);
        return r < 0 ? error_errno(e, -r, "%s: sync", path) : 0;
}

static int unlink_path(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_close_ int dir = -EBADF;
        const char *name;
        int r;

        dir = esp_path_parent(esp->root, path, &name);
        r = dir < 0 ? dir : step(esp, "unlink", path);
        if (r >= 0)
                r = unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
        if (r == 0)
                r = sync_fd(esp, "sync-dir", path, dir);
        return r < 0 && r != -ENOENT ? error_errno(e, -r, "%s: delete", path) : 0;
}

static bool same_bytes(const struct buf *b, const void *data, size_t n)
{
        return b->len == n && (n == 0 || memcmp(b->data, data, n) == 0);
}

/* --- space and directories ------------------------------------------------------------------- */

static int space(const struct esp *esp, uint64_t *ret_free, uint64_t *ret_cluster, struct error *e)
{
        struct statvfs v;
        uint64_t free_clusters;

        if (fstatvfs(esp->root, &v) < 0)
                return error_errno(e, errno, "boot partition: statvfs");
        free_clusters = v.f_bavail > SPARE_CLUSTERS ? v.f_bavail - SPARE_CLUSTERS : 0;
        *ret_cluster = v.f_frsize > 0 ? v.f_frsize : 1;
        if (mul_u64(free_clusters, *ret_cluster, ret_free) < 0)
                *ret_free = UINT64_MAX;
        return 0;
}

int esp_free_space(const struct esp *esp, uint64_t *ret, struct error *e)
{
        uint64_t cluster;

        return space(esp, ret, &cluster, e);
}

/*
 * A count, not a reservation: fallocate() on vfat would write the whole file once with zeros, and
 * nobody else writes to the ESP while the agent holds its lock.
 */
int esp_check_space(const struct esp *esp, uint64_t size, struct error *e)
{
        uint64_t available = 0, cluster = 1, need;
        char need_text[32], free_text[32];
        int r;

        r = space(esp, &available, &cluster, e);
        if (r < 0)
                return r;
        if (size <= LIMIT_IMAGE_SIZE && align_up_u64(size, cluster, &need) == 0 &&
            need <= available)
                return 0;
        r = error_set(e, ERROR_SPACE, ENOSPC, "boot partition: a file of %s does not fit, %s free",
                      format_size(size, need_text, sizeof(need_text)),
                      format_size(available, free_text, sizeof(free_text)));
        error_advise(e, "remove images that no boot entry names, or enlarge the boot partition");
        return r;
}

int esp_make_dir(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return error_oom(e);
        for (char *p = copy;; p++) {
                _cleanup_close_ int dir = -EBADF;
                const char *name;
                char c;
                int r;

                p += strcspn(p, "/");
                c = *p;
                *p = '\0';
                dir = esp_path_parent(esp->root, copy, &name);
                r = dir < 0 ? dir : step(esp, "mkdir", copy);
                if (r >= 0)
                        r = mkdirat(dir, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
                if (r == 0)
                        r = sync_fd(esp, "sync-dir", copy, dir);
                if (r < 0)
                        return error_errno(e, -r, "%s: create directory", copy);
                if (c == '\0')
                        return 0;
                *p = c;
        }
}

/* --- new files ------------------------------------------------------------------------------- */

int esp_writer_begin(const struct esp *esp, const char *path, uint64_t max_size,
                     struct esp_writer **ret, struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return error_oom(e);
        *w = (struct esp_writer){.esp = esp, .dir = -EBADF, .fd = -EBADF, .max_size = max_size};
        w->path = strdup(path);
        w->digest = digest_new();
        if (!w->path || !w->digest)
                return error_oom(e);
        w->dir = esp_path_parent(esp->root, w->path, &w->name);
        if (w->dir < 0)
                return error_errno(e, -w->dir, "%s: open directory", path);
        r = esp_check_space(esp, max_size, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        r = step(esp, "create", path);
        if (r < 0)
                return error_errno(e, -r, "%s: create", path);
        w->fd = openat(w->dir, w->name,
                       O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
        if (w->fd < 0 && errno == EEXIST)
                return error_set(e, ERROR_PRECONDITION, EEXIST, "%s exists already", path);
        if (w->fd < 0)
                return error_errno(e, errno, "%s: create", path);
        w->created = true;
        *ret = TAKE_PTR(w);
        return 0;
}

int esp_writer_write(struct esp_writer *w, const void *data, size_t n, struct error *e)
{
        int r;

        if (n > w->max_size - w->size)
                return error_set(e, ERROR_REFUSED, EFBIG, "%s: more data than announced", w->path);
        r = step(w->esp, "write", w->path);
        if (r == 0)
                r = file_write(w->fd, data, n);
        if (r < 0)
                return error_errno(e, -r, "%s: write", w->path);
        r = digest_add(w->digest, data, n);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "%s: digest", w->path);
        w->size += n;
        return 0;
}

/* Digest of what the medium returns: see the header. */
static int digest_from_medium(int fd, uint8_t ret[SHA256_SIZE], uint64_t *ret_size)
{
        int r = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

        return r != 0 ? -r : digest_fd(fd, ret, ret_size);
}

static int read_back(struct esp_writer *w, const uint8_t expected[SHA256_SIZE], struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        uint8_t found[SHA256_SIZE];
        uint64_t size = 0;
        int r;

        r = step(w->esp, "read-back", w->path);
        if (r == 0) {
                fd = openat(w->dir, w->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
                r = fd < 0 ? -errno : digest_from_medium(fd, found, &size);
        }
        if (r < 0)
                return error_errno(e, -r, "%s: read back", w->path);
        if (size == w->size && memcmp(found, expected, SHA256_SIZE) == 0)
                return 0;
        r = error_set(e, ERROR_IO, EIO, "%s: the medium returns other data than was written",
                      w->path);
        error_advise(e, "the boot disk is failing: check its health and replace it");
        return r;
}

int esp_writer_finish(struct esp_writer *w, const uint8_t *sha256, uint8_t *ret_sha256,
                      uint64_t *ret_size, struct error *e)
{
        uint8_t written[SHA256_SIZE];
        int r;

        r = digest_final(w->digest, written);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "%s: digest", w->path);
        if (sha256 && memcmp(sha256, written, SHA256_SIZE) != 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: the data does not have the expected digest", w->path);
        r = sync_fd(w->esp, "sync", w->path, w->fd);
        if (r == 0)
                r = sync_fd(w->esp, "sync-dir", w->path, w->dir);
        if (r < 0)
                return error_errno(e, -r, "%s: sync", w->path);
        close_p(&w->fd);
        r = read_back(w, written, e);
        if (r < 0)
                return r;
        w->created = false; /* it stays */
        if (ret_sha256)
                memcpy(ret_sha256, written, SHA256_SIZE);
        if (ret_size)
                *ret_size = w->size;
        return 0;
}

void esp_writer_free(struct esp_writer *w)
{
        if (!w)
                return;
        close_p(&w->fd);
        if (w->created && step(w->esp, "unlink", w->path) == 0) {
                /* The file is new and was ours alone; should this fail, a re-run finds and replaces
                 * it. */
                if (unlinkat(w->dir, w->name, 0) == 0)
                        (void)sync_fd(w->esp, "sync-dir", w->path, w->dir);
        }
        close_p(&w->dir);
        digest_free(w->digest);
        free(w->path);
        free(w);
}

static int write_small(const struct esp *esp, const char *path, const void *data, size_t n,
                       struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = NULL;
        int r;

        r = esp_writer_begin(esp, path, n, &w, e);
        if (r == 0)
                r = esp_writer_write(w, data, n, e);
        return r < 0 ? r : esp_writer_finish(w, NULL, NULL, NULL, e);
}

/* An entry file by its full path: only the functions that check its text may write it. */
static bool is_entry_path(const char *path)
{
        size_t n = strlen(ESP_ENTRY_DIR "/");

        return strncasecmp(path, ESP_ENTRY_DIR "/", n) == 0;
}

int esp_add_file(const struct esp *esp, const char *path, const void *data, size_t n,
                 struct error *e)
{
        _cleanup_(buf_done) struct buf old = BUF_INIT(LIMIT_BOOT_LOADER);
        int r;

        if (n > LIMIT_BOOT_LOADER || is_entry_path(path))
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not a small file", path);
        r = esp_path_read(esp->root, path, &old);
        if (r == -ENOENT)
                return write_small(esp, path, data, n, e);
        if (r < 0 && r != -E2BIG)
                return error_errno(e, -r, "%s: read", path);
        if (r == 0 && same_bytes(&old, data, n))
                return sync_existing(esp, path, e);
        return error_set(e, ERROR_PRECONDITION, EEXIST, "%s exists with another content", path);
}

int esp_digest(const struct esp *esp, const char *path, uint8_t ret_sha256[SHA256_SIZE],
               uint64_t *ret_size, struct error *e)
{
        _cleanup_close_ int fd = esp_path_open(esp->root, path, O_RDONLY);
        int r = fd < 0 ? fd : digest_from_medium(fd, ret_sha256, ret_size);

        return r < 0 ? error_errno(e, -r, "%s: read", path) : 0;
}

/* 1 when the file is there and complete, 0 when there is nothing in the way any more. */
static int settle_existing(const struct esp *esp, const char *path, uint64_t size,
                           const uint8_t sha256[SHA256_SIZE], struct error *e)
{
        uint8_t found[SHA256_SIZE];
        uint64_t found_size = 0;
        int r;

        r = esp_digest(esp, path, found, &found_size, e);
        if (r == -ENOENT) {
                error_clear(e);
                return 0;
        }
        if (r < 0)
                return r;
        if (found_size == size && memcmp(found, sha256, SHA256_SIZE) == 0) {
                r = sync_existing(esp, path, e);
                return r < 0 ? r : 1;
        }
        log_info("%s: removing what an interrupted run left", path);
        return esp_remove(esp, path, e);
}

static int copy_stream(struct esp_writer *w, int fd, uint64_t size, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        bool seekable = lseek(fd, 0, SEEK_CUR) >= 0;
        uint64_t done = 0;

        if (!chunk)
                return error_oom(e);
        while (done < size) {
                size_t want = size - done < FILE_CHUNK ? (size_t)(size - done) : FILE_CHUNK;
                ssize_t n = seekable ? pread(fd, chunk, want, (off_t)done) : read(fd, chunk, want);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_set(e, ERROR_SOURCE, errno, "image: read: %s",
                                         strerrordesc_np(errno) ?: "unknown error");
                if (n == 0)
                        return error_set(e, ERROR_SOURCE, ENODATA, "image ends too early");
                r = esp_writer_write(w, chunk, (size_t)n, e);
                if (r < 0)
                        return r;
                done += (uint64_t)n;
        }
        return 0;
}

int esp_add_stream(const struct esp *esp, const char *path, int fd, uint64_t size,
                   const uint8_t sha256[SHA256_SIZE], struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = NULL;
        int r;

        r = settle_existing(esp, path, size, sha256, e);
        if (r != 0)
                return r < 0 ? r : 0;
        r = esp_writer_begin(esp, path, size, &w, e);
        if (r == 0)
                r = copy_stream(w, fd, size, e);
        return r < 0 ? r : esp_writer_finish(w, sha256, NULL, NULL, e);
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
        if (!esp_list_image_present(esp->root, &entry))
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
        r = esp_path_read(esp->root, path, &old);
        if (r == 0 && same_bytes(&old, text, n))
                return sync_existing(esp, path, e);
        if (r == 0 && esp_list_usable(esp->root, old.data, old.len))
                return error_set(e, ERROR_PRECONDITION, EEXIST, "%s exists with another content",
                                 path);
        if (r == 0)
                r = esp_remove(esp, path, e);
        else if (r != -ENOENT)
                return error_errno(e, -r, "%s: read", path);
        else
                r = 0;
        return r < 0 ? r : write_small(esp, path, text, n, e);
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
                return sync_fd(esp, "sync", path, fd); /* done by an earlier run */
        r = step(esp, "overwrite", path);
        if (r < 0)
                return r;
        /* One call: the sector goes to the device as a whole or not at all. */
        n = pwrite(fd, text, ENTRY_SIZE, 0);
        if (n != ENTRY_SIZE)
                return n < 0 ? -errno : -EIO;
        r = sync_fd(esp, "sync", path, fd);
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
        char path[PATH_MAX];
        int r;

        if (entry_path(file, path) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not the name of a boot entry",
                                 file);
        r = check_text(esp, file, text, ENTRY_SIZE, e);
        if (r < 0)
                return r;
        r = overwrite(esp, path, text);
        if (r == -EINVAL)
                return error_set(e, ERROR_PRECONDITION, EINVAL,
                                 "%s is not a boot entry of exactly %u bytes", path, ENTRY_SIZE);
        return r < 0 ? error_errno(e, -r, "%s: write", path) : 0;
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
        if (!is_entry_path(path))
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
        if (r == 0 && !same_bytes(&old, text->data, text->len)) {
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
               same_bytes(&other, text->data, text->len);
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
                return sync_existing(esp, path, e);
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
                r = sync_existing(esp, path, e);
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
        char other[PATH_MAX];
        const char *name;
        uint64_t size;
        int r;

        r = esp_path_find(esp->root, path, &name, &size);
        if (r == -ENOENT)
                return unlink_path(esp, path, e); /* an earlier run may not have synced it */
        if (r < 0)
                return error_errno(e, -r, "%s: delete", path);
        r = is_entry_path(path) ? check_not_last(esp, path, e)
                                : esp_list_check_unnamed(esp->root, name, e);
        if (r < 0)
                return r;
        r = esp_map_shared(esp->root, path, esp->clusters, other);
        if (r < 0) {
                r = error_errno(e, -r, "%s: look up its clusters", path);
                if (e && e->code == EPERM)
                        error_advise(e, "run with the capability CAP_SYS_RAWIO");
                return r;
        }
        if (r > 0) {
                r = error_set(e, ERROR_IO, EUCLEAN, "%s shares clusters with %s", path, other);
                error_advise(e, "check the boot partition with fsck.vfat");
                return r;
        }
        return unlink_path(esp, path, e);
}
