/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent unlock: the data of this node, opened by its recovery key. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/console.h"
#include "agent/data.h"
#include "agent/key_input.h"
#include "agent/lock.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/verbs.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/recovery_key.h"

struct unlock_options {
        const char *key_file; /* NULL: ask on the terminal */
        const char *tcti;
        bool json;
};

/* One volume of the node, and how it went. */
struct target {
        const struct data_volume *volume;
        char *device;
        struct luks *luks; /* of a locked one */
        bool was_open, opened;
        struct error error; /* why it is locked */
};

struct unlock {
        const struct env *env;
        struct node *node;
        struct tpm *tpm; /* NULL: none */
        bool recovery;   /* role of this boot */
        struct data_list list;
        struct target targets[ARRAY_SIZE(((struct data_list *)NULL)->item)];
        size_t n;
};

static void unlock_done(struct unlock *u)
{
        for (size_t i = 0; i < u->n; i++) {
                free(u->targets[i].device);
                luks_free(u->targets[i].luks);
        }
        tpm_free(u->tpm);
        node_free(u->node);
}

static void print_help(void)
{
        (void)printf("Usage: tb-agent unlock [OPTION...]\n\n"
                     "Opens the data partitions of this node by its recovery key, asked for on the "
                     "terminal.\n\n"
                     "  --key-file PATH  read the key from a file, \"-\" for standard input\n"
                     "  --json           print the result as JSON\n"
                     "  --tcti TCTI      TPM to use (default: device:/dev/tpmrm0)\n"
                     "  --help           show this text\n");
}

static bool is_recovery(const struct env *env)
{
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/cos/recovery_mode", env->run) < 0) {
                path = NULL;
                return false;
        }
        return file_exists(AT_FDCWD, path);
}

/* Headers of what is locked. A user's partition that is not encrypted is none of ours. */
static int look(struct unlock *u, struct error *e)
{
        int r = node_find_booted(u->env, &u->node, e);

        if (r < 0)
                return r;
        data_list(u->node, &u->list);
        for (size_t i = 0; i < u->list.n; i++) {
                struct target t = {.volume = &u->list.item[i]};
                int token = 0;

                t.was_open = data_is_open(u->node, t.volume);
                r = t.was_open ? 0
                               : data_open_header(u->node, t.volume, &t.device, &t.luks, &t.error);
                if (r == -EMEDIUMTYPE && !t.volume->label) {
                        free(t.device);
                        continue;
                }
                if (t.luks && recovery_key_next_slot(t.luks, &token) < 0) {
                        (void)error_set(&t.error, ERROR_PRECONDITION, ENOKEY,
                                        "it has no recovery key");
                        luks_free(t.luks);
                        t.luks = NULL;
                }
                u->targets[u->n++] = t;
        }
        return 0;
}

/* A live session is started from a medium, which has none of it. */
static int check_disk(const struct unlock *u, struct error *e)
{
        for (size_t i = 0; i < u->n; i++)
                if (u->targets[i].volume->label)
                        return 0;
        error_set(e, ERROR_PRECONDITION, ENXIO,
                  "the disk that this session was started from has no data of a node");
        error_advise(e, "start the recovery entry of the node itself");
        return -ENXIO;
}

/*
 * In recovery a person decides what happens to the data. Any other role has all of it open, or is
 * not the system that the disk was made for; half of it by a key and half by the TPM is neither.
 */
static int check_role(const struct unlock *u, struct error *e)
{
        if (u->recovery)
                return 0;
        for (size_t i = 0; i < u->n; i++) {
                if (!u->targets[i].was_open)
                        continue;
                error_set(e, ERROR_PRECONDITION, EBUSY, "%s is open, and this is no recovery boot",
                          u->targets[i].volume->partition->name);
                error_advise(e, "start the recovery entry: tb-agent bootentry once recovery");
                return -EBUSY;
        }
        return 0;
}

/* console_attempt_fn: tries the key on all that is locked. */
static int attempt(void *ctx, const struct secret *key, struct error *e)
{
        struct unlock *u = ctx;
        int first = 0;

        for (size_t i = 0; i < u->n; i++) {
                struct target *t = &u->targets[i];
                int r;

                if (!t->luks || t->opened)
                        continue;
                error_clear(&t->error);
                r = data_open_by_key(t->luks, t->volume, key, u->tpm, NULL, &t->error);
                t->opened = r == 0;
                if (r < 0 && first == 0) {
                        *e = t->error;
                        first = error_wrap(e, r, "%s", t->volume->partition->name);
                }
        }
        return first;
}

static int by_file(struct unlock *u, const char *path, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *key = NULL;
        int r = key_input_read(path, &key, e);

        return r < 0 ? r : attempt(u, key, e);
}

static int by_terminal(struct unlock *u, struct error *e)
{
        _cleanup_(console_close_p) struct console *terminal = NULL;
        int r = console_open_terminal(u->env, &terminal, e);

        if (r == -ENOTTY)
                error_advise(e, "give the key with --key-file, \"-\" for standard input");
        return r < 0 ? r
                     : console_ask_key(terminal, "Recovery key (it is not shown): ", 0, attempt, u,
                                       e);
}

static bool anything_locked(const struct unlock *u)
{
        for (size_t i = 0; i < u->n; i++) {
                if (u->targets[i].luks)
                        return true;
        }
        return false;
}

/* A partition that no key could open: its header is not in our form, or names no recovery key. */
static int check_headers(const struct unlock *u, struct error *e)
{
        for (size_t i = 0; i < u->n; i++) {
                const struct target *t = &u->targets[i];

                if (t->was_open || t->luks || !t->volume->label)
                        continue;
                *e = t->error;
                return error_wrap(e, -t->error.code, "%s", t->volume->partition->name);
        }
        return 0;
}

static bool ours_are_open(const struct unlock *u)
{
        for (size_t i = 0; i < u->n; i++) {
                const struct target *t = &u->targets[i];

                if (t->volume->label && !t->was_open && !t->opened)
                        return false;
        }
        return true;
}

static int run(struct unlock *u, const struct unlock_options *o, struct error *e)
{
        struct error ignored = ERROR_INIT;
        int r;

        u->recovery = is_recovery(u->env);
        r = look(u, e);
        if (r == 0)
                r = check_disk(u, e);
        if (r == 0)
                r = check_role(u, e);
        if (r == 0 && anything_locked(u)) {
                if (tpm_open(u->env->tcti, &u->tpm, &ignored) < 0)
                        u->tpm = NULL;
                r = o->key_file ? by_file(u, o->key_file, e) : by_terminal(u, e);
                /* A partition of the user's may have a key of its own. */
                if (r == -EACCES && ours_are_open(u)) {
                        log_warning("%s", e->text);
                        error_clear(e);
                        r = 0;
                }
        }
        if (r == 0)
                r = check_headers(u, e);
        return r < 0 ? r : data_mount_all(u->env, u->recovery, NULL, e);
}

static const char *mounted_at(const struct unlock *u, const struct target *t)
{
        return t->was_open || t->opened ? data_mount_point(u->env, t->volume, u->recovery) : NULL;
}

static struct json_object *target_json(const struct unlock *u, const struct target *t)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        int r = json_add_str(o, "name", t->volume->partition->name);

        if (r == 0)
                r = json_add_bool(o, "open", t->was_open || t->opened);
        if (r == 0)
                r = json_add_bool(o, "opened_now", t->opened);
        if (r == 0)
                r = json_add_str(o, "mounted", mounted_at(u, t));
        return r < 0 ? NULL : TAKE_PTR(o);
}

static int print_result(const struct unlock *u, bool json, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *array;

        for (size_t i = 0; i < u->n && !json; i++) {
                const struct target *t = &u->targets[i];
                const char *at = mounted_at(u, t);

                report_text(stdout, "%-12s %s%s%s\n", t->volume->partition->name,
                            t->opened     ? "opened"
                            : t->was_open ? "open"
                                          : "still locked",
                            at ? ", mounted at " : "", at ? at : "");
        }
        if (!json)
                return 0;
        root = report_new("unlock");
        array = json_object_new_array();
        if (json_add_obj(root, "partitions", array) < 0)
                return error_oom(e);
        for (size_t i = 0; i < u->n; i++) {
                if (json_append(array, target_json(u, &u->targets[i])) < 0)
                        return error_oom(e);
        }
        return report_print(root, e);
}

int verb_unlock(const struct env *env, int argc, char **argv)
{
        struct unlock_options o = {0};
        const struct option_spec specs[] = {
                {"key-file", OPTION_TEXT, &o.key_file},
                {"tcti", OPTION_TEXT, &o.tcti},
                {"json", OPTION_FLAG, &o.json},
        };
        struct error error = ERROR_INIT;
        struct env used = *env;
        _cleanup_(unlock_done) struct unlock u = {.env = &used};
        _cleanup_close_ int lock = -EBADF;
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, &error);

        if (r > 0) {
                print_help();
                return 0;
        }
        if (o.tcti)
                used.tcti = o.tcti;
        if (r == 0 && geteuid() != 0)
                r = error_set(&error, ERROR_PRECONDITION, EPERM, "only root can unlock");
        if (r == 0) {
                lock = lock_take(env, "unlock", 0, &error);
                r = lock < 0 ? lock : 0;
        }
        if (r == 0)
                r = run(&u, &o, &error);
        if (r == 0)
                r = print_result(&u, o.json, &error);
        return r < 0 ? report_failure("unlock", o.json, &error) : 0;
}
