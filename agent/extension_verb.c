/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent extension: installs signed disk images that are laid over /usr or /etc at boot. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/extension.h"
#include "agent/extension_report.h"
#include "agent/extension_store.h"
#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/stop.h"
#include "agent/verbs.h"

struct extension_options {
        const char *action, *argument, *name, *root;
        uint64_t wait;
        bool confext, json;
};

/* The partitions of the node that hold files and record, for a change. */
struct places {
        int oem, persistent, lock;
};

#define PLACES_INIT                                                                                \
        {                                                                                          \
                .oem = -EBADF, .persistent = -EBADF, .lock = -EBADF                                \
        }

static void places_done(struct places *p)
{
        close_p(&p->oem);
        close_p(&p->persistent);
        close_p(&p->lock);
}

static int places_open(const struct env *env, uint64_t wait, struct places *p, struct error *e)
{
        int r = stop_prepare(e);

        if (r < 0)
                return r;
        p->lock = lock_take(env, "extension", wait, e);
        if (p->lock < 0)
                return p->lock;
        p->oem = machine_open_state(env);
        p->persistent = machine_open_persistent(env);
        if (p->oem >= 0 && p->persistent >= 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, ENOENT,
                  "the oem and persistent partitions are not both mounted");
        error_advise(e, "run this on an installed node, outside of its recovery entry");
        return -ENOENT;
}

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent extension ACTION [OPTION...]\n\n"
                "Signed disk images that are laid over /usr or /etc in the boots of the images "
                "they are\nenabled for. What changes here counts from the next boot on.\n\n"
                "  install FILE   check and store a disk image, of which nothing is used yet\n"
                "  enable NAME    use it in the boots of the image that runs now\n"
                "  disable NAME   use it in no boot\n"
                "  remove NAME    disable and delete it\n"
                "  list           what is installed, enabled and in use\n\n"
                "  --name NAME    for install: its name (default: that of the file, without "
                ".raw)\n"
                "  --confext      for install: it is for /etc, not for /usr\n"
                "  --wait SECONDS wait for another agent to end (default: fail at once)\n"
                "  --root DIR     the node's root is mounted there\n"
                "  --json         print JSON\n"
                "  --help         show this text\n");
}

static int tell(const struct extension_options *o, const struct extension *x, bool changed,
                const char *text, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        int r;

        if (!o->json) {
                report_text(stdout, "%s: %s\n", x->name, changed ? text : "nothing to do");
                return 0;
        }
        root = report_new("extension");
        r = json_add_str(root, "action", o->action);
        if (r == 0)
                r = json_add_bool(root, "changed", changed);
        if (r == 0)
                r = extension_report_item(root, x);
        return r < 0 ? error_oom(e) : report_print(root, e);
}

/* --- install --- */

static int choose_name(const struct extension_options *o, char ret[LIMIT_EXTENSION_NAME + 1],
                       struct error *e)
{
        const char *slash = strrchr(o->argument, '/'), *name = slash ? slash + 1 : o->argument;
        size_t n = strlen(name);

        if (o->name)
                n = strlen(name = o->name);
        else if (n > 4 && strcmp(name + n - 4, ".raw") == 0)
                n -= 4;
        if (n <= LIMIT_EXTENSION_NAME) {
                (void)snprintf(ret, LIMIT_EXTENSION_NAME + 1, "%.*s", (int)n, name);
                if (extension_name_ok(ret))
                        return 0;
        }
        error_set(e, ERROR_USAGE, EINVAL, "\"%s\" is no name of an extension", name);
        error_advise(e, "give --name: at most %u letters, digits, \"-\", \"_\" and \".\"",
                     LIMIT_EXTENSION_NAME);
        return -EINVAL;
}

static int install(const struct env *env, const struct extension_options *o, const struct places *p,
                   struct extension_list *l, struct error *e)
{
        struct extension old = {.n_images = 0}, *x;
        char name[LIMIT_EXTENSION_NAME + 1];
        uint8_t root_hash[SHA256_SIZE];
        bool replaced, changed;
        uint64_t size = 0;
        int r = choose_name(o, name, e);

        if (r < 0)
                return r;
        replaced = extension_find(l, name) != NULL;
        x = extension_add(l, name);
        if (!x)
                return error_set(e, ERROR_SPACE, ENOSPC, "there are %u extensions already",
                                 LIMIT_EXTENSIONS);
        old = *x;
        r = extension_store_add(env, p->persistent, o->argument, root_hash, &size, e);
        if (r < 0)
                return r;
        changed = !replaced || memcmp(old.root_hash, root_hash, SHA256_SIZE) != 0 ||
                  old.confext != o->confext;
        if (changed) {
                /* Another content was not agreed to by who enabled the old one. */
                x->n_images = 0;
                x->confext = o->confext;
                x->size = size;
                memcpy(x->root_hash, root_hash, SHA256_SIZE);
                r = extension_list_write(l, p->oem, e);
        }
        if (r == 0 && replaced && memcmp(old.root_hash, root_hash, SHA256_SIZE) != 0 &&
            !extension_is_shared(l, &old))
                r = extension_store_drop(p->persistent, old.root_hash, e);
        return r < 0 ? r
                     : tell(o, x, changed,
                            replaced ? "replaced; enable it again" : "installed; not enabled yet",
                            e);
}

/* --- enable, disable, remove --- */

static int find(const struct extension_options *o, struct extension_list *l, struct extension **ret,
                struct error *e)
{
        *ret = extension_find(l, o->argument);
        if (*ret)
                return 0;
        error_set(e, ERROR_USAGE, ENOENT, "there is no extension \"%s\"", o->argument);
        error_advise(e, "\"tb-agent extension list\" shows what is installed");
        return -ENOENT;
}

static int enable(const struct env *env, const struct extension_options *o, const struct places *p,
                  struct extension_list *l, struct error *e)
{
        _cleanup_(buf_done) struct buf certificates = BUF_INIT(LIMIT_KEY_FILE);
        _cleanup_close_ int fd = -EBADF;
        struct extension_image image;
        struct extension *x;
        struct ddi ddi;
        bool changed;
        int r = find(o, l, &x, e);

        if (r == 0)
                r = extension_running_image(env, &image, e);
        if (r == 0)
                r = extension_certificates(env, &certificates, e);
        if (r == 0)
                r = extension_open(env, x, &certificates, &fd, &ddi, e);
        if (r < 0)
                return r;
        changed = !extension_is_enabled(x, image.pcr11);
        if (changed) {
                extension_enable(x, &image);
                r = extension_list_write(l, p->oem, e);
        }
        return r < 0 ? r : tell(o, x, changed, "enabled for this image, from the next boot on", e);
}

static int disable(const struct extension_options *o, const struct places *p,
                   struct extension_list *l, struct error *e)
{
        struct extension *x;
        bool changed;
        int r = find(o, l, &x, e);

        if (r < 0)
                return r;
        changed = x->n_images > 0;
        if (changed) {
                x->n_images = 0;
                r = extension_list_write(l, p->oem, e);
        }
        return r < 0 ? r : tell(o, x, changed, "disabled, from the next boot on", e);
}

/* The record first: a file that nobody names does no harm. */
static int drop(const struct extension_options *o, const struct places *p, struct extension_list *l,
                struct error *e)
{
        struct extension *x, old;
        int r = find(o, l, &x, e);

        if (r < 0)
                return r;
        old = *x;
        extension_drop(l, x);
        r = extension_list_write(l, p->oem, e);
        if (r == 0 && !extension_is_shared(l, &old))
                r = extension_store_drop(p->persistent, old.root_hash, e);
        return r < 0 ? r : tell(o, &old, true, "removed; in use until the next boot at most", e);
}

static int act(const struct env *env, const struct extension_options *o, struct error *e)
{
        _cleanup_(places_done) struct places places = PLACES_INIT;
        _cleanup_free_ struct extension_list *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return error_oom(e);
        if (strcmp(o->action, "list") == 0)
                return extension_report_list(env, o->json, e);
        r = places_open(env, o->wait, &places, e);
        if (r == 0)
                r = extension_list_read(env, l, e);
        if (r < 0)
                return r;
        if (strcmp(o->action, "install") == 0)
                return install(env, o, &places, l, e);
        if (strcmp(o->action, "enable") == 0)
                return enable(env, o, &places, l, e);
        return strcmp(o->action, "disable") == 0 ? disable(o, &places, l, e)
                                                 : drop(o, &places, l, e);
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct extension_options *o, struct error *e)
{
        const struct option_spec specs[] = {
                {"name", OPTION_TEXT, &o->name},   {"confext", OPTION_FLAG, &o->confext},
                {"wait", OPTION_NUMBER, &o->wait}, {"root", OPTION_TEXT, &o->root},
                {"json", OPTION_FLAG, &o->json},
        };
        static const char *const actions[] = {"install", "enable", "disable", "remove", "list"};
        bool known = false, list;
        int r;

        o->action = options_action(&argc, &argv);
        for (size_t i = 0; i < ARRAY_SIZE(actions) && o->action; i++)
                known = known || strcmp(o->action, actions[i]) == 0;
        list = known && strcmp(o->action, "list") == 0;
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs),
                          known && !list ? &o->argument : NULL, e);
        if (r > 0)
                print_help();
        if (r == 0 && !known) {
                r = error_set(e, ERROR_USAGE, EINVAL, "%s%s",
                              o->action ? "unknown action " : "an action is missing",
                              o->action ? o->action : "");
                error_advise(e, "give one of install FILE, enable NAME, disable NAME, remove NAME, "
                                "list");
        }
        if (r == 0 && (o->name || o->confext) && strcmp(o->action, "install") != 0)
                r = error_set(e, ERROR_USAGE, EINVAL, "--name and --confext are for install");
        return r;
}

int verb_extension(const struct env *env, int argc, char **argv)
{
        _cleanup_(root_done) struct root root = {.n = 0};
        struct extension_options options = {.action = NULL};
        struct error error = ERROR_INIT;
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        if (r == 0)
                r = root_make(env, options.root, NULL, &root, &error);
        if (r == 0)
                r = act(&root.env, &options, &error);
        return r < 0 ? report_failure("extension", options.json, &error) : 0;
}
