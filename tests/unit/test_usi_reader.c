/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/usi_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "tests/support/peimage.h"

#define TEXT(section, text)                                                                        \
        {                                                                                          \
                .name = (section), .data = (text), .size = sizeof(text) - 1                        \
        }
#define MAGIC(version) TEXT(".sdmagic", "#### LoaderInfo: systemd-stub " version " ####")
#define IMAGE_MAX (64 * KIB)

/* An image in memory, so that it can be pushed in any pieces. */
struct image {
        uint8_t data[IMAGE_MAX];
        size_t n;
};

static void load(int fd, struct image *ret)
{
        ssize_t n = file_pread(fd, ret->data, sizeof(ret->data), 0);

        assert_true(n >= 0 && (size_t)n < sizeof(ret->data));
        ret->n = (size_t)n;
}

/* How many bytes the next push gets. */
typedef size_t (*piece)(void *ctx);

static int push_all(const struct image *image, uint64_t max_size, piece next, void *ctx,
                    struct usi **ret, struct error *e)
{
        _cleanup_(usi_reader_free_p) struct usi_reader *reader = NULL;
        int r;

        assert_int_equal(usi_reader_new(max_size, &reader), 0);
        for (size_t at = 0; at < image->n;) {
                /* A copy of its own, so that reading beyond it is noticed. */
                size_t n = next(ctx) < image->n - at ? next(ctx) : image->n - at;
                _cleanup_free_ uint8_t *copy = malloc(n > 0 ? n : 1);

                assert_non_null(copy);
                memcpy(copy, image->data + at, n);
                r = usi_reader_push(reader, copy, n, e);
                if (r < 0) {
                        assert_int_equal(usi_reader_push(reader, copy, n, NULL), -EINVAL);
                        assert_int_equal(usi_reader_finish(reader, ret, NULL), -EINVAL);
                        return r;
                }
                at += n;
        }
        r = usi_reader_finish(reader, ret, e);
        assert_int_equal(usi_reader_push(reader, "x", 1, NULL), -EINVAL);
        return r;
}

static size_t fixed(void *ctx)
{
        return *(const size_t *)ctx;
}

static int push_fixed(const struct image *image, size_t size, struct usi **ret, struct error *e)
{
        return push_all(image, LIMIT_IMAGE_SIZE, fixed, &size, ret, e);
}

struct random {
        uint32_t state;
        unsigned calls;
};

/* Small pieces most of the time, now and then a large or an empty one. Called twice per piece. */
static size_t random_size(void *ctx)
{
        struct random *random = ctx;

        if (random->calls++ % 2 == 0)
                random->state = random->state * 1664525u + 1013904223u;
        switch (random->state >> 29) {
        case 0:
                return 0;
        case 1:
                return (random->state >> 8) % 5000;
        default:
                return (random->state >> 8) % 100;
        }
}

static void same_content(const struct buf *a, const struct buf *b)
{
        assert_int_equal(a == NULL, b == NULL);
        if (!a)
                return;
        assert_int_equal(a->len, b->len);
        assert_memory_equal(a->data, b->data, a->len);
}

static void same_text(const char *a, const char *b)
{
        assert_int_equal(a == NULL, b == NULL);
        if (a)
                assert_string_equal(a, b);
}

static void same(const struct usi *a, const struct usi *b)
{
        assert_int_equal(usi_size(a), usi_size(b));
        assert_memory_equal(usi_sha256(a), usi_sha256(b), SHA256_SIZE);
        assert_int_equal(usi_profiles(a), usi_profiles(b));
        assert_int_equal(usi_stub_version(a), usi_stub_version(b));
        assert_memory_equal(pe_header(usi_pe(a)), pe_header(usi_pe(b)), sizeof(struct pe_header));
        same_text(usi_cmdline(a), usi_cmdline(b));
        same_text(usi_kernel_version(a), usi_kernel_version(b));
        same_text(usi_image_version(a), usi_image_version(b));
        for (unsigned profile = 0; profile < 3; profile++) {
                uint8_t x[SHA256_SIZE] = {0}, y[SHA256_SIZE] = {0};

                assert_int_equal(usi_pcr11_profile(a, profile, "enter-initrd", x, NULL),
                                 usi_pcr11_profile(b, profile, "enter-initrd", y, NULL));
                assert_memory_equal(x, y, SHA256_SIZE);
                for (unsigned k = 0; k < USI_SECTION_MAX; k++)
                        same_content(usi_content(a, profile, (enum usi_section)k),
                                     usi_content(b, profile, (enum usi_section)k));
        }
}

/* A second opinion: the values the stub would extend, given as a list of (name, content). */
struct extend {
        const char *name;
        const void *data;
        size_t n;
};

static void expect_pcr11(const struct usi *u, unsigned profile, const struct extend *list, size_t n)
{
        uint8_t both[2 * SHA256_SIZE] = {0}, pcr[SHA256_SIZE];

        for (size_t i = 0; i < n; i++) {
                assert_int_equal(sha256(list[i].name, strlen(list[i].name) + 1, both + 32), 0);
                assert_int_equal(sha256(both, sizeof(both), both), 0);
                assert_int_equal(sha256(list[i].data, list[i].n, both + 32), 0);
                assert_int_equal(sha256(both, sizeof(both), both), 0);
        }
        assert_int_equal(usi_pcr11_profile(u, profile, "", pcr, NULL), 0);
        assert_memory_equal(pcr, both, SHA256_SIZE);
}

/* An image with every oddity that is allowed: file order is not table order, zeros behind the bytes
 * of the file, padding that does not count, a section without bytes, foreign sections, a gap, bytes
 * behind the sections, a certificate table. */
static int make_rich(void)
{
        static const uint8_t kernel[5000] = "kernel";
        static const struct peimage_section sections[] = {
                TEXT(".text", "code of the stub"),
                MAGIC("257.1"),
                {.name = ".initrd", .data = "initrd", .size = 6, .virtual_size = 9000},
                TEXT(".osrel", "IMAGE_ID=demo\nIMAGE_VERSION=7\n"),
                TEXT(".cmdline", "6.1.0-1"),
                TEXT(".uname", "quiet\n"),
                {.name = ".pcrsig", .data = "{}xx", .size = 4, .virtual_size = 2},
                TEXT(".sbat", "sbat,1,x\n"),
                {.name = ".hwids", .virtual_size = 700},
                {.name = ".linux", .data = kernel, .size = sizeof(kernel)},
                TEXT(".foreign", "foreign"),
                TEXT(".pcrpkey", "key"),
        };
        int fd = peimage_make(sections, ARRAY_SIZE(sections));
        uint32_t a = peimage_raw_offset(fd, 4), b = peimage_raw_offset(fd, 5);
        uint32_t last = peimage_raw_offset(fd, 11);

        peimage_patch(fd, PEIMAGE_SECTION(4) + 20, 4, b);
        peimage_patch(fd, PEIMAGE_SECTION(5) + 20, 4, a);
        /* As many bytes count as before: the texts have different sizes. */
        peimage_patch(fd, PEIMAGE_SECTION(4) + 8, 4, 6);
        peimage_patch(fd, PEIMAGE_SECTION(5) + 8, 4, 7);
        /* Nothing is at this place, as linkers write it. */
        peimage_patch(fd, PEIMAGE_SECTION(8) + 20, 4, 0);
        peimage_patch(fd, PEIMAGE_SECTION(11) + 20, 4, last + 1024);
        assert_int_equal(file_pwrite(fd, "moved", 5, last + 1024), 0);
        assert_int_equal(ftruncate(fd, last + 2048 + 16), 0);
        peimage_patch(fd, PEIMAGE_SECURITY, 4, last + 2048);
        peimage_patch(fd, PEIMAGE_SECURITY + 4, 4, 16);
        peimage_patch(fd, last + 2048, 4, 0x12345678);
        return fd;
}

static void test_facts(void **state)
{
        static const uint8_t kernel[5000] = "kernel", initrd[9000] = "initrd", hwids[700];
        static const struct extend expected[] = {
                {".linux", kernel, sizeof(kernel)},
                {".osrel", "IMAGE_ID=demo\nIMAGE_VERSION=7\n", 30},
                {".cmdline", "quiet\n", 6},
                {".initrd", initrd, sizeof(initrd)},
                {".uname", "6.1.0-1", 7},
                {".sbat", "sbat,1,x\n", 9},
                {".pcrpkey", "mov", 3},
                {".hwids", hwids, sizeof(hwids)},
        };
        _cleanup_close_ int fd = make_rich();
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint8_t digest[SHA256_SIZE];
        struct image image;
        uint64_t size;

        (void)state;
        load(fd, &image);
        assert_int_equal(push_fixed(&image, image.n, &u, NULL), 0);
        assert_int_equal(digest_fd(fd, digest, &size), 0);
        assert_int_equal(usi_size(u), size);
        assert_int_equal(pe_header(usi_pe(u))->file_size, size);
        assert_memory_equal(usi_sha256(u), digest, SHA256_SIZE);
        expect_pcr11(u, 0, expected, ARRAY_SIZE(expected));
        assert_string_equal(usi_cmdline(u), "quiet");
        assert_string_equal(usi_kernel_version(u), "6.1.0-1");
        assert_string_equal(usi_image_version(u), "7");
        assert_int_equal(usi_stub_version(u), 257);
        assert_int_equal(usi_pcrsig(u)->len, 2);
        assert_int_equal(usi_sbat(u)->len, 9);
        assert_memory_equal(usi_sbat(u)->data, "sbat,1,x\n", 9);
        assert_null(usi_content(u, 0, USI_LINUX));
        assert_null(usi_content(u, 0, USI_INITRD));
        assert_null(usi_content(u, 1, USI_SBAT));
        assert_int_equal(pe_fd(usi_pe(u)), -EBADF);
}

static void test_splits(void **state)
{
        _cleanup_close_ int fd = make_rich();
        _cleanup_(usi_free_p) struct usi *whole = NULL, *file = NULL;
        struct image image;

        (void)state;
        load(fd, &image);
        assert_int_equal(push_fixed(&image, image.n, &whole, NULL), 0);
        assert_int_equal(usi_open(fd, &file, NULL), 0);
        same(whole, file);
        for (size_t size = 1; size < 1200; size = size < 70 ? size + 1 : size * 5 / 4) {
                _cleanup_(usi_free_p) struct usi *u = NULL;

                assert_int_equal(push_fixed(&image, size, &u, NULL), 0);
                same(whole, u);
        }
        for (uint32_t seed = 0; seed < 300; seed++) {
                _cleanup_(usi_free_p) struct usi *u = NULL;
                struct random random = {.state = seed};

                assert_int_equal(push_all(&image, LIMIT_IMAGE_SIZE, random_size, &random, &u, NULL),
                                 0);
                same(whole, u);
        }
}

/* Cut anywhere, the image is refused; also with a byte too much. */
static void test_truncated(void **state)
{
        _cleanup_close_ int fd = make_rich();
        struct image image;
        size_t size;

        (void)state;
        load(fd, &image);
        size = image.n;
        for (image.n = 0; image.n <= size + 1; image.n++) {
                struct usi *u = NULL;
                struct error e = ERROR_INIT;

                if (image.n == size)
                        continue;
                assert_int_equal(push_fixed(&image, image.n > 0 ? image.n : 1, &u, &e), -EBADMSG);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_null(u);
        }
}

/* A refusal says the same whether the bytes come from a file, at once, or one by one. */
static void test_refusals(void **state)
{
        static char big[LIMIT_CMDLINE + 1];
        static const struct {
                const char *what;
                struct peimage_section sections[2];
                uint64_t offset;
                unsigned width;
                uint32_t value;
                int result;
        } table[] = {
                {"no PE", {TEXT(".linux", "1"), TEXT(".x", "2")}, PEIMAGE_PE, 4, 0, -EBADMSG},
                {"driver",
                 {TEXT(".linux", "1"), TEXT(".x", "2")},
                 PEIMAGE_OPTIONAL + 68,
                 2,
                 11,
                 -EBADMSG},
                {"overlap",
                 {TEXT(".linux", "1"), TEXT(".x", "2")},
                 PEIMAGE_SECTION(1) + 20,
                 4,
                 0x3ff,
                 -EBADMSG},
                {"behind the end",
                 {TEXT(".linux", "1"), TEXT(".x", "2")},
                 PEIMAGE_SECTION(1) + 20,
                 4,
                 0x401,
                 -EBADMSG},
                {"no kernel", {TEXT(".x", "1"), TEXT(".y", "2")}, 0, 1, 'M', -EBADMSG},
                {"twice", {TEXT(".linux", "1"), TEXT(".linux", "2")}, 0, 1, 'M', -EBADMSG},
                {"confusing", {TEXT(".linux", "1"), TEXT(".initrd2", "2")}, 0, 1, 'M', -EBADMSG},
                {"os-release", {TEXT(".linux", "1"), TEXT(".osrel", "A=$x")}, 0, 1, 'M', -EBADMSG},
                {"NUL in the command line",
                 {TEXT(".linux", "1"), TEXT(".cmdline", "a\0b")},
                 0,
                 1,
                 'M',
                 -EBADMSG},
                {"command line too long",
                 {TEXT(".linux", "1"), {.name = ".cmdline", .data = big, .size = sizeof(big)}},
                 0,
                 1,
                 'M',
                 -E2BIG},
                {"half a certificate entry",
                 {TEXT(".linux", "1"), {.name = ".x", .data = big, .size = 0}},
                 PEIMAGE_SECURITY,
                 1,
                 0xf8,
                 -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_close_ int fd = peimage_make(table[i].sections, 2);
                struct error file = ERROR_INIT, once = ERROR_INIT, bytes = ERROR_INIT;
                struct usi *u = NULL;
                struct image image;

                peimage_patch(fd, table[i].offset, table[i].width, table[i].value);
                load(fd, &image);
                if (usi_open(fd, &u, &file) != table[i].result)
                        fail_msg("%s: %s", table[i].what, file.text);
                assert_int_equal(push_fixed(&image, image.n, &u, &once), table[i].result);
                assert_int_equal(push_fixed(&image, 1, &u, &bytes), table[i].result);
                assert_int_equal(file.class, ERROR_REFUSED);
                assert_string_equal(once.text, file.text);
                assert_string_equal(bytes.text, file.text);
                assert_null(u);
        }
}

/* More than was announced is refused, whatever it is. */
static void test_announced_size(void **state)
{
        static const struct peimage_section sections[] = {TEXT(".linux", "1")};
        _cleanup_close_ int fd = peimage_make(sections, 1);
        _cleanup_(usi_free_p) struct usi *u = NULL;
        struct error e = ERROR_INIT;
        struct image image;
        size_t one = 1;

        (void)state;
        assert_int_equal(ftruncate(fd, 0x1000), 0);
        load(fd, &image);
        assert_int_equal(push_all(&image, 0xfff, fixed, &one, &u, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_non_null(strstr(e.text, "4095"));
        assert_int_equal(push_all(&image, 0, fixed, &one, &u, NULL), -E2BIG);
        assert_int_equal(push_all(&image, 0x1000, fixed, &one, &u, &e), 0);
}

/* The position and the later content of the file do not matter: nothing is read again. */
static void test_reads_once(void **state)
{
        _cleanup_close_ int fd = make_rich();
        _cleanup_(usi_free_p) struct usi *before = NULL, *after = NULL;

        (void)state;
        assert_int_equal(usi_open(fd, &before, NULL), 0);
        assert_int_equal(usi_open(fd, &after, NULL), 0);
        assert_int_equal(pe_fd(usi_pe(after)), fd);
        assert_int_equal(ftruncate(fd, 0), 0);
        same(before, after);
}

static void test_not_a_file(void **state)
{
        _cleanup_close_ int fd = file_open_dir(-1, "/");
        struct usi *u = NULL;

        (void)state;
        assert_int_equal(usi_open(fd, &u, NULL), -EBADMSG);
}

/* --- kernel version --- */

#define SETUP_SIZE 0xb00u

/* A kernel whose setup code has two sectors, with its version text at the given place. */
static void make_kernel(uint8_t kernel[SETUP_SIZE], const char *text, size_t at)
{
        memset(kernel, 0, SETUP_SIZE);
        kernel[0x1f1] = 2;
        memcpy(kernel + 0x202, "HdrS", 4);
        put_le16(kernel + 0x206, 0x20f);
        put_le16(kernel + 0x20e, (uint16_t)(at - 0x200));
        memcpy(kernel + at, text, strlen(text));
}

/* What is said of this kernel, NULL or borrowed from *ret. */
static const char *version_of(const uint8_t *kernel, size_t n, const char *uname, struct usi **ret)
{
        struct peimage_section sections[] = {
                {.name = ".linux", .data = kernel, .size = n},
                {.name = ".uname", .data = uname, .size = uname ? strlen(uname) : 0},
        };
        _cleanup_close_ int fd = peimage_make(sections, 2);
        struct image image;

        load(fd, &image);
        usi_free(*ret);
        *ret = NULL;
        assert_int_equal(push_fixed(&image, 7, ret, NULL), 0);
        return usi_kernel_version(*ret);
}

static void test_kernel_version(void **state)
{
        char longest[LIMIT_UNAME + 2], *end = longest + LIMIT_KERNEL_RELEASE;
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint8_t kernel[SETUP_SIZE];

        (void)state;
        make_kernel(kernel, "6.1.0-28-amd64 (debian) #1 SMP", 0x300);
        assert_string_equal(version_of(kernel, SETUP_SIZE, NULL, &u), "6.1.0-28-amd64");
        assert_string_equal(version_of(kernel, 0x304, NULL, &u), "6.1.");
        assert_string_equal(version_of(kernel, SETUP_SIZE, "6.2\n", &u), "6.2");
        assert_string_equal(version_of(kernel, SETUP_SIZE, "6.2", &u), "6.2");
        assert_string_equal(version_of(kernel, SETUP_SIZE, "\n", &u), "6.1.0-28-amd64");
        assert_string_equal(version_of(kernel, SETUP_SIZE, "6\033[31m", &u), "6.1.0-28-amd64");
        memset(longest, '9', sizeof(longest));
        longest[LIMIT_UNAME + 1] = '\0';
        assert_string_equal(version_of(kernel, SETUP_SIZE, longest, &u), "6.1.0-28-amd64");
        assert_null(usi_content(u, 0, USI_UNAME));
        end[1] = '\0';
        assert_string_equal(version_of(kernel, SETUP_SIZE, longest, &u), "6.1.0-28-amd64");
        assert_int_equal(usi_content(u, 0, USI_UNAME)->len, LIMIT_KERNEL_RELEASE + 1);
        end[0] = '\0';
        assert_string_equal(version_of(kernel, SETUP_SIZE, longest, &u), longest);
}

/* A header that is none, or points to where no text can be. */
static void test_no_kernel_version(void **state)
{
        static const struct {
                const char *what;
                size_t offset;
                unsigned value;
                size_t size;
        } table[] = {
                {"no magic", 0x202, 0x4848, SETUP_SIZE},
                {"protocol before 2.00", 0x206, 0x1ff, SETUP_SIZE},
                {"no text", 0x20e, 0, SETUP_SIZE},
                {"text behind the setup code", 0x20e, 0x400, SETUP_SIZE},
                {"text far behind it", 0x20e, 0xffff, SETUP_SIZE},
                {"setup code of one sector", 0x1f1, 0x0001, SETUP_SIZE},
                {"kernel ends at the text", 0x206, 0x20f, 0x480},
                {"kernel ends before the text", 0x206, 0x20f, 0x400},
                {"kernel ends in the header", 0x206, 0x20f, 0x20f},
                {"control characters", 0x480, 0x0707, SETUP_SIZE},
                {"nothing there", 0x480, 0, SETUP_SIZE},
        };
        _cleanup_(usi_free_p) struct usi *u = NULL;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint8_t kernel[SETUP_SIZE];

                make_kernel(kernel, "6.1.0", 0x480);
                assert_string_equal(version_of(kernel, SETUP_SIZE, NULL, &u), "6.1.0");
                put_le16(kernel + table[i].offset, (uint16_t)table[i].value);
                if (version_of(kernel, table[i].size, NULL, &u))
                        fail_msg("%s: %s", table[i].what, usi_kernel_version(u));
        }
}

/* The field that says how long the setup code is has a default; the one that says where the text is
 * has none. */
static void test_kernel_defaults(void **state)
{
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint8_t kernel[SETUP_SIZE];

        (void)state;
        make_kernel(kernel, "6.1.0", 0x9f0);
        assert_null(version_of(kernel, SETUP_SIZE, NULL, &u));
        kernel[0x1f1] = 0;
        assert_string_equal(version_of(kernel, SETUP_SIZE, NULL, &u), "6.1.0");
        make_kernel(kernel, "6.1.0", 0xa00);
        kernel[0x1f1] = 0;
        assert_null(version_of(kernel, SETUP_SIZE, NULL, &u));
        kernel[0x1f1] = 255;
        put_le16(kernel + 0x20e, 0x7000); /* behind all there is */
        assert_null(version_of(kernel, SETUP_SIZE, NULL, &u));
        make_kernel(kernel, "jj", 0x200);
        memcpy(kernel + 0x206, " ", 1); /* protocol 2.32: the bytes from 0x200 on are a word */
        assert_null(version_of(kernel, SETUP_SIZE, NULL, &u));
}

/* --- profiles --- */

/* Base, and three profiles: one of its own texts, one that adds nothing, one that drops .splash. */
static const struct peimage_section profiles[] = {
        MAGIC("257.13-1~deb13u1"),
        TEXT(".linux", "1"),
        TEXT(".osrel", "IMAGE_VERSION=2"),
        TEXT(".cmdline", "base"),
        TEXT(".splash", "5"),
        TEXT(".pcrsig", "sig base"),
        TEXT(".profile", "ID=main"),
        TEXT(".cmdline", "main"),
        TEXT(".pcrsig", "sig main"),
        TEXT(".profile", "ID=same"),
        TEXT(".profile", "ID=other"),
        TEXT(".splash", ""),
        TEXT(".initrd", "4"),
        TEXT(".pcrsig", "sig other"),
};

static void open_profiles(const struct peimage_section *sections, unsigned n, struct usi **ret)
{
        _cleanup_close_ int fd = peimage_make(sections, n);

        assert_int_equal(usi_open(fd, ret, NULL), 0);
}

static void test_profiles(void **state)
{
        static const struct extend expected[3][6] = {
                {{".linux", "1", 1},
                 {".osrel", "IMAGE_VERSION=2", 15},
                 {".cmdline", "main", 4},
                 {".splash", "5", 1},
                 {".profile", "ID=main", 7}},
                {{".linux", "1", 1},
                 {".osrel", "IMAGE_VERSION=2", 15},
                 {".cmdline", "base", 4},
                 {".splash", "5", 1},
                 {".profile", "ID=same", 7}},
                {{".linux", "1", 1},
                 {".osrel", "IMAGE_VERSION=2", 15},
                 {".cmdline", "base", 4},
                 {".initrd", "4", 1},
                 {".profile", "ID=other", 8}},
        };
        static const char *const signatures[] = {"sig main", "sig base", "sig other"};
        _cleanup_(usi_free_p) struct usi *u = NULL;
        uint8_t a[SHA256_SIZE], b[SHA256_SIZE];

        (void)state;
        open_profiles(profiles, ARRAY_SIZE(profiles), &u);
        assert_int_equal(usi_profiles(u), 3);
        for (unsigned i = 0; i < 3; i++) {
                expect_pcr11(u, i, expected[i], 5);
                assert_string_equal(buf_str(usi_content(u, i, USI_PCRSIG)), signatures[i]);
        }
        assert_int_equal(usi_pcr11_profile(u, 3, "", a, NULL), -EINVAL);
        assert_null(usi_content(u, 3, USI_PCRSIG));
        assert_int_equal(usi_pcr11(u, "enter-initrd", a, NULL), 0);
        assert_int_equal(usi_pcr11_profile(u, 0, "enter-initrd", b, NULL), 0);
        assert_memory_equal(a, b, SHA256_SIZE);
        assert_string_equal(usi_cmdline(u), "main");
        assert_string_equal(buf_str(usi_pcrsig(u)), "sig main");
        assert_ptr_equal(usi_section(u, USI_CMDLINE), pe_section_at(usi_pe(u), 7));
        assert_null(usi_section(u, USI_INITRD));
}

/* What profile 0 brings along makes the image whole, and what another one needs does not hurt. */
static void test_profile_sections(void **state)
{
        static const struct peimage_section late[] = {MAGIC("258"), TEXT(".profile", "ID=x"),
                                                      TEXT(".linux", "1")};
        static const struct peimage_section hardware[] = {
                MAGIC("258"),           TEXT(".linux", "1"),    TEXT(".profile", "ID=x"),
                TEXT(".profile", "ID"), TEXT(".dtbauto", "d1"), TEXT(".dtbauto", "d2")};
        static const struct peimage_section twice[] = {
                MAGIC("258"), TEXT(".linux", "1"), TEXT(".profile", "ID=x"), TEXT(".cmdline", "1"),
                TEXT(".cmdline", "2")};
        _cleanup_(usi_free_p) struct usi *u = NULL, *v = NULL;
        _cleanup_close_ int fd = peimage_make(twice, ARRAY_SIZE(twice));
        struct usi *none = NULL;
        uint8_t pcr[SHA256_SIZE];

        (void)state;
        open_profiles(late, ARRAY_SIZE(late), &u);
        assert_int_equal(usi_pcr11(u, "", pcr, NULL), 0);
        open_profiles(hardware, ARRAY_SIZE(hardware), &v);
        assert_int_equal(usi_pcr11_profile(v, 0, "", pcr, NULL), 0);
        assert_int_equal(usi_pcr11_profile(v, 1, "", pcr, NULL), -EOPNOTSUPP);
        assert_int_equal(usi_open(fd, &none, NULL), -EBADMSG);
}

/* A stub that does not know profiles takes other sections, and one may not be what it seems. */
static void test_profile_stubs(void **state)
{
        static const struct {
                struct peimage_section stub;
                int result;
                const char *text;
        } table[] = {
                {MAGIC("257"), 0, ""},
                {MAGIC("256"), -EOPNOTSUPP, "the image has 256"},
                {MAGIC("x"), -EOPNOTSUPP, "does not tell"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct peimage_section sections[] = {table[i].stub, TEXT(".linux", "1"),
                                                     TEXT(".profile", "")};
                _cleanup_(usi_free_p) struct usi *u = NULL;
                struct error e = ERROR_INIT;
                uint8_t pcr[SHA256_SIZE];

                open_profiles(sections, ARRAY_SIZE(sections), &u);
                assert_int_equal(usi_pcr11(u, "", pcr, &e), table[i].result);
                assert_non_null(strstr(e.text, table[i].text));
        }
}

/* Each of the small sections is within its limit, but all together are not. */
static void test_content_is_bounded(void **state)
{
        static uint8_t big[LIMIT_PCRSIG];
        struct peimage_section sections[2 + 2 * 17] = {MAGIC("258"), TEXT(".linux", "1")};
        struct usi *u = NULL;

        (void)state;
        for (unsigned i = 0; i < 17; i++) {
                sections[2 + 2 * i] = (struct peimage_section)TEXT(".profile", "");
                sections[3 + 2 * i] = (struct peimage_section){
                        .name = ".pcrsig", .data = big, .size = sizeof(big)};
        }
        for (unsigned n = 16; n <= 17; n++) {
                _cleanup_close_ int fd = peimage_make(sections, 2 + 2 * n);
                struct error e = ERROR_INIT;

                assert_int_equal(usi_open(fd, &u, &e), n == 16 ? 0 : -E2BIG);
                usi_free(u);
                u = NULL;
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_facts),
                cmocka_unit_test(test_splits),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_announced_size),
                cmocka_unit_test(test_reads_once),
                cmocka_unit_test(test_not_a_file),
                cmocka_unit_test(test_kernel_version),
                cmocka_unit_test(test_no_kernel_version),
                cmocka_unit_test(test_kernel_defaults),
                cmocka_unit_test(test_profiles),
                cmocka_unit_test(test_profile_sections),
                cmocka_unit_test(test_profile_stubs),
                cmocka_unit_test(test_content_is_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
