/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/pe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "tests/support/peimage.h"

static const struct peimage_section two[] = {
        {.name = ".first", .data = "one", .size = 3},
        {.name = ".second8", .data = "second", .size = 6, .virtual_size = 1000},
};

/* The same image as a stream: no more header bytes than asked for, and its size at the end. */
static int stream_status(int fd, uint64_t size, uint64_t limit)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        size_t n = 0, need = 0;
        unsigned rounds = 0;
        int r;

        for (;;) {
                _cleanup_free_ uint8_t *head = malloc(n > 0 ? n : 1);

                assert_non_null(head);
                assert_true(file_pread(fd, head, n, 0) == (ssize_t)n);
                r = pe_parse(head, n, limit, &need, &pe, NULL);
                if (r != -EAGAIN)
                        break;
                assert_true(need > n && need <= LIMIT_PE_HEADER && need <= limit);
                assert_true(++rounds <= 4);
                if (need > size)
                        return -EBADMSG; /* the stream ends inside the headers */
                n = need;
        }
        if (r < 0)
                return r;
        assert_int_equal(pe_header(pe)->file_size, 0);
        r = pe_finish(pe, size, NULL);
        assert_int_equal(pe_header(pe)->file_size, r == 0 ? size : 0);
        return r;
}

static int open_status(int fd)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        struct error e = ERROR_INIT;
        struct stat st;
        int r = pe_open(fd, &pe, &e);

        if (r < 0) {
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_int_equal(e.code, -r);
                assert_true(e.text[0] != '\0');
                assert_null(pe);
        }
        assert_int_equal(fstat(fd, &st), 0);
        if (S_ISREG(st.st_mode) && (uint64_t)st.st_size <= LIMIT_IMAGE_SIZE) {
                uint64_t size = (uint64_t)st.st_size;

                assert_int_equal(stream_status(fd, size, size), r);
                assert_int_equal(stream_status(fd, size, LIMIT_IMAGE_SIZE), r);
        }
        return r;
}

static void test_reads(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        const struct pe_header *h;

        (void)state;
        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        h = pe_header(pe);
        assert_int_equal(h->machine, PE_MACHINE_X86_64);
        assert_int_equal(h->subsystem, PE_SUBSYSTEM_EFI_APPLICATION);
        assert_int_equal(h->n_sections, 2);
        assert_int_equal(h->checksum_offset, PEIMAGE_CHECKSUM);
        assert_int_equal(h->security_offset, PEIMAGE_SECURITY);
        assert_int_equal(h->cert_size, 0);
        assert_ptr_equal(pe_find(pe, ".second8"), pe_section_at(pe, 1));
        assert_null(pe_find(pe, ".second"));
        assert_null(pe_find(pe, ".firs"));
        assert_null(pe_section_at(pe, 2));
}

/* What counts is the view in memory: no padding of the file, zeros beyond it. */
static void test_memory_view(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(buf_done) struct buf out = BUF_INIT(2000);
        const uint8_t zeros[1000] = {0};

        (void)state;
        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        assert_int_equal(pe_read(pe, pe_section_at(pe, 0), &out, NULL), 0);
        assert_int_equal(out.len, 3);
        assert_memory_equal(out.data, "one", 3);
        buf_reset(&out);
        assert_int_equal(pe_read(pe, pe_section_at(pe, 1), &out, NULL), 0);
        assert_int_equal(out.len, 1000);
        assert_memory_equal(out.data, "second", 6);
        assert_memory_equal(out.data + 6, zeros, 994);
}

static void test_read_is_bounded(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(buf_done) struct buf out = BUF_INIT(999);
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        assert_int_equal(pe_read(pe, pe_section_at(pe, 1), &out, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_int_equal(out.len, 0);
}

static int stop(void *ctx, const void *data, size_t n)
{
        (void)ctx;
        (void)data;
        (void)n;
        return -ECANCELED;
}

static void test_sink_stops(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        _cleanup_(pe_free_p) struct pe *pe = NULL;

        (void)state;
        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        assert_int_equal(pe_stream(pe, pe_section_at(pe, 0), stop, NULL, NULL), -ECANCELED);
}

/* One patch makes the valid image of two sections (file 0x200 + 2 * 0x200) a broken one. */
static void test_malformed(void **state)
{
        static const struct {
                const char *what;
                uint64_t offset;
                unsigned width;
                uint32_t value;
                int result;
        } table[] = {
                {"no MZ", 0, 2, 0x4d5a, -EBADMSG},
                {"PE header inside the DOS header", 0x3c, 4, 0x20, -EBADMSG},
                {"PE header behind the end", 0x3c, 4, 0x8000, -EBADMSG},
                {"PE header very far away", 0x3c, 4, 0xfffffff0, -EBADMSG},
                {"no PE signature", PEIMAGE_PE, 4, 0x4551, -EBADMSG},
                {"no section", PEIMAGE_COFF + 2, 2, 0, -E2BIG},
                {"more sections than the header holds", PEIMAGE_COFF + 2, 2, 5, -EBADMSG},
                {"257 sections", PEIMAGE_COFF + 2, 2, 257, -E2BIG},
                {"65535 sections", PEIMAGE_COFF + 2, 2, 65535, -E2BIG},
                {"optional header too small", PEIMAGE_COFF + 16, 2, 111, -EBADMSG},
                {"optional header too small for directories", PEIMAGE_COFF + 16, 2, 200, -EBADMSG},
                {"optional header too large", PEIMAGE_COFF + 16, 2, 0xffff, -EBADMSG},
                {"PE32", PEIMAGE_OPTIONAL, 2, 0x10b, -EBADMSG},
                {"section alignment 0", PEIMAGE_OPTIONAL + 32, 4, 0, -EBADMSG},
                {"section alignment no power of two", PEIMAGE_OPTIONAL + 32, 4, 768, -EBADMSG},
                {"file alignment 0", PEIMAGE_OPTIONAL + 36, 4, 0, -EBADMSG},
                {"17 directories", PEIMAGE_OPTIONAL + 108, 4, 17, -EBADMSG},
                {"4 directories", PEIMAGE_OPTIONAL + 108, 4, 4, -EBADMSG},
                {"2^32 directories", PEIMAGE_OPTIONAL + 108, 4, 0xffffffff, -EBADMSG},
                {"SizeOfHeaders 0", PEIMAGE_OPTIONAL + 60, 4, 0, -EBADMSG},
                {"SizeOfHeaders behind the end", PEIMAGE_OPTIONAL + 60, 4, 0x4000, -EBADMSG},
                {"SizeOfHeaders huge", PEIMAGE_OPTIONAL + 60, 4, 0xffffffff, -EBADMSG},
                {"SizeOfImage below the sections", PEIMAGE_OPTIONAL + 56, 4, 0x300, -EBADMSG},
                {"section bytes behind the end", PEIMAGE_SECTION(1) + 16, 4, 0x201, -EBADMSG},
                {"section bytes far behind the end", PEIMAGE_SECTION(1) + 20, 4, 0xfffffe00,
                 -EBADMSG},
                {"section bytes wrap around", PEIMAGE_SECTION(1) + 16, 4, 0xffffffff, -EBADMSG},
                {"section bytes in the header", PEIMAGE_SECTION(0) + 20, 4, 0x100, -EBADMSG},
                {"section bytes overlap", PEIMAGE_SECTION(1) + 20, 4, 0x3ff, -EBADMSG},
                {"section addresses in the header", PEIMAGE_SECTION(0) + 12, 4, 0, -EBADMSG},
                {"section addresses overlap", PEIMAGE_SECTION(1) + 12, 4, 0x202, -EBADMSG},
                {"section addresses too large", PEIMAGE_SECTION(1) + 8, 4, 0x401, -EBADMSG},
                {"section addresses wrap around", PEIMAGE_SECTION(1) + 8, 4, 0xffffffff, -EBADMSG},
                {"control character in a name", PEIMAGE_SECTION(0), 1, 7, -EBADMSG},
                {"text behind the NUL of a name", PEIMAGE_SECTION(0) + 7, 1, 'x', -EBADMSG},
                {"certificate size without place", PEIMAGE_SECURITY + 4, 4, 8, -EBADMSG},
                {"certificate place without size", PEIMAGE_SECURITY, 4, 0x400, -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_close_ int fd = peimage_make(two, 2);

                assert_int_equal(open_status(fd), 0);
                peimage_patch(fd, table[i].offset, table[i].width, table[i].value);
                if (open_status(fd) != table[i].result)
                        fail_msg("%s: %d instead of %d", table[i].what, open_status(fd),
                                 table[i].result);
        }
}

/* The certificate table is the aligned end of the file, bounded, and no section reaches into it. */
static void test_certificate_table(void **state)
{
        static const struct {
                const char *what;
                uint32_t offset, size;
                int result;
        } table[] = {
                {"good", 0x600, 16, 0},
                {"ends early", 0x600, 8, -EBADMSG},
                {"ends late", 0x600, 24, -EBADMSG},
                {"not aligned", 0x604, 12, -EBADMSG},
                {"over a section", 0x5f8, 24, -EBADMSG},
                {"behind the end", 0x10000, 8, -EBADMSG},
                {"wraps around", 0xfffffff8, 16, -EBADMSG},
                {"too large", 0x600, 0x100001, -E2BIG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_close_ int fd = peimage_make(two, 2);

                assert_int_equal(ftruncate(fd, 0x610), 0);
                peimage_patch(fd, PEIMAGE_SECURITY, 4, table[i].offset);
                peimage_patch(fd, PEIMAGE_SECURITY + 4, 4, table[i].size);
                if (open_status(fd) != table[i].result)
                        fail_msg("%s", table[i].what);
        }
}

/* Cut anywhere, the image is refused. */
static void test_truncated(void **state)
{
        (void)state;
        for (off_t size = 0; size < 0x600; size++) {
                _cleanup_close_ int fd = peimage_make(two, 2);

                assert_int_equal(ftruncate(fd, size), 0);
                assert_int_equal(open_status(fd), -EBADMSG);
        }
}

static void test_most_sections(void **state)
{
        struct peimage_section many[LIMIT_PE_SECTIONS];
        _cleanup_close_ int fd = -EBADF;

        (void)state;
        for (unsigned i = 0; i < LIMIT_PE_SECTIONS; i++)
                many[i] = (struct peimage_section){.name = ".x", .data = "x", .size = 1};
        fd = peimage_make(many, LIMIT_PE_SECTIONS);
        assert_int_equal(open_status(fd), 0);
}

static void test_too_large_for_fat(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        struct error e = ERROR_INIT;
        struct pe *pe = NULL;

        (void)state;
        assert_int_equal(ftruncate(fd, (off_t)LIMIT_IMAGE_SIZE), 0);
        assert_int_equal(open_status(fd), 0);
        assert_int_equal(ftruncate(fd, (off_t)LIMIT_IMAGE_SIZE + 1), 0);
        assert_int_equal(open_status(fd), -E2BIG);
        assert_int_equal(pe_open(fd, &pe, &e), -E2BIG);
        assert_non_null(strstr(e.text, "4294967296 bytes, at most 4294967295"));
}

/* Headers that end where the limit of headers does, and those that would need one byte more. */
static void test_header_limit(void **state)
{
        static const struct {
                uint32_t pe;
                int result;
        } table[] = {
                {LIMIT_PE_HEADER - 24 - 240 - 40, 0},
                {LIMIT_PE_HEADER - 24 - 240 - 39, -EBADMSG},
                {LIMIT_PE_HEADER - 24 - 239, -EBADMSG},
                {LIMIT_PE_HEADER - 23, -EBADMSG},
                {LIMIT_PE_HEADER, -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                static const struct peimage_section one[] = {{.name = ".x"}};
                _cleanup_close_ int fd = peimage_make(one, 1);
                uint8_t headers[24 + 240 + 40];

                assert_int_equal(file_pread(fd, headers, sizeof(headers), PEIMAGE_PE),
                                 sizeof(headers));
                put_le32(headers + 24 + 60, (uint32_t)LIMIT_PE_HEADER);
                memset(headers + 24 + 240 + 8, 0, 16); /* an empty section may be anywhere */
                assert_int_equal(ftruncate(fd, 2 * LIMIT_PE_HEADER), 0);
                assert_int_equal(file_pwrite(fd, headers, sizeof(headers), table[i].pe), 0);
                peimage_patch(fd, 0x3c, 4, table[i].pe);
                if (open_status(fd) != table[i].result)
                        fail_msg("PE header at %u", table[i].pe);
        }
}

/* What only the end of a stream can tell. */
static void test_stream_sizes(void **state)
{
        static const struct peimage_section nothing[] = {{.name = ".x"}};
        _cleanup_close_ int headers = peimage_make(nothing, 1);
        _cleanup_close_ int fd = peimage_make(two, 2);

        (void)state;
        assert_int_equal(stream_status(fd, 0x600, 0x600), 0);
        assert_int_equal(stream_status(fd, 0x601, LIMIT_IMAGE_SIZE), 0);
        assert_int_equal(stream_status(fd, 0x5ff, LIMIT_IMAGE_SIZE), -EBADMSG);
        assert_int_equal(stream_status(fd, 0x1ff, LIMIT_IMAGE_SIZE), -EBADMSG);
        assert_int_equal(stream_status(fd, 0x600, 0x5ff), -EBADMSG);
        peimage_patch(fd, PEIMAGE_SECURITY, 4, 0x600);
        peimage_patch(fd, PEIMAGE_SECURITY + 4, 4, 16);
        assert_int_equal(stream_status(fd, 0x610, LIMIT_IMAGE_SIZE), 0);
        assert_int_equal(stream_status(fd, 0x611, LIMIT_IMAGE_SIZE), -EBADMSG);
        assert_int_equal(stream_status(fd, 0x60f, LIMIT_IMAGE_SIZE), -EBADMSG);
        assert_int_equal(stream_status(fd, 0x600, LIMIT_IMAGE_SIZE), -EBADMSG);
        assert_int_equal(stream_status(fd, 0x610, 0x60f), -EBADMSG);
        assert_int_equal(stream_status(headers, 0x200, LIMIT_IMAGE_SIZE), 0);
        assert_int_equal(stream_status(headers, 0x1ff, LIMIT_IMAGE_SIZE), -EBADMSG);
        assert_int_equal(stream_status(headers, 0x200, 0x1ff), -EBADMSG);
}

/* Content needs a file. */
static void test_stream_has_no_content(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(buf_done) struct buf out = BUF_INIT(2000);
        uint8_t head[0x200];
        size_t need;

        (void)state;
        assert_int_equal(file_pread(fd, head, sizeof(head), 0), sizeof(head));
        assert_int_equal(pe_parse(head, sizeof(head), LIMIT_IMAGE_SIZE, &need, &pe, NULL), 0);
        assert_int_equal(pe_fd(pe), -EBADF);
        assert_int_equal(pe_read(pe, pe_section_at(pe, 0), &out, NULL), -EBADF);
        pe_set_fd(pe, fd);
        assert_int_equal(pe_read(pe, pe_section_at(pe, 0), &out, NULL), 0);
        assert_string_equal(buf_str(&out), "one");
}

static void test_not_a_file(void **state)
{
        _cleanup_close_ int fd = file_open_dir(-1, "/");

        (void)state;
        assert_int_equal(open_status(fd), -EBADMSG);
}

static void test_probe_machine(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        uint16_t machine = 0;

        (void)state;
        peimage_patch(fd, PEIMAGE_COFF, 2, PE_MACHINE_AARCH64);
        /* Kernels have section tables that the strict reader refuses. */
        peimage_patch(fd, PEIMAGE_SECTION(1) + 20, 4, 0x3ff);
        assert_int_equal(pe_probe_machine(fd, &machine, NULL), 0);
        assert_int_equal(machine, PE_MACHINE_AARCH64);
        peimage_patch(fd, PEIMAGE_PE, 4, 0);
        assert_int_equal(pe_probe_machine(fd, &machine, NULL), -EBADMSG);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reads),
                cmocka_unit_test(test_memory_view),
                cmocka_unit_test(test_read_is_bounded),
                cmocka_unit_test(test_sink_stops),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_certificate_table),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_most_sections),
                cmocka_unit_test(test_too_large_for_fat),
                cmocka_unit_test(test_header_limit),
                cmocka_unit_test(test_stream_sizes),
                cmocka_unit_test(test_stream_has_no_content),
                cmocka_unit_test(test_not_a_file),
                cmocka_unit_test(test_probe_machine),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
