/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset.h"

#include "agent/moment.h"
#include "agent/pcr_choice.h"
#include "agent/report.h"
#include "base/codec.h"

static int add_disk(struct json_object *root, const struct disk *d)
{
        struct json_object *o = d ? json_object_new_object() : NULL;
        int r = d ? json_add_obj(root, "disk", o) : json_add_null(root, "disk");

        if (!d || r < 0)
                return r;
        r = json_add_str(o, "path", d->path);
        if (r == 0)
                r = json_add_str(o, "model", d->model);
        if (r == 0)
                r = json_add_str(o, "serial", d->serial);
        if (r == 0)
                r = json_add_str(o, "wwn", d->wwn);
        if (r == 0)
                r = json_add_u64(o, "size", d->size);
        return r;
}

static int add_image(struct json_object *root, const struct reset_report *report)
{
        struct json_object *o = json_object_new_object();
        char hex[SHA256_HEX_SIZE];
        int r = json_add_obj(root, "image", o);

        hex_encode(report->sha256, SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(o, "version", *report->version ? report->version : NULL);
        if (r == 0)
                r = json_add_str(o, "sha256", report->has_image ? hex : NULL);
        if (r == 0)
                r = json_add_bool(o, "copied", report->copied);
        return r;
}

static int add_erased(struct json_object *o, const struct erase_report *erased)
{
        int r = json_add_u64(o, "overwritten", erased->overwritten);

        if (r == 0)
                r = json_add_bool(o, "verified", erased->overwritten > 0);
        if (r == 0)
                r = json_add_bool(o, "discarded", erased->discarded);
        if (r == 0)
                r = json_add_bool(o, "zeroed", erased->zeroed);
        if (r == 0)
                r = json_add_bool(o, "reads_zero", erased->reads_zero);
        return r;
}

static int add_volume(struct json_object *array, const struct reset_volume *v,
                      const struct reset_volume_report *report)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "name", v->name);
        if (r == 0)
                r = json_add_str(o, "partition", v->partition);
        if (r == 0)
                r = json_add_str(o, "old_uuid", *v->uuid ? v->uuid : NULL);
        if (r == 0)
                r = json_add_str(o, "new_uuid", *report->new_uuid ? report->new_uuid : NULL);
        if (r == 0)
                r = json_add_bool(o, "earlier", report->earlier);
        return r < 0 || report->earlier ? r : add_erased(o, &report->erased);
}

struct json_object *reset_certificate(const struct reset_world *w, const struct reset_journal *j,
                                      const struct reset_report *report)
{
        _cleanup_json_ struct json_object *root = report_new("reset");
        struct json_object *volumes = json_object_new_array();
        int r = json_add_obj(root, "erased", volumes);

        if (r == 0)
                r = json_add_str(root, "id", j->id);
        if (r == 0)
                r = json_add_u64(root, "begun", j->time);
        if (r == 0)
                r = json_add_u64(root, "time", moment_now());
        if (r == 0)
                r = json_add_str(root, "agent", TB_VERSION);
        if (r == 0)
                r = json_add_bool(root, "resumed", report->resumed);
        if (r == 0)
                r = add_disk(root, w->disk);
        if (r == 0)
                r = add_image(root, report);
        if (r == 0)
                r = json_add_obj(root, "pcrs", pcr_choice_json(PCR_CHOICE_SIGNED | j->pcrs));
        if (r == 0)
                r = json_add_bool(root, "pin", j->pin);
        for (size_t i = 0; i < j->n && r == 0; i++)
                r = add_volume(volumes, &j->volume[i], &report->volume[i]);
        return r < 0 ? NULL : TAKE_PTR(root);
}
