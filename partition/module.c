/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/module.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libkmod.h>
#include <limits.h>
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

/*
 * By bus of sysfs, what is looked for first. USB is not among it: its controllers and the search
 * for what is plugged in take longer than all of these.
 */
static const struct {
        const char *bus, *modalias; /* a pattern */
} first[] = {
        {"acpi", "acpi:MSFT0101:*"},       /* TPM 2.0 */
        {"acpi", "acpi:VM[Bb][Uu][Ss]:*"}, /* the bus of Hyper-V */
        {"acpi", "acpi:LNRO0005:*"},       /* virtio without PCI */
        {"pci", "pci:*bc01sc*"},           /* mass storage: also NVMe, AHCI, RAID, virtio */
        {"pci", "pci:*bc08sc05*"},         /* SD and eMMC hosts */
        {"virtio", "virtio:d00000002v*"},  /* block */
        {"virtio", "virtio:d00000008v*"},  /* SCSI */
        {"vmbus", "vmbus:*"},
        {"xen", "xen:*"},
        {"scsi", "scsi:t-0x00*"}, /* disks */
        {"mmc", "mmc:block*"},
};

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
                /* Positive: blacklisted. EEXIST, ENOENT: there already, or built in. ENODEV:
                 * drivers of other hardware may have the same alias. */
                if (r < 0 && r != -EEXIST && r != -ENOENT && r != -ENODEV)
                        return error_errno(e, -r, "loading module %s", name);
        }
        return 0;
}

/* --- ciphers --- */

/* The program that the kernel starts when it misses a module. */
static char *helper_path(const struct env *env)
{
        char *path;

        return asprintf(&path, "%s/sys/kernel/modprobe", env->proc) < 0 ? NULL : path;
}

static int set_helper(const char *path, const char *program)
{
        _cleanup_(buf_done) struct buf line = BUF_INIT(LIMIT_SYSFS_FILE);
        int r = buf_printf(&line, "%s\n", program);

        return r < 0 ? r : file_write_volatile(AT_FDCWD, path, line.data, line.len, 0644);
}

/* Without one of these the kernel has a slower one of its own. */
static void load_each(struct module_loader *m, const char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                struct error error = ERROR_INIT;

                if (module_load(m, names[i], &error) < 0)
                        log_warning("%s", error.text);
        }
}

/*
 * While a cipher registers and tests itself, the kernel asks its helper for one name after the
 * other that no module has ("crypto-cryptd(__xts-aes-aesni)"): some twenty processes, one at a
 * time, that take longer than all of the cipher. Nobody is asked while the helper is empty; what
 * ciphers are made of has been loaded by then.
 */
int module_load_ciphers(struct module_loader *m, struct error *e)
{
        static const char *const parts[] = {"crypto-aes-generic", "cryptd"},
                                 *const ciphers[] = {"crypto-aes", "crypto-crc32c"},
                                 *const others[] = {"af_alg", "algif_skcipher"};
        _cleanup_(buf_done) struct buf helper = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_free_ char *path = helper_path(m->env);
        bool quiet;
        int r = 0;

        if (!path)
                return error_oom(e);
        load_each(m, parts, ARRAY_SIZE(parts));
        quiet = file_read_line(AT_FDCWD, path, &helper) == 0 && set_helper(path, "") == 0;
        load_each(m, ciphers, ARRAY_SIZE(ciphers));
        if (quiet)
                r = set_helper(path, buf_str(&helper));
        if (r < 0)
                return error_errno(e, -r, "%s", path);
        load_each(m, others, ARRAY_SIZE(others));
        return 0;
}

/* --- drivers of devices --- */

static int compare_text(const void *a, const void *b)
{
        return strcmp(a, b);
}

static int load_alias(struct module_loader *m, const char *alias)
{
        _cleanup_free_ char *copy = strdup(alias);
        struct error error = ERROR_INIT;
        char **slot;

        if (!copy)
                return -ENOMEM;
        slot = tsearch(copy, &m->seen, compare_text);
        if (!slot)
                return -ENOMEM;
        if (*slot != copy)
                return 0; /* tried before */
        TAKE_PTR(copy);
        m->fresh++;
        if (module_load(m, alias, &error) < 0)
                log_warning("%s", error.text);
        return 0;
}

/* bus: takes what is looked for first on it; NULL: takes everything. */
static int load_modalias(struct module_loader *m, int dirfd, const char *path, const char *bus)
{
        _cleanup_(buf_done) struct buf alias = BUF_INIT(4096);

        if (file_read_line(dirfd, path, &alias) < 0 || alias.len == 0)
                return 0; /* the device went away, or names no driver */
        if (bus && !module_is_first(bus, buf_str(&alias)))
                return 0;
        return load_alias(m, buf_str(&alias));
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
                        r = load_modalias(m, dirfd(dir), "modalias", NULL);
                else if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && depth < DEVICE_DEPTH)
                        r = walk_devices(m, dirfd(dir), entry->d_name, depth + 1);
        }
        return r;
}

bool module_is_first(const char *bus, const char *modalias)
{
        for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
                if (strcmp(first[i].bus, bus) == 0 && fnmatch(first[i].modalias, modalias, 0) == 0)
                        return true;
        }
        return false;
}

static int walk_bus(struct module_loader *m, const char *bus)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_(close_dir) DIR *dir = NULL;
        struct dirent *entry;
        int r = 0;

        if (asprintf(&path, "%s/bus/%s/devices", m->env->sysfs, bus) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        dir = opendir(path);
        if (!dir)
                return errno == ENOENT ? 0 : -errno; /* the bus may come with a driver */
        while (r == 0 && (entry = readdir(dir))) {
                char modalias[NAME_MAX + sizeof("/modalias")];

                (void)snprintf(modalias, sizeof(modalias), "%s/modalias", entry->d_name);
                r = load_modalias(m, dirfd(dir), modalias, bus);
        }
        return r;
}

static int walk(struct module_loader *m, enum module_scope scope)
{
        _cleanup_free_ char *root = NULL;
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(first) && scope == MODULE_FIRST && r == 0; i++) {
                if (i == 0 || strcmp(first[i].bus, first[i - 1].bus) != 0)
                        r = walk_bus(m, first[i].bus);
        }
        if (scope == MODULE_FIRST || r < 0)
                return r;
        if (asprintf(&root, "%s/devices", m->env->sysfs) < 0) {
                root = NULL;
                return -ENOMEM;
        }
        return walk_devices(m, AT_FDCWD, root, 0);
}

int module_load_for_devices(struct module_loader *m, enum module_scope scope, struct error *e)
{
        for (unsigned round = 0; round < ROUNDS; round++) {
                int r;

                m->fresh = 0;
                r = walk(m, scope);
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
