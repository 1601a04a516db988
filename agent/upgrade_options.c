/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/upgrade_options.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/report.h"
#include "agent/stop.h"
#include "upgrade/source_name.h"

void upgrade_specs(struct upgrade_options *o, struct option_spec specs[UPGRADE_SPECS])
{
        const struct option_spec own[UPGRADE_SPECS - SOURCE_SPECS] = {
                {"source", OPTION_TEXT, &o->source},
                {"recovery", OPTION_FLAG, &o->recovery},
                {"all", OPTION_FLAG, &o->all},
                {"check", OPTION_FLAG, &o->check},
                {"dry-run", OPTION_FLAG, &o->dry_run},
                {"force", OPTION_FLAG, &o->force},
                {"allow-downgrade", OPTION_FLAG, &o->allow_downgrade},
                {"json", OPTION_FLAG, &o->json},
                {"progress-fd", OPTION_COUNT, &o->progress_fd},
                {"wait", OPTION_NUMBER, &o->wait},
                {"delay", OPTION_NUMBER, &o->delay},
                {"tcti", OPTION_TEXT, &o->tcti},
        };

        memcpy(specs, own, sizeof(own));
        source_specs(&o->from, specs + ARRAY_SIZE(own));
}

int upgrade_check_options(const struct upgrade_options *o, struct error *e)
{
        _cleanup_(source_name_done) struct source_name name = {.text = NULL};
        int r;

        if (o->recovery && o->all)
                return error_set(e, ERROR_USAGE, EINVAL, "--recovery and --all exclude each other");
        r = progress_check_fd(o->progress_fd, e);
        if (r == 0)
                r = source_check_options(&o->from, e);
        return r < 0 || !o->source ? r : source_name_parse(o->source, &name, e);
}

int upgrade_check_source(const struct upgrade_options *o, struct error *e)
{
        if (o->source)
                return 0;
        error_set(e, ERROR_USAGE, EINVAL,
                  "no source: --source is missing, and no configuration has upgrade.source");
        error_advise(e, "give oci:REGISTRY/NAME:TAG, https://..., ocifile:TAR, dir:PATH or "
                        "file:PATH");
        return -EINVAL;
}

bool upgrade_only_looks(const struct upgrade_options *o)
{
        return o->check || o->dry_run;
}

int upgrade_execute(const struct upgrade_options *o, struct upgrade_world *world, int spool,
                    struct upgrade_report *ret, struct error *e)
{
        struct fetch_options fetch;
        _cleanup_(source_name_done) struct source_name name = {.text = NULL};
        _cleanup_(progress_free_p) struct progress *progress = NULL;
        struct upgrade_wish wish = {.source = &name,
                                    .target = o->recovery ? ENTRY_ROLE_RECOVERY : ENTRY_ROLE_ACTIVE,
                                    .all = o->all,
                                    .check = o->check,
                                    .dry_run = o->dry_run,
                                    .force = o->force};
        int r = source_name_parse(o->source, &name, e);

        if (r < 0)
                return r;
        source_fetch_options(&o->from, &fetch);
        fetch.spool = spool;
        progress = progress_open(o->json, o->progress_fd);
        world->fetch = &fetch;
        world->progress = progress;
        world->stop = stop_wanted;
        r = upgrade_run(world, &wish, ret, e);
        world->fetch = NULL;
        world->progress = NULL;
        return r;
}

int upgrade_finish(const struct upgrade_options *o, const struct upgrade_report *report, int r,
                   const struct error *e)
{
        int code = r < 0 ? error_failure_code(e) : 0;
        _cleanup_json_ struct json_object *document = NULL;

        if (r == 0 && o->check &&
            (report->result == UPGRADE_NOTHING || report->result == UPGRADE_OLDER))
                code = error_exit_code(ERROR_NOTHING);
        if (!o->json) {
                if (r < 0)
                        return report_failure("upgrade", false, e);
                upgrade_report_text(report);
                return code;
        }
        document = upgrade_report_json(report, r < 0 ? e : NULL);
        if (!document || report_print(document, NULL) < 0)
                return r < 0 ? report_failure("upgrade", false, e)
                             : error_exit_code(ERROR_INTERNAL);
        return code;
}
