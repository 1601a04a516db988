/* SPDX-License-Identifier: Apache-2.0 */
#include "image/later.h"

#include <string.h>

#include "base/file.h"
#include "image/input.h"
#include "image/keyfile.h"
#include "image/phases.h"

#define WORD_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-"

/* Words with ":" between them. */
static bool is_path(const char *p)
{
        for (;;) {
                size_t n = strspn(p, WORD_CHARACTERS);

                if (n == 0 || (p[n] != ':' && p[n] != '\0'))
                        return false;
                if (p[n] == '\0')
                        return true;
                p += n + 1;
        }
}

static int refuse(const char *path, const char *why, struct error *e)
{
        return error_set(e, ERROR_CONFIG, EINVAL, "phase path \"%s\": %s", path, why);
}

static int add(const char *text, size_t n, struct later *l, struct error *e)
{
        char *path;

        if (l->n == LATER_PHASES_MAX)
                return error_set(e, ERROR_CONFIG, E2BIG, "more than %u phase paths",
                                 LATER_PHASES_MAX);
        if (n > LIMIT_PHASE_PATH)
                return error_set(e, ERROR_CONFIG, ENAMETOOLONG, "a phase path is too long");
        path = l->path[l->n];
        memcpy(path, text, n);
        path[n] = '\0';
        if (!is_path(path))
                return refuse(path,
                              "words of lower-case letters, digits and \"-\", with \":\" "
                              "between them",
                              e);
        if (strcmp(path, phase_path(PHASE_UNLOCK)) == 0)
                return refuse(path, "only the key that unlocks signs it", e);
        if (strstr(path, PHASE_HANDOVER_WORD))
                return refuse(path, "nodes close their policy by it, so nobody signs it", e);
        for (unsigned i = 0; i < l->n; i++)
                if (strcmp(l->path[i], path) == 0)
                        return refuse(path, "is given twice", e);
        l->n++;
        return 0;
}

int later_parse(const char *text, const char *separators, struct later *ret, struct error *e)
{
        int r = 0;

        ret->n = 0;
        while (r == 0) {
                size_t n = strcspn(text, separators);

                r = add(text, n, ret, e);
                text += n;
                if (*text == '\0')
                        break;
                text++;
        }
        if (r < 0)
                ret->n = 0;
        return r;
}

static int read_paths(int dirfd, struct later *l, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LATER_PHASES_TEXT);
        int r = input_read_at(dirfd, KEYFILE_LATER_PHASES, &text, e);

        if (r < 0)
                return r;
        if (text.len > 0 && text.data[text.len - 1] == '\n')
                text.len--;
        if (memchr(text.data ?: (const uint8_t *)"", '\0', text.len))
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s: no text", KEYFILE_LATER_PHASES);
        if (buf_add(&text, "", 1) < 0)
                return error_oom(e);
        r = later_parse((const char *)text.data, "\n", l, e);
        return r < 0 ? error_wrap(e, r, "%s", KEYFILE_LATER_PHASES) : 0;
}

int later_load(int dirfd, struct later *ret, struct error *e)
{
        struct later *l = ret;
        int r;

        if (!file_exists(dirfd, KEYFILE_LATER_PHASES))
                return 0;
        r = read_paths(dirfd, l, e);
        if (r == 0)
                r = keyfile_private(dirfd, KEYFILE_LATER_PRIVATE, &l->key, e);
        return r == 0 ? keyfile_bytes(dirfd, KEYFILE_LATER_PUBLIC, &l->public, e) : r;
}

void later_done(struct later *l)
{
        EVP_PKEY_free(l->key);
        l->key = NULL;
        buf_done(&l->public);
}
