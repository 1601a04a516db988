/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent status: what runs, in which role, and how the node stands. Changes nothing. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/boot_report.h"
#include "agent/machine.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/verbs.h"
#include "base/codec.h"
#include "base/version.h"
#include "efivars/loader.h"
#include "upgrade/esp.h"

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

static int add_entry(struct json_object *array, const struct entry_file *f, bool booted)
{
        struct json_object *o = json_object_new_object();
        char hex[SHA256_HEX_SIZE];
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "file", f->file);
        if (r == 0)
                r = json_add_str(o, "role", entry_role_name(f->name.role));
        if (r == 0)
                r = json_add_str(o, "title", f->valid ? f->entry.title : NULL);
        if (r == 0)
                r = json_add_str(o, "version", f->valid ? f->entry.version : NULL);
        if (r == 0)
                r = json_add_str(o, "image", f->valid ? f->entry.image : NULL);
        hex_encode(f->entry.sha256, SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(o, "sha256", f->valid && f->entry.has_sha256 ? hex : NULL);
        if (r == 0)
                r = json_add_bool(o, "image_present", f->image_present);
        if (r == 0)
                r = f->name.counted ? json_add_u64(o, "tries_left", f->name.tries_left)
                                    : json_add_null(o, "tries_left");
        if (r == 0)
                r = json_add_bool(o, "booted", booted);
        return r;
}

/* Entries of the ESP; blessed: the running entry has no counter (any more). */
static int add_entries(struct json_object *root, const struct entry_file *list, size_t n,
                       const struct entry_name *running)
{
        struct json_object *array = json_object_new_array();
        const struct entry_file *booted = NULL;
        int r = json_add_obj(root, "entries", array);

        for (size_t i = 0; i < n; i++) {
                if (running->role == ENTRY_ROLE_NONE || list[i].name.role != running->role)
                        continue;
                /* A confirmed twin counts more than what is left of its trial. */
                if (!booted || !list[i].name.counted)
                        booted = &list[i];
        }
        for (size_t i = 0; i < n && r == 0; i++)
                r = add_entry(array, &list[i], &list[i] == booted);
        if (r == 0)
                r = json_add_bool(root, "blessed", booted && !booted->name.counted);
        if (r == 0)
                r = booted && booted->name.counted
                            ? json_add_u64(root, "tries_left", booted->name.tries_left)
                            : json_add_null(root, "tries_left");
        if (r == 0)
                r = json_add_str(root, "version",
                                 booted && booted->valid ? booted->entry.version : NULL);
        return r;
}

static int add_esp(const struct env *env, struct json_object *root, struct error *e)
{
        _cleanup_(buf_done) struct buf id = BUF_INIT(4096);
        _cleanup_(node_free_p) struct node *node = NULL;
        _cleanup_free_ struct entry_file *list = NULL;
        struct entry_name running;
        int fd, r, unmounted;
        struct esp esp;
        size_t n = 0;

        if (loader_entry_selected(env, &id) < 0 || entry_name_parse(buf_str(&id), &running) < 0)
                running = (struct entry_name){.role = ENTRY_ROLE_NONE};
        r = node_find_booted(env, &node, e);
        if (r == 0)
                r = node_mount_esp(env, node, false, &fd, e);
        if (r < 0)
                return r;
        esp = (struct esp)ESP_INIT(fd);
        r = esp_list_entries(&esp, &list, &n, e);
        (void)close(fd); /* was only read */
        unmounted = node_unmount_esp(env, r < 0 ? NULL : e);
        if (r < 0 || unmounted < 0)
                return r < 0 ? r : unmounted;
        return add_entries(root, list, n, &running) < 0 ? error_oom(e) : 0;
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
        if (r == 0 && add_firmware(env, root) < 0)
                r = error_oom(e);
        /* A live session has no node to look at. */
        if (r < 0 || json_get_str(root, "role", &role) < 0 || strcmp(role, "live") == 0)
                return r;
        r = add_esp(env, root, e);
        if (r == 0 && add_floor(env, root) < 0)
                r = error_oom(e);
        return r;
}

static const char *text_of(struct json_object *o, const char *key)
{
        const char *s;

        return json_get_str(o, key, &s) < 0 ? "unknown" : s;
}

static const char *yes_no(struct json_object *o, const char *key)
{
        bool v;

        return json_get_bool(o, key, &v) < 0 ? "unknown" : v ? "yes" : "no";
}

static void print_partition(struct json_object *o)
{
        const char *reason;

        report_text(stdout, "  %-11s %s, LUKS2: %s, opened by: %s", text_of(o, "name"),
                    text_of(o, "device"), yes_no(o, "encrypted"), text_of(o, "unlocked_by"));
        if (json_get_str(o, "error", &reason) == 0)
                report_text(stdout, " (%s)", reason);
        report_text(stdout, "\n");
}

static void print_entry(struct json_object *o)
{
        uint64_t tries;
        bool booted = false;

        if (json_get_bool(o, "booted", &booted) < 0)
                booted = false;
        report_text(stdout, "%c %-20s %s, version %s", booted ? '*' : ' ', text_of(o, "file"),
                    text_of(o, "image"), text_of(o, "version"));
        if (json_get_u64(o, "tries_left", &tries) == 0)
                report_text(stdout, ", on trial, %u tries left", (unsigned)tries);
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
        report_text(stdout, "version floor %s (%s)\n", text_of(o, "version"),
                    text_of(o, "finding"));
        if (json_get_bool(o, "running_below", &below) == 0 && below)
                report_text(stdout,
                            "              the running version is below it: a downgrade was "
                            "accepted\n");
}

static void print_text(struct json_object *root)
{
        report_text(stdout, "role          %s\n", text_of(root, "role"));
        if (json_object_object_get_ex(root, "blessed", NULL)) {
                report_text(stdout, "version       %s\n", text_of(root, "version"));
                report_text(stdout, "blessed       %s\n", yes_no(root, "blessed"));
        }
        print_floor(root);
        report_text(stdout, "secure boot   %s\n", yes_no(root, "secure_boot"));
        report_text(stdout, "measured      %s\n", yes_no(root, "measured"));
        report_text(stdout, "policy closed %s\n", yes_no(root, "closed"));
        report_text(stdout, "boot loader   systemd-boot %s\n", text_of(root, "bootloader"));
        report_text(stdout, "disk          %s\n", text_of(root, "disk"));
        print_list(root, "partitions", "data", print_partition);
        print_list(root, "entries", "boot entries", print_entry);
        print_list(root, "problems", "problems", print_problem);
}

static void print_help(void)
{
        (void)printf("Usage: tb-agent status [--json]\n\n"
                     "Tells what runs, in which role, and how this node stands.\n\n"
                     "  --json  print a JSON document\n"
                     "  --help  show this text\n");
}

int verb_status(const struct env *env, int argc, char **argv)
{
        _cleanup_json_ struct json_object *root = report_new("status");
        struct error error = ERROR_INIT;
        bool json = false;
        const struct option_spec specs[] = {{"json", OPTION_FLAG, &json}};
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, &error);

        if (r > 0) {
                print_help();
                return 0;
        }
        if (r == 0)
                r = root ? collect(env, root, &error) : error_oom(&error);
        if (r == 0 && json)
                r = report_print(root, &error);
        else if (r == 0)
                print_text(root);
        return r < 0 ? report_failure("status", json, &error) : 0;
}
