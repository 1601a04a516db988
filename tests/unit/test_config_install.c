/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>

#include "agent/config_install.h"
#include "agent/install_oem.h"
#include "base/file.h"
#include "base/limits.h"
#include "tests/unit/config_run.h"

#define HEAD "#cloud-config\n"

static void the_command_line_comes_first(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct install_wishes open = {.target = NULL},
                              said = {.target = "/dev/b", .source = "dir:/b", .layout.esp_size = 1};

        (void)state;
        assert_int_equal(config_run(&run,
                                    HEAD "install: {device: /dev/a, source: \"dir:/a\", "
                                         "partitions: {efi: {size: 2G}}}\n",
                                    NULL, NULL),
                         0);
        assert_int_equal(config_apply_to_install(run.c, &open, &run.error), 0);
        assert_string_equal(open.target, "/dev/a");
        assert_string_equal(open.source, "dir:/a");
        assert_int_equal(open.layout.esp_size, 2 * GIB);
        assert_int_equal(config_apply_to_install(run.c, &said, &run.error), 0);
        assert_string_equal(said.target, "/dev/b");
        assert_string_equal(said.source, "dir:/b");
        assert_int_equal(said.layout.esp_size, 1);
}

static void no_disk_is_chosen_by_default(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct install_wishes wishes = {.target = NULL};

        (void)state;
        assert_int_equal(config_run(&run, HEAD, NULL, NULL), 0);
        assert_int_equal(config_apply_to_install(run.c, &wishes, &run.error), 0);
        assert_null(wishes.target);
        assert_null(wishes.source);
}

static void the_end_of_the_command_line_counts_more(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct install_wishes open = {.target = "/dev/b"}, said = open;

        (void)state;
        said.end = INSTALL_END_POWEROFF;
        assert_int_equal(config_run(&run, HEAD "install: {reboot: true}\n", NULL, NULL), 0);
        assert_int_equal(config_apply_to_install(run.c, &open, &run.error), 0);
        assert_int_equal(open.end, INSTALL_END_REBOOT);
        assert_int_equal(config_apply_to_install(run.c, &said, &run.error), 0);
        assert_int_equal(said.end, INSTALL_END_POWEROFF);
        assert_int_equal(install_end_choose(true, true, &said.end, &run.error), -EINVAL);
        assert_int_equal(run.error.class, ERROR_USAGE);
}

/* The exception is for the host of this source, and for nothing else. */
static void insecure_is_the_source_that_was_named(void **state)
{
        static const struct {
                const char *source, *host;
        } cases[] = {
                {"oci:registry.local:5000/os/demo:2", "registry.local:5000"},
                {"http://files.local/os.efi", "files.local:80"},
                {"https://u:secret@[::1]:8443/os.efi", "[::1]:8443"},
                {"file:/run/os.efi", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
                struct install_wishes w = {.target = "/dev/b"}, other = w;
                char text[256];

                (void)snprintf(text, sizeof(text),
                               HEAD "install: {source: \"%s\", allow-insecure-registries: true}\n",
                               cases[i].source);
                assert_int_equal(config_run(&run, text, NULL, NULL), 0);
                assert_int_equal(config_apply_to_install(run.c, &w, &run.error), 0);
                assert_int_equal(w.from.insecure.n, cases[i].host != NULL);
                if (cases[i].host)
                        assert_string_equal(w.from.insecure.item[0], cases[i].host);
                /* The command line names another source: nothing was said about that. */
                other.source = "oci:elsewhere/os";
                assert_int_equal(config_apply_to_install(run.c, &other, &run.error), 0);
                assert_int_equal(other.from.insecure.n, 0);
        }
}

static void wishes_are_filled(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct install_wishes w = {.target = "/dev/b"};

        (void)state;
        assert_int_equal(config_run(&run,
                                    HEAD
                                    "install:\n"
                                    "  partitions: {oem: {size: 256}, persistent: {size: 4G}}\n"
                                    "  extra-partitions:\n"
                                    "  - {name: data, size: 2G, fs: ext4, label: DATA}\n"
                                    "  - {name: raw, size: 1G, fs: none}\n"
                                    "  encrypted_partitions: [DATA]\n"
                                    "  recovery-key-file: /media/key\n"
                                    "  enroll-keys: /keys\n"
                                    "  enroll-keys-by: loader\n"
                                    "  allow-discards: true\n"
                                    "  no-format: true\n"
                                    "  force-release: true\n"
                                    "bind-pcrs: [0, 14]\n",
                                    NULL, NULL),
                         0);
        if (config_apply_to_install(run.c, &w, &run.error) < 0)
                fail_msg("%s", run.error.text);
        assert_int_equal(w.layout.oem_size, 256 * MIB);
        assert_int_equal(w.layout.persistent_size, 4 * GIB);
        assert_int_equal(w.layout.extras.n, 2);
        assert_string_equal(w.layout.extras.item[0].label, "DATA");
        assert_true(w.layout.extras.item[0].encrypted);
        assert_int_equal(w.layout.extras.item[0].size, 2 * GIB);
        assert_false(w.layout.extras.item[1].encrypted);
        assert_int_equal(w.layout.extras.item[1].fs, EXTRA_FS_NONE);
        assert_string_equal(w.escrow.file, "/media/key");
        assert_false(w.escrow.show || w.escrow.none);
        assert_string_equal(w.firmware.keys, "/keys");
        assert_string_equal(w.firmware.keys_by, "loader");
        assert_true(w.allow_discards && w.force_release && w.no_format);
        assert_int_equal(w.literal_pcrs, 1u << 0 | 1u << 7 | 1u << 14);
        assert_ptr_equal(w.config, run.c);
}

static void partitions_follow_the_rules_of_the_command_line(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct install_wishes w = {.target = "/dev/b"};

        (void)state;
        assert_int_equal(config_run(&run,
                                    HEAD "install: {extra-partitions: [{name: "
                                         "twenty-letters-are-two, size: 1G, fs: ext4}]}\n",
                                    NULL, NULL),
                         0);
        assert_true(config_apply_to_install(run.c, &w, &run.error) < 0);
        assert_int_equal(run.error.class, ERROR_CONFIG);
        assert_non_null(strstr(run.error.text, "give one of at most 16 characters"));
}

static void what_the_boot_stage_does_not_take_is_refused(void **state)
{
        static const char *const texts[] = {"bind_mounts: [/srv/db, /etc]",
                                            "bind_mounts: [/data/a-b, /data/a/b]"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
                struct install_wishes w = {.target = "/dev/b"};
                char text[256];

                (void)snprintf(text, sizeof(text), HEAD "install: {%s}\n", texts[i]);
                assert_int_equal(config_run(&run, text, NULL, NULL), 0);
                assert_true(config_apply_to_install(run.c, &w, &run.error) < 0);
                assert_int_equal(run.error.class, ERROR_CONFIG);
        }
}

/* Before anything on the disk is touched. */
static void too_many_documents_are_refused(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct install_wishes w = {.target = "/dev/b"};
        const char *texts[INSTALL_OEM_DOCUMENTS + 1];
        size_t sizes[INSTALL_OEM_DOCUMENTS + 1];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                texts[i] = HEAD;
                sizes[i] = strlen(HEAD);
        }
        assert_int_equal(config_run_bytes(&run, texts, sizes, ARRAY_SIZE(texts)), 0);
        assert_int_equal(config_apply_to_install(run.c, &w, &run.error), -E2BIG);
        assert_int_equal(run.error.class, ERROR_CONFIG);
}

static void keys_by_of_the_command_line_counts_more(void **state)
{
        static const char text[] = HEAD "install: {enroll-keys: /keys, enroll-keys-by: loader}\n";
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        struct install_wishes w = {.target = "/dev/b", .firmware.keys_by = "agent"},
                              other = {.target = "/dev/b", .firmware.keys = "/mine"};

        (void)state;
        assert_int_equal(config_run(&run, text, NULL, NULL), 0);
        assert_int_equal(config_apply_to_install(run.c, &w, &run.error), 0);
        assert_string_equal(w.firmware.keys, "/keys");
        assert_string_equal(w.firmware.keys_by, "agent");
        assert_int_equal(config_apply_to_install(run.c, &other, &run.error), 0);
        assert_string_equal(other.firmware.keys, "/mine");
        assert_string_equal(other.firmware.keys_by, "loader");
}

/* As somebody has it who installs Kairos: nothing of it is in the way, and nothing is forgotten. */
static void configuration_of_kairos_is_taken(void **state)
{
        static const char path[] = "tests/config/examples/kairos-trusted-boot.yaml";
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        struct install_wishes w = {.target = NULL};

        (void)state;
        assert_int_equal(file_read(AT_FDCWD, path, &text), 0);
        assert_int_equal(config_run(&run, buf_str(&text), NULL, NULL), 0);
        if (config_apply_to_install(run.c, &w, &run.error) < 0)
                fail_msg("%s", run.error.text);
        assert_string_equal(w.target, "auto");
        assert_int_equal(strncmp(w.source, "oci:quay.io/", 12), 0);
        assert_int_equal(w.end, INSTALL_END_REBOOT);
        assert_int_equal(w.layout.oem_size, 512 * MIB);
        assert_int_equal(w.layout.extras.n, 1);
        assert_true(w.layout.extras.item[0].encrypted);
        assert_int_equal(w.literal_pcrs, PCR_CHOICE_NEEDED);
        assert_true(w.from.insecure.n == 0 && !w.no_format);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_command_line_comes_first),
                cmocka_unit_test(no_disk_is_chosen_by_default),
                cmocka_unit_test(the_end_of_the_command_line_counts_more),
                cmocka_unit_test(insecure_is_the_source_that_was_named),
                cmocka_unit_test(wishes_are_filled),
                cmocka_unit_test(configuration_of_kairos_is_taken),
                cmocka_unit_test(what_the_boot_stage_does_not_take_is_refused),
                cmocka_unit_test(too_many_documents_are_refused),
                cmocka_unit_test(keys_by_of_the_command_line_counts_more),
                cmocka_unit_test(partitions_follow_the_rules_of_the_command_line),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
