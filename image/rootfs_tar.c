/* SPDX-License-Identifier: Apache-2.0 */
#include "image/rootfs_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "image/say.h"
#include "image/xattr.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define CHUNK ((size_t)(256 * 1024))

struct reader {
        struct rootfs *fs;
        struct stream *in;
        struct archive *archive;
        uint8_t *chunk;
        bool whiteouts;
        bool failed; /* the stream did; stream_error says why */
        struct error stream_error;
};

static void reader_done(struct reader *rd)
{
        (void)archive_read_free(rd->archive);
        free(rd->chunk);
}

static la_ssize_t pull(struct archive *a, void *ctx, const void **ret)
{
        struct reader *rd = ctx;
        ssize_t n = stream_read(rd->in, rd->chunk, CHUNK, &rd->stream_error);

        if (n < 0) {
                rd->failed = true;
                archive_set_error(a, EIO, "the source failed");
        }
        *ret = rd->chunk;
        return n;
}

static int failed(struct reader *rd, struct error *e)
{
        const char *text = archive_error_string(rd->archive);

        if (rd->failed) {
                if (e)
                        *e = rd->stream_error;
                return rd->stream_error.code > 0 ? -rd->stream_error.code : -EIO;
        }
        return error_set(e, ERROR_CONFIG, EBADMSG, "not a good archive: %s", text ? text : "?");
}

static int start(struct reader *rd, struct error *e)
{
        rd->archive = archive_read_new();
        rd->chunk = malloc(CHUNK);
        if (!rd->archive || !rd->chunk)
                return error_oom(e);
        if (archive_read_support_format_tar(rd->archive) != ARCHIVE_OK ||
            archive_read_support_filter_gzip(rd->archive) != ARCHIVE_OK ||
            archive_read_support_filter_zstd(rd->archive) != ARCHIVE_OK ||
            archive_read_support_filter_xz(rd->archive) != ARCHIVE_OK ||
            archive_read_support_filter_bzip2(rd->archive) != ARCHIVE_OK ||
            archive_read_open(rd->archive, rd, NULL, pull, NULL) != ARCHIVE_OK)
                return failed(rd, e);
        return 0;
}

/* Blocks with holes between them, as in a sparse file: those are not written. */
static int copy_content(struct reader *rd, const char *path, uint64_t size, struct error *e)
{
        uint64_t begin = rootfs_content_end(rd->fs), end = 0;
        int fd = rootfs_content_fd(rd->fs);

        for (;;) {
                const void *data;
                size_t n;
                la_int64_t at;
                int r = archive_read_data_block(rd->archive, &data, &n, &at);

                if (r == ARCHIVE_EOF)
                        break;
                if (r != ARCHIVE_OK)
                        return failed(rd, e);
                if (at < 0 || (uint64_t)at > size || n > size - (uint64_t)at)
                        return error_set(e, ERROR_CONFIG, EBADMSG, "%s: larger than it says", path);
                r = file_pwrite(fd, data, n, begin + (uint64_t)at);
                if (r < 0)
                        return error_errno(e, -r, "cannot keep %s", path);
                if (n > 0)
                        end = (uint64_t)at + n;
        }
        /* Whoever reads it finds all of it. */
        if (end < size) {
                int r = file_pwrite(fd, "", 1, begin + size - 1);

                if (r < 0)
                        return error_errno(e, -r, "cannot keep %s", path);
        }
        return 0;
}

static int take_xattrs(struct archive_entry *h, const char *path, struct buf *block,
                       bool *ret_capabilities, struct error *e)
{
        const char *name;
        const void *value;
        size_t n;

        *ret_capabilities = false;
        (void)archive_entry_xattr_reset(h);
        while (archive_entry_xattr_next(h, &name, &value, &n) == ARCHIVE_OK) {
                int r = name && xattr_is_carried(name) ? xattr_add(block, name, value, n) : 0;

                if (r == -E2BIG)
                        return error_set(e, ERROR_CONFIG, E2BIG, "%s: too many extended attributes",
                                         path);
                if (r < 0)
                        return error_oom(e);
                *ret_capabilities |= name && strcmp(name, XATTR_CAPABILITY) == 0;
        }
        return 0;
}

static uint32_t id_of(la_int64_t id)
{
        return id < 0 || id > (la_int64_t)UINT32_MAX ? 0 : (uint32_t)id;
}

/* 1: it is a whiteout, and done. */
static int take_whiteout(struct reader *rd, const char *path, struct error *e)
{
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        _cleanup_free_ char *target = NULL;
        int r;

        if (!rd->whiteouts || strncmp(name, WHITEOUT, strlen(WHITEOUT)) != 0)
                return 0;
        if (strcmp(name, OPAQUE) == 0) {
                target = strndup(path, (size_t)(name - path));
                r = target ? rootfs_hide_lower(rd->fs, target, e) : error_oom(e);
                return r < 0 ? r : 1;
        }
        if (strncmp(name, WHITEOUT WHITEOUT, 2 * strlen(WHITEOUT)) == 0)
                return 1; /* housekeeping of storage drivers */
        if (asprintf(&target, "%.*s%s", (int)(name - path), path, name + strlen(WHITEOUT)) < 0) {
                target = NULL;
                return error_oom(e);
        }
        r = rootfs_remove(rd->fs, target, e);
        return r < 0 ? r : 1;
}

static int take_file(struct reader *rd, struct archive_entry *h, const char *path, struct error *e)
{
        mode_t type = archive_entry_filetype(h);
        la_int64_t size = archive_entry_size(h), mtime = archive_entry_mtime(h);
        _cleanup_(buf_done) struct buf xattrs = BUF_INIT(LIMIT_XATTRS);
        struct rootfs_file file = {.mode = type | (archive_entry_perm(h) & 07777),
                                   .uid = id_of(archive_entry_uid(h)),
                                   .gid = id_of(archive_entry_gid(h)),
                                   .mtime = mtime > 0 ? (uint64_t)mtime : 0,
                                   .device_major = (uint32_t)archive_entry_rdevmajor(h),
                                   .device_minor = (uint32_t)archive_entry_rdevminor(h),
                                   .link = type == AE_IFLNK ? archive_entry_symlink(h) : NULL,
                                   .size = type == AE_IFREG && size > 0 ? (uint64_t)size : 0,
                                   .xattrs = &xattrs};
        int r = take_xattrs(h, path, &xattrs, &file.capabilities, e);

        if (r < 0)
                return r;
        if (type == AE_IFLNK && (!file.link || !*file.link))
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s: a link to nothing", path);
        if (type == AE_IFREG && file.size > 0 && file.size <= LIMIT_CPIO_FILE) {
                r = copy_content(rd, path, file.size, e);
                if (r < 0)
                        return r;
        }
        return rootfs_put(rd->fs, path, &file, e);
}

static int take(struct reader *rd, struct archive_entry *h, struct error *e)
{
        const char *path = archive_entry_pathname(h), *target = archive_entry_hardlink(h);
        int r;

        if (!path || !*path)
                return error_set(e, ERROR_CONFIG, EBADMSG, "a file without a name");
        r = take_whiteout(rd, path, e);
        if (r != 0)
                return r < 0 ? r : 0;
        if (target)
                return rootfs_put_link(rd->fs, path, target, e);
        switch (archive_entry_filetype(h)) {
        case AE_IFREG:
        case AE_IFDIR:
        case AE_IFLNK:
        case AE_IFCHR:
        case AE_IFBLK:
        case AE_IFIFO:
                return take_file(rd, h, path, e);
        default:
                say_warning("%s is left out: a socket, or nothing that is known", path);
                return 0;
        }
}

static int read_all(struct reader *rd, struct error *e)
{
        struct archive_entry *h;
        int r;

        for (;;) {
                r = archive_read_next_header(rd->archive, &h);
                if (r == ARCHIVE_EOF)
                        break;
                if (r != ARCHIVE_OK)
                        return failed(rd, e);
                r = take(rd, h, e);
                if (r < 0)
                        return r;
        }
        /* To the end, for what is promised about the whole. */
        for (;;) {
                ssize_t n = stream_read(rd->in, rd->chunk, CHUNK, e);

                if (n <= 0)
                        return (int)n;
        }
}

int rootfs_add_tar(struct rootfs *fs, struct stream *in, bool whiteouts, struct error *e)
{
        _cleanup_(reader_done) struct reader rd = {.fs = fs, .in = in, .whiteouts = whiteouts};
        /* Names are bytes for us; the library wants to know what they are before it gives them. */
        locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before;
        int r;

        if (!utf8)
                return error_set(e, ERROR_INTERNAL, ENOENT, "there is no locale C.UTF-8");
        before = uselocale(utf8);
        rootfs_begin_layer(fs);
        r = start(&rd, e);
        if (r == 0)
                r = read_all(&rd, e);
        (void)uselocale(before);
        freelocale(utf8);
        return r;
}
