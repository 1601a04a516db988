/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/options.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"

static int take(const struct option_spec *spec, const char *value, struct error *e)
{
        struct option_list *list;

        switch (spec->kind) {
        case OPTION_FLAG:
                *(bool *)spec->target = true;
                return 0;
        case OPTION_TEXT:
                *(const char **)spec->target = value;
                return 0;
        case OPTION_SIZE:
                if (parse_size(value, spec->target) < 0 || *(uint64_t *)spec->target == 0)
                        return error_set(e, ERROR_USAGE, EINVAL, "--%s: \"%s\" is not a size",
                                         spec->name, value);
                return 0;
        case OPTION_NUMBER:
                if (parse_u64_max(value, OPTION_NUMBER_MAX, spec->target) < 0)
                        return error_set(e, ERROR_USAGE, EINVAL, "--%s: \"%s\" is not a number",
                                         spec->name, value);
                return 0;
        case OPTION_COUNT:
                if (parse_u64_max(value, OPTION_NUMBER_MAX, spec->target) < 0 ||
                    *(uint64_t *)spec->target == 0)
                        return error_set(e, ERROR_USAGE, EINVAL,
                                         "--%s: \"%s\" is not a number of at least 1", spec->name,
                                         value);
                return 0;
        case OPTION_LIST:
                list = spec->target;
                if (list->n >= OPTION_LIST_MAX)
                        return error_set(e, ERROR_USAGE, EINVAL,
                                         *spec->name ? "--%s: given more than %u times"
                                                     : "%smore than %u arguments",
                                         spec->name, OPTION_LIST_MAX);
                list->item[list->n++] = value;
                return 0;
        }
        return error_set(e, ERROR_INTERNAL, EINVAL, "option table");
}

/* The words of a command line, and what was seen of them. */
struct reading {
        int argc, next;
        char **argv;
        const struct option_spec *specs;
        size_t n;
        uint64_t seen; /* bit i: specs[i] was given */
};

static_assert(OPTIONS_MAX <= 64, "a bit for each option");

static const struct option_spec *find(const struct reading *r, const char *name, size_t length)
{
        for (size_t i = 0; i < r->n; i++) {
                if (strncmp(r->specs[i].name, name, length) == 0 && !r->specs[i].name[length])
                        return &r->specs[i];
        }
        return NULL;
}

/* "--name", "--name=value", "--name value". Names are whole: an abbreviation that works today would
 * mean another option tomorrow, and "--y" must never confirm anything. */
static int read_option(struct reading *r, const char *word, struct error *e)
{
        const char *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL;
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const struct option_spec *spec = NULL;
        uint64_t bit;

        if (strncmp(word, "--", 2) == 0 && length > 2)
                spec = find(r, word + 2, length - 2);
        if (!spec)
                return error_set(e, ERROR_USAGE, EINVAL, "unknown option \"%s\"", word);
        bit = UINT64_C(1) << (spec - r->specs);
        if ((r->seen & bit) && spec->kind != OPTION_LIST)
                return error_set(e, ERROR_USAGE, EINVAL, "--%s is given twice", spec->name);
        r->seen |= bit;
        if (spec->kind == OPTION_FLAG)
                return value ? error_set(e, ERROR_USAGE, EINVAL, "--%s takes no value", spec->name)
                             : take(spec, NULL, e);
        if (!value && r->next < r->argc)
                value = r->argv[r->next++];
        if (!value || !*value)
                return error_set(e, ERROR_USAGE, EINVAL, "--%s needs a value", spec->name);
        return take(spec, value, e);
}

/* How a failure is reported has to be known even when the failure is in the words before it. */
static void look_for_json(const struct reading *r)
{
        const struct option_spec *json = find(r, "json", 4);

        for (int i = 1; json && json->kind == OPTION_FLAG && i < r->argc; i++) {
                if (strcmp(r->argv[i], "--") == 0)
                        return;
                if (strcmp(r->argv[i], "--json") == 0)
                        *(bool *)json->target = true;
        }
}

/* Words that are no options go into the one argument, or into the list that has no name. */
static int take_word(const struct reading *r, const char *word, const char **argument,
                     struct error *e)
{
        const struct option_spec *list = find(r, "", 0);

        if (list && *word)
                return take(list, word, e);
        if (!argument || *argument || !*word)
                return error_set(e, ERROR_USAGE, EINVAL, "unexpected argument \"%s\"", word);
        *argument = word;
        return 0;
}

int options_parse(int argc, char **argv, const struct option_spec *specs, size_t n,
                  const char **argument, struct error *e)
{
        struct reading reading = {.argc = argc, .next = 1, .argv = argv, .specs = specs, .n = n};
        bool only_arguments = false;

        assert(n <= OPTIONS_MAX);
        look_for_json(&reading);
        while (reading.next < argc) {
                const char *word = argv[reading.next++];
                int r = 0;

                if (!only_arguments && strcmp(word, "--") == 0)
                        only_arguments = true;
                else if (!only_arguments &&
                         (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0))
                        return 1;
                else if (!only_arguments && word[0] == '-' && word[1])
                        r = read_option(&reading, word, e);
                else
                        r = take_word(&reading, word, argument, e);
                if (r < 0)
                        return r;
        }
        if (argument && !*argument)
                return error_set(e, ERROR_USAGE, ENODATA, "an argument is missing");
        return 0;
}

const char *options_action(int *argc, char ***argv)
{
        if (*argc < 2 || (*argv)[1][0] == '-')
                return NULL;
        (*argc)--;
        (*argv)++;
        return (*argv)[0];
}
