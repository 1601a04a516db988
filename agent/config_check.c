/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_check.h"

#include <string.h>

#include "base/limits.h"
#include "partition/layout.h"
#include "partition/tpm.h"

/* FAT32 needs 65525 clusters, of a sector each at least. */
#define VFAT_MIN (33 * MIB)
#define ENCRYPTED_MIN (32 * MIB)

static struct config_place place(const struct config *c, const char *path)
{
        const struct config_place *at = config_origin(c, path);

        return at ? *at : (struct config_place){.file = NULL};
}

static void check_end(const struct config *c, bool reboot, bool poweroff, const char *path,
                      struct config_problems *p)
{
        if (!reboot || !poweroff)
                return;
        config_error(p, place(c, path), "%s: reboot is wanted, too", path);
        config_advise(p, "keep one of reboot and poweroff");
}

/* --- extra partitions --------------------------------------------------------------------------*/

#define EXTRA "install.extra-partitions"

static bool is_one_of(const char *text, const char *a, const char *b, const char *c)
{
        return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

static bool is_own_label(const char *label)
{
        return is_one_of(label, LAYOUT_ESP_LABEL, LAYOUT_OEM_LABEL, LAYOUT_PERSISTENT_LABEL);
}

static bool same(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

/* Against ours and against those before it. */
static void check_names(const struct config_partitions *list, unsigned i,
                        const struct config_node *node, struct config_problems *p)
{
        const struct config_partition *x = &list->item[i];

        if (is_one_of(x->name, LAYOUT_ESP_NAME, LAYOUT_OEM_NAME, LAYOUT_PERSISTENT_NAME))
                config_error(p, node->at, EXTRA "[%u]: the name \"%s\" is one of the node's own", i,
                             x->name);
        if (x->label && is_own_label(x->label))
                config_error(p, node->at, EXTRA "[%u]: the label \"%s\" is one of the node's own",
                             i, x->label);
        for (unsigned k = 0; k < i; k++) {
                if (same(x->name, list->item[k].name))
                        config_error(p, node->at,
                                     EXTRA "[%u]: the name \"%s\" is that of another one, too", i,
                                     x->name);
                if (same(x->label, list->item[k].label))
                        config_error(p, node->at,
                                     EXTRA "[%u]: the label \"%s\" is that of another one, too", i,
                                     x->label);
        }
}

static void check_room(const struct config *c, unsigned i, const struct config_node *node,
                       struct config_problems *p)
{
        const struct config_partition *x = &c->install.extra.item[i];

        if (x->size == 0 && c->install.persistent_size == 0) {
                config_error(p, node->at,
                             EXTRA "[%u]: \"%s\" and persistent cannot both take the rest", i,
                             x->name);
                config_advise(p, "give install.partitions.persistent.size");
        }
        for (unsigned k = 0; k < i && x->size == 0; k++) {
                if (c->install.extra.item[k].size == 0)
                        config_error(p, node->at, EXTRA "[%u]: another one takes the rest, too", i);
        }
        if (x->size > 0 && x->fs == CONFIG_FS_VFAT && x->size < VFAT_MIN)
                config_error(p, node->at, EXTRA "[%u]: a vfat needs 33 MiB", i);
        if (x->size > 0 && x->encrypted && x->size < ENCRYPTED_MIN)
                config_error(p, node->at, EXTRA "[%u]: an encrypted partition needs 32 MiB", i);
}

static const struct config_node *items(const struct config *c, const char *path)
{
        const struct config_node *list = config_node_at(c->tree, path);

        return list ? list->first : NULL;
}

static void check_extra(const struct config *c, struct config_problems *p)
{
        const struct config_node *node = items(c, EXTRA);

        for (unsigned i = 0; i < c->install.extra.n && node; i++, node = node->next) {
                check_names(&c->install.extra, i, node, p);
                check_room(c, i, node, p);
        }
}

/* The node's own need not be named, but may be: Kairos wants it so. */
static bool encrypt(struct config *c, const char *label)
{
        bool found = is_one_of(label, LAYOUT_OEM_LABEL, LAYOUT_PERSISTENT_LABEL, LAYOUT_OEM_NAME) ||
                     strcmp(label, LAYOUT_PERSISTENT_NAME) == 0;

        for (unsigned i = 0; i < c->install.extra.n; i++) {
                struct config_partition *x = &c->install.extra.item[i];

                if (!same(x->label, label) && !same(x->name, label))
                        continue;
                x->encrypted = true;
                found = true;
        }
        return found;
}

static void check_encrypted(struct config *c, struct config_problems *p)
{
        const struct config_list *list = &c->install.encrypted_partitions;
        const struct config_node *node = items(c, "install.encrypted_partitions");

        for (unsigned i = 0; i < list->n && node; i++, node = node->next) {
                if (same(list->item[i], LAYOUT_ESP_LABEL) || same(list->item[i], LAYOUT_ESP_NAME)) {
                        config_error(p, node->at,
                                     "install.encrypted_partitions[%u]: the firmware has to read "
                                     "the EFI system partition",
                                     i);
                } else if (!encrypt(c, list->item[i])) {
                        config_error(p, node->at,
                                     "install.encrypted_partitions[%u]: no partition has the label "
                                     "or name \"%s\"",
                                     i, list->item[i]);
                        config_advise(p, "make it in " EXTRA);
                }
        }
}

/* Persistent across boots, and forgotten at the next one: not both. */
static void check_mounts(const struct config *c, struct config_problems *p)
{
        const struct config_install *in = &c->install;
        const struct config_node *node = items(c, "install.ephemeral_mounts");

        for (unsigned i = 0; i < in->ephemeral_mounts.n && node; i++, node = node->next) {
                for (unsigned k = 0; k < in->bind_mounts.n; k++) {
                        if (same(in->ephemeral_mounts.item[i], in->bind_mounts.item[k]))
                                config_error(p, node->at,
                                             "install.ephemeral_mounts[%u]: \"%s\" is in "
                                             "bind_mounts, too",
                                             i, in->bind_mounts.item[k]);
                }
        }
}

static void check_entry(struct config *c, struct config_problems *p)
{
        const struct config_place *said = config_origin(c, "upgrade.entry");

        if (!c->recovery)
                return;
        if (said && c->upgrade.entry == CONFIG_ENTRY_ACTIVE)
                config_error(p, *said, "upgrade.entry: upgrade.recovery says otherwise");
        c->upgrade.entry = CONFIG_ENTRY_RECOVERY;
}

void config_check(struct config *c, struct config_problems *problems)
{
        check_end(c, c->install.reboot, c->install.poweroff, "install.poweroff", problems);
        check_end(c, c->upgrade.reboot, c->upgrade.poweroff, "upgrade.poweroff", problems);
        check_end(c, c->reset.reboot, c->reset.poweroff, "reset.poweroff", problems);
        check_encrypted(c, problems);
        check_extra(c, problems);
        check_mounts(c, problems);
        check_entry(c, problems);
        c->bind_pcrs |= UINT32_C(1) << TPM_PCR_BOOT_STATE;
        c->bind_public_pcrs |= UINT32_C(1) << TPM_PCR_IMAGE;
}
