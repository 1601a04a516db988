/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "agent/scripts.h"
#include "base/limits.h"

const char *const hook_folders[] = {"/usr/lib/tb-agent/hooks.d", "/etc/tb-agent/hooks.d",
                                    "/oem/tb-agent/hooks.d", NULL};

#define FOLDERS_MAX 4u

#define VARIABLES_MAX 10u

/* "NAME=value" of every fact, and the end. */
struct hook_environment {
        char *item[VARIABLES_MAX + 1];
        unsigned n;
};

static void environment_done(struct hook_environment *v)
{
        for (unsigned i = 0; i < v->n; i++)
                free(v->item[i]);
        v->n = 0;
}

/* Values come from images and manifests: nothing that a careless script could take for another
 * line. */
static void make_harmless(char *text)
{
        for (char *p = text; *p; p++) {
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        *p = '?';
        }
}

static int add(struct hook_environment *v, const char *name, const char *value)
{
        char *text;

        if (asprintf(&text, "%s=%s", name, value ? value : "") < 0)
                return -ENOMEM;
        make_harmless(text);
        v->item[v->n++] = text;
        return 0;
}

static int make_environment(struct hook_environment *v, enum hook_event event,
                            const struct hook_facts *f)
{
        const struct {
                const char *name, *value;
        } facts[VARIABLES_MAX] = {
                {"TB_EVENT", hook_event_name(event)},
                {"TB_SOURCE", f->source},
                {"TB_TARGET", f->target},
                {"TB_DISK", f->disk},
                {"TB_FROM_VERSION", f->from_version},
                {"TB_FROM_SHA256", f->from_sha256},
                {"TB_TO_VERSION", f->to_version},
                {"TB_TO_SHA256", f->to_sha256},
                {"TB_TO_MANIFEST", f->to_manifest},
                {"TB_RESULT", f->result},
        };

        for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
                int r = add(v, facts[i].name, facts[i].value);

                if (r < 0)
                        return r;
        }
        return 0;
}

const char *hook_event_name(enum hook_event event)
{
        static const char *const names[HOOK_EVENT_MAX] = {
                [HOOK_BEFORE_UPGRADE] = "before-upgrade", [HOOK_AFTER_UPGRADE] = "after-upgrade",
                [HOOK_BEFORE_INSTALL] = "before-install", [HOOK_AFTER_INSTALL] = "after-install",
                [HOOK_BEFORE_RESET] = "before-reset",     [HOOK_AFTER_RESET] = "after-reset",
        };

        return names[event];
}

int hooks_run(const struct hook_places *places, enum hook_event event,
              const struct hook_facts *facts, unsigned *ret_run, struct error *e)
{
        _cleanup_(environment_done) struct hook_environment environment = {.n = 0};
        char path[FOLDERS_MAX][PATH_MAX];
        const char *dirs[FOLDERS_MAX + 1] = {NULL};
        struct scripts hooks = {.what = "hook",
                                .dirs = dirs,
                                .root = places->root,
                                .files = places->programs,
                                .n_files = places->n_programs,
                                .timeout_seconds = LIMIT_HOOK_SECONDS,
                                .max = LIMIT_HOOKS};

        for (size_t i = 0; i < FOLDERS_MAX && places->folders[i]; i++) {
                (void)snprintf(path[i], sizeof(path[i]), "%s/%s", places->folders[i],
                               hook_event_name(event));
                dirs[i] = path[i];
        }
        if (make_environment(&environment, event, facts) < 0)
                return error_oom(e);
        hooks.environment = (const char *const *)environment.item;
        return scripts_run(&hooks, ret_run, e);
}
