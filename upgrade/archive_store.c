/* SPDX-License-Identifier: Apache-2.0 */
/* The tar as a store: the half of upgrade/archive_source.h that reads archives. */
#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"
#include "upgrade/archive_source.h"

/* Headers are looked for in pieces of this size; a header is 512 bytes, content is skipped. */
#define WINDOW (UINT64_C(64) * 1024)

struct member {
        char *name;
        char *link; /* leads to another member by its name from the root; NULL for a file */
        uint64_t offset, size;
};

struct archive_store {
        struct oci_store store;
        struct file_ranges *file; /* borrowed */
        unsigned n;
        struct member *members;
};

/* What the steps of the pass over the tar share. */
struct pass {
        struct archive_store *store;
        struct archive *archive;
        struct stream *stream; /* the current window, NULL: none */
        uint64_t at, window_end;
        uint8_t chunk[16 * 1024];
        int failed; /* of the file: negative errno, with the error */
        struct error error;
};

/* --- feeding the unpacker --- */

static int check_first(const uint8_t *data, size_t n, struct error *e)
{
        enum layer_format f = layer_format_detect(data, n);

        if (f != LAYER_TAR_GZIP && f != LAYER_TAR_ZSTD)
                return 0;
        error_set(e, ERROR_REFUSED, EBADMSG, "archive: compressed as a whole");
        error_advise(e, "unpack it with gunzip or unzstd first; its layers may stay compressed");
        return -EBADMSG;
}

/* The next bytes; 0 at the end of the file. */
static ssize_t pull(struct pass *p)
{
        for (;;) {
                uint64_t begin = p->at;
                ssize_t n;
                int r;

                if (p->stream) {
                        n = stream_read(p->stream, p->chunk, sizeof(p->chunk), &p->error);
                        if (n != 0 || p->at < p->window_end)
                                return n;
                }
                if (add_u64(begin, WINDOW, &p->window_end) < 0)
                        return 0;
                p->stream = NULL;
                r = p->store->file->open(p->store->file, begin, p->window_end, &p->stream,
                                         &p->error);
                if (r < 0)
                        return r;
        }
}

static la_ssize_t feed(struct archive *a, void *ctx, const void **ret)
{
        struct pass *p = ctx;
        ssize_t n = p->failed < 0 ? p->failed : pull(p);

        if (n > 0 && p->at == 0 && check_first(p->chunk, (size_t)n, &p->error) < 0)
                n = -EBADMSG;
        if (n < 0) {
                p->failed = (int)n;
                archive_set_error(a, EIO, "no input");
                return -1;
        }
        p->at += (uint64_t)n;
        *ret = p->chunk;
        return (la_ssize_t)n;
}

/* Passes over content, unless reading it is as quick. */
static la_int64_t skip(struct archive *a, void *ctx, la_int64_t request)
{
        struct pass *p = ctx;
        uint64_t to;

        (void)a;
        if (request <= 0 || add_u64(p->at, (uint64_t)request, &to) < 0 || to <= p->window_end)
                return 0;
        p->at = p->window_end = to;
        p->stream = NULL;
        return request;
}

/* --- the table --- */

/*
 * A path without "." and empty components, and with ".." resolved; base is the name of the member
 * that it is relative to, or NULL. -EINVAL when it leads out of the archive, -E2BIG, -ENOMEM.
 */
static int normalise(const char *base, const char *path, struct buf *out)
{
        const char *slash = base ? strrchr(base, '/') : NULL;
        int r = 0;

        buf_reset(out);
        if (slash && path[0] != '/')
                r = buf_add(out, base, (size_t)(slash - base));
        if (r < 0)
                return r;
        while (*path) {
                size_t n = strcspn(path, "/");

                if (n == 2 && path[0] == '.' && path[1] == '.') {
                        if (out->len == 0)
                                return -EINVAL;
                        while (out->len > 0 && out->data[--out->len] != '/')
                                ;
                        out->data[out->len] = '\0';
                } else if (n > 0 && !(n == 1 && path[0] == '.')) {
                        if (out->len > 0)
                                r = buf_add_str(out, "/");
                        if (r == 0)
                                r = buf_add(out, path, n);
                        if (r < 0)
                                return r;
                }
                path += n + (path[n] == '/');
        }
        return out->len > 0 ? 0 : -EINVAL;
}

/* Fills the member from its header; 0 for one that nobody can ask for. */
static int describe(struct pass *p, struct archive_entry *entry, struct member *m, struct error *e)
{
        _cleanup_(buf_done) struct buf name = BUF_INIT(LIMIT_ARCHIVE_NAME),
                                       link = BUF_INIT(LIMIT_ARCHIVE_NAME);
        const char *path = archive_entry_pathname(entry), *to = archive_entry_hardlink(entry);
        bool hard = to != NULL;
        int r = path ? normalise(NULL, path, &name) : -EINVAL;

        if (archive_entry_filetype(entry) == AE_IFLNK)
                to = archive_entry_symlink(entry);
        if (r == 0 && to)
                r = normalise(hard ? NULL : buf_str(&name), to, &link);
        if (r < 0)
                return r == -ENOMEM ? error_oom(e) : 0;
        if (!to && (archive_entry_filetype(entry) != AE_IFREG || archive_entry_size(entry) < 0 ||
                    archive_entry_sparse_count(entry) > 0))
                return 0;
        m->name = strdup(buf_str(&name));
        m->link = to ? strdup(buf_str(&link)) : NULL;
        if (!m->name || (to && !m->link)) {
                free(m->name);
                free(m->link);
                return error_oom(e);
        }
        m->size = to ? 0 : (uint64_t)archive_entry_size(entry);
        m->offset = (uint64_t)archive_filter_bytes(p->archive, 0);
        return 1;
}

static int damaged(struct pass *p, struct error *e)
{
        if (p->failed < 0) {
                if (e)
                        *e = p->error;
                return p->failed;
        }
        if (archive_errno(p->archive) == ENOMEM)
                return error_oom(e);
        return error_set(e, ERROR_REFUSED, EBADMSG, "archive: damaged, or no tar");
}

static int list_members(struct pass *p, struct error *e)
{
        struct archive_store *s = p->store;
        unsigned seen = 0;

        for (;;) {
                uint64_t before = (uint64_t)archive_filter_bytes(p->archive, 0);
                struct archive_entry *entry;
                int r = archive_read_next_header(p->archive, &entry);

                /* At the end stands a block of zeros, at least one. */
                if (r == ARCHIVE_EOF && (uint64_t)archive_filter_bytes(p->archive, 0) != before)
                        return 0;
                if (r == ARCHIVE_EOF)
                        return error_set(e, ERROR_REFUSED, EBADMSG,
                                         "archive: cut off behind a member");
                if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
                        return damaged(p, e);
                if (++seen > LIMIT_ARCHIVE_MEMBERS)
                        return error_set(e, ERROR_REFUSED, E2BIG, "archive: more than %u members",
                                         LIMIT_ARCHIVE_MEMBERS);
                r = describe(p, entry, &s->members[s->n], e);
                if (r < 0)
                        return r;
                s->n += (unsigned)r;
                if (archive_read_data_skip(p->archive) != ARCHIVE_OK)
                        return damaged(p, e);
        }
}

static int make_table(struct pass *p, struct error *e)
{
        struct archive *a = p->archive;

        p->store->members = calloc(LIMIT_ARCHIVE_MEMBERS, sizeof(*p->store->members));
        if (!p->store->members || archive_read_support_format_tar(a) != ARCHIVE_OK ||
            archive_read_set_skip_callback(a, skip) != ARCHIVE_OK)
                return error_oom(e);
        if (archive_read_open(a, p, NULL, feed, NULL) != ARCHIVE_OK)
                return damaged(p, e);
        return list_members(p, e);
}

/* --- the store --- */

/* -ENOENT, -ENOTUNIQ; e filled. */
static int find(struct archive_store *a, const char *name, const struct member **ret,
                struct error *e)
{
        const struct member *found = NULL;

        for (unsigned i = 0; i < a->n; i++) {
                if (strcmp(a->members[i].name, name) != 0)
                        continue;
                /* Unpacked, the last would win; who else reads this may take the first. */
                if (found)
                        return error_set(e, ERROR_REFUSED, ENOTUNIQ, "archive: holds %s twice",
                                         name);
                found = &a->members[i];
        }
        if (!found)
                return error_set(e, ERROR_REFUSED, ENOENT, "archive: there is no %s in it", name);
        *ret = found;
        return 0;
}

static int store_open(struct oci_store *store, const char *name, struct stream **ret,
                      uint64_t *ret_size, struct error *e)
{
        struct archive_store *a = (struct archive_store *)store;
        const struct member *m;
        uint64_t end;
        int r;

        r = find(a, name, &m, e);
        for (unsigned links = 0; r == 0 && m->link; links++) {
                if (links == LIMIT_ARCHIVE_LINKS)
                        return error_set(e, ERROR_REFUSED, ELOOP,
                                         "archive: %s leads through too many links", name);
                r = find(a, m->link, &m, e);
        }
        if (r < 0)
                return r;
        if (add_u64(m->offset, m->size, &end) < 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "archive: damaged");
        r = a->file->open(a->file, m->offset, end, ret, e);
        if (r == 0)
                *ret_size = m->size;
        return r;
}

int archive_store_open(struct file_ranges *file, struct archive_store **ret, struct error *e)
{
        _cleanup_(archive_store_free_p) struct archive_store *a = calloc(1, sizeof(*a));
        _cleanup_free_ struct pass *p = calloc(1, sizeof(*p));
        int r;

        if (!a || !p)
                return error_oom(e);
        *a = (struct archive_store){.store.open = store_open, .file = file};
        p->store = a;
        p->archive = archive_read_new();
        r = p->archive ? make_table(p, e) : error_oom(e);
        (void)archive_read_free(p->archive); /* nothing was written */
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

void archive_store_free(struct archive_store *a)
{
        if (!a)
                return;
        for (unsigned i = 0; i < a->n; i++) {
                free(a->members[i].name);
                free(a->members[i].link);
        }
        free(a->members);
        free(a);
}

struct oci_store *archive_store_get(struct archive_store *a)
{
        return &a->store;
}

static int file_ranges_fd_open(struct file_ranges *ranges, uint64_t begin, uint64_t end,
                               struct stream **ret, struct error *e)
{
        struct file_ranges_fd *f = (struct file_ranges_fd *)ranges;

        (void)e; /* a file can be read from anywhere */
        stream_fd_init(&f->stream, f->fd, begin, end);
        *ret = &f->stream.stream;
        return 0;
}

void file_ranges_fd_init(struct file_ranges_fd *f, int fd)
{
        *f = (struct file_ranges_fd){.ranges.open = file_ranges_fd_open, .fd = fd};
}
