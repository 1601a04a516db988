/* SPDX-License-Identifier: Apache-2.0 */
/* Key databases: lists in memory, and files of every kind. */
#include "efivars/sigdb.h"
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
        error_clear(&e);
        fuzz_file_path(fd, path);
        r = sigdb_add_file(file, path, &e);
        fuzz_check_error(r, &e);
        FUZZ_CHECK(r >= 0 || sigdb_count(file) == 0);
        use(file);
        return 0;
}
