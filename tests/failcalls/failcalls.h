/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that fail once. A program linked with this, and with --wrap for each name of calls.def,
 * counts the calls that its own code makes (those that libraries make among themselves are not
 * seen), and has one of them fail: the n-th of a process. Processes are numbered as they are made.
 *
 * The orders and the notes are in memory that all processes of the program share: the file that
 * $TB_FAILCALLS names, or what failcalls_share() made.
 */
#pragma once

#include <stdint.h>

#define FAILCALLS_RECORDS (1u << 19)

/* In place of an error: what a broken program would do at that call. */
enum {
        FAILCALLS_CRASH = 1000,
        FAILCALLS_LEAK,
        FAILCALLS_SUCCEED, /* too early */
        FAILCALLS_REFUSE,
};

struct failcalls_record {
        uint32_t process, call; /* the call-th of the process-th */
        uint32_t name;          /* line of calls.def */
        uint32_t errors;        /* in how many ways it can fail */
        uint64_t site;          /* where it returns to, from the start of the program */
        uint64_t stack;         /* a digest of all callers */
};

struct failcalls {
        uint32_t record;        /* note each call; else only have one fail */
        uint32_t process, call; /* which fails; calls count from 1, 0 = none */
        uint32_t error;         /* in which of its ways, counted from 0 */
        uint32_t failed;        /* whether it came to that */
        uint32_t n_processes, n_records;
        uint32_t unused;
        struct failcalls_record item[FAILCALLS_RECORDS];
};

/* Shared with children; NULL when there is no memory. */
struct failcalls *failcalls_share(void);

/* From now on the calls of this process and of its children count; NULL ends it. */
void failcalls_begin(struct failcalls *f);

/* Name of a line of calls.def. */
const char *failcalls_name(uint32_t name);
