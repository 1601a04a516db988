/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk this system was started from: found through the ESP that the boot loader names, so that
 * another disk with the same labels is never touched.
 */
#pragma once

#include "base/env.h"
#include "base/error.h"
#include "partition/disk.h"
#include "partition/layout.h"
#include "upgrade/esp.h"

struct node {
        struct disk *disk;
        struct layout layout;
        const struct layout_partition *esp;        /* inside layout */
        const struct layout_partition *oem;        /* NULL when the disk has none */
        const struct layout_partition *persistent; /* NULL when the disk has none */
};

/*
 * Finds the disk with this ESP (partition UUID, any case). -ENODEV when no attached disk has it, or
 * the kernel does not have all of its partitions yet; disks that cannot be read are passed over
 * with a warning. -ENOTUNIQ when two partitions have the UUID, or the disk has two partitions of
 * one of our names.
 */
int node_find(const struct env *env, const char *esp_uuid, struct node **ret, struct error *e)
        _must_check_;
void node_free(struct node *n);
DEFINE_CLEANUP(struct node, node_free)

/*
 * The disk the boot loader of this boot was started from, in the system that was booted: the kernel
 * may lack partitions that the boot stage withheld. -ENOENT when no loader told.
 */
int node_find_booted(const struct env *env, struct node **ret, struct error *e) _must_check_;

/*
 * Mounts the ESP of the node for this process alone (a private mount name space, gone with the
 * process) and returns a directory descriptor of it. Close it, then node_unmount_esp() to see write
 * errors.
 */
int node_mount_esp(const struct env *env, const struct node *n, bool writable, int *ret_fd,
                   struct error *e) _must_check_;
int node_unmount_esp(const struct env *env, struct error *e) _must_check_;

/* The mounted ESP of the node this system was started from. */
struct node_esp {
        struct node *node;
        int fd;
        struct esp esp; /* on fd */
};

/* node_find_booted() and node_mount_esp() in one. */
int node_esp_open(const struct env *env, bool writable, struct node_esp *ret, struct error *e)
        _must_check_;
/* Closes and unmounts. r: how the work on it went; a failure of that is returned, with its e,
 * before one of the unmounting. */
int node_esp_close(const struct env *env, struct node_esp *n, int r, struct error *e) _must_check_;

/*
 * An ESP that was cut from its system is repaired before it is mounted writable, as
 * node_mount_esp() does; target is a place to mount it for a look. The repair cuts one of two files
 * that share clusters and does not ask which, so the one that this node does not need (esp_needs())
 * loses its name first, and none of its clusters. Where it needs both, nothing is repaired, with a
 * warning: the ESP can be written to all the same, as upgrade/esp.h deletes no file that shares
 * clusters and writes into none.
 */
int node_check_esp(const char *device, const char *target, struct error *e) _must_check_;

/* The mount options of an ESP: nobody but root reads it, nothing on it is run. */
int node_mount_vfat(const char *device, const char *target, bool writable, struct error *e)
        _must_check_;
