/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measured boot log of the firmware: what was extended into which PCR, and why. Only the
 * crypto-agile format of TPM 2.0 with a SHA-256 bank.
 *
 * The log itself is not protected by anything. It means something only as far as its replay gives
 * the value that the TPM reports.
 *
 * The parser is strict: every byte belongs to an event, all lengths are inside the input, every
 * event has exactly one SHA-256 digest.
 *
 * Reference: TCG PC Client Platform Firmware Profile 1.05, section 10 (event logging).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/env.h"
#include "base/error.h"

#define EVENTLOG_NO_ACTION 0x00000003u
#define EVENTLOG_SEPARATOR 0x00000004u
#define EVENTLOG_VARIABLE_DRIVER_CONFIG 0x80000001u
#define EVENTLOG_BOOT_SERVICES_DRIVER 0x80000004u
#define EVENTLOG_RUNTIME_SERVICES_DRIVER 0x80000005u
#define EVENTLOG_VARIABLE_AUTHORITY 0x800000e0u

struct eventlog_event {
        uint32_t pcr;
        uint32_t type;
        const uint8_t *digest; /* SHA256_SIZE bytes; what was extended */
        const uint8_t *data;   /* describes the event; often, not always, what was hashed */
        size_t size;
};

struct eventlog;

/*
 * Reads the log of this boot below env->sysfs. -ENOENT when the firmware left none or securityfs is
 * not mounted. Appends to out, which must allow LIMIT_EVENTLOG bytes.
 */
int eventlog_read(const struct env *env, struct buf *out, struct error *e) _must_check_;

/*
 * Takes a log apart. The events point into data, which must stay as long as the log. Errors of
 * class ERROR_PRECONDITION: -EBADMSG damaged or cut off, -EPROTONOSUPPORT not crypto-agile or
 * without SHA-256, -E2BIG above the limits.
 */
int eventlog_parse(const void *data, size_t n, struct eventlog **ret, struct error *e) _must_check_;
void eventlog_free(struct eventlog *l);
DEFINE_CLEANUP(struct eventlog, eventlog_free)

/* Events in order, without the header. */
size_t eventlog_count(const struct eventlog *l);
const struct eventlog_event *eventlog_at(const struct eventlog *l, size_t i);

/* Whether the event is extended into its PCR: all but EV_NO_ACTION. */
bool eventlog_is_extended(const struct eventlog_event *ev);

/* What the event of a variable describes (UEFI_VARIABLE_DATA, section 10.2.6). All borrowed. */
struct eventlog_variable {
        const uint8_t *guid; /* 16 bytes, in EFI byte order */
        const uint8_t *name; /* UTF-16LE without NUL */
        size_t name_size;    /* bytes */
        const uint8_t *content;
        size_t size;
};

/* -EBADMSG when the event's data has another form; the log does not promise any. */
int eventlog_variable(const struct eventlog_event *ev, struct eventlog_variable *ret) _must_check_;

/* value = SHA-256(value || digest). */
int eventlog_extend(uint8_t value[SHA256_SIZE], const uint8_t digest[SHA256_SIZE]) _must_check_;

/* Value that a PCR has before its first event: zeros but for PCR 0, which begins with the locality
 * in which the TPM was started, and 17 to 22, which begin with ones. */
void eventlog_initial(const struct eventlog *l, unsigned pcr, uint8_t ret[SHA256_SIZE]);

/* Value of a PCR after all events of the log. -EINVAL above PCR 23. */
int eventlog_replay(const struct eventlog *l, unsigned pcr, uint8_t ret[SHA256_SIZE]) _must_check_;
