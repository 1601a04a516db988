/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_check.h"

#include <string.h>

#include "base/limits.h"
#include "partition/layout.h"
#include "partition/tpm.h"

/* A LUKS2 header has 16 MiB; ext4 with its journal needs a few. */
#define ENCRYPTED_MIN (32 * MIB)
#define EXT4_MIN (16 * MIB)

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

/* GPT names that are the node's, the boot loader's or device-mapper's own. */
static bool is_own_name(const char *name)
{
        static const char *const taken[] = {LAYOUT_ESP_NAME, "esp", LAYOUT_OEM_NAME,
                                            LAYOUT_PERSISTENT_NAME, "control"};

        for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
                if (strcasecmp(name, taken[i]) == 0)
                        return true;
        }
        return strncasecmp(name, "tb-", 3) == 0;
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

        if (is_own_name(x->name))
                config_error(p, node->at, EXTRA "[%u]: the name \"%s\" is taken", i, x->name);
        if (x->label && strncasecmp(x->label, "COS_", 4) == 0)
                config_error(p, node->at,
                             EXTRA "[%u]: the label \"%s\" begins as those of the node do", i,
                             x->label);
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

static void check_room(const struct config_partition *x, unsigned i, const struct config_node *node,
                       struct config_problems *p)
{
        if (x->encrypted && x->size < ENCRYPTED_MIN)
                config_error(p, node->at, EXTRA "[%u]: an encrypted partition needs 32 MiB", i);
        else if (x->fs == CONFIG_FS_EXT4 && x->size < EXT4_MIN)
                config_error(p, node->at, EXTRA "[%u]: an ext4 needs 16 MiB", i);
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
                check_room(&c->install.extra.item[i], i, node, p);
        }
}

/* The node's own need not be named, but may be: Kairos wants it so. */
static bool encrypt(struct config *c, const char *label)
{
        bool found = same(label, LAYOUT_OEM_LABEL) || same(label, LAYOUT_PERSISTENT_LABEL) ||
                     same(label, LAYOUT_OEM_NAME) || same(label, LAYOUT_PERSISTENT_NAME);

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

static void check_keys(const struct config *c, struct config_problems *p)
{
        const struct config_install *in = &c->install;

        if (in->recovery_key != CONFIG_RECOVERY_UNSAID && in->recovery_key_file)
                config_error(p, place(c, "install.recovery-key-file"),
                             "install.recovery-key-file: install.recovery-key says otherwise");
        if (config_origin(c, "install.enroll-keys-by") && !in->enroll_keys)
                config_error(p, place(c, "install.enroll-keys-by"),
                             "install.enroll-keys-by: install.enroll-keys is missing");
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
        check_keys(c, problems);
        check_entry(c, problems);
        c->bind_pcrs |= UINT32_C(1) << TPM_PCR_BOOT_STATE;
        c->bind_public_pcrs |= UINT32_C(1) << TPM_PCR_IMAGE;
}
