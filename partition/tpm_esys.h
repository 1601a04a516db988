/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the TPM code that speaks tpm2-tss types: shared by partition/tpm*.c and
 * partition/seal.c, not for the rest of the program. Errors as listed in partition/tpm.h.
 *
 * References: TPM 2.0 Library, part 3 (commands); systemd's conventions for parents and blobs.
 */
#pragma once

#include <tss2/tss2_esys.h>

#include "base/buf.h"
#include "partition/policy.h"
#include "partition/tpm.h"
#include "partition/tpm_tcti.h"

enum tpm_parent_kind {
        TPM_PARENT_NONE = 0,
        TPM_PARENT_LEGACY_ECC, /* primary key, created at each use */
        TPM_PARENT_LEGACY_RSA,
        TPM_PARENT_PERSISTENT, /* storage root key at a persistent handle */
};

/* Key under which blobs are sealed, and to which sessions are salted. */
struct tpm_parent {
        enum tpm_parent_kind kind;
        ESYS_TR esys;
        TPM2_HANDLE handle; /* persistent ones */
        uint8_t name[POLICY_NAME_SIZE];
};

/* A verified signature over a policy; good until the TPM is cleared or started again. */
struct tpm_approval {
        bool valid;
        uint8_t key_name[POLICY_NAME_SIZE];
        uint8_t pol[SHA256_SIZE];
        TPMT_TK_VERIFIED ticket;
};

struct tpm {
        ESYS_CONTEXT *esys;
        struct tpm_tcti *tcti;
        struct tpm_parent parent;     /* the one used last */
        struct tpm_approval approval; /* the one used last */
};

/* A transient object or session that is flushed at the end of its scope. */
struct tpm_ref {
        struct tpm *tpm;
        ESYS_TR esys;
};

#define TPM_REF_INIT(t)                                                                            \
        {                                                                                          \
                .tpm = (t), .esys = ESYS_TR_NONE                                                   \
        }

void tpm_ref_done(struct tpm_ref *ref);
/* Forgets a session that the TPM has already ended. */
void tpm_ref_forget(struct tpm_ref *ref);
#define _cleanup_tpm_ref_ _cleanup_(tpm_ref_done)

/* Memory that came from tpm2-tss. */
static inline void tpm_esys_free_p(void *p)
{
        void **pp = p;

        Esys_Free(*pp);
        *pp = NULL;
}
#define _cleanup_esys_ _cleanup_(tpm_esys_free_p)

/* Response code without the number of the handle, session or parameter it is about. */
TPM2_RC tpm_rc_base(TSS2_RC rc);
/* Reports a failed command: what it was for, and what the TPM said. */
int tpm_rc_error(TSS2_RC rc, const char *what, struct error *e) _must_check_;

/*
 * Parent keys. The result is borrowed and good until the next call of either. A persistent parent
 * must bear the expected name: -EREMOTE when the handle is empty or holds another key.
 */
int tpm_parent_legacy(struct tpm *t, bool rsa, const struct tpm_parent **ret, struct error *e)
        _must_check_;
int tpm_parent_persistent(struct tpm *t, TPM2_HANDLE handle, const uint8_t name[POLICY_NAME_SIZE],
                          const struct tpm_parent **ret, struct error *e) _must_check_;
void tpm_parent_flush(struct tpm *t);

/*
 * Seals data under the parent; the blob is TPM2B_PRIVATE || TPM2B_PUBLIC. data crosses encrypted,
 * as does auth (NULL: none), whose wrong guesses the TPM will count.
 */
int tpm_seal(struct tpm *t, const struct tpm_parent *parent, const struct secret *data,
             const struct secret *auth, const uint8_t policy[SHA256_SIZE], struct buf *ret_blob,
             struct error *e) _must_check_;

/* A sealed blob in parts. */
struct tpm_blob {
        TPM2B_PRIVATE private;
        TPM2B_PUBLIC public;
};

/*
 * Takes a blob apart. -EBADMSG when it is damaged or not a sealed object with a SHA-256 policy;
 * -EOPNOTSUPP when it carries an encrypted seed.
 */
int tpm_blob_parse(const uint8_t *data, size_t n, struct tpm_blob *ret, struct error *e)
        _must_check_;

int tpm_load(struct tpm *t, const struct tpm_parent *parent, const struct tpm_blob *blob,
             struct tpm_ref *ret, struct error *e) _must_check_;

/* Session: TPM2_SE_HMAC or TPM2_SE_POLICY salted to the parent; TPM2_SE_TRIAL with parent NULL. */
int tpm_session(struct tpm *t, const struct tpm_parent *parent, TPM2_SE type,
                TPMA_SESSION attributes, struct tpm_ref *ret, struct error *e) _must_check_;

/* TPM2_PolicyPCR for the values given, sha256 bank. -ESTALE when the PCRs have other values. */
int tpm_policy_pcr(struct tpm *t, const struct tpm_ref *session, uint32_t mask,
                   const uint8_t *values, struct error *e) _must_check_;

/* Has the TPM check sig over pol. The ticket is kept in t and used by tpm_policy_authorize(). */
int tpm_approve(struct tpm *t, const struct policy_key *key, bool exponent0,
                const uint8_t pol[SHA256_SIZE], const uint8_t *sig, size_t sig_len, struct error *e)
        _must_check_;

/* TPM2_PolicyAuthorize with the ticket of the last tpm_approve(). */
int tpm_policy_authorize(struct tpm *t, const struct tpm_ref *session, struct error *e)
        _must_check_;

/* TPM2_PolicyAuthValue. */
int tpm_policy_auth_value(struct tpm *t, const struct tpm_ref *session, struct error *e)
        _must_check_;

/* The value that authorizes the use of a loaded object; it is not sent. */
int tpm_set_auth(struct tpm *t, const struct tpm_ref *object, const struct secret *auth,
                 struct error *e) _must_check_;

/*
 * Has the TPM compare auth with the value of a loaded object, whatever the object's policy is: by
 * asking for a copy of it with the same value, which is thrown away (TPM2_ObjectChangeAuth needs
 * the ADMIN role, which is the value's unless adminWithPolicy is set). -EILSEQ when it is another
 * one; the TPM counts that.
 */
int tpm_compare_auth(struct tpm *t, const struct tpm_parent *parent, const struct tpm_ref *object,
                     const struct secret *auth, struct error *e) _must_check_;

int tpm_policy_digest(struct tpm *t, const struct tpm_ref *session, uint8_t ret[SHA256_SIZE],
                      struct error *e) _must_check_;

/* Starts a policy session over. */
int tpm_policy_restart(struct tpm *t, const struct tpm_ref *session, struct error *e) _must_check_;

/* -ESTALE when PCRs changed after the policy was satisfied, -EILSEQ for a wrong auth value. On
 * success the session has ended. */
int tpm_unseal(struct tpm *t, const struct tpm_ref *object, struct tpm_ref *session,
               struct secret **ret, struct error *e) _must_check_;
