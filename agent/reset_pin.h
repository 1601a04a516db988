/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PIN of the volumes that a reset makes. A node asks for one PIN: where a partition stays that
 * has one, the new volumes get the same, which the TPM compares before anything is destroyed;
 * otherwise it is a new one.
 */
#pragma once

#include <stdbool.h>

#include "agent/node.h"
#include "agent/reset_journal.h"
#include "base/secret.h"
#include "partition/tpm.h"

/* Whether something stays that has a PIN of this TPM. */
bool reset_pin_stays(const struct node *node, const struct reset_journal *j, struct tpm *tpm);

/* Compares a PIN with those of what stays: -EILSEQ (ERROR_PRECONDITION) when it is another one,
 * which the TPM counts; -ENOLCK in its lockout, or when one more wrong one would begin it. */
int reset_pin_compare(const struct node *node, const struct reset_journal *j, struct tpm *tpm,
                      const struct secret *pin, struct error *e) _must_check_;
