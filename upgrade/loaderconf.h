/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader/loader.conf, the configuration of systemd-boot. The product needs it to name no default
 * (it would defeat the counting of tries) and to have no editor (the command line is part of the
 * image); the rest is taste, and an administrator's taste stays.
 */
#pragma once

#include "base/buf.h"
#include "upgrade/esp.h"

#define LOADERCONF_PATH "loader/loader.conf"

/* What a new ESP gets. */
extern const char loaderconf_default[];
/* The same, and the keys of loader/keys/auto are enrolled as long as the firmware is in setup mode.
 */
extern const char loaderconf_enroll[];

/*
 * Appends what the text has to become: lines that name a default are left out, "editor" is
 * switched off, keys of ours that are missing are added; everything else stays as it is. 1 when
 * that is another text, 0 when it is the same. -EBADMSG for a text with NUL bytes, -E2BIG.
 */
int loaderconf_merge(const void *text, size_t n, struct buf *out) _must_check_;

/*
 * Brings the file of an ESP up to date, by an exchange; a missing or unreadable one becomes the
 * default. *ret_changed (may be NULL): it was not as it has to be.
 */
int loaderconf_update(const struct esp *esp, bool *ret_changed, struct error *e) _must_check_;
