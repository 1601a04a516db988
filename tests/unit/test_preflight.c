/* SPDX-License-Identifier: Apache-2.0 */
/* Which machine may become a node: the judgement, from facts made up here. */
#include "agent/preflight.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/limits.h"
#include "partition/layout.h"
#include "tests/unit/scratch.h"

static const struct preflight_facts good = {
        .uefi = true,
        .secure_boot = {.secure_boot = true},
        .tpm = {.family = "2.0", .manufacturer = "STM", .sha256_bank = true, .lockout_max = 32},
        .memory = 2 * GIB,
        .image_size = 100 * MIB,
        .esp_size = 5 * GIB,
};

/* Everything passes but this check, which has this state and an error of this number. */
static void expect_only(const struct preflight_facts *f, enum preflight_check check,
                        enum proof_state state, int code)
{
        struct preflight p;
        struct error e = ERROR_INIT;

        preflight_judge(f, &p);
        for (unsigned i = 0; i < PREFLIGHT_MAX; i++) {
                if (i != check && p.item[i].state != PROOF_PASSED)
                        fail_msg("%s: %s", preflight_name((enum preflight_check)i), p.item[i].text);
                assert_true(*p.item[i].text);
        }
        assert_int_equal(p.item[check].state, state);
        assert_int_equal(preflight_enforce(&p, &e), -code);
        if (code == 0)
                return;
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_string_equal(e.text, p.item[check].text);
        assert_true(*e.advice);
}

static void test_good_machine(void **state)
{
        (void)state;
        expect_only(&good, PREFLIGHT_UEFI, PROOF_PASSED, 0);
}

static void test_secure_boot(void **state)
{
        static const struct {
                bool on, setup, keys;
                enum proof_state state;
                int code;
                const char *advice;
        } table[] = {
                {true, false, false, PROOF_PASSED, 0, ""},
                {false, false, false, PROOF_FAILED, ENOTSUP, "switch Secure Boot on"},
                {false, true, false, PROOF_FAILED, ENOTSUP, "--enroll-keys"},
                {false, true, true, PROOF_PASSED, 0, ""},
                {true, false, true, PROOF_FAILED, EPERM, "leave --enroll-keys out"},
                {false, false, true, PROOF_FAILED, EPERM, "delete the platform key"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct preflight_facts f = good;
                struct preflight p;

                f.secure_boot = (struct secureboot_state){table[i].on, table[i].setup};
                f.keys_given = table[i].keys;
                expect_only(&f, PREFLIGHT_SECURE_BOOT, table[i].state, table[i].code);
                preflight_judge(&f, &p);
                assert_non_null(strstr(p.item[PREFLIGHT_SECURE_BOOT].advice, table[i].advice));
        }
}

/* Without UEFI there is no Secure Boot to be judged. */
static void test_no_uefi(void **state)
{
        struct preflight_facts f = good;
        struct preflight p;
        struct error e = ERROR_INIT;

        (void)state;
        f.uefi = false;
        preflight_judge(&f, &p);
        assert_int_equal(p.item[PREFLIGHT_UEFI].state, PROOF_FAILED);
        assert_int_equal(p.item[PREFLIGHT_SECURE_BOOT].state, PROOF_NOT_REACHED);
        assert_int_equal(preflight_enforce(&p, &e), -ENOTSUP);
}

static void test_no_tpm(void **state)
{
        struct preflight_facts f = good;
        struct preflight p;
        struct error e = ERROR_INIT;

        (void)state;
        error_set(&f.tpm_error, ERROR_PRECONDITION, ENODEV, "no TPM at device:/dev/tpmrm0");
        error_advise(&f.tpm_error, "enable it");
        preflight_judge(&f, &p);
        for (unsigned i = PREFLIGHT_TPM_KIND; i <= PREFLIGHT_STORAGE_KEY; i++)
                assert_int_equal(p.item[i].state, PROOF_NOT_REACHED);
        assert_int_equal(preflight_enforce(&p, &e), -ENODEV);
        assert_string_equal(e.advice, "enable it");
        f = good;
        (void)snprintf(f.tpm.family, sizeof(f.tpm.family), "1.2");
        preflight_judge(&f, &p);
        assert_int_equal(preflight_enforce(&p, &e), -EPROTONOSUPPORT);
}

static void test_software_tpm(void **state)
{
        static const struct {
                const char *manufacturer, *vendor;
                enum preflight_tpm_kind kind;
        } table[] = {
                {"IBM", "SW   TPM", PREFLIGHT_TPM_SOFTWARE},
                {"IBM ", "", PREFLIGHT_TPM_SOFTWARE},
                {"SW  ", "", PREFLIGHT_TPM_SOFTWARE},
                {"XCG ", "fTPM", PREFLIGHT_TPM_SOFTWARE},
                {"NTC ", "SW   TPM", PREFLIGHT_TPM_SOFTWARE},
                {"MSFT", "", PREFLIGHT_TPM_VIRTUAL},
                {"GOOG", "", PREFLIGHT_TPM_VIRTUAL},
                {"IFX ", "SLB9670", PREFLIGHT_TPM_HARDWARE},
                {"INTC", "Intel", PREFLIGHT_TPM_HARDWARE},
                {"AMD", "AMD", PREFLIGHT_TPM_HARDWARE},
                {"IBMX", "", PREFLIGHT_TPM_HARDWARE},
        };
        struct preflight_facts f = good;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct tpm_info info = {.family = "2.0"};

                (void)snprintf(info.manufacturer, sizeof(info.manufacturer), "%s",
                               table[i].manufacturer);
                (void)snprintf(info.vendor, sizeof(info.vendor), "%s", table[i].vendor);
                assert_int_equal(preflight_tpm_kind(&info), table[i].kind);
        }
        (void)snprintf(f.tpm.manufacturer, sizeof(f.tpm.manufacturer), "IBM");
        expect_only(&f, PREFLIGHT_TPM_KIND, PROOF_FAILED, EPERM);
        f.allow_software_tpm = true;
        expect_only(&f, PREFLIGHT_TPM_KIND, PROOF_OVERRIDDEN, 0);
        (void)snprintf(f.tpm.manufacturer, sizeof(f.tpm.manufacturer), "VMW ");
        expect_only(&f, PREFLIGHT_TPM_KIND, PROOF_WARNING, 0);
}

static void test_lockout(void **state)
{
        struct preflight_facts f = good;

        (void)state;
        f.tpm.lockout_counter = 31;
        expect_only(&f, PREFLIGHT_LOCKOUT, PROOF_WARNING, 0);
        f.tpm.lockout_counter = 32;
        expect_only(&f, PREFLIGHT_LOCKOUT, PROOF_FAILED, ENOLCK);
        f.tpm.lockout_counter = 0;
        f.tpm.in_lockout = true;
        expect_only(&f, PREFLIGHT_LOCKOUT, PROOF_FAILED, ENOLCK);
}

static void test_bank_and_storage_key(void **state)
{
        struct preflight_facts f = good;

        (void)state;
        f.tpm.sha256_bank = false;
        expect_only(&f, PREFLIGHT_PCR_BANK, PROOF_FAILED, EPROTONOSUPPORT);
        f = good;
        error_set(&f.storage_key, ERROR_PRECONDITION, EACCES, "the owner hierarchy has a password");
        error_advise(&f.storage_key, "remove it");
        expect_only(&f, PREFLIGHT_STORAGE_KEY, PROOF_FAILED, EACCES);
}

static void test_sizes(void **state)
{
        struct preflight_facts f = good;

        (void)state;
        f.memory = 2 * f.image_size;
        expect_only(&f, PREFLIGHT_MEMORY, PROOF_PASSED, 0);
        f.memory--;
        expect_only(&f, PREFLIGHT_MEMORY, PROOF_FAILED, ENOMEM);
        f.memory = 0;
        expect_only(&f, PREFLIGHT_MEMORY, PROOF_NOT_APPLICABLE, 0);
        f = good;
        f.esp_size = 3 * f.image_size;
        expect_only(&f, PREFLIGHT_ESP, PROOF_FAILED, ENOSPC);
        f.esp_size = 0;
        expect_only(&f, PREFLIGHT_ESP, PROOF_NOT_APPLICABLE, 0);
}

/* Several at once: the first is the error, the list has all. */
static void test_list(void **state)
{
        struct preflight_facts f = good;
        struct preflight p;
        struct error e = ERROR_INIT;
        _cleanup_json_ struct json_object *list = NULL;
        const char *text;
        unsigned failed = 0;

        (void)state;
        f.secure_boot.secure_boot = false;
        f.tpm.sha256_bank = false;
        f.tpm.in_lockout = true;
        preflight_judge(&f, &p);
        assert_int_equal(preflight_enforce(&p, &e), -ENOTSUP);
        list = preflight_json(&p);
        assert_int_equal(json_object_array_length(list), PREFLIGHT_MAX);
        for (size_t i = 0; i < PREFLIGHT_MAX; i++) {
                struct json_object *o = json_object_array_get_idx(list, i);

                assert_int_equal(json_get_str(o, "check", &text), 0);
                assert_string_equal(text, preflight_name((enum preflight_check)i));
                assert_int_equal(json_get_str(o, "state", &text), 0);
                if (strcmp(text, "failed") != 0)
                        continue;
                failed++;
                assert_int_equal(json_get_str(o, "advice", &text), 0);
        }
        assert_int_equal(failed, 3);
}

static void test_memory_is_read(void **state)
{
        struct scratch dir;
        struct env env = ENV_INIT;
        struct preflight_facts f = {0};

        (void)state;
        scratch_make(&dir);
        env.proc = env.efivarfs = dir.path;
        env.tcti = "device:/nonexistent";
        scratch_put_text(&dir, "meminfo", "MemTotal:        8048636 kB\nMemFree:  1 kB\n");
        preflight_read(&env, &f);
        assert_int_equal(f.memory, UINT64_C(8048636) * 1024);
        assert_false(f.uefi);
        assert_int_equal(f.tpm_error.code, ENODEV);
        scratch_put_text(&dir, "meminfo", "MemTotal:  99999999999999999999 kB\n");
        preflight_read(&env, &f);
        assert_int_equal(f.memory, 0);
        scratch_clean(&dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good_machine),
                cmocka_unit_test(test_secure_boot),
                cmocka_unit_test(test_no_uefi),
                cmocka_unit_test(test_no_tpm),
                cmocka_unit_test(test_software_tpm),
                cmocka_unit_test(test_lockout),
                cmocka_unit_test(test_bank_and_storage_key),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_list),
                cmocka_unit_test(test_memory_is_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
