/* SPDX-License-Identifier: Apache-2.0 */
/* PCRs, measurements and state, on a real software TPM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <tss2/tss2_esys.h>

#include "base/codec.h"
#include "partition/tpm.h"
#include "partition/tpm_esys.h"
#include "partition/tpm_mark.h"
#include "tests/support/swtpm.h"

struct world {
        struct swtpm *emulator;
        struct tpm *tpm;
        struct error e;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        free(w);
        return 0;
}

static void test_open_sends_nothing(void **state)
{
        struct world *w = *state;
        struct tpm_info info;

        assert_int_equal(tpm_command_count(w->tpm), 0);
        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        assert_int_equal(tpm_command_count(w->tpm), 3);
}

static void test_no_tpm(void **state)
{
        struct world *w = *state;
        struct tpm *t = NULL;
        static const char *const nowhere[] = {"device:/nonexistent/tpm", "swtpm:port=1",
                                              "no-such-transport:"};

        for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++) {
                assert_int_equal(tpm_open(nowhere[i], &t, &w->e), -ENODEV);
                assert_int_equal(w->e.class, ERROR_PRECONDITION);
                assert_true(w->e.advice[0] != '\0');
                assert_null(t);
        }
}

static void test_info(void **state)
{
        struct world *w = *state;
        struct tpm_info info;

        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        assert_string_equal(info.family, "2.0");
        assert_string_equal(info.manufacturer, "IBM");
        assert_true(info.sha256_bank);
        assert_false(info.in_lockout);
        assert_false(info.owner_auth_set);
        assert_int_equal(info.lockout_counter, 0);
}

/* More PCRs than one command delivers. */
static void test_read_many(void **state)
{
        struct world *w = *state;
        uint8_t all[24 * SHA256_SIZE], one[SHA256_SIZE];

        assert_int_equal(tpm_measure(w->tpm, 11, "x", 1, &w->e), 0);
        assert_int_equal(tpm_read_pcrs(w->tpm, 0xffffff, all, &w->e), 0);
        assert_int_equal(tpm_read_pcrs(w->tpm, 1u << 11, one, &w->e), 0);
        assert_memory_equal(all + 11 * SHA256_SIZE, one, SHA256_SIZE);
        assert_int_equal(all[17 * SHA256_SIZE], 0xff);
        assert_int_equal(tpm_read_pcrs(w->tpm, 0, all, &w->e), -EINVAL);
        assert_int_equal(tpm_read_pcrs(w->tpm, 1u << 24, all, &w->e), -EINVAL);
}

static void extend_by_hash(uint8_t pcr[SHA256_SIZE], const uint8_t hash[SHA256_SIZE])
{
        uint8_t input[2 * SHA256_SIZE];

        memcpy(input, pcr, SHA256_SIZE);
        memcpy(input + SHA256_SIZE, hash, SHA256_SIZE);
        assert_int_equal(sha256(input, sizeof(input), pcr), 0);
}

/* The golden value: PCR 11 of an image with two sections, then the phase word. */
static void test_measure(void **state)
{
        struct world *w = *state;
        static const struct {
                const char *text;
                size_t n;
        } steps[] = {{".linux", 7},
                     {"HALLO\n", 6},
                     {".initrd", 8},
                     {"foobar\n", 7},
                     {"enter-initrd", 12}};
        uint8_t value[SHA256_SIZE], want[SHA256_SIZE];

        for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
                assert_int_equal(tpm_measure(w->tpm, 11, steps[i].text, steps[i].n, &w->e), 0);
        assert_int_equal(tpm_command_count(w->tpm), ARRAY_SIZE(steps));
        assert_int_equal(tpm_read_pcrs(w->tpm, 1u << 11, value, &w->e), 0);
        assert_int_equal(
                hex_decode("0aa67f92271757adc73e44704977b080d37749d39c29a31d10c4f27f1e61bff0", want,
                           sizeof(want)),
                0);
        assert_memory_equal(value, want, SHA256_SIZE);
        assert_int_equal(tpm_measure(w->tpm, 24, "x", 1, &w->e), -EINVAL);
}

static unsigned read_bank(struct tpm *t, TPM2_ALG_ID alg, unsigned pcr, uint8_t *out)
{
        TPML_PCR_SELECTION want = {.count = 1,
                                   .pcrSelections[0] = {.hash = alg, .sizeofSelect = 3}};
        TPML_DIGEST *values = NULL;
        unsigned n;

        want.pcrSelections[0].pcrSelect[pcr / 8] = (uint8_t)(1u << pcr % 8);
        assert_int_equal(Esys_PCR_Read(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &want,
                                       NULL, NULL, &values),
                         0);
        n = values->count == 1 ? values->digests[0].size : 0;
        memcpy(out, values->digests[0].buffer, n);
        Esys_Free(values);
        return n;
}

static void test_volume_key(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *key = secret_new(64);
        static const char text[] = "cryptsetup:a\\x3ab:1234-5678";
        uint8_t value[64], hmac[64], want[SHA256_SIZE] = {0}, input[128] = {0};
        unsigned n = 0;

        memset(key->data, 7, key->len);
        assert_int_equal(tpm_measure_volume_key(w->tpm, "a:b", "1234-5678", key, &w->e), 0);
        assert_int_equal(tpm_command_count(w->tpm), 2);

        assert_non_null(HMAC(EVP_sha256(), key->data, 64, (const uint8_t *)text, sizeof(text) - 1,
                             hmac, &n));
        extend_by_hash(want, hmac);
        assert_int_equal(tpm_read_pcrs(w->tpm, 1u << 15, value, &w->e), 0);
        assert_memory_equal(value, want, SHA256_SIZE);

        /* Another bank of the same TPM. */
        n = read_bank(w->tpm, TPM2_ALG_SHA384, 15, value);
        assert_int_equal(n, 48);
        assert_non_null(HMAC(EVP_sha384(), key->data, 64, (const uint8_t *)text, sizeof(text) - 1,
                             input + 48, &n));
        assert_int_equal(EVP_Digest(input, 96, hmac, NULL, EVP_sha384(), NULL), 1);
        assert_memory_equal(value, hmac, 48);
}

static void restart(struct world *w)
{
        tpm_free(w->tpm);
        w->tpm = NULL;
        assert_int_equal(swtpm_reboot(w->emulator), 0);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
}

/* It outlives a reboot, and goes with everything that was sealed. */
static void test_mark(void **state)
{
        struct world *w = *state;
        uint64_t before;

        assert_int_equal(tpm_mark_look(w->tpm, &w->e), 0);
        if (tpm_mark_set(w->tpm, &w->e) < 0)
                fail_msg("%s", w->e.text);
        before = tpm_command_count(w->tpm);
        assert_int_equal(tpm_mark_set(w->tpm, &w->e), 0);
        assert_int_equal(tpm_command_count(w->tpm), before + 1);
        restart(w);
        assert_int_equal(tpm_mark_look(w->tpm, &w->e), 1);
        assert_int_equal(Esys_Clear(w->tpm->esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE),
                         TSS2_RC_SUCCESS);
        assert_int_equal(tpm_mark_look(w->tpm, &w->e), 0);
}

static void test_reboot_resets(void **state)
{
        struct world *w = *state;
        uint8_t before[SHA256_SIZE], after[SHA256_SIZE];
        static const uint8_t zeros[SHA256_SIZE];

        assert_int_equal(tpm_measure(w->tpm, 11, "x", 1, &w->e), 0);
        assert_int_equal(tpm_read_pcrs(w->tpm, 1u << 11, before, &w->e), 0);
        restart(w);
        assert_int_equal(tpm_read_pcrs(w->tpm, 1u << 11, after, &w->e), 0);
        assert_memory_not_equal(before, after, SHA256_SIZE);
        assert_memory_equal(after, zeros, SHA256_SIZE);
}

/* Firmware measures into the banks there are. */
static void test_used_in_any_bank(void **state)
{
        static const TPMI_ALG_HASH banks[] = {TPM2_ALG_SHA1, TPM2_ALG_SHA256, TPM2_ALG_SHA384,
                                              TPM2_ALG_SHA512};
        struct world *w = *state;
        TPML_PCR_SELECTION wish = {.count = ARRAY_SIZE(banks)};
        uint8_t value[SHA256_SIZE];
        UINT32 most, needed, available;
        TPMI_YES_NO done;

        assert_int_equal(tpm_pcr_is_used(w->tpm, 11, &w->e), 0);
        assert_int_equal(tpm_measure(w->tpm, 11, "x", 1, &w->e), 0);
        assert_int_equal(tpm_pcr_is_used(w->tpm, 11, &w->e), 1);
        assert_int_equal(tpm_pcr_is_used(w->tpm, 12, &w->e), 0);
        assert_int_equal(tpm_pcr_is_used(w->tpm, 24, &w->e), -EINVAL);

        for (size_t i = 0; i < ARRAY_SIZE(banks); i++) {
                wish.pcrSelections[i] = (TPMS_PCR_SELECTION){.hash = banks[i], .sizeofSelect = 3};
                if (banks[i] == TPM2_ALG_SHA384)
                        memset(wish.pcrSelections[i].pcrSelect, 0xff, 3);
        }
        assert_int_equal(Esys_PCR_Allocate(w->tpm->esys, ESYS_TR_RH_PLATFORM, ESYS_TR_PASSWORD,
                                           ESYS_TR_NONE, ESYS_TR_NONE, &wish, &done, &most, &needed,
                                           &available),
                         TSS2_RC_SUCCESS);
        restart(w);
        assert_int_equal(tpm_read_pcrs(w->tpm, 1u << 11, value, &w->e), -EPROTONOSUPPORT);
        assert_int_equal(tpm_pcr_is_used(w->tpm, 11, &w->e), 0);
        assert_int_equal(tpm_measure(w->tpm, 11, "x", 1, &w->e), 0);
        assert_int_equal(tpm_pcr_is_used(w->tpm, 11, &w->e), 1);
}

/* The TPM goes away between two commands. */
static void test_lost(void **state)
{
        struct world *w = *state;
        uint8_t value[SHA256_SIZE];

        assert_int_equal(tpm_read_pcrs(w->tpm, 1, value, &w->e), 0);
        swtpm_stop(w->emulator);
        w->emulator = NULL;
        assert_int_equal(tpm_read_pcrs(w->tpm, 1, value, &w->e), -EIO);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_true(w->e.advice[0] != '\0');
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_open_sends_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_tpm, setup, teardown),
                cmocka_unit_test_setup_teardown(test_info, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_many, setup, teardown),
                cmocka_unit_test_setup_teardown(test_measure, setup, teardown),
                cmocka_unit_test_setup_teardown(test_volume_key, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mark, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reboot_resets, setup, teardown),
                cmocka_unit_test_setup_teardown(test_used_in_any_bank, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
