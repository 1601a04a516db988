/* SPDX-License-Identifier: Apache-2.0 */
/* The main() of a fuzz target that only counts executed lines: hands it every file of the folders
 * that are named, once. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

static void replay(const char *folder)
{
        struct dirent *entry;
        DIR *dir = opendir(folder);

        FUZZ_CHECK(dir);
        while ((entry = readdir(dir))) {
                _cleanup_(buf_done) struct buf bytes = BUF_INIT(64 * MIB);

                if (entry->d_name[0] == '.')
                        continue;
                FUZZ_CHECK(file_read(dirfd(dir), entry->d_name, &bytes) == 0);
                (void)LLVMFuzzerTestOneInput(bytes.data, bytes.len);
        }
        (void)closedir(dir);
}

int main(int argc, char **argv)
{
        for (int i = 1; i < argc; i++)
                replay(argv[i]);
        return 0;
}
