/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations that are right: every key of the table, defaults, merging, what is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "agent/config_show.h"
#include "agent/config_table.h"
#include "tests/unit/config_run.h"
#include "tests/unit/scratch.h"

#define HEAD "#cloud-config\n"
#define EXTRA "install.extra-partitions"

/* A value for every key that is used, as it is written, and as "config show --json" gives it. */
static const struct sample {
        const char *path, *value, *json;
} samples[] = {
        {"install.device", "/dev/disk/by-id/ata-X.1", "\"/dev/disk/by-id/ata-X.1\""},
        {"install.source", "oci:ghcr.io/x/y:1", "\"oci:ghcr.io/x/y:1\""},
        {"install.force-release", "true", "true"},
        {"install.allow-discards", "true", "true"},
        {"install.allow-software-tpm", "true", "true"},
        {"install.swap", "2G", "2147483648"},
        {"install.recovery-key", "show", "\"show\""},
        {"install.enroll-keys", "/media/keys", "\"/media/keys\""},
        {"install.enroll-keys-by", "loader\n  enroll-keys: /k", "\"loader\""},
        {"install.auto", "true", "true"},
        {"install.overwrite-node", "on", "true"},
        {"install.reboot", "true", "true"},
        {"install.poweroff", "Yes", "true"},
        {"install.no-format", "on", "true"},
        {"install.allow-insecure-registries", "TRUE", "true"},
        {"install.encrypted_partitions", "[COS_OEM, persistent]", "[\"COS_OEM\",\"persistent\"]"},
        {"install.bind_mounts", "[/mnt/a, \"/b@c\", /..x/.y]", "[\"/mnt/a\",\"/b@c\",\"/..x/.y\"]"},
        {"install.ephemeral_mounts", "[/srv/x]", "[\"/srv/x\"]"},
        {"install.partitions.efi.size", "2G", "2147483648"},
        {"install.partitions.efi.fs", "vfat", NULL},
        {"install.partitions.oem.size", "64", "67108864"},
        {"install.partitions.oem.fs", "ext4", NULL},
        {"install.partitions.persistent.size", "\"1TiB\"", "1099511627776"},
        {"install.partitions.persistent.fs", "\"ext4\"", NULL},
        {EXTRA, "[{name: a, size: 1M}]",
         "[{\"name\":\"a\",\"size\":1048576,\"fs\":\"none\",\"label\":null,\"encrypted\":false}]"},
        {EXTRA "[].name", "[{name: Data_1.x, size: 1}]", NULL},
        {EXTRA "[].size", "[{name: a, size: 40960K}]", NULL},
        {EXTRA "[].fs", "[{name: a, size: 64, fs: \"-\"}, {name: b, size: 64, fs: ext4}]",
         "[{\"name\":\"a\",\"size\":67108864,\"fs\":\"none\",\"label\":null,\"encrypted\":false},"
         "{\"name\":\"b\",\"size\":67108864,\"fs\":\"ext4\",\"label\":null,\"encrypted\":false}]"},
        {EXTRA "[].label", "[{name: a, size: 32, label: L-1}]", NULL},
        {EXTRA "[].encrypted", "[{name: a, size: 32, encrypted: true, fs: ext4}]",
         "[{\"name\":\"a\",\"size\":33554432,\"fs\":\"ext4\",\"label\":null,\"encrypted\":true}]"},
        {"install.recovery-key-file", "/run/key", "\"/run/key\""},
        {"install.hooks.before", "[/oem/a]", "[\"/oem/a\"]"},
        {"install.hooks.after", "[/oem/b]", "[\"/oem/b\"]"},
        {"install.system.source", "dir:/x", "\"dir:/x\""},
        {"install.system.uri", "file:/x", "\"file:/x\""},
        {"install.firmware", "efi", NULL},
        {"install.part-table", "gpt", NULL},
        {"upgrade.source", "https://h/x.efi", "\"https://h/x.efi\""},
        {"upgrade.system.source", "oci:a/b", "\"oci:a/b\""},
        {"upgrade.system.uri", "ocifile:/x", "\"ocifile:/x\""},
        {"upgrade.recovery-system.source", "oci:a/b", "\"oci:a/b\""},
        {"upgrade.recovery-system.uri", "oci:a/b", "\"oci:a/b\""},
        {"upgrade.entry", "recovery", "\"recovery\""},
        {"upgrade.recovery", "true", "true"},
        {"upgrade.reboot", "true", "true"},
        {"upgrade.poweroff", "true", "true"},
        {"upgrade.allow-insecure-registries", "true", "true"},
        {"upgrade.hooks.before", "[/a, /b]", "[\"/a\",\"/b\"]"},
        {"upgrade.hooks.after", "[]", "[]"},
        {"reset.reset-persistent", "no", "false"},
        {"reset.reset-oem", "true", "true"},
        {"reset.reboot", "true", "true"},
        {"reset.poweroff", "true", "true"},
        {"reset.unattended", "true", "true"},
        {"reset.hooks.before", "[/a]", "[\"/a\"]"},
        {"reset.hooks.after", "[/a]", "[\"/a\"]"},
        {"bind-pcrs", "[0, \"2\"]", "[0,2,7]"},
        {"bind-public-pcrs", "[11]", "[11]"},
};

/* "a.b[].c" and a value as YAML: in the list that is the value for a[]. Line of the value. */
static unsigned write_yaml(const char *path, const char *value, struct buf *out)
{
        unsigned depth = 0, line = 1;
        const char *end = strstr(path, "[]");
        size_t rest = end ? (size_t)(end - path) : strlen(path);

        assert_int_equal(buf_add_str(out, HEAD), 0);
        while (rest > 0) {
                size_t n = strcspn(path, ".");

                n = n < rest ? n : rest;
                assert_int_equal(buf_printf(out, "%*s%.*s:", (int)(2 * depth), "", (int)n, path),
                                 0);
                rest -= n;
                path += n;
                if (rest > 0) {
                        path++;
                        rest--;
                        assert_int_equal(buf_add_str(out, "\n"), 0);
                }
                depth++;
                line++;
        }
        assert_int_equal(buf_printf(out, " %s\n", value), 0);
        return line;
}

static void find_value(struct json_object *list, const char *path, struct json_object **ret)
{
        *ret = NULL;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *o = json_object_array_get_idx(list, i);
                const char *key;

                assert_int_equal(json_get_str(o, "key", &key), 0);
                if (strcmp(key, path) == 0)
                        *ret = o;
        }
}

static void check_sample(const struct sample *s)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf yaml = BUF_INIT(4096);
        _cleanup_json_ struct json_object *list = NULL;
        struct json_object *o, *value = NULL;
        unsigned line = write_yaml(s->path, s->value, &yaml);
        _cleanup_free_ char *path = strndup(s->path, strcspn(s->path, "["));
        const struct config_place *at;

        if (config_run(&run, buf_str(&yaml), NULL, NULL) < 0)
                fail_msg("%s: %s", s->path, run.error.text);
        assert_int_equal(run.problems.n, 0);
        at = config_origin(run.c, path);
        assert_non_null(at);
        assert_string_equal(at->file, "a.yaml");
        assert_int_equal(at->line, line);
        if (!s->json)
                return;
        list = config_show_json(run.c);
        assert_non_null(list);
        find_value(list, path, &o);
        assert_non_null(o);
        (void)json_object_object_get_ex(o, "value", &value);
        assert_string_equal(json_object_to_json_string_ext(
                                    value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                            s->json);
}

static void every_sample_is_read(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
                check_sample(&samples[i]);
}

static bool has_sample(const char *path)
{
        for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
                if (strcmp(samples[i].path, path) == 0)
                        return true;
        }
        return false;
}

/* A key that is not used says so, with its reason, at its own place. */
static void check_unused(const struct config_key *key, const char *path)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf yaml = BUF_INIT(4096);
        const struct config_problem *p;
        char expected[512];
        unsigned line;
        bool in_list = strstr(path, "[]");

        if (in_list)
                line = write_yaml(EXTRA "[]", "[{name: a, size: 1, mount: x, flags: [x]}]", &yaml);
        else
                line = write_yaml(path, "[x]", &yaml);
        assert_int_equal(config_run(&run, buf_str(&yaml), NULL, NULL) < 0,
                         key->use == CONFIG_REFUSED);
        assert_int_equal(run.problems.n, in_list ? 2 : 1);
        p = &run.problems.item[in_list && strcmp(key->name, "flags") == 0];
        (void)snprintf(expected, sizeof(expected), "%s: %s: %s", in_list ? EXTRA "[0]" : path,
                       key->use == CONFIG_REFUSED ? "is refused" : "has no effect", key->help);
        if (in_list)
                (void)snprintf(expected, sizeof(expected), EXTRA "[0].%s: has no effect: %s",
                               key->name, key->help);
        assert_string_equal(p->text, expected);
        assert_int_equal(p->warning, key->use == CONFIG_IGNORED);
        assert_int_equal(p->line, line);
}

static void walk(const struct config_key *members, const char *prefix)
{
        for (; members->name; members++) {
                char path[128];

                (void)snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "",
                               members->name);
                assert_non_null(members->help);
                if (members->type == CONFIG_TYPE_MAP) {
                        walk(members->members, path);
                        continue;
                }
                if (members->use != CONFIG_USED)
                        check_unused(members, path);
                else if (!has_sample(path))
                        fail_msg("no sample for %s", path);
                if (members->type == CONFIG_TYPE_PARTITIONS) {
                        size_t n = strlen(path);

                        (void)snprintf(path + n, sizeof(path) - n, "[]");
                        walk(members->members, path);
                }
        }
}

static void every_key_of_the_table_was_tried(void **state)
{
        (void)state;
        walk(config_table, "");
}

static void nothing_gives_the_defaults(void **state)
{
        static const char *const nothing[] = {HEAD, HEAD "install:\nupgrade: ~\nreset: {}\n",
                                              "\xef\xbb\xbf#cloud-config\r\n",
                                              HEAD "install: {bind_mounts: , partitions: }\n",
                                              "## template: jinja\n#node-config  \n---\n"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(nothing); i++) {
                _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

                assert_int_equal(config_run(&run, nothing[i], NULL, NULL), 0);
                assert_int_equal(run.problems.n, 0);
                assert_null(run.c->install.device);
                assert_null(run.c->install.source);
                assert_true(run.c->reset.persistent);
                assert_false(run.c->install.reboot || run.c->reset.oem);
                assert_int_equal(run.c->bind_pcrs, 1u << 7);
                assert_int_equal(run.c->bind_public_pcrs, 1u << 11);
                assert_int_equal(run.c->upgrade.entry, CONFIG_ENTRY_ACTIVE);
                assert_int_equal(run.c->install.recovery_key, CONFIG_RECOVERY_UNSAID);
                assert_int_equal(run.c->install.enroll_keys_by, CONFIG_ENROLL_AGENT);
                assert_null(config_origin(run.c, "install.device"));
        }
}

static void refused_keys_may_say_no(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

        (void)state;
        assert_int_equal(config_run(&run, HEAD "cosign: false\ncosign-key:\n", NULL, NULL), 0);
        assert_int_equal(run.problems.warnings, 2);
}

/* --- merging -----------------------------------------------------------------------------------*/

static void expect_origin(const struct config *c, const char *path, const char *file, unsigned line)
{
        const struct config_place *at = config_origin(c, path);

        assert_non_null(at);
        assert_string_equal(at->file, file);
        assert_int_equal(at->line, line);
}

static void later_files_win(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        const struct config_install *in;

        (void)state;
        assert_int_equal(
                config_run(&run,
                           HEAD "install:\n  device: /dev/a\n  reboot: true\n"
                                "  partitions: {oem: {size: 64}, efi: {size: 1024}}\n"
                                "  bind_mounts: [/a, /b]\n  extra-partitions:\n"
                                "  - {name: x, size: 1}\nbind-pcrs: [0]\n",
                           HEAD "install:\n  device: /dev/b\n  partitions: {oem: {size: 128}}\n"
                                "  bind_mounts: [/c]\n  extra-partitions: [{name: y, size: 2}]\n",
                           HEAD "install:\nreset: {reboot: true}\nbind-pcrs: [2]\n"),
                0);
        in = &run.c->install;
        assert_string_equal(in->device, "/dev/b");
        expect_origin(run.c, "install.device", "b.yaml", 3);
        assert_true(in->reboot);
        expect_origin(run.c, "install.reboot", "a.yaml", 4);
        assert_int_equal(in->oem_size, 128 * MIB);
        expect_origin(run.c, "install.partitions.oem.size", "b.yaml", 4);
        assert_int_equal(in->efi_size, 1024 * MIB);
        expect_origin(run.c, "install.partitions.efi.size", "a.yaml", 5);
        /* Lists are replaced. */
        assert_int_equal(in->bind_mounts.n, 1);
        assert_string_equal(in->bind_mounts.item[0], "/c");
        assert_int_equal(in->extra.n, 1);
        assert_string_equal(in->extra.item[0].name, "y");
        assert_int_equal(run.c->bind_pcrs, 1u << 2 | 1u << 7);
        assert_true(run.c->reset.reboot);
        expect_origin(run.c, "reset.reboot", "c.yaml", 3);
}

static void empty_values_replace_lists_but_no_maps(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

        (void)state;
        assert_int_equal(config_run(&run,
                                    HEAD "install: {bind_mounts: [/a], partitions: "
                                         "{oem: {size: 64}}}\n",
                                    HEAD "install: {bind_mounts: , partitions: }\n", NULL),
                         0);
        assert_int_equal(run.c->install.bind_mounts.n, 0);
        assert_int_equal(run.c->install.oem_size, 64 * MIB);
}

static void what_is_said_twice_is_joined(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        const struct config_partitions *extra;

        (void)state;
        assert_int_equal(config_run(&run,
                                    HEAD
                                    "install:\n  extra-partitions:\n"
                                    "  - {name: a, size: 64, label: A}\n  - {name: b, size: 64}\n"
                                    "  - {name: c, size: 1}\n",
                                    HEAD "install: {encrypted_partitions: [A, b, COS_OEM]}\n"
                                         "upgrade: {recovery: true}\n",
                                    NULL),
                         0);
        extra = &run.c->install.extra;
        assert_int_equal(extra->n, 3);
        assert_true(extra->item[0].encrypted && extra->item[1].encrypted);
        assert_false(extra->item[2].encrypted);
        assert_int_equal(run.c->upgrade.entry, CONFIG_ENTRY_RECOVERY);
}

static void documents_are_handed_on_as_they_are(void **state)
{
        static const char text[] =
                HEAD "users: &u [{name: x, passwd: secret}]\nadmins: *u\nmore: {<<: *v}\n"
                     "write_files:\n- content: |\n    \ta\n  x: !!binary aGk=\n"
                     "stages: {a: {b: [1, 1, {c: [2]}]}, a: twice}\n";
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_json_ struct json_object *list = NULL;

        (void)state;
        assert_int_equal(config_run(&run, text, NULL, NULL), 0);
        assert_int_equal(run.problems.n, 0);
        assert_int_equal(run.c->n_documents, 1);
        assert_string_equal(buf_str(&run.c->documents[0].text), text);
        list = config_show_json(run.c);
        assert_null(strstr(json_object_to_json_string(list), "secret"));
}

/* --- files -------------------------------------------------------------------------------------*/

static void make_world(struct scratch *s, struct env *env, char paths[3][128])
{
        static const char *const folders[] = {"run/initramfs/live", "etc/kairos",
                                              "usr/local/cloud-config", "oem"};

        scratch_make(s);
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
                assert_int_equal(file_make_dirs(s->fd, folders[i], 0700), 0);
        (void)snprintf(paths[0], 128, "%s/run", s->path);
        (void)snprintf(paths[1], 128, "%s/usr/local", s->path);
        (void)snprintf(paths[2], 128, "%s/oem", s->path);
        env->root = s->path;
        env->run = paths[0];
        env->persistent = paths[1];
        env->oem = paths[2];
}

#define DEVICE(x) HEAD "install: {device: /dev/" x "}\n"

static void known_folders_are_read_in_their_order(void **state)
{
        static const char *const files[][2] = {
                {"run/initramfs/live/90.yaml", DEVICE("live")},
                {"etc/kairos/90.yml", DEVICE("etc")},
                {"usr/local/cloud-config/90.yaml", DEVICE("local")},
                {"oem/10.yaml", DEVICE("first")},
                {"oem/9.yaml", DEVICE("last")}, /* by name, not by number */
                {"oem/9.txt", "no YAML"},
                {"oem/.9.yaml", "hidden"},
                {"oem/99_others.yaml", "name: others'\nstages: {}\n"},
        };
        static const char *const order[] = {"live/90.yaml", "kairos/90.yml", "config/90.yaml",
                                            "oem/10.yaml", "oem/9.yaml"};
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        const struct config_wish wish = {.n_sources = 0};
        struct env env = ENV_INIT;
        char paths[3][128];
        struct scratch s;

        (void)state;
        make_world(&s, &env, paths);
        for (size_t i = 0; i < ARRAY_SIZE(files); i++)
                scratch_put_text(&s, files[i][0], files[i][1]);
        assert_int_equal(config_load(&env, &wish, &run.problems, &run.c, &run.error), 0);
        assert_int_equal(run.c->n_documents, ARRAY_SIZE(order));
        for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
                const char *name = run.c->documents[i].name;

                assert_string_equal(name + strlen(name) - strlen(order[i]), order[i]);
        }
        assert_string_equal(run.c->install.device, "/dev/last");
        assert_int_equal(run.problems.warnings, 1);
        assert_non_null(strstr(run.problems.item[0].file, "99_others.yaml"));
        assert_string_equal(run.problems.item[0].text,
                            "left out: the header #cloud-config is missing");
        scratch_clean(&s);
}

static void named_files_come_alone_or_last(void **state)
{
        struct config_wish wish = {.n_sources = 1};
        struct env env = ENV_INIT;
        char paths[3][128], file[128];
        const char *source = file;
        struct scratch s;

        (void)state;
        make_world(&s, &env, paths);
        wish.sources = &source;
        (void)snprintf(file, sizeof(file), "%s/mine", s.path);
        scratch_put_text(&s, "mine", DEVICE("mine"));
        scratch_put_text(&s, "oem/1.yaml", HEAD "install: {reboot: true, device: /dev/oem}\n");
        for (unsigned known = 0; known < 2; known++) {
                _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

                wish.known_folders = known;
                assert_int_equal(config_load(&env, &wish, &run.problems, &run.c, &run.error), 0);
                assert_string_equal(run.c->install.device, "/dev/mine");
                assert_int_equal(run.c->install.reboot, known);
                assert_int_equal(run.c->n_documents, 1 + known);
        }
        scratch_clean(&s);
}

static void files_that_cannot_be_had_are_errors(void **state)
{
        static const char *const names[] = {"missing", "oem", "large"};
        _cleanup_free_ char *large = malloc(LIMIT_CONFIG_DOCUMENT + 1);
        struct config_wish wish = {.n_sources = 1};
        struct env env = ENV_INIT;
        char paths[3][128];
        struct scratch s;

        (void)state;
        assert_non_null(large);
        make_world(&s, &env, paths);
        memset(large, '\n', LIMIT_CONFIG_DOCUMENT + 1);
        memcpy(large, HEAD, strlen(HEAD));
        scratch_put(&s, "large", large, LIMIT_CONFIG_DOCUMENT + 1);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
                char path[128];
                const char *source = path;

                (void)snprintf(path, sizeof(path), "%s/%s", s.path, names[i]);
                wish.sources = &source;
                assert_true(config_load(&env, &wish, &run.problems, &run.c, &run.error) < 0);
                assert_int_equal(run.error.class, ERROR_CONFIG);
                assert_non_null(strstr(run.error.text, path));
        }
        /* One byte less is fine. */
        scratch_put(&s, "oem/a.yaml", large, LIMIT_CONFIG_DOCUMENT);
        {
                _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

                wish.n_sources = 0;
                assert_int_equal(config_load(&env, &wish, &run.problems, &run.c, &run.error), 0);
        }
        scratch_put(&s, "oem/a.yaml", large, LIMIT_CONFIG_DOCUMENT + 1);
        {
                _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

                assert_int_equal(config_load(&env, &wish, &run.problems, &run.c, &run.error),
                                 -E2BIG);
        }
        scratch_clean(&s);
}

static void too_many_files_are_refused(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        const struct config_wish wish = {.n_sources = 0};
        struct env env = ENV_INIT;
        char paths[3][128];
        struct scratch s;

        (void)state;
        make_world(&s, &env, paths);
        for (unsigned i = 0; i <= LIMIT_CONFIG_FILES; i++) {
                char name[32];

                (void)snprintf(name, sizeof(name), "oem/%u.yaml", i);
                scratch_put_text(&s, name, HEAD);
        }
        assert_int_equal(config_load(&env, &wish, &run.problems, &run.c, &run.error), -E2BIG);
        assert_int_equal(run.error.class, ERROR_CONFIG);
        scratch_clean(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_sample_is_read),
                cmocka_unit_test(every_key_of_the_table_was_tried),
                cmocka_unit_test(nothing_gives_the_defaults),
                cmocka_unit_test(refused_keys_may_say_no),
                cmocka_unit_test(later_files_win),
                cmocka_unit_test(empty_values_replace_lists_but_no_maps),
                cmocka_unit_test(what_is_said_twice_is_joined),
                cmocka_unit_test(documents_are_handed_on_as_they_are),
                cmocka_unit_test(known_folders_are_read_in_their_order),
                cmocka_unit_test(named_files_come_alone_or_last),
                cmocka_unit_test(files_that_cannot_be_had_are_errors),
                cmocka_unit_test(too_many_files_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
