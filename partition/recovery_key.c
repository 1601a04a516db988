/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/recovery_key.h"

#include <ctype.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/num.h"

#define GROUP_LETTERS 8u
#define LETTERS (RECOVERY_KEY_BYTES * 2)

static const char modhex[] = "cbdefghijklnrtuv";

static int letter_value(uint8_t c)
{
        for (int i = 0; i < 16; i++) {
                if (modhex[i] == tolower(c))
                        return i;
        }
        return -EINVAL;
}

struct secret *recovery_key_encode(const uint8_t *raw)
{
        struct secret *s = secret_new(RECOVERY_KEY_TEXT);
        size_t at = 0;

        if (!s)
                return NULL;
        for (size_t i = 0; i < LETTERS; i++) {
                unsigned byte = raw[i / 2];

                if (i > 0 && i % GROUP_LETTERS == 0)
                        s->data[at++] = '-';
                s->data[at++] = (uint8_t)modhex[i % 2 == 0 ? byte >> 4 : byte & 0x0f];
        }
        return s;
}

struct secret *recovery_key_new(void)
{
        _cleanup_(secret_free_p) struct secret *raw = secret_random(RECOVERY_KEY_BYTES);

        return raw ? recovery_key_encode(raw->data) : NULL;
}

static int no_key(struct error *e)
{
        error_set(e, ERROR_USAGE, EINVAL, "this is not a recovery key");
        error_advise(e, "a recovery key has 64 letters out of \"%s\", in groups of eight", modhex);
        return -EINVAL;
}

int recovery_key_parse(const uint8_t *typed, size_t n, struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *raw = secret_new(RECOVERY_KEY_BYTES);
        struct secret *text;
        size_t letters = 0;

        if (!raw)
                return error_oom(e);
        for (size_t i = 0; i < n; i++) {
                int value;

                if (typed[i] == '-' || typed[i] == ' ' || typed[i] == '\t' || typed[i] == '\r' ||
                    typed[i] == '\n')
                        continue;
                value = letter_value(typed[i]);
                if (value < 0 || letters == LETTERS)
                        return no_key(e);
                raw->data[letters / 2] =
                        (uint8_t)(raw->data[letters / 2] | value << (letters % 2 == 0 ? 4 : 0));
                letters++;
        }
        if (letters != LETTERS)
                return no_key(e);
        text = recovery_key_encode(raw->data);
        if (!text)
                return error_oom(e);
        *ret = text;
        return 0;
}

int recovery_key_enrol(struct luks *l, const struct secret *volume_key, const struct secret *key,
                       struct error *e)
{
        _cleanup_(buf_done) struct buf json = BUF_INIT(LIMIT_TOKEN_JSON);
        int slot, r;

        r = luks_add_keyslot(l, volume_key, key, &slot, e);
        if (r == 0)
                r = token_format_recovery(slot, &json, e);
        if (r == 0)
                r = luks_set_token(l, LUKS_ANY_TOKEN, buf_str(&json), NULL, e);
        return r < 0 ? error_wrap(e, r, "recovery key") : 0;
}

/* Key slot that a token of a recovery key names; negative for any other token. */
static int slot_of(const char *json)
{
        _cleanup_json_ struct json_object *o = NULL;
        struct json_object *slots, *first;
        const char *type;
        uint64_t slot;

        if (json_read_text(json, strlen(json), LIMIT_TOKEN_JSON, "token", &o, NULL) < 0 ||
            json_get_str(o, "type", &type) < 0 || strcmp(type, TOKEN_TYPE_RECOVERY) != 0 ||
            json_get_array(o, "keyslots", &slots) < 0 || json_object_array_length(slots) != 1)
                return -ENOENT;
        first = json_object_array_get_idx(slots, 0);
        if (!json_object_is_type(first, json_type_string) ||
            parse_u64_max(json_object_get_string(first), LIMIT_LUKS_KEYSLOTS - 1, &slot) < 0)
                return -ENOENT;
        return (int)slot;
}

int recovery_key_next_slot(const struct luks *l, int *token)
{
        while (*token < LIMIT_LUKS_TOKENS) {
                const char *json = luks_token_json(l, (*token)++);
                int slot = json ? slot_of(json) : -ENOENT;

                if (slot >= 0)
                        return slot;
        }
        return -ENOENT;
}

int recovery_key_find_slot(const struct luks *l, const struct secret *key, struct error *e)
{
        bool any = false;
        int token = 0, slot;

        while ((slot = recovery_key_next_slot(l, &token)) >= 0) {
                int r = luks_test_secret(l, slot, key, e);

                if (r == 0)
                        return slot;
                if (r != -EACCES)
                        return r;
                any = true;
        }
        if (!any)
                return error_set(e, ERROR_PRECONDITION, ENOKEY, "the volume has no recovery key");
        return error_set(e, ERROR_PRECONDITION, EACCES,
                         "this is not the recovery key of the volume");
}
