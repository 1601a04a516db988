/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the firmware measured when the data of this node was sealed, or last opened by the TPM: the
 * events of the PCRs that partitions may be bound to, each with its digest and a short description.
 * It says later which event is another one when a partition does not open any more.
 *
 * Kept twice: on the encrypted OEM partition, and on the ESP, because OEM is closed just when it is
 * asked for. Who has the disk may write the copy on the ESP, so nothing is decided by it. But its
 * digests can be proven: a token holds the policy for the values that they lead to
 * (measured_is_of()). Only the descriptions are then taken on trust.
 *
 *     measured_take() -> measured_same() -> measured_write()            a boot that is good
 *     measured_parse() -> measured_is_of(), measured_compare()          a boot that is not
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/env.h"
#include "base/error.h"
#include "partition/eventlog.h"
#include "partition/token.h"
#include "partition/tpm.h"
#include "upgrade/esp.h"

/* On the ESP. */
#define MEASURED_ESP_FILE ESP_IMAGE_DIR "/measured.json"
/* Events of all PCRs; a firmware that has more of them is not described. */
#define MEASURED_EVENTS_MAX 1024u
#define MEASURED_FILE_MAX (256u * 1024u)

struct measured_event {
        uint32_t pcr, type;
        uint8_t digest[SHA256_SIZE];
        char what[96];                     /* "variable db", "separator" */
        uint64_t n_certificates, n_hashes; /* of a key variable */
        char *holds; /* owned, may be NULL: certificates, or the value; one a line */
};

struct measured {
        uint64_t time;     /* seconds since 1970; 0: not known */
        char version[128]; /* of the image; "": not known */
        bool has_tpm;
        uint8_t tpm[SHA256_SIZE]; /* tpm_identity() */
        uint32_t pcrs;            /* bit i = the events of PCR i are complete */
        uint8_t locality;         /* in which the TPM was started */
        struct measured_event *events;
        size_t n;
};

void measured_done(struct measured *m);

/* The events of a log for the PCRs in mask; the rest stays empty. -E2BIG, -ENOMEM. */
int measured_take(const struct eventlog *log, uint32_t mask, struct measured *ret) _must_check_;

/*
 * Of this boot: the log, as far as it explains what the TPM reports, and which TPM that is.
 * -ENODATA (ERROR_PRECONDITION) when the log does not explain PCR 7.
 */
int measured_read_now(const struct env *env, struct tpm *tpm, struct measured *ret, struct error *e)
        _must_check_;

/* The same TPM, PCRs and digests; time and descriptions do not matter. */
bool measured_same(const struct measured *a, const struct measured *b);

/* Value that the events of one PCR lead to. -ENOENT when they are not complete. */
int measured_value(const struct measured *m, unsigned pcr, uint8_t ret[SHA256_SIZE]) _must_check_;

/* Whether the token is sealed to these very values. */
bool measured_is_of(const struct measured *m, const struct token *token);

int measured_format(const struct measured *m, struct buf *out) _must_check_;
/* -EBADMSG or -E2BIG for anything else. what names the document. */
int measured_parse(const void *text, size_t n, const char *what, struct measured *ret,
                   struct error *e) _must_check_;

/* Both copies. oem: folder of the mounted partition, or negative; esp may be NULL. */
int measured_write(const struct measured *m, int oem, const struct esp *esp, struct error *e)
        _must_check_;

/* 1: *ret is filled; 0: there is none. */
int measured_read_oem(const struct env *env, struct measured *ret, struct error *e) _must_check_;
int measured_read_esp(int root, struct measured *ret, struct error *e) _must_check_;

/* A confirmed boot whose data the TPM opened: notes what was measured, if it was not the same
 * before. */
int measured_remember(const struct env *env, struct error *e) _must_check_;

/* One difference: was NULL: new; now NULL: gone. */
struct measured_change {
        size_t number; /* of the event among those of its PCR, from 1 on, as it is now (gone: was)
                        */
        const struct measured_event *was, *now; /* borrowed */
};

/* At most max differences of one PCR. Returns how many there are. */
size_t measured_compare(const struct measured *was, const struct measured *now, unsigned pcr,
                        struct measured_change *ret, size_t max);

/* "event 4, variable db: 2 certificates instead of 1; new: CN=...". -ENOMEM, -E2BIG. */
int measured_describe(const struct measured_change *c, struct buf *out) _must_check_;
