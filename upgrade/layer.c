/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

#define CHUNK ((size_t)(64 * 1024))

/* What the unpacker is fed with. */
struct input {
        struct stream *stream;
        uint8_t *chunk;
        uint64_t at;      /* bytes handed to the unpacker */
        uint64_t gap_end; /* up to here they are zeros in place of the stream's, which were skipped
                           */
        bool ended;
};

struct layer {
        enum layer_format format;
        struct layer_wish wish;
        enum layer_state state;
        int result; /* 1 while open, then what every further call gives */
        struct error error;
        struct input input;
        struct archive *archive; /* NULL for raw ones */
        uint64_t members;
        bool has_image, in_image, hidden;
        bool has_size;
        uint64_t size, at; /* of the image */
        bool has_loader;
        struct buf loader;
};

/* Marks of a layer that take the image of a lower one away: it, or a folder on the way to it,
 * deleted; or a folder emptied before this layer's own content. */
static const char *const whiteouts[] = {
        ".wh.EFI",      "EFI/.wh.kairos",   "EFI/kairos/.wh.norole.efi",
        ".wh..wh..opq", "EFI/.wh..wh..opq", "EFI/kairos/.wh..wh..opq",
};
/* Folders on the way: anything else under these names has the same effect. */
static const char *const folders[] = {"EFI", "EFI/kairos"};

enum layer_format layer_format_detect(const uint8_t *data, size_t n)
{
        static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};

        if (n >= sizeof(gzip) && memcmp(data, gzip, sizeof(gzip)) == 0)
                return LAYER_TAR_GZIP;
        if (n >= sizeof(zstd) && memcmp(data, zstd, sizeof(zstd)) == 0)
                return LAYER_TAR_ZSTD;
        /* Skippable frames, which may come before the first real one: 184D2A50 to 184D2A5F. */
        if (n >= 4 && (data[0] & 0xf0) == 0x50 && data[1] == 0x2a && data[2] == 0x4d &&
            data[3] == 0x18)
                return LAYER_TAR_ZSTD;
        if (n >= 2 && data[0] == 'M' && data[1] == 'Z')
                return LAYER_RAW;
        return LAYER_TAR;
}

/* Texts of the library may repeat bytes of the archive. */
static void printable(const char *text, char *ret, size_t n)
{
        size_t i = 0;

        for (; i < n - 1 && text[i]; i++)
                ret[i] = (uint8_t)text[i] >= ' ' && (uint8_t)text[i] < 0x7f ? text[i] : '?';
        ret[i] = '\0';
}

/* --- feeding the unpacker --- */

/* Bombs: bounded in what they unpack to, and in how much comes out of how little. */
static int check_bounds(struct layer *l, struct error *e)
{
        int64_t position = archive_filter_bytes(l->archive, 0);
        uint64_t unpacked = position > 0 ? (uint64_t)position : 0;

        if (unpacked > LIMIT_LAYER_UNPACKED)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "layer: unpacks to more than %" PRIu64 " bytes",
                                 (uint64_t)LIMIT_LAYER_UNPACKED);
        if (l->input.at > LIMIT_OCI_BLOB)
                return error_set(e, ERROR_REFUSED, E2BIG, "layer: larger than %" PRIu64 " bytes",
                                 (uint64_t)LIMIT_OCI_BLOB);
        if (unpacked > LIMIT_LAYER_SLACK &&
            (unpacked - LIMIT_LAYER_SLACK) / LIMIT_LAYER_RATIO > l->input.at)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "layer: %" PRIu64 " bytes unpack to more than %" PRIu64
                                 ", no system image does that",
                                 l->input.at, unpacked);
        return 0;
}

static int check_format(const struct layer *l, size_t n, struct error *e)
{
        static const char *const names[] = {
                [LAYER_RAW] = "system image",
                [LAYER_TAR] = "plain tar",
                [LAYER_TAR_GZIP] = "gzip stream",
                [LAYER_TAR_ZSTD] = "zstd stream",
        };
        enum layer_format found = layer_format_detect(l->input.chunk, n);

        /* A tar may begin with any name, "MZ" too. */
        if (found == l->format || (l->format == LAYER_TAR && found == LAYER_RAW))
                return 0;
        return error_set(e, ERROR_REFUSED, EBADMSG, "layer: announced as a %s, but is a %s",
                         names[l->format], names[found]);
}

/* The next bytes from the stream, at least enough to know the format by in the beginning. */
static ssize_t pull(struct layer *l)
{
        struct input *in = &l->input;
        ssize_t n = in->at == 0 ? stream_read_full(in->stream, in->chunk, 512, &l->error)
                                : stream_read(in->stream, in->chunk, CHUNK, &l->error);

        if (n == 0)
                in->ended = true;
        if (n > 0 && in->at == 0 && check_format(l, (size_t)n, &l->error) < 0)
                return -EBADMSG;
        return n;
}

/* Called by the unpacker: a block of input, valid until the next call. */
static la_ssize_t feed(struct archive *a, void *ctx, const void **ret)
{
        struct layer *l = ctx;
        struct input *in = &l->input;
        ssize_t n = 0;

        if (l->result <= 0)
                n = l->result < 0 ? l->result : -EIO;
        else if (check_bounds(l, &l->error) < 0)
                n = -E2BIG;
        else if (in->at < in->gap_end)
                n = (ssize_t)(in->gap_end - in->at < CHUNK ? in->gap_end - in->at : CHUNK);
        else if (!in->ended)
                n = pull(l);
        if (n < 0) {
                l->result = (int)n;
                archive_set_error(a, EIO, "no input");
                return -1;
        }
        in->at += (uint64_t)n;
        *ret = in->chunk;
        return (la_ssize_t)n;
}

/*
 * The bytes of the image before the wanted one need not come over the network: the unpacker gets
 * zeros for them, which are thrown away behind it. begin is where the image starts in the stream.
 */
static int skip_ahead(struct layer *l, uint64_t begin, struct error *e)
{
        struct input *in = &l->input;
        uint64_t end = begin + l->wish.offset;
        int r;

        if (!in->stream->skip || end <= in->at)
                return 0;
        r = in->stream->skip(in->stream, end - in->at, e);
        if (r < 0)
                return r;
        memset(in->chunk, 0, CHUNK);
        in->gap_end = end;
        return 0;
}

/* --- members --- */

/* The failure of a library call: that of the stream, if it was one. */
static int unpack_error(struct layer *l, struct error *e)
{
        const char *why = archive_error_string(l->archive);
        char text[256];

        if (l->result < 0) {
                if (e)
                        *e = l->error;
                return l->result;
        }
        if (archive_errno(l->archive) == ENOMEM)
                return error_oom(e);
        printable(why ?: "unknown reason", text, sizeof(text));
        return error_set(e, ERROR_REFUSED, EBADMSG, "layer: damaged: %s", text);
}

/* Passes over what is left of a member, up to the next header. */
static int skip_member(struct layer *l, struct error *e)
{
        const void *data;
        la_int64_t offset;
        size_t n;
        int r;

        while ((r = archive_read_data_block(l->archive, &data, &n, &offset)) == ARCHIVE_OK) {
                int checked = check_bounds(l, e);

                if (checked < 0)
                        return checked;
        }
        return r == ARCHIVE_EOF ? 0 : unpack_error(l, e);
}

/* The name without what may stand in front; "" for one that cannot be ours. Slashes at the end of
 * folders are cut off. */
static void member_name(struct archive_entry *entry, char *ret, size_t n)
{
        const char *name = archive_entry_pathname(entry);
        size_t length;

        ret[0] = '\0';
        if (!name)
                return;
        while (name[0] == '/' || (name[0] == '.' && name[1] == '/'))
                name++;
        length = strlen(name);
        while (length > 0 && name[length - 1] == '/')
                length--;
        if (length >= n)
                return;
        memcpy(ret, name, length);
        ret[length] = '\0';
}

static void note_hiding(struct layer *l, struct archive_entry *entry, const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(whiteouts); i++) {
                if (strcasecmp(name, whiteouts[i]) == 0)
                        l->hidden = true;
        }
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
                if (strcasecmp(name, folders[i]) == 0 && archive_entry_filetype(entry) != AE_IFDIR)
                        l->hidden = true;
        }
}

/* A wanted member must be a plain file of a known size within bounds, and the only one. */
static int check_wanted(struct archive_entry *entry, const char *name, bool again, uint64_t max,
                        uint64_t *ret_size, struct error *e)
{
        int64_t size;

        if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) == AE_IFLNK) {
                error_set(e, ERROR_REFUSED, ELOOP, "layer: %s is a link", name);
                error_advise(e, "build the image with the file itself in that place");
                return -ELOOP;
        }
        if (archive_entry_filetype(entry) != AE_IFREG || !archive_entry_size_is_set(entry))
                return error_set(e, ERROR_REFUSED, EBADMSG, "layer: %s is no file", name);
        if (again)
                return error_set(e, ERROR_REFUSED, ENOTUNIQ, "layer: holds %s twice", name);
        size = archive_entry_size(entry);
        if (size <= 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "layer: %s is empty", name);
        if ((uint64_t)size > max)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "layer: %s has %" PRId64 " bytes, at most %" PRIu64
                                 " are accepted",
                                 name, size, max);
        *ret_size = (uint64_t)size;
        return 0;
}

static int begin_image(struct layer *l, struct archive_entry *entry, struct error *e)
{
        uint64_t begin = (uint64_t)archive_filter_bytes(l->archive, 0);
        int r;

        r = check_wanted(entry, LAYER_IMAGE_NAME, l->has_image, l->wish.max_image, &l->size, e);
        if (r < 0)
                return r;
        if (l->wish.offset > l->size)
                return error_set(e, ERROR_REFUSED, ESPIPE,
                                 "layer: the image has %" PRIu64 " bytes, it cannot continue at "
                                 "%" PRIu64,
                                 l->size, l->wish.offset);
        l->has_image = l->in_image = l->has_size = true;
        l->at = 0;
        /* The bytes of a sparse member do not lie one behind the other. */
        if (l->format != LAYER_TAR || l->wish.offset == 0 || archive_entry_sparse_count(entry) > 0)
                return 0;
        return skip_ahead(l, begin, e);
}

static int take_loader(struct layer *l, struct archive_entry *entry, struct error *e)
{
        uint64_t size;
        uint8_t *p;
        int r;

        r = check_wanted(entry, LAYER_LOADER_NAME, l->has_loader, LIMIT_BOOT_LOADER, &size, e);
        if (r < 0)
                return r;
        l->has_loader = true;
        if (buf_reserve(&l->loader, (size_t)size, &p) < 0)
                return error_oom(e);
        for (size_t done = 0; done < size;) {
                la_ssize_t n = archive_read_data(l->archive, p + done, (size_t)size - done);

                if (n < 0)
                        return unpack_error(l, e);
                if (n == 0)
                        return error_set(e, ERROR_REFUSED, EBADMSG, "layer: %s is cut off",
                                         LAYER_LOADER_NAME);
                done += (size_t)n;
        }
        buf_commit(&l->loader, (size_t)size);
        return skip_member(l, e);
}

/* Behind the last member: the archive has its end mark, and nothing follows. */
static int check_end(struct layer *l, uint64_t before, struct error *e)
{
        struct input *in = &l->input;

        if ((uint64_t)archive_filter_bytes(l->archive, 0) == before)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "layer: damaged: the archive is cut off behind a member");
        if (!in->ended) {
                ssize_t n = pull(l);

                if (n < 0 && e)
                        *e = l->error;
                if (n < 0)
                        return (int)n;
        }
        if (!in->ended || (uint64_t)archive_filter_bytes(l->archive, -1) != in->at)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "layer: damaged: bytes follow behind the end");
        l->state = l->has_image ? LAYER_IMAGE : l->hidden ? LAYER_HIDDEN : LAYER_ABSENT;
        return 0;
}

/* Up to the begin of the image's data (1), or to the end (0). */
static int next_member(struct layer *l, struct error *e)
{
        uint64_t before = (uint64_t)archive_filter_bytes(l->archive, 0);
        struct archive_entry *entry;
        char name[64];
        int r;

        r = archive_read_next_header(l->archive, &entry);
        if (r == ARCHIVE_EOF)
                return check_end(l, before, e);
        /* A warning is about an attribute nobody here looks at. */
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
                return unpack_error(l, e);
        if (++l->members > LIMIT_LAYER_MEMBERS)
                return error_set(e, ERROR_REFUSED, E2BIG, "layer: more than %u members",
                                 LIMIT_LAYER_MEMBERS);
        r = check_bounds(l, e);
        if (r < 0)
                return r;
        member_name(entry, name, sizeof(name));
        if (strcasecmp(name, LAYER_IMAGE_NAME) == 0) {
                r = begin_image(l, entry, e);
                return r < 0 ? r : 1;
        }
        if (l->wish.loader && strcasecmp(name, LAYER_LOADER_NAME) == 0) {
                r = take_loader(l, entry, e);
                return r < 0 ? r : 1;
        }
        note_hiding(l, entry, name);
        r = skip_member(l, e);
        return r < 0 ? r : 1;
}

/* Bytes of the image behind the offset wanted; 0 when it is over. */
static ssize_t image_data(struct layer *l, uint8_t *buf, size_t n, struct error *e)
{
        for (;;) {
                uint64_t before = l->at < l->wish.offset ? l->wish.offset - l->at : 0;
                la_ssize_t got = archive_read_data(l->archive, buf,
                                                   before > 0 && before < n ? (size_t)before : n);

                if (got < 0)
                        return unpack_error(l, e);
                if (got > 0 && (uint64_t)got > l->size - l->at)
                        return error_set(
                                e, ERROR_REFUSED, EBADMSG,
                                "layer: damaged: the image is larger than its header says");
                l->at += (uint64_t)got;
                if (got == 0 && l->at != l->size)
                        return error_set(e, ERROR_REFUSED, EBADMSG,
                                         "layer: damaged: the image is cut off");
                if (got == 0 || before == 0)
                        return got;
        }
}

static ssize_t tar_some(struct layer *l, void *buf, size_t n, struct error *e)
{
        for (;;) {
                ssize_t got;

                if (l->in_image) {
                        got = image_data(l, buf, n, e);
                        if (got == 0)
                                l->in_image = false;
                        else
                                return got;
                }
                got = next_member(l, e);
                if (got <= 0)
                        return got;
        }
}

static ssize_t raw_some(struct layer *l, void *buf, size_t n, struct error *e)
{
        ssize_t got = stream_read(l->input.stream, buf, n, e);

        if (got < 0)
                return got;
        if (got == 0 && l->at == 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "layer: the image is empty");
        if ((uint64_t)got > l->wish.max_image - l->at)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "layer: the image is larger than %" PRIu64 " bytes",
                                 l->wish.max_image);
        l->at += (uint64_t)got;
        if (got == 0)
                l->state = LAYER_IMAGE;
        return got;
}

ssize_t layer_read(struct layer *l, void *buf, size_t n, struct error *e)
{
        struct error error = ERROR_INIT;
        ssize_t got;

        if (l->result <= 0) {
                if (l->result < 0 && e)
                        *e = l->error;
                return l->result;
        }
        got = l->archive ? tar_some(l, buf, n, &error) : raw_some(l, buf, n, &error);
        if (got > 0)
                return got;
        l->result = (int)got;
        l->error = error;
        if (got < 0 && e)
                *e = error;
        return got;
}

/* --- life --- */

/* One format and at most one filter: the library never guesses. */
static int set_up(struct layer *l)
{
        struct archive *a = l->archive;

        if (l->format == LAYER_TAR_GZIP &&
            archive_read_append_filter(a, ARCHIVE_FILTER_GZIP) != ARCHIVE_OK)
                return -ENOMEM;
        if (l->format == LAYER_TAR_ZSTD &&
            archive_read_append_filter(a, ARCHIVE_FILTER_ZSTD) != ARCHIVE_OK)
                return -ENOMEM;
        /* Reads on behind an end mark, so that what hides there is noticed. */
        if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
            archive_read_set_format_option(a, "tar", "read_concatenated_archives", "1") !=
                    ARCHIVE_OK)
                return -ENOMEM;
        return 0;
}

static int open_tar(struct layer *l, struct error *e)
{
        l->input.chunk = malloc(CHUNK);
        l->archive = archive_read_new();
        if (!l->input.chunk || !l->archive || set_up(l) < 0)
                return error_oom(e);
        if (archive_read_open(l->archive, l, NULL, feed, NULL) != ARCHIVE_OK)
                return unpack_error(l, e);
        return 0;
}

int layer_open(struct stream *blob, enum layer_format format, const struct layer_wish *wish,
               struct layer **ret, struct error *e)
{
        _cleanup_(layer_free_p) struct layer *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return error_oom(e);
        *l = (struct layer){.format = format,
                            .wish = *wish,
                            .result = 1,
                            .input.stream = blob,
                            .loader = BUF_INIT(LIMIT_BOOT_LOADER)};
        if (l->wish.max_image == 0 || l->wish.max_image > LIMIT_IMAGE_SIZE)
                l->wish.max_image = LIMIT_IMAGE_SIZE;
        if (l->wish.offset > l->wish.max_image)
                return error_set(e, ERROR_INTERNAL, EINVAL, "layer: offset %" PRIu64,
                                 l->wish.offset);
        l->at = format == LAYER_RAW ? l->wish.offset : 0;
        if (format != LAYER_RAW) {
                r = open_tar(l, e);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(l);
        return 0;
}

void layer_free(struct layer *l)
{
        if (!l)
                return;
        (void)archive_read_free(l->archive); /* nothing was written */
        free(l->input.chunk);
        buf_done(&l->loader);
        free(l);
}

enum layer_state layer_state(const struct layer *l)
{
        return l->state;
}

bool layer_image_size(const struct layer *l, uint64_t *ret)
{
        if (l->has_size)
                *ret = l->size;
        return l->has_size;
}

const struct buf *layer_loader(const struct layer *l)
{
        return &l->loader;
}
