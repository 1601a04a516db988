/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations from texts, for tests. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "agent/config.h"
#include "base/limits.h"

struct config_run {
        struct config *c; /* NULL: it was refused */
        struct config_problems problems;
        struct error error;
};

#define CONFIG_RUN_INIT                                                                            \
        {                                                                                          \
                .c = NULL, .problems = CONFIG_PROBLEMS_INIT                                        \
        }

static inline void config_run_done(struct config_run *run)
{
        config_free(run->c);
        run->c = NULL;
        config_problems_done(&run->problems);
        error_clear(&run->error);
}

/* Documents of any bytes, named a.yaml, b.yaml ... */
static inline int config_run_bytes(struct config_run *run, const char *const *texts,
                                   const size_t *sizes, size_t n)
{
        struct config_document *d = calloc(n + 1, sizeof(*d));

        assert_non_null(d);
        for (size_t i = 0; i < n; i++) {
                d[i].text = (struct buf)BUF_INIT(LIMIT_CONFIG_DOCUMENT + 1);
                assert_true(asprintf(&d[i].name, "%c.yaml", (char)('a' + i)) > 0);
                assert_int_equal(buf_add(&d[i].text, texts[i], sizes[i]), 0);
        }
        return config_make(d, n, &run->problems, &run->c, &run->error);
}

static inline int config_run(struct config_run *run, const char *a, const char *b, const char *c)
{
        const char *texts[] = {a, b ?: "", c ?: ""};
        const size_t sizes[] = {strlen(a), b ? strlen(b) : 0, c ? strlen(c) : 0};

        return config_run_bytes(run, texts, sizes, c ? 3 : b ? 2 : 1);
}

/* "a.yaml:3:5: text; advice", as the program prints it. */
static inline void config_run_line(const struct config_problem *p, char *buf, size_t n)
{
        (void)snprintf(buf, n, "%s:%u:%u: %s%s%s%s", p->file, p->line, p->column,
                       p->warning ? "warning: " : "", p->text, *p->advice ? "; " : "", p->advice);
}
