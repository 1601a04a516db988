/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/restart.h"

#include <sys/reboot.h>
#include <unistd.h>

#include "base/log.h"
#include "base/spawn.h"

/* The manager answers when it has taken the job. */
#define MANAGER_SECONDS 60u

int restart_node(const struct env *env, struct error *e)
{
        static const char *const argv[] = {"systemctl", "--no-block", "reboot", NULL};
        const struct spawn_how how = {.timeout_seconds = MANAGER_SECONDS,
                                      .root = *env->root ? env->root : NULL};
        struct error cause = ERROR_INIT;

        if (spawn_check_how(argv, &how, &cause) == 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, EIO, "the node could not be restarted: %s", cause.text);
        error_advise(e, "restart it by hand");
        return -EIO;
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
