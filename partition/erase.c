/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/erase.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "partition/luks.h"

/* Largest sector of a device: what O_DIRECT asks of addresses and sizes. */
#define ALIGNMENT 4096u
/* Zeros are written in pieces, so that somebody sees how far it is. */
#define ZERO_PIECE (64 * MIB)
#define SAMPLES 256u

struct erase {
        const char *path;
        const struct erase_hooks *hooks;
        int fd;
        bool block;
        uint64_t size;                /* of the device */
        uint64_t header;              /* bytes before the data */
        uint8_t *chunk;               /* FILE_CHUNK bytes, aligned */
        uint8_t written[SHA256_SIZE]; /* of everything behind the first chunk, in order of writing
                                       */
};

static void erase_done(struct erase *w)
{
        close_p(&w->fd);
        free(w->chunk);
}

static int step(const struct erase *w, const char *what, struct error *e)
{
        int r = w->hooks && w->hooks->step ? w->hooks->step(w->hooks->arg, what) : 0;

        return r < 0 ? error_errno(e, -r, "%s: %s", w->path, what) : 0;
}

static void tell(const struct erase *w, uint64_t done, uint64_t total)
{
        if (w->hooks && w->hooks->progress)
                w->hooks->progress(w->hooks->arg, done, total);
}

static int open_device(struct erase *w, struct error *e)
{
        struct stat st;

        /* For a block device O_EXCL means: nobody else has it for himself. */
        w->fd = open(w->path, O_RDWR | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
        if (w->fd < 0)
                return error_errno(e, errno, "%s", w->path);
        if (fstat(w->fd, &st) < 0)
                return error_errno(e, errno, "%s", w->path);
        w->block = S_ISBLK(st.st_mode);
        if (!w->block && !S_ISREG(st.st_mode))
                return error_set(e, ERROR_INTERNAL, ENOTBLK, "%s is no block device", w->path);
        w->size = (uint64_t)st.st_size;
        if (w->block && ioctl(w->fd, BLKGETSIZE64, &w->size) < 0)
                return error_errno(e, errno, "%s: size", w->path);
        w->chunk = aligned_alloc(ALIGNMENT, FILE_CHUNK);
        return w->chunk ? 0 : error_oom(e);
}

/* As much as a volume of ours has, or more where its header says so; whole chunks. */
static int find_header(struct erase *w, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        struct error ignored = ERROR_INIT;

        w->header = LUKS_HEADER_SIZE;
        if (luks_open(w->path, &luks, &ignored) == 0 && luks_data_offset(luks) > w->header)
                w->header = luks_data_offset(luks);
        if (w->header > LIMIT_LUKS_DATA_OFFSET)
                w->header = LIMIT_LUKS_DATA_OFFSET;
        if (w->header > w->size)
                w->header = w->size;
        w->header -= w->header % FILE_CHUNK;
        return w->header > 0 ? 0
                             : error_set(e, ERROR_PRECONDITION, EINVAL,
                                         "%s is too small for a volume", w->path);
}

/* fsync reaches the device; then nothing of it may be answered from memory. */
static int flush(const struct erase *w, struct error *e)
{
        int r = file_sync(w->fd);

        if (r == 0 && w->block && ioctl(w->fd, BLKFLSBUF, 0) < 0)
                r = -errno;
        if (r == 0)
                r = -posix_fadvise(w->fd, 0, 0, POSIX_FADV_DONTNEED);
        return r < 0 ? error_errno(e, -r, "%s: sync", w->path) : 0;
}

/* File systems in memory know no O_DIRECT; they are no medium to ask either. */
static int open_direct(const struct erase *w, struct error *e)
{
        int fd = open(w->path, O_RDONLY | O_DIRECT | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 && errno == EINVAL && !w->block)
                fd = open(w->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? error_errno(e, errno, "%s: reading back", w->path) : fd;
}

static int read_chunk(const struct erase *w, int fd, uint64_t offset, size_t n, struct error *e)
{
        ssize_t got = file_pread(fd, w->chunk, n, offset);

        if (got >= 0 && (size_t)got != n)
                got = -EIO;
        return got < 0 ? error_errno(e, (int)-got, "%s: reading back at %" PRIu64, w->path, offset)
                       : 0;
}

static int finish_digest(struct digest *d, uint8_t ret[SHA256_SIZE], struct error *e)
{
        int r = digest_final(d, ret);

        return r < 0 ? error_errno(e, -r, "digest") : 0;
}

/* Everything behind the first chunk, the last one first. */
static int write_slots(struct erase *w, struct error *e)
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        int r = d ? step(w, "erase-key-slots", e) : error_oom(e);

        for (uint64_t at = w->header - FILE_CHUNK; at > 0 && r == 0; at -= FILE_CHUNK) {
                int failed = random_bytes(w->chunk, FILE_CHUNK);

                if (failed == 0)
                        failed = file_pwrite(w->fd, w->chunk, FILE_CHUNK, at);
                if (failed == 0)
                        failed = digest_add(d, w->chunk, FILE_CHUNK);
                if (failed < 0)
                        return error_errno(e, -failed, "%s: overwriting", w->path);
                tell(w, w->header - at, w->header);
                if (at == w->header / FILE_CHUNK / 2 * FILE_CHUNK)
                        r = step(w, "erase-half", e);
        }
        if (r == 0)
                r = flush(w, e);
        return r < 0 ? r : finish_digest(d, w->written, e);
}

static int check_slots(const struct erase *w, struct error *e)
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        _cleanup_close_ int fd = open_direct(w, e);
        uint8_t found[SHA256_SIZE];
        int r = fd < 0 ? fd : 0;

        if (!d)
                return error_oom(e);
        for (uint64_t at = w->header - FILE_CHUNK; at > 0 && r == 0; at -= FILE_CHUNK) {
                r = read_chunk(w, fd, at, FILE_CHUNK, e);
                if (r == 0 && digest_add(d, w->chunk, FILE_CHUNK) < 0)
                        r = error_oom(e);
        }
        if (r == 0)
                r = finish_digest(d, found, e);
        if (r < 0 || memcmp(found, w->written, SHA256_SIZE) == 0)
                return r;
        return error_set(e, ERROR_IO, EIO, "%s: the key slots are not what was written over them",
                         w->path);
}

static bool is_zero(const uint8_t *p, size_t n)
{
        return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int erase_head(const struct erase *w, struct error *e)
{
        int r = step(w, "erase-header", e);

        if (r < 0)
                return r;
        memset(w->chunk, 0, FILE_CHUNK);
        r = file_pwrite(w->fd, w->chunk, FILE_CHUNK, 0);
        if (r < 0)
                return error_errno(e, -r, "%s: overwriting", w->path);
        return flush(w, e);
}

static int check_head(const struct erase *w, struct error *e)
{
        _cleanup_close_ int fd = open_direct(w, e);
        int r = fd < 0 ? fd : read_chunk(w, fd, 0, FILE_CHUNK, e);

        if (r < 0 || is_zero(w->chunk, FILE_CHUNK))
                return r;
        return error_set(e, ERROR_IO, EIO, "%s: the header is not what was written over it",
                         w->path);
}

/* The library finds the second header also where the first one is gone. */
static int check_gone(const struct erase *w, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        struct error error = ERROR_INIT;
        int r = luks_open(w->path, &luks, &error);

        if (r == -EMEDIUMTYPE)
                return 0;
        return error_set(e, ERROR_IO, EIO, "%s: there still is a header: %s", w->path,
                         r < 0 ? error.text : luks_uuid(luks));
}

/* The device zeroes by itself, which takes it moments; else the kernel would write it all. */
static bool zeroes_by_itself(const struct erase *w)
{
        unsigned char text[32] = "";
        char path[64];
        struct stat st;
        int fd;

        if (!w->block || fstat(w->fd, &st) < 0)
                return false;
        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../queue/write_zeroes_max_bytes",
                       (unsigned)major(st.st_rdev), (unsigned)minor(st.st_rdev));
        fd = file_open_regular(AT_FDCWD, path);
        if (fd < 0)
                return false;
        if (file_pread(fd, text, sizeof(text) - 1, 0) < 0)
                text[0] = '0';
        (void)close(fd);
        return text[0] != '0' && text[0] != '\0';
}

static int zero_piece(const struct erase *w, uint64_t at, uint64_t n)
{
        memset(w->chunk, 0, FILE_CHUNK);
        if (w->block)
                return ioctl(w->fd, BLKZEROOUT, (uint64_t[]){at, n}) < 0 ? -errno : 0;
        for (uint64_t done = 0; done < n; done += FILE_CHUNK) {
                size_t part = n - done < FILE_CHUNK ? (size_t)(n - done) : FILE_CHUNK;
                int r = file_pwrite(w->fd, w->chunk, part, at + done);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int zero_all(const struct erase *w)
{
        int r = 0;

        for (uint64_t at = 0; at < w->size && r == 0; at += ZERO_PIECE) {
                uint64_t n = w->size - at < ZERO_PIECE ? w->size - at : ZERO_PIECE;

                r = zero_piece(w, at, n);
                tell(w, at + n, w->size);
        }
        return r < 0 ? r : file_sync(w->fd);
}

static int discard_all(const struct erase *w)
{
        if (!w->block)
                return fallocate(w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                 (off_t)w->size) < 0
                               ? -errno
                               : 0;
        return ioctl(w->fd, BLKDISCARD, (uint64_t[]){0, w->size}) < 0 ? -errno : 0;
}

static bool reads_zero(const struct erase *w)
{
        _cleanup_close_ int fd = open_direct(w, NULL);
        uint64_t distance = (w->size / SAMPLES / ALIGNMENT + 1) * ALIGNMENT;

        if (fd < 0)
                return false;
        for (uint64_t at = 0; at + ALIGNMENT <= w->size; at += distance) {
                if (read_chunk(w, fd, at, ALIGNMENT, NULL) < 0 || !is_zero(w->chunk, ALIGNMENT))
                        return false;
        }
        return true;
}

/* What is wished has to work; what is not may fail. */
static int forget_range(const struct erase *w, bool overwrite, struct erase_report *ret,
                        struct error *e)
{
        int r = step(w, "discard", e);

        if (r < 0)
                return r;
        if (overwrite) {
                r = zero_all(w);
                if (r < 0)
                        return error_errno(e, -r, "%s: overwriting", w->path);
                ret->zeroed = true;
        }
        ret->discarded = discard_all(w) == 0;
        if (!ret->discarded && !ret->zeroed && zeroes_by_itself(w))
                ret->zeroed = zero_all(w) == 0;
        r = flush(w, e);
        if (r == 0)
                ret->reads_zero = reads_zero(w);
        return r;
}

int erase_volume(const char *path, bool overwrite, const struct erase_hooks *hooks,
                 struct erase_report *ret, struct error *e)
{
        _cleanup_(erase_done) struct erase w = {.path = path, .hooks = hooks, .fd = -EBADF};
        struct erase_report report = {.discarded = false};
        int r = open_device(&w, e);

        if (r == 0)
                r = find_header(&w, e);
        if (r == 0)
                r = write_slots(&w, e);
        if (r == 0)
                r = check_slots(&w, e);
        if (r == 0)
                r = erase_head(&w, e);
        if (r == 0)
                r = check_head(&w, e);
        if (r == 0)
                r = check_gone(&w, e);
        if (r < 0)
                return r;
        report.overwritten = w.header;
        r = forget_range(&w, overwrite, &report, e);
        /* What a device shows of a range it forgot is its own affair, but no header. */
        if (r == 0 && !report.reads_zero)
                r = check_gone(&w, e);
        if (r == 0)
                *ret = report;
        return r;
}
