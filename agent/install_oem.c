/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_oem.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "agent/oem_file.h"
#include "base/file.h"
#include "base/json.h"
#include "partition/mount.h"

static int put(int dirfd, const char *name, const void *data, size_t n, struct error *e)
{
        int r = file_replace(dirfd, name, data, n, 0600);

        return r < 0 ? error_errno(e, -r, "OEM partition: %s", name) : 0;
}

static int put_json(int dirfd, const char *name, struct json_object *o, struct error *e)
{
        const char *text = json_object_to_json_string_ext(
                o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        return text ? put(dirfd, name, text, strlen(text), e) : error_oom(e);
}

static int write_documents(const struct config *c, int dirfd, struct error *e)
{
        int r = 0;

        for (size_t i = 0; i < c->n_documents && i < INSTALL_OEM_DOCUMENTS && r == 0; i++) {
                char name[] = "90_custom.yaml";

                name[1] = (char)('0' + i);
                r = put(dirfd, name, c->documents[i].text.data, c->documents[i].text.len, e);
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

static int write_mounts(const struct config_install *in, int dirfd, struct error *e)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();

        if (add_paths(root, "bind", &in->bind_mounts) < 0 ||
            add_paths(root, "ephemeral", &in->ephemeral_mounts) < 0)
                return error_oom(e);
        return put_json(dirfd, OEM_FILE_MOUNTS, root, e);
}

static int write_swap(const struct config_install *in, int dirfd, struct error *e)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        char size[24];

        (void)snprintf(size, sizeof(size), "%" PRIu64, in->swap_size);
        if (json_add_str(root, "size", size) < 0)
                return error_oom(e);
        return put_json(dirfd, OEM_FILE_SWAP, root, e);
}

int install_oem_write(const struct config *c, int dirfd, struct error *e)
{
        const struct config_install *in = &c->install;
        bool mounts = in->bind_mounts.n > 0 || in->ephemeral_mounts.n > 0, swap = in->swap_size > 0;
        int r = write_documents(c, dirfd, e);

        if (r < 0 || (!mounts && !swap))
                return r;
        r = file_make_dirs(dirfd, OEM_FILE_FOLDER, 0700);
        if (r < 0)
                return error_errno(e, -r, "OEM partition: " OEM_FILE_FOLDER);
        if (mounts)
                r = write_mounts(in, dirfd, e);
        return r == 0 && swap ? write_swap(in, dirfd, e) : r;
}

int install_oem_fill(const struct env *env, const char *device, const struct config *c,
                     const struct install_record *record, struct error *e)
{
        _cleanup_free_ char *target = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r, unmounted;

        if (asprintf(&target, "%s/tb-agent/install-oem", env->run) < 0) {
                target = NULL;
                return error_oom(e);
        }
        r = mount_fs(device, target, "ext4", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, e);
        if (r < 0)
                return r;
        fd = file_open_dir(AT_FDCWD, target);
        r = fd < 0 ? error_errno(e, -fd, "%s", target) : install_record_write(record, fd, e);
        if (r == 0 && c)
                r = install_oem_write(c, fd, e);
        close_p(&fd);
        /* The first failure is the one to report. */
        unmounted = mount_unmount(target, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}
