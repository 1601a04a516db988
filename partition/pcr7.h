/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCR 7, the Secure Boot state: is it explained by the log of this boot, and what will it be at the
 * next one.
 *
 * The firmware measures the variables SecureBoot, PK, KEK, db and dbx, a separator, and then each
 * entry of db that vouched for an image. The prediction replays the log with the variables as they
 * are now (or as they are going to be), and leaves everything else as it was: it holds for a boot
 * of the same loader chain by the same firmware, and says where it cannot know.
 *
 * Contents of variables are given without the four attribute bytes of efivarfs. What was never in
 * the log is not added: a firmware that measures no dbt will measure none next time.
 *
 * References: TCG PC Client Platform Firmware Profile 1.05, section 3.3.4.8 (PCR 7) and 10.2.6
 * (UEFI_VARIABLE_DATA); UEFI 2.10, section 32.4.1 (signature lists).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "partition/eventlog.h"

enum pcr7_variable {
        PCR7_SECUREBOOT,
        PCR7_PK,
        PCR7_KEK,
        PCR7_DB,
        PCR7_DBX,
        PCR7_VARIABLE_MAX,
};

/* Name as in the log and in efivarfs. */
const char *pcr7_variable_name(enum pcr7_variable v);

/* Contents to predict with. One that is not given stays as it was measured; an absent variable is
 * given with size 0. */
struct pcr7_contents {
        struct {
                bool given;
                const void *data;
                size_t size;
        } variable[PCR7_VARIABLE_MAX];
};

/* One variable of the log against the contents. */
struct pcr7_change {
        bool measured; /* the log has an event for it */
        bool changed;  /* the next boot will measure something else */
        bool stuck;    /* changed, but the firmware hashes it in a way not understood */
        size_t event;  /* for eventlog_at() */
        uint8_t was[SHA256_SIZE];
        uint8_t will_be[SHA256_SIZE];
};

struct pcr7_prediction {
        uint8_t now[SHA256_SIZE];  /* value the log ends at */
        uint8_t next[SHA256_SIZE]; /* value of the next boot, if certain */
        bool differs;              /* next is not now */
        struct pcr7_change variable[PCR7_VARIABLE_MAX];
        unsigned authorities;      /* db entries that vouched for something in this boot */
        unsigned authorities_gone; /* of those, no longer in the db given */
        bool certain;              /* none is stuck and none is gone */
};

/*
 * Only what stands before the separator is taken for a variable's measurement; a variable measured
 * twice there is stuck when it changes. -EBADMSG (ERROR_PRECONDITION) when PCR 7 has no separator
 * in the log: then the firmware did not follow the profile, and nothing can be said.
 */
int pcr7_predict(const struct eventlog *log, const struct pcr7_contents *contents,
                 struct pcr7_prediction *ret, struct error *e) _must_check_;

/* An entry of db: its owner and the bytes of its certificate or hash. */
struct pcr7_authority {
        const uint8_t *owner; /* 16 bytes, in EFI byte order */
        const void *data;
        size_t size;
};

/*
 * The same for a boot in which these entries of db vouch for what is started, in this order (the
 * boot loader's, then the image's; one that comes again counts once), instead of those of the log:
 * for a machine without Secure Boot now, whose log names none, and with other contents next time.
 * certain says nothing about programs the log does not know under PCR 7: ask pcr7_count_drivers().
 */
int pcr7_predict_started(const struct eventlog *log, const struct pcr7_contents *contents,
                         const struct pcr7_authority *authorities, size_t n,
                         struct pcr7_prediction *ret, struct error *e) _must_check_;

/*
 * Without any log: the value of firmware that follows the profile, measures these variables (one
 * that is not given is absent, as one with size 0), and starts nothing but what these entries of db
 * vouch for. -EIO, -ENOMEM.
 */
int pcr7_fresh(const struct pcr7_contents *contents, const struct pcr7_authority *authorities,
               size_t n, uint8_t ret[SHA256_SIZE]) _must_check_;

/*
 * Programs of add-in cards (option ROMs) that ran in this boot, by the log of PCR 2. With Secure
 * Boot on the firmware measures who vouches for each of them, which this log cannot tell.
 */
unsigned pcr7_count_drivers(const struct eventlog *log);

/*
 * Whether the log explains the value that the TPM reports. If not, no prediction from this log is
 * worth anything: -ENOTRECOVERABLE (ERROR_PRECONDITION), with advice.
 */
int pcr7_explains(const struct eventlog *log, const uint8_t value[SHA256_SIZE], struct error *e)
        _must_check_;

/*
 * Whether an entry of db (its owner and the bytes of its certificate or hash) vouched for something
 * in this boot. The firmware measures each such entry, so an image that another one vouches for
 * changes PCR 7. 1: it did; 0: others did; -ENODATA: the log names none that can be read.
 */
int pcr7_vouched(const struct eventlog *log, const uint8_t owner[16], const void *data, size_t size)
        _must_check_;

/*
 * Content that the log shows for a variable, which may be empty; borrowed from the log. -ENODATA
 * when the log has none before the separator, -EBADMSG when it shows something else than what was
 * extended, or shows it twice.
 */
int pcr7_measured(const struct eventlog *log, enum pcr7_variable v, const void **ret,
                  size_t *ret_size) _must_check_;

/*
 * Whether everything that vouched for a program in this boot was an entry of db. Where it was not
 * (the lists of shim), what comes into PCR 7 is that program's doing.
 */
bool pcr7_only_db_vouched(const struct eventlog *log);

/* Appends a sentence for people: "dbx changed since this boot", "db entry 2 that vouched for ... is
 * gone"; nothing when PCR 7 stays. */
int pcr7_describe(const struct pcr7_prediction *p, struct buf *out) _must_check_;
