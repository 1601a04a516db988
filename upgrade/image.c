/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "upgrade/authenticode_image.h"
#include "upgrade/image_profiles.h"
#include "upgrade/pcrsig.h"
#include "upgrade/trust.h"
#include "upgrade/usi_reader.h"

struct verified_image {
        int fd;          /* borrowed; -EBADF for a stream */
        bool stands;     /* on the ESP, */
        uint32_t number; /* under this number */
        uint64_t size;
        uint8_t sha256[SHA256_SIZE];
        uint8_t pcr11[SHA256_SIZE];
        char product[FLOOR_PRODUCT_MAX + 1];
        char version[FLOOR_VERSION_MAX]; /* fits a boot entry as well */
        char title[128];
        struct policy_key *key;
        struct pcrsig *signatures;
        const struct pcrsig_entry *signature; /* inside signatures */
        const struct sigdb_entry *authority;  /* inside the db of the demands; NULL: a hash */
};

struct image_reader {
        struct usi_reader *usi;                  /* NULL after its refusal */
        struct authenticode_image *authenticode; /* NULL after its refusal */
        struct error usi_error, authenticode_error;
};

/* What the proofs are given with. */
struct attempt {
        const struct image_demands *demands;
        struct proofs *proofs;
        struct usi *usi;
        struct verified_image *image; /* being made */
        struct trust_report *trust;   /* what Secure Boot decides; NULL: could not be asked */
};

void image_free(struct verified_image *v)
{
        if (!v)
                return;
        policy_key_free(v->key);
        pcrsig_free(v->signatures);
        free(v);
}

int image_reader_new(const struct image_demands *demands, struct image_reader **ret,
                     struct error *e)
{
        unsigned mask = demands ? trust_digests(demands->db, demands->dbx) : AUTHENTICODE_MASK_ALL;
        _cleanup_(image_reader_free_p) struct image_reader *r = calloc(1, sizeof(*r));

        if (!r)
                return error_oom(e);
        if (usi_reader_new(LIMIT_IMAGE_SIZE, &r->usi) < 0 ||
            authenticode_image_new(mask, &r->authenticode) < 0)
                return error_oom(e);
        *ret = TAKE_PTR(r);
        return 0;
}

void image_reader_free(struct image_reader *r)
{
        if (!r)
                return;
        usi_reader_free(r->usi);
        authenticode_image_free(r->authenticode);
        free(r);
}

/* Keeps a refusal for its proof; anything else ends the reading. */
static int keep_refusal(int result, const struct error *from, struct error *e)
{
        if (result == 0 || from->class == ERROR_REFUSED)
                return 0;
        if (e)
                *e = *from;
        return result;
}

int image_reader_push(struct image_reader *r, const void *data, size_t n, struct error *e)
{
        int result;

        if (r->usi) {
                result = usi_reader_push(r->usi, data, n, &r->usi_error);
                if (result < 0) {
                        usi_reader_free(r->usi);
                        r->usi = NULL;
                }
                result = keep_refusal(result, &r->usi_error, e);
                if (result < 0)
                        return result;
        }
        if (!r->authenticode)
                return 0;
        result = authenticode_image_push(r->authenticode, data, n, &r->authenticode_error);
        if (result < 0) {
                authenticode_image_free(r->authenticode);
                r->authenticode = NULL;
        }
        return keep_refusal(result, &r->authenticode_error, e);
}

bool image_reader_settled(const struct image_reader *r)
{
        return !r->usi && !r->authenticode;
}

bool image_reader_refused(const struct image_reader *r)
{
        return !r->usi || !r->authenticode;
}

int image_reader_digest(struct image_reader *r, uint8_t ret[SHA256_SIZE])
{
        return r->usi ? usi_reader_digest(r->usi, ret) : -ENODATA;
}

static void advise_again(struct error *e)
{
        error_advise(e, "the image is damaged or not complete: get it again");
}

int image_reader_refusal(const struct image_reader *r, struct proofs *ret_proofs, struct error *e)
{
        struct error usi_error = r->usi_error;

        memset(ret_proofs, 0, sizeof(*ret_proofs));
        if (!r->usi) {
                advise_again(&usi_error);
                proof_fail(ret_proofs, PROOF_FORMAT, ERROR_NONE, &usi_error);
        }
        if (!r->authenticode)
                proof_fail(ret_proofs, PROOF_SECURE_BOOT, ERROR_SIGNATURE, &r->authenticode_error);
        return proofs_enforce(ret_proofs, e);
}

/* --- the proofs --- */

static bool has_sections(struct attempt *a)
{
        static const enum usi_section needed[] = {USI_LINUX, USI_OSREL, USI_CMDLINE, USI_INITRD};
        struct error error = ERROR_INIT;

        for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
                if (usi_section(a->usi, needed[i]))
                        continue;
                error_set(&error, ERROR_REFUSED, EBADMSG, "the image has no %s section",
                          usi_section_name(needed[i]));
                error_advise(&error, "build the image with tb-image usi");
                proof_fail(a->proofs, PROOF_FORMAT, ERROR_NONE, &error);
                return false;
        }
        return true;
}

/* Cut short, a version would compare as another one. */
static bool has_usable_names(struct attempt *a)
{
        const char *product = usi_image_id(a->usi) ?: "",
                   *version = usi_image_version(a->usi) ?: "";
        struct error error = ERROR_INIT;

        if (strcmp(product, a->image->product) == 0 && strcmp(version, a->image->version) == 0)
                return true;
        error_set(&error, ERROR_REFUSED, E2BIG,
                  "IMAGE_ID has more than %zu characters, or IMAGE_VERSION more than %zu",
                  sizeof(a->image->product) - 1, sizeof(a->image->version) - 1);
        proof_fail(a->proofs, PROOF_FORMAT, ERROR_NONE, &error);
        return false;
}

static void prove_format(struct attempt *a)
{
        if (!has_sections(a) || !has_usable_names(a))
                return;
        proof_set(a->proofs, PROOF_FORMAT, PROOF_PASSED,
                  "%s, version %s, kernel %s, %" PRIu64 " bytes", a->image->title,
                  *a->image->version ? a->image->version : "none",
                  usi_kernel_version(a->usi) ?: "unknown", a->image->size);
}

static void prove_architecture(struct attempt *a)
{
#if defined(__x86_64__)
        const uint16_t own = PE_MACHINE_X86_64;
#elif defined(__aarch64__)
        const uint16_t own = PE_MACHINE_AARCH64;
#endif
        uint16_t machine = pe_header(usi_pe(a->usi))->machine;
        struct error error = ERROR_INIT;

        if (machine == own) {
                proof_set(a->proofs, PROOF_ARCHITECTURE, PROOF_PASSED, "PE machine 0x%04x",
                          (unsigned)machine);
                return;
        }
        error_set(&error, ERROR_REFUSED, ENOEXEC,
                  "the image is for another architecture (PE machine 0x%04x, here 0x%04x)",
                  (unsigned)machine, (unsigned)own);
        proof_fail(a->proofs, PROOF_ARCHITECTURE, ERROR_NONE, &error);
}

static void prove_secure_boot(struct attempt *a, const struct image_reader *r)
{
        struct error error = ERROR_INIT;
        int result;

        if (!r->authenticode) {
                proof_fail(a->proofs, PROOF_SECURE_BOOT, ERROR_SIGNATURE, &r->authenticode_error);
                return;
        }
        if (!a->demands->db || !a->demands->dbx) {
                error_set(&error, ERROR_PRECONDITION, ENODATA,
                          "this machine's key database is not known");
                error_advise(&error, "run this on the node, or name the database with --db");
                proof_fail(a->proofs, PROOF_SECURE_BOOT, ERROR_NONE, &error);
                return;
        }
        result = trust_check(r->authenticode, a->demands->db, a->demands->dbx, &a->trust, &error);
        if (result == 0)
                result = trust_enforce(a->trust, &error);
        if (result < 0)
                proof_fail(a->proofs, PROOF_SECURE_BOOT, proof_trust_class(result), &error);
        else
                proof_set(a->proofs, PROOF_SECURE_BOOT, PROOF_PASSED, "%s; dbx has %zu entries",
                          a->trust->why, sigdb_count(a->demands->dbx));
}

static void prove_sbat(struct attempt *a)
{
        const struct buf *text = usi_sbat(a->usi);
        _cleanup_(sbat_free_p) struct sbat *sbat = NULL;
        struct error error = ERROR_INIT;
        int r = 0;

        if (!a->demands->level) {
                proof_set(a->proofs, PROOF_SBAT, PROOF_NOT_APPLICABLE, "%s",
                          a->demands->elsewhere
                                  ? "the level of the machine it is for is not known here"
                                  : "this machine has no SBAT level (it boots without shim)");
                return;
        }
        if (text)
                r = sbat_parse(text->data, text->len, "the image's .sbat", &sbat, &error);
        if (r == 0)
                r = sbat_check(sbat, a->demands->level, &error);
        if (r < 0)
                proof_fail(a->proofs, PROOF_SBAT, r == -ESTALE ? ERROR_REVOKED : ERROR_NONE,
                           &error);
        else
                proof_set(a->proofs, PROOF_SBAT, PROOF_PASSED, "not below this machine's level");
}

static bool is_enrolled(const struct attempt *a, const uint8_t fingerprint[SHA256_SIZE])
{
        for (size_t i = 0; i < a->demands->n_keys; i++) {
                if (memcmp(policy_key_fingerprint(a->demands->keys[i]), fingerprint, SHA256_SIZE) ==
                    0)
                        return true;
        }
        return false;
}

static void prove_policy_key(struct attempt *a)
{
        const struct buf *pem = usi_pcrpkey(a->usi);
        struct error error = ERROR_INIT;
        int r;

        if (!pem)
                r = error_set(&error, ERROR_REFUSED, ENOKEY,
                              "the image has no policy key (.pcrpkey)");
        else
                r = policy_key_from_pem(pem->data, pem->len, &a->image->key, &error);
        if (r == 0 && a->demands->n_keys > 0 &&
            !is_enrolled(a, policy_key_fingerprint(a->image->key))) {
                r = error_set(
                        &error, ERROR_REFUSED, ENOKEY,
                        "the image's policy key is not one that this machine's disk is sealed to");
                error_advise(&error,
                             "the image would start and could not unlock the disk: take one "
                             "that is signed by the enrolled key");
        }
        if (r < 0)
                proof_fail(a->proofs, PROOF_POLICY_KEY, ERROR_POLICY_KEY, &error);
        else if (a->demands->n_keys == 0)
                proof_set(a->proofs, PROOF_POLICY_KEY, PROOF_NOT_APPLICABLE, "%s",
                          a->demands->elsewhere
                                  ? "what the disk is sealed to is not known here: name the key "
                                    "with --policy-key"
                                  : "nothing is sealed yet: the image's own key will be enrolled");
        else
                proof_set(a->proofs, PROOF_POLICY_KEY, PROOF_PASSED, "%s",
                          a->demands->keys_given ? "it is the key that was given"
                                                 : "the disk is sealed to this key");
}

/* The image's own signature over its own measurement, verified with its own key. */
static int find_signature(struct attempt *a, struct error *e)
{
        const struct buf *pem = usi_pcrpkey(a->usi), *text = usi_pcrsig(a->usi);
        uint8_t pol[SHA256_SIZE];
        int r;

        if (!text)
                return error_set(e, ERROR_REFUSED, ENODATA,
                                 "the image has no PCR signature (.pcrsig)");
        if (!a->image->key)
                return error_set(e, ERROR_REFUSED, ENOKEY,
                                 "there is no key to check the signature with");
        if (usi_stub_version(a->usi) == 0) {
                r = error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                              "the image does not say that systemd-stub starts it (section "
                              ".sdmagic): what gets measured into PCR 11 cannot be known");
                error_advise(e, "build the image with tb-image usi and the stub of systemd 252 or "
                                "later");
                return r;
        }
        r = usi_pcr11(a->usi, IMAGE_PHASE_PATH, a->image->pcr11, e);
        if (r == 0)
                r = pcrsig_parse(text->data, text->len, &a->image->signatures, e);
        if (r == 0)
                r = pcrsig_check(a->image->signatures, pem->data, pem->len, a->image->pcr11, pol,
                                 e);
        if (r < 0)
                return r;
        a->image->signature = pcrsig_find(a->image->signatures, PCRSIG_MASK_PCR11,
                                          policy_key_fingerprint(a->image->key), pol);
        return a->image->signature
                       ? 0
                       : error_set(e, ERROR_INTERNAL, ENOENT, "signature not found again");
}

/* systemd-measure(1) and Kairos sign these by default; a system that does not say the closing word
 * reaches them. */
static const char *const later_paths[] = {"", "enter-initrd:leave-initrd",
                                          "enter-initrd:leave-initrd:sysinit",
                                          "enter-initrd:leave-initrd:sysinit:ready"};

/* Profiles besides the first whose start would leave the disk locked. */
static unsigned locked_profiles(struct attempt *a, struct buf *out)
{
        unsigned n = 0;

        for (unsigned i = 1; i < image_profiles_count(a->usi); i++) {
                struct image_profile p;

                image_profile_look(a->usi, i, IMAGE_PHASE_PATH, NULL, 0, a->image->key, &p);
                if (p.unlocks)
                        continue;
                /* What does not fit is a long list, and its beginning says enough. */
                if (buf_printf(out, "%s%u%s%s", n > 0 ? ", " : "", i, *p.id ? " " : "", p.id) == 0)
                        n++;
        }
        return n;
}

static void prove_pcr_signature(struct attempt *a)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(256);
        struct error error = ERROR_INIT;
        unsigned profiles;

        if (find_signature(a, &error) == 0) {
                profiles = image_profiles_count(a->usi);
                if (locked_profiles(a, &list) > 0)
                        proof_set(a->proofs, PROOF_PCR_SIGNATURE, PROOF_WARNING,
                                  "its own PCR 11 is signed for the phase " IMAGE_PHASE_PATH
                                  "; started with profile %s it could not unlock the disk",
                                  buf_str(&list));
                else if (profiles > 1)
                        proof_set(a->proofs, PROOF_PCR_SIGNATURE, PROOF_PASSED,
                                  "its own PCR 11 is signed for the phase " IMAGE_PHASE_PATH
                                  ", with each of its %u profiles",
                                  profiles);
                else
                        proof_set(a->proofs, PROOF_PCR_SIGNATURE, PROOF_PASSED,
                                  "its own PCR 11 is signed for the phase " IMAGE_PHASE_PATH);
                return;
        }
        error_advise(&error,
                     "the image would start, but could not unlock the disk: build it again with "
                     "tb-image usi and the policy key");
        proof_fail(a->proofs, PROOF_PCR_SIGNATURE, ERROR_PCR_SIGNATURE, &error);
}

/* A later phase path that is signed as well, of whichever profile; NULL when there is none. */
static const char *later_path(struct attempt *a)
{
        for (unsigned i = 0; i < image_profiles_count(a->usi); i++) {
                struct image_profile p;

                image_profile_look(a->usi, i, IMAGE_PHASE_PATH, later_paths,
                                   ARRAY_SIZE(later_paths), a->image->key, &p);
                if (p.later_path)
                        return p.later_path;
        }
        return NULL;
}

/* Whether a partition may be sealed to the key of this signature: the image's own, or one that is
 * enrolled beside it. */
static bool opens_disk(const struct attempt *a, const struct pcrsig_entry *entry)
{
        return memcmp(entry->pkfp, policy_key_fingerprint(a->image->key), SHA256_SIZE) == 0 ||
               is_enrolled(a, entry->pkfp);
}

static void prove_phases(struct attempt *a)
{
        const struct pcrsig_entry *entry;
        unsigned foreign = 0, harmless = 0;
        const char *path;

        if (!a->image->signature) {
                proof_set(a->proofs, PROOF_PHASES, PROOF_NOT_APPLICABLE,
                          "there is no signature to look at");
                return;
        }
        path = later_path(a);
        if (path) {
                proof_set(a->proofs, PROOF_PHASES, PROOF_WARNING,
                          "the phase \"%s\" is signed as well: a system that does not close its "
                          "policy "
                          "could unseal later",
                          path);
                return;
        }
        for (unsigned i = 0; (entry = pcrsig_at(a->image->signatures, i)); i++) {
                bool expected = image_profiles_expect(a->usi, IMAGE_PHASE_PATH, entry->pol);

                foreign += !expected && opens_disk(a, entry);
                harmless += !opens_disk(a, entry);
        }
        if (foreign > 0)
                proof_set(a->proofs, PROOF_PHASES, PROOF_WARNING,
                          "%u more measurements are signed that are not this image's phases",
                          foreign);
        else if (harmless > 0)
                proof_set(a->proofs, PROOF_PHASES, PROOF_PASSED,
                          "nothing else is signed by the policy key; %u by keys that open nothing "
                          "of this disk",
                          harmless);
        else
                proof_set(a->proofs, PROOF_PHASES, PROOF_PASSED, "nothing else is signed");
}

const struct sigdb_entry *image_authority(const struct verified_image *v)
{
        return v->authority;
}

static void prove_pcr7(struct attempt *a)
{
        struct error error = ERROR_INIT;

        if (!a->trust || trust_vouched(a->trust, a->demands->log) != 0) {
                proof_set(a->proofs, PROOF_PCR7, a->demands->pcr7, "%s",
                          a->demands->pcr7_text ?: "");
                return;
        }
        error_set(&error, ERROR_PRECONDITION, EXDEV,
                  "another entry of db vouches for this image than for what runs now: PCR 7 will "
                  "change, "
                  "and a disk that is bound to it will not unlock");
        error_advise(&error, "take an image signed by the certificate that signs the running one");
        proof_fail(a->proofs, PROOF_PCR7, ERROR_NONE, &error);
}

static void prove_version(struct attempt *a)
{
        struct error error = ERROR_INIT;
        struct floor own;
        int r;

        if (!a->demands->floor) {
                proof_set(a->proofs, PROOF_VERSION, PROOF_NOT_APPLICABLE, "%s",
                          a->demands->elsewhere ? "the version floor is not known here"
                                                : "no version floor is set");
                return;
        }
        r = floor_make(a->image->product, a->image->version, &own, &error);
        if (r == 0)
                r = floor_allows(a->demands->floor, &own, &error);
        if (r == 0) {
                proof_set(a->proofs, PROOF_VERSION, PROOF_PASSED, "%s is not below the floor %s",
                          own.version, a->demands->floor->version);
                return;
        }
        if (r == -EPERM)
                (void)snprintf(error.advice, sizeof(error.advice),
                               "take an image of version %s or newer, or accept this one with "
                               "--allow-downgrade",
                               a->demands->floor->version);
        proof_fail(a->proofs, PROOF_VERSION, ERROR_VERSION, &error);
        if (a->demands->allow_downgrade)
                proof_override(a->proofs, PROOF_VERSION, a->demands->allow_downgrade);
}

static void load_names(struct attempt *a)
{
        struct verified_image *v = a->image;

        (void)snprintf(v->product, sizeof(v->product), "%s", usi_image_id(a->usi) ?: "");
        (void)snprintf(v->version, sizeof(v->version), "%s", usi_image_version(a->usi) ?: "");
        (void)snprintf(v->title, sizeof(v->title), "%s",
                       usi_pretty_name(a->usi) ?: (usi_image_id(a->usi) ?: "Trusted Boot system"));
        memcpy(v->sha256, usi_sha256(a->usi), SHA256_SIZE);
        v->size = usi_size(a->usi);
}

static void give_proofs(struct attempt *a, const struct image_reader *r)
{
        load_names(a);
        prove_format(a);
        prove_architecture(a);
        prove_secure_boot(a, r);
        prove_sbat(a);
        prove_policy_key(a);
        prove_pcr_signature(a);
        prove_phases(a);
        prove_pcr7(a);
        prove_version(a);
        proof_set(a->proofs, PROOF_LOADER, PROOF_NOT_APPLICABLE, "no boot loader comes with it");
}

/* Ends both readers; refusals stay in the reader. */
static int end_reading(struct image_reader *r, struct usi **ret, struct error *e)
{
        int result = 0;

        if (r->usi) {
                result = usi_reader_finish(r->usi, ret, &r->usi_error);
                result = keep_refusal(result, &r->usi_error, e);
        }
        if (result == 0 && r->authenticode) {
                result = authenticode_image_finish(r->authenticode, &r->authenticode_error);
                if (result < 0) {
                        authenticode_image_free(r->authenticode);
                        r->authenticode = NULL;
                }
                result = keep_refusal(result, &r->authenticode_error, e);
        }
        return result;
}

/*
 * A signature with a rarer digest: it is taken from the bytes as they stand in a file now. They are
 * the ones that were pushed when the digest that is known of those comes out again.
 */
static int take_missing(struct image_reader *r, int again, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        const struct authenticode_digests *first, *second;
        unsigned missing = r->authenticode ? trust_missing(r->authenticode) : 0;
        int result;

        if (missing == 0)
                return 0;
        if (again < 0)
                return error_set(e, ERROR_INTERNAL, EBADF, "a digest of the image is missing");
        first = authenticode_image_digests(r->authenticode);
        result = authenticode_image_read(again, first->mask | missing, &image, e);
        if (result < 0)
                return result;
        second = authenticode_image_digests(image);
        if (memcmp(first->value[AUTHENTICODE_SHA256], second->value[AUTHENTICODE_SHA256],
                   SHA256_SIZE) != 0)
                return error_set(e, ERROR_IO, EIO, "the image changes while it is read");
        authenticode_image_free(r->authenticode);
        r->authenticode = TAKE_PTR(image);
        return 0;
}

int image_reader_finish(struct image_reader *r, int again, const struct image_demands *demands,
                        struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
{
        _cleanup_(image_free_p) struct verified_image *v = calloc(1, sizeof(*v));
        _cleanup_free_ struct proofs *own = calloc(1, sizeof(*own));
        _cleanup_(usi_free_p) struct usi *usi = NULL;
        struct attempt a = {.demands = demands, .proofs = own, .image = v};
        int result;

        if (!v || !own)
                return error_oom(e);
        v->fd = -EBADF;
        result = end_reading(r, &usi, e);
        if (result == 0)
                result = take_missing(r, again, e);
        if (result < 0)
                return result;
        a.usi = usi;
        if (usi) {
                give_proofs(&a, r);
        } else {
                advise_again(&r->usi_error);
                proof_fail(own, PROOF_FORMAT, ERROR_NONE, &r->usi_error);
                prove_secure_boot(&a, r); /* any PE file can be asked for its signature */
        }
        if (ret_proofs)
                *ret_proofs = *own;
        v->authority = a.trust ? trust_authority(a.trust) : NULL;
        free(a.trust);
        result = proofs_enforce(own, e);
        if (result < 0)
                return result;
        *ret = TAKE_PTR(v);
        return 0;
}

static int push_file(struct image_reader *r, int fd, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t offset = 0;
        ssize_t n;

        if (!chunk)
                return error_oom(e);
        while ((n = file_pread(fd, chunk, FILE_CHUNK, offset)) > 0) {
                int result = image_reader_push(r, chunk, (size_t)n, e);

                if (result < 0)
                        return result;
                if (image_reader_settled(r))
                        return 0;
                offset += (uint64_t)n;
        }
        return n < 0 ? error_errno(e, (int)-n, "reading") : 0;
}

int image_verify(int fd, const char *name, const struct image_demands *demands,
                 struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
{
        _cleanup_(image_reader_free_p) struct image_reader *r = NULL;
        struct verified_image *v = NULL;
        int result = image_reader_new(demands, &r, e);

        if (result == 0)
                result = push_file(r, fd, e);
        if (result == 0)
                result = image_reader_finish(r, fd, demands, ret_proofs, &v, e);
        if (result < 0)
                return error_wrap(e, result, "%s", name);
        v->fd = fd;
        *ret = v;
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

const char *image_product(const struct verified_image *v)
{
        return v->product;
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

bool image_stands_as(const struct verified_image *v, uint32_t number)
{
        return v->stands && v->number == number;
}

void image_set_number(struct verified_image *v, uint32_t number)
{
        v->fd = -EBADF;
        v->stands = true;
        v->number = number;
}

int image_path(uint32_t number, char ret[IMAGE_PATH_SIZE])
{
        char name[ENTRY_IMAGE_NAME_SIZE];
        int r = entry_image_name_format(number, name);

        if (r == 0)
                (void)snprintf(ret, IMAGE_PATH_SIZE, "%s/%s", ESP_IMAGE_DIR, name);
        return r;
}

int image_add(const struct esp *esp, const struct verified_image *v, uint32_t number,
              struct error *e)
{
        char path[IMAGE_PATH_SIZE];

        if (image_path(number, path) < 0)
                return error_set(e, ERROR_INTERNAL, ERANGE, "image number %" PRIu32, number);
        return esp_add_stream(esp, path, v->fd, v->size, v->sha256, e);
}

int image_entry(const struct verified_image *v, uint32_t number, enum entry_role role,
                enum entry_key key, char ret[ENTRY_SIZE], struct error *e)
{
        struct entry entry = {.key = key, .has_sha256 = true};
        char path[IMAGE_PATH_SIZE];
        int r;

        (void)snprintf(entry.title, sizeof(entry.title), "%s", v->title);
        if (image_path(number, path) < 0 || entry_set_role(&entry, role) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "boot entry");
        (void)snprintf(entry.version, sizeof(entry.version), "%s", v->version);
        (void)snprintf(entry.image, sizeof(entry.image), "/%s", path);
        memcpy(entry.sha256, v->sha256, SHA256_SIZE);
        r = entry_format(&entry, ret);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return error_set(e, ERROR_REFUSED, EINVAL,
                                 "title or version of the image cannot stand in a boot entry");
        return 0;
}
