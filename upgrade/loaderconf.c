/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/loaderconf.h"

#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "upgrade/esp_path.h"

#define DEFAULT_TEXT                                                                               \
        "timeout menu-hidden\n"                                                                    \
        "editor no\n"                                                                              \
        "auto-entries no\n"                                                                        \
        "console-mode keep\n"

const char loaderconf_default[] = DEFAULT_TEXT;
const char loaderconf_enroll[] = DEFAULT_TEXT "secure-boot-enroll force\n";

/* Keys of ours with their values, and what somebody else's value means. */
static const struct key {
        const char *name, *value;
        bool fixed; /* no other value will do */
} keys[] = {
        {"timeout", "menu-hidden", false},
        {"editor", "no", true},
        {"auto-entries", "no", false},
        {"console-mode", "keep", false},
};

/* These name what is started, whatever its counter says. */
static const char *const pins[] = {"default", "preferred"};

static bool is_word(const char *word, size_t n, const char *expected)
{
        return strlen(expected) == n && memcmp(word, expected, n) == 0;
}

static bool is_off(const char *value, size_t n)
{
        static const char *const words[] = {"no", "false", "0", "off", "n", "f"};

        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                if (strlen(words[i]) == n && strncasecmp(value, words[i], n) == 0)
                        return true;
        }
        return false;
}

/* One line without its end. seen: keys that the text has. */
static int merge_line(const char *line, size_t n, bool seen[ARRAY_SIZE(keys)], struct buf *out)
{
        const char *end = line + n, *word = line, *value;
        size_t word_n, value_n;

        while (word < end && (*word == ' ' || *word == '\t'))
                word++;
        for (word_n = 0; word + word_n < end && !strchr(" \t\r", word[word_n]); word_n++)
                ;
        value = word + word_n;
        while (value < end && (*value == ' ' || *value == '\t'))
                value++;
        for (value_n = 0; value + value_n < end && !strchr(" \t\r", value[value_n]); value_n++)
                ;
        for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
                if (is_word(word, word_n, pins[i]))
                        return 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                if (!is_word(word, word_n, keys[i].name) || value_n == 0)
                        continue;
                seen[i] = true;
                if (keys[i].fixed && !is_off(value, value_n))
                        return buf_printf(out, "%s %s\n", keys[i].name, keys[i].value);
        }
        if (buf_add(out, line, n) < 0 || buf_add(out, "\n", 1) < 0)
                return -E2BIG;
        return 0;
}

int loaderconf_merge(const void *text, size_t n, struct buf *out)
{
        const char *p = text, *end = p + n;
        bool seen[ARRAY_SIZE(keys)] = {false};
        size_t start = out->len;
        int r = 0;

        if (n > 0 && memchr(text, '\0', n))
                return -EBADMSG;
        while (p < end && r == 0) {
                const char *eol = memchr(p, '\n', (size_t)(end - p)) ?: end;

                r = merge_line(p, (size_t)(eol - p), seen, out);
                p = eol < end ? eol + 1 : end;
        }
        for (size_t i = 0; i < ARRAY_SIZE(keys) && r == 0; i++) {
                if (!seen[i])
                        r = buf_printf(out, "%s %s\n", keys[i].name, keys[i].value);
        }
        if (r < 0)
                return r;
        return out->len - start != n || memcmp(out->data + start, text, n) != 0;
}

int loaderconf_update(const struct esp *esp, bool *ret_changed, struct error *e)
{
        _cleanup_(buf_done) struct buf old = BUF_INIT(LIMIT_LOADER_CONF);
        _cleanup_(buf_done) struct buf merged = BUF_INIT(2 * LIMIT_LOADER_CONF);
        int r = esp_path_read(esp->root, LOADERCONF_PATH, &old), changed;

        if (r < 0 && r != -ENOENT && r != -E2BIG)
                return error_errno(e, -r, "%s: read", LOADERCONF_PATH);
        changed = r < 0 ? r : loaderconf_merge(old.data, old.len, &merged);
        if (changed < 0) {
                if (r != -ENOENT)
                        log_warning("%s is no configuration of a boot loader: made anew",
                                    LOADERCONF_PATH);
                buf_reset(&merged);
                changed = 1;
                if (buf_add_str(&merged, loaderconf_default) < 0)
                        return error_oom(e);
        }
        r = esp_make_dir(esp, "loader", e);
        /* Also when nothing changes: what a cut left beside it goes. */
        if (r == 0)
                r = esp_exchange_file(esp, LOADERCONF_PATH, merged.data, merged.len, e);
        if (r == 0 && ret_changed)
                *ret_changed = changed > 0;
        return r;
}
