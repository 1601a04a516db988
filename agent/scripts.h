/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders of executables that somebody else put there to have a say: health checks and hooks. They
 * run one after the other, folder after folder, sorted by name; hidden files are passed over. Files
 * that were named one by one come last.
 */
#pragma once

#include "base/env.h"
#include "base/error.h"

struct scripts {
        const char *what;         /* for messages: "health check" */
        const char *const *dirs;  /* NULL-terminated; below the root, one that is missing is fine */
        const char *const *files; /* then these, in this order; NULL: none */
        unsigned n_files;
        const char *root; /* env->root: dirs are below it, and the scripts run in it */
        const char *const *environment; /* "NAME=value", NULL-terminated; NULL: none */
        unsigned timeout_seconds;       /* of each */
        unsigned max;                   /* of a folder */
};

/* The errno of a script that failed: no system call returns it on a local file system. */
#define ESCRIPT EREMOTEIO

/*
 * Runs until one fails. 0 when all ended with status 0 (or there are none); -ESCRIPT
 * (ERROR_PRECONDITION) at the first that did not, quoting its last line. Whatever somebody put
 * there was meant to decide: one that cannot be run has failed. *ret_run gets the number of those
 * that succeeded.
 */
int scripts_run(const struct scripts *s, unsigned *ret_run, struct error *e) _must_check_;
