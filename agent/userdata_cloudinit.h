/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User data for an image with cloud-init: a seed of its NoCloud datasource, and a configuration
 * that lets it look nowhere else. Each boot is a new instance, because what an instance got is
 * forgotten with /etc.
 */
#pragma once

#include "agent/userdata.h"

/*
 * Adds the seed and the configuration, u->common not included. boot_id: any text that is new at
 * each boot. u NULL: there is no user data, and cloud-init is to find none. -ENOMEM, -E2BIG:
 * ERROR_CONFIG.
 */
int userdata_cloudinit(const struct userdata *u, const char *boot_id, struct userdata_files *files,
                       struct error *e) _must_check_;
