/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agent/doctor.h"
#include "agent/machine.h"
#include "partition/tpm_mark.h"
#include "partition/tpm_note.h"

/* The checks of an installation are those of every day as well. */
static void take_proof(struct doctor_list *list, enum preflight_check check, const struct proof *p)
{
        static const enum doctor_severity severities[PROOF_STATE_MAX] = {
                [PROOF_PASSED] = DOCTOR_OK,
                [PROOF_WARNING] = DOCTOR_WARNING,
                [PROOF_OVERRIDDEN] = DOCTOR_NOTE,
                [PROOF_FAILED] = DOCTOR_PROBLEM};
        bool firmware = check == PREFLIGHT_UEFI || check == PREFLIGHT_SECURE_BOOT;
        enum doctor_severity severity = severities[p->state];

        if (p->state == PROOF_NOT_REACHED || p->state == PROOF_NOT_APPLICABLE)
                return;
        /* A virtual TPM is what this machine has; and a power cut counts as a failed authorization
         * until it is forgotten. */
        if ((check == PREFLIGHT_TPM_KIND || check == PREFLIGHT_LOCKOUT) &&
            severity == DOCTOR_WARNING)
                severity = DOCTOR_NOTE;
        (void)doctor_add(list, firmware ? DOCTOR_FIRMWARE : DOCTOR_TPM, severity,
                         preflight_name(check), NULL, p->advice, "%s", p->text);
}

void doctor_judge_tpm_memory(const struct doctor_tpm_memory *m, struct doctor_list *list)
{
        static const char enrol[] =
                "open the data by its recovery key (tb-agent unlock), then seal "
                "it to this TPM: \"tb-agent enroll tpm\"";

        if (m->identity_known && !m->same_tpm && m->loadable == 0)
                (void)doctor_add(list, DOCTOR_TPM, DOCTOR_PROBLEM, "tpm-other", NULL, enrol,
                                 "this is another TPM than the one that opened the data: it or the "
                                 "mainboard was exchanged, or the disk was moved");
        else if (m->foreign > 0 && m->loadable == 0 && !m->marked)
                (void)doctor_add(
                        list, DOCTOR_TPM, DOCTOR_PROBLEM, "tpm-cleared", NULL, enrol,
                        m->identity_known
                                ? "the TPM was cleared since it opened the data: it is the "
                                  "same one, and remembers nothing"
                                : "the TPM was cleared, or it is another one: it does not "
                                  "know what the data is sealed with, nor this node");
        else if (m->foreign > 0 && m->loadable == 0)
                (void)doctor_add(list, DOCTOR_TPM, DOCTOR_PROBLEM, "tpm-other-owner", NULL, enrol,
                                 "the TPM remembers a node, and cannot load what this data is "
                                 "sealed with: the data was sealed by another TPM, or before this "
                                 "one was cleared");
        else if (!m->marked)
                (void)doctor_add(list, DOCTOR_TPM, DOCTOR_WARNING, "tpm-mark-missing", NULL,
                                 "start the node: each boot that opens its data sets it again. If "
                                 "nobody removed the index, find out who did",
                                 "the TPM does not remember that it belongs to a node (NV index "
                                 "0x%x)",
                                 TPM_MARK_NV_INDEX);
        else
                (void)doctor_add(list, DOCTOR_TPM, DOCTOR_OK, "tpm-memory", NULL, NULL,
                                 "the TPM remembers this node");
}

static void count_ways(const struct doctor *d, struct doctor_tpm_memory *m)
{
        for (size_t i = 0; i < d->volumes.n; i++) {
                for (unsigned k = 0; k < d->volume[i].n; k++) {
                        const struct way *w = &d->volume[i].way[k];

                        m->foreign += w->state == WAY_OTHER_TPM;
                        m->loadable += w->state == WAY_OPENS || w->state == WAY_OTHER_STATE;
                }
        }
}

static void judge_memory(struct doctor *d)
{
        struct doctor_tpm_memory m = {.identity_known = d->has_was && d->has_now &&
                                                        d->was.has_tpm && d->now.has_tpm};
        struct error error = ERROR_INIT;
        int marked = tpm_mark_look(d->tpm, &error);

        if (marked < 0) {
                doctor_add_error(&d->list, DOCTOR_TPM, DOCTOR_WARNING, "tpm-memory-unknown", NULL,
                                 &error);
                return;
        }
        m.marked = marked > 0;
        m.same_tpm = m.identity_known && memcmp(d->was.tpm, d->now.tpm, SHA256_SIZE) == 0;
        count_ways(d, &m);
        /* A live session on no node has nothing to be remembered. */
        if (d->node)
                doctor_judge_tpm_memory(&m, &d->list);
}

static void judge_floor(struct doctor *d)
{
        struct floor_report report = {.finding = FLOOR_NONE};
        struct error error = ERROR_INIT;
        bool open = d->state != NULL;

        /* Without its file, which is closed with the data, nothing can be said about the index. */
        if (!open)
                return;
        if (machine_inspect_floor(d->env, d->tpm, false, &report, &error) < 0)
                doctor_add_error(&d->list, DOCTOR_TPM, DOCTOR_WARNING, "floor-unknown", NULL,
                                 &error);
        else
                (void)doctor_add(&d->list, DOCTOR_TPM,
                                 floor_finding_alarming(report.finding) ? DOCTOR_WARNING
                                                                        : DOCTOR_OK,
                                 "floor", NULL,
                                 floor_finding_alarming(report.finding)
                                         ? "\"tb-agent bless --repair-floor\" sets it up again; if "
                                           "the TPM was not cleared, find out who removed it"
                                         : NULL,
                                 "version floor: %s", floor_finding_text(report.finding));
}

static void judge_reset_note(struct doctor *d)
{
        uint8_t digest[SHA256_SIZE];
        struct error error = ERROR_INIT;
        int r = tpm_note_read(d->tpm, digest, &error);

        if (r < 0)
                doctor_add_error(&d->list, DOCTOR_TPM, DOCTOR_WARNING, "reset-note-unknown", NULL,
                                 &error);
        else if (r > 0 && d->has_situation && !d->situation.reset_pending)
                (void)doctor_add(&d->list, DOCTOR_TPM, DOCTOR_NOTE, "reset-note-stale", NULL,
                                 "the next reset replaces it",
                                 "the TPM holds the note of a reset that has no journal");
}

static void judge_lockout(struct doctor *d)
{
        const struct tpm_info *t = &d->facts.tpm;

        if (d->facts.tpm_error.code == 0 && (t->in_lockout || t->lockout_counter >= t->lockout_max))
                (void)doctor_add(&d->list, DOCTOR_TPM, DOCTOR_NOTE, "tpm-lockout-time", NULL, NULL,
                                 "the TPM forgets one failure every %u seconds that the machine is "
                                 "on, and is ready again after that; a recovery key opens the data "
                                 "meanwhile",
                                 t->lockout_interval);
}

void doctor_tpm(struct doctor *d)
{
        struct preflight p;

        preflight_judge(&d->facts, &p);
        for (unsigned i = 0; i < PREFLIGHT_MAX; i++)
                take_proof(&d->list, (enum preflight_check)i, &p.item[i]);
        judge_lockout(d);
        if (!d->tpm)
                return;
        judge_memory(d);
        judge_floor(d);
        judge_reset_note(d);
}
