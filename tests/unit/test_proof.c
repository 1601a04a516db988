/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "upgrade/proof.h"

static void all(struct proofs *p, enum proof_state state)
{
        for (unsigned i = 0; i < PROOF_MAX; i++)
                proof_set(p, (enum proof_id)i, state, "text %u", i);
}

static void complete_list_passes(void **state)
{
        static const enum proof_state fine[] = {PROOF_PASSED, PROOF_WARNING, PROOF_NOT_APPLICABLE};
        struct proofs p = {0};
        struct error e = ERROR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
                all(&p, fine[i]);
                assert_int_equal(proofs_enforce(&p, &e), 0);
        }
        assert_int_equal(e.class, ERROR_NONE);
}

static void missing_proof_is_a_refusal(void **state)
{
        struct proofs p = {0};
        struct error e = ERROR_INIT;

        (void)state;
        assert_true(proofs_enforce(&p, &e) < 0);
        for (unsigned i = 0; i < PROOF_MAX; i++) {
                all(&p, PROOF_PASSED);
                p.item[i].state = PROOF_NOT_REACHED;
                error_clear(&e);
                assert_true(proofs_enforce(&p, &e) < 0);
                assert_non_null(strstr(e.text, proof_name((enum proof_id)i)));
        }
}

static void first_failure_decides_class_errno_and_advice(void **state)
{
        struct error cause = ERROR_INIT, e = ERROR_INIT;
        struct proofs p = {0};

        (void)state;
        all(&p, PROOF_PASSED);
        error_set(&cause, ERROR_REFUSED, EKEYREVOKED, "revoked");
        error_advise(&cause, "take another");
        proof_fail(&p, PROOF_SECURE_BOOT, ERROR_REVOKED, &cause);
        error_set(&cause, ERROR_REFUSED, EPERM, "old");
        proof_fail(&p, PROOF_VERSION, ERROR_VERSION, &cause);
        assert_int_equal(proofs_enforce(&p, &e), -EKEYREVOKED);
        assert_int_equal(e.class, ERROR_REVOKED);
        assert_string_equal(e.text, "secure-boot: revoked");
        assert_string_equal(e.advice, "take another");
}

/* Memory and devices fail for reasons of their own: that must not read like a verdict about the
 * image. */
static void trouble_of_our_own_keeps_its_class(void **state)
{
        struct error cause = ERROR_INIT, e = ERROR_INIT;
        struct proofs p = {0};

        (void)state;
        all(&p, PROOF_PASSED);
        error_oom(&cause);
        proof_fail(&p, PROOF_SECURE_BOOT, ERROR_SIGNATURE, &cause);
        assert_int_equal(proofs_enforce(&p, &e), -ENOMEM);
        assert_int_equal(e.class, ERROR_INTERNAL);
}

static void override_is_visible_and_passes(void **state)
{
        struct error cause = ERROR_INIT, e = ERROR_INIT;
        _cleanup_json_ struct json_object *array = NULL;
        struct json_object *item;
        struct proofs p = {0};
        char text[64], cut[16];
        const char *s;

        (void)state;
        all(&p, PROOF_PASSED);
        proofs_overrides(&p, text, sizeof(text));
        assert_string_equal(text, "");
        error_set(&cause, ERROR_VERSION, EPERM, "1 is below 2");
        proof_fail(&p, PROOF_VERSION, ERROR_VERSION, &cause);
        proof_override(&p, PROOF_VERSION, "--allow-downgrade");
        assert_int_equal(proofs_enforce(&p, &e), 0);
        array = proofs_json(&p);
        assert_non_null(array);
        assert_int_equal(json_object_array_length(array), PROOF_MAX);
        item = json_object_array_get_idx(array, PROOF_VERSION);
        assert_int_equal(json_get_str(item, "proof", &s), 0);
        assert_string_equal(s, "version");
        assert_int_equal(json_get_str(item, "state", &s), 0);
        assert_string_equal(s, "overridden");
        assert_int_equal(json_get_str(item, "text", &s), 0);
        assert_string_equal(s, "1 is below 2");
        assert_int_equal(json_get_str(item, "advice", &s), 0);
        assert_non_null(strstr(s, "--allow-downgrade"));
        proofs_overrides(&p, text, sizeof(text));
        assert_string_equal(text, "version: 1 is below 2 (accepted by --allow-downgrade)");
        proofs_overrides(&p, cut, sizeof(cut));
        assert_string_equal(cut, "version: 1 is b");
}

static void revocations_have_their_own_class(void **state)
{
        (void)state;
        assert_int_equal(proof_trust_class(-EKEYREVOKED), ERROR_REVOKED);
        assert_int_equal(proof_trust_class(-EPERM), ERROR_REVOKED);
        assert_int_equal(proof_trust_class(-ENODATA), ERROR_SIGNATURE);
        assert_int_equal(proof_trust_class(-ENOKEY), ERROR_SIGNATURE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(complete_list_passes),
                cmocka_unit_test(missing_proof_is_a_refusal),
                cmocka_unit_test(first_failure_decides_class_errno_and_advice),
                cmocka_unit_test(trouble_of_our_own_keeps_its_class),
                cmocka_unit_test(override_is_visible_and_passes),
                cmocka_unit_test(revocations_have_their_own_class),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
