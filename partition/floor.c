/* SPDX-License-Identifier: Apache-2.0 */
/* Floors, their record in the index and their file. Index and file together: floor_node.c. */
#include "partition/floor.h"

#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/version.h"
#include "partition/floor_nv.h"

#define SCHEMA 1u
#define FORMAT 1u
/* Offsets in the record. */
#define AT_FORMAT 4u
#define AT_PRODUCT_LEN 5u
#define AT_VERSION_LEN 6u
#define AT_PRODUCT 8u
#define AT_VERSION (AT_PRODUCT + FLOOR_PRODUCT_MAX)
#define AT_CHECKSUM (AT_VERSION + FLOOR_VERSION_MAX)

static const uint8_t magic[4] = {'t', 'b', 'f', 'l'};

static const char *const stage_names[FLOOR_STAGE_MAX] = {
        [FLOOR_STAGE_PENDING] = "pending",
        [FLOOR_STAGE_DEFINED] = "defined",
        [FLOOR_STAGE_CLEARED] = "cleared",
};

static const struct {
        const char *name, *text;
        bool alarming;
} findings[FLOOR_FINDING_MAX] = {
        [FLOOR_NONE] = {"none", "no version floor is set", false},
        [FLOOR_AGREE] = {"agree", "TPM and disk agree on the version floor", false},
        [FLOOR_CLEARED] = {"cleared", "an operator took the version floor away", false},
        [FLOOR_PENDING] = {"pending", "the version floor is not completely set up", false},
        [FLOOR_FILE_BEHIND] = {"file-behind",
                               "the disk knows a lower version floor than the TPM: an interrupted "
                               "upgrade, or an old copy of the disk",
                               true},
        [FLOOR_INDEX_BEHIND] = {"index-behind", "the TPM holds a lower version floor than the disk",
                                true},
        [FLOOR_INDEX_MISSING] = {"index-missing",
                                 "the version floor was removed from the TPM, or the TPM was "
                                 "cleared or replaced",
                                 true},
        [FLOOR_INDEX_EMPTY] = {"index-empty",
                               "the version floor in the TPM was removed and made again empty",
                               true},
        [FLOOR_INDEX_FOREIGN] = {"index-foreign",
                                 "the version floor in the TPM was not made by this installation",
                                 true},
        [FLOOR_INDEX_DAMAGED] = {"index-damaged", "the version floor in the TPM is unreadable",
                                 true},
        [FLOOR_INDEX_UNCLAIMED] = {"index-unclaimed",
                                   "the TPM holds a version floor of an earlier installation",
                                   true},
};

const char *floor_finding_name(enum floor_finding f)
{
        return f < FLOOR_FINDING_MAX ? findings[f].name : "unknown";
}

const char *floor_finding_text(enum floor_finding f)
{
        return f < FLOOR_FINDING_MAX ? findings[f].text : "unknown";
}

bool floor_finding_alarming(enum floor_finding f)
{
        return f >= FLOOR_FINDING_MAX || findings[f].alarming;
}

/* --- floors --- */

/* One line for terminals and JSON: printable ASCII without blanks, within max. */
static bool text_ok(const char *s, size_t n, size_t max)
{
        if (n > max)
                return false;
        for (size_t i = 0; i < n; i++)
                if (s[i] <= ' ' || s[i] > '~')
                        return false;
        return true;
}

/* Fills the whole of ret, so that equal floors are equal bytes. */
static int fill(const char *product, size_t product_len, const char *version, size_t version_len,
                struct floor *ret)
{
        struct floor f = {.product = ""};

        if (version_len == 0 || !text_ok(product, product_len, FLOOR_PRODUCT_MAX) ||
            !text_ok(version, version_len, FLOOR_VERSION_MAX))
                return -EINVAL;
        memcpy(f.product, product, product_len);
        memcpy(f.version, version, version_len);
        *ret = f;
        return 0;
}

int floor_make(const char *product, const char *version, struct floor *ret, struct error *e)
{
        product = product ?: "";
        version = version ?: "";
        if (fill(product, strlen(product), version, strlen(version), ret) >= 0)
                return 0;
        return error_set(e, ERROR_REFUSED, EINVAL,
                         "the image names no usable version (IMAGE_VERSION of at most %u and "
                         "IMAGE_ID of at most %u printable characters)",
                         FLOOR_VERSION_MAX, FLOOR_PRODUCT_MAX);
}

/* A floor without a product was set by images that name none: it holds for all. */
static bool same_product(const struct floor *floor, const struct floor *image)
{
        return floor->product[0] == '\0' || strcmp(floor->product, image->product) == 0;
}

int floor_allows(const struct floor *floor, const struct floor *image, struct error *e)
{
        int r;

        if (!same_product(floor, image)) {
                r = error_set(e, ERROR_VERSION, EXDEV,
                              "this node takes images of product '%s' only (version floor %s), "
                              "this one is of product '%s'",
                              floor->product, floor->version, image->product);
                error_advise(e, "Clear the version floor if the product is to change");
                return r;
        }
        if (version_compare(image->version, floor->version) >= 0)
                return 0;
        r = error_set(e, ERROR_VERSION, EPERM, "version %s is older than the version floor %s",
                      image->version, floor->version);
        error_advise(e, "Use an image of version %s or newer", floor->version);
        return r;
}

const struct floor *floor_effective(const struct floor *a, const struct floor *b)
{
        if (!a || !b)
                return a ?: b;
        if (a->product[0] != '\0' && b->product[0] != '\0' && strcmp(a->product, b->product) != 0)
                return a;
        return version_compare(b->version, a->version) > 0 ? b : a;
}

/* --- record --- */

int floor_pack(const struct floor *floor, uint8_t ret[FLOOR_RECORD_SIZE])
{
        size_t product = strnlen(floor->product, FLOOR_PRODUCT_MAX),
               version = strnlen(floor->version, FLOOR_VERSION_MAX);

        memset(ret, 0, FLOOR_RECORD_SIZE);
        memcpy(ret, magic, sizeof(magic));
        ret[AT_FORMAT] = FORMAT;
        ret[AT_PRODUCT_LEN] = (uint8_t)product;
        ret[AT_VERSION_LEN] = (uint8_t)version;
        memcpy(ret + AT_PRODUCT, floor->product, product);
        memcpy(ret + AT_VERSION, floor->version, version);
        return sha256(ret, AT_CHECKSUM, ret + AT_CHECKSUM);
}

int floor_unpack(const uint8_t *data, size_t n, struct floor *ret)
{
        uint8_t again[FLOOR_RECORD_SIZE];
        struct floor f;

        if (n != FLOOR_RECORD_SIZE || data[AT_PRODUCT_LEN] > FLOOR_PRODUCT_MAX ||
            data[AT_VERSION_LEN] > FLOOR_VERSION_MAX ||
            fill((const char *)data + AT_PRODUCT, data[AT_PRODUCT_LEN],
                 (const char *)data + AT_VERSION, data[AT_VERSION_LEN], &f) < 0)
                return -EBADMSG;
        /* Magic, format, padding and checksum at once: there is one record for each floor. */
        if (floor_pack(&f, again) < 0 || memcmp(again, data, FLOOR_RECORD_SIZE) != 0)
                return -EBADMSG;
        *ret = f;
        return 0;
}

/* --- file --- */

void floor_state_free(struct floor_state *s)
{
        if (!s)
                return;
        floor_key_free(s->key);
        free(s);
}

int floor_state_new(const struct floor *floor, struct floor_state **ret, struct error *e)
{
        _cleanup_(floor_state_free_p) struct floor_state *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return error_oom(e);
        s->stage = FLOOR_STAGE_PENDING;
        s->floor = *floor;
        r = floor_key_new(&s->key, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

static int parse_stage(const char *text, enum floor_stage *ret)
{
        for (unsigned i = 0; i < FLOOR_STAGE_MAX; i++) {
                if (strcmp(stage_names[i], text) != 0)
                        continue;
                *ret = (enum floor_stage)i;
                return 0;
        }
        return -EBADMSG;
}

static int state_parse(struct json_object *o, struct floor_state *s)
{
        const char *stage, *product, *version, *pem;
        uint64_t schema;
        int r;

        if (json_get_u64(o, "schema", &schema) < 0 || schema != SCHEMA ||
            json_get_str(o, "stage", &stage) < 0 || parse_stage(stage, &s->stage) < 0 ||
            json_get_str(o, "product", &product) < 0 || json_get_str(o, "version", &version) < 0 ||
            fill(product, strlen(product), version, strlen(version), &s->floor) < 0)
                return -EBADMSG;
        r = json_get_str(o, "key", &pem);
        if (s->stage == FLOOR_STAGE_CLEARED)
                return r == -ENOENT ? 0 : -EBADMSG;
        return r < 0 ? -EBADMSG : floor_key_from_pem(pem, &s->key);
}

int floor_load_file(int dirfd, const char *name, struct floor_state **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_json_ struct json_object *o = NULL;
        _cleanup_(floor_state_free_p) struct floor_state *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return error_oom(e);
        r = file_read(dirfd, name, &text);
        if (r == -ENOENT)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "no version floor is noted");
        if (r < 0 && r != -E2BIG)
                return error_errno(e, -r, "cannot read %s", name);
        if (r >= 0)
                r = json_read_text(text.data, text.len, LIMIT_SMALL_FILE, name, &o, NULL);
        if (r >= 0)
                r = state_parse(o, s);
        if (text.len > 0)
                explicit_bzero(text.data, text.len);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0) {
                r = error_set(e, ERROR_PRECONDITION, EBADMSG, "%s is damaged", name);
                error_advise(e, "Clear the version floor and set it up again");
                return r;
        }
        *ret = TAKE_PTR(s);
        return 0;
}

static int state_format(const struct floor_state *s, struct json_object **ret)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        _cleanup_(buf_done) struct buf pem = BUF_INIT(LIMIT_KEY_FILE);
        int r;

        r = json_add_u64(o, "schema", SCHEMA);
        if (r >= 0)
                r = json_add_str(o, "stage", stage_names[s->stage]);
        if (r >= 0)
                r = json_add_str(o, "product", s->floor.product);
        if (r >= 0)
                r = json_add_str(o, "version", s->floor.version);
        if (r >= 0 && s->key)
                r = floor_key_to_pem(s->key, &pem);
        if (r >= 0 && s->key)
                r = json_add_str(o, "key", buf_str(&pem));
        if (pem.len > 0)
                explicit_bzero(pem.data, pem.len);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

int floor_store_file(int dirfd, const char *name, const struct floor_state *state, struct error *e)
{
        _cleanup_json_ struct json_object *o = NULL;
        const char *text;
        size_t n;
        int r;

        if (state->stage >= FLOOR_STAGE_MAX ||
            (state->stage == FLOOR_STAGE_CLEARED) != (state->key == NULL))
                return error_set(e, ERROR_INTERNAL, EINVAL, "impossible state of a version floor");
        r = state_format(state, &o);
        if (r < 0)
                return error_oom(e);
        text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PRETTY, &n);
        if (!text)
                return error_oom(e);
        r = file_replace(dirfd, name, text, n, 0600);
        return r < 0 ? error_errno(e, -r, "cannot write %s", name) : 0;
}
