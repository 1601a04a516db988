/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/golden_tpm.h"

#include <fcntl.h>
#include <string.h>

#include "agent/report.h"
#include "agent/vouchers.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"

int golden_tpm_check(const struct install_wishes *w, struct error *e)
{
        const bool both = w->pcr7 && w->event_log, none = !w->pcr7 && !w->event_log;

        if (w->literal_pcrs & ~PCR_CHOICE_NEEDED)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--image: the values of other PCRs than 7 are not known here, so "
                                 "--bind-pcrs cannot bind to them");
        if (both)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--pcr7 and --event-log exclude each other");
        if (none) {
                error_set(e, ERROR_USAGE, EINVAL,
                          "--image with --tcti: it is not known what PCR 7 will be on the machine "
                          "of this TPM");
                error_advise(e, "give --event-log with the firmware's log of that machine, or the "
                                "value with --pcr7");
                return -EINVAL;
        }
        if (w->event_log && (w->db.n > 0 || w->dbx.n > 0))
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--event-log says what db and dbx are: leave --db and --dbx out");
        return 0;
}

/* --- the TPM --- */

static void not_here(struct proof *p)
{
        *p = (struct proof){.state = PROOF_NOT_APPLICABLE};
        (void)snprintf(p->text, sizeof(p->text), "that of the machine which starts the image");
}

/* What can be asked of the TPM alone. The rest of the machine is another one. */
static int check_tpm(struct install_plan *p, const struct install_wishes *w, struct error *e)
{
        static const enum preflight_check elsewhere[] = {PREFLIGHT_UEFI, PREFLIGHT_SECURE_BOOT,
                                                         PREFLIGHT_MEMORY, PREFLIGHT_ESP};
        struct install_firmware *f = &p->firmware;

        f->facts.allow_software_tpm = w->firmware.allow_software_tpm;
        preflight_read(p->env, &f->facts);
        preflight_judge(&f->facts, &f->preflight);
        for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
                not_here(&f->preflight.item[elsewhere[i]]);
        return preflight_enforce(&f->preflight, e);
}

static int read_floor(struct install_plan *p, const struct install_wishes *w, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct machine *m = &p->machine;
        int r = tpm_open(p->env->tcti, &tpm, e);

        if (r == 0)
                r = machine_inspect_floor(p->env, tpm, true, &m->floor, e);
        if (r < 0)
                return r;
        if (m->floor.has_floor)
                m->demands.floor = &m->floor.effective;
        m->demands.allow_downgrade = w->allow_downgrade ? "--allow-downgrade" : NULL;
        return 0;
}

/* --- the log --- */

static int useless(const char *why, struct error *e)
{
        error_set(e, ERROR_PRECONDITION, EOPNOTSUPP, "--event-log: %s", why);
        error_advise(e, "start the machine with Secure Boot on from a medium of this system, and "
                        "take /sys/kernel/security/tpm0/binary_bios_measurements there");
        return -EOPNOTSUPP;
}

static int take_database(const struct eventlog *log, enum pcr7_variable v, struct sigdb **ret,
                         struct error *e)
{
        const void *lists;
        size_t n;
        int r = pcr7_measured(log, v, &lists, &n);

        if (r < 0)
                return useless("it does not show db and dbx as they were measured", e);
        *ret = sigdb_new();
        return *ret ? sigdb_add_lists(*ret, lists, n, pcr7_variable_name(v), e) : error_oom(e);
}

static int read_log(struct install_plan *p, const char *path, struct error *e)
{
        struct machine *m = &p->machine;
        const uint8_t *on;
        const void *data;
        size_t n;
        int r;

        m->log_text = (struct buf)BUF_INIT(LIMIT_EVENTLOG);
        r = file_read(AT_FDCWD, path, &m->log_text);
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: %s", path, file_strerror(r));
        r = eventlog_parse(m->log_text.data, m->log_text.len, &m->log, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        r = pcr7_measured(m->log, PCR7_SECUREBOOT, &data, &n);
        on = data;
        if (r < 0 || n != 1 || *on != 1)
                return useless("Secure Boot was not on in the boot that it is of", e);
        r = take_database(m->log, PCR7_DB, &m->db, e);
        return r < 0 ? r : take_database(m->log, PCR7_DBX, &m->dbx, e);
}

int golden_tpm_begin(struct install_plan *p, const struct install_wishes *w, struct error *e)
{
        int r = check_tpm(p, w, e);

        if (r == 0)
                r = read_floor(p, w, e);
        if (r == 0 && w->event_log)
                r = read_log(p, w->event_log, e);
        return r;
}

/* --- PCR 7 --- */

/* With programs of add-in cards the log's own entries of db are counted on, as agent/starters.h. */
static int predict(const struct eventlog *log, const struct vouchers *v,
                   struct pcr7_prediction *ret, struct error *e)
{
        const struct pcr7_contents as_measured = {.variable[0].given = false};

        if (!pcr7_only_db_vouched(log))
                return useless("something else than db vouched for what was started (shim?)", e);
        if (pcr7_count_drivers(log) == 0)
                return pcr7_predict_started(log, &as_measured, v->item, VOUCHERS, ret, e);
        if (!vouchers_in_log(v, log))
                return useless("programs of add-in cards ran, and what vouches for this image did "
                               "not vouch for anything",
                               e);
        return pcr7_predict(log, &as_measured, ret, e);
}

static int from_log(struct install_plan *p, struct error *e)
{
        _cleanup_(vouchers_done) struct vouchers v = VOUCHERS_INIT;
        struct pcr7_prediction prediction;
        const struct machine *m = &p->machine;
        int r = vouchers_find(&p->source.loader, p->source.image, m->db, m->dbx, &v, e);

        if (r == 0)
                r = predict(m->log, &v, &prediction, e);
        if (r == 0)
                memcpy(p->pcr7, prediction.next, SHA256_SIZE);
        return r;
}

static int from_text(const char *text, uint8_t ret[SHA256_SIZE], struct error *e)
{
        static const uint8_t untouched[SHA256_SIZE];

        if (strlen(text) != SHA256_HEX_SIZE - 1 || hex_decode(text, ret, SHA256_SIZE) < 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--pcr7: \"%.80s\" is not a value of the SHA-256 bank, of 64 "
                                 "hexadecimal digits",
                                 text);
        if (memcmp(ret, untouched, SHA256_SIZE) == 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--pcr7: this is PCR 7 of a machine that measured nothing");
        return 0;
}

int golden_tpm_end(struct install_plan *p, const struct install_wishes *w, struct error *e)
{
        int r = w->event_log ? from_log(p, e) : from_text(w->pcr7, p->pcr7, e);

        if (r == 0)
                memcpy(p->literal_values, p->pcr7, SHA256_SIZE);
        return r;
}

/* --- telling --- */

static const char *origin(const struct install_plan *p)
{
        return p->machine.log ? "event-log" : "given";
}

void golden_tpm_describe(const struct install_plan *p, FILE *out)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(p->pcr7, SHA256_SIZE, hex);
        install_firmware_describe(p, out);
        report_text(out, "bound    to PCR 11 by signature, to PCR 7 by value%s\n",
                    p->pin ? ", and to a PIN that each start asks for" : "");
        report_text(out, "  pcr 7  %s (%s)\n", hex,
                    p->machine.log ? "by the event log" : "as it was given");
}

int golden_tpm_add_plan(struct json_object *root, const struct install_plan *p)
{
        char hex[SHA256_HEX_SIZE];
        int r = json_add_obj(root, "preflight", preflight_json(&p->firmware.preflight));

        hex_encode(p->pcr7, SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(root, "pcr7", hex);
        return r < 0 ? r : json_add_str(root, "pcr7_from", origin(p));
}
