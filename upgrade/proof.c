/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/proof.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

static const char *const names[PROOF_MAX] = {
        [PROOF_FORMAT] = "format",           [PROOF_ARCHITECTURE] = "architecture",
        [PROOF_SECURE_BOOT] = "secure-boot", [PROOF_SBAT] = "sbat",
        [PROOF_POLICY_KEY] = "policy-key",   [PROOF_PCR_SIGNATURE] = "pcr-signature",
        [PROOF_PHASES] = "phases",           [PROOF_PCR7] = "pcr7",
        [PROOF_VERSION] = "version",         [PROOF_LOADER] = "boot-loader",
};

static const char *const state_names[PROOF_STATE_MAX] = {
        [PROOF_NOT_REACHED] = "not-reached", [PROOF_PASSED] = "passed",
        [PROOF_WARNING] = "warning",         [PROOF_NOT_APPLICABLE] = "not-applicable",
        [PROOF_OVERRIDDEN] = "overridden",   [PROOF_FAILED] = "failed",
};

const char *proof_name(enum proof_id id)
{
        assert(id < PROOF_MAX);
        return names[id];
}

const char *proof_state_name(enum proof_state state)
{
        assert(state < PROOF_STATE_MAX);
        return state_names[state];
}

void proof_set(struct proofs *p, enum proof_id id, enum proof_state state, const char *fmt, ...)
{
        struct proof *proof = &p->item[id];
        va_list ap;

        proof->state = state;
        proof->class = ERROR_NONE;
        proof->code = 0;
        proof->advice[0] = '\0';
        va_start(ap, fmt);
        (void)vsnprintf(proof->text, sizeof(proof->text), fmt, ap);
        va_end(ap);
}

static bool is_about_the_image(enum error_class class)
{
        return class == ERROR_REFUSED || class >= ERROR_SIGNATURE;
}

void proof_fail(struct proofs *p, enum proof_id id, enum error_class class, const struct error *e)
{
        struct proof *proof = &p->item[id];

        proof_set(p, id, PROOF_FAILED, "%s", e->text);
        proof->class = class != ERROR_NONE && is_about_the_image(e->class) ? class : e->class;
        proof->code = e->code;
        (void)snprintf(proof->advice, sizeof(proof->advice), "%s", e->advice);
}

enum error_class proof_trust_class(int r)
{
        return r == -EKEYREVOKED || r == -EPERM ? ERROR_REVOKED : ERROR_SIGNATURE;
}

void proof_override(struct proofs *p, enum proof_id id, const char *by)
{
        assert(p->item[id].state == PROOF_FAILED);
        p->item[id].state = PROOF_OVERRIDDEN;
        (void)snprintf(p->item[id].advice, sizeof(p->item[id].advice), "accepted by %s", by);
}

void proofs_log(const struct proofs *p)
{
        for (unsigned i = 0; i < PROOF_MAX; i++) {
                const struct proof *proof = &p->item[i];

                if (proof->state == PROOF_WARNING)
                        log_warning("%s: %s", names[i], proof->text);
                else if (proof->state == PROOF_OVERRIDDEN)
                        log_warning("%s: %s (%s)", names[i], proof->text, proof->advice);
        }
}

void proof_overrides(const struct proof *items, const char *const *item_names, size_t n, char *ret,
                     size_t size)
{
        size_t used = 0;

        assert(size > 0);
        ret[0] = '\0';
        for (size_t i = 0; i < n && used < size; i++) {
                int added;

                if (items[i].state != PROOF_OVERRIDDEN)
                        continue;
                added = snprintf(ret + used, size - used, "%s%s: %s (%s)", used > 0 ? "; " : "",
                                 item_names[i], items[i].text, items[i].advice);
                used += added > 0 ? (size_t)added : 0;
        }
}

void proofs_overrides(const struct proofs *p, char *ret, size_t size)
{
        proof_overrides(p->item, names, PROOF_MAX, ret, size);
}

int proofs_enforce(const struct proofs *p, struct error *e)
{
        for (unsigned i = 0; i < PROOF_MAX; i++) {
                const struct proof *proof = &p->item[i];

                if (proof->state != PROOF_FAILED && proof->state != PROOF_NOT_REACHED)
                        continue;
                /* A proof that was never tried is missing, and a missing proof is a refusal. */
                if (proof->state == PROOF_NOT_REACHED)
                        return error_set(e, ERROR_INTERNAL, ENOTRECOVERABLE, "%s: not proven",
                                         names[i]);
                error_set(e, proof->class, proof->code, "%s: %s", names[i], proof->text);
                if (*proof->advice)
                        error_advise(e, "%s", proof->advice);
                return -proof->code;
        }
        return 0;
}

static struct json_object *one_json(enum proof_id id, const struct proof *proof)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        int r = json_add_str(o, "proof", names[id]);

        if (r == 0)
                r = json_add_str(o, "state", state_names[proof->state]);
        if (r == 0)
                r = json_add_str(o, "text", *proof->text ? proof->text : NULL);
        if (r == 0)
                r = json_add_str(o, "advice", *proof->advice ? proof->advice : NULL);
        if (r == 0)
                r = json_add_str(o, "class",
                                 proof->class != ERROR_NONE ? error_class_name(proof->class)
                                                            : NULL);
        return r < 0 ? NULL : TAKE_PTR(o);
}

struct json_object *proofs_json(const struct proofs *p)
{
        _cleanup_json_ struct json_object *array = json_object_new_array();

        for (unsigned i = 0; array && i < PROOF_MAX; i++) {
                if (json_append(array, one_json((enum proof_id)i, &p->item[i])) < 0)
                        return NULL;
        }
        return TAKE_PTR(array);
}
