/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/blank.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/luks.h"

/* The mark. */
#define MAGIC "tb-agent blank 1"
#define MAGIC_SIZE 16u
#define FLAGS_AT 16u
#define FLAG_DISCARDS 1u
#define FLAG_SOFTWARE_TPM 2u
#define SIZE_AT 24u
#define DIGEST_AT 32u
#define NAME_AT 64u
#define NAME_SIZE 37u
#define SELF_AT (BLANK_MARK_SIZE - SHA256_SIZE)

/* LUKS2 On-Disk Format Specification 1.1, section 2.1: the second header and where it may be. */
#define SECOND_MAGIC "SKUL\xba\xbe"
#define SECOND_MAGIC_SIZE 6u
#define SECOND_FIRST UINT64_C(0x4000)
#define SECOND_LAST UINT64_C(0x400000)
/* Where it is in headers of luks_format(). */
#define SECOND_AT SECOND_FIRST
#define BLOCK 4096u

static int self_digest(const uint8_t mark[BLANK_MARK_SIZE], uint8_t ret[SHA256_SIZE])
{
        return sha256(mark, SELF_AT, ret);
}

static int make_mark(const char *name, const struct blank *want, const void *content, size_t n,
                     uint8_t mark[BLANK_MARK_SIZE])
{
        int r;

        memset(mark, 0, BLANK_MARK_SIZE);
        memcpy(mark, MAGIC, MAGIC_SIZE);
        put_le32(mark + FLAGS_AT, (want->allow_discards ? FLAG_DISCARDS : 0) |
                                          (want->allow_software_tpm ? FLAG_SOFTWARE_TPM : 0));
        put_le32(mark + SIZE_AT, (uint32_t)n);
        r = sha256(content, n, mark + DIGEST_AT);
        (void)snprintf((char *)mark + NAME_AT, NAME_SIZE, "%s", name);
        return r < 0 ? r : self_digest(mark, mark + SELF_AT);
}

int blank_write(int fd, uint64_t offset, const char *name, const struct blank *want,
                const void *content, size_t n, struct error *e)
{
        static const uint8_t zeros[BLOCK];
        uint8_t mark[BLANK_MARK_SIZE];
        int r;

        if (n > LIMIT_BLANK_CONTENT)
                return error_set(e, ERROR_CONFIG, E2BIG,
                                 "the configuration is too large for a disk image");
        r = make_mark(name, want, content, n, mark);
        for (uint64_t at = SECOND_FIRST; at <= SECOND_LAST && r == 0; at *= 2)
                r = file_pwrite(fd, zeros, sizeof(zeros), offset + at);
        if (r == 0)
                r = file_pwrite(fd, content, n, offset + BLANK_MARK_SIZE);
        if (r == 0)
                r = file_pwrite(fd, mark, sizeof(mark), offset);
        return r < 0 ? error_errno(e, -r, "disk image: partition \"%s\"", name) : 0;
}

/* 1: there is a second header somewhere. */
static int has_header(int fd)
{
        for (uint64_t at = SECOND_FIRST; at <= SECOND_LAST; at *= 2) {
                uint8_t magic[SECOND_MAGIC_SIZE];
                ssize_t n = file_pread(fd, magic, sizeof(magic), at);

                if (n < 0)
                        return (int)n;
                if ((size_t)n == sizeof(magic) && memcmp(magic, SECOND_MAGIC, sizeof(magic)) == 0)
                        return 1;
        }
        return 0;
}

static int parse_mark(const uint8_t mark[BLANK_MARK_SIZE], const char *name, struct blank *ret)
{
        uint32_t flags = le32_at(mark + FLAGS_AT);
        uint8_t digest[SHA256_SIZE];

        if (self_digest(mark, digest) < 0 || memcmp(digest, mark + SELF_AT, SHA256_SIZE) != 0 ||
            strncmp((const char *)mark + NAME_AT, name, NAME_SIZE) != 0 ||
            le64_at(mark + SIZE_AT) > LIMIT_BLANK_CONTENT ||
            (flags & ~(FLAG_DISCARDS | FLAG_SOFTWARE_TPM)) != 0)
                return -EBADMSG;
        *ret = (struct blank){.allow_discards = flags & FLAG_DISCARDS,
                              .allow_software_tpm = flags & FLAG_SOFTWARE_TPM,
                              .content_size = le64_at(mark + SIZE_AT)};
        memcpy(ret->content_sha256, mark + DIGEST_AT, SHA256_SIZE);
        memcpy(ret->sha256, digest, SHA256_SIZE);
        return 0;
}

int blank_read(const char *path, const char *name, struct blank *ret, struct error *e)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        uint8_t mark[BLANK_MARK_SIZE];
        ssize_t n;
        int r;

        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        n = file_pread(fd, mark, sizeof(mark), 0);
        if (n < 0)
                return error_errno(e, (int)-n, "%s", path);
        if ((size_t)n < sizeof(mark) || memcmp(mark, MAGIC, MAGIC_SIZE) != 0)
                return 0;
        r = has_header(fd);
        if (r < 0)
                return error_errno(e, -r, "%s", path);
        if (r > 0) {
                error_set(e, ERROR_PRECONDITION, EEXIST,
                          "%s is marked for a first boot, but has the header of an encrypted "
                          "volume: it is left alone",
                          path);
                error_advise(e, "somebody wrote to this disk: look at it from the recovery entry; "
                                "to give the data up, wipe the disk and write the image again");
                return -EEXIST;
        }
        r = parse_mark(mark, name, ret);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "%s: its mark for a first boot is damaged", path);
        return 1;
}

int blank_read_content(const char *path, const struct blank *b, struct buf *ret, struct error *e)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        uint8_t digest[SHA256_SIZE], *to;
        ssize_t n;

        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        if (buf_reserve(ret, (size_t)b->content_size, &to) < 0)
                return error_oom(e);
        n = file_pread(fd, to, (size_t)b->content_size, BLANK_MARK_SIZE);
        if (n < 0)
                return error_errno(e, (int)-n, "%s", path);
        if ((uint64_t)n != b->content_size || sha256(to, (size_t)n, digest) < 0 ||
            memcmp(digest, b->content_sha256, SHA256_SIZE) != 0)
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "%s: the configuration of the image is damaged", path);
        buf_commit(ret, (size_t)n);
        return 0;
}

void blank_discard(const char *path)
{
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        uint64_t size;

        if (fd >= 0 && ioctl(fd, BLKGETSIZE64, &size) == 0 && size > LUKS_HEADER_SIZE)
                (void)ioctl(fd, BLKDISCARD,
                            (uint64_t[]){LUKS_HEADER_SIZE, size - LUKS_HEADER_SIZE});
}

/* Copies a range of the header. */
static int copy_range(int to, int from, uint64_t at, uint64_t end)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        int r = chunk ? 0 : -ENOMEM;

        while (r == 0 && at < end) {
                size_t want = end - at < FILE_CHUNK ? (size_t)(end - at) : FILE_CHUNK;
                ssize_t n = file_pread(from, chunk, want, at);

                if (n < 0)
                        return (int)n;
                if ((size_t)n < want)
                        return -EIO;
                r = file_pwrite(to, chunk, want, at);
                at += want;
        }
        return r;
}

int blank_replace(const char *path, int header_fd, struct error *e)
{
        static const struct {
                uint64_t at, end;
                bool sync; /* before the next one */
        } ranges[] = {
                {BLOCK, SECOND_AT, false},
                {SECOND_AT + BLOCK, LUKS_HEADER_SIZE, true},
                {0, BLOCK, true},
                {SECOND_AT, SECOND_AT + BLOCK, true},
        };
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        int r = 0;

        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        /* The place of the second header must not look like one while the mark still stands. */
        for (size_t i = 0; i < ARRAY_SIZE(ranges) && r == 0; i++) {
                r = copy_range(fd, header_fd, ranges[i].at, ranges[i].end);
                if (r == 0 && ranges[i].sync)
                        r = file_sync(fd);
        }
        return r < 0 ? error_errno(e, -r, "%s: writing its header", path) : 0;
}
