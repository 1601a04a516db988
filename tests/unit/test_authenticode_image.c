/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/authenticode_image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "tests/support/peimage.h"
#include "tests/support/signing.h"

#define HEADERS 0x200u

/* The definition applied to a whole image in memory, in the words of the specification. */
static void reference_digest(const struct buf *image, const EVP_MD *md, uint8_t *ret)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        const uint8_t *p = image->data;
        uint32_t table = le32_at(p + PEIMAGE_SECURITY);
        uint32_t headers = le32_at(p + PEIMAGE_OPTIONAL + 60), sum = headers, last = 0;
        uint32_t end = table > 0 ? table : (uint32_t)image->len;

        assert_int_equal(EVP_DigestInit_ex(ctx, md, NULL), 1);
        EVP_DigestUpdate(ctx, p, PEIMAGE_CHECKSUM);
        EVP_DigestUpdate(ctx, p + PEIMAGE_CHECKSUM + 4, PEIMAGE_SECURITY - PEIMAGE_CHECKSUM - 4);
        EVP_DigestUpdate(ctx, p + PEIMAGE_SECURITY + 8, headers - PEIMAGE_SECURITY - 8);
        for (;;) {
                uint32_t best = UINT32_MAX, size = 0;

                for (unsigned i = 0; i < le16_at(p + PEIMAGE_COFF + 2); i++) {
                        const uint8_t *s = p + PEIMAGE_SECTION(i);

                        if (le32_at(s + 16) > 0 && le32_at(s + 20) > last &&
                            le32_at(s + 20) < best) {
                                best = le32_at(s + 20);
                                size = le32_at(s + 16);
                        }
                }
                if (best == UINT32_MAX)
                        break;
                EVP_DigestUpdate(ctx, p + best, size);
                sum += size;
                last = best;
        }
        EVP_DigestUpdate(ctx, p + sum, end - sum);
        assert_int_equal(EVP_DigestFinal_ex(ctx, ret, NULL), 1);
        EVP_MD_CTX_free(ctx);
}

static void expect_reference(const struct buf *image)
{
        static const size_t steps[] = {1, 3, 64, 511, 512, 513, 4096, 1 << 20};
        const EVP_MD *md[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};

        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL;
                const struct authenticode_digests *d;

                assert_int_equal(signing_read(image, steps[i], &a, NULL), 0);
                d = authenticode_image_digests(a);
                assert_int_equal(d->mask, AUTHENTICODE_MASK_ALL);
                assert_int_equal(authenticode_image_size(a), image->len);
                for (enum authenticode_hash h = 0; h < AUTHENTICODE_HASH_MAX; h++) {
                        uint8_t expected[EVP_MAX_MD_SIZE];

                        reference_digest(image, md[h], expected);
                        assert_memory_equal(d->value[h], expected, authenticode_hash_size(h));
                }
        }
}

/* Three sections out of order; gap bytes between them, rest bytes behind. */
static void lay_out(struct buf *image, uint32_t gap, uint32_t rest)
{
        static const struct peimage_section three[] = {
                {.name = ".a", .data = "aaaa", .size = 4},
                {.name = ".b", .data = "bbbb", .size = 4},
                {.name = ".c", .data = "cccc", .size = 4},
        };
        const unsigned order[] = {1, 2, 0};
        _cleanup_close_ int fd = peimage_make(three, 3);
        uint32_t at = HEADERS;
        uint8_t *p;

        assert_int_equal(buf_reserve(image, HEADERS + 3 * (512 + gap) + rest, &p), 0);
        assert_int_equal(file_pread(fd, p, HEADERS, 0), HEADERS);
        buf_commit(image, HEADERS);
        for (unsigned i = 0; i < 3; i++) {
                at += gap;
                put_le32(image->data + PEIMAGE_SECTION(order[i]) + 16, 512);
                put_le32(image->data + PEIMAGE_SECTION(order[i]) + 20, at);
                at += 512;
        }
        at += rest;
        for (uint32_t i = HEADERS; i < at; i++)
                image->data[i] = (uint8_t)(i * 31 + i / 256);
        image->len = at;
}

static void test_digests(void **state)
{
        static const uint32_t gaps[] = {0, 1, 100, 512, 700}, rests[] = {0, 1, 8, 1000, 3000};

        (void)state;
        for (size_t g = 0; g < ARRAY_SIZE(gaps); g++)
                for (size_t r = 0; r < ARRAY_SIZE(rests); r++) {
                        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);

                        lay_out(&image, gaps[g], rests[r]);
                        expect_reference(&image);
                        assert_int_equal(buf_add(&image, "12345678", -image.len % 8), 0);
                        signing_attach(&image, 2, "signature", 9);
                        expect_reference(&image);
                }
}

static void test_table(void **state)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL, *b = NULL;
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);

        (void)state;
        signing_image(&image);
        assert_int_equal(signing_read(&image, 100, &a, NULL), 0);
        assert_int_equal(authenticode_image_table(a)->len, 0);
        signing_attach(&image, 2, "one", 3);
        signing_attach(&image, 2, "two", 3);
        assert_int_equal(signing_read(&image, 100, &b, NULL), 0);
        assert_int_equal(authenticode_image_table(b)->len, 32);
        assert_memory_equal(authenticode_image_table(b)->data + 24, "two", 4);
}

static void test_table_not_aligned(void **state)
{
        struct authenticode_image *a = NULL;
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);

        (void)state;
        signing_image(&image);
        signing_attach(&image, 2, "12345678", 8);
        put_le32(image.data + PEIMAGE_SECURITY, (uint32_t)image.len - 12);
        put_le32(image.data + PEIMAGE_SECURITY + 4, 12);
        assert_int_equal(signing_read(&image, 100, &a, NULL), -EBADMSG);
}

static void test_from_descriptor(void **state)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL, *b = NULL;
        _cleanup_(buf_done) struct buf image = BUF_INIT(2 << 20);
        _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
        uint8_t *p;

        (void)state;
        lay_out(&image, 5, 0);
        /* Longer than one piece. */
        assert_int_equal(buf_reserve(&image, 700000, &p), 0);
        memset(p, 0x5a, 700000);
        buf_commit(&image, 700000);
        assert_int_equal(file_pwrite(fd, image.data, image.len, 0), 0);
        assert_int_equal(
                authenticode_image_read(fd, AUTHENTICODE_MASK(AUTHENTICODE_SHA256), &a, NULL), 0);
        assert_int_equal(signing_read(&image, 1000, &b, NULL), 0);
        assert_int_equal(authenticode_image_digests(a)->mask, 1);
        assert_memory_equal(authenticode_image_digests(a)->value[0],
                            authenticode_image_digests(b)->value[0], SHA256_SIZE);
}

/* PE32: two fields shorter, the same rules. */
static void test_pe32(void **state)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL;
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        uint8_t before[SHA256_SIZE];
        uint8_t *optional;

        (void)state;
        signing_image(&image);
        optional = image.data + PEIMAGE_OPTIONAL;
        put_le16(optional, 0x10b);
        put_le32(optional + 92, 16);
        put_le32(optional + 108, 0);
        assert_int_equal(signing_read(&image, 64, &a, NULL), 0);
        memcpy(before, authenticode_image_digests(a)->value[0], SHA256_SIZE);
        authenticode_image_free_p(&a);
        put_le32(optional + 96 + 4 * 8, 0xffffffff); /* an offset alone does not count */
        assert_int_equal(signing_read(&image, 64, &a, NULL), 0);
        assert_memory_equal(before, authenticode_image_digests(a)->value[0], SHA256_SIZE);
}

/* Without the directory entry nothing is skipped but the checksum, and nothing is signed. */
static void test_no_directory(void **state)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL, *b = NULL;
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);

        (void)state;
        signing_image(&image);
        put_le32(image.data + PEIMAGE_OPTIONAL + 108, 4);
        assert_int_equal(signing_read(&image, 64, &a, NULL), 0);
        put_le32(image.data + PEIMAGE_SECURITY, 8);
        put_le32(image.data + PEIMAGE_SECURITY + 4, 8);
        assert_int_equal(signing_read(&image, 64, &b, NULL), 0);
        assert_int_equal(authenticode_image_table(b)->len, 0);
        assert_memory_not_equal(authenticode_image_digests(a)->value[0],
                                authenticode_image_digests(b)->value[0], SHA256_SIZE);
}

static void test_refused(void **state)
{
        static const struct {
                const char *what;
                uint32_t offset;
                unsigned width;
                uint32_t value;
                int result;
        } table[] = {
                {"no MZ", 0, 2, 0x5a4e, -EBADMSG},
                {"PE header inside of the DOS header", 0x3c, 4, 32, -EBADMSG},
                {"PE header far away", 0x3c, 4, 0x7fffffff, -EBADMSG},
                {"no PE signature", PEIMAGE_PE, 4, 0x4551, -EBADMSG},
                {"small optional header", PEIMAGE_COFF + 16, 2, 111, -EBADMSG},
                {"optional header without its directories", PEIMAGE_COFF + 16, 2, 120, -EBADMSG},
                {"optional header beyond SizeOfHeaders", PEIMAGE_COFF + 16, 2, 0x1f0, -EBADMSG},
                {"magic", PEIMAGE_OPTIONAL, 2, 0x107, -EBADMSG},
                {"17 directories", PEIMAGE_OPTIONAL + 108, 4, 17, -EBADMSG},
                {"directories wrap", PEIMAGE_OPTIONAL + 108, 4, 0xffffffff, -EBADMSG},
                {"no sections", PEIMAGE_COFF + 2, 2, 0, -E2BIG},
                {"many sections", PEIMAGE_COFF + 2, 2, LIMIT_PE_SECTIONS + 1, -E2BIG},
                {"headers do not hold the table", PEIMAGE_OPTIONAL + 60, 4, 0x1a0, -EBADMSG},
                {"headers beyond the limit", PEIMAGE_OPTIONAL + 60, 4, 0x10001, -EBADMSG},
                {"headers beyond the file", PEIMAGE_OPTIONAL + 60, 4, 0x8000, -EBADMSG},
                {"section in the headers", PEIMAGE_SECTION(0) + 20, 4, 0x100, -EBADMSG},
                {"sections overlap", PEIMAGE_SECTION(1) + 20, 4, 0x300, -EBADMSG},
                {"section beyond the file", PEIMAGE_SECTION(1) + 16, 4, 0x10000, -EBADMSG},
                {"section of 4 GiB", PEIMAGE_SECTION(1) + 16, 4, 0xffffffff, -EBADMSG},
                {"table in a section", PEIMAGE_SECURITY, 4, 0x400, -EBADMSG},
                {"table without place", PEIMAGE_SECURITY, 4, 0, -EBADMSG},
                {"table too short", PEIMAGE_SECURITY + 4, 4, 8, -EBADMSG},
                {"table too long", PEIMAGE_SECURITY + 4, 4, 24, -EBADMSG},
                {"table beyond the limit", PEIMAGE_SECURITY + 4, 4, 0x100001, -E2BIG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
                struct authenticode_image *a = NULL;
                struct error e = ERROR_INIT;
                uint8_t bytes[4];
                int r;

                signing_image(&image);
                signing_attach(&image, 2, "12345678", 8);
                put_le32(bytes, table[i].value);
                memcpy(image.data + table[i].offset, bytes, table[i].width);
                r = signing_read(&image, 64, &a, &e);
                if (r != table[i].result)
                        fail_msg("%s: %d, %s", table[i].what, r, e.text);
                assert_int_equal(e.class, ERROR_REFUSED);
        }
}

/* What lies in gaps has to be remembered: a bounded amount, of however many bytes there are. */
static void test_gap_limit(void **state)
{
        (void)state;
        for (uint32_t over = 0; over < 2; over++) {
                _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL;
                _cleanup_(buf_done) struct buf image = BUF_INIT(2 << 20);
                uint32_t second = HEADERS + 512 + (uint32_t)LIMIT_PE_GAPS + over;
                uint8_t *p;

                signing_image(&image);
                put_le32(image.data + PEIMAGE_SECTION(1) + 20, second);
                assert_int_equal(buf_reserve(&image, 1500000, &p), 0);
                memset(p, 0x77, 1500000);
                buf_commit(&image, 1500000);
                assert_int_equal(signing_read(&image, 1000, &a, NULL), over ? -E2BIG : 0);
        }
}

static void test_cut_short(void **state)
{
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        size_t whole;

        (void)state;
        lay_out(&image, 100, 0);
        whole = image.len;
        for (image.len = 0; image.len < whole; image.len++) {
                struct authenticode_image *a = NULL;

                assert_int_equal(signing_read(&image, 512, &a, NULL), -EBADMSG);
                assert_null(a);
        }
}

/* More than FAT32 holds; nothing of it is stored. */
static void test_size_limit(void **state)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *a = NULL;
        _cleanup_(buf_done) struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);
        static uint8_t piece[16 << 20];
        struct error e = ERROR_INIT;
        uint64_t size;

        (void)state;
        signing_image(&image);
        assert_int_equal(authenticode_image_new(AUTHENTICODE_MASK(AUTHENTICODE_SHA256), &a), 0);
        assert_int_equal(authenticode_image_push(a, image.data, image.len, &e), 0);
        /* The bound itself is arithmetic; a piece that would cross it is enough. */
        size = image.len + sizeof(piece);
        assert_int_equal(authenticode_image_push(a, piece, sizeof(piece), &e), 0);
        assert_int_equal(
                authenticode_image_push(a, piece, (size_t)(LIMIT_IMAGE_SIZE - size + 1), &e),
                -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
}

static void test_masks(void **state)
{
        struct authenticode_image *a = NULL;

        (void)state;
        assert_int_equal(authenticode_image_new(0, &a), -EINVAL);
        assert_int_equal(authenticode_image_new(8, &a), -EINVAL);
        assert_null(a);
        authenticode_image_free(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_digests),
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_table_not_aligned),
                cmocka_unit_test(test_from_descriptor),
                cmocka_unit_test(test_pe32),
                cmocka_unit_test(test_no_directory),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_cut_short),
                cmocka_unit_test(test_gap_limit),
                cmocka_unit_test(test_size_limit),
                cmocka_unit_test(test_masks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
