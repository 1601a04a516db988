/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/extra.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"

#define SEPARATOR ':'
/* NAME, SIZE, FS, LABEL, encrypted. */
#define FIELDS_MAX 5u

/* The text cut at its separators. */
struct fields {
        char text[256];
        const char *item[FIELDS_MAX];
        unsigned n;
};

static int bad(struct error *e, const char *text, const char *why)
{
        error_set(e, ERROR_USAGE, EINVAL, "--partition \"%s\": %s", text, why);
        error_advise(e, "write it as NAME:SIZE[:ext4|none][:LABEL][:encrypted|plain]");
        return -EINVAL;
}

static bool is_word(const char *s, size_t max)
{
        static const char first[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        size_t n = strlen(s);

        return n > 0 && n <= max && strchr(first, s[0]) &&
               strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

bool extra_name_ok(const char *name)
{
        /* "control" is device-mapper's own node; "tb-" is how mappings of an installation begin. */
        static const char *const taken[] = {"efi", "esp", "oem", "persistent", "control"};

        if (!is_word(name, EXTRA_NAME_MAX) || strncasecmp(name, "tb-", 3) == 0)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
                if (strcasecmp(name, taken[i]) == 0)
                        return false;
        }
        return true;
}

/* COS_ is how all labels of a node of this family begin. A word that looks like another part, or
 * like a file system that is not made here, was not meant as a label. */
static bool label_ok(const char *label)
{
        static const char *const words[] = {"ext4",  "none", "encrypted", "plain", "ext2", "ext3",
                                            "btrfs", "xfs",  "f2fs",      "vfat",  "swap"};

        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                if (strcasecmp(label, words[i]) == 0)
                        return false;
        }
        return is_word(label, EXTRA_LABEL_MAX) && strncasecmp(label, "COS_", 4) != 0;
}

static int cut(const char *text, struct fields *f)
{
        char *next = f->text;

        if (strlen(text) >= sizeof(f->text))
                return -EINVAL;
        memcpy(f->text, text, strlen(text) + 1);
        while (next) {
                char *end = strchr(next, SEPARATOR);

                if (f->n == FIELDS_MAX)
                        return -EINVAL;
                f->item[f->n++] = next;
                if (end)
                        *end++ = '\0';
                next = end;
        }
        return 0;
}

static bool take_fs(const char *word, enum extra_fs *ret)
{
        if (strcmp(word, "ext4") == 0)
                *ret = EXTRA_FS_EXT4;
        else if (strcmp(word, "none") == 0)
                *ret = EXTRA_FS_NONE;
        else
                return false;
        return true;
}

static bool take_mode(const char *word, bool *encrypted)
{
        if (strcmp(word, "encrypted") != 0 && strcmp(word, "plain") != 0)
                return false;
        *encrypted = strcmp(word, "encrypted") == 0;
        return true;
}

/* What may follow the size, each at most once and in this order. 0, or -EINVAL for a word that has
 * no place. */
static int take_rest(const struct fields *f, struct extra *x)
{
        unsigned at = 2;

        (void)snprintf(x->label, sizeof(x->label), "%.*s", (int)EXTRA_LABEL_MAX, x->name);
        if (at < f->n && take_fs(f->item[at], &x->fs))
                at++;
        if (at < f->n && strcmp(f->item[at], "encrypted") != 0 &&
            strcmp(f->item[at], "plain") != 0) {
                if (!label_ok(f->item[at]))
                        return -EINVAL;
                (void)snprintf(x->label, sizeof(x->label), "%s", f->item[at++]);
        }
        if (at < f->n && take_mode(f->item[at], &x->encrypted))
                at++;
        return at == f->n ? 0 : -EINVAL;
}

static const char *check_others(const struct extra *x, const struct extra_list *list)
{
        for (size_t i = 0; i < list->n; i++) {
                if (strcasecmp(list->item[i].name, x->name) == 0)
                        return "the name is given twice";
                if (strcasecmp(list->item[i].label, x->label) == 0)
                        return "the label is given twice";
        }
        return NULL;
}

static const char *check_size(const struct extra *x)
{
        if (x->encrypted && x->size < EXTRA_MIN_ENCRYPTED)
                return "an encrypted partition needs at least 32 MiB";
        if (!x->encrypted && x->fs == EXTRA_FS_EXT4 && x->size < EXTRA_MIN_EXT4)
                return "ext4 needs at least 16 MiB";
        return NULL;
}

int extra_parse(const char *text, struct extra_list *list, struct error *e)
{
        struct extra x = {.encrypted = true};
        struct fields f = {.n = 0};
        const char *why;

        if (cut(text, &f) < 0 || f.n < 2)
                return bad(e, text, "not that many parts");
        if (!extra_name_ok(f.item[0]))
                return bad(e, text,
                           "the name is taken, or has other characters than letters, digits, "
                           "\"-\", \"_\", \".\"");
        (void)snprintf(x.name, sizeof(x.name), "%s", f.item[0]);
        if (parse_size(f.item[1], &x.size) < 0 || x.size == 0 ||
            align_up_u64(x.size, MIB, &x.size) < 0)
                return bad(e, text, "the size is none");
        if (take_rest(&f, &x) < 0)
                return bad(e, text,
                           "behind the size comes a file system, a label of at most 16 characters "
                           "that is not one of ours, and \"encrypted\" or \"plain\"");
        if (!label_ok(x.label) ||
            (strlen(x.name) > EXTRA_LABEL_MAX && strncmp(x.name, x.label, EXTRA_LABEL_MAX) == 0))
                return bad(e, text, "the name is no label: give one of at most 16 characters");
        why = check_others(&x, list) ?: check_size(&x);
        if (why)
                return bad(e, text, why);
        if (list->n == LIMIT_EXTRA_PARTITIONS)
                return bad(e, text, "too many partitions");
        list->item[list->n++] = x;
        return 0;
}

const struct extra *extra_find(const struct extra_list *list, const char *name)
{
        for (size_t i = 0; i < list->n; i++) {
                if (strcmp(list->item[i].name, name) == 0)
                        return &list->item[i];
        }
        return NULL;
}

const char *extra_fs_name(enum extra_fs fs)
{
        return fs == EXTRA_FS_EXT4 ? "ext4" : "none";
}
