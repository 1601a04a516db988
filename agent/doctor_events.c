/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/doctor.h"
#include "agent/pcr_choice.h"
#include "partition/pcr7.h"

/* What firmware alone extends: the system that it started writes into others. */
#define FIRMWARE_PCRS (UINT32_C(0xff) | UINT32_C(1) << 14)
#define CHANGES_MAX 16u

void doctor_judge_log(const struct eventlog *log, const uint8_t pcr[TPM_PCR_COUNT][SHA256_SIZE],
                      struct doctor_list *list)
{
        bool all = true;

        for (unsigned i = 0; i < TPM_PCR_COUNT; i++) {
                bool bound = PCR_CHOICE_LITERAL & UINT32_C(1) << i;
                uint8_t value[SHA256_SIZE];
                char subject[16];

                if (!(FIRMWARE_PCRS & UINT32_C(1) << i) || eventlog_replay(log, i, value) < 0 ||
                    memcmp(value, pcr[i], SHA256_SIZE) == 0)
                        continue;
                all = false;
                (void)snprintf(subject, sizeof(subject), "PCR %u", i);
                (void)doctor_add(list, DOCTOR_MEASUREMENTS,
                                 i == TPM_PCR_BOOT_STATE ? DOCTOR_PROBLEM
                                 : bound                 ? DOCTOR_WARNING
                                                         : DOCTOR_NOTE,
                                 "log-mismatch", subject,
                                 "what the log says of this boot is not what was measured: do not "
                                 "trust it. Start again; if it stays so, update the firmware",
                                 "the event log does not lead to the value that the TPM has");
        }
        if (all)
                (void)doctor_add(list, DOCTOR_MEASUREMENTS, DOCTOR_OK, "log", NULL, NULL,
                                 "the event log explains what the TPM measured of the firmware");
}

static void format_time(uint64_t at, char ret[32])
{
        time_t t = (time_t)at;
        struct tm tm;

        if (at == 0 || at > INT32_MAX || !gmtime_r(&t, &tm) ||
            strftime(ret, 32, "%Y-%m-%d", &tm) == 0)
                (void)snprintf(ret, 32, "an unknown day");
}

static void add_change(const struct measured *was, const char *from, unsigned pcr,
                       const struct measured_change *c, bool proven, bool locked,
                       struct doctor_list *list)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(600);
        char subject[16], day[32];

        (void)snprintf(subject, sizeof(subject), "PCR %u", pcr);
        format_time(was->time, day);
        if (measured_describe(c, &text) == -ENOMEM)
                return;
        (void)doctor_add(list, DOCTOR_MEASUREMENTS, locked ? DOCTOR_PROBLEM : DOCTOR_NOTE,
                         "event-changed", subject,
                         "where this change was wanted: open the data by its recovery key and run "
                         "\"tb-agent "
                         "enroll tpm\"; else find out who changed the firmware, and change it back",
                         "%s (since %s, noted on %s%s)", buf_str(&text), day, from,
                         proven ? ", and a token is sealed to what was noted" : "");
}

void doctor_judge_events(const struct measured *was, const char *from, const struct measured *now,
                         uint32_t proven, bool locked, struct doctor_list *list)
{
        bool all = true;

        for (unsigned pcr = 0; pcr < TPM_PCR_COUNT; pcr++) {
                const uint32_t bit = UINT32_C(1) << pcr;
                struct measured_change change[CHANGES_MAX];
                size_t n;

                if (!(was->pcrs & now->pcrs & bit))
                        continue;
                n = measured_compare(was, now, pcr, change, CHANGES_MAX);
                for (size_t i = 0; i < n && i < CHANGES_MAX; i++)
                        add_change(was, from, pcr, &change[i], proven & bit,
                                   locked && pcr == TPM_PCR_BOOT_STATE, list);
                all = all && n == 0;
        }
        if (all)
                (void)doctor_add(list, DOCTOR_MEASUREMENTS, DOCTOR_OK, "events", NULL, NULL,
                                 "the firmware measured the same as when the data was opened");
}

/* PCRs of tokens that are sealed to what was noted; *ret_locked: a volume opens by none. */
static uint32_t look_at_tokens(const struct doctor *d, bool *ret_locked)
{
        uint32_t proven = 0;

        *ret_locked = false;
        for (size_t i = 0; i < d->volumes.n; i++) {
                const struct ways_volume *v = &d->volume[i];

                *ret_locked = *ret_locked || doctor_is_locked(v, &d->was);
                for (unsigned k = 0; k < v->n; k++) {
                        if (v->way[k].token && measured_is_of(&d->was, v->way[k].token))
                                proven |= v->way[k].token->literal_pcrs;
                }
        }
        return proven;
}

/* Variables were written in this boot, and are measured at the next one. */
static void judge_next(struct doctor *d)
{
        for (unsigned i = 0; i < d->starters.n; i++) {
                const struct starter *s = &d->starters.item[i];

                if (!s->next || !s->has_pcr7 || memcmp(s->pcr7, d->starters.pcr7, SHA256_SIZE) == 0)
                        continue;
                (void)doctor_add(&d->list, DOCTOR_MEASUREMENTS, DOCTOR_NOTE, "next-boot-differs",
                                 "PCR 7", NULL,
                                 "the next boot will measure another Secure Boot state than this "
                                 "one; the tokens below are judged by it");
        }
}

void doctor_events(struct doctor *d)
{
        bool locked;
        uint32_t proven;

        if (!d->log) {
                doctor_add_error(&d->list, DOCTOR_MEASUREMENTS, DOCTOR_WARNING, "log-unknown", NULL,
                                 &d->log_error);
                return;
        }
        if (d->pcr_error.code != 0)
                doctor_add_error(&d->list, DOCTOR_MEASUREMENTS, DOCTOR_WARNING, "pcrs-unknown",
                                 NULL, &d->pcr_error);
        else
                doctor_judge_log(d->log, (const uint8_t(*)[SHA256_SIZE])d->pcr, &d->list);
        if (d->has_was && d->has_now) {
                proven = look_at_tokens(d, &locked);
                doctor_judge_events(&d->was, d->was_from, &d->now, proven, locked, &d->list);
        } else if (d->node && d->has_now) {
                (void)doctor_add(&d->list, DOCTOR_MEASUREMENTS, DOCTOR_NOTE, "events-not-noted",
                                 NULL, "a confirmed boot notes them (tb-agent bless)",
                                 "what was measured when the data was opened is not noted here: "
                                 "which event changed cannot be told");
        }
        judge_next(d);
}
