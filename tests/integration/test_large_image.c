/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images whose sizes need more than 31 and all of 32 bits, read in one pass by everything that
 * looks at an image, in a process of its own whose memory is measured. A quarter of a minute,
 * nearly all of it SHA-256.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "tests/support/peimage.h"
#include "upgrade/authenticode_image.h"
#include "upgrade/usi_reader.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define MEMORY_KIB_MAX (32 * 1024)
#define LINUX_OFFSET 0x600u /* headers, .cmdline, .initrd */

/* Everything of such an image is zeros but the headers, "quiet", "initrd", and the last bytes of
 * the kernel, "end". The digests are those of Python's hashlib. */
struct large {
        uint64_t size;
        const char *sha256;
        const char *pcr11;
        const char *authenticode;
};

/* A sparse file. */
static int make(uint64_t size)
{
        static const struct peimage_section sections[] = {
                {.name = ".cmdline", .data = "quiet", .size = 5},
                {.name = ".initrd", .data = "initrd", .size = 6},
                {.name = ".linux", .data = "", .size = 1},
        };
        int fd = peimage_make(sections, ARRAY_SIZE(sections));

        assert_int_equal(peimage_raw_offset(fd, 2), LINUX_OFFSET);
        peimage_patch(fd, PEIMAGE_SECTION(2) + 8, 4, (uint32_t)(size - LINUX_OFFSET));
        peimage_patch(fd, PEIMAGE_SECTION(2) + 16, 4, (uint32_t)(size - LINUX_OFFSET));
        peimage_patch(fd, PEIMAGE_OPTIONAL + 56, 4, UINT32_MAX);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(file_pwrite(fd, "end", 3, size - 3), 0);
        return fd;
}

/* Exit statuses of the child: the check that failed. */
enum status {
        STATUS_GOOD,
        STATUS_SETUP,
        STATUS_READ,
        STATUS_PUSH,
        STATUS_END,
        STATUS_SIZE,
        STATUS_SHA256,
        STATUS_PCR11,
        STATUS_AUTHENTICODE,
        STATUS_LIMIT,
};

static bool is(const uint8_t digest[SHA256_SIZE], const char *expected)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(digest, SHA256_SIZE, hex);
        return strcmp(hex, expected) == 0;
}

/* One pass, as a verifier makes it. */
static enum status read_once(int fd, struct usi_reader *reader, struct authenticode_image *image)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t offset = 0;
        ssize_t n;

        if (!chunk)
                return STATUS_SETUP;
        while ((n = file_pread(fd, chunk, FILE_CHUNK, offset)) > 0) {
                if (usi_reader_push(reader, chunk, (size_t)n, NULL) < 0 ||
                    authenticode_image_push(image, chunk, (size_t)n, NULL) < 0)
                        return STATUS_PUSH;
                offset += (uint64_t)n;
        }
        return n < 0 ? STATUS_READ : STATUS_GOOD;
}

static enum status verify(int fd, const struct large *large)
{
        _cleanup_(usi_reader_free_p) struct usi_reader *reader = NULL;
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint8_t pcr[SHA256_SIZE];
        enum status status;

        if (usi_reader_new(LIMIT_IMAGE_SIZE, &reader) < 0 ||
            authenticode_image_new(AUTHENTICODE_MASK(AUTHENTICODE_SHA256), &image) < 0)
                return STATUS_SETUP;
        status = read_once(fd, reader, image);
        if (status != STATUS_GOOD)
                return status;
        if (usi_reader_finish(reader, &u, NULL) < 0 || authenticode_image_finish(image, NULL) < 0)
                return STATUS_END;
        if (usi_size(u) != large->size)
                return STATUS_SIZE;
        if (!is(usi_sha256(u), large->sha256))
                return STATUS_SHA256;
        if (usi_pcr11(u, "", pcr, NULL) < 0 || !is(pcr, large->pcr11))
                return STATUS_PCR11;
        if (!is(authenticode_image_digests(image)->value[AUTHENTICODE_SHA256], large->authenticode))
                return STATUS_AUTHENTICODE;
        return STATUS_GOOD;
}

/* A stream of so many bytes and one more is refused at that one. */
static enum status stream_beyond_limit(int fd, const struct large *large)
{
        _cleanup_(usi_reader_free_p) struct usi_reader *reader = NULL;
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        struct error e = ERROR_INIT;

        if (!chunk || usi_reader_new(UINT64_MAX, &reader) < 0)
                return STATUS_SETUP;
        for (uint64_t at = 0; at < large->size;) {
                ssize_t n = file_pread(fd, chunk, FILE_CHUNK, at);

                if (n <= 0)
                        return STATUS_READ;
                if (usi_reader_push(reader, chunk, (size_t)n, NULL) < 0)
                        return STATUS_PUSH;
                at += (uint64_t)n;
        }
        if (usi_reader_push(reader, "x", 1, &e) != -E2BIG || e.class != ERROR_REFUSED ||
            !strstr(e.text, "4294967295 bytes (4 GiB - 1"))
                return STATUS_LIMIT;
        return STATUS_GOOD;
}

static void in_child(enum status (*check)(int, const struct large *), const struct large *large)
{
        _cleanup_close_ int fd = make(large->size);
        struct rusage usage;
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit((int)check(fd, large));
        assert_int_equal(wait4(pid, &status, 0, &usage), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), STATUS_GOOD);
        print_message("%llu bytes with %ld KiB of memory\n", (unsigned long long)large->size,
                      usage.ru_maxrss);
        if (!SANITIZED)
                assert_in_range(usage.ru_maxrss, 1, MEMORY_KIB_MAX);
}

static const struct large beyond_31_bits = {
        .size = 2 * GIB + 1,
        .sha256 = "ae5e211ad13deef5a13665292b303e597af5a446d241303e68cb2c8fa32a7300",
        .pcr11 = "bfb4e8a6cbfe4768212f2d663a2165fc4ddb6172468ef2f92ef970c3cecd3814",
        .authenticode = "3b42c18d0edfa6afee456bb8254e32114692689858273fce569c17213696744a",
};

static const struct large largest = {
        .size = 4 * GIB - 1,
        .sha256 = "fca7fa1ae9c2275b271d08c02aa2827eb212f2398f40686102cab87e5ae9631a",
        .pcr11 = "da6b2185d5a1b47c196b82f43a79cea86cf901f3d6f2d3fc50b725c0131d698a",
        .authenticode = "e633d6981eeadfc6aa7a64d3b4372e24ce55dd3d24e67faa1d23d501ddc3a019",
};

static void test_beyond_31_bits(void **state)
{
        (void)state;
        in_child(verify, &beyond_31_bits);
}

static void test_largest(void **state)
{
        (void)state;
        in_child(verify, &largest);
}

static void test_stream_beyond_limit(void **state)
{
        (void)state;
        in_child(stream_beyond_limit, &largest);
}

/* Memory that the file has no bytes for is zeros, and measured as such. */
static void test_zeros_behind_the_bytes(void **state)
{
        static const struct peimage_section sections[] = {
                {.name = ".linux", .data = "kernel", .size = 6, .virtual_size = 2 * GIB + 1024},
        };
        _cleanup_close_ int fd = peimage_make(sections, 1);
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint8_t pcr[SHA256_SIZE];

        (void)state;
        assert_int_equal(usi_open(fd, &u, NULL), 0);
        assert_int_equal(usi_pcr11(u, "", pcr, NULL), 0);
        assert_true(is(pcr, "446a513f993e385dbd90e8fd6f1e0aa7009af5d1c968fc56b9e05a31716c695d"));
}

/* A file of 4 GiB is refused before a byte of it is read. */
static void test_too_large(void **state)
{
        _cleanup_close_ int fd = make(LIMIT_IMAGE_SIZE);
        struct error e = ERROR_INIT;
        struct usi *u = NULL;

        (void)state;
        assert_int_equal(ftruncate(fd, (off_t)(4 * GIB)), 0);
        assert_int_equal(usi_open(fd, &u, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_non_null(strstr(e.text, "4294967296 bytes, at most 4294967295 (4 GiB - 1"));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_beyond_31_bits),
                cmocka_unit_test(test_largest),
                cmocka_unit_test(test_stream_beyond_limit),
                cmocka_unit_test(test_zeros_behind_the_bytes),
                cmocka_unit_test(test_too_large),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
