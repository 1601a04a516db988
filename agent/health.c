/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/health.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
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

/* Whatever somebody put there was meant to decide: a check that cannot be run has not passed. */
static int must_be_runnable(const char *path, struct error *e)
{
        struct stat st;

        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
                return 0;
        error_set(e, ERROR_PRECONDITION, EHEALTH, "health check %s is not an executable file",
                  path);
        error_advise(e, "make it executable, or remove it (a leading dot hides a file)");
        return -EHEALTH;
}

static int run_check(const char *path, struct error *e)
{
        const char *const argv[] = {path, NULL};
        struct error cause = ERROR_INIT;
        int r = spawn_check(argv, LIMIT_HEALTH_CHECK_SECONDS, &cause);

        if (r == 0) {
                log_info("health check passed: %s", path);
                return 0;
        }
        error_set(e, ERROR_PRECONDITION, EHEALTH, "health check: %s", cause.text);
        error_advise(
                e, "this boot stays unconfirmed and loses a try; run the check by hand to see why");
        return -EHEALTH;
}

static int check_dir(const char *dir, unsigned *run, struct error *e)
{
        struct dirent **list;
        int n = scandir(dir, &list, not_hidden, by_name), r = 0;

        if (n < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "%s", dir);
        if (n > (int)LIMIT_HEALTH_CHECKS)
                r = error_set(e, ERROR_CONFIG, E2BIG, "%s: more than %u health checks", dir,
                              LIMIT_HEALTH_CHECKS);
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *path = NULL;

                if (r == 0 && asprintf(&path, "%s/%s", dir, list[i]->d_name) < 0) {
                        path = NULL;
                        r = error_oom(e);
                }
                if (r == 0)
                        r = must_be_runnable(path, e);
                if (r == 0) {
                        r = run_check(path, e);
                        *run += r == 0;
                }
                free(list[i]);
        }
        free(list);
        return r;
}

int health_check(const char *const dirs[], unsigned *ret_run, struct error *e)
{
        unsigned run = 0;
        int r = 0;

        for (size_t i = 0; dirs[i] && r == 0; i++)
                r = check_dir(dirs[i], &run, e);
        *ret_run = run;
        return r;
}
