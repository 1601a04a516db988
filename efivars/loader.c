/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/loader.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "efivars/efivar.h"

#define STUB_MEASURED "StubPcrKernelImage"

/* What boot loader and stub set for the OS, volatile, in all versions of systemd up to 262. */
static const char *const reports[] = {
        "LoaderBootCountPath",
        "LoaderDevicePartUUID",
        "LoaderDeviceURL",
        "LoaderEntries",
        "LoaderEntrySelected",
        "LoaderFeatures",
        "LoaderFirmwareInfo",
        "LoaderFirmwareType",
        "LoaderImageIdentifier",
        "LoaderInfo",
        "LoaderKeyboardLayout",
        "LoaderPcrSMBIOS",
        "LoaderRandomSeed", /* up to 250 */
        "LoaderSysFailReason",
        "LoaderTimeExecUSec",
        "LoaderTimeInitUSec",
        "LoaderTimeMenuUSec",
        "LoaderTpm2ActivePcrBanks",
        "StubDevicePartUUID",
        "StubDeviceURL",
        "StubFeatures",
        "StubImageIdentifier",
        "StubInfo",
        "StubPcrInitRDConfExts",
        "StubPcrInitRDSysExts",
        STUB_MEASURED,
        "StubPcrKernelParameters",
        "StubProfile",
};

static bool is_report(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
                if (strcmp(name, reports[i]) == 0)
                        return true;
        }
        return false;
}

/* The value as it is. Read up to the limit of any variable: the size of a planted one must not hide
 * its attributes. */
static int read_report(const struct env *env, const char *name, struct buf *raw)
{
        uint32_t attributes = 0;
        int r = efivar_read(env, name, EFIVAR_GUID_LOADER, raw, &attributes);

        if (r < 0)
                return r;
        return is_report(name) && (attributes & EFIVAR_NON_VOLATILE) ? -EUCLEAN : 0;
}

int loader_get(const struct env *env, const char *name, struct buf *out)
{
        _cleanup_(buf_done) struct buf raw = BUF_INIT(LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_VARIABLE);
        int r;

        r = read_report(env, name, &raw);
        if (r < 0)
                return r;
        r = utf16_to_utf8(raw.data, raw.len, &text);
        if (r < 0)
                return r == -EINVAL ? -EBADMSG : r;
        return buf_add(out, text.data, text.len);
}

int loader_remove_planted(const struct env *env, unsigned *ret_removed)
{
        unsigned removed = 0;
        int result = 0;

        for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
                _cleanup_(buf_done) struct buf raw = BUF_INIT(LIMIT_EFI_VARIABLE);
                int r = read_report(env, reports[i], &raw);

                if (r == -EUCLEAN) {
                        r = efivar_delete(env, reports[i], EFIVAR_GUID_LOADER);
                        removed += r == 0;
                }
                if (r < 0 && r != -ENOENT && result == 0)
                        result = r;
        }
        *ret_removed = removed;
        return result;
}

int loader_entry_selected(const struct env *env, struct buf *out)
{
        return loader_get(env, "LoaderEntrySelected", out);
}

int loader_boot_count_path(const struct env *env, struct buf *out)
{
        return loader_get(env, "LoaderBootCountPath", out);
}

int loader_device_part_uuid(const struct env *env, char ret[LOADER_UUID_SIZE])
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_VARIABLE);
        char uuid[LOADER_UUID_SIZE] = "";
        int r;

        r = loader_get(env, "LoaderDevicePartUUID", &text);
        if (r < 0)
                return r;
        if (text.len != LOADER_UUID_SIZE - 1)
                return -EBADMSG;
        for (size_t i = 0; i < text.len; i++) {
                int c = tolower(text.data[i]);
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? c != '-' : !isxdigit(c))
                        return -EBADMSG;
                uuid[i] = (char)c;
        }
        memcpy(ret, uuid, sizeof(uuid));
        return 0;
}

/* Digits at the start of the version; an absurd number counts as none. */
static unsigned major_version(const char *version)
{
        char digits[8] = "";
        uint64_t v = 0;
        size_t n = strspn(version, "0123456789");

        if (n == 0 || n >= sizeof(digits))
                return 0;
        memcpy(digits, version, n);
        return parse_u64_max(digits, UINT16_MAX, &v) == 0 ? (unsigned)v : 0;
}

int loader_info(const struct env *env, struct loader_info *ret)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_VARIABLE);
        struct loader_info info = {.major = 0};
        const char *s, *blank;
        size_t n;
        int r;

        r = loader_get(env, "LoaderInfo", &text);
        if (r < 0)
                return r;
        s = buf_str(&text);
        blank = strchr(s, ' ');
        n = blank ? (size_t)(blank - s) : strlen(s);
        if (n == 0 || n >= sizeof(info.name))
                return -EBADMSG;
        memcpy(info.name, s, n);
        if (blank) {
                if (strlen(blank + 1) >= sizeof(info.version))
                        return -EBADMSG;
                memcpy(info.version, blank + 1, strlen(blank + 1));
        }
        info.systemd_boot = strcmp(info.name, "systemd-boot") == 0;
        info.major = major_version(info.version);
        *ret = info;
        return 0;
}

static int set_entry(const struct env *env, const char *name, const char *entry_id)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOADER_VARIABLE);
        int r;

        if (!*entry_id)
                return -EINVAL;
        r = utf8_to_utf16(entry_id, &value);
        if (r < 0)
                return r;
        return efivar_write(env, name, EFIVAR_GUID_LOADER, EFIVAR_PERSISTENT, value.data,
                            value.len);
}

int loader_set_oneshot(const struct env *env, const char *entry_id)
{
        return set_entry(env, "LoaderEntryOneShot", entry_id);
}

int loader_set_default(const struct env *env, const char *entry_id)
{
        return set_entry(env, "LoaderEntryDefault", entry_id);
}

int loader_set_preferred(const struct env *env, const char *entry_id)
{
        return set_entry(env, "LoaderEntryPreferred", entry_id);
}

int loader_clear(const struct env *env, const char *name)
{
        static const char *const ours[] = {"LoaderEntry", "LoaderConfig"};

        for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
                if (strncmp(name, ours[i], strlen(ours[i])) == 0)
                        return efivar_delete(env, name, EFIVAR_GUID_LOADER);
        }
        return -EINVAL;
}

static int read_flag(const struct env *env, const char *name, bool *ret)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOADER_VARIABLE);
        int r;

        r = efivar_read(env, name, EFIVAR_GUID_GLOBAL, &value, NULL);
        if (r < 0)
                return r;
        if (value.len != 1 || value.data[0] > 1)
                return -EBADMSG;
        *ret = value.data[0] == 1;
        return 0;
}

int secureboot_state(const struct env *env, struct secureboot_state *ret)
{
        struct secureboot_state state = {false, false};
        int r;

        r = read_flag(env, "SecureBoot", &state.secure_boot);
        if (r < 0)
                return r;
        r = read_flag(env, "SetupMode", &state.setup_mode);
        if (r < 0 && r != -ENOENT)
                return r;
        *ret = state;
        return 0;
}

bool stub_measured(const struct env *env)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_VARIABLE);

        return loader_get(env, STUB_MEASURED, &text) == 0 && strcmp(buf_str(&text), "11") == 0;
}

bool stub_may_have_measured(const struct env *env)
{
        _cleanup_close_ int dir = file_open_dir(AT_FDCWD, env->efivarfs);
        struct statfs fs;
        struct stat st;

        if (dir < 0)
                return dir != -ENOENT;
        /* The kernel offers the empty folder in sysfs as a mount point. */
        if (fstatfs(dir, &fs) < 0 || fs.f_type == SYSFS_MAGIC)
                return true;
        return fstatat(dir, STUB_MEASURED "-" EFIVAR_GUID_LOADER, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
               errno != ENOENT;
}
