/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_yaml.h"

#include <libfyaml.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"

/* Kairos looks for the header in so many lines: a template's mark may come before it. */
#define HEADER_LINES 10u

static const char *const headers[] = {"#cloud-config", "#kairos-config", "#node-config"};

/* --- the text ----------------------------------------------------------------------------------*/

static bool is_header(const char *line, size_t n)
{
        while (n > 0 && strchr(" \t\r", line[n - 1]))
                n--;
        for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
                if (n == strlen(headers[i]) && memcmp(line, headers[i], n) == 0)
                        return true;
        }
        return false;
}

/* Behind a byte order mark, which editors of other systems write. */
static size_t skip_mark(const char *text, size_t n)
{
        return n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

bool config_yaml_has_header(const char *text, size_t n)
{
        size_t at = skip_mark(text, n);

        for (unsigned line = 0; line < HEADER_LINES && at < n; line++) {
                const char *end = memchr(text + at, '\n', n - at);
                size_t length = end ? (size_t)(end - text) - at : n - at;

                if (is_header(text + at, length))
                        return true;
                at += length + 1;
        }
        return false;
}

/* Bytes of the character at s, 0 when it is no UTF-8 (RFC 3629: shortest form, no surrogates). */
static size_t character(const uint8_t *s, size_t n, uint32_t *ret)
{
        static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
        uint32_t c = s[0];

        if (length == 0 || length > n || s[0] > 0xf4)
                return 0;
        if (length > 1)
                c &= 0x7fu >> length;
        for (size_t i = 1; i < length; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return 0;
        *ret = c;
        return length;
}

/* YAML 1.2, section 5.1. */
static bool is_printable(uint32_t c)
{
        if (c < 0x20)
                return c == '\t' || c == '\n' || c == '\r';
        return c != 0x7f && (c < 0x80 || c > 0x9f || c == 0x85) && c != 0xfffe && c != 0xffff;
}

/* Whether all of it is text; the first place where it is not is noted. */
static bool check_text(const char *text, size_t n, const char *file, struct config_problems *p)
{
        struct config_place at = {file, 1, 1};

        for (size_t i = 0; i < n;) {
                uint32_t c = 0;
                size_t length = character((const uint8_t *)text + i, n - i, &c);

                if (length == 0) {
                        config_error(p, at, "byte 0x%02x is no UTF-8", (unsigned)(uint8_t)text[i]);
                        config_advise(p, "save the file in UTF-8");
                        return false;
                }
                if (!is_printable(c)) {
                        config_error(p, at, "control character U+%04X", (unsigned)c);
                        return false;
                }
                i += length;
                at.column++;
                if (c == '\n') {
                        at.line++;
                        at.column = 1;
                }
        }
        return true;
}

/* --- events ------------------------------------------------------------------------------------*/

struct reading {
        struct fy_parser *parser;
        const char *file;
        struct config_problems *problems;
        unsigned nodes;
        bool syntax;  /* the text is no YAML */
        bool stopped; /* a limit was hit: the rest is not read */
        bool no_memory;
        struct config_place last; /* of the last event that had one */
};

static struct config_place place_of(struct reading *rd, struct fy_event *ev)
{
        const struct fy_mark *m = fy_event_start_mark(ev);
        enum fy_scalar_style style = FYSS_PLAIN;

        if (!m || m->line < 0 || m->column < 0)
                return rd->last;
        if (ev->type == FYET_SCALAR)
                style = fy_token_scalar_style(ev->scalar.value);
        /* The mark of a block stands in the line below the one that is wrong, if one is. */
        if (style == FYSS_LITERAL || style == FYSS_FOLDED)
                return rd->last;
        rd->last = (struct config_place){rd->file, (unsigned)m->line + 1, (unsigned)m->column + 1};
        /* The mark stands behind a quote, and behind the star of an alias. */
        if ((style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED ||
             ev->type == FYET_ALIAS) &&
            rd->last.column > 1)
                rd->last.column--;
        return rd->last;
}

static void stop(struct reading *rd, unsigned limit, const char *what)
{
        if (!rd->stopped)
                config_error(rd->problems, rd->last, "more than %u %s", limit, what);
        rd->stopped = true;
}

/* NULL at the end, after a syntax error, and once a limit was hit. */
static struct fy_event *next(struct reading *rd)
{
        struct fy_event *ev;

        if (rd->stopped || rd->no_memory)
                return NULL;
        if (rd->nodes++ >= LIMIT_CONFIG_NODES) {
                stop(rd, LIMIT_CONFIG_NODES, "values");
                return NULL;
        }
        ev = fy_parser_parse(rd->parser);
        if (ev)
                (void)place_of(rd, ev);
        return ev;
}

static bool opens(const struct fy_event *ev)
{
        return ev->type == FYET_MAPPING_START || ev->type == FYET_SEQUENCE_START;
}

static bool closes(const struct fy_event *ev)
{
        return ev->type == FYET_MAPPING_END || ev->type == FYET_SEQUENCE_END;
}

/* Reads over the value that begins with this event, which is freed. */
static void skip(struct reading *rd, struct fy_event *ev, unsigned depth)
{
        unsigned open = 0;

        while (ev) {
                open += opens(ev);
                open -= closes(ev);
                fy_parser_event_free(rd->parser, ev);
                if (open == 0)
                        return;
                if (depth + open > LIMIT_CONFIG_DEPTH) {
                        stop(rd, LIMIT_CONFIG_DEPTH, "levels");
                        return;
                }
                ev = next(rd);
        }
}

/* The pieces of a scalar. Not fy_token_get_text(), which leaks memory for texts of many pieces. */
static int join_pieces(struct fy_event *ev, struct buf *out)
{
        struct fy_token_iter *it = fy_token_iter_create(ev->scalar.value);
        const struct fy_iter_chunk *piece = NULL;
        int failed = 0, r = it ? 0 : -ENOMEM;

        while (r == 0 && (piece = fy_token_iter_chunk_next(it, piece, &failed)))
                r = buf_add(out, piece->str, piece->len);
        if (r == 0 && failed)
                r = -EBADMSG;
        fy_token_iter_destroy(it);
        return r;
}

/*
 * The library joins lines of double-quoted texts wrongly behind a backslash, cannot give some
 * blocks, and miscounts quotes inside of single quotes; nothing that is written in our sections
 * needs any of that.
 */
static bool has_lines(struct fy_event *ev)
{
        enum fy_scalar_style style = fy_token_scalar_style(ev->scalar.value);
        const struct fy_mark *begin = fy_event_start_mark(ev), *end = fy_event_end_mark(ev);

        return style == FYSS_LITERAL || style == FYSS_FOLDED ||
               (begin && end && begin->line != end->line);
}

static const char *refused_content(struct fy_event *ev, const struct buf *text)
{
        if (text->len > 0 && memchr(text->data, '\0', text->len))
                return "a text with a NUL character";
        if (fy_token_scalar_style(ev->scalar.value) == FYSS_SINGLE_QUOTED && text->len > 0 &&
            memchr(text->data, '\'', text->len))
                return "a quote within single quotes is not accepted, write the text in double "
                       "quotes";
        return NULL;
}

/* Text of a scalar as a C string, NULL when it cannot be one. */
static char *scalar_text(struct reading *rd, struct fy_event *ev, struct config_place at)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_CONFIG_TEXT);
        const char *why = NULL;
        char *copy;
        int r = 0;

        if (has_lines(ev))
                why = "a text over several lines is not accepted in this section";
        else
                r = join_pieces(ev, &text);
        if (r == -E2BIG)
                why = "a text of more than 4 KiB";
        else if (r == -EBADMSG)
                why = "YAML: a text that cannot be read";
        else if (r == 0 && !why)
                why = refused_content(ev, &text);
        if (why) {
                config_error(rd->problems, at, "%s", why);
                return NULL;
        }
        copy = r == 0 ? strdup(buf_str(&text)) : NULL;
        rd->no_memory = rd->no_memory || !copy;
        return copy;
}

static bool is_null(const char *text)
{
        return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
               strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

/* What other programs expand or convert before they look: nothing of it is done here. */
static void refuse_extras(struct reading *rd, struct fy_event *ev, struct config_place at)
{
        if (fy_event_get_anchor_token(ev))
                config_error(rd->problems, at, "anchors (&name) are not accepted in this section");
        if (fy_event_get_tag_token(ev))
                config_error(rd->problems, at, "tags (!name) are not accepted in this section");
}

static void refuse_alias(struct reading *rd, struct config_node *node)
{
        config_error(rd->problems, node->at, "aliases (*name) are not accepted in this section");
        node->broken = true;
}

static struct config_node *read_value(struct reading *rd, struct fy_event *ev, unsigned depth,
                                      bool (*ours)(const char *key));

static void read_scalar(struct reading *rd, struct fy_event *ev, struct config_node *node)
{
        node->plain = fy_token_scalar_style(ev->scalar.value) == FYSS_PLAIN;
        node->text = scalar_text(rd, ev, node->at);
        node->broken = !node->text;
        if (node->text && (!node->plain || !is_null(node->text)))
                node->kind = CONFIG_SCALAR;
}

/* A key, NULL when it is none that can be used; the event is freed. */
static char *read_key(struct reading *rd, struct fy_event *ev, unsigned depth,
                      struct config_place *ret_at)
{
        struct config_place at = place_of(rd, ev);
        char *key = NULL;

        *ret_at = at;
        if (ev->type != FYET_SCALAR) {
                config_error(rd->problems, at, "a key that is no plain word");
                skip(rd, ev, depth);
                return NULL;
        }
        key = scalar_text(rd, ev, at);
        fy_parser_event_free(rd->parser, ev);
        if (key && strcmp(key, "<<") == 0) {
                config_error(rd->problems, at, "merge keys (<<) are not accepted in this section");
                free(key);
                return NULL;
        }
        return key;
}

/* The key may be used: it is the first of its name. */
static bool check_key(struct reading *rd, const struct config_node *map, const char *key,
                      struct config_place at)
{
        const struct config_node *twin = config_node_find(map, key);

        if (twin)
                config_error(rd->problems, at, "\"%s\" is given twice, first in line %u", key,
                             twin->key_at.line);
        else if (map->n >= LIMIT_CONFIG_KEYS)
                stop(rd, LIMIT_CONFIG_KEYS, "keys in one map");
        return !twin && !rd->stopped;
}

static void read_member(struct reading *rd, struct fy_event *ev, struct config_node *map,
                        unsigned depth, bool (*ours)(const char *key))
{
        struct config_place at;
        _cleanup_free_ char *key = read_key(rd, ev, depth, &at);
        struct config_node *value = NULL;
        bool good = key && check_key(rd, map, key, at);

        rd->last = at;
        ev = next(rd);
        if (!ev)
                return;
        if (!good) {
                skip(rd, ev, depth);
                return;
        }
        if (ours && !ours(key)) {
                skip(rd, ev, depth);
                value = config_node_new(CONFIG_FOREIGN, at);
        } else {
                value = read_value(rd, ev, depth, NULL);
        }
        if (!value) {
                rd->no_memory = true;
                return;
        }
        value->key = TAKE_PTR(key);
        value->key_at = at;
        config_node_add(map, value);
}

static void read_members(struct reading *rd, struct config_node *node, unsigned depth,
                         bool (*ours)(const char *key))
{
        struct fy_event *ev;

        if (depth > LIMIT_CONFIG_DEPTH) {
                stop(rd, LIMIT_CONFIG_DEPTH, "levels");
                return;
        }
        while ((ev = next(rd))) {
                if (closes(ev)) {
                        fy_parser_event_free(rd->parser, ev);
                        return;
                }
                if (node->kind == CONFIG_MAP) {
                        read_member(rd, ev, node, depth, ours);
                } else {
                        struct config_node *item = read_value(rd, ev, depth, NULL);

                        if (item)
                                config_node_add(node, item);
                }
        }
}

/* The value that begins with this event, which is freed. ours: for the uppermost map. */
static struct config_node *read_value(struct reading *rd, struct fy_event *ev, unsigned depth,
                                      bool (*ours)(const char *key))
{
        struct config_node *node = config_node_new(CONFIG_NOTHING, place_of(rd, ev));

        if (!node) {
                rd->no_memory = true;
                fy_parser_event_free(rd->parser, ev);
                return NULL;
        }
        if (!ours)
                refuse_extras(rd, ev, node->at);
        if (ev->type == FYET_SCALAR)
                read_scalar(rd, ev, node);
        else if (ev->type == FYET_ALIAS)
                refuse_alias(rd, node);
        else if (opens(ev))
                node->kind = ev->type == FYET_MAPPING_START ? CONFIG_MAP : CONFIG_LIST;
        fy_parser_event_free(rd->parser, ev);
        if (node->kind == CONFIG_MAP || node->kind == CONFIG_LIST)
                read_members(rd, node, depth + 1, ours);
        return node;
}

/* --- the document ------------------------------------------------------------------------------*/

static void note_syntax(struct reading *rd, struct fy_diag *diag)
{
        struct fy_diag_error *de = NULL;
        void *at = NULL;

        de = fy_diag_errors_iterate(diag, &at);
        if (de && de->line > 0 && de->column > 0)
                rd->last =
                        (struct config_place){rd->file, (unsigned)de->line, (unsigned)de->column};
        config_error(rd->problems, rd->last, "YAML: %s",
                     de && de->msg ? de->msg : "this is none that can be read");
        if (de && de->msg && strstr(de->msg, "tab character"))
                config_advise(rd->problems, "indent with spaces");
}

/* The value of the one document; the root when it is a map. */
static void read_document(struct reading *rd, struct fy_event *ev, bool (*ours)(const char *key),
                          struct config_node **root)
{
        struct config_node *value;

        if (*root) {
                config_error(rd->problems, rd->last, "a second document, one file holds one");
                rd->stopped = true;
                fy_parser_event_free(rd->parser, ev);
                return;
        }
        value = read_value(rd, ev, 0, ours);
        if (value && value->kind != CONFIG_MAP && value->kind != CONFIG_NOTHING)
                config_error(rd->problems, value->at, "expected sections, \"install:\" and others");
        if (value && value->kind != CONFIG_MAP) {
                config_node_free(value);
                value = config_node_new(CONFIG_MAP, (struct config_place){rd->file, 1, 1});
        }
        rd->no_memory = rd->no_memory || !value;
        *root = value;
}

static void read_stream(struct reading *rd, bool (*ours)(const char *key),
                        struct config_node **root)
{
        struct fy_event *ev;

        while ((ev = next(rd))) {
                if (ev->type == FYET_SCALAR || ev->type == FYET_ALIAS || opens(ev))
                        read_document(rd, ev, ours, root);
                else
                        fy_parser_event_free(rd->parser, ev);
        }
}

/* The library says nothing by itself. */
static void swallow(struct fy_diag *diag, void *user, const char *text, size_t n)
{
        (void)diag;
        (void)user;
        (void)text;
        (void)n;
}

static struct config_node *parse(const char *text, size_t n, const char *file,
                                 bool (*ours)(const char *key), struct config_problems *problems)
{
        const struct fy_diag_cfg quiet = {.output_fn = swallow, .level = FYET_ERROR};
        struct fy_diag *diag = fy_diag_create(&quiet);
        const struct fy_parse_cfg cfg = {.flags = FYPCF_JSON_NONE | FYPCF_DEFAULT_VERSION_1_2,
                                         .diag = diag};
        struct reading rd = {.file = file, .problems = problems, .last = {file, 1, 1}};
        struct config_node *root = NULL;

        if (diag) {
                fy_diag_set_collect_errors(diag, true);
                rd.parser = fy_parser_create(&cfg);
        }
        if (rd.parser && fy_parser_set_string(rd.parser, text, n) == 0) {
                read_stream(&rd, ours, &root);
                rd.syntax = !rd.stopped && fy_parser_get_stream_error(rd.parser);
                if (rd.syntax)
                        note_syntax(&rd, diag);
        } else {
                rd.no_memory = true;
        }
        if (rd.parser)
                fy_parser_destroy(rd.parser);
        if (diag)
                fy_diag_destroy(diag);
        if (!root)
                root = config_node_new(CONFIG_MAP, (struct config_place){file, 1, 1});
        if (rd.no_memory || !root) {
                config_node_free(root);
                return NULL;
        }
        root->broken = rd.syntax || rd.stopped;
        return root;
}

struct config_node *config_yaml_read(const char *text, size_t n, const char *file,
                                     bool (*ours)(const char *key),
                                     struct config_problems *problems)
{
        const struct config_place begin = {file, 1, 1};

        if (!config_yaml_has_header(text, n)) {
                config_error(problems, begin, "the header #cloud-config is missing");
                config_advise(problems, "let the first line be #cloud-config");
        }
        if (n == 0 || !check_text(text, n, file, problems))
                return config_node_new(CONFIG_MAP, begin);
        return parse(text, n, file, ours, problems);
}
