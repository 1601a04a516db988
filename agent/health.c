/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/health.h"

#include "base/limits.h"

int health_check(const char *const dirs[], unsigned *ret_run, struct error *e)
{
        const struct scripts checks = {.what = "health check",
                                       .dirs = dirs,
                                       .root = "",
                                       .timeout_seconds = LIMIT_HEALTH_CHECK_SECONDS,
                                       .max = LIMIT_HEALTH_CHECKS};
        int r = scripts_run(&checks, ret_run, e);

        if (r == -EHEALTH)
                error_advise(e, "this boot stays unconfirmed and loses a try; run the check by "
                                "hand to see why");
        return r;
}
