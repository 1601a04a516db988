/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/sbat.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"
#include "efivars/efivar.h"

#define VARIABLE "SbatLevelRT"
/* shim keeps generations in 16 bits. */
#define GENERATION_MAX 65535u

struct sbat {
        char *text; /* cut into fields in place */
        struct sbat_component components[LIMIT_SBAT_COMPONENTS];
        unsigned n;
};

void sbat_free(struct sbat *s)
{
        if (!s)
                return;
        free(s->text);
        free(s);
}

/* Names and numbers end up in messages: printable ASCII, which is all that real ones use. */
static bool printable(const char *s)
{
        for (; *s; s++)
                if (*s < 0x20 || *s > 0x7e)
                        return false;
        return true;
}

/* Ends the field at its comma and returns what follows; NULL when it was the last one. */
static char *cut(char *field)
{
        char *comma = strchr(field, ',');

        if (!comma)
                return NULL;
        *comma = '\0';
        return comma + 1;
}

static int parse_line(struct sbat *s, char *line, const char *what, struct error *e)
{
        struct sbat_component *c = &s->components[s->n];
        char *generation, *rest;

        if (s->n == LIMIT_SBAT_COMPONENTS)
                return error_set(e, ERROR_REFUSED, E2BIG, "%s: more than %u components", what,
                                 LIMIT_SBAT_COMPONENTS);
        generation = cut(line);
        if (line[0] == '\0' || !printable(line) || !generation)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: line %u is not \"component,generation\"", what, s->n + 1);
        rest = cut(generation);
        if (parse_u64_max(generation, GENERATION_MAX, &c->generation) < 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: the generation of %.64s is not a number up to %u", what, line,
                                 GENERATION_MAX);
        c->name = line;
        c->rest = rest ? rest : "";
        s->n++;
        return 0;
}

static int parse_lines(struct sbat *s, const char *what, struct error *e)
{
        static const char mark[] = "\xef\xbb\xbf";
        char *line = s->text, *next;
        int r;

        if (strncmp(line, mark, strlen(mark)) == 0)
                line += strlen(mark);
        for (; line; line = next) {
                size_t n;

                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                n = strlen(line);
                if (n > 0 && line[n - 1] == '\r')
                        line[n - 1] = '\0';
                if (line[0] == '\0')
                        continue;
                r = parse_line(s, line, what, e);
                if (r < 0)
                        return r;
        }
        if (s->n == 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: it names no component", what);
        return 0;
}

int sbat_parse(const void *text, size_t n, const char *what, struct sbat **ret, struct error *e)
{
        _cleanup_(sbat_free_p) struct sbat *s = NULL;
        const uint8_t *p = text;
        int r;

        if (n > LIMIT_SBAT)
                return error_set(e, ERROR_REFUSED, E2BIG, "%s: %zu bytes, at most %llu", what, n,
                                 (unsigned long long)LIMIT_SBAT);
        while (n > 0 && p[n - 1] == '\0')
                n--;
        if (n > 0 && memchr(p, '\0', n))
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: NUL inside of the text", what);
        s = calloc(1, sizeof(*s));
        if (!s)
                return error_oom(e);
        s->text = strndup(n > 0 ? text : "", n);
        if (!s->text)
                return error_oom(e);
        r = parse_lines(s, what, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

const struct sbat_component *sbat_at(const struct sbat *s, unsigned i)
{
        return i < s->n ? &s->components[i] : NULL;
}

int sbat_level(const struct env *env, struct sbat **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_SBAT);
        struct error why = ERROR_INIT;
        int r;

        r = efivar_read(env, VARIABLE, EFIVAR_GUID_SHIM, &value, NULL);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "cannot read the variable %s: %s",
                                 VARIABLE, strerror(-r));
        r = sbat_parse(value.data, value.len, VARIABLE, ret, &why);
        if (r < 0) /* the machine is at fault, not an image */
                return error_set(e, ERROR_PRECONDITION, -r, "%s", why.text);
        return 1;
}

int sbat_check(const struct sbat *image, const struct sbat *level, struct error *e)
{
        int r;

        if (!level)
                return 0;
        if (!image) {
                r = error_set(e, ERROR_REFUSED, ENODATA,
                              "SBAT: this machine revokes by generation, and the image has no "
                              ".sbat section");
                error_advise(e, "Build the image with a boot stub that has one.");
                return r;
        }
        for (unsigned l = 0; l < level->n; l++)
                for (unsigned i = 0; i < image->n; i++) {
                        const struct sbat_component *have = &image->components[i],
                                                    *want = &level->components[l];

                        if (strcmp(have->name, want->name) != 0 ||
                            have->generation >= want->generation)
                                continue;
                        r = error_set(e, ERROR_REFUSED, ESTALE,
                                      "SBAT: the image's component %.64s has generation %llu, this "
                                      "machine demands at least %llu",
                                      have->name, (unsigned long long)have->generation,
                                      (unsigned long long)want->generation);
                        error_advise(e, "Build the image with a newer %.64s.", have->name);
                        return r;
                }
        return 0;
}
