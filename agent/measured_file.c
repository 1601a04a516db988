/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/boot_report.h"
#include "agent/machine.h"
#include "agent/measured.h"
#include "agent/moment.h"
#include "agent/node.h"
#include "agent/oem_file.h"
#include "agent/pcr_choice.h"
#include "agent/situation.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"

#define SCHEMA 1u

/* --- text ------------------------------------------------------------------------------------ */

static int add_digest(struct json_object *o, const char *key, bool known, const uint8_t *digest)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(digest, SHA256_SIZE, hex);
        return json_add_str(o, key, known ? hex : NULL);
}

static int add_event(struct json_object *array, const struct measured_event *ev)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_u64(o, "pcr", ev->pcr);
        if (r == 0)
                r = json_add_u64(o, "type", ev->type);
        if (r == 0)
                r = add_digest(o, "digest", true, ev->digest);
        if (r == 0)
                r = json_add_str(o, "what", ev->what);
        if (r == 0)
                r = json_add_u64(o, "certificates", ev->n_certificates);
        if (r == 0)
                r = json_add_u64(o, "hashes", ev->n_hashes);
        return r < 0 ? r : json_add_str(o, "holds", ev->holds ?: "");
}

int measured_format(const struct measured *m, struct buf *out)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *array = json_object_new_array();
        const char *text;
        int r = json_add_obj(root, "events", array);

        if (r == 0)
                r = json_add_u64(root, "schema", SCHEMA);
        if (r == 0)
                r = json_add_u64(root, "time", m->time);
        if (r == 0)
                r = json_add_str(root, "version", m->version);
        if (r == 0)
                r = add_digest(root, "tpm", m->has_tpm, m->tpm);
        if (r == 0)
                r = json_add_u64(root, "pcrs", m->pcrs);
        if (r == 0)
                r = json_add_u64(root, "locality", m->locality);
        for (size_t i = 0; i < m->n && r == 0; i++)
                r = add_event(array, &m->events[i]);
        if (r < 0)
                return r;
        text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE);
        return text ? buf_add_str(out, text) : -ENOMEM;
}

static bool get_u32(struct json_object *o, const char *key, uint32_t max, uint32_t *ret)
{
        uint64_t v;

        if (json_get_u64(o, key, &v) < 0 || v > max)
                return false;
        *ret = (uint32_t)v;
        return true;
}

static bool get_digest(struct json_object *o, const char *key, uint8_t ret[SHA256_SIZE])
{
        const char *hex;

        return json_get_str(o, key, &hex) == 0 && hex_decode(hex, ret, SHA256_SIZE) == 0;
}

static int get_event(struct json_object *o, struct measured_event *ret)
{
        const char *what, *holds;

        if (!json_object_is_type(o, json_type_object) ||
            !get_u32(o, "pcr", TPM_PCR_COUNT - 1, &ret->pcr) ||
            !get_u32(o, "type", UINT32_MAX, &ret->type) || !get_digest(o, "digest", ret->digest) ||
            json_get_str(o, "what", &what) < 0 ||
            json_get_u64(o, "certificates", &ret->n_certificates) < 0 ||
            json_get_u64(o, "hashes", &ret->n_hashes) < 0 || json_get_str(o, "holds", &holds) < 0)
                return -EBADMSG;
        (void)snprintf(ret->what, sizeof(ret->what), "%s", what);
        ret->holds = strdup(holds);
        return ret->holds ? 0 : -ENOMEM;
}

static int get_events(struct json_object *array, struct measured *m)
{
        size_t n = json_object_array_length(array);
        int r = 0;

        if (n > MEASURED_EVENTS_MAX)
                return -E2BIG;
        m->events = calloc(n + 1, sizeof(*m->events));
        if (!m->events)
                return -ENOMEM;
        for (size_t i = 0; i < n && r == 0; i++) {
                r = get_event(json_object_array_get_idx(array, i), &m->events[i]);
                m->n += r == 0;
        }
        return r;
}

static int parse(struct json_object *root, struct measured *m)
{
        struct json_object *array;
        const char *version;
        uint32_t locality;

        if (json_get_u64(root, "time", &m->time) < 0 ||
            json_get_str(root, "version", &version) < 0 ||
            !get_u32(root, "pcrs", (UINT32_C(1) << TPM_PCR_COUNT) - 1, &m->pcrs) ||
            !get_u32(root, "locality", UINT8_MAX, &locality) ||
            json_get_array(root, "events", &array) < 0)
                return -EBADMSG;
        m->locality = (uint8_t)locality;
        (void)snprintf(m->version, sizeof(m->version), "%s", version);
        m->has_tpm = get_digest(root, "tpm", m->tpm);
        return get_events(array, m);
}

int measured_parse(const void *text, size_t n, const char *what, struct measured *ret,
                   struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct measured m = {.n = 0};
        int r = json_read_text(text, n, MEASURED_FILE_MAX, what, &root, e);

        if (r < 0)
                return r;
        r = parse(root, &m);
        if (r < 0) {
                measured_done(&m);
                return r == -ENOMEM ? error_oom(e)
                                    : error_set(e, ERROR_CONFIG, -r,
                                                "%s: no record of measurements", what);
        }
        *ret = m;
        return 0;
}

/* --- files ----------------------------------------------------------------------------------- */

int measured_read_oem(const struct env *env, struct measured *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(MEASURED_FILE_MAX);
        _cleanup_free_ char *path = NULL;
        int r = oem_file_read(env, OEM_FILE_MEASURED, &text, &path, e);

        if (r > 0)
                r = measured_parse(text.data, text.len, path, ret, e) ?: 1;
        return r;
}

int measured_read_esp(int root, struct measured *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(MEASURED_FILE_MAX);
        int r = file_read(root, MEASURED_ESP_FILE, &text);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: %s", MEASURED_ESP_FILE,
                                 file_strerror(r));
        return measured_parse(text.data, text.len, MEASURED_ESP_FILE, ret, e) ?: 1;
}

int measured_write(const struct measured *m, int oem, const struct esp *esp, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(MEASURED_FILE_MAX);
        int r = measured_format(m, &text);

        if (r < 0)
                return r == -ENOMEM ? error_oom(e)
                                    : error_set(e, ERROR_PRECONDITION, -r,
                                                "this firmware measures more than can be noted");
        if (esp)
                r = esp_exchange_file(esp, MEASURED_ESP_FILE, text.data, text.len, e);
        /* Last: what stands here is what the other copy has. */
        if (r == 0 && oem >= 0) {
                r = file_make_dirs(oem, OEM_FILE_FOLDER, 0700);
                if (r == 0)
                        r = file_replace(oem, OEM_FILE_MEASURED, text.data, text.len, 0600);
                if (r < 0)
                        return error_errno(e, -r, "OEM partition: " OEM_FILE_MEASURED);
        }
        return r;
}

/* --- this boot ------------------------------------------------------------------------------- */

/* PCRs of the mask that the log explains: nothing can be said of the others. */
static int explained(const struct eventlog *log, struct tpm *tpm, uint32_t mask, uint32_t *ret,
                     struct error *e)
{
        uint32_t found = 0;
        int r = 0;

        for (unsigned pcr = 0; pcr < TPM_PCR_COUNT && r == 0; pcr++) {
                uint8_t value[SHA256_SIZE], replayed[SHA256_SIZE];

                if (!(mask & UINT32_C(1) << pcr))
                        continue;
                r = tpm_read_pcrs(tpm, UINT32_C(1) << pcr, value, e);
                if (r == 0 && eventlog_replay(log, pcr, replayed) == 0 &&
                    memcmp(value, replayed, SHA256_SIZE) == 0)
                        found |= UINT32_C(1) << pcr;
        }
        *ret = found;
        return r;
}

int measured_read_now(const struct env *env, struct tpm *tpm, struct measured *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        struct error ignored = ERROR_INIT;
        uint32_t mask = 0;
        int r = machine_read_log(env, tpm, &text, &log, e);

        if (r == 0)
                r = explained(log, tpm, PCR_CHOICE_LITERAL, &mask, e);
        if (r < 0)
                return r;
        r = measured_take(log, mask, ret);
        if (r < 0)
                return r == -ENOMEM ? error_oom(e)
                                    : error_set(e, ERROR_PRECONDITION, -r,
                                                "this firmware measures more than can be noted");
        ret->has_tpm = tpm_identity(tpm, ret->tpm, &ignored) == 0;
        ret->time = moment_now();
        return 0;
}

/* The boot stage opened every encrypted partition by the TPM; and there are some. */
static bool opened_by_tpm(const struct env *env)
{
        _cleanup_json_ struct json_object *report = NULL;
        struct json_object *array;
        bool any = false;

        if (boot_report_read(env, &report, NULL) < 0 ||
            json_get_array(report, "partitions", &array) < 0)
                return false;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *o = json_object_array_get_idx(array, i);
                const char *by;
                bool encrypted;

                if (json_get_bool(o, "encrypted", &encrypted) == 0 && !encrypted)
                        continue;
                if (json_get_str(o, "unlocked_by", &by) < 0 || strcmp(by, "tpm2") != 0)
                        return false;
                any = true;
        }
        return any;
}

static int write_both(const struct env *env, struct measured *m, int oem, struct error *e)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        struct node_esp esp;
        int r = node_esp_open(env, true, &esp, e);

        if (r < 0)
                return r;
        if (situation_read(env, &esp.esp, &s, NULL) == 0)
                (void)snprintf(m->version, sizeof(m->version), "%s", s.running.version);
        r = measured_write(m, oem, &esp.esp, e);
        return node_esp_close(env, &esp, r, e);
}

int measured_remember(const struct env *env, struct error *e)
{
        _cleanup_(measured_done) struct measured was = {.n = 0}, now = {.n = 0};
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        _cleanup_close_ int oem = machine_open_state(env);
        struct error error = ERROR_INIT;
        int r;

        if (oem < 0 || !opened_by_tpm(env))
                return 0;
        r = tpm_open(env->tcti, &tpm, e);
        if (r == 0)
                r = measured_read_now(env, tpm, &now, e);
        if (r < 0)
                return r;
        /* One that cannot be read is written anew. */
        r = measured_read_oem(env, &was, &error);
        if (r < 0)
                log_warning("%s", error.text);
        return r > 0 && measured_same(&was, &now) ? 0 : write_both(env, &now, oem, e);
}
