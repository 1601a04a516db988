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

#include "agent/boot_root.h"
#include "agent/verbs.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "partition/mkfs.h"
#include "partition/mount.h"

#define DM_OEM "oem"
#define DM_PERSISTENT "persistent"
#define OEM_MOUNT "/oem"
#define PERSISTENT_MOUNT "/usr/local"
#define LIVE_MOUNT "/run/initramfs/live"
/* How long a person can read the reason on the console before the node tries again. */
#define REBOOT_DELAY_SECONDS 5

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

static int start_modules(struct boot *b, struct error *e)
{
        static const char *const always[] = {"efivarfs", "dm_mod", "dm_crypt", "vfat", "overlay"};
        int r = module_open(b->env, &b->modules, e);

        for (size_t i = 0; i < ARRAY_SIZE(always) && r == 0; i++)
                r = module_load(b->modules, always[i], e);
        if (r == 0)
                r = module_load_for_devices(b->modules, e);
        return r;
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

/* What the boot loader says: which entry, and whether that makes this a boot of an installed node.
 */
static void read_loader(struct boot *b, char uuid[LOADER_UUID_SIZE])
{
        _cleanup_(buf_done) struct buf id = BUF_INIT(4096);

        uuid[0] = '\0';
        if (loader_entry_selected(b->env, &id) < 0 || entry_name_parse(buf_str(&id), &b->entry) < 0)
                b->entry = (struct entry_name){.role = ENTRY_ROLE_NONE};
        if (loader_device_part_uuid(b->env, uuid) < 0)
                uuid[0] = '\0';
        b->live = b->entry.role == ENTRY_ROLE_NONE || uuid[0] == '\0';
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
 * -ENODEV or the time is over. Drivers of devices that appeared in between are loaded.
 */
static int wait_for_device(struct boot *b, int (*attempt)(struct boot *, void *, struct error *),
                           void *arg, struct error *e)
{
        int64_t deadline = now_ms() + (int64_t)LIMIT_DEVICE_WAIT_SECONDS * 1000;
        _cleanup_close_ int events = uevent_open(e);
        int r;

        if (events < 0)
                return events;
        while ((r = attempt(b, arg, e)) == -ENODEV) {
                int64_t left = deadline - now_ms();

                if (left <= 0 || uevent_wait(events, (int)left) <= 0)
                        return r;
                r = module_load_for_devices(b->modules, e);
                if (r < 0)
                        return r;
        }
        return r;
}

static int try_tpm(struct boot *b, void *arg, struct error *e)
{
        (void)arg;
        return tpm_open(b->env->tcti, &b->tpm, e);
}

static int open_tpm(struct boot *b, struct error *e)
{
        int r = firmware_has_tpm(b->env) ? wait_for_device(b, try_tpm, NULL, e)
                                         : try_tpm(b, NULL, e);

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
 */
static int close_policy(struct boot *b, struct error *e)
{
        int r;

        if (!b->tpm && stub_measured(b->env)) {
                error_set(e, ERROR_PRECONDITION, ENODEV,
                          "this image was measured, but the TPM cannot be reached to close its "
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
        tpm_free(b->tpm);
        b->tpm = NULL;
        return 0;
}

static int unlock_all(struct boot *b, struct error *e)
{
        int r;

        if (!b->tpm)
                return error_set(e, ERROR_PRECONDITION, ENODEV, "no TPM: the data stays locked");
        if (!b->node->oem || !b->node->persistent) {
                error_set(e, ERROR_PRECONDITION, ENXIO, "%s: the partition \"%s\" is missing",
                          b->node->disk->path,
                          b->node->oem ? LAYOUT_PERSISTENT_NAME : LAYOUT_OEM_NAME);
                error_advise(e, "reset the node from its recovery entry, or install it again");
                return -ENXIO;
        }
        r = boot_unlock(b, b->node->oem, LAYOUT_OEM_LABEL, DM_OEM, e);
        if (r == 0)
                r = boot_unlock(b, b->node->persistent, LAYOUT_PERSISTENT_LABEL, DM_PERSISTENT, e);
        return r;
}

static int mount_data(const char *dm_name, const char *target, struct error *e)
{
        _cleanup_free_ char *device = NULL;
        int r;

        if (asprintf(&device, "/dev/mapper/%s", dm_name) < 0) {
                device = NULL;
                return error_oom(e);
        }
        r = mkfs_check_ext4(device, e);
        if (r == 0)
                r = mount_fs(device, target, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, NULL, e);
        return r;
}

/* In recovery the persistent file system stays unmounted: a reset must be able to replace it. */
static int mount_all(struct boot *b, struct error *e)
{
        int r = mount_data(DM_OEM, OEM_MOUNT, e);

        if (r == 0 && b->entry.role != ENTRY_ROLE_RECOVERY)
                r = mount_data(DM_PERSISTENT, PERSISTENT_MOUNT, e);
        return r;
}

static int boot_installed(struct boot *b, char *uuid, struct error *e)
{
        int r = wait_for_device(b, try_node, uuid, e);

        if (r < 0)
                return r;
        boot_report_set(b->report, "disk", b->node->disk->path);
        boot_report_step(b->report, "disk");
        r = unlock_all(b, e);
        boot_report_step(b->report, "unlock");
        return r;
}

/* The installer finds its image on the medium this session came from. */
static void mount_live_medium(struct boot *b, char *uuid)
{
        struct error error = ERROR_INIT;
        _cleanup_free_ char *device = NULL;
        int r;

        if (!*uuid)
                return;
        r = wait_for_device(b, try_node, uuid, &error);
        if (r == 0)
                r = disk_partition_path(b->node->disk, b->node->esp->number, &device, &error);
        if (r == 0)
                r = node_mount_vfat(device, LIVE_MOUNT, false, &error);
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

/*
 * A counted entry falls back by its counter. One without a counter would be chosen again for ever,
 * so the next role is asked for by the one-shot variable; where NVRAM does not take it, the node
 * tries again and says why on its console.
 */
static void ask_for_fallback(const struct boot *b)
{
        const char *next = b->entry.role == ENTRY_ROLE_ACTIVE ? "passive*" : "recovery*";
        int r;

        if (b->entry.counted)
                return;
        r = loader_set_oneshot(b->env, next);
        if (r < 0)
                log_error("asking the boot loader for \"%s\" failed: %s", next,
                          strerrordesc_np(-r));
        else
                log_warning("the next boot is \"%s\"", next);
}

static _Noreturn void restart(void)
{
        (void)sleep(REBOOT_DELAY_SECONDS);
        sync();
        (void)reboot(RB_AUTOBOOT);
        _exit(1); /* the kernel panics, and its panic= reboots */
}

static _Noreturn void fail(const struct boot *b, const struct error *e)
{
        log_error("boot failed: %s", e->text);
        if (*e->advice)
                log_error("%s", e->advice);
        if (b && !b->live)
                ask_for_fallback(b);
        restart();
}

static _Noreturn void hand_over(const struct boot *b)
{
        struct error error = ERROR_INIT;

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
        int r, closed;

        r = start_modules(b, e);
        if (r < 0)
                return r;
        boot_report_step(b->report, "modules");
        mount_efivars(b->env);
        read_loader(b, uuid);
        if (open_tpm(b, &tpm_error) < 0) {
                log_warning("%s", tpm_error.text);
                boot_report_problem(b->report, tpm_error.text);
        }
        boot_report_step(b->report, "tpm");
        r = b->live ? 0 : boot_installed(b, uuid, e);
        closed = close_policy(b, &close_error);
        if (closed < 0) {
                *e = close_error;
                return closed;
        }
        *ret_closed = true;
        boot_report_set_bool(b->report, "closed", true);
        if (b->live)
                mount_live_medium(b, uuid);
        return r;
}

static int stage_mount(struct boot *b, bool unlocked, struct error *e)
{
        bool persistent = unlocked && !b->live && b->entry.role != ENTRY_ROLE_RECOVERY;
        int r = unlocked && !b->live ? mount_all(b, e) : 0;

        if (r == 0)
                r = boot_root_overlays(b->env, !persistent, e);
        boot_report_step(b->report, "mount");
        if (r == 0)
                r = write_sentinels(b, e);
        if (r == 0)
                r = boot_root_read_only(e);
        if (r == 0)
                r = boot_report_write(b->report, b->env, e);
        return r;
}

/*
 * Recovery is the end of falling back: it goes on without the data. Everything else starts over, so
 * that the boot loader can choose differently.
 */
static bool survives(const struct boot *b, const struct error *e)
{
        if (b->entry.role != ENTRY_ROLE_RECOVERY)
                return false;
        log_error("recovery goes on without the data: %s", e->text);
        if (*e->advice)
                log_error("%s", e->advice);
        boot_report_problem(b->report, e->text);
        return true;
}

static _Noreturn void run_boot(const struct env *env)
{
        struct boot b = {.env = env, .live = true};
        struct error error = ERROR_INIT;
        bool unlocked = true, closed = false;

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
                unlocked = false;
        }
        if (stage_mount(&b, unlocked, &error) < 0)
                fail(&b, &error);
        log_info("%s boot of %s", b.live ? "live" : entry_role_name(b.entry.role),
                 b.node ? b.node->disk->path : "no disk");
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
        while (getopt_long(argc, argv, "h", options, NULL) == 'h') {
                print_help();
                return 0;
        }
        (void)fprintf(stderr, "tb-agent boot: only for the first process of a system\n");
        return error_exit_code(ERROR_USAGE);
}
