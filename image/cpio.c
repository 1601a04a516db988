/* SPDX-License-Identifier: Apache-2.0 */
#include "image/cpio.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/file.h"
#include "image/say.h"

/* Compression threads: more than a build machine has would only cost memory. */
#define THREADS_MAX 16L

struct writer {
        struct archive *archive;
        struct archive_entry *entry;
        uint8_t *chunk;
        uint64_t epoch;
        unsigned capabilities; /* files whose capabilities get lost */
        const char *first;     /* of them, borrowed from the tree */
        cpio_sink sink;
        void *ctx;
        bool failed; /* the sink did; sink_error says why */
        struct error sink_error;
};

static void writer_done(struct writer *w)
{
        archive_entry_free(w->entry);
        (void)archive_write_free(w->archive);
        free(w->chunk);
}

/*
 * Says yes to everything once something failed: a library that is told of an error does not free
 * what belongs to the output.
 */
static la_ssize_t take(struct archive *a, void *ctx, const void *data, size_t n)
{
        struct writer *w = ctx;

        (void)a;
        if (!w->failed && w->sink(w->ctx, data, n, &w->sink_error) < 0)
                w->failed = true;
        return (la_ssize_t)n;
}

static int failed(struct writer *w, struct error *e)
{
        int code = archive_errno(w->archive);

        if (w->failed) {
                if (e)
                        *e = w->sink_error;
                return w->sink_error.code > 0 ? -w->sink_error.code : -EIO;
        }
        return error_set(e, ERROR_IO, code > 0 ? code : EIO, "cannot pack the root: %s",
                         archive_error_string(w->archive) ?: "unknown reason");
}

static int set_option(struct writer *w, const char *name, unsigned long value)
{
        char text[24];

        (void)snprintf(text, sizeof(text), "%lu", value);
        return archive_write_set_filter_option(w->archive, "zstd", name, text);
}

static int start(struct writer *w, unsigned level, struct error *e)
{
        long threads = sysconf(_SC_NPROCESSORS_ONLN);

        w->archive = archive_write_new();
        w->entry = archive_entry_new();
        w->chunk = malloc(FILE_CHUNK);
        if (!w->archive || !w->entry || !w->chunk)
                return error_oom(e);
        if (threads > THREADS_MAX)
                threads = THREADS_MAX;
        if (archive_write_set_format_cpio_newc(w->archive) != ARCHIVE_OK ||
            archive_write_add_filter_zstd(w->archive) != ARCHIVE_OK ||
            set_option(w, "compression-level", level) != ARCHIVE_OK)
                return failed(w, e);
        /* At least one worker thread even on one processor: the output of zstd with any number of
         * workers is the same, but without workers it differs. A library without the option still
         * packs, on one thread. */
        if (set_option(w, "threads", threads > 0 ? (unsigned long)threads : 1) != ARCHIVE_OK)
                archive_clear_error(w->archive);
        /* No padding of the archive to a tape's block. */
        if (archive_write_set_bytes_per_block(w->archive, (int)FILE_CHUNK) != ARCHIVE_OK ||
            archive_write_set_bytes_in_last_block(w->archive, 1) != ARCHIVE_OK ||
            archive_write_open(w->archive, w, NULL, take, NULL) != ARCHIVE_OK)
                return failed(w, e);
        return 0;
}

/* The content of hard-linked files goes with the last name, as cpio(1) does it. */
static uint64_t stored_size(const struct tree_entry *t)
{
        return S_ISREG(t->mode) && t->last_link ? t->size : 0;
}

static int write_header(struct writer *w, const struct tree_entry *t, struct error *e)
{
        struct archive_entry *a = archive_entry_clear(w->entry);
        uint64_t mtime = tree_entry_time(t, w->epoch);

        archive_entry_set_pathname(a, t->path);
        archive_entry_set_mode(a, t->mode);
        archive_entry_set_uid(a, t->uid);
        archive_entry_set_gid(a, t->gid);
        archive_entry_set_mtime(a, (time_t)(mtime < UINT32_MAX ? mtime : UINT32_MAX), 0);
        archive_entry_set_ino64(a, (la_int64_t)t->number);
        archive_entry_set_dev(a, 0);
        archive_entry_set_nlink(a, t->links);
        archive_entry_set_size(a, (la_int64_t)stored_size(t));
        if (t->link)
                archive_entry_set_symlink(a, t->link);
        if (S_ISCHR(t->mode) || S_ISBLK(t->mode)) {
                archive_entry_set_rdevmajor(a, t->device_major);
                archive_entry_set_rdevminor(a, t->device_minor);
        }
        if (archive_write_header(w->archive, a) != ARCHIVE_OK || w->failed)
                return failed(w, e);
        return 0;
}

static int write_content(struct writer *w, const struct tree *t, const struct tree_entry *entry,
                         struct error *e)
{
        _cleanup_close_ int fd = tree_open(t, entry, e);
        uint64_t done = 0;

        if (fd < 0)
                return fd;
        if ((entry->capabilities || fgetxattr(fd, "security.capability", NULL, 0) > 0) &&
            w->capabilities++ == 0)
                w->first = entry->path;
        while (done < entry->size) {
                ssize_t n = tree_read(entry, fd, done, w->chunk, FILE_CHUNK, e);

                if (n < 0)
                        return (int)n;
                if (archive_write_data(w->archive, w->chunk, (size_t)n) != n || w->failed)
                        return failed(w, e);
                done += (uint64_t)n;
        }
        return 0;
}

int cpio_write(const struct tree *t, uint64_t epoch, unsigned level, cpio_sink sink, void *ctx,
               struct error *e)
{
        _cleanup_(writer_done) struct writer w = {.epoch = epoch, .sink = sink, .ctx = ctx};
        const struct tree_entry *entry;
        int r;

        r = start(&w, level, e);
        for (size_t i = 0; r == 0 && (entry = tree_at(t, i)); i++) {
                r = write_header(&w, entry, e);
                if (r == 0 && stored_size(entry) > 0)
                        r = write_content(&w, t, entry, e);
        }
        if (r < 0) {
                w.failed = true; /* what is still in flight goes nowhere */
                return r;
        }
        if (archive_write_close(w.archive) != ARCHIVE_OK || w.failed)
                return failed(&w, e);
        if (w.capabilities == 1)
                say_warning("%s has capabilities, which an initramfs cannot carry", w.first);
        if (w.capabilities > 1)
                say_warning("%s and %u more files have capabilities, which an initramfs cannot "
                            "carry",
                            w.first, w.capabilities - 1);
        return 0;
}
