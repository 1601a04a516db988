/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image measure: what the PCRs of a machine will hold that starts an image. */
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "image/document.h"
#include "image/input.h"
#include "image/keyfile.h"
#include "image/phases.h"
#include "image/say.h"
#include "image/verb.h"
#include "image/words.h"
#include "upgrade/measure.h"
#include "upgrade/usi.h"

struct settings {
        const char *path, *loader, *keys;
        unsigned profile;
};

struct inputs {
        int image, loader;
        struct usi *usi;
};

struct values {
        bool has_pcr7;
        uint8_t pcr4[SHA256_SIZE], pcr7[SHA256_SIZE], pcr12[SHA256_SIZE], pcr13[SHA256_SIZE];
        uint8_t pcr11[PHASE_MAX][SHA256_SIZE];
};

static void inputs_done(struct inputs *in)
{
        close_p(&in->image);
        close_p(&in->loader);
        usi_free(in->usi);
}

static int parse(char *const argv[], bool *json, struct settings *s, struct error *e)
{
        const char *profile = NULL;
        const struct words_option options[] = {
                {.name = "loader", .value = &s->loader, .not_empty = true},
                {.name = "keys", .value = &s->keys, .not_empty = true},
                {.name = "profile", .value = &profile},
                {.name = "json", .flag = json},
        };
        int r = words_parse(argv, options, ARRAY_SIZE(options), &s->path, 1, "the image", e);

        return r == 0 ? words_number("profile", profile, 0, LIMIT_PE_SECTIONS, &s->profile, e) : r;
}

static int load(const struct settings *s, struct inputs *in, struct error *e)
{
        int r = input_open(s->path, &in->image, e);

        if (r == 0 && s->loader)
                r = input_open(s->loader, &in->loader, e);
        if (r < 0)
                return r;
        r = usi_open(in->image, &in->usi, e);
        if (r < 0)
                return error_wrap(e, r, "%s", s->path);
        if (s->profile > 0 && s->profile >= usi_profiles(in->usi))
                return error_set(e, ERROR_CONFIG, EINVAL, "%s has no profile %u", s->path,
                                 s->profile);
        return 0;
}

/* --- the keys --- */

static int read_list(int dirfd, const char *name, bool needed, struct buf *out, struct error *e)
{
        if (!needed && faccessat(dirfd, name, F_OK, 0) < 0 && errno == ENOENT)
                return 0;
        return keyfile_bytes(dirfd, name, out, e);
}

static int measure_keys(const struct settings *s, const struct measure_boot *boot,
                        struct values *ret, struct error *e)
{
        struct measure_keys keys = {.pk = BUF_INIT(LIMIT_EFI_VARIABLE),
                                    .kek = BUF_INIT(LIMIT_EFI_VARIABLE),
                                    .db = BUF_INIT(LIMIT_EFI_VARIABLE),
                                    .dbx = BUF_INIT(LIMIT_EFI_VARIABLE)};
        _cleanup_close_ int dir = keyfile_open_dir(s->keys, e);
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
        return r < 0 ? error_wrap(e, r, "%s", s->keys) : 0;
}

static int measure(const struct settings *s, const struct inputs *in, struct values *ret,
                   struct error *e)
{
        const struct measure_boot boot = {.loader = in->loader, .image = in->image, .usi = in->usi};
        int r = measure_pcr4(&boot, ret->pcr4, e);

        for (unsigned k = 0; k < PHASE_MAX && r == 0; k++)
                r = usi_pcr11_profile(in->usi, s->profile, phase_path((enum phase)k), ret->pcr11[k],
                                      e);
        if (r < 0)
                return error_wrap(e, r, "%s", s->path);
        if (measure_pcr12(s->profile, ret->pcr12) < 0)
                return error_oom(e);
        return s->keys ? measure_keys(s, &boot, ret, e) : 0;
}

/* --- output --- */

static void print_value(const char *label, const uint8_t *value, const char *remark)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(value, SHA256_SIZE, hex);
        say(stdout, "%-6s %s (%s)\n", label, hex, remark);
}

static void print_text(const struct settings *s, const struct values *v)
{
        print_value("pcr4", v->pcr4,
                    s->loader ? "firmware, boot loader, image"
                              : "firmware, image; without --loader no boot loader");
        if (v->has_pcr7)
                print_value("pcr7", v->pcr7, "Secure Boot on, with these keys");
        for (unsigned k = 0; k < PHASE_MAX; k++) {
                const char *path = phase_path((enum phase)k);

                print_value(k == 0 ? "pcr11" : "", v->pcr11[k],
                            *path ? path : "before the first phase");
        }
        print_value("pcr12", v->pcr12, "no credentials, addons or other command line");
        print_value("pcr13", v->pcr13, "no system extensions");
}

static int add_hex(struct json_object *o, const char *key, const uint8_t *value)
{
        char hex[SHA256_HEX_SIZE];

        if (!value)
                return json_add_null(o, key);
        hex_encode(value, SHA256_SIZE, hex);
        return json_add_str(o, key, hex);
}

static int print_json(const struct settings *s, const struct values *v, struct error *e)
{
        _cleanup_json_ struct json_object *root = document_new("measure");
        struct json_object *pcrs, *phases;
        int r = json_add_u64(root, "profile", s->profile);

        pcrs = r == 0 ? document_object(root, "pcrs") : NULL;
        r = add_hex(pcrs, "4", v->pcr4);
        if (r == 0)
                r = add_hex(pcrs, "7", v->has_pcr7 ? v->pcr7 : NULL);
        phases = r == 0 ? document_object(pcrs, "11") : NULL;
        for (unsigned k = 0; k < PHASE_MAX && r == 0; k++)
                r = add_hex(phases, phase_path((enum phase)k), v->pcr11[k]);
        if (r == 0)
                r = add_hex(pcrs, "12", v->pcr12);
        if (r == 0)
                r = add_hex(pcrs, "13", v->pcr13);
        return r < 0 ? error_oom(e) : document_print(root, e);
}

int verb_measure(char *const argv[], bool *json, struct error *e)
{
        _cleanup_(inputs_done) struct inputs in = {.image = -EBADF, .loader = -EBADF};
        struct settings s = {.path = NULL};
        struct values v = {.has_pcr7 = false};
        int r = parse(argv, json, &s, e);

        if (r != 0)
                return r;
        r = load(&s, &in, e);
        if (r == 0)
                r = measure(&s, &in, &v, e);
        if (r < 0)
                return r;
        if (*json)
                return print_json(&s, &v, e);
        print_text(&s, &v);
        return 0;
}
