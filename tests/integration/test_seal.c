/* SPDX-License-Identifier: Apache-2.0 */
/* Seal, prove and open on a real software TPM; every way to fail has its own error and leaks
 * nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <tss2/tss2_mu.h>

#include "base/limits.h"
#include "partition/seal.h"
#include "partition/tpm_esys.h"
#include "tests/support/swtpm.h"
#include "tests/support/swtpm_policy.h"

/* Handle ranges (part 2, section 7.2); the macros of the library shift into the sign bit. */
#define FIRST_LOADED_SESSION 0x02000000u
#define FIRST_ACTIVE_SESSION 0x03000000u
#define FIRST_TRANSIENT 0x80000000u

#define PCR7 (1u << 7)
#define PCR11 (1u << 11)

struct world {
        struct swtpm *emulator;
        struct tpm *tpm;
        struct secret *secret;
        struct secret *pin; /* given to what opens */
        struct token *token;
        struct test_signer signer;
        uint8_t pcr7[SHA256_SIZE], pcr11[SHA256_SIZE];
        struct error e;
};

/* RSA keys take long to make: one for all tests, one that nobody enrolled. */
static struct test_key *key, *foreign_key;

/* What firmware and stub measure before the initrd runs. */
static void measured_boot(struct world *w)
{
        assert_int_equal(tpm_measure(w->tpm, 7, "SecureBoot", 10, &w->e), 0);
        assert_int_equal(tpm_measure(w->tpm, 11, ".linux", 7, &w->e), 0);
        assert_int_equal(tpm_measure(w->tpm, 11, "kernel", 6, &w->e), 0);
        assert_int_equal(tpm_measure(w->tpm, 11, "enter-initrd", 12, &w->e), 0);
}

static void reconnect(struct world *w)
{
        tpm_free(w->tpm);
        w->tpm = NULL;
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        struct seal_policy policy;

        assert_non_null(w);
        *state = w;
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        reconnect(w);
        measured_boot(w);
        assert_int_equal(tpm_read_pcrs(w->tpm, PCR7, w->pcr7, &w->e), 0);
        assert_int_equal(tpm_read_pcrs(w->tpm, PCR11, w->pcr11, &w->e), 0);
        w->secret = secret_random(SEAL_SECRET_SIZE);
        assert_non_null(w->secret);
        policy = (struct seal_policy){.key = key->policy,
                                      .signed_pcrs = PCR11,
                                      .literal_pcrs = PCR7,
                                      .literal_values = w->pcr7};
        assert_int_equal(seal_create(w->tpm, &policy, w->secret, &w->token, &w->e), 0);
        w->signer.key = key;
        test_pol(11, w->pcr11, w->signer.pol);
        reconnect(w);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        token_free(w->token);
        secret_free(w->secret);
        secret_free(w->pin);
        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        free(w);
        return 0;
}

static unsigned count_handles(struct tpm *t, uint32_t first)
{
        TPMS_CAPABILITY_DATA *cap = NULL;
        unsigned n;

        assert_int_equal(Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                            TPM2_CAP_HANDLES, first, 64, NULL, &cap),
                         0);
        n = cap->data.handles.count;
        Esys_Free(cap);
        return n;
}

/* Nothing is left in the TPM but the one parent that is kept on purpose. */
static void assert_no_leak(struct tpm *t)
{
        unsigned parents =
                t->parent.kind == TPM_PARENT_LEGACY_ECC || t->parent.kind == TPM_PARENT_LEGACY_RSA;

        assert_int_equal(count_handles(t, FIRST_TRANSIENT), parents);
        assert_int_equal(count_handles(t, FIRST_LOADED_SESSION), 0);
        assert_int_equal(count_handles(t, FIRST_ACTIVE_SESSION), 0);
}

static void assert_opens(struct world *w)
{
        _cleanup_(secret_free_p) struct secret *s = NULL;
        int r = seal_open(w->tpm, w->token, w->pin, test_find_signature, &w->signer, &s, &w->e);

        if (r < 0)
                print_error("%s\n", w->e.text);
        assert_int_equal(r, 0);
        assert_int_equal(s->len, w->secret->len);
        assert_memory_equal(s->data, w->secret->data, s->len);
        assert_no_leak(w->tpm);
}

static void assert_fails(struct world *w, int code)
{
        struct secret *s = NULL;
        int r = seal_open(w->tpm, w->token, w->pin, test_find_signature, &w->signer, &s, &w->e);

        if (r != -code)
                print_error("%d: %s\n", r, w->e.text);
        assert_int_equal(r, -code);
        assert_null(s);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_int_equal(w->e.code, code);
        assert_true(w->e.advice[0] != '\0');
        assert_no_leak(w->tpm);
}

/* --- the good way --- */

static void test_open(void **state)
{
        struct world *w = *state;
        uint64_t before = tpm_command_count(w->tpm), busy = tpm_busy_us(w->tpm), first, second;
        struct secret *s = NULL;

        assert_int_equal(
                seal_open(w->tpm, w->token, w->pin, test_find_signature, &w->signer, &s, &w->e), 0);
        secret_free(s);
        first = tpm_command_count(w->tpm) - before;
        before = tpm_command_count(w->tpm);
        assert_int_equal(
                seal_open(w->tpm, w->token, w->pin, test_find_signature, &w->signer, &s, &w->e), 0);
        secret_free(s);
        second = tpm_command_count(w->tpm) - before;
        assert_true(tpm_busy_us(w->tpm) > busy);
        print_message("TPM commands: first token %u, second token %u\n", (unsigned)first,
                      (unsigned)second);
        assert_int_equal(first, 12);
        assert_int_equal(second, 8);
        assert_opens(w);
}

static void test_open_after_reboot(void **state)
{
        struct world *w = *state;

        tpm_free(w->tpm);
        w->tpm = NULL;
        assert_int_equal(swtpm_reboot(w->emulator), 0);
        reconnect(w);
        assert_fails(w, EPERM); /* nothing measured yet */
        measured_boot(w);
        assert_opens(w);
}

/* Signed PCRs only, and literal PCRs only. */
static void test_single_policies(void **state)
{
        struct world *w = *state;
        uint8_t both[2 * SHA256_SIZE];
        const struct seal_policy policies[] = {
                {.key = key->policy, .signed_pcrs = PCR11},
                {.literal_pcrs = PCR7, .literal_values = w->pcr7},
                {.literal_pcrs = PCR7 | PCR11, .literal_values = both},
        };

        memcpy(both, w->pcr7, SHA256_SIZE);
        memcpy(both + SHA256_SIZE, w->pcr11, SHA256_SIZE);
        for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
                token_free(w->token);
                w->token = NULL;
                assert_int_equal(seal_create(w->tpm, &policies[i], w->secret, &w->token, &w->e), 0);
                assert_opens(w);
        }
        assert_int_equal(seal_policy_digest(&(struct seal_policy){.key = NULL}, both, &w->e),
                         -EINVAL);
}

static void test_through_text(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_TOKEN_JSON);

        w->token->keyslot = 0;
        assert_int_equal(token_format(w->token, &text, &w->e), 0);
        token_free(w->token);
        w->token = NULL;
        assert_int_equal(token_parse(buf_str(&text), text.len, &w->token, &w->e), 0);
        assert_opens(w);
}

/* --- the other parents and the other key name --- */

static void reseal(struct world *w, const struct tpm_parent *parent)
{
        _cleanup_(buf_done) struct buf blob = BUF_INIT(LIMIT_TPM_BLOB);

        assert_int_equal(
                tpm_seal(w->tpm, parent, w->secret, NULL, w->token->policy_hash, &blob, &w->e), 0);
        free(w->token->blob);
        w->token->blob = TAKE_PTR(blob.data);
        w->token->blob_size = blob.len;
        memcpy(w->token->parent_name, parent->name, POLICY_NAME_SIZE);
}

static void test_rsa_parent(void **state)
{
        struct world *w = *state;
        const struct tpm_parent *parent;

        assert_int_equal(tpm_parent_legacy(w->tpm, true, &parent, &w->e), 0);
        reseal(w, parent);
        assert_fails(w, EREMOTE); /* sought under the ECC parent */
        w->token->rsa_primary = true;
        assert_opens(w);
}

/* A storage root key as systemd-tpm2-setup makes it; here under the owner of a template of our own.
 */
static void make_persistent(struct world *w, TPM2_HANDLE handle)
{
        const TPM2B_SENSITIVE_CREATE no_auth = {.size = 0};
        const TPM2B_DATA no_info = {.size = 0};
        const TPML_PCR_SELECTION no_pcrs = {.count = 0};
        const TPM2B_PUBLIC template = {
                .publicArea = {.type = TPM2_ALG_ECC,
                               .nameAlg = TPM2_ALG_SHA256,
                               .objectAttributes = 0x30472,
                               .parameters.eccDetail = {.symmetric = {.algorithm = TPM2_ALG_AES,
                                                                      .keyBits.aes = 128,
                                                                      .mode.aes = TPM2_ALG_CFB},
                                                        .scheme.scheme = TPM2_ALG_NULL,
                                                        .curveID = TPM2_ECC_NIST_P256,
                                                        .kdf.scheme = TPM2_ALG_NULL}}};
        TPM2B_NAME *name = NULL;
        ESYS_TR primary, persistent;

        tpm_parent_flush(w->tpm);
        assert_int_equal(Esys_CreatePrimary(w->tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE, &no_auth, &template,
                                            &no_info, &no_pcrs, &primary, NULL, NULL, NULL, NULL),
                         0);
        assert_int_equal(Esys_EvictControl(w->tpm->esys, ESYS_TR_RH_OWNER, primary,
                                           ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, handle,
                                           &persistent),
                         0);
        assert_int_equal(Esys_TR_GetName(w->tpm->esys, persistent, &name), 0);
        assert_int_equal(name->size, POLICY_NAME_SIZE);
        memcpy(w->token->parent_name, name->name, POLICY_NAME_SIZE);
        Esys_Free(name);
        assert_int_equal(Esys_FlushContext(w->tpm->esys, primary), 0);
        assert_int_equal(Esys_TR_Close(w->tpm->esys, &persistent), 0);
}

static void test_persistent_parent(void **state)
{
        struct world *w = *state;
        const struct tpm_parent *parent;
        uint64_t before;

        w->token->persistent = true;
        w->token->parent_handle = 0x81000001;
        assert_fails(w, EREMOTE); /* nothing there */
        make_persistent(w, 0x81000001);
        assert_int_equal(
                tpm_parent_persistent(w->tpm, 0x81000001, w->token->parent_name, &parent, &w->e),
                0);
        reseal(w, parent);
        reconnect(w);
        before = tpm_command_count(w->tpm);
        assert_opens(w);
        assert_true(tpm_command_count(w->tpm) - before <= 12 + 3);
        w->token->parent_name[5] ^= 1;
        assert_fails(w, EREMOTE); /* another key there */
}

static void test_exponent0(void **state)
{
        struct world *w = *state;
        const struct tpm_parent *parent;

        assert_int_equal(policy_authorize_name(w->token->policy_hash,
                                               policy_key_name_exponent0(key->policy)),
                         0);
        assert_int_equal(policy_pcr(w->token->policy_hash, PCR7, w->pcr7, SHA256_SIZE), 0);
        assert_int_equal(tpm_parent_legacy(w->tpm, false, &parent, &w->e), 0);
        reseal(w, parent);
        assert_opens(w);
}

/* --- the machine is not as it was --- */

static void test_wrong_pcr11(void **state)
{
        struct world *w = *state;

        assert_int_equal(tpm_measure(w->tpm, 11, "tb-agent-handover", 17, &w->e), 0);
        assert_fails(w, ENOSTR);
}

static void test_wrong_pcr7(void **state)
{
        struct world *w = *state;

        assert_int_equal(tpm_measure(w->tpm, 7, "off", 3, &w->e), 0);
        assert_fails(w, EPERM);
        assert_int_equal(w->signer.calls, 0);
}

static void test_signatures(void **state)
{
        struct world *w = *state;

        w->signer.key = NULL; /* an image without signatures */
        assert_fails(w, ENOKEY);
        w->signer.key = foreign_key; /* an image of somebody else */
        assert_fails(w, ENOKEY);
        w->signer.key = key;
        w->signer.broken = true;
        assert_fails(w, EKEYREJECTED);
        w->signer.broken = false;
        assert_opens(w);
        w->signer.broken = true; /* also when the TPM is convinced already */
        assert_fails(w, EKEYREJECTED);
}

/* A token that names another key than the blob was sealed for. */
static void test_foreign_key(void **state)
{
        struct world *w = *state;
        size_t n;
        const uint8_t *pem = policy_key_pem(foreign_key->policy, &n);

        policy_key_free(w->token->key);
        assert_int_equal(policy_key_from_pem(pem, n, &w->token->key, &w->e), 0);
        w->signer.key = foreign_key;
        assert_fails(w, EPERM);
        assert_int_equal(w->signer.calls, 0);
}

static void test_altered_blob(void **state)
{
        struct world *w = *state;
        static const size_t places[] = {0, 1, 3, 40, 100, 0x9e, 0x9e + 3, 0x9e + 5, 0x9e + 20, 235};

        assert_int_equal(w->token->blob_size, 240);
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                w->token->blob[places[i]] ^= 0x10;
                assert_fails(w, EBADMSG);
                w->token->blob[places[i]] ^= 0x10;
        }
        w->token->blob_size--;
        assert_fails(w, EBADMSG);
        w->token->blob_size++;
        w->token->policy_hash[0] ^= 1;
        assert_fails(w, EBADMSG);
        w->token->policy_hash[0] ^= 1;
        assert_opens(w);
}

static void test_cleared(void **state)
{
        struct world *w = *state;

        assert_int_equal(Esys_Clear(w->tpm->esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE),
                         0);
        assert_fails(w, EREMOTE);
        w->token->has_parent_name = false; /* as in tokens of systemd: known from Load alone */
        assert_fails(w, EREMOTE);
}

static void test_other_tpm(void **state)
{
        struct world *w = *state;

        tpm_free(w->tpm);
        w->tpm = NULL;
        swtpm_stop_p(&w->emulator);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        reconnect(w);
        measured_boot(w);
        assert_fails(w, EREMOTE);
        w->token->has_parent_name = false;
        assert_fails(w, EREMOTE);
}

static void test_owner_password(void **state)
{
        struct world *w = *state;
        const TPM2B_AUTH password = {.size = 4, .buffer = "abcd"};
        const TPM2B_AUTH none = {.size = 0};

        assert_int_equal(Esys_HierarchyChangeAuth(w->tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                                  ESYS_TR_NONE, ESYS_TR_NONE, &password),
                         0);
        reconnect(w);
        assert_fails(w, EACCES);
        assert_int_equal(Esys_TR_SetAuth(w->tpm->esys, ESYS_TR_RH_OWNER, &password), 0);
        assert_int_equal(Esys_HierarchyChangeAuth(w->tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                                  ESYS_TR_NONE, ESYS_TR_NONE, &none),
                         0);
        reconnect(w);
        assert_opens(w);
}

/* Rebuilds the token's blob without noDA, as systemd 252 makes it. */
static void seal_with_da(struct world *w, const struct tpm_parent *parent)
{
        TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = SEAL_SECRET_SIZE};
        TPM2B_PUBLIC template = {
                .publicArea = {.type = TPM2_ALG_KEYEDHASH,
                               .nameAlg = TPM2_ALG_SHA256,
                               .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT,
                               .authPolicy.size = SHA256_SIZE,
                               .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL}};
        const TPM2B_DATA no_info = {.size = 0};
        const TPML_PCR_SELECTION no_pcrs = {.count = 0};
        TPM2B_PRIVATE *private = NULL;
        TPM2B_PUBLIC *public = NULL;
        size_t at = 0;

        memcpy(sensitive.sensitive.data.buffer, w->secret->data, SEAL_SECRET_SIZE);
        memcpy(template.publicArea.authPolicy.buffer, w->token->policy_hash, SHA256_SIZE);
        assert_int_equal(Esys_Create(w->tpm->esys, parent->esys, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                     ESYS_TR_NONE, &sensitive, &template, &no_info, &no_pcrs,
                                     &private, &public, NULL, NULL, NULL),
                         0);
        assert_int_equal(Tss2_MU_TPM2B_PRIVATE_Marshal(private, w->token->blob, 240, &at), 0);
        assert_int_equal(Tss2_MU_TPM2B_PUBLIC_Marshal(public, w->token->blob, 240, &at), 0);
        assert_int_equal(at, 240);
        Esys_Free(private);
        Esys_Free(public);
}

/* Zero tries are allowed: the TPM is in lockout at once. */
static void enter_lockout(struct world *w)
{
        struct tpm_info info;

        assert_int_equal(Esys_DictionaryAttackParameters(w->tpm->esys, ESYS_TR_RH_LOCKOUT,
                                                         ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                         ESYS_TR_NONE, 0, 1000, 1000),
                         0);
        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        assert_true(info.in_lockout);
        assert_int_equal(info.lockout_max, 0);
}

/* The legacy primary is subject to lockout, whatever lies under it; a storage root key is not. */
static void test_lockout(void **state)
{
        struct world *w = *state;
        const struct tpm_parent *parent;

        enter_lockout(w);
        assert_fails(w, ENOLCK);
        w->token->persistent = true;
        w->token->parent_handle = 0x81000001;
        make_persistent(w, 0x81000001);
        assert_int_equal(
                tpm_parent_persistent(w->tpm, 0x81000001, w->token->parent_name, &parent, &w->e),
                0);
        reseal(w, parent);
        assert_opens(w);
}

static struct secret *words(const char *text)
{
        struct secret *s = secret_new(strlen(text));

        assert_non_null(s);
        memcpy(s->data, text, s->len);
        return s;
}

static void seal_with_pin(struct world *w, const char *pin)
{
        const struct seal_policy policy = {.key = key->policy,
                                           .signed_pcrs = PCR11,
                                           .literal_pcrs = PCR7,
                                           .literal_values = w->pcr7,
                                           .pin = words(pin)};

        token_free(w->token);
        w->token = NULL;
        assert_int_equal(seal_create(w->tpm, &policy, w->secret, &w->token, &w->e), 0);
        assert_true(w->token->pin);
        secret_free((struct secret *)(uintptr_t)policy.pin);
}

static void give_pin(struct world *w, const char *pin)
{
        secret_free(w->pin);
        w->pin = pin ? words(pin) : NULL;
}

static unsigned wrong_tries(struct world *w)
{
        struct tpm_info info;

        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        return info.lockout_counter;
}

static void test_pin(void **state)
{
        struct world *w = *state;

        seal_with_pin(w, "open sesame");
        assert_fails(w, ENOANO);
        assert_int_equal(wrong_tries(w), 0);
        give_pin(w, "open sesame!");
        assert_fails(w, EILSEQ);
        assert_int_equal(wrong_tries(w), 1);
        give_pin(w, "open sesame");
        assert_opens(w);
        reconnect(w);
        assert_opens(w);
        /* A PIN that nobody asks for is in nobody's way. */
        token_free(w->token);
        w->token = NULL;
        assert_int_equal(
                seal_create(w->tpm, &(struct seal_policy){.key = key->policy, .signed_pcrs = PCR11},
                            w->secret, &w->token, &w->e),
                0);
        assert_opens(w);
}

/* What the machine's state rules out anyway is not a try: no PIN is asked for, none is counted. */
static void test_pin_comes_last(void **state)
{
        struct world *w = *state;

        seal_with_pin(w, "1234");
        w->signer.key = NULL;
        assert_fails(w, ENOKEY);
        w->signer.key = key;
        w->token->blob[20] ^= 1; /* whoever writes the disk can write rubbish */
        assert_fails(w, EBADMSG);
        w->token->blob[20] ^= 1;
        assert_int_equal(tpm_measure(w->tpm, 7, "off", 3, &w->e), 0);
        assert_fails(w, EPERM);
        give_pin(w, "4321");
        assert_fails(w, EPERM);
        assert_int_equal(wrong_tries(w), 0);
}

/* The TPM ends the guessing, and then not even the right one opens. */
static void test_pin_guessing_ends_in_lockout(void **state)
{
        struct world *w = *state;
        unsigned tries = 0;
        int r;

        seal_with_pin(w, "1234");
        assert_int_equal(Esys_DictionaryAttackParameters(w->tpm->esys, ESYS_TR_RH_LOCKOUT,
                                                         ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                         ESYS_TR_NONE, 3, 1000, 1000),
                         0);
        give_pin(w, "1111");
        do {
                _cleanup_(secret_free_p) struct secret *s = NULL;

                reconnect(w);
                r = seal_open(w->tpm, w->token, w->pin, test_find_signature, &w->signer, &s, &w->e);
        } while (r == -EILSEQ && ++tries < 10);
        assert_int_equal(r, -ENOLCK);
        assert_int_equal(tries, 3);
        give_pin(w, "1234");
        assert_fails(w, ENOLCK);
}

/* The token's text, as the boot stage reads it. */
static void test_pin_through_text(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_TOKEN_JSON);

        seal_with_pin(w, "1234");
        w->token->keyslot = 0;
        assert_int_equal(token_format(w->token, &text, &w->e), 0);
        assert_non_null(strstr(buf_str(&text), "\"tpm2-pin\":true"));
        assert_null(strstr(buf_str(&text), "salt"));
        token_free(w->token);
        w->token = NULL;
        assert_int_equal(token_parse(buf_str(&text), text.len, &w->token, &w->e), 0);
        give_pin(w, "1234");
        assert_opens(w);
}

/* --- proof --- */

static void prove(struct world *w, const uint8_t *pcr11, const uint8_t *pcr7,
                  const struct test_key *by, int code)
{
        _cleanup_(buf_done) struct buf sig = BUF_INIT(1024);
        uint8_t pol[SHA256_SIZE];
        int r;

        test_pol(11, w->pcr11, pol);
        test_key_sign(by, pol, &sig);
        r = seal_prove(w->tpm, w->token, pcr11, pcr7, sig.data, sig.len, &w->e);
        if (r != -code)
                print_error("%d: %s\n", r, w->e.text);
        assert_int_equal(r, -code);
        if (code)
                assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_no_leak(w->tpm);
}

static void test_prove(void **state)
{
        struct world *w = *state;
        uint8_t other[SHA256_SIZE] = {1};

        /* As in a live session: PCR 11 is closed, and PCR 7 is not that of the next boot. */
        assert_int_equal(tpm_measure(w->tpm, 11, "tb-agent-handover", 17, &w->e), 0);
        assert_int_equal(tpm_measure(w->tpm, 7, "setup mode", 10, &w->e), 0);
        prove(w, w->pcr11, w->pcr7, key, 0);
        prove(w, other, w->pcr7, key, EKEYREJECTED);
        prove(w, w->pcr11, w->pcr7, foreign_key, EKEYREJECTED);
        prove(w, w->pcr11, other, key, EPERM);
        prove(w, w->pcr11, w->pcr7, key, 0);
        seal_with_pin(w, "1234"); /* which the proof does not need */
        prove(w, w->pcr11, w->pcr7, key, 0);
        prove(w, w->pcr11, other, key, EPERM);
        w->token->blob[50] ^= 1;
        prove(w, w->pcr11, w->pcr7, key, EBADMSG);
        w->token->blob[50] ^= 1;
        assert_int_equal(Esys_Clear(w->tpm->esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE),
                         0);
        reconnect(w);
        prove(w, w->pcr11, w->pcr7, key, EREMOTE);
}

/* --- between the commands --- */

/* Extends PCR 1 before a PolicyAuthorize, as often as asked. */
struct intruder {
        unsigned times;
};

static void extend_in_between(void *ctx, TSS2_TCTI_CONTEXT *inner, bool is_command,
                              const uint8_t *data, size_t n)
{
        static const uint8_t event[] = {0x80, 0x02, 0, 0, 0,    0x1e, 0, 0, 1, 0x3c, /* header */
                                        0,    0,    0, 1,                            /* PCR 1 */
                                        0,    0,    0, 9, 0x40, 0,    0, 9, 0, 0,
                                        0,    0,    0, 0, 1,    'x'};
        struct intruder *i = ctx;
        uint8_t answer[4096];
        size_t size = sizeof(answer);

        /* TPM2_PolicyAuthorize */
        if (!is_command || n < 10 || data[8] != 0x01 || data[9] != 0x6a || i->times == 0)
                return;
        i->times--;
        assert_int_equal(Tss2_Tcti_Transmit(inner, sizeof(event), event), 0);
        assert_int_equal(Tss2_Tcti_Receive(inner, &size, answer, TSS2_TCTI_TIMEOUT_BLOCK), 0);
        assert_true(size >= 10 && memcmp(answer + 6, "\0\0\0\0", 4) == 0);
}

static void test_pcr_changed(void **state)
{
        struct world *w = *state;
        struct intruder i = {.times = 3};

        w->tpm->tcti->observer = extend_in_between;
        w->tpm->tcti->observer_ctx = &i;
        assert_opens(w);
        assert_int_equal(i.times, 0);
        i.times = 1000;
        assert_fails(w, ESTALE);
        assert_int_equal(i.times, 1000 - LIMIT_TPM_PCR_RETRIES);
        w->tpm->tcti->observer = NULL;
}

struct wiretap {
        const struct secret *secret;
        size_t bytes;
        bool seen;
};

static void listen_in(void *ctx, TSS2_TCTI_CONTEXT *inner, bool is_command, const uint8_t *data,
                      size_t n)
{
        struct wiretap *t = ctx;

        (void)inner;
        (void)is_command;
        t->bytes += n;
        if (memmem(data, n, t->secret->data, 8) || memmem(data, n, t->secret->data + 24, 8))
                t->seen = true;
}

/* The secret is never on the bus, neither when sealed nor when opened; the control is a plain one.
 */
static void test_bus(void **state)
{
        struct world *w = *state;
        struct wiretap tap = {.secret = w->secret};
        const struct seal_policy policy = {.key = key->policy, .signed_pcrs = PCR11};
        const struct tpm_parent *parent;

        w->tpm->tcti->observer = listen_in;
        w->tpm->tcti->observer_ctx = &tap;
        token_free(w->token);
        w->token = NULL;
        assert_int_equal(seal_create(w->tpm, &policy, w->secret, &w->token, &w->e), 0);
        assert_opens(w);
        assert_true(tap.bytes > 1000);
        assert_false(tap.seen);
        assert_int_equal(tpm_parent_legacy(w->tpm, false, &parent, &w->e), 0);
        seal_with_da(w, parent);
        assert_true(tap.seen);
        w->tpm->tcti->observer = NULL;
}

static int group_setup(void **state)
{
        (void)state;
        key = test_key_new(2048);
        foreign_key = test_key_new(3072);
        return 0;
}

static int group_teardown(void **state)
{
        (void)state;
        test_key_free(key);
        test_key_free(foreign_key);
        return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_open),
                TEST(test_open_after_reboot),
                TEST(test_single_policies),
                TEST(test_through_text),
                TEST(test_rsa_parent),
                TEST(test_persistent_parent),
                TEST(test_exponent0),
                TEST(test_wrong_pcr11),
                TEST(test_wrong_pcr7),
                TEST(test_signatures),
                TEST(test_foreign_key),
                TEST(test_altered_blob),
                TEST(test_cleared),
                TEST(test_other_tpm),
                TEST(test_owner_password),
                TEST(test_lockout),
                TEST(test_pin),
                TEST(test_pin_comes_last),
                TEST(test_pin_guessing_ends_in_lockout),
                TEST(test_pin_through_text),
                TEST(test_prove),
                TEST(test_pcr_changed),
                TEST(test_bus),
        };

        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
