/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/status_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/scratch.h"

#define OVERRIDDEN "version: 1 is older than 2 (accepted by --allow-downgrade)"

/* A node of which active (digest 1...) runs, and passive is digest 2... */
struct node {
        struct scratch dir;
        struct env env;
        struct entry_file entries[2];
        struct situation situation;
        struct state *state;
};

static int set_up(void **state)
{
        struct node *n = calloc(1, sizeof(*n));

        assert_non_null(n);
        scratch_make(&n->dir);
        n->env = (struct env)ENV_INIT;
        n->env.efivarfs = n->env.run = n->dir.path;
        for (unsigned i = 0; i < 2; i++) {
                struct entry_file *f = &n->entries[i];

                f->name.role = i == 0 ? ENTRY_ROLE_ACTIVE : ENTRY_ROLE_PASSIVE;
                f->valid = f->image_present = f->entry.has_sha256 = true;
                memset(f->entry.sha256, (int)i + 1, SHA256_SIZE);
        }
        n->situation.slots.entries = n->entries;
        n->situation.slots.n_entries = 2;
        n->situation.running.role = ENTRY_ROLE_ACTIVE;
        n->situation.running.has_sha256 = true;
        memset(n->situation.running.sha256, 1, SHA256_SIZE);
        assert_int_equal(state_load(-EBADF, &n->state, NULL), 0);
        *state = n;
        return 0;
}

static int tear_down(void **state)
{
        struct node *n = *state;

        state_free(n->state);
        scratch_clean(&n->dir);
        free(n);
        return 0;
}

static void remember(struct node *n, const char *verb, int digest, const char *overridden)
{
        struct state_operation op = {.time = 7, .finished = true, .has_sha256 = true};

        (void)snprintf(op.verb, sizeof(op.verb), "%s", verb);
        (void)snprintf(op.to_version, sizeof(op.to_version), "1");
        (void)snprintf(op.overridden, sizeof(op.overridden), "%s", overridden);
        memset(op.sha256, digest, SHA256_SIZE);
        assert_int_equal(state_begin(n->state, &op, NULL), 0);
}

/* The overrides that status tells; returned borrowed from *ret. */
static struct json_object *overrides(struct node *n, struct json_object **ret)
{
        struct json_object *array;

        *ret = json_object_new_object();
        assert_int_equal(status_add_node(&n->env, *ret, &n->situation, n->state), 0);
        assert_int_equal(json_get_array(*ret, "overrides", &array), 0);
        return array;
}

/* It is told until no entry leads there any more, whatever was done since. */
static void override_is_told_as_long_as_the_image_is_here(void **state)
{
        struct node *n = *state;
        _cleanup_json_ struct json_object *before = NULL, *with = NULL, *gone = NULL;
        struct json_object *array, *o, *last;
        const char *text;

        remember(n, "upgrade", 2, "");
        assert_int_equal(json_object_array_length(overrides(n, &before)), 0);

        remember(n, "upgrade", 1, OVERRIDDEN);
        remember(n, "bless", 1, "");
        array = overrides(n, &with);
        assert_int_equal(json_object_array_length(array), 1);
        o = json_object_array_get_idx(array, 0);
        assert_int_equal(json_get_str(o, "text", &text), 0);
        assert_string_equal(text, OVERRIDDEN);
        assert_int_equal(json_get_str(o, "version", &text), 0);
        assert_string_equal(text, "1");
        assert_int_equal(json_get_obj(with, "last_operation", &last), 0);
        assert_int_equal(json_get_str(last, "verb", &text), 0);
        assert_string_equal(text, "bless");

        memset(n->entries[0].entry.sha256, 3, SHA256_SIZE);
        memset(n->situation.running.sha256, 3, SHA256_SIZE);
        assert_int_equal(json_object_array_length(overrides(n, &gone)), 0);
}

/* What the machine did not have is told for good, what the image did not have as long as it is
 * here.
 */
static void installation_is_remembered(void **state)
{
        struct node *n = *state;
        struct install_record record = {.time = 5,
                                        .version = "1",
                                        .image_override = OVERRIDDEN,
                                        .machine_override = "tpm-kind: software (accepted)"};
        _cleanup_json_ struct json_object *both = NULL, *one = NULL, *none = NULL;
        struct json_object *array;
        const char *text;

        memset(record.sha256, 2, SHA256_SIZE);
        array = overrides(n, &both);
        assert_int_equal(status_add_record(both, &n->situation, &record), 0);
        assert_int_equal(json_object_array_length(array), 2);
        assert_int_equal(json_get_str(json_object_array_get_idx(array, 0), "text", &text), 0);
        assert_string_equal(text, OVERRIDDEN);
        assert_int_equal(json_get_str(json_object_array_get_idx(array, 1), "verb", &text), 0);
        assert_string_equal(text, "install");

        memset(record.sha256, 3, SHA256_SIZE);
        array = overrides(n, &one);
        assert_int_equal(status_add_record(one, &n->situation, &record), 0);
        assert_int_equal(json_object_array_length(array), 1);
        assert_int_equal(json_get_str(json_object_array_get_idx(array, 0), "text", &text), 0);
        assert_string_equal(text, record.machine_override);

        record.machine_override[0] = '\0';
        array = overrides(n, &none);
        assert_int_equal(status_add_record(none, &n->situation, &record), 0);
        assert_int_equal(json_object_array_length(array), 0);
}

static void last_operation_tells_its_override(void **state)
{
        struct node *n = *state;
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *last;
        const char *text;

        remember(n, "upgrade", 1, OVERRIDDEN);
        (void)overrides(n, &root);
        assert_int_equal(json_get_obj(root, "last_operation", &last), 0);
        assert_int_equal(json_get_str(last, "overridden", &text), 0);
        assert_string_equal(text, OVERRIDDEN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(installation_is_remembered, set_up, tear_down),
                cmocka_unit_test_setup_teardown(override_is_told_as_long_as_the_image_is_here,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(last_operation_tells_its_override, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
