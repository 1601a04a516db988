/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The partitions and file systems of a real node for a reset: the callbacks of struct reset_world,
 * shared by the verb and the boot stage.
 */
#pragma once

#include "agent/node.h"
#include "agent/progress.h"
#include "agent/reset.h"
#include "partition/luks.h"

struct install_escrow;

struct reset_node {
        const struct env *env;
        const struct node *node;
        const struct reset_journal *journal;
        struct install_escrow *escrow; /* NULL: no recovery key */
        struct progress *progress;     /* may be NULL */
        char phase[80];                /* that was told last */
};

/* Fills disk, sector, callbacks and recovery key of the world. */
void reset_node_world(struct reset_node *n, struct reset_world *w);

/* Whether the image's policy key is one that the volume is sealed for: -ENOKEY
 * (ERROR_PRECONDITION). */
int reset_node_check_key(const struct luks *luks, const struct verified_image *image,
                         struct error *e) _must_check_;

/* Whether the TPM knows of a journal: without, one on the boot partition leads to nothing. Negative
 * when it cannot be asked. */
int reset_node_is_noted(const struct env *env, struct error *e) _must_check_;

/* Removes a journal that leads to nothing. With the node's lock held: a reset has just noted the
 * one that it wrote. */
int reset_node_drop_journal(const struct env *env, const struct esp *esp, struct error *e)
        _must_check_;

/* Ends the mapping of a run that was killed. With the node's lock held. */
int reset_node_drop_stale(const struct env *env, struct error *e) _must_check_;
