/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which folders of the image can be written to, and which of them keep what is written: a pure
 * plan.
 *
 * An ephemeral folder shows the image at every boot, and writes to it stay in memory. A bound
 * folder lives on the persistent partition, in .state/<path with dashes>.bind, and is filled from
 * the image once, when it is used for the first time.
 *
 * The bound folders are those of Kairos (reference/kairos.md, section 2), without the ones that
 * would carry programs, units or trust of an old image into a new one: a node runs what its image
 * brings, and an upgrade must be able to take something away. Left out are /etc/systemd,
 * /etc/init.d, /etc/runlevels and /usr/libexec (units and programs), /opt (programs; it is
 * ephemeral here, because network plug-ins of Kubernetes are copied there at every start),
 * /etc/ssl/certs and /var/lib/ca-certificates (authorities that an image revokes),
 * /var/lib/extensions and /var/lib/confexts (systemd merges what lies there over the signed image).
 * A user who wants /etc/systemd or /opt bound can say so; what is below /usr stays the image's, but
 * for the plug-in folder of Kubernetes.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/limits.h"

#define BOOT_STATE_SUFFIX ".bind"
/* A path must fit into one file name, with the suffix and what a temporary name adds. */
#define BOOT_LAYOUT_PATH_MAX 200u
/* The plan has room for the defaults and for as many additions as are accepted. */
#define BOOT_LAYOUT_MAX (64u + 2 * LIMIT_BOOT_ADDITIONS)

struct boot_path {
        char text[BOOT_LAYOUT_PATH_MAX + 1];
};

/* What the user wants besides the defaults. */
struct boot_additions {
        size_t n_binds, n_ephemeral;
        struct boot_path binds[LIMIT_BOOT_ADDITIONS], ephemeral[LIMIT_BOOT_ADDITIONS];
};

struct boot_mount {
        struct boot_path path;
        bool bind;           /* else ephemeral */
        bool user;           /* the user asked for it */
        unsigned long flags; /* MS_* of mount(2) */
};

struct boot_layout {
        size_t n;
        struct boot_mount mounts[BOOT_LAYOUT_MAX];
};

/*
 * Reads {"bind":[PATH...],"ephemeral":[PATH...]}; both keys are optional, others are refused. The
 * paths are not looked at. what names the document in messages. -EBADMSG, -E2BIG: ERROR_CONFIG.
 */
int boot_layout_parse(const void *text, size_t n, const char *what, struct boot_additions *ret,
                      struct error *e) _must_check_;

/*
 * Defaults and additions as an ordered list: every folder comes after the ones around it. An
 * addition must be absolute and normal (no "..", no doubled or trailing slash), of characters that
 * a mount option can hold, not the same in both lists, and must not hide or replace what the boot
 * itself needs or what belongs to the image alone: -EINVAL, ERROR_CONFIG. An ephemeral folder
 * inside an ephemeral one is left out, because it is that already.
 *
 * Without a persistent partition, what would be bound is ephemeral, and so is /usr/local.
 * additions may be NULL.
 */
int boot_layout_plan(const struct boot_additions *additions, bool persistent,
                     struct boot_layout *ret, struct error *e) _must_check_;

/* "/var/lib/rancher" -> "var-lib-rancher.bind". */
void boot_layout_state_name(const struct boot_path *path, char ret[NAME_MAX + 1]);
