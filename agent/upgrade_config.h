/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration's section "upgrade" says where the command line of an upgrade says nothing.
 */
#pragma once

#include "agent/config.h"
#include "agent/upgrade_options.h"

struct upgrade_config {
        struct option_list files;        /* of --config */
        bool known_folders;              /* also those: --use-default-dirs */
        bool reboot, power_off;          /* in: of the command line; out: what is wished */
        struct config *config;           /* owned; NULL: none was read */
        char insecure[SOURCE_HOST_SIZE]; /* a host that is added to the options */
};

void upgrade_config_done(struct upgrade_config *c);

/*
 * Reads what is named, and the known folders when there is no other source; problems are printed.
 * Fills what the options left open; texts point into c. Hooks stay in c->config. ERROR_CONFIG for a
 * configuration with errors.
 */
int upgrade_config_read(const struct env *env, struct upgrade_config *c, struct upgrade_options *o,
                        struct error *e) _must_check_;

/* The second half of it, with the configuration at hand. */
int upgrade_config_apply(const struct config *config, struct upgrade_config *c,
                         struct upgrade_options *o, struct error *e) _must_check_;
