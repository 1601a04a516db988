/* SPDX-License-Identifier: Apache-2.0 */
#include "image/stub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/num.h"
#include "tests/support/peimage.h"
#include "upgrade/pe.h"

/* Two sections: the header of 512 bytes has room for one more. */
static const struct peimage_section base[] = {
        {.name = ".text", .data = "code", .size = 4, .virtual_size = 5000},
        {.name = ".data", .data = "data", .size = 4},
};

static int new_file(void)
{
        int fd = memfd_create("out", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void expect_section(const struct pe *pe, const char *name, const char *text)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(10000);
        const struct pe_section *s = pe_find(pe, name);

        assert_non_null(s);
        assert_int_equal(s->virtual_size, strlen(text));
        assert_int_equal(s->virtual_address % 4096, 0);
        assert_int_equal(s->raw_offset % PEIMAGE_ALIGNMENT, 0);
        assert_int_equal(s->raw_size % PEIMAGE_ALIGNMENT, 0);
        assert_int_equal(s->characteristics, 0x40000040);
        assert_int_equal(pe_read(pe, s, &out, NULL), 0);
        assert_string_equal(buf_str(&out), text);
}

static void test_adds(void **state)
{
        _cleanup_close_ int in = peimage_make(base, 2), out = new_file();
        _cleanup_(stub_free_p) struct stub *s = NULL;
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        uint8_t field[8];

        (void)state;
        /* Symbols behind the sections, a checksum: all of that goes. */
        assert_int_equal(file_pwrite(in, "symbols", 7, 0x600), 0);
        peimage_patch(in, PEIMAGE_COFF + 8, 4, 0x600);
        peimage_patch(in, PEIMAGE_COFF + 12, 4, 1);
        peimage_patch(in, PEIMAGE_CHECKSUM, 4, 99);
        assert_int_equal(stub_begin(in, out, 1, &s, NULL), 0);
        assert_int_equal(stub_machine(s), PE_MACHINE_X86_64);
        assert_int_equal(stub_start(s, ".initrd", NULL), 0);
        assert_int_equal(stub_append(s, "in ", 3, NULL), 0);
        assert_int_equal(stub_append(s, "pieces", 6, NULL), 0);
        assert_int_equal(stub_end(s, NULL), 0);
        assert_int_equal(stub_finish(s, NULL), 0);
        assert_int_equal(pe_open(out, &pe, NULL), 0);
        assert_int_equal(pe_header(pe)->n_sections, 3);
        assert_int_equal(pe_header(pe)->file_size, 0x800);
        expect_section(pe, ".initrd", "in pieces");
        assert_int_equal(pe_find(pe, ".initrd")->raw_offset, 0x600);
        assert_int_equal(pe_header(pe)->size_of_image,
                         pe_find(pe, ".initrd")->virtual_address + 4096);
        assert_int_equal(file_pread(out, field, 8, PEIMAGE_COFF + 8), 8);
        assert_int_equal(le64_at(field), 0);
        assert_int_equal(file_pread(out, field, 4, PEIMAGE_CHECKSUM), 4);
        assert_int_equal(le32_at(field), 0);
        assert_int_equal(file_pread(out, field, 4, PEIMAGE_OPTIONAL + 8), 4);
        assert_int_equal(le32_at(field), PEIMAGE_ALIGNMENT);
}

static void test_adds_file(void **state)
{
        _cleanup_close_ int in = peimage_make(base, 2), out = new_file(), file = new_file();
        _cleanup_(stub_free_p) struct stub *s = NULL;
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(buf_done) struct buf copy = BUF_INIT(2 * FILE_CHUNK);
        const uint64_t size = FILE_CHUNK + 7;

        (void)state;
        assert_int_equal(file_pwrite(file, "end", 3, size - 3), 0);
        assert_int_equal(stub_begin(in, out, 1, &s, NULL), 0);
        assert_int_equal(stub_add_file(s, ".linux", file, NULL), 0);
        assert_int_equal(stub_finish(s, NULL), 0);
        assert_int_equal(pe_open(out, &pe, NULL), 0);
        assert_int_equal(pe_find(pe, ".linux")->virtual_size, size);
        assert_int_equal(pe_read(pe, pe_find(pe, ".linux"), &copy, NULL), 0);
        assert_memory_equal(copy.data + size - 3, "end", 3);
}

static void test_no_header_room(void **state)
{
        _cleanup_close_ int in = peimage_make(base, 2), out = new_file();
        struct stub *s = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(stub_begin(in, out, 2, &s, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_null(s);
}

static void test_section_exists(void **state)
{
        _cleanup_close_ int in = peimage_make(base, 2), out = new_file();
        _cleanup_(stub_free_p) struct stub *s = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(stub_begin(in, out, 1, &s, NULL), 0);
        assert_int_equal(stub_add(s, ".data", "x", 1, &e), -EEXIST);
        assert_int_equal(e.class, ERROR_CONFIG);
}

/* FAT32 ends at 4 GiB - 1: told before the disk is full of what nobody can install. */
static void test_too_large(void **state)
{
        _cleanup_close_ int in = peimage_make(base, 2), out = new_file(), file = new_file();
        _cleanup_(stub_free_p) struct stub *s = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        /* A stub whose addresses end just below 4 GiB leaves no room for one page. */
        peimage_patch(in, PEIMAGE_OPTIONAL + 56, 4, 0xfffff000);
        peimage_patch(in, PEIMAGE_SECTION(1) + 12, 4, 0xffffe000);
        assert_int_equal(stub_begin(in, out, 1, &s, NULL), 0);
        assert_int_equal(file_pwrite(file, "x", 1, 4096), 0);
        assert_int_equal(stub_add_file(s, ".linux", file, &e), -EFBIG);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_true(e.advice[0] != '\0');
}

static void test_out_of_order(void **state)
{
        _cleanup_close_ int in = peimage_make(base, 2), out = new_file();
        _cleanup_(stub_free_p) struct stub *s = NULL;

        (void)state;
        assert_int_equal(stub_begin(in, out, 1, &s, NULL), 0);
        assert_int_equal(stub_start(s, ".toolongname", NULL), -EINVAL);
        assert_int_equal(stub_start(s, ".a", NULL), 0);
        assert_int_equal(stub_start(s, ".b", NULL), -EINVAL);
        assert_int_equal(stub_end(s, NULL), 0);
        assert_int_equal(stub_start(s, ".c", NULL), -EINVAL); /* one more than announced */
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_adds),           cmocka_unit_test(test_adds_file),
                cmocka_unit_test(test_no_header_room), cmocka_unit_test(test_section_exists),
                cmocka_unit_test(test_too_large),      cmocka_unit_test(test_out_of_order),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
