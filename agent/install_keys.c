/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_keys.h"

#include <openssl/crypto.h>
#include <string.h>
#include <time.h>

#include "agent/report.h"
#include "base/limits.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "partition/pcr7.h"

#define KEY_DIR "loader/keys"

void install_keys_done(struct install_keys *k)
{
        if (!k->wanted)
                return;
        free(k->changes);
        keyset_done(&k->next);
        keyset_done(&k->now);
        *k = (struct install_keys){.wanted = false};
}

int install_keys_load(const struct env *env, const char *dir, const char *by,
                      struct install_keys *ret, struct error *e)
{
        struct install_keys k = {.wanted = true};
        int r;

        if (by && strcmp(by, "agent") != 0 && strcmp(by, "loader") != 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--enroll-keys-by %s: it is \"agent\" or \"loader\"", by);
        if (by && !dir)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--enroll-keys-by is of no use without --enroll-keys");
        if (!dir)
                return 0;
        k.by_loader = by && strcmp(by, "loader") == 0;
        r = keyset_load(dir, &k.next, e);
        if (r == 0)
                r = keyset_read(env, &k.now, e);
        if (r == 0 && keyset_compare(&k.now, &k.next, &k.changes, &k.n_changes) < 0)
                r = error_oom(e);
        if (r < 0) {
                install_keys_done(&k);
                return r;
        }
        *ret = k;
        return 0;
}

/* --- prediction ------------------------------------------------------------------------------ */

static int no_authority(const char *what, struct error *e)
{
        error_set(e, ERROR_PRECONDITION, ENODATA,
                  "the db to enrol vouches for the %s by its hash, not by a certificate", what);
        error_advise(e, "enrol keys that hold the certificate of its signer");
        return -ENODATA;
}

/* What the firmware will measure for the program. The DER is freed by the caller. */
static int authority(const struct sigdb_entry *entry, const char *what, uint8_t **der,
                     struct pcr7_authority *ret, struct error *e)
{
        int n;

        if (!entry || !entry->cert)
                return no_authority(what, e);
        n = i2d_X509(entry->cert, der);
        if (n <= 0)
                return error_oom(e);
        *ret = (struct pcr7_authority){entry->owner, *der, (size_t)n};
        return 0;
}

static void give(struct pcr7_contents *c, enum pcr7_variable to, const struct keyset *k,
                 enum keyset_variable from)
{
        if (!k->item[from].given)
                return; /* stays as it was measured */
        c->variable[to].given = true;
        c->variable[to].data = keyset_lists(k, from, &c->variable[to].size);
}

static int check_certain(const struct eventlog *log, const struct pcr7_prediction *p,
                         struct error *e)
{
        unsigned drivers = pcr7_count_drivers(log);

        if (drivers > 0)
                error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                          "%u programs of add-in cards ran in this boot; who vouches for them with "
                          "Secure Boot on cannot be predicted, so the partitions cannot be sealed",
                          drivers);
        else if (!p->certain)
                error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                          "this firmware measures its keys in an unknown way, so the partitions "
                          "cannot be sealed");
        else
                return 0;
        error_advise(e, "enrol the keys in the firmware setup, start this session again with "
                        "Secure Boot on, and install without --enroll-keys");
        return -EOPNOTSUPP;
}

static int predict(const struct eventlog *log, const struct install_keys *k,
                   const struct source *source, const struct machine *machine,
                   uint8_t ret[SHA256_SIZE], struct error *e)
{
        static const uint8_t on = 1;
        struct pcr7_contents contents = {.variable[PCR7_SECUREBOOT] = {true, &on, sizeof(on)}};
        struct pcr7_authority authorities[2];
        struct pcr7_prediction prediction;
        uint8_t *loader = NULL, *image = NULL;
        int r;

        give(&contents, PCR7_PK, &k->next, KEYSET_PK);
        give(&contents, PCR7_KEK, &k->next, KEYSET_KEK);
        give(&contents, PCR7_DB, &k->next, KEYSET_DB);
        give(&contents, PCR7_DBX, &k->next, KEYSET_DBX);
        r = authority(bootloader_authority(&source->loader, machine->db, machine->dbx),
                      "boot loader", &loader, &authorities[0], e);
        if (r == 0)
                r = authority(image_authority(source->image), "image", &image, &authorities[1], e);
        if (r == 0)
                r = pcr7_predict_started(log, &contents, authorities, 2, &prediction, e);
        OPENSSL_free(loader);
        OPENSSL_free(image);
        if (r == 0)
                r = check_certain(log, &prediction, e);
        if (r == 0)
                memcpy(ret, prediction.next, SHA256_SIZE);
        return r;
}

int install_keys_predict(const struct env *env, const struct install_keys *k,
                         const struct source *source, const struct machine *machine,
                         uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        int r = tpm_open(env->tcti, &tpm, e);

        if (r == 0)
                r = machine_read_log(env, tpm, &text, &log, e);
        if (r == 0)
                r = predict(log, k, source, machine, ret, e);
        return r < 0 ? error_wrap(e, r, "PCR 7 after the enrolment") : 0;
}

/* --- the ESP --------------------------------------------------------------------------------- */

static int add_file(const struct esp *esp, const char *dir, const char *name, const char *suffix,
                    const struct buf *content, struct error *e)
{
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
        return esp_add_file(esp, path, content->data, content->len, e);
}

static int save_old(const struct install_keys *k, const struct esp *esp, struct error *e)
{
        char dir[64] = "";
        time_t now = time(NULL);
        struct tm tm;
        int r = 0;

        if (!gmtime_r(&now, &tm) ||
            strftime(dir, sizeof(dir), KEY_DIR "/old-%Y%m%d-%H%M%S", &tm) == 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "the clock");
        for (unsigned i = 0; i < KEYSET_MAX && r == 0; i++) {
                const struct keyset_item *item = &k->now.item[i];

                if (!item->given || item->raw.len == 0)
                        continue;
                r = esp_make_dir(esp, dir, e);
                if (r == 0)
                        r = add_file(esp, dir, keyset_name((enum keyset_variable)i), ".esl",
                                     &item->raw, e);
        }
        return r;
}

int install_keys_fill_esp(const struct install_keys *k, const struct esp *esp, struct error *e)
{
        static const char dir[] = KEY_DIR "/auto";
        int r;

        if (!k->wanted)
                return 0;
        r = save_old(k, esp, e);
        if (r == 0)
                r = esp_make_dir(esp, dir, e);
        for (unsigned i = 0; i < KEYSET_MAX && r == 0; i++) {
                if (k->next.item[i].given)
                        r = add_file(esp, dir, keyset_name((enum keyset_variable)i), ".auth",
                                     &k->next.item[i].raw, e);
        }
        return r;
}

/* --- enrolling ------------------------------------------------------------------------------- */

/* Setup mode has ended when the firmware took the platform key. */
static int check_mode(const struct env *env, struct error *e)
{
        struct secureboot_state state;
        int r = secureboot_state(env, &state);

        if (r == 0 && state.setup_mode)
                r = -EAGAIN;
        return r < 0 ? error_set(e, ERROR_PRECONDITION, -r,
                                 "the firmware is in setup mode after PK was written")
                     : 0;
}

void install_keys_enrol(const struct env *env, struct install_keys *k)
{
        struct error error = ERROR_INIT;
        int r;

        if (!k->wanted)
                return;
        if (k->by_loader) {
                k->outcome = INSTALL_KEYS_LEFT;
                return;
        }
        r = keyset_write(env, &k->next, &error);
        if (r == 0)
                r = check_mode(env, &error);
        k->outcome = r < 0 ? INSTALL_KEYS_FAILED : INSTALL_KEYS_WRITTEN;
        if (r < 0) {
                (void)snprintf(k->reason, sizeof(k->reason), "%.400s", error.text);
                log_warning("Secure Boot keys: %s; the boot loader enrols them at the first start",
                            k->reason);
        }
}

/* --- telling --------------------------------------------------------------------------------- */

static const char *by_whom(const struct install_keys *k)
{
        return k->by_loader ? "loader" : "agent";
}

void install_keys_describe(const struct install_keys *k, FILE *out)
{
        if (!k->wanted)
                return;
        report_text(out, "keys     enrolled by the %s\n",
                    k->by_loader ? "boot loader, at the first start" : "agent");
        for (size_t i = 0; i < k->n_changes; i++) {
                char text[KEYSET_TEXT_SIZE];

                keyset_describe(k->changes[i].entry, text);
                report_text(out, "  %s %-3s %s\n", k->changes[i].added ? "new   " : "lost  ",
                            keyset_name(k->changes[i].variable), text);
        }
}

static struct json_object *change_json(const struct keyset_change *c)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        char text[KEYSET_TEXT_SIZE];
        int r = json_add_str(o, "variable", keyset_name(c->variable));

        keyset_describe(c->entry, text);
        if (r == 0)
                r = json_add_str(o, "change", c->added ? "added" : "removed");
        if (r == 0)
                r = json_add_str(o, "entry", text);
        return r < 0 ? NULL : TAKE_PTR(o);
}

int install_keys_add_plan(struct json_object *root, const struct install_keys *k)
{
        struct json_object *o, *changes;
        int r;

        if (!k->wanted)
                return json_add_null(root, "keys");
        o = json_object_new_object();
        r = json_add_obj(root, "keys", o);
        if (r == 0)
                r = json_add_str(o, "by", by_whom(k));
        if (r < 0)
                return r;
        changes = json_object_new_array();
        r = json_add_obj(o, "changes", changes);
        for (size_t i = 0; i < k->n_changes && r == 0; i++)
                r = json_append(changes, change_json(&k->changes[i]));
        return r;
}

int install_keys_add_result(struct json_object *root, const struct install_keys *k)
{
        static const char *const states[] = {
                [INSTALL_KEYS_NOT_TRIED] = "planned",
                [INSTALL_KEYS_WRITTEN] = "written",
                [INSTALL_KEYS_LEFT] = "left-to-loader",
                [INSTALL_KEYS_FAILED] = "failed",
        };
        struct json_object *o;
        int r;

        if (!k->wanted)
                return json_add_null(root, "keys");
        o = json_object_new_object();
        r = json_add_obj(root, "keys", o);
        if (r == 0)
                r = json_add_str(o, "state", states[k->outcome]);
        return r < 0 ? r : json_add_str(o, "reason", *k->reason ? k->reason : NULL);
}
