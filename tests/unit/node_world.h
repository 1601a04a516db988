/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of a node in a machine of disk_world.h: "vda" with the partitions vda1 (efi), vda2
 * (oem), vda3 ("data", the user's) and vda4 (persistent). */
#pragma once

#include "agent/node.h"
#include "partition/luks.h"
#include "tests/unit/disk_world.h"

#define NODE_VOLUME_SIZE (32 * MIB)

struct node_world {
        struct disk_world w;
        struct disk disk;
        struct node node;
};

static inline void node_world_partition(struct node_world *n, const char *name, const char *type)
{
        struct layout_partition *p = &n->node.layout.partitions[n->node.layout.n++];
        char kernel[16], number[16];

        p->number = (unsigned)n->node.layout.n;
        (void)snprintf(p->name, sizeof(p->name), "%s", name);
        (void)snprintf(p->type, sizeof(p->type), "%s", type);
        (void)snprintf(kernel, sizeof(kernel), "vda%u", p->number);
        (void)snprintf(number, sizeof(number), "252:%u", p->number);
        world_partition(&n->w, "vda", kernel, number);
        world_attribute(&n->w, kernel, "start", "2048");
        world_attribute(&n->w, kernel, "size", "2048");
}

static inline void node_world_make(struct node_world *n)
{
        world_make(&n->w);
        world_disk(&n->w, "pci0/virtio1", "vda", "252:0", 1 * GIB);
        n->disk = (struct disk){.env = &n->w.env,
                                .name = (char *)(uintptr_t) "vda",
                                .path = (char *)(uintptr_t) "/dev/vda",
                                .fd = -EBADF};
        n->node = (struct node){.disk = &n->disk};
        node_world_partition(n, LAYOUT_ESP_NAME, LAYOUT_TYPE_ESP);
        node_world_partition(n, LAYOUT_OEM_NAME, LAYOUT_TYPE_LINUX);
        node_world_partition(n, "data", LAYOUT_TYPE_LINUX);
        node_world_partition(n, LAYOUT_PERSISTENT_NAME, LAYOUT_TYPE_LINUX);
        n->node.esp = &n->node.layout.partitions[0];
        n->node.oem = &n->node.layout.partitions[1];
        n->node.persistent = &n->node.layout.partitions[3];
}

static inline void node_world_end(struct node_world *n)
{
        world_end(&n->w);
}

/* Gives a partition ("vda3") a content: zeros, or an empty LUKS2 volume, whose UUID is returned to
 * be freed. */
static inline void node_world_plain(struct node_world *n, const char *kernel)
{
        char path[PATH_MAX];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", n->w.dev, kernel);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, NODE_VOLUME_SIZE), 0);
        assert_int_equal(close(fd), 0);
}

static inline char *node_world_luks(struct node_world *n, const char *kernel)
{
        const struct luks_format_options options = {.label = "data", .sector_size = 512};
        struct error e = ERROR_INIT;
        char path[PATH_MAX], *uuid;
        struct luks *l;

        node_world_plain(n, kernel);
        (void)snprintf(path, sizeof(path), "%s/%s", n->w.dev, kernel);
        if (luks_format(path, &options, &l, &e) < 0)
                fail_msg("%s", e.text);
        uuid = strdup(luks_uuid(l));
        assert_non_null(uuid);
        luks_free(l);
        return uuid;
}

/* The UUID of the mapping "data" of that volume, as libcryptsetup makes it. */
static inline void node_world_dm_uuid(const char *uuid, char *ret, size_t size)
{
        size_t used = (size_t)snprintf(ret, size, "CRYPT-LUKS2-");

        for (; *uuid && used + 1 < size; uuid++) {
                if (*uuid != '-')
                        ret[used++] = *uuid;
        }
        (void)snprintf(ret + used, size - used, "-data");
}
