/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCRs (sha256 bank) that a machine will have that starts an image: upgrade/measure.h for one
 * image and one of its profiles, and how that is told.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/json.h"
#include "image/phases.h"
#include "upgrade/measure.h"

struct prediction {
        bool has_loader, has_pcr7;
        uint8_t pcr4[SHA256_SIZE], pcr7[SHA256_SIZE], pcr12[SHA256_SIZE], pcr13[SHA256_SIZE];
        uint8_t pcr11[PHASE_MAX][SHA256_SIZE];
};

/*
 * keys: directory with the lists that the firmware is enrolled with, or NULL: PCR 7 is not known
 * then. Of private keys none is read. Errors: those of measure_pcr4() and measure_pcr7().
 */
int predict(const struct measure_boot *boot, unsigned profile, const char *keys,
            struct prediction *ret, struct error *e) _must_check_;

/* A line for each value on standard output. */
void predict_print(const struct prediction *p);

/* {"4","7","11":{path},"12","13"} into an object. -ENOMEM. */
int predict_add(const struct prediction *p, struct json_object *pcrs) _must_check_;
