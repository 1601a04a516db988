/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only way to run another program: argument vector (never a shell), clean environment, no
 * inherited descriptors, output captured within a bound, and a time limit after which the child's
 * process group is killed.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct spawn_result {
        int status;    /* exit status 0-255; -1 when killed by a signal or by the time limit */
        int signal;    /* signal number, 0 = exited by itself */
        int timed_out; /* the time limit struck */
};

/*
 * Runs argv[0] (searched in /usr/sbin:/usr/bin:/sbin:/bin) and waits. output (may be NULL) gets
 * standard output and error, cut at its ceiling. 0 when the program was started and reaped,
 * whatever its status; negative errno otherwise. The child sees PATH and LC_ALL=C only.
 */
int spawn_run(const char *const argv[], unsigned timeout_seconds, struct buf *output,
              struct spawn_result *ret, struct error *e) _must_check_;

/* How a program is run, where the ordinary way is not enough. */
struct spawn_how {
        unsigned timeout_seconds;
        /* "NAME=value", NULL-terminated, behind PATH and LC_ALL; NULL: none. */
        const char *const *environment;
        /* Folder that is its root; argv[0] is looked up there. NULL: that of this process. */
        const char *root;
        /* Descriptor that it reads as standard input. NULL: there is nothing to read. */
        const int *input;
};

/* Most variables of spawn_how. */
#define SPAWN_ENVIRONMENT_MAX 32u

/* spawn_run() and spawn_check() in that way. */
int spawn_run_how(const char *const argv[], const struct spawn_how *how, struct buf *output,
                  struct spawn_result *ret, struct error *e) _must_check_;
int spawn_check_how(const char *const argv[], const struct spawn_how *how, struct error *e)
        _must_check_;

/* Runs and turns everything but status 0 into an error that quotes the last line of the output. */
int spawn_check(const char *const argv[], unsigned timeout_seconds, struct error *e) _must_check_;
