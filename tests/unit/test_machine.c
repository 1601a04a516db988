/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/machine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/efivar_world.h"

static void put(const char *name, const char *value)
{
        efivar_world_put(name, EFIVAR_GUID_GLOBAL, EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, value, 1);
}

/* What "upgrade" asks first: no proof counts on a machine that starts anything. */
static void secure_boot_is_demanded(void **state)
{
        static const struct {
                const char *secure_boot, *setup_mode; /* NULL: no such variable */
                int result;
                const char *text, *advice;
        } cases[] = {
                {NULL, NULL, -ENOTSUP, "not started by UEFI", "UEFI mode"},
                {"\0", "\0", -ENOTSUP, "Secure Boot is off", "switch Secure Boot on"},
                {"\0", "\1", -ENOTSUP, "Secure Boot is off", "enrol the keys"},
                {"\2", "\0", -ENOTSUP, "", ""},
                {"\1", "\0", 0, "", ""},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;

                if (cases[i].secure_boot) {
                        put("SecureBoot", cases[i].secure_boot);
                        put("SetupMode", cases[i].setup_mode);
                }
                assert_int_equal(machine_check_secure_boot(&env, &e), cases[i].result);
                assert_int_equal(e.class, cases[i].result == 0 ? ERROR_NONE : ERROR_PRECONDITION);
                assert_non_null(strstr(e.text, cases[i].text));
                assert_non_null(strstr(e.advice, cases[i].advice));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(secure_boot_is_demanded, efivar_world_make,
                                                efivar_world_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
