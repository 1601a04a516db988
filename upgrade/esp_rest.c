/* SPDX-License-Identifier: Apache-2.0 */
/* What cuts leave on the ESP, and who needs it. */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "upgrade/esp.h"
#include "upgrade/esp_list.h"
#include "upgrade/esp_path.h"

/* fsck.fat(8): FSCKnnnn.REC in the root folder. */
#define SALVAGED_HEAD "FSCK"
#define SALVAGED_DIGITS 4u
#define SALVAGED_TAIL ".REC"
#define SALVAGED_SIZE sizeof(SALVAGED_HEAD "0000" SALVAGED_TAIL)
/* Deleted in one go; one fsck.vfat after another seldom leaves more than a few. */
#define SALVAGED_MAX 64u

static bool is_salvaged(const char *name)
{
        const char *digits = name + strlen(SALVAGED_HEAD);

        return strncasecmp(name, SALVAGED_HEAD, strlen(SALVAGED_HEAD)) == 0 &&
               strspn(digits, "0123456789") == SALVAGED_DIGITS &&
               strcasecmp(digits + SALVAGED_DIGITS, SALVAGED_TAIL) == 0;
}

bool esp_needs(const struct esp *esp, const char *path)
{
        static const char images[] = "/" ESP_IMAGE_DIR "/";
        const char *name = strrchr(path, '/');
        uint32_t number;

        if (!name)
                return true;
        if (esp_list_is_temporary(++name) || (name == path + 1 && is_salvaged(name)))
                return false;
        if (strncasecmp(path, images, strlen(images)) != 0 || name != path + strlen(images) ||
            entry_image_name_parse(name, &number) < 0)
                return true;
        return esp_list_check_unnamed(esp->root, name, NULL) < 0;
}

static int list_salvaged(const struct esp *esp, char ret[SALVAGED_MAX][SALVAGED_SIZE],
                         size_t *ret_n, struct error *e)
{
        _cleanup_(esp_path_dir_close) struct esp_path_dir d = ESP_PATH_DIR_INIT;
        size_t n = 0;
        int r = esp_path_dir_open(&d, esp->root, "");

        while (r >= 0 && n < SALVAGED_MAX && (r = esp_path_dir_next(&d)) > 0) {
                if (is_salvaged(d.name))
                        memcpy(ret[n++], d.name, SALVAGED_SIZE);
        }
        *ret_n = n;
        return r < 0 ? error_errno(e, -r, "boot partition: list") : 0;
}

/* 1 when an entry leads to no image, or nobody knows where. */
static int is_image_missing(const struct esp *esp, struct error *e)
{
        _cleanup_free_ struct entry_file *entries = NULL;
        size_t n = 0;
        int r = esp_list_entries(esp, &entries, &n, e);

        for (size_t i = 0; i < n && r == 0; i++)
                r = !entries[i].image_present;
        return r;
}

int esp_drop_salvaged(const struct esp *esp, struct error *e)
{
        char names[SALVAGED_MAX][SALVAGED_SIZE];
        size_t n;
        int r = list_salvaged(esp, names, &n, e);

        if (r < 0 || n == 0)
                return r;
        r = is_image_missing(esp, e);
        if (r != 0)
                return r < 0 ? r : 0;
        for (size_t i = 0; i < n; i++) {
                struct error error = ERROR_INIT;

                r = esp_remove(esp, names[i], &error);
                if (r == -EUCLEAN || r == -EBUSY) {
                        log_warning("%s stays: %s", names[i], error.text);
                } else if (r < 0) {
                        if (e)
                                *e = error;
                        return r;
                }
        }
        return 0;
}
