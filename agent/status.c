/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent status: what runs, in which role, and how the node stands. Changes nothing. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/boot.h"
#include "agent/boot_report.h"
#include "agent/extension_report.h"
#include "agent/firmware_entry.h"
#include "agent/machine.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/preflight.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/status_boot.h"
#include "agent/status_node.h"
#include "agent/status_ways.h"
#include "agent/verbs.h"
#include "base/log.h"
#include "base/version.h"
#include "efivars/loader.h"
#include "upgrade/state.h"

static int add_firmware(const struct env *env, struct json_object *root)
{
        struct secureboot_state state = {0};
        struct loader_info loader = {.version = ""};
        int known = secureboot_state(env, &state), r;

        r = known < 0 ? json_add_null(root, "secure_boot")
                      : json_add_bool(root, "secure_boot", state.secure_boot);
        if (r == 0)
                r = known < 0 ? json_add_null(root, "setup_mode")
                              : json_add_bool(root, "setup_mode", state.setup_mode);
        if (r == 0)
                r = json_add_bool(root, "measured", stub_measured(env));
        if (r == 0)
                r = json_add_str(root, "bootloader",
                                 loader_info(env, &loader) < 0 ? NULL : loader.version);
        return r;
}

/* A TPM that is a program was accepted by somebody, and everybody should see it. */
static int add_tpm(const struct env *env, struct json_object *root)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct tpm_info info;
        struct json_object *o;
        int r;

        if (tpm_open(env->tcti, &tpm, NULL) < 0 || tpm_get_info(tpm, &info, NULL) < 0)
                return json_add_null(root, "tpm");
        o = json_object_new_object();
        r = json_add_obj(root, "tpm", o);
        if (r == 0)
                r = json_add_str(o, "manufacturer", info.manufacturer);
        if (r == 0)
                r = json_add_bool(o, "software",
                                  preflight_tpm_kind(&info) == PREFLIGHT_TPM_SOFTWARE);
        return r < 0 ? r : json_add_bool(o, "in_lockout", info.in_lockout);
}

/* What the boot stage noted: role, entry, partitions and how they were opened. */
static int add_boot(const struct env *env, struct json_object *root, struct error *e)
{
        static const char *const keys[] = {"role",   "entry",      "disk",
                                           "closed", "partitions", "problems"};
        _cleanup_json_ struct json_object *report = NULL;
        int r = boot_report_read(env, &report, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                struct json_object *value = NULL;

                (void)json_object_object_get_ex(report, keys[i], &value);
                r = value ? json_add_obj(root, keys[i], json_object_get(value))
                          : json_add_null(root, keys[i]);
                if (r < 0)
                        return error_oom(e);
        }
        return 0;
}

/* What is remembered is an extra: without it, the rest is told. */
static void load_memory(const struct env *env, struct state **ret)
{
        _cleanup_close_ int dir = machine_open_state(env);
        struct error error = ERROR_INIT;

        if (dir >= 0 && state_load(dir, ret, &error) < 0)
                log_warning("%s", error.text);
}

/* What was accepted at the installation. */
static int add_record(const struct env *env, struct json_object *root, const struct situation *s,
                      struct error *e)
{
        _cleanup_free_ struct install_record *record = calloc(1, sizeof(*record));
        _cleanup_close_ int mounted = machine_open_state(env);
        struct error error = ERROR_INIT;
        int r = 0;

        if (!record)
                return error_oom(e);
        if (mounted >= 0)
                r = install_record_read(env, record, &error);
        if (r < 0)
                log_warning("%s", error.text);
        return r > 0 && status_add_record(root, s, record) < 0 ? error_oom(e) : 0;
}

static int add_esp(const struct env *env, struct json_object *root, struct error *e)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        _cleanup_(state_free_p) struct state *state = NULL;
        struct node_esp esp;
        int r = node_esp_open(env, false, &esp, e);

        if (r < 0)
                return r;
        r = situation_read(env, &esp.esp, &s, e);
        r = node_esp_close(env, &esp, r, e);
        if (r < 0)
                return r;
        load_memory(env, &state);
        if (status_add_node(env, root, &s, state) < 0)
                return error_oom(e);
        return add_record(env, root, &s, e);
}

/*
 * The floor, and whether what runs is below it: then somebody accepted a downgrade, and everybody
 * should see it. The proof that this is wrong is in the TPM; where it cannot be asked, the reason
 * stands in place of the floor.
 */
static int floor_fields(struct json_object *o, const struct floor_report *report,
                        const struct json_object *root)
{
        struct json_object *version = NULL;
        const char *running = NULL;
        int r = json_add_str(o, "finding", floor_finding_name(report->finding));

        if (json_object_object_get_ex(root, "version", &version))
                running = json_object_get_string(version);
        if (r == 0)
                r = json_add_bool(o, "alarming", floor_finding_alarming(report->finding));
        if (r == 0)
                r = json_add_str(o, "version",
                                 report->has_floor ? report->effective.version : NULL);
        if (r == 0)
                r = json_add_bool(o, "running_below",
                                  report->has_floor && running && *running &&
                                          version_compare(running, report->effective.version) < 0);
        return r;
}

static int add_floor(const struct env *env, struct json_object *root)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct json_object *o = json_object_new_object();
        struct floor_report report = {0};
        struct error error = ERROR_INIT;
        int r = json_add_obj(root, "floor", o), read;

        if (r < 0)
                return r;
        read = tpm_open(env->tcti, &tpm, &error);
        if (read == 0)
                read = machine_inspect_floor(env, tpm, false, &report, &error);
        return read < 0 ? json_add_str(o, "error", error.text) : floor_fields(o, &report, root);
}

static int collect(const struct env *env, struct json_object *root, struct error *e)
{
        const char *role;
        int r;

        if (json_add_str(root, "agent", TB_VERSION) < 0)
                return error_oom(e);
        r = add_boot(env, root, e);
        if (r == 0 && (add_firmware(env, root) < 0 || add_tpm(env, root) < 0))
                r = error_oom(e);
        /* A live session has no node to look at. */
        if (r < 0 || json_get_str(root, "role", &role) < 0 || strcmp(role, "live") == 0)
                return r;
        r = add_esp(env, root, e);
        if (r == 0 && (add_floor(env, root) < 0 || firmware_entry_status(env, root) < 0 ||
                       boot_first_add_status(env, root) < 0 || status_add_ways(env, root) < 0 ||
                       extension_report_status(env, root) < 0))
                r = error_oom(e);
        return r;
}

static void print_partition(struct json_object *o)
{
        const char *reason;

        report_text(stdout, "  %-11s %s, LUKS2: %s, opened by: %s", status_text(o, "name"),
                    status_text(o, "device"), status_yes_no(o, "encrypted"),
                    status_text(o, "unlocked_by"));
        if (json_get_str(o, "error", &reason) == 0)
                report_text(stdout, " (%s)", reason);
        report_text(stdout, "\n");
}

static void print_list(struct json_object *root, const char *key, const char *title,
                       void (*print)(struct json_object *))
{
        struct json_object *array;

        if (json_get_array(root, key, &array) < 0 || json_object_array_length(array) == 0)
                return;
        report_text(stdout, "%s\n", title);
        for (size_t i = 0; i < json_object_array_length(array); i++)
                print(json_object_array_get_idx(array, i));
}

static void print_problem(struct json_object *o)
{
        report_text(stdout, "  %s\n", json_object_get_string(o));
}

static void print_floor(struct json_object *root)
{
        struct json_object *o;
        const char *error;
        bool below;

        if (json_get_obj(root, "floor", &o) < 0)
                return;
        if (json_get_str(o, "error", &error) == 0) {
                report_text(stdout, "version floor unknown: %s\n", error);
                return;
        }
        report_text(stdout, "version floor %s (%s)\n", status_text(o, "version"),
                    status_text(o, "finding"));
        if (json_get_bool(o, "running_below", &below) == 0 && below)
                report_text(stdout,
                            "              the running version is below it: a downgrade was "
                            "accepted\n");
}

static void print_tpm(struct json_object *root)
{
        struct json_object *o;
        bool yes;

        if (json_get_obj(root, "tpm", &o) < 0)
                return;
        report_text(stdout, "TPM           %s%s%s\n", status_text(o, "manufacturer"),
                    json_get_bool(o, "software", &yes) == 0 && yes
                            ? ", a software TPM: its secrets lie in a file"
                            : "",
                    json_get_bool(o, "in_lockout", &yes) == 0 && yes ? ", locked out" : "");
}

static void print_entry(struct json_object *root)
{
        struct json_object *o;
        const char *text;

        if (json_get_obj(root, "firmware_entry", &o) < 0)
                return;
        report_text(stdout, "boot entry    %s", status_text(o, "state"));
        if (json_get_str(o, "entry", &text) == 0)
                report_text(stdout, " (%s)", text);
        if (json_get_str(o, "reason", &text) == 0)
                report_text(stdout, ": %s", text);
        report_text(stdout, "\n");
}

static void print_first_boot(struct json_object *root)
{
        struct json_object *o;
        char text[32] = "at an unknown time";
        const char *digest;
        struct tm tm;
        uint64_t at;
        time_t t;

        if (json_get_obj(root, "first_boot", &o) < 0 || json_get_u64(o, "time", &at) < 0)
                return;
        t = (time_t)at;
        if (at > 0 && at <= INT32_MAX && gmtime_r(&t, &tm))
                (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
        report_text(stdout, "first boot    of a disk image, %s\n", text);
        if (json_get_str(o, "config_sha256", &digest) == 0)
                report_text(stdout, "              configuration %s\n", digest);
}

static void print_text(struct json_object *root)
{
        bool fallback = false;

        if (json_get_bool(root, "fallback", &fallback) < 0)
                fallback = false;
        report_text(stdout, "role          %s%s\n", status_text(root, "role"),
                    fallback ? " (the node fell back)" : "");
        if (json_object_object_get_ex(root, "blessed", NULL)) {
                report_text(stdout, "version       %s\n", status_text(root, "version"));
                report_text(stdout, "blessed       %s\n", status_yes_no(root, "blessed"));
        }
        print_floor(root);
        report_text(stdout, "secure boot   %s\n", status_yes_no(root, "secure_boot"));
        print_tpm(root);
        report_text(stdout, "measured      %s\n", status_yes_no(root, "measured"));
        report_text(stdout, "policy closed %s\n", status_yes_no(root, "closed"));
        report_text(stdout, "boot loader   systemd-boot %s\n", status_text(root, "bootloader"));
        print_entry(root);
        report_text(stdout, "disk          %s\n", status_text(root, "disk"));
        print_first_boot(root);
        print_list(root, "partitions", "data", print_partition);
        status_print_ways(root);
        extension_report_print(root);
        status_print_node(root);
        print_list(root, "problems", "problems", print_problem);
}

static void print_help(void)
{
        (void)printf("Usage: tb-agent status [OPTION...]\n\n"
                     "Tells what runs, in which role, whether and why the node fell back, and how "
                     "it stands.\n\n"
                     "  --boot       what the boot stage did, with the milliseconds of each step\n"
                     "  --root DIR   the node's root is mounted there\n"
                     "  --tcti TCTI  TPM to use (default: device:/dev/tpmrm0)\n"
                     "  --json       print a JSON document\n"
                     "  --help       show this text\n");
}

int verb_status(const struct env *env, int argc, char **argv)
{
        _cleanup_json_ struct json_object *document = report_new("status");
        _cleanup_(root_done) struct root root = {.n = 0};
        const char *folder = NULL, *tcti = NULL;
        struct error error = ERROR_INIT;
        bool boot = false, json = false;
        const struct option_spec specs[] = {{"root", OPTION_TEXT, &folder},
                                            {"tcti", OPTION_TEXT, &tcti},
                                            {"boot", OPTION_FLAG, &boot},
                                            {"json", OPTION_FLAG, &json}};
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, &error);

        if (r > 0) {
                print_help();
                return 0;
        }
        if (r == 0)
                r = root_make(env, folder, tcti, &root, &error);
        if (r == 0 && !document)
                r = error_oom(&error);
        if (r == 0)
                r = boot ? status_boot_add(&root.env, document, &error)
                         : collect(&root.env, document, &error);
        if (r == 0 && json)
                r = report_print(document, &error);
        else if (r == 0)
                (boot ? status_boot_print : print_text)(document);
        return r < 0 ? report_failure("status", json, &error) : 0;
}
