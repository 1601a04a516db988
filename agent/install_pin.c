/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_pin.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/console.h"
#include "base/file.h"
#include "partition/pin.h"

/* With a line end, and with one byte more that tells of a longer file. */
#define FILE_MAX (PIN_MAX + 3)

static int read_file(const char *path, struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *text = secret_new(FILE_MAX);
        _cleanup_close_ int opened = -EBADF;
        bool input = strcmp(path, "-") == 0;
        size_t n = 0;
        int fd;

        if (!text)
                return error_oom(e);
        if (!input)
                opened = file_open_regular(AT_FDCWD, path);
        fd = input ? STDIN_FILENO : opened;
        if (fd < 0)
                return error_set(e, ERROR_USAGE, -fd, "%s: %s", path, file_strerror(fd));
        while (n < FILE_MAX) {
                ssize_t got = read(fd, text->data + n, FILE_MAX - n);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return error_errno(e, errno, "%s", path);
                if (got == 0)
                        break;
                n += (size_t)got;
        }
        text->len = n;
        if (text->len > 0 && text->data[text->len - 1] == '\n')
                text->len--;
        if (text->len > 0 && text->data[text->len - 1] == '\r')
                text->len--;
        *ret = TAKE_PTR(text);
        return 0;
}

static int read_line(struct console *c, const char *question, struct secret **ret, struct error *e)
{
        int r;

        console_say(c, question);
        r = console_read(c, 0, ret);
        if (r == -ECANCELED)
                return error_set(e, ERROR_INTERRUPTED, ECANCELED, "no PIN was given");
        return r < 0 ? error_set(e, ERROR_USAGE, -r, "the terminal was closed") : 0;
}

static int open_terminal(const struct env *env, struct console **ret, struct error *e)
{
        int r = console_open_terminal(env, ret, e);

        if (r == -ENOTTY)
                error_advise(e, "give the PIN with --pin-file");
        return r;
}

static int ask(const struct env *env, struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *first = NULL, *second = NULL;
        _cleanup_(console_close_p) struct console *c = NULL;
        int r = open_terminal(env, &c, e);

        if (r == 0)
                r = read_line(c, "PIN for the start of this node (it is not shown): ", &first, e);
        if (r == 0)
                r = pin_check(first, e);
        if (r == 0)
                r = read_line(c, "The same again: ", &second, e);
        if (r < 0)
                return r;
        if (first->len != second->len || !secret_equal(first->data, second->data, first->len))
                return error_set(e, ERROR_USAGE, EINVAL, "these were two different PINs");
        *ret = TAKE_PTR(first);
        return 0;
}

int install_pin_read(const struct env *env, const struct install_pin_wishes *wishes,
                     struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *pin = NULL;
        int r;

        *ret = NULL;
        if (wishes->ask && wishes->file)
                return error_set(e, ERROR_USAGE, EINVAL, "--pin and --pin-file exclude each other");
        if (!wishes->ask && !wishes->file)
                return 0;
        r = wishes->file ? read_file(wishes->file, &pin, e) : ask(env, &pin, e);
        if (r == 0)
                r = pin_check(pin, e);
        if (r == 0)
                *ret = TAKE_PTR(pin);
        return r;
}

int install_pin_known(const struct env *env, const char *file, struct secret **ret, struct error *e)
{
        _cleanup_(console_close_p) struct console *c = NULL;
        int r;

        if (file)
                return read_file(file, ret, e);
        r = open_terminal(env, &c, e);
        return r < 0 ? r : read_line(c, "PIN of this node (it is not shown): ", ret, e);
}
