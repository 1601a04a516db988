/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of "upgrade": its command line, and what is the same whatever node it works on. */
#pragma once

#include "agent/source_options.h"
#include "agent/upgrade_run.h"

struct upgrade_options {
        const char *source, *tcti;
        struct source_options from;
        bool recovery, all, check, dry_run, force, allow_downgrade, json;
        uint64_t delay, wait;
        uint64_t progress_fd; /* 0: none */
};

/* As many as upgrade_specs() fills. */
#define UPGRADE_SPECS (12u + SOURCE_SPECS)

void upgrade_specs(struct upgrade_options *o, struct option_spec specs[UPGRADE_SPECS]);

/* What options cannot say together. -EINVAL (ERROR_USAGE). */
int upgrade_check_options(const struct upgrade_options *o, struct error *e) _must_check_;

/* Whether there is a source, of whatever origin. -EINVAL (ERROR_USAGE). */
int upgrade_check_source(const struct upgrade_options *o, struct error *e) _must_check_;

/* Whether nothing may be changed. */
bool upgrade_only_looks(const struct upgrade_options *o);

/*
 * Runs with the options in that world, of which fetch, progress and stop are filled in here. spool:
 * as in struct fetch_options.
 */
int upgrade_execute(const struct upgrade_options *o, struct upgrade_world *world, int spool,
                    struct upgrade_report *ret, struct error *e) _must_check_;

/* Prints what came of it (r: of upgrade_execute() or a failure before it) and gives the exit code.
 */
int upgrade_finish(const struct upgrade_options *o, const struct upgrade_report *report, int r,
                   const struct error *e);
