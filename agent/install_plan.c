/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install.h"

#include <fcntl.h>
#include <inttypes.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "agent/golden_tpm.h"
#include "agent/install_auto.h"
#include "agent/install_choose.h"
#include "agent/install_keep.h"
#include "agent/moment.h"
#include "agent/pcr_choice.h"
#include "agent/report.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/luks.h"
#include "partition/module.h"

static bool knows_filesystem(const struct env *env, const char *name)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_free_ char *path = NULL, *line = NULL;

        /* "\text4\n", "nodev\ttmpfs\n" */
        if (asprintf(&path, "%s/filesystems", env->proc) < 0) {
                path = NULL;
                return false;
        }
        if (asprintf(&line, "\t%s\n", name) < 0) {
                line = NULL;
                return false;
        }
        return file_read(AT_FDCWD, path, &list) == 0 && strstr(buf_str(&list), line);
}

static int lacks(const char *what, struct error *e)
{
        error_set(e, ERROR_PRECONDITION, ENODEV, "this kernel has no %s", what);
        error_advise(e, "install from a live session of the image itself");
        return -ENODEV;
}

/* An installation that cannot be finished must not begin: what it needs of the kernel is there
 * before anything is destroyed. */
static int check_kernel(const struct env *env, struct error *e)
{
        static const char *const modules[] = {"vfat", "ext4", "dm_mod", "dm_crypt"};
        _cleanup_(module_close_p) struct module_loader *loader = NULL;
        _cleanup_free_ char *mapper = NULL;
        int r = module_open(env, &loader, e);

        for (size_t i = 0; i < ARRAY_SIZE(modules) && r == 0; i++)
                r = module_load(loader, modules[i], e);
        if (r < 0)
                return r;
        if (asprintf(&mapper, "%s/class/misc/device-mapper", env->sysfs) < 0) {
                mapper = NULL;
                return error_oom(e);
        }
        if (!knows_filesystem(env, "vfat"))
                return lacks("vfat, which the EFI system partition needs", e);
        if (!knows_filesystem(env, "ext4"))
                return lacks("ext4, which the data partitions need", e);
        return file_exists(AT_FDCWD, mapper)
                       ? 0
                       : lacks("device-mapper, which encrypted partitions need", e);
}

static void add_loss(struct install_plan *p, const char *name, uint64_t size,
                     const struct disk_content *content)
{
        struct install_loss *l = &p->lost[p->n_lost++];

        (void)snprintf(l->name, sizeof(l->name), "%s", name);
        l->size = size;
        l->content = *content;
}

/* What cannot be read is lost all the same. */
static int find_losses(struct install_plan *p, struct error *e)
{
        struct disk_content content;
        struct disk_partition *list;
        size_t n;
        int r = disk_partitions(p->disk, &list, &n, e);

        if (r < 0)
                return r;
        p->lost = calloc(n + 1, sizeof(*p->lost));
        if (!p->lost)
                r = error_oom(e);
        if (r == 0 && disk_content_read(p->disk->path, &content, NULL) == 0 && *content.type)
                add_loss(p, p->disk->name, p->disk->size, &content);
        for (size_t i = 0; i < n && r == 0; i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/%s", p->env->dev, list[i].name) < 0) {
                        path = NULL;
                        r = error_oom(e);
                        break;
                }
                if (disk_content_read(path, &content, NULL) < 0)
                        content = (struct disk_content){.type = ""};
                add_loss(p, list[i].name, list[i].size, &content);
        }
        disk_free_partitions(list, n);
        return r;
}

/* data: the sizes that are wished for. */
static int fits_disk(const struct disk *d, void *data, struct error *e)
{
        _cleanup_free_ struct layout *l = malloc(sizeof(*l));
        const struct layout_wishes *wishes = data;

        return l ? layout_plan(d->size, d->sector_size, wishes, l, e) : error_oom(e);
}

/* The disk that was named, or that somebody chooses now. */
static int find_disk(struct install_plan *p, const struct install_wishes *wishes, install_fits fits,
                     void *data, struct error *e)
{
        _cleanup_(install_offers_done) struct install_offers offers = {.n = 0};
        const char *target = wishes->target;
        size_t chosen;
        int r = 0;

        if (!target) {
                r = install_disk_offer(p->env, fits, data, wishes->force_release, &offers, e);
                if (r == 0)
                        r = install_choose_disk(&offers, stdin, stderr, &chosen, e);
                if (r == 0)
                        target = offers.item[chosen].disk->path;
        }
        if (r == 0)
                r = install_disk_find(p->env, target, fits, data, &p->disk, &p->choice, e);
        if (r == 0 && p->unattended)
                r = install_auto_check_disk(p->disk, p->config, image_sha256(p->source.image), e);
        return r;
}

/* Into the partitions that are there: their content is looked at when PCR 7 is known. */
static int check_prepared(struct install_plan *p, const struct install_wishes *wishes,
                          struct error *e)
{
        struct install_keep_fit fit = {.wishes = &wishes->layout,
                                       .image_size = image_size(p->source.image)};
        int r = find_disk(p, wishes, install_keep_fits, &fit, e);

        if (r == 0)
                r = install_disk_take(p->disk, wishes->force_release, &p->choice, e);
        return r < 0 ? r : install_keep_read(p, &wishes->layout, e);
}

static int check_disk(struct install_plan *p, const struct install_wishes *wishes, struct error *e)
{
        struct layout_wishes layout = wishes->layout;
        int r = layout_esp_size(image_size(p->source.image), layout.esp_size, &layout.esp_size, e);

        if (r == 0)
                r = find_disk(p, wishes, fits_disk, &layout, e);
        /* From here on to the end: what is shown and asked about is what will be written to. */
        if (r == 0)
                r = install_disk_take(p->disk, wishes->force_release, &p->choice, e);
        if (r == 0)
                r = find_losses(p, e);
        if (r < 0)
                return r;
        r = layout_plan(p->disk->size, p->disk->sector_size, &layout, &p->layout, e);
        return r < 0 ? error_wrap(e, r, "%s", p->disk->path) : 0;
}

/*
 * A run that was killed may have left mappings, which would keep the disk busy. The names are this
 * program's alone and its lock is held, so whatever bears one is stale.
 */
int install_drop_stale(const struct env *env, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        struct dirent *entry;
        DIR *dir;
        int r = 0;

        if (asprintf(&path, "%s/mapper", env->dev) < 0) {
                path = NULL;
                return error_oom(e);
        }
        dir = opendir(path);
        while (dir && r == 0 && (entry = readdir(dir))) {
                if (strncmp(entry->d_name, INSTALL_DM_PREFIX, strlen(INSTALL_DM_PREFIX)) != 0)
                        continue;
                r = luks_deactivate(entry->d_name, e);
                if (r == -ENODEV) {
                        error_clear(e);
                        r = 0;
                }
        }
        if (dir)
                (void)closedir(dir);
        return r;
}

void install_begin_fetch(void *arg, uint64_t total)
{
        install_progress_step(arg, INSTALL_STEP_FETCH, NULL, total);
}

static int check_source(struct install_plan *p, const struct install_wishes *wishes,
                        struct error *e)
{
        const struct machine_options options = {
                .fresh = true,
                .allow_downgrade = wishes->allow_downgrade,
                .enrol = p->firmware.keys.wanted ? &p->firmware.keys.next : NULL};
        struct fetch_options fetch;
        const struct source_transfer transfer = {.env = p->env,
                                                 .options = &fetch,
                                                 .begin = install_begin_fetch,
                                                 .done = install_progress_bytes,
                                                 .arg = wishes->progress};
        int r = machine_read(p->env, &options, &p->machine, e);

        source_fetch_options(&wishes->from, &fetch);
        return r < 0 ? r
                     : source_open(wishes->source, &p->machine.demands, true, &transfer, &p->proofs,
                                   &p->source, e);
}

int install_prepare(const struct env *env, const struct install_wishes *wishes,
                    struct install_plan *ret, struct error *e)
{
        struct install_plan *p = ret;
        int r;

        *p = (struct install_plan){.env = env,
                                   .source = SOURCE_INIT,
                                   .extras = wishes->layout.extras,
                                   .allow_discards = wishes->allow_discards,
                                   .insecure = &wishes->from.insecure,
                                   .literal_pcrs = wishes->literal_pcrs | PCR_CHOICE_NEEDED,
                                   .no_format = wishes->no_format,
                                   .unattended = wishes->unattended,
                                   .end = wishes->end,
                                   .config = wishes->config,
                                   .escrow = INSTALL_ESCROW_INIT};
        r = install_firmware_begin(p, &wishes->firmware, e);
        if (r == 0)
                r = check_kernel(env, e);
        if (r == 0)
                r = check_source(p, wishes, e);
        if (r == 0)
                r = p->no_format ? check_prepared(p, wishes, e) : check_disk(p, wishes, e);
        if (r == 0)
                r = install_firmware_end(p, e);
        if (r == 0 && p->no_format)
                r = install_keep_judge(p, e);
        if (r < 0)
                install_plan_done(p);
        return r;
}

void install_plan_done(struct install_plan *p)
{
        install_escrow_done(&p->escrow);
        secret_free(p->pin);
        p->pin = NULL;
        source_done(&p->source);
        install_firmware_done(&p->firmware);
        machine_done(&p->machine);
        disk_free(p->disk);
        p->disk = NULL;
        buf_done(&p->packed);
        measured_done(&p->measured);
        install_choice_done(&p->choice);
        free(p->lost);
        p->lost = NULL;
        p->n_lost = 0;
}

void install_plan_record(const struct install_plan *p, struct install_record *ret)
{
        struct install_record *r = ret;
        size_t used;

        *r = (struct install_record){.time = moment_now()};
        (void)snprintf(r->made, sizeof(r->made), "%s",
                       p->image ? INSTALL_RECORD_IMAGE : INSTALL_RECORD_DISK);
        (void)snprintf(r->version, sizeof(r->version), "%s", image_version(p->source.image));
        memcpy(r->sha256, image_sha256(p->source.image), SHA256_SIZE);
        install_record_extras(r, &p->extras);
        proofs_overrides(&p->proofs, r->image_override, sizeof(r->image_override));
        preflight_overrides(&p->firmware.preflight, r->machine_override,
                            sizeof(r->machine_override));
        used = strlen(r->machine_override);
        if (p->choice.uses.n > 0)
                (void)snprintf(r->machine_override + used, sizeof(r->machine_override) - used,
                               "%sdisk: in use by %s (released by --force-release)",
                               used > 0 ? "; " : "", p->choice.uses.use[0].text);
}

/* What an operator should see before saying yes: everything that is not simply in order. */
static void describe_proofs(const struct install_plan *p, FILE *out)
{
        for (unsigned i = 0; i < PROOF_MAX; i++) {
                const struct proof *proof = &p->proofs.item[i];

                if (proof->state == PROOF_WARNING || proof->state == PROOF_OVERRIDDEN)
                        report_text(out, "%-8s %s: %s\n", proof_state_name(proof->state),
                                    proof_name((enum proof_id)i), proof->text);
        }
}

static void describe_loss(const struct install_loss *l, FILE *out)
{
        char size[32];

        report_text(out, "  lost   %s, %s, %s%s%s%s\n", l->name,
                    format_size(l->size, size, sizeof(size)),
                    *l->content.type ? l->content.type : "nothing known on it",
                    *l->content.label ? " \"" : "", l->content.label,
                    *l->content.label ? "\"" : "");
}

/* A table that stays may have partitions that this program has nothing to do with. */
static bool is_made(const struct install_plan *p, const struct layout_partition *l)
{
        if (!p->no_format)
                return true;
        for (size_t i = 0; i < p->n_lost; i++) {
                if (strcmp(p->lost[i].name, l->name) == 0)
                        return true;
        }
        return false;
}

static const char *fate(const struct install_plan *p, const struct layout_partition *l)
{
        return is_made(p, l) ? "new   " : "kept  ";
}

static void describe_target(const struct install_plan *p, FILE *out)
{
        char size[32], pcrs[96];

        if (!p->image) {
                install_firmware_describe(p, out);
                report_text(out, "bound    to PCR 11 by signature, to PCR %s by value%s\n",
                            pcr_choice_text(p->literal_pcrs, pcrs, sizeof(pcrs)),
                            p->pin ? ", and to a PIN that each start asks for" : "");
                install_disk_describe(p->disk, &p->choice, out);
                return;
        }
        report_text(out, "file     %s, %s%s\n", p->image,
                    format_size(p->image_size, size, sizeof(size)),
                    p->overwrite ? ", replaced if it exists" : "");
        report_text(out, "config   %s\n",
                    !p->config  ? "none"
                    : p->sealed ? "on the encrypted OEM partition"
                                : "in the file, not encrypted before the first boot");
        if (p->sealed)
                golden_tpm_describe(p, out);
}

void install_describe(const struct install_plan *p, FILE *out)
{
        char size[32];

        report_text(out, "image    %s, version %s, %s\n", image_title(p->source.image),
                    *image_version(p->source.image) ? image_version(p->source.image) : "none",
                    format_size(image_size(p->source.image), size, sizeof(size)));
        report_text(out, "loader   systemd-boot %s\n", p->source.loader.version);
        for (unsigned i = 0; i < p->insecure->n; i++)
                report_text(out, "overridden transport: %s may be spoken to without protection\n",
                            p->insecure->item[i]);
        describe_proofs(p, out);
        describe_target(p, out);
        for (size_t i = 0; i < p->n_lost; i++)
                describe_loss(&p->lost[i], out);
        for (size_t i = 0; i < p->layout.n; i++)
                report_text(out, "  %s %u %s, %s\n", fate(p, &p->layout.partitions[i]),
                            p->layout.partitions[i].number, p->layout.partitions[i].name,
                            format_size(p->layout.partitions[i].size, size, sizeof(size)));
        if (p->end != INSTALL_END_STAY)
                report_text(out, "then     %s\n", install_end_name(p->end));
}

static int add_partition(struct json_object *array, const struct install_plan *p,
                         const struct layout_partition *l)
{
        const struct extra *extra = extra_find(&p->extras, l->name);
        bool ours = !p->no_format || extra || strcmp(l->name, LAYOUT_OEM_NAME) == 0 ||
                    strcmp(l->name, LAYOUT_PERSISTENT_NAME) == 0;
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
                r = json_add_bool(o, "encrypted",
                                  extra ? extra->encrypted
                                        : ours && strcmp(l->name, LAYOUT_ESP_NAME) != 0);
        if (r == 0)
                r = json_add_bool(o, "kept", !is_made(p, l));
        return r;
}

static int add_lost(struct json_object *array, const struct install_loss *l)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "name", l->name);
        if (r == 0)
                r = json_add_u64(o, "size", l->size);
        if (r == 0)
                r = json_add_str(o, "type", *l->content.type ? l->content.type : NULL);
        if (r == 0)
                r = json_add_str(o, "label", *l->content.label ? l->content.label : NULL);
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

static int add_target(struct json_object *root, const struct install_plan *p)
{
        struct json_object *file;
        int r;

        if (!p->image) {
                r = json_add_obj(root, "disk", install_disk_json(p->disk, &p->choice));
                if (r == 0)
                        r = json_add_obj(root, "in_use", install_disk_uses_json(&p->choice));
                return r < 0 ? r : install_firmware_add_plan(root, p);
        }
        file = json_object_new_object();
        r = json_add_obj(root, "file", file);
        if (r == 0)
                r = json_add_str(file, "path", p->image);
        if (r == 0)
                r = json_add_u64(file, "size", p->image_size);
        if (r == 0)
                r = json_add_bool(file, "has_config", p->config != NULL);
        if (r == 0)
                r = json_add_bool(file, "sealed", p->sealed);
        return r < 0 || !p->sealed ? r : golden_tpm_add_plan(root, p);
}

struct json_object *install_plan_json(const struct install_plan *p)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *new = json_object_new_array(), *lost = json_object_new_array();
        struct json_object *insecure = json_object_new_array();
        /* All three get an owner, whatever becomes of the others. */
        int r = json_add_obj(root, "partitions", new);
        int second = json_add_obj(root, "lost", lost);
        int third = json_add_obj(root, "insecure", insecure);

        if (r == 0)
                r = second < 0 ? second : third;
        if (r == 0)
                r = json_add_bool(root, "no_format", p->no_format);
        for (size_t i = 0; i < p->layout.n && r == 0; i++)
                r = add_partition(new, p, &p->layout.partitions[i]);
        for (size_t i = 0; i < p->n_lost && r == 0; i++)
                r = add_lost(lost, &p->lost[i]);
        if (r == 0)
                r = add_target(root, p);
        if (r == 0)
                r = add_image(root, p);
        if (r == 0)
                r = json_add_obj(root, "bind_pcrs", pcr_choice_json(p->literal_pcrs));
        if (r == 0)
                r = json_add_bool(root, "pin", p->pin != NULL);
        for (unsigned k = 0; k < p->insecure->n && r == 0; k++)
                r = json_append(insecure, json_new_str(p->insecure->item[k]));
        if (r == 0)
                r = json_add_obj(root, "proofs", proofs_json(&p->proofs));
        if (r == 0)
                r = json_add_str(root, "then", install_end_name(p->end));
        return r < 0 ? NULL : TAKE_PTR(root);
}
