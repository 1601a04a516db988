/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/pe.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

#define DOS_HEADER_SIZE 64u
#define DOS_PE_POINTER 0x3cu
#define PE_SIGNATURE_SIZE 4u
#define COFF_HEADER_SIZE 20u
#define OPTIONAL_MAGIC_PE32PLUS 0x20bu
/* Offsets inside the PE32+ optional header. */
#define OPTIONAL_SECTION_ALIGNMENT 32u
#define OPTIONAL_FILE_ALIGNMENT 36u
#define OPTIONAL_SIZE_OF_IMAGE 56u
#define OPTIONAL_SIZE_OF_HEADERS 60u
#define OPTIONAL_CHECKSUM 64u
#define OPTIONAL_SUBSYSTEM 68u
#define OPTIONAL_N_DIRECTORIES 108u
#define OPTIONAL_DIRECTORIES 112u
#define DIRECTORY_SIZE 8u
#define DIRECTORY_SECURITY 4u
#define DIRECTORIES_MAX 16u
#define OPTIONAL_SIZE_MAX (OPTIONAL_DIRECTORIES + DIRECTORIES_MAX * DIRECTORY_SIZE)

struct pe {
        int fd;
        struct pe_header header;
        struct pe_section *sections;
};

#define bad(e, ...) error_set(e, ERROR_REFUSED, EBADMSG, "PE image: " __VA_ARGS__)
#define CERTIFICATES_NOT_AT_END "the certificate table is not the aligned end of the file"

static int read_exact(int fd, void *data, size_t n, uint64_t offset, struct error *e)
{
        ssize_t got = file_pread(fd, data, n, offset);

        if (got < 0)
                return error_errno(e, (int)-got, "cannot read the image");
        if ((size_t)got != n)
                return bad(e, "cut short at byte %llu", (unsigned long long)offset + (size_t)got);
        return 0;
}

/* The first bytes of an image, as far as they are there. */
struct head {
        const uint8_t *data;
        size_t n;
        uint64_t limit; /* the image has at most so many */
        size_t need;    /* set by want(): bytes to come back with */
};

/* Whether the first end bytes are there: 0, -EAGAIN, or refused because they never will be. */
static int want(struct head *head, uint64_t end, struct error *e)
{
        if (end <= head->n)
                return 0;
        if (end > LIMIT_PE_HEADER)
                return bad(e, "headers of more than %llu bytes",
                           (unsigned long long)LIMIT_PE_HEADER);
        if (end > head->limit)
                return bad(e, "cut short at byte %llu", (unsigned long long)head->limit);
        head->need = (size_t)end;
        return -EAGAIN;
}

/* Finds the COFF header behind the DOS stub. */
static int find_coff(struct head *head, uint64_t *ret_offset, struct error *e)
{
        uint64_t at;
        int r;

        r = want(head, DOS_HEADER_SIZE, e);
        if (r < 0)
                return r;
        if (memcmp(head->data, "MZ", 2) != 0)
                return bad(e, "no MZ header");
        at = le32_at(head->data + DOS_PE_POINTER);
        if (at < DOS_HEADER_SIZE || at > LIMIT_PE_HEADER)
                return bad(e, "PE header at %llu", (unsigned long long)at);
        r = want(head, at + PE_SIGNATURE_SIZE + COFF_HEADER_SIZE, e);
        if (r < 0)
                return r;
        if (memcmp(head->data + at, "PE\0\0", PE_SIGNATURE_SIZE) != 0)
                return bad(e, "no PE signature");
        *ret_offset = at + PE_SIGNATURE_SIZE;
        return 0;
}

static bool power_of_two(uint32_t v)
{
        return v != 0 && (v & (v - 1)) == 0;
}

static int check_certificates(struct pe_header *h, const uint8_t *entry, uint64_t limit,
                              struct error *e)
{
        uint64_t offset = le32_at(entry), size = le32_at(entry + 4);

        if (offset == 0 && size == 0)
                return 0;
        if (offset == 0 || size == 0)
                return bad(e, "half a certificate directory entry");
        if (size > LIMIT_PE_CERT_TABLE)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PE image: certificate table of %llu bytes, at most %llu",
                                 (unsigned long long)size, (unsigned long long)LIMIT_PE_CERT_TABLE);
        if (offset % 8 != 0 || !range_fits(offset, size, limit))
                return bad(e, CERTIFICATES_NOT_AT_END);
        h->cert_offset = offset;
        h->cert_size = size;
        return 0;
}

static int parse_optional(struct pe_header *h, const uint8_t *opt, size_t n, uint64_t limit,
                          struct error *e)
{
        uint32_t n_directories;

        if (le16_at(opt) != OPTIONAL_MAGIC_PE32PLUS)
                return bad(e, "not PE32+ (magic %#x)", (unsigned)le16_at(opt));
        n_directories = le32_at(opt + OPTIONAL_N_DIRECTORIES);
        if (n_directories > DIRECTORIES_MAX || n_directories <= DIRECTORY_SECURITY)
                return bad(e, "%u data directories", n_directories);
        if (n < OPTIONAL_DIRECTORIES + n_directories * DIRECTORY_SIZE)
                return bad(e, "optional header of %zu bytes is too small", n);
        h->section_alignment = le32_at(opt + OPTIONAL_SECTION_ALIGNMENT);
        h->file_alignment = le32_at(opt + OPTIONAL_FILE_ALIGNMENT);
        h->size_of_image = le32_at(opt + OPTIONAL_SIZE_OF_IMAGE);
        h->size_of_headers = le32_at(opt + OPTIONAL_SIZE_OF_HEADERS);
        h->subsystem = le16_at(opt + OPTIONAL_SUBSYSTEM);
        h->checksum_offset = h->optional_offset + OPTIONAL_CHECKSUM;
        h->security_offset =
                h->optional_offset + OPTIONAL_DIRECTORIES + DIRECTORY_SECURITY * DIRECTORY_SIZE;
        if (!power_of_two(h->section_alignment) || !power_of_two(h->file_alignment))
                return bad(e, "alignments %u and %u", h->section_alignment, h->file_alignment);
        return check_certificates(
                h, opt + OPTIONAL_DIRECTORIES + DIRECTORY_SECURITY * DIRECTORY_SIZE, limit, e);
}

static int parse_headers(struct pe_header *h, struct head *head, struct error *e)
{
        uint64_t optional_size, table_end;
        const uint8_t *coff;
        int r;

        r = find_coff(head, &h->coff_offset, e);
        if (r < 0)
                return r;
        coff = head->data + h->coff_offset;
        h->machine = le16_at(coff);
        h->n_sections = le16_at(coff + 2);
        optional_size = le16_at(coff + 16);
        if (h->n_sections == 0 || h->n_sections > LIMIT_PE_SECTIONS)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PE image: %u sections, 1 to %u are accepted",
                                 (unsigned)h->n_sections, LIMIT_PE_SECTIONS);
        if (optional_size < OPTIONAL_DIRECTORIES || optional_size > OPTIONAL_SIZE_MAX)
                return bad(e, "optional header of %llu bytes", (unsigned long long)optional_size);
        h->optional_offset = h->coff_offset + COFF_HEADER_SIZE;
        h->table_offset = h->optional_offset + optional_size;
        r = want(head, h->table_offset, e);
        if (r < 0)
                return r;
        r = parse_optional(h, head->data + h->optional_offset, (size_t)optional_size, head->limit,
                           e);
        if (r < 0)
                return r;
        table_end = h->table_offset + (uint64_t)h->n_sections * PE_SECTION_HEADER_SIZE;
        if (h->size_of_headers > LIMIT_PE_HEADER || table_end > h->size_of_headers ||
            h->size_of_headers > head->limit)
                return bad(e, "SizeOfHeaders %u does not hold the headers", h->size_of_headers);
        return want(head, table_end, e);
}

/* The bytes of a section lie behind the headers and before the certificates in an image of so many
 * bytes. */
static int check_extent(const struct pe_header *h, const struct pe_section *s, uint64_t file_size,
                        struct error *e)
{
        uint64_t end = h->cert_offset > 0 ? h->cert_offset : file_size;

        if (s->raw_size > 0 &&
            (s->raw_offset < h->size_of_headers || !range_fits(s->raw_offset, s->raw_size, end)))
                return bad(e, "section %s: bytes %u+%u are outside of the file", s->name,
                           s->raw_offset, s->raw_size);
        return 0;
}

static int check_section(const struct pe_header *h, const struct pe_section *s, uint64_t limit,
                         struct error *e)
{
        if (s->virtual_size > 0 &&
            (s->virtual_address < h->size_of_headers ||
             !range_fits(s->virtual_address, s->virtual_size, h->size_of_image)))
                return bad(e, "section %s: addresses %#x+%#x are outside of SizeOfImage %#x",
                           s->name, s->virtual_address, s->virtual_size, h->size_of_image);
        return check_extent(h, s, limit, e);
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
        return a_size > 0 && b_size > 0 && a < b + b_size && b < a + a_size;
}

static int check_overlap(const struct pe *pe, unsigned i, struct error *e)
{
        const struct pe_section *a = &pe->sections[i];

        for (unsigned k = 0; k < i; k++) {
                const struct pe_section *b = &pe->sections[k];

                if (ranges_overlap(a->raw_offset, a->raw_size, b->raw_offset, b->raw_size) ||
                    ranges_overlap(a->virtual_address, a->virtual_size, b->virtual_address,
                                   b->virtual_size))
                        return bad(e, "sections %s and %s overlap", b->name, a->name);
        }
        return 0;
}

/* Printable, and nothing hides behind the padding: readers that compare 8 bytes and readers that
 * compare strings see the same name. */
static bool name_ok(const char name[PE_NAME_SIZE])
{
        unsigned k = 0;

        while (k < PE_NAME_SIZE && name[k] > 0x20 && name[k] < 0x7f)
                k++;
        while (k < PE_NAME_SIZE && name[k] == '\0')
                k++;
        return k == PE_NAME_SIZE;
}

static int parse_sections(struct pe *pe, const struct head *head, struct error *e)
{
        const struct pe_header *h = &pe->header;
        int r;

        pe->sections = calloc(h->n_sections, sizeof(*pe->sections));
        if (!pe->sections)
                return error_oom(e);
        for (unsigned i = 0; i < h->n_sections; i++) {
                const uint8_t *raw =
                        head->data + h->table_offset + (uint64_t)i * PE_SECTION_HEADER_SIZE;
                struct pe_section *s = &pe->sections[i];

                memcpy(s->name, raw, PE_NAME_SIZE);
                if (!name_ok(s->name))
                        return bad(e, "section %u has an unprintable name", i);
                s->virtual_size = le32_at(raw + 8);
                s->virtual_address = le32_at(raw + 12);
                s->raw_size = le32_at(raw + 16);
                s->raw_offset = le32_at(raw + 20);
                s->characteristics = le32_at(raw + 36);
                r = check_section(h, s, head->limit, e);
                if (r == 0)
                        r = check_overlap(pe, i, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

int pe_parse(const uint8_t *head, size_t n, uint64_t limit, size_t *ret_need, struct pe **ret,
             struct error *e)
{
        _cleanup_(pe_free_p) struct pe *pe = calloc(1, sizeof(*pe));
        struct head bytes = {.data = head, .n = n, .limit = limit};
        int r;

        if (!pe)
                return error_oom(e);
        pe->fd = -EBADF;
        r = parse_headers(&pe->header, &bytes, e);
        if (r == -EAGAIN)
                *ret_need = bytes.need;
        if (r == 0)
                r = parse_sections(pe, &bytes, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(pe);
        return 0;
}

int pe_finish(struct pe *pe, uint64_t file_size, struct error *e)
{
        struct pe_header *h = &pe->header;
        int r;

        if (h->size_of_headers > file_size)
                return bad(e, "SizeOfHeaders %u does not hold the headers", h->size_of_headers);
        /* Firmware takes everything behind the hashed part for certificates: an attachment behind
         * the table would be read by some and ignored by others. */
        if (h->cert_size > 0 && h->cert_offset + h->cert_size != file_size)
                return bad(e, CERTIFICATES_NOT_AT_END);
        for (unsigned i = 0; i < h->n_sections; i++) {
                r = check_extent(h, &pe->sections[i], file_size, e);
                if (r < 0)
                        return r;
        }
        h->file_size = file_size;
        return 0;
}

int pe_check_size(uint64_t size, struct error *e)
{
        if (size <= LIMIT_IMAGE_SIZE)
                return 0;
        return error_set(e, ERROR_REFUSED, E2BIG,
                         "PE image: %llu bytes, at most %llu (4 GiB - 1, the largest file of "
                         "FAT32) are accepted",
                         (unsigned long long)size, (unsigned long long)LIMIT_IMAGE_SIZE);
}

int pe_file_size(int fd, uint64_t *ret, struct error *e)
{
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "cannot examine the image");
        if (!S_ISREG(st.st_mode))
                return bad(e, "not a regular file");
        r = pe_check_size((uint64_t)st.st_size, e);
        if (r == 0)
                *ret = (uint64_t)st.st_size;
        return r;
}

/* Reads on until the first need bytes are in buf. */
static int read_head(int fd, size_t need, struct buf *buf, struct error *e)
{
        size_t n = need - buf->len;
        uint8_t *p;
        int r;

        r = buf_reserve(buf, n, &p);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return bad(e, "headers of more than %zu bytes", buf->max);
        r = read_exact(fd, p, n, buf->len, e);
        if (r < 0)
                return r;
        buf_commit(buf, n);
        return 0;
}

int pe_open(int fd, struct pe **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf head = BUF_INIT(LIMIT_PE_HEADER);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        uint64_t size = 0;
        size_t need = 0;
        int r;

        r = pe_file_size(fd, &size, e);
        if (r < 0)
                return r;
        while ((r = pe_parse(head.data, head.len, size, &need, &pe, e)) == -EAGAIN) {
                r = read_head(fd, need, &head, e);
                if (r < 0)
                        return r;
        }
        if (r == 0)
                r = pe_finish(pe, size, e);
        if (r < 0)
                return r;
        pe->fd = fd;
        *ret = TAKE_PTR(pe);
        return 0;
}

void pe_free(struct pe *pe)
{
        if (!pe)
                return;
        free(pe->sections);
        free(pe);
}

int pe_fd(const struct pe *pe)
{
        return pe->fd;
}

void pe_set_fd(struct pe *pe, int fd)
{
        pe->fd = fd;
}

const struct pe_header *pe_header(const struct pe *pe)
{
        return &pe->header;
}

const struct pe_section *pe_section_at(const struct pe *pe, unsigned i)
{
        return i < pe->header.n_sections ? &pe->sections[i] : NULL;
}

const struct pe_section *pe_find(const struct pe *pe, const char *name)
{
        for (unsigned i = 0; i < pe->header.n_sections; i++)
                if (strcmp(pe->sections[i].name, name) == 0)
                        return &pe->sections[i];
        return NULL;
}

int pe_stream(const struct pe *pe, const struct pe_section *section, pe_sink sink, void *ctx,
              struct error *e)
{
        uint64_t stored = section->virtual_size < section->raw_size ? section->virtual_size
                                                                    : section->raw_size;
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t done = 0;
        int r;

        if (!chunk)
                return error_oom(e);
        while (done < section->virtual_size) {
                uint64_t end = done < stored ? stored : section->virtual_size;
                size_t n = end - done < FILE_CHUNK ? (size_t)(end - done) : FILE_CHUNK;

                if (done < stored) {
                        r = read_exact(pe->fd, chunk, n, section->raw_offset + done, e);
                        if (r < 0)
                                return r;
                } else {
                        memset(chunk, 0, n);
                }
                r = sink(ctx, chunk, n);
                if (r < 0)
                        return r;
                done += n;
        }
        return 0;
}

static int append(void *ctx, const void *data, size_t n)
{
        return buf_add(ctx, data, n);
}

int pe_read(const struct pe *pe, const struct pe_section *section, struct buf *out, struct error *e)
{
        int r;

        if (section->virtual_size > out->max - out->len)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PE image: section %s has %u bytes, at most %zu are accepted",
                                 section->name, section->virtual_size, out->max - out->len);
        r = pe_stream(pe, section, append, out, e);
        if (r == -ENOMEM)
                return error_oom(e);
        return r;
}

int pe_probe_machine(int fd, uint16_t *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf bytes = BUF_INIT(LIMIT_PE_HEADER);
        struct head head = {.limit = UINT64_MAX};
        uint64_t offset = 0;
        int r;

        while ((r = find_coff(&head, &offset, e)) == -EAGAIN) {
                r = read_head(fd, head.need, &bytes, e);
                if (r < 0)
                        return r;
                head.data = bytes.data;
                head.n = bytes.len;
        }
        if (r < 0)
                return r;
        *ret = le16_at(head.data + offset);
        return 0;
}
