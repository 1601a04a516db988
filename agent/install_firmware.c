/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_firmware.h"

#include <string.h>

#include "agent/install.h"
#include "agent/report.h"
#include "base/limits.h"
#include "partition/eventlog.h"
#include "upgrade/loaderconf.h"

int install_firmware_begin(struct install_plan *p, const struct install_firmware_wishes *wishes,
                           struct error *e)
{
        struct install_firmware *f = &p->firmware;
        int r = install_keys_load(p->env, wishes->keys, wishes->keys_by, &f->keys, e);

        if (r < 0)
                return r;
        f->facts.keys_given = f->keys.wanted;
        f->facts.allow_software_tpm = wishes->allow_software_tpm;
        preflight_read(p->env, &f->facts);
        preflight_judge(&f->facts, &f->preflight);
        return preflight_enforce(&f->preflight, e);
}

/* The value to seal to: of this boot, or of the first one with the new keys. */
static int find_pcr7(struct install_plan *p, struct tpm *tpm, struct error *e)
{
        if (p->firmware.keys.wanted)
                return install_keys_predict(p->env, &p->firmware.keys, &p->source, &p->machine,
                                            p->pcr7, e);
        return tpm_read_pcrs(tpm, UINT32_C(1) << TPM_PCR_BOOT_STATE, p->pcr7, e);
}

/*
 * PCRs other than 7 are taken as they are now, and that is what the next boot finds only when the
 * firmware alone wrote them: the log has to explain the value.
 */
static int check_explained(const struct install_plan *p, struct tpm *tpm, uint32_t mask,
                           const uint8_t *values, struct error *e)
{
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG);
        uint8_t replayed[SHA256_SIZE];
        int r = machine_read_log(p->env, tpm, &text, &log, e);

        for (uint32_t pcr = 0; pcr < TPM_PCR_COUNT && r == 0; pcr++) {
                if (!(mask & UINT32_C(1) << pcr))
                        continue;
                if (eventlog_replay(log, pcr, replayed) < 0)
                        return error_oom(e);
                if (pcr != TPM_PCR_BOOT_STATE && memcmp(replayed, values, SHA256_SIZE) != 0)
                        r = error_set(
                                e, ERROR_PRECONDITION, ENOTRECOVERABLE,
                                "PCR %u is not what the firmware's log leads to, so its value "
                                "at the next boot is not known",
                                (unsigned)pcr);
                values += SHA256_SIZE;
        }
        if (r < 0)
                error_advise(e, "do not bind to that PCR");
        return r;
}

int install_firmware_pcrs(const struct install_plan *p, struct tpm *tpm, uint32_t mask,
                          uint8_t *ret_values, struct error *e)
{
        const uint32_t seven = UINT32_C(1) << TPM_PCR_BOOT_STATE;
        int r = tpm_read_pcrs(tpm, mask, ret_values, e);

        if (r == 0 && mask & ~seven)
                r = check_explained(p, tpm, mask, ret_values, e);
        if (r == 0 && mask & seven)
                memcpy(ret_values + SHA256_SIZE * (size_t)__builtin_popcount(mask & (seven - 1)),
                       p->pcr7, SHA256_SIZE);
        return r;
}

static int find_values(struct install_plan *p, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        int r = tpm_open(p->env->tcti, &tpm, e);

        if (r == 0)
                r = find_pcr7(p, tpm, e);
        return r < 0 ? r : install_firmware_pcrs(p, tpm, p->literal_pcrs, p->literal_values, e);
}

int install_firmware_end(struct install_plan *p, struct error *e)
{
        struct install_firmware *f = &p->firmware;
        const struct layout_partition *esp;
        struct layout *old;
        int r = layout_find(&p->layout, LAYOUT_ESP_NAME, &esp);

        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "plan without an ESP");
        old = calloc(1, sizeof(*old));
        if (!old)
                return error_oom(e);
        /* A disk without a table has nothing to remember, and an ESP that stays keeps its entry. */
        if (!p->no_format && layout_read(p->disk, old, NULL) == 0)
                firmware_entry_remember(old, &f->gone);
        free(old);
        f->facts.image_size = image_size(p->source.image);
        f->facts.esp_size = esp->size;
        preflight_judge(&f->facts, &f->preflight);
        r = preflight_enforce(&f->preflight, e);
        return r < 0 ? r : find_values(p, e);
}

void install_firmware_done(struct install_firmware *f)
{
        install_keys_done(&f->keys);
}

int install_firmware_fill_esp(const struct install_plan *p, const struct esp *esp, struct error *e)
{
        const char *conf = p->firmware.keys.wanted ? loaderconf_enroll : loaderconf_default;
        int r = install_keys_fill_esp(&p->firmware.keys, esp, e);

        return r < 0 ? r : esp_add_file(esp, LOADERCONF_PATH, conf, strlen(conf), e);
}

void install_firmware_apply(struct install_plan *p)
{
        const struct layout_partition *esp;

        if (layout_find(&p->layout, LAYOUT_ESP_NAME, &esp) == 0)
                firmware_entry_install(p->env, esp, p->disk->sector_size,
                                       image_product(p->source.image), &p->firmware.gone,
                                       &p->firmware.entry);
        install_keys_enrol(p->env, &p->firmware.keys);
}

void install_firmware_describe(const struct install_plan *p, FILE *out)
{
        for (unsigned i = 0; i < PREFLIGHT_MAX; i++) {
                const struct proof *item = &p->firmware.preflight.item[i];

                report_text(out, "check    %s: %s: %s\n", preflight_name((enum preflight_check)i),
                            proof_state_name(item->state), item->text);
        }
        install_keys_describe(&p->firmware.keys, out);
}

int install_firmware_add_plan(struct json_object *root, const struct install_plan *p)
{
        int r = json_add_obj(root, "preflight", preflight_json(&p->firmware.preflight));

        return r < 0 ? r : install_keys_add_plan(root, &p->firmware.keys);
}

int install_firmware_add_result(struct json_object *root, const struct install_plan *p)
{
        int r = firmware_entry_json(root, &p->firmware.entry);

        return r < 0 ? r : install_keys_add_result(root, &p->firmware.keys);
}
