/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk image that is sealed to a TPM which is not that of this machine ("install --image FILE
 * --tcti TCTI"): that of a virtual machine, reached while the machine is off, or one that is
 * reached over a network. Its PCRs say nothing about the boot that the data is to open in, so
 * somebody has to know the value of PCR 7 there:
 *
 *   --event-log FILE  the firmware's log of a boot of that machine, or of one with the same
 *                     firmware and keys. db and dbx are taken from it, and PCR 7 is what it leads
 *                     to with the entries of db that vouch for this boot loader and this image in
 *                     the place of those of its boot (partition/pcr7.h).
 *   --pcr7 HEX        the value itself.
 *
 * A wrong value opens nothing for anybody: the data stays closed. The value of a boot without
 * Secure Boot would open it to any program that imitates the image: a log of such a boot is
 * refused, but a value alone does not tell.
 *
 *     golden_tpm_check() -> golden_tpm_begin() -> the source is verified -> golden_tpm_end()
 */
#pragma once

#include "agent/install.h"

/* Wishes that do not go together: ERROR_USAGE. For an image that is to be sealed. */
int golden_tpm_check(const struct install_wishes *wishes, struct error *e) _must_check_;

/*
 * Asks the TPM what an installation would ask it, version floor included; refuses as an
 * installation. Reads the log; the plan's machine gets db and dbx of it, unless the wishes name
 * files.
 */
int golden_tpm_begin(struct install_plan *p, const struct install_wishes *wishes, struct error *e)
        _must_check_;

/* Sets the plan's PCR 7 and the values that its volumes are bound to. */
int golden_tpm_end(struct install_plan *p, const struct install_wishes *wishes, struct error *e)
        _must_check_;

/* For the plan. -ENOMEM. */
void golden_tpm_describe(const struct install_plan *p, FILE *out);
int golden_tpm_add_plan(struct json_object *root, const struct install_plan *p) _must_check_;
