/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/extension_report.h"

#include <stdio.h>
#include <string.h>

#include "agent/boot_report.h"
#include "agent/report.h"
#include "agent/status_node.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/num.h"

static int add_images(struct json_object *o, const struct extension *x)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(o, "images", array);

        return r == 0 ? extension_images(x, array) : r;
}

int extension_report_item(struct json_object *o, const struct extension *x)
{
        char hex[SHA256_HEX_SIZE];
        int r = json_add_str(o, "name", x->name);

        hex_encode(x->root_hash, SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(o, "kind", extension_kind_name(x->confext));
        if (r == 0)
                r = json_add_str(o, "root_hash", hex);
        if (r == 0)
                r = json_add_u64(o, "size", x->size);
        return r < 0 ? r : add_images(o, x);
}

/* What the boot stage said about the extension, or NULL. */
static struct json_object *find_said(struct json_object *report, const char *name)
{
        struct json_object *array;

        if (json_get_array(report, EXTENSION_REPORT_LIST, &array) < 0)
                return NULL;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *o = json_object_array_get_idx(array, i);
                const char *text;

                if (json_get_str(o, "name", &text) == 0 && strcmp(text, name) == 0)
                        return o;
        }
        return NULL;
}

/* A later installation under the same name is not what this boot has. */
static bool is_active(struct json_object *said, const char *root_hash)
{
        const char *hash;
        bool active;

        return said && json_get_str(said, "root_hash", &hash) == 0 &&
               strcmp(hash, root_hash) == 0 && json_get_bool(said, "active", &active) == 0 &&
               active;
}

static int add_state(struct json_object *o, const struct extension *x, struct json_object *report,
                     const struct extension_image *image)
{
        struct json_object *said = find_said(report, x->name);
        const char *error = NULL;
        char hex[SHA256_HEX_SIZE];
        int r = json_add_bool(o, "enabled", image && extension_is_enabled(x, image->pcr11));

        hex_encode(x->root_hash, SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_bool(o, "active", is_active(said, hex));
        if (said && json_get_str(said, "error", &error) < 0)
                error = NULL;
        return r < 0 ? r : json_add_str(o, "error", error);
}

int extension_report_add(const struct env *env, struct json_object *root, struct error *e)
{
        _cleanup_free_ struct extension_list *l = calloc(1, sizeof(*l));
        struct json_object *array = json_object_new_array();
        _cleanup_json_ struct json_object *report = NULL;
        struct extension_image image;
        int r = json_add_obj(root, "extensions", array);
        bool known;

        if (r < 0 || !l)
                return error_oom(e);
        r = extension_list_read(env, l, e);
        if (r == 0)
                r = boot_report_read(env, &report, e);
        if (r < 0)
                return r;
        known = extension_running_image(env, &image, NULL) == 0;
        for (unsigned i = 0; i < l->n && r == 0; i++) {
                struct json_object *o = json_object_new_object();

                r = json_append(array, o);
                if (r == 0)
                        r = extension_report_item(o, &l->item[i]);
                if (r == 0)
                        r = add_state(o, &l->item[i], report, known ? &image : NULL);
        }
        return r < 0 ? error_oom(e) : 0;
}

static void print_one(struct json_object *o)
{
        bool active = false, enabled = false;
        const char *reason;
        uint64_t size = 0;
        char text[32];

        if (json_get_bool(o, "active", &active) < 0 || json_get_bool(o, "enabled", &enabled) < 0 ||
            json_get_u64(o, "size", &size) < 0)
                return;
        report_text(stdout, "  %-16s %-7s %9s  %s, %s", status_text(o, "name"),
                    status_text(o, "kind"), format_size(size, text, sizeof(text)),
                    active ? "active" : "not active",
                    enabled ? "enabled" : "not enabled for this image");
        if (json_get_str(o, "error", &reason) == 0)
                report_text(stdout, " (%s)", reason);
        report_text(stdout, "\n");
}

static void print_all(struct json_object *root, const char *title, const char *none)
{
        struct json_object *array;

        if (json_get_array(root, "extensions", &array) < 0)
                return;
        if (json_object_array_length(array) == 0) {
                report_text(stdout, "%s", none);
                return;
        }
        report_text(stdout, "%s\n", title);
        for (size_t i = 0; i < json_object_array_length(array); i++)
                print_one(json_object_array_get_idx(array, i));
}

int extension_report_list(const struct env *env, bool json, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("extension");
        int r = root ? extension_report_add(env, root, e) : error_oom(e);

        if (r < 0)
                return r;
        if (json)
                return report_print(root, e);
        print_all(root, "extensions", "no extensions\n");
        return 0;
}

int extension_report_status(const struct env *env, struct json_object *root)
{
        struct error error = ERROR_INIT;

        if (extension_report_add(env, root, &error) == 0)
                return 0;
        log_warning("%s", error.text);
        return json_add_null(root, "extensions");
}

void extension_report_print(struct json_object *root)
{
        print_all(root, "extensions", "");
}
