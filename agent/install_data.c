/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One encrypted data partition (agent/volume.h makes it). A live session cannot
 * unseal (its policy is closed), so the enrolment proves itself another way (design, section 7).
 */
#include "agent/install.h"

#include <stdio.h>
#include <string.h>

#include "agent/install_oem.h"
#include "agent/volume.h"
#include "partition/luks.h"
#include "partition/mkfs.h"
#include "partition/recovery_key.h"
#include "partition/seal.h"

struct enrolment {
        const struct install_plan *plan;
        struct tpm *tpm;
        const char *device, *name, *label;
        struct secret *passphrase;
        int keyslot;
};

static int enrol(struct enrolment *n, struct error *e)
{
        const struct seal_policy policy = {
                .key = image_policy_key(n->plan->source.image),
                .signed_pcrs = INSTALL_SIGNED_PCRS,
                .literal_pcrs = n->plan->literal_pcrs,
                .literal_values = n->plan->literal_values,
                .pin = n->plan->pin,
        };
        const struct volume_wish wish = {
                .path = n->device,
                .label = INSTALL_UNFINISHED_LABEL,
                .sector = volume_sector(n->plan->disk),
                .allow_discards = n->plan->allow_discards,
                .policy = &policy,
                .recovery_key = n->plan->escrow.key,
        };

        return volume_make(n->tpm, &wish, &n->passphrase, &n->keyslot, e);
}

/*
 * Works on what is on the disk, read again: the header passes the check of the boot stage, the
 * stored token leads to its policy with the values and the signature the installed image will have,
 * and each key opens its slot.
 */
static int prove(const struct enrolment *n, struct error *e)
{
        const struct verified_image *image = n->plan->source.image;
        const struct buf *sig = image_policy_signature(image);
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        int r;

        r = luks_open(n->device, &luks, e);
        if (r == 0)
                r = luks_check_header(luks, INSTALL_UNFINISHED_LABEL, e);
        if (r == 0)
                r = luks_get_token(luks, 0, &token, e);
        if (r == 0)
                r = seal_prove(n->tpm, token, image_pcr11(image), n->plan->literal_values,
                               sig->data, sig->len, e);
        if (r == 0)
                r = luks_test_secret(luks, token->keyslot, n->passphrase, e);
        if (r == 0 && n->plan->escrow.key)
                r = recovery_key_find_slot(luks, n->plan->escrow.key, e);
        return r < 0 ? error_wrap(e, r, "proving the enrolment") : 0;
}

static char *mapping_name(const struct install_plan *p, const char *name)
{
        const char *last = extra_find(&p->extras, name) ? INSTALL_DM_EXTRA : name;
        char *mapping;

        return asprintf(&mapping, INSTALL_DM_PREFIX "%s", last) < 0 ? NULL : mapping;
}

static int fill_oem(const struct install_plan *p, const char *mapped, struct error *e)
{
        _cleanup_free_ struct install_record *record = calloc(1, sizeof(*record));

        if (!record)
                return error_oom(e);
        install_plan_record(p, record);
        return install_oem_fill(p->env, mapped, p->config, record, e);
}

static int make_file_system(const struct enrolment *n, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_free_ char *dm_name = mapping_name(n->plan, n->name), *mapped = NULL;
        int r, closed;

        if (!dm_name)
                return error_oom(e);
        if (asprintf(&mapped, "/dev/mapper/%s", dm_name) < 0) {
                mapped = NULL;
                return error_oom(e);
        }
        r = luks_open(n->device, &luks, e);
        if (r == 0)
                r = luks_activate(luks, dm_name, n->keyslot, n->passphrase, NULL, e);
        if (r < 0)
                return r;
        r = mkfs_ext4(mapped, n->label, e);
        if (r == 0 && strcmp(n->name, LAYOUT_OEM_NAME) == 0)
                r = fill_oem(n->plan, mapped, e);
        /* The first failure is the one to report. */
        closed = luks_deactivate(dm_name, r < 0 ? NULL : e);
        return r < 0 ? r : closed;
}

/* All is on it: from now on it is data. */
static int finish(const struct enrolment *n, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL, *again = NULL;
        int r = luks_open(n->device, &luks, e);

        if (r == 0)
                r = luks_set_label(luks, n->label, e);
        if (r == 0)
                r = luks_open(n->device, &again, e);
        return r < 0 ? r : luks_check_header(again, n->label, e);
}

int install_data_partition(const struct install_plan *p, struct tpm *tpm, const char *name,
                           const char *label, enum extra_fs fs, struct error *e)
{
        struct enrolment n = {.plan = p, .tpm = tpm, .name = name, .label = label};
        _cleanup_free_ char *device = NULL;
        const struct layout_partition *l;
        int r = layout_find(&p->layout, name, &l);

        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "plan without \"%s\"", name);
        r = disk_partition_path(p->disk, l->number, &device, e);
        if (r < 0)
                return r;
        n.device = device;
        r = enrol(&n, e);
        if (r == 0)
                r = prove(&n, e);
        if (r == 0 && fs != EXTRA_FS_NONE)
                r = make_file_system(&n, e);
        if (r == 0)
                r = finish(&n, e);
        secret_free(n.passphrase);
        return r < 0 ? error_wrap(e, r, "%s", name) : 0;
}
