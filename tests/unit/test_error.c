/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What a failure says next: its own advice first, and something for what can be tried again. */
static void test_advice_of_class(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_null(error_advice(&e));
        error_set(&e, ERROR_PRECONDITION, EPERM, "no");
        assert_null(error_advice(&e));
        error_set(&e, ERROR_SOURCE, EIO, "gone");
        assert_non_null(strstr(error_advice(&e), "the same command"));
        error_advise(&e, "ask %s", "them");
        assert_string_equal(error_advice(&e), "ask them");
}

static void test_classes(void **state)
{
        /* An interface of fleet jobs: these numbers and names never change. */
        static const struct {
                enum error_class class;
                int code;
                const char *name;
        } table[] = {
                {ERROR_NONE, 0, "success"},
                {ERROR_INTERNAL, 1, "internal"},
                {ERROR_USAGE, 2, "usage"},
                {ERROR_NOTHING, 3, "nothing-to-do"},
                {ERROR_CONFIG, 4, "config"},
                {ERROR_SOURCE, 5, "source-unreachable"},
                {ERROR_REFUSED, 6, "refused"},
                {ERROR_SPACE, 7, "no-space"},
                {ERROR_BUSY, 8, "busy"},
                {ERROR_IO, 9, "target-io"},
                {ERROR_PRECONDITION, 10, "precondition"},
                {ERROR_INTERRUPTED, 11, "interrupted"},
                {ERROR_SIGNATURE, 12, "refused-signature"},
                {ERROR_REVOKED, 13, "refused-revoked"},
                {ERROR_POLICY_KEY, 14, "refused-policy-key"},
                {ERROR_PCR_SIGNATURE, 15, "refused-pcr-signature"},
                {ERROR_VERSION, 16, "refused-version"},
        };

        (void)state;
        assert_int_equal(ARRAY_SIZE(table), ERROR_CLASS_MAX);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(error_exit_code(table[i].class), table[i].code);
                assert_string_equal(error_class_name(table[i].class), table[i].name);
        }
        assert_int_equal(error_exit_code(ERROR_CLASS_MAX), 1);
        assert_string_equal(error_class_name(ERROR_CLASS_MAX), "internal");
}

static void test_set(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(error_set(&e, ERROR_REFUSED, EBADMSG, "image %d: %s", 7, "bad"), -EBADMSG);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_int_equal(e.code, EBADMSG);
        assert_string_equal(e.text, "image 7: bad");
        error_advise(&e, "get another one");
        /* The last cause counts, and brings its own advice. */
        assert_int_equal(error_set(&e, ERROR_BUSY, EBUSY, "busy"), -EBUSY);
        assert_string_equal(e.text, "busy");
        assert_string_equal(e.advice, "");
        error_clear(&e);
        assert_int_equal(e.code, 0);
        assert_int_equal(e.class, ERROR_NONE);
        assert_int_equal(error_oom(&e), -ENOMEM);
        assert_int_equal(e.class, ERROR_INTERNAL);
}

/* What a machine could not do says nothing about an image or a configuration. */
static void test_no_verdict(void **state)
{
        static const struct {
                enum error_class given;
                int code;
                enum error_class class;
        } table[] = {
                {ERROR_REFUSED, EIO, ERROR_IO},
                {ERROR_CONFIG, ENOMEM, ERROR_INTERNAL},
                {ERROR_CONFIG, EINTR, ERROR_INTERRUPTED},
                {ERROR_USAGE, EMFILE, ERROR_INTERNAL},
                {ERROR_SIGNATURE, ENOSPC, ERROR_SPACE},
                {ERROR_VERSION, ENOMEM, ERROR_INTERNAL},
                {ERROR_CONFIG, ENOENT, ERROR_CONFIG},
                {ERROR_REFUSED, EBADMSG, ERROR_REFUSED},
                {ERROR_PRECONDITION, EIO, ERROR_PRECONDITION},
                {ERROR_SOURCE, EIO, ERROR_SOURCE},
        };
        struct error e = ERROR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(error_set(&e, table[i].given, table[i].code, "x"), -table[i].code);
                assert_int_equal(e.class, table[i].class);
        }
}

static void test_failure_code(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(error_failure_code(&e), ERROR_INTERNAL);
        (void)error_set(&e, ERROR_BUSY, EBUSY, "x");
        assert_int_equal(error_failure_code(&e), ERROR_BUSY);
}

static void test_errno(void **state)
{
        static const struct {
                int code;
                enum error_class class;
        } table[] = {
                {ENOSPC, ERROR_SPACE},
                {EDQUOT, ERROR_SPACE},
                {EFBIG, ERROR_SPACE},
                {EBUSY, ERROR_BUSY},
                {EAGAIN, ERROR_BUSY},
                {EINTR, ERROR_INTERRUPTED},
                {ECANCELED, ERROR_INTERRUPTED},
                {ENOMEM, ERROR_INTERNAL},
                {EIO, ERROR_IO},
                {ENOENT, ERROR_IO},
        };
        struct error e = ERROR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(error_errno(&e, table[i].code, "disk"), -table[i].code);
                assert_int_equal(e.class, table[i].class);
        }
        assert_string_equal(e.text, "disk: No such file or directory");
        (void)error_errno(&e, 99999, "disk");
        assert_string_equal(e.text, "disk: unknown error");
}

static void test_wrap(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        (void)error_set(&e, ERROR_IO, EIO, "cause");
        assert_int_equal(error_wrap(&e, -EIO, "near %d", 1), -EIO);
        assert_int_equal(error_wrap(&e, -EINVAL, "far"), -EINVAL);
        assert_string_equal(e.text, "far: near 1: cause");
        assert_int_equal(e.class, ERROR_IO);
}

static void test_advice(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        (void)error_set(&e, ERROR_IO, EIO, "cause");
        error_advise(&e, "close to the cause %d", 1);
        error_advise(&e, "far from it");
        assert_string_equal(e.advice, "close to the cause 1");
}

static void test_long_texts(void **state)
{
        char big[4096];
        struct error e = ERROR_INIT;

        (void)state;
        memset(big, 'x', sizeof(big));
        big[sizeof(big) - 1] = '\0';
        (void)error_set(&e, ERROR_IO, EIO, "%s", big);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        assert_int_equal(error_wrap(&e, -EIO, "context"), -EIO);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        assert_int_equal(strncmp(e.text, "context: xxx", 12), 0);
        /* A context that leaves no room for the cause is dropped, not the cause. */
        (void)error_set(&e, ERROR_IO, EIO, "cause");
        assert_int_equal(error_wrap(&e, -EIO, "%s", big), -EIO);
        assert_string_equal(e.text, "cause");
        (void)error_errno(&e, EIO, "%s", big);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        error_advise(&e, "%s", big);
        assert_int_equal(strlen(e.advice), sizeof(e.advice) - 1);
}

static void test_nobody_listens(void **state)
{
        (void)state;
        assert_int_equal(error_set(NULL, ERROR_IO, EIO, "x"), -EIO);
        assert_int_equal(error_errno(NULL, EIO, "x"), -EIO);
        assert_int_equal(error_oom(NULL), -ENOMEM);
        assert_int_equal(error_wrap(NULL, -5, "x"), -5);
        error_advise(NULL, "x");
        error_clear(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_classes),      cmocka_unit_test(test_advice_of_class),
                cmocka_unit_test(test_set),          cmocka_unit_test(test_no_verdict),
                cmocka_unit_test(test_failure_code), cmocka_unit_test(test_errno),
                cmocka_unit_test(test_wrap),         cmocka_unit_test(test_advice),
                cmocka_unit_test(test_long_texts),   cmocka_unit_test(test_nobody_listens),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
