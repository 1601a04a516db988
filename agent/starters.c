/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/starters.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/machine.h"
#include "agent/vouchers.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/pcr7.h"

void starters_done(struct starters *s)
{
        for (unsigned i = 0; i < s->n; i++) {
                if (!s->item[i].copy)
                        image_free(s->item[i].image);
                close_p(&s->item[i].fd);
        }
        free(s->item);
        sigdb_free(s->db);
        sigdb_free(s->dbx);
        bootloader_done(&s->loader);
        eventlog_free(s->log);
        buf_done(&s->log_text);
        *s = (struct starters){.n = 0};
}

void starters_roles(const struct starter *s, char ret[STARTERS_ROLES_SIZE])
{
        size_t used = 0;

        *ret = '\0';
        for (unsigned i = ENTRY_ROLE_ACTIVE; i < ENTRY_ROLE_MAX; i++) {
                if (s->roles & 1u << i)
                        used += (size_t)snprintf(ret + used, STARTERS_ROLES_SIZE - used, "%s%s",
                                                 used > 0 ? ", " : "",
                                                 entry_role_name((enum entry_role)i));
        }
}

/* --- what stands on the ESP ------------------------------------------------------------------ */

static struct starter *find_or_add(struct starters *s, const char *file)
{
        for (unsigned i = 0; i < s->n; i++) {
                if (strcasecmp(s->item[i].file, file) == 0)
                        return &s->item[i];
        }
        if (s->n == STARTERS_MAX)
                return NULL;
        s->item[s->n].fd = -EBADF;
        (void)snprintf(s->item[s->n].file, sizeof(s->item[s->n].file), "%s", file);
        return &s->item[s->n++];
}

/* Name of the entry's image, when it is one of ours; else NULL. */
static const char *image_of(const struct entry_file *f, char path[PATH_MAX])
{
        const char *name;
        uint32_t number;

        if (f->name.role == ENTRY_ROLE_NONE || !f->valid || !f->image_present ||
            entry_image_path(&f->entry, path) < 0)
                return NULL;
        name = strrchr(path, '/');
        return name && entry_image_name_parse(name + 1, &number) == 0 ? name + 1 : NULL;
}

static void collect(const struct situation *situation, struct starters *s)
{
        const struct entry_file *next = situation_next(situation);

        for (size_t i = 0; i < situation->slots.n_entries; i++) {
                const struct entry_file *f = &situation->slots.entries[i];
                char path[PATH_MAX];
                const char *file = image_of(f, path);
                struct starter *item = file ? find_or_add(s, file) : NULL;

                if (!item)
                        continue;
                item->roles |= 1u << f->name.role;
                item->next = item->next || f == next;
                item->running = strcasecmp(file, situation->running.image) == 0;
                (void)snprintf(item->version, sizeof(item->version), "%s", f->entry.version);
        }
}

/* --- Secure Boot ----------------------------------------------------------------------------- */

/* What cannot be read is a failure; what does not give its proofs is a fact. */
static bool is_verdict(const struct error *e)
{
        return e->class == ERROR_REFUSED || e->class >= ERROR_SIGNATURE;
}

/* 1: all bytes of the files are the same. */
static int same_bytes(int a, int b)
{
        _cleanup_free_ uint8_t *p = malloc(FILE_CHUNK), *q = malloc(FILE_CHUNK);
        struct stat x, y;

        if (!p || !q)
                return -ENOMEM;
        if (fstat(a, &x) < 0 || fstat(b, &y) < 0)
                return -errno;
        if (x.st_size != y.st_size)
                return 0;
        for (uint64_t at = 0; at < (uint64_t)x.st_size; at += FILE_CHUNK) {
                ssize_t n = file_pread(a, p, FILE_CHUNK, at), m = file_pread(b, q, FILE_CHUNK, at);

                if (n < 0 || m < 0)
                        return n < 0 ? (int)n : (int)m;
                if (n != m || memcmp(p, q, (size_t)n) != 0)
                        return 0;
        }
        return 1;
}

/* An installation writes the same image twice, and an upgrade of recovery copies one: the verdict
 * is that of the twin, which was read just now. */
static int find_twin(struct starters *s, struct starter *item)
{
        for (struct starter *other = s->item; other < item; other++) {
                int r = other->image && !other->copy ? same_bytes(other->fd, item->fd) : 0;

                if (r < 0)
                        return r;
                if (r > 0) {
                        item->image = other->image;
                        item->copy = true;
                        return 1;
                }
        }
        return 0;
}

static int verify_image(const struct esp *esp, const struct image_demands *demands,
                        struct starters *s, struct starter *item, struct error *e)
{
        char path[sizeof(ESP_IMAGE_DIR) + sizeof(item->file)];
        int r;

        (void)snprintf(path, sizeof(path), ESP_IMAGE_DIR "/%s", item->file);
        item->fd = esp_open_file(esp, path, e);
        if (item->fd < 0)
                return item->fd;
        r = find_twin(s, item);
        if (r != 0)
                return r < 0 ? error_errno(e, -r, "%s", item->file) : 0;
        r = image_verify(item->fd, item->file, demands, NULL, &item->image, &item->error);
        if (r < 0 && !is_verdict(&item->error)) {
                *e = item->error;
                return r;
        }
        return 0;
}

static int verify_loaders(const struct esp *esp, struct starters *s)
{
        _cleanup_(bootloader_done) struct bootloader fallback = {.major = 0};
        int r = bootloader_load(esp->root, BOOTLOADER_PATH, &s->loader, &s->loader_error);

        if (r == 0)
                r = bootloader_verify(&s->loader, s->db, s->dbx, NULL, &s->loader_error);
        if (r == -ENOMEM)
                return r;
        r = bootloader_load(esp->root, BOOTLOADER_FALLBACK_PATH, &fallback, &s->fallback_error);
        if (r == 0)
                r = bootloader_verify(&fallback, s->db, s->dbx, NULL, &s->fallback_error);
        return r == -ENOMEM ? r : 0;
}

static int make_databases(const struct keychange *change, struct starters *s, struct error *e)
{
        const struct buf *db = &change->item[KEYSET_DB].next, *dbx = &change->item[KEYSET_DBX].next;
        int r;

        s->db = sigdb_new();
        s->dbx = sigdb_new();
        if (!s->db || !s->dbx)
                return error_oom(e);
        r = sigdb_add_lists(s->db, db->data, db->len, "db", e);
        return r < 0 ? r : sigdb_add_lists(s->dbx, dbx->data, dbx->len, "dbx", e);
}

/* --- PCR 7 ----------------------------------------------------------------------------------- */

static void fill_contents(const struct keychange *change, struct pcr7_contents *ret)
{
        static const enum keyset_variable of[PCR7_VARIABLE_MAX] = {[PCR7_PK] = KEYSET_PK,
                                                                   [PCR7_KEK] = KEYSET_KEK,
                                                                   [PCR7_DB] = KEYSET_DB,
                                                                   [PCR7_DBX] = KEYSET_DBX};

        *ret = (struct pcr7_contents){.variable[PCR7_SECUREBOOT].given = false};
        for (unsigned i = PCR7_PK; i < PCR7_VARIABLE_MAX; i++) {
                ret->variable[i].given = true;
                ret->variable[i].data = change->item[of[i]].next.data;
                ret->variable[i].size = change->item[of[i]].next.len;
        }
}

static int find_vouchers(const struct starters *s, const struct starter *item, struct vouchers *ret,
                         struct error *e)
{
        return vouchers_find(&s->loader, item->image, s->db, s->dbx, ret, e);
}

/* Whether what vouched in this boot is what is expected of boot loader and image, as far as these
 * are still vouched for by the same. */
static bool is_explained(const struct starters *s)
{
        const struct pcr7_contents as_measured = {.variable[0].given = false};
        struct pcr7_prediction logged, model;
        bool explained = pcr7_count_drivers(s->log) == 0 &&
                         pcr7_predict(s->log, &as_measured, &logged, NULL) == 0 &&
                         logged.authorities <= VOUCHERS;

        for (unsigned i = 0; i < s->n && explained; i++) {
                _cleanup_(vouchers_done) struct vouchers v = VOUCHERS_INIT;

                if (!s->item[i].running || !s->item[i].image ||
                    find_vouchers(s, &s->item[i], &v, NULL) < 0 || !vouchers_in_log(&v, s->log))
                        continue;
                explained = pcr7_predict_started(s->log, &as_measured, v.item, VOUCHERS, &model,
                                                 NULL) == 0 &&
                            !model.differs;
        }
        return explained;
}

static int predict(const struct starters *s, const struct pcr7_contents *contents,
                   const struct starter *item, struct pcr7_prediction *ret, struct error *e)
{
        _cleanup_(vouchers_done) struct vouchers v = VOUCHERS_INIT;
        int r = find_vouchers(s, item, &v, e);

        if (r < 0)
                return r;
        if (s->explained)
                return pcr7_predict_started(s->log, contents, v.item, VOUCHERS, ret, e);
        if (!vouchers_in_log(&v, s->log))
                return error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                                 "another key vouches for it than in this boot, in which more ran "
                                 "than boot loader and image: PCR 7 cannot be predicted");
        return pcr7_predict(s->log, contents, ret, e);
}

static void find_pcr7(const struct starters *s, const struct keychange *change,
                      struct starter *item)
{
        struct pcr7_prediction prediction = {.certain = false};
        struct pcr7_contents contents;
        struct error *e = &item->error;

        fill_contents(change, &contents);
        if (!item->image)
                return;
        if (!s->log) {
                *e = s->log_error;
                item->has_pcr7 = change->n == 0;
                memcpy(item->pcr7, s->pcr7, SHA256_SIZE);
                return;
        }
        if (predict(s, &contents, item, &prediction, e) < 0)
                return;
        if (!prediction.certain) {
                (void)error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                                "this firmware measures its keys in an unknown way: PCR 7 cannot "
                                "be predicted");
                error_advise(e, "make the change, start the node with its recovery key, and enrol "
                                "then");
                return;
        }
        item->has_pcr7 = true;
        memcpy(item->pcr7, prediction.next, SHA256_SIZE);
}

/* --- together -------------------------------------------------------------------------------- */

static int judge(const struct esp *esp, const struct keychange *change, struct starters *s,
                 struct error *e)
{
        const struct image_demands demands = {.db = s->db,
                                              .dbx = s->dbx,
                                              .pcr7 = PROOF_NOT_APPLICABLE,
                                              .pcr7_text = "is what is being asked"};
        int r = verify_loaders(esp, s) < 0 ? error_oom(e) : 0;

        for (unsigned i = 0; i < s->n && r == 0; i++)
                r = verify_image(esp, &demands, s, &s->item[i], e);
        s->explained = r == 0 && s->log && is_explained(s);
        for (unsigned i = 0; i < s->n && r == 0; i++)
                find_pcr7(s, change, &s->item[i]);
        return r;
}

static int read_pcrs(struct tpm *tpm, struct starters *s, struct error *e)
{
        unsigned at = (unsigned)__builtin_popcount(PCR_CHOICE_LITERAL & (PCR_CHOICE_NEEDED - 1));
        int r = tpm_read_pcrs(tpm, PCR_CHOICE_LITERAL, s->now, e);

        memcpy(s->pcr7, s->now + at * SHA256_SIZE, SHA256_SIZE);
        return r;
}

void starters_literal(const struct starters *s, const struct starter *item, uint32_t pcrs,
                      uint8_t *ret)
{
        const uint8_t *at = s->now;

        for (uint32_t bit = 1; bit <= PCR_CHOICE_LITERAL; bit <<= 1) {
                if (!(PCR_CHOICE_LITERAL & bit))
                        continue;
                if (pcrs & bit) {
                        memcpy(ret, bit == PCR_CHOICE_NEEDED ? item->pcr7 : at, SHA256_SIZE);
                        ret += SHA256_SIZE;
                }
                at += SHA256_SIZE;
        }
}

int starters_read(const struct env *env, const struct esp *esp, struct tpm *tpm,
                  const struct keychange *change, struct starters *ret, struct error *e)
{
        _cleanup_(situation_done) struct situation situation = {.has_loader = false};
        struct starters s = {.loader = {.image = BUF_INIT(LIMIT_BOOT_LOADER)},
                             .log_text = BUF_INIT(LIMIT_EVENTLOG)};
        int r;

        s.item = calloc(STARTERS_MAX, sizeof(*s.item));
        r = s.item ? make_databases(change, &s, e) : error_oom(e);
        if (r == 0)
                r = situation_read(env, esp, &situation, e);
        if (r == 0)
                r = read_pcrs(tpm, &s, e);
        if (r == 0 && machine_read_log(env, tpm, &s.log_text, &s.log, &s.log_error) < 0)
                log_warning("%s", s.log_error.text);
        if (r == 0) {
                collect(&situation, &s);
                r = judge(esp, change, &s, e);
        }
        if (r < 0) {
                starters_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}

static int add_hex(struct json_object *o, const char *key, bool known, const uint8_t *hash)
{
        char hex[SHA256_HEX_SIZE];

        if (known)
                hex_encode(hash, SHA256_SIZE, hex);
        return json_add_str(o, key, known ? hex : NULL);
}

static int add_starter(struct json_object *array, const struct starter *s)
{
        struct json_object *o = json_object_new_object(), *roles = json_object_new_array();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "image", s->file);
        if (json_add_obj(o, "roles", roles) < 0)
                r = -ENOMEM;
        for (unsigned i = ENTRY_ROLE_ACTIVE; i < ENTRY_ROLE_MAX && r == 0; i++)
                if (s->roles & 1u << i)
                        r = json_append(roles, json_new_str(entry_role_name((enum entry_role)i)));
        if (r == 0)
                r = json_add_str(o, "version", s->version);
        if (r == 0)
                r = json_add_bool(o, "running", s->running);
        if (r == 0)
                r = json_add_bool(o, "next", s->next);
        if (r == 0)
                r = json_add_bool(o, "starts", s->image != NULL);
        if (r == 0)
                r = add_hex(o, "policy_key", s->image != NULL,
                            s->image ? policy_key_fingerprint(image_policy_key(s->image)) : NULL);
        if (r == 0)
                r = add_hex(o, "pcr7", s->has_pcr7, s->pcr7);
        if (r == 0)
                r = json_add_str(o, "error", s->error.code ? s->error.text : NULL);
        return r;
}

struct json_object *starters_json(const struct starters *s)
{
        _cleanup_json_ struct json_object *array = json_object_new_array();
        int r = array ? 0 : -ENOMEM;

        for (unsigned i = 0; i < s->n && r == 0; i++)
                r = add_starter(array, &s->item[i]);
        return r < 0 ? NULL : TAKE_PTR(array);
}
