/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/options.h"

#include <assert.h>
#include <getopt.h>
#include <string.h>

#include "base/num.h"

/* getopt_long() returns this plus the place in the table; below are characters. */
#define FIRST 256

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
        case OPTION_LIST:
                list = spec->target;
                if (list->n >= OPTION_LIST_MAX)
                        return error_set(e, ERROR_USAGE, EINVAL, "--%s: given more than %u times",
                                         spec->name, OPTION_LIST_MAX);
                list->item[list->n++] = value;
                return 0;
        }
        return error_set(e, ERROR_INTERNAL, EINVAL, "option table");
}

static int take_argument(int argc, char **argv, const char **argument, struct error *e)
{
        if (optind < argc && argument && !*argument)
                *argument = argv[optind++];
        if (optind < argc)
                return error_set(e, ERROR_USAGE, EINVAL, "unexpected argument \"%s\"",
                                 argv[optind]);
        if (argument && !*argument)
                return error_set(e, ERROR_USAGE, EINVAL, "an argument is missing");
        return 0;
}

int options_parse(int argc, char **argv, const struct option_spec *specs, size_t n,
                  const char **argument, struct error *e)
{
        struct option table[OPTIONS_MAX + 2] = {{"help", no_argument, NULL, 'h'}};
        int c, r;

        assert(n <= OPTIONS_MAX);
        for (size_t i = 0; i < n; i++)
                table[i + 1] = (struct option){
                        .name = specs[i].name,
                        .has_arg = specs[i].kind == OPTION_FLAG ? no_argument : required_argument,
                        .val = FIRST + (int)i};
        opterr = 0;
        optind = 1;
        while ((c = getopt_long(argc, argv, ":", table, NULL)) >= 0) {
                if (c == 'h')
                        return 1;
                if (c == ':')
                        return error_set(e, ERROR_USAGE, EINVAL, "%s needs a value",
                                         argv[optind - 1]);
                if (c < FIRST)
                        return error_set(e, ERROR_USAGE, EINVAL, "unknown option \"%s\"",
                                         argv[optind - 1]);
                r = take(&specs[c - FIRST], optarg, e);
                if (r < 0)
                        return r;
        }
        return take_argument(argc, argv, argument, e);
}
