/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for choosing a disk, behind two lines: model and serial of one of the disks. What is chosen
 * is a disk that may be, and a choice does not depend on the order of the disks. */
#include "partition/disk_select.h"
#include "tests/fuzz/fuzz.h"

#define N 5u

static void make_disks(struct disk disks[N], char *model, char *serial)
{
        static char fixed[] = "Disk 1", wwn[] = "naa.5000c500a1b2c3d4", none[] = "";
        static char paths[N][8] = {"/dev/a", "/dev/b", "/dev/c", "/dev/d", "/dev/e"};

        for (size_t i = 0; i < N; i++)
                disks[i] = (struct disk){.path = paths[i],
                                         .model = i == 0 ? model : fixed,
                                         .serial = i == 0 ? serial : none,
                                         .wwn = i % 2 == 0 ? wwn : none,
                                         .size = (i + 1) * 100 * GIB,
                                         .bus = (enum sysblock_bus)(i + 1),
                                         .rotational = i % 2 == 0};
        disks[3].removable = true;
}

/* The index among the disks, or N. */
static size_t choose(const struct disk_rule *rule, const struct disk disks[N], bool backwards,
                     struct error *e)
{
        struct disk_candidate list[N];
        char why[64];
        size_t best = N;
        int r;

        for (size_t i = 0; i < N; i++) {
                size_t k = backwards ? N - 1 - i : i;

                list[i] = (struct disk_candidate){
                        .disk = &disks[k], .link = "", .never = k == 4 ? "medium" : NULL};
        }
        error_clear(e);
        r = disk_select_choose(rule, list, N, &best, why, sizeof(why), e);
        fuzz_check_error(r, e);
        FUZZ_CHECK(r == 0 ? best < N : r == -ENODEV || r == -ENOTUNIQ);
        return r < 0 ? N : backwards ? N - 1 - best : best;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = fuzz_text(data, size);
        char *rest = text, *model = strsep(&rest, "\n"), *serial = strsep(&rest, "\n");
        struct error e = ERROR_INIT;
        struct disk disks[N];
        struct disk_rule rule;
        size_t a, b;
        int r;

        if (!rest)
                return 0;
        make_disks(disks, model, serial);
        r = disk_select_parse(rest, &rule, &e);
        fuzz_check_error(r, &e);
        if (r < 0) {
                FUZZ_CHECK(r == -EINVAL && e.class == ERROR_USAGE && e.advice[0]);
                return 0;
        }
        FUZZ_CHECK(rule.n > 0 && rule.n <= LIMIT_DISK_TERMS);
        a = choose(&rule, disks, false, &e);
        b = choose(&rule, disks, true, &e);
        FUZZ_CHECK(a == b && a != 3 && a != 4);
        return 0;
}
