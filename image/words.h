/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command line words of tb-image: options "--name VALUE", "--name=VALUE" or "--flag" in any place,
 * the rest positional, "--" ends the options. One table per verb; values are borrowed from argv.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define WORDS_LIST_MAX 16u

struct words_list {
        unsigned n;
        const char *item[WORDS_LIST_MAX]; /* none is empty */
};

struct words_option {
        const char *name;        /* without the dashes */
        const char **value;      /* takes a value when set, */
        struct words_list *list; /* or takes values, in several places, */
        bool *flag;              /* else it is a flag */
        bool required;
        bool not_empty; /* the value is a name: "" is refused */
};

#define WORDS_HELP 1

/*
 * Parses argv[1] and on (argv[0] is the verb). Exactly n_positional words are expected;
 * positional_name says in messages what they are. Returns 0, WORDS_HELP when --help is among them
 * (nothing else is checked then), or ERROR_USAGE with -EINVAL for the first mistake; the flags are
 * set even then, because one of them says how the mistake is to be told.
 */
int words_parse(char *const argv[], const struct words_option *options, unsigned n_options,
                const char **positional, unsigned n_positional, const char *positional_name,
                struct error *e) _must_check_;

/* A decimal option within bounds; keeps *ret when text is NULL. ERROR_USAGE. */
int words_number(const char *name, const char *text, unsigned min, unsigned max, unsigned *ret,
                 struct error *e) _must_check_;
