/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether oem and persistent belong together (partition/pair.h), before anything in them is used.
 */
#include "agent/boot.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "partition/mount.h"
#include "partition/pair.h"

void boot_pair_take(struct boot *b, const char *mapping, const struct secret *volume_key)
{
        struct secret **part = strcmp(mapping, DATA_DM_OEM) == 0          ? &b->pair.oem
                               : strcmp(mapping, DATA_DM_PERSISTENT) == 0 ? &b->pair.persistent
                                                                          : NULL;

        if (!part)
                return;
        secret_free(*part);
        *part = pair_part(volume_key); /* without it nothing is proven */
}

static int folder(char **ret, const char *root, const char *name, struct error *e)
{
        if (asprintf(ret, "%s/%s", root, name) < 0) {
                *ret = NULL;
                return error_oom(e);
        }
        return 0;
}

/* The tag of persistent, which nobody has mounted in recovery. */
static int read_unmounted(const struct boot *b, uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_free_ char *device = NULL, *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (asprintf(&device, "%s/mapper/" DATA_DM_PERSISTENT, b->env->dev) < 0) {
                device = NULL;
                return error_oom(e);
        }
        fd = mount_look(device, "ext4", e);
        if (fd < 0)
                return fd;
        if (asprintf(&path, "%s/self/fd/%d/" BOOT_PAIR_PERSISTENT, b->env->proc, fd) < 0) {
                path = NULL;
                return error_oom(e);
        }
        return pair_read(path, ret, e);
}

static int refuse(struct error *e)
{
        error_set(e, ERROR_PRECONDITION, EKEYREJECTED,
                  "oem and persistent do not belong together: one of them was exchanged for a "
                  "volume that was made elsewhere");
        error_advise(e, "put back what was there, or start the recovery entry and make both anew: "
                        "tb-agent reset --oem");
        return -EKEYREJECTED;
}

/* The volumes whose tag is missing: bit 0 oem, bit 1 persistent; negative when one that is there is
 * wrong. */
static int compare(const struct boot *b, const char *oem, const char *persistent,
                   const uint8_t tag[SHA256_SIZE], struct error *e)
{
        uint8_t found[SHA256_SIZE];
        int missing = 0, r = pair_read(oem, found, e);

        if (r > 0 && memcmp(found, tag, SHA256_SIZE) != 0)
                return refuse(e);
        if (r < 0)
                return r;
        missing |= r == 0 ? 1 : 0;
        r = persistent ? pair_read(persistent, found, e) : read_unmounted(b, found, e);
        if (r > 0 && memcmp(found, tag, SHA256_SIZE) != 0)
                return refuse(e);
        return r < 0 ? r : missing | (r == 0 ? 2 : 0);
}

/* persistent first: it is the one that a stranger's oem would be put beside. A full file system is
 * no reason not to start. */
static void complete(const struct boot *b, int missing, const char *oem, const char *persistent,
                     const uint8_t tag[SHA256_SIZE])
{
        struct error error = ERROR_INIT;
        int r = missing & 2 ? pair_write(persistent, tag, &error) : 0;

        if (r == 0 && missing & 1)
                r = pair_write(oem, tag, &error);
        if (r == 0)
                return;
        log_warning("%s", error.text);
        boot_report_problem(b->report, error.text);
}

static int check(const struct boot *b, bool mounted, struct error *e)
{
        _cleanup_free_ char *oem = NULL, *persistent = NULL;
        uint8_t tag[SHA256_SIZE];
        int r = folder(&oem, b->env->oem, BOOT_PAIR_OEM, e);

        if (r == 0 && mounted)
                r = folder(&persistent, b->env->persistent, BOOT_PAIR_PERSISTENT, e);
        if (r == 0 && pair_tag(b->pair.oem, b->pair.persistent, tag) < 0)
                r = error_set(e, ERROR_INTERNAL, EIO, "cannot compute an HMAC");
        if (r == 0)
                r = compare(b, oem, persistent, tag, e);
        if (r > 0 && mounted)
                complete(b, r, oem, persistent, tag);
        return r < 0 ? r : 0;
}

static void close_one(const struct boot *b, const char *mapping, const char *mount,
                      const struct error *why)
{
        struct error error = ERROR_INIT;

        if (mount && mount_unmount(mount, &error) < 0)
                log_error("%s", error.text);
        error_clear(&error);
        if (luks_deactivate(mapping, &error) < 0)
                log_error("%s", error.text);
        boot_report_partition(b->report, &(struct boot_report_volume){.name = mapping,
                                                                      .encrypted = true,
                                                                      .error = why->text});
}

/* Which of the two is the stranger is not known: both are closed. One that cannot be read leaves
 * oem to a reset, which would keep it. */
static void close_again(struct boot *b, struct data_mounted *mounted, int r,
                        const struct error *why)
{
        bool oem = mounted->persistent || r == -EKEYREJECTED || r == -EBADMSG;

        close_one(b, DATA_DM_PERSISTENT, mounted->persistent ? b->env->persistent : NULL, why);
        if (oem)
                close_one(b, DATA_DM_OEM, b->env->oem, why);
        *mounted = (struct data_mounted){.oem = !oem};
        b->pair.refused = true;
}

int boot_pair_check(struct boot *b, struct data_mounted *mounted, struct error *e)
{
        bool both = b->pair.oem && b->pair.persistent;
        int r = 0;

        if (both)
                r = check(b, mounted->persistent, e);
        else if (mounted->persistent)
                r = error_set(e, ERROR_INTERNAL, ENOKEY,
                              "the keys of oem and persistent are not known");
        b->pair.proven = both && r == 0;
        secret_free(b->pair.oem);
        secret_free(b->pair.persistent);
        b->pair.oem = b->pair.persistent = NULL;
        if (r < 0) {
                if (r != -EKEYREJECTED)
                        (void)error_wrap(e, r,
                                         "oem and persistent are not proven to belong together");
                close_again(b, mounted, r, e);
        }
        return r;
}
