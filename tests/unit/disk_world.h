/* SPDX-License-Identifier: Apache-2.0 */
/* A machine with disks, as sysfs, procfs and /dev show it, in a scratch folder. */
#pragma once

#include <stdint.h>

#include "base/env.h"
#include "base/limits.h"
#include "tests/unit/scratch.h"

struct disk_world {
        struct scratch s;
        char sysfs[80], proc[80], dev[80], efivarfs[80];
        struct env env;
};

static inline void world_put(struct disk_world *w, const char *path, const char *text)
{
        char *dir = strdup(path);

        assert_non_null(dir);
        *strrchr(dir, '/') = '\0';
        assert_int_equal(file_make_dirs(w->s.fd, dir, 0755), 0);
        scratch_put_text(&w->s, path, text);
        free(dir);
}

static inline void world_link(struct disk_world *w, const char *target, const char *path)
{
        char *dir = strdup(path);

        assert_non_null(dir);
        *strrchr(dir, '/') = '\0';
        assert_int_equal(file_make_dirs(w->s.fd, dir, 0755), 0);
        assert_int_equal(symlinkat(target, w->s.fd, path), 0);
        free(dir);
}

static inline void world_make(struct disk_world *w)
{
        *w = (struct disk_world){.env = ENV_INIT};
        scratch_make(&w->s);
        (void)snprintf(w->sysfs, sizeof(w->sysfs), "%s/sys", w->s.path);
        (void)snprintf(w->proc, sizeof(w->proc), "%s/proc", w->s.path);
        (void)snprintf(w->dev, sizeof(w->dev), "%s/dev", w->s.path);
        (void)snprintf(w->efivarfs, sizeof(w->efivarfs), "%s/efivars", w->s.path);
        w->env.sysfs = w->sysfs;
        w->env.proc = w->proc;
        w->env.dev = w->dev;
        w->env.efivarfs = w->efivarfs;
        assert_int_equal(file_make_dirs(w->s.fd, "sys/block", 0755), 0);
        assert_int_equal(file_make_dirs(w->s.fd, "sys/class/block", 0755), 0);
        assert_int_equal(file_make_dirs(w->s.fd, "dev", 0755), 0);
        assert_int_equal(file_make_dirs(w->s.fd, "efivars", 0755), 0);
        world_put(w, "proc/self/mountinfo", "1 0 0:2 / / rw shared:1 - rootfs rootfs rw\n");
        world_put(w, "proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        assert_int_equal(symlinkat("/usr/bin/tb-agent", w->s.fd, "proc/self/exe"), 0);
}

static inline void world_end(struct disk_world *w)
{
        scratch_clean(&w->s);
}

static inline void world_attribute(struct disk_world *w, const char *device, const char *attribute,
                                   const char *text)
{
        char path[PATH_MAX], line[256];

        (void)snprintf(path, sizeof(path), "sys/class/block/%s/%s", device, attribute);
        (void)snprintf(line, sizeof(line), "%s\n", text);
        world_put(w, path, line);
}

/* place: where in sys/devices, e.g. "pci0/virtio1". number: "252:0". */
static inline void world_device(struct disk_world *w, const char *place, const char *name,
                                const char *number)
{
        char path[PATH_MAX], link[PATH_MAX];

        (void)snprintf(path, sizeof(path), "sys/devices/%s/block/%s", place, name);
        assert_int_equal(file_make_dirs(w->s.fd, path, 0755), 0);
        (void)snprintf(path, sizeof(path), "../../devices/%s/block/%s", place, name);
        (void)snprintf(link, sizeof(link), "sys/class/block/%s", name);
        world_link(w, path, link);
        (void)snprintf(link, sizeof(link), "sys/block/%s", name);
        world_link(w, path + 3, link);
        world_attribute(w, name, "dev", number);
        (void)snprintf(path, sizeof(path), "dev/%s", name);
        world_put(w, path, "");
}

static inline void world_disk(struct disk_world *w, const char *place, const char *name,
                              const char *number, uint64_t size)
{
        char text[32];

        world_device(w, place, name, number);
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(size / 512));
        world_attribute(w, name, "size", text);
        world_attribute(w, name, "queue/logical_block_size", "512");
        world_attribute(w, name, "queue/rotational", "0");
        world_attribute(w, name, "ro", "0");
        world_attribute(w, name, "removable", "0");
}

static inline void world_partition(struct disk_world *w, const char *disk, const char *name,
                                   const char *number)
{
        char path[PATH_MAX], link[PATH_MAX];

        (void)snprintf(path, sizeof(path), "sys/class/block/%s/%s", disk, name);
        assert_int_equal(file_make_dirs(w->s.fd, path, 0755), 0);
        (void)snprintf(path, sizeof(path), "%s/%s", disk, name);
        (void)snprintf(link, sizeof(link), "sys/class/block/%s", name);
        world_link(w, path, link);
        world_attribute(w, name, "partition", name + strcspn(name, "0123456789"));
        world_attribute(w, name, "dev", number);
}

static inline void world_holder(struct disk_world *w, const char *device, const char *holder)
{
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "sys/class/block/%s/holders/%s", device, holder);
        assert_int_equal(file_make_dirs(w->s.fd, path, 0755), 0);
}

static inline void world_mapping(struct disk_world *w, const char *holder, const char *number,
                                 const char *name, const char *uuid)
{
        world_device(w, "virtual", holder, number);
        world_attribute(w, holder, "dm/name", name);
        world_attribute(w, holder, "dm/uuid", uuid);
}

static inline void world_mounts(struct disk_world *w, const char *lines)
{
        char text[4096];

        (void)snprintf(text, sizeof(text), "1 0 0:2 / / rw shared:1 - rootfs rootfs rw\n%s", lines);
        world_put(w, "proc/self/mountinfo", text);
}

static inline void world_swaps(struct disk_world *w, const char *lines)
{
        char text[4096];

        (void)snprintf(text, sizeof(text), "Filename\t\tType\tSize\tUsed\tPriority\n%s", lines);
        world_put(w, "proc/swaps", text);
}
