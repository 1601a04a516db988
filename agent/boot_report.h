/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the boot stage did: collected while it runs, written to /run/tb-agent/boot.json before the
 * hand-over, read by "status". Collecting never fails a boot: when memory runs out, the report is
 * what is missing.
 */
#pragma once

#include <stdint.h>

#include "base/env.h"
#include "base/error.h"
#include "base/json.h"

struct boot_report;

struct boot_report *boot_report_new(void);
void boot_report_free(struct boot_report *b);
DEFINE_CLEANUP(struct boot_report, boot_report_free)

/* Milliseconds since the kernel started. */
uint64_t boot_report_now(void);

/* What the stage waits for and cannot make faster. */
enum boot_cost {
        BOOT_COST_TPM,    /* its device to appear, and its answers */
        BOOT_COST_DISK,   /* its device to appear, headers, opening, checks, mounts */
        BOOT_COST_PERSON, /* the answer to a question */
        BOOT_COST_MAX,
};

void boot_report_cost(struct boot_report *b, enum boot_cost cost, uint64_t ms);

/* Ends the step that ran since the last call (or since the start) and notes its milliseconds. */
void boot_report_step(struct boot_report *b, const char *name);

void boot_report_set(struct boot_report *b, const char *key, const char *value);
void boot_report_set_u64(struct boot_report *b, const char *key, uint64_t value);
void boot_report_set_bool(struct boot_report *b, const char *key, bool value);

/* Sets a value, which the report owns then (also when memory runs out). */
void boot_report_set_json(struct boot_report *b, const char *key, struct json_object *value);

/* How one partition was opened. Texts may be NULL: not known, or none. */
struct boot_report_volume {
        const char *name, *device, *uuid;
        bool encrypted;               /* the header is in our form */
        const char *unlocked_by;      /* "tpm2", "recovery-key" */
        const char *unlocked_with;    /* token_id() of the TPM token */
        const char *error;            /* why not */
        uint64_t tpm_ms, activate_ms; /* for the unsealing, and for the mapping */
};

/* A later record of the same name replaces an earlier one. */
void boot_report_partition(struct boot_report *b, const struct boot_report_volume *v);
/* A problem that did not stop the boot. */
void boot_report_problem(struct boot_report *b, const char *text);

/* Writes the report to run/tb-agent/boot.json: also when this stage began after the start of the
 * kernel (started_ms), how long it took (total_ms), and what of that was the TPM (tpm_ms), the disk
 * (disk_ms) and neither of them nor a person (own_ms). */
int boot_report_write(struct boot_report *b, const struct env *env, struct error *e) _must_check_;
/* Reads it again. -ENOENT when this system was not started by the boot stage. */
int boot_report_read(const struct env *env, struct json_object **ret, struct error *e) _must_check_;
