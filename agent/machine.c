/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/boot_report.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "efivars/efivar.h"
#include "efivars/loader.h"
#include "partition/luks.h"
#include "partition/pcr7.h"

#define SPOOL_FOLDER ".tb-agent/spool"

void machine_done(struct machine *m)
{
        sigdb_free(m->db);
        sigdb_free(m->dbx);
        sbat_free(m->level);
        for (size_t i = 0; i < m->n_keys; i++)
                policy_key_free(m->keys[i]);
        free(m->keys);
        eventlog_free(m->log);
        buf_done(&m->log_text);
        *m = (struct machine){0};
}

/* --- key databases --- */

static int add_files(struct sigdb *db, const struct option_list *files, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < files->n && r == 0; i++)
                r = sigdb_add_file(db, files->item[i], e);
        return r;
}

/* *ret stays NULL when the machine has no such database: the proof that needs it then fails. */
static int read_database(const struct env *env, const char *name, const struct option_list *files,
                         bool may_be_absent, struct sigdb **ret, struct error *e)
{
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        int r;

        if (!db)
                return error_oom(e);
        if (files->n > 0) {
                r = add_files(db, files, e);
                if (r < 0)
                        return r;
        } else {
                r = sigdb_add_variable(db, env, name, e);
                if (r < 0)
                        return r;
                if (r == 0 && !may_be_absent)
                        return 0;
        }
        *ret = TAKE_PTR(db);
        return 0;
}

/* The database as it will be. 0 when the set leaves it as it is. */
static int take_database(const struct keyset *keys, enum keyset_variable v, struct sigdb **ret,
                         struct error *e)
{
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        size_t n;
        const void *lists = keyset_lists(keys, v, &n);
        int r;

        if (!keys->item[v].given)
                return 0;
        r = db ? sigdb_add_lists(db, lists, n, keyset_name(v), e) : error_oom(e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(db);
        return 1;
}

static int read_enrolled(const struct env *env, const struct machine_options *o, struct machine *m,
                         struct error *e)
{
        int r = take_database(o->enrol, KEYSET_DB, &m->db, e);

        if (r >= 0)
                r = take_database(o->enrol, KEYSET_DBX, &m->dbx, e);
        if (r == 0)
                r = read_database(env, "dbx", &o->dbx, true, &m->dbx, e);
        return r < 0 ? r : 0;
}

static int read_databases(const struct env *env, const struct machine_options *o, struct machine *m,
                          struct error *e)
{
        /*
         * A machine without a dbx revokes nothing; a machine whose variables cannot be read at all
         * has no db either, so the image is refused there.
         */
        int r;

        if (o->enrol)
                return read_enrolled(env, o, m, e);
        r = read_database(env, "db", &o->db, false, &m->db, e);
        if (r == 0)
                r = read_database(env, "dbx", &o->dbx, true, &m->dbx, e);
        return r;
}

/* --- policy keys --- */

static int add_key(struct machine *m, const void *pem, size_t n, struct error *e)
{
        _cleanup_(policy_key_free_p) struct policy_key *key = NULL;
        struct policy_key **grown;
        int r = policy_key_from_pem(pem, n, &key, e);

        if (r < 0)
                return r;
        grown = reallocarray(m->keys, m->n_keys + 1, sizeof(struct policy_key *));
        if (!grown)
                return error_oom(e);
        m->keys = grown;
        m->keys[m->n_keys++] = TAKE_PTR(key);
        return 0;
}

static int read_key_file(const char *path, struct machine *m, struct error *e)
{
        _cleanup_(buf_done) struct buf pem = BUF_INIT(LIMIT_PCRPKEY);
        int r = file_read(AT_FDCWD, path, &pem);

        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: %s", path, file_strerror(r));
        r = add_key(m, pem.data, pem.len, e);
        if (r < 0 && e && e->class == ERROR_REFUSED)
                e->class = ERROR_CONFIG;
        return r < 0 ? error_wrap(e, r, "%s", path) : 0;
}

static bool same_key(const struct policy_key *a, const struct policy_key *b)
{
        return memcmp(policy_key_fingerprint(a), policy_key_fingerprint(b), SHA256_SIZE) == 0;
}

/* Whether some TPM token of the volume is sealed to the key. */
static bool volume_has_key(const struct luks *luks, const struct policy_key *key)
{
        for (int id = 0; id < LIMIT_LUKS_TOKENS; id++) {
                _cleanup_(token_free_p) struct token *token = NULL;

                if (luks_get_token(luks, id, &token, NULL) == 0 && token->key &&
                    same_key(token->key, key))
                        return true;
        }
        return false;
}

/* Keys of the tokens of the first volume that the second one has as well: an image must open both.
 */
static int add_common_keys(struct machine *m, const struct luks *first, const struct luks *second,
                           struct error *e)
{
        for (int id = 0; id < LIMIT_LUKS_TOKENS; id++) {
                _cleanup_(token_free_p) struct token *token = NULL;
                size_t n;
                const uint8_t *pem;
                int r = luks_get_token(first, id, &token, NULL);

                if (r < 0 || !token->key || !volume_has_key(second, token->key))
                        continue;
                pem = policy_key_pem(token->key, &n);
                r = add_key(m, pem, n, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int open_volume(const struct node *node, const struct layout_partition *p, const char *name,
                       struct luks **ret, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        int r;

        if (!p)
                return error_set(e, ERROR_PRECONDITION, ENXIO,
                                 "%s: the partition \"%s\" is missing", node->disk->path, name);
        r = disk_partition_path(node->disk, p->number, &path, e);
        return r < 0 ? r : luks_open(path, ret, e);
}

static int read_enrolled_keys(const struct env *env, struct machine *m, struct error *e)
{
        _cleanup_(node_free_p) struct node *node = NULL;
        _cleanup_(luks_free_p) struct luks *oem = NULL, *persistent = NULL;
        int r = node_find_booted(env, &node, e);

        if (r == 0)
                r = open_volume(node, node->oem, LAYOUT_OEM_NAME, &oem, e);
        if (r == 0)
                r = open_volume(node, node->persistent, LAYOUT_PERSISTENT_NAME, &persistent, e);
        if (r == 0)
                r = add_common_keys(m, oem, persistent, e);
        if (r == 0 && m->n_keys == 0) {
                error_set(e, ERROR_PRECONDITION, ENOKEY,
                          "%s: no policy key is enrolled in both data partitions",
                          node->disk->path);
                error_advise(e, "nothing can be said about unlocking this disk: enrol it again");
                r = -ENOKEY;
        }
        return r;
}

/* A node is what the boot stage started from an installed disk. */
static bool is_node(const struct env *env)
{
        _cleanup_json_ struct json_object *report = NULL;
        const char *role;

        return boot_report_read(env, &report, NULL) == 0 &&
               json_get_str(report, "role", &role) == 0 && strcmp(role, "live") != 0;
}

/* Neither a node nor a live session that may become one. */
static bool is_elsewhere(const struct env *env)
{
        _cleanup_json_ struct json_object *report = NULL;

        return boot_report_read(env, &report, NULL) == -ENOENT;
}

/* One that is there and cannot be opened is a TPM all the same. */
static bool has_no_tpm(const struct env *env)
{
        static const char device[] = "device:";

        return strncmp(env->tcti, device, strlen(device)) == 0 &&
               !file_exists(AT_FDCWD, env->tcti + strlen(device));
}

int machine_running_key(const struct env *env, char **ret, struct error *e)
{
        if (asprintf(ret, "%s/tpm2-pcr-public-key.pem", env->extra) < 0) {
                *ret = NULL;
                return error_oom(e);
        }
        return 0;
}

static int read_keys(const struct env *env, const struct machine_options *o, struct machine *m,
                     struct error *e)
{
        if (o->policy_key)
                return read_key_file(o->policy_key, m, e);
        if (o->fresh || o->reset || !is_node(env))
                return 0;
        return read_enrolled_keys(env, m, e);
}

/* --- version floor --- */

/* A mount point counts only while something is mounted there: the folder of the image itself is no
 * place for state. */
static int open_mounted(const char *path)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, path);
        struct stat here, above;

        if (fd < 0)
                return fd;
        if (fstat(fd, &here) < 0 || fstatat(fd, "..", &above, 0) < 0)
                return -errno;
        if (here.st_dev == above.st_dev)
                return -ENOENT;
        return TAKE_FD(fd);
}

int machine_open_state(const struct env *env)
{
        return open_mounted(env->oem);
}

int machine_open_persistent(const struct env *env)
{
        return open_mounted(env->persistent);
}

int machine_open_spool(const struct env *env)
{
        _cleanup_close_ int fd = open_mounted(env->persistent);
        int r;

        if (fd < 0)
                return fd;
        r = file_make_dirs(fd, SPOOL_FOLDER, 0700);
        return r < 0 ? r : file_open_dir(fd, SPOOL_FOLDER);
}

int machine_inspect_floor(const struct env *env, struct tpm *tpm, bool fresh,
                          struct floor_report *ret, struct error *e)
{
        _cleanup_(floor_state_free_p) struct floor_state *state = NULL;
        _cleanup_close_ int dir = fresh ? -ENOENT : machine_open_state(env);
        int r = 0;

        if (dir >= 0)
                r = floor_load_file(dir, FLOOR_FILE, &state, e);
        if (r == -ENOENT)
                error_clear(e); /* no file yet is an answer */
        else if (r < 0)
                return r;
        return floor_inspect(tpm, state, ret, e);
}

static int read_floor(const struct env *env, const struct machine_options *o, struct tpm *tpm,
                      struct machine *m, struct error *e)
{
        int r = machine_inspect_floor(env, tpm, o->fresh, &m->floor, e);

        if (r < 0)
                return r;
        if (m->floor.has_floor)
                m->demands.floor = &m->floor.effective;
        if (floor_finding_alarming(m->floor.finding))
                log_warning("version floor: %s", floor_finding_text(m->floor.finding));
        return 0;
}

/* --- PCR 7 --- */

struct variables {
        struct buf data[PCR7_VARIABLE_MAX];
        struct pcr7_contents contents;
};

static void variables_done(struct variables *v)
{
        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++)
                buf_done(&v->data[i]);
}

static int read_variables(const struct env *env, struct variables *v, struct error *e)
{
        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++) {
                const char *name = pcr7_variable_name((enum pcr7_variable)i);
                bool security = i == PCR7_DB || i == PCR7_DBX;
                int r;

                v->data[i] = (struct buf)BUF_INIT(LIMIT_EFI_VARIABLE);
                r = efivar_read(env, name, security ? EFIVAR_GUID_SECURITY : EFIVAR_GUID_GLOBAL,
                                &v->data[i], NULL);
                if (r < 0 && r != -ENOENT)
                        return error_errno(e, -r, "EFI variable %s", name);
                v->contents.variable[i].given = true;
                v->contents.variable[i].data = v->data[i].data;
                v->contents.variable[i].size = v->data[i].len;
        }
        return 0;
}

int machine_read_log(const struct env *env, struct tpm *tpm, struct buf *text,
                     struct eventlog **ret, struct error *e)
{
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        uint8_t now[SHA256_SIZE];
        int r = eventlog_read(env, text, e);

        if (r == 0)
                r = eventlog_parse(text->data, text->len, &log, e);
        if (r == 0)
                r = tpm_read_pcrs(tpm, 1u << TPM_PCR_BOOT_STATE, now, e);
        if (r == 0)
                r = pcr7_explains(log, now, e);
        if (r == 0)
                *ret = TAKE_PTR(log);
        return r;
}

static int predict_pcr7(const struct env *env, struct tpm *tpm, struct machine *m,
                        struct pcr7_prediction *ret, struct error *e)
{
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        _cleanup_(variables_done) struct variables variables = {0};
        int r;

        m->log_text = (struct buf)BUF_INIT(LIMIT_EVENTLOG);
        r = machine_read_log(env, tpm, &m->log_text, &log, e);
        if (r == 0)
                r = read_variables(env, &variables, e);
        if (r == 0)
                r = pcr7_predict(log, &variables.contents, ret, e);
        if (r == 0)
                m->log = TAKE_PTR(log);
        return r;
}

/* A prediction that cannot be made is a warning and no refusal: the image has nothing to do with
 * it. */
static void judge_pcr7(const struct env *env, struct tpm *tpm, struct machine *m)
{
        _cleanup_(buf_done) struct buf why = BUF_INIT(MACHINE_PCR7_TEXT - 1);
        struct pcr7_prediction prediction = {0};
        struct error error = ERROR_INIT;

        m->demands.pcr7 = PROOF_WARNING;
        if (predict_pcr7(env, tpm, m, &prediction, &error) < 0) {
                (void)snprintf(m->pcr7_text, sizeof(m->pcr7_text), "cannot be predicted: %.400s",
                               error.text);
        } else if (!prediction.differs && prediction.certain) {
                m->demands.pcr7 = PROOF_PASSED;
                (void)snprintf(m->pcr7_text, sizeof(m->pcr7_text),
                               "the Secure Boot state will be the same at the next boot");
        } else {
                if (pcr7_describe(&prediction, &why) < 0)
                        buf_reset(&why);
                (void)snprintf(m->pcr7_text, sizeof(m->pcr7_text),
                               "a disk bound to PCR 7 will not unlock at the next boot: %.400s",
                               buf_str(&why));
        }
}

static int ask_tpm(const struct env *env, const struct machine_options *o, struct machine *m,
                   struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct error error = ERROR_INIT;
        int r = tpm_open(env->tcti, &tpm, &error);

        /* A node without its TPM has lost more than a proof, and a TPM that was asked for or is
         * there has something to say about the image. */
        if (r < 0 && ((!o->fresh && is_node(env)) || o->tpm_named || !has_no_tpm(env))) {
                *e = error;
                return r;
        }
        if (r < 0) {
                m->demands.pcr7 = PROOF_NOT_APPLICABLE;
                (void)snprintf(m->pcr7_text, sizeof(m->pcr7_text), "no TPM here");
                return 0;
        }
        r = read_floor(env, o, tpm, m, e);
        if (r < 0)
                return r;
        if (!o->enrol) {
                judge_pcr7(env, tpm, m);
                return 0;
        }
        m->demands.pcr7 = PROOF_NOT_APPLICABLE;
        (void)snprintf(m->pcr7_text, sizeof(m->pcr7_text),
                       "keys are enrolled: the partitions are sealed to the value after that");
        return 0;
}

int machine_check_secure_boot(const struct env *env, struct error *e)
{
        struct secureboot_state state;
        int r = secureboot_state(env, &state);

        if (r < 0) {
                error_set(e, ERROR_PRECONDITION, ENOTSUP,
                          "this machine was not started by UEFI firmware");
                error_advise(e, "switch the firmware to UEFI mode and start again");
                return -ENOTSUP;
        }
        if (!state.secure_boot) {
                error_set(e, ERROR_PRECONDITION, ENOTSUP,
                          "Secure Boot is off: in this state nothing is protected");
                error_advise(
                        e,
                        state.setup_mode
                                ? "the firmware is in setup mode: enrol the keys, then start again"
                                : "switch Secure Boot on and start again");
                return -ENOTSUP;
        }
        return 0;
}

int machine_read(const struct env *env, const struct machine_options *options, struct machine *ret,
                 struct error *e)
{
        struct machine *m = ret;
        int r;

        *m = (struct machine){0};
        r = read_databases(env, options, m, e);
        if (r == 0)
                r = sbat_level(env, &m->level, e);
        if (r >= 0)
                r = read_keys(env, options, m, e);
        if (r == 0)
                r = ask_tpm(env, options, m, e);
        if (r < 0) {
                machine_done(m);
                return r;
        }
        m->demands.elsewhere = !options->fresh && is_elsewhere(env);
        m->demands.keys_given = options->policy_key != NULL;
        m->demands.db = m->db;
        m->demands.dbx = m->dbx;
        m->demands.level = m->level;
        m->demands.keys = m->keys;
        m->demands.n_keys = m->n_keys;
        m->demands.pcr7_text = m->pcr7_text;
        m->demands.log = m->log;
        m->demands.allow_downgrade = options->allow_downgrade ? "--allow-downgrade" : NULL;
        return 0;
}
