/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks: executables that are asked before an upgrade or an installation and told after it, from
 * the folder EVENT of /usr/lib/tb-agent/hooks.d, /etc/tb-agent/hooks.d and /oem/tb-agent/hooks.d of
 * the node; then those that a configuration names. They run as agent/scripts.h says, in the node's
 * own root, with a description of the operation in their environment:
 *
 *   TB_EVENT             before-upgrade, after-upgrade, before-install, after-install,
 *                        before-reset, after-reset
 *   TB_SOURCE            where the image comes from, without a password
 *   TB_TARGET            active, recovery; empty for an installation; of a reset the
 *                        partitions, with commas between them
 *   TB_DISK              of an installation or a reset: the node of the disk, e.g. /dev/vda
 *   TB_FROM_VERSION      what runs now; empty when unknown
 *   TB_FROM_SHA256       digest of its image; empty when unknown
 *   TB_TO_VERSION        of the new image; empty when it is not known yet
 *   TB_TO_SHA256         digest of the new image; empty when it is not known yet
 *   TB_TO_MANIFEST       digest of the new manifest; empty when the source has none
 *   TB_RESULT            after-upgrade: upgraded; after-install: installed;
 *                        after-reset: reset
 */
#pragma once

#include "base/error.h"

enum hook_event {
        HOOK_BEFORE_UPGRADE,
        HOOK_AFTER_UPGRADE,
        HOOK_BEFORE_INSTALL,
        HOOK_AFTER_INSTALL,
        HOOK_BEFORE_RESET,
        HOOK_AFTER_RESET,
        HOOK_EVENT_MAX,
};

/* Texts may be NULL: unknown. */
struct hook_facts {
        const char *source, *target, *disk;
        const char *from_version, *from_sha256;
        const char *to_version, *to_sha256, *to_manifest;
        const char *result;
};

/* "before-upgrade", "after-upgrade", ... */
const char *hook_event_name(enum hook_event event);

/* Where hooks are. */
struct hook_places {
        const char *root;            /* of the node, env->root; hooks run in it */
        const char *const *folders;  /* NULL-terminated, below root; hook_folders */
        const char *const *programs; /* of the event, below root; NULL: none */
        unsigned n_programs;
};

extern const char *const hook_folders[];

/*
 * Runs the hooks of an event. 0; -ESCRIPT (ERROR_PRECONDITION) at the first that did not end with
 * status 0. What that means is the caller's: one that is asked refuses, one that is told is
 * reported.
 */
int hooks_run(const struct hook_places *places, enum hook_event event,
              const struct hook_facts *facts, unsigned *ret_run, struct error *e) _must_check_;
