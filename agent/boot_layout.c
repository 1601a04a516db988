/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot_layout.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "base/json.h"

#define DATA_FLAGS ((unsigned long)(MS_NOSUID | MS_NODEV))
#define PERSISTENT_PATH "/usr/local"

static const char *const default_ephemeral[] = {"/etc", "/opt", "/srv", "/var"};

static const struct {
        const char *path;
        bool no_programs; /* nothing in it is ever run */
} default_binds[] = {
        {"/etc/cni", false},
        {"/etc/iscsi", false},
        {"/etc/k0s", false},
        {"/etc/kubernetes", false},
        {"/etc/modprobe.d", false},
        {"/etc/pwx", false},
        {"/etc/rancher", false},
        {"/etc/ssh", false},
        {"/etc/sysconfig", false},
        {"/etc/zfs", false},
        {"/home", false},
        {"/root", false},
        {"/snap", false},
        {"/var/cores", true},
        {"/var/lib/calico", false},
        {"/var/lib/cni", false},
        {"/var/lib/containerd", false},
        {"/var/lib/dbus", false},
        {"/var/lib/etcd", false},
        {"/var/lib/k0s", false},
        {"/var/lib/kairos", false},
        {"/var/lib/kubelet", false},
        {"/var/lib/longhorn", false},
        {"/var/lib/osd", false},
        {"/var/lib/rancher", false},
        {"/var/lib/rook", false},
        {"/var/lib/snapd", false},
        {"/var/lib/tailscale", false},
        {"/var/lib/wicked", false},
        {"/var/log", true},
        {"/var/snap", false},
};

/* Of the machine or of this program: neither they nor anything inside. */
static const char *const closed[] = {"/.extra", "/boot",  "/dev",  "/efi", "/init", "/oem",
                                     "/proc",   "/run",   "/sys",  "/tmp", "/bin",  "/lib",
                                     "/lib32",  "/lib64", "/sbin", "/usr"};
/* The exception: kubelet's volume plug-ins have their place here. */
#define OPEN_PATH "/usr/libexec/kubernetes"

static bool is_inside(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Commas and colons divide the options of an overlay, a backslash quotes in them. */
static bool has_bad_character(const char *path)
{
        for (; *path; path++) {
                if (*path <= ' ' || *path > '~' || strchr(",:\\\"'`$", *path))
                        return true;
        }
        return false;
}

static bool is_normal(const char *path)
{
        if (path[0] != '/')
                return false;
        for (const char *part = path; *part;) {
                size_t n = strcspn(part + 1, "/");

                if (n == 0 || (n == 1 && part[1] == '.') ||
                    (n == 2 && part[1] == '.' && part[2] == '.'))
                        return false;
                part += 1 + n;
        }
        return true;
}

static int refuse(struct error *e, const struct boot_path *p, const char *why)
{
        return error_set(e, ERROR_CONFIG, EINVAL, "mount of \"%s\": %s", p->text, why);
}

static int check_path(const struct boot_path *p, bool bind, struct error *e)
{
        if (!is_normal(p->text))
                return refuse(e, p, "not an absolute, normal path of a folder");
        if (has_bad_character(p->text))
                return refuse(e, p, "it has characters that a mount cannot take");
        for (size_t i = 0; i < ARRAY_SIZE(closed); i++) {
                if (is_inside(p->text, closed[i]) && !is_inside(p->text, OPEN_PATH))
                        return refuse(e, p, "the boot and the image keep this place to themselves");
        }
        if (bind && strcmp(p->text, "/etc") == 0)
                return refuse(e, p, "only folders inside it can be kept");
        return 0;
}

static struct boot_mount *find(struct boot_layout *l, const char *path)
{
        for (size_t i = 0; i < l->n; i++) {
                if (strcmp(l->mounts[i].path.text, path) == 0)
                        return &l->mounts[i];
        }
        return NULL;
}

static void add(struct boot_layout *l, const char *path, bool bind, bool user, unsigned long flags)
{
        struct boot_mount *m = find(l, path);

        if (!m)
                m = &l->mounts[l->n++];
        *m = (struct boot_mount){.bind = bind, .user = user, .flags = flags};
        (void)snprintf(m->path.text, sizeof(m->path.text), "%s", path);
}

static void add_defaults(struct boot_layout *l)
{
        for (size_t i = 0; i < ARRAY_SIZE(default_ephemeral); i++)
                add(l, default_ephemeral[i], false, false, DATA_FLAGS);
        for (size_t i = 0; i < ARRAY_SIZE(default_binds); i++)
                add(l, default_binds[i].path, true, false,
                    DATA_FLAGS | (default_binds[i].no_programs ? MS_NOEXEC : 0));
}

/* What the user says about a folder replaces the default; saying both is a mistake. */
static int add_list(struct boot_layout *l, const struct boot_path *paths, size_t n, bool bind,
                    struct error *e)
{
        for (size_t i = 0; i < n; i++) {
                struct boot_mount *old = find(l, paths[i].text);
                int r = check_path(&paths[i], bind, e);

                if (r < 0)
                        return r;
                if (old && old->user && old->bind != bind)
                        return refuse(e, &paths[i], "it cannot be both bound and ephemeral");
                if (!old || old->bind != bind)
                        add(l, paths[i].text, bind, true, DATA_FLAGS);
                else
                        old->user = true;
        }
        return 0;
}

static void make_ephemeral(struct boot_layout *l)
{
        for (size_t i = 0; i < l->n; i++)
                l->mounts[i].bind = false;
        add(l, PERSISTENT_PATH, false, false, DATA_FLAGS);
}

/* A folder sorts before what is inside it, because its path is the beginning of those paths. */
static int compare(const void *a, const void *b)
{
        return strcmp(((const struct boot_mount *)a)->path.text,
                      ((const struct boot_mount *)b)->path.text);
}

/* Of the mounts before this one in the order, the innermost that holds it. */
static const struct boot_mount *around(const struct boot_layout *l, const struct boot_mount *m)
{
        for (size_t i = l->n; i-- > 0;) {
                if (is_inside(m->path.text, l->mounts[i].path.text))
                        return &l->mounts[i];
        }
        return NULL;
}

static void drop_redundant(struct boot_layout *l)
{
        size_t n = l->n;

        l->n = 0;
        for (size_t i = 0; i < n; i++) {
                const struct boot_mount *m = &l->mounts[i], *outer = around(l, m);

                if (m->bind || !outer || outer->bind)
                        l->mounts[l->n++] = l->mounts[i];
        }
}

/* "/var/lib-x" and "/var/lib/x" would share a folder. */
static int check_state_names(const struct boot_layout *l, struct error *e)
{
        char a[NAME_MAX + 1], b[NAME_MAX + 1];

        for (size_t i = 0; i < l->n; i++) {
                boot_layout_state_name(&l->mounts[i].path, a);
                for (size_t j = 0; j < i; j++) {
                        boot_layout_state_name(&l->mounts[j].path, b);
                        if (strcmp(a, b) != 0)
                                continue;
                        return error_set(e, ERROR_CONFIG, EINVAL,
                                         "mounts of \"%s\" and \"%s\" would share one place",
                                         l->mounts[j].path.text, l->mounts[i].path.text);
                }
        }
        return 0;
}

int boot_layout_plan(const struct boot_additions *additions, bool persistent,
                     struct boot_layout *ret, struct error *e)
{
        _cleanup_free_ struct boot_layout *l = calloc(1, sizeof(*l));
        int r = 0;

        _Static_assert(ARRAY_SIZE(default_ephemeral) + ARRAY_SIZE(default_binds) + 1 +
                                       2 * LIMIT_BOOT_ADDITIONS <=
                               BOOT_LAYOUT_MAX,
                       "the plan has room for everything");
        if (!l)
                return error_oom(e);
        add_defaults(l);
        if (additions)
                r = add_list(l, additions->binds, additions->n_binds, true, e);
        if (additions && r == 0)
                r = add_list(l, additions->ephemeral, additions->n_ephemeral, false, e);
        if (r == 0)
                r = check_state_names(l, e);
        if (r < 0)
                return r;
        if (!persistent)
                make_ephemeral(l);
        qsort(l->mounts, l->n, sizeof(l->mounts[0]), compare);
        drop_redundant(l);
        *ret = *l;
        return 0;
}

void boot_layout_state_name(const struct boot_path *path, char ret[NAME_MAX + 1])
{
        (void)snprintf(ret, NAME_MAX + 1, "%s" BOOT_STATE_SUFFIX, path->text + 1);
        for (char *p = ret; *p; p++) {
                if (*p == '/')
                        *p = '-';
        }
}

static int parse_list(struct json_object *root, const char *key, const char *what,
                      struct boot_path *ret, size_t *ret_n, struct error *e)
{
        struct json_object *array;
        int r = json_get_array(root, key, &array);
        size_t n;

        *ret_n = 0;
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s: \"%s\" is not a list", what, key);
        n = json_object_array_length(array);
        if (n > LIMIT_BOOT_ADDITIONS)
                return error_set(e, ERROR_CONFIG, E2BIG, "%s: \"%s\" has more than %u paths", what,
                                 key, LIMIT_BOOT_ADDITIONS);
        for (size_t i = 0; i < n; i++) {
                struct json_object *o = json_object_array_get_idx(array, i);
                const char *text = json_object_get_string(o);

                if (!json_object_is_type(o, json_type_string) ||
                    strlen(text) != (size_t)json_object_get_string_len(o) ||
                    strlen(text) > BOOT_LAYOUT_PATH_MAX)
                        return error_set(e, ERROR_CONFIG, EBADMSG,
                                         "%s: \"%s\" has something that is no path", what, key);
                (void)snprintf(ret[i].text, sizeof(ret[i].text), "%s", text);
        }
        *ret_n = n;
        return 0;
}

int boot_layout_parse(const void *text, size_t n, const char *what, struct boot_additions *ret,
                      struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        int r = json_read_text(text, n, LIMIT_SMALL_FILE, what, &root, e);

        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object))
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s: not an object", what);
        json_object_object_foreach(root, key, value)
        {
                (void)value;
                if (strcmp(key, "bind") != 0 && strcmp(key, "ephemeral") != 0)
                        return error_set(e, ERROR_CONFIG, EBADMSG, "%s: unknown key \"%s\"", what,
                                         key);
        }
        r = parse_list(root, "bind", what, ret->binds, &ret->n_binds, e);
        if (r == 0)
                r = parse_list(root, "ephemeral", what, ret->ephemeral, &ret->n_ephemeral, e);
        return r;
}
