/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images: "install --image FILE" writes the disk of a node into a file, as an ordinary user,
 * without mounts, loop devices, device-mapper or TPM. ESP, images, entries and table are those of
 * an installation, made by the same code. The data partitions are blank (partition/blank.h): an
 * image that is copied to many machines holds no key, and each machine makes its volumes at its
 * first boot (agent/boot.h). When the TPM of the one machine that will start it can be reached
 * (--tcti), the image is a finished node instead: agent/golden_tpm.h, agent/golden_volume.h.
 *
 * Trust: the image is as public as its file. Boot loader and images on it are signed, and nothing
 * else is: whoever can write the file, or the disk before the first boot, chooses the
 * configuration. It lies in the file in clear, and is encrypted from the first boot on.
 *
 * FILE appears when it is complete, and not before: the work is done under a temporary name beside
 * it (".NAME.XXXXXX"), which is removed when the work fails or is stopped by a signal.
 */
#pragma once

#include "agent/install.h"

/*
 * Wishes that only make sense for a disk, or the other way around: ERROR_USAGE. Before anything
 * else, for disks as well.
 */
int golden_check(const struct install_wishes *wishes, struct error *e) _must_check_;

/*
 * As install_prepare(), for a plan with an image. Changes nothing; ERROR_SPACE says what the size
 * has to be. Proofs are those against the databases of the wishes, because the machines that will
 * start the image are not this one.
 */
int golden_prepare(const struct env *env, const struct install_wishes *wishes,
                   struct install_plan *ret, struct error *e) _must_check_;

/* As install_apply(): when it returns 0 the file is there and durable, and the recovery key, if
 * there is one, is where it was to go. */
int golden_apply(struct install_plan *p, struct install_progress *progress, struct error *e)
        _must_check_;
