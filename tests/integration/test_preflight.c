/* SPDX-License-Identifier: Apache-2.0 */
/* What a real software TPM says of itself before an installation, also when it is in a bad way. */
#include "agent/preflight.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "partition/tpm_esys.h"
#include "tests/support/swtpm.h"

struct world {
        struct swtpm *emulator;
        struct env env;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        w->env = (struct env)ENV_INIT;
        w->env.efivarfs = "/nonexistent";
        w->env.tcti = w->emulator->tcti;
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        swtpm_stop(w->emulator);
        free(w);
        return 0;
}

static enum proof_state state_of(const struct world *w, enum preflight_check check)
{
        struct preflight_facts facts = {.allow_software_tpm = true};
        struct preflight p;

        preflight_read(&w->env, &facts);
        preflight_judge(&facts, &p);
        return p.item[check].state;
}

static struct tpm *open_tpm(const struct world *w)
{
        struct tpm *t = NULL;

        assert_int_equal(tpm_open(w->env.tcti, &t, NULL), 0);
        return t;
}

static void test_healthy(void **state)
{
        struct world *w = *state;
        struct preflight_facts facts = {.allow_software_tpm = false};
        struct preflight p;

        preflight_read(&w->env, &facts);
        assert_int_equal(facts.tpm_error.code, 0);
        assert_int_equal(facts.storage_key.code, 0);
        assert_true(facts.memory > 0);
        preflight_judge(&facts, &p);
        assert_int_equal(p.item[PREFLIGHT_TPM].state, PROOF_PASSED);
        assert_int_equal(p.item[PREFLIGHT_TPM_KIND].state, PROOF_FAILED);
        assert_int_equal(p.item[PREFLIGHT_PCR_BANK].state, PROOF_PASSED);
        assert_int_equal(p.item[PREFLIGHT_LOCKOUT].state, PROOF_PASSED);
        assert_int_equal(p.item[PREFLIGHT_STORAGE_KEY].state, PROOF_PASSED);
        assert_int_equal(state_of(w, PREFLIGHT_TPM_KIND), PROOF_OVERRIDDEN);
}

/* An index with a password that nobody knows; subject to lockout. */
static ESYS_TR make_index(struct tpm *t)
{
        const TPM2B_AUTH auth = {.size = 3, .buffer = "abc"};
        const TPM2B_NV_PUBLIC public = {
                .nvPublic = {.nvIndex = 0x01800123,
                             .nameAlg = TPM2_ALG_SHA256,
                             .attributes = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE,
                             .dataSize = 8},
        };
        ESYS_TR index = ESYS_TR_NONE;

        assert_int_equal(Esys_NV_DefineSpace(t->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                             ESYS_TR_NONE, ESYS_TR_NONE, &auth, &public, &index),
                         TSS2_RC_SUCCESS);
        return index;
}

static void fail_once(struct tpm *t, ESYS_TR index)
{
        const TPM2B_AUTH wrong = {.size = 5, .buffer = "wrong"};
        const TPM2B_MAX_NV_BUFFER data = {.size = 1};

        assert_int_equal(Esys_TR_SetAuth(t->esys, index, &wrong), TSS2_RC_SUCCESS);
        assert_int_not_equal(Esys_NV_Write(t->esys, index, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                           ESYS_TR_NONE, &data, 0),
                             TSS2_RC_SUCCESS);
}

/* Two failures are allowed: one is a warning, two are the lockout. */
static void test_lockout(void **state)
{
        struct world *w = *state;
        struct tpm *t = open_tpm(w);
        ESYS_TR index = make_index(t);

        assert_int_equal(Esys_DictionaryAttackParameters(t->esys, ESYS_TR_RH_LOCKOUT,
                                                         ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                         ESYS_TR_NONE, 2, 1000, 1000),
                         TSS2_RC_SUCCESS);
        fail_once(t, index);
        tpm_free(t);
        assert_int_equal(state_of(w, PREFLIGHT_LOCKOUT), PROOF_WARNING);
        t = open_tpm(w);
        assert_int_equal(Esys_TR_FromTPMPublic(t->esys, 0x01800123, ESYS_TR_NONE, ESYS_TR_NONE,
                                               ESYS_TR_NONE, &index),
                         TSS2_RC_SUCCESS);
        fail_once(t, index);
        tpm_free(t);
        assert_int_equal(state_of(w, PREFLIGHT_LOCKOUT), PROOF_FAILED);
        /* That is its only trouble. */
        assert_int_equal(state_of(w, PREFLIGHT_PCR_BANK), PROOF_PASSED);
}

/* The bank is switched off, as a firmware setup can; it counts from the next start on. */
static void test_no_sha256_bank(void **state)
{
        struct world *w = *state;
        struct tpm *t = open_tpm(w);
        const TPML_PCR_SELECTION banks = {
                .count = 2,
                .pcrSelections = {{.hash = TPM2_ALG_SHA256, .sizeofSelect = 3},
                                  {.hash = TPM2_ALG_SHA384,
                                   .sizeofSelect = 3,
                                   .pcrSelect = {0xff, 0xff, 0xff}}},
        };
        TPMI_YES_NO done = TPM2_NO;
        UINT32 max, needed, available;

        assert_int_equal(Esys_PCR_Allocate(t->esys, ESYS_TR_RH_PLATFORM, ESYS_TR_PASSWORD,
                                           ESYS_TR_NONE, ESYS_TR_NONE, &banks, &done, &max, &needed,
                                           &available),
                         TSS2_RC_SUCCESS);
        assert_int_equal(done, TPM2_YES);
        tpm_free(t);
        assert_int_equal(swtpm_reboot(w->emulator), 0);
        w->env.tcti = w->emulator->tcti;
        assert_int_equal(state_of(w, PREFLIGHT_PCR_BANK), PROOF_FAILED);
        assert_int_equal(state_of(w, PREFLIGHT_LOCKOUT), PROOF_PASSED);
}

/* Somebody owns it: the key that everything is sealed under cannot be made. */
static void test_owner_password(void **state)
{
        struct world *w = *state;
        struct tpm *t = open_tpm(w);
        const TPM2B_AUTH auth = {.size = 3, .buffer = "abc"};
        struct preflight_facts facts = {.allow_software_tpm = true};
        struct preflight p;
        struct error e = ERROR_INIT;

        assert_int_equal(Esys_HierarchyChangeAuth(t->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                                  ESYS_TR_NONE, ESYS_TR_NONE, &auth),
                         TSS2_RC_SUCCESS);
        tpm_free(t);
        preflight_read(&w->env, &facts);
        preflight_judge(&facts, &p);
        assert_int_equal(p.item[PREFLIGHT_STORAGE_KEY].state, PROOF_FAILED);
        assert_non_null(strstr(p.item[PREFLIGHT_STORAGE_KEY].text, "password"));
        p.item[PREFLIGHT_UEFI].state = PROOF_PASSED; /* there is no firmware in this test */
        assert_int_equal(preflight_enforce(&p, &e), -EACCES);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_healthy, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lockout, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_sha256_bank, setup, teardown),
                cmocka_unit_test_setup_teardown(test_owner_password, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
