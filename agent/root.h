/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that is seen from a container: its root is mounted at some folder ("/host"), and every
 * path of the node is below it. Sources, keys and certificates that a command line names are paths
 * of the container.
 *
 * What the container needs: root in the initial user name space with CAP_SYS_ADMIN (mounts,
 * efivarfs, device access: "privileged"), and the node's root with everything mounted below it
 * (/dev, /proc, /sys, /run and the EFI variables), which a hostPath volume of "/" is. The process,
 * network and mount name spaces of the node are not needed: mounts are made in a name space of the
 * agent's own, and nothing of the node sees them.
 */
#pragma once

#include "base/cleanup.h"
#include "base/env.h"
#include "base/error.h"

/* More than env has paths. */
#define ROOT_TEXTS_MAX 12u

struct root {
        struct env env; /* to be used instead of the one it was made from */
        char *text[ROOT_TEXTS_MAX];
        unsigned n;
};

/*
 * Makes an env whose paths are below the folder; NULL or "/": the same as before. A TPM that is
 * named by a device ("device:/dev/tpmrm0") is taken from there as well, unless tcti names one.
 * -EINVAL (ERROR_USAGE) when the folder is not absolute or not there, -ENOENT
 * (ERROR_PRECONDITION) when it holds no root of a node.
 */
int root_make(const struct env *env, const char *folder, const char *tcti, struct root *ret,
              struct error *e) _must_check_;
void root_done(struct root *r);
