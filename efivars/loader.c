/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/loader.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/limits.h"
#include "base/num.h"
#include "efivars/efivar.h"

int loader_get(const struct env *env, const char *name, struct buf *out)
{
        _cleanup_(buf_done) struct buf raw = BUF_INIT(LIMIT_LOADER_VARIABLE);
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_VARIABLE);
        int r;

        r = efivar_read(env, name, EFIVAR_GUID_LOADER, &raw, NULL);
        if (r < 0)
                return r;
        r = utf16_to_utf8(raw.data, raw.len, &text);
        if (r < 0)
                return r == -EINVAL ? -EBADMSG : r;
        return buf_add(out, text.data, text.len);
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

int loader_set_oneshot(const struct env *env, const char *entry_id)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOADER_VARIABLE);
        int r;

        if (!*entry_id)
                return -EINVAL;
        r = utf8_to_utf16(entry_id, &value);
        if (r < 0)
                return r;
        return efivar_write(env, "LoaderEntryOneShot", EFIVAR_GUID_LOADER, EFIVAR_PERSISTENT,
                            value.data, value.len);
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

        return loader_get(env, "StubPcrKernelImage", &text) == 0 &&
               strcmp(buf_str(&text), "11") == 0;
}
