/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "doctor": what is wrong with a node, and what to do about it. It is run when things are
 * broken: nothing is changed, and whatever cannot be looked at is a finding of its own, while the
 * rest goes on.
 *
 *     doctor_look() -> doctor_tpm(), doctor_data(), ...    the world; what was seen becomes
 * findings
 *
 * The functions doctor_judge_*() are pure: facts in, findings out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/measured.h"
#include "agent/node.h"
#include "agent/preflight.h"
#include "agent/situation.h"
#include "agent/starters.h"
#include "agent/ways.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "partition/fat_check.h"
#include "upgrade/state.h"

enum doctor_severity {
        DOCTOR_OK,
        DOCTOR_NOTE,    /* worth knowing, nothing to do */
        DOCTOR_WARNING, /* works now, and may not after the next change */
        DOCTOR_PROBLEM, /* does not work, or protects less than it should */
        DOCTOR_SEVERITY_MAX,
};

enum doctor_area {
        DOCTOR_TPM,
        DOCTOR_MEASUREMENTS,
        DOCTOR_DATA,
        DOCTOR_ESP,
        DOCTOR_ENTRIES,
        DOCTOR_FIRMWARE,
        DOCTOR_MEMORY, /* operations, and the file systems of the node */
        DOCTOR_AREA_MAX,
};

struct doctor_finding {
        enum doctor_area area;
        enum doctor_severity severity;
        const char *id;   /* stable, "esp-not-unmounted"; a constant */
        char subject[64]; /* what it is about: "oem", "active.conf"; "" = the node */
        char text[800];   /* what was found */
        char advice[400]; /* what to do; "" = nothing */
};

#define DOCTOR_FINDINGS_MAX 512u
struct doctor_list {
        struct doctor_finding *item;
        size_t n;
        bool incomplete; /* memory ran out, or there are too many */
};

void doctor_list_done(struct doctor_list *l);

/* subject and advice may be NULL. */
struct doctor_finding *doctor_add(struct doctor_list *l, enum doctor_area area,
                                  enum doctor_severity severity, const char *id,
                                  const char *subject, const char *advice, const char *fmt, ...)
        _printf_(7, 8);
/* What could not be looked at, or failed, in the words of the error. */
void doctor_add_error(struct doctor_list *l, enum doctor_area area, enum doctor_severity severity,
                      const char *id, const char *subject, const struct error *e);

const char *doctor_severity_name(enum doctor_severity s);
const char *doctor_area_name(enum doctor_area a);
unsigned doctor_count(const struct doctor_list *l, enum doctor_severity s);
/* The first finding of that id and (unless NULL) subject; NULL: there is none. */
const struct doctor_finding *doctor_find(const struct doctor_list *l, const char *id,
                                         const char *subject);

/* Adds "problems", "warnings", "notes" and "findings". -ENOMEM. */
int doctor_json(const struct doctor_list *l, struct json_object *root) _must_check_;

/* What was found out of the node. Where an error has a code, what stands with it is not known. */
struct doctor {
        const struct env *env;
        char role[16];            /* of the boot stage: "active", ..., "live"; "": it did not run */
        struct json_object *boot; /* its report, or NULL */
        struct node *node;        /* or NULL */
        struct error node_error;
        struct node_esp esp; /* fd negative: not mounted, see esp_error */
        bool esp_mounted;
        bool esp_read_only;
        struct error esp_error;
        struct fat_check fat;
        struct error fat_error;
        struct preflight_facts facts;
        struct tpm *tpm; /* or NULL, see facts.tpm_error */
        struct buf log_text;
        struct eventlog *log; /* or NULL; it may not explain the PCRs */
        struct error log_error, pcr_error;
        uint8_t pcr[TPM_PCR_COUNT][SHA256_SIZE];
        struct keychange variables;
        struct error variables_error;
        bool has_situation, has_starters;
        struct situation situation;
        struct starters starters;
        struct error situation_error, starters_error;
        bool has_was, has_now; /* what was measured when the data was open, and in this boot */
        const char *was_from;  /* where that stood */
        struct measured was, now;
        struct data_list volumes;
        struct ways_volume volume[ARRAY_SIZE(((struct data_list *)NULL)->item)];
        struct error volume_error[ARRAY_SIZE(((struct data_list *)NULL)->item)];
        struct state *state; /* or NULL */
        struct doctor_list list;
};

/* Looks at everything that the findings need. disk (NULL: the one this system was started from): a
 * node's disk, for a live session. */
void doctor_look(struct doctor *d, const struct env *env, const char *disk);
void doctor_done(struct doctor *d);

/* --- TPM --- */

void doctor_tpm(struct doctor *d);

/* How much the TPM still knows of this node. */
struct doctor_tpm_memory {
        bool identity_known; /* of now, and of when the data was open */
        bool same_tpm;
        bool marked;       /* it remembers a node (partition/tpm_mark.h) */
        unsigned foreign;  /* tokens that it cannot load */
        unsigned loadable; /* tokens that it can */
};
void doctor_judge_tpm_memory(const struct doctor_tpm_memory *m, struct doctor_list *list);

/* --- measurements --- */

void doctor_events(struct doctor *d);

/* Log against TPM, for the PCRs that the firmware alone writes. */
void doctor_judge_log(const struct eventlog *log, const uint8_t pcr[TPM_PCR_COUNT][SHA256_SIZE],
                      struct doctor_list *list);

/* What is measured otherwise than when the data was open. proven: PCRs whose noted values are those
 * that a token is sealed to. locked: something does not open by it. */
void doctor_judge_events(const struct measured *was, const char *from, const struct measured *now,
                         uint32_t proven, bool locked, struct doctor_list *list);

/* --- data --- */

void doctor_data(struct doctor *d);

/* One volume, whose header was read and whose ways were judged. was: what was noted, when something
 * else is measured now; else NULL. */
void doctor_judge_volume(const struct ways_volume *v, const struct starters *starters,
                         const struct measured *was, struct doctor_list *list);

/* Whether nothing opens the volume, and some token is sealed to another state than that of the next
 * boot, or to what was noted (was, may be NULL). */
bool doctor_is_locked(const struct ways_volume *v, const struct measured *was);

/* --- ESP --- */

void doctor_esp(struct doctor *d);
void doctor_judge_fat(const struct fat_check *f, bool mounted, struct doctor_list *list);
/* Files that no entry leads to, and room for the next upgrade. */
void doctor_judge_files(const struct slots_situation *s, struct doctor_list *list);

/* --- entries --- */

void doctor_entries(struct doctor *d);

/* One entry. digest: that of its image now, NULL: not known. state may be NULL. */
void doctor_judge_entry(const struct entry_file *f, const uint8_t *digest,
                        const struct state *state, struct doctor_list *list);
/* Roles that are missing, and which one is started next. next and wish may be NULL. */
void doctor_judge_roles(const struct situation *s, const struct entry_file *next, const char *wish,
                        struct doctor_list *list);

/* --- firmware --- */

void doctor_firmware(struct doctor *d);

/* --- memory --- */

void doctor_memory(struct doctor *d);

void doctor_judge_operation(const struct state_operation *op, bool running,
                            struct doctor_list *list);
/* now: the clock; after: the latest moment that is known to have been. */
void doctor_judge_clock(uint64_t now, uint64_t after, struct doctor_list *list);
void doctor_judge_room(const char *subject, uint64_t size, uint64_t available,
                       struct doctor_list *list);
