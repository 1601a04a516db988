/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into the test programs that count executed lines. A child in the sandbox can write no
 * file, so what it counted would be lost with it: the counters become memory that it shares with
 * the test, which writes them down at its end.
 */
#include <stdlib.h>
#include <sys/mman.h>

/* Page aligned; see coverage.ld. */
extern char coverage_begin[], coverage_end[];

static __attribute__((constructor)) void share_counters(void)
{
        size_t n = (size_t)(coverage_end - coverage_begin);

        if (n > 0 && mmap(coverage_begin, n, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
                abort();
}
