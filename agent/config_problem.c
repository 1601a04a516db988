/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_problem.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/report.h"
#include "base/limits.h"

/* Words longer than any key are not compared. */
#define WORD_MAX 48u
/* Edits that still count as a slip. */
#define SLIPS_MAX 3u

void config_problems_done(struct config_problems *p)
{
        for (size_t i = 0; i < p->n; i++)
                free(p->item[i].file);
        free(p->item);
        *p = (struct config_problems)CONFIG_PROBLEMS_INIT;
}

void config_problems_next(struct config_problems *p)
{
        p->file_errors = p->file_warnings = 0;
}

/* Room for one more; NULL when it is not to be kept. */
static struct config_problem *add(struct config_problems *p, struct config_place at, bool warning)
{
        unsigned *of_file = warning ? &p->file_warnings : &p->file_errors;
        struct config_problem *more;

        p->kept = false;
        if (*of_file >= LIMIT_CONFIG_PROBLEMS) {
                p->left_out++;
                return NULL;
        }
        more = realloc(p->item, (p->n + 1) * sizeof(*more));
        if (!more) {
                p->no_memory = true;
                return NULL;
        }
        p->item = more;
        more += p->n;
        *more = (struct config_problem){
                .file = strdup(at.file ?: ""), .line = at.line, .column = at.column};
        if (!more->file) {
                p->no_memory = true;
                return NULL;
        }
        more->warning = warning;
        p->kept = true;
        p->n++;
        (*of_file)++;
        *(warning ? &p->warnings : &p->errors) += 1;
        return more;
}

/* What a file says may hold bytes that a terminal obeys. */
static void make_safe(char *text)
{
        for (; *text; text++) {
                if (iscntrl((unsigned char)*text))
                        *text = '?';
        }
}

void config_error(struct config_problems *p, struct config_place at, const char *fmt, ...)
{
        struct config_problem *new = p ? add(p, at, false) : NULL;
        va_list ap;

        if (!new)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(new->text, sizeof(new->text), fmt, ap); /* cut is still a message */
        va_end(ap);
        make_safe(new->text);
}

void config_warning(struct config_problems *p, struct config_place at, const char *fmt, ...)
{
        struct config_problem *new = p ? add(p, at, true) : NULL;
        va_list ap;

        if (!new)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(new->text, sizeof(new->text), fmt, ap);
        va_end(ap);
        make_safe(new->text);
}

void config_advise(struct config_problems *p, const char *fmt, ...)
{
        struct config_problem *last = p && p->kept ? &p->item[p->n - 1] : NULL;
        va_list ap;

        if (!last || *last->advice)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(last->advice, sizeof(last->advice), fmt, ap);
        va_end(ap);
        make_safe(last->advice);
}

int config_problems_judge(const struct config_problems *p, struct error *e)
{
        unsigned others = p->errors + p->left_out - 1;

        if (p->no_memory)
                return error_oom(e);
        for (size_t i = 0; i < p->n; i++) {
                const struct config_problem *q = &p->item[i];

                if (q->warning)
                        continue;
                error_set(e, ERROR_CONFIG, EBADMSG, "%s:%u:%u: %s", q->file, q->line, q->column,
                          q->text);
                if (*q->advice)
                        error_advise(e, "%s", q->advice);
                else if (others > 0)
                        error_advise(e, "\"tb-agent config check\" shows the other errors, too");
                return -EBADMSG;
        }
        return 0;
}

/* --- words that look alike ---------------------------------------------------------------------*/

static int letter(char c)
{
        return c == '_' ? '-' : tolower((unsigned char)c);
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
        unsigned m = a < b ? a : b;

        return m < c ? m : c;
}

/* Insertions, deletions, replacements, and neighbours that changed places. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
        unsigned row[WORD_MAX + 1][WORD_MAX + 1];

        for (size_t i = 0; i <= n; i++) {
                for (size_t j = 0; j <= m; j++) {
                        unsigned cost;

                        if (i == 0 || j == 0) {
                                row[i][j] = (unsigned)(i + j);
                                continue;
                        }
                        cost = letter(a[i - 1]) != letter(b[j - 1]);
                        row[i][j] = least(row[i - 1][j] + 1, row[i][j - 1] + 1,
                                          row[i - 1][j - 1] + cost);
                        if (i > 1 && j > 1 && letter(a[i - 1]) == letter(b[j - 2]) &&
                            letter(a[i - 2]) == letter(b[j - 1]) &&
                            row[i - 2][j - 2] + 1 < row[i][j])
                                row[i][j] = row[i - 2][j - 2] + 1;
                }
        }
        return row[n][m];
}

const char *config_nearest(const char *word, const char *const *candidates)
{
        size_t n = strlen(word);
        unsigned best = (unsigned)(n + 2) / 3;
        const char *found = NULL;

        if (n > WORD_MAX)
                return NULL;
        best = best < SLIPS_MAX ? best : SLIPS_MAX;
        for (; *candidates; candidates++) {
                size_t m = strlen(*candidates);
                unsigned d = m <= WORD_MAX ? distance(word, n, *candidates, m) : UINT32_MAX;

                if (d < best || (d == best && !found)) {
                        best = d;
                        found = *candidates;
                }
        }
        return found;
}

void config_problems_print(const struct config_problems *p)
{
        for (size_t i = 0; i < p->n; i++) {
                const struct config_problem *q = &p->item[i];

                report_text(stderr, "%s:%u:%u: %s%s%s%s\n", q->file, q->line, q->column,
                            q->warning ? "warning: " : "", q->text, *q->advice ? "; " : "",
                            q->advice);
        }
        if (p->left_out > 0)
                report_text(stderr, "and %u more\n", p->left_out);
}
