/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_table.h"

#include <stdio.h>
#include <string.h>

#include "agent/config.h"
#include "agent/pcr_choice.h"
#include "base/limits.h"
#include "partition/layout.h"
#include "upgrade/source_name.h"

#define IN(field) offsetof(struct config, field)
#define IN_PARTITION(field) offsetof(struct config_partition, field)
/* A header of 16 MiB, and a file system that is of use. */
#define ENCRYPTED_MIN (32 * MIB)

/* --- texts -------------------------------------------------------------------------------------*/

static bool is_inside(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

#define COMPONENT "([^/.][^/]*|[.][^/.][^/]*|[.][.][^/]+)"

/* Words of a rule that chooses a disk; what each means is the installer's to say. */
#define DISK_TERM                                                                                  \
        " *(auto|largest|smallest|size(>=|<=|=|<|>)[0-9]+[KMGT]|rotational=(yes|no)"               \
        "|bus=(nvme|virtio|scsi|sata|ata|usb|mmc)|(model|serial|wwn)=[^,]+) *"

static const struct config_rule device_rule = {
        .pattern = "^(/dev(/" COMPONENT ")+|" DISK_TERM "(," DISK_TERM ")*)$",
        .is = "a path below /dev, or a rule like auto or \"size>=100G, bus=nvme\"",
        .max = 1024,
        .refused_prefix = "script://",
        .refused_why = "a program does not choose the disk that is erased; name it, or give a rule",
};

static const struct config_rule path_rule = {
        .pattern = "^(/" COMPONENT ")+$",
        .is = "an absolute path without \".\", \"..\" and \"//\"",
        .max = 1024,
};

/* Mounting over these would take the boot's ground away, or hide a part of the signed image. */
static int check_mount(const char *text, char *why, size_t n)
{
        static const char *const closed[] = {"/.extra", "/boot",  "/dev",  "/efi", "/init", "/oem",
                                             "/proc",   "/run",   "/sys",  "/tmp", "/bin",  "/lib",
                                             "/lib32",  "/lib64", "/sbin", "/usr"};
        /* Plug-ins of Kubernetes have their place here. */
        static const char open[] = "/usr/libexec/kubernetes";

        for (size_t i = 0; i < ARRAY_SIZE(closed); i++) {
                if (!is_inside(text, closed[i]) || is_inside(text, open))
                        continue;
                (void)snprintf(why, n, "\"%s\" cannot be mounted over: %s is the system's own",
                               text, closed[i]);
                return -EINVAL;
        }
        return 0;
}

/* What a mount option can hold. */
#define MOUNT_FIRST "[A-Za-z0-9_+@%=~#-]"
#define MOUNT_NEXT "[A-Za-z0-9_+@%=~#.-]"

static const struct config_rule mount_rule = {
        .pattern = "^(/(" MOUNT_FIRST MOUNT_NEXT "*|[.]" MOUNT_FIRST MOUNT_NEXT
                   "*|[.][.]" MOUNT_NEXT "+))+$",
        .is = "an absolute path of letters, digits and _ + @ % = ~ # . -",
        .max = LIMIT_CONFIG_MOUNT,
        .check = check_mount,
};

static int check_source(const char *text, char *why, size_t n)
{
        struct source_name name = {.text = NULL};
        struct error error = ERROR_INIT;
        int r = source_name_parse(text, &name, &error);

        if (r < 0)
                (void)snprintf(why, n, "%s", error.text);
        source_name_done(&name);
        return r;
}

static const struct config_rule source_rule = {
        .pattern = "^(oci:|ocifile:|dir:|file:|https?://).+$",
        .is = "a source (oci:NAME, https://URL, ocifile:FILE, dir:FOLDER or file:FILE)",
        .max = LIMIT_SOURCE_NAME,
        .is_source = true,
        .check = check_source,
};

static const struct config_rule name_rule = {
        .pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        .is = "a name of letters, digits and _ . -",
        .max = LIMIT_CONFIG_PARTITION_NAME,
};

static const struct config_rule label_rule = {
        .pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        .is = "a label of letters, digits and _ . -",
        .max = LIMIT_CONFIG_LABEL,
};

/* --- words -------------------------------------------------------------------------------------*/

static const struct config_word fs_words[] = {{"ext4", CONFIG_FS_EXT4},
                                              {"none", CONFIG_FS_NONE},
                                              {"-", CONFIG_FS_NONE},
                                              {"noformat", CONFIG_FS_NONE},
                                              {NULL, 0}};
static const struct config_word only_ext4[] = {{"ext4", 0}, {NULL, 0}};
static const struct config_word only_vfat[] = {{"vfat", 0}, {NULL, 0}};
static const struct config_word only_efi[] = {{"efi", 0}, {NULL, 0}};
static const struct config_word only_gpt[] = {{"gpt", 0}, {NULL, 0}};
static const struct config_word enroll_words[] = {
        {"agent", CONFIG_ENROLL_AGENT}, {"loader", CONFIG_ENROLL_LOADER}, {NULL, 0}};
static const struct config_word recovery_words[] = {
        {"show", CONFIG_RECOVERY_SHOW}, {"none", CONFIG_RECOVERY_NONE}, {NULL, 0}};
static const struct config_word entry_words[] = {
        {"active", CONFIG_ENTRY_ACTIVE}, {"recovery", CONFIG_ENTRY_RECOVERY}, {NULL, 0}};

/* --- the keys ----------------------------------------------------------------------------------*/

/* clang-format off */
#define END {.name = NULL}
#define BOOL(n, t, d, h) {.name = n, .type = CONFIG_TYPE_BOOL, .target = t, .fallback = d, .help = h}
#define TEXT(n, t, r, h) {.name = n, .type = CONFIG_TYPE_TEXT, .target = t, .rule = r, .help = h}
#define OTHER(n, t, r, h) {.name = n, .type = CONFIG_TYPE_TEXT, .other_name = true, .target = t, .rule = r, .help = h}
#define TEXTS(n, t, r, h) {.name = n, .type = CONFIG_TYPE_TEXTS, .target = t, .rule = r, .help = h}
#define WORD(n, t, w, d, h) {.name = n, .type = CONFIG_TYPE_WORD, .target = t, .words = w, .fallback = d, .help = h}
#define SIZE(n, t, low, zero, h) {.name = n, .type = CONFIG_TYPE_SIZE, .target = t, .min = low, \
                                  .max = LIMIT_CONFIG_SIZE, .or_zero = zero, .help = h}
#define MAP(n, m, h) {.name = n, .type = CONFIG_TYPE_MAP, .target = CONFIG_NOWHERE, .members = m, .help = h}
#define IGNORED(n, why) {.name = n, .type = CONFIG_TYPE_ANY, .use = CONFIG_IGNORED, .target = CONFIG_NOWHERE, .help = why}
#define REFUSED(n, why) {.name = n, .type = CONFIG_TYPE_ANY, .use = CONFIG_REFUSED, .target = CONFIG_NOWHERE, .help = why}

#define NO_GRUB "there is no GRUB on a Trusted Boot node"
#define NO_DIRS "the tree of a signed image is what it is"
#define NO_IMAGE_SIZE "images are files on the EFI system partition, as large as they are"
#define NO_FORCE "what has to be confirmed is confirmed with --yes"
#define NO_TTY "the console is in the image's signed command line"
#define FIXED_LABEL "the node's partitions are found by their names and labels"

#define HOOKS(field) { \
        TEXTS("before", IN(field.before), &path_rule, \
              "Programs to run before the first change; one that fails ends the operation."), \
        TEXTS("after", IN(field.after), &path_rule, "Programs to run after the last change."), \
        END}

static const struct config_key install_hooks[] = HOOKS(install.hooks);
static const struct config_key upgrade_hooks[] = HOOKS(upgrade.hooks);
static const struct config_key reset_hooks[] = HOOKS(reset.hooks);

#define PARTITION(field, low, words, fs_name, what) { \
        SIZE("size", IN(field), low, true, what), \
        WORD("fs", CONFIG_NOWHERE, words, fs_name, "File system; there is no choice."), \
        REFUSED("label", FIXED_LABEL), \
        REFUSED("name", FIXED_LABEL), \
        END}

static const struct config_key efi_partition[] = PARTITION(
        install.efi_size, LAYOUT_ESP_MIN, only_vfat, "vfat",
        "Size; three images and a spare have to fit. 0: chosen by the size of the image.");
static const struct config_key oem_partition[] = PARTITION(
        install.oem_size, ENCRYPTED_MIN, only_ext4, "ext4", "Size, 16 MiB of it for the LUKS2 header. 0: 128 MiB.");
static const struct config_key persistent_partition[] = PARTITION(
        install.persistent_size, LAYOUT_PERSISTENT_MIN, only_ext4, "ext4", "Size. 0: the rest of the disk.");

static const struct config_key partitions[] = {
        MAP("efi", efi_partition, "The EFI system partition, which holds the images."),
        MAP("oem", oem_partition, "The partition of the configuration, encrypted."),
        MAP("persistent", persistent_partition, "The partition of all other data, encrypted."),
        IGNORED("recovery", "recovery is an image on the EFI system partition"),
        IGNORED("state", "the images stand on the EFI system partition"),
        IGNORED("bios", "there is no BIOS boot on a Trusted Boot node"),
        END};

static const struct config_key extra_partition[] = {
        {.name = "name", .type = CONFIG_TYPE_TEXT, .required = true, .target = IN_PARTITION(name), .rule = &name_rule,
         .help = "GPT name of the partition."},
        {.name = "size", .type = CONFIG_TYPE_SIZE, .required = true, .target = IN_PARTITION(size), .min = 1 * MIB,
         .max = LIMIT_CONFIG_SIZE, .help = "Size; only persistent takes the rest of the disk."},
        WORD("fs", IN_PARTITION(fs), fs_words, "none", "File system; \"-\" and \"noformat\" mean none."),
        TEXT("label", IN_PARTITION(label), &label_rule, "Label of the file system and of the LUKS2 header."),
        BOOL("encrypted", IN_PARTITION(encrypted), "false", "Encrypt it and seal it as oem and persistent are."),
        IGNORED("mount", "extra partitions are mounted by the system itself"),
        IGNORED("flags", "extra partitions are ordinary ones"),
        END};

static const struct config_key install_system[] = {
        OTHER("source", IN(install.source), &source_rule, "The same as install.source."),
        OTHER("uri", IN(install.source), &source_rule, "The same as install.source."),
        IGNORED("size", NO_IMAGE_SIZE),
        END};

#define ONE_IMAGE "recovery is installed from the same image as active"

static const struct config_key install_recovery[] = {
        REFUSED("source", ONE_IMAGE),
        REFUSED("uri", ONE_IMAGE),
        IGNORED("size", NO_IMAGE_SIZE),
        END};

static const struct config_key install[] = {
        {.name = "device", .type = CONFIG_TYPE_TEXT, .target = IN(install.device), .rule = &device_rule,
         .help = "The disk: any path below /dev that leads to it, or a rule, as --target of tb-agent install takes it."},
        BOOL("auto", IN(install.automatic), "false",
             "A live session that finds this configuration installs by itself and asks nothing."),
        BOOL("overwrite-node", IN(install.overwrite_node), "false",
             "With auto: also onto a disk that holds a node, unless this medium installed it."),
        TEXT("source", IN(install.source), &source_rule, "Where the image comes from. Default: the medium of the session."),
        BOOL("reboot", IN(install.reboot), "false", "Restart when the installation is complete."),
        BOOL("poweroff", IN(install.poweroff), "false", "Power off when the installation is complete."),
        BOOL("no-format", IN(install.no_format), "false", "Use the partitions that are on the disk already."),
        BOOL("allow-insecure-registries", IN(install.allow_insecure_registries), "false",
             "The server of this section's source may be spoken to without valid TLS."),
        TEXTS("encrypted_partitions", IN(install.encrypted_partitions), &name_rule,
              "Labels or names of extra partitions to encrypt, in addition to oem and persistent."),
        TEXTS("bind_mounts", IN(install.bind_mounts), &mount_rule, "Folders that persist, in addition to the usual ones."),
        TEXTS("ephemeral_mounts", IN(install.ephemeral_mounts), &mount_rule,
              "Folders that can be written and are forgotten at the next boot, in addition to the usual ones."),
        MAP("partitions", partitions, "The node's own partitions."),
        {.name = "extra-partitions", .type = CONFIG_TYPE_PARTITIONS, .target = IN(install.extra), .members = extra_partition,
         .help = "Further partitions, between oem and persistent."},
        SIZE("swap", IN(install.swap_size), 1 * MIB, true, "Swap in a file on persistent. 0: none."),
        WORD("recovery-key", IN(install.recovery_key), recovery_words, NULL,
             "Show the recovery key on the terminal, or make none. Default: as tb-agent install does."),
        TEXT("recovery-key-file", IN(install.recovery_key_file), &path_rule, "New file to write the recovery key to."),
        TEXT("enroll-keys", IN(install.enroll_keys), &path_rule,
             "Folder with PK.auth, KEK.auth and db.auth, to enrol where the firmware is in setup mode."),
        WORD("enroll-keys-by", IN(install.enroll_keys_by), enroll_words, "agent",
             "Who enrols them: the agent, or systemd-boot at the first start."),
        BOOL("allow-discards", IN(install.allow_discards), "false",
             "Tell the device which blocks of encrypted partitions are free."),
        BOOL("allow-software-tpm", IN(install.allow_software_tpm), "false", "Accept a TPM that is a program."),
        BOOL("force-release", IN(install.force_release), "false",
             "Take away what holds the disk (LVM, md, mounts), where that is safe."),
        MAP("hooks", install_hooks, "Programs around the installation."),
        MAP("system", install_system, "The image, in the words of older configurations."),
        WORD("firmware", CONFIG_NOWHERE, only_efi, "efi", "There is no choice."),
        WORD("part-table", CONFIG_NOWHERE, only_gpt, "gpt", "There is no choice."),
        IGNORED("bundles", "what belongs to the system is in its image"),
        IGNORED("env", "no program is called that would read it"),
        IGNORED("extensions", "system extensions are enabled on the installed node"),
        IGNORED("extra-dirs-rootfs", NO_DIRS),
        IGNORED("force", NO_FORCE),
        IGNORED("grub-entry-name", NO_GRUB),
        IGNORED("grub_options", NO_GRUB),
        IGNORED("nousers", "no user is demanded"),
        IGNORED("passive", NO_IMAGE_SIZE),
        IGNORED("selinux", "the image's signed command line decides"),
        IGNORED("skip-entries", "a node has the entries active, passive and recovery"),
        IGNORED("skip_copy_kcrypt_plugin", "no plugin is needed"),
        IGNORED("ssh_hardening", "the image brings its ssh configuration"),
        IGNORED("tty", NO_TTY),
        REFUSED("cloud-init", "further configurations are given by --config, in order"),
        REFUSED("image", "give install.source, \"oci:\" and the name of the image"),
        REFUSED("iso", "give install.source"),
        MAP("recovery-system", install_recovery, "The image of recovery."),
        REFUSED("target", "the disk is named by install.device"),
        END};

static const struct config_key upgrade_system[] = {
        OTHER("source", IN(upgrade.source), &source_rule, "The same as upgrade.source."),
        OTHER("uri", IN(upgrade.source), &source_rule, "The same as upgrade.source."),
        IGNORED("size", NO_IMAGE_SIZE),
        END};

static const struct config_key upgrade_recovery[] = {
        TEXT("source", IN(upgrade.recovery_source), &source_rule, "Where the image of recovery comes from."),
        OTHER("uri", IN(upgrade.recovery_source), &source_rule, "The same as upgrade.recovery-system.source."),
        IGNORED("size", NO_IMAGE_SIZE),
        END};

static const struct config_key upgrade[] = {
        TEXT("source", IN(upgrade.source), &source_rule, "Where the image of the system comes from."),
        MAP("system", upgrade_system, "The image of the system, in Kairos' words."),
        MAP("recovery-system", upgrade_recovery, "The image of recovery, where it is another one."),
        WORD("entry", IN(upgrade.entry), entry_words, "active", "The entry to upgrade."),
        BOOL("recovery", IN(recovery), "false", "The same as \"entry: recovery\"."),
        BOOL("reboot", IN(upgrade.reboot), "false", "Restart after an upgrade."),
        BOOL("poweroff", IN(upgrade.poweroff), "false", "Power off after an upgrade."),
        BOOL("allow-insecure-registries", IN(upgrade.allow_insecure_registries), "false",
             "The server of this section's sources may be spoken to without valid TLS."),
        MAP("hooks", upgrade_hooks, "Programs around an upgrade, besides those of the hook folders."),
        IGNORED("efi-partition", "the EFI system partition is the one the node was started from"),
        IGNORED("extra-dirs-rootfs", NO_DIRS),
        IGNORED("force", NO_FORCE),
        IGNORED("grub-entry-name", NO_GRUB),
        IGNORED("passive", NO_IMAGE_SIZE),
        IGNORED("tty", NO_TTY),
        END};

static const struct config_key reset[] = {
        BOOL("reset-persistent", IN(reset.persistent), "true", "Make the persistent partition new."),
        BOOL("reset-oem", IN(reset.oem), "false", "Make the oem partition new, too."),
        BOOL("reboot", IN(reset.reboot), "false", "Restart after the reset."),
        BOOL("poweroff", IN(reset.poweroff), "false", "Power off after the reset."),
        BOOL("unattended", IN(reset.unattended), "false",
             "There is a boot entry, statereset, that resets the node without asking anybody."),
        MAP("hooks", reset_hooks, "Programs around a reset."),
        IGNORED("extra-dirs-rootfs", NO_DIRS),
        IGNORED("grub-entry-name", NO_GRUB),
        IGNORED("system", "a reset starts from the node's own recovery image"),
        IGNORED("tty", NO_TTY),
        END};

const struct config_key config_table[] = {
        MAP("install", install, "What an installation does."),
        MAP("upgrade", upgrade, "What an upgrade does."),
        MAP("reset", reset, "What a reset does."),
        {.name = "bind-pcrs", .type = CONFIG_TYPE_PCRS, .target = IN(bind_pcrs), .pcrs = PCR_CHOICE_LITERAL,
         .help = "PCRs whose present value the encrypted partitions are bound to: 0, 2, 3, 7 and 14. PCR 7 always is."},
        {.name = "bind-public-pcrs", .type = CONFIG_TYPE_PCRS, .target = IN(bind_public_pcrs), .pcrs = PCR_CHOICE_SIGNED,
         .help = "PCRs bound by the signature that an image carries: 11."},
        REFUSED("cosign", "an image proves itself to the firmware's keys and to the disk's policy key; nothing asks cosign"),
        REFUSED("cosign-key", "an image proves itself to the firmware's keys and to the disk's policy key; nothing asks cosign"),
        IGNORED("config_url", "one configuration does not lead to another; give both by --config"),
        IGNORED("kcrypt", "partitions are sealed to the TPM; there is no remote key server"),
        IGNORED("uki-max-entries", "a node has the entries active, passive and recovery"),
        END};
/* clang-format on */

const struct config_key *config_key_find(const struct config_key *members, const char *name)
{
        for (; members->name; members++) {
                if (strcmp(members->name, name) == 0)
                        return members;
        }
        return NULL;
}

bool config_key_ours(const char *name)
{
        return config_key_find(config_table, name);
}
