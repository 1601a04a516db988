/* SPDX-License-Identifier: Apache-2.0 */
/* What an upgrade says about itself. */
#include "agent/upgrade_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/report.h"
#include "base/codec.h"
#include "base/num.h"

const char *upgrade_result_name(enum upgrade_result result)
{
        static const char *const names[UPGRADE_RESULT_MAX] = {
                [UPGRADE_NOTHING] = "nothing", [UPGRADE_AVAILABLE] = "available",
                [UPGRADE_OLDER] = "older",     [UPGRADE_PLANNED] = "planned",
                [UPGRADE_DONE] = "upgraded",
        };

        return result < UPGRADE_RESULT_MAX ? names[result] : "unknown";
}

static int add_image(struct json_object *root, const char *key, const char *version, bool known,
                     const uint8_t sha256[SHA256_SIZE])
{
        struct json_object *o = json_object_new_object();
        char hex[SHA256_HEX_SIZE];
        int r = json_add_obj(root, key, o);

        hex_encode(sha256, SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(o, "version", *version ? version : NULL);
        if (r == 0)
                r = json_add_str(o, "sha256", known ? hex : NULL);
        return r;
}

static int add_bytes(struct json_object *root, const struct upgrade_report *r)
{
        struct json_object *o = json_object_new_object();
        int result = json_add_obj(root, "bytes", o);

        if (result == 0)
                result =
                        r->size > 0 ? json_add_u64(o, "image", r->size) : json_add_null(o, "image");
        if (result == 0)
                result = json_add_u64(o, "network", r->network);
        if (result == 0)
                result = json_add_u64(o, "spool", r->spooled);
        if (result == 0)
                result = json_add_u64(o, "resumed", r->resumed);
        if (result == 0)
                result = json_add_u64(o, "esp", r->written);
        return result;
}

static const char *step_name(enum slots_step_kind kind)
{
        switch (kind) {
        case SLOTS_ADD_IMAGE:
                return "add-image";
        case SLOTS_SWITCH_ENTRY:
                return "switch-entry";
        case SLOTS_ADD_ENTRY:
                return "add-entry";
        case SLOTS_REMOVE_ENTRY:
                return "remove-entry";
        case SLOTS_REMOVE_IMAGE:
                return "remove-image";
        }
        return "unknown";
}

static bool is_image_step(const struct slots_step *s)
{
        return s->kind == SLOTS_ADD_IMAGE || s->kind == SLOTS_REMOVE_IMAGE;
}

static void step_object(const struct slots_step *s, char out[NAME_MAX + 1])
{
        if (is_image_step(s))
                (void)snprintf(out, NAME_MAX + 1, ESP_IMAGE_DIR "/usi-%08" PRIu32 ".efi",
                               s->number);
        else
                (void)snprintf(out, NAME_MAX + 1, "%s", s->file);
}

static int add_plan(struct json_object *root, const struct upgrade_report *r)
{
        struct json_object *o = json_object_new_object(), *steps = json_object_new_array();
        int result = json_add_obj(root, "plan", o);

        if (result < 0) {
                (void)json_object_put(steps);
                return result;
        }
        result = json_add_obj(o, "steps", steps);
        for (unsigned i = 0; i < r->plan.n && result == 0; i++) {
                struct json_object *step = json_object_new_object();
                char what[NAME_MAX + 1];

                step_object(&r->plan.step[i], what);
                result = json_append(steps, step);
                if (result == 0)
                        result = json_add_str(step, "step", step_name(r->plan.step[i].kind));
                if (result == 0)
                        result = json_add_str(step, "file", what);
        }
        if (result == 0)
                result = json_add_bool(o, "write", r->plan.write);
        if (result == 0)
                result = json_add_bool(o, "copy", r->plan.copy);
        if (result == 0)
                result = json_add_u64(o, "bytes_needed", r->plan.need);
        if (result == 0)
                result = json_add_u64(o, "bytes_available", r->plan.available);
        return result == 0 ? json_add_u64(o, "bytes_freed", r->plan.freed) : result;
}

static int fill(struct json_object *root, const struct upgrade_report *r, const struct error *e)
{
        int result = json_add_str(root, "result", e ? "failed" : upgrade_result_name(r->result));

        if (result == 0)
                result = json_add_bool(root, "dry_run", r->dry_run);
        if (result == 0)
                result = json_add_str(root, "target", entry_role_name(r->target));
        if (result == 0)
                result = json_add_str(root, "source", r->source);
        if (result == 0)
                result = json_add_str(root, "manifest", *r->manifest ? r->manifest : NULL);
        if (result == 0)
                result = add_image(root, "from", r->from_version, r->has_from, r->from);
        if (result == 0)
                result = add_image(root, "to", r->to_version, r->has_to, r->to);
        if (result == 0)
                result = add_bytes(root, r);
        if (result == 0)
                result = json_add_u64(root, "retries", r->retries);
        if (result == 0)
                result = json_add_u64(root, "milliseconds", r->ms);
        if (result == 0)
                result = json_add_bool(root, "copied", r->copied);
        if (result == 0)
                result = json_add_bool(root, "reboot_needed", r->reboot_needed);
        if (result == 0)
                result = json_add_bool(root, "recovery_pending", r->recovery_pending);
        if (result == 0)
                result = json_add_str(root, "bootloader", *r->loader ? r->loader : NULL);
        if (result == 0)
                result = json_add_u64(root, "cleared_variables", r->cleared);
        if (result == 0)
                result = json_add_u64(root, "hooks", r->hooks);
        if (result == 0)
                result = json_add_str(root, "warning", *r->warning ? r->warning : NULL);
        if (result == 0)
                result = r->proved ? json_add_obj(root, "proofs", proofs_json(&r->proofs))
                                   : json_add_null(root, "proofs");
        if (result == 0 && r->plan.n > 0)
                result = add_plan(root, r);
        return result;
}

struct json_object *upgrade_report_json(const struct upgrade_report *r, const struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("upgrade");

        if (!root || fill(root, r, e) < 0 || (e && report_add_error(root, e) < 0))
                return NULL;
        return TAKE_PTR(root);
}

/* --- text --- */

static void print_plan(const struct upgrade_report *r)
{
        char need[32], available[32];

        for (unsigned i = 0; i < r->plan.n; i++) {
                char what[NAME_MAX + 1];

                step_object(&r->plan.step[i], what);
                report_text(stdout, "  %-13s %s%s\n", step_name(r->plan.step[i].kind), what,
                            r->plan.step[i].of_new_image ? " -> new image" : "");
        }
        report_text(stdout, "  writes %s, %s are free\n",
                    r->plan.need > 0 ? format_size(r->plan.need, need, sizeof(need))
                                     : "an unknown number of bytes",
                    format_size(r->plan.available, available, sizeof(available)));
}

static void print_image(const char *title, const char *version, bool known,
                        const uint8_t sha256[SHA256_SIZE])
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(sha256, SHA256_SIZE, hex);
        report_text(stdout, "%s version %s, sha256 %s\n", title, *version ? version : "unknown",
                    known ? hex : "unknown");
}

static void print_costs(const struct upgrade_report *r)
{
        char network[32], written[32];

        report_text(stdout,
                    "%s from the source, %s written, %u retries, %" PRIu64 ".%" PRIu64 " seconds\n",
                    format_size(r->network, network, sizeof(network)),
                    format_size(r->written, written, sizeof(written)), r->retries, r->ms / 1000,
                    r->ms % 1000 / 100);
}

void upgrade_report_text(const struct upgrade_report *r)
{
        const char *role = entry_role_name(r->target);

        switch (r->result) {
        case UPGRADE_NOTHING:
                report_text(stdout, "nothing to do: %s has this image\n", role);
                break;
        case UPGRADE_AVAILABLE:
                report_text(stdout, "there is another image for %s%s\n", role,
                            *r->to_version ? "" : "; its version is not known before it is loaded");
                print_image("now:", r->from_version, r->has_from, r->from);
                print_image("new:", r->to_version, r->has_to, r->to);
                break;
        case UPGRADE_OLDER:
                report_text(stdout, "nothing newer for %s: the source has an older version\n",
                            role);
                print_image("now:", r->from_version, r->has_from, r->from);
                print_image("source:", r->to_version, r->has_to, r->to);
                break;
        case UPGRADE_PLANNED:
                report_text(stdout, "would be done for %s; nothing was changed\n", role);
                print_image("now:", r->from_version, r->has_from, r->from);
                print_image("new:", r->to_version, r->has_to, r->to);
                print_plan(r);
                break;
        case UPGRADE_DONE:
                print_image("upgraded:", r->to_version, r->has_to, r->to);
                print_costs(r);
                break;
        case UPGRADE_RESULT_MAX:
                break;
        }
        if (*r->loader)
                report_text(stdout, "boot loader: systemd-boot %s\n", r->loader);
        if (r->recovery_pending)
                report_text(stdout, "recovery follows when this image is confirmed: run the same "
                                    "command again then\n");
        if (*r->warning)
                report_text(stdout, "warning: %s\n", r->warning);
        if (r->reboot_needed)
                report_text(stdout, "restart the node to use it\n");
}
