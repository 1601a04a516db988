/* SPDX-License-Identifier: Apache-2.0 */
/* User data, at every boot: read, turned into files for the engine of the image, and told. */

#include "agent/boot.h"
#include "agent/config_source.h"
#include "agent/userdata.h"
#include "agent/userdata_engine.h"
#include "base/log.h"

static void problem(struct boot *b, const char *text)
{
        log_warning("%s", text);
        boot_report_problem(b->report, text);
}

static void tell(struct boot *b, const struct config_problems *p)
{
        for (size_t i = 0; i < p->n; i++) {
                const struct config_problem *q = &p->item[i];
                struct error error = ERROR_INIT;

                (void)error_set(&error, ERROR_CONFIG, EBADMSG, "user data: %s:%u:%u: %s", q->file,
                                q->line, q->column, q->text);
                problem(b, error.text);
        }
        if (p->left_out > 0)
                problem(b, "user data: there are more mistakes, \"tb-agent config check\" shows "
                           "them");
}

/* What was used, in words that are no secret. */
static void report(struct boot *b, enum userdata_engine engine,
                   const struct config_documents *documents, const struct userdata *u,
                   const struct userdata_files *files)
{
        struct json_object *o = json_object_new_object(), *names = json_object_new_array(),
                           *given = json_object_new_array(), *paths = json_object_new_array();
        int r = json_add_str(o, "engine", userdata_engine_name(engine));

        for (size_t i = 0; i < documents->n && r == 0; i++)
                r = json_append(names, json_new_str(documents->item[i].name));
        for (const struct config_node *m = u ? u->tree->first : NULL; m && r == 0; m = m->next)
                r = json_append(given, json_new_str(m->key));
        for (size_t i = 0; i < files->n && r == 0; i++)
                r = json_append(paths, json_new_str(files->item[i].path));
        if (json_add_obj(o, "files", names) < 0 || json_add_obj(o, "given", given) < 0 ||
            json_add_obj(o, "written", paths) < 0 || r < 0)
                log_warning("user data: memory ran out for the report");
        boot_report_set_json(b->report, "user_data", o);
}

/* An engine that was not told where to look would look everywhere. */
static void switch_off(struct boot *b)
{
        struct userdata_files off = {.item = NULL};
        struct error error = ERROR_INIT;

        if (!userdata_files_add(&off, USERDATA_CLOUD_INIT_OFF, 0644))
                (void)error_oom(&error);
        else if (userdata_write(&off, b->env->root, &error) == 0)
                error_clear(&error);
        if (error.code != 0)
                problem(b, error.text);
        userdata_files_done(&off);
}

static int apply(struct boot *b, enum userdata_engine engine,
                 const struct config_documents *documents, struct config_problems *problems,
                 struct error *e)
{
        _cleanup_(userdata_free_p) struct userdata *u = NULL;
        struct userdata_files files = {.item = NULL};
        int r = userdata_make(documents->item, documents->n, problems, &u, e);

        if (r == 0 && engine == USERDATA_ENGINE_NONE && !userdata_empty(u))
                problem(b, "user data is left out: the image has neither cloud-init nor systemd");
        if (r == 0)
                r = userdata_engine_files(b->env, engine, u, problems, &files, e);
        if (r == 0)
                r = userdata_write(&files, b->env->root, e);
        if (r == 0)
                report(b, engine, documents, u, &files);
        userdata_files_done(&files);
        return r;
}

void boot_userdata(struct boot *b, struct boot_data data)
{
        _cleanup_(config_problems_done) struct config_problems problems = CONFIG_PROBLEMS_INIT;
        struct config_documents documents = {.item = NULL};
        struct error error = ERROR_INIT;
        bool dangerous;
        enum userdata_engine engine = userdata_engine_find(b->env, &dangerous);
        int r = config_source_read_at_boot(b->env, data.persistent, data.oem, &problems, &documents,
                                           &error);

        if (dangerous)
                problem(b, "user data: the serial number of this machine would lead cloud-init "
                           "elsewhere; cloud-init is not started");
        if (r == 0)
                r = apply(b, engine, &documents, &problems, &error);
        tell(b, &problems);
        if (r < 0) {
                (void)error_wrap(&error, r, "user data is not applied");
                problem(b, error.text);
                switch_off(b);
        }
        config_documents_free(documents.item, documents.n);
}
