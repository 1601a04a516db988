/* SPDX-License-Identifier: Apache-2.0 */
/* Users of user data as sysusers.d(5), tmpfiles.d(5) and credentials. For
 * agent/userdata_systemd.c. */
#pragma once

#include "agent/userdata.h"
#include "agent/userdata_accounts.h"

/* Where credentials of the new users are; names as systemd-sysusers looks for them. */
#define USERDATA_CREDENTIALS "/run/tb-agent/userdata/credentials"

struct userdata_sysusers {
        struct buf users;       /* sysusers.d lines */
        struct buf files;       /* tmpfiles.d lines: homes, keys, sudo */
        struct buf credentials; /* LoadCredential= lines */
        size_t n;               /* users that are made or changed */
};

/*
 * Adds the lines of all users, and the credentials to files. What systemd cannot do is left out,
 * with a warning. -ENOMEM, -E2BIG.
 */
int userdata_sysusers(const struct config_node *tree, const struct userdata_accounts *accounts,
                      struct config_problems *problems, struct userdata_files *files,
                      struct userdata_sysusers *ret) _must_check_;
