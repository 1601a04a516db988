/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/pcrsig.h"

#include <string.h>

#include "base/codec.h"
#include "base/json.h"
#include "base/limits.h"
#include "partition/policy.h"

/* A TPM 2.0 has 24 PCRs. */
#define PCR_MAX 23
/* RSA of 16384 bits; a key of ours makes 256. */
#define SIGNATURE_MAX 2048u

struct pcrsig {
        struct pcrsig_entry *entries;
        unsigned n;
};

static const char *const banks[] = {"sha1", "sha256", "sha384", "sha512"};

#define bad(e, ...) error_set(e, ERROR_REFUSED, EBADMSG, "PCR signatures: " __VA_ARGS__)

static int parse_mask(struct json_object *element, uint32_t *ret)
{
        struct json_object *array;
        uint32_t mask = 0;
        int r;

        r = json_get_array(element, "pcrs", &array);
        if (r < 0)
                return r;
        if (json_object_array_length(array) == 0 || json_object_array_length(array) > PCR_MAX + 1)
                return -EBADMSG;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *v = json_object_array_get_idx(array, i);
                int64_t pcr;

                if (!json_object_is_type(v, json_type_int))
                        return -EBADMSG;
                pcr = json_object_get_int64(v);
                if (pcr < 0 || pcr > PCR_MAX || (mask & 1u << pcr) != 0)
                        return -EBADMSG;
                mask |= 1u << pcr;
        }
        *ret = mask;
        return 0;
}

static int parse_hex(struct json_object *element, const char *key, uint8_t ret[SHA256_SIZE])
{
        const char *text;
        int r;

        r = json_get_str(element, key, &text);
        return r < 0 ? r : hex_decode(text, ret, SHA256_SIZE);
}

static int parse_signature(struct json_object *element, struct buf *out)
{
        const char *text;
        int r;

        r = json_get_str(element, "sig", &text);
        if (r < 0)
                return r;
        r = base64_decode(text, strlen(text), out);
        if (r < 0)
                return r;
        return out->len > 0 ? 0 : -EBADMSG;
}

/* 1 when the element is one that pcrsig_find() may return, 0 when it is well-formed but of another
 * kind. */
static int parse_element(struct json_object *element, struct pcrsig_entry *out)
{
        const char *ref;
        int r;

        if (!json_object_is_type(element, json_type_object))
                return -EBADMSG;
        r = parse_mask(element, &out->mask);
        if (r == 0)
                r = parse_hex(element, "pkfp", out->pkfp);
        if (r == 0)
                r = parse_hex(element, "pol", out->pol);
        if (r == 0)
                r = parse_signature(element, &out->sig);
        if (r < 0)
                return r;
        r = json_get_str(element, "ref", &ref);
        if (r == -EBADMSG)
                return r;
        return r == -ENOENT;
}

static int parse_bank(struct pcrsig *p, const char *bank, struct json_object *array,
                      struct error *e)
{
        size_t n = json_object_array_length(array);

        if (n > LIMIT_PCRSIG_ENTRIES)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "PCR signatures: %zu elements in bank %s, at most %u", n, bank,
                                 LIMIT_PCRSIG_ENTRIES);
        for (size_t i = 0; i < n; i++) {
                struct pcrsig_entry entry = {.sig = BUF_INIT(SIGNATURE_MAX)};
                int r = parse_element(json_object_array_get_idx(array, i), &entry);

                if (r <= 0 || strcmp(bank, "sha256") != 0)
                        buf_done(&entry.sig);
                else
                        p->entries[p->n++] = entry;
                if (r == -ENOMEM)
                        return error_oom(e);
                if (r < 0)
                        return bad(e, "element %zu of bank %s is malformed", i, bank);
        }
        return 0;
}

int pcrsig_parse(const void *text, size_t n, struct pcrsig **ret, struct error *e)
{
        _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *array;
        int r;

        r = json_read_text(text, n, LIMIT_PCRSIG, "PCR signatures", &root, e);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object))
                return bad(e, "not a JSON object");
        p = calloc(1, sizeof(*p));
        if (!p)
                return error_oom(e);
        p->entries = calloc(LIMIT_PCRSIG_ENTRIES, sizeof(*p->entries));
        if (!p->entries)
                return error_oom(e);
        for (unsigned i = 0; i < ARRAY_SIZE(banks); i++) {
                r = json_get_array(root, banks[i], &array);
                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return bad(e, "bank %s is not an array", banks[i]);
                r = parse_bank(p, banks[i], array, e);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(p);
        return 0;
}

void pcrsig_free(struct pcrsig *p)
{
        if (!p)
                return;
        for (unsigned i = 0; i < p->n; i++)
                buf_done(&p->entries[i].sig);
        free(p->entries);
        free(p);
}

const struct pcrsig_entry *pcrsig_at(const struct pcrsig *p, unsigned i)
{
        return i < p->n ? &p->entries[i] : NULL;
}

const struct pcrsig_entry *pcrsig_find(const struct pcrsig *p, uint32_t mask,
                                       const uint8_t pkfp[SHA256_SIZE],
                                       const uint8_t pol[SHA256_SIZE])
{
        for (unsigned i = 0; i < p->n; i++) {
                const struct pcrsig_entry *entry = &p->entries[i];

                if (entry->mask == mask && memcmp(entry->pkfp, pkfp, SHA256_SIZE) == 0 &&
                    memcmp(entry->pol, pol, SHA256_SIZE) == 0)
                        return entry;
        }
        return NULL;
}

int pcrsig_policy(const uint8_t pcr11[SHA256_SIZE], uint8_t ret[SHA256_SIZE])
{
        uint8_t pol[SHA256_SIZE] = {0};
        int r = policy_pcr(pol, PCRSIG_MASK_PCR11, pcr11, SHA256_SIZE);

        if (r < 0)
                return r;
        memcpy(ret, pol, sizeof(pol));
        return 0;
}

int pcrsig_check(const struct pcrsig *p, const void *pem, size_t pem_len,
                 const uint8_t pcr11[SHA256_SIZE], uint8_t ret_pol[SHA256_SIZE], struct error *e)
{
        _cleanup_(policy_key_free_p) struct policy_key *key = NULL;
        const struct pcrsig_entry *entry;
        uint8_t pol[SHA256_SIZE];
        int r;

        r = policy_key_from_pem(pem, pem_len, &key, e);
        if (r < 0)
                return r;
        if (pcrsig_policy(pcr11, pol) < 0)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot compute the policy");
        entry = pcrsig_find(p, PCRSIG_MASK_PCR11, policy_key_fingerprint(key), pol);
        if (!entry)
                return error_set(e, ERROR_REFUSED, ENOENT,
                                 "no signature for the predicted PCR 11 by this key");
        r = policy_key_verify(key, pol, entry->sig.data, entry->sig.len);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return error_set(e, ERROR_REFUSED, EKEYREJECTED,
                                 "the signature for the predicted PCR 11 is wrong");
        if (ret_pol)
                memcpy(ret_pol, pol, sizeof(pol));
        return 0;
}

/* --- building --- */

static void md_ctx_free_p(EVP_MD_CTX **ctx)
{
        EVP_MD_CTX_free(*ctx);
        *ctx = NULL;
}

/* RSASSA-PKCS1-v1_5 over SHA-256(pol), the padding OpenSSL uses for RSA keys when not told else. */
static int sign_policy(EVP_PKEY *key, const uint8_t pol[SHA256_SIZE], struct buf *out)
{
        _cleanup_(md_ctx_free_p) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t *p;
        size_t n = SIGNATURE_MAX;
        int r;

        if (!ctx)
                return -ENOMEM;
        r = buf_reserve(out, n, &p);
        if (r < 0)
                return r;
        if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
            EVP_DigestSign(ctx, p, &n, pol, SHA256_SIZE) != 1)
                return -EIO;
        buf_commit(out, n);
        return 0;
}

static int add_element(struct json_object *array, const struct policy_key *key,
                       const uint8_t pol[SHA256_SIZE], const struct buf *sig)
{
        struct json_object *element = json_object_new_object(), *pcrs;
        _cleanup_(buf_done) struct buf text = BUF_INIT(2 * SIGNATURE_MAX);
        char pkfp[SHA256_HEX_SIZE], hex[SHA256_HEX_SIZE];
        int r;

        r = json_append(array, element); /* owned by the array from here on */
        if (r < 0)
                return r;
        hex_encode(policy_key_fingerprint(key), SHA256_SIZE, pkfp);
        hex_encode(pol, SHA256_SIZE, hex);
        r = base64_encode(sig->data, sig->len, &text);
        if (r < 0)
                return r;
        pcrs = json_object_new_array();
        r = json_add_obj(element, "pcrs", pcrs);
        if (r == 0)
                r = json_append(pcrs, json_object_new_int(11));
        if (r == 0)
                r = json_add_str(element, "pkfp", pkfp);
        if (r == 0)
                r = json_add_str(element, "pol", hex);
        if (r == 0)
                r = json_add_str(element, "sig", buf_str(&text));
        return r;
}

static int add_value(struct json_object *array, EVP_PKEY *key, const struct policy_key *public,
                     const uint8_t pcr11[SHA256_SIZE], struct error *e)
{
        _cleanup_(buf_done) struct buf sig = BUF_INIT(SIGNATURE_MAX);
        uint8_t pol[SHA256_SIZE];
        int r;

        if (pcrsig_policy(pcr11, pol) < 0)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot compute the policy");
        r = sign_policy(key, pol, &sig);
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "cannot sign with the policy key");
        r = policy_key_verify(public, pol, sig.data, sig.len);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return error_set(e, ERROR_CONFIG, EKEYREJECTED,
                                 "private and public policy key do not belong together");
        if (add_element(array, public, pol, &sig) < 0)
                return error_oom(e);
        return 0;
}

static int add_signer(struct json_object *array, const struct pcrsig_signer *s, struct error *e)
{
        _cleanup_(policy_key_free_p) struct policy_key *public = NULL;
        int r = policy_key_from_pem(s->pem, s->pem_len, &public, e);

        for (unsigned i = 0; i < s->n && r == 0; i++)
                r = add_value(array, s->key, public, s->pcr11[i], e);
        return r;
}

int pcrsig_build_all(const struct pcrsig_signer *signers, unsigned n_signers, struct buf *out,
                     struct error *e)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *array = json_object_new_array();
        const char *text;
        int r = 0;

        if (json_add_obj(root, "sha256", array) < 0)
                return error_oom(e);
        for (unsigned i = 0; i < n_signers && r == 0; i++)
                r = add_signer(array, &signers[i], e);
        if (r < 0)
                return r;
        text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text || buf_add_str(out, text) < 0)
                return error_oom(e);
        return 0;
}

int pcrsig_build(EVP_PKEY *key, const void *pem, size_t pem_len,
                 const uint8_t (*pcr11)[SHA256_SIZE], unsigned n, struct buf *out, struct error *e)
{
        const struct pcrsig_signer signer = {key, pem, pem_len, pcr11, n};

        return pcrsig_build_all(&signer, 1, out, e);
}
