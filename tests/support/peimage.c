/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/peimage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/num.h"

static uint32_t round_up(uint32_t v)
{
        return (v + PEIMAGE_ALIGNMENT - 1) / PEIMAGE_ALIGNMENT * PEIMAGE_ALIGNMENT;
}

void peimage_patch(int fd, uint64_t offset, unsigned width, uint32_t value)
{
        uint8_t bytes[4];

        put_le32(bytes, value);
        assert_int_equal(file_pwrite(fd, bytes, width, offset), 0);
}

uint32_t peimage_raw_offset(int fd, unsigned i)
{
        uint8_t bytes[4];

        assert_int_equal(file_pread(fd, bytes, 4, PEIMAGE_SECTION(i) + 20), 4);
        return le32_at(bytes);
}

static void write_headers(int fd, unsigned n, uint32_t headers, uint32_t image_size)
{
        peimage_patch(fd, 0, 2, 0x5a4d);
        peimage_patch(fd, 0x3c, 4, PEIMAGE_PE);
        peimage_patch(fd, PEIMAGE_PE, 4, 0x4550);
        peimage_patch(fd, PEIMAGE_COFF, 2, 0x8664);
        peimage_patch(fd, PEIMAGE_COFF + 2, 2, n);
        peimage_patch(fd, PEIMAGE_COFF + 16, 2, 240);
        peimage_patch(fd, PEIMAGE_OPTIONAL, 2, 0x20b);
        peimage_patch(fd, PEIMAGE_OPTIONAL + 32, 4, PEIMAGE_ALIGNMENT);
        peimage_patch(fd, PEIMAGE_OPTIONAL + 36, 4, PEIMAGE_ALIGNMENT);
        peimage_patch(fd, PEIMAGE_OPTIONAL + 56, 4, image_size);
        peimage_patch(fd, PEIMAGE_OPTIONAL + 60, 4, headers);
        peimage_patch(fd, PEIMAGE_OPTIONAL + 68, 2, 10);
        peimage_patch(fd, PEIMAGE_OPTIONAL + 108, 4, 16);
}

int peimage_make(const struct peimage_section *sections, unsigned n)
{
        uint32_t headers = round_up(PEIMAGE_SECTION(n)), raw = headers, address = headers;
        int fd = memfd_create("pe-image", MFD_CLOEXEC);

        assert_true(fd >= 0);
        for (unsigned i = 0; i < n; i++) {
                const struct peimage_section *s = &sections[i];
                uint32_t size = (uint32_t)s->size;
                uint32_t virtual = s->virtual_size > 0 ? s->virtual_size : size;
                char name[8] = {0};

                memcpy(name, s->name, strnlen(s->name, sizeof(name)));
                assert_int_equal(file_pwrite(fd, name, sizeof(name), PEIMAGE_SECTION(i)), 0);
                peimage_patch(fd, PEIMAGE_SECTION(i) + 8, 4, virtual);
                peimage_patch(fd, PEIMAGE_SECTION(i) + 12, 4, address);
                peimage_patch(fd, PEIMAGE_SECTION(i) + 16, 4, round_up(size));
                peimage_patch(fd, PEIMAGE_SECTION(i) + 20, 4, raw);
                peimage_patch(fd, PEIMAGE_SECTION(i) + 36, 4, 0x40000040);
                if (size > 0)
                        assert_int_equal(file_pwrite(fd, s->data, size, raw), 0);
                raw += round_up(size);
                address += round_up(virtual > 0 ? virtual : 1);
        }
        write_headers(fd, n, headers, address);
        assert_int_equal(ftruncate(fd, raw), 0);
        return fd;
}
