/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key databases of Secure Boot, db and dbx (UEFI 2.10, section 32.4.1: EFI_SIGNATURE_LIST): what
 * they hold, from the machine's variables or from files.
 *
 * A database is filled by any number of sigdb_add_*() calls and then only read. A call either adds
 * everything its source holds or, when it fails, nothing. Source formats are read strictly: a list
 * whose sizes do not add up is refused, not skipped, because a database read by halves would let a
 * revoked image through. Types that this module does not know (and certificates that are none) are
 * counted and otherwise ignored, as firmware does.
 *
 * Life cycle: sigdb_new() -> sigdb_add_*() -> queries -> sigdb_free().
 */
#pragma once

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "base/error.h"

#define SIGDB_GUID_SIZE 16u
#define SIGDB_HASH_MAX 64u

enum sigdb_type {
        SIGDB_X509,         /* a certificate */
        SIGDB_IMAGE_SHA256, /* Authenticode digest of one image */
        SIGDB_IMAGE_SHA384,
        SIGDB_IMAGE_SHA512,
        SIGDB_TBS_SHA256, /* hash of a certificate's to-be-signed part, revoked from a time on */
        SIGDB_TBS_SHA384,
        SIGDB_TBS_SHA512,
        SIGDB_TYPE_MAX,
};

/* EFI_TIME without what has to be zero. All zero: revoked always. */
struct sigdb_time {
        uint16_t year;
        uint8_t month, day, hour, minute, second;
};

struct sigdb_entry {
        enum sigdb_type type;
        uint8_t owner[SIGDB_GUID_SIZE]; /* in EFI byte order; zeros for certificate files */
        X509 *cert;                     /* SIGDB_X509, else NULL */
        uint8_t hash[SIGDB_HASH_MAX];   /* the other types; sigdb_hash_size() bytes */
        struct sigdb_time revoked;      /* SIGDB_TBS_* */
};

struct sigdb;

/* NULL when memory ran out. */
struct sigdb *sigdb_new(void);
void sigdb_free(struct sigdb *db);
DEFINE_CLEANUP(struct sigdb, sigdb_free)

/*
 * Adds the lists of a variable of the security GUID ("db", "dbx"). 1 when it exists, 0 when it does
 * not (nothing is added: an absent dbx revokes nothing). Otherwise ERROR_PRECONDITION: -EBADMSG or
 * -E2BIG for content that makes no sense, or the errno of reading it.
 */
int sigdb_add_variable(struct sigdb *db, const struct env *env, const char *name, struct error *e)
        _must_check_;

/*
 * Adds what a file holds: signature lists (.esl), a signed write of a variable (.auth,
 * EFI_VARIABLE_AUTHENTICATION_2 of UEFI 2.10 section 8.2.2; its signature is not checked, the user
 * vouches for the file), one certificate in DER, or certificates in PEM. ERROR_CONFIG: -EBADMSG
 * when it is none of these or holds no entry, -E2BIG above LIMIT_EFI_VARIABLE, or the errno of
 * reading it.
 */
int sigdb_add_file(struct sigdb *db, const char *path, struct error *e) _must_check_;

/* Adds signature lists in memory, no list at all included. source stands in messages. ERROR_CONFIG
 * with -EBADMSG or -E2BIG. */
int sigdb_add_lists(struct sigdb *db, const void *data, size_t n, const char *source,
                    struct error *e) _must_check_;

/*
 * Where the content of a signed write of a variable (.auth) begins: behind its time and signature,
 * to the end of the n bytes. -EBADMSG when the bytes are none.
 */
int sigdb_auth_payload(const void *data, size_t n, size_t *ret) _must_check_;

/* Entries in the order in which they were added; NULL past the end. Borrowed. */
const struct sigdb_entry *sigdb_at(const struct sigdb *db, size_t i);
size_t sigdb_count(const struct sigdb *db);

/* Entries that were skipped: of an unknown type, or certificates that cannot be read. */
size_t sigdb_ignored(const struct sigdb *db);

/* Bytes of an entry's hash; 0 for SIGDB_X509. */
size_t sigdb_hash_size(enum sigdb_type type);

/* First entry of a hash type with this hash; NULL when there is none. */
const struct sigdb_entry *sigdb_find_hash(const struct sigdb *db, enum sigdb_type type,
                                          const uint8_t *hash);

/* First SIGDB_X509 entry that is this very certificate; NULL when there is none. */
const struct sigdb_entry *sigdb_find_cert(const struct sigdb *db, const X509 *cert);

/* First SIGDB_TBS_* entry that means this certificate, whatever its revocation time. */
const struct sigdb_entry *sigdb_find_tbs(const struct sigdb *db, const X509 *cert);
