/* SPDX-License-Identifier: Apache-2.0 */
/* mount(2) with words, and the few compositions the agent needs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/error.h"

/* Mounts, making the target directory (0755) when it is missing. data may be NULL. */
int mount_fs(const char *source, const char *target, const char *type, unsigned long flags,
             const char *data, struct error *e) _must_check_;

/* Whether a block device is write-protected, by itself or for the kernel. */
bool mount_takes_no_writes(const char *device);

/* A bind mount of source on target. */
int mount_bind(const char *source, const char *target, struct error *e) _must_check_;

/* Changes the flags of one mount, e.g. MS_RDONLY, without touching the file system below. */
int mount_set_flags(const char *target, unsigned long flags, struct error *e) _must_check_;

/*
 * Puts an ephemeral overlay on an existing directory: reads fall through to what is there, writes
 * go to upper_root/<name> on a file system in memory. name is target with slashes turned to dashes.
 */
int mount_overlay(const char *target, const char *upper_root, unsigned long flags, struct error *e)
        _must_check_;

/*
 * Mounts a device read-only where nobody sees it: a descriptor of its root directory, and closing
 * that (or dying) ends the mount.
 */
int mount_look(const char *device, const char *type, struct error *e) _must_check_;

/* Unmounts; the file system is synced first so that an error of the device is seen here. */
int mount_unmount(const char *target, struct error *e) _must_check_;

/*
 * Mounts an ext4 file system of data, without devices and programs, has work done inside (dirfd:
 * its root) and unmounts it, with everything written. The first failure is the one that is
 * returned.
 */
int mount_data_for(const char *device, const char *target, bool writable,
                   int (*work)(void *arg, int dirfd, struct error *e), void *arg, struct error *e)
        _must_check_;

/*
 * Gives this process a mount name space of its own whose mounts nobody else sees, and which
 * disappear with the process. Used before the ESP is mounted for a moment.
 */
int mount_private(struct error *e) _must_check_;

/* A descriptor of the mount name space this process is in. */
int mount_name_space(struct error *e) _must_check_;

/* Goes back there after mount_private(): what is unmounted then is unmounted for everybody. The
 * working directory stays. */
int mount_return(int name_space, struct error *e) _must_check_;
