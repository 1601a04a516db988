/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/spool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"

#define BLOB "transfer.blob"
#define LABEL "transfer.json"

struct spool {
        int fd;
        uint64_t size; /* of the whole blob */
        uint64_t have;
};

/* --- the label --- */

/* Whether the label is of this blob. Everything else, unreadable or damaged, is of another. */
static bool label_fits(int dirfd, const struct oci_digest *digest, uint64_t size)
{
        _cleanup_close_ int fd =
                openat(dirfd, LABEL, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_json_ struct json_object *root = NULL;
        const char *whose;
        uint64_t bytes, schema;
        uint8_t *p;
        ssize_t n;

        if (fd < 0 || buf_reserve(&text, 4096, &p) < 0)
                return false;
        n = file_pread(fd, p, 4096, 0);
        if (n <= 0)
                return false;
        buf_commit(&text, (size_t)n);
        return json_read_text(text.data, text.len, text.max, LABEL, &root, NULL) == 0 &&
               json_get_u64(root, "schema", &schema) == 0 && schema == 1 &&
               json_get_str(root, "digest", &whose) == 0 && strcmp(whose, digest->text) == 0 &&
               json_get_u64(root, "size", &bytes) == 0 && bytes == size;
}

static int write_label(int dirfd, const struct oci_digest *digest, uint64_t size)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        _cleanup_close_ int fd = -EBADF;
        const char *text;

        if (json_add_u64(root, "schema", 1) < 0 || json_add_str(root, "digest", digest->text) < 0 ||
            json_add_u64(root, "size", size) < 0)
                return -ENOMEM;
        text = json_object_to_json_string(root);
        if (!text)
                return -ENOMEM;
        /* The old one was deleted. */
        fd = openat(dirfd, LABEL, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        return fd < 0 ? -errno : file_write(fd, text, strlen(text));
}

/* --- the blob --- */

/* A plain file of ours and of nobody else; its size is what there is. */
static int open_blob(int dirfd, int flags, struct spool *s)
{
        struct stat st;

        s->fd = openat(dirfd, BLOB, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
        if (s->fd < 0)
                return -errno;
        if (fstat(s->fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_size < 0 ||
            (uint64_t)st.st_size > s->size)
                return -EBADMSG;
        s->have = (uint64_t)st.st_size;
        return 0;
}

/* The rest has to fit, and leave room for others. */
static int check_room(const struct spool *s, struct error *e)
{
        struct statvfs v;
        uint64_t room;

        if (fstatvfs(s->fd, &v) < 0)
                return error_errno(e, errno, "spool");
        if (__builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, &room))
                return 0;
        if (room >= LIMIT_SPOOL_RESERVE && room - LIMIT_SPOOL_RESERVE >= s->size - s->have)
                return 0;
        return error_set(e, ERROR_SPACE, ENOSPC,
                         "spool: no room for %" PRIu64 " bytes, %" PRIu64 " are free",
                         s->size - s->have, room);
}

/* Begins anew. The label comes last: bytes without one belong to nobody. */
static int start(int dirfd, const struct oci_digest *digest, struct spool *s, struct error *e)
{
        int r;

        close_p(&s->fd);
        s->have = 0;
        r = spool_drop(dirfd, e);
        if (r < 0)
                return r;
        r = open_blob(dirfd, O_CREAT | O_EXCL, s);
        if (r < 0)
                return error_errno(e, -r, "spool: %s", BLOB);
        r = write_label(dirfd, digest, s->size);
        return r < 0 ? error_errno(e, -r, "spool: %s", LABEL) : 0;
}

int spool_open(int dirfd, const struct oci_digest *digest, uint64_t size, struct spool **ret,
               struct error *e)
{
        _cleanup_(spool_free_p) struct spool *s = calloc(1, sizeof(*s));
        struct error ignored = ERROR_INIT;
        int r;

        if (!s)
                return error_oom(e);
        *s = (struct spool){.fd = -EBADF, .size = size};
        if (size > LIMIT_OCI_BLOB)
                return error_set(e, ERROR_INTERNAL, EINVAL, "spool: a blob of %" PRIu64 " bytes",
                                 size);
        if (!label_fits(dirfd, digest, size) || open_blob(dirfd, 0, s) < 0) {
                r = start(dirfd, digest, s, e);
                if (r < 0)
                        return r;
        }
        r = check_room(s, e);
        if (r < 0) {
                /* What nobody can continue only takes space away; the first failure is reported. */
                int dropped = spool_drop(dirfd, &ignored);

                (void)dropped;
                return r;
        }
        *ret = TAKE_PTR(s);
        return 0;
}

void spool_free(struct spool *s)
{
        if (!s)
                return;
        close_p(&s->fd); /* written without a promise that it is durable */
        free(s);
}

uint64_t spool_have(const struct spool *s)
{
        return s->have;
}

ssize_t spool_read(struct spool *s, uint64_t offset, void *buf, size_t n, struct error *e)
{
        ssize_t got;

        if (offset >= s->have)
                return 0;
        if (n > s->have - offset)
                n = (size_t)(s->have - offset);
        got = file_pread(s->fd, buf, n, offset);
        if (got < 0)
                return error_errno(e, (int)-got, "spool: reading");
        return got;
}

int spool_add(struct spool *s, const void *data, size_t n, struct error *e)
{
        int r;

        if (n > s->size - s->have)
                return error_set(e, ERROR_INTERNAL, EFBIG,
                                 "spool: more than the %" PRIu64 " bytes of the blob", s->size);
        r = file_pwrite(s->fd, data, n, s->have);
        if (r < 0)
                return error_errno(e, -r, "spool: writing");
        s->have += n;
        return 0;
}

int spool_drop(int dirfd, struct error *e)
{
        static const char *const names[] = {LABEL, BLOB};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (unlinkat(dirfd, names[i], 0) < 0 && errno != ENOENT)
                        return error_errno(e, errno, "spool: deleting %s", names[i]);
        }
        return 0;
}
