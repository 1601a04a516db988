/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/preflight.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "partition/layout.h"

static const char *const names[PREFLIGHT_MAX] = {
        [PREFLIGHT_UEFI] = "uefi",
        [PREFLIGHT_SECURE_BOOT] = "secure-boot",
        [PREFLIGHT_TPM] = "tpm",
        [PREFLIGHT_TPM_KIND] = "tpm-kind",
        [PREFLIGHT_PCR_BANK] = "pcr-bank",
        [PREFLIGHT_LOCKOUT] = "tpm-lockout",
        [PREFLIGHT_STORAGE_KEY] = "storage-key",
        [PREFLIGHT_MEMORY] = "memory",
        [PREFLIGHT_ESP] = "esp",
};

const char *preflight_name(enum preflight_check check)
{
        return check < PREFLIGHT_MAX ? names[check] : NULL;
}

void preflight_overrides(const struct preflight *p, char *ret, size_t size)
{
        proof_overrides(p->item, names, PREFLIGHT_MAX, ret, size);
}

/* --- facts ----------------------------------------------------------------------------------- */

/* "MemTotal:        8048636 kB" */
uint64_t preflight_memory(const struct env *env, const char *key)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_free_ char *path = NULL;
        uint64_t kib, bytes;
        char *at;

        if (asprintf(&path, "%s/meminfo", env->proc) < 0) {
                path = NULL;
                return 0;
        }
        if (file_read(AT_FDCWD, path, &text) < 0 || text.len == 0)
                return 0;
        at = strstr((char *)text.data, key);
        if (!at)
                return 0;
        at += strlen(key);
        at += strspn(at, " ");
        at[strspn(at, "0123456789")] = '\0';
        return parse_u64_max(at, UINT64_MAX, &kib) < 0 || mul_u64(kib, KIB, &bytes) < 0 ? 0 : bytes;
}

void preflight_read(const struct env *env, struct preflight_facts *facts)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        int r;

        facts->uefi = secureboot_state(env, &facts->secure_boot) == 0;
        facts->memory = preflight_memory(env, PREFLIGHT_MEMORY_TOTAL);
        facts->tpm_error = facts->storage_key = (struct error)ERROR_INIT;
        r = tpm_open(env->tcti, &tpm, &facts->tpm_error);
        if (r == 0)
                r = tpm_get_info(tpm, &facts->tpm, &facts->tpm_error);
        if (r < 0)
                return;
        r = tpm_try_storage_key(tpm, &facts->storage_key);
        if (r < 0)
                log_debug("storage key: %s", facts->storage_key.text);
}

/* --- judgement ------------------------------------------------------------------------------- */

static void _printf_(3, 4) say(struct proof *p, enum proof_state state, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(p->text, sizeof(p->text), fmt, ap);
        va_end(ap);
        p->state = state;
        p->class = ERROR_PRECONDITION;
}

static void advise(struct proof *p, int code, const char *advice)
{
        p->code = code;
        (void)snprintf(p->advice, sizeof(p->advice), "%s", advice);
}

static void take_error(struct proof *p, const struct error *e)
{
        say(p, PROOF_FAILED, "%s", e->text);
        advise(p, e->code, e->advice);
}

static void judge_uefi(const struct preflight_facts *f, struct proof *p)
{
        if (f->uefi) {
                say(p, PROOF_PASSED, "started by UEFI firmware that knows Secure Boot");
                return;
        }
        say(p, PROOF_FAILED, "this machine was not started by UEFI firmware");
        advise(p, ENOTSUP, "switch the firmware to UEFI mode and start again");
}

static void judge_secure_boot(const struct preflight_facts *f, struct proof *p)
{
        const bool on = f->secure_boot.secure_boot, setup = f->secure_boot.setup_mode;

        if (!f->uefi)
                return;
        if (f->keys_given && !setup) {
                say(p, PROOF_FAILED,
                    "keys cannot be enrolled: the firmware is not in setup mode, it has a platform "
                    "key");
                advise(p, EPERM,
                       on ? "leave --enroll-keys out to install with the keys the firmware has, or "
                            "delete its platform key in the firmware setup"
                          : "if they were enrolled in this session, start it again: Secure Boot "
                            "is on then; else delete the platform key in the firmware setup");
        } else if (f->keys_given) {
                say(p, PROOF_PASSED, "the firmware is in setup mode, and keys will be enrolled");
        } else if (on) {
                say(p, PROOF_PASSED, "Secure Boot is on");
        } else {
                say(p, PROOF_FAILED, "Secure Boot is off: in this state nothing is protected");
                advise(p, ENOTSUP,
                       setup ? "the firmware is in setup mode: give --enroll-keys with the keys of "
                               "this system, or enrol them in the firmware setup and start again"
                             : "switch Secure Boot on and start again");
        }
}

static void judge_tpm(const struct preflight_facts *f, struct proof *p)
{
        if (f->tpm_error.code != 0) {
                take_error(p, &f->tpm_error);
        } else if (strcmp(f->tpm.family, "2.0") != 0) {
                say(p, PROOF_FAILED, "not a TPM 2.0");
                advise(p, EPROTONOSUPPORT, "switch the TPM to version 2.0 in the firmware setup");
        } else {
                say(p, PROOF_PASSED, "TPM 2.0 by %s, firmware %u.%u", f->tpm.manufacturer,
                    f->tpm.firmware[0] >> 16, f->tpm.firmware[0] & 0xffff);
        }
}

/* The registry pads a name to four letters with blanks. */
static bool is_vendor(const struct tpm_info *info, const char *name)
{
        size_t n = strlen(info->manufacturer);

        while (n > 0 && info->manufacturer[n - 1] == ' ')
                n--;
        return n == strlen(name) && memcmp(info->manufacturer, name, n) == 0;
}

enum preflight_tpm_kind preflight_tpm_kind(const struct tpm_info *info)
{
        static const char *const software[] = {"IBM", "SW", "XCG", "SIM"};
        static const char *const virtual[] = {"MSFT", "VMW", "GOOG", "AMZN", "QEMU"};

        for (size_t i = 0; i < ARRAY_SIZE(software); i++)
                if (is_vendor(info, software[i]))
                        return PREFLIGHT_TPM_SOFTWARE;
        if (strncmp(info->vendor, "SW ", 3) == 0)
                return PREFLIGHT_TPM_SOFTWARE;
        for (size_t i = 0; i < ARRAY_SIZE(virtual); i++)
                if (is_vendor(info, virtual[i]))
                        return PREFLIGHT_TPM_VIRTUAL;
        return PREFLIGHT_TPM_HARDWARE;
}

static void judge_kind(const struct preflight_facts *f, struct proof *p)
{
        const char *maker = f->tpm.manufacturer;
        enum preflight_tpm_kind kind = preflight_tpm_kind(&f->tpm);

        if (kind == PREFLIGHT_TPM_HARDWARE) {
                say(p, PROOF_PASSED, "not a known software TPM (%s)", maker);
                return;
        }
        if (kind == PREFLIGHT_TPM_VIRTUAL) {
                say(p, PROOF_WARNING,
                    "a virtual TPM (%s): it protects as well as the hypervisor keeps its state",
                    maker);
                return;
        }
        say(p, f->allow_software_tpm ? PROOF_OVERRIDDEN : PROOF_FAILED,
            "a software TPM (%s): its secrets lie in a file, and whoever has that opens the disk",
            maker);
        advise(p, EPERM,
               f->allow_software_tpm ? "accepted by --allow-software-tpm"
                                     : "use a machine with a TPM, or accept this one with "
                                       "--allow-software-tpm, for tests and virtual machines");
}

static void judge_bank(const struct preflight_facts *f, struct proof *p)
{
        if (f->tpm.sha256_bank) {
                say(p, PROOF_PASSED, "the SHA-256 PCR bank is active");
                return;
        }
        say(p, PROOF_FAILED, "the TPM has no active SHA-256 PCR bank");
        advise(p, EPROTONOSUPPORT, "enable the SHA-256 bank of the TPM in the firmware setup");
}

static void judge_lockout(const struct preflight_facts *f, struct proof *p)
{
        const struct tpm_info *t = &f->tpm;

        if (t->in_lockout || t->lockout_counter >= t->lockout_max) {
                say(p, PROOF_FAILED,
                    "the TPM is locked out after failed authorizations (%u of %u, one is forgotten "
                    "every %u s)",
                    t->lockout_counter, t->lockout_max, t->lockout_interval);
                advise(p, ENOLCK,
                       "wait until the lockout is over, or clear it (tpm2_dictionarylockout "
                       "--clear-lockout), and find out who caused it");
        } else if (t->lockout_counter > 0) {
                say(p, PROOF_WARNING, "the TPM counts %u of %u failed authorizations",
                    t->lockout_counter, t->lockout_max);
        } else {
                say(p, PROOF_PASSED, "no failed authorizations");
        }
}

static void judge_storage_key(const struct preflight_facts *f, struct proof *p)
{
        if (f->storage_key.code != 0)
                take_error(p, &f->storage_key);
        else
                say(p, PROOF_PASSED, "the TPM makes its storage key");
}

/* The image is loaded whole, and what it holds is unpacked beside it: less than this cannot do. */
static void judge_memory(const struct preflight_facts *f, struct proof *p)
{
        char has[32], image[32];
        uint64_t least;

        if (f->image_size == 0 || f->memory == 0) {
                say(p, PROOF_NOT_APPLICABLE, "%s",
                    f->memory == 0 ? "the size of the memory is not known" : "no image yet");
                return;
        }
        (void)format_size(f->memory, has, sizeof(has));
        (void)format_size(f->image_size, image, sizeof(image));
        if (mul_u64(f->image_size, 2, &least) < 0 || f->memory < least) {
                say(p, PROOF_FAILED, "%s of memory cannot start an image of %s", has, image);
                advise(p, ENOMEM,
                       "the image is unpacked in memory: use a smaller image or a machine with "
                       "more memory");
                return;
        }
        say(p, PROOF_PASSED, "%s of memory for an image of %s", has, image);
}

static void judge_esp(const struct preflight_facts *f, struct proof *p)
{
        char esp[32], image[32];
        struct error error = ERROR_INIT;
        uint64_t size;

        if (f->image_size == 0 || f->esp_size == 0) {
                say(p, PROOF_NOT_APPLICABLE, "no layout yet");
                return;
        }
        if (layout_esp_size(f->image_size, f->esp_size, &size, &error) < 0) {
                take_error(p, &error);
                return;
        }
        say(p, PROOF_PASSED, "%s: three images of %s and a spare fit",
            format_size(f->esp_size, esp, sizeof(esp)),
            format_size(f->image_size, image, sizeof(image)));
}

void preflight_judge(const struct preflight_facts *facts, struct preflight *ret)
{
        *ret = (struct preflight){0};
        judge_uefi(facts, &ret->item[PREFLIGHT_UEFI]);
        judge_secure_boot(facts, &ret->item[PREFLIGHT_SECURE_BOOT]);
        judge_tpm(facts, &ret->item[PREFLIGHT_TPM]);
        if (ret->item[PREFLIGHT_TPM].state == PROOF_PASSED) {
                judge_kind(facts, &ret->item[PREFLIGHT_TPM_KIND]);
                judge_bank(facts, &ret->item[PREFLIGHT_PCR_BANK]);
                judge_lockout(facts, &ret->item[PREFLIGHT_LOCKOUT]);
                judge_storage_key(facts, &ret->item[PREFLIGHT_STORAGE_KEY]);
        }
        judge_memory(facts, &ret->item[PREFLIGHT_MEMORY]);
        judge_esp(facts, &ret->item[PREFLIGHT_ESP]);
}

int preflight_enforce(const struct preflight *p, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < PREFLIGHT_MAX; i++) {
                const struct proof *item = &p->item[i];

                if (item->state == PROOF_OVERRIDDEN)
                        log_warning("%s: %s (%s)", names[i], item->text, item->advice);
                if (item->state != PROOF_FAILED)
                        continue;
                if (r < 0) {
                        log_warning("%s: %s", names[i], item->text);
                        continue;
                }
                r = error_set(e, item->class, item->code, "%s", item->text);
                if (*item->advice)
                        error_advise(e, "%s", item->advice);
        }
        return r;
}

static struct json_object *item_json(const char *name, const struct proof *item)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        int r = json_add_str(o, "check", name);

        if (r == 0)
                r = json_add_str(o, "state", proof_state_name(item->state));
        if (r == 0)
                r = json_add_str(o, "text", *item->text ? item->text : NULL);
        if (r == 0)
                r = json_add_str(o, "advice", *item->advice ? item->advice : NULL);
        return r < 0 ? NULL : TAKE_PTR(o);
}

struct json_object *preflight_json(const struct preflight *p)
{
        _cleanup_json_ struct json_object *array = json_object_new_array();

        for (unsigned i = 0; array && i < PREFLIGHT_MAX; i++) {
                if (json_append(array, item_json(names[i], &p->item[i])) < 0)
                        return NULL;
        }
        return TAKE_PTR(array);
}
