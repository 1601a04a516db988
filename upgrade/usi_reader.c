/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/usi_reader.h"

#include <string.h>

#include "base/num.h"
#include "upgrade/usi_private.h"
#include "upgrade/usi_probe.h"

/* Linux/x86 boot protocol, offsets inside a bzImage. */
#define KERNEL_SETUP_SECTS 0x1f1u /* u8: 512-byte sectors of the setup code, 0 stands for 4 */
#define KERNEL_VERSION 0x20eu     /* u16: where the version text is, minus 0x200; 0 = nowhere */
#define KERNEL_SECTOR 0x200u

/* What is kept of a section's content. */
enum keep {
        KEEP_NOTHING,
        KEEP_ALL,   /* refused above the limit */
        KEEP_SHORT, /* nothing above the limit: then it cannot be what we look for */
        KEEP_START, /* the first bytes, until the section is complete */
};

static const struct {
        enum keep keep;
        size_t limit;
} keeps[USI_SECTION_MAX + 1] = {
        [USI_LINUX] = {KEEP_START, LIMIT_KERNEL_SETUP},
        [USI_OSREL] = {KEEP_ALL, LIMIT_OS_RELEASE},
        [USI_CMDLINE] = {KEEP_ALL, LIMIT_CMDLINE},
        [USI_UNAME] = {KEEP_SHORT, LIMIT_UNAME},
        [USI_SBAT] = {KEEP_ALL, LIMIT_SBAT},
        [USI_PCRSIG] = {KEEP_ALL, LIMIT_PCRSIG},
        [USI_PCRPKEY] = {KEEP_ALL, LIMIT_PCRPKEY},
        [USI_PROFILE] = {KEEP_ALL, LIMIT_OS_RELEASE},
        [USI_MAGIC] = {KEEP_SHORT, USI_MAGIC_LIMIT},
};

struct usi_reader {
        uint64_t max_size;
        uint64_t size; /* bytes pushed */
        bool failed;
        struct digest *whole; /* NULL once sha256 is that of all bytes */
        uint8_t sha256[SHA256_SIZE];
        struct buf head; /* until the headers are complete */
        size_t need;
        struct usi *usi;        /* made when they are */
        struct usi_part **next; /* parts with bytes in the file, in file order; ends with NULL */
        struct usi_part **order;
        struct digest *digest; /* of the part that runs */
};

/* A program that firmware may well start, but not this kind of one. */
static int not_usi(struct error *e, const char *why)
{
        error_set(e, ERROR_REFUSED, EBADMSG, "this is no USI: %s", why);
        error_advise(e, "give the image that tb-image usi built; a kernel, a boot loader or a "
                        "driver alone is none");
        return -EBADMSG;
}

#define bad(e, ...) error_set(e, ERROR_REFUSED, EBADMSG, "USI: " __VA_ARGS__)

static int hash_failed(struct error *e)
{
        return error_set(e, ERROR_INTERNAL, EIO, "cannot compute SHA-256");
}

int usi_reader_new(uint64_t max_size, struct usi_reader **ret)
{
        _cleanup_(usi_reader_free_p) struct usi_reader *reader = calloc(1, sizeof(*reader));

        if (!reader)
                return -ENOMEM;
        reader->max_size = max_size < LIMIT_IMAGE_SIZE ? max_size : LIMIT_IMAGE_SIZE;
        reader->head.max = LIMIT_PE_HEADER;
        reader->need = 1;
        reader->whole = digest_new();
        if (!reader->whole)
                return -ENOMEM;
        *ret = TAKE_PTR(reader);
        return 0;
}

void usi_reader_free(struct usi_reader *reader)
{
        if (!reader)
                return;
        digest_free(reader->whole);
        digest_free(reader->digest);
        buf_done(&reader->head);
        free(reader->order);
        usi_free(reader->usi);
        free(reader);
}

/* --- headers --- */

static bool begins_with(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Kind of a section by exact name, USI_SECTION_MAX for a foreign one; refuses names that only look
 * foreign to newer stubs. */
static int classify(const struct pe_section *s, enum usi_section *ret, struct error *e)
{
        for (unsigned k = 0; k < USI_SECTION_MAX; k++) {
                if (strcmp(s->name, usi_section_name((enum usi_section)k)) == 0) {
                        *ret = (enum usi_section)k;
                        return 0;
                }
        }
        for (unsigned k = 0; k < USI_SECTION_MAX; k++) {
                const char *known = usi_section_name((enum usi_section)k);

                if (begins_with(s->name, known))
                        return bad(e, "older stubs take section %s for %s", s->name, known);
        }
        *ret = USI_SECTION_MAX;
        return 0;
}

static bool is_there(const struct usi *u, enum usi_section kind, unsigned group)
{
        for (unsigned i = 0; i < u->n_parts; i++)
                if (u->parts[i].kind == kind && u->parts[i].group == group)
                        return true;
        return false;
}

static int find_parts(struct usi *u, struct error *e)
{
        const struct pe_section *magic = pe_find(u->pe, USI_MAGIC_SECTION), *s;

        u->parts = calloc(pe_header(u->pe)->n_sections, sizeof(*u->parts));
        if (!u->parts)
                return error_oom(e);
        for (unsigned i = 0; (s = pe_section_at(u->pe, i)); i++) {
                enum usi_section kind = USI_SECTION_MAX;
                int r;

                r = classify(s, &kind, e);
                if (r < 0)
                        return r;
                if (kind == USI_PROFILE)
                        u->profiles++; /* also an empty one is a border */
                if (kind == USI_SECTION_MAX && s != magic)
                        continue;
                /* Which one counts differs between stubs. */
                if (kind != USI_SECTION_MAX && !usi_is_by_hardware(kind) &&
                    is_there(u, kind, u->profiles))
                        return bad(e, "section %s is there twice", s->name);
                u->parts[u->n_parts++] =
                        (struct usi_part){.kind = kind, .group = u->profiles, .section = s};
        }
        if (!usi_part(u, 0, USI_LINUX))
                return not_usi(e, "it has no kernel in it (no section .linux)");
        return 0;
}

/* Decides what of each part is kept (content.max), before a byte of them is taken. */
static int plan_contents(struct usi *u, struct error *e)
{
        uint64_t total = 0;

        for (unsigned i = 0; i < u->n_parts; i++) {
                struct usi_part *p = &u->parts[i];
                size_t size = p->section->virtual_size, limit = keeps[p->kind].limit;

                switch (keeps[p->kind].keep) {
                case KEEP_NOTHING:
                        break;
                case KEEP_ALL:
                        if (size > limit)
                                return error_set(e, ERROR_REFUSED, E2BIG,
                                                 "PE image: section %s has %zu bytes, at most %zu "
                                                 "are accepted",
                                                 p->section->name, size, limit);
                        p->content.max = size;
                        total += size;
                        break;
                case KEEP_SHORT:
                        p->content.max = size > limit ? 0 : size;
                        break;
                case KEEP_START:
                        p->content.max = size > limit ? limit : size;
                        break;
                }
        }
        if (total > LIMIT_USI_CONTENT)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "USI: the small sections of its %u profiles have %llu bytes, at "
                                 "most %llu are accepted",
                                 u->profiles, (unsigned long long)total,
                                 (unsigned long long)LIMIT_USI_CONTENT);
        return 0;
}

/* Bytes of a part that are in the file: not the padding behind them. */
static uint64_t stored_size(const struct usi_part *p)
{
        return p->section->virtual_size < p->section->raw_size ? p->section->virtual_size
                                                               : p->section->raw_size;
}

static int compare_offset(const void *a, const void *b)
{
        const struct usi_part *x = *(struct usi_part *const *)a, *y = *(struct usi_part *const *)b;

        return (x->section->raw_offset > y->section->raw_offset) -
               (x->section->raw_offset < y->section->raw_offset);
}

static int plan_order(struct usi_reader *reader, struct error *e)
{
        struct usi *u = reader->usi;
        unsigned n = 0;

        reader->order = calloc(u->n_parts + 1, sizeof(struct usi_part *));
        if (!reader->order)
                return error_oom(e);
        for (unsigned i = 0; i < u->n_parts; i++)
                if (stored_size(&u->parts[i]) > 0)
                        reader->order[n++] = &u->parts[i];
        qsort(reader->order, n, sizeof(struct usi_part *), compare_offset);
        reader->next = reader->order;
        return 0;
}

static int take_headers(struct usi_reader *reader, struct pe *pe, struct error *e)
{
        int r;

        reader->usi = calloc(1, sizeof(*reader->usi));
        if (!reader->usi) {
                pe_free(pe);
                return error_oom(e);
        }
        reader->usi->pe = pe;
        reader->usi->cmdline.max = LIMIT_CMDLINE;
        if (pe_header(pe)->subsystem != PE_SUBSYSTEM_EFI_APPLICATION)
                return not_usi(e, "it is not an EFI application");
        r = find_parts(reader->usi, e);
        if (r == 0)
                r = plan_contents(reader->usi, e);
        if (r == 0)
                r = plan_order(reader, e);
        return r;
}

/* Takes header bytes as long as some are missing. *ret_used: bytes taken. */
static int push_head(struct usi_reader *reader, const uint8_t *data, size_t n, size_t *ret_used,
                     struct error *e)
{
        size_t missing = reader->need - reader->head.len, used = n < missing ? n : missing;
        struct pe *pe = NULL;
        int r;

        if (buf_add(&reader->head, data, used) < 0)
                return error_oom(e);
        *ret_used = used;
        if (used < missing)
                return 0;
        r = pe_parse(reader->head.data, reader->head.len, reader->max_size, &reader->need, &pe, e);
        if (r == -EAGAIN)
                return 0;
        buf_done(&reader->head);
        return r < 0 ? r : take_headers(reader, pe, e);
}

/* --- sections --- */

/* The first word of a text when it can be a kernel release, else "". */
static void take_release(const uint8_t *text, size_t n, char ret[LIMIT_KERNEL_RELEASE + 1])
{
        size_t k = 0;

        while (k < n && text[k] > ' ' && text[k] < 0x7f)
                k++;
        if (k > LIMIT_KERNEL_RELEASE ||
            (k < n && text[k] != ' ' && text[k] != '\n' && text[k] != '\0'))
                k = 0;
        if (k > 0) /* text may be NULL */
                memcpy(ret, text, k);
        ret[k] = '\0';
}

/* From the first bytes of a kernel. */
static void take_kernel_release(const struct buf *b, char ret[LIMIT_KERNEL_RELEASE + 1])
{
        size_t sectors, at;

        if (!usi_probe_kernel_header(PE_MACHINE_X86_64, b->data, b->len))
                return;
        sectors = b->data[KERNEL_SETUP_SECTS] > 0 ? b->data[KERNEL_SETUP_SECTS] : 4;
        at = le16_at(b->data + KERNEL_VERSION);
        if (at == 0 || at >= sectors * KERNEL_SECTOR || at + KERNEL_SECTOR >= b->len)
                return;
        at += KERNEL_SECTOR;
        take_release(b->data + at, b->len - at, ret);
}

static int keep(struct usi_part *p, const uint8_t *data, size_t n, struct error *e)
{
        size_t room = p->content.max - p->content.len;

        if (room == 0)
                return 0;
        return buf_add(&p->content, data, n < room ? n : room) < 0 ? error_oom(e) : 0;
}

static int take_bytes(struct usi_reader *reader, struct usi_part *p, const uint8_t *data, size_t n,
                      struct error *e)
{
        if (usi_is_hashed(p->kind)) {
                if (!reader->digest)
                        reader->digest = digest_new();
                if (!reader->digest)
                        return error_oom(e);
                if (digest_add(reader->digest, data, n) < 0)
                        return hash_failed(e);
        }
        return keep(p, data, n, e);
}

/* What is in memory but not in the file is zeros; then the part is complete. */
static int end_part(struct usi_reader *reader, struct usi_part *p, struct error *e)
{
        static const uint8_t zeros[4096];
        uint64_t missing = p->section->virtual_size - stored_size(p);
        int r;

        while (missing > 0) {
                size_t n = missing < sizeof(zeros) ? (size_t)missing : sizeof(zeros);

                r = take_bytes(reader, p, zeros, n, e);
                if (r < 0)
                        return r;
                missing -= n;
        }
        if (reader->digest && digest_final(reader->digest, p->digest) < 0)
                return hash_failed(e);
        digest_free(reader->digest);
        reader->digest = NULL;
        if (p->kind == USI_UNAME)
                take_release(p->content.data, p->content.len, p->release);
        if (p->kind == USI_LINUX) {
                take_kernel_release(&p->content, p->release);
                buf_done(&p->content);
        }
        return 0;
}

/* Takes bytes up to the next border between sections and what is around them. */
static int push_body(struct usi_reader *reader, const uint8_t *data, size_t n, size_t *ret_used,
                     struct error *e)
{
        struct usi_part *p = *reader->next;
        uint64_t start, end;
        int r;

        *ret_used = n;
        if (!p)
                return 0;
        start = p->section->raw_offset;
        end = start + stored_size(p);
        if (reader->size < start) {
                if (n > start - reader->size)
                        *ret_used = (size_t)(start - reader->size);
                return 0;
        }
        if (n > end - reader->size)
                *ret_used = (size_t)(end - reader->size);
        r = take_bytes(reader, p, data, *ret_used, e);
        if (r == 0 && reader->size + *ret_used == end) {
                r = end_part(reader, p, e);
                reader->next++;
        }
        return r;
}

static int push(struct usi_reader *reader, const uint8_t *data, size_t n, struct error *e)
{
        int r = 0;

        if (!range_fits(reader->size, n, reader->max_size))
                return error_set(e, ERROR_REFUSED, E2BIG, "PE image: more than %llu bytes%s",
                                 (unsigned long long)reader->max_size,
                                 reader->max_size == LIMIT_IMAGE_SIZE
                                         ? " (4 GiB - 1, the largest file of FAT32)"
                                         : "");
        if (digest_add(reader->whole, data, n) < 0)
                return hash_failed(e);
        while (r == 0 && n > 0) {
                size_t used = 0;

                r = reader->usi ? push_body(reader, data, n, &used, e)
                                : push_head(reader, data, n, &used, e);
                data += used;
                n -= used;
                reader->size += used;
        }
        return r;
}

int usi_reader_push(struct usi_reader *reader, const void *data, size_t n, struct error *e)
{
        int r;

        if (reader->failed)
                return error_set(e, ERROR_INTERNAL, EINVAL, "the image was refused already");
        if (!reader->whole)
                return error_set(e, ERROR_INTERNAL, EINVAL, "the image has ended already");
        r = push(reader, data, n, e);
        reader->failed = r < 0;
        return r;
}

int usi_reader_digest(struct usi_reader *reader, uint8_t ret[SHA256_SIZE])
{
        int r = reader->whole ? digest_final(reader->whole, reader->sha256) : 0;

        if (r < 0)
                return r;
        digest_free(reader->whole);
        reader->whole = NULL;
        memcpy(ret, reader->sha256, SHA256_SIZE);
        return 0;
}

/* --- the end --- */

static int parse_osrelease(struct usi *u, struct error *e)
{
        const struct buf *text = usi_content(u, 0, USI_OSREL);

        return text ? osrelease_parse(text->data, text->len, &u->osrelease, e) : 0;
}

static int parse_cmdline(struct usi *u, struct error *e)
{
        const struct buf *text = usi_content(u, 0, USI_CMDLINE);
        size_t n = text ? text->len : 0;

        while (n > 0 && (text->data[n - 1] == '\0' || text->data[n - 1] == '\n'))
                n--;
        if (n > 0 && memchr(text->data, '\0', n))
                return bad(e, "NUL inside the command line");
        return n > 0 && buf_add(&u->cmdline, text->data, n) < 0 ? error_oom(e) : 0;
}

static int finish(struct usi_reader *reader, struct error *e)
{
        struct usi *u = reader->usi;
        int r;

        if (!u)
                return bad(e, "cut short at byte %llu", (unsigned long long)reader->size);
        r = pe_finish(u->pe, reader->size, e);
        if (r < 0)
                return r;
        u->size = reader->size;
        if (usi_reader_digest(reader, u->sha256) < 0)
                return hash_failed(e);
        for (unsigned i = 0; i < u->n_parts; i++) {
                struct usi_part *p = &u->parts[i];

                if (stored_size(p) == 0 && p->section->virtual_size > 0)
                        r = end_part(reader, p, e);
                if (r < 0)
                        return r;
                if (p->kind == USI_MAGIC)
                        u->stub_version = usi_probe_magic(&p->content);
        }
        r = parse_osrelease(u, e);
        if (r == 0)
                r = parse_cmdline(u, e);
        return r;
}

int usi_reader_finish(struct usi_reader *reader, struct usi **ret, struct error *e)
{
        int r;

        if (reader->failed)
                return error_set(e, ERROR_INTERNAL, EINVAL, "the image was refused already");
        reader->failed = true; /* nothing may follow */
        r = finish(reader, e);
        if (r == 0)
                *ret = TAKE_PTR(reader->usi);
        return r;
}
