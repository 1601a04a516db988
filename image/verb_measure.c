/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image measure: what the PCRs of a machine will hold that starts an image. */
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "image/document.h"
#include "image/input.h"
#include "image/predict.h"
#include "image/verb.h"
#include "image/words.h"
#include "upgrade/usi.h"

struct settings {
        const char *path, *loader, *keys;
        unsigned profile;
};

struct inputs {
        int image, loader;
        struct usi *usi;
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

static int print_json(const struct settings *s, const struct prediction *p, struct error *e)
{
        _cleanup_json_ struct json_object *root = document_new("measure");
        int r = json_add_u64(root, "profile", s->profile);

        if (r == 0)
                r = predict_add(p, document_object(root, "pcrs"));
        return r < 0 ? error_oom(e) : document_print(root, e);
}

int verb_measure(char *const argv[], bool *json, struct error *e)
{
        _cleanup_(inputs_done) struct inputs in = {.image = -EBADF, .loader = -EBADF};
        struct settings s = {.path = NULL};
        struct measure_boot boot;
        struct prediction p;
        int r = parse(argv, json, &s, e);

        if (r != 0)
                return r;
        r = load(&s, &in, e);
        if (r < 0)
                return r;
        boot = (struct measure_boot){.loader = in.loader, .image = in.image, .usi = in.usi};
        r = predict(&boot, s.profile, s.keys, &p, e);
        if (r < 0)
                return error_wrap(e, r, "%s", s.path);
        if (*json)
                return print_json(&s, &p, e);
        predict_print(&p);
        return 0;
}
