/* SPDX-License-Identifier: Apache-2.0 */
#include "image/stub.h"

#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "upgrade/pe.h"

/* Read-only data, not executable. */
#define SECTION_CHARACTERISTICS 0x40000040u
/* Sections start on pages of their own, whatever the stub's alignment says. */
#define PAGE 4096u

/* Begins the sections of a profile. */
#define PROFILE ".profile"

#define COFF_N_SECTIONS 2u
#define COFF_SYMBOL_TABLE 8u /* pointer, then the number of symbols */
#define OPTIONAL_INITIALIZED_DATA 8u
#define OPTIONAL_SIZE_OF_IMAGE 56u

struct stub {
        int fd;
        struct pe_header header; /* of the stub */
        uint8_t *head;           /* bytes up to SizeOfHeaders, edited as sections come */
        unsigned n_stub;         /* sections that it came with */
        unsigned n_sections;     /* in the table so far */
        unsigned n_final;
        uint64_t at;           /* next byte of the file */
        uint64_t address;      /* next free address */
        uint64_t section_at;   /* where the open section began */
        uint64_t initialized;  /* bytes added to SizeOfInitializedData */
        uint8_t *open_section; /* its header in head */
};

static int too_large(struct error *e)
{
        (void)error_set(e, ERROR_CONFIG, EFBIG,
                        "the image gets larger than 4 GiB - 1, the largest file of FAT32");
        error_advise(e, "make the root directory smaller");
        return -EFBIG;
}

static int put(struct stub *s, const void *data, size_t n, struct error *e)
{
        int r;

        if (!range_fits(s->at, n, LIMIT_IMAGE_SIZE))
                return too_large(e);
        r = file_pwrite(s->fd, data, n, s->at);
        if (r < 0)
                return error_errno(e, -r, "cannot write the image");
        s->at += n;
        return 0;
}

static int copy(struct stub *s, int from, uint64_t offset, uint64_t size, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);

        if (!chunk)
                return error_oom(e);
        for (uint64_t done = 0; done < size;) {
                size_t n = size - done < FILE_CHUNK ? (size_t)(size - done) : FILE_CHUNK;
                ssize_t got = file_pread(from, chunk, n, offset + done);
                int r;

                if (got < 0)
                        return error_errno(e, (int)-got, "cannot read");
                if (got == 0)
                        return size == UINT64_MAX ? 0
                                                  : error_set(e, ERROR_CONFIG, ENODATA,
                                                              "a file is shorter than it was");
                r = put(s, chunk, (size_t)got, e);
                if (r < 0)
                        return r;
                done += (size_t)got;
        }
        return 0;
}

static uint64_t alignment(const struct stub *s)
{
        return s->header.section_alignment > PAGE ? s->header.section_alignment : PAGE;
}

/* Ends of what the stub holds: its file bytes without symbol table and signature, its addresses. */
static int measure_stub(struct stub *s, const struct pe *pe, uint64_t *ret_bytes, struct error *e)
{
        uint64_t bytes = s->header.size_of_headers, address = bytes;

        for (unsigned i = 0; pe_section_at(pe, i); i++) {
                const struct pe_section *p = pe_section_at(pe, i);
                uint64_t end = (uint64_t)p->virtual_address + p->virtual_size;

                if (p->raw_size > 0 && (uint64_t)p->raw_offset + p->raw_size > bytes)
                        bytes = (uint64_t)p->raw_offset + p->raw_size;
                if (end > address)
                        address = end;
        }
        if (align_up_u64(address, alignment(s), &s->address) < 0)
                return too_large(e);
        *ret_bytes = bytes;
        return 0;
}

static int load_head(struct stub *s, int fd, struct error *e)
{
        size_t n = s->header.size_of_headers;
        uint64_t end = s->header.table_offset + (uint64_t)s->n_final * PE_SECTION_HEADER_SIZE;
        ssize_t got;

        if (end > n)
                return error_set(
                        e, ERROR_CONFIG, E2BIG,
                        "the stub's header has room for %llu sections, %u are needed",
                        (unsigned long long)((n - s->header.table_offset) / PE_SECTION_HEADER_SIZE),
                        s->n_final);
        s->head = malloc(n);
        if (!s->head)
                return error_oom(e);
        got = file_pread(fd, s->head, n, 0);
        if (got < 0)
                return error_errno(e, (int)-got, "the stub cannot be read");
        return (size_t)got == n ? 0 : error_set(e, ERROR_CONFIG, ENODATA, "the stub is cut off");
}

int stub_begin(int stub_fd, int out_fd, unsigned n_sections, struct stub **ret, struct error *e)
{
        _cleanup_(stub_free_p) struct stub *s = calloc(1, sizeof(*s));
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        uint64_t bytes = 0;
        int r;

        if (!s)
                return error_oom(e);
        r = pe_open(stub_fd, &pe, e);
        if (r < 0)
                return r;
        s->fd = out_fd;
        s->header = *pe_header(pe);
        s->n_stub = s->n_sections = s->header.n_sections;
        s->n_final = s->n_sections + n_sections;
        r = load_head(s, stub_fd, e);
        if (r == 0)
                r = measure_stub(s, pe, &bytes, e);
        if (r == 0)
                r = copy(s, stub_fd, 0, bytes, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

void stub_free(struct stub *s)
{
        if (!s)
                return;
        free(s->head);
        free(s);
}

uint16_t stub_machine(const struct stub *s)
{
        return s->header.machine;
}

static uint8_t *section_header(struct stub *s, unsigned i)
{
        return s->head + s->header.table_offset + (size_t)i * PE_SECTION_HEADER_SIZE;
}

/* Zeros up to the file alignment. */
static int pad(struct stub *s, struct error *e)
{
        static const uint8_t zeros[PAGE];
        uint64_t end;

        if (align_up_u64(s->at, s->header.file_alignment, &end) < 0)
                return too_large(e);
        while (s->at < end) {
                uint64_t left = end - s->at;
                int r = put(s, zeros, left < sizeof(zeros) ? (size_t)left : sizeof(zeros), e);

                if (r < 0)
                        return r;
        }
        return 0;
}

static bool has_name(struct stub *s, unsigned i, const char *name)
{
        char other[PE_NAME_SIZE + 1] = {0};

        memcpy(other, section_header(s, i), PE_NAME_SIZE);
        return strcmp(other, name) == 0;
}

/* A profile may have a section of its own where the base has one, but nobody what the stub has. */
static bool is_taken(struct stub *s, const char *name)
{
        bool begins = strcmp(name, PROFILE) == 0;
        unsigned group = s->n_stub;

        for (unsigned i = s->n_stub; i < s->n_sections; i++)
                if (begins || has_name(s, i, PROFILE))
                        group = i + begins;
        for (unsigned i = 0; i < s->n_sections; i++)
                if ((i < s->n_stub || i >= group) && has_name(s, i, name))
                        return true;
        return false;
}

int stub_start(struct stub *s, const char *name, struct error *e)
{
        size_t len = strlen(name);
        uint8_t *h;
        int r;

        if (s->open_section || s->n_sections == s->n_final || len > PE_NAME_SIZE)
                return error_set(e, ERROR_INTERNAL, EINVAL, "section %s out of order", name);
        if (is_taken(s, name))
                return error_set(e, ERROR_CONFIG, EEXIST, "the stub has a section %s", name);
        r = pad(s, e);
        if (r < 0)
                return r;
        h = section_header(s, s->n_sections);
        memset(h, 0, PE_SECTION_HEADER_SIZE);
        memcpy(h, name, len);
        s->open_section = h;
        s->section_at = s->at;
        return 0;
}

int stub_append(struct stub *s, const void *data, size_t n, struct error *e)
{
        return put(s, data, n, e);
}

int stub_end(struct stub *s, struct error *e)
{
        uint64_t size = s->at - s->section_at, raw_size, next;
        uint8_t *h = s->open_section;
        int r;

        r = pad(s, e);
        if (r < 0)
                return r;
        raw_size = s->at - s->section_at;
        if (add_u64(s->address, size, &next) < 0 || align_up_u64(next, alignment(s), &next) < 0 ||
            next > UINT32_MAX)
                return too_large(e);
        put_le32(h + 8, (uint32_t)size);
        put_le32(h + 12, (uint32_t)s->address);
        put_le32(h + 16, (uint32_t)raw_size);
        put_le32(h + 20, (uint32_t)s->section_at);
        put_le32(h + 36, SECTION_CHARACTERISTICS);
        s->initialized += raw_size;
        s->address = next;
        s->n_sections++;
        s->open_section = NULL;
        return 0;
}

int stub_add(struct stub *s, const char *name, const void *data, size_t n, struct error *e)
{
        int r;

        r = stub_start(s, name, e);
        if (r == 0)
                r = stub_append(s, data, n, e);
        if (r == 0)
                r = stub_end(s, e);
        return r;
}

int stub_add_file(struct stub *s, const char *name, int fd, struct error *e)
{
        int r;

        r = stub_start(s, name, e);
        if (r == 0)
                r = copy(s, fd, 0, UINT64_MAX, e);
        if (r == 0)
                r = stub_end(s, e);
        return r;
}

int stub_finish(struct stub *s, struct error *e)
{
        uint8_t *coff = s->head + s->header.coff_offset;
        uint8_t *optional = s->head + s->header.optional_offset;
        uint64_t initialized = le32_at(optional + OPTIONAL_INITIALIZED_DATA) + s->initialized;
        int r;

        if (initialized > UINT32_MAX)
                return too_large(e);
        put_le16(coff + COFF_N_SECTIONS, (uint16_t)s->n_sections);
        put_le32(coff + COFF_SYMBOL_TABLE, 0); /* the symbols stood behind the sections: gone */
        put_le32(coff + COFF_SYMBOL_TABLE + 4, 0);
        put_le32(optional + OPTIONAL_INITIALIZED_DATA, (uint32_t)initialized);
        put_le32(optional + OPTIONAL_SIZE_OF_IMAGE, (uint32_t)s->address);
        put_le32(s->head + s->header.checksum_offset, 0);
        put_le32(s->head + s->header.security_offset, 0);
        put_le32(s->head + s->header.security_offset + 4, 0);
        r = file_pwrite(s->fd, s->head, s->header.size_of_headers, 0);
        return r < 0 ? error_errno(e, -r, "cannot write the image") : 0;
}
