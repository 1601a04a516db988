/* SPDX-License-Identifier: Apache-2.0 */
#include "image/bootroot.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"

#define MODULES "usr/lib/modules/"
/* Names that agent/stage/tb-root.c knows. */
#define PLACE "tb"
#define MODULES_MAX 100u

struct maker {
        const struct tree *root;
        char *folder; /* of the kernel's modules */
        struct buf dependencies;
        struct buf builtin;
        const char *modules[MODULES_MAX]; /* lines of dependencies, in the order of loading */
        unsigned n_modules;
        int content;
        uint64_t content_end;
        struct tree_entry *entries;
        size_t n;
};

static void maker_done(struct maker *m)
{
        free(m->folder);
        buf_done(&m->dependencies);
        buf_done(&m->builtin);
        close_p(&m->content);
        tree_free_entries(m->entries, m->n);
}

static int missing(struct error *e, int code, const char *what)
{
        int r = error_set(e, ERROR_CONFIG, code, "the root has %s", what);

        error_advise(e,
                     "a root that is a file system in a file needs the modules loop, overlay and "
                     "that of the file system, and " BOOTROOT_PROGRAM
                     ", which is installed with tb-agent");
        return r;
}

/* --- modules --- */

static int find_folder(struct maker *m, const char *release, struct error *e)
{
        const struct tree_entry *entry, *found = NULL;

        for (size_t i = 0; *release == '\0' && (entry = tree_at(m->root, i)); i++) {
                if (fnmatch(MODULES "*/modules.dep", entry->path, FNM_PATHNAME) != 0)
                        continue;
                if (found) {
                        int r = error_set(e, ERROR_CONFIG, ENOTUNIQ,
                                          "the root has modules of several kernels");

                        error_advise(e, "say which one by --uname");
                        return r;
                }
                found = entry;
        }
        if (*release == '\0' && !found)
                return missing(e, ENOENT, "no kernel modules (" MODULES "*/modules.dep)");
        if (found)
                m->folder = strndup(found->path, strlen(found->path) - strlen("modules.dep"));
        else if (asprintf(&m->folder, MODULES "%s/", release) < 0)
                m->folder = NULL;
        return m->folder ? 0 : error_oom(e);
}

static int read_list(const struct maker *m, const char *name, bool needed, struct buf *out,
                     struct error *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        const struct tree_entry *entry;
        uint8_t *place;
        int r;

        if (asprintf(&path, "%s%s", m->folder, name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        entry = tree_find(m->root, path);
        if (!entry || !S_ISREG(entry->mode))
                return needed ? missing(e, ENOENT, "no list of the kernel's modules (modules.dep)")
                              : 0;
        if (entry->size > LIMIT_MODULES_DEP)
                return error_set(e, ERROR_CONFIG, E2BIG, "%s is too large", path);
        fd = tree_open(m->root, entry, e);
        if (fd < 0)
                return fd;
        r = buf_reserve(out, (size_t)entry->size, &place);
        if (r < 0)
                return error_oom(e);
        if (file_pread(fd, place, (size_t)entry->size, entry->offset) != (ssize_t)entry->size)
                return error_set(e, ERROR_BUSY, ESTALE, "%s changed while it was read", path);
        buf_commit(out, (size_t)entry->size);
        return 0;
}

/* Whether a path of n bytes is that of a module: names have "_" where files may have "-". */
static bool is_module(const char *path, size_t n, const char *name)
{
        const char *begin = path;
        size_t length = strlen(name);

        for (size_t i = 0; i < n; i++)
                if (path[i] == '/')
                        begin = path + i + 1;
        n -= (size_t)(begin - path);
        if (n < length + 3 || strncmp(begin + length, ".ko", 3) != 0)
                return false;
        for (size_t i = 0; i < length; i++)
                if ((begin[i] == '-' ? '_' : begin[i]) != name[i])
                        return false;
        return true;
}

/* The line that begins with a path which fits: by name, or exactly. NULL: none. */
static const char *find_line(const struct buf *list, const char *name, const char *path, size_t n)
{
        for (const char *line = buf_str(list); *line != '\0';) {
                size_t length = strcspn(line, ":\n");

                if (name ? is_module(line, length, name)
                         : length == n && memcmp(line, path, n) == 0)
                        return line;
                line += strcspn(line, "\n");
                line += *line == '\n';
        }
        return NULL;
}

static int add_module(struct maker *m, const char *line, struct error *e)
{
        for (unsigned i = 0; i < m->n_modules; i++)
                if (m->modules[i] == line)
                        return 0;
        if (m->n_modules == MODULES_MAX)
                return error_set(e, ERROR_CONFIG, E2BIG, "too many kernel modules");
        m->modules[m->n_modules++] = line;
        return 0;
}

/* A module behind what it needs: modules.dep(5) names all of it, what has to come first last. */
static int choose_module(struct maker *m, const char *name, struct error *e)
{
        const char *line = find_line(&m->dependencies, name, NULL, 0), *begin, *end;

        if (!line && find_line(&m->builtin, name, NULL, 0))
                return 0;
        if (!line)
                return error_set(e, ERROR_CONFIG, ENOENT, "the kernel has no module \"%s\"", name);
        begin = line + strcspn(line, ":\n");
        end = line + strcspn(line, "\n");
        while (end > begin) {
                const char *word = end;
                int r;

                while (word > begin && word[-1] != ' ' && word[-1] != ':')
                        word--;
                if (word < end) {
                        const char *needed =
                                find_line(&m->dependencies, NULL, word, (size_t)(end - word));

                        if (!needed)
                                return missing(e, EBADMSG, "a damaged modules.dep");
                        r = add_module(m, needed, e);
                        if (r < 0)
                                return r;
                }
                end = word > begin ? word - 1 : begin;
        }
        return add_module(m, line, e);
}

static int choose_modules(struct maker *m, enum root_format format, const char *release,
                          struct error *e)
{
        const char *const names[] = {"loop", "overlay", root_format_name(format)};
        int r = find_folder(m, release, e);

        if (r == 0)
                r = read_list(m, "modules.dep", true, &m->dependencies, e);
        if (r == 0)
                r = read_list(m, "modules.builtin", false, &m->builtin, e);
        for (size_t i = 0; i < ARRAY_SIZE(names) && r == 0; i++)
                r = choose_module(m, names[i], e);
        return r;
}

/* --- the tree --- */

static int add(struct maker *m, const char *path, mode_t mode, uint64_t offset, uint64_t size,
               struct error *e)
{
        struct tree_entry *p = reallocarray(m->entries, m->n + 1, sizeof(*p));

        if (!p)
                return error_oom(e);
        m->entries = p;
        p[m->n] = (struct tree_entry){.path = strdup(path),
                                      .mode = mode,
                                      .size = size,
                                      .offset = offset,
                                      .ino = m->n + 1};
        return p[m->n++].path ? 0 : error_oom(e);
}

static int add_file(struct maker *m, const char *path, mode_t mode, const struct tree_entry *from,
                    struct error *e)
{
        uint64_t begin = m->content_end;
        int r;

        if (!S_ISREG(from->mode))
                return error_set(e, ERROR_CONFIG, EINVAL, "%s is no regular file", from->path);
        if (lseek(m->content, (off_t)begin, SEEK_SET) < 0)
                return error_errno(e, errno, "cannot pack the root");
        r = tree_copy(m->root, from, m->content, e);
        if (r < 0)
                return r;
        m->content_end += from->size;
        return add(m, path, S_IFREG | mode, begin, from->size, e);
}

static int add_modules(struct maker *m, struct error *e)
{
        for (unsigned i = 0; i < m->n_modules; i++) {
                size_t n = strcspn(m->modules[i], ":\n");
                _cleanup_free_ char *path = NULL, *name = NULL;
                const struct tree_entry *from;
                const char *suffix;
                int r;

                if (asprintf(&path, "%s%.*s", m->folder, (int)n, m->modules[i]) < 0) {
                        path = NULL;
                        return error_oom(e);
                }
                from = tree_find(m->root, path);
                suffix = strstr(path, ".ko");
                if (!from || !suffix)
                        return error_set(e, ERROR_CONFIG, ENOENT, "the root lacks %s", path);
                if (asprintf(&name, PLACE "/modules/%02u%s", i, suffix) < 0) {
                        name = NULL;
                        return error_oom(e);
                }
                r = add_file(m, name, 0600, from, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_folders(struct maker *m, struct error *e)
{
        static const char *const folders[] = {
                ".", "dev", PLACE, PLACE "/lower", PLACE "/modules", PLACE "/root", PLACE "/upper"};
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(folders) && r == 0; i++)
                r = add(m, folders[i], S_IFDIR | 0755, 0, 0, e);
        return r;
}

static int add_all(struct maker *m, enum root_format format, struct error *e)
{
        const struct tree_entry *program = tree_find(m->root, BOOTROOT_PROGRAM);
        uint64_t size = m->content_end;
        char name[32];
        int r;

        if (!program)
                return missing(e, ENOENT, "no " BOOTROOT_PROGRAM);
        (void)snprintf(name, sizeof(name), PLACE "/root.%s", root_format_name(format));
        r = add_folders(m, e);
        if (r == 0)
                r = add(m, name, S_IFREG | 0600, 0, size, e);
        if (r == 0)
                r = add_modules(m, e);
        return r == 0 ? add_file(m, "init", 0755, program, e) : r;
}

int bootroot_make(const struct tree *root, const struct rootimage_how *how, const char *release,
                  struct tree **ret, struct error *e)
{
        _cleanup_(maker_done) struct maker m = {.root = root,
                                                .dependencies = BUF_INIT(LIMIT_MODULES_DEP),
                                                .builtin = BUF_INIT(LIMIT_MODULES_DEP),
                                                .content = -EBADF};
        struct stat st;
        size_t n;
        int r;

        r = choose_modules(&m, how->format, release, e);
        if (r == 0)
                r = rootimage_make(root, how, &m.content, e);
        if (r < 0)
                return r;
        if (fstat(m.content, &st) < 0)
                return error_errno(e, errno, "cannot read the root back");
        m.content_end = (uint64_t)st.st_size;
        if (m.content_end > LIMIT_CPIO_FILE)
                return error_set(e, ERROR_CONFIG, EFBIG, "the root is too large for an image");
        r = add_all(&m, how->format, e);
        if (r < 0)
                return r;
        n = m.n;
        m.n = 0;
        return tree_from_entries(TAKE_PTR(m.entries), n, TAKE_FD(m.content), 0, S_IFREG | 0755, ret,
                                 e);
}
