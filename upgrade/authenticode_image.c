/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/authenticode_image.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

#define DOS_HEADER_SIZE 64u
#define DOS_PE_POINTER 0x3cu
#define COFF_OFFSET 4u /* behind the PE signature */
#define COFF_HEADER_SIZE 20u
#define OPTIONAL_OFFSET (COFF_OFFSET + COFF_HEADER_SIZE)
#define OPTIONAL_SIZE_MIN 112u
#define OPTIONAL_MAGIC_PE32 0x10bu
#define OPTIONAL_MAGIC_PE32PLUS 0x20bu
/* At the same place in both kinds of optional headers. */
#define OPTIONAL_SIZE_OF_HEADERS 60u
#define OPTIONAL_CHECKSUM 64u
/* Their data directories, right behind the count of them. */
#define DIRECTORIES_PE32 96u
#define DIRECTORIES_PE32PLUS 112u
#define DIRECTORY_SIZE 8u
#define DIRECTORY_SECURITY 4u
#define DIRECTORIES_MAX 16u
#define SECTION_HEADER_SIZE 40u

struct range {
        uint64_t start, end;
};

/* What of the headers is there already. */
enum step {
        STEP_DOS,
        STEP_COFF,
        STEP_OPTIONAL,
        STEP_TABLE, /* all of SizeOfHeaders */
        STEP_BODY,
};

struct authenticode_image {
        unsigned mask;
        EVP_MD_CTX *ctx[AUTHENTICODE_HASH_MAX];
        uint64_t size; /* bytes pushed */
        enum step step;
        uint64_t need;               /* bytes of the header that finish this step */
        struct buf header;           /* released when its sections are known */
        uint64_t pe;                 /* offset of the PE signature */
        uint64_t checksum, security; /* offsets of the skipped fields; security 0 = no such entry */
        uint64_t table_start, table_size; /* 0 = unsigned */
        struct range *sections;           /* those with bytes in the file, in file order */
        unsigned n_sections, section;     /* number, and which one comes or runs */
        uint64_t rest;                    /* where firmware goes on after the sections */
        uint64_t data_end;                /* end of the last section */
        struct buf kept;                  /* bytes from rest to data_end, for a second hashing */
        bool rest_done;                   /* kept was hashed */
        struct buf table;
        struct authenticode_digests digests;
};

#define bad(e, ...) error_set(e, ERROR_REFUSED, EBADMSG, "PE image: " __VA_ARGS__)

size_t authenticode_hash_size(enum authenticode_hash hash)
{
        static const uint8_t sizes[AUTHENTICODE_HASH_MAX] = {
                [AUTHENTICODE_SHA256] = 32,
                [AUTHENTICODE_SHA384] = 48,
                [AUTHENTICODE_SHA512] = 64,
        };

        return sizes[hash];
}

const char *authenticode_hash_name(enum authenticode_hash hash)
{
        static const char *const names[AUTHENTICODE_HASH_MAX] = {
                [AUTHENTICODE_SHA256] = "SHA-256",
                [AUTHENTICODE_SHA384] = "SHA-384",
                [AUTHENTICODE_SHA512] = "SHA-512",
        };

        return names[hash];
}

void authenticode_image_free(struct authenticode_image *image)
{
        if (!image)
                return;
        for (unsigned i = 0; i < AUTHENTICODE_HASH_MAX; i++)
                EVP_MD_CTX_free(image->ctx[i]);
        buf_done(&image->header);
        buf_done(&image->kept);
        buf_done(&image->table);
        free(image->sections);
        free(image);
}

int authenticode_image_new(unsigned mask, struct authenticode_image **ret)
{
        const EVP_MD *const md[AUTHENTICODE_HASH_MAX] = {
                [AUTHENTICODE_SHA256] = EVP_sha256(),
                [AUTHENTICODE_SHA384] = EVP_sha384(),
                [AUTHENTICODE_SHA512] = EVP_sha512(),
        };
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;

        if (mask == 0 || (mask & ~AUTHENTICODE_MASK_ALL) != 0)
                return -EINVAL;
        image = calloc(1, sizeof(*image));
        if (!image)
                return -ENOMEM;
        image->mask = mask;
        image->need = DOS_HEADER_SIZE;
        image->header.max = LIMIT_PE_HEADER;
        image->kept.max = LIMIT_PE_GAPS;
        image->table.max = LIMIT_PE_CERT_TABLE;
        for (unsigned i = 0; i < AUTHENTICODE_HASH_MAX; i++) {
                if (!(mask & AUTHENTICODE_MASK(i)))
                        continue;
                image->ctx[i] = EVP_MD_CTX_new();
                if (!image->ctx[i])
                        return -ENOMEM;
                if (EVP_DigestInit_ex(image->ctx[i], md[i], NULL) != 1)
                        return -EIO;
        }
        *ret = TAKE_PTR(image);
        return 0;
}

static int hash(struct authenticode_image *image, const uint8_t *data, size_t n, struct error *e)
{
        for (unsigned i = 0; i < AUTHENTICODE_HASH_MAX; i++)
                if (image->ctx[i] && EVP_DigestUpdate(image->ctx[i], data, n) != 1)
                        return error_set(e, ERROR_INTERNAL, EIO, "cannot hash the image");
        return 0;
}

/* --- headers --- */

static int read_dos(struct authenticode_image *image, struct error *e)
{
        const uint8_t *p = image->header.data;

        if (memcmp(p, "MZ", 2) != 0)
                return bad(e, "no MZ header");
        image->pe = le32_at(p + DOS_PE_POINTER);
        if (image->pe < DOS_HEADER_SIZE || image->pe > LIMIT_PE_HEADER)
                return bad(e, "PE header at %llu", (unsigned long long)image->pe);
        image->need = image->pe + OPTIONAL_OFFSET;
        return 0;
}

static int read_coff(struct authenticode_image *image, struct error *e)
{
        const uint8_t *p = image->header.data + image->pe;
        uint16_t optional_size = le16_at(p + COFF_OFFSET + 16);

        if (memcmp(p, "PE\0\0", COFF_OFFSET) != 0)
                return bad(e, "no PE signature");
        if (optional_size < OPTIONAL_SIZE_MIN)
                return bad(e, "optional header of %u bytes", (unsigned)optional_size);
        image->need += optional_size;
        return 0;
}

static int read_security(struct authenticode_image *image, const uint8_t *entry, struct error *e)
{
        uint64_t start = le32_at(entry), size = le32_at(entry + 4);

        if (size == 0)
                return 0;
        if (size > LIMIT_PE_CERT_TABLE)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PE image: certificate table of %llu bytes, at most %llu",
                                 (unsigned long long)size, (unsigned long long)LIMIT_PE_CERT_TABLE);
        if (start == 0 || start % 8 != 0)
                return bad(e, "certificate table at %llu", (unsigned long long)start);
        image->table_start = start;
        image->table_size = size;
        return 0;
}

static int read_optional(struct authenticode_image *image, struct error *e)
{
        uint64_t at = image->pe + OPTIONAL_OFFSET, end = image->need;
        const uint8_t *p = image->header.data + at;
        uint16_t magic = le16_at(p);
        uint32_t directories =
                magic == OPTIONAL_MAGIC_PE32 ? DIRECTORIES_PE32 : DIRECTORIES_PE32PLUS;
        uint32_t n = le32_at(p + directories - 4);
        uint64_t headers = le32_at(p + OPTIONAL_SIZE_OF_HEADERS);
        uint16_t n_sections = le16_at(image->header.data + image->pe + COFF_OFFSET + 2);
        int r = 0;

        if (magic != OPTIONAL_MAGIC_PE32 && magic != OPTIONAL_MAGIC_PE32PLUS)
                return bad(e, "magic %#x of the optional header", (unsigned)magic);
        if (n > DIRECTORIES_MAX || at + directories + (uint64_t)n * DIRECTORY_SIZE > end)
                return bad(e, "%u data directories", n);
        image->checksum = at + OPTIONAL_CHECKSUM;
        if (n > DIRECTORY_SECURITY) {
                image->security = at + directories + DIRECTORY_SECURITY * DIRECTORY_SIZE;
                r = read_security(image, image->header.data + image->security, e);
        }
        if (r < 0)
                return r;
        if (n_sections == 0 || n_sections > LIMIT_PE_SECTIONS)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PE image: %u sections, 1 to %u are accepted",
                                 (unsigned)n_sections, LIMIT_PE_SECTIONS);
        if (headers > LIMIT_PE_HEADER || end + (uint64_t)n_sections * SECTION_HEADER_SIZE > headers)
                return bad(e, "SizeOfHeaders %llu does not hold the headers",
                           (unsigned long long)headers);
        image->n_sections = n_sections;
        image->data_end = end; /* for a moment: where the section table is */
        image->need = headers;
        return 0;
}

static int compare_start(const void *a, const void *b)
{
        const struct range *x = a, *y = b;

        return (x->start > y->start) - (x->start < y->start);
}

/* Fills image->sections from the section table at offset at. */
static int read_ranges(struct authenticode_image *image, uint64_t at, struct error *e)
{
        unsigned n = 0;

        image->sections = calloc(image->n_sections, sizeof(*image->sections));
        if (!image->sections)
                return error_oom(e);
        for (unsigned i = 0; i < image->n_sections; i++) {
                const uint8_t *p = image->header.data + at + (uint64_t)i * SECTION_HEADER_SIZE;
                uint64_t size = le32_at(p + 16), start = le32_at(p + 20);

                if (size > 0)
                        image->sections[n++] = (struct range){start, start + size};
        }
        image->n_sections = n;
        qsort(image->sections, n, sizeof(*image->sections), compare_start);
        return 0;
}

static int read_table(struct authenticode_image *image, struct error *e)
{
        uint64_t headers = image->need, end = headers, bytes = headers;
        int r;

        r = read_ranges(image, image->data_end, e);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < image->n_sections; i++) {
                const struct range *s = &image->sections[i];

                if (s->start < end)
                        return bad(e, "sections share bytes at %llu", (unsigned long long)s->start);
                end = s->end;
                bytes += s->end - s->start;
        }
        if (image->table_size > 0 && image->table_start < end)
                return bad(e, "the certificate table begins inside of a section");
        image->data_end = end;
        /* Firmware counts hashed bytes and takes the rest of the file from there. With gaps between
         * the sections it hashes the last bytes twice and never the gaps. */
        image->rest = bytes;
        if (end - bytes > LIMIT_PE_GAPS)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PE image: %llu bytes between sections, at most %llu",
                                 (unsigned long long)(end - bytes),
                                 (unsigned long long)LIMIT_PE_GAPS);
        return 0;
}

static int hash_headers(struct authenticode_image *image, struct error *e)
{
        const uint8_t *p = image->header.data;
        uint64_t at = image->checksum + 4;
        int r;

        r = hash(image, p, (size_t)image->checksum, e);
        if (r == 0 && image->security > 0) {
                r = hash(image, p + at, (size_t)(image->security - at), e);
                at = image->security + DIRECTORY_SIZE;
        }
        if (r == 0)
                r = hash(image, p + at, (size_t)(image->need - at), e);
        buf_done(&image->header);
        return r;
}

/* Takes what the step still needs and acts on it when it is complete. *ret_used: bytes taken. */
static int push_header(struct authenticode_image *image, const uint8_t *data, size_t n,
                       size_t *ret_used, struct error *e)
{
        uint64_t missing = image->need - image->header.len;
        size_t used = n < missing ? n : (size_t)missing;
        int r;

        r = buf_add(&image->header, data, used);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PE image: headers of more than %llu bytes",
                                 (unsigned long long)LIMIT_PE_HEADER);
        *ret_used = used;
        while (r == 0 && image->step < STEP_BODY && image->header.len == image->need) {
                switch (image->step) {
                case STEP_DOS:
                        r = read_dos(image, e);
                        break;
                case STEP_COFF:
                        r = read_coff(image, e);
                        break;
                case STEP_OPTIONAL:
                        r = read_optional(image, e);
                        break;
                case STEP_TABLE:
                        r = read_table(image, e);
                        if (r == 0)
                                r = hash_headers(image, e);
                        break;
                case STEP_BODY:
                        break;
                }
                image->step++;
        }
        return r;
}

/* --- body --- */

static int keep(struct authenticode_image *image, const uint8_t *data, size_t n, struct error *e)
{
        uint64_t skip = image->size < image->rest ? image->rest - image->size : 0;

        if (skip >= n)
                return 0;
        return buf_add(&image->kept, data + skip, n - (size_t)skip) < 0 ? error_oom(e) : 0;
}

/* Sections and the gaps between them. */
static int push_data(struct authenticode_image *image, const uint8_t *data, size_t n,
                     size_t *ret_used, struct error *e)
{
        const struct range *s = &image->sections[image->section];
        bool inside = image->size >= s->start;
        uint64_t end = inside ? s->end : s->start;
        size_t used = n < end - image->size ? n : (size_t)(end - image->size);
        int r = 0;

        if (inside)
                r = hash(image, data, used, e);
        if (r == 0)
                r = keep(image, data, used, e);
        if (inside && image->size + used == s->end)
                image->section++;
        *ret_used = used;
        return r;
}

static int hash_kept(struct authenticode_image *image, struct error *e)
{
        int r = 0;

        if (!image->rest_done)
                r = hash(image, image->kept.data, image->kept.len, e);
        image->rest_done = true;
        buf_done(&image->kept);
        return r;
}

/* What follows the sections, up to the certificate table. */
static int push_rest(struct authenticode_image *image, const uint8_t *data, size_t n,
                     size_t *ret_used, struct error *e)
{
        size_t used = n;
        int r;

        if (image->table_size > 0 && image->table_start - image->size < n)
                used = (size_t)(image->table_start - image->size);
        r = hash_kept(image, e);
        if (r == 0)
                r = hash(image, data, used, e);
        *ret_used = used;
        return r;
}

static int push_table(struct authenticode_image *image, const uint8_t *data, size_t n,
                      size_t *ret_used, struct error *e)
{
        /* Firmware would take certificates for content, and others would not see the attachment. */
        if (n > image->table_size - image->table.len)
                return bad(e, "bytes follow the certificate table");
        *ret_used = n;
        return buf_add(&image->table, data, n) < 0 ? error_oom(e) : 0;
}

int authenticode_image_push(struct authenticode_image *image, const void *data, size_t n,
                            struct error *e)
{
        const uint8_t *p = data;
        int r = 0;

        if (!range_fits(image->size, n, LIMIT_IMAGE_SIZE))
                return error_set(e, ERROR_REFUSED, E2BIG, "PE image: more than %llu bytes",
                                 (unsigned long long)LIMIT_IMAGE_SIZE);
        while (r == 0 && n > 0) {
                size_t used = 0;

                if (image->step < STEP_BODY)
                        r = push_header(image, p, n, &used, e);
                else if (image->section < image->n_sections)
                        r = push_data(image, p, n, &used, e);
                else if (image->table_size == 0 || image->size < image->table_start)
                        r = push_rest(image, p, n, &used, e);
                else
                        r = push_table(image, p, n, &used, e);
                p += used;
                n -= used;
                image->size += used;
        }
        return r;
}

int authenticode_image_finish(struct authenticode_image *image, struct error *e)
{
        int r;

        if (image->step < STEP_BODY || image->section < image->n_sections)
                return bad(e, "cut short after %llu bytes", (unsigned long long)image->size);
        if (image->table.len < image->table_size)
                return bad(e, "the certificate table is cut short");
        r = hash_kept(image, e);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < AUTHENTICODE_HASH_MAX; i++)
                if (image->ctx[i] &&
                    EVP_DigestFinal_ex(image->ctx[i], image->digests.value[i], NULL) != 1)
                        return error_set(e, ERROR_INTERNAL, EIO, "cannot hash the image");
        image->digests.mask = image->mask;
        return 0;
}

int authenticode_image_read(int fd, unsigned mask, struct authenticode_image **ret, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        ssize_t got;
        int r;

        if (!chunk)
                return error_oom(e);
        r = authenticode_image_new(mask, &image);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "cannot hash the image");
        do {
                got = file_pread(fd, chunk, FILE_CHUNK, image->size);
                if (got < 0)
                        return error_errno(e, (int)-got, "cannot read the image");
                r = authenticode_image_push(image, chunk, (size_t)got, e);
                if (r < 0)
                        return r;
        } while (got > 0);
        r = authenticode_image_finish(image, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(image);
        return 0;
}

const struct authenticode_digests *authenticode_image_digests(
        const struct authenticode_image *image)
{
        return &image->digests;
}

const struct buf *authenticode_image_table(const struct authenticode_image *image)
{
        return &image->table;
}

uint64_t authenticode_image_size(const struct authenticode_image *image)
{
        return image->size;
}
