/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of "status": what the ESP, the boot loader's wishes and the memory of upgrades say. */
#pragma once

#include "agent/install_record.h"
#include "agent/situation.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "upgrade/state.h"

/*
 * Adds to the document: version, blessed, tries_left, entries, running, next, fallback, pinned,
 * reset_pending,
 * and from the memory: failed_images, last_operation, pending_recovery. state NULL: it is not
 * known, and those three are null. -ENOMEM.
 */
int status_add_node(const struct env *env, struct json_object *root, const struct situation *s,
                    const struct state *state) _must_check_;

/* Adds to the overrides what was accepted at the installation: of the image as long as it is here,
 * of the machine for good. -ENOMEM. */
int status_add_record(struct json_object *root, const struct situation *s,
                      const struct install_record *record) _must_check_;

/* The same as text, from the document. */
void status_print_node(struct json_object *root);

/* Text of a field, "unknown" when it has none; "yes", "no", "unknown". */
const char *status_text(struct json_object *o, const char *key);
const char *status_yes_no(struct json_object *o, const char *key);
