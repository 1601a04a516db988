/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_install.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/boot_layout.h"
#include "agent/install_oem.h"
#include "base/limits.h"
#include "base/log.h"

/* In the words of the command line, so that both are judged by the same rules. */
static int add_partition(const struct config_partition *p, struct extra_list *list, struct error *e)
{
        _cleanup_free_ char *text = NULL;

        if (asprintf(&text, "%s:%" PRIu64 ":%s%s%s:%s", p->name, p->size,
                     p->fs == CONFIG_FS_EXT4 ? "ext4" : "none", p->label ? ":" : "",
                     p->label ? p->label : "", p->encrypted ? "encrypted" : "plain") < 0) {
                text = NULL;
                return error_oom(e);
        }
        return extra_parse(text, list, e);
}

static int apply_layout(const struct config_install *in, struct layout_wishes *l, struct error *e)
{
        int r = 0;

        if (l->esp_size == 0)
                l->esp_size = in->efi_size;
        if (l->oem_size == 0)
                l->oem_size = in->oem_size;
        if (l->persistent_size == 0)
                l->persistent_size = in->persistent_size;
        if (l->extras.n > 0)
                return 0; /* a list is replaced as a whole */
        for (unsigned i = 0; i < in->extra.n && r == 0; i++)
                r = add_partition(&in->extra.item[i], &l->extras, e);
        if (r < 0 && e && e->class != ERROR_INTERNAL)
                e->class = ERROR_CONFIG;
        return r < 0 ? error_wrap(e, r, "install.extra-partitions") : 0;
}

static void apply_escrow(const struct config_install *in, struct install_escrow_wishes *w)
{
        if (w->show || w->none || w->file)
                return;
        w->file = in->recovery_key_file;
        w->show = in->recovery_key == CONFIG_RECOVERY_SHOW;
        w->none = in->recovery_key == CONFIG_RECOVERY_NONE;
}

static void apply_firmware(const struct config_install *in, struct install_firmware_wishes *w)
{
        if (!w->keys)
                w->keys = in->enroll_keys;
        if (w->keys && !w->keys_by && in->enroll_keys_by == CONFIG_ENROLL_LOADER)
                w->keys_by = "loader";
        w->allow_software_tpm = w->allow_software_tpm || in->allow_software_tpm;
}

static int add_paths(const struct config_list *paths, struct boot_path *ret, size_t *ret_n,
                     const char *key, struct error *e)
{
        if (paths->n > LIMIT_BOOT_ADDITIONS)
                return error_set(e, ERROR_CONFIG, E2BIG, "%s: at most %u folders", key,
                                 LIMIT_BOOT_ADDITIONS);
        for (unsigned i = 0; i < paths->n; i++) {
                if (strlen(paths->item[i]) >= sizeof(ret[i].text))
                        return error_set(e, ERROR_CONFIG, ENAMETOOLONG, "%s: a path is too long",
                                         key);
                (void)snprintf(ret[i].text, sizeof(ret[i].text), "%s", paths->item[i]);
        }
        *ret_n = paths->n;
        return 0;
}

/* By the rules of the boot stage, which could only leave out what it does not take. */
static int check_mounts(const struct config_install *in, struct error *e)
{
        _cleanup_free_ struct boot_additions *a = calloc(1, sizeof(*a));
        _cleanup_free_ struct boot_layout *l = calloc(1, sizeof(*l));
        int r;

        if (!a || !l)
                return error_oom(e);
        r = add_paths(&in->bind_mounts, a->binds, &a->n_binds, "install.bind_mounts", e);
        if (r == 0)
                r = add_paths(&in->ephemeral_mounts, a->ephemeral, &a->n_ephemeral,
                              "install.ephemeral_mounts", e);
        return r < 0 ? r : boot_layout_plan(a, true, l, e);
}

int config_apply_to_install(const struct config *c, struct install_wishes *wishes, struct error *e)
{
        const struct config_install *in = &c->install;
        int r;

        if (c->n_documents > INSTALL_OEM_DOCUMENTS)
                return error_set(e, ERROR_CONFIG, E2BIG,
                                 "%zu configurations: at most %u can be kept on the node",
                                 c->n_documents, INSTALL_OEM_DOCUMENTS);
        r = check_mounts(in, e);
        if (r < 0)
                return r;
        if (!wishes->target)
                wishes->target = in->device;
        if (!wishes->source)
                wishes->source = in->source;
        wishes->allow_discards = wishes->allow_discards || in->allow_discards;
        wishes->force_release = wishes->force_release || in->force_release;
        if (wishes->literal_pcrs == 0)
                wishes->literal_pcrs = c->bind_pcrs;
        wishes->no_format = wishes->no_format || in->no_format;
        if (wishes->end == INSTALL_END_STAY)
                wishes->end = in->reboot     ? INSTALL_END_REBOOT
                              : in->poweroff ? INSTALL_END_POWEROFF
                                             : INSTALL_END_STAY;
        wishes->config = c;
        /* Of this configuration's own source: for another one it was not said. */
        r = in->allow_insecure_registries && in->source && wishes->source == in->source
                    ? source_allow_insecure(&wishes->from, in->source, wishes->insecure,
                                            "install.allow-insecure-registries", e)
                    : 0;
        if (r < 0)
                return r;
        apply_escrow(in, &wishes->escrow);
        apply_firmware(in, &wishes->firmware);
        return apply_layout(in, &wishes->layout, e);
}
