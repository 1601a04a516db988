/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/upgrade_config.h"

#include "agent/config_userdata.h"

void upgrade_config_done(struct upgrade_config *c)
{
        config_free(c->config);
        c->config = NULL;
}

int upgrade_config_apply(const struct config *config, struct upgrade_config *c,
                         struct upgrade_options *o, struct error *e)
{
        const struct config_upgrade *in = &config->upgrade;
        bool said = c->reboot || c->power_off, own = !o->source;

        o->recovery = o->recovery || (in->entry == CONFIG_ENTRY_RECOVERY && !o->all);
        c->reboot = c->reboot || (in->reboot && !said);
        c->power_off = c->power_off || (in->poweroff && !said);
        if (own)
                o->source = o->recovery && in->recovery_source ? in->recovery_source : in->source;
        /* Of the configuration's own source: for another one it was not said. */
        if (!own || !o->source || !in->allow_insecure_registries)
                return 0;
        return source_allow_insecure(&o->from, o->source, c->insecure,
                                     "upgrade.allow-insecure-registries", e);
}

int upgrade_config_read(const struct env *env, struct upgrade_config *c, struct upgrade_options *o,
                        struct error *e)
{
        struct fetch_options fetch;
        const struct config_wish wish = {.sources = c->files.item,
                                         .n_sources = c->files.n,
                                         .known_folders = c->known_folders || c->files.n == 0,
                                         .fetch = &fetch};
        int r;

        if (o->source && c->files.n == 0 && !c->known_folders)
                return 0;
        source_fetch_options(&o->from, &fetch);
        r = config_load_checked(env, &wish, &c->config, e);
        return r == 0 ? upgrade_config_apply(c->config, c, o, e) : r;
}
