/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent config: check configurations, show what they come to, print the schema. */
#include <stdio.h>
#include <string.h>

#include "agent/config.h"
#include "agent/config_schema.h"
#include "agent/config_show.h"
#include "agent/config_userdata.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/source_options.h"
#include "agent/stop.h"
#include "agent/verbs.h"

#define USER_DATA "user-data"

struct config_options {
        const char *action, *root, *engine;
        struct option_list sources;
        struct source_options from;
        bool use_default_dirs, json;
};

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent config check | show | user-data [FILE | URL | -]... [OPTION...]\n"
                "       tb-agent config schema\n\n"
                "Checks configurations (tb-agent-config(5)) and shows what they come to.\n\n"
                "  check      every mistake, with its place; exit status 0 or 4\n"
                "  show       the merged values, and where each was said\n"
                "  user-data  the files that a boot gives to the engine of user data; there may\n"
                "             be passwords in them\n"
                "  schema     the JSON schema of a configuration\n"
                "Later ones overrule earlier ones. Without FILE, URL or \"-\" (standard input): "
                "what is in\n"
                "/run/initramfs/live, /etc/kairos, /usr/local/cloud-config and /oem.\n\n"
                "  --use-default-dirs  also what is in those folders, before what is named\n"
                "  --engine ENGINE     cloud-init or systemd; default: what the image has\n"
                "  --ca FILE           PEM certificates to trust instead of the system's\n"
                "  --insecure HOST     HOST[:PORT] may be spoken to without TLS; several times\n"
                "  --attempts N        tries of a step that fails for the moment\n"
                "  --root DIR          the node's root is mounted there\n"
                "  --json              print JSON\n"
                "  --help              show this text\n");
}

/* --- problems ----------------------------------------------------------------------------------*/

static int add_problem(struct json_object *array, const struct config_problem *q)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "file", q->file);
        if (r == 0)
                r = json_add_u64(o, "line", q->line);
        if (r == 0)
                r = json_add_u64(o, "column", q->column);
        if (r == 0)
                r = json_add_str(o, "text", q->text);
        if (r == 0)
                r = json_add_str(o, "advice", *q->advice ? q->advice : NULL);
        return r;
}

static int add_problems(struct json_object *root, const struct config_problems *p)
{
        static const char *const names[] = {"errors", "warnings"};
        int r = 0;

        for (unsigned warning = 0; warning < ARRAY_SIZE(names) && r == 0; warning++) {
                struct json_object *array = json_object_new_array();

                r = json_add_obj(root, names[warning], array);
                for (size_t i = 0; i < p->n && r == 0; i++) {
                        if (p->item[i].warning == (warning == 1))
                                r = add_problem(array, &p->item[i]);
                }
        }
        return r < 0 ? r : json_add_u64(root, "left_out", p->left_out);
}

/* --- results -----------------------------------------------------------------------------------*/

static int add_files(struct json_object *root, const struct config *c)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "files", array);

        for (size_t i = 0; i < c->n_documents && r == 0; i++)
                r = json_append(array, json_new_str(c->documents[i].name));
        return r;
}

/* c NULL: it is wrong beyond use; why says the first reason when anything is wrong. */
static int print_json(const struct config_options *o, const struct config_problems *p,
                      const struct config *c, const struct userdata_files *files,
                      const struct error *why, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("config");
        int r = json_add_str(root, "action", o->action);

        if (r == 0)
                r = json_add_bool(root, "valid", why->code == 0);
        if (r == 0)
                r = add_problems(root, p);
        if (r == 0 && c)
                r = add_files(root, c);
        if (r == 0 && c && strcmp(o->action, "show") == 0)
                r = json_add_obj(root, "values", config_show_json(c));
        if (r == 0 && c && strcmp(o->action, USER_DATA) == 0)
                r = json_add_obj(root, "written", config_userdata_json(files));
        if (r == 0 && why->code != 0)
                r = report_add_error(root, why);
        return r < 0 ? error_oom(e) : report_print(root, e);
}

static int print_text(const struct config_options *o, const struct config_problems *p,
                      const struct config *c, const struct userdata_files *files)
{
        config_problems_print(p);
        if (!c)
                report_text(stderr, "tb-agent: %u %s\n", p->errors + p->left_out,
                            p->errors + p->left_out == 1 ? "error" : "errors");
        else if (strcmp(o->action, "show") == 0)
                return config_show_text(c, stdout);
        else if (strcmp(o->action, USER_DATA) == 0)
                config_userdata_print(files);
        else
                report_text(stdout, "%zu %s, no errors\n", c->n_documents,
                            c->n_documents == 1 ? "file" : "files");
        return 0;
}

/* A configuration whose user data is wrong is wrong. */
static int load(const struct env *env, const struct config_options *o,
                struct config_problems *problems, struct userdata_files *files, struct config **ret,
                struct error *e)
{
        _cleanup_(config_free_p) struct config *c = NULL;
        bool user_data = strcmp(o->action, USER_DATA) == 0;
        struct fetch_options fetch;
        const struct config_wish wish = {.sources = o->sources.item,
                                         .n_sources = o->sources.n,
                                         .known_folders = o->use_default_dirs,
                                         .fetch = &fetch};
        int r;

        source_fetch_options(&o->from, &fetch);
        r = config_load(env, &wish, problems, &c, e);
        if (r == 0 && strcmp(o->action, "show") != 0)
                r = config_userdata_make(env, c, o->engine, user_data, problems, files, e);
        /* What a boot does with the rest is worth seeing. */
        if (r == 0 || (user_data && r == -EBADMSG))
                *ret = TAKE_PTR(c);
        return r;
}

static int print(const struct config_options *o, const struct config_problems *problems,
                 const struct config *c, const struct userdata_files *files,
                 const struct error *why, struct error *e)
{
        if (o->json)
                return print_json(o, problems, c, files, why, e);
        return print_text(o, problems, c, files) < 0 ? error_oom(e) : 0;
}

static int run(const struct env *env, const struct config_options *o)
{
        _cleanup_(config_problems_done) struct config_problems problems = CONFIG_PROBLEMS_INIT;
        _cleanup_(config_free_p) struct config *c = NULL;
        struct userdata_files files = {.item = NULL};
        struct error error = ERROR_INIT, output = ERROR_INIT;
        int r = stop_prepare(&error), printed;

        if (r == 0)
                r = load(env, o, &problems, &files, &c, &error);
        /* No configuration was wrong: one could not be had. */
        if (r < 0 && problems.errors == 0) {
                if (!o->json)
                        config_problems_print(&problems);
                userdata_files_done(&files);
                return report_failure("config", o->json, &error);
        }
        printed = print(o, &problems, c, &files, &error, &output);
        userdata_files_done(&files);
        if (printed < 0)
                return report_failure("config", o->json, &output);
        return r < 0 ? error_failure_code(&error) : 0;
}

static int print_schema(struct error *e)
{
        _cleanup_json_ struct json_object *schema = config_schema();
        const char *text =
                schema ? json_object_to_json_string_ext(
                                 schema, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                 JSON_C_TO_STRING_NOSLASHESCAPE)
                       : NULL;

        if (!text)
                return error_oom(e);
        (void)printf("%s\n", text);
        return 0;
}

/* --- command line ------------------------------------------------------------------------------*/

static int check_action(const struct config_options *o, struct error *e)
{
        static const char *const actions[] = {"check", "show", USER_DATA, "schema"};

        for (size_t i = 0; i < ARRAY_SIZE(actions) && o->action; i++) {
                if (strcmp(o->action, actions[i]) != 0)
                        continue;
                if (i == 3 && o->sources.n > 0)
                        return error_set(e, ERROR_USAGE, EINVAL, "unexpected argument \"%s\"",
                                         o->sources.item[0]);
                return 0;
        }
        error_set(e, ERROR_USAGE, EINVAL, "%s%s",
                  o->action ? "unknown action " : "an action is missing", o->action ?: "");
        error_advise(e, "give one of check, show, user-data, schema");
        return -EINVAL;
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct config_options *o, struct error *e)
{
        const struct option_spec specs[] = {
                {"", OPTION_LIST, &o->sources},
                {"use-default-dirs", OPTION_FLAG, &o->use_default_dirs},
                {"engine", OPTION_TEXT, &o->engine},
                {"ca", OPTION_TEXT, &o->from.ca},
                {"insecure", OPTION_LIST, &o->from.insecure},
                {"attempts", OPTION_NUMBER, &o->from.attempts},
                {"root", OPTION_TEXT, &o->root},
                {"json", OPTION_FLAG, &o->json},
        };
        int r;

        o->action = options_action(&argc, &argv);
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, e);
        if (r > 0)
                print_help();
        return r != 0 ? r : check_action(o, e);
}

int verb_config(const struct env *env, int argc, char **argv)
{
        _cleanup_(root_done) struct root root = {.n = 0};
        struct config_options options = {.action = NULL};
        struct error error = ERROR_INIT;
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        if (r == 0 && strcmp(options.action, "schema") == 0) {
                r = print_schema(&error);
                return r < 0 ? report_failure("config", options.json, &error) : 0;
        }
        if (r == 0)
                r = root_make(env, options.root, NULL, &root, &error);
        if (r < 0)
                return report_failure("config", options.json, &error);
        return run(&root.env, &options);
}
