/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image sign: adds an Authenticode signature to a PE image. */
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "image/input.h"
#include "image/keyfile.h"
#include "image/output.h"
#include "image/verb.h"
#include "image/words.h"
#include "upgrade/authenticode.h"

static int copy(int from, int to, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t at = 0;

        if (!chunk)
                return error_oom(e);
        for (;;) {
                ssize_t got = file_pread(from, chunk, FILE_CHUNK, at);
                int r;

                if (got < 0)
                        return error_errno(e, (int)-got, "cannot read the input");
                if (got == 0)
                        return 0;
                r = file_write(to, chunk, (size_t)got);
                if (r < 0)
                        return error_errno(e, -r, "cannot write the output");
                at += (size_t)got;
                if (at > LIMIT_IMAGE_SIZE)
                        return error_set(e, ERROR_REFUSED, E2BIG, "the input is too large");
        }
}

int verb_sign(char *const argv[], bool *json, struct error *e)
{
        const char *keys = NULL, *out = NULL, *in = NULL;
        const struct words_option options[] = {
                {.name = "keys", .value = &keys, .required = true, .not_empty = true},
                {.name = "out", .value = &out, .required = true, .not_empty = true},
        };
        _cleanup_close_ int dir = -EBADF, fd = -EBADF;
        _cleanup_(keyfile_pkey_p) EVP_PKEY *key = NULL;
        _cleanup_(keyfile_x509_p) X509 *cert = NULL;
        _cleanup_(output_free_p) struct output *output = NULL;
        int r;

        (void)json;
        r = words_parse(argv, options, ARRAY_SIZE(options), &in, 1, "the image to sign", e);
        if (r != 0)
                return r;
        dir = keyfile_open_dir(keys, e);
        if (dir < 0)
                return dir;
        r = keyfile_signer(dir, &key, &cert, e);
        if (r < 0)
                return error_wrap(e, r, "%s", keys);
        r = input_open(in, &fd, e);
        if (r == 0)
                r = output_open(out, &output, e);
        if (r == 0)
                r = copy(fd, output_fd(output), e);
        if (r < 0)
                return r;
        r = authenticode_sign(output_fd(output), key, cert, e);
        if (r < 0)
                return error_wrap(e, r, "%s", in);
        return output_commit(output, e);
}
