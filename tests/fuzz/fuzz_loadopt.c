/* SPDX-License-Identifier: Apache-2.0 */
/* Boot entries of the firmware: what is read and can be written is read again as the same. */
#include "base/limits.h"
#include "efivars/loadopt.h"
#include "tests/fuzz/fuzz.h"

static void rewrite(const struct loadopt *o)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOAD_OPTION);
        _cleanup_(loadopt_free_p) struct loadopt *again = NULL;

        if (!loadopt_disk(o) || !loadopt_path(o) ||
            loadopt_format(loadopt_attributes(o), loadopt_description(o), loadopt_disk(o),
                           loadopt_path(o), &value) < 0)
                return;
        FUZZ_CHECK(loadopt_parse(value.data, value.len, &again) == 0);
        FUZZ_CHECK(loadopt_attributes(again) == loadopt_attributes(o));
        FUZZ_CHECK(strcmp(loadopt_description(again), loadopt_description(o)) == 0);
        FUZZ_CHECK(memcmp(loadopt_disk(again), loadopt_disk(o), sizeof(struct loadopt_disk)) == 0);
        FUZZ_CHECK(loadopt_starts(again, loadopt_disk(o)->uuid, loadopt_path(o)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(buf_done) struct buf bytes = BUF_INIT(2 * LIMIT_BOOT_ORDER);
        _cleanup_(loadopt_free_p) struct loadopt *o = NULL;
        uint16_t order[LIMIT_BOOT_ORDER];
        const struct loadopt_node *node;
        size_t n = 0, sum = 0;

        if (loadopt_order_parse(data, size, order, ARRAY_SIZE(order), &n) == 0) {
                FUZZ_CHECK(loadopt_order_format(order, n, &bytes) == 0 && bytes.len == size);
                FUZZ_CHECK(size == 0 || memcmp(bytes.data, data, size) == 0);
        }
        if (loadopt_parse(data, size, &o) < 0)
                return 0;
        for (size_t i = 0; (node = loadopt_node(o, i)); i++) {
                sum += node->size + 4;
                if (node->size > 0) /* a read at both ends, for the sanitizer */
                        FUZZ_CHECK(memcmp(node->data, node->data, 1) == 0 &&
                                   memrchr(node->data + node->size - 1, node->data[node->size - 1],
                                           1));
        }
        (void)loadopt_optional_data(o, &n);
        FUZZ_CHECK(sum + n + 8 <= size);
        rewrite(o);
        return 0;
}
