/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verdicts over images, keys, chains and databases made here. With arguments the program decides
 * about files instead (see probe()), so that tests with foreign tools can ask it.
 */
#include "upgrade/trust.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>

#include "base/num.h"
#include "tests/support/peimage.h"
#include "tests/support/signing.h"

/* root signs middle, middle signs leaf; alone is nobody's. */
static struct signing_identity root, middle, leaf, alone, expired, early;
static struct sigdb *none;

static int set_up(void **state)
{
        (void)state;
        signing_identity(&root, EVP_RSA_gen(2048), "root", NULL, true, 0, 3600);
        signing_identity(&middle, EVP_RSA_gen(2048), "middle", &root, true, 0, 3600);
        signing_identity(&leaf, EVP_RSA_gen(2048), "leaf", &middle, false, 0, 3600);
        signing_identity(&alone, EVP_EC_gen("P-256"), "alone", NULL, false, 0, 3600);
        signing_identity(&expired, EVP_EC_gen("P-256"), "expired", NULL, false, -7200, -3600);
        signing_identity(&early, EVP_EC_gen("P-256"), "early", NULL, false, 3600, 7200);
        none = sigdb_new();
        assert_non_null(none);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        signing_drop(&root);
        signing_drop(&middle);
        signing_drop(&leaf);
        signing_drop(&alone);
        signing_drop(&expired);
        signing_drop(&early);
        sigdb_free(none);
        return 0;
}

/* --- verdicts --- */

/* With no more digests than are needed, the decision is the same. */
static void expect_same(const struct buf *image, const struct sigdb *db, const struct sigdb *dbx,
                        enum trust_verdict v)
{
        const unsigned mask = trust_digests(db, dbx);
        _cleanup_(authenticode_image_free_p) struct authenticode_image *i = NULL, *more = NULL;
        _cleanup_free_ struct trust_report *report = NULL;
        unsigned missing;

        signing_read_with(image, mask, &i);
        missing = trust_missing(i);
        assert_int_equal(missing & mask, 0);
        if (missing) {
                assert_int_equal(trust_check(i, db, dbx, &report, NULL), -EINVAL);
                signing_read_with(image, mask | missing, &more);
        }
        assert_int_equal(trust_check(more ?: i, db, dbx, &report, NULL), 0);
        assert_int_equal(report->verdict, v);
}

static enum trust_verdict verdict(const struct buf *image, const struct sigdb *db,
                                  const struct sigdb *dbx)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *i = NULL;
        _cleanup_free_ struct trust_report *report = NULL;
        const struct sigdb_entry *authority;
        struct error e = ERROR_INIT;
        enum trust_verdict v;
        int r;

        if (signing_read(image, 4096, &i, &e) < 0)
                return TRUST_VERDICT_MAX;
        assert_int_equal(trust_check(i, db, dbx, &report, &e), 0);
        v = report->verdict;
        expect_same(image, db, dbx, v);
        assert_true(v < TRUST_VERDICT_MAX);
        authority = trust_authority(report);
        assert_int_equal(authority != NULL, v == TRUST_ALLOWED_BY_SIGNATURE);
        if (authority)
                assert_ptr_equal(sigdb_find_cert(db, authority->cert), authority);
        r = trust_enforce(report, &e);
        if (v == TRUST_ALLOWED_BY_SIGNATURE || v == TRUST_ALLOWED_BY_HASH) {
                assert_int_equal(r, 0);
        } else {
                assert_true(r < 0);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_int_equal(e.code, -r);
                assert_true(e.advice[0] != '\0' && report->why[0] != '\0');
        }
        return v;
}

static bool allowed(enum trust_verdict v)
{
        return v == TRUST_ALLOWED_BY_SIGNATURE || v == TRUST_ALLOWED_BY_HASH;
}

/* Image signed by id as how says, against a db of these certificates (NULL ends). */
static enum trust_verdict verdict_of(const struct signing_identity *id,
                                     const struct signing_how *how, const X509 *in_db,
                                     const X509 *in_dbx)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new(), *dbx = sigdb_new();
        const struct signing_how plain = {0};

        if (in_db)
                signing_add_cert(db, in_db);
        if (in_dbx)
                signing_add_cert(dbx, in_dbx);
        signing_image(&image);
        signing_sign_how(&image, id, how ? how : &plain);
        return verdict(&image, db, dbx);
}

#define with_middle (&(const struct signing_how){.more = &middle})

static void test_anchors(void **state)
{
        (void)state;
        /* The certificate of db may be any one of the chain. */
        assert_int_equal(verdict_of(&alone, NULL, alone.cert, NULL), TRUST_ALLOWED_BY_SIGNATURE);
        assert_int_equal(verdict_of(&leaf, NULL, leaf.cert, NULL), TRUST_ALLOWED_BY_SIGNATURE);
        assert_int_equal(verdict_of(&leaf, NULL, middle.cert, NULL), TRUST_ALLOWED_BY_SIGNATURE);
        assert_int_equal(verdict_of(&leaf, with_middle, middle.cert, NULL),
                         TRUST_ALLOWED_BY_SIGNATURE);
        assert_int_equal(verdict_of(&leaf, with_middle, root.cert, NULL),
                         TRUST_ALLOWED_BY_SIGNATURE);
        /* Without the link there is no chain, and siblings are no relation. */
        assert_int_equal(verdict_of(&leaf, NULL, root.cert, NULL), TRUST_DENIED_UNKNOWN_KEY);
        assert_int_equal(verdict_of(&leaf, NULL, alone.cert, NULL), TRUST_DENIED_UNKNOWN_KEY);
        assert_int_equal(verdict_of(&middle, NULL, leaf.cert, NULL), TRUST_DENIED_UNKNOWN_KEY);
        assert_int_equal(verdict_of(&leaf, NULL, NULL, NULL), TRUST_DENIED_UNKNOWN_KEY);
        /* Firmware knows no time. */
        assert_int_equal(verdict_of(&expired, NULL, expired.cert, NULL),
                         TRUST_ALLOWED_BY_SIGNATURE);
        assert_int_equal(verdict_of(&early, NULL, early.cert, NULL), TRUST_ALLOWED_BY_SIGNATURE);
}

/* A certificate that is no CA cannot hand on trust, and neither can a name alone. */
static void test_false_issuers(void **state)
{
        struct signing_identity child, twin, grandchild;

        (void)state;
        signing_identity(&child, EVP_EC_gen("P-256"), "child", &alone, false, 0, 3600);
        signing_identity(&twin, EVP_RSA_gen(2048), "middle", NULL, true, 0, 3600);
        signing_identity(&grandchild, EVP_EC_gen("P-256"), "grandchild", &twin, false, 0, 3600);
        assert_int_equal(verdict_of(&child, NULL, alone.cert, NULL), TRUST_DENIED_UNKNOWN_KEY);
        assert_int_equal(verdict_of(&grandchild, NULL, middle.cert, NULL),
                         TRUST_DENIED_UNKNOWN_KEY);
        assert_int_equal(verdict_of(&grandchild, NULL, twin.cert, NULL),
                         TRUST_ALLOWED_BY_SIGNATURE);
        signing_drop(&child);
        signing_drop(&twin);
        signing_drop(&grandchild);
}

static void test_algorithms(void **state)
{
        static const struct {
                int image_hash, sign_hash;
                enum trust_verdict verdict;
        } hashes[] = {
                {NID_sha256, NID_sha256, TRUST_ALLOWED_BY_SIGNATURE},
                {NID_sha384, NID_sha384, TRUST_ALLOWED_BY_SIGNATURE},
                {NID_sha512, NID_sha512, TRUST_ALLOWED_BY_SIGNATURE},
                /* Firmware hashes the image with the first algorithm of the set. */
                {NID_sha256, NID_sha384, TRUST_DENIED_MALFORMED},
                {NID_sha512, NID_sha256, TRUST_DENIED_MALFORMED},
                {NID_sha256, NID_sha1, TRUST_DENIED_UNSUPPORTED},
                {NID_sha256, NID_md5, TRUST_DENIED_UNSUPPORTED},
        };
        static const struct {
                const char *curve; /* NULL: RSA */
                unsigned bits;
                enum trust_verdict verdict;
        } keys[] = {
                {"P-256", 0, TRUST_ALLOWED_BY_SIGNATURE},
                {"P-384", 0, TRUST_ALLOWED_BY_SIGNATURE},
                {"P-521", 0, TRUST_ALLOWED_BY_SIGNATURE},
                {"secp256k1", 0, TRUST_DENIED_UNSUPPORTED},
                {NULL, 1024, TRUST_DENIED_UNSUPPORTED},
                {NULL, 3072, TRUST_ALLOWED_BY_SIGNATURE},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
                const struct signing_how how = {.image_hash = hashes[i].image_hash,
                                                .sign_hash = hashes[i].sign_hash};

                assert_int_equal(verdict_of(&leaf, &how, leaf.cert, NULL), hashes[i].verdict);
        }
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                struct signing_identity id;

                signing_identity(
                        &id, keys[i].curve ? EVP_EC_gen(keys[i].curve) : EVP_RSA_gen(keys[i].bits),
                        "key", NULL, false, 0, 3600);
                assert_int_equal(verdict_of(&id, NULL, id.cert, NULL), keys[i].verdict);
                signing_drop(&id);
        }
}

static void test_broken_signatures(void **state)
{
        static const struct {
                struct signing_how how;
                enum trust_verdict verdict;
        } table[] = {
                {{.no_attributes = true}, TRUST_ALLOWED_BY_SIGNATURE},
                {{.wrong_attribute = true}, TRUST_DENIED_TAMPERED},
                {{.counterfeit = &middle}, TRUST_DENIED_TAMPERED},
                {{.counterfeit = &middle, .no_attributes = true}, TRUST_DENIED_TAMPERED},
                {{.no_attributes = true, .wrong_attribute = true}, TRUST_DENIED_TAMPERED},
                {{.no_cert = true, .more = &middle}, TRUST_DENIED_MALFORMED},
                {{.second = &alone, .more = &alone}, TRUST_DENIED_MALFORMED},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(verdict_of(&leaf, &table[i].how, leaf.cert, NULL),
                                 table[i].verdict);
}

/* The signer's digest algorithm counts too, whatever stands in front. SHA-224 is one letter away.
 */
static void test_signer_digest(void **state)
{
        static const uint8_t sha256_oid[] = {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01};
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        uint8_t *last = NULL, *p;

        (void)state;
        signing_add_cert(db, leaf.cert);
        signing_image(&image);
        signing_sign(&image, &leaf);
        for (p = image.data; p; last = p ? p++ : last)
                p = memmem(p, image.len - (size_t)(p - image.data), sha256_oid, sizeof(sha256_oid));
        assert_non_null(last);
        last[sizeof(sha256_oid) - 1] = 4;
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_UNSUPPORTED);
}

/* Firmware steps from entry to entry by multiples of eight and has to arrive at the very end. */
static void test_table_without_padding(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        uint32_t size;

        (void)state;
        signing_add_cert(db, alone.cert);
        signing_image(&image);
        signing_sign(&image, &alone);
        signing_attach(&image, 2, "123456", 6);
        assert_int_equal(verdict(&image, db, none), TRUST_ALLOWED_BY_SIGNATURE);
        image.len -= 2;
        size = le32_at(image.data + PEIMAGE_SECURITY + 4);
        put_le32(image.data + PEIMAGE_SECURITY + 4, size - 2);
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_MALFORMED);
}

/* Whatever byte of the file is changed, the image is not what was signed. */
static void test_tampering(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        size_t content;

        (void)state;
        signing_add_cert(db, alone.cert);
        signing_image(&image);
        content = image.len;
        signing_sign(&image, &alone);
        for (size_t at = 0; at < image.len; at++) {
                enum trust_verdict v;

                image.data[at] ^= 0x10;
                v = verdict(&image, db, none);
                if (at >= PEIMAGE_CHECKSUM && at < PEIMAGE_CHECKSUM + 4)
                        assert_int_equal(v, TRUST_ALLOWED_BY_SIGNATURE);
                else if (at >= PEIMAGE_SECURITY && at < PEIMAGE_SECURITY + 8)
                        assert_false(allowed(v));
                else if (at >= PEIMAGE_TABLE + 80 && at < content)
                        assert_int_equal(v, TRUST_DENIED_TAMPERED);
                else if (at < content)
                        assert_false(allowed(v));
                image.data[at] ^= 0x10;
        }
        assert_int_equal(verdict(&image, db, none), TRUST_ALLOWED_BY_SIGNATURE);
}

/* In the table, only what stands outside of signed structures may change without harm. */
static void test_tampered_table(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX),
                                       der = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        const struct signing_how how = {0};
        size_t content, tolerated = 0;
        uint8_t *signature;

        (void)state;
        signing_add_cert(db, leaf.cert);
        signing_image(&image);
        signing_make(&image, &leaf, &how, &der);
        content = image.len;
        signing_attach(&image, 2, der.data, der.len);
        for (size_t at = content; at < image.len; at++) {
                image.data[at] ^= 1;
                if (allowed(verdict(&image, db, none)))
                        tolerated++;
                image.data[at] ^= 1;
        }
        /* Versions, NULL parameters, padding: no more than a few dozen bytes. */
        assert_true(tolerated < 64);
        /* The signature value is the last thing in the DER. */
        for (unsigned i = 0; i < 256; i++) {
                signature = image.data + content + 8 + der.len - 256 + i;
                *signature ^= 1;
                assert_int_equal(verdict(&image, db, none), TRUST_DENIED_TAMPERED);
                *signature ^= 1;
        }
}

static void test_ends(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        size_t whole;

        (void)state;
        signing_add_cert(db, alone.cert);
        signing_image(&image);
        signing_sign(&image, &alone);
        whole = image.len;
        for (size_t n = 0; n < whole; n += 13) {
                image.len = n;
                assert_int_equal(verdict(&image, db, none), TRUST_VERDICT_MAX);
        }
        image.len = whole;
        assert_int_equal(buf_add(&image, "", 1), 0);
        assert_int_equal(verdict(&image, db, none), TRUST_VERDICT_MAX);
        assert_int_equal(buf_add(&image, "12345678", 7), 0);
        assert_int_equal(verdict(&image, db, none), TRUST_VERDICT_MAX);
        /* Inside of the table, an attachment that is no entry spoils the whole. */
        put_le32(image.data + PEIMAGE_SECURITY + 4, le32_at(image.data + PEIMAGE_SECURITY + 4) + 8);
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_MALFORMED);
}

/* --- several signatures --- */

static void test_several(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX),
                                       other = BUF_INIT(SIGNING_IMAGE_MAX),
                                       foreign = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        const struct signing_how how = {0};

        (void)state;
        signing_add_cert(db, alone.cert);
        signing_image(&image);
        signing_image(&other);
        other.data[other.len - 1] ^= 1;
        signing_make(&other, &alone, &how, &foreign);

        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_UNSIGNED);
        signing_attach(&image, 0x0ef1, "something else", 14);
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_UNSUPPORTED);
        signing_attach(&image, 2, "no signature at all", 19);
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_MALFORMED);
        signing_attach(&image, 2, foreign.data, foreign.len);
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_TAMPERED);
        signing_sign(&image, &leaf);
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_UNKNOWN_KEY);
        signing_sign(&image, &alone);
        assert_int_equal(verdict(&image, db, none), TRUST_ALLOWED_BY_SIGNATURE);
        signing_sign(&image, &expired);
        assert_int_equal(verdict(&image, db, none), TRUST_ALLOWED_BY_SIGNATURE);
}

/* What firmware begins to read and cannot finish counts as forbidden. */
static void test_fatal_beside_good(void **state)
{
        static const struct signing_how no_cert = {.no_cert = true};
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();

        (void)state;
        signing_add_cert(db, alone.cert);
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX),
                                               der = BUF_INIT(SIGNING_IMAGE_MAX);

                signing_image(&image);
                signing_sign(&image, &alone);
                signing_make(&image, &leaf, i == 0 ? &no_cert : &(const struct signing_how){0},
                             &der);
                if (i == 1)
                        der.len -= 10;
                signing_attach(&image, 2, der.data, der.len);
                assert_int_equal(verdict(&image, db, none), TRUST_DENIED_MALFORMED);
        }
}

static void test_too_many(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();

        (void)state;
        signing_add_cert(db, alone.cert);
        signing_image(&image);
        for (unsigned i = 0; i < LIMIT_PE_SIGNATURES; i++)
                signing_sign(&image, &alone);
        assert_int_equal(verdict(&image, db, none), TRUST_ALLOWED_BY_SIGNATURE);
        signing_sign(&image, &alone);
        assert_int_equal(verdict(&image, db, none), TRUST_DENIED_MALFORMED);
}

/* --- hashes and revocation --- */

static void test_hashes(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        struct authenticode_digests d;

        (void)state;
        signing_image(&image);
        signing_digests(&image, &d);
        for (unsigned signed_too = 0; signed_too < 2; signed_too++) {
                for (enum authenticode_hash h = 0; h < AUTHENTICODE_HASH_MAX; h++) {
                        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new(), *dbx = sigdb_new();
                        enum trust_verdict denied =
                                signed_too ? TRUST_DENIED_UNKNOWN_KEY : TRUST_DENIED_UNSIGNED;

                        signing_add_hash(db, &d, h);
                        /* SHA-256 is what both the signature uses and unsigned images need. */
                        assert_int_equal(verdict(&image, db, none),
                                         h == AUTHENTICODE_SHA256 ? TRUST_ALLOWED_BY_HASH : denied);
                        signing_add_hash(dbx, &d, h);
                        signing_add_cert(db, alone.cert);
                        assert_int_equal(verdict(&image, db, dbx), TRUST_DENIED_REVOKED_IMAGE);
                        assert_int_equal(verdict(&image, db, none),
                                         signed_too                 ? TRUST_ALLOWED_BY_SIGNATURE
                                         : h == AUTHENTICODE_SHA256 ? TRUST_ALLOWED_BY_HASH
                                                                    : denied);
                }
                signing_sign(&image, &alone);
        }
        /* A hash does not help beside a table that firmware cannot walk. */
        signing_attach(&image, 2, "", 0);
        {
                _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();

                signing_add_hash(db, &d, AUTHENTICODE_SHA256);
                assert_int_equal(verdict(&image, db, none), TRUST_DENIED_MALFORMED);
        }
}

static void test_revoked_certificates(void **state)
{
        (void)state;
        assert_int_equal(verdict_of(&alone, NULL, alone.cert, alone.cert),
                         TRUST_DENIED_REVOKED_CERT);
        assert_int_equal(verdict_of(&leaf, NULL, middle.cert, leaf.cert),
                         TRUST_DENIED_REVOKED_CERT);
        assert_int_equal(verdict_of(&leaf, NULL, leaf.cert, middle.cert),
                         TRUST_DENIED_REVOKED_CERT);
        assert_int_equal(verdict_of(&leaf, with_middle, root.cert, middle.cert),
                         TRUST_DENIED_REVOKED_CERT);
        assert_int_equal(verdict_of(&leaf, with_middle, leaf.cert, root.cert),
                         TRUST_DENIED_REVOKED_CERT);
        assert_int_equal(verdict_of(&leaf, with_middle, root.cert, alone.cert),
                         TRUST_ALLOWED_BY_SIGNATURE);
        /* Revocation comes before not being known. */
        assert_int_equal(verdict_of(&alone, NULL, root.cert, alone.cert),
                         TRUST_DENIED_REVOKED_CERT);
}

static void test_revoked_by_tbs(void **state)
{
        struct signing_identity *chain[] = {&leaf, &middle, &root};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(chain); i++)
                for (enum authenticode_hash h = 0; h < AUTHENTICODE_HASH_MAX; h++)
                        for (uint16_t year = 0; year < 2999; year = (uint16_t)(year + 2030)) {
                                _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
                                _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new(),
                                                                     *dbx = sigdb_new();

                                signing_add_cert(db, root.cert);
                                signing_add_cert(db, alone.cert);
                                signing_add_tbs(dbx, chain[i]->cert, h, year);
                                signing_image(&image);
                                signing_sign_how(&image, &leaf, with_middle);
                                assert_int_equal(verdict(&image, db, none),
                                                 TRUST_ALLOWED_BY_SIGNATURE);
                                assert_int_equal(verdict(&image, db, dbx),
                                                 TRUST_DENIED_REVOKED_CERT);
                                /* A good signature helps, but not against a revoked signer. */
                                signing_sign(&image, &alone);
                                assert_int_equal(verdict(&image, db, dbx),
                                                 chain[i] == &leaf ? TRUST_DENIED_REVOKED_CERT
                                                                   : TRUST_ALLOWED_BY_SIGNATURE);
                        }
}

/* Which of two anchors comes first in db does not matter. */
static void test_revoked_anchor_beside_another(void **state)
{
        (void)state;
        for (unsigned order = 0; order < 2; order++) {
                _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
                _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new(), *dbx = sigdb_new();

                signing_add_cert(db, order ? root.cert : leaf.cert);
                signing_add_cert(db, order ? leaf.cert : root.cert);
                signing_add_tbs(dbx, root.cert, AUTHENTICODE_SHA256, 0);
                signing_image(&image);
                signing_sign_how(&image, &leaf, with_middle);
                assert_int_equal(verdict(&image, db, dbx), TRUST_DENIED_REVOKED_CERT);
        }
}

/* A good signature does not outweigh a valid one under a certificate of dbx. */
static void test_revoked_beside_good(void **state)
{
        (void)state;
        for (unsigned order = 0; order < 2; order++) {
                _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
                _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new(), *dbx = sigdb_new();

                signing_add_cert(db, alone.cert);
                signing_add_cert(dbx, expired.cert);
                signing_image(&image);
                signing_sign(&image, order ? &alone : &expired);
                signing_sign(&image, order ? &expired : &alone);
                assert_int_equal(verdict(&image, db, dbx), TRUST_DENIED_REVOKED_CERT);
                assert_int_equal(verdict(&image, db, none), TRUST_ALLOWED_BY_SIGNATURE);
        }
}

/* --- the report, and asking about files --- */

static void test_report(void **state)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *i = NULL;
        _cleanup_free_ struct trust_report *report = NULL;
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        const struct trust_signature *t;

        (void)state;
        signing_add_cert(db, root.cert);
        signing_image(&image);
        signing_sign(&image, &alone);
        signing_sign_how(&image, &leaf, with_middle);
        assert_int_equal(signing_read(&image, 4096, &i, NULL), 0);
        assert_int_equal(trust_check(i, db, none, &report, NULL), 0);
        assert_int_equal(report->verdict, TRUST_ALLOWED_BY_SIGNATURE);
        assert_int_equal(report->n_signatures, 2);
        assert_int_equal(report->signatures[0].result, TRUST_SIGNATURE_UNKNOWN);
        assert_string_equal(report->signatures[0].anchor, "");
        t = &report->signatures[1];
        assert_int_equal(t->result, TRUST_GOOD);
        assert_true(t->hash_known);
        assert_int_equal(t->hash, AUTHENTICODE_SHA256);
        assert_string_equal(t->signer, "CN=leaf");
        assert_string_equal(t->issuer, "CN=middle");
        assert_string_equal(t->anchor, "CN=root");
        assert_int_equal(t->n_chain, 3);
        assert_string_equal(t->chain[0], "CN=leaf");
        assert_string_equal(t->chain[1], "CN=middle");
        assert_string_equal(t->chain[2], "CN=root");
        assert_non_null(strstr(report->why, "CN=root"));
}

/* Verdicts differ in errno, name and text; what nobody filled in is a denial. */
static void test_enforce(void **state)
{
        struct error seen[TRUST_VERDICT_MAX] = {0};

        (void)state;
        for (enum trust_verdict v = 0; v < TRUST_VERDICT_MAX; v++) {
                struct trust_report report = {.verdict = v, .why = "because"};
                int r = trust_enforce(&report, &seen[v]);

                assert_int_equal(r == 0,
                                 v == TRUST_ALLOWED_BY_SIGNATURE || v == TRUST_ALLOWED_BY_HASH);
                assert_non_null(trust_verdict_name(v));
                for (enum trust_verdict w = 0; r < 0 && w < v; w++) {
                        assert_int_not_equal(seen[w].code, seen[v].code);
                        assert_string_not_equal(seen[w].text, seen[v].text);
                        assert_string_not_equal(seen[w].advice, seen[v].advice);
                        assert_string_not_equal(trust_verdict_name(w), trust_verdict_name(v));
                }
        }
        {
                const struct trust_report nothing = {0};

                assert_true(trust_enforce(&nothing, NULL) < 0);
                assert_int_not_equal(nothing.signatures[0].result, TRUST_GOOD);
        }
}

static void test_missing_digest(void **state)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *i = NULL;
        static const struct peimage_section one = {.name = ".text", .data = "code", .size = 4};
        _cleanup_close_ int fd = peimage_make(&one, 1);
        _cleanup_(sigdb_free_p) struct sigdb *long_hashes = sigdb_new();
        const struct authenticode_digests zeros = {0};
        struct trust_report *report = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        signing_add_hash(long_hashes, &zeros, AUTHENTICODE_SHA512);
        assert_int_equal(trust_digests(none, long_hashes),
                         AUTHENTICODE_MASK(AUTHENTICODE_SHA256) |
                                 AUTHENTICODE_MASK(AUTHENTICODE_SHA512));
        assert_int_equal(trust_digests(NULL, NULL), AUTHENTICODE_MASK(AUTHENTICODE_SHA256));
        assert_int_equal(
                authenticode_image_read(fd, AUTHENTICODE_MASK(AUTHENTICODE_SHA256), &i, NULL), 0);
        assert_int_equal(trust_check(i, long_hashes, none, &report, &e), -EINVAL);
        assert_int_equal(trust_check(i, none, long_hashes, &report, &e), -EINVAL);
        assert_int_equal(e.class, ERROR_INTERNAL);
        assert_null(report);
}

static int probe_files(int fd, char **words, struct sigdb *db, struct sigdb *dbx, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        _cleanup_free_ struct trust_report *report = NULL;
        int r = 0;

        for (; r == 0 && words[0] && words[1]; words += 2)
                r = sigdb_add_file(strcmp(words[0], "--dbx") == 0 ? dbx : db, words[1], e);
        if (r == 0)
                r = authenticode_image_read(fd, AUTHENTICODE_MASK_ALL, &image, e);
        if (r == 0)
                r = trust_check(image, db, dbx, &report, e);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < report->n_signatures; i++)
                printf("signature: %s: %s\n", trust_result_name(report->signatures[i].result),
                       report->signatures[i].why);
        printf("verdict: %s: %s\n", trust_verdict_name(report->verdict), report->why);
        return trust_enforce(report, e);
}

/* test_trust IMAGE [--db FILE | --dbx FILE]...: exit status 0 allowed, 6 refused. */
static int probe(char **words)
{
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new(), *dbx = sigdb_new();
        _cleanup_close_ int fd = open(words[0], O_RDONLY | O_CLOEXEC);
        struct error e = ERROR_INIT;

        if (fd < 0 || !db || !dbx)
                return ERROR_INTERNAL;
        if (probe_files(fd, words + 1, db, dbx, &e) == 0)
                return 0;
        printf("error: %s\n", e.text);
        return error_exit_code(e.class);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_anchors),
                cmocka_unit_test(test_false_issuers),
                cmocka_unit_test(test_algorithms),
                cmocka_unit_test(test_broken_signatures),
                cmocka_unit_test(test_signer_digest),
                cmocka_unit_test(test_table_without_padding),
                cmocka_unit_test(test_tampering),
                cmocka_unit_test(test_tampered_table),
                cmocka_unit_test(test_ends),
                cmocka_unit_test(test_several),
                cmocka_unit_test(test_fatal_beside_good),
                cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_hashes),
                cmocka_unit_test(test_revoked_certificates),
                cmocka_unit_test(test_revoked_by_tbs),
                cmocka_unit_test(test_revoked_anchor_beside_another),
                cmocka_unit_test(test_revoked_beside_good),
                cmocka_unit_test(test_report),
                cmocka_unit_test(test_enforce),
                cmocka_unit_test(test_missing_digest),
        };

        if (argc > 1)
                return probe(argv + 1);
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
