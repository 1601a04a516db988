/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/machine_id.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/log.h"

#define DIGITS (MACHINE_ID_SIZE - 1)
/* Not a secret, but nobody has to change it. */
#define FILE_MODE 0444

int machine_id_read(const char *path, char ret[MACHINE_ID_SIZE])
{
        /* One byte more than an identity and its newline, to notice that there is more. */
        _cleanup_(buf_done) struct buf b = BUF_INIT(DIGITS + 2);
        const char *text;
        int r = file_read_line(AT_FDCWD, path, &b);

        if (r == -E2BIG || r == -EISDIR || r == -EOPNOTSUPP)
                return -EBADMSG;
        if (r < 0)
                return r;
        text = buf_str(&b);
        if (b.len != DIGITS || strspn(text, "0123456789abcdef") != DIGITS ||
            strspn(text, "0") == DIGITS)
                return -EBADMSG;
        memcpy(ret, text, MACHINE_ID_SIZE);
        return 0;
}

/* A random UUID of version 4 (RFC 4122), as systemd makes them. */
static int make(char ret[MACHINE_ID_SIZE])
{
        uint8_t id[DIGITS / 2];
        int r = random_bytes(id, sizeof(id));

        if (r < 0)
                return r;
        id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
        id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
        hex_encode(id, sizeof(id), ret);
        return 0;
}

static int write_file(const char *path, const char *id, bool durable)
{
        char line[MACHINE_ID_SIZE + 1];
        size_t n = (size_t)snprintf(line, sizeof(line), "%s\n", id);

        return durable ? file_replace(AT_FDCWD, path, line, n, FILE_MODE)
                       : file_write_volatile(AT_FDCWD, path, line, n, FILE_MODE);
}

static void problem(struct boot_report *report, const char *path, const char *what, int r)
{
        struct error error = ERROR_INIT;

        (void)error_set(&error, ERROR_IO, -r, "%s: %s: %s", path, what, file_strerror(r));
        log_warning("%s", error.text);
        boot_report_problem(report, error.text);
}

/* A file that cannot be read may be whole: it is not written over. */
static int get(const char *dir, const char *path, struct boot_report *report,
               char ret[MACHINE_ID_SIZE])
{
        int found = machine_id_read(path, ret), r;

        if (found == 0)
                return 0;
        r = make(ret);
        if (r < 0)
                return r;
        if (found == -EBADMSG)
                problem(report, path, "no identity of a machine, a new one takes its place", found);
        else if (found != -ENOENT)
                problem(report, path, "an identity for this boot only", found);
        if (found != -ENOENT && found != -EBADMSG)
                return 0;
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r == 0)
                r = write_file(path, ret, true);
        if (r < 0)
                problem(report, path, "an identity for this boot only", r);
        return 0;
}

int machine_id_apply(const char *persistent, const char *etc, struct boot_report *report,
                     struct error *e)
{
        _cleanup_free_ char *dir = NULL, *kept = NULL, *path = NULL;
        char id[MACHINE_ID_SIZE];
        int r;

        if (asprintf(&dir, "%s/etc", persistent) < 0) {
                dir = NULL;
                return error_oom(e);
        }
        if (asprintf(&kept, "%s/machine-id", dir) < 0) {
                kept = NULL;
                return error_oom(e);
        }
        if (asprintf(&path, "%s/machine-id", etc) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = get(dir, kept, report, id);
        if (r == 0)
                r = write_file(path, id, false);
        return r < 0 ? error_errno(e, -r, "%s", path) : 0;
}
