/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/bootloader_probe.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

/* Section .sdmagic holds this text. */
#define MAGIC_START "#### LoaderInfo: systemd-boot "
#define MAGIC_END " ####"

static int not_ours(struct error *e)
{
        error_set(e, ERROR_REFUSED, EBADMSG, "not a systemd-boot image");
        error_advise(e, "the source must bring systemd-boot, signed for this machine");
        return -EBADMSG;
}

int bootloader_probe(const struct pe *pe, char ret_version[BOOTLOADER_VERSION_SIZE],
                     unsigned *ret_major, struct error *e)
{
        _cleanup_(buf_done) struct buf magic = BUF_INIT(4096);
        const struct pe_section *section = pe_find(pe, ".sdmagic");
        const char *start, *end;
        uint64_t major;
        int r;

        if (!section)
                return not_ours(e);
        r = pe_read(pe, section, &magic, e);
        if (r < 0)
                return r;
        start = strstr(buf_str(&magic), MAGIC_START);
        end = start ? strstr(start, MAGIC_END) : NULL;
        if (!end)
                return not_ours(e);
        start += strlen(MAGIC_START);
        if ((size_t)(end - start) >= BOOTLOADER_VERSION_SIZE)
                return not_ours(e);
        (void)snprintf(ret_version, BOOTLOADER_VERSION_SIZE, "%.*s", (int)(end - start), start);
        /* "252.39-1~deb12u1": the number before the first other character. */
        buf_reset(&magic);
        if (buf_add(&magic, ret_version, strspn(ret_version, "0123456789")) < 0 ||
            parse_u64_max(buf_str(&magic), 99999, &major) < 0)
                return not_ours(e);
        *ret_major = (unsigned)major;
        return 0;
}
