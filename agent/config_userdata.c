/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_userdata.h"

#include <stdio.h>

#include "agent/userdata_engine.h"

static int choose(const struct env *env, const char *name, bool find, enum userdata_engine *ret,
                  struct error *e)
{
        bool dangerous;

        *ret = USERDATA_ENGINE_NONE;
        if (name && userdata_engine_parse(name, ret) < 0) {
                error_set(e, ERROR_USAGE, EINVAL, "unknown engine \"%s\"", name);
                error_advise(e, "give one of cloud-init, systemd");
                return -EINVAL;
        }
        if (!name && find)
                *ret = userdata_engine_find(env, &dangerous);
        return 0;
}

int config_userdata_make(const struct env *env, const struct config *c, const char *engine,
                         bool find, struct config_problems *problems, struct userdata_files *files,
                         struct error *e)
{
        _cleanup_(userdata_free_p) struct userdata *u = NULL;
        enum userdata_engine chosen;
        int r = choose(env, engine, find, &chosen, e);

        if (r == 0)
                r = userdata_make(c->documents, c->n_documents, problems, &u, e);
        if (r == 0 && chosen != USERDATA_ENGINE_NONE)
                r = userdata_engine_files(env, chosen, u, problems, files, e);
        return r < 0 ? r : config_problems_judge(problems, e);
}

int config_userdata_check(const struct env *env, const struct config *c,
                          struct config_problems *problems, struct error *e)
{
        struct userdata_files files = {.item = NULL};
        int r = config_userdata_make(env, c, NULL, true, problems, &files, e);

        userdata_files_done(&files);
        return r;
}

int config_load_checked(const struct env *env, const struct config_wish *wish, struct config **ret,
                        struct error *e)
{
        _cleanup_(config_problems_done) struct config_problems problems = CONFIG_PROBLEMS_INIT;
        int r = config_load(env, wish, &problems, ret, e);

        if (r == 0)
                r = config_userdata_check(env, *ret, &problems, e);
        config_problems_print(&problems);
        return r;
}

void config_userdata_print(const struct userdata_files *files)
{
        for (size_t i = 0; i < files->n; i++) {
                const struct userdata_file *f = &files->item[i];
                const char *text = buf_str(&f->content);

                (void)printf("==> %04o %s\n%s", f->mode & 07777u, f->path, text);
                if (f->content.len > 0 && text[f->content.len - 1] != '\n')
                        (void)printf("\n");
        }
}

static int add_file(struct json_object *array, const struct userdata_file *f)
{
        struct json_object *o = json_object_new_object();
        char mode[8];
        int r = json_append(array, o);

        (void)snprintf(mode, sizeof(mode), "%04o", f->mode & 07777u);
        if (r == 0)
                r = json_add_str(o, "path", f->path);
        if (r == 0)
                r = json_add_str(o, "mode", mode);
        return r < 0 ? r : json_add_str(o, "content", buf_str(&f->content));
}

struct json_object *config_userdata_json(const struct userdata_files *files)
{
        _cleanup_json_ struct json_object *array = json_object_new_array();
        int r = array ? 0 : -ENOMEM;

        for (size_t i = 0; i < files->n && r == 0; i++)
                r = add_file(array, &files->item[i]);
        return r < 0 ? NULL : TAKE_PTR(array);
}
