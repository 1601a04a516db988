/* SPDX-License-Identifier: Apache-2.0 */
/* New files, in one go or continued. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "upgrade/esp_list.h"
#include "upgrade/esp_path.h"
#include "upgrade/esp_step.h"

/*
 * While a file grows, pages are sent to the device a window at a time and no more than two windows
 * wait for it: memory stays bounded, and there is little left to do when the last byte arrives.
 */
#define WINDOW (UINT64_C(8) * MIB)
/* After so many bytes a file is synced: at most this much has to be loaded again after a power cut.
 */
#define CHECKPOINT (UINT64_C(64) * MIB)

struct esp_writer {
        const struct esp *esp;
        char *path;
        const char *name; /* last component of path */
        int dir;
        int fd;
        int replay; /* open while there is something to read of an earlier run */
        uint64_t max_size;
        uint64_t size;
        uint64_t replayed; /* of size; equal unless replay is open */
        uint64_t windows;  /* sent to the device */
        uint64_t synced;
        struct digest *digest; /* NULL: the caller has it */
        bool ended;            /* nothing can be written any more */
        bool created;
};

static int writer_new(const struct esp *esp, const char *path, uint64_t max_size,
                      struct esp_writer **ret, struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = calloc(1, sizeof(*w));

        if (!w)
                return error_oom(e);
        *w = (struct esp_writer){
                .esp = esp, .dir = -EBADF, .fd = -EBADF, .replay = -EBADF, .max_size = max_size};
        w->path = strdup(path);
        w->digest = digest_new();
        if (!w->path || !w->digest)
                return error_oom(e);
        w->dir = esp_path_parent(esp->root, w->path, &w->name);
        if (w->dir < 0)
                return error_errno(e, -w->dir, "%s: open directory", path);
        *ret = TAKE_PTR(w);
        return 0;
}

int esp_writer_begin(const struct esp *esp, const char *path, uint64_t max_size,
                     struct esp_writer **ret, struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = NULL;
        int r;

        r = writer_new(esp, path, max_size, &w, e);
        if (r < 0)
                return r;
        r = esp_check_space(esp, max_size, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        r = esp_step(esp, "create", path);
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

/* Size of the rest of an earlier run that is worth to go on with; 0 when nothing is in the way. */
static int settle_partial(const struct esp *esp, const char *path, uint64_t max_size,
                          uint64_t *ret_size, struct error *e)
{
        const char *name;
        uint64_t size = 0;
        int r = esp_path_find(esp->root, path, &name, &size);

        *ret_size = 0;
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_errno(e, -r, "%s", path);
        r = esp_list_check_unnamed(esp->root, name, e);
        if (r == 0)
                r = esp_step_check_shared(esp, path, e);
        if (r < 0)
                return r;
        if (size == 0 || size > max_size)
                return esp_remove(esp, path, e);
        *ret_size = size;
        return 0;
}

static int open_partial(struct esp_writer *w, uint64_t size, struct error *e)
{
        struct stat st;
        int r;

        r = esp_check_space(w->esp, w->max_size - size, e);
        if (r < 0)
                return error_wrap(e, r, "%s", w->path);
        w->fd = openat(w->dir, w->name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
        w->replay = openat(w->dir, w->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
        if (w->fd < 0 || w->replay < 0 || fstat(w->fd, &st) < 0)
                return error_errno(e, errno, "%s: open", w->path);
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
                return error_set(e, ERROR_IO, EIO, "%s changes while it is looked at", w->path);
        /* What is in memory only shall be read from the device as well. */
        r = esp_step_sync(w->esp, "sync", w->path, w->fd);
        if (r < 0)
                return error_errno(e, -r, "%s: sync", w->path);
        (void)posix_fadvise(w->replay, 0, 0, POSIX_FADV_DONTNEED);
        w->size = w->windows = w->synced = size;
        w->created = true;
        return 0;
}

int esp_writer_resume(const struct esp *esp, const char *path, uint64_t max_size,
                      struct esp_writer **ret, uint64_t *ret_size, struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = NULL;
        uint64_t size;
        int r;

        r = settle_partial(esp, path, max_size, &size, e);
        if (r < 0)
                return r;
        *ret_size = size;
        if (size == 0)
                return esp_writer_begin(esp, path, max_size, ret, e);
        r = writer_new(esp, path, max_size, &w, e);
        if (r == 0)
                r = open_partial(w, size, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

ssize_t esp_writer_replay(struct esp_writer *w, void *buf, size_t n, struct error *e)
{
        uint64_t left = w->size - w->replayed;
        ssize_t got;
        int r;

        if (w->replay < 0)
                return 0;
        if (n > left)
                n = (size_t)left;
        got = file_pread(w->replay, buf, n, w->replayed);
        if (got < 0)
                return error_errno(e, (int)-got, "%s: read", w->path);
        if (n > 0 && got == 0)
                return error_set(e, ERROR_IO, EIO, "%s ends too early", w->path);
        r = w->digest ? digest_add(w->digest, buf, (size_t)got) : 0;
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "%s: digest", w->path);
        w->replayed += (uint64_t)got;
        if (w->replayed == w->size)
                close_p(&w->replay);
        return got;
}

/* Where the file system does not know the call, finish() alone syncs. An error of the device is
 * reported once: it must not get lost here. */
static int send_range(int fd, uint64_t offset, unsigned flags)
{
        if (sync_file_range(fd, (off_t)offset, (off_t)WINDOW, flags) < 0 &&
            (errno == EIO || errno == ENOSPC))
                return -errno;
        return 0;
}

static int send_windows(struct esp_writer *w)
{
        while (w->size - w->windows >= WINDOW) {
                int r = send_range(w->fd, w->windows, SYNC_FILE_RANGE_WRITE);

                if (r == 0 && w->windows >= 2 * WINDOW)
                        r = send_range(w->fd, w->windows - 2 * WINDOW, SYNC_FILE_RANGE_WAIT_BEFORE);
                if (r < 0)
                        return r;
                w->windows += WINDOW;
        }
        if (w->size - w->synced < CHECKPOINT)
                return 0;
        w->synced = w->size;
        return esp_step_sync(w->esp, "sync", w->path, w->fd);
}

void esp_writer_leave_digest(struct esp_writer *w)
{
        digest_free(w->digest);
        w->digest = NULL;
}

int esp_writer_write(struct esp_writer *w, const void *data, size_t n, struct error *e)
{
        int r;

        if (w->replay >= 0 || w->ended)
                return error_set(e, ERROR_INTERNAL, EBUSY, "%s: not to be written now", w->path);
        if (n > w->max_size - w->size)
                return error_set(e, ERROR_REFUSED, EFBIG, "%s: more data than announced", w->path);
        r = esp_step(w->esp, "write", w->path);
        if (r == 0)
                r = file_write(w->fd, data, n);
        if (r < 0)
                return error_errno(e, -r, "%s: write", w->path);
        r = w->digest ? digest_add(w->digest, data, n) : 0;
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "%s: digest", w->path);
        w->size += n;
        w->replayed = w->size;
        r = send_windows(w);
        return r < 0 ? error_errno(e, -r, "%s: sync", w->path) : 0;
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

        r = esp_step(w->esp, "read-back", w->path);
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

/* Digest of all that was written and replayed; nothing can be written after that. */
static int end_digest(struct esp_writer *w, const uint8_t *callers, uint8_t ret[SHA256_SIZE],
                      struct error *e)
{
        int r;

        if (w->replay >= 0)
                return error_set(e, ERROR_INTERNAL, EBUSY, "%s: not replayed yet", w->path);
        if (!w->digest && !callers)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: without a digest", w->path);
        w->ended = true;
        if (!w->digest) {
                memcpy(ret, callers, SHA256_SIZE);
                return 0;
        }
        r = digest_final(w->digest, ret);
        return r < 0 ? error_set(e, ERROR_INTERNAL, -r, "%s: digest", w->path) : 0;
}

int esp_writer_finish(struct esp_writer *w, const uint8_t *sha256, uint8_t *ret_sha256,
                      uint64_t *ret_size, struct error *e)
{
        uint8_t written[SHA256_SIZE];
        int r;

        r = end_digest(w, sha256, written, e);
        if (r < 0)
                return r;
        if (sha256 && memcmp(sha256, written, SHA256_SIZE) != 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: the data does not have the expected digest", w->path);
        r = esp_step_sync(w->esp, "sync", w->path, w->fd);
        if (r == 0)
                r = esp_step_sync(w->esp, "sync-dir", w->path, w->dir);
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

int esp_writer_keep(struct esp_writer *w, struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *own = w;
        int r;

        if (own->size == 0)
                return 0;
        r = esp_step_sync(own->esp, "sync", own->path, own->fd);
        if (r == 0)
                r = esp_step_sync(own->esp, "sync-dir", own->path, own->dir);
        own->created = false; /* it stays, whether synced or not */
        return r < 0 ? error_errno(e, -r, "%s: sync", own->path) : 0;
}

void esp_writer_free(struct esp_writer *w)
{
        if (!w)
                return;
        close_p(&w->fd);
        close_p(&w->replay);
        /* No entry names the file and it was looked at when it was taken up; should this fail, a
         * re-run finds and replaces it. */
        if (w->created && esp_step_unlink(w->esp, w->path, NULL) < 0)
                log_debug("%s: not deleted", w->path);
        close_p(&w->dir);
        digest_free(w->digest);
        free(w->path);
        free(w);
}

int esp_add_file(const struct esp *esp, const char *path, const void *data, size_t n,
                 struct error *e)
{
        _cleanup_(buf_done) struct buf old = BUF_INIT(LIMIT_BOOT_LOADER);
        int r;

        if (n > LIMIT_BOOT_LOADER || esp_step_is_entry(path))
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not a small file", path);
        if (esp->fat)
                return fat_add_file(esp->fat, path, data, n, e);
        r = esp_path_read(esp->root, path, &old);
        if (r == -ENOENT)
                return esp_step_write_small(esp, path, data, n, e);
        if (r < 0 && r != -E2BIG)
                return error_errno(e, -r, "%s: read", path);
        if (r == 0 && esp_step_same(&old, data, n))
                return esp_step_sync_existing(esp, path, e);
        return error_set(e, ERROR_PRECONDITION, EEXIST, "%s exists with another content", path);
}

int esp_open_file(const struct esp *esp, const char *path, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r = esp_step_sync_existing(esp, path, e);

        if (r < 0)
                return r;
        fd = esp_path_open(esp->root, path, O_RDONLY);
        if (fd < 0)
                return error_errno(e, -fd, "%s: open", path);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return TAKE_FD(fd);
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
                r = esp_step_sync_existing(esp, path, e);
                return r < 0 ? r : 1;
        }
        log_info("%s: removing what an interrupted run left", path);
        return esp_remove(esp, path, e);
}

typedef int (*copy_write_fn)(void *to, const void *data, size_t n, struct error *e);

static int write_to_writer(void *to, const void *data, size_t n, struct error *e)
{
        return esp_writer_write(to, data, n, e);
}

/* A write into a disk image, which asks the hook as those to a mounted file system do. */
struct image_write {
        const struct esp *esp;
        const char *path;
};

static int write_to_image(void *to, const void *data, size_t n, struct error *e)
{
        const struct image_write *w = to;
        int r = esp_step(w->esp, "write", w->path);

        return r < 0 ? error_errno(e, -r, "%s: write", w->path)
                     : fat_write(w->esp->fat, data, n, e);
}

static int copy_stream(const struct esp *esp, copy_write_fn write, void *to, int fd, uint64_t size,
                       struct error *e)
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
                r = write(to, chunk, (size_t)n, e);
                if (r < 0)
                        return r;
                done += (uint64_t)n;
                if (esp->copied)
                        esp->copied(esp->copied_arg, done);
        }
        return 0;
}

/* Nobody resumes a disk image: it is there as a whole or not at all. */
static int add_stream_to_image(const struct esp *esp, const char *path, int fd, uint64_t size,
                               const uint8_t sha256[SHA256_SIZE], struct error *e)
{
        struct image_write w = {.esp = esp, .path = path};
        uint8_t found[SHA256_SIZE];
        int r = fat_begin_file(esp->fat, path, size, e);

        if (r == 0)
                r = copy_stream(esp, write_to_image, &w, fd, size, e);
        if (r == 0)
                r = fat_digest_file(esp->fat, path, found, e);
        if (r < 0)
                return r;
        return memcmp(found, sha256, SHA256_SIZE) == 0
                       ? 0
                       : error_set(e, ERROR_IO, EILSEQ,
                                   "%s: read back, it differs from what was verified", path);
}

int esp_add_stream(const struct esp *esp, const char *path, int fd, uint64_t size,
                   const uint8_t sha256[SHA256_SIZE], struct error *e)
{
        _cleanup_(esp_writer_free_p) struct esp_writer *w = NULL;
        int r;

        if (esp->fat)
                return add_stream_to_image(esp, path, fd, size, sha256, e);
        r = settle_existing(esp, path, size, sha256, e);
        if (r != 0)
                return r < 0 ? r : 0;
        r = esp_writer_begin(esp, path, size, &w, e);
        if (r == 0)
                r = copy_stream(esp, write_to_writer, w, fd, size, e);
        return r < 0 ? r : esp_writer_finish(w, sha256, NULL, NULL, e);
}
