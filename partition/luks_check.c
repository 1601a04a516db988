/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a LUKS2 header may say (LUKS2 On-Disk Format Specification 1.1, section 3). The header comes
 * from a disk that anybody may have written: a null cipher, a second key slot or a token of another
 * kind are ways to have data written in clear or a volume of somebody else's mounted. So this lists
 * what is allowed, and refuses the rest.
 */
#include "partition/luks.h"

#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/num.h"

#define CIPHER "aes-xts-plain64"
#define KEY_SIZE LUKS_VOLUME_KEY_SIZE

static int refuse(struct error *e, const char *why)
{
        int r = error_set(e, ERROR_PRECONDITION, EBADMSG, "LUKS2 header refused: %s", why);

        error_advise(e, "The volume was not made or was changed by something else: check the disk, "
                        "then reset the node or restore it");
        return r;
}

static bool str_is(struct json_object *o, const char *key, const char *want)
{
        const char *v;

        return json_get_str(o, key, &v) == 0 && strcmp(v, want) == 0;
}

static bool u64_is(struct json_object *o, const char *key, uint64_t want)
{
        uint64_t v;

        return json_get_u64(o, key, &v) == 0 && v == want;
}

static bool u64_at_most(struct json_object *o, const char *key, uint64_t max)
{
        uint64_t v;

        return json_get_u64(o, key, &v) == 0 && v > 0 && v <= max;
}

static bool absent(struct json_object *o, const char *key)
{
        return !json_object_object_get_ex(o, key, NULL);
}

/* The format writes 64-bit numbers as decimal strings. */
static bool str_u64(struct json_object *o, const char *key, uint64_t *ret)
{
        const char *v;

        return json_get_str(o, key, &v) == 0 && parse_u64(v, ret) == 0;
}

/* Every key of the object is one of the names. */
static bool only_keys(struct json_object *o, const char *const *names, size_t n)
{
        json_object_object_foreach(o, key, value)
        {
                bool known = false;

                (void)value;
                for (size_t i = 0; i < n; i++)
                        known = known || strcmp(key, names[i]) == 0;
                if (!known)
                        return false;
        }
        return true;
}

static bool array_has(struct json_object *array, const char *text)
{
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *v = json_object_array_get_idx(array, i);

                if (json_object_is_type(v, json_type_string) &&
                    strcmp(json_object_get_string(v), text) == 0)
                        return true;
        }
        return false;
}

/* --- parts --- */

/* Absent, empty, or an empty list of mandatory ones. */
static bool no_requirements(struct json_object *o)
{
        struct json_object *array;

        if (!json_object_is_type(o, json_type_object))
                return false;
        if (json_object_object_length(o) == 0)
                return true;
        return json_object_object_length(o) == 1 && json_get_array(o, "mandatory", &array) == 0 &&
               json_object_array_length(array) == 0;
}

/* Flags that only change how requests are scheduled, and discards. */
static bool known_flags(struct json_object *array)
{
        static const char *const flags[] = {"allow-discards", "same-cpu-crypt",
                                            "submit-from-crypt-cpus", "no-read-workqueue",
                                            "no-write-workqueue"};

        if (!json_object_is_type(array, json_type_array))
                return false;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *v = json_object_array_get_idx(array, i);
                bool known = false;

                for (size_t k = 0;
                     json_object_is_type(v, json_type_string) && k < ARRAY_SIZE(flags); k++)
                        known = known || strcmp(json_object_get_string(v), flags[k]) == 0;
                if (!known)
                        return false;
        }
        return true;
}

static int check_config(struct json_object *config, uint64_t *ret_header_size, struct error *e)
{
        static const char *const keys[] = {"json_size", "keyslots_size", "flags", "requirements"};
        struct json_object *v;
        uint64_t json_size, keyslots_size;

        if (!only_keys(config, keys, ARRAY_SIZE(keys)))
                return refuse(e, "unknown configuration");
        if (json_object_object_get_ex(config, "requirements", &v) && !no_requirements(v))
                return refuse(e, "it has requirements (reencryption in progress?)");
        if (json_object_object_get_ex(config, "flags", &v) && !known_flags(v))
                return refuse(e, "unknown activation flag");
        /* Binary header and JSON area exist twice; json_size counts the JSON area alone. */
        if (!str_u64(config, "json_size", &json_size) || json_size > LIMIT_LUKS_JSON ||
            !str_u64(config, "keyslots_size", &keyslots_size) ||
            keyslots_size > LIMIT_LUKS_KEYSLOTS_AREA)
                return refuse(e, "sizes");
        *ret_header_size = 2 * (json_size + 4096) + keyslots_size;
        return 0;
}

static int check_segments(struct json_object *segments, uint64_t header_size, struct error *e)
{
        static const char *const keys[] = {"type",     "offset",     "size",
                                           "iv_tweak", "encryption", "sector_size"};
        struct json_object *s;
        uint64_t offset, sector;

        if (json_object_object_length(segments) != 1 || json_get_obj(segments, "0", &s) < 0)
                return refuse(e, "not exactly one segment");
        if (!only_keys(s, keys, ARRAY_SIZE(keys)) || !str_is(s, "type", "crypt"))
                return refuse(e, "the segment is not plainly encrypted");
        if (!str_is(s, "encryption", CIPHER))
                return refuse(e, "the cipher is not " CIPHER);
        if (!str_is(s, "size", "dynamic") || !str_is(s, "iv_tweak", "0"))
                return refuse(e, "the segment does not span the device");
        if (!str_u64(s, "offset", &offset) || offset < header_size || offset % 4096 != 0 ||
            offset > LIMIT_LUKS_DATA_OFFSET)
                return refuse(e, "the data does not begin behind the header");
        if (json_get_u64(s, "sector_size", &sector) < 0 || sector < 512 || sector > 4096 ||
            (sector & (sector - 1)) != 0)
                return refuse(e, "sector size");
        return 0;
}

static int check_kdf(struct json_object *kdf, struct error *e)
{
        bool ok;

        if (str_is(kdf, "type", "pbkdf2"))
                ok = u64_at_most(kdf, "iterations", LIMIT_LUKS_PBKDF2_ITERATIONS);
        else if (str_is(kdf, "type", "argon2i") || str_is(kdf, "type", "argon2id"))
                ok = u64_at_most(kdf, "time", LIMIT_LUKS_ARGON2_TIME) &&
                     u64_at_most(kdf, "memory", LIMIT_LUKS_ARGON2_MEMORY_KIB);
        else
                return refuse(e, "unknown key derivation of a key slot");
        return ok ? 0 : refuse(e, "key derivation of a key slot costs too much");
}

static int check_keyslot(struct json_object *slot, struct error *e)
{
        struct json_object *area, *af, *kdf;

        if (!str_is(slot, "type", "luks2") || !u64_is(slot, "key_size", KEY_SIZE))
                return refuse(e, "a key slot is not of type luks2 with a key of 512 bits");
        if (json_get_obj(slot, "area", &area) < 0 || !str_is(area, "type", "raw") ||
            !str_is(area, "encryption", CIPHER) ||
            !(u64_is(area, "key_size", KEY_SIZE) || u64_is(area, "key_size", KEY_SIZE / 2)))
                return refuse(e, "a key slot is not encrypted with " CIPHER);
        if (json_get_obj(slot, "af", &af) < 0 || !str_is(af, "type", "luks1") ||
            !u64_is(af, "stripes", 4000))
                return refuse(e, "anti-forensic parameters of a key slot");
        if (json_get_obj(slot, "kdf", &kdf) < 0)
                return refuse(e, "a key slot without key derivation");
        return check_kdf(kdf, e);
}

/*
 * A key slot and its token are two writes. What a power cut leaves between them is a key slot whose
 * secret nobody has any more; it looks like all of ours, which no tool makes for a password.
 * Whoever can make one by intent has the volume key, and could as well have added a token.
 */
static bool is_leftover(struct json_object *slot)
{
        struct json_object *kdf;

        return json_get_obj(slot, "kdf", &kdf) == 0 && str_is(kdf, "type", "pbkdf2") &&
               str_is(kdf, "hash", "sha512") && u64_is(kdf, "iterations", LUKS_PBKDF2_ITERATIONS);
}

/* One digest ties all key slots to the segment; a slot outside of it would be of another key. */
static int check_digests(struct json_object *digests, struct json_object *keyslots, struct error *e)
{
        struct json_object *d, *slots, *segments;

        if (json_object_object_length(digests) != 1 || json_get_obj(digests, "0", &d) < 0)
                return refuse(e, "not exactly one digest");
        if (!str_is(d, "type", "pbkdf2") ||
            !u64_at_most(d, "iterations", LIMIT_LUKS_PBKDF2_ITERATIONS) ||
            json_get_array(d, "keyslots", &slots) < 0 ||
            json_get_array(d, "segments", &segments) < 0)
                return refuse(e, "digest");
        if (json_object_array_length(segments) != 1 || !array_has(segments, "0"))
                return refuse(e, "the digest is not that of the segment");
        if ((int)json_object_array_length(slots) != json_object_object_length(keyslots))
                return refuse(e, "a key slot of another volume key");
        json_object_object_foreach(keyslots, id, slot)
        {
                (void)slot;
                if (!array_has(slots, id))
                        return refuse(e, "a key slot of another volume key");
        }
        return 0;
}

/* Key slots by the tokens that name them: bit i = key slot i. */
struct named_slots {
        uint32_t any, recovery;
};

static int check_token(struct json_object *token, struct json_object *keyslots,
                       struct named_slots *named, struct error *e)
{
        static const char *const recovery_keys[] = {"type", "keyslots"};
        bool recovery = str_is(token, "type", TOKEN_TYPE_RECOVERY);
        struct json_object *array, *v;
        uint64_t slot;
        uint32_t bit;

        if (!recovery && !str_is(token, "type", TOKEN_TYPE_TPM2))
                return refuse(e, "a token of unknown type");
        if (recovery && !only_keys(token, recovery_keys, ARRAY_SIZE(recovery_keys)))
                return refuse(e, "a recovery token that says more than its key slot");
        if (json_get_array(token, "keyslots", &array) < 0 || json_object_array_length(array) != 1)
                return refuse(e, "a token that does not name one key slot");
        v = json_object_array_get_idx(array, 0);
        if (!json_object_is_type(v, json_type_string) ||
            parse_u64_max(json_object_get_string(v), LIMIT_LUKS_KEYSLOTS - 1, &slot) < 0 ||
            absent(keyslots, json_object_get_string(v)))
                return refuse(e, "a token that names no key slot");
        bit = UINT32_C(1) << slot;
        /* A slot has one kind of secret: two kinds of token on it are somebody's mistake or trick.
         */
        if (recovery ? named->any & bit : named->recovery & bit)
                return refuse(e, "a key slot of a recovery key that another token names");
        named->any |= bit;
        named->recovery |= recovery ? bit : 0;
        return 0;
}

static int check_slots_and_tokens(struct json_object *keyslots, struct json_object *tokens,
                                  struct error *e)
{
        struct named_slots named = {0};
        int r;

        if (json_object_object_length(keyslots) < 1 ||
            json_object_object_length(keyslots) > LIMIT_LUKS_KEYSLOTS ||
            json_object_object_length(tokens) > LIMIT_LUKS_TOKENS)
                return refuse(e, "number of key slots or tokens");
        json_object_object_foreach(tokens, token_id, token)
        {
                (void)token_id;
                r = check_token(token, keyslots, &named, e);
                if (r < 0)
                        return r;
        }
        json_object_object_foreach(keyslots, id, slot)
        {
                uint64_t number;

                if (parse_u64_max(id, LIMIT_LUKS_KEYSLOTS - 1, &number) < 0 ||
                    !(named.any & UINT32_C(1) << number || is_leftover(slot)))
                        return refuse(e, "a key slot that no token names (a password?)");
                r = check_keyslot(slot, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

int luks_check_metadata(const char *json, size_t n, struct error *e)
{
        static const char *const keys[] = {"keyslots", "tokens", "segments", "digests", "config"};
        _cleanup_json_ struct json_object *o = NULL;
        struct json_object *keyslots, *tokens, *segments, *digests, *config;
        uint64_t header_size = 0;
        int r;

        if (json_read_text(json, n, LIMIT_LUKS_JSON, "LUKS2 header", &o, NULL) < 0 ||
            json_get_obj(o, "keyslots", &keyslots) < 0 || json_get_obj(o, "tokens", &tokens) < 0 ||
            json_get_obj(o, "segments", &segments) < 0 ||
            json_get_obj(o, "digests", &digests) < 0 || json_get_obj(o, "config", &config) < 0 ||
            !only_keys(o, keys, ARRAY_SIZE(keys)))
                return refuse(e, "not LUKS2 metadata");
        r = check_config(config, &header_size, e);
        if (r >= 0)
                r = check_segments(segments, header_size, e);
        if (r >= 0)
                r = check_slots_and_tokens(keyslots, tokens, e);
        if (r >= 0)
                r = check_digests(digests, keyslots, e);
        return r;
}
