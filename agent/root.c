/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/root.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEVICE "device:"

void root_done(struct root *r)
{
        for (unsigned i = 0; i < r->n; i++)
                free(r->text[i]);
        r->n = 0;
}

static const char *keep(struct root *r, const char *prefix, const char *folder, const char *path)
{
        char *text;

        if (asprintf(&text, "%s%s%s", prefix, folder, path) < 0)
                return NULL;
        r->text[r->n++] = text;
        return text;
}

static int move(struct root *r, const char *folder)
{
        const char **const paths[] = {&r->env.efivarfs, &r->env.sysfs,     &r->env.proc,
                                      &r->env.dev,      &r->env.run,       &r->env.extra,
                                      &r->env.oem,      &r->env.persistent};

        for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                const char *moved = keep(r, "", folder, *paths[i]);

                if (!moved)
                        return -ENOMEM;
                *paths[i] = moved;
        }
        r->env.root = keep(r, "", folder, "");
        if (r->env.root && strncmp(r->env.tcti, DEVICE, strlen(DEVICE)) == 0)
                r->env.tcti = keep(r, DEVICE, folder, r->env.tcti + strlen(DEVICE));
        return r->env.root && r->env.tcti ? 0 : -ENOMEM;
}

static int check_folder(const char *folder, const struct env *env, struct error *e)
{
        const char *const needed[] = {env->sysfs, env->proc, env->dev, env->run};
        struct stat st;

        if (*folder != '/' || stat(folder, &st) < 0 || !S_ISDIR(st.st_mode))
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--root: \"%s\" is not the absolute path of a folder", folder);
        for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
                if (stat(needed[i], &st) == 0 && S_ISDIR(st.st_mode))
                        continue;
                error_set(e, ERROR_PRECONDITION, ENOENT, "--root: there is no %s", needed[i]);
                error_advise(e, "mount the root of the node there, with everything below it");
                return -ENOENT;
        }
        return 0;
}

int root_make(const struct env *env, const char *folder, const char *tcti, struct root *ret,
              struct error *e)
{
        struct root made = {.env = *env};
        size_t n = folder ? strlen(folder) : 0;
        _cleanup_free_ char *bare = NULL;
        int r = 0;

        while (n > 0 && folder[n - 1] == '/')
                n--;
        if (folder && *folder && n == 0)
                folder = NULL; /* the root itself */
        if (folder) {
                bare = strndup(folder, n);
                r = bare ? move(&made, bare) : -ENOMEM;
                r = r < 0 ? error_oom(e) : check_folder(bare, &made.env, e);
        }
        if (r < 0) {
                root_done(&made);
                return r;
        }
        if (tcti)
                made.env.tcti = tcti;
        *ret = made;
        return 0;
}
