/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extensions in the boot stage (agent/extension.h). The stage lays them over /usr and /etc itself,
 * before the first unit of the system is read: units of an extension are there from the beginning,
 * the configuration of one lies below what may be written in /etc, and /usr/local, which
 * systemd-sysext of before 256 hides below its own overlay, stays.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "agent/boot.h"
#include "agent/boot_overlay.h"
#include "agent/extension.h"
#include "agent/extension_release.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "partition/disk_content.h"
#include "partition/mount.h"
#include "partition/verity.h"

#define FOLDER "tb-agent/extensions"
#define MAPPING_PREFIX "extension-"
#define MOUNT_FLAGS ((unsigned long)(MS_RDONLY | MS_NOSUID | MS_NODEV))
static const char *const file_systems[] = {"squashfs", "erofs", "ext4"};

/* One that is enabled. */
struct item {
        struct extension x;
        char *mount;  /* its root */
        char *target; /* where its file system is mounted: there, or for one of /usr in it */
        bool mounted; /* waits for being used */
        bool active;
        char error[4096];
};

struct boot_extensions {
        unsigned n;
        struct item item[LIMIT_EXTENSIONS];
};

/* --- opening one --- */

static void leave_out(struct boot *b, struct item *i, struct error *e)
{
        char mapping[sizeof(MAPPING_PREFIX) + LIMIT_EXTENSION_NAME];

        (void)snprintf(i->error, sizeof(i->error), "%s", e->text);
        (void)error_wrap(e, -e->code, "extension \"%s\" is left out", i->x.name);
        log_warning("%s", e->text);
        boot_report_problem(b->report, e->text);
        i->mounted = i->active = false;
        if (i->target)
                (void)umount2(i->target, MNT_DETACH);
        (void)snprintf(mapping, sizeof(mapping), MAPPING_PREFIX "%s", i->x.name);
        verity_close(mapping);
}

static int load_modules(struct boot *b, struct error *e)
{
        int r = module_load(b->modules, "loop", e);

        return r < 0 ? r : module_load(b->modules, "dm_verity", e);
}

/* The file system is signed, and the kernel has few that are made for reading what is. */
static int mount_one(struct boot *b, struct item *i, const char *device, bool usr, struct error *e)
{
        struct disk_content content;
        bool known = false;
        int r = disk_content_read(device, &content, e);

        if (r < 0)
                return r;
        for (size_t k = 0; k < ARRAY_SIZE(file_systems); k++)
                known = known || strcmp(content.type, file_systems[k]) == 0;
        if (!known)
                return error_set(e, ERROR_REFUSED, EMEDIUMTYPE,
                                 "no file system of squashfs, erofs or ext4");
        if (asprintf(&i->mount, "%s/" FOLDER "/%s", b->env->run, i->x.name) < 0) {
                i->mount = NULL;
                return error_oom(e);
        }
        if (asprintf(&i->target, "%s%s", i->mount, usr ? "/usr" : "") < 0) {
                i->target = NULL;
                return error_oom(e);
        }
        r = module_load(b->modules, content.type, e);
        return r < 0 ? r : mount_fs(device, i->target, content.type, MOUNT_FLAGS, NULL, e);
}

static int read_release(const char *folder, const char *path, struct osrelease **ret,
                        struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OS_RELEASE);
        _cleanup_free_ char *full = NULL;
        int r;

        if (asprintf(&full, "%s%s", folder, path) < 0) {
                full = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, full, &text);
        if (r < 0)
                return error_set(e, ERROR_REFUSED, -r, "%s: %s", path, file_strerror(r));
        r = osrelease_parse(text.data, text.len, ret, e);
        return r < 0 ? error_wrap(e, r, "%s", path) : 0;
}

static bool has(const char *folder, const char *path)
{
        _cleanup_free_ char *full = NULL;
        struct stat st;

        if (asprintf(&full, "%s%s", folder, path) < 0) {
                full = NULL;
                return true;
        }
        return lstat(full, &st) == 0;
}

/* What it says about itself has to fit to what runs, which it must not rename. */
static int check_content(const struct item *i, struct error *e)
{
        _cleanup_(osrelease_free_p) struct osrelease *host = NULL, *extension = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        if (!has(i->mount, i->x.confext ? "/etc" : "/usr"))
                return error_set(e, ERROR_REFUSED, ENOENT, "it has nothing for %s",
                                 i->x.confext ? "/etc" : "/usr");
        if (has(i->mount, "/usr/lib/os-release") || has(i->mount, "/etc/os-release"))
                return error_set(e, ERROR_REFUSED, EMEDIUMTYPE,
                                 "it has an os-release: that is a system");
        if (asprintf(&path, "/%s/extension-release.d/extension-release.%s",
                     i->x.confext ? "etc" : "usr/lib", i->x.name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = read_release(i->mount, path, &extension, e);
        if (r == 0)
                r = read_release("", "/usr/lib/os-release", &host, e);
        return r < 0 ? r : extension_release_check(host, extension, i->x.confext, e);
}

static int open_one(struct boot *b, struct item *i, const struct buf *certificates, struct error *e)
{
        char mapping[sizeof(MAPPING_PREFIX) + LIMIT_EXTENSION_NAME];
        _cleanup_free_ char *device = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct ddi ddi;
        int r = extension_open(b->env, &i->x, certificates, &fd, &ddi, e);

        (void)snprintf(mapping, sizeof(mapping), MAPPING_PREFIX "%s", i->x.name);
        if (r == 0)
                r = verity_open(b->env, fd, &ddi, i->x.root_hash, mapping, &device, e);
        if (r == 0)
                r = mount_one(b, i, device, ddi.usr, e);
        if (r == 0)
                r = check_content(i, e);
        if (r == 0)
                i->mounted = true;
        return r;
}

/* --- laying them over a folder --- */

static bool has_any(const struct boot_extensions *l, bool confext)
{
        for (unsigned i = 0; i < l->n; i++) {
                if (l->item[i].mounted && l->item[i].x.confext == confext)
                        return true;
        }
        return false;
}

/* All of a kind: they are in use now, or, with an error, none of them is. */
static void settle(struct boot *b, bool confext, const struct error *e)
{
        struct boot_extensions *l = b->extensions;

        for (unsigned i = 0; i < l->n; i++) {
                struct item *item = &l->item[i];
                struct error error;

                if (!item->mounted || item->x.confext != confext)
                        continue;
                item->active = !e;
                if (!e)
                        continue;
                error = *e;
                leave_out(b, item, &error);
        }
}

/*
 * The last name is on top, as with systemd-sysext. -errno is for what must not be survived: what
 * was mounted below folder is not all in its place any more, and going on without data could look
 * like a new node.
 */
static int lay_over(struct boot *b, bool confext, const char *folder, struct error *e)
{
        char *over[LIMIT_EXTENSIONS] = {NULL};
        struct error error = ERROR_INIT;
        bool lost = false;
        unsigned n = 0;
        int r = 0;

        for (unsigned i = 0; i < b->extensions->n && r == 0; i++) {
                const struct item *item = &b->extensions->item[i];

                if (!item->mounted || item->x.confext != confext)
                        continue;
                if (asprintf(&over[n], "%s%s", item->mount, folder) < 0) {
                        over[n] = NULL;
                        r = error_oom(&error);
                }
                n++;
        }
        if (r == 0)
                r = boot_overlay_lay(b->env, folder, (const char *const *)over, n, &lost, &error);
        for (unsigned i = 0; i < n; i++)
                free(over[i]);
        if (lost) {
                *e = error;
                return error_wrap(e, r, "laying extensions over %s", folder);
        }
        settle(b, confext, r < 0 ? &error : NULL);
        return 0;
}

/*
 * The kernel stacks two overlays and no third. /etc becomes one to be written to, so that it cannot
 * be one with extensions in an image whose root is one.
 */
static int check_stack(const char *folder, struct error *e)
{
        struct statfs fs;

        if (statfs(folder, &fs) < 0)
                return error_errno(e, errno, "%s", folder);
        return fs.f_type == OVERLAYFS_SUPER_MAGIC
                       ? error_set(e, ERROR_PRECONDITION, ELOOP,
                                   "the root of this image is an overlay: it takes no confext")
                       : 0;
}

/* --- what is not proven --- */

/*
 * Places that systemd-sysext and systemd-confext take anything from; /etc and /run are new in every
 * boot. They must not do so with what somebody left on the persistent partition. Nothing there:
 * they may do what the image has for them.
 */
static bool is_planted(const char *path, dev_t persistent)
{
        struct dirent **names = NULL;
        struct stat st;
        int n;

        if (stat(path, &st) < 0 || st.st_dev != persistent)
                return false;
        n = scandir(path, &names, NULL, NULL);
        for (int i = 0; i < n; i++)
                free(names[i]);
        free(names);
        return n < 0 || n > 2; /* "." and ".." */
}

static int mask(const struct env *env, const char *unit)
{
        _cleanup_free_ char *folder = NULL, *path = NULL;
        int r;

        if (asprintf(&folder, "%s/systemd/system", env->run) < 0) {
                folder = NULL;
                return -ENOMEM;
        }
        if (asprintf(&path, "%s/%s", folder, unit) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = file_make_dirs(AT_FDCWD, folder, 0755);
        return r < 0 ? r : symlink("/dev/null", path) < 0 && errno != EEXIST ? -errno : 0;
}

static int close_places(struct boot *b, struct error *e)
{
        static const char *const places[] = {"/etc/extensions",
                                             "/var/lib/extensions",
                                             "/var/lib/extensions.mutable",
                                             "/var/lib/confexts",
                                             "/usr/local/lib/extensions",
                                             "/usr/local/lib/confexts"},
                                 *const units[] = {"systemd-sysext.service",
                                                   "systemd-confext.service"};
        struct stat persistent;
        int r = 0;

        if (stat(b->env->persistent, &persistent) < 0)
                return error_errno(e, errno, "%s", b->env->persistent);
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                struct error error = ERROR_INIT;

                if (!is_planted(places[i], persistent.st_dev))
                        continue;
                error_set(&error, ERROR_CONFIG, EPERM,
                          "%s: nobody proves these extensions: systemd-sysext is kept from them",
                          places[i]);
                log_warning("%s", error.text);
                boot_report_problem(b->report, error.text);
                for (size_t k = 0; k < ARRAY_SIZE(units) && r == 0; k++)
                        r = mask(b->env, units[k]);
        }
        return r < 0 ? error_errno(e, -r, "masking systemd-sysext") : 0;
}

/* --- the calls of the stage --- */

void boot_extension_note_image(struct boot *b)
{
        struct error error = ERROR_INIT;
        char hex[SHA256_HEX_SIZE];

        if (!b->tpm || !stub_may_have_measured(b->env))
                return;
        if (tpm_read_pcrs(b->tpm, 1u << BOOT_PCR, b->image, &error) < 0) {
                log_warning("which image runs is not known: %s", error.text);
                return;
        }
        b->measured = true;
        hex_encode(b->image, SHA256_SIZE, hex);
        boot_report_set(b->report, EXTENSION_REPORT_IMAGE, hex);
}

static int read_enabled(struct boot *b, struct extension_list *l, struct error *e)
{
        int r = extension_list_read(b->env, l, e);

        for (unsigned i = 0; i < l->n && r == 0; i++) {
                if (extension_is_enabled(&l->item[i], b->image))
                        b->extensions->item[b->extensions->n++].x = l->item[i];
        }
        return r;
}

static void open_all(struct boot *b)
{
        _cleanup_(buf_done) struct buf certificates = BUF_INIT(LIMIT_KEY_FILE);
        struct error common = ERROR_INIT;
        int r = extension_certificates(b->env, &certificates, &common);

        if (r == 0)
                r = load_modules(b, &common);
        for (unsigned i = 0; i < b->extensions->n; i++) {
                struct item *item = &b->extensions->item[i];
                struct error error = common;

                if (r < 0 || open_one(b, item, &certificates, &error) < 0)
                        leave_out(b, item, &error);
        }
}

int boot_extension_open(struct boot *b, struct boot_data data, struct error *e)
{
        _cleanup_free_ struct extension_list *l = calloc(1, sizeof(*l));
        struct error error = ERROR_INIT;
        int r;

        if (b->live || !b->measured || !data.oem || !data.persistent ||
            b->entry.role == ENTRY_ROLE_RECOVERY)
                return 0;
        b->extensions = calloc(1, sizeof(*b->extensions));
        r = b->extensions && l ? read_enabled(b, l, &error) : error_oom(&error);
        if (r < 0) {
                (void)error_wrap(&error, r, "extensions are left out");
                log_warning("%s", error.text);
                boot_report_problem(b->report, error.text);
        }
        if (r < 0 || b->extensions->n == 0)
                return 0;
        open_all(b);
        if (!has_any(b->extensions, true))
                return 0;
        r = check_stack("/etc", &error);
        if (r == 0)
                return lay_over(b, true, "/etc", e);
        settle(b, true, &error);
        return 0;
}

static void report(struct boot *b)
{
        struct json_object *array = json_object_new_array();
        int r = 0;

        for (unsigned i = 0; b->extensions && i < b->extensions->n && r == 0; i++) {
                const struct item *item = &b->extensions->item[i];
                struct json_object *o = json_object_new_object();
                char hex[SHA256_HEX_SIZE];

                hex_encode(item->x.root_hash, SHA256_SIZE, hex);
                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "name", item->x.name);
                if (r == 0)
                        r = json_add_str(o, "root_hash", hex);
                if (r == 0)
                        r = json_add_bool(o, "active", item->active);
                if (r == 0)
                        r = json_add_str(o, "error", *item->error ? item->error : NULL);
        }
        boot_report_set_json(b->report, EXTENSION_REPORT_LIST, array);
}

int boot_extension_merge(struct boot *b, struct boot_data data, struct error *e)
{
        int r = data.persistent ? close_places(b, e) : 0;

        if (r == 0 && b->extensions && has_any(b->extensions, false))
                r = lay_over(b, false, "/usr", e);
        if (r == 0)
                report(b);
        return r;
}
