/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/restart.h"

#include <sys/reboot.h>
#include <unistd.h>

#include "base/log.h"
#include "base/spawn.h"

/* The manager answers when it has taken the job. */
#define MANAGER_SECONDS 60u

static int ask_manager(const struct env *env, const char *verb, const char *done, struct error *e)
{
        const char *const argv[] = {"systemctl", "--no-block", verb, NULL};
        const struct spawn_how how = {.timeout_seconds = MANAGER_SECONDS,
                                      .root = *env->root ? env->root : NULL};
        struct error cause = ERROR_INIT;

        if (spawn_check_how(argv, &how, &cause) == 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, EIO, "the node could not be %s: %s", done, cause.text);
        error_advise(e, "do it by hand");
        return -EIO;
}

int restart_node(const struct env *env, struct error *e)
{
        return ask_manager(env, "reboot", "restarted", e);
}

int restart_power_off(const struct env *env, struct error *e)
{
        return ask_manager(env, "poweroff", "powered off", e);
}

int restart_node_hard(const struct env *env, struct error *e)
{
        int r = restart_node(env, e);

        if (r == 0)
                return 0;
        log_error("restarting at once, because the service manager does not");
        sync();
        return reboot(RB_AUTOBOOT) < 0 ? r : 0;
}
