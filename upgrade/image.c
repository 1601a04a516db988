/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/image.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "upgrade/pcrsig.h"
#include "upgrade/usi.h"

struct verified_image {
        int fd; /* borrowed */
        uint64_t size;
        uint8_t sha256[SHA256_SIZE];
        uint8_t pcr11[SHA256_SIZE];
        char version[128];
        char title[128];
        struct policy_key *key;
        struct pcrsig *signatures;
        const struct pcrsig_entry *signature; /* inside signatures */
};

void image_free(struct verified_image *v)
{
        if (!v)
                return;
        policy_key_free(v->key);
        pcrsig_free(v->signatures);
        free(v);
}

static int check_size(int fd, uint64_t *ret, struct error *e)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "image");
        if (!S_ISREG(st.st_mode))
                return error_set(e, ERROR_USAGE, EINVAL, "not a regular file");
        if ((uint64_t)st.st_size > LIMIT_IMAGE_SIZE)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "%" PRIu64 " bytes: an image on FAT32 has at most %" PRIu64,
                                 (uint64_t)st.st_size, (uint64_t)LIMIT_IMAGE_SIZE);
        *ret = (uint64_t)st.st_size;
        return 0;
}

static int check_sections(const struct usi *u, struct error *e)
{
        static const enum usi_section needed[] = {USI_LINUX,  USI_OSREL,   USI_CMDLINE,
                                                  USI_INITRD, USI_PCRPKEY, USI_PCRSIG};

        for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
                if (!usi_section(u, needed[i])) {
                        error_set(e, ERROR_REFUSED, EBADMSG, "the image has no %s section",
                                  usi_section_name(needed[i]));
                        error_advise(e, "build the image with tb-image usi");
                        return -EBADMSG;
                }
        }
        return 0;
}

static int check_machine(const struct usi *u, struct error *e)
{
#if defined(__x86_64__)
        const uint16_t own = PE_MACHINE_X86_64;
#elif defined(__aarch64__)
        const uint16_t own = PE_MACHINE_AARCH64;
#endif
        uint16_t machine = pe_header(usi_pe(u))->machine;

        if (machine != own)
                return error_set(
                        e, ERROR_REFUSED, ENOEXEC,
                        "the image is for another architecture (PE machine 0x%04x, here 0x%04x)",
                        (unsigned)machine, (unsigned)own);
        return 0;
}

/* The unlock proof (design, section 8, point 3) as far as the image alone can give it. */
static int check_policy(struct verified_image *v, struct usi *u, struct error *e)
{
        const struct buf *pem = usi_pcrpkey(u), *text = usi_pcrsig(u);
        uint8_t pol[SHA256_SIZE];
        int r;

        r = usi_pcr11(u, IMAGE_PHASE_PATH, v->pcr11, e);
        if (r == 0)
                r = policy_key_from_pem(pem->data, pem->len, &v->key, e);
        if (r == 0)
                r = pcrsig_parse(text->data, text->len, &v->signatures, e);
        if (r == 0)
                r = pcrsig_check(v->signatures, pem->data, pem->len, v->pcr11, pol, e);
        if (r < 0) {
                error_advise(e,
                             "the image would start, but could not unlock the disk: build it again "
                             "with tb-image usi and the policy key");
                return r;
        }
        v->signature =
                pcrsig_find(v->signatures, PCRSIG_MASK_PCR11, policy_key_fingerprint(v->key), pol);
        return v->signature ? 0 : error_set(e, ERROR_INTERNAL, ENOENT, "signature not found again");
}

static int verify(struct verified_image *v, struct error *e)
{
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint64_t hashed;
        int r;

        r = check_size(v->fd, &v->size, e);
        if (r == 0)
                r = usi_open(v->fd, &u, e);
        if (r == 0)
                r = check_machine(u, e);
        if (r == 0)
                r = check_sections(u, e);
        if (r == 0)
                r = check_policy(v, u, e);
        if (r < 0)
                return r;
        (void)snprintf(v->version, sizeof(v->version), "%s", usi_image_version(u) ?: "");
        (void)snprintf(v->title, sizeof(v->title), "%s",
                       usi_pretty_name(u) ?: (usi_image_id(u) ?: "Trusted Boot system"));
        r = digest_fd(v->fd, v->sha256, &hashed);
        if (r < 0)
                return error_errno(e, -r, "reading the image");
        if (hashed != v->size)
                return error_set(e, ERROR_REFUSED, EBADMSG, "the image changed while it was read");
        return 0;
}

int image_verify(int fd, const char *name, struct verified_image **ret, struct error *e)
{
        _cleanup_(image_free_p) struct verified_image *v = calloc(1, sizeof(*v));
        int r;

        if (!v)
                return error_oom(e);
        v->fd = fd;
        r = verify(v, e);
        if (r < 0)
                return error_wrap(e, r, "%s", name);
        *ret = TAKE_PTR(v);
        return 0;
}

uint64_t image_size(const struct verified_image *v)
{
        return v->size;
}

const uint8_t *image_sha256(const struct verified_image *v)
{
        return v->sha256;
}

const uint8_t *image_pcr11(const struct verified_image *v)
{
        return v->pcr11;
}

const char *image_version(const struct verified_image *v)
{
        return v->version;
}

const char *image_title(const struct verified_image *v)
{
        return v->title;
}

const struct policy_key *image_policy_key(const struct verified_image *v)
{
        return v->key;
}

const struct buf *image_policy_signature(const struct verified_image *v)
{
        return &v->signature->sig;
}

static int image_path(uint32_t number, char *ret, size_t n)
{
        char name[ENTRY_IMAGE_NAME_SIZE];
        int r = entry_image_name_format(number, name);

        if (r == 0)
                (void)snprintf(ret, n, "%s/%s", ESP_IMAGE_DIR, name);
        return r;
}

int image_add(const struct esp *esp, const struct verified_image *v, uint32_t number,
              struct error *e)
{
        char path[64];

        if (image_path(number, path, sizeof(path)) < 0)
                return error_set(e, ERROR_INTERNAL, ERANGE, "image number %" PRIu32, number);
        return esp_add_stream(esp, path, v->fd, v->size, v->sha256, e);
}

int image_entry(const struct verified_image *v, uint32_t number, enum entry_role role,
                enum entry_key key, char ret[ENTRY_SIZE], struct error *e)
{
        /* Order of the roles in the boot menu, and of falling back. */
        static const char *const sort_keys[ENTRY_ROLE_MAX] = {
                [ENTRY_ROLE_ACTIVE] = "0001",
                [ENTRY_ROLE_PASSIVE] = "0002",
                [ENTRY_ROLE_RECOVERY] = "0003",
        };
        struct entry entry = {.key = key, .has_sha256 = true};
        char path[64];

        if (role >= ENTRY_ROLE_MAX || !sort_keys[role] ||
            image_path(number, path, sizeof(path)) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "boot entry");
        (void)snprintf(entry.title, sizeof(entry.title), "%.100s (%s)", v->title,
                       entry_role_name(role));
        (void)snprintf(entry.sort_key, sizeof(entry.sort_key), "%s", sort_keys[role]);
        (void)snprintf(entry.version, sizeof(entry.version), "%s", v->version);
        (void)snprintf(entry.image, sizeof(entry.image), "/%s", path);
        memcpy(entry.sha256, v->sha256, SHA256_SIZE);
        if (entry_format(&entry, ret) < 0)
                return error_set(e, ERROR_REFUSED, EINVAL,
                                 "title or version of the image cannot stand in a boot entry");
        return 0;
}
