/* SPDX-License-Identifier: Apache-2.0 */
#include "image/roottar.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "image/say.h"
#include "image/xattr.h"

/* Holes in smaller files are not looked for, and more pieces than that are not told. */
#define SPARSE_SIZE_MIN (1 * MIB)
#define PIECES_MAX 1000u

struct writer {
        const struct tree *tree;
        struct archive *archive;
        struct archive_entry *entry;
        uint8_t *chunk;
        const char **first; /* path of the first name of each file, by number */
        uint64_t epoch;
        unsigned parts;
        unsigned lost; /* files whose access control lists are */
        const char *lost_first;
};

static void writer_done(struct writer *w)
{
        archive_entry_free(w->entry);
        (void)archive_write_free(w->archive);
        free(w->chunk);
        free(w->first);
}

static int failed(struct writer *w, struct error *e)
{
        int code = archive_errno(w->archive);

        return error_set(e, ERROR_IO, code > 0 ? code : EIO, "cannot pack the root: %s",
                         archive_error_string(w->archive) ?: "unknown reason");
}

static int start(struct writer *w, int fd, struct error *e)
{
        size_t n = 0;

        while (tree_at(w->tree, n))
                n++;
        w->archive = archive_write_new();
        w->entry = archive_entry_new();
        w->chunk = malloc(FILE_CHUNK);
        w->first = calloc(n + 1, sizeof(*w->first)); /* numbers begin with 1 */
        if (!w->archive || !w->entry || !w->chunk || !w->first)
                return error_oom(e);
        if (archive_write_set_format_pax(w->archive) != ARCHIVE_OK ||
            archive_write_set_format_option(w->archive, "pax", "xattrheader", "SCHILY") !=
                    ARCHIVE_OK ||
            archive_write_open_fd(w->archive, fd) != ARCHIVE_OK)
                return failed(w, e);
        return 0;
}

static int add_xattrs(struct writer *w, const struct tree_entry *t, struct error *e)
{
        _cleanup_(buf_done) struct buf block = BUF_INIT(LIMIT_XATTRS);
        struct xattr x;
        size_t at = 0;
        bool lost = false;
        int r = tree_xattrs(w->tree, t, &block, e);

        if (r < 0)
                return r;
        while (xattr_next(block.data, block.len, &at, &x)) {
                if (!(w->parts & ROOTTAR_ACLS) && xattr_is_acl(x.name))
                        lost = true;
                else
                        archive_entry_xattr_add_entry(w->entry, x.name, x.value, x.size);
        }
        if (lost && w->lost++ == 0)
                w->lost_first = t->path;
        return 0;
}

/*
 * Where a large file has data: what is between is not written. A file with too many pieces is
 * written as a whole.
 */
static int add_pieces(struct writer *w, const struct tree_entry *t, int fd, struct error *e)
{
        uint64_t begin = t->offset, end = t->offset + t->size, at = begin;
        unsigned n = 0;

        if (t->size < SPARSE_SIZE_MIN)
                return 0;
        while (at < end) {
                off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

                if (data < 0 && errno == ENXIO)
                        break;
                hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
                if (hole < 0)
                        return error_errno(e, errno, "cannot read %s", t->path);
                if ((uint64_t)data >= end)
                        break;
                if (++n > PIECES_MAX) {
                        archive_entry_sparse_clear(w->entry);
                        return 0;
                }
                at = (uint64_t)hole < end ? (uint64_t)hole : end;
                archive_entry_sparse_add_entry(w->entry, (la_int64_t)((uint64_t)data - begin),
                                               (la_int64_t)(at - (uint64_t)data));
        }
        if (n == 0) /* nothing but a hole */
                archive_entry_sparse_add_entry(w->entry, (la_int64_t)t->size, 0);
        return 0;
}

static void set_facts(struct writer *w, const struct tree_entry *t)
{
        struct archive_entry *a = archive_entry_clear(w->entry);

        archive_entry_set_pathname(a, t->path);
        archive_entry_set_mode(a, t->mode);
        archive_entry_set_uid(a, t->uid);
        archive_entry_set_gid(a, t->gid);
        archive_entry_set_mtime(a, (time_t)tree_entry_time(t, w->epoch), 0);
        archive_entry_set_size(a, 0);
        if (t->link)
                archive_entry_set_symlink(a, t->link);
        if (S_ISCHR(t->mode) || S_ISBLK(t->mode)) {
                archive_entry_set_rdevmajor(a, t->device_major);
                archive_entry_set_rdevminor(a, t->device_minor);
        }
}

static int write_header(struct writer *w, struct error *e)
{
        /* A warning is about a name that is no UTF-8: it goes in as the bytes it is. */
        return archive_write_header(w->archive, w->entry) >= ARCHIVE_WARN ? 0 : failed(w, e);
}

/* All of it: the library leaves out what the header says is a hole. */
static int write_content(struct writer *w, const struct tree_entry *t, int fd, struct error *e)
{
        for (uint64_t done = 0; done < t->size;) {
                ssize_t n = tree_read(t, fd, done, w->chunk, FILE_CHUNK, e);

                if (n < 0)
                        return (int)n;
                if (archive_write_data(w->archive, w->chunk, (size_t)n) < 0)
                        return failed(w, e);
                done += (uint64_t)n;
        }
        return 0;
}

static int write_entry(struct writer *w, const struct tree_entry *t, struct error *e)
{
        const char **first = &w->first[t->number];
        _cleanup_close_ int fd = -EBADF;
        int r;

        set_facts(w, t);
        if (*first) {
                archive_entry_set_hardlink(w->entry, *first);
                return write_header(w, e);
        }
        *first = t->path;
        r = add_xattrs(w, t, e);
        if (r < 0 || !S_ISREG(t->mode) || t->size == 0)
                return r < 0 ? r : write_header(w, e);
        fd = tree_open(w->tree, t, e);
        if (fd < 0)
                return fd;
        archive_entry_set_size(w->entry, (la_int64_t)t->size);
        r = add_pieces(w, t, fd, e);
        if (r == 0)
                r = write_header(w, e);
        return r == 0 ? write_content(w, t, fd, e) : r;
}

static void warn_of_lost(const struct writer *w)
{
        if (w->lost == 1)
                say_warning("%s has an access control list, which this file system cannot hold",
                            w->lost_first);
        if (w->lost > 1)
                say_warning("%s and %u more files have access control lists, which this file "
                            "system cannot hold",
                            w->lost_first, w->lost - 1);
}

static int write_all(struct writer *w, struct error *e)
{
        /* Names are bytes for us; the library wants to know what they are before it takes them. */
        locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before;
        const struct tree_entry *entry;
        int r = 0;

        if (!utf8)
                return error_set(e, ERROR_INTERNAL, ENOENT, "there is no locale C.UTF-8");
        before = uselocale(utf8);
        /* The root stands first. */
        for (size_t i = w->parts & ROOTTAR_TOP ? 0 : 1; r == 0 && (entry = tree_at(w->tree, i));
             i++)
                r = write_entry(w, entry, e);
        (void)uselocale(before);
        freelocale(utf8);
        return r;
}

int roottar_write(const struct tree *t, uint64_t epoch, unsigned parts, int fd, struct error *e)
{
        _cleanup_(writer_done) struct writer w = {.tree = t, .epoch = epoch, .parts = parts};
        int r = start(&w, fd, e);

        if (r == 0)
                r = write_all(&w, e);
        if (r < 0)
                return r;
        if (archive_write_close(w.archive) != ARCHIVE_OK)
                return failed(&w, e);
        warn_of_lost(&w);
        return 0;
}
