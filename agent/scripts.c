/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/scripts.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/spawn.h"

static int by_name(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_hidden(const struct dirent *d)
{
        return d->d_name[0] != '.';
}

static int must_be_runnable(const struct scripts *s, const char *path, struct error *e)
{
        struct stat st;

        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
                return 0;
        error_set(e, ERROR_PRECONDITION, ESCRIPT, "%s %s is not an executable file", s->what, path);
        error_advise(e, "make it executable, or remove it (a leading dot hides a file)");
        return -ESCRIPT;
}

/* path: as the script sees itself, below its root. */
static int run_one(const struct scripts *s, const char *path, struct error *e)
{
        const struct spawn_how how = {.timeout_seconds = s->timeout_seconds,
                                      .environment = s->environment,
                                      .root = *s->root ? s->root : NULL};
        const char *const argv[] = {path, NULL};
        struct error cause = ERROR_INIT;
        int r = spawn_check_how(argv, &how, &cause);

        if (r == 0) {
                log_info("%s passed: %s", s->what, path);
                return 0;
        }
        return error_set(e, ERROR_PRECONDITION, ESCRIPT, "%s: %s", s->what, cause.text);
}

/* dir NULL: name is a whole path below the root. */
static int run_entry(const struct scripts *s, const char *dir, const char *name, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s%s%s%s", s->root, dir ? dir : "", dir ? "/" : "", name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = must_be_runnable(s, path, e);
        return r < 0 ? r : run_one(s, path + strlen(s->root), e);
}

static int run_dir(const struct scripts *s, const char *dir, unsigned *run, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        struct dirent **list;
        int n, r = 0;

        if (asprintf(&path, "%s%s", s->root, dir) < 0) {
                path = NULL;
                return error_oom(e);
        }
        n = scandir(path, &list, not_hidden, by_name);
        if (n < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "%s", path);
        if (n > (int)s->max)
                r = error_set(e, ERROR_CONFIG, E2BIG, "%s: more than %u files", path, s->max);
        for (int i = 0; i < n; i++) {
                if (r == 0) {
                        r = run_entry(s, dir, list[i]->d_name, e);
                        *run += r == 0;
                }
                free(list[i]);
        }
        free(list);
        return r;
}

int scripts_run(const struct scripts *s, unsigned *ret_run, struct error *e)
{
        unsigned run = 0;
        int r = 0;

        for (size_t i = 0; s->dirs[i] && r == 0; i++)
                r = run_dir(s, s->dirs[i], &run, e);
        for (unsigned i = 0; i < s->n_files && r == 0; i++) {
                r = run_entry(s, NULL, s->files[i], e);
                run += r == 0;
        }
        *ret_run = run;
        return r;
}
