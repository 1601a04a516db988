/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a USI (design, section 6). It opens what may be opened, closes the TPM's
 * policy for good, and hands over to the system's init. Everything before the hand-over happens in
 * this one process.
 */
#include "agent/boot.h"

#include <fcntl.h>
#include <getopt.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "agent/boot_folders.h"
#include "agent/boot_issue.h"
#include "agent/boot_root.h"
#include "agent/machine_id.h"
#include "agent/verbs.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "partition/mount.h"
#include "partition/optical.h"
#include "upgrade/esp.h"

#define LIVE_MOUNT "/run/initramfs/live"
#define LIVE_IMAGE "EFI/kairos/norole.efi"
/* How long a person can read the reason on the console before the node tries again. */
#define REBOOT_DELAY_SECONDS 5
/* Further tries of a confirmed entry that failed once. */
#define TRIES_AFTER_FAILURE 1u

static const char *const init_paths[] = {"/usr/lib/systemd/systemd", "/lib/systemd/systemd",
                                         "/sbin/init"};

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The kernel drops messages of user space that come too fast; the few of this stage must all
 * arrive. */
static void open_log(const struct env *env)
{
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/sys/kernel/printk_devkmsg", env->proc) < 0) {
                path = NULL;
                return;
        }
        if (file_write_volatile(AT_FDCWD, path, "on\n", 3, 0644) < 0)
                log_debug("%s: cannot be set", path);
        log_set_format(LOG_FORMAT_KMSG);
}

/*
 * Disks first: their drivers have work to do while we go on. What else the machine has is started
 * by the system's own device manager, or here when the TPM or the disk does not turn up.
 */
static int start_modules(struct boot *b, struct error *e)
{
        static const char *const always[] = {"dm_mod", "dm_crypt", "overlay"};
        int r = module_load_for_devices(b->modules, MODULE_FIRST, e);

        for (size_t i = 0; i < ARRAY_SIZE(always) && r == 0; i++)
                r = module_load(b->modules, always[i], e);
        return r < 0 || b->live ? r : module_load_ciphers(b->modules, e);
}

static void mount_efivars(const struct env *env)
{
        struct error error = ERROR_INIT;

        /* The directory exists on UEFI machines only. */
        if (file_exists(AT_FDCWD, env->efivarfs) &&
            mount_fs("efivarfs", env->efivarfs, "efivarfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
                     &error) < 0)
                log_warning("%s", error.text);
}

/*
 * Variables that only the boot loader may set live for one boot. One that is kept in NVRAM was
 * planted by another system, and the loader could not set its own: nothing it says can be believed
 * in this boot. The next one is clean.
 */
static int drop_planted(struct boot *b, struct error *e)
{
        unsigned removed = 0;
        int r = loader_remove_planted(b->env, &removed);

        if (r < 0) {
                error_errno(e, -r, "removing planted EFI variables");
                error_advise(e,
                             "reset the variables of the firmware in its setup, keeping the keys");
                return r;
        }
        if (removed > 0)
                return error_set(
                        e, ERROR_PRECONDITION, EUCLEAN,
                        "%u EFI variables of the boot loader were planted; they are removed",
                        removed);
        return 0;
}

/* What the boot loader says: which entry, and whether that makes this a boot of an installed node.
 */
static void read_loader(struct boot *b, char uuid[LOADER_UUID_SIZE])
{
        _cleanup_(buf_done) struct buf id = BUF_INIT(4096), count_path = BUF_INIT(4096);

        uuid[0] = '\0';
        if (loader_entry_selected(b->env, &id) < 0 || entry_name_parse(buf_str(&id), &b->entry) < 0)
                b->entry = (struct entry_name){.role = ENTRY_ROLE_NONE};
        b->entry.role = entry_role_started(&b->entry);
        if (loader_device_part_uuid(b->env, uuid) < 0)
                uuid[0] = '\0';
        b->live = b->entry.role == ENTRY_ROLE_NONE || uuid[0] == '\0';
        /* Later boot loaders drop the counter from the id; the path they renamed the entry to is
         * there when it counts. */
        b->counted = b->entry.counted || loader_boot_count_path(b->env, &count_path) == 0;
        boot_report_set(b->report, "entry", buf_str(&id));
        boot_report_set(b->report, "role", b->live ? "live" : entry_role_name(b->entry.role));
}

static bool firmware_has_tpm(const struct env *env)
{
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/firmware/acpi/tables/TPM2", env->sysfs) < 0) {
                path = NULL;
                return false;
        }
        return file_exists(AT_FDCWD, path);
}

/*
 * Repeats an attempt whenever the kernel reports a new device, until it gives something else than
 * -ENODEV or the time is over. Drivers of devices that appeared in between are loaded; when that
 * does not help soon, those of all devices.
 */
static int wait_seconds(struct boot *b, unsigned seconds,
                        int (*attempt)(struct boot *, void *, struct error *), void *arg,
                        enum boot_cost cost, struct error *e)
{
        int64_t start = now_ms(), deadline = start + (int64_t)seconds * 1000;
        int64_t soon = start + LIMIT_DEVICE_FIRST_WAIT_MS;
        _cleanup_close_ int events = uevent_open(e);
        int r;

        if (events < 0)
                return events;
        while ((r = attempt(b, arg, e)) == -ENODEV) {
                int64_t now = now_ms(), until = now < soon ? soon : deadline;
                int event = until > now ? uevent_wait(events, (int)(until - now)) : 0;

                boot_report_cost(b->report, cost, (uint64_t)(now_ms() - now));
                if (event < 0 || (event == 0 && until == deadline))
                        return r;
                r = module_load_for_devices(b->modules, now_ms() < soon ? MODULE_FIRST : MODULE_ALL,
                                            e);
                if (r < 0)
                        return r;
        }
        return r;
}

static int wait_for_device(struct boot *b, int (*attempt)(struct boot *, void *, struct error *),
                           void *arg, enum boot_cost cost, struct error *e)
{
        return wait_seconds(b, LIMIT_DEVICE_WAIT_SECONDS, attempt, arg, cost, e);
}

static int try_tpm(struct boot *b, void *arg, struct error *e)
{
        (void)arg;
        return tpm_open(b->env->tcti, &b->tpm, e);
}

/* The firmware names none: no driver that is loaded first may be the one. */
static int try_any_tpm(struct boot *b, struct error *e)
{
        int r = try_tpm(b, NULL, e);

        if (r == -ENODEV && (r = module_load_for_devices(b->modules, MODULE_ALL, e)) == 0)
                r = try_tpm(b, NULL, e);
        return r;
}

/*
 * The image was measured into some TPM; it has to be this one. With two of them, the one that could
 * unseal would be left open while the other is closed. In which bank it was measured is the
 * firmware's affair: without the one of our policies nothing opens, and it is closed all the same.
 */
static int check_measured(struct boot *b, struct error *e)
{
        int r = tpm_pcr_is_used(b->tpm, BOOT_PCR, e);

        if (r == 0)
                r = error_set(e, ERROR_PRECONDITION, EREMOTE,
                              "this is not the TPM that the image was measured into");
        if (r < 0) {
                tpm_free(b->tpm);
                b->tpm = NULL;
        }
        return r < 0 ? r : 0;
}

static int open_tpm(struct boot *b, struct error *e)
{
        int r = firmware_has_tpm(b->env) ? wait_for_device(b, try_tpm, NULL, BOOT_COST_TPM, e)
                                         : try_any_tpm(b, e);

        if (r == 0 && stub_may_have_measured(b->env))
                r = check_measured(b, e);
        if (r < 0)
                return r;
        return tpm_measure(b->tpm, BOOT_PCR, BOOT_PHASE_WORD, strlen(BOOT_PHASE_WORD), e);
}

static int try_node(struct boot *b, void *uuid, struct error *e)
{
        return node_find(b->env, uuid, &b->node, e);
}

/*
 * After this nothing can unseal until the next boot, whatever runs. A TPM that was there when the
 * image was measured and is not there now might come back later, with a policy that is still open:
 * that is no state to hand over in.
 * *ret_closed: there was a policy, and it is closed.
 */
static int close_policy(struct boot *b, bool *ret_closed, struct error *e)
{
        int r;

        if (!b->tpm && (stub_may_have_measured(b->env) || firmware_has_tpm(b->env))) {
                error_set(e, ERROR_PRECONDITION, ENODEV,
                          "this machine has a TPM, but it cannot be reached to close the "
                          "policy");
                error_advise(e, "check that the image has a driver for this TPM");
                return -ENODEV;
        }
        if (!b->tpm)
                return 0; /* nothing was or can be unsealed */
        r = tpm_measure(b->tpm, BOOT_PCR, BOOT_CLOSING_WORD, strlen(BOOT_CLOSING_WORD), e);
        if (r < 0)
                return error_wrap(e, r, "closing the TPM policy");
        boot_report_set_u64(b->report, "tpm_commands", tpm_command_count(b->tpm));
        boot_report_cost(b->report, BOOT_COST_TPM, tpm_busy_us(b->tpm) / 1000);
        tpm_free(b->tpm);
        b->tpm = NULL;
        *ret_closed = true;
        return 0;
}

static int unlock_one(struct boot *b, const struct data_volume *v, struct error *e)
{
        int r = v->partition == b->node->persistent ? boot_first_finish(b, e) : 0;

        if (r == 0)
                r = boot_unlock(b, v, e);
        return r;
}

static int unlock_all(struct boot *b, struct error *e)
{
        struct data_list list;
        int r = 0;

        if (!b->tpm)
                return error_set(e, ERROR_PRECONDITION, ENODEV, "no TPM: the data stays locked");
        if (!b->node->oem || !b->node->persistent) {
                error_set(e, ERROR_PRECONDITION, ENXIO, "%s: the partition \"%s\" is missing",
                          b->node->disk->path,
                          b->node->oem ? LAYOUT_PERSISTENT_NAME : LAYOUT_OEM_NAME);
                error_advise(e, "reset the node from its recovery entry, or install it again");
                return -ENXIO;
        }
        r = boot_first_begin(b, e);
        if (r < 0)
                return r;
        data_list(b->node, &list);
        for (size_t i = 0; i < list.n; i++) {
                struct error error = ERROR_INIT;
                int failed = unlock_one(b, &list.item[i], &error);

                if (failed < 0 && !list.item[i].label) {
                        /* A node is whole without the user's partitions. */
                        log_warning("%s", error.text);
                        boot_report_problem(b->report, error.text);
                } else if (failed < 0 && r == 0) {
                        r = failed;
                        *e = error;
                }
        }
        if (r == 0) {
                boot_first_remember(b);
                boot_pin_forget(b);
        }
        return r;
}

/* *ret_data is right also after a failure. */
static int mount_all(struct boot *b, struct boot_data *ret_data, struct error *e)
{
        struct data_mounted mounted = {.oem = false};
        int r = data_mount_all(b->env, b->entry.role == ENTRY_ROLE_RECOVERY, &mounted, e);

        if (r == 0)
                r = boot_pair_check(b, &mounted, e);
        if (mounted.oem)
                boot_expect(b);
        ret_data->oem = mounted.oem;
        ret_data->persistent = mounted.persistent;
        if (mounted.oem)
                boot_first_forget(b);
        if (mounted.persistent)
                boot_grow_file_system(b, "/dev/mapper/" DATA_DM_PERSISTENT, b->env->persistent);
        return r;
}

/* In recovery nothing vouches for an oem beside a persistent that stays locked: it may be anybody's
 * who had the TPM seal it. */
static void apply_userdata(struct boot *b, struct boot_data data)
{
        static const char unproven[] = "the configuration in oem is not applied: only an open "
                                       "persistent could vouch for it";

        if (data.oem && !b->pair.proven) {
                log_warning("%s", unproven);
                boot_report_problem(b->report, unproven);
                data.oem = false;
        }
        boot_userdata(b, data);
}

/* What the system's init finds: folders to write to, and who this machine is. */
static int make_folders(struct boot *b, struct boot_data data, struct error *e)
{
        _cleanup_free_ struct boot_layout *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return error_oom(e);
        r = boot_folders_plan(b->env, data, b->report, l, e);
        if (r == 0)
                r = boot_folders_mount(b->env, l, b->report, e);
        if (r == 0)
                r = boot_folders_write_env(b->env, l, data, e);
        if (r == 0 && data.persistent)
                r = machine_id_apply(b->env->persistent, "/etc", b->report, e);
        if (r == 0 && data.oem && data.persistent)
                boot_swap(b);
        boot_report_step(b->report, "folders");
        if (r == 0)
                apply_userdata(b, data);
        return r;
}

static _Noreturn void restart(void)
{
        (void)sleep(REBOOT_DELAY_SECONDS);
        sync();
        (void)reboot(RB_AUTOBOOT);
        _exit(1); /* the kernel panics, and its panic= reboots */
}

/*
 * Recovery is the end of falling back: it goes on, if need be without the data. Everything else
 * starts over, so that the boot loader can choose differently.
 */
static bool survives(const struct boot *b, const struct error *e)
{
        if (b->entry.role != ENTRY_ROLE_RECOVERY)
                return false;
        log_error("recovery goes on, but not all is well: %s", e->text);
        if (*e->advice)
                log_error("%s", e->advice);
        boot_report_problem(b->report, e->text);
        return true;
}

static int boot_installed(struct boot *b, char *uuid, struct error *e)
{
        int r = wait_for_device(b, try_node, uuid, BOOT_COST_DISK, e);

        if (r < 0)
                return r;
        boot_report_set(b->report, "disk", b->node->disk->path);
        boot_report_step(b->report, "disk");
        r = boot_reset(b, e);
        if (r > 0) {
                log_warning("restarting into the image that the reset made active");
                restart();
        }
        /* What is kept is opened all the same, so that recovery can reset the node again. */
        if (r < 0 && !survives(b, e))
                return r;
        error_clear(e);
        if (b->entry.role != ENTRY_ROLE_RECOVERY)
                boot_grow_partition(b);
        r = unlock_all(b, e);
        secret_free(b->pin.text);
        b->pin.text = NULL;
        boot_report_step(b->report, "unlock");
        return r;
}

/* The boot image of the disc in one drive, if an image of ours is on it. */
static int mount_disc(struct boot *b, const char *drive, struct error *e)
{
        _cleanup_free_ char *device = NULL;
        _cleanup_close_ int loop = -EBADF;
        int r = optical_attach(b->env, drive, &loop, &device, e);

        if (r == 0)
                r = node_mount_vfat(device, LIVE_MOUNT, false, e);
        if (r < 0)
                return r;
        if (file_exists(AT_FDCWD, LIVE_MOUNT "/" LIVE_IMAGE))
                return 0;
        (void)umount2(LIVE_MOUNT, MNT_DETACH);
        return error_set(e, ERROR_IO, ENODATA, "%s: a disc without an image", drive);
}

static int try_discs(struct boot *b, void *arg, struct error *e)
{
        _cleanup_(sysblock_names_done) struct sysblock_names drives = {0};
        int r = optical_list(b->env, &drives, e);

        (void)arg;
        if (r < 0)
                return r;
        error_set(e, ERROR_PRECONDITION, ENODEV, "no disc with an image in any drive");
        for (size_t i = 0; i < drives.n; i++)
                if (mount_disc(b, drives.name[i], e) == 0)
                        return 0;
        return -ENODEV;
}

/* Firmware that starts from a CD names no partition, and neither does firmware that starts from
 * the network: nobody waits long for a drive. */
static int mount_live_disc(struct boot *b, struct error *e)
{
        int r = module_load(b->modules, "loop", e);

        return r == 0 ? wait_seconds(b, LIMIT_DISC_WAIT_SECONDS, try_discs, NULL, BOOT_COST_DISK, e)
                      : r;
}

static int mount_live_partition(struct boot *b, char *uuid, struct error *e)
{
        _cleanup_free_ char *device = NULL;
        int r = wait_for_device(b, try_node, uuid, BOOT_COST_DISK, e);

        if (r == 0)
                r = disk_partition_path(b->node->disk, b->node->esp->number, &device, e);
        return r == 0 ? node_mount_vfat(device, LIVE_MOUNT, false, e) : r;
}

/* The installer finds its image on the medium this session came from. */
static void mount_live_medium(struct boot *b, char *uuid)
{
        struct error error = ERROR_INIT;
        int r = module_load(b->modules, "vfat", &error);

        if (r == 0)
                r = *uuid ? mount_live_partition(b, uuid, &error) : mount_live_disc(b, &error);
        if (r < 0) {
                log_warning("live medium: %s", error.text);
                boot_report_problem(b->report, error.text);
        }
}

static int write_sentinel(const struct env *env, const char *name)
{
        _cleanup_free_ char *dir = NULL, *path = NULL;
        int r;

        if (asprintf(&dir, "%s/cos", env->run) < 0) {
                dir = NULL;
                return -ENOMEM;
        }
        if (asprintf(&path, "%s/%s", dir, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        return r < 0 ? r : file_write_volatile(AT_FDCWD, path, "1\n", 2, 0644);
}

static int write_sentinels(const struct boot *b, struct error *e)
{
        char mode[64];
        int r;

        (void)snprintf(mode, sizeof(mode), "%s_mode",
                       b->live ? "live" : entry_role_name(b->entry.role));
        r = write_sentinel(b->env, mode);
        if (r == 0)
                r = write_sentinel(b->env, b->live ? "uki_install_mode" : "uki_boot_mode");
        return r < 0 ? error_errno(e, -r, "sentinels") : 0;
}

/* The entry that was confirmed and failed now goes back on trial, so that its counter can run out.
 */
static int put_on_trial(const struct boot *b, struct error *e)
{
        struct entry_name name = b->entry;
        char file[NAME_MAX + 1];
        int fd, r, unmounted;
        struct esp esp;

        name.counted = false;
        if (!b->node || entry_name_format(&name, file) < 0)
                return error_set(e, ERROR_PRECONDITION, ENODEV, "the disk is not known");
        r = module_load(b->modules, "vfat", e);
        if (r == 0)
                r = node_mount_esp(b->env, b->node, true, &fd, e);
        if (r < 0)
                return r;
        esp = (struct esp)ESP_INIT(fd);
        r = esp_put_on_trial(&esp, file, TRIES_AFTER_FAILURE, e);
        (void)close(fd); /* what was written is synced */
        unmounted = node_unmount_esp(b->env, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}

/*
 * A counted entry falls back by its counter. One without a counter would be chosen again for ever:
 * it is put on trial again. Only where the ESP does not take that, the next role is asked for in
 * NVRAM. Recovery is the end of falling back.
 */
static void ask_for_fallback(const struct boot *b)
{
        const char *next = b->entry.role == ENTRY_ROLE_ACTIVE ? "passive*" : "recovery*";
        struct error error = ERROR_INIT;
        int r;

        if (b->counted || b->entry.role == ENTRY_ROLE_RECOVERY)
                return;
        if (put_on_trial(b, &error) == 0) {
                log_warning("the %s entry is on trial again", entry_role_name(b->entry.role));
                return;
        }
        log_error("putting the entry on trial: %s", error.text);
        r = loader_set_oneshot(b->env, next);
        if (r < 0)
                log_error("asking the boot loader for \"%s\" failed: %s", next,
                          strerrordesc_np(-r));
        else
                log_warning("the next boot is \"%s\"", next);
}

/* The image is not to blame, and starting it again at once would only ask again. */
static void switch_off(void)
{
        log_error("without a PIN the machine is switched off; its boot entries stay as they are");
        (void)sleep(REBOOT_DELAY_SECONDS);
        sync();
        (void)reboot(RB_POWER_OFF);
}

static _Noreturn void fail(const struct boot *b, const struct error *e)
{
        log_error("boot failed: %s", e->text);
        if (*e->advice)
                log_error("%s", e->advice);
        if (b && b->pin.given_up) {
                switch_off();
                restart();
        }
        if (b && !b->live)
                ask_for_fallback(b);
        restart();
}

/*
 * systemd takes credentials (a password of root, keys, files to write) from the firmware's tables
 * and from the boot partition, which nobody has signed and no policy of ours knows. It does not
 * look there when it is told that it has its credentials already: an empty folder.
 */
static int close_credentials(const struct boot *b, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/credentials/@system", b->env->run) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_make_dirs(AT_FDCWD, path, 0700);
        if (r == 0 && setenv("CREDENTIALS_DIRECTORY", path, 1) < 0)
                r = -errno;
        return r < 0 ? error_errno(e, -r, "%s", path) : 0;
}

static _Noreturn void hand_over(const struct boot *b)
{
        struct error error = ERROR_INIT;

        (void)unsetenv("TSS2_LOG"); /* ours, not the system's */
        (void)unsetenv(BOOT_ROOT_VARIABLE);
        if (close_credentials(b, &error) < 0)
                fail(b, &error);

        for (size_t i = 0; i < ARRAY_SIZE(init_paths); i++) {
                char *argv[] = {(char *)(uintptr_t)init_paths[i], NULL};

                (void)execv(init_paths[i], argv);
        }
        error_errno(&error, errno, "no init to hand over to");
        fail(b, &error);
}

/*
 * From the kernel to a machine whose policy is closed; what it could not unlock is an error. Only
 * that error may be survived: *ret_closed says whether the policy is closed.
 */
static int stage_unlock(struct boot *b, bool *ret_closed, struct error *e)
{
        char uuid[LOADER_UUID_SIZE];
        struct error tpm_error = ERROR_INIT, close_error = ERROR_INIT;
        bool had_policy = false;
        int r, closed;

        r = module_open(b->env, &b->modules, e);
        if (r == 0)
                r = module_load(b->modules, "efivarfs", e);
        if (r < 0)
                return r;
        mount_efivars(b->env);
        r = drop_planted(b, e);
        if (r < 0)
                return r;
        read_loader(b, uuid);
        boot_report_step(b->report, "firmware");
        r = start_modules(b, e);
        if (r < 0)
                return r;
        boot_report_step(b->report, "modules");
        if (open_tpm(b, &tpm_error) < 0) {
                log_warning("%s", tpm_error.text);
                boot_report_problem(b->report, tpm_error.text);
        }
        boot_extension_note_image(b);
        boot_report_step(b->report, "tpm");
        r = b->live ? 0 : boot_installed(b, uuid, e);
        closed = close_policy(b, &had_policy, &close_error);
        if (closed < 0) {
                *e = close_error;
                return closed;
        }
        *ret_closed = true;
        boot_report_set_bool(b->report, "closed", had_policy);
        boot_report_step(b->report, "close");
        if (b->live)
                mount_live_medium(b, uuid);
        return r;
}

/* The person at the console may have what the TPM does not give. */
static bool recover(struct boot *b)
{
        struct error error = ERROR_INIT;
        uint64_t start = boot_report_now();
        int r = b->node ? boot_recover(b, &error) : -ENODEV;

        boot_report_cost(b->report, BOOT_COST_PERSON, boot_report_now() - start);
        boot_report_step(b->report, "recovery key");
        if (r == 0)
                log_warning("the data was opened by the recovery key");
        else if (b->node)
                log_warning("the data stays locked: %s", error.text);
        return r == 0;
}

/* Recovery has it also beside a persistent partition that stays locked. */
static bool oem_is_open(const struct boot *b)
{
        const struct data_volume *oem;
        struct data_list list;

        if (!b->node || b->entry.role != ENTRY_ROLE_RECOVERY)
                return false;
        data_list(b->node, &list);
        oem = data_find(&list, DATA_DM_OEM);
        return oem && data_is_open(b->node, oem);
}

static int stage_mount(struct boot *b, bool unlocked, struct error *e)
{
        struct boot_data data = {.oem = false};
        uint64_t start = boot_report_now();
        bool mountable = !b->live && (unlocked || oem_is_open(b));
        int r = mountable ? mount_all(b, &data, e) : 0;

        boot_report_cost(b->report, BOOT_COST_DISK, boot_report_now() - start);
        if (r < 0 && survives(b, e))
                r = 0;
        boot_report_step(b->report, "mount");
        if (r == 0)
                r = boot_extension_open(b, data, e);
        boot_report_step(b->report, "extensions");
        if (r == 0)
                r = make_folders(b, data, e);
        boot_report_step(b->report, "user data");
        if (r == 0)
                r = boot_extension_merge(b, data, e);
        if (r == 0)
                r = write_sentinels(b, e);
        if (r == 0)
                r = boot_root_read_only(e);
        boot_report_step(b->report, "root");
        if (r == 0)
                r = boot_report_write(b->report, b->env, e);
        return r;
}

/* A person who comes to a node in recovery finds it on the console. */
static void tell_recovery(const struct boot *b, bool unlocked)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);

        if (b->live || b->entry.role != ENTRY_ROLE_RECOVERY)
                return;
        if (boot_issue_text(buf_str(&b->why), boot_report_problems(b->report), unlocked, &text) ==
            0)
                boot_issue_show(b->env, buf_str(&text));
}

static _Noreturn void run_boot(const struct env *env)
{
        struct boot b = {.env = env, .live = true, .why = BUF_INIT(4096)};
        struct error error = ERROR_INIT;
        bool unlocked = true, by_tpm = true, closed = false;

        if (!boot_root_is_ours(env)) {
                log_error("only the first process of a started image can boot it");
                _exit(error_exit_code(ERROR_USAGE));
        }
        if (boot_root_enter(&error) < 0 || boot_root_mount_kernel(env, &error) < 0)
                fail(NULL, &error);
        open_log(env);
        b.report = boot_report_new();
        if (!b.report) {
                (void)error_oom(&error);
                fail(NULL, &error);
        }
        if (stage_unlock(&b, &closed, &error) < 0) {
                if (!closed || !survives(&b, &error))
                        fail(&b, &error);
                boot_pin_forget(&b);
                by_tpm = false;
                unlocked = recover(&b);
        }
        if (stage_mount(&b, unlocked, &error) < 0)
                fail(&b, &error);
        log_info("%s boot of %s", b.live ? "live" : entry_role_name(b.entry.role),
                 b.node ? b.node->disk->path : "no disk");
        if (!b.live && boot_statereset(&b, by_tpm, oem_is_open(&b))) {
                log_warning("restarting into the image that the reset made active");
                restart();
        }
        tell_recovery(&b, unlocked && !b.pair.refused);
        hand_over(&b);
}

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent boot\n\n"
                "The first process of a USI: the kernel starts it as /init. It unlocks and mounts\n"
                "the data of the disk it was started from, and hands over to the system's init.\n");
}

int verb_boot(const struct env *env, int argc, char **argv)
{
        static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};

        if (getpid() == 1)
                run_boot(env);
        opterr = 0; /* one sentence is enough */
        while (getopt_long(argc, argv, "h", options, NULL) == 'h') {
                print_help();
                return 0;
        }
        (void)fprintf(stderr, "tb-agent boot: only for the first process of a system\n");
        return error_exit_code(ERROR_USAGE);
}
