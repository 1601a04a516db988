/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset_journal.h"

#include <stdio.h>
#include <string.h>

#include "agent/pcr_choice.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"

static int add_volume(struct json_object *array, const struct reset_volume *v)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "name", v->name);
        if (r == 0)
                r = json_add_str(o, "partition", v->partition);
        if (r == 0)
                r = json_add_str(o, "uuid", v->uuid);
        if (r == 0)
                r = json_add_str(o, "label", v->label);
        if (r == 0)
                r = json_add_bool(o, "file_system", v->file_system);
        if (r == 0)
                r = json_add_bool(o, "allow_discards", v->allow_discards);
        return r;
}

bool reset_journal_names(const struct reset_journal *j, const char *name)
{
        for (size_t i = 0; i < j->n; i++) {
                if (strcmp(j->volume[i].name, name) == 0)
                        return true;
        }
        return false;
}

int reset_journal_format(const struct reset_journal *j, struct buf *out)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *volumes = json_object_new_array();
        struct json_object *names = json_object_new_array();
        const char *text;
        int r = json_add_obj(root, "volumes", volumes);

        if (r == 0)
                r = json_add_u64(root, "schema", RESET_JOURNAL_SCHEMA);
        if (r == 0)
                r = json_add_str(root, "id", j->id);
        if (r == 0)
                r = json_add_u64(root, "time", j->time);
        if (r == 0)
                r = json_add_bool(root, "overwrite", j->overwrite);
        if (r == 0)
                r = json_add_u64(root, "pcrs", j->pcrs);
        if (r == 0)
                r = json_add_bool(root, "pin", j->pin);
        for (size_t i = 0; i < j->n && r == 0; i++)
                r = add_volume(volumes, &j->volume[i]);
        if (r == 0)
                r = json_add_obj(root, "encrypted", names);
        else
                json_object_put(names);
        for (size_t i = 0; i < j->n_encrypted && r == 0; i++)
                r = json_append(names, json_new_str(j->encrypted[i]));
        if (r < 0)
                return -ENOMEM;
        text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
        return text ? buf_printf(out, "%s\n", text) : -ENOMEM;
}

static int take(struct json_object *o, const char *key, char *ret, size_t size)
{
        const char *text;
        int r = json_get_str(o, key, &text);

        if (r < 0)
                return r;
        if (strlen(text) >= size)
                return -EBADMSG;
        for (const char *p = text; *p; p++) {
                if (*p <= ' ' || *p > '~')
                        return -EBADMSG;
        }
        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

static bool is_uuid(const char *text)
{
        if (strlen(text) != LAYOUT_UUID_SIZE - 1)
                return false;
        for (size_t i = 0; text[i]; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? text[i] != '-' : !strchr("0123456789abcdefABCDEF", text[i]))
                        return false;
        }
        return true;
}

/* Ours have their labels; those of the user's partitions are theirs. */
static bool is_sound(const struct reset_volume *v)
{
        if (!is_uuid(v->partition) || (*v->uuid && !is_uuid(v->uuid)) || !*v->label)
                return false;
        if (strcmp(v->name, LAYOUT_OEM_NAME) == 0)
                return strcmp(v->label, LAYOUT_OEM_LABEL) == 0 && v->file_system;
        if (strcmp(v->name, LAYOUT_PERSISTENT_NAME) == 0)
                return strcmp(v->label, LAYOUT_PERSISTENT_LABEL) == 0 && v->file_system;
        return extra_name_ok(v->name);
}

static int read_volume(struct json_object *o, struct reset_journal *j)
{
        struct reset_volume v = {.file_system = false};
        int r = take(o, "name", v.name, sizeof(v.name));

        if (r == 0)
                r = take(o, "partition", v.partition, sizeof(v.partition));
        if (r == 0)
                r = take(o, "uuid", v.uuid, sizeof(v.uuid));
        if (r == 0)
                r = take(o, "label", v.label, sizeof(v.label));
        if (r == 0)
                r = json_get_bool(o, "file_system", &v.file_system);
        if (r == 0)
                r = json_get_bool(o, "allow_discards", &v.allow_discards);
        if (r < 0 || !is_sound(&v))
                return -EBADMSG;
        for (size_t i = 0; i < j->n; i++) {
                if (strcmp(j->volume[i].name, v.name) == 0)
                        return -EBADMSG;
        }
        j->volume[j->n++] = v;
        return 0;
}

static int read_encrypted(struct json_object *root, struct reset_journal *j)
{
        struct json_object *names;
        int r = json_get_array(root, "encrypted", &names);

        if (r == 0 && json_object_array_length(names) > LIMIT_EXTRA_PARTITIONS)
                r = -EBADMSG;
        for (size_t i = 0; r == 0 && i < json_object_array_length(names); i++) {
                struct json_object *o = json_object_array_get_idx(names, i);
                const char *name = json_object_get_string(o);

                if (!json_object_is_type(o, json_type_string) || !extra_name_ok(name))
                        return -EBADMSG;
                (void)snprintf(j->encrypted[j->n_encrypted++], sizeof(j->encrypted[0]), "%s", name);
        }
        return r;
}

/* Versions that made no choice did not write it. */
static int read_choice(struct json_object *root, struct reset_journal *j)
{
        uint64_t pcrs = PCR_CHOICE_NEEDED;
        int r = json_get_u64(root, "pcrs", &pcrs);

        if (r == 0 || r == -ENOENT)
                r = json_get_bool(root, "pin", &j->pin);
        if (r < 0 && r != -ENOENT)
                return r;
        if (!(pcrs & PCR_CHOICE_NEEDED) || pcrs & ~(uint64_t)PCR_CHOICE_LITERAL)
                return -EBADMSG;
        j->pcrs = (uint32_t)pcrs;
        return 0;
}

static int read_root(struct json_object *root, struct reset_journal *j)
{
        struct json_object *volumes;
        uint64_t schema;
        int r = json_get_u64(root, "schema", &schema);

        if (r == 0 && schema != RESET_JOURNAL_SCHEMA)
                r = -EBADMSG;
        if (r == 0)
                r = take(root, "id", j->id, sizeof(j->id));
        if (r == 0)
                r = json_get_u64(root, "time", &j->time);
        if (r == 0)
                r = json_get_bool(root, "overwrite", &j->overwrite);
        if (r == 0)
                r = read_choice(root, j);
        if (r == 0)
                r = read_encrypted(root, j);
        if (r == 0)
                r = json_get_array(root, "volumes", &volumes);
        if (r < 0)
                return r;
        if (json_object_array_length(volumes) > RESET_VOLUMES_MAX)
                return -EBADMSG;
        for (size_t i = 0; i < json_object_array_length(volumes) && r == 0; i++)
                r = read_volume(json_object_array_get_idx(volumes, i), j);
        return r;
}

int reset_journal_parse(const void *text, size_t n, struct reset_journal *ret, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct reset_journal j = {.n = 0};
        int r = json_read_text(text, n, LIMIT_SMALL_FILE, "reset journal", &root, e);

        if (r == -ENOMEM)
                return r;
        if (r < 0 || !json_object_is_type(root, json_type_object) || read_root(root, &j) < 0)
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s is not a reset's journal",
                                 RESET_JOURNAL_FILE);
        *ret = j;
        return 0;
}

/* What the TPM holds the digest of is whole, and ours. */
static int check_digest(const struct buf *text, const uint8_t *digest, struct error *e)
{
        uint8_t have[SHA256_SIZE];

        if (sha256(text->data, text->len, have) < 0)
                return error_set(e, ERROR_INTERNAL, EIO, "%s: no digest", RESET_JOURNAL_FILE);
        if (memcmp(have, digest, SHA256_SIZE) == 0)
                return 0;
        return error_set(e, ERROR_PRECONDITION, EKEYREJECTED,
                         "%s is not the journal that the TPM knows of", RESET_JOURNAL_FILE);
}

int reset_journal_load(const struct esp *esp, const uint8_t *digest, struct reset_journal *ret,
                       struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        int r = file_read(esp->root, RESET_JOURNAL_FILE, &text);

        if (r == -ENOENT)
                return r;
        if (r < 0)
                return error_errno(e, -r, "%s", RESET_JOURNAL_FILE);
        if (digest)
                r = check_digest(&text, digest, e);
        return r < 0 ? r : reset_journal_parse(text.data, text.len, ret, e);
}

int reset_journal_store(const struct esp *esp, const struct reset_journal *j,
                        uint8_t digest[SHA256_SIZE], struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);

        if (reset_journal_format(j, &text) < 0 || sha256(text.data, text.len, digest) < 0)
                return error_oom(e);
        return esp_exchange_file(esp, RESET_JOURNAL_FILE, text.data, text.len, e);
}

int reset_journal_remove(const struct esp *esp, struct error *e)
{
        int r = esp_drop_temporary(esp, ESP_IMAGE_DIR, e);

        return r < 0 ? r : esp_remove(esp, RESET_JOURNAL_FILE, e);
}
