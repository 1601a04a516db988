/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/disk_select.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/num.h"

/* What is against one disk, in words. */
#define REASON_SIZE (LIMIT_DISK_TERM + 64u)

/* --- words --- */

static const struct {
        const char *name;
        enum disk_select_key key;
        bool value;
} keys[] = {
        {"auto", DISK_SELECT_LARGEST, false},
        {"largest", DISK_SELECT_LARGEST, false},
        {"smallest", DISK_SELECT_SMALLEST, false},
        {"size", DISK_SELECT_SIZE, true},
        {"bus", DISK_SELECT_BUS, true},
        {"model", DISK_SELECT_MODEL, true},
        {"serial", DISK_SELECT_SERIAL, true},
        {"wwn", DISK_SELECT_WWN, true},
        {"rotational", DISK_SELECT_ROTATIONAL, true},
};

static int wrong(const struct disk_select_term *t, const char *what, struct error *e)
{
        error_set(e, ERROR_USAGE, EINVAL, "rule for the disk: \"%s\": %s", t->text, what);
        error_advise(e, "terms, joined by commas: auto, largest, smallest, size>=100G (also <=, >, "
                        "<, =; K, M, G, T), bus=nvme|virtio|scsi|sata|usb|mmc, model=GLOB, "
                        "serial=GLOB, wwn=GLOB, rotational=yes|no. A device is named by its path, "
                        "e.g. /dev/sda");
        return -EINVAL;
}

static int parse_relation(const char **text, enum disk_select_relation *ret)
{
        static const struct {
                const char *sign;
                enum disk_select_relation relation;
        } signs[] = {{">=", DISK_SELECT_AT_LEAST},
                     {"<=", DISK_SELECT_AT_MOST},
                     {">", DISK_SELECT_MORE},
                     {"<", DISK_SELECT_LESS},
                     {"=", DISK_SELECT_EQUAL}};

        for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
                size_t n = strlen(signs[i].sign);

                if (strncmp(*text, signs[i].sign, n) == 0) {
                        *text += n;
                        *ret = signs[i].relation;
                        return 0;
                }
        }
        return -EINVAL;
}

static int parse_bus(const char *value, enum sysblock_bus *ret)
{
        if (strcmp(value, "ata") == 0) {
                *ret = SYSBLOCK_BUS_SATA;
                return 0;
        }
        for (unsigned i = SYSBLOCK_BUS_OTHER + 1; i < SYSBLOCK_BUS_MAX; i++) {
                if (strcmp(value, sysblock_bus_name((enum sysblock_bus)i)) == 0) {
                        *ret = (enum sysblock_bus)i;
                        return 0;
                }
        }
        return -EINVAL;
}

static int parse_value(struct disk_select_term *t, const char *value, struct error *e)
{
        switch (t->key) {
        case DISK_SELECT_SIZE:
                return parse_size(value, &t->size) < 0
                               ? wrong(t, "not a size like 100G or 2T (powers of 1024)", e)
                               : 0;
        case DISK_SELECT_BUS:
                return parse_bus(value, &t->bus) < 0 ? wrong(t, "no such bus", e) : 0;
        case DISK_SELECT_ROTATIONAL:
                t->rotational = strcmp(value, "yes") == 0;
                return !t->rotational && strcmp(value, "no") != 0
                               ? wrong(t, "neither yes nor no", e)
                               : 0;
        case DISK_SELECT_MODEL:
        case DISK_SELECT_SERIAL:
        case DISK_SELECT_WWN:
                t->glob = value;
                return *value ? 0 : wrong(t, "the pattern is empty", e);
        case DISK_SELECT_LARGEST:
        case DISK_SELECT_SMALLEST:
                break;
        }
        return wrong(t, "takes no value", e);
}

static int parse_term(struct disk_select_term *t, struct error *e)
{
        size_t n = strcspn(t->text, "<>="), i = 0;
        const char *value = t->text + n;

        if (!*t->text)
                return wrong(t, "an empty term", e);
        while (i < ARRAY_SIZE(keys) &&
               (strlen(keys[i].name) != n || strncmp(keys[i].name, t->text, n) != 0))
                i++;
        if (i == ARRAY_SIZE(keys))
                return wrong(t, "no such term", e);
        t->key = keys[i].key;
        if (!*value)
                return keys[i].value ? wrong(t, "needs a value", e) : 0;
        if (parse_relation(&value, &t->relation) < 0)
                return wrong(t, "no such relation", e);
        if (keys[i].value && t->key != DISK_SELECT_SIZE && t->relation != DISK_SELECT_EQUAL)
                return wrong(t, "only \"=\" is possible here", e);
        return parse_value(t, value, e);
}

static bool is_order(enum disk_select_key key)
{
        return key == DISK_SELECT_LARGEST || key == DISK_SELECT_SMALLEST;
}

static int check_repeated(const struct disk_rule *rule, const struct disk_select_term *t,
                          struct error *e)
{
        for (const struct disk_select_term *o = rule->term; o < t; o++) {
                if (is_order(o->key) && is_order(t->key))
                        return wrong(t, "only one of auto, largest and smallest is possible", e);
                if (o->key == t->key && t->key != DISK_SELECT_SIZE)
                        return wrong(t, "given twice", e);
        }
        return 0;
}

/* Copies a term without the blanks around it. */
static int copy_term(const char *text, size_t n, struct disk_select_term *t, struct error *e)
{
        while (n > 0 && (*text == ' ' || *text == '\t')) {
                text++;
                n--;
        }
        while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'))
                n--;
        *t = (struct disk_select_term){.text = ""};
        (void)snprintf(t->text, sizeof(t->text), "%.*s", (int)(n < INT32_MAX ? n : INT32_MAX),
                       text);
        return n >= sizeof(t->text) ? wrong(t, "too long", e) : 0;
}

int disk_select_parse(const char *text, struct disk_rule *ret, struct error *e)
{
        _cleanup_free_ struct disk_rule *rule = calloc(1, sizeof(*rule));

        if (!rule)
                return error_oom(e);
        for (;;) {
                struct disk_select_term *t = &rule->term[rule->n];
                size_t n = strcspn(text, ",");
                int r = copy_term(text, n, t, e);

                if (r == 0)
                        r = parse_term(t, e);
                if (r == 0)
                        r = check_repeated(rule, t, e);
                if (r < 0)
                        return r;
                rule->n++;
                if (!text[n])
                        break;
                if (rule->n == LIMIT_DISK_TERMS)
                        return wrong(t, "more terms than are accepted follow", e);
                text += n + 1;
        }
        *ret = *rule;
        for (size_t i = 0; i < ret->n; i++) {
                if (ret->term[i].glob)
                        ret->term[i].glob =
                                ret->term[i].text + (rule->term[i].glob - rule->term[i].text);
        }
        return 0;
}

/* --- does a disk match? --- */

static bool matches_size(const struct disk_select_term *t, uint64_t size)
{
        switch (t->relation) {
        case DISK_SELECT_LESS:
                return size < t->size;
        case DISK_SELECT_AT_MOST:
                return size <= t->size;
        case DISK_SELECT_MORE:
                return size > t->size;
        case DISK_SELECT_AT_LEAST:
                return size >= t->size;
        case DISK_SELECT_EQUAL:
                break;
        }
        return size == t->size;
}

static bool matches_glob(const char *glob, const char *text)
{
        return *text && fnmatch(glob, text, FNM_CASEFOLD) == 0;
}

static bool matches_wwn(const char *glob, const char *wwn)
{
        char number[LIMIT_DISK_TERM];

        if (matches_glob(glob, wwn))
                return true;
        if (strncmp(wwn, "naa.", 4) != 0 && strncmp(wwn, "eui.", 4) != 0)
                return false;
        (void)snprintf(number, sizeof(number), "0x%s", wwn + 4);
        return matches_glob(glob, number);
}

static bool matches(const struct disk_select_term *t, const struct disk *d)
{
        switch (t->key) {
        case DISK_SELECT_SIZE:
                return matches_size(t, d->size);
        case DISK_SELECT_BUS:
                return d->bus == t->bus;
        case DISK_SELECT_MODEL:
                return matches_glob(t->glob, d->model);
        case DISK_SELECT_SERIAL:
                return matches_glob(t->glob, d->serial);
        case DISK_SELECT_WWN:
                return matches_wwn(t->glob, d->wwn);
        case DISK_SELECT_ROTATIONAL:
                return d->rotational == t->rotational;
        case DISK_SELECT_LARGEST:
        case DISK_SELECT_SMALLEST:
                break;
        }
        return true;
}

/* What is against a disk; false: nothing. */
static bool objects(const struct disk_rule *rule, const struct disk_candidate *c,
                    char why[REASON_SIZE])
{
        const struct disk *d = c->disk;
        const char *never = c->never;

        if (!never && d->size == 0)
                never = "no medium";
        if (!never && d->read_only)
                never = "read-only";
        if (!never && d->removable)
                never = "removable, so only by its own name";
        why[0] = '\0';
        if (never) {
                (void)snprintf(why, REASON_SIZE, "%s", never); /* a cut reason is still one */
                return true;
        }
        for (size_t i = 0; i < rule->n; i++) {
                if (!matches(&rule->term[i], d)) {
                        (void)snprintf(why, REASON_SIZE, "not %s", rule->term[i].text);
                        return true;
                }
        }
        return false;
}

/* --- the choice --- */

static const struct disk_select_term *find_order(const struct disk_rule *rule)
{
        for (size_t i = 0; i < rule->n; i++) {
                if (is_order(rule->term[i].key))
                        return &rule->term[i];
        }
        return NULL;
}

/* Negative: a is the better one. Without an order all are as good. */
static int compare(const struct disk_select_term *order, const struct disk *a, const struct disk *b)
{
        int r = a->size < b->size ? -1 : a->size > b->size;

        if (!order)
                return 0;
        return order->key == DISK_SELECT_LARGEST ? -r : r;
}

static int describe(struct buf *b, const struct disk_candidate *c, const char *reason)
{
        const struct disk *d = c->disk;
        char size[32];

        return buf_printf(b, "\n  %s: %s, serial %s, %s, %s%s%s%s%s", d->path,
                          *d->model ? d->model : "no model", *d->serial ? d->serial : "none",
                          format_size(d->size, size, sizeof(size)), sysblock_bus_name(d->bus),
                          *c->link ? ", " : "", c->link, *reason ? ": " : "", reason);
}

static int no_match(const struct disk_rule *rule, const struct disk_candidate *disks, size_t n,
                    struct error *e)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_DISK_REPORT);
        char why[REASON_SIZE];
        size_t i;

        for (i = 0; i < n; i++) {
                (void)objects(rule, &disks[i], why);
                if (describe(&list, &disks[i], why) < 0)
                        break;
        }
        error_set(e, ERROR_PRECONDITION, ENODEV, "no disk fits the rule%s%s%s", n > 0 ? ":" : "",
                  buf_str(&list), i < n ? "\n  and more" : "");
        error_advise(e, n > 0 ? "change the rule, or name the disk"
                              : "there is no disk, or its driver is missing");
        return -ENODEV;
}

static int tie(const struct disk_rule *rule, const struct disk_candidate *disks, size_t n,
               const struct disk *best, struct error *e)
{
        const struct disk_select_term *order = find_order(rule);
        _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_DISK_REPORT);
        char why[REASON_SIZE];
        bool cut = false;

        for (size_t i = 0; i < n && !cut; i++) {
                if (!objects(rule, &disks[i], why) && compare(order, disks[i].disk, best) == 0)
                        cut = describe(&list, &disks[i], "") < 0;
        }
        error_set(e, ERROR_PRECONDITION, ENOTUNIQ, "several disks fit the rule equally well:%s%s",
                  buf_str(&list), cut ? "\n  and more" : "");
        error_advise(e, "add a term that tells them apart (serial=, wwn=%s), or name the disk",
                     order ? "" : ", largest, smallest");
        return -ENOTUNIQ;
}

int disk_select_choose(const struct disk_rule *rule, const struct disk_candidate *disks, size_t n,
                       size_t *ret, char *why, size_t n_why, struct error *e)
{
        const struct disk_select_term *order = find_order(rule);
        char reason[REASON_SIZE];
        size_t best = n, fitting = 0, equal = 0;

        for (size_t i = 0; i < n; i++) {
                int better;

                if (objects(rule, &disks[i], reason))
                        continue;
                fitting++;
                better = best < n ? compare(order, disks[i].disk, disks[best].disk) : -1;
                if (better < 0)
                        best = i;
                equal = better < 0 ? 1 : equal + (better == 0);
        }
        if (best == n)
                return no_match(rule, disks, n, e);
        if (equal > 1)
                return tie(rule, disks, n, disks[best].disk, e);
        if (fitting == 1)
                (void)snprintf(why, n_why, "the only disk that fits the rule");
        else
                (void)snprintf(why, n_why, "the %s of %zu disks that fit the rule",
                               order->key == DISK_SELECT_LARGEST ? "largest" : "smallest", fitting);
        *ret = best;
        return 0;
}
