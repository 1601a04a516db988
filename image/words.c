/* SPDX-License-Identifier: Apache-2.0 */
#include "image/words.h"

#include <string.h>

#include "base/num.h"

static const struct words_option *find(const struct words_option *options, unsigned n,
                                       const char *word, size_t len)
{
        for (unsigned i = 0; i < n; i++)
                if (strlen(options[i].name) == len && memcmp(options[i].name, word, len) == 0)
                        return &options[i];
        return NULL;
}

static int add_value(const struct words_option *o, const char *value, struct error *e)
{
        if (!o->list) {
                *o->value = value;
                return 0;
        }
        if (o->list->n == WORDS_LIST_MAX)
                return error_set(e, ERROR_USAGE, E2BIG, "option --%s is given more than %u times",
                                 o->name, WORDS_LIST_MAX);
        if (*value == '\0')
                return error_set(e, ERROR_USAGE, EINVAL, "option --%s has an empty value", o->name);
        o->list->item[o->list->n++] = value;
        return 0;
}

/* One option; *argv stands on it and ends on its last word. */
static int parse_option(char *const **argv, const struct words_option *options, unsigned n,
                        struct error *e)
{
        const char *word = **argv + 2, *equals = strchr(word, '=');
        size_t len = equals ? (size_t)(equals - word) : strlen(word);
        const struct words_option *o = find(options, n, word, len);

        if (!o)
                return error_set(e, ERROR_USAGE, EINVAL, "unknown option --%.*s", (int)len, word);
        if (!o->value && !o->list) {
                if (equals)
                        return error_set(e, ERROR_USAGE, EINVAL, "option --%s takes no value",
                                         o->name);
                *o->flag = true;
                return 0;
        }
        if (o->value && *o->value)
                return error_set(e, ERROR_USAGE, EINVAL, "option --%s is given twice", o->name);
        if (equals)
                return add_value(o, equals + 1, e);
        if (!(*argv)[1])
                return error_set(e, ERROR_USAGE, EINVAL, "option --%s needs a value", o->name);
        return add_value(o, *++*argv, e);
}

static bool help_asked(char *const argv[])
{
        for (; *argv && strcmp(*argv, "--") != 0; argv++)
                if (strcmp(*argv, "--help") == 0 || strcmp(*argv, "-h") == 0)
                        return true;
        return false;
}

/* What can only be said when all words are known. */
static int check_options(const struct words_option *options, unsigned n, struct error *e)
{
        for (unsigned i = 0; i < n; i++) {
                const struct words_option *o = &options[i];

                if (o->required && !*o->value)
                        return error_set(e, ERROR_USAGE, EINVAL, "option --%s is missing", o->name);
                if (o->not_empty && *o->value && (*o->value)[0] == '\0')
                        return error_set(e, ERROR_USAGE, EINVAL, "option --%s has an empty value",
                                         o->name);
        }
        return 0;
}

int words_parse(char *const argv[], const struct words_option *options, unsigned n_options,
                const char **positional, unsigned n_positional, const char *positional_name,
                struct error *e)
{
        unsigned found = 0;
        bool ended = false;
        int first = 0;

        if (help_asked(argv + 1))
                return WORDS_HELP;
        for (argv++; *argv; argv++) {
                struct error *told = first == 0 ? e : NULL;
                int r = 0;

                if (!ended && strcmp(*argv, "--") == 0)
                        ended = true;
                else if (!ended && strncmp(*argv, "--", 2) == 0)
                        r = parse_option(&argv, options, n_options, told);
                else if (!ended && (*argv)[0] == '-' && (*argv)[1] != '\0')
                        r = error_set(told, ERROR_USAGE, EINVAL, "unknown option %s", *argv);
                else if (found == n_positional)
                        r = error_set(told, ERROR_USAGE, EINVAL, "unexpected word \"%s\"", *argv);
                else
                        positional[found++] = *argv;
                if (first == 0)
                        first = r;
        }
        if (first < 0)
                return first;
        if (found < n_positional)
                return error_set(e, ERROR_USAGE, EINVAL, "%s is missing", positional_name);
        for (unsigned i = 0; i < found; i++)
                if (positional[i][0] == '\0')
                        return error_set(e, ERROR_USAGE, EINVAL, "the name of %s is empty",
                                         positional_name);
        return check_options(options, n_options, e);
}

int words_number(const char *name, const char *text, unsigned min, unsigned max, unsigned *ret,
                 struct error *e)
{
        uint64_t v;

        if (!text)
                return 0;
        if (parse_u64_max(text, max, &v) < 0 || v < min)
                return error_set(e, ERROR_USAGE, EINVAL, "--%s is a number from %u to %u", name,
                                 min, max);
        *ret = (unsigned)v;
        return 0;
}
