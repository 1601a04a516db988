/* SPDX-License-Identifier: Apache-2.0 */
#include "image/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-_."
#define SUFFIX ".efi"

int commands_check(const char *cmdline, struct error *e)
{
        if (cmdline[0] == '\0')
                return error_set(e, ERROR_CONFIG, EINVAL, "the kernel command line is empty");
        if (strlen(cmdline) > LIMIT_CMDLINE)
                return error_set(e, ERROR_CONFIG, E2BIG,
                                 "the kernel command line is longer than %llu bytes",
                                 (unsigned long long)LIMIT_CMDLINE);
        for (const char *p = cmdline; *p != '\0'; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return error_set(e, ERROR_CONFIG, EINVAL,
                                         "control character in the kernel command line");
        return 0;
}

/* Lower case, because boot loaders lower the names of files, and none that hides a file. */
static bool is_name(const char *text, size_t n)
{
        return n > 0 && n <= COMMANDS_NAME_MAX && strspn(text, NAME_CHARACTERS) >= n &&
               *text != '.' && *text != '-';
}

/* Needs no quoting but the quotes themselves, in any reader of os-release. */
static bool is_title(const char *text, size_t n)
{
        if (n == 0 || n > COMMANDS_TITLE_MAX)
                return false;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)text[i] < ' ' || text[i] == 0x7f || strchr("\"\\$`", text[i]))
                        return false;
        return true;
}

static int bad_word(const char *option, const char *word, const char *why, struct error *e)
{
        return error_set(e, ERROR_USAGE, EINVAL, "--%s %s: %s", option, word, why);
}

static int read_name(const char *word, const char *option, size_t n, bool titled,
                     struct command *ret, struct error *e)
{
        const char *colon = titled ? memchr(word, ':', n) : NULL;
        size_t name = colon ? (size_t)(colon - word) : n;

        if (!is_name(word, name))
                return bad_word(option, word,
                                "a name has 1 to 32 lower-case letters, digits and \"-\", \"_\", "
                                "\".\", and begins with none of \"-\" and \".\"",
                                e);
        memcpy(ret->name, word, name);
        if (colon && !is_title(colon + 1, n - name - 1))
                return bad_word(option, word,
                                "a title has 1 to 64 bytes without control characters and "
                                "without \", \\, $ and `",
                                e);
        if (colon)
                memcpy(ret->title, colon + 1, n - name - 1);
        return 0;
}

static int read_word(const char *word, const char *option, const char *base, struct commands *c,
                     struct error *e)
{
        bool titled = strcmp(option, "profile") == 0;
        struct command *command = &c->item[c->n];
        const char *equals = strchr(word, '='), *text;
        int r;

        if (!equals)
                return bad_word(option, word, "a \"=\" and a command line are missing", e);
        r = read_name(word, option, (size_t)(equals - word), titled, command, e);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < c->n; i++)
                if (strcmp(c->item[i].name, command->name) == 0)
                        return bad_word(option, word, "the name is given twice", e);
        if (titled && strcmp(command->name, COMMANDS_MAIN) == 0)
                return bad_word(option, word, "\"main\" is the profile of --cmdline", e);
        text = equals + 1;
        if (asprintf(&command->cmdline, "%s%s%s", *text == '+' ? base : "", *text == '+' ? " " : "",
                     *text == '+' ? text + 1 : text) < 0) {
                command->cmdline = NULL;
                return error_oom(e);
        }
        c->n++;
        r = commands_check(command->cmdline, e);
        return r < 0 ? error_wrap(e, r, "--%s %s", option, command->name) : 0;
}

int commands_parse(const struct words_list *words, const char *option, const char *base,
                   struct commands *ret, struct error *e)
{
        int r = 0;

        *ret = (struct commands){.n = 0};
        for (unsigned i = 0; i < words->n && r == 0; i++)
                r = read_word(words->item[i], option, base, ret, e);
        return r;
}

void commands_done(struct commands *c)
{
        for (unsigned i = 0; i < c->n; i++)
                free(c->item[i].cmdline);
        c->n = 0;
}

int commands_profile(const char *id, const char *title, struct buf *out)
{
        int r = buf_printf(out, "ID=%s\n", id);

        return r == 0 && *title ? buf_printf(out, "TITLE=\"%s\"\n", title) : r;
}

char *commands_variant_path(const char *out, const char *name)
{
        size_t n = strlen(out), suffix = strlen(SUFFIX);
        bool has = n > suffix && strcasecmp(out + n - suffix, SUFFIX) == 0 &&
                   out[n - suffix - 1] != '/';
        char *path;

        if (asprintf(&path, "%.*s-%s%s", (int)(has ? n - suffix : n), out, name,
                     has ? out + n - suffix : "") < 0)
                return NULL;
        return path;
}
