/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/extension.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/boot_report.h"
#include "agent/oem_file.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "upgrade/osrelease.h"

#define SCHEMA 1u

bool extension_name_ok(const char *name)
{
        size_t n = strlen(name);

        return n > 0 && n <= LIMIT_EXTENSION_NAME && *name != '.' && *name != '-' &&
               strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") ==
                       n;
}

const char *extension_kind_name(bool confext)
{
        return confext ? "confext" : "sysext";
}

/* --- the record --- */

int extension_images(const struct extension *x, struct json_object *array)
{
        int r = 0;

        for (unsigned i = 0; i < x->n_images && r == 0; i++) {
                struct json_object *o = json_object_new_object();
                char hex[SHA256_HEX_SIZE];

                hex_encode(x->image[i].pcr11, SHA256_SIZE, hex);
                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "pcr11", hex);
                if (r == 0)
                        r = json_add_str(o, "version", x->image[i].version);
        }
        return r;
}

static int format(const struct extension_list *l, struct json_object *root)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "extensions", array);

        if (r == 0)
                r = json_add_u64(root, "schema", SCHEMA);
        for (unsigned i = 0; i < l->n && r == 0; i++) {
                const struct extension *x = &l->item[i];
                struct json_object *o = json_object_new_object(), *images = json_object_new_array();
                char hex[SHA256_HEX_SIZE];

                hex_encode(x->root_hash, SHA256_SIZE, hex);
                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "name", x->name);
                if (r == 0)
                        r = json_add_str(o, "kind", extension_kind_name(x->confext));
                if (r == 0)
                        r = json_add_str(o, "root_hash", hex);
                if (r == 0)
                        r = json_add_u64(o, "size", x->size);
                if (r == 0)
                        r = json_add_obj(o, "images", images);
                else
                        (void)json_object_put(images);
                if (r == 0)
                        r = extension_images(x, images);
        }
        return r;
}

int extension_list_write(const struct extension_list *l, int oem, struct error *e)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        const char *text =
                format(l, root) < 0
                        ? NULL
                        : json_object_to_json_string_ext(
                                  root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
        int r;

        if (!text)
                return error_oom(e);
        r = file_make_dirs(oem, OEM_FILE_FOLDER, 0700);
        if (r == 0)
                r = file_replace(oem, OEM_FILE_EXTENSIONS, text, strlen(text), 0600);
        return r < 0 ? error_errno(e, -r, "OEM partition: " OEM_FILE_EXTENSIONS) : 0;
}

static bool get_digest(struct json_object *o, const char *key, uint8_t ret[SHA256_SIZE])
{
        const char *hex;

        return json_get_str(o, key, &hex) == 0 && hex_decode(hex, ret, SHA256_SIZE) == 0;
}

static bool parse_images(struct json_object *o, struct extension *ret)
{
        struct json_object *array;

        if (json_get_array(o, "images", &array) < 0 ||
            json_object_array_length(array) > LIMIT_EXTENSION_IMAGES)
                return false;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct extension_image *image = &ret->image[ret->n_images++];
                struct json_object *item = json_object_array_get_idx(array, i);
                const char *version;

                if (!get_digest(item, "pcr11", image->pcr11) ||
                    json_get_str(item, "version", &version) < 0)
                        return false;
                (void)snprintf(image->version, sizeof(image->version), "%s", version);
        }
        return true;
}

static bool parse_one(struct json_object *o, struct extension_list *l)
{
        const char *name, *kind;
        struct extension *x;

        if (json_get_str(o, "name", &name) < 0 || !extension_name_ok(name) ||
            json_get_str(o, "kind", &kind) < 0 || extension_find(l, name))
                return false;
        x = extension_add(l, name);
        if (!x)
                return false;
        x->confext = strcmp(kind, extension_kind_name(true)) == 0;
        return (x->confext || strcmp(kind, extension_kind_name(false)) == 0) &&
               get_digest(o, "root_hash", x->root_hash) && json_get_u64(o, "size", &x->size) == 0 &&
               parse_images(o, x);
}

int extension_list_read(const struct env *env, struct extension_list *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_json_ struct json_object *root = NULL;
        _cleanup_free_ char *path = NULL;
        struct json_object *array;
        bool good;
        int r;

        *ret = (struct extension_list){.n = 0};
        r = oem_file_read(env, OEM_FILE_EXTENSIONS, &text, &path, e);
        if (r <= 0)
                return r;
        good = json_read_text(text.data, text.len, LIMIT_SMALL_FILE, path, &root, e) == 0 &&
               json_object_is_type(root, json_type_object) &&
               json_get_array(root, "extensions", &array) == 0;
        for (size_t i = 0; good && i < json_object_array_length(array); i++)
                good = parse_one(json_object_array_get_idx(array, i), ret);
        if (good)
                return 0;
        *ret = (struct extension_list){.n = 0};
        return error_set(e, ERROR_CONFIG, EBADMSG, "%s: no record of extensions", path);
}

/* --- the list --- */

struct extension *extension_find(struct extension_list *l, const char *name)
{
        for (unsigned i = 0; i < l->n; i++) {
                if (strcmp(l->item[i].name, name) == 0)
                        return &l->item[i];
        }
        return NULL;
}

struct extension *extension_add(struct extension_list *l, const char *name)
{
        struct extension *x = extension_find(l, name);
        unsigned at = 0;

        if (x || l->n == LIMIT_EXTENSIONS)
                return x;
        while (at < l->n && strcmp(l->item[at].name, name) < 0)
                at++;
        memmove(&l->item[at + 1], &l->item[at], (l->n - at) * sizeof(l->item[0]));
        l->n++;
        x = &l->item[at];
        *x = (struct extension){.confext = false};
        (void)snprintf(x->name, sizeof(x->name), "%s", name);
        return x;
}

void extension_drop(struct extension_list *l, struct extension *x)
{
        size_t at = (size_t)(x - l->item);

        l->n--;
        memmove(x, x + 1, (l->n - at) * sizeof(*x));
}

bool extension_is_shared(const struct extension_list *l, const struct extension *x)
{
        for (unsigned i = 0; i < l->n; i++) {
                if (&l->item[i] != x &&
                    memcmp(l->item[i].root_hash, x->root_hash, SHA256_SIZE) == 0)
                        return true;
        }
        return false;
}

bool extension_is_enabled(const struct extension *x, const uint8_t pcr11[SHA256_SIZE])
{
        for (unsigned i = 0; i < x->n_images; i++) {
                if (memcmp(x->image[i].pcr11, pcr11, SHA256_SIZE) == 0)
                        return true;
        }
        return false;
}

void extension_enable(struct extension *x, const struct extension_image *image)
{
        if (extension_is_enabled(x, image->pcr11))
                return;
        if (x->n_images == LIMIT_EXTENSION_IMAGES)
                memmove(&x->image[0], &x->image[1], --x->n_images * sizeof(x->image[0]));
        x->image[x->n_images++] = *image;
}

/* --- what runs, and what is stored --- */

static char *in_root(const struct env *env, const char *path)
{
        char *full;

        return asprintf(&full, "%s%s", env->root, path) < 0 ? NULL : full;
}

/* The version is for people, and may be missing. */
static void read_version(const struct env *env, char ret[EXTENSION_VERSION_SIZE])
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OS_RELEASE);
        _cleanup_(osrelease_free_p) struct osrelease *release = NULL;
        _cleanup_free_ char *path = in_root(env, "/usr/lib/os-release");
        const char *version = NULL;

        if (path && file_read(AT_FDCWD, path, &text) == 0 &&
            osrelease_parse(text.data, text.len, &release, NULL) == 0)
                version = osrelease_get(release, "IMAGE_VERSION");
        (void)snprintf(ret, EXTENSION_VERSION_SIZE, "%s", version ? version : "");
}

int extension_running_image(const struct env *env, struct extension_image *ret, struct error *e)
{
        _cleanup_json_ struct json_object *report = NULL;
        int r = boot_report_read(env, &report, e);

        if (r < 0)
                return r;
        if (!get_digest(report, EXTENSION_REPORT_IMAGE, ret->pcr11))
                return error_set(e, ERROR_PRECONDITION, ENODATA,
                                 "the boot stage found no measurement of the image that runs: "
                                 "nothing can be tied to it");
        read_version(env, ret->version);
        return 0;
}

int extension_certificates(const struct env *env, struct buf *ret, struct error *e)
{
        _cleanup_free_ char *path = in_root(env, EXTENSION_CERTIFICATES);
        int r;

        if (!path)
                return error_oom(e);
        r = file_read(AT_FDCWD, path, ret);
        if (r == -ENOENT) {
                error_set(e, ERROR_PRECONDITION, ENOKEY,
                          "this image takes no extensions: it has no " EXTENSION_CERTIFICATES);
                error_advise(e, "make an image with the certificates of those who sign extensions");
                return -ENOKEY;
        }
        return r < 0 ? error_set(e, ERROR_CONFIG, -r, "%s: %s", path, file_strerror(r)) : 0;
}

int extension_prove(int fd, const struct buf *certificates, struct ddi *ret,
                    uint8_t ret_root_hash[SHA256_SIZE], uint64_t *ret_size, struct error *e)
{
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "the disk image");
        if ((uint64_t)st.st_size > LIMIT_EXTENSION_SIZE)
                return error_set(e, ERROR_REFUSED, EFBIG, "larger than %" PRIu64 " bytes",
                                 LIMIT_EXTENSION_SIZE);
        r = ddi_read(fd, (uint64_t)st.st_size, ret, e);
        if (r == 0)
                r = ddi_check_signature(fd, ret, certificates->data, certificates->len,
                                        ret_root_hash, e);
        if (r == 0)
                *ret_size = (uint64_t)st.st_size;
        return r;
}

void extension_file_name(const uint8_t root_hash[SHA256_SIZE], char ret[EXTENSION_FILE_SIZE])
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(root_hash, SHA256_SIZE, hex);
        (void)snprintf(ret, EXTENSION_FILE_SIZE, "%s.raw", hex);
}

int extension_open(const struct env *env, const struct extension *x, const struct buf *certificates,
                   int *ret_fd, struct ddi *ret, struct error *e)
{
        char file[EXTENSION_FILE_SIZE];
        uint8_t root_hash[SHA256_SIZE];
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        uint64_t size;
        int r;

        extension_file_name(x->root_hash, file);
        if (asprintf(&path, "%s/" EXTENSION_FOLDER "/%s", env->persistent, file) < 0) {
                path = NULL;
                return error_oom(e);
        }
        fd = file_open_regular(AT_FDCWD, path);
        if (fd < 0)
                return error_errno(e, -fd, "%s", path);
        r = extension_prove(fd, certificates, ret, root_hash, &size, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        if (memcmp(root_hash, x->root_hash, SHA256_SIZE) != 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: signed, but not the extension that was installed", path);
        *ret_fd = TAKE_FD(fd);
        return 0;
}
