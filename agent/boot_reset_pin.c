/* SPDX-License-Identifier: Apache-2.0 */
/* A reset that was cut, on a node with a PIN: nothing keeps the PIN, so it is asked for again. */
#include "agent/boot.h"

#include "agent/console.h"
#include "agent/reset_pin.h"
#include "base/limits.h"
#include "partition/pin.h"

#define WHAT "\nA reset of this node was interrupted and goes on. "

static int read_line(const struct boot *b, struct console *c, const char *question,
                     struct secret **ret, struct error *e)
{
        bool recovery = b->entry.role == ENTRY_ROLE_RECOVERY;
        int r;

        console_say(c, question);
        r = console_read(c, recovery ? LIMIT_RECOVERY_SECONDS : 0, ret);
        return r < 0 ? error_set(e, ERROR_PRECONDITION, ENOANO, "no PIN was given") : 0;
}

/* -EINVAL: to be asked again. */
static int ask_new(const struct boot *b, struct console *c, struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *first = NULL, *second = NULL;
        int r = read_line(b, c,
                          WHAT "Type the new PIN of its data and press\nEnter (it is not shown): ",
                          &first, e);

        if (r == 0)
                r = pin_check(first, e);
        if (r == 0)
                r = read_line(b, c, "\nThe same again: ", &second, e);
        if (r < 0)
                return r;
        if (first->len != second->len || !secret_equal(first->data, second->data, first->len))
                return error_set(e, ERROR_PRECONDITION, EINVAL, "these were two different PINs");
        *ret = TAKE_PTR(first);
        return 0;
}

/* -EILSEQ: to be asked again. */
static int ask_known(const struct boot *b, struct console *c, const struct reset_journal *j,
                     struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *pin = NULL;
        int r = read_line(
                b, c,
                WHAT "Type the PIN of the data that stays\nand press Enter (it is not shown): ",
                &pin, e);

        if (r == 0)
                r = reset_pin_compare(b->node, j, b->tpm, pin, e);
        if (r == 0)
                *ret = TAKE_PTR(pin);
        return r;
}

int boot_reset_pin(struct boot *b, const struct reset_journal *j, struct secret **ret,
                   struct error *e)
{
        _cleanup_(console_close_p) struct console *c = NULL;
        bool known = reset_pin_stays(b->node, j, b->tpm);
        unsigned wrong = 0;
        int r;

        boot_pin_wait(b);
        r = console_open_all(b->env, &c, e);
        while (r == 0) {
                r = known ? ask_known(b, c, j, ret, e) : ask_new(b, c, ret, e);
                if (r == 0)
                        return 0;
                if (r != -EINVAL && (r != -EILSEQ || ++wrong == LIMIT_PIN_TRIES))
                        break;
                console_say(c, "\n");
                console_say(c, e->text);
                error_clear(e);
                r = 0;
        }
        b->pin.given_up = b->entry.role != ENTRY_ROLE_RECOVERY;
        return r;
}
