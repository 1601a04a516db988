/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_install.h"

/* The first wish that nobody would fulfil, NULL: there is none. */
static const char *find_unfulfilled(const struct config *c)
{
        const struct config_install *in = &c->install;
        const struct {
                bool wanted;
                const char *path;
        } wishes[] = {
                {in->reboot, "install.reboot"},
                {in->poweroff, "install.poweroff"},
                {in->no_format, "install.no-format"},
                {in->allow_insecure_registries, "install.allow-insecure-registries"},
                {in->bind_mounts.n > 0, "install.bind_mounts"},
                {in->ephemeral_mounts.n > 0, "install.ephemeral_mounts"},
                {in->oem_size > 0, "install.partitions.oem.size"},
                {in->persistent_size > 0, "install.partitions.persistent.size"},
                {in->extra.n > 0, "install.extra-partitions"},
                {in->swap_size > 0, "install.swap"},
                {in->recovery_key == CONFIG_RECOVERY_SHOW, "install.recovery-key"},
                {in->recovery_key_file, "install.recovery-key-file"},
                {in->enroll_keys, "install.enroll-keys"},
                {in->allow_discards, "install.allow-discards"},
                {in->force_release, "install.force-release"},
                {in->hooks.before.n > 0, "install.hooks.before"},
                {in->hooks.after.n > 0, "install.hooks.after"},
                {c->bind_pcrs != INSTALL_LITERAL_PCRS, "bind-pcrs"},
                {c->bind_public_pcrs != INSTALL_SIGNED_PCRS, "bind-public-pcrs"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
                if (wishes[i].wanted)
                        return wishes[i].path;
        }
        return NULL;
}

int config_apply_to_install(const struct config *c, struct install_wishes *wishes, struct error *e)
{
        const struct config_place none = {.file = "configuration"};
        const char *path = find_unfulfilled(c);
        const struct config_place *at = path ? config_origin(c, path) : NULL;

        if (path) {
                at = at ? at : &none;
                return error_set(e, ERROR_CONFIG, EOPNOTSUPP,
                                 "%s:%u:%u: %s: this installer cannot do that", at->file, at->line,
                                 at->column, path);
        }
        /* The default is a rule, and a rule that nobody gave chooses no disk to erase. */
        if (!wishes->target && config_origin(c, "install.device"))
                wishes->target = c->install.device;
        if (!wishes->source)
                wishes->source = c->install.source;
        if (wishes->layout.esp_size == 0)
                wishes->layout.esp_size = c->install.efi_size;
        return 0;
}
