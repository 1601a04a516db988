/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source_options.h"

#include <stdio.h>
#include <string.h>

#include "agent/stop.h"
#include "base/log.h"
#include "upgrade/fetch_config.h"
#include "upgrade/http_url.h"
#include "upgrade/source_name.h"

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

/* As it is written for --insecure. "": the source is not on another machine. */
static int find_host(const char *source, char ret[SOURCE_HOST_SIZE], struct error *e)
{
        _cleanup_(source_name_done) struct source_name name = {.text = NULL};
        struct http_url url = {.text = NULL};
        int r = source_name_parse(source, &name, e);

        *ret = '\0';
        if (r == 0 && name.kind == SOURCE_KIND_OCI) {
                (void)snprintf(ret, SOURCE_HOST_SIZE, "%s", name.registry);
        } else if (r == 0 && name.kind == SOURCE_KIND_HTTP) {
                r = http_url_parse(name.url, &url, e);
                if (r == 0)
                        (void)snprintf(ret, SOURCE_HOST_SIZE,
                                       strchr(url.host, ':') ? "[%s]:%u" : "%s:%u", url.host,
                                       url.port);
                http_url_done(&url);
        }
        return r;
}

int source_allow_insecure(struct source_options *o, const char *source, char room[SOURCE_HOST_SIZE],
                          const char *key, struct error *e)
{
        struct option_list *list = &o->insecure;
        int r = find_host(source, room, e);

        if (r < 0 || !*room)
                return r;
        if (list->n == OPTION_LIST_MAX)
                return error_set(e, ERROR_CONFIG, E2BIG, "%s: too many hosts with --insecure", key);
        list->item[list->n++] = room;
        log_warning("%s: %s may be spoken to without protection; the image still has to prove "
                    "itself",
                    key, room);
        return 0;
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
