/* SPDX-License-Identifier: Apache-2.0 */
/* Roots out of layers: whatever the layers say, the result is a tree. */
#include <sys/stat.h>

#include "image/rootfs_tar.h"
#include "tests/fuzz/fuzz_stream.h"

/* Folders stand before what is in them, names lead down, and no name is there twice. */
static void check_tree(const struct tree *t)
{
        const struct tree_entry *entry, *before = NULL;

        FUZZ_CHECK(tree_at(t, 0) && strcmp(tree_at(t, 0)->path, ".") == 0);
        for (size_t i = 0; (entry = tree_at(t, i)); i++, before = entry) {
                FUZZ_CHECK(i < 2 || strcmp(before->path, entry->path) < 0);
                FUZZ_CHECK(entry->path[0] != '/' && strncmp(entry->path, "../", 3) != 0 &&
                           !strstr(entry->path, "/../") && !strstr(entry->path, "//"));
                FUZZ_CHECK(S_ISLNK(entry->mode) == (entry->link != NULL));
                FUZZ_CHECK(!S_ISSOCK(entry->mode) && entry->links > 0 && entry->number > 0);
                FUZZ_CHECK(!S_ISDIR(entry->mode) || entry->links == 1);
        }
}

/* Two layers: the first two bytes say where the second one begins. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(rootfs_free_p) struct rootfs *fs = NULL;
        _cleanup_(tree_free_p) struct tree *t = NULL;
        struct error e = ERROR_INIT;
        size_t cut;
        int r;

        if (size < 2)
                return 0;
        cut = (size_t)data[0] * 256 + data[1];
        data += 2;
        size -= 2;
        if (cut > size)
                cut = size;
        FUZZ_CHECK(rootfs_new(&fs, &e) == 0);
        for (unsigned i = 0; i < 2; i++) {
                struct fuzz_stream s = i == 0 ? fuzz_stream_make(data, cut, SIZE_MAX)
                                              : fuzz_stream_make(data + cut, size - cut, 512);

                r = rootfs_add_tar(fs, &s.stream, true, &e);
                fuzz_check_error(r, &e);
                FUZZ_CHECK(r == 0 || e.class == ERROR_CONFIG || e.class == ERROR_SPACE);
                error_clear(&e);
        }
        r = rootfs_tree(fs, &t, &e);
        fuzz_check_error(r, &e);
        if (r == 0)
                check_tree(t);
        return 0;
}
