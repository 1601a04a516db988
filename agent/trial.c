/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/trial.h"

#include <stdio.h>
#include <string.h>

#include "agent/moment.h"
#include "upgrade/state.h"

static int load(int dir, struct state **ret, struct error *e)
{
        if (dir < 0)
                return error_set(e, ERROR_PRECONDITION, ENOENT,
                                 "the encrypted partition is not mounted");
        return state_load(dir, ret, e);
}

/* The history of the node, for the last operation that "status" shows. */
static int add_operation(const struct env *env, struct state *state, const struct situation *s,
                         enum error_class class, const char *text, struct error *e)
{
        const struct running *r = &s->running;
        struct state_operation op = {
                .time = moment_now(), .finished = true, .has_sha256 = r->has_sha256};
        int result;

        moment_boot_id(env, op.boot_id);
        (void)snprintf(op.verb, sizeof(op.verb), "bless");
        (void)snprintf(op.target, sizeof(op.target), "%s", entry_role_name(r->role));
        (void)snprintf(op.to_version, sizeof(op.to_version), "%s", r->version);
        (void)snprintf(op.result, sizeof(op.result), "%s", error_class_name(class));
        (void)snprintf(op.text, sizeof(op.text), "%s", text);
        memcpy(op.sha256, r->sha256, SHA256_SIZE);
        result = state_begin(state, &op, e);
        return result < 0 ? result : state_update(state, &op, e);
}

int trial_failed(const struct env *env, int dir, const struct situation *s, const char *reason,
                 enum trial_reason how, struct error *e)
{
        _cleanup_(state_free_p) struct state *state = NULL;
        const struct running *running = &s->running;
        int r = load(dir, &state, e);

        if (r < 0)
                return r;
        if (running->has_sha256 &&
            (how == TRIAL_REPLACE || state_find_failure(state, running->sha256, NULL) < 0))
                r = state_add_failure(state, running->sha256, moment_now(), reason, e);
        if (r == 0)
                r = add_operation(env, state, s, ERROR_PRECONDITION, reason, e);
        return r < 0 ? r : state_save(state, dir, e);
}

int trial_passed(const struct env *env, int dir, const struct situation *s, struct error *e)
{
        _cleanup_(state_free_p) struct state *state = NULL;
        int r = load(dir, &state, e);

        if (r < 0)
                return r;
        if (s->running.has_sha256)
                state_forget_failure(state, s->running.sha256);
        r = add_operation(env, state, s, ERROR_NONE, "confirmed", e);
        return r < 0 ? r : state_save(state, dir, e);
}

static bool is_failed(const struct entry_file *f, const struct state *state)
{
        return f->name.counted && f->name.tries_left == 0 && f->valid && f->entry.has_sha256 &&
               state_find_failure(state, f->entry.sha256, NULL) < 0;
}

int trial_fell_back(int dir, const struct situation *s, struct error *e)
{
        _cleanup_(state_free_p) struct state *state = NULL;
        unsigned found = 0;
        int r = load(dir, &state, e);

        for (size_t i = 0; i < s->slots.n_entries && r == 0; i++) {
                const struct entry_file *f = &s->slots.entries[i];
                char reason[64];

                /* What runs works, whatever another entry of it says. */
                if (!is_failed(f, state) ||
                    (s->running.has_sha256 &&
                     memcmp(f->entry.sha256, s->running.sha256, SHA256_SIZE) == 0))
                        continue;
                (void)snprintf(reason, sizeof(reason), "%u boots that nobody confirmed",
                               f->name.tries_done);
                r = state_add_failure(state, f->entry.sha256, moment_now(), reason, e);
                found++;
        }
        return r < 0 || found == 0 ? r : state_save(state, dir, e);
}
