/* SPDX-License-Identifier: Apache-2.0 */
#include "image/xattr.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/limits.h"

/* Lengths of name (with its end) and value, then both. */
struct head {
        uint32_t name;
        uint32_t value;
};

bool xattr_is_acl(const char *name)
{
        return strcmp(name, "system.posix_acl_access") == 0 ||
               strcmp(name, "system.posix_acl_default") == 0;
}

bool xattr_is_carried(const char *name)
{
        return strncmp(name, "user.", 5) == 0 || strcmp(name, XATTR_CAPABILITY) == 0 ||
               strcmp(name, "security.ima") == 0 || strcmp(name, "security.evm") == 0 ||
               xattr_is_acl(name);
}

int xattr_add(struct buf *block, const char *name, const void *value, size_t size)
{
        struct head head = {.name = (uint32_t)strlen(name) + 1, .value = (uint32_t)size};
        size_t before = block->len;
        int r;

        if (size > LIMIT_XATTRS)
                return -E2BIG;
        r = buf_add(block, &head, sizeof(head));
        if (r == 0)
                r = buf_add(block, name, head.name);
        if (r == 0)
                r = buf_add(block, value, size);
        if (r < 0)
                block->len = before;
        return r;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_one(int fd, const char *name, struct buf *block)
{
        _cleanup_free_ uint8_t *value = malloc(LIMIT_XATTRS);
        ssize_t n;

        if (!value)
                return -ENOMEM;
        n = fgetxattr(fd, name, value, LIMIT_XATTRS);
        if (n < 0)
                return errno == ENODATA ? 0 : -errno;
        return xattr_add(block, name, value, (size_t)n);
}

int xattr_read(int fd, struct buf *block)
{
        _cleanup_free_ char *list = malloc(LIMIT_XATTRS);
        _cleanup_free_ const char **names = calloc(LIMIT_XATTRS / 8, sizeof(*names));
        ssize_t n;
        size_t count = 0;

        if (!list || !names)
                return -ENOMEM;
        n = flistxattr(fd, list, LIMIT_XATTRS);
        if (n < 0)
                return errno == EOPNOTSUPP ? 0 : -errno;
        for (const char *p = list; p < list + n && count < LIMIT_XATTRS / 8; p += strlen(p) + 1)
                if (xattr_is_carried(p))
                        names[count++] = p;
        qsort(names, count, sizeof(*names), compare_names);
        for (size_t i = 0; i < count; i++) {
                int r = read_one(fd, names[i], block);

                if (r < 0)
                        return r;
        }
        return 0;
}

bool xattr_next(const void *block, size_t n, size_t *at, struct xattr *ret)
{
        const uint8_t *p;
        struct head head;

        if (!block || n - *at < sizeof(head))
                return false;
        p = (const uint8_t *)block + *at;
        memcpy(&head, p, sizeof(head));
        ret->name = (const char *)p + sizeof(head);
        ret->value = p + sizeof(head) + head.name;
        ret->size = head.value;
        *at += sizeof(head) + head.name + head.value;
        return true;
}
