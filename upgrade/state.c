/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/state.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

/* Keys of the document. */
#define OPERATIONS "operations"
#define FAILED "failed"
#define KNOWN "known"
#define PARTIAL "partial"
#define RECOVERY "recovery_wish"

/* The document itself, so that what this version does not know is kept as it is. */
struct state {
        struct json_object *root;
        bool newer;
};

void state_free(struct state *s)
{
        if (!s)
                return;
        json_put_p(&s->root);
        free(s);
}

/* --- the file -------------------------------------------------------------------------------- */

static int new_document(struct json_object **ret)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        int r = json_add_u64(o, "schema", STATE_SCHEMA);

        if (r == 0)
                *ret = TAKE_PTR(o);
        return r;
}

/* Each part that is there has the type it has to have; parts of a newer schema may differ. */
static bool is_document(struct json_object *root, bool *ret_newer)
{
        static const char *const arrays[] = {OPERATIONS, FAILED, KNOWN};
        struct json_object *part;
        uint64_t schema;
        int r;

        if (json_get_u64(root, "schema", &schema) < 0 || schema == 0)
                return false;
        *ret_newer = schema > STATE_SCHEMA;
        for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
                r = json_get_array(root, arrays[i], &part);
                if (r < 0 && r != -ENOENT && !*ret_newer)
                        return false;
        }
        return true;
}

static int put_aside(int dirfd, const char *why, struct error *e)
{
        int r = file_put_aside(dirfd, STATE_FILE, STATE_FILE_BAD);

        if (r < 0)
                return error_errno(e, -r, "%s: put aside", STATE_FILE);
        log_warning("%s: %s; it is kept as %s and begun anew", STATE_FILE, why, STATE_FILE_BAD);
        return 0;
}

/* Leaves s->root NULL when there is nothing to go on with. */
static int read_document(struct state *s, int dirfd, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        struct error error = ERROR_INIT;
        int r = file_read(dirfd, STATE_FILE, &text);

        if (r == -ENOENT)
                return 0;
        if (r == -E2BIG)
                return put_aside(dirfd, "it is too large", e);
        if (r < 0)
                return error_errno(e, -r, "%s", STATE_FILE);
        r = json_read_text(text.data, text.len, LIMIT_SMALL_FILE, STATE_FILE, &s->root, &error);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return put_aside(dirfd, "it is no JSON", e);
        if (is_document(s->root, &s->newer))
                return 0;
        json_put_p(&s->root);
        return put_aside(dirfd, "it is no record of upgrades", e);
}

int state_load(int dirfd, struct state **ret, struct error *e)
{
        _cleanup_(state_free_p) struct state *s = calloc(1, sizeof(*s));
        int r = 0;

        if (!s)
                return error_oom(e);
        if (dirfd != -EBADF)
                r = read_document(s, dirfd, e);
        if (r < 0)
                return r;
        if (!s->root && new_document(&s->root) < 0)
                return error_oom(e);
        *ret = TAKE_PTR(s);
        return 0;
}

bool state_is_newer(const struct state *s)
{
        return s->newer;
}

int state_save(const struct state *s, int dirfd, struct error *e)
{
        const char *text;
        int r;

        if (dirfd == -EBADF)
                return 0;
        if (s->newer) {
                error_set(e, ERROR_PRECONDITION, EROFS, "%s was written by a newer version",
                          STATE_FILE);
                error_advise(e, "use that version of tb-agent, or move the file away");
                return -EROFS;
        }
        text = json_object_to_json_string_ext(s->root, JSON_C_TO_STRING_PRETTY |
                                                               JSON_C_TO_STRING_SPACED |
                                                               JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text)
                return error_oom(e);
        r = file_replace(dirfd, STATE_FILE, text, strlen(text), 0600);
        return r < 0 ? error_errno(e, -r, "%s: write", STATE_FILE) : 0;
}

/* --- arrays ---------------------------------------------------------------------------------- */

static struct json_object *find_array(const struct state *s, const char *key)
{
        struct json_object *array;

        return json_get_array(s->root, key, &array) == 0 ? array : NULL;
}

static size_t length(struct json_object *array)
{
        return array ? json_object_array_length(array) : 0;
}

/* Element i, counted from the newest, which stands last. A JSON null is a NULL that exists. */
static int from_end(struct json_object *array, size_t i, struct json_object **ret)
{
        size_t n = length(array);

        if (i >= n)
                return -ENOENT;
        *ret = json_object_array_get_idx(array, n - 1 - i);
        return 0;
}

/* Index of the element in which key has that value; -ENOENT. */
static int find_index(struct json_object *array, const char *key, const char *value, size_t *ret)
{
        for (size_t i = 0; i < length(array); i++) {
                const char *v;

                if (json_get_str(json_object_array_get_idx(array, i), key, &v) < 0 ||
                    strcmp(v, value) != 0)
                        continue;
                *ret = i;
                return 0;
        }
        return -ENOENT;
}

/* Appends (taking ownership in every case) and keeps the newest max. */
static int append(struct state *s, const char *key, struct json_object *o, size_t max,
                  struct error *e)
{
        struct json_object *array = find_array(s, key);

        if (!array) {
                array = json_object_new_array();
                if (json_add_obj(s->root, key, array) < 0) {
                        (void)json_object_put(o);
                        return error_oom(e);
                }
        }
        if (json_append(array, o) < 0)
                return error_oom(e);
        if (length(array) > max && json_object_array_del_idx(array, 0, length(array) - max) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: %s", STATE_FILE, key);
        return 0;
}

static void drop(struct state *s, const char *array_key, const char *key, const char *value)
{
        struct json_object *array = find_array(s, array_key);
        size_t i;

        while (find_index(array, key, value, &i) == 0) {
                if (json_object_array_del_idx(array, i, 1) < 0)
                        return;
        }
}

/* --- fields ---------------------------------------------------------------------------------- */

/* JSON text is UTF-8; what is not, and control characters, become question marks. */
static int add_text(struct json_object *o, const char *key, const char *value, size_t max)
{
        _cleanup_free_ char *copy = strndup(value, max - 1);
        _cleanup_(buf_done) struct buf scratch = BUF_INIT(4 * STATE_TEXT_MAX);
        bool text;

        if (!copy)
                return -ENOMEM;
        text = utf8_to_utf16(copy, &scratch) == 0;
        for (char *p = copy; *p; p++) {
                if (iscntrl((unsigned char)*p) || (!text && (unsigned char)*p >= 0x80))
                        *p = '?';
        }
        return json_add_str(o, key, copy);
}

static void get_text(struct json_object *o, const char *key, char *ret, size_t size)
{
        const char *v;

        (void)snprintf(ret, size, "%s", json_get_str(o, key, &v) == 0 ? v : "");
}

static uint64_t get_number(struct json_object *o, const char *key)
{
        uint64_t v;

        return json_get_u64(o, key, &v) == 0 ? v : 0;
}

static bool get_digest(struct json_object *o, const char *key, uint8_t ret[SHA256_SIZE])
{
        const char *v;

        return json_get_str(o, key, &v) == 0 && hex_decode(v, ret, SHA256_SIZE) == 0;
}

static int add_digest(struct json_object *o, const char *key, const uint8_t sha256[SHA256_SIZE])
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(sha256, SHA256_SIZE, hex);
        return json_add_str(o, key, hex);
}

/* --- operations ------------------------------------------------------------------------------ */

static int fill_operation(struct json_object *o, const struct state_operation *op)
{
        const struct {
                const char *key, *value;
                size_t size;
        } texts[] = {
                {"id", op->id, sizeof(op->id)},
                {"boot_id", op->boot_id, sizeof(op->boot_id)},
                {"verb", op->verb, sizeof(op->verb)},
                {"target", op->target, sizeof(op->target)},
                {"source", op->source, sizeof(op->source)},
                {"manifest", op->manifest, sizeof(op->manifest)},
                {"from_version", op->from_version, sizeof(op->from_version)},
                {"to_version", op->to_version, sizeof(op->to_version)},
                {"result", op->result, sizeof(op->result)},
                {"text", op->text, sizeof(op->text)},
                {"overridden", op->overridden, sizeof(op->overridden)},
        };
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(texts) && r == 0; i++)
                r = add_text(o, texts[i].key, texts[i].value, texts[i].size);
        if (r == 0)
                r = json_add_u64(o, "time", op->time);
        if (r == 0)
                r = op->has_sha256 ? add_digest(o, "sha256", op->sha256)
                                   : json_add_null(o, "sha256");
        if (r == 0)
                r = json_add_bool(o, "finished", op->finished);
        if (r == 0)
                r = json_add_u64(o, "network", op->network);
        return r == 0 ? json_add_u64(o, "written", op->written) : r;
}

static void read_operation(struct json_object *o, struct state_operation *ret)
{
        bool finished;

        memset(ret, 0, sizeof(*ret));
        get_text(o, "id", ret->id, sizeof(ret->id));
        get_text(o, "boot_id", ret->boot_id, sizeof(ret->boot_id));
        get_text(o, "verb", ret->verb, sizeof(ret->verb));
        get_text(o, "target", ret->target, sizeof(ret->target));
        get_text(o, "source", ret->source, sizeof(ret->source));
        get_text(o, "manifest", ret->manifest, sizeof(ret->manifest));
        get_text(o, "from_version", ret->from_version, sizeof(ret->from_version));
        get_text(o, "to_version", ret->to_version, sizeof(ret->to_version));
        get_text(o, "result", ret->result, sizeof(ret->result));
        get_text(o, "text", ret->text, sizeof(ret->text));
        get_text(o, "overridden", ret->overridden, sizeof(ret->overridden));
        ret->time = get_number(o, "time");
        ret->has_sha256 = get_digest(o, "sha256", ret->sha256);
        ret->finished = json_get_bool(o, "finished", &finished) == 0 && finished;
        ret->network = get_number(o, "network");
        ret->written = get_number(o, "written");
}

int state_update(struct state *s, const struct state_operation *op, struct error *e)
{
        struct json_object *array = find_array(s, OPERATIONS), *o;
        size_t i;

        if (find_index(array, "id", op->id, &i) == 0) {
                o = json_object_array_get_idx(array, i);
                return fill_operation(o, op) < 0 ? error_oom(e) : 0;
        }
        o = json_object_new_object();
        if (!o || fill_operation(o, op) < 0) {
                (void)json_object_put(o);
                return error_oom(e);
        }
        return append(s, OPERATIONS, o, STATE_OPERATIONS_MAX, e);
}

int state_begin(struct state *s, struct state_operation *op, struct error *e)
{
        uint8_t salt[4];
        char hex[2 * sizeof(salt) + 1];
        int r = random_bytes(salt, sizeof(salt));

        if (r < 0)
                return error_errno(e, -r, "random number");
        hex_encode(salt, sizeof(salt), hex);
        (void)snprintf(op->id, sizeof(op->id), "%llu-%.8s-%s", (unsigned long long)op->time,
                       op->boot_id[0] ? op->boot_id : "unknown", hex);
        return state_update(s, op, e);
}

unsigned state_operations(const struct state *s)
{
        return (unsigned)length(find_array(s, OPERATIONS));
}

int state_operation_at(const struct state *s, unsigned i, struct state_operation *ret)
{
        struct json_object *o;
        int r = from_end(find_array(s, OPERATIONS), i, &o);

        if (r == 0)
                read_operation(o, ret);
        return r;
}

struct json_object *state_operations_json(const struct state *s)
{
        return find_array(s, OPERATIONS);
}

/* --- failures -------------------------------------------------------------------------------- */

int state_add_failure(struct state *s, const uint8_t sha256[SHA256_SIZE], uint64_t time,
                      const char *reason, struct error *e)
{
        struct json_object *o = json_object_new_object();

        state_forget_failure(s, sha256);
        if (!o || add_digest(o, "sha256", sha256) < 0 || json_add_u64(o, "time", time) < 0 ||
            add_text(o, "reason", reason, STATE_TEXT_MAX) < 0) {
                (void)json_object_put(o);
                return error_oom(e);
        }
        return append(s, FAILED, o, STATE_FAILED_MAX, e);
}

static void read_failure(struct json_object *o, struct state_failure *ret)
{
        memset(ret, 0, sizeof(*ret));
        (void)get_digest(o, "sha256", ret->sha256);
        ret->time = get_number(o, "time");
        get_text(o, "reason", ret->reason, sizeof(ret->reason));
}

int state_find_failure(const struct state *s, const uint8_t sha256[SHA256_SIZE],
                       struct state_failure *ret)
{
        struct json_object *array = find_array(s, FAILED);
        char hex[SHA256_HEX_SIZE];
        size_t i;

        hex_encode(sha256, SHA256_SIZE, hex);
        if (find_index(array, "sha256", hex, &i) < 0)
                return -ENOENT;
        if (ret)
                read_failure(json_object_array_get_idx(array, i), ret);
        return 0;
}

unsigned state_failures(const struct state *s)
{
        return (unsigned)length(find_array(s, FAILED));
}

int state_failure_at(const struct state *s, unsigned i, struct state_failure *ret)
{
        struct json_object *o;
        int r = from_end(find_array(s, FAILED), i, &o);

        if (r == 0)
                read_failure(o, ret);
        return r;
}

void state_forget_failure(struct state *s, const uint8_t sha256[SHA256_SIZE])
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(sha256, SHA256_SIZE, hex);
        drop(s, FAILED, "sha256", hex);
}

/* --- what is known of sources ---------------------------------------------------------------- */

int state_add_known(struct state *s, const char *manifest, const uint8_t sha256[SHA256_SIZE],
                    uint64_t size, struct error *e)
{
        struct json_object *o = json_object_new_object();

        drop(s, KNOWN, "manifest", manifest);
        if (!o || json_add_str(o, "manifest", manifest) < 0 ||
            add_digest(o, "sha256", sha256) < 0 || json_add_u64(o, "size", size) < 0) {
                (void)json_object_put(o);
                return error_oom(e);
        }
        return append(s, KNOWN, o, STATE_KNOWN_MAX, e);
}

int state_find_known(const struct state *s, const char *manifest, uint8_t ret[SHA256_SIZE],
                     uint64_t *ret_size)
{
        struct json_object *array = find_array(s, KNOWN), *o;
        size_t i;

        if (find_index(array, "manifest", manifest, &i) < 0)
                return -ENOENT;
        o = json_object_array_get_idx(array, i);
        if (!get_digest(o, "sha256", ret))
                return -ENOENT;
        if (ret_size)
                *ret_size = get_number(o, "size");
        return 0;
}

int state_set_partial(struct state *s, const struct state_partial *partial, struct error *e)
{
        struct json_object *o;

        if (!partial) {
                json_object_object_del(s->root, PARTIAL);
                return 0;
        }
        o = json_object_new_object();
        if (!o || json_add_u64(o, "number", partial->number) < 0 ||
            add_text(o, "key", partial->key, sizeof(partial->key)) < 0) {
                (void)json_object_put(o);
                return error_oom(e);
        }
        return json_add_obj(s->root, PARTIAL, o) < 0 ? error_oom(e) : 0;
}

int state_get_partial(const struct state *s, struct state_partial *ret)
{
        struct json_object *o;
        const char *key;
        uint64_t number;

        if (json_get_obj(s->root, PARTIAL, &o) < 0 || json_get_u64(o, "number", &number) < 0 ||
            number > ENTRY_IMAGE_NUMBER_MAX || json_get_str(o, "key", &key) < 0)
                return -ENOENT;
        ret->number = (uint32_t)number;
        (void)snprintf(ret->key, sizeof(ret->key), "%s", key);
        return 0;
}

int state_set_recovery_wish(struct state *s, const uint8_t *sha256, struct error *e)
{
        if (sha256)
                return add_digest(s->root, RECOVERY, sha256) < 0 ? error_oom(e) : 0;
        json_object_object_del(s->root, RECOVERY);
        return 0;
}

int state_get_recovery_wish(const struct state *s, uint8_t ret[SHA256_SIZE])
{
        return get_digest(s->root, RECOVERY, ret) ? 0 : -ENOENT;
}
