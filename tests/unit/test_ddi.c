/* SPDX-License-Identifier: Apache-2.0 */
/* partition/ddi, verity: a signed disk image is what was signed, and a hostile one stays within its
 * bounds. That systemd-repart makes such images, and that the kernel reads them, vm-tests says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/num.h"
#include "partition/ddi.h"
#include "partition/verity.h"
#include "tests/support/ddi.h"
#include "tests/unit/scratch.h"

#define BLOCK 4096u

struct world {
        struct scratch dir;
        struct signing_identity ours, foreign;
        struct buf certificates;
        struct ddi_made made;
        struct ddi ddi;
        uint8_t root_hash[SHA256_SIZE];
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->dir);
        w->certificates = (struct buf)BUF_INIT(65536);
        w->made = (struct ddi_made)DDI_MADE_INIT;
        ddi_identity(&w->ours, "ours");
        ddi_identity(&w->foreign, "foreign");
        ddi_certificate(&w->ours, &w->certificates);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        signing_drop(&w->ours);
        signing_drop(&w->foreign);
        buf_done(&w->certificates);
        ddi_done(&w->made);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

static void make(struct world *w, struct ddi_how how)
{
        how.id = how.id ?: &w->ours;
        ddi_make(w->dir.path, &how, &w->made);
}

static int put(struct world *w)
{
        scratch_put(&w->dir, "image", w->made.image.data, w->made.image.len);
        return openat(w->dir.fd, "image", O_RDONLY | O_CLOEXEC);
}

static int read_table(struct world *w)
{
        _cleanup_close_ int fd = put(w);

        return ddi_read(fd, w->made.image.len, &w->ddi, &w->e);
}

static int check_signature(struct world *w)
{
        _cleanup_close_ int fd = put(w);

        assert_int_equal(ddi_read(fd, w->made.image.len, &w->ddi, &w->e), 0);
        return ddi_check_signature(fd, &w->ddi, w->certificates.data, w->certificates.len,
                                   w->root_hash, &w->e);
}

static int check_tree(struct world *w)
{
        _cleanup_close_ int fd = put(w);

        assert_int_equal(ddi_read(fd, w->made.image.len, &w->ddi, &w->e), 0);
        return verity_check(fd, &w->ddi, w->made.root_hash, &w->e);
}

/* --- good ones --- */

static void a_good_one_is_proven(void **state)
{
        static const size_t blocks[] = {1, 2, 127, 128, 129, 200, 1000};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
                make(w, (struct ddi_how){.blocks = blocks[i], .usr = i % 2 == 1});
                assert_int_equal(check_signature(w), 0);
                assert_memory_equal(w->root_hash, w->made.root_hash, SHA256_SIZE);
                assert_int_equal(check_tree(w), 0);
                assert_int_equal(w->ddi.usr, i % 2 == 1);
                assert_int_equal(w->ddi.data.offset, DDI_DATA);
                assert_int_equal(w->ddi.data.size, blocks[i] * BLOCK);
        }
}

static void blocks_have_many_sizes(void **state)
{
        static const uint32_t sizes[] = {512, 1024, 2048, 4096};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(sizes) * ARRAY_SIZE(sizes); i++) {
                make(w, (struct ddi_how){.blocks = 65,
                                         .data_block = sizes[i % ARRAY_SIZE(sizes)],
                                         .hash_block = sizes[i / ARRAY_SIZE(sizes)]});
                assert_int_equal(check_tree(w), 0);
                w->made.image.data[w->made.verity - 1] ^= 1;
                assert_int_equal(check_tree(w), -EBADMSG);
        }
}

/* --- tables --- */

static uint8_t *entry(struct world *w, unsigned i)
{
        return w->made.image.data + DDI_ENTRIES + (size_t)i * DDI_ENTRY;
}

static void set_u64(uint8_t *p, uint64_t v)
{
        put_le32(p, (uint32_t)v);
        put_le32(p + 4, (uint32_t)(v >> 32));
}

static void expect_refused_table(struct world *w, const char *why)
{
        ddi_repair(&w->made.image);
        assert_int_equal(read_table(w), -EBADMSG);
        assert_int_equal(w->e.class, ERROR_REFUSED);
        if (!strstr(w->e.text, why))
                fail_msg("\"%s\", not: %s", w->e.text, why);
}

static void tables_have_bounds(void **state)
{
        static const struct {
                unsigned entry, field;
                uint64_t value;
                const char *why;
        } cases[] = {
                {0, 40, UINT64_MAX, "does not lie inside"},
                {0, 40, UINT64_MAX / 512, "does not lie inside"},
                {0, 32, UINT64_MAX, "does not lie inside"},
                {1, 40, 1u << 30, "does not lie inside"},
                {0, 32, 2, "does not lie inside"},      /* in the table itself */
                {1, 32, DDI_DATA / 512, "overlap"},     /* hashes begin with the data */
                {2, 32, DDI_DATA / 512 + 1, "overlap"}, /* the signature has the hashes in it */
                {0, 40, DDI_DATA / 512 - 1, "does not lie inside"}, /* it ends before it begins */
        };
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                make(w, (struct ddi_how){.usr = false});
                set_u64(entry(w, cases[i].entry) + cases[i].field, cases[i].value);
                expect_refused_table(w, cases[i].why);
        }
}

static void a_table_has_three_partitions(void **state)
{
        _cleanup_(ddi_done) struct ddi_made usr = DDI_MADE_INIT;
        struct ddi_how how = {.usr = true};
        struct world *w = *state;

        for (unsigned i = 0; i < 3; i++) {
                make(w, (struct ddi_how){.usr = false});
                memset(entry(w, i), 0, DDI_ENTRY);
                expect_refused_table(w, "lacks");
                make(w, (struct ddi_how){.usr = false});
                memcpy(entry(w, i), entry(w, (i + 1) % 3), 16);
                expect_refused_table(w, "two partitions of one type");
                make(w, (struct ddi_how){.usr = false});
                entry(w, i)[3] ^= 1;
                expect_refused_table(w, "of another type");
        }
        make(w, (struct ddi_how){.usr = false});
        memcpy(entry(w, 127), entry(w, 0), 16);
        expect_refused_table(w, "two partitions of one type");
        /* Hashes of /usr for a root. */
        how.id = &w->ours;
        ddi_make(w->dir.path, &how, &usr);
        make(w, (struct ddi_how){.usr = false});
        memcpy(entry(w, 1), usr.image.data + DDI_ENTRIES + DDI_ENTRY, 16);
        expect_refused_table(w, "do not belong together");
}

static void headers_are_of_the_usual_form(void **state)
{
        static const struct {
                unsigned field;
                uint32_t value;
        } cases[] = {{0, 0},           {8, 0x20000},     {12, 91},  {12, 512},
                     {24, 2},          {80, 0},          {80, 2},   {80, 129},
                     {80, UINT32_MAX}, {84, 64},         {84, 256}, {72, 1},
                     {72, UINT32_MAX}, {76, UINT32_MAX}, {40, 2},   {44, UINT32_MAX}};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                make(w, (struct ddi_how){.usr = false});
                put_le32(w->made.image.data + DDI_HEADER + cases[i].field, cases[i].value);
                expect_refused_table(w, "");
        }
        /* Without a repair. */
        make(w, (struct ddi_how){.usr = false});
        w->made.image.data[DDI_HEADER + 17] ^= 1;
        assert_int_equal(read_table(w), -EBADMSG);
        make(w, (struct ddi_how){.usr = false});
        entry(w, 0)[60] ^= 1;
        assert_int_equal(read_table(w), -EBADMSG);
}

static void files_may_end_anywhere(void **state)
{
        static const size_t sizes[] = {0, 511, 600, 1024, 5000, 20480};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                make(w, (struct ddi_how){.usr = false});
                w->made.image.len = sizes[i];
                assert_int_equal(read_table(w), -EBADMSG);
        }
}

/* --- signatures --- */

static void expect_no_signature(struct world *w, struct ddi_how how, int code)
{
        make(w, how);
        assert_int_equal(check_signature(w), -code);
        assert_int_equal(w->e.class, code == EKEYREJECTED ? ERROR_SIGNATURE : ERROR_REFUSED);
}

static void somebody_of_ours_has_signed(void **state)
{
        struct world *w = *state;

        expect_no_signature(w, (struct ddi_how){.id = &w->foreign}, EKEYREJECTED);
        expect_no_signature(w, (struct ddi_how){.id = &w->foreign, .brings_certificate = true},
                            EKEYREJECTED);
        expect_no_signature(w, (struct ddi_how){.hash = NID_sha1}, EKEYREJECTED);
        expect_no_signature(w, (struct ddi_how){.attached = true}, EKEYREJECTED);
        expect_no_signature(w, (struct ddi_how){.signed_text = "another"}, EKEYREJECTED);
        make(w, (struct ddi_how){.hash = NID_sha512, .brings_certificate = true});
        assert_int_equal(check_signature(w), 0);
        /* One of several. */
        ddi_certificate(&w->foreign, &w->certificates);
        make(w, (struct ddi_how){.id = &w->foreign});
        assert_int_equal(check_signature(w), 0);
}

static void altered_signatures_are_none(void **state)
{
        struct world *w = *state;
        char *text, *value;

        /* Another root hash under the same signature. */
        make(w, (struct ddi_how){.usr = false});
        text = (char *)w->made.image.data + w->made.signature;
        value = strstr(text, "rootHash\":\"") + 11;
        *value = *value == '0' ? '1' : '0';
        assert_int_equal(check_signature(w), -EKEYREJECTED);
        /* A bit of the signature's last bytes. */
        make(w, (struct ddi_how){.usr = false});
        text = (char *)w->made.image.data + w->made.signature;
        value = strchr(text, '}') - 10;
        *value = *value == 'A' ? 'B' : 'A';
        assert_int_equal(check_signature(w), -EKEYREJECTED);
        memset(w->root_hash, 0xaa, SHA256_SIZE);
        assert_int_equal(check_signature(w), -EKEYREJECTED);
        assert_int_equal(w->root_hash[0], 0xaa); /* nothing is told */
}

static void signatures_are_documents(void **state)
{
        static const char *const documents[] = {
                "",
                "[]",
                "{",
                "{\"rootHash\":1,\"signature\":\"\"}",
                "{\"rootHash\":\"00\",\"signature\":\"AAAA\"}",
                "{\"signature\":\"AAAA\"}",
                "{\"rootHash\":"
                "\"0000000000000000000000000000000000000000000000000000000000000000\"}",
                "{\"rootHash\":"
                "\"0000000000000000000000000000000000000000000000000000000000000000\","
                "\"signature\":\"not base64!\"}",
        };
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(documents); i++)
                expect_no_signature(w, (struct ddi_how){.json = documents[i]}, EBADMSG);
        expect_no_signature(
                w,
                (struct ddi_how){
                        .json = "{\"rootHash\":"
                                "\"0000000000000000000000000000000000000000000000000000000000000000"
                                "\",\"signature\":\"\"}"},
                EKEYREJECTED);
}

static void certificates_are_whole(void **state)
{
        struct world *w = *state;

        make(w, (struct ddi_how){.usr = false});
        assert_int_equal(buf_add_str(&w->certificates, "-----BEGIN CERTIFICATE-----\nAAAA\n"
                                                       "-----END CERTIFICATE-----\n"),
                         0);
        assert_int_equal(check_signature(w), -EBADMSG);
        assert_int_equal(w->e.class, ERROR_CONFIG);
        buf_reset(&w->certificates);
        assert_int_equal(check_signature(w), -EBADMSG);
        assert_int_equal(buf_add_str(&w->certificates, "nothing\n"), 0);
        assert_int_equal(check_signature(w), -EBADMSG);
}

/* --- hashes --- */

static void every_block_is_proven(void **state)
{
        static const size_t blocks[] = {1, 200};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
                size_t end;

                make(w, (struct ddi_how){.blocks = blocks[i]});
                end = w->made.signature;
                for (size_t at = DDI_DATA + 5; at < end; at += 7 * BLOCK) {
                        /* What stands before the hashes is looked at below. */
                        if (at / BLOCK == w->made.verity / BLOCK)
                                continue;
                        w->made.image.data[at] ^= 0x10;
                        assert_int_equal(check_tree(w), -EBADMSG);
                        w->made.image.data[at] ^= 0x10;
                }
                w->made.image.data[end - 1] ^= 1; /* past the last hash of its block */
                assert_int_equal(check_tree(w), blocks[i] > 1 ? -EBADMSG : 0);
                w->made.image.data[end - 1] ^= 1;
                assert_int_equal(check_tree(w), 0);
                w->made.root_hash[31] ^= 1;
                assert_int_equal(check_tree(w), -EBADMSG);
        }
}

static void superblocks_have_bounds(void **state)
{
        static const struct {
                unsigned field;
                uint32_t value;
        } cases[] = {{0, 0},           {8, 2},    {12, 0},    {32, 0x31616873}, {64, 256}, {64, 0},
                     {64, 1536},       {64, 512}, {68, 8192}, {72, 0},          {72, 201}, {76, 1},
                     {76, UINT32_MAX}, {80, 257}, {80, 31},   {88, 7}};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                make(w, (struct ddi_how){.usr = false});
                put_le32(w->made.image.data + w->made.verity + cases[i].field, cases[i].value);
                assert_int_equal(check_tree(w), -EBADMSG);
                assert_int_equal(w->e.class, ERROR_REFUSED);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_good_one_is_proven, set_up, tear_down),
                cmocka_unit_test_setup_teardown(blocks_have_many_sizes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(tables_have_bounds, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_table_has_three_partitions, set_up, tear_down),
                cmocka_unit_test_setup_teardown(headers_are_of_the_usual_form, set_up, tear_down),
                cmocka_unit_test_setup_teardown(files_may_end_anywhere, set_up, tear_down),
                cmocka_unit_test_setup_teardown(somebody_of_ours_has_signed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(altered_signatures_are_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(signatures_are_documents, set_up, tear_down),
                cmocka_unit_test_setup_teardown(certificates_are_whole, set_up, tear_down),
                cmocka_unit_test_setup_teardown(every_block_is_proven, set_up, tear_down),
                cmocka_unit_test_setup_teardown(superblocks_have_bounds, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
