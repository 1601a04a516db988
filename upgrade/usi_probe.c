/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/usi_probe.h"

#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "upgrade/pe.h"

#define MAGIC_PREFIX "#### LoaderInfo: systemd-stub "

/* Linux/x86 boot protocol, offsets inside a bzImage. */
#define X86_MAGIC 0x202u    /* "HdrS" */
#define X86_PROTOCOL 0x206u /* u16 */
/* Linux/arm64 boot protocol: "ARM\x64"; kernels that unpack themselves (EFI zboot) have a mark of
 * their own. */
#define ARM64_MAGIC 0x38u
#define ZBOOT_MAGIC 0x04u

/* The number behind "systemd-stub "; anything unexpected leaves the version unknown. */
unsigned usi_probe_magic(const struct buf *text)
{
        const size_t prefix = strlen(MAGIC_PREFIX);
        char digits[8];
        const char *p;
        uint64_t v;
        size_t n;

        if (strncmp(buf_str(text), MAGIC_PREFIX, prefix) != 0)
                return 0;
        p = buf_str(text) + prefix;
        n = strspn(p, "0123456789");
        if (n == 0 || n >= sizeof(digits))
                return 0;
        memcpy(digits, p, n);
        digits[n] = '\0';
        return parse_u64(digits, &v) == 0 ? (unsigned)v : 0;
}

bool usi_probe_kernel_header(uint16_t machine, const uint8_t *data, size_t n)
{
        if (n < USI_KERNEL_HEADER_SIZE)
                return false;
        if (machine == PE_MACHINE_AARCH64)
                return memcmp(data + ARM64_MAGIC, "ARM\x64", 4) == 0 ||
                       memcmp(data + ZBOOT_MAGIC, "zimg", 4) == 0;
        return memcmp(data + X86_MAGIC, "HdrS", 4) == 0 && le16_at(data + X86_PROTOCOL) >= 0x200;
}

int usi_probe_stub(int fd, unsigned *ret_version, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(USI_MAGIC_LIMIT);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        const struct pe_section *magic;
        int r;

        r = pe_open(fd, &pe, e);
        if (r < 0)
                return r;
        magic = pe_find(pe, USI_MAGIC_SECTION);
        if (magic && magic->virtual_size <= USI_MAGIC_LIMIT)
                r = pe_read(pe, magic, &text, e);
        if (r < 0)
                return r;
        *ret_version = usi_probe_magic(&text);
        return 0;
}

int usi_probe_kernel(int fd, uint16_t machine, bool *ret, struct error *e)
{
        uint8_t head[USI_KERNEL_HEADER_SIZE];
        ssize_t n = file_pread(fd, head, sizeof(head), 0);

        if (n < 0)
                return error_errno(e, (int)-n, "cannot read the kernel");
        *ret = usi_probe_kernel_header(machine, head, (size_t)n);
        return 0;
}
