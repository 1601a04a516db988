/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/esp_list.h"

#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "upgrade/esp.h"
#include "upgrade/esp_path.h"

bool esp_list_image_present(int root, const struct entry *entry)
{
        char path[PATH_MAX];
        const char *name;
        uint64_t size = 0;

        return entry_image_path(entry, path) == 0 && esp_path_find(root, path, &name, &size) == 0 &&
               size > 0;
}

bool esp_list_usable(int root, const void *text, size_t n)
{
        struct entry entry;

        return entry_parse(text, n, &entry) == 0 && esp_list_image_present(root, &entry);
}

bool esp_list_is_temporary(const char *name)
{
        size_t digits;

        if (strncmp(name, ESP_TEMPORARY_HEAD, strlen(ESP_TEMPORARY_HEAD)) != 0)
                return false;
        name += strlen(ESP_TEMPORARY_HEAD);
        digits = strspn(name, "0123456789");
        return digits > 0 && strcmp(name + digits, ESP_TEMPORARY_TAIL) == 0;
}

static bool mentions(const struct buf *text, const char *name)
{
        size_t n = strlen(name);

        for (size_t i = 0; n <= text->len && i <= text->len - n; i++) {
                if (strncasecmp((const char *)text->data + i, name, n) == 0)
                        return true;
        }
        return false;
}

int esp_list_check_unnamed(int root, const char *name, struct error *e)
{
        _cleanup_(esp_path_dir_close) struct esp_path_dir d = ESP_PATH_DIR_INIT;
        int r;

        r = esp_path_dir_open(&d, root, ESP_ENTRY_DIR);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_errno(e, -r, ESP_ENTRY_DIR);
        while ((r = esp_path_dir_next(&d)) > 0) {
                _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_ENTRY);
                int k;

                if (esp_list_is_temporary(d.name))
                        continue;
                k = file_read(d.fd, d.name, &text);
                if (k < 0)
                        return error_set(e, ERROR_PRECONDITION, EBUSY,
                                         "cannot tell whether boot entry %s names %s: %s", d.name,
                                         name, strerrordesc_np(-k) ?: "unknown error");
                if (mentions(&text, name))
                        return error_set(e, ERROR_PRECONDITION, EBUSY, "boot entry %s names %s",
                                         d.name, name);
        }
        return r < 0 ? error_errno(e, -r, ESP_ENTRY_DIR) : 0;
}

/* One more element at the end of an array that doubles. */
static int grow(void **list, size_t n, size_t *allocated, size_t element, size_t max)
{
        size_t want = *allocated == 0 ? 8 : *allocated * 2;
        void *p;

        if (n >= max)
                return -E2BIG;
        if (n < *allocated)
                return 0;
        p = reallocarray(*list, want, element);
        if (!p)
                return -ENOMEM;
        *list = p;
        *allocated = want;
        return 0;
}

static int compare_entries(const void *a, const void *b)
{
        const struct entry_file *x = a, *y = b;

        return strcmp(x->file, y->file);
}

static int compare_images(const void *a, const void *b)
{
        const struct esp_image *x = a, *y = b;

        return (x->number > y->number) - (x->number < y->number);
}

/* An entry that cannot be read is listed as not valid: only its name is known. */
static void load_entry(int root, struct esp_path_dir *d, const struct entry_name *name,
                       struct entry_file *ret)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_ENTRY);

        memset(ret, 0, sizeof(*ret));
        memcpy(ret->file, d->name, strlen(d->name) + 1);
        ret->name = *name;
        ret->size = d->size;
        if (file_read(d->fd, d->name, &text) < 0) {
                ret->unreadable = true;
                return;
        }
        ret->valid = entry_parse(text.data, text.len, &ret->entry) == 0;
        ret->image_present = ret->valid && esp_list_image_present(root, &ret->entry);
}

int esp_list_entries(const struct esp *esp, struct entry_file **ret, size_t *ret_n, struct error *e)
{
        _cleanup_(esp_path_dir_close) struct esp_path_dir d = ESP_PATH_DIR_INIT;
        _cleanup_free_ void *list = NULL;
        size_t n = 0, allocated = 0;
        int r;

        r = esp_path_dir_open(&d, esp->root, ESP_ENTRY_DIR);
        while (r >= 0 && (r = esp_path_dir_next(&d)) > 0) {
                struct entry_name name;

                if (entry_name_parse(d.name, &name) < 0)
                        continue;
                r = grow(&list, n, &allocated, sizeof(struct entry_file), LIMIT_LOADER_ENTRIES);
                if (r < 0)
                        break;
                load_entry(esp->root, &d, &name, (struct entry_file *)list + n++);
        }
        if (r < 0 && r != -ENOENT)
                return error_errno(e, -r, ESP_ENTRY_DIR);
        if (n > 0)
                qsort(list, n, sizeof(struct entry_file), compare_entries);
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}

int esp_list_images(const struct esp *esp, struct esp_image **ret, size_t *ret_n, struct error *e)
{
        _cleanup_(esp_path_dir_close) struct esp_path_dir d = ESP_PATH_DIR_INIT;
        _cleanup_free_ void *list = NULL;
        size_t n = 0, allocated = 0;
        int r;

        r = esp_path_dir_open(&d, esp->root, ESP_IMAGE_DIR);
        while (r >= 0 && (r = esp_path_dir_next(&d)) > 0) {
                struct esp_image image = {.size = d.size};

                if (entry_image_name_parse(d.name, &image.number) < 0)
                        continue;
                memcpy(image.file, d.name, sizeof(image.file));
                image.named = esp_list_check_unnamed(esp->root, image.file, NULL) < 0;
                r = grow(&list, n, &allocated, sizeof(image), LIMIT_ESP_FILES);
                if (r < 0)
                        break;
                ((struct esp_image *)list)[n++] = image;
        }
        if (r < 0 && r != -ENOENT)
                return error_errno(e, -r, ESP_IMAGE_DIR);
        if (n > 0)
                qsort(list, n, sizeof(struct esp_image), compare_images);
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}
