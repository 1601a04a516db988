/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/loadopt.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/limits.h"
#include "base/num.h"

#define NODE_HEADER 4u
#define NODE_MEDIA 0x04u
#define NODE_MEDIA_HD 0x01u
#define NODE_MEDIA_FILE 0x04u
#define NODE_END 0x7fu
#define NODE_END_INSTANCE 0x01u
#define NODE_END_ENTIRE 0xffu

/* Fields of HD() behind the node's header (UEFI 2.10, table 10.49). */
#define HD_SIZE 38u
#define HD_NUMBER 0u
#define HD_START 4u
#define HD_SECTORS 12u
#define HD_SIGNATURE 20u
#define HD_FORMAT 36u
#define HD_SIGNATURE_TYPE 37u
#define HD_FORMAT_GPT 2u
#define HD_SIGNATURE_GUID 2u

struct loadopt {
        struct buf raw;
        uint32_t attributes;
        struct buf description;
        struct buf path;
        bool has_disk;
        struct loadopt_disk disk;
        size_t n_nodes;
        struct loadopt_node nodes[LIMIT_LOAD_OPTION_NODES];
        size_t optional_offset;
};

/* Where the bytes of an EFI GUID stand in its text: the first three fields are little-endian. */
static const uint8_t guid_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

static bool dash_before(size_t i)
{
        return i == 4 || i == 6 || i == 8 || i == 10;
}

static void guid_to_text(const uint8_t guid[16], char ret[LOADOPT_UUID_SIZE])
{
        for (size_t i = 0; i < 16; i++) {
                if (dash_before(i))
                        *ret++ = '-';
                hex_encode(&guid[guid_order[i]], 1, ret);
                ret += 2;
        }
}

static int guid_from_text(const char *text, uint8_t ret[16])
{
        if (strlen(text) != LOADOPT_UUID_SIZE - 1)
                return -EINVAL;
        for (size_t i = 0; i < 16; i++) {
                char digits[3] = "";

                if (dash_before(i) && *text++ != '-')
                        return -EINVAL;
                memcpy(digits, text, 2);
                if (hex_decode(digits, &ret[guid_order[i]], 1) < 0)
                        return -EINVAL;
                text += 2;
        }
        return 0;
}

void loadopt_free(struct loadopt *o)
{
        if (!o)
                return;
        buf_done(&o->raw);
        buf_done(&o->description);
        buf_done(&o->path);
        free(o);
}

static int parse_disk(struct loadopt *o, const struct loadopt_node *node)
{
        const uint8_t *p = node->data;

        if (node->size != HD_SIZE)
                return -EBADMSG;
        if (p[HD_FORMAT] != HD_FORMAT_GPT || p[HD_SIGNATURE_TYPE] != HD_SIGNATURE_GUID)
                return 0; /* a partition of an MBR: a node like any other */
        o->disk.number = le32_at(p + HD_NUMBER);
        o->disk.start = le64_at(p + HD_START);
        o->disk.size = le64_at(p + HD_SECTORS);
        guid_to_text(p + HD_SIGNATURE, o->disk.uuid);
        o->has_disk = true;
        return 0;
}

/* Length in bytes of the UTF-16 text up to its NUL, which has to be inside n bytes. */
static int text_length(const uint8_t *p, size_t n, size_t *ret)
{
        for (size_t i = 0; i + 1 < n; i += 2) {
                if (le16_at(p + i) == 0) {
                        *ret = i;
                        return 0;
                }
        }
        return -EBADMSG;
}

static int parse_text(const uint8_t *p, size_t n, struct buf *out)
{
        int r = utf16_to_utf8(p, n, out);

        return r == -EINVAL ? -EBADMSG : r;
}

static int parse_file(struct loadopt *o, const struct loadopt_node *node)
{
        size_t n = 0;
        int r;

        r = text_length(node->data, node->size, &n);
        if (r < 0)
                return r;
        if (n + 2 != node->size)
                return -EBADMSG; /* a shorter text than the node: readers would disagree */
        if (o->path.len > 0 && o->path.data[o->path.len - 1] != '\\' && n >= 2 &&
            le16_at(node->data) != '\\') {
                r = buf_add(&o->path, "\\", 1);
                if (r < 0)
                        return r;
        }
        return parse_text(node->data, n, &o->path);
}

/* Steps over one node at *offset; *first says whether it belongs to the first device path. */
static int parse_node(struct loadopt *o, size_t *offset, size_t end, bool *first)
{
        const uint8_t *p = o->raw.data + *offset;
        struct loadopt_node *node;
        size_t size;
        int r = 0;

        if (end - *offset < NODE_HEADER)
                return -EBADMSG;
        size = le16_at(p + 2);
        if (size < NODE_HEADER || size > end - *offset)
                return -EBADMSG;
        if (o->n_nodes == ARRAY_SIZE(o->nodes))
                return -E2BIG;
        node = &o->nodes[o->n_nodes++];
        *node = (struct loadopt_node){
                .type = p[0], .subtype = p[1], .data = p + NODE_HEADER, .size = size - NODE_HEADER};
        *offset += size;
        if (node->type == NODE_END) {
                if (node->size != 0 ||
                    (node->subtype != NODE_END_ENTIRE && node->subtype != NODE_END_INSTANCE))
                        return -EBADMSG;
                *first = false;
        }
        if (*first && node->type == NODE_MEDIA && node->subtype == NODE_MEDIA_HD)
                r = parse_disk(o, node);
        else if (*first && node->type == NODE_MEDIA && node->subtype == NODE_MEDIA_FILE)
                r = parse_file(o, node);
        return r;
}

static int parse_paths(struct loadopt *o, size_t offset, size_t end)
{
        const struct loadopt_node *last;
        bool first = true;
        int r;

        while (offset < end) {
                r = parse_node(o, &offset, end, &first);
                if (r < 0)
                        return r;
        }
        last = o->n_nodes > 0 ? &o->nodes[o->n_nodes - 1] : NULL;
        if (!last || last->type != NODE_END || last->subtype != NODE_END_ENTIRE)
                return -EBADMSG;
        return 0;
}

int loadopt_parse(const void *data, size_t n, struct loadopt **ret)
{
        _cleanup_(loadopt_free_p) struct loadopt *o = calloc(1, sizeof(*o));
        size_t text = 0, paths, list_size;
        int r;

        if (!o)
                return -ENOMEM;
        if (n > LIMIT_LOAD_OPTION)
                return -E2BIG;
        if (n < 6)
                return -EBADMSG;
        /* One UTF-16 unit becomes at most three bytes of UTF-8. */
        o->raw = (struct buf)BUF_INIT(LIMIT_LOAD_OPTION);
        o->description = (struct buf)BUF_INIT(2 * LIMIT_LOAD_OPTION);
        o->path = (struct buf)BUF_INIT(2 * LIMIT_LOAD_OPTION);
        r = buf_add(&o->raw, data, n);
        if (r < 0)
                return r;
        o->attributes = le32_at(o->raw.data);
        list_size = le16_at(o->raw.data + 4);
        r = text_length(o->raw.data + 6, n - 6, &text);
        if (r < 0)
                return r;
        r = parse_text(o->raw.data + 6, text, &o->description);
        if (r < 0)
                return r;
        paths = 6 + text + 2;
        if (!range_fits(paths, list_size, n))
                return -EBADMSG;
        o->optional_offset = paths + list_size;
        r = parse_paths(o, paths, o->optional_offset);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

uint32_t loadopt_attributes(const struct loadopt *o)
{
        return o->attributes;
}

const char *loadopt_description(const struct loadopt *o)
{
        return buf_str(&o->description);
}

const struct loadopt_disk *loadopt_disk(const struct loadopt *o)
{
        return o->has_disk ? &o->disk : NULL;
}

const char *loadopt_path(const struct loadopt *o)
{
        return o->path.len > 0 ? buf_str(&o->path) : NULL;
}

const struct loadopt_node *loadopt_node(const struct loadopt *o, size_t i)
{
        return i < o->n_nodes ? &o->nodes[i] : NULL;
}

const uint8_t *loadopt_optional_data(const struct loadopt *o, size_t *ret_size)
{
        *ret_size = o->raw.len - o->optional_offset;
        return o->raw.data + o->optional_offset;
}

static const char *without_root(const char *path)
{
        return path + strspn(path, "\\/");
}

static bool same_path(const char *a, const char *b)
{
        a = without_root(a);
        b = without_root(b);
        for (; *a && *b; a++, b++) {
                int x = *a == '/' ? '\\' : tolower((unsigned char)*a);
                int y = *b == '/' ? '\\' : tolower((unsigned char)*b);

                if (x != y)
                        return false;
        }
        return *a == *b;
}

bool loadopt_starts(const struct loadopt *o, const char *uuid, const char *path)
{
        const char *ours = loadopt_path(o);

        return o->has_disk && ours && strcasecmp(o->disk.uuid, uuid) == 0 && same_path(ours, path);
}

static int add_node(struct buf *b, uint8_t type, uint8_t subtype, const void *data, size_t n)
{
        uint8_t header[NODE_HEADER] = {type, subtype};
        int r;

        put_le16(header + 2, (uint16_t)(n + NODE_HEADER)); /* bounded by LIMIT_LOAD_OPTION */
        r = buf_add(b, header, sizeof(header));
        if (r < 0)
                return r;
        return n > 0 ? buf_add(b, data, n) : 0;
}

static int add_disk(struct buf *b, const struct loadopt_disk *disk)
{
        uint8_t hd[HD_SIZE] = {0};

        if (disk->number == 0 || disk->size == 0)
                return -EINVAL;
        if (guid_from_text(disk->uuid, hd + HD_SIGNATURE) < 0)
                return -EINVAL;
        put_le32(hd + HD_NUMBER, disk->number);
        put_le32(hd + HD_START, (uint32_t)disk->start);
        put_le32(hd + HD_START + 4, (uint32_t)(disk->start >> 32));
        put_le32(hd + HD_SECTORS, (uint32_t)disk->size);
        put_le32(hd + HD_SECTORS + 4, (uint32_t)(disk->size >> 32));
        hd[HD_FORMAT] = HD_FORMAT_GPT;
        hd[HD_SIGNATURE_TYPE] = HD_SIGNATURE_GUID;
        return add_node(b, NODE_MEDIA, NODE_MEDIA_HD, hd, sizeof(hd));
}

static int add_file(struct buf *b, const char *path)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOAD_OPTION);
        _cleanup_(buf_done) struct buf wide = BUF_INIT(LIMIT_LOAD_OPTION);
        int r;

        path = without_root(path);
        if (!*path)
                return -EINVAL;
        r = buf_printf(&text, "\\%s", path);
        if (r < 0)
                return r;
        for (size_t i = 0; i < text.len; i++) {
                if (text.data[i] == '/')
                        text.data[i] = '\\';
        }
        r = utf8_to_utf16(buf_str(&text), &wide);
        if (r < 0)
                return r;
        return add_node(b, NODE_MEDIA, NODE_MEDIA_FILE, wide.data, wide.len);
}

int loadopt_format(uint32_t attributes, const char *description, const struct loadopt_disk *disk,
                   const char *path, struct buf *out)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOAD_OPTION);
        uint8_t head[6] = {0};
        size_t paths;
        int r;

        if (!*description)
                return -EINVAL;
        put_le32(head, attributes);
        r = buf_add(&value, head, sizeof(head));
        if (r < 0)
                return r;
        r = utf8_to_utf16(description, &value);
        if (r < 0)
                return r;
        paths = value.len;
        r = add_disk(&value, disk);
        if (r < 0)
                return r;
        r = add_file(&value, path);
        if (r < 0)
                return r;
        r = add_node(&value, NODE_END, NODE_END_ENTIRE, NULL, 0);
        if (r < 0)
                return r;
        put_le16(value.data + 4, (uint16_t)(value.len - paths));
        return buf_add(out, value.data, value.len);
}

int loadopt_order_parse(const void *data, size_t n, uint16_t *list, size_t max, size_t *ret_n)
{
        const uint8_t *p = data;

        if (n % 2 != 0)
                return -EBADMSG;
        if (n / 2 > max)
                return -E2BIG;
        for (size_t i = 0; i < n / 2; i++)
                list[i] = le16_at(p + 2 * i);
        *ret_n = n / 2;
        return 0;
}

int loadopt_order_format(const uint16_t *list, size_t n, struct buf *out)
{
        uint8_t *p;
        int r;

        if (n > LIMIT_BOOT_ORDER)
                return -E2BIG;
        r = buf_reserve(out, 2 * n, &p);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                put_le16(p + 2 * i, list[i]);
        buf_commit(out, 2 * n);
        return 0;
}

int loadopt_name_parse(const char *name, uint16_t *ret)
{
        uint8_t number[2];

        if (strlen(name) != LOADOPT_NAME_SIZE - 1 || strncmp(name, "Boot", 4) != 0 ||
            strspn(name + 4, "0123456789ABCDEF") != 4 || hex_decode(name + 4, number, 2) < 0)
                return -EINVAL;
        *ret = (uint16_t)(number[0] << 8 | number[1]);
        return 0;
}

void loadopt_name_format(uint16_t number, char ret[LOADOPT_NAME_SIZE])
{
        (void)snprintf(ret, LOADOPT_NAME_SIZE, "Boot%04X", (unsigned)number);
}
