/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

struct json_object *report_new(const char *verb)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();

        if (!o || json_add_u64(o, "schema", REPORT_SCHEMA) < 0 || json_add_str(o, "verb", verb) < 0)
                return NULL;
        return TAKE_PTR(o);
}

void report_text(FILE *f, const char *fmt, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return; /* no memory for a line of text: the exit code says how things stand */
        }
        for (char *p = text; *p; p++) {
                if (((unsigned char)*p < ' ' && *p != '\n') || *p == 0x7f)
                        *p = '?';
        }
        (void)fputs(text, f);
}

int report_print(struct json_object *document, struct error *e)
{
        const char *text = json_object_to_json_string_ext(
                document, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (!text)
                return error_oom(e);
        if (printf("%s\n", text) < 0 || fflush(stdout) != 0)
                return error_errno(e, errno, "standard output");
        return 0;
}

int report_add_error(struct json_object *document, const struct error *e)
{
        struct json_object *o = json_object_new_object();
        int r = json_add_obj(document, "error", o);

        if (r == 0)
                r = json_add_str(o, "class", error_class_name(e->class));
        if (r == 0)
                r = json_add_u64(o, "exit_code", (uint64_t)error_exit_code(e->class));
        if (r == 0)
                r = json_add_str(o, "text", e->text);
        if (r == 0)
                r = json_add_str(o, "advice", error_advice(e));
        return r;
}

static int print_json(const char *verb, const struct error *e)
{
        _cleanup_json_ struct json_object *o = report_new(verb);
        int r = report_add_error(o, e);

        return r < 0 ? r : report_print(o, NULL);
}

static void print_text(const char *verb, const struct error *e)
{
        const char *advice = error_advice(e);

        if (log_get_format() == LOG_FORMAT_JSON) {
                log_error("%s: %s", verb, e->text);
                if (advice)
                        log_info("%s", advice);
                return;
        }
        report_text(stderr, "tb-agent %s: %s\n", verb, e->text);
        if (advice)
                report_text(stderr, "%s\n", advice);
}

int report_failure(const char *verb, bool json, const struct error *e)
{
        struct error unknown = ERROR_INIT;

        if (e->class == ERROR_NONE) {
                error_set(&unknown, ERROR_INTERNAL, EINVAL, "failed without a reason");
                e = &unknown;
        }
        if (!json || print_json(verb, e) < 0) {
                /* What was said so far comes first, also where both end in one pipe. */
                (void)fflush(stdout);
                print_text(verb, e);
        }
        return error_exit_code(e->class);
}
