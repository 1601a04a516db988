/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/usi.h"

#include <string.h>

#include "base/file.h"
#include "upgrade/usi_private.h"
#include "upgrade/usi_reader.h"

/* Every stub this program supports measures what systemd 252 did. */
#define OLDEST_STUB 252u
/* The first one that knows profiles. Older ones take the last section of a name, wherever it is. */
#define PROFILE_STUB 257u

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
        [USI_PROFILE] = {".profile", PROFILE_STUB, true, false},
        [USI_DTBAUTO] = {".dtbauto", 257, true, true},
        [USI_HWIDS] = {".hwids", 257, true, false},
        [USI_EFIFW] = {".efifw", 258, true, true},
};

bool usi_is_hashed(enum usi_section kind)
{
        return kind < USI_SECTION_MAX && kinds[kind].measured && !kinds[kind].by_hardware;
}

bool usi_is_by_hardware(enum usi_section kind)
{
        return kind < USI_SECTION_MAX && kinds[kind].by_hardware;
}

static int read_all(int fd, struct usi_reader *reader, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t offset = 0;
        ssize_t n;
        int r;

        if (!chunk)
                return error_oom(e);
        while ((n = file_pread(fd, chunk, FILE_CHUNK, offset)) > 0) {
                r = usi_reader_push(reader, chunk, (size_t)n, e);
                if (r < 0)
                        return r;
                offset += (uint64_t)n;
        }
        return n < 0 ? error_errno(e, (int)-n, "cannot read the image") : 0;
}

int usi_open(int fd, struct usi **ret, struct error *e)
{
        _cleanup_(usi_reader_free_p) struct usi_reader *reader = NULL;
        struct usi *u = NULL;
        uint64_t size = 0;
        int r;

        r = pe_file_size(fd, &size, e);
        if (r < 0)
                return r;
        if (usi_reader_new(size, &reader) < 0)
                return error_oom(e);
        r = read_all(fd, reader, e);
        if (r == 0)
                r = usi_reader_finish(reader, &u, e);
        if (r < 0)
                return r;
        pe_set_fd(u->pe, fd);
        *ret = u;
        return 0;
}

void usi_free(struct usi *u)
{
        if (!u)
                return;
        pe_free(u->pe);
        osrelease_free(u->osrelease);
        buf_done(&u->cmdline);
        for (unsigned i = 0; i < u->n_parts; i++)
                buf_done(&u->parts[i].content);
        free(u->parts);
        free(u);
}

const struct pe *usi_pe(const struct usi *u)
{
        return u->pe;
}

uint64_t usi_size(const struct usi *u)
{
        return u->size;
}

const uint8_t *usi_sha256(const struct usi *u)
{
        return u->sha256;
}

const char *usi_section_name(enum usi_section kind)
{
        return kinds[kind].name;
}

const struct usi_part *usi_part(const struct usi *u, unsigned profile, enum usi_section kind)
{
        const struct usi_part *found = NULL;

        for (unsigned i = 0; i < u->n_parts; i++) {
                const struct usi_part *p = &u->parts[i];

                if (p->kind != kind || (p->group != USI_BASE && p->group != USI_GROUP(profile)))
                        continue;
                /* Profiles follow the base. The stub takes also an empty section in place of the
                 * base's: then the profile goes without. */
                found = p;
        }
        return found && found->section->virtual_size > 0 ? found : NULL;
}

const struct pe_section *usi_section(const struct usi *u, enum usi_section kind)
{
        const struct usi_part *p = usi_part(u, 0, kind);

        return p ? p->section : NULL;
}

/* Profiles there are to choose from: a plain image is its own only one. */
static unsigned n_choices(const struct usi *u)
{
        return u->profiles > 0 ? u->profiles : 1;
}

const struct buf *usi_content(const struct usi *u, unsigned profile, enum usi_section kind)
{
        const struct usi_part *p = profile < n_choices(u) ? usi_part(u, profile, kind) : NULL;

        return p && p->content.len > 0 ? &p->content : NULL;
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
        return usi_section(u, USI_CMDLINE) ? buf_str(&u->cmdline) : NULL;
}

const struct buf *usi_pcrpkey(const struct usi *u)
{
        return usi_content(u, 0, USI_PCRPKEY);
}

const struct buf *usi_pcrsig(const struct usi *u)
{
        return usi_content(u, 0, USI_PCRSIG);
}

const struct buf *usi_sbat(const struct usi *u)
{
        return usi_content(u, 0, USI_SBAT);
}

const char *usi_kernel_version(const struct usi *u)
{
        static const enum usi_section sources[] = {USI_UNAME, USI_LINUX};

        for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
                const struct usi_part *p = usi_part(u, 0, sources[i]);

                if (p && p->release[0] != '\0')
                        return p->release;
        }
        return NULL;
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

/* One section: its name with the NUL, then its content. */
static int measure_part(uint8_t pcr[SHA256_SIZE], const struct usi_part *p, struct error *e)
{
        const char *name = kinds[p->kind].name;

        if (extend_data(pcr, name, strlen(name) + 1) < 0 || extend(pcr, p->digest) < 0)
                return hash_failed(e);
        return 0;
}

/* Whether this image's stub measures a section that is there. 1, 0 or refused. */
static int is_measured(const struct usi *u, enum usi_section kind, struct error *e)
{
        const struct kind *k = &kinds[kind];

        if (!k->measured)
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

static int check_stub(const struct usi *u, struct error *e)
{
        if (u->stub_version > 0 && u->stub_version < OLDEST_STUB)
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "USI: systemd-stub %u is older than %u", u->stub_version,
                                 OLDEST_STUB);
        if (u->profiles == 0 || u->stub_version >= PROFILE_STUB)
                return 0;
        if (u->stub_version == 0)
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "USI: %u profiles need systemd-stub %u or later, and the image "
                                 "does not tell the version of its stub",
                                 u->profiles, PROFILE_STUB);
        return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                         "USI: %u profiles need systemd-stub %u or later, the image has %u",
                         u->profiles, PROFILE_STUB, u->stub_version);
}

static int measure_sections(const struct usi *u, unsigned profile, uint8_t pcr[SHA256_SIZE],
                            struct error *e)
{
        int r;

        r = check_stub(u, e);
        if (r < 0)
                return r;
        memset(pcr, 0, SHA256_SIZE);
        for (unsigned k = 0; k < USI_SECTION_MAX; k++) {
                const struct usi_part *p = usi_part(u, profile, (enum usi_section)k);

                if (!p)
                        continue;
                r = is_measured(u, p->kind, e);
                if (r > 0)
                        r = measure_part(pcr, p, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

int usi_pcr11_profile(const struct usi *u, unsigned profile, const char *phase_path,
                      uint8_t ret[SHA256_SIZE], struct error *e)
{
        uint8_t pcr[SHA256_SIZE];
        int r;

        if (strlen(phase_path) > LIMIT_PHASE_PATH)
                return error_set(e, ERROR_REFUSED, EINVAL, "phase path is too long");
        if (profile >= n_choices(u))
                return error_set(e, ERROR_REFUSED, EINVAL, "USI: no profile %u in it", profile);
        r = measure_sections(u, profile, pcr, e);
        if (r < 0)
                return r;
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

int usi_pcr11(const struct usi *u, const char *phase_path, uint8_t ret[SHA256_SIZE],
              struct error *e)
{
        return usi_pcr11_profile(u, 0, phase_path, ret, e);
}
