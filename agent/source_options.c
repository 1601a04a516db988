/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source_options.h"

#include <string.h>

#include "agent/stop.h"
#include "upgrade/fetch_config.h"

const char source_help[] =
        "  --ca FILE          PEM certificates to trust instead of the system's\n"
        "  --auth FILE        logins of registries (config.json)\n"
        "  --insecure HOST    HOST[:PORT] may be spoken to without TLS; several times\n"
        "  --mirror HOST=URL  try URL before the registry HOST; several times\n"
        "  --limit-rate SIZE  bytes a second, e.g. 10M\n"
        "  --attempts N       tries of a step that fails for the moment\n";

void source_specs(struct source_options *o, struct option_spec specs[SOURCE_SPECS])
{
        const struct option_spec filled[SOURCE_SPECS] = {
                {"ca", OPTION_TEXT, &o->ca},
                {"auth", OPTION_TEXT, &o->auth},
                {"insecure", OPTION_LIST, &o->insecure},
                {"mirror", OPTION_LIST, &o->mirrors},
                {"limit-rate", OPTION_SIZE, &o->limit_rate},
                {"attempts", OPTION_COUNT, &o->attempts},
        };

        memcpy(specs, filled, sizeof(filled));
}

int source_check_options(const struct source_options *o, struct error *e)
{
        struct fetch_options options;

        source_fetch_options(o, &options);
        return fetch_config_check(&options, e);
}

void source_fetch_options(const struct source_options *o, struct fetch_options *ret)
{
        static const struct env own = ENV_INIT;

        *ret = (struct fetch_options){.env = &own,
                                      .ca_file = o->ca,
                                      .auth_file = o->auth,
                                      .insecure = o->insecure.item,
                                      .n_insecure = o->insecure.n,
                                      .mirrors = o->mirrors.item,
                                      .n_mirrors = o->mirrors.n,
                                      .rate_limit = o->limit_rate,
                                      .attempts = (unsigned)o->attempts,
                                      .spool = -EBADF,
                                      .stop = stop_wanted};
}
