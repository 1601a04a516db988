/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM 2.0: open it, read and extend PCRs, ask for its state. Sealing is in partition/seal.h.
 *
 * Life cycle: tpm_open() once, any calls from one thread, tpm_free(). Parent keys are created once
 * and kept in the handle for further tokens; tpm_free() flushes them. Every other transient object
 * and every session is flushed before the function that made it returns, on every path, because a
 * TPM without a resource manager has three slots of each and never frees one by itself.
 *
 * The logging of tpm2-tss on standard error is switched off by the first tpm_open(), unless the
 * environment variable TSS2_LOG is already set ("TSS2_LOG=all+debug" shows everything).
 *
 * Errors of all functions that take a struct tpm are of class ERROR_PRECONDITION (out of memory:
 * ERROR_INTERNAL) and carry an advice. The numbers, shared with partition/seal.h:
 *
 *   -ENODEV           no TPM there, not reachable, or not started by the firmware
 *   -EPROTONOSUPPORT  a TPM, but not of version 2.0, or without an active SHA-256 PCR bank
 *   -EREMOTE          the data was sealed by another TPM, or this TPM was cleared since
 *   -ENOLCK           the TPM is in dictionary attack lockout, and object or parent is subject to
 * it -EPERM            the literal PCRs (PCR 7, Secure Boot state) are not what was sealed to
 *   -ENOSTR           no signature of the policy key covers the current signed PCRs (PCR 11)
 *   -ENOKEY           the image brings no signature by this policy key at all
 *   -EKEYREJECTED     a signature was given, but it does not verify
 *   -EBADMSG          token or sealed blob is damaged
 *   -ENOANO           the token wants a PIN, and none was given
 *   -EILSEQ           this is not the PIN; the TPM has counted it
 *   -EOPNOTSUPP       a kind of token this program does not open
 *   -ESTALE           PCRs kept changing while the policy was being satisfied
 *   -EACCES           the owner hierarchy has a password or is disabled
 *   -EBUSY            all slots of the TPM are taken
 *   -EIO              anything else that the TPM or the way to it answered
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/secret.h"

#define TPM_PCR_COUNT 24u
#define TPM_PCR_DRIVERS 2u     /* programs of add-in cards */
#define TPM_PCR_BOOT_STATE 7u  /* Secure Boot variables and authorities */
#define TPM_PCR_IMAGE 11u      /* image sections and phase words */
#define TPM_PCR_CONFIG 12u     /* what comes from outside of an image, e.g. its command line */
#define TPM_PCR_VOLUME_KEY 15u /* machine identity and volume keys */

/* Most bytes tpm_measure() takes (TPM2B_EVENT). */
#define TPM_EVENT_MAX 1024u

struct tpm;

/*
 * Connects. tcti is a tpm2-tss TCTI string such as "device:/dev/tpmrm0" or "swtpm:port=2321". No
 * command is sent yet. -ENODEV when there is nothing to connect to.
 */
int tpm_open(const char *tcti, struct tpm **ret, struct error *e) _must_check_;
void tpm_free(struct tpm *t);
DEFINE_CLEANUP(struct tpm, tpm_free)

/* Number of commands sent to the TPM through this handle. */
uint64_t tpm_command_count(const struct tpm *t);
/* Microseconds that these took, from the sending to the answer. */
uint64_t tpm_busy_us(const struct tpm *t);

/*
 * Current values of the PCRs in mask (bit i = PCR i), sha256 bank, in ascending order: 32 bytes
 * each into ret_values, which must have room for all of them. -EINVAL for an empty or impossible
 * mask, -EPROTONOSUPPORT when the bank is not active.
 */
int tpm_read_pcrs(struct tpm *t, uint32_t mask, uint8_t *ret_values, struct error *e) _must_check_;

/* Whether anything was measured into the PCR since the machine started, in any active bank: 1, 0.
 */
int tpm_pcr_is_used(struct tpm *t, unsigned pcr, struct error *e) _must_check_;

/*
 * Extends a PCR by the hash of data, in every active bank, with one command (TPM2_PCR_Event). This
 * is how phase words are measured: the ASCII text without NUL. -EINVAL above TPM_EVENT_MAX bytes.
 */
int tpm_measure(struct tpm *t, unsigned pcr, const void *data, size_t n, struct error *e)
        _must_check_;

/*
 * Extends PCR 15 by the volume key of an activated device, as systemd does for tpm2-measure-pcr: in
 * every active bank HMAC(key = volume key, data = "cryptsetup:<name>:<uuid>"), colons inside name
 * and uuid escaped. The key itself never reaches the TPM.
 */
int tpm_measure_volume_key(struct tpm *t, const char *name, const char *uuid,
                           const struct secret *volume_key, struct error *e) _must_check_;

/*
 * Makes the key that everything is sealed under, or takes it from the cache of this handle: whether
 * an enrolment could begin at all.
 */
int tpm_try_storage_key(struct tpm *t, struct error *e) _must_check_;

/*
 * Which TPM this is: the name of a key that its endorsement seed gives. Clearing a TPM leaves that
 * seed as it is, and takes everything that was sealed: so the same identity with blobs that do not
 * load any more means that it was cleared. One CreatePrimary. -EACCES when the endorsement
 * hierarchy has a password or is disabled.
 */
int tpm_identity(struct tpm *t, uint8_t ret[SHA256_SIZE], struct error *e) _must_check_;

/* State of the TPM, for reports and for checks before an enrolment. */
struct tpm_info {
        char family[5];            /* "2.0" */
        char manufacturer[5];      /* four letters of the vendor id registry */
        char vendor[17];           /* vendor string, may be empty */
        uint32_t firmware[2];      /* firmware version, most significant first */
        bool sha256_bank;          /* all 24 PCRs are there in SHA-256 */
        bool owner_auth_set;       /* the owner hierarchy has a password */
        bool in_lockout;           /* dictionary attack lockout is active */
        uint32_t lockout_counter;  /* failed authorizations counted */
        uint32_t lockout_max;      /* failures that start the lockout */
        uint32_t lockout_interval; /* seconds until one failure is forgotten */
};

int tpm_get_info(struct tpm *t, struct tpm_info *ret, struct error *e) _must_check_;

/*
 * Whether a PIN may be compared, so that a wrong one leaves a try to the next start of the node:
 * -ENOLCK in dictionary attack lockout, or when one more wrong one would begin it.
 */
int tpm_check_tries(struct tpm *t, struct error *e) _must_check_;
