/* SPDX-License-Identifier: Apache-2.0 */
/* The boot loader's file. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/bootloader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_close_ int fd = fuzz_file(data, size);
        struct bootloader b = {.major = 0};
        struct error e = ERROR_INIT;
        char path[64];
        int r;

        fuzz_file_path(fd, path);
        r = bootloader_load(AT_FDCWD, path, &b, &e);
        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        FUZZ_CHECK(b.image.len == size && strlen(b.version) < sizeof(b.version));
        FUZZ_CHECK(bootloader_entry_key(&b) == (b.major >= 258 ? ENTRY_KEY_UKI : ENTRY_KEY_EFI));
        bootloader_done(&b);
        return 0;
}
