/* SPDX-License-Identifier: Apache-2.0 */
/* Small words: numbers, sizes, JSON, recovery keys, partitions of the user, and the order of
 * versions (three of them, one a line). */
#include "base/json.h"
#include "base/num.h"
#include "base/version.h"
#include "partition/extra.h"
#include "partition/recovery_key.h"
#include "tests/fuzz/fuzz.h"

static void compare(const char *a, const char *b, const char *c)
{
        int ab = version_compare(a, b), bc = version_compare(b, c), ac = version_compare(a, c);

        FUZZ_CHECK(version_compare(a, a) == 0);
        FUZZ_CHECK(version_compare(b, a) == -ab && version_compare(c, b) == -bc);
        if (ab == 0 && bc == 0)
                FUZZ_CHECK(ac == 0);
        if (ab < 0 && bc < 0)
                FUZZ_CHECK(ac < 0);
}

static void count(const char *text)
{
        char again[32];
        uint64_t v = 0;

        if (parse_size(text, &v) == 0)
                FUZZ_CHECK(text[strcspn(text, "0123456789")]);
        if (parse_u64(text, &v) < 0)
                return;
        (void)snprintf(again, sizeof(again), "%llu", (unsigned long long)v);
        FUZZ_CHECK(strcmp(again, text + strspn(text, "0")) == 0 || v == 0);
        FUZZ_CHECK((parse_u64_max(text, 1000, &v) == 0) == (v <= 1000));
}

/* What is taken has one text, which is taken again. */
static void recover(const uint8_t *data, size_t size)
{
        _cleanup_(secret_free_p) struct secret *key = NULL, *again = NULL;
        struct error e = ERROR_INIT;
        int r = recovery_key_parse(data, size, &key, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return;
        FUZZ_CHECK(key->len == RECOVERY_KEY_TEXT);
        FUZZ_CHECK(recovery_key_parse(key->data, key->len, &again, &e) == 0);
        FUZZ_CHECK(memcmp(key->data, again->data, RECOVERY_KEY_TEXT) == 0);
}

static void partition(const char *text)
{
        struct extra_list list = {.n = 0};
        struct error e = ERROR_INIT;
        int r = extra_parse(text, &list, &e);

        fuzz_check_error(r, &e);
        FUZZ_CHECK(list.n == (r == 0 ? 1 : 0));
        if (r < 0)
                return;
        FUZZ_CHECK(extra_name_ok(list.item[0].name) && list.item[0].label[0]);
        FUZZ_CHECK(list.item[0].size > 0 && list.item[0].size % MIB == 0);
        /* The same name and label a second time. */
        FUZZ_CHECK(extra_parse(text, &list, &e) == -EINVAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = fuzz_text(data, size);
        _cleanup_json_ struct json_object *o = NULL;
        struct error e = ERROR_INIT;
        char *b = strchr(text, '\n'), *c;

        fuzz_check_error(json_read_text(data, size, 1 << 20, "fuzz", &o, &e), &e);
        count(text);
        recover(data, size);
        partition(text);
        if (!b)
                return 0;
        *b++ = '\0';
        c = strchr(b, '\n');
        if (c)
                *c++ = '\0';
        compare(text, b, c ? c : "");
        return 0;
}
