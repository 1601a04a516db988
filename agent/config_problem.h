/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with a configuration, and where: a list that grows while files are read, so that a
 * person sees all mistakes at once and not one for each run. Errors make a configuration unusable;
 * warnings say what has no effect here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A place in a file, both numbers from 1 on. file is borrowed, NULL: none. */
struct config_place {
        const char *file;
        unsigned line, column;
};

struct config_problem {
        char *file; /* owned */
        unsigned line, column;
        bool warning;
        char text[512];
        char advice[256]; /* "did you mean ..."; may be empty */
};

struct config_problems {
        struct config_problem *item;
        size_t n;
        unsigned errors, warnings; /* in item */
        unsigned left_out;         /* errors and warnings above the limit of their file */
        bool no_memory;            /* something could not even be noted */
        bool kept;                 /* the last one is in item */
        /* Of the file that is being read. */
        unsigned file_errors, file_warnings;
};

#define CONFIG_PROBLEMS_INIT                                                                       \
        {                                                                                          \
                .item = NULL                                                                       \
        }

void config_problems_done(struct config_problems *p);

/* The next file: LIMIT_CONFIG_PROBLEMS errors and as many warnings are kept of each. */
void config_problems_next(struct config_problems *p);

/* Notes a problem. p may be NULL: nobody wants to know. */
void config_error(struct config_problems *p, struct config_place at, const char *fmt, ...)
        _printf_(3, 4);
void config_warning(struct config_problems *p, struct config_place at, const char *fmt, ...)
        _printf_(3, 4);

/* A line on standard error for each: FILE:LINE:COLUMN: text; advice. */
void config_problems_print(const struct config_problems *p);

/* Adds an advice to the problem noted last, unless the limit kept it out. */
void config_advise(struct config_problems *p, const char *fmt, ...) _printf_(2, 3);

/*
 * Whether the configuration may be used: 0, or -EBADMSG (ERROR_CONFIG) with the first error as
 * "FILE:LINE:COLUMN: text" and how many more there are.
 */
int config_problems_judge(const struct config_problems *p, struct error *e) _must_check_;

/*
 * The candidate that was probably meant by a misspelt word: the one with the smallest edit distance
 * (optimal string alignment; capitals and "_" for "-" cost nothing), if it is small enough for the
 * length of the word. NULL: none. candidates ends with NULL.
 */
const char *config_nearest(const char *word, const char *const *candidates);
