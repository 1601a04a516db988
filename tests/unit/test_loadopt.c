/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/loadopt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/limits.h"
#include "base/num.h"

#define UUID "0b1fd3c5-7a2e-4c11-9d00-aabbccddeeff"

/* An entry of the form that bootctl(1) makes, for an ESP that is partition 1 at sector 2048
 * (description "Linux Boot Manager"). */
static const char golden_head[] =
        "0100000074004c0069006e0075007800200042006f006f00740020004d0061006e006100"
        "6700650072000000";
static const char golden_disk[] =
        "04012a000100000000080000000000000000200000000000c5d31f0b2e7a114c9d00aabb"
        "ccddeeff0202";
static const char golden_file[] =
        "040446005c004500460049005c00730079007300740065006d0064005c00730079007300"
        "740065006d0064002d0062006f006f0074007800360034002e006500660069000000";
static const char golden_end[] = "7fff0400";

static const struct loadopt_disk golden = {
        .number = 1, .start = 2048, .size = 0x200000, .uuid = UUID};

/* Appends bytes written as hexadecimal text. */
static void add_hex(struct buf *b, const char *text)
{
        size_t n = strlen(text) / 2;
        uint8_t *p;

        assert_int_equal(buf_reserve(b, n, &p), 0);
        assert_int_equal(hex_decode(text, p, n), 0);
        buf_commit(b, n);
}

/* A value of one description "x", these device path nodes and this optional data, with the list
 * length that fits plus wrong. */
static void make(struct buf *b, const char *nodes, const char *optional, int wrong)
{
        uint8_t length[2];

        buf_reset(b);
        add_hex(b, "01000000");
        put_le16(length, (uint16_t)((int)strlen(nodes) / 2 + wrong));
        assert_int_equal(buf_add(b, length, 2), 0);
        add_hex(b, "78000000");
        add_hex(b, nodes);
        add_hex(b, optional);
}

static void test_golden(void **state)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(4096), again = BUF_INIT(4096);
        _cleanup_(loadopt_free_p) struct loadopt *o = NULL;
        size_t n = 1;

        (void)state;
        add_hex(&value, golden_head);
        add_hex(&value, golden_disk);
        add_hex(&value, golden_file);
        add_hex(&value, golden_end);
        assert_int_equal(loadopt_parse(value.data, value.len, &o), 0);
        assert_int_equal(loadopt_attributes(o), LOADOPT_ACTIVE);
        assert_string_equal(loadopt_description(o), "Linux Boot Manager");
        assert_string_equal(loadopt_path(o), "\\EFI\\systemd\\systemd-bootx64.efi");
        assert_non_null(loadopt_disk(o));
        assert_int_equal(loadopt_disk(o)->number, 1);
        assert_int_equal(loadopt_disk(o)->start, 2048);
        assert_int_equal(loadopt_disk(o)->size, 0x200000);
        assert_string_equal(loadopt_disk(o)->uuid, UUID);
        assert_int_equal(loadopt_node(o, 2)->type, 0x7f);
        assert_null(loadopt_node(o, 3));
        assert_non_null(loadopt_optional_data(o, &n));
        assert_int_equal(n, 0);

        assert_int_equal(loadopt_format(LOADOPT_ACTIVE, "Linux Boot Manager", &golden,
                                        "EFI/systemd/systemd-bootx64.efi", &again),
                         0);
        assert_int_equal(again.len, value.len);
        assert_memory_equal(again.data, value.data, value.len);
}

static void test_starts(void **state)
{
        static const struct {
                const char *uuid, *path;
                bool same;
        } table[] = {
                {UUID, "EFI/Boot/A.efi", true},
                {UUID, "\\efi\\BOOT\\a.EFI", true},
                {UUID, "/EFI/Boot\\A.efi", true},
                {"0B1FD3C5-7A2E-4C11-9D00-AABBCCDDEEFF", "EFI/Boot/A.efi", true},
                {"0b1fd3c5-7a2e-4c11-9d00-aabbccddeefe", "EFI/Boot/A.efi", false},
                {UUID, "EFI/Boot/A.ef", false},
                {UUID, "EFI/Boot/A.efi2", false},
                {UUID, "", false},
                {"", "EFI/Boot/A.efi", false},
        };
        _cleanup_(buf_done) struct buf value = BUF_INIT(4096);
        _cleanup_(loadopt_free_p) struct loadopt *o = NULL;

        (void)state;
        assert_int_equal(loadopt_format(0, "x", &golden, "/EFI/Boot/A.efi", &value), 0);
        assert_int_equal(loadopt_parse(value.data, value.len, &o), 0);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(loadopt_starts(o, table[i].uuid, table[i].path), table[i].same);
}

/* Nodes of other kinds, several device paths, optional data. */
static void test_foreign(void **state)
{
        static const char pci[] = "02010c00d041030a00000000"
                                  "01010600"
                                  "0001";
        static const char mbr[] = "04012a00"
                                  "02000000"
                                  "0008000000000000"
                                  "0000200000000000"
                                  "11223344000000000000000000000000"
                                  "0101";
        _cleanup_(buf_done) struct buf value = BUF_INIT(4096), nodes = BUF_INIT(4096);
        _cleanup_(loadopt_free_p) struct loadopt *full = NULL, *other = NULL, *second = NULL;
        const uint8_t *p;
        size_t n = 0;

        (void)state;
        /* The long form, through a PCI root, with a path in two pieces. */
        assert_int_equal(buf_printf(&nodes,
                                    "%s%s0404080061006200"
                                    "0000"
                                    "0404060063000000"
                                    "7fff0400",
                                    pci, golden_disk),
                         0);
        make(&value, buf_str(&nodes), "abcd", 0);
        assert_int_equal(loadopt_parse(value.data, value.len, &full), -EBADMSG); /* 06: wrong */
        buf_reset(&nodes);
        assert_int_equal(buf_printf(&nodes,
                                    "%s%s04040a00610062000000"
                                    "0404080063000000"
                                    "7fff0400",
                                    pci, golden_disk),
                         0);
        make(&value, buf_str(&nodes), "abcd", 0);
        assert_int_equal(loadopt_parse(value.data, value.len, &full), 0);
        assert_string_equal(loadopt_path(full), "ab\\c");
        assert_string_equal(loadopt_disk(full)->uuid, UUID);
        assert_int_equal(loadopt_node(full, 0)->type, 2);
        assert_int_equal(loadopt_node(full, 0)->size, 8);
        p = loadopt_optional_data(full, &n);
        assert_int_equal(n, 2);
        assert_memory_equal(p, "\xab\xcd", 2);

        /* A partition of an MBR is no partition of ours. */
        buf_reset(&nodes);
        assert_int_equal(buf_printf(&nodes,
                                    "%s0404080063000000"
                                    "7fff0400",
                                    mbr),
                         0);
        make(&value, buf_str(&nodes), "", 0);
        assert_int_equal(loadopt_parse(value.data, value.len, &other), 0);
        assert_null(loadopt_disk(other));
        assert_string_equal(loadopt_path(other), "c");
        assert_false(loadopt_starts(other, UUID, "c"));

        /* Only the first device path is started. */
        buf_reset(&nodes);
        assert_int_equal(
                buf_printf(&nodes, "%s7fff0400%s04040800630000007fff0400", pci, golden_disk), 0);
        make(&value, buf_str(&nodes), "", 0);
        assert_int_equal(loadopt_parse(value.data, value.len, &second), 0);
        assert_null(loadopt_disk(second));
        assert_null(loadopt_path(second));
        assert_non_null(loadopt_node(second, 5));
}

static void test_malformed(void **state)
{
        static const struct {
                const char *what, *nodes;
                int wrong;
        } table[] = {
                {"no device path", "", 0},
                {"no end", "0404080063000000", 0},
                {"ends with the end of an instance", "7f010400", 0},
                {"end with content", "7fff0500ff", 0},
                {"unknown kind of end",
                 "7f020400"
                 "7fff0400",
                 0},
                {"node shorter than its header", "010103007fff0400", 0},
                {"node of size 0", "010100007fff0400", 0},
                {"node beyond the list", "01010900007fff0400", 0},
                {"half a header behind the end", "7fff04000101", 0},
                {"list longer than the value", "7fff0400", 1},
                {"list shorter than its nodes", "7fff0400", -1},
                {"file without a text", "040404007fff0400", 0},
                {"file of half a character", "04040500007fff0400", 0},
                {"file without NUL",
                 "04040600"
                 "6300"
                 "7fff0400",
                 0},
                {"file with text behind the NUL",
                 "04040a006300"
                 "0000"
                 "6400"
                 "7fff0400",
                 0},
                {"file with a lone surrogate",
                 "0404080000d80000"
                 "7fff0400",
                 0},
                {"disk node too short",
                 "040106000100"
                 "7fff0400",
                 0},
        };
        _cleanup_(buf_done) struct buf value = BUF_INIT(4096);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct loadopt *o = NULL;
                int r;

                make(&value, table[i].nodes, "", table[i].wrong);
                r = loadopt_parse(value.data, value.len, &o);
                if (r != -EBADMSG)
                        fail_msg("%s: %d", table[i].what, r);
                assert_null(o);
        }
}

/* Cut off anywhere, a value is refused. */
static void test_cut(void **state)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(4096);
        struct loadopt *o = NULL;

        (void)state;
        assert_int_equal(loadopt_format(1, "Linux", &golden, "a.efi", &value), 0);
        for (size_t n = 0; n < value.len; n++) {
                _cleanup_free_ uint8_t *copy = malloc(n > 0 ? n : 1);

                assert_non_null(copy);
                memcpy(copy, value.data, n); /* of this very size: sanitizers see one byte more */
                assert_int_equal(loadopt_parse(copy, n, &o), -EBADMSG);
        }
}

static void test_limits(void **state)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOAD_OPTION + 2);
        _cleanup_(loadopt_free_p) struct loadopt *o = NULL, *big = NULL;
        uint8_t *p;

        (void)state;
        for (unsigned nodes = LIMIT_LOAD_OPTION_NODES; nodes <= LIMIT_LOAD_OPTION_NODES + 1;
             nodes++) {
                uint8_t length[2];

                buf_reset(&value);
                add_hex(&value, "01000000");
                put_le16(length, (uint16_t)(4 * nodes));
                assert_int_equal(buf_add(&value, length, 2), 0);
                add_hex(&value, "0000");
                for (unsigned i = 1; i < nodes; i++)
                        add_hex(&value, "01010400");
                add_hex(&value, golden_end);
                assert_int_equal(loadopt_parse(value.data, value.len, &o),
                                 nodes > LIMIT_LOAD_OPTION_NODES ? -E2BIG : 0);
        }
        assert_string_equal(loadopt_description(o), "");

        make(&value, golden_end, "", 0);
        assert_int_equal(buf_reserve(&value, LIMIT_LOAD_OPTION - value.len, &p), 0);
        memset(p, 0, LIMIT_LOAD_OPTION - value.len);
        buf_commit(&value, LIMIT_LOAD_OPTION - value.len);
        assert_int_equal(loadopt_parse(value.data, value.len, &big), 0);
        assert_int_equal(buf_add(&value, "", 1), 0);
        loadopt_free(TAKE_PTR(big));
        assert_int_equal(loadopt_parse(value.data, value.len, &big), -E2BIG);
}

static void test_format_refuses(void **state)
{
        static const struct loadopt_disk no_number = {.size = 1, .uuid = UUID};
        static const struct loadopt_disk no_size = {.number = 1, .uuid = UUID};
        static const struct loadopt_disk no_uuid = {.number = 1, .size = 1};
        static const struct loadopt_disk bad_uuid = {
                .number = 1, .size = 1, .uuid = "0b1fd3c5-7a2e-4c119-d00-aabbccddeeff"};
        static const struct {
                const char *description;
                const struct loadopt_disk *disk;
                const char *path;
        } table[] = {
                {"", &golden, "a"},      {"x", &golden, ""},         {"x", &golden, "/"},
                {"x", &golden, "a\xff"}, {"\xc0\x80", &golden, "a"}, {"x", &no_number, "a"},
                {"x", &no_size, "a"},    {"x", &no_uuid, "a"},       {"x", &bad_uuid, "a"},
        };
        _cleanup_(buf_done) struct buf out = BUF_INIT(4096), small = BUF_INIT(50);
        char *big = malloc(LIMIT_LOAD_OPTION + 1);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(
                        loadopt_format(1, table[i].description, table[i].disk, table[i].path, &out),
                        -EINVAL);
                assert_int_equal(out.len, 0);
        }
        assert_non_null(big);
        memset(big, 'a', LIMIT_LOAD_OPTION);
        big[LIMIT_LOAD_OPTION] = '\0';
        assert_int_equal(loadopt_format(1, "x", &golden, big, &out), -E2BIG);
        assert_int_equal(loadopt_format(1, big, &golden, "x", &out), -E2BIG);
        assert_int_equal(loadopt_format(1, "x", &golden, "x", &small), -E2BIG);
        assert_int_equal(out.len + small.len, 0);
        free(big);
}

static void test_order(void **state)
{
        static const uint16_t numbers[] = {0, 0x2001, 0xffff};
        _cleanup_(buf_done) struct buf out = BUF_INIT(6);
        uint16_t list[3] = {0};
        size_t n = 7;

        (void)state;
        assert_int_equal(loadopt_order_format(numbers, 3, &out), 0);
        assert_int_equal(out.len, 6);
        assert_memory_equal(out.data, "\x00\x00\x01\x20\xff\xff", 6);
        assert_int_equal(loadopt_order_parse(out.data, 6, list, 3, &n), 0);
        assert_int_equal(n, 3);
        assert_memory_equal(list, numbers, sizeof(list));
        assert_int_equal(loadopt_order_parse(out.data, 5, list, 3, &n), -EBADMSG);
        assert_int_equal(loadopt_order_parse(out.data, 6, list, 2, &n), -E2BIG);
        assert_int_equal(n, 3);
        assert_int_equal(loadopt_order_parse("", 0, list, 3, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(loadopt_order_format(numbers, 1, &out), -E2BIG); /* the buffer is full */
        assert_int_equal(loadopt_order_format(numbers, LIMIT_BOOT_ORDER + 1, &out), -E2BIG);
}

static void test_name(void **state)
{
        static const char *const bad[] = {"",         "Boot",     "Boot001",  "Boot00011",
                                          "boot0001", "Boot000g", "Boot00a1", "Boot+001",
                                          "BootNext", "BootOrder"};
        char name[LOADOPT_NAME_SIZE];
        uint16_t v = 7;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(loadopt_name_parse(bad[i], &v), -EINVAL);
        assert_int_equal(v, 7);
        for (unsigned i = 0; i <= UINT16_MAX; i++) {
                loadopt_name_format((uint16_t)i, name);
                assert_int_equal(loadopt_name_parse(name, &v), 0);
                assert_int_equal(v, i);
        }
        assert_string_equal(name, "BootFFFF");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_golden),
                cmocka_unit_test(test_starts),
                cmocka_unit_test(test_foreign),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_cut),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_name),
                cmocka_unit_test(test_format_refuses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
