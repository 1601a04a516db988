/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/golden.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "agent/golden_file.h"
#include "agent/golden_tpm.h"
#include "agent/golden_volume.h"
#include "agent/install_oem.h"
#include "agent/pcr_choice.h"
#include "agent/stop.h"
#include "base/file.h"
#include "base/num.h"
#include "partition/blank.h"
#include "partition/mkfs.h"

#define SECTOR 512u
/* Allocation tables of the ESP, boot loaders, entries, and the places that blank partitions fill.
 */
#define SMALL_THINGS (64 * MIB)

int golden_check(const struct install_wishes *w, struct error *e)
{
        const struct {
                bool given;
                const char *text;
        } of_disks[] = {
                {!w->seal && (w->escrow.show || w->escrow.file),
                 "a recovery key of an image would be that of every machine: make one on the node"},
                {w->firmware.keys || w->firmware.keys_by,
                 "an image brings no Secure Boot keys: enrol them on the machines"},
                {!w->seal && w->allow_downgrade, "an image has no version floor"},
                {!w->seal && (w->pcr7 || w->event_log),
                 "--pcr7 and --event-log are of use with --tcti: else the first boot seals"},
                {w->no_format, "--no-format is for disks"},
                {w->force_release, "--force-release is for disks: nothing holds a new file"},
                {w->end != INSTALL_END_STAY, "this machine goes on"},
                {!w->seal && (w->pin.ask || w->pin.file),
                 "a PIN of an image would be that of every machine"},
                {!w->seal && (w->literal_pcrs & ~PCR_CHOICE_NEEDED) != 0,
                 "the first boot binds to PCR 7 and to no other by value"},
                {w->config && (w->config->install.hooks.before.n > 0 ||
                               w->config->install.hooks.after.n > 0),
                 "hooks run on the machine that is installed"},
                {w->layout.extras.n > 0,
                 "an image has no further partitions: give it the standard layout"},
        };

        if (!w->image) {
                if (w->image_size > 0 || w->overwrite || w->db.n > 0 || w->dbx.n > 0 || w->pcr7 ||
                    w->event_log)
                        return error_set(e, ERROR_USAGE, EINVAL,
                                         "--size, --overwrite, --db, --dbx, --pcr7 and --event-log "
                                         "need --image");
                return 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(of_disks); i++) {
                if (of_disks[i].given)
                        return error_set(e, ERROR_USAGE, EINVAL, "--image: %s", of_disks[i].text);
        }
        if (w->image_size == 0)
                return error_set(e, ERROR_USAGE, EINVAL, "--image: --size is missing");
        if (w->seal) {
                int r = golden_tpm_check(w, e);

                if (r < 0 || w->event_log)
                        return r;
        }
        if (w->db.n > 0)
                return 0;
        error_set(e, ERROR_USAGE, EINVAL, "--image: --db is missing");
        error_advise(e,
                     "name the certificates in the db of the machines that will start the image");
        return -EINVAL;
}

static int read_database(const struct option_list *files, struct sigdb **ret, struct error *e)
{
        int r = 0;

        *ret = sigdb_new();
        if (!*ret)
                return error_oom(e);
        for (unsigned i = 0; i < files->n && r == 0; i++)
                r = sigdb_add_file(*ret, files->item[i], e);
        return r;
}

static int check_source(struct install_plan *p, const struct install_wishes *w, struct error *e)
{
        struct machine *m = &p->machine;
        struct fetch_options fetch;
        const struct source_transfer transfer = {.env = p->env,
                                                 .options = &fetch,
                                                 .begin = install_begin_fetch,
                                                 .done = install_progress_bytes,
                                                 .arg = w->progress};
        int r = p->sealed ? golden_tpm_begin(p, w, e) : 0;

        if (r == 0 && !w->event_log)
                r = read_database(&w->db, &m->db, e);
        if (r == 0 && !w->event_log)
                r = read_database(&w->dbx, &m->dbx, e);
        if (r < 0)
                return r;
        (void)snprintf(m->pcr7_text, sizeof(m->pcr7_text), "%s",
                       p->sealed ? "the partitions are sealed to the value on their machine"
                                 : "sealed to at the first boot");
        m->demands.db = m->db;
        m->demands.dbx = m->dbx;
        m->demands.elsewhere = true;
        m->demands.pcr7 = PROOF_NOT_APPLICABLE;
        m->demands.pcr7_text = m->pcr7_text;
        source_fetch_options(&w->from, &fetch);
        return source_open(w->source, &m->demands, true, &transfer, &p->proofs, &p->source, e);
}

static int tell_sizes(const struct install_plan *p, const struct layout_wishes *l, struct error *e)
{
        char esp[32], oem[32], persistent[32];

        error_advise(e,
                     "EFI system partition %s + oem %s + persistent %s%s + 2 MiB for the tables: "
                     "give a larger --size, or a smaller --esp-size",
                     format_size(l->esp_size, esp, sizeof(esp)),
                     format_size(l->oem_size ?: LAYOUT_OEM_SIZE, oem, sizeof(oem)),
                     l->persistent_size ? "" : "at least ",
                     format_size(l->persistent_size ?: LAYOUT_PERSISTENT_MIN, persistent,
                                 sizeof(persistent)));
        return error_wrap(e, -ENOSPC, "%s", p->image);
}

static int plan_layout(struct install_plan *p, const struct install_wishes *w, struct error *e)
{
        struct layout_wishes layout = w->layout;
        struct error small = ERROR_INIT;
        int r = layout_esp_size(image_size(p->source.image), layout.esp_size, &layout.esp_size, e);

        if (r < 0)
                return r;
        if (w->image_size % LAYOUT_ALIGN != 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--size: %" PRIu64 " bytes are not a multiple of 1 MiB",
                                 w->image_size);
        r = layout_plan(w->image_size, SECTOR, &layout, &p->layout, &small);
        if (r == -ENOSPC)
                *small.advice = '\0'; /* of disks */
        if (r < 0)
                *e = small;
        return r == -ENOSPC ? tell_sizes(p, &layout, e) : r;
}

static int pack_config(struct install_plan *p, struct error *e)
{
        p->packed = (struct buf)BUF_INIT(LIMIT_BLANK_CONTENT);
        return p->config && !p->sealed ? install_oem_pack(p->config, &p->packed, e) : 0;
}

int golden_prepare(const struct env *env, const struct install_wishes *w, struct install_plan *ret,
                   struct error *e)
{
        struct install_plan *p = ret;
        int r;

        *p = (struct install_plan){.env = env,
                                   .image = w->image,
                                   .image_size = w->image_size,
                                   .overwrite = w->overwrite,
                                   .sealed = w->seal,
                                   .allow_software_tpm = w->firmware.allow_software_tpm,
                                   .allow_discards = w->allow_discards,
                                   .insecure = &w->from.insecure,
                                   .literal_pcrs = PCR_CHOICE_NEEDED,
                                   .source = SOURCE_INIT,
                                   .config = w->config,
                                   .escrow = INSTALL_ESCROW_INIT};
        r = golden_file_check(w->image, w->overwrite, e);
        if (r == 0)
                r = check_source(p, w, e);
        if (r == 0 && p->sealed)
                r = golden_tpm_end(p, w, e);
        if (r == 0)
                r = plan_layout(p, w, e);
        if (r == 0)
                r = pack_config(p, e);
        if (r < 0)
                install_plan_done(p);
        return r;
}

/* Better now than after a gigabyte. */
static int check_space(const struct install_plan *p, int fd, struct error *e)
{
        uint64_t need, have;
        char a[32], b[32];
        struct statvfs st;

        if (fstatvfs(fd, &st) < 0)
                return error_errno(e, errno, "%s", p->image);
        if (mul_u64(image_size(p->source.image), 2, &need) < 0 ||
            add_u64(need, SMALL_THINGS + p->packed.len, &need) < 0 ||
            add_u64(need, p->sealed ? golden_volumes_space(p) : 0, &need) < 0 ||
            mul_u64(st.f_bavail, st.f_frsize, &have) < 0 || need <= have)
                return 0;
        return error_set(e, ERROR_SPACE, ENOSPC, "%s: %s free, about %s needed", p->image,
                         format_size(have, a, sizeof(a)), format_size(need, b, sizeof(b)));
}

static int stop_step(void *arg, const char *what, const char *path)
{
        (void)what;
        (void)path;
        return stop_wanted(arg) ? -ECANCELED : 0;
}

static int find_partition(const struct install_plan *p, const char *name,
                          const struct layout_partition **ret, struct error *e)
{
        int r = layout_find(&p->layout, name, ret);

        return r < 0 ? error_set(e, ERROR_INTERNAL, -r, "plan without \"%s\"", name) : 0;
}

static int make_esp(const struct install_plan *p, const struct golden_file *f,
                    struct install_progress *progress, struct error *e)
{
        _cleanup_(fat_free_p) struct fat *fat = NULL;
        const struct layout_partition *l;
        struct esp esp = ESP_INIT(-EBADF);
        int r = find_partition(p, LAYOUT_ESP_NAME, &l, e);

        if (r == 0)
                r = mkfs_vfat_at(f->temporary, l->start, l->size, SECTOR, LAYOUT_ESP_LABEL, e);
        if (r == 0)
                r = fat_open(f->fd, l->start, l->size, &fat, e);
        if (r < 0)
                return r;
        esp.fat = fat;
        esp.step = stop_step;
        esp.copied = install_progress_bytes;
        esp.copied_arg = progress;
        r = install_fill_esp(&esp, p, progress, e);
        return r < 0 ? r : fat_finish(fat, e);
}

static int mark(const struct install_plan *p, const struct golden_file *f, const char *name,
                const struct buf *content, struct error *e)
{
        const struct blank want = {.allow_discards = p->allow_discards,
                                   .allow_software_tpm = p->allow_software_tpm};
        const struct layout_partition *l;
        int r = find_partition(p, name, &l, e);

        return r < 0 ? r
                     : blank_write(f->fd, l->start, name, &want, content ? content->data : NULL,
                                   content ? content->len : 0, e);
}

/* Places for the volumes that each machine makes. */
static int mark_blank(const struct install_plan *p, const struct golden_file *f, struct error *e)
{
        int r = mark(p, f, LAYOUT_OEM_NAME, NULL, e);

        return r < 0 ? r : mark(p, f, LAYOUT_PERSISTENT_NAME, &p->packed, e);
}

static int write_table(const struct install_plan *p, const struct golden_file *f, struct error *e)
{
        _cleanup_(disk_free_p) struct disk *disk = NULL;
        int fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 3);
        int r;

        if (fd < 0)
                return error_errno(e, errno, "%s", p->image);
        r = disk_open_image(f->temporary, fd, p->image_size, &disk, e);
        return r < 0 ? r : layout_write(disk, &p->layout, e);
}

static int fill(const struct install_plan *p, const struct golden_file *f,
                struct install_progress *progress, struct error *e)
{
        int r = check_space(p, f->fd, e);

        install_progress_step(progress, INSTALL_STEP_ESP, NULL, 0);
        if (r == 0)
                r = make_esp(p, f, progress, e);
        if (r == 0)
                r = p->sealed ? golden_volumes_make(p, f, progress, e) : mark_blank(p, f, e);
        install_progress_step(progress, INSTALL_STEP_TABLE, NULL, 0);
        if (r == 0)
                r = write_table(p, f, e);
        return r < 0 ? r : stop_check(e);
}

static int make_file(struct install_plan *p, struct install_progress *progress, struct error *e)
{
        _cleanup_(golden_file_done) struct golden_file file = GOLDEN_FILE_INIT;
        int r = golden_file_make(p->image, p->image_size, &file, e);

        if (r == 0)
                r = fill(p, &file, progress, e);
        /* What fails when a signal came is the signal's doing. */
        if (r < 0)
                return stop_wanted(NULL) ? stop_check(e) : r;
        /* Before there is a node that could need it: see agent/install_escrow.h. */
        r = install_escrow_deliver(&p->escrow, e);
        return r < 0 ? r : golden_file_publish(&file, p->overwrite, e);
}

/* With --overwrite the image would take the place of the key. */
static int check_key_file(const struct install_plan *p, struct error *e)
{
        struct stat key, image;

        if (p->escrow.fd < 0 || fstat(p->escrow.fd, &key) < 0 || stat(p->image, &image) < 0 ||
            key.st_dev != image.st_dev || key.st_ino != image.st_ino)
                return 0;
        return error_set(e, ERROR_USAGE, EINVAL, "%s: image and recovery key in the same file",
                         p->image);
}

int golden_apply(struct install_plan *p, struct install_progress *progress, struct error *e)
{
        int r = stop_prepare(e);

        if (r == 0)
                r = install_escrow_begin(&p->escrow, p->env, NULL, e);
        if (r < 0)
                return r;
        r = check_key_file(p, e);
        if (r == 0)
                r = make_file(p, progress, e);
        if (r < 0)
                install_escrow_abandon(&p->escrow);
        else if (p->sealed)
                install_remember_node(p);
        return r;
}
