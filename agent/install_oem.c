/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_oem.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/oem_file.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "partition/mount.h"

/* Where files go. */
struct sink {
        install_oem_put_fn put;
        void *ctx;
};

static int write_file(int dirfd, const char *name, const void *data, size_t n, struct error *e)
{
        int r = file_replace(dirfd, name, data, n, 0600);

        return r < 0 ? error_errno(e, -r, "OEM partition: %s", name) : 0;
}

static int make_folder(int dirfd, struct error *e)
{
        int r = file_make_dirs(dirfd, OEM_FILE_FOLDER, 0700);

        return r < 0 ? error_errno(e, -r, "OEM partition: " OEM_FILE_FOLDER) : 0;
}

/* install_oem_put_fn: below the folder of this descriptor. */
static int put_into_folder(void *ctx, const char *name, const void *data, size_t n, struct error *e)
{
        const int *dirfd = ctx;
        int r = strchr(name, '/') ? make_folder(*dirfd, e) : 0;

        return r < 0 ? r : write_file(*dirfd, name, data, n, e);
}

/* install_oem_put_fn: into this list. */
static int put_into_list(void *ctx, const char *name, const void *data, size_t n, struct error *e)
{
        _cleanup_(buf_done) struct buf content = BUF_INIT(LIMIT_BLANK_CONTENT);
        struct json_object *files = ctx, *o = json_object_new_object();

        if (json_append(files, o) < 0 || base64_encode(data, n, &content) < 0 ||
            json_add_str(o, "name", name) < 0 || json_add_str(o, "content", buf_str(&content)) < 0)
                return error_oom(e);
        return 0;
}

static int put_json(const struct sink *s, const char *name, struct json_object *o, struct error *e)
{
        const char *text = json_object_to_json_string_ext(
                o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        return text ? s->put(s->ctx, name, text, strlen(text), e) : error_oom(e);
}

static int write_documents(const struct config *c, const struct sink *s, struct error *e)
{
        int r = 0;

        for (size_t i = 0; i < c->n_documents && i < INSTALL_OEM_DOCUMENTS && r == 0; i++) {
                char name[] = "90_custom.yaml";

                name[1] = (char)('0' + i);
                r = s->put(s->ctx, name, c->documents[i].text.data, c->documents[i].text.len, e);
        }
        return r;
}

static int add_paths(struct json_object *root, const char *key, const struct config_list *paths)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, key, array);

        for (unsigned i = 0; i < paths->n && r == 0; i++)
                r = json_append(array, json_new_str(paths->item[i]));
        return r;
}

static int write_mounts(const struct config_install *in, const struct sink *s, struct error *e)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();

        if (add_paths(root, "bind", &in->bind_mounts) < 0 ||
            add_paths(root, "ephemeral", &in->ephemeral_mounts) < 0)
                return error_oom(e);
        return put_json(s, OEM_FILE_MOUNTS, root, e);
}

static int write_swap(const struct config_install *in, const struct sink *s, struct error *e)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        char size[24];

        (void)snprintf(size, sizeof(size), "%" PRIu64, in->swap_size);
        if (json_add_str(root, "size", size) < 0)
                return error_oom(e);
        return put_json(s, OEM_FILE_SWAP, root, e);
}

int install_oem_put(const struct config *c, install_oem_put_fn put, void *ctx, struct error *e)
{
        const struct sink s = {.put = put, .ctx = ctx};
        const struct config_install *in = &c->install;
        int r = write_documents(c, &s, e);

        if (r == 0 && (in->bind_mounts.n > 0 || in->ephemeral_mounts.n > 0))
                r = write_mounts(in, &s, e);
        return r == 0 && in->swap_size > 0 ? write_swap(in, &s, e) : r;
}

int install_oem_write(const struct config *c, int dirfd, struct error *e)
{
        return install_oem_put(c, put_into_folder, &dirfd, e);
}

int install_oem_pack(const struct config *c, struct buf *ret, struct error *e)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *files = json_object_new_array();
        const char *text;
        int r;

        if (json_add_obj(root, "files", files) < 0)
                return error_oom(e);
        r = install_oem_put(c, put_into_list, files, e);
        if (r < 0)
                return r;
        text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
        if (!text || (r = buf_add_str(ret, text)) == -ENOMEM)
                return error_oom(e);
        return r == 0 ? 0
                      : error_set(e, ERROR_CONFIG, E2BIG,
                                  "the configuration is too large for a disk image");
}

static bool is_ours(const char *name)
{
        static const char document[] = "90_custom.yaml";
        char same[sizeof(document)];

        if (strcmp(name, OEM_FILE_MOUNTS) == 0 || strcmp(name, OEM_FILE_SWAP) == 0)
                return true;
        if (strlen(name) != sizeof(document) - 1 || name[1] < '0' || name[1] > '9')
                return false;
        memcpy(same, name, sizeof(same));
        same[1] = document[1];
        return strcmp(same, document) == 0;
}

static int unpack_file(struct json_object *o, int dirfd, struct error *e)
{
        _cleanup_(buf_done) struct buf content = BUF_INIT(LIMIT_CONFIG_DOCUMENT);
        const char *name, *text;

        if (json_get_str(o, "name", &name) < 0 || json_get_str(o, "content", &text) < 0 ||
            !is_ours(name) || base64_decode(text, strlen(text), &content) < 0)
                return error_set(e, ERROR_CONFIG, EBADMSG,
                                 "the configuration of the disk image is none");
        return write_file(dirfd, name, content.data, content.len, e);
}

int install_oem_unpack(const void *text, size_t n, int dirfd, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *files;
        int r = json_read_text(text, n, LIMIT_BLANK_CONTENT, "configuration of the disk image",
                               &root, e);

        if (r < 0)
                return r;
        if (json_get_array(root, "files", &files) < 0)
                return error_set(e, ERROR_CONFIG, EBADMSG,
                                 "the configuration of the disk image has no files");
        r = make_folder(dirfd, e);
        for (size_t i = 0; i < json_object_array_length(files) && r == 0; i++)
                r = unpack_file(json_object_array_get_idx(files, i), dirfd, e);
        return r;
}

struct content {
        const struct config *config;
        const struct install_record *record;
        const struct measured *measured;
};

static int write_content(void *arg, int dirfd, struct error *e)
{
        const struct content *c = arg;
        int r = install_record_write(c->record, dirfd, e);

        if (r == 0 && c->measured->n > 0)
                r = measured_write(c->measured, dirfd, NULL, e);
        return r < 0 || !c->config ? r : install_oem_write(c->config, dirfd, e);
}

int install_oem_fill(const struct env *env, const char *device, const struct config *c,
                     const struct install_record *record, const struct measured *measured,
                     struct error *e)
{
        struct content content = {c, record, measured};
        _cleanup_free_ char *target = NULL;

        if (asprintf(&target, "%s/tb-agent/install-oem", env->run) < 0) {
                target = NULL;
                return error_oom(e);
        }
        return mount_data_for(device, target, true, write_content, &content, e);
}
