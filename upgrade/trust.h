/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Would this machine's firmware start this image? The decision of Secure Boot (UEFI 2.10, section
 * 32.5, "UEFI Image Validation"), taken offline from the image's digests and signatures and from db
 * and dbx:
 *
 * - a digest of the image in dbx, in any algorithm: denied, whoever signed it;
 * - a signature is good when it is valid for this image, its chain, completed by the certificates
 *   it carries, ends at a certificate of db (leaf, intermediate or root), and no certificate of
 *   that chain is in dbx, neither itself nor by its TBS hash;
 * - one good signature is enough. Signatures that are unsupported, broken or by unknown keys do not
 *   hurt. But beside a good one too, the image is denied by a valid signature under a certificate
 *   of dbx, by any signature whose signer's TBS hash is in dbx, by one that firmware begins to read
 *   and cannot finish (no PKCS#7, or no certificate of its signer), and by a certificate table
 *   whose entries do not fill it;
 * - a digest of the image in db allows it: SHA-256 for an unsigned image, the algorithms of its
 *   readable signatures for a signed one;
 * - everything else is denied.
 *
 * As in firmware, validity periods, key usage and name constraints of purpose play no role. A TBS
 * entry with a revocation time revokes like one without: firmware lets older signatures pass only
 * with a timestamp by an authority in dbt, and those are not evaluated here.
 *
 * Deliberately stricter than EDK II: TBS hashes count for every certificate of the chain and not
 * just for its two ends (the specification wants that), one signer to a signature, RSA keys of at
 * least 2048 bits, no SHA-1.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "efivars/sigdb.h"
#include "partition/eventlog.h"
#include "upgrade/authenticode_image.h"

/* Subjects as one-line text, cut when longer. */
#define TRUST_NAME_SIZE 256u
#define TRUST_WHY_SIZE 320u
#define TRUST_CHAIN_MAX (LIMIT_SIGNATURE_CERTS + 1)

/* What is wrong with one signature, or that it is good. Zero is not good. */
enum trust_result {
        TRUST_SIGNATURE_MALFORMED,   /* not the structure it has to be */
        TRUST_SIGNATURE_UNSUPPORTED, /* an algorithm, key or entry type that does not count */
        TRUST_SIGNATURE_MISMATCH,    /* about another image, or the signature itself is wrong */
        TRUST_SIGNATURE_UNKNOWN,     /* valid, by a key that db does not know */
        TRUST_SIGNATURE_REVOKED,     /* a certificate of its chain is in dbx */
        TRUST_GOOD,
        TRUST_RESULT_MAX,
};

struct trust_signature {
        enum trust_result result;
        bool hash_known;              /* hash is set */
        enum authenticode_hash hash;  /* digest of the image that it signs */
        char signer[TRUST_NAME_SIZE]; /* subject and issuer of its certificate; "" unknown */
        char issuer[TRUST_NAME_SIZE];
        char anchor[TRUST_NAME_SIZE]; /* subject of the certificate of db it ends at; "" none */
        const struct sigdb_entry *anchor_entry; /* that entry, in db; NULL none */
        unsigned n_chain;                       /* subjects from the signer up to the anchor */
        char chain[TRUST_CHAIN_MAX][TRUST_NAME_SIZE];
        char why[TRUST_WHY_SIZE]; /* in words, for a good one too */
};

/* Zero is a denial: a report nobody filled in allows nothing. */
enum trust_verdict {
        TRUST_DENIED_UNSIGNED,      /* -ENODATA */
        TRUST_DENIED_MALFORMED,     /* -EBADMSG */
        TRUST_DENIED_UNSUPPORTED,   /* -EOPNOTSUPP */
        TRUST_DENIED_TAMPERED,      /* -EKEYREJECTED */
        TRUST_DENIED_UNKNOWN_KEY,   /* -ENOKEY */
        TRUST_DENIED_REVOKED_CERT,  /* -EKEYREVOKED */
        TRUST_DENIED_REVOKED_IMAGE, /* -EPERM */
        TRUST_ALLOWED_BY_SIGNATURE,
        TRUST_ALLOWED_BY_HASH,
        TRUST_VERDICT_MAX,
};

struct trust_report {
        enum trust_verdict verdict;
        char why[TRUST_WHY_SIZE]; /* the decision in words */
        unsigned n_signatures;
        struct trust_signature signatures[LIMIT_PE_SIGNATURES];
};

/*
 * The digests (AUTHENTICODE_MASK) that a decision by these databases needs for sure: SHA-256, and
 * those that entries of db or dbx are about. Either may be NULL. What else a signature uses is only
 * known at the end of the image: trust_missing().
 */
unsigned trust_digests(const struct sigdb *db, const struct sigdb *dbx);

/* The digests that the image's signatures use and that were not taken when it was read. */
unsigned trust_missing(const struct authenticode_image *image);

/*
 * Decides about an image that was read to its end with trust_digests() of both databases and
 * nothing of trust_missing(). 0 means that a report was made, not that the image is allowed:
 * trust_enforce() is the gate. Free it with free(). -ENOMEM, or -EINVAL (ERROR_INTERNAL) for an
 * image without the digests.
 */
int trust_check(const struct authenticode_image *image, const struct sigdb *db,
                const struct sigdb *dbx, struct trust_report **ret, struct error *e) _must_check_;

/*
 * 0 for an allowed image; otherwise ERROR_REFUSED with the errno that stands at the verdict, why,
 * and advice.
 */
int trust_enforce(const struct trust_report *report, struct error *e) _must_check_;

/*
 * The firmware measures into PCR 7 which entry of db vouched for what it started. 1: the one that
 * vouches for this image did so in the boot of this log, too; 0: another one vouches for it;
 * -ENODATA (also log NULL): that cannot be said.
 */
int trust_vouched(const struct trust_report *report, const struct eventlog *log) _must_check_;

/* The certificate of db that firmware comes to first when it allows the image: the one it measures
 * into PCR 7. Borrowed from db. NULL for an image that is denied, or allowed by its hash. */
const struct sigdb_entry *trust_authority(const struct trust_report *report);

/* Stable words for JSON: "allowed-by-signature", "denied-unsigned", ...; "good", "malformed", ...
 */
const char *trust_verdict_name(enum trust_verdict verdict);
const char *trust_result_name(enum trust_result result);
