/* SPDX-License-Identifier: Apache-2.0 */
#include "image/bundle.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/num.h"

#define TAR_BLOCK 512u
/* Fields of a header (ustar): what is wider does not fit. */
#define TAR_NAME_MAX 100u
#define TAR_SIZE_MAX UINT64_C(077777777777)
#define TAR_TIME_MAX UINT64_C(077777777777)
#define FILE_MODE 0644u
#define FOLDER_MODE 0755u

struct bundle {
        uint64_t epoch;
        size_t n, allocated;
        struct bundle_entry *entries;
};

static void entry_done(struct bundle_entry *entry)
{
        free(entry->name);
        free(entry->data);
        bundle_free(entry->inner);
}

int bundle_new(uint64_t epoch, struct bundle **ret, struct error *e)
{
        struct bundle *b = calloc(1, sizeof(*b));

        if (!b)
                return error_oom(e);
        b->epoch = epoch;
        *ret = b;
        return 0;
}

void bundle_free(struct bundle *b)
{
        if (!b)
                return;
        for (size_t i = 0; i < b->n; i++)
                entry_done(&b->entries[i]);
        free(b->entries);
        free(b);
}

uint64_t bundle_epoch(const struct bundle *b)
{
        return b->epoch;
}

const struct bundle_entry *bundle_at(const struct bundle *b, size_t i)
{
        return i < b->n ? &b->entries[i] : NULL;
}

/* --- adding --- */

static const struct bundle_entry *find(const struct bundle *b, const char *name, size_t n)
{
        for (size_t i = 0; i < b->n; i++)
                if (strncmp(b->entries[i].name, name, n) == 0 && b->entries[i].name[n] == '\0')
                        return &b->entries[i];
        return NULL;
}

static int bad_name(struct error *e, int code, const char *name, const char *why)
{
        return error_set(e, ERROR_CONFIG, code, "%s: %s", name, why);
}

/* Takes the entry over in every case. */
static int append(struct bundle *b, const char *name, size_t n, struct bundle_entry *entry,
                  struct error *e)
{
        _cleanup_(entry_done) struct bundle_entry fresh = *entry;

        if (find(b, name, n))
                return bad_name(e, EEXIST, name, "there twice");
        if (b->n == b->allocated) {
                size_t more = b->allocated ? 2 * b->allocated : 16;
                struct bundle_entry *grown = reallocarray(b->entries, more, sizeof(*b->entries));

                if (!grown)
                        return error_oom(e);
                b->entries = grown;
                b->allocated = more;
        }
        fresh.name = strndup(name, n);
        if (!fresh.name)
                return error_oom(e);
        b->entries[b->n++] = fresh;
        fresh = (struct bundle_entry){.fd = -EBADF};
        return 0;
}

/* The folders above a name. */
static int add_parents(struct bundle *b, const char *name, struct error *e)
{
        int r = 0;

        for (const char *slash = strchr(name, '/'); slash && r == 0;
             slash = strchr(slash + 1, '/')) {
                size_t n = (size_t)(slash - name);
                const struct bundle_entry *there = find(b, name, n);

                if (there && !there->folder)
                        return bad_name(e, ENOTDIR, name, "a file where a folder has to be");
                if (!there)
                        r = append(b, name, n, &(struct bundle_entry){.folder = true, .fd = -EBADF},
                                   e);
        }
        return r;
}

/* A plain path that leads down. */
static int check_name(const char *name, struct error *e)
{
        for (const char *part = name;; part++) {
                size_t n = strcspn(part, "/");

                if (n == 0 || (n == 1 && part[0] == '.') ||
                    (n == 2 && part[0] == '.' && part[1] == '.'))
                        return bad_name(e, EINVAL, name, "no name for a file in here");
                part += n;
                if (*part == '\0')
                        return 0;
        }
}

static int add(struct bundle *b, const char *name, struct bundle_entry *entry, struct error *e)
{
        int r = check_name(name, e);

        if (r == 0)
                r = add_parents(b, name, e);

        if (r < 0) {
                entry_done(entry);
                return r;
        }
        return append(b, name, strlen(name), entry, e);
}

int bundle_add_folder(struct bundle *b, const char *name, struct error *e)
{
        const struct bundle_entry *there = find(b, name, strlen(name));

        if (there && there->folder)
                return 0;
        return add(b, name, &(struct bundle_entry){.folder = true, .fd = -EBADF}, e);
}

int bundle_add_data(struct bundle *b, const char *name, const void *data, size_t n, struct error *e)
{
        uint8_t *copy = malloc(n > 0 ? n : 1);

        if (!copy)
                return error_oom(e);
        if (n > 0)
                memcpy(copy, data, n);
        return add(b, name, &(struct bundle_entry){.size = n, .data = copy, .fd = -EBADF}, e);
}

int bundle_add_fd(struct bundle *b, const char *name, int fd, struct error *e)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "cannot read %s", name);
        if (!S_ISREG(st.st_mode))
                return bad_name(e, EINVAL, name, "no regular file");
        return add(b, name, &(struct bundle_entry){.size = (uint64_t)st.st_size, .fd = fd}, e);
}

int bundle_add_tar(struct bundle *b, const char *name, struct bundle *inner, struct error *e)
{
        return add(b, name,
                   &(struct bundle_entry){
                           .size = bundle_tar_size(inner), .fd = -EBADF, .inner = inner},
                   e);
}

/* --- content --- */

static int write_file(const struct bundle_entry *entry, bundle_sink sink, void *ctx,
                      struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t done = 0;

        if (!chunk)
                return error_oom(e);
        for (;;) {
                ssize_t got = file_pread(entry->fd, chunk, FILE_CHUNK, done);
                int r;

                if (got < 0)
                        return error_errno(e, (int)-got, "cannot read %s", entry->name);
                done += (uint64_t)got;
                if (done > entry->size || (got == 0 && done != entry->size))
                        return error_set(e, ERROR_BUSY, ESTALE, "%s changed while it was read",
                                         entry->name);
                if (got == 0)
                        return 0;
                r = sink(ctx, chunk, (size_t)got, e);
                if (r < 0)
                        return r;
        }
}

int bundle_write_entry(const struct bundle_entry *entry, bundle_sink sink, void *ctx,
                       struct error *e)
{
        if (entry->inner)
                return bundle_write_tar(entry->inner, sink, ctx, e);
        if (entry->fd >= 0)
                return write_file(entry, sink, ctx, e);
        return entry->size > 0 ? sink(ctx, entry->data, (size_t)entry->size, e) : 0;
}

/* --- tar --- */

static uint64_t padding(uint64_t size)
{
        return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

uint64_t bundle_tar_size(const struct bundle *b)
{
        uint64_t size = 2 * (uint64_t)TAR_BLOCK; /* the end */

        /* Sizes are those of real files: the sum of a few stays far below 2^64. */
        for (size_t i = 0; i < b->n; i++)
                size += TAR_BLOCK + b->entries[i].size + padding(b->entries[i].size);
        return size;
}

/* Octal digits and a NUL, filling the field. */
static void put_octal(char *field, size_t n, uint64_t value)
{
        field[--n] = '\0';
        while (n > 0) {
                field[--n] = (char)('0' + (value & 7));
                value >>= 3;
        }
}

static int write_header(const struct bundle *b, const struct bundle_entry *entry, bundle_sink sink,
                        void *ctx, struct error *e)
{
        char h[TAR_BLOCK] = {0};
        unsigned sum = 0;

        if (strlen(entry->name) > TAR_NAME_MAX)
                return bad_name(e, ENAMETOOLONG, entry->name, "the name is too long for a tar");
        if (entry->size > TAR_SIZE_MAX)
                return error_set(e, ERROR_CONFIG, EFBIG, "%s is too large for a tar", entry->name);
        memcpy(h, entry->name, strlen(entry->name));
        put_octal(h + 100, 8, entry->folder ? FOLDER_MODE : FILE_MODE);
        put_octal(h + 108, 8, 0); /* owner */
        put_octal(h + 116, 8, 0); /* group */
        put_octal(h + 124, 12, entry->size);
        put_octal(h + 136, 12, b->epoch < TAR_TIME_MAX ? b->epoch : TAR_TIME_MAX);
        memset(h + 148, ' ', 8);
        h[156] = entry->folder ? '5' : '0';
        memcpy(h + 257, "ustar\00000", 8); /* magic and version */
        put_octal(h + 329, 8, 0);          /* device numbers */
        put_octal(h + 337, 8, 0);
        for (size_t i = 0; i < sizeof(h); i++)
                sum += (uint8_t)h[i];
        put_octal(h + 148, 7, sum); /* six digits, NUL, blank */
        return sink(ctx, h, sizeof(h), e);
}

int bundle_write_tar(const struct bundle *b, bundle_sink sink, void *ctx, struct error *e)
{
        static const uint8_t zeros[2 * TAR_BLOCK];
        int r = 0;

        for (size_t i = 0; i < b->n && r == 0; i++) {
                const struct bundle_entry *entry = &b->entries[i];
                uint64_t fill = padding(entry->size);

                r = write_header(b, entry, sink, ctx, e);
                if (r == 0)
                        r = bundle_write_entry(entry, sink, ctx, e);
                if (r == 0 && fill > 0)
                        r = sink(ctx, zeros, (size_t)fill, e);
        }
        return r == 0 ? sink(ctx, zeros, sizeof(zeros), e) : r;
}

static int add_to_digest(void *ctx, const void *data, size_t n, struct error *e)
{
        int r = digest_add(ctx, data, n);

        return r < 0 ? error_errno(e, -r, "cannot hash") : 0;
}

int bundle_tar_digest(const struct bundle *b, uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        int r;

        if (!d)
                return error_oom(e);
        r = bundle_write_tar(b, add_to_digest, d, e);
        if (r < 0)
                return r;
        r = digest_final(d, ret);
        return r < 0 ? error_errno(e, -r, "cannot hash") : 0;
}

/* --- folder --- */

int bundle_to_fd(void *ctx, const void *data, size_t n, struct error *e)
{
        const int *fd = ctx;
        int r = file_write(*fd, data, n);

        return r < 0 ? error_errno(e, -r, "cannot write the output") : 0;
}

static int write_one(const struct bundle_entry *entry, int dirfd, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (entry->folder) {
                r = mkdirat(dirfd, entry->name, FOLDER_MODE) < 0 ? -errno : 0;
                return r < 0 ? error_errno(e, -r, "cannot make %s", entry->name) : 0;
        }
        fd = openat(dirfd, entry->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                    FILE_MODE);
        if (fd < 0)
                return error_errno(e, errno, "cannot create %s", entry->name);
        r = bundle_write_entry(entry, bundle_to_fd, &fd, e);
        if (r < 0)
                return r;
        r = file_sync(fd);
        return r < 0 ? error_errno(e, -r, "cannot write %s", entry->name) : 0;
}

int bundle_write_folder(const struct bundle *b, int dirfd, struct error *e)
{
        int r = 0;

        for (size_t i = 0; i < b->n && r == 0; i++)
                r = write_one(&b->entries[i], dirfd, e);
        return r;
}
