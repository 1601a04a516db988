/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/usi.h"

#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "upgrade/osrelease.h"

/* The stub's own identification, "#### LoaderInfo: systemd-stub 252.39-1 ####". */
#define MAGIC_SECTION ".sdmagic"
#define MAGIC_PREFIX "#### LoaderInfo: systemd-stub "
#define MAGIC_LIMIT 512u

/* Every stub this program supports measures what systemd 252 did. */
#define OLDEST_STUB 252u

struct kind {
        const char *name;
        unsigned since;   /* first stub that measures it */
        bool measured;    /* .pcrsig is not */
        bool by_hardware; /* several may exist; the machine decides which one counts */
};

static const struct kind kinds[USI_SECTION_MAX] = {
        [USI_LINUX] = {".linux", OLDEST_STUB, true, false},
        [USI_OSREL] = {".osrel", OLDEST_STUB, true, false},
        [USI_CMDLINE] = {".cmdline", OLDEST_STUB, true, false},
        [USI_INITRD] = {".initrd", OLDEST_STUB, true, false},
        [USI_UCODE] = {".ucode", 256, true, false},
        [USI_SPLASH] = {".splash", OLDEST_STUB, true, false},
        [USI_DTB] = {".dtb", OLDEST_STUB, true, false},
        [USI_UNAME] = {".uname", 254, true, false},
        [USI_SBAT] = {".sbat", 254, true, false},
        [USI_PCRSIG] = {".pcrsig", OLDEST_STUB, false, false},
        [USI_PCRPKEY] = {".pcrpkey", OLDEST_STUB, true, false},
        [USI_PROFILE] = {".profile", 257, true, false},
        [USI_DTBAUTO] = {".dtbauto", 257, true, true},
        [USI_HWIDS] = {".hwids", 257, true, false},
        [USI_EFIFW] = {".efifw", 258, true, true},
};

struct usi {
        struct pe *pe;
        const struct pe_section *sections[USI_SECTION_MAX];
        struct osrelease *osrelease;
        struct buf cmdline;
        struct buf pcrpkey;
        struct buf pcrsig;
        unsigned stub_version;
        unsigned profiles;
        bool measured; /* base is valid */
        uint8_t base[SHA256_SIZE];
};

#define bad(e, ...) error_set(e, ERROR_REFUSED, EBADMSG, "USI: " __VA_ARGS__)

static bool begins_with(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Kind of a section by exact name, USI_SECTION_MAX for a foreign one; refuses names that only look
 * foreign to newer stubs. */
static int classify(const struct pe_section *s, enum usi_section *ret, struct error *e)
{
        for (unsigned k = 0; k < USI_SECTION_MAX; k++) {
                if (strcmp(s->name, kinds[k].name) == 0) {
                        *ret = (enum usi_section)k;
                        return 0;
                }
        }
        for (unsigned k = 0; k < USI_SECTION_MAX; k++)
                if (begins_with(s->name, kinds[k].name))
                        return bad(e, "older stubs take section %s for %s", s->name, kinds[k].name);
        *ret = USI_SECTION_MAX;
        return 0;
}

static int find_sections(struct usi *u, struct error *e)
{
        for (unsigned i = 0; pe_section_at(u->pe, i); i++) {
                const struct pe_section *s = pe_section_at(u->pe, i);
                enum usi_section kind = USI_SECTION_MAX;
                int r;

                r = classify(s, &kind, e);
                if (r < 0)
                        return r;
                if (kind == USI_PROFILE)
                        u->profiles++;
                /* What follows the first .profile belongs to a profile, not to the base. */
                if (kind == USI_SECTION_MAX || u->profiles > 0)
                        continue;
                if (u->sections[kind] && !kinds[kind].by_hardware)
                        return bad(e, "section %s is there twice", s->name);
                if (!u->sections[kind])
                        u->sections[kind] = s;
        }
        for (unsigned k = 0; k < USI_SECTION_MAX; k++)
                if (u->sections[k] && u->sections[k]->virtual_size == 0)
                        u->sections[k] = NULL; /* as the stub sees it */
        if (!u->sections[USI_LINUX])
                return bad(e, "no kernel in it (no section .linux)");
        return 0;
}

/* The number behind "systemd-stub "; anything unexpected leaves the version unknown. */
static int read_stub_version(struct usi *u, struct error *e)
{
        const struct pe_section *s = pe_find(u->pe, MAGIC_SECTION);
        _cleanup_(buf_done) struct buf text = BUF_INIT(MAGIC_LIMIT);
        char digits[8];
        const char *p;
        uint64_t v;
        size_t n;
        int r;

        if (!s || s->virtual_size > MAGIC_LIMIT)
                return 0;
        r = pe_read(u->pe, s, &text, e);
        if (r < 0)
                return r;
        if (!begins_with(buf_str(&text), MAGIC_PREFIX))
                return 0;
        p = buf_str(&text) + strlen(MAGIC_PREFIX);
        n = strspn(p, "0123456789");
        if (n == 0 || n >= sizeof(digits))
                return 0;
        memcpy(digits, p, n);
        digits[n] = '\0';
        if (parse_u64(digits, &v) == 0)
                u->stub_version = (unsigned)v;
        return 0;
}

static int read_small(struct usi *u, enum usi_section kind, struct buf *out, struct error *e)
{
        if (!u->sections[kind])
                return 0;
        return pe_read(u->pe, u->sections[kind], out, e);
}

static int read_osrelease(struct usi *u, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OS_RELEASE);
        int r;

        r = read_small(u, USI_OSREL, &text, e);
        if (r < 0 || text.len == 0)
                return r;
        return osrelease_parse(text.data, text.len, &u->osrelease, e);
}

static int read_cmdline(struct usi *u, struct error *e)
{
        int r;

        r = read_small(u, USI_CMDLINE, &u->cmdline, e);
        if (r < 0)
                return r;
        while (u->cmdline.len > 0 && (u->cmdline.data[u->cmdline.len - 1] == '\0' ||
                                      u->cmdline.data[u->cmdline.len - 1] == '\n'))
                u->cmdline.data[--u->cmdline.len] = '\0';
        if (u->cmdline.len > 0 && memchr(u->cmdline.data, '\0', u->cmdline.len))
                return bad(e, "NUL inside the command line");
        return 0;
}

int usi_open(int fd, struct usi **ret, struct error *e)
{
        _cleanup_(usi_free_p) struct usi *u = calloc(1, sizeof(*u));
        int r;

        if (!u)
                return error_oom(e);
        u->cmdline = (struct buf)BUF_INIT(LIMIT_CMDLINE);
        u->pcrpkey = (struct buf)BUF_INIT(LIMIT_PCRPKEY);
        u->pcrsig = (struct buf)BUF_INIT(LIMIT_PCRSIG);
        r = pe_open(fd, &u->pe, e);
        if (r < 0)
                return r;
        if (pe_header(u->pe)->subsystem != PE_SUBSYSTEM_EFI_APPLICATION)
                return bad(e, "not an EFI application");
        r = find_sections(u, e);
        if (r == 0)
                r = read_stub_version(u, e);
        if (r == 0)
                r = read_osrelease(u, e);
        if (r == 0)
                r = read_cmdline(u, e);
        if (r == 0)
                r = read_small(u, USI_PCRPKEY, &u->pcrpkey, e);
        if (r == 0)
                r = read_small(u, USI_PCRSIG, &u->pcrsig, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(u);
        return 0;
}

void usi_free(struct usi *u)
{
        if (!u)
                return;
        pe_free(u->pe);
        osrelease_free(u->osrelease);
        buf_done(&u->cmdline);
        buf_done(&u->pcrpkey);
        buf_done(&u->pcrsig);
        free(u);
}

const struct pe *usi_pe(const struct usi *u)
{
        return u->pe;
}

const char *usi_section_name(enum usi_section kind)
{
        return kinds[kind].name;
}

const struct pe_section *usi_section(const struct usi *u, enum usi_section kind)
{
        return u->sections[kind];
}

static const char *release_value(const struct usi *u, const char *key)
{
        return u->osrelease ? osrelease_get(u->osrelease, key) : NULL;
}

const char *usi_image_id(const struct usi *u)
{
        return release_value(u, "IMAGE_ID");
}

const char *usi_image_version(const struct usi *u)
{
        return release_value(u, "IMAGE_VERSION");
}

const char *usi_pretty_name(const struct usi *u)
{
        return release_value(u, "PRETTY_NAME");
}

const char *usi_cmdline(const struct usi *u)
{
        return u->sections[USI_CMDLINE] ? buf_str(&u->cmdline) : NULL;
}

const struct buf *usi_pcrpkey(const struct usi *u)
{
        return u->sections[USI_PCRPKEY] ? &u->pcrpkey : NULL;
}

const struct buf *usi_pcrsig(const struct usi *u)
{
        return u->sections[USI_PCRSIG] ? &u->pcrsig : NULL;
}

unsigned usi_stub_version(const struct usi *u)
{
        return u->stub_version;
}

unsigned usi_profiles(const struct usi *u)
{
        return u->profiles;
}

/* --- PCR 11 --- */

static int extend(uint8_t pcr[SHA256_SIZE], const uint8_t digest[SHA256_SIZE])
{
        uint8_t both[2 * SHA256_SIZE];

        memcpy(both, pcr, SHA256_SIZE);
        memcpy(both + SHA256_SIZE, digest, SHA256_SIZE);
        return sha256(both, sizeof(both), pcr);
}

static int extend_data(uint8_t pcr[SHA256_SIZE], const void *data, size_t n)
{
        uint8_t digest[SHA256_SIZE];
        int r = sha256(data, n, digest);

        return r < 0 ? r : extend(pcr, digest);
}

static int hash_failed(struct error *e)
{
        return error_set(e, ERROR_INTERNAL, EIO, "cannot compute SHA-256");
}

static int sink_digest(void *ctx, const void *data, size_t n)
{
        return digest_add(ctx, data, n);
}

/* One section: its name with the NUL, then its content. */
static int measure_section(struct usi *u, enum usi_section kind, struct error *e)
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        uint8_t digest[SHA256_SIZE];
        struct error inner = ERROR_INIT;
        int r;

        if (!d)
                return error_oom(e);
        r = pe_stream(u->pe, u->sections[kind], sink_digest, d, &inner);
        if (r < 0 && inner.code != 0 && e)
                *e = inner;
        if (r < 0)
                return inner.code != 0 ? r : hash_failed(e);
        if (digest_final(d, digest) < 0 ||
            extend_data(u->base, kinds[kind].name, strlen(kinds[kind].name) + 1) < 0 ||
            extend(u->base, digest) < 0)
                return hash_failed(e);
        return 0;
}

/* Whether this image's stub measures a section that is there. 1, 0 or refused. */
static int is_measured(const struct usi *u, enum usi_section kind, struct error *e)
{
        const struct kind *k = &kinds[kind];

        if (!u->sections[kind] || !k->measured)
                return 0;
        if (k->since > OLDEST_STUB && u->stub_version == 0)
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "USI: section %s is measured by systemd-stub %u and later, but "
                                 "the image does not tell the version of its stub",
                                 k->name, k->since);
        if (u->stub_version > 0 && u->stub_version < k->since)
                return 0;
        if (k->by_hardware)
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "USI: which section %s is measured depends on the hardware",
                                 k->name);
        return 1;
}

static int measure_sections(struct usi *u, struct error *e)
{
        int r;

        if (u->measured)
                return 0;
        if (u->profiles > 0)
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "USI: %u profiles; PCR 11 of a multi-profile image is not known "
                                 "before it boots",
                                 u->profiles);
        if (u->stub_version > 0 && u->stub_version < OLDEST_STUB)
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "USI: systemd-stub %u is older than %u", u->stub_version,
                                 OLDEST_STUB);
        memset(u->base, 0, sizeof(u->base));
        for (unsigned k = 0; k < USI_SECTION_MAX; k++) {
                r = is_measured(u, (enum usi_section)k, e);
                if (r > 0)
                        r = measure_section(u, (enum usi_section)k, e);
                if (r < 0)
                        return r;
        }
        u->measured = true;
        return 0;
}

int usi_pcr11(struct usi *u, const char *phase_path, uint8_t ret[SHA256_SIZE], struct error *e)
{
        uint8_t pcr[SHA256_SIZE];
        int r;

        if (strlen(phase_path) > LIMIT_PHASE_PATH)
                return error_set(e, ERROR_REFUSED, EINVAL, "phase path is too long");
        r = measure_sections(u, e);
        if (r < 0)
                return r;
        memcpy(pcr, u->base, sizeof(pcr));
        for (const char *p = phase_path; *phase_path != '\0';) {
                size_t n = strcspn(p, ":");

                if (n == 0)
                        return error_set(e, ERROR_REFUSED, EINVAL,
                                         "phase path \"%s\" has an empty word", phase_path);
                if (extend_data(pcr, p, n) < 0)
                        return hash_failed(e);
                p += n;
                if (*p++ == '\0')
                        break;
        }
        memcpy(ret, pcr, sizeof(pcr));
        return 0;
}
