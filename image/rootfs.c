/* SPDX-License-Identifier: Apache-2.0 */
#include "image/rootfs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"

#define LINKS_MAX 40u /* as many as Linux follows */
#define FOLDER_MODE 0755u

/* What several names may share. */
struct inode {
        unsigned names;
        uint64_t number;
        struct rootfs_file file;
        char *link;
        uint8_t *xattrs;
        size_t xattrs_len;
        uint64_t offset;
};

struct node {
        char *name;
        struct node *parent; /* of the root: itself */
        struct inode *inode;
        unsigned layer;
        struct node **child; /* sorted by name */
        size_t n, allocated;
};

struct rootfs {
        struct node *root;
        unsigned layer;
        unsigned n;
        uint64_t next_number;
        int content;
        uint64_t content_end;
};

static void inode_drop(struct inode *i)
{
        if (!i || --i->names > 0)
                return;
        free(i->link);
        free(i->xattrs);
        free(i);
}

static int copy_xattrs(const void *data, size_t n, uint8_t **ret, size_t *ret_n)
{
        *ret = n > 0 ? malloc(n) : NULL;
        *ret_n = 0;
        if (n == 0)
                return 0;
        if (!*ret)
                return -ENOMEM;
        memcpy(*ret, data, n);
        *ret_n = n;
        return 0;
}

static void node_free(struct rootfs *fs, struct node *n)
{
        if (!n)
                return;
        for (size_t i = 0; i < n->n; i++)
                node_free(fs, n->child[i]);
        free(n->child);
        free(n->name);
        inode_drop(n->inode);
        free(n);
        fs->n--;
}

static bool is_folder(const struct node *n)
{
        return S_ISDIR(n->inode->file.mode);
}

static struct inode *inode_new(struct rootfs *fs, const struct rootfs_file *file)
{
        struct inode *i = calloc(1, sizeof(*i));

        if (!i)
                return NULL;
        *i = (struct inode){
                .names = 1, .number = ++fs->next_number, .file = *file, .offset = fs->content_end};
        i->file.link = NULL;
        i->file.xattrs = NULL;
        if ((file->link && !(i->link = strdup(file->link))) ||
            (file->xattrs &&
             copy_xattrs(file->xattrs->data, file->xattrs->len, &i->xattrs, &i->xattrs_len) < 0)) {
                inode_drop(i);
                return NULL;
        }
        return i;
}

/* Where a name stands among the children, or would. */
static bool find(const struct node *parent, const char *name, size_t n, size_t *ret)
{
        size_t low = 0, high = parent->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const char *other = parent->child[middle]->name;
                int order = strncmp(other, name, n);

                if (order == 0 && other[n] != '\0')
                        order = 1;
                if (order == 0) {
                        *ret = middle;
                        return true;
                }
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret = low;
        return false;
}

static void cut(struct rootfs *fs, struct node *parent, size_t at)
{
        node_free(fs, parent->child[at]);
        parent->n--;
        memmove(parent->child + at, parent->child + at + 1,
                (parent->n - at) * sizeof(*parent->child));
}

/* A new child at its place; takes the inode over in every case. */
static int insert(struct rootfs *fs, struct node *parent, size_t at, const char *name, size_t n,
                  struct inode *inode, struct node **ret, struct error *e)
{
        struct node *node;

        if (!inode)
                return error_oom(e);
        if (fs->n >= LIMIT_TREE_ENTRIES) {
                inode_drop(inode);
                return error_set(e, ERROR_CONFIG, E2BIG, "more than %u files in the root",
                                 LIMIT_TREE_ENTRIES);
        }
        if (parent->n == parent->allocated) {
                size_t more = parent->allocated > 0 ? 2 * parent->allocated : 8;
                struct node **grown = reallocarray(parent->child, more, sizeof(*grown));

                if (!grown) {
                        inode_drop(inode);
                        return error_oom(e);
                }
                parent->child = grown;
                parent->allocated = more;
        }
        node = calloc(1, sizeof(*node));
        if (!node || !(node->name = strndup(name, n))) {
                free(node);
                inode_drop(inode);
                return error_oom(e);
        }
        node->parent = parent;
        node->inode = inode;
        node->layer = fs->layer;
        memmove(parent->child + at + 1, parent->child + at,
                (parent->n - at) * sizeof(*parent->child));
        parent->child[at] = node;
        parent->n++;
        fs->n++;
        *ret = node;
        return 0;
}

int rootfs_new(struct rootfs **ret, struct error *e)
{
        _cleanup_(rootfs_free_p) struct rootfs *fs = calloc(1, sizeof(*fs));
        const char *folder = getenv("TMPDIR");
        const struct rootfs_file root = {.mode = S_IFDIR | FOLDER_MODE};

        if (!fs)
                return error_oom(e);
        fs->content = -EBADF;
        fs->root = calloc(1, sizeof(*fs->root));
        if (!fs->root)
                return error_oom(e);
        fs->n = 1;
        fs->root->parent = fs->root;
        fs->root->inode = inode_new(fs, &root);
        if (!fs->root->inode)
                return error_oom(e);
        if (!folder || !*folder)
                folder = "/var/tmp";
        fs->content = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        if (fs->content < 0)
                return error_errno(e, errno, "no room for files in %s", folder);
        *ret = TAKE_PTR(fs);
        return 0;
}

void rootfs_free(struct rootfs *fs)
{
        if (!fs)
                return;
        node_free(fs, fs->root);
        close_p(&fs->content);
        free(fs);
}

void rootfs_begin_layer(struct rootfs *fs)
{
        fs->layer++;
}

int rootfs_content_fd(const struct rootfs *fs)
{
        return fs->content;
}

uint64_t rootfs_content_end(const struct rootfs *fs)
{
        return fs->content_end;
}

/* --- paths --- */

static int no_path(struct error *e, int code, const char *path, const char *why)
{
        return error_set(e, ERROR_CONFIG, code, "%s in the root: %s", path, why);
}

/* One step of a walk that knows where it is. */
struct walk {
        struct rootfs *fs;
        const char *whole; /* for messages */
        bool create;       /* folders that are missing */
        unsigned links;
};

static int walk_from(struct walk *w, struct node *at, const char *path, struct node **ret,
                     struct error *e);

static int follow(struct walk *w, struct node *folder, const struct node *link, struct node **ret,
                  struct error *e)
{
        if (++w->links > LINKS_MAX)
                return no_path(e, ELOOP, w->whole, "too many links");
        return walk_from(w, folder, link->inode->link, ret, e);
}

/* A name in a folder, followed where it is a link. */
static int step(struct walk *w, struct node *folder, const char *name, size_t n, struct node **ret,
                struct error *e)
{
        const struct rootfs_file fresh = {.mode = S_IFDIR | FOLDER_MODE};
        size_t at;

        if (!is_folder(folder))
                return no_path(e, ENOTDIR, w->whole, "a file where a folder has to be");
        if (n == 1 && name[0] == '.')
                *ret = folder;
        else if (n == 2 && name[0] == '.' && name[1] == '.')
                *ret = folder->parent;
        else if (find(folder, name, n, &at))
                *ret = folder->child[at];
        else if (!w->create)
                return no_path(e, ENOENT, w->whole, "there is none");
        else
                return insert(w->fs, folder, at, name, n, inode_new(w->fs, &fresh), ret, e);
        return S_ISLNK((*ret)->inode->file.mode) ? follow(w, folder, *ret, ret, e) : 0;
}

static int walk_from(struct walk *w, struct node *at, const char *path, struct node **ret,
                     struct error *e)
{
        if (path[0] == '/')
                at = w->fs->root;
        for (;;) {
                size_t n;
                int r;

                path += strspn(path, "/");
                n = strcspn(path, "/");
                if (n == 0)
                        break;
                r = step(w, at, path, n, &at, e);
                if (r < 0)
                        return r;
                path += n;
        }
        *ret = at;
        return 0;
}

/* The folder of a path and the last name in it. n = 0: the root itself. */
static int find_place(struct rootfs *fs, const char *path, bool create, struct node **ret_folder,
                      const char **ret_name, size_t *ret_n, struct error *e)
{
        struct walk w = {.fs = fs, .whole = path, .create = create};
        _cleanup_free_ char *above = NULL;
        size_t end = strlen(path), begin;
        int r;

        while (end > 0 && (path[end - 1] == '/' ||
                           (path[end - 1] == '.' && (end == 1 || path[end - 2] == '/'))))
                end--;
        begin = end;
        while (begin > 0 && path[begin - 1] != '/')
                begin--;
        if (end - begin == 2 && strncmp(path + begin, "..", 2) == 0)
                return no_path(e, EINVAL, path, "a name that leads up");
        if (end - begin > NAME_MAX)
                return no_path(e, ENAMETOOLONG, path, "the name is too long");
        above = strndup(path, begin);
        if (!above)
                return error_oom(e);
        r = walk_from(&w, fs->root, above, ret_folder, e);
        if (r == 0 && !is_folder(*ret_folder))
                r = no_path(e, ENOTDIR, path, "a file where a folder has to be");
        *ret_name = path + begin;
        *ret_n = end - begin;
        return r;
}

/* --- putting --- */

/* Gives a name this file, which is taken over; a folder that stays one keeps its content. */
static int set(struct rootfs *fs, const char *path, struct inode *inode, struct error *e)
{
        struct node *folder, *node;
        const char *name;
        size_t n, at;
        int r;

        if (!inode)
                return error_oom(e);
        r = find_place(fs, path, true, &folder, &name, &n, e);
        if (r == 0 && n == 0 && !S_ISDIR(inode->file.mode))
                r = no_path(e, ENOTDIR, path, "the root is a folder");
        if (r < 0) {
                inode_drop(inode);
                return r;
        }
        node = n == 0 ? fs->root : find(folder, name, n, &at) ? folder->child[at] : NULL;
        if (node && is_folder(node) && S_ISDIR(inode->file.mode)) {
                inode_drop(node->inode);
                node->inode = inode;
                node->layer = fs->layer;
                return 0;
        }
        if (node)
                cut(fs, folder, at);
        return insert(fs, folder, at, name, n, inode, &node, e);
}

int rootfs_put(struct rootfs *fs, const char *path, const struct rootfs_file *file, struct error *e)
{
        int r;

        if (file->size > LIMIT_CPIO_FILE)
                return no_path(e, EFBIG, path, "an initramfs has no room for files of 4 GiB");
        if (file->size > LIMIT_ROOT_CONTENT - fs->content_end)
                return no_path(e, EFBIG, path, "the root is too large");
        r = set(fs, path, inode_new(fs, file), e);
        if (r == 0)
                fs->content_end += file->size;
        return r;
}

int rootfs_put_link(struct rootfs *fs, const char *path, const char *target, struct error *e)
{
        struct node *folder;
        struct inode *inode;
        const char *name;
        size_t n, at;
        int r = find_place(fs, target, false, &folder, &name, &n, e);

        if (r < 0)
                return r;
        if (n == 0 || !find(folder, name, n, &at) || is_folder(folder->child[at]))
                return no_path(e, ENOENT, target, "no file that a hard link could be of");
        inode = folder->child[at]->inode;
        inode->names++;
        return set(fs, path, inode, e);
}

int rootfs_remove(struct rootfs *fs, const char *path, struct error *e)
{
        struct node *folder;
        const char *name;
        size_t n, at;
        int r = find_place(fs, path, false, &folder, &name, &n, e);

        if (r == -ENOENT || r == -ENOTDIR) {
                error_clear(e);
                return 0;
        }
        if (r < 0)
                return r;
        /* What this very layer put there is not meant. */
        if (n > 0 && find(folder, name, n, &at) && folder->child[at]->layer != fs->layer)
                cut(fs, folder, at);
        return 0;
}

static void prune(struct rootfs *fs, struct node *folder)
{
        for (size_t i = folder->n; i-- > 0;) {
                if (folder->child[i]->layer != fs->layer)
                        cut(fs, folder, i);
                else
                        prune(fs, folder->child[i]);
        }
}

int rootfs_hide_lower(struct rootfs *fs, const char *folder, struct error *e)
{
        struct walk w = {.fs = fs, .whole = folder};
        struct node *node;
        int r = walk_from(&w, fs->root, folder, &node, e);

        if (r == -ENOENT || r == -ENOTDIR) {
                error_clear(e);
                return 0;
        }
        if (r == 0)
                prune(fs, node);
        return r;
}

/* --- the tree --- */

static int add_entry(struct tree_entry *entry, const struct node *n, const char *path,
                     struct error *e)
{
        const struct inode *i = n->inode;

        *entry = (struct tree_entry){.path = strdup(path),
                                     .link = i->link ? strdup(i->link) : NULL,
                                     .mode = i->file.mode,
                                     .uid = i->file.uid,
                                     .gid = i->file.gid,
                                     .device_major = i->file.device_major,
                                     .device_minor = i->file.device_minor,
                                     .size = S_ISREG(i->file.mode) ? i->file.size : 0,
                                     .mtime = i->file.mtime,
                                     .offset = i->offset,
                                     .capabilities = i->file.capabilities,
                                     .ino = i->number};
        if (!entry->path || (i->link && !entry->link) ||
            copy_xattrs(i->xattrs, i->xattrs_len, &entry->xattrs, &entry->xattrs_len) < 0)
                return error_oom(e);
        return 0;
}

static int collect(const struct node *n, const char *path, unsigned depth,
                   struct tree_entry *entries, size_t *at, struct error *e)
{
        int r = add_entry(&entries[(*at)++], n, path, e);

        if (r == 0 && depth == LIMIT_TREE_DEPTH)
                r = error_set(e, ERROR_CONFIG, ELOOP, "%s is nested too deeply", path);
        for (size_t i = 0; i < n->n && r == 0; i++) {
                _cleanup_free_ char *below = NULL;
                bool top = depth == 0;

                if (asprintf(&below, "%s%s%s", top ? "" : path, top ? "" : "/", n->child[i]->name) <
                    0) {
                        below = NULL;
                        return error_oom(e);
                }
                r = collect(n->child[i], below, depth + 1, entries, at, e);
        }
        return r;
}

int rootfs_tree(struct rootfs *fs, struct tree **ret, struct error *e)
{
        struct walk w = {.fs = fs, .whole = "/init"};
        struct tree_entry *entries = calloc(fs->n, sizeof(*entries));
        struct node *init = NULL;
        size_t n = 0;
        int r, found;

        if (!entries)
                return error_oom(e);
        r = collect(fs->root, ".", 0, entries, &n, e);
        if (r < 0) {
                tree_free_entries(entries, n);
                return r;
        }
        found = walk_from(&w, fs->root, "init", &init, NULL);
        r = tree_from_entries(entries, n, fs->content, found < 0 ? -found : 0,
                              init ? init->inode->file.mode : 0, ret, e);
        fs->content = -EBADF;
        return r;
}
