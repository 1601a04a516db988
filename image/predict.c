/* SPDX-License-Identifier: Apache-2.0 */
#include "image/predict.h"

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "image/document.h"
#include "image/keyfile.h"
#include "image/say.h"

/* --- the keys --- */

static int read_list(int dirfd, const char *name, bool needed, struct buf *out, struct error *e)
{
        if (!needed && faccessat(dirfd, name, F_OK, 0) < 0 && errno == ENOENT)
                return 0;
        return keyfile_bytes(dirfd, name, out, e);
}

static int measure_keys(const char *path, const struct measure_boot *boot, struct prediction *ret,
                        struct error *e)
{
        struct measure_keys keys = {.pk = BUF_INIT(LIMIT_EFI_VARIABLE),
                                    .kek = BUF_INIT(LIMIT_EFI_VARIABLE),
                                    .db = BUF_INIT(LIMIT_EFI_VARIABLE),
                                    .dbx = BUF_INIT(LIMIT_EFI_VARIABLE)};
        _cleanup_close_ int dir = keyfile_open_dir(path, e);
        int r = dir < 0 ? dir : 0;

        if (r == 0)
                r = read_list(dir, "PK.esl", true, &keys.pk, e);
        if (r == 0)
                r = read_list(dir, "KEK.esl", true, &keys.kek, e);
        if (r == 0)
                r = read_list(dir, "db.esl", true, &keys.db, e);
        if (r == 0)
                r = read_list(dir, "dbx.esl", false, &keys.dbx, e);
        if (r == 0)
                r = measure_pcr7(boot, &keys, ret->pcr7, e);
        buf_done(&keys.pk);
        buf_done(&keys.kek);
        buf_done(&keys.db);
        buf_done(&keys.dbx);
        ret->has_pcr7 = r == 0;
        return r < 0 ? error_wrap(e, r, "%s", path) : 0;
}

int predict(const struct measure_boot *boot, unsigned profile, const char *keys,
            struct prediction *ret, struct error *e)
{
        struct prediction p = {.has_loader = boot->loader >= 0};
        int r = measure_pcr4(boot, p.pcr4, e);

        for (unsigned k = 0; k < PHASE_MAX && r == 0; k++)
                r = usi_pcr11_profile(boot->usi, profile, phase_path((enum phase)k), p.pcr11[k], e);
        if (r == 0 && measure_pcr12(profile, p.pcr12) < 0)
                r = error_oom(e);
        if (r == 0 && keys)
                r = measure_keys(keys, boot, &p, e);
        if (r == 0)
                *ret = p;
        return r;
}

/* --- output --- */

static void print_value(const char *label, const uint8_t *value, const char *remark)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(value, SHA256_SIZE, hex);
        say(stdout, "%-6s %s (%s)\n", label, hex, remark);
}

void predict_print(const struct prediction *p)
{
        print_value("pcr4", p->pcr4,
                    p->has_loader ? "firmware, boot loader, image"
                                  : "firmware, image; without --loader no boot loader");
        if (p->has_pcr7)
                print_value("pcr7", p->pcr7, "Secure Boot on, with these keys");
        for (unsigned k = 0; k < PHASE_MAX; k++) {
                const char *path = phase_path((enum phase)k);

                print_value(k == 0 ? "pcr11" : "", p->pcr11[k],
                            *path ? path : "before the first phase");
        }
        print_value("pcr12", p->pcr12, "no credentials, addons or other command line");
        print_value("pcr13", p->pcr13, "no system extensions");
}

static int add_hex(struct json_object *o, const char *key, const uint8_t *value)
{
        char hex[SHA256_HEX_SIZE];

        if (!value)
                return json_add_null(o, key);
        hex_encode(value, SHA256_SIZE, hex);
        return json_add_str(o, key, hex);
}

int predict_add(const struct prediction *p, struct json_object *pcrs)
{
        struct json_object *phases;
        int r = add_hex(pcrs, "4", p->pcr4);

        if (r == 0)
                r = add_hex(pcrs, "7", p->has_pcr7 ? p->pcr7 : NULL);
        phases = r == 0 ? document_object(pcrs, "11") : NULL;
        for (unsigned k = 0; k < PHASE_MAX && r == 0; k++)
                r = add_hex(phases, phase_path((enum phase)k), p->pcr11[k]);
        if (r == 0)
                r = add_hex(pcrs, "12", p->pcr12);
        return r == 0 ? add_hex(pcrs, "13", p->pcr13) : r;
}
