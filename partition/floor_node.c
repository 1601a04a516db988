/* SPDX-License-Identifier: Apache-2.0 */
/* The version floor of a node: index and file together. The order of the steps stands in floor.h.
 */
#include <string.h>

#include "base/version.h"
#include "partition/floor.h"
#include "partition/floor_nv.h"

static const char advice_repair[] = "find out who removed it; if the TPM was cleared or replaced, "
                                    "run \"tb-agent bless --repair-floor\"";

/* The index is the one that the file speaks of, and its content is to be believed. */
static bool is_ours(const struct floor_nv *nv, const struct floor_state *s)
{
        return nv->shaped && memcmp(nv->policy, floor_key_policy(s->key), SHA256_SIZE) == 0;
}

static bool holds(const struct floor *have, const struct floor *want)
{
        return strcmp(have->product, want->product) == 0 &&
               version_compare(have->version, want->version) == 0;
}

int floor_read(struct tpm *tpm, struct floor *ret, struct error *e)
{
        struct floor_nv nv;
        int r;

        r = floor_nv_look(tpm, &nv, e);
        if (r < 0)
                return r;
        if (!nv.exists)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "the TPM holds no version floor");
        if (nv.shaped && !nv.written)
                return error_set(e, ERROR_PRECONDITION, ENODATA,
                                 "the version floor in the TPM is empty");
        if (!nv.valid)
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "what stands in NV index 0x%08x of the TPM is no version floor",
                                 FLOOR_NV_INDEX);
        *ret = nv.floor;
        return 0;
}

/* --- comparison --- */

static enum floor_finding judge_without_key(const struct floor_nv *nv, enum floor_finding quiet)
{
        if (nv->valid)
                return FLOOR_INDEX_UNCLAIMED;
        return nv->exists && !(nv->shaped && !nv->written) ? FLOOR_INDEX_FOREIGN : quiet;
}

static enum floor_finding judge(const struct floor_nv *nv, const struct floor_state *s)
{
        int order;

        if (!s)
                return judge_without_key(nv, FLOOR_NONE);
        if (s->stage == FLOOR_STAGE_CLEARED)
                return judge_without_key(nv, FLOOR_CLEARED);
        if (s->stage == FLOOR_STAGE_PENDING)
                return FLOOR_PENDING;
        if (!nv->exists)
                return FLOOR_INDEX_MISSING;
        if (!is_ours(nv, s))
                return FLOOR_INDEX_FOREIGN;
        if (!nv->written)
                return FLOOR_INDEX_EMPTY;
        if (!nv->valid)
                return FLOOR_INDEX_DAMAGED;
        order = version_compare(nv->floor.version, s->floor.version);
        if (order == 0 && strcmp(nv->floor.product, s->floor.product) == 0)
                return FLOOR_AGREE;
        return order < 0 ? FLOOR_INDEX_BEHIND : FLOOR_FILE_BEHIND;
}

/* Index and file as they are, and what follows. */
static void compare(const struct floor_nv *nv, const struct floor_state *s,
                    struct floor_report *ret)
{
        struct floor_report rep = {.finding = judge(nv, s), .has_index = nv->valid};
        const struct floor *effective, *file = NULL, *index = NULL;

        if (nv->valid)
                rep.index = nv->floor;
        if (s && s->stage != FLOOR_STAGE_CLEARED) {
                rep.has_file = true;
                rep.file = s->floor;
                file = &rep.file;
        }
        /* Beside a file only what the file's key wrote; without one there is nothing to ask. */
        if (nv->valid && (!file || is_ours(nv, s)))
                index = &rep.index;
        effective = floor_effective(index, file);
        rep.has_floor = effective != NULL;
        if (effective)
                rep.effective = *effective;
        *ret = rep;
}

int floor_inspect(struct tpm *tpm, const struct floor_state *state, struct floor_report *ret,
                  struct error *e)
{
        struct floor_nv nv;
        int r = floor_nv_look(tpm, &nv, e);

        if (r < 0)
                return r;
        compare(&nv, state, ret);
        return 0;
}

/* --- changes --- */

struct work {
        struct tpm *tpm;
        int dirfd;
        const char *name;
        struct floor_state *state; /* NULL: no file */
        struct floor_nv nv;
        struct floor_report report;
};

static int work_begin(struct work *w, struct error *e)
{
        int r = floor_load_file(w->dirfd, w->name, &w->state, e);

        if (r == -ENOENT)
                error_clear(e);
        else if (r < 0)
                return r;
        r = floor_nv_look(w->tpm, &w->nv, e);
        if (r < 0)
                return r;
        compare(&w->nv, w->state, &w->report);
        return 0;
}

static void work_done(struct work *w)
{
        floor_state_free(w->state);
}

static int store(struct work *w, enum floor_stage stage, const struct floor *floor, struct error *e)
{
        w->state->stage = stage;
        w->state->floor = *floor;
        return floor_store_file(w->dirfd, w->name, w->state, e);
}

/* The index of the state's key, whatever is at the handle now, with this floor in it. */
static int put_index(struct work *w, const struct floor *floor, struct error *e)
{
        int r = 0;

        if (w->nv.exists && !is_ours(&w->nv, w->state)) {
                r = floor_nv_undefine(w->tpm, e);
                w->nv = (struct floor_nv){.exists = false};
        }
        if (r >= 0 && !w->nv.exists)
                r = floor_nv_define(w->tpm, w->state->key, e);
        if (r < 0 || (w->nv.valid && holds(&w->nv.floor, floor)))
                return r;
        return floor_nv_write(w->tpm, w->state->key, floor, e);
}

/* Whether what stands at the handle, and is not ours, may go. */
static int may_replace(const struct work *w, const struct floor *floor, bool repair,
                       struct error *e)
{
        const struct floor_nv *nv = &w->nv;
        int r;

        if (nv->valid)
                return floor_allows(&nv->floor, floor, e);
        if (!nv->exists || (nv->shaped && !nv->written) || repair)
                return 0;
        r = error_set(e, ERROR_PRECONDITION, EEXIST,
                      "NV index 0x%08x of the TPM is used by something else", FLOOR_NV_INDEX);
        error_advise(e, "if nobody needs it, run \"tb-agent bless --repair-floor\"");
        return r;
}

/* First setup of this installation, or again after a clearing. */
static int setup_new(struct work *w, const struct floor *floor, bool repair, struct error *e)
{
        int r = may_replace(w, floor, repair, e);

        if (r < 0)
                return r;
        floor_state_free(w->state);
        w->state = NULL;
        r = floor_state_new(floor, &w->state, e);
        if (r >= 0)
                r = store(w, FLOOR_STAGE_PENDING, floor, e);
        if (r >= 0)
                r = put_index(w, floor, e);
        return r < 0 ? r : store(w, FLOOR_STAGE_DEFINED, floor, e);
}

static int setup_again(struct work *w, const struct floor *floor, bool repair, struct error *e)
{
        bool pending = w->state->stage == FLOOR_STAGE_PENDING, ours = is_ours(&w->nv, w->state);
        int r;

        r = floor_allows(&w->report.effective, floor, e);
        if (r >= 0 && pending && !ours)
                r = may_replace(w, floor, repair, e);
        if (r < 0)
                return r;
        if (!pending && !(ours && w->nv.valid) && !repair) {
                r = error_set(e, ERROR_PRECONDITION, EREMOTE, "%s",
                              floor_finding_text(w->report.finding));
                error_advise(e, "%s", advice_repair);
                return r;
        }
        r = put_index(w, floor, e);
        if (r < 0 || (!pending && holds(&w->state->floor, floor)))
                return r;
        return store(w, FLOOR_STAGE_DEFINED, floor, e);
}

int floor_setup(struct tpm *tpm, int dirfd, const char *name, const struct floor *floor,
                bool repair, struct error *e)
{
        _cleanup_(work_done) struct work w = {.tpm = tpm, .dirfd = dirfd, .name = name};
        int r = work_begin(&w, e);

        if (r < 0)
                return r;
        return w.report.has_file ? setup_again(&w, floor, repair, e)
                                 : setup_new(&w, floor, repair, e);
}

int floor_raise(struct tpm *tpm, int dirfd, const char *name, const struct floor *to,
                struct error *e)
{
        _cleanup_(work_done) struct work w = {.tpm = tpm, .dirfd = dirfd, .name = name};
        bool ours;
        int r = work_begin(&w, e);

        if (r < 0)
                return r;
        if (!w.report.has_file || w.state->stage != FLOOR_STAGE_DEFINED)
                return error_set(e, ERROR_PRECONDITION, ENOENT,
                                 "no version floor is set up on this node");
        r = floor_allows(&w.report.effective, to, e);
        if (r < 0)
                return r;
        ours = is_ours(&w.nv, w.state) && w.nv.valid;
        if (ours)
                r = put_index(&w, to, e);
        if (r >= 0 && !holds(&w.state->floor, to))
                r = store(&w, FLOOR_STAGE_DEFINED, to, e);
        if (r < 0 || ours)
                return r;
        r = error_set(e, ERROR_PRECONDITION, EREMOTE, "%s", floor_finding_text(w.report.finding));
        error_advise(e, "%s", advice_repair);
        return r;
}

int floor_clear(struct tpm *tpm, int dirfd, const char *name, struct error *e)
{
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL;
        int load, r;

        load = floor_load_file(dirfd, name, &s, e);
        if (load == -ENOENT || load == -EBADMSG)
                error_clear(e);
        else if (load < 0)
                return load;
        r = floor_nv_undefine(tpm, e);
        if (r < 0 || load == -ENOENT || (s && s->stage == FLOOR_STAGE_CLEARED))
                return r;
        if (!s) {
                /* What a damaged file says is lost. */
                s = calloc(1, sizeof(*s));
                if (!s)
                        return error_oom(e);
                memcpy(s->floor.version, "unknown", sizeof("unknown"));
        }
        floor_key_free(s->key);
        s->key = NULL;
        s->stage = FLOOR_STAGE_CLEARED;
        return floor_store_file(dirfd, name, s, e);
}
