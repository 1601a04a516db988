/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines of the verbs: long options only, described by a table. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum option_kind {
        OPTION_FLAG,   /* bool */
        OPTION_TEXT,   /* const char *, into argv */
        OPTION_SIZE,   /* uint64_t, "2G", not 0 */
        OPTION_NUMBER, /* uint64_t, decimal, at most OPTION_NUMBER_MAX */
        OPTION_COUNT,  /* uint64_t, the same from 1 on */
        OPTION_LIST,   /* struct option_list, one text for each time the option is given */
};

#define OPTION_LIST_MAX 16u
/* Seconds, attempts, descriptors: a week in seconds is more than any of them needs. */
#define OPTION_NUMBER_MAX UINT64_C(604800)

struct option_list {
        const char *item[OPTION_LIST_MAX];
        unsigned n;
};

struct option_spec {
        /* Without the dashes. A list named "" takes all words that are no options. */
        const char *name;
        enum option_kind kind;
        void *target;
};

/* Longest table. */
#define OPTIONS_MAX 48u

/*
 * Reads argv (from the verb's name on) into the targets. Options may stand anywhere before "--", by
 * their whole name; only a list may be given twice. argument (may be NULL: none is allowed) gets
 * the one word that is no option; it is needed unless its target has a value already. 0; 1 when
 * --help or -h was given; -EINVAL (ERROR_USAGE), -ENODATA (likewise) without the argument. An
 * option "json" is read first, so that its target is right in any case.
 */
int options_parse(int argc, char **argv, const struct option_spec *specs, size_t n,
                  const char **argument, struct error *e) _must_check_;

/*
 * For verbs with an action: takes the first word, when it is no option, so that what is left is an
 * ordinary command line for options_parse(). NULL when there is none.
 */
const char *options_action(int *argc, char ***argv);
