/* SPDX-License-Identifier: Apache-2.0 */
/* Journals of a reset, which anybody can put on an ESP: what is read is written and read again as
 * the same, and names data partitions only. */
#include "agent/reset_journal.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        static struct reset_journal j, again;
        struct error e = ERROR_INIT;
        int r = reset_journal_parse(data, size, &j, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        FUZZ_CHECK(j.n <= RESET_VOLUMES_MAX);
        for (size_t i = 0; i < j.n; i++) {
                FUZZ_CHECK(strcmp(j.volume[i].name, LAYOUT_ESP_NAME) != 0);
                FUZZ_CHECK(*j.volume[i].label && strlen(j.volume[i].label) <= EXTRA_LABEL_MAX);
        }
        FUZZ_CHECK(reset_journal_format(&j, &text) == 0);
        FUZZ_CHECK(reset_journal_parse(text.data, text.len, &again, NULL) == 0);
        FUZZ_CHECK(memcmp(&j, &again, sizeof(j)) == 0);
        return 0;
}
