/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_record.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/oem_file.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"

#define SCHEMA 1u

void install_record_extras(struct install_record *r, const struct extra_list *extras)
{
        r->n_encrypted = 0;
        for (size_t i = 0; i < extras->n; i++) {
                if (extras->item[i].encrypted)
                        (void)snprintf(r->encrypted[r->n_encrypted++], sizeof(r->encrypted[0]),
                                       "%s", extras->item[i].name);
        }
}

static int format(const struct install_record *r, struct json_object *o)
{
        struct json_object *names = json_object_new_array();
        char hex[SHA256_HEX_SIZE];
        int result = json_add_obj(o, "encrypted", names);

        hex_encode(r->sha256, SHA256_SIZE, hex);
        for (size_t i = 0; i < r->n_encrypted && result == 0; i++)
                result = json_append(names, json_new_str(r->encrypted[i]));
        if (result == 0)
                result = json_add_u64(o, "schema", SCHEMA);
        if (result == 0)
                result = json_add_u64(o, "time", r->time);
        if (result == 0)
                result = json_add_str(o, "version", r->version);
        if (result == 0)
                result = json_add_str(o, "sha256", hex);
        if (result == 0)
                result = json_add_str(o, "image_override", r->image_override);
        if (result == 0)
                result = json_add_str(o, "machine_override", r->machine_override);
        return result < 0 ? result : json_add_str(o, "made", r->made);
}

int install_record_format(const struct install_record *r, struct buf *ret, struct error *e)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        const char *text =
                format(r, o) < 0
                        ? NULL
                        : json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
                                                                    JSON_C_TO_STRING_NOSLASHESCAPE);

        return text && buf_add_str(ret, text) == 0 ? 0 : error_oom(e);
}

int install_record_write(const struct install_record *r, int dirfd, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        int result = install_record_format(r, &text, e);

        if (result < 0)
                return result;
        result = file_make_dirs(dirfd, OEM_FILE_FOLDER, 0700);
        if (result == 0)
                result = file_replace(dirfd, OEM_FILE_INSTALL, text.data, text.len, 0600);
        return result < 0 ? error_errno(e, -result, "OEM partition: " OEM_FILE_INSTALL) : 0;
}

/* A text of the record, which must be there and fit. */
static bool get(struct json_object *o, const char *key, char *ret, size_t size)
{
        const char *text;

        return json_get_str(o, key, &text) == 0 && (size_t)snprintf(ret, size, "%s", text) < size;
}

static bool get_names(struct json_object *o, struct install_record *ret)
{
        struct json_object *names;

        if (json_get_array(o, "encrypted", &names) < 0 ||
            json_object_array_length(names) > LIMIT_EXTRA_PARTITIONS)
                return false;
        for (size_t i = 0; i < json_object_array_length(names); i++) {
                struct json_object *name = json_object_array_get_idx(names, i);
                const char *text = json_object_get_string(name);

                if (!json_object_is_type(name, json_type_string) || !extra_name_ok(text))
                        return false;
                (void)snprintf(ret->encrypted[ret->n_encrypted++], sizeof(ret->encrypted[0]), "%s",
                               text);
        }
        return true;
}

/* A later schema may add, and has these. */
static bool parse(struct json_object *o, struct install_record *ret)
{
        char hex[SHA256_HEX_SIZE];

        *ret = (struct install_record){.time = 0};
        (void)get(o, "made", ret->made, sizeof(ret->made));
        return json_get_u64(o, "time", &ret->time) == 0 &&
               get(o, "version", ret->version, sizeof(ret->version)) &&
               get(o, "sha256", hex, sizeof(hex)) &&
               hex_decode(hex, ret->sha256, SHA256_SIZE) == 0 &&
               get(o, "image_override", ret->image_override, sizeof(ret->image_override)) &&
               get(o, "machine_override", ret->machine_override, sizeof(ret->machine_override)) &&
               get_names(o, ret);
}

int install_record_read(const struct env *env, struct install_record *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_json_ struct json_object *root = NULL;
        _cleanup_free_ char *path = NULL;
        int r = oem_file_read(env, OEM_FILE_INSTALL, &text, &path, e);

        if (r <= 0)
                return r;
        r = json_read_text(text.data, text.len, LIMIT_SMALL_FILE, path, &root, e);
        if (r < 0)
                return r;
        return parse(root, ret) ? 1
                                : error_set(e, ERROR_CONFIG, EBADMSG,
                                            "%s: no record of an installation", path);
}
