/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/scratch.h"
#include "upgrade/state.h"

static struct scratch dir;
static struct error error;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        error_clear(&error);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static struct state *load(void)
{
        struct state *s = NULL;

        assert_int_equal(state_load(dir.fd, &s, &error), 0);
        assert_non_null(s);
        return s;
}

static void save_and_free(struct state *s)
{
        assert_int_equal(state_save(s, dir.fd, &error), 0);
        state_free(s);
}

static void digest_of(unsigned n, uint8_t ret[SHA256_SIZE])
{
        memset(ret, (int)n, SHA256_SIZE);
}

static void test_operations(void **state)
{
        struct state_operation op = {.time = 1790000000,
                                     .boot_id = "0123456789abcdef",
                                     .verb = "upgrade",
                                     .source = "oci:registry/x:1",
                                     .has_sha256 = true,
                                     .overridden = "version: older (accepted by somebody)",
                                     .network = UINT64_C(5000000000)},
                               got;
        struct state *s = load();
        char first[sizeof(op.id)];

        (void)state;
        assert_int_equal(state_operations(s), 0);
        assert_int_equal(state_operation_at(s, 0, &got), -ENOENT);
        assert_null(state_operations_json(s));
        digest_of(7, op.sha256);
        assert_int_equal(state_begin(s, &op, &error), 0);
        memcpy(first, op.id, sizeof(first));
        assert_non_null(strstr(first, "1790000000-01234567-"));
        save_and_free(s);

        s = load();
        assert_int_equal(state_operation_at(s, 0, &got), 0);
        assert_string_equal(got.id, first);
        assert_string_equal(got.source, op.source);
        assert_memory_equal(got.sha256, op.sha256, SHA256_SIZE);
        assert_int_equal(got.network, op.network);
        assert_string_equal(got.overridden, op.overridden);
        assert_false(got.finished);
        got.finished = true;
        (void)snprintf(got.result, sizeof(got.result), "space");
        assert_int_equal(state_update(s, &got, &error), 0);
        assert_int_equal(state_operations(s), 1);
        for (unsigned i = 0; i < STATE_OPERATIONS_MAX + 3; i++) {
                op.network = i;
                op.has_sha256 = false;
                assert_int_equal(state_begin(s, &op, &error), 0);
        }
        save_and_free(s);

        s = load();
        assert_int_equal(state_operations(s), STATE_OPERATIONS_MAX);
        assert_int_equal(state_operation_at(s, 0, &got), 0);
        assert_int_equal(got.network, STATE_OPERATIONS_MAX + 2);
        assert_false(got.has_sha256);
        assert_int_equal(state_operation_at(s, STATE_OPERATIONS_MAX - 1, &got), 0);
        assert_int_equal(got.network, 3);
        assert_int_equal(json_object_array_length(state_operations_json(s)), STATE_OPERATIONS_MAX);
        state_free(s);
}

/* Texts come from servers: they stay readable, and the file JSON. */
static void test_texts(void **state)
{
        struct state_operation op = {.verb = "upgrade"}, got;
        char reason[2 * STATE_TEXT_MAX];
        struct state_failure failure;
        uint8_t sha[SHA256_SIZE];
        struct state *s = load();

        (void)state;
        digest_of(1, sha);
        (void)snprintf(op.source, sizeof(op.source), "a\x1b[31m\"'\\/NaN\n\xff\xc3\xa4");
        (void)snprintf(op.text, sizeof(op.text), "gr\xc3\xbc\xc3\x9f\x65");
        memset(reason, 'x', sizeof(reason) - 1);
        reason[sizeof(reason) - 1] = '\0';
        assert_int_equal(state_begin(s, &op, &error), 0);
        assert_int_equal(state_add_failure(s, sha, 1, reason, &error), 0);
        save_and_free(s);
        s = load();
        assert_int_equal(state_operation_at(s, 0, &got), 0);
        assert_string_equal(got.source, "a?[31m\"'\\/NaN????");
        assert_string_equal(got.text, op.text);
        assert_int_equal(state_find_failure(s, sha, &failure), 0);
        assert_int_equal(strlen(failure.reason), STATE_TEXT_MAX - 1);
        state_free(s);
}

static void test_failures(void **state)
{
        uint8_t sha[SHA256_SIZE], other[SHA256_SIZE];
        struct state_failure failure;
        struct state *s = load();

        (void)state;
        digest_of(200, sha);
        assert_int_equal(state_find_failure(s, sha, NULL), -ENOENT);
        assert_int_equal(state_add_failure(s, sha, 10, "three boots failed", &error), 0);
        assert_int_equal(state_add_failure(s, sha, 20, "health check", &error), 0);
        assert_int_equal(state_failures(s), 1);
        save_and_free(s);
        s = load();
        assert_int_equal(state_find_failure(s, sha, &failure), 0);
        assert_int_equal(failure.time, 20);
        assert_string_equal(failure.reason, "health check");
        assert_memory_equal(failure.sha256, sha, SHA256_SIZE);
        for (unsigned i = 0; i < STATE_FAILED_MAX; i++) {
                digest_of(i, other);
                assert_int_equal(state_add_failure(s, other, i, "x", &error), 0);
        }
        assert_int_equal(state_failures(s), STATE_FAILED_MAX);
        assert_int_equal(state_find_failure(s, sha, NULL), -ENOENT);
        assert_int_equal(state_failure_at(s, 0, &failure), 0);
        assert_int_equal(failure.time, STATE_FAILED_MAX - 1);
        assert_int_equal(state_failure_at(s, STATE_FAILED_MAX, &failure), -ENOENT);
        state_forget_failure(s, other);
        assert_int_equal(state_find_failure(s, other, NULL), -ENOENT);
        state_free(s);
}

static void test_known(void **state)
{
        uint8_t sha[SHA256_SIZE], got[SHA256_SIZE];
        struct state *s = load();
        uint64_t size = 0;
        char name[32];

        (void)state;
        digest_of(3, sha);
        assert_int_equal(state_add_known(s, "sha256:aa", sha, 77, &error), 0);
        digest_of(4, sha);
        assert_int_equal(state_add_known(s, "sha256:aa", sha, 78, &error), 0);
        save_and_free(s);
        s = load();
        assert_int_equal(state_find_known(s, "sha256:bb", got, &size), -ENOENT);
        assert_int_equal(state_find_known(s, "sha256:aa", got, &size), 0);
        assert_memory_equal(got, sha, SHA256_SIZE);
        assert_int_equal(size, 78);
        for (unsigned i = 0; i < STATE_KNOWN_MAX; i++) {
                (void)snprintf(name, sizeof(name), "sha256:%u", i);
                assert_int_equal(state_add_known(s, name, sha, i, &error), 0);
        }
        assert_int_equal(state_find_known(s, "sha256:aa", got, NULL), -ENOENT);
        assert_int_equal(state_find_known(s, "sha256:0", got, NULL), 0);
        state_free(s);
}

static void test_wishes(void **state)
{
        struct state_partial partial = {.number = 7, .key = "sha256:aa"}, got = {0};
        uint8_t sha[SHA256_SIZE], found[SHA256_SIZE];
        struct state *s = load();

        (void)state;
        digest_of(9, sha);
        assert_int_equal(state_get_partial(s, &got), -ENOENT);
        assert_int_equal(state_get_recovery_wish(s, found), -ENOENT);
        assert_int_equal(state_set_partial(s, &partial, &error), 0);
        assert_int_equal(state_set_recovery_wish(s, sha, &error), 0);
        save_and_free(s);
        s = load();
        assert_int_equal(state_get_partial(s, &got), 0);
        assert_int_equal(got.number, 7);
        assert_string_equal(got.key, "sha256:aa");
        assert_int_equal(state_get_recovery_wish(s, found), 0);
        assert_memory_equal(found, sha, SHA256_SIZE);
        assert_int_equal(state_set_partial(s, NULL, &error), 0);
        assert_int_equal(state_set_recovery_wish(s, NULL, &error), 0);
        save_and_free(s);
        s = load();
        assert_int_equal(state_get_partial(s, &got), -ENOENT);
        assert_int_equal(state_get_recovery_wish(s, found), -ENOENT);
        state_free(s);
}

/* Whatever stands in the file: loading works, what was there is kept, and saving works again. */
static void test_corrupt(void **state)
{
        static char huge[LIMIT_SMALL_FILE + 2];
        static const char *const texts[] = {"",
                                            "{",
                                            "[]",
                                            "{}",
                                            "null",
                                            "{\"schema\":0}",
                                            "{\"schema\":\"1\"}",
                                            "{\"schema\":-1}",
                                            "{\"schema\":1,\"operations\":{}}",
                                            "{\"schema\":1,\"failed\":7}",
                                            "{\"schema\":1,\"known\":null}",
                                            huge};

        (void)state;
        memset(huge, ' ', sizeof(huge) - 1);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                struct state_operation op = {.verb = "upgrade"};
                struct state *s;

                scratch_put_text(&dir, STATE_FILE, texts[i]);
                s = load();
                assert_false(state_is_newer(s));
                assert_int_equal(state_operations(s), 0);
                assert_false(file_exists(dir.fd, STATE_FILE));
                scratch_expect(&dir, STATE_FILE_BAD, texts[i], strlen(texts[i]));
                assert_int_equal(state_begin(s, &op, &error), 0);
                save_and_free(s);
                s = load();
                assert_int_equal(state_operations(s), 1);
                state_free(s);
        }
}

/* Elements that make no sense do not hide the others. */
static void test_odd_elements(void **state)
{
        struct state_operation op;
        struct state_partial partial;
        uint8_t sha[SHA256_SIZE];
        struct state *s;

        (void)state;
        scratch_put_text(&dir, STATE_FILE,
                         "{\"schema\":1,\"operations\":[7,null,{},{\"id\":3,\"time\":\"x\"}],"
                         "\"failed\":[{\"sha256\":\"zz\"}],"
                         "\"known\":[{\"manifest\":\"m\",\"sha256\":\"00\"}],"
                         "\"partial\":{\"number\":4294967296,\"key\":\"k\"},"
                         "\"recovery_wish\":5}");
        s = load();
        assert_int_equal(state_operations(s), 4);
        for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(state_operation_at(s, i, &op), 0);
                assert_string_equal(op.id, "");
        }
        assert_int_equal(state_find_known(s, "m", sha, NULL), -ENOENT);
        assert_int_equal(state_get_partial(s, &partial), -ENOENT);
        assert_int_equal(state_get_recovery_wish(s, sha), -ENOENT);
        state_free(s);
}

static void test_newer(void **state)
{
        static const char text[] = "{\"schema\":2,\"operations\":[{\"id\":\"a\",\"verb\":\"fly\"}],"
                                   "\"failed\":{\"x\":1}}";
        struct state_operation op;
        struct state *s;

        (void)state;
        scratch_put_text(&dir, STATE_FILE, text);
        s = load();
        assert_true(state_is_newer(s));
        assert_int_equal(state_operation_at(s, 0, &op), 0);
        assert_string_equal(op.verb, "fly");
        assert_int_equal(state_failures(s), 0);
        assert_int_equal(state_save(s, dir.fd, &error), -EROFS);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        scratch_expect(&dir, STATE_FILE, text, strlen(text));
        assert_false(file_exists(dir.fd, STATE_FILE_BAD));
        state_free(s);
}

/* Other programs' fields stay, in the document and in an operation. */
static void test_unknown_fields(void **state)
{
        struct state_operation op;
        struct state *s;
        _cleanup_(buf_done) struct buf text = BUF_INIT(65536);

        (void)state;
        scratch_put_text(&dir, STATE_FILE,
                         "{\"schema\":1,\"fleet\":{\"a\":[1]},"
                         "\"operations\":[{\"id\":\"a\",\"ticket\":42}]}");
        s = load();
        assert_int_equal(state_operation_at(s, 0, &op), 0);
        (void)snprintf(op.verb, sizeof(op.verb), "upgrade");
        assert_int_equal(state_update(s, &op, &error), 0);
        save_and_free(s);
        assert_int_equal(file_read(dir.fd, STATE_FILE, &text), 0);
        assert_non_null(strstr(buf_str(&text), "\"fleet\""));
        assert_non_null(strstr(buf_str(&text), "\"ticket\": 42"));
        assert_non_null(strstr(buf_str(&text), "\"upgrade\""));
}

static void test_no_folder(void **state)
{
        struct state_operation op = {.verb = "upgrade"};
        struct state *s = NULL;

        (void)state;
        assert_int_equal(state_load(-EBADF, &s, &error), 0);
        assert_int_equal(state_begin(s, &op, &error), 0);
        assert_int_equal(state_save(s, -EBADF, &error), 0);
        state_free(s);
        state_free(NULL);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_operations), CASE(test_texts),          CASE(test_failures),
                CASE(test_known),      CASE(test_wishes),         CASE(test_corrupt),
                CASE(test_newer),      CASE(test_unknown_fields), CASE(test_odd_elements),
                CASE(test_no_folder),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
