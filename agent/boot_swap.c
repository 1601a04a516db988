/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swap inside the encrypted persistent volume, where the user asks for it: {"size":"2G"} in
 * /oem/tb-agent/swap.json. A mistake in it is a problem of the report; the node boots without swap.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/boot.h"
#include "agent/oem_file.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "partition/swap.h"

#define SWAP_FILE ".swap"

/* *ret_size 0: no swap is wanted. */
static int parse(const struct buf *text, const char *path, uint64_t *ret_size, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        int r = json_read_text(text->data, text->len, LIMIT_SMALL_FILE, path, &root, e);
        const char *size;

        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) || json_object_object_length(root) != 1 ||
            json_get_str(root, "size", &size) < 0 || parse_size(size, ret_size) < 0 ||
            *ret_size == 0)
                return error_set(e, ERROR_CONFIG, EBADMSG,
                                 "%s: not {\"size\":\"SIZE\"} with a size like 2G", path);
        return 0;
}

static int read_wish(const struct env *env, uint64_t *ret_size, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_free_ char *path = NULL;
        int r;

        *ret_size = 0;
        r = oem_file_read(env, OEM_FILE_SWAP, &text, &path, e);
        return r <= 0 ? r : parse(&text, path, ret_size, e);
}

static int start(const struct env *env, uint64_t size, struct error *e)
{
        _cleanup_close_ int dir = file_open_dir(AT_FDCWD, env->persistent);
        _cleanup_free_ char *path = NULL;
        int r;

        if (dir < 0)
                return error_errno(e, -dir, "%s", env->persistent);
        if (size == 0)
                return swap_remove(dir, SWAP_FILE, e);
        if (asprintf(&path, "%s/" SWAP_FILE, env->persistent) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = swap_prepare(dir, SWAP_FILE, size, e);
        return r < 0 ? r : swap_start(path, e);
}

void boot_swap(struct boot *b)
{
        struct error error = ERROR_INIT;
        uint64_t size;
        int r = read_wish(b->env, &size, &error);

        if (r == 0)
                r = start(b->env, size, &error);
        if (r == 0)
                return;
        (void)error_wrap(&error, r, "no swap");
        log_warning("%s", error.text);
        boot_report_problem(b->report, error.text);
}
