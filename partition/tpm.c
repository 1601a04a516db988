/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/tpm.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <tss2/tss2_rc.h>

#include "base/buf.h"
#include "base/limits.h"
#include "partition/tpm_esys.h"

int tpm_open(const char *tcti, struct tpm **ret, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *t = NULL;
        TSS2_RC rc;
        int r;

        /* Must happen before the first call into tpm2-tss, which reads the variable once. */
        (void)setenv("TSS2_LOG", "all+none", 0);
        t = calloc(1, sizeof(*t));
        if (!t)
                return error_oom(e);
        t->parent.esys = ESYS_TR_NONE;
        r = tpm_tcti_open(tcti, &t->tcti, e);
        if (r < 0)
                return r;
        rc = Esys_Initialize(&t->esys, (TSS2_TCTI_CONTEXT *)(void *)t->tcti, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot set up the TPM connection", e);
        *ret = TAKE_PTR(t);
        return 0;
}

void tpm_free(struct tpm *t)
{
        if (!t)
                return;
        if (t->esys) {
                tpm_parent_flush(t);
                Esys_Finalize(&t->esys);
        }
        tpm_tcti_free(t->tcti);
        free(t);
}

uint64_t tpm_command_count(const struct tpm *t)
{
        return t->tcti->commands;
}

uint64_t tpm_busy_us(const struct tpm *t)
{
        return t->tcti->busy_us;
}

/* --- errors --- */

struct rc_meaning {
        TPM2_RC rc;
        int code;
        const char *text;
        const char *advice;
};

static const struct rc_meaning rc_meanings[] = {
        {TPM2_RC_LOCKOUT, ENOLCK, "the TPM is in dictionary attack lockout",
         "Wait until the lockout time has passed, or unlock with the recovery key and clear the "
         "lockout (tpm2_dictionarylockout --clear-lockout)"},
        {TPM2_RC_INTEGRITY, EREMOTE, "sealed by another TPM, or this TPM was cleared",
         "Unlock with the recovery key and enrol this machine's TPM again"},
        {TPM2_RC_INITIALIZE, ENODEV, "the TPM was not started by the firmware",
         "Enable the TPM in the firmware setup and power the machine off and on"},
        {TPM2_RC_FAILURE, EIO, "the TPM is in failure mode", "Power the machine off and on"},
        {TPM2_RC_COMMAND_CODE, EPROTONOSUPPORT, "the TPM does not know the command", NULL},
        {TPM2_RC_BAD_TAG, EPROTONOSUPPORT, "not a TPM 2.0",
         "Switch the TPM to version 2.0 in the firmware setup"},
        {TPM2_RC_BAD_AUTH, EACCES, "the owner hierarchy has a password",
         "Remove the owner password of the TPM"},
        {TPM2_RC_AUTH_FAIL, EACCES, "authorization refused",
         "Remove the owner password of the TPM"},
        {TPM2_RC_HIERARCHY, EACCES, "the owner hierarchy is disabled",
         "Enable the storage hierarchy of the TPM in the firmware setup"},
        {TPM2_RC_POLICY_FAIL, EPERM, "the policy is not satisfied",
         "Unlock with the recovery key and enrol again"},
        {TPM2_RC_PCR_CHANGED, ESTALE, "PCRs changed meanwhile", "Try again"},
        {TPM2_RC_SIGNATURE, EKEYREJECTED, "the signature does not verify",
         "Use an image signed by the policy key this machine is enrolled for"},
        {TPM2_RC_OBJECT_MEMORY, EBUSY, "no object slot is free",
         "Use the resource manager device /dev/tpmrm0"},
        {TPM2_RC_SESSION_MEMORY, EBUSY, "no session slot is free",
         "Use the resource manager device /dev/tpmrm0"},
        {TPM2_RC_SESSION_HANDLES, EBUSY, "no session handle is free",
         "Use the resource manager device /dev/tpmrm0"},
        {TPM2_RC_MEMORY, EBUSY, "the TPM is out of memory",
         "Use the resource manager device /dev/tpmrm0"},
};

TPM2_RC tpm_rc_base(TSS2_RC rc)
{
        TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;

        if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER)
                return rc;
        rc &= ~TSS2_RC_LAYER_MASK;
        if (rc & TPM2_RC_FMT1)
                rc &= ~(TPM2_RC_N_MASK | TPM2_RC_P);
        return rc;
}

int tpm_rc_error(TSS2_RC rc, const char *what, struct error *e)
{
        TPM2_RC base = tpm_rc_base(rc);

        if (rc == TSS2_ESYS_RC_MEMORY)
                return error_oom(e);
        for (size_t i = 0; i < ARRAY_SIZE(rc_meanings); i++) {
                const struct rc_meaning *m = &rc_meanings[i];

                if (m->rc != base)
                        continue;
                (void)error_set(e, ERROR_PRECONDITION, m->code, "%s: %s (0x%x)", what, m->text, rc);
                if (m->advice)
                        error_advise(e, "%s", m->advice);
                return -m->code;
        }
        (void)error_set(e, ERROR_PRECONDITION, EIO, "%s: %s (0x%x)", what, Tss2_RC_Decode(rc), rc);
        error_advise(e, "Power the machine off and on; if it stays, unlock with the recovery key");
        return -EIO;
}

/* --- PCRs --- */

static int no_bank(struct error *e)
{
        (void)error_set(e, ERROR_PRECONDITION, EPROTONOSUPPORT,
                        "the TPM has no active SHA-256 PCR bank");
        error_advise(e, "Enable the SHA-256 bank of the TPM in the firmware setup");
        return -EPROTONOSUPPORT;
}

static uint32_t selection_mask(const TPMS_PCR_SELECTION *s)
{
        uint32_t mask = 0;

        for (unsigned i = 0; i < s->sizeofSelect && i < TPM_PCR_COUNT / 8; i++)
                mask |= (uint32_t)s->pcrSelect[i] << 8 * i;
        return mask;
}

static TPML_PCR_SELECTION make_selection(uint32_t mask)
{
        return (TPML_PCR_SELECTION){
                .count = 1,
                .pcrSelections[0] = {.hash = TPM2_ALG_SHA256,
                                     .sizeofSelect = TPM_PCR_COUNT / 8,
                                     .pcrSelect = {(uint8_t)mask, (uint8_t)(mask >> 8),
                                                   (uint8_t)(mask >> 16)}},
        };
}

/* One TPM2_PCR_Read; *mask loses the PCRs that were delivered, *at points behind them. */
static int read_some(struct tpm *t, uint32_t *mask, uint8_t **at, struct error *e)
{
        TPML_PCR_SELECTION want = make_selection(*mask);
        _cleanup_esys_ TPML_PCR_SELECTION *got = NULL;
        _cleanup_esys_ TPML_DIGEST *values = NULL;
        uint32_t got_mask;
        TSS2_RC rc;

        rc = Esys_PCR_Read(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &want, NULL, &got,
                           &values);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot read PCRs", e);
        got_mask = got->count == 1 && got->pcrSelections[0].hash == TPM2_ALG_SHA256
                           ? selection_mask(&got->pcrSelections[0])
                           : 0;
        if (got_mask == 0)
                return no_bank(e);
        /* The values come in ascending order: what was delivered must be the lowest of the wanted.
         */
        if ((got_mask & ~*mask) != 0 || values->count != (unsigned)__builtin_popcount(got_mask) ||
            (*mask & ~got_mask & ((UINT32_C(2) << (31 - __builtin_clz(got_mask))) - 1)) != 0)
                return error_set(e, ERROR_PRECONDITION, EIO, "the TPM delivered other PCRs");
        for (unsigned i = 0; i < values->count; i++) {
                if (values->digests[i].size != SHA256_SIZE)
                        return error_set(e, ERROR_PRECONDITION, EIO, "PCR value of wrong size");
                memcpy(*at, values->digests[i].buffer, SHA256_SIZE);
                *at += SHA256_SIZE;
        }
        *mask &= ~got_mask;
        return 0;
}

int tpm_read_pcrs(struct tpm *t, uint32_t mask, uint8_t *ret_values, struct error *e)
{
        uint8_t values[TPM_PCR_COUNT * SHA256_SIZE];
        uint8_t *at = values;
        int r;

        if (mask == 0 || mask >> TPM_PCR_COUNT != 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "PCR mask 0x%x", mask);
        while (mask != 0) {
                r = read_some(t, &mask, &at, e);
                if (r < 0)
                        return r;
        }
        memcpy(ret_values, values, (size_t)(at - values));
        return 0;
}

int tpm_measure(struct tpm *t, unsigned pcr, const void *data, size_t n, struct error *e)
{
        TPM2B_EVENT event = {.size = (uint16_t)n};
        _cleanup_esys_ TPML_DIGEST_VALUES *digests = NULL;
        TSS2_RC rc;

        if (pcr >= TPM_PCR_COUNT || n > TPM_EVENT_MAX || n > sizeof(event.buffer))
                return error_set(e, ERROR_INTERNAL, EINVAL, "measurement of %zu bytes into PCR %u",
                                 n, pcr);
        if (n > 0)
                memcpy(event.buffer, data, n);
        rc = Esys_PCR_Event(t->esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                            ESYS_TR_NONE, &event, &digests);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot extend a PCR", e);
        return 0;
}

/* --- volume keys --- */

static const struct {
        TPM2_ALG_ID alg;
        const char *openssl;
} hashes[] = {
        {TPM2_ALG_SHA1, "SHA1"},         {TPM2_ALG_SHA256, "SHA256"},
        {TPM2_ALG_SHA384, "SHA384"},     {TPM2_ALG_SHA512, "SHA512"},
        {TPM2_ALG_SM3_256, "SM3"},       {TPM2_ALG_SHA3_256, "SHA3-256"},
        {TPM2_ALG_SHA3_384, "SHA3-384"}, {TPM2_ALG_SHA3_512, "SHA3-512"},
};

/* The escapes of systemd: colon, backslash and everything outside printable ASCII as \xNN. */
static int add_escaped(struct buf *b, const char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                int r = c <= ' ' || c >= 127 || c == ':' || c == '\\' ? buf_printf(b, "\\x%02x", c)
                                                                      : buf_add(b, s, 1);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_hmac(TPML_DIGEST_VALUES *values, TPM2_ALG_ID alg, const struct secret *key,
                    const struct buf *text, struct error *e)
{
        TPMT_HA *ha = &values->digests[values->count];
        const EVP_MD *md = NULL;
        unsigned n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(hashes); i++)
                if (hashes[i].alg == alg)
                        md = EVP_get_digestbyname(hashes[i].openssl);
        if (!md || (size_t)EVP_MD_get_size(md) > sizeof(ha->digest))
                return error_set(e, ERROR_PRECONDITION, EPROTONOSUPPORT,
                                 "PCR bank with unknown hash algorithm 0x%04x", alg);
        ha->hashAlg = alg;
        if (!HMAC(md, key->data, (int)key->len, text->data, text->len, (uint8_t *)&ha->digest, &n))
                return error_set(e, ERROR_INTERNAL, EIO, "cannot compute an HMAC");
        values->count++;
        return 0;
}

static int list_banks(struct tpm *t, TPML_PCR_SELECTION *ret, struct error *e)
{
        _cleanup_esys_ TPMS_CAPABILITY_DATA *cap = NULL;
        TSS2_RC rc;

        rc = Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_PCRS, 0,
                                1, NULL, &cap);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot list PCR banks", e);
        *ret = cap->data.assignedPCR;
        return 0;
}

/* 1: the PCR has another value in this bank than after a start of the machine. */
static int is_used_in(struct tpm *t, TPM2_ALG_ID hash, unsigned pcr, struct error *e)
{
        TPML_PCR_SELECTION want = make_selection(UINT32_C(1) << pcr);
        _cleanup_esys_ TPML_PCR_SELECTION *got = NULL;
        _cleanup_esys_ TPML_DIGEST *values = NULL;
        TSS2_RC rc;

        want.pcrSelections[0].hash = hash;
        rc = Esys_PCR_Read(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &want, NULL, &got,
                           &values);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot read PCRs", e);
        for (uint32_t i = 0; i < values->count; i++) {
                for (unsigned k = 0; k < values->digests[i].size; k++) {
                        if (values->digests[i].buffer[k] != 0)
                                return 1;
                }
        }
        return 0;
}

int tpm_pcr_is_used(struct tpm *t, unsigned pcr, struct error *e)
{
        TPML_PCR_SELECTION banks;
        int r = pcr < TPM_PCR_COUNT ? list_banks(t, &banks, e)
                                    : error_set(e, ERROR_INTERNAL, EINVAL, "PCR %u", pcr);

        if (r < 0)
                return r;
        for (uint32_t i = 0; i < banks.count && r == 0; i++) {
                if (selection_mask(&banks.pcrSelections[i]) & UINT32_C(1) << pcr)
                        r = is_used_in(t, banks.pcrSelections[i].hash, pcr, e);
        }
        return r;
}

/* Fills values for every bank in which the PCR exists: one left out could be extended to anything
 * later. */
static int make_hmacs(struct tpm *t, const struct secret *key, const struct buf *text,
                      TPML_DIGEST_VALUES *values, struct error *e)
{
        TPML_PCR_SELECTION banks;
        int r;

        r = list_banks(t, &banks, e);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < banks.count; i++) {
                const TPMS_PCR_SELECTION *s = &banks.pcrSelections[i];

                if (!(selection_mask(s) & 1u << TPM_PCR_VOLUME_KEY))
                        continue;
                if (values->count >= ARRAY_SIZE(values->digests))
                        return error_set(e, ERROR_PRECONDITION, EIO, "too many PCR banks");
                r = add_hmac(values, s->hash, key, text, e);
                if (r < 0)
                        return r;
        }
        return values->count > 0 ? 0 : no_bank(e);
}

int tpm_measure_volume_key(struct tpm *t, const char *name, const char *uuid,
                           const struct secret *volume_key, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(TPM_EVENT_MAX);
        TPML_DIGEST_VALUES values = {.count = 0};
        TSS2_RC rc;
        int r;

        if (buf_add_str(&text, "cryptsetup:") < 0 || add_escaped(&text, name) < 0 ||
            buf_add_str(&text, ":") < 0 || add_escaped(&text, uuid) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "volume name too long to measure");
        r = make_hmacs(t, volume_key, &text, &values, e);
        if (r < 0)
                return r;
        rc = Esys_PCR_Extend(t->esys, ESYS_TR_PCR0 + TPM_PCR_VOLUME_KEY, ESYS_TR_PASSWORD,
                             ESYS_TR_NONE, ESYS_TR_NONE, &values);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot extend PCR 15", e);
        return 0;
}

/* --- state --- */

/* Four characters of a property value. */
static void put_letters(char out[4], uint32_t v)
{
        for (unsigned i = 0; i < 4; i++) {
                char c = (char)(v >> (24 - 8 * i) & 0x7f);

                out[i] = c >= ' ' && c < 127 ? c : '\0';
        }
}

static void take_property(struct tpm_info *info, const TPMS_TAGGED_PROPERTY *p)
{
        uint32_t v = p->value;

        switch (p->property) {
        case TPM2_PT_FAMILY_INDICATOR:
                put_letters(info->family, v);
                break;
        case TPM2_PT_MANUFACTURER:
                put_letters(info->manufacturer, v);
                break;
        case TPM2_PT_VENDOR_STRING_1:
        case TPM2_PT_VENDOR_STRING_2:
        case TPM2_PT_VENDOR_STRING_3:
        case TPM2_PT_VENDOR_STRING_4:
                put_letters(info->vendor + strnlen(info->vendor, 12), v);
                break;
        case TPM2_PT_FIRMWARE_VERSION_1:
                info->firmware[0] = v;
                break;
        case TPM2_PT_FIRMWARE_VERSION_2:
                info->firmware[1] = v;
                break;
        case TPM2_PT_PERMANENT:
                info->owner_auth_set = (v & TPMA_PERMANENT_OWNERAUTHSET) != 0;
                info->in_lockout = (v & TPMA_PERMANENT_INLOCKOUT) != 0;
                break;
        case TPM2_PT_LOCKOUT_COUNTER:
                info->lockout_counter = v;
                break;
        case TPM2_PT_MAX_AUTH_FAIL:
                info->lockout_max = v;
                break;
        case TPM2_PT_LOCKOUT_INTERVAL:
                info->lockout_interval = v;
                break;
        default:
                break;
        }
}

static int get_properties(struct tpm *t, uint32_t first, struct tpm_info *info, struct error *e)
{
        _cleanup_esys_ TPMS_CAPABILITY_DATA *cap = NULL;
        TSS2_RC rc;

        rc = Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                TPM2_CAP_TPM_PROPERTIES, first, TPM2_MAX_TPM_PROPERTIES, NULL,
                                &cap);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot read the TPM's properties", e);
        for (uint32_t i = 0; i < cap->data.tpmProperties.count; i++)
                take_property(info, &cap->data.tpmProperties.tpmProperty[i]);
        return 0;
}

static int get_banks(struct tpm *t, struct tpm_info *info, struct error *e)
{
        TPML_PCR_SELECTION banks;
        int r;

        r = list_banks(t, &banks, e);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < banks.count; i++) {
                const TPMS_PCR_SELECTION *s = &banks.pcrSelections[i];

                if (s->hash == TPM2_ALG_SHA256)
                        info->sha256_bank = selection_mask(s) == (1u << TPM_PCR_COUNT) - 1;
        }
        return 0;
}

int tpm_get_info(struct tpm *t, struct tpm_info *ret, struct error *e)
{
        struct tpm_info info = {.sha256_bank = false};
        int r;

        r = get_properties(t, TPM2_PT_FIXED, &info, e);
        if (r >= 0)
                r = get_properties(t, TPM2_PT_VAR, &info, e);
        if (r >= 0)
                r = get_banks(t, &info, e);
        if (r < 0)
                return r;
        *ret = info;
        return 0;
}

int tpm_check_tries(struct tpm *t, struct error *e)
{
        struct tpm_info info;
        int r = tpm_get_info(t, &info, e);

        if (r < 0)
                return r;
        if (!info.in_lockout && info.lockout_counter + 1 < info.lockout_max)
                return 0;
        error_set(e, ERROR_PRECONDITION, ENOLCK,
                  info.in_lockout ? "the TPM compares no PIN: too many were wrong, and its lockout "
                                    "lasts"
                                  : "one more wrong PIN would lock the TPM");
        error_advise(e, "the TPM forgets a wrong one in %u seconds", info.lockout_interval);
        return -ENOLCK;
}
