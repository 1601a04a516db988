/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a long verb is. People get a bar with rate and remaining time on a terminal, and
 * otherwise a line at the begin of each phase and every ten seconds; programs get JSON lines on a
 * descriptor they named:
 *
 *   {"schema":1,"phase":"download","done":1048576,"total":536870912,"rate":10485760,"retries":0,
 *    "seconds":12}
 *
 * total is null while it is unknown, rate is in bytes a second. There is a line at the begin and at
 * the end of each phase and at most two a second in between. Output that cannot be written is given
 * up, as is one that takes nothing for five seconds: progress is no reason to fail or to wait.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct progress_options {
        int text_fd;   /* -EBADF: no text */
        bool terminal; /* text_fd is one */
        int json_fd;   /* -EBADF: no JSON */
        /* Gets the lines that people get without a terminal, too; NULL: nobody. Without terminal.
         */
        void (*line)(const char *text, void *arg);
        void *line_arg;
        uint64_t (*now_ms)(void *arg); /* a clock for tests; NULL: the monotonic one */
        void *now_arg;
};

struct progress;

/* NULL when memory ran out; every function takes NULL and does nothing. */
struct progress *progress_new(const struct progress_options *options);
/* Leaves the terminal in order. */
void progress_free(struct progress *p);
DEFINE_CLEANUP(struct progress, progress_free)

/* Ends the phase that was and begins this one ("download"); total 0: unknown, or not a matter of
 * bytes. */
void progress_phase(struct progress *p, const char *phase, uint64_t total);

/* So many bytes of the phase are done. Cheap: may be called for every chunk. */
void progress_update(struct progress *p, uint64_t done, unsigned retries);

/* What --progress-fd may name: an open descriptor from 3 on, or 0, none. ERROR_USAGE for others. */
int progress_check_fd(uint64_t fd, struct error *e) _must_check_;

/* For a verb: text for people goes to standard error, unless a program reads the verb's JSON and
 * nobody is at a terminal. fd: of progress_check_fd(). */
struct progress *progress_open(bool json, uint64_t fd);

/* The same, with a reader of lines as in struct progress_options. */
struct progress *progress_open_with(bool json, uint64_t fd,
                                    void (*line)(const char *text, void *arg), void *arg);
