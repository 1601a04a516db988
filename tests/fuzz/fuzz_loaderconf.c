/* SPDX-License-Identifier: Apache-2.0 */
/* loader.conf: what comes out names no default, has what it needs, and comes out once more as it
 * is. */
#include "tests/fuzz/fuzz.h"
#include "upgrade/loaderconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(buf_done) struct buf once = BUF_INIT(2 * size + 4096);
        _cleanup_(buf_done) struct buf twice = BUF_INIT(2 * size + 8192);
        int r = loaderconf_merge(data, size, &once);

        if (r < 0) {
                FUZZ_CHECK(r == -EBADMSG && memchr(data, '\0', size));
                return 0;
        }
        FUZZ_CHECK(strncmp(buf_str(&once), "default ", 8) != 0);
        FUZZ_CHECK(!strstr(buf_str(&once), "\ndefault "));
        FUZZ_CHECK(strstr(buf_str(&once), "editor"));
        FUZZ_CHECK(loaderconf_merge(once.data, once.len, &twice) == 0);
        FUZZ_CHECK(twice.len == once.len && memcmp(once.data, twice.data, once.len) == 0);
        return 0;
}
