/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/authenticode_signature.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "upgrade/authenticode.h"

#define ENTRY_HEADER_SIZE 8u /* WIN_CERTIFICATE */
#define ENTRY_REVISION 0x0200u
#define ENTRY_TYPE_PKCS7 0x0002u

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096

/* Where the value of the first digest algorithm's OID stands when every length around it has two
 * bytes: firmware looks there and nowhere else. */
#define DIGEST_OID_OFFSET 32u

static void bio_free_p(BIO **bio)
{
        BIO_free_all(*bio);
        *bio = NULL;
}

/* Records what is wrong. Returns false, so that a check is one line. */
static bool _printf_(3, 4)
        fail(struct authenticode_signature *s, enum authenticode_state state, const char *fmt, ...)
{
        va_list ap;

        s->state = state;
        va_start(ap, fmt);
        (void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
        va_end(ap);
        return false;
}

/* After a failure of libcrypto that it gives memory as the reason for, or none. */
static bool memory_ran_out(void)
{
        unsigned long why = ERR_peek_last_error();

        return why == 0 || ERR_GET_REASON(why) == ERR_R_MALLOC_FAILURE;
}

/* Nothing is known about it then, which is not the same as wrong. */
static bool fail_without_memory(struct authenticode_signature *s)
{
        s->no_memory = true;
        return fail(s, AUTHENTICODE_MALFORMED, "out of memory");
}

static bool find_hash(int nid, enum authenticode_hash *ret)
{
        static const int nids[AUTHENTICODE_HASH_MAX] = {
                [AUTHENTICODE_SHA256] = NID_sha256,
                [AUTHENTICODE_SHA384] = NID_sha384,
                [AUTHENTICODE_SHA512] = NID_sha512,
        };

        for (enum authenticode_hash h = 0; h < AUTHENTICODE_HASH_MAX; h++)
                if (nids[h] == nid) {
                        *ret = h;
                        return true;
                }
        return false;
}

static const char *algorithm_name(const X509_ALGOR *algorithm)
{
        const ASN1_OBJECT *object;

        X509_ALGOR_get0(&object, NULL, NULL, algorithm);
        return OBJ_nid2sn(OBJ_obj2nid(object));
}

static int algorithm_nid(const X509_ALGOR *algorithm)
{
        const ASN1_OBJECT *object;

        X509_ALGOR_get0(&object, NULL, NULL, algorithm);
        return OBJ_obj2nid(object);
}

/* The way of firmware: no parsing, one comparison at a fixed place. */
static void recognise_hash(struct authenticode_signature *s, const uint8_t *der, size_t n)
{
        /* 2.16.840.1.101.3.4.2.x; the last number is 1, 2, 3 for SHA-256, SHA-384, SHA-512. */
        static const uint8_t prefix[] = {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02};
        uint8_t last;

        if (n < DIGEST_OID_OFFSET + sizeof(prefix) + 1 || der[1] != 0x82 ||
            memcmp(der + DIGEST_OID_OFFSET, prefix, sizeof(prefix)) != 0)
                return;
        last = der[DIGEST_OID_OFFSET + sizeof(prefix)];
        s->hash_known = last >= 1 && last <= 3;
        if (s->hash_known)
                s->hash = (enum authenticode_hash)(last - 1);
}

/* Structure and signer. */
static bool read_pkcs7(struct authenticode_signature *s, const uint8_t *der, size_t n)
{
        const uint8_t *p = der;
        STACK_OF(X509) * signers;

        s->p7 = d2i_PKCS7(NULL, &p, (long)n);
        if (!s->p7 && memory_ran_out())
                return fail_without_memory(s);
        if (!s->p7)
                return fail(s, AUTHENTICODE_MALFORMED, "it is not PKCS#7");
        if (OBJ_obj2nid(s->p7->type) != NID_pkcs7_signed || !s->p7->d.sign)
                return fail(s, AUTHENTICODE_MALFORMED, "it is no signed data");
        if (sk_X509_num(s->p7->d.sign->cert) > (int)LIMIT_SIGNATURE_CERTS)
                return fail(s, AUTHENTICODE_MALFORMED, "it carries %d certificates, at most %u",
                            sk_X509_num(s->p7->d.sign->cert), LIMIT_SIGNATURE_CERTS);
        if (sk_PKCS7_SIGNER_INFO_num(s->p7->d.sign->signer_info) != 1)
                return fail(s, AUTHENTICODE_MALFORMED, "it has %d signers instead of one",
                            sk_PKCS7_SIGNER_INFO_num(s->p7->d.sign->signer_info));
        signers = PKCS7_get0_signers(s->p7, NULL, 0);
        if (!signers)
                return fail(s, AUTHENTICODE_MALFORMED, "it lacks the certificate of its signer");
        s->signer = sk_X509_value(signers, 0);
        sk_X509_free(signers);
        return true;
}

static bool check_hash(struct authenticode_signature *s)
{
        const STACK_OF(X509_ALGOR) *algorithms = s->p7->d.sign->md_algs;

        if (s->hash_known)
                return true;
        if (sk_X509_ALGOR_num(algorithms) < 1)
                return fail(s, AUTHENTICODE_MALFORMED, "it names no digest algorithm");
        return fail(s, AUTHENTICODE_UNSUPPORTED,
                    "firmware does not take its digest algorithm (%s) or its encoding",
                    algorithm_name(sk_X509_ALGOR_value(algorithms, 0)));
}

static bool check_key(struct authenticode_signature *s)
{
        EVP_PKEY *key = X509_get0_pubkey(s->signer);
        char group[64] = "";
        int bits, nid;

        if (!key)
                return fail(s, AUTHENTICODE_UNSUPPORTED, "the key of its signer cannot be used");
        bits = EVP_PKEY_get_bits(key);
        switch (EVP_PKEY_get_base_id(key)) {
        case EVP_PKEY_RSA:
                if (bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)
                        return true;
                return fail(s, AUTHENTICODE_UNSUPPORTED, "RSA key of %d bits, %d to %d count", bits,
                            RSA_BITS_MIN, RSA_BITS_MAX);
        case EVP_PKEY_EC:
                (void)EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
                nid = OBJ_sn2nid(group);
                if (nid == NID_X9_62_prime256v1 || nid == NID_secp384r1 || nid == NID_secp521r1)
                        return true;
                return fail(s, AUTHENTICODE_UNSUPPORTED, "elliptic curve %s does not count", group);
        default:
                return fail(s, AUTHENTICODE_UNSUPPORTED, "key of type %s does not count",
                            EVP_PKEY_get0_type_name(key));
        }
}

static bool check_algorithms(struct authenticode_signature *s, const PKCS7_SIGNER_INFO *si)
{
        enum authenticode_hash hash;
        int digest, encryption = algorithm_nid(si->digest_enc_alg);

        if (!find_hash(algorithm_nid(si->digest_alg), &hash))
                return fail(s, AUTHENTICODE_UNSUPPORTED, "its signature uses the digest %s",
                            algorithm_name(si->digest_alg));
        if (encryption == NID_rsassaPss)
                return fail(s, AUTHENTICODE_UNSUPPORTED, "its signature uses RSA-PSS");
        /* Either the bare key type, or a combination whose digest has to be the same one. */
        if (OBJ_find_sigid_algs(encryption, &digest, NULL) && digest != NID_undef &&
            digest != algorithm_nid(si->digest_alg))
                return fail(s, AUTHENTICODE_MALFORMED, "it contradicts itself about its digest");
        return true;
}

/* The digest it signs is the image's. *missing gets it when the caller did not compute that one. */
static bool check_claim(struct authenticode_signature *s,
                        const struct authenticode_digests *digests, unsigned *missing)
{
        uint8_t claim[AUTHENTICODE_DIGEST_MAX];
        struct error e = ERROR_INIT;
        enum authenticode_hash hash;
        int r;

        r = authenticode_claim_any(s->p7, &hash, claim, &e);
        if (r < 0)
                return fail(s, r == -ENOTSUP ? AUTHENTICODE_UNSUPPORTED : AUTHENTICODE_MALFORMED,
                            "%.200s", e.text);
        if (hash != s->hash)
                return fail(s, AUTHENTICODE_MALFORMED,
                            "its statement uses %s where firmware computes %s",
                            authenticode_hash_name(hash), authenticode_hash_name(s->hash));
        if (!(digests->mask & AUTHENTICODE_MASK(hash))) {
                *missing |= AUTHENTICODE_MASK(hash);
                return false;
        }
        if (memcmp(claim, digests->value[hash], authenticode_hash_size(hash)) != 0)
                return fail(s, AUTHENTICODE_MISMATCH,
                            "it was made for other content: the %s digest of the image differs",
                            authenticode_hash_name(hash));
        return true;
}

/* The bytes that are signed: the content of the statement's SEQUENCE, without tag and length
 * (PKCS #7 1.5, section 9.3). */
static BIO *open_statement(const PKCS7 *p7)
{
        const ASN1_STRING *statement = p7->d.sign->contents->d.other->value.sequence;
        const uint8_t *p = ASN1_STRING_get0_data(statement);
        int tag, class;
        long length;

        if ((ASN1_get_object(&p, &length, &tag, &class, ASN1_STRING_length(statement)) & 0x80) != 0)
                return NULL;
        return BIO_new_mem_buf(p, (int)length);
}

/* Digest of the statement against the messageDigest attribute, attributes against the key. */
static bool check_signature(struct authenticode_signature *s, PKCS7_SIGNER_INFO *si)
{
        _cleanup_(bio_free_p) BIO *statement = open_statement(s->p7), *chain = NULL;
        uint8_t chunk[1024];
        bool digest_wrong;
        int n;

        if (!statement)
                return memory_ran_out()
                               ? fail_without_memory(s)
                               : fail(s, AUTHENTICODE_MALFORMED, "its statement cannot be read");
        chain = PKCS7_dataInit(s->p7, statement);
        if (!chain)
                return memory_ran_out() ? fail_without_memory(s)
                                        : fail(s, AUTHENTICODE_MALFORMED,
                                               "its digest algorithms cannot be used");
        statement = NULL; /* chain owns it now */
        do
                n = BIO_read(chain, chunk, sizeof(chunk));
        while (n > 0);
        if (n < 0)
                return fail(s, AUTHENTICODE_MALFORMED, "its statement cannot be hashed");
        if (PKCS7_signatureVerify(chain, s->p7, si, s->signer) == 1)
                return true;
        if (memory_ran_out())
                return fail_without_memory(s);
        digest_wrong = ERR_GET_REASON(ERR_peek_last_error()) == PKCS7_R_DIGEST_FAILURE;
        return fail(s, AUTHENTICODE_MISMATCH, "%s",
                    digest_wrong ? "its messageDigest attribute is not that of its statement"
                                 : "its signer's key did not make it");
}

static void check_entry(struct authenticode_signature *s, const uint8_t *der, size_t n,
                        const struct authenticode_digests *digests, unsigned *missing)
{
        PKCS7_SIGNER_INFO *si;

        recognise_hash(s, der, n);
        if (!read_pkcs7(s, der, n) || !check_hash(s))
                return;
        si = sk_PKCS7_SIGNER_INFO_value(s->p7->d.sign->signer_info, 0);
        if (!check_algorithms(s, si) || !check_key(s) || !check_claim(s, digests, missing) ||
            !check_signature(s, si))
                return;
        s->state = AUTHENTICODE_VALID;
}

#define bad(e, ...) error_set(e, ERROR_REFUSED, EBADMSG, "certificate table: " __VA_ARGS__)

/* Entry at *at, which moves on. */
static int read_entry(const struct buf *table, size_t *at, struct authenticode_signature *s,
                      const struct authenticode_digests *digests, unsigned *missing,
                      struct error *e)
{
        const uint8_t *p = table->data + *at;
        uint64_t left = table->len - *at, length, step;
        unsigned revision, type;

        if (left < ENTRY_HEADER_SIZE)
                return bad(e, "%llu bytes are left where an entry should begin",
                           (unsigned long long)left);
        length = le32_at(p);
        revision = le16_at(p + 4);
        type = le16_at(p + 6);
        if (length <= ENTRY_HEADER_SIZE || length > left || align_up_u64(length, 8, &step) < 0 ||
            step > left)
                return bad(e, "entry of %llu bytes where %llu are left", (unsigned long long)length,
                           (unsigned long long)left);
        *at += (size_t)step;
        if (type != ENTRY_TYPE_PKCS7 || revision != ENTRY_REVISION) {
                (void)fail(s, AUTHENTICODE_UNSUPPORTED,
                           "entry of type %#x, revision %#x: not an Authenticode signature", type,
                           revision);
                return 0;
        }
        ERR_clear_error();
        check_entry(s, p + ENTRY_HEADER_SIZE, (size_t)length - ENTRY_HEADER_SIZE, digests, missing);
        ERR_clear_error();
        return s->no_memory ? error_oom(e) : 0;
}

static int read_table(const struct buf *table, const struct authenticode_digests *digests,
                      struct authenticode_signatures **ret, unsigned *missing, struct error *e)
{
        _cleanup_(authenticode_signatures_free_p) struct authenticode_signatures *list =
                calloc(1, sizeof(*list));

        if (!list)
                return error_oom(e);
        for (size_t at = 0; at < table->len;) {
                int r;

                if (list->n == LIMIT_PE_SIGNATURES)
                        return error_set(e, ERROR_REFUSED, E2BIG,
                                         "certificate table: more than %u entries",
                                         LIMIT_PE_SIGNATURES);
                r = read_entry(table, &at, &list->at[list->n++], digests, missing, e);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(list);
        return 0;
}

int authenticode_signatures_read(const struct buf *table,
                                 const struct authenticode_digests *digests,
                                 struct authenticode_signatures **ret, struct error *e)
{
        _cleanup_(authenticode_signatures_free_p) struct authenticode_signatures *list = NULL;
        unsigned missing = 0;
        int r = read_table(table, digests, &list, &missing, e);

        if (r < 0)
                return r;
        if (missing)
                return error_set(e, ERROR_INTERNAL, EINVAL, "a digest of the image is missing");
        *ret = TAKE_PTR(list);
        return 0;
}

unsigned authenticode_signatures_missing(const struct buf *table,
                                         const struct authenticode_digests *digests)
{
        _cleanup_(authenticode_signatures_free_p) struct authenticode_signatures *list = NULL;
        unsigned missing = 0;

        return read_table(table, digests, &list, &missing, NULL) < 0 ? 0 : missing;
}

void authenticode_signatures_free(struct authenticode_signatures *list)
{
        if (!list)
                return;
        for (unsigned i = 0; i < list->n; i++)
                PKCS7_free(list->at[i].p7);
        free(list);
}
