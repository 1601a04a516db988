/* SPDX-License-Identifier: Apache-2.0 */
/* What "enroll" tells of itself. */
#include "agent/enroll.h"

#include <stdio.h>
#include <string.h>

#include "agent/report.h"

static int add_changes(struct json_object *root, const struct enroll *n)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "changes", array);

        for (unsigned i = 0; i < n->n_changes && r == 0; i++) {
                struct json_object *o = json_object_new_object();

                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "volume", n->change[i].volume);
                if (r == 0)
                        r = json_add_str(o, "change", n->change[i].added ? "added" : "removed");
                if (r == 0)
                        r = json_add_str(o, "text", n->change[i].what);
        }
        return r;
}

static int add_warnings(struct json_object *root, const struct enroll *n)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "warnings", array);

        for (unsigned i = 0; i < n->n_warnings && r == 0; i++)
                r = json_append(array, json_new_str(n->warning[i]));
        for (unsigned i = 0; i < n->escrow.n_warnings && r == 0; i++)
                r = json_append(array, json_new_str(n->escrow.warnings[i]));
        return r;
}

int enroll_add_report(const struct enroll *n, struct json_object *root)
{
        int r = json_add_obj(root, "images", starters_json(&n->starters));

        if (r == 0)
                r = json_add_obj(root, "volumes", ways_json(&n->ways, &n->starters));
        if (r == 0)
                r = add_changes(root, n);
        return r < 0 ? r : add_warnings(root, n);
}

static void print_images(const struct starters *s)
{
        for (unsigned i = 0; i < s->n; i++) {
                const struct starter *item = &s->item[i];
                char roles[STARTERS_ROLES_SIZE];

                starters_roles(item, roles);
                report_text(stdout, "%s  %-17s version %s, %s%s%s%s\n", item->file, roles,
                            item->version, item->image ? "starts" : "does not start",
                            item->running ? ", runs now" : "", item->error.code ? ": " : "",
                            item->error.code ? item->error.text : "");
        }
}

static void print_volume(const struct ways_volume *v)
{
        report_text(stdout, "%s on %s\n", v->volume->partition->name, v->device);
        for (unsigned i = 0; i < v->n; i++) {
                const struct way *w = &v->way[i];
                bool used = *w->id && strcmp(w->id, v->unlocked_with) == 0;

                report_text(stdout, "  %2d  %-12s %-17s %s%s%s\n", w->number,
                            w->token                       ? w->token->pin ? "TPM and PIN" : "TPM"
                            : w->state == WAY_RECOVERY_KEY ? "recovery key"
                                                           : "unknown",
                            w->id, way_state_name(w->state), *w->why ? ": " : "", w->why);
                if (used)
                        report_text(stdout, "      %30s opened this boot\n", "");
        }
        for (int slot = 0; slot < LIMIT_LUKS_KEYSLOTS; slot++)
                if (v->unnamed & UINT32_C(1) << slot)
                        report_text(stdout,
                                    "      unknown      key slot %-8d of no token: \"tb-agent "
                                    "enroll finish\" wipes it\n",
                                    slot);
}

void enroll_print(const struct enroll *n)
{
        print_images(&n->starters);
        for (unsigned i = 0; i < n->ways.n; i++)
                print_volume(&n->ways.volume[i]);
        for (unsigned i = 0; i < n->n_changes; i++)
                report_text(stdout, "%s%s %s: %s\n", n->options->dry_run ? "would be " : "",
                            n->change[i].added ? "added to" : "removed from", n->change[i].volume,
                            n->change[i].what);
}
