/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data partitions of a node: which they are, their headers, opening them by a recovery key, and
 * where they are mounted. The boot stage and "unlock" share this.
 */
#pragma once

#include <stdbool.h>

#include "agent/node.h"
#include "base/env.h"
#include "base/error.h"
#include "base/secret.h"
#include "partition/luks.h"
#include "partition/tpm.h"

#define DATA_DM_OEM "oem"
#define DATA_DM_PERSISTENT "persistent"

struct data_volume {
        const struct layout_partition *partition; /* in the node's layout */
        const char *label;   /* of the LUKS2 header; NULL: a user's partition, any */
        const char *mapping; /* name below /dev/mapper */
};

struct data_list {
        size_t n;
        struct data_volume item[LIMIT_EXTRA_PARTITIONS + 2];
};

/*
 * oem and persistent where the node has them, then the user's partitions: of type Linux file
 * system, with a name that extra_name_ok() takes and that no other partition of the disk has.
 * Whether they are encrypted at all is not known yet.
 */
void data_list(const struct node *n, struct data_list *ret);

/* The one with this mapping, or NULL. */
const struct data_volume *data_find(const struct data_list *list, const char *mapping);

/*
 * Reads the header and checks it (luks_check_header()). *ret_device, to be freed, is set as soon as
 * it is known, also on failure; *ret on success. -EMEDIUMTYPE: not encrypted.
 */
int data_open_header(const struct node *n, const struct data_volume *v, char **ret_device,
                     struct luks **ret, struct error *e) _must_check_;

/*
 * Whether this very partition is open under its mapping: the mapping stands on it, and is of the
 * volume that its header names. Another one that bears the name is not it.
 */
bool data_is_open(const struct node *n, const struct data_volume *v);

/*
 * Opens the volume by its recovery key. tpm may be NULL: the volume key is then not measured into
 * PCR 15. A failure of measuring is logged and no more, because a broken TPM is what recovery keys
 * are for, and the policies of this boot are closed by then. ret_volume_key may be NULL. -EACCES
 * and -ENOKEY as recovery_key_find_slot().
 */
int data_open_by_key(struct luks *l, const struct data_volume *v, const struct secret *key,
                     struct tpm *tpm, struct secret **ret_volume_key, struct error *e) _must_check_;

/*
 * Checks and mounts the open volumes where they belong: oem, and outside of recovery persistent. In
 * recovery the persistent file system stays unmounted: a reset must be able to replace it. What is
 * mounted there already stays. ret (may be NULL) tells what is mounted, also after a failure.
 */
struct data_mounted {
        bool oem, persistent;
};

int data_mount_all(const struct env *env, bool recovery, struct data_mounted *ret, struct error *e)
        _must_check_;

/* Where this volume is mounted by data_mount_all(), or NULL. */
const char *data_mount_point(const struct env *env, const struct data_volume *v, bool recovery);
