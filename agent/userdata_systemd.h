/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User data for an image without cloud-init: systemd's own tools apply it. Users come by
 * systemd-sysusers, passwords as its credentials, files by systemd-tmpfiles, the name of the host
 * by /etc/hostname, commands as services: units of our own in /run, so that nothing depends on
 * which units an image has enabled.
 */
#pragma once

#include "agent/userdata.h"
#include "agent/userdata_accounts.h"

/* Adds what systemd needs for it, u->common not included. What it cannot do is left out, with a
 * warning. -ENOMEM, -E2BIG: ERROR_CONFIG. */
int userdata_systemd(const struct userdata *u, const struct userdata_accounts *accounts,
                     struct config_problems *problems, struct userdata_files *files,
                     struct error *e) _must_check_;
