/* SPDX-License-Identifier: Apache-2.0 */
/* Key databases: lists in memory, files of every kind, and lists that are appended. */
#include "base/limits.h"
#include "efivars/keychange.h"
#include "tests/fuzz/fuzz.h"

/* What was found once is found again. */
static void use(const struct sigdb *db)
{
        const struct sigdb_entry *entry;

        for (size_t i = 0; (entry = sigdb_at(db, i)); i++) {
                FUZZ_CHECK((entry->type == SIGDB_X509) == (entry->cert != NULL));
                if (entry->cert) {
                        FUZZ_CHECK(sigdb_find_cert(db, entry->cert));
                        (void)sigdb_find_tbs(db, entry->cert);
                } else if (entry->type < SIGDB_TBS_SHA256) {
                        FUZZ_CHECK(sigdb_find_hash(db, entry->type, entry->hash));
                }
        }
}

/* What is appended to nothing is there; appended again it changes nothing. */
static void append(const uint8_t *data, size_t size, bool good)
{
        _cleanup_(buf_done) struct buf none = BUF_INIT(0), once = BUF_INIT(LIMIT_EFI_VARIABLE),
                                       twice = BUF_INIT(LIMIT_EFI_VARIABLE);
        int r = keychange_append(&none, data, size, &once);

        FUZZ_CHECK(r >= 0 || !good);
        if (r < 0)
                return;
        FUZZ_CHECK(keychange_append(&once, data, size, &twice) == 0);
        FUZZ_CHECK(once.len == twice.len &&
                   (once.len == 0 || memcmp(once.data, twice.data, once.len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(sigdb_free_p) struct sigdb *lists = sigdb_new(), *file = sigdb_new();
        _cleanup_close_ int fd = fuzz_file(data, size);
        struct error e = ERROR_INIT;
        char path[64];
        int r;

        FUZZ_CHECK(lists && file);
        r = sigdb_add_lists(lists, data, size, "fuzz", &e);
        fuzz_check_error(r, &e);
        FUZZ_CHECK(r >= 0 || (sigdb_count(lists) == 0 && sigdb_ignored(lists) == 0));
        use(lists);
        append(data, size, r >= 0);
        error_clear(&e);
        fuzz_file_path(fd, path);
        r = sigdb_add_file(file, path, &e);
        fuzz_check_error(r, &e);
        FUZZ_CHECK(r >= 0 || sigdb_count(file) == 0);
        use(file);
        return 0;
}
