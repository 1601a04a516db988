/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/disk_content.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static void free_probe(blkid_probe *p)
{
        if (*p)
                blkid_free_probe(*p);
}

static void copy_value(blkid_probe probe, const char *name, char *ret, size_t n)
{
        const char *value;

        if (blkid_probe_lookup_value(probe, name, &value, NULL) == 0)
                (void)snprintf(ret, n, "%s", value);
}

int disk_content_read(const char *path, struct disk_content *ret, struct error *e)
{
        const int ambivalent = -2;
        _cleanup_(free_probe) blkid_probe probe = blkid_new_probe();
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        int r;

        *ret = (struct disk_content){.type = ""};
        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        if (!probe || blkid_probe_set_device(probe, fd, 0, 0) < 0)
                return error_oom(e);
        (void)blkid_probe_enable_superblocks(probe, 1);
        (void)blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
        (void)blkid_probe_enable_partitions(probe, 1);
        r = blkid_do_safeprobe(probe);
        if (r == ambivalent)
                (void)snprintf(ret->type, sizeof(ret->type), "ambivalent");
        else if (r < 0)
                return error_set(e, ERROR_IO, EIO, "%s: looking at its content failed", path);
        copy_value(probe, "TYPE", ret->type, sizeof(ret->type));
        copy_value(probe, "LABEL", ret->label, sizeof(ret->label));
        copy_value(probe, "PTTYPE", ret->table, sizeof(ret->table));
        return 0;
}
