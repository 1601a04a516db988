/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_read.h"

#include <inttypes.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/config_table.h"
#include "agent/pcr_choice.h"
#include "base/limits.h"
#include "base/num.h"

/* Longest path of a key, with a number in brackets. */
#define PATH_ROOM 128u
#define WHAT_ROOM 96u

struct taking {
        struct config_problems *problems;
        bool merged, no_memory;
        char path[PATH_ROOM]; /* of the key at hand, for messages */
};

/* The path one step further, and back to the length that is returned. */
static size_t enter(struct taking *t, const char *name)
{
        size_t n = strlen(t->path);

        (void)snprintf(t->path + n, sizeof(t->path) - n, "%s%s", n > 0 ? "." : "", name);
        return n;
}

static size_t enter_item(struct taking *t, size_t i)
{
        size_t n = strlen(t->path);

        (void)snprintf(t->path + n, sizeof(t->path) - n, "[%zu]", i);
        return n;
}

static void leave(struct taking *t, size_t n)
{
        t->path[n] = '\0';
}

/* --- scalars -----------------------------------------------------------------------------------*/

int config_scalar_bool(const struct config_node *node, bool *ret)
{
        static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no",
                                                                               "off"};

        if (node->kind != CONFIG_SCALAR || !node->plain)
                return -EINVAL;
        for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
                bool is_yes = strcasecmp(node->text, yes[i]) == 0;

                if (is_yes || strcasecmp(node->text, no[i]) == 0) {
                        *ret = is_yes;
                        return 0;
                }
        }
        return -EINVAL;
}

static bool all_digits(const char *s)
{
        return *s && !s[strspn(s, "0123456789")];
}

/* What YAML takes for a number where a text without quotes stands: of all forms those that people
 * write. */
static bool is_number(const struct config_node *node)
{
        const char *s = node->text;

        if (node->kind != CONFIG_SCALAR || !node->plain)
                return false;
        s += *s == '-' || *s == '+';
        return *s >= '0' && *s <= '9' && !s[strspn(s, "0123456789._")];
}

/* "the text \"x\"", "a list": what stands where something else is expected. */
static const char *describe(const struct config_node *node, char buf[WHAT_ROOM])
{
        bool b;

        switch (node->kind) {
        case CONFIG_NOTHING:
                return "nothing";
        case CONFIG_MAP:
                return "a map";
        case CONFIG_LIST:
                return "a list";
        case CONFIG_FOREIGN:
                return "a value";
        case CONFIG_SCALAR:
                break;
        }
        if (config_scalar_bool(node, &b) == 0)
                return b ? "true" : "false";
        (void)snprintf(buf, WHAT_ROOM, is_number(node) ? "the number %.40s" : "the text \"%.40s\"",
                       node->text);
        return buf;
}

static void expected(struct taking *t, const struct config_node *node, const char *what)
{
        char buf[WHAT_ROOM];

        if (!node->broken)
                config_error(t->problems, node->at, "%s: expected %s, found %s", t->path, what,
                             describe(node, buf));
}

static bool matches(struct taking *t, const char *pattern, const char *text)
{
        regex_t compiled;
        int r = regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB);

        if (r == 0) {
                r = regexec(&compiled, text, 0, NULL, 0);
                regfree(&compiled);
        }
        t->no_memory = t->no_memory || (r != 0 && r != REG_NOMATCH);
        return r == 0;
}

static bool has_control(const char *s)
{
        for (; *s; s++) {
                if ((unsigned char)*s < 0x20 || *s == 0x7f)
                        return true;
        }
        return false;
}

static const char *checked(struct taking *t, const struct config_rule *rule,
                           const struct config_node *node)
{
        char why[384] = "";
        int r = rule->check ? rule->check(node->text, why, sizeof(why)) : 0;

        if (r == -ENOMEM)
                t->no_memory = true;
        else if (r < 0)
                config_error(t->problems, node->at, "%s: %s", t->path, why);
        return r < 0 ? NULL : node->text;
}

/* The text of a node when the rule accepts it, else NULL and a problem. */
static const char *text_of(struct taking *t, const struct config_rule *rule,
                           const struct config_node *node)
{
        const char *text = node->text;
        bool b;

        if (node->kind != CONFIG_SCALAR) {
                expected(t, node, "a text");
        } else if (is_number(node) || config_scalar_bool(node, &b) == 0) {
                expected(t, node, "a text");
                config_advise(t->problems, "put it in quotes");
        } else if (rule->refused_prefix &&
                   strncmp(text, rule->refused_prefix, strlen(rule->refused_prefix)) == 0) {
                config_error(t->problems, node->at, "%s: \"%s\" is refused: %s", t->path,
                             rule->refused_prefix, rule->refused_why);
        } else if (strlen(text) > rule->max) {
                config_error(t->problems, node->at, "%s: a text of %zu bytes, at most %u fit",
                             t->path, strlen(text), rule->max);
        } else if (has_control(text) || !matches(t, rule->pattern, text)) {
                config_error(t->problems, node->at, "%s: \"%.200s\" is not %s", t->path,
                             rule->is_source && strchr(text, '@') ? "***" : text, rule->is);
        } else {
                return checked(t, rule, node);
        }
        return NULL;
}

static void take_text(struct taking *t, const struct config_key *key,
                      const struct config_node *node, const char **to)
{
        const char *text = text_of(t, key->rule, node);

        if (text && *to)
                config_error(t->problems, node->at,
                             "%s: the same was said already, in other words; keep one of them",
                             t->path);
        else if (text)
                *to = text;
}

static void take_bool(struct taking *t, const struct config_node *node, bool *to)
{
        if (config_scalar_bool(node, to) < 0)
                expected(t, node, "true or false");
}

static void list_words(const struct config_key *key, char *buf, size_t n)
{
        size_t used = 0;

        buf[0] = '\0';
        for (const struct config_word *w = key->words; w->word && used < n; w++)
                used += (size_t)snprintf(buf + used, n - used, "%s%s", used > 0 ? ", " : "",
                                         w->word);
}

static void take_word(struct taking *t, const struct config_key *key,
                      const struct config_node *node, unsigned *to)
{
        const char *candidates[16] = {NULL};
        const char *near;
        char list[128];
        size_t n = 0;

        if (node->kind != CONFIG_SCALAR) {
                expected(t, node, "a text");
                return;
        }
        for (const struct config_word *w = key->words; w->word; w++) {
                if (strcmp(w->word, node->text) == 0) {
                        if (to)
                                *to = w->value;
                        return;
                }
                if (n + 1 < ARRAY_SIZE(candidates))
                        candidates[n++] = w->word;
        }
        list_words(key, list, sizeof(list));
        config_error(t->problems, node->at, "%s: \"%.80s\" is not %s%s", t->path, node->text,
                     n > 1 ? "one of " : "", list);
        near = config_nearest(node->text, candidates);
        if (near && n > 1)
                config_advise(t->problems, "did you mean \"%s\"?", near);
}

/* A number is MiB, as Kairos has it; a text has its unit. Others read 010 as 8. */
static int parse(const struct config_node *node, uint64_t *ret)
{
        const char *s = node->text;
        int r;

        if (node->kind != CONFIG_SCALAR || (s[0] == '0' && s[1] >= '0' && s[1] <= '9'))
                return -EINVAL;
        if (!all_digits(s))
                return parse_size(s, ret);
        if (!node->plain)
                return -EDOM;
        r = parse_u64(s, ret);
        return r < 0 ? r : mul_u64(*ret, MIB, ret);
}

static void take_size(struct taking *t, const struct config_key *key,
                      const struct config_node *node, uint64_t *to)
{
        char low[32], high[32], found[32];
        uint64_t v = 0;
        int r = parse(node, &v);

        if (r == -EDOM) {
                config_error(t->problems, node->at, "%s: \"%.40s\" has no unit", t->path,
                             node->text);
                config_advise(t->problems, "write %.20s for MiB, or \"%.20sG\"", node->text,
                              node->text);
        } else if (r == -ERANGE || r == -EOVERFLOW || (r == 0 && v > key->max)) {
                config_error(t->problems, node->at, "%s: more than %s", t->path,
                             format_size(key->max, high, sizeof(high)));
        } else if (r < 0) {
                expected(t, node, "a size (a number of MiB, or a text like 2G)");
        } else if (v < key->min && !(v == 0 && key->or_zero)) {
                config_error(t->problems, node->at, "%s: %s is less than %s", t->path,
                             format_size(v, found, sizeof(found)),
                             format_size(key->min, low, sizeof(low)));
        } else {
                *to = v;
        }
}

/* --- lists -------------------------------------------------------------------------------------*/

/* No value is an empty list, as it is an empty map. */
static bool is_list(struct taking *t, const struct config_node *node, size_t max)
{
        if (node->kind == CONFIG_NOTHING)
                return false;
        if (node->kind != CONFIG_LIST) {
                expected(t, node, "a list");
                return false;
        }
        if (node->n > max)
                config_error(t->problems, node->at, "%s: %zu items, at most %zu are accepted",
                             t->path, node->n, max);
        return node->n <= max && node->n > 0;
}

static bool lists(const struct config_list *list, const char *text)
{
        for (unsigned i = 0; i < list->n; i++) {
                if (strcmp(list->item[i], text) == 0)
                        return true;
        }
        return false;
}

static void take_texts(struct taking *t, const struct config_key *key,
                       const struct config_node *node, struct config_list *to)
{
        size_t i = 0;

        if (!is_list(t, node, LIMIT_CONFIG_LIST))
                return;
        to->item = calloc(node->n, sizeof(*to->item));
        t->no_memory = t->no_memory || !to->item;
        for (const struct config_node *m = node->first; m && to->item; m = m->next) {
                size_t back = enter_item(t, i++);
                const char *text = text_of(t, key->rule, m);

                if (text && lists(to, text))
                        config_error(t->problems, m->at, "%s: \"%.200s\" is listed twice", t->path,
                                     text);
                else if (text)
                        to->item[to->n++] = text;
                leave(t, back);
        }
}

static void take_pcrs(struct taking *t, const struct config_key *key,
                      const struct config_node *node, uint32_t *to)
{
        size_t i = 0;

        if (!is_list(t, node, LIMIT_CONFIG_LIST))
                return;
        for (const struct config_node *m = node->first; m; m = m->next) {
                size_t back = enter_item(t, i++);
                const char *why = NULL;
                uint64_t v = 0;

                /* Kairos' own type is a list of texts. */
                if (m->kind != CONFIG_SCALAR || !all_digits(m->text) ||
                    (m->text[0] == '0' && m->text[1]))
                        expected(t, m, "the number of a PCR");
                else if (parse_u64_max(m->text, UINT64_MAX, &v) < 0 ||
                         (why = pcr_choice_refusal(key->pcrs, v)))
                        config_error(t->problems, m->at, "%s: PCR %.20s cannot be bound: %s",
                                     t->path, m->text, why ? why : "there is no such PCR");
                else if (*to & UINT32_C(1) << v)
                        config_error(t->problems, m->at, "%s: PCR %" PRIu64 " is listed twice",
                                     t->path, v);
                else
                        *to |= UINT32_C(1) << v;
                leave(t, back);
        }
}

static void take_map(struct taking *t, const struct config_key *members,
                     const struct config_node *node, uint8_t *base);

static void take_partitions(struct taking *t, const struct config_key *key,
                            const struct config_node *node, struct config_partitions *to)
{
        size_t i = 0;

        if (!is_list(t, node, LIMIT_CONFIG_EXTRA_PARTITIONS))
                return;
        to->item = calloc(node->n, sizeof(*to->item));
        t->no_memory = t->no_memory || !to->item;
        for (const struct config_node *m = node->first; m && to->item; m = m->next) {
                size_t back = enter_item(t, i);

                if (m->kind == CONFIG_MAP)
                        take_map(t, key->members, m, (uint8_t *)&to->item[i]);
                else
                        expected(t, m, "a map");
                to->n = (unsigned)++i;
                leave(t, back);
        }
}

/* --- maps --------------------------------------------------------------------------------------*/

/* A value that asks for nothing. */
static bool is_no(const struct config_node *node)
{
        bool b = true;

        return node->kind == CONFIG_NOTHING || (config_scalar_bool(node, &b) == 0 && !b);
}

static void take_unused(struct taking *t, const struct config_key *key,
                        const struct config_node *node)
{
        if (key->use == CONFIG_REFUSED && !is_no(node))
                config_error(t->problems, node->key_at, "%s: is refused: %s", t->path, key->help);
        else if (!t->merged)
                config_warning(t->problems, node->key_at, "%s: has no effect: %s", t->path,
                               key->help);
}

static void take_used(struct taking *t, const struct config_key *key,
                      const struct config_node *node, uint8_t *base)
{
        void *to = key->target == CONFIG_NOWHERE ? NULL : base + key->target;

        switch (key->type) {
        case CONFIG_TYPE_ANY:
                break;
        case CONFIG_TYPE_MAP:
                if (node->kind == CONFIG_MAP)
                        take_map(t, key->members, node, base);
                else if (node->kind != CONFIG_NOTHING)
                        expected(t, node, "a map");
                break;
        case CONFIG_TYPE_BOOL:
                take_bool(t, node, to);
                break;
        case CONFIG_TYPE_TEXT:
                take_text(t, key, node, to);
                break;
        case CONFIG_TYPE_WORD:
                take_word(t, key, node, to);
                break;
        case CONFIG_TYPE_SIZE:
                take_size(t, key, node, to);
                break;
        case CONFIG_TYPE_TEXTS:
                take_texts(t, key, node, to);
                break;
        case CONFIG_TYPE_PCRS:
                take_pcrs(t, key, node, to);
                break;
        case CONFIG_TYPE_PARTITIONS:
                take_partitions(t, key, node, to);
                break;
        }
}

/* Keys that mean something here are suggested, those without an effect are not. */
static const char *nearest_key(const struct config_key *members, const char *name)
{
        const char *names[64] = {NULL};
        size_t n = 0;

        for (; members->name && n + 1 < ARRAY_SIZE(names); members++) {
                if (members->use == CONFIG_USED)
                        names[n++] = members->name;
        }
        return config_nearest(name, names);
}

static void unknown(struct taking *t, const struct config_key *members,
                    const struct config_node *node)
{
        const char *near = nearest_key(members, node->key);

        config_error(t->problems, node->key_at, "%s: unknown key \"%.80s\"", t->path, node->key);
        if (strchr(node->key, '.'))
                config_advise(t->problems, "keys with dots are not split; write each part on a "
                                           "line of its own, indented below the one before");
        else if (near)
                config_advise(t->problems, "did you mean \"%s\"?", near);
}

/* A section of others whose name is almost one of ours. */
static void look_at_foreign(struct taking *t, const struct config_node *node)
{
        const char *near = nearest_key(config_table, node->key);

        if (!near || t->merged)
                return;
        config_warning(t->problems, node->key_at, "\"%.80s\" is left to others", node->key);
        config_advise(t->problems, "did you mean \"%s\"?", near);
}

static void take_map(struct taking *t, const struct config_key *members,
                     const struct config_node *node, uint8_t *base)
{
        for (const struct config_node *m = node->first; m; m = m->next) {
                const struct config_key *key = config_key_find(members, m->key);
                size_t back;

                if (m->kind == CONFIG_FOREIGN) {
                        look_at_foreign(t, m);
                        continue;
                }
                if (!key) {
                        unknown(t, members, m);
                        continue;
                }
                back = enter(t, key->name);
                if (key->use == CONFIG_USED)
                        take_used(t, key, m, base);
                else
                        take_unused(t, key, m);
                leave(t, back);
        }
        for (; members->name; members++) {
                if (members->required && !config_node_find(node, members->name))
                        config_error(t->problems, node->at, "%s: \"%s\" is missing", t->path,
                                     members->name);
        }
}

/* --- defaults ----------------------------------------------------------------------------------*/

/* Before the values, which overwrite them. A text has none: NULL says that it was not said. */
static void set_defaults(struct taking *t, const struct config_key *members, uint8_t *base)
{
        for (; members->name; members++) {
                struct config_node node = {.kind = CONFIG_SCALAR,
                                           .plain = true,
                                           .text = (char *)(uintptr_t)members->fallback};
                void *to;

                if (members->type == CONFIG_TYPE_MAP)
                        set_defaults(t, members->members, base);
                if (!members->fallback || members->target == CONFIG_NOWHERE)
                        continue;
                to = base + members->target;
                if (members->type == CONFIG_TYPE_BOOL)
                        take_bool(t, &node, to);
                else if (members->type == CONFIG_TYPE_WORD)
                        take_word(t, members, &node, to);
        }
}

int config_read(const struct config_node *root, bool merged, struct config *c,
                struct config_problems *problems)
{
        struct taking t = {.problems = problems, .merged = merged};
        uint8_t *base = (uint8_t *)c;

        set_defaults(&t, config_table, base);
        take_map(&t, config_table, root, base);
        return t.no_memory ? -ENOMEM : 0;
}

static void free_hooks(struct config_hooks *h)
{
        free((void *)(uintptr_t)h->before.item);
        free((void *)(uintptr_t)h->after.item);
}

void config_read_done(struct config *c)
{
        struct config_install *i = &c->install;

        free((void *)(uintptr_t)i->encrypted_partitions.item);
        free((void *)(uintptr_t)i->bind_mounts.item);
        free((void *)(uintptr_t)i->ephemeral_mounts.item);
        free(i->extra.item);
        free_hooks(&i->hooks);
        free_hooks(&c->upgrade.hooks);
        free_hooks(&c->reset.hooks);
}
