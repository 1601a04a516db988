/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_yaml.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/limits.h"

#define BINARY_TAG "tag:yaml.org,2002:binary"

struct reading {
        yaml_document_t *document;
        const char *file;
        struct config_problems *problems;
        unsigned nodes;
        bool wrong, no_memory;
};

static struct config_place place(const struct reading *rd, yaml_mark_t mark)
{
        return (struct config_place){rd->file, (unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static void *refuse(struct reading *rd, yaml_mark_t mark, const char *why)
{
        config_error(rd->problems, place(rd, mark), "%s", why);
        rd->wrong = true;
        return NULL;
}

static struct config_node *convert(struct reading *rd, int index, unsigned depth);

static bool is_null(const char *text)
{
        return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
               strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static void convert_scalar(struct reading *rd, const yaml_node_t *from, struct config_node *node)
{
        const char *text = (const char *)from->data.scalar.value;
        size_t n = from->data.scalar.length, to = 0;

        if (memchr(text, '\0', n)) {
                (void)refuse(rd, from->start_mark, "a text with a NUL character");
                return;
        }
        node->binary = strcmp((const char *)from->tag, BINARY_TAG) == 0;
        node->plain = !node->binary && from->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        if (node->plain && is_null(text))
                return;
        node->kind = CONFIG_SCALAR;
        node->text = calloc(n + 1, 1);
        if (!node->text) {
                rd->no_memory = true;
                return;
        }
        /* Base64 may be folded. */
        for (size_t i = 0; i < n; i++) {
                if (!node->binary || !strchr(" \t\r\n", text[i]))
                        node->text[to++] = text[i];
        }
}

static void convert_list(struct reading *rd, const yaml_node_t *from, struct config_node *node,
                         unsigned depth)
{
        node->kind = CONFIG_LIST;
        for (yaml_node_item_t *i = from->data.sequence.items.start;
             i < from->data.sequence.items.top; i++) {
                struct config_node *item = convert(rd, *i, depth + 1);

                if (!item)
                        return;
                config_node_add(node, item);
        }
}

/* A key as it is known here: a text that the map does not have yet. NULL: there is none. */
static char *convert_key(struct reading *rd, const struct config_node *map, int index)
{
        const yaml_node_t *key = yaml_document_get_node(rd->document, index);
        char *text;

        if (!key || key->type != YAML_SCALAR_NODE ||
            strlen((const char *)key->data.scalar.value) != key->data.scalar.length)
                return refuse(rd, key ? key->start_mark : (yaml_mark_t){0},
                              "a key that is no plain word");
        text = (char *)key->data.scalar.value;
        if (config_node_find(map, text)) {
                config_error(rd->problems, place(rd, key->start_mark), "\"%s\" is given twice",
                             text);
                rd->wrong = true;
                return NULL;
        }
        text = strdup(text);
        rd->no_memory = rd->no_memory || !text;
        return text;
}

static void convert_map(struct reading *rd, const yaml_node_t *from, struct config_node *node,
                        unsigned depth)
{
        node->kind = CONFIG_MAP;
        for (yaml_node_pair_t *p = from->data.mapping.pairs.start; p < from->data.mapping.pairs.top;
             p++) {
                const yaml_node_t *at = yaml_document_get_node(rd->document, p->key);
                _cleanup_free_ char *key = NULL;
                struct config_node *value;

                if (node->n >= LIMIT_CONFIG_KEYS) {
                        (void)refuse(rd, at->start_mark, "too many keys in one map");
                        return;
                }
                key = convert_key(rd, node, p->key);
                value = key ? convert(rd, p->value, depth + 1) : NULL;
                if (!value)
                        return;
                value->key = TAKE_PTR(key);
                value->key_at = place(rd, at->start_mark);
                config_node_add(node, value);
        }
}

static bool tag_is_known(const yaml_node_t *node)
{
        static const char *const known[] = {YAML_STR_TAG, YAML_SEQ_TAG, YAML_MAP_TAG, BINARY_TAG};

        for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
                if (node->tag && strcmp((const char *)node->tag, known[i]) == 0)
                        return true;
        }
        return false;
}

/* The limits also end what aliases make endless. NULL: the reading is over. */
static struct config_node *convert(struct reading *rd, int index, unsigned depth)
{
        const yaml_node_t *from = yaml_document_get_node(rd->document, index);
        struct config_node *node;

        if (!from)
                return refuse(rd, (yaml_mark_t){0}, "YAML: a value is missing");
        if (depth > LIMIT_CONFIG_DEPTH || ++rd->nodes > LIMIT_CONFIG_NODES)
                return refuse(rd, from->start_mark, "too many values, or too many levels");
        if (!tag_is_known(from))
                return refuse(rd, from->start_mark, "tags (!name) are not accepted");
        node = config_node_new(CONFIG_NOTHING, place(rd, from->start_mark));
        if (!node) {
                rd->no_memory = true;
                return NULL;
        }
        if (from->type == YAML_SCALAR_NODE)
                convert_scalar(rd, from, node);
        else if (from->type == YAML_SEQUENCE_NODE)
                convert_list(rd, from, node, depth);
        else
                convert_map(rd, from, node, depth);
        if (!rd->wrong && !rd->no_memory)
                return node;
        config_node_free(node);
        return NULL;
}

static void note_syntax(struct reading *rd, const yaml_parser_t *parser)
{
        if (parser->error == YAML_MEMORY_ERROR) {
                rd->no_memory = true;
                return;
        }
        config_error(rd->problems, place(rd, parser->problem_mark), "YAML: %s",
                     parser->problem ?: "this is none that can be read");
        rd->wrong = true;
}

/* The next document of the text has something in it. */
static bool has_more(struct reading *rd, yaml_parser_t *parser)
{
        yaml_document_t document;
        bool more;

        if (!yaml_parser_load(parser, &document)) {
                note_syntax(rd, parser);
                return false;
        }
        more = yaml_document_get_root_node(&document);
        yaml_document_delete(&document);
        return more;
}

static struct config_node *read_document(struct reading *rd, yaml_parser_t *parser)
{
        const yaml_node_t *root = yaml_document_get_root_node(rd->document);
        struct config_node *node;

        if (!root) /* an empty file says nothing */
                return config_node_new(CONFIG_MAP, (struct config_place){rd->file, 1, 1});
        node = convert(rd, 1, 0);
        if (node && node->kind == CONFIG_NOTHING)
                node->kind = CONFIG_MAP;
        if (node && node->kind != CONFIG_MAP)
                (void)refuse(rd, root->start_mark, "expected sections, \"users:\" and others");
        if (node && !rd->wrong && has_more(rd, parser))
                (void)refuse(rd, parser->mark, "a second document, one file holds one");
        return node;
}

int userdata_yaml_read(const char *text, size_t n, const char *file,
                       struct config_problems *problems, struct config_node **ret)
{
        _cleanup_(config_node_free_p) struct config_node *root = NULL;
        struct reading rd = {.file = file, .problems = problems};
        yaml_document_t document;
        yaml_parser_t parser;

        *ret = NULL;
        if (!yaml_parser_initialize(&parser))
                return -ENOMEM;
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
        if (yaml_parser_load(&parser, &document)) {
                rd.document = &document;
                root = read_document(&rd, &parser);
                rd.no_memory = rd.no_memory || (!root && !rd.wrong);
                yaml_document_delete(&document);
        } else {
                note_syntax(&rd, &parser);
        }
        yaml_parser_delete(&parser);
        if (rd.no_memory)
                return -ENOMEM;
        if (!rd.wrong)
                *ret = TAKE_PTR(root);
        return 0;
}

/* --- writing -----------------------------------------------------------------------------------*/

/* A plain text that reads the same inside of brackets: the reader decides what it is, a number, a
 * truth or a word. */
static bool can_be_plain(const char *s)
{
        static const char inner[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+:-";
        size_t n = strlen(s), sign = n > 1 && strchr("-+.", s[0]);

        return n > 0 && s[n - 1] != ':' && strchr(inner, s[sign]) && !strchr("_.+:-", s[sign]) &&
               strspn(s, inner) == n;
}

static size_t decode(const uint8_t *s, uint32_t *ret)
{
        size_t length = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
        uint32_t c = length == 1 ? s[0] : s[0] & (0x7fu >> length);

        for (size_t i = 1; i < length; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        *ret = c;
        return length;
}

static int write_text(const char *s, struct buf *out)
{
        int r = buf_add_str(out, "\"");

        while (*s && r == 0) {
                uint32_t c;
                size_t n = decode((const uint8_t *)s, &c);

                if (n == 0) /* libyaml gives UTF-8 alone */
                        return -EINVAL;
                s += n;
                if (c == '"' || c == '\\')
                        r = buf_printf(out, "\\%c", (char)c);
                else if (c == '\n')
                        r = buf_add_str(out, "\\n");
                else if (c >= 0x20 && c < 0x7f)
                        r = buf_printf(out, "%c", (char)c);
                else
                        r = buf_printf(out,
                                       c < 0x100     ? "\\x%02x"
                                       : c < 0x10000 ? "\\u%04x"
                                                     : "\\U%08x",
                                       c);
        }
        return r < 0 ? r : buf_add_str(out, "\"");
}

static int write_scalar(const struct config_node *node, struct buf *out)
{
        int r = 0;

        if (node->plain && can_be_plain(node->text))
                return buf_add_str(out, node->text);
        if (node->binary)
                r = buf_add_str(out, "!!binary ");
        return r < 0 ? r : write_text(node->text, out);
}

static int write_members(const struct config_node *node, struct buf *out)
{
        bool map = node->kind == CONFIG_MAP;
        int r = buf_add_str(out, map ? "{" : "[");

        for (const struct config_node *m = node->first; m && r == 0; m = m->next) {
                if (m != node->first)
                        r = buf_add_str(out, ", ");
                /* The reader of the result merges what was to be merged. */
                if (r == 0 && map)
                        r = strcmp(m->key, "<<") == 0 ? buf_add_str(out, "<<")
                                                      : write_text(m->key, out);
                if (r == 0 && map)
                        r = buf_add_str(out, ": ");
                if (r == 0)
                        r = userdata_yaml_write(m, out);
        }
        return r < 0 ? r : buf_add_str(out, map ? "}" : "]");
}

int userdata_yaml_write(const struct config_node *node, struct buf *out)
{
        if (node->kind == CONFIG_SCALAR)
                return write_scalar(node, out);
        if (node->kind == CONFIG_MAP || node->kind == CONFIG_LIST)
                return write_members(node, out);
        return buf_add_str(out, "null");
}
