/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_choose.h"

#include <string.h>

#include "agent/report.h"
#include "base/num.h"

#define ANSWERS 5u
#define ANSWER_SIZE 128u

static void show(const struct install_offers *offers, FILE *out)
{
        size_t number = 0;

        (void)fprintf(out, "The disks of this machine:\n\n");
        for (size_t i = 0; i < offers->n; i++) {
                const struct install_offer *o = &offers->item[i];
                const struct disk *d = o->disk;
                char size[32], place[16] = "-";

                if (!*o->objection)
                        (void)snprintf(place, sizeof(place), "%zu", ++number);
                report_text(out, "%4s  %s, %s, %s, %s%s%s%s\n", place, d->path,
                            format_size(d->size, size, sizeof(size)), sysblock_bus_name(d->bus),
                            *d->model ? d->model : "(no model)", *d->serial ? ", serial " : "",
                            d->serial, d->removable ? ", REMOVABLE" : "");
                if (*o->objection)
                        report_text(out, "      cannot be chosen: %s\n", o->objection);
        }
        (void)fprintf(out, "\n");
}

static bool is_name(const struct disk *d, const char *text)
{
        return strcmp(text, d->name) == 0 || strcmp(text, d->path) == 0;
}

/* 0; -ENOENT: nothing like that; -EPERM: one that cannot be chosen. */
static int find(const struct install_offers *offers, const char *text, size_t *ret)
{
        uint64_t wanted = 0, number = 0;
        bool counted = parse_u64_max(text, offers->n, &wanted) == 0;

        for (size_t i = 0; i < offers->n; i++) {
                bool free = !*offers->item[i].objection;

                number += free;
                if (!is_name(offers->item[i].disk, text) &&
                    !(free && counted && wanted > 0 && number == wanted))
                        continue;
                *ret = i;
                return free ? 0 : -EPERM;
        }
        return -ENOENT;
}

/* The line without its end. NULL: there is no more. */
static char *read_line(FILE *in, char line[ANSWER_SIZE])
{
        if (!fgets(line, ANSWER_SIZE, in))
                return NULL;
        line[strcspn(line, "\r\n")] = '\0';
        return line;
}

static int nothing_to_choose(struct error *e)
{
        error_set(e, ERROR_PRECONDITION, ENODEV, "none of the disks can be chosen");
        error_advise(e, "see above what is against each; --force-release takes away what holds a "
                        "disk");
        return -ENODEV;
}

int install_choose_disk(const struct install_offers *offers, FILE *in, FILE *out, size_t *ret,
                        struct error *e)
{
        char line[ANSWER_SIZE];
        bool any = false;

        show(offers, out);
        for (size_t i = 0; i < offers->n; i++)
                any |= !*offers->item[i].objection;
        if (!any)
                return nothing_to_choose(e);
        for (unsigned i = 0; i < ANSWERS; i++) {
                int r;

                (void)fprintf(out, "Number or name of the disk to install on, or Enter to end: ");
                (void)fflush(out);
                if (!read_line(in, line) || !*line)
                        break;
                r = find(offers, line, ret);
                if (r == 0)
                        return 0;
                report_text(out, "%s\n",
                            r == -EPERM ? offers->item[*ret].objection : "There is no such disk.");
        }
        return error_set(e, ERROR_INTERRUPTED, ECANCELED,
                         "no disk was chosen, nothing was changed");
}

bool install_choose_confirms(const struct disk *d, const char *line)
{
        return strcmp(line, "yes") == 0 || is_name(d, line);
}
