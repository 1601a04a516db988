/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/report.h"
#include "base/codec.h"
#include "base/num.h"
#include "partition/luks.h"

static int check_tpm(struct install_plan *p, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        int r = tpm_open(p->env->tcti, &tpm, e);

        if (r == 0)
                r = tpm_check(tpm, e);
        if (r == 0)
                r = tpm_read_pcrs(tpm, INSTALL_LITERAL_PCRS, p->pcr7, e);
        return r;
}

static int check_disk(struct install_plan *p, const char *target, uint64_t esp_size,
                      struct error *e)
{
        uint64_t size;
        int r = disk_open(p->env, target, &p->disk, e);

        if (r < 0)
                return r;
        if (p->disk->read_only)
                return error_set(e, ERROR_PRECONDITION, EROFS, "%s is read-only", p->disk->path);
        /* From here on to the end: what is shown and asked about is what will be written to. */
        r = disk_lock(p->disk, e);
        if (r == 0)
                r = disk_partitions(p->disk, &p->lost, &p->n_lost, e);
        if (r == 0)
                r = layout_esp_size(image_size(p->source.image), esp_size, &size, e);
        if (r == 0)
                r = layout_plan(p->disk->size, p->disk->sector_size, size, &p->layout, e);
        return r < 0 ? error_wrap(e, r, "%s", p->disk->path) : 0;
}

/*
 * A run that was killed may have left its mapping, which would keep the disk busy. The names are
 * this program's alone and its lock is held, so whatever bears one is stale.
 */
int install_drop_stale(struct error *e)
{
        static const char *const names[] = {LAYOUT_OEM_NAME, LAYOUT_PERSISTENT_NAME};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char dm_name[64];
                struct error error = ERROR_INIT;
                int r;

                (void)snprintf(dm_name, sizeof(dm_name), INSTALL_DM_PREFIX "%s", names[i]);
                r = luks_deactivate(dm_name, &error);
                if (r < 0 && r != -ENODEV) {
                        *e = error;
                        return r;
                }
        }
        return 0;
}

static int check_source(struct install_plan *p, const struct install_wishes *wishes,
                        struct error *e)
{
        const struct machine_options options = {.fresh = true,
                                                .allow_downgrade = wishes->allow_downgrade};
        int r = machine_read(p->env, &options, &p->machine, e);

        return r < 0 ? r
                     : source_open(wishes->source, &p->machine.demands, true, &p->proofs,
                                   &p->source, e);
}

int install_prepare(const struct env *env, const struct install_wishes *wishes,
                    struct install_plan *ret, struct error *e)
{
        struct install_plan *p = ret;
        int r;

        *p = (struct install_plan){.env = env, .source = SOURCE_INIT};
        r = machine_check_secure_boot(env, e);
        if (r == 0)
                r = check_tpm(p, e);
        if (r == 0)
                r = check_source(p, wishes, e);
        if (r == 0)
                r = check_disk(p, wishes->target, wishes->esp_size, e);
        if (r < 0)
                install_plan_done(p);
        return r;
}

void install_plan_done(struct install_plan *p)
{
        source_done(&p->source);
        machine_done(&p->machine);
        disk_free(p->disk);
        p->disk = NULL;
        disk_free_partitions(p->lost, p->n_lost);
        p->lost = NULL;
        p->n_lost = 0;
}

/* What an operator should see before saying yes: everything that is not simply in order. */
static void describe_proofs(const struct install_plan *p)
{
        for (unsigned i = 0; i < PROOF_MAX; i++) {
                const struct proof *proof = &p->proofs.item[i];

                if (proof->state == PROOF_WARNING || proof->state == PROOF_OVERRIDDEN)
                        report_text(stderr, "%-8s %s: %s\n", proof_state_name(proof->state),
                                    proof_name((enum proof_id)i), proof->text);
        }
}

void install_describe(const struct install_plan *p)
{
        char size[32];

        report_text(stderr, "image    %s, version %s, %s\n", image_title(p->source.image),
                    *image_version(p->source.image) ? image_version(p->source.image) : "none",
                    format_size(image_size(p->source.image), size, sizeof(size)));
        report_text(stderr, "loader   systemd-boot %s\n", p->source.loader.version);
        describe_proofs(p);
        report_text(stderr, "disk     %s %s %s, %s\n", p->disk->path,
                    *p->disk->model ? p->disk->model : "(no model)",
                    *p->disk->serial ? p->disk->serial : "(no serial)",
                    format_size(p->disk->size, size, sizeof(size)));
        for (size_t i = 0; i < p->n_lost; i++)
                report_text(stderr, "  lost   %s, %s\n", p->lost[i].name,
                            format_size(p->lost[i].size, size, sizeof(size)));
        for (size_t i = 0; i < p->layout.n; i++)
                report_text(stderr, "  new    %u %s, %s\n", p->layout.partitions[i].number,
                            p->layout.partitions[i].name,
                            format_size(p->layout.partitions[i].size, size, sizeof(size)));
}

static int add_disk(struct json_object *root, const struct install_plan *p)
{
        struct json_object *o = json_object_new_object();
        int r = json_add_obj(root, "disk", o);

        if (r == 0)
                r = json_add_str(o, "path", p->disk->path);
        if (r == 0)
                r = json_add_str(o, "model", p->disk->model);
        if (r == 0)
                r = json_add_str(o, "serial", p->disk->serial);
        if (r == 0)
                r = json_add_u64(o, "size", p->disk->size);
        if (r == 0)
                r = json_add_u64(o, "sector_size", p->disk->sector_size);
        return r;
}

static int add_partition(struct json_object *array, const struct layout_partition *l)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_u64(o, "number", l->number);
        if (r == 0)
                r = json_add_str(o, "name", l->name);
        if (r == 0)
                r = json_add_str(o, "uuid", l->uuid);
        if (r == 0)
                r = json_add_u64(o, "start", l->start);
        if (r == 0)
                r = json_add_u64(o, "size", l->size);
        if (r == 0)
                r = json_add_bool(o, "encrypted", strcmp(l->name, LAYOUT_ESP_NAME) != 0);
        return r;
}

static int add_image(struct json_object *root, const struct install_plan *p)
{
        struct json_object *o = json_object_new_object();
        char hex[SHA256_HEX_SIZE];
        int r = json_add_obj(root, "image", o);

        if (r == 0)
                r = json_add_str(o, "source", p->source.image_path);
        if (r == 0)
                r = json_add_str(o, "title", image_title(p->source.image));
        if (r == 0)
                r = json_add_str(o, "version", image_version(p->source.image));
        if (r == 0)
                r = json_add_u64(o, "size", image_size(p->source.image));
        hex_encode(image_sha256(p->source.image), SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(o, "sha256", hex);
        hex_encode(image_pcr11(p->source.image), SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(o, "pcr11", hex);
        if (r == 0)
                r = json_add_str(o, "bootloader", p->source.loader.version);
        return r;
}

struct json_object *install_plan_json(const struct install_plan *p)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *new = json_object_new_array(), *lost = json_object_new_array();
        int r = json_add_obj(root, "partitions", new);

        if (json_add_obj(root, "lost", lost) < 0 || r < 0)
                return NULL;
        for (size_t i = 0; i < p->layout.n && r == 0; i++)
                r = add_partition(new, &p->layout.partitions[i]);
        for (size_t i = 0; i < p->n_lost && r == 0; i++)
                r = json_append(lost, json_object_new_string(p->lost[i].name));
        if (r == 0)
                r = add_disk(root, p);
        if (r == 0)
                r = add_image(root, p);
        if (r == 0)
                r = json_add_obj(root, "proofs", proofs_json(&p->proofs));
        return r < 0 ? NULL : TAKE_PTR(root);
}
