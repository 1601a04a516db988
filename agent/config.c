/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <string.h>

#include "agent/config_check.h"
#include "agent/config_read.h"
#include "agent/config_source.h"
#include "agent/config_table.h"
#include "agent/config_yaml.h"

void config_free(struct config *c)
{
        if (!c)
                return;
        config_read_done(c);
        config_node_free(c->tree);
        config_documents_free(c->documents, c->n_documents);
        free(c);
}

const struct config_place *config_origin(const struct config *c, const char *path)
{
        const struct config_node *node = config_node_at(c->tree, path);

        return node && node != c->tree ? &node->at : NULL;
}

/* Whether the values of one file are right, each for itself. */
static int try_values(const struct config_node *tree, struct config_problems *problems)
{
        struct config *tried = calloc(1, sizeof(*tried));
        int r = tried ? config_read(tree, false, tried, problems) : -ENOMEM;

        if (tried)
                config_read_done(tried);
        free(tried);
        return r;
}

/* Reads one document and puts it over those before. */
static int add_document(struct config *c, const struct config_document *d,
                        struct config_problems *problems)
{
        struct config_node *tree;
        int r;

        config_problems_next(problems);
        tree = config_yaml_read(buf_str(&d->text), d->text.len, d->name, config_key_ours, problems);
        if (!tree)
                return -ENOMEM;
        r = tree->broken ? 0 : try_values(tree, problems);
        if (r == 0)
                config_node_merge(c->tree, tree);
        config_node_free(tree);
        return r;
}

static int make(struct config *c, struct config_problems *problems, struct error *e)
{
        int r = 0;

        c->tree = config_node_new(CONFIG_MAP, (struct config_place){.file = NULL});
        if (!c->tree)
                return error_oom(e);
        for (size_t i = 0; i < c->n_documents && r == 0; i++)
                r = add_document(c, &c->documents[i], problems);
        if (r < 0)
                return error_oom(e);
        r = config_problems_judge(problems, e);
        if (r < 0)
                return r;
        config_problems_next(problems);
        if (config_read(c->tree, true, c, problems) < 0)
                return error_oom(e);
        config_check(c, problems);
        return config_problems_judge(problems, e);
}

int config_make(struct config_document *documents, size_t n, struct config_problems *problems,
                struct config **ret, struct error *e)
{
        _cleanup_(config_free_p) struct config *c = calloc(1, sizeof(*c));
        int r;

        if (!c) {
                config_documents_free(documents, n);
                return error_oom(e);
        }
        c->documents = documents;
        c->n_documents = n;
        r = make(c, problems, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

int config_load(const struct env *env, const struct config_wish *wish,
                struct config_problems *problems, struct config **ret, struct error *e)
{
        struct config_documents list;
        int r = config_source_read(env, wish, problems, &list, e);

        return r < 0 ? r : config_make(list.item, list.n, problems, ret, e);
}
