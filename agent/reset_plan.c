/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset_plan.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/boot_report.h"
#include "agent/moment.h"
#include "agent/report.h"
#include "agent/reset_node.h"
#include "agent/reset_pin.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "partition/disk_content.h"

void reset_plan_done(struct reset_plan *p)
{
        if (p->has_machine)
                machine_done(&p->machine);
        p->has_machine = false;
        tpm_free(p->tpm);
        p->tpm = NULL;
        node_free(p->node);
        p->node = NULL;
}

/* --- where it runs --- */

static int check_role(struct reset_plan *p, struct json_object *report, bool force, struct error *e)
{
        const char *role;

        if (json_get_str(report, "role", &role) < 0 || strcmp(role, "live") == 0) {
                error_set(e, ERROR_PRECONDITION, ENOTSUP, "this is a live session, not a node");
                error_advise(e, "install it: tb-agent install");
                return -ENOTSUP;
        }
        p->recovery = strcmp(role, entry_role_name(ENTRY_ROLE_RECOVERY)) == 0;
        if (p->recovery || force)
                return 0;
        error_set(e, ERROR_PRECONDITION, EPERM,
                  "a node is reset from its recovery entry, and this is the %s one", role);
        error_advise(e, "start it (tb-agent bootentry once recovery), or use --force: the next "
                        "boot carries the reset out");
        return -EPERM;
}

/* --- the image --- */

static int look_at_image(struct reset_plan *p, const struct esp *esp, struct verified_image **ret,
                         const struct reset_wishes *wishes, struct error *e)
{
        const struct reset_world w = {.env = p->env, .esp = esp, .demands = &p->machine.demands};
        int r = reset_image_look(&w, &p->look, ret, e);

        p->clear_memory = wishes->all;
        p->clear_floor = wishes->all;
        if (r == 0 || e->class != ERROR_VERSION)
                return r;
        if (!wishes->all && !wishes->allow_downgrade) {
                error_advise(e, "upgrade recovery from the active system (tb-agent upgrade "
                                "--recovery), or use --allow-downgrade: the floor is cleared then");
                return r;
        }
        /* What is made active below the floor would be refused at every boot to come. */
        p->clear_floor = true;
        p->machine.demands.floor = NULL;
        error_clear(e);
        return reset_image_look(&w, &p->look, ret, e);
}

static int look_at_esp(struct reset_plan *p, const struct reset_wishes *wishes,
                       struct verified_image **ret, struct error *e)
{
        int fd, unmounted, r = node_mount_esp(p->env, p->node, false, &fd, e);
        struct esp esp;

        if (r < 0)
                return r;
        esp = (struct esp)ESP_INIT(fd);
        r = look_at_image(p, &esp, ret, wishes, e);
        (void)close(fd);
        unmounted = node_unmount_esp(p->env, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}

static int look_at_machine(struct reset_plan *p, struct error *e)
{
        /* What the volumes were sealed to is gone; what they will be is what the running image,
         * which the TPM measured, was signed with, and no other key that db happens to trust. */
        struct machine_options options = {.reset = true};
        _cleanup_free_ char *key = NULL;
        int r = tpm_open(p->env->tcti, &p->tpm, e);

        if (r == 0)
                r = machine_running_key(p->env, &key, e);
        options.policy_key = key;
        if (r == 0)
                r = machine_check_secure_boot(p->env, e);
        if (r == 0)
                r = tpm_try_storage_key(p->tpm, e);
        if (r == 0) {
                r = machine_read(p->env, &options, &p->machine, e);
                p->has_machine = r == 0;
        }
        return r;
}

/* --- the volumes --- */

static bool is_named(const struct option_list *names, const char *name)
{
        for (unsigned i = 0; i < names->n; i++) {
                if (strcmp(names->item[i], name) == 0)
                        return true;
        }
        return false;
}

static bool is_wanted(const struct reset_wishes *wishes, const struct data_volume *v)
{
        if (!v->label)
                return is_named(&wishes->partitions, v->partition->name);
        return strcmp(v->mapping, DATA_DM_OEM) == 0 ? wishes->oem : wishes->persistent;
}

/* A file system of the user's comes again as it is, when it is one that can be made here. */
static int look_inside(const struct reset_plan *p, const struct data_volume *v,
                       struct reset_volume *ret, struct error *e)
{
        struct disk_content content = {.type = "ext4"};
        _cleanup_free_ char *path = NULL;

        ret->file_system = true;
        if (v->label || !data_is_open(p->node, v))
                return 0;
        if (asprintf(&path, "%s/mapper/%s", p->env->dev, v->mapping) < 0) {
                path = NULL;
                return error_oom(e);
        }
        if (disk_content_read(path, &content, e) < 0)
                return -e->code;
        ret->file_system = *content.type != '\0';
        if (!*content.type || strcmp(content.type, "ext4") == 0)
                return 0;
        return error_set(e, ERROR_USAGE, EOPNOTSUPP,
                         "--partition %s: it holds %s, and only ext4 can be made anew",
                         v->partition->name, content.type);
}

static int fill_volume(const struct reset_plan *p, const struct data_volume *v,
                       struct reset_volume *ret, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_free_ char *device = NULL;
        struct error error = ERROR_INIT;
        int r = disk_partition_path(p->node->disk, v->partition->number, &device, e);

        if (r < 0)
                return r;
        (void)snprintf(ret->name, sizeof(ret->name), "%s", v->partition->name);
        (void)snprintf(ret->partition, sizeof(ret->partition), "%s", v->partition->uuid);
        r = luks_open(device, &luks, &error);
        if (r < 0 && (r != -EMEDIUMTYPE || !v->label)) {
                *e = error;
                return error_wrap(e, r, "%s", ret->name);
        }
        if (luks)
                (void)snprintf(ret->uuid, sizeof(ret->uuid), "%s", luks_uuid(luks));
        ret->allow_discards = luks && luks_allows_discards(luks);
        if (snprintf(ret->label, sizeof(ret->label), "%s", v->label ?: luks_label(luks)) >=
            (int)sizeof(ret->label))
                return error_set(e, ERROR_USAGE, ENAMETOOLONG,
                                 "--partition %s: its label is too long", ret->name);
        /* A user's that was cut in the making has lost its label. */
        if (!*ret->label || strcmp(ret->label, RESET_LABEL) == 0)
                (void)snprintf(ret->label, sizeof(ret->label), "%.16s", ret->name);
        return look_inside(p, v, ret, e);
}

static bool was_opened_by_tpm(struct json_object *report, const char *name)
{
        struct json_object *list;

        if (json_get_array(report, "partitions", &list) < 0)
                return false;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *o = json_object_array_get_idx(list, i);
                const char *have, *by;

                if (json_get_str(o, "name", &have) == 0 && strcmp(have, name) == 0)
                        return json_get_str(o, "unlocked_by", &by) == 0 && strcmp(by, "tpm2") == 0;
        }
        return false;
}

/* A node with a partition of ours that it cannot open does not start. */
static int check_kept(const struct reset_plan *p, const struct data_volume *v,
                      const struct verified_image *image, struct json_object *report, bool force,
                      struct error *e)
{
        const char *name = v->partition->name;
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_free_ char *device = NULL;
        int r;

        if (!v->label)
                return 0;
        r = data_open_header(p->node, v, &device, &luks, e);
        if (r == 0)
                r = reset_node_check_key(luks, image, e);
        if (r == 0 && !force && !was_opened_by_tpm(report, name))
                r = error_set(e, ERROR_PRECONDITION, EREMOTE,
                              "the TPM did not open it in this boot");
        if (r == 0)
                return 0;
        error_wrap(e, r, "%s cannot be kept, because the node would not start", name);
        e->advice[0] = '\0';
        error_advise(e, "%s",
                     strcmp(name, LAYOUT_OEM_NAME) == 0
                             ? "make it anew, too: --oem; what is on it can be saved before"
                             : "make it anew, too");
        return r;
}

static int check_names(const struct reset_plan *p, const struct reset_wishes *wishes,
                       struct error *e)
{
        if (!p->node->oem || !p->node->persistent) {
                error_set(e, ERROR_PRECONDITION, ENXIO, "%s: the partition \"%s\" is missing",
                          p->node->disk->path,
                          p->node->oem ? LAYOUT_PERSISTENT_NAME : LAYOUT_OEM_NAME);
                error_advise(e, "this disk needs a new installation: tb-agent install");
                return -ENXIO;
        }
        for (unsigned i = 0; i < wishes->partitions.n; i++) {
                const char *name = wishes->partitions.item[i];
                bool found = false;

                for (size_t k = 0; k < p->list.n; k++)
                        found |= !p->list.item[k].label &&
                                 strcmp(p->list.item[k].partition->name, name) == 0;
                if (!found)
                        return error_set(e, ERROR_USAGE, ENOENT,
                                         "--partition %s: there is no partition of the user's of "
                                         "that name",
                                         name);
        }
        return 0;
}

/* In the order oem, the user's, persistent, as an installation makes them. */
static int choose(struct reset_plan *p, const struct reset_wishes *wishes,
                  const struct verified_image *image, struct json_object *report, struct error *e)
{
        struct reset_journal *j = &p->journal;
        int r = check_names(p, wishes, e);

        for (unsigned round = 0; round < 2 && r == 0; round++) {
                for (size_t i = 0; i < p->list.n && r == 0; i++) {
                        const struct data_volume *v = &p->list.item[i];
                        bool last = strcmp(v->mapping, DATA_DM_PERSISTENT) == 0;

                        if (last != (round == 1))
                                continue;
                        p->erased[i] = is_wanted(wishes, v);
                        r = p->erased[i] ? fill_volume(p, v, &j->volume[j->n++], e)
                                         : check_kept(p, v, image, report, wishes->force, e);
                }
        }
        return r;
}

static int begin_journal(struct reset_plan *p, bool overwrite, struct error *e)
{
        uint8_t id[(RESET_ID_SIZE - 1) / 2];
        int r = random_bytes(id, sizeof(id));

        p->journal = (struct reset_journal){.time = moment_now(), .overwrite = overwrite};
        hex_encode(id, sizeof(id), p->journal.id);
        return r < 0 ? error_errno(e, -r, "random numbers") : 0;
}

static bool is_listed(const struct reset_journal *j, const char *name)
{
        for (size_t i = 0; i < j->n_encrypted; i++) {
                if (strcmp(j->encrypted[i], name) == 0)
                        return true;
        }
        return false;
}

static void list_encrypted(struct reset_journal *j, const char *name)
{
        if (j->n_encrypted < ARRAY_SIZE(j->encrypted) && !is_listed(j, name))
                (void)snprintf(j->encrypted[j->n_encrypted++], sizeof(j->encrypted[0]), "%s", name);
}

/* What the record says, where there is one to be read, and what is seen on the disk. */
static int find_encrypted(struct reset_plan *p, struct error *e)
{
        _cleanup_free_ struct install_record *record = calloc(1, sizeof(*record));
        struct error error = ERROR_INIT;
        int r;

        if (!record)
                return error_oom(e);
        r = install_record_read(p->env, record, &error);
        if (r < 0)
                log_warning("%s", error.text);
        for (size_t i = 0; r > 0 && i < record->n_encrypted; i++)
                list_encrypted(&p->journal, record->encrypted[i]);
        for (size_t i = 0; i < p->list.n; i++) {
                const struct data_volume *v = &p->list.item[i];
                _cleanup_(luks_free_p) struct luks *luks = NULL;
                _cleanup_free_ char *device = NULL;

                if (!v->label && data_open_header(p->node, v, &device, &luks, NULL) == 0)
                        list_encrypted(&p->journal, v->partition->name);
        }
        return 0;
}

/* --- what the new volumes ask for --- */

static void look_at_tokens(struct reset_plan *p, const struct luks *luks)
{
        for (int id = 0; id < LIMIT_LUKS_TOKENS; id++) {
                _cleanup_(token_free_p) struct token *token = NULL;

                if (luks_get_token(luks, id, &token, NULL) < 0)
                        continue;
                p->had_pin = p->had_pin || token->pin;
                if (!(token->literal_pcrs & ~PCR_CHOICE_LITERAL))
                        p->journal.pcrs |= token->literal_pcrs;
        }
}

/* What any of the old ones asks for, unless somebody says otherwise: no reset makes a node weaker
 * than it was. */
static int find_choice(struct reset_plan *p, const struct reset_wishes *wishes, struct error *e)
{
        struct reset_journal *j = &p->journal;

        j->pcrs = PCR_CHOICE_NEEDED;
        for (size_t i = 0; i < p->list.n; i++) {
                const struct layout_partition *part = p->list.item[i].partition;
                _cleanup_(luks_free_p) struct luks *luks = NULL;
                _cleanup_free_ char *device = NULL;

                if (disk_partition_path(p->node->disk, part->number, &device, NULL) == 0 &&
                    luks_open(device, &luks, NULL) == 0)
                        look_at_tokens(p, luks);
        }
        j->pin = wishes->pin || (p->had_pin && !wishes->no_pin);
        p->pin_stays = reset_pin_stays(p->node, j, p->tpm);
        return tpm_read_pcrs(p->tpm, j->pcrs, p->values, e);
}

int reset_plan_make(struct reset_plan *p, const struct reset_wishes *wishes, struct error *e)
{
        _cleanup_(image_free_p) struct verified_image *image = NULL;
        _cleanup_json_ struct json_object *report = NULL;
        int r = boot_report_read(p->env, &report, e);

        if (r == 0)
                r = check_role(p, report, wishes->force, e);
        if (r == 0)
                r = node_find_booted(p->env, &p->node, e);
        if (r == 0)
                r = look_at_machine(p, e);
        if (r == 0)
                r = look_at_esp(p, wishes, &image, e);
        if (r == 0)
                r = begin_journal(p, wishes->overwrite, e);
        if (r < 0)
                return r;
        data_list(p->node, &p->list);
        r = find_encrypted(p, e);
        if (r == 0)
                r = choose(p, wishes, image, report, e);
        return r < 0 ? r : find_choice(p, wishes, e);
}

/* --- showing it --- */

static void describe_choice(const struct reset_plan *p, FILE *out)
{
        char pcrs[64];

        if (p->journal.pcrs != PCR_CHOICE_NEEDED)
                report_text(out, "PCRs     %s: the new volumes are bound to what these are now\n",
                            pcr_choice_text(p->journal.pcrs, pcrs, sizeof(pcrs)));
        if (p->journal.pin)
                report_text(out, "PIN      of the new volumes: %s\n",
                            p->pin_stays ? "that of what is kept" : "a new one");
        else if (p->had_pin)
                report_text(out, "PIN      none any more: the new volumes open without%s\n",
                            p->pin_stays ? "; what is kept asks for its own" : "");
}

void reset_plan_describe(const struct reset_plan *p, FILE *out)
{
        const struct disk *d = p->node->disk;
        char size[32];

        report_text(out, "image    of recovery, version %s, %s\n",
                    *p->look.version ? p->look.version : "none",
                    p->look.copied ? "is copied and becomes active" : "is active's already");
        report_text(out, "disk     %s, %s%s%s, %s\n", d->path, d->model,
                    *d->serial ? ", serial " : "", d->serial,
                    format_size(d->size, size, sizeof(size)));
        for (size_t i = 0; i < p->list.n; i++) {
                const struct layout_partition *l = p->list.item[i].partition;

                report_text(out, "  %s   %s, %s\n", p->erased[i] ? "lost" : "kept", l->name,
                            format_size(l->size, size, sizeof(size)));
        }
        describe_choice(p, out);
        if (p->clear_floor)
                report_text(out, "floor    cleared: older images will be accepted\n");
        if (p->clear_memory)
                report_text(out, "memory   of upgrades, cleared\n");
        if (!p->recovery)
                report_text(out, "when     in the next boot\n");
}

int reset_plan_add_kept(const struct reset_plan *p, struct json_object *root)
{
        struct json_object *kept = json_object_new_array();
        int r = json_add_obj(root, "kept", kept);

        for (size_t i = 0; i < p->list.n && r == 0; i++) {
                if (!p->erased[i])
                        r = json_append(kept, json_new_str(p->list.item[i].partition->name));
        }
        return r;
}

void reset_plan_names(const struct reset_plan *p, char *ret, size_t n)
{
        size_t used = 0;

        ret[0] = '\0';
        for (size_t i = 0; i < p->journal.n && used < n; i++) {
                int written = snprintf(ret + used, n - used, "%s%s", i > 0 ? "," : "",
                                       p->journal.volume[i].name);

                used += written > 0 ? (size_t)written : 0;
        }
}
