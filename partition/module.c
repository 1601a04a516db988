/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/module.h"

#include <dirent.h>
#include <fcntl.h>
#include <libkmod.h>
#include <linux/netlink.h>
#include <poll.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

/* sysfs nests devices behind bridges; this is far deeper than any bus. */
#define DEVICE_DEPTH 24
/* Rounds of "load drivers, look for new devices": PCI, its function, its bus, its disk. */
#define ROUNDS 8

struct module_loader {
        const struct env *env;
        struct kmod_ctx *kmod;
        void *seen; /* tree of aliases already tried */
        unsigned fresh;
};

static void close_dir(DIR **d)
{
        if (*d)
                (void)closedir(*d);
}

static void unref_list(struct kmod_list **l)
{
        (void)kmod_module_unref_list(*l);
}

int module_open(const struct env *env, struct module_loader **ret, struct error *e)
{
        _cleanup_(module_close_p) struct module_loader *m = calloc(1, sizeof(*m));

        if (!m)
                return error_oom(e);
        m->env = env;
        m->kmod = kmod_new(NULL, NULL);
        if (!m->kmod)
                return error_oom(e);
        /* An index that cannot be loaded only makes look-ups slower, or empty. */
        (void)kmod_load_resources(m->kmod);
        *ret = TAKE_PTR(m);
        return 0;
}

void module_close(struct module_loader *m)
{
        if (!m)
                return;
        tdestroy(m->seen, free);
        if (m->kmod)
                (void)kmod_unref(m->kmod);
        free(m);
}

int module_load(struct module_loader *m, const char *name, struct error *e)
{
        _cleanup_(unref_list) struct kmod_list *list = NULL;
        struct kmod_list *item;
        int r;

        r = kmod_module_new_from_lookup(m->kmod, name, &list);
        if (r < 0)
                return r == -ENOENT || r == -ENOSYS ? 0 : error_errno(e, -r, "module %s", name);
        kmod_list_foreach(item, list)
        {
                struct kmod_module *mod = kmod_module_get_module(item);

                r = kmod_module_probe_insert_module(mod, KMOD_PROBE_APPLY_BLACKLIST_ALIAS_ONLY,
                                                    NULL, NULL, NULL, NULL);
                (void)kmod_module_unref(mod);
                /* Positive: blacklisted. EEXIST, ENOENT: there already, or built in. */
                if (r < 0 && r != -EEXIST && r != -ENOENT)
                        return error_errno(e, -r, "loading module %s", name);
        }
        return 0;
}

static int compare_text(const void *a, const void *b)
{
        return strcmp(a, b);
}

static int load_alias(struct module_loader *m, int dirfd)
{
        _cleanup_(buf_done) struct buf alias = BUF_INIT(4096);
        _cleanup_free_ char *copy = NULL;
        struct error error = ERROR_INIT;
        char **slot;

        if (file_read_line(dirfd, "modalias", &alias) < 0 || alias.len == 0)
                return 0; /* the device went away, or names no driver */
        copy = strdup(buf_str(&alias));
        if (!copy)
                return -ENOMEM;
        slot = tsearch(copy, &m->seen, compare_text);
        if (!slot)
                return -ENOMEM;
        if (*slot != copy)
                return 0; /* tried before */
        TAKE_PTR(copy);
        m->fresh++;
        if (module_load(m, buf_str(&alias), &error) < 0)
                log_warning("%s", error.text);
        return 0;
}

static int walk_devices(struct module_loader *m, int parent, const char *name, unsigned depth)
{
        _cleanup_close_ int fd =
                openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_(close_dir) DIR *dir = NULL;
        struct dirent *entry;
        int r = 0;

        if (fd < 0)
                return 0; /* devices may disappear while we look */
        dir = fdopendir(fd);
        if (!dir)
                return -errno;
        fd = -EBADF; /* owned by dir now */
        while (r == 0 && (entry = readdir(dir))) {
                if (entry->d_type == DT_REG && strcmp(entry->d_name, "modalias") == 0)
                        r = load_alias(m, dirfd(dir));
                else if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && depth < DEVICE_DEPTH)
                        r = walk_devices(m, dirfd(dir), entry->d_name, depth + 1);
        }
        return r;
}

int module_load_for_devices(struct module_loader *m, struct error *e)
{
        _cleanup_free_ char *root = NULL;

        if (asprintf(&root, "%s/devices", m->env->sysfs) < 0) {
                root = NULL;
                return error_oom(e);
        }
        for (unsigned round = 0; round < ROUNDS; round++) {
                int r;

                m->fresh = 0;
                r = walk_devices(m, AT_FDCWD, root, 0);
                if (r < 0)
                        return error_errno(e, -r, "looking for devices");
                if (m->fresh == 0)
                        return 0;
        }
        return 0;
}

int uevent_open(struct error *e)
{
        struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                                        NETLINK_KOBJECT_UEVENT);

        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return error_errno(e, errno, "kernel device events");
        return TAKE_FD(fd);
}

int uevent_wait(int fd, int timeout_ms)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char message[8192];
        int r = poll(&p, 1, timeout_ms);

        if (r < 0)
                return errno == EINTR ? 1 : -errno;
        if (r == 0)
                return 0;
        /* One look follows however many events came. ENOBUFS: so many that some were dropped; look
         * as well. */
        while (recv(fd, message, sizeof(message), 0) >= 0)
                continue;
        return 1;
}
