/* SPDX-License-Identifier: Apache-2.0 */
/* Findings: collecting them, and as JSON. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/doctor.h"

void doctor_list_done(struct doctor_list *l)
{
        free(l->item);
        *l = (struct doctor_list){.n = 0};
}

static struct doctor_finding *add(struct doctor_list *l)
{
        struct doctor_finding *grown;

        if (l->n == DOCTOR_FINDINGS_MAX) {
                l->incomplete = true;
                return NULL;
        }
        grown = reallocarray(l->item, l->n + 1, sizeof(*grown));
        if (!grown) {
                l->incomplete = true;
                return NULL;
        }
        l->item = grown;
        return &l->item[l->n++];
}

struct doctor_finding *doctor_add(struct doctor_list *l, enum doctor_area area,
                                  enum doctor_severity severity, const char *id,
                                  const char *subject, const char *advice, const char *fmt, ...)
{
        struct doctor_finding *f = add(l);
        va_list ap;

        if (!f)
                return NULL;
        *f = (struct doctor_finding){.area = area, .severity = severity, .id = id};
        (void)snprintf(f->subject, sizeof(f->subject), "%s", subject ?: "");
        (void)snprintf(f->advice, sizeof(f->advice), "%s", advice ?: "");
        va_start(ap, fmt);
        (void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
        va_end(ap);
        return f;
}

void doctor_add_error(struct doctor_list *l, enum doctor_area area, enum doctor_severity severity,
                      const char *id, const char *subject, const struct error *e)
{
        (void)doctor_add(l, area, severity, id, subject, error_advice(e), "%s", e->text);
}

const char *doctor_severity_name(enum doctor_severity s)
{
        static const char *const names[DOCTOR_SEVERITY_MAX] = {[DOCTOR_OK] = "ok",
                                                               [DOCTOR_NOTE] = "note",
                                                               [DOCTOR_WARNING] = "warning",
                                                               [DOCTOR_PROBLEM] = "problem"};

        return s < DOCTOR_SEVERITY_MAX ? names[s] : NULL;
}

const char *doctor_area_name(enum doctor_area a)
{
        static const char *const names[DOCTOR_AREA_MAX] = {
                [DOCTOR_TPM] = "tpm",         [DOCTOR_MEASUREMENTS] = "measurements",
                [DOCTOR_DATA] = "data",       [DOCTOR_ESP] = "esp",
                [DOCTOR_ENTRIES] = "entries", [DOCTOR_FIRMWARE] = "firmware",
                [DOCTOR_MEMORY] = "memory"};

        return a < DOCTOR_AREA_MAX ? names[a] : NULL;
}

unsigned doctor_count(const struct doctor_list *l, enum doctor_severity s)
{
        unsigned n = 0;

        for (size_t i = 0; i < l->n; i++)
                n += l->item[i].severity == s;
        return n;
}

const struct doctor_finding *doctor_find(const struct doctor_list *l, const char *id,
                                         const char *subject)
{
        for (size_t i = 0; i < l->n; i++) {
                if (strcmp(l->item[i].id, id) == 0 &&
                    (!subject || strcmp(l->item[i].subject, subject) == 0))
                        return &l->item[i];
        }
        return NULL;
}

static int add_finding(struct json_object *array, const struct doctor_finding *f)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "area", doctor_area_name(f->area));
        if (r == 0)
                r = json_add_str(o, "severity", doctor_severity_name(f->severity));
        if (r == 0)
                r = json_add_str(o, "id", f->id);
        if (r == 0)
                r = json_add_str(o, "subject", *f->subject ? f->subject : NULL);
        if (r == 0)
                r = json_add_str(o, "text", f->text);
        return r < 0 ? r : json_add_str(o, "advice", *f->advice ? f->advice : NULL);
}

int doctor_json(const struct doctor_list *l, struct json_object *root)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "findings", array);

        if (r == 0)
                r = json_add_u64(root, "problems", doctor_count(l, DOCTOR_PROBLEM));
        if (r == 0)
                r = json_add_u64(root, "warnings", doctor_count(l, DOCTOR_WARNING));
        if (r == 0)
                r = json_add_u64(root, "notes", doctor_count(l, DOCTOR_NOTE));
        if (r == 0)
                r = json_add_bool(root, "incomplete", l->incomplete);
        for (size_t i = 0; i < l->n && r == 0; i++)
                r = add_finding(array, &l->item[i]);
        return r;
}
