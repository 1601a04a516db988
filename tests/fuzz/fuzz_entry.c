/* SPDX-License-Identifier: Apache-2.0 */
/* Boot entries: the file name up to the first newline, then the text. */
#include "tests/fuzz/fuzz.h"
#include "upgrade/entry.h"

static void use_name(const char *file)
{
        char text[NAME_MAX + 1];
        struct entry_name name, again;
        uint32_t number;

        if (entry_image_name_parse(file, &number) == 0)
                FUZZ_CHECK(number <= ENTRY_IMAGE_NUMBER_MAX);
        if (entry_name_parse(file, &name) < 0 || entry_name_format(&name, text) < 0)
                return;
        FUZZ_CHECK(entry_name_parse(text, &again) == 0);
        FUZZ_CHECK(again.role == name.role && again.counted == name.counted);
        FUZZ_CHECK(again.tries_left == name.tries_left && again.tries_done == name.tries_done);
        FUZZ_CHECK(strcmp(again.base, name.base) == 0);
}

/* Relative, one kind of slash, and no way up. */
static void check_path(const char *path)
{
        FUZZ_CHECK(path[0] && path[0] != '/' && !strchr(path, '\\') && !strstr(path, "//"));
        for (const char *p = path; p; p = strchr(p, '/')) {
                p += *p == '/';
                FUZZ_CHECK(strncmp(p, "../", 3) != 0 && strcmp(p, "..") != 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
        size_t n = line ? (size_t)(line - data) : size;
        _cleanup_free_ char *file = fuzz_text(data, n);
        struct entry_file list[2] = {{.file = "active.conf", .valid = true, .image_present = true}};
        char text[ENTRY_SIZE], path[PATH_MAX];
        struct entry entry, again;

        use_name(file);
        FUZZ_CHECK(entry_name_parse("active.conf", &list[0].name) == 0);
        if (!line || entry_parse(line + 1, size - n - 1, &entry) < 0)
                return 0;
        if (entry_image_path(&entry, path) == 0)
                check_path(path);
        if (entry_name_parse(file, &list[1].name) == 0) {
                list[1].valid = list[1].image_present = true;
                list[1].entry = entry;
                (void)snprintf(list[1].file, sizeof(list[1].file), "%s", file);
                FUZZ_CHECK(entry_select(list, 2, 258));
                (void)entry_select(list, 2, 252);
        }
        if (entry_format(&entry, text) < 0)
                return 0;
        FUZZ_CHECK(entry_parse(text, sizeof(text), &again) == 0);
        FUZZ_CHECK(strcmp(again.image, entry.image) == 0 && strcmp(again.title, entry.title) == 0);
        FUZZ_CHECK(again.key == entry.key && again.has_sha256 == entry.has_sha256);
        return 0;
}
