/* SPDX-License-Identifier: Apache-2.0 */
/* enroll recovery-key: another recovery key, or one in place of all others. */
#include "agent/enroll.h"

#include "base/log.h"
#include "partition/recovery_key.h"

static int choose_place(struct enroll *n, struct error *e)
{
        const struct install_escrow_wishes wishes = {.show = n->options->new_key_file == NULL,
                                                     .file = n->options->new_key_file};
        int r = install_escrow_check(&wishes, e);

        if (r == 0)
                r = install_escrow_choose(n->env, &wishes, true, &n->escrow, e);
        return r;
}

/* Not there before: what a run that was killed may have left is wiped, too. */
static int add_everywhere(struct enroll *n, struct error *e)
{
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r >= 0; k++) {
                struct ways_volume *v = &n->ways.volume[k];

                if (!n->volume_key[k])
                        continue;
                r = enroll_clean(n, v, e);
                if (r >= 0)
                        r = ways_add_key(v, n->volume_key[k], n->escrow.key, e);
                if (r >= 0)
                        enroll_note(n, v, true, "recovery key");
        }
        return r < 0 ? r : 0;
}

/* A key that its owner did not get must open nothing. */
static void take_back(struct enroll *n)
{
        for (unsigned k = 0; k < n->ways.n; k++) {
                struct ways_volume *v = &n->ways.volume[k];
                int slot = recovery_key_find_slot(v->luks, n->escrow.key, NULL), number = 0;

                if (slot < 0)
                        continue;
                while (recovery_key_next_slot(v->luks, &number) != slot)
                        continue;
                if (ways_remove(v, &(struct way){.number = number - 1, .keyslot = slot}, NULL) < 0)
                        log_error("%s: a recovery key that nobody has is left", v->device);
        }
        n->n_changes = 0;
        install_escrow_abandon(&n->escrow);
}

/* The ways are those from before the new key. */
static int remove_old(struct enroll *n, struct error *e)
{
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                struct ways_volume *v = &n->ways.volume[k];

                for (unsigned i = 0; i < v->n && r == 0; i++) {
                        if (v->way[i].state != WAY_RECOVERY_KEY ||
                            !(n->volume_key[k] || n->options->dry_run))
                                continue;
                        if (!n->options->dry_run)
                                r = ways_remove(v, &v->way[i], e);
                        if (r == 0)
                                enroll_note(n, v, false, "recovery key of token %d",
                                            v->way[i].number);
                }
        }
        return r;
}

static int change(struct enroll *n, struct error *e)
{
        int r = add_everywhere(n, e);

        if (r == 0)
                r = install_escrow_deliver(&n->escrow, e);
        if (r < 0) {
                take_back(n);
                return r;
        }
        /* The owner has the new one, and it opens all: now the others may go. */
        return n->options->rotate ? remove_old(n, e) : 0;
}

int enroll_recovery_key(struct enroll *n, struct error *e)
{
        int r = 0;

        if (n->options->dry_run) {
                for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                        r = enroll_clean(n, &n->ways.volume[k], e);
                        enroll_note(n, &n->ways.volume[k], true, "recovery key");
                }
                return r == 0 && n->options->rotate ? remove_old(n, e) : r;
        }
        r = choose_place(n, e);
        if (r == 0)
                r = enroll_authenticate(n, e);
        if (r == 0)
                r = install_escrow_begin(&n->escrow, n->env, n->esp.node->disk, e);
        if (r < 0)
                return r;
        r = change(n, e);
        return r < 0 ? r : enroll_read_ways(n, e);
}
