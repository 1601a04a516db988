/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent bootentry: lists the boot entries, and leaves a wish for the next boots. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/bootentry.h"
#include "agent/lock.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/statereset.h"
#include "agent/verbs.h"

struct bootentry_options {
        const char *action, *name, *root;
        uint64_t wait;
        bool force, json;
};

static void print_help(void)
{
        (void)printf("Usage: tb-agent bootentry list | once NAME | prefer NAME | clear "
                     "[OPTION...]\n\n"
                     "Shows the boot entries, and which of them the next boots start.\n\n"
                     "  list           entries, which runs, which is next\n"
                     "  once NAME      start this entry in the next boot, once\n"
                     "  prefer NAME    start this entry in all boots to come\n"
                     "  clear          take such wishes back\n"
                     "NAME is a role (active, passive, recovery) or an entry's id. \"once "
                     "statereset\" resets the\n"
                     "node in the next boot, without asking, where the configuration allows it.\n\n"
                     "  --force        also an entry that is bad\n"
                     "  --wait SECONDS wait for another agent to end (default: fail at once)\n"
                     "  --root DIR     the node's root is mounted there\n"
                     "  --json         print JSON\n"
                     "  --help         show this text\n");
}

static const char *state_of(const struct entry_file *f)
{
        if (situation_is_bad(f))
                return "bad";
        return f->name.counted ? "on trial" : "good";
}

/* --- list --- */

static int add_entry(struct json_object *array, const struct situation *s,
                     const struct entry_file *f, const struct entry_file *next)
{
        struct json_object *o = json_object_new_object();
        char id[NAME_MAX + 1];
        int r = json_append(array, o);

        bootentry_id(s, f, id);
        if (r == 0)
                r = json_add_str(o, "file", f->file);
        if (r == 0)
                r = json_add_str(o, "role",
                                 entry_is_reset(&f->name) ? ENTRY_RESET_BASE
                                                          : entry_role_name(f->name.role));
        if (r == 0)
                r = json_add_str(o, "title", f->valid ? f->entry.title : NULL);
        if (r == 0)
                r = json_add_str(o, "version", f->valid ? f->entry.version : NULL);
        if (r == 0)
                r = json_add_str(o, "state", state_of(f));
        if (r == 0)
                r = f->name.counted ? json_add_u64(o, "tries_left", f->name.tries_left)
                                    : json_add_null(o, "tries_left");
        if (r == 0)
                r = json_add_bool(o, "next", f == next);
        return r;
}

static int add_wishes(struct json_object *root, const struct env *env)
{
        static const struct {
                const char *key, *variable;
        } wishes[] = {{"once", "LoaderEntryOneShot"},
                      {"default", "LoaderEntryDefault"},
                      {"preferred", "LoaderEntryPreferred"}};
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(wishes) && r == 0; i++) {
                char wish[NAME_MAX + 1];

                bootentry_wish(env, wishes[i].variable, wish);
                r = json_add_str(root, wishes[i].key, *wish ? wish : NULL);
        }
        return r;
}

static int list_json(const struct env *env, const struct situation *s, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("bootentry");
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "entries", array);

        for (size_t i = 0; i < s->slots.n_entries && r == 0; i++)
                r = add_entry(array, s, &s->slots.entries[i], situation_next(s));
        if (r == 0)
                r = json_add_str(root, "running", entry_role_name(s->running.role));
        if (r == 0)
                r = add_wishes(root, env);
        return r < 0 ? error_oom(e) : report_print(root, e);
}

static void list_text(const struct env *env, const struct situation *s)
{
        static const struct {
                const char *variable, *text;
        } wishes[] = {{"LoaderEntryOneShot", "next boot only"},
                      {"LoaderEntryDefault", "always, whatever its counter says"},
                      {"LoaderEntryPreferred", "preferred"}};

        for (size_t i = 0; i < s->slots.n_entries; i++) {
                const struct entry_file *f = &s->slots.entries[i];

                report_text(stdout, "%c %-20s %-9s version %s  %s\n",
                            f == situation_next(s) ? '>' : ' ', f->file, state_of(f),
                            f->valid ? f->entry.version : "unknown", f->entry.title);
        }
        report_text(stdout, "running: %s\n", entry_role_name(s->running.role));
        for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
                char wish[NAME_MAX + 1];

                bootentry_wish(env, wishes[i].variable, wish);
                if (*wish)
                        report_text(stdout, "%s: %s\n", wishes[i].text, wish);
        }
}

/* --- actions --- */

static int report_done(const struct bootentry_options *o, const char *entry, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;

        if (!o->json) {
                if (entry)
                        report_text(stdout, "%s: %s\n",
                                    strcmp(o->action, "once") == 0 ? "the next boot starts"
                                                                   : "preferred",
                                    entry);
                else
                        report_text(stdout, "the boot loader chooses by itself\n");
                return 0;
        }
        root = report_new("bootentry");
        if (json_add_str(root, "action", o->action) < 0 || json_add_str(root, "entry", entry) < 0)
                return error_oom(e);
        return report_print(root, e);
}

static bool is_reset(const struct bootentry_options *o)
{
        return o->name && (strcasecmp(o->name, ENTRY_RESET_BASE) == 0 ||
                           strcasecmp(o->name, STATERESET_FILE) == 0);
}

/* The entry is made, or led to the recovery image of now, when it is asked for. What it is worth
 * the boot stage decides, but a wish that would come to nothing is told here. */
static int prepare_reset(const struct env *env, const struct bootentry_options *o,
                         const struct esp *esp, struct error *e)
{
        int r;

        if (strcmp(o->action, "prefer") == 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "%s erases data: it is started once, and never preferred",
                                 ENTRY_RESET_BASE);
        r = statereset_allowed(env, e);
        if (r == 0) {
                error_set(e, ERROR_PRECONDITION, EPERM,
                          "the configuration of this node does not allow a reset by a boot entry");
                error_advise(e,
                             "set reset.unattended: true in a configuration in %s, or run "
                             "\"tb-agent reset\" in recovery",
                             env->oem);
                r = -EPERM;
        }
        return r < 0 ? r : statereset_sync(esp, true, e);
}

static int wish(const struct env *env, const struct bootentry_options *o, const struct situation *s,
                struct error *e)
{
        const struct entry_file *f = bootentry_find(s, o->name, e);
        int r;

        if (!f)
                return -ENOENT;
        r = strcmp(o->action, "once") == 0 ? bootentry_once(env, s, f, o->force, e)
                                           : bootentry_prefer(env, s, f, o->force, e);
        return r < 0 ? r : report_done(o, f->file, e);
}

static int on_esp(const struct env *env, const struct bootentry_options *o, struct error *e)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        struct node_esp esp;
        bool reset = is_reset(o);
        int r = node_esp_open(env, reset, &esp, e);

        if (r < 0)
                return r;
        if (reset)
                r = prepare_reset(env, o, &esp.esp, e);
        if (r == 0)
                r = situation_read(env, &esp.esp, &s, e);
        r = node_esp_close(env, &esp, r, e);
        if (r < 0)
                return r;
        if (strcmp(o->action, "list") != 0)
                return wish(env, o, &s, e);
        if (o->json)
                return list_json(env, &s, e);
        list_text(env, &s);
        return 0;
}

static int act(const struct env *env, const struct bootentry_options *o, struct error *e)
{
        _cleanup_close_ int lock = -EBADF;
        unsigned cleared;
        int r;

        if (strcmp(o->action, "list") == 0)
                return on_esp(env, o, e);
        lock = lock_take(env, "bootentry", o->wait, e);
        if (lock < 0)
                return lock;
        if (strcmp(o->action, "clear") != 0)
                return on_esp(env, o, e);
        r = bootentry_clear(env, &cleared, e);
        return r < 0 ? r : report_done(o, NULL, e);
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct bootentry_options *o, struct error *e)
{
        const struct option_spec specs[] = {
                {"force", OPTION_FLAG, &o->force},
                {"wait", OPTION_NUMBER, &o->wait},
                {"root", OPTION_TEXT, &o->root},
                {"json", OPTION_FLAG, &o->json},
        };
        static const char *const actions[] = {"list", "once", "prefer", "clear"};
        bool named = false, known = false;
        int r;

        o->action = options_action(&argc, &argv);
        for (size_t i = 0; i < ARRAY_SIZE(actions) && o->action; i++)
                known = known || strcmp(o->action, actions[i]) == 0;
        named = known && (strcmp(o->action, "once") == 0 || strcmp(o->action, "prefer") == 0);
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), named ? &o->name : NULL, e);
        if (r > 0)
                print_help();
        if (r == 0 && !known) {
                r = error_set(e, ERROR_USAGE, EINVAL, "%s%s",
                              o->action ? "unknown action " : "an action is missing",
                              o->action ? o->action : "");
                error_advise(e, "give one of list, once NAME, prefer NAME, clear");
        }
        return r;
}

int verb_bootentry(const struct env *env, int argc, char **argv)
{
        _cleanup_(root_done) struct root root = {.n = 0};
        struct bootentry_options options = {.action = NULL};
        struct error error = ERROR_INIT;
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        if (r == 0)
                r = root_make(env, options.root, NULL, &root, &error);
        if (r == 0)
                r = act(&root.env, &options, &error);
        return r < 0 ? report_failure("bootentry", options.json, &error) : 0;
}
