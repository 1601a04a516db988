/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCTI in front of the real one: it counts commands and lets an observer see the traffic. The
 * count is what a benchmark compares; the observer is what a test needs to prove that no secret
 * crosses the bus in clear, or to do something between two commands.
 */
#pragma once

#include <stdbool.h>
#include <tss2/tss2_tcti.h>

#include "base/error.h"

/*
 * Sees a command before it is sent (is_command) or a response after it arrived. inner is the real
 * TCTI; while is_command is true it is idle and may be used for a command of the observer's own.
 */
typedef void (*tpm_tcti_observer)(void *ctx, TSS2_TCTI_CONTEXT *inner, bool is_command,
                                  const uint8_t *data, size_t n);

struct tpm_tcti {
        TSS2_TCTI_CONTEXT_COMMON_V1 common; /* must be first: this struct is a TSS2_TCTI_CONTEXT */
        TSS2_TCTI_CONTEXT *inner;
        uint64_t commands;
        uint64_t sent_us, busy_us; /* when the last command went out; how long all of them took */
        tpm_tcti_observer observer;
        void *observer_ctx;
};

/* Loads and connects the TCTI that conf names. Errors as tpm_open(). */
int tpm_tcti_open(const char *conf, struct tpm_tcti **ret, struct error *e) _must_check_;
void tpm_tcti_free(struct tpm_tcti *t);
DEFINE_CLEANUP(struct tpm_tcti, tpm_tcti_free)
