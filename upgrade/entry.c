/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/entry.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/version.h"

#define DIGEST_COMMENT "# sha256 "
/* Of a title, in front of the role. */
#define TITLE_MAX 100u

static const char suffix[] = ".conf";
static const size_t suffix_len = sizeof(suffix) - 1;

static const char *const role_names[ENTRY_ROLE_MAX] = {
        [ENTRY_ROLE_NONE] = "none",
        [ENTRY_ROLE_ACTIVE] = "active",
        [ENTRY_ROLE_PASSIVE] = "passive",
        [ENTRY_ROLE_RECOVERY] = "recovery",
};

const char *entry_role_name(enum entry_role role)
{
        return role < ENTRY_ROLE_MAX ? role_names[role] : role_names[ENTRY_ROLE_NONE];
}

enum entry_role entry_role_parse(const char *name)
{
        for (enum entry_role r = ENTRY_ROLE_ACTIVE; r < ENTRY_ROLE_MAX; r++) {
                if (strcasecmp(name, role_names[r]) == 0)
                        return r;
        }
        return ENTRY_ROLE_NONE;
}

bool entry_is_reset(const struct entry_name *name)
{
        return strcasecmp(name->base, ENTRY_RESET_BASE) == 0;
}

enum entry_role entry_role_started(const struct entry_name *name)
{
        return entry_is_reset(name) ? ENTRY_ROLE_RECOVERY : name->role;
}

/* Order of the roles in the boot menu, and of falling back. */
static const char *const sort_keys[ENTRY_ROLE_MAX] = {
        [ENTRY_ROLE_ACTIVE] = "0001",
        [ENTRY_ROLE_PASSIVE] = "0002",
        [ENTRY_ROLE_RECOVERY] = "0003",
};
/* Behind everything that falling back may choose. */
#define RESET_SORT_KEY "0009"

/* Length of the title without " (active)" and its like. */
static size_t bare_title(const char *title)
{
        size_t n = strlen(title);

        for (enum entry_role r = ENTRY_ROLE_ACTIVE; r < ENTRY_ROLE_MAX; r++) {
                size_t m = strlen(role_names[r]);

                if (n > m + 3 && strncmp(title + n - m - 3, " (", 2) == 0 &&
                    strncmp(title + n - m - 1, role_names[r], m) == 0 && title[n - 1] == ')')
                        return n - m - 3;
        }
        return n;
}

/* A cut in the middle of a character of several bytes would not be valid text. */
static size_t cut_text(const char *s, size_t n, size_t max)
{
        if (n <= max)
                return n;
        n = max;
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
                n--;
        return n;
}

static void set_names(struct entry *entry, const char *name, const char *sort_key)
{
        char title[sizeof(entry->title)] = "";
        size_t n = cut_text(entry->title, bare_title(entry->title), TITLE_MAX);

        while (n > 0 && isspace((unsigned char)entry->title[n - 1]))
                n--;
        (void)snprintf(title, sizeof(title), "%.*s%s(%s)", (int)n, entry->title, n > 0 ? " " : "",
                       name);
        memcpy(entry->title, title, sizeof(title));
        (void)snprintf(entry->sort_key, sizeof(entry->sort_key), "%s", sort_key);
}

int entry_set_role(struct entry *entry, enum entry_role role)
{
        if (role >= ENTRY_ROLE_MAX || !sort_keys[role])
                return -EINVAL;
        set_names(entry, role_names[role], sort_keys[role]);
        return 0;
}

void entry_set_reset(struct entry *entry)
{
        set_names(entry, ENTRY_RESET_BASE, RESET_SORT_KEY);
}

/* Digits up to the end character; moves *p behind it. */
static bool counter_part(const char **p, const char *stop, uint32_t *ret)
{
        uint64_t v = 0;
        const char *s = *p;

        for (; s < stop && *s >= '0' && *s <= '9'; s++) {
                v = v * 10 + (uint64_t)(*s - '0');
                if (v > INT_MAX)
                        return false;
        }
        if (s == *p)
                return false;
        *p = s;
        *ret = (uint32_t)v;
        return true;
}

/* "+LEFT" or "+LEFT-DONE" behind the last plus sign and right before the suffix. */
static bool parse_counter(const char *name, size_t n, struct entry_name *out)
{
        const char *plus = memrchr(name, '+', n), *p, *stop = name + n;
        uint32_t left, done = 0;

        if (!plus || plus == name)
                return false;
        p = plus + 1;
        if (!counter_part(&p, stop, &left))
                return false;
        if (p < stop && *p == '-') {
                p++;
                if (!counter_part(&p, stop, &done))
                        return false;
        }
        if (p != stop)
                return false;
        out->base[plus - name] = '\0';
        out->counted = true;
        out->tries_left = left;
        out->tries_done = done;
        return true;
}

int entry_name_parse(const char *file, struct entry_name *ret)
{
        struct entry_name name = {.role = ENTRY_ROLE_NONE};
        size_t n = strlen(file);

        if (n <= suffix_len || n > NAME_MAX)
                return -EINVAL;
        n -= suffix_len;
        if (strcasecmp(file + n, suffix) != 0 || file[0] == '.' || strpbrk(file, "/\\") ||
            strncasecmp(file, "auto-", 5) == 0)
                return -EINVAL;
        for (const char *p = file; *p; p++) {
                if (iscntrl((unsigned char)*p))
                        return -EINVAL;
        }
        memcpy(name.base, file, n);
        (void)parse_counter(file, n, &name); /* without one it stays an uncounted name */
        name.role = entry_role_parse(name.base);
        *ret = name;
        return 0;
}

int entry_name_format(const struct entry_name *name, char ret[NAME_MAX + 1])
{
        char out[NAME_MAX + 1];
        int n;

        if (!name->base[0] || strpbrk(name->base, "/\\"))
                return -EINVAL;
        if (name->counted &&
            (name->tries_left > ENTRY_TRIES_MAX || name->tries_done > ENTRY_TRIES_MAX))
                return -EINVAL;
        if (name->counted)
                n = snprintf(out, sizeof(out), "%s+%u-%u%s", name->base, name->tries_left,
                             name->tries_done, suffix);
        else
                n = snprintf(out, sizeof(out), "%s%s", name->base, suffix);
        if (n < 0 || (size_t)n >= sizeof(out))
                return -ENAMETOOLONG;
        memcpy(ret, out, (size_t)n + 1);
        return 0;
}

/* A value that survives the way through a line: what is read back is what was written. */
static int check_value(const char *s)
{
        _cleanup_(buf_done) struct buf scratch = BUF_INIT(LIMIT_LOADER_ENTRY);
        size_t n = strlen(s);
        int r;

        if (n == 0 || isspace((unsigned char)s[0]) || isspace((unsigned char)s[n - 1]))
                return -EINVAL;
        for (const char *p = s; *p; p++) {
                if (iscntrl((unsigned char)*p))
                        return -EINVAL;
        }
        r = utf8_to_utf16(s, &scratch); /* systemd-boot shows it: it must be valid text */
        return r == -E2BIG ? -EINVAL : r;
}

static int add_line(struct buf *out, const char *key, const char *value)
{
        int r = check_value(value);

        return r < 0 ? r : buf_printf(out, "%s %s\n", key, value);
}

/* A comment of blanks; one missing byte is an empty line. */
static int pad(struct buf *out)
{
        size_t left = ENTRY_SIZE - out->len;
        uint8_t *p;
        int r;

        if (left == 0)
                return 0;
        r = buf_reserve(out, left, &p);
        if (r < 0)
                return r;
        memset(p, ' ', left);
        if (left > 1)
                p[0] = '#';
        p[left - 1] = '\n';
        buf_commit(out, left);
        return 0;
}

int entry_format(const struct entry *entry, char ret[ENTRY_SIZE])
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(ENTRY_SIZE);
        char hex[SHA256_HEX_SIZE], path[PATH_MAX];
        int r;

        if (entry->image[0] != '/' || entry_image_path(entry, path) < 0)
                return -EINVAL;
        if (entry->key != ENTRY_KEY_EFI && entry->key != ENTRY_KEY_UKI)
                return -EINVAL;
        r = add_line(&out, "title", entry->title);
        if (r == 0 && entry->sort_key[0])
                r = add_line(&out, "sort-key", entry->sort_key);
        if (r == 0 && entry->version[0])
                r = add_line(&out, "version", entry->version);
        if (r == 0)
                r = add_line(&out, entry->key == ENTRY_KEY_UKI ? "uki" : "efi", entry->image);
        if (r == 0 && entry->has_sha256) {
                hex_encode(entry->sha256, SHA256_SIZE, hex);
                r = buf_printf(&out, DIGEST_COMMENT "%s\n", hex);
        }
        if (r == 0)
                r = pad(&out);
        if (r < 0)
                return r;
        memcpy(ret, out.data, ENTRY_SIZE);
        return 0;
}

static int copy_value(char *to, size_t size, const char *value, bool may_cut)
{
        size_t n = strlen(value);

        if (n >= size && !may_cut)
                return -EBADMSG;
        n = n < size ? n : size - 1;
        memcpy(to, value, n);
        to[n] = '\0';
        return 0;
}

static int take_pair(struct entry *e, const char *key, const char *value)
{
        static const struct {
                const char *name;
                enum entry_key key;
        } images[] = {{"efi", ENTRY_KEY_EFI}, {"uki", ENTRY_KEY_UKI}, {"linux", ENTRY_KEY_LINUX}};

        if (strcmp(key, "title") == 0)
                return copy_value(e->title, sizeof(e->title), value, true);
        if (strcmp(key, "sort-key") == 0)
                return copy_value(e->sort_key, sizeof(e->sort_key), value, false);
        if (strcmp(key, "version") == 0)
                return copy_value(e->version, sizeof(e->version), value, false);
        if (strcmp(key, "machine-id") == 0)
                return copy_value(e->machine_id, sizeof(e->machine_id), value, false);
        for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
                if (strcmp(key, images[i].name) == 0) {
                        e->key = images[i].key;
                        return copy_value(e->image, sizeof(e->image), value, false);
                }
        }
        return 0;
}

static char *trim(char *s)
{
        size_t n;

        s += strspn(s, " \t");
        n = strlen(s);
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                s[--n] = '\0';
        return s;
}

static int take_line(struct entry *e, char *line)
{
        char *value;

        line = trim(line);
        if (strncmp(line, DIGEST_COMMENT, sizeof(DIGEST_COMMENT) - 1) == 0) {
                if (hex_decode(line + sizeof(DIGEST_COMMENT) - 1, e->sha256, SHA256_SIZE) == 0)
                        e->has_sha256 = true;
                return 0;
        }
        if (*line == '\0' || *line == '#')
                return 0;
        value = line + strcspn(line, " \t");
        if (!*value)
                return 0; /* a key without a value says nothing */
        *value++ = '\0';
        return take_pair(e, line, trim(value));
}

int entry_parse(const void *text, size_t n, struct entry *ret)
{
        _cleanup_free_ char *copy = NULL;
        struct entry e = {.key = ENTRY_KEY_NONE};
        char *next;

        if (n > LIMIT_LOADER_ENTRY)
                return -E2BIG;
        if (n > 0 && memchr(text, '\0', n))
                return -EBADMSG;
        copy = strndup(n > 0 ? text : "", n); /* an empty buffer has no address */
        if (!copy)
                return -ENOMEM;
        for (char *line = copy; line; line = next) {
                int r;

                next = strpbrk(line, "\r\n");
                if (next)
                        *next++ = '\0';
                r = take_line(&e, line);
                if (r < 0)
                        return r;
        }
        if (!e.image[0])
                return -EBADMSG;
        *ret = e;
        return 0;
}

int entry_image_path(const struct entry *entry, char ret[PATH_MAX])
{
        char out[sizeof(entry->image)];
        size_t n = 0;
        const char *p = entry->image;

        while (*p) {
                size_t word;

                p += strspn(p, "/\\");
                word = strcspn(p, "/\\");
                if (word == 2 && p[0] == '.' && p[1] == '.')
                        return -EINVAL;
                if (word == 0 || (word == 1 && *p == '.')) {
                        p += word;
                        continue;
                }
                if (n > 0)
                        out[n++] = '/';
                memcpy(out + n, p, word);
                n += word;
                p += word;
        }
        if (n == 0)
                return -EINVAL;
        memcpy(ret, out, n);
        ret[n] = '\0';
        return 0;
}

int entry_image_name_format(uint32_t number, char ret[ENTRY_IMAGE_NAME_SIZE])
{
        if (number > ENTRY_IMAGE_NUMBER_MAX)
                return -ERANGE;
        (void)snprintf(ret, ENTRY_IMAGE_NAME_SIZE, "usi-%08u.efi", number);
        return 0;
}

int entry_image_name_parse(const char *name, uint32_t *ret)
{
        uint32_t v = 0;

        if (strlen(name) != ENTRY_IMAGE_NAME_SIZE - 1 || memcmp(name, "usi-", 4) != 0 ||
            strcmp(name + 12, ".efi") != 0)
                return -EINVAL;
        for (const char *p = name + 4; p < name + 12; p++) {
                if (*p < '0' || *p > '9')
                        return -EINVAL;
                v = v * 10 + (uint32_t)(*p - '0');
        }
        *ret = v;
        return 0;
}

static void lower(char *s)
{
        for (; *s; s++)
                *s = (char)tolower((unsigned char)*s);
}

/* Ids carry the counter up to systemd-boot 253; later ones drop it, and then keep the case. */
static void entry_id(const struct entry_file *f, unsigned loader_major, char ret[NAME_MAX + 1])
{
        if (loader_major < 254 || !f->name.counted) {
                memcpy(ret, f->file, sizeof(f->file));
                lower(ret);
        } else {
                (void)snprintf(ret, NAME_MAX + 1, "%.*s%s", (int)(NAME_MAX - suffix_len),
                               f->name.base, suffix);
        }
}

static bool is_bad(const struct entry_file *f)
{
        return f->name.counted && f->name.tries_left == 0;
}

static int compare_u32(uint32_t a, uint32_t b)
{
        return (a > b) - (a < b);
}

static int compare_keys(const struct entry *a, const struct entry *b)
{
        bool key_a = a->sort_key[0], key_b = b->sort_key[0];
        int r;

        if (key_a != key_b)
                return key_a ? -1 : 1;
        if (!key_a)
                return 0;
        r = strcmp(a->sort_key, b->sort_key);
        if (r == 0)
                r = strcmp(a->machine_id, b->machine_id);
        return r != 0 ? r : version_compare(b->version, a->version);
}

/* Negative when a is shown above b. */
static int compare_files(const struct entry_file *a, const struct entry_file *b, unsigned major)
{
        char id_a[NAME_MAX + 1], id_b[NAME_MAX + 1];
        int r;

        if (is_bad(a) != is_bad(b))
                return is_bad(a) ? 1 : -1;
        r = compare_keys(&a->entry, &b->entry);
        if (r != 0)
                return r;
        entry_id(a, major, id_a);
        entry_id(b, major, id_b);
        r = version_compare(id_b, id_a);
        if (r != 0)
                return r;
        if (!a->name.counted || !b->name.counted)
                return 0;
        r = compare_u32(b->name.tries_left, a->name.tries_left);
        return r != 0 ? r : compare_u32(a->name.tries_done, b->name.tries_done);
}

const struct entry_file *entry_select(const struct entry_file *list, size_t n,
                                      unsigned loader_major)
{
        const struct entry_file *best = NULL;

        for (size_t i = 0; i < n; i++) {
                const struct entry_file *f = &list[i];

                if (!f->valid || !f->image_present)
                        continue;
                if (f->entry.key == ENTRY_KEY_UKI && loader_major < 258)
                        continue;
                if (!best || compare_files(f, best, loader_major) < 0)
                        best = f;
        }
        return best;
}
