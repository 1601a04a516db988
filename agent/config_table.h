/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of keys: one source of truth for the reader (agent/config_read.c), the JSON schema
 * (agent/config_schema.c), "config show", and, checked by a test, the manual page.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
        CONFIG_TYPE_ANY, /* never looked at */
        CONFIG_TYPE_MAP,
        CONFIG_TYPE_BOOL,
        CONFIG_TYPE_TEXT,       /* const char * */
        CONFIG_TYPE_WORD,       /* unsigned, one of words */
        CONFIG_TYPE_SIZE,       /* uint64_t, bytes; written in MiB or with a unit */
        CONFIG_TYPE_TEXTS,      /* struct config_list */
        CONFIG_TYPE_PCRS,       /* uint32_t, a mask */
        CONFIG_TYPE_PARTITIONS, /* struct config_partitions; members are of one of them */
};

enum config_use {
        CONFIG_USED,
        CONFIG_IGNORED, /* a key of Kairos without meaning here: a warning */
        CONFIG_REFUSED, /* a key of Kairos that asks for what is not done: an error unless false */
};

/* What a text has to look like. */
struct config_rule {
        const char *pattern; /* POSIX extended, and in the same words ECMA 262 for the schema */
        const char *is;      /* in messages: "... is not <is>" */
        unsigned max;        /* bytes */
        bool is_source;      /* a URL in it may hold a password: never shown as it is */
        /* A form that is known, refused, and deserves its own words. */
        const char *refused_prefix, *refused_why;
        /* What a pattern cannot say. NULL, or 0, -ENOMEM, another one with the reason in why. */
        int (*check)(const char *text, char *why, size_t n);
};

struct config_word {
        const char *word;
        unsigned value;
};

#define CONFIG_NOWHERE SIZE_MAX

struct config_key {
        const char *name;
        enum config_type type;
        enum config_use use;
        bool required;
        bool other_name; /* another key for the same target is the one to use */
        size_t target; /* in struct config (members of partitions: in theirs), or CONFIG_NOWHERE */
        const struct config_key *members; /* ends with a name of NULL */
        const struct config_rule *rule;
        const struct config_word *words; /* likewise */
        uint64_t min, max;               /* bytes */
        uint32_t pcrs;                   /* allowed ones, see agent/pcr_choice.h */
        bool or_zero;                    /* 0 is accepted besides min to max */
        const char *fallback; /* value when it is not given, as it would be written; NULL: none */
        const char *help;     /* what it means; of keys not used: why, as the rest of a sentence */
};

/* The uppermost map; keys that are not in it belong to others. */
extern const struct config_key config_table[];

const struct config_key *config_key_find(const struct config_key *members, const char *name);

/* Whether an uppermost key is in the table. */
bool config_key_ours(const char *name);
