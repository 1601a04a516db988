/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_keep.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/pcr_choice.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "partition/luks.h"
#include "partition/mount.h"
#include "partition/seal.h"

/* Names shown of what does not belong onto an ESP. */
#define FOREIGN_MAX 8u

/* --- the table --- */

/* What is not as it should be, a line for each. */
struct complaints {
        struct buf text;
        int r; /* -ENOMEM */
};

static void complain(struct complaints *c, const char *name, const char *what, const char *more)
{
        if (c->r == 0 && buf_printf(&c->text, "\n  \"%s\" %s%s", name, what, more) < 0)
                c->r = -ENOMEM;
}

static void check_size(const char *name, uint64_t size, uint64_t least, struct complaints *c)
{
        char has[32], what[64], needs[32];

        if (size >= least)
                return;
        (void)snprintf(what, sizeof(what), "has %s and needs ",
                       format_size(size, has, sizeof(has)));
        complain(c, name, what, format_size(least, needs, sizeof(needs)));
}

static const struct layout_partition *find(const struct layout *l, const char *name,
                                           const char *type, struct complaints *c)
{
        const struct layout_partition *p;
        int r = layout_find(l, name, &p);

        if (r < 0) {
                complain(c, name, r == -ENOTUNIQ ? "is the name of several" : "is missing", "");
                return NULL;
        }
        if (strcasecmp(p->type, type) != 0) {
                complain(c, name, "is not of the type ", type);
                return NULL;
        }
        return p;
}

static void check_esp_room(const struct layout_partition *esp, uint64_t image_size,
                           struct complaints *c)
{
        struct error error = ERROR_INIT;
        uint64_t size;

        if (layout_esp_size(image_size, esp->size, &size, &error) < 0)
                complain(c, esp->name, "is too small: ", error.text);
}

static uint64_t at_least(uint64_t wish, uint64_t least)
{
        return wish > least ? wish : least;
}

int install_keep_check_layout(const struct layout *l, const struct layout_wishes *wishes,
                              uint64_t image_size, struct error *e)
{
        struct complaints c = {.text = BUF_INIT(sizeof(e->text))};
        const struct layout_partition *p = find(l, LAYOUT_ESP_NAME, LAYOUT_TYPE_ESP, &c);

        if (p)
                check_size(p->name, p->size, at_least(wishes->esp_size, LAYOUT_ESP_MIN), &c);
        if (p && image_size > 0)
                check_esp_room(p, image_size, &c);
        p = find(l, LAYOUT_OEM_NAME, LAYOUT_TYPE_LINUX, &c);
        if (p)
                check_size(p->name, p->size, at_least(wishes->oem_size, LAYOUT_OEM_MIN), &c);
        p = find(l, LAYOUT_PERSISTENT_NAME, LAYOUT_TYPE_LINUX, &c);
        if (p)
                check_size(p->name, p->size,
                           at_least(wishes->persistent_size, LAYOUT_PERSISTENT_MIN), &c);
        for (size_t i = 0; i < wishes->extras.n; i++) {
                p = find(l, wishes->extras.item[i].name, LAYOUT_TYPE_LINUX, &c);
                if (p)
                        check_size(p->name, p->size, wishes->extras.item[i].size, &c);
        }
        if (c.r == 0 && c.text.len > 0) {
                c.r = error_set(e, ERROR_PRECONDITION, EINVAL,
                                "the disk is not prepared for a node:%s", buf_str(&c.text));
                error_advise(e, "prepare the partitions, or leave out --no-format: then all of the "
                                "disk is overwritten");
        } else if (c.r < 0) {
                (void)error_oom(e);
        }
        buf_done(&c.text);
        return c.r;
}

int install_keep_fits(const struct disk *d, void *data, struct error *e)
{
        _cleanup_free_ struct layout *l = malloc(sizeof(*l));
        const struct install_keep_fit *fit = data;
        int r = l ? layout_read(d, l, e) : error_oom(e);

        if (r == -ENOENT)
                return error_set(e, ERROR_PRECONDITION, ENOENT,
                                 "the disk is not prepared for a node: it has no GPT");
        return r < 0 ? r : install_keep_check_layout(l, fit->wishes, fit->image_size, e);
}

/* The nodes that are written to are the kernel's; the table is what the node will be found by. */
static int check_kernel(const struct install_plan *p, struct error *e)
{
        struct disk_partition *list;
        size_t n, same = 0;
        int r = disk_partitions(p->disk, &list, &n, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < p->layout.n; i++) {
                const struct layout_partition *l = &p->layout.partitions[i];

                for (size_t k = 0; k < n; k++)
                        same += list[k].number == l->number && list[k].start == l->start &&
                                list[k].size == l->size;
        }
        r = same == n && n == p->layout.n
                    ? 0
                    : error_set(e, ERROR_PRECONDITION, ESTALE,
                                "%s: the kernel knows other partitions than the table has",
                                p->disk->path);
        disk_free_partitions(list, n);
        if (r < 0)
                error_advise(e, "have the kernel read the table again: partx --update, or a "
                                "restart");
        return r;
}

int install_keep_read(struct install_plan *p, const struct layout_wishes *wishes, struct error *e)
{
        const struct install_keep_fit fit = {.wishes = wishes,
                                             .image_size = image_size(p->source.image)};
        int r = layout_read(p->disk, &p->layout, e);

        if (r == 0)
                r = install_keep_check_layout(&p->layout, fit.wishes, fit.image_size, e);
        return r < 0 ? error_wrap(e, r, "%s", p->disk->path) : check_kernel(p, e);
}

/* --- the ESP --- */

/* Folders that an installation makes, and what may be in them; NULL: anything. */
static const struct {
        const char *folder;
        const char *const *names;
} known_folders[] = {
        {".", (const char *const[]){"EFI", "loader", NULL}},
        {"EFI", (const char *const[]){"BOOT", "systemd", "kairos", NULL}},
        {"EFI/BOOT", (const char *const[]){"BOOTX64.EFI", "BOOTAA64.EFI", NULL}},
        {"EFI/systemd", (const char *const[]){"systemd-bootx64.efi", "systemd-bootaa64.efi", NULL}},
        {"loader", (const char *const[]){"entries", "entries.srel", "loader.conf", "keys",
                                         "random-seed", "tb-install.id", NULL}},
};

static bool is_known(const char *const *names, const char *name)
{
        for (; *names; names++) {
                if (strcasecmp(*names, name) == 0)
                        return true;
        }
        /* What a cut left of an exchange of the agent's. */
        return strncasecmp(name, "TBAGENT", strlen("TBAGENT")) == 0;
}

static int list_foreign(int dirfd, const char *folder, const char *const *names, struct buf *out,
                        unsigned *n)
{
        int fd = openat(dirfd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
        struct dirent *entry;
        DIR *dir;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        dir = fdopendir(fd);
        if (!dir) {
                (void)close(fd);
                return -ENOMEM;
        }
        while (errno = 0, r == 0 && (entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                    is_known(names, entry->d_name))
                        continue;
                if ((*n)++ < FOREIGN_MAX)
                        r = buf_printf(out, "%s%s%s%s", *n > 1 ? ", " : "",
                                       strcmp(folder, ".") == 0 ? "" : folder,
                                       strcmp(folder, ".") == 0 ? "" : "/", entry->d_name);
        }
        if (r == 0 && errno)
                r = -errno;
        (void)closedir(dir);
        return r;
}

int install_keep_check_esp(int dirfd, struct error *e)
{
        _cleanup_(buf_done) struct buf names = BUF_INIT(sizeof(e->text));
        unsigned n = 0;
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(known_folders) && r == 0; i++)
                r = list_foreign(dirfd, known_folders[i].folder, known_folders[i].names, &names,
                                 &n);
        if (r < 0)
                return error_errno(e, -r, "EFI system partition");
        if (n == 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, EEXIST,
                  "the EFI system partition holds what is not of a node: %s%s", buf_str(&names),
                  n > FOREIGN_MAX ? ", ..." : "");
        error_advise(e, "it is made anew, so move these away first");
        return -EEXIST;
}

static int judge_esp(const char *device, const struct disk_content *content, struct error *e)
{
        struct error error = ERROR_INIT;
        _cleanup_close_ int fd = -EBADF;

        if (!*content->type)
                return 0;
        if (strcmp(content->type, "vfat") != 0)
                return error_set(e, ERROR_PRECONDITION, EEXIST, "there is %s on it, and no FAT",
                                 content->type);
        fd = mount_look(device, "vfat", &error);
        /* By its label it was a node's, and an interrupted run may have left it like that. */
        if (fd < 0 && strcmp(content->label, LAYOUT_ESP_LABEL) == 0) {
                log_warning("%s; it is made anew", error.text);
                return 0;
        }
        if (fd < 0) {
                *e = error;
                return fd;
        }
        return install_keep_check_esp(fd, e);
}

/* --- what is encrypted --- */

/* A token of it opens, in this TPM, in the first boot of the image that is installed. */
static int prove_token(const struct install_plan *p, struct tpm *tpm, const struct token *token,
                       struct error *e)
{
        const struct buf *sig = image_policy_signature(p->source.image);
        uint8_t literal[TPM_PCR_COUNT * SHA256_SIZE];
        int r = 0;

        if (token->signed_pcrs != PCR_CHOICE_SIGNED)
                return error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                                 "a token without the image's signed policy");
        if (token->literal_pcrs != 0)
                r = install_firmware_pcrs(p, tpm, token->literal_pcrs, literal, e);
        return r < 0 ? r
                     : seal_prove(tpm, token, image_pcr11(p->source.image), literal, sig->data,
                                  sig->len, e);
}

static int prove_volume(const struct install_plan *p, struct tpm *tpm, const struct luks *l,
                        const char *label, struct error *e)
{
        int last = luks_check_header(l, label, e);

        if (last < 0)
                return last;
        last = error_set(e, ERROR_PRECONDITION, ENOKEY, "it has no token for a TPM");
        for (int id = 0; id < LIMIT_LUKS_TOKENS; id++) {
                _cleanup_(token_free_p) struct token *token = NULL;
                struct error error = ERROR_INIT;
                int r = luks_get_token(l, id, &token, &error);

                if (r == -ENOENT)
                        continue;
                if (r == 0)
                        r = prove_token(p, tpm, token, &error);
                if (r == 0) {
                        error_clear(e);
                        return 0;
                }
                *e = error;
                last = r;
        }
        return last;
}

/* *ret_keep: there is a volume, and it is kept. */
static int judge_luks(const struct install_plan *p, struct tpm *tpm, const char *device,
                      const char *label, bool *ret_keep, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *l = NULL;
        int r = luks_open(device, &l, e);

        if (r == 0 && strcmp(luks_label(l), INSTALL_UNFINISHED_LABEL) == 0)
                return 0;
        if (r == 0)
                r = prove_volume(p, tpm, l, label, e);
        if (r < 0) {
                (void)error_wrap(e, r, "its volume would not open with this image");
                error_advise(e, "install the image that the data belongs to, or give the data up "
                                "with wipefs --all");
                return r;
        }
        *ret_keep = true;
        return 0;
}

struct part {
        const char *name, *label;
        bool encrypted;
};

static int judge_data(const struct install_plan *p, struct tpm *tpm, const struct part *part,
                      const char *device, const struct disk_content *content, bool *ret_keep,
                      struct error *e)
{
        if (!*content->type)
                return 0;
        if (part->encrypted && strcmp(content->type, "crypto_LUKS") == 0)
                return judge_luks(p, tpm, device, part->label, ret_keep, e);
        /* What a user has there stays as it is: nobody asked for more. */
        if (!part->encrypted) {
                *ret_keep = true;
                return 0;
        }
        error_set(e, ERROR_PRECONDITION, EEXIST, "there is %s%s%s on it, which is not encrypted",
                  content->type, *content->label ? " " : "", content->label);
        error_advise(e, "move the data away and use wipefs --all, or leave out --no-format");
        return -EEXIST;
}

static void note_loss(struct install_plan *p, const struct layout_partition *l,
                      const struct disk_content *content)
{
        struct install_loss *loss = &p->lost[p->n_lost++];

        (void)snprintf(loss->name, sizeof(loss->name), "%s", l->name);
        loss->size = l->size;
        loss->content = *content;
}

static int judge(struct install_plan *p, struct tpm *tpm, const struct part *part, struct error *e)
{
        _cleanup_free_ char *device = NULL;
        const struct layout_partition *l;
        struct disk_content content;
        bool keep = false;
        int r = layout_find(&p->layout, part->name, &l);

        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "plan without \"%s\"", part->name);
        r = disk_partition_path(p->disk, l->number, &device, e);
        if (r == 0)
                r = disk_content_read(device, &content, e);
        if (r == 0)
                r = strcmp(part->name, LAYOUT_ESP_NAME) == 0
                            ? judge_esp(device, &content, e)
                            : judge_data(p, tpm, part, device, &content, &keep, e);
        if (r < 0)
                return error_wrap(e, r, "%s (\"%s\")", device ? device : p->disk->path, part->name);
        if (keep)
                p->kept[l - p->layout.partitions] = true;
        else
                note_loss(p, l, &content);
        return 0;
}

/* The ESP, oem and persistent, and what was asked for. */
static size_t list_parts(const struct install_plan *p, struct part list[3 + LIMIT_EXTRA_PARTITIONS])
{
        size_t n = 0;

        list[n++] = (struct part){LAYOUT_ESP_NAME, LAYOUT_ESP_LABEL, false};
        list[n++] = (struct part){LAYOUT_OEM_NAME, LAYOUT_OEM_LABEL, true};
        for (size_t i = 0; i < p->extras.n; i++)
                list[n++] = (struct part){p->extras.item[i].name, p->extras.item[i].label,
                                          p->extras.item[i].encrypted};
        list[n++] = (struct part){LAYOUT_PERSISTENT_NAME, LAYOUT_PERSISTENT_LABEL, true};
        return n;
}

int install_keep_check_together(const struct install_plan *p, struct error *e)
{
        struct part parts[3 + LIMIT_EXTRA_PARTITIONS];
        size_t n = list_parts(p, parts);

        for (size_t i = 0; i < n && !install_keep_has(p, LAYOUT_OEM_NAME); i++) {
                if (!parts[i].encrypted || !install_keep_has(p, parts[i].name))
                        continue;
                error_set(e, ERROR_PRECONDITION, EEXIST,
                          "the data in \"%s\" would be kept beside a new \"" LAYOUT_OEM_NAME
                          "\", whose configuration may be anybody's",
                          parts[i].name);
                error_advise(e, "put the old \"" LAYOUT_OEM_NAME "\" back, give the data up with "
                                "wipefs --all, or leave out --no-format");
                return -EEXIST;
        }
        return 0;
}

int install_keep_judge(struct install_plan *p, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct part parts[3 + LIMIT_EXTRA_PARTITIONS];
        size_t n = list_parts(p, parts);
        int r = tpm_open(p->env->tcti, &tpm, e);

        p->lost = calloc(n, sizeof(*p->lost));
        if (r == 0 && !p->lost)
                r = error_oom(e);
        for (size_t i = 0; i < n && r == 0; i++)
                r = judge(p, tpm, &parts[i], e);
        return r < 0 ? r : install_keep_check_together(p, e);
}

bool install_keep_has(const struct install_plan *p, const char *name)
{
        const struct layout_partition *l;

        return layout_find(&p->layout, name, &l) == 0 && p->kept[l - p->layout.partitions];
}

bool install_keep_all(const struct install_plan *p)
{
        struct part parts[3 + LIMIT_EXTRA_PARTITIONS];
        size_t n = list_parts(p, parts);

        for (size_t i = 0; i < n; i++) {
                if (parts[i].encrypted && !install_keep_has(p, parts[i].name))
                        return false;
        }
        return true;
}

int install_keep_clear(const struct install_plan *p, struct error *e)
{
        struct part parts[3 + LIMIT_EXTRA_PARTITIONS];
        size_t n = list_parts(p, parts);
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++) {
                _cleanup_free_ char *device = NULL;
                const struct layout_partition *l;

                if (install_keep_has(p, parts[i].name))
                        continue;
                if (layout_find(&p->layout, parts[i].name, &l) < 0)
                        return error_set(e, ERROR_INTERNAL, EINVAL, "plan without \"%s\"",
                                         parts[i].name);
                r = disk_partition_path(p->disk, l->number, &device, e);
                if (r == 0)
                        r = disk_wipe_signatures(device, e);
        }
        return r;
}
