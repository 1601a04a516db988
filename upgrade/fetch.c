/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "upgrade/archive_source.h"
#include "upgrade/fetch_link.h"
#include "upgrade/oci_digest.h"
#include "upgrade/pe.h"
#include "upgrade/spool.h"

enum state {
        STATE_NEW,
        STATE_READY, /* resolved, nothing is on its way */
        STATE_MOVING,
        STATE_ENDED,
};

struct fetch {
        enum state state;
        struct link *link; /* NULL: the image is a file that this side reads by itself */
        int dir;           /* of a dir source */
        int file;          /* the image, or an archive for the child */
        bool want_loader, has_loader;
        bool layers;   /* are what is wanted */
        uint64_t at;   /* in the file */
        uint64_t left; /* of a frame of data */
        struct fetch_info info;
        struct buf loader;
        struct fetch_counters counters; /* without a child */
};

/* --- files read by this side -------------------------------------------------------------------*/

/*
 * A path that cannot be opened is a wrong word on the command line: repeating helps no more than
 * with a bad image, but the image is not to blame. A disk or a server of files that fails may be
 * back later.
 */
static int cannot_open(const char *path, int code, struct error *e)
{
        const bool wrong = code == ENOENT || code == ENOTDIR || code == EACCES || code == ELOOP ||
                           code == ENAMETOOLONG || code == EISDIR;

        if (!wrong)
                return error_set(e, ERROR_SOURCE, code, "source %s: %s", path, strerror(code));
        if (code == ENOENT)
                error_set(e, ERROR_USAGE, code, "source %s: there is no such file or folder", path);
        else
                error_set(e, ERROR_USAGE, code, "source %s: %s", path, strerror(code));
        error_advise(e, "check the path; in a container it has to lead to a place inside of it");
        return -code;
}

static int open_file(const char *path, struct error *e)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;

        if (fd < 0)
                return cannot_open(path, errno, e);
        if (fstat(fd, &st) < 0)
                return cannot_open(path, errno, e);
        if (!S_ISREG(st.st_mode)) {
                error_set(e, ERROR_USAGE, EINVAL, "source %s: is no regular file", path);
                error_advise(e, "file: and ocifile: take a file, dir: takes a folder");
                return -EINVAL;
        }
        return TAKE_FD(fd);
}

static int resolve_file(struct fetch *f, struct error *e)
{
        struct stat st;

        if (fstat(f->file, &st) < 0)
                return error_errno(e, errno, "source");
        f->info.size = f->info.transfer = (uint64_t)st.st_size;
        f->info.seekable = true;
        return pe_check_size(f->info.size, e);
}

/* The boot loader of an EFI tree; none is fine. */
static int read_loader(struct fetch *f, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!f->want_loader || f->dir < 0 || f->has_loader)
                return 0;
        fd = archive_tree_open(f->dir, LAYER_LOADER_NAME, e);
        if (fd == -ENOENT) {
                error_clear(e);
                return 0;
        }
        if (fd < 0)
                return fd;
        f->has_loader = true;
        for (uint64_t at = 0;;) {
                uint8_t *to;
                ssize_t n;

                r = buf_reserve(&f->loader, 64 * KIB, &to);
                if (r < 0)
                        return error_set(e, ERROR_REFUSED, -r, "the boot loader is too large");
                n = file_pread(fd, to, 64 * KIB, at);
                if (n < 0)
                        return error_errno(e, (int)-n, "reading the boot loader");
                if (n == 0)
                        return 0;
                buf_commit(&f->loader, (size_t)n);
                at += (uint64_t)n;
        }
}

static ssize_t read_file(struct fetch *f, void *buf, size_t n, struct error *e)
{
        ssize_t got = file_pread(f->file, buf, n, f->at);
        int r;

        if (got < 0)
                return error_set(e, ERROR_SOURCE, (int)-got, "reading the source: %s",
                                 strerror((int)-got));
        f->at += (uint64_t)got;
        if (got > 0)
                return got;
        r = read_loader(f, e);
        if (r < 0)
                return r;
        f->state = STATE_ENDED;
        return 0;
}

/* --- what the child says -----------------------------------------------------------------------*/

static int take_info(struct fetch *f, struct error *e)
{
        struct oci_digest digest;
        struct wire_info w;
        int r;

        r = link_take_all(f->link, &w, sizeof(w), e);
        if (r < 0)
                return r;
        w.manifest[sizeof(w.manifest) - 1] = '\0';
        wire_text(w.version, sizeof(w.version));
        if ((*w.manifest && oci_digest_parse(w.manifest, &digest) < 0) ||
            w.size > LIMIT_IMAGE_SIZE || w.has_sha256 > 1 || w.seekable > 1 ||
            w.n_layers > LIMIT_OCI_LAYERS || (w.n_layers > 0) != f->layers)
                return link_broken(f->link, e);
        f->info = (struct fetch_info){.size = w.size,
                                      .transfer = w.transfer,
                                      .n_layers = w.n_layers,
                                      .seekable = w.seekable,
                                      .has_image_sha256 = w.has_sha256};
        memcpy(f->info.image_sha256, w.sha256, SHA256_SIZE);
        (void)snprintf(f->info.manifest, sizeof(f->info.manifest), "%s", w.manifest);
        (void)snprintf(f->info.version, sizeof(f->info.version), "%s", w.version);
        return 0;
}

static int resolve_by_child(struct fetch *f, struct error *e)
{
        struct wire_header h;
        int r;

        r = link_command(f->link, WIRE_RESOLVE, 0, e);
        if (r >= 0)
                r = link_frame(f->link, &h, e);
        if (r < 0)
                return r;
        return h.type == WIRE_INFO ? take_info(f, e) : link_broken(f->link, e);
}

static int take_loader(struct fetch *f, size_t n, struct error *e)
{
        uint8_t *to;
        int r;

        r = f->want_loader ? buf_reserve(&f->loader, n, &to) : -E2BIG;
        if (r < 0)
                return r == -ENOMEM ? link_failed(f->link, r, e) : link_broken(f->link, e);
        r = link_take_all(f->link, to, n, e);
        if (r < 0)
                return r;
        buf_commit(&f->loader, n);
        f->has_loader = true;
        return 0;
}

/* Until there are bytes of the image; 0: the end. */
static int next_data(struct fetch *f, struct error *e)
{
        for (;;) {
                struct wire_header h;
                int r;

                r = link_frame(f->link, &h, e);
                if (r < 0)
                        return r;
                if (h.type == WIRE_END)
                        return 0;
                if (h.type == WIRE_DATA) {
                        f->left = h.length;
                        return 1;
                }
                r = h.type == WIRE_LOADER ? take_loader(f, h.length, e) : link_broken(f->link, e);
                if (r < 0)
                        return r;
        }
}

static ssize_t read_child(struct fetch *f, void *buf, size_t n, struct error *e)
{
        ssize_t got = 1;

        if (f->left == 0)
                got = next_data(f, e);
        if (got > 0)
                got = link_take(f->link, buf, f->left < n ? (size_t)f->left : n, e);
        if (got > 0)
                f->left -= (uint64_t)got;
        else
                f->state = got == 0 ? STATE_ENDED : STATE_READY;
        return got;
}

/* --- the interface -----------------------------------------------------------------------------*/

void fetch_free(struct fetch *f)
{
        if (!f)
                return;
        link_free(f->link);
        buf_done(&f->loader);
        close_p(&f->dir);
        close_p(&f->file);
        free(f);
}

/* A layout is read by the child, a tree by this side: it has nothing to parse. */
static int open_folder(struct fetch *f, const struct source_name *name, bool *ret_child,
                       struct error *e)
{
        int r;

        f->dir = file_open_dir(AT_FDCWD, name->path);
        if (f->dir < 0)
                return cannot_open(name->path, -f->dir, e);
        r = layout_is(f->dir, e);
        if (r < 0)
                return error_wrap(e, r, "%s", name->path);
        *ret_child = r > 0;
        if (r > 0)
                return 0;
        f->file = archive_tree_open(f->dir, LAYER_IMAGE_NAME, e);
        return f->file < 0 ? error_wrap(e, f->file, "%s", name->path) : 0;
}

int fetch_open(const struct source_name *name, const struct fetch_options *options,
               struct fetch **ret, struct error *e)
{
        _cleanup_(fetch_free_p) struct fetch *f = calloc(1, sizeof(*f));
        bool child = name->kind != SOURCE_KIND_FILE;
        int r = 0;

        if (!f)
                return error_oom(e);
        if (options->layers && name->kind != SOURCE_KIND_OCI)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s is in no registry", name->text);
        f->dir = f->file = -EBADF;
        f->want_loader = options->want_loader;
        f->layers = options->layers;
        f->loader = (struct buf)BUF_INIT(LIMIT_BOOT_LOADER + 64 * KIB);
        if (name->kind == SOURCE_KIND_DIR)
                r = open_folder(f, name, &child, e);
        else if (name->kind == SOURCE_KIND_FILE || name->kind == SOURCE_KIND_OCIFILE)
                r = f->file = open_file(name->path, e);
        if (r >= 0 && child)
                r = link_open(name, options, f->file, f->dir, &f->link, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(f);
        return 0;
}

int fetch_resolve(struct fetch *f, const struct fetch_info **ret, struct error *e)
{
        int r = 0;

        if (f->state == STATE_NEW) {
                r = f->link ? resolve_by_child(f, e) : resolve_file(f, e);
                if (r < 0)
                        return r;
                f->state = STATE_READY;
        }
        *ret = &f->info;
        return 0;
}

static int begin(struct fetch *f, enum wire_command_kind kind, uint64_t offset, struct error *e)
{
        int r;

        if (f->state == STATE_NEW || f->state == STATE_MOVING)
                return error_set(e, ERROR_INTERNAL, EINVAL, "a transfer cannot begin here");
        buf_reset(&f->loader);
        f->has_loader = false;
        f->at = offset;
        f->left = 0;
        if (f->link) {
                r = link_command(f->link, kind, offset, e);
                if (r < 0)
                        return r;
        }
        f->state = STATE_MOVING;
        return 0;
}

int fetch_begin(struct fetch *f, uint64_t offset, struct error *e)
{
        if (f->layers || (offset > 0 && !f->info.seekable))
                return error_set(e, ERROR_INTERNAL, EINVAL, "there is no image from there on");
        return begin(f, WIRE_BEGIN, offset, e);
}

int fetch_begin_layer(struct fetch *f, unsigned n, struct error *e)
{
        if (n >= f->info.n_layers)
                return error_set(e, ERROR_INTERNAL, EINVAL, "there is no layer %u", n);
        return begin(f, WIRE_LAYER, n, e);
}

ssize_t fetch_read(struct fetch *f, void *buf, size_t n, struct error *e)
{
        if (f->state == STATE_ENDED)
                return 0;
        if (f->state != STATE_MOVING)
                return error_set(e, ERROR_INTERNAL, EINVAL, "no transfer is on its way");
        return f->link ? read_child(f, buf, n, e) : read_file(f, buf, n, e);
}

/* To the end that the child tells, which is nearer than the largest image. */
static void read_rest(struct fetch *f)
{
        _cleanup_free_ uint8_t *rest = malloc(LIMIT_FETCH_FRAME);
        uint64_t done = 0;
        ssize_t n = 1;

        while (rest && n > 0 && done <= LIMIT_IMAGE_SIZE) {
                n = fetch_read(f, rest, LIMIT_FETCH_FRAME, NULL);
                done += n > 0 ? (uint64_t)n : 0;
        }
}

bool fetch_again(struct fetch *f)
{
        if (!f->link)
                return false;
        if (f->state == STATE_MOVING && link_has_choice(f->link))
                read_rest(f);
        return f->state == STATE_READY && link_again(f->link);
}

const struct buf *fetch_loader(const struct fetch *f)
{
        return f->has_loader ? &f->loader : NULL;
}

const struct fetch_counters *fetch_counters(const struct fetch *f)
{
        return f->link ? link_counters(f->link) : &f->counters;
}

int fetch_drop_spool(int spool, struct error *e)
{
        return spool_drop(spool, e);
}
