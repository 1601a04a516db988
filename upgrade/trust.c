/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/trust.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "partition/pcr7.h"
#include "upgrade/authenticode_signature.h"

static void store_free_p(X509_STORE **store)
{
        X509_STORE_free(*store);
        *store = NULL;
}

static void ctx_free_p(X509_STORE_CTX **ctx)
{
        X509_STORE_CTX_free(*ctx);
        *ctx = NULL;
}

static void bio_free_p(BIO **bio)
{
        BIO_free_all(*bio);
        *bio = NULL;
}

static void _printf_(2, 3) say(char why[TRUST_WHY_SIZE], const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(why, TRUST_WHY_SIZE, fmt, ap);
        va_end(ap);
}

/* "CN=..., O=..."; control characters and what is not ASCII are escaped, so a cut harms nothing. */
static void name_text(const X509_NAME *name, char ret[TRUST_NAME_SIZE])
{
        const unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)XN_FLAG_DN_REV;
        _cleanup_(bio_free_p) BIO *bio = BIO_new(BIO_s_mem());
        int n = 0;

        if (bio && X509_NAME_print_ex(bio, name, 0, flags) >= 0)
                n = BIO_read(bio, ret, (int)TRUST_NAME_SIZE - 1);
        ret[n > 0 ? n : 0] = '\0';
}

/* --- chains --- */

/*
 * Whether the chain from the signer, completed by the certificates beside it, ends at anchor; if so
 * *ret gets the context with the chain. As in firmware: any certificate can be the anchor, times
 * and purposes do not matter.
 */
static int reaches(const struct authenticode_signature *s, X509 *anchor, X509_STORE_CTX **ret)
{
        _cleanup_(store_free_p) X509_STORE *store = X509_STORE_new();
        _cleanup_(ctx_free_p) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
        int r;

        if (!store || !ctx || X509_STORE_add_cert(store, anchor) != 1 ||
            X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME) !=
                    1 ||
            X509_STORE_set_purpose(store, X509_PURPOSE_ANY) != 1 ||
            X509_STORE_CTX_init(ctx, store, s->signer, s->p7->d.sign->cert) != 1)
                return -ENOMEM;
        r = X509_verify_cert(ctx) == 1;
        ERR_clear_error();
        if (r == 1)
                *ret = TAKE_PTR(ctx);
        return r;
}

/* The certificate of dbx that the chain ends at or contains; 1, or 0 when there is none. */
static int find_revoked(const struct authenticode_signature *s, const struct sigdb *dbx,
                        char ret[TRUST_NAME_SIZE])
{
        const struct sigdb_entry *entry;
        int r = 0;

        for (size_t i = 0; r == 0 && (entry = sigdb_at(dbx, i)); i++) {
                _cleanup_(ctx_free_p) X509_STORE_CTX *ctx = NULL;

                if (entry->type != SIGDB_X509)
                        continue;
                r = reaches(s, entry->cert, &ctx);
                if (r == 1)
                        name_text(X509_get_subject_name(entry->cert), ret);
        }
        return r;
}

static void revoked_by_tbs(struct trust_signature *t, const X509 *cert,
                           const struct sigdb_entry *entry)
{
        const struct sigdb_time *time = &entry->revoked;
        char name[TRUST_NAME_SIZE], since[32] = "";

        name_text(X509_get_subject_name(cert), name);
        if (time->year != 0)
                (void)snprintf(since, sizeof(since), " since %04u-%02u-%02u", time->year,
                               time->month, time->day);
        t->result = TRUST_SIGNATURE_REVOKED;
        say(t->why, "the hash of the certificate %s is in dbx%s", name, since);
}

/* Fills in the chain, and looks for its certificates in dbx. */
static void report_chain(struct trust_signature *t, X509_STORE_CTX *ctx, const struct sigdb *dbx)
{
        STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
        const int n = sk_X509_num(chain);

        t->result = TRUST_GOOD;
        t->n_chain = 0;
        for (int i = 0; i < n && t->n_chain < TRUST_CHAIN_MAX; i++)
                name_text(X509_get_subject_name(sk_X509_value(chain, i)), t->chain[t->n_chain++]);
        name_text(X509_get_subject_name(sk_X509_value(chain, n - 1)), t->anchor);
        for (int i = 0; i < n; i++) {
                const X509 *cert = sk_X509_value(chain, i);
                const struct sigdb_entry *entry = sigdb_find_tbs(dbx, cert);

                if (entry)
                        revoked_by_tbs(t, cert, entry);
        }
        if (t->result == TRUST_GOOD)
                say(t->why, "signed by %s; in db: %s", t->signer, t->anchor);
}

/* Any chain with a revoked certificate spoils the signature: which anchor comes first in db must
 * not matter. */
static int check_anchors(struct trust_signature *t, const struct authenticode_signature *s,
                         const struct sigdb *db, const struct sigdb *dbx)
{
        const struct sigdb_entry *entry;
        int r = 0;

        t->result = TRUST_SIGNATURE_UNKNOWN;
        say(t->why, "signed by %s; neither this certificate nor one of its issuers is in db",
            t->signer);
        for (size_t i = 0; t->result != TRUST_SIGNATURE_REVOKED && (entry = sigdb_at(db, i)); i++) {
                _cleanup_(ctx_free_p) X509_STORE_CTX *ctx = NULL;
                struct trust_signature other = *t;

                if (entry->type != SIGDB_X509)
                        continue;
                r = reaches(s, entry->cert, &ctx);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                report_chain(&other, ctx, dbx);
                other.anchor_entry = entry;
                if (t->result != TRUST_GOOD || other.result != TRUST_GOOD)
                        *t = other;
        }
        return 0;
}

/* --- one signature --- */

static enum trust_result result_of(enum authenticode_state state)
{
        switch (state) {
        case AUTHENTICODE_VALID:
                return TRUST_GOOD;
        case AUTHENTICODE_MISMATCH:
                return TRUST_SIGNATURE_MISMATCH;
        case AUTHENTICODE_UNSUPPORTED:
                return TRUST_SIGNATURE_UNSUPPORTED;
        case AUTHENTICODE_MALFORMED:
        default:
                return TRUST_SIGNATURE_MALFORMED;
        }
}

/* *ret_fatal: this signature denies the image, whatever the others are. */
static int check_signature(const struct authenticode_signature *s, const struct sigdb *db,
                           const struct sigdb *dbx, struct trust_signature *t, bool *ret_fatal)
{
        char revoked[TRUST_NAME_SIZE];
        const struct sigdb_entry *tbs;
        int r;

        t->hash_known = s->hash_known;
        t->hash = s->hash;
        t->result = result_of(s->state);
        say(t->why, "%s", s->why);
        if (!s->signer) {
                /* Firmware takes what it cannot read at this point for forbidden. */
                *ret_fatal = s->hash_known;
                return 0;
        }
        name_text(X509_get_subject_name(s->signer), t->signer);
        name_text(X509_get_issuer_name(s->signer), t->issuer);
        tbs = s->hash_known ? sigdb_find_tbs(dbx, s->signer) : NULL;
        if (tbs) {
                revoked_by_tbs(t, s->signer, tbs);
                *ret_fatal = true;
                return 0;
        }
        if (s->state != AUTHENTICODE_VALID)
                return 0;
        r = find_revoked(s, dbx, revoked);
        if (r < 0)
                return r;
        if (r == 1) {
                t->result = TRUST_SIGNATURE_REVOKED;
                say(t->why, "the certificate %s is in dbx", revoked);
                *ret_fatal = true;
                return 0;
        }
        return check_anchors(t, s, db, dbx);
}

/* --- the image --- */

static const enum sigdb_type image_type[AUTHENTICODE_HASH_MAX] = {
        [AUTHENTICODE_SHA256] = SIGDB_IMAGE_SHA256,
        [AUTHENTICODE_SHA384] = SIGDB_IMAGE_SHA384,
        [AUTHENTICODE_SHA512] = SIGDB_IMAGE_SHA512,
};

unsigned trust_digests(const struct sigdb *db, const struct sigdb *dbx)
{
        unsigned mask = AUTHENTICODE_MASK(AUTHENTICODE_SHA256);
        const struct sigdb *const both[] = {db, dbx};
        const struct sigdb_entry *entry;

        for (size_t i = 0; i < ARRAY_SIZE(both); i++)
                for (size_t k = 0; both[i] && (entry = sigdb_at(both[i], k)); k++)
                        for (enum authenticode_hash h = 0; h < AUTHENTICODE_HASH_MAX; h++)
                                if (entry->type == image_type[h])
                                        mask |= AUTHENTICODE_MASK(h);
        return mask;
}

unsigned trust_missing(const struct authenticode_image *image)
{
        return authenticode_signatures_missing(authenticode_image_table(image),
                                               authenticode_image_digests(image));
}

/* A digest of the image that is in the database; false when none is. Only those of mask count. */
static bool find_image(const struct authenticode_digests *digests, unsigned mask,
                       const struct sigdb *db, enum authenticode_hash *ret)
{
        for (enum authenticode_hash h = 0; h < AUTHENTICODE_HASH_MAX; h++)
                if ((mask & digests->mask & AUTHENTICODE_MASK(h)) &&
                    sigdb_find_hash(db, image_type[h], digests->value[h])) {
                        *ret = h;
                        return true;
                }
        return false;
}

static void say_hash(struct trust_report *report, enum trust_verdict verdict,
                     const struct authenticode_digests *digests, enum authenticode_hash hash,
                     const char *where)
{
        char hex[2 * AUTHENTICODE_DIGEST_MAX + 1];

        hex_encode(digests->value[hash], authenticode_hash_size(hash), hex);
        report->verdict = verdict;
        say(report->why, "the image's %s digest %s is in %s", authenticode_hash_name(hash), hex,
            where);
}

/* The first signature with this result decides; false when there is none. */
static bool decide_by(struct trust_report *report, enum trust_result result,
                      enum trust_verdict verdict)
{
        for (unsigned i = 0; i < report->n_signatures; i++)
                if (report->signatures[i].result == result) {
                        report->verdict = verdict;
                        say(report->why, "%.300s", report->signatures[i].why);
                        return true;
                }
        return false;
}

/* What a denied image is told: the reason that matters most. A valid signature by an unknown key
 * proves that the image is intact. */
static void decide_denied(struct trust_report *report, bool fatal)
{
        if (report->n_signatures == 0) {
                report->verdict = TRUST_DENIED_UNSIGNED;
                say(report->why, "the image is not signed, and its digest is not in db");
                return;
        }
        if (decide_by(report, TRUST_SIGNATURE_REVOKED, TRUST_DENIED_REVOKED_CERT) ||
            (fatal && decide_by(report, TRUST_SIGNATURE_MALFORMED, TRUST_DENIED_MALFORMED)) ||
            decide_by(report, TRUST_SIGNATURE_UNKNOWN, TRUST_DENIED_UNKNOWN_KEY) ||
            decide_by(report, TRUST_SIGNATURE_MISMATCH, TRUST_DENIED_TAMPERED) ||
            decide_by(report, TRUST_SIGNATURE_MALFORMED, TRUST_DENIED_MALFORMED) ||
            decide_by(report, TRUST_SIGNATURE_UNSUPPORTED, TRUST_DENIED_UNSUPPORTED))
                return;
        report->verdict = TRUST_DENIED_MALFORMED;
        say(report->why, "no signature counts");
}

static void decide(struct trust_report *report, const struct authenticode_digests *digests,
                   const struct sigdb *db, const struct sigdb *dbx, bool fatal)
{
        unsigned mask = report->n_signatures == 0 ? AUTHENTICODE_MASK(AUTHENTICODE_SHA256) : 0;
        enum authenticode_hash hash;

        for (unsigned i = 0; i < report->n_signatures; i++)
                if (report->signatures[i].hash_known)
                        mask |= AUTHENTICODE_MASK(report->signatures[i].hash);
        if (find_image(digests, AUTHENTICODE_MASK_ALL, dbx, &hash))
                say_hash(report, TRUST_DENIED_REVOKED_IMAGE, digests, hash, "dbx");
        else if (fatal)
                decide_denied(report, fatal);
        else if (decide_by(report, TRUST_GOOD, TRUST_ALLOWED_BY_SIGNATURE))
                return;
        else if (find_image(digests, mask, db, &hash))
                say_hash(report, TRUST_ALLOWED_BY_HASH, digests, hash, "db");
        else
                decide_denied(report, fatal);
}

static int check_all(struct trust_report *report, const struct authenticode_image *image,
                     const struct sigdb *db, const struct sigdb *dbx, struct error *e)
{
        const struct authenticode_digests *digests = authenticode_image_digests(image);
        _cleanup_(authenticode_signatures_free_p) struct authenticode_signatures *list = NULL;
        struct error table = ERROR_INIT;
        bool fatal = false;
        int r;

        r = authenticode_signatures_read(authenticode_image_table(image), digests, &list, &table);
        if (r == -EBADMSG || r == -E2BIG) {
                report->verdict = TRUST_DENIED_MALFORMED;
                say(report->why, "%.300s", table.text);
                return 0;
        }
        if (r < 0) {
                if (e)
                        *e = table;
                return r;
        }
        for (unsigned i = 0; i < list->n; i++) {
                r = check_signature(&list->at[i], db, dbx, &report->signatures[i], &fatal);
                if (r < 0)
                        return error_oom(e);
        }
        report->n_signatures = list->n;
        decide(report, digests, db, dbx, fatal);
        return 0;
}

int trust_check(const struct authenticode_image *image, const struct sigdb *db,
                const struct sigdb *dbx, struct trust_report **ret, struct error *e)
{
        _cleanup_free_ struct trust_report *report = NULL;
        int r;

        if (trust_digests(db, dbx) & ~authenticode_image_digests(image)->mask)
                return error_set(e, ERROR_INTERNAL, EINVAL, "a digest of the image is missing");
        report = calloc(1, sizeof(*report));
        if (!report)
                return error_oom(e);
        r = check_all(report, image, db, dbx, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(report);
        return 0;
}

static const struct {
        const char *name;
        int code; /* 0 = allowed */
        const char *text, *advice;
} verdicts[TRUST_VERDICT_MAX] = {
        [TRUST_ALLOWED_BY_SIGNATURE] = {"allowed-by-signature", 0, "", ""},
        [TRUST_ALLOWED_BY_HASH] = {"allowed-by-hash", 0, "", ""},
        [TRUST_DENIED_UNSIGNED] = {"denied-unsigned", ENODATA, "the image is unsigned",
                                   "Sign the image with a key whose certificate is in this "
                                   "machine's db."},
        [TRUST_DENIED_MALFORMED] = {"denied-malformed", EBADMSG,
                                    "the image's signature is malformed",
                                    "Build and sign the image again; get it from its source "
                                    "again if it was altered on the way."},
        [TRUST_DENIED_UNSUPPORTED] = {"denied-unsupported", EOPNOTSUPP,
                                      "the image's signature uses what does not count",
                                      "Sign the image with SHA-256 and an RSA key of at least "
                                      "2048 bits."},
        [TRUST_DENIED_TAMPERED] = {"denied-tampered", EKEYREJECTED,
                                   "the image was changed after it was signed",
                                   "Do not use this file. Get it from its source again and "
                                   "compare its digest with the one that was published."},
        [TRUST_DENIED_UNKNOWN_KEY] = {"denied-unknown-key", ENOKEY,
                                      "the image is not signed by a key in db",
                                      "Sign the image with a key of this machine, or enrol the "
                                      "certificate of its signer into db."},
        [TRUST_DENIED_REVOKED_CERT] = {"denied-revoked-certificate", EKEYREVOKED,
                                       "the image is signed by a revoked certificate",
                                       "Sign the image with a key that dbx does not revoke."},
        [TRUST_DENIED_REVOKED_IMAGE] = {"denied-revoked-image", EPERM, "the image is revoked",
                                        "Use a newer image: dbx forbids this very one."},
};

const struct sigdb_entry *trust_authority(const struct trust_report *report)
{
        if (report->verdict != TRUST_ALLOWED_BY_SIGNATURE)
                return NULL;
        for (unsigned i = 0; i < report->n_signatures; i++)
                if (report->signatures[i].result == TRUST_GOOD)
                        return report->signatures[i].anchor_entry;
        return NULL;
}

int trust_enforce(const struct trust_report *report, struct error *e)
{
        enum trust_verdict v = report->verdict;
        int r;

        if (v >= TRUST_VERDICT_MAX)
                return error_set(e, ERROR_INTERNAL, EINVAL, "no verdict");
        if (verdicts[v].code == 0)
                return 0;
        r = error_set(e, ERROR_REFUSED, verdicts[v].code, "Secure Boot: %s: %s", verdicts[v].text,
                      report->why);
        error_advise(e, "%s", verdicts[v].advice);
        return r;
}

const char *trust_verdict_name(enum trust_verdict verdict)
{
        return verdicts[verdict].name;
}

const char *trust_result_name(enum trust_result result)
{
        static const char *const names[TRUST_RESULT_MAX] = {
                [TRUST_GOOD] = "good",
                [TRUST_SIGNATURE_MALFORMED] = "malformed",
                [TRUST_SIGNATURE_UNSUPPORTED] = "unsupported",
                [TRUST_SIGNATURE_MISMATCH] = "mismatch",
                [TRUST_SIGNATURE_UNKNOWN] = "unknown-key",
                [TRUST_SIGNATURE_REVOKED] = "revoked",
        };

        return names[result];
}

int trust_vouched(const struct trust_report *report, const struct eventlog *log)
{
        int r = -ENODATA;

        for (unsigned i = 0; log && i < report->n_signatures && r <= 0; i++) {
                const struct trust_signature *s = &report->signatures[i];
                uint8_t *der = NULL;
                int n;

                if (s->result != TRUST_GOOD || !s->anchor_entry || !s->anchor_entry->cert)
                        continue;
                n = i2d_X509(s->anchor_entry->cert, &der);
                if (n <= 0)
                        return -ENODATA;
                r = pcr7_vouched(log, s->anchor_entry->owner, der, (size_t)n);
                OPENSSL_free(der);
        }
        return r;
}
